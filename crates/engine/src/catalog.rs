//! What SQL sees of the process: datasources as of one metadata snapshot, external data, and the system tables.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use henge_input::ExternSpec;
use henge_metadata::{MetadataSnapshot, MetadataStore};
use henge_scan::ScanCatalog;
use henge_sql::{Lookup, Lookups, SchemaCatalog};
use henge_time::Granularity;

use crate::engine::SystemTables;
use crate::stage::extern_scan::ExternTable;

/// Schema of the datasources.
const DATASOURCES: &str = "druid";
/// Schema of the lookups.
const LOOKUPS: &str = "lookup";

/// The tables of one statement: made for each, so that all of it sees the same segments.
pub struct EngineCatalog {
    snapshot: Arc<MetadataSnapshot>,
    scans: Arc<ScanCatalog>,
    lookups: Arc<Lookups>,
    system: Option<Arc<dyn SystemTables>>,
    metadata: Arc<MetadataStore>,
}

impl EngineCatalog {
    /// Makes the catalog of a statement.
    pub fn new(
        snapshot: Arc<MetadataSnapshot>,
        scans: Arc<ScanCatalog>,
        lookups: Arc<Lookups>,
        system: Option<Arc<dyn SystemTables>>,
        metadata: Arc<MetadataStore>,
    ) -> Self {
        Self {
            snapshot,
            scans,
            lookups,
            system,
            metadata,
        }
    }
}

impl SchemaCatalog for EngineCatalog {
    fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        if schema != DATASOURCES {
            return self.system.as_ref().and_then(|system| system.table(schema, name));
        }
        match self.scans.snapshot_table(&self.snapshot, name) {
            Ok(table) => table.map(|table| table as Arc<dyn TableProvider>),
            Err(error) => {
                // The planner can only be told that there is no such table; the operator has to know why.
                tracing::error!(datasource = name, %error, "cannot open the segments of a datasource");
                None
            }
        }
    }

    fn table_names(&self, schema: &str) -> Vec<String> {
        if schema == LOOKUPS {
            return self.lookups.names();
        }
        if schema != DATASOURCES {
            return self
                .system
                .as_ref()
                .map(|system| system.names(schema))
                .unwrap_or_default();
        }
        self.snapshot.datasources().map(|(name, _)| name.to_string()).collect()
    }

    fn lookup(&self, name: &str) -> Option<Arc<Lookup>> {
        self.lookups.get(name)
    }

    fn segment_granularity(&self, datasource: &str) -> Option<Granularity> {
        let granularity = self.metadata.catalog_property(datasource, "segmentGranularity")?;
        granularity.as_str()?.parse().ok()
    }

    fn extern_table(&self, spec: ExternSpec) -> Arc<dyn TableProvider> {
        Arc::new(ExternTable::new(spec))
    }
}
