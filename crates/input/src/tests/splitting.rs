//! Splits: the union of the parts is the whole, whatever the size of the parts.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{InputErrorKind, PartRange};

fn small(bytes: u64) -> SplitLimits {
    SplitLimits {
        split_bytes: bytes,
        min_split_bytes: 1,
        ..SplitLimits::default()
    }
}

/// Reads a text in parts of every size and compares rows, counters and messages with those of the whole.
fn check_all_sizes(text: &[u8], format: &Value, columns: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input");
    std::fs::write(&path, text).unwrap();
    let spec = local(&path, format.clone(), columns);
    let read_with = |limits: &SplitLimits| {
        let notes = Notes::allowing(usize::MAX);
        let splits = spec.splits(limits).unwrap();
        let files: u64 = splits.iter().map(InputSplit::files).sum();
        // Splits travel between processes.
        let wire = serde_json::to_string(&splits).unwrap();
        let splits: Vec<InputSplit> = serde_json::from_str(&wire).unwrap();
        let rows = to_json(&read_splits(&spec, &splits, &notes).unwrap());
        let lines: Vec<Option<u64>> = notes.issues.lock().unwrap().iter().map(|issue| issue.line).collect();
        (rows, lines, notes.counts(), files)
    };
    let whole = read_with(&small(u64::MAX));
    for bytes in 1..=text.len() as u64 + 1 {
        let parts = read_with(&small(bytes));
        assert_eq!(
            parts,
            whole,
            "splits of {bytes} bytes of {:?}",
            String::from_utf8_lossy(text)
        );
    }
}

#[test]
fn json_lines_in_parts_of_every_size() {
    let text = b"\xef\xbb\xbf{\"a\":1}\n{\"a\":2}\r\n\n{\"a\":\"33\"}\nbad\n{\"a\":4}{\"a\":5}\n{\"a\":66666}";
    check_all_sizes(text, &json!({"type": "json"}), &["a:long"]);
    check_all_sizes(b"{\"a\":1}\n", &json!({"type": "json"}), &["a:long"]);
}

#[test]
fn csv_in_parts_of_every_size() {
    let text = b"skip, this\na,b\n1,x\n2,\"y,z\"\n\n3,\r\n4,w";
    check_all_sizes(
        text,
        &json!({"type": "csv", "findColumnsFromHeader": true, "skipHeaderRows": 1}),
        &["a:long", "b:string"],
    );
    check_all_sizes(
        text,
        &json!({"type": "csv", "columns": ["a", "b"]}),
        &["a:string", "b:string"],
    );
    check_all_sizes(text, &json!({"type": "lines"}), &["line:string"]);
    check_all_sizes(
        b"only a header",
        &json!({"type": "csv", "findColumnsFromHeader": true}),
        &["a:long"],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn any_lines_in_parts_of_every_size(text in proptest::collection::vec(proptest::sample::select(b"a,\"1\r\n\n".to_vec()), 1..40)) {
        check_all_sizes(&text, &json!({"type": "tsv", "delimiter": ",", "columns": ["a", "b"]}), &["a:string", "b:string"]);
        check_all_sizes(&text, &json!({"type": "csv", "findColumnsFromHeader": false, "columns": ["a", "b"]}), &["a:string", "b:string"]);
    }

    #[test]
    fn any_json_lines_in_parts_of_every_size(
        lines in proptest::collection::vec(proptest::sample::select(vec!["{\"a\":1}", "{\"a\":2} ", "x", "", " ", "{\"a\":3}{\"a\":4}", "5"]), 1..7)
    ) {
        let text = lines.join("\n");
        prop_assume!(!text.is_empty());
        check_all_sizes(text.as_bytes(), &json!({"type": "json"}), &["a:long"]);
    }
}

#[test]
fn records_that_spread_over_lines_are_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("spread", "{\n\"a\":1}\n{\n\"a\":2}\n"),
        ("array", "[{\"a\":1},\n{\"a\":2}]"),
        ("opened", "[\n{\"a\":1},\n{\"a\":2}]"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let spec = local(&path, json!({"type": "json"}), &["a:long"]);
        let splits = spec.splits(&small(3)).unwrap();
        assert_eq!(splits.len(), 1, "{name}");
        assert_eq!(splits[0].parts[0].range, PartRange::Whole);
        assert_eq!(
            to_json(&read_splits(&spec, &splits, &Notes::allowing(0)).unwrap()),
            [json!({"a": 1}), json!({"a": 2})]
        );
    }
}

#[test]
fn small_files_share_and_limits_hold() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..10 {
        std::fs::write(dir.path().join(format!("{i}.json")), format!("{{\"a\":{i}}}\n")).unwrap();
    }
    let source = json!({"type": "local", "baseDir": dir.path(), "filter": "*.json"});
    let spec = spec(source, json!({"type": "json"}), &["a:long"]);
    let splits = spec.splits(&small(24)).unwrap();
    assert_eq!(
        splits.iter().map(|split| split.parts.len()).collect::<Vec<_>>(),
        [3, 3, 3, 1]
    );
    assert_eq!(splits.iter().map(InputSplit::files).sum::<u64>(), 10);
    let rows = to_json(&read_splits(&spec, &splits, &Notes::allowing(0)).unwrap());
    assert_eq!(rows, (0..10).map(|i| json!({"a": i})).collect::<Vec<_>>());

    let joined = spec
        .splits(&SplitLimits {
            max_splits: 2,
            ..small(8)
        })
        .unwrap();
    assert_eq!(joined.iter().map(|split| split.parts.len()).collect::<Vec<_>>(), [5, 5]);

    let parallel = SplitLimits {
        parallelism: 5,
        min_split_bytes: 1,
        ..SplitLimits::default()
    };
    assert_eq!(spec.splits(&parallel).unwrap().len(), 5);

    let error = spec
        .splits(&SplitLimits {
            max_files_per_worker: 4,
            workers: 2,
            ..SplitLimits::default()
        })
        .unwrap_err();
    assert_eq!(error.kind(), InputErrorKind::TooManyFiles);
    assert!(error.to_string().starts_with(
        "Too many input files/segments [10] encountered. Maximum input files/segments per worker is set to [4]."
    ));
    assert!(
        error.to_string().contains("at least [3] by setting maxNumTasks"),
        "{error}"
    );
}

#[test]
fn a_split_that_does_not_fit_the_source_is_an_error() {
    let spec = inline("{\"a\":1}", json!({"type": "json"}), &["a:long"]);
    for part in [
        json!({"leaf": 7, "file": "inline", "range": "whole"}),
        json!({"leaf": 0, "file": {"http": 3}, "range": "whole"}),
        json!({"leaf": 0, "file": "inline", "range": {"rowGroups": {"start": 0, "end": 1}}}),
    ] {
        let split: InputSplit = serde_json::from_value(json!({"parts": [part], "weightBytes": 1})).unwrap();
        assert!(read_splits(&spec, &[split], &Notes::allowing(0)).is_err());
    }
}

#[test]
fn combined_sources_are_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    std::fs::write(&path, "{\"a\":2}").unwrap();
    let source = json!({"type": "combining", "delegates": [
        {"type": "inline", "data": "{\"a\":1}"}, {"type": "local", "files": [path]}, {"type": "inline", "data": "{\"a\":3}"}, {"type": "nil"}
    ]});
    assert_eq!(
        rows(&spec(source, json!({"type": "json"}), &["a:long"])),
        [json!({"a": 1}), json!({"a": 2}), json!({"a": 3})]
    );
    assert_eq!(
        rows(&spec(json!({"type": "nil"}), json!({"type": "json"}), &["a:long"])),
        Vec::<Value>::new()
    );
}
