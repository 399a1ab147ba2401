//! Compressed files: every codec, several members, wrong names, damage.

use std::io::Write;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::InputErrorKind;

pub(super) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn bzip2(data: &[u8]) -> Vec<u8> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn xz(data: &[u8]) -> Vec<u8> {
    let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 1);
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(data, 1).unwrap()
}

type Codec = (&'static str, fn(&[u8]) -> Vec<u8>);
pub(super) const CODECS: [Codec; 4] = [("gz", gzip), ("bz2", bzip2), ("xz", xz), ("zst", zstd)];

pub(super) fn file(dir: &tempfile::TempDir, name: &str, data: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, data).unwrap();
    path
}

#[test]
fn every_codec_and_several_members() {
    let dir = tempfile::tempdir().unwrap();
    let text = |range: std::ops::Range<usize>| range.map(|i| format!("{{\"a\":{i}}}\n")).collect::<String>();
    for (extension, compress) in CODECS {
        let (first, second) = (text(0..20_000), text(20_000..20_010));
        let mut data = compress(first.as_bytes());
        data.extend(compress(second.as_bytes()));
        let path = file(&dir, &format!("a.json.{extension}"), &data);
        let spec = local(&path, json!({"type": "json"}), &["a:long"]);
        let notes = Notes::allowing(0);
        // Compressed files are never cut.
        let splits = spec
            .splits(&SplitLimits {
                split_bytes: 10,
                min_split_bytes: 1,
                ..SplitLimits::default()
            })
            .unwrap();
        assert_eq!(splits.len(), 1);
        let rows = to_json(&read_splits(&spec, &splits, &notes).unwrap());
        assert_eq!(rows.len(), 20_010, "{extension}");
        assert_eq!(rows[20_009], json!({"a": 20_009}));
        assert_eq!(notes.counts(), (20_010, data.len() as u64, 1), "{extension}");
    }
}

#[test]
fn wrong_names_and_cut_files() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..50_000)
        .map(|i| format!("{{\"a\":{}}}\n", i * 7919 % 100_003))
        .collect();
    for (extension, compress) in CODECS {
        let path = file(&dir, &format!("plain.json.{extension}"), text.as_bytes());
        let error = read(&local(&path, json!({"type": "json"}), &["a:long"]), &Notes::allowing(9)).unwrap_err();
        assert_eq!(error.kind(), InputErrorKind::Corrupt);
        assert!(error.to_string().contains("its name says"), "{error}");

        let data = compress(text.as_bytes());
        let path = file(&dir, &format!("cut.json.{extension}"), &data[..data.len() / 2]);
        let error = read(
            &local(&path, json!({"type": "json"}), &["a:long"]),
            &Notes::allowing(usize::MAX),
        )
        .unwrap_err();
        assert_eq!(error.kind(), InputErrorKind::Corrupt, "{extension}: {error}");
        assert!(error.to_string().contains("cut.json"), "{error}");
    }
    for extension in ["zip", "sz"] {
        let path = file(&dir, &format!("a.json.{extension}"), b"PK");
        let error = read(&local(&path, json!({"type": "json"}), &["a:long"]), &Notes::allowing(9)).unwrap_err();
        assert_eq!(error.kind(), InputErrorKind::Unsupported);
    }
}

#[test]
fn a_bomb_is_a_stream() {
    // 64 MiB of one line, compressed a thousandfold: refused at the limit of a line, not after.
    let dir = tempfile::tempdir().unwrap();
    let data = zstd(&vec![b'a'; 64 << 20]);
    assert!(data.len() < 64 << 10);
    let path = file(&dir, "bomb.json.zst", &data);
    let spec = local(&path, json!({"type": "json"}), &["a:long"]);
    let mut options = ReadOptions::all(&spec);
    options.max_row_bytes = 1 << 20;
    let splits = spec.splits(&SplitLimits::default()).unwrap();
    let error = read_all(&spec, &splits, &options, Notes::allowing(9)).unwrap_err();
    assert_eq!(error.kind(), InputErrorKind::Limit);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn damage_is_an_error_or_nothing(codec in 0usize..4, at in 0usize..2_000, byte: u8, tail in proptest::collection::vec(any::<u8>(), 0..20)) {
        let dir = tempfile::tempdir().unwrap();
        let (extension, compress) = CODECS[codec];
        let mut data = compress("{\"a\":1}\n".repeat(300).as_bytes());
        let at = at % data.len();
        data[at] = byte;
        data.extend(tail);
        let path = file(&dir, &format!("a.json.{extension}"), &data);
        // An error or rows: both will do, a panic or an endless loop will not.
        let _ = read(&local(&path, json!({"type": "json"}), &["a:long"]), &Notes::allowing(usize::MAX));
    }
}
