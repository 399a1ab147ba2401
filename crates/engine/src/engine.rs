//! The facade: one [`Engine`] a process. Plans statements, answers interactive queries, runs tasks, keeps their reports.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use henge_metadata::{MetadataSnapshot, MetadataStore};
use henge_sql::{OutputColumn, Planned, SqlError, SqlRequest};
use henge_storage::SegmentCache;
use serde_json::Value;
use tokio::sync::watch;

use crate::fault::{Fault, FaultCode};
use crate::report::{QueryReport, ReportStatus};

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
    config: EngineConfig,
    metadata: Arc<MetadataStore>,
    cache: Arc<SegmentCache>,
}

impl Engine {
    /// Opens the data folder, recovers from a crash, and starts the compute pool.
    pub async fn open(_config: EngineConfig) -> Result<Arc<Engine>, EngineError> {
        Err(EngineError::Fatal("the engine cannot be opened yet".to_string()))
    }

    /// Gives the configuration.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Gives the metadata store.
    pub fn metadata(&self) -> &Arc<MetadataStore> {
        &self.metadata
    }

    /// Gives the metadata as of now.
    pub fn snapshot(&self) -> Arc<MetadataSnapshot> {
        self.metadata.snapshot()
    }

    /// Gives the cache of open segments.
    pub fn segment_cache(&self) -> &Arc<SegmentCache> {
        &self.cache
    }

    /// Adds the tables of `INFORMATION_SCHEMA` and `sys`.
    pub fn register_system_tables(&self, _tables: Arc<dyn SystemTables>) {}

    /// Plans a statement.
    pub async fn plan(&self, _kind: PlanKind, _request: SqlRequest) -> Result<Planned, SqlError> {
        Err(SqlError::from_fault_text("not supported"))
    }

    /// Answers an interactive query.
    pub async fn query(&self, _query_id: &str, _planned: Planned) -> Result<QueryRows, EngineError> {
        Err(not_supported().into())
    }

    /// Stops an interactive query; false where there is none of that id.
    pub fn cancel_query(&self, _query_id: &str) -> bool {
        false
    }

    /// Takes a task on; it runs in the background.
    pub async fn submit(&self, _task: TaskRequest) -> Result<(), EngineError> {
        Err(not_supported().into())
    }

    /// Waits until a task has ended; `None` where it is unknown.
    pub async fn wait(&self, _task_id: &str) -> Option<TaskState> {
        None
    }

    /// Gives the live report of a running task.
    pub fn watch(&self, _task_id: &str) -> Option<watch::Receiver<Arc<QueryReport>>> {
        None
    }

    /// Gives the report of a task: live, or as stored when it ended.
    pub async fn report(&self, _task_id: &str) -> Option<Arc<QueryReport>> {
        None
    }

    /// Stops a task; false where it does not run.
    pub async fn shutdown_task(&self, _task_id: &str) -> bool {
        false
    }

    /// Cancels running tasks, marks them, and closes the store.
    pub async fn shutdown(&self) {}
}

fn not_supported() -> Fault {
    Fault::new(FaultCode::QueryNotSupported, "the engine does not run statements yet")
}
