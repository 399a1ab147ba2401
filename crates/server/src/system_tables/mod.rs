//! The tables that describe the process: `INFORMATION_SCHEMA` and `sys` (spec `metadata-and-publishing` sections 14 and 15).
//!
//! Every table is a list of columns and a function that makes its rows when a query reads it, from one metadata snapshot. Nothing is
//! kept between queries.

mod information_schema;
mod lazy;
mod sys;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use datafusion::catalog::TableProvider;
use datafusion::error::{DataFusionError, Result};
use henge_engine::{Engine, SystemTables};
use serde_json::Value;

use crate::lookups;
use crate::state::ServerInfo;
use lazy::{LazyTable, TableColumn, TableRows, not_null, text};

/// What `max_size` says of a server whose folder has no limit: Druid's clients divide by it, so it is a size that is never full.
pub fn max_size(used: u64) -> u64 {
    const UNLIMITED: u64 = 300_000_000_000;
    UNLIMITED.max(used.saturating_mul(2))
}

/// Name, columns of one system table.
pub(crate) struct TableDefinition {
    pub(crate) schema: &'static str,
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [TableColumn],
}

/// All system tables, by schema and name.
fn definitions() -> impl Iterator<Item = &'static TableDefinition> {
    information_schema::TABLES.iter().chain(sys::TABLES)
}

/// What the tables are made from. Weak, because the engine holds the tables.
#[derive(Clone)]
pub(crate) struct Source {
    engine: Weak<Engine>,
    pub(crate) info: Arc<ServerInfo>,
}

impl Source {
    /// Gives the lookups by id; none where the engine is gone.
    pub(crate) fn lookups(&self) -> BTreeMap<String, Value> {
        let engine = self.engine.upgrade();
        engine.map(|engine| lookups::all(engine.metadata())).unwrap_or_default()
    }

    /// Gives the engine; a query of an engine that is gone has no one to answer to.
    pub(crate) fn engine(&self) -> Result<Arc<Engine>> {
        self.engine
            .upgrade()
            .ok_or_else(|| DataFusionError::Execution("the engine was closed".to_string()))
    }
}

struct Tables {
    source: Source,
}

impl SystemTables for Tables {
    fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        if schema == lookups::SCHEMA {
            return self.lookup(name);
        }
        let definition = definitions().find(|table| table.schema == schema && table.name == name)?;
        let source = self.source.clone();
        Some(Arc::new(LazyTable::new(definition.columns, move || {
            let source = source.clone();
            Box::pin(async move {
                let mut rows = TableRows::new(definition.columns);
                match definition.schema {
                    sys::SCHEMA => sys::fill(definition.name, &source, &mut rows).await?,
                    _ => information_schema::fill(definition.name, &source, &mut rows).await?,
                }
                rows.into_batch()
            })
        })))
    }

    fn names(&self, schema: &str) -> Vec<String> {
        if schema == lookups::SCHEMA {
            return self.source.lookups().into_keys().collect();
        }
        definitions()
            .filter(|table| table.schema == schema)
            .map(|table| table.name.to_string())
            .collect()
    }
}

/// Columns of every lookup's table.
pub(crate) const LOOKUP_COLUMNS: &[TableColumn] = &[not_null(text("k")), text("v")];

impl Tables {
    fn lookup(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let lookup = self.source.lookups().remove(name)?;
        Some(Arc::new(LazyTable::new(LOOKUP_COLUMNS, move || {
            let mut rows = TableRows::new(LOOKUP_COLUMNS);
            for (key, value) in lookups::entries(&lookup) {
                rows.push([key.into(), value.into()]);
            }
            Box::pin(std::future::ready(rows.into_batch()))
        })))
    }
}

/// Gives an engine its `INFORMATION_SCHEMA` and `sys` tables, and the lookups that the metadata store keeps.
pub fn install_system_tables(engine: &Arc<Engine>) {
    lookups::load(engine);
    let source = Source {
        engine: Arc::downgrade(engine),
        info: Arc::new(ServerInfo::of(engine)),
    };
    engine.register_system_tables(Arc::new(Tables { source }));
}
