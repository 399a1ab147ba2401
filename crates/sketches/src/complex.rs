//! All complex values behind one interface, chosen by Druid's type name.

use crate::approximate_histogram::ApproximateHistogram;
use crate::bloom::Bloom;
use crate::fixed_buckets::FixedBuckets;
use crate::hll::{Hll, RegisterType};
use crate::hyper_unique::HyperUnique;
use crate::kll::{KllDoubles, KllFloats};
use crate::pair::{Keep, Pair, PairType, PairValue};
use crate::quantiles::QuantilesDoubles;
use crate::theta::Theta;
use crate::tuple::TupleDoubles;
use crate::variance::Variance;
use crate::{
    Result, SketchError, approximate_histogram, bloom, fixed_buckets, hll, hyper_unique, quantiles, theta, tuple,
    variance,
};

/// A complex type, without `json`, which is no aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ComplexType {
    /// `HLLSketch`.
    Hll,
    /// `thetaSketch`.
    Theta,
    /// `arrayOfDoublesSketch`.
    TupleDoubles,
    /// `quantilesDoublesSketch`.
    QuantilesDoubles,
    /// `KllDoublesSketch`.
    KllDoubles,
    /// `KllFloatsSketch`.
    KllFloats,
    /// `hyperUnique`, which `cardinality` stores too.
    HyperUnique,
    /// `approximateHistogram`.
    ApproximateHistogram,
    /// `fixedBucketsHistogram`.
    FixedBuckets,
    /// `variance`.
    Variance,
    /// `bloom`.
    Bloom,
    /// `serializablePairLong…`.
    Pair(PairType),
}

impl ComplexType {
    /// Finds the type of a name that a segment, a SQL type or an aggregator may give.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "HLLSketch" | "HLLSketchBuild" | "HLLSketchMerge" => Self::Hll,
            "thetaSketch" | "thetaSketchBuild" | "thetaSketchMerge" => Self::Theta,
            "arrayOfDoublesSketch" | "arrayOfDoublesSketchBuild" | "arrayOfDoublesSketchMerge" => Self::TupleDoubles,
            "quantilesDoublesSketch" | "quantilesDoublesSketchBuild" | "quantilesDoublesSketchMerge" => {
                Self::QuantilesDoubles
            }
            "KllDoublesSketch" | "KllDoublesSketchMerge" => Self::KllDoubles,
            "KllFloatsSketch" | "KllFloatsSketchMerge" => Self::KllFloats,
            "hyperUnique" | "preComputedHyperUnique" | "cardinality" => Self::HyperUnique,
            "approximateHistogram" | "approxHistogram" | "approxHistogramFold" => Self::ApproximateHistogram,
            "fixedBucketsHistogram" => Self::FixedBuckets,
            "variance" | "varianceFold" => Self::Variance,
            "bloom" | "bloomFilter" | "bloomFilterMerge" => Self::Bloom,
            "serializablePairLongString" => Self::Pair(PairType::Text),
            "serializablePairLongLong" => Self::Pair(PairType::Long),
            "serializablePairLongDouble" => Self::Pair(PairType::Double),
            "serializablePairLongFloat" => Self::Pair(PairType::Float),
            _ => return None,
        })
    }

    /// Gives the name that segments and SQL types use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hll => hll::NAME,
            Self::Theta => theta::NAME,
            Self::TupleDoubles => tuple::NAME,
            Self::QuantilesDoubles => quantiles::NAME,
            Self::KllDoubles => KllDoubles::NAME,
            Self::KllFloats => KllFloats::NAME,
            Self::HyperUnique => hyper_unique::NAME,
            Self::ApproximateHistogram => approximate_histogram::NAME,
            Self::FixedBuckets => fixed_buckets::NAME,
            Self::Variance => variance::NAME,
            Self::Bloom => bloom::NAME,
            Self::Pair(kind) => kind.name(),
        }
    }
}

/// What an aggregator says of its result; the default is Druid's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// `lgK` of `HLLSketchBuild` and `HLLSketchMerge`.
    pub hll_lg_k: u8,
    /// `tgtHllType` of them.
    pub hll_type: RegisterType,
    /// `size` of `thetaSketch`.
    pub theta_size: usize,
    /// `nominalEntries` of `arrayOfDoublesSketch`.
    pub tuple_entries: usize,
    /// Which pair stays.
    pub keep: Keep,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hll_lg_k: hll::DEFAULT_LG_K,
            hll_type: RegisterType::Hll4,
            theta_size: theta::DEFAULT_SIZE,
            tuple_entries: tuple::DEFAULT_ENTRIES,
            keep: Keep::Last,
        }
    }
}

/// What is left of a complex value at the end of a query that finalises it.
#[derive(Debug, Clone, PartialEq)]
pub enum Final {
    /// Nothing was seen.
    Null,
    /// A number.
    Double(f64),
    /// A number.
    Float(f32),
    /// A whole number.
    Long(i64),
    /// Text.
    Text(String),
    /// No number says it: the value itself.
    Value,
}

/// A complex value.
#[derive(Debug, Clone)]
pub enum Complex {
    /// `HLLSketch`.
    Hll(Hll),
    /// `thetaSketch`.
    Theta(Theta),
    /// `arrayOfDoublesSketch`.
    TupleDoubles(TupleDoubles),
    /// `quantilesDoublesSketch`.
    QuantilesDoubles(QuantilesDoubles),
    /// `KllDoublesSketch`.
    KllDoubles(KllDoubles),
    /// `KllFloatsSketch`.
    KllFloats(KllFloats),
    /// `hyperUnique`.
    HyperUnique(HyperUnique),
    /// `approximateHistogram`.
    ApproximateHistogram(ApproximateHistogram),
    /// `fixedBucketsHistogram`.
    FixedBuckets(FixedBuckets),
    /// `variance`.
    Variance(Variance),
    /// `bloom`.
    Bloom(Bloom),
    /// `serializablePairLong…`.
    Pair(Pair),
}

impl Complex {
    /// Reads stored bytes.
    ///
    /// ```
    /// use henge_sketches::{Complex, ComplexType, Final, Settings};
    ///
    /// let bytes = [1, 0, 0, 1, 0, 0, 0, 1, 0xcd, 4];
    /// let kind = ComplexType::from_name("hyperUnique").unwrap();
    /// let value = Complex::parse(kind, &bytes, &Settings::default()).unwrap();
    /// assert!(matches!(value.finalise(), Final::Double(count) if (count - 1.0).abs() < 0.01));
    /// assert_eq!(value.to_bytes(), bytes);
    /// ```
    pub fn parse(kind: ComplexType, bytes: &[u8], settings: &Settings) -> Result<Self> {
        Ok(match kind {
            ComplexType::Hll => Self::Hll(Hll::parse(bytes)?),
            ComplexType::Theta => Self::Theta(Theta::parse(bytes, settings.theta_size)?),
            ComplexType::TupleDoubles => Self::TupleDoubles(TupleDoubles::parse(bytes, settings.tuple_entries)?),
            ComplexType::QuantilesDoubles => Self::QuantilesDoubles(QuantilesDoubles::parse(bytes)?),
            ComplexType::KllDoubles => Self::KllDoubles(KllDoubles::parse(bytes)?),
            ComplexType::KllFloats => Self::KllFloats(KllFloats::parse(bytes)?),
            ComplexType::HyperUnique => Self::HyperUnique(HyperUnique::parse(bytes)?),
            ComplexType::ApproximateHistogram => Self::ApproximateHistogram(ApproximateHistogram::parse(bytes)?),
            ComplexType::FixedBuckets => Self::FixedBuckets(FixedBuckets::parse(bytes)?),
            ComplexType::Variance => Self::Variance(Variance::parse(bytes)?),
            ComplexType::Bloom => Self::Bloom(Bloom::parse(bytes)?),
            ComplexType::Pair(kind) => Self::Pair(Pair::parse(kind, bytes)?),
        })
    }

    /// Gives the type.
    pub fn kind(&self) -> ComplexType {
        match self {
            Self::Hll(_) => ComplexType::Hll,
            Self::Theta(_) => ComplexType::Theta,
            Self::TupleDoubles(_) => ComplexType::TupleDoubles,
            Self::QuantilesDoubles(_) => ComplexType::QuantilesDoubles,
            Self::KllDoubles(_) => ComplexType::KllDoubles,
            Self::KllFloats(_) => ComplexType::KllFloats,
            Self::HyperUnique(_) => ComplexType::HyperUnique,
            Self::ApproximateHistogram(_) => ComplexType::ApproximateHistogram,
            Self::FixedBuckets(_) => ComplexType::FixedBuckets,
            Self::Variance(_) => ComplexType::Variance,
            Self::Bloom(_) => ComplexType::Bloom,
            Self::Pair(pair) => ComplexType::Pair(pair.kind()),
        }
    }

    /// Adds another value of the same type, as the type's merging aggregator does.
    pub fn merge(&mut self, other: &Self, settings: &Settings) -> Result<()> {
        match (self, other) {
            (Self::Hll(left), Self::Hll(right)) => {
                if left.lg_k() > settings.hll_lg_k || left.register_type() != settings.hll_type || left.is_empty() {
                    let mut union = Hll::new(settings.hll_lg_k, settings.hll_type)?;
                    union.merge(left)?;
                    *left = union;
                }
                left.merge(right)
            }
            (Self::Theta(left), Self::Theta(right)) => left.merge(right),
            (Self::TupleDoubles(left), Self::TupleDoubles(right)) => left.merge(right),
            (Self::QuantilesDoubles(left), Self::QuantilesDoubles(right)) => left.merge(right),
            (Self::KllDoubles(left), Self::KllDoubles(right)) => left.merge(right),
            (Self::KllFloats(left), Self::KllFloats(right)) => left.merge(right),
            (Self::HyperUnique(left), Self::HyperUnique(right)) => {
                left.merge(right);
                Ok(())
            }
            (Self::ApproximateHistogram(left), Self::ApproximateHistogram(right)) => {
                left.merge(right);
                Ok(())
            }
            (Self::FixedBuckets(left), Self::FixedBuckets(right)) => {
                left.merge(right);
                Ok(())
            }
            (Self::Variance(left), Self::Variance(right)) => {
                left.merge(right);
                Ok(())
            }
            (Self::Bloom(left), Self::Bloom(right)) => left.merge(right),
            (Self::Pair(left), Self::Pair(right)) => left.merge(right, settings.keep),
            (left, right) => Err(SketchError::Mismatch {
                left: left.kind().name().into(),
                right: right.kind().name().into(),
                why: "they are of different types".into(),
            }),
        }
    }

    /// Gives what finalising leaves: the estimate, the value of a pair.
    pub fn finalise(&self) -> Final {
        match self {
            Self::Hll(sketch) => Final::Double(sketch.estimate()),
            Self::Theta(sketch) => Final::Double(sketch.estimate()),
            Self::TupleDoubles(sketch) => Final::Double(sketch.estimate()),
            Self::QuantilesDoubles(sketch) => Final::Long(sketch.n() as i64),
            Self::KllDoubles(sketch) => Final::Long(sketch.n() as i64),
            Self::KllFloats(sketch) => Final::Long(sketch.n() as i64),
            Self::HyperUnique(collector) => Final::Double(collector.estimate()),
            Self::Variance(variance) => variance.variance(false).map_or(Final::Null, Final::Double),
            Self::Pair(pair) => match &pair.value {
                None => Final::Null,
                Some(PairValue::Text(text)) => Final::Text(text.clone()),
                Some(PairValue::Long(value)) => Final::Long(*value),
                Some(PairValue::Double(value)) => Final::Double(*value),
                Some(PairValue::Float(value)) => Final::Float(*value),
            },
            Self::ApproximateHistogram(_) | Self::FixedBuckets(_) | Self::Bloom(_) => Final::Value,
        }
    }

    /// Gives the bytes that a column stores.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Hll(sketch) => sketch.to_bytes(),
            Self::Theta(sketch) => sketch.to_bytes(),
            Self::TupleDoubles(sketch) => sketch.clone().trimmed().to_bytes(),
            Self::QuantilesDoubles(sketch) => sketch.to_bytes(),
            Self::KllDoubles(sketch) => sketch.to_bytes(),
            Self::KllFloats(sketch) => sketch.to_bytes(),
            Self::HyperUnique(collector) => collector.to_bytes(),
            Self::ApproximateHistogram(histogram) => histogram.to_bytes(),
            Self::FixedBuckets(histogram) => histogram.to_bytes(),
            Self::Variance(variance) => variance.to_bytes(),
            Self::Bloom(filter) => filter.to_bytes(),
            Self::Pair(pair) => pair.to_bytes(),
        }
    }

    /// Gives the bytes whose base64 JSON shows; they differ from the stored ones for empty sketches only.
    pub fn image(&self) -> Vec<u8> {
        match self {
            Self::Hll(sketch) => sketch.image(),
            Self::Theta(sketch) => sketch.image(),
            Self::QuantilesDoubles(sketch) => sketch.image(),
            Self::KllDoubles(sketch) => sketch.image(),
            Self::KllFloats(sketch) => sketch.image(),
            other => other.to_bytes(),
        }
    }

    /// Gives the memory it holds, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Hll(sketch) => sketch.size(),
            Self::Theta(sketch) => sketch.size(),
            Self::TupleDoubles(sketch) => sketch.size(),
            Self::QuantilesDoubles(sketch) => sketch.size(),
            Self::KllDoubles(sketch) => sketch.size(),
            Self::KllFloats(sketch) => sketch.size(),
            Self::HyperUnique(collector) => collector.size(),
            Self::ApproximateHistogram(histogram) => histogram.size(),
            Self::FixedBuckets(histogram) => histogram.size(),
            Self::Variance(_) => size_of::<Variance>(),
            Self::Bloom(filter) => filter.size(),
            Self::Pair(pair) => pair.size(),
        }
    }
}
