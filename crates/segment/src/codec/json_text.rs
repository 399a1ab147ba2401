//! JSON texts turned into values as Druid's Jackson understands them.
//!
//! Whole numbers of 64 bits are longs, all others the nearest double. Of members with equal names the last one counts, at the place of the
//! first. A surrogate without its other half becomes U+FFFD.

use hashbrown::HashMap;

use crate::limits::JSON_DEPTH;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Long(i64),
    Double(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonError {
    pub offset: usize,
    pub expectation: &'static str,
}

/// Members up to this many are compared one by one.
const FEW_MEMBERS: usize = 8;

/// Parses a text that is one value.
pub(crate) fn parse(text: &str) -> Result<Json, JsonError> {
    let mut parser = Parser {
        text,
        bytes: text.as_bytes(),
        at: 0,
    };
    let value = parser.value(0)?;
    parser.skip_space();
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.expected("nothing behind the value")),
    }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn expected(&self, expectation: &'static str) -> JsonError {
        JsonError {
            offset: self.at,
            expectation,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes a byte if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, JsonError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected("null, true, false, a number, a string, an array or an object"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        if depth > JSON_DEPTH {
            return Err(self.expected("fewer arrays and objects inside each other"));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word("null", Json::Null),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut values = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Json::Array(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Json::Array(values));
            }
            if !self.take(b',') {
                return Err(self.expected("a comma or the end of the array"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.expected("a name in quotes"));
            }
            let name = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.expected("a colon behind the name"));
            }
            members.push((name, self.value(depth + 1)?));
            self.skip_space();
            if self.take(b'}') {
                return Ok(Json::Object(without_repetitions(members)));
            }
            if !self.take(b',') {
                return Err(self.expected("a comma or the end of the object"));
            }
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.expected("a digit"));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        let mut is_whole = true;
        if self.take(b'.') {
            is_whole = false;
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            is_whole = false;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        let digits = &self.text[start..self.at];
        if is_whole && let Ok(long) = digits.parse() {
            return Ok(Json::Long(long));
        }
        digits.parse().map(Json::Double).map_err(|_| JsonError {
            offset: start,
            expectation: "a number",
        })
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::new();
        let mut start = self.at;
        loop {
            match self.peek() {
                None | Some(0..=0x1F) => return Err(self.expected("the end of the string, or an escape")),
                Some(b'"') => {
                    out.push_str(&self.text[start..self.at]);
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    out.push_str(&self.text[start..self.at]);
                    self.at += 1;
                    out.push(self.escape()?);
                    start = self.at;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let escaped = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.expected("an escape: \" \\ / b f n r t or u")),
        };
        self.at += 1;
        Ok(escaped)
    }

    /// Reads `uXXXX`, and the other half of a surrogate pair behind it.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.unit()?;
        if let 0xD800..=0xDBFF = first {
            let back = self.at;
            if self.take(b'\\') && self.peek() == Some(b'u') {
                let second = self.unit()?;
                if let 0xDC00..=0xDFFF = second {
                    let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                    return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn unit(&mut self) -> Result<u32, JsonError> {
        self.at += 1;
        let digits = self.bytes.get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits else {
            return Err(self.expected("four hexadecimal digits"));
        };
        self.at += 4;
        Ok(digits.iter().fold(0, |unit, digit| {
            unit << 4 | char::from(*digit).to_digit(16).unwrap_or_default()
        }))
    }
}

/// Gives the last value to the first member of each name.
fn without_repetitions(members: Vec<(String, Json)>) -> Vec<(String, Json)> {
    let repeats = match members.len() {
        0..=FEW_MEMBERS => {
            let earlier = |i: usize| members[..i].iter().any(|(name, _)| *name == members[i].0);
            (1..members.len()).any(earlier)
        }
        _ => {
            let names: hashbrown::HashSet<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
            names.len() < members.len()
        }
    };
    if !repeats {
        return members;
    }
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<(String, Json)> = Vec::new();
    for (name, value) in members {
        match places.get(&name) {
            Some(place) => kept[*place].1 = value,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, value));
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_kind() {
        let parsed = parse(" { \"a\" : [ 1 , -0, 2.50, 1e2 ] , \"b\":{},\"c\":[],\"d\":null,\"e\":true,\"f\":false } ");
        let member = |name: &str, value| (name.to_owned(), value);
        let expected = Json::Object(vec![
            member(
                "a",
                Json::Array(vec![
                    Json::Long(1),
                    Json::Long(0),
                    Json::Double(2.5),
                    Json::Double(100.0),
                ]),
            ),
            member("b", Json::Object(vec![])),
            member("c", Json::Array(vec![])),
            member("d", Json::Null),
            member("e", Json::Bool(true)),
            member("f", Json::Bool(false)),
        ]);
        assert_eq!(parsed, Ok(expected));
        assert_eq!(parse("9223372036854775807"), Ok(Json::Long(i64::MAX)));
        assert_eq!(parse("-9223372036854775808"), Ok(Json::Long(i64::MIN)));
        assert_eq!(parse("9223372036854775808"), Ok(Json::Double(2f64.powi(63))));
        assert_eq!(parse("184315986.14058682"), Ok(Json::Double(184315986.14058682)));
        let text = parse("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\\ud83dx\\ude00é\"");
        assert_eq!(
            text,
            Ok(Json::Text("\"\\/\u{8}\u{c}\n\r\té😀\u{fffd}x\u{fffd}é".into()))
        );
    }

    #[test]
    fn of_equal_names_the_last_counts() {
        let many = (0..20)
            .map(|i| format!("\"k{}\":{i}", i % 15))
            .collect::<Vec<_>>()
            .join(",");
        let Ok(Json::Object(members)) = parse(&format!("{{{many}}}")) else {
            panic!("an object");
        };
        assert_eq!(members.len(), 15);
        assert_eq!(members[0], ("k0".to_owned(), Json::Long(15)));
        let few = parse("{\"a\":1,\"b\":2,\"a\":3}");
        let expected = vec![("a".to_owned(), Json::Long(3)), ("b".to_owned(), Json::Long(2))];
        assert_eq!(few, Ok(Json::Object(expected)));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "nul",
            "tru",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "\"",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12",
            "-",
            "01",
            "1.",
            ".5",
            "1e",
            "+1",
            "1 2",
            "NaN",
            "'a'",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&deep(JSON_DEPTH)).is_ok());
        assert!(parse(&deep(JSON_DEPTH + 1)).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
