//! Times a segment of TPC-H `lineitem`: written from sorted rows, scanned for a sum, scanned for a sum by a string.
//!
//! ```text
//! lineitem FOLDER [--rows N] [--threads N] [--repeat N] [--csv FILE]
//! ```
//!
//! Prints a JSON line for each measurement, the shortest times of the repetitions. With `--csv` the same rows in the same order are written as CSV,
//! for whatever it is compared with: `make bench-segments` does that with DuckDB.

use std::error::Error;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, UInt32Type};
use henge_segment::{ColumnSchema, ColumnType, IndexSpec, RowSelection, Segment, SegmentSchema, SegmentWriter};
use henge_time::Interval;
use tpchgen::generators::LineItemGenerator;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Rows of a batch that is handed to the writer.
const BATCH_ROWS: usize = 8192;
/// Rows of TPC-H at scale 1, nearly.
const ROWS_OF_SCALE_1: f64 = 6_000_000.0;
const DAY_MS: i64 = 86_400_000;
const COLUMNS: [(&str, ColumnType); 13] = [
    ("l_shipmode", ColumnType::STRING),
    ("l_returnflag", ColumnType::STRING),
    ("l_orderkey", ColumnType::LONG),
    ("l_partkey", ColumnType::LONG),
    ("l_suppkey", ColumnType::LONG),
    ("l_linenumber", ColumnType::LONG),
    ("l_quantity", ColumnType::DOUBLE),
    ("l_extendedprice", ColumnType::DOUBLE),
    ("l_discount", ColumnType::DOUBLE),
    ("l_tax", ColumnType::DOUBLE),
    ("l_linestatus", ColumnType::STRING),
    ("l_shipinstruct", ColumnType::STRING),
    ("l_comment", ColumnType::STRING),
];

struct Options {
    folder: PathBuf,
    rows: usize,
    threads: usize,
    repeat: usize,
    csv: Option<PathBuf>,
}

fn options() -> Outcome<Options> {
    let mut options = Options {
        folder: PathBuf::new(),
        rows: 3_000_000,
        threads: 1,
        repeat: 3,
        csv: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--rows" => options.rows = value()?.parse()?,
            "--threads" => options.threads = value()?.parse()?,
            "--repeat" => options.repeat = value()?.parse()?,
            "--csv" => options.csv = Some(value()?.into()),
            _ => options.folder = arg.into(),
        }
    }
    if options.folder.as_os_str().is_empty() {
        return Err("usage: lineitem FOLDER [--rows N] [--threads N] [--repeat N] [--csv FILE]".into());
    }
    Ok(options)
}

/// Makes the rows in segment order: by day, ship mode and return flag.
fn sorted_rows(count: usize) -> Outcome<RecordBatch> {
    let generator = LineItemGenerator::new((count as f64 + 10_000.0) / ROWS_OF_SCALE_1, 1, 1);
    let mut items: Vec<_> = generator.iter().take(count).collect();
    if items.len() < count {
        return Err(format!("{count} rows were asked for, the generator makes {}", items.len()).into());
    }
    items.sort_by_key(|item| (item.l_shipdate.to_unix_epoch(), item.l_shipmode, item.l_returnflag));
    macro_rules! longs {
        ($value:expr) => {
            Arc::new(Int64Array::from_iter_values(items.iter().map($value))) as ArrayRef
        };
    }
    macro_rules! doubles {
        ($value:expr) => {
            Arc::new(Float64Array::from_iter_values(items.iter().map($value))) as ArrayRef
        };
    }
    macro_rules! strings {
        ($field:ident) => {
            Arc::new(StringArray::from_iter_values(
                items.iter().map(|item| item.$field),
            )) as ArrayRef
        };
    }
    Ok(RecordBatch::try_from_iter([
        (
            "__time",
            longs!(|item| i64::from(item.l_shipdate.to_unix_epoch()) * DAY_MS),
        ),
        ("l_shipmode", strings!(l_shipmode)),
        ("l_returnflag", strings!(l_returnflag)),
        ("l_orderkey", longs!(|item| item.l_orderkey)),
        ("l_partkey", longs!(|item| item.l_partkey)),
        ("l_suppkey", longs!(|item| item.l_suppkey)),
        ("l_linenumber", longs!(|item| i64::from(item.l_linenumber))),
        ("l_quantity", doubles!(|item| item.l_quantity as f64)),
        ("l_extendedprice", doubles!(|item| item.l_extendedprice.as_f64())),
        ("l_discount", doubles!(|item| item.l_discount.as_f64())),
        ("l_tax", doubles!(|item| item.l_tax.as_f64())),
        ("l_linestatus", strings!(l_linestatus)),
        ("l_shipinstruct", strings!(l_shipinstruct)),
        ("l_comment", strings!(l_comment)),
    ])?)
}

fn write_csv(rows: &RecordBatch, path: &Path) -> Outcome<()> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    let texts: Vec<StringArray> = rows
        .columns()
        .iter()
        .map(|column| {
            Ok(arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8)?
                .as_string::<i32>()
                .clone())
        })
        .collect::<Outcome<_>>()?;
    for row in 0..rows.num_rows() {
        for (position, column) in texts.iter().enumerate() {
            // No value of lineitem has a bar in it.
            write!(out, "{}{}", if position > 0 { "|" } else { "" }, column.value(row))?;
        }
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

fn write_segment(rows: &RecordBatch, options: &Options) -> Outcome<u64> {
    let columns = COLUMNS.map(|(name, column_type)| ColumnSchema::new(name, column_type));
    let mut schema = SegmentSchema::new(columns.to_vec());
    schema.ordering = Some(["__time", "l_shipmode", "l_returnflag"].map(str::to_owned).to_vec());
    let interval = Interval {
        start_ms: 0,
        end_ms: 20_000 * DAY_MS,
    };
    let writer = SegmentWriter::create(&options.folder, schema, IndexSpec::default(), interval)?;
    let mut writer = writer.with_threads(options.threads)?;
    for first in (0..rows.num_rows()).step_by(BATCH_ROWS) {
        writer.append(&rows.slice(first, BATCH_ROWS.min(rows.num_rows() - first)))?;
    }
    Ok(writer.finish()?.size_bytes)
}

fn sum(segment: &Segment) -> Outcome<f64> {
    let values = segment.read("l_extendedprice", RowSelection::All)?;
    Ok(arrow::compute::sum(values.as_primitive::<Float64Type>()).unwrap_or_default())
}

fn sum_by_string(segment: &Segment) -> Outcome<Vec<(String, f64)>> {
    let keys = segment.read("l_shipmode", RowSelection::All)?;
    let values = segment.read("l_extendedprice", RowSelection::All)?;
    let keys = keys.as_dictionary::<UInt32Type>();
    let mut sums = vec![0.0; keys.values().len()];
    for (key, value) in keys
        .keys()
        .values()
        .iter()
        .zip(values.as_primitive::<Float64Type>().values())
    {
        sums[*key as usize] += value;
    }
    let names = keys.values().as_string::<i32>();
    Ok((0..names.len())
        .map(|id| (names.value(id).to_owned(), sums[id]))
        .collect())
}

/// How long something took, and how much of that a processor worked.
struct Took {
    wall_s: f64,
    cpu_s: f64,
}

/// Gives the seconds that processors worked for this process so far; 0 where the system does not tell.
fn cpu_s() -> f64 {
    const TICKS_PER_S: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split(' ');
    let ticks = fields.skip(12).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_S
}

/// Does something several times and gives the shortest time.
fn best<T>(repeat: usize, mut work: impl FnMut() -> Outcome<T>) -> Outcome<(Took, T)> {
    let mut best: Option<(Took, T)> = None;
    for _ in 0..repeat.max(1) {
        let (start, cpu) = (Instant::now(), cpu_s());
        let made = work()?;
        let took = Took {
            wall_s: start.elapsed().as_secs_f64(),
            cpu_s: cpu_s() - cpu,
        };
        match &mut best {
            Some((least, _)) => {
                least.wall_s = least.wall_s.min(took.wall_s);
                least.cpu_s = least.cpu_s.min(took.cpu_s);
            }
            None => best = Some((took, made)),
        }
    }
    best.ok_or("no repetition".into())
}

fn main() -> Outcome<()> {
    let options = options()?;
    let rows = sorted_rows(options.rows)?;
    if let Some(csv) = &options.csv {
        write_csv(&rows, csv)?;
    }
    let (write, bytes) = best(options.repeat, || write_segment(&rows, &options))?;
    println!(
        r#"{{"work":"write","threads":{},"wall_s":{:.4},"cpu_s":{:.2},"rows":{},"bytes":{bytes}}}"#,
        options.threads, write.wall_s, write.cpu_s, options.rows
    );
    let segment = Segment::open(&options.folder)?;
    let (took, total) = best(options.repeat * 3, || sum(&segment))?;
    println!(r#"{{"work":"sum","wall_s":{:.4},"sum":{total:.2}}}"#, took.wall_s);
    let (took, groups) = best(options.repeat * 3, || sum_by_string(&segment))?;
    let total: f64 = groups.iter().map(|(_, sum)| sum).sum();
    println!(
        r#"{{"work":"sum_by_string","wall_s":{:.4},"groups":{},"sum":{total:.2}}}"#,
        took.wall_s,
        groups.len()
    );
    Ok(())
}
