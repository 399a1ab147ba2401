//! Ingestion: the key by which rows are cut, the segments that are planned, and the tasks that write them
//! (Druid's `SegmentGeneratorStageProcessor` and the segment part of its controller).
//!
//! ```text
//!  last stage of the SELECT                      controller                         segment stage, one task a segment
//!  plan_key: adds __bucket,           ──runs──>  cut, plan_segments: time chunk,   ──> write_segment: slices of the range
//!  key = [__bucket, CLUSTERED BY, boost]         partition numbers, shard specs        ──> sorted by (__time, dimensions)
//!                                                allocate_segments | replace_tasks     ──> segment ──> push_segment
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `bucket.rs` | the time chunk of a row, as a function of a plan |
//! | `layout.rs` | which columns a segment has, in which order, and how its rows are sorted |
//! | `plan.rs` | ranges become segments with places |
//! | `write.rs` | a range becomes a segment in deep storage |
//!
//! Whatever goes to a task or comes from it is a value that can be written down.

mod bucket;
mod layout;
mod plan;
mod projections;
mod sketches;
#[cfg(test)]
mod tests;
mod write;

use henge_exchange::KeyRange;
use henge_metadata::{DataSegment, ShardSpec};
use henge_time::Interval;
use serde::{Deserialize, Serialize};

pub use bucket::{BUCKET_COLUMN, BucketFunction, plan_key};
pub use layout::{SegmentWork, StoredColumn};
pub use plan::{
    IngestKind, PlanRequest, PlannedSegment, SegmentPlan, allocate_segments, plan_segments, replace_tasks,
    segment_report,
};
pub use write::{Rows, RowsAt, WriteEnv, WrittenSegment, push_segment, write_segment};

/// A segment that a task writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentTask {
    /// The rows.
    pub range: KeyRange,
    /// Time chunk.
    pub interval: Interval,
    /// Version.
    pub version: String,
    /// Place in the time chunk.
    pub shard_spec: ShardSpec,
}

/// A segment that a task has pushed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentManifest {
    /// What is to be published.
    pub segment: DataSegment,
    /// Its rows.
    pub rows: u64,
}
