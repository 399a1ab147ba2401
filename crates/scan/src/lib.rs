//! Segments as DataFusion tables.
//!
//! ```text
//!  MetadataSnapshot ──> ScanCatalog ──> DatasourceTable (TableProvider: schema, exact statistics)
//!                           │                 │  scan(projection, filters, limit)
//!                     SegmentSource           v
//!                  (cache of open segments)  SegmentScanExec   partitions = balanced slices of segments
//!                           │                 │
//!                           v                 v  physical optimiser
//!                      SegmentData <────── SegmentAggregateExec  groups on dictionary ids, dense arrays
//! ```
//!
//! * `source`: where decoded columns come from; the only part that knows the segment format and its cache.
//! * `catalog`: one [`ScanCatalog`] a process: open segments, merged dictionaries, tables.
//! * `table`: [`DatasourceTable`], what SQL sees of a datasource.
//! * `scan`: [`SegmentScanExec`], the leaf that reads rows; its slices are serialisable.
//! * `virtual_column`: what the scan computes of text once a dictionary value, of time once a time.
//! * `eager_case`: CASE without taking batches apart.
//! * `session`: settings and optimiser rules of interactive queries.
//!
//! Strings are `Utf8` for DataFusion and dictionary ids inside: filters are decided once a dictionary value, grouping works on ids,
//! and text is made only for rows that leave the scan.

mod aggregate;
mod cached;
mod catalog;
mod columns;
mod eager_case;
mod filter;
mod handle;
mod scan;
mod session;
mod slices;
mod source;
mod table;
mod virtual_column;

pub use aggregate::{AggregateOverSegments, SegmentAggregateExec};
pub use cached::CachedSegments;
pub use catalog::{ScanCatalog, TableSegment};
pub use scan::{ROWS_READ, SLICES_READ, SegmentScanExec};
pub use session::{interactive_session_config, prepare_session, run_interactively, with_virtual_columns};
pub use source::{SegmentData, SegmentDescriptor, SegmentSlice, SegmentSource};
pub use table::DatasourceTable;
