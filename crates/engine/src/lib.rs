//! The multi-stage engine: plans become stages, stages become tasks, tasks exchange sorted runs, and the last stage writes
//! segments that the controller publishes in one metadata transaction.
//!
//! Start at [`Engine`], the facade that the server and the command line use.

pub mod counters;
mod engine;
pub mod fault;
pub mod report;

pub use engine::{
    Engine, EngineConfig, EngineError, PlanKind, QueryRows, SystemTables, TaskRequest, TaskState,
};
pub use fault::Fault;
