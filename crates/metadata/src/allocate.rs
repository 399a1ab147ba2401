//! Allocation of segment ids for INSERT (section 9 of the metadata notes; Druid's `segmentAllocate`).
//!
//! 1. The bucket must be free, or held by visible segments of exactly its interval; otherwise the answer is a refusal that
//!    says which interval is in the way.
//! 2. The task takes a SHARED or APPEND lock on the bucket.
//! 3. An id that was allocated for the same sequence and predecessor is given again: retries do not burn ids.
//! 4. Otherwise the next partition number behind committed and pending segments is taken, in the version of the chunk, with
//!    the core count of the chunk; a new chunk starts at partition 0 with core count 0, so that each appended partition is
//!    visible on its own.

use std::collections::HashMap;
use std::sync::Arc;

use henge_time::{Interval, format_millis};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use sqlx::{Row, SqliteConnection};

use crate::error::Action;
use crate::limits::MAX_VERSION_SUFFIXES;
use crate::locks::APPEND_VERSION;
use crate::store::{Inner, MetadataStore, now};
use crate::tasks::json_bytes;
use crate::{
    DataSegment, LockKind, LockRequest, MetadataError, MetadataSnapshot, SegmentId, ShardSpec, TaskLock, VisibleChunk,
};

/// One id that an INSERT needs.
#[derive(Debug, Clone)]
pub struct AllocateRequest {
    /// Task that will publish the segment.
    pub task_id: String,
    /// Group of the task; its own id where it has none.
    pub group_id: String,
    /// Datasource.
    pub datasource: String,
    /// Time chunk: one bucket of PARTITIONED BY.
    pub bucket: Interval,
    /// Names the row of ids; SQL uses the id of the controller task.
    pub sequence_name: String,
    /// Id allocated before in this sequence.
    pub previous_segment_id: Option<String>,
    /// SHARED, or APPEND beside a concurrent REPLACE.
    pub kind: LockKind,
    /// Priority of the task.
    pub priority: i32,
}

/// Place for a segment that is not written yet: the payload of `druid_pendingSegments`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocatedSegment {
    /// Datasource.
    #[serde(rename = "dataSource")]
    pub datasource: String,
    /// Time chunk.
    pub interval: Interval,
    /// Version.
    pub version: String,
    /// Place in the chunk.
    pub shard_spec: ShardSpec,
}

impl AllocatedSegment {
    /// Gives the id.
    pub fn id(&self) -> SegmentId {
        SegmentId {
            datasource: self.datasource.clone(),
            interval: self.interval,
            version: self.version.clone(),
            partition: self.shard_spec.partition_num(),
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Allocation {
    /// The place.
    Allocated(AllocatedSegment),
    /// Existing data is in the way (`InsertCannotAllocateSegment`).
    Refused {
        /// Coarser chunk that holds the bucket; none where the data is finer, or cannot be appended to.
        allocated_interval: Option<Interval>,
    },
}

impl MetadataStore {
    /// Allocates an id, waiting for the lock of its time chunk.
    pub async fn allocate_append(&self, request: AllocateRequest) -> Result<Allocation, MetadataError> {
        if let Fit::Blocked(allocated_interval) = fit(&self.snapshot(), &request) {
            return Ok(Allocation::Refused { allocated_interval });
        }
        let mut locks = self
            .lock_all_or_wait(LockRequest {
                task_id: request.task_id.clone(),
                group_id: request.group_id.clone(),
                datasource: request.datasource.clone(),
                intervals: vec![request.bucket],
                kind: request.kind,
                priority: request.priority,
            })
            .await?;
        let lock = locks
            .pop()
            .ok_or_else(|| MetadataError::Invalid("a lock request was answered with nothing".into()))?;
        let inner = Arc::clone(&self.inner);
        self.detached("allocate a segment", async move {
            let mut writer = inner.writer.lock().await;
            allocate(&inner, &mut writer, &request, &lock).await
        })
        .await
    }
}

/// How a bucket stands to the visible data.
enum Fit {
    /// Nothing is there.
    Free,
    /// One chunk of exactly its interval.
    Chunk(VisibleChunk),
    /// Something else is in the way; with the coarser chunk that holds the bucket, if that is what it is.
    Blocked(Option<Interval>),
}

/// Tells what the bucket would be appended to. Several chunks, or a finer one, cannot contain the bucket; one coarser chunk
/// can, which PARTITIONED BY then refuses.
fn fit(snapshot: &MetadataSnapshot, request: &AllocateRequest) -> Fit {
    let mut chunks = match snapshot.datasource(&request.datasource) {
        Some(datasource) => datasource.timeline.lookup(&request.bucket),
        None => Vec::new(),
    };
    let Some(chunk) = chunks.pop() else {
        return Fit::Free;
    };
    if !chunks.is_empty() || !chunk.true_interval.contains(&request.bucket) {
        return Fit::Blocked(None);
    }
    if chunk.true_interval != request.bucket {
        return Fit::Blocked(Some(chunk.true_interval));
    }
    Fit::Chunk(chunk)
}

/// Finds and stores the place. The caller holds the writer, so the snapshot cannot change meanwhile.
async fn allocate(
    inner: &Inner,
    writer: &mut SqliteConnection,
    request: &AllocateRequest,
    lock: &TaskLock,
) -> Result<Allocation, MetadataError> {
    let action = "allocate a segment";
    let refused = Ok(Allocation::Refused {
        allocated_interval: None,
    });
    if !inner.locks.lock().of_task(&request.task_id).contains(lock) {
        return Err(MetadataError::LockPreempted {
            task_id: request.task_id.clone(),
            datasource: request.datasource.clone(),
            interval: request.bucket,
        });
    }
    let chunk = match fit(&inner.snapshot(), request) {
        Fit::Free => None,
        Fit::Chunk(chunk) => Some(chunk),
        Fit::Blocked(allocated_interval) => return Ok(Allocation::Refused { allocated_interval }),
    };
    let pending = pending_segments(writer, &request.datasource).await?;
    let previous = request.previous_segment_id.as_deref().unwrap_or_default();
    let same = |p: &&Pending| p.sequence_name == request.sequence_name && p.previous_id == previous;
    if let Some(known) = pending.iter().find(same) {
        return match known.place.interval == request.bucket {
            true => Ok(Allocation::Allocated(known.place.clone())),
            false => refused,
        };
    }

    let committed = chunk.as_ref().and_then(|c| last_partition(&c.segments));
    let waiting = pending
        .iter()
        .map(|p| &p.place)
        .filter(|p| p.interval.overlaps(&request.bucket) && shares_partitions(&p.shard_spec))
        .filter(|p| chunk.as_ref().is_none_or(|c| c.version == p.version))
        .max_by(|a, b| (&a.version, a.id().partition).cmp(&(&b.version, b.id().partition)));
    if waiting.is_some_and(|p| p.interval != request.bucket) {
        return refused;
    }
    let core = match committed.map(|c| c.shard_spec.core_partitions()) {
        Some(None) => return refused,
        Some(Some(core)) => core,
        None => 0,
    };
    let last = committed
        .map(|c| c.shard_spec.partition_num())
        .max(waiting.map(|p| p.shard_spec.partition_num()));
    let version = match (&chunk, waiting) {
        (Some(chunk), _) => chunk.version.clone(),
        (None, Some(waiting)) => waiting.version.clone(),
        (None, None) => lock.version.clone(),
    };
    let mut place = AllocatedSegment {
        datasource: request.datasource.clone(),
        interval: request.bucket,
        version,
        shard_spec: ShardSpec::Numbered {
            partition_num: last.map_or(0, |last| last + 1),
            partitions: core,
        },
    };
    avoid_existing_ids(writer, &mut place).await?;
    insert_pending(writer, &place, &request.sequence_name, previous, None, &request.task_id)
        .await
        .action(action)?;
    Ok(Allocation::Allocated(place))
}

/// Tells whether appended segments are numbered together with this one.
fn shares_partitions(spec: &ShardSpec) -> bool {
    !matches!(spec, ShardSpec::NumberedOverwrite { .. })
}

fn last_partition(segments: &[Arc<DataSegment>]) -> Option<&Arc<DataSegment>> {
    let roots = segments.iter().filter(|s| shares_partitions(&s.shard_spec));
    roots.max_by_key(|s| s.shard_spec.partition_num())
}

/// Moves the place behind segments that exist under its version, unused ones included.
async fn avoid_existing_ids(writer: &mut SqliteConnection, place: &mut AllocatedSegment) -> Result<(), MetadataError> {
    let action = "look for unused segments";
    let rows = sqlx::query("SELECT id, payload FROM druid_segments WHERE dataSource = ? AND start = ? AND \"end\" = ?")
        .bind(&place.datasource)
        .bind(format_millis(place.interval.start_ms))
        .bind(format_millis(place.interval.end_ms))
        .fetch_all(writer)
        .await
        .action(action)?;
    let mut last_of_version: HashMap<String, u32> = HashMap::new();
    for row in &rows {
        let segment = crate::store::read_segment(row.try_get(0).action(action)?, row.try_get(1).action(action)?)?;
        if shares_partitions(&segment.shard_spec) {
            let last = last_of_version.entry(segment.version).or_default();
            *last = segment.shard_spec.partition_num().max(*last);
        }
    }
    let ShardSpec::Numbered { partition_num, .. } = &mut place.shard_spec else {
        return Ok(());
    };
    let mut suffixes = 0;
    while let Some(last) = last_of_version.get(&place.version) {
        if *partition_num > 0 {
            *partition_num = (*partition_num).max(last + 1);
            return Ok(());
        }
        if !place.version.starts_with(APPEND_VERSION) || suffixes == MAX_VERSION_SUFFIXES {
            return Err(MetadataError::AlreadyExists {
                what: "segment",
                id: place.id().to_string(),
            });
        }
        place.version.push('S');
        suffixes += 1;
    }
    Ok(())
}

/// A row of `druid_pendingSegments`.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub id: String,
    pub sequence_name: String,
    pub previous_id: String,
    pub task_allocator_id: String,
    pub upgraded_from: Option<String>,
    pub place: AllocatedSegment,
}

/// Reads the pending rows of a datasource; there are few, and eternity does not compare as text.
pub(crate) async fn pending_segments(
    connection: &mut SqliteConnection,
    datasource: &str,
) -> Result<Vec<Pending>, MetadataError> {
    let action = "read the allocated segments";
    let rows = sqlx::query(
        "SELECT id, sequence_name, sequence_prev_id, task_allocator_id, upgraded_from_segment_id, payload \
         FROM druid_pendingSegments WHERE dataSource = ? ORDER BY id",
    )
    .bind(datasource)
    .fetch_all(connection)
    .await
    .action(action)?;
    let mut pending = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: String = row.try_get(0).action(action)?;
        let task_allocator_id: Option<String> = row.try_get(3).action(action)?;
        let payload: &[u8] = row.try_get(5).action(action)?;
        pending.push(Pending {
            sequence_name: row.try_get(1).action(action)?,
            previous_id: row.try_get(2).action(action)?,
            task_allocator_id: task_allocator_id.unwrap_or_default(),
            upgraded_from: row.try_get(4).action(action)?,
            place: serde_json::from_slice(payload).map_err(|source| MetadataError::Corrupt {
                what: "pending segment",
                id: id.clone(),
                source,
            })?,
            id,
        });
    }
    Ok(pending)
}

/// Stores an allocated place.
pub(crate) async fn insert_pending(
    connection: &mut SqliteConnection,
    place: &AllocatedSegment,
    sequence_name: &str,
    previous_id: &str,
    upgraded_from: Option<&str>,
    task_id: &str,
) -> Result<(), sqlx::Error> {
    let payload = json_bytes(place).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    sqlx::query(
        "INSERT INTO druid_pendingSegments (id, dataSource, created_date, start, \"end\", sequence_name, \
         sequence_prev_id, sequence_name_prev_id_sha1, payload, upgraded_from_segment_id, task_allocator_id) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(place.id().to_string())
    .bind(&place.datasource)
    .bind(now())
    .bind(format_millis(place.interval.start_ms))
    .bind(format_millis(place.interval.end_ms))
    .bind(sequence_name)
    .bind(previous_id)
    .bind(sequence_sha1(sequence_name, previous_id, &place.version))
    .bind(payload)
    .bind(upgraded_from)
    .bind(task_id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Hashes what makes an allocation unique, as Druid does where the lineage is checked: upper-case hex SHA-1 of sequence name,
/// 0xFF, previous id, 0xFF, version.
fn sequence_sha1(sequence_name: &str, previous_id: &str, version: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(sequence_name);
    hash.update([0xFF]);
    hash.update(previous_id);
    hash.update([0xFF]);
    hash.update(version);
    hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{allocate, allocate_request, days, filled, lock_request, publish, replace, store, visible};
    use crate::{MetadataStore, PublishKind, SegmentSelection};

    fn numbers(place: &AllocatedSegment) -> (u32, u32) {
        match place.shard_spec {
            ShardSpec::Numbered {
                partition_num,
                partitions,
            } => (partition_num, partitions),
            _ => panic!("an allocation is numbered"),
        }
    }

    async fn refusal(store: &MetadataStore, bucket: Interval) -> Option<Interval> {
        match store
            .allocate_append(allocate_request("x", bucket, None))
            .await
            .expect("an answer")
        {
            Allocation::Refused { allocated_interval } => allocated_interval,
            Allocation::Allocated(place) => panic!("allocated {}", place.id()),
        }
    }

    #[tokio::test]
    async fn new_chunks_start_at_zero_and_grow() {
        let (store, _folder) = store().await;
        let first = allocate(&store, allocate_request("a", days(0, 1), None)).await;
        let second = allocate(&store, allocate_request("a", days(0, 1), Some(&first))).await;
        let third = allocate(&store, allocate_request("a", days(1, 2), Some(&second))).await;
        assert_eq!(
            (numbers(&first), numbers(&second), numbers(&third)),
            ((0, 0), (1, 0), (0, 0))
        );
        assert_eq!(first.version, store.locks_of("a")[0].version);
        assert!(second.version == first.version && third.version > second.version);
        let again = allocate(&store, allocate_request("a", days(0, 1), Some(&first))).await;
        assert_eq!(again, second, "a retry gets the same place");
        let other = allocate(&store, allocate_request("b", days(0, 1), None)).await;
        assert_eq!((numbers(&other), &other.version), ((2, 0), &first.version));

        let segments = vec![filled(&first), filled(&second)];
        store
            .publish(publish("a", PublishKind::Append, segments))
            .await
            .expect("published");
        assert_eq!(visible(&store).len(), 2);
        store.release("a").await.expect("released");
        let after = allocate(&store, allocate_request("c", days(0, 1), None)).await;
        assert_eq!(numbers(&after), (3, 0));
        store.release("b").await.expect("released");
        store.release("c").await.expect("released");
        let mut writer = store.inner.writer.lock().await;
        assert!(pending_segments(&mut writer, "d").await.expect("rows").is_empty());
    }

    #[tokio::test]
    async fn existing_chunks_keep_version_and_core_count() {
        let (store, _folder) = store().await;
        let old = replace(&store, "r", &[days(0, 1)]).await;
        let place = allocate(&store, allocate_request("a", days(0, 1), None)).await;
        assert_eq!((numbers(&place), &place.version), ((1, 1), &old[0].version));
        assert_eq!(
            refusal(
                &store,
                Interval {
                    start_ms: 0,
                    end_ms: 3_600_000
                }
            )
            .await,
            Some(days(0, 1))
        );
        assert_eq!(refusal(&store, days(0, 7)).await, None);
        assert_eq!(refusal(&store, Interval::ETERNITY).await, None);
        assert_eq!(store.locks().len(), 1, "what is refused takes no lock");
    }

    #[tokio::test]
    async fn chunks_of_tombstones_are_appended_beside_them() {
        let (store, _folder) = store().await;
        let request = lock_request("r", LockKind::Exclusive, &[days(0, 1)]);
        let version = store.lock_all_or_wait(request).await.expect("locked")[0]
            .version
            .clone();
        let tombstone = DataSegment::tombstone("d", days(0, 1), &version);
        store
            .publish(publish("r", PublishKind::Replace, vec![tombstone]))
            .await
            .expect("published");
        store.release("r").await.expect("released");
        let place = allocate(&store, allocate_request("a", days(0, 1), None)).await;
        assert_eq!((numbers(&place), &place.version), ((1, 0), &version));
        store
            .publish(publish("a", PublishKind::Append, vec![filled(&place)]))
            .await
            .expect("published");
        assert_eq!(visible(&store).len(), 2);
    }

    #[tokio::test]
    async fn ids_of_unused_segments_are_not_used_again() {
        let (store, _folder) = store().await;
        let old = replace(&store, "r", &[days(0, 1)]).await;
        let place = allocate(&store, allocate_request("a", days(0, 1), None)).await;
        store
            .publish(publish("a", PublishKind::Append, vec![filled(&place)]))
            .await
            .expect("published");
        store.release("a").await.expect("released");
        let appended = SegmentSelection::Ids([place.id().to_string()].into());
        assert_eq!(store.mark_unused("d", appended).await.expect("marked"), 1);
        let next = allocate(&store, allocate_request("b", days(0, 1), None)).await;
        assert_eq!((numbers(&next), &next.version), ((2, 1), &old[0].version));

        let mut concurrent = allocate_request("c", days(5, 6), None);
        concurrent.kind = LockKind::Append;
        let first = allocate(&store, concurrent.clone()).await;
        assert_eq!(first.version, APPEND_VERSION);
        store
            .publish(publish("c", PublishKind::Append, vec![filled(&first)]))
            .await
            .expect("published");
        store.release("c").await.expect("released");
        store
            .mark_unused("d", SegmentSelection::Within(vec![days(5, 6)]))
            .await
            .expect("marked");
        concurrent.task_id = "e".to_string();
        concurrent.sequence_name = "e".to_string();
        let second = allocate(&store, concurrent).await;
        assert_eq!(second.version, format!("{APPEND_VERSION}S"));
    }

    #[tokio::test]
    async fn chunks_of_unknown_core_count_cannot_grow() {
        let (store, _folder) = store().await;
        let request = lock_request("r", LockKind::Exclusive, &[days(0, 1)]);
        let version = store.lock_all_or_wait(request).await.expect("locked")[0]
            .version
            .clone();
        let mut old = crate::testing::segment(days(0, 1), &version, 0, 1);
        old.shard_spec = ShardSpec::None;
        store
            .publish(publish("r", PublishKind::Replace, vec![old]))
            .await
            .expect("published");
        store.release("r").await.expect("released");
        assert_eq!(refusal(&store, days(0, 1)).await, None);
    }

    #[test]
    fn hashes_and_payloads_equal_druids() {
        for line in include_str!("../../../tests/golden/metadata/druid_pendingSegments.jsonl").lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("a golden row");
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_string();
            let place: AllocatedSegment = serde_json::from_value(row["PAYLOAD"].clone()).expect("a payload");
            assert_eq!(
                serde_json::to_string(&place).expect("serialises"),
                row["PAYLOAD"].to_string()
            );
            assert_eq!(place.id().to_string(), text("ID"));
            assert_eq!(
                sequence_sha1(&text("SEQUENCE_NAME"), &text("SEQUENCE_PREV_ID"), &place.version),
                text("SEQUENCE_NAME_PREV_ID_SHA1")
            );
        }
    }
}
