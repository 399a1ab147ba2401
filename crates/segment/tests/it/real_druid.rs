//! Real Druid reads what henge writes: its own reader prints the rows of segments of every kind, compared with ours.
//!
//! Needs a JDK, Maven and the reader beside the project; where one is missing the test says SKIPPED. `HENGE_REQUIRE_DRUID=1` makes that a
//! failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use henge_segment::{
    AutoSpec, BitmapKind, ColumnSchema, ColumnType, Compression, IndexSpec, LongEncoding, Segment, SegmentSchema,
    StringEncoding, dump,
};
use serde_json::value::RawValue;

use crate::goldens::{rewrite, segments};
use crate::nested::{self, TRAPS};
use crate::projections;
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

/// Types of columns whose extensions are not among the jars of the reader: it sees nothing in them.
const UNKNOWN_TYPES: [&str; 3] = ["variance", "approximateHistogram", "fixedBucketsHistogram"];

/// Has real Druid print segments, and compares with what henge prints; none where Druid's jars cannot be fetched.
fn compare(reader: &Path, segments: &[PathBuf], root: &Path) -> Option<()> {
    let list: String = segments
        .iter()
        .map(|dir| format!("{}\t{}\n", dir.display(), dir.with_extension("jsonl").display()))
        .collect();
    let list_file = root.join("list");
    std::fs::write(&list_file, list).unwrap();
    let out = Command::new(reader).arg("batch").arg(&list_file).output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    if said.contains("maven failed") {
        skip("its jars cannot be fetched");
        return None;
    }
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(
        out.status.success(),
        "{}",
        if failed.is_empty() { said } else { failed.join("\n") }
    );
    for dir in segments {
        let theirs = std::fs::read_to_string(dir.with_extension("jsonl")).unwrap();
        let segment = Segment::open(dir).unwrap();
        let unknown: Vec<&str> = segment
            .columns()
            .iter()
            .filter(|info| {
                let is = |name: &&str| info.column_type == ColumnType::Complex((*name).to_owned());
                UNKNOWN_TYPES.iter().any(is)
            })
            .map(|info| info.name.as_str())
            .collect();
        let mut ours = Vec::new();
        dump::rows(&segment, &mut ours).unwrap();
        let ours = String::from_utf8(ours).unwrap();
        for (row, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
            if unknown.is_empty() {
                assert_eq!(ours, theirs, "row {row} of {}", dir.display());
            } else {
                let known = |line: &str| {
                    let mut row: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line).unwrap();
                    row.retain(|name, _| !unknown.contains(&name.as_str()));
                    serde_json::to_string(&row).unwrap()
                };
                assert_eq!(known(ours), known(theirs), "row {row} of {}", dir.display());
            }
        }
        assert_eq!(
            ours.lines().count(),
            theirs.lines().count(),
            "rows of {}",
            dir.display()
        );
    }
    Some(())
}

/// Settings that change the bytes of a column.
fn specs() -> Vec<(&'static str, IndexSpec)> {
    let default = IndexSpec::default();
    vec![
        ("default", default.clone()),
        (
            "concise-uncompressed",
            IndexSpec {
                bitmap: BitmapKind::Concise,
                dimension_compression: Compression::Uncompressed,
                metric_compression: Compression::Uncompressed,
                json_compression: Some(Compression::Uncompressed),
                complex_compression: Some(Compression::Uncompressed),
                long_encoding: LongEncoding::Longs,
                ..default.clone()
            },
        ),
        (
            "front-coded-zstd",
            IndexSpec {
                dimension_compression: Compression::Zstd,
                metric_compression: Compression::Zstd,
                json_compression: Some(Compression::Zstd),
                complex_compression: Some(Compression::Zstd),
                string_encoding: StringEncoding::FrontCoded {
                    bucket_size: 16,
                    version: 1,
                },
                ..default.clone()
            },
        ),
        (
            "lzf-own-auto",
            IndexSpec {
                dimension_compression: Compression::Lzf,
                metric_compression: Compression::Lzf,
                json_compression: Some(Compression::Lzf),
                complex_compression: Some(Compression::Lzf),
                auto: AutoSpec {
                    string_encoding: Some(StringEncoding::FrontCoded {
                        bucket_size: 4,
                        version: 1,
                    }),
                    id_compression: Some(Compression::Zstd),
                    long_encoding: Some(LongEncoding::Longs),
                    long_compression: Some(Compression::Lz4),
                    double_compression: Some(Compression::None),
                    ..AutoSpec::default()
                },
                strings_without_bitmaps: true,
                ..default.clone()
            },
        ),
        (
            "front-coded-0-none",
            IndexSpec {
                metric_compression: Compression::None,
                complex_compression: Some(Compression::Lz4),
                string_encoding: StringEncoding::FrontCoded {
                    bucket_size: 4,
                    version: 0,
                },
                ..default
            },
        ),
    ]
}

#[test]
fn real_druid_reads_goldens_that_are_written_again() {
    let reader = match reader() {
        Ok(reader) => reader,
        Err(why) => return skip(&why),
    };
    let root = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for (number, (name, golden)) in segments().into_iter().enumerate() {
        // Every golden with the default settings, and with one of the others in turn.
        let specs = specs();
        for (spec_name, spec) in [&specs[0], &specs[1 + number % 4]] {
            let dir = root.path().join(format!("{name}-{number}-{spec_name}"));
            rewrite(&golden, &dir, spec.clone());
            written.push(dir);
        }
    }
    compare(&reader, &written, root.path());
}

#[test]
fn real_druid_reads_nested_columns() {
    let reader = match reader() {
        Ok(reader) => reader,
        Err(why) => return skip(&why),
    };
    let root = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for (name, spec) in specs() {
        let texts: ArrayRef = Arc::new(StringArray::from(TRAPS.to_vec()));
        let columns = [("j", texts)];
        let mut schema = SegmentSchema::new(
            ["j", "j_null"]
                .map(|name| ColumnSchema::new(name, ColumnType::Complex("json".into())))
                .to_vec(),
        );
        let dir = root.path().join(format!("json-{name}"));
        nested::write(&dir, schema.clone(), spec.clone(), &columns);
        written.push(dir);
        schema.auto = ["j", "j_null"].map(str::to_owned).into();
        let dir = root.path().join(format!("json-auto-{name}"));
        nested::write(&dir, schema, spec.clone(), &columns);
        written.push(dir);
        let dir = root.path().join(format!("pairs-{name}"));
        nested::write_pairs(&dir, 20_000, spec);
        written.push(dir);
    }
    // Projections stand beside the rows.
    for (name, spec) in specs() {
        let dir = root.path().join(format!("projections-{name}"));
        projections::write_all(&dir, 2000, spec);
        written.push(dir);
    }
    // A string column without bitmaps, of single and of multiple values, compressed and not.
    for (name, spec) in specs() {
        let mut schema = schema();
        schema.without_bitmaps = ["s", "multi"].map(str::to_owned).into();
        let dir = root.path().join(format!("no-bitmaps-{name}"));
        write(&dir, &trap_rows(), schema, spec);
        written.push(dir);
    }
    if compare(&reader, &written, root.path()).is_none() {
        return;
    }
    // The files of fields are opened only by name: their dictionaries, values and bitmaps.
    for (path, expected) in [
        (
            "$.b.d",
            &[
                r#""value":"0.5","rows":[4]"#,
                r#""value":"9223372036854775807","rows":[9]"#,
            ][..],
        ),
        ("$.only", &[r#""value":"3","rows":[10]"#, r#""value":"4","rows":[12]"#]),
        ("$.b.c", &[r#""value":"text","rows":[4]"#]),
        ("$.a", &[r#""value":"text","rows":[5]"#, r#""value":"1.5","rows":[6]"#]),
    ] {
        let dir = root.path().join("json-default");
        let out = Command::new(&reader)
            .args(["nested", &dir.display().to_string(), "j", path])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).replace(": ", ":");
        assert!(out.status.success(), "{path}: {}", String::from_utf8_lossy(&out.stderr));
        for value in expected {
            assert!(text.contains(value), "{path}: {value} is not in {text}");
        }
    }
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
    if compare(&reader, &segments, root.path()).is_none() {
        return;
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
