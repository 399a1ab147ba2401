//! `KllDoublesSketch` and `KllFloatsSketch`: DataSketches' KLL quantiles, in their compact images.
//!
//! ```text
//! byte 0     preamble ints: 2 empty or one item, else 5
//!      1     serial version 1 (2 for one item)
//!      2     family 15
//!      3     flags: 0x01 empty, 0x02 level zero sorted, 0x04 one item
//!      4     u16 k
//!      6     m = 8, one byte unused
//!      8     one item: the item, and the end
//!      8     u64 n
//!      16    u16 smallest k merged, u8 levels, one byte unused
//!      20    levels × u32: where the level starts in the full array
//!      …     minimum, maximum, the items of level 0, 1, …
//! ```
//!
//! All numbers are little-endian, items are `f64` or `f32`. An empty sketch is stored as no bytes. Mirrors
//! `org.apache.druid.query.aggregation.datasketches.kll.KllDoublesSketchObjectStrategy` and its float twin. The algorithm is the
//! `datasketches` crate's, which also checks the image.

use datasketches::common::SearchCriteria;
use datasketches::kll::{KllFloat, KllSketch};

use crate::{Result, SketchError};

/// Druid's default k.
pub const DEFAULT_K: u16 = 200;

macro_rules! kll {
    ($(#[$doc:meta])* $name:ident, $item:ty, $druid:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(KllSketch<KllFloat<$item>>);

        impl $name {
            /// Druid's type name.
            pub const NAME: &'static str = $druid;

            /// Makes an empty sketch.
            pub fn new(k: u16) -> Result<Self> {
                KllSketch::new(k)
                    .map(Self)
                    .map_err(|error| SketchError::Invalid(error.message().to_string()))
            }

            /// Reads an image; no bytes are an empty sketch of the default k.
            pub fn parse(bytes: &[u8]) -> Result<Self> {
                if bytes.is_empty() {
                    return Self::new(DEFAULT_K);
                }
                KllSketch::deserialize(bytes)
                    .map(Self)
                    .map_err(|error| SketchError::corrupt($druid, error.message().to_string()))
            }

            /// Adds a value; NaN is not counted.
            pub fn update(&mut self, value: $item) {
                if let Ok(value) = KllFloat::<$item>::new(value) {
                    self.0.update(value);
                }
            }

            /// Adds what another sketch has seen.
            pub fn merge(&mut self, other: &Self) -> Result<()> {
                self.0.merge(&other.0).map_err(|error| SketchError::Mismatch {
                    left: format!("a KLL sketch of {} values", self.0.n()),
                    right: format!("one of {} values", other.0.n()),
                    why: error.message().to_string(),
                })
            }

            /// Says whether no value was seen.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// Gives the number of values seen.
            pub fn n(&self) -> u64 {
                self.0.n()
            }

            /// Estimates the value at a normalised rank (0 to 1, inclusive); NaN without values.
            pub fn quantile(&self, rank: f64) -> Result<f64> {
                self.0
                    .quantile(rank, SearchCriteria::Inclusive)
                    .map(|value| value.map_or(f64::NAN, |value| f64::from(value.into_inner())))
                    .map_err(|error| SketchError::Invalid(error.message().to_string()))
            }

            /// Estimates the share of values that are at most `value`; NaN without values.
            pub fn rank(&self, value: $item) -> f64 {
                KllFloat::<$item>::new(value)
                    .ok()
                    .and_then(|value| self.0.rank(&value, SearchCriteria::Inclusive))
                    .unwrap_or(f64::NAN)
            }

            /// Gives the image, also of an empty sketch (what JSON shows).
            pub fn image(&self) -> Vec<u8> {
                self.0.serialize()
            }

            /// Gives the stored bytes: the image, nothing of an empty sketch.
            pub fn to_bytes(&self) -> Vec<u8> {
                if self.is_empty() { Vec::new() } else { self.image() }
            }

            /// Gives the memory it holds, in bytes.
            pub fn size(&self) -> usize {
                size_of::<Self>() + 2 * self.0.num_retained() * size_of::<$item>()
            }
        }
    };
}

kll! {
    /// Values of doubles by rank, within a known error.
    KllDoubles, f64, "KllDoublesSketch"
}
kll! {
    /// Values of floats by rank, within a known error.
    KllFloats, f32, "KllFloatsSketch"
}
