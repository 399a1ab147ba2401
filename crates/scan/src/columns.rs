//! The columns of one segment (or a piece of it) that a query works on, loaded when first asked for.

use std::cell::{OnceCell, RefCell};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{SchemaRef, UInt32Type};
use datafusion::error::Result;

use crate::handle::{SegmentHandle, conform, held_type, long_values, nulls};
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
    /// See [`Self::numbered_time`].
    numbered_time: OnceCell<Option<ArrayRef>>,
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
            numbered_time: OnceCell::new(),
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

    /// Gives the time column with its times numbered as they come, as a dictionary array; none if that would not make them much fewer.
    pub fn numbered_time(&self) -> Result<Option<ArrayRef>> {
        if let Some(known) = self.numbered_time.get() {
            return Ok(known.clone());
        }
        let time = self.time()?;
        let numbered = number_runs(&time)?;
        Ok(self.numbered_time.get_or_init(|| numbered).clone())
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

/// Rows that have the same time as the one before them, on average, for times to be worth numbering.
const MIN_RUN_ROWS: usize = 4;

/// Numbers the runs of equal times.
fn number_runs(time: &ArrayRef) -> Result<Option<ArrayRef>> {
    let Some(values) = long_values(time).filter(|_| time.null_count() == 0) else {
        return Ok(None);
    };
    let most = values.len() / MIN_RUN_ROWS;
    let mut starts: Vec<u32> = Vec::new();
    let mut numbers: Vec<u32> = Vec::with_capacity(values.len());
    let mut last = None;
    for (row, value) in values.iter().enumerate() {
        if last != Some(value) {
            if starts.len() >= most {
                return Ok(None);
            }
            starts.push(row as u32);
            last = Some(value);
        }
        numbers.push(starts.len() as u32 - 1);
    }
    let times = take(time, &UInt32Array::from(starts), None)?;
    let numbered = DictionaryArray::<UInt32Type>::try_new(UInt32Array::from(numbers), times)?;
    Ok(Some(Arc::new(numbered)))
}
