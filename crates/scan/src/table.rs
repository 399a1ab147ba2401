//! [`DatasourceTable`]: what SQL sees of a datasource.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, ScalarValue, Statistics};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::utils::conjunction_opt;
use datafusion::physical_plan::ExecutionPlan;
use henge_metadata::{Domain, ValueSet};
use henge_segment::{ColumnType, JSON_TYPE, TIME_COLUMN, ValueType};
use henge_sql::SqlType;
use henge_time::Interval;

use crate::catalog::{ScanCatalog, TableSegment};
use crate::filter::Filter;
use crate::handle::{is_text, long_values};
use crate::scan::SegmentScanExec;
use crate::slices::{Piece, balance};

/// A datasource as of one metadata snapshot.
#[derive(Debug)]
pub struct DatasourceTable {
    catalog: Arc<ScanCatalog>,
    datasource: String,
    segments: Vec<TableSegment>,
    /// Rows and time range of each segment.
    extents: Vec<Extent>,
    schema: SchemaRef,
    statistics: Statistics,
}

/// What is known of a segment without filter.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Rows of the files.
    rows: usize,
    /// First and last time inside the clip, where known.
    times: Option<(i64, i64)>,
    /// Rows inside the clip, where known.
    visible: Option<usize>,
}

impl DatasourceTable {
    pub(crate) fn try_new(
        catalog: Arc<ScanCatalog>,
        datasource: &str,
        segments: Vec<TableSegment>,
    ) -> Result<Arc<Self>> {
        let mut columns = Vec::with_capacity(segments.len());
        let mut extents = Vec::with_capacity(segments.len());
        for segment in &segments {
            let handle = catalog.handle(&segment.segment);
            columns.push(handle.data()?.columns());
            extents.push(extent(&catalog, segment)?);
        }
        let schema = Arc::new(unify(&columns));
        let statistics = statistics(&schema, &extents);
        Ok(Arc::new(Self {
            catalog,
            datasource: datasource.to_string(),
            segments,
            extents,
            schema,
            statistics,
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

    /// Counts the rows, where that is known exactly.
    pub fn rows(&self) -> Option<usize> {
        self.extents.iter().map(|extent| extent.visible).sum()
    }

    /// Makes the pieces that can hold a row that passes: by time, then by range of the shard spec.
    fn pieces(&self, filter: &Filter) -> Vec<Piece> {
        let times = filter.times();
        let domain = self.domain(filter);
        let mut pieces = Vec::new();
        for (segment, extent) in self.segments.iter().zip(&self.extents) {
            let (first, last) = extent
                .times
                .unwrap_or((segment.clip.start_ms, segment.clip.end_ms.saturating_sub(1)));
            let touched: Vec<(i64, i64)> = times
                .iter()
                .map(|(lo, hi)| (first.max(*lo), last.min(*hi)))
                .filter(|(lo, hi)| lo <= hi)
                .collect();
            if touched.is_empty() || !segment.shard_spec.possible_in_domain(&domain) {
                continue;
            }
            // Rows are thought of as spread evenly over time, only to balance the work.
            let share = |at: i64| {
                let span = (last - first).max(1) as f64;
                (at.saturating_sub(first) as f64 / span).clamp(0.0, 1.0) * extent.rows as f64
            };
            let start = touched.first().map_or(0.0, |(lo, _)| share(*lo)) as usize;
            let end = touched.last().map_or(0.0, |(_, hi)| share(*hi)).ceil() as usize;
            pieces.push(Piece {
                segment: segment.segment.clone(),
                clip: segment.clip,
                rows: 0..extent.rows,
                likely: start..end.clamp(start + 1, extent.rows.max(start + 1)),
            });
        }
        pieces
    }

    fn domain(&self, filter: &Filter) -> Domain {
        let mut domain = Domain::new();
        for (column, values) in filter.text_values() {
            let field = self.schema.field(column);
            if !is_text(field) {
                continue;
            }
            let set = ValueSet::points(values.iter().cloned().map(Some));
            let set = match domain.get(field.name()) {
                Some(other) => other.intersect(&set),
                None => set,
            };
            domain.insert(field.name().clone(), set);
        }
        domain
    }
}

fn extent(catalog: &Arc<ScanCatalog>, segment: &TableSegment) -> Result<Extent> {
    let handle = catalog.handle(&segment.segment);
    let data = handle.data()?;
    let rows = data.rows();
    let whole = segment.clip.contains(&segment.segment.interval);
    if rows == 0 {
        return Ok(Extent {
            rows,
            times: None,
            visible: Some(0),
        });
    }
    if !data.is_sorted_by_time() {
        return Ok(Extent {
            rows,
            times: None,
            visible: whole.then_some(rows),
        });
    }
    if whole {
        let edge = |row: usize| -> Result<Option<i64>> {
            let time = data.read(TIME_COLUMN, row..row + 1)?;
            Ok(long_values(&time).and_then(|values| values.first().copied()))
        };
        return Ok(Extent {
            rows,
            times: edge(0)?.zip(edge(rows - 1)?),
            visible: Some(rows),
        });
    }
    let time = data.column(TIME_COLUMN)?;
    let values = long_values(&time).unwrap_or_default();
    let start = values.partition_point(|t| *t < segment.clip.start_ms);
    let end = values.partition_point(|t| *t < segment.clip.end_ms);
    let inside = values.get(start..end).unwrap_or_default();
    Ok(Extent {
        rows,
        times: inside.first().copied().zip(inside.last().copied()),
        visible: Some(inside.len()),
    })
}

fn statistics(schema: &SchemaRef, extents: &[Extent]) -> Statistics {
    let rows: Option<usize> = extents.iter().map(|extent| extent.visible).sum();
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = match rows {
        Some(rows) => Precision::Exact(rows),
        None => Precision::Inexact(extents.iter().map(|extent| extent.rows).sum()),
    };
    let filled = || extents.iter().filter(|extent| extent.visible != Some(0));
    if filled().next().is_some() && filled().all(|extent| extent.times.is_some()) {
        let bound = |value: Option<i64>| match value {
            Some(value) => Precision::Exact(ScalarValue::TimestampMillisecond(Some(value), None)),
            None => Precision::Absent,
        };
        let first = filled().filter_map(|extent| extent.times).map(|times| times.0).min();
        let last = filled().filter_map(|extent| extent.times).map(|times| times.1).max();
        statistics.column_statistics[0] = ColumnStatistics::new_unknown()
            .with_null_count(Precision::Exact(0))
            .with_min_value(bound(first))
            .with_max_value(bound(last));
    }
    statistics
}

/// Unites the columns of segments, oldest first: columns in the order of the newest segment that has them, types the least restrictive
/// (Druid's `leastRestrictive` merge).
fn unify(segments: &[Vec<(String, ColumnType)>]) -> Schema {
    let mut names: Vec<&str> = Vec::new();
    let mut types: HashMap<&str, ColumnType> = HashMap::new();
    for columns in segments.iter().rev() {
        for (name, column_type) in columns {
            match types.get_mut(name.as_str()) {
                Some(newer) => *newer = least_restrictive(newer, column_type),
                None => {
                    names.push(name);
                    types.insert(name, column_type.clone());
                }
            }
        }
    }
    let time = SqlType::Timestamp.field(TIME_COLUMN, false);
    let others = names.iter().map(|name| sql_type(&types[name]).field(name, true));
    Schema::new(std::iter::once(time).chain(others).collect::<Vec<_>>())
}

fn least_restrictive(newer: &ColumnType, older: &ColumnType) -> ColumnType {
    use ColumnType::{Complex, MultiString, Scalar};
    match (newer, older) {
        (a, b) if a == b => a.clone(),
        // JSON holds every value but objects; a segment of nothing but numbers stores a JSON column as numbers.
        (Complex(name), _) | (_, Complex(name)) if name == JSON_TYPE => Complex(name.clone()),
        (MultiString, Scalar(_)) | (Scalar(_), MultiString) => MultiString,
        (Scalar(ValueType::String), Scalar(_)) | (Scalar(_), Scalar(ValueType::String)) => ColumnType::STRING,
        (Scalar(ValueType::Double), Scalar(_)) | (Scalar(_), Scalar(ValueType::Double)) => ColumnType::DOUBLE,
        (Scalar(ValueType::Float), Scalar(_)) | (Scalar(_), Scalar(ValueType::Float)) => ColumnType::FLOAT,
        (a, _) => a.clone(),
    }
}

fn sql_type(column_type: &ColumnType) -> SqlType {
    let scalar = |value: &ValueType| match value {
        ValueType::Long => SqlType::BigInt,
        ValueType::Double => SqlType::Double,
        ValueType::Float => SqlType::Float,
        ValueType::String => SqlType::Varchar,
    };
    match column_type {
        ColumnType::Scalar(value) => scalar(value),
        ColumnType::MultiString => SqlType::MultiVarchar,
        ColumnType::Array(value) => SqlType::Array(Box::new(scalar(value))),
        ColumnType::Complex(name) => SqlType::Complex(name.clone()),
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

    fn statistics(&self) -> Option<Statistics> {
        Some(self.statistics.clone())
    }

    /// Every predicate that gives the same answer each time is decided by the scan itself.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| {
                if filter.is_volatile() || filter.contains_outer() {
                    TableProviderFilterPushDown::Unsupported
                } else {
                    TableProviderFilterPushDown::Exact
                }
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let names = DFSchema::try_from(self.schema.as_ref().clone())?;
        let predicates = filters
            .iter()
            .map(|filter| state.create_physical_expr(filter.clone(), &names))
            .collect::<Result<Vec<_>>>()?;
        let filter = Filter::compile(conjunction_opt(predicates).as_ref(), &self.schema)?;
        let mut pieces = self.pieces(&filter);
        let hidden = self.segments.iter().any(|s| !s.clip.contains(&s.segment.interval));
        if let Some(limit) = limit
            && filter.is_empty()
            && !hidden
        {
            crate::slices::truncate(&mut pieces, limit);
        }
        let partitions = state.config().target_partitions();
        let projection = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let mut statistics = self.statistics.clone();
        if !filter.is_empty() {
            statistics.num_rows = Precision::Inexact(pieces.iter().map(|piece| piece.likely.len()).sum());
            statistics = statistics.to_inexact();
        }
        let scan = SegmentScanExec::compiled(
            self.catalog.clone(),
            self.datasource.clone(),
            self.schema.clone(),
            projection,
            filter,
            balance(pieces, partitions),
            limit,
        )?
        .with_table_statistics(statistics);
        Ok(Arc::new(scan))
    }
}

/// Names the whole time line; segments that are visible everywhere need no clipping.
pub(crate) fn is_clipped(interval: &Interval, clip: &Interval) -> bool {
    !clip.contains(interval)
}
