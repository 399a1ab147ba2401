//! Block compression (Druid's `CompressionStrategy`).
//!
//! ```text
//! id    name          a block is
//! 0x00  lzf           chunks, see `lzf`
//! 0x01  lz4           one raw LZ4 block: no frame, no length
//! 0x02  zstd          one Zstandard frame
//! 0xFE  none          no blocks at all (numbers only)
//! 0xFF  uncompressed  the bytes themselves
//! ```
//!
//! The decompressed length is stored nowhere: a block fills the buffer that its place in the column implies.

use serde::{Deserialize, Serialize};

use crate::codec::lz4::Encoder as Lz4Encoder;
use crate::codec::lz4_thorough::ThoroughEncoder;
use crate::codec::lzf;
use crate::limits::BLOCK_BYTES;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// LZF chunks of older clusters.
    Lzf,
    /// One raw LZ4 block.
    #[default]
    Lz4,
    /// One Zstandard frame.
    Zstd,
    /// The bytes themselves, in blocks.
    Uncompressed,
    /// The bytes themselves, without blocks; numbers only.
    None,
}

impl Compression {
    pub(crate) fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            0x00 => Self::Lzf,
            0x01 => Self::Lz4,
            0x02 => Self::Zstd,
            0xFE => Self::None,
            0xFF => Self::Uncompressed,
            _ => return None,
        })
    }

    pub(crate) fn id(self) -> u8 {
        match self {
            Self::Lzf => 0x00,
            Self::Lz4 => 0x01,
            Self::Zstd => 0x02,
            Self::None => 0xFE,
            Self::Uncompressed => 0xFF,
        }
    }

    /// Gives Druid's JSON name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lzf => "lzf",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::None => "none",
            Self::Uncompressed => "uncompressed",
        }
    }

    /// Tells how many bytes a byte of a block can become at most: what a reader may allocate on the word of a file.
    pub(crate) fn max_expansion(self) -> usize {
        match self {
            Self::Lz4 | Self::Lzf => 255,
            // A block of one repeated byte takes about a dozen bytes.
            Self::Zstd => BLOCK_BYTES / 8,
            Self::None | Self::Uncompressed => 1,
        }
    }

    /// Decompresses a block and gives how many bytes of `out` it filled; the error says what is wrong with the block.
    pub(crate) fn decompress(self, block: &[u8], out: &mut [u8]) -> Result<usize, String> {
        match self {
            Self::Lz4 => lz4_flex::block::decompress_into(block, out).map_err(|e| format!("a raw LZ4 block: {e}")),
            Self::Zstd => zstd::bulk::decompress_to_buffer(block, out).map_err(|e| format!("a Zstandard frame: {e}")),
            Self::Lzf => lzf::decompress(block, out),
            Self::Uncompressed | Self::None => {
                let target = out
                    .get_mut(..block.len())
                    .ok_or_else(|| format!("at most {BLOCK_BYTES} bytes, found {}", block.len()))?;
                target.copy_from_slice(block);
                Ok(block.len())
            }
        }
    }
}

/// Compresses blocks one after the other, keeping its tables.
pub(crate) struct Compressor {
    compression: Compression,
    lz4: Lz4Encoder,
    lz4_thorough: ThoroughEncoder,
    lz4_fast: lz4_flex::block::CompressTable,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

/// The level that Druid's zstd binding uses (`Zstd.compress` without a level).
const ZSTD_LEVEL: i32 = 3;

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor")
            .field("compression", &self.compression)
            .finish()
    }
}

impl Compressor {
    /// Prepares a compression; `none` has no blocks that could be written.
    pub fn new(compression: Compression) -> std::io::Result<Self> {
        let zstd = match compression {
            Compression::Zstd => Some(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
            _ => None,
        };
        Ok(Self {
            compression,
            lz4: Lz4Encoder::new(),
            lz4_thorough: ThoroughEncoder::default(),
            lz4_fast: lz4_flex::block::CompressTable::large(),
            zstd,
        })
    }

    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Appends the compressed form of the one block of a column that is not full to `out`: small segments have nothing but such blocks,
    /// and large ones one a column, so it is made as small as can be.
    pub fn compress_last(&mut self, block: &[u8], stride: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
        let start = out.len();
        self.compress(block, stride, out)?;
        if self.compression == Compression::Lz4 {
            let end = out.len();
            self.lz4_thorough.compress(block, out);
            keep_smaller(out, start, end);
        }
        Ok(())
    }

    /// Appends the compressed form of a block, whose values are `stride` bytes wide, to `out`.
    pub fn compress(&mut self, block: &[u8], stride: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
        let start = out.len();
        match (self.compression, &mut self.zstd) {
            (Compression::Zstd, Some(zstd)) => {
                out.resize(start + zstd::zstd_safe::compress_bound(block.len()), 0);
                let len = zstd.compress_to_buffer(block, &mut out[start..])?;
                out.truncate(start + len);
            }
            (Compression::Lz4, _) => {
                self.lz4.compress(block, stride, out);
                let packed = out.len() - start;
                // Where whole values hardly repeat, parts of them may.
                if packed > block.len() / 8 * 7 {
                    let end = out.len();
                    out.resize(end + lz4_flex::block::get_maximum_output_size(block.len()), 0);
                    let len = lz4_flex::block::compress_into_with_table(block, &mut out[end..], &mut self.lz4_fast)
                        .map_err(std::io::Error::other)?;
                    out.truncate(end + len);
                    keep_smaller(out, start, end);
                }
            }
            (Compression::Lzf, _) => lzf::compress(block, out),
            _ => out.extend_from_slice(block),
        }
        Ok(())
    }
}

/// Keeps the smaller of the two forms of a block that begin at `first` and `second`.
fn keep_smaller(out: &mut Vec<u8>, first: usize, second: usize) {
    let end = out.len();
    if end - second < second - first {
        out.copy_within(second..end, first);
        out.truncate(first + end - second);
    } else {
        out.truncate(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back() {
        let mut block: Vec<u8> = (0..BLOCK_BYTES as u32).map(|i| ((i * i) >> 7) as u8).collect();
        block[1000..9000].fill(7);
        for compression in [
            Compression::Lz4,
            Compression::Zstd,
            Compression::Lzf,
            Compression::Uncompressed,
        ] {
            for len in [0, 1, 13, 4096, BLOCK_BYTES] {
                let mut packed = Vec::new();
                Compressor::new(compression)
                    .unwrap()
                    .compress(&block[..len], 1, &mut packed)
                    .unwrap();
                let mut out = vec![0; BLOCK_BYTES];
                assert_eq!(compression.decompress(&packed, &mut out).unwrap(), len);
                assert_eq!(out[..len], block[..len]);
            }
        }
    }
}
