//! Aggregation on dictionary ids.
//!
//! ```text
//!  plan       what is computed: keys, arguments, accumulators
//!  recognise  AggregateExec over SegmentScanExec -> plan
//!  rule       puts SegmentAggregateExec in its place
//!  exec       the operator             job         one execution: filter, number the keys, accumulate, merge
//!  codes      keys as numbers          dictionary  one dictionary for all segments
//!  time       keys of floored time     groups      accumulators as arrays
//! ```

mod codes;
mod dictionary;
mod exec;
mod groups;
mod job;
mod plan;
mod recognise;
mod rule;
mod time;

pub(crate) use dictionary::MergedDictionary;
pub use exec::SegmentAggregateExec;
pub(crate) use plan::substitute;
pub use rule::AggregateOverSegments;
