//! Times as text: SQL's and ISO-8601's notation, and intervals of them.

use chrono::{Datelike, Duration, NaiveDate};

use super::period::Span;
use super::zone::Zone;

const DAY: i64 = 86_400_000;

/// Reads `start/end`, `start/period`, `period/end`.
pub(super) fn read_interval(text: &str) -> Option<(i64, i64)> {
    let (a, b) = text.split_once('/')?;
    let read = |t: &str| read_timestamp(t, Zone::default());
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

/// Reads SQL text or ISO-8601 text, as far as it goes: `2000`, `2000-1-2`, `2000-W05-1`, `2000-032`, `2000-01-02 03:04:05.6`,
/// with an offset or without; then it is a reading of the zone's clock.
pub(crate) fn read_timestamp(text: &str, zone: Zone) -> Option<i64> {
    let mut reader = Reader { rest: text };
    let day = reader.day()?;
    let mut local = day.checked_mul(DAY)?;
    if reader.rest.is_empty() {
        return Some(zone.from_local(local));
    }
    if !reader.take(['T', 't', ' ']) {
        return None;
    }
    if reader.rest.starts_with(|c: char| c.is_ascii_digit()) {
        local = local.checked_add(reader.clock()?)?;
    }
    let offset = match reader.rest {
        "" => None,
        _ => Some(reader.offset()?),
    };
    if !reader.rest.is_empty() {
        return None;
    }
    Some(match offset {
        Some(offset) => local - offset,
        None => zone.from_local(local),
    })
}

/// What is left of a text.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, one_of: impl IntoIterator<Item = char>) -> bool {
        let found = one_of.into_iter().find_map(|c| self.rest.strip_prefix(c));
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// Takes a number of up to so many digits.
    fn number(&mut self, most: usize) -> Option<i64> {
        let digits = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at(digits);
        let number = number.parse().ok()?;
        self.rest = rest;
        Some(number)
    }

    /// Takes a number behind a sign that is there.
    fn part(&mut self, sign: char, most: usize) -> Option<i64> {
        let before = self.rest;
        let found = if self.take([sign]) { self.number(most) } else { None };
        if found.is_none() {
            self.rest = before;
        }
        found
    }

    /// Reads a year, a month, a day; a year and a week; a year and one of its days: what takes most of the text.
    fn day(&mut self) -> Option<i64> {
        let negative = self.rest.starts_with('-');
        self.take(['-', '+']);
        let year = i32::try_from(self.number(9)?).ok()?;
        let year = if negative { -year } else { year };
        let behind_year = self.rest;
        let month = self.part('-', 2);
        let day = month.and_then(|_| self.part('-', 2));
        let behind_month = self.rest;

        self.rest = behind_year;
        let day_of_year = self.part('-', 3);
        let date = if day_of_year.is_some() && self.rest.len() < behind_month.len() {
            NaiveDate::from_yo_opt(year, u32::try_from(day_of_year?).ok()?)?
        } else if month.is_some() {
            self.rest = behind_month;
            let [month, day] = [month.unwrap_or(1), day.unwrap_or(1)].map(|n| u32::try_from(n).unwrap_or(0));
            NaiveDate::from_ymd_opt(year, month, day)?
        } else if let Some(week) = self.week() {
            let day_of_week = self.part('-', 1).unwrap_or(1);
            // The first week has the fourth of January.
            let fourth = NaiveDate::from_ymd_opt(year, 1, 4)?;
            let monday = fourth - Duration::days(i64::from(fourth.weekday().num_days_from_monday()));
            let last = NaiveDate::from_ymd_opt(year, 12, 28)?.iso_week().week();
            if !(1..=i64::from(last)).contains(&week) || !(1..=7).contains(&day_of_week) {
                return None;
            }
            monday + Duration::days((week - 1) * 7 + day_of_week - 1)
        } else {
            NaiveDate::from_ymd_opt(year, 1, 1)?
        };
        Some(i64::from(date.to_epoch_days()))
    }

    fn week(&mut self) -> Option<i64> {
        let before = self.rest;
        let behind = before.strip_prefix("-W").or_else(|| before.strip_prefix("-w"))?;
        self.rest = behind;
        let week = self.number(2);
        if week.is_none() {
            self.rest = before;
        }
        week
    }

    /// Reads hours, minutes, seconds; the last may have a fraction.
    fn clock(&mut self) -> Option<i64> {
        let mut sum = 0;
        for (i, (unit, limit)) in [(3_600_000, 24), (60_000, 60), (1000, 60)].into_iter().enumerate() {
            let count = if i == 0 { self.number(2) } else { self.part(':', 2) };
            let Some(count) = count else { break };
            if count >= limit {
                return None;
            }
            sum += count * unit;
            let before = self.rest;
            if self.take(['.', ',']) {
                let digits = self.rest.bytes().take(9).take_while(u8::is_ascii_digit).count();
                if digits == 0 {
                    self.rest = before;
                    break;
                }
                let (fraction, rest) = self.rest.split_at(digits);
                self.rest = rest;
                let scale = 10i64.pow(u32::try_from(digits).ok()?);
                sum += fraction.parse::<i64>().ok()? * unit / scale;
                break;
            }
        }
        Some(sum)
    }

    /// Reads `Z`, `+01`, `+0130`, `+01:30`, `+01:30:15.5` in milliseconds.
    fn offset(&mut self) -> Option<i64> {
        if self.take(['Z', 'z']) {
            return Some(0);
        }
        let negative = self.rest.starts_with('-');
        if !self.take(['-', '+']) {
            return None;
        }
        let two = |reader: &mut Self, limit: i64| reader.number(2).filter(|n| *n < limit);
        let mut sum = two(self, 24)? * 3_600_000;
        let colons = self.rest.starts_with(':');
        for unit in [60_000, 1000] {
            if self.rest.is_empty() || (colons && !self.take([':'])) {
                break;
            }
            sum += two(self, 60)? * unit;
        }
        Some(if negative { -sum } else { sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sql_text_leniently() {
        assert_eq!(read_sql_timestamp("2015-9-1 1:2:3"), Some(1_441_069_323_000));
        assert_eq!(read_sql_timestamp("2015-09-01"), Some(1_441_065_600_000));
        assert_eq!(read_sql_timestamp("2015-09-01T01:02:03"), None);
        assert_eq!(read_sql_timestamp("2015-13-01"), None);
    }

    #[test]
    fn reads_what_druid_reads() {
        let read = |text: &str| read_timestamp(text, Zone::default()).map(henge_time::format_millis);
        for (text, expected) in [
            ("12", "0012-01-01T00:00:00.000Z"),
            ("2000-W01", "2000-01-03T00:00:00.000Z"),
            ("2000-W01-3", "2000-01-05T00:00:00.000Z"),
            ("2-W05", "0002-01-28T00:00:00.000Z"),
            ("2000-032", "2000-02-01T00:00:00.000Z"),
            ("2002-3-4 5:06Z", "2002-03-04T05:06:00.000Z"),
            ("2000-01-01T12.5", "2000-01-01T12:30:00.000Z"),
            ("2000-01-01T01:02:03,5", "2000-01-01T01:02:03.500Z"),
            ("2000-01-01T", "2000-01-01T00:00:00.000Z"),
            ("2002T05", "2002-01-01T05:00:00.000Z"),
            ("2002-03-04T+01:00", "2002-03-03T23:00:00.000Z"),
            ("+2002 ", "2002-01-01T00:00:00.000Z"),
            ("2002-03-04t05:06:07.8-08:00", "2002-03-04T13:06:07.800Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "x",
            " 2000",
            "2000-01-01Z",
            "2002-03-04+01:00",
            "2000-01-01 01:02:03 +01:00",
            "2000-01-01T24:00",
            "2000-02-30",
            "2001-366",
            "10.1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
