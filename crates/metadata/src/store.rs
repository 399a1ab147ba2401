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
        let readers = SqlitePoolOptions::new()
            .max_connections(READ_CONNECTIONS)
            .connect_lazy_with(options.read_only(true).create_if_missing(false));
        Ok(MetadataStore {
            inner: Arc::new(Inner {
                writer: tokio::sync::Mutex::new(writer),
                readers,
                locks: Mutex::default(),
                snapshot: RwLock::new(Arc::new(snapshot)),
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
