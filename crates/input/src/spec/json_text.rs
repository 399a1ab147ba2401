//! Reads the JSON of a source or a format, and words its errors as Jackson does, since Druid's clients show them.

use serde_json::{Map, Value};

use crate::error::InputError;

/// One of the JSON texts of an `EXTERN`.
pub(crate) struct JsonText<'a> {
    field: &'static str,
    class: &'static str,
    known_types: &'static str,
    text: &'a str,
}

impl<'a> JsonText<'a> {
    pub(crate) fn source(text: &'a str) -> Self {
        Self {
            field: "inputSource",
            class: "org.apache.druid.data.input.InputSource",
            known_types: "[combining, http, inline, local, nil, sql]",
            text,
        }
    }

    pub(crate) fn format(text: &'a str) -> Self {
        Self {
            field: "inputFormat",
            class: "org.apache.druid.data.input.InputFormat",
            known_types: "[csv, json, lines, orc, parquet, regex, tsv]",
            text,
        }
    }

    pub(crate) fn signature(text: &'a str) -> Self {
        Self {
            field: "rowSignature",
            class: "java.util.ArrayList<org.apache.druid.segment.column.ColumnSignature>",
            known_types: "",
            text,
        }
    }

    /// Reads the list of a signature.
    pub(crate) fn list(&self) -> Result<Vec<Value>, InputError> {
        let (kind, token) = match self.value()? {
            Value::Array(list) => return Ok(list),
            Value::Object(_) => ("Object", "END_OBJECT"),
            Value::String(_) => ("String", "VALUE_STRING"),
            Value::Number(number) if number.is_f64() => ("Floating-point", "VALUE_NUMBER_FLOAT"),
            Value::Number(_) => ("Integer", "VALUE_NUMBER_INT"),
            Value::Bool(true) => ("Boolean", "VALUE_TRUE"),
            Value::Bool(false) => ("Boolean", "VALUE_FALSE"),
            Value::Null => ("Null", "VALUE_NULL"),
        };
        let what = format!(
            "Cannot deserialize value of type `{}` from {kind} value (token `JsonToken.{token}`)",
            self.class
        );
        Err(self.invalid(&what, self.place(0)))
    }

    /// Words the error of a column or signature that cannot be; `class` is Druid's.
    pub(crate) fn no_signature(&self, class: &str, problem: &str) -> InputError {
        let what =
            format!("Cannot construct instance of `org.apache.druid.segment.column.{class}`, problem: {problem}");
        self.invalid(&what, self.place(self.text.trim_end().len().saturating_sub(1)))
    }

    /// Reads the object and its type.
    pub(crate) fn parse(&self) -> Result<(String, Map<String, Value>), InputError> {
        let Value::Object(object) = self.value()? else {
            let what = format!(
                "Unexpected JSON value, expected an Object to construct instance of `{}`",
                self.class
            );
            return Err(self.invalid(&what, self.place(0)));
        };
        match object.get("type") {
            Some(Value::String(name)) => Ok((name.clone(), object)),
            _ => {
                let what = format!(
                    "Could not resolve subtype of [simple type, class {}]: missing type id property 'type'",
                    self.class
                );
                Err(self.invalid(&what, self.place(self.text.trim_end().len().saturating_sub(1))))
            }
        }
    }

    fn value(&self) -> Result<Value, InputError> {
        if self.text.trim().is_empty() {
            let line = 1 + self.text.matches('\n').count();
            return Err(self.invalid("No content to map due to end-of-input", format!("line: {line}")));
        }
        let start = self.text.len() - self.text.trim_start().len();
        let token: String = self.text[start..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
            .collect();
        let is_word =
            token.starts_with(|c: char| !c.is_ascii_digit()) && !["null", "true", "false"].contains(&token.as_str());
        if !token.is_empty() && is_word {
            let what = format!(
                "Unrecognized token '{token}': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
            );
            return Err(self.invalid(&what, self.place(start + token.len())));
        }
        serde_json::from_str(self.text).map_err(|e| {
            if e.is_eof() {
                let what = match self.text.trim() {
                    "[" | "{" => {
                        let kind = if self.text.trim() == "[" { "Array" } else { "Object" };
                        format!(
                            "Unexpected end-of-input: expected close marker for {kind} (start marker at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); {}])",
                            self.place(start)
                        )
                    }
                    _ => "Unexpected end-of-input within/between Object entries".to_string(),
                };
                self.invalid(&what, self.place(self.text.len()))
            } else {
                let what = e.to_string();
                let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
                self.invalid(what, format!("line: {}, column: {}", e.line(), e.column()))
            }
        })
    }

    /// Words the error of a type that nobody knows.
    pub(crate) fn unknown_type(&self, name: &str) -> InputError {
        let what = format!(
            "Please make sure to load all the necessary extensions and jars with type '{name}' on 'druid/broker' service. \
             Could not resolve type id '{name}' as a subtype of `{}` known type ids = {}",
            self.class, self.known_types
        );
        self.invalid(&what, self.place(self.type_offset()))
    }

    /// Words the error of an object whose properties do not go together; `class` is Druid's.
    pub(crate) fn problem(&self, class: &str, problem: &str) -> InputError {
        let what =
            format!("Cannot construct instance of `org.apache.druid.data.input.impl.{class}`, problem: {problem}");
        self.invalid(&what, self.place(self.text.trim_end().len().saturating_sub(1)))
    }

    /// Words the error of a property of the wrong type.
    pub(crate) fn property(&self, name: &str, expected: &str) -> InputError {
        let what = format!("Cannot deserialize property [{name}], expected {expected}");
        self.invalid(&what, self.place(self.text.trim_end().len().saturating_sub(1)))
    }

    fn invalid(&self, what: &str, place: String) -> InputError {
        InputError::InvalidJson {
            field: self.field,
            reason: format!(
                "{what}\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); {place}]"
            ),
        }
    }

    /// Gives line and column of a byte, both from one, columns in UTF-16 units as Java counts.
    fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        let last = before.rsplit('\n').next().unwrap_or_default();
        format!("line: {line}, column: {}", 1 + last.encode_utf16().count())
    }

    /// Finds where the value of the first `"type"` begins.
    fn type_offset(&self) -> usize {
        let Some(key) = self.text.find("\"type\"") else {
            return 0;
        };
        let after = key + "\"type\"".len();
        let rest = &self.text[after..];
        rest.find('"').map_or(after, |quote| after + quote)
    }
}

/// Reads properties out of an object; absent and null are the same.
pub(crate) struct Properties<'a> {
    pub(crate) text: &'a JsonText<'a>,
    pub(crate) object: &'a Map<String, Value>,
}

impl Properties<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn string(&self, name: &str) -> Result<Option<String>, InputError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
            Some(_) => Err(self.text.property(name, "a string")),
        }
    }

    pub(crate) fn bool(&self, name: &str) -> Result<Option<bool>, InputError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text == "true" || text == "false" => Ok(Some(text == "true")),
            Some(_) => Err(self.text.property(name, "true or false")),
        }
    }

    pub(crate) fn count(&self, name: &str) -> Result<Option<u32>, InputError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match number.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(n) => Ok(Some(n)),
                None => Err(self.text.property(name, "a whole number from 0 to 4294967295")),
            },
            // The table functions of Druid's documentation give a boolean here.
            Some(Value::Bool(flag)) => Ok(Some(u32::from(*flag))),
            Some(Value::String(text)) => match text.parse() {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(self.text.property(name, "a whole number from 0 to 4294967295")),
            },
            Some(_) => Err(self.text.property(name, "a whole number from 0 to 4294967295")),
        }
    }

    pub(crate) fn strings(&self, name: &str) -> Result<Option<Vec<String>>, InputError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_string))
                .collect::<Option<Vec<_>>>()
                .map(Some)
                .ok_or_else(|| self.text.property(name, "a list of strings")),
            Some(_) => Err(self.text.property(name, "a list of strings")),
        }
    }

    pub(crate) fn string_map(&self, name: &str) -> Result<Vec<(String, String)>, InputError> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(key, value)| Some((key.clone(), value.as_str()?.to_string())))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| self.text.property(name, "an object of strings")),
            Some(_) => Err(self.text.property(name, "an object of strings")),
        }
    }

    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}
