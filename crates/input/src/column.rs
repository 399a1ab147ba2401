//! Typed columns under construction: takes fields as parsed and gives Arrow arrays, by the rules of section 15 of the
//! dialect (Druid: `Rows.objectToStrings`, `Rows.objectToNumber`). What does not fit is null, not an error.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, ListArray, NullBufferBuilder, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;

use crate::json::raw::{Kind, RawJson};
use crate::number;
use crate::spec::{ExternColumn, ExternType};

/// A column under construction.
pub(crate) struct Column {
    values: Values,
    nulls: NullBufferBuilder,
    column_type: ExternType,
}

enum Values {
    Text(Text),
    /// `COMPLEX`: the JSON text of any value.
    Json(Text),
    Long(Vec<i64>),
    Double(Vec<f64>),
    Float(Vec<f32>),
    List(List),
}

/// Strings; `data` is sound UTF-8 because only `&str` goes in.
struct Text {
    offsets: Vec<i32>,
    data: Vec<u8>,
}

struct List {
    offsets: Vec<i32>,
    items: Box<Column>,
    field: FieldRef,
    /// Whether this is a multi-value string, where an empty list is null, rather than an array, where it is empty.
    multi_value: bool,
}

/// A value that can in no way become a value of its column: an object in an ARRAY column.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub message: String,
}

impl Text {
    fn with_capacity(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            offsets,
            data: Vec::new(),
        }
    }

    #[inline]
    fn end(&mut self) {
        // A batch ends at `MAX_BATCH_BYTES` and a row at `max_row_bytes`, which together stay below 2 GiB.
        self.offsets.push(self.data.len() as i32);
    }

    #[inline]
    fn push(&mut self, text: &str) {
        self.data.extend_from_slice(text.as_bytes());
        self.end();
    }

    fn finish(&mut self, rows: usize, nulls: Option<arrow::buffer::NullBuffer>) -> Result<StringArray, ArrowError> {
        let Self { offsets, data } = std::mem::replace(self, Self::with_capacity(rows));
        self.data.reserve(data.len());
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        StringArray::try_new(offsets, Buffer::from_vec(data), nulls)
    }
}

impl Column {
    pub(crate) fn new(column: &ExternColumn, rows: usize) -> Self {
        if column.column_type == ExternType::String && column.multi_value {
            let field = Arc::new(Field::new("item", DataType::Utf8, true));
            return Self::list(ExternType::String, field, true, rows, ExternType::String);
        }
        Self::of_type(&column.column_type, rows)
    }

    fn of_type(column_type: &ExternType, rows: usize) -> Self {
        let values = match column_type {
            ExternType::String => Values::Text(Text::with_capacity(rows)),
            ExternType::Complex(_) => Values::Json(Text::with_capacity(rows)),
            ExternType::Long => Values::Long(Vec::with_capacity(rows)),
            ExternType::Double => Values::Double(Vec::with_capacity(rows)),
            ExternType::Float => Values::Float(Vec::with_capacity(rows)),
            ExternType::Array(item) => {
                let field = Arc::new(Field::new("item", item.data_type(), true));
                return Self::list(column_type.clone(), field, false, rows, (**item).clone());
            }
        };
        Self {
            values,
            nulls: NullBufferBuilder::new(rows),
            column_type: column_type.clone(),
        }
    }

    fn list(column_type: ExternType, field: FieldRef, multi_value: bool, rows: usize, item: ExternType) -> Self {
        Self {
            values: Values::List(List {
                offsets: vec![0],
                items: Box::new(Self::of_type(&item, rows)),
                field,
                multi_value,
            }),
            nulls: NullBufferBuilder::new(rows),
            column_type,
        }
    }

    #[inline]
    pub(crate) fn push_null(&mut self) {
        self.nulls.append_null();
        match &mut self.values {
            Values::Text(text) | Values::Json(text) => text.end(),
            Values::Long(values) => values.push(0),
            Values::Double(values) => values.push(0.0),
            Values::Float(values) => values.push(0.0),
            Values::List(list) => list.end(),
        }
    }

    /// Adds a field of a text format, or a string of JSON.
    #[inline]
    pub(crate) fn push_text(&mut self, text: &str) {
        match &mut self.values {
            Values::Text(values) => {
                values.push(text);
                self.nulls.append_non_null();
            }
            Values::Long(values) => {
                let value = number::text_long(text);
                values.push(value.unwrap_or(0));
                self.nulls.append(value.is_some());
            }
            Values::Double(values) => {
                let value = number::text_double(text);
                values.push(value.unwrap_or(0.0));
                self.nulls.append(value.is_some());
            }
            Values::Float(values) => {
                let value = number::text_double(text);
                values.push(value.unwrap_or(0.0) as f32);
                self.nulls.append(value.is_some());
            }
            Values::Json(values) => {
                push_quoted(text, &mut values.data);
                values.end();
                self.nulls.append_non_null();
            }
            Values::List(list) => {
                list.items.push_text(text);
                list.end();
                self.nulls.append_non_null();
            }
        }
    }

    /// Adds a field of a text format that holds several values.
    pub(crate) fn push_texts<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        match &mut self.values {
            Values::List(list) => {
                texts.for_each(|text| list.items.push_text(text));
                list.end();
                self.nulls.append_non_null();
            }
            Values::Text(values) | Values::Json(values) => {
                values.data.push(b'[');
                for (i, text) in texts.enumerate() {
                    if i > 0 {
                        values.data.push(b',');
                    }
                    push_quoted(text, &mut values.data);
                }
                values.data.push(b']');
                values.end();
                self.nulls.append_non_null();
            }
            // A list is no number.
            Values::Long(_) | Values::Double(_) | Values::Float(_) => self.push_null(),
        }
    }

    /// Adds a JSON value. `scratch` is room for unescaped text.
    #[inline]
    pub(crate) fn push_json(&mut self, value: RawJson<'_>, scratch: &mut String) -> Result<(), Misfit> {
        match (&mut self.values, value.kind) {
            (_, Kind::Null) => self.push_null(),
            (Values::Json(values), _) => {
                push_compact(value.raw.as_bytes(), &mut values.data);
                values.end();
                self.nulls.append_non_null();
            }
            (Values::List(_), _) => return self.push_json_list(value, scratch),
            (Values::Text(values), Kind::Text) => {
                values.push(value.content());
                self.nulls.append_non_null();
            }
            (_, Kind::Text) => self.push_text(value.content()),
            (_, Kind::EscapedText) => {
                scratch.clear();
                value.unescape(scratch);
                self.push_text(scratch);
            }
            (Values::Text(values), Kind::Array) => {
                let present = push_array_text(value, &mut values.data, scratch);
                values.end();
                self.nulls.append(present);
            }
            (Values::Text(values), _) => {
                scratch.clear();
                value.write_java(scratch);
                values.push(scratch);
                self.nulls.append_non_null();
            }
            (Values::Long(values), Kind::Number) => {
                // Beyond 64 bits Jackson's number is a double, whose long saturates.
                let long =
                    number::exact_long(value.raw.as_bytes()).or_else(|| value.double().map(|double| double as i64));
                values.push(long.unwrap_or(0));
                self.nulls.append(long.is_some());
            }
            (Values::Double(values), Kind::Number) => {
                let double = value.double();
                values.push(double.unwrap_or(0.0));
                self.nulls.append(double.is_some());
            }
            (Values::Float(values), Kind::Number) => {
                let double = value.double();
                values.push(double.unwrap_or(0.0) as f32);
                self.nulls.append(double.is_some());
            }
            // Druid reads no number out of a boolean, a list or an object.
            (Values::Long(_) | Values::Double(_) | Values::Float(_), _) => self.push_null(),
        }
        Ok(())
    }

    fn push_json_list(&mut self, value: RawJson<'_>, scratch: &mut String) -> Result<(), Misfit> {
        let Values::List(list) = &mut self.values else {
            return Ok(());
        };
        let mut present = true;
        match value.kind {
            Kind::Array => {
                let mut empty = true;
                for item in value.items() {
                    empty = false;
                    match (item.kind, &list.items.values) {
                        (Kind::Object | Kind::Array, Values::Text(_)) => {
                            scratch.clear();
                            item.write_java(scratch);
                            list.items.push_text(scratch);
                        }
                        _ => list.items.push_json(item, scratch)?,
                    }
                }
                present = !(empty && list.multi_value);
            }
            Kind::Object if !list.multi_value => {
                let to = &self.column_type;
                let message = format!("Invalid type, cannot cast [COMPLEX<json>] to [{to}]");
                return Err(Misfit { message });
            }
            _ => list.items.push_json(value, scratch)?,
        }
        list.end();
        self.nulls.append(present);
        Ok(())
    }

    /// Gives the bytes of text collected so far.
    pub(crate) fn text_bytes(&self) -> usize {
        match &self.values {
            Values::Text(text) | Values::Json(text) => text.data.len(),
            Values::List(list) => list.items.text_bytes() + list.items.len() * 8,
            _ => 0,
        }
    }

    fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Gives the array and begins anew.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let rows = self.nulls.len();
        let nulls = self.nulls.finish();
        Ok(match &mut self.values {
            Values::Text(text) | Values::Json(text) => Arc::new(text.finish(rows, nulls)?),
            Values::Long(values) => {
                let next = Vec::with_capacity(values.len());
                Arc::new(Int64Array::try_new(
                    ScalarBuffer::from(std::mem::replace(values, next)),
                    nulls,
                )?)
            }
            Values::Double(values) => {
                let next = Vec::with_capacity(values.len());
                Arc::new(Float64Array::try_new(
                    ScalarBuffer::from(std::mem::replace(values, next)),
                    nulls,
                )?)
            }
            Values::Float(values) => {
                let next = Vec::with_capacity(values.len());
                Arc::new(Float32Array::try_new(
                    ScalarBuffer::from(std::mem::replace(values, next)),
                    nulls,
                )?)
            }
            Values::List(list) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut list.offsets, vec![0])));
                let items = list.items.finish()?;
                Arc::new(ListArray::try_new(Arc::clone(&list.field), offsets, items, nulls)?)
            }
        })
    }
}

impl List {
    fn end(&mut self) {
        self.offsets.push(self.items.len() as i32);
    }
}

/// Writes a JSON list in a single-value string column: nothing for an empty list, the bare text of a single value, else the
/// JSON text of the strings, which is how Druid prints a multi-value string. Tells whether it is a value.
fn push_array_text(value: RawJson<'_>, to: &mut Vec<u8>, scratch: &mut String) -> bool {
    let mut items = value.items();
    let Some(first) = items.next() else {
        return false;
    };
    let Some(second) = items.next() else {
        scratch.clear();
        first.write_java(scratch);
        if first.kind != Kind::Null {
            to.extend_from_slice(scratch.as_bytes());
        }
        return first.kind != Kind::Null;
    };
    to.push(b'[');
    for (i, item) in [first, second].into_iter().chain(items).enumerate() {
        if i > 0 {
            to.push(b',');
        }
        if item.kind == Kind::Null {
            to.extend_from_slice(b"null");
            continue;
        }
        scratch.clear();
        item.write_java(scratch);
        push_quoted(scratch, to);
    }
    to.push(b']');
    true
}

/// Writes a JSON value without the blanks between its parts.
fn push_compact(raw: &[u8], to: &mut Vec<u8>) {
    let (mut quoted, mut escaped) = (false, false);
    for &byte in raw {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b' ' | b'\t' | b'\n' | b'\r' if !quoted => continue,
            _ => {}
        }
        to.push(byte);
    }
}

/// Writes a JSON string.
pub(crate) fn push_quoted(text: &str, to: &mut Vec<u8>) {
    to.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => to.extend_from_slice(b"\\\""),
            b'\\' => to.extend_from_slice(b"\\\\"),
            b'\n' => to.extend_from_slice(b"\\n"),
            b'\r' => to.extend_from_slice(b"\\r"),
            b'\t' => to.extend_from_slice(b"\\t"),
            0..=0x1f => to.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => to.push(byte),
        }
    }
    to.push(b'"');
}
