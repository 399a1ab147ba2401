//! Projections: those of real Druid are read, ours hold what the rows add up to, and what does not is found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float32Array, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMillisecondArray,
};
use henge_segment::{
    BitmapKind, ColumnSchema, ColumnType, Compression, IndexSpec, MetricSchema, ObjectAggregator, ObjectAggregators,
    ProjectionSpec, Segment, SegmentError, SegmentSchema, SegmentWriter, dump, fuzz, verify,
};
use serde_json::{Value, json};

use crate::goldens::segments;

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_704_067_200_000;

fn printed(segment: &Segment) -> Vec<Value> {
    let mut lines = Vec::new();
    dump::rows(segment, &mut lines).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn golden() -> PathBuf {
    let found = segments().into_iter().find(|(name, _)| name == "native_projections");
    found.unwrap().1
}

#[test]
fn projections_of_real_druid_are_read() {
    let segment = Segment::open(&golden()).unwrap();
    let names: Vec<(&str, u64)> = segment.projections().map(|p| (p.name.as_str(), p.rows)).collect();
    assert_eq!(names, [("by_country", 5), ("hourly", 281)]);

    let mut by_country: BTreeMap<String, f64> = BTreeMap::new();
    let mut hourly: BTreeMap<(i64, String), (i64, i64)> = BTreeMap::new();
    for row in printed(&segment) {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        *by_country.entry(text("country")).or_default() += row["price"].as_f64().unwrap_or_default();
        let time = row["__time"].as_i64().unwrap();
        let group = hourly.entry((time - time % HOUR_MS, text("channel"))).or_default();
        group.0 += 1;
        group.1 += row["added"].as_i64().unwrap_or_default();
    }

    let table = segment.projection("hourly").unwrap();
    let read: BTreeMap<_, _> = printed(&table)
        .iter()
        .map(|row| {
            let key = (
                row["__time"].as_i64().unwrap(),
                row["channel"].as_str().unwrap_or_default().to_owned(),
            );
            (
                key,
                (
                    row["cnt"].as_i64().unwrap(),
                    row["added_sum"].as_i64().unwrap_or_default(),
                ),
            )
        })
        .collect();
    assert_eq!(read, hourly);

    let table = segment.projection("by_country").unwrap();
    let rows = printed(&table);
    assert_eq!(rows.len(), by_country.len());
    for (row, (country, price)) in rows.iter().zip(&by_country) {
        assert_eq!(row["__time"], segment.interval().start_ms);
        assert_eq!(row["country"].as_str().unwrap_or_default(), country);
        assert!(
            (row["price_sum"].as_f64().unwrap() - price).abs() < 1e-6,
            "{row} {price}"
        );
        assert!(row["users"].as_str().unwrap().len() > 20);
    }
    // The dictionary is the table's.
    let values = |segment: &Segment| segment.dictionary("country").unwrap().values().unwrap();
    assert!(Arc::ptr_eq(&values(&segment), &values(&table)));
    let rows_of = table.rows_of(
        "country",
        &henge_segment::IndexValue::String(&by_country.keys().nth(2).unwrap().clone()),
    );
    assert_eq!(rows_of.unwrap().unwrap().iter().collect::<Vec<_>>(), [2]);

    let error = segment.projection("daily").unwrap_err().to_string();
    assert!(
        error.contains("no projection [daily], its projections are [by_country, hourly]"),
        "{error}"
    );
    assert_eq!(verify(&segment).findings, []);
}

/// Changes the metadata of the golden and names what `verify` finds.
fn with_metadata(change: impl Fn(&mut Value)) -> Vec<String> {
    let mut files = fuzz::load(&golden()).unwrap();
    let mut metadata: Value = serde_json::from_slice(&files["metadata.drd"]).unwrap();
    change(&mut metadata["projections"]);
    files.insert("metadata.drd".into(), serde_json::to_vec(&metadata).unwrap());
    let segment = fuzz::open(&files).unwrap();
    fuzz::read_all(&segment);
    verify(&segment).findings.iter().map(ToString::to_string).collect()
}

#[test]
fn projections_that_lie_are_found() {
    let found = |change: &dyn Fn(&mut Value), what: &str| {
        let findings = with_metadata(change);
        assert!(
            findings.iter().any(|finding| finding.contains(what)),
            "[{what}] is not among {findings:?}"
        );
    };
    assert_eq!(with_metadata(|_| {}), Vec::<String>::new());
    found(
        &|p| p[1]["schema"]["aggregators"][1]["fieldName"] = json!("price"),
        "column [added_sum]: row 0 is",
    );
    found(
        &|p| p[1]["schema"]["virtualColumns"][0]["expression"] = json!("timestamp_floor(__time,'PT5M')"),
        "projection [hourly]: 281 rows, the rows of the table make",
    );
    found(
        &|p| p[1]["schema"]["filter"] = json!({"type": "null", "column": "channel"}),
        "projection [hourly]: 281 rows",
    );
    found(
        &|p| p[0]["numRows"] = json!(4),
        "a column of 4 rows, as the table has, found 5",
    );
    found(
        &|p| p[0]["numRows"] = json!(u64::MAX),
        "a projection of at most 1000 rows",
    );
    found(
        &|p| p[0]["schema"]["groupingColumns"] = json!(["country", "nobody"]),
        "nobody",
    );
    found(
        &|p| p[0]["schema"]["type"] = json!("cube"),
        "projections of type cube are not supported",
    );
    found(&|p| p[0] = json!(1), "has a schema");
    found(
        &|p| p[0]["schema"]["name"] = json!("hourly"),
        "column [hourly/country], offset 0: an internal file of this name must exist",
    );
    found(
        &|p| p[0]["schema"]["name"] = json!("daily"),
        "internal file [by_country/users] belongs to nothing",
    );
}

#[test]
fn a_projection_without_its_table_is_an_error() {
    let mut files = fuzz::load(&golden()).unwrap();
    files.remove("country");
    let segment = fuzz::open(&files).unwrap();
    let error = segment
        .projection("by_country")
        .unwrap()
        .read("country", henge_segment::RowSelection::All);
    assert!(error.unwrap_err().to_string().contains("must exist"));
    // A column of numbers in place of the one of strings.
    let added = files["added"].clone();
    files.insert("country".into(), added);
    let segment = fuzz::open(&files).unwrap();
    let error = segment
        .projection("by_country")
        .unwrap()
        .read("country", henge_segment::RowSelection::All);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("shares a dictionary of strings with the table, whose column of the same name is LONG"),
        "{error}"
    );
}

#[test]
fn damaged_projections_never_panic() {
    let files = fuzz::load(&golden()).unwrap();
    let names: Vec<String> = files.keys().filter(|name| name.contains('/')).cloned().collect();
    let mut random = fuzz::Random::new(17);
    for round in 0..300 {
        let mut damaged = files.clone();
        let name = &names[round % names.len()];
        fuzz::damage(damaged.get_mut(name).unwrap(), &mut random);
        if let Ok(segment) = fuzz::open(&damaged) {
            fuzz::read_all(&segment);
        }
    }
}

fn floor(name: &str, period: &str) -> Value {
    let expression = format!("timestamp_floor(__time,'{period}',null,null)");
    json!({"type": "expression", "name": name, "expression": expression, "outputType": "LONG"})
}

/// Projections of every kind that is written.
pub fn specs() -> Vec<Value> {
    vec![
        json!({
            "type": "aggregate", "name": "hourly", "virtualColumns": [floor("h", "PT1H")],
            "groupingColumns": [{"type": "long", "name": "h"}, {"type": "string", "name": "s"}],
            "aggregators": [
                {"type": "count", "name": "rows"},
                {"type": "longSum", "name": "l_sum", "fieldName": "l"},
                {"type": "longMin", "name": "l_min", "fieldName": "l"},
                {"type": "longMax", "name": "l_max", "fieldName": "d"},
                {"type": "doubleSum", "name": "d_sum", "fieldName": "d"},
                {"type": "doubleMin", "name": "d_min", "fieldName": "d"},
                {"type": "doubleMax", "name": "d_max", "fieldName": "f"},
                {"type": "floatSum", "name": "f_sum", "fieldName": "f"},
                {"type": "floatMin", "name": "f_min", "fieldName": "f"},
                {"type": "floatMax", "name": "f_max", "fieldName": "f"},
                {"type": "filtered", "name": "some", "aggregator": {"type": "count", "name": "some"},
                 "filter": {"type": "equals", "column": "s", "matchValueType": "STRING", "matchValue": "b"}},
            ],
        }),
        json!({
            "name": "all_keys",
            "groupingColumns": [{"type": "string", "name": "m"}, {"type": "long", "name": "l"}, {"type": "double", "name": "d"},
                {"type": "float", "name": "f"}, {"type": "string", "name": "none"}, {"type": "long", "name": "__time"}],
        }),
        json!({"name": "totals", "aggregators": [{"type": "count", "name": "n"}]}),
        json!({
            "name": "filtered", "virtualColumns": [floor("day", "P1D")], "groupingColumns": ["day", "m"],
            "filter": {"type": "or", "fields": [{"type": "null", "column": "l"}, {"type": "range", "column": "d", "lower": 1}]},
            "aggregators": [{"type": "longSum", "name": "sum", "fieldName": "l"}],
        }),
        json!({
            "name": "nobody", "groupingColumns": ["s", "l", "m"], "filter": {"type": "false"},
            "aggregators": [{"type": "count", "name": "n"}, {"type": "doubleSum", "name": "x", "fieldName": "d"}],
        }),
    ]
}

/// Writes rows of every type with all projections.
pub fn write_all(dir: &Path, rows: usize, spec: IndexSpec) -> Segment {
    let mut schema = SegmentSchema::new(vec![
        ColumnSchema::new("s", ColumnType::STRING),
        ColumnSchema::new("m", ColumnType::MultiString),
        ColumnSchema::new("l", ColumnType::LONG),
        ColumnSchema::new("d", ColumnType::DOUBLE),
        ColumnSchema::new("f", ColumnType::FLOAT),
        ColumnSchema::new("none", ColumnType::STRING),
    ]);
    schema.ordering = Some(vec!["__time".into()]);
    schema.projections = specs()
        .iter()
        .map(|spec| ProjectionSpec::from_druid(spec).unwrap())
        .collect();
    let interval = "2024-01-01/2024-02-01".parse().unwrap();
    let mut writer = SegmentWriter::create(dir, schema, spec, interval).unwrap();
    let texts = ["b", "", "\u{ff61}", "\u{10000}", "a"];
    for start in (0..rows).step_by(777) {
        let range = start..rows.min(start + 777);
        let mut lists = ListBuilder::new(StringBuilder::new());
        for i in range.clone() {
            (0..i % 3).for_each(|k| lists.values().append_value(texts[(i + 3 * k) % 5]));
            lists.append(!i.is_multiple_of(7));
        }
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "__time",
                Arc::new(TimestampMillisecondArray::from_iter_values(
                    range.clone().map(|i| START_MS + i as i64 * 60_000),
                )),
            ),
            (
                "s",
                Arc::new(
                    range
                        .clone()
                        .map(|i| (i % 6 < 5).then(|| texts[i % 6 % 5]))
                        .collect::<StringArray>(),
                ),
            ),
            ("m", Arc::new(lists.finish())),
            (
                "l",
                Arc::new(
                    range
                        .clone()
                        .map(|i| (!i.is_multiple_of(11)).then_some(i as i64 % 13 - 5))
                        .collect::<Int64Array>(),
                ),
            ),
            (
                "d",
                Arc::new(
                    range
                        .clone()
                        .map(|i| (!i.is_multiple_of(5)).then_some((i % 9) as f64 / 8.0))
                        .collect::<Float64Array>(),
                ),
            ),
            (
                "f",
                Arc::new(
                    range
                        .clone()
                        .map(|i| (!i.is_multiple_of(4)).then_some((i % 3) as f32 * 0.1))
                        .collect::<Float32Array>(),
                ),
            ),
        ];
        let batch = columns.into_iter().map(|(name, array)| (name, array, true));
        writer
            .append(&RecordBatch::try_from_iter_with_nullable(batch).unwrap())
            .unwrap();
    }
    assert!(writer.memory_bytes() > 0);
    writer.finish().unwrap();
    Segment::open(dir).unwrap()
}

#[test]
fn what_is_written_is_what_the_rows_add_up_to() {
    for spec in [
        IndexSpec::default(),
        IndexSpec {
            bitmap: BitmapKind::Concise,
            dimension_compression: Compression::Uncompressed,
            metric_compression: Compression::None,
            ..IndexSpec::default()
        },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let segment = write_all(dir.path(), 3000, spec.clone());
        assert_eq!(verify(&segment).findings, []);
        // Few rows come first.
        let names: Vec<&str> = segment.projections().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["nobody", "totals", "filtered", "hourly", "all_keys"]);
        assert_eq!(printed(&segment.projection("nobody").unwrap()), Vec::<Value>::new());
        let totals = printed(&segment.projection("totals").unwrap());
        assert_eq!(totals, [json!({"__time": START_MS, "n": 3000})]);

        let hourly = printed(&segment.projection("hourly").unwrap());
        assert_eq!(hourly.len(), 50 * 6);
        let first: Vec<Value> = printed(&segment).into_iter().take(60).collect();
        let groups = [
            json!(null),
            json!(""),
            json!("a"),
            json!("b"),
            json!("\u{10000}"),
            json!("\u{ff61}"),
        ];
        for (row, s) in hourly.iter().zip(&groups) {
            let of_group: Vec<&Value> = first.iter().filter(|row| row["s"] == *s).collect();
            let longs: Vec<i64> = of_group.iter().filter_map(|row| row["l"].as_i64()).collect();
            assert_eq!((&row["s"], &row["__time"]), (s, &json!(START_MS)));
            assert_eq!(row["rows"], of_group.len());
            assert_eq!(row["l_sum"], longs.iter().sum::<i64>());
            assert_eq!(row["l_min"], *longs.iter().min().unwrap());
            let doubles: f64 = of_group.iter().filter_map(|row| row["d"].as_f64()).sum();
            assert_eq!(row["d_sum"], doubles);
            assert_eq!(row["some"], if *s == "b" { 10 } else { 0 });
        }

        // The same bytes on every run and with any number of threads.
        let again = tempfile::tempdir().unwrap();
        write_all(again.path(), 3000, spec);
        for file in ["00000.smoosh", "meta.smoosh"] {
            let bytes = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(file)).unwrap();
            assert!(bytes(&dir) == bytes(&again), "{file}");
        }
    }
}

#[test]
fn projections_of_rollup_combine_its_metrics() {
    let mut schema = SegmentSchema::new(vec![ColumnSchema::new("s", ColumnType::STRING)]);
    let metric = json!({"type": "longSum", "name": "n", "fieldName": "n"});
    schema.metrics = vec![MetricSchema {
        column: ColumnSchema::new("n", ColumnType::LONG),
        aggregator: metric.clone(),
    }];
    schema.rollup = true;
    let spec = json!({"name": "all", "groupingColumns": [], "aggregators": [metric]});
    schema.projections = vec![ProjectionSpec::from_druid(&spec).unwrap()];
    let dir = tempfile::tempdir().unwrap();
    let interval = "2024-01-01/2024-01-02".parse().unwrap();
    let mut writer = SegmentWriter::create(dir.path(), schema.clone(), IndexSpec::default(), interval).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("__time", Arc::new(Int64Array::from(vec![START_MS; 3]))),
        ("s", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ("n", Arc::new(Int64Array::from(vec![2, 3, 4]))),
    ];
    writer.append(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    writer.finish().unwrap();
    let segment = Segment::open(dir.path()).unwrap();
    assert_eq!(verify(&segment).findings, []);
    assert_eq!(
        printed(&segment.projection("all").unwrap()),
        [json!({"__time": START_MS, "n": 9})]
    );

    schema.projections.push(schema.projections[0].clone());
    let twice = SegmentWriter::create(dir.path(), schema, IndexSpec::default(), interval);
    assert!(
        twice
            .unwrap_err()
            .to_string()
            .contains("projection [all] is listed twice")
    );
}

/// Keeps the first letters of a group's texts.
#[derive(Debug, Default)]
struct Letters(Vec<Vec<u8>>);

impl ObjectAggregator for Letters {
    fn field(&self) -> &str {
        "s"
    }

    fn column_type(&self) -> ColumnType {
        ColumnType::Complex("letters".into())
    }

    fn add(&mut self, group: u32, values: &ArrayRef, row: usize) -> Result<(), SegmentError> {
        let group = group as usize;
        self.0.resize(self.0.len().max(group + 1), Vec::new());
        self.0[group].extend(values.as_string::<i32>().value(row).bytes().take(1));
        Ok(())
    }

    fn image(&self, group: u32) -> Vec<u8> {
        self.0.get(group as usize).cloned().unwrap_or_default()
    }

    fn memory_bytes(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

#[derive(Debug)]
struct OnlyLetters;

impl ObjectAggregators for OnlyLetters {
    fn aggregator(
        &self,
        json: &Value,
        column_type: &dyn Fn(&str) -> Option<ColumnType>,
    ) -> Option<Box<dyn ObjectAggregator>> {
        let is_text = column_type(json["fieldName"].as_str()?)? == ColumnType::STRING;
        (json["type"] == "letters" && is_text).then(|| Box::<Letters>::default() as Box<dyn ObjectAggregator>)
    }
}

#[test]
fn objects_are_aggregated_by_others() {
    let mut schema = SegmentSchema::new(vec![
        ColumnSchema::new("s", ColumnType::STRING),
        ColumnSchema::new("n", ColumnType::LONG),
    ]);
    let spec = |field: &str| {
        let spec = json!({"name": "p", "groupingColumns": ["n"], "aggregators": [
            {"type": "letters", "name": "all", "fieldName": field}, {"type": "count", "name": "rows"},
        ]});
        ProjectionSpec::from_druid(&spec).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let interval = "2024-01-01/2024-01-02".parse().unwrap();
    for (spec, is_known) in [
        (spec("s"), false),
        (spec("n").with_objects(Arc::new(OnlyLetters)), false),
        (spec("s").with_objects(Arc::new(OnlyLetters)), true),
    ] {
        schema.projections = vec![spec];
        let writer = SegmentWriter::create(dir.path(), schema.clone(), IndexSpec::default(), interval);
        let mut writer = match writer {
            Ok(writer) if is_known => writer,
            Err(e) if !is_known => {
                assert!(e.to_string().contains("letters"), "{e}");
                continue;
            }
            other => panic!("{other:?}"),
        };
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("__time", Arc::new(Int64Array::from(vec![START_MS; 4]))),
            (
                "s",
                Arc::new(StringArray::from(vec![None, Some("ab"), Some("cd"), Some("ef")])),
            ),
            ("n", Arc::new(Int64Array::from(vec![6, 7, 5, 7]))),
        ];
        writer.append(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        writer.finish().unwrap();
    }
    let segment = Segment::open(dir.path()).unwrap();
    assert_eq!(verify(&segment).findings, []);
    let rows = printed(&segment.projection("p").unwrap());
    let found: Vec<(&Value, &Value, &Value)> = rows.iter().map(|row| (&row["n"], &row["all"], &row["rows"])).collect();
    let expected = [
        (json!(5), json!("Yw=="), json!(1)),
        (json!(6), json!(null), json!(1)),
        (json!(7), json!("YWU="), json!(2)),
    ];
    assert_eq!(
        found,
        expected.iter().map(|(n, all, rows)| (n, all, rows)).collect::<Vec<_>>()
    );
}
