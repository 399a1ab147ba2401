//! Foreign bytes with a name: every access is checked and every failure says where.

use std::sync::Arc;

use bytes::Bytes;

use crate::SegmentError;

/// Where bytes come from, for errors.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The file on disk.
    pub file: String,
    /// The internal file, and with it the column.
    pub internal: String,
}

/// A piece of an internal file. Clones share the bytes.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    bytes: Bytes,
    origin: Arc<Origin>,
    /// Offset of the first byte in the internal file.
    base: u64,
    order: ByteOrder,
}

/// The order of the bytes of what Druid writes in the order of its machine; the descriptor of a column names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ByteOrder {
    /// That of nearly all machines.
    #[default]
    Little,
    /// That of the machines of a few old or large clusters.
    Big,
}

impl ByteOrder {
    /// Turns bytes of this order into little-endian ones, or back.
    pub fn to_little<const N: usize>(self, mut bytes: [u8; N]) -> [u8; N] {
        if self == Self::Big {
            bytes.reverse();
        }
        bytes
    }
}

impl Blob {
    pub fn new(bytes: Bytes, file: impl Into<String>, internal: impl Into<String>) -> Self {
        Self {
            bytes,
            origin: Arc::new(Origin {
                file: file.into(),
                internal: internal.into(),
            }),
            base: 0,
            order: ByteOrder::default(),
        }
    }

    /// Tells in which order the bytes of numbers stand where that is the machine's.
    pub fn with_order(self, order: ByteOrder) -> Self {
        Self { order, ..self }
    }

    pub fn order(&self) -> ByteOrder {
        self.order
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Cuts a piece out; the caller has checked the range.
    fn piece(&self, start: usize, end: usize) -> Blob {
        Blob {
            bytes: self.bytes.slice(start..end),
            origin: Arc::clone(&self.origin),
            base: self.base + start as u64,
            order: self.order,
        }
    }

    /// Cuts `start..end` out, or says that `what` does not lie inside.
    pub fn slice(&self, start: usize, end: usize, what: &str) -> Result<Blob, SegmentError> {
        if start > end || end > self.len() {
            return Err(self.corrupt(
                start.min(self.len()),
                format!("{what} at {start}..{end} must lie within {} bytes", self.len()),
            ));
        }
        Ok(self.piece(start, end))
    }

    pub fn cursor(&self) -> Cursor<'_> {
        Cursor { blob: self, at: 0 }
    }

    /// Makes the error for what is wrong at `at`, relative to this piece.
    pub fn corrupt(&self, at: usize, expectation: impl Into<String>) -> SegmentError {
        SegmentError::Corrupt {
            file: self.origin.file.clone(),
            column: self.origin.internal.clone(),
            offset: self.base + at as u64,
            expectation: expectation.into(),
        }
    }

    pub fn unsupported(&self, what: impl Into<String>) -> SegmentError {
        SegmentError::Unsupported {
            file: format!("{}, column [{}]", self.origin.file, self.origin.internal),
            what: what.into(),
        }
    }
}

/// Reads a [`Blob`] front to back; integers are big-endian unless the name says that they are in the order of the blob.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    blob: &'a Blob,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn remaining(&self) -> usize {
        self.blob.len() - self.at
    }

    pub fn corrupt(&self, expectation: impl Into<String>) -> SegmentError {
        self.blob.corrupt(self.at, expectation)
    }

    pub fn unsupported(&self, what: impl Into<String>) -> SegmentError {
        self.blob.unsupported(what)
    }

    /// Looks at the next byte.
    pub fn peek(&self) -> Option<u8> {
        self.blob.bytes().get(self.at).copied()
    }

    /// Takes `len` bytes.
    pub fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], SegmentError> {
        let Some(end) = self.at.checked_add(len).filter(|end| *end <= self.blob.len()) else {
            return Err(self.corrupt(format!("{what} needs {len} bytes, {} are left", self.remaining())));
        };
        let taken = &self.blob.bytes()[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// Takes `len` bytes as a piece of their own.
    pub fn take_blob(&mut self, len: usize, what: &str) -> Result<Blob, SegmentError> {
        let start = self.at;
        self.take(len, what)?;
        Ok(self.blob.piece(start, self.at))
    }

    /// Takes everything that is left as a piece of its own.
    pub fn rest(&mut self) -> Blob {
        let start = self.at;
        self.at = self.blob.len();
        self.blob.piece(start, self.at)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], SegmentError> {
        let mut value = [0; N];
        value.copy_from_slice(self.take(N, what)?);
        Ok(value)
    }

    pub fn u8(&mut self, what: &str) -> Result<u8, SegmentError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub fn i32(&mut self, what: &str) -> Result<i32, SegmentError> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    pub fn i64(&mut self, what: &str) -> Result<i64, SegmentError> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    pub fn i64_native(&mut self, what: &str) -> Result<i64, SegmentError> {
        Ok(i64::from_le_bytes(self.order().to_little(self.array(what)?)))
    }

    pub fn i32_native(&mut self, what: &str) -> Result<i32, SegmentError> {
        Ok(i32::from_le_bytes(self.order().to_little(self.array(what)?)))
    }

    pub fn order(&self) -> ByteOrder {
        self.blob.order
    }

    /// Reads a count or size: a non-negative int.
    pub fn size(&mut self, what: &str) -> Result<usize, SegmentError> {
        let value = self.i32(what)?;
        self.non_negative(value, what)
    }

    /// Reads a count or size in the order of the blob.
    pub fn size_native(&mut self, what: &str) -> Result<usize, SegmentError> {
        let value = self.i32_native(what)?;
        self.non_negative(value, what)
    }

    fn non_negative(&self, value: i32, what: &str) -> Result<usize, SegmentError> {
        usize::try_from(value).map_err(|_| {
            self.blob
                .corrupt(self.at - 4, format!("{what} must not be negative, found {value}"))
        })
    }

    /// Reads a `VByte`: seven bits a byte, least significant first, the high bit set on the *last* byte.
    pub fn vbyte(&mut self, what: &str) -> Result<usize, SegmentError> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8(what)?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 != 0 {
                if value > i32::MAX as u64 {
                    break;
                }
                return Ok(value as usize);
            }
        }
        Err(self.corrupt(format!("{what} must be a variable-length int below 2^31")))
    }

    /// Reads an `i32` length and that many bytes of UTF-8 (`SerializerUtils.writeString`).
    pub fn string(&mut self, what: &str) -> Result<&'a str, SegmentError> {
        let len = self.size(what)?;
        let start = self.at;
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map_err(|e| self.blob.corrupt(start, format!("{what} must be UTF-8: {e}")))
    }

    /// Demands a version byte.
    pub fn version(&mut self, expected: u8, what: &str) -> Result<(), SegmentError> {
        let found = self.u8(what)?;
        if found != expected {
            return Err(self.blob.corrupt(
                self.at - 1,
                format!("{what} must have version {expected}, found {found}"),
            ));
        }
        Ok(())
    }
}

/// Appends a `VByte`.
pub(crate) fn put_vbyte(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7F {
        out.push((value & 0x7F) as u8);
        value >>= 7;
    }
    out.push(value as u8 | 0x80);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vbytes_are_those_of_druid() {
        for (value, bytes) in [
            (0, &[0x80][..]),
            (1, &[0x81]),
            (127, &[0xFF]),
            (128, &[0x00, 0x81]),
            (300, &[0x2C, 0x82]),
            (16384, &[0x00, 0x00, 0x81]),
            (i32::MAX as usize, &[0x7F, 0x7F, 0x7F, 0x7F, 0x87]),
        ] {
            let mut out = Vec::new();
            put_vbyte(&mut out, value);
            assert_eq!(out, bytes);
            let blob = Blob::new(Bytes::copy_from_slice(bytes), "f", "c");
            assert_eq!(blob.cursor().vbyte("v").unwrap(), value);
        }
        let endless = Blob::new(Bytes::from_static(&[0; 9]), "f", "c");
        assert!(endless.cursor().vbyte("v").is_err());
    }
}
