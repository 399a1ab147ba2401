//! JSON values as slices of their text, checked when they are scanned and converted when a column wants them.

use super::scan;
use crate::number;
use crate::spec::PathStep;

/// What a JSON value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    True,
    False,
    Number,
    /// A string without escapes.
    Text,
    /// A string with escapes.
    EscapedText,
    Array,
    Object,
}

/// A sound JSON value and its text, with quotes and brackets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawJson<'a> {
    pub kind: Kind,
    pub raw: &'a str,
}

impl<'a> RawJson<'a> {
    /// Gives the text between the quotes.
    #[inline]
    pub(crate) fn content(&self) -> &'a str {
        self.raw.get(1..self.raw.len().saturating_sub(1)).unwrap_or_default()
    }

    /// Gives the value of a number; one beyond the range of doubles is infinite, as in Java.
    #[inline]
    pub(crate) fn double(&self) -> Option<f64> {
        number::plain_double(self.raw)
    }

    /// Writes the text between the quotes without its escapes. Half of a surrogate pair becomes `?`, as Druid makes it.
    pub(crate) fn unescape(&self, to: &mut String) {
        let mut rest = self.content();
        while let Some(at) = rest.find('\\') {
            to.push_str(&rest[..at]);
            let escape = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
            let mut used = 2;
            match escape {
                b'n' => to.push('\n'),
                b't' => to.push('\t'),
                b'r' => to.push('\r'),
                b'b' => to.push('\u{8}'),
                b'f' => to.push('\u{c}'),
                b'u' => {
                    used = 6;
                    let unit = hex(rest, at + 2);
                    let pair = match unit {
                        0xd800..=0xdbff if rest.get(at + 6..at + 8) == Some("\\u") => Some(hex(rest, at + 8)),
                        _ => None,
                    };
                    match pair {
                        Some(low @ 0xdc00..=0xdfff) => {
                            used = 12;
                            let point = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                            to.push(char::from_u32(point).unwrap_or('?'));
                        }
                        _ => to.push(char::from_u32(unit).unwrap_or('?')),
                    }
                }
                other => to.push(char::from(other)),
            }
            rest = rest.get(at + used..).unwrap_or_default();
        }
        to.push_str(rest);
    }

    /// Writes the value as Java prints the object that Druid makes of it: text bare, `[a, b]`, `{k=v}`, doubles as
    /// `1.0E10`.
    pub(crate) fn write_java(&self, to: &mut String) {
        match self.kind {
            Kind::Text => to.push_str(self.content()),
            Kind::EscapedText => self.unescape(to),
            Kind::Null => to.push_str("null"),
            Kind::True => to.push_str("true"),
            Kind::False => to.push_str("false"),
            Kind::Number => match number::exact_long(self.raw.as_bytes()) {
                // Only `-0` is not its own shortest text.
                Some(0) => to.push('0'),
                Some(_) => to.push_str(self.raw),
                None => number::write_double(self.double().unwrap_or(f64::NAN), to),
            },
            Kind::Array => {
                to.push('[');
                for (i, item) in self.items().enumerate() {
                    if i > 0 {
                        to.push_str(", ");
                    }
                    item.write_java(to);
                }
                to.push(']');
            }
            Kind::Object => {
                to.push('{');
                for (i, (key, value)) in self.fields().enumerate() {
                    if i > 0 {
                        to.push_str(", ");
                    }
                    key.write_java(to);
                    to.push('=');
                    value.write_java(to);
                }
                to.push('}');
            }
        }
    }

    /// Gives the items of an array; nothing else has any.
    pub(crate) fn items(&self) -> Items<'a> {
        Items {
            text: self.raw,
            at: if self.kind == Kind::Array { 1 } else { self.raw.len() },
        }
    }

    /// Gives the fields of an object, in order, duplicates included; nothing else has any.
    pub(crate) fn fields(&self) -> Fields<'a> {
        Fields {
            text: self.raw,
            at: if self.kind == Kind::Object { 1 } else { self.raw.len() },
        }
    }

    fn field(&self, name: &str) -> Option<RawJson<'a>> {
        let mut found = None;
        for (key, value) in self.fields() {
            // The last of several counts, as in Jackson.
            if key.is_named(name) {
                found = Some(value);
            }
        }
        found
    }

    fn is_named(&self, name: &str) -> bool {
        match self.kind {
            Kind::EscapedText => {
                let mut text = String::new();
                self.unescape(&mut text);
                text == name
            }
            _ => self.content() == name,
        }
    }

    fn item(&self, position: i64) -> Option<RawJson<'a>> {
        let position = match usize::try_from(position) {
            Ok(position) => position,
            Err(_) => {
                let count = self.items().count();
                count.checked_sub(usize::try_from(position.unsigned_abs()).ok()?)?
            }
        };
        self.items().nth(position)
    }

    /// Follows a path. A path with a wildcard gives a list, written to `list`; a missing step gives nothing.
    pub(crate) fn follow<'b>(self, path: &[PathStep], list: &'b mut String) -> Option<RawJson<'b>>
    where
        'a: 'b,
    {
        let mut value = self;
        for (i, step) in path.iter().enumerate() {
            value = match step {
                PathStep::Field(name) => value.field(name)?,
                PathStep::Item(position) => value.item(*position)?,
                PathStep::All => {
                    list.clear();
                    list.push('[');
                    value.collect(&path[i..], list);
                    list.push(']');
                    return Some(RawJson {
                        kind: Kind::Array,
                        raw: list,
                    });
                }
            };
        }
        Some(value)
    }

    fn collect(&self, path: &[PathStep], list: &mut String) {
        let found = match path.split_first() {
            None => {
                if list.len() > 1 {
                    list.push(',');
                }
                list.push_str(self.raw);
                return;
            }
            Some((PathStep::All, rest)) => {
                self.items().for_each(|item| item.collect(rest, list));
                self.fields().for_each(|(_, value)| value.collect(rest, list));
                return;
            }
            Some((PathStep::Field(name), rest)) => (self.field(name), rest),
            Some((PathStep::Item(position), rest)) => (self.item(*position), rest),
        };
        if let (Some(value), rest) = found {
            value.collect(rest, list);
        }
    }
}

/// Reads four hexadecimal digits, which the scanner has checked.
fn hex(text: &str, at: usize) -> u32 {
    text.get(at..at + 4)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(0xfffd)
}

/// Walks over the items of a sound array.
pub(crate) struct Items<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = RawJson<'a>;

    fn next(&mut self) -> Option<RawJson<'a>> {
        let start = scan::skip_separators(self.text.as_bytes(), self.at);
        let (value, end) = scan::sound_value(self.text, start)?;
        self.at = end;
        Some(value)
    }
}

/// Walks over the fields of a sound object.
pub(crate) struct Fields<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (RawJson<'a>, RawJson<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = scan::skip_separators(self.text.as_bytes(), self.at);
        let (key, end) = scan::sound_value(self.text, start)?;
        let start = scan::skip_separators(self.text.as_bytes(), end);
        let (value, end) = scan::sound_value(self.text, start)?;
        self.at = end;
        Some((key, value))
    }
}
