//! Columns that are encoded on several threads make the same files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use henge_segment::{ColumnSchema, ColumnType, IndexSpec, SegmentError, SegmentSchema, SegmentWriter};
use henge_time::Interval;

const ROWS: usize = 20_000;
const YEAR: Interval = Interval {
    start_ms: 0,
    end_ms: 31_536_000_000,
};

fn rows() -> RecordBatch {
    let scattered = |row: usize| (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let texts =
        |of: &dyn Fn(usize) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values((0..ROWS).map(of))) };
    RecordBatch::try_from_iter([
        (
            "__time",
            Arc::new(Int64Array::from_iter_values(0..ROWS as i64)) as ArrayRef,
        ),
        ("unique", texts(&|row| format!("value {}", scattered(row)))),
        ("few", texts(&|row| format!("value {}", scattered(row) % 7))),
        (
            "long",
            Arc::new(Int64Array::from_iter_values(
                (0..ROWS).map(|row| scattered(row) as i64 % 90_000),
            )),
        ),
        (
            "double",
            Arc::new(Float64Array::from_iter_values(
                (0..ROWS).map(|row| scattered(row) as f64 / 8.0),
            )),
        ),
        (
            "json",
            texts(&|row| format!(r#"{{"a":{},"b":["x{}"]}}"#, scattered(row) % 50, row % 3)),
        ),
        ("empty", Arc::new(arrow::array::new_null_array(&DataType::Utf8, ROWS))),
    ])
    .unwrap()
}

/// What no column of numbers takes.
fn lists() -> ArrayRef {
    let item = Field::new_list_field(DataType::Utf8, true);
    arrow::array::new_null_array(&DataType::List(Arc::new(item)), ROWS)
}

fn schema() -> SegmentSchema {
    let mut schema = SegmentSchema::new(vec![
        ColumnSchema::new("few", ColumnType::STRING),
        ColumnSchema::new("empty", ColumnType::STRING),
        ColumnSchema::new("unique", ColumnType::STRING),
        ColumnSchema::new("long", ColumnType::LONG),
        ColumnSchema::new("double", ColumnType::DOUBLE),
        ColumnSchema::new("json", ColumnType::Complex("json".into())),
    ]);
    schema.ordering = Some(vec!["__time".into()]);
    schema
}

fn write(dir: &Path, rows: &RecordBatch, threads: usize) -> Result<(), SegmentError> {
    let writer = SegmentWriter::create(dir, schema(), IndexSpec::default(), YEAR)?;
    let mut writer = writer.with_threads(threads)?;
    for first in (0..rows.num_rows()).step_by(6000) {
        writer.append(&rows.slice(first, 6000.min(rows.num_rows() - first)))?;
    }
    writer.finish().map(|_| ())
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(path).unwrap(),
            )
        })
        .collect()
}

#[test]
fn threads_do_not_change_the_files() {
    let rows = rows();
    let alone = tempfile::tempdir().unwrap();
    write(alone.path(), &rows, 1).unwrap();
    for threads in [2, 3, 16] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &rows, threads).unwrap();
        assert!(files(alone.path()) == files(dir.path()), "{threads} threads");
    }
}

#[test]
fn the_first_column_that_fails_is_named() {
    let rows = rows();
    let wrong: Vec<(String, ArrayRef)> = rows
        .schema()
        .fields()
        .iter()
        .zip(rows.columns())
        .map(|(field, column)| match field.name().as_str() {
            "long" | "double" => (field.name().clone(), lists()),
            name => (name.to_owned(), Arc::clone(column)),
        })
        .collect();
    let wrong = RecordBatch::try_from_iter(wrong).unwrap();
    for threads in [1, 4] {
        let dir = tempfile::tempdir().unwrap();
        let error = write(dir.path(), &wrong, threads).unwrap_err().to_string();
        assert!(error.contains("[long]"), "{threads} threads: {error}");
    }
}
