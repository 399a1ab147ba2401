//! Cuts a line of CSV or TSV into fields.
//!
//! CSV is cut as Druid's parser (opencsv's RFC 4180 parser, a line at a time) cuts it: a field is quoted when it *begins*
//! with a quote and ends before a separator or the end of the line; `""` is a quote everywhere. A quote that never closes is
//! text. TSV has no quotes at all.

use crate::column::Column;
use crate::number;
use crate::spec::{DelimitedFormat, ExternType};

/// A field, as bytes of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
    /// Whether `""` stands for a quote in it.
    doubled: bool,
    /// Whether it was in quotes, so that it may be empty without being null.
    quoted: bool,
}

pub(crate) struct DelimitedDecoder {
    delimiter: u8,
    quotes: bool,
    list_delimiter: String,
    try_parse_numbers: bool,
    /// For each column the position of its field, if it has one.
    positions: Vec<Option<usize>>,
    types: Vec<ExternType>,
    /// How many fields of a line matter.
    wanted: usize,
    spans: Vec<Span>,
    scratch: String,
}

impl DelimitedDecoder {
    pub(crate) fn new(format: &DelimitedFormat, quotes: bool) -> Self {
        Self {
            delimiter: format.delimiter,
            quotes,
            list_delimiter: format.list_delimiter.clone(),
            try_parse_numbers: format.try_parse_numbers,
            positions: Vec::new(),
            types: Vec::new(),
            wanted: 0,
            spans: Vec::new(),
            scratch: String::new(),
        }
    }

    /// Finds the fields of the columns among the names of the fields.
    pub(crate) fn bind<'a>(&mut self, names: &[String], columns: impl Iterator<Item = (&'a str, ExternType)>) {
        for (column, column_type) in columns {
            self.positions.push(names.iter().rposition(|name| name == column));
            self.types.push(column_type);
        }
        self.wanted = self.positions.iter().flatten().max().map_or(0, |last| last + 1);
    }

    /// Reads the names of a header. Nameless fields are called `column_1`, `column_2`, …
    pub(crate) fn header(&mut self, line: &str) -> Result<Vec<String>, String> {
        self.wanted = usize::MAX;
        self.cut(line);
        let mut names: Vec<String> = Vec::with_capacity(self.spans.len());
        for (i, span) in self.spans.iter().enumerate() {
            let text = unquote(line, *span, &mut self.scratch);
            let name = if text.is_empty() {
                format!("column_{}", i + 1)
            } else {
                text.to_string()
            };
            names.push(name);
        }
        self.wanted = 0;
        let mut seen = std::collections::HashSet::new();
        let twice: Vec<&str> = names
            .iter()
            .filter(|name| !seen.insert(name.as_str()))
            .map(String::as_str)
            .collect();
        if twice.is_empty() {
            return Ok(names);
        }
        Err(format!("Duplicate column entries found : [{}]", twice.join(", ")))
    }

    /// Adds one row.
    pub(crate) fn push(&mut self, line: &str, columns: &mut [Column]) {
        self.cut(line);
        let lists = line.contains(self.list_delimiter.as_str());
        for ((column, position), column_type) in columns.iter_mut().zip(&self.positions).zip(&self.types) {
            let Some(span) = position.and_then(|position| self.spans.get(position)) else {
                column.push_null();
                continue;
            };
            let text = unquote(line, *span, &mut self.scratch);
            if text.is_empty() && !span.quoted {
                column.push_null();
            } else if lists && text.contains(self.list_delimiter.as_str()) {
                column.push_texts(text.split(self.list_delimiter.as_str()));
            } else if self.try_parse_numbers && *column_type == ExternType::String {
                column.push_text(&normalised(text));
            } else {
                column.push_text(text);
            }
        }
    }

    /// Finds the fields of a line, as many as matter.
    #[inline]
    fn cut(&mut self, line: &str) {
        self.spans.clear();
        let bytes = line.as_bytes();
        if self.quotes && memchr::memchr(b'"', bytes).is_some() {
            return self.cut_quoted(bytes);
        }
        let mut start = 0;
        for end in memchr::memchr_iter(self.delimiter, bytes) {
            if self.spans.len() == self.wanted {
                return;
            }
            self.spans.push(Span::plain(start, end));
            start = end + 1;
        }
        self.spans.push(Span::plain(start, bytes.len()));
    }

    fn cut_quoted(&mut self, bytes: &[u8]) {
        let mut start = 0;
        while self.spans.len() < self.wanted {
            let rest = &bytes[start..];
            let span = match rest.first() {
                Some(b'"') => self.quoted(bytes, start),
                _ => {
                    let length = memchr::memchr(self.delimiter, rest).unwrap_or(rest.len());
                    Span {
                        doubled: memchr::memchr(b'"', &rest[..length]).is_some(),
                        ..Span::plain(start, start + length)
                    }
                }
            };
            // The quote that closes stands between the field and its separator.
            let next = span.end + usize::from(span.quoted);
            self.spans.push(span);
            if next >= bytes.len() {
                return;
            }
            start = next + 1;
        }
    }

    /// Finds the end of a field that begins with a quote.
    fn quoted(&self, bytes: &[u8], start: usize) -> Span {
        let mut at = start + 1;
        let mut doubled = false;
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr(b'"', rest)) {
            let quote = at + found;
            match bytes.get(quote + 1) {
                Some(b'"') => {
                    doubled = true;
                    at = quote + 2;
                }
                Some(next) if *next != self.delimiter => at = quote + 1,
                _ => {
                    return Span {
                        start: start + 1,
                        end: quote,
                        doubled,
                        quoted: true,
                    };
                }
            }
        }
        Span {
            doubled,
            ..Span::plain(start, bytes.len())
        }
    }
}

impl Span {
    fn plain(start: usize, end: usize) -> Self {
        Self {
            start,
            end,
            doubled: false,
            quoted: false,
        }
    }
}

#[inline]
fn unquote<'a>(line: &'a str, span: Span, scratch: &'a mut String) -> &'a str {
    let text = line.get(span.start..span.end).unwrap_or_default();
    if !span.doubled {
        return text;
    }
    *scratch = text.replace("\"\"", "\"");
    scratch
}

/// Writes a field that looks like a number as Druid prints the number.
fn normalised(text: &str) -> std::borrow::Cow<'_, str> {
    if let Some(long) = number::exact_long(text.as_bytes()) {
        return long.to_string().into();
    }
    let numeric = text.bytes().any(|byte| byte.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    match number::plain_double(text) {
        Some(double) if numeric => {
            let mut written = String::new();
            number::write_double(double, &mut written);
            written.into()
        }
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Vec<String> {
        let format = DelimitedFormat {
            delimiter: b',',
            list_delimiter: "\u{1}".to_string(),
            columns: vec![],
            find_columns_from_header: true,
            skip_header_rows: 0,
            try_parse_numbers: false,
        };
        let mut decoder = DelimitedDecoder::new(&format, true);
        decoder.wanted = usize::MAX;
        decoder.cut(line);
        let mut scratch = String::new();
        decoder
            .spans
            .iter()
            .map(|span| {
                let text = unquote(line, *span, &mut scratch);
                if text.is_empty() && !span.quoted {
                    "NULL".to_string()
                } else {
                    format!("<{text}>")
                }
            })
            .collect()
    }

    #[test]
    fn quotes() {
        for (line, expected) in [
            ("a,b", "<a> <b>"),
            ("a,,b,", "<a> NULL <b> NULL"),
            ("", "NULL"),
            ("\"\",x", "<> <x>"),
            ("\"a,b\",c", "<a,b> <c>"),
            ("\"a\"\"b\",\"\"\"\"", "<a\"b> <\">"),
            (" a , b ", "< a > < b >"),
            ("a\"b,c", "<a\"b> <c>"),
            ("\"x", "<\"x>"),
            ("y\"", "<y\">"),
            ("\"x,y", "<\"x,y>"),
            ("\"a\"b,c\",d", "<a\"b,c> <d>"),
            ("\"a\",", "<a> NULL"),
            ("x,\"\"", "<x> <>"),
        ] {
            assert_eq!(fields(line).join(" "), expected, "{line}");
        }
    }

    #[test]
    fn numbers_are_printed_anew_only_when_asked() {
        for (text, expected) in [
            ("007", "7"),
            ("1.50", "1.5"),
            ("1e10", "1.0E10"),
            ("NaN", "NaN"),
            ("1-2", "1-2"),
            ("", ""),
        ] {
            assert_eq!(normalised(text), expected);
        }
    }
}
