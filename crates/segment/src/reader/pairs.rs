//! Pairs of time and value that EARLIEST and LATEST leave in a rollup (Druid's `SerializablePairLong…ColumnSerializer`).
//!
//! ```text
//! u8 3 │ u8 encoding (80 = i32 time deltas, else i64) │ 2 bytes │ i64 smallest time │ i32 bytes, cell index │ i32 bytes, cell data
//! cell index   payload of rows + 1 × i64: where cells begin in the cell data, and its end
//! cell data    payload of the cells; no bytes = null pair
//! payload      i32 bytes of block ends │ (blocks + 1) × i32 begin of a block in the data │ i32 data bytes │ LZ4 blocks of 64 KiB
//! cell         time delta │ text: i32 length (0 null, -1 empty), bytes │ number: u8 null, [value]
//! ```
//! All numbers are little-endian.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Builder, Float64Builder, Int64Builder, StringBuilder};
use arrow::datatypes::DataType;

use super::complex::pair_array;
use crate::SegmentError;
use crate::blob::{Blob, Cursor};
use crate::codec::compression::Compression;
use crate::limits::BLOCK_BYTES;

/// An open column of pairs.
#[derive(Debug)]
pub(super) struct Pairs {
    int_deltas: bool,
    min_time: i64,
    /// Decompressed: eight bytes a row and eight more.
    index: Vec<u8>,
    cells: Payload,
    value_type: DataType,
}

/// Compressed blocks that make one stream.
#[derive(Debug)]
struct Payload {
    starts: Blob,
    data: Blob,
}

impl Payload {
    fn read(cursor: &mut Cursor<'_>, what: &str) -> Result<Self, SegmentError> {
        let bytes = cursor.size_native(what)?;
        let body = cursor.take_blob(bytes, what)?;
        let mut inner = body.cursor();
        let starts_len = inner.size_native("bytes of block ends")?;
        let starts = inner.take_blob(starts_len, "block ends")?;
        let data_len = inner.size_native("bytes of blocks")?;
        let data = inner.take_blob(data_len, "blocks")?;
        Ok(Self { starts, data })
    }

    fn blocks(&self) -> usize {
        (self.starts.len() / 4).saturating_sub(1)
    }

    fn start(&self, block: usize) -> usize {
        let b = &self.starts.bytes()[block * 4..block * 4 + 4];
        u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize
    }

    /// Decompresses a block; all but the last are full.
    fn block(&self, block: usize, out: &mut Vec<u8>) -> Result<(), SegmentError> {
        let compressed = self
            .data
            .slice(self.start(block), self.start(block + 1), "compressed block")?;
        out.resize(BLOCK_BYTES, 0);
        let filled = Compression::Lz4
            .decompress(compressed.bytes(), out)
            .map_err(|expected| compressed.corrupt(0, format!("block {block} must be {expected}")))?;
        if filled != BLOCK_BYTES && block + 1 != self.blocks() {
            return Err(compressed.corrupt(
                0,
                format!("block {block} must have {BLOCK_BYTES} bytes, found {filled}"),
            ));
        }
        out.truncate(filled);
        Ok(())
    }

    fn all(&self) -> Result<Vec<u8>, SegmentError> {
        let mut all = Vec::new();
        let mut block = Vec::new();
        for index in 0..self.blocks() {
            self.block(index, &mut block)?;
            all.extend_from_slice(&block);
        }
        Ok(all)
    }
}

impl Pairs {
    /// Reads a column of pairs whose values have the given type.
    pub fn read(cursor: &mut Cursor<'_>, value_type: DataType) -> Result<Self, SegmentError> {
        cursor.version(3, "pairs")?;
        let encoding = cursor.u8("time encoding")?;
        cursor.take(2, "reserved bytes")?;
        let min_time = cursor.i64_native("smallest time")?;
        let index = Payload::read(cursor, "cell index")?;
        let cells = Payload::read(cursor, "cell data")?;
        let index_bytes = index.all()?;
        if index_bytes.len() % 8 != 0 || index_bytes.is_empty() {
            return Err(index.data.corrupt(
                0,
                format!(
                    "a cell index of whole numbers, one more than rows, found {} bytes",
                    index_bytes.len()
                ),
            ));
        }
        Ok(Self {
            int_deltas: encoding == 0x80,
            min_time,
            index: index_bytes,
            cells,
            value_type,
        })
    }

    pub fn rows(&self) -> usize {
        self.index.len() / 8 - 1
    }

    fn cell_start(&self, row: usize) -> Option<usize> {
        let bytes = self.index.as_chunks::<8>().0.get(row)?;
        usize::try_from(i64::from_le_bytes(*bytes)).ok()
    }

    /// Hands the cell of each row to `visit`.
    fn for_each(
        &self,
        rows: impl Iterator<Item = usize>,
        mut visit: impl FnMut(&[u8]) -> Option<()>,
    ) -> Result<(), SegmentError> {
        let mut loaded = usize::MAX;
        let mut block = Vec::new();
        let mut cell = Vec::new();
        for row in rows {
            let wrong = |what: &str| self.cells.data.corrupt(0, format!("{what} of row {row}"));
            let (Some(start), Some(end)) = (self.cell_start(row), self.cell_start(row + 1)) else {
                return Err(wrong("a cell index"));
            };
            if start > end || end > self.cells.blocks() * BLOCK_BYTES {
                return Err(wrong("an ascending cell index within the cell data"));
            }
            cell.clear();
            let mut at = start;
            while at < end {
                if at / BLOCK_BYTES != loaded {
                    self.cells.block(at / BLOCK_BYTES, &mut block)?;
                    loaded = at / BLOCK_BYTES;
                }
                let from = at % BLOCK_BYTES;
                let wanted = (end - at).min(BLOCK_BYTES - from);
                let piece = block.get(from..from + wanted).ok_or_else(|| wrong("cell data"))?;
                cell.extend_from_slice(piece);
                at += wanted;
            }
            visit(&cell).ok_or_else(|| wrong("a pair of time and value"))?;
        }
        Ok(())
    }

    /// Reads pairs as a struct array.
    pub fn read_rows(&self, rows: impl Iterator<Item = usize>, count: usize) -> Result<ArrayRef, SegmentError> {
        let mut times = Int64Builder::with_capacity(count);
        let mut valid = Vec::with_capacity(count);
        let mut values = Builder::new(&self.value_type);
        self.for_each(rows, |cell| {
            if cell.is_empty() {
                times.append_null();
                valid.push(false);
                values.append(None)?;
                return Some(());
            }
            let (delta, rest) = if self.int_deltas {
                let (delta, rest) = cell.split_first_chunk::<4>()?;
                (i64::from(i32::from_le_bytes(*delta)), rest)
            } else {
                let (delta, rest) = cell.split_first_chunk::<8>()?;
                (i64::from_le_bytes(*delta), rest)
            };
            times.append_value(self.min_time.wrapping_add(delta));
            valid.push(true);
            values.append(Some(rest))
        })?;
        Ok(pair_array(Arc::new(times.finish()), values.finish(), valid))
    }
}

/// Collects the right-hand sides.
enum Builder {
    Long(Int64Builder),
    Double(Float64Builder),
    Float(Float32Builder),
    Text(StringBuilder),
}

impl Builder {
    fn new(value_type: &DataType) -> Self {
        match value_type {
            DataType::Int64 => Self::Long(Int64Builder::new()),
            DataType::Float64 => Self::Double(Float64Builder::new()),
            DataType::Float32 => Self::Float(Float32Builder::new()),
            _ => Self::Text(StringBuilder::new()),
        }
    }

    /// Appends what stands behind the time of a cell; none if it makes no sense.
    fn append(&mut self, value: Option<&[u8]>) -> Option<()> {
        match self {
            Self::Long(builder) => builder.append_option(number(value)?.map(i64::from_le_bytes)),
            Self::Double(builder) => builder.append_option(number(value)?.map(f64::from_le_bytes)),
            Self::Float(builder) => builder.append_option(number(value)?.map(f32::from_le_bytes)),
            Self::Text(builder) => {
                let Some(value) = value else {
                    builder.append_null();
                    return Some(());
                };
                let (len, rest) = value.split_first_chunk::<4>()?;
                match i32::from_le_bytes(*len) {
                    0 => builder.append_null(),
                    -1 => builder.append_value(""),
                    len => builder.append_value(std::str::from_utf8(rest.get(..usize::try_from(len).ok()?)?).ok()?),
                }
            }
        }
        Some(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Long(mut builder) => Arc::new(builder.finish()),
            Self::Double(mut builder) => Arc::new(builder.finish()),
            Self::Float(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
        }
    }
}

/// Reads `u8 null │ [value]`; none outside if it makes no sense, none inside for null.
fn number<const N: usize>(value: Option<&[u8]>) -> Option<Option<[u8; N]>> {
    match value {
        None | Some([1, ..]) => Some(None),
        Some([0, rest @ ..]) => rest.first_chunk().copied().map(Some),
        Some(_) => None,
    }
}
