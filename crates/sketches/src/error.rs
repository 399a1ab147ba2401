//! The one error of this crate.

/// Everything that can go wrong with a complex value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SketchError {
    /// The bytes are not those of a sound value.
    #[error("damaged {kind}: {expectation}")]
    Corrupt {
        /// Druid's type name.
        kind: &'static str,
        /// What was expected, and what was found.
        expectation: String,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Two values cannot be merged.
    #[error("cannot merge {left} with {right}: {why}")]
    Mismatch {
        /// What was merged into.
        left: String,
        /// What was to be merged.
        right: String,
        /// Why it cannot.
        why: String,
    },
}

impl SketchError {
    pub(crate) fn corrupt(kind: &'static str, expectation: impl Into<String>) -> Self {
        Self::Corrupt {
            kind,
            expectation: expectation.into(),
        }
    }
}
