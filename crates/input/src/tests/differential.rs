//! The readers against naive ones: JSON against `serde_json`, CSV against a parser of a few lines.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1_000_000i64..1_000_000).prop_map(|n| Value::from(n as f64 / 64.0)),
        "\\PC{0,6}".prop_map(Value::from),
        "[a\"\\\\\n\t\u{1}é😀/]{0,6}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c\"]{1,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn naive_text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_string(),
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => {
            let mut text = String::new();
            crate::number::write_double(n.as_f64().unwrap(), &mut text);
            text
        }
        Value::Array(items) => format!("[{}]", items.iter().map(naive_text).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}={}", naive_text(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn naive_string(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) if items.len() == 1 => match &items[0] {
            Value::Null => Value::Null,
            item => naive_text(item).into(),
        },
        Value::Array(items) => {
            let texts: Vec<Value> = items
                .iter()
                .map(|item| {
                    if item.is_null() {
                        Value::Null
                    } else {
                        naive_text(item).into()
                    }
                })
                .collect();
            json!(texts).to_string().into()
        }
        other => naive_text(other).into(),
    }
}

fn naive_long(value: &Value) -> Value {
    match value {
        Value::Number(n) => n.as_i64().unwrap_or_else(|| n.as_f64().unwrap() as i64).into(),
        Value::String(text) => crate::number::text_long(text).into(),
        _ => Value::Null,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn json_agrees_with_serde_json(
        records in proptest::collection::vec(proptest::collection::vec(("[abcxyz\\\\\"]{1,2}", value()), 0..6), 1..8),
        pretty: bool, split in 4u64..200
    ) {
        let mut text = String::new();
        let mut expected = Vec::new();
        for fields in &records {
            let record: Value = Value::Object(fields.iter().cloned().collect());
            text += &if pretty { serde_json::to_string_pretty(&record).unwrap() } else { record.to_string() };
            text.push('\n');
            let of = |name: &str| record.get(name).cloned().unwrap_or(Value::Null);
            let c = of("c");
            let kept = if c.is_null() { Value::Null } else { Value::from(c.to_string()) };
            expected.push((naive_string(&of("a")), naive_long(&of("b")), kept));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, &text).unwrap();
        let columns = ["a:string", "b:long", "c:COMPLEX<json>"];
        // Empty records print on one line even when they are pretty, so the layout is said where it matters.
        let format = json!({"type": "json", "assumeNewlineDelimited": !pretty});
        let spec = local(&path, format, &columns);
        let limits = SplitLimits { split_bytes: split, min_split_bytes: 1, ..SplitLimits::default() };
        let first_spreads = text.starts_with("{\n");
        prop_assume!(!pretty || first_spreads);
        let batches = read_splits(&spec, &spec.splits(&limits).unwrap(), &Notes::allowing(0)).unwrap();
        let rows: Vec<(Value, Value, Value)> = to_json(&batches)
            .into_iter()
            .map(|row| {
                // Pretty text is kept as it is; compare what it says.
                let kept = match row["c"].as_str() {
                    Some(text) => serde_json::from_str::<Value>(text).unwrap().to_string().into(),
                    None => Value::Null,
                };
                (row["a"].clone(), row["b"].clone(), kept)
            })
            .collect();
        prop_assert_eq!(rows, expected);
    }

    #[test]
    fn csv_agrees_with_a_naive_writer(
        records in proptest::collection::vec(proptest::collection::vec(proptest::option::of("[ab,\" é]{0,5}"), 3), 1..10), split in 1u64..80
    ) {
        // Everything that is not null is quoted, so that there is nothing to guess.
        let line = |fields: &Vec<Option<String>>| {
            let quoted = |text: &String| format!("\"{}\"", text.replace('"', "\"\""));
            fields.iter().map(|field| field.as_ref().map_or(String::new(), quoted)).collect::<Vec<_>>().join(",")
        };
        let text = records.iter().map(line).collect::<Vec<_>>().join("\n");
        prop_assume!(!text.is_empty());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, &text).unwrap();
        let spec = local(&path, json!({"type": "csv", "columns": ["a", "b", "c"]}), &["c:string", "a:string", "b:string"]);
        let limits = SplitLimits { split_bytes: split, min_split_bytes: 1, ..SplitLimits::default() };
        let rows = to_json(&read_splits(&spec, &spec.splits(&limits).unwrap(), &Notes::allowing(0)).unwrap());
        let mut expected: Vec<Value> = records.iter().map(|r| json!({"a": r[0], "b": r[1], "c": r[2]})).collect();
        if text.ends_with('\n') {
            // A last record without anything is no line.
            expected.pop();
        }
        prop_assert_eq!(rows, expected);
    }
}
