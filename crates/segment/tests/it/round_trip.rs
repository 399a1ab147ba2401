//! Random rows, written and read again: a naive model of what went in must be what comes out.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float32Array, Float64Array, Float64Builder, Int64Array, Int64Builder,
    ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMillisecondArray, UInt32Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt32Type};
use henge_segment::{
    ColumnSchema, ColumnType, Compression, IndexSpec, LongEncoding, MultiValueHandling, RowSelection, Segment,
    SegmentSchema, SegmentWriter, ValueType,
};
use henge_time::Interval;
use proptest::prelude::*;
use roaring::RoaringBitmap;

const DAY: Interval = Interval {
    start_ms: 1_704_067_200_000,
    end_ms: 1_704_153_600_000,
};

#[derive(Debug, Clone, Default)]
pub struct Row {
    pub time: i64,
    pub s: Option<String>,
    pub multi: Vec<Option<String>>,
    pub l: Option<i64>,
    pub d: Option<f64>,
    pub f: Option<f32>,
}

pub fn schema() -> SegmentSchema {
    SegmentSchema::new(vec![
        ColumnSchema::new("s", ColumnType::STRING),
        ColumnSchema::new("multi", ColumnType::MultiString),
        ColumnSchema::new("l", ColumnType::LONG),
        ColumnSchema::new("d", ColumnType::DOUBLE),
        ColumnSchema::new("f", ColumnType::FLOAT),
        ColumnSchema::new("missing", ColumnType::STRING),
    ])
}

pub fn batch(rows: &[Row], encoded: bool) -> RecordBatch {
    let mut multi = ListBuilder::new(StringBuilder::new());
    for row in rows {
        for value in &row.multi {
            multi.values().append_option(value.as_ref());
        }
        multi.append(true);
    }
    let s = StringArray::from_iter(rows.iter().map(|r| r.s.as_deref()));
    let s: ArrayRef = if encoded {
        let wanted = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        cast(&s, &wanted).unwrap()
    } else {
        Arc::new(s)
    };
    RecordBatch::try_from_iter_with_nullable([
        (
            "__time",
            Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|r| r.time))) as ArrayRef,
            false,
        ),
        ("s", s, true),
        ("multi", Arc::new(multi.finish()) as ArrayRef, true),
        (
            "l",
            Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.l))) as ArrayRef,
            true,
        ),
        (
            "d",
            Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.d))) as ArrayRef,
            true,
        ),
        (
            "f",
            Arc::new(Float32Array::from_iter(rows.iter().map(|r| r.f))) as ArrayRef,
            true,
        ),
    ])
    .unwrap()
}

/// Writes rows in batches of uneven size, every other one with a dictionary.
pub fn write(dir: &std::path::Path, rows: &[Row], schema: SegmentSchema, spec: IndexSpec) {
    let mut writer = SegmentWriter::create(dir, schema, spec, DAY).unwrap();
    let size = (rows.len() / 3).max(1);
    for (i, chunk) in rows.chunks(size).enumerate() {
        writer.append(&batch(chunk, i % 2 == 1)).unwrap();
    }
    let summary = writer.finish().unwrap();
    assert_eq!(summary.rows, rows.len() as u64);
    let on_disk: u64 = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(summary.size_bytes, on_disk);
}

fn strings(array: &ArrayRef) -> Vec<Option<String>> {
    let plain = cast(array, &DataType::Utf8).unwrap();
    plain.as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect()
}

/// What a multi-value row comes back as under the default handling: sorted, null for nothing or one null.
fn sorted_values(values: &[Option<String>]) -> Option<Vec<Option<String>>> {
    let mut values = values.to_vec();
    values.sort_by(|a, b| {
        a.as_ref()
            .map(|s| s.encode_utf16().collect::<Vec<_>>())
            .cmp(&b.as_ref().map(|s| s.encode_utf16().collect()))
    });
    match values.as_slice() {
        [] | [None] => None,
        _ => Some(values),
    }
}

fn check(segment: &Segment, rows: &[Row], selection: RowSelection<'_>) {
    let time = segment.read("__time", selection.clone()).unwrap();
    let times = time.as_any().downcast_ref::<TimestampMillisecondArray>().unwrap();
    assert!(times.values().iter().copied().eq(rows.iter().map(|r| r.time)));
    let s = segment.read("s", selection.clone()).unwrap();
    assert_eq!(strings(&s), rows.iter().map(|r| r.s.clone()).collect::<Vec<_>>());
    let multi = segment.read("multi", selection.clone()).unwrap();
    let mut expected: Vec<_> = rows.iter().map(|r| sorted_values(&r.multi)).collect();
    let found: Vec<_> = match multi.as_list_opt::<i32>() {
        Some(lists) => list_values(lists),
        None => {
            // Of a column without any text nothing is kept, as in Druid: lists of nulls are null there.
            let has_text = |values: &Vec<Option<String>>| values.iter().any(Option::is_some);
            expected
                .iter_mut()
                .for_each(|values| *values = values.take().filter(has_text));
            strings(&multi).into_iter().map(|v| v.map(|v| vec![Some(v)])).collect()
        }
    };
    assert_eq!(found, expected);
    let l = segment.read("l", selection.clone()).unwrap();
    assert_eq!(
        l.as_any().downcast_ref::<Int64Array>().unwrap(),
        &Int64Array::from_iter(rows.iter().map(|r| r.l))
    );
    let d = segment.read("d", selection.clone()).unwrap();
    let bits = |v: Option<f64>| v.map(f64::to_bits);
    let found = d.as_any().downcast_ref::<Float64Array>().unwrap();
    assert!(found.iter().map(bits).eq(rows.iter().map(|r| bits(r.d))));
    let f = segment.read("f", selection.clone()).unwrap();
    let bits = |v: Option<f32>| v.map(f32::to_bits);
    let found = f.as_any().downcast_ref::<Float32Array>().unwrap();
    assert!(found.iter().map(bits).eq(rows.iter().map(|r| bits(r.f))));
    let missing = segment.read("missing", selection).unwrap();
    assert_eq!(strings(&missing), vec![None; rows.len()]);
}

fn list_values(lists: &ListArray) -> Vec<Option<Vec<Option<String>>>> {
    (0..lists.len())
        .map(|row| lists.is_valid(row).then(|| strings(&lists.value(row))))
        .collect()
}

/// Bitmaps and dictionary must say the same as the values.
fn check_index(segment: &Segment, rows: &[Row]) {
    if let Some(dictionary) = segment.dictionary("s") {
        for id in 0..dictionary.len() as u32 {
            let value = dictionary.get(id).unwrap();
            let bitmap = segment.bitmap("s", id).unwrap().unwrap();
            let expected: RoaringBitmap = (0..rows.len() as u32)
                .filter(|row| rows[*row as usize].s == value)
                .collect();
            assert_eq!(bitmap, expected, "rows of {value:?}");
            assert!(!bitmap.is_empty());
            if let Some(value) = value {
                assert_eq!(dictionary.lookup(&value).unwrap(), Some(id));
            }
        }
        assert_eq!(dictionary.lookup("no such value").unwrap(), None);
    }
    if let Some(dictionary) = segment.dictionary("multi") {
        for id in 0..dictionary.len() as u32 {
            let value = dictionary.get(id).unwrap();
            let holds = |row: &Row| match &value {
                None => row.multi.is_empty() || row.multi.contains(&None),
                value => row.multi.contains(value),
            };
            let expected: RoaringBitmap = (0..rows.len() as u32)
                .filter(|row| holds(&rows[*row as usize]))
                .collect();
            assert_eq!(
                segment.bitmap("multi", id).unwrap().unwrap(),
                expected,
                "rows of {value:?}"
            );
        }
    }
    for (name, is_null) in [
        ("s", (|r: &Row| r.s.is_none()) as fn(&Row) -> bool),
        ("l", |r| r.l.is_none()),
        ("d", |r| r.d.is_none()),
        ("missing", |_| true),
    ] {
        let expected: RoaringBitmap = (0..rows.len() as u32)
            .filter(|row| is_null(&rows[*row as usize]))
            .collect();
        assert_eq!(segment.null_bitmap(name).unwrap(), Some(expected), "nulls of {name}");
    }
}

fn round_trip(rows: &[Row], spec: &IndexSpec, ranges: &[(usize, usize)]) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), rows, schema(), spec.clone());
    let segment = Segment::open(dir.path()).unwrap();
    assert_eq!(segment.rows(), rows.len());
    assert_eq!(segment.interval(), DAY);
    check(&segment, rows, RowSelection::All);
    check_index(&segment, rows);
    for (start, len) in ranges {
        let start = start % rows.len();
        let end = (start + len).min(rows.len());
        check(&segment, &rows[start..end], RowSelection::Range(start..end));
        let some: RoaringBitmap = (start as u32..end as u32).step_by(len % 5 + 1).collect();
        let picked: Vec<Row> = some.iter().map(|row| rows[row as usize].clone()).collect();
        check(&segment, &picked, RowSelection::Rows(&some));
    }
    check(&segment, &[], RowSelection::Rows(&RoaringBitmap::new()));
    assert!(segment.read("l", RowSelection::Range(0..rows.len() + 1)).is_err());
    assert!(segment.read("no such column", RowSelection::All).is_err());
    // The same rows give the same bytes, however they came.
    let again = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(again.path(), schema(), spec.clone(), DAY).unwrap();
    writer.append(&batch(rows, false)).unwrap();
    writer.finish().unwrap();
    for file in ["00000.smoosh", "meta.smoosh", "version.bin", "factory.json"] {
        assert_eq!(
            std::fs::read(dir.path().join(file)).unwrap(),
            std::fs::read(again.path().join(file)).unwrap(),
            "{file} must not depend on batches"
        );
    }
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(String::new())),
        4 => "[a-c]{1,2}".prop_map(Some),
        1 => "[\u{0}-\u{ffff}\u{10000}-\u{10ffff}]{0,12}".prop_map(Some),
        1 => "[\u{e000}\u{ffff}\u{10000}\u{10ffff}]{1,3}".prop_map(Some),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    (
        0i64..86_400_000,
        text(),
        proptest::collection::vec(text(), 0..4),
        proptest::option::of(prop_oneof![any::<i64>(), -3i64..3]),
        proptest::option::of(any::<f64>()),
        proptest::option::of(any::<f32>()),
    )
        .prop_map(|(time, s, multi, l, d, f)| Row {
            time: DAY.start_ms + time,
            s,
            multi,
            l,
            d,
            f,
        })
}

fn spec() -> impl Strategy<Value = IndexSpec> {
    let dimension = prop_oneof![
        Just(Compression::Lz4),
        Just(Compression::Zstd),
        Just(Compression::Uncompressed)
    ];
    let metric = prop_oneof![
        Just(Compression::Lz4),
        Just(Compression::Zstd),
        Just(Compression::Uncompressed),
        Just(Compression::None)
    ];
    let longs = prop_oneof![Just(LongEncoding::Longs), Just(LongEncoding::Auto)];
    (dimension, metric, longs).prop_map(|(dimension_compression, metric_compression, long_encoding)| IndexSpec {
        dimension_compression,
        metric_compression,
        long_encoding,
        ..IndexSpec::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_rows_come_back(
        rows in proptest::collection::vec(row(), 1..150),
        spec in spec(),
        ranges in proptest::collection::vec((0usize..150, 0usize..150), 3),
    ) {
        round_trip(&rows, &spec, &ranges);
    }
}

/// Rows whose strings have a given number of distinct values, in blocks of every width of id.
pub fn rows_of_cardinality(count: usize, cardinality: usize) -> Vec<Row> {
    (0..count)
        .map(|i| {
            let value = i * 7919 % cardinality;
            Row {
                time: DAY.start_ms + i as i64,
                s: Some(format!("value {value}")),
                multi: (0..i % 3)
                    .map(|k| Some(format!("m{}", (value + k) % cardinality)))
                    .collect(),
                l: (i % 11 != 0).then_some(i as i64 * 1_000_003),
                d: (i % 13 != 0).then_some(i as f64 / 7.0),
                f: Some(value as f32),
            }
        })
        .collect()
}

#[test]
fn lists_of_nothing_but_nulls() {
    let row = |multi: &[Option<&str>]| Row {
        time: DAY.start_ms,
        s: None,
        multi: multi.iter().map(|value| value.map(str::to_owned)).collect(),
        l: None,
        d: None,
        f: None,
    };
    round_trip(&[row(&[None, None]), row(&[])], &IndexSpec::default(), &[]);
    round_trip(
        &[row(&[None, None]), row(&[Some("a"), None])],
        &IndexSpec::default(),
        &[],
    );
}

#[test]
fn every_width_of_id_and_several_blocks() {
    for (count, cardinality) in [
        (1, 1),
        (2, 2),
        (300, 255),
        (300, 256),
        (70_000, 257),
        (140_000, 65_536),
        (200_000, 70_000),
    ] {
        let rows = rows_of_cardinality(count, cardinality);
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &rows, schema(), IndexSpec::default());
        let segment = Segment::open(dir.path()).unwrap();
        check(&segment, &rows, RowSelection::All);
        let (start, end) = (count / 3, count - count / 5);
        check(&segment, &rows[start..end], RowSelection::Range(start..end));
        let some: RoaringBitmap = (0..count as u32).step_by(997).collect();
        let picked: Vec<Row> = some.iter().map(|row| rows[row as usize].clone()).collect();
        check(&segment, &picked, RowSelection::Rows(&some));
        let dictionary = segment.dictionary("s").unwrap();
        assert_eq!(dictionary.len(), cardinality.min(count));
        for id in (0..dictionary.len() as u32).step_by(dictionary.len().div_ceil(50)) {
            let value = dictionary.get(id).unwrap();
            let expected: RoaringBitmap = (0..count as u32).filter(|row| rows[*row as usize].s == value).collect();
            assert_eq!(segment.bitmap("s", id).unwrap().unwrap(), expected);
        }
    }
}

type Elements<T> = Option<Vec<Option<T>>>;
pub type ArrayRow = (Elements<String>, Elements<i64>, Elements<f64>);

pub fn arrays_batch(rows: &[ArrayRow]) -> RecordBatch {
    let mut strings = ListBuilder::new(StringBuilder::new());
    let mut longs = ListBuilder::new(Int64Builder::new());
    let mut doubles = ListBuilder::new(Float64Builder::new());
    for (s, l, d) in rows {
        strings.append_option(s.clone());
        longs.append_option(l.clone());
        doubles.append_option(d.clone());
    }
    let times = Int64Array::from_iter_values((0..rows.len() as i64).map(|i| DAY.start_ms + i));
    RecordBatch::try_from_iter_with_nullable([
        ("__time", Arc::new(times) as ArrayRef, false),
        ("as", Arc::new(strings.finish()) as ArrayRef, true),
        ("al", Arc::new(longs.finish()) as ArrayRef, true),
        ("ad", Arc::new(doubles.finish()) as ArrayRef, true),
    ])
    .unwrap()
}

pub fn write_arrays(dir: &std::path::Path, batch: &RecordBatch) {
    let schema = SegmentSchema::new(vec![
        ColumnSchema::new("as", ColumnType::Array(ValueType::String)),
        ColumnSchema::new("al", ColumnType::Array(ValueType::Long)),
        ColumnSchema::new("ad", ColumnType::Array(ValueType::Double)),
        ColumnSchema::new("none", ColumnType::Array(ValueType::Long)),
    ]);
    let mut writer = SegmentWriter::create(dir, schema, IndexSpec::default(), DAY).unwrap();
    let half = batch.num_rows() / 2;
    writer.append(&batch.slice(0, half)).unwrap();
    writer.append(&batch.slice(half, batch.num_rows() - half)).unwrap();
    writer.finish().unwrap();
}

fn elements<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Elements<T>> {
    proptest::option::of(proptest::collection::vec(proptest::option::of(value), 0..5))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_arrays_come_back(
        rows in proptest::collection::vec(
            (elements("[ab\u{e000}\u{10000}]{0,2}"), elements(prop_oneof![any::<i64>(), -2i64..2]), elements(prop_oneof![-1e9f64..1e9, Just(-0.0), Just(f64::NAN)])),
            1..80,
        ),
    ) {
        let batch = arrays_batch(&rows);
        let dir = tempfile::tempdir().unwrap();
        write_arrays(dir.path(), &batch);
        let segment = Segment::open(dir.path()).unwrap();
        for name in ["as", "al", "ad"] {
            let expected = batch.column_by_name(name).unwrap();
            let found = segment.read(name, RowSelection::All).unwrap();
            // Compared as text: NaN is not equal to itself.
            prop_assert_eq!(format!("{expected:?}"), format!("{found:?}"));
            let nulls: RoaringBitmap = (0..rows.len() as u32).filter(|row| expected.is_null(*row as usize)).collect();
            prop_assert_eq!(segment.null_bitmap(name).unwrap(), Some(nulls));
        }
        let none = segment.read("none", RowSelection::All).unwrap();
        prop_assert_eq!(none.null_count(), rows.len());
    }
}

/// Longs of every range, so that tables and differences of every width are written.
pub fn long_rows(count: usize) -> (RecordBatch, SegmentSchema) {
    let mut columns = vec![(
        "__time".to_owned(),
        Arc::new(Int64Array::from_iter_values(
            (0..count as i64).map(|i| DAY.start_ms + i / 3),
        )) as ArrayRef,
    )];
    let scattered = |i: usize| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for bits in [
        0, 1, 2, 3, 4, 7, 8, 9, 12, 15, 16, 19, 23, 24, 31, 33, 47, 55, 62, 63, 64,
    ] {
        let value = move |i: usize| match bits {
            0 => 7,
            64 => scattered(i) as i64,
            bits => (scattered(i) >> (64 - bits)) as i64 - 5,
        };
        let array = Int64Array::from_iter((0..count).map(|i| (bits % 2 == 0 || i % 17 != 3).then(|| value(i))));
        columns.push((format!("l{bits}"), Arc::new(array)));
    }
    let schema = columns[1..]
        .iter()
        .map(|(name, _)| ColumnSchema::new(name, ColumnType::LONG))
        .collect();
    (RecordBatch::try_from_iter(columns).unwrap(), SegmentSchema::new(schema))
}

pub fn write_longs(dir: &std::path::Path, count: usize, spec: IndexSpec) -> RecordBatch {
    let (batch, schema) = long_rows(count);
    let mut writer = SegmentWriter::create(dir, schema, spec, DAY).unwrap();
    for start in (0..count).step_by(5000) {
        writer.append(&batch.slice(start, 5000.min(count - start))).unwrap();
    }
    writer.finish().unwrap();
    batch
}

#[test]
fn longs_of_every_range() {
    for (count, metric_compression) in [
        (1, Compression::Lz4),
        (100, Compression::None),
        (20_000, Compression::None),
        (20_000, Compression::Uncompressed),
        (150_000, Compression::Lz4),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let spec = IndexSpec {
            metric_compression,
            ..IndexSpec::default()
        };
        let batch = write_longs(dir.path(), count, spec);
        let segment = Segment::open(dir.path()).unwrap();
        for info in segment.columns().iter().skip(1) {
            let expected = batch.column_by_name(&info.name).unwrap();
            assert_eq!(
                &segment.read(&info.name, RowSelection::All).unwrap(),
                expected,
                "{}",
                info.name
            );
            let range = count / 3..count - count / 7;
            let found = segment.read(&info.name, RowSelection::Range(range.clone())).unwrap();
            assert_eq!(&found, &expected.slice(range.start, range.len()), "{}", info.name);
        }
        let encoding = |name: &str| segment.column(name).unwrap().encoding.clone();
        if count == 150_000 {
            assert_eq!(
                [encoding("l2"), encoding("l16"), encoding("l64")],
                ["table", "delta", "longs"]
            );
        }
    }
}

#[test]
fn multi_values_are_arranged_as_asked() {
    let rows = [Row {
        time: DAY.start_ms,
        multi: ["b", "a", "b"].map(|v| Some(v.to_owned())).to_vec(),
        ..Row::default()
    }];
    for (handling, expected) in [
        (MultiValueHandling::SortedArray, &["a", "b", "b"][..]),
        (MultiValueHandling::SortedSet, &["a", "b"]),
        (MultiValueHandling::Array, &["b", "a", "b"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut schema = schema();
        schema.multi_value_handling.insert("multi".into(), handling);
        write(dir.path(), &rows, schema, IndexSpec::default());
        let segment = Segment::open(dir.path()).unwrap();
        let found = segment.read("multi", RowSelection::All).unwrap();
        let expected: Vec<_> = expected.iter().map(|v| Some(v.to_string())).collect();
        assert_eq!(list_values(found.as_list::<i32>()), [Some(expected)]);
    }
}

#[test]
fn keys_of_a_large_dictionary_are_mapped() {
    // A dictionary far larger than the batch, with a null value, and keys that are null.
    let values = StringArray::from_iter((0..1000).map(|i| (i != 500).then(|| format!("v{i:04}"))));
    let keys = UInt32Array::from(vec![Some(3), None, Some(500), Some(999), Some(3)]);
    let s = DictionaryArray::<UInt32Type>::new(keys, Arc::new(values));
    let time = Int64Array::from_iter_values((0..5).map(|i| DAY.start_ms + i));
    let batch =
        RecordBatch::try_from_iter([("__time", Arc::new(time) as ArrayRef), ("s", Arc::new(s) as ArrayRef)]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let schema = SegmentSchema::new(vec![ColumnSchema::new("s", ColumnType::STRING)]);
    let mut writer = SegmentWriter::create(dir.path(), schema, IndexSpec::default(), DAY).unwrap();
    writer.append(&batch).unwrap();
    writer.append(&batch.slice(3, 2)).unwrap();
    writer.finish().unwrap();
    let segment = Segment::open(dir.path()).unwrap();
    let found = strings(&segment.read("s", RowSelection::All).unwrap());
    let found: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
    assert_eq!(
        found,
        [
            Some("v0003"),
            None,
            None,
            Some("v0999"),
            Some("v0003"),
            Some("v0999"),
            Some("v0003")
        ]
    );
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", "a,b", "a\nb", "__time"] {
        let schema = SegmentSchema::new(vec![ColumnSchema::new(name, ColumnType::LONG)]);
        assert!(
            SegmentWriter::create(dir.path(), schema, IndexSpec::default(), DAY).is_err(),
            "{name:?}"
        );
    }
    let twice = SegmentSchema::new(vec![
        ColumnSchema::new("a", ColumnType::LONG),
        ColumnSchema::new("a", ColumnType::STRING),
    ]);
    assert!(SegmentWriter::create(dir.path(), twice, IndexSpec::default(), DAY).is_err());
    let empty = SegmentWriter::create(dir.path(), schema(), IndexSpec::default(), DAY).unwrap();
    assert!(empty.finish().is_err());
    let clash = SegmentSchema::new(vec![ColumnSchema::new("index.drd", ColumnType::LONG)]);
    let mut writer = SegmentWriter::create(dir.path(), clash, IndexSpec::default(), DAY).unwrap();
    writer.append(&batch(&[Row::default()], false)).unwrap();
    assert!(writer.finish().is_err());
    let mut writer = SegmentWriter::create(dir.path(), schema(), IndexSpec::default(), DAY).unwrap();
    let wrong = RecordBatch::try_from_iter([
        ("__time", Arc::new(Int64Array::from(vec![0])) as ArrayRef),
        ("s", Arc::new(Int64Array::from(vec![0])) as ArrayRef),
    ]);
    writer.append(&batch(&[Row::default()], false)).unwrap();
    assert!(writer.append(&wrong.unwrap()).is_err());
    assert!(writer.finish().unwrap_err().to_string().contains("failed to take rows"));
}
