//! The one error of this crate.

use std::io;
use std::path::Path;
use std::sync::Arc;

/// What kind of trouble a [`SegmentError`] is; what a caller decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentErrorKind {
    /// The file system failed.
    Io,
    /// The bytes are not those of a sound segment.
    Corrupt,
    /// The bytes are sound as far as can be told, but of a form that henge does not read or write.
    Unsupported,
    /// The caller asked for something that makes no sense, such as a column that is not there.
    Invalid,
    /// A limit of the format or of henge is exceeded.
    Limit,
}

/// Everything that can go wrong while a segment is read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SegmentError {
    /// The file system failed.
    #[error("cannot {action} [{path}]: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// Why it failed.
        source: Arc<io::Error>,
    },
    /// The bytes are not those of a sound segment.
    #[error("damaged segment: {file}, column [{column}], offset {offset}: {expectation}")]
    Corrupt {
        /// The file, with the internal file where there is one.
        file: String,
        /// The column, or the internal file that belongs to no column.
        column: String,
        /// Where in the internal file.
        offset: u64,
        /// What was expected there, and what was found.
        expectation: String,
    },
    /// A form that henge does not read or write.
    #[error("{file}: {what} is not supported")]
    Unsupported {
        /// The file and, where there is one, the column.
        file: String,
        /// What was met.
        what: String,
    },
    /// The caller asked for something that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A limit of the format or of henge is exceeded.
    #[error("{what} is {actual}, the limit is {limit}: {remedy}")]
    Limit {
        /// What is too large.
        what: String,
        /// How large it is.
        actual: u64,
        /// How large it may be.
        limit: u64,
        /// What to do about it.
        remedy: &'static str,
    },
}

/// A failure of the stream that rows or metadata are printed to.
impl From<io::Error> for SegmentError {
    fn from(source: io::Error) -> Self {
        Self::io("write to", Path::new("output"), source)
    }
}

impl SegmentError {
    /// Tells the kind of trouble.
    pub fn kind(&self) -> SegmentErrorKind {
        match self {
            Self::Io { .. } => SegmentErrorKind::Io,
            Self::Corrupt { .. } => SegmentErrorKind::Corrupt,
            Self::Unsupported { .. } => SegmentErrorKind::Unsupported,
            Self::Invalid(_) => SegmentErrorKind::Invalid,
            Self::Limit { .. } => SegmentErrorKind::Limit,
        }
    }

    /// Tells whether the same call may succeed later: only the file system changes its mind.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
            }
            _ => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.display().to_string(),
            source: Arc::new(source),
        }
    }

    /// Takes a failure to write: one that carries an error of this crate gives that one back.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        match source.downcast::<SegmentError>() {
            Ok(own) => own,
            Err(source) => Self::io("write", path, source),
        }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }
}
