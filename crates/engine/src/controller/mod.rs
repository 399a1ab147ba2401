//! The controller of a query (Druid's `ControllerImpl`): plans stages, runs them in order of dependency, cuts what they leave,
//! publishes, and keeps the report.
//!
//! ```text
//!  plan ── cut_plan ──> stages
//!    stage is ready when its inputs are        NEW
//!    tasks run, their runs are accepted        READING_INPUT
//!    samples are cut into ranges               MERGING_STATISTICS → POST_READING → RESULTS_READY
//!    its reader has ended, its runs go         FINISHED
//!  last stage: rows into the report            (SELECT, select.rs)
//!              segments, then one publish      (INSERT and REPLACE, ingestion.rs)
//! ```

pub mod cancel;
pub(crate) mod ingestion;
pub mod live;
pub mod results;
mod select;
pub mod settings;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use fail::fail_point;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use henge_exchange::{CutLimits, CutTarget, KeyRange, KeySpec, RunGuard, RunSet, RunStore, cut, staged_schema};
use henge_metadata::MetadataStore;
use henge_sql::{Planned, Statement};
use henge_storage::{DeepStorage, SegmentCache};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::controller::cancel::CancelHandle;
use crate::controller::live::LiveReport;
use crate::controller::settings::TaskSettings;
use crate::convert::CancelReason;
use crate::engine::EngineConfig;
use crate::fault::{Fault, FaultCode};
use crate::limits;
use crate::memory::{MemoryShares, task_config};
use crate::report::{ErrorReport, StageDefinition, StagePhase};
use crate::runner::{AttemptBudget, StageEvent, StageRunner};
use crate::stage::bind::descriptors;
use crate::stage::cut::{PlannedStage, cut_plan};
use crate::stage::extern_scan::{ExternLimits, ExternScanExec};
use crate::stage::graph::placement::{Place, places};
use crate::stage::graph::{self, Destination};
use crate::stage::input::StageInputExec;
use crate::stage::join::physical_plan;
use crate::stage::scope::too_many_warnings;
use crate::stage::window_rows::bound_windows;
use crate::stage::{BadRows, Manifest, StageOutput, StageSpec, StageWork, TaskOutput, accept};

/// What the process offers to its controllers.
pub struct Services {
    /// How the process is set up.
    pub config: EngineConfig,
    /// Shares of memory.
    pub shares: MemoryShares,
    /// Published segments, locks, tasks.
    pub metadata: Arc<MetadataStore>,
    /// Runs tasks.
    pub runner: Arc<dyn StageRunner>,
    /// Where runs lie.
    pub run_store: Arc<dyn RunStore>,
    /// Where segments lie.
    pub deep_storage: Arc<dyn DeepStorage>,
    /// Open segments.
    pub segments: Arc<SegmentCache>,
    /// Held for reading while a statement may open segments; held for writing while files of replaced segments go.
    pub readers: Arc<tokio::sync::RwLock<()>>,
}

/// Why a query failed, and in which task, if a task raised it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Stage and partition.
    pub place: Option<(u32, usize)>,
    /// The fault, boxed since every fallible step of the controller carries the room for it.
    pub fault: Box<Fault>,
}

impl<F: Into<Fault>> From<F> for Failure {
    fn from(fault: F) -> Self {
        Self {
            place: None,
            fault: Box::new(fault.into()),
        }
    }
}

/// One query.
pub struct Controller {
    /// Controller task.
    pub task_id: String,
    /// Its group.
    pub group_id: String,
    /// The statement.
    pub planned: Planned,
    /// What it runs on.
    pub services: Arc<Services>,
    /// Its report.
    pub live: Arc<LiveReport>,
    /// Stops it.
    pub cancel: Arc<CancelHandle>,
    /// Start of the names of its runs; unlike the task id it has no foreign letters.
    pub run_prefix: String,
}

/// A stage that has ended, and the responsibility for its runs.
struct Ended {
    output: Arc<StageOutput>,
    ranges: Option<Vec<KeyRange>>,
    /// Removes the runs with the value.
    _guard: RunGuard,
}

impl Controller {
    /// Runs the query to its end. Gives the error report of a query that failed.
    pub async fn run(&self) -> Option<ErrorReport> {
        let result = self.run_statement().await;
        let error = result.err().map(|failure| match self.cancel.fault() {
            // Whatever broke while the query was being stopped, it was stopped.
            Some(fault) => {
                // The controller counts bad rows of all tasks, and speaks for the one that met the last of them.
                let place = failure.place.filter(|_| fault.code == FaultCode::TooManyWarnings);
                self.live.error(place, fault)
            }
            None => self.live.error(failure.place, self.with_memory(*failure.fault)),
        });
        self.live.finish(error.clone());
        error
    }

    /// Says of a lack of memory what there is.
    fn with_memory(&self, fault: Fault) -> Fault {
        if fault.code != FaultCode::NotEnoughMemory || fault.fields.contains_key("serverMemory") {
            return fault;
        }
        let shares = &self.services.shares;
        fault
            .with("serverMemory", self.services.config.memory_bytes)
            .with("usableMemory", shares.slot_bytes as u64)
            .with("serverWorkers", 1)
            .with("serverThreads", shares.slots as u64)
    }

    async fn run_statement(&self) -> Result<(), Failure> {
        let _reading = self.services.readers.clone().read_owned().await;
        let settings = TaskSettings::read(&self.planned.context).map_err(|error| Fault::bad_context(&error))?;
        match self.planned.statement.clone() {
            Statement::Select => self.select(&settings).await,
            Statement::Insert(ingest) => self.ingest(&settings, ingest, None).await,
            Statement::Replace(ingest, overwrite) => self.ingest(&settings, ingest, Some(overwrite)).await,
            Statement::Export(export) => Err(Fault::not_supported(format!(
                "export to [{}] is not supported by this build; use SELECT and write its results",
                export.destination
            ))
            .into()),
        }
    }

    /// Makes the session in which the statement's physical plan is made and run.
    fn session(&self, settings: &TaskSettings) -> SessionState {
        let slots = self.services.runner.slots();
        let extern_limits = ExternLimits {
            slots: slots.count,
            files_per_worker: settings.max_input_files_per_worker,
            workers: u64::from(settings.workers),
        };
        let config = task_config(self.planned.session.config(), slots.count, slots.bytes)
            .with_extension(Arc::new(extern_limits));
        let state = SessionStateBuilder::new_from_existing(self.planned.session.clone())
            .with_config(config)
            .build();
        henge_scan::with_virtual_columns(state)
    }

    /// Plans and cuts the statement.
    async fn plan(&self, settings: &TaskSettings) -> Result<(Vec<PlannedStage>, Arc<TaskContext>), Failure> {
        let session = self.session(settings);
        let planned = physical_plan(
            &session,
            &self.planned.plan,
            settings.sort_merge_join,
            self.services.runner.slots().bytes,
        );
        // Planning asks web servers for the sizes of files, which may take its time.
        let physical = tokio::select! {
            biased;
            () = self.cancel.token().cancelled() => return Err(Fault::canceled(CancelReason::Unknown).into()),
            physical = planned => physical?,
        };
        let stages = cut_plan(bound_windows(physical, settings.window_rows_max)?)?;
        for stage in &stages {
            check_leaves(stage.plan.as_ref())?;
        }
        self.live.launching();
        let modes = ["SEQUENTIAL", "PARALLEL", "AUTO"];
        self.planned
            .context
            .word("clusterStatisticsMergeMode", &modes, "ClusterStatisticsMergeMode")
            .map_err(|error| Fault::bad_context(&error))?;
        Ok((stages, session.task_ctx()))
    }

    /// Shows the stages: those that Druid makes of the native query where the plan does their work, or else those of the plan.
    fn describe(
        &self,
        settings: &TaskSettings,
        stages: &[PlannedStage],
        destination: Destination,
        physical: impl FnOnce() -> Vec<StageDefinition>,
    ) -> Result<(), Failure> {
        let graph = graph::stages(&self.planned.native, destination, settings, &self.task_id);
        let placed = graph.and_then(|graph| Some((places(&graph, stages)?, graph)));
        match placed {
            Some((places, graph)) => {
                check_columns(&graph)?;
                self.live.set_stages(graph, places);
            }
            None => {
                let physical = physical();
                let places = physical
                    .iter()
                    .map(|stage| Place::identity(stage.number, stage.inputs.len()));
                let places = places.collect();
                check_columns(&physical)?;
                self.live.set_stages(physical, places);
            }
        }
        Ok(())
    }

    /// Runs stages, each as soon as its inputs are there, and gives what the last one left. `last_key` orders its rows.
    async fn run_stages(
        &self,
        settings: &TaskSettings,
        stages: &[PlannedStage],
        context: &Arc<TaskContext>,
        last_key: &KeySpec,
        attempts: &AttemptBudget,
    ) -> Result<Ended, Failure> {
        let stop = self.cancel.token().child_token();
        let inputs: Vec<BTreeSet<u32>> = stages.iter().map(|stage| stage_inputs(&stage.plan)).collect();
        let mut waiting: BTreeSet<u32> = stages.iter().map(|stage| stage.number).collect();
        let mut ended: BTreeMap<u32, Ended> = BTreeMap::new();
        let mut running = FuturesUnordered::new();
        let mut failure: Option<Failure> = None;
        let last = stages.len().saturating_sub(1) as u32;
        loop {
            if failure.is_none() {
                let ready: Vec<u32> = waiting
                    .iter()
                    .copied()
                    .filter(|number| inputs[*number as usize].iter().all(|input| ended.contains_key(input)))
                    .collect();
                for number in ready {
                    waiting.remove(&number);
                    let stage = &stages[number as usize];
                    let spec = match self.spec(settings, stage, context, last_key, &ended) {
                        Ok(spec) => spec,
                        Err(error) => {
                            failure.get_or_insert(error);
                            break;
                        }
                    };
                    let stop = stop.clone();
                    running.push(async move { (number, self.run_stage(settings, spec, attempts, stop).await) });
                }
            }
            let Some((number, result)) = running.next().await else {
                break;
            };
            let finished =
                result.and_then(|manifests| self.stage_ended(settings, &stages[number as usize], last_key, manifests));
            match finished {
                Ok(end) => {
                    for input in &inputs[number as usize] {
                        // Its rows have been read: the runs go.
                        ended.remove(input);
                        self.live.phase(*input, StagePhase::Finished);
                    }
                    self.live.phase(number, StagePhase::ResultsReady);
                    ended.insert(number, end);
                }
                Err(error) => {
                    failure.get_or_insert(error);
                    stop.cancel();
                }
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None => ended
                .remove(&last)
                .ok_or_else(|| Fault::unknown("the query has no last stage").into()),
        }
    }

    /// Writes down what a stage's tasks have to do.
    fn spec(
        &self,
        settings: &TaskSettings,
        stage: &PlannedStage,
        context: &Arc<TaskContext>,
        last_key: &KeySpec,
        ended: &BTreeMap<u32, Ended>,
    ) -> Result<StageSpec, Failure> {
        let mut inputs = BTreeMap::new();
        let mut ranges = BTreeMap::new();
        for number in stage_inputs(&stage.plan) {
            let Some(end) = ended.get(&number) else { continue };
            inputs.insert(number, end.output.clone());
            if let Some(cut) = &end.ranges {
                ranges.insert(number, cut.clone());
            }
        }
        let tasks = descriptors(&stage.plan, &ranges)?;
        let key = stage
            .exchange
            .as_ref()
            .map_or(last_key, |exchange| &exchange.key)
            .clone();
        Ok(StageSpec {
            query_id: self.run_prefix.clone(),
            number: stage.number,
            work: StageWork::Plan {
                template: stage.plan.clone(),
                key,
            },
            tasks,
            inputs,
            context: context.clone(),
            bad_rows: BadRows::of(settings.max_parse_exceptions),
            limits: settings.row_limits,
            row_limit: stage
                .exchange
                .as_ref()
                .and_then(|exchange| exchange.limit)
                .map(|limit| limit as u64),
        })
    }

    /// Runs a stage's tasks, keeps the report, and accepts the manifests.
    async fn run_stage(
        &self,
        settings: &TaskSettings,
        spec: StageSpec,
        attempts: &AttemptBudget,
        stop: CancellationToken,
    ) -> Result<Vec<Manifest>, Failure> {
        let (number, partitions) = (spec.number, spec.tasks.len());
        self.live.stage_started(number, partitions);
        let (sender, mut events) = mpsc::unbounded_channel();
        let run = self.services.runner.run(spec, attempts.clone(), sender, stop);
        tokio::pin!(run);
        let mut failed_at: Option<usize> = None;
        let result = loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => self.on_event(settings, number, event, &mut failed_at),
                result = &mut run => break result,
            }
        };
        while let Ok(event) = events.try_recv() {
            self.on_event(settings, number, event, &mut failed_at);
        }
        self.live.publish();
        let manifests = result.map_err(|fault| Failure {
            place: failed_at.map(|at| (number, at)),
            fault: Box::new(fault),
        })?;
        if let Some(fault) = self.cancel.fault() {
            self.discard(&manifests);
            return Err(fault.into());
        }
        let (accepted, orphans) = accept(number, partitions, manifests)?;
        self.discard(&orphans);
        Ok(accepted)
    }

    fn on_event(&self, settings: &TaskSettings, stage: u32, event: StageEvent, failed_at: &mut Option<usize>) {
        match event {
            StageEvent::Started { partition, .. } => self.live.task_started(stage, partition),
            StageEvent::Counters {
                partition,
                counters,
                warnings,
            } => {
                let warned = self.live.counted(stage, partition, *counters, warnings);
                if let BadRows::Warn { max: Some(max) } = BadRows::of(settings.max_parse_exceptions)
                    && warned > max
                {
                    failed_at.get_or_insert(partition);
                    self.cancel.fail(too_many_warnings(max));
                }
                self.live.publish();
            }
            StageEvent::Failed {
                partition,
                again,
                fault,
                attempt,
            } => {
                tracing::debug!(stage, partition, attempt, again, %fault, "a task has failed");
                if !again {
                    failed_at.get_or_insert(partition);
                }
            }
            StageEvent::Finished { .. } => {}
        }
    }

    fn discard(&self, manifests: &[Manifest]) {
        let mut guard = RunGuard::new(self.services.run_store.clone());
        for manifest in manifests {
            if let TaskOutput::Runs(set) = &manifest.output {
                guard.adopt(set);
            }
        }
    }

    /// Takes over a stage's runs and cuts them for the next stage.
    fn stage_ended(
        &self,
        settings: &TaskSettings,
        stage: &PlannedStage,
        last_key: &KeySpec,
        manifests: Vec<Manifest>,
    ) -> Result<Ended, Failure> {
        let mut guard = RunGuard::new(self.services.run_store.clone());
        let mut sets: Vec<RunSet> = Vec::with_capacity(manifests.len());
        for manifest in manifests {
            if let TaskOutput::Runs(set) = manifest.output {
                guard.adopt(&set);
                sets.push(set);
            }
        }
        fail_point!("stage-before-cut", |_| Err(Fault::unknown(
            "failure injected at [stage-before-cut]"
        )
        .into()));
        let key = stage
            .exchange
            .as_ref()
            .map_or(last_key, |exchange| &exchange.key)
            .clone();
        let schema = staged_schema(&stage.plan.schema());
        let output = StageOutput {
            stage: stage.number,
            schema,
            key,
            sets,
        };
        let Some(exchange) = &stage.exchange else {
            return Ok(Ended {
                output: Arc::new(output),
                ranges: None,
                _guard: guard,
            });
        };
        self.live.partitions(stage.number, exchange.partitions);
        if exchange.broadcast {
            let batches = output
                .sets
                .iter()
                .flat_map(|set| &set.runs)
                .flat_map(|run| &run.batches);
            let bytes: u64 = batches.map(|batch| batch.memory_bytes).sum();
            let limit = (self.services.shares.slot_bytes as f64 * limits::BROADCAST_SHARE) as u64;
            if bytes > limit {
                return Err(Fault::broadcast_too_large(limit).into());
            }
            return Ok(Ended {
                output: Arc::new(output),
                ranges: None,
                _guard: guard,
            });
        }
        self.live.phase(stage.number, StagePhase::PostReading);
        let target = if output.key.hash.is_some() {
            CutTarget::Hash
        } else {
            CutTarget::Single
        };
        let sets: Vec<&RunSet> = output.sets.iter().collect();
        let cut_limits = CutLimits {
            partitions: settings.max_partitions,
            ..CutLimits::default()
        };
        let ranges = cut(&output.key, &sets, target, cut_limits)?;
        self.live
            .shuffled(stage.number, ranges.iter().map(|range| range.estimated_rows).collect());
        Ok(Ended {
            output: Arc::new(output),
            ranges: Some(ranges),
            _guard: guard,
        })
    }
}

/// Refuses stages of too many columns; those of the engine's own count, too.
fn check_columns(stages: &[StageDefinition]) -> Result<(), Fault> {
    let max = limits::STAGE_COLUMNS_MAX;
    let columns = stages.iter().map(|stage| stage.signature.len()).max().unwrap_or(0);
    if columns <= max {
        return Ok(());
    }
    Err(Fault::new(
        FaultCode::TooManyColumns,
        format!("Too many output columns (requested = {columns}, max = {max})"),
    )
    .with("numColumns", columns as u64)
    .with("maxColumns", max as u64))
}

/// Lists the stages that a fragment reads.
fn stage_inputs(plan: &Arc<dyn ExecutionPlan>) -> BTreeSet<u32> {
    let mut inputs = BTreeSet::new();
    let mut nodes = vec![plan];
    while let Some(node) = nodes.pop() {
        if let Some(input) = (node.as_ref() as &dyn std::any::Any).downcast_ref::<StageInputExec>() {
            inputs.insert(input.stage);
        }
        nodes.extend(node.children());
    }
    inputs
}

/// Checks what can only be seen in the plan: names of external columns.
fn check_leaves(plan: &dyn ExecutionPlan) -> Result<(), Fault> {
    if let Some(scan) = (plan as &dyn std::any::Any).downcast_ref::<ExternScanExec>() {
        ingestion::check_column_names(scan)?;
        ingestion::check_column_types(scan)?;
    }
    plan.children()
        .into_iter()
        .try_for_each(|child| check_leaves(child.as_ref()))
}
