//! Dictionary ids of one to four bytes, one a row.
//!
//! ```text
//! uncompressed (VSizeColumnarInts)
//!   u8 0 │ u8 width │ i32 bytes = count·width + (4 - width) │ ids, big-endian │ 4 - width zero bytes
//! compressed (CompressedVSizeColumnarInts)
//!   u8 2 │ u8 width │ i32 count │ i32 ids a block │ u8 compression │ blocks of ids in the column's byte order, unpadded
//! ```

use std::io::{self, Write};

use crate::SegmentError;
use crate::blob::{Blob, ByteOrder, Cursor};
use crate::codec::blocks::{CompressedBlocks, ValueBlocks, read_compression};
use crate::codec::compression::{Compression, Compressor};
use crate::codec::generic_indexed::GenericIndexedWriter;
use crate::container::Container;
use crate::limits::BLOCK_BYTES;

/// Ids that are decoded at once from an uncompressed column.
const PLAIN_CHUNK: usize = 16 * 1024;

/// A column of ids.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    count: usize,
    width: usize,
    per_block: usize,
    data: IdData,
}

#[derive(Debug, Clone)]
enum IdData {
    /// In the column's byte order.
    Blocks(CompressedBlocks, ByteOrder),
    /// Big-endian.
    Plain(Blob),
}

fn read_width(cursor: &mut Cursor<'_>) -> Result<usize, SegmentError> {
    match cursor.u8("id width")? {
        width @ 1..=4 => Ok(width.into()),
        other => Err(cursor.corrupt(format!("an id has 1 to 4 bytes, found {other}"))),
    }
}

impl Ids {
    /// Reads either form, told apart by the version byte.
    pub fn read(cursor: &mut Cursor<'_>, container: &Container) -> Result<Self, SegmentError> {
        match cursor.u8("id column version")? {
            0 => Self::read_plain(cursor),
            2 => Self::read_compressed(cursor, container),
            other => Err(cursor.corrupt(format!("an id column must have version 0 or 2, found {other}"))),
        }
    }

    fn read_plain(cursor: &mut Cursor<'_>) -> Result<Self, SegmentError> {
        let width = read_width(cursor)?;
        let bytes = cursor.size("id bytes")?;
        let data = cursor.take_blob(bytes, "ids")?;
        let padding = 4 - width;
        let ids = bytes
            .checked_sub(padding)
            .filter(|ids| ids % width == 0)
            .ok_or_else(|| {
                data.corrupt(
                    0,
                    format!("ids of {width} bytes and {padding} of padding, found {bytes} bytes"),
                )
            })?;
        Ok(Self::plain(width, data.slice(0, ids, "ids")?))
    }

    /// Views big-endian ids without head or padding.
    pub fn plain(width: usize, data: Blob) -> Self {
        Self {
            count: data.len() / width,
            width,
            per_block: PLAIN_CHUNK,
            data: IdData::Plain(data),
        }
    }

    fn read_compressed(cursor: &mut Cursor<'_>, container: &Container) -> Result<Self, SegmentError> {
        let width = read_width(cursor)?;
        let count = cursor.size("id count")?;
        let per_block = cursor.size("ids a block")?;
        if !per_block.is_power_of_two() || per_block * width > BLOCK_BYTES {
            return Err(cursor.corrupt(format!("a block of {width}-byte ids cannot hold {per_block}")));
        }
        let compression = read_compression(cursor)?;
        if compression == Compression::None {
            return Err(cursor.corrupt("ids are compressed in blocks, compression none has no blocks"));
        }
        let blocks = CompressedBlocks::read(cursor, container, compression, count.div_ceil(per_block), count * width)?;
        Ok(Self {
            count,
            width,
            per_block,
            data: IdData::Blocks(blocks, cursor.order()),
        })
    }

    /// Names the encoding for people.
    pub fn encoding(&self) -> String {
        let kind = match self.data {
            IdData::Blocks(..) => "compressed",
            IdData::Plain(_) => "uncompressed",
        };
        format!("{kind} {}-byte ids", self.width)
    }
}

impl ValueBlocks<u32> for Ids {
    fn len(&self) -> usize {
        self.count
    }

    fn values_per_block(&self) -> usize {
        self.per_block
    }

    fn decode(&self, block: usize, scratch: &mut Vec<u8>, out: &mut [u32]) -> Result<(), SegmentError> {
        match &self.data {
            IdData::Blocks(blocks, order) => {
                scratch.resize(out.len() * self.width, 0);
                blocks.decompress(block, scratch)?;
                if *order == ByteOrder::Big {
                    widen_big(scratch, self.width, out);
                    return Ok(());
                }
                match self.width {
                    1 => widen::<1>(scratch, out, |b| u32::from(b[0])),
                    2 => widen::<2>(scratch, out, |b| u32::from(u16::from_le_bytes(b))),
                    3 => widen::<3>(scratch, out, |b| u32::from_le_bytes([b[0], b[1], b[2], 0])),
                    _ => widen::<4>(scratch, out, u32::from_le_bytes),
                }
            }
            IdData::Plain(data) => {
                let start = block * self.per_block * self.width;
                let bytes = &data.bytes()[start..start + out.len() * self.width];
                widen_big(bytes, self.width, out);
            }
        }
        Ok(())
    }
}

fn widen_big(bytes: &[u8], width: usize, out: &mut [u32]) {
    match width {
        1 => widen::<1>(bytes, out, |b| u32::from(b[0])),
        2 => widen::<2>(bytes, out, |b| u32::from(u16::from_be_bytes(b))),
        3 => widen::<3>(bytes, out, |b| u32::from_be_bytes([0, b[0], b[1], b[2]])),
        _ => widen::<4>(bytes, out, u32::from_be_bytes),
    }
}

fn widen<const N: usize>(bytes: &[u8], out: &mut [u32], convert: impl Fn([u8; N]) -> u32) {
    for (slot, chunk) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *slot = convert(*chunk);
    }
}

/// Gives the bytes of an id in a dictionary of `cardinality` entries, as Druid chooses them: by the cardinality, not the largest id.
pub(crate) fn width_for(cardinality: usize) -> usize {
    match cardinality {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        0x1_0000..=0xFF_FFFF => 3,
        _ => 4,
    }
}

/// Gives how many ids a block has: the largest power of two whose bytes, read four at a time, fit.
fn ids_per_block(width: usize) -> usize {
    let padding = if width <= 2 { 0 } else { 4 - width };
    let fit = (BLOCK_BYTES - padding) / width;
    1 << fit.ilog2()
}

/// Ids in the compressed form, ready to be written.
#[derive(Debug)]
pub(crate) struct CompressedIds {
    head: [u8; 11],
    blocks: GenericIndexedWriter,
}

impl CompressedIds {
    /// Compresses ids of a dictionary of `cardinality` entries.
    pub fn new(
        mut ids: impl ExactSizeIterator<Item = u32>,
        cardinality: usize,
        compressor: &mut Compressor,
    ) -> io::Result<Self> {
        let width = width_for(cardinality);
        let per_block = ids_per_block(width);
        let count = ids.len();
        let mut head = [2, width as u8, 0, 0, 0, 0, 0, 0, 0, 0, compressor.compression().id()];
        head[2..6].copy_from_slice(&(count as u32).to_be_bytes());
        head[6..10].copy_from_slice(&(per_block as u32).to_be_bytes());
        let mut blocks = GenericIndexedWriter::default();
        let mut block = Vec::with_capacity(per_block * width);
        for start in (0..count).step_by(per_block) {
            block.clear();
            let len = per_block.min(count - start);
            let chunk = ids.by_ref().take(len);
            match width {
                1 => block.extend(chunk.map(|id| id as u8)),
                2 => chunk.for_each(|id| block.extend_from_slice(&(id as u16).to_le_bytes())),
                3 => chunk.for_each(|id| block.extend_from_slice(&id.to_le_bytes()[..3])),
                _ => chunk.for_each(|id| block.extend_from_slice(&id.to_le_bytes())),
            }
            blocks.push_with(|values| match len == per_block {
                true => compressor.compress(&block, width, values),
                false => compressor.compress_last(&block, width, values),
            })?;
        }
        Ok(Self { head, blocks })
    }

    pub fn serialized_len(&self) -> u64 {
        self.head.len() as u64 + self.blocks.serialized_len()
    }

    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.head)?;
        self.blocks.write(false, out)
    }
}

/// Writes ids in the uncompressed form.
pub(crate) fn write_plain(
    ids: impl ExactSizeIterator<Item = u32>,
    cardinality: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let width = width_for(cardinality);
    let padding = 4 - width;
    out.write_all(&[0, width as u8])?;
    out.write_all(&((ids.len() * width + padding) as u32).to_be_bytes())?;
    for id in ids {
        out.write_all(&id.to_be_bytes()[4 - width..])?;
    }
    out.write_all(&[0; 4][..padding])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_the_sizes_of_druid() {
        assert_eq!([1, 2, 3, 4].map(ids_per_block), [65536, 32768, 16384, 16384]);
        assert_eq!([255, 256, 65535, 65536].map(width_for), [1, 2, 2, 3]);
    }
}
