//! Damaged bytes are an error or other rows, never a panic: goldens with flipped, overwritten and missing bytes.
//!
//! `HENGE_DAMAGE_ROUNDS` asks for more rounds than the few that fit into every test run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use henge_segment::{RowSelection, Segment, SegmentError, dump, fuzz};
use roaring::RoaringBitmap;

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

/// Reads everything that can be read.
fn read_all(path: &Path) -> Result<(), SegmentError> {
    let segment = Segment::open(path)?;
    let mut first_error = dump::rows(&segment, &mut std::io::sink());
    dump::describe(&segment);
    let some: RoaringBitmap = (0..segment.rows().min(5000) as u32).step_by(3).collect();
    for info in segment.columns() {
        let mut keep = |result: Result<(), SegmentError>| {
            if first_error.is_ok() {
                first_error = result;
            }
        };
        keep(segment.read(&info.name, RowSelection::Rows(&some)).map(drop));
        keep(segment.null_bitmap(&info.name).map(drop));
        if let Some(dictionary) = segment.dictionary(&info.name) {
            for id in (0..dictionary.len().min(100_000) as u32).step_by(dictionary.len() / 50 + 1) {
                keep(dictionary.get(id).map(drop));
                keep(segment.bitmap(&info.name, id).map(drop));
            }
            keep(dictionary.lookup("a value").map(drop));
        }
    }
    first_error
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    match random.next(5) {
        0 => bytes.truncate(random.next(bytes.len())),
        1 => {
            let at = random.next(bytes.len());
            let value = [0x00, 0xFF, 0x7F, 0x80][random.next(4)];
            for byte in bytes.iter_mut().skip(at).take(4) {
                *byte = value;
            }
        }
        _ => {
            for _ in 0..=random.next(4) {
                let at = random.next(bytes.len());
                bytes[at] ^= 1 << random.next(8);
            }
        }
    }
}

fn goldens() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/segments");
    let mut folders: Vec<PathBuf> = Vec::new();
    for golden in std::fs::read_dir(&root)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
    {
        folders.extend(
            std::fs::read_dir(golden.join("segments"))
                .unwrap()
                .map(|e| e.unwrap().path()),
        );
    }
    folders.sort();
    folders
}

#[test]
fn damaged_goldens_do_not_panic() {
    let rounds: usize = std::env::var("HENGE_DAMAGE_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(6);
    let mut errors = 0;
    for (number, golden) in goldens().iter().enumerate() {
        let files: Vec<PathBuf> = std::fs::read_dir(golden).unwrap().map(|e| e.unwrap().path()).collect();
        let dir = tempfile::tempdir().unwrap();
        for round in 0..rounds {
            let seed = (number * 1_000_003 + round * 7919 + 1) as u64;
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            for file in &files {
                let name = file.file_name().unwrap();
                let mut bytes = std::fs::read(file).unwrap();
                let text = name == "meta.smoosh" || name == "version.bin" || name == "factory.json";
                if !text || random.next(8) == 0 {
                    damage(&mut bytes, &mut random);
                }
                std::fs::write(dir.path().join(name), bytes).unwrap();
            }
            match catch_unwind(AssertUnwindSafe(|| read_all(dir.path()))) {
                Ok(result) => errors += usize::from(result.is_err()),
                Err(_) => panic!("{}: damage of round {round} makes the reader panic", golden.display()),
            }
        }
    }
    assert!(errors > 0, "no damage was noticed");
}

#[test]
fn every_cut_of_a_small_segment_is_noticed() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/segments/native_spatial/segments");
    let golden = std::fs::read_dir(golden).unwrap().next().unwrap().unwrap().path();
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(&golden).unwrap().map(|e| e.unwrap().path()) {
        std::fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    }
    read_all(dir.path()).unwrap();
    let whole = std::fs::read(golden.join("00000.smoosh")).unwrap();
    for cut in (0..whole.len()).step_by(97) {
        std::fs::write(dir.path().join("00000.smoosh"), &whole[..cut]).unwrap();
        let error = read_all(dir.path()).unwrap_err();
        assert!(error.to_string().contains("meta.smoosh"), "{error}");
    }
    std::fs::remove_file(dir.path().join("00000.smoosh")).unwrap();
    assert!(read_all(dir.path()).is_err());
    std::fs::remove_file(dir.path().join("version.bin")).unwrap();
    assert!(read_all(dir.path()).unwrap_err().to_string().contains("is no segment"));
}

#[test]
fn a_little_of_what_make_fuzz_does() {
    let seeds: Vec<fuzz::Files> = goldens().iter().filter_map(|path| fuzz::load(path).ok()).collect();
    for (number, files) in seeds.iter().enumerate() {
        for round in 0..3 {
            let seed = (number * 1000 + round) as u64;
            let mut random = fuzz::Random::new(seed);
            let damaged = || fuzz::segment(files, &mut random);
            assert!(
                catch_unwind(AssertUnwindSafe(damaged)).is_ok(),
                "damage of golden {number} with seed {seed} makes a reader panic"
            );
        }
        for (name, target) in fuzz::TARGETS {
            let mut random = fuzz::Random::new(number as u64);
            let damaged = || fuzz::piece(files, target, &mut random);
            assert!(
                catch_unwind(AssertUnwindSafe(damaged)).is_ok(),
                "a piece of golden {number} makes {name} panic"
            );
        }
    }
}
