//! Lists as they are stored: exactly the values of rows that are not null.

use arrow::array::{Array, ArrayRef, ListArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;

use crate::SegmentError;

/// Lists laid end to end without anything between them; null rows have no values.
#[derive(Debug)]
pub(super) struct Lists {
    pub values: ArrayRef,
    /// One more than rows, beginning with 0.
    pub ends: Vec<u32>,
    pub nulls: Option<NullBuffer>,
}

impl Lists {
    /// Takes the values that rows refer to: a slice leaves others at both ends, and Arrow allows values behind null rows.
    pub fn new(lists: &ListArray) -> Result<Self, SegmentError> {
        let offsets = lists.value_offsets();
        let mut ends = Vec::with_capacity(offsets.len());
        let mut end = 0u32;
        ends.push(end);
        for row in 0..lists.len() {
            if lists.is_valid(row) {
                end += (offsets[row + 1] - offsets[row]) as u32;
            }
            ends.push(end);
        }
        let first = offsets[0] as usize;
        let span = offsets[offsets.len() - 1] as usize - first;
        let values = if span == end as usize {
            lists.values().slice(first, span)
        } else {
            let referred = (0..lists.len())
                .filter(|row| lists.is_valid(*row))
                .flat_map(|row| offsets[row] as u32..offsets[row + 1] as u32);
            take(lists.values(), &UInt32Array::from_iter_values(referred), None)
                .map_err(|e| SegmentError::invalid(format!("values of lists: {e}")))?
        };
        Ok(Self {
            values,
            ends,
            nulls: lists.nulls().cloned(),
        })
    }

    /// Gives the rows: none for null, else the range of its values.
    pub fn rows(&self) -> impl Iterator<Item = Option<std::ops::Range<usize>>> {
        self.ends.windows(2).enumerate().map(|(row, ends)| {
            let is_null = self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            (!is_null).then_some(ends[0] as usize..ends[1] as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{DataType, Field, Int64Type};
    use std::sync::Arc;

    #[test]
    fn values_that_no_row_has_are_left_out() {
        let lists = ListArray::new(
            Arc::new(Field::new_list_field(DataType::Int64, true)),
            OffsetBuffer::new(vec![0, 1, 3, 5, 6].into()),
            Arc::new(Int64Array::from(vec![9, 1, 2, 8, 8, 3])),
            Some(NullBuffer::from(vec![true, true, false, true])),
        );
        let tight = Lists::new(&lists.slice(1, 3)).unwrap();
        assert_eq!(tight.values.as_primitive::<Int64Type>().values(), &[1, 2, 3]);
        assert_eq!(tight.rows().collect::<Vec<_>>(), [Some(0..2), None, Some(2..3)]);
    }
}
