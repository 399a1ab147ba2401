//! The store itself: one connection that writes, some that read, and the snapshot that everybody else looks at.
//!
//! * Work that changes something runs on a task of its own. Whoever waits for it may stop waiting; the work is finished all
//!   the same, so that the snapshot, the locks and the tables never disagree.
//! * The writer's mutex orders everything: whoever holds it sees a snapshot that equals the tables.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use henge_time::{Interval, format_millis};
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Row, SqliteConnection};

use crate::error::Action;
use crate::limits::{BUSY_TIMEOUT_SECONDS, READ_CONNECTIONS};
use crate::locks::LockBox;
use crate::snapshot::DatasourceSnapshot;
use crate::{DataSegment, MetadataError, MetadataSnapshot, TaskRecord, schema, tasks};

/// The metadata of one data folder. Clones share it.
#[derive(Clone)]
pub struct MetadataStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) writer: tokio::sync::Mutex<SqliteConnection>,
    pub(crate) readers: SqlitePool,
    pub(crate) locks: Mutex<LockBox>,
    snapshot: RwLock<Arc<MetadataSnapshot>>,
    /// Named configurations as they are stored.
    pub(crate) configs: RwLock<BTreeMap<String, Arc<Value>>>,
    recovered: Vec<TaskRecord>,
    path: PathBuf,
    /// Held until the store is dropped: a second process would not see our locks.
    _ownership: File,
}

impl std::fmt::Debug for MetadataStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetadataStore")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

impl MetadataStore {
    /// Opens the store, making it where it does not exist. Fails with [`MetadataError::InUse`] where another process has it.
    /// Tasks that a dead process left running are marked failed; see [`MetadataStore::recovered_tasks`].
    pub async fn open(path: &Path) -> Result<Self, MetadataError> {
        let ownership = take_ownership(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(BUSY_TIMEOUT_SECONDS))
            .disable_statement_logging();
        let action = "open the metadata store";
        let mut writer = options.connect().await.action(action)?;
        sqlx::raw_sql(schema::CREATE)
            .execute(&mut writer)
            .await
            .action("create the metadata tables")?;
        let mut transaction = sqlx::Connection::begin(&mut writer).await.action(action)?;
        let recovered = tasks::recover(&mut transaction).await?;
        transaction.commit().await.action(action)?;
        for task in &recovered {
            tracing::warn!(
                task = task.id,
                "{}",
                task.status.error_msg.as_deref().unwrap_or_default()
            );
        }
        let snapshot = load(&mut writer, 1).await?;
        let configs = crate::settings::load_configs(&mut writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READ_CONNECTIONS)
            .connect_lazy_with(options.read_only(true).create_if_missing(false));
        Ok(MetadataStore {
            inner: Arc::new(Inner {
                writer: tokio::sync::Mutex::new(writer),
                readers,
                locks: Mutex::default(),
                snapshot: RwLock::new(Arc::new(snapshot)),
                configs: RwLock::new(configs),
                recovered,
                path: path.to_path_buf(),
                _ownership: ownership,
            }),
        })
    }

    /// Gives the tasks that the previous process left running, as they are marked now.
    pub fn recovered_tasks(&self) -> &[TaskRecord] {
        &self.inner.recovered
    }

    /// Gives what is published now. Everything that a finished [`MetadataStore::publish`] wrote is in it.
    pub fn snapshot(&self) -> Arc<MetadataSnapshot> {
        self.inner.snapshot()
    }

    /// Reads all published segments again, for tables that somebody else has written to.
    pub async fn reload(&self) -> Result<(), MetadataError> {
        let inner = self.inner.clone();
        self.detached("reload the metadata", async move {
            let mut writer = inner.writer.lock().await;
            inner.reload(&mut writer).await
        })
        .await
    }

    /// Ends the use of the store: waits for what is being written and folds the write-ahead log into the database file.
    /// Readers fail from here on. Not closing loses nothing.
    pub async fn close(&self) -> Result<(), MetadataError> {
        self.inner.readers.close().await;
        let mut writer = self.inner.writer.lock().await;
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut *writer)
            .await
            .action("close the metadata store")?;
        Ok(())
    }

    /// Runs work to its end even where the caller stops waiting.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl Future<Output = Result<T, MetadataError>> + Send + 'static,
    ) -> Result<T, MetadataError> {
        match tokio::spawn(work).await {
            Ok(result) => result,
            Err(_) => Err(MetadataError::Interrupted { action }),
        }
    }
}

impl Inner {
    pub(crate) fn snapshot(&self) -> Arc<MetadataSnapshot> {
        Arc::clone(&self.snapshot.read())
    }

    /// Makes the change visible. The caller holds the writer and has committed.
    pub(crate) fn swap(&self, snapshot: MetadataSnapshot) {
        *self.snapshot.write() = Arc::new(snapshot);
    }

    /// Makes the segments of one datasource the visible ones. The caller holds the writer and has committed.
    pub(crate) fn swap_datasource(&self, name: &str, segments: Vec<Arc<DataSegment>>) {
        let snapshot = self.snapshot().with(name, segments);
        self.swap(snapshot);
    }

    /// Reads everything again; the caller holds the writer.
    pub(crate) async fn reload(&self, writer: &mut SqliteConnection) -> Result<(), MetadataError> {
        let sequence = self.snapshot().sequence() + 1;
        let snapshot = load(writer, sequence).await?;
        self.swap(snapshot);
        Ok(())
    }

    /// Gives the newest used version that overlaps the interval, which a new lock has to exceed.
    pub(crate) fn newest_version(&self, datasource: &str, interval: &Interval) -> Option<String> {
        let snapshot = self.snapshot();
        let segments = &snapshot.datasource(datasource)?.segments;
        let overlapping = segments.iter().filter(|s| s.segment.interval.overlaps(interval));
        overlapping
            .map(|s| s.segment.version.as_str())
            .max()
            .map(str::to_string)
    }

    /// Gives the used segments of a datasource.
    pub(crate) fn used(&self, datasource: &str) -> Vec<Arc<DataSegment>> {
        self.snapshot()
            .datasource(datasource)
            .map(|d| d.segments.iter().map(|s| Arc::clone(&s.segment)).collect())
            .unwrap_or_default()
    }
}

/// Gives the present as the tables write it.
pub(crate) fn now() -> String {
    format_millis(chrono::Utc::now().timestamp_millis())
}

fn take_ownership(path: &Path) -> Result<File, MetadataError> {
    let failed = |source| MetadataError::Open {
        path: path.to_path_buf(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut name = path.as_os_str().to_os_string();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(name)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(MetadataError::InUse {
            path: path.to_path_buf(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

async fn load(writer: &mut SqliteConnection, sequence: u64) -> Result<MetadataSnapshot, MetadataError> {
    let action = "read the published segments";
    let rows = sqlx::query("SELECT id, payload FROM druid_segments WHERE used = 1")
        .fetch_all(writer)
        .await
        .action(action)?;
    let mut datasources: BTreeMap<String, Vec<Arc<DataSegment>>> = BTreeMap::new();
    for row in &rows {
        let segment = read_segment(row.try_get(0).action(action)?, row.try_get(1).action(action)?)?;
        datasources
            .entry(segment.datasource.clone())
            .or_default()
            .push(Arc::new(segment));
    }
    Ok(MetadataSnapshot {
        datasources: datasources
            .into_iter()
            .map(|(name, segments)| (name, Arc::new(DatasourceSnapshot::build(segments))))
            .collect(),
        sequence,
    })
}

pub(crate) fn read_segment(id: String, payload: &[u8]) -> Result<DataSegment, MetadataError> {
    serde_json::from_slice(payload).map_err(|source| MetadataError::Corrupt {
        what: "segment",
        id,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        allocate, allocate_request, days, filled, lock_request, publish, replace, segment, store, visible,
    };
    use crate::{LockKind, PublishKind, TombstoneRequest};
    use henge_time::Granularity;
    use proptest::prelude::*;

    #[tokio::test]
    async fn tables_and_columns_are_druids() {
        let (store, _folder) = store().await;
        let golden = include_str!("../../../tests/golden/metadata/ddl-derby.sql").to_ascii_lowercase();
        let mut compared = 0;
        for statement in golden
            .split("create table ")
            .skip(1)
            .filter_map(|s| s.split(";\n").next())
        {
            let table = statement.split_whitespace().next().unwrap_or_default();
            let expected: Vec<String> = statement
                .lines()
                .filter_map(|line| line.trim().strip_prefix('"'))
                .filter_map(|line| line.split('"').next().map(str::to_string))
                .collect();
            let found: Vec<(String,)> = sqlx::query_as("SELECT lower(name) FROM pragma_table_info(?)")
                .bind(table)
                .fetch_all(&store.inner.readers)
                .await
                .expect("columns");
            let mut found: Vec<String> = found.into_iter().map(|(name,)| name).collect();
            // Columns of the centralized schema feature, which the checked server had off.
            found.retain(|name| !["schema_fingerprint", "num_rows"].contains(&name.as_str()));
            assert_eq!(found, expected, "{table}");
            compared += 1;
        }
        assert_eq!(compared, 11);
        let indexes: Vec<(String,)> =
            sqlx::query_as("SELECT lower(name) FROM sqlite_master WHERE sql LIKE 'CREATE INDEX%'")
                .fetch_all(&store.inner.readers)
                .await
                .expect("indexes");
        let created = golden.lines().filter_map(|line| line.strip_prefix("create index "));
        let mut expected: Vec<&str> = created.filter_map(|line| line.split(' ').next()).collect();
        let mut found: Vec<&str> = indexes.iter().map(|(name,)| name.as_str()).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn a_closed_store_has_everything_in_one_file() {
        let (store, folder) = store().await;
        replace(&store, "a", &[days(0, 1)]).await;
        store.close().await.expect("closed");
        let copy = folder.path().join("copy.db");
        std::fs::copy(folder.path().join("metadata.db"), &copy).expect("copied");
        let copied = MetadataStore::open(&copy).await.expect("opens");
        assert_eq!(visible(&copied), visible(&store));
    }

    /// One statement of the random test: days that it covers, and of those the ones that get data.
    #[derive(Debug, Clone)]
    enum Statement {
        Insert {
            day: i64,
            segments: usize,
        },
        Replace {
            from: i64,
            to: i64,
            written: Vec<bool>,
            retire: bool,
        },
        RetireHidden,
    }

    fn statement() -> impl Strategy<Value = Statement> {
        prop_oneof![
            (0i64..6, 1usize..4).prop_map(|(day, segments)| Statement::Insert { day, segments }),
            (
                0i64..6,
                1i64..4,
                prop::collection::vec(any::<bool>(), 10),
                any::<bool>()
            )
                .prop_map(|(from, length, written, retire)| Statement::Replace {
                    from,
                    to: from + length,
                    written,
                    retire,
                }),
            Just(Statement::RetireHidden),
        ]
    }

    async fn insert(store: &MetadataStore, task: &str, day: i64, count: usize) -> Vec<String> {
        let mut segments = Vec::new();
        let mut previous = None;
        for _ in 0..count {
            let place = allocate(store, allocate_request(task, days(day, day + 1), previous.as_ref())).await;
            segments.push(filled(&place));
            previous = Some(place);
        }
        let ids = segments.iter().map(|s| s.id().to_string()).collect();
        store
            .publish(publish(task, PublishKind::Append, segments))
            .await
            .expect("published");
        ids
    }

    async fn replace_days(
        store: &MetadataStore,
        task: &str,
        interval: Interval,
        written: &[i64],
        retire: bool,
    ) -> BTreeMap<i64, String> {
        let locks = store
            .lock_all_or_wait(lock_request(task, LockKind::Exclusive, &[interval]))
            .await
            .expect("locked");
        let mut segments: Vec<_> = written
            .iter()
            .map(|day| segment(days(*day, day + 1), &locks[0].version, 0, 1))
            .collect();
        let ids = written
            .iter()
            .copied()
            .zip(segments.iter().map(|s| s.id().to_string()))
            .collect();
        let tombstones = store
            .tombstones(&TombstoneRequest {
                task_id: task.to_string(),
                datasource: "d".to_string(),
                replaced: vec![interval],
                published: segments.iter().map(|s| s.interval).collect(),
                granularity: Granularity::DAY,
            })
            .expect("computed");
        segments.extend(tombstones.segments);
        let mut publish = publish(task, PublishKind::Replace, segments);
        publish.retire_overshadowed = retire;
        store.publish(publish).await.expect("published");
        ids
    }

    /// Gives the ids of visible data segments by day.
    fn data(store: &MetadataStore) -> BTreeMap<i64, Vec<String>> {
        let mut data: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        let snapshot = store.snapshot();
        let visible = snapshot
            .datasource("d")
            .map(|d| d.timeline.visible())
            .unwrap_or_default();
        for (interval, segment) in visible.iter().filter(|(_, s)| !s.is_tombstone()) {
            data.entry(interval.start_ms / crate::testing::DAY)
                .or_default()
                .push(segment.id().to_string());
        }
        data
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn statements_one_after_the_other_do_what_their_words_say(statements in prop::collection::vec(statement(), 1..12)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (store, folder) = store().await;
                let mut model: BTreeMap<i64, Vec<String>> = BTreeMap::new();
                for (number, statement) in statements.into_iter().enumerate() {
                    let task = format!("task-{number}");
                    match statement {
                        Statement::Insert { day, segments } => {
                            let ids = insert(&store, &task, day, segments).await;
                            model.entry(day).or_default().extend(ids);
                        }
                        Statement::Replace { from, to, written, retire } => {
                            let written: Vec<i64> = (from..to).zip(written).filter(|(_, w)| *w).map(|(day, _)| day).collect();
                            let ids = replace_days(&store, &task, days(from, to), &written, retire).await;
                            (from..to).for_each(|day| {
                                model.remove(&day);
                            });
                            model.extend(ids.into_iter().map(|(day, id)| (day, vec![id])));
                        }
                        Statement::RetireHidden => {
                            store.mark_overshadowed_unused().await.expect("marked");
                        }
                    }
                    store.release(&task).await.expect("released");
                    assert_eq!(data(&store), model);
                }
                drop(store);
                let reopened = MetadataStore::open(&folder.path().join("metadata.db")).await.expect("opens again");
                assert_eq!(data(&reopened), model);
            });
        }
    }
}
