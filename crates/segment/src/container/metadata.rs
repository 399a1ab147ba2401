//! `metadata.drd`: JSON without a length (Druid's `Metadata`).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::container::Container;
use crate::{SegmentError, TIME_COLUMN};

/// What the segment says about itself beside its columns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Free keys and values.
    #[serde(default)]
    pub container: Value,
    /// The combining aggregators of the metrics, Druid's JSON.
    #[serde(default)]
    pub aggregators: Option<Vec<Value>>,
    /// How times were read at ingestion.
    #[serde(default)]
    pub timestamp_spec: Option<Value>,
    /// To what times were cut.
    #[serde(default)]
    pub query_granularity: Option<Value>,
    /// Whether rows with equal dimensions were combined.
    #[serde(default)]
    pub rollup: Option<bool>,
    /// By what rows are sorted; `__time` where the segment does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Vec<OrderBy>>,
    /// Pre-aggregated tables beside the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projections: Option<Vec<Value>>,
}

/// A column that rows are sorted by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderBy {
    /// The column.
    pub column_name: String,
    /// `ascending` or `descending`.
    pub order: String,
}

impl OrderBy {
    /// Sorts by a column, smallest first.
    pub fn ascending(column: impl Into<String>) -> Self {
        Self {
            column_name: column.into(),
            order: "ascending".into(),
        }
    }
}

impl Metadata {
    /// Describes rows sorted by `ordering`.
    pub(crate) fn new(
        aggregators: Vec<Value>,
        query_granularity: Option<Value>,
        rollup: bool,
        ordering: Vec<OrderBy>,
    ) -> Self {
        Self {
            container: json!({}),
            aggregators: Some(aggregators),
            timestamp_spec: Some(json!({"column": TIME_COLUMN, "format": "millis", "missingValue": null})),
            query_granularity: Some(query_granularity.unwrap_or_else(|| json!({"type": "none"}))),
            rollup: Some(rollup),
            ordering: Some(ordering),
            projections: None,
        }
    }

    /// Reads the metadata of a segment; none if there is none, or if it cannot be understood, as Druid does.
    pub(crate) fn read(container: &Container) -> Option<Self> {
        let blob = container.file("metadata.drd")?;
        serde_json::from_slice(blob.bytes()).ok()
    }

    pub(crate) fn write(&self) -> Result<Vec<u8>, SegmentError> {
        serde_json::to_vec(self).map_err(|e| SegmentError::invalid(format!("metadata of the segment: {e}")))
    }
}
