//! Counters of running tasks: cheap atomics where the work is, plain snapshots everywhere else
//! (Druid's `CounterSnapshots`; spec `msq-engine` section 12).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Which channel of a task a counter belongs to. Written down by its name (`input0`, `output`, `shuffle`), since it is a key of maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Channel {
    /// The n-th input of the stage.
    Input(usize),
    /// What the stage yields, by partition.
    Output,
    /// What the stage stages for the exchange, by partition.
    Shuffle,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Channel::Input(number) => write!(f, "input{number}"),
            Channel::Output => f.write_str("output"),
            Channel::Shuffle => f.write_str("shuffle"),
        }
    }
}

impl From<Channel> for String {
    fn from(channel: Channel) -> Self {
        channel.to_string()
    }
}

impl TryFrom<String> for Channel {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "output" => Ok(Channel::Output),
            "shuffle" => Ok(Channel::Shuffle),
            other => {
                let number = other.strip_prefix("input").and_then(|number| number.parse().ok());
                number
                    .map(Channel::Input)
                    .ok_or_else(|| format!("[{other}] is no channel"))
            }
        }
    }
}

/// One channel's counts; every list is indexed by partition (inputs have one partition a worker and input).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChannelSnapshot {
    /// Rows by partition.
    pub rows: Vec<u64>,
    /// Bytes by partition: of files as read, of runs as staged.
    pub bytes: Vec<u64>,
    /// Batches by partition (Druid's frames).
    pub frames: Vec<u64>,
    /// Files or segments read so far.
    pub files: Vec<u64>,
    /// Files or segments to read.
    pub total_files: Vec<u64>,
}

/// Progress of sorting, as far as henge's one-level merge has any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SortProgress {
    /// Levels of merging; −1 where not known yet.
    pub total_merging_levels: i64,
    /// Batches to merge, by level.
    pub level_to_total_batches: BTreeMap<u32, u64>,
    /// Batches merged, by level.
    pub level_to_merged_batches: BTreeMap<u32, u64>,
    /// Mergers of the last level; −1 where not known yet.
    pub total_mergers_for_ultimate_level: i64,
    /// True where nothing had to be sorted.
    pub trivially_complete: bool,
    /// 0 to 1, absent while unknown.
    pub progress_digest: Option<f64>,
}

/// Progress of writing segments, in rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SegmentGenerationProgress {
    /// Rows taken in.
    pub rows_processed: u64,
    /// Rows encoded on disk.
    pub rows_persisted: u64,
    /// Rows in finished segments.
    pub rows_merged: u64,
    /// Rows in segments that deep storage has.
    pub rows_pushed: u64,
}

/// What a sort with a limit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstRows {
    /// Rows that it took.
    pub taken: u64,
    /// Rows that it kept.
    pub kept: u64,
}

/// Everything that one worker of one stage has counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerCounters {
    /// By channel.
    pub channels: BTreeMap<Channel, ChannelSnapshot>,
    /// Rows that a sort took and kept, where the task ends with one that keeps only the first rows.
    #[serde(default)]
    pub first_rows: Option<FirstRows>,
    /// Where the stage sorts.
    pub sort_progress: Option<SortProgress>,
    /// Where the stage writes segments.
    pub segment_generation: Option<SegmentGenerationProgress>,
    /// Warnings by error code.
    pub warnings: BTreeMap<String, u64>,
    /// Bytes that this worker wrote to disk because its share of memory was full (henge's own counter).
    pub spilled_bytes: u64,
    /// CPU nanoseconds and wall nanoseconds by label (`main`, …).
    pub cpu: BTreeMap<String, (u64, u64)>,
}

/// Stage number → worker number → counters.
pub type CounterTree = BTreeMap<u32, BTreeMap<u32, WorkerCounters>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_survive_being_written_down() {
        let mut counters = WorkerCounters::default();
        for channel in [Channel::Input(0), Channel::Input(12), Channel::Output, Channel::Shuffle] {
            counters.channels.insert(
                channel,
                ChannelSnapshot {
                    rows: vec![1, 2],
                    ..ChannelSnapshot::default()
                },
            );
        }
        counters.sort_progress = Some(SortProgress {
            level_to_total_batches: [(0, 3)].into(),
            ..SortProgress::default()
        });
        let tree: CounterTree = [(0, [(1, counters)].into())].into();
        let text = serde_json::to_string(&tree).expect("every key is text");
        assert_eq!(
            serde_json::from_str::<CounterTree>(&text).expect("the same shape"),
            tree
        );
    }
}
