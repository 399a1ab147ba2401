//! What a segment says of a projection (Druid's `AggregateProjectionMetadata`): a small table beside the rows, aggregated from them.
//!
//! ```text
//! {"type":"aggregate","schema":{"type":"aggregate","name","timeColumnName","filter","virtualColumns","groupingColumns","aggregators",
//!  "ordering"},"numRows"}
//! V9   metadata.drd, "projections"         V10   the metadata's "projections" behind that of the rows
//! internal files   <name>/<column>, each an ordinary column of numRows rows
//! ```
//! A grouping column that the table has too shares the table's dictionaries. Aggregators stand in their original form.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::OrderBy;
use crate::TIME_COLUMN;

/// A projection as the segment's metadata describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Projection {
    /// Its name, which its internal files begin with.
    pub name: String,
    /// The grouping column that is the time of the projection's rows; none where all have the start of the interval.
    pub time_column_name: Option<String>,
    /// Which rows of the table it has; all of them without a filter. Druid's JSON.
    #[serde(default)]
    pub filter: Option<Value>,
    /// Columns that are computed from those of the table. Druid's JSON.
    #[serde(default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub virtual_columns: Vec<Value>,
    /// What rows are combined by, in the order of the projection's columns.
    #[serde(default, deserialize_with = "list")]
    pub grouping_columns: Vec<String>,
    /// Druid's JSON of the aggregators; each has a column of its name.
    #[serde(default, deserialize_with = "list")]
    pub aggregators: Vec<Value>,
    /// By what its rows are sorted.
    #[serde(default, deserialize_with = "list")]
    pub ordering: Vec<OrderBy>,
    /// Rows.
    #[serde(skip)]
    pub rows: u64,
}

/// Reads a list that may be missing or null.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Projection {
    /// The one type of projections that there is.
    const TYPE: &str = "aggregate";

    /// Reads the JSON of the metadata; says what is wrong with it.
    pub(crate) fn read(json: &Value) -> Result<Self, String> {
        let schema = json.get("schema").ok_or("a projection has a schema")?;
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or(Self::TYPE);
        if kind != Self::TYPE {
            return Err(format!("projections of type {kind} are not supported"));
        }
        let mut projection: Self =
            serde_json::from_value(schema.clone()).map_err(|e| format!("the schema of a projection: {e}"))?;
        projection.rows = json
            .get("numRows")
            .and_then(Value::as_u64)
            .ok_or_else(|| format!("projection [{}] has a number of rows", projection.name))?;
        Ok(projection)
    }

    /// Gives the JSON of the metadata.
    pub(crate) fn to_json(&self) -> serde_json::Result<Value> {
        let mut schema = serde_json::Map::new();
        schema.insert("type".into(), Self::TYPE.into());
        if let Value::Object(fields) = serde_json::to_value(self)? {
            schema.extend(fields);
        }
        Ok(serde_json::json!({"type": Self::TYPE, "schema": schema, "numRows": self.rows}))
    }

    /// What its internal files begin with.
    pub(crate) fn prefix(&self) -> String {
        format!("{}/", self.name)
    }

    /// Lists the names of the aggregators' columns.
    pub fn aggregator_names(&self) -> Vec<String> {
        let names = self.aggregators.iter();
        names
            .filter_map(|aggregator| Some(aggregator.get("name")?.as_str()?.to_owned()))
            .collect()
    }

    /// Gives the sort order by the names that the columns have for a reader: the column of times is `__time`.
    pub(crate) fn ordering_by_time(&self) -> Vec<OrderBy> {
        let ordering = self.ordering.iter().cloned();
        ordering
            .map(|by| match &self.time_column_name {
                Some(time) if *time == by.column_name => OrderBy {
                    column_name: TIME_COLUMN.to_owned(),
                    ..by
                },
                _ => by,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_druid_writes() {
        let json = json!({"type": "aggregate", "schema": {
            "type": "aggregate", "name": "hourly", "timeColumnName": "__gran", "filter": null,
            "virtualColumns": [{"type": "expression", "name": "__gran", "expression": "timestamp_floor(__time, 'PT1H', null, null)",
                                "outputType": "LONG"}],
            "groupingColumns": ["__gran", "channel"],
            "aggregators": [{"type": "count", "name": "cnt"}],
            "ordering": [{"columnName": "__gran", "order": "ascending"}, {"columnName": "channel", "order": "ascending"}],
        }, "numRows": 281});
        let read = Projection::read(&json).unwrap();
        assert_eq!((read.rows, read.prefix().as_str()), (281, "hourly/"));
        assert_eq!(read.aggregator_names(), ["cnt"]);
        let ordering: Vec<String> = read.ordering_by_time().into_iter().map(|by| by.column_name).collect();
        assert_eq!(ordering, [TIME_COLUMN, "channel"]);
        assert_eq!(read.to_json().unwrap(), json);

        let bare = json!({"schema": {"name": "p", "groupingColumns": null, "aggregators": null, "ordering": null}, "numRows": 0});
        assert!(Projection::read(&bare).unwrap().grouping_columns.is_empty());
        for (wrong, message) in [
            (json!({"numRows": 1}), "has a schema"),
            (json!({"schema": {"name": "p"}}), "number of rows"),
            (json!({"schema": {"name": "p"}, "numRows": -1}), "number of rows"),
            (
                json!({"schema": {"type": "star-tree", "name": "p"}, "numRows": 1}),
                "star-tree",
            ),
            (
                json!({"schema": {"groupingColumns": 5}, "numRows": 1}),
                "schema of a projection",
            ),
        ] {
            let error = Projection::read(&wrong).unwrap_err();
            assert!(error.contains(message), "{wrong}: {error}");
        }
    }
}
