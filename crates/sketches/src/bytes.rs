//! A bounded reader of foreign bytes.

use crate::{Result, SketchError};

/// Reads numbers from the front of a slice; every read says what is missing.
pub(crate) struct Reader<'a> {
    kind: &'static str,
    bytes: &'a [u8],
}

macro_rules! read {
    ($($name:ident, $type:ty, $from:ident;)*) => {
        $(pub(crate) fn $name(&mut self, what: &str) -> Result<$type> {
            let bytes = self.take(size_of::<$type>(), what)?;
            Ok(<$type>::$from(bytes.try_into().expect("take gives as many bytes as asked")))
        })*
    };
}

impl<'a> Reader<'a> {
    pub(crate) fn new(kind: &'static str, bytes: &'a [u8]) -> Self {
        Self { kind, bytes }
    }

    pub(crate) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8]> {
        if self.bytes.len() < count {
            return Err(self.error(format!("{what} needs {count} bytes, {} are left", self.bytes.len())));
        }
        let (head, tail) = self.bytes.split_at(count);
        self.bytes = tail;
        Ok(head)
    }

    pub(crate) fn error(&self, expectation: impl Into<String>) -> SketchError {
        SketchError::corrupt(self.kind, expectation)
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Takes `count` items of `width` bytes, refusing counts beyond what is there before anything is allocated.
    pub(crate) fn items(&mut self, count: usize, width: usize, what: &str) -> Result<std::slice::ChunksExact<'a, u8>> {
        let length = count
            .checked_mul(width)
            .ok_or_else(|| self.error(format!("{what}: {count} items of {width} bytes are too many")))?;
        Ok(self.take(length, what)?.chunks_exact(width))
    }

    read! {
        u8, u8, from_le_bytes;
        u16_be, u16, from_be_bytes;
        i16_be, i16, from_be_bytes;
        u32_le, u32, from_le_bytes;
        i32_be, i32, from_be_bytes;
        u64_le, u64, from_le_bytes;
        i64_le, i64, from_le_bytes;
        i64_be, i64, from_be_bytes;
        f32_be, f32, from_be_bytes;
        f32_le, f32, from_le_bytes;
        f64_be, f64, from_be_bytes;
        f64_le, f64, from_le_bytes;
    }
}

/// Reads the little-endian `u64` of an 8-byte item.
pub(crate) fn u64_le(item: &[u8]) -> u64 {
    u64::from_le_bytes(item.try_into().expect("items are 8 bytes wide"))
}

/// Reads the little-endian `f64` of an 8-byte item.
pub(crate) fn f64_le(item: &[u8]) -> f64 {
    f64::from_bits(u64_le(item))
}
