//! One table from the errors of every crate to faults: what a user sees of a failure, and whether another attempt may cure it.

use std::error::Error;
use std::io;

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use henge_exchange::ExchangeError;
use henge_input::{InputError, InputErrorKind};
use henge_metadata::{MetadataError, MetadataErrorKind};
use henge_segment::{SegmentError, SegmentErrorKind};
use henge_sql::SqlError;
use henge_storage::{StorageError, StorageErrorKind};

use crate::fault::{Fault, FaultCode, grouped};

impl Fault {
    /// Makes the fault of a stopped query.
    pub fn canceled(reason: CancelReason) -> Self {
        Fault::new(FaultCode::Canceled, reason.text()).with("reason", reason.as_str())
    }

    /// Makes the failure that a test asked for at a fail point.
    pub fn injected(point: &str) -> Self {
        Fault::unknown(format!("failure injected at [{point}]")).retryable()
    }

    /// Makes the fault of a full disk.
    pub fn disk_full(message: impl Into<String>) -> Self {
        Fault::new(FaultCode::NotEnoughTemporaryStorageFault, message)
            .with("suggestedMinimumStorage", -1)
            .with("configuredTemporaryStorage", -1)
    }

    /// Makes the fault of a wrong value or expression, with Druid's wrapping of a server error.
    pub fn druid_exception(category: &str, message: impl Into<String>) -> Self {
        Fault::new(FaultCode::DruidException, message)
            .with("druidErrorCode", "general")
            .with("persona", "USER")
            .with("category", category)
    }

    /// Makes the fault of a plan that the engine cannot run.
    pub fn not_supported(message: impl Into<String>) -> Self {
        Fault::new(FaultCode::QueryNotSupported, message)
    }

    /// Makes the fault of a task whose share of memory is too small.
    pub fn not_enough_memory(message: impl Into<String>) -> Self {
        Fault::new(FaultCode::NotEnoughMemory, message)
    }

    /// Makes the fault of broadcast tables that do not fit.
    pub fn broadcast_too_large(limit_bytes: u64) -> Self {
        let shown = grouped(limit_bytes);
        Fault::new(
            FaultCode::BroadcastTablesTooLarge,
            format!(
                "Size of broadcast tables in JOIN exceeds reserved memory limit (memory reserved for broadcast tables = \
                 [{shown}] bytes). Increase available memory, or set [sqlJoinAlgorithm: sortMerge] in query context to use \
                 a shuffle-based join."
            ),
        )
        .with("maxBroadcastTablesSize", limit_bytes)
    }

    /// Makes the fault of a window with more rows than may be held at once.
    pub fn too_many_rows_in_a_window(rows: usize, max: usize) -> Self {
        Fault::new(
            FaultCode::TooManyRowsInAWindow,
            format!(
                "Too many rows in a window (requested = {rows}, max = {max}).  Try creating a window with a higher cardinality \
                 column or change the query shape. Or you can change the max using query context param \
                 maxRowsMaterializedInWindow . Use it carefully as a higher value can lead to OutOfMemory errors. "
            ),
        )
        .with("numRows", rows as u64)
        .with("maxRows", max as u64)
    }

    /// Makes the fault of a row that is too large.
    pub fn row_too_large(max: u64) -> Self {
        let shown = grouped(max);
        Fault::new(
            FaultCode::RowTooLarge,
            format!(
                "Encountered row that cannot fit in a single frame (max frame size = {shown}). Reduce your row size or increase \
                 the context parameter[maxFrameSize]."
            ),
        )
        .with("maxFrameSize", max)
    }

    /// Makes the fault of U+0000 in a text. `row` counts from 1, `position` is a byte of the text.
    pub fn invalid_null_byte(source: &str, row: u64, column: &str, value: &str, position: usize) -> Self {
        Fault::new(
            FaultCode::InvalidNullByte,
            format!(
                "Invalid null byte at source[{source}], rowNumber[{row}], column[{column}], value[{value}], \
                 position[{position}]. Consider sanitizing the input string column using \"REPLACE(\"{column}\", U&'\\0000', '') \
                 AS {column}\" or setting 'removeNullBytes' to true in the query context."
            ),
        )
        .with("source", source)
        .with("rowNumber", row)
        .with("column", column)
        .with("value", value)
        .with("position", position as u64)
    }

    /// Makes the fault of a context parameter with a wrong value, in the words of the exception that Druid's controller shows.
    pub fn bad_context(error: &SqlError) -> Self {
        if !error.is_legacy() {
            return Fault::unknown(error.message.clone());
        }
        let member = |name: &str| error.context.get(name).map_or("null", String::as_str);
        Fault::unknown(format!(
            "BadQueryContextException{{msg={}, code={}, class={}, host={}}}",
            error.message,
            member("legacyErrorCode"),
            member("errorClass"),
            member("host")
        ))
    }

    /// Makes the fault of too many time chunks.
    pub fn too_many_buckets(max: usize) -> Self {
        let shown = grouped(max as u64);
        Fault::new(
            FaultCode::TooManyBuckets,
            format!(
                "Too many partition buckets (max = {shown}); try breaking your query up into smaller queries or using a \
                 wider PARTITIONED BY"
            ),
        )
        .with("maxBuckets", max as u64)
    }

    /// Makes the fault of too many partitions.
    pub fn too_many_partitions(max: usize) -> Self {
        Fault::new(
            FaultCode::TooManyPartitions,
            format!(
                "Too many partitions (max = {max}). Try increasing the limit using the maxPartitions query context parameter, \
                 breaking your query up into smaller queries, or using a larger target size."
            ),
        )
        .with("maxPartitions", max as u64)
    }

    /// Makes the fault of a lock that is gone.
    pub fn lock_preempted() -> Self {
        Fault::new(
            FaultCode::InsertLockPreempted,
            "Lock preempted while trying to ingest the data. This can occur if there are higher priority tasks, such as \
             real-time ingestion, running on the same time chunks.",
        )
    }
}

/// Why a query was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// Its task was shut down.
    TaskShutdown,
    /// A user canceled it.
    UserRequest,
    /// Its `timeout` is over.
    QueryTimeout,
    /// The process ends.
    Unknown,
}

impl CancelReason {
    /// Gives Druid's word.
    pub fn as_str(self) -> &'static str {
        match self {
            CancelReason::TaskShutdown => "TASK_SHUTDOWN",
            CancelReason::UserRequest => "USER_REQUEST",
            CancelReason::QueryTimeout => "QUERY_TIMEOUT",
            CancelReason::Unknown => "UNKNOWN",
        }
    }

    fn text(self) -> &'static str {
        match self {
            CancelReason::TaskShutdown => "Query canceled due to task shutdown",
            CancelReason::UserRequest => "Query canceled",
            CancelReason::QueryTimeout => "Query timed out",
            CancelReason::Unknown => "Query interrupted",
        }
    }
}

impl From<InputError> for Fault {
    fn from(error: InputError) -> Self {
        let message = error.to_string();
        let retryable = error.is_retryable();
        let fault = match &error {
            InputError::TooManyFiles {
                files,
                max_files_per_worker,
                min_workers,
            } => Fault::new(FaultCode::TooManyInputFiles, message)
                .with("numInputFiles", *files)
                .with("maxInputFiles", *max_files_per_worker)
                .with("minNumWorkers", *min_workers),
            InputError::InvalidField {
                column,
                message: reason,
                place,
            } => Fault::new(FaultCode::InvalidField, message)
                .with("source", place.clone())
                .with("column", column.clone())
                .with("errorMsg", reason.clone()),
            InputError::Io { source, .. } if is_disk_full(source) => Fault::disk_full(message),
            _ => match error.kind() {
                InputErrorKind::BadRow => Fault::new(FaultCode::CannotParseExternalData, message),
                InputErrorKind::Unsupported => Fault::not_supported(message),
                InputErrorKind::InvalidSource
                | InputErrorKind::InvalidFormat
                | InputErrorKind::InvalidSignature
                | InputErrorKind::Corrupt
                | InputErrorKind::Limit => Fault::druid_exception("INVALID_INPUT", message),
                InputErrorKind::Io if !retryable => Fault::druid_exception("INVALID_INPUT", message),
                InputErrorKind::Http if !retryable => Fault::druid_exception("RUNTIME_FAILURE", message),
                InputErrorKind::Io
                | InputErrorKind::Http
                | InputErrorKind::TooManyFiles
                | InputErrorKind::InvalidField => Fault::unknown(message),
            },
        };
        if retryable { fault.retryable() } else { fault }
    }
}

impl From<ExchangeError> for Fault {
    fn from(error: ExchangeError) -> Self {
        let message = error.to_string();
        let retryable = error.retryable();
        let fault = match error {
            ExchangeError::KeyNotSupported { column, data_type, .. } => {
                Fault::new(FaultCode::ColumnTypeNotSupported, message)
                    .with("columnName", column)
                    .with("columnType", data_type)
            }
            ExchangeError::TooManyKeyColumns { columns, max } => Fault::new(
                FaultCode::TooManyClusteredByColumns,
                format!("Too many cluster by columns present (requested = {columns}, max = {max})"),
            )
            .with("numColumns", columns as u64)
            .with("maxColumns", max as u64)
            .with("stage", 0),
            ExchangeError::TooManyBuckets { max } => Fault::too_many_buckets(max),
            ExchangeError::TooManyPartitions { max, .. } => Fault::too_many_partitions(max),
            ExchangeError::DiskFull { .. } => Fault::disk_full(message),
            _ => Fault::unknown(message),
        };
        if retryable { fault.retryable() } else { fault }
    }
}

impl From<SegmentError> for Fault {
    fn from(error: SegmentError) -> Self {
        let message = error.to_string();
        if let SegmentError::Io { source, .. } = &error {
            return if is_disk_full(source) {
                Fault::disk_full(message)
            } else {
                Fault::unknown(message).retryable()
            };
        }
        match error.kind() {
            SegmentErrorKind::Unsupported => Fault::not_supported(message),
            SegmentErrorKind::Limit => Fault::druid_exception("INVALID_INPUT", message),
            SegmentErrorKind::Io | SegmentErrorKind::Corrupt | SegmentErrorKind::Invalid => Fault::unknown(message),
        }
    }
}

impl From<MetadataError> for Fault {
    fn from(error: MetadataError) -> Self {
        let message = error.to_string();
        let retryable = error.retryable();
        let fault = match error.kind() {
            MetadataErrorKind::LockPreempted => Fault::lock_preempted(),
            MetadataErrorKind::TooManyTombstones => match &error {
                MetadataError::TooManyTombstones { limit, .. } => Fault::too_many_buckets(*limit),
                _ => Fault::unknown(message),
            },
            MetadataErrorKind::Unsupported => Fault::druid_exception("UNSUPPORTED", message),
            MetadataErrorKind::Full => Fault::disk_full(message),
            _ => Fault::unknown(message),
        };
        if retryable { fault.retryable() } else { fault }
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        let message = error.to_string();
        let retryable = error.retryable();
        let fault = match error.kind() {
            StorageErrorKind::Full => Fault::disk_full(message),
            StorageErrorKind::Unsupported => Fault::not_supported(message),
            _ => Fault::unknown(message),
        };
        if retryable { fault.retryable() } else { fault }
    }
}

impl From<SqlError> for Fault {
    fn from(error: SqlError) -> Self {
        let mut fault = Fault::new(FaultCode::DruidException, error.message.clone())
            .with("druidErrorCode", error.error_code.clone())
            .with("persona", error.persona.as_str())
            .with("category", error.category.as_str());
        fault.raised = match error.context.get("errorClass") {
            Some(class) if error.is_legacy() => Some(class.as_str().into()),
            _ => error.raised.map(Box::from),
        };
        fault
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        if is_disk_full(&error) {
            Fault::disk_full(error.to_string())
        } else {
            Fault::unknown(error.to_string()).retryable()
        }
    }
}

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Self {
        Fault::from(DataFusionError::from(error))
    }
}

impl From<Fault> for DataFusionError {
    fn from(fault: Fault) -> Self {
        DataFusionError::External(Box::new(fault))
    }
}

impl From<DataFusionError> for Fault {
    fn from(error: DataFusionError) -> Self {
        from_datafusion(&error)
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Finds our own error under DataFusion's layers, and else judges by what is left.
fn from_datafusion(error: &DataFusionError) -> Fault {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => from_datafusion(inner),
        DataFusionError::Shared(inner) => from_datafusion(inner),
        DataFusionError::Collection(all) => match all.first() {
            Some(first) => from_datafusion(first),
            None => Fault::unknown(error.to_string()),
        },
        DataFusionError::External(inner) => from_error(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => from_arrow(inner),
        DataFusionError::IoError(inner) => match inner.get_ref() {
            Some(source) if !is_disk_full(inner) => from_error(source),
            _ => from_io(inner),
        },
        DataFusionError::ResourcesExhausted(message) => {
            if message.contains("disk") || message.contains("temp directory") {
                Fault::disk_full(message.clone())
            } else {
                Fault::not_enough_memory(format!(
                    "Not enough memory: {message}. Give the server more memory (--memory), or lower the number of threads"
                ))
            }
        }
        DataFusionError::NotImplemented(message) => Fault::not_supported(message.clone()),
        DataFusionError::Execution(message) => match SqlError::in_datafusion(error) {
            Some(known) => Fault::from(known),
            None => Fault::druid_exception("INVALID_INPUT", message.clone()),
        },
        DataFusionError::Plan(message) => Fault::druid_exception("INVALID_INPUT", message.clone()),
        DataFusionError::Internal(message) => Fault::unknown(format!(
            "{message}. This is a defect of henge; please report it with the statement"
        )),
        other => Fault::unknown(other.strip_backtrace()),
    }
}

fn from_arrow(error: &ArrowError) -> Fault {
    match error {
        ArrowError::ExternalError(inner) => from_error(inner.as_ref()),
        ArrowError::IoError(_, inner) => from_io(inner),
        ArrowError::NotYetImplemented(message) => Fault::not_supported(message.clone()),
        ArrowError::DivideByZero => Fault::druid_exception("INVALID_INPUT", "/ by zero"),
        ArrowError::CastError(message) | ArrowError::ParseError(message) | ArrowError::ComputeError(message) => {
            Fault::druid_exception("INVALID_INPUT", message.clone())
        }
        ArrowError::ArithmeticOverflow(message) => Fault::druid_exception("INVALID_INPUT", message.clone()),
        other => Fault::unknown(other.to_string()),
    }
}

fn from_io(error: &io::Error) -> Fault {
    if is_disk_full(error) {
        Fault::disk_full(error.to_string())
    } else {
        Fault::unknown(error.to_string()).retryable()
    }
}

fn from_error(error: &(dyn Error + 'static)) -> Fault {
    if let Some(fault) = error.downcast_ref::<Fault>() {
        fault.clone()
    } else if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        from_datafusion(inner)
    } else if let Some(inner) = error.downcast_ref::<ArrowError>() {
        from_arrow(inner)
    } else if let Some(inner) = error.downcast_ref::<InputError>() {
        Fault::from(inner.clone())
    } else if let Some(inner) = error.downcast_ref::<ExchangeError>() {
        Fault::from(inner.clone())
    } else if let Some(inner) = error.downcast_ref::<SegmentError>() {
        Fault::from(inner.clone())
    } else if let Some(inner) = error.downcast_ref::<SqlError>() {
        Fault::from(inner.clone())
    } else if let Some(inner) = error.downcast_ref::<io::Error>() {
        from_io(inner)
    } else {
        Fault::unknown(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_fault_survives_every_layer() {
        let fault = Fault::lock_preempted();
        let external = || DataFusionError::External(Box::new(fault.clone()));
        let layers = [
            external(),
            DataFusionError::Context("while".into(), Box::new(external())),
            DataFusionError::Shared(Arc::new(external())),
            DataFusionError::External(Box::new(external())),
            DataFusionError::Collection(vec![external(), DataFusionError::Internal("later".into())]),
            DataFusionError::from(ArrowError::ExternalError(Box::new(external()))),
        ];
        for error in layers {
            assert_eq!(Fault::from(error), fault);
        }
    }

    #[test]
    fn every_error_has_its_code() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let table: Vec<(Fault, FaultCode, bool)> = vec![
            (
                InputError::InvalidSignature("x".into()).into(),
                FaultCode::DruidException,
                false,
            ),
            (
                InputError::Unsupported {
                    what: "input source",
                    name: "s3".into(),
                    supported: "local",
                }
                .into(),
                FaultCode::QueryNotSupported,
                false,
            ),
            (
                InputError::TooManyFiles {
                    files: 3,
                    max_files_per_worker: 1,
                    min_workers: 3,
                }
                .into(),
                FaultCode::TooManyInputFiles,
                false,
            ),
            (
                InputError::Io {
                    action: "read",
                    path: "/x".into(),
                    source: Arc::new(full()),
                }
                .into(),
                FaultCode::NotEnoughTemporaryStorageFault,
                true,
            ),
            (
                InputError::Http {
                    uri: "http://x".into(),
                    reason: "503".into(),
                    retryable: true,
                }
                .into(),
                FaultCode::UnknownError,
                true,
            ),
            (
                InputError::InvalidField {
                    column: "a".into(),
                    message: "m".into(),
                    place: "p".into(),
                }
                .into(),
                FaultCode::InvalidField,
                false,
            ),
            (
                ExchangeError::TooManyBuckets { max: 5000 }.into(),
                FaultCode::TooManyBuckets,
                false,
            ),
            (
                ExchangeError::TooManyPartitions { partitions: 3, max: 2 }.into(),
                FaultCode::TooManyPartitions,
                false,
            ),
            (
                ExchangeError::TooManyKeyColumns { columns: 3, max: 2 }.into(),
                FaultCode::TooManyClusteredByColumns,
                false,
            ),
            (
                ExchangeError::KeyNotSupported {
                    column: "a".into(),
                    data_type: "Map".into(),
                    reason: "r".into(),
                }
                .into(),
                FaultCode::ColumnTypeNotSupported,
                false,
            ),
            (
                ExchangeError::DiskFull { run: "r".into() }.into(),
                FaultCode::NotEnoughTemporaryStorageFault,
                false,
            ),
            (
                ExchangeError::MissingRun { run: "r".into() }.into(),
                FaultCode::UnknownError,
                true,
            ),
            (ExchangeError::Batch("b".into()).into(), FaultCode::UnknownError, false),
            (SegmentError::Invalid("x".into()).into(), FaultCode::UnknownError, false),
            (
                SegmentError::Io {
                    action: "write",
                    path: "/x".into(),
                    source: Arc::new(full()),
                }
                .into(),
                FaultCode::NotEnoughTemporaryStorageFault,
                false,
            ),
            (
                MetadataError::TooManyTombstones {
                    datasource: "d".into(),
                    limit: 5000,
                }
                .into(),
                FaultCode::TooManyBuckets,
                false,
            ),
            (
                MetadataError::LockPreempted {
                    task_id: "t".into(),
                    datasource: "d".into(),
                    interval: henge_time::Interval::ETERNITY,
                }
                .into(),
                FaultCode::InsertLockPreempted,
                false,
            ),
            (MetadataError::Injected("here").into(), FaultCode::UnknownError, true),
            (
                MetadataError::Invalid("x".into()).into(),
                FaultCode::UnknownError,
                false,
            ),
            (SqlError::unsupported("x").into(), FaultCode::DruidException, false),
            (full().into(), FaultCode::NotEnoughTemporaryStorageFault, false),
            (ArrowError::DivideByZero.into(), FaultCode::DruidException, false),
            (
                DataFusionError::ResourcesExhausted("pool".into()).into(),
                FaultCode::NotEnoughMemory,
                false,
            ),
            (
                DataFusionError::NotImplemented("x".into()).into(),
                FaultCode::QueryNotSupported,
                false,
            ),
            (
                DataFusionError::Execution("x".into()).into(),
                FaultCode::DruidException,
                false,
            ),
            (
                DataFusionError::Internal("x".into()).into(),
                FaultCode::UnknownError,
                false,
            ),
        ];
        for (fault, code, retryable) in table {
            assert_eq!((fault.code, fault.retryable), (code, retryable), "{fault}");
            assert!(fault.message.as_deref().is_some_and(|text| !text.is_empty()), "{fault}");
        }
    }

    #[test]
    fn numbers_in_texts_are_grouped() {
        let fault = Fault::broadcast_too_large(62_277_550);
        assert!(fault.to_string().contains("[62,277,550] bytes"), "{fault}");
        assert!(Fault::too_many_buckets(5000).to_string().contains("(max = 5,000)"));
    }
}
