//! Open segments and their decoded columns.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::ArrayRef;
use henge_segment::Segment;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::columns::{CacheStats, ColumnCache};
use crate::limits::MAX_OPEN_SEGMENTS;
use crate::local::blocking;
use crate::{DeepStorage, StorageError};

/// Opens each segment once and keeps decoded columns within a budget. Segments are mapped, so that open ones cost address
/// space and page cache, which the kernel takes back; the budget counts decoded columns only.
#[derive(Debug)]
pub struct SegmentCache {
    storage: Arc<dyn DeepStorage>,
    open: Mutex<OpenSegments>,
    columns: ColumnCache,
}

#[derive(Default)]
struct OpenSegments {
    slots: HashMap<String, Slot>,
    tick: u64,
}

struct Slot {
    segment: Arc<OnceCell<Arc<Segment>>>,
    tick: u64,
}

impl std::fmt::Debug for OpenSegments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.slots.keys()).finish()
    }
}

impl SegmentCache {
    /// Makes an empty cache over deep storage that holds at most so many bytes of decoded columns.
    pub fn new(storage: Arc<dyn DeepStorage>, budget_bytes: usize) -> Self {
        SegmentCache {
            storage,
            open: Mutex::default(),
            columns: ColumnCache::new(budget_bytes),
        }
    }

    /// Gives the segment, fetching and opening it where it is not open. Those who ask meanwhile wait for the same opening;
    /// after an error the next one tries again. A tombstone has no files and must not be asked for.
    pub async fn get(&self, id: &str, load_spec: &Value) -> Result<Arc<Segment>, StorageError> {
        let slot = self.slot(id);
        let segment = slot
            .get_or_try_init(|| async {
                let path = self.storage.fetch(load_spec).await?;
                let id = id.to_string();
                blocking("open a segment", move || open(id, path)).await
            })
            .await?;
        Ok(Arc::clone(segment))
    }

    fn slot(&self, id: &str) -> Arc<OnceCell<Arc<Segment>>> {
        let mut open = self.open.lock();
        open.tick += 1;
        let tick = open.tick;
        if let Some(slot) = open.slots.get_mut(id) {
            slot.tick = tick;
            return Arc::clone(&slot.segment);
        }
        if open.slots.len() >= MAX_OPEN_SEGMENTS {
            // Rare, and as cheap as the map it walks; whoever reads the segment keeps it open.
            let oldest = open
                .slots
                .iter()
                .min_by_key(|(_, slot)| slot.tick)
                .map(|(id, _)| id.clone());
            oldest.and_then(|id| open.slots.remove(&id));
        }
        let segment = Arc::new(OnceCell::new());
        let slot = Slot {
            segment: Arc::clone(&segment),
            tick,
        };
        open.slots.insert(id.to_string(), slot);
        segment
    }

    /// Gives a decoded column of a segment. Blocks the thread while somebody decodes it, so it is called where decoding may
    /// happen: on the compute pool.
    pub fn column<E>(
        &self,
        id: &str,
        column: &str,
        decode: impl FnOnce() -> Result<ArrayRef, E>,
    ) -> Result<ArrayRef, E> {
        self.columns.get(id, column, decode)
    }

    /// Changes the number of bytes that decoded columns may take and drops what no longer fits.
    pub fn set_budget(&self, budget_bytes: usize) {
        self.columns.set_budget(budget_bytes);
    }

    /// Gives the bytes of the decoded columns held.
    pub fn bytes(&self) -> usize {
        self.columns.stats().bytes
    }

    /// Gives what the column cache holds and how it did.
    pub fn stats(&self) -> CacheStats {
        self.columns.stats()
    }

    /// Gives the number of open segments.
    pub fn open_segments(&self) -> usize {
        self.open.lock().slots.len()
    }

    /// Forgets a segment, open or decoded. Queries that hold it go on.
    pub fn remove(&self, id: &str) {
        self.open.lock().slots.remove(id);
        self.columns.retain(|segment| segment != id);
    }

    /// Forgets every segment that is not wanted any more, for instance those that are no longer published.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.open.lock().slots.retain(|id, _| wanted(id));
        self.columns.retain(wanted);
    }
}

fn open(id: String, path: PathBuf) -> Result<Arc<Segment>, StorageError> {
    match Segment::open(&path) {
        Ok(segment) => Ok(Arc::new(segment)),
        Err(error) => Err(StorageError::Segment {
            id,
            path,
            message: error.to_string(),
        }),
    }
}
