//! Smoosh files (Druid's `FileSmoosher`, `SmooshedFileMapper`).
//!
//! ```text
//! meta.smoosh, text, sorted by name:
//!   v1,<largest chunk size>,<number of chunks>
//!   <internal file>,<chunk>,<start>,<end>
//! 00000.smoosh, 00001.smoosh, …: the internal files, each whole in one chunk, without padding
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::{Container, META_FILE, Slot, map};
use crate::SegmentError;
use crate::codec::dictionary::java_order;
use crate::limits::{CHUNK_BYTES, CHUNK_FILES};

/// Bytes that are collected before the operating system is called.
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// Opens a folder of smoosh files.
pub(super) fn open(dir: &Path) -> Result<Container, SegmentError> {
    let meta = dir.join(META_FILE);
    let text = std::fs::read(&meta).map_err(|e| SegmentError::io("read", &meta, e))?;
    let corrupt = |line: usize, expectation: String| SegmentError::Corrupt {
        file: meta.display().to_string(),
        column: META_FILE.into(),
        offset: line as u64,
        expectation: format!("line {}: {expectation}", line + 1),
    };
    let text = std::str::from_utf8(&text).map_err(|e| corrupt(0, format!("UTF-8: {e}")))?;
    let mut lines = text.lines().enumerate();
    let head: Vec<&str> = lines
        .next()
        .map(|(_, line)| line.split(',').collect())
        .unwrap_or_default();
    let chunk_count = match head.as_slice() {
        ["v1", _, count] => count.parse::<usize>().ok().filter(|count| *count <= CHUNK_FILES),
        _ => None,
    }
    .ok_or_else(|| corrupt(0, "v1,<chunk size>,<number of chunks>".into()))?;
    let mut chunks = Vec::new();
    for chunk in 0..chunk_count {
        chunks.push(map(&dir.join(chunk_name(chunk)))?);
    }
    let mut files = BTreeMap::new();
    for (number, line) in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let [name, chunk, start, end] = fields.as_slice() else {
            return Err(corrupt(number, "<internal file>,<chunk>,<start>,<end>".into()));
        };
        let (Ok(chunk), Ok(start), Ok(end)) = (chunk.parse::<usize>(), start.parse::<usize>(), end.parse::<usize>())
        else {
            return Err(corrupt(number, "chunk, start and end must be numbers".into()));
        };
        let inside = chunks
            .get(chunk)
            .is_some_and(|bytes| start <= end && end <= bytes.len());
        if !inside {
            return Err(corrupt(
                number,
                format!("internal file [{name}] at {start}..{end} must lie within chunk {chunk}"),
            ));
        }
        if files.insert((*name).to_owned(), Slot { chunk, start, end }).is_some() {
            return Err(corrupt(number, format!("internal file [{name}] is listed twice")));
        }
    }
    Ok(Container {
        path: dir.display().to_string(),
        files,
        chunks,
        v10: None,
        externals: Vec::new(),
    })
}

fn chunk_name(chunk: usize) -> String {
    format!("{chunk:05}.smoosh")
}

/// Bytes after which the operating system is told to bring to disk what was written: it does that while the next columns are encoded.
const SYNC_BYTES: u64 = 16 << 20;

/// Writes internal files one after the other. Names must be free of commas and line breaks.
#[derive(Debug)]
pub(crate) struct SmooshWriter {
    dir: PathBuf,
    max_chunk_bytes: u64,
    current: Option<BufWriter<File>>,
    /// Takes the bytes instead, where files are only to be handed to another writer.
    staged: Option<Vec<u8>>,
    syncing: Syncing,
    /// Number of the current chunk, and its bytes.
    chunk: usize,
    chunk_bytes: u64,
    total_bytes: u64,
    entries: Vec<(String, usize, u64, u64)>,
    names: HashSet<String>,
}

impl SmooshWriter {
    pub fn new(dir: &Path) -> Self {
        Self::with_chunk_bytes(dir, CHUNK_BYTES)
    }

    fn with_chunk_bytes(dir: &Path, max_chunk_bytes: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            max_chunk_bytes,
            current: None,
            staged: None,
            syncing: Syncing::default(),
            chunk: 0,
            chunk_bytes: 0,
            total_bytes: 0,
            entries: Vec::new(),
            names: HashSet::new(),
        }
    }

    /// Keeps internal files in memory, for [`Self::take`] of another writer.
    pub fn staged(dir: &Path) -> Self {
        Self {
            staged: Some(Vec::new()),
            ..Self::new(dir)
        }
    }

    /// Writes the internal files that another writer keeps in memory.
    pub fn take(&mut self, other: Self) -> Result<(), SegmentError> {
        let bytes = other.staged.unwrap_or_default();
        for (name, _, start, end) in other.entries {
            self.add(&name, &[&bytes[start as usize..end as usize]])?;
        }
        Ok(())
    }

    /// Begins an internal file of `len` bytes, which the caller then writes to `self`.
    pub fn begin(&mut self, name: &str, len: u64) -> Result<(), SegmentError> {
        if len > self.max_chunk_bytes {
            return Err(SegmentError::Limit {
                what: format!("the size in bytes of internal file [{name}]"),
                actual: len,
                limit: self.max_chunk_bytes,
                remedy: "write smaller segments (fewer rows per segment)",
            });
        }
        if !self.names.insert(name.to_owned()) {
            return Err(SegmentError::invalid(format!(
                "two internal files of the segment would be called [{name}]: rename the column"
            )));
        }
        if self.staged.is_some() {
            let start = self.chunk_bytes;
            self.entries.push((name.to_owned(), 0, start, start + len));
            return Ok(());
        }
        if self.current.is_some() && self.chunk_bytes + len > self.max_chunk_bytes {
            self.close_chunk()?;
            self.chunk += 1;
            self.chunk_bytes = 0;
        }
        if self.current.is_none() {
            let path = self.chunk_path();
            let file = File::create(&path).map_err(|e| SegmentError::io("create", &path, e))?;
            self.current = Some(BufWriter::with_capacity(WRITE_BUFFER_BYTES, file));
        }
        self.entries
            .push((name.to_owned(), self.chunk, self.chunk_bytes, self.chunk_bytes + len));
        Ok(())
    }

    /// Ends the internal file that was begun and checks that it got the bytes that were announced.
    pub fn end(&mut self) -> Result<(), SegmentError> {
        match self.entries.last() {
            Some((name, _, start, end)) if self.chunk_bytes != *end => Err(SegmentError::invalid(format!(
                "internal file [{name}] was announced with {} bytes and got {}",
                end - start,
                self.chunk_bytes - start
            ))),
            _ => Ok(()),
        }
    }

    /// Adds an internal file that is given in pieces.
    pub fn add(&mut self, name: &str, pieces: &[&[u8]]) -> Result<(), SegmentError> {
        self.begin(name, pieces.iter().map(|piece| piece.len() as u64).sum())?;
        for piece in pieces {
            self.write_all(piece).map_err(|e| self.write_error(e))?;
        }
        self.end()
    }

    /// Names the file in a failure to write.
    pub fn write_error(&self, e: std::io::Error) -> SegmentError {
        SegmentError::write(&self.chunk_path(), e)
    }

    fn chunk_path(&self) -> PathBuf {
        self.dir.join(chunk_name(self.chunk))
    }

    fn close_chunk(&mut self) -> Result<(), SegmentError> {
        if let Some(writer) = self.current.take() {
            let path = self.chunk_path();
            self.syncing.wait().map_err(|e| SegmentError::io("sync", &path, e))?;
            let file = writer
                .into_inner()
                .map_err(|e| SegmentError::io("write", &path, e.into_error()))?;
            file.sync_all().map_err(|e| SegmentError::io("sync", &path, e))?;
        }
        Ok(())
    }

    /// Writes the directory and gives the bytes of all files it wrote.
    pub fn finish(mut self) -> Result<u64, SegmentError> {
        let chunks = if self.entries.is_empty() { 0 } else { self.chunk + 1 };
        self.close_chunk()?;
        let mut meta = format!("v1,{},{chunks}\n", self.max_chunk_bytes);
        self.entries.sort_by(|a, b| java_order(a.0.as_bytes(), b.0.as_bytes()));
        for (name, chunk, start, end) in &self.entries {
            meta.push_str(&format!("{name},{chunk},{start},{end}\n"));
        }
        write_file(&self.dir.join(META_FILE), meta.as_bytes())?;
        Ok(self.total_bytes + meta.len() as u64)
    }
}

/// Writes to the internal file that was begun.
impl Write for SmooshWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match (&mut self.staged, &mut self.current) {
            (Some(staged), _) => staged.extend_from_slice(bytes),
            (None, Some(writer)) => {
                writer.write_all(bytes)?;
                self.syncing.written(bytes.len() as u64, writer.get_ref())?;
            }
            (None, None) => return Err(std::io::Error::other("no internal file was begun")),
        }
        self.chunk_bytes += bytes.len() as u64;
        self.total_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Brings a file to disk while it is still being written, so that making it durable at the end has little left to wait for.
#[derive(Debug, Default)]
struct Syncing {
    waiting_bytes: u64,
    running: Option<JoinHandle<std::io::Result<()>>>,
}

impl Syncing {
    /// Counts bytes, and starts to bring the file to disk every so often, unless that is still going on.
    fn written(&mut self, bytes: u64, file: &File) -> std::io::Result<()> {
        self.waiting_bytes += bytes;
        let idle = self.running.as_ref().is_none_or(JoinHandle::is_finished);
        if self.waiting_bytes < SYNC_BYTES || !idle {
            return Ok(());
        }
        self.wait()?;
        self.waiting_bytes = 0;
        let file = file.try_clone()?;
        self.running = Some(std::thread::spawn(move || file.sync_data()));
        Ok(())
    }

    /// Waits for what was started.
    fn wait(&mut self) -> std::io::Result<()> {
        match self.running.take() {
            Some(running) => running
                .join()
                .unwrap_or_else(|_| Err(std::io::Error::other("the thread that syncs the file failed"))),
            None => Ok(()),
        }
    }
}

/// Writes a small file durably.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), SegmentError> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| SegmentError::io("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_move_to_the_next_chunk_when_one_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = SmooshWriter::with_chunk_bytes(dir.path(), 10);
        writer.add("b", &[b"12345", b"678"]).unwrap();
        writer.add("a", &[b"abc"]).unwrap();
        writer.add("empty", &[]).unwrap();
        assert!(writer.add("a", &[]).is_err());
        assert!(writer.add("large", &[&[0; 11]]).is_err());
        writer.finish().unwrap();
        let meta = std::fs::read_to_string(dir.path().join(META_FILE)).unwrap();
        assert_eq!(meta, "v1,10,2\na,1,0,3\nb,0,0,8\nempty,1,3,3\n");
        let container = open(dir.path()).unwrap();
        assert_eq!(container.file("b").unwrap().bytes(), b"12345678");
        assert_eq!(container.file("a").unwrap().bytes(), b"abc");
        assert_eq!(container.file("empty").unwrap().len(), 0);
        assert!(container.file("c").is_none());
    }

    #[test]
    fn a_damaged_directory_is_refused() {
        for meta in [
            "",
            "v2,1,0\n",
            "v1,10,1,\n",
            "v1,10,1\na,0,0\n",
            "v1,10,1\na,0,2,1\n",
            "v1,10,1\na,0,0,4\n",
            "v1,10,1\na,1,0,0\n",
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(chunk_name(0)), b"abc").unwrap();
            std::fs::write(dir.path().join(META_FILE), meta).unwrap();
            assert!(open(dir.path()).is_err(), "{meta:?}");
        }
    }
}
