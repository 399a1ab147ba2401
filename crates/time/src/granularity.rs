//! Segment granularities: how PARTITIONED BY cuts the time line (Druid's `Granularity`).

use std::fmt;
use std::str::FromStr;

use crate::{Interval, Period, TimeError};

/// The named granularities, as the period that they stand for (Druid's `GranularityType`).
const NAMED: [(&str, &str); 15] = [
    ("SECOND", "PT1S"),
    ("MINUTE", "PT1M"),
    ("FIVE_MINUTE", "PT5M"),
    ("TEN_MINUTE", "PT10M"),
    ("FIFTEEN_MINUTE", "PT15M"),
    ("THIRTY_MINUTE", "PT30M"),
    ("HOUR", "PT1H"),
    ("SIX_HOUR", "PT6H"),
    ("EIGHT_HOUR", "PT8H"),
    ("DAY", "P1D"),
    ("WEEK", "P1W"),
    ("MONTH", "P1M"),
    ("QUARTER", "P3M"),
    ("YEAR", "P1Y"),
    ("DAY", "PT24H"),
];

/// A cut of the time line into buckets, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// One bucket for everything.
    All,
    /// Buckets of one period.
    Period(Period),
}

impl Granularity {
    /// One bucket a day.
    pub const DAY: Granularity = Granularity::Period(Period {
        months: 0,
        days: 1,
        weeks: false,
        millis: 0,
    });

    /// Gives the start of the bucket that holds the instant; beyond the calendar everything is one bucket.
    pub fn bucket_start(&self, millis: i64) -> i64 {
        match self {
            Granularity::All => Interval::ETERNITY.start_ms,
            Granularity::Period(period) => period
                .floor(millis, chrono_tz::UTC)
                .unwrap_or(Interval::ETERNITY.start_ms),
        }
    }

    /// Gives the bucket that holds the instant.
    pub fn bucket(&self, millis: i64) -> Interval {
        match self {
            Granularity::All => Interval::ETERNITY,
            Granularity::Period(period) => {
                let Some(start_ms) = period.floor(millis, chrono_tz::UTC) else {
                    return Interval::ETERNITY;
                };
                let end_ms = period
                    .next(start_ms, chrono_tz::UTC)
                    .unwrap_or(Interval::ETERNITY.end_ms);
                Interval { start_ms, end_ms }
            }
        }
    }

    /// Gives the buckets that touch the interval, in order; never more than `limit + 1`, so that a caller can tell "too many".
    pub fn buckets(&self, interval: &Interval, limit: usize) -> Vec<Interval> {
        let mut buckets = Vec::new();
        let mut at = interval.start_ms;
        while at < interval.end_ms && buckets.len() <= limit {
            let bucket = self.bucket(at);
            buckets.push(bucket);
            if bucket.end_ms <= at {
                break;
            }
            at = bucket.end_ms;
        }
        buckets
    }

    /// Tells whether both ends of the interval are starts of buckets.
    pub fn aligned(&self, interval: &Interval) -> bool {
        match self {
            Granularity::All => *interval == Interval::ETERNITY,
            Granularity::Period(_) => {
                self.bucket_start(interval.start_ms) == interval.start_ms
                    && self.bucket_start(interval.end_ms) == interval.end_ms
            }
        }
    }

    /// Gives the name that Druid has for it (`DAY`, `ALL`), where it has one.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Granularity::All => Some("ALL"),
            Granularity::Period(period) => NAMED
                .iter()
                .find(|(_, text)| text.parse::<Period>().as_ref() == Ok(period))
                .map(|(name, _)| *name),
        }
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self) {
            (Some(name), _) => f.write_str(name),
            (None, Granularity::Period(period)) => write!(f, "{period}"),
            (None, Granularity::All) => f.write_str("ALL"),
        }
    }
}

impl FromStr for Granularity {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let upper = text.trim().to_ascii_uppercase();
        if upper == "ALL" || upper == "ALL TIME" {
            return Ok(Granularity::All);
        }
        let period = NAMED
            .iter()
            .find(|(name, _)| *name == upper)
            .map_or(upper.as_str(), |(_, period)| period);
        period
            .parse()
            .map(Granularity::Period)
            .map_err(|_| TimeError::Granularity(text.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_alignment() {
        let day: Granularity = "DAY".parse().expect("known");
        let interval: Interval = "2015-01-01T05:00/2015-01-03T00:00".parse().expect("an interval");
        let buckets: Vec<String> = day.buckets(&interval, 100).iter().map(ToString::to_string).collect();
        assert_eq!(
            buckets,
            [
                "2015-01-01T00:00:00.000Z/2015-01-02T00:00:00.000Z",
                "2015-01-02T00:00:00.000Z/2015-01-03T00:00:00.000Z"
            ]
        );
        assert!(!day.aligned(&interval));
        assert!(day.aligned(&buckets[0].parse().expect("an interval")));
        assert!(Granularity::All.aligned(&Interval::ETERNITY) && !day.aligned(&Interval::ETERNITY));
        assert_eq!(
            day.buckets(&Interval::ETERNITY, 5).len(),
            6,
            "one more than the limit, no more"
        );
    }

    #[test]
    fn names() {
        for (text, name) in [
            ("P1D", "DAY"),
            ("PT30M", "THIRTY_MINUTE"),
            ("all time", "ALL"),
            ("P3M", "QUARTER"),
            ("P2D", "P2D"),
        ] {
            assert_eq!(text.parse::<Granularity>().map(|g| g.to_string()), Ok(name.to_string()));
        }
    }
}
