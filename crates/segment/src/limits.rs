//! Every limit of the format and of henge's reader, in one place.

/// Decompressed bytes of a block at most (`CompressedPools.BUFFER_SIZE`).
pub const BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of a smoosh chunk file at most (`Integer.MAX_VALUE`).
pub const CHUNK_BYTES: u64 = i32::MAX as u64;

/// Bytes of a GenericIndexed of one piece at most (`GenericIndexedWriter.MAX_FILE_SIZE`).
pub const GENERIC_INDEXED_BYTES: u64 = i32::MAX as u64 - 4096;

/// Rows of a segment at most: row numbers are Java ints.
pub const SEGMENT_ROWS: u64 = i32::MAX as u64;

/// Chunk files of a segment at most; their names have five digits.
pub const CHUNK_FILES: usize = 100_000;

/// Bytes of all entries of an `index.zip` at most, as a multiple of the zip's own: DEFLATE cannot do better.
pub const ZIP_EXPANSION: u64 = 1032;

/// Bytes of the decompressed metadata of a V10 segment at most.
pub const V10_METADATA_BYTES: usize = 64 << 20;

/// Arrays and objects inside each other in JSON that is written (Jackson allows 1000).
pub const JSON_DEPTH: usize = 500;

/// Bytes of memory that reading a segment to the end takes at most for each byte of it: a Zstandard block of a dozen bytes holds
/// 64 KiB.
pub const READ_EXPANSION: usize = BLOCK_BYTES / 8;

/// Threads that encode the columns of one segment at most.
pub const WRITER_THREADS: usize = 64;
