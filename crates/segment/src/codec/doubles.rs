//! Columns of doubles and floats (Druid's `CompressedColumnarDoublesSuppliers`, `CompressedColumnarFloatsSupplier`).
//!
//! ```text
//! u8 version 2 │ i32 count │ i32 values a block │ u8 compression │ blocks (f64le / f32le), or the values where compression is none
//! version 1 has no compression byte and is LZF
//! ```

use crate::SegmentError;
use crate::blob::Cursor;
use crate::codec::blocks::{PlainValues, read_compression};
use crate::codec::compression::Compression;
use crate::container::Container;

/// Reads the head of a column of `width`-byte floats.
pub(crate) fn read(cursor: &mut Cursor<'_>, container: &Container, width: usize) -> Result<PlainValues, SegmentError> {
    let version = cursor.u8("version")?;
    let count = cursor.size("value count")?;
    let per_block = cursor.size("values a block")?;
    let compression = match version {
        1 => Compression::Lzf,
        2 => read_compression(cursor)?,
        other => return Err(cursor.corrupt(format!("a float column must have version 1 or 2, found {other}"))),
    };
    PlainValues::read(cursor, container, compression, count, per_block, width)
}
