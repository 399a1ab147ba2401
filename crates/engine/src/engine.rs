//! The facade: one [`Engine`] a process. Plans statements, answers interactive queries, runs tasks, keeps their reports.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::catalog::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnv;
use henge_exchange::{CappedBudget, LocalRunStore, RunStore};
use henge_metadata::{MetadataErrorKind, MetadataSnapshot, MetadataStore, TaskRecord, TaskStatus};
use henge_scan::{CachedSegments, ScanCatalog};
use henge_sql::{Category, EngineKind, Lookups, OutputColumn, Persona, Planned, Planner, SqlError, SqlRequest};
use henge_storage::{DeepStorage, LocalDeepStorage, SegmentCache};
use henge_time::Interval;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

use crate::catalog::EngineCatalog;
use crate::controller::cancel::CancelHandle;
use crate::controller::ingestion::remove_unused;
use crate::controller::live::LiveReport;
use crate::controller::settings::TaskSettings;
use crate::controller::{Controller, Services};
use crate::convert::CancelReason;
use crate::fault::{Fault, FaultCode};
use crate::memory::{MemoryShares, QueryMemory, base_runtime};
use crate::query::{self, Queries, QueryPlace};
use crate::report::{QueryReport, ReportStatus};
use crate::runner::LocalRunner;
use crate::tasks::{RunningTask, Tasks, stored_state, stored_status};

/// How the process is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Data folder: `metadata.sqlite`, `segments/` (deep storage), `tmp/` (runs and spills, emptied at start), `reports/`.
    pub dir: PathBuf,
    /// The one memory number: caches, runs, operators and segment writers share it.
    pub memory_bytes: u64,
    /// Threads of the compute pool, and tasks that run at once.
    pub threads: usize,
    /// `host:port` as reports and `sys.servers` show it.
    pub advertised: String,
}

/// Why a statement could not be answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The statement is wrong.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The query failed while it ran.
    #[error("{0}")]
    Fault(Fault),
    /// A task id that already exists.
    #[error("task [{0}] already exists")]
    DuplicateTask(String),
    /// The process cannot go on: data folder, metadata store.
    #[error("{0}")]
    Fatal(String),
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        EngineError::Fault(fault)
    }
}

/// Which engine a statement is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    /// Answered at once, over segments and system tables (Druid's `native`).
    Interactive,
    /// Run as a multi-stage task (Druid's `msq-task`).
    Task,
}

/// Rows of an interactive query: a stream of batches and the columns as the user named them.
pub struct QueryRows {
    /// Columns in output order.
    pub columns: Vec<OutputColumn>,
    /// Batches; dropping the stream cancels the query.
    pub stream: SendableRecordBatchStream,
}

/// A task to be run.
pub struct TaskRequest {
    /// `query-<sqlQueryId>`.
    pub task_id: String,
    /// Its own id, unless the client says otherwise.
    pub group_id: String,
    /// The target table; `__query_select` for SELECT.
    pub datasource: String,
    /// The statement, planned for [`PlanKind::Task`].
    pub planned: Planned,
    /// Druid's task JSON, as `GET …/task/{id}` answers it.
    pub payload: Value,
    /// When the task was made, milliseconds since the epoch.
    pub created_ms: i64,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskState {
    /// Running, or how it ended.
    pub status: ReportStatus,
    /// Why it failed.
    pub fault: Option<Fault>,
    /// From start to end; −1 while it runs.
    pub duration_ms: i64,
}

/// Tables that describe the process: `INFORMATION_SCHEMA` and `sys`. The server implements them.
pub trait SystemTables: Send + Sync {
    /// Gives a table of a schema, if there is one.
    fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>>;
    /// Lists the tables of a schema.
    fn names(&self, schema: &str) -> Vec<String>;
}

/// One process of henge: plans statements, answers queries, runs tasks.
pub struct Engine {
    services: Arc<Services>,
    scans: Arc<ScanCatalog>,
    lookups: Arc<Lookups>,
    system: RwLock<Option<Arc<dyn SystemTables>>>,
    queries: Arc<Queries>,
    query_memory: Arc<QueryMemory>,
    tasks: Arc<Tasks>,
    base: Arc<RuntimeEnv>,
    compute: Compute,
}

/// Stack of a compute thread: plans are trees, and some are deep.
const COMPUTE_STACK_BYTES: usize = 16 << 20;

/// The compute pool: parsing, sorting, compression and operators run here and never on the threads that answer requests.
struct Compute(Option<Runtime>);

impl Compute {
    fn start(threads: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("henge-compute")
            .thread_stack_size(COMPUTE_STACK_BYTES)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("the runtime is there until drop").handle()
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which is not allowed where the engine may be dropped.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Engine {
    /// Opens the data folder, recovers from a crash, and starts the compute pool.
    ///
    /// What an ended process left is dealt with in this order: the store is owned (a second process is refused here), running
    /// tasks become failed, temporary files go, and where a task was cut off, segments that nobody published go too.
    pub async fn open(config: EngineConfig) -> Result<Arc<Engine>, EngineError> {
        let fatal = |what: &str| {
            let what = what.to_string();
            move |error: std::io::Error| EngineError::Fatal(format!("cannot {what}: {error}"))
        };
        let dir = config.dir.clone();
        std::fs::create_dir_all(&dir).map_err(fatal(&format!("make data folder [{}]", dir.display())))?;
        let metadata = MetadataStore::open(&dir.join("metadata.sqlite"))
            .await
            .map_err(|error| EngineError::Fatal(error.to_string()))?;
        let metadata = Arc::new(metadata);
        let tmp_dir = dir.join("tmp");
        let (run_dir, spill_dir, segment_dir) = (tmp_dir.join("runs"), tmp_dir.join("spill"), tmp_dir.join("segments"));
        let reports_dir = dir.join("reports");
        empty_dir(&tmp_dir).map_err(fatal(&format!("empty folder [{}]", tmp_dir.display())))?;
        for folder in [&run_dir, &spill_dir, &segment_dir, &reports_dir] {
            std::fs::create_dir_all(folder).map_err(fatal(&format!("make folder [{}]", folder.display())))?;
        }
        let storage =
            LocalDeepStorage::open(&dir.join("segments")).map_err(|error| EngineError::Fatal(error.to_string()))?;
        let deep_storage: Arc<dyn DeepStorage> = Arc::new(storage);
        let tasks = Arc::new(Tasks::new(reports_dir));
        recover(&metadata, deep_storage.as_ref(), &tasks, &config.advertised).await?;

        let shares = MemoryShares::of(config.memory_bytes, config.threads);
        let compute = Compute::start(config.threads).map_err(fatal("start the compute pool"))?;
        let base = base_runtime(&spill_dir).map_err(|error| EngineError::Fatal(error.to_string()))?;
        let run_store: Arc<dyn RunStore> = Arc::new(LocalRunStore::new(
            run_dir,
            Arc::new(CappedBudget::new(shares.run_bytes)),
        ));
        let segments = Arc::new(SegmentCache::new(deep_storage.clone(), shares.cache_bytes));
        let scans = {
            let _inside = compute.handle().enter();
            ScanCatalog::new(Arc::new(CachedSegments::new(segments.clone())))
        };
        let runner = LocalRunner::new(
            compute.handle().clone(),
            shares,
            base.clone(),
            run_store.clone(),
            deep_storage.clone(),
            segment_dir,
        );
        let services = Services {
            config,
            shares,
            metadata,
            runner: Arc::new(runner),
            run_store,
            deep_storage,
            segments,
            readers: Arc::default(),
        };
        Ok(Arc::new(Engine {
            services: Arc::new(services),
            scans,
            lookups: Arc::default(),
            system: RwLock::default(),
            queries: Arc::default(),
            query_memory: QueryMemory::of(&shares),
            tasks,
            base,
            compute,
        }))
    }

    /// Gives the configuration.
    pub fn config(&self) -> &EngineConfig {
        &self.services.config
    }

    /// Gives the metadata store.
    pub fn metadata(&self) -> &Arc<MetadataStore> {
        &self.services.metadata
    }

    /// Gives the metadata as of now.
    pub fn snapshot(&self) -> Arc<MetadataSnapshot> {
        self.services.metadata.snapshot()
    }

    /// Gives the cache of open segments.
    pub fn segment_cache(&self) -> &Arc<SegmentCache> {
        &self.services.segments
    }

    /// Gives the tables of datasources, for those who describe their columns.
    pub fn scan_catalog(&self) -> &Arc<ScanCatalog> {
        &self.scans
    }

    /// Gives the lookups that statements may use. The server fills them from its settings, which it keeps.
    pub fn lookups(&self) -> &Arc<Lookups> {
        &self.lookups
    }

    /// Adds the tables of `INFORMATION_SCHEMA` and `sys`.
    pub fn register_system_tables(&self, tables: Arc<dyn SystemTables>) {
        *self.system.write() = Some(tables);
    }

    /// Plans a statement, against the segments that are published now.
    pub async fn plan(&self, kind: PlanKind, request: SqlRequest) -> Result<Planned, SqlError> {
        let catalog = EngineCatalog::new(
            self.snapshot(),
            self.scans.clone(),
            self.lookups.clone(),
            self.system.read().clone(),
            self.services.metadata.clone(),
        );
        let engine = match kind {
            PlanKind::Interactive => EngineKind::Native,
            PlanKind::Task => EngineKind::Task,
        };
        let planner = Planner::new(Arc::new(catalog), engine);
        // Planning may look at external data, and wait for it: never on a thread that others compute on.
        let planned = self.compute.handle().spawn_blocking(move || planner.plan_now(&request));
        match planned.await {
            Ok(planned) => planned,
            Err(panic) => Err(SqlError::general(
                Persona::Developer,
                Category::Defensive,
                format!("planning the statement panicked: {panic}"),
            )),
        }
    }

    /// Answers an interactive query.
    pub async fn query(&self, query_id: &str, planned: Planned) -> Result<QueryRows, EngineError> {
        let threads = self.services.config.threads;
        let place = QueryPlace {
            compute: self.compute.handle().clone(),
            base: self.base.clone(),
            memory: self.query_memory.clone(),
            threads,
            readers: self.services.readers.clone(),
        };
        Ok(query::start(&self.queries, query_id, planned, place).await?)
    }

    /// Stops an interactive query; false where there is none of that id.
    pub fn cancel_query(&self, query_id: &str) -> bool {
        self.queries.cancel(query_id)
    }

    /// Takes a task on; it runs in the background.
    pub async fn submit(&self, task: TaskRequest) -> Result<(), EngineError> {
        let context = task.payload.get("context").cloned().unwrap_or(Value::Null);
        let live = Arc::new(LiveReport::new(
            &task.task_id,
            &self.services.config.advertised,
            context,
        ));
        let cancel = Arc::new(CancelHandle::default());
        let (ended_sender, ended) = watch::channel(None);
        let running = RunningTask {
            live: live.clone(),
            cancel: cancel.clone(),
            ended,
        };
        if !self.tasks.add(&task.task_id, running) {
            return Err(EngineError::DuplicateTask(task.task_id));
        }
        let record = TaskRecord {
            id: task.task_id.clone(),
            created_date: henge_time::format_millis(task.created_ms),
            datasource: task.datasource,
            payload: task.payload,
            status: TaskStatus::running(&task.task_id),
            task_type: Some("query_controller".to_string()),
            group_id: Some(task.group_id.clone()),
        };
        if let Err(error) = self.services.metadata.insert_task(record).await {
            self.tasks.forget(&task.task_id);
            return Err(match error.kind() {
                MetadataErrorKind::AlreadyExists => EngineError::DuplicateTask(task.task_id),
                _ => EngineError::Fault(error.into()),
            });
        }
        let timeout = TaskSettings::read(&task.planned.context)
            .ok()
            .and_then(|settings| settings.timeout_ms);
        let controller = Controller {
            task_id: task.task_id.clone(),
            group_id: task.group_id,
            planned: task.planned,
            services: self.services.clone(),
            live,
            cancel,
            run_prefix: uuid::Uuid::new_v4().simple().to_string(),
        };
        let tasks = self.tasks.clone();
        tokio::spawn(async move {
            let state = run_task(controller, &tasks, timeout).await;
            // Whoever waits may have gone.
            let _ = ended_sender.send(Some(state));
        });
        Ok(())
    }

    /// Waits until a task has ended; `None` where it is unknown.
    pub async fn wait(&self, task_id: &str) -> Option<TaskState> {
        if let Some(mut task) = self.tasks.running(task_id)
            && let Ok(state) = task.ended.wait_for(Option::is_some).await
        {
            return state.clone();
        }
        match self.tasks.end_of(task_id) {
            Some(state) => Some(state),
            None => stored_state(&self.services.metadata, task_id).await,
        }
    }

    /// Gives the live report of a running task.
    pub fn watch(&self, task_id: &str) -> Option<watch::Receiver<Arc<QueryReport>>> {
        self.tasks.running(task_id).map(|task| task.live.watch())
    }

    /// Gives the report of a task: live, or as stored when it ended.
    pub async fn report(&self, task_id: &str) -> Option<Arc<QueryReport>> {
        self.tasks.report(task_id).await
    }

    /// Removes unused segments of a datasource that lie inside an interval, files and rows, in the background: once no statement
    /// reads them any more.
    pub fn kill_unused(&self, datasource: &str, interval: Interval) {
        remove_unused(&self.services, datasource.to_string(), move |segment| {
            interval.contains(&segment.interval)
        });
    }

    /// Stops a task; false where it does not run.
    pub async fn shutdown_task(&self, task_id: &str) -> bool {
        let task = self.tasks.running(task_id);
        task.inspect(|task| task.cancel.cancel(CancelReason::TaskShutdown))
            .is_some()
    }

    /// Stops a worker of a task, which ends the task; false where it does not run. `worker_id` is one of its report's.
    pub fn shutdown_worker(&self, task_id: &str, worker_id: &str) -> bool {
        let task = self.tasks.running(task_id);
        task.inspect(|task| {
            const WHY: &str = "Shutdown request from user";
            task.cancel.fail(
                Fault::new(FaultCode::WorkerFailed, format!("Worker[{worker_id}] failed: {WHY}"))
                    .with("workerTaskId", worker_id)
                    .with("errorMsg", WHY),
            );
        })
        .is_some()
    }

    /// Cancels running tasks, marks them, and closes the store.
    pub async fn shutdown(&self) {
        self.queries.cancel_all();
        let running = self.tasks.all_running();
        for task in &running {
            task.cancel.fail(Fault::unknown(
                "the server was stopped while the task was running; submit the statement again",
            ));
        }
        for mut task in running {
            // An error says that the task is gone, which is as good.
            let _ = tokio::time::timeout(SHUTDOWN_PATIENCE, task.ended.wait_for(Option::is_some)).await;
        }
        if let Err(error) = self.services.metadata.close().await {
            tracing::warn!(%error, "cannot close the metadata store in order; the next start recovers");
        }
    }
}

/// How long a stop waits for a task to end.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(10);

/// Runs a task to its end, whatever happens in it.
async fn run_task(controller: Controller, tasks: &Tasks, timeout_ms: Option<u64>) -> TaskState {
    let started = Instant::now();
    let (id, live, services) = (
        controller.task_id.clone(),
        controller.live.clone(),
        controller.services.clone(),
    );
    if let Some(ms) = timeout_ms {
        let cancel = controller.cancel.clone();
        let live = Arc::downgrade(&controller.live);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            if live.strong_count() > 0 {
                cancel.cancel(CancelReason::QueryTimeout);
            }
        });
    }
    // In a task of its own: a panic is a failure like any other.
    let error = match tokio::spawn(async move { controller.run().await }).await {
        Ok(error) => error,
        Err(panic) => {
            let error = live.error(None, Fault::unknown(format!("the controller panicked: {panic}")));
            live.finish(Some(error.clone()));
            Some(error)
        }
    };
    if let Err(error) = services.metadata.release(&id).await {
        tracing::error!(task = id, %error, "cannot release the locks of a task");
    }
    let state = TaskState {
        status: if error.is_some() {
            ReportStatus::Failed
        } else {
            ReportStatus::Success
        },
        fault: error.map(|error| error.fault),
        duration_ms: i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX),
    };
    let report = live.current();
    if let Err(error) = tasks.store(&id, report.clone()).await {
        tracing::error!(task = id, %error, "cannot store the report of a task");
    }
    if let Err(error) = services.metadata.update_status(&stored_status(&id, &state)).await {
        tracing::error!(task = id, %error, "cannot store the status of a task");
    }
    tasks.ended(&id, state.clone(), report);
    state
}

fn empty_dir(dir: &std::path::Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::create_dir_all(dir)
}

/// Deals with the tasks that an ended process left running: their reports say so, and what they pushed and did not publish goes.
async fn recover(
    metadata: &MetadataStore,
    deep_storage: &dyn DeepStorage,
    tasks: &Tasks,
    host: &str,
) -> Result<(), EngineError> {
    let recovered = metadata.recovered_tasks();
    if recovered.is_empty() {
        return Ok(());
    }
    let fatal = |error: &dyn std::fmt::Display| EngineError::Fatal(format!("cannot recover: {error}"));
    for task in recovered {
        let message = task
            .status
            .error_msg
            .clone()
            .unwrap_or_else(|| "the server ended while the task was running".into());
        let live = LiveReport::new(
            &task.id,
            host,
            task.payload.get("context").cloned().unwrap_or(Value::Null),
        );
        live.finish(Some(live.error(None, Fault::unknown(message))));
        if !tasks.is_stored(&task.id) {
            tasks
                .store(&task.id, live.current())
                .await
                .map_err(|error| fatal(&error))?;
        }
    }
    let keep = metadata.load_specs().await.map_err(|error| fatal(&error))?;
    let removed = deep_storage
        .collect_orphans(&keep)
        .await
        .map_err(|error| fatal(&error))?;
    if !removed.is_empty() {
        tracing::info!(
            folders = removed.len(),
            "removed segments that a cut-off task had pushed and not published"
        );
    }
    Ok(())
}
