//! Recorded refusals: code, category, persona, text and context. The list of acceptable tokens is Calcite's grammar and not
//! compared; refusals of other layers (HTTP, security, run time) are not of this crate.

use henge_sql::{EngineKind, SqlParameter};
use serde_json::{Map, Value, json};

use crate::run::{folder, plan, run};

/// Recordings that this crate does not answer, with the reason.
const ELSEWHERE: [(&str, &str); 22] = [
    ("ctx-engine-msq-task", "the server chooses the engine"),
    ("ctx-engine-unknown", "the server chooses the engine"),
    ("ctx-sqlqueryid-bad", "the server makes task ids"),
    ("duplicate-taskid-2", "the server makes task ids"),
    ("groupby-limit", "a limit of Druid's native engine"),
    ("resource-limit", "a limit of Druid's native engine"),
    ("timeout", "run time"),
    ("mid-stream", "run time"),
    ("mid-stream-broker-raw", "run time"),
    ("runtime-div", "run time"),
    ("runtime-json", "run time"),
    ("runtime-mv-array", "an internal failure of Druid"),
    ("order-by-nontime", "answered: henge sorts scans by any column"),
    ("union-all-toplevel", "answered: henge unites any queries"),
    ("values", "an internal failure of Druid: INSERT without PARTITIONED BY"),
    ("ddl", "Calcite's list of expected tokens in the text"),
    (
        "parse-semicolon-inside",
        "Calcite's list of expected tokens in the text",
    ),
    (
        "extern-bad-format",
        "the text names Druid's Java classes; henge_input words it",
    ),
    (
        "extern-bad-source",
        "the text names Druid's Java classes; henge_input words it",
    ),
    ("extern-http-scheme", "henge_input"),
    ("extern-missing-data", "henge_input"),
    ("extern-local-nobase", "henge_input"),
];

fn strip(mut message: String) -> String {
    if let Some(at) = message.find(", acceptable options: [") {
        message.truncate(at);
    }
    message
}

fn compare(name: &str, file: &std::path::Path, engine: EngineKind) -> Option<String> {
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(file).expect("readable")).expect("JSON");
    let body = &golden["request"]["body"];
    let sql = body["query"].as_str()?;
    let context: Map<String, Value> = body["context"].as_object().cloned().unwrap_or_default();
    let engine = match context.get("engine").and_then(Value::as_str) {
        Some("msq-dart") => EngineKind::Native,
        _ => engine,
    };
    let parameters = serde_json::from_value(body["parameters"].clone()).unwrap_or_default();
    let status = golden["response"]["status"].as_u64().unwrap_or(0);
    let outcome = plan(engine, sql, context, parameters);
    let response = &golden["response"]["body"];
    let error = if response["error"].is_object() {
        &response["error"]
    } else {
        response
    };
    if status < 300 {
        return outcome.err().map(|e| format!("{name}: refused: {e}"));
    }
    let got = match outcome {
        Ok(_) => return Some(format!("{name}: accepted, wanted {}", error["errorMessage"])),
        Err(error) => error,
    };
    let mut differences = Vec::new();
    let mut differ = |what: &str, got: String, wanted: String| {
        if got != wanted {
            differences.push(format!("{what}: got [{got}] wanted [{wanted}]"));
        }
    };
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_string();
    differ("code", got.error_code.clone(), text("errorCode"));
    differ("persona", got.persona.as_str().into(), text("persona"));
    differ("category", got.category.as_str().into(), text("category"));
    differ("message", strip(got.message.clone()), strip(text("errorMessage")));
    for key in ["line", "column", "endLine", "endColumn", "token", "sourceType"] {
        differ(
            key,
            got.context.get(key).cloned().unwrap_or_default(),
            error["context"][key].as_str().unwrap_or_default().into(),
        );
    }
    (!differences.is_empty()).then(|| format!("{name}: {}", differences.join("; ")))
}

#[test]
fn recorded_refusals_are_given() {
    let Some(api) = folder("tests/golden/api").or_else(|| folder("../shared/golden/api")) else {
        println!("SKIPPED: no recorded exchanges");
        return;
    };
    let mut wrong = Vec::new();
    let mut right = 0;
    for (group, engine) in [
        ("sql-errors", EngineKind::Native),
        ("sql-task-errors", EngineKind::Task),
    ] {
        let Ok(files) = std::fs::read_dir(api.join(group)) else {
            println!("SKIPPED: no recordings of {group}");
            continue;
        };
        let mut files: Vec<_> = files.filter_map(|f| f.ok().map(|f| f.path())).collect();
        files.sort();
        for file in files {
            let name = file
                .file_stem()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            if ELSEWHERE.iter().any(|(known, _)| *known == name) {
                continue;
            }
            match compare(&name, &file, engine) {
                None => right += 1,
                Some(difference) => wrong.push(difference),
            }
        }
    }
    println!("{right} recorded refusals are given");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn counts_of_rows_that_are_parameters_are_cut_to_whole_ones() {
    let rows = |sql: &str, sql_type: &str, value: Value| -> Result<usize, String> {
        let parameter = SqlParameter {
            sql_type: sql_type.to_string(),
            value,
        };
        let planned = plan(EngineKind::Native, sql, Map::new(), vec![parameter]).map_err(|e| e.message.clone())?;
        run(&planned).map(|answer| answer.rows.len())
    };
    let (limit, offset) = ("SELECT n FROM api_base LIMIT ?", "SELECT n FROM api_base OFFSET ?");
    assert_eq!(rows(limit, "BIGINT", json!(2)), Ok(2));
    assert_eq!(rows(limit, "DOUBLE", json!(2.5)), Ok(2));
    assert_eq!(rows(limit, "DOUBLE", json!(-0.5)), Ok(0));
    assert_eq!(
        rows(offset, "DOUBLE", json!(1.5)),
        rows(offset, "BIGINT", json!(1)),
        "the fraction of an offset does not count"
    );
    assert_eq!(
        rows(limit, "BIGINT", json!(-1)),
        Err("limit == null || limit >= 0".to_string())
    );
    assert_eq!(rows(offset, "DOUBLE", json!(-1.5)), Err("offset >= 0".to_string()));
}
