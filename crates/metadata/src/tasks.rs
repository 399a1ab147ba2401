//! The tasks table: what was asked for, and how it ended.

use henge_time::{Interval, format_millis};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::MetadataError;
use crate::error::Action;
use crate::store::{MetadataStore, now};

/// State of a task as the table knows it; PENDING and WAITING are the runner's words and are never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskState {
    /// Not ended yet.
    Running,
    /// Ended well.
    Success,
    /// Ended badly, or cancelled.
    Failed,
}

/// Where a task runs. Ports are −1 where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskLocation {
    /// Host, none before the task is placed.
    pub host: Option<String>,
    /// Plain port.
    pub port: i32,
    /// TLS port.
    pub tls_port: i32,
}

impl TaskLocation {
    /// Nowhere yet.
    pub const UNKNOWN: TaskLocation = TaskLocation {
        host: None,
        port: -1,
        tls_port: -1,
    };
}

/// How a task stands: Druid's `status_payload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    /// Task.
    pub id: String,
    /// State.
    #[serde(rename = "status")]
    pub state: TaskState,
    /// Milliseconds from start to end; −1 while running.
    pub duration: i64,
    /// Why it failed.
    pub error_msg: Option<String>,
    /// Where it ran.
    pub location: TaskLocation,
}

impl TaskStatus {
    /// Gives the status of a task that has just been accepted.
    pub fn running(id: &str) -> Self {
        TaskStatus {
            id: id.to_string(),
            state: TaskState::Running,
            duration: -1,
            error_msg: None,
            location: TaskLocation::UNKNOWN,
        }
    }
}

/// A row of the tasks table.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Id.
    pub id: String,
    /// When it was accepted, ISO-8601.
    pub created_date: String,
    /// Datasource that it writes.
    pub datasource: String,
    /// The task JSON.
    pub payload: Value,
    /// How it stands.
    pub status: TaskStatus,
    /// Type of the task (`query_controller`).
    pub task_type: Option<String>,
    /// Group.
    pub group_id: Option<String>,
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Running ones, or ended ones.
    pub active: Option<bool>,
    /// In this state.
    pub state: Option<TaskState>,
    /// Writing this datasource.
    pub datasource: Option<String>,
    /// Of this type.
    pub task_type: Option<String>,
    /// Ended ones that were accepted inside the interval; running ones are listed regardless, as Druid does.
    pub created: Option<Interval>,
    /// At most this many ended ones, the newest.
    pub max_completed: Option<usize>,
}

const COLUMNS: &str = "id, created_date, datasource, payload, status_payload, type, group_id";

impl MetadataStore {
    /// Adds a task. An id that exists is refused.
    pub async fn insert_task(&self, task: TaskRecord) -> Result<(), MetadataError> {
        let inner = self.inner.clone();
        self.detached("insert a task", async move {
            let mut writer = inner.writer.lock().await;
            let action = "insert a task";
            let exists = sqlx::query("SELECT 1 FROM druid_tasks WHERE id = ?")
                .bind(&task.id)
                .fetch_optional(&mut *writer)
                .await
                .action(action)?;
            if exists.is_some() {
                return Err(MetadataError::AlreadyExists {
                    what: "task",
                    id: task.id,
                });
            }
            sqlx::query(
                "INSERT INTO druid_tasks (id, created_date, datasource, payload, status_payload, active, type, group_id) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&task.id)
            .bind(&task.created_date)
            .bind(&task.datasource)
            .bind(json_bytes(&task.payload)?)
            .bind(json_bytes(&task.status)?)
            .bind(task.status.state == TaskState::Running)
            .bind(&task.task_type)
            .bind(&task.group_id)
            .execute(&mut *writer)
            .await
            .action(action)?;
            Ok(())
        })
        .await
    }

    /// Stores how a task stands. A task that has ended keeps its first ending: the answer is false then.
    pub async fn update_status(&self, status: &TaskStatus) -> Result<bool, MetadataError> {
        let (inner, status) = (self.inner.clone(), status.clone());
        self.detached("update a task", async move {
            let mut writer = inner.writer.lock().await;
            let done = sqlx::query("UPDATE druid_tasks SET status_payload = ?, active = ? WHERE id = ? AND active = 1")
                .bind(json_bytes(&status)?)
                .bind(status.state == TaskState::Running)
                .bind(&status.id)
                .execute(&mut *writer)
                .await
                .action("update a task")?;
            if done.rows_affected() > 0 {
                return Ok(true);
            }
            let row = sqlx::query("SELECT 1 FROM druid_tasks WHERE id = ?")
                .bind(&status.id)
                .fetch_optional(&mut *writer)
                .await
                .action("update a task")?;
            row.map(|_| false).ok_or(MetadataError::NotFound {
                what: "task",
                id: status.id,
            })
        })
        .await
    }

    /// Gives a task.
    pub async fn task(&self, id: &str) -> Result<Option<TaskRecord>, MetadataError> {
        let query = format!("SELECT {COLUMNS} FROM druid_tasks WHERE id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(id)
            .fetch_optional(&self.inner.readers)
            .await
            .action("read a task")?;
        row.as_ref().map(from_row).transpose()
    }

    /// Lists tasks, the newest first, running ones before ended ones.
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, MetadataError> {
        let mut found = Vec::new();
        for active in [true, false] {
            if filter.active.is_some_and(|wanted| wanted != active)
                || filter
                    .state
                    .is_some_and(|state| (state == TaskState::Running) != active)
            {
                continue;
            }
            let query = format!(
                "SELECT {COLUMNS} FROM druid_tasks WHERE active = ? AND (? IS NULL OR datasource = ?) \
                 AND (? IS NULL OR type = ?) AND (? IS NULL OR created_date >= ?) AND (? IS NULL OR created_date < ?) \
                 ORDER BY created_date DESC, id LIMIT ?"
            );
            let created = filter.created.filter(|_| !active);
            let from = created.and_then(|i| comparable(i.start_ms));
            let to = created.and_then(|i| comparable(i.end_ms));
            // The state of ended tasks is inside the payload, so that the limit on them is counted here.
            let limit = filter.max_completed.filter(|_| !active).unwrap_or(usize::MAX);
            let row_limit = if filter.state.is_none() { limit } else { usize::MAX };
            let rows = sqlx::query(sqlx::AssertSqlSafe(query))
                .bind(active)
                .bind(&filter.datasource)
                .bind(&filter.datasource)
                .bind(&filter.task_type)
                .bind(&filter.task_type)
                .bind(&from)
                .bind(&from)
                .bind(&to)
                .bind(&to)
                .bind(i64::try_from(row_limit).unwrap_or(i64::MAX))
                .fetch_all(&self.inner.readers)
                .await
                .action("list tasks")?;
            let mut taken = 0;
            for row in rows.iter() {
                let task = from_row(row)?;
                if taken < limit && filter.state.is_none_or(|state| state == task.status.state) {
                    found.push(task);
                    taken += 1;
                }
            }
        }
        Ok(found)
    }
}

/// Gives the text of an instant where texts compare as times do: years of four digits. Others bound nothing.
fn comparable(millis: i64) -> Option<String> {
    Some(format_millis(millis)).filter(|text| text.len() == 24 && !text.starts_with('-'))
}

/// Marks tasks that a dead process left running as failed, says whether they had published, and forgets their locks and
/// allocations. Runs before anybody else can use the store.
pub(crate) async fn recover(writer: &mut SqliteConnection) -> Result<Vec<TaskRecord>, MetadataError> {
    let action = "recover the tasks of the previous process";
    let query = format!("SELECT {COLUMNS} FROM druid_tasks WHERE active = 1 ORDER BY created_date, id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(query))
        .fetch_all(&mut *writer)
        .await
        .action(action)?;
    let mut recovered = Vec::new();
    for row in &rows {
        let mut task = from_row(row)?;
        let published = if has_published(writer, &task.id).await? {
            "its segments had been published and stay"
        } else {
            "it had not published anything, run it again"
        };
        task.status.state = TaskState::Failed;
        task.status.error_msg = Some(format!(
            "the henge process ended while the task was running; {published} (noticed at {})",
            now()
        ));
        recovered.push(task);
    }
    for task in &recovered {
        sqlx::query("UPDATE druid_tasks SET status_payload = ?, active = 0 WHERE id = ?")
            .bind(json_bytes(&task.status)?)
            .bind(&task.id)
            .execute(&mut *writer)
            .await
            .action(action)?;
    }
    sqlx::query("DELETE FROM druid_tasklocks")
        .execute(&mut *writer)
        .await
        .action(action)?;
    sqlx::query("DELETE FROM druid_pendingSegments")
        .execute(&mut *writer)
        .await
        .action(action)?;
    Ok(recovered)
}

/// Tells whether segments of a task are there: under the version of one of its locks, or under an id allocated for it.
async fn has_published(writer: &mut SqliteConnection, task_id: &str) -> Result<bool, MetadataError> {
    let row = sqlx::query(
        "SELECT 1 FROM druid_segments s WHERE s.id IN (SELECT p.id FROM druid_pendingSegments p WHERE p.task_allocator_id = ?) \
         UNION ALL \
         SELECT 1 FROM druid_tasklocks l JOIN druid_segments s \
           ON s.dataSource = json_extract(CAST(l.lock_payload AS TEXT), '$.dataSource') \
          AND s.version = json_extract(CAST(l.lock_payload AS TEXT), '$.version') \
         WHERE l.task_id = ? AND json_extract(CAST(l.lock_payload AS TEXT), '$.type') IN ('EXCLUSIVE', 'REPLACE') LIMIT 1",
    )
    .bind(task_id)
    .bind(task_id)
    .fetch_optional(writer)
    .await
    .action("look for segments of a task")?;
    Ok(row.is_some())
}

fn from_row(row: &SqliteRow) -> Result<TaskRecord, MetadataError> {
    let action = "read a task";
    let id: String = row.try_get(0).action(action)?;
    let corrupt = |source| MetadataError::Corrupt {
        what: "task",
        id: id.clone(),
        source,
    };
    let payload: &[u8] = row.try_get(3).action(action)?;
    let status: &[u8] = row.try_get(4).action(action)?;
    Ok(TaskRecord {
        created_date: row.try_get(1).action(action)?,
        datasource: row.try_get(2).action(action)?,
        payload: serde_json::from_slice(payload).map_err(corrupt)?,
        status: serde_json::from_slice(status).map_err(corrupt)?,
        task_type: row.try_get(5).action(action)?,
        group_id: row.try_get(6).action(action)?,
        id,
    })
}

/// Serialises a payload; only a map with keys that are no strings could fail.
pub(crate) fn json_bytes(value: &impl Serialize) -> Result<Vec<u8>, MetadataError> {
    serde_json::to_vec(value).map_err(|e| MetadataError::Invalid(format!("cannot write a payload as JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{allocate, allocate_request, days, filled, lock, publish, segment, store};
    use crate::{LockKind, MetadataErrorKind, PublishKind};

    fn task(id: &str, day: i64, datasource: &str) -> TaskRecord {
        TaskRecord {
            id: id.to_string(),
            created_date: format_millis(days(day, day + 1).start_ms),
            datasource: datasource.to_string(),
            payload: serde_json::json!({"type": "query_controller", "id": id}),
            status: TaskStatus::running(id),
            task_type: Some("query_controller".to_string()),
            group_id: Some(id.to_string()),
        }
    }

    fn ended(id: &str, state: TaskState) -> TaskStatus {
        TaskStatus {
            state,
            duration: 17,
            ..TaskStatus::running(id)
        }
    }

    #[test]
    fn statuses_equal_druids() {
        for line in include_str!("../../../tests/golden/metadata/druid_tasks.jsonl").lines() {
            let row: Value = serde_json::from_str(line).expect("a golden row");
            let payload = row["STATUS_PAYLOAD"].to_string();
            let status: TaskStatus = serde_json::from_str(&payload).expect("a status");
            assert_eq!(serde_json::to_string(&status).expect("serialises"), payload);
            assert_eq!(row["ACTIVE"], status.state == TaskState::Running);
        }
    }

    #[tokio::test]
    async fn tasks_are_kept_and_listed() {
        let (store, _folder) = store().await;
        for (id, day, datasource) in [("a", 0, "d"), ("b", 1, "d"), ("c", 2, "e"), ("e", 3, "d")] {
            store.insert_task(task(id, day, datasource)).await.expect("inserted");
        }
        let twice = store.insert_task(task("a", 9, "d")).await.map_err(|e| e.kind());
        assert_eq!(twice, Err(MetadataErrorKind::AlreadyExists));
        assert!(
            store
                .update_status(&ended("a", TaskState::Success))
                .await
                .expect("updated")
        );
        assert!(
            store
                .update_status(&ended("b", TaskState::Failed))
                .await
                .expect("updated")
        );
        assert!(
            store
                .update_status(&ended("c", TaskState::Success))
                .await
                .expect("updated")
        );
        assert!(
            !store
                .update_status(&ended("a", TaskState::Failed))
                .await
                .expect("an answer"),
            "ended once"
        );
        let missing = store
            .update_status(&ended("x", TaskState::Failed))
            .await
            .map_err(|e| e.kind());
        assert_eq!(missing, Err(MetadataErrorKind::NotFound));
        let found = store.task("a").await.expect("read").expect("there");
        assert_eq!(found.status, ended("a", TaskState::Success));
        assert_eq!(found.payload, task("a", 0, "d").payload);
        assert!(store.task("x").await.expect("read").is_none());

        let list = |filter: TaskFilter| {
            let store = store.clone();
            async move {
                let tasks = store.tasks(&filter).await.expect("listed");
                tasks.into_iter().map(|t| t.id).collect::<Vec<_>>()
            }
        };
        let all = TaskFilter::default();
        assert_eq!(list(all.clone()).await, ["e", "c", "b", "a"]);
        assert_eq!(
            list(TaskFilter {
                active: Some(true),
                ..all.clone()
            })
            .await,
            ["e"]
        );
        assert_eq!(
            list(TaskFilter {
                state: Some(TaskState::Success),
                ..all.clone()
            })
            .await,
            ["c", "a"]
        );
        assert_eq!(
            list(TaskFilter {
                datasource: Some("d".into()),
                ..all.clone()
            })
            .await,
            ["e", "b", "a"]
        );
        assert_eq!(
            list(TaskFilter {
                task_type: Some("kill".into()),
                ..all.clone()
            })
            .await,
            Vec::<String>::new()
        );
        assert_eq!(
            list(TaskFilter {
                max_completed: Some(1),
                ..all.clone()
            })
            .await,
            ["e", "c"]
        );
        assert_eq!(
            list(TaskFilter {
                created: Some(days(0, 2)),
                ..all.clone()
            })
            .await,
            ["e", "b", "a"]
        );
        assert_eq!(
            list(TaskFilter {
                created: Some(Interval::ETERNITY),
                ..all.clone()
            })
            .await,
            ["e", "c", "b", "a"]
        );
        let last_success = TaskFilter {
            state: Some(TaskState::Success),
            max_completed: Some(1),
            ..all
        };
        assert_eq!(list(last_success).await, ["c"]);
    }

    #[tokio::test]
    async fn a_new_process_ends_the_tasks_of_the_old_one() {
        let (store, folder) = store().await;
        for id in ["unpublished", "replaced", "inserted", "done"] {
            store.insert_task(task(id, 0, "d")).await.expect("inserted");
        }
        store
            .update_status(&ended("done", TaskState::Success))
            .await
            .expect("updated");
        lock(&store, "unpublished", LockKind::Exclusive, days(0, 1)).await;
        let held = lock(&store, "replaced", LockKind::Exclusive, days(1, 2)).await;
        let segments = vec![segment(days(1, 2), &held.version, 0, 1)];
        store
            .publish(publish("replaced", PublishKind::Replace, segments))
            .await
            .expect("published");
        let place = allocate(&store, allocate_request("inserted", days(2, 3), None)).await;
        store
            .publish(publish("inserted", PublishKind::Append, vec![filled(&place)]))
            .await
            .expect("published");

        let path = folder.path().join("metadata.db");
        let owned = MetadataStore::open(&path).await.map(|_| ()).map_err(|e| e.kind());
        assert_eq!(owned, Err(MetadataErrorKind::InUse));
        drop(store);
        let store = MetadataStore::open(&path).await.expect("opens again");
        let mut messages = Vec::new();
        for task in store.recovered_tasks() {
            let stored = store.task(&task.id).await.expect("read").expect("there");
            assert_eq!((stored.status.state, &stored.status), (TaskState::Failed, &task.status));
            let message = stored.status.error_msg.expect("a message");
            messages.push((task.id.clone(), message.contains("it had not published anything")));
        }
        let expected = [("inserted", false), ("replaced", false), ("unpublished", true)];
        assert_eq!(
            messages,
            expected.map(|(id, unpublished)| (id.to_string(), unpublished))
        );
        assert!(store.locks().is_empty());
        for table in ["druid_tasklocks", "druid_pendingSegments"] {
            let query = format!("SELECT COUNT(*) FROM {table}");
            let (rows,): (i64,) = sqlx::query_as(sqlx::AssertSqlSafe(query))
                .fetch_one(&store.inner.readers)
                .await
                .expect("a count");
            assert_eq!(rows, 0, "{table}");
        }
        assert_eq!(store.snapshot().datasource("d").map(|d| d.segments.len()), Some(2));
    }
}
