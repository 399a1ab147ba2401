//! What a process knows of the segments that it has seen: one [`ScanCatalog`] is shared by all queries.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::error::Result;
use henge_metadata::{DatasourceSnapshot, MetadataSnapshot, ShardSpec};
use henge_time::Interval;
use parking_lot::Mutex;

use crate::aggregate::MergedDictionary;
use crate::handle::SegmentHandle;
use crate::source::{SegmentDescriptor, SegmentSource};
use crate::table::DatasourceTable;

/// A visible segment of a datasource.
#[derive(Debug, Clone)]
pub struct TableSegment {
    /// The segment.
    pub segment: Arc<SegmentDescriptor>,
    /// The part of its interval that is not hidden by newer segments.
    pub clip: Interval,
    /// Which part of the time chunk it holds.
    pub shard_spec: ShardSpec,
}

/// What a table was made of, and the table.
type KnownTable = (Arc<DatasourceSnapshot>, Arc<DatasourceTable>);

/// Open segments, merged dictionaries and tables of a process.
#[derive(Debug)]
pub struct ScanCatalog {
    source: Arc<dyn SegmentSource>,
    segments: Mutex<HashMap<String, Arc<SegmentHandle>>>,
    tables: Mutex<HashMap<String, KnownTable>>,
    dictionaries: Mutex<HashMap<(String, String), Arc<MergedDictionary>>>,
}

impl ScanCatalog {
    /// Makes a catalog over a source of segments.
    pub fn new(source: Arc<dyn SegmentSource>) -> Arc<Self> {
        Arc::new(Self {
            source,
            segments: Mutex::default(),
            tables: Mutex::default(),
            dictionaries: Mutex::default(),
        })
    }

    /// Gives the table of a datasource as of a snapshot, if it has a segment. Opens segments that were not seen before: blocks.
    /// As long as the datasource does not change, the same table is given.
    pub fn snapshot_table(
        self: &Arc<Self>,
        snapshot: &MetadataSnapshot,
        datasource: &str,
    ) -> Result<Option<Arc<DatasourceTable>>> {
        let Some(published) = snapshot.datasource(datasource) else {
            self.forget(datasource);
            return Ok(None);
        };
        if let Some((of, table)) = self.tables.lock().get(datasource)
            && Arc::ptr_eq(of, published)
        {
            return Ok(Some(table.clone()));
        }
        let segments = published
            .timeline
            .visible()
            .into_iter()
            .filter(|(_, segment)| !segment.is_tombstone())
            .map(|(clip, segment)| TableSegment {
                segment: Arc::new(SegmentDescriptor::from(segment.as_ref())),
                clip,
                shard_spec: segment.shard_spec.clone(),
            })
            .collect();
        let table = self.table(datasource, segments)?;
        self.retain(datasource, table.segments());
        let entry = (published.clone(), table.clone());
        self.tables.lock().insert(datasource.to_string(), entry);
        Ok(Some(table))
    }

    /// Makes the table of a datasource's visible segments, oldest first. Opens segments that were not seen before: blocks.
    pub fn table(self: &Arc<Self>, datasource: &str, segments: Vec<TableSegment>) -> Result<Arc<DatasourceTable>> {
        DatasourceTable::try_new(self.clone(), datasource, segments)
    }

    /// Gives the handle of a segment.
    pub(crate) fn handle(&self, segment: &Arc<SegmentDescriptor>) -> Arc<SegmentHandle> {
        self.segments
            .lock()
            .entry(segment.id.clone())
            .or_insert_with(|| Arc::new(SegmentHandle::new(segment.clone(), self.source.clone())))
            .clone()
    }

    /// Gives the dictionary that a column's segments share.
    pub(crate) fn dictionary(&self, datasource: &str, column: &str) -> Arc<MergedDictionary> {
        self.dictionaries
            .lock()
            .entry((datasource.to_string(), column.to_string()))
            .or_default()
            .clone()
    }

    /// Drops what is known of segments that are no longer visible; running queries keep theirs.
    fn retain(&self, datasource: &str, visible: &[TableSegment]) {
        let visible: HashSet<&str> = visible.iter().map(|s| s.segment.id.as_str()).collect();
        let before;
        let after;
        {
            let mut segments = self.segments.lock();
            before = segments.len();
            segments.retain(|id, handle| handle.descriptor.datasource != datasource || visible.contains(id.as_str()));
            after = segments.len();
        }
        if after < before {
            // Merged dictionaries only grow; with segments gone they are built anew when next needed.
            self.dictionaries.lock().retain(|(owner, _), _| owner != datasource);
        }
    }

    fn forget(&self, datasource: &str) {
        if self.tables.lock().remove(datasource).is_some() {
            self.retain(datasource, &[]);
        }
    }
}
