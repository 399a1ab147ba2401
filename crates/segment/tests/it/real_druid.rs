//! Real Druid reads what henge writes: its own reader prints the rows of segments of every kind, compared with ours.
//!
//! Needs a JDK, Maven and the reader beside the project; where one is missing the test says SKIPPED. `HENGE_REQUIRE_DRUID=1` makes that a
//! failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use henge_segment::{Compression, IndexSpec, Segment, dump};

use crate::round_trip::{ArrayRow, Row, arrays_batch, rows_of_cardinality, schema, write, write_arrays, write_longs};

fn reader() -> Result<PathBuf, String> {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/druid-reader/druid-reader");
    if !reader.is_file() {
        return Err(format!("{} is not there", reader.display()));
    }
    for tool in ["java", "mvn"] {
        let runs = Command::new(tool)
            .arg("-version")
            .output()
            .is_ok_and(|out| out.status.success());
        if !runs {
            return Err(format!("{tool} is not installed"));
        }
    }
    Ok(reader)
}

fn skip(why: &str) {
    assert!(
        std::env::var_os("HENGE_REQUIRE_DRUID").is_none(),
        "real Druid must read what henge writes, but {why}"
    );
    eprintln!("SKIPPED: real Druid does not check what henge writes, {why}");
}

/// Rows with every trap: nulls, empty strings, extremes, characters whose order differs between UTF-8 and UTF-16.
fn trap_rows() -> Vec<Row> {
    let texts = [
        None,
        Some(""),
        Some("a"),
        Some("\u{ff61}"),
        Some("\u{10000}"),
        Some("\u{e000}x"),
        Some("line\nbreak \"quoted\" \\ \u{1}"),
        Some("é"),
    ];
    let longs = [None, Some(0), Some(i64::MIN), Some(i64::MAX), Some(-1)];
    let doubles = [
        None,
        Some(0.0),
        Some(-0.0),
        Some(f64::MAX),
        Some(5e-324),
        Some(f64::NAN),
        Some(f64::INFINITY),
        Some(0.1),
    ];
    (0..500usize)
        .map(|i| Row {
            time: 1_704_067_200_000 + i as i64,
            s: texts[i % texts.len()].map(str::to_owned),
            multi: (0..i % 4)
                .map(|k| texts[(i + k * 3) % texts.len()].map(str::to_owned))
                .collect(),
            l: longs[i % longs.len()],
            d: doubles[i % doubles.len()],
            f: doubles[i % doubles.len()].map(|d| d as f32),
        })
        .collect()
}

/// Arrays with every trap: null, empty, null elements, extremes, strings whose order differs between UTF-8 and UTF-16.
fn array_rows() -> Vec<ArrayRow> {
    let texts = ["", "a", "\u{ff61}", "\u{10000}", "b"];
    let longs = [i64::MIN, i64::MAX, 0, -1, 7];
    let doubles = [-0.0, 0.0, f64::MAX, -1.5, f64::NAN];
    (0..200usize)
        .map(|i| {
            let len = i % 4;
            let null = i % 7 == 0;
            let pick = |k: usize| (i * 3 + k * 2) % 5;
            let element = |k: usize| !(i + k).is_multiple_of(6);
            (
                (!null).then(|| {
                    (0..len)
                        .map(|k| element(k).then(|| texts[pick(k)].to_owned()))
                        .collect()
                }),
                (!null).then(|| (0..len).map(|k| element(k).then(|| longs[pick(k)])).collect()),
                (!null).then(|| (0..len).map(|k| element(k).then(|| doubles[pick(k)])).collect()),
            )
        })
        .collect()
}

#[test]
fn real_druid_reads_what_is_written() {
    let reader = match reader() {
        Ok(reader) => reader,
        Err(why) => return skip(&why),
    };
    let root = tempfile::tempdir().unwrap();
    let mut segments: Vec<PathBuf> = Vec::new();
    let mut add = |name: &str, rows: &[Row], spec: IndexSpec| {
        let dir = root.path().join(name);
        write(&dir, rows, schema(), spec);
        segments.push(dir);
    };
    let spec = |dimension_compression, metric_compression| IndexSpec {
        dimension_compression,
        metric_compression,
        ..IndexSpec::default()
    };
    add("traps", &trap_rows(), IndexSpec::default());
    add("traps-zstd", &trap_rows(), spec(Compression::Zstd, Compression::Zstd));
    add(
        "traps-uncompressed",
        &trap_rows(),
        spec(Compression::Uncompressed, Compression::Uncompressed),
    );
    add("traps-none", &trap_rows(), spec(Compression::Lz4, Compression::None));
    add("one-row", &trap_rows()[2..3], IndexSpec::default());
    add("one-null-row", &trap_rows()[..1], IndexSpec::default());
    for (rows, cardinality) in [(1000, 255), (1000, 256), (66_500, 66_000)] {
        add(
            &format!("cardinality-{cardinality}"),
            &rows_of_cardinality(rows, cardinality),
            IndexSpec::default(),
        );
    }
    for (name, metric_compression) in [("longs", Compression::Lz4), ("longs-none", Compression::None)] {
        let dir = root.path().join(name);
        write_longs(
            &dir,
            30_000,
            IndexSpec {
                metric_compression,
                ..IndexSpec::default()
            },
        );
        segments.push(dir);
    }
    let arrays = root.path().join("arrays");
    write_arrays(&arrays, &arrays_batch(&array_rows()));
    segments.push(arrays);
    let list: String = segments
        .iter()
        .map(|dir| format!("{}\t{}\n", dir.display(), dir.with_extension("jsonl").display()))
        .collect();
    let list_file = root.path().join("list");
    std::fs::write(&list_file, list).unwrap();
    let out = Command::new(reader).arg("batch").arg(&list_file).output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    if said.contains("maven failed") {
        return skip("its jars cannot be fetched");
    }
    assert!(out.status.success(), "{said}");
    for dir in &segments {
        let theirs = std::fs::read_to_string(dir.with_extension("jsonl")).unwrap();
        let mut ours = Vec::new();
        dump::rows(&Segment::open(dir).unwrap(), &mut ours).unwrap();
        let ours = String::from_utf8(ours).unwrap();
        for (row, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
            assert_eq!(ours, theirs, "row {row} of {}", dir.display());
        }
        assert_eq!(
            ours.lines().count(),
            theirs.lines().count(),
            "rows of {}",
            dir.display()
        );
    }
    // Filters use the bitmaps that henge wrote, scans do not.
    let filter = r#"{"type":"selector","dimension":"s","value":"value 17"}"#;
    let dir = root.path().join("cardinality-256");
    let out = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/druid-reader/druid-reader"))
        .args(["rows", &dir.display().to_string(), "--filter", filter])
        .output()
        .unwrap();
    let filtered = String::from_utf8_lossy(&out.stdout);
    let expected = rows_of_cardinality(1000, 256)
        .iter()
        .filter(|r| r.s.as_deref() == Some("value 17"))
        .count();
    assert_eq!(
        filtered.lines().count(),
        expected,
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}
