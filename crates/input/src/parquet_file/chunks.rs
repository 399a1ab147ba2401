//! The bytes of a Parquet file: a file of this machine, data in memory, or ranges of a file of a web server, fetched a row
//! group at a time.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::compression::Compression;
use crate::error::InputError;
use crate::file::FileId;
use crate::limits;
use crate::source::{http, local};
use crate::spec::{ExternSpec, HttpSource, InputSource};

/// Bytes that can be read from anywhere.
#[derive(Clone)]
pub(crate) enum Chunks {
    Local(Arc<File>, u64),
    Remote(Remote),
}

#[derive(Clone)]
pub(crate) struct Remote {
    source: Arc<HttpSource>,
    uri: url::Url,
    length: u64,
    /// Ranges that are in memory, with their first bytes.
    fetched: Arc<Vec<(u64, Bytes)>>,
}

impl Chunks {
    pub(crate) fn open(spec: &ExternSpec, leaf: usize, id: &FileId, name: &str) -> Result<Self, InputError> {
        if Compression::of_name(name.split(['?', '#']).next().unwrap_or_default()) != Compression::None {
            return Err(InputError::Unsupported {
                what: "a parquet file compressed as a whole,",
                name: name.to_string(),
                supported: "parquet files that are compressed inside",
            });
        }
        match (spec.leaf(leaf)?, id) {
            (_, FileId::Local(path)) => Self::of_file(local::file(path, 0)?, name),
            (InputSource::Http(source), FileId::Http(i)) => {
                let (source, uri) = spec.http(source, *i)?;
                match http::probe(source, uri) {
                    (Some(length), true) => Ok(Self::Remote(Remote {
                        source: Arc::new(source.clone()),
                        uri: uri.clone(),
                        length,
                        fetched: Arc::new(Vec::new()),
                    })),
                    _ => spool(http::open(source, uri, 0)?, name),
                }
            }
            _ => Err(InputError::Unsupported {
                what: "parquet from the input source",
                name: spec.source.type_name().to_string(),
                supported: "local, http",
            }),
        }
    }

    fn of_file(file: File, name: &str) -> Result<Self, InputError> {
        let length = file.metadata().map_err(|e| InputError::io("read", name, e))?.len();
        Ok(Self::Local(Arc::new(file), length))
    }

    /// Gives the length of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        match self {
            Self::Local(_, length) => *length,
            Self::Remote(remote) => remote.length,
        }
    }

    /// Fetches ranges ahead and forgets the ones before. Files of this machine need none of it.
    pub(crate) fn prefetch(&mut self, name: &str, ranges: &[Range<u64>]) -> Result<(), InputError> {
        let length = self.file_bytes();
        if ranges.iter().any(|range| range.end > length || range.start > range.end) {
            return Err(super::damaged(
                name,
                format!("a column lies beyond the end of the file at {length}"),
            ));
        }
        if let Self::Remote(remote) = self {
            let mut fetched = Vec::with_capacity(ranges.len());
            for range in ranges {
                fetched.push((range.start, http::fetch(&remote.source, &remote.uri, range.clone())?));
            }
            remote.fetched = Arc::new(fetched);
        }
        Ok(())
    }
}

/// Copies a body to a temporary file, for a server without ranges.
fn spool(body: Box<dyn Read + Send>, name: &str) -> Result<Chunks, InputError> {
    let failed = |e: io::Error| match e.get_ref().and_then(|inner| inner.downcast_ref::<InputError>()) {
        Some(inner) => inner.clone(),
        None => InputError::io("copy to a temporary file", name, e),
    };
    let mut file = tempfile::tempfile().map_err(failed)?;
    let copied = io::copy(&mut body.take(limits::MAX_HTTP_SPOOL_BYTES), &mut file).map_err(failed)?;
    if copied == limits::MAX_HTTP_SPOOL_BYTES {
        return Err(InputError::Limit {
            what: "a parquet file",
            path: name.to_string(),
            limit: limits::MAX_HTTP_SPOOL_BYTES,
            remedy: "serve it from a server with ranges, or copy it to this machine",
        });
    }
    Chunks::of_file(file, name)
}

impl Remote {
    fn get(&self, start: u64, length: u64) -> Result<Bytes, ParquetError> {
        let end = start.saturating_add(length);
        if end > self.length {
            return Err(ParquetError::EOF(format!("byte {end} of {}", self.length)));
        }
        for (first, bytes) in self.fetched.iter() {
            let Some(offset) = start
                .checked_sub(*first)
                .and_then(|offset| usize::try_from(offset).ok())
            else {
                continue;
            };
            let wanted = usize::try_from(length)
                .ok()
                .and_then(|length| offset.checked_add(length));
            if let Some(last) = wanted.filter(|last| *last <= bytes.len()) {
                return Ok(bytes.slice(offset..last));
            }
        }
        http::fetch(&self.source, &self.uri, start..end).map_err(|e| ParquetError::External(Box::new(e)))
    }

    /// Gives what is in memory from `start` on, or else a little more than a page header.
    fn rest(&self, start: u64) -> Result<Bytes, ParquetError> {
        for (first, bytes) in self.fetched.iter() {
            let offset = start
                .checked_sub(*first)
                .and_then(|offset| usize::try_from(offset).ok());
            if let Some(offset) = offset.filter(|offset| *offset < bytes.len()) {
                return Ok(bytes.slice(offset..));
            }
        }
        self.get(start, (64 << 10).min(self.length.saturating_sub(start)))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.file_bytes()
    }
}

impl ChunkReader for Chunks {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(match self {
            Self::Local(file, _) => Box::new(ChunkReader::get_read(file.as_ref(), start)?),
            Self::Remote(remote) => Box::new(Cursor::new(remote.rest(start)?)),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // Checked before the buffer is made: the length is the file's own word.
        if start.saturating_add(length as u64) > self.file_bytes() {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} of {}",
                self.file_bytes()
            )));
        }
        match self {
            Self::Local(file, _) => ChunkReader::get_bytes(file.as_ref(), start, length),
            Self::Remote(remote) => remote.get(start, length as u64),
        }
    }
}
