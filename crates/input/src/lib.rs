//! External data for SQL's `EXTERN`: input sources, formats, splits, schema inference and bad rows, down to Arrow record
//! batches. Blocking throughout and free of DataFusion: who calls decides on threads.
//!
//! ```text
//! ExternSpec::parse(source, format, signature)      what Druid's three JSON texts say           spec/
//!      │ .splits(limits)                            files listed and cut                        split, file, source/
//!      ▼
//! InputSplit … InputSplit                           serialisable units of work
//!      │ read_split(spec, split, options, observer)                                             reader
//!      ▼
//! bytes ─ decompression ─ lines ─ fields ─ typed columns ─ RecordBatch                          text, json/, delimited, column
//!       └ Parquet row groups ──── casts ──┘                                                     parquet_file
//! ```
//!
//! A value that does not fit its column is null, as in Druid; a row that cannot be parsed goes to the
//! [`ReadObserver`], who decides whether to go on.

mod column;
mod compression;
mod error;
mod file;
mod json;
pub mod limits;
mod number;
mod observer;
mod parquet_file;
mod reader;
mod sample;
mod source;
mod spec;
mod split;
mod text;

pub use compression::Compression;
pub use error::{InputError, InputErrorKind, ParseIssue};
pub use file::FileId;
pub use observer::{ReadObserver, Strict};
pub use reader::{BatchReader, ReadOptions, read_split};
pub use sample::sample_schema;
pub use spec::{
    DelimitedFormat, ExternColumn, ExternSpec, ExternType, FlattenField, FlattenSpec, HttpSource, InputFormat,
    InputSource, JsonFormat, LocalSource, MULTI_VALUE, ParquetFormat, Password, PathStep, SystemField, TYPE_METADATA,
};
pub use split::{InputSplit, PartRange, SplitLimits, SplitPart, read_all};

#[cfg(test)]
mod tests;
