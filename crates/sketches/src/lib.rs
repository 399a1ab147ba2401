//! Druid's complex values: sketches, histograms, collectors and pairs, in exactly the bytes that Druid stores.
//!
//! Every type has one file that draws its bytes and offers the same verbs: `parse` stored bytes (bounded, never panicking),
//! `update` with raw values (with Druid's hashing, so that sketches of both programs merge), `merge`, an estimate, and
//! `to_bytes`, which Druid reads. [`Complex`] is all of them behind one interface, chosen by Druid's type name; the segment
//! format's rollup and generic SQL functions use it.
//!
//! | Druid type name | here | algorithm |
//! |---|---|---|
//! | `HLLSketch` | [`hll::Hll`] | the `datasketches` crate |
//! | `thetaSketch` | [`theta::Theta`] | the `datasketches` crate |
//! | `KllDoublesSketch`, `KllFloatsSketch` | [`kll::KllDoubles`], [`kll::KllFloats`] | the `datasketches` crate |
//! | `arrayOfDoublesSketch` | [`tuple::TupleDoubles`] | ours: the crate has no such image |
//! | `quantilesDoublesSketch` | [`quantiles::QuantilesDoubles`] | ours: the crate has no classic quantiles |
//! | `hyperUnique` | [`hyper_unique::HyperUnique`] | ours: Druid's own |
//! | `approximateHistogram` | [`approximate_histogram::ApproximateHistogram`] | ours: Druid's own |
//! | `fixedBucketsHistogram` | [`fixed_buckets::FixedBuckets`] | ours: Druid's own |
//! | `variance` | [`variance::Variance`] | ours: Druid's own |
//! | `serializablePairLong…` | [`pair::Pair`] | ours: Druid's own |
//! | `bloom` | [`bloom::Bloom`] | ours: Hive's filter |
//!
//! Knows nothing of Arrow, DataFusion, segments or SQL.

pub mod approximate_histogram;
pub mod bloom;
mod bytes;
mod complex;
mod error;
pub mod fixed_buckets;
mod hash;
pub mod hll;
pub mod hyper_unique;
pub mod kll;
pub mod limits;
pub mod pair;
pub mod quantiles;
mod summary;
pub mod theta;
pub mod tuple;
mod value;
pub mod variance;

pub use complex::{Complex, ComplexType, Final, Settings};
pub use error::SketchError;
pub use value::{StringEncoding, Value};

/// What every function of this crate returns.
pub type Result<T> = std::result::Result<T, SketchError>;
