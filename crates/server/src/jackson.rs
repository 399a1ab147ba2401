//! Complaints about JSON in the words of the parser that Druid uses, with its idea of lines and columns, since clients show and
//! match them. Only what has failed to parse comes here; reading itself is `serde_json`'s.

use serde_json::Value;

const SOURCE: &str = "[Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); ";

/// Names the kind of a value with its first token: `Array value (token `JsonToken.START_ARRAY`)`.
pub fn kind_with_token(value: &Value) -> String {
    let (kind, token) = match value {
        Value::Null => ("Null value", "VALUE_NULL"),
        Value::Bool(true) => ("Boolean value", "VALUE_TRUE"),
        Value::Bool(false) => ("Boolean value", "VALUE_FALSE"),
        Value::Number(number) if number.is_f64() => ("Floating-point value", "VALUE_NUMBER_FLOAT"),
        Value::Number(_) => ("Integer value", "VALUE_NUMBER_INT"),
        Value::String(_) => ("String value", "VALUE_STRING"),
        Value::Array(_) => ("Array value", "START_ARRAY"),
        Value::Object(_) => ("Object value", "START_OBJECT"),
    };
    format!("{kind} (token `JsonToken.{token}`)")
}

/// Gives the place of the value at a path of member names and array indexes, as the end of a message.
pub fn at(body: &[u8], path: &[&str]) -> String {
    place(body, Scanner::new(body).find(path).unwrap_or(0))
}

/// Gives the place of the last token, where a bean that lacks something is noticed.
pub fn at_end(body: &[u8]) -> String {
    let last = body.iter().rposition(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    place(body, last)
}

fn place(body: &[u8], offset: usize) -> String {
    format!("\n at {SOURCE}{}]", line_column(body, offset))
}

fn line_column(body: &[u8], offset: usize) -> String {
    let before = &body[..offset.min(body.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    format!("line: {line}, column: {column}")
}

/// Words the first syntax error of a body; `None` where this scanner finds none.
pub fn syntax_error(body: &[u8]) -> Option<String> {
    let mut scanner = Scanner::new(body);
    match scanner.value(&mut |_, _| {}) {
        Ok(()) => None,
        Err(complaint) => Some(format!("{}{}", complaint.text, place(body, complaint.offset))),
    }
}

struct Complaint {
    text: String,
    offset: usize,
}

/// Walks JSON text without keeping values; knows where every value starts.
struct Scanner<'a> {
    body: &'a [u8],
    at: usize,
    open: Vec<(u8, usize)>,
    path: Vec<String>,
}

/// Deepest nesting that the scanner follows, as Jackson's own limit.
const MAX_DEPTH: usize = 1_000;

impl<'a> Scanner<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self {
            body,
            at: 0,
            open: Vec::new(),
            path: Vec::new(),
        }
    }

    fn find(mut self, wanted: &[&str]) -> Option<usize> {
        let mut found = None;
        let _ = self.value(&mut |path: &[String], start| {
            if found.is_none() && path.iter().map(String::as_str).eq(wanted.iter().copied()) {
                found = Some(start);
            }
        });
        found
    }

    fn blank(&mut self) {
        while self.body.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn end_of_input(&self) -> Complaint {
        let text = match self.open.last() {
            Some((bracket, start)) => {
                let kind = if *bracket == b'{' { "Object" } else { "Array" };
                format!(
                    "Unexpected end-of-input: expected close marker for {kind} (start marker at {SOURCE}{}])",
                    line_column(self.body, *start)
                )
            }
            None => "No content to map due to end-of-input".to_string(),
        };
        Complaint {
            text,
            offset: self.body.len(),
        }
    }

    fn unexpected(&self, wanted: &str) -> Complaint {
        let byte = self.body.get(self.at).copied().unwrap_or(0);
        let shown = if byte.is_ascii_graphic() || byte == b' ' {
            char::from(byte)
        } else {
            '?'
        };
        Complaint {
            text: format!("Unexpected character ('{shown}' (code {byte})): {wanted}"),
            offset: self.at + 1,
        }
    }

    fn value(&mut self, visit: &mut dyn FnMut(&[String], usize)) -> Result<(), Complaint> {
        self.blank();
        let start = self.at;
        visit(&self.path, start);
        match self.body.get(self.at) {
            None => Err(self.end_of_input()),
            Some(b'{') => self.members(visit),
            Some(b'[') => self.items(visit),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => {
                while self
                    .body
                    .get(self.at)
                    .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
                {
                    self.at += 1;
                }
                Ok(())
            }
            Some(byte) if byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$') => self.word(),
            Some(_) => Err(self.unexpected(
                "expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
            )),
        }
    }

    fn word(&mut self) -> Result<(), Complaint> {
        let start = self.at;
        while self
            .body
            .get(self.at)
            .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'))
        {
            self.at += 1;
        }
        let word = &self.body[start..self.at];
        if matches!(word, b"null" | b"true" | b"false") {
            return Ok(());
        }
        Err(Complaint {
            text: format!(
                "Unrecognized token '{}': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
                String::from_utf8_lossy(word)
            ),
            // The parser has looked one character further.
            offset: (self.at + 1).min(self.body.len()),
        })
    }

    fn string(&mut self) -> Result<String, Complaint> {
        let start = self.at + 1;
        self.at = start;
        while let Some(byte) = self.body.get(self.at) {
            match byte {
                b'"' => {
                    let text = String::from_utf8_lossy(&self.body[start..self.at]).into_owned();
                    self.at += 1;
                    return Ok(text);
                }
                b'\\' => self.at += 2,
                0..=0x1f => {
                    return Err(Complaint {
                        text: format!(
                            "Illegal unquoted character ((CTRL-CHAR, code {byte})): has to be escaped using backslash to be included in string value"
                        ),
                        offset: self.at + 1,
                    });
                }
                _ => self.at += 1,
            }
        }
        Err(Complaint {
            text: "Unexpected end-of-input: was expecting closing quote for a string value".to_string(),
            offset: self.body.len(),
        })
    }

    fn enter(&mut self, bracket: u8) -> Result<(), Complaint> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Complaint {
                text: format!(
                    "Document nesting depth ({}) exceeds the maximum allowed ({MAX_DEPTH}, from `StreamReadConstraints.getMaxNestingDepth()`)",
                    MAX_DEPTH + 1
                ),
                offset: self.at + 1,
            });
        }
        self.open.push((bracket, self.at));
        self.at += 1;
        self.blank();
        Ok(())
    }

    fn members(&mut self, visit: &mut dyn FnMut(&[String], usize)) -> Result<(), Complaint> {
        self.enter(b'{')?;
        if self.body.get(self.at) == Some(&b'}') {
            return self.leave();
        }
        loop {
            self.blank();
            match self.body.get(self.at) {
                None => return Err(self.end_of_input()),
                Some(b'"') => {}
                Some(_) => return Err(self.unexpected("was expecting double-quote to start field name")),
            }
            let name = self.string()?;
            self.blank();
            match self.body.get(self.at) {
                None => return Err(self.end_of_input()),
                Some(b':') => self.at += 1,
                Some(_) => return Err(self.unexpected("was expecting a colon to separate field name and value")),
            }
            self.path.push(name);
            self.value(visit)?;
            self.path.pop();
            if self.next(b'}', "was expecting comma to separate Object entries")? {
                return self.leave();
            }
        }
    }

    fn items(&mut self, visit: &mut dyn FnMut(&[String], usize)) -> Result<(), Complaint> {
        self.enter(b'[')?;
        if self.body.get(self.at) == Some(&b']') {
            return self.leave();
        }
        for index in 0_usize.. {
            self.path.push(index.to_string());
            self.value(visit)?;
            self.path.pop();
            if self.next(b']', "was expecting comma to separate Array entries")? {
                break;
            }
        }
        self.leave()
    }

    /// Steps over a comma, or tells that the closing bracket is next.
    fn next(&mut self, close: u8, wanted: &str) -> Result<bool, Complaint> {
        self.blank();
        match self.body.get(self.at) {
            None => Err(self.end_of_input()),
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if *byte == close => Ok(true),
            Some(_) => Err(self.unexpected(wanted)),
        }
    }

    fn leave(&mut self) -> Result<(), Complaint> {
        self.open.pop();
        self.at += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_those_of_jackson() {
        let cut = syntax_error(br#"{"query": "SELECT 1""#).unwrap();
        assert_eq!(
            cut,
            format!(
                "Unexpected end-of-input: expected close marker for Object (start marker at {SOURCE}line: 1, column: 1])\n at {SOURCE}line: 1, column: 21]"
            )
        );
        let token = syntax_error(br#"{"query": nope}"#).unwrap();
        assert!(token.ends_with("line: 1, column: 16]"), "{token}");
        let parameter = br#"{"query": "SELECT ?", "parameters": [{"type": "STRING", "value": "AU"}]}"#;
        assert!(at(parameter, &["parameters", "0", "type"]).ends_with("column: 47]"));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = syntax_error(&body);
            let _ = at(&body, &["a", "0"]);
            let _ = at_end(&body);
        }
    }
}
