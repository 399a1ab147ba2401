//! Values in compressed blocks, and how rows are picked out of any column that decodes block by block.

use crate::blob::{Blob, ByteOrder, Cursor};
use crate::codec::compression::Compression;
use crate::codec::generic_indexed::GenericIndexed;
use crate::container::Container;
use crate::limits::BLOCK_BYTES;
use crate::{RowSelection, SegmentError};

/// A number as it lies in a block.
pub(crate) trait Plain: Copy + Default + 'static {}
impl Plain for u8 {}
impl Plain for u32 {}
impl Plain for i32 {}
impl Plain for i64 {}
impl Plain for f32 {}
impl Plain for f64 {}

/// Views numbers as the bytes they are made of.
pub(crate) fn bytes_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: `Plain` is implemented for integers and floats only: no padding, and every bit pattern is a value.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

/// Views numbers as the bytes they are made of.
pub(crate) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: as in `bytes_mut`.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

#[cfg(target_endian = "big")]
compile_error!("blocks are decoded in place: henge-segment needs a little-endian machine");

/// Compressed blocks of equal decompressed size, the last one excepted.
///
/// ```text
/// GenericIndexed, one value a block: the compressed bytes
/// ```
#[derive(Debug, Clone)]
pub(crate) struct CompressedBlocks {
    list: GenericIndexed,
    compression: Compression,
}

impl CompressedBlocks {
    /// Reads the list of blocks and checks that there are `expected` of them, which can hold the `bytes` of all values.
    pub fn read(
        cursor: &mut Cursor<'_>,
        container: &Container,
        compression: Compression,
        expected: usize,
        bytes: usize,
    ) -> Result<Self, SegmentError> {
        let list = GenericIndexed::read(cursor, container, "block list")?;
        if bytes > list.values_bytes().saturating_mul(compression.max_expansion()) {
            return Err(cursor.corrupt(format!(
                "values of {bytes} bytes cannot come from {} bytes of {}",
                list.values_bytes(),
                compression.name()
            )));
        }
        if list.len() < expected {
            return Err(cursor.corrupt(format!("{expected} blocks were announced, found {}", list.len())));
        }
        Ok(Self { list, compression })
    }

    /// Decompresses a block, which must fill `out`. Old releases of Druid compressed the whole buffer of a last block that was not full:
    /// what is behind the values is left out.
    pub fn decompress(&self, index: usize, out: &mut [u8]) -> Result<(), SegmentError> {
        let block = self.list.get(index)?.unwrap_or_default();
        let filled = match self.compression.decompress(block, out) {
            Ok(filled) => filled,
            Err(expected) => {
                let mut whole = vec![0; BLOCK_BYTES];
                match self.compression.decompress(block, &mut whole) {
                    Ok(filled) if filled > out.len() => {
                        out.copy_from_slice(&whole[..out.len()]);
                        out.len()
                    }
                    _ => return Err(self.list.corrupt(index, format!("block {index} must be {expected}"))),
                }
            }
        };
        if filled != out.len() {
            return Err(self.list.corrupt(
                index,
                format!("block {index} must decompress to {} bytes, found {filled}", out.len()),
            ));
        }
        Ok(())
    }

    /// Makes an error about a block.
    pub fn corrupt(&self, index: usize, expectation: String) -> SegmentError {
        self.list.corrupt(index, expectation)
    }
}

/// Reads a compression id.
pub(crate) fn read_compression(cursor: &mut Cursor<'_>) -> Result<Compression, SegmentError> {
    let id = cursor.u8("compression id")?;
    Compression::from_id(id).ok_or_else(|| cursor.corrupt(format!("no compression has id {id:#04x}")))
}

/// A column of values that is decoded block by block.
pub(crate) trait ValueBlocks<T: Plain> {
    /// Counts the values.
    fn len(&self) -> usize;

    /// Tells how many values every block but the last has; not zero.
    fn values_per_block(&self) -> usize;

    /// Decodes a block into `out`, which has exactly its length; `scratch` is reused between calls.
    fn decode(&self, block: usize, scratch: &mut Vec<u8>, out: &mut [T]) -> Result<(), SegmentError>;

    /// Tells how long a block is.
    fn block_len(&self, block: usize) -> usize {
        let start = block * self.values_per_block();
        self.values_per_block().min(self.len() - start)
    }
}

/// Reads rows of a column; whole blocks are decoded where they belong, without a copy.
pub(crate) fn read_values<T: Plain>(
    source: &impl ValueBlocks<T>,
    rows: &RowSelection<'_>,
) -> Result<Vec<T>, SegmentError> {
    let count = rows.count(source.len())?;
    let mut out = vec![T::default(); count];
    let mut scratch = Vec::new();
    let per_block = source.values_per_block();
    match rows {
        RowSelection::All => read_range(source, 0, &mut out, &mut scratch)?,
        RowSelection::Range(range) => read_range(source, range.start, &mut out, &mut scratch)?,
        RowSelection::Rows(bitmap) => {
            let mut block = Vec::new();
            let mut decoded = usize::MAX;
            for (slot, row) in out.iter_mut().zip(bitmap.iter()) {
                let row = row as usize;
                if row / per_block != decoded {
                    decoded = row / per_block;
                    block.resize(source.block_len(decoded), T::default());
                    source.decode(decoded, &mut scratch, &mut block)?;
                }
                *slot = block[row % per_block];
            }
        }
    }
    Ok(out)
}

/// Reads the values that begin with row `start`, as many as `out` takes; they exist.
fn read_range<T: Plain>(
    source: &impl ValueBlocks<T>,
    start: usize,
    mut out: &mut [T],
    scratch: &mut Vec<u8>,
) -> Result<(), SegmentError> {
    let per_block = source.values_per_block();
    let mut row = start;
    let mut partial = Vec::new();
    while !out.is_empty() {
        let block = row / per_block;
        let skip = row % per_block;
        let len = source.block_len(block);
        let wanted = (len - skip).min(out.len());
        let (target, rest) = out.split_at_mut(wanted);
        if wanted == len {
            source.decode(block, scratch, target)?;
        } else {
            partial.resize(len, T::default());
            source.decode(block, scratch, &mut partial)?;
            target.copy_from_slice(&partial[skip..skip + wanted]);
        }
        row += wanted;
        out = rest;
    }
    Ok(())
}

/// Plain numbers in the column's byte order, in blocks or in one piece: what longs, doubles, floats and offsets share.
#[derive(Debug, Clone)]
pub(crate) struct PlainValues {
    pub count: usize,
    per_block: usize,
    width: usize,
    order: ByteOrder,
    data: PlainData,
}

#[derive(Debug, Clone)]
enum PlainData {
    Blocks(CompressedBlocks),
    Entire(Blob),
}

impl PlainValues {
    /// Reads blocks, or for `none` the bytes themselves.
    pub fn read(
        cursor: &mut Cursor<'_>,
        container: &Container,
        compression: Compression,
        count: usize,
        per_block: usize,
        width: usize,
    ) -> Result<Self, SegmentError> {
        if compression == Compression::None {
            let data = cursor.take_blob(count.saturating_mul(width), "values")?;
            return Ok(Self {
                count,
                per_block: BLOCK_BYTES / width,
                width,
                order: cursor.order(),
                data: PlainData::Entire(data),
            });
        }
        if per_block == 0 || per_block.saturating_mul(width) > BLOCK_BYTES {
            return Err(cursor.corrupt(format!(
                "a block must hold 1 to {} values, found {per_block}",
                BLOCK_BYTES / width
            )));
        }
        let blocks = CompressedBlocks::read(
            cursor,
            container,
            compression,
            count.div_ceil(per_block),
            count.saturating_mul(width),
        )?;
        Ok(Self {
            count,
            per_block,
            width,
            order: cursor.order(),
            data: PlainData::Blocks(blocks),
        })
    }
}

impl<T: Plain> ValueBlocks<T> for PlainValues {
    fn len(&self) -> usize {
        self.count
    }

    fn values_per_block(&self) -> usize {
        self.per_block
    }

    fn decode(&self, block: usize, _scratch: &mut Vec<u8>, out: &mut [T]) -> Result<(), SegmentError> {
        debug_assert_eq!(
            size_of::<T>(),
            self.width,
            "a column is read as the type it was opened for"
        );
        match &self.data {
            PlainData::Blocks(blocks) => blocks.decompress(block, bytes_mut(out))?,
            PlainData::Entire(data) => {
                let start = block * self.per_block * self.width;
                let target = bytes_mut(out);
                target.copy_from_slice(&data.bytes()[start..start + target.len()]);
            }
        }
        if self.order == ByteOrder::Big {
            bytes_mut(out).chunks_exact_mut(self.width).for_each(<[u8]>::reverse);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::codec::compression::Compressor;
    use crate::codec::doubles;
    use crate::codec::generic_indexed::GenericIndexedWriter;

    #[test]
    fn last_blocks_may_be_whole_buffers() {
        for compression in [
            Compression::Lz4,
            Compression::Zstd,
            Compression::Lzf,
            Compression::Uncompressed,
        ] {
            let mut buffer = vec![0x55; BLOCK_BYTES];
            buffer[..24].copy_from_slice(bytes_of(&[0.5f64, -1.0, 2.0]));
            for len in [23, 24, 25, 4096, BLOCK_BYTES] {
                let mut blocks = GenericIndexedWriter::default();
                let mut compressor = Compressor::new(compression).unwrap();
                let pushed = blocks.push_with(|out| compressor.compress(&buffer[..len], 8, out));
                pushed.unwrap();
                let mut column = vec![2, 0, 0, 0, 3, 0, 0, 0x20, 0, compression.id()];
                blocks.write(false, &mut column).unwrap();
                let blob = Blob::new(Bytes::from(column), "file", "column");
                let container = Container::from_files(BTreeMap::new());
                let values = doubles::read(&mut blob.cursor(), &container, 8).unwrap();
                let read: Result<Vec<f64>, _> = read_values(&values, &RowSelection::All);
                match len {
                    23 => assert!(read.is_err()),
                    _ => assert_eq!(read.unwrap(), [0.5, -1.0, 2.0], "{} {len}", compression.name()),
                }
            }
        }
    }
}
