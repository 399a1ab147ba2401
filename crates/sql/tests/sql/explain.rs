//! Recorded plans of EXPLAIN.

use henge_sql::EngineKind;
use serde_json::{Map, Value, json};

use crate::run::{folder, plan};

/// Removes what differs from run to run.
fn without_ids(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in ["queryId", "sqlQueryId", "dartQueryId", "__resultFormat", "timeout"] {
                map.shift_remove(key);
            }
            map.values_mut().for_each(without_ids);
        }
        Value::Array(items) => items.iter_mut().for_each(without_ids),
        _ => {}
    }
}

#[test]
fn recorded_plans_are_given() {
    let Some(folder) = folder("tests/golden/api/explain").or_else(|| folder("../shared/golden/api/explain")) else {
        println!("SKIPPED: no recorded plans");
        return;
    };
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .filter_map(|f| f.ok().map(|f| f.path()))
        .collect();
    files.sort();
    let mut wrong = Vec::new();
    let mut right = 0;
    for file in files {
        let name = file
            .file_stem()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        // Plans of Calcite's own nodes, the engine that henge does not have, and shapes without a native wording yet: windows.
        let shapes = ["native-resources-join", "msq-window"];
        if shapes.contains(&name.as_str()) || ["native-infoschema", "native-legacy", "dart"].contains(&name.as_str()) {
            continue;
        }
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("readable")).expect("JSON");
        let body = &golden["request"]["body"];
        let engine = match golden["request"]["path"].as_str() {
            Some("/druid/v2/sql") => EngineKind::Native,
            _ => EngineKind::Task,
        };
        let context: Map<String, Value> = body["context"].as_object().cloned().unwrap_or_default();
        let sql = body["query"].as_str().unwrap_or_default();
        let planned = plan(engine, sql, context, Vec::new());
        let rows = golden["response"]["body"].as_array();
        let Some(row) = rows.and_then(|rows| rows.first()) else {
            if planned.is_ok() {
                wrong.push(format!("{name}: accepted"));
            }
            continue;
        };
        let planned = match planned {
            Ok(planned) => planned,
            Err(error) => {
                wrong.push(format!("{name}: refused: {error}"));
                continue;
            }
        };
        let got = planned.explain_row();
        let before = wrong.len();
        for (i, key) in ["PLAN", "RESOURCES", "ATTRIBUTES"].into_iter().enumerate() {
            let read = |text: &str| {
                let mut value: Value = serde_json::from_str(text).unwrap_or(Value::from(text));
                without_ids(&mut value);
                value
            };
            let (a, b) = (read(&got[i]), read(row[key].as_str().unwrap_or_default()));
            if a != b {
                wrong.push(format!("{name} {key}:\n  got    {a}\n  wanted {b}"));
            }
        }
        right += usize::from(wrong.len() == before);
    }
    println!("{right} recorded plans are given");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Shapes that no recording shows, worded from `AvgSqlAggregator`, `DimFilterHavingSpec`, `DefaultLimitSpec`, `StringAnyAggregatorFactory`.
#[test]
fn averages_having_offsets_and_any_values_are_worded() {
    let sql = "EXPLAIN PLAN FOR SELECT country, AVG(n) AS m, AVG(x * 2) FILTER (WHERE country <> 'AU'), ANY_VALUE(country, 10) AS y FROM api_base \
        GROUP BY country HAVING COUNT(*) > 1 AND AVG(n) < 100.5 ORDER BY m DESC LIMIT 5 OFFSET 1";
    let planned = plan(EngineKind::Native, sql, Map::new(), Vec::new()).expect("a plan");
    let native: Value = serde_json::from_str(&planned.explain_row()[0]).expect("a native query");
    let query = &native[0]["query"];
    let not_null = |column: &str| json!({"type": "not", "field": {"type": "null", "column": column}});
    let access = |name: &str| json!({"type": "fieldAccess", "name": null, "fieldName": name});
    assert_eq!(query["queryType"], "groupBy");
    assert_eq!(
        query["aggregations"][0],
        json!({"type": "doubleSum", "name": "a0:sum", "fieldName": "n"})
    );
    assert_eq!(
        query["aggregations"][1],
        json!({"type": "filtered", "aggregator": {"type": "count", "name": "a0:count"}, "filter": not_null("n"), "name": "a0:count"})
    );
    assert_eq!(query["aggregations"][2]["aggregator"]["fieldName"], "v0");
    assert_eq!(
        query["aggregations"][4],
        json!({"type": "stringAny", "name": "a2", "fieldName": "country", "maxStringBytes": 10, "aggregateMultipleValues": true})
    );
    assert_eq!(
        query["postAggregations"][0],
        json!({"type": "arithmetic", "name": "a0", "fn": "quotient", "fields": [access("a0:sum"), access("a0:count")]})
    );
    assert_eq!(
        query["having"],
        json!({"type": "filter", "finalize": true, "filter": {"type": "and", "fields": [
            {"type": "range", "column": "a3", "matchValueType": "LONG", "lower": 1, "lowerOpen": true},
            {"type": "range", "column": "a0", "matchValueType": "DOUBLE", "upper": 100.5, "upperOpen": true},
        ]}})
    );
    assert_eq!(
        query["limitSpec"],
        json!({"type": "default", "columns": [
            {"dimension": "a0", "direction": "descending", "dimensionOrder": {"type": "numeric"}}], "offset": 1, "limit": 5})
    );
}
