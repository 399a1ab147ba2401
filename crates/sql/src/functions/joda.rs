//! Joda-Time patterns (`DateTimeFormat`), compiled once and then used for reading and wording instants.

use chrono::{DateTime, Datelike, NaiveDate, Weekday};
use datafusion::common::Result;

use super::zone::Zone;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Text(String),
    Field(char, usize),
}

/// What reading has found so far.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    week_year: Option<i64>,
    week: Option<u32>,
    day_of_week: Option<u32>,
    hour: Option<i64>,
    half_hour: Option<i64>,
    pm: Option<bool>,
    minute: i64,
    second: i64,
    milli: i64,
    era_bc: bool,
    zone: Option<Zone>,
}

impl Pattern {
    /// Compiles a pattern; unknown letters are an error, as in Joda.
    pub fn compile(pattern: &str) -> Result<Pattern> {
        let chars: Vec<char> = pattern.chars().collect();
        let mut items: Vec<Item> = Vec::new();
        let push_text = |items: &mut Vec<Item>, text: &str| match items.last_mut() {
            Some(Item::Text(last)) => last.push_str(text),
            _ => items.push(Item::Text(text.to_string())),
        };
        let mut i = 0;
        while i < chars.len() {
            let c = chars[i];
            if c == '\'' {
                if chars.get(i + 1) == Some(&'\'') {
                    push_text(&mut items, "'");
                    i += 2;
                    continue;
                }
                i += 1;
                let mut text = String::new();
                while i < chars.len() {
                    if chars[i] == '\'' {
                        if chars.get(i + 1) == Some(&'\'') {
                            text.push('\'');
                            i += 2;
                            continue;
                        }
                        break;
                    }
                    text.push(chars[i]);
                    i += 1;
                }
                i += 1;
                push_text(&mut items, &text);
            } else if c.is_ascii_alphabetic() {
                let start = i;
                while i < chars.len() && chars[i] == c {
                    i += 1;
                }
                if !"GCYyxweEDMdaKhHkmsSzZ".contains(c) {
                    return Err(super::time::uncategorized(format!("Illegal pattern component: {c}")));
                }
                items.push(Item::Field(c, i - start));
            } else {
                push_text(&mut items, &c.to_string());
                i += 1;
            }
        }
        Ok(Pattern { items })
    }

    /// Words an instant.
    pub fn format(&self, millis: i64, zone: Zone) -> String {
        let mut out = String::new();
        let local = zone.to_local(millis);
        let Some(t) = DateTime::from_timestamp_millis(local).map(|t| t.naive_utc()) else {
            return out;
        };
        let in_day = local.rem_euclid(86_400_000);
        let hour = in_day / 3_600_000;
        let year = i64::from(t.year());
        let era_year = if year <= 0 { 1 - year } else { year };
        for item in &self.items {
            let (letter, count) = match item {
                Item::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Item::Field(letter, count) => (*letter, *count),
            };
            let mut number = |value: i64| {
                if value < 0 {
                    out.push('-');
                }
                let digits = value.abs().to_string();
                out.extend(std::iter::repeat_n('0', count.saturating_sub(digits.len())));
                out.push_str(&digits);
            };
            match letter {
                'G' => out.push_str(if year <= 0 { "BC" } else { "AD" }),
                'C' => number(era_year / 100),
                'y' | 'Y' | 'x' => {
                    let value = match letter {
                        'x' => i64::from(t.iso_week().year()),
                        'Y' => era_year,
                        _ => year,
                    };
                    if count == 2 {
                        out.push_str(&format!("{:02}", value.rem_euclid(100)));
                    } else {
                        number(value);
                    }
                }
                'w' => number(i64::from(t.iso_week().week())),
                'e' => number(i64::from(t.weekday().number_from_monday())),
                'E' => {
                    let name = DAYS[t.weekday().num_days_from_monday() as usize];
                    out.push_str(if count >= 4 { name } else { &name[..3] });
                }
                'D' => number(i64::from(t.ordinal())),
                'M' if count >= 3 => {
                    let name = MONTHS[t.month0() as usize];
                    out.push_str(if count >= 4 { name } else { &name[..3] });
                }
                'M' => number(i64::from(t.month())),
                'd' => number(i64::from(t.day())),
                'a' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
                'K' => number(hour % 12),
                'h' => number((hour + 11) % 12 + 1),
                'H' => number(hour),
                'k' => number(if hour == 0 { 24 } else { hour }),
                'm' => number(in_day / 60_000 % 60),
                's' => number(in_day / 1000 % 60),
                'S' => {
                    let digits = format!("{:03}{}", in_day % 1000, "0".repeat(count.saturating_sub(3)));
                    out.push_str(&digits[..count.min(digits.len())]);
                }
                'Z' if count >= 3 => out.push_str(&zone.name()),
                'Z' => {
                    let offset = zone.offset_ms(millis) / 60_000;
                    if offset == 0 && count == 2 {
                        // Joda words UTC as Z only in its ISO formats; Druid's default format is one of those.
                        out.push_str(if self.is_iso() { "Z" } else { "+00:00" });
                        continue;
                    }
                    let sign = if offset < 0 { '-' } else { '+' };
                    let minutes = offset.abs();
                    let colon = if count == 2 { ":" } else { "" };
                    out.push_str(&format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60));
                }
                _ => out.push_str(&zone.name()),
            }
        }
        out
    }

    fn is_iso(&self) -> bool {
        self.items.len() == 13 && self.items[5] == Item::Text("T".into())
    }

    /// Reads an instant; the whole text must fit.
    pub fn parse(&self, text: &str, zone: Zone) -> Option<i64> {
        let mut rest = text;
        let mut found = Found::default();
        for (i, item) in self.items.iter().enumerate() {
            match item {
                Item::Text(expected) => rest = strip_ignore_case(rest, expected)?,
                Item::Field(letter, count) => {
                    let adjacent =
                        matches!(self.items.get(i + 1), Some(Item::Field(next, _)) if !"aEGzZ".contains(*next));
                    rest = found.read(rest, *letter, *count, adjacent)?;
                }
            }
        }
        rest.is_empty().then(|| found.instant(zone)).flatten()
    }
}

fn strip_ignore_case<'t>(text: &'t str, expected: &str) -> Option<&'t str> {
    let head = text.get(..expected.len())?;
    head.eq_ignore_ascii_case(expected).then(|| &text[expected.len()..])
}

fn name_in<'t>(text: &'t str, names: &[&str]) -> Option<(usize, &'t str)> {
    for (i, name) in names.iter().enumerate() {
        if let Some(rest) = strip_ignore_case(text, name) {
            return Some((i, rest));
        }
    }
    for (i, name) in names.iter().enumerate() {
        if let Some(rest) = strip_ignore_case(text, &name[..3]) {
            return Some((i, rest));
        }
    }
    None
}

impl Found {
    fn read<'t>(&mut self, text: &'t str, letter: char, count: usize, adjacent: bool) -> Option<&'t str> {
        match letter {
            'M' if count >= 3 => {
                let (i, rest) = name_in(text, &MONTHS)?;
                self.month = Some(i as u32 + 1);
                return Some(rest);
            }
            'E' => {
                let (i, rest) = name_in(text, &DAYS)?;
                self.day_of_week = Some(i as u32 + 1);
                return Some(rest);
            }
            'a' => {
                let pm = strip_ignore_case(text, "PM");
                self.pm = Some(pm.is_some());
                return pm.or_else(|| strip_ignore_case(text, "AM"));
            }
            'G' => {
                let bc = strip_ignore_case(text, "BC");
                self.era_bc = bc.is_some();
                return bc.or_else(|| strip_ignore_case(text, "AD"));
            }
            'z' | 'Z' => {
                let end = text
                    .find(|c: char| !(c.is_ascii_alphanumeric() || "+-:/_".contains(c)))
                    .unwrap_or(text.len());
                self.zone = Some(Zone::parse(&text[..end])?);
                return Some(&text[end..]);
            }
            _ => {}
        }
        let negative = text.starts_with('-') && matches!(letter, 'y' | 'Y' | 'x');
        let body = if negative { &text[1..] } else { text };
        // Fields that touch are read with their own width; others take all digits that follow.
        let most = if adjacent || letter == 'S' {
            count.max(1)
        } else {
            match letter {
                'y' | 'Y' | 'x' => 9,
                'D' => 3,
                'S' => 9,
                _ => 2,
            }
        };
        let digits = body.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let mut value: i64 = body[..digits].parse().ok()?;
        if negative {
            value = -value;
        }
        let small = u32::try_from(value).ok();
        match letter {
            'y' | 'Y' | 'x' => {
                if count == 2 && digits == 2 {
                    // Two digits fall into the century around the pivot year, which is today's.
                    let pivot = i64::from(chrono::Utc::now().year()) - 50;
                    let mut year = pivot - pivot.rem_euclid(100) + value;
                    if year < pivot {
                        year += 100;
                    }
                    value = year;
                }
                if letter == 'x' {
                    self.week_year = Some(value);
                } else {
                    self.year = Some(value);
                }
            }
            'C' => self.year = Some(value * 100),
            'M' => self.month = small,
            'd' => self.day = small,
            'D' => self.day_of_year = small,
            'w' => self.week = small,
            'e' if (1..=7).contains(&value) => self.day_of_week = small,
            'H' if value < 24 => self.hour = Some(value),
            'k' if (1..=24).contains(&value) => self.hour = Some(value % 24),
            'K' if value < 12 => self.half_hour = Some(value),
            'h' if (1..=12).contains(&value) => self.half_hour = Some(value % 12),
            'm' if value < 60 => self.minute = value,
            's' if value < 60 => self.second = value,
            'S' => {
                let scaled = format!("{:0<3}", &body[..digits]);
                self.milli = scaled[..3].parse().ok()?;
            }
            _ => return None,
        }
        Some(&body[digits..])
    }

    fn instant(&self, zone: Zone) -> Option<i64> {
        // A day of no year is one of a leap year; a time of no day is one of the epoch's.
        let in_year = [self.month, self.day, self.day_of_year, self.week, self.day_of_week];
        let of_no_year = match self.week_year.is_none() && in_year.iter().any(Option::is_some) {
            true => 2000,
            false => 1970,
        };
        let mut year = self.year.unwrap_or(of_no_year);
        if self.era_bc {
            year = 1 - year;
        }
        let year32 = i32::try_from(year).ok()?;
        let of_week =
            self.week.is_some() || self.week_year.is_some() && self.month.or(self.day).or(self.day_of_year).is_none();
        let date = if of_week {
            let week = self.week.unwrap_or(1);
            let weekday = Weekday::try_from(u8::try_from(self.day_of_week.unwrap_or(1)).ok()?.checked_sub(1)?).ok()?;
            let week_year = i32::try_from(self.week_year.unwrap_or(year)).ok()?;
            NaiveDate::from_isoywd_opt(week_year, week, weekday)?
        } else if let (Some(day), None, None, None, None) =
            (self.day_of_week, self.year, self.month, self.day, self.day_of_year)
        {
            // Joda finds it in the first week of the year 2000, whose first days are of December, and then goes on to that year.
            match day {
                6 | 7 => NaiveDate::from_ymd_opt(2000, 1, day - 5)?,
                _ => NaiveDate::from_ymd_opt(2000, 12, day + 24)?,
            }
        } else if let (Some(day), None) = (self.day_of_year, self.month) {
            NaiveDate::from_yo_opt(year32, day)?
        } else {
            NaiveDate::from_ymd_opt(year32, self.month.unwrap_or(1), self.day.unwrap_or(1))?
        };
        let hour = match (self.hour, self.half_hour, self.pm) {
            (Some(hour), ..) => hour,
            (None, Some(half), pm) => half + if pm == Some(true) { 12 } else { 0 },
            (None, None, Some(true)) => 12,
            (None, None, _) => 0,
        };
        let local = i64::from(date.to_epoch_days()) * 86_400_000
            + hour * 3_600_000
            + self.minute * 60_000
            + self.second * 1000
            + self.milli;
        Some(self.zone.unwrap_or(zone).from_local(local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_reads() {
        let millis = 1_442_018_818_771;
        for (pattern, text) in [
            ("yyyy-MM-dd HH:mm:ss.SSS", "2015-09-12 00:46:58.771"),
            ("EEE, d MMM yyyy h:mm:ss a", "Sat, 12 Sep 2015 12:46:58 AM"),
            ("yyyyMMddHHmmss", "20150912004658"),
            ("D 'day of' xxxx-'W'ww-e", "255 day of 2015-W37-6"),
        ] {
            let compiled = Pattern::compile(pattern).expect("a pattern");
            assert_eq!(compiled.format(millis, Zone::default()), text, "{pattern}");
        }
        for (pattern, text, expected) in [
            ("yyyy-MM-dd HH:mm:ss.SSS", "2015-09-12 00:46:58.771", Some(millis)),
            ("d/M/yyyy H:mm:ss", "12/9/2015 0:46:58", Some(millis - 771)),
            ("yyyyMMddHHmmss", "20150912004658", Some(millis - 771)),
            (
                "yyyy-MM-dd'T'HH:mm:ssZZ",
                "2015-09-12T02:46:58+02:00",
                Some(millis - 771),
            ),
            ("MMM d yyyy", "sep 12 2015", Some(1_442_016_000_000)),
            ("yyyy-MM-dd", "2015-13-12", None),
            ("yyyy-MM-dd", "2015-09-12 x", None),
        ] {
            let compiled = Pattern::compile(pattern).expect("a pattern");
            assert_eq!(compiled.parse(text, Zone::default()), expected, "{pattern}");
        }
        assert!(Pattern::compile("yyyy-bb").is_err());
    }
}
