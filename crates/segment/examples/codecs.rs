//! Times every column codec: how fast a column of each kind is written and read, and how large it gets.
//!
//! ```text
//! codecs [ROWS]
//! ```
//!
//! Each line is a segment of that column alone beside `__time`, whose own cost is measured first and taken off. Run it as
//! `cargo run --release -p henge-segment --example codecs`; `make bench-codecs` does.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, BinaryArray, Float32Array, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use henge_segment::{
    BitmapKind, ColumnSchema, ColumnType, Compression, IndexSpec, LongEncoding, MetricSchema, RowSelection, Segment,
    SegmentSchema, SegmentWriter, StringEncoding, ValueType,
};
use henge_time::Interval;

/// Rows of a batch that is handed to the writer.
const BATCH_ROWS: usize = 8192;

/// A column to measure: what it shows, its type, its settings, and the value of each row.
struct Case {
    name: &'static str,
    column_type: ColumnType,
    spec: IndexSpec,
    auto: bool,
    values: ArrayRef,
}

struct Measured {
    write: Duration,
    read: Duration,
    bytes: u64,
    encoding: String,
}

/// Gives numbers that look random and are the same in every run.
fn scattered(row: usize) -> u64 {
    (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

fn cases(rows: usize) -> Vec<Case> {
    let case = |name, column_type, values| Case {
        name,
        column_type,
        spec: IndexSpec::default(),
        auto: false,
        values,
    };
    let longs = |of: fn(usize) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..rows).map(of))) };
    let strings = |cardinality: u64| -> ArrayRef {
        let value = move |row: usize| format!("value {:08}", scattered(row) % cardinality);
        Arc::new(StringArray::from_iter_values((0..rows).map(value)))
    };
    let json: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| {
        let n = scattered(row);
        format!(
            r#"{{"user":"u{}","n":{},"tags":["a","b{}"],"geo":{{"lat":{}.5}}}}"#,
            n % 5000,
            n % 100,
            n % 9,
            n % 90
        )
    })));
    let mut tags = ListBuilder::new(StringBuilder::new());
    for row in 0..rows {
        for k in 0..scattered(row) % 4 {
            tags.values()
                .append_value(format!("tag {}", (scattered(row) + k) % 1000));
        }
        tags.append(true);
    }
    let tags: ArrayRef = Arc::new(tags.finish());
    let objects: ArrayRef = Arc::new(BinaryArray::from_iter_values(
        (0..rows).map(|row| scattered(row).to_le_bytes().repeat(4)),
    ));
    let doubles: ArrayRef = Arc::new(Float64Array::from_iter_values(
        (0..rows).map(|row| (scattered(row) % 100_000) as f64 / 100.0),
    ));
    let floats: ArrayRef = Arc::new(Float32Array::from_iter_values(
        (0..rows).map(|row| (scattered(row) % 1000) as f32 / 10.0),
    ));
    let object = || ColumnType::Complex("HLLSketch".into());
    let spec = |change: fn(&mut IndexSpec)| {
        let mut spec = IndexSpec::default();
        change(&mut spec);
        spec
    };
    let with = |case: Case, spec: IndexSpec| Case { spec, ..case };
    vec![
        case(
            "longs, table",
            ColumnType::LONG,
            longs(|row| (scattered(row) % 50) as i64),
        ),
        case(
            "longs, delta",
            ColumnType::LONG,
            longs(|row| (scattered(row) % 1_000_000) as i64),
        ),
        with(
            case(
                "longs, 8 bytes",
                ColumnType::LONG,
                longs(|row| (scattered(row) % 1_000_000) as i64),
            ),
            spec(|spec| spec.long_encoding = LongEncoding::Longs),
        ),
        case("doubles, lz4", ColumnType::DOUBLE, Arc::clone(&doubles)),
        with(
            case("doubles, zstd", ColumnType::DOUBLE, Arc::clone(&doubles)),
            spec(|spec| spec.metric_compression = Compression::Zstd),
        ),
        with(
            case("doubles, none", ColumnType::DOUBLE, doubles),
            spec(|spec| spec.metric_compression = Compression::None),
        ),
        case("floats, lz4", ColumnType::FLOAT, floats),
        case("strings, 100 values", ColumnType::STRING, strings(100)),
        case("strings, 50,000 values", ColumnType::STRING, strings(50_000)),
        case("strings, unique", ColumnType::STRING, strings(u64::MAX)),
        with(
            case("strings, unique, front-coded", ColumnType::STRING, strings(u64::MAX)),
            spec(|spec| spec.string_encoding = StringEncoding::Smallest),
        ),
        with(
            case("strings, 100 values, concise", ColumnType::STRING, strings(100)),
            spec(|spec| spec.bitmap = BitmapKind::Concise),
        ),
        case("strings, multi-value", ColumnType::MultiString, Arc::clone(&tags)),
        case("arrays of strings", ColumnType::Array(ValueType::String), tags),
        Case {
            auto: true,
            ..case(
                "auto longs",
                ColumnType::LONG,
                longs(|row| (scattered(row) % 5000) as i64),
            )
        },
        case("JSON", ColumnType::Complex("json".into()), json),
        case("objects", object(), Arc::clone(&objects)),
        with(
            case("objects, zstd", object(), objects),
            spec(|spec| spec.complex_compression = Some(Compression::Zstd)),
        ),
    ]
}

fn measure(case: &Case, rows: usize) -> Result<Measured, Box<dyn Error>> {
    const DAY: Interval = Interval {
        start_ms: 1_704_067_200_000,
        end_ms: 1_704_153_600_000,
    };
    let times: ArrayRef = Arc::new(Int64Array::from_iter_values(
        (0..rows as i64).map(|row| DAY.start_ms + row),
    ));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("__time", times, false), ("c", Arc::clone(&case.values), true)])?;
    let column = ColumnSchema::new("c", case.column_type.clone());
    let mut schema = SegmentSchema::default();
    match &case.column_type {
        ColumnType::Complex(name) if name != "json" => schema.metrics.push(MetricSchema::passthrough(column)),
        _ => schema.columns.push(column),
    }
    if case.auto {
        schema.auto.insert("c".into());
    }
    schema.ordering = Some(vec!["__time".into()]);
    let dir = tempfile::tempdir()?;
    let start = Instant::now();
    let mut writer = SegmentWriter::create(dir.path(), schema, case.spec.clone(), DAY)?;
    for first in (0..rows).step_by(BATCH_ROWS) {
        writer.append(&batch.slice(first, BATCH_ROWS.min(rows - first)))?;
    }
    writer.finish()?;
    let write = start.elapsed();
    let start = Instant::now();
    let segment = Segment::open(dir.path())?;
    segment.read("c", RowSelection::All)?;
    let read = start.elapsed();
    let info = segment.column("c").ok_or("the column that was written")?;
    Ok(Measured {
        write,
        read,
        bytes: info.bytes,
        encoding: info.encoding.clone(),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let rows = match std::env::args().nth(1) {
        Some(rows) => rows.parse()?,
        None => 1_000_000,
    };
    let alone = Case {
        name: "__time alone",
        column_type: ColumnType::STRING,
        spec: IndexSpec::default(),
        auto: false,
        values: arrow::array::new_null_array(&arrow::datatypes::DataType::Utf8, rows),
    };
    let base = measure(&alone, rows)?;
    println!(
        "{rows} rows; time of __time alone, taken off: {:.0} ms",
        base.write.as_secs_f64() * 1e3
    );
    println!(
        "{:<30} {:>14} {:>14} {:>10}  encoding",
        "column", "write rows/s", "read rows/s", "bytes/row"
    );
    for case in cases(rows) {
        let measured = measure(&case, rows)?;
        let rate = |time: Duration| rows as f64 / time.as_secs_f64().max(1e-6);
        println!(
            "{:<30} {:>14.0} {:>14.0} {:>10.2}  {}",
            case.name,
            rate(measured.write.saturating_sub(base.write)),
            rate(measured.read),
            measured.bytes as f64 / rows as f64,
            measured.encoding
        );
    }
    Ok(())
}
