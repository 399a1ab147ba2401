//! `quantilesDoublesSketch`: DataSketches' classic quantiles sketch of doubles, in its compact image.
//!
//! ```text
//! byte 0     preamble longs: 1 empty, else 2
//!      1     serial version 3
//!      2     family 8 (quantiles)
//!      3     flags: 0x02 read-only, 0x04 empty, 0x08 compact, 0x10 ordered
//!      4     u16 k
//!      6     2 bytes 0
//!      8     u64 n (an empty image ends before)
//!      16    f64 minimum, f64 maximum
//!      32    base buffer: n mod 2k values, ascending
//!      …     for each set bit i of floor(n / 2k), from the lowest: k ascending values of weight 2^(i+1)
//! ```
//!
//! All numbers are little-endian. Images without the compact flag reserve 2k values for the base buffer and k for every level.
//! An empty sketch is stored as no bytes. Mirrors
//! `org.apache.druid.query.aggregation.datasketches.quantiles.DoublesSketchObjectStrategy`. Written by hand: the `datasketches`
//! crate has no classic quantiles. Which half of the values a level keeps is drawn from the number of values seen, so the same
//! updates always give the same bytes (Java draws at random).

use crate::bytes::{Reader, f64_le};
use crate::limits::{QUANTILES_MAX_K, QUANTILES_MIN_K};
use crate::summary::java_scientific;
use crate::{Result, SketchError};

/// Druid's type name.
pub const NAME: &str = "quantilesDoublesSketch";
/// Druid's default k.
pub const DEFAULT_K: u16 = 128;

const FLAG_EMPTY: u8 = 0x04;
const FLAG_COMPACT: u8 = 0x08;
const FLAGS: u8 = 0x02 | FLAG_COMPACT | 0x10;

/// Values of doubles by rank, within a known error.
#[derive(Debug, Clone)]
pub struct QuantilesDoubles {
    k: u16,
    n: u64,
    min: f64,
    max: f64,
    base: Vec<f64>,
    /// Level i holds k values of weight 2^(i+1), or nothing.
    levels: Vec<Vec<f64>>,
}

fn check_k(k: u16) -> Result<u16> {
    if k.is_power_of_two() && (QUANTILES_MIN_K..=QUANTILES_MAX_K).contains(&k) {
        Ok(k)
    } else {
        Err(SketchError::Invalid(format!(
            "k of a quantiles sketch is {k}, it must be a power of two between {QUANTILES_MIN_K} and {QUANTILES_MAX_K}"
        )))
    }
}

impl QuantilesDoubles {
    /// Makes an empty sketch.
    pub fn new(k: u16) -> Result<Self> {
        Ok(Self {
            k: check_k(k)?,
            n: 0,
            min: f64::NAN,
            max: f64::NAN,
            base: Vec::new(),
            levels: Vec::new(),
        })
    }

    /// Reads an image; no bytes are an empty sketch of the default k.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Self::new(DEFAULT_K);
        }
        let mut reader = Reader::new(NAME, bytes);
        let head = reader.take(8, "the preamble")?;
        let flags = head[3];
        if head[1] != 3 || head[2] != 8 {
            return Err(reader.error(format!(
                "serial version 3 and family 8 are expected, {} and {} are there",
                head[1], head[2]
            )));
        }
        let mut sketch =
            Self::new(u16::from_le_bytes([head[4], head[5]])).map_err(|error| reader.error(error.to_string()))?;
        if flags & FLAG_EMPTY != 0 {
            return Ok(sketch);
        }
        let n = reader.u64_le("n")?;
        if n == 0 {
            return Err(reader.error("n is 0, but the empty flag is not set"));
        }
        sketch.n = n;
        sketch.min = reader.f64_le("the minimum")?;
        sketch.max = reader.f64_le("the maximum")?;
        let k = usize::from(sketch.k);
        let (pattern, in_base) = (n / (2 * k as u64), (n % (2 * k as u64)) as usize);
        let compact = flags & FLAG_COMPACT != 0;
        let mut take = |count: usize, reserved: usize, what: &str| -> Result<Vec<f64>> {
            let available = reader.remaining() / 8;
            // The last array of an updatable image may be cut to what it holds.
            let length = if compact {
                count
            } else {
                reserved.min(available).max(count)
            };
            let mut values: Vec<f64> = reader.items(length, 8, what)?.map(f64_le).collect();
            values.truncate(count);
            Ok(values)
        };
        sketch.base = take(in_base, 2 * k, "the base buffer")?;
        for level in 0..64 - pattern.leading_zeros() {
            let used = pattern >> level & 1 == 1;
            let values = take(if used { k } else { 0 }, k, "a level")?;
            sketch.levels.push(values);
        }
        let values = || sketch.base.iter().chain(sketch.levels.iter().flatten());
        if let Some(value) = values().find(|value| !(sketch.min..=sketch.max).contains(value)) {
            return Err(SketchError::corrupt(
                NAME,
                format!(
                    "{value} is not between the minimum {} and the maximum {}",
                    sketch.min, sketch.max
                ),
            ));
        }
        if sketch.levels.iter().any(|level| !level.is_sorted()) {
            return Err(SketchError::corrupt(NAME, "a level is not sorted"));
        }
        Ok(sketch)
    }

    /// Adds a value; NaN is not counted.
    pub fn update(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        self.see(value, value);
        self.n += 1;
        self.base.push(value);
        if self.base.len() == 2 * usize::from(self.k) {
            let mut full = std::mem::take(&mut self.base);
            full.sort_unstable_by(f64::total_cmp);
            let half = self.half(&full);
            full.clear();
            self.base = full;
            self.carry(0, half);
        }
    }

    fn see(&mut self, min: f64, max: f64) {
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }

    /// Keeps every other value of 2k sorted ones.
    fn half(&self, sorted: &[f64]) -> Vec<f64> {
        // A bit of SplitMix64 over the count: as good as chance, and the same on every run.
        let mut bits = self
            .n
            .wrapping_add(self.levels.len() as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let offset = (bits ^ (bits >> 31)) as usize & 1;
        sorted.iter().skip(offset).step_by(2).copied().collect()
    }

    /// Puts k sorted values into a level, merging upwards as binary addition carries.
    fn carry(&mut self, mut level: usize, mut values: Vec<f64>) {
        loop {
            if level >= self.levels.len() {
                self.levels.resize(level + 1, Vec::new());
            }
            if self.levels[level].is_empty() {
                self.levels[level] = values;
                return;
            }
            let other = std::mem::take(&mut self.levels[level]);
            values = self.half(&merge_sorted(&other, &values));
            level += 1;
        }
    }

    /// Adds what another sketch has seen. As in Java, a sketch of smaller k that has compacted its values makes this one as coarse.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if other.n == 0 {
            return Ok(());
        }
        if other.k < self.k && !other.levels.iter().all(Vec::is_empty) {
            let mut coarse = Self::new(other.k)?;
            coarse.add(self)?;
            *self = coarse;
        }
        self.add(other)
    }

    /// Merges a sketch of the same or a larger k, or one that has only its base buffer.
    fn add(&mut self, other: &Self) -> Result<()> {
        let Some(n) = self.n.checked_add(other.n) else {
            return Err(SketchError::Mismatch {
                left: format!("a quantiles sketch of {} values", self.n),
                right: format!("one of {} values", other.n),
                why: "they are too many".into(),
            });
        };
        for value in &other.base {
            self.update(*value);
        }
        let step = usize::from((other.k / self.k).max(1));
        let lift = step.trailing_zeros() as usize;
        for (level, values) in other.levels.iter().enumerate().filter(|(_, values)| !values.is_empty()) {
            let kept: Vec<f64> = values.iter().skip(step / 2).step_by(step).copied().collect();
            self.carry(level + lift, kept);
        }
        self.n = n;
        if other.n > 0 {
            self.see(other.min, other.max);
        }
        Ok(())
    }

    /// Says whether no value was seen.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Gives the number of values seen.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Gives k.
    pub fn k(&self) -> u16 {
        self.k
    }

    /// Gives the smallest value, NaN if there is none.
    pub fn min(&self) -> f64 {
        self.min
    }

    /// Gives the largest value, NaN if there is none.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// Gives all values with the cumulated weights, ascending.
    fn sorted(&self) -> Vec<(f64, u64)> {
        let mut view: Vec<(f64, u64)> = self.base.iter().map(|value| (*value, 1)).collect();
        for (level, values) in self.levels.iter().enumerate() {
            view.extend(
                values
                    .iter()
                    .map(|value| (*value, 1_u64.checked_shl(level as u32 + 1).unwrap_or(0))),
            );
        }
        view.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
        let mut total: u64 = 0;
        for (_, weight) in &mut view {
            total = total.saturating_add(*weight);
            *weight = total;
        }
        view
    }

    /// Estimates the values at normalised ranks (0 to 1, inclusive); NaN without values.
    pub fn quantiles(&self, ranks: &[f64]) -> Result<Vec<f64>> {
        if self.is_empty() {
            return Ok(vec![f64::NAN; ranks.len()]);
        }
        if let Some(rank) = ranks.iter().find(|rank| !(0.0..=1.0).contains(*rank)) {
            return Err(SketchError::Invalid(format!(
                "A normalized rank must be >= 0 and <= 1.0: {rank:?}"
            )));
        }
        let view = self.sorted();
        Ok(ranks
            .iter()
            .map(|rank| {
                if view.is_empty() {
                    f64::NAN
                } else {
                    let wanted = (rank * self.n as f64).ceil() as u64;
                    let at = view.partition_point(|(_, weight)| *weight < wanted);
                    view[at.min(view.len() - 1)].0
                }
            })
            .collect())
    }

    /// Estimates the share of values that are at most `value`; NaN without values.
    pub fn rank(&self, value: f64) -> f64 {
        if self.is_empty() {
            return f64::NAN;
        }
        rank_in(&self.sorted(), value, self.n)
    }

    /// Estimates the share of values that are at most each split point, and 1 at the end; NaN without values.
    pub fn cdf(&self, splits: &[f64]) -> Result<Vec<f64>> {
        if self.is_empty() {
            return Ok(vec![f64::NAN; splits.len() + 1]);
        }
        if splits.windows(2).any(|pair| pair[0] >= pair[1]) || splits.iter().any(|split| split.is_nan()) {
            return Err(SketchError::Invalid(
                "Values must be unique, monotonically increasing and not NaN.".into(),
            ));
        }
        let view = self.sorted();
        let mut shares: Vec<f64> = splits.iter().map(|split| rank_in(&view, *split, self.n)).collect();
        shares.push(1.0);
        Ok(shares)
    }

    /// Estimates how many values fall between the split points; NaN without values.
    pub fn histogram(&self, splits: &[f64]) -> Result<Vec<f64>> {
        let mut counts = self.cdf(splits)?;
        for at in (1..counts.len()).rev() {
            counts[at] -= counts[at - 1];
        }
        for count in &mut counts {
            *count *= self.n as f64;
        }
        Ok(counts)
    }

    /// Estimates how many values fall into `bins` bins of equal width between the minimum and the maximum.
    pub fn even_histogram(&self, bins: usize) -> Result<Vec<f64>> {
        if bins < 2 {
            return Err(SketchError::Invalid(format!(
                "a histogram has {bins} bins, it needs 2 or more"
            )));
        }
        if self.is_empty() {
            return Ok(vec![f64::NAN; bins]);
        }
        if self.min == self.max {
            let mut counts = vec![0.0; bins];
            counts[0] = self.n as f64;
            return Ok(counts);
        }
        let width = (self.max - self.min) / bins as f64;
        let splits: Vec<f64> = (1..bins).map(|bin| self.min + width * bin as f64).collect();
        self.histogram(&splits)
    }

    /// Gives the compact image, also of an empty sketch (what JSON shows).
    pub fn image(&self) -> Vec<u8> {
        let [k0, k1] = self.k.to_le_bytes();
        if self.is_empty() {
            return vec![1, 3, 8, FLAGS | FLAG_EMPTY, k0, k1, 0, 0];
        }
        let mut image = vec![2, 3, 8, FLAGS, k0, k1, 0, 0];
        image.extend_from_slice(&self.n.to_le_bytes());
        image.extend_from_slice(&self.min.to_le_bytes());
        image.extend_from_slice(&self.max.to_le_bytes());
        let mut base = self.base.clone();
        base.sort_unstable_by(f64::total_cmp);
        for value in base.iter().chain(self.levels.iter().flatten()) {
            image.extend_from_slice(&value.to_le_bytes());
        }
        image
    }

    /// Gives the stored bytes: the compact image, nothing of an empty sketch.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.is_empty() { Vec::new() } else { self.image() }
    }

    /// Describes the sketch as `DS_QUANTILE_SUMMARY` does.
    pub fn summary(&self) -> String {
        let k = u64::from(self.k);
        let pattern = self.n / (2 * k);
        let needed = 64 - pattern.leading_zeros();
        let valid = pattern.count_ones();
        let in_base = self.n % (2 * k);
        let retained = in_base + u64::from(valid) * k;
        let capacity = if pattern > 0 {
            2 * k + k * u64::from(needed)
        } else {
            // A base buffer starts with 4 slots and doubles.
            in_base.next_power_of_two().clamp(4.min(2 * k), 2 * k)
        };
        let (compact, updatable) = if self.is_empty() {
            (8, 8)
        } else {
            (32 + 8 * retained, 32 + 8 * capacity)
        };
        let error = |pmf: bool| {
            // Fitted by DataSketches (ClassicUtil.getNormalizedRankError).
            let (factor, power) = if pmf { (1.854, 0.9657) } else { (1.576, 0.9726) };
            format!("{:.3}%", 100.0 * factor / f64::from(self.k).powf(power))
        };
        format!(
            "\n### Quantiles HeapUpdateDoublesSketch SUMMARY: \n   Empty                        : {}\n   \
             Memory, Capacity bytes       : false, \n   Estimation Mode              : {}\n   K                            : {}\n   \
             N                            : {}\n   Levels (Needed, Total, Valid): {needed}, {needed}, {valid}\n   \
             Level Bit Pattern            : {pattern:b}\n   BaseBufferCount              : {}\n   \
             Combined Buffer Capacity     : {}\n   Retained Items               : {}\n   \
             Compact Storage Bytes        : {}\n   Updatable Storage Bytes      : {}\n   \
             Normalized Rank Error        : {}\n   Normalized Rank Error (PMF)  : {}\n   \
             Min Item                     : {}\n   Max Item                     : {}\n### END SKETCH SUMMARY\n",
            self.is_empty(),
            pattern > 0,
            self.k,
            group_thousands(self.n),
            group_thousands(in_base),
            group_thousands(capacity),
            group_thousands(retained),
            group_thousands(compact),
            group_thousands(updatable),
            error(false),
            error(true),
            java_scientific(self.min),
            java_scientific(self.max),
        )
    }

    /// Gives the memory it holds, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + 8 * (self.base.capacity() + self.levels.iter().map(|level| level.len() + 3).sum::<usize>())
    }
}

fn rank_in(view: &[(f64, u64)], value: f64, n: u64) -> f64 {
    match view.partition_point(|(item, _)| *item <= value) {
        0 => 0.0,
        at => view[at - 1].1 as f64 / n as f64,
    }
}

fn merge_sorted(left: &[f64], right: &[f64]) -> Vec<f64> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut at_left, mut at_right) = (0, 0);
    while at_left < left.len() && at_right < right.len() {
        if right[at_right] < left[at_left] {
            merged.push(right[at_right]);
            at_right += 1;
        } else {
            merged.push(left[at_left]);
            at_left += 1;
        }
    }
    merged.extend_from_slice(&left[at_left..]);
    merged.extend_from_slice(&right[at_right..]);
    merged
}

fn group_thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
