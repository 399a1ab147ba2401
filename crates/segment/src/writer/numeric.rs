//! Columns of longs, doubles and floats.
//!
//! ```text
//! str descriptor │ i32 bytes of the value part │ value part │ [i32 length │ bitmap of the null rows]
//! value part: u8 2 │ i32 rows │ i32 values a block │ u8 compression │ GenericIndexed of blocks, or the values (none)
//! ```
//! Mirrors `LongColumnSerializerV2` and its like. Null rows hold 0.

use std::borrow::Cow;
use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Float32Type, Float64Type, Int64Type};

use super::bitmaps::null_index;
use super::longs::LongCollector;
use super::{bitmap_serde, cast_values, descriptor};
use crate::codec::blocks::{Plain, bytes_of};
use crate::codec::compression::{Compression, Compressor};
use crate::codec::generic_indexed::GenericIndexedWriter;
use crate::container::SmooshWriter;
use crate::limits::BLOCK_BYTES;
use crate::{BitmapKind, IndexSpec, LongEncoding, SegmentError, ValueType};

/// Collects a column of numbers, compressing blocks as they fill.
#[derive(Debug)]
pub(crate) struct NumericWriter {
    name: String,
    value_type: ValueType,
    compression: Compression,
    bitmap: BitmapKind,
    rows: u32,
    block: Vec<u8>,
    blocks: GenericIndexedWriter,
    /// Takes the values instead where the encoding is chosen at the end.
    longs: Option<LongCollector>,
    null_rows: Vec<u32>,
}

impl NumericWriter {
    pub fn new(name: &str, value_type: ValueType, spec: &IndexSpec) -> Self {
        let choose = value_type == ValueType::Long && spec.long_encoding == LongEncoding::Auto;
        Self {
            name: name.to_owned(),
            value_type,
            compression: spec.metric_compression,
            bitmap: spec.bitmap,
            rows: 0,
            block: Vec::new(),
            blocks: GenericIndexedWriter::default(),
            longs: choose.then(LongCollector::new),
            null_rows: Vec::new(),
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let longs = self.longs.as_ref().map_or(0, LongCollector::memory_bytes);
        longs + self.block.capacity() + self.blocks.memory_bytes() + self.null_rows.capacity() * 4
    }

    /// Appends values of any type that Arrow casts to the column's.
    pub fn append(&mut self, array: &ArrayRef, compressor: &mut Compressor) -> Result<(), SegmentError> {
        let wanted = self.value_type.arrow();
        let casted;
        let array = if *array.data_type() == wanted {
            array
        } else {
            casted = cast_values(&self.name, self.value_type, array)?;
            &casted
        };
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        if let Some(nulls) = nulls {
            let valid = nulls.inner();
            for (row, _) in (0..array.len())
                .map(|i| (i, valid.value(i)))
                .filter(|(_, valid)| !valid)
            {
                self.null_rows.push(self.rows + row as u32);
            }
        }
        self.rows += array.len() as u32;
        let written = match (self.value_type, &mut self.longs) {
            (ValueType::Long, Some(longs)) => {
                longs.append(&zero_nulls(array.as_primitive::<Int64Type>().values(), nulls));
                Ok(())
            }
            (ValueType::Long, None) => {
                let values = zero_nulls(array.as_primitive::<Int64Type>().values(), nulls);
                self.push(&values, compressor)
            }
            (ValueType::Double, _) => {
                let values = zero_nulls(array.as_primitive::<Float64Type>().values(), nulls);
                self.push(&values, compressor)
            }
            (ValueType::Float, _) => {
                let values = zero_nulls(array.as_primitive::<Float32Type>().values(), nulls);
                self.push(&values, compressor)
            }
            (ValueType::String, _) => return Err(SegmentError::invalid("a numeric column cannot hold strings")),
        };
        written.map_err(|e| SegmentError::invalid(format!("column [{}] cannot be compressed: {e}", self.name)))
    }

    fn push<T: Plain>(&mut self, values: &[T], compressor: &mut Compressor) -> std::io::Result<()> {
        let mut bytes = bytes_of(values);
        if self.compression == Compression::None {
            self.block.extend_from_slice(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            if self.block.is_empty() && bytes.len() >= BLOCK_BYTES {
                let (whole, rest) = bytes.split_at(BLOCK_BYTES);
                self.blocks
                    .push_with(|out| compressor.compress(whole, size_of::<T>(), out))?;
                bytes = rest;
                continue;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = rest;
            if self.block.len() == BLOCK_BYTES {
                self.flush(compressor)?;
            }
        }
        Ok(())
    }

    fn width(&self) -> usize {
        if self.value_type == ValueType::Float { 4 } else { 8 }
    }

    fn flush(&mut self, compressor: &mut Compressor) -> std::io::Result<()> {
        let width = self.width();
        if !self.block.is_empty() {
            self.blocks.push_with(|out| match self.block.len() == BLOCK_BYTES {
                true => compressor.compress(&self.block, width, out),
                false => compressor.compress_last(&self.block, width, out),
            })?;
            self.block.clear();
        }
        Ok(())
    }

    /// Encodes the values collected.
    pub fn encode(&mut self, compressor: &mut Compressor) -> std::io::Result<ValuePart> {
        if let Some(longs) = self.longs.take() {
            return longs.finish(compressor);
        }
        let entire = self.compression == Compression::None;
        if !entire {
            self.flush(compressor)?;
        }
        let per_block = if entire { 0 } else { (BLOCK_BYTES / self.width()) as u32 };
        let mut head = vec![2];
        head.extend_from_slice(&self.rows.to_be_bytes());
        head.extend_from_slice(&per_block.to_be_bytes());
        head.push(self.compression.id());
        Ok(match entire {
            true => ValuePart {
                head,
                blocks: None,
                entire: std::mem::take(&mut self.block),
            },
            false => ValuePart {
                head,
                blocks: Some(std::mem::take(&mut self.blocks)),
                entire: Vec::new(),
            },
        })
    }

    /// Writes the column as an internal file.
    pub fn finish(mut self, smoosh: &mut SmooshWriter, compressor: &mut Compressor) -> Result<(), SegmentError> {
        let values = self.encode(compressor).map_err(|e| smoosh.write_error(e))?;
        let nulls = match self.null_rows.as_slice() {
            [] => Vec::new(),
            rows => null_index(rows, self.bitmap),
        };
        let part = match self.value_type {
            ValueType::Double => "doubleV2",
            ValueType::Float => "floatV2",
            _ => "longV2",
        };
        let descriptor = descriptor(
            self.value_type.name(),
            false,
            &format!(
                r#""type":"{part}","byteOrder":"LITTLE_ENDIAN",{}"#,
                bitmap_serde(self.bitmap)
            ),
        );
        let value_len = values.serialized_len();
        smoosh.begin(&self.name, descriptor.len() as u64 + 4 + value_len + nulls.len() as u64)?;
        let mut write = || -> std::io::Result<()> {
            smoosh.write_all(&descriptor)?;
            smoosh.write_all(&(value_len as u32).to_be_bytes())?;
            values.write(smoosh)?;
            smoosh.write_all(&nulls)
        };
        write().map_err(|e| smoosh.write_error(e))?;
        smoosh.end()
    }
}

/// Encoded numbers: the value part of a column.
#[derive(Debug)]
pub(super) struct ValuePart {
    pub head: Vec<u8>,
    /// None for compression none.
    pub blocks: Option<GenericIndexedWriter>,
    /// The values, for compression none.
    pub entire: Vec<u8>,
}

impl ValuePart {
    /// Counts the bytes that [`Self::write`] writes.
    pub fn serialized_len(&self) -> u64 {
        let blocks = self.blocks.as_ref().map_or(0, GenericIndexedWriter::serialized_len);
        (self.head.len() + self.entire.len()) as u64 + blocks
    }

    pub fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        out.write_all(&self.head)?;
        match &self.blocks {
            Some(blocks) => blocks.write(false, out),
            None => out.write_all(&self.entire),
        }
    }
}

/// Puts zeros where rows are null.
fn zero_nulls<'a, T: Plain>(values: &'a [T], nulls: Option<&NullBuffer>) -> Cow<'a, [T]> {
    match nulls {
        None => Cow::Borrowed(values),
        Some(nulls) => values
            .iter()
            .zip(nulls)
            .map(|(value, valid)| if valid { *value } else { T::default() })
            .collect(),
    }
}
