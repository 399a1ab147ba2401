//! `POST /druid/v2/sql/task`, and the Overlord's routes of one task and of lists of tasks.

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use henge_engine::{EngineError, PlanKind, TaskRequest};
use henge_metadata::{TaskFilter, TaskRecord, TaskState};
use henge_sql::{Planned, SqlError};
use henge_time::{Interval, format_millis, parse_millis};
use serde_json::{Map, Value, json};

use super::answer::{Params, bare, body_of, json as answer_json, json_with, text, typed};
use super::sql::{Asked, asked, explained_plainly, with_ids};
use crate::error::{ApiError, entry_exists};
use crate::json::to_text;
use crate::limits::{MAX_LISTED_TASKS, MAX_LOG_BYTES};
use crate::report::task_reports;
use crate::state::{AppState, now_ms};
use crate::task_json::{self, CONTROLLER, View, controller_query, datasource_of, is_waiting, payload, status};

/// Gives the routes of tasks.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/druid/indexer/v1/task", post(refuse_task))
        .route("/druid/indexer/v1/task/{id}", get(one))
        .route("/druid/indexer/v1/task/{id}/status", get(one_status))
        .route("/druid/indexer/v1/task/{id}/reports", get(reports))
        .route("/druid/indexer/v1/task/{id}/log", get(log))
        .route("/druid/indexer/v1/task/{id}/segments", get(segments))
        .route("/druid/indexer/v1/task/{id}/shutdown", post(shutdown))
        .route(
            "/druid/indexer/v1/datasources/{datasource}/shutdownAllTasks",
            post(shutdown_all),
        )
        .route("/druid/indexer/v1/taskStatus", post(task_status))
        .route("/druid/indexer/v1/tasks", get(list))
        .route("/druid/indexer/v1/runningTasks", get(running))
        .route("/druid/indexer/v1/waitingTasks", get(waiting))
        .route(
            "/druid/indexer/v1/pendingTasks",
            get(|| async { answer_json(&json!([])) }),
        )
        .route("/druid/indexer/v1/completeTasks", get(complete))
}

/// Takes a statement on as a task.
pub async fn submit(State(state): State<AppState>, request: Request) -> Response {
    let asked = match asked(request).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let planned = match state.engine.plan(PlanKind::Task, asked.request()).await {
        Ok(planned) => planned,
        Err(error) if error.in_grammar => {
            return with_ids(ApiError::from_sql(&error), &asked.query_id).into_response();
        }
        Err(error) => return refusal(&asked.query_id, ApiError::from_sql(&error)),
    };
    let query_id = asked.planned_id(&planned);
    if planned.explain {
        return explained_plainly(&planned, &asked.body);
    }
    match start(&state, &asked, planned).await {
        Ok(task_id) => json_with(StatusCode::ACCEPTED, &json!({"taskId": task_id, "state": "RUNNING"})),
        Err(error) => refusal(&query_id, error),
    }
}

/// Words why a statement did not become a task.
fn refusal(query_id: &str, error: ApiError) -> Response {
    json_with(
        error.status,
        &json!({"taskId": query_id, "state": "FAILED", "error": error.body}),
    )
}

/// Starts the task of a planned statement and gives its id.
pub async fn start(state: &AppState, asked: &Asked, mut planned: Planned) -> Result<String, ApiError> {
    let query_id = asked.planned_id(&planned);
    let task_id = format!("query-{query_id}");
    check_task_id(&task_id)?;
    let created_ms = now_ms();
    let payload = payload(&task_id, &query_id, &planned, created_ms);
    if let (Some(query), Some(whole)) = (planned.native.pointer_mut("/0/query"), controller_query(&payload)) {
        *query = whole;
    }
    let task = TaskRequest {
        group_id: task_id.clone(),
        datasource: datasource_of(&planned.statement).to_string(),
        payload,
        planned,
        created_ms,
        task_id: task_id.clone(),
    };
    match state.engine.submit(task).await {
        Ok(()) => Ok(task_id),
        Err(EngineError::DuplicateTask(id)) => {
            let inner = String::from_utf8(to_text(&entry_exists(&id))).unwrap_or_default();
            Err(ApiError::from_sql(&SqlError::general(
                henge_sql::Persona::Developer,
                henge_sql::Category::Uncategorized,
                format!("Server error [400 Bad Request]; body: {inner}"),
            )))
        }
        Err(error) => Err(ApiError::from_engine(&error, &query_id, &state.info.advertised)),
    }
}

/// Refuses ids that would not do as a file name or a path segment (Druid's `IdUtils`).
fn check_task_id(id: &str) -> Result<(), ApiError> {
    let refuse = |why: &str| {
        Err(ApiError::input(format!(
            "Invalid value for field [task ID]: Value [{id}] {why}."
        )))
    };
    if id.starts_with('.') {
        return refuse("cannot start with '.'");
    }
    if id.contains('/') {
        return refuse("cannot contain '/'");
    }
    if id.chars().any(|c| c.is_whitespace() && c != ' ') {
        return refuse("contains illegal whitespace characters. Only space is allowed");
    }
    if id.chars().any(char::is_control) {
        return refuse("contains illegal UTF8 character");
    }
    Ok(())
}

async fn refuse_task(request: Request) -> Response {
    let body = match super::answer::json_body(request).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let kind = body.get("type").and_then(Value::as_str).unwrap_or("null");
    ApiError::from_sql(&SqlError::unsupported(format!(
        "task type [{kind}] is not supported; post a SQL statement to /druid/v2/sql/task instead"
    )))
    .into_response()
}

fn unknown(id: &str) -> Response {
    text(StatusCode::NOT_FOUND, format!("Cannot find any task with id: [{id}]"))
}

/// Words a failure of the metadata store.
pub fn store_failure(error: &henge_metadata::MetadataError) -> Response {
    ApiError::plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}

/// Finds a task, or answers that there is none.
pub async fn find(state: &AppState, id: &str) -> Result<TaskRecord, Response> {
    match state.engine.metadata().task(id).await {
        Ok(Some(record)) => Ok(record),
        Ok(None) => worker(state, id).await.ok_or_else(|| unknown(id)),
        Err(error) => Err(store_failure(&error)),
    }
}

/// Makes the task of a worker from its controller's report: workers are no tasks of their own here.
async fn worker(state: &AppState, id: &str) -> Option<TaskRecord> {
    let controller = state
        .engine
        .metadata()
        .task(task_json::controller_of(id)?)
        .await
        .ok()??;
    let report = state.engine.report(&controller.id).await?;
    task_json::worker(&controller, &report, id)
}

async fn one(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    match find(&state, &id).await {
        Ok(record) => answer_json(&json!({"task": id, "payload": record.payload})),
        Err(response) => response,
    }
}

async fn one_status(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    match find(&state, &id).await {
        Ok(record) => {
            let waiting = waits(&state, &record).await;
            answer_json(&json!({"task": id, "status": status(&record, waiting, View::One, &state.info)}))
        }
        Err(response) => response,
    }
}

/// Tells whether a task has been taken on and not begun.
pub async fn waits(state: &AppState, record: &TaskRecord) -> bool {
    // A worker is there once its controller has begun.
    is_controller(record)
        && record.status.state == TaskState::Running
        && is_waiting(state.engine.report(&record.id).await.as_deref())
}

async fn reports(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    if let Some(report) = state.engine.report(&id).await {
        return answer_json(&task_reports(&report));
    }
    match find(&state, &id).await {
        Ok(_) => bare(
            StatusCode::NOT_FOUND,
            "No task reports were found for this task. The task may not exist, or it may not have completed yet.",
        ),
        Err(response) => response,
    }
}

async fn segments(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    match find(&state, &id).await {
        Ok(_) => ApiError::plain(
            StatusCode::NOT_FOUND,
            "Segment IDs committed by a task action are not persisted anymore. Use the metric 'segment/added/bytes' to identify the segments created by a task.",
        )
        .into_response(),
        Err(response) => response,
    }
}

/// Answers what is known of the course of a task as lines of text. henge keeps no log file a task: the report has the same facts.
async fn log(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(params): Query<Map<String, Value>>,
) -> Response {
    let record = match find(&state, &id).await {
        Ok(record) => record,
        Err(response) => return response,
    };
    let mut lines = vec![format!(
        "{} INFO task [{id}] accepted for datasource [{}]",
        record.created_date, record.datasource
    )];
    if let Some(report) = state.engine.report(&id).await {
        if let Some(start) = report.start_time_ms {
            lines.push(format!("{} INFO started", format_millis(start)));
        }
        for stage in &report.stages {
            if let Some(start) = stage.start_time_ms {
                lines.push(format!(
                    "{} INFO stage [{}] [{:?}] using workers [{}], partitions [{}], [{}] ms",
                    format_millis(start),
                    stage.definition.number,
                    stage.definition.processor,
                    stage.worker_count,
                    stage.partition_count,
                    stage.duration_ms
                ));
            }
        }
        for warning in &report.warnings {
            lines.push(format!("{} WARN {}", record.created_date, warning.fault));
        }
        if let Some(error) = &report.error {
            lines.push(format!(
                "{} ERROR [{}] {}",
                record.created_date, error.task_id, error.fault
            ));
        }
    }
    if record.status.state != TaskState::Running {
        lines.push(format!(
            "{} INFO ended [{}] after [{}] ms",
            record.created_date,
            task_json::state_name(record.status.state),
            record.status.duration
        ));
    }
    lines.push(String::new());
    let whole = lines.join("\n").into_bytes();
    let offset: i64 = params
        .get("offset")
        .and_then(Value::as_str)
        .and_then(|offset| offset.parse().ok())
        .unwrap_or(0);
    let skip = if offset < 0 {
        whole
            .len()
            .saturating_sub(usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX))
    } else {
        usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len())
    };
    let end = whole.len().min(skip.saturating_add(MAX_LOG_BYTES));
    typed(StatusCode::OK, "text/plain;charset=utf-8", whole[skip..end].to_vec())
}

async fn shutdown(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    if let Some(controller) = task_json::controller_of(&id)
        && worker(&state, &id).await.is_some()
    {
        state.engine.shutdown_worker(controller, &id);
        return answer_json(&json!({"task": id}));
    }
    if !state.engine.shutdown_task(&id).await
        && let Err(response) = find(&state, &id).await
    {
        return response;
    }
    answer_json(&json!({"task": id}))
}

async fn shutdown_all(State(state): State<AppState>, Path(datasource): Path<String>) -> Response {
    let filter = TaskFilter {
        active: Some(true),
        datasource: Some(datasource.clone()),
        ..TaskFilter::default()
    };
    match state.engine.metadata().tasks(&filter).await {
        Ok(tasks) if tasks.is_empty() => StatusCode::NOT_FOUND.into_response(),
        Ok(tasks) => {
            for task in tasks {
                state.engine.shutdown_task(&task.id).await;
            }
            answer_json(&json!({"dataSource": datasource}))
        }
        Err(error) => store_failure(&error),
    }
}

async fn task_status(State(state): State<AppState>, request: Request) -> Response {
    let body = match body_of(request).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let ids: Vec<String> = serde_json::from_slice(&body).unwrap_or_default();
    if ids.is_empty() {
        return bare(StatusCode::BAD_REQUEST, "No Task IDs provided.");
    }
    let mut statuses = Map::new();
    for id in ids {
        match state.engine.metadata().task(&id).await {
            Ok(Some(record)) => {
                let status = &record.status;
                let value = json!({
                    "id": id,
                    "status": task_json::state_name(status.state),
                    "duration": status.duration,
                    "errorMsg": status.error_msg,
                    "location": {
                        "host": status.location.host,
                        "port": status.location.port,
                        "tlsPort": status.location.tls_port,
                    },
                });
                statuses.insert(id, value);
            }
            Ok(None) => {}
            Err(error) => return store_failure(&error),
        }
    }
    answer_json(&Value::Object(statuses))
}

async fn list(State(state): State<AppState>, params: Params) -> Response {
    let get = |name: &str| params.get(name).filter(|value| !value.is_empty()).cloned();
    let wanted = match get("state").map(|state| state.to_lowercase()) {
        None => None,
        Some(state) if ["pending", "waiting", "running", "complete"].contains(&state.as_str()) => Some(state),
        Some(_) => {
            return text(
                StatusCode::BAD_REQUEST,
                format!(
                    "Invalid task state[{}]. Must be one of [pending, waiting, running, complete].",
                    params.get("state").map_or("", String::as_str)
                ),
            );
        }
    };
    let max = get("max").and_then(|max| max.parse::<usize>().ok());
    let mut filter = TaskFilter {
        datasource: get("datasource"),
        task_type: get("type"),
        max_completed: Some(max.unwrap_or(MAX_LISTED_TASKS).min(MAX_LISTED_TASKS)),
        ..TaskFilter::default()
    };
    if let Some(interval) = get("createdTimeInterval") {
        match length_of(&interval) {
            // Only the length counts: tasks of the last so many milliseconds, wherever the interval lies.
            Some(length) => {
                let now = now_ms();
                filter.created = Interval::new(now.saturating_sub(length), now.saturating_add(60_000)).ok();
            }
            None => {
                return ApiError::input(format!(
                    "Invalid interval[{interval}]: [Format requires a '/' separator: {interval}]"
                ))
                .into_response();
            }
        }
    }
    answer_list(&state, wanted.as_deref(), filter).await
}

fn length_of(interval: &str) -> Option<i64> {
    let (start, end) = interval.split_once('_').or_else(|| interval.split_once('/'))?;
    parse_millis(end)
        .ok()?
        .checked_sub(parse_millis(start).ok()?)
        .filter(|length| *length >= 0)
}

async fn running(State(state): State<AppState>, params: Params) -> Response {
    let filter = TaskFilter {
        datasource: params.get("datasource").cloned(),
        task_type: params.get("type").cloned(),
        ..TaskFilter::default()
    };
    answer_list(&state, Some("running"), filter).await
}

async fn waiting(State(state): State<AppState>) -> Response {
    answer_list(&state, Some("waiting"), TaskFilter::default()).await
}

async fn complete(State(state): State<AppState>, params: Params) -> Response {
    let max = params
        .get("n")
        .and_then(|n| n.parse::<usize>().ok())
        .unwrap_or(MAX_LISTED_TASKS);
    let filter = TaskFilter {
        max_completed: Some(max.min(MAX_LISTED_TASKS)),
        ..TaskFilter::default()
    };
    answer_list(&state, Some("complete"), filter).await
}

async fn answer_list(state: &AppState, wanted: Option<&str>, mut filter: TaskFilter) -> Response {
    filter.active = match wanted {
        Some("complete") => Some(false),
        Some(_) => Some(true),
        None => None,
    };
    let records = match state.engine.metadata().tasks(&filter).await {
        Ok(records) => records,
        Err(error) => return store_failure(&error),
    };
    let mut tasks = Vec::with_capacity(records.len());
    for record in records {
        let waiting = waits(state, &record).await;
        let listed = match wanted {
            Some("pending") => false,
            Some("waiting") => waiting,
            Some("running") => !waiting,
            _ => true,
        };
        if listed {
            tasks.push(status(&record, waiting, View::Listed, &state.info));
        }
        // Workers are listed while they run.
        if wanted == Some("running")
            && !waiting
            && let Some(report) = state.engine.report(&record.id).await
        {
            let workers = report.workers.iter();
            let workers = workers.filter_map(|worker| task_json::worker(&record, &report, &worker.worker_id));
            let running = workers.filter(|worker| worker.status.state == TaskState::Running);
            tasks.extend(running.map(|worker| status(&worker, false, View::Listed, &state.info)));
        }
    }
    answer_json(&Value::Array(tasks))
}

/// Tells whether a record is a statement's task.
pub fn is_controller(record: &TaskRecord) -> bool {
    record.task_type.as_deref().unwrap_or(CONTROLLER) == CONTROLLER
}
