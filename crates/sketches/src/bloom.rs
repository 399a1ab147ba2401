//! `bloom`: Hive's bloom filter, blocked by 512 bits.
//!
//! ```text
//! byte 0     hash functions
//!      1     i32 number of words
//!      5     words, 64 bits each
//! ```
//!
//! All numbers are big-endian. Mirrors `org.apache.druid.query.filter.BloomKFilter`. Never a column; the result of
//! `BLOOM_FILTER` and a literal of `BLOOM_FILTER_TEST`.

use crate::bytes::Reader;
use crate::hash::{HIVE_NULL, hive_murmur3, hive_murmur3_long};
use crate::limits::BLOOM_MAX_WORDS;
use crate::value::{java_double_bits, java_float_bits};
use crate::{Result, SketchError, Value};

/// Druid's type name.
pub const NAME: &str = "bloom";

/// Words of a block.
const BLOCK: usize = 8;
/// Wanted rate of false positives (`BloomKFilter.DEFAULT_FPP`, a Java float).
const FALSE_POSITIVES: f32 = 0.05;

/// A set that may claim values that it does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bloom {
    functions: u8,
    words: Vec<u64>,
}

impl Bloom {
    /// Makes an empty filter for so many distinct values.
    pub fn new(entries: i64) -> Result<Self> {
        if entries <= 0 {
            return Err(SketchError::Invalid(format!(
                "a bloom filter is made for {entries} values, it must be for 1 or more"
            )));
        }
        let entries = entries as f64;
        let ln_2 = std::f64::consts::LN_2;
        let bits = (-entries * f64::from(FALSE_POSITIVES).ln() / (ln_2 * ln_2)).trunc();
        let words = (bits / 64.0).ceil();
        if words >= (BLOOM_MAX_WORDS - BLOCK) as f64 {
            return Err(SketchError::Invalid(format!(
                "a bloom filter for {entries} values needs {words} words, the limit is {BLOOM_MAX_WORDS}"
            )));
        }
        let words = words as usize;
        Ok(Self {
            functions: (bits / entries * ln_2).round().max(1.0) as u8,
            words: vec![0; words + BLOCK - words % BLOCK],
        })
    }

    /// Reads a filter.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(NAME, bytes);
        let functions = reader.u8("the number of hash functions")?;
        let count = reader.i32_be("the number of words")?;
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count > 0 && count.is_multiple_of(BLOCK))
            .ok_or_else(|| {
                reader.error(format!(
                    "the number of words is {count}, it must be a multiple of {BLOCK}"
                ))
            })?;
        if !(1..=127).contains(&functions) {
            return Err(reader.error(format!("the number of hash functions is {functions}")));
        }
        let words = reader
            .items(count, 8, "words")?
            .map(|item| u64::from_be_bytes(item.try_into().expect("items are 8 bytes wide")))
            .collect();
        Ok(Self { functions, words })
    }

    /// Adds a value or null.
    pub fn update(&mut self, value: Option<Value<'_>>) {
        let hash = hash_of(value);
        for (word, bit) in positions(hash, self.functions, self.words.len()) {
            self.words[word] |= 1 << bit;
        }
    }

    /// Says whether a value, or null, may have been added.
    pub fn test(&self, value: Option<Value<'_>>) -> bool {
        positions(hash_of(value), self.functions, self.words.len()).all(|(word, bit)| self.words[word] >> bit & 1 == 1)
    }

    /// Adds the values of another filter of the same shape.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if (self.functions, self.words.len()) != (other.functions, other.words.len()) {
            let shape = |filter: &Self| {
                format!(
                    "a bloom filter of {} words and {} functions",
                    filter.words.len(),
                    filter.functions
                )
            };
            return Err(SketchError::Mismatch {
                left: shape(self),
                right: shape(other),
                why: "their shapes differ".into(),
            });
        }
        for (word, theirs) in self.words.iter_mut().zip(&other.words) {
            *word |= theirs;
        }
        Ok(())
    }

    /// Gives the bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(5 + 8 * self.words.len());
        bytes.push(self.functions);
        bytes.extend_from_slice(&(self.words.len() as i32).to_be_bytes());
        for word in &self.words {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// Gives the memory it holds, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + 8 * self.words.len()
    }
}

fn hash_of(value: Option<Value<'_>>) -> u64 {
    match value {
        None => HIVE_NULL,
        Some(Value::Text(text)) => hive_murmur3(text.as_bytes()),
        Some(Value::Long(number)) => hive_murmur3_long(number),
        Some(Value::Float(number)) => hive_murmur3(&java_float_bits(number).to_le_bytes()),
        Some(Value::Double(number)) => hive_murmur3_long(java_double_bits(number) as i64),
    }
}

/// Gives the words and bits of a hash: one block, a bit for each function.
fn positions(hash: u64, functions: u8, words: usize) -> impl Iterator<Item = (usize, u32)> {
    let (first, second) = (hash as i32, (hash >> 32) as i32);
    let positive = |number: i32| if number < 0 { !number } else { number } as usize;
    let block = positive(first.wrapping_add(second)) % (words / BLOCK) * BLOCK;
    (1..=i32::from(functions)).map(move |function| {
        let combined = positive(first.wrapping_add((function + 1).wrapping_mul(second)));
        (block + combined % BLOCK, (combined >> 3) as u32 & 63)
    })
}
