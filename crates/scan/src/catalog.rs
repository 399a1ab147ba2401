//! What a process knows of the segments that it has seen: one [`ScanCatalog`] is shared by all queries.

use std::sync::Arc;

use datafusion::error::Result;
use henge_time::Interval;

use crate::source::{SegmentDescriptor, SegmentSource};
use crate::table::DatasourceTable;

/// A visible segment of a datasource.
#[derive(Debug, Clone)]
pub struct TableSegment {
    /// The segment.
    pub segment: Arc<SegmentDescriptor>,
    /// The part of its interval that is not hidden by newer segments.
    pub clip: Interval,
}

/// Open segments, merged dictionaries and tables of a process.
#[derive(Debug)]
pub struct ScanCatalog {
    source: Arc<dyn SegmentSource>,
}

impl ScanCatalog {
    /// Makes a catalog over a source of segments.
    pub fn new(source: Arc<dyn SegmentSource>) -> Arc<Self> {
        Arc::new(Self { source })
    }

    /// Gives where segments come from.
    pub fn source(&self) -> &Arc<dyn SegmentSource> {
        &self.source
    }

    /// Makes the table of a datasource's visible segments, oldest first. Opens segments that were not seen before: blocks.
    pub fn table(self: &Arc<Self>, datasource: &str, segments: Vec<TableSegment>) -> Result<Arc<DatasourceTable>> {
        DatasourceTable::try_new(self.clone(), datasource, segments)
    }
}
