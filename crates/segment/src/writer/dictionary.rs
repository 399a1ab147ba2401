//! Sorted string dictionaries as they are written: plain, front-coded, or whichever is smaller.
//!
//! A plain dictionary is written without being copied into order first: see [`crate::codec::dictionary`] for the bytes.

use std::io::Write;

use super::sort::Strings;
use crate::StringEncoding;
use crate::codec::front_coded;
use crate::codec::generic_indexed::{write_ends, write_head};

/// Bytes that are collected before the file is called.
const BUFFER_BYTES: usize = 1 << 15;

/// Distinct strings in their order, ready to be written.
pub(super) struct SortedDictionary<'a> {
    strings: Strings<'a>,
    order: &'a [u32],
    has_null: bool,
    /// The whole dictionary, where it is not plain.
    front_coded: Option<Vec<u8>>,
}

impl<'a> SortedDictionary<'a> {
    /// Takes distinct strings and the indexes of them in order; null comes first.
    pub fn new(strings: Strings<'a>, order: &'a [u32], has_null: bool, encoding: StringEncoding) -> Self {
        let mut dictionary = Self {
            strings,
            order,
            has_null,
            front_coded: None,
        };
        let values = || order.iter().map(|index| strings.get(*index));
        match encoding {
            StringEncoding::Utf8 => {}
            StringEncoding::FrontCoded { bucket_size, version } => {
                dictionary.front_coded = Some(front_coded::write(values(), has_null, bucket_size, version));
            }
            StringEncoding::Smallest => {
                let packed = front_coded::write(values(), has_null, front_coded::DEFAULT_BUCKET, 1);
                if (packed.len() as u64) < dictionary.serialized_len() {
                    dictionary.front_coded = Some(packed);
                }
            }
        }
        dictionary
    }

    fn count(&self) -> usize {
        self.order.len() + usize::from(self.has_null)
    }

    fn values_len(&self) -> u64 {
        self.strings.bytes.len() as u64 + 4 * self.count() as u64
    }

    /// Counts the bytes that [`Self::write`] writes.
    pub fn serialized_len(&self) -> u64 {
        match &self.front_coded {
            Some(bytes) => bytes.len() as u64,
            None => 10 + 4 * self.count() as u64 + self.values_len(),
        }
    }

    pub fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        if let Some(bytes) = &self.front_coded {
            return out.write_all(bytes);
        }
        write_head(true, self.count(), self.values_len(), out)?;
        let null = self.has_null.then_some(4);
        let mut end = null.unwrap_or(0);
        let ends = self.order.iter().map(|index| {
            end += 4 + self.strings.get(*index).len() as u32;
            end
        });
        write_ends(null.into_iter().chain(ends), out)?;
        if self.has_null {
            out.write_all(&[0xFF; 4])?;
        }
        let mut buffer = Vec::with_capacity(2 * BUFFER_BYTES);
        for index in self.order {
            buffer.extend_from_slice(&[0; 4]);
            buffer.extend_from_slice(self.strings.get(*index));
            if buffer.len() >= BUFFER_BYTES {
                out.write_all(&buffer)?;
                buffer.clear();
            }
        }
        out.write_all(&buffer)
    }
}
