//! Kills a publish at each of its fail points, in this process and by really ending one, and proves that the reopened store
//! shows the old state or the new one. Fail points are global, hence a binary of its own.

use std::path::Path;
use std::process::Command;

use henge_metadata::{
    DataSegment, LockKind, LockRequest, MetadataErrorKind, MetadataStore, Publish, PublishKind, ShardSpec, TaskRecord,
    TaskState, TaskStatus,
};
use henge_time::Interval;

const POINTS: [&str; 3] = ["publish-before-begin", "publish-before-commit", "publish-after-commit"];
const CRASH_POINT: &str = "HENGE_TEST_CRASH_POINT";
const CRASH_STORE: &str = "HENGE_TEST_CRASH_STORE";
const SEGMENTS: u32 = 3;

fn day() -> Interval {
    "2015-01-01/2015-01-02".parse().expect("an interval")
}

/// Takes the lock of a REPLACE and makes its segments.
async fn prepare(store: &MetadataStore, task: &str) -> Publish {
    let request = LockRequest {
        task_id: task.to_string(),
        group_id: task.to_string(),
        datasource: "d".to_string(),
        intervals: vec![day()],
        kind: LockKind::Exclusive,
        priority: LockRequest::SQL_PRIORITY,
    };
    let locks = store.lock_all_or_wait(request).await.expect("locked");
    let segment = |partition_num| DataSegment {
        shard_spec: ShardSpec::Numbered {
            partition_num,
            partitions: SEGMENTS,
        },
        ..DataSegment::tombstone("d", day(), &locks[0].version)
    };
    Publish {
        task_id: task.to_string(),
        datasource: "d".to_string(),
        segments: (0..SEGMENTS).map(segment).collect(),
        mark_unused: Vec::new(),
        kind: PublishKind::Replace,
        retire_overshadowed: true,
    }
}

/// Gives the versions that are visible; a version that shows must show all of its segments.
fn visible(store: &MetadataStore) -> Vec<String> {
    let snapshot = store.snapshot();
    let chunks = snapshot
        .datasource("d")
        .map(|d| d.timeline.chunks().to_vec())
        .unwrap_or_default();
    let whole = |chunk: henge_metadata::VisibleChunk| {
        assert_eq!(chunk.segments.len(), SEGMENTS as usize, "half a publish is visible");
        chunk.version
    };
    chunks.into_iter().map(whole).collect()
}

/// Publishes a first version and gives it.
async fn old_version(store: &MetadataStore) -> String {
    let publish = prepare(store, "old").await;
    let version = publish.segments[0].version.clone();
    store.publish(publish).await.expect("published");
    store.release("old").await.expect("released");
    version
}

async fn check_reopened(path: &Path, point: &str, old: &str) {
    let store = MetadataStore::open(path).await.expect("opens again");
    let shown = visible(&store);
    assert_eq!(shown.len(), 1, "{point}");
    assert_eq!(shown[0] != old, point == "publish-after-commit", "{point}: {shown:?}");
    let unused = store.unused_segments(None, None).await.expect("listed").len();
    assert_eq!(
        unused,
        if point == "publish-after-commit" {
            SEGMENTS as usize
        } else {
            0
        },
        "{point}"
    );
}

#[tokio::test]
async fn a_failing_publish_leaves_the_old_state_or_the_new_one() {
    let scenario = fail::FailScenario::setup();
    for action in ["return", "panic"] {
        for point in POINTS {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("metadata.db");
            let store = MetadataStore::open(&path).await.expect("opens");
            let old = old_version(&store).await;
            let publish = prepare(&store, "new").await;
            fail::cfg(point, action).expect("a fail point");
            let error = store.publish(publish.clone()).await.expect_err(point);
            fail::remove(point);
            let kind = if action == "return" {
                MetadataErrorKind::Injected
            } else {
                MetadataErrorKind::Database
            };
            assert_eq!(error.kind(), kind, "{action} {point}: {error}");
            let shown = visible(&store);
            drop(store);
            check_reopened(&path, point, &old).await;

            // Whoever tries again gets the new state, and no error where it was there already.
            let store = MetadataStore::open(&path).await.expect("opens again");
            assert_eq!(visible(&store), shown, "memory and tables agree after {action} {point}");
            let publish = prepare(&store, "new").await;
            let published = store.publish(publish.clone()).await.expect("published");
            assert_eq!(published.inserted.len(), SEGMENTS as usize);
            assert!(store.publish(publish).await.expect("published").inserted.is_empty());
            assert_ne!(visible(&store), [old]);
        }
    }
    scenario.teardown();
}

#[tokio::test]
async fn a_killed_process_leaves_the_old_state_or_the_new_one() {
    if let (Ok(point), Ok(path)) = (std::env::var(CRASH_POINT), std::env::var(CRASH_STORE)) {
        return die_at(&point, Path::new(&path)).await;
    }
    let scenario = fail::FailScenario::setup();
    for point in POINTS {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metadata.db");
        let store = MetadataStore::open(&path).await.expect("opens");
        let old = old_version(&store).await;
        drop(store);
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "a_killed_process_leaves_the_old_state_or_the_new_one"])
            .env(CRASH_POINT, point)
            .env(CRASH_STORE, &path)
            .output()
            .expect("a process");
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(
            !child.status.success() && child.status.code().is_none(),
            "not killed by a signal: {said}"
        );
        check_task(&path, point).await;
        check_reopened(&path, point, &old).await;
    }
    scenario.teardown();
}

/// Runs in the process that dies: begins a task and aborts inside its publish.
async fn die_at(point: &str, path: &Path) {
    let store = MetadataStore::open(path).await.expect("opens");
    let task = TaskRecord {
        id: "new".to_string(),
        created_date: "2026-01-01T00:00:00.000Z".to_string(),
        datasource: "d".to_string(),
        payload: serde_json::json!({}),
        status: TaskStatus::running("new"),
        task_type: None,
        group_id: None,
    };
    store.insert_task(task).await.expect("inserted");
    let publish = prepare(&store, "new").await;
    fail::cfg_callback(point, || std::process::abort()).expect("a fail point");
    let result = store.publish(publish).await;
    panic!("survived {point}: {result:?}");
}

/// The task that the process was running is failed, and its message says whether its segments are there.
async fn check_task(path: &Path, point: &str) {
    let store = MetadataStore::open(path).await.expect("opens again");
    let recovered = store.recovered_tasks();
    assert_eq!(recovered.len(), 1, "{point}");
    assert_eq!(recovered[0].status.state, TaskState::Failed);
    let message = recovered[0].status.error_msg.clone().unwrap_or_default();
    let published = message.contains("its segments had been published");
    assert_eq!(published, point == "publish-after-commit", "{point}: {message}");
}
