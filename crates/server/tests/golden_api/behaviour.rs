//! What recorded exchanges cannot show: cancelling, time limits, sizes, connections.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
