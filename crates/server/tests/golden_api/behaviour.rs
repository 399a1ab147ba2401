//! What recorded exchanges cannot show: cancelling, time limits, sizes, connections.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::exchange::Exchange;
use crate::golden;
use crate::replay::Replay;

/// A statement that runs for long.
fn endless() -> String {
    let ten = "(VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9),(10))";
    let tables: Vec<String> = (0..9).map(|i| format!("{ten} AS t{i}(c{i})")).collect();
    let sum: Vec<String> = (0..9).map(|i| format!("c{i}")).collect();
    format!("SELECT SUM({}) FROM {}", sum.join(" * "), tables.join(" CROSS JOIN "))
}

async fn ask(replay: &Replay, body: Value) -> (u16, Value) {
    let answer = replay
        .client
        .post(format!("{}/druid/v2/sql", replay.url))
        .header("Content-Type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .expect("an answer");
    let status = answer.status().as_u16();
    let bytes = answer.bytes().await.expect("a body");
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_end_when_they_are_told_to() {
    let replay = Replay::start().await;

    let started = Instant::now();
    let (status, body) = ask(&replay, json!({"query": endless(), "context": {"timeout": 300}})).await;
    assert_eq!(
        (status, &body["error"], &body["category"]),
        (504, &json!("Query timeout"), &json!("TIMEOUT")),
        "{body}"
    );
    assert!(started.elapsed() < Duration::from_secs(20), "a timeout is kept");

    let cancel = async {
        // Until the query is known, there is nothing to cancel.
        loop {
            let answer = replay
                .client
                .delete(format!("{}/druid/v2/sql/long", replay.url))
                .send()
                .await
                .expect("an answer");
            if answer.status().as_u16() == 202 {
                return;
            }
            assert_eq!(answer.status().as_u16(), 404);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let asked = ask(&replay, json!({"query": endless(), "context": {"sqlQueryId": "long"}}));
    let ((status, body), ()) = tokio::join!(asked, cancel);
    assert_eq!((status, &body["error"]), (500, &json!("Query cancelled")), "{body}");
    assert_eq!(body["errorMessage"], "Task was cancelled.");
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_bytes_are_refused_within_limits() {
    let replay = Replay::start().await;
    let address = replay.url.strip_prefix("http://").expect("a URL").to_string();

    // A head that never ends is cut.
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("a connection");
    stream
        .write_all(b"GET /status HTTP/1.1\r\nHost: x\r\n")
        .await
        .expect("a begin");
    let line = [b"X-A: ".as_slice(), &[b'a'; 1000], b"\r\n"].concat();
    for _ in 0..200 {
        if stream.write_all(&line).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
        .await
        .expect("an end");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431") || answer.starts_with(b"HTTP/1.1 400"));

    // One connection answers good requests after bad ones, also of HTTP/1.0 kind.
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("a connection");
    stream
        .write_all(b"POST /druid/v2/sql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{GET /status/health/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .expect("two requests");
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
        .await
        .expect("an end")
        .expect("bytes");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("HTTP/1.1 200") && answer.ends_with("true"),
        "{answer}"
    );

    // An announced body beyond the limit is not read.
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("a connection");
    stream
        .write_all(b"POST /druid/v2/sql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{")
        .await
        .expect("a request");
    let mut begin = [0; 12];
    tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut begin))
        .await
        .expect("an answer")
        .expect("bytes");
    assert_eq!(&begin, b"HTTP/1.1 413");
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_are_marked_and_killed() {
    let mut replay = Replay::start().await;
    let exchanges = Exchange::read_all(&golden());
    replay.prepare(&exchanges).await;
    let count = async |replay: &Replay| {
        let (status, rows) = ask(
            replay,
            json!({"query": "SELECT COUNT(*) AS c FROM sys.segments WHERE datasource = 'api_base'"}),
        )
        .await;
        assert_eq!(status, 200, "{rows}");
        rows[0]["c"].as_u64().expect("a count")
    };
    let base = "/druid/indexer/v1/datasources/api_base";
    let old = "/druid/coordinator/v1/datasources/api_base";
    let changed = |count: u64| json!({"numChangedSegments": count, "segmentStateChanged": count > 0});
    let all = count(&replay).await;
    assert_eq!(all, 4);

    let day = json!({"interval": "2015-01-04/2015-01-05"});
    let ok = |count| (200, changed(count));
    assert_eq!(
        replay
            .send("POST", &format!("{base}/markUnused"), Some(day.clone()))
            .await,
        ok(1)
    );
    assert_eq!(count(&replay).await, 3);
    assert_eq!(
        replay
            .send("POST", &format!("{old}/markUnused"), Some(day.clone()))
            .await,
        ok(0),
        "again"
    );
    assert_eq!(
        replay
            .send("POST", &format!("{base}/markUsed"), Some(day.clone()))
            .await,
        ok(1)
    );
    let versions = json!({"interval": "2015-01-01/2015-01-05", "versions": ["x"]});
    assert_eq!(
        replay.send("POST", &format!("{base}/markUnused"), Some(versions)).await,
        ok(0)
    );

    let (_, ids) = replay
        .send(
            "GET",
            "/druid/coordinator/v1/metadata/datasources/api_base/segments",
            None,
        )
        .await;
    let id = ids[0].as_str().expect("an id").replace(':', "%3A");
    assert_eq!(
        replay.send("DELETE", &format!("{base}/segments/{id}"), None).await,
        ok(1)
    );
    assert_eq!(replay.send("POST", &format!("{old}/segments/{id}"), None).await, ok(1));
    let both = json!({"interval": "2015-01-01/2015-01-03", "segmentIds": [ids[0]]});
    for (path, body, status, said) in [
        (
            "/markUnused",
            json!({}),
            400,
            "Specify either 'interval' or 'segmentIds', but not both",
        ),
        (
            "/markUnused",
            both,
            400,
            "Specify either 'interval' or 'segmentIds', but not both",
        ),
        (
            "/markUnused",
            json!({"interval": "x"}),
            400,
            "Format requires a '/' separator: x",
        ),
        (
            "/markUsed",
            json!({"segmentIds": ["nope"]}),
            400,
            "Could not parse segment IDs[[nope]] for datasource[api_base]",
        ),
        (
            "/segments/nope",
            json!({}),
            400,
            "Could not parse Segment ID[nope] for DataSource[api_base]",
        ),
    ] {
        let (found, body) = replay.send("POST", &format!("{base}{path}"), Some(body)).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(body.to_string().contains(said), "{path}: {body}");
    }
    assert_eq!(replay.send("POST", &format!("{base}/markUnused"), None).await.0, 415);

    assert_eq!(replay.send("DELETE", base, None).await, ok(all));
    assert_eq!(replay.send("GET", old, None).await.0, 204);
    assert_eq!(replay.send("POST", base, None).await, ok(all));
    assert_eq!(
        replay.send("POST", &format!("{base}/markUnused"), Some(day)).await,
        ok(1)
    );
    // The loads have left unused segments of other days.
    let unused = async |replay: &Replay| {
        let path = "/druid/coordinator/v1/metadata/datasources/api_base/unusedSegments";
        let (_, segments) = replay.send("GET", path, None).await;
        let of_day = |segment: &&Value| {
            let interval = segment.pointer("/dataSegment/interval").and_then(Value::as_str);
            interval.is_some_and(|interval| interval.starts_with("2015-01-04"))
        };
        segments.as_array().expect("a list").iter().filter(of_day).count()
    };
    assert_eq!(unused(&replay).await, 1);
    let kill = format!("{old}/intervals/2015-01-04_2015-01-05");
    assert_eq!(replay.send("DELETE", &kill, None).await.0, 200);
    // Killing waits until nobody reads the segments.
    let deadline = Instant::now() + Duration::from_secs(30);
    while unused(&replay).await > 0 {
        assert!(Instant::now() < deadline, "the unused segment is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(count(&replay).await, 3, "what is used stays");
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_survive_the_process() {
    let replay = Replay::start().await;
    let rules = json!([{"type": "loadForever"}]);
    let coordinator = "/druid/coordinator/v1";
    assert_eq!(
        replay
            .send("POST", &format!("{coordinator}/rules/t"), Some(rules))
            .await
            .0,
        200
    );
    let config = json!({"maxSegmentsToMove": 7});
    assert_eq!(
        replay
            .send("POST", &format!("{coordinator}/config"), Some(config))
            .await
            .0,
        200
    );
    let replay = replay.again().await;
    let (_, rules) = replay.send("GET", &format!("{coordinator}/rules/t"), None).await;
    assert_eq!(rules[0]["type"], "loadForever");
    let (_, config) = replay.send("GET", &format!("{coordinator}/config"), None).await;
    assert_eq!(
        (&config["maxSegmentsToMove"], &config["replicantLifetime"]),
        (&json!(7), &json!(15))
    );
    let (_, history) = replay
        .send("GET", &format!("{coordinator}/rules/t/history"), None)
        .await;
    assert_eq!(history.as_array().map(Vec::len), Some(1));
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_ends_its_task() {
    let replay = Replay::start().await;
    let (status, body) = replay
        .send("POST", "/druid/v2/sql/task", Some(json!({"query": endless()})))
        .await;
    assert_eq!(status, 202, "{body}");
    let id = body["taskId"].as_str().expect("an id").to_string();
    let worker = format!("/druid/indexer/v1/task/{id}-worker0_0");
    // Until the task has started, there is no worker.
    let payload = loop {
        let (status, body) = replay.send("GET", &worker, None).await;
        if status == 200 {
            break body["payload"].clone();
        }
        assert_eq!(status, 404, "{body}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(
        (&payload["type"], &payload["controllerTaskId"]),
        (&json!("query_worker"), &json!(id))
    );
    let (_, status) = replay.send("GET", &format!("{worker}/status"), None).await;
    assert_eq!(
        (&status["status"]["status"], &status["status"]["type"]),
        (&json!("RUNNING"), &json!("query_worker"))
    );
    let started = Instant::now();
    assert_eq!(replay.send("POST", &format!("{worker}/shutdown"), None).await.0, 200);
    loop {
        let (_, status) = replay
            .send("GET", &format!("/druid/indexer/v1/task/{id}/status"), None)
            .await;
        if status["status"]["status"] == "FAILED" {
            let said = status["status"]["errorMsg"].as_str().expect("a reason");
            assert_eq!(
                said,
                format!("WorkerFailed: Worker[{id}-worker0_0] failed: Shutdown request from user")
            );
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "a stopped task ends: {status}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_are_seen_by_the_next_query_and_after_a_restart() {
    let replay = Replay::start().await;
    let config = "/druid/coordinator/v1/lookups/config";
    let lookup = |version: &str, name: &str| {
        json!({"version": version,
               "lookupExtractorFactory": {"type": "map", "map": {"AU": name, "FR": "France", "XX": null}}})
    };
    let asked = json!({"query": "SELECT LOOKUP(c, 'countries') AS l, v FROM (VALUES ('AU'), ('FR'), ('XX')) AS t(c) \
                                 LEFT JOIN lookup.countries ON k = c ORDER BY c"});
    let (status, body) = ask(&replay, asked.clone()).await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(replay.send("POST", config, Some(json!({}))).await.0, 202);
    let path = format!("{config}/__default/countries");
    assert_eq!(replay.send("POST", &path, Some(lookup("v1", "Australia"))).await.0, 202);
    let answer = |name: &str| json!([{"l": name, "v": name}, {"l": "France", "v": "France"}, {"l": null, "v": null}]);
    assert_eq!(ask(&replay, asked.clone()).await, (200, answer("Australia")));
    assert_eq!(replay.send("POST", &path, Some(lookup("v2", "Oz"))).await.0, 202);
    assert_eq!(ask(&replay, asked.clone()).await, (200, answer("Oz")));

    let replay = replay.again().await;
    assert_eq!(
        ask(&replay, asked.clone()).await,
        (200, answer("Oz")),
        "after a restart"
    );
    assert_eq!(replay.send("DELETE", &path, None).await.0, 202);
    let (status, body) = ask(&replay, asked).await;
    assert_eq!(status, 400, "{body}");

    // Of many that are set at once none is lost.
    let sent = (0..16).map(|n| {
        let (replay, path) = (&replay, format!("{config}/__default/l{n}"));
        async move { replay.send("POST", &path, Some(lookup("v1", "x"))).await.0 }
    });
    assert!(
        futures::future::join_all(sent)
            .await
            .iter()
            .all(|status| *status == 202)
    );
    let (_, names) = replay.send("GET", &format!("{config}/__default"), None).await;
    assert_eq!(names.as_array().map(Vec::len), Some(16), "{names}");
    replay.stop().await;
}
