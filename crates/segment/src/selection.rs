//! Which rows of a column are to be read.

use std::ops::Range;

use roaring::RoaringBitmap;

use crate::SegmentError;

/// Which rows of a column are to be read; the result has them in row order.
#[derive(Debug, Clone)]
pub enum RowSelection<'a> {
    /// Every row.
    All,
    /// The rows of a range.
    Range(Range<usize>),
    /// The rows of a bitmap.
    Rows(&'a RoaringBitmap),
}

impl RowSelection<'_> {
    /// Lists the selected rows of a segment of `rows` rows.
    pub fn iter(&self, rows: usize) -> Box<dyn Iterator<Item = usize> + '_> {
        match self {
            Self::All => Box::new(0..rows),
            Self::Range(range) => Box::new(range.clone()),
            Self::Rows(bitmap) => Box::new(bitmap.iter().map(|row| row as usize)),
        }
    }

    /// Counts the selected rows of a segment of `rows` rows; fails if the selection reaches beyond them.
    pub fn count(&self, rows: usize) -> Result<usize, SegmentError> {
        let (count, end) = match self {
            Self::All => (rows, rows),
            Self::Range(range) => (range.len(), if range.is_empty() { 0 } else { range.end }),
            Self::Rows(bitmap) => (bitmap.len() as usize, bitmap.max().map_or(0, |max| max as usize + 1)),
        };
        if end > rows {
            return Err(SegmentError::invalid(format!(
                "row {} was asked for, the segment has {rows} rows",
                end - 1
            )));
        }
        Ok(count)
    }
}
