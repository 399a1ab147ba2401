//! From rows to segments in deep storage and back, against a naive sort; then what is refused, and how.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array, Int64Builder, ListBuilder, RecordBatch,
    StringArray, StringBuilder, TimestampMillisecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType,
};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::collect;
use henge_exchange::{
    CappedBudget, CutLimits, CutTarget, KeyRange, KeySpec, LocalRunStore, RunOptions, RunSet, RunStore, RunWriter, cut,
};
use henge_metadata::{LockKind, MetadataStore, ShardSpec, TaskLock};
use henge_segment::{RowSelection, Segment};
use henge_sql::{Ingest, OutputColumn, QueryContext, SqlType};
use henge_storage::{DeepStorage, LocalDeepStorage};
use henge_time::{Granularity, Interval};
use proptest::prelude::*;

use super::*;
use crate::fault::{Fault, FaultCode};

const DAY: i64 = 86_400_000;

#[derive(Debug, Clone, PartialEq)]
struct Row {
    n: Option<i64>,
    country: Option<String>,
    time: Option<i64>,
    x: Option<f64>,
    city: Option<String>,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("country", DataType::Utf8, true),
        Field::new("__time", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("x", DataType::Float64, true),
        Field::new("city", DataType::Utf8, true),
    ]))
}

fn columns() -> Vec<OutputColumn> {
    let types = [
        SqlType::BigInt,
        SqlType::Varchar,
        SqlType::Timestamp,
        SqlType::Double,
        SqlType::Varchar,
    ];
    let column = |(field, sql_type): (&Arc<Field>, SqlType)| OutputColumn {
        name: field.name().clone(),
        sql_type,
        nullable: true,
    };
    schema().fields().iter().zip(types).map(column).collect()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.n).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.country.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.time).collect::<TimestampMillisecondArray>()),
        Arc::new(rows.iter().map(|row| row.x).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.city.as_deref()).collect::<StringArray>()),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns of the schema")
}

fn ingest(granularity: &str, clustered_by: &[&str]) -> Ingest {
    Ingest {
        target: "places".to_string(),
        granularity: granularity.parse().expect("a granularity"),
        clustered_by: clustered_by.iter().map(ToString::to_string).collect(),
        grouped_by: Vec::new(),
        computed_keys: Vec::new(),
        rollup: None,
    }
}

/// A stage that has run: what the tasks of the SELECT left.
struct Staged {
    folder: tempfile::TempDir,
    store: Arc<dyn RunStore>,
    budget: Arc<CappedBudget>,
    ingest: Ingest,
    schema: SchemaRef,
    key: KeySpec,
    work: SegmentWork,
    sets: Vec<RunSet>,
}

impl Staged {
    /// Stages one batch that has columns of its own.
    fn of(ingest: Ingest, batch: &RecordBatch, columns: &[OutputColumn], key: KeySpec) -> Self {
        let mut staged = Self::new(ingest, &[], usize::MAX / 4);
        staged.work = SegmentWork::new(&staged.ingest, columns);
        staged.schema = batch.schema();
        staged.key = key;
        let set = staged.stage(0, std::slice::from_ref(batch));
        staged.sets.push(set);
        staged
    }

    /// Writes the batches of a task as runs, by the key and the schema.
    fn stage(&self, task: u32, batches: &[RecordBatch]) -> RunSet {
        let options = RunOptions::new(format!("q/0/{task}-0"), task);
        let (key, budget) = (self.key.clone(), self.budget.clone());
        let mut writer = RunWriter::new(&self.schema, key, budget, Arc::clone(&self.store), options).expect("a writer");
        for batch in batches {
            writer.write(batch).expect("written");
        }
        writer.finish().expect("staged")
    }

    fn new(ingest: Ingest, tasks: &[Vec<Row>], memory: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let store_memory = Arc::new(CappedBudget::new(memory));
        let store: Arc<dyn RunStore> = Arc::new(LocalRunStore::new(folder.path().join("runs"), store_memory));
        let mut staged = Self {
            work: SegmentWork::new(&ingest, &columns()),
            budget: Arc::new(CappedBudget::new(memory)),
            schema: schema(),
            key: KeySpec::mix(),
            sets: Vec::new(),
            folder,
            store,
            ingest,
        };
        for (number, rows) in tasks.iter().enumerate() {
            let source = MemorySourceConfig::try_new_exec(&[vec![batch(rows)]], schema(), None).expect("a source");
            let (plan, key) = plan_key(source, &staged.ingest, &columns()).expect("a plan");
            staged.schema = plan.schema();
            staged.key = key;
            let batches = runtime
                .block_on(collect(plan, Arc::new(TaskContext::default())))
                .expect("collected");
            let set = staged.stage(number as u32, &batches);
            staged.sets.push(set);
        }
        staged
    }

    fn ranges(&self, target: u64) -> Vec<KeyRange> {
        let sets: Vec<&RunSet> = self.sets.iter().collect();
        cut(&self.key, &sets, CutTarget::TargetRows(target), CutLimits::default()).expect("cut")
    }

    fn plan(
        &self,
        kind: IngestKind<'_>,
        ranges: &[KeyRange],
        max_num_segments: Option<u64>,
    ) -> Result<SegmentPlan, Fault> {
        plan_segments(&PlanRequest {
            ingest: &self.ingest,
            kind,
            work: &self.work,
            schema: &self.schema,
            key: &self.key,
            sets: &self.sets,
            ranges,
            max_num_segments,
        })
    }

    /// Writes and pushes all segments, and opens what was pushed.
    fn load(&self, tasks: &[SegmentTask]) -> Result<Vec<(SegmentManifest, Segment)>, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let deep = LocalDeepStorage::open(&self.folder.path().join("deep")).expect("deep storage");
        let counts: [AtomicU64; 4] = Default::default();
        let progress = |at: RowsAt| {
            let (place, rows) = match at {
                RowsAt::Processed(rows) => (0, rows),
                RowsAt::Persisted(rows) => (1, rows),
                RowsAt::Merged(rows) => (2, rows),
                RowsAt::Pushed(rows) => (3, rows),
                RowsAt::SpilledBytes(_) => return,
            };
            counts[place].fetch_add(rows, Ordering::Relaxed);
        };
        let env = WriteEnv {
            store: Arc::clone(&self.store),
            budget: self.budget.clone(),
            budget_bytes: 40_000,
            threads: 2,
            tmp_dir: self.folder.path(),
            progress: &progress,
            cancelled: &|| false,
        };
        let rows = Rows {
            schema: &self.schema,
            key: &self.key,
            sets: &self.sets,
        };
        let mut loaded = Vec::new();
        for (number, task) in tasks.iter().enumerate() {
            let written = write_segment(&self.work, task, rows, &format!("q/1/{number}-0"), &env)?.expect("has rows");
            let manifest = runtime.block_on(push_segment(&self.work, task, written, &deep, &progress))?;
            let path = runtime
                .block_on(deep.fetch(&manifest.segment.load_spec))
                .expect("fetched");
            let segment = Segment::open(&path).expect("opened");
            assert_eq!(segment.rows() as u64, manifest.rows);
            loaded.push((manifest, segment));
        }
        let total: u64 = loaded.iter().map(|(manifest, _)| manifest.rows).sum();
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == total));
        assert_eq!(self.budget.used(), 0, "all memory given back");
        Ok(loaded)
    }
}

fn rows_of(segment: &Segment) -> Vec<Row> {
    let read = |column: &str| segment.read(column, RowSelection::All).expect("read");
    let text = |column: &str| cast(&read(column), &DataType::Utf8).expect("strings");
    let (time, n, x) = (read("__time"), read("n"), read("x"));
    let (country, city) = (text("country"), text("city"));
    let (n, x) = (n.as_primitive::<Int64Type>(), x.as_primitive::<Float64Type>());
    let string = |column: &ArrayRef, row: usize| {
        let column = column.as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_string())
    };
    (0..segment.rows())
        .map(|row| Row {
            time: Some(time.as_primitive::<TimestampMillisecondType>().value(row)),
            n: n.is_valid(row).then(|| n.value(row)),
            x: x.is_valid(row).then(|| x.value(row)),
            country: string(&country, row),
            city: string(&city, row),
        })
        .collect()
}

fn lock(interval: Interval) -> TaskLock {
    TaskLock {
        task_id: "q".to_string(),
        kind: LockKind::Exclusive,
        group_id: "q".to_string(),
        datasource: "places".to_string(),
        interval,
        version: "2026-01-01T00:00:00.000Z".to_string(),
        priority: 50,
        revoked: false,
    }
}

fn row() -> impl Strategy<Value = Row> {
    let text = || {
        prop_oneof![
            Just(None),
            "[a-c]{1,2}".prop_map(Some),
            Just(Some("é long enough to be two blocks".to_string()))
        ]
    };
    let x = prop_oneof![Just(None), (-3i32..3).prop_map(|x| Some(f64::from(x) / 2.0))];
    let time = prop_oneof![-2 * DAY..3 * DAY, (0i64..6).prop_map(|hour| hour * DAY / 4)];
    (prop::option::of(0i64..5), text(), time, x, text()).prop_map(|(n, country, time, x, city)| Row {
        n,
        country,
        time: Some(time),
        x,
        city,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_is_loaded_comes_back_sorted_and_cut(
        tasks in prop::collection::vec(prop::collection::vec(row(), 0..150), 1..4),
        granularity in prop_oneof![Just("DAY"), Just("HOUR"), Just("ALL")],
        clustered in prop_oneof![Just(vec![]), Just(vec!["city"]), Just(vec!["city", "n"]), Just(vec!["n", "country"])],
        memory in prop_oneof![Just(0usize), Just(8_000usize), Just(usize::MAX / 4)],
        target in 5u64..100,
    ) {
        let staged = Staged::new(ingest(granularity, &clustered), &tasks, memory);
        let ranges = staged.ranges(target);
        let plan = staged.plan(IngestKind::Replace { bounds: None }, &ranges, None).expect("planned");
        let tasks_json = serde_json::to_string(&replace_tasks(plan, &[lock(Interval::ETERNITY)]).expect("locked")).expect("JSON");
        let segment_tasks: Vec<SegmentTask> = serde_json::from_str(&tasks_json).expect("from JSON");
        let loaded = staged.load(&segment_tasks).expect("loaded");

        // The order of the dimensions decides the order of rows.
        let names: Vec<&str> = staged.work.dimensions.iter().map(|column| column.name.as_str()).collect();
        let compare = |a: &Row, b: &Row| {
            a.time.cmp(&b.time).then_with(|| {
                names.iter().map(|name| match *name {
                    "n" => a.n.cmp(&b.n),
                    "x" => a.x.partial_cmp(&b.x).expect("numbers"),
                    "country" => a.country.cmp(&b.country),
                    _ => a.city.cmp(&b.city),
                }).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
            })
        };
        let mut all = Vec::new();
        for (task, (manifest, segment)) in segment_tasks.iter().zip(&loaded) {
            let rows = rows_of(segment);
            prop_assert!(rows.is_sorted_by(|a, b| compare(a, b).is_le()));
            prop_assert!(rows.iter().all(|row| task.interval.contains_instant(row.time.expect("a time"))));
            prop_assert_eq!(&manifest.segment.dimensions, &names);
            prop_assert_eq!(manifest.segment.total_rows, Some(rows.len() as u64));
            if let ShardSpec::Range { dimensions, start, end, .. } = &task.shard_spec {
                for row in &rows {
                    let values: Vec<Option<String>> = dimensions.iter()
                        .map(|name| if name == "city" { row.city.clone() } else { row.country.clone() }).collect();
                    prop_assert!(start.as_ref().is_none_or(|start| *start <= values));
                    // One key may span several segments, so the end is only exclusive where the next starts with another key.
                    prop_assert!(end.as_ref().is_none_or(|end| values <= *end));
                }
            }
            all.extend(rows);
        }
        let mut expected = tasks.concat();
        expected.sort_by(compare);
        all.sort_by(compare);
        prop_assert_eq!(all, expected);

        // Partition numbers are dense in each time chunk.
        for chunk in segment_tasks.chunk_by(|a, b| a.interval == b.interval) {
            for (number, task) in chunk.iter().enumerate() {
                prop_assert_eq!(task.shard_spec.partition_num() as usize, number);
                prop_assert_eq!(task.shard_spec.core_partitions(), Some(chunk.len() as u32));
            }
        }
    }
}

fn at(day: i64, city: &str, n: i64) -> Row {
    Row {
        n: Some(n),
        country: Some("AU".to_string()),
        time: Some(day * DAY + n),
        x: None,
        city: Some(city.to_string()),
    }
}

#[test]
fn shard_specs_follow_the_clustering() {
    let rows = vec![vec![at(0, "a", 1), at(0, "b", 2), at(0, "c", 3), at(1, "a", 4)]];
    let report = |granularity: &str, clustered: &[&str], kind: IngestKind<'_>| {
        let staged = Staged::new(ingest(granularity, clustered), &rows, usize::MAX / 4);
        staged.plan(kind, &staged.ranges(1), None).expect("planned")
    };
    let replace = IngestKind::Replace { bounds: None };
    let all = report("DAY", &["city"], replace);
    assert_eq!(all.report.shard_spec, "DimensionRangeShardSpec");
    assert_eq!(
        all.report.details,
        "Using 'range' shard specs with all CLUSTERED BY fields."
    );
    let json: Vec<String> = all
        .segments
        .iter()
        .map(|segment| serde_json::to_string(&segment.shard_spec).expect("JSON"))
        .collect();
    assert_eq!(
        json,
        [
            r#"{"type":"range","dimensions":["city"],"start":null,"end":["b"],"partitionNum":0,"numCorePartitions":3}"#,
            r#"{"type":"range","dimensions":["city"],"start":["b"],"end":["c"],"partitionNum":1,"numCorePartitions":3}"#,
            r#"{"type":"range","dimensions":["city"],"start":["c"],"end":null,"partitionNum":2,"numCorePartitions":3}"#,
            r#"{"type":"range","dimensions":["city"],"start":null,"end":null,"partitionNum":0,"numCorePartitions":1}"#,
        ]
    );
    assert_eq!(
        all.segments[3].interval.to_string(),
        "1970-01-02T00:00:00.000Z/1970-01-03T00:00:00.000Z"
    );

    let prefix = report("ALL", &["city", "n"], replace);
    assert_eq!(
        prefix.report.details,
        "Using[1] CLUSTERED BY columns for 'range' shard specs, since the next column is of type[LONG]. Only string \
         columns are included in 'range' shard specs."
    );
    assert!(matches!(&prefix.segments[0].shard_spec, ShardSpec::Range { dimensions, .. } if dimensions == &["city"]));
    let number_first = report("ALL", &["n", "city"], replace);
    assert_eq!(number_first.report.shard_spec, "NumberedShardSpec");
    assert_eq!(
        number_first.report.details,
        "Using[0] CLUSTERED BY columns for 'range' shard specs, since the next column is of type[LONG]. Only string \
         columns are included in 'range' shard specs."
    );
    assert_eq!(
        report("ALL", &[], replace).report.details,
        "CLUSTERED BY clause is empty."
    );
    assert_eq!(
        report("ALL", &[], replace).segments.len(),
        4,
        "rows without a key are cut by their places"
    );
    let insert = report("DAY", &["city"], IngestKind::Insert);
    assert_eq!(
        (insert.report.shard_spec.as_str(), insert.report.details.as_str()),
        (
            "NumberedShardSpec",
            "Using NumberedShardSpec to generate segments since the query is inserting rows."
        )
    );
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let rows = vec![vec![at(0, "a", 1), at(1, "b", 2), at(1, "c", 3)]];
    let staged = Staged::new(ingest("DAY", &["city"]), &rows, usize::MAX / 4);
    let ranges = staged.ranges(1);
    let first: Interval = "1970-01-01/1970-01-02".parse().expect("an interval");
    let fault = staged
        .plan(IngestKind::Replace { bounds: Some(&[first]) }, &ranges, None)
        .expect_err("outside");
    assert_eq!(fault.code, FaultCode::InsertTimeOutOfBounds);
    let chunk = "1970-01-02T00:00:00.000Z/1970-01-03T00:00:00.000Z";
    let fields = serde_json::json!({"interval": chunk, "intervalBounds": [first.to_string()]});
    assert_eq!(serde_json::Value::Object(fault.fields), fields);
    assert!(
        fault
            .message
            .is_some_and(|text| text.contains(&format!("OVERWRITE WHERE[[{first}]]")))
    );

    let fault = staged
        .plan(IngestKind::Insert, &ranges, Some(1))
        .expect_err("two segments in a day");
    assert_eq!(
        fault.message.as_deref(),
        Some(
            "Too many segments requested to be generated in time chunk[1970-01-02T00:00:00.000Z] with granularity[DAY] \
             (requested = [2], maximum = [1]). Please try breaking up your query or change the maximum using the query \
             context parameter[maxNumSegments]."
        )
    );
    let plan = staged
        .plan(IngestKind::Replace { bounds: None }, &ranges, None)
        .expect("planned");
    assert_eq!(
        replace_tasks(plan, &[lock(first)]).expect_err("not locked").code,
        FaultCode::InsertLockPreempted
    );

    let timeless = vec![vec![Row {
        time: None,
        ..at(0, "a", 1)
    }]];
    let staged = Staged::new(ingest("DAY", &[]), &timeless, usize::MAX / 4);
    let fault = staged
        .plan(IngestKind::Insert, &staged.ranges(1), None)
        .expect_err("no time");
    assert_eq!(fault, Fault::time_null());
    let staged = Staged::new(ingest("ALL", &[]), &timeless, usize::MAX / 4);
    let plan = staged
        .plan(IngestKind::Replace { bounds: None }, &staged.ranges(1), None)
        .expect("planned");
    let tasks = replace_tasks(plan, &[lock(Interval::ETERNITY)]).expect("locked");
    assert_eq!(staged.load(&tasks).expect_err("no time"), Fault::time_null());
    assert!(staged.ranges(1).iter().all(|range| range.bucket.is_none()));
}

#[test]
fn nothing_becomes_nothing() {
    let staged = Staged::new(ingest("DAY", &["city"]), &[Vec::new()], usize::MAX / 4);
    let ranges = staged.ranges(10);
    assert_eq!(ranges, [KeyRange::everything(0)]);
    assert_eq!(
        staged
            .plan(IngestKind::Insert, &ranges, None)
            .expect("planned")
            .segments,
        []
    );
}

#[test]
fn an_insert_gets_its_places_by_allocation() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let rows = vec![vec![at(0, "a", 1), at(0, "b", 2), at(1, "c", 3)]];
        let staged = std::thread::spawn(move || Staged::new(ingest("DAY", &["city"]), &rows, usize::MAX / 4))
            .join()
            .expect("staged");
        let plan = staged
            .plan(IngestKind::Insert, &staged.ranges(1), None)
            .expect("planned");
        let metadata = MetadataStore::open(&staged.folder.path().join("metadata.db"))
            .await
            .expect("opened");
        let tasks = allocate_segments(&metadata, plan, &staged.ingest, "q", "q", LockKind::Shared)
            .await
            .expect("allocated");
        let places: Vec<(i64, u32, Option<u32>)> = tasks
            .iter()
            .map(|task| {
                let start = task.interval.start_ms / DAY;
                (
                    start,
                    task.shard_spec.partition_num(),
                    task.shard_spec.core_partitions(),
                )
            })
            .collect();
        assert_eq!(places, [(0, 0, Some(0)), (0, 1, Some(0)), (1, 0, Some(0))]);
    });
}

#[test]
fn several_values_a_row_are_kept_and_not_claimed_as_sorted() {
    let ingest = ingest("ALL", &["tags"]);
    let mut tags = ListBuilder::new(StringBuilder::new());
    for values in [&["b", "a"][..], &[], &["c"]] {
        values.iter().for_each(|value| tags.values().append_value(value));
        tags.append(true);
    }
    let tags = tags.finish();
    let schema = Arc::new(Schema::new(vec![
        Field::new("tags", tags.data_type().clone(), true),
        Field::new("flag", DataType::Boolean, true),
    ]));
    let flags = datafusion::arrow::array::BooleanArray::from(vec![Some(true), None, Some(false)]);
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(tags), Arc::new(flags)]).expect("columns");
    let column = |name: &str, sql_type: SqlType| OutputColumn {
        name: name.to_string(),
        sql_type,
        nullable: true,
    };
    let columns = [column("tags", SqlType::MultiVarchar), column("flag", SqlType::Boolean)];
    let source = MemorySourceConfig::try_new_exec(&[vec![batch.clone()]], Arc::clone(&schema), None).expect("a source");
    let (plan, key) = plan_key(source, &ingest, &columns).expect("a plan");
    assert_eq!(
        (plan.schema().fields().len(), key.bucket_by_count),
        (2, 0),
        "no time, no time chunk"
    );

    let staged = Staged::of(ingest, &batch, &columns, key);
    assert_eq!(
        staged.work.segment_schema().expect("a schema").ordering,
        Some(vec!["__time".to_string()])
    );
    let plan = staged
        .plan(IngestKind::Replace { bounds: None }, &staged.ranges(10), None)
        .expect("planned");
    assert_eq!(plan.report.shard_spec, "NumberedShardSpec");
    let tasks = replace_tasks(plan, &[lock(Interval::ETERNITY)]).expect("locked");
    let (manifest, segment) = staged.load(&tasks).expect("loaded").pop().expect("a segment");
    assert_eq!(manifest.segment.interval, Interval::ETERNITY);
    let read = |name: &str| segment.read(name, RowSelection::All).expect("read");
    assert_eq!(
        read("__time").as_primitive::<TimestampMillisecondType>().values(),
        &[0, 0, 0]
    );
    let flags = read("flag");
    let mut flags: Vec<Option<i64>> = flags.as_primitive::<Int64Type>().iter().collect();
    flags.sort();
    assert_eq!(flags, [None, Some(0), Some(1)]);
    assert_eq!(Granularity::All.bucket(0), manifest.segment.interval);
}

#[test]
fn objects_arrays_and_json_are_stored_in_their_types() {
    let ingest = ingest("ALL", &[]);
    let json = StringArray::from(vec![Some(r#"{"a":1}"#), None, Some("[1,2]")]);
    let sketches = BinaryArray::from_opt_vec(vec![Some(b"one".as_slice()), None, Some(b"".as_slice())]);
    let mut longs = ListBuilder::new(Int64Builder::new());
    longs.append_value([Some(2), None]);
    longs.append_null();
    longs.append_value([]);
    let longs = longs.finish();
    let schema = Arc::new(Schema::new(vec![
        Field::new("j", DataType::Utf8, true),
        Field::new("h", DataType::Binary, true),
        Field::new("l", longs.data_type().clone(), true),
    ]));
    let arrays: Vec<ArrayRef> = vec![Arc::new(json), Arc::new(sketches), Arc::new(longs)];
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays.clone()).expect("columns");
    let column = |name: &str, sql_type: SqlType| OutputColumn {
        name: name.to_string(),
        sql_type,
        nullable: true,
    };
    let columns = [
        column("j", SqlType::Complex("json".into())),
        column("h", SqlType::Complex("HLLSketch".into())),
        column("l", SqlType::Array(Box::new(SqlType::BigInt))),
    ];
    let source = MemorySourceConfig::try_new_exec(&[vec![batch.clone()]], Arc::clone(&schema), None).expect("a source");
    let (_, key) = plan_key(source, &ingest, &columns).expect("a plan");
    let mut staged = Staged::of(ingest, &batch, &columns, key);
    let context = serde_json::json!({"indexSpec": {"jsonCompression": "zstd", "longEncoding": "longs"}});
    let context = QueryContext::from(context.as_object().cloned().unwrap_or_default());
    staged.work = staged.work.clone().with_context(&context).expect("an index spec");
    let plan = staged
        .plan(IngestKind::Replace { bounds: None }, &staged.ranges(10), None)
        .expect("planned");
    let tasks = replace_tasks(plan, &[lock(Interval::ETERNITY)]).expect("locked");
    let (manifest, segment) = staged.load(&tasks).expect("loaded").pop().expect("a segment");
    assert_eq!(manifest.segment.dimensions, ["j", "l"]);
    assert_eq!(manifest.segment.metrics, ["h"]);
    let aggregators = segment
        .metadata()
        .and_then(|m| m.aggregators.clone())
        .unwrap_or_default();
    assert_eq!(
        aggregators,
        [serde_json::json!({"type": "passthrough", "columnName": "h", "complexTypeName": "HLLSketch"})]
    );
    // No bytes are no HLL sketch.
    let sketches = BinaryArray::from_opt_vec(vec![Some(b"one".as_slice()), None, None]);
    let stored: [ArrayRef; 3] = [Arc::clone(&arrays[0]), Arc::new(sketches), Arc::clone(&arrays[2])];
    // The order of the rows is that of hashes.
    for (name, expected) in ["j", "h", "l"].into_iter().zip(&stored) {
        let found = segment.read(name, RowSelection::All).expect("read");
        assert_eq!(found.data_type(), expected.data_type(), "{name}");
        let printed = |array: &ArrayRef| {
            let mut rows: Vec<String> = (0..array.len())
                .map(|row| format!("{:?}", array.slice(row, 1)))
                .collect();
            rows.sort();
            rows
        };
        assert_eq!(printed(&found), printed(expected), "{name}");
    }
}

#[test]
fn rows_are_sorted_as_the_context_asks() {
    let rows = [at(0, "b", 1), at(1, "a", 2), at(0, "a", 3)];
    let mut staged = Staged::new(ingest("ALL", &["country"]), &[rows.to_vec()], usize::MAX / 4);
    let context = serde_json::json!({"segmentSortOrder": "city,__time", "forceSegmentSortByTime": false});
    let context = QueryContext::from(context.as_object().cloned().unwrap_or_default());
    staged.work = staged.work.with_context(&context).expect("a sort order");
    let names: Vec<&str> = staged
        .work
        .dimensions
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["city", "country", "n", "x"]);
    let plan = staged
        .plan(IngestKind::Replace { bounds: None }, &staged.ranges(10), None)
        .expect("planned");
    let tasks = replace_tasks(plan, &[lock(Interval::ETERNITY)]).expect("locked");
    let (_, segment) = staged.load(&tasks).expect("loaded").pop().expect("a segment");
    let ordering = segment.metadata().and_then(|m| m.ordering.clone()).unwrap_or_default();
    let ordering: Vec<&str> = ordering.iter().map(|by| by.column_name.as_str()).collect();
    assert_eq!(ordering, ["city", "__time", "country", "n", "x"]);
    let numbers = segment.read("n", RowSelection::All).expect("read");
    assert_eq!(numbers.as_primitive::<Int64Type>().values(), &[3, 2, 1]);
    assert_eq!(henge_segment::verify(&segment).findings, []);
}
