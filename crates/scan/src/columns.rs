//! The columns of one segment (or a piece of it) that a query works on, loaded when first asked for.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;

use crate::handle::{SegmentHandle, conform, held_type, nulls};
use crate::source::SegmentData;

/// Columns of a window of a segment's rows. Row numbers count from the window's first row: the whole segment is the window `0..rows`
/// and its columns come from the cache; a smaller window is read past the cache, for scans of tasks that touch every row once.
pub(crate) struct Columns {
    pub handle: Arc<SegmentHandle>,
    pub data: Arc<dyn SegmentData>,
    table: SchemaRef,
    window: Range<usize>,
    cached: bool,
    names: Arc<Vec<(String, henge_segment::ColumnType)>>,
    loaded: RefCell<Vec<Option<ArrayRef>>>,
}

impl Columns {
    /// Opens the whole segment, cached.
    pub fn whole(handle: Arc<SegmentHandle>, table: SchemaRef) -> Result<Self> {
        let data = handle.data()?;
        let rows = data.rows();
        Self::open(handle, data, table, 0..rows, true)
    }

    /// Opens a window of rows past the cache.
    pub fn window(handle: Arc<SegmentHandle>, table: SchemaRef, rows: Range<usize>) -> Result<Self> {
        let data = handle.data()?;
        Self::open(handle, data, table, rows, false)
    }

    fn open(
        handle: Arc<SegmentHandle>,
        data: Arc<dyn SegmentData>,
        table: SchemaRef,
        window: Range<usize>,
        cached: bool,
    ) -> Result<Self> {
        let columns = table.fields().len();
        let names = Arc::new(data.columns());
        Ok(Self {
            handle,
            data,
            table,
            window,
            cached,
            names,
            loaded: RefCell::new(vec![None; columns]),
        })
    }

    /// Tells whether the columns cover the segment and stay in the cache.
    pub fn is_cached(&self) -> bool {
        self.cached
    }

    /// Gives the name of a column of the table.
    pub fn name(&self, column: usize) -> &str {
        self.table.field(column).name()
    }

    /// Tells whether the segment has a column as single strings with dictionary and, possibly, bitmaps.
    pub fn is_string(&self, column: usize) -> bool {
        let name = self.name(column);
        self.names
            .iter()
            .any(|(n, t)| n == name && *t == henge_segment::ColumnType::STRING)
    }

    /// Tells whether the segment lacks a column.
    pub fn is_missing(&self, column: usize) -> bool {
        let name = self.name(column);
        name != henge_segment::TIME_COLUMN && !self.names.iter().any(|(n, _)| n == name)
    }

    /// Gives the time column.
    pub fn time(&self) -> Result<ArrayRef> {
        self.get(self.table.index_of(henge_segment::TIME_COLUMN)?)
    }

    /// Gives a column of the table over the window, in its held type.
    pub fn get(&self, column: usize) -> Result<ArrayRef> {
        if let Some(array) = &self.loaded.borrow()[column] {
            return Ok(array.clone());
        }
        let field = self.table.field(column);
        let held = held_type(field);
        let array = if self.is_missing(column) {
            nulls(&held, self.window.len())
        } else if self.cached {
            conform(self.data.column(field.name())?, &held)?
        } else {
            conform(self.data.read(field.name(), self.window.clone())?, &held)?
        };
        self.loaded.borrow_mut()[column] = Some(array.clone());
        Ok(array)
    }
}
