//! Locks as tasks ask for them: waiting without blocking a thread, and mirroring the locks into `druid_tasklocks`.

use std::sync::Arc;

use henge_time::Interval;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::oneshot;

use crate::error::Action;
use crate::locks::{Grant, LockBox, NewestVersion, RowChange};
use crate::store::{Inner, MetadataStore};
use crate::tasks::json_bytes;
use crate::{LockRequest, MetadataError, TaskLock};

impl MetadataStore {
    /// Takes all locks of the request, waiting until that is possible. A lock that the task holds already is given again.
    /// The rows are written before this returns. Giving up the future gives up the request.
    pub async fn lock_all_or_wait(&self, request: LockRequest) -> Result<Vec<TaskLock>, MetadataError> {
        check(&request)?;
        let (sender, receiver) = oneshot::channel();
        let mut waiting = Waiting {
            inner: Arc::clone(&self.inner),
            ticket: None,
            receiver,
        };
        waiting.ticket = Some(
            self.inner
                .with_locks(|locks, newest| locks.enqueue(request, sender, newest))?,
        );
        let grant = (&mut waiting.receiver)
            .await
            .map_err(|_| MetadataError::Interrupted { action: "take a lock" })?;
        let mut granted = Granted {
            inner: Arc::clone(&self.inner),
            grant: Some(grant),
        };
        waiting.ticket = None;
        self.store_lock_rows().await?;
        Ok(granted.grant.take().unwrap_or_default().locks)
    }

    /// Takes all locks of the request now, or gives `None` where that would conflict.
    pub async fn try_lock_all(&self, request: LockRequest) -> Result<Option<Vec<TaskLock>>, MetadataError> {
        check(&request)?;
        let Some(grant) = self.inner.with_locks(|locks, newest| locks.try_take(&request, newest)) else {
            return Ok(None);
        };
        let mut granted = Granted {
            inner: Arc::clone(&self.inner),
            grant: Some(grant),
        };
        self.store_lock_rows().await?;
        Ok(granted.grant.take().map(|grant| grant.locks))
    }

    /// Gives the locks of a task, revoked ones included.
    pub fn locks_of(&self, task_id: &str) -> Vec<TaskLock> {
        self.inner.locks.lock().of_task(task_id)
    }

    /// Gives all locks.
    pub fn locks(&self) -> Vec<TaskLock> {
        self.inner.locks.lock().all()
    }

    /// Gives back the locks of a task and forgets its allocations. Every task ends with this.
    pub async fn release(&self, task_id: &str) -> Result<(), MetadataError> {
        let (inner, task_id) = (Arc::clone(&self.inner), task_id.to_string());
        inner.with_locks(|locks, newest| locks.release(&task_id, newest));
        self.detached("release the locks of a task", async move {
            let mut writer = inner.writer.lock().await;
            inner.write_lock_rows(&mut writer).await?;
            sqlx::query("DELETE FROM druid_pendingSegments WHERE task_allocator_id = ?")
                .bind(&task_id)
                .execute(&mut *writer)
                .await
                .action("forget the allocations of a task")?;
            Ok(())
        })
        .await
    }

    /// Gives a guard that releases the task's locks when it is dropped, for tasks whose future may be.
    pub fn release_on_drop(&self, task_id: &str) -> ReleaseGuard {
        ReleaseGuard {
            store: self.clone(),
            task_id: task_id.to_string(),
        }
    }

    async fn store_lock_rows(&self) -> Result<(), MetadataError> {
        let inner = Arc::clone(&self.inner);
        self.detached("store the locks of a task", async move {
            let mut writer = inner.writer.lock().await;
            inner.write_lock_rows(&mut writer).await
        })
        .await
    }
}

/// Releases the locks of a task when dropped; see [`MetadataStore::release_on_drop`].
#[derive(Debug)]
pub struct ReleaseGuard {
    store: MetadataStore,
    task_id: String,
}

impl Drop for ReleaseGuard {
    fn drop(&mut self) {
        let (store, task_id) = (self.store.clone(), std::mem::take(&mut self.task_id));
        // The locks are free at once; only the rows need a runtime, and without one the process is ending.
        store.inner.with_locks(|locks, newest| locks.release(&task_id, newest));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.release(&task_id).await {
                    tracing::warn!(task = task_id, %error, "cannot clean up after a task");
                }
            });
        }
    }
}

/// A queued request. Dropped before the answer was taken, it leaves the queue, or gives back what was granted meanwhile.
struct Waiting {
    inner: Arc<Inner>,
    ticket: Option<u64>,
    receiver: oneshot::Receiver<Grant>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.inner.with_locks(|locks, newest| locks.give_up(ticket, newest));
            if let Ok(grant) = self.receiver.try_recv() {
                self.inner.with_locks(|locks, newest| locks.give_back(&grant, newest));
            }
        }
    }
}

/// Granted locks whose rows are being written. Dropped with the locks inside, it gives them back.
struct Granted {
    inner: Arc<Inner>,
    grant: Option<Grant>,
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let Some(grant) = self.grant.take() {
            self.inner.with_locks(|locks, newest| locks.give_back(&grant, newest));
        }
    }
}

fn check(request: &LockRequest) -> Result<(), MetadataError> {
    if request.intervals.is_empty() || request.intervals.iter().any(Interval::is_empty) {
        return Err(MetadataError::Invalid(format!(
            "task [{}] asks for a lock on datasource [{}] without naming a time interval",
            request.task_id, request.datasource
        )));
    }
    Ok(())
}

impl Inner {
    /// Changes the locks; rows that have to follow are written soon, by the caller or by a task of their own.
    pub(crate) fn with_locks<T>(self: &Arc<Self>, change: impl FnOnce(&mut LockBox, NewestVersion) -> T) -> T {
        let newest = |datasource: &str, interval: &Interval| self.newest_version(datasource, interval);
        let mut locks = self.locks.lock();
        let result = change(&mut locks, &newest);
        let behind = locks.rows_are_behind();
        drop(locks);
        if behind && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let inner = Arc::clone(self);
            runtime.spawn(async move {
                let mut writer = inner.writer.lock().await;
                if let Err(error) = inner.write_lock_rows(&mut writer).await {
                    tracing::warn!(%error, "cannot bring the rows of task locks up to date");
                }
            });
        }
        result
    }

    /// Brings `druid_tasklocks` up to date; the caller holds the writer. Locks may change meanwhile, hence the loop.
    pub(crate) async fn write_lock_rows(&self, writer: &mut SqliteConnection) -> Result<(), MetadataError> {
        loop {
            let changes = self.locks.lock().due_row_changes();
            if changes.is_empty() {
                return Ok(());
            }
            let stale = changes.iter().filter_map(|change| match change {
                RowChange::Delete { id } => Some(*id),
                _ => None,
            });
            let stale: Vec<i64> = stale.collect();
            match apply(writer, changes).await {
                Ok(stored) => {
                    let mut locks = self.locks.lock();
                    for (key, id, revoked) in stored {
                        locks.row_stored(key, id, revoked);
                    }
                }
                Err(error) => {
                    self.locks.lock().rows_still_stale(stale);
                    return Err(error);
                }
            }
        }
    }
}

/// Writes the changes in one transaction and gives key, row id and revocation of the stored rows.
async fn apply(writer: &mut SqliteConnection, changes: Vec<RowChange>) -> Result<Vec<(u64, i64, bool)>, MetadataError> {
    let action = "store task locks";
    let mut transaction = writer.begin().await.action(action)?;
    let mut stored = Vec::new();
    for change in changes {
        match change {
            RowChange::Insert { key, lock } => {
                let done = sqlx::query("INSERT INTO druid_tasklocks (task_id, lock_payload) VALUES (?, ?)")
                    .bind(&lock.task_id)
                    .bind(json_bytes(&lock)?)
                    .execute(&mut *transaction)
                    .await
                    .action(action)?;
                stored.push((key, done.last_insert_rowid(), lock.revoked));
            }
            RowChange::Update { key, id, lock } => {
                sqlx::query("UPDATE druid_tasklocks SET lock_payload = ? WHERE id = ?")
                    .bind(json_bytes(&lock)?)
                    .bind(id)
                    .execute(&mut *transaction)
                    .await
                    .action(action)?;
                stored.push((key, id, lock.revoked));
            }
            RowChange::Delete { id } => {
                sqlx::query("DELETE FROM druid_tasklocks WHERE id = ?")
                    .bind(id)
                    .execute(&mut *transaction)
                    .await
                    .action(action)?;
            }
        }
    }
    transaction.commit().await.action(action)?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{days, lock, lock_request, store};
    use crate::{LockKind, MetadataStore};
    use std::time::Duration;

    async fn rows(store: &MetadataStore) -> Vec<(String, bool)> {
        // Rows that follow on their own are written by whoever has the writer first.
        let mut writer = store.inner.writer.lock().await;
        store.inner.write_lock_rows(&mut writer).await.expect("written");
        let rows: Vec<(String, Vec<u8>)> =
            sqlx::query_as("SELECT task_id, lock_payload FROM druid_tasklocks ORDER BY id")
                .fetch_all(&mut *writer)
                .await
                .expect("rows");
        let revoked = |payload: &[u8]| serde_json::from_slice::<TaskLock>(payload).expect("a lock").revoked;
        rows.into_iter()
            .map(|(task, payload)| (task, revoked(&payload)))
            .collect()
    }

    #[tokio::test]
    async fn rows_follow_the_locks() {
        let (store, _folder) = store().await;
        let held = lock(&store, "low", LockKind::Exclusive, days(0, 1)).await;
        assert_eq!(rows(&store).await, [("low".to_string(), false)]);
        assert_eq!(store.locks_of("low"), [held]);
        let mut request = lock_request("high", LockKind::Exclusive, &[days(0, 1), days(1, 2)]);
        request.priority += 1;
        store.lock_all_or_wait(request).await.expect("revokes");
        let all = [("low", true), ("high", false), ("high", false)].map(|(t, r)| (t.to_string(), r));
        assert_eq!(rows(&store).await, all);
        store.release("low").await.expect("released");
        assert_eq!(rows(&store).await, all[1..]);
        drop(store.release_on_drop("high"));
        assert!(store.locks().is_empty());
        assert!(rows(&store).await.is_empty());
    }

    #[tokio::test]
    async fn waiting_ends_with_a_release_or_with_the_patience() {
        let (store, _folder) = store().await;
        lock(&store, "a", LockKind::Exclusive, days(0, 1)).await;
        let request = lock_request("b", LockKind::Shared, &[days(0, 1)]);
        assert!(store.try_lock_all(request.clone()).await.expect("an answer").is_none());
        let impatient = tokio::time::timeout(Duration::from_millis(20), store.lock_all_or_wait(request.clone())).await;
        assert!(impatient.is_err());
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.lock_all_or_wait(request).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        store.release("a").await.expect("released");
        assert_eq!(waiting.await.expect("no panic").expect("granted").len(), 1);
        assert_eq!(rows(&store).await, [("b".to_string(), false)]);
        let empty = store.lock_all_or_wait(lock_request("c", LockKind::Shared, &[])).await;
        assert!(matches!(empty, Err(MetadataError::Invalid(_))));
    }

    #[tokio::test]
    async fn locks_granted_to_nobody_are_given_back() {
        let (store, _folder) = store().await;
        let writer = store.inner.writer.lock().await;
        // Granted at once, but its row cannot be written yet.
        let request = lock_request("a", LockKind::Exclusive, &[days(0, 1)]);
        let given_up = tokio::time::timeout(Duration::from_millis(20), store.lock_all_or_wait(request)).await;
        assert!(given_up.is_err());
        assert!(store.locks().is_empty());
        drop(writer);
        assert!(rows(&store).await.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn exclusive_means_one_at_a_time() {
        let (store, _folder) = store().await;
        let inside = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let (store, inside) = (store.clone(), Arc::clone(&inside));
                tokio::spawn(async move {
                    let task = format!("task-{n}");
                    let _guard = store.release_on_drop(&task);
                    lock(&store, &task, LockKind::Exclusive, days(0, 1 + n % 3)).await;
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("never two inside");
        }
        assert!(store.locks().is_empty());
        assert!(rows(&store).await.is_empty());
    }
}
