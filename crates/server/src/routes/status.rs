//! What a process says of itself: status, health, properties, discovery.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use henge_engine::Engine;
use serde_json::{Value, json};

use super::answer::{empty, json as answer_json, only};
use crate::state::{AppState, ServerInfo};

/// Gives the routes.
pub fn routes() -> Router<AppState> {
    let status_route = || get(status).head(|| async { only("GET,OPTIONS") });
    Router::new()
        .route("/status", status_route())
        .route("/status/health", get(|| async { answer_json(&Value::Bool(true)) }))
        .route("/status/ready", get(|| async { answer_json(&Value::Bool(true)) }))
        .route("/status/properties", get(properties))
        .route("/status/selfDiscovered", get(|| async { empty(StatusCode::OK) }))
        .route(
            "/status/selfDiscovered/status",
            get(|| async { answer_json(&json!({"selfDiscovered": true})) }),
        )
        .route("/proxy/enabled", get(proxy_enabled))
        .route("/proxy/coordinator/status", get(status))
        .route("/proxy/coordinator/status/properties", get(properties))
        .route("/proxy/overlord/status", get(status))
        .route("/proxy/overlord/status/properties", get(properties))
        .route("/druid/router/v1/brokers", get(brokers))
        .route(
            "/druid/broker/v1/loadstatus",
            get(|| async { answer_json(&json!({"inventoryInitialized": true})) }),
        )
        .route("/druid/broker/v1/readiness", get(|| async { empty(StatusCode::OK) }))
        .route(
            "/druid/historical/v1/loadstatus",
            get(|| async { answer_json(&json!({"cacheInitialized": true})) }),
        )
        .route(
            "/druid/historical/v1/readiness",
            get(|| async { empty(StatusCode::OK) }),
        )
}

async fn proxy_enabled() -> Response {
    // Druid's router sends no content type here.
    Response::new(axum::body::Body::from("{\"enabled\":true}"))
}

async fn status(State(state): State<AppState>) -> Response {
    let memory = state.engine.config().memory_bytes;
    let used = resident_bytes().unwrap_or(0);
    answer_json(&json!({
        "version": state.info.version,
        "modules": [{
            "name": "henge",
            "artifact": "henge",
            "version": state.info.version,
        }],
        "memory": {
            "maxMemory": memory,
            "totalMemory": memory,
            "freeMemory": memory.saturating_sub(used),
            "usedMemory": used,
            "directMemory": memory,
        },
    }))
}

/// Gives the resident bytes of this process, where the system tells.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

async fn properties(State(state): State<AppState>) -> Response {
    answer_json(&Value::Object(
        effective_properties(&state.engine, &state.info)
            .into_iter()
            .map(|(name, value)| (name.to_string(), Value::from(value)))
            .collect(),
    ))
}

/// Gives the effective settings under Druid's names, as far as there is one.
pub fn effective_properties(engine: &Engine, info: &ServerInfo) -> BTreeMap<&'static str, String> {
    let config = engine.config();
    let path = |name: &str| config.dir.join(name).display().to_string();
    BTreeMap::from([
        ("druid.extensions.loadList", "[]".to_string()),
        ("druid.host", info.host().to_string()),
        ("druid.plaintextPort", info.port().to_string()),
        ("druid.service", "druid/router".to_string()),
        ("druid.router.managementProxy.enabled", "true".to_string()),
        ("druid.metadata.storage.type", "sqlite".to_string()),
        (
            "druid.metadata.storage.connector.connectURI",
            format!("sqlite:{}", path("metadata.sqlite")),
        ),
        ("druid.storage.type", "local".to_string()),
        ("druid.storage.storageDirectory", path("segments")),
        ("druid.indexer.runner.type", "threading".to_string()),
        ("druid.worker.capacity", config.threads.to_string()),
        ("druid.processing.numThreads", config.threads.to_string()),
        ("druid.processing.tmpDir", path("tmp")),
        ("file.encoding", "UTF-8".to_string()),
        ("user.timezone", "UTC".to_string()),
        ("henge.memory.bytes", config.memory_bytes.to_string()),
    ])
}

async fn brokers(State(state): State<AppState>) -> Response {
    answer_json(&json!({"druid/broker": [state.info.advertised]}))
}
