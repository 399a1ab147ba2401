//! The container: internal files laid end to end in a few files on disk.
//!
//! ```text
//! folder (V9)      version.bin  00 00 00 09
//!                  factory.json {"type":"mMapSegmentFactory"}
//!                  meta.smoosh  the directory, see `smoosh`
//!                  00000.smoosh … the internal files
//! index.zip        the same files, DEFLATE, no folders
//! druid.segment    one file (V10), see `v10`
//! ```

mod index_drd;
mod metadata;
mod projection;
mod smoosh;
mod unzip;
mod v10;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use henge_time::Interval;

use crate::SegmentError;
use crate::blob::Blob;
use crate::limits::BLOCK_BYTES;

pub use metadata::{Metadata, OrderBy};
pub use projection::Projection;
pub(crate) use smoosh::{SmooshWriter, write_file};

/// Names of the files of a segment folder.
pub(crate) const VERSION_FILE: &str = "version.bin";
pub(crate) const FACTORY_FILE: &str = "factory.json";
pub(crate) const META_FILE: &str = "meta.smoosh";
pub(crate) const V10_FILE: &str = "druid.segment";
pub(crate) const ZIP_FILE: &str = "index.zip";

/// The format version that folders of smoosh files have.
pub(crate) const VERSION_9: u32 = 9;

/// The columns of a segment, and the interval that its files name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnList {
    /// Every column but `__time`: the dimensions in their order, then the metrics.
    pub columns: Vec<String>,
    /// How many of them are dimensions.
    pub dimensions: usize,
    pub interval: Interval,
}

/// Where an internal file lies.
#[derive(Debug, Clone, Copy)]
struct Slot {
    chunk: usize,
    start: usize,
    end: usize,
}

/// An open segment's internal files.
#[derive(Debug)]
pub(crate) struct Container {
    path: String,
    files: BTreeMap<String, Slot>,
    chunks: Vec<Bytes>,
    v10: Option<v10::Head>,
    /// Files beside a V10 segment that may hold what is missing in it.
    externals: Vec<String>,
}

impl Container {
    /// Opens a folder (or one that holds `index/`, `index.zip` or `druid.segment`), an `index.zip`, or a `druid.segment`.
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        if path.is_file() {
            let head = map(path)?;
            if head.starts_with(b"PK") {
                return unzip::open(path);
            }
            return v10::open(path);
        }
        let version = path.join(VERSION_FILE);
        if version.is_file() {
            check_version(&version)?;
            return smoosh::open(path);
        }
        if path.join(ZIP_FILE).is_file() {
            return unzip::open(&path.join(ZIP_FILE));
        }
        let index = path.join("index");
        if index.join(VERSION_FILE).is_file() {
            return Self::open(&index);
        }
        if path.join(V10_FILE).is_file() {
            return v10::open(&path.join(V10_FILE));
        }
        if !path.exists() {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(SegmentError::io("open segment", path, missing));
        }
        Err(SegmentError::invalid(format!(
            "[{}] is no segment: it has none of {VERSION_FILE}, {ZIP_FILE}, index/{VERSION_FILE}, {V10_FILE}",
            path.display()
        )))
    }

    /// Reads a `druid.segment` that is in memory.
    pub fn from_v10(bytes: Bytes) -> Result<Self, SegmentError> {
        v10::read(bytes, "memory".into())
    }

    /// Makes a container of internal files that are in memory.
    pub fn from_files(files: BTreeMap<String, Bytes>) -> Self {
        let mut slots = BTreeMap::new();
        let mut chunks = Vec::with_capacity(files.len());
        for (name, bytes) in files {
            let (chunk, end) = (chunks.len(), bytes.len());
            slots.insert(name, Slot { chunk, start: 0, end });
            chunks.push(bytes);
        }
        Self {
            path: "memory".into(),
            files: slots,
            chunks,
            v10: None,
            externals: Vec::new(),
        }
    }

    /// Gives what the segment was opened from.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Gives an internal file.
    pub fn file(&self, name: &str) -> Option<Blob> {
        let slot = self.files.get(name)?;
        let bytes = self.chunks[slot.chunk].slice(slot.start..slot.end);
        Some(Blob::new(bytes, self.path.clone(), name))
    }

    /// Lists the internal files.
    pub fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// Gives an internal file that must be there.
    pub fn require(&self, name: &str) -> Result<Blob, SegmentError> {
        self.file(name).ok_or_else(|| match self.externals.as_slice() {
            [] => SegmentError::Corrupt {
                file: self.path.clone(),
                column: name.to_owned(),
                offset: 0,
                expectation: "an internal file of this name must exist".into(),
            },
            externals => SegmentError::Unsupported {
                file: format!("{}, column [{name}]", self.path),
                what: format!("an internal file in the external files [{}]", externals.join(", ")),
            },
        })
    }

    /// Gives the columns and the interval.
    pub fn columns(&self) -> Result<ColumnList, SegmentError> {
        match &self.v10 {
            Some(head) => Ok(head.columns.clone()),
            None => ColumnList::read(self),
        }
    }

    /// Gives what the segment says about itself; none if nothing that can be understood.
    pub fn metadata(&self) -> Option<Metadata> {
        match &self.v10 {
            Some(head) => Some(head.metadata.clone()),
            None => Metadata::read(self),
        }
    }

    /// Gives what the internal files of the segment's own columns begin with; those of projections begin with their name and a slash.
    pub fn prefix(&self) -> &str {
        self.v10.as_ref().map_or("", |head| &head.prefix)
    }

    /// Gives the descriptor of a column, as JSON, and the bytes of its part; `file` is its internal file.
    pub fn column(&self, file: &str) -> Result<(String, Blob), SegmentError> {
        match &self.v10 {
            None => {
                let blob = self.require(file)?;
                let mut cursor = blob.cursor();
                let descriptor = cursor.string("column descriptor")?.to_owned();
                Ok((descriptor, cursor.rest()))
            }
            Some(head) => {
                let blob = self.require(file)?;
                match head.descriptors.get(file) {
                    Some(descriptor) => Ok((descriptor.clone(), blob)),
                    None => Err(blob.corrupt(0, "a column must have a descriptor")),
                }
            }
        }
    }

    /// Counts the bytes of a column: its internal file, and those that begin with its name and `.` and are listed by it.
    pub fn column_bytes(&self, name: &str) -> u64 {
        let own = self.files.get(name).map_or(0, |slot| (slot.end - slot.start) as u64);
        let prefix = format!("{name}.");
        let parts: u64 = self
            .files
            .range(prefix.clone()..)
            .take_while(|(file, _)| file.starts_with(&prefix))
            .filter(|(file, _)| {
                file[prefix.len()..].starts_with("__") || file.contains("_value_") || file.ends_with("_header")
            })
            .map(|(_, slot)| (slot.end - slot.start) as u64)
            .sum();
        own + parts
    }
}

fn check_version(path: &Path) -> Result<(), SegmentError> {
    let bytes = std::fs::read(path).map_err(|e| SegmentError::io("read", path, e))?;
    let blob = Blob::new(Bytes::from(bytes), path.display().to_string(), VERSION_FILE);
    let version = blob.cursor().i32("segment version")?;
    if version as u32 != VERSION_9 {
        return Err(SegmentError::Unsupported {
            file: path.display().to_string(),
            what: format!("segment version {version}"),
        });
    }
    Ok(())
}

/// Maps a file into memory; an empty file is no bytes.
fn map(path: &Path) -> Result<Bytes, SegmentError> {
    let file = File::open(path).map_err(|e| SegmentError::io("open", path, e))?;
    map_file(&file, path)
}

fn map_file(file: &File, path: &Path) -> Result<Bytes, SegmentError> {
    let len = file.metadata().map_err(|e| SegmentError::io("open", path, e))?.len();
    if len < BLOCK_BYTES as u64 {
        // A mapping costs more than the bytes of a small file.
        use std::io::Read;
        let mut bytes = Vec::with_capacity(len as usize);
        let mut reader: &File = file;
        reader
            .read_to_end(&mut bytes)
            .map_err(|e| SegmentError::io("read", path, e))?;
        return Ok(Bytes::from(bytes));
    }
    // SAFETY: segment files are never written again once they are published; a file that is cut short while it is mapped would
    // raise SIGBUS, which deep storage and the segment cache rule out by renaming whole folders into place.
    let map = unsafe { memmap2::Mmap::map(file) }.map_err(|e| SegmentError::io("map", path, e))?;
    Ok(Bytes::from_owner(map))
}
