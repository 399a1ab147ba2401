//! What the segments of an ingestion look like: their columns, and the order of their rows (spec `metadata-and-publishing` 12.4,
//! `segment-format` 5 and 8).
//!
//! Dimensions are the columns of `segmentSortOrder`, then the CLUSTERED BY columns (or keys of a grouping) that are selected, then the others in the order of the
//! SELECT; metrics (the aggregates of a rollup, and objects such as sketches) are no dimensions and come last. Rows are sorted by `__time` and then the dimensions, unless the sort order has some of them before `__time`. Dimensions with several values a row,
//! arrays and JSON are sorted by what is stored of them (values are sorted, empty is null; arrays and objects go by a hash), which
//! columns behind the stored ones hold while rows are sorted. The segment claims only the order that its scalar columns show.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use henge_exchange::{KeyField, KeySpec, staged_schema};
use henge_segment::{
    ColumnSchema, ColumnType, IndexSpec, JSON_TYPE, MetricSchema, SegmentSchema, TIME_COLUMN, ValueType,
};
use henge_sql::{Ingest, OutputColumn, QueryContext, SqlError, SqlType};
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultCode};

/// A column of a segment, and where its values are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredColumn {
    /// Index of the column in the staged rows.
    pub index: usize,
    /// Its name in the segment.
    pub name: String,
    /// Druid's name of its type: `STRING`, `LONG`, `ARRAY<STRING>`, `COMPLEX<json>`.
    pub native_type: String,
    /// True where a row may have several strings.
    pub multi_value: bool,
    /// Druid's JSON of the aggregator that combines the values, of the metrics of a rollup.
    #[serde(default)]
    pub aggregator: Option<serde_json::Value>,
}

/// What all tasks of a segment-writing stage share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentWork {
    /// Datasource.
    pub datasource: String,
    /// Index of `__time` in the staged rows; without it every row is at the epoch.
    pub time: Option<usize>,
    /// Dimensions in segment order, without `__time`, then the metrics.
    pub dimensions: Vec<StoredColumn>,
    /// How many of the dimensions come from CLUSTERED BY.
    pub clustered: usize,
    /// Whether rows are the groups of a rollup.
    #[serde(default)]
    pub rollup: bool,
    /// Druid's JSON of the granularity to which times were cut.
    #[serde(default)]
    pub query_granularity: Option<serde_json::Value>,
    /// How many of the dimensions rows are sorted by before `__time` (`segmentSortOrder` with `forceSegmentSortByTime: false`).
    #[serde(default)]
    pub before_time: usize,
    /// Druid's `indexSpec` of the statement's context.
    #[serde(default)]
    pub index_spec: Option<serde_json::Value>,
    /// Whether dimensions are stored as "auto" columns (`useAutoColumnSchemas`).
    #[serde(default)]
    pub auto_columns: bool,
    /// Druid's JSON of the projections that the catalog has for the datasource.
    #[serde(default)]
    pub projections: Vec<serde_json::Value>,
}

impl SegmentWork {
    /// Lays out the segments of a statement whose plan has `columns` in front.
    pub fn new(ingest: &Ingest, columns: &[OutputColumn]) -> Self {
        let position = |name: &String| columns.iter().position(|column| column.name == *name);
        let time = columns.iter().position(|column| column.name == TIME_COLUMN);
        let mut order: Vec<usize> = Vec::with_capacity(columns.len());
        for index in ingest.keys().iter().filter_map(position) {
            if Some(index) != time && !order.contains(&index) {
                order.push(index);
            }
        }
        let aggregators = ingest.rollup.as_ref().map(|rollup| rollup.aggregators.as_slice());
        let aggregator = |index: usize| aggregators.and_then(|list| list.get(index)).cloned().flatten();
        let is_metric = |index: usize| aggregator(index).is_some() || is_object(&columns[index].sql_type);
        order.retain(|index| !is_metric(*index));
        let clustered = order.len();
        let rest = (0..columns.len()).filter(|index| Some(*index) != time && !order.contains(index));
        let (metrics, rest): (Vec<usize>, Vec<usize>) = rest.partition(|index| is_metric(*index));
        order.extend(rest);
        order.extend(metrics);
        let stored = |index: usize| StoredColumn {
            index,
            name: columns[index].name.clone(),
            native_type: columns[index].sql_type.native(),
            multi_value: columns[index].sql_type == SqlType::MultiVarchar,
            aggregator: aggregator(index),
        };
        Self {
            datasource: ingest.target.clone(),
            time,
            dimensions: order.into_iter().map(stored).collect(),
            clustered,
            rollup: ingest.rollup.is_some(),
            query_granularity: ingest
                .rollup
                .as_ref()
                .and_then(|rollup| rollup.query_granularity.clone()),
            before_time: 0,
            index_spec: None,
            auto_columns: false,
            projections: Vec::new(),
        }
    }

    /// Takes what the context of the statement says of storage, and fails if henge cannot write that.
    pub fn with_context(mut self, context: &QueryContext) -> Result<Self, Fault> {
        self.index_spec = match context.get("indexSpec") {
            Some(serde_json::Value::String(text)) => serde_json::from_str(text).ok(),
            spec => spec.cloned(),
        };
        self.auto_columns = context.boolean("useAutoColumnSchemas").ok().flatten().unwrap_or(false);
        self.index_spec()?;
        self.sort_as_asked(&context.list("segmentSortOrder").unwrap_or_default(), {
            context.boolean("forceSegmentSortByTime").ok().flatten().unwrap_or(true)
        });
        Ok(self)
    }

    /// Brings dimensions into the order that was asked for; those that were not named keep theirs behind them.
    fn sort_as_asked(&mut self, order: &[String], by_time: bool) {
        let position = |column: &StoredColumn| {
            let named = order.iter().position(|name| *name == column.name);
            named.filter(|_| column.combining().is_none())
        };
        let named = self
            .dimensions
            .iter()
            .filter(|column| position(column).is_some())
            .count();
        let clustered = &self.dimensions[..self.clustered];
        let clustered_behind = clustered.iter().filter(|column| position(column).is_none()).count();
        self.dimensions
            .sort_by_key(|column| (column.combining().is_some(), position(column).unwrap_or(order.len())));
        if named > 0 {
            self.clustered = named + clustered_behind;
        }
        if !by_time {
            // Where it is not named, `__time` has the place that the SELECT gives it.
            let selected = |time: usize| {
                let behind = self.dimensions.iter().skip(self.clustered);
                self.clustered + behind.take_while(|column| column.index < time).count()
            };
            let named = order.iter().position(|name| name == TIME_COLUMN);
            let time = named.or_else(|| self.time.map(selected));
            self.before_time = time.unwrap_or(0).min(self.sorted_dimensions());
        }
    }

    /// Tells how columns are encoded.
    pub fn index_spec(&self) -> Result<IndexSpec, Fault> {
        match &self.index_spec {
            Some(spec) => Ok(IndexSpec::from_druid(spec)?),
            None => Ok(IndexSpec::default()),
        }
    }

    /// Applies `arrayIngestMode`: `mvd` stores arrays of strings as multi-value strings, and refuses other arrays.
    pub fn with_array_mode(mut self, context: &QueryContext) -> Result<Self, Fault> {
        let mode = context.word("arrayIngestMode", &["MVD", "ARRAY"], "ArrayIngestMode");
        if mode.map_err(|error| Fault::bad_context(&error))? != Some("MVD") {
            return Ok(self);
        }
        for column in &mut self.dimensions {
            match column.native_type.as_str() {
                "ARRAY<STRING>" => {
                    column.native_type = "STRING".to_string();
                    column.multi_value = true;
                }
                array if array.starts_with("ARRAY<") => {
                    return Err(Fault::from(SqlError::input(
                        "Numeric arrays can only be ingested when 'arrayIngestMode' is set to 'array'. Current value of the \
                         parameter is[mvd]",
                    )));
                }
                _ => {}
            }
        }
        Ok(self)
    }

    /// Gives the schema of the segments.
    pub fn segment_schema(&self) -> Result<SegmentSchema, Fault> {
        let mut schema = SegmentSchema {
            rollup: self.rollup,
            query_granularity: self.query_granularity.clone(),
            ..SegmentSchema::default()
        };
        for column in &self.dimensions {
            let column_type = column.column_type()?;
            let described = ColumnSchema::new(column.name.as_str(), column_type);
            if let Some(aggregator) = column.combining() {
                schema.metrics.push(MetricSchema {
                    column: described,
                    aggregator,
                });
                continue;
            }
            if self.auto_columns && !column.multi_value {
                schema.auto.insert(column.name.clone());
            }
            schema.columns.push(described);
        }
        let sorted = self.sorted_dimensions();
        if sorted < schema.columns.len() || self.before_time > 0 {
            let sorted = self.dimensions[..sorted].iter().map(|column| column.name.clone());
            let mut ordering: Vec<String> = sorted.collect();
            ordering.insert(self.before_time, TIME_COLUMN.to_string());
            schema.ordering = Some(ordering);
        }
        schema.projections = crate::ingest::projections::specs(&self.projections)?;
        Ok(schema)
    }

    /// Gives the names of the metrics, in the order of the SELECT.
    pub(super) fn metric_names(&self) -> Vec<String> {
        let metrics = self.dimensions.iter().filter(|column| column.combining().is_some());
        metrics.map(|column| column.name.clone()).collect()
    }

    /// Gives how many of the dimensions rows are sorted by.
    fn sorted_dimensions(&self) -> usize {
        let scalar = |column: &StoredColumn| {
            column.combining().is_none() && matches!(column.column_type(), Ok(ColumnType::Scalar(_)))
        };
        self.dimensions
            .iter()
            .position(|column| !scalar(column))
            .unwrap_or(self.dimensions.len())
    }

    /// Gives the order of rows in a segment, over the columns of [`SegmentWork::rows_schema`]. Only `__time` and CLUSTERED BY are
    /// part of the key; the other dimensions decide between equal keys.
    pub(super) fn row_order(&self) -> KeySpec {
        let sorted = self.sorted_dimensions();
        let clustered = self.clustered.min(sorted).max(self.before_time);
        // Column 0 is `__time`, column `i + 1` dimension `i`; behind the last are the places of those that are no scalars.
        let mut place = self.dimensions.len() + 1;
        let dimensions = self.dimensions.iter().enumerate().map_while(|(index, column)| {
            let is_placed = column.order()?;
            place += usize::from(is_placed);
            Some(if is_placed { place - 1 } else { index + 1 })
        });
        let mut order: Vec<usize> = dimensions.collect();
        order.insert(self.before_time, 0);
        let ties = order.split_off(clustered + 1);
        KeySpec::sorted(order.into_iter().map(KeyField::ascending).collect())
            .with_ties(ties.into_iter().map(KeyField::ascending).collect())
    }

    /// Gives the dimensions whose place among the rows is computed.
    fn placed(&self) -> impl Iterator<Item = &StoredColumn> {
        self.dimensions.iter().filter(|column| column.order() == Some(true))
    }

    /// Gives the schema of the rows as they are sorted: `__time`, the dimensions, the places of those that are no scalars.
    pub(super) fn rows_schema(&self, staged: &SchemaRef) -> Result<SchemaRef, Fault> {
        let staged = staged_schema(staged);
        let field = |index: usize, name: &str| match staged.fields().get(index) {
            Some(field) => Ok(Field::new(name, field.data_type().clone(), true)),
            None => Err(Fault::unknown(format!(
                "column [{name}] is missing from the rows to be stored"
            ))),
        };
        let mut fields = Vec::with_capacity(self.dimensions.len() + 1);
        fields.push(match self.time {
            Some(time) => field(time, TIME_COLUMN)?,
            None => Field::new(TIME_COLUMN, DataType::Int64, true),
        });
        for column in &self.dimensions {
            fields.push(field(column.index, &column.name)?);
        }
        for column in self.placed() {
            fields.push(Field::new(format!("__place.{}", column.name), DataType::Binary, true));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Gives rows as the segment writer takes them: `__time` and the dimensions; pairs of time and value are structs.
    pub(super) fn encoded(&self, rows: RecordBatch) -> Result<RecordBatch, Fault> {
        let stored: Vec<usize> = (0..=self.dimensions.len()).collect();
        let rows = match rows.num_columns() > stored.len() {
            true => rows.project(&stored)?,
            false => rows,
        };
        let pairs = self.dimensions.iter().enumerate().filter_map(|(i, column)| {
            let kind = henge_sql::pair_type_of(column.object_type()?)?;
            // `__time` is in front.
            Some((i + 1, kind))
        });
        let pairs: Vec<_> = pairs.collect();
        if pairs.is_empty() {
            return Ok(rows);
        }
        let (schema, mut columns, _) = rows.into_parts();
        let mut fields = schema.fields().to_vec();
        for (index, kind) in pairs {
            let Some(images) = columns[index].as_binary_opt::<i32>() else {
                continue;
            };
            columns[index] = Arc::new(henge_sql::pair_structs(images, kind)?);
            fields[index] = Arc::new(Field::new(
                fields[index].name(),
                columns[index].data_type().clone(),
                true,
            ));
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// Gives staged rows the columns of [`SegmentWork::rows_schema`], and fails where a row has no time.
    pub(super) fn rows(&self, schema: &SchemaRef, staged: &RecordBatch) -> Result<RecordBatch, Fault> {
        let time: ArrayRef = match self.time {
            Some(time) => Arc::clone(staged.column(time)),
            None => Arc::new(Int64Array::from(vec![0; staged.num_rows()])),
        };
        if time.null_count() > 0 {
            return Err(Fault::time_null());
        }
        let dimensions = self
            .dimensions
            .iter()
            .map(|column| Arc::clone(staged.column(column.index)));
        let places = self.placed().map(|column| {
            let values = staged.column(column.index);
            let places = match column.multi_value {
                true => henge_segment::multi_value_order(values),
                false => henge_segment::structured_order(values),
            };
            places.map(|places| Arc::new(places) as ArrayRef)
        });
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let columns = std::iter::once(time).chain(dimensions).chain(places).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(staged.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(schema),
            columns,
            &options,
        )?)
    }
}

/// Tells whether values are objects that are stored as they are: any complex type but JSON.
fn is_object(sql_type: &SqlType) -> bool {
    matches!(sql_type, SqlType::Complex(name) if name != JSON_TYPE)
}

impl StoredColumn {
    /// Names the complex type of a column that is stored as it is: any but JSON.
    pub fn object_type(&self) -> Option<&str> {
        let name = self.native_type.strip_prefix("COMPLEX<")?.strip_suffix('>')?;
        (name != JSON_TYPE).then_some(name)
    }

    /// Gives Druid's JSON of the aggregator of a metric: the one of the rollup, or that which passes objects through.
    pub fn combining(&self) -> Option<serde_json::Value> {
        self.aggregator.clone().or_else(|| {
            let object = self.object_type()?;
            Some(serde_json::json!({"type": "passthrough", "columnName": self.name, "complexTypeName": object}))
        })
    }

    /// Tells whether the place of a value among others is computed; none where rows are not ordered by the column.
    fn order(&self) -> Option<bool> {
        match self.column_type() {
            _ if self.combining().is_some() => None,
            Ok(ColumnType::Scalar(_)) => Some(false),
            Ok(_) => Some(true),
            Err(_) => None,
        }
    }

    /// Gives the type in the segment.
    pub fn column_type(&self) -> Result<ColumnType, Fault> {
        if self.multi_value {
            return Ok(ColumnType::MultiString);
        }
        let inside = |prefix: &str| {
            self.native_type
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_suffix('>'))
        };
        if let Some(name) = inside("COMPLEX<") {
            return Ok(ColumnType::Complex(name.to_string()));
        }
        let element = inside("ARRAY<");
        let value = match element.unwrap_or(&self.native_type) {
            "STRING" => ValueType::String,
            "LONG" => ValueType::Long,
            "DOUBLE" => ValueType::Double,
            "FLOAT" => ValueType::Float,
            _ => {
                let message = format!("Cannot handle column [{}] of type [{}]", self.name, self.native_type);
                return Err(Fault::new(FaultCode::ColumnTypeNotSupported, message)
                    .with("columnName", self.name.as_str())
                    .with("columnType", self.native_type.as_str()));
            }
        };
        Ok(if element.is_some() {
            ColumnType::Array(value)
        } else {
            ColumnType::Scalar(value)
        })
    }
}
