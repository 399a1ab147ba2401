//! INSERT and REPLACE.

use henge_engine::report::Processor;
use serde_json::{Value, json};

use crate::support::{
    VISIT_COLUMNS, World, inline, inline_text, load_visits, local, no_fail_points, open, sorted, visits,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read() {
    let _alone = no_fail_points().await;
    let world = World::new().await;
    load_visits(&world, "visits").await;
    let read = r#"SELECT "__time", "country", "city", "n", "x" FROM "visits""#;
    let loaded = sorted(world.rows(read).await);
    let source = format!("SELECT {VISIT_COLUMNS} FROM {}", visits());
    assert_eq!(loaded, sorted(world.task_rows(&source).await));
    assert_eq!(loaded.len(), 10);
    assert_eq!(loaded, sorted(world.task_rows(read).await), "the same as a task");
    let sums = world
        .rows(r#"SELECT COUNT(*), SUM("n"), SUM("x"), COUNT("country") FROM "visits""#)
        .await;
    assert_eq!(sums, [[json!(10), json!(45), json!(29.0), json!(9)]]);
    assert!(world.files("tmp").is_empty(), "{:?}", world.files("tmp"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_tells_stages_segments_and_rows() {
    let _alone = no_fail_points().await;
    let world = World::new().await;
    let sql = format!(
        r#"REPLACE INTO "v" OVERWRITE ALL SELECT {VISIT_COLUMNS} FROM {} PARTITIONED BY DAY CLUSTERED BY "country", "city""#,
        visits()
    );
    let report = world.task_with(&sql, json!({"rowsPerSegment": 2})).await.succeeded();
    let processors: Vec<Processor> = report.stages.iter().map(|stage| stage.definition.processor).collect();
    assert_eq!(processors, [Processor::Scan, Processor::SegmentGenerator]);
    let names: Vec<&str> = report.stages[0]
        .definition
        .signature
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names[..4], ["__bucket", "country", "city", "__boost"]);
    assert_eq!(
        report.segment_report.as_ref().map(|it| it.shard_spec.as_str()),
        Some("DimensionRangeShardSpec")
    );
    assert_eq!((report.rows_published, report.segments_published), (Some(10), Some(6)));
    assert_eq!(report.stages[1].partition_count, 6);
    let pushed = report.counters[&1][&0]
        .segment_generation
        .as_ref()
        .map(|progress| progress.rows_pushed);
    assert_eq!(pushed, Some(10));
    let stored = world.engine.report(&report.task_id).await.expect("stored");
    assert_eq!(stored, report);
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_append_and_replaces_replace() {
    let _alone = no_fail_points().await;
    let world = World::new().await;
    let row = |day: u32, k: &str| json!({"t": format!("2020-01-{day:02}"), "k": k});
    let columns = r#""t" VARCHAR, "k" VARCHAR"#;
    let insert = |rows: &[Value]| {
        format!(
            r#"INSERT INTO "t" SELECT TIME_PARSE("t") AS "__time", "k" FROM {} PARTITIONED BY DAY"#,
            inline(rows, columns)
        )
    };
    world.task(&insert(&[row(1, "a"), row(2, "b")])).await.succeeded();
    world.task(&insert(&[row(1, "c")])).await.succeeded();
    let all = r#"SELECT "__time", "k" FROM "t" ORDER BY "__time", "k""#;
    let day = |day: i64| json!(1_577_836_800_000 + (day - 1) * 86_400_000);
    assert_eq!(
        world.rows(all).await,
        [[day(1), json!("a")], [day(1), json!("c")], [day(2), json!("b")]]
    );
    let replace = format!(
        r#"REPLACE INTO "t" OVERWRITE WHERE "__time" >= TIMESTAMP '2020-01-01' AND "__time" < TIMESTAMP '2020-01-03'
           SELECT TIME_PARSE("t") AS "__time", "k" FROM {} PARTITIONED BY DAY"#,
        inline(&[row(1, "z")], columns)
    );
    let report = world.task(&replace).await.succeeded();
    assert_eq!(
        report.segments_published,
        Some(2),
        "a segment, and a tombstone over the second day"
    );
    assert_eq!(world.rows(all).await, [[day(1), json!("z")]]);
    // And the table survives a restart.
    world.engine.shutdown().await;
    let dir = world.dir;
    drop(world.engine);
    let again = World {
        engine: open(dir.path(), 128 << 20, 1).await,
        dir,
    };
    assert_eq!(again.rows(all).await, [[day(1), json!("z")]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_write_is_no_failure() {
    let _alone = no_fail_points().await;
    let world = World::new().await;
    load_visits(&world, "v").await;
    let none = format!(
        r#"SELECT {VISIT_COLUMNS} FROM {} WHERE "n" > 100 PARTITIONED BY DAY"#,
        visits()
    );
    let report = world.task(&format!(r#"INSERT INTO "v" {none}"#)).await.succeeded();
    assert_eq!(report.segments_published, Some(0));
    assert_eq!(world.rows(r#"SELECT COUNT(*) FROM "v""#).await, [[json!(10)]]);
    let report = world
        .task(&format!(r#"REPLACE INTO "v" OVERWRITE ALL {none}"#))
        .await
        .succeeded();
    assert_eq!(
        (report.rows_published, report.segments_published),
        (Some(0), Some(3)),
        "a tombstone a day"
    );
    let unknown = world
        .engine
        .snapshot()
        .datasource("v")
        .map_or(0, |d| d.segments.iter().filter(|s| !s.segment.is_tombstone()).count());
    assert_eq!(unknown, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_text_are_read_in_parts() {
    let _alone = no_fail_points().await;
    let world = World::new().await;
    let path = world.dir.path().join("in.csv");
    let lines: String = (0..20_000)
        .map(|i| format!("{},k{},{}\n", 1_577_836_800_000_i64 + i * 60_000, i % 97, i))
        .collect();
    std::fs::write(&path, format!("t,k,n\n{lines}")).expect("written");
    let table = local(
        &[&path],
        r#"{"type":"csv","findColumnsFromHeader":true}"#,
        r#""t" BIGINT, "k" VARCHAR, "n" BIGINT"#,
    );
    let sql = format!(
        r#"REPLACE INTO "c" OVERWRITE ALL SELECT MILLIS_TO_TIMESTAMP("t") AS "__time", "k", SUM("n") AS "n", COUNT(*) AS "c"
           FROM {table} GROUP BY 1, 2 PARTITIONED BY ALL CLUSTERED BY "k""#
    );
    let report = world.task_with(&sql, json!({"rowsPerSegment": 3000})).await.succeeded();
    assert_eq!(report.rows_published, Some(20_000));
    let input = &report.counters[&0][&0].channels[&henge_engine::counters::Channel::Input(0)];
    assert_eq!(
        (input.rows.clone(), input.files.clone(), input.total_files.clone()),
        (vec![20_000], vec![1], vec![1])
    );
    let sums = world
        .rows(r#"SELECT SUM("n"), SUM("c"), COUNT(DISTINCT "k") FROM "c""#)
        .await;
    assert_eq!(sums, [[json!(199_990_000), json!(20_000), json!(97)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_counted_and_described() {
    let _alone = no_fail_points().await;
    let world = World::new().await;
    let data = "{\"k\":\"a\"}\nnot json\n{\"k\":\"b\"}\nagain not\n";
    let sql = format!(
        r#"SELECT "k" FROM {}"#,
        inline_text(data, r#"{"type":"json"}"#, r#""k" VARCHAR"#)
    );
    let report = world
        .task_with(&sql, json!({"maxParseExceptions": 2}))
        .await
        .succeeded();
    assert_eq!(report.results.as_ref().map(|results| results.rows.len()), Some(2));
    assert_eq!(report.warnings.len(), 2);
    let text = report.warnings[0].fault.message.clone().unwrap_or_default();
    assert!(
        text.contains("Unable to parse row [not json]") && text.contains("Line: 2"),
        "{text}"
    );
    let fault = world.task_with(&sql, json!({"maxParseExceptions": 1})).await.fault();
    assert_eq!(
        fault.to_string(),
        "TooManyWarnings: Too many warnings of type CannotParseExternalData generated (max = 1)"
    );
    let fault = world.task(&sql).await.fault();
    assert!(
        fault
            .to_string()
            .starts_with("CannotParseExternalData: Unable to parse row [not json]"),
        "{fault}"
    );
    world.task_with(&sql, json!({"mode": "nonStrict"})).await.succeeded();
}
