//! The timeline of one datasource: which segments are visible at which instant (Druid's `VersionedIntervalTimeline`).
//!
//! ```text
//!   version 3            [####]                 complete
//!   version 2      [xxxxxxxxxxxxxx]             incomplete: hides nothing, shows nothing
//!   version 1  [===========================]    complete
//!   visible     11111111|3333|1111111111111
//! ```
//!
//! 1. Segments with the same interval and version form a *holder*. It is complete when its core partitions are all there.
//! 2. Walking time, the complete holder with the highest version wins at each instant; older ones are clipped, not dropped.
//! 3. A segment is *overshadowed* where at every instant of its interval a newer complete holder wins; only such segments
//!    may be marked unused. An incomplete holder that nothing newer covers is invisible but not overshadowed.
//!
//! Versions are compared as strings. At equal versions the earlier start wins, then the shorter interval: Druid leaves this
//! to the order of arrival, and time-chunk locks never let it happen.

use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::sync::Arc;

use henge_time::Interval;

use crate::{DataSegment, ShardSpec};

/// Segments that are visible together over an interval.
#[derive(Debug, Clone, PartialEq)]
pub struct VisibleChunk {
    /// Where they are visible.
    pub interval: Interval,
    /// Their own interval, which contains the visible one.
    pub true_interval: Interval,
    /// Their version.
    pub version: String,
    /// The segments by partition number, appended and core ones alike.
    pub segments: Vec<Arc<DataSegment>>,
}

/// The visible chunks of a set of used segments of one datasource, and which segments of the set are overshadowed.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    chunks: Vec<VisibleChunk>,
    overshadowed: Vec<Arc<DataSegment>>,
}

impl Timeline {
    /// Evaluates the timeline of the segments; of segments with the same id the last one counts.
    pub fn build(segments: impl IntoIterator<Item = Arc<DataSegment>>) -> Self {
        let holders = gather(segments);
        let chunks = sweep(&holders);
        let mut overshadowed = Vec::new();
        for holder in &holders {
            overshadowed.extend(holder.replaced.iter().cloned());
            if is_hidden(holder, &chunks) {
                overshadowed.extend(holder.members.iter().cloned());
            }
        }
        Timeline { chunks, overshadowed }
    }

    /// Gives all visible chunks in time order.
    pub fn chunks(&self) -> &[VisibleChunk] {
        &self.chunks
    }

    /// Gives every visible segment with the part of its interval where it is visible, tombstones included. A segment that is
    /// visible in several parts is given once for each.
    pub fn visible(&self) -> Vec<(Interval, Arc<DataSegment>)> {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.segments.iter().map(|s| (chunk.interval, Arc::clone(s))))
            .collect()
    }

    /// Gives the visible chunks that share an instant with the interval, clipped to it.
    pub fn lookup(&self, interval: &Interval) -> Vec<VisibleChunk> {
        let first = self.chunks.partition_point(|c| c.interval.end_ms <= interval.start_ms);
        self.chunks[first..]
            .iter()
            .take_while(|c| c.interval.start_ms < interval.end_ms)
            .filter_map(|chunk| {
                let clipped = chunk.interval.intersection(interval)?;
                Some(VisibleChunk {
                    interval: clipped,
                    ..chunk.clone()
                })
            })
            .collect()
    }

    /// Gives the segments that contribute to no instant because newer complete ones hide them.
    pub fn overshadowed(&self) -> &[Arc<DataSegment>] {
        &self.overshadowed
    }
}

/// The segments of one interval and version.
#[derive(Debug)]
struct Holder {
    interval: Interval,
    version: String,
    /// Segments that are visible where the holder is, by partition number.
    members: Vec<Arc<DataSegment>>,
    /// Root partitions and older generations that segments of this very holder replace.
    replaced: Vec<Arc<DataSegment>>,
    complete: bool,
}

fn gather(segments: impl IntoIterator<Item = Arc<DataSegment>>) -> Vec<Holder> {
    type Partitions = BTreeMap<u32, Arc<DataSegment>>;
    let mut groups: BTreeMap<(Interval, String), Partitions> = BTreeMap::new();
    for segment in segments.into_iter().filter(|s| !s.interval.is_empty()) {
        groups
            .entry((segment.interval, segment.version.clone()))
            .or_default()
            .insert(segment.shard_spec.partition_num(), segment);
    }
    groups
        .into_iter()
        .map(|((interval, version), partitions)| {
            let all: Vec<Arc<DataSegment>> = partitions.into_values().collect();
            let generations = Generations::new(&all);
            let (replaced, members): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|s| generations.replaces(s));
            let complete = is_complete(&all, &members);
            Holder {
                interval,
                version,
                members,
                replaced,
                complete,
            }
        })
        .collect()
}

/// Complete groups of segments that replace root partitions of their own version (segment locking: Druid's
/// `OvershadowableManager`, reduced to what a reader of old clusters needs).
struct Generations {
    /// Replaced root partitions and generation of each complete group.
    groups: Vec<(u32, u32, u16)>,
}

impl Generations {
    fn new(all: &[Arc<DataSegment>]) -> Self {
        let mut sizes: BTreeMap<(u32, u32, u16), (usize, usize)> = BTreeMap::new();
        for segment in all {
            if let ShardSpec::NumberedOverwrite {
                start_root_partition_id,
                end_root_partition_id,
                minor_version,
                atomic_update_group_size,
                ..
            } = segment.shard_spec
            {
                let key = (start_root_partition_id, end_root_partition_id, minor_version);
                let entry = sizes.entry(key).or_default();
                entry.0 += 1;
                entry.1 = usize::from(atomic_update_group_size);
            }
        }
        let groups = sizes
            .into_iter()
            .filter(|(_, (have, need))| have >= need)
            .map(|(key, _)| key)
            .collect();
        Generations { groups }
    }

    fn replaces(&self, segment: &DataSegment) -> bool {
        let (start, end, minor) = match segment.shard_spec {
            ShardSpec::NumberedOverwrite {
                start_root_partition_id,
                end_root_partition_id,
                minor_version,
                ..
            } => (start_root_partition_id, end_root_partition_id, minor_version),
            _ => {
                let partition = segment.shard_spec.partition_num();
                (partition, partition + 1, 0)
            }
        };
        self.groups
            .iter()
            .any(|(from, to, generation)| *generation > minor && *from <= start && end <= *to)
    }
}

/// Tells whether all core partitions are there. `all` counts for completeness (a replaced root partition is there),
/// `members` are what remains visible.
fn is_complete(all: &[Arc<DataSegment>], members: &[Arc<DataSegment>]) -> bool {
    let Some(first) = all
        .iter()
        .find(|s| !matches!(s.shard_spec, ShardSpec::NumberedOverwrite { .. }))
    else {
        return !members.is_empty();
    };
    if matches!(first.shard_spec, ShardSpec::Linear { .. }) {
        return true;
    }
    match first.shard_spec.core_partitions() {
        Some(count) => {
            let present: HashSet<u32> = all.iter().map(|s| s.shard_spec.partition_num()).collect();
            (0..count).all(|partition| present.contains(&partition) || replaced_root(all, partition))
        }
        None => is_chain(all),
    }
}

fn replaced_root(all: &[Arc<DataSegment>], partition: u32) -> bool {
    all.iter().any(|s| {
        matches!(s.shard_spec, ShardSpec::NumberedOverwrite { start_root_partition_id, end_root_partition_id, .. }
            if start_root_partition_id <= partition && partition < end_root_partition_id)
    })
}

/// Tells whether the ranges reach from unbounded to unbounded, each starting where the one before ends.
fn is_chain(all: &[Arc<DataSegment>]) -> bool {
    let bound = |value: &Option<String>| value.clone().map(|v| vec![Some(v)]);
    let mut links: Vec<_> = Vec::with_capacity(all.len());
    for segment in all {
        match &segment.shard_spec {
            ShardSpec::None => links.push((None, None)),
            ShardSpec::Single { start, end, .. } => links.push((bound(start), bound(end))),
            ShardSpec::Range { start, end, .. } => links.push((start.clone(), end.clone())),
            _ => {}
        }
    }
    let (Some(first), Some(last)) = (links.first(), links.last()) else {
        return false;
    };
    first.0.is_none()
        && last.1.is_none()
        && links
            .windows(2)
            .all(|pair| pair[0].1.is_some() && pair[0].1 == pair[1].0)
}

/// Walks time from boundary to boundary and gives the winner of each stretch, neighbours of one holder merged.
fn sweep(holders: &[Holder]) -> Vec<VisibleChunk> {
    let complete: Vec<&Holder> = holders.iter().filter(|h| h.complete).collect();
    let mut boundaries: Vec<i64> = complete
        .iter()
        .flat_map(|h| [h.interval.start_ms, h.interval.end_ms])
        .collect();
    boundaries.sort_unstable();
    boundaries.dedup();

    // `complete` is ordered by interval start, so candidates enter in order; they leave lazily when they reach the top.
    let mut candidates: BinaryHeap<(&str, std::cmp::Reverse<Interval>, usize)> = BinaryHeap::new();
    let mut next = 0;
    let mut winners: Vec<(Interval, usize)> = Vec::new();
    for pair in boundaries.windows(2) {
        let (start_ms, end_ms) = (pair[0], pair[1]);
        while let Some(holder) = complete.get(next).filter(|h| h.interval.start_ms <= start_ms) {
            candidates.push((&holder.version, std::cmp::Reverse(holder.interval), next));
            next += 1;
        }
        while candidates
            .peek()
            .is_some_and(|(_, interval, _)| interval.0.end_ms <= start_ms)
        {
            candidates.pop();
        }
        let Some((_, _, winner)) = candidates.peek() else {
            continue;
        };
        match winners.last_mut() {
            Some((interval, holder)) if holder == winner && interval.end_ms == start_ms => interval.end_ms = end_ms,
            _ => winners.push((Interval { start_ms, end_ms }, *winner)),
        }
    }
    winners
        .into_iter()
        .map(|(interval, winner)| VisibleChunk {
            interval,
            true_interval: complete[winner].interval,
            version: complete[winner].version.clone(),
            segments: complete[winner].members.clone(),
        })
        .collect()
}

/// Tells whether newer chunks cover the whole interval of the holder.
fn is_hidden(holder: &Holder, chunks: &[VisibleChunk]) -> bool {
    let mut covered_to = holder.interval.start_ms;
    let first = chunks.partition_point(|c| c.interval.end_ms <= covered_to);
    for chunk in &chunks[first..] {
        if covered_to >= holder.interval.end_ms {
            break;
        }
        let own = chunk.true_interval == holder.interval && chunk.version == holder.version;
        // A complete holder that is not visible has lost to whatever is there, an incomplete one only to newer versions.
        let hides = !own && (chunk.version > holder.version || (holder.complete && chunk.version == holder.version));
        if chunk.interval.start_ms > covered_to || !hides {
            return false;
        }
        covered_to = chunk.interval.end_ms;
    }
    covered_to >= holder.interval.end_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(start_ms: i64, end_ms: i64, version: &str, shard_spec: ShardSpec) -> Arc<DataSegment> {
        let mut segment = DataSegment::tombstone("d", Interval { start_ms, end_ms }, version);
        segment.shard_spec = shard_spec;
        Arc::new(segment)
    }

    fn numbered(partition_num: u32, partitions: u32) -> ShardSpec {
        ShardSpec::Numbered {
            partition_num,
            partitions,
        }
    }

    fn show(timeline: &Timeline) -> Vec<String> {
        timeline
            .chunks()
            .iter()
            .map(|c| {
                format!(
                    "{}-{} v{} x{}",
                    c.interval.start_ms,
                    c.interval.end_ms,
                    c.version,
                    c.segments.len()
                )
            })
            .collect()
    }

    #[test]
    fn newer_versions_clip_older_ones() {
        let timeline = Timeline::build([
            segment(0, 100, "1", numbered(0, 1)),
            segment(20, 30, "2", numbered(0, 1)),
            segment(30, 40, "2", ShardSpec::TOMBSTONE),
            segment(50, 60, "3", numbered(1, 2)),
            segment(20, 30, "1", numbered(0, 1)),
        ]);
        assert_eq!(
            show(&timeline),
            ["0-20 v1 x1", "20-30 v2 x1", "30-40 v2 x1", "40-100 v1 x1"]
        );
        let hidden: Vec<_> = timeline
            .overshadowed()
            .iter()
            .map(|s| (s.interval.start_ms, s.version.as_str()))
            .collect();
        assert_eq!(hidden, [(20, "1")]);
        let looked_up = timeline.lookup(&Interval {
            start_ms: 25,
            end_ms: 45,
        });
        assert_eq!(
            looked_up
                .iter()
                .map(|c| (c.interval.start_ms, c.interval.end_ms))
                .collect::<Vec<_>>(),
            [(25, 30), (30, 40), (40, 45)]
        );
        assert_eq!(
            looked_up[0].true_interval,
            Interval {
                start_ms: 20,
                end_ms: 30
            }
        );
    }

    #[test]
    fn a_version_shows_all_or_nothing() {
        let half = [segment(0, 10, "1", numbered(0, 1)), segment(0, 10, "2", numbered(1, 2))];
        assert_eq!(show(&Timeline::build(half.clone())), ["0-10 v1 x1"]);
        assert!(Timeline::build(half.clone()).overshadowed().is_empty());
        let whole = half
            .into_iter()
            .chain([segment(0, 10, "2", numbered(0, 2)), segment(0, 10, "2", numbered(7, 2))]);
        let timeline = Timeline::build(whole);
        assert_eq!(show(&timeline), ["0-10 v2 x3"]);
        assert_eq!(timeline.overshadowed().len(), 1);
    }

    #[test]
    fn chunks_made_by_appends_and_tombstones_show_each_partition() {
        let timeline = Timeline::build([
            segment(0, 10, "1", numbered(5, 0)),
            segment(10, 20, "1", ShardSpec::TOMBSTONE),
            segment(10, 20, "1", numbered(1, 0)),
            segment(20, 30, "1", ShardSpec::Linear { partition_num: 9 }),
            segment(30, 40, "1", ShardSpec::None),
        ]);
        assert_eq!(
            show(&timeline),
            ["0-10 v1 x1", "10-20 v1 x2", "20-30 v1 x1", "30-40 v1 x1"]
        );
    }

    #[test]
    fn ranges_of_unknown_count_need_the_whole_chain() {
        let range = |partition_num, start: Option<&str>, end: Option<&str>| ShardSpec::Single {
            dimension: "d".into(),
            start: start.map(String::from),
            end: end.map(String::from),
            partition_num,
            num_core_partitions: -1,
        };
        let parts = [
            segment(0, 10, "1", range(0, None, Some("b"))),
            segment(0, 10, "1", range(1, Some("b"), Some("c"))),
            segment(0, 10, "1", range(2, Some("c"), None)),
        ];
        assert_eq!(show(&Timeline::build(parts.clone())), ["0-10 v1 x3"]);
        assert!(show(&Timeline::build([parts[0].clone(), parts[2].clone()])).is_empty());
        assert!(show(&Timeline::build(parts[..2].iter().cloned())).is_empty());
    }

    #[test]
    fn generations_replace_root_partitions_together() {
        let overwrite = |partition_id, size| ShardSpec::NumberedOverwrite {
            partition_id,
            start_root_partition_id: 0,
            end_root_partition_id: 2,
            minor_version: 1,
            atomic_update_group_size: size,
        };
        let roots = [
            segment(0, 10, "1", numbered(0, 3)),
            segment(0, 10, "1", numbered(1, 3)),
            segment(0, 10, "1", numbered(2, 3)),
        ];
        let one = segment(0, 10, "1", overwrite(32768, 2));
        let two = segment(0, 10, "1", overwrite(32769, 2));
        let timeline = Timeline::build(roots.iter().cloned().chain([one.clone(), two.clone()]));
        assert_eq!(show(&timeline), ["0-10 v1 x3"]);
        assert_eq!(timeline.overshadowed().len(), 2);
        let after_clean_up = Timeline::build([roots[2].clone(), one, two]);
        assert_eq!(show(&after_clean_up), ["0-10 v1 x3"]);
    }

    /// The definition of section 7.3, instant by instant.
    mod naive {
        use super::*;

        fn complete(all: &[Arc<DataSegment>], of: &DataSegment) -> bool {
            let siblings: Vec<_> = all
                .iter()
                .filter(|s| s.interval == of.interval && s.version == of.version)
                .collect();
            let count = siblings
                .iter()
                .filter_map(|s| s.shard_spec.core_partitions())
                .next()
                .unwrap_or(0);
            (0..count).all(|p| siblings.iter().any(|s| s.shard_spec.partition_num() == p))
        }

        /// Version and interval of the winner at an instant.
        pub fn winner(all: &[Arc<DataSegment>], at: i64) -> Option<(String, Interval)> {
            all.iter()
                .filter(|s| s.interval.contains_instant(at) && complete(all, s))
                .map(|s| (s.version.clone(), std::cmp::Reverse(s.interval)))
                .max()
                .map(|(version, interval)| (version, interval.0))
        }

        pub fn overshadowed(all: &[Arc<DataSegment>], of: &DataSegment) -> bool {
            (of.interval.start_ms..of.interval.end_ms).all(|at| match winner(all, at) {
                Some((version, interval)) => {
                    version > of.version || (complete(all, of) && version == of.version && interval != of.interval)
                }
                None => false,
            })
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn agrees_with_the_definition_at_every_instant(
            parts in prop::collection::vec((0i64..20, 1i64..8, 0u8..4, 0u32..3), 0..14),
        ) {
            // One core count for one interval and version, as every writer makes them.
            let all: Vec<Arc<DataSegment>> = parts
                .iter()
                .map(|(start, length, version, partition)| {
                    let core = u32::try_from((start + length + i64::from(*version)) % 3).expect("small");
                    segment(*start, start + length, &version.to_string(), numbered(*partition, core))
                })
                .collect();
            let mut unique: BTreeMap<_, _> = BTreeMap::new();
            for s in &all {
                unique.insert(s.id(), Arc::clone(s));
            }
            let all: Vec<_> = unique.into_values().collect();
            let timeline = Timeline::build(all.iter().cloned());
            for at in 0..30 {
                let chunk = timeline.chunks().iter().find(|c| c.interval.contains_instant(at));
                prop_assert_eq!(chunk.map(|c| (c.version.clone(), c.true_interval)), naive::winner(&all, at));
                if let Some(chunk) = chunk {
                    let mut expected: Vec<_> = all
                        .iter()
                        .filter(|s| s.interval == chunk.true_interval && s.version == chunk.version)
                        .map(|s| s.id())
                        .collect();
                    expected.sort();
                    prop_assert_eq!(chunk.segments.iter().map(|s| s.id()).collect::<Vec<_>>(), expected);
                }
            }
            for s in &all {
                let listed = timeline.overshadowed().iter().any(|o| o.id() == s.id());
                prop_assert_eq!(listed, naive::overshadowed(&all, s), "{}", s.id());
            }
        }
    }
}
