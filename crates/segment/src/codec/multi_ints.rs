//! Dictionary ids of rows with any number of values.
//!
//! ```text
//! V3 (V3CompressedVSizeColumnarMultiInts)      u8 3 │ offsets: u8 2 … blocks of i32 (rows + 1 of them) │ ids, compressed
//! legacy (CompressedVSizeColumnarMultiInts)    u8 2 │ offsets, as compressed ids (rows + 1)            │ ids, compressed
//! plain (VSizeColumnarMultiInts)               u8 1 │ u8 width │ i32 bytes that follow │ i32 rows │ rows × i32 end in bytes │ ids,
//!                                              big-endian │ 4 - width zero bytes
//! ```
//! Row `i` has the ids `offsets[i] .. offsets[i + 1]`.

use std::io::{self, Write};

use crate::blob::{Blob, Cursor};
use crate::codec::blocks::{PlainValues, ValueBlocks, bytes_of, read_values};
use crate::codec::compression::Compressor;
use crate::codec::generic_indexed::{GenericIndexedWriter, write_ends};
use crate::codec::ints::{CompressedIds, Ids, width_for};
use crate::codec::longs::read_plain_ints;
use crate::container::Container;
use crate::limits::{BLOCK_BYTES, GENERIC_INDEXED_BYTES};
use crate::{RowSelection, SegmentError};

/// Ints in a block of offsets.
const OFFSETS_PER_BLOCK: usize = BLOCK_BYTES / 4;

/// A column of id lists.
#[derive(Debug, Clone)]
pub(crate) struct MultiIds {
    rows: usize,
    offsets: Offsets,
    ids: Ids,
    /// Where to point when the offsets make no sense.
    place: Blob,
}

#[derive(Debug, Clone)]
enum Offsets {
    Ints(PlainValues),
    Ids(Ids),
    /// Byte ends of each row, big-endian, and the width that divides them.
    Ends(Blob, usize),
}

/// The ids of some rows.
#[derive(Debug)]
pub(crate) struct IdLists {
    /// One more than rows, beginning with 0.
    pub offsets: Vec<i32>,
    pub ids: Vec<u32>,
}

impl MultiIds {
    /// Reads any form, told apart by the version byte.
    pub fn read(cursor: &mut Cursor<'_>, container: &Container) -> Result<Self, SegmentError> {
        let (entries, offsets, ids) = match cursor.u8("multi-value version")? {
            1 => return Self::read_plain(cursor),
            2 => {
                let offsets = Ids::read(cursor, container)?;
                let ids = Ids::read(cursor, container)?;
                (offsets.len(), Offsets::Ids(offsets), ids)
            }
            3 => {
                let offsets = read_plain_ints(cursor, container)?;
                let ids = Ids::read(cursor, container)?;
                (offsets.count, Offsets::Ints(offsets), ids)
            }
            other => {
                return Err(cursor.corrupt(format!(
                    "a multi-value column must have version 1, 2 or 3, found {other}"
                )));
            }
        };
        let place = cursor.take_blob(0, "end of ids")?;
        let rows = entries
            .checked_sub(1)
            .ok_or_else(|| place.corrupt(0, "multi-value offsets must have an entry more than there are rows"))?;
        Ok(Self {
            rows,
            offsets,
            ids,
            place,
        })
    }

    fn read_plain(cursor: &mut Cursor<'_>) -> Result<Self, SegmentError> {
        let width = match cursor.u8("id width")? {
            width @ 1..=4 => usize::from(width),
            other => return Err(cursor.corrupt(format!("an id has 1 to 4 bytes, found {other}"))),
        };
        let bytes = cursor.size("bytes of ids")?;
        let body = cursor.take_blob(bytes, "ids")?;
        let mut inner = body.cursor();
        let rows = inner.size("row count")?;
        let ends = inner.take_blob(rows.saturating_mul(4), "row ends")?;
        let ids_len = inner.remaining().saturating_sub(4 - width) / width * width;
        let ids = inner.take_blob(ids_len, "ids")?;
        Ok(Self {
            rows,
            offsets: Offsets::Ends(ends, width),
            ids: Ids::plain(width, ids),
            place: body,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Names the encoding for people.
    pub fn encoding(&self) -> String {
        format!("multi-value {}", self.ids.encoding())
    }

    /// Reads the ids of the selected rows.
    pub fn read_rows(&self, rows: &RowSelection<'_>) -> Result<IdLists, SegmentError> {
        let count = rows.count(self.rows)?;
        match rows {
            RowSelection::All => self.read_range(0, self.rows),
            RowSelection::Range(range) => self.read_range(range.start.min(self.rows), count),
            RowSelection::Rows(bitmap) => {
                // Lists of neighbouring rows lie together: what lies between the first and the last row asked for is decoded once.
                let (Some(first), Some(last)) = (bitmap.min(), bitmap.max()) else {
                    return self.read_range(0, 0);
                };
                let whole = self.read_range(first as usize, (last - first) as usize + 1)?;
                let mut picked = IdLists {
                    offsets: Vec::with_capacity(count + 1),
                    ids: Vec::new(),
                };
                picked.offsets.push(0);
                for row in bitmap.iter() {
                    let at = (row - first) as usize;
                    let list = whole.offsets[at] as usize..whole.offsets[at + 1] as usize;
                    picked.ids.extend_from_slice(&whole.ids[list]);
                    picked.offsets.push(picked.ids.len() as i32);
                }
                Ok(picked)
            }
        }
    }

    fn read_range(&self, start: usize, count: usize) -> Result<IdLists, SegmentError> {
        let mut offsets: Vec<i32> = match &self.offsets {
            Offsets::Ints(ints) => read_values(ints, &RowSelection::Range(start..start + count + 1))?,
            Offsets::Ids(ids) => read_values(ids, &RowSelection::Range(start..start + count + 1))?
                .into_iter()
                .map(|end| i32::try_from(end).unwrap_or(-1))
                .collect(),
            Offsets::Ends(ends, width) => (start..start + count + 1)
                .map(|i| match i.checked_sub(1) {
                    None => 0,
                    Some(row) => {
                        let b = &ends.bytes()[row * 4..row * 4 + 4];
                        i32::from_be_bytes([b[0], b[1], b[2], b[3]]) / *width as i32
                    }
                })
                .collect(),
        };
        let first = offsets[0];
        let last = offsets[count];
        let ascending = offsets.is_sorted() && first >= 0 && last as usize <= self.ids.len();
        if !ascending {
            return Err(self.place.corrupt(
                0,
                format!("multi-value offsets must ascend from 0 to {}", self.ids.len()),
            ));
        }
        let ids = read_values(&self.ids, &RowSelection::Range(first as usize..last as usize))?;
        offsets.iter_mut().for_each(|offset| *offset -= first);
        Ok(IdLists { offsets, ids })
    }
}

/// Id lists in the V3 form, ready to be written.
#[derive(Debug)]
pub(crate) struct CompressedIdLists {
    head: [u8; 11],
    offsets: GenericIndexedWriter,
    ids: CompressedIds,
}

impl CompressedIdLists {
    /// Compresses lists; `offsets` has one entry more than there are rows.
    pub fn new(
        offsets: &[u32],
        ids: impl ExactSizeIterator<Item = u32>,
        cardinality: usize,
        compressor: &mut Compressor,
    ) -> io::Result<Self> {
        let mut head = [3, 2, 0, 0, 0, 0, 0, 0, 0, 0, compressor.compression().id()];
        head[2..6].copy_from_slice(&(offsets.len() as u32).to_be_bytes());
        head[6..10].copy_from_slice(&(OFFSETS_PER_BLOCK as u32).to_be_bytes());
        let mut list = GenericIndexedWriter::default();
        for block in offsets.chunks(OFFSETS_PER_BLOCK) {
            list.push_with(|values| match block.len() == OFFSETS_PER_BLOCK {
                true => compressor.compress(bytes_of(block), 4, values),
                false => compressor.compress_last(bytes_of(block), 4, values),
            })?;
        }
        Ok(Self {
            head,
            offsets: list,
            ids: CompressedIds::new(ids, cardinality, compressor)?,
        })
    }

    pub fn serialized_len(&self) -> u64 {
        self.head.len() as u64 + self.offsets.serialized_len() + self.ids.serialized_len()
    }

    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.head)?;
        self.offsets.write(false, out)?;
        self.ids.write(out)
    }
}

/// Writes id lists in the uncompressed form; `offsets` begins with 0.
pub(crate) fn write_plain_lists(
    offsets: &[u32],
    ids: &[u32],
    cardinality: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let width = width_for(cardinality);
    let padding = 4 - width;
    let ends = &offsets[1..];
    let bytes = 4 + 4 * ends.len() as u64 + (ids.len() * width + padding) as u64;
    if bytes > GENERIC_INDEXED_BYTES {
        return Err(io::Error::other(SegmentError::Limit {
            what: "the size in bytes of an uncompressed multi-value column".into(),
            actual: bytes,
            limit: GENERIC_INDEXED_BYTES,
            remedy: "write smaller segments (fewer rows per segment)",
        }));
    }
    out.write_all(&[1, width as u8])?;
    out.write_all(&(bytes as u32).to_be_bytes())?;
    out.write_all(&(ends.len() as u32).to_be_bytes())?;
    write_ends(ends.iter().map(|end| end * width as u32), out)?;
    let mut buffer = Vec::with_capacity(ids.len() * width + padding);
    for id in ids {
        buffer.extend_from_slice(&id.to_be_bytes()[4 - width..]);
    }
    buffer.resize(buffer.len() + padding, 0);
    out.write_all(&buffer)
}
