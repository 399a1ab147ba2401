//! Measures how fast text is read: makes flat rows in memory, reads them with all columns and with two, prints MB/s of one
//! thread's processor time. `cargo run --release -p henge-input --example read_speed`, or give a Parquet, CSV (with header) or JSON file.

use std::sync::Arc;
use std::time::Instant;

use henge_input::{ExternColumn, ExternSpec, InputError, ReadOptions, SplitLimits, Strict, read_split, sample_schema};

const ROWS: usize = 400_000;

fn csv_row(i: usize) -> String {
    format!(
        "{i},{},{},{},{}.00,{}.{:02},0.0{},0.0{},N,O,1996-0{}-1{},1996-02-12,1996-03-22,DELIVER IN PERSON,TRUCK,egular courts above the",
        i * 7 % 200_000,
        i % 10_000,
        i % 7 + 1,
        i % 50 + 1,
        i * 13 % 90_000 + 900,
        i % 100,
        i % 10,
        i % 9,
        i % 9 + 1,
        i % 10,
    )
}

const CSV_COLUMNS: [(&str, &str); 16] = [
    ("l_orderkey", "long"),
    ("l_partkey", "long"),
    ("l_suppkey", "long"),
    ("l_linenumber", "long"),
    ("l_quantity", "double"),
    ("l_extendedprice", "double"),
    ("l_discount", "double"),
    ("l_tax", "double"),
    ("l_returnflag", "string"),
    ("l_linestatus", "string"),
    ("l_shipdate", "string"),
    ("l_commitdate", "string"),
    ("l_receiptdate", "string"),
    ("l_shipinstruct", "string"),
    ("l_shipmode", "string"),
    ("l_comment", "string"),
];

fn json_row(i: usize) -> String {
    format!(
        r##"{{"time":"2015-09-12T00:46:58.771Z","channel":"#en.wikipedia","cityName":null,"comment":"added project {i}","countryIsoCode":null,"isAnonymous":false,"isMinor":{},"namespace":"Talk","page":"Talk:Oswald Tilghman {}","user":"GELongstreet","delta":{},"added":{},"ratio":{}.25,"deleted":0}}"##,
        i.is_multiple_of(3),
        i % 977,
        i % 4_000,
        i * 31 % 100_000,
        i % 100,
    )
}

/// Gives the seconds that this thread was on a processor, where the system says so: other work on the machine does not count.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ')
        .next()?
        .parse::<u64>()
        .ok()
        .map(|nanos| nanos as f64 / 1e9)
}

fn measure(label: &str, spec: &ExternSpec, options: &ReadOptions, bytes: u64) -> Result<(), InputError> {
    let splits = spec.splits(&SplitLimits::default())?;
    let mut best = f64::MAX;
    let mut rows = 0;
    for _ in 0..3 {
        let start = Instant::now();
        let cpu_start = cpu_seconds();
        rows = 0;
        for split in &splits {
            for batch in read_split(spec, split, options, Arc::new(Strict))? {
                rows += batch?.num_rows();
            }
        }
        let cpu = cpu_start.and_then(|start| Some(cpu_seconds()? - start));
        best = best.min(cpu.unwrap_or(start.elapsed().as_secs_f64()));
    }
    let megabytes = bytes as f64 / 1e6;
    println!(
        "{label:<28} {rows:>9} rows {megabytes:>8.1} MB {best:>7.3} s {:>8.0} MB/s",
        megabytes / best
    );
    Ok(())
}

fn file(path: &str) -> Result<(), InputError> {
    let source = serde_json::json!({"type": "local", "files": [path]}).to_string();
    let format = match path {
        _ if path.contains(".json") => r#"{"type":"json"}"#,
        _ if path.contains(".csv") => r#"{"type":"csv","findColumnsFromHeader":true,"tryParseNumbers":true}"#,
        _ => r#"{"type":"parquet"}"#,
    };
    let spec = ExternSpec::parse(&source, format, None)?;
    let columns = sample_schema(&spec)?;
    let spec = spec.with_columns(columns);
    let bytes = std::fs::metadata(path).map(|meta| meta.len()).unwrap_or(0);
    let mut options = ReadOptions::all(&spec);
    measure("all columns", &spec, &options, bytes)?;
    options.dictionary_strings = true;
    measure("all columns, dictionaries", &spec, &options, bytes)
}

fn main() -> Result<(), InputError> {
    if let Some(path) = std::env::args().nth(1) {
        return file(&path);
    }
    let inline = |data: &str| serde_json::json!({"type": "inline", "data": data}).to_string();

    let csv: String = (0..ROWS).map(|i| csv_row(i) + "\n").collect();
    let names: Vec<&str> = CSV_COLUMNS.iter().map(|(name, _)| *name).collect();
    let format = serde_json::json!({"type": "csv", "columns": names}).to_string();
    let signature: Vec<_> = CSV_COLUMNS
        .iter()
        .map(|(name, kind)| serde_json::json!({"name": name, "type": kind}))
        .collect();
    let spec = ExternSpec::parse(&inline(&csv), &format, Some(&serde_json::json!(signature).to_string()))?;
    measure("csv, 16 columns", &spec, &ReadOptions::all(&spec), csv.len() as u64)?;
    measure(
        "csv, 2 columns",
        &spec,
        &ReadOptions::projected(vec![0, 5]),
        csv.len() as u64,
    )?;

    let json: String = (0..ROWS).map(|i| json_row(i) + "\n").collect();
    let spec = ExternSpec::parse(&inline(&json), r#"{"type":"json"}"#, None)?;
    let columns: Vec<ExternColumn> = sample_schema(&spec)?;
    let spec = spec.with_columns(columns);
    measure("json, 13 columns", &spec, &ReadOptions::all(&spec), json.len() as u64)?;
    measure(
        "json, 2 columns",
        &spec,
        &ReadOptions::projected(vec![1, 10]),
        json.len() as u64,
    )
}
