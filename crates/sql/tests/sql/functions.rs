//! The recorded statements of the function catalogue: which pass is pinned in `functions.passing`, so that none is lost.
//! `HENGE_PIN=1` rewrites the file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::run::{answer, folder, same};

/// Gives the recorded answer that an implementation should give: per row where folding spoilt it.
fn expected(result: &Value) -> Option<(&Value, Option<&Value>)> {
    let best = match result.get("per_row") {
        Some(per_row) if per_row.get("rows").is_some() => per_row,
        _ => result,
    };
    let rows = best.get("rows")?;
    Some((rows, result.get("types").or(best.get("types"))))
}

/// Replaces escaped halves of surrogate pairs, which Druid prints and JSON readers refuse.
fn whole_characters(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\\ud") {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        let half = |text: &str, set: &str| {
            text.get(..6)
                .is_some_and(|t| t.starts_with("\\ud") && t[3..4].contains(|c| set.contains(c)))
        };
        if half(tail, "89ab") && tail.get(6..).is_some_and(|next| half(next, "cdef")) {
            out.push_str(&tail[..12]);
            rest = &tail[12..];
        } else if half(tail, "89abcdef") {
            out.push('?');
            rest = &tail[6..];
        } else {
            out.push_str(&tail[..3]);
            rest = &tail[3..];
        }
    }
    out + rest
}

fn sorted(rows: &[Value]) -> Vec<Value> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(ToString::to_string);
    rows
}

/// Parts of Druid's messages for statements that henge answers on purpose, by the id of the known limitation that says so:
/// artefacts of constant folding and of the recording's set-up, and what has one obvious standard meaning.
const ANSWERED: [(&str, &str); 29] = [
    ("L-030", "Error while applying rule DruidLogicalValuesRule"),
    ("L-030", "Calcite assertion violated"),
    ("L-030", "types.size >= 1"),
    ("L-030", "of unsupported type [ARRAY]"),
    ("L-030", "evaluates to an unsupported value"),
    ("L-030", "Illegal TIMESTAMP constant"),
    ("L-030", "encountered unknown exception"),
    ("L-030", "broken response"),
    ("L-030", "should be an identifier expression"),
    ("L-030", "Cannot coerce field"),
    ("L-030", "merge buffers"),
    ("L-030", "Unhandled Query Planning Failure"),
    ("L-030", "Cannot convert to Scan query without any columns"),
    ("L-030", "\"timestampString\" is null"),
    ("L-030", "Aggregation [STRING_AGG($0, $1)] is not supported"),
    ("L-030", "Aggregation [LISTAGG($0, $1)] is not supported"),
    ("L-030", "Aggregation [APPROX_QUANTILE"),
    ("L-031", "'ITEM' operator that is not supported"),
    ("L-031", "No match found for function signature ILIKE"),
    ("L-031", "No match found for function signature EXISTS"),
    ("L-031", "No match found for function signature IS UNKNOWN"),
    ("L-031", "No match found for function signature IS NOT UNKNOWN"),
    ("L-031", "No match found for function signature INTERSECT"),
    ("L-031", "No match found for function signature EXCEPT"),
    ("L-031", "only 'UNION ALL' is supported"),
    ("L-031", "not allowed under the current SQL conformance level"),
    ("L-031", "with DISTINCT is not supported"),
    ("L-031", "must be a literal"),
    ("L-031", "does not support type [STRING]"),
];

/// Gives the reason to answer what Druid refuses.
fn answered(sql: &str, result: &Value) -> Option<&'static str> {
    let message = result["error"]["message"].as_str().unwrap_or_default();
    // Division by zero in a branch that is not taken fails only where it is folded.
    if sql.contains("CASE WHEN x <> 0") && message == "/ by zero" {
        return Some("L-030");
    }
    ANSWERED
        .iter()
        .find(|(_, part)| message.contains(part))
        .map(|(id, _)| *id)
}

fn check(sql: &str, result: &Value) -> Result<(), String> {
    let Some((rows, types)) = expected(result) else {
        // Druid's refusals are matched by the error tests; here a refusal is enough.
        return match answer(sql) {
            Err(_) => Ok(()),
            Ok(_) if answered(sql, result).is_some() => Ok(()),
            Ok(_) => Err(format!("Druid refuses it: {}", result["error"]["message"])),
        };
    };
    let got = answer(sql)?;
    let got_rows: Vec<Value> = got.rows.iter().map(|row| Value::Array(row.clone())).collect();
    let wanted = rows.as_array().cloned().unwrap_or_default();
    let unordered = result.get("unordered").is_some_and(|u| u == &Value::Bool(true));
    let (a, b) = if unordered {
        (sorted(&got_rows), sorted(&wanted))
    } else {
        (got_rows, wanted)
    };
    if !same(&Value::Array(a.clone()), &Value::Array(b.clone())) {
        return Err(format!("got {} wanted {}", Value::Array(a), Value::Array(b)));
    }
    if let Some(types) = types {
        let got: Value = got.types.into();
        if got != *types {
            return Err(format!("types {got} wanted {types}"));
        }
    }
    Ok(())
}

#[test]
fn recorded_statements_do_not_regress() {
    let Some(file) = folder("../shared/spec/functions.jsonl") else {
        println!("SKIPPED: the recorded function catalogue is not beside the project");
        return;
    };
    let text = std::fs::read_to_string(file).expect("readable");
    let mut families: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut passing = BTreeSet::new();
    let mut report = String::new();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(&whole_characters(line)).expect("JSON");
        let (examples, results) = (&entry["examples"], &entry["results"]);
        let family = entry["category"].as_str().unwrap_or_default().to_string();
        for (sql, result) in examples
            .as_array()
            .into_iter()
            .flatten()
            .zip(results.as_array().into_iter().flatten())
        {
            let sql = sql.as_str().unwrap_or_default();
            if result.get("volatile").is_some() {
                continue;
            }
            let count = families.entry(family.clone()).or_default();
            count.1 += 1;
            let outcome = std::panic::catch_unwind(|| check(sql, result)).unwrap_or_else(|_| Err("PANIC".into()));
            match outcome {
                Ok(()) => {
                    count.0 += 1;
                    passing.insert(sql.to_string());
                }
                Err(why) => report.push_str(&format!("{family} | {sql} | {why}\n")),
            }
        }
    }
    let (mut passed, mut all) = (0, 0);
    for (family, (ok, total)) in &families {
        println!("{family}: {ok} of {total}");
        passed += ok;
        all += total;
    }
    println!("all: {passed} of {all}");
    if let Ok(path) = std::env::var("HENGE_REPORT") {
        std::fs::write(path, &report).expect("writable");
    }
    assert!(
        !report.contains("| PANIC"),
        "a statement panics:\n{}",
        report
            .lines()
            .filter(|l| l.contains("| PANIC"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    let pins = folder("crates/sql/tests/sql")
        .expect("the tests' folder")
        .join("functions.passing");
    if std::env::var("HENGE_PIN").is_ok() {
        let lines: Vec<String> = passing
            .iter()
            .map(|sql| Value::from(sql.as_str()).to_string())
            .collect();
        std::fs::write(&pins, lines.join("\n") + "\n").expect("writable");
        return;
    }
    let pinned = std::fs::read_to_string(&pins).unwrap_or_default();
    let lost: Vec<String> = pinned
        .lines()
        .filter_map(|line| serde_json::from_str::<String>(line).ok())
        .filter(|sql| !passing.contains(sql))
        .collect();
    assert!(lost.is_empty(), "passed before and fail now:\n{}", lost.join("\n"));
}
