//! Aggregators of objects, sketches: this crate stores their bytes and leaves it to its caller to make them.

use std::fmt::Debug;

use arrow::array::ArrayRef;
use serde_json::Value;

use crate::{ColumnType, SegmentError};

/// Combines values of a column of the table into objects, one for each group of a projection.
pub trait ObjectAggregator: Debug + Send {
    /// Names the column of the table.
    fn field(&self) -> &str;

    /// Gives the type of the objects.
    fn column_type(&self) -> ColumnType;

    /// Adds the value of a row to a group; groups are numbered from 0 on, and appear in any order. Strings come without a dictionary,
    /// objects as their bytes.
    fn add(&mut self, group: u32, values: &ArrayRef, row: usize) -> Result<(), SegmentError>;

    /// Gives the stored bytes of a group's object; a group that no value was added to has the empty one.
    fn image(&self, group: u32) -> Vec<u8>;

    /// Tells how much memory is held.
    fn memory_bytes(&self) -> usize;
}

/// Makes aggregators of objects.
pub trait ObjectAggregators: Debug + Send + Sync {
    /// Makes one from Druid's JSON; none for what it does not know, or for columns that it cannot read.
    fn aggregator(
        &self,
        json: &Value,
        column_type: &dyn Fn(&str) -> Option<ColumnType>,
    ) -> Option<Box<dyn ObjectAggregator>>;
}
