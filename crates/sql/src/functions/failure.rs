//! How a function fails on a value. Druid computes constants while it plans, and says then who is to blame; what fails on rows
//! is an exception of a data server.

use datafusion::common::DataFusionError;

use super::args::Args;
use crate::{Category, Persona, SqlError};

/// What Druid raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// A function's own refusal of an argument.
    Refused,
    /// An exception inside a function that does not say more.
    Unknown,
    /// A function's complaint of a value (`ExpressionProcessingException`).
    BadValue,
    /// Another Java exception, by its class.
    Java(&'static str),
}

impl Failure {
    /// Makes the error of a call.
    pub fn of(self, args: &Args, message: impl Into<String>) -> DataFusionError {
        self.error(args.is_constant(), message)
    }

    /// Makes the error, of a constant or of a row.
    pub fn error(self, constant: bool, message: impl Into<String>) -> DataFusionError {
        let error = if constant {
            let (persona, category) = match self {
                Failure::Refused => (Persona::User, Category::InvalidInput),
                Failure::Unknown => (Persona::Developer, Category::Defensive),
                Failure::BadValue | Failure::Java(_) => (Persona::Admin, Category::Uncategorized),
            };
            SqlError::general(persona, category, message)
        } else {
            let (persona, category, class) = match self {
                Failure::Refused => (Persona::User, Category::InvalidInput, ""),
                Failure::Unknown => (Persona::Developer, Category::Uncategorized, ""),
                Failure::BadValue => (
                    Persona::User,
                    Category::InvalidInput,
                    "org.apache.druid.math.expr.ExpressionProcessingException",
                ),
                Failure::Java(class) => (Persona::Admin, Category::Uncategorized, class),
            };
            SqlError::general(persona, category, message).raised(class)
        };
        DataFusionError::External(Box::new(error))
    }
}
