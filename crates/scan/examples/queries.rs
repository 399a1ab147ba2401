//! Times the twelve bench queries on segments, without server: `cargo run --release -p henge-scan --example queries -- <folder> [threads]`.
//!
//! The first run makes the segments in the folder: `flights` from `../shared/data/flights-3m.parquet` if it is there, `lineitem` of
//! TPC-H at scale 1 from the generator.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Float64Builder, Int64Builder, RecordBatch, StringBuilder};
use arrow::compute::concat_batches;
use arrow::datatypes::TimestampMillisecondType;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use henge_metadata::ShardSpec;
use henge_scan::{
    CachedSegments, ScanCatalog, SegmentDescriptor, TableSegment, interactive_session_config, prepare_session,
};
use henge_segment::{ColumnSchema, ColumnType, IndexSpec, SegmentSchema, SegmentWriter};
use henge_storage::{LocalDeepStorage, SegmentCache};
use henge_time::{Granularity, Interval};
use tpchgen::generators::LineItemGenerator;

type Outcome<T> = Result<T, Box<dyn Error>>;

const RUNS: usize = 9;
/// Milliseconds that DuckDB took in process, for orientation.
const QUERIES: [(&str, f64, &str); 12] = [
    (
        "f1",
        6.9,
        "SELECT origin, COUNT(*) AS n, AVG(delay) AS d FROM flights GROUP BY origin ORDER BY n DESC LIMIT 10",
    ),
    (
        "f2",
        13.8,
        "SELECT date_trunc('day', __time) AS d, COUNT(*) AS n, SUM(distance) AS s FROM flights GROUP BY 1 ORDER BY 1",
    ),
    (
        "f3",
        2.3,
        "SELECT date_trunc('month', __time) AS m, COUNT(*) AS n, MAX(delay) AS x FROM flights WHERE origin = 'ATL' AND destination = 'ORD' GROUP BY 1 ORDER BY 1",
    ),
    (
        "f4",
        4.5,
        "SELECT origin, destination, COUNT(*) AS n, AVG(delay) AS d FROM flights WHERE __time >= TIMESTAMP '2001-03-01 00:00:00' AND __time < TIMESTAMP '2001-04-01 00:00:00' GROUP BY 1, 2 ORDER BY n DESC, 1, 2 LIMIT 20",
    ),
    (
        "l1",
        30.3,
        "SELECT l_returnflag, l_linestatus, SUM(l_quantity) AS a, SUM(l_extendedprice) AS b, SUM(l_extendedprice * (1 - l_discount)) AS c, SUM(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS d, AVG(l_quantity) AS e, AVG(l_discount) AS f, COUNT(*) AS n FROM lineitem WHERE __time <= TIMESTAMP '1998-09-02 00:00:00' GROUP BY 1, 2 ORDER BY 1, 2",
    ),
    (
        "l6",
        2.9,
        "SELECT SUM(l_extendedprice * l_discount) AS revenue FROM lineitem WHERE __time >= TIMESTAMP '1994-01-01 00:00:00' AND __time < TIMESTAMP '1995-01-01 00:00:00' AND l_discount BETWEEN 0.049 AND 0.071 AND l_quantity < 24",
    ),
    (
        "l_distinct",
        153.4,
        "SELECT COUNT(DISTINCT l_orderkey) AS n FROM lineitem",
    ),
    (
        "l_distinct_by",
        179.7,
        "SELECT l_shipmode, COUNT(DISTINCT l_partkey) AS n FROM lineitem GROUP BY 1 ORDER BY 1",
    ),
    (
        "l_topn",
        72.5,
        "SELECT l_partkey, SUM(l_quantity) AS q FROM lineitem GROUP BY 1 ORDER BY q DESC, l_partkey LIMIT 10",
    ),
    (
        "l_like",
        188.2,
        "SELECT l_shipmode, COUNT(*) AS n FROM lineitem WHERE l_comment LIKE '%special%requests%' GROUP BY 1 ORDER BY 1",
    ),
    (
        "l_filter",
        1.9,
        "SELECT __time, l_orderkey, l_partkey, l_extendedprice FROM lineitem WHERE l_shipmode = 'MAIL' AND l_returnflag = 'R' AND l_suppkey = 77 ORDER BY l_orderkey, l_partkey LIMIT 1000",
    ),
    ("l_scan", 140.2, "SELECT * FROM lineitem LIMIT 100000"),
];

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().ok_or("usage: queries <folder> [threads] [query]")?);
    let threads: usize = arguments.next().map_or(Ok(2), |n| n.parse())?;
    let only = arguments.next();
    std::fs::create_dir_all(&root)?;
    let root = root.canonicalize()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    runtime.block_on(run(&root, threads, only.as_deref()))
}

async fn run(root: &Path, threads: usize, only: Option<&str>) -> Outcome<()> {
    let flights = root.join("flights");
    let lineitem = root.join("lineitem");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/flights-3m.parquet");
    if !flights.exists() && data.exists() {
        load_flights(&data, &flights).await?;
    }
    if !lineitem.exists() {
        load_lineitem(&lineitem).await?;
    }
    let storage = LocalDeepStorage::open(root)?;
    let cache = Arc::new(SegmentCache::new(Arc::new(storage), 8 << 30));
    let catalog = ScanCatalog::new(Arc::new(CachedSegments::new(cache.clone())));
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(interactive_session_config(threads))
        .build();
    let context = SessionContext::new_with_state(prepare_session(state));
    for (name, folder) in [("flights", flights), ("lineitem", lineitem)] {
        if folder.exists() {
            let segments = segments(name, &folder)?;
            let opened = Instant::now();
            let table = tokio::task::block_in_place(|| catalog.table(name, segments))?;
            println!(
                "{name}: {:?} rows, opened in {:.1} ms",
                table.rows(),
                millis(opened.elapsed())
            );
            context.register_table(name, table)?;
        }
    }
    println!(
        "{:14} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "query", "first ms", "best ms", "plan ms", "duckdb", "ratio"
    );
    let mut logs = Vec::new();
    for (name, duckdb, sql) in QUERIES {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let (mut first, mut best, mut best_plan) = (None, Duration::MAX, Duration::MAX);
        let mut rows = 0;
        let runs = if only.is_some() { 200 } else { RUNS };
        for _ in 0..runs {
            let started = Instant::now();
            let plan = context.sql(sql).await?.create_physical_plan().await?;
            let planned = started.elapsed();
            if only.is_some() && first.is_none() {
                println!("{}", displayable(plan.as_ref()).indent(false));
            }
            let batches = collect(plan, context.task_ctx()).await?;
            rows = batches.iter().map(RecordBatch::num_rows).sum();
            let elapsed = started.elapsed();
            first.get_or_insert(elapsed);
            best = best.min(elapsed);
            best_plan = best_plan.min(planned);
        }
        let ratio = millis(best) / duckdb;
        logs.push(ratio.ln());
        println!(
            "{name:14} {:9.2} {:9.2} {:9.2} {duckdb:9.1} {ratio:7.2}  {rows} rows",
            millis(first.unwrap_or_default()),
            millis(best),
            millis(best_plan)
        );
    }
    println!(
        "geometric mean of the ratios: {:.2}",
        (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp()
    );
    println!("decoded columns: {} MB", cache.bytes() >> 20);
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn segments(name: &str, folder: &Path) -> Outcome<Vec<TableSegment>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let file = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or("a strange name")?;
        let (start, end) = file.split_once('_').ok_or("not a segment")?;
        let interval = Interval::new(start.parse()?, end.parse()?)?;
        let segment = SegmentDescriptor {
            id: format!("{name}_{file}"),
            datasource: name.into(),
            interval,
            size: 0,
            load_spec: serde_json::json!({"type": "local", "path": path}),
        };
        segments.push(TableSegment {
            segment: Arc::new(segment),
            clip: interval,
            shard_spec: ShardSpec::default(),
        });
    }
    segments.sort_by_key(|segment| segment.clip);
    Ok(segments)
}

/// Sorts the rows of `source` as segments are, and writes one segment for each bucket of time.
async fn write(
    context: &SessionContext,
    sql: &str,
    granularity: Granularity,
    columns: Vec<ColumnSchema>,
    folder: &Path,
) -> Outcome<()> {
    let started = Instant::now();
    let batches = context.sql(sql).await?.collect().await?;
    let Some(first) = batches.first() else {
        return Err("no rows".into());
    };
    let rows = concat_batches(&first.schema(), &batches)?;
    let times = rows.column(0).as_primitive::<TimestampMillisecondType>().values();
    let mut at = 0;
    while at < rows.num_rows() {
        let interval = granularity.bucket(times[at]);
        let end = at + times[at..].partition_point(|time| *time < interval.end_ms);
        let dir = folder.join(format!("{}_{}", interval.start_ms, interval.end_ms));
        let schema = SegmentSchema::new(columns.clone());
        let mut writer = SegmentWriter::create(&dir, schema, IndexSpec::default(), interval)?;
        while at < end {
            let part = (end - at).min(8192);
            writer.append(&rows.slice(at, part))?;
            at += part;
        }
        let summary = writer.finish()?;
        println!("{}: {} rows, {} bytes", dir.display(), summary.rows, summary.size_bytes);
    }
    println!("loaded in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn plain_context() -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(2)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false);
    SessionContext::new_with_config(config)
}

async fn load_flights(data: &Path, folder: &Path) -> Outcome<()> {
    let context = plain_context();
    let path = data.to_str().ok_or("a strange path")?;
    context
        .register_parquet("source", path, ParquetReadOptions::default())
        .await?;
    let sql = "SELECT arrow_cast(date, 'Timestamp(Millisecond, None)') AS __time, delay, distance, origin, destination FROM source ORDER BY 1, origin, destination";
    let columns = vec![
        ColumnSchema::new("delay", ColumnType::LONG),
        ColumnSchema::new("distance", ColumnType::LONG),
        ColumnSchema::new("origin", ColumnType::STRING),
        ColumnSchema::new("destination", ColumnType::STRING),
    ];
    write(&context, sql, "MONTH".parse()?, columns, folder).await
}

async fn load_lineitem(folder: &Path) -> Outcome<()> {
    let mut longs: BTreeMap<&str, Int64Builder> = BTreeMap::new();
    let mut doubles: BTreeMap<&str, Float64Builder> = BTreeMap::new();
    let mut texts: BTreeMap<&str, StringBuilder> = BTreeMap::new();
    for item in LineItemGenerator::new(1.0, 1, 1).iter() {
        let mut long = |name, value: i64| longs.entry(name).or_default().append_value(value);
        // Days since 1992-01-01, which is day 8035 of the epoch.
        long("time", i64::from(item.l_shipdate.to_unix_epoch()) * 86_400_000);
        long("l_orderkey", item.l_orderkey);
        long("l_partkey", item.l_partkey);
        long("l_suppkey", item.l_suppkey);
        long("l_linenumber", i64::from(item.l_linenumber));
        let mut double = |name, value: f64| doubles.entry(name).or_default().append_value(value);
        double("l_quantity", item.l_quantity as f64);
        double("l_extendedprice", item.l_extendedprice.as_f64());
        double("l_discount", item.l_discount.as_f64());
        double("l_tax", item.l_tax.as_f64());
        let mut text = |name, value: &str| texts.entry(name).or_default().append_value(value);
        text("l_returnflag", item.l_returnflag);
        text("l_linestatus", item.l_linestatus);
        text("l_shipinstruct", item.l_shipinstruct);
        text("l_shipmode", item.l_shipmode);
        text("l_comment", item.l_comment);
    }
    let columns = longs
        .into_iter()
        .map(|(name, mut builder)| (name, Arc::new(builder.finish()) as ArrayRef))
        .chain(
            doubles
                .into_iter()
                .map(|(name, mut builder)| (name, Arc::new(builder.finish()) as ArrayRef)),
        )
        .chain(
            texts
                .into_iter()
                .map(|(name, mut builder)| (name, Arc::new(builder.finish()) as ArrayRef)),
        );
    let context = plain_context();
    context.register_batch("source", RecordBatch::try_from_iter(columns)?)?;
    let names = [
        ("l_orderkey", ColumnType::LONG),
        ("l_partkey", ColumnType::LONG),
        ("l_suppkey", ColumnType::LONG),
        ("l_linenumber", ColumnType::LONG),
        ("l_quantity", ColumnType::DOUBLE),
        ("l_extendedprice", ColumnType::DOUBLE),
        ("l_discount", ColumnType::DOUBLE),
        ("l_tax", ColumnType::DOUBLE),
        ("l_returnflag", ColumnType::STRING),
        ("l_linestatus", ColumnType::STRING),
        ("l_shipinstruct", ColumnType::STRING),
        ("l_shipmode", ColumnType::STRING),
        ("l_comment", ColumnType::STRING),
    ];
    let list = names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT arrow_cast(time, 'Timestamp(Millisecond, None)') AS __time, {list} FROM source ORDER BY 1, l_shipmode, l_returnflag"
    );
    let columns = names
        .into_iter()
        .map(|(name, column_type)| ColumnSchema::new(name, column_type))
        .collect();
    write(&context, &sql, "YEAR".parse()?, columns, folder).await
}
