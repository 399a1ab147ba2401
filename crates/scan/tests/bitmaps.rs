//! Bitmaps of arrays and of fields of JSON columns: what they leave out is never an answer, and they are asked where they can help.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{
    ArrayRef, AsArray, Int64Builder, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMillisecondArray,
};
use arrow::datatypes::Int64Type;
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::collect;
use henge_input::ExternSpec;
use henge_metadata::ShardSpec;
use henge_scan::{
    CachedSegments, DatasourceTable, ScanCatalog, SegmentData, SegmentDescriptor, SegmentSource, TableSegment,
    prepare_session,
};
use henge_segment::{ColumnSchema, ColumnType, IndexSpec, IndexValue, SegmentSchema, SegmentWriter, ValueType};
use henge_sql::{EngineKind, Planner, SchemaCatalog, SqlRequest};
use henge_storage::{LocalDeepStorage, SegmentCache};
use henge_time::Interval;
use roaring::RoaringBitmap;

const ROWS: usize = 2000;
const HOUR: i64 = 3_600_000;

/// Counts how often bitmaps tell something.
#[derive(Debug)]
struct Counting {
    inner: CachedSegments,
    told: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct CountingData {
    inner: Arc<dyn SegmentData>,
    told: Arc<AtomicUsize>,
}

impl SegmentSource for Counting {
    fn open(&self, segment: &SegmentDescriptor) -> Result<Arc<dyn SegmentData>> {
        Ok(Arc::new(CountingData {
            inner: self.inner.open(segment)?,
            told: Arc::clone(&self.told),
        }))
    }
}

impl CountingData {
    fn count(&self, rows: Result<Option<RoaringBitmap>>) -> Result<Option<RoaringBitmap>> {
        if matches!(rows, Ok(Some(_))) {
            self.told.fetch_add(1, Ordering::Relaxed);
        }
        rows
    }
}

impl SegmentData for CountingData {
    fn rows(&self) -> usize {
        self.inner.rows()
    }
    fn columns(&self) -> Vec<(String, ColumnType)> {
        self.inner.columns()
    }
    fn is_sorted_by_time(&self) -> bool {
        self.inner.is_sorted_by_time()
    }
    fn column(&self, name: &str) -> Result<ArrayRef> {
        self.inner.column(name)
    }
    fn read(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef> {
        self.inner.read(name, rows)
    }
    fn dictionary(&self, name: &str) -> Result<Option<Arc<StringArray>>> {
        self.inner.dictionary(name)
    }
    fn lookup(&self, name: &str, value: &str) -> Result<Option<u32>> {
        self.inner.lookup(name, value)
    }
    fn bitmap(&self, name: &str, id: u32) -> Result<Option<RoaringBitmap>> {
        self.inner.bitmap(name, id)
    }
    fn rows_with_element(&self, name: &str, element: &IndexValue<'_>) -> Result<Option<RoaringBitmap>> {
        self.count(self.inner.rows_with_element(name, element))
    }
    fn rows_of_json_field(&self, name: &str, path: &str, value: &IndexValue<'_>) -> Result<Option<RoaringBitmap>> {
        self.count(self.inner.rows_of_json_field(name, path, value))
    }
    fn null_rows(&self, name: &str) -> Result<Option<RoaringBitmap>> {
        self.inner.null_rows(name)
    }
}

struct One(Arc<DatasourceTable>);

impl SchemaCatalog for One {
    fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        (schema == "druid" && name == "t").then(|| self.0.clone() as Arc<dyn TableProvider>)
    }

    fn table_names(&self, _: &str) -> Vec<String> {
        vec!["t".into()]
    }

    fn extern_table(&self, _: ExternSpec) -> Arc<dyn TableProvider> {
        self.0.clone()
    }
}

/// Writes rows that depend on nothing but their number.
fn table(root: &std::path::Path, told: &Arc<AtomicUsize>) -> Arc<DatasourceTable> {
    let json = |row: usize| {
        format!(
            r#"{{"user":"u{}","n":{},"b":{{"c.d":"x{}"}},"mixed":{},"list":{},"odd":{},"some":{}}}"#,
            row % 7,
            row % 5,
            row % 3,
            if row.is_multiple_of(2) { "1" } else { "\"1\"" },
            if row.is_multiple_of(4) { "[\"u1\"]" } else { "\"u2\"" },
            if row.is_multiple_of(6) { "true" } else { "2" },
            if row.is_multiple_of(8) { "\"word\"" } else { "null" },
        )
    };
    let (mut texts, mut longs) = (
        ListBuilder::new(StringBuilder::new()),
        ListBuilder::new(Int64Builder::new()),
    );
    for row in 0..ROWS {
        texts.values().append_value(format!("a{}", row % 3));
        texts.values().append_option((row % 10 == 0).then_some("ten"));
        texts.append(true);
        longs.values().append_value((row % 4) as i64);
        longs.append(row % 9 != 0);
    }
    let rows = RecordBatch::try_from_iter([
        (
            "__time",
            Arc::new(TimestampMillisecondArray::from_iter_values(0..ROWS as i64)) as ArrayRef,
        ),
        (
            "j",
            Arc::new(StringArray::from_iter_values((0..ROWS).map(json))) as ArrayRef,
        ),
        ("texts", Arc::new(texts.finish()) as ArrayRef),
        ("longs", Arc::new(longs.finish()) as ArrayRef),
    ])
    .expect("rows");
    let interval = Interval::new(0, HOUR).expect("an interval");
    let mut schema = SegmentSchema::new(vec![
        ColumnSchema::new("j", ColumnType::Complex("json".into())),
        ColumnSchema::new("texts", ColumnType::Array(ValueType::String)),
        ColumnSchema::new("longs", ColumnType::Array(ValueType::Long)),
    ]);
    schema.ordering = Some(vec!["__time".into()]);
    let dir = root.join("segment");
    let mut writer = SegmentWriter::create(&dir, schema, IndexSpec::default(), interval).expect("a writer");
    writer.append(&rows).expect("rows");
    let size = writer.finish().expect("a segment").size_bytes;
    let storage = LocalDeepStorage::open(root).expect("a folder");
    let source = Counting {
        inner: CachedSegments::new(Arc::new(SegmentCache::new(Arc::new(storage), 64 << 20))),
        told: Arc::clone(told),
    };
    let segment = TableSegment {
        segment: Arc::new(SegmentDescriptor {
            id: "t_0".into(),
            datasource: "t".into(),
            interval,
            size,
            load_spec: serde_json::json!({"type": "local", "path": dir}),
        }),
        clip: interval,
        shard_spec: ShardSpec::default(),
    };
    ScanCatalog::new(Arc::new(source))
        .table("t", vec![segment])
        .expect("a table")
}

async fn count(planner: &Planner, predicate: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) AS n FROM t WHERE {predicate}");
    let request = SqlRequest {
        sql,
        ..SqlRequest::default()
    };
    let planned = planner
        .plan(request)
        .await
        .unwrap_or_else(|e| panic!("{predicate}: {e}"));
    let state = SessionStateBuilder::new_from_existing(planned.session.clone()).build();
    let state = prepare_session(state);
    let plan = state.create_physical_plan(&planned.plan).await.expect(predicate);
    let batches = collect(plan, state.task_ctx()).await.expect(predicate);
    let counts = batches.iter().filter(|batch| batch.num_rows() > 0);
    counts
        .map(|batch| batch.column(0).as_primitive::<Int64Type>().value(0))
        .sum()
}

#[test]
fn bitmaps_leave_out_what_cannot_pass() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        let told = Arc::new(AtomicUsize::new(0));
        let table = tokio::task::block_in_place(|| table(&root, &told));
        let planner = Planner::new(Arc::new(One(table)), EngineKind::Native);
        let rows = |passes: &dyn Fn(usize) -> bool| (0..ROWS).filter(|row| passes(*row)).count() as i64;
        let third = |row: usize| row % 3;
        // Predicate, rows that pass, whether bitmaps tell.
        let cases: Vec<(&str, i64, bool)> = vec![
            ("JSON_VALUE(j, '$.user') = 'u3'", rows(&|row| row % 7 == 3), true),
            ("JSON_VALUE(j, '$[''user'']') = 'u3'", rows(&|row| row % 7 == 3), true),
            (
                "JSON_VALUE(j, '$.user') IN ('u3', 'u5', 'none')",
                rows(&|row| matches!(row % 7, 3 | 5)),
                true,
            ),
            ("JSON_VALUE(j, '$.user') = 'nobody'", 0, true),
            ("JSON_VALUE(j, '$.missing') = 'x'", 0, true),
            (
                "JSON_VALUE(j, '$.n' RETURNING BIGINT) = 4",
                rows(&|row| row % 5 == 4),
                true,
            ),
            (
                "JSON_VALUE(j, '$.b[''c.d'']') = 'x2'",
                rows(&|row| third(row) == 2),
                true,
            ),
            (
                "JSON_VALUE(j, '$.odd' RETURNING BIGINT) = 1",
                rows(&|row| row % 6 == 0),
                true,
            ),
            ("JSON_VALUE(j, '$.some') IS NULL", rows(&|row| row % 8 != 0), true),
            ("JSON_VALUE(j, '$.some') IS NOT NULL", rows(&|row| row % 8 == 0), true),
            ("JSON_VALUE(j, '$.n' RETURNING BIGINT) IS NOT NULL", ROWS as i64, true),
            ("JSON_VALUE(j, '$.b') IS NULL", ROWS as i64, true),
            ("JSON_VALUE(j, '$.missing') IS NOT NULL", 0, true),
            ("JSON_VALUE(j, '$.list') IS NOT NULL", ROWS as i64, false),
            ("JSON_VALUE(j, '$.some' RETURNING BIGINT) IS NULL", ROWS as i64, false),
            // Values that the bitmaps of one type do not tell.
            ("JSON_VALUE(j, '$.n') = '4'", rows(&|row| row % 5 == 4), false),
            ("JSON_VALUE(j, '$.mixed') = '1'", ROWS as i64, false),
            ("JSON_VALUE(j, '$.list') = 'u1'", rows(&|row| row % 4 == 0), false),
            ("JSON_VALUE(j, '$.list[0]') = 'u1'", rows(&|row| row % 4 == 0), false),
            ("ARRAY_CONTAINS(texts, 'a1')", rows(&|row| third(row) == 1), true),
            (
                "ARRAY_CONTAINS(texts, ARRAY['a1', 'ten'])",
                rows(&|row| third(row) == 1 && row % 10 == 0),
                true,
            ),
            (
                "ARRAY_OVERLAP(texts, ARRAY['a1', 'ten'])",
                rows(&|row| third(row) == 1 || row % 10 == 0),
                true,
            ),
            ("ARRAY_OVERLAP(texts, ARRAY['none'])", 0, true),
            (
                "ARRAY_CONTAINS(longs, 3)",
                rows(&|row| row % 4 == 3 && row % 9 != 0),
                true,
            ),
            (
                "ARRAY_OVERLAP(longs, ARRAY[1, 3])",
                rows(&|row| row % 2 == 1 && row % 9 != 0),
                true,
            ),
            ("NOT ARRAY_CONTAINS(texts, 'a1')", rows(&|row| third(row) != 1), false),
            (
                "ARRAY_CONTAINS(texts, 'a1') AND JSON_VALUE(j, '$.user') = 'u3'",
                rows(&|row| third(row) == 1 && row % 7 == 3),
                true,
            ),
            (
                "ARRAY_CONTAINS(texts, 'a1') OR JSON_VALUE(j, '$.user') = 'u3'",
                rows(&|row| third(row) == 1 || row % 7 == 3),
                false,
            ),
        ];
        for (predicate, expected, tells) in cases {
            let before = told.load(Ordering::Relaxed);
            assert_eq!(count(&planner, predicate).await, expected, "{predicate}");
            let asked = told.load(Ordering::Relaxed) > before;
            assert_eq!(asked, tells, "bitmaps of {predicate}");
        }
    });
}
