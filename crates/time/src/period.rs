//! ISO-8601 periods and flooring to them, as Druid's `PeriodGranularity` does.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Days, Months, NaiveDateTime, NaiveTime, TimeDelta};

use crate::TimeError;
use crate::iso::{from_local, millis_of_day, month_start, to_local};

/// A calendar period: months (12 of them are a year), days (7 of them are a week) and milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Period {
    /// Years and months, in months.
    pub months: u32,
    /// Weeks and days, in days. A week is kept as such for flooring: see `weeks`.
    pub days: u32,
    /// True where the days were written as weeks: buckets then start on Mondays.
    pub weeks: bool,
    /// Hours, minutes, seconds and milliseconds, in milliseconds.
    pub millis: i64,
}

impl Period {
    /// Tells whether the period spans no time.
    pub fn is_empty(&self) -> bool {
        self.months == 0 && self.days == 0 && self.millis == 0
    }

    /// Floors an instant to a multiple of the period, counted from the epoch (weeks: from Monday 1969-12-29) on the clock of
    /// the zone. `None` where the instant is beyond the calendar.
    pub fn floor(&self, millis: i64, zone: chrono_tz::Tz) -> Option<i64> {
        if self.months == 0 && self.days == 0 {
            if zone == chrono_tz::UTC || self.millis < 3_600_000 && 3_600_000 % self.millis == 0 {
                return Some(millis - millis.rem_euclid(self.millis));
            }
            return self.floor_clock(millis, zone);
        }
        if zone == chrono_tz::UTC && self.months == 0 && self.millis == 0 {
            let unit = i64::from(self.days) * 86_400_000;
            let origin = if self.weeks { -3 * 86_400_000 } else { 0 };
            return Some((millis - origin).div_euclid(unit) * unit + origin);
        }
        let local = to_local(millis, zone)?;
        if self.months > 0 && self.days == 0 && self.millis == 0 {
            let start = month_start(local)?;
            let count = i64::from(start.year() - 1970) * 12 + i64::from(start.month0());
            let back = u32::try_from(count.rem_euclid(i64::from(self.months))).ok()?;
            return from_local(start.checked_sub_months(Months::new(back))?, zone);
        }
        if self.months == 0 && self.millis == 0 {
            let midnight = local.date().and_time(NaiveTime::MIN);
            let day = midnight.and_utc().timestamp().div_euclid(86_400);
            let origin = if self.weeks { -3 } else { 0 };
            let back = (day - origin).rem_euclid(i64::from(self.days));
            return from_local(midnight.checked_sub_days(Days::new(u64::try_from(back).ok()?))?, zone);
        }
        self.floor_mixed(millis, zone)
    }

    /// Gives the start of the bucket behind the one that starts at `start`.
    pub fn next(&self, start: i64, zone: chrono_tz::Tz) -> Option<i64> {
        if self.months == 0 && (self.days == 0 || zone == chrono_tz::UTC) {
            return start.checked_add(i64::from(self.days) * 86_400_000 + self.millis);
        }
        let local = self.add(to_local(start, zone)?, 1)?;
        from_local(local, zone)
    }

    fn add(&self, local: NaiveDateTime, times: u32) -> Option<NaiveDateTime> {
        local
            .checked_add_months(Months::new(self.months.checked_mul(times)?))?
            .checked_add_days(Days::new(u64::from(self.days) * u64::from(times)))?
            .checked_add_signed(TimeDelta::milliseconds(self.millis.checked_mul(i64::from(times))?))
    }

    /// Floors to hours or more on a clock that changes: counted from midnight where the period divides a day.
    fn floor_clock(&self, millis: i64, zone: chrono_tz::Tz) -> Option<i64> {
        let local = to_local(millis, zone)?;
        if 86_400_000 % self.millis == 0 {
            let over = millis_of_day(local).rem_euclid(self.millis);
            return Some(millis - over);
        }
        Some(millis - millis.rem_euclid(self.millis))
    }

    /// Floors to a period of several fields by stepping from the epoch; such periods are rare and the steps are bounded.
    fn floor_mixed(&self, millis: i64, zone: chrono_tz::Tz) -> Option<i64> {
        let epoch = to_local(0, zone)?.date().and_time(NaiveTime::MIN);
        let average = i64::from(self.months) * 2_629_746_000 + i64::from(self.days) * 86_400_000 + self.millis;
        let mut steps = u32::try_from((millis / average - 2).max(0)).ok()?;
        let mut at = from_local(self.add(epoch, steps)?, zone)?;
        if millis < at {
            return None;
        }
        loop {
            steps += 1;
            let next = from_local(self.add(epoch, steps)?, zone)?;
            if next > millis {
                return Some(at);
            }
            at = next;
        }
    }
}

impl FromStr for Period {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        read(text)
            .filter(|p| !p.is_empty())
            .ok_or_else(|| TimeError::Period(text.to_string()))
    }
}

fn read(text: &str) -> Option<Period> {
    let body = text.strip_prefix(['P', 'p'])?;
    let mut period = Period::default();
    let (mut digits, mut in_time, mut plain_days) = (String::new(), false, false);
    for c in body.chars() {
        if c.is_ascii_digit() || c == '.' {
            digits.push(c);
            continue;
        }
        if matches!(c, 'T' | 't') && digits.is_empty() && !in_time {
            in_time = true;
            continue;
        }
        if c.eq_ignore_ascii_case(&'s') && in_time && digits.contains('.') {
            let seconds: f64 = digits.parse().ok()?;
            period.millis = period.millis.checked_add((seconds * 1000.0).round() as i64)?;
            digits.clear();
            continue;
        }
        let count: u32 = digits.parse().ok()?;
        digits.clear();
        match (c.to_ascii_uppercase(), in_time) {
            ('Y', false) => period.months = period.months.checked_add(count.checked_mul(12)?)?,
            ('M', false) => period.months = period.months.checked_add(count)?,
            ('W', false) => {
                period.days = period.days.checked_add(count.checked_mul(7)?)?;
                period.weeks = true;
            }
            ('D', false) => {
                period.days = period.days.checked_add(count)?;
                plain_days |= count > 0;
            }
            ('H', true) => period.millis = period.millis.checked_add(i64::from(count) * 3_600_000)?,
            ('M', true) => period.millis = period.millis.checked_add(i64::from(count) * 60_000)?,
            ('S', true) => period.millis = period.millis.checked_add(i64::from(count) * 1_000)?,
            _ => return None,
        }
    }
    period.weeks &= !plain_days;
    digits.is_empty().then_some(period)
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P")?;
        let part = |f: &mut fmt::Formatter<'_>, n: i64, unit: &str| if n > 0 { write!(f, "{n}{unit}") } else { Ok(()) };
        part(f, i64::from(self.months / 12), "Y")?;
        part(f, i64::from(self.months % 12), "M")?;
        if self.weeks {
            part(f, i64::from(self.days / 7), "W")?;
        } else {
            part(f, i64::from(self.days), "D")?;
        }
        if self.millis > 0 {
            f.write_str("T")?;
            part(f, self.millis / 3_600_000, "H")?;
            part(f, self.millis / 60_000 % 60, "M")?;
            let (second, milli) = (self.millis / 1000 % 60, self.millis % 1000);
            if milli > 0 {
                write!(f, "{second}.{milli:03}S")?;
            } else {
                part(f, second, "S")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{format_millis, parse_millis};

    fn floor(period: &str, zone: &str, text: &str) -> String {
        let period: Period = period.parse().expect("a period");
        let millis = parse_millis(text).expect("a time");
        format_millis(period.floor(millis, zone.parse().expect("a zone")).expect("in range"))
    }

    #[test]
    fn floors_to_buckets() {
        for (period, zone, at, expected) in [
            ("PT1H", "UTC", "2015-09-12T05:46:58Z", "2015-09-12T05:00:00.000Z"),
            ("P1D", "UTC", "2015-09-12T05:46:58Z", "2015-09-12T00:00:00.000Z"),
            (
                "P1D",
                "America/Los_Angeles",
                "2015-09-12T05:46:58Z",
                "2015-09-11T07:00:00.000Z",
            ),
            ("P1W", "UTC", "2015-09-12T05:46:58Z", "2015-09-07T00:00:00.000Z"),
            ("P1M", "UTC", "2015-09-12T05:46:58Z", "2015-09-01T00:00:00.000Z"),
            ("P3M", "UTC", "2015-09-12T05:46:58Z", "2015-07-01T00:00:00.000Z"),
            ("P1Y", "UTC", "1969-09-12T05:46:58Z", "1969-01-01T00:00:00.000Z"),
            (
                "PT6H",
                "America/Los_Angeles",
                "2015-09-12T05:46:58Z",
                "2015-09-12T01:00:00.000Z",
            ),
        ] {
            assert_eq!(floor(period, zone, at), expected, "{period} {zone} {at}");
        }
    }

    #[test]
    fn reads_and_prints() {
        for text in ["P1D", "PT1H", "P3M", "P1W", "P1Y", "PT15M", "P1Y2M3DT4H5M6S"] {
            assert_eq!(text.parse::<Period>().map(|p| p.to_string()), Ok(text.to_string()));
        }
        for text in ["", "P", "1D", "PT", "P1H", "PT1D", "P-1D", "Pü"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
