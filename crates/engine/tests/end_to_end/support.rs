//! An engine in a temporary folder, and short words for what tests do with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use henge_engine::controller::results::ResultFormat;
use henge_engine::report::{QueryReport, ReportStatus};
use henge_engine::{Engine, EngineConfig, Fault, PlanKind, TaskRequest, TaskState};
use henge_sql::{SqlRequest, Statement};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Fail points belong to the process: tests that set some run alone.
static FAIL_POINTS: RwLock<()> = RwLock::const_new(());

/// Held by every test that must not meet a fail point.
pub async fn no_fail_points() -> RwLockReadGuard<'static, ()> {
    FAIL_POINTS.read().await
}

/// Held by a test that sets fail points.
pub async fn fail_points_alone() -> RwLockWriteGuard<'static, ()> {
    FAIL_POINTS.write().await
}

pub struct World {
    pub engine: Arc<Engine>,
    pub dir: TempDir,
}

/// How a task ended, and its report.
pub struct Outcome {
    pub state: TaskState,
    pub report: Arc<QueryReport>,
}

impl Outcome {
    pub fn succeeded(self) -> Arc<QueryReport> {
        assert_eq!(self.state.status, ReportStatus::Success, "{:?}", self.state.fault);
        self.report
    }

    pub fn fault(self) -> Fault {
        assert_eq!(self.state.status, ReportStatus::Failed);
        self.state.fault.expect("a failed task has a fault")
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(256 << 20, 2).await
    }

    pub async fn with(memory_bytes: u64, threads: usize) -> Self {
        let dir = TempDir::new().expect("a folder");
        let engine = open(dir.path(), memory_bytes, threads).await;
        Self { engine, dir }
    }

    /// Runs a statement as a task.
    pub async fn task(&self, sql: &str) -> Outcome {
        self.task_with(sql, json!({})).await
    }

    pub async fn task_with(&self, sql: &str, context: Value) -> Outcome {
        let id = self.submit(sql, context).await;
        self.outcome(&id).await
    }

    pub async fn submit(&self, sql: &str, context: Value) -> String {
        let planned = self
            .engine
            .plan(PlanKind::Task, request(sql, context))
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        let task_id = format!("query-{}", uuid::Uuid::new_v4());
        let datasource = match &planned.statement {
            Statement::Insert(ingest) | Statement::Replace(ingest, _) => ingest.target.clone(),
            _ => "__query_select".to_string(),
        };
        let created_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_millis() as i64;
        let task = TaskRequest {
            task_id: task_id.clone(),
            group_id: task_id.clone(),
            datasource,
            planned,
            payload: json!({"type": "query_controller", "id": task_id}),
            created_ms,
        };
        self.engine.submit(task).await.expect("taken on");
        task_id
    }

    pub async fn outcome(&self, task_id: &str) -> Outcome {
        let state = self.engine.wait(task_id).await.expect("known");
        let report = self.engine.report(task_id).await.expect("reported");
        Outcome { state, report }
    }

    /// Rows of a SELECT that runs as a task.
    pub async fn task_rows(&self, sql: &str) -> Vec<Vec<Value>> {
        let report = self.task(sql).await.succeeded();
        report.results.as_ref().expect("a SELECT has results").rows.clone()
    }

    /// Rows of an interactive SELECT, shown as tasks show them.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        let planned = self.engine.plan(PlanKind::Interactive, request(sql, json!({}))).await;
        let planned = planned.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let format = ResultFormat::read(&planned.context);
        let mut answer = self
            .engine
            .query("test", planned)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        let mut rows = Vec::new();
        while let Some(batch) = answer.stream.next().await {
            rows.extend(format.rows(&batch.expect("a batch"), &answer.columns).expect("shown"));
        }
        rows
    }

    /// Files below a folder of the data folder, but for what every engine has.
    pub fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect_files(&self.dir.path().join(folder), &mut files);
        files
    }
}

fn collect_files(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_files(&path, files)
        } else {
            files.push(path)
        }
    }
}

pub async fn open(dir: &Path, memory_bytes: u64, threads: usize) -> Arc<Engine> {
    let config = EngineConfig {
        dir: dir.to_path_buf(),
        memory_bytes,
        threads,
        advertised: "localhost:8888".to_string(),
    };
    Engine::open(config).await.expect("an engine")
}

fn request(sql: &str, context: Value) -> SqlRequest {
    let context = context.as_object().cloned().unwrap_or_default();
    SqlRequest {
        sql: sql.to_string(),
        context,
        parameters: Vec::new(),
    }
}

/// Words `TABLE(EXTERN(…))` over rows in the statement.
pub fn inline(rows: &[Value], columns: &str) -> String {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    inline_text(&lines.join("\n"), r#"{"type":"json"}"#, columns)
}

pub fn inline_text(data: &str, format: &str, columns: &str) -> String {
    let source = json!({"type": "inline", "data": data}).to_string().replace('\'', "''");
    format!(
        "TABLE(EXTERN('{source}', '{}')) EXTEND ({columns})",
        format.replace('\'', "''")
    )
}

/// Words `TABLE(EXTERN(…))` over files.
pub fn local(files: &[&Path], format: &str, columns: &str) -> String {
    let source = json!({"type": "local", "files": files}).to_string();
    format!("TABLE(EXTERN('{source}', '{format}')) EXTEND ({columns})")
}

/// Brings rows into one order, for statements without ORDER BY.
pub fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort_by_key(|row| Value::Array(row.clone()).to_string());
    rows
}

/// Ten rows in three days; nulls among them.
pub fn visits() -> String {
    let rows = [
        json!({"t": "2015-01-01T00:10:00Z", "country": "AU", "city": "Perth", "n": 1, "x": 0.5}),
        json!({"t": "2015-01-01T01:20:00Z", "country": "AU", "city": "Sydney", "n": 2, "x": 1.5}),
        json!({"t": "2015-01-01T02:30:00Z", "country": "BR", "city": "Recife", "n": 3, "x": -2.25}),
        json!({"t": "2015-01-01T03:40:00Z", "country": "CA", "city": "Ottawa", "n": 4, "x": null}),
        json!({"t": "2015-01-01T04:50:00Z", "country": "DE", "city": "Köln", "n": 5, "x": 10.0}),
        json!({"t": "2015-01-02T00:00:00Z", "country": "AU", "city": "Perth", "n": 6, "x": 0.25}),
        json!({"t": "2015-01-02T05:00:00Z", "country": "FR", "city": "Paris", "n": 7, "x": 3.0}),
        json!({"t": "2015-01-02T06:00:00Z", "country": null, "city": "Nowhere", "n": 8, "x": 4.0}),
        json!({"t": "2015-01-04T12:00:00Z", "country": "US", "city": "Austin", "n": 9, "x": 5.5}),
        json!({"t": "2015-01-04T13:00:00Z", "country": "US", "city": "Boston", "n": null, "x": 6.5}),
    ];
    inline(
        &rows,
        r#""t" VARCHAR, "country" VARCHAR, "city" VARCHAR, "n" BIGINT, "x" DOUBLE"#,
    )
}

pub const VISIT_COLUMNS: &str = r#"TIME_PARSE("t") AS "__time", "country", "city", "n", "x""#;

/// Loads the visits into a table, several segments a day.
pub async fn load_visits(world: &World, table: &str) {
    let sql = format!(
        r#"REPLACE INTO "{table}" OVERWRITE ALL SELECT {VISIT_COLUMNS} FROM {} PARTITIONED BY DAY CLUSTERED BY "country", "city""#,
        visits()
    );
    world.task_with(&sql, json!({"rowsPerSegment": 2})).await.succeeded();
}
