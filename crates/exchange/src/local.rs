//! Runs of one process: in memory while they fit the store's share, else in files under a temporary folder.
//!
//! A run that outgrows memory while it is staged moves to its file as a whole. Files lie at `<folder>/<run name>.run`; the name
//! starts with the attempt, so the folder of a dead attempt can be removed as one, and everything goes at process start.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::MutableBuffer;
use arrow::datatypes::SchemaRef;
use fail::fail_point;
use parking_lot::Mutex;

use crate::frame::{FrameEncoder, MAGIC, decode};
use crate::{
    BatchExtent, ExchangeError, MemoryBudget, Reservation, RunLocation, RunMedium, RunSink, RunSource, RunStore,
    StagedRun, batch_bytes,
};

/// Memory first, then files.
pub struct LocalRunStore {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    memory: Arc<dyn MemoryBudget>,
    runs: Mutex<HashMap<String, Arc<MemoryRun>>>,
}

/// Batches of a run, and the memory that they take; given back when the last reader is gone.
struct MemoryRun {
    name: String,
    batches: Vec<RecordBatch>,
    _reservation: Reservation,
}

impl LocalRunStore {
    /// Keeps runs in the share `memory`, and in files under `folder` beyond it.
    pub fn new(folder: impl Into<PathBuf>, memory: Arc<dyn MemoryBudget>) -> Self {
        Self {
            shared: Arc::new(Shared {
                folder: folder.into(),
                memory,
                runs: Mutex::new(HashMap::new()),
            }),
        }
    }
}

impl Shared {
    fn path(&self, name: &str) -> Result<PathBuf, ExchangeError> {
        let usable = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        };
        if !name.split('/').all(usable) {
            return Err(ExchangeError::BadName { run: name.to_string() });
        }
        Ok(self.folder.join(format!("{name}.run")))
    }

    /// Removes a file and the folders that it leaves empty; what cannot be removed is collected at the next start.
    fn unlink(&self, path: &Path) {
        if let Err(error) = fs::remove_file(path) {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(run = %path.display(), %error, "cannot remove a run");
            }
            return;
        }
        let inside = path.ancestors().skip(1).take_while(|folder| *folder != self.folder);
        for folder in inside {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

impl RunStore for LocalRunStore {
    fn create(&self, name: &str, schema: &SchemaRef) -> Result<Box<dyn RunSink>, ExchangeError> {
        let path = self.shared.path(name)?;
        Ok(Box::new(LocalSink {
            shared: Arc::clone(&self.shared),
            name: name.to_string(),
            schema: Arc::clone(schema),
            path,
            batches: Vec::new(),
            reservation: Reservation::new(Arc::clone(&self.shared.memory)),
            file: None,
            extents: Vec::new(),
            bytes: 0,
        }))
    }

    fn open(&self, location: &RunLocation, schema: &SchemaRef) -> Result<Arc<dyn RunSource>, ExchangeError> {
        fail_point!("exchange-run-open", |message| Err(ExchangeError::injected(
            "open",
            &location.name,
            message
        )));
        match location.medium {
            RunMedium::Memory => {
                let run = self.shared.runs.lock().get(&location.name).cloned();
                let run = run.ok_or_else(|| ExchangeError::MissingRun {
                    run: location.name.clone(),
                })?;
                Ok(run)
            }
            RunMedium::Disk => {
                let path = self.shared.path(&location.name)?;
                Ok(Arc::new(FileRun {
                    path,
                    file: Mutex::new(None),
                    schema: Arc::clone(schema),
                }))
            }
            RunMedium::Durable => Err(ExchangeError::MissingRun {
                run: location.name.clone(),
            }),
        }
    }

    fn remove(&self, location: &RunLocation) {
        match location.medium {
            RunMedium::Memory => drop(self.shared.runs.lock().remove(&location.name)),
            RunMedium::Disk => {
                if let Ok(path) = self.shared.path(&location.name) {
                    self.shared.unlink(&path);
                }
            }
            RunMedium::Durable => {}
        }
    }
}

struct LocalSink {
    shared: Arc<Shared>,
    name: String,
    schema: SchemaRef,
    path: PathBuf,
    batches: Vec<RecordBatch>,
    reservation: Reservation,
    file: Option<RunFile>,
    extents: Vec<BatchExtent>,
    bytes: u64,
}

struct RunFile {
    writer: BufWriter<File>,
    encoder: FrameEncoder,
    offset: u64,
}

impl LocalSink {
    /// Moves to the file what is in memory, and stays there.
    fn move_to_disk(&mut self) -> Result<(), ExchangeError> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|error| ExchangeError::io("create", folder, &error))?;
        }
        // An attempt never reuses a name, so a file that is already there is a mistake worth failing for.
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&self.path)
            .map_err(|error| ExchangeError::io("create", &self.path, &error))?;
        let mut writer = BufWriter::with_capacity(1 << 18, file);
        writer
            .write_all(MAGIC)
            .map_err(|error| ExchangeError::io("write", &self.path, &error))?;
        self.file = Some(RunFile {
            writer,
            encoder: FrameEncoder::new()?,
            offset: MAGIC.len() as u64,
        });
        self.extents.clear();
        self.bytes = 0;
        for batch in std::mem::take(&mut self.batches) {
            self.append_to_file(&batch)?;
            self.reservation.shrink(batch_bytes(&batch));
        }
        self.reservation.free();
        Ok(())
    }

    fn append_to_file(&mut self, batch: &RecordBatch) -> Result<(), ExchangeError> {
        let Some(file) = &mut self.file else {
            return Err(ExchangeError::Batch(format!("run [{}] has no file", self.name)));
        };
        fail_point!("exchange-run-write", |message| Err(ExchangeError::injected(
            "write", &self.name, message
        )));
        let (message, extent) = file.encoder.encode(batch, file.offset)?;
        file.writer
            .write_all(message)
            .map_err(|error| ExchangeError::io("write", &self.path, &error))?;
        file.offset += message.len() as u64;
        self.bytes += message.len() as u64;
        self.extents.push(extent);
        Ok(())
    }
}

impl RunSink for LocalSink {
    fn append(&mut self, batch: &RecordBatch) -> Result<(), ExchangeError> {
        if batch.schema_ref().fields() != self.schema.fields() {
            return Err(ExchangeError::Batch(format!(
                "a batch of run [{}] has another schema",
                self.name
            )));
        }
        if self.file.is_some() {
            return self.append_to_file(batch);
        }
        fail_point!("exchange-run-write", |message| Err(ExchangeError::injected(
            "write", &self.name, message
        )));
        let bytes = batch_bytes(batch);
        if !self.reservation.try_grow(bytes) {
            self.move_to_disk()?;
            return self.append_to_file(batch);
        }
        let offset = self.batches.len() as u64;
        self.extents.push(BatchExtent {
            offset,
            header_bytes: 0,
            body_bytes: bytes as u64,
            checksum: 0,
        });
        self.batches.push(batch.clone());
        self.bytes += bytes as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<StagedRun, ExchangeError> {
        fail_point!("exchange-run-finish", |message| Err(ExchangeError::injected(
            "finish", &self.name, message
        )));
        let medium = match &mut self.file {
            Some(file) => {
                // No fsync: a run need not outlive the process that staged it.
                file.writer
                    .flush()
                    .map_err(|error| ExchangeError::io("write", &self.path, &error))?;
                RunMedium::Disk
            }
            None => {
                let run = MemoryRun {
                    name: self.name.clone(),
                    batches: std::mem::take(&mut self.batches),
                    _reservation: std::mem::replace(
                        &mut self.reservation,
                        Reservation::new(Arc::clone(&self.shared.memory)),
                    ),
                };
                let mut runs = self.shared.runs.lock();
                if runs.contains_key(&self.name) {
                    return Err(ExchangeError::BadName { run: self.name.clone() });
                }
                runs.insert(self.name.clone(), Arc::new(run));
                RunMedium::Memory
            }
        };
        self.file = None;
        Ok(StagedRun {
            location: RunLocation {
                medium,
                name: self.name.clone(),
            },
            extents: std::mem::take(&mut self.extents),
            bytes: self.bytes,
        })
    }
}

impl Drop for LocalSink {
    fn drop(&mut self) {
        // A file that `finish` has not taken out belongs to nobody.
        if self.file.take().is_some() {
            self.shared.unlink(&self.path);
        }
    }
}

impl RunSource for MemoryRun {
    fn read(&self, extent: &BatchExtent) -> Result<RecordBatch, ExchangeError> {
        let batch = usize::try_from(extent.offset)
            .ok()
            .and_then(|index| self.batches.get(index));
        batch.cloned().ok_or_else(|| ExchangeError::Corrupt {
            run: self.name.clone(),
            message: format!("it has no batch [{}]", extent.offset),
        })
    }
}

/// A run in a file. It is opened when the first batch is read: a reader that takes run after run has one file open, not all.
struct FileRun {
    path: PathBuf,
    file: Mutex<Option<Arc<File>>>,
    schema: SchemaRef,
}

impl FileRun {
    fn file(&self) -> Result<Arc<File>, ExchangeError> {
        let mut opened = self.file.lock();
        if let Some(file) = opened.as_ref() {
            return Ok(Arc::clone(file));
        }
        let mut file = File::open(&self.path).map_err(|error| ExchangeError::io("open", &self.path, &error))?;
        let mut magic = [0; MAGIC.len()];
        let start = file.read_exact(&mut magic);
        if start.is_err() || magic != *MAGIC {
            return Err(ExchangeError::Corrupt {
                run: self.path.display().to_string(),
                message: "it does not start as a run".to_string(),
            });
        }
        let file = Arc::new(file);
        *opened = Some(Arc::clone(&file));
        Ok(file)
    }
}

impl RunSource for FileRun {
    fn read(&self, extent: &BatchExtent) -> Result<RecordBatch, ExchangeError> {
        fail_point!("exchange-run-read", |message| Err(ExchangeError::injected(
            "read",
            &self.path.display().to_string(),
            message
        )));
        let damaged = |message: String| ExchangeError::Corrupt {
            run: self.path.display().to_string(),
            message,
        };
        let length = u64::from(extent.header_bytes).checked_add(extent.body_bytes);
        let file = self.file()?;
        let size = file
            .metadata()
            .map_err(|error| ExchangeError::io("read", &self.path, &error))?
            .len();
        let end = length.and_then(|length| extent.offset.checked_add(length));
        let (Some(length), Some(_)) = (length, end.filter(|end| *end <= size)) else {
            return Err(damaged(format!(
                "it has [{size}] bytes, the batch at offset [{}] ends behind",
                extent.offset
            )));
        };
        let mut message = MutableBuffer::from_len_zeroed(length as usize);
        file.read_exact_at(&mut message, extent.offset)
            .map_err(|error| ExchangeError::io("read", &self.path, &error))?;
        decode(&self.path.display().to_string(), &self.schema, message, extent)
    }
}
