//! Faults: why a query failed, with Druid's codes, fields and texts (Druid's `MSQFault` classes; spec `msq-engine` section 9).
//!
//! A fault is a value: it is raised in a task, travels to the controller, is stored in the report and is shown by the server.
//! The JSON shape is the server's; this file owns codes, fields, texts, categories and what may be retried.

use std::fmt;

use henge_sql::Persona;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Why a query failed or warned: Druid's error code, its fields in Druid's order, and a text for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Druid's code, such as `InsertTimeNull`.
    pub code: FaultCode,
    /// The fields that Druid writes between the code and the text, in its order.
    pub fields: Map<String, Value>,
    /// What happened, where, why, and what to do. Absent only where Druid has no text (`QueryNotSupported`).
    pub message: Option<String>,
    /// Where a function failed on a value: the class of the Java exception, empty for a `DruidException`. Reports do not show
    /// it; interactive queries wrap such failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised: Option<Box<str>>,
    /// True where another attempt may succeed: lost workers, transient I/O.
    pub retryable: bool,
}

/// What kind of failure a fault is (Druid's `DruidException.Category`); the HTTP status follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultCategory {
    /// The statement, a parameter, or the data.
    InvalidInput,
    /// Two tasks want the same.
    Conflict,
    /// A limit.
    CapacityExceeded,
    /// Stopped.
    Canceled,
    /// Took too long.
    Timeout,
    /// Valid, but not offered.
    Unsupported,
    /// Failed while it ran.
    RuntimeFailure,
    /// Anything else.
    Uncategorized,
}

impl FaultCategory {
    /// Gives the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCategory::InvalidInput => "INVALID_INPUT",
            FaultCategory::Conflict => "CONFLICT",
            FaultCategory::CapacityExceeded => "CAPACITY_EXCEEDED",
            FaultCategory::Canceled => "CANCELED",
            FaultCategory::Timeout => "TIMEOUT",
            FaultCategory::Unsupported => "UNSUPPORTED",
            FaultCategory::RuntimeFailure => "RUNTIME_FAILURE",
            FaultCategory::Uncategorized => "UNCATEGORIZED",
        }
    }

    /// Gives the HTTP status that Druid answers with.
    pub fn status(self) -> u16 {
        match self {
            FaultCategory::InvalidInput => 400,
            FaultCategory::Conflict => 409,
            FaultCategory::CapacityExceeded => 429,
            FaultCategory::Unsupported => 501,
            FaultCategory::Timeout => 504,
            FaultCategory::Canceled | FaultCategory::RuntimeFailure | FaultCategory::Uncategorized => 500,
        }
    }
}

macro_rules! fault_codes {
    ($($(#[$doc:meta])* $code:ident => $persona:ident, $category:ident;)*) => {
        /// Every code of the engine, with who can mend it and its category.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FaultCode { $($(#[$doc])* $code,)* }

        impl FaultCode {
            /// All codes, in the order of the table.
            pub const ALL: &[FaultCode] = &[$(FaultCode::$code,)*];

            /// Gives the code as Druid writes it.
            pub fn as_str(self) -> &'static str {
                match self { $(FaultCode::$code => stringify!($code),)* }
            }

            /// Tells who can mend it.
            pub fn persona(self) -> Persona {
                match self { $(FaultCode::$code => Persona::$persona,)* }
            }

            /// Gives the category, which decides the HTTP status.
            pub fn category(self) -> FaultCategory {
                match self { $(FaultCode::$code => FaultCategory::$category,)* }
            }
        }
    };
}

fault_codes! {
    /// Broadcast sides of a join do not fit.
    BroadcastTablesTooLarge => User, CapacityExceeded;
    /// Stopped by a user, a shutdown or a timeout; the field `reason` says which.
    Canceled => User, Canceled;
    /// External data has a row that cannot be read.
    CannotParseExternalData => User, InvalidInput;
    /// A column has a reserved name.
    ColumnNameRestricted => User, InvalidInput;
    /// A column has a type that cannot be stored or exchanged.
    ColumnTypeNotSupported => User, InvalidInput;
    /// An error of planning or of an expression, carried with its own code.
    DruidException => User, InvalidInput;
    /// Durable storage is asked for and not configured.
    DurableStorageConfiguration => Operator, InvalidInput;
    /// An append found no room in the time chunk.
    InsertCannotAllocateSegment => User, RuntimeFailure;
    /// No rows, and `failOnEmptyInsert`.
    InsertCannotBeEmpty => User, InvalidInput;
    /// The lock was revoked.
    InsertLockPreempted => User, Conflict;
    /// A row has no time.
    InsertTimeNull => User, InvalidInput;
    /// A row lies outside OVERWRITE WHERE.
    InsertTimeOutOfBounds => User, InvalidInput;
    /// A value cannot be written.
    InvalidField => Developer, InvalidInput;
    /// A string holds U+0000.
    InvalidNullByte => User, InvalidInput;
    /// The memory share of a task is too small for the work.
    NotEnoughMemory => Operator, CapacityExceeded;
    /// The disk is full.
    NotEnoughTemporaryStorageFault => Operator, CapacityExceeded;
    /// The engine cannot run this plan.
    QueryNotSupported => Developer, Unsupported;
    /// One row is larger than a frame.
    RowTooLarge => User, CapacityExceeded;
    /// Tasks did not start in time.
    TaskStartTimeout => Operator, CapacityExceeded;
    /// Too many relaunches in the query.
    TooManyAttemptsForJob => Operator, RuntimeFailure;
    /// Too many relaunches of one task.
    TooManyAttemptsForWorker => Operator, RuntimeFailure;
    /// Too many time chunks.
    TooManyBuckets => User, CapacityExceeded;
    /// Too many CLUSTERED BY columns.
    TooManyClusteredByColumns => User, CapacityExceeded;
    /// Too many columns.
    TooManyColumns => User, CapacityExceeded;
    /// Too many input files for a worker.
    TooManyInputFiles => User, CapacityExceeded;
    /// Too many partitions in a stage.
    TooManyPartitions => User, CapacityExceeded;
    /// Too many rows in a window.
    TooManyRowsInAWindow => User, CapacityExceeded;
    /// Too many rows with one join key.
    TooManyRowsWithSameKey => User, CapacityExceeded;
    /// Too many segments in one time chunk.
    TooManySegmentsInTimeChunk => User, CapacityExceeded;
    /// More bad rows than `maxParseExceptions` allows.
    TooManyWarnings => User, RuntimeFailure;
    /// Too many workers.
    TooManyWorkers => User, CapacityExceeded;
    /// Anything that has no code of its own.
    UnknownError => Developer, Uncategorized;
    /// A worker died.
    WorkerFailed => Operator, RuntimeFailure;
    /// A worker could not be reached.
    WorkerRpcFailed => Operator, RuntimeFailure;
}

impl Fault {
    /// Makes a fault without fields.
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self {
            code,
            fields: Map::new(),
            message: Some(message.into()),
            raised: None,
            retryable: false,
        }
    }

    /// Adds a field, in Druid's order.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_string(), value.into());
        self
    }

    /// Marks the fault as one that another attempt may cure.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Makes the fault of something without a code of its own.
    pub fn unknown(message: impl Into<String>) -> Self {
        let message = message.into();
        let mut fault = Self::new(FaultCode::UnknownError, message.clone());
        fault.fields.insert("message".to_string(), Value::String(message));
        fault
    }
}

/// Writes a number with commas between thousands, as Druid's texts have it.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "{}: {message}", self.code.as_str()),
            None => f.write_str(self.code.as_str()),
        }
    }
}

impl std::error::Error for Fault {}
