//! Segments that real Druid wrote read to the rows that real Druid prints.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use henge_segment::{
    BitmapKind, ColumnSchema, ColumnType, Compression, IndexSpec, LongEncoding, MetricSchema, MultiValueHandling,
    RowSelection, Segment, SegmentSchema, SegmentWriter, StringEncoding, dump,
};

/// The goldens of the project, and the larger collection beside it where there is one.
pub fn collections() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let own = root.join("tests/golden/segments");
    let shared = root.join("../shared/golden/segments");
    assert!(
        own.is_dir(),
        "the goldens of the project are missing: {}",
        own.display()
    );
    let mut found = vec![own];
    if shared.is_dir() {
        found.push(shared);
    } else {
        eprintln!(
            "SKIPPED: the larger collection of golden segments, {} is not there",
            shared.display()
        );
    }
    found
}

/// The rows of each segment of a golden, by the segment's folder name.
fn expected(golden: &Path) -> HashMap<String, Vec<String>> {
    let plain = golden.join("rows.jsonl");
    let text = if plain.is_file() {
        std::fs::read_to_string(plain).unwrap()
    } else {
        let packed = std::fs::File::open(golden.join("rows.jsonl.gz")).unwrap();
        std::io::read_to_string(flate2::read::GzDecoder::new(packed)).unwrap()
    };
    let mut rows: HashMap<String, Vec<String>> = HashMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("{\"segment\": \"") {
            current = name.split('"').next().unwrap().to_owned();
            rows.insert(current.clone(), Vec::new());
        } else {
            rows.get_mut(&current).unwrap().push(line.to_owned());
        }
    }
    rows
}

fn compare(path: &Path, expected: &[String]) -> Result<(), String> {
    let segment = Segment::open(path).map_err(|e| e.to_string())?;
    let mut printed = Vec::new();
    dump::rows(&segment, &mut printed).map_err(|e| e.to_string())?;
    let printed = String::from_utf8(printed).map_err(|e| e.to_string())?;
    for (row, (ours, theirs)) in printed.lines().zip(expected).enumerate() {
        if ours != theirs {
            let at = ours.bytes().zip(theirs.bytes()).take_while(|(a, b)| a == b).count();
            let show = |text: &str| {
                let bytes = &text.as_bytes()[at.saturating_sub(30)..];
                String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned()
            };
            return Err(format!("row {row}: ours …{} theirs …{}", show(ours), show(theirs)));
        }
    }
    let count = printed.lines().count();
    if count != expected.len() {
        return Err(format!("{count} rows, expected {}", expected.len()));
    }
    Ok(())
}

/// Writes what a segment holds again.
pub fn rewrite(path: &Path, dir: &Path, spec: IndexSpec) -> Segment {
    let segment = Segment::open(path).unwrap();
    let mut schema = SegmentSchema::default();
    let mut columns = Vec::new();
    for info in segment.columns() {
        let json = segment.read_json(&info.name, RowSelection::All).unwrap();
        let (array, column_type) = match json {
            Some(text) => (Arc::new(text) as ArrayRef, ColumnType::Complex("json".into())),
            None => (
                segment.read(&info.name, RowSelection::All).unwrap(),
                info.column_type.clone(),
            ),
        };
        if info.is_auto {
            schema.auto.insert(info.name.clone());
        }
        let column = ColumnSchema::new(&info.name, column_type);
        match info.name.as_str() {
            "__time" => {}
            _ if info.is_metric => schema.metrics.push(MetricSchema {
                column,
                aggregator: serde_json::json!({"type": "longSum", "name": info.name, "fieldName": info.name}),
            }),
            name => {
                schema
                    .multi_value_handling
                    .insert(name.to_owned(), MultiValueHandling::Array);
                schema.columns.push(column);
            }
        }
        columns.push((info.name.clone(), array));
    }
    if let Some(metadata) = segment.metadata() {
        let aggregators = metadata.aggregators.iter().flatten();
        for aggregator in aggregators {
            let named = |metric: &&mut MetricSchema| {
                aggregator["name"] == *metric.column.name || aggregator["columnName"] == *metric.column.name
            };
            if let Some(metric) = schema.metrics.iter_mut().find(named) {
                metric.aggregator = aggregator.clone();
            }
        }
        // A column without values may be missing from the segment.
        let ordering = metadata.ordering.iter().flatten().map(|by| by.column_name.clone());
        let ordering = ordering.filter(|name| segment.column(name).is_some());
        schema.ordering = Some(ordering.collect()).filter(|order: &Vec<String>| !order.is_empty());
        schema.rollup = metadata.rollup == Some(true);
        schema.query_granularity = metadata.query_granularity.clone();
    }
    let mut writer = SegmentWriter::create(dir, schema, spec, segment.interval()).unwrap();
    writer
        .append(&RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap())
        .unwrap();
    writer.finish().unwrap();
    segment
}

/// Every segment of the goldens, with the name of its golden.
pub fn segments() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let last = collections().pop().unwrap();
    for golden in std::fs::read_dir(last).unwrap().map(|e| e.unwrap().path()) {
        let Ok(segments) = std::fs::read_dir(golden.join("segments")) else {
            continue;
        };
        let name = golden.file_name().unwrap().to_string_lossy().into_owned();
        found.extend(segments.map(|segment| (name.clone(), segment.unwrap().path())));
    }
    found.sort();
    found
}

fn printed(segment: &Segment) -> String {
    let mut printed = Vec::new();
    dump::rows(segment, &mut printed).unwrap();
    String::from_utf8(printed).unwrap()
}

#[test]
fn goldens_can_be_written_again() {
    let specs = [
        IndexSpec::default(),
        IndexSpec {
            bitmap: BitmapKind::Concise,
            dimension_compression: Compression::Uncompressed,
            metric_compression: Compression::Zstd,
            long_encoding: LongEncoding::Longs,
            string_encoding: StringEncoding::Smallest,
            complex_compression: Some(Compression::Zstd),
            json_compression: Some(Compression::Zstd),
            ..IndexSpec::default()
        },
    ];
    for (name, path) in segments() {
        for spec in &specs {
            let dir = tempfile::tempdir().unwrap();
            let segment = rewrite(&path, dir.path(), spec.clone());
            let again = Segment::open(dir.path()).unwrap();
            let (before, after) = (printed(&segment), printed(&again));
            for (row, (before, after)) in before.lines().zip(after.lines()).enumerate() {
                assert_eq!(before, after, "row {row} of {name}, {}", path.display());
            }
            assert_eq!(before.lines().count(), after.lines().count());
            // Auto columns keep their types, JSON columns too.
            let types = |segment: &Segment| -> Vec<String> {
                let infos = segment.columns().iter();
                infos
                    .map(|info| format!("{} {}", info.name, info.column_type))
                    .collect()
            };
            assert_eq!(types(&segment), types(&again), "{name}");
        }
    }
}

/// Names of goldens that a cluster with default settings wrote: what henge writes of their rows is not larger.
fn has_default_settings(name: &str) -> bool {
    let other = [
        "zstd",
        "lzf",
        "concise",
        "v10",
        "front_coded",
        "small",
        "format_spec",
        "no_bitmap",
        "legacy",
        "long_auto",
        "compressed",
        "metric_none",
        "none",
    ];
    !other.iter().any(|part| name.contains(part))
}

#[test]
fn segments_are_as_small_as_those_of_druid() {
    let mut report = String::new();
    let mut larger = Vec::new();
    let (mut all_theirs, mut all_ours) = (0, 0);
    for (name, path) in segments().into_iter().filter(|(name, _)| has_default_settings(name)) {
        let dir = tempfile::tempdir().unwrap();
        let segment = rewrite(&path, dir.path(), IndexSpec::default());
        let again = Segment::open(dir.path()).unwrap();
        let size = |dir: &Path| -> u64 {
            let files = std::fs::read_dir(dir).unwrap();
            files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
        };
        let (mut theirs, ours) = (size(&path), size(dir.path()));
        // Native batch leaves out how times were read, which henge writes as the multi-stage engine does.
        let timestamps = |segment: &Segment| {
            let spec = segment.metadata().and_then(|metadata| metadata.timestamp_spec.clone());
            spec.unwrap_or_default().to_string().len() as u64
        };
        theirs += timestamps(&again) - timestamps(&segment);
        all_theirs += theirs;
        all_ours += ours;
        writeln!(report, "{name}: theirs {theirs}, ours {ours}").unwrap();
        for (before, after) in segment.columns().iter().zip(again.columns()) {
            if after.bytes > before.bytes {
                writeln!(
                    report,
                    "  {}: theirs {}, ours {}",
                    before.name, before.bytes, after.bytes
                )
                .unwrap();
            }
        }
        if ours > theirs {
            larger.push(format!("{name}: theirs {theirs}, ours {ours}"));
        }
    }
    if std::env::var_os("HENGE_SHOW_SIZES").is_some() {
        eprintln!("{report}\nall: theirs {all_theirs}, ours {all_ours}");
    }
    assert!(larger.is_empty(), "larger than Druid's:\n{}", larger.join("\n"));
}

#[test]
fn every_golden_reads_to_the_rows_that_druid_prints() {
    let mut failures = Vec::new();
    let mut passed = 0;
    for collection in collections() {
        let mut goldens: Vec<PathBuf> = std::fs::read_dir(&collection)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        goldens.sort();
        for golden in goldens.iter().filter(|path| path.is_dir()) {
            let name = golden.file_name().unwrap().to_string_lossy().into_owned();
            for (segment, rows) in expected(golden) {
                match compare(&golden.join("segments").join(&segment), &rows) {
                    Ok(()) => passed += 1,
                    Err(e) => failures.push(format!("{name}/{segment}: {e}")),
                }
            }
            let zip = golden.join("index.zip");
            if zip.is_file() {
                let rows = expected(golden).into_values().next().unwrap();
                match compare(&zip, &rows) {
                    Ok(()) => passed += 1,
                    Err(e) => failures.push(format!("{name}/index.zip: {e}")),
                }
            }
        }
    }
    failures.sort();
    assert!(
        failures.is_empty(),
        "{passed} passed, {} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
