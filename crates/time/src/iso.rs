//! ISO-8601 instants as Druid (Joda's `ISODateTimeFormat`) prints and reads them.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use crate::TimeError;

const MILLIS_PER_DAY: i64 = 86_400_000;

/// Formats an instant as Druid does: UTC, always three digits of milliseconds, `Z`. Years beyond four digits are printed
/// with their sign as Joda prints them, which chrono cannot represent; they are computed from days.
pub fn format_millis(millis: i64) -> String {
    let days = millis.div_euclid(MILLIS_PER_DAY);
    let in_day = millis.rem_euclid(MILLIS_PER_DAY);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second, milli) = (
        in_day / 3_600_000,
        in_day / 60_000 % 60,
        in_day / 1000 % 60,
        in_day % 1000,
    );
    let sign = if year < 0 { "-" } else { "" };
    format!(
        "{sign}{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z",
        year.unsigned_abs()
    )
}

/// Reads an ISO-8601 instant leniently: a date alone, a `T` or a blank before the time, any number of fraction digits,
/// `Z`, an offset, or nothing (UTC). Accepts the years of Druid's eternity.
pub fn parse_millis(text: &str) -> Result<i64, TimeError> {
    read(text.trim()).ok_or_else(|| TimeError::Instant(text.to_string()))
}

fn read(text: &str) -> Option<i64> {
    if !text.is_ascii() {
        return None;
    }
    let negative = text.starts_with('-');
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (date, rest) = match body.find(['T', ' ']) {
        Some(at) => (&body[..at], &body[at + 1..]),
        None => (body.strip_suffix('Z').unwrap_or(body), ""),
    };
    let mut parts = date.split('-');
    let year_text = parts.next()?;
    if year_text.len() < 4 || year_text.len() > 9 || (year_text.len() > 4 && !date.contains('-')) {
        return None;
    }
    let year: i64 = year_text.parse::<i64>().ok()? * if negative { -1 } else { 1 };
    let month: i64 = parts.next().map_or(Some(1), |m| m.parse().ok())?;
    let day: i64 = parts.next().map_or(Some(1), |d| d.parse().ok())?;
    if parts.next().is_some() || !(1..=12).contains(&month) || day < 1 || day > month_days(year, month) {
        return None;
    }
    let days = days_from_civil(year, month, day);
    let (clock, offset_millis) = split_offset(rest)?;
    let in_day = if clock.is_empty() { 0 } else { clock_millis(clock)? };
    days.checked_mul(MILLIS_PER_DAY)?
        .checked_add(in_day)?
        .checked_sub(offset_millis)
}

fn split_offset(rest: &str) -> Option<(&str, i64)> {
    if let Some(clock) = rest.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let Some(at) = rest.rfind(['+', '-']) else {
        return Some((rest, 0));
    };
    let (clock, offset) = rest.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let digits: String = offset[1..].chars().filter(|c| *c != ':').collect();
    if digits.len() != 4 && digits.len() != 2 {
        return None;
    }
    let hours: i64 = digits[..2].parse().ok()?;
    let minutes: i64 = if digits.len() == 4 {
        digits[2..].parse().ok()?
    } else {
        0
    };
    Some((clock, sign * (hours * 60 + minutes) * 60_000))
}

fn clock_millis(clock: &str) -> Option<i64> {
    let mut fields = clock.splitn(3, ':');
    let hour: i64 = fields.next()?.parse().ok()?;
    let minute: i64 = fields.next().map_or(Some(0), |m| m.parse().ok())?;
    let seconds = fields.next().unwrap_or("0");
    let (second, fraction) = seconds.split_once(['.', ',']).unwrap_or((seconds, "0"));
    let second: i64 = second.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) || !(0..24).contains(&hour) || !(0..60).contains(&minute) {
        return None;
    }
    if !(0..60).contains(&second) {
        return None;
    }
    let mut milli: i64 = 0;
    for at in 0..3 {
        milli = milli * 10 + fraction.as_bytes().get(at).map_or(0, |b| i64::from(b - b'0'));
    }
    Some(((hour * 60 + minute) * 60 + second) * 1000 + milli)
}

/// Converts days since 1970-01-01 to a proleptic Gregorian date (Howard Hinnant's algorithm, any year).
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// Converts a proleptic Gregorian date to days since 1970-01-01.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

pub(crate) fn month_days(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Converts an instant to the wall clock of a time zone, in milliseconds.
pub(crate) fn to_local(millis: i64, zone: chrono_tz::Tz) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_millis(millis).map(|t| t.with_timezone(&zone).naive_local())
}

/// Converts a wall clock to the instant; a clock time that a change of the clock skips moves forward, one that happens twice
/// is the first (as Joda resolves both).
pub(crate) fn from_local(local: NaiveDateTime, zone: chrono_tz::Tz) -> Option<i64> {
    use chrono::TimeZone;
    let mut probe = local;
    for _ in 0..8 {
        if let Some(t) = zone.from_local_datetime(&probe).earliest() {
            return Some(t.timestamp_millis());
        }
        probe = probe.checked_add_signed(chrono::TimeDelta::minutes(30))?;
    }
    None
}

/// Gives the midnight that starts the month of a local time.
pub(crate) fn month_start(local: NaiveDateTime) -> Option<NaiveDateTime> {
    NaiveDate::from_ymd_opt(local.year(), local.month(), 1).map(|d| d.and_time(NaiveTime::MIN))
}

/// Drops everything below a millisecond.
pub(crate) fn millis_of_day(local: NaiveDateTime) -> i64 {
    i64::from(local.num_seconds_from_midnight()) * 1000 + i64::from(local.nanosecond() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_druid() {
        assert_eq!(format_millis(1_442_018_818_771), "2015-09-12T00:46:58.771Z");
        assert_eq!(format_millis(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(format_millis(i64::MIN / 2), "-146136543-09-08T08:23:32.096Z");
        assert_eq!(format_millis(i64::MAX / 2), "146140482-04-24T15:36:27.903Z");
    }

    #[test]
    fn reads_leniently() {
        for (text, millis) in [
            ("2015-09-12T00:46:58.771Z", 1_442_018_818_771),
            ("2015-09-12 00:46:58.771", 1_442_018_818_771),
            ("2015-09-12T02:46:58.7710+02:00", 1_442_018_818_771),
            ("2015-09-12", 1_442_016_000_000),
            ("2015-09", 1_441_065_600_000),
            ("-146136543-09-08T08:23:32.096Z", i64::MIN / 2),
            ("146140482-04-24T15:36:27.903Z", i64::MAX / 2),
        ] {
            assert_eq!(parse_millis(text), Ok(millis), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2015-13-01",
            "2015-02-30",
            "2015-01-01T25:00",
            "20150101",
            "2015-01-01T00:00:60Z",
            "ü",
        ] {
            assert!(parse_millis(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_is_read(millis in i64::MIN / 2..i64::MAX / 2) {
            proptest::prop_assert_eq!(parse_millis(&format_millis(millis)), Ok(millis));
        }
    }
}
