//! The catalog: entries are kept and judged, and ingestion does what they say.

use std::time::Duration;

use serde_json::{Value, json};

use crate::replay::Replay;

/// Runs a statement as a task and gives its status.
async fn load(replay: &Replay, statement: &str) -> Value {
    let (status, accepted) = replay
        .send("POST", "/druid/v2/sql/task", Some(json!({"query": statement})))
        .await;
    assert_eq!(status, 202, "{accepted}");
    let path = format!(
        "/druid/indexer/v1/task/{}/status",
        accepted["taskId"].as_str().expect("an id")
    );
    loop {
        let (_, answer) = replay.send("GET", &path, None).await;
        if answer["status"]["status"] != "RUNNING" {
            return answer["status"].clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const TABLES: &str = "/druid/coordinator/v1/catalog/schemas/druid/tables";

fn entry(aggregator: &Value) -> Value {
    json!({
        "type": "datasource",
        "properties": {
            "segmentGranularity": "P1D",
            "projections": [{"spec": {
                "type": "aggregate",
                "name": "hourly",
                "virtualColumns": [{"type": "expression", "name": "__gran", "expression": "timestamp_floor(__time,'PT1H',null,null)",
                                    "outputType": "LONG"}],
                "groupingColumns": [{"type": "long", "name": "__gran"}, {"type": "string", "name": "city"}],
                "aggregators": [{"type": "count", "name": "rows"}, aggregator,
                                {"type": "HLLSketchBuild", "name": "cities", "fieldName": "city"}],
            }}],
        },
    })
}

const ROWS: &str = "SELECT MILLIS_TO_TIMESTAMP(t) AS __time, city, n FROM (VALUES (0, 'a', 1), (60000, 'a', 2), (3600000, 'b', 3), \
                    (86400000, 'b', 4)) AS v (t, city, n)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingestion_follows_the_catalog() {
    let replay = Replay::start().await;
    let statement = format!("REPLACE INTO cities OVERWRITE ALL {ROWS} CLUSTERED BY city");
    let (status, refusal) = replay
        .send("POST", "/druid/v2/sql/task", Some(json!({"query": statement})))
        .await;
    assert_eq!(status, 400);
    assert!(
        refusal.to_string().contains("CLUSTERED BY found before PARTITIONED BY"),
        "{refusal}"
    );
    let without = json!({"query": format!("REPLACE INTO cities OVERWRITE ALL {ROWS}")});
    let (_, refusal) = replay.send("POST", "/druid/v2/sql/task", Some(without)).await;
    assert!(refusal.to_string().contains("requires a PARTITIONED BY"), "{refusal}");

    let table = format!("{TABLES}/cities");
    let (status, absent) = replay.send("GET", &table, None).await;
    assert_eq!((status, &absent["error"]), (404, &json!("Not found")));
    let sum = json!({"type": "longSum", "name": "n_sum", "fieldName": "n"});
    let (status, created) = replay.send("POST", &table, Some(entry(&sum))).await;
    assert_eq!(status, 200, "{created}");
    let version = created["version"].as_i64().expect("a version");
    let (_, kept) = replay.send("GET", &table, None).await;
    assert_eq!(kept["spec"], entry(&sum));
    assert_eq!(kept["id"], json!({"schema": "druid", "name": "cities"}));
    assert_eq!(replay.send("GET", TABLES, None).await, (200, json!(["cities"])));

    let done = load(&replay, &statement).await;
    assert_eq!(done["status"], "SUCCESS", "{done}");
    let query = json!({"query": "SELECT \"start\", num_rows, projections FROM sys.segments WHERE datasource = 'cities' ORDER BY 1",
                       "resultFormat": "array"});
    let (_, segments) = replay.send("POST", "/druid/v2/sql", Some(query)).await;
    assert_eq!(
        segments,
        json!([
            ["1970-01-01T00:00:00.000Z", 3, "[\"hourly\"]"],
            ["1970-01-02T00:00:00.000Z", 1, "[\"hourly\"]"]
        ])
    );
    let folder = replay.stop().await;
    let mut projections = Vec::new();
    for file in walk(folder.path()).iter().filter(|file| file.ends_with("00000.smoosh")) {
        // The metadata of a segment is plain JSON.
        let bytes = std::fs::read(file).expect("a file");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let rows = text.split("\"numRows\":").nth(1).expect("a projection");
        projections.push(rows.split('}').next().expect("a number").to_owned());
    }
    projections.sort_unstable();
    assert_eq!(projections, ["1", "2"]);
    assert!(version > 0);
}

/// Lists all files of a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_judged() {
    let replay = Replay::start().await;
    let table = format!("{TABLES}/t");
    let sum = json!({"type": "longSum", "name": "n_sum", "fieldName": "n"});
    let (_, created) = replay.send("POST", &table, Some(entry(&sum))).await;
    let (status, twice) = replay.send("POST", &table, Some(entry(&sum))).await;
    assert_eq!((status, &twice["error"]), (400, &json!("Already exists")));
    let (status, stale) = replay
        .send("POST", &format!("{table}?version=1"), Some(entry(&sum)))
        .await;
    assert_eq!((status, &stale["error"]), (404, &json!("Not found")));
    let (status, newer) = replay
        .send(
            "POST",
            &format!("{table}?version={}", created["version"]),
            Some(entry(&sum)),
        )
        .await;
    assert_eq!(status, 200);
    assert!(newer["version"].as_i64() > created["version"].as_i64());
    for (wrong, message) in [
        (json!({"properties": {}}), "must include a table type"),
        (json!({"type": "extern"}), "Cannot create tables of type extern"),
        (
            json!({"type": "datasource", "properties": {"segmentGranularity": "often"}}),
            "found \"often\"",
        ),
        (
            json!({"type": "datasource", "properties": {"projections": [{"spec": {"name": "__x"}}]}}),
            "reserved name",
        ),
        (
            json!({"type": "datasource", "properties": {"projections": [{}]}}),
            "a projection must be",
        ),
    ] {
        let (status, refusal) = replay
            .send("POST", &format!("{table}?overwrite=true"), Some(wrong))
            .await;
        assert_eq!((status, &refusal["error"]), (400, &json!("Invalid")));
        let said = refusal["errorMessage"].as_str().expect("a message");
        assert!(said.contains(message), "[{message}] is not in {said}");
    }
    let other = "/druid/coordinator/v1/catalog/schemas/sys/tables/segments";
    assert_eq!(
        replay.send("POST", other, Some(json!({"type": "datasource"}))).await.0,
        400
    );

    // A projection of columns that the rows do not have fails the statement, which says why.
    let sketch = json!({"type": "longSum", "name": "m", "fieldName": "nothing"});
    let (status, _) = replay
        .send("POST", &format!("{table}?overwrite=true"), Some(entry(&sketch)))
        .await;
    assert_eq!(status, 200);
    let failed = load(&replay, &format!("REPLACE INTO t OVERWRITE ALL {ROWS}")).await;
    assert_eq!(failed["status"], "FAILED");
    assert!(
        failed["errorMsg"]
            .as_str()
            .expect("a message")
            .contains("projection[hourly]"),
        "{failed}"
    );

    assert_eq!(replay.send("DELETE", &table, None).await.0, 200);
    assert_eq!(replay.send("DELETE", &table, None).await.0, 404);
    assert_eq!(
        replay
            .send("GET", "/druid/coordinator/v1/catalog/schemas?format=metadata", None)
            .await,
        (200, json!([]))
    );
    replay.stop().await;
}
