//! Text formats.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::error::InputError;
use crate::reader::{PartReader, ReadContext};
use crate::split::SplitPart;

pub(crate) fn open(
    _context: Arc<ReadContext>,
    _part: &SplitPart,
    _schema: SchemaRef,
) -> Result<Box<dyn PartReader>, InputError> {
    Err(InputError::corrupt("", "not read yet"))
}
