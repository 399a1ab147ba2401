//! What a task reports of the runs that it staged: enough to cut the key space and to seek, without touching a row.

use serde::{Deserialize, Serialize};

use crate::{BatchExtent, Key, RunLocation, RunMedium};

/// One batch of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchMeta {
    /// Where it lies in the run.
    pub extent: BatchExtent,
    /// Position of its first row in the run.
    pub first_row: u32,
    /// Its rows.
    pub rows: u32,
    /// Bytes that it takes in memory.
    pub memory_bytes: u64,
    /// Key of its first row, without boost; empty where there is no key.
    pub first_key: Key,
}

/// A key and the rows that it stands for: the middle one of `weight` neighbours in its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Key with its boost.
    pub key: Key,
    /// Rows.
    pub weight: u64,
}

/// One bucket of a run: a time chunk, a hash partition, or everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketMeta {
    /// Leading bytes of all its keys.
    pub prefix: Key,
    /// Exact number of rows.
    pub rows: u64,
    /// Samples in key order; their weights sum up to `rows`. None where ranges are never cut inside buckets (hash).
    pub samples: Vec<Sample>,
}

/// One sorted run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMeta {
    /// Where it lies.
    pub location: RunLocation,
    /// Number of the task in its stage: first part of the boost.
    pub task: u32,
    /// Number of the run in its task: second part of the boost.
    pub run: u32,
    /// Its rows.
    pub rows: u64,
    /// Bytes as staged.
    pub bytes: u64,
    /// Index: one entry a batch, in order.
    pub batches: Vec<BatchMeta>,
    /// Buckets in key order.
    pub buckets: Vec<BucketMeta>,
    /// Key of the last row, without boost.
    pub last_key: Key,
}

/// Everything that one task staged; the manifest of an exchange.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunSet {
    /// Runs in the order in which they were staged.
    pub runs: Vec<RunMeta>,
    /// For each key column, whether a row had more than one value in it (then range shard specs are out).
    pub multi_value: Vec<bool>,
}

impl RunSet {
    /// Gives the rows of all runs.
    pub fn rows(&self) -> u64 {
        self.runs.iter().map(|run| run.rows).sum()
    }

    /// Gives the staged bytes of all runs.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes).sum()
    }

    /// Gives the bytes of runs that went to disk because memory was full.
    pub fn spilled_bytes(&self) -> u64 {
        let spilled = |run: &&RunMeta| run.location.medium != RunMedium::Memory;
        self.runs.iter().filter(spilled).map(|run| run.bytes).sum()
    }

    /// Gives the number of batches of all runs.
    pub fn batches(&self) -> u64 {
        self.runs.iter().map(|run| run.batches.len() as u64).sum()
    }
}
