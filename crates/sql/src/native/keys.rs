//! What the native query says of the keys that stored rows are ordered by: those of a grouping, and those that are computed.

use serde_json::Value;

use crate::statement::ComputedKey;

/// The keys of an INSERT or REPLACE, as its native query has them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct StoredKeys {
    /// Output columns of the grouping's keys, up to the first that is not stored; none where CLUSTERED BY or LIMIT orders the rows.
    pub grouped_by: Vec<String>,
    /// For each key the virtual column that computes it, if one does.
    pub computed: Vec<Option<ComputedKey>>,
}

/// Reads the keys off the native query; none where there is no native query.
pub(crate) fn stored_keys(native: &Value) -> StoredKeys {
    let found = native.get(0).and_then(|planned| {
        let query = planned.get("query")?;
        match query.get("queryType")?.as_str()? {
            "scan" => Some(of_scan(query)),
            "groupBy" => Some(of_groups(query, planned.get("columnMappings")?)),
            _ => None,
        }
    });
    found.unwrap_or_default()
}

fn of_scan(query: &Value) -> StoredKeys {
    let computed = list(query.get("orderBy")).map(|key| computed(query, key.get("columnName")));
    StoredKeys {
        grouped_by: Vec::new(),
        computed: computed.collect(),
    }
}

fn of_groups(query: &Value, mappings: &Value) -> StoredKeys {
    let limit = query.get("limitSpec");
    let asked: Vec<&Value> = list(limit.and_then(|limit| limit.get("columns")))
        .filter_map(|key| key.get("dimension"))
        .collect();
    let limited = limit.is_some_and(|limit| limit.get("limit").is_some());
    let dimensions = || list(query.get("dimensions"));
    let (keys, grouped) = match asked.is_empty() {
        true if limited => (Vec::new(), false),
        true => (
            dimensions()
                .filter_map(|dimension| dimension.get("outputName"))
                .collect(),
            true,
        ),
        false => (asked, false),
    };
    let output_of = |key: &Value| {
        let mapping = list(Some(mappings)).find(|mapping| mapping.get("queryColumn") == Some(key))?;
        mapping.get("outputColumn")?.as_str().map(str::to_string)
    };
    let outputs = keys.iter().map_while(|key| output_of(key)).filter(|_| grouped);
    let computed = keys.iter().map(|key| {
        let dimension = dimensions().find(|dimension| dimension.get("outputName") == Some(*key))?;
        computed(query, dimension.get("dimension"))
    });
    StoredKeys {
        grouped_by: outputs.collect(),
        computed: computed.collect(),
    }
}

fn computed(query: &Value, name: Option<&Value>) -> Option<ComputedKey> {
    let column =
        list(query.get("virtualColumns")).find(|column| column.get("name").or(column.get("outputName")) == name)?;
    Some(ComputedKey {
        name: name?.as_str()?.to_string(),
        virtual_column: column.clone(),
    })
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_are_ordered_by_their_keys() {
        let dimension = |name: &str, output: &str| json!({"dimension": name, "outputName": output});
        let query = |limit: Value| {
            json!([{
                "query": {
                    "queryType": "groupBy",
                    "virtualColumns": [{"type": "expression", "name": "v0", "expression": "lower(\"a\")"}],
                    "dimensions": [dimension("v0", "d0"), dimension("b", "d1"), dimension("c", "d2")],
                    "limitSpec": limit,
                },
                "columnMappings": [
                    {"queryColumn": "a0", "outputColumn": "n"},
                    {"queryColumn": "d1", "outputColumn": "b"},
                    {"queryColumn": "d0", "outputColumn": "low"},
                ],
            }])
        };
        let found = stored_keys(&query(json!({"type": "NoopLimitSpec"})));
        assert_eq!(found.grouped_by, ["low", "b"], "c is not stored");
        let names: Vec<Option<&str>> = found
            .computed
            .iter()
            .map(|key| Some(key.as_ref()?.name.as_str()))
            .collect();
        assert_eq!(names, [Some("v0"), None, None]);

        let asked = stored_keys(&query(json!({"type": "default", "columns": [{"dimension": "d1"}]})));
        assert!(asked.grouped_by.is_empty());
        assert_eq!(asked.computed, [None]);
        let limited = stored_keys(&query(json!({"type": "default", "columns": [], "limit": 1})));
        assert_eq!(limited, StoredKeys::default());
        assert_eq!(stored_keys(&Value::Null), StoredKeys::default());
    }

    #[test]
    fn clustering_by_an_expression_names_its_virtual_column() {
        let lower = json!({"type": "expression", "name": "v1", "expression": "lower(\"a\")", "outputType": "STRING"});
        let native = json!([{"query": {
            "queryType": "scan",
            "virtualColumns": [{"type": "expression", "name": "v0"}, lower],
            "orderBy": [{"columnName": "a"}, {"columnName": "v1"}],
        }}]);
        let computed = stored_keys(&native).computed;
        assert_eq!(computed[0], None);
        let key = computed[1].as_ref().expect("computed");
        assert_eq!((key.name.as_str(), &key.virtual_column), ("v1", &lower));
    }
}
