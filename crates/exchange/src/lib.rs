//! The exchange between stages (Druid's shuffle): a task sorts what it makes by the exchange key and stages it as **sorted runs**;
//! the controller merges the weighted key samples of all runs and cuts the key space into ranges; a task of the next stage
//! reads the slices of one range out of all runs, merged in key order. One mechanism serves GROUP BY, ORDER BY, joins,
//! windows and segment generation.
//!
//! ```text
//!  task 0  batches ─► RunWriter ─► run 0.0 ┐
//!                              └─► run 0.1 ┤ RunSet: index of first keys, bucket rows, samples
//!  task 1  batches ─► RunWriter ─► run 1.0 ┘        │
//!                                                   ▼
//!                             cut(samples, target) ─► KeyRange 0 … n−1, never across a bucket
//!                                                   │
//!  next stage, task i:  RangeReader(KeyRange i) ◄───┘  seeks into every run, trims the border batches, merges
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `key.rs` | what the key is, its bytes, hash buckets, boost |
//! | `order.rs` | sorting rows by key bytes, eight at a time, and comparing columns where keys are equal |
//! | `writer.rs` | batches in, sorted runs out; also the external sort of one task |
//! | `run.rs` | what a task reports of its runs: index, samples, statistics |
//! | `cut.rs` | samples in, ranges out |
//! | `reader.rs`, `merge.rs` | slices of one range, merged with a loser tree, in several levels where there are too many |
//! | `store.rs`, `local.rs`, `frame.rs` | where runs lie: the interface, memory then disk, the bytes of a file |
//!
//! No DataFusion and no async here: everything blocks and belongs on the compute pool.

mod batch;
mod budget;
mod cut;
mod error;
mod frame;
mod key;
pub mod limits;
mod local;
mod merge;
mod order;
mod reader;
mod run;
mod store;
mod writer;

pub use batch::{batch_bytes, staged_schema};
pub use budget::{CappedBudget, MemoryBudget, PartOfBudget, Reservation, UnlimitedBudget};
pub use cut::{CutLimits, CutTarget, KeyRange, cut};
pub use error::ExchangeError;
pub use key::{HashKey, Key, KeyField, KeySpec, decode_bucket, decode_key, decode_key_strings};
pub use local::LocalRunStore;
pub use reader::{RangeReader, ReadOptions};
pub use run::{BatchMeta, BucketMeta, RunMeta, RunSet, Sample};
pub use store::{BatchExtent, RunGuard, RunLocation, RunMedium, RunSink, RunSource, RunStore, StagedRun};
pub use writer::{RunOptions, RunWriter, SortedRows};
