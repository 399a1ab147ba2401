//! [`SegmentScanExec`]: the leaf that turns slices of segments into batches.
//!
//! 1. A partition works through its slices in order; each slice is opened and filtered on a blocking thread.
//! 2. The rows that passed are cut into batches. Columns that the query shows are touched only now, and only at these rows.
//! 3. Text is made of dictionary ids last.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::stats::{ColumnStatistics, Precision};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Statistics};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::catalog::ScanCatalog;
use crate::columns::Columns;
use crate::filter::{Filter, Selection};
use crate::handle::release;
use crate::source::SegmentSlice;
use crate::table::is_clipped;
use crate::virtual_column::{VirtualColumn, VirtualValues};

/// Rows that an uncached scan decodes at a time: a few compression blocks of every column.
const WINDOW_ROWS: usize = 65_536;

/// Metric of a scan: rows of the slices that were read, before any filter.
pub const ROWS_READ: &str = "rows_read";

/// Metric of a scan: slices that were read to their end.
pub const SLICES_READ: &str = "slices_read";

/// Reads slices of segments: filters on bitmaps and dictionaries, then on columns, and makes text only of rows that pass.
#[derive(Debug, Clone)]
pub struct SegmentScanExec {
    catalog: Arc<ScanCatalog>,
    datasource: String,
    table_schema: SchemaRef,
    projection: Vec<usize>,
    /// Behind the projected columns.
    virtual_columns: Arc<Vec<Arc<VirtualColumn>>>,
    schema: SchemaRef,
    filter: Arc<Filter>,
    slices: Arc<Vec<Vec<SegmentSlice>>>,
    fetch: Option<usize>,
    cached: bool,
    statistics: Statistics,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SegmentScanExec {
    /// Makes a scan with one partition for each list of slices. `projection` and the columns of `filter` index the table schema.
    pub fn try_new(
        catalog: Arc<ScanCatalog>,
        datasource: &str,
        table_schema: SchemaRef,
        projection: Vec<usize>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        slices: Vec<Vec<SegmentSlice>>,
        fetch: Option<usize>,
    ) -> Result<Self> {
        let filter = Filter::compile(filter.as_ref(), &table_schema)?;
        Self::compiled(
            catalog,
            datasource.to_string(),
            table_schema,
            projection,
            filter,
            slices,
            fetch,
        )
    }

    pub(crate) fn compiled(
        catalog: Arc<ScanCatalog>,
        datasource: String,
        table_schema: SchemaRef,
        projection: Vec<usize>,
        filter: Filter,
        slices: Vec<Vec<SegmentSlice>>,
        fetch: Option<usize>,
    ) -> Result<Self> {
        let schema = Arc::new(table_schema.project(&projection)?);
        Ok(Self {
            properties: properties(&schema, slices.len()),
            statistics: Statistics::new_unknown(&table_schema),
            catalog,
            datasource,
            table_schema,
            projection,
            virtual_columns: Arc::default(),
            schema,
            filter: Arc::new(filter),
            slices: Arc::new(slices),
            fetch,
            cached: true,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// Adds what is known of all columns of the table.
    pub(crate) fn with_table_statistics(mut self, statistics: Statistics) -> Self {
        self.statistics = statistics;
        self
    }

    /// Gives what each partition reads.
    pub fn slices(&self) -> &[Vec<SegmentSlice>] {
        &self.slices
    }

    /// Gives the same scan over other slices, past the cache: how a stage hands each of its tasks its part. See [`Self::with_cache`].
    pub fn with_slices(&self, slices: Vec<Vec<SegmentSlice>>) -> Result<Self> {
        let scan = Self::compiled(
            self.catalog.clone(),
            self.datasource.clone(),
            self.table_schema.clone(),
            self.projection.clone(),
            self.filter.as_ref().clone(),
            slices,
            self.fetch,
        )?;
        let virtual_columns = self.virtual_columns.to_vec();
        let scan = scan.with_virtual_columns(self.projection.clone(), virtual_columns)?;
        Ok(scan.with_cache(false))
    }

    /// Gives the same scan with other columns of the table, and virtual ones behind them.
    pub(crate) fn with_virtual_columns(
        &self,
        projection: Vec<usize>,
        virtual_columns: Vec<Arc<VirtualColumn>>,
    ) -> Result<Self> {
        let own = self.table_schema.project(&projection)?;
        let fields = own
            .fields()
            .iter()
            .chain(virtual_columns.iter().map(|column| column.field()));
        let schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        Ok(Self {
            projection,
            virtual_columns: Arc::new(virtual_columns),
            properties: properties(&schema, self.slices.len()),
            schema,
            metrics: ExecutionPlanMetricsSet::new(),
            ..self.clone()
        })
    }

    pub(crate) fn virtual_columns(&self) -> &[Arc<VirtualColumn>] {
        &self.virtual_columns
    }

    /// Says whether decoded columns go through the cache (the default, for interactive queries) or are decoded a piece at a time and
    /// forgotten, as tasks do, which see every row once and must not push everybody else's columns out.
    pub fn with_cache(mut self, cached: bool) -> Self {
        self.cached = cached;
        self
    }

    /// Gives the filter, over the columns of the table.
    pub fn filter(&self) -> Option<&Arc<dyn PhysicalExpr>> {
        self.filter.predicate()
    }

    pub(crate) fn compiled_filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// Gives the columns of the table that come out, in order.
    pub fn projection(&self) -> &[usize] {
        &self.projection
    }

    /// Gives the schema that projection and filter refer to.
    pub fn table_schema(&self) -> &SchemaRef {
        &self.table_schema
    }

    /// Names the datasource.
    pub fn datasource(&self) -> &str {
        &self.datasource
    }

    pub(crate) fn catalog(&self) -> &Arc<ScanCatalog> {
        &self.catalog
    }

    pub(crate) fn is_cached(&self) -> bool {
        self.cached
    }
}

fn properties(schema: &SchemaRef, partitions: usize) -> Arc<PlanProperties> {
    let properties = PlanProperties::new(
        EquivalenceProperties::new(schema.clone()),
        Partitioning::UnknownPartitioning(partitions.max(1)),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
}

/// Rows of one window that passed, with the columns to show.
struct Passed {
    selection: Selection,
    columns: Vec<ArrayRef>,
    virtual_values: Vec<VirtualValues>,
    at: usize,
}

impl SegmentScanExec {
    /// Filters one slice. Blocks: opens the segment and decodes columns.
    fn read(&self, slice: &SegmentSlice) -> Result<Vec<Passed>> {
        let handle = self.catalog.handle(&slice.segment);
        let rows = handle.data()?.rows();
        let range = (slice.rows.start as usize).min(rows)..(slice.rows.end as usize).min(rows);
        if self.cached {
            let columns = Columns::whole(handle, self.table_schema.clone())?;
            return Ok(Vec::from_iter(self.pass(&columns, slice, range)?));
        }
        // A window: rows count from its start.
        let columns = Columns::window(handle, self.table_schema.clone(), range.clone())?;
        Ok(Vec::from_iter(self.pass(&columns, slice, 0..range.len())?))
    }

    fn pass(&self, columns: &Columns, slice: &SegmentSlice, range: Range<usize>) -> Result<Option<Passed>> {
        let selection = select(&self.filter, columns, slice, range)?;
        if selection.len() == 0 {
            return Ok(None);
        }
        let virtual_values = self
            .virtual_columns
            .iter()
            .map(|column| column.over(columns, selection.len()))
            .collect::<Result<_>>()?;
        let columns = self
            .projection
            .iter()
            .map(|column| columns.get(*column))
            .collect::<Result<_>>()?;
        Ok(Some(Passed {
            selection,
            columns,
            virtual_values,
            at: 0,
        }))
    }
}

/// Gives the rows of a slice that are visible and pass.
pub(crate) fn select(
    filter: &Filter,
    columns: &Columns,
    slice: &SegmentSlice,
    range: Range<usize>,
) -> Result<Selection> {
    let clip = is_clipped(&slice.segment.interval, &slice.clip)
        .then(|| (slice.clip.start_ms, slice.clip.end_ms.saturating_sub(1)));
    filter.select(columns, range, clip)
}

impl Passed {
    /// Gives the next rows; none at the end.
    fn next(&mut self, schema: &SchemaRef, limit: usize) -> Option<Result<RecordBatch>> {
        let rows = limit.min(self.selection.len() - self.at);
        if rows == 0 {
            return None;
        }
        let at = self.at;
        self.at += rows;
        Some(self.batch(schema, at..at + rows))
    }

    fn batch(&self, schema: &SchemaRef, part: Range<usize>) -> Result<RecordBatch> {
        let rows = part.len();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let indices = match &self.selection {
            Selection::Range(_) => None,
            Selection::Rows(rows) => Some(UInt32Array::from(rows[part.clone()].to_vec())),
        };
        let cut = |column: &ArrayRef| -> Result<ArrayRef> {
            Ok(match (&self.selection, &indices) {
                (_, Some(indices)) => take(column, indices, None)?,
                (Selection::Range(range), None) => column.slice(range.start + part.start, rows),
                (Selection::Rows(_), None) => column.clone(),
            })
        };
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (column, field) in self.columns.iter().zip(schema.fields()) {
            columns.push(release(&cut(column)?, field)?);
        }
        for values in &self.virtual_values {
            columns.push(values.of_rows(rows, cut)?);
        }
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    }
}

/// Cuts a slice into pieces that fit into memory when they are not cached.
fn windows(slice: &SegmentSlice) -> Vec<SegmentSlice> {
    let mut windows = Vec::new();
    let mut start = slice.rows.start;
    while start < slice.rows.end {
        // Aligned, so that no compression block is decoded for two windows.
        let end = (start / WINDOW_ROWS as u64 + 1) * WINDOW_ROWS as u64;
        let end = end.min(slice.rows.end);
        windows.push(SegmentSlice {
            rows: start..end,
            ..slice.clone()
        });
        start = end;
    }
    windows
}

impl DisplayAs for SegmentScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments: usize = self.slices.iter().map(Vec::len).sum();
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(
            f,
            "SegmentScanExec: datasource={}, slices={segments}, projection=[{}]",
            self.datasource,
            names[..self.projection.len()].join(", ")
        )?;
        if !self.virtual_columns.is_empty() {
            write!(f, ", virtual=[{}]", names[self.projection.len()..].join(", "))?;
        }
        if let Some(filter) = self.filter.predicate() {
            write!(f, ", filter={filter}")?;
        }
        if let Some(fetch) = self.fetch {
            write!(f, ", fetch={fetch}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for SegmentScanExec {
    fn name(&self) -> &str {
        "SegmentScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match self.filter.predicate() {
            Some(predicate) => f(predicate),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let mut scan = self.clone();
        scan.fetch = limit;
        scan.metrics = ExecutionPlanMetricsSet::new();
        Some(Arc::new(scan))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = self.statistics.clone().project(Some(&self.projection));
        let unknown = self.virtual_columns.iter().map(|_| ColumnStatistics::new_unknown());
        statistics.column_statistics.extend(unknown);
        if args.partition().is_some() && self.slices.len() > 1 {
            let rows = match statistics.num_rows {
                Precision::Exact(rows) | Precision::Inexact(rows) => Precision::Inexact(rows / self.slices.len()),
                Precision::Absent => Precision::Absent,
            };
            return Ok(Arc::new(Statistics {
                num_rows: rows,
                ..statistics.to_inexact()
            }));
        }
        match self.fetch {
            Some(_) => Ok(Arc::new(statistics.with_fetch(self.fetch, 0, self.slices.len())?)),
            None => Ok(Arc::new(statistics)),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        // Windows of a slice, and whether each is its last one.
        let slices: Vec<(SegmentSlice, bool)> = match self.slices.get(partition) {
            None => Vec::new(),
            Some(slices) if self.cached => slices.iter().map(|slice| (slice.clone(), true)).collect(),
            Some(slices) => slices
                .iter()
                .flat_map(|slice| {
                    let end = slice.rows.end;
                    windows(slice).into_iter().map(move |window| {
                        let is_last = window.rows.end == end;
                        (window, is_last)
                    })
                })
                .collect(),
        };
        let batch_rows = context.session_config().batch_size();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows_read = MetricBuilder::new(&self.metrics).counter(ROWS_READ, partition);
        let slices_read = MetricBuilder::new(&self.metrics).counter(SLICES_READ, partition);
        let scan = Arc::new(self.clone());
        let schema = self.schema.clone();
        let batches = stream::iter(slices)
            .then(move |(slice, is_last)| {
                let (scan, rows_read, slices_read) = (scan.clone(), rows_read.clone(), slices_read.clone());
                async move {
                    let rows = slice.rows.end.saturating_sub(slice.rows.start);
                    let read = SpawnedTask::spawn_blocking(move || scan.read(&slice));
                    let passed = read
                        .join()
                        .await
                        .map_err(|error| DataFusionError::Execution(format!("a scan thread failed: {error}")))?;
                    rows_read.add(usize::try_from(rows).unwrap_or(usize::MAX));
                    slices_read.add(usize::from(is_last));
                    passed
                }
            })
            .map_ok(move |passed| {
                let schema = schema.clone();
                stream::iter(passed).flat_map(move |mut passed| {
                    let schema = schema.clone();
                    stream::iter(std::iter::from_fn(move || passed.next(&schema, batch_rows)))
                })
            })
            .try_flatten();
        let left = self.fetch.unwrap_or(usize::MAX);
        let limited = stream::try_unfold(
            (Box::pin(batches), left, metrics),
            |(mut batches, left, metrics)| async move {
                // The limit is looked at first: no slice is opened for rows that nobody wants.
                if left == 0 {
                    return Ok(None);
                }
                let Some(batch) = batches.try_next().await? else {
                    return Ok(None);
                };
                let rows = batch.num_rows().min(left);
                metrics.record_output(rows);
                Ok(Some((batch.slice(0, rows), (batches, left - rows, metrics))))
            },
        );
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), limited)))
    }
}
