//! What a task reads of its query context (spec `msq-engine` section 7).

use henge_sql::{QueryContext, SqlError};

use crate::limits;
use crate::stage::row_limits::RowLimits;

/// Context parameters of a task, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSettings {
    /// Workers: `maxNumTasks` − 1.
    pub workers: u32,
    /// Bad rows that are tolerated: 0 none, −1 any number.
    pub max_parse_exceptions: i64,
    /// Rows of a segment, roughly.
    pub rows_per_segment: u64,
    /// Rows that a worker of Druid's keeps before it writes them down; only shown, since henge goes by bytes.
    pub rows_in_memory: u64,
    /// Segments of one time chunk at most.
    pub max_num_segments: Option<u64>,
    /// Partitions of a stage at most.
    pub max_partitions: usize,
    /// Columns of a sort key at most.
    pub max_clustered_by_columns: usize,
    /// Files that one worker may read.
    pub max_input_files_per_worker: Option<u64>,
    /// Whether joins sort and merge, however small a side is.
    pub sort_merge_join: bool,
    /// Whether an INSERT of nothing fails.
    pub fail_on_empty_insert: bool,
    /// Whether APPEND and REPLACE locks are taken instead of SHARED and EXCLUSIVE ones.
    pub concurrent_locks: bool,
    /// What single rows may be.
    pub row_limits: RowLimits,
    /// Rows that a window function may hold at once.
    pub window_rows_max: usize,
    /// Milliseconds after which the query is stopped.
    pub timeout_ms: Option<u64>,
    /// Whether the report says that segments are loaded.
    pub wait_until_segments_load: bool,
}

impl TaskSettings {
    /// Reads a context.
    pub fn read(context: &QueryContext) -> Result<Self, SqlError> {
        let positive = |value: Option<i64>| {
            value
                .and_then(|value| u64::try_from(value).ok())
                .filter(|value| *value > 0)
        };
        let count = |key: &str| match context.long(key)? {
            Some(value) if value <= 0 => Err(SqlError::input(format!(
                "{key} must be a positive integer, got[{value}]"
            ))),
            value => Ok(positive(value)),
        };
        let max_num_tasks = context.long("maxNumTasks")?.unwrap_or(2);
        let strict = match context.string("mode")?.as_deref() {
            None => true,
            Some(mode) if mode.eq_ignore_ascii_case("strict") => true,
            Some(mode) if mode.eq_ignore_ascii_case("nonStrict") => false,
            Some(mode) => {
                return Err(SqlError::input(format!(
                    "Unknown mode [{mode}], expected strict or nonStrict"
                )));
            }
        };
        let default_exceptions = if strict { 0 } else { -1 };
        let lock_type = context.string("taskLockType")?.unwrap_or_default();
        let concurrent = context.boolean("useConcurrentLocks")?.unwrap_or(false);
        if context.boolean("faultTolerance")? == Some(true) && context.boolean("durableShuffleStorage")? == Some(false)
        {
            return Err(SqlError::input(
                "Context param[durableShuffleStorage] cannot be explicitly set to false when context param[faultTolerance] is set \
                 to true. Either remove the context param[durableShuffleStorage] or explicitly set it to true.",
            ));
        }
        Ok(Self {
            workers: u32::try_from(max_num_tasks - 1)
                .unwrap_or(1)
                .clamp(1, limits::WORKERS_MAX),
            max_parse_exceptions: context.long("maxParseExceptions")?.unwrap_or(default_exceptions),
            rows_per_segment: count("rowsPerSegment")?.unwrap_or(3_000_000),
            rows_in_memory: positive(context.long("maxRowsInMemory")?)
                .or(positive(context.long("rowsInMemory")?))
                .unwrap_or(100_000),
            max_num_segments: count("maxNumSegments")?,
            max_partitions: count("maxPartitions")?.map_or(henge_exchange::limits::PARTITIONS_MAX, |max| {
                usize::try_from(max).unwrap_or(usize::MAX)
            }),
            max_clustered_by_columns: count("maxClusteredByColumns")?
                .map_or(henge_exchange::limits::KEY_COLUMNS_MAX, |max| {
                    usize::try_from(max).unwrap_or(usize::MAX)
                }),
            max_input_files_per_worker: count("maxInputFilesPerWorker")?,
            sort_merge_join: context
                .string("sqlJoinAlgorithm")?
                .is_some_and(|it| it.eq_ignore_ascii_case("sortMerge")),
            fail_on_empty_insert: context.boolean("failOnEmptyInsert")?.unwrap_or(false),
            concurrent_locks: concurrent
                || lock_type.eq_ignore_ascii_case("APPEND")
                || lock_type.eq_ignore_ascii_case("REPLACE"),
            row_limits: RowLimits {
                row_bytes: count("maxFrameSize")?.unwrap_or(limits::ROW_BYTES_MAX),
                buckets: henge_exchange::limits::BUCKETS_MAX,
                remove_null_bytes: context.boolean("removeNullBytes")?.unwrap_or(false),
            },
            window_rows_max: count("maxRowsMaterializedInWindow")?.map_or(limits::WINDOW_ROWS_MAX, |max| {
                usize::try_from(max).unwrap_or(usize::MAX)
            }),
            timeout_ms: positive(context.long("timeout")?),
            wait_until_segments_load: context.boolean("waitUntilSegmentsLoad")?.unwrap_or(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(context: serde_json::Value) -> Result<TaskSettings, SqlError> {
        TaskSettings::read(&QueryContext::from(context.as_object().cloned().unwrap_or_default()))
    }

    #[test]
    fn defaults_are_druids() {
        let settings = read(json!({})).expect("no context");
        assert_eq!(
            (
                settings.workers,
                settings.max_parse_exceptions,
                settings.rows_per_segment
            ),
            (1, 0, 3_000_000)
        );
        assert_eq!((settings.max_partitions, settings.sort_merge_join), (25_000, false));
    }

    #[test]
    fn counts_are_positive() {
        for key in [
            "rowsPerSegment",
            "maxNumSegments",
            "maxPartitions",
            "maxClusteredByColumns",
            "maxInputFilesPerWorker",
            "maxFrameSize",
            "maxRowsMaterializedInWindow",
        ] {
            for value in [0, -1] {
                let refused = read(json!({key: value})).expect_err(key);
                assert_eq!(
                    refused.message,
                    format!("{key} must be a positive integer, got[{value}]")
                );
            }
            assert!(
                read(json!({key: 1})).is_ok() && read(json!({key: null})).is_ok(),
                "{key}"
            );
        }
    }

    #[test]
    fn mode_sets_the_default_of_bad_rows() {
        assert_eq!(
            read(json!({"mode": "nonstrict"})).expect("known").max_parse_exceptions,
            -1
        );
        let both = read(json!({"mode": "nonStrict", "maxParseExceptions": 3})).expect("known");
        assert_eq!(both.max_parse_exceptions, 3);
        assert!(read(json!({"mode": "lenient"})).is_err());
        assert!(read(json!({"maxParseExceptions": "many"})).is_err());
    }
}
