//! Tombstones of a REPLACE (section 7.5 of the metadata notes; Druid's `TombstoneHelper`): where the statement covers time
//! that has data and wrote none, an empty segment hides what is there.

use std::collections::BTreeSet;

use henge_time::{Granularity, Interval};

use crate::limits::MAX_TOMBSTONES;
use crate::store::MetadataStore;
use crate::{DataSegment, MetadataError, Timeline};

/// What a REPLACE covers and what it wrote.
#[derive(Debug, Clone)]
pub struct TombstoneRequest {
    /// Task whose locks give the versions.
    pub task_id: String,
    /// Datasource.
    pub datasource: String,
    /// Time chunks of the OVERWRITE clause; eternity for OVERWRITE ALL.
    pub replaced: Vec<Interval>,
    /// Intervals of the segments that were written.
    pub published: Vec<Interval>,
    /// PARTITIONED BY.
    pub granularity: Granularity,
}

/// What a REPLACE has to publish beside its data.
#[derive(Debug, Clone, Default)]
pub struct Tombstones {
    /// The tombstones.
    pub segments: Vec<DataSegment>,
    /// Replaced time without new data. Where nothing at all is to be published, its segments are marked unused instead.
    pub dropped: Vec<Interval>,
}

impl MetadataStore {
    /// Computes the tombstones of a REPLACE against what is visible now. The locks of the task keep the answer true.
    pub fn tombstones(&self, request: &TombstoneRequest) -> Result<Tombstones, MetadataError> {
        let snapshot = self.snapshot();
        let empty = Timeline::default();
        let timeline = snapshot.datasource(&request.datasource).map_or(&empty, |d| &d.timeline);
        let dropped = Interval::subtract(request.replaced.iter().copied(), request.published.iter().copied());
        let intervals = tombstone_intervals(timeline, &request.replaced, &dropped, &request.granularity);
        if intervals.len() > MAX_TOMBSTONES {
            return Err(MetadataError::TooManyTombstones {
                datasource: request.datasource.clone(),
                limit: MAX_TOMBSTONES,
            });
        }
        let locks = self.locks_of(&request.task_id);
        let segments = intervals
            .into_iter()
            .map(|interval| {
                let covers = |lock: &&crate::TaskLock| {
                    lock.datasource == request.datasource && !lock.revoked && lock.interval.contains(&interval)
                };
                let lock = locks
                    .iter()
                    .rev()
                    .find(covers)
                    .ok_or_else(|| MetadataError::LockPreempted {
                        task_id: request.task_id.clone(),
                        datasource: request.datasource.clone(),
                        interval,
                    })?;
                Ok(DataSegment::tombstone(&request.datasource, interval, &lock.version))
            })
            .collect::<Result<_, MetadataError>>()?;
        Ok(Tombstones { segments, dropped })
    }
}

/// Gives the intervals of the tombstones, at most one more than the limit.
fn tombstone_intervals(
    timeline: &Timeline,
    replaced: &[Interval],
    dropped: &[Interval],
    granularity: &Granularity,
) -> BTreeSet<Interval> {
    let visible = timeline.chunks().iter().map(|chunk| chunk.interval);
    let used = Interval::condense(visible.filter(|i| replaced.iter().any(|r| r.overlaps(i))));
    let mut intervals = BTreeSet::new();
    for drop in dropped {
        let first = used.partition_point(|u| u.end_ms <= drop.start_ms);
        for overlap in used[first..].iter().map_while(|u| u.intersection(drop)) {
            intervals.extend(cut(&overlap, granularity));
            if intervals.len() > MAX_TOMBSTONES {
                return intervals;
            }
        }
    }
    intervals
}

/// Cuts an overlap into buckets; what reaches to an end of time becomes one tombstone to that end.
fn cut(overlap: &Interval, granularity: &Granularity) -> Vec<Interval> {
    let eternity = Interval::ETERNITY;
    let half_open = match (overlap.start_ms == eternity.start_ms, overlap.end_ms == eternity.end_ms) {
        (true, true) => eternity,
        (true, false) => Interval {
            start_ms: eternity.start_ms,
            end_ms: granularity.bucket_start(overlap.end_ms),
        },
        (false, true) => Interval {
            start_ms: granularity.bucket_start(overlap.start_ms),
            end_ms: eternity.end_ms,
        },
        (false, false) => return granularity.buckets(overlap, MAX_TOMBSTONES),
    };
    Vec::from_iter((!half_open.is_empty()).then_some(half_open))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const DAY: i64 = 86_400_000;

    fn days(from: i64, to: i64) -> Interval {
        Interval {
            start_ms: from * DAY,
            end_ms: to * DAY,
        }
    }

    fn holding(intervals: &[Interval]) -> Timeline {
        Timeline::build(intervals.iter().map(|i| Arc::new(DataSegment::tombstone("d", *i, "1"))))
    }

    fn check(used: &[Interval], replaced: Interval, published: &[Interval], cut: Granularity) -> Vec<Interval> {
        let dropped = Interval::subtract([replaced], published.iter().copied());
        tombstone_intervals(&holding(used), &[replaced], &dropped, &cut)
            .into_iter()
            .collect()
    }

    #[test]
    fn one_a_bucket_where_there_was_data() {
        let used = [days(0, 1), days(1, 2), days(5, 6), days(8, 9)];
        assert_eq!(
            check(&used, Interval::ETERNITY, &[days(1, 2)], Granularity::DAY),
            [days(0, 1), days(5, 6), days(8, 9)]
        );
        assert_eq!(check(&used, days(4, 7), &[], Granularity::DAY), [days(5, 6)]);
        assert_eq!(check(&used, days(2, 5), &[], Granularity::DAY), []);
        assert_eq!(check(&[], Interval::ETERNITY, &[], Granularity::DAY), []);
    }

    #[test]
    fn coarser_data_is_cut_and_finer_data_rounded() {
        assert_eq!(
            check(&[days(0, 3)], days(1, 3), &[], Granularity::DAY),
            [days(1, 2), days(2, 3)]
        );
        let hours = Interval {
            start_ms: DAY + 7_200_000,
            end_ms: 2 * DAY + 3_600_000,
        };
        assert_eq!(
            check(&[hours], Interval::ETERNITY, &[], Granularity::DAY),
            [days(1, 2), days(2, 3)]
        );
        assert_eq!(
            check(&[hours], Interval::ETERNITY, &[], Granularity::All),
            [Interval::ETERNITY]
        );
    }

    #[test]
    fn ends_of_time_get_one_tombstone_each() {
        let eternity = Interval::ETERNITY;
        assert_eq!(check(&[eternity], eternity, &[], Granularity::DAY), [eternity]);
        assert_eq!(
            check(&[eternity], eternity, &[days(3, 4)], Granularity::DAY),
            [
                Interval {
                    start_ms: eternity.start_ms,
                    end_ms: 3 * DAY
                },
                Interval {
                    start_ms: 4 * DAY,
                    end_ms: eternity.end_ms
                }
            ]
        );
    }

    #[test]
    fn the_limit_is_noticed_early() {
        let hour = "HOUR".parse().expect("a granularity");
        let found = check(&[days(0, 5000)], Interval::ETERNITY, &[], hour);
        assert_eq!(found.len(), MAX_TOMBSTONES + 1);
    }
}
