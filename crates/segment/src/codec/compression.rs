//! Block compression (Druid's `CompressionStrategy`).

use serde::{Deserialize, Serialize};

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// LZF chunks of older clusters; read only.
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
