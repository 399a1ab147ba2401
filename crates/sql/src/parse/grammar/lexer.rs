//! Cuts a text into tokens as Calcite's lexer does, where names are quoted by `"`.

use super::Kind;
use super::nodes::Grammar;

/// One token. Lines and columns count from 1, in UTF-16 units; the end is inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lexeme {
    /// `None` where no token starts.
    pub kind: Option<Kind>,
    /// Where it stands in the text, in bytes.
    pub start: usize,
    pub end: usize,
}

/// A text and its tokens.
#[derive(Debug)]
pub(super) struct Text<'a> {
    pub sql: &'a str,
    pub lexemes: Vec<Lexeme>,
}

impl Text<'_> {
    /// Gives the text of a token, empty behind the last one.
    pub fn image(&self, index: usize) -> &str {
        self.lexemes.get(index).map_or("", |l| &self.sql[l.start..l.end])
    }

    /// Gives line and column of the character that starts at this byte.
    pub fn place(&self, byte: usize) -> (u64, u64) {
        let before = &self.sql[..byte];
        // A carriage return ends a line as well, alone or in front of a line feed.
        let (mut line, mut start) = (1, 0);
        let bytes = before.as_bytes();
        for (i, b) in bytes.iter().enumerate() {
            if *b == b'\n' || (*b == b'\r' && self.sql.as_bytes().get(i + 1) != Some(&b'\n')) {
                line += 1;
                start = i + 1;
            }
        }
        let column = before[start..].chars().map(char::len_utf16).sum::<usize>() as u64 + 1;
        (line, column)
    }

    /// Gives the place of the last character, 0 and 0 for an empty text: where the lexer stands when the text is over.
    pub fn end_place(&self) -> (u64, u64) {
        match self.sql.char_indices().last() {
            Some((byte, _)) => self.place(byte),
            None => (0, 0),
        }
    }
}

/// Cuts the text; what is no token becomes a lexeme without a kind, and ends the list.
pub(super) fn lex<'a>(grammar: &Grammar, sql: &'a str) -> Text<'a> {
    let mut lexemes = Vec::new();
    let mut at = 0;
    while at < sql.len() {
        let rest = &sql[at..];
        if let Some(length) = blank(rest) {
            at += length;
            continue;
        }
        let (kind, length) = match token(rest) {
            Some((Class::Of(key), length)) => (grammar.kinds.get(key).copied(), length),
            Some((Class::Word, length)) => {
                let word = rest[..length].to_ascii_uppercase();
                let keyword = grammar.kinds.get(word.as_str());
                (keyword.or_else(|| grammar.kinds.get("<IDENTIFIER>")).copied(), length)
            }
            None => (None, rest.chars().next().map_or(1, char::len_utf8)),
        };
        lexemes.push(Lexeme {
            kind,
            start: at,
            end: at + length,
        });
        if kind.is_none() {
            break;
        }
        at += length;
    }
    Text { sql, lexemes }
}

/// Gives the length of white space or a comment. A comment that never ends is none.
fn blank(rest: &str) -> Option<usize> {
    let first = rest.as_bytes()[0];
    if matches!(first, b' ' | b'\t' | b'\n' | b'\r' | 0x0c) {
        return Some(1);
    }
    if rest.starts_with("--") || rest.starts_with("//") {
        return Some(rest.find(['\n', '\r']).unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") && !rest.starts_with("/*+") {
        return rest[2..].find("*/").map(|end| end + 4);
    }
    None
}

/// What a token is.
enum Class {
    /// A sign or a class of tokens, by its key among the kinds.
    Of(&'static str),
    /// A keyword or a bare name.
    Word,
}

/// The signs, longest first.
const SIGNS: [&str; 33] = [
    "/*+", "*/", "->", "=>", "<=", ">=", "<>", "!=", "||", "..", "(", ")", "[", "]", ";", ".", ",", "=", ">", "<", "?",
    ":", "+", "-", "*", "/", "%", "|", "^", "'", "\"", "{", "}",
];

fn token(rest: &str) -> Option<(Class, usize)> {
    let bytes = rest.as_bytes();
    let of = |key, length| Some((Class::Of(key), length));
    // A comment that never ends.
    if rest.starts_with("/*") && !rest.starts_with("/*+") {
        return None;
    }
    match bytes[0] {
        b'0'..=b'9' => return Some(number(bytes)),
        b'.' if bytes.get(1).is_some_and(u8::is_ascii_digit) => return Some(number(bytes)),
        b'\'' => {
            if let Some(length) = string(rest, false) {
                return of("<QUOTED_STRING>", length);
            }
        }
        b'"' => {
            if let Some(length) = quoted_name(rest) {
                return of("<QUOTED_IDENTIFIER>", length);
            }
        }
        b'{' => {
            let spaces = bytes[1..].iter().take_while(|b| **b == b' ').count();
            let after = &bytes[1 + spaces..];
            let lower = |n: usize| after.get(n).map(u8::to_ascii_lowercase);
            match (lower(0), lower(1)) {
                (Some(b't'), Some(b's')) => return of("<LBRACE_TS>", spaces + 3),
                (Some(b'f'), Some(b'n')) => return of("<LBRACE_FN>", spaces + 3),
                (Some(b't'), _) => return of("<LBRACE_T>", spaces + 2),
                (Some(b'd'), _) => return of("<LBRACE_D>", spaces + 2),
                _ => {}
            }
        }
        0x07 => return of("<BEL>", 1),
        _ => {}
    }
    let prefixed = |n: usize, escapes: bool| rest.get(n..).and_then(|text| string(text, escapes)).map(|l| l + n);
    match bytes[0].to_ascii_lowercase() {
        b'x' => {
            if let Some(length) = prefixed(1, false) {
                return of("<BINARY_STRING_LITERAL>", length);
            }
        }
        b'n' => {
            if let Some(length) = prefixed(1, false) {
                return of("<PREFIXED_STRING_LITERAL>", length);
            }
        }
        b'e' => {
            if let Some(length) = prefixed(1, true) {
                return of("<C_STYLE_ESCAPED_STRING_LITERAL>", length);
            }
        }
        b'u' if bytes.get(1) == Some(&b'&') => {
            if let Some(length) = prefixed(2, false) {
                return of("<UNICODE_STRING_LITERAL>", length);
            }
            if let Some(length) = rest.get(2..).and_then(quoted_name) {
                return of("<UNICODE_QUOTED_IDENTIFIER>", length + 2);
            }
        }
        b'_' => {
            let name = bytes[1..]
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'.' | b'-' | b'_'))
                .count();
            if name > 0
                && bytes[1].is_ascii_alphanumeric()
                && let Some(length) = prefixed(1 + name, false)
            {
                return of("<PREFIXED_STRING_LITERAL>", length);
            }
        }
        _ => {}
    }
    if let Some(length) = word(rest) {
        return if &rest[..length] == "$" {
            of("$", 1)
        } else {
            Some((Class::Word, length))
        };
    }
    SIGNS
        .iter()
        .find(|sign| rest.starts_with(**sign))
        .and_then(|sign| of(sign, sign.len()))
}

/// Reads digits, a point, an exponent.
fn number(bytes: &[u8]) -> (Class, usize) {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut length = whole;
    let mut key = "<UNSIGNED_INTEGER_LITERAL>";
    if bytes.get(length) == Some(&b'.') {
        length += 1;
        length += digits(length);
        key = "<DECIMAL_NUMERIC_LITERAL>";
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = bytes.get(length + 1 + sign..).map_or(0, |_| digits(length + 1 + sign));
        if exponent > 0 {
            return (Class::Of("<APPROX_NUMERIC_LITERAL>"), length + 1 + sign + exponent);
        }
    }
    (Class::Of(key), length)
}

/// Gives the length of a string in single quotes, if it ends: a doubled quote ends it where no other does.
fn string(text: &str, escapes: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'\'') {
        return None;
    }
    let (mut at, mut doubled) = (1, None);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => {
                doubled = Some(at + 1);
                at += 2;
            }
            b'\'' => return Some(at + 1),
            b'\\' if escapes => at += 2,
            _ => at += 1,
        }
    }
    doubled
}

/// Gives the length of a name in double quotes, if it ends on its line and is not empty.
fn quoted_name(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let (mut at, mut doubled) = (1, None);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' if bytes.get(at + 1) == Some(&b'"') => {
                if at > 1 {
                    doubled = Some(at + 1);
                }
                at += 2;
            }
            b'"' => return (at > 1).then_some(at + 1),
            b'\n' | b'\r' => break,
            _ => at += 1,
        }
    }
    doubled
}

fn word(text: &str) -> Option<usize> {
    let mut length = 0;
    for (i, c) in text.char_indices() {
        if !(is_letter(c) || (i > 0 && is_digit(c))) {
            break;
        }
        length = i + c.len_utf8();
    }
    (length > 0).then_some(length)
}

fn is_letter(c: char) -> bool {
    matches!(c,
        '$' | 'A'..='Z' | '_' | 'a'..='z'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{1fff}' | '\u{3040}'..='\u{318f}'
        | '\u{3300}'..='\u{337f}' | '\u{3400}'..='\u{3d2d}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

fn is_digit(c: char) -> bool {
    matches!(c,
        '0'..='9' | '\u{660}'..='\u{669}' | '\u{6f0}'..='\u{6f9}' | '\u{966}'..='\u{96f}' | '\u{9e6}'..='\u{9ef}'
        | '\u{a66}'..='\u{a6f}' | '\u{ae6}'..='\u{aef}' | '\u{b66}'..='\u{b6f}' | '\u{be7}'..='\u{bef}'
        | '\u{c66}'..='\u{c6f}' | '\u{ce6}'..='\u{cef}' | '\u{d66}'..='\u{d6f}' | '\u{e50}'..='\u{e59}'
        | '\u{ed0}'..='\u{ed9}' | '\u{1040}'..='\u{1049}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_longest_that_fit() {
        let grammar = super::super::grammar();
        let shown = |sql: &str| -> Vec<String> {
            let text = lex(grammar, sql);
            let kinds = text.lexemes.iter().map(|l| match l.kind {
                Some(kind) => grammar.images[usize::from(kind)].clone(),
                None => "?".to_string(),
            });
            kinds.collect()
        };
        for (sql, expected) in [
            (
                "1 1. .5 1e5 1.5E-3 1e",
                "<UNSIGNED_INTEGER_LITERAL> <DECIMAL_NUMERIC_LITERAL> <DECIMAL_NUMERIC_LITERAL> <APPROX_NUMERIC_LITERAL> <APPROX_NUMERIC_LITERAL> <UNSIGNED_INTEGER_LITERAL> <IDENTIFIER>",
            ),
            ("'a''b' 'cc", "<QUOTED_STRING> \"\\'\" <IDENTIFIER>"),
            (
                "\"a\"\"b\" \"\" U&'x' n'x' e'\\''",
                "<QUOTED_IDENTIFIER> \"\\\"\" \"\\\"\" <UNICODE_STRING_LITERAL> <PREFIXED_STRING_LITERAL> <C_STYLE_ESCAPED_STRING_LITERAL>",
            ),
            (
                "aa==b <> != =>",
                "<IDENTIFIER> \"=\" \"=\" <IDENTIFIER> \"<>\" \"!=\" \"=>\"",
            ),
            (
                "Select/*x*/FROM/*+ hh */ --c\n{fn",
                "\"SELECT\" \"FROM\" \"/*+\" <IDENTIFIER> \"*/\" <LBRACE_FN>",
            ),
            ("aa # b", "<IDENTIFIER> ?"),
            ("'zz''", "<QUOTED_STRING> \"\\'\""),
            ("\"z\"\"", "<QUOTED_IDENTIFIER> \"\\\"\""),
            ("été", "<IDENTIFIER>"),
        ] {
            assert_eq!(shown(sql).join(" "), expected, "{sql}");
        }
    }

    #[test]
    fn places_count_lines_and_columns() {
        let text = lex(super::super::grammar(), "a\n \u{e9}b\r\nc\n");
        let places: Vec<_> = text.lexemes.iter().map(|l| text.place(l.start)).collect();
        assert_eq!(places, [(1, 1), (2, 2), (3, 1)]);
        assert_eq!(text.end_place(), (3, 2));
    }
}
