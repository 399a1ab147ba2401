//! Projections: what is asked for, and how it is computed from the rows of the table.
//!
//! 1. [`ProjectionSpec`] is what a table asks for, in Druid's JSON (`AggregateProjectionSpec`).
//! 2. [`Plan`] is the same, resolved against the columns of the table.
//! 3. [`Aggregation`] takes the table's rows and combines them, for the writer and for [`crate::verify`].

mod aggregate;
mod aggregators;
mod filter;
mod objects;
mod plan;

pub(crate) use aggregate::{Aggregated, Aggregation};
pub use objects::{ObjectAggregator, ObjectAggregators};
pub(crate) use plan::Plan;
pub use plan::ProjectionSpec;
