//! What can go wrong with files of segments.

use std::io;
use std::path::{Path, PathBuf};

/// What a caller branches on; the server maps it to engine error codes in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageErrorKind {
    /// The disk, or the quota, is full.
    Full,
    /// The files that a load spec names are not there.
    NotFound,
    /// A load spec of a kind that is not supported, or one that makes no sense.
    Unsupported,
    /// The files are there and no segment.
    Corrupt,
    /// Any other failure of the file system.
    Io,
    /// An error that a test asked for.
    Injected,
}

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// See [`StorageErrorKind::Full`], [`StorageErrorKind::NotFound`] and [`StorageErrorKind::Io`].
    #[error("cannot {action} [{}]: {}{source}", path.display(), remedy(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// See [`StorageErrorKind::Unsupported`].
    #[error("cannot use load spec [{load_spec}]: {reason}")]
    LoadSpec {
        /// The load spec as JSON.
        load_spec: String,
        /// What is wrong with it.
        reason: String,
    },
    /// See [`StorageErrorKind::Unsupported`].
    #[error("cannot make a path of {what} [{value}], it must be the name of one folder")]
    Name {
        /// Which part.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// See [`StorageErrorKind::Corrupt`].
    #[error("cannot open segment [{id}] at [{}]: {message}", path.display())]
    Segment {
        /// Id of the segment.
        id: String,
        /// Where it is.
        path: PathBuf,
        /// What the reader says.
        message: String,
    },
    /// Work on the blocking pool ended without an answer: it panicked, or the runtime is shutting down.
    #[error("cannot {action}: the process is shutting down")]
    Interrupted {
        /// What was tried.
        action: &'static str,
    },
    /// See [`StorageErrorKind::Injected`].
    #[error("failure injected at [{0}]")]
    Injected(&'static str),
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full, free some space or use another data folder: "
        }
        _ => "",
    }
}

impl StorageError {
    /// Gives the kind to branch on.
    pub fn kind(&self) -> StorageErrorKind {
        match self {
            StorageError::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageErrorKind::Full,
                io::ErrorKind::NotFound => StorageErrorKind::NotFound,
                _ => StorageErrorKind::Io,
            },
            StorageError::LoadSpec { .. } | StorageError::Name { .. } => StorageErrorKind::Unsupported,
            StorageError::Segment { .. } => StorageErrorKind::Corrupt,
            StorageError::Interrupted { .. } => StorageErrorKind::Io,
            StorageError::Injected(_) => StorageErrorKind::Injected,
        }
    }

    /// Tells whether the same call may succeed when it is made again unchanged.
    pub fn retryable(&self) -> bool {
        match self {
            StorageError::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::ResourceBusy
                )
            }
            StorageError::Injected(_) => true,
            _ => false,
        }
    }
}

/// Names what was tried with which file, for errors of the file system.
pub(crate) trait Doing<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, StorageError>;
}

impl<T> Doing<T> for Result<T, io::Error> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io {
            action,
            path: path.to_path_buf(),
            source,
        })
    }
}
