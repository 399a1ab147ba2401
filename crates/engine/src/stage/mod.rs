//! Stages: a plan template, a list of task descriptors, and what becomes of the rows (Druid's `StageDefinition`, `WorkOrder`).
//!
//! ```text
//!  physical plan ── cut.rs ──> PlannedStage 0 … n     exchanges of the plan become borders of stages
//!                                   │
//!                 descriptor.rs     v                 one descriptor a partition: what each leaf reads
//!                              StageSpec ──> StageRunner ──> task.rs: bind.rs makes a fresh plan of the template,
//!                                                            its rows go into sorted runs ──> Manifest
//! ```
//!
//! Everything that a task is told and everything that it tells is a value that can be written down; the plan template is the
//! exception, and has only nodes that a codec can carry: DataFusion's and the leaves of [`leaf`].

pub mod bind;
pub mod cut;
pub mod describe;
pub mod extern_scan;
pub mod graph;
pub mod input;
pub mod join;
mod null_bytes;
pub mod row_limits;
pub mod scope;
pub mod task;
pub mod window_rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use henge_exchange::{KeyRange, KeySpec, RunSet};
use henge_input::InputSplit;
use henge_scan::SegmentSlice;
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultCode};
use crate::ingest::{SegmentManifest, SegmentTask, SegmentWork};
use crate::stage::row_limits::RowLimits;

/// A stage that is ready to run: given to a [`crate::runner::StageRunner`] by value.
#[derive(Clone)]
pub struct StageSpec {
    /// Controller task.
    pub query_id: String,
    /// Stage number.
    pub number: u32,
    /// What each task does.
    pub work: StageWork,
    /// One a logical partition.
    pub tasks: Vec<TaskDescriptor>,
    /// Outputs of earlier stages that the tasks read, by stage number.
    pub inputs: BTreeMap<u32, Arc<StageOutput>>,
    /// Session settings and functions.
    pub context: Arc<TaskContext>,
    /// Bad rows that one task may meet before it fails: none, so many, or any number.
    pub bad_rows: BadRows,
    /// Rows of each run that the next stage needs at most.
    pub row_limit: Option<u64>,
    /// What single rows may be.
    pub limits: RowLimits,
}

/// What each task of a stage does.
#[derive(Clone)]
pub enum StageWork {
    /// Runs its partition of a plan and stages the rows.
    Plan {
        /// The plan; each task makes a fresh instance.
        template: Arc<dyn ExecutionPlan>,
        /// Order of the staged rows.
        key: KeySpec,
    },
    /// Reads its range of an earlier stage and writes a segment.
    Segments(Arc<SegmentWork>),
}

/// What a task is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDescriptor {
    /// Logical partition of the stage; names the task.
    pub partition: usize,
    /// What the plan's leaves read in this task.
    pub leaves: Vec<LeafBinding>,
    /// The segment, where the stage writes segments.
    pub segment: Option<SegmentTask>,
}

/// What one partition of one leaf reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeafBinding {
    /// The leaf, counted from 0 in the order of a depth-first walk.
    pub leaf: usize,
    /// The leaf's partition.
    pub partition: usize,
    /// What it reads.
    pub data: LeafData,
}

/// What a leaf reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum LeafData {
    /// Parts of external files.
    Splits(Vec<InputSplit>),
    /// Parts of segments.
    Slices(Vec<SegmentSlice>),
    /// A range of an earlier stage's output; all of it where there is none.
    Stage {
        /// The earlier stage.
        stage: u32,
        /// The range.
        range: Option<KeyRange>,
    },
}

/// What an earlier stage has left.
#[derive(Debug, Clone)]
pub struct StageOutput {
    /// Its number.
    pub stage: u32,
    /// Columns as staged.
    pub schema: SchemaRef,
    /// Order of the rows in a run.
    pub key: KeySpec,
    /// What each task staged, by logical partition.
    pub sets: Vec<RunSet>,
}

impl StageOutput {
    /// Gives the rows of all runs.
    pub fn rows(&self) -> u64 {
        self.sets.iter().map(RunSet::rows).sum()
    }

    /// Gives the bytes that a row takes in memory, on average.
    pub fn row_memory_bytes(&self) -> u64 {
        let batches = self.sets.iter().flat_map(|set| &set.runs).flat_map(|run| &run.batches);
        let bytes: u64 = batches.map(|batch| batch.memory_bytes).sum();
        bytes / self.rows().max(1)
    }

    /// Gives the staged bytes of all runs.
    pub fn bytes(&self) -> u64 {
        self.sets.iter().map(RunSet::bytes).sum()
    }
}

/// What a finished attempt reports. The controller accepts one for each logical partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Stage number.
    pub stage: u32,
    /// Logical partition, from the descriptor.
    pub partition: usize,
    /// Which attempt it was, from 0.
    pub attempt: u32,
    /// What it left.
    pub output: TaskOutput,
}

/// What a task leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TaskOutput {
    /// Runs for the next stage.
    Runs(RunSet),
    /// A segment in deep storage, or nothing where the range had no rows.
    Segment(Option<Box<SegmentManifest>>),
}

/// How a task deals with rows that cannot be read (`maxParseExceptions`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BadRows {
    /// The first one fails the task.
    Fail,
    /// They are counted and described.
    Warn {
        /// More of them fail the query; none for any number.
        max: Option<u64>,
    },
}

impl BadRows {
    /// Reads `maxParseExceptions`: 0 fails on the first, −1 tolerates any number.
    pub fn of(max_parse_exceptions: i64) -> Self {
        match max_parse_exceptions {
            0 => BadRows::Fail,
            max => BadRows::Warn {
                max: u64::try_from(max).ok(),
            },
        }
    }
}

/// Checks the manifests of a stage: exactly one for each logical partition. Gives the accepted ones in order of partition,
/// and those that came twice, whose outputs are orphans.
pub fn accept(
    stage: u32,
    partitions: usize,
    manifests: Vec<Manifest>,
) -> Result<(Vec<Manifest>, Vec<Manifest>), Fault> {
    let mut accepted: Vec<Option<Manifest>> = Vec::new();
    accepted.resize_with(partitions, || None);
    let mut orphans = Vec::new();
    for manifest in manifests {
        match accepted.get_mut(manifest.partition) {
            Some(place @ None) if manifest.stage == stage => *place = Some(manifest),
            _ => orphans.push(manifest),
        }
    }
    if let Some(missing) = accepted.iter().position(Option::is_none) {
        return Err(Fault::new(
            FaultCode::WorkerFailed,
            format!("stage [{stage}] ended without a manifest of partition [{missing}]"),
        )
        .with("workerTaskId", format!("stage{stage}-partition{missing}")));
    }
    Ok((accepted.into_iter().flatten().collect(), orphans))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(stage: u32, partition: usize, attempt: u32) -> Manifest {
        Manifest {
            stage,
            partition,
            attempt,
            output: TaskOutput::Runs(RunSet::default()),
        }
    }

    #[test]
    fn exactly_one_manifest_a_partition() {
        let all = vec![
            manifest(1, 1, 0),
            manifest(1, 0, 1),
            manifest(1, 1, 2),
            manifest(1, 7, 0),
            manifest(0, 0, 0),
        ];
        let (accepted, orphans) = accept(1, 2, all).expect("complete");
        assert_eq!(accepted, [manifest(1, 0, 1), manifest(1, 1, 0)]);
        assert_eq!(
            orphans.len(),
            3,
            "a second attempt, a partition that is none, another stage"
        );
        let fault = accept(1, 3, accepted).expect_err("partition 2 is missing");
        assert_eq!(fault.code, FaultCode::WorkerFailed);
        assert!(accept(0, 0, Vec::new()).expect("nothing to do").0.is_empty());
    }

    #[test]
    fn bad_rows_follow_max_parse_exceptions() {
        assert_eq!(BadRows::of(0), BadRows::Fail);
        assert_eq!(BadRows::of(3), BadRows::Warn { max: Some(3) });
        assert_eq!(BadRows::of(-1), BadRows::Warn { max: None });
    }
}
