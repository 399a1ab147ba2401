//! Real Druid as the judge of the segments that henge publishes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{ok, text};

/// Compares the rows of every segment below the data folder, as real Druid's reader prints them, with `henge segment rows`.
///
/// Needs a JDK, Maven and the reader beside the project; says SKIPPED without, and fails then if `HENGE_REQUIRE_DRUID` is set.
pub fn reads_the_same(folder: &Path, least: usize) {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/druid-reader/druid-reader");
    let runs = |tool: &str| {
        Command::new(tool)
            .arg("-version")
            .output()
            .is_ok_and(|out| out.status.success())
    };
    let skip = |why: &str| {
        assert!(
            std::env::var_os("HENGE_REQUIRE_DRUID").is_none(),
            "real Druid must read what henge publishes, but {why}"
        );
        eprintln!("SKIPPED: real Druid does not check what henge publishes, {why}");
    };
    if !reader.is_file() || !runs("java") || !runs("mvn") {
        return skip("its reader, Java or Maven is not there");
    }
    let segments = segment_folders(&folder.join("henge-data/segments"));
    assert!(segments.len() >= least, "[{}] segments", segments.len());
    let printed = |segment: usize| folder.join(format!("druid-{segment}.jsonl"));
    let list: String = segments
        .iter()
        .enumerate()
        .map(|(i, segment)| format!("{}\t{}\n", segment.display(), printed(i).display()))
        .collect();
    std::fs::write(folder.join("list"), list).expect("writable");
    let out = Command::new(reader)
        .arg("batch")
        .arg(folder.join("list"))
        .output()
        .expect("runs");
    let said = format!("{}{}", text(&out.stdout), text(&out.stderr));
    if said.contains("maven failed") {
        return skip("its jars cannot be fetched");
    }
    assert!(out.status.success(), "{said}");
    let mut arguments = vec!["segment", "rows"];
    arguments.extend(segments.iter().map(|segment| segment.to_str().expect("a path")));
    let ours = ok(folder, &arguments);
    let theirs: String = (0..segments.len())
        .map(|i| std::fs::read_to_string(printed(i)).expect("printed"))
        .collect();
    assert_eq!(ours.lines().count(), theirs.lines().count());
    for (row, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "row {row}");
    }
}

/// Finds the folders of segments below a folder, in the order of their paths.
pub fn segment_folders(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![below.to_path_buf()];
    while let Some(folder) = open.pop() {
        if folder.join("version.bin").is_file() {
            found.push(folder);
            continue;
        }
        let entries = std::fs::read_dir(&folder).expect("readable");
        open.extend(
            entries
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.is_dir()),
        );
    }
    found.sort();
    found
}
