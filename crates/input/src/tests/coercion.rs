//! From parsed field to typed column: section 15 of the dialect, case by case.

use serde_json::json;

use super::*;
use crate::InputErrorKind;

/// Reads one JSON value as a column of a type.
fn read_as(value: &str, kind: &str) -> Value {
    let column = format!("v:{kind}");
    let spec = inline(&format!("{{\"v\":{value}}}"), json!({"type": "json"}), &[&column]);
    rows(&spec)[0]["v"].clone()
}

#[test]
fn strings() {
    for (value, expected) in [
        ("\"x\"", json!("x")),
        ("\"\"", json!("")),
        ("null", json!(null)),
        ("1", json!("1")),
        ("-0", json!("0")),
        ("1.50", json!("1.5")),
        ("1e10", json!("1.0E10")),
        ("12345678901234567890", json!("1.2345678901234567E19")),
        ("true", json!("true")),
        ("false", json!("false")),
        ("[]", json!(null)),
        ("[\"a\"]", json!("a")),
        ("[null]", json!(null)),
        (
            "[\"a\",\"b\\\"c\",1,2.0,true,null]",
            json!("[\"a\",\"b\\\"c\",\"1\",\"2.0\",\"true\",null]"),
        ),
        ("{\"x\":5}", json!("{x=5}")),
        ("{\"x\":{\"y\":[1,\"z\"]},\"n\":null}", json!("{x={y=[1, z]}, n=null}")),
        ("[1,{\"y\":2}]", json!("[\"1\",\"{y=2}\"]")),
        (r#""a\n\u00e9\ud83d\ude00\"\\\/""#, json!("a\né😀\"\\/")),
        (r#""\ud83dx""#, json!("?x")),
    ] {
        assert_eq!(read_as(value, "string"), expected, "{value}");
    }
}

#[test]
fn numbers() {
    for (value, long, double) in [
        ("5", json!(5), json!(5.0)),
        ("5.9", json!(5), json!(5.9)),
        ("-5.9", json!(-5), json!(-5.9)),
        ("1e3", json!(1000), json!(1000.0)),
        ("9223372036854775807", json!(i64::MAX), json!(i64::MAX as f64)),
        ("99999999999999999999", json!(i64::MAX), json!(1e20)),
        ("\"12\"", json!(12), json!(12.0)),
        ("\" +1,234.5 \"", json!(1234), json!(1234.5)),
        ("\"abc\"", json!(null), json!(null)),
        ("\"\"", json!(null), json!(null)),
        ("null", json!(null), json!(null)),
        ("true", json!(null), json!(null)),
        ("[1]", json!(null), json!(null)),
        ("{\"x\":1}", json!(null), json!(null)),
    ] {
        assert_eq!(read_as(value, "long"), long, "{value}");
        assert_eq!(read_as(value, "double"), double, "{value}");
    }
    assert_eq!(read_as("0.1", "float"), json!(0.1));
    assert_eq!(read_as("\"2.5\"", "float"), json!(2.5));
}

#[test]
fn arrays() {
    for (value, kind, expected) in [
        ("[\"4\",5.5]", "ARRAY<LONG>", json!([4, 5])),
        ("[\"4\",5.5,null]", "ARRAY<STRING>", json!(["4", "5.5", null])),
        ("[1,\"x\"]", "ARRAY<DOUBLE>", json!([1.0, null])),
        ("[]", "ARRAY<LONG>", json!([])),
        ("7", "ARRAY<LONG>", json!([7])),
        ("\"7\"", "ARRAY<STRING>", json!(["7"])),
        ("null", "ARRAY<STRING>", json!(null)),
        ("[[1,2],{\"a\":1}]", "ARRAY<STRING>", json!(["[1, 2]", "{a=1}"])),
    ] {
        assert_eq!(read_as(value, kind), expected, "{value}");
    }
    let spec = inline("{\"v\":{\"x\":1}}", json!({"type": "json"}), &["v:ARRAY<STRING>"]);
    let error = read(&spec, &Notes::allowing(9)).unwrap_err();
    assert_eq!(error.kind(), InputErrorKind::InvalidField);
    assert!(
        error
            .to_string()
            .starts_with("Invalid type, cannot cast [COMPLEX<json>] to [ARRAY<STRING>]")
    );
    assert!(error.to_string().contains("column [v], inline data, line 1"), "{error}");
}

#[test]
fn complex_is_kept_as_it_is() {
    for value in ["{\"x\":[1,2.50]}", "[1]", "\"t\\u00e9\"", "1.50", "true"] {
        assert_eq!(read_as(value, "COMPLEX<json>"), json!(value), "{value}");
    }
    assert_eq!(read_as("null", "COMPLEX<json>"), json!(null));
}

#[test]
fn names_and_duplicates() {
    let data = "{\"a\":1,\"A\":2,\"a\":3,\"\\u0062\":4}\n{}\n{\"b\":5,\"x\":{\"a\":[{}]},\"a\":null}";
    let spec = inline(data, json!({"type": "json"}), &["a:long", "A:long", "b:long"]);
    assert_eq!(
        rows(&spec),
        [
            json!({"a": 3, "A": 2, "b": 4}),
            json!({"a": null, "A": null, "b": null}),
            json!({"a": null, "A": null, "b": 5})
        ]
    );
}

#[test]
fn projections() {
    let spec = inline(
        "{\"a\":1,\"b\":2}\n{\"b\":3}",
        json!({"type": "json"}),
        &["a:long", "b:long"],
    );
    let splits = spec.splits(&SplitLimits::default()).unwrap();
    let read = |projection: Vec<usize>| {
        read_all(&spec, &splits, &ReadOptions::projected(projection), Notes::allowing(0)).unwrap()
    };
    assert_eq!(to_json(&read(vec![1])), [json!({"b": 2}), json!({"b": 3})]);
    let none = read(vec![]);
    assert_eq!((none[0].num_rows(), none[0].num_columns()), (2, 0));
    assert!(read_all(&spec, &splits, &ReadOptions::projected(vec![2]), Notes::allowing(0)).is_err());
}

#[test]
fn multi_values() {
    let data = "{\"s\":[\"a\",null,1],\"t\":\"x\"}\n{\"s\":\"b\",\"t\":null}\n{\"s\":[],\"t\":\"y\"}\n{\"s\":null}\n{\"s\":{\"x\":1}}";
    let mut spec = inline(data, json!({"type": "json"}), &["s:string", "t:string"]);
    spec.mark_multi_values().unwrap();
    assert_eq!(
        spec.columns.iter().map(|c| c.multi_value).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(
        spec.arrow_schema().field(0).metadata()[crate::TYPE_METADATA],
        crate::MULTI_VALUE
    );
    let values: Vec<Value> = rows(&spec).iter().map(|row| row["s"].clone()).collect();
    assert_eq!(
        values,
        [
            json!(["a", null, "1"]),
            json!(["b"]),
            json!(null),
            json!(null),
            json!(["{x=1}"])
        ]
    );

    let mut csv = inline(
        "a|b,1\nc,2",
        json!({"type": "csv", "columns": ["s", "n"], "listDelimiter": "|"}),
        &["s:string", "n:string"],
    );
    csv.mark_multi_values().unwrap();
    assert_eq!(rows(&csv)[0]["s"], json!(["a", "b"]));
}

#[test]
fn paths() {
    let data = r#"{"a":{"b":[{"c":1},{"c":"x"}]},"m":{"x":1,"y":2},"n":null,"k":7}"#;
    let fields = json!([
        {"type": "path", "name": "first", "expr": "$.a.b[0].c"},
        {"type": "path", "name": "last", "expr": "$['a']['b'][-1].c"},
        {"type": "path", "name": "all", "expr": "$.a.b[*].c"},
        {"type": "path", "name": "values", "expr": "$.m.*"},
        {"type": "path", "name": "missing", "expr": "$.a.z[3]"},
        {"type": "path", "name": "whole", "expr": "$"},
        {"type": "jq", "name": "jq", "expr": ".a.b[1].c"},
        {"type": "tree", "name": "tree", "nodes": ["m", "y"]},
        {"type": "root", "name": "renamed", "expr": "k"},
    ]);
    let columns = [
        "first:long",
        "last:string",
        "all:ARRAY<STRING>",
        "values:ARRAY<LONG>",
        "missing:string",
        "whole:COMPLEX<json>",
        "jq:string",
        "tree:long",
        "renamed:long",
        "k:long",
        "n:string",
    ];
    for (discover, k) in [(true, json!(7)), (false, json!(null))] {
        let format = json!({"type": "json", "flattenSpec": {"useFieldDiscovery": discover, "fields": fields}});
        let row = rows(&inline(data, format, &columns)).remove(0);
        assert_eq!(
            row,
            json!({
                "first": 1, "last": "x", "all": ["1", "x"], "values": [1, 2], "missing": null, "whole": data, "jq": "x", "tree": 2,
                "renamed": 7, "k": k, "n": null
            })
        );
    }
}

#[test]
fn parser_features() {
    let columns = ["a:string", "b:double"];
    let data = "{\"a\":\"x\ty\",\"b\":NaN}";
    let strict = inline(data, json!({"type": "json"}), &columns);
    assert!(read(&strict, &Notes::allowing(0)).is_err());
    let features =
        json!({"ALLOW_UNQUOTED_CONTROL_CHARS": true, "ALLOW_NON_NUMERIC_NUMBERS": true, "ALLOW_COMMENTS": false});
    let lenient = inline(data, json!({"type": "json", "featureSpec": features}), &columns);
    assert_eq!(rows(&lenient)[0]["a"], json!("x\ty"));
    let unknown = json!({"type": "json", "featureSpec": {"ALLOW_COMMENTS": true}}).to_string();
    let error = ExternSpec::parse(r#"{"type":"inline","data":"1"}"#, &unknown, None).unwrap_err();
    assert_eq!(error.kind(), InputErrorKind::Unsupported);
}
