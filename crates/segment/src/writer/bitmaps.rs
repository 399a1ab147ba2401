//! Bitmaps of rows as they are written: the index that has one for each dictionary id, and the rows that are null.
//!
//! ```text
//! index   GenericIndexed, one bitmap for each id          nulls   i32 length │ bitmap
//! ```

use crate::BitmapKind;
use crate::codec::concise;
use crate::codec::generic_indexed::GenericIndexedWriter;
use crate::codec::roaring_writer::RoaringWriter;

/// Serialises bitmaps one after the other.
#[derive(Debug)]
pub(super) struct BitmapEncoder {
    kind: BitmapKind,
    roaring: RoaringWriter,
}

impl BitmapEncoder {
    pub fn new(kind: BitmapKind) -> Self {
        Self {
            kind,
            roaring: RoaringWriter::default(),
        }
    }

    /// Appends the bitmap of strictly ascending rows to `out`.
    pub fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        match self.kind {
            BitmapKind::Roaring => self.roaring.write(rows, out),
            BitmapKind::Concise => concise::encode(rows, out),
        }
    }
}

/// Gives the bitmap of strictly ascending rows behind its length.
pub(super) fn null_index(rows: &[u32], kind: BitmapKind) -> Vec<u8> {
    let mut out = vec![0; 4];
    BitmapEncoder::new(kind).write(rows, &mut out);
    let len = out.len() as u32 - 4;
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

/// Makes the bitmap of every id: rows are laid out by id, then each stretch is serialised.
///
/// `offsets` are the ends of the rows in `ids`, beginning with 0; none if every row has one id.
pub(super) fn index(
    ids: &[u32],
    offsets: Option<&[u32]>,
    cardinality: usize,
    kind: BitmapKind,
) -> GenericIndexedWriter {
    let mut next = vec![0u32; cardinality + 1];
    for id in ids {
        next[*id as usize + 1] += 1;
    }
    for id in 0..cardinality {
        next[id + 1] += next[id];
    }
    let starts = next.clone();
    let mut rows = vec![0u32; ids.len()];
    match offsets {
        None => {
            for (row, id) in ids.iter().enumerate() {
                let slot = &mut next[*id as usize];
                rows[*slot as usize] = row as u32;
                *slot += 1;
            }
        }
        Some(offsets) => {
            for (row, ends) in offsets.windows(2).enumerate() {
                for id in &ids[ends[0] as usize..ends[1] as usize] {
                    let id = *id as usize;
                    let slot = &mut next[id];
                    let repeated = *slot > starts[id] && rows[*slot as usize - 1] == row as u32;
                    if !repeated {
                        rows[*slot as usize] = row as u32;
                        *slot += 1;
                    }
                }
            }
        }
    }
    let mut encoder = BitmapEncoder::new(kind);
    let mut list = GenericIndexedWriter::with_capacity(cardinality, 19 * cardinality);
    for id in 0..cardinality {
        let rows = &rows[starts[id] as usize..next[id] as usize];
        let pushed: Result<(), std::convert::Infallible> = list.push_with(|out| {
            encoder.write(rows, out);
            Ok(())
        });
        match pushed {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }
    list
}
