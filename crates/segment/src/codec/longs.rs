//! Columns of longs (Druid's `CompressedColumnarLongsSupplier` and `CompressionFactory`).
//!
//! ```text
//! u8 version 2 │ i32 count │ i32 values a block │ u8 compression [│ u8 encoding │ encoding head] │ blocks, or the values (none)
//! version 1 has no compression byte and is LZF, plain
//!
//! An encoding byte follows where the compression byte, as a signed byte, is below -2; 126 is then added to get the id.
//! 0xFF LONGS   no head    values are i64le
//! 0x00 DELTA   u8 1 │ i64 base │ i32 bits                 value = base + stored
//! 0x01 TABLE   u8 1 │ i32 size ≤ 256 │ size × i64         value = table[stored], bits from the size
//! stored: packed most significant bit first, each block filled up to a byte and closed by 4 zero bytes
//! ```

use crate::SegmentError;
use crate::blob::{Blob, Cursor};
use crate::codec::blocks::{CompressedBlocks, PlainValues, ValueBlocks, read_compression};
use crate::codec::compression::Compression;
use crate::container::Container;
use crate::limits::BLOCK_BYTES;

/// The bit widths of packed values (`VSizeLongSerde`).
const BIT_WIDTHS: [u32; 13] = [1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64];

/// Values of a `none` column that are decoded at once.
const ENTIRE_CHUNK: usize = 8192;

/// A column of longs.
#[derive(Debug, Clone)]
pub(crate) enum Longs {
    Plain(PlainValues),
    Packed(PackedLongs),
}

/// Longs packed to fewer bits.
#[derive(Debug, Clone)]
pub(crate) struct PackedLongs {
    count: usize,
    per_block: usize,
    bits: u32,
    meaning: Meaning,
    data: PackedData,
}

#[derive(Debug, Clone)]
enum Meaning {
    Delta(i64),
    Table(Vec<i64>),
}

#[derive(Debug, Clone)]
enum PackedData {
    Blocks(CompressedBlocks),
    Entire(Blob),
}

impl Longs {
    /// Reads the head of a column.
    pub fn read(cursor: &mut Cursor<'_>, container: &Container) -> Result<Self, SegmentError> {
        let version = cursor.u8("version")?;
        let count = cursor.size("value count")?;
        let per_block = cursor.size("values a block")?;
        let (compression, encoding) = match version {
            1 => (Compression::Lzf, 0xFF),
            2 => {
                let byte = cursor.u8("compression id")? as i8;
                if byte < -2 {
                    let id = byte.wrapping_add(126) as u8;
                    let compression = Compression::from_id(id)
                        .ok_or_else(|| cursor.corrupt(format!("no compression has id {id:#04x}")))?;
                    (compression, cursor.u8("long encoding")?)
                } else {
                    let id = byte as u8;
                    let compression = Compression::from_id(id)
                        .ok_or_else(|| cursor.corrupt(format!("no compression has id {id:#04x}")))?;
                    (compression, 0xFF)
                }
            }
            other => return Err(cursor.corrupt(format!("a long column must have version 1 or 2, found {other}"))),
        };
        let (meaning, bits) = match encoding {
            0xFF => {
                let plain = PlainValues::read(cursor, container, compression, count, per_block, 8)?;
                return Ok(Self::Plain(plain));
            }
            0x00 => {
                cursor.version(1, "delta encoding")?;
                let base = cursor.i64("delta base")?;
                let bits = cursor.i32("delta bits")?;
                (Meaning::Delta(base), bits.unsigned_abs())
            }
            0x01 => {
                cursor.version(1, "table encoding")?;
                let size = cursor.size("table size")?;
                if size > 256 {
                    return Err(cursor.corrupt(format!("a table has at most 256 values, found {size}")));
                }
                let table = (0..size).map(|_| cursor.i64("table value")).collect::<Result<_, _>>()?;
                (Meaning::Table(table), bits_for(size.max(1) as u64))
            }
            other => return Err(cursor.corrupt(format!("no long encoding has id {other:#04x}"))),
        };
        if !BIT_WIDTHS.contains(&bits) {
            return Err(cursor.corrupt(format!("values are packed to one of {BIT_WIDTHS:?} bits, found {bits}")));
        }
        let (per_block, data) = if compression == Compression::None {
            let data = cursor.take_blob(packed_len(bits, count), "packed values")?;
            (ENTIRE_CHUNK, PackedData::Entire(data))
        } else {
            if per_block == 0 || packed_len(bits, per_block) > BLOCK_BYTES + 4 {
                return Err(cursor.corrupt(format!("{per_block} values of {bits} bits do not fit a block")));
            }
            let blocks = CompressedBlocks::read(
                cursor,
                container,
                compression,
                count.div_ceil(per_block),
                packed_len(bits, count),
            )?;
            (per_block, PackedData::Blocks(blocks))
        };
        Ok(Self::Packed(PackedLongs {
            count,
            per_block,
            bits,
            meaning,
            data,
        }))
    }

    /// Names the encoding for people.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Plain(_) => "longs",
            Self::Packed(packed) => match packed.meaning {
                Meaning::Delta(_) => "delta",
                Meaning::Table(_) => "table",
            },
        }
    }
}

impl ValueBlocks<i64> for Longs {
    fn len(&self) -> usize {
        match self {
            Self::Plain(plain) => plain.count,
            Self::Packed(packed) => packed.count,
        }
    }

    fn values_per_block(&self) -> usize {
        match self {
            Self::Plain(plain) => ValueBlocks::<i64>::values_per_block(plain),
            Self::Packed(packed) => packed.per_block,
        }
    }

    fn decode(&self, block: usize, scratch: &mut Vec<u8>, out: &mut [i64]) -> Result<(), SegmentError> {
        match self {
            Self::Plain(plain) => plain.decode(block, scratch, out),
            Self::Packed(packed) => packed.decode(block, scratch, out),
        }
    }
}

impl PackedLongs {
    fn decode(&self, block: usize, scratch: &mut Vec<u8>, out: &mut [i64]) -> Result<(), SegmentError> {
        let bits = self.bits as usize;
        let (bytes, first_bit): (&[u8], usize) = match &self.data {
            PackedData::Blocks(blocks) => {
                scratch.resize(packed_len(self.bits, out.len()), 0);
                blocks.decompress(block, scratch)?;
                (scratch, 0)
            }
            PackedData::Entire(data) => (data.bytes(), block * self.per_block * bits),
        };
        match &self.meaning {
            Meaning::Delta(base) => unpack(bytes, first_bit, bits, out, |stored| {
                Some(base.wrapping_add(stored as i64))
            }),
            Meaning::Table(table) => unpack(bytes, first_bit, bits, out, |stored| {
                table.get(stored as usize).copied()
            }),
        }
        .map_err(|(index, stored)| {
            let expectation = format!("value {index} of block {block} must be an entry of the table, found {stored}");
            match &self.data {
                PackedData::Entire(data) => data.corrupt(first_bit / 8, expectation),
                PackedData::Blocks(blocks) => blocks.corrupt(block, expectation),
            }
        })
    }
}

/// Unpacks values of `bits` bits, most significant bit first; fails with the position of a value without meaning.
fn unpack(
    bytes: &[u8],
    first_bit: usize,
    bits: usize,
    out: &mut [i64],
    meaning: impl Fn(u64) -> Option<i64>,
) -> Result<(), (usize, u64)> {
    // A value of up to 56 bits lies within eight bytes, whatever bit it begins with.
    let wide = bits > 56;
    for (index, slot) in out.iter_mut().enumerate() {
        let bit = first_bit + index * bits;
        let stored = match bytes.get(bit / 8..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(window) if !wide => u64::from_be_bytes(*window) << (bit % 8) >> (64 - bits),
            _ => unpack_at_the_end(bytes, bit, bits),
        };
        *slot = meaning(stored).ok_or((index, stored))?;
    }
    Ok(())
}

/// Unpacks one value byte by byte.
fn unpack_at_the_end(bytes: &[u8], bit: usize, bits: usize) -> u64 {
    let last = (bit + bits - 1) / 8;
    let window = bytes[bit / 8..=last]
        .iter()
        .fold(0u128, |acc, byte| acc << 8 | u128::from(*byte));
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    (window >> (last * 8 + 8 - bit - bits)) as u64 & mask
}

/// Packs values of `bits` bits, most significant bit first, fills up the last byte and adds the four closing ones.
pub(crate) fn pack(values: impl Iterator<Item = u64>, bits: u32, out: &mut Vec<u8>) {
    if bits == 64 {
        values.for_each(|value| out.extend_from_slice(&value.to_be_bytes()));
    } else {
        // Up to seven bits wait for the next value, which has at most 56.
        let (mut waiting, mut held) = (0u64, 0u32);
        for value in values {
            waiting = waiting << bits | value;
            held += bits;
            while held >= 8 {
                held -= 8;
                out.push((waiting >> held) as u8);
            }
        }
        if held > 0 {
            out.push((waiting << (8 - held)) as u8);
        }
    }
    out.extend_from_slice(&[0; 4]);
}

/// Gives how many packed values a block has: the largest power of two that fits.
pub(crate) fn packed_per_block(bits: u32) -> usize {
    let fit = (BLOCK_BYTES - 4) * 8 / bits as usize;
    1 << fit.ilog2()
}

/// Counts the bytes of packed values with their four closing bytes.
pub(crate) fn packed_len(bits: u32, count: usize) -> usize {
    (count.saturating_mul(bits as usize)).div_ceil(8) + 4
}

/// Gives the smallest width for values below `limit`.
pub(crate) fn bits_for(limit: u64) -> u32 {
    BIT_WIDTHS
        .into_iter()
        .find(|bits| *bits == 64 || limit <= 1 << bits)
        .unwrap_or(64)
}

/// Reads the head of the offsets of compressed multi-value columns (`CompressedColumnarIntsSupplier`):
/// `u8 2 │ i32 count │ i32 ints a block │ u8 compression │ blocks of i32le`.
pub(crate) fn read_plain_ints(cursor: &mut Cursor<'_>, container: &Container) -> Result<PlainValues, SegmentError> {
    cursor.version(2, "offsets")?;
    let count = cursor.size("offset count")?;
    let per_block = cursor.size("offsets a block")?;
    let compression = read_compression(cursor)?;
    PlainValues::read(cursor, container, compression, count, per_block, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_the_examples_of_the_format() {
        let mut out = [0; 3];
        unpack(&[0x00, 0x1A, 0xBC, 0x12, 0x30], 0, 12, &mut out, |v| Some(v as i64)).unwrap();
        assert_eq!(out, [1, 0xABC, 0x123]);
        unpack(&[0x12, 0x30], 0, 4, &mut out, |v| Some(v as i64)).unwrap();
        assert_eq!(out, [1, 2, 3]);
        unpack(&[0xA0], 0, 1, &mut out, |v| Some(v as i64)).unwrap();
        assert_eq!(out, [1, 0, 1]);
        let mut out = [0; 1];
        unpack(&[0xFF; 8], 0, 64, &mut out, |v| Some(v as i64)).unwrap();
        assert_eq!(out, [-1]);
    }

    #[test]
    fn packed_values_come_back() {
        for bits in BIT_WIDTHS {
            let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
            let values: Vec<u64> = (1..100u64)
                .map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) & mask)
                .collect();
            for count in [0, 1, 2, 7, 99] {
                let mut bytes = Vec::new();
                pack(values[..count].iter().copied(), bits, &mut bytes);
                assert_eq!(bytes.len(), packed_len(bits, count));
                let mut out = vec![0; count];
                unpack(&bytes, 0, bits as usize, &mut out, |v| Some(v as i64)).unwrap();
                assert!(out.iter().zip(&values).all(|(out, value)| *out as u64 == *value));
            }
        }
    }

    #[test]
    fn blocks_have_the_sizes_of_druid() {
        let sizes = BIT_WIDTHS.map(packed_per_block);
        assert_eq!(
            sizes,
            [
                262144, 131072, 65536, 32768, 32768, 16384, 16384, 16384, 8192, 8192, 8192, 8192, 4096
            ]
        );
    }

    #[test]
    fn widths_hold_their_values() {
        assert_eq!(bits_for(1), 1);
        assert_eq!(bits_for(2), 1);
        assert_eq!(bits_for(3), 2);
        assert_eq!(bits_for(256), 8);
        assert_eq!(bits_for(257), 12);
        assert_eq!(bits_for(u64::MAX), 64);
    }
}
