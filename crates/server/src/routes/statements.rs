//! The statements API: a task with a friendlier face (`/druid/v2/sql/statements`; spec `msq-engine` sections 15.3 to 15.6).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use henge_engine::PlanKind;
use henge_engine::counters::Channel;
use henge_engine::report::{QueryReport, ReportResults};
use henge_metadata::{TaskRecord, TaskState};
use henge_sql::{Category, Persona, Planned, SqlError};
use serde_json::{Map, Value, json};

use super::answer::{Params, empty, flag, json as answer_json};
use super::sql::{asked, explained_plainly, result_columns, with_ids};
use super::task::{is_controller, start, waits};
use crate::error::{ApiError, fault_context};
use crate::limits::MAX_SAMPLE_RECORDS;
use crate::report;
use crate::results::{ResultFormat, ResultOptions, RowWriter};
use crate::state::AppState;
use crate::task_json::SELECT_DATASOURCE;

/// Context key that keeps the format of the request.
const RESULT_FORMAT_KEY: &str = "__resultFormat";

/// Gives the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/druid/v2/sql/statements", post(submit))
        .route("/druid/v2/sql/statements/{id}", get(status).delete(cancel))
        .route("/druid/v2/sql/statements/{id}/results", get(results))
}

async fn submit(State(state): State<AppState>, request: Request) -> Response {
    let asked = match asked(request).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    if asked.body.context.contains_key(RESULT_FORMAT_KEY) {
        let error = ApiError::input(format!("Query context parameter [{RESULT_FORMAT_KEY}] is not allowed"));
        return with_ids(error, &asked.query_id).into_response();
    }
    let mut request = asked.request();
    request
        .context
        .insert(RESULT_FORMAT_KEY.to_string(), Value::from(asked.body.format.name()));
    let planned = match state.engine.plan(PlanKind::Task, request).await {
        Ok(planned) => planned,
        Err(error) => {
            let refusal = ApiError::from_sql(&error);
            return if error.in_grammar {
                with_ids(refusal, &asked.query_id)
            } else {
                refusal
            }
            .into_response();
        }
    };
    if let Err(error) = check_mode(&planned) {
        return error.into_response();
    }
    if planned.explain {
        return explained_plainly(&planned, &asked.body);
    }
    match start(&state, &asked, planned).await {
        Ok(task_id) => match state.engine.metadata().task(&task_id).await {
            Ok(Some(record)) => answer_json(&Value::Object(head(&record, "ACCEPTED", -1, true))),
            Ok(None) => not_found(&task_id),
            Err(error) => super::task::store_failure(&error),
        },
        Err(error) => error.into_response(),
    }
}

/// Refuses what the API cannot do with a statement.
fn check_mode(planned: &Planned) -> Result<(), ApiError> {
    let word = |key: &str| planned.context.get(key).and_then(Value::as_str).map(str::to_uppercase);
    match word("executionMode").as_deref() {
        Some("ASYNC") => {}
        None => {
            return Err(ApiError::input(
                "Execution mode is not provided to the sql statement api. Please set [executionMode] to [ASYNC] in the query context",
            ));
        }
        Some(other) => {
            return Err(ApiError::input(format!(
                "The sql statement api currently does not support the provided execution mode [{other}]. Please set [executionMode] to [ASYNC] in the query context"
            )));
        }
    }
    if word("selectDestination").as_deref() == Some("DURABLESTORAGE") {
        return Err(ApiError::from_sql(&SqlError::general(
            Persona::Operator,
            Category::InvalidInput,
            "durable storage for query results is not configured; leave [selectDestination] out of the context to get the rows with the task report",
        )));
    }
    Ok(())
}

fn not_found(id: &str) -> Response {
    ApiError::not_found(format!(
        "Query [{id}] was not found. The query details are no longer present or might not be of the type [query_controller]. Verify that the id is correct."
    ))
    .into_response()
}

async fn find(state: &AppState, id: &str) -> Result<TaskRecord, Response> {
    match state.engine.metadata().task(id).await {
        Ok(Some(record)) if is_controller(&record) => Ok(record),
        Ok(_) => Err(not_found(id)),
        Err(error) => Err(super::task::store_failure(&error)),
    }
}

/// Gives the members that every answer begins with.
fn head(record: &TaskRecord, state: &str, duration_ms: i64, with_schema: bool) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("queryId".to_string(), Value::from(record.id.as_str()));
    members.insert("state".to_string(), Value::from(state));
    members.insert("createdAt".to_string(), Value::from(record.created_date.as_str()));
    if with_schema && record.datasource == SELECT_DATASOURCE {
        members.insert("schema".to_string(), schema(&record.payload));
    }
    members.insert("durationMs".to_string(), Value::from(duration_ms));
    members
}

/// Reads the columns of a SELECT back from its task.
fn schema(payload: &Value) -> Value {
    let texts = |value: Option<&Value>| -> Vec<Value> { value.and_then(Value::as_array).cloned().unwrap_or_default() };
    let names = texts(payload.pointer("/spec/columnMappings"));
    let sql_types = texts(payload.get("sqlTypeNames"));
    let native_types = texts(payload.get("nativeTypeNames"));
    names
        .iter()
        .zip(sql_types)
        .zip(native_types)
        .map(|((mapping, sql), native)| json!({"name": mapping.get("outputColumn"), "type": sql, "nativeType": native}))
        .collect()
}

async fn status(State(state): State<AppState>, Path(id): Path<String>, params: Params) -> Response {
    let record = match find(&state, &id).await {
        Ok(record) => record,
        Err(response) => return response,
    };
    let report = state.engine.report(&id).await;
    let mut members = match record.status.state {
        TaskState::Running => {
            let word = if waits(&state, &record).await {
                "ACCEPTED"
            } else {
                "RUNNING"
            };
            head(&record, word, -1, true)
        }
        TaskState::Success => {
            let mut members = head(&record, "SUCCESS", record.status.duration, true);
            if let Some(report) = &report {
                members.insert("result".to_string(), result(&record, report));
            }
            members
        }
        TaskState::Failed => {
            let stopped = record.status.error_msg.as_deref() == Some(crate::task_json::SHUTDOWN_MESSAGE);
            let duration = if stopped { -1 } else { record.status.duration };
            let mut members = head(&record, "FAILED", duration, false);
            members.insert("errorDetails".to_string(), error_details(&record, report.as_deref()));
            members
        }
    };
    if flag(&params, "detail")
        && let Some(report) = report
    {
        if !report.stages.is_empty() {
            members.insert("stages".to_string(), report::stages(&report));
            members.insert("counters".to_string(), report::counters(&report));
        }
        members.insert("warnings".to_string(), report::warnings(&report.warnings));
    }
    answer_json(&Value::Object(members))
}

fn result(record: &TaskRecord, report: &QueryReport) -> Value {
    let Some(results) = report
        .results
        .as_ref()
        .filter(|_| record.datasource == SELECT_DATASOURCE)
    else {
        return json!({
            "numTotalRows": report.rows_published.unwrap_or(0),
            "totalSizeInBytes": 0,
            "dataSource": record.datasource,
        });
    };
    let rows = results.rows.len();
    let bytes = result_bytes(report);
    json!({
        "numTotalRows": rows,
        "totalSizeInBytes": bytes,
        "dataSource": record.datasource,
        "sampleRecords": results.rows.iter().take(MAX_SAMPLE_RECORDS).collect::<Vec<_>>(),
        "pages": [{"id": 0, "numRows": rows, "sizeInBytes": bytes}],
    })
}

/// Gives the bytes that the last stage has put out.
fn result_bytes(report: &QueryReport) -> u64 {
    let Some((_, workers)) = report.counters.last_key_value() else {
        return 0;
    };
    let of = |channel: Channel| -> u64 {
        workers
            .values()
            .filter_map(|worker| worker.channels.get(&channel))
            .flat_map(|counts| &counts.bytes)
            .sum()
    };
    match of(Channel::Shuffle) {
        0 => of(Channel::Output),
        bytes => bytes,
    }
}

fn error_details(record: &TaskRecord, report: Option<&QueryReport>) -> Value {
    match report.and_then(|report| report.error.as_ref()) {
        Some(error) => json!({
            "error": "druidException",
            "errorCode": error.fault.code.as_str(),
            "persona": "USER",
            "category": "UNCATEGORIZED",
            "errorMessage": error.fault.message,
            "context": fault_context(&error.fault),
        }),
        None => json!({
            "error": "druidException",
            "errorCode": "general",
            "persona": "DEVELOPER",
            "category": "UNCATEGORIZED",
            "errorMessage": record.status.error_msg,
            "context": {},
        }),
    }
}

async fn results(State(state): State<AppState>, Path(id): Path<String>, params: Params) -> Response {
    let page = match params.get("page").map(|page| page.parse::<i64>()) {
        None => None,
        Some(Ok(page)) => Some(page),
        // Druid's router finds no resource for it.
        Some(Err(_)) => return StatusCode::NOT_FOUND.into_response(),
    };
    let disposition = match params.get("filename").map(|name| check_file_name(name)) {
        None => None,
        Some(Ok(disposition)) => Some(disposition),
        Some(Err(error)) => return error.into_response(),
    };
    let record = match find(&state, &id).await {
        Ok(record) => record,
        Err(response) => return response,
    };
    if page.is_some_and(|page| page < 0) {
        return ApiError::general("Page cannot be negative. Please pass a positive number.").into_response();
    }
    let report = match record.status.state {
        TaskState::Running => {
            let word = if waits(&state, &record).await {
                "ACCEPTED"
            } else {
                "RUNNING"
            };
            return ApiError::general(format!(
                "Query[{id}] is currently in [{word}] state. Please wait for it to complete."
            ))
            .into_response();
        }
        TaskState::Failed => {
            return ApiError::general(format!("Query[{id}] failed. Check the status api for more details."))
                .into_response();
        }
        TaskState::Success => state.engine.report(&id).await,
    };
    let Some(report) = report.filter(|report| record.datasource == SELECT_DATASOURCE && report.results.is_some())
    else {
        return empty(StatusCode::OK);
    };
    let kept = record
        .payload
        .pointer(&format!("/sqlQueryContext/{RESULT_FORMAT_KEY}"))
        .and_then(Value::as_str);
    let format = match params.get("resultFormat").map(String::as_str).or(kept) {
        None => Some(ResultFormat::default()),
        Some(name) => ResultFormat::read(name),
    };
    let Some(format) = format else {
        return ApiError::from_sql(&SqlError::general(
            Persona::Developer,
            Category::Uncategorized,
            format!("Failed to handle query [{id}]"),
        ))
        .into_response();
    };
    if let Some(page) = page.filter(|page| *page > 0) {
        return ApiError::input(format!("Page number [{page}] is out of the range of results")).into_response();
    }
    let mut response = page_of(&report, format);
    if let Some(disposition) = disposition {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

fn check_file_name(name: &str) -> Result<HeaderValue, ApiError> {
    if name.is_empty() {
        return Err(ApiError::input("Filename cannot be empty."));
    }
    if name.chars().count() > 255 {
        return Err(ApiError::input("Filename cannot be longer than 255 characters."));
    }
    if name.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|', '\0', '\n', '\r']) {
        return Err(ApiError::input(
            "Filename contains invalid characters. (/, \\, :, *, ?, \", <, >, |, \0, \n, or \r)",
        ));
    }
    HeaderValue::from_str(&format!("attachment; filename=\"{name}\""))
        .map_err(|_| ApiError::input("Filename contains invalid characters."))
}

/// Answers all rows. They are in memory already, as part of the report.
fn page_of(report: &Arc<QueryReport>, format: ResultFormat) -> Response {
    let nothing = ReportResults::default();
    let results = report.results.as_ref().unwrap_or(&nothing);
    let options = ResultOptions {
        format,
        ..ResultOptions::default()
    };
    let mut writer = RowWriter::new(result_columns(&results.columns), options);
    let mut out = Vec::new();
    writer.start(&mut out);
    for row in &results.rows {
        writer.row(&mut out, row);
    }
    writer.end(&mut out);
    let mut response = Response::new(Body::from(out));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn cancel(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    let record = match find(&state, &id).await {
        Ok(record) => record,
        Err(response) => return response,
    };
    if record.status.state == TaskState::Running && state.engine.shutdown_task(&id).await {
        return empty(StatusCode::ACCEPTED);
    }
    empty(StatusCode::OK)
}
