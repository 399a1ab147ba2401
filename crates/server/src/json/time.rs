//! Instants in the query's time zone (Joda's `ISODateTimeFormat.dateTime()`).

use chrono::{Offset, TimeZone};
use chrono_tz::Tz;

const MILLIS_PER_DAY: i64 = 86_400_000;

/// The time zone in which a query shows its instants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Zone {
    /// A region with its history of offsets.
    Region(Tz),
    /// A constant offset from UTC, milliseconds.
    Fixed(i64),
}

impl Zone {
    /// UTC, the default.
    pub const UTC: Zone = Zone::Fixed(0);

    /// Reads a `sqlTimeZone`: a region name or an offset such as `+05:30`. Like Druid, falls back to UTC for names that no one
    /// knows.
    pub fn read(name: Option<&str>) -> Self {
        let Some(name) = name else { return Self::UTC };
        if let Ok(region) = name.parse::<Tz>() {
            return if region == Tz::UTC {
                Self::UTC
            } else {
                Self::Region(region)
            };
        }
        let (sign, clock) = match (name.strip_prefix('+'), name.strip_prefix('-')) {
            (Some(clock), _) => (1, clock),
            (_, Some(clock)) => (-1, clock),
            _ => return Self::UTC,
        };
        let (hours, minutes) = clock.split_once(':').unwrap_or((clock, "0"));
        match (hours.parse::<i64>(), minutes.parse::<i64>()) {
            (Ok(hours @ 0..=23), Ok(minutes @ 0..=59)) => Self::Fixed(sign * (hours * 60 + minutes) * 60_000),
            _ => Self::UTC,
        }
    }
}

impl Zone {
    /// Gives the midnight at which an instant's day began.
    pub fn midnight(self, millis: i64) -> i64 {
        // Beyond the calendar's ends instants wrap, as Java's do.
        let day_of = |local: i64| local.wrapping_sub(local.rem_euclid(MILLIS_PER_DAY));
        let region = match self {
            Zone::Fixed(offset) => return day_of(millis.saturating_add(offset)).wrapping_sub(offset),
            Zone::Region(region) => region,
        };
        let offset_at = |millis| match region.timestamp_millis_opt(millis) {
            chrono::LocalResult::Single(local) => i64::from(local.offset().fix().local_minus_utc()) * 1000,
            _ => 0,
        };
        let offset = offset_at(millis);
        let midnight = day_of(millis.saturating_add(offset));
        // The clock may have been changed since.
        midnight.wrapping_sub(offset_at(midnight.wrapping_sub(offset)))
    }
}

/// Prints instants of one time zone; remembers the last day and the last offset, since neighbours share them.
#[derive(Debug)]
pub struct TimeWriter {
    zone: Zone,
    day: Option<(i64, [u8; 10])>,
    offset: Option<(i64, i64)>,
}

impl TimeWriter {
    /// Makes a writer for a zone.
    pub fn new(zone: Zone) -> Self {
        Self {
            zone,
            day: None,
            offset: None,
        }
    }

    /// Gives the offset of the zone from UTC at an instant, in milliseconds.
    pub fn offset_millis(&mut self, millis: i64) -> i64 {
        let region = match self.zone {
            Zone::Fixed(offset) => return offset,
            Zone::Region(region) => region,
        };
        // Offsets change at quarters of an hour at the earliest.
        let quarter = millis.div_euclid(900_000);
        if let Some((cached, offset)) = self.offset
            && cached == quarter
        {
            return offset;
        }
        let offset = match region.timestamp_millis_opt(millis) {
            chrono::LocalResult::Single(local) => i64::from(local.offset().fix().local_minus_utc()) * 1000,
            _ => 0,
        };
        self.offset = Some((quarter, offset));
        offset
    }

    /// Appends an instant, unquoted: `2015-01-01T00:00:00.000Z`, or with `+09:00` where the offset is not zero.
    pub fn push(&mut self, out: &mut Vec<u8>, millis: i64) {
        let offset = self.offset_millis(millis);
        let local = millis.saturating_add(offset);
        let day = local.div_euclid(MILLIS_PER_DAY);
        let in_day = local.rem_euclid(MILLIS_PER_DAY) as u32;
        let date = match self.day {
            Some((cached, date)) if cached == day => date,
            _ => {
                let Some(date) = date_text(day) else {
                    // Years that four digits cannot hold: Druid's eternity.
                    let text = henge_time::format_millis(local);
                    out.extend_from_slice(text.trim_end_matches('Z').as_bytes());
                    return push_offset(out, offset);
                };
                self.day = Some((day, date));
                date
            }
        };
        let mut text = *b"0000-00-00T00:00:00.000";
        text[..10].copy_from_slice(&date);
        two(&mut text[11..13], in_day / 3_600_000);
        two(&mut text[14..16], in_day / 60_000 % 60);
        two(&mut text[17..19], in_day / 1000 % 60);
        text[20] = b'0' + (in_day / 100 % 10) as u8;
        two(&mut text[21..23], in_day % 100);
        out.extend_from_slice(&text);
        push_offset(out, offset);
    }
}

fn push_offset(out: &mut Vec<u8>, offset: i64) {
    if offset == 0 {
        out.push(b'Z');
        return;
    }
    let minutes = (offset.abs() / 60_000) as u32;
    let mut text = *b"+00:00";
    if offset < 0 {
        text[0] = b'-';
    }
    two(&mut text[1..3], minutes / 60);
    two(&mut text[4..6], minutes % 60);
    out.extend_from_slice(&text);
}

fn two(at: &mut [u8], value: u32) {
    at[0] = b'0' + (value / 10 % 10) as u8;
    at[1] = b'0' + (value % 10) as u8;
}

/// Gives `yyyy-mm-dd` of a day, for years 0 to 9999.
fn date_text(day: i64) -> Option<[u8; 10]> {
    // Days from 0000-03-01, in eras of 400 years (Hinnant's `civil_from_days`).
    let shifted = day.checked_add(719_468)?;
    let era = shifted.div_euclid(146_097);
    let in_era = shifted.rem_euclid(146_097);
    let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * in_year + 2) / 153;
    let day_of_month = (in_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let year = year as u32;
    let mut text = *b"0000-00-00";
    two(&mut text[0..2], year / 100);
    two(&mut text[2..4], year % 100);
    two(&mut text[5..7], month);
    two(&mut text[8..10], day_of_month);
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn print(zone: &str, millis: i64) -> String {
        let mut out = Vec::new();
        TimeWriter::new(Zone::read(Some(zone))).push(&mut out, millis);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn instants_carry_the_zone() {
        assert_eq!(print("UTC", 1_420_070_400_000), "2015-01-01T00:00:00.000Z");
        assert_eq!(print("Etc/UTC", 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(print("-05:30", 0), "1969-12-31T18:30:00.000-05:30");
        assert_eq!(
            print("America/New_York", 1_420_071_000_000),
            "2014-12-31T19:10:00.000-05:00"
        );
        assert_eq!(print("Asia/Tokyo", 0), "1970-01-01T09:00:00.000+09:00");
        assert_eq!(print("Mars/Base", 1), "1970-01-01T00:00:00.001Z");
        assert_eq!(print("UTC", i64::MAX / 2), "146140482-04-24T15:36:27.903Z");
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_formatter(millis in -62_167_219_200_000i64..253_402_300_800_000) {
            prop_assert_eq!(print("UTC", millis), henge_time::format_millis(millis));
        }
    }
}
