//! `arrayOfDoublesSketch`: DataSketches' tuple sketch with doubles, in its compact image.
//!
//! ```text
//! byte 0     preamble longs 1
//!      1     serial version 1
//!      2     family 9 (tuple)
//!      3     sketch type 3 (compact array of doubles)
//!      4     flags: 0x04 empty, 0x08 has entries
//!      5     values of a key
//!      6     u16 seed hash, 0x93CC for the seed 9001
//!      8     u64 theta
//!      16    u32 keys, 4 bytes 0 (only if it has entries)
//!      24    keys, u64
//!      …     values, f64, key by key
//! ```
//!
//! All numbers are little-endian; keys are in the order of the hash table, which is kept as Java keeps it, so that the same
//! updates give the same bytes. An empty sketch is stored as its 16 bytes. Mirrors
//! `org.apache.druid.query.aggregation.datasketches.tuple.ArrayOfDoublesSketchObjectStrategy` and the aggregators beside it.
//! Written by hand: the `datasketches` crate has the general tuple image only, which interleaves keys and values.

use crate::bytes::{Reader, f64_le, u64_le};
use crate::hash::murmur3_128;
use crate::limits::TUPLE_MAX_VALUES;
use crate::theta::lg_of_size;
use crate::{Result, SketchError};
use henge_number::f64_text;

/// Druid's type name.
pub const NAME: &str = "arrayOfDoublesSketch";
/// Druid's default number of nominal entries (`ThetaUtil.DEFAULT_NOMINAL_ENTRIES`).
pub const DEFAULT_ENTRIES: usize = 4096;

const SEED: u64 = 9001;
const SEED_HASH: u16 = 0x93cc;
const MAX_THETA: u64 = i64::MAX as u64;
const FLAG_EMPTY: u8 = 0x04;
const FLAG_ENTRIES: u8 = 0x08;
/// Tables start with a size of 2^5 and grow eightfold, so that they end at twice the nominal entries.
const TABLE_MIN_LG: u8 = 5;
const RESIZE_LG: u8 = 3;

/// Distinct keys with sums of doubles.
#[derive(Debug, Clone)]
pub struct TupleDoubles {
    lg_entries: u8,
    values_per_key: usize,
    theta: u64,
    empty: bool,
    table: Table,
}

/// Open addressing over keys; 0 is a free slot.
#[derive(Debug, Clone)]
struct Table {
    lg_slots: u8,
    keys: Vec<u64>,
    values: Vec<f64>,
    count: usize,
}

impl Table {
    fn new(lg_slots: u8, values_per_key: usize) -> Self {
        Self {
            lg_slots,
            keys: vec![0; 1 << lg_slots],
            values: vec![0.0; values_per_key << lg_slots],
            count: 0,
        }
    }

    /// Finds the slot of a key, or the free slot where it belongs.
    fn slot(&self, key: u64) -> usize {
        let mask = self.keys.len() - 1;
        let stride = 2 * (key >> self.lg_slots & 127) as usize + 1;
        let mut slot = key as usize & mask;
        while self.keys[slot] != 0 && self.keys[slot] != key {
            slot = (slot + stride) & mask;
        }
        slot
    }

    fn entries(&self, values_per_key: usize) -> impl Iterator<Item = (u64, &[f64])> {
        self.keys
            .iter()
            .enumerate()
            .filter(|(_, key)| **key != 0)
            .map(move |(slot, key)| (*key, &self.values[slot * values_per_key..(slot + 1) * values_per_key]))
    }
}

impl TupleDoubles {
    /// Makes an empty sketch of about `entries` keys with `values_per_key` doubles each.
    pub fn new(entries: usize, values_per_key: usize) -> Result<Self> {
        let lg_entries = lg_of_size(NAME, entries)?;
        if !(1..=TUPLE_MAX_VALUES).contains(&values_per_key) {
            return Err(SketchError::Invalid(format!(
                "a tuple sketch has {values_per_key} values a key, it must have between 1 and {TUPLE_MAX_VALUES}"
            )));
        }
        let lg_target = lg_entries + 1;
        let lg_slots = (lg_target - TABLE_MIN_LG) % RESIZE_LG + TABLE_MIN_LG;
        Ok(Self {
            lg_entries,
            values_per_key,
            theta: MAX_THETA,
            empty: true,
            table: Table::new(lg_slots, values_per_key),
        })
    }

    /// Reads a compact image. `entries` bounds what merging into it keeps.
    pub fn parse(bytes: &[u8], entries: usize) -> Result<Self> {
        if bytes.is_empty() {
            return Self::new(entries, 1);
        }
        let mut reader = Reader::new(NAME, bytes);
        let head = reader.take(8, "the preamble")?;
        let seed_hash = u16::from_le_bytes([head[6], head[7]]);
        if head[0] & 0x3f != 1 || head[1] != 1 || head[2] != 9 || head[3] != 3 || seed_hash != SEED_HASH {
            return Err(reader.error(format!(
                "a compact array of doubles sketch (01 01 09 03) with the seed 9001 is expected, {:02x?} is there",
                &head[..8]
            )));
        }
        let values_per_key = usize::from(head[5]).max(1);
        let theta = reader.u64_le("theta")?;
        if theta == 0 || theta > MAX_THETA {
            return Err(reader.error(format!("theta is {theta}, it must be between 1 and {MAX_THETA}")));
        }
        let mut sketch = Self::new(entries, values_per_key)?;
        sketch.theta = theta;
        sketch.empty = head[4] & FLAG_EMPTY != 0;
        if head[4] & FLAG_ENTRIES == 0 {
            return Ok(sketch);
        }
        let count = reader.u32_le("the number of keys")? as usize;
        reader.take(4, "padding")?;
        let keys = reader.items(count, 8, "keys")?;
        let values = reader.items(count * values_per_key, 8, "values")?;
        // Exactly what is there: a sketch that is only read keeps its keys and their order.
        let lg_slots = (count * 2).max(1 << TABLE_MIN_LG).next_power_of_two().trailing_zeros() as u8;
        let mut table = Table::new(lg_slots.max(sketch.table.lg_slots), values_per_key);
        let mut values = values.map(f64_le);
        for key in keys.map(u64_le) {
            let slot = table.slot(key);
            if key == 0 || key >= theta || table.keys[slot] != 0 {
                return Err(reader.error(format!("key {key:#x} is not below theta {theta:#x}, or is there twice")));
            }
            table.keys[slot] = key;
            table.count += 1;
            for value in &mut table.values[slot * values_per_key..(slot + 1) * values_per_key] {
                *value = values.next().unwrap_or(f64::NAN);
            }
        }
        sketch.empty = false;
        sketch.table = table;
        Ok(sketch)
    }

    /// Adds values to a key. Empty keys are not counted.
    ///
    /// # Panics
    ///
    /// If the number of values is not that of the sketch.
    pub fn update(&mut self, key: &str, values: &[f64]) {
        if key.is_empty() {
            return;
        }
        let hash = murmur3_128(key.as_bytes(), SEED).0 >> 1;
        self.empty = false;
        self.add(hash, values);
    }

    fn add(&mut self, key: u64, values: &[f64]) {
        assert_eq!(values.len(), self.values_per_key, "values of a key");
        if key == 0 || key >= self.theta {
            return;
        }
        let slot = self.table.slot(key);
        let range = slot * self.values_per_key..(slot + 1) * self.values_per_key;
        if self.table.keys[slot] == key {
            for (sum, value) in self.table.values[range].iter_mut().zip(values) {
                *sum += value;
            }
            return;
        }
        self.table.keys[slot] = key;
        self.table.values[range].copy_from_slice(values);
        self.table.count += 1;
        self.make_room();
    }

    /// Grows the table, or lowers theta to the nominal entries, when the table is too full.
    fn make_room(&mut self) {
        let slots = self.table.keys.len();
        if self.table.lg_slots <= self.lg_entries {
            if self.table.count > slots / 2 {
                self.rebuild((self.table.lg_slots + RESIZE_LG).min(self.lg_entries + 1));
            }
        } else if self.table.count > slots / 16 * 15 {
            self.cut();
        }
    }

    /// Keeps the nominal entries.
    fn cut(&mut self) {
        let entries = 1 << self.lg_entries;
        if self.table.count <= entries {
            return;
        }
        let mut keys: Vec<u64> = self.table.keys.iter().copied().filter(|key| *key != 0).collect();
        self.theta = *keys.select_nth_unstable(entries).1;
        self.rebuild(self.table.lg_slots);
    }

    /// Moves the entries below theta to a new table.
    fn rebuild(&mut self, lg_slots: u8) {
        let mut table = Table::new(lg_slots, self.values_per_key);
        for (key, values) in self.table.entries(self.values_per_key) {
            if key < self.theta {
                let slot = table.slot(key);
                table.keys[slot] = key;
                table.values[slot * self.values_per_key..(slot + 1) * self.values_per_key].copy_from_slice(values);
                table.count += 1;
            }
        }
        self.table = table;
    }

    /// Adds the keys and values of another sketch, and keeps the nominal entries.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if other.empty && other.table.count == 0 {
            return Ok(());
        }
        if self.empty && self.table.count == 0 && self.values_per_key != other.values_per_key {
            // Nothing yet: the first sketch decides.
            *self = Self::new(1 << self.lg_entries, other.values_per_key)?;
        }
        self.check_values(other)?;
        self.empty = false;
        if other.theta < self.theta {
            self.theta = other.theta;
            self.rebuild(self.table.lg_slots);
        }
        for (key, values) in other.table.entries(other.values_per_key) {
            self.add(key, values);
        }
        Ok(())
    }

    fn check_values(&self, other: &Self) -> Result<()> {
        if self.values_per_key == other.values_per_key {
            return Ok(());
        }
        Err(SketchError::Mismatch {
            left: format!("a tuple sketch of {} values", self.values_per_key),
            right: format!("one of {} values", other.values_per_key),
            why: "the numbers of values differ".into(),
        })
    }

    /// Gives the keys that all sketches have, with the sums of their values.
    pub fn intersect(sketches: &[Self], entries: usize) -> Result<Self> {
        let Some((first, others)) = sketches.split_first() else {
            return Self::new(entries, 1);
        };
        let mut result = first.clone();
        for other in others {
            if result.empty || other.empty {
                return Self::new(entries, first.values_per_key);
            }
            result.check_values(other)?;
            let theta = result.theta.min(other.theta);
            let mut both = Self::new(entries, result.values_per_key)?;
            both.theta = theta;
            both.empty = false;
            both.table = Table::new(result.table.lg_slots, result.values_per_key);
            for (key, values) in result.table.entries(result.values_per_key) {
                let slot = other.table.slot(key);
                if key < theta && other.table.keys[slot] == key {
                    let at = slot * other.values_per_key;
                    let sums: Vec<f64> = values
                        .iter()
                        .zip(&other.table.values[at..])
                        .map(|(left, right)| left + right)
                        .collect();
                    both.insert(key, &sums);
                }
            }
            result = both;
        }
        result.lg_entries = lg_of_size(NAME, entries)?;
        Ok(result)
    }

    /// Gives the keys of the first sketch that no other has, with their values.
    pub fn a_not_b(sketches: &[Self], entries: usize) -> Result<Self> {
        let Some((first, others)) = sketches.split_first() else {
            return Self::new(entries, 1);
        };
        let mut result = first.clone();
        for other in others {
            if other.empty || result.empty {
                continue;
            }
            let theta = result.theta.min(other.theta);
            let mut rest = Self::new(entries, result.values_per_key)?;
            rest.theta = theta;
            rest.empty = false;
            rest.table = Table::new(result.table.lg_slots, result.values_per_key);
            for (key, values) in result.table.entries(result.values_per_key) {
                if key < theta && other.table.keys[other.table.slot(key)] != key {
                    rest.insert(key, values);
                }
            }
            rest.empty = rest.table.count == 0 && theta == MAX_THETA;
            result = rest;
        }
        result.lg_entries = lg_of_size(NAME, entries)?;
        Ok(result)
    }

    /// Gives the keys of all sketches, with the sums of their values.
    pub fn union(sketches: &[Self], entries: usize) -> Result<Self> {
        let values_per_key = sketches.first().map_or(1, |sketch| sketch.values_per_key);
        let mut result = Self::new(entries, values_per_key)?;
        for sketch in sketches {
            result.merge(sketch)?;
        }
        Ok(result.trimmed())
    }

    fn insert(&mut self, key: u64, values: &[f64]) {
        let slot = self.table.slot(key);
        self.table.keys[slot] = key;
        self.table.values[slot * self.values_per_key..(slot + 1) * self.values_per_key].copy_from_slice(values);
        self.table.count += 1;
    }

    /// Gives the result of a merge: at most the nominal entries.
    pub fn trimmed(mut self) -> Self {
        self.cut();
        self
    }

    /// Estimates the number of distinct keys.
    pub fn estimate(&self) -> f64 {
        self.table.count as f64 / self.theta()
    }

    /// Estimates the sum of every value over all keys.
    pub fn sums(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.values_per_key];
        for (_, values) in self.table.entries(self.values_per_key) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value;
            }
        }
        let theta = self.theta();
        sums.iter().map(|sum| sum / theta).collect()
    }

    fn theta(&self) -> f64 {
        self.theta as f64 / MAX_THETA as f64
    }

    /// Gives the number of doubles of a key.
    pub fn values_per_key(&self) -> usize {
        self.values_per_key
    }

    /// Gives the compact image.
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = self.table.count;
        let flags = if self.empty { FLAG_EMPTY } else { 0 } | if count > 0 { FLAG_ENTRIES } else { 0 };
        let mut image = vec![1, 1, 9, 3, flags, self.values_per_key as u8];
        image.extend_from_slice(&SEED_HASH.to_le_bytes());
        image.extend_from_slice(&self.theta.to_le_bytes());
        if count > 0 {
            image.extend_from_slice(&(count as u64).to_le_bytes());
            for (key, _) in self.table.entries(self.values_per_key) {
                image.extend_from_slice(&key.to_le_bytes());
            }
            for (_, values) in self.table.entries(self.values_per_key) {
                for value in values {
                    image.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
        image
    }

    /// Describes the sketch in Java's words.
    pub fn summary(&self) -> String {
        format!(
            "### HeapArrayOfDoublesCompactSketch SUMMARY: \n   Estimate               : {}\n   Theta (double)         : {}\n   \
             Theta (long)           : {}\n   EstMode?               : {}\n   Empty?                 : {}\n   \
             Retained Entries       : {}\n### END SKETCH SUMMARY\n",
            f64_text(self.estimate()),
            f64_text(self.theta()),
            self.theta,
            self.theta < MAX_THETA && !self.empty,
            self.empty,
            self.table.count,
        )
    }

    /// Gives the memory it holds, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.table.keys.len() * 8 * (1 + self.values_per_key)
    }
}
