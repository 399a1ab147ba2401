//! `fixedBucketsHistogram`: counts in buckets of equal width.
//!
//! ```text
//! byte 0     version 1
//!      1     form: 1 full, 2 sparse
//!      2     f64 lower limit, f64 upper limit
//!      18    i32 buckets
//!      22    outliers: 0 ignore, 1 overflow, 2 clip
//!      23    i64 count, i64 below, i64 above, i64 missing
//!      55    f64 maximum, f64 minimum
//!      71    full: buckets × i64
//!      71    sparse (fewer than half of the buckets used): i32 n, n × (i32 bucket, i64 count)
//! ```
//!
//! All numbers are big-endian. Mirrors `org.apache.druid.query.aggregation.histogram.FixedBucketsHistogram`.

use crate::bytes::Reader;
use crate::limits::HISTOGRAM_MAX_BUCKETS;
use crate::{Result, SketchError};

/// Druid's type name.
pub const NAME: &str = "fixedBucketsHistogram";

/// What happens to values outside of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outliers {
    /// They are dropped.
    #[default]
    Ignore,
    /// They are counted aside.
    Overflow,
    /// They are counted in the first and the last bucket.
    Clip,
}

impl Outliers {
    /// Finds the mode of a Druid name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "ignore" => Some(Self::Ignore),
            "overflow" => Some(Self::Overflow),
            "clip" => Some(Self::Clip),
            _ => None,
        }
    }
}

/// A histogram over a known range.
#[derive(Debug, Clone)]
pub struct FixedBuckets {
    lower: f64,
    upper: f64,
    outliers: Outliers,
    count: i64,
    below: i64,
    above: i64,
    missing: i64,
    min: f64,
    max: f64,
    buckets: Vec<i64>,
}

impl FixedBuckets {
    /// Makes an empty histogram of the values from `lower` to below `upper`.
    pub fn new(lower: f64, upper: f64, buckets: usize, outliers: Outliers) -> Result<Self> {
        if !(lower < upper && lower.is_finite() && upper.is_finite() && (upper - lower).is_finite()) {
            return Err(SketchError::Invalid(format!(
                "upper limit [{upper}] must be greater than lower limit [{lower}]"
            )));
        }
        if !(1..=HISTOGRAM_MAX_BUCKETS).contains(&buckets) {
            return Err(SketchError::Invalid(format!(
                "a histogram has {buckets} buckets, it must have between 1 and {HISTOGRAM_MAX_BUCKETS}"
            )));
        }
        Ok(Self {
            lower,
            upper,
            outliers,
            count: 0,
            below: 0,
            above: 0,
            missing: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            buckets: vec![0; buckets],
        })
    }

    /// Reads either form.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(NAME, bytes);
        let (version, form) = (reader.u8("the version")?, reader.u8("the form")?);
        if version != 1 || !(1..=2).contains(&form) {
            return Err(reader.error(format!(
                "version 1 and form 1 or 2 are expected, {version} and {form} are there"
            )));
        }
        let (lower, upper) = (reader.f64_be("the lower limit")?, reader.f64_be("the upper limit")?);
        let buckets = usize::try_from(reader.i32_be("the number of buckets")?).unwrap_or(0);
        let outliers = match reader.u8("the outlier handling")? {
            0 => Outliers::Ignore,
            1 => Outliers::Overflow,
            2 => Outliers::Clip,
            other => return Err(reader.error(format!("the outlier handling is {other}"))),
        };
        let mut counts = [0; 4];
        for (count, what) in counts
            .iter_mut()
            .zip(["count", "values below", "values above", "missing values"])
        {
            *count = reader.i64_be(what)?;
            if *count < 0 {
                return Err(reader.error(format!("{what} is {count}")));
            }
        }
        let (max, min) = (reader.f64_be("the maximum")?, reader.f64_be("the minimum")?);
        if form == 1 && reader.remaining() / 8 < buckets {
            return Err(reader.error(format!(
                "{buckets} buckets do not fit into {} bytes",
                reader.remaining()
            )));
        }
        let mut histogram =
            Self::new(lower, upper, buckets, outliers).map_err(|error| reader.error(error.to_string()))?;
        [histogram.count, histogram.below, histogram.above, histogram.missing] = counts;
        (histogram.max, histogram.min) = (max, min);
        if form == 1 {
            for bucket in &mut histogram.buckets {
                *bucket = reader.i64_be("a bucket")?;
            }
        } else {
            let used = usize::try_from(reader.i32_be("the number of used buckets")?).unwrap_or(usize::MAX);
            for item in reader.items(used, 12, "buckets")? {
                let bucket = u32::from_be_bytes(item[..4].try_into().expect("four bytes")) as usize;
                let count = i64::from_be_bytes(item[4..].try_into().expect("eight bytes"));
                match histogram.buckets.get_mut(bucket) {
                    Some(slot) => *slot = count,
                    None => return Err(SketchError::corrupt(NAME, format!("bucket {bucket} of {buckets}"))),
                }
            }
        }
        let total =
            histogram.buckets.iter().try_fold(
                0_i64,
                |total, bucket| {
                    if *bucket < 0 { None } else { total.checked_add(*bucket) }
                },
            );
        if total.is_none() {
            return Err(reader.error("the counts of buckets are negative or add up to more than a long"));
        }
        Ok(histogram)
    }

    fn width(&self) -> f64 {
        (self.upper - self.lower) / self.buckets.len() as f64
    }

    /// Adds a value, or counts a missing one.
    pub fn update(&mut self, value: Option<f64>) {
        let Some(value) = value else {
            self.missing += 1;
            return;
        };
        let above = value >= self.upper;
        if above || value < self.lower {
            match self.outliers {
                Outliers::Ignore => {}
                Outliers::Overflow if above => self.above += 1,
                Outliers::Overflow => self.below += 1,
                Outliers::Clip => self.clip(above, 1),
            }
            return;
        }
        self.count += 1;
        self.see(value);
        let bucket = ((value - self.lower) / self.width()) as usize;
        let last = self.buckets.len() - 1;
        self.buckets[bucket.min(last)] += 1;
    }

    fn see(&mut self, value: f64) {
        self.max = self.max.max(value);
        self.min = self.min.min(value);
    }

    /// Counts outliers at a limit.
    fn clip(&mut self, above: bool, count: i64) {
        if count == 0 {
            return;
        }
        self.count = self.count.saturating_add(count);
        let bucket = if above { self.buckets.len() - 1 } else { 0 };
        self.buckets[bucket] = self.buckets[bucket].saturating_add(count);
        self.see(if above { self.upper } else { self.lower });
    }

    /// Takes in outliers of another histogram.
    fn take_outliers(&mut self, below: i64, above: i64) {
        match self.outliers {
            Outliers::Ignore => {}
            Outliers::Overflow => {
                self.below = self.below.saturating_add(below);
                self.above = self.above.saturating_add(above);
            }
            Outliers::Clip => {
                self.clip(false, below);
                self.clip(true, above);
            }
        }
    }

    /// Adds what another histogram has seen; other buckets are spread evenly over these.
    pub fn merge(&mut self, other: &Self) {
        self.missing = self.missing.saturating_add(other.missing);
        if (self.width(), self.lower, self.upper) == (other.width(), other.lower, other.upper) {
            for (bucket, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
                *bucket = bucket.saturating_add(*theirs);
            }
            self.count = self.count.saturating_add(other.count);
            self.see(other.max);
            self.see(other.min);
            self.take_outliers(other.below, other.above);
        } else if other.lower >= self.upper {
            self.take_outliers(0, other.count.saturating_add(other.above));
        } else if other.upper <= self.lower {
            self.take_outliers(other.count.saturating_add(other.below), 0);
        } else {
            self.merge_interpolated(other);
        }
    }

    /// Gives how many values are on one side of a cutoff within the limits, rounded.
    fn cumulated(&self, cutoff: f64, from_start: bool) -> i64 {
        let width = self.width();
        let bucket = ((cutoff - self.lower) / width) as usize;
        let count_of = |range: &[i64]| range.iter().map(|count| *count as f64).sum::<f64>();
        let Some(partial) = self.buckets.get(bucket) else {
            return if from_start { count_of(&self.buckets) as i64 } else { 0 };
        };
        let start = bucket as f64 * width + self.lower;
        let count = if from_start {
            count_of(&self.buckets[..bucket]) + (cutoff - start) / width * *partial as f64
        } else {
            count_of(&self.buckets[bucket + 1..]) + (start + width - cutoff) / width * *partial as f64
        };
        round(count)
    }

    fn merge_interpolated(&mut self, other: &Self) {
        let (start, end) = (self.lower.max(other.lower), self.upper.min(other.upper));
        let below = if start == self.lower {
            other.cumulated(start, true)
        } else {
            0
        };
        let above = if end == self.upper {
            other.cumulated(end, false)
        } else {
            0
        };
        self.take_outliers(below.saturating_add(other.below), above.saturating_add(other.above));
        if self.outliers == Outliers::Clip && start > self.lower && end < self.upper && other.count > 0 {
            // The other lies within: its extremes are exact, unless outliers hide them.
            if other.above == 0 {
                self.max = self.max.max(other.max);
            }
            if other.below == 0 {
                self.min = self.min.min(other.min);
            }
        }
        let (width, their_width) = (self.width(), other.width());
        let mut mine = ((start - self.lower) / width) as usize;
        let mut theirs = ((start - other.lower) / their_width) as usize;
        let mut cursor = start;
        // Every step ends a bucket of one of the two.
        for _ in 0..self.buckets.len() + other.buckets.len() + 2 {
            if cursor >= end || mine >= self.buckets.len() || theirs >= other.buckets.len() {
                return;
            }
            let my_end = ((mine + 1) as f64 * width + self.lower).min(end);
            let their_end = ((theirs + 1) as f64 * their_width + other.lower).min(end);
            let next = my_end.min(their_end);
            let their_start = theirs as f64 * their_width + other.lower;
            let held = other.buckets[theirs];
            let count = round(held as f64 * ((next - cursor) / their_width));
            if count > 0 {
                // The values of a bucket are taken to be evenly spaced.
                let stride = their_width / held as f64;
                let first = ((cursor - their_start) / stride).ceil() * stride + their_start;
                if first >= cursor {
                    self.see(first);
                }
                let last = ((next - their_start) / stride).floor() * stride + their_start;
                if last < next {
                    self.see(last);
                }
                self.buckets[mine] = self.buckets[mine].saturating_add(count);
                self.count = self.count.saturating_add(count);
            }
            cursor = next;
            if next >= my_end {
                mine += 1;
            }
            if next >= their_end {
                theirs += 1;
            }
        }
    }

    /// Gives the number of values within the limits.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Estimates the value at a percentile (0 to 100); 0 without values.
    pub fn percentile(&self, percentile: f64) -> f32 {
        let width = self.width();
        let (mut before, mut before_share, mut before_end) = (0_i64, 0.0, self.lower);
        for (at, bucket) in self.buckets.iter().enumerate() {
            let next = before.saturating_add(*bucket);
            let share = 100.0 * next as f64 / self.count as f64;
            let end = (at + 1) as f64 * width + self.lower;
            if share >= percentile {
                let part = (percentile - before_share) / (share - before_share);
                return (part * (end - before_end) + before_end) as f32;
            }
            (before, before_share, before_end) = (next, share, end);
        }
        0.0
    }

    /// Gives the stored bytes: sparse if fewer than half of the buckets are used.
    pub fn to_bytes(&self) -> Vec<u8> {
        let used = self.buckets.iter().filter(|bucket| **bucket != 0).count();
        let sparse = used < self.buckets.len() / 2;
        let mut bytes = vec![1, if sparse { 2 } else { 1 }];
        bytes.extend_from_slice(&self.lower.to_be_bytes());
        bytes.extend_from_slice(&self.upper.to_be_bytes());
        bytes.extend_from_slice(&(self.buckets.len() as i32).to_be_bytes());
        bytes.push(self.outliers as u8);
        for count in [self.count, self.below, self.above, self.missing] {
            bytes.extend_from_slice(&count.to_be_bytes());
        }
        bytes.extend_from_slice(&self.max.to_be_bytes());
        bytes.extend_from_slice(&self.min.to_be_bytes());
        if sparse {
            bytes.extend_from_slice(&(used as i32).to_be_bytes());
        }
        for (at, bucket) in self.buckets.iter().enumerate() {
            if sparse {
                if *bucket == 0 {
                    continue;
                }
                bytes.extend_from_slice(&(at as i32).to_be_bytes());
            }
            bytes.extend_from_slice(&bucket.to_be_bytes());
        }
        bytes
    }

    /// Gives the memory it holds, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + 8 * self.buckets.len()
    }
}

/// Rounds as Java's `Math.round`.
fn round(value: f64) -> i64 {
    (value + 0.5).floor() as i64
}
