//! The table of functions: one file a family, one entry a function.

mod zone;

pub use zone::Zone;

/// A row of `INFORMATION_SCHEMA.ROUTINES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routine {
    /// Upper case name.
    pub name: &'static str,
    /// `FUNCTION`.
    pub kind: &'static str,
    /// True for aggregates.
    pub is_aggregator: bool,
    /// The SIGNATURES text, one form a line.
    pub signatures: &'static str,
}
