//! Fuzzes every reader of the format for a bounded time, seeded with golden segments. `make fuzz` runs it.
//!
//! ```text
//! fuzz [SECONDS [SEED]]
//! ```
//!
//! Prints the seed of an input that makes a reader panic, run for more than [`SECONDS_AT_MOST`] seconds or allocate more than
//! [`limits::READ_EXPANSION`] times its size, and fails then. The same seed makes the same input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use henge_segment::fuzz::{self, Files, Random};
use henge_segment::limits;

/// An input that takes longer than this is a finding.
const SECONDS_AT_MOST: u64 = 30;

/// Bytes that any input may take, however small it is: buffers of blocks, and what the dump holds.
const BASE_BYTES: usize = 64 << 20;

/// Counts the bytes that are held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// The seed that is being run, and when it began in milliseconds since the start.
static SEED: AtomicU64 = AtomicU64::new(0);
static BEGAN: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn goldens() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for collection in ["tests/golden/segments", "../shared/golden/segments"] {
        let Ok(goldens) = std::fs::read_dir(root.join(collection)) else {
            continue;
        };
        for golden in goldens.flatten() {
            let Ok(segments) = std::fs::read_dir(golden.path().join("segments")) else {
                continue;
            };
            found.extend(segments.flatten().map(|segment| segment.path()));
        }
    }
    found.sort();
    found
}

/// Runs one input; the seed decides all.
fn run(seeds: &[Files], seed: u64) -> usize {
    let mut random = Random::new(seed);
    let files = &seeds[random.below(seeds.len())];
    let bytes = files.values().map(Vec::len).sum();
    // Whole segments reach every reader through the others.
    if random.below(3) > 0 {
        fuzz::segment(files, &mut random);
    } else {
        let (_, target) = fuzz::TARGETS[random.below(fuzz::TARGETS.len())];
        fuzz::piece(files, target, &mut random);
    }
    bytes
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (seconds, only) = match (arguments.next(), arguments.next()) {
        (None, _) => (60, None),
        (Some(Ok(seconds)), None) => (seconds, None),
        (Some(Ok(seconds)), Some(Ok(seed))) => (seconds, Some(seed)),
        _ => {
            eprintln!("usage: fuzz [SECONDS [SEED]]");
            std::process::exit(2);
        }
    };
    let seeds: Vec<Files> = goldens().iter().filter_map(|path| fuzz::load(path).ok()).collect();
    if seeds.is_empty() {
        eprintln!("no golden segments were found");
        std::process::exit(2);
    }
    let start = Instant::now();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = start.elapsed().as_millis() as u64;
            if now.saturating_sub(BEGAN.load(Ordering::Relaxed)) > SECONDS_AT_MOST * 1000 {
                eprintln!(
                    "seed {}: runs for more than {SECONDS_AT_MOST} s",
                    SEED.load(Ordering::Relaxed)
                );
                std::process::exit(1);
            }
        }
    });
    let (mut inputs, mut findings, mut worst) = (0u64, 0u64, 0usize);
    let first = only.unwrap_or(1);
    for seed in first.. {
        SEED.store(seed, Ordering::Relaxed);
        BEGAN.store(start.elapsed().as_millis() as u64, Ordering::Relaxed);
        let before = HELD.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        match catch_unwind(AssertUnwindSafe(|| run(&seeds, seed))) {
            Ok(bytes) => {
                let taken = PEAK.load(Ordering::Relaxed) - before;
                worst = worst.max(taken);
                if taken > BASE_BYTES + bytes * limits::READ_EXPANSION {
                    eprintln!("seed {seed}: takes {taken} bytes of memory for {bytes} bytes of segment");
                    findings += 1;
                }
            }
            Err(_) => {
                eprintln!("seed {seed}: a reader panics");
                findings += 1;
            }
        }
        inputs += 1;
        if only.is_some() || start.elapsed() > Duration::from_secs(seconds) {
            break;
        }
    }
    println!(
        "{inputs} inputs of {} golden segments in {:.0} s: {findings} findings, {} MiB at most",
        seeds.len(),
        start.elapsed().as_secs_f64(),
        worst >> 20
    );
    std::process::exit(i32::from(findings > 0));
}
