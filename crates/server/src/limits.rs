//! Every bound of the HTTP edge, in one place.

use std::time::Duration;

/// Largest request body, bytes (Druid: `druid.server.http.maxQueryLength`-like limits are off; a statement of 10 MB with IN lists
/// of a hundred thousand values is common, one of 64 MB is a mistake).
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// Largest request head, bytes (Druid: `druid.server.http.maxRequestHeaderSize`, 8 KB by default; statements in URLs do not exist).
pub const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Most header lines of a request.
pub const MAX_HEADERS: usize = 100;

/// How long a client may take to send the head of a request; a connection that idles between requests is closed after it too.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a client may take to send a body.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may leave a full send buffer unread before its query is cancelled
/// (Druid: `druid.server.http.maxIdleTime`, five minutes).
pub const SEND_TIMEOUT: Duration = Duration::from_secs(300);

/// How long open connections may finish after the server was asked to stop (Druid: `druid.server.http.gracefulShutdownTimeout`).
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Rendered bytes of one result chunk before it is handed to the connection.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Rendered chunks that wait for the client; a slower client stops the query.
pub const CHUNKS_IN_FLIGHT: usize = 8;

/// Largest dictionary, in values, whose JSON form is kept between batches of one column.
pub const CACHED_DICTIONARY_VALUES: usize = 65_536;

/// Statements whose cancellation the server can still tell from an unknown id.
pub const MAX_RUNNING_QUERIES: usize = 10_000;

/// Complete tasks that a task list shows without `max`.
pub const MAX_LISTED_TASKS: usize = 10_000;

/// Task reports are read whole; log answers are cut to this many bytes.
pub const MAX_LOG_BYTES: usize = 16 * 1024 * 1024;

/// Records of a SELECT that a statement status shows as a sample.
pub const MAX_SAMPLE_RECORDS: usize = 3_000;
