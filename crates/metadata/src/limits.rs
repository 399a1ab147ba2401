//! Limits of this crate, each with its counterpart in Druid.

/// Tombstones of one REPLACE (Druid: `Limits.MAX_PARTITION_BUCKETS`, reported as `TooManyBuckets`).
pub const MAX_TOMBSTONES: usize = 5_000;

/// Letters that are appended to the version of an APPEND lock while unused segments occupy it (Druid: 10 attempts).
pub const MAX_VERSION_SUFFIXES: usize = 10;

/// Rows of one statement that names its rows one by one (Druid inserts segments in batches of 100).
pub const MAX_ROWS_PER_STATEMENT: usize = 100;

/// Connections that read beside the one that writes.
pub(crate) const READ_CONNECTIONS: u32 = 4;

/// How long a statement waits for SQLite's own lock, which only a foreign process can hold.
pub(crate) const BUSY_TIMEOUT_SECONDS: u64 = 10;
