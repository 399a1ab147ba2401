//! Files of a source: which there are, how large they are, and how their bytes are reached.

use std::io::Read;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::compression::Compression;
use crate::error::InputError;
use crate::source::{http, local};
use crate::spec::{ExternSpec, HttpSource, InputSource};

/// Names a file within its source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileId {
    /// The data of the statement itself.
    Inline,
    /// A file of this machine.
    Local(PathBuf),
    /// A file of a web server, by its position in `uris`.
    Http(usize),
}

/// What is known of a file before it is read.
#[derive(Debug, Clone)]
pub(crate) struct FileInfo {
    pub leaf: usize,
    pub id: FileId,
    /// Bytes as stored; a server may not tell.
    pub size: Option<u64>,
    pub compression: Compression,
    /// Whether reading can begin anywhere.
    pub has_ranges: bool,
}

impl FileInfo {
    /// Gives the bytes that the file stands for: compressed text is about four times as much work (Druid:
    /// `CompressionUtils.COMPRESSED_TEXT_WEIGHT_FACTOR`).
    pub(crate) fn weight_bytes(&self) -> u64 {
        let factor = if self.compression == Compression::None { 1 } else { 4 };
        self.size.unwrap_or(0).saturating_mul(factor)
    }
}

impl ExternSpec {
    pub(crate) fn leaf(&self, leaf: usize) -> Result<&InputSource, InputError> {
        let missing = || InputError::corrupt("split", format!("the input source has no part {leaf}"));
        self.source.leaves().get(leaf).ok_or_else(missing)
    }

    /// Lists the files of one leaf that are there and not empty.
    pub(crate) fn list(&self, leaf: usize, files: &mut Vec<FileInfo>) -> Result<(), InputError> {
        match self.leaf(leaf)? {
            InputSource::Inline(data) => files.push(FileInfo {
                leaf,
                id: FileId::Inline,
                size: Some(data.len() as u64),
                compression: Compression::None,
                has_ranges: false,
            }),
            InputSource::Local(source) => {
                for (path, size) in local::list(source)? {
                    files.push(FileInfo {
                        leaf,
                        size: Some(size),
                        compression: Compression::of_name(&path.to_string_lossy()),
                        id: FileId::Local(path),
                        has_ranges: true,
                    });
                }
            }
            InputSource::Http(source) => {
                for (i, uri) in source.uris.iter().enumerate() {
                    let (size, has_ranges) = http::probe(source, uri);
                    files.push(FileInfo {
                        leaf,
                        id: FileId::Http(i),
                        size,
                        compression: Compression::of_name(uri.path()),
                        has_ranges,
                    });
                }
            }
            InputSource::Combining(_) | InputSource::Nil => {}
        }
        Ok(())
    }

    /// Gives the address that messages and `__file_uri` show, none for inline data.
    pub(crate) fn uri_of(&self, leaf: usize, id: &FileId) -> Option<String> {
        match (self.source.leaves().get(leaf), id) {
            (_, FileId::Inline) => None,
            (_, FileId::Local(path)) => Some(local::uri(path)),
            (Some(InputSource::Http(source)), FileId::Http(i)) => source.uris.get(*i).map(http::shown),
            (_, FileId::Http(i)) => Some(format!("http input {i}")),
        }
    }

    /// Gives the path that `__file_path` shows.
    pub(crate) fn path_of(&self, leaf: usize, id: &FileId) -> Option<String> {
        match (self.source.leaves().get(leaf), id) {
            (_, FileId::Local(path)) => Some(local::absolute(path).to_string_lossy().into_owned()),
            (Some(InputSource::Http(source)), FileId::Http(i)) => source.uris.get(*i).map(|uri| uri.path().to_string()),
            _ => None,
        }
    }

    /// Opens the stored bytes from `start` on.
    pub(crate) fn open(&self, leaf: usize, id: &FileId, start: u64) -> Result<Box<dyn Read + Send>, InputError> {
        let source = self.leaf(leaf)?;
        match (source, id) {
            (InputSource::Inline(data), FileId::Inline) => {
                let data = std::sync::Arc::clone(data);
                Ok(Box::new(InlineBytes {
                    data,
                    at: start as usize,
                }))
            }
            (_, FileId::Local(path)) => local::open(path, start),
            (InputSource::Http(source), FileId::Http(i)) => {
                let (source, uri) = self.http(source, *i)?;
                http::open(source, uri, start)
            }
            _ => Err(InputError::corrupt(
                "split",
                "the split names a file that the input source does not have",
            )),
        }
    }

    pub(crate) fn http<'a>(
        &self,
        source: &'a HttpSource,
        i: usize,
    ) -> Result<(&'a HttpSource, &'a url::Url), InputError> {
        let missing = || InputError::corrupt("split", format!("the input source has no address {i}"));
        Ok((source, source.uris.get(i).ok_or_else(missing)?))
    }
}

struct InlineBytes {
    data: std::sync::Arc<str>,
    at: usize,
}

impl Read for InlineBytes {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let rest = self.data.as_bytes().get(self.at..).unwrap_or_default();
        let n = rest.len().min(to.len());
        to[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}
