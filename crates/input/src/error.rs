//! The one error of this crate.

use std::fmt;
use std::io;
use std::sync::Arc;

/// What kind of trouble an [`InputError`] is; what the engine maps to a fault and the server to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InputErrorKind {
    /// The text of the input source is wrong (Druid: `invalidInput`, field `inputSource`).
    InvalidSource,
    /// The text of the input format is wrong (Druid: `invalidInput`, field `inputFormat`).
    InvalidFormat,
    /// The signature is wrong.
    InvalidSignature,
    /// A source, format or option that Druid has and henge does not read.
    Unsupported,
    /// The file system failed.
    Io,
    /// A server answered with an error, or not at all.
    Http,
    /// The bytes of a file are not what its name or its header promises.
    Corrupt,
    /// A limit of henge is exceeded.
    Limit,
    /// More files than the workers may read (Druid: `TooManyInputFiles`).
    TooManyFiles,
    /// A row could not be parsed and the observer gave up (Druid: `CannotParseExternalData`).
    BadRow,
    /// A value that can in no way become a value of its column (Druid: `InvalidField`).
    InvalidField,
}

/// Everything that can go wrong between the text of an `EXTERN` and its record batches.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InputError {
    /// The JSON of the source, the format or the signature is wrong. The text is Druid's.
    #[error("Invalid value for the field [{field}]. Reason: [{reason}]")]
    InvalidJson {
        /// `inputSource`, `inputFormat` or `rowSignature`.
        field: &'static str,
        /// What is wrong, with its place.
        reason: String,
    },
    /// The signature is wrong.
    #[error("{0}")]
    InvalidSignature(String),
    /// Something that Druid has and henge does not read.
    #[error("{what} [{name}] is not supported, supported are {supported}")]
    Unsupported {
        /// What it is, such as `input source`.
        what: &'static str,
        /// Its name or text.
        name: String,
        /// What there is instead.
        supported: &'static str,
    },
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
    /// A server answered with an error, or not at all.
    #[error("cannot fetch [{uri}]: {reason}")]
    Http {
        /// The address, without credentials.
        uri: String,
        /// The status, or what the transport says.
        reason: String,
        /// Whether the same call may succeed later.
        retryable: bool,
    },
    /// The bytes are not what the name or the header promises.
    #[error("cannot read [{path}]: {reason}")]
    Corrupt {
        /// The file or address.
        path: String,
        /// What was expected, and what was found.
        reason: String,
    },
    /// A limit of henge is exceeded.
    #[error("{what} in [{path}] exceeds the limit of {limit}: {remedy}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The file, folder or address.
        path: String,
        /// How large it may be.
        limit: u64,
        /// What to do about it.
        remedy: &'static str,
    },
    /// More files than the workers may read.
    #[error(
        "Too many input files/segments [{files}] encountered. Maximum input files/segments per worker is set to \
         [{max_files_per_worker}]. Try increasing the limit using the maxInputFilesPerWorker query context parameter, \
         breaking your query up into smaller queries, or increasing the number of workers to at least [{min_workers}] \
         by setting maxNumTasks in your query context."
    )]
    TooManyFiles {
        /// How many files there are.
        files: u64,
        /// How many a worker may read.
        max_files_per_worker: u64,
        /// How many workers would do.
        min_workers: u64,
    },
    /// A row could not be parsed and the observer gave up.
    #[error("{0}")]
    BadRow(Box<ParseIssue>),
    /// A value that can in no way become a value of its column.
    #[error("{message} (column [{column}], {place})")]
    InvalidField {
        /// The column.
        column: String,
        /// What is wrong, in Druid's words.
        message: String,
        /// File and line.
        place: String,
    },
}

impl InputError {
    /// Tells the kind of trouble.
    pub fn kind(&self) -> InputErrorKind {
        match self {
            Self::InvalidJson {
                field: "inputFormat", ..
            } => InputErrorKind::InvalidFormat,
            Self::InvalidJson {
                field: "rowSignature", ..
            } => InputErrorKind::InvalidSignature,
            Self::InvalidJson { .. } => InputErrorKind::InvalidSource,
            Self::InvalidSignature(_) => InputErrorKind::InvalidSignature,
            Self::Unsupported { .. } => InputErrorKind::Unsupported,
            Self::Io { .. } => InputErrorKind::Io,
            Self::Http { .. } => InputErrorKind::Http,
            Self::Corrupt { .. } => InputErrorKind::Corrupt,
            Self::Limit { .. } => InputErrorKind::Limit,
            Self::TooManyFiles { .. } => InputErrorKind::TooManyFiles,
            Self::BadRow(_) => InputErrorKind::BadRow,
            Self::InvalidField { .. } => InputErrorKind::InvalidField,
        }
    }

    /// Tells whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Http { retryable, .. } => *retryable,
            Self::Io { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory
            ),
            _ => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn corrupt(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.into(),
            reason: reason.into(),
        }
    }
}

/// A row that could not be parsed. Its `Display` is the text of Druid's `CannotParseExternalData`:
/// `Unable to parse row [not json] (Path: file:/in/a.json, Record: 2, Line: 2)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIssue {
    /// What is wrong in Druid's words, without the place.
    pub message: String,
    /// The address of the file (`file:/…`, `http://…`), none for inline data.
    pub file: Option<String>,
    /// One more than the records of this file that were parsed before.
    pub record: Option<u64>,
    /// The line, from one.
    pub line: Option<u64>,
    /// The field that is wrong, where it is known.
    pub field: Option<String>,
    /// What the parser stumbled over, for people; Druid's text does not have it.
    pub detail: Option<String>,
}

impl fmt::Display for ParseIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut separator = " (";
        if let Some(file) = &self.file {
            write!(f, "{separator}Path: {file}")?;
            separator = ", ";
        }
        if let Some(record) = self.record {
            write!(f, "{separator}Record: {record}")?;
            separator = ", ";
        }
        if let Some(line) = self.line {
            write!(f, "{separator}Line: {line}")?;
            separator = ", ";
        }
        if separator == ", " {
            f.write_str(")")?;
        }
        Ok(())
    }
}
