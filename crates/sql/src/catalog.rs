//! What the planner asks of its surroundings.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use henge_input::ExternSpec;
use henge_time::Granularity;

use crate::Lookup;

/// The schemas and tables of the process; the engine implements it.
pub trait SchemaCatalog: Send + Sync {
    /// Finds a table: schema `druid` for datasources, `INFORMATION_SCHEMA`, `sys`, `lookup`, `view`.
    fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>>;
    /// Lists a schema's tables, for the nearest name of an error.
    fn table_names(&self, schema: &str) -> Vec<String>;
    /// Finds a lookup by its name, for `LOOKUP(…)` and the tables of schema `lookup`.
    fn lookup(&self, _name: &str) -> Option<Arc<Lookup>> {
        None
    }
    /// Tells how a datasource is cut into segments where a statement does not say; none where only statements do.
    fn segment_granularity(&self, _datasource: &str) -> Option<Granularity> {
        None
    }
    /// Makes the table of `TABLE(EXTERN(…))`.
    fn extern_table(&self, spec: ExternSpec) -> Arc<dyn TableProvider>;
}
