//! [`SegmentScanExec`]: the leaf that turns slices of segments into batches.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;

use crate::catalog::ScanCatalog;
use crate::source::SegmentSlice;

/// Reads slices of segments: filters on bitmaps and dictionaries, then on columns, and makes text only of rows that pass.
#[derive(Debug, Clone)]
pub struct SegmentScanExec {
    catalog: Arc<ScanCatalog>,
    table_schema: SchemaRef,
    projection: Vec<usize>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    slices: Vec<Vec<SegmentSlice>>,
    fetch: Option<usize>,
}

impl SegmentScanExec {
    /// Makes a scan with one partition for each list of slices. `projection` and the columns of `filter` index the table schema.
    pub fn try_new(
        catalog: Arc<ScanCatalog>,
        table_schema: SchemaRef,
        projection: Vec<usize>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        slices: Vec<Vec<SegmentSlice>>,
        fetch: Option<usize>,
    ) -> Result<Self> {
        Ok(Self {
            catalog,
            table_schema,
            projection,
            filter,
            slices,
            fetch,
        })
    }

    /// Gives what each partition reads.
    pub fn slices(&self) -> &[Vec<SegmentSlice>] {
        &self.slices
    }

    /// Gives the same scan over other slices: how a stage hands each of its tasks its part.
    pub fn with_slices(&self, slices: Vec<Vec<SegmentSlice>>) -> Result<Self> {
        Self::try_new(
            self.catalog.clone(),
            self.table_schema.clone(),
            self.projection.clone(),
            self.filter.clone(),
            slices,
            self.fetch,
        )
    }

    /// Gives the filter, over the columns of the table.
    pub fn filter(&self) -> Option<&Arc<dyn PhysicalExpr>> {
        self.filter.as_ref()
    }
}
