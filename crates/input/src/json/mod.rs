//! JSON records: the scanner, values as slices, and the decoder that makes rows of objects.

pub(crate) mod decoder;
pub(crate) mod raw;
pub(crate) mod scan;

use std::io::Read;

use crate::error::InputError;
use crate::file::FileId;
use crate::limits;
use crate::spec::ExternSpec;
use scan::{Extent, Grammar};

/// How records lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A line is a record: what Druid reads.
    Lines,
    /// Records spread over lines.
    Spread,
    /// The file is one array, whose items are the records.
    Array,
}

/// Tells the layout from the first bytes of a file. A file is lines unless its first record is seen to end on a later line
/// than it begins, or unless it begins as an array of objects.
pub(crate) fn layout(head: &[u8], is_all: bool) -> Layout {
    let start = scan::skip_whitespace(head, 0);
    let record = head.get(start..).unwrap_or_default();
    match record.first() {
        Some(b'[') => {
            let inner = scan::skip_whitespace(record, 1);
            match record.get(inner) {
                Some(b'{') => Layout::Array,
                // Only whitespace so far: an array that opens on a line of its own.
                None if !is_all && inner > 1 => Layout::Array,
                Some(b']') if is_all && scan::skip_whitespace(record, inner + 1) == record.len() => Layout::Array,
                _ => Layout::Lines,
            }
        }
        Some(b'{') => {
            let line_end = memchr::memchr(b'\n', record).unwrap_or(record.len());
            match Extent::default().find(record) {
                Some(end) if end > line_end && scan::value(record, 0, Grammar::default()).is_ok() => Layout::Spread,
                _ => Layout::Lines,
            }
        }
        _ => Layout::Lines,
    }
}

/// Looks at the beginning of an uncompressed file and tells whether its lines are records.
pub(crate) fn sniff_lines(spec: &ExternSpec, leaf: usize, id: &FileId) -> Result<bool, InputError> {
    let mut head = Vec::new();
    let name = spec.uri_of(leaf, id).unwrap_or_default();
    spec.open(leaf, id, 0)?
        .take(limits::SNIFF_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(|e| InputError::io("read", name, e))?;
    let is_all = head.len() < limits::SNIFF_BYTES;
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
    Ok(layout(head, is_all) == Layout::Lines)
}
