//! The Overlord's routes that are about no single task: leadership, workers, locks, supervisors, compaction.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use henge_metadata::{LockKind, TaskFilter, TaskLock};
use henge_time::Interval;
use serde_json::{Value, json};

use super::answer::{bare, empty, json as answer_json, json_body, text};
use super::task::store_failure;
use crate::error::ApiError;
use crate::state::AppState;

/// Gives the routes.
pub fn routes() -> Router<AppState> {
    let list = || async { answer_json(&json!([])) };
    Router::new()
        .route(
            "/druid/indexer/v1/isLeader",
            get(|| async { answer_json(&json!({"leader": true})) }),
        )
        .route("/druid/indexer/v1/leader", get(leader))
        .route("/druid/indexer/v1/totalWorkerCapacity", get(capacity))
        .route("/druid/indexer/v1/workers", get(workers))
        .route("/druid/indexer/v1/worker", get(|| async { empty(StatusCode::OK) }))
        .route("/druid/indexer/v1/worker/history", get(list))
        .route("/druid/indexer/v1/scaling", get(|| async { empty(StatusCode::OK) }))
        .route("/druid/indexer/v1/lockedIntervals/v2", post(locked_intervals))
        .route("/druid/indexer/v1/supervisor", get(list))
        .route(
            "/druid/indexer/v1/supervisor/history",
            get(|| async { answer_json(&json!({})) }),
        )
        .route("/druid/indexer/v1/supervisor/{id}", get(no_supervisor))
        .route("/druid/indexer/v1/supervisor/{id}/status", get(no_supervisor))
        .route("/druid/indexer/v1/supervisor/{id}/history", get(no_supervisor_history))
        .route(
            "/druid/indexer/v1/compaction/isSupervisorEnabled",
            get(|| async { answer_json(&json!(false)) }),
        )
        .route(
            "/druid/indexer/v1/compaction/config/datasources",
            get(|| async { answer_json(&json!({"compactionConfigs": []})) }),
        )
        .route(
            "/druid/indexer/v1/compaction/config/datasources/{datasource}",
            get(no_compaction),
        )
        .route(
            "/druid/indexer/v1/compaction/config/datasources/{datasource}/history",
            get(|| async { answer_json(&json!({"entries": []})) }),
        )
        .route(
            "/druid/indexer/v1/compaction/status/datasources",
            get(|| async { answer_json(&json!({"latestStatus": []})) }),
        )
        .route("/druid/indexer/v1/activeLocks", post(active_locks))
        .route("/druid/worker/v1/enabled", get(worker_enabled))
        .route("/druid/worker/v1/tasks", get(worker_tasks))
}

async fn leader(State(state): State<AppState>) -> Response {
    bare(StatusCode::OK, format!("http://{}", state.info.advertised))
}

/// Gives the slots in use: running tasks. henge queues nothing, so a busy process has as many slots as tasks.
async fn used(state: &AppState) -> Result<Vec<henge_metadata::TaskRecord>, Response> {
    let filter = TaskFilter {
        active: Some(true),
        ..TaskFilter::default()
    };
    state
        .engine
        .metadata()
        .tasks(&filter)
        .await
        .map_err(|error| store_failure(&error))
}

async fn capacity(State(state): State<AppState>) -> Response {
    answer_json(&json!({
        "currentClusterCapacity": slots(&state),
        "maximumCapacityWithAutoScale": -1,
        // Nothing runs out of slots here; a number above zero makes the console warn before every task.
        "usedClusterCapacity": 0,
    }))
}

/// Gives the tasks that a query may use: a controller and one worker a thread.
fn slots(state: &AppState) -> usize {
    state.engine.config().threads + 1
}

async fn workers(State(state): State<AppState>) -> Response {
    let running = match used(&state).await {
        Ok(running) => running,
        Err(response) => return response,
    };
    let ids: Vec<&str> = running.iter().map(|task| task.id.as_str()).collect();
    answer_json(&json!([{
        "worker": {
            "scheme": "http",
            "host": state.info.advertised,
            "ip": state.info.host(),
            "capacity": slots(&state),
            "version": "0",
            "category": "_default_worker_category",
        },
        "currCapacityUsed": ids.len(),
        "currParallelIndexCapacityUsed": 0,
        "availabilityGroups": ids,
        "runningTasks": ids,
        "lastCompletedTaskTime": henge_time::format_millis(state.info.start_time_ms),
    }]))
}

async fn locked_intervals(State(state): State<AppState>, request: Request) -> Response {
    let intervals = |locks: &[&TaskLock]| {
        let held = locks.iter().filter(|lock| !lock.revoked);
        let intervals = Interval::condense(held.map(|lock| lock.interval));
        intervals.iter().map(|interval| json!(interval.to_string())).collect()
    };
    match locks_by_datasource(&state, request, intervals).await {
        Ok(answer) => answer_json(&answer),
        Err(refusal) => refusal,
    }
}

/// Lists the locks of datasources, of a priority at least.
async fn active_locks(State(state): State<AppState>, request: Request) -> Response {
    let shown = |lock: &&TaskLock| {
        json!({
            "granularity": "timeChunk",
            "type": lock_type(lock.kind),
            "groupId": lock.group_id,
            "dataSource": lock.datasource,
            "interval": lock.interval.to_string(),
            "version": lock.version,
            "priority": lock.priority,
            "revoked": lock.revoked,
        })
    };
    match locks_by_datasource(&state, request, |locks| locks.iter().map(shown).collect()).await {
        Ok(answer) => answer_json(&json!({"datasourceToLocks": answer})),
        Err(refusal) => refusal,
    }
}

/// Shows the locks that each filter of a request finds, by datasource; datasources with nothing to show are left out.
async fn locks_by_datasource(
    state: &AppState,
    request: Request,
    show: impl Fn(&[&TaskLock]) -> Vec<Value>,
) -> Result<Value, Response> {
    let filters = lock_filters(request).await?;
    let locks = state.engine.metadata().locks();
    let mut answer = serde_json::Map::new();
    for (datasource, least) in filters {
        let found: Vec<&TaskLock> = locks
            .iter()
            .filter(|lock| lock.datasource == datasource && i64::from(lock.priority) >= least)
            .collect();
        let shown = show(&found);
        if !shown.is_empty() {
            answer.insert(datasource, Value::Array(shown));
        }
    }
    Ok(Value::Object(answer))
}

fn lock_type(kind: LockKind) -> &'static str {
    match kind {
        LockKind::Exclusive => "EXCLUSIVE",
        LockKind::Shared => "SHARED",
        LockKind::Append => "APPEND",
        LockKind::Replace => "REPLACE",
    }
}

/// Reads datasources with the least priority of the locks that are asked for.
async fn lock_filters(request: Request) -> Result<Vec<(String, i64)>, Response> {
    let body = json_body(request).await.map_err(IntoResponse::into_response)?;
    let Some(filters) = body.as_array() else {
        let message = format!(
            "Cannot deserialize value of type `java.util.ArrayList<org.apache.druid.metadata.LockFilterPolicy>` from {}",
            crate::jackson::kind_with_token(&body)
        );
        return Err(ApiError::plain(StatusCode::BAD_REQUEST, message).into_response());
    };
    let read = |filter: &Value| {
        let datasource = filter.get("datasource")?.as_str()?.to_string();
        Some((datasource, filter.get("priority").and_then(Value::as_i64).unwrap_or(0)))
    };
    Ok(filters.iter().filter_map(read).collect())
}

/// Tells that this process takes tasks; it is its own only worker.
async fn worker_enabled(State(state): State<AppState>) -> Response {
    let advertised = state.info.advertised.clone();
    answer_json(&Value::Object([(advertised, Value::Bool(true))].into_iter().collect()))
}

async fn worker_tasks(State(state): State<AppState>) -> Response {
    match used(&state).await {
        Ok(running) => answer_json(&running.iter().map(|task| Value::from(task.id.as_str())).collect()),
        Err(response) => response,
    }
}

async fn no_supervisor(Path(id): Path<String>) -> Response {
    text(
        StatusCode::NOT_FOUND,
        format!("Cannot find any supervisor with id: [{id}]"),
    )
}

async fn no_supervisor_history(Path(id): Path<String>) -> Response {
    ApiError::plain(StatusCode::NOT_FOUND, format!("No history for [{id}].")).into_response()
}

async fn no_compaction(Path(datasource): Path<String>) -> Response {
    ApiError::not_found(format!(
        "Compaction supervisor for datasource[{datasource}] does not exist"
    ))
    .into_response()
}
