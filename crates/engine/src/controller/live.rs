//! The live report of a query: one value that the controller changes and everybody else watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use crate::counters::{Channel, ChannelSnapshot, WorkerCounters};
use crate::fault::Fault;
use crate::limits;
use crate::report::{
    ErrorReport, OutputChannel, QueryReport, ReportStatus, StageDefinition, StageInput, StagePhase, StageReport,
    WorkerReport,
};

/// Gives the time now, milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// The report while it changes.
pub struct LiveReport {
    state: Mutex<State>,
    sender: watch::Sender<Arc<QueryReport>>,
    created: Instant,
    host: String,
}

struct State {
    report: QueryReport,
    started: Option<Instant>,
    stage_started: BTreeMap<u32, Instant>,
    /// What each task has counted, by stage and partition; the latest attempt counts.
    tasks: BTreeMap<(u32, usize), WorkerCounters>,
    /// Rows, bytes and frames of a stage's output by partition, once they are known.
    shuffled: BTreeMap<u32, ChannelSnapshot>,
    worker_started: BTreeMap<u32, Instant>,
    /// Warnings of all tasks together.
    warned: u64,
}

impl LiveReport {
    /// Makes the report of a query that has not started.
    pub fn new(task_id: &str, host: &str, task_context: Value) -> Self {
        let report = QueryReport {
            task_id: task_id.to_string(),
            status: ReportStatus::Running,
            error: None,
            warnings: Vec::new(),
            start_time_ms: None,
            duration_ms: -1,
            workers: Vec::new(),
            pending_tasks: -1,
            running_tasks: 1,
            segment_load: None,
            segment_report: None,
            stages: Vec::new(),
            counters: BTreeMap::new(),
            results: None,
            rows_published: None,
            segments_published: None,
            task_context,
        };
        let (sender, _) = watch::channel(Arc::new(report.clone()));
        let state = State {
            report,
            started: None,
            stage_started: BTreeMap::new(),
            tasks: BTreeMap::new(),
            shuffled: BTreeMap::new(),
            worker_started: BTreeMap::new(),
            warned: 0,
        };
        Self {
            state: Mutex::new(state),
            sender,
            created: Instant::now(),
            host: host.to_string(),
        }
    }

    /// Gives what watches the report.
    pub fn watch(&self) -> watch::Receiver<Arc<QueryReport>> {
        self.sender.subscribe()
    }

    /// Gives the report as of now.
    pub fn current(&self) -> Arc<QueryReport> {
        let mut state = self.state.lock();
        state.refresh();
        Arc::new(state.report.clone())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.publish();
    }

    /// Shows the report as of now to those who watch. Counters of tasks are taken in without it, since there may be many.
    pub fn publish(&self) {
        let report = self.current();
        self.sender.send_replace(report);
    }

    /// Changes members that nothing here keeps book of.
    pub fn update(&self, change: impl FnOnce(&mut QueryReport)) {
        self.change(|state| change(&mut state.report));
    }

    /// Starts the clock.
    pub fn start(&self) {
        self.change(|state| {
            state.started = Some(Instant::now());
            state.report.start_time_ms = Some(now_ms());
        });
    }

    /// Sets the planned stages, or adds one.
    pub fn add_stages(&self, definitions: Vec<StageDefinition>) {
        self.change(|state| {
            state
                .report
                .stages
                .extend(definitions.into_iter().map(|definition| StageReport {
                    definition: Arc::new(definition),
                    phase: None,
                    worker_count: 0,
                    partition_count: 0,
                    output: None,
                    start_time_ms: None,
                    duration_ms: 0,
                }));
            state.report.pending_tasks = 0;
        });
    }

    /// Tells that a stage starts with so many tasks.
    pub fn stage_started(&self, stage: u32, tasks: usize) {
        self.change(|state| {
            state.stage_started.insert(stage, Instant::now());
            if let Some(report) = state.report.stages.get_mut(stage as usize) {
                let most = report.definition.max_worker_count.max(1);
                report.worker_count = u32::try_from(tasks).unwrap_or(u32::MAX).clamp(1, most);
                report.phase = Some(StagePhase::ReadingInput);
                report.output = Some(OutputChannel::LocalStorage);
                report.start_time_ms = Some(now_ms());
            }
        });
    }

    /// Sets a stage's phase.
    pub fn phase(&self, stage: u32, phase: StagePhase) {
        self.change(|state| {
            let running = state.stage_started.get(&stage).map(Instant::elapsed);
            if let Some(report) = state.report.stages.get_mut(stage as usize) {
                if phase == StagePhase::ResultsReady {
                    report.duration_ms = running.map_or(0, |time| time.as_millis() as i64);
                }
                report.phase = Some(phase);
            }
        });
    }

    /// Sets how many partitions a stage's output has.
    pub fn partitions(&self, stage: u32, partitions: usize) {
        self.change(|state| {
            if let Some(report) = state.report.stages.get_mut(stage as usize) {
                report.partition_count = u32::try_from(partitions).unwrap_or(u32::MAX);
            }
        });
    }

    /// Sets how many rows each partition of a stage's output has.
    pub fn shuffled(&self, stage: u32, rows: Vec<u64>) {
        self.change(|state| {
            let entry = state.shuffled.entry(stage).or_default();
            entry.rows = rows;
        });
    }

    /// Notes that a worker took up a task.
    pub fn task_started(&self, stage: u32, partition: usize) {
        let pending_ms = self.created.elapsed().as_millis() as i64;
        let mut state = self.state.lock();
        let number = state.worker(stage, partition);
        if state.worker_started.contains_key(&number) {
            return;
        }
        state.worker_started.insert(number, Instant::now());
        let worker_id = format!("{}-worker{number}_0", state.report.task_id);
        state.report.workers.push(WorkerReport {
            number,
            worker_id,
            state: ReportStatus::Running,
            duration_ms: -1,
            pending_ms,
        });
        state.report.workers.sort_by_key(|worker| worker.number);
        state.report.running_tasks = 1 + state.report.workers.len() as i64;
    }

    /// Takes in what a task has counted. Gives how many warnings there are now in the whole query.
    pub fn counted(&self, stage: u32, partition: usize, counters: WorkerCounters, warnings: Vec<Fault>) -> u64 {
        let mut state = self.state.lock();
        let warned = |counters: &WorkerCounters| counters.warnings.values().sum::<u64>();
        let now = warned(&counters);
        let before = state
            .tasks
            .insert((stage, partition), counters)
            .map_or(0, |counters| warned(&counters));
        state.warned = state.warned + now - before.min(state.warned + now);
        let task_id = state.worker_id(stage, partition);
        for fault in warnings {
            if state.report.warnings.len() < limits::WARNINGS_PER_QUERY_MAX {
                state.report.warnings.push(ErrorReport {
                    task_id: task_id.clone(),
                    host: Some(self.host.clone()),
                    stage_number: Some(stage),
                    fault,
                });
            }
        }
        state.warned
    }

    /// Makes the error report of a fault: of a worker where a stage's task raised it, of the controller otherwise.
    pub fn error(&self, place: Option<(u32, usize)>, fault: Fault) -> ErrorReport {
        let state = self.state.lock();
        ErrorReport {
            task_id: match place {
                Some((stage, partition)) => state.worker_id(stage, partition),
                None => state.report.task_id.clone(),
            },
            host: Some(self.host.clone()),
            stage_number: place.map(|(stage, _)| stage),
            fault,
        }
    }

    /// Ends the report.
    pub fn finish(&self, error: Option<ErrorReport>) {
        self.change(|state| {
            state.refresh();
            let status = if error.is_some() {
                ReportStatus::Failed
            } else {
                ReportStatus::Success
            };
            state.report.status = status;
            for worker in &mut state.report.workers {
                worker.state = status;
                let started = state.worker_started.get(&worker.number).or(state.started.as_ref());
                worker.duration_ms = started.map_or(0, |started| started.elapsed().as_millis() as i64);
            }
            for stage in &mut state.report.stages {
                // Druid shows no phases of a failed query.
                stage.phase = match (status, stage.phase) {
                    (ReportStatus::Failed, _) => None,
                    (_, Some(_)) => Some(StagePhase::Finished),
                    (_, None) => None,
                };
            }
            state.report.error = error;
            state.report.pending_tasks = 0;
            state.report.running_tasks = 1;
            state.started.get_or_insert_with(Instant::now);
        });
    }
}

impl State {
    /// Gives the worker that a task counts for: Druid's worker numbers go up to `maxNumTasks` − 1, henge's tasks are more.
    fn worker(&self, stage: u32, partition: usize) -> u32 {
        let count = self
            .report
            .stages
            .get(stage as usize)
            .map_or(1, |report| report.worker_count.max(1));
        u32::try_from(partition % count as usize).unwrap_or(0)
    }

    fn worker_id(&self, stage: u32, partition: usize) -> String {
        format!("{}-worker{}_0", self.report.task_id, self.worker(stage, partition))
    }

    /// Brings clocks and counters up to date.
    fn refresh(&mut self) {
        if self.report.status != ReportStatus::Running {
            return;
        }
        if let Some(started) = self.started {
            self.report.duration_ms = started.elapsed().as_millis() as i64;
        }
        for (number, started) in &self.stage_started {
            if let Some(stage) = self.report.stages.get_mut(*number as usize)
                && matches!(
                    stage.phase,
                    Some(StagePhase::ReadingInput | StagePhase::MergingStatistics | StagePhase::PostReading)
                )
            {
                stage.duration_ms = started.elapsed().as_millis() as i64;
            }
        }
        let mut tree: BTreeMap<u32, BTreeMap<u32, WorkerCounters>> = BTreeMap::new();
        for ((stage, partition), counters) in &self.tasks {
            let worker = self.worker(*stage, *partition);
            let into = tree.entry(*stage).or_default().entry(worker).or_default();
            let definition = self.report.stages.get(*stage as usize).map(|stage| &stage.definition);
            for (channel, snapshot) in &counters.channels {
                let by_partition = match channel {
                    Channel::Input(number) => definition
                        .and_then(|definition| definition.inputs.get(*number))
                        .is_some_and(|input| matches!(input, StageInput::Stage(_))),
                    Channel::Output | Channel::Shuffle => false,
                };
                let place = if by_partition { *partition } else { 0 };
                add_channel(into.channels.entry(*channel).or_default(), snapshot, place);
            }
            if let Some(progress) = &counters.segment_generation {
                let sum = into.segment_generation.get_or_insert_default();
                sum.rows_processed += progress.rows_processed;
                sum.rows_persisted += progress.rows_persisted;
                sum.rows_merged += progress.rows_merged;
                sum.rows_pushed += progress.rows_pushed;
            }
            for (code, count) in &counters.warnings {
                *into.warnings.entry(code.clone()).or_default() += count;
            }
            into.spilled_bytes += counters.spilled_bytes;
        }
        for (stage, shuffled) in &self.shuffled {
            let Some(workers) = tree.get_mut(stage) else { continue };
            let (rows, bytes): (u64, u64) = workers
                .values()
                .filter_map(|worker| worker.channels.get(&Channel::Shuffle))
                .fold((0, 0), |(rows, bytes), channel| {
                    (
                        rows + channel.rows.iter().sum::<u64>(),
                        bytes + channel.bytes.iter().sum::<u64>(),
                    )
                });
            // Partitions are counted once, not by worker: the first one shows them.
            let mut first = true;
            for worker in workers.values_mut() {
                worker.channels.remove(&Channel::Shuffle);
                if std::mem::take(&mut first) && rows > 0 {
                    let share = |part: &u64| (u128::from(*part) * u128::from(bytes) / u128::from(rows)) as u64;
                    let channel = ChannelSnapshot {
                        bytes: shuffled.rows.iter().map(share).collect(),
                        frames: shuffled.rows.iter().map(|rows| rows.div_ceil(8192)).collect(),
                        rows: shuffled.rows.clone(),
                        ..ChannelSnapshot::default()
                    };
                    worker.channels.insert(Channel::Shuffle, channel);
                }
            }
        }
        self.report.counters = tree;
    }
}

/// Adds a task's one-entry lists to a worker's lists, at a place.
fn add_channel(into: &mut ChannelSnapshot, from: &ChannelSnapshot, place: usize) {
    let lists = [
        (&mut into.rows, &from.rows),
        (&mut into.bytes, &from.bytes),
        (&mut into.frames, &from.frames),
        (&mut into.files, &from.files),
        (&mut into.total_files, &from.total_files),
    ];
    for (into, from) in lists {
        let sum: u64 = from.iter().sum();
        if into.len() <= place {
            into.resize(place + 1, 0);
        }
        into[place] += sum;
    }
}
