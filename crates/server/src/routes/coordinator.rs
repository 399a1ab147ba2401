//! The Coordinator's routes: datasources, segments, servers, load status, settings.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use henge_metadata::{DatasourceSnapshot, PublishedSegment};
use henge_time::Interval;
use serde_json::{Map, Value, json};

use super::answer::{Params, bare, empty, flag, json as answer_json, json_body};
use super::metadata_view::{by_interval, chunks, segment, size_and_count, summary, total_size, with_servers};
use super::settings;
use crate::error::ApiError;
use crate::state::AppState;

const BASE: &str = "/druid/coordinator/v1";

/// Gives the routes.
pub fn routes() -> Router<AppState> {
    let route = |path: &str| format!("{BASE}{path}");
    Router::new()
        .route(
            &route("/isLeader"),
            get(|| async { answer_json(&json!({"leader": true})) }),
        )
        .route(&route("/leader"), get(leader))
        .route(&route("/loadstatus"), get(load_status))
        .route(&route("/loadqueue"), get(load_queue))
        .route(&route("/datasources"), get(datasources))
        .route(&route("/datasources/{ds}"), get(datasource))
        .route(&route("/datasources/{ds}/segments"), get(datasource_segments))
        .route(&route("/datasources/{ds}/segments/{id}"), get(datasource_segment))
        .route(&route("/datasources/{ds}/intervals"), get(datasource_intervals))
        .route(
            &route("/datasources/{ds}/intervals/{interval}"),
            get(datasource_interval),
        )
        .route(
            &route("/datasources/{ds}/intervals/{interval}/serverview"),
            get(server_view),
        )
        .route(&route("/datasources/{ds}/tiers"), get(datasource_tiers))
        .route(&route("/datasources/{ds}/loadstatus"), get(datasource_load_status))
        .route(&route("/intervals"), get(intervals))
        .route(&route("/intervals/{interval}"), get(interval))
        .route(&route("/metadata/datasources"), get(metadata_datasources))
        .route(&route("/metadata/datasources/{ds}"), get(metadata_datasource))
        .route(
            &route("/metadata/datasources/{ds}/segments"),
            get(metadata_segments_of).post(metadata_segments_within),
        )
        .route(
            &route("/metadata/datasources/{ds}/segments/{id}"),
            get(metadata_segment),
        )
        .route(
            &route("/metadata/datasources/{ds}/unusedSegments"),
            get(unused_segments),
        )
        .route(
            &route("/metadata/dataSourceInformation"),
            post(|| async { empty(StatusCode::NOT_FOUND) }),
        )
        .route(&route("/metadata/segments"), get(metadata_segments))
        .route(
            &route("/metadata/bootstrapSegments"),
            post(|| async { answer_json(&json!([])) }),
        )
        .route(&route("/servers"), get(servers))
        .route(&route("/servers/{server}"), get(server))
        .route(&route("/servers/{server}/segments"), get(server_segments))
        .route(&route("/tiers"), get(tiers))
        .route(&route("/tiers/{tier}"), get(tier))
        .route(&route("/cluster"), get(cluster))
        .route(&route("/cluster/{role}"), get(|| async { answer_json(&json!([])) }))
        .route(&route("/rules"), get(settings::all_rules))
        .route(&route("/rules/history"), get(settings::all_rules_history))
        .route(&route("/rules/{ds}"), get(settings::rules).post(settings::post_rules))
        .route(&route("/rules/{ds}/history"), get(settings::rules_history))
        .route(&route("/config"), get(settings::config).post(settings::post_config))
        .route(&route("/config/history"), get(settings::config_history))
        .route(
            &route("/config/cloneStatus"),
            get(|| async { answer_json(&json!({"cloneStatus": []})) }),
        )
        .route(&route("/config/compaction"), get(compaction_config))
        .route(&route("/config/compaction/{ds}"), get(no_compaction_config))
        .route(&route("/compaction/status"), get(compaction_status))
        .route(&route("/compaction/progress"), get(compaction_unknown))
        .route(&route("/broker/config"), get(broker_config))
        .route(
            &route("/broker/config/history"),
            get(|| async { answer_json(&json!([])) }),
        )
}

async fn leader(State(state): State<AppState>) -> Response {
    bare(StatusCode::OK, format!("http://{}", state.info.advertised))
}

async fn load_status(State(state): State<AppState>, params: Params) -> Response {
    // What is published is loaded: nothing is ever left to load.
    let snapshot = state.engine.snapshot();
    let names = snapshot.datasources().map(|(name, _)| name.to_string());
    if flag(&params, "full") {
        let counts: Map<String, Value> = names.map(|name| (name, Value::from(0))).collect();
        return answer_json(&json!({"_default_tier": counts}));
    }
    let share = if flag(&params, "simple") {
        json!(0)
    } else {
        json!(100.0)
    };
    answer_json(&Value::Object(names.map(|name| (name, share.clone())).collect()))
}

async fn load_queue(State(state): State<AppState>, params: Params) -> Response {
    let queue = if flag(&params, "simple") {
        json!({
            "segmentsToLoad": 0,
            "segmentsToDrop": 0,
            "segmentsToLoadSize": 0,
            "segmentsToDropSize": 0,
            "expectedLoadTimeMillis": 0,
        })
    } else {
        json!({"segmentsToLoad": [], "segmentsToDrop": []})
    };
    answer_json(&Value::Object(
        [(state.info.advertised.clone(), queue)].into_iter().collect(),
    ))
}

async fn datasources(State(state): State<AppState>, params: Params) -> Response {
    let snapshot = state.engine.snapshot();
    let (simple, full) = (flag(&params, "simple"), flag(&params, "full"));
    let answer: Value = snapshot
        .datasources()
        .map(|(name, datasource)| {
            if full {
                full_datasource(name, datasource, json!({"client": "side"}))
            } else if simple {
                json!({"name": name, "properties": summary(datasource)})
            } else {
                Value::from(name)
            }
        })
        .collect();
    answer_json(&answer)
}

fn full_datasource(name: &str, datasource: &DatasourceSnapshot, properties: Value) -> Value {
    let segments: Vec<Value> = datasource.segments.iter().map(segment).collect();
    json!({"name": name, "properties": properties, "segments": segments})
}

async fn datasource(State(state): State<AppState>, Path(name): Path<String>, params: Params) -> Response {
    match state.engine.snapshot().datasource(&name) {
        None => empty(StatusCode::NO_CONTENT),
        Some(datasource) if flag(&params, "full") => answer_json(&full_datasource(&name, datasource, json!({}))),
        Some(datasource) => answer_json(&summary(datasource)),
    }
}

async fn datasource_segments(State(state): State<AppState>, Path(name): Path<String>, params: Params) -> Response {
    match state.engine.snapshot().datasource(&name) {
        None => empty(StatusCode::NO_CONTENT),
        Some(datasource) => answer_json(&list(datasource.segments.iter(), flag(&params, "full"))),
    }
}

fn list<'a>(segments: impl Iterator<Item = &'a PublishedSegment>, full: bool) -> Value {
    segments
        .map(|published| {
            if full {
                segment(published)
            } else {
                Value::from(&*published.id)
            }
        })
        .collect()
}

async fn datasource_segment(State(state): State<AppState>, Path((name, id)): Path<(String, String)>) -> Response {
    let snapshot = state.engine.snapshot();
    let found = snapshot
        .datasource(&name)
        .and_then(|datasource| datasource.segments.iter().find(|published| *published.id == *id));
    match found {
        Some(published) => answer_json(&with_servers(published, &state.info.advertised)),
        None => empty(StatusCode::NO_CONTENT),
    }
}

async fn datasource_intervals(State(state): State<AppState>, Path(name): Path<String>, params: Params) -> Response {
    let snapshot = state.engine.snapshot();
    let Some(datasource) = snapshot.datasource(&name) else {
        return empty(StatusCode::NO_CONTENT);
    };
    let found = by_interval(datasource);
    if flag(&params, "simple") || flag(&params, "full") {
        return answer_json(&chunks(&found, flag(&params, "simple"), &state.info.advertised));
    }
    answer_json(
        &found
            .iter()
            .map(|(interval, _)| Value::from(interval.to_string()))
            .collect(),
    )
}

fn read_interval(text: &str) -> Result<Interval, ApiError> {
    text.replace('_', "/")
        .parse::<Interval>()
        .map_err(|error| ApiError::input(error.to_string()))
}

async fn datasource_interval(
    State(state): State<AppState>,
    Path((name, interval)): Path<(String, String)>,
    params: Params,
) -> Response {
    let interval = match read_interval(&interval) {
        Ok(interval) => interval,
        Err(error) => return error.into_response(),
    };
    let snapshot = state.engine.snapshot();
    let Some(datasource) = snapshot.datasource(&name) else {
        return empty(StatusCode::NO_CONTENT);
    };
    let found: Vec<_> = by_interval(datasource)
        .into_iter()
        .filter(|(chunk, _)| interval.contains(chunk))
        .collect();
    if flag(&params, "simple") || flag(&params, "full") {
        return answer_json(&chunks(&found, flag(&params, "simple"), &state.info.advertised));
    }
    answer_json(&list(
        found.iter().flat_map(|(_, segments)| segments.iter().copied()),
        false,
    ))
}

async fn server_view(State(state): State<AppState>, Path((name, interval)): Path<(String, String)>) -> Response {
    let interval = match read_interval(&interval) {
        Ok(interval) => interval,
        Err(error) => return error.into_response(),
    };
    let snapshot = state.engine.snapshot();
    let Some(datasource) = snapshot.datasource(&name) else {
        return answer_json(&json!([]));
    };
    let server = json!({
        "name": state.info.advertised,
        "host": state.info.advertised,
        "hostAndTlsPort": null,
        "maxSize": total_size(&snapshot),
        "storageSize": total_size(&snapshot),
        "type": "historical",
        "tier": "_default_tier",
        "priority": 0,
    });
    let answer: Value = datasource
        .segments
        .iter()
        .filter(|published| !published.overshadowed && published.segment.interval.overlaps(&interval))
        .map(|published| json!({"segment": segment(published), "servers": [server]}))
        .collect();
    answer_json(&answer)
}

async fn datasource_tiers(State(state): State<AppState>, Path(name): Path<String>) -> Response {
    match state.engine.snapshot().datasource(&name) {
        None => empty(StatusCode::NO_CONTENT),
        Some(_) => answer_json(&json!(["_default_tier"])),
    }
}

async fn datasource_load_status(State(state): State<AppState>, Path(name): Path<String>, params: Params) -> Response {
    if !params.contains_key("forceMetadataRefresh") {
        return bare(
            StatusCode::BAD_REQUEST,
            "Invalid request. forceMetadataRefresh must be specified",
        );
    }
    let snapshot = state.engine.snapshot();
    let Some(datasource) = snapshot.datasource(&name) else {
        return empty(StatusCode::NO_CONTENT);
    };
    // Without an interval Druid looks at the last two weeks only.
    let interval = match params.get("interval").map(|text| read_interval(text)) {
        Some(Ok(interval)) => interval,
        Some(Err(error)) => return error.into_response(),
        None => {
            let now = crate::state::now_ms();
            Interval {
                start_ms: now - 14 * 86_400_000,
                end_ms: now,
            }
        }
    };
    if !datasource
        .segments
        .iter()
        .any(|published| published.segment.interval.overlaps(&interval))
    {
        return bare(
            StatusCode::OK,
            "No used segment found for the given datasource and interval",
        );
    }
    answer_json(&if flag(&params, "full") {
        json!({"_default_tier": {name: 0}})
    } else if flag(&params, "simple") {
        json!({name: 0})
    } else {
        json!({name: 100.0})
    })
}

async fn intervals(State(state): State<AppState>) -> Response {
    let snapshot = state.engine.snapshot();
    let mut found: std::collections::BTreeMap<(i64, i64), (Interval, Map<String, Value>)> =
        std::collections::BTreeMap::new();
    for (name, datasource) in snapshot.datasources() {
        for (interval, segments) in by_interval(datasource) {
            let entry = found
                .entry((interval.start_ms, interval.end_ms))
                .or_insert_with(|| (interval, Map::new()));
            entry.1.insert(name.to_string(), size_and_count(&segments));
        }
    }
    let answer: Map<String, Value> = found
        .into_values()
        .rev()
        .map(|(interval, members)| (interval.to_string(), Value::Object(members)))
        .collect();
    answer_json(&Value::Object(answer))
}

async fn interval(State(state): State<AppState>, Path(interval): Path<String>, params: Params) -> Response {
    let interval = match read_interval(&interval) {
        Ok(interval) => interval,
        Err(error) => return error.into_response(),
    };
    let snapshot = state.engine.snapshot();
    let (mut by_chunk, mut by_name) = (Map::new(), Map::new());
    let mut all: Vec<&PublishedSegment> = Vec::new();
    for (name, datasource) in snapshot.datasources() {
        for (chunk, segments) in by_interval(datasource) {
            if !interval.contains(&chunk) {
                continue;
            }
            let entry = by_name.entry(chunk.to_string()).or_insert_with(|| json!({}));
            if let Some(members) = entry.as_object_mut() {
                members.insert(name.to_string(), size_and_count(&segments));
            }
            let entry = by_chunk
                .entry(chunk.to_string())
                .or_insert_with(|| json!({"size": 0, "count": 0}));
            let more = size_and_count(&segments);
            for member in ["size", "count"] {
                entry[member] = json!(entry[member].as_u64().unwrap_or(0) + more[member].as_u64().unwrap_or(0));
            }
            all.extend(segments);
        }
    }
    answer_json(&if flag(&params, "full") {
        Value::Object(by_name)
    } else if flag(&params, "simple") {
        Value::Object(by_chunk)
    } else {
        size_and_count(&all)
    })
}

async fn metadata_datasources(State(state): State<AppState>, params: Params) -> Response {
    let snapshot = state.engine.snapshot();
    let full = flag(&params, "full");
    let answer: Value = snapshot
        .datasources()
        .map(|(name, datasource)| {
            if full {
                full_datasource(name, datasource, created(&state))
            } else {
                Value::from(name)
            }
        })
        .collect();
    answer_json(&answer)
}

/// Druid tells when its view of the metadata was made; ours is as old as the process.
fn created(state: &AppState) -> Value {
    json!({"created": henge_time::format_millis(state.info.start_time_ms)})
}

async fn metadata_datasource(State(state): State<AppState>, Path(name): Path<String>) -> Response {
    match state.engine.snapshot().datasource(&name) {
        None => empty(StatusCode::NOT_FOUND),
        Some(datasource) => answer_json(&full_datasource(&name, datasource, created(&state))),
    }
}

async fn metadata_segments_of(State(state): State<AppState>, Path(name): Path<String>, params: Params) -> Response {
    match state.engine.snapshot().datasource(&name) {
        None => empty(StatusCode::NOT_FOUND),
        Some(datasource) => answer_json(&list(datasource.segments.iter(), flag(&params, "full"))),
    }
}

async fn metadata_segments_within(
    State(state): State<AppState>,
    Path(name): Path<String>,
    params: Params,
    request: Request,
) -> Response {
    let body = match json_body(request).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let mut intervals = Vec::new();
    for text in body.as_array().into_iter().flatten().filter_map(Value::as_str) {
        match read_interval(text) {
            Ok(interval) => intervals.push(interval),
            Err(error) => return error.into_response(),
        }
    }
    let snapshot = state.engine.snapshot();
    let segments = snapshot
        .datasource(&name)
        .into_iter()
        .flat_map(|datasource| &datasource.segments)
        .filter(|published| {
            intervals
                .iter()
                .any(|interval| published.segment.interval.overlaps(interval))
        });
    answer_json(&list(segments, flag(&params, "full")))
}

async fn metadata_segment(State(state): State<AppState>, Path((name, id)): Path<(String, String)>) -> Response {
    let snapshot = state.engine.snapshot();
    let found = snapshot
        .datasource(&name)
        .and_then(|datasource| datasource.segments.iter().find(|published| *published.id == *id));
    match found {
        Some(published) => answer_json(&segment(published)),
        None if id.starts_with(&format!("{name}_")) => empty(StatusCode::NOT_FOUND),
        None => bare(
            StatusCode::BAD_REQUEST,
            format!("Could not parse Segment ID[{id}] for DataSource[{name}]"),
        ),
    }
}

async fn unused_segments(State(state): State<AppState>, Path(name): Path<String>, params: Params) -> Response {
    let order = params.get("sortOrder").map(|order| order.to_uppercase());
    if !matches!(order.as_deref(), None | Some("ASC" | "DESC")) {
        return ApiError::input(format!(
            "Unexpected value[{}] for SortOrder. Possible values are: [ASC, DESC]",
            params.get("sortOrder").map_or("", String::as_str)
        ))
        .into_response();
    }
    let mut unused = match state.engine.metadata().unused_segments(Some(&name), None).await {
        Ok(unused) => unused,
        Err(error) => return super::task::store_failure(&error),
    };
    unused.sort_by_key(|unused| unused.segment.id());
    if order.as_deref() == Some("DESC") {
        unused.reverse();
    }
    let limit = params
        .get("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(usize::MAX);
    let answer: Value = unused
        .iter()
        .take(limit)
        .map(|unused| {
            json!({
                "dataSegment": serde_json::to_value(&unused.segment).unwrap_or(Value::Null),
                "usedStatusLastUpdatedDate": unused.used_status_last_updated,
                "used": false,
            })
        })
        .collect();
    answer_json(&answer)
}

async fn metadata_segments(
    State(state): State<AppState>,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
) -> Response {
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .into_owned()
        .collect();
    let wanted: Vec<&str> = pairs
        .iter()
        .filter(|(name, _)| name == "datasources")
        .map(|(_, value)| value.as_str())
        .collect();
    let with_status = pairs.iter().any(|(name, _)| name == "includeOvershadowedStatus");
    let snapshot = state.engine.snapshot();
    let mut answer = Vec::new();
    for (name, datasource) in snapshot.datasources() {
        if !wanted.is_empty() && !wanted.contains(&name) {
            continue;
        }
        for published in &datasource.segments {
            if !with_status {
                if !published.overshadowed {
                    answer.push(segment(published));
                }
                continue;
            }
            let mut members = Map::new();
            members.insert("overshadowed".to_string(), Value::Bool(published.overshadowed));
            members.insert(
                "replicationFactor".to_string(),
                Value::from(if published.overshadowed { 0 } else { 1 }),
            );
            members.insert("numRows".to_string(), json!(published.segment.total_rows));
            members.insert("realtime".to_string(), Value::Bool(false));
            if let Value::Object(payload) = segment(published) {
                members.extend(payload);
            }
            answer.push(Value::Object(members));
        }
    }
    answer_json(&Value::Array(answer))
}

/// Words the one server: everything that is published is on it.
fn this_server(state: &AppState, size: u64) -> Map<String, Value> {
    let Value::Object(server) = json!({
        "host": state.info.advertised,
        "tier": "_default_tier",
        "type": "historical",
        "priority": 0,
        "currSize": size,
        "maxSize": crate::system_tables::max_size(size),
    }) else {
        return Map::new();
    };
    server
}

async fn servers(State(state): State<AppState>, params: Params) -> Response {
    if flag(&params, "full") {
        return answer_json(&Value::Array(vec![full_server(&state)]));
    }
    if flag(&params, "simple") {
        return answer_json(&json!([this_server(&state, total_size(&state.engine.snapshot()))]));
    }
    answer_json(&json!([state.info.advertised]))
}

fn full_server(state: &AppState) -> Value {
    let snapshot = state.engine.snapshot();
    let size = total_size(&snapshot);
    let segments: Map<String, Value> = snapshot
        .datasources()
        .flat_map(|(_, datasource)| &datasource.segments)
        .map(|published| (published.id.to_string(), segment(published)))
        .collect();
    json!({
        "host": state.info.advertised,
        "maxSize": crate::system_tables::max_size(size),
        "type": "historical",
        "tier": "_default_tier",
        "priority": 0,
        "segments": segments,
        "currSize": size,
    })
}

async fn server(State(state): State<AppState>, Path(name): Path<String>, params: Params) -> Response {
    if name != state.info.advertised {
        return empty(StatusCode::NOT_FOUND);
    }
    if flag(&params, "simple") {
        return answer_json(&Value::Object(this_server(
            &state,
            total_size(&state.engine.snapshot()),
        )));
    }
    answer_json(&full_server(&state))
}

async fn server_segments(State(state): State<AppState>, Path(name): Path<String>, params: Params) -> Response {
    if name != state.info.advertised {
        return empty(StatusCode::NOT_FOUND);
    }
    let snapshot = state.engine.snapshot();
    answer_json(&list(
        snapshot.datasources().flat_map(|(_, datasource)| &datasource.segments),
        flag(&params, "full"),
    ))
}

async fn tiers(State(state): State<AppState>, params: Params) -> Response {
    if !flag(&params, "simple") {
        return answer_json(&json!(["_default_tier"]));
    }
    let size = total_size(&state.engine.snapshot());
    answer_json(&json!({"_default_tier": {"currSize": size, "maxSize": crate::system_tables::max_size(size)}}))
}

async fn tier(State(state): State<AppState>, Path(tier): Path<String>, params: Params) -> Response {
    if tier != "_default_tier" {
        return answer_json(&json!([]));
    }
    let snapshot = state.engine.snapshot();
    if flag(&params, "simple") {
        let answer: Map<String, Value> = snapshot
            .datasources()
            .map(|(name, datasource)| {
                (
                    name.to_string(),
                    chunks(&by_interval(datasource), true, &state.info.advertised),
                )
            })
            .collect();
        return answer_json(&Value::Object(answer));
    }
    answer_json(&snapshot.datasources().map(|(name, _)| Value::from(name)).collect())
}

async fn cluster(State(state): State<AppState>) -> Response {
    let role =
        |service: &str| json!([{"host": state.info.host(), "service": service, "plaintextPort": state.info.port()}]);
    answer_json(&json!({
        "coordinator": role("druid/coordinator"),
        "overlord": role("druid/coordinator"),
        "broker": role("druid/broker"),
        "historical": role("druid/historical"),
        "indexer": role("druid/indexer"),
        "router": role("druid/router"),
    }))
}

async fn compaction_config() -> Response {
    answer_json(&json!({
        "compactionConfigs": [],
        "compactionTaskSlotRatio": 0.1,
        "maxCompactionTaskSlots": 2_147_483_647,
        "compactionPolicy": {"type": "newestSegmentFirst"},
        "useSupervisors": true,
        "engine": "native",
        "storeCompactionStatePerSegment": true,
    }))
}

async fn no_compaction_config() -> Response {
    ApiError::not_found("Datasource compaction config does not exist").into_response()
}

async fn compaction_status(params: Params) -> Response {
    if params.contains_key("dataSource") {
        return compaction_unknown().await;
    }
    answer_json(&json!({"latestStatus": []}))
}

async fn compaction_unknown() -> Response {
    ApiError::not_found("Unknown DataSource").into_response()
}

async fn broker_config() -> Response {
    answer_json(&json!({"queryBlocklist": [], "queryContext": {}, "perSegmentTimeoutConfig": {}}))
}
