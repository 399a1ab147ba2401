//! Columns of objects whose bytes are given: sketches, histograms.
//!
//! ```text
//! str descriptor │ GenericIndexed, one value a row; null is the null marker, an empty object no bytes
//! ```
//! Mirrors `LargeColumnSupportedComplexColumnSerializer`.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::descriptor;
use crate::SegmentError;
use crate::codec::generic_indexed::GenericIndexedWriter;
use crate::container::SmooshWriter;
use crate::limits::GENERIC_INDEXED_BYTES;

/// Collects a column of objects.
#[derive(Debug)]
pub(super) struct ObjectWriter {
    name: String,
    type_name: String,
    values: GenericIndexedWriter,
}

impl ObjectWriter {
    pub fn new(name: &str, type_name: &str) -> Self {
        Self {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            values: GenericIndexedWriter::default(),
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.values.memory_bytes()
    }

    /// Appends binary values as they are.
    pub fn append(&mut self, array: &ArrayRef) -> Result<(), SegmentError> {
        let is_binary = matches!(
            array.data_type(),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::Null
        );
        let binary = match is_binary {
            true => cast(array, &DataType::Binary).map_err(|e| e.to_string()),
            false => Err("give its bytes".to_owned()),
        };
        let binary = binary.map_err(|e| {
            SegmentError::invalid(format!(
                "column [{}] of type COMPLEX<{}> cannot take values of type {}: {e}",
                self.name,
                self.type_name,
                array.data_type()
            ))
        })?;
        for value in binary.as_binary::<i32>() {
            match value {
                Some(value) => self.values.push(value),
                None => self.values.push_null(),
            }
            if self.values.serialized_len() > GENERIC_INDEXED_BYTES {
                return Err(SegmentError::Limit {
                    what: format!("the size in bytes of column [{}]", self.name),
                    actual: self.values.serialized_len(),
                    limit: GENERIC_INDEXED_BYTES,
                    remedy: "write smaller segments (fewer rows per segment)",
                });
            }
        }
        Ok(())
    }

    /// Writes the column as an internal file.
    pub fn finish(self, smoosh: &mut SmooshWriter) -> Result<(), SegmentError> {
        let type_name = serde_json::Value::from(self.type_name);
        let part = format!(r#""type":"complex","typeName":{type_name}"#);
        let descriptor = descriptor("COMPLEX", false, &part);
        smoosh.begin(&self.name, descriptor.len() as u64 + self.values.serialized_len())?;
        smoosh
            .write_all(&descriptor)
            .and_then(|()| self.values.write(false, smoosh))
            .map_err(|e| smoosh.write_error(e))?;
        smoosh.end()
    }
}
