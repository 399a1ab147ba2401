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
        // Plans of Calcite's own nodes, and the engine that henge does not have.
        if ["native-resources-join", "native-infoschema", "native-legacy", "dart"].contains(&name.as_str()) {
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
    let access = |name: &str| json!({"type": "fieldAccess", "fieldName": name});
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

fn native_query(engine: EngineKind, sql: &str) -> Value {
    let planned = plan(engine, &format!("EXPLAIN PLAN FOR {sql}"), Map::new(), Vec::new()).expect("a plan");
    let native: Value = serde_json::from_str(&planned.explain_row()[0]).expect("a native query");
    native[0]["query"].clone()
}

/// Worded from `DruidQuery.toTimeseriesQuery`, `toTopNQuery`, `toGroupByQuery`, `Filtration.optimize`.
#[test]
fn groups_over_time_first_rows_and_grouping_sets_are_worded() {
    let query = native_query(
        EngineKind::Native,
        "SELECT FLOOR(__time TO DAY), SUM(n) FROM api_base WHERE n > 1 AND country IN ('AU', 'BR') AND n < 9 \
         AND (__time < TIMESTAMP '2015-02-01' OR FLOOR(__time TO MONTH) = TIMESTAMP '2015-03-01') GROUP BY 1 ORDER BY 1 DESC LIMIT 3",
    );
    assert_eq!(query["queryType"], "timeseries");
    assert_eq!(
        (&query["granularity"], &query["descending"], &query["limit"]),
        (&json!("DAY"), &json!(true), &json!(3))
    );
    assert!(query.get("virtualColumns").is_none());
    assert_eq!(query["context"]["timestampResultField"], "d0");
    assert_eq!(query["context"]["skipEmptyBuckets"], true);
    assert_eq!(
        query["intervals"]["intervals"],
        json!([
            "-146136543-09-08T08:23:32.096Z/2015-02-01T00:00:00.000Z",
            "2015-03-01T00:00:00.000Z/2015-04-01T00:00:00.000Z"
        ])
    );
    assert_eq!(
        query["filter"]["fields"],
        json!([
            {"type": "inType", "column": "country", "matchValueType": "STRING", "sortedValues": ["AU", "BR"]},
            {"type": "range", "column": "n", "matchValueType": "LONG", "lower": 1, "lowerOpen": true, "upper": 9, "upperOpen": true},
        ])
    );
    let query = native_query(
        EngineKind::Native,
        "SELECT country, COUNT(*) FROM api_base GROUP BY 1 ORDER BY 2 LIMIT 3",
    );
    assert_eq!(
        query["metric"],
        json!({"type": "inverted", "metric": {"type": "numeric", "metric": "a0"}})
    );
    let by_name = "SELECT country, COUNT(*) FROM api_base GROUP BY 1 ORDER BY 1 LIMIT 3";
    assert_eq!(native_query(EngineKind::Native, by_name)["queryType"], "groupBy");
    let query = native_query(
        EngineKind::Native,
        "SELECT country, city, COUNT(*), GROUPING(country, city) FROM api_base GROUP BY ROLLUP(country, city)",
    );
    assert_eq!(query["subtotalsSpec"], json!([["d0", "d1"], ["d0"], []]));
    assert_eq!(
        query["aggregations"][1],
        json!({"type": "grouping", "name": "a1", "groupings": ["country", "city"]})
    );
}

/// Worded from `Windowing`, `DruidCorrelateUnnestRel` and `DruidJoinQueryRel`.
#[test]
fn windows_unnest_and_queries_of_values_are_worded() {
    let query = native_query(
        EngineKind::Native,
        "SELECT country, SUM(n) OVER (PARTITION BY country ORDER BY n ROWS 1 PRECEDING), LAG(n, 2) OVER (ORDER BY n) + 1 FROM api_base",
    );
    assert_eq!(
        (&query["queryType"], &query["columns"]),
        (&json!("scan"), &json!(["country", "w0", "v0"]))
    );
    assert_eq!(
        query["dataSource"]["query"]["operatorDefinition"],
        json!([
            {"type": "naiveSort", "columns": [{"column": "country", "direction": "ASC"}, {"column": "n", "direction": "ASC"}]},
            {"type": "naivePartition", "partitionColumns": ["country"]},
            {"type": "window", "processor": {
                "type": "framedAgg", "frame": {"type": "rows", "lowerOffset": -1, "upperOffset": 0},
                "aggregations": [{"type": "longSum", "name": "w0", "fieldName": "n"}],
            }},
            {"type": "naiveSort", "columns": [{"column": "n", "direction": "ASC"}]},
            {"type": "naivePartition", "partitionColumns": []},
            {"type": "window", "processor": {"type": "offset", "inputColumn": "n", "outputColumn": "w1", "offset": -2}},
        ])
    );
    let query = native_query(
        EngineKind::Native,
        "SELECT u.tag FROM api_base, UNNEST(MV_TO_ARRAY(mv)) AS u(tag) WHERE u.tag = 'a' AND country = 'AU'",
    );
    assert_eq!(
        query["dataSource"],
        json!({
            "type": "unnest",
            "base": {
                "type": "filter", "base": {"type": "table", "name": "api_base"},
                "filter": {"type": "equals", "column": "country", "matchValueType": "STRING", "matchValue": "AU"},
            },
            "virtualColumn": {"type": "expression", "name": "j0.unnest", "expression": "\"mv\"", "outputType": "STRING"},
            "unnestFilter": {"type": "equals", "column": "j0.unnest", "matchValueType": "STRING", "matchValue": "a"},
        })
    );
    let query = native_query(
        EngineKind::Native,
        "SELECT COUNT(*) FROM api_base WHERE country IN (SELECT city FROM api_base WHERE n = 1)",
    );
    let source = &query["dataSource"];
    assert_eq!(source["condition"], "(\"country\" == \"j0.d0\")");
    assert_eq!(source["right"]["query"]["queryType"], "groupBy");
}

/// Conditions and expressions as a running Druid 38 words them.
#[test]
fn conditions_and_expressions_are_worded_as_recorded() {
    let filter = |condition: &str| {
        let sql = format!("SELECT COUNT(*) FROM api_base WHERE {condition}");
        native_query(EngineKind::Native, &sql)["filter"].clone()
    };
    let equals =
        |value: &str| json!({"type": "equals", "column": "mv", "matchValueType": "STRING", "matchValue": value});
    for (condition, expected) in [
        (
            "REGEXP_LIKE(country, 'a.*')",
            json!({"type": "regex", "dimension": "country", "pattern": "a.*", "extractionFn": null}),
        ),
        (
            "ICONTAINS_STRING(country, 'b')",
            json!({"type": "search", "dimension": "country", "extractionFn": null,
                "query": {"type": "contains", "value": "b", "caseSensitive": false}}),
        ),
        (
            "ARRAY_CONTAINS(tags, 'a')",
            json!({"type": "arrayContainsElement", "column": "tags", "elementMatchValueType": "STRING", "elementMatchValue": "a"}),
        ),
        (
            "MV_CONTAINS(mv, ARRAY['a', 'b'])",
            json!({"type": "and", "fields": [equals("a"), equals("b")]}),
        ),
        (
            "MV_OVERLAP(mv, ARRAY['b', 'a'])",
            json!({"type": "inType", "column": "mv", "matchValueType": "STRING", "sortedValues": ["a", "b"]}),
        ),
        (
            "CAST(n AS VARCHAR) = '5'",
            json!({"type": "equals", "column": "n", "matchValueType": "STRING", "matchValue": "5"}),
        ),
        (
            "country IS NOT NULL AND city IS NULL",
            json!({"type": "and", "fields": [
                {"type": "null", "column": "city"}, {"type": "not", "field": {"type": "null", "column": "country"}},
            ]}),
        ),
        (
            "x < 10",
            json!({"type": "range", "column": "x", "matchValueType": "LONG", "upper": 10, "upperOpen": true}),
        ),
    ] {
        assert_eq!(filter(condition), expected, "{condition}");
    }
    let query = native_query(
        EngineKind::Native,
        "SELECT SUBSTRING(country, 2), country || '-' || city, COALESCE(city, 'x'), -n, SQRT(n), TRIM(city), \
         TIMESTAMPDIFF(DAY, __time, TIMESTAMP '2001-01-01 00:00:00'), MV_LENGTH(MV_FILTER_ONLY(mv, ARRAY['b'])) FROM api_base \
         ORDER BY __time DESC LIMIT 2",
    );
    let worded: Vec<&str> = query["virtualColumns"]
        .as_array()
        .expect("virtual columns")
        .iter()
        .map(|column| column["expression"].as_str().unwrap_or_default())
        .collect();
    let expected = [
        r#"substring("country", 1, -1)"#,
        r#"concat("country",'-',"city")"#,
        r#"nvl("city",'x')"#,
        r#"(- "n")"#,
        r#"pow("n",0.5)"#,
        r#"trim("city",' ')"#,
        r#"div((978307200000 - "__time"),86400000)"#,
        r#"array_length("v8")"#,
        "",
    ];
    assert_eq!(worded, expected);
    assert_eq!(query["virtualColumns"][8]["type"], "mv-filtered");
    assert_eq!(query["order"], "descending");
    assert_eq!(query["columns"][8], "__time");
    let query = native_query(
        EngineKind::Native,
        "SELECT SUM(CASE WHEN city = 'a' THEN n ELSE 0 END), APPROX_QUANTILE_DS(x, 0.9) FROM api_base",
    );
    assert_eq!(query["aggregations"][0]["type"], "filtered");
    assert_eq!(query["aggregations"][1]["name"], "a1:agg");
    assert_eq!(query["postAggregations"][0]["fraction"], json!(0.8999999761581421));
    let query = native_query(
        EngineKind::Native,
        "SELECT n FROM api_base UNION ALL SELECT n FROM api_base",
    );
    assert_eq!(query["dataSource"]["type"], "union");
}
