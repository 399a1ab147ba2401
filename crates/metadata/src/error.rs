//! What can go wrong in the metadata store, with a kind to branch on and a word about retrying.

use std::path::PathBuf;

use henge_time::Interval;

/// What a caller branches on; the server maps it to engine error codes in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataErrorKind {
    /// A lock was revoked, or does not cover what is published (`InsertLockPreempted`).
    LockPreempted,
    /// A REPLACE would need more tombstones than the limit (`TooManyBuckets`).
    TooManyTombstones,
    /// A commit meets appended segments that it cannot carry over (category UNSUPPORTED).
    Unsupported,
    /// The named thing exists already.
    AlreadyExists,
    /// The named thing does not exist.
    NotFound,
    /// The caller asked for something that makes no sense.
    Invalid,
    /// Another process owns the store.
    InUse,
    /// The disk that holds the store is full.
    Full,
    /// A stored row cannot be understood.
    Corrupt,
    /// The database failed.
    Database,
    /// An error that a test asked for.
    Injected,
}

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// See [`MetadataErrorKind::LockPreempted`].
    #[error(
        "lock of task [{task_id}] on datasource [{datasource}] interval [{interval}] is preempted and no longer valid"
    )]
    LockPreempted {
        /// Task that lost its lock.
        task_id: String,
        /// Datasource of the lock.
        datasource: String,
        /// Interval of the lock, or of the segment that no lock covers.
        interval: Interval,
    },
    /// The lock can never be had: whoever has it waits for a lock of this task. Of kind
    /// [`MetadataErrorKind::LockPreempted`], for the remedy is the same: run the task again.
    #[error(
        "task [{task_id}] and another task wait for each other's locks on datasource [{datasource}], run it again, with the same kind of locks as the other"
    )]
    Deadlock {
        /// Task that came last.
        task_id: String,
        /// Datasource of the locks.
        datasource: String,
    },
    /// See [`MetadataErrorKind::TooManyTombstones`].
    #[error(
        "cannot replace datasource [{datasource}]: it needs more than {limit} tombstones, narrow the OVERWRITE interval or use a coarser PARTITIONED BY"
    )]
    TooManyTombstones {
        /// Datasource that is replaced.
        datasource: String,
        /// The limit.
        limit: usize,
    },
    /// See [`MetadataErrorKind::Unsupported`].
    #[error(
        "cannot commit to datasource [{datasource}]: segment [{segment_id}] was appended meanwhile and overlaps replaced interval [{interval}] only in part, append with the segment granularity of the REPLACE or a finer one"
    )]
    PartialAppendOverlap {
        /// Datasource that is replaced.
        datasource: String,
        /// Appended segment.
        segment_id: String,
        /// Interval that is replaced.
        interval: Interval,
    },
    /// See [`MetadataErrorKind::AlreadyExists`].
    #[error("{what} [{id}] exists already")]
    AlreadyExists {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// See [`MetadataErrorKind::NotFound`].
    #[error("{what} [{id}] does not exist")]
    NotFound {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// See [`MetadataErrorKind::Invalid`].
    #[error("{0}")]
    Invalid(String),
    /// See [`MetadataErrorKind::InUse`].
    #[error("metadata store [{}] is used by another process, stop it or choose another data folder", path.display())]
    InUse {
        /// Path of the store.
        path: PathBuf,
    },
    /// See [`MetadataErrorKind::Corrupt`].
    #[error("cannot read {what} [{id}] of the metadata store: {source}")]
    Corrupt {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The lock file of the store cannot be made.
    #[error("cannot open metadata store [{}]: {source}", path.display())]
    Open {
        /// Path of the store.
        path: PathBuf,
        /// What the file system says.
        source: std::io::Error,
    },
    /// See [`MetadataErrorKind::Database`] and [`MetadataErrorKind::Full`].
    #[error("cannot {action}: {source}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// What the database says.
        source: sqlx::Error,
    },
    /// The store's own work ended without an answer: it panicked, or the runtime is shutting down.
    #[error("cannot {action}: the metadata store is shutting down")]
    Interrupted {
        /// What was tried.
        action: &'static str,
    },
    /// See [`MetadataErrorKind::Injected`].
    #[error("failure injected at [{0}]")]
    Injected(&'static str),
}

/// SQLite's result code for a full disk.
const SQLITE_FULL: &str = "13";
/// SQLite's result codes for a database that somebody else holds.
const SQLITE_BUSY: [&str; 2] = ["5", "6"];

impl MetadataError {
    /// Gives the kind to branch on.
    pub fn kind(&self) -> MetadataErrorKind {
        match self {
            MetadataError::LockPreempted { .. } | MetadataError::Deadlock { .. } => MetadataErrorKind::LockPreempted,
            MetadataError::TooManyTombstones { .. } => MetadataErrorKind::TooManyTombstones,
            MetadataError::PartialAppendOverlap { .. } => MetadataErrorKind::Unsupported,
            MetadataError::AlreadyExists { .. } => MetadataErrorKind::AlreadyExists,
            MetadataError::NotFound { .. } => MetadataErrorKind::NotFound,
            MetadataError::Invalid(_) => MetadataErrorKind::Invalid,
            MetadataError::InUse { .. } => MetadataErrorKind::InUse,
            MetadataError::Corrupt { .. } => MetadataErrorKind::Corrupt,
            MetadataError::Open { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                MetadataErrorKind::Full
            }
            MetadataError::Database { source, .. } if database_code(source).as_deref() == Some(SQLITE_FULL) => {
                MetadataErrorKind::Full
            }
            MetadataError::Open { .. } | MetadataError::Database { .. } | MetadataError::Interrupted { .. } => {
                MetadataErrorKind::Database
            }
            MetadataError::Injected(_) => MetadataErrorKind::Injected,
        }
    }

    /// Tells whether the same call may succeed when it is made again unchanged.
    pub fn retryable(&self) -> bool {
        match self {
            MetadataError::Database { source, .. } => {
                database_code(source).is_some_and(|code| SQLITE_BUSY.contains(&code.as_str()))
                    || matches!(source, sqlx::Error::PoolTimedOut)
            }
            MetadataError::Injected(_) => true,
            _ => false,
        }
    }
}

fn database_code(error: &sqlx::Error) -> Option<String> {
    let code = error.as_database_error()?.code()?;
    // Extended codes carry the primary one in their low byte.
    let number: u32 = code.parse().ok()?;
    Some((number & 0xff).to_string())
}

/// Names what was tried, for errors of the database.
pub(crate) trait Action<T> {
    fn action(self, action: &'static str) -> Result<T, MetadataError>;
}

impl<T> Action<T> for Result<T, sqlx::Error> {
    fn action(self, action: &'static str) -> Result<T, MetadataError> {
        self.map_err(|source| MetadataError::Database { action, source })
    }
}
