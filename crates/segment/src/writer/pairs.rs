//! Columns of pairs of time and value, which EARLIEST and LATEST leave in a rollup.
//!
//! ```text
//! text      str descriptor │ GenericIndexed: i64 time │ i32 length │ text, big-endian; null and empty text have length 0
//! numbers   str descriptor │ the layout that [`crate::reader`]'s `pairs` draws: times as differences from the smallest
//! ```
//! Mirrors `SerializablePairLongStringComplexMetricSerde` and `AbstractSerializablePairLongObjectColumnSerializer`.

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit};

use super::{add_list, complex_descriptor};
use crate::SegmentError;
use crate::codec::block_store::BlockStream;
use crate::codec::compression::Compression;
use crate::codec::generic_indexed::GenericIndexedWriter;
use crate::container::SmooshWriter;
use crate::limits::GENERIC_INDEXED_BYTES;

/// The version of the layout of numbers.
const VERSION: u8 = 3;

/// Marks times that are four bytes wide.
const INT_DELTAS: u8 = 0x80;

/// Collects a column of pairs.
#[derive(Debug)]
pub(super) struct PairWriter {
    name: String,
    type_name: String,
    value_type: DataType,
    cells: Cells,
}

#[derive(Debug)]
enum Cells {
    Texts(GenericIndexedWriter),
    Numbers(Numbers),
}

/// Pairs with numbers, until the smallest time is known.
#[derive(Debug, Default)]
struct Numbers {
    times: Vec<i64>,
    /// The bits of each value.
    values: Vec<u64>,
    states: Vec<State>,
}

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Null,
    NullValue,
    Value,
}

impl PairWriter {
    /// Starts a column of a type whose right-hand sides are of type `value_type`.
    pub fn new(name: &str, type_name: &str, value_type: DataType) -> Self {
        let cells = match value_type {
            DataType::Utf8 => Cells::Texts(GenericIndexedWriter::default()),
            _ => Cells::Numbers(Numbers::default()),
        };
        Self {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            value_type,
            cells,
        }
    }

    pub fn memory_bytes(&self) -> usize {
        match &self.cells {
            Cells::Texts(list) => list.memory_bytes(),
            Cells::Numbers(numbers) => numbers.states.capacity() * (2 * 8 + size_of::<State>()),
        }
    }

    /// Appends structs of a time and a value.
    pub fn append(&mut self, array: &ArrayRef) -> Result<(), SegmentError> {
        if *array.data_type() == DataType::Null {
            for _ in 0..array.len() {
                match &mut self.cells {
                    Cells::Texts(list) => list.push_null(),
                    Cells::Numbers(numbers) => numbers.push(None, None),
                }
            }
            return Ok(());
        }
        let Some(pairs) = array.as_struct_opt().filter(|pairs| pairs.num_columns() == 2) else {
            return Err(self.wrong_type(array, "give structs of a time and a value"));
        };
        let times = self.times(pairs).map_err(|e| self.wrong_type(array, e))?;
        let values = cast(pairs.column(1), &self.value_type).map_err(|e| self.wrong_type(array, e))?;
        let times = times.as_primitive::<Int64Type>();
        let time = |row: usize| (pairs.is_valid(row) && times.is_valid(row)).then(|| times.value(row));
        let bits = |row: usize| -> Option<u64> {
            values.is_valid(row).then(|| match self.value_type {
                DataType::Float64 => values.as_primitive::<Float64Type>().value(row).to_bits(),
                DataType::Float32 => values.as_primitive::<Float32Type>().value(row).to_bits().into(),
                _ => values.as_primitive::<Int64Type>().value(row) as u64,
            })
        };
        match &mut self.cells {
            Cells::Numbers(numbers) => {
                for row in 0..pairs.len() {
                    numbers.push(time(row), bits(row));
                }
            }
            Cells::Texts(list) => {
                let texts = values.as_string::<i32>();
                let mut cell = Vec::new();
                for row in 0..pairs.len() {
                    let Some(time) = time(row) else {
                        list.push_null();
                        continue;
                    };
                    let text = if texts.is_valid(row) { texts.value(row) } else { "" };
                    cell.clear();
                    cell.extend_from_slice(&time.to_be_bytes());
                    cell.extend_from_slice(&(text.len() as u32).to_be_bytes());
                    cell.extend_from_slice(text.as_bytes());
                    list.push(&cell);
                }
                if list.serialized_len() > GENERIC_INDEXED_BYTES {
                    return Err(too_large(&self.name, list.serialized_len()));
                }
            }
        }
        Ok(())
    }

    fn times(&self, pairs: &StructArray) -> Result<ArrayRef, arrow::error::ArrowError> {
        let times = pairs.column(0);
        match times.data_type() {
            DataType::Timestamp(_, _) => {
                let millis = cast(times, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
                cast(&millis, &DataType::Int64)
            }
            _ => cast(times, &DataType::Int64),
        }
    }

    fn wrong_type(&self, array: &ArrayRef, e: impl std::fmt::Display) -> SegmentError {
        SegmentError::invalid(format!(
            "column [{}] of type COMPLEX<{}> cannot take values of type {}: {e}",
            self.name,
            self.type_name,
            array.data_type()
        ))
    }

    /// Writes the column as an internal file.
    pub fn finish(self, smoosh: &mut SmooshWriter) -> Result<(), SegmentError> {
        let descriptor = complex_descriptor(&self.type_name);
        match self.cells {
            Cells::Texts(list) => add_list(smoosh, &self.name, &descriptor, &list),
            Cells::Numbers(numbers) => {
                let width = if self.value_type == DataType::Float32 { 4 } else { 8 };
                let bytes = numbers.encode(width).map_err(|e| smoosh.write_error(e))?;
                if bytes.len() as u64 > GENERIC_INDEXED_BYTES {
                    return Err(too_large(&self.name, bytes.len() as u64));
                }
                smoosh.add(&self.name, &[&descriptor, &bytes])
            }
        }
    }
}

fn too_large(name: &str, bytes: u64) -> SegmentError {
    SegmentError::Limit {
        what: format!("the size in bytes of column [{name}]"),
        actual: bytes,
        limit: GENERIC_INDEXED_BYTES,
        remedy: "write smaller segments (fewer rows per segment)",
    }
}

impl Numbers {
    fn push(&mut self, time: Option<i64>, bits: Option<u64>) {
        self.times.push(time.unwrap_or_default());
        self.values.push(bits.unwrap_or_default());
        self.states.push(match (time, bits) {
            (None, _) => State::Null,
            (Some(_), None) => State::NullValue,
            (Some(_), Some(_)) => State::Value,
        });
    }

    /// Encodes values of `width` bytes.
    fn encode(&self, width: usize) -> std::io::Result<Vec<u8>> {
        let present = || {
            let rows = self.times.iter().zip(&self.states);
            rows.filter(|(_, state)| **state != State::Null).map(|(time, _)| *time)
        };
        let range = present()
            .min()
            .zip(present().max())
            .and_then(|(min, max)| max.checked_sub(min).map(|range| (min, range)));
        // Without a range of times, or with one that is no long, times are as they are.
        let (min, int_deltas) = match range {
            Some((min, range)) => (min, range <= i64::from(i32::MAX)),
            None => (0, false),
        };
        let mut index = BlockStream::new(Compression::Lz4, 1)?;
        let mut cells = BlockStream::new(Compression::Lz4, 1)?;
        let mut cell = Vec::new();
        let mut start = 0i64;
        for ((time, bits), state) in self.times.iter().zip(&self.values).zip(&self.states) {
            index.push(&start.to_le_bytes())?;
            if *state == State::Null {
                continue;
            }
            cell.clear();
            let delta = time.wrapping_sub(min);
            match int_deltas {
                true => cell.extend_from_slice(&(delta as i32).to_le_bytes()),
                false => cell.extend_from_slice(&delta.to_le_bytes()),
            }
            cell.push(u8::from(*state == State::NullValue));
            if *state == State::Value {
                cell.extend_from_slice(&bits.to_le_bytes()[..width]);
            }
            cells.push(&cell)?;
            start += cell.len() as i64;
        }
        index.push(&start.to_le_bytes())?;
        let mut out = vec![VERSION, if int_deltas { INT_DELTAS } else { 0 }, 0, 0];
        out.extend_from_slice(&min.to_le_bytes());
        for stream in [index, cells] {
            let bytes = payload(stream)?;
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(&bytes);
        }
        Ok(out)
    }
}

/// Lays out a stream: i32 length │ where each block starts, and where the last ends │ i32 length │ blocks.
fn payload(stream: BlockStream) -> std::io::Result<Vec<u8>> {
    let (ends, blocks) = stream.into_blocks()?;
    let mut out = (4 * (ends.len() as u32 + 1)).to_le_bytes().to_vec();
    for start in std::iter::once(0).chain(ends) {
        out.extend_from_slice(&start.to_le_bytes());
    }
    out.extend_from_slice(&(blocks.len() as u32).to_le_bytes());
    out.extend_from_slice(&blocks);
    Ok(out)
}
