//! Scans JSON text byte by byte: finds where values end and whether they are sound, by the grammar that Jackson accepts
//! without options. Nothing is converted here.

use std::fmt;

use super::raw::{Kind, RawJson};
use crate::limits::MAX_JSON_DEPTH;

/// Why text is no JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsound {
    pub expected: &'static str,
    /// The byte of the text that is wrong; the length of the text when it ends too early.
    pub at: usize,
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {}", self.expected, self.at)
    }
}

fn unsound<T>(expected: &'static str, at: usize) -> Result<T, Unsound> {
    Err(Unsound { expected, at })
}

/// What the grammar of a text allows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Grammar {
    /// The text has control characters, so that strings must be looked at for them.
    pub check_controls: bool,
    /// `NaN`, `Infinity` and `-Infinity` are numbers.
    pub non_numeric: bool,
}

impl Grammar {
    /// Accepts whatever was accepted before.
    const SOUND: Self = Self {
        check_controls: false,
        non_numeric: true,
    };
}

#[inline]
pub(crate) fn skip_whitespace(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Skips what may stand between the parts of a sound array or object.
pub(crate) fn skip_separators(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Gives the value that begins here in a text that was scanned before, and where it ends.
pub(crate) fn sound_value(text: &str, at: usize) -> Option<(RawJson<'_>, usize)> {
    let (kind, end) = value(text.as_bytes(), at, Grammar::SOUND).ok()?;
    let raw = text.get(at..end)?;
    Some((RawJson { kind, raw }, end))
}

/// Scans the value that begins at this byte. Gives its kind and the byte after it.
#[inline]
pub(crate) fn value(bytes: &[u8], at: usize, grammar: Grammar) -> Result<(Kind, usize), Unsound> {
    match bytes.get(at) {
        Some(b'"') => string(bytes, at + 1, grammar),
        Some(b'-' | b'0'..=b'9') => number(bytes, at, grammar),
        Some(b'{' | b'[') => nested(bytes, at, grammar),
        Some(b't') => literal(bytes, at, b"true", Kind::True),
        Some(b'f') => literal(bytes, at, b"false", Kind::False),
        Some(b'n') => literal(bytes, at, b"null", Kind::Null),
        Some(b'N') if grammar.non_numeric => literal(bytes, at, b"NaN", Kind::Number),
        Some(b'I') if grammar.non_numeric => literal(bytes, at, b"Infinity", Kind::Number),
        _ => unsound("a value", at.min(bytes.len())),
    }
}

#[inline]
fn literal(bytes: &[u8], at: usize, word: &'static [u8], kind: Kind) -> Result<(Kind, usize), Unsound> {
    let end = at + word.len();
    let follows = bytes
        .get(end)
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    if bytes.get(at..end) == Some(word) && !follows {
        return Ok((kind, end));
    }
    unsound("true, false or null", at)
}

/// Scans a string from the byte after its quote.
#[inline]
pub(crate) fn string(bytes: &[u8], start: usize, grammar: Grammar) -> Result<(Kind, usize), Unsound> {
    let Some(found) = bytes.get(start..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) else {
        return unsound("the end of a string", bytes.len());
    };
    let at = start + found;
    if grammar.check_controls
        && let Some(control) = bytes[start..at].iter().position(|byte| *byte < 0x20)
    {
        return unsound("no unescaped control character", start + control);
    }
    if bytes[at] == b'"' {
        return Ok((Kind::Text, at + 1));
    }
    escaped_string(bytes, at, grammar)
}

/// Scans the rest of a string from its first backslash.
#[cold]
fn escaped_string(bytes: &[u8], mut at: usize, grammar: Grammar) -> Result<(Kind, usize), Unsound> {
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok((Kind::EscapedText, at + 1)),
            Some(b'\\') => match bytes.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                Some(b'u') => match bytes.get(at + 2..at + 6) {
                    Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => at += 6,
                    Some(_) => return unsound("four hexadecimal digits", at + 2),
                    None => return unsound("the end of a string", bytes.len()),
                },
                Some(_) => return unsound("an escape", at + 1),
                None => return unsound("the end of a string", bytes.len()),
            },
            Some(byte) if *byte < 0x20 && grammar.check_controls => {
                return unsound("no unescaped control character", at);
            }
            Some(_) => at += 1,
            None => return unsound("the end of a string", bytes.len()),
        }
    }
}

#[inline]
fn number(bytes: &[u8], start: usize, grammar: Grammar) -> Result<(Kind, usize), Unsound> {
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let first = start + usize::from(bytes[start] == b'-');
    let mut at = digits(first);
    if at == first {
        if grammar.non_numeric && bytes.get(first) == Some(&b'I') {
            return literal(bytes, first, b"Infinity", Kind::Number);
        }
        return unsound("a digit", at);
    }
    if bytes[first] == b'0' && at > first + 1 {
        return unsound("no leading zero", first);
    }
    if bytes.get(at) == Some(&b'.') {
        let end = digits(at + 1);
        if end == at + 1 {
            return unsound("a digit", end);
        }
        at = end;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let first = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let end = digits(first);
        if end == first {
            return unsound("a digit", end);
        }
        at = end;
    }
    Ok((Kind::Number, at))
}

/// Scans an array or object with a stack of its own, one bit a level: set for an object.
fn nested(bytes: &[u8], start: usize, grammar: Grammar) -> Result<(Kind, usize), Unsound> {
    const WORDS: usize = MAX_JSON_DEPTH.div_ceil(64);
    let mut is_object = [0u64; WORDS];
    let mut depth = 0;
    let mut at = start;
    let mut opening = true;
    loop {
        if opening {
            // At the bracket of an array or object.
            if depth == MAX_JSON_DEPTH {
                return unsound("less nesting", at);
            }
            let object = bytes[at] == b'{';
            let (word, bit) = (depth / 64, 1u64 << (depth % 64));
            is_object[word] = if object {
                is_object[word] | bit
            } else {
                is_object[word] & !bit
            };
            depth += 1;
            at = skip_whitespace(bytes, at + 1);
            let close = if object { b'}' } else { b']' };
            if bytes.get(at) == Some(&close) {
                opening = false;
            }
        } else {
            // After a value or at the bracket that closes an empty array or object.
            let object = is_object[(depth - 1) / 64] >> ((depth - 1) % 64) & 1 == 1;
            match bytes.get(at) {
                Some(b'}') if object => at += 1,
                Some(b']') if !object => at += 1,
                Some(b',') => {
                    at = skip_whitespace(bytes, at + 1);
                    opening = true;
                }
                _ => return unsound(if object { ", or }" } else { ", or ]" }, at),
            }
            if !opening {
                depth -= 1;
                if depth == 0 {
                    let kind = if bytes[start] == b'{' {
                        Kind::Object
                    } else {
                        Kind::Array
                    };
                    return Ok((kind, at));
                }
                at = skip_whitespace(bytes, at);
                continue;
            }
        }
        if !opening {
            continue;
        }
        // At a key or a value.
        if is_object[(depth - 1) / 64] >> ((depth - 1) % 64) & 1 == 1 {
            if bytes.get(at) != Some(&b'"') {
                return unsound("a name in quotes", at);
            }
            let (_, end) = string(bytes, at + 1, grammar)?;
            at = skip_whitespace(bytes, end);
            if bytes.get(at) != Some(&b':') {
                return unsound(":", at);
            }
            at = skip_whitespace(bytes, at + 1);
        }
        if let Some(b'{' | b'[') = bytes.get(at) {
            continue;
        }
        let (_, end) = value(bytes, at, grammar)?;
        at = skip_whitespace(bytes, end);
        opening = false;
    }
}

/// Finds the end of a record that may spread over lines, by brackets and quotes alone. Keeps its place, so that it can go on
/// when there are more bytes.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    depth: usize,
    in_string: bool,
    at: usize,
}

impl Extent {
    /// Looks at the bytes from where it stopped, `bytes` being the record from its first byte. Gives the byte after the
    /// record, if it is there.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        while self.at < bytes.len() {
            let byte = bytes[self.at];
            if self.in_string {
                match byte {
                    b'"' => self.in_string = false,
                    // A backslash at the end waits for its other half.
                    b'\\' if self.at + 1 == bytes.len() => return None,
                    b'\\' => self.at += 1,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            return Some(self.at + 1);
                        }
                    }
                    _ => {}
                }
            }
            self.at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STRICT: Grammar = Grammar {
        check_controls: true,
        non_numeric: false,
    };

    /// Scans a text that is one value with whitespace around it.
    fn is_sound(text: &str) -> bool {
        let bytes = text.as_bytes();
        let start = skip_whitespace(bytes, 0);
        value(bytes, start, STRICT).is_ok_and(|(_, end)| skip_whitespace(bytes, end) == bytes.len())
    }

    fn agrees(text: &str) -> Result<(), TestCaseError> {
        let expected = match serde_json::from_str::<Box<serde_json::value::RawValue>>(text) {
            Ok(_) => true,
            // Numbers beyond doubles are ours to judge.
            Err(e) => e.to_string().contains("out of range"),
        };
        prop_assert_eq!(is_sound(text), expected, "{:?}", text);
        Ok(())
    }

    #[test]
    fn depth_is_bounded() {
        let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(is_sound(&nest(MAX_JSON_DEPTH)));
        assert!(!is_sound(&nest(MAX_JSON_DEPTH + 1)));
        assert!(!is_sound(&nest(1_000_000)));
        assert!(!is_sound(&"{\"a\":".repeat(1_000_000)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn grammar_agrees_with_serde_json(text in "[\\[\\]{}:,\"a\\\\u0-9eE+.tfn \n-]{0,24}") {
            agrees(&text)?;
        }

        #[test]
        fn near_json_agrees_with_serde_json(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"a\"", "\"\\n\"", "\"\\u00e9\"", "\"\\x\"", "1", "-0.5", "01", "1e5", "1.", "true",
                "nul", "null", " ", "\n", "\"\t\"", "{\"k\":1}", "[1,2]", "{}", "[]", "-",
            ]), 0..12)
        ) {
            agrees(&parts.concat())?;
        }

        #[test]
        fn extents_do_not_depend_on_where_the_bytes_are_cut(
            strings in proptest::collection::vec("[a{}\\[\\]\"\\\\,:]{0,6}", 0..4), cuts in proptest::collection::vec(0usize..200, 0..5)
        ) {
            let text = format!("{} tail", serde_json::json!({"k": strings, "n": {"m": [1, {}]}}));
            let expected = text.len() - " tail".len();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % expected).collect();
            cuts.sort_unstable();
            let mut extent = Extent::default();
            for cut in cuts {
                prop_assert_eq!(extent.find(&text.as_bytes()[..cut]), None);
            }
            prop_assert_eq!(extent.find(text.as_bytes()), Some(expected));
        }
    }
}
