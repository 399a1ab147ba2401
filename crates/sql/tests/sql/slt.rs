//! Text fixtures: `query`, the statement, `----`, one line a row with cells separated by tabs; or `error`, the statement, `----`,
//! a part of the message. `types` behind `query` adds a line of SQL types, `names` one of names, `unordered` sorts the rows,
//! `task` plans for tasks. `HENGE_SLT` names another folder of fixtures.

use serde_json::{Map, Value};

use crate::run::{folder, plan, run};

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::String(text) if text.is_empty() => "(empty)".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn record(block: &str, place: &str, wrong: &mut Vec<String>) {
    let mut lines = block
        .lines()
        .skip_while(|line| line.starts_with('#') || line.trim().is_empty());
    let Some(head) = lines.next() else { return };
    let rest: Vec<&str> = lines.collect();
    let Some(split) = rest.iter().position(|line| *line == "----") else {
        wrong.push(format!("{place}: no ---- in the record"));
        return;
    };
    let sql = rest[..split].join("\n");
    let wanted: Vec<&str> = rest[split + 1..].to_vec();
    let engine = if head.contains("task") {
        henge_sql::EngineKind::Task
    } else {
        henge_sql::EngineKind::Native
    };
    let planned = plan(engine, &sql, Map::new(), Vec::new());
    if head.starts_with("error") {
        let message = match planned {
            Err(error) => format!(
                "{}{}",
                error,
                error.hint.as_deref().map(|h| format!(" | {h}")).unwrap_or_default()
            ),
            Ok(planned) => match run(&planned) {
                Err(error) => error,
                Ok(_) => "no error".into(),
            },
        };
        if !wanted.iter().all(|part| message.contains(part)) {
            wrong.push(format!(
                "{place}: {sql}\n  got    {message}\n  wanted {}",
                wanted.join(" … ")
            ));
        }
        return;
    }
    let answer = match planned.map_err(|e| e.to_string()).and_then(|planned| run(&planned)) {
        Ok(answer) => answer,
        Err(error) => {
            wrong.push(format!("{place}: {sql}\n  failed: {error}"));
            return;
        }
    };
    let mut got: Vec<String> = Vec::new();
    let mut rows: Vec<String> = answer
        .rows
        .iter()
        .map(|row| row.iter().map(shown).collect::<Vec<_>>().join("\t"))
        .collect();
    if head.contains("unordered") {
        rows.sort();
    }
    if head.contains("names") {
        got.push(answer.names.join("\t"));
    }
    if head.contains("types") {
        got.push(answer.types.join("\t"));
    }
    got.extend(rows);
    if got != wanted {
        wrong.push(format!(
            "{place}: {sql}\n  got\n{}\n  wanted\n{}",
            got.join("\n"),
            wanted.join("\n")
        ));
    }
}

#[test]
fn text_fixtures() {
    let folder = std::env::var("HENGE_SLT")
        .map(std::path::PathBuf::from)
        .or(folder("crates/sql/tests/slt").ok_or(()))
        .expect("the fixtures");
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in crate::run::files(&folder) {
        let text = std::fs::read_to_string(&file).expect("readable");
        let name = file
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        for (i, block) in text.split("\n\n").enumerate() {
            record(
                block.trim_matches('\n'),
                &format!("{name} record {}", i + 1),
                &mut wrong,
            );
            count += 1;
        }
    }
    assert!(count > 0, "the fixtures are there");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}
