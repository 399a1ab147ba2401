//! Periods on the clock of a zone: reading, adding and flooring, as Joda and Druid's `PeriodGranularity` do.

use std::cmp::Ordering;

use chrono::{DateTime, Datelike, Months, NaiveDateTime};
use datafusion::common::{DataFusionError, Result};

use super::time::uncategorized;
use super::zone::Zone;

const DAY: i64 = 86_400_000;
const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;
const SECOND: i64 = 1000;

/// Most steps from the origin that flooring to a mixed period takes.
const MAX_STEPS: usize = 4_000_000;

/// A period as Joda holds it: every field may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    years: i64,
    months: i64,
    weeks: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    millis: i64,
}

impl Span {
    /// Reads `P1Y2M3W4DT5H6M7.5S`, whatever the case of its letters; fields come in this order, each once.
    pub fn parse(text: &str) -> Option<Span> {
        let upper = text.to_ascii_uppercase();
        let body = upper.strip_prefix('P')?;
        let (date, time) = match body.split_once('T') {
            Some((_, "")) => return None,
            Some((date, time)) => (date, time),
            None => (body, ""),
        };
        let mut span = Span::default();
        let mut rest = date;
        for (letter, field) in [
            ('Y', &mut span.years),
            ('M', &mut span.months),
            ('W', &mut span.weeks),
            ('D', &mut span.days),
        ] {
            if let Some(count) = take_field(&mut rest, letter) {
                *field = whole(count)?;
            }
        }
        if !rest.is_empty() {
            return None;
        }
        rest = time;
        for (letter, field) in [('H', &mut span.hours), ('M', &mut span.minutes)] {
            if let Some(count) = take_field(&mut rest, letter) {
                *field = whole(count)?;
            }
        }
        if let Some(count) = take_field(&mut rest, 'S') {
            let (seconds, millis) = match count.split_once('.') {
                None => (count, 0),
                Some((seconds, digits)) => {
                    if !digits.bytes().all(|b| b.is_ascii_digit()) {
                        return None;
                    }
                    let padded: String = digits.chars().chain("000".chars()).take(3).collect();
                    (seconds, padded.parse::<i64>().ok()?)
                }
            };
            span.seconds = match seconds {
                "" | "-" | "+" => 0,
                seconds => whole(seconds)?,
            };
            span.millis = if count.starts_with('-') { -millis } else { millis };
        }
        rest.is_empty().then_some(span)
    }

    /// Says what is wrong with a text that is no period, as Joda does.
    pub fn complaint(text: &str) -> String {
        let upper = text.to_ascii_uppercase();
        if matches!(upper.strip_prefix('P'), Some(body) if body.ends_with('T')) {
            return format!("Invalid format: \"{text}\" is too short");
        }
        let Some(body) = upper.strip_prefix('P') else {
            return format!("Invalid format: \"{text}\"");
        };
        let (body, letters) = match body.strip_prefix('T') {
            Some(body) => (body, "HMS"),
            None => (body, "YMWD"),
        };
        let behind = body.trim_start_matches(|c: char| c.is_ascii_digit());
        let first = behind.starts_with(|c: char| letters.contains(c)) && behind.len() < body.len();
        let known = behind.len() == 1 && "YMWDHS".contains(behind);
        // Where nothing was read the place is told.
        if !first && (letters == "HMS" || known || body.starts_with("--")) {
            return format!(
                "Invalid format: \"{text}\" is malformed at \"{}\"",
                &text[text.len() - body.len()..]
            );
        }
        format!("Invalid format: \"{text}\"")
    }

    /// Tells whether the period is none.
    pub fn is_zero(&self) -> bool {
        *self == Span::default()
    }

    fn fields(&self) -> [i64; 8] {
        [
            self.years,
            self.months,
            self.weeks,
            self.days,
            self.hours,
            self.minutes,
            self.seconds,
            self.millis,
        ]
    }

    /// Gives the part below a day in milliseconds.
    fn in_day(&self) -> Option<i64> {
        let mut sum = self.millis;
        for (count, unit) in [(self.hours, HOUR), (self.minutes, MINUTE), (self.seconds, SECOND)] {
            sum = sum.checked_add(count.checked_mul(unit)?)?;
        }
        Some(sum)
    }

    /// Gives the days, weeks included.
    fn whole_days(&self) -> Option<i64> {
        self.weeks.checked_mul(7)?.checked_add(self.days)
    }

    /// Gives length and start where flooring in UTC is arithmetic alone.
    pub fn even(&self) -> Option<(i64, i64)> {
        let mut set = self.fields().into_iter().enumerate().filter(|(_, count)| *count != 0);
        let (Some((at, count)), None) = (set.next(), set.next()) else {
            return None;
        };
        // Several hours before 1970 are a case of their own.
        let unit = match at {
            2 if count == 1 => return Some((7 * DAY, -3 * DAY)),
            2 => 7 * DAY,
            3 => DAY,
            4 if count == 1 => HOUR,
            5 => MINUTE,
            6 => SECOND,
            7 => 1,
            _ => return None,
        };
        (count > 0).then(|| count.checked_mul(unit).map(|length| (length, 0)))?
    }

    /// Adds the period some times, on the clock of the zone.
    pub fn add(&self, millis: i64, times: i64, zone: Zone) -> Option<i64> {
        let mut at = millis;
        if self.years != 0 {
            at = add_months(at, self.years.checked_mul(12)?.checked_mul(times)?, zone)?;
        }
        if self.months != 0 {
            at = add_months(at, self.months.checked_mul(times)?, zone)?;
        }
        let days = self.whole_days()?;
        if days != 0 {
            let local = zone
                .to_local(at)
                .checked_add(days.checked_mul(times)?.checked_mul(DAY)?)?;
            at = zone.from_local(local);
        }
        at.checked_add(self.in_day()?.checked_mul(times)?)
    }

    /// Floors to a period of one field: counted from the origin where there is one or the field is more than one, else to
    /// the start of the field on the zone's clock (weeks on Monday). A field below zero leaves the time as it is.
    fn floor_field(&self, t: i64, origin: Option<i64>, zone: Zone) -> Option<i64> {
        let start = origin.unwrap_or_else(|| zone.from_local(0));
        let months = self.years.checked_mul(12)?.checked_add(self.months)?;
        if months > 0 {
            return floor_months(t, months, start, zone);
        }
        let days = self.whole_days()?;
        if days > 0 {
            let local = zone.to_local(t);
            let first = match origin {
                Some(origin) => zone.to_local(origin),
                None if self.weeks == 1 => -3 * DAY,
                None => 0,
            };
            let length = days.checked_mul(DAY)?;
            return Some(zone.from_local(local.wrapping_sub(local.wrapping_sub(first).rem_euclid(length))));
        }
        let step = self.in_day()?;
        if step <= 0 {
            return Some(t);
        }
        let unit = match () {
            () if self.hours > 0 => HOUR,
            () if self.minutes > 0 => MINUTE,
            () if self.seconds > 0 => SECOND,
            () => 1,
        };
        if step == unit && origin.is_none() {
            let over = zone.to_local(t).rem_euclid(unit);
            return Some(t.wrapping_sub(over));
        }
        // Hours are steps from the origin, whatever the clock does in between.
        let count = t.wrapping_sub(start) / unit;
        let steps = step / unit;
        let found = start.wrapping_add((count - count % steps).wrapping_mul(unit));
        if unit != HOUR {
            return Some(if t < found { found.wrapping_sub(step) } else { found });
        }
        Some(match start.cmp(&0) {
            Ordering::Greater if t < found => found.wrapping_sub(step),
            Ordering::Less if t > found => found.wrapping_sub(zone.to_local(found).rem_euclid(HOUR)),
            _ => found,
        })
    }
}

/// Takes `12D` off the start of a text for `D`; nothing where the next field is another.
fn take_field<'a>(rest: &mut &'a str, letter: char) -> Option<&'a str> {
    let end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.')))?;
    let (count, behind) = rest.split_at(end);
    let behind = behind.strip_prefix(letter)?;
    *rest = behind;
    Some(count)
}

fn whole(count: &str) -> Option<i64> {
    count.parse::<i32>().ok().map(i64::from)
}

fn floor_months(t: i64, months: i64, start: i64, zone: Zone) -> Option<i64> {
    let local = naive(zone.to_local(t))?;
    let start = naive(zone.to_local(start))?;
    let count_of = |t: &NaiveDateTime| i64::from(t.year()) * 12 + i64::from(t.month0());
    let mut back = (count_of(&local) - count_of(&start)).rem_euclid(months);
    loop {
        let count = count_of(&local) - back - count_of(&start);
        let moved = shift_months(start, count)?;
        if moved <= local {
            return Some(zone.from_local(moved.and_utc().timestamp_millis()));
        }
        back += months;
    }
}

/// Floors times of one zone. Periods of several fields are stepped through from the origin, once for all times.
pub(crate) struct Floors {
    zone: Zone,
    steps: Option<(Span, i64)>,
    /// Starts from the origin on, ascending.
    forth: Vec<i64>,
    /// Starts before the origin, descending.
    back: Vec<i64>,
}

impl Floors {
    /// Starts without any steps.
    pub fn new(zone: Zone) -> Self {
        Floors {
            zone,
            steps: None,
            forth: Vec::new(),
            back: Vec::new(),
        }
    }

    /// Floors to the start of the period; nothing beyond the calendar.
    ///
    /// # Errors
    /// Druid's, for a period of nothing; and where stepping from the origin to the time takes too many steps.
    pub fn floor(&mut self, span: Span, t: i64, origin: Option<i64>) -> Result<Option<i64>> {
        if span.is_zero() {
            return Err(uncategorized("zero period is not acceptable in PeriodGranularity!"));
        }
        if span.fields().iter().filter(|count| **count != 0).count() == 1 {
            return Ok(span.floor_field(t, origin, self.zone));
        }
        let start = origin.unwrap_or_else(|| self.zone.from_local(0));
        if span.years == 0 && span.months == 0 && (self.zone.is_utc() || matches!(self.zone, Zone::Fixed(_))) {
            let length = span
                .whole_days()
                .and_then(|days| days.checked_mul(DAY)?.checked_add(span.in_day()?))
                .filter(|length| *length > 0);
            return Ok(length.map(|length| t.wrapping_sub(t.wrapping_sub(start).rem_euclid(length))));
        }
        self.stepped(span, t, start)
    }

    fn stepped(&mut self, span: Span, t: i64, origin: i64) -> Result<Option<i64>> {
        if self.steps != Some((span, origin)) {
            (self.steps, self.forth, self.back) = (Some((span, origin)), vec![origin], vec![origin]);
        }
        let (starts, way) = if t >= origin {
            (&mut self.forth, 1)
        } else {
            (&mut self.back, -1)
        };
        while let Some(&last) = starts.last() {
            if (way > 0 && last > t) || (way < 0 && last <= t) {
                break;
            }
            let Some(next) = span
                .add(last, way, self.zone)
                .filter(|next| next.cmp(&last) as i64 == way)
            else {
                return Ok(None);
            };
            if starts.len() >= MAX_STEPS {
                return Err(DataFusionError::External(Box::new(crate::SqlError::input(format!(
                    "Flooring a time takes more than the limit of {MAX_STEPS} steps of the period from its origin; \
                     give a nearer origin or a longer period"
                )))));
            }
            starts.push(next);
        }
        let at = match way {
            1 => starts.partition_point(|start| *start <= t).checked_sub(1),
            _ => Some(starts.partition_point(|start| *start > t)),
        };
        Ok(at.and_then(|at| starts.get(at).copied()))
    }
}

/// Adds calendar months, clamped to the end of the month.
pub(crate) fn add_months(millis: i64, months: i64, zone: Zone) -> Option<i64> {
    let moved = shift_months(naive(zone.to_local(millis))?, months)?;
    Some(zone.from_local(moved.and_utc().timestamp_millis()))
}

pub(super) fn shift_months(time: NaiveDateTime, months: i64) -> Option<NaiveDateTime> {
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    if months < 0 {
        time.checked_sub_months(count)
    } else {
        time.checked_add_months(count)
    }
}

pub(super) fn naive(local_ms: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_millis(local_ms).map(|t| t.naive_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(period: &str, zone: &str, origin: Option<&str>, at: &str) -> String {
        let read = |text: &str| henge_time::parse_millis(text).expect("a time");
        let span = Span::parse(period).expect("a period");
        let mut floors = Floors::new(Zone::parse(zone).expect("a zone"));
        let floored = floors.floor(span, read(at), origin.map(read)).expect("few steps");
        henge_time::format_millis(floored.expect("in range"))
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
            ("P2W", "UTC", None, "2000-01-01T00:00:00Z", "1999-12-23T00:00:00.000Z"),
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
            // Several hours do not know daylight saving, and before 1970 the epoch is their start.
            (
                "PT6H",
                "Europe/Paris",
                None,
                "2000-07-01T00:00:00Z",
                "2000-06-30T23:00:00.000Z",
            ),
            (
                "PT5H",
                "Asia/Kathmandu",
                None,
                "2000-07-01T00:00:00Z",
                "2000-06-30T22:15:00.000Z",
            ),
            ("PT6H", "UTC", None, "1969-12-31T23:59:59Z", "1970-01-01T00:00:00.000Z"),
            ("PT5M", "UTC", None, "1969-12-31T23:59:59Z", "1969-12-31T23:55:00.000Z"),
            // Mixed periods are stepped through where their fields vary.
            ("P1M1D", "UTC", None, "2000-01-01T00:00:00Z", "1999-12-22T00:00:00.000Z"),
            (
                "P1M1D",
                "Europe/Paris",
                None,
                "2001-01-01T00:00:00Z",
                "2000-12-02T23:00:00.000Z",
            ),
            (
                "PT1H30M",
                "UTC",
                None,
                "1969-12-31T23:59:59Z",
                "1969-12-31T22:30:00.000Z",
            ),
            (
                "P1DT12H",
                "America/Los_Angeles",
                None,
                "2000-01-02T00:00:00Z",
                "2000-01-01T19:00:00.000Z",
            ),
            ("P-1D", "UTC", None, "2000-01-01T00:00:01Z", "2000-01-01T00:00:01.000Z"),
        ] {
            assert_eq!(floor(period, zone, origin, at), expected, "{period} {zone}");
        }
    }

    #[test]
    fn reads_what_joda_reads() {
        for text in [
            "PT1X", "P1X", "P1D1Y", "P1H", "PT", "P1DT", " P1D", "P1D ", "1D", "-P1D", "", "P1.5D", "P--1D",
        ] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
        let millis = |text: &str| Span::parse(text).and_then(|span| span.in_day());
        assert_eq!(millis("pt1h"), Some(HOUR));
        assert_eq!(millis("PT.5S"), Some(500));
        assert_eq!(millis("PT1.S"), Some(1000));
        assert_eq!(millis("PT-1.5S"), Some(-1500));
        assert_eq!(Span::parse("P").map(|span| span.is_zero()), Some(true));
        assert_eq!(Span::complaint("P1H"), "Invalid format: \"P1H\" is malformed at \"1H\"");
        assert_eq!(
            Span::complaint("PT1X"),
            "Invalid format: \"PT1X\" is malformed at \"1X\""
        );
        assert_eq!(Span::complaint("PT1H30"), "Invalid format: \"PT1H30\"");
        assert_eq!(Span::complaint("PT"), "Invalid format: \"PT\" is too short");
        assert_eq!(Span::complaint("1D"), "Invalid format: \"1D\"");
    }
}
