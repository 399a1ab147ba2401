//! Sorted dictionaries of fixed width: longs, doubles, ids (Druid's `FixedIndexed`).
//!
//! ```text
//! u8 version 0 │ u8 flags (1 has null, 2 sorted) │ i32 count without null │ count × width bytes, both in the column's byte order
//! ```
//! With the null flag index 0 is null and index `i` the stored value `i - 1`.

use crate::SegmentError;
use crate::blob::{Blob, Cursor};

const HAS_NULL: u8 = 1;
const SORTED: u8 = 2;

/// A dictionary of `N`-byte values, read in place.
#[derive(Debug, Clone)]
pub(crate) struct FixedIndexed<const N: usize> {
    has_null: bool,
    values: Blob,
}

impl<const N: usize> FixedIndexed<N> {
    pub fn read(cursor: &mut Cursor<'_>, what: &str) -> Result<Self, SegmentError> {
        cursor.version(0, what)?;
        let flags = cursor.u8(what)?;
        let count = cursor.size_native(what)?;
        Ok(Self {
            has_null: flags & HAS_NULL != 0,
            values: cursor.take_blob(count.saturating_mul(N), what)?,
        })
    }

    /// Counts the entries, null included.
    pub fn len(&self) -> usize {
        self.values.len() / N + usize::from(self.has_null)
    }

    /// Gives the bytes of an entry, little-endian; none for null and behind the end.
    pub fn get(&self, index: usize) -> Option<[u8; N]> {
        let stored = index.checked_sub(usize::from(self.has_null))?;
        let stored = self.values.bytes().as_chunks::<N>().0.get(stored)?;
        Some(self.values.order().to_little(*stored))
    }

    /// Finds the index of a value among those that ascend by `key`.
    pub fn position<K: Ord>(&self, value: [u8; N], key: impl Fn([u8; N]) -> K) -> Option<usize> {
        let values = self.values.bytes().as_chunks::<N>().0;
        let wanted = key(value);
        let order = self.values.order();
        let at = values
            .binary_search_by(|stored| key(order.to_little(*stored)).cmp(&wanted))
            .ok()?;
        Some(at + usize::from(self.has_null))
    }
}

/// Serialises sorted values; with `has_null` index 0 is null.
pub(crate) fn write<const N: usize>(values: impl ExactSizeIterator<Item = [u8; N]>, has_null: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(6 + N * values.len());
    out.extend_from_slice(&[0, SORTED | if has_null { HAS_NULL } else { 0 }]);
    out.extend_from_slice(&(values.len() as u32).to_le_bytes());
    for value in values {
        out.extend_from_slice(&value);
    }
    out
}
