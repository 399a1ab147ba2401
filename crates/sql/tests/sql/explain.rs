//! Recorded plans of EXPLAIN.

use henge_sql::EngineKind;
use serde_json::{Map, Value};

use crate::run::{folder, plan};

/// Removes what differs from run to run.
fn without_ids(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in ["queryId", "sqlQueryId", "dartQueryId", "__resultFormat", "timeout"] {
                map.shift_remove(key);
            }
            map.values_mut().for_each(without_ids);
        }
        Value::Array(items) => items.iter_mut().for_each(without_ids),
        _ => {}
    }
}

#[test]
fn recorded_plans_are_given() {
    let Some(folder) = folder("tests/golden/api/explain").or_else(|| folder("../shared/golden/api/explain")) else {
        println!("SKIPPED: no recorded plans");
        return;
    };
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .filter_map(|f| f.ok().map(|f| f.path()))
        .collect();
    files.sort();
    let mut wrong = Vec::new();
    let mut right = 0;
    for file in files {
        let name = file
            .file_stem()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        // Plans of Calcite's own nodes, the engine that henge does not have, and shapes without a native wording yet: joins
        // and windows.
        let shapes = ["msq-join", "native-resources-join", "msq-window"];
        if shapes.contains(&name.as_str()) || ["native-infoschema", "native-legacy", "dart"].contains(&name.as_str()) {
            continue;
        }
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("readable")).expect("JSON");
        let body = &golden["request"]["body"];
        let engine = match golden["request"]["path"].as_str() {
            Some("/druid/v2/sql") => EngineKind::Native,
            _ => EngineKind::Task,
        };
        let context: Map<String, Value> = body["context"].as_object().cloned().unwrap_or_default();
        let sql = body["query"].as_str().unwrap_or_default();
        let planned = plan(engine, sql, context, Vec::new());
        let rows = golden["response"]["body"].as_array();
        let Some(row) = rows.and_then(|rows| rows.first()) else {
            if planned.is_ok() {
                wrong.push(format!("{name}: accepted"));
            }
            continue;
        };
        let planned = match planned {
            Ok(planned) => planned,
            Err(error) => {
                wrong.push(format!("{name}: refused: {error}"));
                continue;
            }
        };
        let got = planned.explain_row();
        let before = wrong.len();
        for (i, key) in ["PLAN", "RESOURCES", "ATTRIBUTES"].into_iter().enumerate() {
            let read = |text: &str| {
                let mut value: Value = serde_json::from_str(text).unwrap_or(Value::from(text));
                without_ids(&mut value);
                value
            };
            let (a, b) = (read(&got[i]), read(row[key].as_str().unwrap_or_default()));
            if a != b {
                wrong.push(format!("{name} {key}:\n  got    {a}\n  wanted {b}"));
            }
        }
        right += usize::from(wrong.len() == before);
    }
    println!("{right} recorded plans are given");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
