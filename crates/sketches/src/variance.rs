//! `variance`: count, sum and sum of squared deviations.
//!
//! ```text
//! byte 0     i64 count
//!      8     f64 sum
//!      16    f64 sum of squared deviations from the mean
//! ```
//!
//! All numbers are big-endian; without values 24 zero bytes. Mirrors
//! `org.apache.druid.query.aggregation.variance.VarianceAggregatorCollector`.

use crate::Result;
use crate::bytes::Reader;

/// Druid's type name.
pub const NAME: &str = "variance";

/// A variance being gathered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Variance {
    count: i64,
    sum: f64,
    deviations: f64,
}

impl Variance {
    /// Reads 24 bytes; no bytes are nothing seen.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Reader::new(NAME, bytes);
        let variance = Self {
            count: reader.i64_be("the count")?,
            sum: reader.f64_be("the sum")?,
            deviations: reader.f64_be("the deviations")?,
        };
        if variance.count < 0 {
            return Err(reader.error(format!("the count is {}", variance.count)));
        }
        Ok(variance)
    }

    /// Adds a value.
    pub fn update(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        if self.count > 1 {
            let count = self.count as f64;
            let distance = count * value - self.sum;
            self.deviations += distance * distance / (count * (count - 1.0));
        }
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let ratio = self.count as f64 / other.count as f64;
        let distance = self.sum / ratio - other.sum;
        let count = self.count.saturating_add(other.count);
        self.deviations += other.deviations + ratio / count as f64 * distance * distance;
        self.count = count;
        self.sum += other.sum;
    }

    /// Gives the variance, of a sample or of the whole population; nothing without values, 0 of one.
    pub fn variance(&self, population: bool) -> Option<f64> {
        match self.count {
            0 => None,
            1 => Some(0.0),
            count if population => Some(self.deviations / count as f64),
            count => Some(self.deviations / (count - 1) as f64),
        }
    }

    /// Gives the number of values.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Gives the stored bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24);
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&self.sum.to_be_bytes());
        bytes.extend_from_slice(&self.deviations.to_be_bytes());
        bytes
    }
}
