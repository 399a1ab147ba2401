//! The exchange against a naive model: a stable sort of all rows. Then what must fail, and how.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use henge_exchange::*;
use parking_lot::RwLock;
use proptest::prelude::*;

/// Fail points are global: the test that sets them runs alone.
static FAIL_POINTS: RwLock<()> = RwLock::new(());

/// One row: time chunk, clustering number and text, a number that only ties look at.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    chunk: i64,
    number: Option<i64>,
    text: Option<String>,
    tie: Option<i64>,
    id: u64,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("text", DataType::Utf8, true),
        Field::new("number", DataType::Int64, true),
        Field::new("__bucket", DataType::Int64, false),
        Field::new("tie", DataType::Int64, true),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.id)).collect::<UInt64Array>()),
        Arc::new(rows.iter().map(|row| row.text.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.number).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.chunk)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.tie).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns of the schema")
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let number = |index: usize, row: usize| {
        let column = batch.column(index).as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let text = batch.column(1).as_string::<i32>();
    (0..batch.num_rows())
        .map(|row| Row {
            id: batch.column(0).as_primitive::<UInt64Type>().value(row),
            text: text.is_valid(row).then(|| text.value(row).to_string()),
            number: number(2, row),
            chunk: number(3, row).expect("not null"),
            tie: number(4, row),
        })
        .collect()
}

/// Which key the model sorts by; mirrors the spec.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Chunked,
    ChunkedBoosted,
    Descending,
    Ties,
    Hash,
    HashSorted,
    Mix,
    Places,
}

impl Shape {
    fn spec(self) -> KeySpec {
        let columns = vec![KeyField::ascending(3), KeyField::ascending(1), KeyField::ascending(2)];
        match self {
            Shape::Chunked => KeySpec::sorted(columns).with_buckets(1),
            Shape::ChunkedBoosted => KeySpec::sorted(columns).with_buckets(1).with_boost(),
            Shape::Descending => KeySpec::sorted(vec![KeyField::descending(2), KeyField::ascending(1)]).with_boost(),
            Shape::Ties => KeySpec::sorted(vec![KeyField::ascending(1)])
                .with_ties(vec![KeyField::ascending(4), KeyField::descending(2)]),
            Shape::Hash => KeySpec::hash(vec![1, 2], 5),
            Shape::HashSorted => KeySpec {
                columns: vec![KeyField::ascending(2)],
                ..KeySpec::hash(vec![1], 3)
            },
            Shape::Mix => KeySpec::mix(),
            Shape::Places => KeySpec::mix().with_boost(),
        }
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        match self {
            Shape::Chunked | Shape::ChunkedBoosted => (a.chunk, &a.text, a.number).cmp(&(b.chunk, &b.text, b.number)),
            Shape::Descending => b.number.cmp(&a.number).then_with(|| a.text.cmp(&b.text)),
            Shape::Ties => {
                let ties = a.tie.cmp(&b.tie).then_with(|| b.number.cmp(&a.number));
                a.text.cmp(&b.text).then(ties)
            }
            Shape::HashSorted => a.number.cmp(&b.number),
            Shape::Hash | Shape::Mix | Shape::Places => Ordering::Equal,
        }
    }
}

fn row() -> impl Strategy<Value = Row> {
    let text = prop_oneof![
        Just(None),
        Just(Some(String::new())),
        prop_oneof![
            Just("a"),
            Just("ab"),
            Just("a\u{1}"),
            Just("é"),
            Just("a long text beyond thirty-two bytes, 1"),
            Just("a long text beyond thirty-two bytes, 2")
        ]
        .prop_map(|text| Some(text.to_string())),
        "[a-c]{0,3}".prop_map(Some),
    ];
    let number = prop_oneof![Just(None), (-3i64..4).prop_map(Some), any::<i64>().prop_map(Some)];
    let tie = prop_oneof![Just(None), (0i64..4).prop_map(Some)];
    (0i64..4, number, text, tie).prop_map(|(chunk, number, text, tie)| Row {
        chunk,
        number,
        text,
        tie,
        id: 0,
    })
}

/// What a run of the whole exchange needs.
struct Stage {
    _folder: tempfile::TempDir,
    store: Arc<dyn RunStore>,
    memory: Arc<CappedBudget>,
    budget: Arc<CappedBudget>,
}

fn stage(store_bytes: usize, task_bytes: usize) -> Stage {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let memory = Arc::new(CappedBudget::new(store_bytes));
    let store: Arc<dyn RunStore> = Arc::new(LocalRunStore::new(folder.path(), memory.clone()));
    Stage {
        _folder: folder,
        store,
        memory,
        budget: Arc::new(CappedBudget::new(task_bytes)),
    }
}

impl Stage {
    fn write(
        &self,
        spec: &KeySpec,
        task: u32,
        rows: &[Row],
        step: usize,
        samples: usize,
    ) -> Result<RunSet, ExchangeError> {
        let options = RunOptions {
            batch_rows: 7,
            samples,
            ..RunOptions::new(format!("q/0/{task}-0"), task)
        };
        let mut writer = RunWriter::new(
            &schema(),
            spec.clone(),
            self.budget.clone(),
            Arc::clone(&self.store),
            options,
        )?;
        for rows in rows.chunks(step.max(1)) {
            writer.write(&batch(rows))?;
        }
        writer.finish()
    }

    fn read(
        &self,
        spec: &KeySpec,
        sets: &[&RunSet],
        range: &KeyRange,
        fan_in: usize,
    ) -> Result<Vec<Row>, ExchangeError> {
        let options = ReadOptions {
            batch_rows: 5,
            fan_in,
            ..ReadOptions::new(format!("q/1/{fan_in}-0"))
        };
        let reader = RangeReader::merged(
            &schema(),
            spec,
            sets,
            range,
            Arc::clone(&self.store),
            self.budget.clone(),
            options,
        )?;
        reader
            .map(|batch| batch.map(|batch| rows_of(&batch)))
            .collect::<Result<Vec<_>, _>>()
            .map(|rows| rows.concat())
    }
}

fn sorted_by_id(rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.id);
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_sorting_everything(
        tasks in prop::collection::vec(prop::collection::vec(row(), 0..90), 1..4),
        shape in prop_oneof![Just(Shape::Chunked), Just(Shape::ChunkedBoosted), Just(Shape::Descending), Just(Shape::Ties),
                             Just(Shape::Hash), Just(Shape::HashSorted), Just(Shape::Mix),
                             Just(Shape::Places)],
        step in 1usize..40,
        task_bytes in prop_oneof![Just(0usize), 2_000usize..40_000, Just(usize::MAX / 4)],
        store_bytes in prop_oneof![Just(0usize), 500usize..20_000, Just(usize::MAX / 4)],
        samples in prop_oneof![Just(2usize), Just(1_000)],
        target in 1u64..60,
        fan_in in 2usize..6,
    ) {
        let _running = FAIL_POINTS.read();
        let spec = shape.spec();
        let stage = stage(store_bytes, task_bytes);
        let mut tasks = tasks;
        for (id, row) in tasks.iter_mut().flatten().enumerate() {
            row.id = id as u64;
        }
        let mut guard = RunGuard::new(Arc::clone(&stage.store));
        let mut sets: Vec<RunSet> = Vec::new();
        for (task, rows) in tasks.iter().enumerate() {
            let set = stage.write(&spec, task as u32, rows, step, samples).expect("staged");
            guard.adopt(&set);
            let json = serde_json::to_string(&set).expect("as JSON");
            sets.push(serde_json::from_str(&json).expect("from JSON"));
            prop_assert_eq!(sets.last(), Some(&set));
            prop_assert_eq!(set.rows(), rows.len() as u64);
        }
        let sets: Vec<&RunSet> = sets.iter().collect();
        let mut expected: Vec<Row> = tasks.concat();
        let target = match shape {
            Shape::Hash | Shape::HashSorted => CutTarget::Hash,
            Shape::Descending => CutTarget::MaxPartitions(target as usize),
            _ => CutTarget::TargetRows(target),
        };
        let ranges = cut(&spec, &sets, target, CutLimits::default()).expect("few ranges");
        let total: u64 = ranges.iter().map(|range| range.estimated_rows).sum();
        prop_assert_eq!(total, expected.len() as u64);
        if let CutTarget::MaxPartitions(max) = target {
            prop_assert!(ranges.len() <= max);
        }

        let mut all: Vec<Row> = Vec::new();
        let mut hashed: BTreeMap<(Option<String>, Option<i64>), usize> = BTreeMap::new();
        for (place, range) in ranges.iter().enumerate() {
            let rows = stage.read(&spec, &sets, range, fan_in).expect("read");
            let unordered = RangeReader::unordered(&schema(), &spec, &sets, range, stage.store.as_ref()).expect("opened");
            let unordered: Vec<Row> = unordered.flat_map(|batch| rows_of(&batch.expect("read"))).collect();
            prop_assert_eq!(sorted_by_id(&unordered), sorted_by_id(&rows));
            match shape {
                Shape::Hash | Shape::HashSorted => {
                    prop_assert!(rows.is_sorted_by(|a, b| shape.compare(a, b).is_le()));
                    prop_assert_eq!(range.estimated_rows, rows.len() as u64);
                    for row in &rows {
                        let number = if shape == Shape::Hash { row.number } else { None };
                        prop_assert_eq!(*hashed.entry((row.text.clone(), number)).or_insert(place), place);
                    }
                }
                Shape::Chunked | Shape::ChunkedBoosted => {
                    prop_assert!(rows.iter().all(|row| row.chunk == rows[0].chunk), "a range crosses a bucket");
                }
                _ => {}
            }
            let exact = samples == 1_000 && shape != Shape::Mix;
            if exact {
                prop_assert_eq!(range.estimated_rows, rows.len() as u64);
                prop_assert!(!rows.is_empty() || expected.is_empty() || spec.hash.is_some(), "an empty range");
            }
            if let (true, true, CutTarget::TargetRows(target)) = (exact, spec.boost, target) {
                prop_assert!((rows.len() as u64) < target * 2, "a range of {} rows, target {}", rows.len(), target);
            }
            all.extend(rows);
        }
        if spec.hash.is_some() {
            prop_assert_eq!(sorted_by_id(&all), expected);
        } else {
            expected.sort_by(|a, b| shape.compare(a, b));
            prop_assert_eq!(all, expected);
        }

        drop(guard);
        prop_assert_eq!((stage.memory.used(), stage.budget.used()), (0, 0));
        prop_assert_eq!(files(stage._folder.path()), 0);
    }

    #[test]
    fn sorts_inside_one_task(
        rows in prop::collection::vec(row(), 0..200), step in 1usize..60,
        task_bytes in prop_oneof![0usize..40_000, Just(usize::MAX / 4)],
    ) {
        let _running = FAIL_POINTS.read();
        let stage = stage(0, task_bytes);
        let mut rows = rows;
        rows.iter_mut().enumerate().for_each(|(id, row)| row.id = id as u64);
        let spec = Shape::Ties.spec();
        let mut writer = RunWriter::new(&schema(), spec, stage.budget.clone(), Arc::clone(&stage.store),
                                        RunOptions { batch_rows: 9, ..RunOptions::new("q/sort", 0) }).expect("a writer");
        for rows in rows.chunks(step) {
            writer.write(&batch(rows)).expect("written");
        }
        let sorted = writer.finish_sorted().expect("sorted");
        let sorted: Vec<Row> = sorted.flat_map(|batch| rows_of(&batch.expect("read"))).collect();
        rows.sort_by(|a, b| Shape::Ties.compare(a, b));
        prop_assert_eq!(sorted, rows);
        prop_assert_eq!((stage.memory.used(), stage.budget.used()), (0, 0));
        prop_assert_eq!(files(stage._folder.path()), 0);
    }
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn many(count: u64) -> Vec<Row> {
    let row = |id: u64| Row {
        chunk: (id % 3) as i64,
        number: Some((id * 7919 % 1009) as i64),
        text: Some(format!("text {}", id % 50)),
        tie: None,
        id,
    };
    (0..count).map(row).collect()
}

#[test]
fn one_key_larger_than_a_partition_is_cut_by_the_boost() {
    let _running = FAIL_POINTS.read();
    let stage = stage(usize::MAX / 4, usize::MAX / 4);
    let mut rows = many(9_000);
    for row in &mut rows {
        (row.chunk, row.number, row.text) = (0, Some(1), Some("same".to_string()));
    }
    let spec = Shape::ChunkedBoosted.spec();
    let set = stage.write(&spec, 0, &rows, 2_000, 4096).expect("staged");
    let ranges = cut(&spec, &[&set], CutTarget::TargetRows(3_000), CutLimits::default()).expect("cut");
    let counts: Vec<usize> = ranges
        .iter()
        .map(|range| stage.read(&spec, &[&set], range, 10).expect("read").len())
        .collect();
    assert_eq!(ranges.len(), 3);
    assert!(counts.iter().all(|count| (2_990..=3_010).contains(count)), "{counts:?}");
    let boundary = ranges[1].start.as_ref().expect("an inner boundary");
    let texts = decode_key_strings(&spec, &schema(), boundary).expect("decoded");
    assert_eq!(
        texts,
        [Some("0".to_string()), Some("same".to_string()), Some("1".to_string())]
    );

    let spec = Shape::Chunked.spec();
    let options = RunOptions::new("q/0/9-0", 9);
    let mut writer = RunWriter::new(
        &schema(),
        spec.clone(),
        stage.budget.clone(),
        Arc::clone(&stage.store),
        options,
    )
    .expect("a writer");
    writer.write(&batch(&rows)).expect("written");
    let set = writer.finish().expect("staged");
    let ranges = cut(&spec, &[&set], CutTarget::TargetRows(3_000), CutLimits::default()).expect("cut");
    assert_eq!(ranges.len(), 1, "without boost equal keys stay together");
    let bucket = decode_bucket(&spec, &schema(), ranges[0].bucket.as_ref().expect("a bucket")).expect("decoded");
    assert_eq!(bucket[0].as_primitive::<Int64Type>().values(), &[0]);
    assert!(decode_bucket(&spec, &schema(), &[1, 2]).is_err());
}

#[test]
fn limits_are_typed_errors() {
    let _running = FAIL_POINTS.read();
    let stage = stage(usize::MAX / 4, usize::MAX / 4);
    let spec = Shape::ChunkedBoosted.spec();
    let set = stage.write(&spec, 0, &many(300), 100, 4096).expect("staged");
    let buckets = cut(
        &spec,
        &[&set],
        CutTarget::TargetRows(10),
        CutLimits {
            buckets: 2,
            partitions: 100,
        },
    );
    assert_eq!(buckets, Err(ExchangeError::TooManyBuckets { max: 2 }));
    let partitions = cut(
        &spec,
        &[&set],
        CutTarget::TargetRows(10),
        CutLimits {
            buckets: 5,
            partitions: 29,
        },
    );
    assert_eq!(
        partitions,
        Err(ExchangeError::TooManyPartitions {
            partitions: 30,
            max: 29
        })
    );
    let none = cut(&spec, &[], CutTarget::TargetRows(10), CutLimits::default()).expect("cut");
    assert_eq!(none, [KeyRange::everything(0)]);

    let wide: Vec<Field> = (0..1_501)
        .map(|i| Field::new(i.to_string(), DataType::Int64, true))
        .collect();
    let spec = KeySpec::sorted((0..1_501).map(KeyField::ascending).collect());
    let options = RunOptions::new("q/0/1-0", 1);
    let writer = RunWriter::new(
        &Arc::new(Schema::new(wide)),
        spec,
        stage.budget.clone(),
        Arc::clone(&stage.store),
        options,
    );
    assert_eq!(
        writer.err(),
        Some(ExchangeError::TooManyKeyColumns {
            columns: 1_501,
            max: 1_500
        })
    );
    let name = stage.store.create("q/../../etc", &schema()).err();
    assert_eq!(
        name,
        Some(ExchangeError::BadName {
            run: "q/../../etc".to_string()
        })
    );
}

#[test]
fn samples_cut_evenly_from_many_runs() {
    let _running = FAIL_POINTS.read();
    let stage = stage(usize::MAX / 4, 400_000);
    let spec = KeySpec::sorted(vec![KeyField::ascending(2)]).with_boost();
    let rows = many(40_000);
    let sets: Vec<RunSet> = (0..4)
        .map(|task| {
            stage
                .write(&spec, task, &rows[task as usize * 10_000..][..10_000], 1_500, 64)
                .expect("staged")
        })
        .collect();
    let sets: Vec<&RunSet> = sets.iter().collect();
    assert!(
        sets.iter().map(|set| set.runs.len()).sum::<usize>() > 8,
        "the budget makes several runs a task"
    );
    let ranges = cut(&spec, &sets, CutTarget::TargetRows(5_000), CutLimits::default()).expect("cut");
    assert_eq!(ranges.len(), 8);
    for range in &ranges {
        let rows = stage.read(&spec, &sets, range, 100).expect("read").len() as f64;
        assert!(
            (rows - 5_000.0).abs() < 400.0,
            "{rows} rows, estimated {}",
            range.estimated_rows
        );
        assert!(
            (rows - range.estimated_rows as f64).abs() < 400.0,
            "{rows} rows, estimated {}",
            range.estimated_rows
        );
    }
}

#[test]
fn dictionaries_become_plain_and_lists_are_noticed() {
    let _running = FAIL_POINTS.read();
    let stage = stage(0, usize::MAX / 4);
    let words: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("a"), Some("b")]));
    let dictionary = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    let words = cast(&words, &dictionary).expect("a dictionary");
    let mut tags = ListBuilder::new(StringBuilder::new());
    for values in [&["x"][..], &[], &["y"], &["x", "y"]] {
        values.iter().for_each(|value| tags.values().append_value(value));
        tags.append(true);
    }
    let tags = tags.finish();
    let schema = Arc::new(Schema::new(vec![
        Field::new("word", dictionary, true),
        Field::new("tags", tags.data_type().clone(), true),
    ]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![words, Arc::new(tags)]).expect("columns of the schema");
    let spec = KeySpec::sorted(vec![KeyField::ascending(0), KeyField::ascending(1)]);
    let options = RunOptions::new("q/0/0-0", 0);
    let mut writer = RunWriter::new(
        &schema,
        spec.clone(),
        stage.budget.clone(),
        Arc::clone(&stage.store),
        options,
    )
    .expect("a writer");
    writer.write(&batch).expect("written");
    let set = writer.finish().expect("staged");
    assert_eq!(set.multi_value, [false, true]);
    assert_eq!(set.runs[0].location.medium, RunMedium::Disk);
    assert_eq!(set.spilled_bytes(), set.bytes());
    let last = &set.runs[0].last_key;
    assert_eq!(
        decode_key(&spec, &staged_schema(&schema), last).expect("decoded").len(),
        2
    );
    let reader = RangeReader::merged(
        &schema,
        &spec,
        &[&set],
        &KeyRange::everything(4),
        Arc::clone(&stage.store),
        stage.budget.clone(),
        ReadOptions::new("q/1/0-0"),
    );
    let batches: Vec<RecordBatch> = reader.expect("opened").collect::<Result<_, _>>().expect("read");
    let words: Vec<Option<&str>> = batches[0].column(0).as_string::<i32>().iter().collect();
    assert_eq!(words, [None, Some("a"), Some("b"), Some("b")]);
}

#[test]
fn damaged_runs_are_noticed() {
    let _running = FAIL_POINTS.read();
    let stage = stage(0, usize::MAX / 4);
    let spec = Shape::ChunkedBoosted.spec();
    let set = stage.write(&spec, 0, &many(2_000), 1_000, 64).expect("staged");
    let path = stage._folder.path().join(format!("{}.run", set.runs[0].location.name));
    let good = std::fs::read(&path).expect("a file");
    let everything = KeyRange::everything(0);
    let read = || stage.read(&spec, &[&set], &everything, 10).map(|rows| rows.len());
    assert_eq!(read(), Ok(2_000));
    for place in [0, 8, 200, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 0x40;
        std::fs::write(&path, &bad).expect("written");
        assert!(
            matches!(read(), Err(ExchangeError::Corrupt { .. })),
            "byte {place}: {:?}",
            read()
        );
    }
    for length in [0, 5, 8, 100, good.len() - 1] {
        std::fs::write(&path, &good[..length]).expect("written");
        assert!(
            matches!(read(), Err(ExchangeError::Corrupt { .. })),
            "{length} bytes: {:?}",
            read()
        );
    }
    std::fs::remove_file(&path).expect("removed");
    assert!(matches!(read(), Err(ExchangeError::MissingRun { .. })));
    assert!(read().expect_err("missing").retryable());
}

#[test]
fn failures_leave_nothing_behind() {
    let _alone = FAIL_POINTS.write();
    let spec = Shape::ChunkedBoosted.spec();
    for store_bytes in [0, usize::MAX / 4] {
        for (point, action) in [
            ("exchange-run-write", "return(full)"),
            ("exchange-run-write", "3*off->return"),
            ("exchange-run-finish", "1*off->return"),
            ("exchange-run-open", "return"),
            ("exchange-run-read", "2*off->return"),
        ] {
            let stage = stage(store_bytes, 40_000);
            let before = stage.write(&spec, 7, &many(10), 10, 64).expect("staged");
            let mut guard = RunGuard::new(Arc::clone(&stage.store));
            guard.adopt(&before);
            fail::cfg(point, action).expect("a fail point");
            let outcome = stage.write(&spec, 0, &many(4_000), 1_000, 64).and_then(|set| {
                guard.adopt(&set);
                stage.read(&spec, &[&set], &KeyRange::everything(0), 2)
            });
            fail::remove(point);
            match outcome {
                Ok(rows) => assert!(
                    store_bytes > 0 && point == "exchange-run-read" && rows.len() == 4_000,
                    "{point}"
                ),
                Err(ExchangeError::DiskFull { .. }) => assert_eq!(action, "return(full)"),
                Err(error) => assert!(
                    matches!(error, ExchangeError::Io { .. }) && error.retryable(),
                    "{point}: {error}"
                ),
            }
            drop(guard);
            assert_eq!((stage.memory.used(), stage.budget.used()), (0, 0), "{point} {action}");
            assert_eq!(files(stage._folder.path()), 0, "{point} {action}");
        }
    }
}
