//! Where runs lie: an interface with a local implementation beside it, and a durable one later.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::{ExchangeError, RunSet};

/// What kind of place a run lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RunMedium {
    /// Memory of the process that staged it.
    Memory,
    /// A file of the machine that staged it.
    Disk,
    /// Storage that outlives machines.
    Durable,
}

/// The place of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunLocation {
    /// Kind of place.
    pub medium: RunMedium,
    /// Name in the store, unique to the attempt that wrote it.
    pub name: String,
}

/// The place of a batch in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchExtent {
    /// First byte in the file; in memory the number of the batch.
    pub offset: u64,
    /// Bytes of the message's header.
    pub header_bytes: u32,
    /// Bytes of the message's body.
    pub body_bytes: u64,
    /// xxh3 of header and body; 0 in memory.
    pub checksum: u64,
}

/// What a finished run looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedRun {
    /// Where it lies.
    pub location: RunLocation,
    /// Its batches, in the order of `append`.
    pub extents: Vec<BatchExtent>,
    /// Bytes as staged.
    pub bytes: u64,
}

/// Takes the batches of one run. Dropping it without `finish` leaves nothing behind.
pub trait RunSink: Send {
    /// Stages the next batch.
    fn append(&mut self, batch: &RecordBatch) -> Result<(), ExchangeError>;
    /// Makes the run readable.
    fn finish(self: Box<Self>) -> Result<StagedRun, ExchangeError>;
}

/// Gives the batches of one run, in any order, to many readers.
pub trait RunSource: Send + Sync {
    /// Reads the batch at the extent.
    fn read(&self, extent: &BatchExtent) -> Result<RecordBatch, ExchangeError>;
}

/// Keeps runs.
pub trait RunStore: Send + Sync {
    /// Starts a run under a name that no other run has or had. The schema is a staged one (`staged_schema`).
    fn create(&self, name: &str, schema: &SchemaRef) -> Result<Box<dyn RunSink>, ExchangeError>;
    /// Opens a finished run.
    fn open(&self, location: &RunLocation, schema: &SchemaRef) -> Result<Arc<dyn RunSource>, ExchangeError>;
    /// Removes a run; open sources stay readable. Removing what is not there is no error: an orphan is collected at the next start.
    fn remove(&self, location: &RunLocation);
}

/// Removes the runs of a set when it is dropped. Whoever is responsible for a set holds one: the writer until it has
/// finished, then the controller until the next stage has ended.
pub struct RunGuard {
    store: Arc<dyn RunStore>,
    locations: Vec<RunLocation>,
}

impl RunGuard {
    /// Takes responsibility for nothing yet.
    pub fn new(store: Arc<dyn RunStore>) -> Self {
        Self {
            store,
            locations: Vec::new(),
        }
    }

    /// Takes responsibility for the runs of a set.
    pub fn adopt(&mut self, set: &RunSet) {
        self.locations.extend(set.runs.iter().map(|run| run.location.clone()));
    }

    /// Takes responsibility for a run.
    pub fn add(&mut self, location: RunLocation) {
        self.locations.push(location);
    }

    /// Hands the responsibility to the caller.
    pub fn release(&mut self) {
        self.locations.clear();
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        for location in self.locations.drain(..) {
            self.store.remove(&location);
        }
    }
}
