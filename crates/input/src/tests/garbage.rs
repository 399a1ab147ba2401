//! Random bytes never panic and never hang, whatever the format says they are.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::sample_schema;

fn formats() -> Vec<Value> {
    let flatten = json!({"fields": [{"type": "path", "name": "a", "expr": "$.a.b[*]"}, {"type": "path", "name": "b", "expr": "$"}]});
    vec![
        json!({"type": "json"}),
        json!({"type": "json", "flattenSpec": flatten}),
        json!({"type": "csv", "columns": ["a", "b", "c"]}),
        json!({"type": "csv", "findColumnsFromHeader": true}),
        json!({"type": "tsv", "delimiter": ";", "columns": ["a"], "listDelimiter": "|", "tryParseNumbers": true}),
        json!({"type": "lines"}),
        json!({"type": "parquet"}),
    ]
}

fn try_everything(name: &str, data: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, data).unwrap();
    for format in formats() {
        let columns = [
            "a:long",
            "b:string",
            "c:double",
            "line:string",
            "d:ARRAY<STRING>",
            "e:COMPLEX<json>",
        ];
        let mut spec = local(&path, format, &columns);
        let _ = sample_schema(&spec);
        let _ = spec.mark_multi_values();
        for split_bytes in [7, 1 << 20] {
            let limits = SplitLimits {
                split_bytes,
                min_split_bytes: 1,
                ..SplitLimits::default()
            };
            if let Ok(splits) = spec.splits(&limits) {
                let _ = read_splits(&spec, &splits, &Notes::allowing(usize::MAX));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_bytes(data in proptest::collection::vec(any::<u8>(), 0..300), name in proptest::sample::select(vec!["a", "a.gz", "a.zst", "a.bz2", "a.xz", "a.zip"])) {
        try_everything(name, &data);
    }

    #[test]
    fn bytes_that_look_like_something(text in "[{}\\[\\]\":,\\\\abue01. \n\r\t;|\u{1}é-]{0,200}") {
        try_everything("a", text.as_bytes());
    }

    #[test]
    fn random_specs(source in "[{}\\[\\]\":,typelocafisnhu]{0,40}", path in "[$.\\[\\]'\"*a-c0-9-]{0,12}") {
        let _ = ExternSpec::parse(&source, &source, Some(&source));
        let fields = json!([{"type": "path", "name": "a", "expr": path}, {"type": "jq", "name": "b", "expr": path}]);
        let format = json!({"type": "json", "flattenSpec": {"fields": fields}}).to_string();
        let _ = ExternSpec::parse(r#"{"type":"inline","data":"1"}"#, &format, None);
    }
}
