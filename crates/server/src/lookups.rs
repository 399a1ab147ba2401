//! Lookups: named maps of text, kept in the metadata store under Druid's name, and tables of the schema `lookup` at once.
//!
//! ```text
//! lookupsConfig   {"<tier>": {"<id>": {"version": "v1", "lookupExtractorFactory": {"type": "map", "map": {"AU": "Australia"}}}}}
//! ```
//!
//! A new version has to be greater than the one that is there, as text.

use std::collections::BTreeMap;
use std::sync::Arc;

use henge_engine::Engine;
use henge_metadata::MetadataStore;
use henge_sql::Lookup;
use serde_json::{Map, Value};

/// Schema of the tables.
pub const SCHEMA: &str = "lookup";

/// Name of the configuration, in the store and in the history.
pub const CONFIG: &str = "lookupsConfig";

/// Gives tier → id → lookup; none before somebody has initialised lookups.
pub fn configured(metadata: &MetadataStore) -> Option<Map<String, Value>> {
    let config: Arc<Value> = metadata.config(CONFIG)?;
    config.as_object().cloned()
}

/// Gives the lookups of all tiers by id: a process has all of them.
pub fn all(metadata: &MetadataStore) -> BTreeMap<String, Value> {
    let tiers = configured(metadata).unwrap_or_default();
    let lookups = tiers.values().filter_map(Value::as_object).flatten();
    lookups.map(|(id, lookup)| (id.clone(), lookup.clone())).collect()
}

/// Gives the entries of a lookup in the order of its configuration.
pub fn entries(lookup: &Value) -> Vec<(String, Option<String>)> {
    let map = lookup.pointer("/lookupExtractorFactory/map").and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().map(str::to_string)))
        .collect()
}

/// Brings the lookups of an engine, which `LOOKUP(…)` reads, to what the metadata store has. A value that is null is no value.
pub fn load(engine: &Engine) {
    let stored = all(engine.metadata());
    let lookups = engine.lookups();
    for gone in lookups.names().into_iter().filter(|name| !stored.contains_key(name)) {
        lookups.remove(&gone);
    }
    for (name, lookup) in stored {
        let one_to_one = lookup.pointer("/lookupExtractorFactory/isOneToOne");
        let entries = entries(&lookup);
        let known = entries.into_iter().filter_map(|(key, value)| Some((key, value?)));
        lookups.set(name, Lookup::new(known, one_to_one == Some(&Value::Bool(true))));
    }
}

/// Puts a lookup into a tier. Gives Druid's words for what is wrong with it.
pub fn put(tiers: &mut Map<String, Value>, tier: &str, id: &str, lookup: &Value) -> Result<(), String> {
    let Some(version) = lookup.get("version").and_then(Value::as_str) else {
        return Err(format!("lookup [{tier}]:[{id}] does not have version."));
    };
    let kind = lookup.pointer("/lookupExtractorFactory/type").and_then(Value::as_str);
    let map = lookup.pointer("/lookupExtractorFactory/map").and_then(Value::as_object);
    let texts = |map: &Map<String, Value>| map.values().all(|value| value.is_string() || value.is_null());
    if kind != Some("map") || !map.is_some_and(texts) {
        return Err(format!(
            "lookup [{tier}]:[{id}] has type [{}], but only lookups of type [map] with texts in their map are supported",
            kind.unwrap_or("none")
        ));
    }
    let place = tiers
        .entry(tier.to_string())
        .or_insert_with(|| Value::Object(Map::new()));
    let Some(lookups) = place.as_object_mut() else {
        return Err(format!("tier [{tier}] is no map of lookups"));
    };
    if let Some(existing) = lookups.get(id)
        && existing
            .get("version")
            .and_then(Value::as_str)
            .is_some_and(|there| there >= version)
    {
        let factory = existing.get("lookupExtractorFactory").map_or_else(String::new, java);
        let there = existing.get("version").and_then(Value::as_str).unwrap_or_default();
        return Err(format!(
            "given update for lookup [{tier}]:[{id}] can't replace existing spec \
             [LookupExtractorFactoryContainer{{version='{there}', lookupExtractorFactory={factory}}}]."
        ));
    }
    lookups.insert(id.to_string(), lookup.clone());
    Ok(())
}

/// Words a value as Java's maps and lists print themselves.
fn java(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(java).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{name}={}", java(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lookup(version: &str) -> Value {
        json!({"version": version, "lookupExtractorFactory": {"type": "map", "map": {"b": "2", "a": "1"}}})
    }

    #[test]
    fn a_newer_version_replaces() {
        let mut tiers = Map::new();
        put(&mut tiers, "t", "l", &lookup("v1")).expect("the first");
        let refusal = put(&mut tiers, "t", "l", &lookup("v1")).expect_err("the same version");
        assert_eq!(
            refusal,
            "given update for lookup [t]:[l] can't replace existing spec \
             [LookupExtractorFactoryContainer{version='v1', lookupExtractorFactory={type=map, map={b=2, a=1}}}]."
        );
        assert!(put(&mut tiers, "t", "l", &lookup("v0")).is_err());
        put(&mut tiers, "t", "l", &lookup("v2")).expect("a newer one");
        assert_eq!(tiers["t"]["l"]["version"], "v2");
        assert_eq!(entries(&tiers["t"]["l"])[0], ("b".to_string(), Some("2".to_string())));
    }

    #[test]
    fn other_lookups_are_refused() {
        let mut tiers = Map::new();
        for (wrong, said) in [
            (
                json!({"lookupExtractorFactory": {"type": "map"}}),
                "does not have version",
            ),
            (
                json!({"version": "v", "lookupExtractorFactory": {"type": "cachedNamespace"}}),
                "[cachedNamespace]",
            ),
            (
                json!({"version": "v", "lookupExtractorFactory": {"type": "map", "map": {"a": 1}}}),
                "with texts",
            ),
        ] {
            let refusal = put(&mut tiers, "t", "l", &wrong).expect_err("refused");
            assert!(refusal.contains(said), "{refusal}");
        }
    }
}
