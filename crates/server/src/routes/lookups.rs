//! Lookups: there are none yet, and the API says so as Druid does before they are initialised.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::error::ApiError;
use crate::state::AppState;

/// Gives the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/druid/coordinator/v1/lookups/status", get(none))
        .route("/druid/coordinator/v1/lookups/config", get(nothing))
        .route("/druid/coordinator/v1/lookups/config/all", get(nothing))
        .route("/druid/coordinator/v1/lookups/config/{tier}", get(no_tier))
        .route(
            "/druid/coordinator/v1/lookups/config/{tier}/{id}",
            get(no_lookup).delete(nothing),
        )
}

async fn none() -> Response {
    ApiError::plain(StatusCode::NOT_FOUND, "No lookups found").into_response()
}

async fn no_tier(Path(tier): Path<String>) -> Response {
    ApiError::plain(StatusCode::NOT_FOUND, format!("Tier [{tier}] not found")).into_response()
}

async fn no_lookup(Path((_, id)): Path<(String, String)>) -> Response {
    ApiError::plain(StatusCode::NOT_FOUND, format!("lookup [{id}] not found")).into_response()
}

async fn nothing() -> Response {
    super::answer::empty(StatusCode::NOT_FOUND)
}
