//! What a segment holds: types, columns, and how they are to be encoded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::{ProjectionSpec, SegmentError};

/// The name of the time column, which every segment has.
pub const TIME_COLUMN: &str = "__time";

/// The name of the type of JSON values, `COMPLEX<json>`.
pub const JSON_TYPE: &str = "json";

/// A primitive type of Druid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// 64-bit signed integers; also times and truth values.
    Long,
    /// 64-bit floats.
    Double,
    /// 32-bit floats.
    Float,
    /// UTF-8 text.
    String,
}

impl ValueType {
    /// Gives Druid's name: `LONG`, `DOUBLE`, `FLOAT`, `STRING`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::Float => "FLOAT",
            Self::String => "STRING",
        }
    }

    /// Gives the Arrow type of a single value; strings plain.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Long => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Float => DataType::Float32,
            Self::String => DataType::Utf8,
        }
    }
}

/// The type of a column (Druid's `ColumnType` with multi-value strings told apart).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// One value, or null, a row.
    Scalar(ValueType),
    /// Strings, any number a row.
    MultiString,
    /// An array of values a row.
    Array(ValueType),
    /// Objects of a named type: `json`, `HLLSketch`, …
    Complex(String),
}

impl ColumnType {
    /// A column of single strings.
    pub const STRING: ColumnType = ColumnType::Scalar(ValueType::String);
    /// A column of longs.
    pub const LONG: ColumnType = ColumnType::Scalar(ValueType::Long);
    /// A column of doubles.
    pub const DOUBLE: ColumnType = ColumnType::Scalar(ValueType::Double);
    /// A column of floats.
    pub const FLOAT: ColumnType = ColumnType::Scalar(ValueType::Float);

    /// Gives the Arrow type in which [`crate::Segment::read`] hands out a column of this type.
    ///
    /// Strings are `Dictionary(UInt32, Utf8)`, multi-value strings and arrays lists, JSON is text, pairs of time and value are structs
    /// of `lhs` and `rhs`, other objects are bytes.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Scalar(ValueType::String) => {
                DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
            }
            Self::Scalar(value) => value.arrow(),
            Self::MultiString => list_of(DataType::Utf8),
            Self::Array(value) => list_of(value.arrow()),
            Self::Complex(name) if name == JSON_TYPE => DataType::Utf8,
            Self::Complex(name) => pair_fields(name).map_or(DataType::Binary, DataType::Struct),
        }
    }
}

/// Druid's name of the type: `STRING`, `LONG`, `ARRAY<STRING>`, `COMPLEX<json>`; multi-value strings are `STRING`.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(value) => f.write_str(value.name()),
            Self::MultiString => f.write_str("STRING"),
            Self::Array(value) => write!(f, "ARRAY<{}>", value.name()),
            Self::Complex(name) => write!(f, "COMPLEX<{name}>"),
        }
    }
}

/// Gives the name of the serde for a name that an aggregator goes by.
pub(crate) fn canonical_type(name: &str) -> &str {
    match name {
        "HLLSketchBuild" | "HLLSketchMerge" => "HLLSketch",
        // The last three are of the aggregators of old clusters.
        "thetaSketchBuild" | "thetaSketchMerge" | "setSketch" | "sketchBuild" | "sketchMerge" => "thetaSketch",
        "quantilesDoublesSketchBuild" | "quantilesDoublesSketchMerge" => "quantilesDoublesSketch",
        "KllDoublesSketchBuild" | "KllDoublesSketchMerge" => "KllDoublesSketch",
        "KllFloatsSketchBuild" | "KllFloatsSketchMerge" => "KllFloatsSketch",
        "arrayOfDoublesSketchBuild" | "arrayOfDoublesSketchMerge" => "arrayOfDoublesSketch",
        "preComputedHyperUnique" => "hyperUnique",
        other => other,
    }
}

/// Gives the fields of a type of pairs: `lhs`, the time, and `rhs`, the value; none for other types.
pub(crate) fn pair_fields(type_name: &str) -> Option<Fields> {
    let value = match type_name {
        "serializablePairLongString" => DataType::Utf8,
        "serializablePairLongLong" => DataType::Int64,
        "serializablePairLongDouble" => DataType::Float64,
        "serializablePairLongFloat" => DataType::Float32,
        _ => return None,
    };
    Some(pair_fields_of(value))
}

pub(crate) fn pair_fields_of(value: DataType) -> Fields {
    Fields::from(vec![
        Field::new("lhs", DataType::Int64, true),
        Field::new("rhs", value, true),
    ])
}

pub(crate) fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

/// A column to be written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ColumnSchema {
    /// Its name; neither empty nor with a comma or line break, which the container cannot hold.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
}

impl ColumnSchema {
    /// Names a column.
    pub fn new(name: impl Into<String>, column_type: ColumnType) -> Self {
        Self {
            name: name.into(),
            column_type,
        }
    }
}

/// A metric to be written: a column whose values were aggregated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricSchema {
    /// The column.
    pub column: ColumnSchema,
    /// Druid's JSON of the aggregator in its combining form, kept in the segment's metadata.
    pub aggregator: serde_json::Value,
}

impl MetricSchema {
    /// Describes a column of objects that were not aggregated: Druid keeps those with the metrics.
    pub fn passthrough(column: ColumnSchema) -> Self {
        let type_name = match &column.column_type {
            ColumnType::Complex(type_name) => type_name.as_str(),
            _ => "",
        };
        Self {
            aggregator: serde_json::json!({
                "type": "passthrough",
                "columnName": column.name,
                "complexTypeName": type_name,
            }),
            column,
        }
    }
}

/// How the values of one multi-value row are stored (Druid's `MultiValueHandling`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MultiValueHandling {
    /// Sorted, with duplicates: what Druid does unless told otherwise.
    #[default]
    SortedArray,
    /// Sorted, without duplicates.
    SortedSet,
    /// As they came.
    Array,
}

/// What a segment to be written holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SegmentSchema {
    /// The dimensions in their order, without `__time`.
    pub columns: Vec<ColumnSchema>,
    /// The metrics, in any order: Druid keeps them by name.
    pub metrics: Vec<MetricSchema>,
    /// Whether rows with equal dimensions were combined.
    pub rollup: bool,
    /// Druid's JSON of the query granularity; `{"type":"none"}` if not given.
    pub query_granularity: Option<serde_json::Value>,
    /// By which columns the rows are sorted, `__time` among them; `__time` and then all dimensions if not given.
    pub ordering: Option<Vec<String>>,
    /// For multi-value columns that are not stored sorted.
    pub multi_value_handling: BTreeMap<String, MultiValueHandling>,
    /// Columns of strings that get no bitmaps.
    pub without_bitmaps: BTreeSet<String>,
    /// Columns that are stored in the nested common format (Druid's "auto" columns): scalars and arrays of their type, JSON columns in the
    /// narrowest form that holds their values.
    pub auto: BTreeSet<String>,
    /// Small tables that are aggregated from the rows and stored beside them.
    pub projections: Vec<ProjectionSpec>,
}

impl SegmentSchema {
    /// Describes a segment of dimensions only, without rollup, sorted by `__time` and then the dimensions.
    pub fn new(columns: Vec<ColumnSchema>) -> Self {
        Self {
            columns,
            ..Self::default()
        }
    }

    /// Checks what the format cannot hold: unusable or doubled names, a sort order of unknown columns.
    pub fn validate(&self) -> Result<(), SegmentError> {
        let mut seen = std::collections::HashSet::new();
        let all = self.columns.iter().chain(self.metrics.iter().map(|m| &m.column));
        for column in all {
            let name = column.name.as_str();
            if name.is_empty() || name.contains([',', '\n', '\r']) {
                return Err(SegmentError::invalid(format!(
                    "column name [{}] cannot be stored in a segment: use a name that is not empty and has no comma or line break",
                    name.escape_debug()
                )));
            }
            if name == TIME_COLUMN {
                return Err(SegmentError::invalid(format!(
                    "column [{TIME_COLUMN}] is part of every segment and must not be listed"
                )));
            }
            if !seen.insert(name) {
                return Err(SegmentError::invalid(format!("column [{name}] is listed twice")));
            }
        }
        for projection in &self.projections {
            projection.plan(self)?;
        }
        let mut names = std::collections::HashSet::new();
        if let Some(twice) = self
            .projections
            .iter()
            .find(|projection| !names.insert(projection.name()))
        {
            return Err(SegmentError::invalid(format!(
                "projection [{}] is listed twice",
                twice.name()
            )));
        }
        if let Some(ordering) = &self.ordering {
            if !ordering.iter().any(|name| name == TIME_COLUMN) {
                return Err(SegmentError::invalid(format!(
                    "the sort order of a segment must contain {TIME_COLUMN}"
                )));
            }
            if let Some(unknown) = ordering
                .iter()
                .find(|name| *name != TIME_COLUMN && !seen.contains(name.as_str()))
            {
                return Err(SegmentError::invalid(format!(
                    "the sort order names column [{unknown}], which the segment does not have"
                )));
            }
        }
        Ok(())
    }
}
