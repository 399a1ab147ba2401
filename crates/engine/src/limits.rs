//! Every limit of the engine, in one place, with Druid's counterpart (`org.apache.druid.msq.exec.Limits`).

use std::time::Duration;

/// Attempts of one task after the first (Druid's `PER_WORKER_RELAUNCH_LIMIT`).
pub const RELAUNCHES_PER_TASK_MAX: u32 = 2;
/// Attempts after the first in one query (Druid's `TOTAL_RELAUNCH_LIMIT`).
pub const RELAUNCHES_PER_QUERY_MAX: u32 = 100;
/// Columns of a stage (Druid's `MAX_FRAME_COLUMNS`).
pub const STAGE_COLUMNS_MAX: usize = 2_000;
/// Workers of a stage (Druid's `MAX_WORKERS`).
pub const WORKERS_MAX: u32 = 1_000;
/// Bad rows of one worker that are described; the rest is counted (Druid's `MAX_VERBOSE_PARSE_EXCEPTIONS`).
pub const VERBOSE_WARNINGS_PER_WORKER_MAX: u64 = 5;
/// Warnings in a report (Druid's `MAX_VERBOSE_WARNINGS` for the controller).
pub const WARNINGS_PER_QUERY_MAX: usize = 10_000;
/// Rows of a window that are held at once (Druid's `MAX_ROWS_MATERIALIZED_IN_WINDOW`).
pub const WINDOW_ROWS_MAX: usize = 100_000;
/// Bytes of rendered rows that a report holds; a longer SELECT result is truncated (Druid has no limit here).
pub const REPORT_RESULT_BYTES_MAX: usize = 256 << 20;
/// How often counters of running tasks reach the controller.
pub const COUNTER_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of external files that one task reads, where there are more than enough of them (Druid's `maxInputBytesPerWorker`).
pub const TASK_INPUT_BYTES_TARGET: u64 = 256 << 20;
/// Memory of a task below which operators cannot be relied upon (spec `engine-evaluation` section 6).
pub const SLOT_BYTES_MIN: usize = 64 << 20;
/// Memory of an interactive query, for how many may work at once.
pub const QUERY_BYTES_MIN: usize = 32 << 20;
/// Interactive queries that work on their first rows at once, a thread of the compute pool.
pub const QUERIES_PER_THREAD: usize = 4;
/// Bytes that operators put into a batch, where rows are so wide that the usual number of them would be more.
pub const BATCH_BYTES_TARGET: u64 = 16 << 20;
/// Bytes of one row (Druid's `maxFrameSize`, since a row has to fit in a frame).
pub const ROW_BYTES_MAX: u64 = 1_000_000;
/// Batches between a reader's thread and its operators.
pub const READ_AHEAD_BATCHES: usize = 2;
/// Part of a task's memory that broadcast tables may take (Druid: 20 % of a bundle, 30 % with its overhead).
pub const BROADCAST_SHARE: f64 = 0.3;
/// Build sides up to this size are joined by hashing without an exchange of the other side.
pub const BROADCAST_BYTES_MAX: usize = 8 << 20;
/// Rows of build sides that are joined so.
pub const BROADCAST_ROWS_MAX: usize = 500_000;
/// Rows of the right side of an interactive join that is collected so that the rows of the left side come in their order, however
/// small that one is (Druid: `maxSubqueryRows`).
pub const JOINED_ROWS_IN_ORDER: usize = 100_000;
/// Ended tasks that are kept in memory; older ones answer from the metadata store.
pub const ENDED_TASKS_KEPT: usize = 64;
