//! GROUP BY that is stored so that it can be aggregated further: the same rows and the same metadata as Druid's own segments of
//! the same statements, and real Druid reads them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{ok, real_druid};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/rollup")
}

/// Runs a recorded statement, its context as SET statements, into table `events`.
fn load(folder: &Path, name: &str) {
    let text = std::fs::read_to_string(golden().join(name).join("ingest.sql")).expect("the statement is there");
    let (context, sql) = text.split_once('\n').expect("a line of context");
    let context = context.strip_prefix("-- context: ").expect("a context");
    let context: Value = serde_json::from_str(context).expect("JSON");
    let sets: String = context
        .as_object()
        .expect("an object")
        .iter()
        .map(|(key, value)| format!("SET {key} = {value};\n"))
        .collect();
    let target = format!("gold_msq_rollup_{name}");
    assert!(sql.contains(&target));
    let sql = sql
        .replace(&target, "events")
        .replace("../../inputs/events.jsonl", "events.jsonl");
    std::fs::write(folder.join("load.sql"), format!("{sets}{sql}")).expect("writable");
    std::fs::copy(golden().join("events.jsonl"), folder.join("events.jsonl")).expect("copied");
    ok(folder, &["sql", "-f", "load.sql"]);
}

fn same_as_druid(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    load(folder.path(), name);
    let segments = real_druid::segment_folders(&folder.path().join("henge-data/segments"));
    let expected = std::fs::read_to_string(golden().join(name).join("rows.jsonl")).expect("recorded rows");
    let expected: Vec<&str> = expected
        .lines()
        .filter(|line| !line.starts_with("{\"segment\""))
        .collect();
    let mut arguments = vec!["segment", "rows", "--format", "json"];
    arguments.extend(segments.iter().map(|segment| segment.to_str().expect("a path")));
    let rows = ok(folder.path(), &arguments);
    assert_eq!(rows.lines().count(), expected.len());
    for (row, (ours, theirs)) in rows.lines().zip(expected).enumerate() {
        assert_eq!(without_tuples(ours), without_tuples(theirs), "row {row}");
    }
    let metadata = std::fs::read_to_string(golden().join(name).join("metadata.json")).expect("recorded metadata");
    for segment in &segments {
        let printed = ok(
            folder.path(),
            &[
                "segment",
                "metadata",
                "--format",
                "json",
                segment.to_str().expect("a path"),
            ],
        );
        let printed: Value = serde_json::from_str(&printed).expect("JSON");
        let expected: Value = serde_json::from_str(metadata.trim()).expect("JSON");
        for member in ["aggregators", "queryGranularity", "rollup", "ordering"] {
            let found = find(&printed, member).unwrap_or_else(|| panic!("[{member}] is missing in {printed}"));
            assert_eq!(found, &expected[member], "{member}");
        }
    }
    real_druid::reads_the_same(folder.path(), segments.len());
    folder
}

/// Takes tuple sketches out of a row: their entries are in the order of a hash table, which differs. What they hold is asked.
fn without_tuples(row: &str) -> Value {
    let mut row: Value = serde_json::from_str(row).expect("JSON");
    row.as_object_mut().expect("a row").remove("tup");
    row
}

fn find<'v>(value: &'v Value, member: &str) -> Option<&'v Value> {
    let object = value.as_object()?;
    object
        .get(member)
        .or_else(|| object.values().find_map(|inner| find(inner, member)))
}

/// Asks one row of CSV.
fn asked(folder: &Path, sql: &str) -> String {
    let printed = ok(folder, &["sql", "--format", "csv", sql]);
    printed.lines().nth(1).expect("a row").to_string()
}

const SOURCE: &str = r#"TABLE(EXTERN('{"type":"local","files":["events.jsonl"]}', '{"type":"json"}'))
    EXTEND (t BIGINT, country VARCHAR, "user" VARCHAR, added BIGINT, price DOUBLE, name VARCHAR, val BIGINT)"#;

/// Compares what the stored groups give with what the rows themselves give.
fn stored_as_plain(folder: &Path, filter: &str, pairs: &[(&str, &str)]) {
    for (stored, plain) in pairs {
        assert_eq!(
            asked(folder, &format!("SELECT {stored} FROM events")),
            asked(folder, &format!("SELECT {plain} FROM {SOURCE} WHERE {filter}")),
            "{stored}"
        );
    }
}

#[test]
fn sums_and_extremes_are_combined() {
    let folder = same_as_druid("numbers");
    stored_as_plain(
        folder.path(),
        "TRUE",
        &[
            ("SUM(cnt)", "COUNT(*)"),
            (
                "SUM(added_sum), MIN(added_min), MAX(added_max)",
                "SUM(added), MIN(added), MAX(added)",
            ),
            (
                "ROUND(SUM(price_sum), 4), MIN(price_min)",
                "ROUND(SUM(price), 4), MIN(price)",
            ),
        ],
    );
}

#[test]
fn first_and_last_values_are_combined() {
    let folder = same_as_druid("first_last");
    stored_as_plain(
        folder.path(),
        "TRUE",
        &[
            (
                "EARLIEST(s_first), LATEST(s_last)",
                "EARLIEST_BY(name, MILLIS_TO_TIMESTAMP(t)), LATEST_BY(name, MILLIS_TO_TIMESTAMP(t))",
            ),
            (
                "EARLIEST(l_first), LATEST(l_last)",
                "EARLIEST_BY(val, MILLIS_TO_TIMESTAMP(t)), LATEST_BY(val, MILLIS_TO_TIMESTAMP(t))",
            ),
            (
                "EARLIEST(d_first), LATEST(d_last)",
                "EARLIEST_BY(price, MILLIS_TO_TIMESTAMP(t)), LATEST_BY(price, MILLIS_TO_TIMESTAMP(t))",
            ),
        ],
    );
    let shown = asked(
        folder.path(),
        "SELECT s_first FROM events WHERE __time = MILLIS_TO_TIMESTAMP(1704067200000) AND country IS NULL AND channel = 'c0'",
    );
    assert_eq!(shown, r#""{""lhs"":1704072324000,""rhs"":""gamma""}""#);
}

#[test]
fn sketches_are_combined() {
    let folder = same_as_druid("sketches");
    stored_as_plain(
        folder.path(),
        "t < 1704153600000",
        &[
            ("SUM(cnt)", "COUNT(*)"),
            (
                "APPROX_COUNT_DISTINCT_DS_THETA(theta)",
                "APPROX_COUNT_DISTINCT_DS_THETA(\"user\")",
            ),
            (
                "APPROX_COUNT_DISTINCT_DS_HLL(hll)",
                "APPROX_COUNT_DISTINCT_DS_HLL(\"user\")",
            ),
            (
                "DS_TUPLE_DOUBLES_METRICS_SUM_ESTIMATE(DS_TUPLE_DOUBLES(tup))",
                "DS_TUPLE_DOUBLES_METRICS_SUM_ESTIMATE(DS_TUPLE_DOUBLES(\"user\", added))",
            ),
            (
                "APPROX_COUNT_DISTINCT_BUILTIN(hu)",
                "APPROX_COUNT_DISTINCT_BUILTIN(\"user\")",
            ),
        ],
    );
    let merged = asked(
        folder.path(),
        "SELECT DS_GET_QUANTILE(DS_QUANTILES_SKETCH(quant), 0.5) FROM events",
    );
    let plain = asked(
        folder.path(),
        &format!("SELECT APPROX_QUANTILE_DS(price, 0.5) FROM {SOURCE} WHERE t < 1704153600000"),
    );
    let (merged, plain): (f64, f64) = (merged.parse().expect("a number"), plain.parse().expect("a number"));
    assert!((merged - plain).abs() < 3.0, "{merged} is near {plain}");
}
