//! The multi-stage engine: plans become stages, stages become tasks, tasks exchange sorted runs, and the last stage writes
//! segments that the controller publishes in one metadata transaction.
//!
//! Start at [`Engine`], the facade that the server and the command line use.
//!
//! ```text
//! Engine::plan ── henge_sql, over catalog.rs ──> Planned ──┬── Engine::query   query.rs: DataFusion, streamed
//!                                                          └── Engine::submit  tasks.rs
//!                                                                  │
//!                               controller/  stages, cuts, publish, report  (controller is Druid's word)
//!                               stage/       what a stage is, how a plan becomes stages, how a task runs
//!                               runner.rs    who runs the tasks
//!                               ingest/      keys, segments, their places
//! ```
//!
//! Not for: parsing SQL (`henge_sql`), the bytes of segments and runs (`henge_segment`, `henge_exchange`), HTTP shapes
//! (`henge_server`).

mod branches;
mod catalog;
pub mod controller;
mod convert;
pub mod counters;
mod engine;
pub mod fault;
mod full_join;
pub mod ingest;
mod join_order;
pub mod limits;
pub mod memory;
mod query;
mod remedy;
pub mod report;
pub mod runner;
pub mod stage;
mod tasks;

pub use convert::CancelReason;
pub use engine::{Engine, EngineConfig, EngineError, PlanKind, QueryRows, SystemTables, TaskRequest, TaskState};
pub use fault::{Fault, FaultCategory, FaultCode};
pub use henge_segment::ProjectionSpec;
