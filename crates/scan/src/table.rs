//! [`DatasourceTable`]: what SQL sees of a datasource.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::not_impl_err;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::catalog::{ScanCatalog, TableSegment};

/// A datasource as of one metadata snapshot.
#[derive(Debug)]
pub struct DatasourceTable {
    catalog: Arc<ScanCatalog>,
    datasource: String,
    segments: Vec<TableSegment>,
    schema: SchemaRef,
}

impl DatasourceTable {
    pub(crate) fn try_new(
        catalog: Arc<ScanCatalog>,
        datasource: &str,
        segments: Vec<TableSegment>,
    ) -> Result<Arc<Self>> {
        let time = DataType::Timestamp(TimeUnit::Millisecond, None);
        let schema = Arc::new(Schema::new(vec![Field::new("__time", time, false)]));
        Ok(Arc::new(Self {
            catalog,
            datasource: datasource.to_string(),
            segments,
            schema,
        }))
    }

    /// Names the datasource.
    pub fn datasource(&self) -> &str {
        &self.datasource
    }

    /// Lists the visible segments, oldest first.
    pub fn segments(&self) -> &[TableSegment] {
        &self.segments
    }

    /// Gives the catalog that the table belongs to.
    pub fn catalog(&self) -> &Arc<ScanCatalog> {
        &self.catalog
    }
}

#[async_trait::async_trait]
impl TableProvider for DatasourceTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        not_impl_err!("datasource [{}] cannot be scanned yet", self.datasource)
    }
}
