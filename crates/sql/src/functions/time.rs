//! Time functions: periods on the clock of a zone, parts of an instant, reading and wording.

use std::sync::Arc;

use arrow::array::ArrayRef;
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime};
use datafusion::common::{DataFusionError, Result};

use super::args::{
    Args, Longs, Texts, boolean_result, long_result, text_result, time_result, try_long_result, try_time_result,
};
use super::joda::Pattern;
use super::scalar::{Param, ScalarDef, returns};
use super::zone::Zone;

const DAY: i64 = 86_400_000;

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new(
        "TIME_FLOOR",
        "timestamp_floor",
        &[Param::Time, Param::Str, Param::Time, Param::Str],
        returns::timestamp,
        floor,
    )
    .min(2)
    .zone(3),
    ScalarDef::new(
        "TIME_CEIL",
        "timestamp_ceil",
        &[Param::Time, Param::Str, Param::Time, Param::Str],
        returns::timestamp,
        ceil,
    )
    .min(2)
    .zone(3),
    ScalarDef::new(
        "TIME_SHIFT",
        "timestamp_shift",
        &[Param::Time, Param::Str, Param::Int, Param::Str],
        returns::timestamp,
        shift,
    )
    .min(3)
    .zone(3),
    ScalarDef::new(
        "TIME_EXTRACT",
        "timestamp_extract",
        &[Param::Time, Param::Str, Param::Str],
        returns::bigint,
        extract,
    )
    .min(2)
    .zone(2),
    ScalarDef::new(
        "TIME_PARSE",
        "timestamp_parse",
        &[Param::Str, Param::Str, Param::Str],
        returns::timestamp,
        parse,
    )
    .min(1)
    .zone(2),
    ScalarDef::new(
        "TIME_FORMAT",
        "timestamp_format",
        &[Param::Time, Param::Str, Param::Str],
        returns::varchar,
        format,
    )
    .min(1)
    .zone(2),
    ScalarDef::new(
        "TIME_IN_INTERVAL",
        "timestamp_in_interval",
        &[Param::Time, Param::Str],
        returns::boolean,
        in_interval,
    ),
    ScalarDef::new(
        "DATE_TRUNC",
        "date_trunc",
        &[Param::Str, Param::Time, Param::Str],
        returns::timestamp,
        date_trunc,
    )
    .min(2)
    .zone(2),
    ScalarDef::new(
        "MILLIS_TO_TIMESTAMP",
        "millis_to_timestamp",
        &[Param::Int],
        returns::timestamp,
        |args| {
            let millis = args.long(0)?;
            time_result(args.rows(), |row| millis.get(row))
        },
    ),
    ScalarDef::new(
        "TIMESTAMP_TO_MILLIS",
        "timestamp_to_millis",
        &[Param::Time],
        returns::bigint,
        |args| {
            let millis = args.long(0)?;
            long_result(args.rows(), |row| millis.get(row))
        },
    ),
    ScalarDef::new(
        "",
        "timestamp_plus",
        &[Param::Time, Param::Int, Param::Str],
        returns::timestamp,
        |args| {
            let (time, amount) = (args.long(0)?, args.long(1)?);
            time_result(args.rows(), |row| Some(time.get(row)?.wrapping_add(amount.get(row)?)))
        },
    ),
    ScalarDef::new(
        "",
        "timestamp_plus_months",
        &[Param::Time, Param::Int, Param::Str],
        returns::timestamp,
        |args| {
            let (time, amount) = (args.long(0)?, args.long(1)?);
            let zone = zone_of(&args.text(2)?, 0)?;
            time_result(args.rows(), |row| add_months(time.get(row)?, amount.get(row)?, zone))
        },
    ),
    ScalarDef::new(
        "",
        "timestamp_diff",
        &[Param::Str, Param::Time, Param::Time, Param::Str],
        returns::integer,
        diff,
    ),
    ScalarDef::new(
        "",
        "cast_timestamp",
        &[Param::Str, Param::Str],
        returns::timestamp,
        |args| {
            let text = args.text(0)?;
            let zone = zone_of(&args.text(1)?, 0)?;
            time_result(args.rows(), |row| read_timestamp(text.get(row)?, zone))
        },
    ),
];

/// A period as Joda holds it: every field may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    months: i64,
    days: i64,
    weeks: bool,
    millis: i64,
}

impl Span {
    /// Reads `P1Y2M3W4DT5H6M7.5S`, case-insensitively.
    pub fn parse(text: &str) -> Option<Span> {
        let upper = text.trim().to_ascii_uppercase();
        let body = upper.strip_prefix('P')?;
        let mut span = Span::default();
        let (mut number, mut in_time, mut fields, mut plain_days) = (String::new(), false, 0, false);
        for c in body.chars() {
            if c.is_ascii_digit() || c == '.' || (number.is_empty() && matches!(c, '-' | '+')) {
                number.push(c);
                continue;
            }
            if c == 'T' && !in_time && number.is_empty() {
                in_time = true;
                continue;
            }
            fields += 1;
            if c == 'S' && in_time {
                let seconds: f64 = number.parse().ok()?;
                span.millis = span.millis.checked_add((seconds * 1000.0).round() as i64)?;
                number.clear();
                continue;
            }
            let count: i64 = number.parse().ok()?;
            number.clear();
            match (c, in_time) {
                ('Y', false) => span.months = span.months.checked_add(count.checked_mul(12)?)?,
                ('M', false) => span.months = span.months.checked_add(count)?,
                ('W', false) => {
                    span.days = span.days.checked_add(count.checked_mul(7)?)?;
                    span.weeks = true;
                }
                ('D', false) => {
                    span.days = span.days.checked_add(count)?;
                    plain_days |= count != 0;
                }
                ('H', true) => span.millis = span.millis.checked_add(count.checked_mul(3_600_000)?)?,
                ('M', true) => span.millis = span.millis.checked_add(count.checked_mul(60_000)?)?,
                _ => return None,
            }
        }
        span.weeks &= !plain_days;
        (number.is_empty() && fields > 0).then_some(span)
    }

    /// Adds the period some times, on the clock of the zone.
    pub fn add(&self, millis: i64, times: i64, zone: Zone) -> Option<i64> {
        let mut at = millis;
        if self.months != 0 {
            at = add_months(at, self.months.checked_mul(times)?, zone)?;
        }
        if self.days != 0 {
            let local = zone
                .to_local(at)
                .checked_add(self.days.checked_mul(times)?.checked_mul(DAY)?)?;
            at = zone.from_local(local);
        }
        at.checked_add(self.millis.checked_mul(times)?)
    }

    /// Floors to a multiple of the period counted from the origin (default: the epoch on the zone's clock; weeks on Monday).
    pub fn floor(&self, millis: i64, origin: Option<i64>, zone: Zone) -> Option<i64> {
        if self.months == 0 && self.days == 0 {
            if self.millis <= 0 {
                return None;
            }
            let origin = match origin {
                Some(origin) => origin,
                None if zone.is_utc() => 0,
                // Hours are counted on the zone's clock where they divide a day.
                None => {
                    let local = zone.to_local(millis);
                    if DAY % self.millis == 0 {
                        let over = local.rem_euclid(self.millis);
                        return Some(millis - over);
                    }
                    zone.from_local(0)
                }
            };
            return Some(millis - (millis - origin).rem_euclid(self.millis));
        }
        if self.months == 0 && self.millis == 0 && self.days > 0 {
            let local = zone.to_local(millis);
            let start = match origin {
                Some(origin) => zone.to_local(origin),
                None if self.weeks => -3 * DAY,
                None => 0,
            };
            let unit = self.days * DAY;
            return Some(zone.from_local(local - (local - start).rem_euclid(unit)));
        }
        if self.days == 0 && self.millis == 0 && self.months > 0 {
            let local = naive(zone.to_local(millis))?;
            let start = naive(zone.to_local(origin.unwrap_or_else(|| zone.from_local(0))))?;
            let months = |t: &NaiveDateTime| i64::from(t.year()) * 12 + i64::from(t.month0());
            let mut back = (months(&local) - months(&start)).rem_euclid(self.months);
            loop {
                let count = months(&local) - back - months(&start);
                let moved = shift_months(start, count)?;
                if moved <= local {
                    return Some(zone.from_local(moved.and_utc().timestamp_millis()));
                }
                back += self.months;
            }
        }
        // Mixed periods are rare: step from the origin, bounded by the average length.
        let origin = origin.unwrap_or_else(|| zone.from_local(0));
        let average = self.months * 2_629_746_000 + self.days * DAY + self.millis;
        if average <= 0 {
            return None;
        }
        let mut steps = (millis - origin).div_euclid(average) - 2;
        let mut at = self.add(origin, steps, zone)?;
        loop {
            steps += 1;
            let next = self.add(origin, steps, zone)?;
            if next > millis {
                return (at <= millis).then_some(at);
            }
            at = next;
        }
    }
}

/// Adds calendar months, clamped to the end of the month.
pub(crate) fn add_months(millis: i64, months: i64, zone: Zone) -> Option<i64> {
    let moved = shift_months(naive(zone.to_local(millis))?, months)?;
    Some(zone.from_local(moved.and_utc().timestamp_millis()))
}

fn shift_months(time: NaiveDateTime, months: i64) -> Option<NaiveDateTime> {
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    if months < 0 {
        time.checked_sub_months(count)
    } else {
        time.checked_add_months(count)
    }
}

fn naive(local_ms: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_millis(local_ms).map(|t| t.naive_utc())
}

pub(super) fn zone_of(text: &Texts, row: usize) -> Result<Zone> {
    match text.get(row) {
        None => Ok(Zone::default()),
        Some(name) => Zone::parse(name)
            .ok_or_else(|| DataFusionError::Execution(format!("The datetime zone id '{name}' is not recognised"))),
    }
}

/// Gives the period of a row, read once where it is a literal.
struct Spans {
    fixed: Option<Option<Span>>,
    texts: Texts,
}

impl Spans {
    fn new(texts: Texts) -> Result<Self> {
        let fixed = match &texts {
            Texts::Scalar(None) => Some(None),
            Texts::Scalar(Some(text)) => Some(Some(Span::parse(text).ok_or_else(|| bad_period(text))?)),
            Texts::Array(_) => None,
        };
        Ok(Spans { fixed, texts })
    }

    fn get(&self, row: usize) -> Result<Option<Span>> {
        match self.fixed {
            Some(span) => Ok(span),
            None => match self.texts.get(row) {
                None => Ok(None),
                Some(text) => Span::parse(text).map(Some).ok_or_else(|| bad_period(text)),
            },
        }
    }
}

fn bad_period(text: &str) -> DataFusionError {
    DataFusionError::External(Box::new(crate::SqlError::input(format!(
        "Invalid format: \"{text}\" is no ISO-8601 period such as P1D or PT1H"
    ))))
}

fn floor(args: &Args) -> Result<ArrayRef> {
    let (time, spans, origin) = (args.long(0)?, Spans::new(args.text(1)?)?, args.long(2)?);
    let zone = zone_of(&args.text(3)?, 0)?;
    if let (Some(Some(span)), Longs::Scalar(None), true) = (spans.fixed, &origin, zone.is_utc())
        && span.months == 0
        && (span.days == 0) != (span.millis == 0)
        && span.days + span.millis > 0
    {
        // The common case is arithmetic alone.
        let unit = span.days * DAY + span.millis;
        let start = if span.weeks { -3 * DAY } else { 0 };
        return time_result(args.rows(), |row| {
            time.get(row).map(|t| t - (t - start).rem_euclid(unit))
        });
    }
    try_time_result(args.rows(), |row| {
        let Some(span) = spans.get(row)? else { return Ok(None) };
        Ok(time.get(row).and_then(|t| span.floor(t, origin.get(row), zone)))
    })
}

fn ceil(args: &Args) -> Result<ArrayRef> {
    let (time, spans, origin) = (args.long(0)?, Spans::new(args.text(1)?)?, args.long(2)?);
    let zone = zone_of(&args.text(3)?, 0)?;
    try_time_result(args.rows(), |row| {
        let Some(span) = spans.get(row)? else { return Ok(None) };
        Ok(time.get(row).and_then(|t| {
            let start = span.floor(t, origin.get(row), zone)?;
            if start == t { Some(t) } else { span.add(start, 1, zone) }
        }))
    })
}

fn shift(args: &Args) -> Result<ArrayRef> {
    let (time, spans, steps) = (args.long(0)?, Spans::new(args.text(1)?)?, args.long(2)?);
    let zone = zone_of(&args.text(3)?, 0)?;
    try_time_result(args.rows(), |row| {
        let Some(span) = spans.get(row)? else { return Ok(None) };
        Ok(match (time.get(row), steps.get(row)) {
            (Some(t), Some(n)) => span.add(t, n, zone),
            _ => None,
        })
    })
}

fn date_trunc(args: &Args) -> Result<ArrayRef> {
    let (unit, time) = (args.text(0)?, args.long(1)?);
    let zone = zone_of(&args.text(2)?, 0)?;
    try_time_result(args.rows(), |row| {
        let (Some(unit), Some(t)) = (unit.get(row), time.get(row)) else {
            return Ok(None);
        };
        let period = match unit.to_ascii_lowercase().as_str() {
            "milliseconds" | "millisecond" => return Ok(Some(t)),
            "second" => "PT1S",
            "minute" => "PT1M",
            "hour" => "PT1H",
            "day" => "P1D",
            "week" => "P1W",
            "month" => "P1M",
            "quarter" => "P3M",
            "year" => "P1Y",
            "decade" => "P10Y",
            "century" => "P100Y",
            "millennium" => "P1000Y",
            other => {
                return Err(DataFusionError::External(Box::new(crate::SqlError::input(format!(
                    "Operator[DATE_TRUNC] cannot truncate to unit[{other}]"
                )))));
            }
        };
        Ok(Span::parse(period).and_then(|span| span.floor(t, None, zone)))
    })
}

fn extract(args: &Args) -> Result<ArrayRef> {
    let (time, unit) = (args.long(0)?, args.text(1)?.to_ascii_uppercase());
    let zone = zone_of(&args.text(2)?, 0)?;
    try_long_result(args.rows(), |row| {
        let (Some(t), Some(unit)) = (time.get(row), unit.get(row)) else {
            return Ok(None);
        };
        part(t, unit, zone)
    })
}

/// Gives a part of a time; the unit is in capitals.
fn part(millis: i64, unit: &str, zone: Zone) -> Result<Option<i64>> {
    let local = zone.to_local(millis);
    // Parts of a day and days of the week need no calendar.
    let in_day = local.rem_euclid(DAY);
    match unit {
        "EPOCH" => return Ok(Some(millis.div_euclid(1000))),
        "MILLISECOND" | "MILLISECONDS" => return Ok(Some(in_day % 1000)),
        "SECOND" => return Ok(Some(in_day / 1000 % 60)),
        "MINUTE" => return Ok(Some(in_day / 60_000 % 60)),
        "HOUR" => return Ok(Some(in_day / 3_600_000)),
        // 1970 began on a Thursday.
        "DOW" | "ISODOW" => return Ok(Some((local.div_euclid(DAY) + 3).rem_euclid(7) + 1)),
        _ => {}
    }
    let Some(t) = naive(local) else { return Ok(None) };
    let year = i64::from(t.year());
    Ok(Some(match unit {
        "DAY" => i64::from(t.day()),
        "DOY" => i64::from(t.ordinal()),
        "WEEK" => i64::from(t.iso_week().week()),
        "MONTH" => i64::from(t.month()),
        "QUARTER" => i64::from(t.month0() / 3 + 1),
        "YEAR" | "ISOYEAR" => year,
        "DECADE" => year.div_euclid(10),
        "CENTURY" => (year + 99).div_euclid(100),
        "MILLENNIUM" => (year + 999).div_euclid(1000),
        other => {
            return Err(DataFusionError::External(Box::new(crate::SqlError::input(format!(
                "Cannot extract unit[{other}] from a timestamp"
            )))));
        }
    }))
}

fn diff(args: &Args) -> Result<ArrayRef> {
    let (unit, from, to) = (args.text(0)?.to_ascii_uppercase(), args.long(1)?, args.long(2)?);
    let zone = zone_of(&args.text(3)?, 0)?;
    let distance = |row| to.get(row)?.checked_sub(from.get(row)?);
    if let Texts::Scalar(Some(unit)) = &unit
        && let Some(length) = length_of(unit)
    {
        return long_result(args.rows(), |row| Some(distance(row)? / length));
    }
    long_result(args.rows(), |row| {
        let unit = unit.get(row)?;
        if let Some(length) = length_of(unit) {
            return Some(distance(row)? / length);
        }
        let unit = unit.trim_start_matches("SQL_TSI_");
        if unit == "MICROSECOND" {
            return distance(row)?.checked_mul(1000);
        }
        let months = months_between(from.get(row)?, to.get(row)?, zone)?;
        Some(match unit {
            "QUARTER" => months / 3,
            "YEAR" => months / 12,
            _ => months,
        })
    })
}

/// Milliseconds of a unit that is always as long; the unit is in capitals.
fn length_of(unit: &str) -> Option<i64> {
    Some(match unit.trim_start_matches("SQL_TSI_") {
        "MILLISECOND" | "FRAC_SECOND" => 1,
        "SECOND" => 1000,
        "MINUTE" => 60_000,
        "HOUR" => 3_600_000,
        "DAY" => DAY,
        "WEEK" => 7 * DAY,
        _ => return None,
    })
}

/// Counts complete months, negative where the second instant is the earlier one.
fn months_between(from: i64, to: i64, zone: Zone) -> Option<i64> {
    if to < from {
        return Some(-months_between(to, from, zone)?);
    }
    let (a, b) = (naive(zone.to_local(from))?, naive(zone.to_local(to))?);
    let mut months = (i64::from(b.year()) - i64::from(a.year())) * 12 + i64::from(b.month()) - i64::from(a.month());
    // The end of a shorter month completes the month, as adding months clamps to it.
    if shift_months(a, months)? > b {
        months -= 1;
    }
    Some(months)
}

fn parse(args: &Args) -> Result<ArrayRef> {
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    let zone = zone_of(&args.text(2)?, 0)?;
    match pattern {
        Texts::Scalar(None) => time_result(args.rows(), |row| read_timestamp(text.get(row)?, zone)),
        Texts::Scalar(Some(pattern)) => {
            let pattern = Pattern::compile(&pattern)?;
            // Neighbours often share a day.
            let mut last: Option<(&str, Option<i64>)> = None;
            time_result(args.rows(), |row| {
                let text = text.get(row)?;
                match last {
                    Some((of, time)) if of == text => time,
                    _ => last.insert((text, pattern.parse(text, zone))).1,
                }
            })
        }
        Texts::Array(_) => try_time_result(args.rows(), |row| match (text.get(row), pattern.get(row)) {
            (Some(text), Some(pattern)) => Ok(Pattern::compile(pattern)?.parse(text, zone)),
            (Some(text), None) => Ok(read_timestamp(text, zone)),
            _ => Ok(None),
        }),
    }
}

fn format(args: &Args) -> Result<ArrayRef> {
    let (time, pattern) = (args.long(0)?, args.text(1)?);
    let zone = zone_of(&args.text(2)?, 0)?;
    let compiled = match &pattern {
        Texts::Scalar(None) => Pattern::compile("yyyy-MM-dd'T'HH:mm:ss.SSSZZ")?,
        Texts::Scalar(Some(pattern)) => Pattern::compile(pattern)?,
        Texts::Array(_) => {
            return super::args::try_text_result(args.rows(), |row| match (time.get(row), pattern.get(row)) {
                (Some(t), Some(pattern)) => Ok(Some(Pattern::compile(pattern)?.format(t, zone))),
                _ => Ok(None),
            });
        }
    };
    // Neighbours often share a time: segments are sorted by it.
    let mut last: Option<(i64, Arc<str>)> = None;
    text_result(args.rows(), |row| {
        let time = time.get(row)?;
        match &last {
            Some((of, text)) if *of == time => Some(Arc::clone(text)),
            _ => {
                let text: Arc<str> = compiled.format(time, zone).into();
                Some(Arc::clone(&last.insert((time, text)).1))
            }
        }
    })
}

fn in_interval(args: &Args) -> Result<ArrayRef> {
    let (time, text) = (args.long(0)?, args.text(1)?);
    let read = |text: &str| -> Result<(i64, i64)> {
        read_interval(text).ok_or_else(|| {
            DataFusionError::External(Box::new(crate::SqlError::input(format!(
                "Function[TIME_IN_INTERVAL] has an invalid interval [{text}]"
            ))))
        })
    };
    let fixed = match &text {
        Texts::Scalar(Some(text)) => Some(read(text)?),
        _ => None,
    };
    let mut bounds = Vec::with_capacity(args.rows());
    for row in 0..args.rows() {
        bounds.push(match (fixed, text.get(row)) {
            (Some(found), _) => Some(found),
            (None, Some(text)) => Some(read(text)?),
            (None, None) => None,
        });
    }
    boolean_result(args.rows(), |row| {
        let (start, end) = bounds[row]?;
        time.get(row).map(|t| start <= t && t < end)
    })
}

/// Reads `start/end`, `start/period`, `period/end`.
fn read_interval(text: &str) -> Option<(i64, i64)> {
    let (a, b) = text.split_once('/')?;
    let read = |t: &str| read_iso(t.trim(), Zone::default());
    match (Span::parse(a), Span::parse(b)) {
        (None, None) => Some((read(a)?, read(b)?)),
        (None, Some(span)) => {
            let start = read(a)?;
            Some((start, span.add(start, 1, Zone::default())?))
        }
        (Some(span), None) => {
            let end = read(b)?;
            Some((span.add(end, -1, Zone::default())?, end))
        }
        _ => None,
    }
}

/// Reads `yyyy-MM-dd[ HH:mm:ss[.S…]]` with lenient widths, as a local clock reading.
pub(crate) fn read_sql_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, time) = match text.split_once(' ') {
        Some((date, time)) => (date, Some(time.trim())),
        None => (text, None),
    };
    let day = crate_date(date)?;
    let Some(time) = time else { return Some(day * DAY) };
    let (clock, fraction) = match time.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (time, None),
    };
    let mut parts = clock.split(':');
    let mut field = |limit: i64| -> Option<i64> {
        let text = parts.next()?;
        if text.is_empty() || text.len() > 2 {
            return None;
        }
        text.parse::<i64>().ok().filter(|n| (0..limit).contains(n))
    };
    let (hour, minute, second) = (field(24)?, field(60)?, field(60)?);
    if parts.next().is_some() {
        return None;
    }
    let millis = match fraction {
        None => 0,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            let padded: String = digits.chars().chain("000".chars()).take(3).collect();
            padded.parse::<i64>().ok()?
        }
        Some(_) => return None,
    };
    Some(day * DAY + hour * 3_600_000 + minute * 60_000 + second * 1000 + millis)
}

fn crate_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.is_empty() || year.len() > 4 || month.len() > 2 || day.len() > 2 {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)?;
    Some(i64::from(date.to_epoch_days()))
}

/// Reads SQL text or ISO-8601 text; without an offset it is a reading of the zone's clock.
pub(crate) fn read_timestamp(text: &str, zone: Zone) -> Option<i64> {
    let text = text.trim();
    if let Some(local) = read_sql_timestamp(text) {
        return Some(zone.from_local(local));
    }
    read_iso(text, zone)
}

fn read_iso(text: &str, zone: Zone) -> Option<i64> {
    let has_zone =
        text.ends_with(['Z', 'z']) || text.find(['T', ' ']).is_some_and(|at| text[at..].contains(['+', '-']));
    let millis = henge_time::parse_millis(text).ok()?;
    Some(if has_zone { millis } else { zone.from_local(millis) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(period: &str, zone: &str, origin: Option<&str>, at: &str) -> String {
        let read = |text: &str| henge_time::parse_millis(text).expect("a time");
        let span = Span::parse(period).expect("a period");
        let zone = Zone::parse(zone).expect("a zone");
        henge_time::format_millis(span.floor(read(at), origin.map(read), zone).expect("in range"))
    }

    #[test]
    fn floors_as_recorded() {
        for (period, zone, origin, at, expected) in [
            (
                "PT45M",
                "UTC",
                Some("2013-08-01T08:00:00Z"),
                "2013-08-01T09:13:00Z",
                "2013-08-01T08:45:00.000Z",
            ),
            ("P1W", "UTC", None, "2015-09-12T12:34:56Z", "2015-09-07T00:00:00.000Z"),
            ("P3M", "UTC", None, "2015-09-12T12:34:56Z", "2015-07-01T00:00:00.000Z"),
            (
                "P1D",
                "America/Los_Angeles",
                None,
                "2015-09-12T12:34:56Z",
                "2015-09-12T07:00:00.000Z",
            ),
            (
                "PT1H",
                "+05:30",
                None,
                "2015-09-12T12:34:56Z",
                "2015-09-12T12:30:00.000Z",
            ),
            ("P5Y", "UTC", None, "2015-09-12T12:34:56Z", "2015-01-01T00:00:00.000Z"),
            ("PT6H", "UTC", None, "1969-12-31T23:59:59Z", "1969-12-31T18:00:00.000Z"),
        ] {
            assert_eq!(floor(period, zone, origin, at), expected, "{period} {zone}");
        }
        assert_eq!(Span::parse("PT1X"), None);
        assert_eq!(Span::parse("P"), None);
    }

    #[test]
    fn reads_sql_text_leniently() {
        assert_eq!(read_sql_timestamp("2015-9-1 1:2:3"), Some(1_441_069_323_000));
        assert_eq!(read_sql_timestamp("2015-09-01"), Some(1_441_065_600_000));
        assert_eq!(read_sql_timestamp("2015-09-01T01:02:03"), None);
        assert_eq!(read_sql_timestamp("2015-13-01"), None);
    }
}
