//! Interactive SQL: `POST /druid/v2/sql` and what belongs to it.
//!
//! A query is answered with a status only once its first row is there, or its end: whatever fails before that is an error answer.
//! What fails later cuts the body.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, delete, get, on, post};
use datafusion::error::DataFusionError;
use futures::StreamExt as _;
use henge_engine::{EngineError, Fault, FaultCode, PlanKind, QueryRows};
use henge_sql::{OutputColumn, Planned, QueryContext, SqlError, SqlRequest, SqlType};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer::{body_of, empty, json, only};
use crate::error::{ApiError, legacy};
use crate::json::Zone;
use crate::raised::Place;
use crate::request::{self, SqlBody};
use crate::results::{ResultColumn, ResultOptions, ResultWriter, RowWriter, StreamFailure, first_batch, into_body};
use crate::state::{AppState, QueryTicket, timeout_of};

/// Header that tells the id of a query.
pub const QUERY_ID: &str = "x-druid-query-id";
/// Header that tells the id of a SQL query.
pub const SQL_QUERY_ID: &str = "x-druid-sql-query-id";
/// Header that tells that header rows are really there.
pub const HEADER_INCLUDED: &str = "x-druid-sql-header-included";
/// Header with what a native query has to say about its answer.
pub const RESPONSE_CONTEXT: &str = "x-druid-response-context";

/// What a native query over segments says of its answer: it has missed none.
pub const MISSING_NOTHING: &str = "{\"missingSegments\":[]}";

/// Gives the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route(
            "/druid/v2/sql",
            on(MethodFilter::POST, query).fallback(|| async { only("POST,OPTIONS") }),
        )
        .route(
            "/druid/v2/sql/engines",
            get(|| async { json(&json!({"engines": [{"name": "native"}]})) }),
        )
        .route("/druid/v2/sql/queries", get(|| async { json(&json!({"queries": []})) }))
        .route("/druid/v2/sql/queries/{id}/reports", get(no_query_report))
        .route("/druid/v2/sql/task", post(super::task::submit))
        .route("/druid/v2/sql/task/enabled", get(enabled))
        .route("/druid/v2/sql/statements/enabled", get(enabled))
        .route("/druid/v2/sql/{id}", delete(cancel))
}

async fn enabled() -> Response {
    json(&json!({"enabled": true}))
}

async fn no_query_report() -> Response {
    super::answer::json_with(StatusCode::NOT_FOUND, &json!({"query": null, "report": null}))
}

/// A SQL request with its id.
pub struct Asked {
    /// The body.
    pub body: SqlBody,
    /// The id that the client chose, or a new one.
    pub query_id: String,
}

impl Asked {
    /// Makes the request that is planned: the ids are part of the context.
    pub fn request(&self) -> SqlRequest {
        let mut context = self.body.context.clone();
        context.insert("sqlQueryId".to_string(), Value::from(self.query_id.as_str()));
        context
            .entry("queryId")
            .or_insert_with(|| Value::from(self.query_id.as_str()));
        SqlRequest {
            sql: self.body.query.clone(),
            context,
            parameters: self.body.parameters.clone(),
        }
    }

    /// Gives the id after planning: SET may have chosen another.
    pub fn planned_id(&self, planned: &Planned) -> String {
        planned.context.query_id().unwrap_or_else(|| self.query_id.clone())
    }
}

/// Reads a SQL request.
pub async fn asked(request: Request<Body>) -> Result<Asked, Response> {
    let headers = request.headers().clone();
    if !request::accepts_json(&headers) {
        return Err(StatusCode::NOT_ACCEPTABLE.into_response());
    }
    let bytes = body_of(request).await.map_err(IntoResponse::into_response)?;
    let body = request::read(&headers, &bytes).map_err(IntoResponse::into_response)?;
    let query_id = match body.context.get("sqlQueryId") {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => uuid::Uuid::new_v4().to_string(),
    };
    Ok(Asked { body, query_id })
}

/// Adds the query's ids to an error.
pub fn with_ids(error: ApiError, query_id: &str) -> ApiError {
    error.header(QUERY_ID, query_id).header(SQL_QUERY_ID, query_id)
}

async fn query(State(state): State<AppState>, request: Request) -> Response {
    let asked = match asked(request).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let id = asked.query_id.clone();
    match answer(&state, asked).await {
        Ok(response) => response,
        // A parameter that cannot be read fails before Druid has given the query an id.
        Err(error) if error.body["errorMessage"] == "Cannot handle query" => error.into_response(),
        Err(error) => with_ids(error, &id).into_response(),
    }
}

async fn answer(state: &AppState, asked: Asked) -> Result<Response, ApiError> {
    let dart = match asked.body.context.get("engine").and_then(Value::as_str) {
        None | Some("native") => false,
        Some("msq-dart") => true,
        Some(other) => {
            return Err(ApiError::from_sql(&SqlError::invalid(format!(
                "Unsupported engine[{other}]"
            ))));
        }
    };
    let ticket = enter(state, &asked.query_id)?;
    let deadline = deadline_of(&QueryContext::from(asked.body.context.clone()));
    let planned = tokio::select! {
        planned = state.engine.plan(PlanKind::Interactive, asked.request()) => planned,
        () = ticket.token.cancelled() => {
            return Err(ApiError::from_fault(&canceled(), &asked.query_id, &state.info.advertised));
        }
        () = reached(deadline) => return Err(ApiError::timeout(&asked.query_id, &state.info.advertised)),
    };
    let planned = planned.map_err(|error| {
        let refusal = ApiError::from_sql(&error);
        if asked.body.header && !error.in_grammar {
            refusal.header(HEADER_INCLUDED, "yes")
        } else {
            refusal
        }
    })?;
    if dart {
        return Err(ApiError::from_sql(&SqlError::unsupported(
            "engine [msq-dart] is not supported yet; leave [engine] out of the context to run the statement on [native]",
        )));
    }
    let id = asked.planned_id(&planned);
    if planned.explain {
        return Ok(explained(&planned, &asked.body, &id));
    }
    // SET may have chosen another id.
    let ticket = if id == asked.query_id {
        ticket
    } else {
        enter(state, &id)?
    };
    run(state, planned, &asked.body, &id, ticket).await.map_err(|error| {
        if asked.body.header {
            error.header(HEADER_INCLUDED, "yes")
        } else {
            error
        }
    })
}

/// Makes a query known, so that it can be cancelled.
fn enter(state: &AppState, id: &str) -> Result<QueryTicket, ApiError> {
    state.queries.enter(id).ok_or_else(|| {
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            legacy(
                "Query capacity exceeded",
                "org.apache.druid.query.QueryCapacityExceededException",
                Some(&state.info.advertised),
                "CAPACITY_EXCEEDED",
                "Too many concurrent queries. Please try your query again later.",
            ),
        )
    })
}

/// Gives when a query must have ended.
fn deadline_of(context: &QueryContext) -> Option<tokio::time::Instant> {
    timeout_of(context).map(|timeout| tokio::time::Instant::now() + timeout)
}

async fn run(
    state: &AppState,
    planned: Planned,
    body: &SqlBody,
    id: &str,
    ticket: QueryTicket,
) -> Result<Response, ApiError> {
    let host = state.info.advertised.clone();
    let options = options_of(&planned, body);
    let place = Place::of(&planned.plan);
    let context = if place.segments { MISSING_NOTHING } else { "{}" };
    let deadline = deadline_of(&planned.context);
    let engine = &state.engine;
    let started = async {
        let mut rows = engine
            .query(id, planned)
            .await
            .map_err(|error| engine_error(error, &place, id, &host))?;
        let first = first_batch(&mut rows.stream)
            .await
            .map_err(|error| query_error(&error, Some(&place), id, &host))?;
        Ok::<_, ApiError>((rows, first))
    };
    let (rows, first) = tokio::select! {
        result = started => result?,
        () = ticket.token.cancelled() => {
            engine.cancel_query(id);
            return Err(ApiError::from_fault(&canceled(), id, &host));
        }
        () = reached(deadline) => {
            engine.cancel_query(id);
            return Err(ApiError::timeout(id, &host));
        }
    };
    let QueryRows { columns, stream } = rows;
    let writer = ResultWriter::new(result_columns(&columns), options);
    let token = ticket.token.clone();
    let rest = stream
        .map(|batch| batch.map_err(|error| error.to_string()))
        .take_until(stopped(token.clone(), deadline))
        .chain(futures::stream::once(ended(token, deadline)).filter_map(std::future::ready));
    let query_id = id.to_string();
    let body_stream = into_body(writer, first, Box::pin(rest), move |rows, failure| {
        match failure {
            None => tracing::debug!(query_id, rows, "query answered"),
            Some(StreamFailure::Client) => tracing::debug!(query_id, rows, "client left"),
            Some(StreamFailure::Query(message)) => {
                tracing::warn!(query_id, rows, message, "query failed after its first rows")
            }
        }
        drop(ticket);
    });
    Ok(with_headers(body_stream, id, body.header, context))
}

/// Waits for a deadline; for ever where there is none.
async fn reached(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn stopped(token: CancellationToken, deadline: Option<tokio::time::Instant>) {
    tokio::select! {
        () = token.cancelled() => {}
        () = reached(deadline) => {}
    }
}

/// Gives the failure of a stream that was stopped; nothing where it ran to its end.
async fn ended(
    token: CancellationToken,
    deadline: Option<tokio::time::Instant>,
) -> Option<Result<arrow::array::RecordBatch, String>> {
    if token.is_cancelled() {
        return Some(Err("canceled".to_string()));
    }
    deadline
        .is_some_and(|deadline| deadline <= tokio::time::Instant::now())
        .then(|| Err("timed out".to_string()))
}

fn canceled() -> Fault {
    Fault::new(FaultCode::Canceled, "Query canceled").with("reason", "USER_REQUEST")
}

/// Decides how the rows of a statement look.
pub fn options_of(planned: &Planned, body: &SqlBody) -> ResultOptions {
    ResultOptions {
        format: body.format,
        header: body.header,
        types_header: body.types_header,
        sql_types_header: body.sql_types_header,
        zone: Zone::read(planned.context.get("sqlTimeZone").and_then(Value::as_str)),
        stringify_arrays: planned
            .context
            .boolean("sqlStringifyArrays")
            .ok()
            .flatten()
            .unwrap_or(true),
    }
}

/// Gives columns as results name them.
pub fn result_columns(columns: &[OutputColumn]) -> Vec<ResultColumn> {
    columns
        .iter()
        .map(|column| ResultColumn {
            name: column.name.clone(),
            native_type: column.sql_type.native(),
            sql_type: column.sql_type.name().to_string(),
            multi_value: column.sql_type == SqlType::MultiVarchar,
        })
        .collect()
}

/// Answers EXPLAIN PLAN FOR as the task and statement endpoints do: without the headers of a query.
pub fn explained_plainly(planned: &Planned, body: &SqlBody) -> Response {
    let mut response = explained(planned, body, "");
    for name in [QUERY_ID, SQL_QUERY_ID, RESPONSE_CONTEXT] {
        response.headers_mut().remove(name);
    }
    response
}

/// Answers EXPLAIN PLAN FOR: one row of three texts.
fn explained(planned: &Planned, body: &SqlBody, query_id: &str) -> Response {
    let columns = ["PLAN", "RESOURCES", "ATTRIBUTES"]
        .map(|name| ResultColumn {
            name: name.to_string(),
            native_type: "STRING".to_string(),
            sql_type: "VARCHAR".to_string(),
            multi_value: false,
        })
        .to_vec();
    let mut writer = RowWriter::new(columns, options_of(planned, body));
    let mut out = Vec::new();
    writer.start(&mut out);
    writer.row(&mut out, &planned.explain_row().map(Value::String));
    writer.end(&mut out);
    with_headers(Body::from(out), query_id, body.header, "{}")
}

fn with_headers(body: Body, query_id: &str, header_included: bool, context: &'static str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(query_id) {
        headers.insert(HeaderName::from_static(QUERY_ID), id.clone());
        headers.insert(HeaderName::from_static(SQL_QUERY_ID), id);
    }
    if header_included {
        headers.insert(
            HeaderName::from_static(HEADER_INCLUDED),
            HeaderValue::from_static("yes"),
        );
    }
    headers.insert(
        HeaderName::from_static(RESPONSE_CONTEXT),
        HeaderValue::from_static(context),
    );
    (headers, body).into_response()
}

/// Words what went wrong before there were rows.
fn engine_error(error: EngineError, place: &Place, query_id: &str, host: &str) -> ApiError {
    match error {
        EngineError::Fault(fault) => ApiError::from_fault(&place.worded(fault), query_id, host),
        other => ApiError::from_engine(&other, query_id, host),
    }
}

/// Words what went wrong while rows were made.
pub fn query_error(error: &DataFusionError, place: Option<&Place>, query_id: &str, host: &str) -> ApiError {
    let worded = |fault: Fault| match place {
        Some(place) => place.worded(fault),
        None => fault,
    };
    if let Some(error) = SqlError::in_datafusion(error) {
        let fault = worded(Fault::from(error.clone()));
        return match fault.raised.is_some() && !error.is_legacy() {
            true => ApiError::from_fault(&fault, query_id, host),
            false => ApiError::from_sql(&error),
        };
    }
    match error.find_root() {
        DataFusionError::External(inner) => {
            if let Some(fault) = inner.downcast_ref::<Fault>() {
                return ApiError::from_fault(&worded(fault.clone()), query_id, host);
            }
            if let Some(error) = inner.downcast_ref::<EngineError>() {
                return ApiError::from_engine(error, query_id, host);
            }
            general(inner.to_string())
        }
        DataFusionError::ResourcesExhausted(message) => ApiError::new(
            StatusCode::BAD_REQUEST,
            legacy(
                "Resource limit exceeded",
                "org.apache.druid.query.ResourceLimitExceededException",
                Some(host),
                "INVALID_INPUT",
                message,
            ),
        ),
        other => general(other.strip_backtrace()),
    }
}

fn general(message: impl Into<String>) -> ApiError {
    ApiError::from_sql(&SqlError::general(
        henge_sql::Persona::Admin,
        henge_sql::Category::Uncategorized,
        message,
    ))
}

async fn cancel(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    let known = state.queries.cancel(&id);
    let stopped = state.engine.cancel_query(&id);
    empty(if known || stopped {
        StatusCode::ACCEPTED
    } else {
        StatusCode::NOT_FOUND
    })
}
