//! Coordinator settings that the console reads and writes: retention rules and the dynamic configuration, with their history.
//! They are kept in the metadata store as they are posted. One process has nothing to balance and loads everything it publishes,
//! so they steer nothing.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use henge_metadata::{Audit, MetadataError};
use henge_time::format_millis;
use serde_json::{Map, Value, json};

use super::answer::{Params, flag, json as answer_json, json_body};
use super::task::store_failure;
use crate::error::ApiError;
use crate::json::to_text;
use crate::state::{AppState, audit_of, now_ms};

/// Name of the dynamic configuration, in the store and in the history.
const DYNAMIC_CONFIG: &str = "coordinator.config";

/// Changes that are listed at most.
const MAX_HISTORY: usize = 1_000;

/// Names of the rules that Druid knows.
const RULE_TYPES: [&str; 10] = [
    "broadcastByInterval",
    "broadcastByPeriod",
    "broadcastForever",
    "dropBeforeByPeriod",
    "dropByInterval",
    "dropByPeriod",
    "dropForever",
    "loadByInterval",
    "loadByPeriod",
    "loadForever",
];

/// Makes the entry of the history for a change.
pub fn audit(key: &str, kind: &str, headers: &HeaderMap, payload: &Value) -> Audit {
    let (author, comment) = audit_of(headers);
    let entry = json!({
        "key": key,
        "type": kind,
        "auditInfo": {"author": author, "identity": "allowAll", "comment": comment, "ip": "127.0.0.1"},
        "request": null,
        "payload": String::from_utf8(to_text(payload)).unwrap_or_default(),
        "auditTime": format_millis(now_ms()),
    });
    Audit {
        key: key.to_string(),
        kind: kind.to_string(),
        author,
        comment,
        entry,
    }
}

async fn history(state: &AppState, kind: &str, key: Option<&str>, params: &Params) -> Response {
    let asked = params.get("count").and_then(|count| count.parse().ok());
    let count = asked.unwrap_or(100).min(MAX_HISTORY);
    match state.engine.metadata().audits(kind, key, count).await {
        Ok(entries) => answer_json(&Value::Array(entries)),
        Err(error) => store_failure(&error),
    }
}

/// Answers 200 for a change that is stored.
fn stored(result: Result<(), MetadataError>) -> Response {
    match result {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => store_failure(&error),
    }
}

fn default_rules() -> Value {
    json!([{"tieredReplicants": {"_default_tier": 2}, "useDefaultTierForNull": true, "type": "loadForever"}])
}

/// Answers all rules.
pub async fn all_rules(State(state): State<AppState>) -> Response {
    match state.engine.metadata().rules().await {
        Ok(posted) => {
            let mut rules = Map::new();
            rules.insert("_default".to_string(), default_rules());
            rules.extend(posted);
            answer_json(&Value::Object(rules))
        }
        Err(error) => store_failure(&error),
    }
}

/// Answers the rules of a datasource; with `full` those of the cluster behind them.
pub async fn rules(State(state): State<AppState>, Path(datasource): Path<String>, params: Params) -> Response {
    let posted = match state.engine.metadata().rules().await {
        Ok(posted) => posted,
        Err(error) => return store_failure(&error),
    };
    let mut rules = match posted.get(&datasource) {
        Some(Value::Array(rules)) => rules.clone(),
        _ => Vec::new(),
    };
    if (datasource == "_default" || flag(&params, "full"))
        && let Value::Array(defaults) = posted.get("_default").cloned().unwrap_or_else(default_rules)
    {
        rules = if datasource == "_default" {
            defaults
        } else {
            [rules, defaults].concat()
        };
    }
    answer_json(&Value::Array(rules))
}

/// Keeps the rules of a datasource.
pub async fn post_rules(State(state): State<AppState>, Path(datasource): Path<String>, request: Request) -> Response {
    let headers = request.headers().clone();
    let body = match json_body(request).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let Value::Array(posted) = body else {
        return ApiError::plain(
            StatusCode::BAD_REQUEST,
            format!(
                "Cannot deserialize value of type `java.util.ArrayList<org.apache.druid.server.coordinator.rules.Rule>` from {}",
                crate::jackson::kind_with_token(&body)
            ),
        )
        .into_response();
    };
    let mut rules = Vec::with_capacity(posted.len());
    for rule in posted {
        let kind = rule.get("type").and_then(Value::as_str).unwrap_or_default().to_string();
        if !RULE_TYPES.contains(&kind.as_str()) {
            return ApiError::plain(
                StatusCode::BAD_REQUEST,
                format!(
                    "Please make sure to load all the necessary extensions and jars with type '{kind}' on 'druid/coordinator' service. Could not resolve type id '{kind}' as a subtype of `org.apache.druid.server.coordinator.rules.Rule` known type ids = [{}]",
                    RULE_TYPES.join(", ")
                ),
            )
            .into_response();
        }
        rules.push(with_defaults(rule, &kind));
    }
    let rules = Value::Array(rules);
    let audit = audit(&datasource, "rules", &headers, &rules);
    stored(state.engine.metadata().set_rules(&datasource, &rules, audit).await)
}

/// Writes a rule as Druid does: its own members, the tiers, its type last.
fn with_defaults(rule: Value, kind: &str) -> Value {
    let Value::Object(mut given) = rule else { return rule };
    let mut members = Map::new();
    for name in ["interval", "period"] {
        if let Some(value) = given.shift_remove(name) {
            members.insert(name.to_string(), value);
        }
    }
    if kind.ends_with("ByPeriod") {
        members.insert(
            "includeFuture".to_string(),
            given.shift_remove("includeFuture").unwrap_or(Value::Bool(true)),
        );
    }
    if kind.starts_with("load") {
        members.insert(
            "tieredReplicants".to_string(),
            given
                .shift_remove("tieredReplicants")
                .unwrap_or_else(|| json!({"_default_tier": 2})),
        );
        members.insert(
            "useDefaultTierForNull".to_string(),
            given.shift_remove("useDefaultTierForNull").unwrap_or(Value::Bool(true)),
        );
    }
    members.insert("type".to_string(), Value::from(kind));
    Value::Object(members)
}

/// Answers the changes of one datasource's rules.
pub async fn rules_history(State(state): State<AppState>, Path(datasource): Path<String>, params: Params) -> Response {
    history(&state, "rules", Some(&datasource), &params).await
}

/// Answers the changes of all rules.
pub async fn all_rules_history(State(state): State<AppState>, params: Params) -> Response {
    history(&state, "rules", None, &params).await
}

fn default_config() -> Map<String, Value> {
    let Value::Object(config) = json!({
        "millisToWaitBeforeDeleting": 900_000,
        "maxSegmentsToMove": 100,
        "replicantLifetime": 15,
        "replicationThrottleLimit": 500,
        "balancerComputeThreads": 1,
        "killDataSourceWhitelist": [],
        "killTaskSlotRatio": 0.1,
        "maxKillTaskSlots": 2_147_483_647,
        "killPendingSegmentsSkipList": [],
        "maxSegmentsInNodeLoadingQueue": 500,
        "decommissioningNodes": [],
        "pauseCoordination": false,
        "replicateAfterLoadTimeout": false,
        "useRoundRobinSegmentAssignment": true,
        "smartSegmentLoading": true,
        "debugDimensions": null,
        "turboLoadingNodes": [],
        "cloneServers": {},
        "historicalTierAliases": {},
    }) else {
        return Map::new();
    };
    config
}

/// Gives the dynamic configuration: what was posted over the defaults.
fn whole_config(state: &AppState) -> Map<String, Value> {
    let mut config = default_config();
    if let Some(posted) = state.engine.metadata().config(DYNAMIC_CONFIG)
        && let Value::Object(posted) = posted.as_ref()
    {
        config.extend(posted.clone());
    }
    config
}

/// Answers the dynamic configuration.
pub async fn config(State(state): State<AppState>) -> Response {
    answer_json(&Value::Object(whole_config(&state)))
}

/// Keeps the dynamic configuration.
pub async fn post_config(State(state): State<AppState>, request: Request) -> Response {
    let headers = request.headers().clone();
    let body = match json_body(request).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let Value::Object(posted) = body else {
        return ApiError::plain(
            StatusCode::BAD_REQUEST,
            format!(
                "Cannot deserialize the dynamic configuration from {}",
                crate::jackson::kind_with_token(&body)
            ),
        )
        .into_response();
    };
    let defaults = default_config();
    for (name, value) in &posted {
        if defaults.get(name).is_some_and(Value::is_i64) && !value.is_i64() {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            return ApiError::plain(
                StatusCode::BAD_REQUEST,
                format!(
                    "Cannot deserialize value of type `java.lang.Integer` from String \"{shown}\": not a valid `java.lang.Integer` value"
                ),
            )
            .into_response();
        }
    }
    let mut whole = whole_config(&state);
    whole.extend(posted);
    let whole = Value::Object(whole);
    let audit = audit(DYNAMIC_CONFIG, DYNAMIC_CONFIG, &headers, &whole);
    let metadata = state.engine.metadata();
    stored(metadata.set_config(DYNAMIC_CONFIG, &whole, Some(audit)).await)
}

/// Answers the changes of the dynamic configuration.
pub async fn config_history(State(state): State<AppState>, params: Params) -> Response {
    history(&state, DYNAMIC_CONFIG, None, &params).await
}
