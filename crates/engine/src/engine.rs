//! The facade: one [`Engine`] a process. Plans statements, answers interactive queries, runs tasks, keeps their reports.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use henge_metadata::{MetadataSnapshot, MetadataStore};
use henge_sql::{OutputColumn, Planned, SqlError, SqlRequest};
use henge_storage::SegmentCache;

use crate::fault::Fault;
use crate::report::QueryReport;

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

/// Rows of an interactive query: a stream of batches and the columns as the user named them.
pub struct QueryRows {
    /// Columns in output order.
    pub columns: Vec<OutputColumn>,
    /// Batches; dropping the stream cancels the query.
    pub stream: SendableRecordBatchStream,
}
