//! Coordinator settings that the console reads and writes: retention rules and the dynamic configuration, with their history.
//! One process has nothing to balance and loads everything it publishes, so the settings are kept as they are posted, for this
//! process's lifetime, and steer nothing.

use std::collections::BTreeMap;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use henge_time::format_millis;
use serde_json::{Map, Value, json};

use super::answer::{Params, flag, json as answer_json, json_body};
use crate::error::ApiError;
use crate::json::to_text;
use crate::state::{AppState, audit_of, now_ms};

/// Most changes that are remembered.
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

/// What was posted.
#[derive(Debug, Default)]
pub struct Settings {
    rules: BTreeMap<String, Value>,
    config: Map<String, Value>,
    history: Vec<Value>,
}

impl Settings {
    fn log(&mut self, key: &str, kind: &str, headers: &HeaderMap, payload: &Value) {
        let (author, comment) = audit_of(headers);
        self.history.insert(
            0,
            json!({
                "key": key,
                "type": kind,
                "auditInfo": {"author": author, "identity": "allowAll", "comment": comment, "ip": "127.0.0.1"},
                "request": null,
                "payload": String::from_utf8(to_text(payload)).unwrap_or_default(),
                "auditTime": format_millis(now_ms()),
            }),
        );
        self.history.truncate(MAX_HISTORY);
    }

    fn entries(&self, kind: &str, key: Option<&str>, params: &Params) -> Value {
        let count = params.get("count").and_then(|count| count.parse().ok()).unwrap_or(100);
        self.history
            .iter()
            .filter(|entry| entry["type"] == kind && key.is_none_or(|key| entry["key"] == key))
            .take(count)
            .cloned()
            .collect()
    }
}

fn default_rules() -> Value {
    json!([{"tieredReplicants": {"_default_tier": 2}, "useDefaultTierForNull": true, "type": "loadForever"}])
}

/// Answers all rules.
pub async fn all_rules(State(state): State<AppState>) -> Response {
    let settings = state.settings.lock();
    let mut rules = Map::new();
    rules.insert("_default".to_string(), default_rules());
    rules.extend(settings.rules.clone());
    answer_json(&Value::Object(rules))
}

/// Answers the rules of a datasource; with `full` those of the cluster behind them.
pub async fn rules(State(state): State<AppState>, Path(datasource): Path<String>, params: Params) -> Response {
    let settings = state.settings.lock();
    let mut rules = match settings.rules.get(&datasource) {
        Some(Value::Array(rules)) => rules.clone(),
        _ => Vec::new(),
    };
    if (datasource == "_default" || flag(&params, "full"))
        && let Value::Array(defaults) = settings.rules.get("_default").cloned().unwrap_or_else(default_rules)
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
    let mut settings = state.settings.lock();
    settings.log(&datasource, "rules", &headers, &rules);
    settings.rules.insert(datasource, rules);
    StatusCode::OK.into_response()
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
    answer_json(&state.settings.lock().entries("rules", Some(&datasource), &params))
}

/// Answers the changes of all rules.
pub async fn all_rules_history(State(state): State<AppState>, params: Params) -> Response {
    answer_json(&state.settings.lock().entries("rules", None, &params))
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

/// Answers the dynamic configuration.
pub async fn config(State(state): State<AppState>) -> Response {
    let mut config = default_config();
    config.extend(state.settings.lock().config.clone());
    answer_json(&Value::Object(config))
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
    let mut settings = state.settings.lock();
    settings.config.extend(posted);
    let mut whole = defaults;
    whole.extend(settings.config.clone());
    settings.log(
        "coordinator.config",
        "coordinator.config",
        &headers,
        &Value::Object(whole),
    );
    StatusCode::OK.into_response()
}

/// Answers the changes of the dynamic configuration.
pub async fn config_history(State(state): State<AppState>, params: Params) -> Response {
    answer_json(&state.settings.lock().entries("coordinator.config", None, &params))
}
