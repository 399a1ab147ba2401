//! Where rows come from: open segments behind a small interface, and the serialisable names of slices of them.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use datafusion::error::Result;
use henge_metadata::DataSegment;
use henge_segment::{ColumnType, IndexValue};
use henge_time::Interval;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

/// Names a published segment and says where its files are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SegmentDescriptor {
    /// Id as text: the name of the segment in caches.
    pub id: String,
    /// Datasource.
    pub datasource: String,
    /// Interval of the published segment; all its rows lie inside.
    pub interval: Interval,
    /// Bytes of the files.
    pub size: u64,
    /// Druid's load spec.
    pub load_spec: serde_json::Value,
}

impl From<&DataSegment> for SegmentDescriptor {
    fn from(segment: &DataSegment) -> Self {
        Self {
            id: segment.id().to_string(),
            datasource: segment.datasource.clone(),
            interval: segment.interval,
            size: segment.size,
            load_spec: segment.load_spec.clone(),
        }
    }
}

/// A part of a segment: what one task of a stage reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentSlice {
    /// The segment.
    pub segment: Arc<SegmentDescriptor>,
    /// Rows outside this interval are hidden by newer segments.
    pub clip: Interval,
    /// Row numbers; half open.
    pub rows: Range<u64>,
}

/// An open segment.
pub trait SegmentData: Debug + Send + Sync {
    /// Counts the rows.
    fn rows(&self) -> usize;
    /// Lists names and types of the columns, without `__time`.
    fn columns(&self) -> Vec<(String, ColumnType)>;
    /// Tells whether rows are sorted by time before anything else.
    fn is_sorted_by_time(&self) -> bool;
    /// Gives a whole column (`__time` too) as [`ColumnType::arrow`] says; strings share their dictionary. Cached.
    fn column(&self, name: &str) -> Result<ArrayRef>;
    /// Reads some rows of a column past the cache.
    fn read(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef>;
    /// Gives the values of a string column's dictionary in id order, null at its id; none if the column has no dictionary.
    fn dictionary(&self, name: &str) -> Result<Option<Arc<StringArray>>>;
    /// Finds the dictionary id of a value.
    fn lookup(&self, name: &str, value: &str) -> Result<Option<u32>>;
    /// Gives the rows that hold a dictionary id; none if the column has no index.
    fn bitmap(&self, name: &str, id: u32) -> Result<Option<RoaringBitmap>>;
    /// Gives the rows whose array has an element; none if the column is no array of such elements alone, or has no bitmaps.
    fn rows_with_element(&self, name: &str, element: &IndexValue<'_>) -> Result<Option<RoaringBitmap>>;
    /// Gives the rows in which a field of a JSON column has a value; none if the field has, or may have, values of other types too, or no
    /// bitmaps.
    fn rows_of_json_field(&self, name: &str, path: &str, value: &IndexValue<'_>) -> Result<Option<RoaringBitmap>>;
    /// Gives the rows that are null; none if that takes reading them.
    fn null_rows(&self, name: &str) -> Result<Option<RoaringBitmap>>;
}

/// Opens segments.
pub trait SegmentSource: Debug + Send + Sync {
    /// Opens a segment, fetching its files if they are not here. Blocks.
    fn open(&self, segment: &SegmentDescriptor) -> Result<Arc<dyn SegmentData>>;
}
