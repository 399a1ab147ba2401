//! Bitmaps of rows (Druid's `BitmapSerdeFactory`) and the index that has one for each dictionary id.
//!
//! ```text
//! index   GenericIndexed, one bitmap for each dictionary id; an empty bitmap may be null, or no bytes at all
//! nulls   i32 length │ bitmap
//! ```

use roaring::RoaringBitmap;

use crate::blob::{Blob, Cursor};
use crate::codec::concise;
use crate::codec::generic_indexed::GenericIndexed;
use crate::container::Container;
use crate::{BitmapKind, SegmentError};

/// Reads a bitmap of rows below `rows`; no bytes are an empty bitmap.
pub(crate) fn read_bitmap(blob: &Blob, kind: BitmapKind, rows: usize) -> Result<RoaringBitmap, SegmentError> {
    if blob.len() == 0 {
        return Ok(RoaringBitmap::new());
    }
    let bitmap = match kind {
        BitmapKind::Roaring => RoaringBitmap::deserialize_from(blob.bytes())
            .map_err(|e| blob.corrupt(0, format!("a roaring bitmap: {e}")))?,
        BitmapKind::Concise => concise::decode(blob, rows)?,
    };
    match bitmap.max() {
        Some(max) if max as usize >= rows => {
            Err(blob.corrupt(0, format!("a bitmap of rows below {rows}, found row {max}")))
        }
        _ => Ok(bitmap),
    }
}

/// The bitmaps of a dictionary.
#[derive(Debug, Clone)]
pub(crate) struct BitmapIndex {
    list: GenericIndexed,
    kind: BitmapKind,
    rows: usize,
}

impl BitmapIndex {
    /// Reads the index of a dictionary; none if it does not have a bitmap for each entry and is thus of no use.
    pub fn read(
        cursor: &mut Cursor<'_>,
        container: &Container,
        kind: BitmapKind,
        rows: usize,
        entries: usize,
    ) -> Result<Option<Self>, SegmentError> {
        let list = GenericIndexed::read(cursor, container, "bitmap index")?;
        Ok((list.len() == entries).then_some(Self { list, kind, rows }))
    }

    /// Reads the rows of an id; none for an id that the dictionary does not have.
    pub fn get(&self, id: u32) -> Result<Option<RoaringBitmap>, SegmentError> {
        if id as usize >= self.list.len() {
            return Ok(None);
        }
        read_bitmap(&self.list.blob(id as usize)?, self.kind, self.rows).map(Some)
    }
}

/// Takes the null rows behind a numeric column, where there are any.
pub(crate) fn take_null_rows(cursor: &mut Cursor<'_>) -> Result<Option<Blob>, SegmentError> {
    if cursor.remaining() == 0 {
        return Ok(None);
    }
    let len = cursor.size("length of the null bitmap")?;
    cursor.take_blob(len, "null bitmap").map(Some)
}

/// Compares the bitmaps of an index with the ids of rows, and tells the first that differs. `offsets` are the ends of the rows in `ids`,
/// beginning with 0; none if every row has one id. A row without ids may be in the bitmap of id 0.
pub(crate) fn check_index(
    index: &BitmapIndex,
    ids: &[u32],
    offsets: Option<&[i32]>,
    entries: usize,
) -> Result<Option<String>, SegmentError> {
    let mut rows: Vec<RoaringBitmap> = vec![RoaringBitmap::new(); entries];
    let mut without_ids = RoaringBitmap::new();
    let mut insert = |id: u32, row: usize| match rows.get_mut(id as usize) {
        Some(bitmap) => {
            bitmap.insert(row as u32);
            None
        }
        None => Some(format!("row {row} has id {id}, the dictionary has {entries} entries")),
    };
    match offsets {
        None => {
            for (row, id) in ids.iter().enumerate() {
                if let Some(wrong) = insert(*id, row) {
                    return Ok(Some(wrong));
                }
            }
        }
        Some(offsets) => {
            for (row, ends) in offsets.windows(2).enumerate() {
                let list = ids.get(ends[0] as usize..ends[1] as usize).unwrap_or_default();
                if list.is_empty() {
                    without_ids.insert(row as u32);
                }
                if let Some(wrong) = list.iter().find_map(|id| insert(*id, row)) {
                    return Ok(Some(wrong));
                }
            }
        }
    }
    for (id, expected) in rows.iter().enumerate() {
        let found = index.get(id as u32)?.unwrap_or_default();
        let same = if id == 0 {
            &found - &without_ids == expected - &without_ids
        } else {
            found == *expected
        };
        if !same {
            let differs = (&found ^ expected).min().unwrap_or_default();
            let which = if found.contains(differs) { "has" } else { "lacks" };
            return Ok(Some(format!(
                "the bitmap of id {id} {which} row {differs}: it has {} rows, the values {}",
                found.len(),
                expected.len()
            )));
        }
    }
    Ok(None)
}
