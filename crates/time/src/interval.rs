//! Half-open intervals of time, printed and ordered as Druid prints and orders them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{TimeError, format_millis, parse_millis};

/// A half-open interval `[start, end)` of milliseconds since the epoch (Joda's `Interval`), ordered by start, then end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// First millisecond inside.
    pub start_ms: i64,
    /// First millisecond behind.
    pub end_ms: i64,
}

impl Interval {
    /// Everything that Druid can name (`Intervals.ETERNITY`).
    pub const ETERNITY: Interval = Interval {
        start_ms: i64::MIN / 2,
        end_ms: i64::MAX / 2,
    };

    /// Makes an interval; the end may equal the start but not precede it.
    pub fn new(start_ms: i64, end_ms: i64) -> Result<Self, TimeError> {
        if end_ms < start_ms {
            return Err(TimeError::Interval(format!(
                "{}/{}",
                format_millis(start_ms),
                format_millis(end_ms)
            )));
        }
        Ok(Self { start_ms, end_ms })
    }

    /// Tells whether no instant lies inside.
    pub fn is_empty(&self) -> bool {
        self.start_ms >= self.end_ms
    }

    /// Tells whether the instant lies inside.
    pub fn contains_instant(&self, millis: i64) -> bool {
        self.start_ms <= millis && millis < self.end_ms
    }

    /// Tells whether the other interval lies wholly inside.
    pub fn contains(&self, other: &Interval) -> bool {
        self.start_ms <= other.start_ms && other.end_ms <= self.end_ms
    }

    /// Tells whether both share an instant.
    pub fn overlaps(&self, other: &Interval) -> bool {
        self.start_ms < other.end_ms && other.start_ms < self.end_ms
    }

    /// Gives what both share, if anything.
    pub fn intersection(&self, other: &Interval) -> Option<Interval> {
        let start_ms = self.start_ms.max(other.start_ms);
        let end_ms = self.end_ms.min(other.end_ms);
        (start_ms < end_ms).then_some(Interval { start_ms, end_ms })
    }

    /// Merges overlapping and touching intervals into the smallest sorted list that covers the same instants
    /// (Druid's `JodaUtils.condenseIntervals`).
    pub fn condense(intervals: impl IntoIterator<Item = Interval>) -> Vec<Interval> {
        let mut sorted: Vec<Interval> = intervals.into_iter().filter(|i| !i.is_empty()).collect();
        sorted.sort();
        let mut merged: Vec<Interval> = Vec::with_capacity(sorted.len());
        for next in sorted {
            match merged.last_mut() {
                Some(last) if next.start_ms <= last.end_ms => last.end_ms = last.end_ms.max(next.end_ms),
                _ => merged.push(next),
            }
        }
        merged
    }

    /// Gives the condensed parts of `from` that no interval of `remove` covers.
    pub fn subtract(
        from: impl IntoIterator<Item = Interval>,
        remove: impl IntoIterator<Item = Interval>,
    ) -> Vec<Interval> {
        let holes = Interval::condense(remove);
        let mut left = Vec::new();
        for whole in Interval::condense(from) {
            let mut start_ms = whole.start_ms;
            for hole in holes.iter().filter(|hole| hole.overlaps(&whole)) {
                if hole.start_ms > start_ms {
                    left.push(Interval {
                        start_ms,
                        end_ms: hole.start_ms,
                    });
                }
                start_ms = start_ms.max(hole.end_ms);
            }
            if start_ms < whole.end_ms {
                left.push(Interval {
                    start_ms,
                    end_ms: whole.end_ms,
                });
            }
        }
        left
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", format_millis(self.start_ms), format_millis(self.end_ms))
    }
}

impl FromStr for Interval {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let bad = || TimeError::Interval(text.to_string());
        let (start, end) = text.split_once(['/', '_']).ok_or_else(bad)?;
        let start_ms = parse_millis(start).map_err(|_| bad())?;
        let end_ms = parse_millis(end).map_err(|_| bad())?;
        Interval::new(start_ms, end_ms).map_err(|_| bad())
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn i(start_ms: i64, end_ms: i64) -> Interval {
        Interval { start_ms, end_ms }
    }

    #[test]
    fn condenses_and_subtracts() {
        assert_eq!(
            Interval::condense([i(5, 7), i(0, 2), i(2, 3), i(6, 9), i(4, 4)]),
            [i(0, 3), i(5, 9)]
        );
        assert_eq!(
            Interval::subtract([i(0, 10)], [i(2, 3), i(5, 6)]),
            [i(0, 2), i(3, 5), i(6, 10)]
        );
        assert_eq!(Interval::subtract([i(0, 10)], [i(0, 10)]), []);
    }

    #[test]
    fn reads_what_it_prints() {
        let text = "2015-01-01T00:00:00.000Z/2015-01-02T00:00:00.000Z";
        assert_eq!(text.parse::<Interval>().map(|i| i.to_string()), Ok(text.to_string()));
        assert_eq!(Interval::ETERNITY.to_string().parse(), Ok(Interval::ETERNITY));
        assert!("2015-01-02/2015-01-01".parse::<Interval>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn subtract_agrees_with_a_naive_model(from in proptest::collection::vec((0i64..30, 0i64..8), 0..5),
                                              remove in proptest::collection::vec((0i64..30, 0i64..8), 0..5)) {
            let make = |list: &[(i64, i64)]| list.iter().map(|(s, n)| i(*s, s + n)).collect::<Vec<_>>();
            let (from, remove) = (make(&from), make(&remove));
            let left = Interval::subtract(from.clone(), remove.clone());
            for t in 0..40 {
                let naive = from.iter().any(|i| i.contains_instant(t)) && !remove.iter().any(|i| i.contains_instant(t));
                proptest::prop_assert_eq!(left.iter().any(|i| i.contains_instant(t)), naive);
            }
        }
    }
}
