//! Query results as clients read them: five formats, header rows, values as Druid prints them.
//!
//! [`format`] knows the formats, [`cells`] prints one value of an Arrow column, [`writer`] puts rows together, [`stream`] feeds a
//! response body from a stream of batches without collecting it.

mod cells;
mod format;
mod stream;
mod writer;

pub use format::{ResultFormat, ResultOptions};
pub use stream::{StreamFailure, first_batch, into_body};
pub use writer::{ResultColumn, ResultWriter, RowWriter};
