//! JSON, "auto" columns, pairs and objects: what went in must come out, in any form that it may be stored in.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};
use henge_segment::{
    AutoSpec, BitmapKind, ColumnSchema, ColumnType, Compression, IndexSpec, LongEncoding, MetricSchema, RowSelection,
    Segment, SegmentSchema, SegmentWriter, StringEncoding, dump,
};
use henge_time::Interval;
use proptest::prelude::*;
use serde_json::{Value, json};

const DAY: Interval = Interval {
    start_ms: 1_704_067_200_000,
    end_ms: 1_704_153_600_000,
};

/// Writes columns in two batches.
pub fn write(dir: &Path, schema: SegmentSchema, spec: IndexSpec, columns: &[(&str, ArrayRef)]) -> Segment {
    let rows = columns[0].1.len();
    let times = Int64Array::from_iter_values((0..rows as i64).map(|i| DAY.start_ms + i));
    let all = std::iter::once(("__time", Arc::new(times) as ArrayRef)).chain(columns.iter().cloned());
    let batch = RecordBatch::try_from_iter_with_nullable(all.map(|(name, array)| (name, array, true))).unwrap();
    let mut writer = SegmentWriter::create(dir, schema, spec, DAY).unwrap();
    let half = rows / 2;
    writer.append(&batch.slice(0, half)).unwrap();
    writer.append(&batch.slice(half, rows - half)).unwrap();
    assert!(writer.memory_bytes() > 0);
    writer.finish().unwrap();
    Segment::open(dir).unwrap()
}

fn json_schema(auto: bool) -> SegmentSchema {
    let mut schema = SegmentSchema::new(vec![ColumnSchema::new("j", ColumnType::Complex("json".into()))]);
    if auto {
        schema.auto.insert("j".into());
    }
    schema
}

fn write_json(dir: &Path, texts: &[Option<&str>], auto: bool, spec: IndexSpec) -> Segment {
    let array: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    write(dir, json_schema(auto), spec, &[("j", array)])
}

/// Reads a column as JSON values, whatever its type.
fn values(segment: &Segment, column: &str) -> Vec<Value> {
    let mut printed = Vec::new();
    dump::rows(segment, &mut printed).unwrap();
    let lines = String::from_utf8(printed).unwrap();
    let rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|mut row| row[column].take()).collect()
}

/// JSON values with every trap: odd keys, mixed types, arrays of anything, empty things, extreme numbers.
pub const TRAPS: &[Option<&str>] = &[
    None,
    Some("null"),
    Some("{}"),
    Some("[]"),
    Some(r#"{"a":1,"b":{"c":"text","d":0.5},"n":null}"#),
    Some(r#"{"a":"text","b":{"c":null},"arr":[1,2,3],"sarr":["x",null,"y"],"darr":[0.5,1]}"#),
    Some(r#"{"a":1.5,"arr":[],"objs":[{"k":"v","n":5},{"k":"w"},"loose",[1,2]]}"#),
    Some(r#"{"a":true,"flag":false,"mixed":["a",1,2.5,true,null],"onlynull":[null,null]}"#),
    Some(r#"{"x.y":1,"q'q":2,"br[0]":3,"":"empty key","sp ace":4,"é":"ü","dq\"":5,"\u0001":"\u0000"}"#),
    Some(r#"{"a":-9223372036854775808,"b":{"d":9223372036854775807},"big":1.2345678901234567e29,"tiny":5e-324}"#),
    Some(r#"{"deep":{"e1":{"e2":{"e3":[[1,2],[3]],"":{"":[]}}}},"darr":[1,2],"only":3}"#),
    Some(r#"{"\uff61":1,"\ud800\udc00":2,"scalar or array":1,"arr":["a"]}"#),
    Some(r#"{"scalar or array":[],"only":4}"#),
    Some(r#""a string at the root""#),
    Some("17"),
    Some("2.5"),
    Some("[1,null,3]"),
];

#[test]
fn json_comes_back() {
    for spec in specs() {
        let dir = tempfile::tempdir().unwrap();
        let segment = write_json(dir.path(), TRAPS, false, spec.clone());
        let info = segment.column("j").unwrap();
        assert_eq!(info.column_type, ColumnType::Complex("json".into()));
        if spec.json_compression.is_none() {
            continue;
        }
        let expected: Vec<Value> = TRAPS
            .iter()
            .map(|text| text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap()))
            .collect();
        assert_eq!(values(&segment, "j"), expected);
        let nulls = segment.null_bitmap("j").unwrap().unwrap();
        assert_eq!(nulls.iter().collect::<Vec<_>>(), [0, 1]);
    }
}

/// Settings that each change what is written of nested columns.
fn specs() -> Vec<IndexSpec> {
    let default = IndexSpec::default();
    vec![
        default.clone(),
        IndexSpec {
            bitmap: BitmapKind::Concise,
            dimension_compression: Compression::Uncompressed,
            metric_compression: Compression::None,
            json_compression: Some(Compression::Uncompressed),
            complex_compression: Some(Compression::Uncompressed),
            ..default.clone()
        },
        IndexSpec {
            dimension_compression: Compression::Zstd,
            metric_compression: Compression::Zstd,
            json_compression: Some(Compression::Zstd),
            complex_compression: Some(Compression::Zstd),
            long_encoding: LongEncoding::Longs,
            string_encoding: StringEncoding::FrontCoded {
                bucket_size: 8,
                version: 1,
            },
            ..default.clone()
        },
        IndexSpec {
            json_compression: None,
            complex_compression: Some(Compression::Lz4),
            string_encoding: StringEncoding::FrontCoded {
                bucket_size: 1,
                version: 0,
            },
            ..default.clone()
        },
        IndexSpec {
            dimension_compression: Compression::Lzf,
            metric_compression: Compression::Lzf,
            json_compression: Some(Compression::Lzf),
            complex_compression: Some(Compression::Lzf),
            auto: AutoSpec {
                string_encoding: Some(StringEncoding::FrontCoded {
                    bucket_size: 2,
                    version: 1,
                }),
                field_encoding: StringEncoding::FrontCoded {
                    bucket_size: 4,
                    version: 1,
                },
                id_compression: Some(Compression::Uncompressed),
                long_encoding: Some(LongEncoding::Longs),
                long_compression: Some(Compression::None),
                double_compression: Some(Compression::Zstd),
                long_null_index: true,
                double_null_index: true,
            },
            ..default
        },
    ]
}

#[test]
fn values_are_put_together_from_their_fields() {
    let spec = IndexSpec {
        json_compression: None,
        ..IndexSpec::default()
    };
    let texts = [
        Some(r#"{"a":1,"b":{"c":"x","d":[1,2]}}"#),
        None,
        Some(r#"{"a":"y","b":{"c":"z"}}"#),
        Some("{}"),
        Some(r#"{"l":[{"k":1},{"k":2.5}]}"#),
    ];
    let dir = tempfile::tempdir().unwrap();
    let segment = write_json(dir.path(), &texts, false, spec);
    let expected: Vec<Value> = texts
        .iter()
        .map(|text| text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap()))
        .collect();
    assert_eq!(values(&segment, "j"), expected);
}

#[test]
fn auto_columns_take_the_narrowest_form() {
    let cases: &[(&[Option<&str>], &str, Value)] = &[
        (&[None, None], "STRING", json!([null, null])),
        (&[Some("\"a\""), None], "STRING", json!(["a", null])),
        (&[Some("1"), Some("true"), None], "LONG", json!([1, 1, null])),
        (&[Some("1.5"), Some("-0.0")], "DOUBLE", json!([1.5, -0.0])),
        (&[Some("1"), Some("1.5")], "DOUBLE", json!([1, 1.5])),
        (&[Some("1"), Some("\"a\"")], "STRING", json!([1, "a"])),
        (&[Some("[1]"), Some("[]"), None], "ARRAY<LONG>", json!([[1], [], null])),
        (&[Some("[1]"), Some("[1.5]")], "ARRAY<DOUBLE>", json!([[1], [1.5]])),
        (&[Some("1"), Some("[]")], "ARRAY<LONG>", json!([1, []])),
        (&[Some("[null]"), Some("[]")], "ARRAY<LONG>", json!([[null], []])),
        (
            &[Some("[1,\"a\",2.5]"), Some("7")],
            "ARRAY<STRING>",
            json!([["1", "a", "2.5"], 7]),
        ),
        (&[Some("{}"), Some("7")], "COMPLEX<json>", json!([{}, 7])),
        (&[Some("[[1],[2]]"), None], "COMPLEX<json>", json!([[[1], [2]], null])),
    ];
    for spec in specs().into_iter().filter(|spec| spec.json_compression.is_some()) {
        for (texts, column_type, expected) in cases {
            let dir = tempfile::tempdir().unwrap();
            let segment = write_json(dir.path(), texts, true, spec.clone());
            let info = segment.column("j").unwrap();
            assert!(info.is_auto);
            assert_eq!(info.column_type.to_string(), *column_type, "{texts:?}");
            assert_eq!(Value::Array(values(&segment, "j")), *expected, "{texts:?}");
        }
    }
}

#[test]
fn auto_scalars_come_back() {
    let strings = StringArray::from(vec![
        Some("b"),
        None,
        Some(""),
        Some("b"),
        Some("\u{10000}"),
        Some("\u{ff61}"),
    ]);
    let longs = Int64Array::from(vec![Some(i64::MIN), None, Some(0), Some(i64::MAX), Some(-1), Some(0)]);
    let doubles = Float64Array::from(vec![
        Some(-0.0),
        None,
        Some(0.0),
        Some(f64::MAX),
        Some(5e-324),
        Some(0.1),
    ]);
    let full = Int64Array::from_iter_values(0..6);
    let columns: [(&str, ArrayRef); 4] = [
        ("s", Arc::new(strings)),
        ("l", Arc::new(longs)),
        ("d", Arc::new(doubles)),
        ("full", Arc::new(full)),
    ];
    for spec in specs() {
        let types = [
            ColumnType::STRING,
            ColumnType::LONG,
            ColumnType::DOUBLE,
            ColumnType::LONG,
        ];
        let mut schema = SegmentSchema::default();
        for ((name, _), column_type) in columns.iter().zip(types) {
            schema.columns.push(ColumnSchema::new(*name, column_type));
            schema.auto.insert((*name).to_owned());
        }
        let dir = tempfile::tempdir().unwrap();
        let segment = write(dir.path(), schema, spec, &columns);
        for (name, array) in &columns {
            let found = segment.read(name, RowSelection::All).unwrap();
            let found = match found.data_type() {
                DataType::Dictionary(_, _) => arrow::compute::cast(&found, &DataType::Utf8).unwrap(),
                _ => found,
            };
            assert_eq!(&found, array, "{name}");
            assert_eq!(
                segment.column(name).unwrap().has_nulls,
                array.null_count() > 0,
                "{name}"
            );
        }
        let dictionary = segment.dictionary("s").unwrap();
        let id = dictionary.lookup("b").unwrap().unwrap();
        let rows = segment.bitmap("s", id).unwrap().unwrap();
        assert_eq!(rows.iter().collect::<Vec<_>>(), [0, 3]);
    }
}

/// Pairs of every type: (name, type, array).
pub fn pair_columns(rows: usize) -> Vec<(&'static str, &'static str, ArrayRef)> {
    let time = |i: usize| (!i.is_multiple_of(7)).then(|| DAY.start_ms + i as i64 * 1000);
    let times: ArrayRef = Arc::new(Int64Array::from_iter((0..rows).map(time)));
    let far: ArrayRef =
        Arc::new(Int64Array::from_iter((0..rows).map(|i| {
            (i % 7 != 0).then_some(if i % 2 == 0 { i64::MIN / 2 } else { i64::MAX / 2 + 1 })
        })));
    let nulls = NullBuffer::from_iter((0..rows).map(|i| i % 7 != 0));
    let pair = |times: &ArrayRef, values: ArrayRef| -> ArrayRef {
        let fields = vec![
            Field::new("lhs", DataType::Int64, true),
            Field::new("rhs", values.data_type().clone(), true),
        ];
        Arc::new(StructArray::new(
            fields.into(),
            vec![Arc::clone(times), values],
            Some(nulls.clone()),
        ))
    };
    let present = |i: usize| !i.is_multiple_of(7) && !i.is_multiple_of(5);
    let texts = (0..rows).map(|i| present(i).then(|| format!("text {}", i % 13)));
    let longs = || Int64Array::from_iter((0..rows).map(|i| present(i).then_some(i as i64 * 1_000_003)));
    let doubles = Float64Array::from_iter((0..rows).map(|i| present(i).then_some(i as f64 / 3.0)));
    let floats = Float32Array::from_iter((0..rows).map(|i| present(i).then_some(i as f32 / 3.0)));
    vec![
        (
            "p_string",
            "serializablePairLongString",
            pair(&times, Arc::new(StringArray::from_iter(texts))),
        ),
        ("p_long", "serializablePairLongLong", pair(&times, Arc::new(longs()))),
        ("p_far", "serializablePairLongLong", pair(&far, Arc::new(longs()))),
        (
            "p_double",
            "serializablePairLongDouble",
            pair(&times, Arc::new(doubles)),
        ),
        ("p_float", "serializablePairLongFloat", pair(&times, Arc::new(floats))),
    ]
}

/// Writes pairs of every type, one column of nulls among them.
pub fn write_pairs(dir: &Path, rows: usize, spec: IndexSpec) -> Segment {
    let mut schema = SegmentSchema::default();
    let columns = pair_columns(rows);
    for (name, type_name, _) in &columns {
        schema.metrics.push(metric(name, type_name));
    }
    schema.metrics.push(metric("p_null", "serializablePairLongDouble"));
    let arrays: Vec<_> = columns.into_iter().map(|(name, _, array)| (name, array)).collect();
    write(dir, schema, spec, &arrays)
}

fn metric(name: &str, type_name: &str) -> MetricSchema {
    MetricSchema::passthrough(ColumnSchema::new(name, ColumnType::Complex(type_name.to_owned())))
}

#[test]
fn pairs_come_back() {
    for rows in [1, 2, 8, 500, 20_000] {
        let dir = tempfile::tempdir().unwrap();
        let segment = write_pairs(dir.path(), rows, IndexSpec::default());
        for (name, _, expected) in pair_columns(rows) {
            let found = segment.read(name, RowSelection::All).unwrap();
            assert_eq!(found.as_struct(), expected.as_struct(), "{name} of {rows} rows");
        }
        let none = segment.read("p_null", RowSelection::All).unwrap();
        assert_eq!(none.null_count(), rows);
    }
}

#[test]
fn objects_come_back_compressed_or_not() {
    let long = vec![7u8; 200_000];
    let values: Vec<Option<&[u8]>> = vec![Some(b"abc"), None, Some(b""), Some(&long), Some(b"x")];
    let array: ArrayRef = Arc::new(BinaryArray::from_opt_vec(values.clone()));
    // No bytes are no HLL sketch to Druid.
    let sketches = values.iter().map(|value| value.filter(|bytes| !bytes.is_empty()));
    let sketches: ArrayRef = Arc::new(sketches.collect::<BinaryArray>());
    for spec in specs() {
        let mut schema = SegmentSchema::default();
        schema.metrics.push(metric("o", "HLLSketchBuild"));
        schema.metrics.push(metric("unknown \"type\"", "no such type"));
        let dir = tempfile::tempdir().unwrap();
        let columns = [("o", Arc::clone(&array)), ("unknown \"type\"", Arc::clone(&array))];
        let segment = write(dir.path(), schema, spec, &columns);
        for (name, expected) in [("o", &sketches), ("unknown \"type\"", &array)] {
            assert_eq!(&segment.read(name, RowSelection::All).unwrap(), expected, "{name}");
        }
        let stored = &segment.column("o").unwrap().column_type;
        assert_eq!(stored, &ColumnType::Complex("HLLSketch".into()), "the serde's name");
    }
}

#[test]
fn objects_are_taken_as_base64_too() {
    let mut schema = SegmentSchema::default();
    schema.metrics.push(metric("o", "thetaSketch"));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("YWJj"), None, Some("AQMDAAAezJM=")]));
    let dir = tempfile::tempdir().unwrap();
    let segment = write(dir.path(), schema.clone(), IndexSpec::default(), &[("o", texts)]);
    let found = segment.read("o", RowSelection::All).unwrap();
    assert_eq!(
        found.as_binary::<i32>().iter().collect::<Vec<_>>(),
        [Some(&b"abc"[..]), None, Some(b"")]
    );
    let mut writer = SegmentWriter::create(dir.path(), schema, IndexSpec::default(), DAY).unwrap();
    let wrong = RecordBatch::try_from_iter([
        ("__time", Arc::new(Int64Array::from(vec![0])) as ArrayRef),
        ("o", Arc::new(StringArray::from(vec!["?"])) as ArrayRef),
    ]);
    assert!(writer.append(&wrong.unwrap()).is_err());
}

#[test]
fn what_is_no_json_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(dir.path(), json_schema(false), IndexSpec::default(), DAY).unwrap();
    let batch = RecordBatch::try_from_iter([
        ("__time", Arc::new(Int64Array::from(vec![0, 0])) as ArrayRef),
        ("j", Arc::new(StringArray::from(vec!["1", "{\"a\":"])) as ArrayRef),
    ]);
    let error = writer.append(&batch.unwrap()).unwrap_err().to_string();
    assert!(error.contains("row 1 of column [j]"), "{error}");
}

/// JSON values of a few keys, so that fields meet in rows. Doubles are such that the parser of the test reads them exactly.
fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![any::<i64>(), -3i64..40].prop_map(Value::from),
        prop_oneof![
            (-1_000_000i32..1_000_000).prop_map(|n| f64::from(n) / 1024.0),
            Just(0.1),
            Just(1e300)
        ]
        .prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
        "[\u{0}-\u{ffff}\u{10000}-\u{10ffff}]{0,80}".prop_map(Value::from),
    ];
    let key = prop_oneof![4 => "[a-d]", 1 => Just(String::new()), 1 => "[a.\\[\\]'\"\u{e000}\u{10000}]{1,3}"];
    scalar.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn random_json_comes_back(
        rows in proptest::collection::vec(proptest::option::of(value()), 1..40),
        which in 0usize..3,
        auto in any::<bool>(),
    ) {
        let texts: Vec<Option<String>> = rows.iter().map(|v| v.as_ref().map(Value::to_string)).collect();
        let texts: Vec<Option<&str>> = texts.iter().map(|text| text.as_deref()).collect();
        let dir = tempfile::tempdir().unwrap();
        let segment = write_json(dir.path(), &texts, auto, specs()[which].clone());
        let found = values(&segment, "j");
        if segment.column("j").unwrap().column_type == ColumnType::Complex("json".into()) {
            let expected: Vec<Value> = rows.iter().map(|v| v.clone().unwrap_or_default()).collect();
            prop_assert_eq!(&found, &expected);
        }
        let nulls = segment.null_bitmap("j").unwrap().unwrap();
        let expected = rows.iter().enumerate().filter(|(_, v)| v.as_ref().is_none_or(Value::is_null));
        prop_assert!(nulls.iter().eq(expected.map(|(row, _)| row as u32)));
        // The same values give the same bytes.
        let again = tempfile::tempdir().unwrap();
        write_json(again.path(), &texts, auto, specs()[which].clone());
        for file in ["00000.smoosh", "meta.smoosh"] {
            prop_assert_eq!(std::fs::read(dir.path().join(file)).unwrap(), std::fs::read(again.path().join(file)).unwrap());
        }
    }
}
