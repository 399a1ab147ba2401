//! The native query endpoint, as far as clients need it to find out what they talk to: the console's probe, and time boundaries.
//! Other native queries are refused with the word for it.

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMillisecondType;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use henge_engine::PlanKind;
use henge_sql::{SqlError, SqlRequest};
use serde_json::{Value, json};

use super::answer::{Params, body_of, empty, json as answer_json};
use super::sql::{MISSING_NOTHING, QUERY_ID, RESPONSE_CONTEXT};
use crate::error::{ApiError, sql_error};
use crate::jackson;
use crate::results::first_batch;
use crate::state::AppState;

/// Query types that Druid knows.
const QUERY_TYPES: [&str; 11] = [
    "dataSourceMetadata",
    "groupBy",
    "scan",
    "search",
    "segmentMetadata",
    "select",
    "timeBoundary",
    "timeseries",
    "topN",
    "union",
    "windowOperator",
];

/// Gives the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/druid/v2", post(query))
        .route("/druid/v2/{id}", delete(|| async { empty(StatusCode::ACCEPTED) }))
        .route("/druid/v2/datasources", get(datasources))
        .route("/druid/v2/datasources/{datasource}", get(datasource))
        .route("/druid/v2/datasources/{datasource}/dimensions", get(dimensions))
        .route("/druid/v2/datasources/{datasource}/metrics", get(metrics))
}

async fn datasources(State(state): State<AppState>) -> Response {
    let snapshot = state.engine.snapshot();
    answer_json(&snapshot.datasources().map(|(name, _)| Value::from(name)).collect())
}

/// Gives dimensions and metrics of the visible segments. Without an interval Druid looks at nothing but the last moment, so the lists
/// are empty for anything that was loaded from files.
fn columns_of(state: &AppState, datasource: &str, params: &Params) -> (Vec<String>, Vec<String>) {
    let (mut dimensions, mut metrics) = (Vec::new(), Vec::new());
    let interval = params
        .get("interval")
        .map(|text| text.replace('_', "/").parse::<henge_time::Interval>());
    if let Some(Ok(interval)) = interval
        && let Some(datasource) = state.engine.snapshot().datasource(datasource)
    {
        for chunk in datasource.timeline.lookup(&interval) {
            for segment in &chunk.segments {
                for (from, to) in [(&segment.dimensions, &mut dimensions), (&segment.metrics, &mut metrics)] {
                    for name in from {
                        if !to.contains(name) {
                            to.push(name.clone());
                        }
                    }
                }
            }
        }
    }
    (dimensions, metrics)
}

async fn datasource(State(state): State<AppState>, Path(datasource): Path<String>, params: Params) -> Response {
    let (dimensions, metrics) = columns_of(&state, &datasource, &params);
    answer_json(&json!({"dimensions": dimensions, "metrics": metrics}))
}

async fn dimensions(State(state): State<AppState>, Path(datasource): Path<String>, params: Params) -> Response {
    answer_json(&json!(columns_of(&state, &datasource, &params).0))
}

async fn metrics(State(state): State<AppState>, Path(datasource): Path<String>, params: Params) -> Response {
    answer_json(&json!(columns_of(&state, &datasource, &params).1))
}

async fn query(State(state): State<AppState>, request: Request) -> Response {
    let body = match body_of(request).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let refuse = |class: &str, message: String| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            json!({"error": "Unknown exception", "errorMessage": message, "errorClass": class, "host": null}),
        )
        .into_response()
    };
    let query: Value = match serde_json::from_slice(&body) {
        Ok(query) => query,
        Err(error) => {
            let message = jackson::syntax_error(&body).unwrap_or_else(|| error.to_string());
            return refuse("com.fasterxml.jackson.core.JsonParseException", message);
        }
    };
    let kind = query.get("queryType").and_then(Value::as_str).unwrap_or_default();
    if !QUERY_TYPES.contains(&kind) {
        return refuse(
            "com.fasterxml.jackson.databind.exc.InvalidTypeIdException",
            format!(
                "Please make sure to load all the necessary extensions and jars with type '{kind}' on 'druid/router' service. Could not resolve type id '{kind}' as a subtype of `org.apache.druid.query.Query` known type ids = [{}]{}",
                QUERY_TYPES.join(", "),
                jackson::at(&body, &["queryType"])
            ),
        );
    }
    if kind == "dataSourceMetadata" {
        // Nothing is streamed in, so there is no newest event of any stream.
        return answered(&query, &json!([]), "{}");
    }
    if kind == "timeBoundary" {
        return time_boundary(&state, &query).await;
    }
    let error = SqlError::unsupported(format!(
        "native query type [{kind}] is not supported yet; send SQL to /druid/v2/sql instead"
    ));
    ApiError::new(StatusCode::NOT_IMPLEMENTED, sql_error(&error)).into_response()
}

fn answered(query: &Value, answer: &Value, context: &'static str) -> Response {
    let id = query
        .pointer("/context/queryId")
        .and_then(Value::as_str)
        .map(str::to_string);
    let id = id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let mut response = answer_json(answer);
    let headers = response.headers_mut();
    if let Ok(id) = id.parse() {
        headers.insert(QUERY_ID, id);
    }
    headers.insert(RESPONSE_CONTEXT, HeaderValue::from_static(context));
    response
}

/// Answers the first and last time of a datasource, asked of SQL.
async fn time_boundary(state: &AppState, query: &Value) -> Response {
    let name = query
        .get("dataSource")
        .map(|source| source.get("name").unwrap_or(source));
    let name = name.and_then(Value::as_str).unwrap_or_default();
    if state.engine.snapshot().datasource(name).is_none() {
        return answered(query, &json!([]), "{}");
    }
    let sql = format!("SELECT MIN(__time), MAX(__time) FROM \"{}\"", name.replace('"', "\"\""));
    let request = SqlRequest {
        sql,
        ..SqlRequest::default()
    };
    let id = uuid::Uuid::new_v4().to_string();
    let host = &state.info.advertised;
    let planned = match state.engine.plan(PlanKind::Interactive, request).await {
        Ok(planned) => planned,
        Err(error) => return ApiError::from_sql(&error).into_response(),
    };
    let mut rows = match state.engine.query(&id, planned).await {
        Ok(rows) => rows,
        Err(error) => return ApiError::from_engine(&error, &id, host).into_response(),
    };
    let batch = match first_batch(&mut rows.stream).await {
        Ok(batch) => batch,
        Err(error) => return super::sql::query_error(&error, None, &id, host).into_response(),
    };
    let time = |column: usize| {
        let array = batch
            .as_ref()?
            .column(column)
            .as_primitive_opt::<TimestampMillisecondType>()?;
        array.is_valid(0).then(|| henge_time::format_millis(array.value(0)))
    };
    let (Some(first), Some(last)) = (time(0), time(1)) else {
        return answered(query, &json!([]), MISSING_NOTHING);
    };
    let bound = query.get("bound").and_then(Value::as_str).unwrap_or_default();
    let (timestamp, result) = match bound {
        "minTime" => (&first, json!({"minTime": first})),
        "maxTime" => (&last, json!({"maxTime": last})),
        _ => (&first, json!({"maxTime": last, "minTime": first})),
    };
    answered(
        query,
        &json!([{"timestamp": timestamp, "result": result}]),
        MISSING_NOTHING,
    )
}
