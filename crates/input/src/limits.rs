//! Every bound of this crate, with its Druid counterpart.

/// Bytes of one line, or of one JSON object that spans lines. Druid has no such bound (it runs out of memory); its frames
/// refuse rows over 1 MB later (`RowTooLarge`).
pub const MAX_ROW_BYTES: usize = 64 << 20;

/// What `ReadOptions::max_row_bytes` may be at most: a row of text that grows six times by escapes, on top of a full batch,
/// must fit the 32-bit offsets of an Arrow string array.
pub const MAX_MAX_ROW_BYTES: usize = 256 << 20;

/// Bytes of a bad row that are repeated in its message. Druid repeats all of them.
pub const MAX_ISSUE_TEXT_BYTES: usize = 1_000;

/// How deep JSON may nest. Jackson's `StreamReadConstraints` allow 1,000; this is what a walk by recursion survives on
/// the stack of any thread.
pub const MAX_JSON_DEPTH: usize = 500;

/// Files below one `baseDir`, before any split. Druid has no such bound.
pub const MAX_LISTED_FILES: usize = 1_000_000;

/// Files of one worker; Druid: `Limits.MAX_INPUT_FILES_PER_WORKER`, context `maxInputFilesPerWorker`.
pub const MAX_FILES_PER_WORKER: u64 = 10_000;

/// Bytes of one split when nobody says otherwise; Druid: `Limits.DEFAULT_MAX_INPUT_BYTES_PER_WORKER` is 512 MiB for a
/// whole worker, a split here is a smaller unit of work that tasks take several of.
pub const DEFAULT_SPLIT_BYTES: u64 = 64 << 20;

/// Rows of one record batch when nobody says otherwise.
pub const DEFAULT_BATCH_ROWS: usize = 8_192;

/// Bytes of string data after which a batch ends early, so that its offsets and its memory stay bounded.
pub const MAX_BATCH_BYTES: usize = 32 << 20;

/// Bytes read at a time.
pub const READ_BUFFER_BYTES: usize = 512 << 10;

/// Bytes looked at to tell lines from documents, and to count what a header says.
pub const SNIFF_BYTES: usize = 256 << 10;

/// Memory that a zstd window may claim, as a power of two. The format allows 2^41.
pub const MAX_ZSTD_WINDOW_LOG: u32 = 27;

/// Memory that an xz stream may claim.
pub const MAX_XZ_MEMORY_BYTES: u64 = 256 << 20;

/// Bytes of one HTTP body. Druid has no such bound.
pub const MAX_HTTP_BODY_BYTES: u64 = 1 << 40;

/// Bytes of a Parquet file that is copied to a temporary file because its server has no ranges.
pub const MAX_HTTP_SPOOL_BYTES: u64 = 64 << 30;

/// Seconds to connect, and seconds without a byte, after which a fetch fails.
pub const HTTP_CONNECT_TIMEOUT_SECONDS: u64 = 10;
/// Seconds without a byte after which a fetch fails.
pub const HTTP_IDLE_TIMEOUT_SECONDS: u64 = 60;
/// How long a server may take to tell the size of a file.
pub const HTTP_PROBE_TIMEOUT_SECONDS: u64 = 10;
/// How long a web server may take to give a sample of its rows: a statement is planned meanwhile.
pub const HTTP_SAMPLE_SECONDS: u64 = 3;
/// How often a fetch is tried before its first byte; Druid: `RetryingInputEntity`, up to 10.
pub const HTTP_TRIES: u32 = 4;
/// Redirects followed.
pub const HTTP_REDIRECTS: usize = 5;
/// Chunks of a body that wait between the thread that fetches and the one that parses.
pub const HTTP_QUEUED_CHUNKS: usize = 16;

/// Rows and bytes that schema inference looks at.
pub const SAMPLE_ROWS: usize = 1_000;
/// Bytes that schema inference looks at.
pub const SAMPLE_BYTES: usize = 4 << 20;

/// Columns that schema inference finds at most; Druid: 2,000 columns a stage.
pub const MAX_SAMPLED_COLUMNS: usize = 2_000;

/// Bytes below which a split is not cut further for the sake of parallelism.
pub const MIN_SPLIT_BYTES: u64 = 1 << 20;
/// Splits of one input.
pub const MAX_SPLITS: usize = 100_000;
