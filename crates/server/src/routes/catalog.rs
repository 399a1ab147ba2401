//! The catalog's routes (Druid's extension `druid-catalog`): what datasources are to be like.
//!
//! Of a datasource's properties `segmentGranularity` is what PARTITIONED BY says where a statement does not, and `projections` are stored in
//! every segment; the others are kept and shown. Entries are of schema `druid` only: the other schemas have no entries.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use henge_engine::ProjectionSpec;
use henge_time::Granularity;
use serde_json::{Map, Value, json};

use super::answer::{Params, empty, flag, json as answer_json, json_body, json_with};
use super::settings::audit;
use super::task::store_failure;
use crate::state::{AppState, now_ms};

/// The schema whose tables have entries.
const DATASOURCES: &str = "druid";
/// The schemas that Druid's catalog knows; only `ext` and `view` could be written to beside the datasources.
const SCHEMAS: [&str; 6] = ["INFORMATION_SCHEMA", "druid", "ext", "lookups", "sys", "view"];
/// The type of a datasource's entry.
const DATASOURCE_TYPE: &str = "datasource";
/// What is changed, in the history.
const KIND: &str = "catalog";

/// Gives the routes.
pub fn routes() -> Router<AppState> {
    let route = |path: &str| format!("/druid/coordinator/v1/catalog/schemas{path}");
    Router::new()
        .route(&route(""), get(schemas))
        .route(&route("/{schema}/tables"), get(tables))
        .route(&route("/{schema}/tables/{name}"), get(table).post(post).delete(delete))
}

/// A failure as the catalog words it.
fn refusal(status: StatusCode, error: &str, message: impl Into<String>) -> Response {
    json_with(status, &json!({"error": error, "errorMessage": message.into()}))
}

fn invalid(message: impl Into<String>) -> Response {
    refusal(StatusCode::BAD_REQUEST, "Invalid", message)
}

fn not_found(message: impl Into<String>) -> Response {
    refusal(StatusCode::NOT_FOUND, "Not found", message)
}

fn sql_name(schema: &str, name: &str) -> String {
    format!("\"{schema}\".\"{name}\"")
}

/// Gives the refusal of a schema that there is not.
fn unknown_schema(schema: &str) -> Option<Response> {
    (!SCHEMAS.contains(&schema)).then(|| not_found(format!("Unknown schema {schema}")))
}

/// Gives the refusal of a schema that has no entries.
fn unwritable_schema(schema: &str) -> Option<Response> {
    let unwritable = || (schema != DATASOURCES).then(|| invalid(format!("Cannot modify schema {schema}")));
    unknown_schema(schema).or_else(unwritable)
}

/// Lists schemas, the paths of all tables, or all entries.
async fn schemas(State(state): State<AppState>, params: Params) -> Response {
    let tables = state.engine.metadata().catalog();
    match format(&params).as_str() {
        "" | "name" => answer_json(&json!(SCHEMAS)),
        "path" => {
            let paths = tables.keys().map(|name| json!({"schema": DATASOURCES, "name": name}));
            answer_json(&paths.collect())
        }
        "metadata" => answer_json(&tables.into_iter().map(|(_, entry)| entry).collect()),
        other => invalid(format!("Unknown format: [{other}]")),
    }
}

fn format(params: &Params) -> String {
    params
        .get("format")
        .map(|format| format.to_lowercase())
        .unwrap_or_default()
}

/// Lists the entries of a schema.
async fn tables(State(state): State<AppState>, Path(schema): Path<String>, params: Params) -> Response {
    if let Some(refusal) = unknown_schema(&schema) {
        return refusal;
    }
    let tables = match schema.as_str() {
        DATASOURCES => state.engine.metadata().catalog(),
        _ => Map::new(),
    };
    match format(&params).as_str() {
        "" | "name" => answer_json(&tables.keys().cloned().collect()),
        "metadata" => answer_json(&tables.into_iter().map(|(_, entry)| entry).collect()),
        "status" => {
            let without_details = tables.into_iter().map(|(_, mut entry)| {
                entry["spec"] = json!({"type": entry["spec"]["type"]});
                entry
            });
            answer_json(&without_details.collect())
        }
        other => invalid(format!("Unknown format: [{other}]")),
    }
}

async fn table(State(state): State<AppState>, Path((schema, name)): Path<(String, String)>) -> Response {
    if let Some(refusal) = unknown_schema(&schema) {
        return refusal;
    }
    let tables = state.engine.metadata().catalog();
    match tables.get(&name).filter(|_| schema == DATASOURCES) {
        Some(entry) => answer_json(entry),
        None => not_found(format!("Table {}: not found", sql_name(&schema, &name))),
    }
}

/// Judges the spec of an entry; says what is wrong with it.
fn check(name: &str, spec: &Value) -> Result<(), String> {
    if name.trim().is_empty() || name.contains(['/', '\\']) || name.starts_with('.') || name.trim() != name {
        return Err(format!("Table name [{name}] cannot be that of a datasource"));
    }
    let Some(kind) = spec.get("type").and_then(Value::as_str) else {
        return Err("A table definition must include a table type.".into());
    };
    if kind != DATASOURCE_TYPE {
        return Err(format!("Cannot create tables of type {kind} in schema {DATASOURCES}"));
    }
    let properties = spec.get("properties").unwrap_or(&Value::Null);
    let property = |name: &str| properties.get(name).filter(|value| !value.is_null());
    if let Some(granularity) = property("segmentGranularity") {
        let parsed = granularity.as_str().map(str::parse::<Granularity>);
        if !matches!(parsed, Some(Ok(_))) {
            return Err(format!(
                "segmentGranularity must be a period such as P1D, a name such as DAY, or ALL, found {granularity}"
            ));
        }
    }
    if let Some(projections) = property("projections") {
        let Some(list) = projections.as_array() else {
            return Err(format!(
                "projections must be a list of {{\"spec\": …}}, found {projections}"
            ));
        };
        let mut names = Vec::new();
        for entry in list {
            let Some(spec) = entry.get("spec") else {
                return Err(format!("a projection must be {{\"spec\": …}}, found {entry}"));
            };
            let spec = ProjectionSpec::from_druid(spec).map_err(|error| error.to_string())?;
            if names.contains(&spec.name().to_owned()) {
                return Err(format!(
                    "projection[{}] is already defined, projection names must be unique",
                    spec.name()
                ));
            }
            names.push(spec.name().to_owned());
        }
    }
    Ok(())
}

/// Creates an entry, or changes one: with `overwrite`, or of the `version` that the caller has seen.
async fn post(
    State(state): State<AppState>,
    Path((schema, name)): Path<(String, String)>,
    params: Params,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    if let Some(refusal) = unwritable_schema(&schema) {
        return refusal;
    }
    let spec = match json_body(request).await {
        Ok(spec) => spec,
        Err(error) => return axum::response::IntoResponse::into_response(error),
    };
    if let Err(message) = check(&name, &spec) {
        return invalid(message);
    }
    let expected = params.get("version").and_then(|version| version.parse::<i64>().ok());
    let expected = expected.filter(|version| *version != 0);
    let _changing = state.catalog_changing.lock().await;
    let mut tables = state.engine.metadata().catalog();
    let before = tables.get(&name);
    let updated = before.and_then(|entry| entry["updateTime"].as_i64());
    match (expected, updated) {
        (Some(version), updated) if updated != Some(version) => {
            return not_found(format!(
                "Table {}: not found, is being deleted or update version does not match DB version",
                sql_name(&schema, &name)
            ));
        }
        (None, Some(_)) if !flag(&params, "overwrite") => {
            let message = format!("Tried to insert a duplicate table: {}", sql_name(&schema, &name));
            return refusal(StatusCode::BAD_REQUEST, "Already exists", message);
        }
        _ => {}
    }
    // Two changes in one millisecond are two versions.
    let version = now_ms().max(updated.map_or(0, |updated| updated + 1));
    let created = before.map_or(json!(version), |entry| entry["creationTime"].clone());
    let entry = json!({
        "id": {"schema": schema, "name": name},
        "creationTime": created,
        "updateTime": version,
        "state": "ACTIVE",
        "spec": spec,
    });
    tables.insert(name.clone(), entry.clone());
    match store(&state, tables, &name, &entry, &headers).await {
        Ok(()) => answer_json(&json!({"version": version})),
        Err(failure) => failure,
    }
}

/// Removes an entry; the datasource stays as it is.
async fn delete(
    State(state): State<AppState>,
    Path((schema, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = unwritable_schema(&schema) {
        return refusal;
    }
    let _changing = state.catalog_changing.lock().await;
    let mut tables = state.engine.metadata().catalog();
    if tables.shift_remove(&name).is_none() {
        return not_found(format!("Table {}: not found", sql_name(&schema, &name)));
    }
    match store(&state, tables, &name, &Value::Null, &headers).await {
        Ok(()) => empty(StatusCode::OK),
        Err(failure) => failure,
    }
}

async fn store(
    state: &AppState,
    tables: Map<String, Value>,
    name: &str,
    entry: &Value,
    headers: &HeaderMap,
) -> Result<(), Response> {
    let audit = audit(name, KIND, headers, entry);
    let stored = state.engine.metadata().set_catalog(tables, Some(audit)).await;
    stored.map_err(|error| store_failure(&error))
}
