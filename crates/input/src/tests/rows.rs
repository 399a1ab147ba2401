//! Bad rows and layouts: what is a row, what is none, and what is said about it.

use serde_json::json;

use super::*;
use crate::{InputErrorKind, sample_schema};

fn lines(data: &str) -> ExternSpec {
    inline(data, json!({"type": "json"}), &["a:long"])
}

/// The texts are those of Druid, recorded as `faults/CannotParseExternalData`, `faults/TooManyWarnings` and
/// `reports/parse-warnings`.
#[test]
fn bad_rows_are_worded_as_druid_words_them() {
    let notes = Notes::allowing(0);
    let error = read(&lines("{\"a\":1}\nnot json"), &notes).unwrap_err();
    assert_eq!(error.kind(), InputErrorKind::BadRow);
    assert_eq!(error.to_string(), "Unable to parse row [not json] (Record: 2, Line: 2)");

    let notes = Notes::allowing(1);
    assert!(read(&lines("{\"a\":1}\nbad1\nbad2\nbad3"), &notes).is_err());
    assert_eq!(notes.messages()[0], "Unable to parse row [bad1] (Record: 2, Line: 2)");

    let notes = Notes::allowing(usize::MAX);
    let rows = read(&lines("{\"a\":1}\nnot json\n{\"a\":2}\n{\"a\":"), &notes).unwrap();
    assert_eq!(rows, [json!({"a": 1}), json!({"a": 2})]);
    assert_eq!(
        notes.messages(),
        [
            "Unable to parse row [not json] (Record: 2, Line: 2)",
            "Unable to parse row [{\"a\":] (Record: 3, Line: 4)"
        ]
    );
}

#[test]
fn bad_rows_of_files_name_the_file_and_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b.json");
    std::fs::write(&path, "{\"a\":1}\n{\"a\":1,}\n").unwrap();
    let notes = Notes::allowing(0);
    let error = read(&local(&path, json!({"type": "json"}), &["a:long"]), &notes).unwrap_err();
    let uri = format!("file:{}", path.display()).replace(' ', "%20");
    assert_eq!(
        error.to_string(),
        format!("Unable to parse row [{{\"a\":1,}}] (Path: {uri}, Record: 2, Line: 2)")
    );
    let issue = notes.issues.lock().unwrap()[0].clone();
    assert_eq!(issue.detail.as_deref(), Some("expected a name in quotes at byte 7"));
    assert_eq!(issue.file, Some(uri));
}

#[test]
fn a_bad_row_leaves_no_trace() {
    let data = "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"y\",}\n{\"b\":\"z\",\"a\":3}";
    let spec = inline(data, json!({"type": "json"}), &["a:long", "b:string"]);
    let rows = read(&spec, &Notes::allowing(9)).unwrap();
    assert_eq!(rows, [json!({"a": 1, "b": "x"}), json!({"a": 3, "b": "z"})]);
}

#[test]
fn long_rows_are_cut_in_messages() {
    let notes = Notes::allowing(9);
    read(&lines(&format!("{{\"a\":\"{}", "é".repeat(5_000))), &notes).unwrap();
    let message = notes.messages().remove(0);
    assert!(message.len() < 1_100 && message.contains("...]"), "{message}");
}

#[test]
fn layouts() {
    let expected = [json!({"a": 1}), json!({"a": 2}), json!({"a": 3})];
    for data in [
        "{\"a\":1}\n{\"a\":2}\n{\"a\":3}",
        "{\"a\":1}\r\n\r\n  {\"a\":2}\r\n{\"a\":3}\r\n",
        "{\"a\":1}{\"a\":2} {\"a\":3}",
        "\u{feff}{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n\n",
        "{\n  \"a\": 1\n}\n{\n  \"a\": 2\n}\n{\n  \"a\": 3\n}\n",
        "{\n \"a\": 1}{\"a\": 2} {\n\"a\": 3}",
        "[{\"a\":1},{\"a\":2},{\"a\":3}]",
        "[\n  {\"a\": 1},\n  {\n\"a\": 2\n},\n {\"a\": 3}\n]\n",
        "  [ {\"a\":1}\n,{\"a\":2},{\"a\":3} ]  ",
    ] {
        assert_eq!(rows(&lines(data)), expected, "{data}");
    }
    assert_eq!(rows(&lines("[]")), Vec::<Value>::new());
    // A value that is no object is a row without fields.
    assert_eq!(rows(&lines("1\n[1,2]\nnull\n\"x\"")), vec![json!({"a": null}); 4]);
}

#[test]
fn a_broken_record_among_spread_ones_ends_the_spreading() {
    let notes = Notes::allowing(usize::MAX);
    let data = "{\n\"a\":1\n}\nnonsense\n{\"a\":2}\n{\n\"a\":3\n}\n{\"a\":4}";
    let rows = read(&lines(data), &notes).unwrap();
    // From then on lines are records as they are for Druid: `"a":3` is a text with something behind it.
    assert_eq!(
        rows,
        [json!({"a": 1}), json!({"a": 2}), json!({"a": null}), json!({"a": 4})]
    );
    assert_eq!(
        notes.messages(),
        [
            "Unable to parse row [nonsense] (Record: 2, Line: 4)",
            "Unable to parse row [{] (Record: 3, Line: 6)",
            "Unable to parse row [}] (Record: 4, Line: 8)"
        ]
    );
}

#[test]
fn an_array_that_never_ends() {
    let notes = Notes::allowing(usize::MAX);
    let rows = read(&lines("[{\"a\":1},\n{\"a\":2},\n{\"a\":3"), &notes).unwrap();
    assert_eq!(rows, [json!({"a": 1}), json!({"a": 2})]);
    assert_eq!(
        notes.messages(),
        ["Unable to parse row [{\"a\":3] (Record: 3, Line: 3)"]
    );
}

#[test]
fn a_row_too_long_is_an_error_that_says_what_to_do() {
    let spec = lines(&format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}\n", "x".repeat(1_000)));
    let mut options = ReadOptions::all(&spec);
    options.max_row_bytes = 500;
    let splits = spec.splits(&SplitLimits::default()).unwrap();
    let error = read_all(&spec, &splits, &options, Notes::allowing(9)).unwrap_err();
    assert_eq!(error.kind(), InputErrorKind::Limit);
    assert!(
        error.to_string().contains("line 2") && error.to_string().contains("limit of 500"),
        "{error}"
    );
}

#[test]
fn csv_rows() {
    let format = json!({"type": "csv", "columns": ["a", "b", "c"]});
    let spec = inline(
        "1,x,2.5\n2,\"\",\n3\n4,\"u,v\",1,extra\n\n\"x\ny\"",
        format,
        &["b:string", "a:long", "c:double", "z:string"],
    );
    assert_eq!(
        rows(&spec),
        [
            json!({"a": 1, "b": "x", "c": 2.5, "z": null}),
            json!({"a": 2, "b": "", "c": null, "z": null}),
            json!({"a": 3, "b": null, "c": null, "z": null}),
            json!({"a": 4, "b": "u,v", "c": 1.0, "z": null}),
            json!({"a": null, "b": null, "c": null, "z": null}),
            // A line end within quotes ends the record, so these are two rows.
            json!({"a": null, "b": null, "c": null, "z": null}),
            json!({"a": null, "b": null, "c": null, "z": null}),
        ]
    );
}

#[test]
fn headers() {
    let data = "skipped\n\"b\",a,\nx,1,u\ny,2,v\n";
    let format = json!({"type": "csv", "findColumnsFromHeader": true, "skipHeaderRows": 1});
    let spec = inline(data, format.clone(), &["a:long", "b:string", "column_3:string"]);
    assert_eq!(
        rows(&spec),
        [
            json!({"a": 1, "b": "x", "column_3": "u"}),
            json!({"a": 2, "b": "y", "column_3": "v"})
        ]
    );
    let names: Vec<String> = sample_schema(&spec)
        .unwrap()
        .into_iter()
        .map(|c| format!("{}:{}", c.name, c.column_type))
        .collect();
    assert_eq!(names, ["b:STRING", "a:STRING", "column_3:STRING"]);
    let error = read(&inline("s\na,b,a\n1,2,3", format, &["a:long"]), &Notes::allowing(9)).unwrap_err();
    assert_eq!(error.kind(), InputErrorKind::BadRow);
    assert_eq!(error.to_string(), "Duplicate column entries found : [a]");
}

#[test]
fn tsv_has_no_quotes() {
    let format = json!({"type": "tsv", "columns": ["a", "b"], "listDelimiter": "|"});
    let spec = inline("\"x\t1|2\n\t\"\"", format, &["a:string", "b:string"]);
    assert_eq!(
        rows(&spec),
        [
            json!({"a": "\"x", "b": "[\"1\",\"2\"]"}),
            json!({"a": null, "b": "\"\""})
        ]
    );
}

#[test]
fn lines_format_and_system_fields() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    std::fs::write(&path, "one\ntwo\n").unwrap();
    let source = json!({"type": "local", "files": [path], "systemFields": ["__file_path", "__file_uri"]});
    let spec = spec(
        source,
        json!({"type": "lines"}),
        &["__file_path:string", "line:string", "other:long", "__file_uri:string"],
    );
    let path = path.to_str().unwrap();
    let row =
        |line: &str| json!({"__file_path": path, "line": line, "other": null, "__file_uri": format!("file:{path}")});
    assert_eq!(rows(&spec), [row("one"), row("two")]);
}

#[test]
fn files_that_are_missing_or_empty_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (here, empty) = (dir.path().join("a.json"), dir.path().join("b.json"));
    std::fs::write(&here, "{\"a\":1}\n").unwrap();
    std::fs::write(&empty, "").unwrap();
    let source = json!({"type": "local", "files": [dir.path().join("absent.json"), here, empty]});
    let spec = spec(source, json!({"type": "json"}), &["a:long"]);
    let notes = Notes::allowing(0);
    assert_eq!(read(&spec, &notes).unwrap(), [json!({"a": 1})]);
    assert_eq!(notes.counts(), (1, 8, 1));
}

#[test]
fn samples() {
    let data = r#"{"i":1,"d":1,"s":"x","n":null,"l":[1],"o":{"x":1},"m":"1","b":true}
        {"i":2,"d":1.5,"s":"y","n":null,"l":[2.5,null],"o":{},"m":1,"b":false,"late":[["x"]]}"#;
    let spec = inline(data, json!({"type": "json"}), &[]);
    let columns = sample_schema(&spec).unwrap();
    let text: Vec<String> = columns
        .iter()
        .map(|c| format!("{}:{}", c.name, c.column_type))
        .collect();
    assert_eq!(
        text,
        [
            "i:LONG",
            "d:DOUBLE",
            "s:STRING",
            "n:STRING",
            "l:ARRAY<DOUBLE>",
            "o:COMPLEX<json>",
            "m:STRING",
            "b:STRING",
            "late:COMPLEX<json>"
        ]
    );
    let read = rows(&spec.with_columns(columns));
    assert_eq!(read[1]["l"], json!([2.5, null]));
    assert_eq!(read[1]["o"], json!("{}"));

    let flatten = json!({"useFieldDiscovery": false, "fields": [{"type": "path", "name": "x", "expr": "$.o.x"}]});
    let spec = inline(data, json!({"type": "json", "flattenSpec": flatten}), &[]);
    let columns = sample_schema(&spec).unwrap();
    assert_eq!(format!("{}:{}", columns[0].name, columns[0].column_type), "x:LONG");
    assert_eq!(columns.len(), 1);

    let format = json!({"type": "csv", "columns": ["a", "b", "c"], "tryParseNumbers": true});
    let columns = sample_schema(&inline("1,2,x\n3,4.5,\n", format, &[])).unwrap();
    let text: Vec<String> = columns
        .iter()
        .map(|c| format!("{}:{}", c.name, c.column_type))
        .collect();
    assert_eq!(text, ["a:LONG", "b:DOUBLE", "c:STRING"]);
}
