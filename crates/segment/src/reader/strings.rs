//! Columns of strings with a dictionary, one or any number a row.
//!
//! ```text
//! u8 version │ [i32 flags, from version 2 on] │ dictionary │ ids │ [bitmaps, unless flag 4] │ [i32 length │ spatial index]
//! version 0 single, uncompressed   1 multi, uncompressed   2 compressed   3 uncompressed unless flag 8
//! flags   1 multi-value   2 multi-value V3   4 no bitmap index   8 compressed   16 configurable index (refused)
//! ```
//! The column of a projection that the table has too has no dictionary of its own: its ids are those of the table's.
//! Mirrors `DictionaryEncodedColumnPartSerde`.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, ListArray, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, UInt32Type};
use roaring::RoaringBitmap;

use super::IndexValue;
use super::column::Opening;
use crate::blob::{Blob, Cursor};
use crate::codec::bitmap::{BitmapIndex, check_index};
use crate::codec::blocks::{ValueBlocks, read_values};
use crate::codec::dictionary::StringDictionary;
use crate::codec::ints::Ids;
use crate::codec::multi_ints::{IdLists, MultiIds};
use crate::{RowSelection, SegmentError};

const MULTI_VALUE: i32 = 0x1;
const MULTI_VALUE_V3: i32 = 0x2;
const NO_BITMAP_INDEX: i32 = 0x4;
const CONFIGURABLE_BITMAP_INDEX: i32 = 0x10;

/// An open column of strings.
#[derive(Debug)]
pub(super) struct Strings {
    dictionary: Arc<StringDictionary>,
    ids: RowIds,
    index: Option<BitmapIndex>,
    has_nulls: bool,
    /// Where to point when ids make no sense.
    place: Blob,
}

#[derive(Debug)]
enum RowIds {
    Single(Ids),
    Multi(Box<MultiIds>),
}

impl Strings {
    /// Reads the head of a column.
    pub fn read(cursor: &mut Cursor<'_>, opening: &Opening<'_>) -> Result<Self, SegmentError> {
        let version = cursor.u8("string column version")?;
        let flags = match version {
            0 => 0,
            1 => MULTI_VALUE,
            2 | 3 => cursor.i32("flags")?,
            other => return Err(cursor.corrupt(format!("a string column must have version 0 to 3, found {other}"))),
        };
        if flags & CONFIGURABLE_BITMAP_INDEX != 0 {
            return Err(cursor.unsupported(format!("a string column with flags {flags:#x}")));
        }
        let dictionary = match opening.parent {
            None => Arc::new(StringDictionary::read(cursor, opening.container)?),
            Some(parent) => parent.shared_dictionary(cursor)?,
        };
        // Every form of ids names itself by its first byte, so the version and flags only tell single from multi-value.
        let place = cursor.take_blob(0, "ids")?;
        let ids = if flags & (MULTI_VALUE | MULTI_VALUE_V3) == 0 {
            RowIds::Single(Ids::read(cursor, opening.container)?)
        } else {
            RowIds::Multi(Box::new(MultiIds::read(cursor, opening.container)?))
        };
        let mut column = Self {
            has_nulls: dictionary.has_null(),
            dictionary,
            ids,
            index: None,
            place,
        };
        if flags & NO_BITMAP_INDEX == 0 {
            let (rows, entries) = (column.rows(), column.dictionary.len());
            column.index = BitmapIndex::read(cursor, opening.container, opening.bitmap, rows, entries)?;
        }
        Ok(column)
    }

    /// Puts a column together that is stored in pieces.
    pub fn assemble(dictionary: Arc<StringDictionary>, ids: Ids, place: Blob, has_nulls: bool) -> Self {
        Self {
            dictionary,
            ids: RowIds::Single(ids),
            index: None,
            has_nulls,
            place,
        }
    }

    pub fn set_index(&mut self, index: Option<BitmapIndex>) {
        self.index = index;
    }

    /// Tells whether rows may be null; a row of a multi-value column is when it has no values, which no dictionary shows.
    pub fn has_nulls(&self) -> bool {
        self.has_nulls || self.is_multi()
    }

    pub fn rows(&self) -> usize {
        match &self.ids {
            RowIds::Single(ids) => ids.len(),
            RowIds::Multi(ids) => ids.rows(),
        }
    }

    pub fn is_multi(&self) -> bool {
        matches!(self.ids, RowIds::Multi(_))
    }

    pub fn has_index(&self) -> bool {
        self.index.is_some()
    }

    pub fn dictionary(&self) -> &Arc<StringDictionary> {
        &self.dictionary
    }

    pub fn encoding(&self) -> String {
        let ids = match &self.ids {
            RowIds::Single(ids) => ids.encoding(),
            RowIds::Multi(ids) => ids.encoding(),
        };
        format!("{} dictionary, {ids}", self.dictionary.encoding())
    }

    pub fn bitmap(&self, id: u32) -> Result<Option<RoaringBitmap>, SegmentError> {
        match &self.index {
            Some(index) => index.get(id),
            None => Ok(None),
        }
    }

    /// Gives the rows that have a value; none without bitmaps.
    pub fn rows_of(&self, value: &IndexValue<'_>) -> Result<Option<RoaringBitmap>, SegmentError> {
        let id = match value {
            IndexValue::Null if self.dictionary.has_null() => Some(0),
            IndexValue::String(text) => self.dictionary.lookup(text)?,
            _ => None,
        };
        match (&self.index, id) {
            (None, _) => Ok(None),
            (Some(index), Some(id)) => index.get(id),
            (Some(_), None) => Ok(Some(RoaringBitmap::new())),
        }
    }

    /// Names what the dictionary and the bitmaps say otherwise than the rows.
    pub fn check(&self) -> Result<Vec<String>, SegmentError> {
        let mut found: Vec<String> = self.dictionary.check()?.into_iter().collect();
        let (ids, offsets) = match &self.ids {
            RowIds::Single(ids) => (read_values(ids, &RowSelection::All)?, None),
            RowIds::Multi(ids) => {
                let lists = ids.read_rows(&RowSelection::All)?;
                (lists.ids, Some(lists.offsets))
            }
        };
        self.check_ids(&ids)?;
        if let Some(index) = &self.index {
            found.extend(check_index(index, &ids, offsets.as_deref(), self.dictionary.len())?);
        }
        Ok(found)
    }

    pub fn read_selection(&self, rows: &RowSelection<'_>) -> Result<ArrayRef, SegmentError> {
        match &self.ids {
            RowIds::Single(ids) => self.read_single(read_values(ids, rows)?),
            RowIds::Multi(ids) => self.read_multi(ids.read_rows(rows)?),
        }
    }

    fn check_ids(&self, ids: &[u32]) -> Result<(), SegmentError> {
        let largest = ids.iter().copied().max();
        match largest {
            Some(id) if id as usize >= self.dictionary.len() => Err(self.place.corrupt(
                0,
                format!(
                    "ids of a dictionary of {} entries, found id {id}",
                    self.dictionary.len()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Gives ids as keys of the segment's own dictionary, decoded once.
    fn read_single(&self, ids: Vec<u32>) -> Result<ArrayRef, SegmentError> {
        self.check_ids(&ids)?;
        let values = self.dictionary.values()?;
        let nulls = self
            .dictionary
            .has_null()
            .then(|| NullBuffer::new(BooleanBuffer::collect_bool(ids.len(), |row| ids[row] != 0)))
            .filter(|nulls| nulls.null_count() > 0);
        let keys = UInt32Array::new(ids.into(), nulls);
        // SAFETY: every key was checked to lie within the dictionary.
        Ok(Arc::new(unsafe {
            DictionaryArray::<UInt32Type>::new_unchecked(keys, values)
        }))
    }

    /// Gives lists of strings; a row of no value, or of one null, is null, as Druid presents it.
    fn read_multi(&self, lists: IdLists) -> Result<ArrayRef, SegmentError> {
        self.check_ids(&lists.ids)?;
        let values = self.dictionary.values()?;
        let has_null = self.dictionary.has_null();
        let rows = lists.offsets.len() - 1;
        let nulls = NullBuffer::new(BooleanBuffer::collect_bool(rows, |row| {
            match &lists.ids[lists.offsets[row] as usize..lists.offsets[row + 1] as usize] {
                [] => false,
                [id] => !has_null || *id != 0,
                _ => true,
            }
        }));
        let bytes: u64 = lists
            .ids
            .iter()
            .map(|id| values.value_length(*id as usize).unsigned_abs() as u64)
            .sum();
        if bytes > i32::MAX as u64 {
            return Err(SegmentError::Limit {
                what: format!(
                    "bytes of the rows asked for of column [{}]",
                    self.place.origin().internal
                ),
                actual: bytes,
                limit: i32::MAX as u64,
                remedy: "read fewer rows at once",
            });
        }
        let child = take(values.as_ref(), &UInt32Array::from(lists.ids), None)
            .map_err(|e| self.place.corrupt(0, format!("ids of the dictionary: {e}")))?;
        let list = ListArray::new(
            Arc::new(Field::new_list_field(DataType::Utf8, true)),
            OffsetBuffer::new(lists.offsets.into()),
            child,
            Some(nulls).filter(|nulls| nulls.null_count() > 0),
        );
        Ok(Arc::new(list))
    }
}
