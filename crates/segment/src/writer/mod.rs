//! Writing a segment.

use std::path::Path;

use arrow::record_batch::RecordBatch;
use henge_time::Interval;

use crate::{IndexSpec, SegmentError, SegmentSchema};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Rows.
    pub rows: u64,
    /// Bytes of all files: the `size` of the published descriptor.
    pub size_bytes: u64,
    /// The dimensions in their order.
    pub dimensions: Vec<String>,
    /// The metrics by name.
    pub metrics: Vec<String>,
    /// The smallest time.
    pub min_time_ms: i64,
    /// The largest time.
    pub max_time_ms: i64,
}

/// Writes a segment from rows that arrive in segment order.
#[derive(Debug)]
pub struct SegmentWriter {
    schema: SegmentSchema,
}

impl SegmentWriter {
    /// Starts a segment in a folder, which is made if it is not there.
    pub fn create(
        _dir: &Path,
        schema: SegmentSchema,
        _spec: IndexSpec,
        _interval: Interval,
    ) -> Result<Self, SegmentError> {
        schema.validate()?;
        Ok(Self { schema })
    }
    /// Takes rows: columns by name, `__time` as `Timestamp(Millisecond)` or `Int64`. A column that the batch lacks is null.
    pub fn append(&mut self, _batch: &RecordBatch) -> Result<(), SegmentError> {
        Ok(())
    }
    /// Tells how much memory the writer holds.
    pub fn memory_bytes(&self) -> usize {
        self.schema.columns.len()
    }
    /// Writes the files and makes them durable. Fails for a segment without rows, which Druid cannot read.
    pub fn finish(self) -> Result<SegmentSummary, SegmentError> {
        Err(SegmentError::invalid("segments are not written yet"))
    }
}
