//! The live report of a query: one value that the controller changes and everybody else watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use crate::controller::tally::{Tally, known_partitions};
use crate::counters::WorkerCounters;
use crate::fault::{Fault, FaultCode};
use crate::limits;
use crate::report::{
    ErrorReport, OutputChannel, Processor, QueryReport, ReportStatus, ShuffleSpec, StageDefinition, StagePhase,
    StageReport, WorkerReport,
};
use crate::stage::graph::placement::Place;

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
    tally: Tally,
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
            tally: Tally::default(),
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

    /// Tells that the plan is made, and workers are asked for.
    pub fn launching(&self) {
        self.change(|state| state.report.pending_tasks = 0);
    }

    /// Sets the stages that are shown, and where the physical stages are shown among them.
    pub fn set_stages(&self, definitions: Vec<StageDefinition>, places: Vec<Place>) {
        self.change(|state| {
            let stages = definitions.into_iter().map(|definition| StageReport {
                definition: Arc::new(definition),
                phase: None,
                worker_count: 0,
                partition_count: 0,
                output: None,
                start_time_ms: None,
                duration_ms: 0,
            });
            state.report.stages = stages.collect();
            state.tally.places = places;
        });
    }

    /// Tells that a physical stage starts with so many tasks.
    pub fn stage_started(&self, stage: u32, tasks: usize) {
        self.change(|state| {
            let place = state.tally.place(stage);
            for shown in place.first..=place.last {
                state.stage_started.entry(shown).or_insert_with(Instant::now);
                let known = state
                    .report
                    .stages
                    .get(shown as usize)
                    .and_then(|report| known_partitions(&state.report.stages, &report.definition));
                let Some(report) = state.report.stages.get_mut(shown as usize) else {
                    continue;
                };
                if report.phase.is_some() {
                    continue;
                }
                let most = report.definition.max_worker_count.max(1);
                report.worker_count = u32::try_from(tasks).unwrap_or(u32::MAX).clamp(1, most);
                report.phase = Some(StagePhase::ReadingInput);
                report.output = Some(OutputChannel::LocalStorage);
                report.start_time_ms = Some(now_ms());
                report.partition_count = known.unwrap_or(0);
            }
        });
    }

    /// Sets a physical stage's phase.
    pub fn phase(&self, stage: u32, phase: StagePhase) {
        self.change(|state| {
            let place = state.tally.place(stage);
            if place.passes_on {
                return;
            }
            for shown in place.first..=place.last {
                let running = state.stage_started.get(&shown).map(Instant::elapsed);
                let Some(report) = state.report.stages.get_mut(shown as usize) else {
                    continue;
                };
                let cut_later = matches!(report.definition.shuffle, Some(ShuffleSpec::TargetSize { .. }));
                if matches!(phase, StagePhase::ResultsReady | StagePhase::Finished) && !cut_later {
                    state.tally.sorted.insert(shown);
                }
                if phase == StagePhase::ResultsReady {
                    report.duration_ms = running.map_or(0, |time| time.as_millis() as i64);
                }
                report.phase = Some(phase);
            }
        });
    }

    /// Sets how many partitions a physical stage's output has, where that was not known beforehand.
    pub fn partitions(&self, stage: u32, partitions: usize) {
        self.change(|state| {
            let shown = state.tally.place(stage).last;
            if let Some(report) = state.report.stages.get_mut(shown as usize)
                && (matches!(report.definition.shuffle, Some(ShuffleSpec::TargetSize { .. }))
                    || report.definition.processor == Processor::SegmentGenerator)
            {
                // Nothing at all is one partition without rows.
                report.partition_count = u32::try_from(partitions).unwrap_or(u32::MAX).max(1);
            }
        });
    }

    /// Sets how many rows each partition of a physical stage's output has.
    pub fn shuffled(&self, stage: u32, rows: Vec<u64>) {
        self.change(|state| {
            let place = state.tally.place(stage);
            if !place.passes_on {
                state.tally.sorted.insert(place.last);
                state.tally.shuffled.insert(place.last, rows);
            }
        });
    }

    /// Notes that a worker took up a task.
    pub fn task_started(&self, stage: u32, partition: usize) {
        let pending_ms = self.created.elapsed().as_millis() as i64;
        let mut state = self.state.lock();
        let number = state.tally.worker(&state.report.stages, stage, partition);
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
            .tally
            .tasks
            .insert((stage, partition), counters)
            .map_or(0, |counters| warned(&counters));
        state.warned = state.warned + now - before.min(state.warned + now);
        let task_id = state.worker_id(stage, partition);
        let shown = state.tally.place(stage).first;
        for fault in warnings {
            if state.report.warnings.len() < limits::WARNINGS_PER_QUERY_MAX {
                state.report.warnings.push(ErrorReport {
                    task_id: task_id.clone(),
                    host: Some(self.host.clone()),
                    stage_number: Some(shown),
                    fault,
                });
            }
        }
        state.warned
    }

    /// Makes the error report of a fault: of a worker where a stage's task raised it, of the controller otherwise.
    pub fn error(&self, place: Option<(u32, usize)>, fault: Fault) -> ErrorReport {
        let state = self.state.lock();
        // The controller speaks for a worker with too many bad rows, and for itself of rows without a time.
        let (place, at_stage) = match fault.code {
            FaultCode::TooManyWarnings => (place, false),
            FaultCode::InsertTimeNull => (place.filter(|(stage, _)| state.is_generator(*stage)), true),
            _ => (place, true),
        };
        ErrorReport {
            task_id: match place {
                Some((stage, partition)) => state.worker_id(stage, partition),
                None => state.report.task_id.clone(),
            },
            host: Some(self.host.clone()),
            stage_number: place.filter(|_| at_stage).map(|(stage, _)| {
                let shown = state.tally.place(stage);
                // Where one task does the work of several stages, reading is the first one's.
                match fault.code {
                    FaultCode::CannotParseExternalData | FaultCode::InvalidNullByte => shown.first,
                    _ => shown.last,
                }
            }),
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
            let over = |phase: StagePhase| matches!(phase, StagePhase::ResultsReady | StagePhase::Finished);
            let stages = &state.report.stages;
            // What fails after all stages have ended is the publishing; the workers know nothing of it.
            let worked = !stages.is_empty() && stages.iter().all(|stage| stage.phase.is_some_and(over));
            let worker_status = if worked { ReportStatus::Success } else { status };
            for worker in &mut state.report.workers {
                worker.state = worker_status;
                let started = state.worker_started.get(&worker.number).or(state.started.as_ref());
                worker.duration_ms = started.map_or(0, |started| started.elapsed().as_millis() as i64);
            }
            for stage in &mut state.report.stages {
                // Druid shows no phases of a query whose workers have failed.
                stage.phase = stage
                    .phase
                    .filter(|_| worker_status == ReportStatus::Success)
                    .map(|_| StagePhase::Finished);
            }
            state.report.error = error;
            state.report.running_tasks = 1;
            state.started.get_or_insert_with(Instant::now);
        });
    }
}

impl State {
    fn is_generator(&self, stage: u32) -> bool {
        let shown = self.report.stages.get(self.tally.place(stage).last as usize);
        shown.is_some_and(|stage| stage.definition.processor == Processor::SegmentGenerator)
    }

    fn worker_id(&self, stage: u32, partition: usize) -> String {
        let worker = self.tally.worker(&self.report.stages, stage, partition);
        format!("{}-worker{worker}_0", self.report.task_id)
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
        self.report.counters = self.tally.tree(&self.report.stages);
    }
}
