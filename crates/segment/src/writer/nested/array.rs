//! Collects columns of arrays of strings, longs or doubles; see [`super::variant`] for the bytes.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::super::lists::Lists;
use super::Target;
use super::values::{NULL, Values};
use super::variant::{self, Kind};
use crate::container::SmooshWriter;
use crate::{IndexSpec, SegmentError, ValueType};

/// Collects a column of arrays.
#[derive(Debug)]
pub(in crate::writer) struct ArrayWriter {
    name: String,
    element: ValueType,
    values: Values,
    rows: Vec<u32>,
}

impl ArrayWriter {
    /// Starts a column; arrays of floats are stored as doubles, as Druid does.
    pub fn new(name: &str, element: ValueType) -> Self {
        Self {
            name: name.to_owned(),
            element: match element {
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

    /// Appends lists whose elements Arrow casts to the column's.
    pub fn append(&mut self, array: &ArrayRef) -> Result<(), SegmentError> {
        if *array.data_type() == DataType::Null {
            self.rows.resize(self.rows.len() + array.len(), NULL);
            return Ok(());
        }
        let wanted = crate::schema::list_of(self.element.arrow());
        let is_list = matches!(
            array.data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _)
        );
        let casted = match is_list {
            true => cast(array, &wanted).map_err(|e| e.to_string()),
            false => Err("use an array".to_owned()),
        };
        let lists = casted.map_err(|e| {
            SegmentError::invalid(format!(
                "column [{}] of type ARRAY<{}> cannot take values of type {}: {e}",
                self.name,
                self.element.name(),
                array.data_type()
            ))
        })?;
        let lists = Lists::new(lists.as_list::<i32>())?;
        let ids = self.elements(&lists.values);
        for row in lists.rows() {
            let id = row.map_or(NULL, |elements| self.values.array(&ids[elements]));
            self.rows.push(id);
        }
        self.values.check(&self.name)
    }

    fn elements(&mut self, elements: &ArrayRef) -> Vec<u32> {
        let values = &mut self.values;
        match self.element {
            ValueType::String => {
                let texts = elements.as_string::<i32>().iter();
                texts.map(|v| v.map_or(NULL, |v| values.string(v))).collect()
            }
            ValueType::Long => {
                let longs = elements.as_primitive::<Int64Type>().iter();
                longs.map(|v| v.map_or(NULL, |v| values.long(v))).collect()
            }
            ValueType::Double | ValueType::Float => {
                let doubles = elements.as_primitive::<Float64Type>().iter();
                doubles.map(|v| v.map_or(NULL, |v| values.double(v))).collect()
            }
        }
    }

    /// Writes the column and its sub-files.
    pub fn finish(self, smoosh: &mut SmooshWriter, spec: &IndexSpec) -> Result<(), SegmentError> {
        let target = Target { name: &self.name, spec };
        let kind = Kind::Arrays(match self.element {
            ValueType::String => "ARRAY<STRING>",
            ValueType::Long => "ARRAY<LONG>",
            ValueType::Double | ValueType::Float => "ARRAY<DOUBLE>",
        });
        variant::write(&target, smoosh, &self.values.rank(), &self.rows, kind, true)
    }
}
