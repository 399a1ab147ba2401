//! `approximateHistogram`: a streaming histogram of floats (Ben-Haim and Tom-Tov), in one of three forms.
//!
//! ```text
//! compact, when it is shorter:
//!   byte 0   i16 −size
//!        2   if some bins are approximate: i8 −values in them, each value as f32 (a bin's position once a value),
//!            f32 minimum, f32 maximum
//!        …   i8 exact values, each as f32
//! sparse:
//!   byte 0   i32 size
//!        4   i32 −bins
//!        8   bins × f32 position, bins × i64 count (top bit: approximate), f32 minimum, f32 maximum
//! dense:     as sparse, with +bins and arrays of `size` entries
//! ```
//!
//! All numbers are big-endian. Mirrors `org.apache.druid.query.aggregation.histogram.ApproximateHistogram`, with its arithmetic
//! in 32-bit floats.

use crate::bytes::Reader;
use crate::limits::HISTOGRAM_MAX_BUCKETS;
use crate::{Result, SketchError};

/// Druid's type name.
pub const NAME: &str = "approximateHistogram";
/// Druid's default number of bins (`ApproximateHistogram.DEFAULT_HISTOGRAM_SIZE`).
pub const DEFAULT_SIZE: usize = 50;

const APPROXIMATE: u64 = 1 << 63;

/// A histogram of at most `size` bins.
#[derive(Debug, Clone)]
pub struct ApproximateHistogram {
    size: usize,
    bins: Vec<Bin>,
    min: f32,
    max: f32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bin {
    position: f32,
    count: i64,
    /// The position is a mean of several values.
    approximate: bool,
}

impl Bin {
    fn exact(position: f32) -> Self {
        Self {
            position,
            count: 1,
            approximate: false,
        }
    }
}

impl ApproximateHistogram {
    /// Makes an empty histogram.
    pub fn new(size: usize) -> Result<Self> {
        if !(1..=HISTOGRAM_MAX_BUCKETS).contains(&size) {
            return Err(SketchError::Invalid(format!(
                "an approximate histogram has {size} bins, it must have between 1 and {HISTOGRAM_MAX_BUCKETS}"
            )));
        }
        Ok(Self {
            size,
            bins: Vec::new(),
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        })
    }

    /// Reads any of the three forms; no bytes are an empty histogram.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Self::new(DEFAULT_SIZE);
        }
        let mut reader = Reader::new(NAME, bytes);
        if bytes[0] & 0x80 != 0 {
            let size = reader.i16_be("the size")?;
            let mut histogram =
                Self::new(usize::from(size.unsigned_abs())).map_err(|error| reader.error(error.to_string()))?;
            histogram.parse_compact(&mut reader)?;
            return Ok(histogram);
        }
        let size = reader.i32_be("the size")?;
        let bins = reader.i32_be("the number of bins")?;
        let mut histogram =
            Self::new(usize::try_from(size).unwrap_or(0)).map_err(|error| reader.error(error.to_string()))?;
        let count = bins.unsigned_abs() as usize;
        if count > histogram.size {
            return Err(reader.error(format!("{count} bins are more than the size {size}")));
        }
        let stored = if bins > 0 { histogram.size } else { count };
        let positions = reader.items(stored, 4, "positions")?;
        let counts = reader.items(stored, 8, "counts")?;
        histogram.bins = positions
            .zip(counts)
            .take(count)
            .map(|(position, bin)| {
                let bin = u64::from_be_bytes(bin.try_into().expect("items are 8 bytes wide"));
                Bin {
                    position: f32::from_be_bytes(position.try_into().expect("items are 4 bytes wide")),
                    count: (bin & !APPROXIMATE) as i64,
                    approximate: bin & APPROXIMATE != 0,
                }
            })
            .collect();
        histogram.min = reader.f32_be("the minimum")?;
        histogram.max = reader.f32_be("the maximum")?;
        histogram.check(&reader)?;
        Ok(histogram)
    }

    fn parse_compact(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        let floats = |reader: &mut Reader<'_>, count: u8| -> Result<Vec<f32>> {
            let items = reader.items(usize::from(count), 4, "values")?;
            let mut values: Vec<f32> = items
                .map(|item| f32::from_be_bytes(item.try_into().expect("items are 4 bytes wide")))
                .collect();
            values.sort_unstable_by(f32::total_cmp);
            Ok(values)
        };
        let head = reader.u8("the number of values")? as i8;
        if head >= 0 {
            for value in floats(reader, head as u8)? {
                self.update(value);
            }
            return Ok(());
        }
        let approximate = floats(reader, head.unsigned_abs())?;
        self.min = reader.f32_be("the minimum")?;
        self.max = reader.f32_be("the maximum")?;
        let count = reader.u8("the number of exact values")?;
        if count > i8::MAX as u8 {
            return Err(reader.error(format!("{count} exact values are more than {}", i8::MAX)));
        }
        let exact = floats(reader, count)?;
        let values = exact
            .iter()
            .map(|value| (*value, false))
            .chain(approximate.iter().map(|value| (*value, true)));
        for (position, approximate) in values {
            match self
                .bins
                .iter_mut()
                .find(|bin| bin.position.to_bits() == position.to_bits())
            {
                Some(bin) if bin.approximate == approximate => bin.count += 1,
                // A value that is both exact and approximate is exact (Java keeps the exact bin only).
                Some(_) => {}
                None => self.bins.push(Bin {
                    approximate,
                    ..Bin::exact(position)
                }),
            }
        }
        self.bins
            .sort_by(|left, right| left.position.total_cmp(&right.position));
        if self.bins.len() > self.size {
            return Err(reader.error(format!("{} bins are more than the size {}", self.bins.len(), self.size)));
        }
        self.check(reader)
    }

    fn check(&self, reader: &Reader<'_>) -> Result<()> {
        if !self.bins.is_sorted_by(|left, right| left.position < right.position) {
            return Err(reader.error("positions of bins are not ascending"));
        }
        let total = self
            .bins
            .iter()
            .try_fold(0_i64, |total, bin| total.checked_add(bin.count));
        if total.is_none() {
            return Err(reader.error("the counts of bins add up to more than a long"));
        }
        Ok(())
    }

    /// Adds a value; NaN is not counted.
    pub fn update(&mut self, value: f32) {
        if value.is_nan() {
            return;
        }
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let at = self.bins.partition_point(|bin| bin.position < value);
        if let Some(bin) = self.bins.get_mut(at).filter(|bin| bin.position == value) {
            bin.count = bin.count.saturating_add(1);
            return;
        }
        if self.bins.len() < self.size {
            self.bins.insert(at, Bin::exact(value));
            return;
        }
        let closest = self.closest_pair();
        let mut gap = closest.map_or(f32::INFINITY, |left| {
            self.bins[left + 1].position - self.bins[left].position
        });
        let mut into = None;
        let right = self.bins.get(at).map_or(f32::INFINITY, |bin| bin.position - value);
        let left = if at > 0 {
            value - self.bins[at - 1].position
        } else {
            f32::INFINITY
        };
        if right < gap {
            gap = right;
            into = Some(at);
        }
        if left < gap {
            into = Some(at - 1);
        }
        match (into, closest) {
            (Some(at), _) => {
                let bin = &mut self.bins[at];
                bin.position = (bin.position * bin.count as f32 + value) / bin.count.saturating_add(1) as f32;
                bin.count = bin.count.saturating_add(1);
                bin.approximate = true;
            }
            (None, Some(pair)) => {
                self.merge_pair(pair);
                let at = if at > pair { at - 1 } else { at };
                self.bins.insert(at, Bin::exact(value));
            }
            // One bin of an infinite position; there is nothing to merge with.
            (None, None) => self.bins[0].count = self.bins[0].count.saturating_add(1),
        }
    }

    fn closest_pair(&self) -> Option<usize> {
        let mut closest = None;
        let mut least = f32::INFINITY;
        for (at, pair) in self.bins.windows(2).enumerate() {
            let gap = pair[1].position - pair[0].position;
            if gap < least {
                (least, closest) = (gap, Some(at));
            }
        }
        closest
    }

    /// Makes one bin of two neighbours.
    fn merge_pair(&mut self, left: usize) {
        let (a, b) = (self.bins[left], self.bins[left + 1]);
        let sum = a.count.saturating_add(b.count);
        let position = (f64::from(a.position) * a.count as f64 + f64::from(b.position) * b.count as f64) / sum as f64;
        self.bins[left] = Bin {
            position: position as f32,
            count: sum,
            approximate: true,
        };
        self.bins.remove(left + 1);
    }

    /// Adds what another histogram has seen (`foldFast`).
    pub fn merge(&mut self, other: &Self) {
        if other.bins.is_empty() {
            return;
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.bins = if self.bins.len() + other.bins.len() <= self.size {
            self.combined(other)
        } else {
            self.combined_by_rule(other)
        };
        while self.bins.len() > self.size {
            match self.closest_pair() {
                Some(pair) => self.merge_pair(pair),
                None => self.bins.truncate(self.size),
            }
        }
    }

    /// Puts the bins of both side by side.
    fn combined(&self, other: &Self) -> Vec<Bin> {
        let mut merged: Vec<Bin> = Vec::with_capacity(self.bins.len() + other.bins.len());
        let (mut left, mut right) = (self.bins.iter().peekable(), other.bins.iter().peekable());
        loop {
            let bin = match (left.peek(), right.peek()) {
                (None, None) => return merged,
                (Some(a), Some(b)) if a.position == b.position => {
                    let bin = Bin {
                        position: a.position,
                        count: a.count.saturating_add(b.count),
                        // Java adds the numbers with their flags: two flags cancel out.
                        approximate: a.approximate != b.approximate,
                    };
                    right.next();
                    left.next();
                    merged.push(bin);
                    continue;
                }
                (Some(a), Some(b)) if a.position < b.position => left.next(),
                (Some(_), None) => left.next(),
                _ => right.next(),
            };
            merged.extend(bin);
        }
    }

    /// Merges bins that are closer than the range divided by the size.
    fn combined_by_rule(&self, other: &Self) -> Vec<Bin> {
        let cutoff = (self.max - self.min) / (self.size as f32 - 1.0);
        let mut merged: Vec<Bin> = Vec::with_capacity(self.size);
        let (mut left, mut right) = (self.bins.iter().peekable(), other.bins.iter().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (None, None) => return merged,
                (Some(a), Some(b)) if a.position < b.position => left.next(),
                (Some(_), None) => left.next(),
                _ => right.next(),
            };
            let Some(bin) = next else { return merged };
            let Some(last) = merged.last_mut() else {
                merged.push(*bin);
                continue;
            };
            let delta = bin.position - last.position;
            if delta <= cutoff {
                let sum = last.count.saturating_add(bin.count);
                let weight = last.count as f32 / sum as f32;
                *last = Bin {
                    position: -delta * weight + bin.position,
                    count: sum,
                    approximate: true,
                };
            } else {
                // Java drops the flag here.
                merged.push(Bin {
                    approximate: false,
                    ..*bin
                });
            }
        }
    }

    /// Gives the number of values.
    pub fn count(&self) -> i64 {
        self.bins
            .iter()
            .fold(0, |total: i64, bin| total.saturating_add(bin.count))
    }

    /// Gives the smallest value, infinity if there is none.
    pub fn min(&self) -> f32 {
        self.min
    }

    /// Gives the largest value, minus infinity if there is none.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// Estimates the value at a probability between 0 and 1, both excluded; NaN without values.
    pub fn quantile(&self, probability: f32) -> Result<f32> {
        if !(probability > 0.0 && probability < 1.0) {
            return Err(SketchError::Invalid(
                "quantile probabilities must be strictly between 0 and 1".into(),
            ));
        }
        let total = self.count();
        if total == 0 {
            return Ok(f32::NAN);
        }
        let wanted = f64::from(probability * total as f32);
        let (mut sum, mut at) = (0_i64, 0);
        for (index, bin) in self.bins.iter().enumerate() {
            if sum.saturating_add(bin.count) as f64 > wanted {
                at = index;
                break;
            }
            sum += bin.count;
        }
        if at == 0 {
            return Ok(self.min);
        }
        let (before, bin) = (self.bins[at - 1], self.bins[at]);
        // The area of a trapezoid between both bins, solved for its width.
        let c = -2.0 * (wanted - sum as f64);
        let a = (bin.count - before.count) as f64;
        let b = 2.0 * before.count as f64;
        let z = if a == 0.0 {
            -c / b
        } else {
            (-b + (b * b - 4.0 * a * c).sqrt()) / (2.0 * a)
        };
        let value = f64::from(before.position) + f64::from(bin.position - before.position) * z;
        Ok(if (value as f32) < self.max {
            value as f32
        } else {
            self.max
        })
    }

    /// Gives the stored bytes: compact if that is shorter than sparse.
    pub fn to_bytes(&self) -> Vec<u8> {
        let total = self.count();
        let exact = self
            .bins
            .iter()
            .filter(|bin| !bin.approximate)
            .fold(0, |total: i64, bin| total.saturating_add(bin.count));
        let approximate = total - exact;
        let sparse = 16 + 12 * self.bins.len();
        let small = |count: i64| count <= i64::from(i8::MAX);
        if self.size <= i16::MAX as usize && small(exact) && small(approximate) {
            let tail = if approximate > 0 {
                9 + 4 * approximate as usize
            } else {
                0
            };
            if 3 + 4 * exact as usize + tail < sparse {
                return self.compact(exact, approximate);
            }
        }
        let mut bytes = Vec::with_capacity(sparse);
        bytes.extend_from_slice(&(self.size as i32).to_be_bytes());
        bytes.extend_from_slice(&(-(self.bins.len() as i32)).to_be_bytes());
        for bin in &self.bins {
            bytes.extend_from_slice(&bin.position.to_be_bytes());
        }
        for bin in &self.bins {
            let flag = if bin.approximate { APPROXIMATE } else { 0 };
            bytes.extend_from_slice(&(bin.count as u64 | flag).to_be_bytes());
        }
        bytes.extend_from_slice(&self.min.to_be_bytes());
        bytes.extend_from_slice(&self.max.to_be_bytes());
        bytes
    }

    fn compact(&self, exact: i64, approximate: i64) -> Vec<u8> {
        let mut bytes = (-(self.size as i16)).to_be_bytes().to_vec();
        let values = |bytes: &mut Vec<u8>, wanted: bool| {
            for bin in self.bins.iter().filter(|bin| bin.approximate == wanted) {
                for _ in 0..bin.count {
                    bytes.extend_from_slice(&bin.position.to_be_bytes());
                }
            }
        };
        if approximate > 0 {
            bytes.push((-(approximate as i8)) as u8);
            values(&mut bytes, true);
            bytes.extend_from_slice(&self.min.to_be_bytes());
            bytes.extend_from_slice(&self.max.to_be_bytes());
        }
        bytes.push(exact as u8);
        values(&mut bytes, false);
        bytes
    }

    /// Gives the memory it holds, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + size_of::<Bin>() * self.bins.capacity()
    }
}
