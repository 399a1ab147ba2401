//! The routes, grouped as Druid's processes are. Paths that Druid answers and henge does not yet are absent here and get Druid's
//! "not found": nothing under Coordinator and Overlord paths, a JSON error elsewhere.

mod answer;
mod catalog;
mod coordinator;
mod lookups;
mod marking;
mod metadata_view;
mod native;
mod overlord;
pub mod settings;
mod sql;
mod statements;
mod status;
mod task;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt as _;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::trace::{DefaultMakeSpan, DefaultOnFailure, DefaultOnResponse, TraceLayer};
use tracing::Level;

pub use metadata_view::total_size;
pub use status::effective_properties;

use crate::error::ApiError;
use crate::state::AppState;

/// Makes the router of all routes.
pub fn router(state: AppState) -> Router {
    let routes = Router::new()
        .merge(sql::routes())
        .merge(statements::routes())
        .merge(native::routes())
        .merge(task::routes())
        .merge(overlord::routes())
        .merge(coordinator::routes())
        .merge(marking::routes())
        .merge(lookups::routes())
        .merge(catalog::routes())
        .merge(status::routes())
        .fallback(not_found)
        .with_state(state)
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(DefaultMakeSpan::new().level(Level::DEBUG))
                .on_response(DefaultOnResponse::new().level(Level::DEBUG))
                .on_failure(DefaultOnFailure::new().level(Level::DEBUG)),
        );
    // A trailing slash means nothing to Druid; it has to go before routing.
    Router::new().fallback_service(routes.map_request(without_trailing_slash::<Body>))
}

fn without_trailing_slash<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path();
    if path.len() > 1 && path.ends_with('/') {
        let trimmed = path.trim_end_matches('/');
        let trimmed = if trimmed.is_empty() { "/" } else { trimmed };
        let target = match request.uri().query() {
            Some(query) => format!("{trimmed}?{query}"),
            None => trimmed.to_string(),
        };
        if let Ok(uri) = target.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

async fn not_found(uri: Uri) -> Response {
    let path = uri.path();
    if ["/druid/coordinator/", "/druid/indexer/"]
        .iter()
        .any(|start| path.starts_with(start))
    {
        return StatusCode::NOT_FOUND.into_response();
    }
    ApiError::not_found(format!("No resource [{path}]")).into_response()
}
