//! Dividing segments among partitions.

use std::ops::Range;
use std::sync::Arc;

use henge_time::Interval;

use crate::source::{SegmentDescriptor, SegmentSlice};

/// Fewer likely rows than this are not worth another partition.
const MIN_PARTITION_ROWS: usize = 32_768;

/// A segment that a scan touches.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub segment: Arc<SegmentDescriptor>,
    pub clip: Interval,
    /// Rows to be read.
    pub rows: Range<usize>,
    /// Rows that are likely to pass a filter on time: what is balanced.
    pub likely: Range<usize>,
}

impl Piece {
    fn slice(&self, rows: Range<usize>) -> SegmentSlice {
        SegmentSlice {
            segment: self.segment.clone(),
            clip: self.clip,
            rows: rows.start as u64..rows.end as u64,
        }
    }
}

/// Cuts the pieces, in their order, into at most so many lists of about equally many likely rows; always at least one list.
pub(crate) fn balance(pieces: Vec<Piece>, partitions: usize) -> Vec<Vec<SegmentSlice>> {
    let total: usize = pieces.iter().map(|piece| piece.likely.len()).sum();
    let partitions = partitions.clamp(1, (total / MIN_PARTITION_ROWS).max(1));
    let share = total.div_ceil(partitions).max(1);
    let mut lists = vec![Vec::new()];
    let mut room = share;
    for piece in &pieces {
        let mut from = piece.rows.start;
        let mut likely = piece.likely.clone();
        while likely.len() > room && lists.len() < partitions {
            let cut = likely.start + room;
            push(&mut lists, piece.slice(from..cut));
            lists.push(Vec::new());
            (from, likely.start, room) = (cut, cut, share);
        }
        room = room.saturating_sub(likely.len());
        push(&mut lists, piece.slice(from..piece.rows.end));
    }
    lists
}

fn push(lists: &mut [Vec<SegmentSlice>], slice: SegmentSlice) {
    if let Some(list) = lists.last_mut().filter(|_| !slice.rows.is_empty()) {
        list.push(slice);
    }
}

/// Keeps only the first rows.
pub(crate) fn truncate(pieces: &mut Vec<Piece>, limit: usize) {
    let mut left = limit;
    pieces.retain_mut(|piece| {
        piece.rows.end = piece.rows.end.min(piece.rows.start + left);
        piece.likely = piece.rows.clone();
        left -= piece.rows.len();
        !piece.rows.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(rows: usize) -> Piece {
        let segment = SegmentDescriptor {
            id: String::new(),
            datasource: String::new(),
            interval: Interval::ETERNITY,
            size: 0,
            load_spec: serde_json::Value::Null,
        };
        Piece {
            segment: Arc::new(segment),
            clip: Interval::ETERNITY,
            rows: 0..rows,
            likely: rows / 3..rows / 3 + rows / 2,
        }
    }

    proptest! {
        #[test]
        fn every_row_is_in_exactly_one_list(rows in proptest::collection::vec(0usize..200_000, 0..6), partitions in 1usize..9) {
            let lists = balance(rows.iter().copied().map(piece).collect(), partitions);
            prop_assert!(!lists.is_empty() && lists.len() <= partitions);
            let read: u64 = lists.iter().flatten().map(|slice| slice.rows.end - slice.rows.start).sum();
            prop_assert_eq!(read as usize, rows.iter().sum::<usize>());
        }

        #[test]
        fn truncation_keeps_the_first_rows(rows in proptest::collection::vec(0usize..100, 0..6), limit in 0usize..300) {
            let mut pieces: Vec<Piece> = rows.iter().copied().map(piece).collect();
            truncate(&mut pieces, limit);
            let kept: usize = pieces.iter().map(|piece| piece.rows.len()).sum();
            prop_assert_eq!(kept, limit.min(rows.iter().sum()));
        }
    }

    #[test]
    fn one_big_segment_is_cut_where_its_likely_rows_halve() {
        let lists = balance(vec![piece(600_000)], 2);
        assert_eq!(lists.len(), 2);
        assert_eq!(lists[0][0].rows, 0..350_000);
        assert_eq!(lists[1][0].rows, 350_000..600_000);
    }
}
