//! Reading a segment.

use std::path::Path;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::SchemaRef;
use henge_time::Interval;
use roaring::RoaringBitmap;

use crate::{ColumnType, RowSelection, SegmentError};

/// What is known of a column without reading its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether any row is null; true where that is not known.
    pub has_nulls: bool,
    /// How many distinct values the dictionary has, null included; none for columns without dictionary.
    pub cardinality: Option<u64>,
    /// Bytes of its internal files.
    pub bytes: u64,
    /// Whether values have bitmaps.
    pub has_bitmap_index: bool,
    /// Whether it is a metric: neither `__time` nor a dimension.
    pub is_metric: bool,
}

/// The sorted dictionary of a string column; id order is Druid's string order, null is id 0 when present.
#[derive(Debug)]
pub struct StringDictionary {}

impl StringDictionary {
    /// Counts the entries, null included.
    pub fn len(&self) -> usize {
        0
    }
    /// Tells whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Tells whether id 0 is null.
    pub fn has_null(&self) -> bool {
        false
    }
    /// Finds the id of a value.
    pub fn lookup(&self, _value: &str) -> Result<Option<u32>, SegmentError> {
        Ok(None)
    }
    /// Finds the first id whose value is not below the given one in Druid's string order; null is below all.
    pub fn lower_bound(&self, _value: &str) -> Result<u32, SegmentError> {
        Ok(0)
    }
    /// Gives the value of an id; none for null.
    pub fn get(&self, _id: u32) -> Result<Option<String>, SegmentError> {
        Ok(None)
    }
    /// Decodes all values once; later calls share the array.
    pub fn values(&self) -> Result<std::sync::Arc<StringArray>, SegmentError> {
        Err(SegmentError::invalid("dictionaries are not read yet"))
    }
}

/// An open segment.
#[derive(Debug)]
pub struct Segment {}

impl Segment {
    /// Opens a folder of smoosh files or an `index.zip`.
    pub fn open(path: &Path) -> Result<Segment, SegmentError> {
        Err(SegmentError::invalid(format!("{} is not read yet", path.display())))
    }
    /// Counts the rows.
    pub fn rows(&self) -> usize {
        0
    }
    /// Gives the interval that the segment's files name.
    pub fn interval(&self) -> Interval {
        Interval::ETERNITY
    }
    /// Lists the columns: `__time`, dimensions, metrics.
    pub fn columns(&self) -> &[ColumnInfo] {
        &[]
    }
    /// Gives a column's description.
    pub fn column(&self, name: &str) -> Option<&ColumnInfo> {
        self.columns().iter().find(|c| c.name == name)
    }
    /// Gives the Arrow schema: `__time` first.
    pub fn arrow_schema(&self) -> SchemaRef {
        std::sync::Arc::new(arrow::datatypes::Schema::empty())
    }
    /// Reads rows of a column.
    pub fn read(&self, column: &str, _rows: RowSelection<'_>) -> Result<ArrayRef, SegmentError> {
        Err(SegmentError::invalid(format!("no column [{column}]")))
    }
    /// Gives the dictionary of a string column.
    pub fn dictionary(&self, _column: &str) -> Option<&StringDictionary> {
        None
    }
    /// Gives the rows that hold a dictionary id; none if the column has no index.
    pub fn bitmap(&self, _column: &str, _id: u32) -> Result<Option<RoaringBitmap>, SegmentError> {
        Ok(None)
    }
    /// Gives the rows that are null (empty if there are none); none if that is not known without reading the rows.
    pub fn null_bitmap(&self, _column: &str) -> Result<Option<RoaringBitmap>, SegmentError> {
        Ok(None)
    }
}
