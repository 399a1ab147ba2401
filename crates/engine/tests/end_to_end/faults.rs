//! Statements that fail leave the table as it was, and say why.

use std::time::{Duration, Instant};

use henge_engine::{FaultCode, PlanKind};
use henge_sql::SqlRequest;
use serde_json::{Value, json};

use crate::support::{VISIT_COLUMNS, World, inline, load_visits, no_fail_points, visits};

async fn count(world: &World) -> Vec<Vec<Value>> {
    world.rows(r#"SELECT COUNT(*), SUM("n") FROM "v""#).await
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_statements_change_nothing() {
    let _alone = no_fail_points().await;
    let world = World::new().await;
    load_visits(&world, "v").await;
    let before = count(&world).await;
    let (segments, select) = (
        world.files("segments"),
        format!("SELECT {VISIT_COLUMNS} FROM {}", visits()),
    );
    let no_time = inline(&[json!({"k": "a"})], r#""t" VARCHAR, "k" VARCHAR"#);
    let cases: Vec<(String, Value, FaultCode)> = vec![
        (
            format!(
                r#"REPLACE INTO "v" OVERWRITE ALL SELECT TIME_PARSE("t") AS "__time", "k" FROM {no_time} PARTITIONED BY DAY"#
            ),
            json!({}),
            FaultCode::InsertTimeNull,
        ),
        (
            format!(
                r#"REPLACE INTO "v" OVERWRITE WHERE "__time" >= TIMESTAMP '2015-01-01' AND "__time" < TIMESTAMP '2015-01-02'
                   {select} PARTITIONED BY DAY"#
            ),
            json!({}),
            FaultCode::InsertTimeOutOfBounds,
        ),
        (
            format!(r#"INSERT INTO "v" {select} WHERE "n" > 100 PARTITIONED BY DAY"#),
            json!({"failOnEmptyInsert": true}),
            FaultCode::InsertCannotBeEmpty,
        ),
        (
            format!(r#"REPLACE INTO "v" OVERWRITE ALL {select} PARTITIONED BY DAY CLUSTERED BY "city""#),
            json!({"rowsPerSegment": 1, "maxNumSegments": 1}),
            FaultCode::TooManySegmentsInTimeChunk,
        ),
        (
            format!(r#"REPLACE INTO "v" OVERWRITE ALL {select} PARTITIONED BY DAY CLUSTERED BY "city""#),
            json!({"rowsPerSegment": 1, "maxPartitions": 2}),
            FaultCode::TooManyPartitions,
        ),
        (
            format!(r#"REPLACE INTO "v" OVERWRITE ALL {select} PARTITIONED BY DAY CLUSTERED BY "city", "country""#),
            json!({"maxClusteredByColumns": 2}),
            FaultCode::TooManyClusteredByColumns,
        ),
        (
            format!(r#"INSERT INTO "v" {select} PARTITIONED BY HOUR"#),
            json!({}),
            FaultCode::InsertCannotAllocateSegment,
        ),
    ];
    for (sql, context, code) in cases {
        let fault = world.task_with(&sql, context).await.fault();
        assert_eq!(fault.code, code, "{fault}");
        assert_eq!(count(&world).await, before, "after {fault}");
        assert_eq!(world.files("segments"), segments, "after {fault}");
        assert!(world.files("tmp").is_empty(), "after {fault}: {:?}", world.files("tmp"));
        assert!(world.engine.metadata().locks().is_empty(), "after {fault}");
    }
}

/// A statement that runs for long: a join of everything with everything, several times.
fn endless() -> String {
    let rows: Vec<Value> = (0..300).map(|i| json!({"n": i})).collect();
    let table = inline(&rows, r#""n" BIGINT"#);
    format!(
        r#"SELECT SUM(a."n" * b."n" % 7 + c."n" * d."n") FROM {table} a, {table} b, {table} c, {table} d
           WHERE a."n" + b."n" * c."n" <> d."n""#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_stopped() {
    let _alone = no_fail_points().await;
    let world = World::new().await;
    let started = Instant::now();
    let id = world.submit(&endless(), json!({})).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(world.engine.watch(&id).is_some());
    assert!(world.engine.shutdown_task(&id).await);
    let fault = world.outcome(&id).await.fault();
    assert_eq!(
        (fault.code, &fault.fields["reason"]),
        (FaultCode::Canceled, &json!("TASK_SHUTDOWN"))
    );
    let fault = world.task_with(&endless(), json!({"timeout": 300})).await.fault();
    assert_eq!(
        (fault.code, &fault.fields["reason"]),
        (FaultCode::Canceled, &json!("QUERY_TIMEOUT"))
    );
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(!world.engine.shutdown_task(&id).await, "it has ended");
    assert!(world.engine.wait("nobody").await.is_none() && world.engine.report("nobody").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn interactive_queries_are_stopped() {
    let _alone = no_fail_points().await;
    let world = World::new().await;
    load_visits(&world, "v").await;
    let many = r#"SELECT COUNT(*) FROM "v" a, "v" b, "v" c, "v" d, "v" e, "v" f, "v" g, "v" h
                  WHERE a."n" + b."n" + c."n" + d."n" + e."n" <> f."n" * g."n" * h."n""#;
    let plan = |context: Value| {
        let context = context.as_object().cloned().unwrap_or_default();
        world.engine.plan(
            PlanKind::Interactive,
            SqlRequest {
                sql: many.to_string(),
                context,
                parameters: Vec::new(),
            },
        )
    };
    let planned = plan(json!({"timeout": 200})).await.expect("planned");
    let error = world
        .engine
        .query("late", planned)
        .await
        .map(|_| ())
        .expect_err("timed out");
    assert_eq!(error.to_string(), "Canceled: Query timed out");
    let planned = plan(json!({})).await.expect("planned");
    let engine = world.engine.clone();
    let query = tokio::spawn(async move { engine.query("q1", planned).await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(world.engine.cancel_query("q1"));
    let error = query.await.expect("no panic").expect_err("canceled");
    assert_eq!(error.to_string(), "Canceled: Query canceled");
    assert!(!world.engine.cancel_query("q1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_ends_at_once_while_a_web_server_is_silent() {
    let _alone = no_fail_points().await;
    let world = World::new().await;
    // Takes connections and never says a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let source = format!("http://{}/a.json", listener.local_addr().expect("an address"));
    let sql = format!(
        r#"SELECT COUNT(*) FROM TABLE(EXTERN('{{"type":"http","uris":["{source}"]}}', '{{"type":"json"}}')) EXTEND ("n" BIGINT)"#
    );
    let id = world.submit(&sql, json!({})).await;
    let (silent, _) = tokio::task::spawn_blocking(move || listener.accept().map(|found| (found.0, listener)))
        .await
        .expect("not panicked")
        .expect("asked");
    assert!(world.engine.shutdown_task(&id).await);
    let canceled = Instant::now();
    let fault = world.outcome(&id).await.fault();
    assert_eq!(fault.code, FaultCode::Canceled);
    assert!(canceled.elapsed() < Duration::from_secs(5), "{:?}", canceled.elapsed());
    drop(silent);
}
