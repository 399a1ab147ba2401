//! Samples in, ranges out (Druid's `ClusterByStatisticsCollector` and `generatePartitionsWith…`).
//!
//! 1. Buckets of all runs are merged in key order, with their exact numbers of rows.
//! 2. Each bucket gets `round(rows / target)` ranges, at least one. A range never crosses a bucket.
//! 3. Inside a bucket the samples of all runs are merged in key order; a sample stands for the `weight` rows around it. The
//!    i-th cut is the sample whose rank is nearest to `i × rows / ranges`. Equal keys are never parted: where they should be,
//!    the boost makes them distinct.
//!
//! The first range of a bucket starts with the bucket's prefix, the last ends where the prefix ends, so every key has exactly
//! one range, sampled or not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::key::hash_prefix;
use crate::{ExchangeError, Key, KeySpec, RunSet, Sample, limits};

/// A range of keys: one partition of the next stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// Leading bytes of all keys in it, where the key has buckets.
    pub bucket: Option<Key>,
    /// First key inside; none is the smallest of all.
    pub start: Option<Key>,
    /// First key behind; none is behind the largest of all.
    pub end: Option<Key>,
    /// True for the first range of a bucket, whose start is no key but the bucket itself.
    pub first_in_bucket: bool,
    /// True for the last range of a bucket.
    pub last_in_bucket: bool,
    /// Rows inside, as far as the samples tell; exact where the bucket has one range.
    pub estimated_rows: u64,
}

impl KeyRange {
    /// Gives the range of all keys.
    pub fn everything(rows: u64) -> Self {
        Self {
            bucket: None,
            start: None,
            end: None,
            first_in_bucket: true,
            last_in_bucket: true,
            estimated_rows: rows,
        }
    }
}

/// How many ranges there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CutTarget {
    /// Ranges of about so many rows (Druid's `targetSize`).
    TargetRows(u64),
    /// At most so many ranges (Druid's `maxCount`).
    MaxPartitions(usize),
    /// One range for each hash bucket, empty ones included.
    Hash,
    /// One range for everything (Druid's `mix`, and `maxCount` 1).
    Single,
}

/// What is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutLimits {
    /// Buckets at most.
    pub buckets: usize,
    /// Ranges at most.
    pub partitions: usize,
}

impl Default for CutLimits {
    fn default() -> Self {
        Self {
            buckets: limits::BUCKETS_MAX,
            partitions: limits::PARTITIONS_MAX,
        }
    }
}

struct Bucket<'a> {
    rows: u64,
    samples: Vec<&'a Sample>,
}

/// Cuts the keys of all sets into ranges, in key order.
pub fn cut(
    spec: &KeySpec,
    sets: &[&RunSet],
    target: CutTarget,
    cut_limits: CutLimits,
) -> Result<Vec<KeyRange>, ExchangeError> {
    let rows: u64 = sets.iter().map(|set| set.rows()).sum();
    let ranges = match (target, &spec.hash) {
        (CutTarget::Single, _) => vec![KeyRange::everything(rows)],
        (CutTarget::Hash, Some(hash)) => hash_ranges(hash.buckets.max(1), sets),
        // A shuffle without a key has nothing to cut by: Druid turns it into `mix`.
        _ if spec.hash.is_some() || (spec.columns.is_empty() && !spec.boost) => vec![KeyRange::everything(rows)],
        _ if rows == 0 => vec![KeyRange::everything(0)],
        (CutTarget::MaxPartitions(max), _) => {
            let buckets = merge_buckets(sets, cut_limits.buckets)?;
            let target = largest_target(&buckets, rows, max)?;
            sample_ranges(spec, &buckets, target)
        }
        (CutTarget::TargetRows(target), _) => {
            let buckets = merge_buckets(sets, cut_limits.buckets)?;
            let expected: u64 = buckets.values().map(|bucket| range_count(bucket.rows, target)).sum();
            check_partitions(usize::try_from(expected).unwrap_or(usize::MAX), cut_limits.partitions)?;
            sample_ranges(spec, &buckets, target)
        }
        (CutTarget::Hash, None) => vec![KeyRange::everything(rows)],
    };
    check_partitions(ranges.len(), cut_limits.partitions)?;
    Ok(ranges)
}

fn check_partitions(partitions: usize, max: usize) -> Result<(), ExchangeError> {
    if partitions > max {
        return Err(ExchangeError::TooManyPartitions { partitions, max });
    }
    Ok(())
}

fn hash_ranges(buckets: u32, sets: &[&RunSet]) -> Vec<KeyRange> {
    let mut rows: BTreeMap<&Key, u64> = BTreeMap::new();
    for bucket in sets.iter().flat_map(|set| &set.runs).flat_map(|run| &run.buckets) {
        *rows.entry(&bucket.prefix).or_default() += bucket.rows;
    }
    let range = |bucket: u32| {
        let start = hash_prefix(bucket);
        KeyRange {
            end: Some(hash_prefix(bucket + 1)),
            first_in_bucket: true,
            last_in_bucket: true,
            estimated_rows: rows.get(&start).copied().unwrap_or(0),
            bucket: Some(start.clone()),
            start: Some(start),
        }
    };
    (0..buckets).map(range).collect()
}

fn merge_buckets<'a>(sets: &[&'a RunSet], max: usize) -> Result<BTreeMap<&'a Key, Bucket<'a>>, ExchangeError> {
    let mut buckets: BTreeMap<&Key, Bucket> = BTreeMap::new();
    for bucket in sets.iter().flat_map(|set| &set.runs).flat_map(|run| &run.buckets) {
        let merged = buckets.entry(&bucket.prefix).or_insert(Bucket {
            rows: 0,
            samples: Vec::new(),
        });
        merged.rows += bucket.rows;
        merged.samples.extend(&bucket.samples);
        if buckets.len() > max {
            return Err(ExchangeError::TooManyBuckets { max });
        }
    }
    for bucket in buckets.values_mut() {
        bucket.samples.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(buckets)
}

/// Gives how many ranges a bucket should have.
fn range_count(rows: u64, target: u64) -> u64 {
    let target = target.max(1);
    (rows.saturating_add(target / 2) / target).max(1)
}

/// Finds a target that gives at most `max` ranges, as Druid does: from an even share upwards.
fn largest_target(buckets: &BTreeMap<&Key, Bucket>, rows: u64, max: usize) -> Result<u64, ExchangeError> {
    let max = max.max(1);
    let mut target = rows.div_ceil(max as u64).max(1);
    for _ in 0..limits::CUT_ROUNDS_MAX {
        let ranges: u64 = buckets.values().map(|bucket| range_count(bucket.rows, target)).sum();
        if ranges <= max as u64 {
            return Ok(target);
        }
        target = target.saturating_add(target / 4 + 1);
    }
    Err(ExchangeError::TooManyPartitions {
        partitions: buckets.len(),
        max,
    })
}

fn sample_ranges(spec: &KeySpec, buckets: &BTreeMap<&Key, Bucket>, target: u64) -> Vec<KeyRange> {
    let mut ranges = Vec::new();
    for (prefix, bucket) in buckets {
        let cuts = cut_bucket(bucket, range_count(bucket.rows, target));
        let in_bucket = (spec.bucket_by_count > 0).then(|| (*prefix).clone());
        let first = ranges.len();
        let mut start = in_bucket.clone();
        let mut start_rank = 0;
        for (key, rank) in cuts {
            ranges.push(KeyRange {
                bucket: in_bucket.clone(),
                start: start.replace(key.clone()),
                end: Some(key),
                first_in_bucket: ranges.len() == first,
                last_in_bucket: false,
                estimated_rows: rank - start_rank,
            });
            start_rank = rank;
        }
        ranges.push(KeyRange {
            end: in_bucket.as_ref().and_then(Key::after_prefix),
            bucket: in_bucket,
            start,
            first_in_bucket: ranges.len() == first,
            last_in_bucket: true,
            estimated_rows: bucket.rows - start_rank,
        });
    }
    ranges
}

/// Gives the inner boundaries of a bucket: keys in order, each with the estimated number of rows before it.
fn cut_bucket(bucket: &Bucket, ranges: u64) -> Vec<(Key, u64)> {
    // Distinct keys with the rank of their first row: a sample is the middle of the rows that it stands for.
    let mut candidates: Vec<(&Key, u64)> = Vec::new();
    let mut before = 0;
    if ranges > 1 {
        for sample in &bucket.samples {
            if candidates.last().is_none_or(|(key, _)| **key != sample.key) {
                candidates.push((&sample.key, before + sample.weight / 2));
            }
            before += sample.weight;
        }
    }
    let mut cuts: Vec<(Key, u64)> = Vec::new();
    let mut from = 0;
    for range in 1..ranges {
        let ideal = (u128::from(bucket.rows) * u128::from(range) / u128::from(ranges)) as u64;
        let behind = from + candidates[from..].partition_point(|(_, rank)| *rank < ideal);
        let nearer_before = behind > from
            && candidates
                .get(behind)
                .is_none_or(|(_, rank)| ideal - candidates[behind - 1].1 <= rank - ideal);
        let chosen = if nearer_before { behind - 1 } else { behind };
        let Some((key, rank)) = candidates.get(chosen) else {
            break;
        };
        // Nothing is known to lie before the first candidate: a cut there could make an empty range.
        if chosen > 0 && *rank > cuts.last().map_or(0, |(_, rank)| *rank) {
            cuts.push(((*key).clone(), *rank));
            from = chosen + 1;
        }
    }
    cuts
}
