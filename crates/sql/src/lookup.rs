//! Lookups: named maps of text to text, and the registry that the planner's surroundings hold them in.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

/// A map of text to text (`LookupExtractor`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Each value with the place of its key in the order of the configuration.
    entries: HashMap<String, (usize, String)>,
    injective: bool,
}

impl Lookup {
    /// Makes a lookup; `injective` promises that no two keys have one value.
    pub fn new(entries: impl IntoIterator<Item = (String, String)>, injective: bool) -> Self {
        Lookup {
            entries: entries
                .into_iter()
                .enumerate()
                .map(|(place, (key, value))| (key, (place, value)))
                .collect(),
            injective,
        }
    }

    /// Gives the value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(|(_, value)| value.as_str())
    }

    /// Tells whether no two keys have one value.
    pub fn is_injective(&self) -> bool {
        self.injective
    }

    /// Gives the number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Lists keys and values in the order of the configuration.
    pub fn entries(&self) -> Vec<(&str, &str)> {
        let mut entries: Vec<(usize, &str, &str)> = self
            .entries
            .iter()
            .map(|(key, (place, value))| (*place, key.as_str(), value.as_str()))
            .collect();
        entries.sort_unstable();
        entries.into_iter().map(|(_, key, value)| (key, value)).collect()
    }

    /// Gives the schema of every table `lookup.name`: `k` and `v`.
    pub fn table_schema() -> Arc<Schema> {
        Arc::new(Schema::new(vec![
            Field::new("k", DataType::Utf8, true),
            Field::new("v", DataType::Utf8, false),
        ]))
    }

    /// Makes the table `lookup.name`.
    pub fn table(&self) -> datafusion::common::Result<Arc<dyn TableProvider>> {
        let entries = self.entries();
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values(entries.iter().map(|(key, _)| key)));
        let values: ArrayRef = Arc::new(StringArray::from_iter_values(entries.iter().map(|(_, value)| value)));
        let schema = Self::table_schema();
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![keys, values])?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }
}

/// The lookups of a process by name. A statement keeps the lookup that it was planned with.
#[derive(Debug, Default)]
pub struct Lookups {
    by_name: RwLock<BTreeMap<String, Arc<Lookup>>>,
}

impl Lookups {
    /// Finds a lookup.
    pub fn get(&self, name: &str) -> Option<Arc<Lookup>> {
        self.read().get(name).cloned()
    }

    /// Lists the names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// Sets a lookup; gives the one that it replaces.
    pub fn set(&self, name: impl Into<String>, lookup: Lookup) -> Option<Arc<Lookup>> {
        let mut map = self.by_name.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.insert(name.into(), Arc::new(lookup))
    }

    /// Removes a lookup; tells whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        let mut map = self.by_name.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.remove(name).is_some()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Lookup>>> {
        self.by_name.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_are_set_replaced_and_removed() {
        let lookups = Lookups::default();
        let of = |value: &str| Lookup::new([("US".to_string(), value.to_string())], true);
        assert!(lookups.set("c", of("United States")).is_none());
        assert_eq!(lookups.set("c", of("USA")).as_deref(), Some(&of("United States")));
        assert_eq!(
            lookups.get("c").and_then(|l| l.get("US").map(String::from)).as_deref(),
            Some("USA")
        );
        assert_eq!(lookups.names(), ["c"]);
        assert!(lookups.remove("c") && !lookups.remove("c"));
    }
}
