//! Time zones as Druid names them: IANA names and offsets.

use chrono::{Offset, TimeZone};

/// A time zone: an IANA name or a fixed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Zone {
    /// A named zone with its history.
    Named(chrono_tz::Tz),
    /// A fixed offset east of UTC, in seconds.
    Fixed(i32),
}

impl Default for Zone {
    fn default() -> Self {
        Zone::Named(chrono_tz::UTC)
    }
}

impl Zone {
    /// Reads a name (`Asia/Tokyo`), `UTC`, `Z` or an offset (`+05:30`, `-0800`).
    pub fn parse(text: &str) -> Option<Zone> {
        let text = text.trim();
        if let Some(sign) = text.chars().next().filter(|c| matches!(c, '+' | '-')) {
            let digits: String = text[1..].chars().filter(|c| *c != ':').collect();
            if digits.len() < 2
                || digits.len() > 6
                || digits.len() % 2 == 1
                || !digits.bytes().all(|b| b.is_ascii_digit())
            {
                return None;
            }
            let part = |at: usize| digits.get(at..at + 2).map_or(Some(0), |d| d.parse::<i32>().ok());
            let seconds = part(0)? * 3600 + part(2)? * 60 + part(4)?;
            if seconds >= 86_400 {
                return None;
            }
            return Some(if seconds == 0 {
                Zone::default()
            } else {
                Zone::Fixed(if sign == '-' { -seconds } else { seconds })
            });
        }
        match text {
            "Z" | "UTC" | "Etc/UTC" => Some(Zone::default()),
            name => name.parse().ok().map(Zone::Named),
        }
    }

    /// Tells whether it is UTC.
    pub fn is_utc(self) -> bool {
        self == Zone::default()
    }

    /// Gives the offset from UTC at an instant, in milliseconds.
    pub fn offset_ms(self, millis: i64) -> i64 {
        match self {
            Zone::Fixed(seconds) => i64::from(seconds) * 1000,
            Zone::Named(chrono_tz::UTC) => 0,
            Zone::Named(zone) => match chrono::DateTime::from_timestamp_millis(millis) {
                Some(utc) => i64::from(zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc()) * 1000,
                None => 0,
            },
        }
    }

    /// Gives the instant of a local clock reading (milliseconds as if it were UTC). In a gap the clock is moved forward
    /// by the gap, in an overlap the earlier instant is taken, as Joda does.
    pub fn from_local(self, local_ms: i64) -> i64 {
        match self {
            Zone::Fixed(seconds) => local_ms.saturating_sub(i64::from(seconds) * 1000),
            Zone::Named(chrono_tz::UTC) => local_ms,
            Zone::Named(zone) => {
                let Some(local) = chrono::DateTime::from_timestamp_millis(local_ms).map(|t| t.naive_utc()) else {
                    return local_ms;
                };
                match zone.from_local_datetime(&local).earliest() {
                    Some(found) => found.timestamp_millis(),
                    None => local_ms.saturating_sub(self.offset_ms(local_ms.saturating_sub(86_400_000))),
                }
            }
        }
    }

    /// Gives the local clock reading of an instant, as milliseconds as if it were UTC.
    pub fn to_local(self, millis: i64) -> i64 {
        millis.saturating_add(self.offset_ms(millis))
    }

    /// Gives the name, as Joda prints it.
    pub fn name(self) -> String {
        match self {
            Zone::Named(zone) => zone.name().to_string(),
            Zone::Fixed(seconds) => {
                let sign = if seconds < 0 { '-' } else { '+' };
                let s = seconds.abs();
                format!("{sign}{:02}:{:02}", s / 3600, s / 60 % 60)
            }
        }
    }
}
