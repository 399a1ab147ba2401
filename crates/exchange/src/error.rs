//! What can go wrong in the exchange. A value that travels to the controller, so it owns plain texts only.

use std::io;
use std::path::Path;

use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

/// Why rows could not be staged, cut or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ExchangeError {
    /// A key column cannot be a key.
    #[error("column [{column}] of type [{data_type}] cannot be part of an exchange key: {reason}")]
    KeyNotSupported {
        column: String,
        data_type: String,
        reason: String,
    },
    /// More key columns than allowed.
    #[error("too many columns in the exchange key [{columns}], the limit is [{max}]")]
    TooManyKeyColumns { columns: usize, max: usize },
    /// More time chunks than allowed.
    #[error("too many partition buckets, the limit is [{max}]; use a coarser PARTITIONED BY")]
    TooManyBuckets { max: usize },
    /// More ranges than allowed.
    #[error(
        "too many partitions [{partitions}], the limit is [{max}]; raise rowsPerSegment or use a coarser PARTITIONED BY"
    )]
    TooManyPartitions { partitions: usize, max: usize },
    /// The disk of the run store is full.
    #[error(
        "no space left while writing run [{run}]; free the disk of the temporary folder or give the query more memory"
    )]
    DiskFull { run: String },
    /// Reading or writing a run failed.
    #[error("cannot {action} run [{run}]: {message}")]
    Io {
        action: String,
        run: String,
        message: String,
    },
    /// A run is not there (any more).
    #[error("run [{run}] is missing from the run store")]
    MissingRun { run: String },
    /// A run does not hold what was written.
    #[error("run [{run}] is damaged: {message}")]
    Corrupt { run: String, message: String },
    /// A name that the store cannot use.
    #[error("[{run}] is not a name for a run, expected letters, digits, '.', '_', '-' and '/' between folders")]
    BadName { run: String },
    /// A computation on batches failed: schemas that do not agree, offsets that overflow.
    #[error("exchange failed: {0}")]
    Batch(String),
}

impl ExchangeError {
    /// Tells whether another attempt of the task may succeed.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            ExchangeError::Io { .. } | ExchangeError::MissingRun { .. } | ExchangeError::Corrupt { .. }
        )
    }

    /// Makes the error of a fail point; the argument `full` plays a full disk.
    pub fn injected(action: &str, run: &str, argument: Option<String>) -> Self {
        let run = run.to_string();
        match argument {
            Some(argument) if argument == "full" => ExchangeError::DiskFull { run },
            argument => ExchangeError::Io {
                action: action.to_string(),
                run,
                message: argument.unwrap_or_else(|| "fail point".to_string()),
            },
        }
    }

    /// Makes the error of a failed file operation, telling a full disk and a missing file apart.
    pub(crate) fn io(action: &str, run: &Path, error: &io::Error) -> Self {
        let run = run.display().to_string();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ExchangeError::DiskFull { run }
            }
            io::ErrorKind::NotFound if action != "create" => ExchangeError::MissingRun { run },
            _ => ExchangeError::Io {
                action: action.to_string(),
                run,
                message: error.to_string(),
            },
        }
    }
}

impl From<ArrowError> for ExchangeError {
    fn from(error: ArrowError) -> Self {
        ExchangeError::Batch(error.to_string())
    }
}
