//! Sound segments verify, and bitmaps that lie are found; indexes of arrays and of JSON fields give the rows that have the values.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use henge_segment::{
    ColumnSchema, ColumnType, IndexSpec, IndexValue, RowSelection, Segment, SegmentSchema, ValueType, verify,
};

use crate::goldens::{rewrite, segments};
use crate::nested;

#[test]
fn goldens_are_sound_and_so_is_what_is_written_of_them() {
    for (name, path) in segments() {
        let verification = verify(&Segment::open(&path).unwrap());
        assert_eq!(verification.findings, [], "{name}, {}", path.display());
        let dir = tempfile::tempdir().unwrap();
        rewrite(&path, dir.path(), IndexSpec::default());
        let verification = verify(&Segment::open(dir.path()).unwrap());
        assert_eq!(verification.findings, [], "{name} written again");
        assert!(verification.rows > 0 && verification.columns > 0);
    }
}

fn rows(bitmap: Option<roaring::RoaringBitmap>) -> Vec<u32> {
    bitmap.unwrap().iter().collect()
}

#[test]
fn fields_of_json_can_be_read_and_looked_up() {
    let texts = [
        Some(r#"{"n":1,"d":0.5,"s":"x","mixed":1,"list":[1,2]}"#),
        None,
        Some(r#"{"n":2,"d":-0.0,"s":"y","mixed":"one","list":[2,null]}"#),
        Some(r#"{"n":1,"s":"x","list":[]}"#),
    ];
    let array: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let schema = SegmentSchema::new(vec![ColumnSchema::new("j", ColumnType::Complex("json".into()))]);
    let dir = tempfile::tempdir().unwrap();
    let segment = nested::write(dir.path(), schema, IndexSpec::default(), &[("j", array)]);
    let fields = segment.json_fields("j").unwrap().unwrap();
    let described: Vec<String> = fields
        .iter()
        .map(|f| format!("{} {}", f.path, f.types.join(" ")))
        .collect();
    assert_eq!(
        described,
        [
            "$.d DOUBLE",
            "$.list ARRAY<LONG>",
            "$.mixed STRING LONG",
            "$.n LONG",
            "$.s STRING"
        ]
    );
    let read = |path: &str, rows| segment.read_json_field("j", path, rows).unwrap().unwrap();
    let longs = read("$.n", RowSelection::All);
    assert_eq!(
        longs.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
        [Some(1), None, Some(2), Some(1)]
    );
    let doubles = read("$.d", RowSelection::Range(1..3));
    let bits: Vec<_> = doubles
        .as_primitive::<Float64Type>()
        .iter()
        .map(|d| d.map(f64::to_bits))
        .collect();
    assert_eq!(bits, [None, Some((-0.0f64).to_bits())]);
    let mixed = read("$.mixed", RowSelection::All);
    assert_eq!(
        mixed.as_string::<i32>().iter().collect::<Vec<_>>(),
        [Some("1"), None, Some("\"one\""), None]
    );
    assert!(
        segment
            .read_json_field("j", "$.none", RowSelection::All)
            .unwrap()
            .is_none()
    );

    let of = |path: &str, value| rows(segment.rows_of_json_field("j", path, &value).unwrap());
    assert_eq!(of("$.n", IndexValue::Long(1)), [0, 3]);
    assert_eq!(of("$.n", IndexValue::Long(7)), [0u32; 0]);
    assert_eq!(of("$.n", IndexValue::Null), [1]);
    assert_eq!(of("$.d", IndexValue::Double(-0.0)), [2]);
    assert_eq!(of("$.d", IndexValue::Double(0.0)), [0u32; 0]);
    assert_eq!(of("$.s", IndexValue::String("x")), [0, 3]);
    assert_eq!(of("$.mixed", IndexValue::String("one")), [2]);
    assert_eq!(of("$.none", IndexValue::Null), [0, 1, 2, 3]);
    let with = |value| rows(segment.rows_with_json_element("j", "$.list", &value).unwrap());
    assert_eq!(with(IndexValue::Long(2)), [0, 2]);
    assert_eq!(with(IndexValue::Null), [2]);
    assert_eq!(rows(segment.rows_of("j", &IndexValue::Null).unwrap()), [1]);
}

#[test]
fn arrays_and_auto_columns_can_be_looked_up() {
    let texts = ["[1,2]", "7", "null", "[2]", "\"a\"", "[]"].map(Some);
    let array: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let mut schema = SegmentSchema::new(vec![
        ColumnSchema::new("v", ColumnType::Complex("json".into())),
        ColumnSchema::new("l", ColumnType::LONG),
        ColumnSchema::new("none", ColumnType::Array(ValueType::Long)),
    ]);
    schema.auto = ["v", "l"].map(str::to_owned).into();
    let longs: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![
        Some(5),
        None,
        Some(-5),
        Some(5),
        Some(0),
        None,
    ]));
    let dir = tempfile::tempdir().unwrap();
    let segment = nested::write(dir.path(), schema, IndexSpec::default(), &[("v", array), ("l", longs)]);
    let of = |name: &str, value| rows(segment.rows_of(name, &value).unwrap());
    assert_eq!(of("v", IndexValue::Long(7)), [1]);
    assert_eq!(of("v", IndexValue::String("a")), [4]);
    assert_eq!(of("v", IndexValue::Null), [2]);
    assert_eq!(
        rows(segment.rows_with_element("v", &IndexValue::Long(2)).unwrap()),
        [0, 3]
    );
    assert_eq!(
        rows(segment.rows_with_element("v", &IndexValue::Long(7)).unwrap()),
        [0u32; 0]
    );
    assert_eq!(of("l", IndexValue::Long(5)), [0, 3]);
    assert_eq!(of("l", IndexValue::Null), [1, 5]);
    assert_eq!(of("l", IndexValue::Long(1)), [0u32; 0]);
    assert_eq!(of("none", IndexValue::Null), [0, 1, 2, 3, 4, 5]);
    let range = segment.column("l").unwrap().range.clone();
    assert_eq!(range, Some(("-5".to_owned(), "5".to_owned())));
    let times = segment.range("__time").unwrap().unwrap();
    assert_eq!(times, ("1704067200000".to_owned(), "1704067200005".to_owned()));
}

/// A bitmap in the file that has one row more or less than its value is found, wherever it is.
#[test]
fn bitmaps_that_lie_are_found() {
    let texts: Vec<String> = (0..64).map(|i| format!("{{\"k\":\"v{}\"}}", i % 3)).collect();
    let json: ArrayRef = Arc::new(StringArray::from_iter_values(&texts));
    let strings: ArrayRef = Arc::new(StringArray::from_iter_values((0..64).map(|i| format!("s{}", i % 3))));
    let schema = SegmentSchema::new(vec![
        ColumnSchema::new("j", ColumnType::Complex("json".into())),
        ColumnSchema::new("s", ColumnType::STRING),
    ]);
    let dir = tempfile::tempdir().unwrap();
    nested::write(dir.path(), schema, IndexSpec::default(), &[("j", json), ("s", strings)]);
    let smoosh = dir.path().join("00000.smoosh");
    let bytes = std::fs::read(&smoosh).unwrap();
    // The bitmap of rows 1, 4, 7 …: an array container that begins with them.
    let needle: Vec<u8> = [1u16, 4, 7, 10].iter().flat_map(|row| row.to_le_bytes()).collect();
    let places: Vec<usize> = (0..bytes.len() - needle.len())
        .filter(|at| bytes[*at..].starts_with(&needle))
        .collect();
    assert_eq!(places.len(), 2, "one of the strings, one of the field");
    for (place, column) in places.into_iter().zip(["j", "s"]) {
        let mut damaged = bytes.clone();
        damaged[place] = 2;
        std::fs::write(&smoosh, damaged).unwrap();
        let findings = verify(&Segment::open(dir.path()).unwrap()).findings;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].column.as_deref(), Some(column));
        assert!(
            findings[0].what.contains("lacks row 1") || findings[0].what.contains("row 1:"),
            "{}",
            findings[0]
        );
    }
    std::fs::write(&smoosh, bytes).unwrap();
    assert_eq!(verify(&Segment::open(dir.path()).unwrap()).findings, []);
}

#[test]
fn rows_out_of_order_are_found() {
    let strings: ArrayRef = Arc::new(StringArray::from(vec!["b", "a"]));
    let mut schema = SegmentSchema::new(vec![ColumnSchema::new("s", ColumnType::STRING)]);
    schema.ordering = Some(vec!["s".to_owned(), "__time".to_owned()]);
    let dir = tempfile::tempdir().unwrap();
    let segment = nested::write(dir.path(), schema, IndexSpec::default(), &[("s", strings)]);
    let findings = verify(&segment).findings;
    assert_eq!(findings.len(), 1);
    assert!(
        findings[0].what.contains("row 1 must not come before"),
        "{}",
        findings[0]
    );
}
