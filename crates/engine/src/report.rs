//! The report of a query: what the controller knows about its stages, workers and outcome, in the engine's own terms. It is
//! the same value while the query runs and after it; the server turns it into Druid's JSON
//! (Druid's `MSQTaskReportPayload`; spec `msq-engine` section 11).

use std::sync::Arc;

use henge_sql::OutputColumn;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::counters::CounterTree;
use crate::fault::Fault;

/// Whether a query runs, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportStatus {
    /// Not ended yet.
    Running,
    /// Ended well.
    Success,
    /// Ended with a fault.
    Failed,
}

/// A fault with the place where it was raised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// Task that raised it: the controller's or a worker's id.
    pub task_id: String,
    /// `host:port` of the process, where known.
    pub host: Option<String>,
    /// Stage, where a worker raised it.
    pub stage_number: Option<u32>,
    /// The fault.
    pub fault: Fault,
}

/// One attempt of one worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Worker number.
    pub number: u32,
    /// `<query>-worker<N>_<attempt>`.
    pub worker_id: String,
    /// State.
    pub state: ReportStatus,
    /// −1 while running.
    pub duration_ms: i64,
    /// Time from asking for the worker to its start.
    pub pending_ms: i64,
}

/// What a stage does (the ten processors of Druid).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Processor {
    /// Reads, filters, projects, joins by broadcast.
    Scan,
    /// Aggregates before the exchange.
    GroupByPreShuffle,
    /// Aggregates after the exchange.
    GroupByPostShuffle,
    /// OFFSET and LIMIT.
    Limit,
    /// Joins two sorted inputs.
    SortMergeJoin,
    /// Window functions.
    Window,
    /// Writes segments.
    SegmentGenerator,
    /// Stores result pages.
    SelectResults,
    /// Writes export files.
    ExportResults,
}

/// Where a stage's rows come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StageInput {
    /// A datasource, with the intervals that the query names (eternity where none).
    Table {
        datasource: String,
        intervals: Vec<henge_time::Interval>,
    },
    /// External data: input source, input format and signature as Druid writes them.
    External {
        source: Value,
        format: Value,
        signature: Value,
    },
    /// Rows in the statement itself.
    Inline { datasource: Value },
    /// An earlier stage.
    Stage(u32),
}

/// How a stage's output is cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ShuffleSpec {
    /// Everything into one partition, unsorted.
    Mix,
    /// Hash partitions of a key.
    Hash { key: ClusterBy, partitions: usize },
    /// Range partitions, at most so many.
    MaxCount {
        key: ClusterBy,
        partitions: usize,
        aggregate: bool,
        limit_hint: Option<u64>,
    },
    /// Range partitions of about so many rows.
    TargetSize {
        key: ClusterBy,
        target_rows: u64,
        aggregate: bool,
    },
}

/// A sort key of an exchange.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterBy {
    /// Columns with their direction.
    pub columns: Vec<KeyColumn>,
    /// How many of them, from the left, name the bucket that no partition may span.
    pub bucket_by_count: usize,
}

/// One column of a sort key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyColumn {
    /// Its name in the stage's signature.
    pub name: String,
    /// Direction.
    pub descending: bool,
}

/// A stage as it was planned; never changes while the query runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageDefinition {
    /// Stage number, dense from 0 in order of dependency.
    pub number: u32,
    /// `<query>_<n>`.
    pub id: String,
    /// Inputs.
    pub inputs: Vec<StageInput>,
    /// Numbers of the inputs that every worker reads whole.
    pub broadcast: Vec<u32>,
    /// What it does.
    pub processor: Processor,
    /// The native query (or the members of the processor other than its type), as Druid's JSON.
    pub processor_detail: Value,
    /// Output columns with their native types, sort columns first.
    pub signature: Vec<(String, String)>,
    /// How the output is cut; absent where the input's partitions are kept.
    pub shuffle: Option<ShuffleSpec>,
    /// Most workers that it may use.
    pub max_worker_count: u32,
    /// True on the stage that feeds segment generation.
    pub shuffle_check_multiple_values: bool,
}

/// Where a stage stands (Druid's `ControllerStagePhase`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StagePhase {
    /// Not started.
    New,
    /// Reads.
    ReadingInput,
    /// The controller merges key samples.
    MergingStatistics,
    /// Writes after partition boundaries are known.
    PostReading,
    /// Output can be read.
    ResultsReady,
    /// Output was read.
    Finished,
    /// Failed.
    Failed,
    /// Runs again after a loss.
    Retrying,
}

/// Where a stage's output lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputChannel {
    /// In memory, pipelined.
    Memory,
    /// On local disk (or in memory below the share).
    LocalStorage,
    /// In durable storage.
    DurableStorage,
    /// Final results in durable storage.
    DurableStorageQueryResults,
}

/// A stage with its progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// The plan.
    pub definition: Arc<StageDefinition>,
    /// Absent where not started.
    pub phase: Option<StagePhase>,
    /// Workers given to it.
    pub worker_count: u32,
    /// Output partitions, 0 while unknown.
    pub partition_count: u32,
    /// Where the output lives, once workers were given.
    pub output: Option<OutputChannel>,
    /// Start, milliseconds since the epoch.
    pub start_time_ms: Option<i64>,
    /// Duration until results were ready, or until now.
    pub duration_ms: i64,
}

/// Which shard specs were chosen, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentReport {
    /// `NumberedShardSpec` or `DimensionRangeShardSpec`.
    pub shard_spec: String,
    /// Why.
    pub details: String,
}

/// Waiting for segments to be loaded; henge has nothing to wait for and says so at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentLoadStatus {
    /// `INIT`, `WAITING`, `SUCCESS`, …
    pub state: String,
    /// Start, milliseconds since the epoch.
    pub start_time_ms: i64,
    /// Duration.
    pub duration_ms: i64,
    /// Segments published.
    pub total_segments: u64,
}

/// Rows of a SELECT task, in output order, values as the report shows them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportResults {
    /// Columns.
    #[serde(with = "stored_columns")]
    pub columns: Vec<OutputColumn>,
    /// Rows; the server renders Arrow values into them when the query ends.
    pub rows: Vec<Vec<Value>>,
    /// True where rows were left out.
    pub truncated: bool,
}

/// Everything about one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryReport {
    /// Controller task.
    pub task_id: String,
    /// State.
    pub status: ReportStatus,
    /// Why it failed.
    pub error: Option<ErrorReport>,
    /// Warnings, capped.
    pub warnings: Vec<ErrorReport>,
    /// Start, milliseconds since the epoch.
    pub start_time_ms: Option<i64>,
    /// −1 before the start.
    pub duration_ms: i64,
    /// Attempts of workers.
    pub workers: Vec<WorkerReport>,
    /// Workers asked for and not started.
    pub pending_tasks: i64,
    /// Workers running, the controller included.
    pub running_tasks: i64,
    /// Where waiting was asked for.
    pub segment_load: Option<SegmentLoadStatus>,
    /// Where segments were planned.
    pub segment_report: Option<SegmentReport>,
    /// Stages by number; empty where planning failed.
    pub stages: Vec<StageReport>,
    /// Counters.
    pub counters: CounterTree,
    /// Of a SELECT that ended well.
    pub results: Option<ReportResults>,
    /// Rows that were published, of INSERT and REPLACE.
    pub rows_published: Option<u64>,
    /// Segments that were published, tombstones included.
    pub segments_published: Option<u64>,
    /// The task's own context, as Druid prints it in `taskContext`.
    pub task_context: Value,
}

/// Stores columns as name, SQL type as text, nullability.
mod stored_columns {
    use henge_sql::{OutputColumn, SqlType};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(columns: &[OutputColumn], serializer: S) -> Result<S::Ok, S::Error> {
        let stored: Vec<(&str, String, bool)> = columns
            .iter()
            .map(|column| {
                let sql_type = match &column.sql_type {
                    SqlType::MultiVarchar => "MULTI".to_string(),
                    other => other.to_string(),
                };
                (column.name.as_str(), sql_type, column.nullable)
            })
            .collect();
        stored.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OutputColumn>, D::Error> {
        let stored = Vec::<(String, String, bool)>::deserialize(deserializer)?;
        Ok(stored
            .into_iter()
            .map(|(name, sql_type, nullable)| OutputColumn {
                name,
                sql_type: match sql_type.as_str() {
                    "MULTI" => SqlType::MultiVarchar,
                    other => SqlType::parse(other).unwrap_or(SqlType::Other),
                },
                nullable,
            })
            .collect())
    }
}
