//! Segments of format V10 as newer releases of Druid write them: several containers, bundles, packed metadata, projections.

use std::collections::BTreeMap;

use henge_segment::{Compression, Segment, dump, fuzz, verify};
use serde_json::{Value, json};

use crate::goldens::segments;

/// The V9 golden with projections, as a V10 segment would hold it.
struct V10 {
    metadata: Value,
    containers: Vec<u8>,
}

fn v9() -> fuzz::Files {
    let found = segments().into_iter().find(|(name, _)| name == "native_projections");
    fuzz::load(&found.unwrap().1).unwrap()
}

impl V10 {
    /// Puts the columns of the table into one container for each two of them, those of each projection into one of its own.
    fn new() -> Self {
        let files = v9();
        let described: Value = serde_json::from_slice(&files["metadata.drd"]).unwrap();
        let mut bundles: BTreeMap<String, Vec<(String, Vec<u8>)>> = BTreeMap::new();
        let mut descriptors = json!({});
        let columns = files.into_iter().filter(|(name, _)| !name.ends_with(".drd"));
        for (number, (name, bytes)) in columns.enumerate() {
            let len = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            let (name, bundle) = match name.split_once('/') {
                Some((projection, _)) => (name.clone(), projection.to_owned()),
                None => (format!("__base/{name}"), format!("__base{}", number / 2)),
            };
            descriptors[&name] = serde_json::from_slice(&bytes[4..4 + len]).unwrap();
            bundles
                .entry(bundle)
                .or_default()
                .push((name, bytes[4 + len..].to_vec()));
        }
        let mut containers = Vec::new();
        let mut described_containers = Vec::new();
        let mut described_files = json!({});
        let mut column_files = json!({});
        for (number, (bundle, files)) in bundles.into_iter().enumerate() {
            let start = containers.len();
            for (name, bytes) in files {
                let offset = containers.len() - start;
                described_files[&name] = json!({"container": number, "startOffset": offset, "size": bytes.len()});
                column_files[&name] = json!([name]);
                containers.extend_from_slice(&bytes);
            }
            let mut container = json!({"startOffset": start, "size": containers.len() - start});
            if !bundle.starts_with("__base") {
                container["bundle"] = bundle.into();
            }
            described_containers.push(container);
        }
        let mut projections = vec![json!({"numRows": 1000, "schema": {
            "type": "base-table", "name": "__base", "timeColumnName": "__time", "virtualColumns": [],
            "columns": ["__time", "country", "channel", "user", "added", "price", "never"],
            "ordering": described["ordering"],
        }})];
        for projection in described["projections"].as_array().unwrap() {
            projections.push(
                json!({"schema": projection["schema"], "numRows": projection["numRows"], "minTime": 0, "maxTime": 1}),
            );
        }
        Self {
            metadata: json!({
                "containers": described_containers,
                "files": described_files,
                "interval": "2024-01-01T00:00:00.000Z/2024-02-01T00:00:00.000Z",
                "columnDescriptors": descriptors,
                "columnFiles": column_files,
                "projections": projections,
                "bitmapEncoding": {"type": "roaring"},
            }),
            containers,
        }
    }

    fn bytes(&self, compression: Compression) -> Vec<u8> {
        let mut bytes = fuzz::v10_head(&serde_json::to_vec(&self.metadata).unwrap(), compression);
        bytes.extend_from_slice(&self.containers);
        bytes
    }
}

fn printed(segment: &Segment) -> String {
    let mut lines = Vec::new();
    dump::rows(segment, &mut lines).unwrap();
    String::from_utf8(lines).unwrap()
}

#[test]
fn several_containers_and_projections_are_read() {
    let v10 = V10::new();
    assert!(v10.metadata["containers"].as_array().unwrap().len() >= 5);
    let expected = fuzz::open(&v9()).unwrap();
    for compression in [Compression::None, Compression::Zstd] {
        let segment = fuzz::open_v10(&v10.bytes(compression)).unwrap();
        assert_eq!(verify(&segment).findings, []);
        // A column that is listed but has no descriptor is not stored.
        assert!(segment.column("never").is_none());
        assert_eq!(printed(&segment), printed(&expected));
        let names: Vec<&str> = segment.projections().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["by_country", "hourly"]);
        for name in names {
            let (ours, theirs) = (segment.projection(name).unwrap(), expected.projection(name).unwrap());
            assert_eq!(printed(&ours), printed(&theirs));
            let bytes = |segment: &Segment| segment.columns().iter().map(|info| info.bytes).sum::<u64>();
            assert!(bytes(&ours) > 0 && bytes(&ours) < bytes(&theirs));
        }
    }
}

#[test]
fn what_is_not_read_is_named() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut v10 = V10::new();
        change(&mut v10.metadata);
        fuzz::open_v10(&v10.bytes(Compression::None)).unwrap_err().to_string()
    };
    let clustered = refused(&|m| m["projections"][0]["schema"]["type"] = json!("clustered-value-groups-base-table"));
    assert!(
        clustered.contains("a table of type clustered-value-groups-base-table is not supported"),
        "{clustered}"
    );
    let outside = refused(&|m| m["files"]["__base/added"]["container"] = json!(99));
    assert!(
        outside.contains("internal file [__base/added] must lie within its container"),
        "{outside}"
    );
    let long = refused(&|m| m["files"]["__base/added"]["size"] = json!(u64::MAX));
    assert!(long.contains("must lie within its container"), "{long}");
    assert!(refused(&|m| m["projections"] = json!([])).contains("a segment has a table at least"));
    assert!(refused(&|m| m["projections"][0] = json!({"schema": 5})).contains("the table of a segment"));

    // What lies in a file beside the segment is not read; the error names the file.
    let mut v10 = V10::new();
    v10.metadata["files"].as_object_mut().unwrap().remove("__base/added");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("druid.segment"), v10.bytes(Compression::Zstd)).unwrap();
    let error = || {
        let segment = Segment::open(dir.path()).unwrap();
        let read = segment.read("added", henge_segment::RowSelection::All);
        read.unwrap_err().to_string()
    };
    assert!(
        error().contains("an internal file of this name must exist"),
        "{}",
        error()
    );
    std::fs::write(
        dir.path().join("cold.segment"),
        fuzz::v10_head(b"{}", Compression::None),
    )
    .unwrap();
    assert!(
        error().contains("in the external files [cold.segment] is not supported"),
        "{}",
        error()
    );
}

#[test]
fn damaged_metadata_never_panics() {
    let v10 = V10::new();
    let mut random = fuzz::Random::new(5);
    for round in 0..200 {
        let mut bytes = match round % 2 {
            // The head alone, and the whole file.
            0 => fuzz::v10_head(&serde_json::to_vec(&v10.metadata).unwrap(), Compression::None),
            _ => v10.bytes(Compression::None),
        };
        fuzz::damage(&mut bytes, &mut random);
        if let Ok(segment) = fuzz::open_v10(&bytes) {
            fuzz::read_all(&segment);
        }
    }
}
