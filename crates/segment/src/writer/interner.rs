//! Distinct values of a column, numbered as they appear.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::sort::Strings;

/// A value in the table: part of its hash, which spares most comparisons, and its id.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    id: u32,
}

/// The distinct values of a column in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Interner {
    table: HashTable<Entry>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

fn spread(hash: u32) -> u64 {
    // The table takes its buckets from the low bits and its tags from the high ones.
    u64::from(hash) << 32 | u64::from(hash)
}

impl Interner {
    pub fn strings(&self) -> Strings<'_> {
        Strings {
            bytes: &self.bytes,
            ends: &self.ends,
        }
    }

    /// Counts the distinct values.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Counts the bytes of the distinct values.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Frees what only [`Self::intern`] needs.
    pub fn forget_lookups(&mut self) {
        self.table = HashTable::new();
    }

    /// Finds the id of a value.
    pub fn find(&self, value: &[u8]) -> Option<u32> {
        let hash = xxh3_64(value) as u32;
        let strings = self.strings();
        let found = self
            .table
            .find(spread(hash), |e| e.hash == hash && strings.get(e.id - 1) == value);
        found.map(|entry| entry.id)
    }

    /// Gives the id of a value, from 1 on.
    pub fn intern(&mut self, value: &[u8]) -> u32 {
        let hash = xxh3_64(value) as u32;
        let strings = Strings {
            bytes: &self.bytes,
            ends: &self.ends,
        };
        let found = self
            .table
            .find(spread(hash), |e| e.hash == hash && strings.get(e.id - 1) == value);
        if let Some(entry) = found {
            return entry.id;
        }
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len() as u32);
        let id = self.ends.len() as u32;
        self.table
            .insert_unique(spread(hash), Entry { hash, id }, |e| spread(e.hash));
        id
    }

    pub fn memory_bytes(&self) -> usize {
        self.table.capacity() * (size_of::<Entry>() + 1) + self.bytes.capacity() + self.ends.capacity() * 4
    }
}
