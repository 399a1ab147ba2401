//! "Auto" columns of one primitive type.
//!
//! ```text
//! <column>.__stringDictionary                                strings, null first, always
//! <column>.__longDictionary, __longColumn                    distinct longs with null, values (0 for null)
//! <column>.__doubleDictionary, __doubleColumn                likewise
//! <column>.__encodedColumn                                   ids, one a row
//! <column>.__valueIndexes                                    a bitmap for each id, null's too
//! ```
//! Mirrors `ScalarStringColumnSerializer`, `ScalarLongColumnSerializer`, `ScalarDoubleColumnSerializer`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{Float64Type, Int64Type};

use super::super::bitmaps;
use super::super::cast_values;
use super::super::numeric::NumericWriter;
use super::values::{NULL, RankedValues, Values};
use super::{Description, Target};
use crate::codec::compression::Compressor;
use crate::container::SmooshWriter;
use crate::{IndexSpec, SegmentError, ValueType};

/// Collects an "auto" column whose type is given.
#[derive(Debug)]
pub(in crate::writer) struct AutoScalarWriter {
    name: String,
    value_type: ValueType,
    values: Values,
    rows: Vec<u32>,
}

impl AutoScalarWriter {
    /// Starts a column; floats are stored as doubles, as Druid does.
    pub fn new(name: &str, value_type: ValueType) -> Self {
        Self {
            name: name.to_owned(),
            value_type: match value_type {
                ValueType::Float => ValueType::Double,
                other => other,
            },
            values: Values::default(),
            rows: Vec::new(),
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.values.memory_bytes() + self.rows.capacity() * 4
    }

    /// Appends values of any type that Arrow casts to the column's.
    pub fn append(&mut self, array: &ArrayRef) -> Result<(), SegmentError> {
        let array = cast_values(&self.name, self.value_type, array)?;
        let values = &mut self.values;
        match self.value_type {
            ValueType::String => {
                let texts = array.as_string::<i32>().iter();
                self.rows.extend(texts.map(|v| v.map_or(NULL, |v| values.string(v))));
            }
            ValueType::Long => {
                let longs = array.as_primitive::<Int64Type>().iter();
                self.rows.extend(longs.map(|v| v.map_or(NULL, |v| values.long(v))));
            }
            ValueType::Double | ValueType::Float => {
                let doubles = array.as_primitive::<Float64Type>().iter();
                self.rows.extend(doubles.map(|v| v.map_or(NULL, |v| values.double(v))));
            }
        }
        self.values.check(&self.name)
    }

    /// Writes the column and its sub-files.
    pub fn finish(self, smoosh: &mut SmooshWriter, spec: &IndexSpec) -> Result<(), SegmentError> {
        let target = Target { name: &self.name, spec };
        write(&target, smoosh, &self.values.rank(), &self.rows, self.value_type, true)
    }
}

/// Writes a column from the provisional ids of its rows.
pub(super) fn write(
    target: &Target<'_>,
    smoosh: &mut SmooshWriter,
    values: &RankedValues,
    rows: &[u32],
    value_type: ValueType,
    is_enforced: bool,
) -> Result<(), SegmentError> {
    let description = Description {
        logical_type: value_type.name(),
        has_nulls: rows.contains(&NULL),
        is_variant: false,
        is_enforced,
    };
    target.write_base(smoosh, &description, &[])?;
    let ids: Vec<u32> = rows.iter().map(|row| values.id(*row)).collect();
    match value_type {
        ValueType::String => values.write_strings(smoosh, target)?,
        ValueType::Long => values.write_longs(smoosh, target)?,
        ValueType::Double | ValueType::Float => values.write_doubles(smoosh, target)?,
    }
    target.write_ids(smoosh, &ids, values.cardinality())?;
    if value_type != ValueType::String {
        let part = number_part(values, rows, value_type, target.spec).map_err(|e| smoosh.write_error(e))?;
        let file = if value_type == ValueType::Long {
            "__longColumn"
        } else {
            "__doubleColumn"
        };
        smoosh.add(&target.file(file), &[&part])?;
    }
    let bitmaps = bitmaps::index(&ids, None, values.cardinality(), target.spec.bitmap);
    target.write_list(smoosh, "__valueIndexes", &bitmaps)
}

/// Encodes the numbers of rows, 0 for null.
pub(super) fn number_part(
    values: &RankedValues,
    rows: &[u32],
    value_type: ValueType,
    spec: &IndexSpec,
) -> std::io::Result<Vec<u8>> {
    let spec = &spec.auto_numbers(value_type == ValueType::Long);
    let mut compressor = Compressor::new(spec.metric_compression)?;
    let array: ArrayRef = match value_type {
        ValueType::Long => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| values.long(*row)))),
        _ => Arc::new(Float64Array::from_iter_values(
            rows.iter().map(|row| values.double(*row)),
        )),
    };
    let mut writer = NumericWriter::new("", value_type, spec);
    writer.append(&array, &mut compressor).map_err(std::io::Error::other)?;
    let part = writer.encode(&mut compressor)?;
    let mut out = Vec::with_capacity(part.serialized_len() as usize);
    part.write(&mut out)?;
    Ok(out)
}
