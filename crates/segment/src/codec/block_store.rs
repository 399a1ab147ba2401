//! Values of any length in compressed blocks (Druid's `CompressedVariableSizedBlobColumnSupplier` and `CompressedBlockReader`).
//!
//! ```text
//! blob column    u8 1 │ i32 number of values;  <name>_offsets: block store of i64 value ends;  <name>_compressed: block store
//! block store    u8 1 │ u8 compression │ i32 block size │ i32 blocks │ blocks × i32 end of a compressed block │ data
//! ```
//! Ends are in the column's byte order.

use crate::SegmentError;
use crate::blob::{Blob, ByteOrder, Cursor};
use crate::codec::blocks::read_compression;
use crate::codec::compression::{Compression, Compressor};
use crate::container::{Container, SmooshWriter};
use crate::limits::{BLOCK_BYTES, GENERIC_INDEXED_BYTES};

/// A stream of bytes in compressed blocks.
#[derive(Debug, Clone)]
pub(crate) struct BlockStore {
    compression: Compression,
    block_size: usize,
    ends: Blob,
    data: Blob,
}

/// The block that was decompressed last.
#[derive(Debug, Default)]
pub(crate) struct BlockBuffer {
    block: Option<usize>,
    bytes: Vec<u8>,
}

impl BlockStore {
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Self, SegmentError> {
        cursor.version(1, "block store")?;
        let compression = read_compression(cursor)?;
        let block_size = cursor.size("block size")?;
        if !block_size.is_power_of_two() || block_size > BLOCK_BYTES {
            return Err(cursor.corrupt(format!(
                "a block has a power of two up to {BLOCK_BYTES} bytes, found {block_size}"
            )));
        }
        let blocks = cursor.size("block count")?;
        let ends = cursor.take_blob(blocks.saturating_mul(4), "block ends")?;
        Ok(Self {
            compression,
            block_size,
            ends,
            data: cursor.rest(),
        })
    }

    fn end(&self, block: usize) -> usize {
        let b = &self.ends.bytes()[block * 4..block * 4 + 4];
        u32::from_le_bytes(self.ends.order().to_little([b[0], b[1], b[2], b[3]])) as usize
    }

    /// Decompresses a block into the buffer, unless it is there already.
    fn load(&self, block: usize, buffer: &mut BlockBuffer) -> Result<(), SegmentError> {
        if buffer.block == Some(block) {
            return Ok(());
        }
        if block >= self.ends.len() / 4 {
            return Err(self.data.corrupt(
                0,
                format!(
                    "values must lie within {} blocks, found block {block}",
                    self.ends.len() / 4
                ),
            ));
        }
        let start = if block == 0 { 0 } else { self.end(block - 1) };
        let compressed = self.data.slice(start, self.end(block), "compressed block")?;
        buffer.block = None;
        buffer.bytes.resize(self.block_size, 0);
        let filled = self
            .compression
            .decompress(compressed.bytes(), &mut buffer.bytes)
            .map_err(|expected| compressed.corrupt(0, format!("block {block} must be {expected}")))?;
        buffer.bytes.truncate(filled);
        buffer.block = Some(block);
        Ok(())
    }

    /// Gives the bytes `start..end` of the stream in `out`.
    pub fn copy(
        &self,
        start: usize,
        end: usize,
        buffer: &mut BlockBuffer,
        out: &mut Vec<u8>,
    ) -> Result<(), SegmentError> {
        out.clear();
        let mut at = start;
        while at < end {
            self.load(at / self.block_size, buffer)?;
            let from = at % self.block_size;
            let wanted = (end - at).min(self.block_size - from);
            let piece = buffer.bytes.get(from..from + wanted).ok_or_else(|| {
                self.data.corrupt(
                    0,
                    format!(
                        "block {} must have {} bytes, found {}",
                        at / self.block_size,
                        from + wanted,
                        buffer.bytes.len()
                    ),
                )
            })?;
            out.extend_from_slice(piece);
            at += wanted;
        }
        Ok(())
    }
}

/// A column of values of any length.
#[derive(Debug, Clone)]
pub(crate) struct BlobColumn {
    count: usize,
    ends: BlockStore,
    data: BlockStore,
}

/// What reading values one after the other keeps.
#[derive(Debug, Default)]
pub(crate) struct BlobBuffers {
    ends: BlockBuffer,
    data: BlockBuffer,
    number: Vec<u8>,
}

impl BlobColumn {
    /// Opens the column called `name`.
    pub fn open(container: &Container, name: &str, order: ByteOrder) -> Result<Self, SegmentError> {
        let head = container.require(name)?;
        let mut cursor = head.cursor();
        cursor.version(1, "blob column")?;
        let count = cursor.size("value count")?;
        let store = |suffix: &str| -> Result<BlockStore, SegmentError> {
            let blob = container.require(&format!("{name}{suffix}"))?.with_order(order);
            BlockStore::read(&mut blob.cursor())
        };
        let (ends, data) = (store("_offsets")?, store("_compressed")?);
        Ok(Self { count, ends, data })
    }

    pub fn len(&self) -> usize {
        self.count
    }

    fn value_end(&self, index: usize, buffers: &mut BlobBuffers) -> Result<usize, SegmentError> {
        self.ends
            .copy(index * 8, index * 8 + 8, &mut buffers.ends, &mut buffers.number)?;
        let end = buffers
            .number
            .first_chunk::<8>()
            .map_or(-1, |bytes| i64::from_le_bytes(self.ends.data.order().to_little(*bytes)));
        // A stream has at most 2^31 blocks of 2^16 bytes.
        usize::try_from(end)
            .ok()
            .filter(|end| *end <= self.data.ends.len() / 4 * self.data.block_size)
            .ok_or_else(|| {
                self.data
                    .data
                    .corrupt(0, format!("the end of value {index} lies behind the data: {end}"))
            })
    }

    /// Gives a value in `out`.
    pub fn value(&self, index: usize, buffers: &mut BlobBuffers, out: &mut Vec<u8>) -> Result<(), SegmentError> {
        let start = match index.checked_sub(1) {
            None => 0,
            Some(previous) => self.value_end(previous, buffers)?,
        };
        let end = self.value_end(index, buffers)?;
        if start > end {
            return Err(self
                .data
                .data
                .corrupt(0, format!("value {index} ends before it starts: {start}..{end}")));
        }
        self.data.copy(start, end, &mut buffers.data, out)
    }
}

/// Collects a stream of bytes, compressing blocks as they fill.
#[derive(Debug)]
pub(crate) struct BlockStream {
    compressor: Compressor,
    /// Bytes between which values begin: what the compressor looks at.
    stride: usize,
    block: Vec<u8>,
    ends: Vec<u32>,
    data: Vec<u8>,
}

impl BlockStream {
    pub fn new(compression: Compression, stride: usize) -> std::io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(compression)?,
            stride,
            block: Vec::new(),
            ends: Vec::new(),
            data: Vec::new(),
        })
    }

    pub fn push(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = rest;
            if self.block.len() == BLOCK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.block.len() == BLOCK_BYTES {
            self.compressor.compress(&self.block, self.stride, &mut self.data)?;
        } else {
            self.compressor
                .compress_last(&self.block, self.stride, &mut self.data)?;
        }
        self.ends.push(self.data.len() as u32);
        self.block.clear();
        Ok(())
    }

    fn len(&self) -> u64 {
        10 + 4 * (self.ends.len() as u64 + 1) + (self.data.len() + self.block.len()) as u64
    }

    fn memory_bytes(&self) -> usize {
        self.block.capacity() + self.ends.capacity() * 4 + self.data.capacity()
    }

    /// Gives where the blocks end, and the blocks.
    pub fn into_blocks(mut self) -> std::io::Result<(Vec<u32>, Vec<u8>)> {
        if !self.block.is_empty() {
            self.flush()?;
        }
        Ok((self.ends, self.data))
    }

    /// Gives the head and the data of a block store. There is one block at least.
    fn finish(mut self) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
        if self.block.is_empty() && self.ends.is_empty() {
            self.flush()?;
        }
        let mut head = vec![1, self.compressor.compression().id()];
        let (ends, data) = self.into_blocks()?;
        head.extend_from_slice(&(BLOCK_BYTES as u32).to_be_bytes());
        head.extend_from_slice(&(ends.len() as u32).to_be_bytes());
        for end in &ends {
            head.extend_from_slice(&end.to_le_bytes());
        }
        Ok((head, data))
    }
}

/// Collects a column of values of any length.
#[derive(Debug)]
pub(crate) struct BlobColumnWriter {
    count: u32,
    end: u64,
    ends: BlockStream,
    data: BlockStream,
}

impl BlobColumnWriter {
    pub fn new(compression: Compression) -> std::io::Result<Self> {
        Ok(Self {
            count: 0,
            end: 0,
            ends: BlockStream::new(compression, 8)?,
            data: BlockStream::new(compression, 1)?,
        })
    }

    pub fn push(&mut self, value: &[u8]) -> std::io::Result<()> {
        self.count += 1;
        self.end += value.len() as u64;
        self.ends.push(&self.end.to_le_bytes())?;
        self.data.push(value)?;
        if self.data.len() > GENERIC_INDEXED_BYTES {
            return Err(std::io::Error::other(SegmentError::Limit {
                what: "the size in bytes of compressed objects".into(),
                actual: self.data.len(),
                limit: GENERIC_INDEXED_BYTES,
                remedy: "write smaller segments (fewer rows per segment)",
            }));
        }
        Ok(())
    }

    pub fn memory_bytes(&self) -> usize {
        self.ends.memory_bytes() + self.data.memory_bytes()
    }

    /// Writes the three internal files of the column called `name`.
    pub fn finish(self, smoosh: &mut SmooshWriter, name: &str) -> Result<(), SegmentError> {
        let mut head = vec![1];
        head.extend_from_slice(&self.count.to_be_bytes());
        smoosh.add(name, &[&head])?;
        for (suffix, store) in [("_offsets", self.ends), ("_compressed", self.data)] {
            let (head, data) = store.finish().map_err(|e| smoosh.write_error(e))?;
            smoosh.add(&format!("{name}{suffix}"), &[&head, &data])?;
        }
        Ok(())
    }
}
