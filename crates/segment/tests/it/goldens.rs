//! Segments that real Druid wrote read to the rows that real Druid prints.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use henge_segment::{Segment, dump};

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
