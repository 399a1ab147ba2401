//! Time functions: periods on the clock of a zone, parts of an instant, reading and wording.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMillisecondArray};
use chrono::Datelike;
use datafusion::common::{DataFusionError, Result};

use super::args::{
    Args, Longs, Texts, boolean_result, long_result, text_result, time_result, try_long_result, try_time_result,
};
use super::joda::Pattern;
use super::period::{Floors, Span, add_months, naive, shift_months};
use super::read_time::read_interval;
pub(crate) use super::read_time::{read_sql_timestamp, read_timestamp};
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
            // No amount is none at all.
            time_result(args.rows(), |row| {
                add_months(time.get(row)?, amount.get(row).unwrap_or(0), zone)
            })
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

pub(super) fn zone_of(text: &Texts, row: usize) -> Result<Zone> {
    match text.get(row) {
        None => Ok(Zone::default()),
        Some(name) => {
            Zone::parse(name).ok_or_else(|| uncategorized(format!("The datetime zone id '{name}' is not recognised")))
        }
    }
}

/// Gives the zone of a function for which an unknown name is UTC, as in Druid.
fn zone_or_utc(text: &Texts) -> Zone {
    text.get(0).and_then(Zone::parse).unwrap_or_default()
}

/// An argument that Java refuses.
pub(super) fn uncategorized(message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(crate::SqlError::general(
        crate::Persona::Admin,
        crate::Category::Uncategorized,
        message,
    )))
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
    uncategorized(Span::complaint(text))
}

fn floor(args: &Args) -> Result<ArrayRef> {
    let (time, spans, origin) = (args.long(0)?, Spans::new(args.text(1)?)?, args.long(2)?);
    let zone = zone_or_utc(&args.text(3)?);
    if let (Some(Some(span)), Longs::Scalar(None), true) = (spans.fixed, &origin, zone.is_utc())
        && let Some((unit, start)) = span.even()
    {
        // The common case is arithmetic alone.
        return time_result(args.rows(), |row| {
            time.get(row)
                .map(|t| t.wrapping_sub(t.wrapping_sub(start).rem_euclid(unit)))
        });
    }
    let mut floors = Floors::new(zone);
    let times = (0..args.rows()).map(|row| {
        let (Some(span), Some(t)) = (spans.get(row)?, time.get(row)) else {
            return Ok(None);
        };
        floors.floor(span, t, origin.get(row))
    });
    Ok(Arc::new(times.collect::<Result<TimestampMillisecondArray>>()?))
}

fn ceil(args: &Args) -> Result<ArrayRef> {
    let (time, spans, origin) = (args.long(0)?, Spans::new(args.text(1)?)?, args.long(2)?);
    let zone = zone_or_utc(&args.text(3)?);
    let mut floors = Floors::new(zone);
    let times = (0..args.rows()).map(|row| {
        let (Some(span), Some(t)) = (spans.get(row)?, time.get(row)) else {
            return Ok(None);
        };
        Ok(match floors.floor(span, t, origin.get(row))? {
            Some(start) if start != t => span.add(start, 1, zone),
            start => start,
        })
    });
    Ok(Arc::new(times.collect::<Result<TimestampMillisecondArray>>()?))
}

fn shift(args: &Args) -> Result<ArrayRef> {
    let (time, spans, steps) = (args.long(0)?, Spans::new(args.text(1)?)?, args.long(2)?);
    let zone = zone_or_utc(&args.text(3)?);
    try_time_result(args.rows(), |row| {
        let Some(span) = spans.get(row)? else { return Ok(None) };
        // No number of steps is none at all; of the others the lower 32 bits count.
        let steps = i64::from(steps.get(row).unwrap_or(0) as i32);
        Ok(time.get(row).and_then(|t| span.add(t, steps, zone)))
    })
}

/// Gives the period of a unit of DATE_TRUNC, written in small letters, from seconds to years.
pub(crate) fn period_of(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "second" => "PT1S",
        "minute" => "PT1M",
        "hour" => "PT1H",
        "day" => "P1D",
        "week" => "P1W",
        "month" => "P1M",
        "quarter" => "P3M",
        "year" => "P1Y",
        _ => return None,
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
            "decade" => "P10Y",
            "century" => "P100Y",
            "millennium" => "P1000Y",
            name => period_of(name).ok_or_else(|| {
                DataFusionError::External(Box::new(crate::SqlError::input(format!(
                    "Operator[DATE_TRUNC] cannot truncate to[{unit}]"
                ))))
            })?,
        };
        match Span::parse(period) {
            Some(span) => Floors::new(zone).floor(span, t, None),
            None => Ok(None),
        }
    })
}

fn extract(args: &Args) -> Result<ArrayRef> {
    let (time, unit) = (args.long(0)?, args.text(1)?.to_ascii_uppercase());
    let zone = zone_or_utc(&args.text(2)?);
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
            return Err(uncategorized(format!(
                "No enum constant org.apache.druid.query.expression.TimestampExtractExprMacro.Unit.{other}"
            )));
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
        match unit {
            "MICROSECOND" => return distance(row)?.checked_mul(1000),
            "NANOSECOND" => return distance(row)?.checked_mul(1_000_000),
            _ => {}
        }
        let months = months_between(from.get(row)?, to.get(row)?, zone)?;
        Some(match unit {
            "QUARTER" => months / 3,
            // Druid counts the years of decades.
            "YEAR" | "ISOYEAR" | "DECADE" => months / 12,
            "CENTURY" => months / 1200,
            "MILLENNIUM" => months / 12_000,
            _ => months,
        })
    })
}

/// Milliseconds of a unit that is always as long; the unit is in capitals.
fn length_of(unit: &str) -> Option<i64> {
    Some(match unit.trim_start_matches("SQL_TSI_") {
        "MILLISECOND" | "FRAC_SECOND" => 1,
        "SECOND" | "EPOCH" => 1000,
        "MINUTE" => 60_000,
        "HOUR" => 3_600_000,
        "DAY" | "DOW" | "ISODOW" | "DOY" => DAY,
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
    let zone = zone_or_utc(&args.text(2)?);
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
