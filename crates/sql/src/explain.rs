//! EXPLAIN PLAN FOR: the three JSON texts.

use crate::{Planned, Statement};
use serde_json::{Map, Value, json};

/// Gives `PLAN`, `RESOURCES`, `ATTRIBUTES`.
pub(crate) fn row(planned: &Planned) -> [String; 3] {
    let resources: Vec<Value> = planned
        .resources
        .iter()
        .map(|resource| json!({"name": resource.name, "type": resource.kind}))
        .collect();
    [
        match &planned.native {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
        Value::Array(resources).to_string(),
        attributes(&planned.statement).to_string(),
    ]
}

/// Gives the granularity as Druid serialises it: a word, or an object.
pub(crate) fn granularity_json(granularity: &henge_time::Granularity) -> Value {
    match granularity.name() {
        Some("ALL") => json!({"type": "all"}),
        Some(name) => json!(name),
        None => json!({"type": "period", "period": granularity.to_string(), "timeZone": "UTC", "origin": null}),
    }
}

/// Words the replaced chunks as the context key `sqlReplaceTimeChunks` does.
pub(crate) fn replace_time_chunks(overwrite: &crate::Overwrite) -> String {
    match overwrite {
        crate::Overwrite::All => "all".into(),
        crate::Overwrite::Intervals(intervals) => {
            intervals.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
    }
}

fn attributes(statement: &Statement) -> Value {
    let mut map = Map::new();
    map.insert("statementType".into(), json!(statement.kind()));
    if let Statement::Export(_) = statement {
        map.insert("targetDataSource".into(), json!("external"));
    }
    if let Some(ingest) = statement.ingest() {
        map.insert("targetDataSource".into(), json!(ingest.target));
        map.insert("partitionedBy".into(), granularity_json(&ingest.granularity));
        if !ingest.clustered_by.is_empty() {
            map.insert("clusteredBy".into(), json!(ingest.clustered_by));
        }
    }
    if let Statement::Replace(_, overwrite) = statement {
        map.insert("replaceTimeChunks".into(), json!(replace_time_chunks(overwrite)));
    }
    Value::Object(map)
}
