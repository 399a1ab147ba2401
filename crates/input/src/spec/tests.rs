use super::*;
use crate::error::InputErrorKind;

const INLINE: &str = r#"{"type":"inline","data":"1"}"#;
const JSON: &str = r#"{"type":"json"}"#;

fn error(source: &str, format: &str, signature: Option<&str>) -> InputError {
    ExternSpec::parse(source, format, signature).expect_err("must not parse")
}

const AT: &str = " at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); ";

#[test]
fn errors_are_worded_as_druid_words_them() {
    let source = |reason: &str, place: &str| {
        format!("Invalid value for the field [inputSource]. Reason: [{reason}\n{AT}{place}]]")
    };
    let cases = [
        ("", source("No content to map due to end-of-input", "line: 1")),
        (
            r#"{"type":"inline","#,
            source(
                "Unexpected end-of-input within/between Object entries",
                "line: 1, column: 18",
            ),
        ),
        (
            r#"{"type":"inline"}"#,
            source(
                "Cannot construct instance of `org.apache.druid.data.input.impl.InlineInputSource`, problem: empty data",
                "line: 1, column: 17",
            ),
        ),
        (
            r#"{"type":"nope"}"#,
            source(
                "Please make sure to load all the necessary extensions and jars with type 'nope' on 'druid/broker' service. \
                 Could not resolve type id 'nope' as a subtype of `org.apache.druid.data.input.InputSource` known type ids = \
                 [combining, http, inline, local, nil, sql]",
                "line: 1, column: 9",
            ),
        ),
        (
            r#"{"type":"local","baseDir":"/data/in"}"#,
            source(
                "Cannot construct instance of `org.apache.druid.data.input.impl.LocalInputSource`, problem: filter",
                "line: 1, column: 37",
            ),
        ),
        (
            r#"{"type":"http","uris":["file:///etc/passwd"]}"#,
            source(
                "Cannot construct instance of `org.apache.druid.data.input.impl.HttpInputSource`, problem: Only [http, https] \
                 protocols are allowed",
                "line: 1, column: 45",
            ),
        ),
    ];
    for (text, expected) in cases {
        let error = error(text, JSON, None);
        assert_eq!(error.kind(), InputErrorKind::InvalidSource);
        assert_eq!(error.to_string(), expected);
    }
    let bad_format = error(INLINE, r#"{"type":"jsonx"}"#, None);
    assert_eq!(bad_format.kind(), InputErrorKind::InvalidFormat);
    assert_eq!(
        bad_format.to_string(),
        format!(
            "Invalid value for the field [inputFormat]. Reason: [Please make sure to load all the necessary extensions and jars \
             with type 'jsonx' on 'druid/broker' service. Could not resolve type id 'jsonx' as a subtype of \
             `org.apache.druid.data.input.InputFormat` known type ids = [csv, json, lines, orc, parquet, regex, tsv]\n{AT}line: \
             1, column: 9]]"
        )
    );
    for signature in [r#"[{"name":"a"}]"#, r#"[{"name":"a","type":"widget"}]"#] {
        let error = error(INLINE, JSON, Some(signature));
        assert_eq!(error.kind(), InputErrorKind::InvalidSignature);
        assert_eq!(error.to_string(), "Encountered null type for column[a]");
    }
    let list = "java.util.ArrayList<org.apache.druid.segment.column.ColumnSignature>";
    let class = "org.apache.druid.segment.column";
    for (signature, expected) in [
        (
            "junk",
            "Unrecognized token 'junk': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')".into(),
        ),
        ("", "No content to map due to end-of-input".into()),
        (
            "{}",
            format!("Cannot deserialize value of type `{list}` from Object value (token `JsonToken.END_OBJECT`)"),
        ),
        (
            r#"[{"type":"string"}]"#,
            format!("Cannot construct instance of `{class}.ColumnSignature`, problem: Column name must be provided and non-empty"),
        ),
        (
            r#"[{"name":"a","type":"string"},{"name":"a","type":"long"}]"#,
            format!("Cannot construct instance of `{class}.RowSignature`, problem: Column[a] has conflicting types [STRING] and [LONG]"),
        ),
    ] {
        let error = error(INLINE, JSON, Some(signature));
        assert_eq!(error.kind(), InputErrorKind::InvalidSignature);
        let expected = format!("Invalid value for the field [rowSignature]. Reason: [{expected}");
        assert_eq!(error.to_string().lines().next(), Some(expected.as_str()));
    }
}

#[test]
fn what_druid_has_and_henge_has_not_is_named() {
    for name in [
        "s3",
        "google",
        "azure",
        "azureStorage",
        "hdfs",
        "sql",
        "iceberg",
        "delta",
    ] {
        let error = error(&format!(r#"{{"type":"{name}"}}"#), JSON, None);
        assert_eq!(error.kind(), InputErrorKind::Unsupported);
        assert!(
            error
                .to_string()
                .contains(&format!("input source [{name}] is not supported"))
        );
    }
    for name in ["orc", "avro_ocf", "protobuf", "regex", "kafka"] {
        let error = error(INLINE, &format!(r#"{{"type":"{name}"}}"#), None);
        assert_eq!(error.kind(), InputErrorKind::Unsupported);
        assert!(
            error
                .to_string()
                .contains(&format!("input format [{name}] is not supported"))
        );
    }
}

#[test]
fn types_and_schema() {
    let signature = r#"[{"name":"s","type":"string"},{"name":"l","type":"LONG"},{"name":"d","type":"Double"},
        {"name":"f","type":"float"},{"name":"a","type":"ARRAY<STRING>"},{"name":"j","type":"COMPLEX<json>"}]"#;
    let spec = ExternSpec::parse(INLINE, JSON, Some(signature)).unwrap();
    let types: Vec<String> = spec.columns.iter().map(|c| c.column_type.to_string()).collect();
    assert_eq!(
        types,
        ["STRING", "LONG", "DOUBLE", "FLOAT", "ARRAY<STRING>", "COMPLEX<json>"]
    );
    let schema = spec.arrow_schema();
    assert_eq!(schema.field(0).data_type(), &DataType::Utf8);
    assert_eq!(schema.field(3).data_type(), &DataType::Float32);
    assert_eq!(schema.field(5).metadata()[TYPE_METADATA], "COMPLEX<json>");
    assert!(matches!(schema.field(4).data_type(), DataType::List(item) if item.data_type() == &DataType::Utf8));
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<ExternSpec>(&text).unwrap(), spec);
    assert!(
        text.starts_with(r#"{"inputSource":{"type":"inline","data":"1"},"inputFormat":{"type":"json"},"signature":["#)
    );
    for bad in [
        "widget",
        "array<>",
        "ARRAY<widget>",
        "COMPLEX<>",
        "ARRAY<STRING",
        "",
        "é<x>",
        "<long>",
    ] {
        assert_eq!(ExternType::parse(bad), None, "{bad}");
    }
}

#[test]
fn csv_needs_columns_or_a_header() {
    let problem = |format: &str| error(INLINE, format, None).to_string();
    assert!(problem(r#"{"type":"csv"}"#).contains("Either [columns] or [findColumnsFromHeader] must be set"));
    assert!(
        problem(r#"{"type":"tsv","delimiter":"||","columns":["a"]}"#).contains("tsv delimiter [||] is not supported")
    );
    assert!(problem(r#"{"type":"csv","columns":["a,b"]}"#).contains("Column[a,b] cannot have the delimiter[,]"));
    assert!(problem(r#"{"type":"csv","columns":["a"],"listDelimiter":","}"#).contains("same delimiter"));
    let spec = ExternSpec::parse(
        INLINE,
        r#"{"type":"csv","findColumnsFromHeader":true,"skipHeaderRows":2}"#,
        None,
    )
    .unwrap();
    assert!(matches!(
        spec.format,
        InputFormat::Csv(DelimitedFormat {
            skip_header_rows: 2,
            find_columns_from_header: true,
            ..
        })
    ));
}

#[test]
fn credentials_do_not_print() {
    let source = r#"{"type":"http","uris":["https://u:secret@host/a"],"httpAuthenticationUsername":"u",
        "httpAuthenticationPassword":{"type":"default","password":"hidden"}}"#;
    let spec = ExternSpec::parse(source, JSON, None).unwrap();
    let text = format!("{:?}", spec.source);
    assert!(!text.contains("hidden") && !text.contains("secret"), "{text}");
}
