//! Conformance: attempts die at every step of read, stage, cut, write, push and publish. A statement either succeeds with every
//! row once, or leaves the table as it was; nothing stays behind either way.

use serde_json::{Value, json};

use crate::support::{Outcome, VISIT_COLUMNS, World, fail_points_alone, load_visits, open, sorted, visits};

/// Steps that another attempt of the task repeats.
const REPEATED: &[&str] = &[
    "task-start",
    "task-batch",
    "task-before-stage",
    "task-before-manifest",
    "exchange-run-write",
    "exchange-run-finish",
    "exchange-run-open",
    "segment-before-write",
    "segment-before-push",
    "storage-push-before-rename",
    "storage-push-after-rename",
    "segment-after-push",
];

/// Steps of the controller, which is never run again.
const FINAL: &[&str] = &[
    "stage-before-cut",
    "ingest-before-plan",
    "ingest-before-publish",
    "publish-before-begin",
    "publish-before-commit",
];

const ALL: &str = r#"SELECT "__time", "country", "city", "n", "x" FROM "v""#;

fn replacement() -> String {
    format!(
        r#"REPLACE INTO "v" OVERWRITE ALL SELECT TIME_PARSE("t") AS "__time", "country", "city", "n" * 10 AS "n", "x"
           FROM {} PARTITIONED BY DAY CLUSTERED BY "country", "city""#,
        visits()
    )
}

fn append() -> String {
    format!(
        r#"INSERT INTO "v" SELECT {VISIT_COLUMNS} FROM {} PARTITIONED BY DAY CLUSTERED BY "country""#,
        visits()
    )
}

async fn rows(world: &World) -> Vec<Vec<Value>> {
    sorted(world.rows(ALL).await)
}

/// Every segment file belongs to a segment that is published, or was until a moment ago.
async fn no_orphans(world: &World, what: &str) {
    assert!(world.files("tmp").is_empty(), "{what}: {:?}", world.files("tmp"));
    assert!(world.engine.metadata().locks().is_empty(), "{what}");
    let keep = world.engine.metadata().load_specs().await.expect("listed");
    let keep: Vec<String> = keep
        .iter()
        .filter_map(|spec| spec["path"].as_str().map(str::to_string))
        .collect();
    for file in world.files("segments") {
        // Files of replaced segments may go while they are looked at.
        let Ok(file) = file.canonicalize() else { continue };
        let known = keep.iter().any(|path| file.starts_with(path));
        assert!(known, "{what}: {} is nobody's", file.display());
    }
}

async fn run(world: &World, sql: &str, point: &str, action: &str) -> Outcome {
    // The exchange's points say what they are given.
    let action = action.replace("return", &format!("return({point})"));
    fail::cfg(point, &action).expect("a fail point");
    let outcome = world.task_with(sql, json!({"rowsPerSegment": 2})).await;
    fail::remove(point);
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_dies_once_is_repeated() {
    let _alone = fail_points_alone().await;
    let world = World::new().await;
    load_visits(&world, "v").await;
    let original = rows(&world).await;
    let replaced: Vec<Vec<Value>> = {
        let tenfold = |row: &Vec<Value>| {
            let mut row = row.clone();
            row[3] = row[3].as_i64().map_or(Value::Null, |n| json!(n * 10));
            row
        };
        sorted(original.iter().map(tenfold).collect())
    };
    for point in REPEATED {
        let report = run(&world, &replacement(), point, "1*return->off").await.succeeded();
        assert_eq!(report.rows_published, Some(10), "{point}");
        assert_eq!(rows(&world).await, replaced, "{point}");
        no_orphans(&world, point).await;
        load_visits(&world, "v").await;
        assert_eq!(rows(&world).await, original, "{point}");
    }
    for point in REPEATED {
        let before = world.rows(r#"SELECT COUNT(*) FROM "v""#).await[0][0]
            .as_i64()
            .unwrap_or(0);
        run(&world, &append(), point, "1*return->off").await.succeeded();
        assert_eq!(
            world.rows(r#"SELECT COUNT(*) FROM "v""#).await,
            [[json!(before + 10)]],
            "{point}"
        );
        no_orphans(&world, point).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_always_dies_leaves_the_table_as_it_was() {
    let _alone = fail_points_alone().await;
    let world = World::new().await;
    load_visits(&world, "v").await;
    let original = rows(&world).await;
    for sql in [replacement(), append()] {
        for point in REPEATED.iter().chain(FINAL) {
            let fault = run(&world, &sql, point, "return").await.fault();
            assert!(fault.to_string().contains(point), "{fault}");
            assert_eq!(rows(&world).await, original, "{point}");
            no_orphans(&world, point).await;
        }
    }
    run(&world, &replacement(), "nowhere", "off").await.succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_was_committed_is_a_success() {
    let _alone = fail_points_alone().await;
    let world = World::new().await;
    load_visits(&world, "v").await;
    let report = run(&world, &replacement(), "publish-after-commit", "return")
        .await
        .succeeded();
    assert_eq!(report.rows_published, Some(10));
    assert_eq!(
        world.rows(r#"SELECT COUNT(*), SUM("n") FROM "v""#).await,
        [[json!(10), json!(450)]]
    );
    no_orphans(&world, "publish-after-commit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_in_the_middle_leaves_the_table_as_it_was() {
    let _alone = fail_points_alone().await;
    let world = World::new().await;
    load_visits(&world, "v").await;
    let original = rows(&world).await;
    // The task hangs where its segments are pushed and not published; then the data folder is opened by another process, as
    // far as a copy of the folder can play one.
    fail::cfg("ingest-before-publish", "pause").expect("a fail point");
    let id = world.submit(&replacement(), json!({"rowsPerSegment": 2})).await;
    loop {
        let pushed = world.engine.report(&id).await.and_then(|report| {
            report
                .counters
                .get(&1)?
                .get(&0)?
                .segment_generation
                .as_ref()
                .map(|progress| progress.rows_pushed)
        });
        if pushed == Some(10) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let copy = tempfile::TempDir::new().expect("a folder");
    copy_dir(world.dir.path(), copy.path());
    fail::remove("ingest-before-publish");
    world.outcome(&id).await.succeeded();
    let again = World {
        engine: open(copy.path(), 256 << 20, 2).await,
        dir: copy,
    };
    assert_eq!(rows(&again).await, original);
    no_orphans(&again, "after the restart").await;
    let fault = again.outcome(&id).await.fault();
    assert!(!fault.to_string().is_empty());
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}
