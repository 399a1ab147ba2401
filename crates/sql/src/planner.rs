//! The planner: from a request to a [`Planned`].

use std::sync::Arc;

use crate::{EngineKind, Planned, SchemaCatalog, SqlError, SqlRequest};

/// Plans statements against a catalog. Cheap to keep, made once for each engine.
pub struct Planner {
    catalog: Arc<dyn SchemaCatalog>,
    engine: EngineKind,
}

impl Planner {
    /// Makes a planner.
    pub fn new(catalog: Arc<dyn SchemaCatalog>, engine: EngineKind) -> Self {
        Planner { catalog, engine }
    }

    /// Plans a request.
    pub async fn plan(&self, request: SqlRequest) -> Result<Planned, SqlError> {
        let _ = (&self.catalog, self.engine, request);
        Err(SqlError::unsupported("planning is not built yet"))
    }
}
