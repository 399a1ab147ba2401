use henge_sql::QueryContext;

use super::*;

fn settings() -> TaskSettings {
    TaskSettings::read(&QueryContext::default()).expect("no context is a context")
}

fn graph(query: Value, destination: Destination) -> Option<Vec<StageDefinition>> {
    let native = json!([{"query": query, "columnMappings": []}]);
    stages(&native, destination, &settings(), "query-x")
}

fn scan(members: Value) -> Value {
    let mut query = json!({
        "queryType": "scan",
        "dataSource": {"type": "table", "name": "t"},
        "intervals": {"type": "intervals", "intervals": ["2015-01-01/2015-01-02"]},
        "columns": ["a", "b"],
        "columnTypes": ["LONG", "STRING"],
    });
    merge(&mut query, members);
    query
}

fn group_by(members: Value) -> Value {
    let mut query = json!({
        "queryType": "groupBy",
        "dataSource": {"type": "table", "name": "t"},
        "dimensions": [{"type": "default", "dimension": "a", "outputName": "d0", "outputType": "STRING"}],
        "aggregations": [
            {"type": "count", "name": "a0"},
            {"type": "cardinality", "name": "a1", "fields": [], "round": true},
        ],
        "limitSpec": {"type": "NoopLimitSpec"},
    });
    merge(&mut query, members);
    query
}

fn merge(into: &mut Value, members: Value) {
    let (Value::Object(into), Value::Object(members)) = (into, members) else {
        panic!("queries are objects");
    };
    into.extend(members);
}

/// Words a stage: processor, signature, shuffle.
fn worded(stage: &StageDefinition) -> String {
    let key = |key: &ClusterBy| {
        let column = |column: &KeyColumn| format!("{}{}", if column.descending { "-" } else { "" }, column.name);
        let columns: Vec<String> = key.columns.iter().map(column).collect();
        format!("{}/{}", columns.join(" "), key.bucket_by_count)
    };
    let shuffle = match &stage.shuffle {
        None => "keeps".to_string(),
        Some(ShuffleSpec::Mix) => "mix".to_string(),
        Some(ShuffleSpec::Hash { key: columns, .. }) => format!("hash {}", key(columns)),
        Some(ShuffleSpec::MaxCount {
            key: columns,
            partitions,
            limit_hint,
            ..
        }) => format!("max {partitions} {} {limit_hint:?}", key(columns)),
        Some(ShuffleSpec::TargetSize { key: columns, .. }) => format!("size {}", key(columns)),
    };
    let signature: Vec<String> = stage
        .signature
        .iter()
        .map(|(name, kind)| format!("{name}:{kind}"))
        .collect();
    format!("{:?} [{}] {shuffle}", stage.processor, signature.join(" "))
}

fn all_worded(query: Value) -> Vec<String> {
    let stages = graph(query, Destination::Report).expect("known to Druid's planner");
    stages.iter().map(worded).collect()
}

#[test]
fn a_scan_is_one_stage() {
    assert_eq!(
        all_worded(scan(json!({}))),
        ["Scan [__boost:LONG a:LONG b:STRING] max 1 __boost/0 None"]
    );
    assert_eq!(
        all_worded(scan(json!({"orderBy": [{"columnName": "b", "order": "descending"}]}))),
        ["Scan [b:STRING __boost:LONG a:LONG] max 1 -b __boost/0 None"]
    );
    let stages = graph(scan(json!({})), Destination::Report).expect("known");
    let StageInput::Table { intervals, .. } = &stages[0].inputs[0] else {
        panic!("a table is read: {:?}", stages[0].inputs);
    };
    assert_eq!(
        intervals[0].to_string(),
        "2015-01-01T00:00:00.000Z/2015-01-02T00:00:00.000Z"
    );
}

#[test]
fn a_limit_is_a_stage_of_its_own() {
    assert_eq!(
        all_worded(scan(json!({"limit": 2}))),
        [
            "Scan [__boost:LONG a:LONG b:STRING] mix",
            "Limit [__boost:LONG a:LONG b:STRING] max 1 __boost/0 None",
        ]
    );
    assert_eq!(
        all_worded(scan(
            json!({"limit": 3, "offset": 1, "orderBy": [{"columnName": "a", "order": "ascending"}]})
        )),
        [
            "Scan [a:LONG __boost:LONG b:STRING] max 1 a __boost/0 Some(4)",
            "Limit [a:LONG __boost:LONG b:STRING] max 1 a __boost/0 None",
        ]
    );
}

#[test]
fn grouping_keeps_the_order_of_its_keys() {
    assert_eq!(
        all_worded(group_by(json!({}))),
        [
            "GroupByPreShuffle [d0:STRING a0:LONG a1:COMPLEX<hyperUnique>] max 1 d0/0 None",
            "GroupByPostShuffle [d0:STRING a0:LONG a1:LONG] keeps",
        ]
    );
    let ordered = json!({"limitSpec": {
        "type": "default",
        "columns": [{"dimension": "a0", "direction": "descending"}],
        "limit": 2,
    }});
    assert_eq!(
        all_worded(group_by(ordered)),
        [
            "GroupByPreShuffle [d0:STRING a0:LONG a1:COMPLEX<hyperUnique>] max 1 d0/0 None",
            "GroupByPostShuffle [a0:LONG __boost:LONG d0:STRING a1:LONG] max 1 -a0 __boost/0 Some(2)",
            "Limit [a0:LONG __boost:LONG d0:STRING a1:LONG] max 1 -a0 __boost/0 None",
        ]
    );
    assert_eq!(
        all_worded(group_by(json!({"dimensions": []}))),
        [
            "GroupByPreShuffle [a0:LONG a1:COMPLEX<hyperUnique>] mix",
            "GroupByPostShuffle [a0:LONG a1:LONG] mix",
        ]
    );
}

#[test]
fn subqueries_come_first() {
    let inner = group_by(json!({"aggregations": []}));
    let outer = scan(json!({
        "dataSource": {"type": "query", "query": inner},
        "columns": ["d0"],
        "columnTypes": ["STRING"],
    }));
    let stages = graph(outer, Destination::Report).expect("known");
    assert_eq!(stages.len(), 3);
    assert_eq!(stages[2].inputs, [StageInput::Stage(1)]);
    assert_eq!(stages[2].processor_detail["dataSource"], input_number(0));
}

#[test]
fn what_is_not_known_has_no_graph() {
    assert_eq!(graph(json!({"queryType": "timeseries"}), Destination::Report), None);
    assert_eq!(
        graph(scan(json!({"dataSource": {"type": "join"}})), Destination::Report),
        None
    );
    assert_eq!(
        graph(
            group_by(json!({"aggregations": [{"type": "new", "name": "x"}]})),
            Destination::Report
        ),
        None
    );
    let settings = settings();
    assert_eq!(
        stages(&json!("Projection: a"), Destination::Report, &settings, "query-x"),
        None
    );
}

#[test]
fn segments_are_cut_by_time_chunk_and_clustering() {
    let work = SegmentWork {
        rollup: false,
        query_granularity: None,
        datasource: "t".to_string(),
        time: Some(0),
        dimensions: Vec::new(),
        clustered: 0,
        before_time: 0,
        index_spec: None,
        auto_columns: false,
        projections: Vec::new(),
    };
    let destination = Destination::Segments {
        work: &work,
        bucketed: true,
    };
    let query = scan(json!({
        "orderBy": [{"columnName": "b", "order": "ascending"}],
        "filter": {"type": "null", "column": "b"},
        "virtualColumns": [{"type": "expression", "name": "a", "expression": "1", "outputType": "LONG"}],
    }));
    let stages = graph(query, destination).expect("known");
    assert_eq!(
        worded(&stages[0]),
        "Scan [__bucket:LONG b:STRING __boost:LONG a:LONG] size __bucket b __boost/1"
    );
    assert!(stages[0].shuffle_check_multiple_values);
    assert_eq!(worded(&stages[1]), "SegmentGenerator [] keeps");
    assert_eq!(
        stages[1].processor_detail["dataSchema"]["transformSpec"],
        json!({
            "filter": {"type": "null", "column": "b"},
            "transforms": [{"type": "expression", "name": "a", "expression": "1"}],
        })
    );
}
