//! Apache Parquet.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::error::InputError;
use crate::file::FileId;
use crate::reader::{PartReader, ReadContext};
use crate::spec::ExternSpec;
use crate::split::SplitPart;

pub(crate) fn row_group_bytes(_spec: &ExternSpec, _leaf: usize, _id: &FileId) -> Result<Vec<u64>, InputError> {
    Ok(vec![])
}

pub(crate) fn open(
    _context: Arc<ReadContext>,
    _part: &SplitPart,
    _schema: SchemaRef,
) -> Result<Box<dyn PartReader>, InputError> {
    Err(InputError::corrupt("", "not read yet"))
}
