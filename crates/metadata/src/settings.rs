//! What operators set: retention rules, named configurations, and who changed them (`druid_rules`, `druid_config`, `druid_audit`).
//!
//! Rules are never changed: every post adds a row with a newer version, and the newest of a datasource counts. A configuration has
//! one row. A change and its audit entry are one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sqlx::{Connection, Row, SqliteConnection};

use crate::MetadataError;
use crate::error::Action;
use crate::store::{MetadataStore, now};

/// Who changed what, as it is stored and shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// What was changed: a datasource, or the name of a configuration.
    pub key: String,
    /// `rules`, or the name of a configuration.
    pub kind: String,
    /// Who says to have changed it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// The whole entry, as Druid's API shows it.
    pub entry: Value,
}

impl MetadataStore {
    /// Gives a named configuration.
    pub fn config(&self, name: &str) -> Option<Arc<Value>> {
        self.inner.configs.read().get(name).cloned()
    }

    /// Sets a named configuration.
    pub async fn set_config(&self, name: &str, payload: &Value, audit: Option<Audit>) -> Result<(), MetadataError> {
        let inner = self.inner.clone();
        let (name, value) = (name.to_string(), Arc::new(payload.clone()));
        let payload = payload.to_string().into_bytes();
        self.detached("set a configuration", async move {
            let action = "set a configuration";
            let mut writer = inner.writer.lock().await;
            let mut transaction = writer.begin().await.action(action)?;
            sqlx::query(
                "INSERT INTO druid_config (name, payload) VALUES (?, ?) \
                 ON CONFLICT (name) DO UPDATE SET payload = excluded.payload",
            )
            .bind(&name)
            .bind(payload)
            .execute(&mut *transaction)
            .await
            .action(action)?;
            write_audit(&mut transaction, audit, action).await?;
            transaction.commit().await.action(action)?;
            inner.configs.write().insert(name, value);
            Ok(())
        })
        .await
    }

    /// Gives the rules of every datasource that has some; `_default` are those of the cluster.
    pub async fn rules(&self) -> Result<BTreeMap<String, Value>, MetadataError> {
        let action = "read rules";
        let rows = sqlx::query("SELECT dataSource, payload FROM druid_rules ORDER BY version, id")
            .fetch_all(&self.inner.readers)
            .await
            .action(action)?;
        let mut rules = BTreeMap::new();
        for row in rows {
            let datasource: String = row.try_get(0).action(action)?;
            let payload = parsed(&datasource, row.try_get(1).action(action)?)?;
            rules.insert(datasource, payload);
        }
        Ok(rules)
    }

    /// Sets the rules of a datasource.
    pub async fn set_rules(&self, datasource: &str, rules: &Value, audit: Audit) -> Result<(), MetadataError> {
        let inner = self.inner.clone();
        let (datasource, payload) = (datasource.to_string(), rules.to_string().into_bytes());
        self.detached("set rules", async move {
            let action = "set rules";
            let mut writer = inner.writer.lock().await;
            let mut transaction = writer.begin().await.action(action)?;
            let version = now();
            // Two posts may come in one millisecond; the id keeps them apart, and in order.
            let row = sqlx::query("SELECT COUNT(*) FROM druid_rules WHERE dataSource = ?")
                .bind(&datasource)
                .fetch_one(&mut *transaction)
                .await
                .action(action)?;
            let number: i64 = row.try_get(0).action(action)?;
            sqlx::query("INSERT INTO druid_rules (id, dataSource, version, payload) VALUES (?, ?, ?, ?)")
                .bind(format!("{datasource}_{version}_{number:06}"))
                .bind(&datasource)
                .bind(version)
                .bind(payload)
                .execute(&mut *transaction)
                .await
                .action(action)?;
            write_audit(&mut transaction, Some(audit), action).await?;
            transaction.commit().await.action(action)
        })
        .await
    }

    /// Lists changes of a kind, of one key or all, the newest first, so many at most.
    pub async fn audits(&self, kind: &str, key: Option<&str>, count: usize) -> Result<Vec<Value>, MetadataError> {
        let action = "read the audit log";
        let rows = sqlx::query(
            "SELECT audit_key, payload FROM druid_audit WHERE type = ? AND (? IS NULL OR audit_key = ?) \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(kind)
        .bind(key)
        .bind(key)
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .fetch_all(&self.inner.readers)
        .await
        .action(action)?;
        rows.into_iter()
            .map(|row| {
                let key: String = row.try_get(0).action(action)?;
                parsed(&key, row.try_get(1).action(action)?)
            })
            .collect()
    }
}

/// Reads all configurations.
pub(crate) async fn load_configs(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<String, Arc<Value>>, MetadataError> {
    let action = "read configurations";
    let rows = sqlx::query("SELECT name, payload FROM druid_config")
        .fetch_all(connection)
        .await
        .action(action)?;
    let mut configs = BTreeMap::new();
    for row in rows {
        let name: String = row.try_get(0).action(action)?;
        let payload = parsed(&name, row.try_get(1).action(action)?)?;
        configs.insert(name, Arc::new(payload));
    }
    Ok(configs)
}

async fn write_audit(
    transaction: &mut SqliteConnection,
    audit: Option<Audit>,
    action: &'static str,
) -> Result<(), MetadataError> {
    let Some(audit) = audit else { return Ok(()) };
    sqlx::query(
        "INSERT INTO druid_audit (audit_key, type, author, comment, created_date, payload) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(audit.key)
    .bind(audit.kind)
    .bind(audit.author)
    .bind(audit.comment)
    .bind(now())
    .bind(audit.entry.to_string().into_bytes())
    .execute(transaction)
    .await
    .action(action)?;
    Ok(())
}

fn parsed(id: &str, payload: &[u8]) -> Result<Value, MetadataError> {
    serde_json::from_slice(payload).map_err(|source| MetadataError::Corrupt {
        what: "setting",
        id: id.to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::store;

    fn audit(kind: &str, key: &str, number: i64) -> Audit {
        Audit {
            key: key.to_string(),
            kind: kind.to_string(),
            author: "a".to_string(),
            comment: String::new(),
            entry: json!({"number": number}),
        }
    }

    #[tokio::test]
    async fn the_newest_rules_count() {
        let (store, folder) = store().await;
        for number in 0..3 {
            let rules = json!([{"number": number}]);
            store
                .set_rules("d", &rules, audit("rules", "d", number))
                .await
                .expect("set");
        }
        store
            .set_rules("e", &json!([]), audit("rules", "e", 9))
            .await
            .expect("set");
        store.close().await.expect("closed");
        drop(store);
        let store = MetadataStore::open(&folder.path().join("metadata.db"))
            .await
            .expect("opens again");
        let rules = store.rules().await.expect("read");
        assert_eq!(
            rules,
            BTreeMap::from([("d".into(), json!([{"number": 2}])), ("e".into(), json!([]))])
        );
        let newest = store.audits("rules", Some("d"), 2).await.expect("read");
        assert_eq!(newest, [json!({"number": 2}), json!({"number": 1})]);
        assert_eq!(store.audits("rules", None, 9).await.expect("read").len(), 4);
        assert!(
            store
                .audits("coordinator.config", None, 9)
                .await
                .expect("read")
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_configuration_is_replaced() {
        let (store, folder) = store().await;
        assert_eq!(store.config("c"), None);
        store.set_config("c", &json!({"a": 1}), None).await.expect("set");
        let entry = audit("c", "c", 1);
        store.set_config("c", &json!({"b": 2}), Some(entry)).await.expect("set");
        assert_eq!(store.config("c"), Some(Arc::new(json!({"b": 2}))));
        store.close().await.expect("closed");
        drop(store);
        let store = MetadataStore::open(&folder.path().join("metadata.db"))
            .await
            .expect("opens again");
        assert_eq!(store.config("c"), Some(Arc::new(json!({"b": 2}))));
        assert_eq!(store.audits("c", None, 9).await.expect("read"), [json!({"number": 1})]);
    }
}
