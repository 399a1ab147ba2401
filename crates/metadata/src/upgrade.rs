//! Appends and replaces that run beside each other (APPEND and REPLACE locks; section 10.2 of the metadata notes).
//!
//! An append that commits while another task holds a REPLACE lock would be hidden by that replace. Hence it leaves a note in
//! `druid_upgradeSegments`, and the replace publishes the appended segment once more under its own version: same files, new
//! id. Segments that are allocated but not yet published when the replace commits get a second, upgraded allocation, which
//! their append then publishes too.
//!
//! Under SHARED and EXCLUSIVE locks none of this happens: the rows are what the task gave.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use henge_time::Interval;
use sqlx::{Row, SqliteConnection};

use crate::allocate::{AllocatedSegment, Pending, insert_pending, pending_segments};
use crate::error::Action;
use crate::publish::NewRow;
use crate::store::{Inner, read_segment};
use crate::{DataSegment, LockKind, MetadataError, Publish, ShardSpec, TaskLock};

/// Gives the rows of an append, upgraded ones included; leaves notes for running replaces and removes the allocations.
pub(crate) async fn append(
    connection: &mut SqliteConnection,
    publish: &Publish,
    locks: &[TaskLock],
) -> Result<Vec<NewRow>, MetadataError> {
    let mut rows = new_rows(&publish.segments);
    if !holds(publish, locks, LockKind::Append) {
        return Ok(rows);
    }
    let action = "publish appended segments";
    let pending = pending_segments(connection, &publish.datasource).await?;
    for segment in &publish.segments {
        let id = segment.id().to_string();
        let replacing = locks.iter().filter(|lock| {
            lock.kind == LockKind::Replace
                && !lock.revoked
                && lock.datasource == publish.datasource
                && lock.task_id != publish.task_id
                && lock.interval.contains(&segment.interval)
        });
        for lock in replacing {
            sqlx::query("INSERT INTO druid_upgradeSegments (task_id, segment_id, lock_version) VALUES (?, ?, ?)")
                .bind(&lock.task_id)
                .bind(&id)
                .bind(&lock.version)
                .execute(&mut *connection)
                .await
                .action(action)?;
        }
        for upgraded in pending.iter().filter(|p| p.upgraded_from.as_ref() == Some(&id)) {
            rows.push(NewRow {
                segment: Arc::new(moved(segment, &upgraded.place)),
                upgraded_from: Some(id.clone()),
            });
        }
    }
    for row in &rows {
        sqlx::query("DELETE FROM druid_pendingSegments WHERE id = ?")
            .bind(row.segment.id().to_string())
            .execute(&mut *connection)
            .await
            .action(action)?;
    }
    Ok(rows)
}

/// Gives the rows of a replace, with segments that were appended meanwhile carried over into its version, and upgrades
/// what is allocated and still to be appended.
pub(crate) async fn replace(
    connection: &mut SqliteConnection,
    inner: &Inner,
    publish: &Publish,
    locks: &[TaskLock],
) -> Result<Vec<NewRow>, MetadataError> {
    let mut rows = new_rows(&publish.segments);
    if !holds(publish, locks, LockKind::Replace) {
        return Ok(rows);
    }
    // Next partition number of each chunk that this replace writes or carries something into.
    let mut next: BTreeMap<(Interval, String), u32> = BTreeMap::new();
    for segment in &publish.segments {
        let after = next.entry((segment.interval, segment.version.clone())).or_default();
        *after = (*after).max(segment.shard_spec.partition_num() + 1);
    }
    let written: Vec<Interval> = publish.segments.iter().map(|s| s.interval).collect();
    for (appended, root, version) in appended_meanwhile(connection, &publish.task_id).await? {
        let interval = carried_to(
            &appended.interval,
            &written,
            &publish.datasource,
            &appended.id().to_string(),
        )?;
        let after = next.entry((interval, version.clone())).or_default();
        let place = AllocatedSegment {
            datasource: publish.datasource.clone(),
            interval,
            version,
            shard_spec: ShardSpec::Numbered {
                partition_num: *after,
                partitions: 0,
            },
        };
        *after += 1;
        rows.push(NewRow {
            segment: Arc::new(moved(&appended, &place)),
            upgraded_from: Some(root),
        });
    }
    // What was carried over is core, for it must become visible together with the rest.
    for row in rows.iter_mut() {
        if let Some(core) = next.get(&(row.segment.interval, row.segment.version.clone())) {
            let mut segment = row.segment.as_ref().clone();
            segment.shard_spec = segment.shard_spec.with_core_partitions(*core);
            row.segment = Arc::new(segment);
        }
    }
    upgrade_pending(connection, inner, publish, locks, &written, next).await?;
    Ok(rows)
}

fn new_rows(segments: &[DataSegment]) -> Vec<NewRow> {
    let row = |segment: &DataSegment| NewRow {
        segment: Arc::new(segment.clone()),
        upgraded_from: None,
    };
    segments.iter().map(row).collect()
}

fn holds(publish: &Publish, locks: &[TaskLock], kind: LockKind) -> bool {
    own(publish, locks).any(|lock| lock.kind == kind)
}

fn own<'a>(publish: &'a Publish, locks: &'a [TaskLock]) -> impl Iterator<Item = &'a TaskLock> {
    locks
        .iter()
        .filter(|lock| lock.task_id == publish.task_id && lock.datasource == publish.datasource)
}

/// Gives the segment under another id, with the same files.
fn moved(segment: &DataSegment, place: &AllocatedSegment) -> DataSegment {
    DataSegment {
        interval: place.interval,
        version: place.version.clone(),
        shard_spec: place.shard_spec.clone(),
        ..segment.clone()
    }
}

/// Gives the interval that a segment is carried to: the written one that contains it, or its own where nothing was written.
fn carried_to(
    interval: &Interval,
    written: &[Interval],
    datasource: &str,
    segment_id: &str,
) -> Result<Interval, MetadataError> {
    if let Some(container) = written.iter().find(|w| w.contains(interval)) {
        return Ok(*container);
    }
    match written.iter().find(|w| w.overlaps(interval)) {
        Some(partial) => Err(MetadataError::PartialAppendOverlap {
            datasource: datasource.to_string(),
            segment_id: segment_id.to_string(),
            interval: *partial,
        }),
        None => Ok(*interval),
    }
}

/// Gives the segments appended under the REPLACE locks of the task, with the id of the segment whose files they have and
/// the version of the lock.
async fn appended_meanwhile(
    connection: &mut SqliteConnection,
    task_id: &str,
) -> Result<Vec<(DataSegment, String, String)>, MetadataError> {
    let action = "read the segments appended meanwhile";
    let rows = sqlx::query(
        "SELECT s.id, s.payload, s.upgraded_from_segment_id, u.lock_version FROM druid_upgradeSegments u \
         JOIN druid_segments s ON s.id = u.segment_id WHERE u.task_id = ? ORDER BY u.id",
    )
    .bind(task_id)
    .fetch_all(connection)
    .await
    .action(action)?;
    let mut appended = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: String = row.try_get(0).action(action)?;
        let root: Option<String> = row.try_get(2).action(action)?;
        let segment = read_segment(id.clone(), row.try_get(1).action(action)?)?;
        appended.push((segment, root.unwrap_or(id), row.try_get(3).action(action)?));
    }
    Ok(appended)
}

/// Allocates an upgraded id for every allocation of another task inside the replaced time that is still to be published.
async fn upgrade_pending(
    connection: &mut SqliteConnection,
    inner: &Inner,
    publish: &Publish,
    locks: &[TaskLock],
    written: &[Interval],
    mut next: BTreeMap<(Interval, String), u32>,
) -> Result<(), MetadataError> {
    let cores = next.clone();
    let published: HashSet<String> = inner
        .used(&publish.datasource)
        .iter()
        .map(|s| s.id().to_string())
        .collect();
    let open: Vec<Pending> = pending_segments(connection, &publish.datasource)
        .await?
        .into_iter()
        .filter(|p| p.upgraded_from.is_none() && p.task_allocator_id != publish.task_id && !published.contains(&p.id))
        .collect();
    for pending in open {
        let mut covering = own(publish, locks).filter(|l| l.kind == LockKind::Replace);
        let Some(lock) = covering.find(|l| l.interval.contains(&pending.place.interval)) else {
            continue;
        };
        let interval = carried_to(&pending.place.interval, written, &publish.datasource, &pending.id)?;
        let key = (interval, lock.version.clone());
        let core = cores.get(&key).copied().unwrap_or(0);
        let after = next.entry(key).or_default();
        let place = AllocatedSegment {
            datasource: publish.datasource.clone(),
            interval,
            version: lock.version.clone(),
            shard_spec: ShardSpec::Numbered {
                partition_num: *after,
                partitions: core,
            },
        };
        *after += 1;
        let sequence = format!("upgraded_to_version__{}", lock.version);
        insert_pending(
            connection,
            &place,
            &sequence,
            &pending.id,
            Some(&pending.id),
            &pending.task_allocator_id,
        )
        .await
        .action("upgrade allocated segments")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{allocate, allocate_request, days, filled, lock, publish, replace, segment, store, visible};
    use crate::{MetadataErrorKind, MetadataStore, PublishKind};

    fn places(store: &MetadataStore, version: &str) -> Vec<(Interval, &'static str, u32, Option<u32>)> {
        let snapshot = store.snapshot();
        let segments = &snapshot.datasource("d").expect("published").segments;
        let of_version = segments.iter().map(|s| &s.segment).filter(|s| s.version == version);
        of_version
            .map(|s| {
                let spec = &s.shard_spec;
                (
                    s.interval,
                    spec.type_name(),
                    spec.partition_num(),
                    spec.core_partitions(),
                )
            })
            .collect()
    }

    async fn append_beside(store: &MetadataStore, task: &str, bucket: Interval) -> crate::AllocatedSegment {
        let mut request = allocate_request(task, bucket, None);
        request.kind = LockKind::Append;
        allocate(store, request).await
    }

    #[tokio::test]
    async fn what_is_appended_during_a_replace_survives_it() {
        let (store, _folder) = store().await;
        let old = replace(&store, "old", &[days(0, 1), days(1, 2)]).await;
        let held = lock(&store, "replace", LockKind::Replace, Interval::ETERNITY).await;
        let early = [
            append_beside(&store, "insert", days(0, 1)).await,
            append_beside(&store, "insert-2", days(1, 2)).await,
        ];
        let late = append_beside(&store, "late", days(0, 1)).await;
        for (task, place) in [("insert", &early[0]), ("insert-2", &early[1])] {
            assert_eq!(place.version, old[0].version, "appended to what is there");
            store
                .publish(publish(task, PublishKind::Append, vec![filled(place)]))
                .await
                .expect("published");
            store.release(task).await.expect("released");
        }
        // The replace writes one segment for the first day and empties the second.
        let written = vec![
            segment(days(0, 1), &held.version, 0, 1),
            DataSegment::tombstone("d", days(1, 2), &held.version),
        ];
        store
            .publish(publish("replace", PublishKind::Replace, written))
            .await
            .expect("published");
        store.release("replace").await.expect("released");
        assert_eq!(
            places(&store, &held.version),
            [
                (days(0, 1), "numbered", 0, Some(2)),
                (days(0, 1), "numbered", 1, Some(2)),
                (days(1, 2), "tombstone", 0, Some(0)),
                (days(1, 2), "numbered", 1, Some(2)),
            ]
        );
        assert_eq!(visible(&store).len(), 4);

        // Allocated before the replace committed, published after it.
        let published = store
            .publish(publish("late", PublishKind::Append, vec![filled(&late)]))
            .await
            .expect("published");
        assert_eq!(published.inserted.len(), 2, "under its own id and the upgraded one");
        store.release("late").await.expect("released");
        assert_eq!(places(&store, &held.version).len(), 5);
        assert_eq!(visible(&store).len(), 5);

        assert_eq!(store.mark_overshadowed_unused().await.expect("marked"), 5);
        let shared: Vec<bool> = store
            .unused_segments(None, None)
            .await
            .expect("listed")
            .iter()
            .map(|u| u.files_shared)
            .collect();
        assert_eq!(
            shared.iter().filter(|shared| **shared).count(),
            3,
            "appended files live on under the new ids"
        );
        let mut writer = store.inner.writer.lock().await;
        assert!(pending_segments(&mut writer, "d").await.expect("rows").is_empty());
    }

    #[tokio::test]
    async fn coarser_appends_cannot_be_carried_over() {
        let (store, _folder) = store().await;
        let held = lock(&store, "replace", LockKind::Replace, Interval::ETERNITY).await;
        let place = append_beside(&store, "insert", days(0, 2)).await;
        store
            .publish(publish("insert", PublishKind::Append, vec![filled(&place)]))
            .await
            .expect("published");
        let before = visible(&store);
        let finer = vec![segment(days(0, 1), &held.version, 0, 1)];
        let refused = store
            .publish(publish("replace", PublishKind::Replace, finer))
            .await
            .map(|_| ());
        assert_eq!(refused.map_err(|e| e.kind()), Err(MetadataErrorKind::Unsupported));
        assert_eq!(visible(&store), before);
    }
}
