//! JSON columns.
//!
//! ```text
//! <column>                                            … │ dictionary of field paths │ u8 types of each field
//! <column>.__stringDictionary … .__arrayDictionary    the values of all fields
//! <column>.__raw, __raw_offsets, __raw_compressed     blob column: the value of a row as SMILE, nothing for null
//! <column>.__nullIndex                                i32 length │ bitmap of the null rows, where there are any
//! <column>.__field_<i>                                a field, see `fields`
//! ```
//! Mirrors `NestedDataColumnSerializer`, and for "auto" columns `AutoTypeColumnMerger`, which takes the narrowest form:
//!
//! 1. no value at all: strings, all null
//! 2. only the root has values, of one type: scalars or arrays of it; of several: a variant
//! 3. anything else, and every column that was declared JSON: the form above

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::super::bitmaps;
use super::fields::{FieldTypes, Fields, FinishedFields};
use super::variant::{self, Kind};
use super::{Description, Target, scalar, types};
use crate::codec::block_store::BlobColumnWriter;
use crate::codec::json_text::{self, Json};
use crate::codec::smile_writer::SmileWriter;
use crate::container::SmooshWriter;
use crate::{IndexSpec, SegmentError, ValueType};

/// Collects a column of JSON values.
#[derive(Debug)]
pub(in crate::writer) struct JsonWriter {
    name: String,
    is_auto: bool,
    rows: u32,
    null_rows: Vec<u32>,
    fields: Fields,
    /// None where values are not stored whole.
    raw: Option<BlobColumnWriter>,
    smile: SmileWriter,
    document: Vec<u8>,
}

impl JsonWriter {
    /// Starts a column; an "auto" column takes the narrowest form that holds its values.
    pub fn new(name: &str, spec: &IndexSpec, is_auto: bool) -> std::io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            is_auto,
            rows: 0,
            null_rows: Vec::new(),
            fields: Fields::new(),
            raw: spec.json_compression.map(BlobColumnWriter::new).transpose()?,
            smile: SmileWriter::default(),
            document: Vec::new(),
        })
    }

    pub fn memory_bytes(&self) -> usize {
        let raw = self.raw.as_ref().map_or(0, BlobColumnWriter::memory_bytes);
        self.fields.memory_bytes() + self.null_rows.capacity() * 4 + raw
    }

    /// Appends JSON texts.
    pub fn append(&mut self, array: &ArrayRef) -> Result<(), SegmentError> {
        let is_text = match array.data_type() {
            DataType::Dictionary(_, value) => is_text(value),
            other => is_text(other),
        };
        let texts = match is_text {
            true => cast(array, &DataType::Utf8).map_err(|e| e.to_string()),
            false => Err("give its text".to_owned()),
        };
        let texts = texts.map_err(|e| {
            SegmentError::invalid(format!(
                "column [{}] of type COMPLEX<json> cannot take values of type {}: {e}",
                self.name,
                array.data_type()
            ))
        })?;
        self.append_texts(texts.as_string::<i32>())?;
        self.fields.check(&self.name)
    }

    fn append_texts(&mut self, texts: &StringArray) -> Result<(), SegmentError> {
        for text in texts {
            let value = match text {
                None => Json::Null,
                Some(text) => json_text::parse(text).map_err(|e| {
                    SegmentError::invalid(format!(
                        "row {} of column [{}] of type COMPLEX<json> is not JSON: expected {} at byte {}, found {}",
                        self.rows,
                        self.name,
                        e.expectation,
                        e.offset,
                        shortened(text)
                    ))
                })?,
            };
            self.document.clear();
            if value == Json::Null {
                self.null_rows.push(self.rows);
            } else {
                self.fields.append(self.rows, &value);
                if self.raw.is_some() {
                    self.smile.write(&value, &mut self.document);
                }
            }
            if let Some(raw) = &mut self.raw {
                raw.push(&self.document)
                    .map_err(|e| match e.downcast::<SegmentError>() {
                        Ok(own) => own,
                        Err(e) => SegmentError::invalid(format!("column [{}] cannot be compressed: {e}", self.name)),
                    })?;
            }
            self.rows += 1;
        }
        Ok(())
    }

    /// Writes the column and its sub-files.
    pub fn finish(self, smoosh: &mut SmooshWriter, spec: &IndexSpec) -> Result<(), SegmentError> {
        let target = Target { name: &self.name, spec };
        let rows = self.rows as usize;
        let has_objects = self.fields.has_objects;
        let fields = self.fields.finish();
        if self.is_auto && !has_objects && write_narrow(&target, smoosh, &fields, rows)? {
            return Ok(());
        }
        let description = Description {
            logical_type: "COMPLEX<json>",
            has_nulls: !self.null_rows.is_empty(),
            is_variant: false,
            is_enforced: false,
        };
        let head = fields
            .head(spec.auto.field_encoding)
            .map_err(|e| smoosh.write_error(e))?;
        target.write_base(smoosh, &description, &head)?;
        fields.values.write_all(smoosh, &target)?;
        if let Some(raw) = self.raw {
            raw.finish(smoosh, &target.file("__raw"))?;
        }
        if !self.null_rows.is_empty() {
            let nulls = bitmaps::null_index(&self.null_rows, spec.bitmap);
            smoosh.add(&target.file("__nullIndex"), &[&nulls])?;
        }
        fields.write(&target, smoosh, rows)
    }
}

/// Writes a column without objects in the narrowest form, and tells whether there is one.
fn write_narrow(
    target: &Target<'_>,
    smoosh: &mut SmooshWriter,
    fields: &FinishedFields,
    rows: usize,
) -> Result<bool, SegmentError> {
    let values = &fields.values;
    if fields.len() == 0 {
        scalar::write(
            target,
            smoosh,
            values,
            &fields.root_rows(rows),
            ValueType::String,
            false,
        )?;
        return Ok(true);
    }
    let Some(root) = fields.only_root() else {
        return Ok(false);
    };
    let ids = fields.root_rows(rows);
    let mut scalars = |value_type| scalar::write(target, smoosh, values, &ids, value_type, false);
    match root {
        FieldTypes::One(types::STRING) => scalars(ValueType::String)?,
        FieldTypes::One(types::LONG) => scalars(ValueType::Long)?,
        FieldTypes::One(types::DOUBLE) => scalars(ValueType::Double)?,
        FieldTypes::One(set) => {
            let kind = Kind::Arrays(types::logical(set));
            variant::write(target, smoosh, values, &ids, kind, false)?;
        }
        FieldTypes::Several(set) => {
            variant::write(target, smoosh, values, &ids, Kind::Variant(set), false)?;
        }
    }
    Ok(true)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::Null
    )
}

/// Gives the beginning of a text, for errors.
fn shortened(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
