//! Segments that real Druid wrote read to the rows that real Druid prints.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use henge_segment::{
    ColumnSchema, IndexSpec, MetricSchema, MultiValueHandling, RowSelection, Segment, SegmentSchema, SegmentWriter,
    dump,
};
use serde_json::value::RawValue;

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

/// Writes what a segment holds again, leaving out columns of types that are not written, and gives both, printed.
fn rewritten(path: &Path, dir: &Path) -> (Vec<u8>, Vec<u8>) {
    let segment = Segment::open(path).unwrap();
    let mut schema = SegmentSchema::default();
    let mut columns = Vec::new();
    let mut left_out = Vec::new();
    for info in segment.columns() {
        let array = segment.read(&info.name, RowSelection::All).unwrap();
        let variant = segment.read_json(&info.name, RowSelection::All).unwrap().is_some();
        let pair = matches!(array.data_type(), DataType::Struct(_));
        if variant || pair {
            left_out.push(info.name.clone());
            continue;
        }
        let column = ColumnSchema::new(&info.name, info.column_type.clone());
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
    let mut writer = SegmentWriter::create(dir, schema, IndexSpec::default(), segment.interval()).unwrap();
    writer
        .append(&RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap())
        .unwrap();
    writer.finish().unwrap();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    dump::rows(&segment, &mut before).unwrap();
    dump::rows(&Segment::open(dir).unwrap(), &mut after).unwrap();
    (without(&before, &left_out), without(&after, &left_out))
}

/// Parses printed rows and takes columns out.
fn without(rows: &[u8], left_out: &[String]) -> Vec<u8> {
    let mut kept = Vec::new();
    for line in rows.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut row: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(line).unwrap();
        row.retain(|name, _| !left_out.contains(name));
        kept.extend(serde_json::to_vec(&row).unwrap());
        kept.push(b'\n');
    }
    kept
}

#[test]
fn goldens_can_be_written_again() {
    for golden in std::fs::read_dir(&collections()[0])
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
    {
        for segment in std::fs::read_dir(golden.join("segments"))
            .unwrap()
            .map(|e| e.unwrap().path())
        {
            let dir = tempfile::tempdir().unwrap();
            let (before, after) = rewritten(&segment, dir.path());
            let (before, after) = (String::from_utf8(before).unwrap(), String::from_utf8(after).unwrap());
            for (row, (before, after)) in before.lines().zip(after.lines()).enumerate() {
                assert_eq!(before, after, "row {row} of {}", segment.display());
            }
            assert_eq!(before.lines().count(), after.lines().count());
        }
    }
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
