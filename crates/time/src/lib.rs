//! Druid's time: instants are `i64` milliseconds since 1970-01-01T00:00:00Z, intervals are half open, granularities cut
//! the time line into buckets. Nothing here knows of SQL, JSON shapes or storage.

mod granularity;
mod interval;
mod iso;
mod period;

pub use granularity::Granularity;
pub use interval::Interval;
pub use iso::{format_millis, parse_millis};
pub use period::Period;

/// What can be wrong with a time given as text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// The text is no ISO-8601 instant.
    #[error("cannot read [{0}] as a time, expected ISO 8601 like 2015-09-12T00:46:58.771Z")]
    Instant(String),
    /// The text is no interval, or its end lies before its start.
    #[error("cannot read [{0}] as an interval, expected start/end like 2015-09-12/2015-09-13")]
    Interval(String),
    /// The text is no period.
    #[error("cannot read [{0}] as a period, expected ISO 8601 like P1D or PT1H")]
    Period(String),
    /// The text is no granularity.
    #[error("cannot read [{0}] as a granularity, expected HOUR, DAY, MONTH, YEAR, ALL or a period like PT1H")]
    Granularity(String),
}
