//! Chooses how a column of longs is stored: in eight bytes, as differences from the smallest, or as numbers of a table.
//!
//! 1. Values are collected in blocks, each as differences from its own smallest value in as few bytes as that takes.
//! 2. At the end some blocks are compressed in every encoding that the values allow, and the smallest wins.
//! 3. All values are written in that encoding; see [`crate::codec::longs`] for the bytes.
//!
//! Mirrors `IntermediateColumnarLongsSerializer`, which goes by the number of values alone.

use std::io;

use hashbrown::HashMap;

use super::numeric::ValuePart;
use crate::codec::blocks::bytes_of;
use crate::codec::compression::{Compression, Compressor};
use crate::codec::generic_indexed::GenericIndexedWriter;
use crate::codec::longs::{bits_for, pack, packed_per_block};
use crate::limits::BLOCK_BYTES;

/// Values that are collected in one block.
const PENDING_VALUES: usize = BLOCK_BYTES / 8;

/// Values of a table at most.
const TABLE_VALUES: usize = 256;

/// Blocks that are compressed on trial.
const SAMPLES: usize = 4;

/// Differences of fewer bits are left to tables: Druid misreads them (see the format's traps).
const DELTA_BITS_MIN: u32 = 4;

/// Values as differences from their smallest.
#[derive(Debug)]
struct Pending {
    base: i64,
    width: usize,
    bytes: Box<[u8]>,
    len: usize,
}

impl Pending {
    fn new(values: &[i64]) -> Self {
        let base = values.iter().copied().min().unwrap_or(0);
        let max = values.iter().copied().max().unwrap_or(0);
        let largest = max.wrapping_sub(base) as u64;
        let width = (64 - largest.leading_zeros() as usize).div_ceil(8);
        let mut bytes = Vec::with_capacity(values.len() * width);
        for value in values {
            bytes.extend_from_slice(&value.wrapping_sub(base).to_le_bytes()[..width]);
        }
        Self {
            base,
            width,
            bytes: bytes.into_boxed_slice(),
            len: values.len(),
        }
    }

    fn append_to(&self, out: &mut Vec<i64>) {
        if self.width == 0 {
            out.resize(out.len() + self.len, self.base);
            return;
        }
        out.extend(self.bytes.chunks_exact(self.width).map(|chunk| {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            self.base.wrapping_add(i64::from_le_bytes(eight))
        }));
    }
}

/// Collects longs until their encoding can be chosen.
#[derive(Debug)]
pub(super) struct LongCollector {
    blocks: Vec<Pending>,
    current: Vec<i64>,
    min: i64,
    max: i64,
    /// Distinct values in order of appearance, while there are few.
    table: Option<(HashMap<i64, u8>, Vec<i64>)>,
    count: usize,
}

/// A way to store the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Longs,
    Delta(u32),
    Table(u32),
}

impl Encoding {
    /// Gives after how many bytes a value begins at the same bit.
    fn stride(self) -> usize {
        match self {
            Self::Longs => 8,
            Self::Delta(bits) | Self::Table(bits) => match bits {
                1 | 2 | 4 => 1,
                12 | 20 => bits as usize / 4,
                bits => bits as usize / 8,
            },
        }
    }

    fn per_block(self) -> usize {
        match self {
            Self::Longs => BLOCK_BYTES / 8,
            Self::Delta(bits) | Self::Table(bits) => packed_per_block(bits),
        }
    }
}

impl LongCollector {
    pub fn new() -> Self {
        Self {
            blocks: Vec::new(),
            current: Vec::new(),
            min: i64::MAX,
            max: i64::MIN,
            table: Some((HashMap::new(), Vec::new())),
            count: 0,
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let blocks: usize = self
            .blocks
            .iter()
            .map(|block| block.bytes.len() + size_of::<Pending>())
            .sum();
        blocks + self.current.capacity() * 8
    }

    pub fn append(&mut self, values: &[i64]) {
        self.count += values.len();
        for value in values {
            self.min = self.min.min(*value);
            self.max = self.max.max(*value);
        }
        self.note_distinct(values);
        let mut rest = values;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PENDING_VALUES - self.current.len()));
            self.current.extend_from_slice(now);
            rest = later;
            if self.current.len() == PENDING_VALUES {
                self.close_block();
            }
        }
    }

    fn note_distinct(&mut self, values: &[i64]) {
        let Some((ids, table)) = &mut self.table else {
            return;
        };
        let mut previous = None;
        for value in values {
            if previous == Some(value) || ids.contains_key(value) {
                previous = Some(value);
                continue;
            }
            previous = Some(value);
            if table.len() == TABLE_VALUES {
                self.table = None;
                return;
            }
            ids.insert(*value, table.len() as u8);
            table.push(*value);
        }
    }

    fn close_block(&mut self) {
        if !self.current.is_empty() {
            self.blocks.push(Pending::new(&self.current));
            self.current.clear();
        }
    }

    /// Encodes the values: what stands before the block list (or the values, for compression none), the list, and those values.
    pub fn finish(mut self, compressor: &mut Compressor) -> io::Result<ValuePart> {
        self.close_block();
        let encoding = self.choose(compressor)?;
        let compression = compressor.compression();
        let entire = compression == Compression::None;
        let mut head = vec![2];
        head.extend_from_slice(&(self.count as u32).to_be_bytes());
        let per_block = if entire { 0 } else { encoding.per_block() as u32 };
        head.extend_from_slice(&per_block.to_be_bytes());
        match encoding {
            Encoding::Longs => head.push(compression.id()),
            Encoding::Delta(bits) => {
                head.extend_from_slice(&[compression.id().wrapping_sub(126), 0, 1]);
                head.extend_from_slice(&self.min.to_be_bytes());
                head.extend_from_slice(&bits.to_be_bytes());
            }
            Encoding::Table(_) => {
                head.extend_from_slice(&[compression.id().wrapping_sub(126), 1, 1]);
                let table = self.table.as_ref().map_or(&[][..], |(_, table)| table);
                head.extend_from_slice(&(table.len() as u32).to_be_bytes());
                table
                    .iter()
                    .for_each(|value| head.extend_from_slice(&value.to_be_bytes()));
            }
        }
        let mut blocks = GenericIndexedWriter::default();
        let mut values = Vec::new();
        let mut encoded = Vec::new();
        if entire {
            self.blocks.iter().for_each(|block| block.append_to(&mut values));
            self.encode(&values, encoding, &mut encoded);
            return Ok(ValuePart {
                head,
                blocks: None,
                entire: encoded,
            });
        }
        let size = encoding.per_block();
        let stride = encoding.stride();
        let mut pending = std::mem::take(&mut self.blocks).into_iter().peekable();
        while let Some(block) = pending.next() {
            block.append_to(&mut values);
            let last = pending.peek().is_none();
            let mut whole = values.chunks_exact(size);
            let mut used = 0;
            for chunk in whole.by_ref() {
                encoded.clear();
                self.encode(chunk, encoding, &mut encoded);
                blocks.push_with(|out| compressor.compress(&encoded, stride, out))?;
                used += size;
            }
            values.drain(..used);
            if last && !values.is_empty() {
                encoded.clear();
                self.encode(&values, encoding, &mut encoded);
                blocks.push_with(|out| compressor.compress_last(&encoded, stride, out))?;
            }
        }
        Ok(ValuePart {
            head,
            blocks: Some(blocks),
            entire: Vec::new(),
        })
    }

    fn encode(&self, values: &[i64], encoding: Encoding, out: &mut Vec<u8>) {
        match (encoding, &self.table) {
            (Encoding::Table(bits), Some((ids, _))) => {
                let ids = values
                    .iter()
                    .map(|value| u64::from(ids.get(value).copied().unwrap_or_default()));
                pack(ids, bits, out);
            }
            (Encoding::Delta(bits), _) => {
                pack(
                    values.iter().map(|value| value.wrapping_sub(self.min) as u64),
                    bits,
                    out,
                );
            }
            _ => out.extend_from_slice(bytes_of(values)),
        }
    }

    /// Counts the bytes that an encoding takes beside its blocks.
    fn head_bytes(&self, encoding: Encoding) -> usize {
        match (encoding, &self.table) {
            (Encoding::Table(_), Some((_, table))) => 6 + 8 * table.len(),
            (Encoding::Delta(_), _) => 14,
            _ => 0,
        }
    }

    /// Compresses a few blocks in every encoding and takes the smallest; eight bytes win a tie.
    fn choose(&self, compressor: &mut Compressor) -> io::Result<Encoding> {
        let mut candidates = vec![Encoding::Longs];
        // Differences are one less than the values they can take; all of them is no range at all.
        if let Some(values) = self
            .max
            .checked_sub(self.min)
            .filter(|range| *range < i64::MAX)
            .map(|range| range as u64 + 1)
        {
            let bits = bits_for(values);
            if (DELTA_BITS_MIN..64).contains(&bits) {
                candidates.push(Encoding::Delta(bits));
            }
        }
        if let Some((_, table)) = &self.table {
            candidates.push(Encoding::Table(bits_for(table.len().max(1) as u64)));
        }
        let step = (self.blocks.len() / SAMPLES).max(1);
        let mut sizes = vec![0usize; candidates.len()];
        let (mut values, mut encoded, mut compressed) = (Vec::new(), Vec::new(), Vec::new());
        for block in self.blocks.iter().step_by(step).take(SAMPLES) {
            values.clear();
            block.append_to(&mut values);
            for (size, candidate) in sizes.iter_mut().zip(&candidates) {
                encoded.clear();
                self.encode(&values, *candidate, &mut encoded);
                compressed.clear();
                // A column of one block is compressed as its last block is.
                if self.blocks.len() == 1 {
                    compressor.compress_last(&encoded, candidate.stride(), &mut compressed)?;
                } else {
                    compressor.compress(&encoded, candidate.stride(), &mut compressed)?;
                }
                *size += compressed.len();
            }
        }
        // The samples stand for all blocks; what stands before them is there once.
        let sampled = self.blocks.len().div_ceil(step).min(SAMPLES);
        let whole =
            |size: usize, encoding: Encoding| size * self.blocks.len() / sampled.max(1) + self.head_bytes(encoding);
        let sizes = sizes.iter().zip(&candidates);
        let best = sizes.min_by_key(|(size, encoding)| whole(**size, **encoding));
        Ok(best.map_or(Encoding::Longs, |(_, encoding)| *encoding))
    }
}
