//! Every limit of the exchange, in one place, with Druid's counterpart.

/// Rows of a staged batch at most (Druid limits frames by bytes only).
pub const BATCH_ROWS_MAX: usize = 8192;
/// Bytes that a staged batch should have (Druid's frame: 1,000,000 bytes).
pub const BATCH_BYTES_TARGET: usize = 1 << 20;
/// Batches with fewer rows are joined before they are buffered, so that a run is not made of crumbs.
pub const CRUMB_ROWS: usize = 1024;
/// Rows of one run at most: positions are `u32`.
pub const RUN_ROWS_MAX: usize = u32::MAX as usize - 1;
/// Samples of one run, apart from one for every bucket (Druid's quantiles sketch starts with K = 4096).
pub const RUN_SAMPLES_MAX: usize = 4096;
/// Runs merged at once; above it an intermediate level merges first (Druid's super sorter: by memory). Each is an open file, and
/// the usual limit of a process is 1,024 of them.
pub const FAN_IN_MAX: usize = 400;
/// Runs merged at once at least, however small the share of memory is.
pub const FAN_IN_MIN: usize = 2;
/// Time chunks of one ingestion (Druid's `Limits.MAX_PARTITION_BUCKETS`).
pub const BUCKETS_MAX: usize = 5_000;
/// Partitions of one stage unless the query says otherwise (Druid's `maxPartitions`).
pub const PARTITIONS_MAX: usize = 25_000;
/// Columns of a key (Druid's `Limits.MAX_CLUSTERED_BY_COLUMNS`).
pub const KEY_COLUMNS_MAX: usize = 1_500;
/// Rounds of the search for a target that gives no more than so many partitions.
pub const CUT_ROUNDS_MAX: usize = 128;
