//! Where segments are kept, and what is kept of them in memory.
//!
//! * [`DeepStorage`]: the durable home of segment files; [`LocalDeepStorage`] is a folder in Druid's layout. A segment
//!   appears there whole or not at all.
//! * [`SegmentCache`]: open segments and decoded columns, within a number of bytes.
//!
//! Not for: knowing which segments exist (`henge_metadata`), the bytes of a segment (`henge_segment`), and runs between
//! stages (`henge_exchange`).

mod cache;
mod columns;
mod deep;
mod error;
pub mod limits;
mod local;

pub use cache::SegmentCache;
pub use columns::CacheStats;
pub use deep::{DeepStorage, Pushed, SegmentPath};
pub use error::{StorageError, StorageErrorKind};
pub use local::LocalDeepStorage;
