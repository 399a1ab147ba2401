//! The stage that writes segments, in Druid's terms: `SegmentGeneratorStageProcessor` with its `DataSchema`.

use henge_time::Interval;
use serde_json::{Map, Value, json};

use crate::controller::settings::TaskSettings;
use crate::ingest::{SegmentWork, StoredColumn};
use crate::report::StageDefinition;
use crate::stage::graph::key_of;

/// Words the members of the processor. `input` is the stage before, where it was derived from the query.
pub fn generator(
    work: &SegmentWork,
    query: &Map<String, Value>,
    mappings: &Value,
    input: Option<&StageDefinition>,
    settings: &TaskSettings,
) -> Value {
    let mut members = Map::new();
    members.insert("dataSchema".to_string(), data_schema(work, query));
    members.insert("columnMappings".to_string(), mappings.clone());
    let virtual_keys = input.map(|input| virtual_keys(query, input)).unwrap_or_default();
    if !virtual_keys.is_empty() {
        members.insert(
            "clusterByVirtualColumnMappings".to_string(),
            Value::Object(virtual_keys),
        );
    }
    let mut tuning = Map::new();
    let mut tune = |name: &str, value: u64| tuning.insert(name.to_string(), Value::from(value));
    tune("maxNumWorkers", u64::from(settings.workers));
    tune("maxRowsInMemory", settings.rows_in_memory);
    tune("rowsPerSegment", settings.rows_per_segment);
    if let Some(segments) = settings.max_num_segments {
        tune("maxNumSegments", segments);
    }
    if let Some(spec) = &work.index_spec {
        tuning.insert("indexSpec".to_string(), spec.clone());
    }
    members.insert("tuningConfig".to_string(), Value::Object(tuning));
    Value::Object(members)
}

fn data_schema(work: &SegmentWork, query: &Map<String, Value>) -> Value {
    // Objects that were not aggregated are metrics, passed through.
    let (metrics, dimensions): (Vec<&StoredColumn>, Vec<&StoredColumn>) =
        work.dimensions.iter().partition(|column| object_type(column).is_some());
    let excluded: Vec<&str> = std::iter::once("__time")
        .chain(metrics.iter().map(|column| column.name.as_str()))
        .collect();
    let passed: Vec<Value> = metrics
        .iter()
        .map(|column| json!({"type": "passthrough", "columnName": column.name, "complexTypeName": object_type(column)}))
        .collect();
    let dimensions: Vec<Value> = dimensions.into_iter().map(dimension).collect();
    // What the stage reads has been filtered and computed already; Druid shows it where there is a filter.
    let transform = match query.get("filter") {
        Some(filter) => {
            let columns = query.get("virtualColumns").and_then(Value::as_array);
            let transforms: Vec<Value> = columns
                .into_iter()
                .flatten()
                .filter(|column| column.get("type") == Some(&json!("expression")))
                .map(|column| json!({"type": "expression", "name": column["name"], "expression": column["expression"]}))
                .collect();
            json!({"filter": filter, "transforms": transforms})
        }
        None => json!({"filter": null, "transforms": []}),
    };
    json!({
        "dataSource": work.datasource,
        "timestampSpec": {"column": "__time", "format": "millis", "missingValue": null},
        "dimensionsSpec": {
            "dimensions": dimensions,
            "dimensionExclusions": excluded,
            "includeAllDimensions": false,
            "useSchemaDiscovery": false,
        },
        "metricsSpec": passed,
        "granularitySpec": {
            "type": "arbitrary",
            "queryGranularity": {"type": "none"},
            "rollup": false,
            "intervals": [Interval::ETERNITY.to_string()],
        },
        "transformSpec": transform,
    })
}

/// Names the complex type of a column that is stored as it is: any but JSON.
fn object_type(column: &StoredColumn) -> Option<&str> {
    let name = column.native_type.strip_prefix("COMPLEX<")?.strip_suffix('>')?;
    (name != "json").then_some(name)
}

fn dimension(column: &StoredColumn) -> Value {
    let scalar = |kind: &str, indexed: bool| {
        json!({
            "type": kind,
            "name": column.name,
            "multiValueHandling": "SORTED_ARRAY",
            "createBitmapIndex": indexed,
        })
    };
    match column.native_type.as_str() {
        "STRING" => scalar("string", true),
        "LONG" => scalar("long", false),
        "DOUBLE" => scalar("double", false),
        "FLOAT" => scalar("float", false),
        array if array.starts_with("ARRAY<") => json!({
            "type": "auto",
            "name": column.name,
            "castToType": array,
            "multiValueHandling": "SORTED_ARRAY",
            "createBitmapIndex": true,
        }),
        _ => scalar("auto", true),
    }
}

/// Maps the dimensions by which rows are cut to the virtual columns that they are computed by.
fn virtual_keys(query: &Map<String, Value>, input: &StageDefinition) -> Map<String, Value> {
    let list = |member: &str| query.get(member).and_then(Value::as_array).into_iter().flatten();
    let mut found = Map::new();
    let Some(key) = input.shuffle.as_ref().and_then(key_of) else {
        return found;
    };
    for column in &key.columns {
        let dimension = list("dimensions").find(|dimension| dimension.get("outputName") == Some(&json!(column.name)));
        let Some(dimension) = dimension else { continue };
        let computed = list("virtualColumns").find(|computed| computed.get("name") == dimension.get("dimension"));
        if let Some(computed) = computed {
            found.insert(column.name.clone(), computed.clone());
        }
    }
    found
}
