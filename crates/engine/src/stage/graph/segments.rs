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
    let (metrics, dimensions): (Vec<&StoredColumn>, Vec<&StoredColumn>) =
        work.dimensions.iter().partition(|column| column.combining().is_some());
    // A time that others are sorted before is a dimension like them.
    let by_time = work.before_time == 0;
    let time = by_time.then_some("__time");
    let excluded = time
        .into_iter()
        .chain(metrics.iter().map(|column| column.name.as_str()));
    let excluded = in_hash_order(excluded.collect());
    let metrics: Vec<Value> = metrics.iter().filter_map(|column| column.combining()).collect();
    let mut dimensions: Vec<Value> = dimensions.into_iter().map(dimension).collect();
    if !by_time {
        dimensions.insert(work.before_time, scalar("long", "__time", false));
    }
    let mut dimensions_spec = json!({
        "dimensions": dimensions,
        "dimensionExclusions": excluded,
        "includeAllDimensions": false,
        "useSchemaDiscovery": false,
    });
    if !by_time {
        dimensions_spec["forceSegmentSortByTime"] = json!(false);
    }
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
        "dimensionsSpec": dimensions_spec,
        "metricsSpec": metrics,
        "granularitySpec": {
            "type": "arbitrary",
            "queryGranularity": work.query_granularity.clone().unwrap_or_else(|| json!({"type": "none"})),
            "rollup": work.rollup,
            "intervals": [Interval::ETERNITY.to_string()],
        },
        "transformSpec": transform,
    })
}

/// Orders names as Java's `HashSet` lists them, in which Druid keeps the excluded dimensions.
fn in_hash_order(mut names: Vec<&str>) -> Vec<&str> {
    let hash = |name: &str| {
        let hash = name
            .encode_utf16()
            .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit))) as u32;
        hash ^ (hash >> 16)
    };
    // The table doubles where it is more than three quarters full.
    let mut buckets: u32 = 16;
    while names.len() as u32 > buckets / 4 * 3 {
        buckets *= 2;
    }
    names.sort_by_key(|name| hash(name) & (buckets - 1));
    names
}

fn scalar(kind: &str, name: &str, indexed: bool) -> Value {
    json!({
        "type": kind,
        "name": name,
        "multiValueHandling": "SORTED_ARRAY",
        "createBitmapIndex": indexed,
    })
}

fn dimension(column: &StoredColumn) -> Value {
    let scalar = |kind: &str, indexed: bool| scalar(kind, &column.name, indexed);
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
        if let Some(computed) =
            list("virtualColumns").find(|computed| computed.get("name") == Some(&json!(column.name)))
        {
            found.insert(column.name.clone(), computed.clone());
            continue;
        }
        let dimension = list("dimensions").find(|dimension| dimension.get("outputName") == Some(&json!(column.name)));
        let Some(dimension) = dimension else { continue };
        let computed = list("virtualColumns").find(|computed| computed.get("name") == dimension.get("dimension"));
        if let Some(computed) = computed {
            found.insert(column.name.clone(), computed.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn excluded_dimensions_are_listed_as_java_lists_a_set() {
        let names = vec!["__time", "cnt", "sum_n", "uc"];
        assert_eq!(super::in_hash_order(names), ["__time", "sum_n", "cnt", "uc"]);
    }
}
