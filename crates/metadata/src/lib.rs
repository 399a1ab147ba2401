//! The metadata of a Druid cluster: which segments there are, which of them are visible, who may change them, and the tasks
//! that did. Tables, payloads and rules are Druid's; the store is SQLite, in the data folder, used by one process.
//!
//! * [`DataSegment`], [`ShardSpec`], [`SegmentId`]: the payload of a published segment, byte for byte Druid's.
//! * [`Timeline`]: which segments are visible at which instant. [`MetadataSnapshot`]: the timelines of all datasources as one
//!   immutable value that is exchanged after each commit.
//! * [`MetadataStore`]: locks, allocation of ids, publishing, retiring, tasks. Each concern is a file.
//!
//! Not for: deep storage (`henge_storage`), HTTP shapes (`henge_server`), and other processes writing the same store.

mod allocate;
mod catalog;
mod error;
pub mod limits;
mod lock_rows;
mod locks;
mod pruning;
mod publish;
mod retire;
mod schema;
mod segment;
mod settings;
mod shard_spec;
mod snapshot;
mod store;
mod tasks;
#[cfg(test)]
mod testing;
mod timeline;
mod tombstones;
mod upgrade;

pub use allocate::{AllocateRequest, AllocatedSegment, Allocation};
pub use error::{MetadataError, MetadataErrorKind};
pub use lock_rows::ReleaseGuard;
pub use locks::{LockKind, LockRequest, TaskLock};
pub use pruning::{Domain, ValueSet};
pub use publish::{Publish, PublishKind, Published};
pub use retire::{SegmentSelection, UnusedSegment};
pub use segment::{BINARY_VERSION, DataSegment, SegmentId};
pub use settings::Audit;
pub use shard_spec::{RangeBound, ShardSpec};
pub use snapshot::{DatasourceSnapshot, MetadataSnapshot, PublishedSegment};
pub use store::MetadataStore;
pub use tasks::{TaskFilter, TaskLocation, TaskRecord, TaskState, TaskStatus};
pub use timeline::{Timeline, VisibleChunk};
pub use tombstones::{TombstoneRequest, Tombstones};
