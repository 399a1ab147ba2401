//! Segments of deep storage through the process's cache.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use datafusion::error::{DataFusionError, Result};
use henge_segment::{ColumnType, IndexValue, RowSelection, Segment, SegmentError, TIME_COLUMN, ValueType};
use henge_storage::SegmentCache;
use roaring::RoaringBitmap;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::source::{SegmentData, SegmentDescriptor, SegmentSource};

/// Opens segments through a [`SegmentCache`], which also keeps their decoded columns within its budget.
#[derive(Debug)]
pub struct CachedSegments {
    cache: Arc<SegmentCache>,
    runtime: Handle,
}

impl CachedSegments {
    /// Makes a source over a cache. Must be called inside a tokio runtime, which runs the fetches.
    pub fn new(cache: Arc<SegmentCache>) -> Self {
        Self {
            cache,
            runtime: Handle::current(),
        }
    }

    /// Waits for the cache. Planning calls this from a worker of the runtime, scans from its blocking threads.
    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let around = Handle::try_current().map(|handle| handle.runtime_flavor());
        if around.is_ok_and(|flavor| flavor == RuntimeFlavor::MultiThread) {
            return tokio::task::block_in_place(|| self.runtime.block_on(future));
        }
        let _guard = self.runtime.enter();
        futures::executor::block_on(future)
    }
}

impl SegmentSource for CachedSegments {
    fn open(&self, segment: &SegmentDescriptor) -> Result<Arc<dyn SegmentData>> {
        let opened = self
            .wait(self.cache.get(&segment.id, &segment.load_spec))
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Arc::new(CachedSegment {
            id: segment.id.clone(),
            segment: opened,
            cache: self.cache.clone(),
        }))
    }
}

#[derive(Debug)]
struct CachedSegment {
    id: String,
    segment: Arc<Segment>,
    cache: Arc<SegmentCache>,
}

fn external(error: SegmentError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl SegmentData for CachedSegment {
    fn rows(&self) -> usize {
        self.segment.rows()
    }

    fn columns(&self) -> Vec<(String, ColumnType)> {
        self.segment
            .columns()
            .iter()
            .filter(|column| column.name != TIME_COLUMN)
            .map(|column| (column.name.clone(), column.column_type.clone()))
            .collect()
    }

    fn is_sorted_by_time(&self) -> bool {
        match self.segment.metadata().and_then(|metadata| metadata.ordering.as_ref()) {
            Some(ordering) => ordering
                .first()
                .is_none_or(|first| first.column_name == TIME_COLUMN && first.order == "ascending"),
            None => true,
        }
    }

    fn column(&self, name: &str) -> Result<ArrayRef> {
        self.cache
            .column(&self.id, name, || self.segment.read(name, RowSelection::All))
            .map_err(external)
    }

    fn read(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef> {
        self.segment.read(name, RowSelection::Range(rows)).map_err(external)
    }

    fn dictionary(&self, name: &str) -> Result<Option<Arc<StringArray>>> {
        self.segment
            .dictionary(name)
            .map(|dictionary| dictionary.values())
            .transpose()
            .map_err(external)
    }

    fn lookup(&self, name: &str, value: &str) -> Result<Option<u32>> {
        match self.segment.dictionary(name) {
            Some(dictionary) => dictionary.lookup(value).map_err(external),
            None => Ok(None),
        }
    }

    fn bitmap(&self, name: &str, id: u32) -> Result<Option<RoaringBitmap>> {
        self.segment.bitmap(name, id).map_err(external)
    }

    fn rows_with_element(&self, name: &str, element: &IndexValue<'_>) -> Result<Option<RoaringBitmap>> {
        let fits = matches!(
            (self.segment.column(name).map(|info| &info.column_type), element),
            (Some(ColumnType::Array(ValueType::String)), IndexValue::String(_))
                | (Some(ColumnType::Array(ValueType::Long)), IndexValue::Long(_))
        );
        // Where rows have several types, their elements are looked up by their own and read by another.
        let mixed = || {
            self.segment
                .read_json(name, RowSelection::Range(0..0))
                .map(|text| text.is_some())
        };
        if !fits || mixed().map_err(external)? {
            return Ok(None);
        }
        self.segment.rows_with_element(name, element).map_err(external)
    }

    fn rows_of_json_field(&self, name: &str, path: &str, value: &IndexValue<'_>) -> Result<Option<RoaringBitmap>> {
        let fits = |types: &[&str]| match value {
            IndexValue::String(_) => types == ["STRING"],
            IndexValue::Long(_) => types == ["LONG"],
            IndexValue::Null => types == ["STRING"] || types == ["LONG"],
            IndexValue::Double(_) => false,
        };
        let Some(fields) = self.segment.json_fields(name).map_err(external)? else {
            return Ok(None);
        };
        // An array of one stands for its element, and in old segments elements are fields of their own.
        let is_element = |rest: &str| rest.starts_with('[') && !rest.starts_with("['");
        let has_elements = |field: &str| field.strip_prefix(path).is_some_and(is_element);
        let other = fields
            .iter()
            .any(|field| has_elements(&field.path) || (field.path == path && !fits(&field.types)));
        if other {
            return Ok(None);
        }
        self.segment.rows_of_json_field(name, path, value).map_err(external)
    }

    fn null_rows(&self, name: &str) -> Result<Option<RoaringBitmap>> {
        self.segment.null_bitmap(name).map_err(external)
    }
}
