//! Druid's segment file format: columns, dictionaries, bitmaps, container. Arrow arrays go in and come out.
//!
//! A segment is a folder (or zip) of *smoosh* files: internal files, one or more a column, laid end to end. [`SegmentWriter`] makes
//! one from rows in segment order; [`Segment`] maps one into memory and decodes whole columns, or the blocks that hold
//! the rows asked for, straight into Arrow buffers.
//!
//! Nothing here is asynchronous, knows DataFusion, or trusts a byte that it reads: a damaged segment is a [`SegmentError`]
//! that names file, column and offset.

mod blob;
mod codec;
mod container;
pub mod dump;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod index_spec;
pub mod limits;
mod order;
mod projection;
mod reader;
mod schema;
mod selection;
mod verify;
mod writer;

pub use codec::compression::Compression;
pub use codec::dictionary::StringDictionary;
pub use container::{Metadata, OrderBy, Projection};
pub use error::{SegmentError, SegmentErrorKind};
pub use index_spec::{AutoSpec, BitmapKind, IndexSpec, LongEncoding, StringEncoding};
pub use order::{multi_value_order, structured_order};
pub use projection::{ObjectAggregator, ObjectAggregators, ProjectionSpec};
pub use reader::{ColumnInfo, IndexValue, JsonField, Segment};
pub use schema::{
    ColumnSchema, ColumnType, JSON_TYPE, MetricSchema, MultiValueHandling, SegmentSchema, TIME_COLUMN, ValueType,
};
pub use selection::RowSelection;
pub use verify::{Finding, Verification, verify};
pub use writer::{SegmentSummary, SegmentWriter};
