//! The Coordinator's routes of lookups. Before somebody posts to them there are none, which the console shows as "uninitialized".

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::answer::{Params, empty, flag, json as answer_json, json_body, json_with};
use super::settings::audit;
use super::task::store_failure;
use crate::error::ApiError;
use crate::json::to_text;
use crate::lookups::{self, CONFIG};
use crate::state::AppState;

/// Gives the routes.
pub fn routes() -> Router<AppState> {
    let route = |path: &str| format!("/druid/coordinator/v1/lookups{path}");
    Router::new()
        .route(&route("/config"), get(tiers).post(post_all))
        .route(&route("/config/all"), get(all))
        .route(&route("/config/{tier}"), get(tier))
        .route(
            &route("/config/{tier}/{id}"),
            get(lookup).post(post_one).delete(delete_one),
        )
        .route(&route("/status"), get(status))
        .route(&route("/status/{tier}"), get(tier_status))
        .route(&route("/status/{tier}/{id}"), get(lookup_status))
        .route(&route("/nodeStatus"), get(node_status))
}

fn configured(state: &AppState) -> Option<Map<String, Value>> {
    lookups::configured(state.engine.metadata())
}

fn no_tier(tier: &str) -> Response {
    ApiError::plain(StatusCode::NOT_FOUND, format!("Tier [{tier}] not found")).into_response()
}

fn no_lookup(id: &str) -> Response {
    ApiError::plain(StatusCode::NOT_FOUND, format!("lookup [{id}] not found")).into_response()
}

/// Answers as Druid does before there are lookups: without a type of content.
fn uninitialised(body: &Value) -> Response {
    let mut response = match body {
        Value::Null => Body::empty().into_response(),
        body => Body::from(to_text(body)).into_response(),
    };
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

async fn tiers(State(state): State<AppState>, params: Params) -> Response {
    match configured(&state) {
        None => uninitialised(&Value::Null),
        // Those that a process belongs to: this one is in the default tier.
        Some(_) if flag(&params, "discover") => answer_json(&json!(["__default"])),
        Some(tiers) => answer_json(&tiers.keys().cloned().collect()),
    }
}

async fn all(State(state): State<AppState>) -> Response {
    match configured(&state) {
        None => uninitialised(&Value::Null),
        Some(tiers) => answer_json(&Value::Object(tiers)),
    }
}

fn tier_of(state: &AppState, tier: &str) -> Option<Map<String, Value>> {
    configured(state)?.get(tier)?.as_object().cloned()
}

async fn tier(State(state): State<AppState>, Path(tier): Path<String>, params: Params) -> Response {
    match tier_of(&state, &tier) {
        None => no_tier(&tier),
        Some(lookups) if flag(&params, "detailed") => answer_json(&Value::Object(lookups)),
        Some(lookups) => answer_json(&lookups.keys().cloned().collect()),
    }
}

async fn lookup(State(state): State<AppState>, Path((tier, id)): Path<(String, String)>) -> Response {
    match tier_of(&state, &tier).and_then(|lookups| lookups.get(&id).cloned()) {
        None => no_lookup(&id),
        Some(lookup) => answer_json(&lookup),
    }
}

async fn store(state: &AppState, tiers: Map<String, Value>, headers: &HeaderMap) -> Result<(), Response> {
    let tiers = Value::Object(tiers);
    let audit = audit(CONFIG, CONFIG, headers, &tiers);
    let metadata = state.engine.metadata();
    let stored = metadata.set_config(CONFIG, &tiers, Some(audit)).await;
    stored.map_err(|error| store_failure(&error))?;
    lookups::load(&state.engine);
    Ok(())
}

/// Puts lookups of several tiers, all or none.
async fn post_all(State(state): State<AppState>, request: Request) -> Response {
    let headers = request.headers().clone();
    let posted = match json_body(request).await {
        Ok(Value::Object(posted)) => posted,
        Ok(other) => {
            let message = format!(
                "Cannot deserialize lookups from {}",
                crate::jackson::kind_with_token(&other)
            );
            return ApiError::plain(StatusCode::BAD_REQUEST, message).into_response();
        }
        Err(error) => return error.into_response(),
    };
    let _changing = state.lookups_changing.lock().await;
    let mut tiers = configured(&state).unwrap_or_default();
    for (tier, lookups) in &posted {
        for (id, lookup) in lookups.as_object().into_iter().flatten() {
            if let Err(refusal) = lookups::put(&mut tiers, tier, id, lookup) {
                return ApiError::plain(StatusCode::INTERNAL_SERVER_ERROR, refusal).into_response();
            }
        }
    }
    match store(&state, tiers, &headers).await {
        Ok(()) => json_with(StatusCode::ACCEPTED, &Value::Object(posted)),
        Err(failure) => failure,
    }
}

async fn post_one(
    State(state): State<AppState>,
    Path((tier, id)): Path<(String, String)>,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    let lookup = match json_body(request).await {
        Ok(lookup) => lookup,
        Err(error) => return error.into_response(),
    };
    let _changing = state.lookups_changing.lock().await;
    let mut tiers = configured(&state).unwrap_or_default();
    if let Err(refusal) = lookups::put(&mut tiers, &tier, &id, &lookup) {
        return ApiError::plain(StatusCode::INTERNAL_SERVER_ERROR, refusal).into_response();
    }
    match store(&state, tiers, &headers).await {
        Ok(()) => empty(StatusCode::ACCEPTED),
        Err(failure) => failure,
    }
}

async fn delete_one(
    State(state): State<AppState>,
    Path((tier, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let _changing = state.lookups_changing.lock().await;
    let mut tiers = configured(&state).unwrap_or_default();
    let lookups = tiers.get_mut(&tier).and_then(Value::as_object_mut);
    if lookups.and_then(|lookups| lookups.shift_remove(&id)).is_none() {
        return empty(StatusCode::NOT_FOUND);
    }
    match store(&state, tiers, &headers).await {
        Ok(()) => empty(StatusCode::ACCEPTED),
        Err(failure) => failure,
    }
}

/// Says of a lookup that it is loaded: queries see it as soon as it is stored.
fn loaded(detailed: bool) -> Value {
    if detailed {
        json!({"loaded": true, "pendingNodes": []})
    } else {
        json!({"loaded": true})
    }
}

fn all_loaded(lookups: &Map<String, Value>, detailed: bool) -> Value {
    lookups
        .keys()
        .map(|id| (id.clone(), loaded(detailed)))
        .collect::<Map<_, _>>()
        .into()
}

async fn status(State(state): State<AppState>, params: Params) -> Response {
    let Some(tiers) = configured(&state) else {
        return uninitialised(&json!({"error": "No lookups found"}));
    };
    let detailed = flag(&params, "detailed");
    let tiers = tiers.into_iter().map(|(tier, lookups)| {
        let lookups = lookups.as_object().cloned().unwrap_or_default();
        (tier, all_loaded(&lookups, detailed))
    });
    answer_json(&Value::Object(tiers.collect()))
}

async fn tier_status(State(state): State<AppState>, Path(tier): Path<String>, params: Params) -> Response {
    match tier_of(&state, &tier) {
        None => no_tier(&tier),
        Some(lookups) => answer_json(&all_loaded(&lookups, flag(&params, "detailed"))),
    }
}

async fn lookup_status(
    State(state): State<AppState>,
    Path((tier, id)): Path<(String, String)>,
    params: Params,
) -> Response {
    match tier_of(&state, &tier) {
        Some(lookups) if lookups.contains_key(&id) => answer_json(&loaded(flag(&params, "detailed"))),
        _ => no_lookup(&id),
    }
}

/// Answers what the processes of each tier have: one process, which has everything.
async fn node_status(State(state): State<AppState>) -> Response {
    let current = lookups::all(state.engine.metadata()).into_iter().collect::<Map<_, _>>();
    let node = json!({"current": current, "toLoad": {}, "toDrop": []});
    let nodes: Map<String, Value> = [(state.info.advertised.clone(), node)].into_iter().collect();
    answer_json(&json!({"__default": nodes}))
}
