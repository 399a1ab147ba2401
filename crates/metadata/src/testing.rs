//! Stores and values for the tests of this crate.

use henge_time::Interval;

use crate::{
    AllocateRequest, AllocatedSegment, Allocation, BINARY_VERSION, DataSegment, LockKind, LockRequest, MetadataStore,
    Publish, PublishKind, ShardSpec, TaskLock,
};

pub(crate) const DAY: i64 = 86_400_000;

pub(crate) fn days(from: i64, to: i64) -> Interval {
    Interval {
        start_ms: from * DAY,
        end_ms: to * DAY,
    }
}

pub(crate) async fn store() -> (MetadataStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = MetadataStore::open(&folder.path().join("metadata.db"))
        .await
        .expect("opens");
    (store, folder)
}

pub(crate) fn lock_request(task: &str, kind: LockKind, intervals: &[Interval]) -> LockRequest {
    LockRequest {
        task_id: task.to_string(),
        group_id: task.to_string(),
        datasource: "d".to_string(),
        intervals: intervals.to_vec(),
        kind,
        priority: LockRequest::SQL_PRIORITY,
    }
}

pub(crate) async fn lock(store: &MetadataStore, task: &str, kind: LockKind, interval: Interval) -> TaskLock {
    let mut locks = store
        .lock_all_or_wait(lock_request(task, kind, &[interval]))
        .await
        .expect("locked");
    locks.pop().expect("one lock")
}

pub(crate) fn segment(interval: Interval, version: &str, partition_num: u32, partitions: u32) -> DataSegment {
    let shard_spec = ShardSpec::Numbered {
        partition_num,
        partitions,
    };
    DataSegment {
        load_spec: serde_json::json!({"type": "local", "path": format!("/{version}/{partition_num}/index/")}),
        shard_spec,
        binary_version: Some(BINARY_VERSION),
        size: 100,
        total_rows: Some(3),
        ..DataSegment::tombstone("d", interval, version)
    }
}

pub(crate) fn filled(place: &AllocatedSegment) -> DataSegment {
    DataSegment {
        shard_spec: place.shard_spec.clone(),
        ..segment(place.interval, &place.version, place.id().partition, 0)
    }
}

pub(crate) fn publish(task: &str, kind: PublishKind, segments: Vec<DataSegment>) -> Publish {
    Publish {
        task_id: task.to_string(),
        datasource: "d".to_string(),
        segments,
        mark_unused: Vec::new(),
        kind,
        retire_overshadowed: false,
    }
}

pub(crate) fn allocate_request(task: &str, bucket: Interval, previous: Option<&AllocatedSegment>) -> AllocateRequest {
    AllocateRequest {
        task_id: task.to_string(),
        group_id: task.to_string(),
        datasource: "d".to_string(),
        bucket,
        sequence_name: task.to_string(),
        previous_segment_id: previous.map(|p| p.id().to_string()),
        kind: LockKind::Shared,
        priority: LockRequest::SQL_PRIORITY,
    }
}

pub(crate) async fn allocate(store: &MetadataStore, request: AllocateRequest) -> AllocatedSegment {
    match store.allocate_append(request).await.expect("an answer") {
        Allocation::Allocated(place) => place,
        Allocation::Refused { allocated_interval } => panic!("refused: {allocated_interval:?}"),
    }
}

/// Runs a REPLACE of the days that writes one segment a day.
pub(crate) async fn replace(store: &MetadataStore, task: &str, intervals: &[Interval]) -> Vec<DataSegment> {
    let request = lock_request(task, LockKind::Exclusive, intervals);
    let locks = store.lock_all_or_wait(request).await.expect("locked");
    let segments: Vec<_> = locks.iter().map(|l| segment(l.interval, &l.version, 0, 1)).collect();
    store
        .publish(publish(task, PublishKind::Replace, segments.clone()))
        .await
        .expect("published");
    store.release(task).await.expect("released");
    segments
}

/// Gives the visible segments as `day:version-place` where versions are numbered in the order of their ages.
pub(crate) fn visible(store: &MetadataStore) -> Vec<String> {
    let snapshot = store.snapshot();
    let Some(datasource) = snapshot.datasource("d") else {
        return Vec::new();
    };
    let visible = datasource.timeline.visible();
    visible
        .iter()
        .map(|(interval, s)| format!("{interval} {}", s.id()))
        .collect()
}
