//! The Overlord's routes that are about no single task: leadership, workers, supervisors, compaction, marking of segments.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use henge_metadata::{SegmentSelection, TaskFilter};
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
        .route(
            "/druid/indexer/v1/datasources/{datasource}",
            axum::routing::delete(mark_all_unused),
        )
        .route(
            "/druid/indexer/v1/datasources/{datasource}/markUnused",
            post(mark_unused),
        )
        .route(
            "/druid/coordinator/v1/datasources/{datasource}/markUnused",
            post(mark_unused),
        )
        .route(
            "/druid/indexer/v1/datasources/{datasource}/segments/{id}",
            axum::routing::delete(mark_one_unused),
        )
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
    let body = match json_body(request).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let Some(filters) = body.as_array() else {
        return ApiError::plain(
            StatusCode::BAD_REQUEST,
            format!(
                "Cannot deserialize value of type `java.util.ArrayList<org.apache.druid.metadata.LockFilterPolicy>` from {}",
                crate::jackson::kind_with_token(&body)
            ),
        )
        .into_response();
    };
    let locks = state.engine.metadata().locks();
    let mut answer = serde_json::Map::new();
    for filter in filters {
        let (Some(datasource), least) = (
            filter.get("datasource").and_then(Value::as_str),
            filter.get("priority").and_then(Value::as_i64).unwrap_or(0),
        ) else {
            continue;
        };
        let intervals = Interval::condense(
            locks
                .iter()
                .filter(|lock| lock.datasource == datasource && !lock.revoked && i64::from(lock.priority) >= least)
                .map(|lock| lock.interval),
        );
        if !intervals.is_empty() {
            let intervals: Vec<String> = intervals.iter().map(Interval::to_string).collect();
            answer.insert(datasource.to_string(), json!(intervals));
        }
    }
    answer_json(&Value::Object(answer))
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

async fn mark_all_unused(State(state): State<AppState>, Path(datasource): Path<String>) -> Response {
    mark(&state, &datasource, SegmentSelection::All).await
}

async fn mark_one_unused(State(state): State<AppState>, Path((datasource, id)): Path<(String, String)>) -> Response {
    mark(&state, &datasource, SegmentSelection::Ids(vec![id])).await
}

async fn mark_unused(State(state): State<AppState>, Path(datasource): Path<String>, request: Request) -> Response {
    let body = match json_body(request).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let interval = body.get("interval").and_then(Value::as_str);
    let ids = body.get("segmentIds").and_then(Value::as_array);
    let selection = match (interval, ids) {
        (Some(text), None) => match text.parse::<Interval>() {
            Ok(interval) => SegmentSelection::Within(vec![interval]),
            Err(error) => return ApiError::plain(StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        },
        (None, Some(ids)) if !ids.is_empty() => {
            SegmentSelection::Ids(ids.iter().filter_map(Value::as_str).map(str::to_string).collect())
        }
        _ => {
            return text(
                StatusCode::BAD_REQUEST,
                "Invalid request payload. Specify either 'interval' or 'segmentIds', but not both.",
            );
        }
    };
    mark(&state, &datasource, selection).await
}

async fn mark(state: &AppState, datasource: &str, selection: SegmentSelection) -> Response {
    match state.engine.metadata().mark_unused(datasource, selection).await {
        Ok(changed) => answer_json(&json!({"numChangedSegments": changed, "segmentStateChanged": changed > 0})),
        Err(error) => store_failure(&error),
    }
}
