//! JSON records.

use crate::error::InputError;
use crate::file::FileId;
use crate::spec::ExternSpec;

pub(crate) fn sniff_lines(_spec: &ExternSpec, _leaf: usize, _id: &FileId) -> Result<bool, InputError> {
    Ok(false)
}
