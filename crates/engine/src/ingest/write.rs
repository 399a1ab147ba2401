//! A range becomes a segment in deep storage.
//!
//! 1. Read the slices of the range out of all runs, in no order; keep the columns that are stored.
//! 2. Sort them into segment order: in memory where they fit, else in sorted runs that are merged ([`RunWriter`] again).
//! 3. Append them to a [`SegmentWriter`], which encodes as they come.
//! 4. Push the folder to deep storage; what comes back is what the controller publishes.
//!
//! The sort takes at most half of the task's memory, for the segment writer, which cannot spill, comes on top of what is left of
//! it: dictionaries and ids of the segment's strings. A writer that outgrows the task's share goes on all the same, since a segment
//! is bounded by its rows; its excess is the one thing here that the pool does not see.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use fail::fail_point;
use henge_exchange::{
    KeySpec, MemoryBudget, PartOfBudget, RangeReader, Reservation, RunOptions, RunSet, RunStore, RunWriter,
};
use henge_metadata::{BINARY_VERSION, DataSegment};
use henge_segment::{SegmentSummary, SegmentWriter};
use henge_storage::{DeepStorage, SegmentPath};
use tempfile::TempDir;

use crate::convert::CancelReason;
use crate::fault::Fault;
use crate::ingest::{SegmentManifest, SegmentTask, SegmentWork};

/// The rows of the stage before.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Columns as staged.
    pub schema: &'a SchemaRef,
    /// Order in the runs.
    pub key: &'a KeySpec,
    /// What each task staged.
    pub sets: &'a [RunSet],
}

/// How far rows have come; each number adds to the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsAt {
    /// Rows taken in.
    Processed(u64),
    /// Rows encoded.
    Persisted(u64),
    /// Rows in a finished segment.
    Merged(u64),
    /// Rows in a segment that deep storage has.
    Pushed(u64),
    /// Not rows: bytes that went to disk to be sorted.
    SpilledBytes(u64),
}

/// What a task is given to write a segment.
pub struct WriteEnv<'a> {
    /// Where runs lie.
    pub store: Arc<dyn RunStore>,
    /// Memory of the task.
    pub budget: Arc<dyn MemoryBudget>,
    /// Bytes of that memory.
    pub budget_bytes: usize,
    /// Threads that encode the segment.
    pub threads: usize,
    /// Folder for segments that are being written.
    pub tmp_dir: &'a std::path::Path,
    /// Hears of progress.
    pub progress: &'a (dyn Fn(RowsAt) + Sync),
    /// Tells whether to stop.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// A finished segment that is not pushed yet; its folder goes with the value.
#[derive(Debug)]
pub struct WrittenSegment {
    folder: TempDir,
    summary: SegmentSummary,
}

impl WrittenSegment {
    /// Gives what was written.
    pub fn summary(&self) -> &SegmentSummary {
        &self.summary
    }

    /// Gives the folder of the segment's files.
    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join(SEGMENT_FOLDER)
    }
}

const SEGMENT_FOLDER: &str = "segment";

/// Writes the segment of one range; none where the range has no rows. Blocks. `name` is unique to the attempt.
pub fn write_segment(
    work: &SegmentWork,
    task: &SegmentTask,
    rows: Rows<'_>,
    name: &str,
    env: &WriteEnv<'_>,
) -> Result<Option<WrittenSegment>, Fault> {
    fail_point!("segment-before-write", |_| Err(Fault::unknown(
        "failure injected at [segment-before-write]"
    )
    .retryable()));
    let check = || {
        if (env.cancelled)() {
            Err(Fault::canceled(CancelReason::Unknown))
        } else {
            Ok(())
        }
    };
    let sets: Vec<&RunSet> = rows.sets.iter().collect();
    let reader = RangeReader::unordered(rows.schema, rows.key, &sets, &task.range, env.store.as_ref())?;
    let schema = work.rows_schema(rows.schema)?;
    let sort_budget = Arc::new(PartOfBudget::new(Arc::clone(&env.budget), env.budget_bytes / 2));
    let options = RunOptions::new(format!("{name}/sort"), 0);
    let mut sorter = RunWriter::new(&schema, work.row_order(), sort_budget, Arc::clone(&env.store), options)?;
    let mut taken = 0;
    for batch in reader {
        check()?;
        let batch = work.rows(&schema, &batch?)?;
        sorter.write(&batch)?;
        taken += batch.num_rows() as u64;
        (env.progress)(RowsAt::Processed(batch.num_rows() as u64));
    }
    if taken == 0 {
        return Ok(None);
    }
    check()?;
    let sorted = sorter.finish_sorted()?;
    if sorted.spilled_bytes() > 0 {
        (env.progress)(RowsAt::SpilledBytes(sorted.spilled_bytes()));
    }
    let folder = tempfile::Builder::new().prefix("segment-").tempdir_in(env.tmp_dir)?;
    let path = folder.path().join(SEGMENT_FOLDER);
    let writer = SegmentWriter::create(&path, work.segment_schema()?, work.index_spec()?, task.interval)?;
    let mut writer = writer.with_threads(env.threads)?;
    let mut held = Reservation::new(Arc::clone(&env.budget));
    for batch in sorted {
        check()?;
        let batch = work.encoded(batch?)?;
        writer.append(&batch)?;
        held.grow(writer.memory_bytes().saturating_sub(held.bytes()));
        (env.progress)(RowsAt::Persisted(batch.num_rows() as u64));
    }
    check()?;
    let summary = writer.finish()?;
    if summary.rows != taken {
        return Err(Fault::unknown(format!(
            "a segment has [{}] rows instead of [{taken}]",
            summary.rows
        )));
    }
    (env.progress)(RowsAt::Merged(taken));
    Ok(Some(WrittenSegment { folder, summary }))
}

/// Pushes a segment to its place, and gives what is to be published.
pub async fn push_segment(
    work: &SegmentWork,
    task: &SegmentTask,
    written: WrittenSegment,
    deep_storage: &dyn DeepStorage,
    progress: &(dyn Fn(RowsAt) + Sync),
) -> Result<SegmentManifest, Fault> {
    fail_point!("segment-before-push", |_| Err(Fault::unknown(
        "failure injected at [segment-before-push]"
    )
    .retryable()));
    let place = SegmentPath {
        datasource: work.datasource.clone(),
        interval: task.interval,
        version: task.version.clone(),
        partition: task.shard_spec.partition_num(),
        // As Druid's engine: another attempt replaces the same files.
        unique: None,
    };
    let pushed = deep_storage.push(&written.path(), &place).await?;
    fail_point!("segment-after-push", |_| Err(Fault::unknown(
        "failure injected at [segment-after-push]"
    )
    .retryable()));
    let summary = written.summary;
    progress(RowsAt::Pushed(summary.rows));
    let segment = DataSegment {
        datasource: place.datasource,
        interval: place.interval,
        version: place.version,
        load_spec: pushed.load_spec,
        dimensions: summary.dimensions,
        // Druid names them in the order of the SELECT, the file by name.
        metrics: work.metric_names(),
        projections: work.projection_names(),
        shard_spec: task.shard_spec.clone(),
        last_compaction_state: None,
        indexing_state_fingerprint: None,
        binary_version: Some(BINARY_VERSION),
        size: pushed.size_bytes,
        total_rows: Some(summary.rows),
    };
    Ok(SegmentManifest {
        segment,
        rows: summary.rows,
    })
}
