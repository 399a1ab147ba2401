//! `thetaSketch`: DataSketches' theta sketch, in its compact, ordered image.
//!
//! ```text
//! byte 0     preamble longs: 1 empty or one hash, 2 exact, 3 estimating
//!      1     serial version 3
//!      2     family 3
//!      3, 4  0
//!      5     flags: 0x02 read-only, 0x04 empty, 0x08 compact, 0x10 ordered, 0x20 one hash
//!      6     u16 seed hash, 0x93CC for the seed 9001 (0 in Java's empty image)
//!      8     one hash: the hash, and the end
//!      8     u32 number of hashes
//!      12    f32 1.0
//!      16    u64 theta (three preamble longs only)
//!      …     hashes, u64, ascending
//! ```
//!
//! All numbers are little-endian. An empty sketch is stored as no bytes. Mirrors
//! `org.apache.druid.query.aggregation.datasketches.theta.SketchHolderObjectStrategy`, `SketchAggregator` and `SketchHolder`.
//! Whatever was merged, the result holds the `size` smallest hashes, so it does not depend on any order. The algorithm is the
//! `datasketches` crate's; update images (family 2), which pre-built input may hold, are turned into compact ones here.

use datasketches::hash::value::raw_bytes;
use datasketches::theta::{
    CompactThetaSketch, ThetaANotB, ThetaIntersection, ThetaSketch, ThetaSketchBuilder, ThetaUnion, ThetaUnionBuilder,
};

use crate::bytes::{Reader, u64_le};
use crate::hll::standard_deviations;
use crate::limits::{THETA_MAX_LG_K, THETA_MIN_LG_K};
use crate::value::canonical_double;
use crate::{Result, SketchError, Value};

/// Druid's type name.
pub const NAME: &str = "thetaSketch";
/// Druid's default size (`SketchAggregatorFactory.DEFAULT_MAX_SKETCH_SIZE`).
pub const DEFAULT_SIZE: usize = 16384;

const MAX_THETA: u64 = i64::MAX as u64;
const SEED_HASH: u16 = 0x93cc;
const FLAGS: u8 = 0x02 | 0x08;
const FLAG_EMPTY: u8 = 0x04;
const FLAG_ORDERED: u8 = 0x10;
const FLAG_SINGLE: u8 = 0x20;
/// Smallest log2 that the crate's tables take; smaller sketches are cut down at the end.
const TABLE_MIN_LG_K: u8 = 5;

/// A distinct count sketch that also knows intersections and differences.
#[derive(Debug)]
pub struct Theta {
    lg_k: u8,
    /// Raw values.
    built: Option<ThetaSketch>,
    /// Other sketches.
    merged: Option<ThetaUnion>,
    /// One sketch as it was read or computed, until something is merged into it.
    image: Option<CompactThetaSketch>,
}

impl Clone for Theta {
    fn clone(&self) -> Self {
        Self {
            lg_k: self.lg_k,
            built: None,
            merged: None,
            image: Some(self.result()),
        }
    }
}

/// Checks a number of nominal entries and gives its log2.
pub(crate) fn lg_of_size(kind: &str, size: usize) -> Result<u8> {
    let lg = size.checked_ilog2().unwrap_or(0) as u8;
    if !size.is_power_of_two() || !(THETA_MIN_LG_K..=THETA_MAX_LG_K).contains(&lg) {
        return Err(SketchError::Invalid(format!(
            "size of a {kind} is {size}, it must be a power of two between {} and {}",
            1_u32 << THETA_MIN_LG_K,
            1_u32 << THETA_MAX_LG_K
        )));
    }
    Ok(lg)
}

impl Theta {
    /// Makes an empty sketch of at most `size` hashes.
    pub fn new(size: usize) -> Result<Self> {
        Ok(Self {
            lg_k: lg_of_size(NAME, size)?,
            built: None,
            merged: None,
            image: None,
        })
    }

    /// Reads an image of any serial version, compact or updatable; no bytes are the empty sketch.
    /// `size` bounds what merging into it keeps.
    pub fn parse(bytes: &[u8], size: usize) -> Result<Self> {
        let mut sketch = Self::new(size)?;
        if bytes.is_empty() {
            return Ok(sketch);
        }
        let corrupt = |error: datasketches::error::Error| SketchError::corrupt(NAME, error.message().to_string());
        let compact = match bytes.get(2) {
            Some(2) => compact_of_update_image(bytes)?,
            _ => CompactThetaSketch::deserialize(bytes).map_err(corrupt)?,
        };
        // The crate trusts the order; a merge would stop early.
        let mut hashes: Vec<u64> = compact.iter().map(|entry| entry.hash()).collect();
        let ascending = hashes.is_sorted();
        hashes.sort_unstable();
        if hashes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(SketchError::corrupt(NAME, "a hash is there twice"));
        }
        sketch.image = Some(if ascending || !compact.is_ordered() {
            compact
        } else {
            compact_of(&hashes, compact.theta64(), compact.is_empty())?
        });
        Ok(sketch)
    }

    /// Counts a value. Empty strings are not counted.
    pub fn update(&mut self, value: Value<'_>) {
        let bytes = match value {
            Value::Text("") => return,
            Value::Text(text) => {
                self.built().update(raw_bytes::from_slice(text.as_bytes()));
                return;
            }
            Value::Long(number) => number.to_le_bytes(),
            Value::Float(number) => canonical_double(f64::from(number)).to_le_bytes(),
            Value::Double(number) => canonical_double(number).to_le_bytes(),
        };
        self.built().update(raw_bytes::from_slice(&bytes));
    }

    fn built(&mut self) -> &mut ThetaSketch {
        let lg_k = self.lg_k.max(TABLE_MIN_LG_K);
        self.built.get_or_insert_with(|| {
            ThetaSketchBuilder::default()
                .lg_k(lg_k)
                .build()
                .expect("the size was checked")
        })
    }

    /// Adds what another sketch has seen.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.is_nothing() && self.lg_k == other.lg_k && other.built.is_none() && other.merged.is_none() {
            self.image = other.image.clone();
            return Ok(());
        }
        let image = self.image.take();
        let merged = self.merged.get_or_insert_with(|| union(self.lg_k));
        for sketch in image.iter().chain(Some(&other.result())) {
            merged
                .update(sketch)
                .map_err(|error| SketchError::corrupt(NAME, error.message().to_string()))?;
        }
        Ok(())
    }

    fn is_nothing(&self) -> bool {
        self.built.is_none() && self.merged.is_none() && self.image.is_none()
    }

    /// Gives the sketch of the values that both have seen.
    pub fn intersect(sketches: &[Self], size: usize) -> Result<Self> {
        let mut intersection = ThetaIntersection::default();
        for sketch in sketches {
            intersection
                .update(&sketch.result())
                .map_err(|error| SketchError::corrupt(NAME, error.message().to_string()))?;
        }
        let mut result = Self::new(size)?;
        result.image = intersection.to_sketch(true);
        Ok(result)
    }

    /// Gives the sketch of the values that the first has seen and the others have not.
    pub fn a_not_b(sketches: &[Self], size: usize) -> Result<Self> {
        let mut result = Self::new(size)?;
        let Some((first, others)) = sketches.split_first() else {
            return Ok(result);
        };
        let mut left = first.result();
        for other in others {
            left = ThetaANotB::default()
                .compute(&left, &other.result(), true)
                .map_err(|error| SketchError::corrupt(NAME, error.message().to_string()))?;
        }
        result.image = Some(left);
        Ok(result)
    }

    /// Gives the sketch of the values that any has seen.
    pub fn union(sketches: &[Self], size: usize) -> Result<Self> {
        let mut result = Self::new(size)?;
        for sketch in sketches {
            result.merge(sketch)?;
        }
        Ok(result)
    }

    fn result(&self) -> CompactThetaSketch {
        if let (Some(image), None, None) = (&self.image, &self.built, &self.merged) {
            return image.clone();
        }
        let mut all = union(self.lg_k);
        let mut add = |sketch: &CompactThetaSketch| all.update(sketch).expect("all sketches have the same seed");
        if let Some(image) = &self.image {
            add(image);
        }
        if let Some(built) = &self.built {
            add(&built.compact(false));
        }
        if let Some(merged) = &self.merged {
            add(&merged.to_sketch(false));
        }
        let result = all.to_sketch(true);
        let size = 1 << self.lg_k;
        if result.num_retained() <= size {
            return result;
        }
        let hashes: Vec<u64> = result.iter().map(|entry| entry.hash()).collect();
        compact_of(&hashes[..size], hashes[size], false).expect("hashes of a sketch are sound")
    }

    /// Says whether no value was seen.
    pub fn is_empty(&self) -> bool {
        self.result().is_empty()
    }

    /// Estimates the number of distinct values.
    pub fn estimate(&self) -> f64 {
        self.result().estimate()
    }

    /// Gives the lower and the upper bound at 1, 2 or 3 standard deviations; at any number of them where nothing is estimated.
    pub fn bounds(&self, deviations: u8) -> Result<(f64, f64)> {
        let result = self.result();
        if !result.is_estimation_mode() {
            return Ok((self.estimate(), self.estimate()));
        }
        let deviations = standard_deviations(deviations)?;
        Ok((result.lower_bound(deviations), result.upper_bound(deviations)))
    }

    /// Gives the compact image, also of an empty sketch (what JSON shows).
    pub fn image(&self) -> Vec<u8> {
        let result = self.result();
        if result.is_empty() {
            return vec![1, 3, 3, 0, 0, FLAGS | FLAG_EMPTY | FLAG_ORDERED, 0, 0];
        }
        let mut hashes: Vec<u64> = result.iter().map(|entry| entry.hash()).collect();
        hashes.sort_unstable();
        image_of(&hashes, result.theta64())
    }

    /// Gives the stored bytes: the compact image, nothing of an empty sketch.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.is_empty() { Vec::new() } else { self.image() }
    }

    /// Gives the memory it holds, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + self.built.as_ref().map_or(0, ThetaSketch::estimated_size)
            + self.merged.as_ref().map_or(0, ThetaUnion::estimated_size)
            + self.image.as_ref().map_or(0, CompactThetaSketch::estimated_size)
    }
}

fn union(lg_k: u8) -> ThetaUnion {
    ThetaUnionBuilder::default()
        .lg_k(lg_k.max(TABLE_MIN_LG_K))
        .build()
        .expect("the size was checked")
}

/// Writes the compact, ordered image of a sketch that is not empty.
fn image_of(hashes: &[u64], theta: u64) -> Vec<u8> {
    let estimating = theta < MAX_THETA;
    let single = hashes.len() == 1 && !estimating;
    let preamble = if estimating {
        3
    } else if single {
        1
    } else {
        2
    };
    let flags = FLAGS | FLAG_ORDERED | if single { FLAG_SINGLE } else { 0 };
    let mut image = Vec::with_capacity(8 * (hashes.len() + 3));
    image.extend_from_slice(&[preamble, 3, 3, 0, 0, flags]);
    image.extend_from_slice(&SEED_HASH.to_le_bytes());
    if !single {
        image.extend_from_slice(&(hashes.len() as u32).to_le_bytes());
        image.extend_from_slice(&1.0_f32.to_le_bytes());
    }
    if estimating {
        image.extend_from_slice(&theta.to_le_bytes());
    }
    for hash in hashes {
        image.extend_from_slice(&hash.to_le_bytes());
    }
    image
}

/// Makes the crate's sketch of sorted hashes.
fn compact_of(hashes: &[u64], theta: u64, empty: bool) -> Result<CompactThetaSketch> {
    let image = if empty {
        vec![1, 3, 3, 0, 0, FLAGS | FLAG_EMPTY | FLAG_ORDERED, 0, 0]
    } else {
        image_of(hashes, theta)
    };
    CompactThetaSketch::deserialize(&image).map_err(|error| SketchError::corrupt(NAME, error.message().to_string()))
}

/// Reads the image of an update sketch: the preamble of three longs, then the hash table, free slots zero.
fn compact_of_update_image(bytes: &[u8]) -> Result<CompactThetaSketch> {
    let mut reader = Reader::new(NAME, bytes);
    let head = reader.take(8, "the preamble")?;
    let (preamble, lg_slots, flags) = (head[0] & 0x3f, head[4], head[5]);
    let seed_hash = u16::from_le_bytes([head[6], head[7]]);
    if head[1] != 3 || preamble != 3 || seed_hash != SEED_HASH {
        return Err(reader.error(format!(
            "an update sketch of serial version 3 with 3 preamble longs and the seed 9001 is expected, {}, {preamble} and \
             the seed hash {seed_hash:#06x} are there",
            head[1]
        )));
    }
    let count = reader.u32_le("the number of hashes")? as usize;
    reader.take(4, "the sampling probability")?;
    let theta = reader.u64_le("theta")?;
    if lg_slots > THETA_MAX_LG_K + 1 {
        return Err(reader.error(format!("the table has 2^{lg_slots} slots")));
    }
    let mut hashes: Vec<u64> = reader
        .items(1 << lg_slots, 8, "the hash table")?
        .map(u64_le)
        .filter(|hash| *hash != 0 && *hash < theta)
        .collect();
    if hashes.len() != count {
        return Err(reader.error(format!("{count} hashes are expected, {} are there", hashes.len())));
    }
    hashes.sort_unstable();
    compact_of(&hashes, theta, flags & FLAG_EMPTY != 0)
}
