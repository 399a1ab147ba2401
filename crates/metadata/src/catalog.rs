//! The catalog: what tables are to be like, kept beside the segments (Druid's extension `druid-catalog`).
//!
//! ```text
//! druid_config, catalogTables   {"<datasource>": {"id", "state", "creationTime", "updateTime", "spec": {"type", "properties", "columns"}}}
//! ```
//!
//! A statement that does not say itself how its segments are to be cut or what is stored beside their rows takes it from here.

use serde_json::{Map, Value};

use crate::error::MetadataError;
use crate::settings::Audit;
use crate::store::MetadataStore;

/// Name of the configuration.
const CONFIG: &str = "catalogTables";

impl MetadataStore {
    /// Gives the entries of all datasources, as Druid's API shows them.
    pub fn catalog(&self) -> Map<String, Value> {
        let config = self.config(CONFIG);
        config
            .and_then(|tables| tables.as_object().cloned())
            .unwrap_or_default()
    }

    /// Gives a property of a datasource's entry; none where it is null or missing.
    pub fn catalog_property(&self, datasource: &str, property: &str) -> Option<Value> {
        let tables = self.config(CONFIG)?;
        let value = tables.get(datasource)?.get("spec")?.get("properties")?.get(property)?;
        (!value.is_null()).then(|| value.clone())
    }

    /// Stores the entries of all datasources; a caller that read them before keeps others from changing them in between.
    pub async fn set_catalog(&self, tables: Map<String, Value>, audit: Option<Audit>) -> Result<(), MetadataError> {
        self.set_config(CONFIG, &Value::Object(tables), audit).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::store;

    #[tokio::test]
    async fn properties_are_kept() {
        let (store, _folder) = store().await;
        assert_eq!(store.catalog_property("t", "segmentGranularity"), None);
        let entry =
            json!({"spec": {"type": "datasource", "properties": {"segmentGranularity": "P1D", "sealed": null}}});
        let tables = [("t".to_owned(), entry)].into_iter().collect();
        store.set_catalog(tables, None).await.expect("stored");
        assert_eq!(store.catalog_property("t", "segmentGranularity"), Some(json!("P1D")));
        assert_eq!(store.catalog_property("t", "sealed"), None);
        assert_eq!(store.catalog_property("u", "segmentGranularity"), None);
        assert_eq!(store.catalog().len(), 1);
    }
}
