//! What a crash or a full disk in the middle of a push leaves behind. Fail points are global, hence a binary of its own.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use henge_segment::{ColumnSchema, ColumnType, IndexSpec, RowSelection, SegmentSchema, SegmentWriter};
use henge_storage::{DeepStorage, LocalDeepStorage, SegmentCache, SegmentPath, StorageErrorKind};

fn path() -> SegmentPath {
    SegmentPath {
        datasource: "wiki".to_string(),
        interval: "2015-01-01/2015-01-02".parse().expect("an interval"),
        version: "2026-01-01T00:00:00.000Z".to_string(),
        partition: 0,
        unique: None,
    }
}

fn finished(folder: &Path, content: &str) -> std::path::PathBuf {
    let local = folder.join("finished");
    fs::create_dir_all(&local).expect("a folder");
    fs::write(local.join("00000.smoosh"), content).expect("a file");
    local
}

#[tokio::test]
async fn a_failed_push_leaves_the_old_segment_or_the_new_one() {
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("segments");
    let storage = LocalDeepStorage::open(&root).expect("opens");
    let place = storage.place(&path()).expect("a place").join("index/00000.smoosh");
    let read = || fs::read_to_string(&place).ok();
    for (point, kind, expected) in [
        ("storage-push-full", StorageErrorKind::Full, None),
        ("storage-push-before-rename", StorageErrorKind::Injected, None),
        ("storage-push-after-rename", StorageErrorKind::Injected, Some("first")),
    ] {
        fail::cfg(point, "return").expect("a fail point");
        let local = finished(folder.path(), "first");
        let error = storage.push(&local, &path()).await.expect_err(point);
        fail::remove(point);
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(read().as_deref(), expected, "{point}");
        assert_eq!(
            fs::read_dir(root.join("intermediate_pushes"))
                .expect("a folder")
                .count(),
            0,
            "{point}"
        );
    }
    fail::cfg("storage-push-before-rename", "panic").expect("a fail point");
    let local = finished(folder.path(), "second");
    assert!(storage.push(&local, &path()).await.is_err());
    fail::remove("storage-push-before-rename");
    assert_eq!(read().as_deref(), Some("first"));
    assert_eq!(
        fs::read_dir(root.join("intermediate_pushes"))
            .expect("a folder")
            .count(),
        1,
        "as after a crash"
    );
    LocalDeepStorage::open(&root).expect("opens again");
    assert_eq!(
        fs::read_dir(root.join("intermediate_pushes"))
            .expect("a folder")
            .count(),
        0
    );
    scenario.teardown();
}

#[tokio::test]
async fn a_full_disk_says_what_to_do() {
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().expect("a folder");
    let storage = LocalDeepStorage::open(folder.path()).expect("opens");
    fail::cfg("storage-push-full", "return").expect("a fail point");
    let local = finished(folder.path(), "rows");
    let error = storage.push(&local, &path()).await.expect_err("full");
    assert!(
        error.to_string().contains("the disk is full, free some space"),
        "{error}"
    );
    assert!(!error.retryable());
    scenario.teardown();
}

#[tokio::test]
async fn the_cache_opens_a_segment_once_and_keeps_its_columns() {
    // Pushing passes the fail points of the other tests.
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().expect("a folder");
    let storage = LocalDeepStorage::open(&folder.path().join("segments")).expect("opens");
    let local = folder.path().join("segment");
    let columns = vec![ColumnSchema::new("n", ColumnType::LONG)];
    let schema = SegmentSchema::new(columns);
    let mut writer = SegmentWriter::create(&local, schema, IndexSpec::default(), path().interval).expect("a writer");
    let fields = vec![
        Field::new("__time", DataType::Int64, false),
        Field::new("n", DataType::Int64, true),
    ];
    let time = path().interval.start_ms;
    let rows: [Arc<dyn arrow::array::Array>; 2] = [
        Arc::new(Int64Array::from(vec![time, time, time + 1])),
        Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), rows.to_vec()).expect("a batch");
    writer.append(&batch).expect("appended");
    let summary = writer.finish().expect("finished");
    let pushed = storage.push(&local, &path()).await.expect("pushed");
    assert_eq!(pushed.size_bytes, summary.size_bytes);

    let cache = SegmentCache::new(Arc::new(storage), 1 << 20);
    let (one, two) = tokio::join!(cache.get("id", &pushed.load_spec), cache.get("id", &pushed.load_spec));
    let (one, two) = (one.expect("opened"), two.expect("opened"));
    assert!(Arc::ptr_eq(&one, &two));
    let column = cache
        .column("id", "n", || one.read("n", RowSelection::All))
        .expect("decoded");
    assert_eq!(
        column.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
        [Some(1), None, Some(3)]
    );
    cache.column("id", "n", || Err("decoded twice")).expect("held");
    assert_eq!((cache.open_segments(), cache.stats().columns), (1, 1));
    cache.remove("id");
    assert_eq!((cache.open_segments(), cache.bytes()), (0, 0));

    let nowhere = serde_json::json!({"type": "local", "path": folder.path().join("nowhere")});
    let error = cache.get("other", &nowhere).await.expect_err("no files");
    assert_eq!(error.kind(), StorageErrorKind::NotFound);
    fs::write(folder.path().join("nowhere"), "no segment").expect("a file");
    let error = cache.get("other", &nowhere).await.expect_err("no segment");
    assert_eq!(error.kind(), StorageErrorKind::Corrupt);
    scenario.teardown();
}
