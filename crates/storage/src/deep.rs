//! Deep storage as the engine sees it (Druid's `DataSegmentPusher`, `DataSegmentPuller` and `DataSegmentKiller`).

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use henge_time::{Interval, format_millis};
use serde_json::Value;

use crate::StorageError;

/// Where a segment belongs: `<datasource>/<start>_<end>/<version>/<partition>[/<unique>]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentPath {
    /// Datasource.
    pub datasource: String,
    /// Time chunk.
    pub interval: Interval,
    /// Version.
    pub version: String,
    /// Partition number.
    pub partition: u32,
    /// One more level that keeps attempts apart; Druid's engine leaves it out.
    pub unique: Option<String>,
}

impl SegmentPath {
    /// Gives the folders below the root. Names that would leave it, or make more than one level, are refused.
    pub fn folders(&self) -> Result<PathBuf, StorageError> {
        let interval = format!(
            "{}_{}",
            format_millis(self.interval.start_ms),
            format_millis(self.interval.end_ms)
        );
        let mut path = PathBuf::from(one_folder("datasource", &self.datasource)?);
        path.push(interval);
        path.push(one_folder("version", &self.version)?);
        path.push(self.partition.to_string());
        if let Some(unique) = &self.unique {
            path.push(one_folder("unique level", unique)?);
        }
        Ok(path)
    }
}

fn one_folder<'a>(what: &'static str, name: &'a str) -> Result<&'a str, StorageError> {
    let fits = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0']);
    fits.then_some(name).ok_or_else(|| StorageError::Name {
        what,
        value: name.to_string(),
    })
}

/// A segment that is in deep storage now.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// How to find it again; goes into the published payload.
    pub load_spec: Value,
    /// Bytes of its files.
    pub size_bytes: u64,
}

/// The durable home of segment files.
#[async_trait]
pub trait DeepStorage: Send + Sync + std::fmt::Debug {
    /// Moves the files of a finished segment folder in, whole or not at all, durably. The folder is consumed. A segment that
    /// is there already is replaced: a repeated attempt wrote the same rows.
    async fn push(&self, local: &Path, segment: &SegmentPath) -> Result<Pushed, StorageError>;

    /// Gives a local path of the segment: a folder of smoosh files, or an `index.zip`.
    async fn fetch(&self, load_spec: &Value) -> Result<PathBuf, StorageError>;

    /// Removes the files and the folders that become empty. Files that are gone already are no error.
    async fn kill(&self, load_spec: &Value) -> Result<(), StorageError>;

    /// Removes what [`Self::push`] may have left at a place, as far as it came. Nothing there is no error.
    async fn withdraw(&self, segment: &SegmentPath) -> Result<(), StorageError>;

    /// Removes every segment that no load spec of `keep` names, and gives what it removed. Nothing may be pushing meanwhile:
    /// what is pushed and not yet published looks like an orphan.
    async fn collect_orphans(&self, keep: &[Value]) -> Result<Vec<PathBuf>, StorageError>;
}
