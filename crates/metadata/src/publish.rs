//! Publishing: new segments appear, and what they replace goes, in one transaction.
//!
//! 1. Unrevoked locks of the task must cover every segment, with a version not below the segment's; they cannot be revoked
//!    from here to the end.
//! 2. Ids that exist already are left as they are: publishing again what is published is no error.
//! 3. Rows of new segments are inserted; concurrent appends and replaces are carried over (`upgrade.rs`).
//! 4. Segments that are dropped, and if asked those that are overshadowed now, are marked unused.
//! 5. Commit; then the snapshot is exchanged before the caller hears of it: SUCCESS means visible.
//!
//! Fail points: `publish-before-begin`, `publish-before-commit`, `publish-after-commit`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use henge_time::{Interval, format_millis};
use sqlx::{Connection, SqliteConnection};

use crate::error::Action;
use crate::limits::MAX_ROWS_PER_STATEMENT;
use crate::store::{Inner, MetadataStore, now};
use crate::tasks::json_bytes;
use crate::upgrade;
use crate::{DataSegment, LockKind, MetadataError, Timeline};

/// Whether the segments join what is there or take its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishKind {
    /// INSERT: under SHARED or APPEND locks.
    Append,
    /// REPLACE: under EXCLUSIVE or REPLACE locks.
    Replace,
}

/// What a task publishes.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Task whose locks cover it.
    pub task_id: String,
    /// Datasource of all segments.
    pub datasource: String,
    /// New segments, tombstones included.
    pub segments: Vec<DataSegment>,
    /// Intervals whose used segments go, where they lie wholly inside; for a REPLACE that found nothing.
    pub mark_unused: Vec<Interval>,
    /// Append or replace.
    pub kind: PublishKind,
    /// Whether overshadowed segments are marked unused in the same transaction; otherwise
    /// [`MetadataStore::mark_overshadowed_unused`] does it later, as Druid's Coordinator does.
    pub retire_overshadowed: bool,
}

/// What a publish did.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// Segments that were not there before, with those carried over from concurrent appends.
    pub inserted: Vec<Arc<DataSegment>>,
    /// Number of segments marked unused.
    pub retired: usize,
}

/// A row for `druid_segments`.
pub(crate) struct NewRow {
    pub segment: Arc<DataSegment>,
    pub upgraded_from: Option<String>,
}

impl MetadataStore {
    /// Publishes in one transaction. After an error of kind `Database` or `Injected` the outcome may be either; the snapshot
    /// tells which.
    pub async fn publish(&self, publish: Publish) -> Result<Published, MetadataError> {
        check(&publish)?;
        let inner = Arc::clone(&self.inner);
        let result = self
            .detached("publish segments", async move {
                let mut writer = inner.writer.lock().await;
                fail::fail_point!("publish-before-begin", |_| Err(MetadataError::Injected(
                    "publish-before-begin"
                )));
                let _critical = Critical::enter(&inner, &publish)?;
                let result = commit(&inner, &mut writer, publish).await;
                if matches!(result, Err(MetadataError::Database { .. })) {
                    // A commit that failed may have happened all the same.
                    inner.reload(&mut writer).await?;
                }
                result
            })
            .await;
        if matches!(result, Err(MetadataError::Interrupted { .. })) {
            self.reload().await?;
        }
        result
    }
}

fn check(publish: &Publish) -> Result<(), MetadataError> {
    let stranger = publish.segments.iter().find(|s| s.datasource != publish.datasource);
    if let Some(stranger) = stranger {
        return Err(MetadataError::Invalid(format!(
            "segment [{}] does not belong to datasource [{}], publish one datasource at a time",
            stranger.id(),
            publish.datasource
        )));
    }
    let mut ids = HashSet::new();
    if let Some(twice) = publish.segments.iter().find(|s| !ids.insert(s.id())) {
        return Err(MetadataError::Invalid(format!(
            "segment [{}] is to be published twice",
            twice.id()
        )));
    }
    Ok(())
}

/// Keeps the locks of a publishing task from being revoked.
struct Critical<'a> {
    inner: &'a Arc<Inner>,
    task_id: String,
}

impl<'a> Critical<'a> {
    fn enter(inner: &'a Arc<Inner>, publish: &Publish) -> Result<Self, MetadataError> {
        let segments = publish.segments.iter().map(|s| (s.interval, s.version.clone()));
        let dropped = publish.mark_unused.iter().map(|interval| (*interval, String::new()));
        let mut locks = inner.locks.lock();
        let unfit = locks.of_task(&publish.task_id).into_iter().find(|lock| {
            publish.kind == PublishKind::Replace && !matches!(lock.kind, LockKind::Exclusive | LockKind::Replace)
        });
        if let Some(lock) = unfit {
            return Err(MetadataError::Invalid(format!(
                "task [{}] cannot replace segments of datasource [{}] under a lock of type [{:?}], it needs EXCLUSIVE or REPLACE",
                publish.task_id, publish.datasource, lock.kind
            )));
        }
        locks.enter_critical(&publish.task_id, &publish.datasource, segments.chain(dropped))?;
        Ok(Critical {
            inner,
            task_id: publish.task_id.clone(),
        })
    }
}

impl Drop for Critical<'_> {
    fn drop(&mut self) {
        self.inner
            .with_locks(|locks, newest| locks.leave_critical(&self.task_id, newest));
    }
}

async fn commit(inner: &Inner, writer: &mut SqliteConnection, publish: Publish) -> Result<Published, MetadataError> {
    let action = "publish segments";
    let datasource = publish.datasource.clone();
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.action(action)?;

    let mut rows: Vec<NewRow> = Vec::with_capacity(publish.segments.len());
    let locks = inner.locks.lock().all();
    match publish.kind {
        PublishKind::Append => rows.extend(upgrade::append(&mut transaction, &publish, &locks).await?),
        PublishKind::Replace => rows.extend(upgrade::replace(&mut transaction, inner, &publish, &locks).await?),
    }
    let existing = existing_ids(&mut transaction, rows.iter().map(|r| r.segment.id().to_string())).await?;
    rows.retain(|row| !existing.contains(&row.segment.id().to_string()));

    // A row that another row of the same publish hides starts its life unused.
    let batch = Timeline::build(rows.iter().map(|r| Arc::clone(&r.segment)));
    let hidden: HashSet<String> = batch.overshadowed().iter().map(|s| s.id().to_string()).collect();
    let time = now();
    for row in &rows {
        insert(
            &mut transaction,
            row,
            !hidden.contains(&row.segment.id().to_string()),
            &time,
        )
        .await?;
    }

    let mut used: BTreeMap<String, Arc<DataSegment>> = BTreeMap::new();
    let mut retired: Vec<String> = Vec::new();
    for segment in inner.used(&datasource) {
        let id = segment.id().to_string();
        if publish
            .mark_unused
            .iter()
            .any(|interval| interval.contains(&segment.interval))
        {
            retired.push(id);
        } else {
            used.insert(id, segment);
        }
    }
    for row in rows.iter().filter(|r| !hidden.contains(&r.segment.id().to_string())) {
        used.insert(row.segment.id().to_string(), Arc::clone(&row.segment));
    }
    if publish.retire_overshadowed {
        for segment in Timeline::build(used.values().cloned()).overshadowed() {
            let id = segment.id().to_string();
            used.remove(&id);
            retired.push(id);
        }
    }
    mark_unused(&mut transaction, &retired, &time).await?;

    fail::fail_point!("publish-before-commit", |_| Err(MetadataError::Injected(
        "publish-before-commit"
    )));
    transaction.commit().await.action(action)?;
    inner.swap_datasource(&datasource, used.into_values().collect());
    fail::fail_point!("publish-after-commit", |_| Err(MetadataError::Injected(
        "publish-after-commit"
    )));
    Ok(Published {
        inserted: rows.into_iter().map(|row| row.segment).collect(),
        retired: retired.len(),
    })
}

async fn existing_ids(
    connection: &mut SqliteConnection,
    ids: impl Iterator<Item = String>,
) -> Result<HashSet<String>, MetadataError> {
    let action = "look for published segments";
    let ids: Vec<String> = ids.collect();
    let mut existing = HashSet::new();
    for batch in ids.chunks(MAX_ROWS_PER_STATEMENT) {
        let mut query = sqlx::QueryBuilder::new("SELECT id FROM druid_segments WHERE id IN (");
        let mut list = query.separated(", ");
        for id in batch {
            list.push_bind(id);
        }
        query.push(")");
        let found: Vec<(String,)> = query
            .build_query_as()
            .fetch_all(&mut *connection)
            .await
            .action(action)?;
        existing.extend(found.into_iter().map(|(id,)| id));
    }
    Ok(existing)
}

async fn insert(connection: &mut SqliteConnection, row: &NewRow, used: bool, time: &str) -> Result<(), MetadataError> {
    let segment = &row.segment;
    sqlx::query(
        "INSERT INTO druid_segments (id, dataSource, created_date, start, \"end\", partitioned, version, used, payload, \
         used_status_last_updated, indexing_state_fingerprint, upgraded_from_segment_id) \
         VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)",
    )
    .bind(segment.id().to_string())
    .bind(&segment.datasource)
    .bind(time)
    .bind(format_millis(segment.interval.start_ms))
    .bind(format_millis(segment.interval.end_ms))
    .bind(&segment.version)
    .bind(used)
    .bind(json_bytes(segment.as_ref())?)
    .bind(time)
    .bind(&segment.indexing_state_fingerprint)
    .bind(&row.upgraded_from)
    .execute(connection)
    .await
    .action("publish segments")?;
    Ok(())
}

/// Marks used segments unused and gives how many were.
pub(crate) async fn mark_unused(
    connection: &mut SqliteConnection,
    ids: &[String],
    time: &str,
) -> Result<usize, MetadataError> {
    let mut changed = 0;
    for batch in ids.chunks(MAX_ROWS_PER_STATEMENT) {
        let mut query = sqlx::QueryBuilder::new("UPDATE druid_segments SET used = 0, used_status_last_updated = ");
        query.push_bind(time).push(" WHERE used = 1 AND id IN (");
        let mut list = query.separated(", ");
        for id in batch {
            list.push_bind(id);
        }
        query.push(")");
        let done = query
            .build()
            .execute(&mut *connection)
            .await
            .action("mark segments unused")?;
        changed += usize::try_from(done.rows_affected()).unwrap_or(usize::MAX);
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{days, lock, lock_request, publish, replace, segment, store, visible};
    use crate::{LockRequest, MetadataErrorKind};

    fn ids(segments: &[Arc<DataSegment>]) -> Vec<String> {
        segments.iter().map(|s| s.id().to_string()).collect()
    }

    #[tokio::test]
    async fn a_replace_hides_the_old_and_is_visible_at_once() {
        let (store, _folder) = store().await;
        let before = store.snapshot();
        let old = replace(&store, "a", &[days(0, 1), days(1, 2)]).await;
        let new = replace(&store, "b", &[days(0, 1)]).await;
        let shown = [&new[0], &old[1]].map(|s| format!("{} {}", s.interval, s.id()));
        assert_eq!(visible(&store), shown);
        assert!(before.datasource("d").is_none(), "snapshots do not change");
        let snapshot = store.snapshot();
        let hidden = |s: &&crate::PublishedSegment| s.overshadowed;
        let listed = &snapshot.datasource("d").expect("published").segments;
        assert_eq!(
            listed
                .iter()
                .filter(hidden)
                .map(|s| s.id.to_string())
                .collect::<Vec<_>>(),
            [old[0].id().to_string()]
        );

        assert_eq!(store.mark_overshadowed_unused().await.expect("marked"), 1);
        assert_eq!(visible(&store), shown);
        let unused = store.unused_segments(Some("d"), None).await.expect("listed");
        assert_eq!(unused.iter().map(|u| &u.segment).collect::<Vec<_>>(), [&old[0]]);
        assert!(!unused[0].files_shared);
        assert_eq!(store.load_specs().await.expect("listed").len(), 3);
        let every: Vec<String> = [&old[0], &old[1], &new[0]].iter().map(|s| s.id().to_string()).collect();
        assert_eq!(store.delete_unused(&every).await.expect("deleted"), 1, "used rows stay");
        assert_eq!(store.load_specs().await.expect("listed").len(), 2);
    }

    #[tokio::test]
    async fn one_transaction_can_retire_what_it_replaces() {
        let (store, folder) = store().await;
        replace(&store, "a", &[days(0, 1), days(1, 2)]).await;
        let held = lock(&store, "b", LockKind::Exclusive, Interval::ETERNITY).await;
        let mut second = publish(
            "b",
            PublishKind::Replace,
            vec![segment(days(0, 1), &held.version, 0, 1)],
        );
        second.retire_overshadowed = true;
        second.mark_unused = vec![days(1, 2)];
        let published = store.publish(second.clone()).await.expect("published");
        assert_eq!((published.inserted.len(), published.retired), (1, 2));
        assert_eq!(visible(&store).len(), 1);
        let again = store.publish(second).await.expect("publishing again is no error");
        assert_eq!((again.inserted.len(), again.retired), (0, 0));
        let shown = visible(&store);
        store.reload().await.expect("reloaded");
        assert_eq!(visible(&store), shown, "the tables say the same");
        drop(store);
        let store = MetadataStore::open(&folder.path().join("metadata.db"))
            .await
            .expect("opens again");
        assert_eq!(visible(&store), shown);
    }

    #[tokio::test]
    async fn rows_look_as_druid_writes_them() {
        let (store, _folder) = store().await;
        let written = replace(&store, "a", &[Interval::ETERNITY]).await;
        let row: (String, String, String, String, bool, String, bool, Vec<u8>) = sqlx::query_as(
            "SELECT id, dataSource, start, \"end\", partitioned, version, used, payload FROM druid_segments \
             WHERE used_status_last_updated = created_date AND upgraded_from_segment_id IS NULL",
        )
        .fetch_one(&store.inner.readers)
        .await
        .expect("one row");
        assert_eq!((row.0, row.1.as_str()), (written[0].id().to_string(), "d"));
        assert_eq!(
            (row.2.as_str(), row.3.as_str()),
            ("-146136543-09-08T08:23:32.096Z", "146140482-04-24T15:36:27.903Z")
        );
        assert_eq!((row.4, row.5, row.6), (true, written[0].version.clone(), true));
        assert_eq!(row.7, serde_json::to_vec(&written[0]).expect("serialises"));
    }

    #[tokio::test]
    async fn what_no_lock_covers_is_not_published() {
        let (store, _folder) = store().await;
        let held = lock(&store, "a", LockKind::Exclusive, days(0, 2)).await;
        let kind = |result: Result<Published, MetadataError>| result.map(|p| ids(&p.inserted)).map_err(|e| e.kind());
        let preempted = Err(MetadataErrorKind::LockPreempted);
        for (segments, task) in [
            (vec![segment(days(0, 3), &held.version, 0, 1)], "a"),
            (vec![segment(days(0, 1), "9999", 0, 1)], "a"),
            (vec![segment(days(0, 1), &held.version, 0, 1)], "stranger"),
        ] {
            assert_eq!(
                kind(store.publish(publish(task, PublishKind::Replace, segments)).await),
                preempted
            );
        }
        let mut dropping = publish("a", PublishKind::Replace, Vec::new());
        dropping.mark_unused = vec![days(0, 3)];
        assert_eq!(kind(store.publish(dropping).await), preempted);

        let mut stronger = lock_request("b", LockKind::Exclusive, &[days(0, 1)]);
        stronger.priority = LockRequest::SQL_PRIORITY + 1;
        store.lock_all_or_wait(stronger).await.expect("revokes");
        let segments = vec![segment(days(0, 1), &held.version, 0, 1)];
        assert_eq!(
            kind(store.publish(publish("a", PublishKind::Replace, segments)).await),
            preempted
        );

        lock(&store, "c", LockKind::Shared, days(5, 6)).await;
        let segments = vec![segment(days(5, 6), "1", 0, 0)];
        let replaced = store
            .publish(publish("c", PublishKind::Replace, segments.clone()))
            .await;
        assert_eq!(
            kind(replaced),
            Err(MetadataErrorKind::Invalid),
            "a SHARED lock does not replace"
        );
        let twice = publish("c", PublishKind::Append, [segments.clone(), segments.clone()].concat());
        assert_eq!(kind(store.publish(twice).await), Err(MetadataErrorKind::Invalid));
        assert!(visible(&store).is_empty());
        store
            .publish(publish("c", PublishKind::Append, segments))
            .await
            .expect("published");
        assert_eq!(visible(&store).len(), 1);
    }

    #[tokio::test]
    async fn giving_up_a_publish_does_not_stop_it() {
        let (store, _folder) = store().await;
        let held = lock(&store, "a", LockKind::Exclusive, days(0, 1)).await;
        let segments = vec![segment(days(0, 1), &held.version, 0, 1)];
        let writer = store.inner.writer.lock().await;
        let publishing = store.publish(publish("a", PublishKind::Replace, segments));
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(20), publishing)
                .await
                .is_err()
        );
        assert!(visible(&store).is_empty());
        drop(writer);
        while visible(&store).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(visible(&store).len(), 1);
    }
}
