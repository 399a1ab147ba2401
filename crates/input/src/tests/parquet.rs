//! Parquet: types, nesting, row groups, dictionaries, damage.

use std::collections::HashMap;

use ::arrow::array::*;
use ::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use ::arrow::datatypes::{DataType, Field, Fields, Int32Type};
use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use serde_json::json;

use super::compressed::file;
use super::*;
use crate::{InputErrorKind, sample_schema};

fn write(batch: &RecordBatch, rows_per_group: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows_per_group))
        .build();
    let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    out
}

/// Makes a file with a column `n` of 0, 1, 2, …
pub(super) fn numbers(rows: i64, rows_per_group: usize) -> Vec<u8> {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    write(&RecordBatch::try_from_iter([("n", column)]).unwrap(), rows_per_group)
}

fn many_types() -> RecordBatch {
    let strings = || vec![Some("x"), None, Some("é")];
    let list = |items: ArrayRef| -> ArrayRef {
        let field = Arc::new(Field::new("item", items.data_type().clone(), true));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 2, 2, 3]));
        Arc::new(ListArray::new(
            field,
            offsets,
            items,
            Some(vec![true, true, false].into()),
        ))
    };
    let inner: Fields = vec![
        Field::new("b", DataType::Int32, true),
        Field::new("c", DataType::Utf8, true),
    ]
    .into();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i8", Arc::new(Int8Array::from(vec![Some(-1), None, Some(3)]))),
        ("u64", Arc::new(UInt64Array::from(vec![Some(1), None, Some(u64::MAX)]))),
        ("f32", Arc::new(Float32Array::from(vec![Some(0.1), None, Some(-2.5)]))),
        ("f64", Arc::new(Float64Array::from(vec![Some(1e10), None, Some(2.0)]))),
        (
            "bool",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        ("utf8", Arc::new(StringArray::from(strings()))),
        ("large", Arc::new(LargeStringArray::from(strings()))),
        ("view", Arc::new(StringViewArray::from(strings()))),
        (
            "dict",
            Arc::new(strings().into_iter().collect::<DictionaryArray<Int32Type>>()),
        ),
        (
            "number",
            Arc::new(StringArray::from(vec![Some("12.7"), None, Some("abc")])),
        ),
        (
            "binary",
            Arc::new(BinaryArray::from(vec![Some(b"hi".as_slice()), None, Some(b"\xff")])),
        ),
        (
            "us",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1_500), None, Some(-2_000)]).with_timezone("UTC")),
        ),
        (
            "ns",
            Arc::new(TimestampNanosecondArray::from(vec![Some(3_000_000), None, Some(0)])),
        ),
        ("date", Arc::new(Date32Array::from(vec![Some(1), None, Some(-1)]))),
        (
            "dec",
            Arc::new(
                Decimal128Array::from(vec![Some(12_345), None, Some(-50)])
                    .with_precision_and_scale(15, 2)
                    .unwrap(),
            ),
        ),
        ("longs", list(Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])))),
        ("strings", list(Arc::new(StringArray::from(strings())))),
        (
            "nest",
            Arc::new(StructArray::new(
                inner,
                vec![
                    Arc::new(Int32Array::from(vec![1, 2, 3])),
                    Arc::new(StringArray::from(vec!["p", "q\"", "r"])),
                ],
                Some(vec![true, true, false].into()),
            )),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

/// Reads the three cells of a column as a type.
fn cells(dir: &tempfile::TempDir, name: &str, kind: &str) -> Value {
    let path = file(dir, "types.parquet", &write(&many_types(), 2));
    let column = format!("{name}:{kind}");
    let rows = rows(&local(&path, json!({"type": "parquet"}), &[&column]));
    rows.iter().map(|row| row[name].clone()).collect()
}

#[test]
fn types() {
    let dir = tempfile::tempdir().unwrap();
    for (name, kind, expected) in [
        ("i8", "long", json!([-1, null, 3])),
        ("i8", "string", json!(["-1", null, "3"])),
        ("i8", "ARRAY<LONG>", json!([[-1], null, [3]])),
        ("u64", "long", json!([1, null, i64::MAX])),
        ("f32", "float", json!([0.1, null, -2.5])),
        ("f32", "string", json!(["0.1", null, "-2.5"])),
        ("f64", "double", json!([1e10, null, 2.0])),
        ("f64", "long", json!([10_000_000_000i64, null, 2])),
        ("f64", "string", json!(["1.0E10", null, "2.0"])),
        ("bool", "string", json!(["true", null, "false"])),
        ("bool", "long", json!([null, null, null])),
        ("utf8", "string", json!(["x", null, "é"])),
        ("large", "string", json!(["x", null, "é"])),
        ("view", "string", json!(["x", null, "é"])),
        ("dict", "string", json!(["x", null, "é"])),
        ("utf8", "COMPLEX<json>", json!(["\"x\"", null, "\"é\""])),
        ("number", "long", json!([12, null, null])),
        ("number", "double", json!([12.7, null, null])),
        ("binary", "string", json!(["aGk=", null, "/w=="])),
        ("us", "long", json!([1, null, -2])),
        ("us", "string", json!(["1", null, "-2"])),
        ("us", "double", json!([1.0, null, -2.0])),
        ("ns", "long", json!([3, null, 0])),
        ("date", "long", json!([86_400_000, null, -86_400_000])),
        ("dec", "double", json!([123.45, null, -0.5])),
        ("dec", "long", json!([123, null, 0])),
        ("dec", "float", json!([123.45, null, -0.5])),
        ("longs", "ARRAY<LONG>", json!([[1, null], [], null])),
        ("longs", "string", json!(["[\"1\",null]", null, null])),
        ("longs", "long", json!([null, null, null])),
        ("strings", "ARRAY<STRING>", json!([["x", null], [], null])),
        (
            "nest",
            "COMPLEX<json>",
            json!(["{\"b\":1,\"c\":\"p\"}", "{\"b\":2,\"c\":\"q\\\"\"}", null]),
        ),
        ("nest", "string", json!(["{b=1, c=p}", "{b=2, c=q\"}", null])),
        ("absent", "double", json!([null, null, null])),
    ] {
        assert_eq!(cells(&dir, name, kind), expected, "{name} as {kind}");
    }
}

#[test]
fn paths_and_binary_as_string() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a.parquet", &write(&many_types(), 9));
    let fields = json!([{"type": "path", "name": "c", "expr": "$.nest.c"}, {"type": "path", "name": "second", "expr": "$.longs[1]"}]);
    let format = json!({"type": "parquet", "binaryAsString": true, "flattenSpec": {"fields": fields}});
    let spec = local(&path, format, &["c:string", "second:long", "binary:string", "i8:long"]);
    let expected = [
        json!({"c": "p", "second": null, "binary": "hi", "i8": -1}),
        json!({"c": "q\"", "second": null, "binary": null, "i8": null}),
        json!({"c": null, "second": null, "binary": "\u{fffd}", "i8": 3}),
    ];
    assert_eq!(rows(&spec), expected);
}

#[test]
fn samples_come_from_the_footer() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a.parquet", &write(&many_types(), 9));
    let spec = local(&path, json!({"type": "parquet"}), &[]);
    let columns = sample_schema(&spec).unwrap();
    let types: HashMap<&str, String> = columns
        .iter()
        .map(|c| (c.name.as_str(), c.column_type.to_string()))
        .collect();
    for (name, expected) in [
        ("i8", "LONG"),
        ("f32", "FLOAT"),
        ("f64", "DOUBLE"),
        ("dec", "DOUBLE"),
        ("us", "LONG"),
        ("date", "LONG"),
        ("large", "STRING"),
        ("bool", "STRING"),
        ("longs", "ARRAY<LONG>"),
        ("nest", "COMPLEX<json>"),
    ] {
        assert_eq!(types[name], expected, "{name}");
    }
    assert_eq!(rows(&spec.clone().with_columns(columns)).len(), 3);
}

#[test]
fn row_groups_are_the_splits() {
    let dir = tempfile::tempdir().unwrap();
    let data = numbers(10_000, 1_000);
    let path = file(&dir, "a.parquet", &data);
    let spec = local(&path, json!({"type": "parquet"}), &["n:long"]);
    for split_bytes in [1, 3_000, 20_000, 1 << 30] {
        let limits = SplitLimits {
            split_bytes,
            min_split_bytes: 1,
            ..SplitLimits::default()
        };
        let splits = spec.splits(&limits).unwrap();
        assert!(splits.len() == 10 || split_bytes > 1);
        assert!(splits.len() == 1 || split_bytes < 1 << 30);
        let notes = Notes::allowing(0);
        let batches = read_splits(&spec, &splits, &notes).unwrap();
        assert_eq!(
            to_json(&batches),
            (0..10_000).map(|n| json!({"n": n})).collect::<Vec<_>>()
        );
        let (rows, bytes, files) = notes.counts();
        assert_eq!((rows, files), (10_000, 1));
        assert!(bytes > 0 && bytes <= data.len() as u64);
    }
}

#[test]
fn dictionaries_and_empty_projections() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a.parquet", &write(&many_types(), 2));
    let spec = local(
        &path,
        json!({"type": "parquet"}),
        &[
            "large:string",
            "i8:string",
            "nest:string",
            "absent:string",
            "f64:double",
        ],
    );
    let splits = spec.splits(&SplitLimits::default()).unwrap();
    let plain = to_json(&read_splits(&spec, &splits, &Notes::allowing(0)).unwrap());
    let mut options = ReadOptions::all(&spec);
    options.dictionary_strings = true;
    let batches = read_all(&spec, &splits, &options, Notes::allowing(0)).unwrap();
    assert_eq!(batches[0].schema(), spec.read_schema(&options));
    assert!(matches!(batches[0].column(0).data_type(), DataType::Dictionary(key, _) if **key == DataType::UInt32));
    assert_eq!(to_json(&batches), plain);
    let none = read_all(&spec, &splits, &ReadOptions::projected(vec![]), Notes::allowing(0)).unwrap();
    assert_eq!(none.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
}

#[test]
fn damage_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let data = write(&many_types(), 2);
    for cut in [0, 1, 4, 11, data.len() / 2, data.len() - 1] {
        let path = file(&dir, "cut.parquet", &data[..cut]);
        let read = read(
            &local(&path, json!({"type": "parquet"}), &["i8:long"]),
            &Notes::allowing(0),
        );
        match cut {
            0 => assert!(read.unwrap().is_empty()),
            _ => assert_eq!(read.unwrap_err().kind(), InputErrorKind::Corrupt, "{cut}"),
        }
    }
    let path = file(&dir, "a.parquet.gz", &data);
    let error = read(
        &local(&path, json!({"type": "parquet"}), &["i8:long"]),
        &Notes::allowing(0),
    )
    .unwrap_err();
    assert_eq!(error.kind(), InputErrorKind::Unsupported);
    let error = read(
        &inline("x", json!({"type": "parquet"}), &["i8:long"]),
        &Notes::allowing(0),
    )
    .unwrap_err();
    assert_eq!(error.kind(), InputErrorKind::Unsupported);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(60))]

    #[test]
    fn changed_bytes_never_panic(changes in proptest::collection::vec((0usize..20_000, proptest::prelude::any::<u8>()), 1..4)) {
        let dir = tempfile::tempdir().unwrap();
        let mut data = write(&many_types(), 2);
        for (at, byte) in changes {
            let at = at % data.len();
            data[at] = byte;
        }
        let path = file(&dir, "a.parquet", &data);
        let columns = ["i8:long", "large:string", "dec:double", "longs:ARRAY<LONG>", "nest:string", "dict:string", "us:long"];
        let spec = local(&path, json!({"type": "parquet"}), &columns);
        let _ = sample_schema(&spec);
        let _ = read(&spec, &Notes::allowing(0));
    }
}
