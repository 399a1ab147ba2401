//! Scans and aggregations over real segments against DataFusion over the same rows in memory.

mod virtual_columns;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Array, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMillisecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::SessionContext;
use henge_input::ExternSpec;
use henge_metadata::ShardSpec;
use henge_scan::{
    CachedSegments, DatasourceTable, ScanCatalog, SegmentDescriptor, SegmentScanExec, SegmentSlice, TableSegment,
    interactive_session_config, prepare_session,
};
use henge_segment::{ColumnSchema, ColumnType, IndexSpec, SegmentSchema, SegmentWriter};
use henge_sql::{EngineKind, Planner, SchemaCatalog, SqlRequest};
use henge_storage::{LocalDeepStorage, SegmentCache};
use henge_time::Interval;
use proptest::prelude::*;

const HOUR: i64 = 3_600_000;
const THREADS: usize = 2;

#[derive(Debug, Clone)]
struct Row {
    minute: i64,
    s: Option<String>,
    t: Option<String>,
    n: Option<i64>,
    big: i64,
    d: Option<f64>,
    f: Option<f32>,
}

/// Quarters add up exactly in any order.
fn row() -> impl Strategy<Value = Row> {
    let quarter = -40i32..40;
    (
        0i64..240,
        proptest::option::weighted(0.9, "[abc]{0,2}"),
        proptest::option::weighted(0.8, "[xyz]{0,3}"),
        proptest::option::weighted(0.8, -5i64..20),
        prop_oneof![Just(i64::MAX), Just(i64::MIN), -3i64..3, any::<i64>()],
        proptest::option::weighted(0.9, quarter.clone()),
        proptest::option::weighted(0.9, quarter),
    )
        .prop_map(|(minute, s, t, n, big, d, f)| Row {
            minute,
            s,
            t,
            n,
            big,
            d: d.map(|d| f64::from(d) / 4.0),
            f: f.map(|f| f as f32 / 4.0),
        })
}

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("__time", time_type(), false),
        Field::new("s", DataType::Utf8, true),
        Field::new("t", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
        Field::new("big", DataType::Int64, true),
        Field::new("d", DataType::Float64, true),
        Field::new("f", DataType::Float32, true),
    ]))
}

fn batch(rows: &[Row], start: i64) -> RecordBatch {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.minute);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(
            rows.iter().map(|row| start + row.minute * 60_000),
        )),
        Arc::new(rows.iter().map(|row| row.s.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.t.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.n).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.big)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.d).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.f).collect::<Float32Array>()),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns of the schema")
}

fn column_schemas(leave_out: Option<&str>) -> Vec<ColumnSchema> {
    let types = [
        ("s", ColumnType::STRING),
        ("t", ColumnType::STRING),
        ("n", ColumnType::LONG),
        ("big", ColumnType::LONG),
        ("d", ColumnType::DOUBLE),
        ("f", ColumnType::FLOAT),
    ];
    types
        .into_iter()
        .filter(|(name, _)| Some(*name) != leave_out)
        .map(|(name, column_type)| ColumnSchema::new(name, column_type))
        .collect()
}

fn write(
    root: &Path,
    number: usize,
    interval: Interval,
    columns: Vec<ColumnSchema>,
    rows: &RecordBatch,
) -> TableSegment {
    let dir = root.join(format!("segment-{number}"));
    let schema = SegmentSchema::new(columns);
    let mut writer = SegmentWriter::create(&dir, schema, IndexSpec::default(), interval).expect("a writer");
    writer.append(rows).expect("rows");
    let summary = writer.finish().expect("a segment");
    TableSegment {
        segment: Arc::new(SegmentDescriptor {
            id: format!("t_{number}"),
            datasource: "t".into(),
            interval,
            size: summary.size_bytes,
            load_spec: serde_json::json!({"type": "local", "path": dir}),
        }),
        clip: interval,
        shard_spec: ShardSpec::default(),
    }
}

fn catalog(root: &Path) -> Arc<ScanCatalog> {
    let storage = LocalDeepStorage::open(root).expect("a folder");
    let cache = Arc::new(SegmentCache::new(Arc::new(storage), 64 << 20));
    ScanCatalog::new(Arc::new(CachedSegments::new(cache)))
}

fn context() -> SessionContext {
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(interactive_session_config(THREADS))
        .build();
    SessionContext::new_with_state(prepare_session(state))
}

async fn rows(context: &SessionContext, sql: &str) -> Result<Vec<String>, String> {
    let batches = match context.sql(sql).await {
        Ok(frame) => frame.collect().await,
        Err(error) => Err(error),
    };
    Ok(lines(sql, &batches.map_err(|error| format!("{sql}: {error}"))?))
}

fn lines(sql: &str, batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        let options = FormatOptions::default().with_null("NULL");
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).expect("a printable type"))
            .collect();
        for row in 0..batch.num_rows() {
            lines.push(
                columns
                    .iter()
                    .map(|c| c.value(row).to_string())
                    .collect::<Vec<_>>()
                    .join("|"),
            );
        }
    }
    if !sql.contains("ORDER BY") {
        lines.sort();
    }
    lines
}

async fn plan(context: &SessionContext, sql: &str) -> String {
    let frame = context.sql(sql).await.expect(sql);
    let plan = frame.create_physical_plan().await.expect(sql);
    displayable(plan.as_ref()).indent(false).to_string()
}

/// The same rows as a table of segments and as a table in memory.
struct Pair {
    segments: SessionContext,
    memory: SessionContext,
    _dir: tempfile::TempDir,
}

impl Pair {
    /// The second segment lacks column `t`; the last one is partly hidden, as if newer segments lay over it.
    fn new(parts: &[Vec<Row>]) -> Pair {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        let catalog = catalog(&root);
        let mut segments = Vec::new();
        let mut visible = vec![RecordBatch::new_empty(schema())];
        for (number, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            let start = number as i64 * 4 * HOUR;
            let interval = Interval::new(start, start + 4 * HOUR).expect("an interval");
            let leave_out = (number == 1).then_some("t");
            let mut kept = part.clone();
            let mut hidden = false;
            if number == 1 {
                kept.iter_mut().for_each(|row| row.t = None);
            }
            if number == 2 {
                hidden = true;
                kept.retain(|row| row.minute < 120);
            }
            let mut segment = write(&root, number, interval, column_schemas(leave_out), &batch(part, start));
            if hidden {
                segment.clip = Interval::new(start, start + 2 * HOUR).expect("an interval");
            }
            segments.push(segment);
            visible.push(batch(&kept, start));
        }
        let table = catalog.table("t", segments).expect("a table");
        let (segments, memory) = (context(), SessionContext::new());
        segments.register_table("t", table).expect("registered");
        let all = concat_batches(&schema(), &visible).expect("one batch");
        let table = MemTable::try_new(schema(), vec![vec![all]]).expect("a table");
        memory.register_table("t", Arc::new(table)).expect("registered");
        Pair {
            segments,
            memory,
            _dir: dir,
        }
    }

    async fn check(&self, sql: &str) {
        let ours = rows(&self.segments, sql).await;
        let theirs = rows(&self.memory, sql).await;
        assert_eq!(ours, theirs, "{sql}\n{}", plan(&self.segments, sql).await);
    }
}

const FILTERS: [&str; 26] = [
    "TRUE",
    "s = 'a'",
    "s <> 'a'",
    "s IN ('a', 'b', 'cc', 'zz')",
    "s NOT IN ('a', 'b')",
    "s IS NULL",
    "t IS NOT NULL",
    "s LIKE '%a%'",
    "s NOT LIKE 'a%'",
    "t LIKE '%x%y%' OR t IS NULL",
    "s = 'a' OR t = 'x'",
    "s = 'a' AND t = 'x'",
    "NOT (s = 'a' AND t = 'x')",
    "upper(s) = 'AB' OR length(t) = 2",
    "s > 'ab' AND s <= 'c'",
    "s = t",
    "n > 3",
    "n <> 3 AND n <= 10",
    "n BETWEEN 2 AND 9 AND d >= -2.5 AND d < 4.0",
    "n + 1 > d",
    "big = 9223372036854775807 OR n IS NULL",
    "__time >= TIMESTAMP '1970-01-01T01:30:00'",
    "__time < TIMESTAMP '1970-01-01T05:00:00' AND s IS NOT NULL",
    "(__time < TIMESTAMP '1970-01-01T01:00:00' OR __time >= TIMESTAMP '1970-01-01T09:10:00') AND t <> 'x'",
    "__time >= TIMESTAMP '1970-01-01T03:00:00' AND __time < TIMESTAMP '1970-01-01T06:00:00' AND d IS NOT NULL AND s = 'b'",
    "f >= 2.5 AND NOT (n = 4)",
];

const SELECTS: [&str; 17] = [
    "SELECT __time, s, t, n, big, d, f FROM t WHERE {}",
    "SELECT t, s FROM t WHERE {}",
    "SELECT COUNT(*), COUNT(s), COUNT(n), SUM(n), SUM(d), MIN(d), MAX(d), AVG(d), AVG(n), MIN(n), MAX(big), MIN(f), MAX(__time) FROM t WHERE {}",
    "SELECT s, COUNT(*), SUM(n), AVG(d), MAX(f) FROM t WHERE {} GROUP BY s",
    "SELECT s, t, COUNT(*), MIN(big), SUM(d * 2 + n) FROM t WHERE {} GROUP BY s, t",
    "SELECT n, COUNT(*), SUM(d) FROM t WHERE {} GROUP BY n",
    "SELECT big, COUNT(*) FROM t WHERE {} GROUP BY big",
    "SELECT n, big, s, COUNT(d) FROM t WHERE {} GROUP BY n, big, s",
    "SELECT date_trunc('hour', __time), COUNT(*), SUM(n), MIN(d) FROM t WHERE {} GROUP BY 1",
    "SELECT date_trunc('minute', __time), s, COUNT(*), SUM(d) FROM t WHERE {} GROUP BY 1, 2",
    "SELECT __time, COUNT(*) FROM t WHERE {} GROUP BY 1",
    "SELECT COUNT(DISTINCT n) FROM t WHERE {}",
    "SELECT s, COUNT(DISTINCT n), SUM(DISTINCT n) FROM t WHERE {} GROUP BY s",
    "SELECT t, COUNT(DISTINCT s), SUM(d), MAX(n) FROM t WHERE {} GROUP BY t",
    "SELECT s, COUNT(*) FILTER (WHERE n > 4), SUM(d) FILTER (WHERE t = 'x'), COUNT(DISTINCT n), COUNT(DISTINCT t) FROM t WHERE {} GROUP BY s",
    "SELECT DISTINCT s, n FROM t WHERE {}",
    "SELECT s, SUM(d) AS x FROM t WHERE {} GROUP BY s HAVING COUNT(*) > 2 ORDER BY x DESC NULLS LAST, s LIMIT 3",
];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn segments_answer_as_rows_in_memory_do(
        parts in proptest::collection::vec(proptest::collection::vec(row(), 0..120), 1..4),
        picks in proptest::collection::vec((0..FILTERS.len(), 0..SELECTS.len()), 40)
    ) {
        // Without a segment a table has no columns to ask for; the second one lacks one.
        prop_assume!(parts.iter().enumerate().any(|(number, rows)| number != 1 && !rows.is_empty()));
        let runtime = runtime();
        runtime.block_on(async {
            let pair = tokio::task::block_in_place(|| Pair::new(&parts));
            for (filter, select) in picks {
                pair.check(&SELECTS[select].replace("{}", FILTERS[filter])).await;
            }
        });
    }
}

fn some_rows() -> Vec<Vec<Row>> {
    let row = |i: i64| Row {
        minute: i % 240,
        s: (i % 7 != 0).then(|| ["a", "b", "cc"][i as usize % 3].to_string()),
        t: (i % 5 != 0).then(|| format!("x{}y", i % 11)),
        n: (i % 4 != 0).then_some(i % 13),
        big: i * 1_000_003,
        d: (i % 6 != 0).then_some(i as f64 / 4.0),
        f: Some(i as f32 / 4.0),
    };
    (0..3)
        .map(|part| (0..500).map(|i| row(part * 500 + i)).collect())
        .collect()
}

#[test]
fn every_select_with_every_filter() {
    runtime().block_on(async {
        let pair = tokio::task::block_in_place(|| Pair::new(&some_rows()));
        for select in SELECTS {
            for filter in FILTERS {
                pair.check(&select.replace("{}", filter)).await;
            }
        }
    });
}

/// Replaces every scan by one that reads its slices, as they come back from JSON, past the cache.
fn as_a_task_would(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    plan.transform_up(|node| {
        let Some(scan) = node.downcast_ref::<SegmentScanExec>() else {
            return Ok(Transformed::no(node));
        };
        let json = serde_json::to_string(scan.slices()).expect("JSON");
        let slices: Vec<Vec<SegmentSlice>> = serde_json::from_str(&json).expect("slices");
        assert_eq!(slices, scan.slices());
        Ok(Transformed::yes(
            Arc::new(scan.with_slices(slices)?) as Arc<dyn ExecutionPlan>
        ))
    })
    .expect("a plan")
    .data
}

#[test]
fn tasks_read_the_same_rows_past_the_cache() {
    runtime().block_on(async {
        let pair = tokio::task::block_in_place(|| Pair::new(&some_rows()));
        for filter in FILTERS {
            let sql = SELECTS[0].replace("{}", filter);
            let plan = pair.segments.sql(&sql).await.expect(&sql).create_physical_plan().await;
            let plan = as_a_task_would(plan.expect(&sql));
            let batches = collect(plan, pair.segments.task_ctx()).await.expect(&sql);
            assert_eq!(Ok(lines(&sql, &batches)), rows(&pair.memory, &sql).await, "{sql}");
        }
    });
}

#[test]
fn plans_use_what_segments_offer() {
    runtime().block_on(async {
        let pair = tokio::task::block_in_place(|| Pair::new(&some_rows()));
        for sql in &SELECTS[2..] {
            if sql.contains("SUM(DISTINCT") {
                continue;
            }
            let plan = plan(&pair.segments, &sql.replace("{}", "s LIKE '%c%' AND n + d > 4 AND __time > TIMESTAMP '1970-01-01T01:00:00'")).await;
            assert!(plan.contains("SegmentAggregateExec"), "{sql}\n{plan}");
            assert!(!plan.contains(" AggregateExec"), "{sql}\n{plan}");
        }
        let counted = plan(&pair.segments, "SELECT COUNT(*), MAX(__time), MIN(__time) FROM t").await;
        assert!(!counted.contains("Segment"), "answered from statistics\n{counted}");
        let pruned = plan(&pair.segments, "SELECT s FROM t WHERE __time >= TIMESTAMP '1970-01-01T04:00:00' AND __time < TIMESTAMP '1970-01-01T08:00:00'").await;
        assert!(pruned.contains("slices=1,") && !pruned.contains("FilterExec"), "{pruned}");
        let limited = plan(&pair.segments, "SELECT s FROM t WHERE n > 3 LIMIT 7").await;
        assert!(limited.contains("fetch=7"), "{limited}");
        assert_eq!(rows(&pair.segments, "SELECT s FROM t LIMIT 7").await.map(|rows| rows.len()), Ok(7));
        assert_eq!(rows(&pair.segments, "SELECT s FROM t WHERE n > 3 LIMIT 600").await.map(|rows| rows.len()), Ok(600));
    });
}

#[test]
fn ranges_of_the_shard_spec_prune() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        let interval = Interval::new(0, 4 * HOUR).expect("an interval");
        let rows_of = |value: &str| {
            let row = Row {
                minute: 1,
                s: Some(value.into()),
                t: None,
                n: Some(1),
                big: 0,
                d: None,
                f: None,
            };
            batch(&[row], 0)
        };
        let bound = |value: &str| Some(vec![Some(value.to_string())]);
        let mut segments = Vec::new();
        for (number, value) in ["a", "b", "c"].iter().enumerate() {
            let mut segment = write(&root, number, interval, column_schemas(None), &rows_of(value));
            segment.shard_spec = ShardSpec::Range {
                dimensions: vec!["s".into()],
                virtual_columns: None,
                start: if number == 0 { None } else { bound(value) },
                end: ["b", "c"].get(number).and_then(|end| bound(end)),
                partition_num: number as u32,
                num_core_partitions: 3,
            };
            segments.push(segment);
        }
        let context = context();
        let table = tokio::task::block_in_place(|| catalog(&root).table("t", segments)).expect("a table");
        context.register_table("t", table).expect("registered");
        for (filter, slices) in [
            ("s = 'a'", 1),
            ("s IN ('a', 'b')", 2),
            ("s = 'c'", 2),
            ("n = 1", 3),
            ("s = 'a' AND s = 'c'", 0),
        ] {
            let plan = plan(&context, &format!("SELECT n FROM t WHERE {filter}")).await;
            assert!(
                plan.contains(&format!("slices={slices},")) || slices == 0,
                "{filter}\n{plan}"
            );
        }
        assert_eq!(
            rows(&context, "SELECT s FROM t WHERE s IN ('a', 'b')").await,
            Ok(vec!["a".into(), "b".into()])
        );
    });
}

#[test]
fn types_unite_and_multi_value_columns_are_lists() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        let time = |start: i64| Arc::new(TimestampMillisecondArray::from(vec![start, start + 1])) as ArrayRef;
        let mut list = ListBuilder::new(StringBuilder::new());
        list.append_value([Some("p"), Some("q")]);
        list.append_null();
        let old = RecordBatch::try_from_iter([
            ("__time", time(0)),
            ("x", Arc::new(Int64Array::from(vec![Some(7), None])) as ArrayRef),
            ("y", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
            ("m", Arc::new(StringArray::from(vec![Some("p"), None])) as ArrayRef),
        ])
        .expect("rows");
        let new = RecordBatch::try_from_iter([
            ("__time", time(HOUR)),
            ("x", Arc::new(StringArray::from(vec!["seven", "8"])) as ArrayRef),
            ("y", Arc::new(Float64Array::from(vec![0.5, 1.5])) as ArrayRef),
            ("m", Arc::new(list.finish()) as ArrayRef),
        ])
        .expect("rows");
        let columns = |x: ColumnType, y: ColumnType, m: ColumnType| {
            vec![
                ColumnSchema::new("x", x),
                ColumnSchema::new("y", y),
                ColumnSchema::new("m", m),
            ]
        };
        let segments = vec![
            write(
                &root,
                0,
                Interval::new(0, HOUR).expect("an interval"),
                columns(ColumnType::LONG, ColumnType::LONG, ColumnType::STRING),
                &old,
            ),
            write(
                &root,
                1,
                Interval::new(HOUR, 2 * HOUR).expect("an interval"),
                columns(ColumnType::STRING, ColumnType::DOUBLE, ColumnType::MultiString),
                &new,
            ),
        ];
        let context = context();
        let table = tokio::task::block_in_place(|| catalog(&root).table("t", segments)).expect("a table");
        context.register_table("t", table).expect("registered");
        let lines = |lines: &[&str]| Ok(lines.iter().map(|line| line.to_string()).collect::<Vec<_>>());
        assert_eq!(
            rows(&context, "SELECT x, y, m FROM t ORDER BY __time").await,
            lines(&["7|1.0|[p]", "NULL|2.0|NULL", "seven|0.5|[p, q]", "8|1.5|NULL"])
        );
        assert_eq!(
            rows(&context, "SELECT x, SUM(y) FROM t GROUP BY x").await,
            lines(&["7|1.0", "8|1.5", "NULL|2.0", "seven|0.5"])
        );
        assert_eq!(
            rows(&context, "SELECT y FROM t WHERE x = '7' OR x IS NULL").await,
            lines(&["1.0", "2.0"])
        );
        let error = rows(&context, "SELECT m, COUNT(*) FROM t GROUP BY m")
            .await
            .expect_err("lists are no groups");
        assert!(error.contains("multi-value column [m]"), "{error}");
    });
}

/// The datasources of the bench, small.
struct Bench(Arc<DatasourceTable>, Arc<DatasourceTable>);

impl SchemaCatalog for Bench {
    fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        match (schema, name) {
            ("druid", "flights") => Some(self.0.clone()),
            ("druid", "lineitem") => Some(self.1.clone()),
            _ => None,
        }
    }

    fn table_names(&self, _: &str) -> Vec<String> {
        vec!["flights".into(), "lineitem".into()]
    }

    fn extern_table(&self, _: ExternSpec) -> Arc<dyn TableProvider> {
        self.0.clone()
    }
}

/// Makes a datasource of rows that depend on nothing but their number.
fn bench_table(root: &Path, name: &str, start: i64, step: i64, columns: &[Made]) -> Arc<DatasourceTable> {
    let root = root.join(name);
    std::fs::create_dir_all(&root).expect("a folder");
    let segments = (0..3).map(|number| {
        let interval = Interval::new(start + number * 1000 * step, start + (number + 1) * 1000 * step);
        let ids = || number * 1000..(number + 1) * 1000;
        let mut arrays = vec![(
            "__time",
            Arc::new(TimestampMillisecondArray::from_iter_values(
                ids().map(|i| start + i * step),
            )) as ArrayRef,
        )];
        let mut schemas = Vec::new();
        for (name, value) in columns {
            let (array, column_type): (ArrayRef, _) = match value(0) {
                Value::Text(_) => (
                    Arc::new(StringArray::from_iter_values(ids().map(|i| value(i).text()))),
                    ColumnType::STRING,
                ),
                Value::Long(_) => (
                    Arc::new(Int64Array::from_iter_values(ids().map(|i| value(i).number() as i64))),
                    ColumnType::LONG,
                ),
                Value::Double(_) => (
                    Arc::new(Float64Array::from_iter_values(ids().map(|i| value(i).number()))),
                    ColumnType::DOUBLE,
                ),
            };
            arrays.push((name, array));
            schemas.push(ColumnSchema::new(*name, column_type));
        }
        let rows = RecordBatch::try_from_iter(arrays).expect("rows");
        let mut segment = write(&root, number as usize, interval.expect("an interval"), schemas, &rows);
        let descriptor = Arc::make_mut(&mut segment.segment);
        (descriptor.id, descriptor.datasource) = (format!("{name}_{number}"), name.into());
        segment
    });
    catalog(&root).table(name, segments.collect()).expect("a table")
}

/// A column and how its values are made.
type Made = (&'static str, fn(i64) -> Value);

enum Value {
    Text(&'static str),
    Long(i64),
    Double(f64),
}

impl Value {
    fn text(self) -> &'static str {
        match self {
            Value::Text(text) => text,
            _ => "",
        }
    }

    fn number(self) -> f64 {
        match self {
            Value::Long(value) => value as f64,
            Value::Double(value) => value,
            Value::Text(_) => 0.0,
        }
    }
}

/// The aggregations of the bench as Druid's clients write them.
const DRUID_SQL: [&str; 12] = [
    "SELECT origin, COUNT(*) AS n, AVG(delay) AS d FROM flights GROUP BY origin ORDER BY n DESC, 1 LIMIT 10",
    "SELECT FLOOR(__time TO DAY) AS d, COUNT(*) AS n, SUM(distance) AS s FROM flights GROUP BY 1 ORDER BY 1",
    "SELECT FLOOR(__time TO MONTH) AS m, COUNT(*) AS n, MAX(delay) AS x FROM flights WHERE origin = 'ATL' AND destination = 'ORD' GROUP BY 1 ORDER BY 1",
    "SELECT TIME_FLOOR(__time, 'PT6H') AS m, origin, MIN(delay) AS x FROM flights WHERE origin <> 'ATL' GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT origin, destination, COUNT(*) AS n, AVG(delay) AS d FROM flights WHERE __time >= TIMESTAMP '2001-01-10 00:00:00' AND __time < TIMESTAMP '2001-02-01 00:00:00' GROUP BY 1, 2 ORDER BY n DESC, 1, 2 LIMIT 20",
    "SELECT l_returnflag, l_linestatus, SUM(l_quantity) AS a, SUM(l_extendedprice) AS b, SUM(l_extendedprice * (1 - l_discount)) AS c, SUM(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS d, AVG(l_quantity) AS e, AVG(l_discount) AS f, COUNT(*) AS n FROM lineitem WHERE __time <= TIMESTAMP '1998-09-02 00:00:00' GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT SUM(l_extendedprice * l_discount) AS revenue FROM lineitem WHERE __time >= TIMESTAMP '1994-01-01 00:00:00' AND __time < TIMESTAMP '1995-01-01 00:00:00' AND l_discount BETWEEN 0.049 AND 0.51 AND l_quantity < 24",
    "SELECT COUNT(DISTINCT l_orderkey) AS n FROM lineitem",
    "SELECT l_shipmode, COUNT(DISTINCT l_partkey) AS n FROM lineitem GROUP BY 1 ORDER BY 1",
    "SELECT l_partkey, SUM(l_quantity) AS q FROM lineitem GROUP BY 1 ORDER BY q DESC, l_partkey LIMIT 10",
    "SELECT l_shipmode, COUNT(*) AS n FROM lineitem WHERE l_comment LIKE '%special%requests%' GROUP BY 1 ORDER BY 1",
    "SELECT l_shipmode, COUNT(*) FILTER (WHERE l_quantity > 3) AS n, MAX(__time) AS t FROM lineitem WHERE l_shipmode IN ('MAIL', 'AIR') AND l_comment IS NOT NULL GROUP BY 1 ORDER BY 1",
];

#[test]
fn druid_sql_is_aggregated_on_segments() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        let flights = tokio::task::block_in_place(|| {
            bench_table(
                &root,
                "flights",
                978_307_200_000,
                HOUR / 2,
                &[
                    ("delay", |i| Value::Long(i % 37 - 5)),
                    ("distance", |i| Value::Long(i % 1013)),
                    ("origin", |i| Value::Text(["ATL", "ORD", "SFO", "LAX"][i as usize % 4])),
                    ("destination", |i| Value::Text(["ORD", "JFK", "ATL"][i as usize % 3])),
                ],
            )
        });
        let lineitem = tokio::task::block_in_place(|| {
            bench_table(
                &root,
                "lineitem",
                694_224_000_000,
                24 * HOUR,
                &[
                    ("l_orderkey", |i| Value::Long(i / 3)),
                    ("l_partkey", |i| Value::Long(i * 7 % 211)),
                    ("l_quantity", |i| Value::Double((i % 50) as f64)),
                    ("l_extendedprice", |i| Value::Double((i % 97) as f64 * 0.25)),
                    ("l_discount", |i| Value::Double((i % 5) as f64 * 0.125)),
                    ("l_tax", |i| Value::Double((i % 3) as f64 * 0.5)),
                    ("l_returnflag", |i| Value::Text(["R", "A", "N"][i as usize % 3])),
                    ("l_linestatus", |i| Value::Text(["O", "F"][i as usize % 2])),
                    ("l_shipmode", |i| Value::Text(["MAIL", "AIR", "SHIP"][i as usize % 3])),
                    ("l_comment", |i| {
                        Value::Text(
                            ["special requests", "the special, requests", "requests special", "none"][i as usize % 4],
                        )
                    }),
                ],
            )
        });
        let planner = Planner::new(Arc::new(Bench(flights, lineitem)), EngineKind::Native);
        for sql in DRUID_SQL {
            let request = SqlRequest {
                sql: sql.into(),
                ..SqlRequest::default()
            };
            let planned = planner
                .plan(request)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
            let state = SessionStateBuilder::new_from_existing(planned.session.clone())
                .with_config(planned.session.config().clone().with_target_partitions(THREADS))
                .build();
            let mut answers = Vec::new();
            for state in [state.clone(), prepare_session(state)] {
                let plan = state.create_physical_plan(&planned.plan).await.expect(sql);
                let text = displayable(plan.as_ref()).indent(false).to_string();
                let batches = collect(plan, state.task_ctx()).await.expect(sql);
                answers.push((text, lines(sql, &batches)));
            }
            assert_eq!(answers[0].1, answers[1].1, "{sql}");
            assert!(!answers[0].1.is_empty(), "{sql}");
            assert!(answers[1].0.contains("SegmentAggregateExec"), "{sql}\n{}", answers[1].0);
            assert!(!answers[1].0.contains("FilterExec"), "{sql}\n{}", answers[1].0);
        }
    });
}
