//! Cuts external data into splits: units of work that tasks take several of.
//!
//! * A big Parquet file is cut between row groups.
//! * A big uncompressed file of lines is cut into byte ranges. A range owns the lines that *begin* in it, so the ranges
//!   need not fall on line ends and nobody has to read the file to cut it.
//! * Everything else is read by one task from front to back, and small files share a split.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::InputError;
use crate::file::{FileId, FileInfo};
use crate::limits;
use crate::spec::{ExternSpec, InputFormat};
use crate::{compression::Compression, json, parquet_file};

/// How to cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitLimits {
    /// Bytes of a split at most, roughly; compressed text counts four times.
    pub split_bytes: u64,
    /// Bytes below which a split is not made smaller for the sake of `parallelism`.
    pub min_split_bytes: u64,
    /// How many splits there should be at least, if the data is large enough.
    pub parallelism: usize,
    /// How many splits there may be; neighbours are joined beyond it.
    pub max_splits: usize,
    /// Files that one worker may read (context `maxInputFilesPerWorker`).
    pub max_files_per_worker: u64,
    /// How many workers there are for the files.
    pub workers: u64,
}

impl Default for SplitLimits {
    fn default() -> Self {
        Self {
            split_bytes: limits::DEFAULT_SPLIT_BYTES,
            min_split_bytes: limits::MIN_SPLIT_BYTES,
            parallelism: 1,
            max_splits: limits::MAX_SPLITS,
            max_files_per_worker: limits::MAX_FILES_PER_WORKER,
            workers: 1,
        }
    }
}

/// A unit of work: parts of files, read one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InputSplit {
    /// What is read.
    pub parts: Vec<SplitPart>,
    /// Bytes of the parts; compressed text counts four times, unknown sizes nothing.
    pub weight_bytes: u64,
}

/// A file, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SplitPart {
    /// The position of the source in [`InputSource::leaves`](crate::InputSource::leaves).
    pub leaf: usize,
    /// Which file.
    pub file: FileId,
    /// Which part of it.
    pub range: PartRange,
}

/// Which part of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PartRange {
    /// All of it.
    Whole,
    /// The lines that begin at a byte from `start` up to, but not at, `end`.
    Lines {
        /// First byte.
        start: u64,
        /// One after the last byte.
        end: u64,
    },
    /// The row groups from `start` up to, but not at, `end`.
    RowGroups {
        /// First row group.
        start: usize,
        /// One after the last row group.
        end: usize,
    },
}

impl PartRange {
    /// Tells whether the part holds the first byte, so that it stands for the file in counters.
    pub fn is_first(&self) -> bool {
        match self {
            Self::Whole => true,
            Self::Lines { start, .. } => *start == 0,
            Self::RowGroups { start, .. } => *start == 0,
        }
    }
}

impl InputSplit {
    /// Counts the files that begin in this split (Druid's counter `totalFiles`).
    pub fn files(&self) -> u64 {
        self.parts.iter().filter(|part| part.range.is_first()).count() as u64
    }
}

impl ExternSpec {
    /// Finds the files and cuts them. Lists folders, reads footers of big Parquet files and asks web servers for sizes, so
    /// it blocks. Files that are missing or empty are left out, as Druid leaves them out.
    pub fn splits(&self, limits: &SplitLimits) -> Result<Vec<InputSplit>, InputError> {
        let mut files = Vec::new();
        for leaf in 0..self.source.leaves().len() {
            self.list(leaf, &mut files)?;
        }
        let count = files.len() as u64;
        let allowed = limits.max_files_per_worker.max(1).saturating_mul(limits.workers.max(1));
        if count > allowed {
            return Err(InputError::TooManyFiles {
                files: count,
                max_files_per_worker: limits.max_files_per_worker,
                min_workers: count.div_ceil(limits.max_files_per_worker.max(1)),
            });
        }
        let total: u64 = files.iter().map(FileInfo::weight_bytes).sum();
        let share = total
            .div_ceil(limits.parallelism.max(1) as u64)
            .max(limits.min_split_bytes);
        let target = limits.split_bytes.min(share).max(1);
        let mut packer = Packer::new(target);
        for file in &files {
            match self.cut(file, target)? {
                Some(parts) => parts
                    .into_iter()
                    .for_each(|(range, weight)| packer.alone(file, range, weight)),
                None => packer.shared(file),
            }
        }
        Ok(join_neighbours(packer.finish(), limits.max_splits.max(1)))
    }

    /// Cuts one file, if it is worth it and can be done.
    fn cut(&self, file: &FileInfo, target: u64) -> Result<Option<Vec<(PartRange, u64)>>, InputError> {
        let Some(size) = file.size.filter(|&size| size > target && file.has_ranges) else {
            return Ok(None);
        };
        if file.compression != Compression::None || matches!(file.id, FileId::Inline) {
            return Ok(None);
        }
        match &self.format {
            InputFormat::Parquet(_) => {
                let groups = parquet_file::row_group_bytes(self, file.leaf, &file.id)?;
                Ok(Some(cut_groups(&groups, target)))
            }
            InputFormat::Json(format) => {
                if !format.assume_newline_delimited && !json::sniff_lines(self, file.leaf, &file.id)? {
                    return Ok(None);
                }
                Ok(Some(cut_bytes(size, target)))
            }
            InputFormat::Csv(_) | InputFormat::Tsv(_) | InputFormat::Lines => Ok(Some(cut_bytes(size, target))),
        }
    }
}

/// Cuts `size` bytes into the fewest pieces of at most `target` bytes, all of about the same size.
fn cut_bytes(size: u64, target: u64) -> Vec<(PartRange, u64)> {
    let pieces = size.div_ceil(target).max(1);
    // Multiplied wide: a terabyte in pieces of a megabyte is beyond 64 bits of product only in theory, but files lie.
    let edge = |i: u64| (u128::from(size) * u128::from(i) / u128::from(pieces)) as u64;
    (0..pieces)
        .map(|i| (edge(i), edge(i + 1)))
        .map(|(start, end)| (PartRange::Lines { start, end }, end - start))
        .collect()
}

fn cut_groups(group_bytes: &[u64], target: u64) -> Vec<(PartRange, u64)> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0u64);
    for (i, &group) in group_bytes.iter().enumerate() {
        if i > start && bytes.saturating_add(group) > target {
            parts.push((PartRange::RowGroups { start, end: i }, bytes));
            (start, bytes) = (i, 0);
        }
        bytes = bytes.saturating_add(group);
    }
    let end = group_bytes.len();
    parts.push((PartRange::RowGroups { start, end }, bytes));
    parts
}

/// Puts small files together until a split is full.
struct Packer {
    target: u64,
    splits: Vec<InputSplit>,
    open: InputSplit,
}

impl Packer {
    fn new(target: u64) -> Self {
        Self {
            target,
            splits: Vec::new(),
            open: InputSplit {
                parts: Vec::new(),
                weight_bytes: 0,
            },
        }
    }

    fn part(file: &FileInfo, range: PartRange) -> SplitPart {
        SplitPart {
            leaf: file.leaf,
            file: file.id.clone(),
            range,
        }
    }

    fn alone(&mut self, file: &FileInfo, range: PartRange, weight_bytes: u64) {
        self.splits.push(InputSplit {
            parts: vec![Self::part(file, range)],
            weight_bytes,
        });
    }

    fn shared(&mut self, file: &FileInfo) {
        // A file of unknown size may be large, so it does not share.
        if file.size.is_none() {
            return self.alone(file, PartRange::Whole, 0);
        }
        let weight = file.weight_bytes();
        if !self.open.parts.is_empty() && self.open.weight_bytes.saturating_add(weight) > self.target {
            self.close();
        }
        self.open.parts.push(Self::part(file, PartRange::Whole));
        self.open.weight_bytes = self.open.weight_bytes.saturating_add(weight);
    }

    fn close(&mut self) {
        if !self.open.parts.is_empty() {
            let empty = InputSplit {
                parts: Vec::new(),
                weight_bytes: 0,
            };
            self.splits.push(std::mem::replace(&mut self.open, empty));
        }
    }

    fn finish(mut self) -> Vec<InputSplit> {
        self.close();
        self.splits
    }
}

fn join_neighbours(splits: Vec<InputSplit>, max_splits: usize) -> Vec<InputSplit> {
    if splits.len() <= max_splits {
        return splits;
    }
    let per_split = splits.len().div_ceil(max_splits);
    splits
        .chunks(per_split)
        .map(|chunk| InputSplit {
            parts: chunk.iter().flat_map(|split| split.parts.iter().cloned()).collect(),
            weight_bytes: chunk.iter().map(|split| split.weight_bytes).sum(),
        })
        .collect()
}

/// Makes the split that reads a whole file, for sampling.
pub(crate) fn whole(file: &FileInfo) -> InputSplit {
    InputSplit {
        parts: vec![Packer::part(file, PartRange::Whole)],
        weight_bytes: file.weight_bytes(),
    }
}

/// Reads splits in order with one set of options; what tests and sampling use.
pub fn read_all(
    spec: &ExternSpec,
    splits: &[InputSplit],
    options: &crate::ReadOptions,
    observer: Arc<dyn crate::ReadObserver>,
) -> Result<Vec<arrow::array::RecordBatch>, InputError> {
    let mut batches = Vec::new();
    for split in splits {
        for batch in crate::read_split(spec, split, options, Arc::clone(&observer))? {
            batches.push(batch?);
        }
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_file_once() {
        for size in [1u64, 2, 10, 1_000, 1 << 40] {
            for target in [1u64, 3, 7, 1 << 20, 1 << 41] {
                if size / target > 10_000 {
                    continue;
                }
                let mut at = 0;
                for (range, weight) in cut_bytes(size, target) {
                    let PartRange::Lines { start, end } = range else {
                        panic!("bytes are cut into lines")
                    };
                    assert_eq!((start, weight), (at, end - start));
                    assert!(weight <= target);
                    at = end;
                }
                assert_eq!(at, size);
            }
        }
    }

    #[test]
    fn row_groups_stay_whole() {
        let ranges = |groups: &[u64], target| -> Vec<(usize, usize)> {
            cut_groups(groups, target)
                .into_iter()
                .map(|(range, _)| match range {
                    PartRange::RowGroups { start, end } => (start, end),
                    other => panic!("row groups are cut into row groups, not {other:?}"),
                })
                .collect()
        };
        assert_eq!(ranges(&[5, 5, 5, 5], 10), [(0, 2), (2, 4)]);
        assert_eq!(ranges(&[50, 5, 5], 10), [(0, 1), (1, 3)]);
        assert_eq!(ranges(&[], 10), [(0, 0)]);
    }
}
