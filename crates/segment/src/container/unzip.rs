//! Segments as `index.zip`: unpacked once into a file without a name, then read like a folder.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use super::{Container, SegmentError};
use crate::limits::ZIP_EXPANSION;

/// Opens a zip by unpacking it into a temporary folder, whose files stay mapped after the folder is gone.
pub(super) fn open(path: &Path) -> Result<Container, SegmentError> {
    let file = File::open(path).map_err(|e| SegmentError::io("open", path, e))?;
    let zip_bytes = file.metadata().map_err(|e| SegmentError::io("open", path, e))?.len();
    let corrupt = |entry: &str, expectation: String| SegmentError::Corrupt {
        file: path.display().to_string(),
        column: entry.to_owned(),
        offset: 0,
        expectation,
    };
    let mut archive = zip::ZipArchive::new(file).map_err(|e| corrupt("", format!("a zip file: {e}")))?;
    let dir = tempfile::Builder::new()
        .prefix("henge-segment-")
        .tempdir()
        .map_err(|e| SegmentError::io("create a folder in", &std::env::temp_dir(), e))?;
    let mut left = zip_bytes.saturating_mul(ZIP_EXPANSION);
    let mut buffer = vec![0; 1 << 16];
    for index in 0..archive.len() {
        let mut entry = archive
            .by_index(index)
            .map_err(|e| corrupt("", format!("entry {index} of the zip: {e}")))?;
        let name = entry.name().to_owned();
        if name.contains(['/', '\\']) || name.contains("..") || name.is_empty() {
            return Err(corrupt(
                &name,
                "the entries of a segment's zip are plain file names".into(),
            ));
        }
        let target = dir.path().join(&name);
        let mut out = File::create(&target).map_err(|e| SegmentError::io("create", &target, e))?;
        loop {
            let read = entry
                .read(&mut buffer)
                .map_err(|e| corrupt(&name, format!("an intact entry: {e}")))?;
            if read == 0 {
                break;
            }
            left = left
                .checked_sub(read as u64)
                .ok_or_else(|| corrupt(&name, format!("a zip that expands {ZIP_EXPANSION} times at most")))?;
            out.write_all(&buffer[..read])
                .map_err(|e| SegmentError::io("write", &target, e))?;
        }
    }
    let mut container = Container::open(dir.path())?;
    container.path = path.display().to_string();
    Ok(container)
}
