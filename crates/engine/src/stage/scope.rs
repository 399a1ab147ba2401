//! What a running task has around it: counters, warnings, the store of runs. Plan nodes find it in the session's extensions, so
//! that they themselves stay plain values.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use henge_exchange::RunStore;
use henge_scan::{ROWS_READ, SLICES_READ, SegmentScanExec};
use parking_lot::Mutex;

use crate::counters::{Channel, ChannelSnapshot, FirstRows, SegmentGenerationProgress, WorkerCounters};
use crate::fault::{Fault, FaultCode};
use crate::limits;
use crate::stage::BadRows;
use crate::stage::extern_scan::ExternScanExec;
use crate::stage::input::StageInputExec;

/// Surroundings of one attempt of one task.
pub struct TaskScope {
    /// `<query>/stage-<s>/<partition>-<attempt>`: unique to the attempt, start of the names of all runs that it makes.
    pub name: String,
    /// Where runs lie.
    pub store: Arc<dyn RunStore>,
    /// What the task counts.
    pub counters: Arc<TaskCounters>,
    /// What becomes of rows that cannot be read.
    pub bad_rows: BadRows,
}

impl TaskScope {
    /// Finds the surroundings; a plan that runs outside a task has none.
    pub fn of(context: &TaskContext) -> Option<Arc<TaskScope>> {
        context.session_config().get_extension::<TaskScope>()
    }

    /// Notes a row that cannot be read. Fails where none is tolerated; what all tasks have met together is the controller's to judge.
    pub fn bad_row(&self, message: String) -> Result<(), Fault> {
        let fault = Fault::new(FaultCode::CannotParseExternalData, message);
        let described = match self.bad_rows {
            BadRows::Fail => return Err(fault),
            BadRows::Warn { max } => max.unwrap_or(u64::MAX).min(limits::VERBOSE_WARNINGS_PER_WORKER_MAX),
        };
        self.counters.warn(&fault, described);
        Ok(())
    }

    /// Fails where there were more bad rows than this task may meet. Asked once a batch: what it has read is counted.
    pub fn check_bad_rows(&self) -> Result<(), Fault> {
        match self.bad_rows {
            BadRows::Warn { max: Some(max) } if self.counters.warned() > max => Err(too_many_warnings(max)),
            BadRows::Warn { .. } | BadRows::Fail => Ok(()),
        }
    }
}

/// Makes the fault of more bad rows than `maxParseExceptions`.
pub fn too_many_warnings(max: u64) -> Fault {
    let code = FaultCode::CannotParseExternalData.as_str();
    Fault::new(
        FaultCode::TooManyWarnings,
        format!("Too many warnings of type {code} generated (max = {max})"),
    )
    .with("maxWarnings", max)
    .with("rootErrorCode", code)
}

/// Counts of one input of a task.
#[derive(Debug, Default)]
pub struct InputCounters {
    rows: AtomicU64,
    bytes: AtomicU64,
    batches: AtomicU64,
    files: AtomicU64,
    total_files: AtomicU64,
}

impl InputCounters {
    /// Counts a batch.
    pub fn batch(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes as read.
    pub fn bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a file, segment or range that was read to its end.
    pub fn file_done(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets how many files are to be read.
    pub fn set_total_files(&self, total: u64) {
        self.total_files.store(total, Ordering::Relaxed);
    }

    fn snapshot(&self) -> ChannelSnapshot {
        let one = |counter: &AtomicU64| vec![counter.load(Ordering::Relaxed)];
        ChannelSnapshot {
            rows: one(&self.rows),
            bytes: one(&self.bytes),
            frames: one(&self.batches),
            files: one(&self.files),
            total_files: one(&self.total_files),
        }
    }
}

/// Everything that one attempt of a task counts: atomics where the work is.
#[derive(Debug, Default)]
pub struct TaskCounters {
    inputs: Mutex<Vec<Arc<InputCounters>>>,
    output_rows: AtomicU64,
    output_bytes: AtomicU64,
    output_batches: AtomicU64,
    staged_rows: AtomicU64,
    staged_bytes: AtomicU64,
    staged_batches: AtomicU64,
    spilled_bytes: AtomicU64,
    warned: AtomicU64,
    warnings: Mutex<Vec<Fault>>,
    /// Rows on their way into segments.
    pub segment: SegmentCounters,
    plan: Mutex<Option<Arc<dyn ExecutionPlan>>>,
    started: Started,
}

/// When the attempt began.
#[derive(Debug)]
struct Started(Instant);

impl Default for Started {
    fn default() -> Self {
        Self(Instant::now())
    }
}

/// Rows on their way into segments.
#[derive(Debug, Default)]
pub struct SegmentCounters {
    /// Set where the task writes segments.
    pub active: std::sync::atomic::AtomicBool,
    /// Rows taken in.
    pub processed: AtomicU64,
    /// Rows encoded on disk.
    pub persisted: AtomicU64,
    /// Rows in finished segments.
    pub merged: AtomicU64,
    /// Rows in segments that deep storage has.
    pub pushed: AtomicU64,
}

impl TaskCounters {
    /// Gives the counters of the n-th input.
    pub fn input(&self, number: usize) -> Arc<InputCounters> {
        let mut inputs = self.inputs.lock();
        while inputs.len() <= number {
            inputs.push(Arc::default());
        }
        inputs[number].clone()
    }

    /// Counts a batch that the task's operators made.
    pub fn output(&self, rows: usize, bytes: usize) {
        self.output_rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.output_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.output_batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets what was staged for the next stage.
    pub fn staged(&self, rows: u64, bytes: u64, batches: u64, spilled: u64) {
        self.staged_rows.store(rows, Ordering::Relaxed);
        self.staged_bytes.store(bytes, Ordering::Relaxed);
        self.staged_batches.store(batches, Ordering::Relaxed);
        self.spilled_bytes.store(spilled, Ordering::Relaxed);
    }

    /// Counts bytes that went to disk.
    pub fn spilled(&self, bytes: u64) {
        self.spilled_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Remembers the plan that runs, whose operators know what they spilled.
    pub fn watch_plan(&self, plan: &Arc<dyn ExecutionPlan>) {
        *self.plan.lock() = Some(plan.clone());
    }

    /// Counts a warning, and keeps it where fewer than `described` came before.
    pub fn warn(&self, fault: &Fault, described: u64) {
        let seen = self.warned.fetch_add(1, Ordering::Relaxed) + 1;
        if seen <= described {
            self.warnings.lock().push(fault.clone());
        }
    }

    /// Gives how many warnings there were.
    pub fn warned(&self) -> u64 {
        self.warned.load(Ordering::Relaxed)
    }

    /// Hands over the warnings that were kept since the last call.
    pub fn take_warnings(&self) -> Vec<Fault> {
        std::mem::take(&mut *self.warnings.lock())
    }

    /// Gives the counts as of now, each list with one entry.
    pub fn snapshot(&self) -> WorkerCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut counters = WorkerCounters::default();
        let plan = self.plan.lock().clone();
        for (number, input) in self.inputs.lock().iter().enumerate() {
            counters.channels.insert(Channel::Input(number), input.snapshot());
        }
        if let Some(plan) = &plan {
            let mut leaves = Vec::new();
            scanned(plan.as_ref(), &mut leaves);
            for (number, scanned) in leaves.into_iter().enumerate() {
                if let Some(scanned) = scanned {
                    counters.channels.insert(Channel::Input(number), scanned);
                }
            }
        }
        counters.first_rows = plan.as_ref().and_then(|plan| first_rows(plan.as_ref()));
        for (channel, rows, bytes, batches) in [
            (
                Channel::Output,
                load(&self.output_rows),
                &self.output_bytes,
                &self.output_batches,
            ),
            (
                Channel::Shuffle,
                load(&self.staged_rows),
                &self.staged_bytes,
                &self.staged_batches,
            ),
        ] {
            if rows > 0 {
                let snapshot = ChannelSnapshot {
                    rows: vec![rows],
                    bytes: vec![load(bytes)],
                    frames: vec![load(batches)],
                    ..ChannelSnapshot::default()
                };
                counters.channels.insert(channel, snapshot);
            }
        }
        let computed = plan.as_ref().map_or(0, |plan| computed_ns(plan.as_ref()));
        let wall = u64::try_from(self.started.0.elapsed().as_nanos()).unwrap_or(u64::MAX);
        counters.cpu.insert("main".to_string(), (computed, wall));
        if self.segment.active.load(Ordering::Relaxed) {
            counters.segment_generation = Some(SegmentGenerationProgress {
                rows_processed: load(&self.segment.processed),
                rows_persisted: load(&self.segment.persisted),
                rows_merged: load(&self.segment.merged),
                rows_pushed: load(&self.segment.pushed),
            });
        }
        if load(&self.warned) > 0 {
            let code = FaultCode::CannotParseExternalData.as_str().to_string();
            counters.warnings.insert(code, load(&self.warned));
        }
        counters.spilled_bytes = load(&self.spilled_bytes) + plan.map_or(0, |plan| spilled_bytes(plan.as_ref()));
        counters
    }
}

/// Sums up what the operators of a plan have spilled.
fn spilled_bytes(plan: &dyn ExecutionPlan) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.spilled_bytes()).unwrap_or(0) as u64;
    own + plan
        .children()
        .iter()
        .map(|child| spilled_bytes(child.as_ref()))
        .sum::<u64>()
}

/// Sums up the time that the operators of a plan have computed for, in nanoseconds.
fn computed_ns(plan: &dyn ExecutionPlan) -> u64 {
    let own = plan
        .metrics()
        .and_then(|metrics| metrics.elapsed_compute())
        .unwrap_or(0) as u64;
    own + plan
        .children()
        .iter()
        .map(|child| computed_ns(child.as_ref()))
        .sum::<u64>()
}

/// Gives what each leaf has read, where it does not count for the task itself.
fn scanned(plan: &dyn ExecutionPlan, leaves: &mut Vec<Option<ChannelSnapshot>>) {
    let children = plan.children();
    children.iter().for_each(|child| scanned(child.as_ref(), leaves));
    if !children.is_empty() {
        return;
    }
    let any = plan as &dyn std::any::Any;
    if any.is::<StageInputExec>() || any.is::<ExternScanExec>() {
        return leaves.push(None);
    }
    let Some(scan) = any.downcast_ref::<SegmentScanExec>() else {
        // Rows in the statement itself: they are not counted.
        return leaves.push(Some(ChannelSnapshot {
            files: vec![1],
            ..ChannelSnapshot::default()
        }));
    };
    leaves.push(Some({
        let metrics = plan.metrics();
        let sum = |name: &str| {
            let found = metrics.as_ref().and_then(|metrics| metrics.sum_by_name(name));
            found.map_or(0, |value| value.as_usize() as u64)
        };
        ChannelSnapshot {
            rows: vec![sum(ROWS_READ)],
            files: vec![sum(SLICES_READ)],
            total_files: vec![scan.slices().iter().map(|slices| slices.len() as u64).sum()],
            ..ChannelSnapshot::default()
        }
    }));
}

/// Gives what a sort did that keeps only the first rows, where a plan ends with one.
fn first_rows(plan: &dyn ExecutionPlan) -> Option<FirstRows> {
    let mut node = plan;
    loop {
        let any = node as &dyn std::any::Any;
        if let Some(sort) = any.downcast_ref::<SortExec>() {
            sort.fetch()?;
            return Some(FirstRows {
                taken: rows_made(sort.input().as_ref())?,
                kept: rows_made(node)?,
            });
        }
        if !any.is::<ProjectionExec>() && !any.is::<GlobalLimitExec>() && !any.is::<LocalLimitExec>() {
            return None;
        }
        let child: &Arc<dyn ExecutionPlan> = node.children().first().copied()?;
        node = child.as_ref();
    }
}

fn rows_made(plan: &dyn ExecutionPlan) -> Option<u64> {
    plan.metrics()?.output_rows().map(|rows| rows as u64)
}
