//! A list of variable-length values (Druid's `GenericIndexed`): dictionaries, bitmaps, compressed blocks, names.
//!
//! ```text
//! V1   u8 1 │ u8 sorted │ i32 bytes that follow │ i32 count │ count × i32 end offset │ values
//!      value: i32 marker (-1 null, else present), bytes; end offsets count the markers and start behind the offsets
//! V2   u8 2 │ u8 sorted │ i32 log2 of values a file │ i32 count │ str base name
//!      internal files <base>_value_<n>: values as above; <base>_header: count × i32le end offset in its own value file
//! ```

use std::io::{self, Write};

use crate::SegmentError;
use crate::blob::{Blob, Cursor};
use crate::container::Container;
use crate::limits::GENERIC_INDEXED_BYTES;

/// A list that is read in place.
#[derive(Debug, Clone)]
pub(crate) struct GenericIndexed {
    count: usize,
    storage: Storage,
}

#[derive(Debug, Clone)]
enum Storage {
    One { offsets: Blob, values: Blob },
    Many { header: Blob, log2: u32, files: Vec<Blob> },
}

impl GenericIndexed {
    /// Reads the head of a list; values are checked when they are asked for.
    pub fn read(cursor: &mut Cursor<'_>, container: &Container, what: &str) -> Result<Self, SegmentError> {
        let version = cursor.u8(what)?;
        // The next byte promises ascending values; a dictionary is known to have them.
        cursor.u8(what)?;
        match version {
            1 => {
                let bytes = cursor.size(what)?;
                let body = cursor.take_blob(bytes, what)?;
                let mut inner = body.cursor();
                let count = inner.size(what)?;
                let offsets_len = count
                    .checked_mul(4)
                    .filter(|len| *len <= inner.remaining())
                    .ok_or_else(|| body.corrupt(0, format!("{what}: {count} offsets must fit in {bytes} bytes")))?;
                let offsets = inner.take_blob(offsets_len, what)?;
                Ok(Self {
                    count,
                    storage: Storage::One {
                        offsets,
                        values: inner.rest(),
                    },
                })
            }
            2 => Self::read_many(cursor, container, what),
            other => Err(cursor.corrupt(format!("{what} must be a list of version 1 or 2, found {other}"))),
        }
    }

    fn read_many(cursor: &mut Cursor<'_>, container: &Container, what: &str) -> Result<Self, SegmentError> {
        let log2 = cursor.i32(what)?;
        let log2 = u32::try_from(log2)
            .ok()
            .filter(|log2| *log2 < 32)
            .ok_or_else(|| cursor.corrupt(format!("{what}: values a file must be 2^0 to 2^31, found 2^{log2}")))?;
        let count = cursor.size(what)?;
        let base = cursor.string(what)?;
        let open = |name: String| {
            container
                .file(&name)
                .ok_or_else(|| cursor.corrupt(format!("{what} needs internal file [{name}]")))
        };
        let header = open(format!("{base}_header"))?;
        if header.len() / 4 < count {
            return Err(header.corrupt(0, format!("{what}: {count} offsets must fit in {} bytes", header.len())));
        }
        let files = (0..(count as u64).div_ceil(1 << log2))
            .map(|n| open(format!("{base}_value_{n}")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            count,
            storage: Storage::Many { header, log2, files },
        })
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// Gives the start and end of a value, marker included, and the bytes that they count in.
    fn range(&self, index: usize) -> Result<(usize, usize, &Blob), SegmentError> {
        let (start, end, values) = match &self.storage {
            Storage::One { offsets, values } => {
                let at = |i: usize| {
                    let b = &offsets.bytes()[i * 4..i * 4 + 4];
                    i32::from_be_bytes([b[0], b[1], b[2], b[3]])
                };
                (if index == 0 { 0 } else { at(index - 1) }, at(index), values)
            }
            Storage::Many { header, log2, files } => {
                let at = |i: usize| {
                    let b = &header.bytes()[i * 4..i * 4 + 4];
                    i32::from_le_bytes([b[0], b[1], b[2], b[3]])
                };
                let first = index & ((1usize << log2) - 1) == 0;
                (if first { 0 } else { at(index - 1) }, at(index), &files[index >> log2])
            }
        };
        match (usize::try_from(start), usize::try_from(end)) {
            (Ok(start), Ok(end)) if end >= 4 && start <= end - 4 && end <= values.len() => Ok((start, end, values)),
            _ => Err(values.corrupt(
                0,
                format!(
                    "value {index} at {start}..{end} must hold a marker and lie within {} bytes",
                    values.len()
                ),
            )),
        }
    }

    /// Gives a value; none for null. The index must be below [`Self::len`].
    pub fn get(&self, index: usize) -> Result<Option<&[u8]>, SegmentError> {
        let (start, end, values) = self.range(index)?;
        let bytes = values.bytes();
        if end - start == 4 && bytes[start] == 0xFF {
            return Ok(None);
        }
        Ok(Some(&bytes[start + 4..end]))
    }

    /// Gives a value as a piece that knows its place; null is an empty piece.
    pub fn blob(&self, index: usize) -> Result<Blob, SegmentError> {
        let (start, end, values) = self.range(index)?;
        values.slice(start + 4, end, "value")
    }

    /// Makes an error about a value.
    pub fn corrupt(&self, index: usize, expectation: String) -> SegmentError {
        match self.range(index) {
            Ok((start, _, values)) => values.corrupt(start, expectation),
            Err(e) => e,
        }
    }

    /// Counts the bytes of all values and markers.
    pub fn values_bytes(&self) -> usize {
        match &self.storage {
            Storage::One { values, .. } => values.len(),
            Storage::Many { files, .. } => files.iter().map(Blob::len).sum(),
        }
    }
}

/// Collects a list.
#[derive(Debug, Default)]
pub(crate) struct GenericIndexedWriter {
    ends: Vec<u32>,
    values: Vec<u8>,
}

impl GenericIndexedWriter {
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self {
            ends: Vec::with_capacity(count),
            values: Vec::with_capacity(bytes),
        }
    }

    /// Appends a value that `write` appends to the bytes it is given.
    pub fn push_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.values.extend_from_slice(&[0; 4]);
        write(&mut self.values)?;
        self.ends.push(self.values.len() as u32);
        Ok(())
    }

    pub fn push(&mut self, value: &[u8]) {
        self.values.extend_from_slice(&[0; 4]);
        self.values.extend_from_slice(value);
        self.ends.push(self.values.len() as u32);
    }

    pub fn push_null(&mut self) {
        self.values.extend_from_slice(&[0xFF; 4]);
        self.ends.push(self.values.len() as u32);
    }

    pub fn memory_bytes(&self) -> usize {
        self.ends.capacity() * 4 + self.values.capacity()
    }

    /// Counts the bytes that [`Self::write`] writes.
    pub fn serialized_len(&self) -> u64 {
        10 + 4 * self.ends.len() as u64 + self.values.len() as u64
    }

    /// Writes the list; fails when it is too large for one piece.
    pub fn write(&self, sorted: bool, out: &mut impl Write) -> io::Result<()> {
        write_head(sorted, self.ends.len(), self.values.len() as u64, out)?;
        write_ends(self.ends.iter().copied(), out)?;
        out.write_all(&self.values)
    }
}

/// Writes what stands before the end offsets of a list of `count` values whose bytes and markers are `values_len`.
pub(crate) fn write_head(sorted: bool, count: usize, values_len: u64, out: &mut impl Write) -> io::Result<()> {
    let bytes = 4 + 4 * count as u64 + values_len;
    if bytes > GENERIC_INDEXED_BYTES {
        return Err(io::Error::other(SegmentError::Limit {
            what: "the size in bytes of a list".into(),
            actual: bytes,
            limit: GENERIC_INDEXED_BYTES,
            remedy: "write smaller segments (fewer rows per segment)",
        }));
    }
    out.write_all(&[1, u8::from(sorted)])?;
    out.write_all(&(bytes as u32).to_be_bytes())?;
    out.write_all(&(count as u32).to_be_bytes())
}

/// Writes end offsets.
pub(crate) fn write_ends(ends: impl Iterator<Item = u32>, out: &mut impl Write) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(4096);
    for end in ends {
        buffer.extend_from_slice(&end.to_be_bytes());
        if buffer.len() == 4096 {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)
}
