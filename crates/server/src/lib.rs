//! Druid's HTTP API over an [`Engine`](henge_engine::Engine). This is the only crate that knows Druid's JSON.
//!
//! ```text
//! request ─> serve (limits) ─> routes ─> request.rs, jackson.rs   bodies in, complaints in Druid's words
//!                                 │
//!                                 ├─> engine                      plans, queries, tasks, metadata
//!                                 │
//!                                 └─> results/   rows             ─┐
//!                                     report.rs  reports           ├─> json/ bytes
//!                                     task_json  tasks             │
//!                                     error.rs   failures         ─┘
//! system_tables/  INFORMATION_SCHEMA and sys, which the engine plans like any table
//! ```
//!
//! Not for: what a statement means (`henge_sql`), running it (`henge_engine`).

mod error;
mod jackson;
pub mod json;
pub mod limits;
mod lookups;
mod raised;
mod report;
mod request;
pub mod results;
mod routes;
mod serve;
mod state;
mod system_tables;
mod task_json;

use std::sync::Arc;

use axum::Router;
use henge_engine::Engine;

pub use serve::{serve, serve_router};
pub use state::ServerInfo;
pub use system_tables::install_system_tables;

/// Makes the router of Druid's API for an engine.
pub fn router(engine: Arc<Engine>, info: ServerInfo) -> Router {
    routes::router(state::AppState::new(engine, info))
}
