//! Marking segments used and unused, and killing unused ones: under the Overlord's paths and the Coordinator's older ones.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use henge_metadata::{MetadataError, SegmentSelection};
use henge_time::Interval;
use serde_json::{Value, json};

use super::answer::{Params, bare, empty, flag, json as answer_json, json_body};
use super::task::store_failure;
use crate::error::ApiError;
use crate::state::AppState;

/// Gives the routes. Those that the Coordinator has for reading are merged with these.
pub fn routes() -> Router<AppState> {
    let mut routes = Router::new();
    // Parameters have one name in all routes that begin alike.
    for base in [
        "/druid/indexer/v1/datasources/{datasource}",
        "/druid/coordinator/v1/datasources/{ds}",
    ] {
        let route = |path: &str| format!("{base}{path}");
        routes = routes
            .route(&route(""), delete(drop_datasource).post(mark_all_used))
            .route(&route("/markUnused"), post(mark_unused))
            .route(&route("/markUsed"), post(mark_used))
            .route(&route("/segments/{id}"), delete(mark_one_unused).post(mark_one_used));
    }
    routes
        .route(
            "/druid/coordinator/v1/datasources/{ds}/intervals/{interval}",
            delete(kill_interval),
        )
        .route(
            "/druid/coordinator/v1/datasources/{ds}/handoffComplete",
            get(|| async { answer_json(&json!(true)) }),
        )
        .route(
            "/druid/indexer/v1/pendingSegments/{datasource}",
            // Pending segments of tasks that have ended are gone with them.
            delete(|| async { answer_json(&json!({"numDeleted": 0})) }),
        )
}

fn changed(result: Result<usize, MetadataError>) -> Response {
    match result {
        Ok(changed) => answer_json(&json!({"numChangedSegments": changed, "segmentStateChanged": changed > 0})),
        Err(error) => store_failure(&error),
    }
}

async fn set_unused(state: &AppState, datasource: &str, selection: SegmentSelection) -> Response {
    changed(state.engine.metadata().mark_unused(datasource, selection).await)
}

async fn set_used(state: &AppState, datasource: &str, selection: SegmentSelection) -> Response {
    changed(state.engine.metadata().mark_used(datasource, selection).await)
}

async fn mark_all_used(State(state): State<AppState>, Path(datasource): Path<String>) -> Response {
    set_used(&state, &datasource, SegmentSelection::All).await
}

/// Marks a whole datasource unused; the older form with `kill` and `interval` kills what is unused already.
async fn drop_datasource(State(state): State<AppState>, Path(datasource): Path<String>, params: Params) -> Response {
    if flag(&params, "kill") {
        let interval = params.get("interval").cloned().unwrap_or_default();
        return kill(&state, &datasource, &interval);
    }
    set_unused(&state, &datasource, SegmentSelection::All).await
}

async fn kill_interval(
    State(state): State<AppState>,
    Path((datasource, interval)): Path<(String, String)>,
) -> Response {
    kill(&state, &datasource, &interval.replacen('_', "/", 1))
}

fn kill(state: &AppState, datasource: &str, interval: &str) -> Response {
    let interval: Interval = match interval.parse() {
        Ok(interval) => interval,
        Err(error) => {
            return ApiError::plain(
                StatusCode::BAD_REQUEST,
                format!("Invalid interval[{interval}]: {error}"),
            )
            .into_response();
        }
    };
    state.engine.kill_unused(datasource, interval);
    empty(StatusCode::OK)
}

/// Tells whether a text can be the id of a segment of a datasource: `<datasource>_<start>_<end>_<version>[_<partition>]`.
fn is_segment_id(datasource: &str, id: &str) -> bool {
    let Some(rest) = id.strip_prefix(datasource).and_then(|rest| rest.strip_prefix('_')) else {
        return false;
    };
    let parts: Vec<&str> = rest.splitn(3, '_').collect();
    let [start, end, version] = parts.as_slice() else {
        return false;
    };
    !version.is_empty() && format!("{start}/{end}").parse::<Interval>().is_ok()
}

fn no_segment_id(datasource: &str, id: &str) -> Response {
    bare(
        StatusCode::BAD_REQUEST,
        format!("Could not parse Segment ID[{id}] for DataSource[{datasource}]"),
    )
}

async fn mark_one_unused(State(state): State<AppState>, Path((datasource, id)): Path<(String, String)>) -> Response {
    if !is_segment_id(&datasource, &id) {
        return no_segment_id(&datasource, &id);
    }
    set_unused(&state, &datasource, SegmentSelection::Ids([id].into())).await
}

async fn mark_one_used(State(state): State<AppState>, Path((datasource, id)): Path<(String, String)>) -> Response {
    if !is_segment_id(&datasource, &id) {
        return no_segment_id(&datasource, &id);
    }
    set_used(&state, &datasource, SegmentSelection::Ids([id].into())).await
}

async fn mark_unused(State(state): State<AppState>, Path(datasource): Path<String>, request: Request) -> Response {
    match selection(&datasource, request).await {
        Ok(selection) => set_unused(&state, &datasource, selection).await,
        Err(refusal) => refusal,
    }
}

async fn mark_used(State(state): State<AppState>, Path(datasource): Path<String>, request: Request) -> Response {
    match selection(&datasource, request).await {
        Ok(selection) => set_used(&state, &datasource, selection).await,
        Err(refusal) => refusal,
    }
}

/// Reads which segments a body names: those of an interval, perhaps of some versions, or ids.
async fn selection(datasource: &str, request: Request) -> Result<SegmentSelection, Response> {
    if !request.headers().contains_key(header::CONTENT_TYPE) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response());
    }
    let body = json_body(request).await.map_err(IntoResponse::into_response)?;
    let texts = |name: &str| -> Option<Vec<String>> {
        let list = body.get(name)?.as_array()?.iter();
        Some(list.filter_map(Value::as_str).map(str::to_string).collect())
    };
    let (interval, ids, versions) = (
        body.get("interval").and_then(Value::as_str),
        texts("segmentIds").filter(|ids| !ids.is_empty()),
        texts("versions"),
    );
    match (interval, ids, versions) {
        (Some(text), None, versions) => {
            let interval = text.parse::<Interval>().map_err(|error| {
                let why = if text.contains('/') {
                    error.to_string()
                } else {
                    format!("Format requires a '/' separator: {text}")
                };
                let message = format!(
                    "Invalid interval[{text}]: [{why}] (through reference chain: \
                     org.apache.druid.server.http.SegmentsToUpdateFilter[\"interval\"])"
                );
                ApiError::plain(StatusCode::BAD_REQUEST, message).into_response()
            })?;
            Ok(match versions {
                Some(versions) => SegmentSelection::VersionsWithin(vec![interval], versions),
                None => SegmentSelection::Within(vec![interval]),
            })
        }
        (None, Some(ids), None) => {
            let strange: Vec<&str> = ids
                .iter()
                .map(String::as_str)
                .filter(|id| !is_segment_id(datasource, id))
                .collect();
            if !strange.is_empty() {
                let message = format!(
                    "Could not parse segment IDs[[{}]] for datasource[{datasource}]",
                    strange.join(", ")
                );
                return Err(ApiError::input(message).into_response());
            }
            Ok(SegmentSelection::Ids(ids.into_iter().collect()))
        }
        _ => Err(bare(
            StatusCode::BAD_REQUEST,
            "Invalid request payload. Specify either 'interval' or 'segmentIds', but not both. Optionally, include 'versions' only \
             when 'interval' is provided.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_a_datasource_an_interval_and_a_version() {
        let id = "a_b_2015-01-01T00:00:00.000Z_2015-01-02T00:00:00.000Z_2026-01-01T00:00:00.000Z";
        assert!(is_segment_id("a_b", id));
        assert!(is_segment_id("a_b", &format!("{id}_3")));
        for (datasource, id) in [("a", id), ("a_b", "nope"), ("a_b", "a_b_x_y_v"), ("", id)] {
            assert!(!is_segment_id(datasource, id), "{datasource} {id}");
        }
    }
}
