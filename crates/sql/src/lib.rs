//! Druid SQL: statement text in, logical plan out.
//!
//! ```text
//! text -> parse (tokens, Druid's statement grammar, sqlparser for the query) -> bind (names, types, coercions, errors with
//! their place) -> DataFusion logical plan -> rewrite -> Planned { plan, columns, resources, native query for EXPLAIN }
//! ```
//!
//! * `parse` knows the grammar, nothing of tables.
//! * `bind` knows Druid's types and rules; every message that a user may see is made there, with line and column.
//! * [`functions`] is the table of functions: one file a family, one entry a function.
//! * `rewrite` makes the plan that runs out of the bound one, and optimises it.
//! * `native` words a plan as Druid's native query.
//!
//! The crate knows nothing of HTTP, and runs nothing: tables come from a [`SchemaCatalog`].

pub(crate) mod bind;
mod catalog;
mod context;
mod error;
mod explain;
pub mod functions;
pub mod limits;
mod lookup;
mod native;
mod parse;
mod planner;
mod rewrite;
mod statement;
mod types;

pub use catalog::SchemaCatalog;
pub use context::QueryContext;
pub use error::{Category, Persona, Position, SqlError, SqlErrorBody};
pub use functions::{complex_text, is_complex_type, pair_images, pair_structs, pair_type_of};
pub use lookup::{Lookup, Lookups};
pub use parse::reserved::{NILADIC, RESERVED, is_reserved};
pub use planner::{Planner, register_functions, session_config};
pub use statement::{
    ComputedKey, EngineKind, Export, Ingest, OutputColumn, Overwrite, Planned, Resource, Rollup, SqlParameter,
    SqlRequest, Statement,
};
pub use types::{META_SQL_TYPE, META_TYPE, SqlType};
