//! Columns of objects whose bytes are given: sketches, histograms.
//!
//! ```text
//! plain        str descriptor │ GenericIndexed, one value a row; null is the null marker, an empty object no bytes
//! compressed   str descriptor │ u8 7F │ u8 0 │ str JSON {"byteOrder", "bitmapSerdeFactory", "fileNameBase", "hasNulls"}
//!              <column>.__complexColumn: blob column; <column>.__nullIndex: i32 length │ bitmap, where there are nulls
//! ```
//! Mirrors `LargeColumnSupportedComplexColumnSerializer` and `CompressedComplexColumnSerializer`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::bitmaps::null_index;
use super::{add_list, bitmap_serde, complex_descriptor};
use crate::codec::block_store::BlobColumnWriter;
use crate::codec::generic_indexed::GenericIndexedWriter;
use crate::container::SmooshWriter;
use crate::limits::GENERIC_INDEXED_BYTES;
use crate::{BitmapKind, IndexSpec, SegmentError};

/// Collects a column of objects.
#[derive(Debug)]
pub(super) struct ObjectWriter {
    name: String,
    type_name: String,
    bitmap: BitmapKind,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Plain(GenericIndexedWriter),
    Compressed {
        blobs: Box<BlobColumnWriter>,
        rows: u32,
        null_rows: Vec<u32>,
    },
}

impl ObjectWriter {
    pub fn new(name: &str, type_name: &str, spec: &IndexSpec) -> std::io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            bitmap: spec.bitmap,
            values: match spec.complex_compression {
                None => Values::Plain(GenericIndexedWriter::default()),
                Some(compression) => Values::Compressed {
                    blobs: Box::new(BlobColumnWriter::new(compression)?),
                    rows: 0,
                    null_rows: Vec::new(),
                },
            },
        })
    }

    pub fn memory_bytes(&self) -> usize {
        match &self.values {
            Values::Plain(list) => list.memory_bytes(),
            Values::Compressed { blobs, null_rows, .. } => blobs.memory_bytes() + null_rows.capacity() * 4,
        }
    }

    /// Appends binary values as they are, and texts as the bytes that they are the base64 of, as Druid reads objects from files.
    pub fn append(&mut self, array: &ArrayRef) -> Result<(), SegmentError> {
        if matches!(
            array.data_type(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        ) {
            let bytes: ArrayRef = Arc::new(self.decode(array)?);
            return self.append(&bytes);
        }
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
            let value = value.map(|image| if is_empty(&self.type_name, image) { &[] } else { image });
            self.values
                .push(value)
                .map_err(|e| match e.downcast::<SegmentError>() {
                    Ok(own) => own,
                    Err(e) => SegmentError::invalid(format!("column [{}] cannot be compressed: {e}", self.name)),
                })?;
        }
        Ok(())
    }

    fn decode(&self, array: &ArrayRef) -> Result<BinaryArray, SegmentError> {
        let texts = cast(array, &DataType::Utf8).map_err(|e| SegmentError::invalid(e.to_string()))?;
        let mut bytes = BinaryBuilder::new();
        for text in texts.as_string::<i32>() {
            bytes.append_option(text.map(|text| BASE64.decode(text)).transpose().map_err(|e| {
                SegmentError::invalid(format!(
                    "column [{}] of type COMPLEX<{}> takes objects as base64: {e}",
                    self.name, self.type_name
                ))
            })?);
        }
        Ok(bytes.finish())
    }

    /// Writes the column as an internal file, and its sub-files where it has any.
    pub fn finish(self, smoosh: &mut SmooshWriter) -> Result<(), SegmentError> {
        let descriptor = complex_descriptor(&self.type_name);
        match self.values {
            Values::Plain(list) => add_list(smoosh, &self.name, &descriptor, &list),
            Values::Compressed { blobs, null_rows, .. } => {
                let head = format!(
                    r#"{{"byteOrder":"LITTLE_ENDIAN",{},"fileNameBase":{},"hasNulls":{}}}"#,
                    bitmap_serde(self.bitmap),
                    serde_json::Value::from(self.name.as_str()),
                    !null_rows.is_empty()
                );
                let len = (head.len() as u32).to_be_bytes();
                smoosh.add(&self.name, &[&descriptor, &[0x7F, 0], &len, head.as_bytes()])?;
                if !null_rows.is_empty() {
                    let nulls = null_index(&null_rows, self.bitmap);
                    smoosh.add(&format!("{}.__nullIndex", self.name), &[&nulls])?;
                }
                blobs.finish(smoosh, &format!("{}.__complexColumn", self.name))
            }
        }
    }
}

/// Tells whether an image is that of an empty sketch, which Druid stores as no bytes.
fn is_empty(type_name: &str, image: &[u8]) -> bool {
    const IMAGE_BYTES: usize = 8;
    let (flags, empty) = match type_name {
        "HLLSketch" | "thetaSketch" => (5, 0x04),
        "quantilesDoublesSketch" => (3, 0x04),
        "KllDoublesSketch" | "KllFloatsSketch" => (3, 0x01),
        _ => return false,
    };
    image.len() == IMAGE_BYTES && image[flags] & empty != 0
}

impl Values {
    fn push(&mut self, value: Option<&[u8]>) -> std::io::Result<()> {
        match self {
            Self::Plain(list) => {
                match value {
                    Some(value) => list.push(value),
                    None => list.push_null(),
                }
                if list.serialized_len() > GENERIC_INDEXED_BYTES {
                    return Err(std::io::Error::other(SegmentError::Limit {
                        what: "the size in bytes of a column of objects".into(),
                        actual: list.serialized_len(),
                        limit: GENERIC_INDEXED_BYTES,
                        remedy: "write smaller segments (fewer rows per segment)",
                    }));
                }
                Ok(())
            }
            Self::Compressed { blobs, rows, null_rows } => {
                if value.is_none() {
                    null_rows.push(*rows);
                }
                *rows += 1;
                blobs.push(value.unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_empty_sketches_are_known() {
        for (type_name, image) in [
            ("HLLSketch", [0x02, 0x01, 0x07, 0x0C, 0x03, 0x0C, 0, 0]),
            ("thetaSketch", [0x01, 0x03, 0x03, 0, 0, 0x1E, 0xCC, 0x93]),
            ("quantilesDoublesSketch", [0x01, 0x03, 0x08, 0x1E, 0x80, 0, 0, 0]),
            ("KllDoublesSketch", [0x02, 0x01, 0x0F, 0x01, 0xC8, 0, 0x08, 0]),
        ] {
            assert!(is_empty(type_name, &image), "{type_name}");
            assert!(!is_empty("hyperUnique", &image));
            assert!(!is_empty(type_name, &[image, image].concat()));
        }
    }
}
