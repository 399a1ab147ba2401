//! Arrays, and columns of several types at the root (Druid's `VariantColumn`).
//!
//! ```text
//! __encodedColumn           ids, one a row
//! __valueIndexes            a bitmap for each id
//! __arrayElementDictionary  ids that are elements of arrays, __arrayElementIndexes  a bitmap for each of them
//! ```
//! A variant is presented as its logical type, the least restrictive one: other values are cast to it. [`Variant::json`] gives them as they are.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Builder, Int64Builder, ListArray, StringArray, StringBuilder, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::Field;
use roaring::RoaringBitmap;

use super::SubFiles;
use super::dictionary::{GlobalDictionary, GlobalValue, unknown_id};
use crate::blob::{Blob, Cursor};
use crate::codec::bitmap::{BitmapIndex, check_index};
use crate::codec::blocks::{ValueBlocks, read_values};
use crate::codec::fixed_indexed::FixedIndexed;
use crate::codec::ints::Ids;
use crate::dump::json;
use crate::reader::IndexValue;
use crate::reader::column::{Column, Opening};
use crate::{ColumnType, RowSelection, SegmentError, ValueType};

/// An open column of arrays or of several types.
#[derive(Debug)]
pub(in crate::reader) struct Variant {
    dictionary: Arc<GlobalDictionary>,
    ids: Ids,
    place: Blob,
    value_type: ValueType,
    is_array: bool,
    is_variant: bool,
    null_rows: Option<RoaringBitmap>,
    index: Option<BitmapIndex>,
    elements: Option<(FixedIndexed<4>, BitmapIndex)>,
}

impl Variant {
    pub fn open(
        files: &SubFiles<'_>,
        opening: &Opening<'_>,
        value_type: ValueType,
        is_array: bool,
        is_variant: bool,
        cursor: &Cursor<'_>,
    ) -> Result<Self, SegmentError> {
        let parent = match files.parent {
            None => None,
            Some(Column::Variant(parent)) => Some(parent.as_ref()),
            Some(other) => return Err(other.cannot_share("dictionaries of arrays", cursor)),
        };
        let dictionary = match parent {
            None => GlobalDictionary::open(files, true)?,
            Some(parent) => Arc::clone(&parent.dictionary),
        };
        let ids = files.encoded_column()?;
        let index = files.value_indexes(opening, ids.len(), dictionary.len()?)?;
        let null_rows = match &index {
            Some(index) => index.get(0)?,
            None => None,
        };
        let ids_len = ids.len();
        Ok(Self {
            dictionary,
            ids,
            place: files.require("__encodedColumn")?,
            value_type,
            is_array,
            is_variant,
            null_rows,
            elements: Self::open_elements(files, opening, ids_len, parent)?,
            index,
        })
    }

    fn open_elements(
        files: &SubFiles<'_>,
        opening: &Opening<'_>,
        rows: usize,
        parent: Option<&Self>,
    ) -> Result<Option<(FixedIndexed<4>, BitmapIndex)>, SegmentError> {
        let elements = match parent {
            Some(parent) => parent.elements.as_ref().map(|(elements, _)| elements.clone()),
            None => match files.file("__arrayElementDictionary") {
                Some(elements) => Some(FixedIndexed::read(&mut elements.cursor(), "array elements")?),
                None => None,
            },
        };
        let (Some(elements), Some(index)) = (elements, files.file("__arrayElementIndexes")) else {
            return Ok(None);
        };
        let entries = elements.len();
        let index = BitmapIndex::read(&mut index.cursor(), files.container, opening.bitmap, rows, entries)?;
        Ok(index.map(|index| (elements, index)))
    }

    pub fn has_index(&self) -> bool {
        self.index.is_some()
    }

    /// Gives the rows whose value, not an element of it, is a scalar; none without bitmaps.
    pub fn rows_of(&self, value: &IndexValue<'_>) -> Result<Option<RoaringBitmap>, SegmentError> {
        match (&self.index, self.dictionary.id_of(value)?) {
            (None, _) => Ok(None),
            (Some(index), Some(id)) => index.get(id),
            (Some(_), None) => Ok(Some(RoaringBitmap::new())),
        }
    }

    /// Gives the rows whose array has an element; none without bitmaps.
    pub fn rows_with(&self, element: &IndexValue<'_>) -> Result<Option<RoaringBitmap>, SegmentError> {
        let Some((elements, index)) = &self.elements else {
            return Ok(None);
        };
        let id = self.dictionary.id_of(element)?;
        match id.and_then(|id| elements.position(id.to_le_bytes(), u32::from_le_bytes)) {
            Some(position) => index.get(position as u32),
            None => Ok(Some(RoaringBitmap::new())),
        }
    }

    /// Names what the dictionaries and the bitmaps say otherwise than the rows.
    pub fn check(&self) -> Result<Vec<String>, SegmentError> {
        let mut found: Vec<String> = self.dictionary.check()?.into_iter().collect();
        let ids = read_values(&self.ids, &RowSelection::All)?;
        if let Some(index) = &self.index {
            found.extend(check_index(index, &ids, None, self.dictionary.len()?)?);
        }
        let Some((elements, index)) = &self.elements else {
            return Ok(found);
        };
        let (mut flat, mut offsets) = (Vec::new(), vec![0]);
        for (row, id) in ids.iter().enumerate() {
            if let Some(GlobalValue::Array(array)) = self.dictionary.value(*id)? {
                for element in array {
                    match elements.position(element.to_le_bytes(), u32::from_le_bytes) {
                        Some(position) => flat.push(position as u32),
                        None => {
                            found.push(format!("element {element} of row {row} is not among the elements"));
                            return Ok(found);
                        }
                    }
                }
            }
            offsets.push(flat.len() as i32);
        }
        let wrong = check_index(index, &flat, Some(&offsets), elements.len())?;
        found.extend(wrong.map(|wrong| format!("elements: {wrong}")));
        Ok(found)
    }

    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    pub fn column_type(&self) -> ColumnType {
        if self.is_array {
            ColumnType::Array(self.value_type)
        } else {
            ColumnType::Scalar(self.value_type)
        }
    }

    pub fn is_variant(&self) -> bool {
        self.is_variant
    }

    pub fn cardinality(&self) -> Option<u64> {
        self.dictionary.len().ok().map(|len| len as u64)
    }

    pub fn null_rows(&self) -> Option<&RoaringBitmap> {
        self.null_rows.as_ref()
    }

    pub fn encoding(&self) -> String {
        let kind = if self.is_variant { "variant" } else { "array" };
        format!("nested {kind}, {}", self.ids.encoding())
    }

    /// Reads rows as the logical type.
    pub fn read(&self, rows: &RowSelection<'_>) -> Result<ArrayRef, SegmentError> {
        let ids = read_values(&self.ids, rows)?;
        if !self.is_array {
            let scalars = self.values(&ids)?;
            return match self.value_type {
                // Strings are presented with a dictionary everywhere.
                ValueType::String => arrow::compute::cast(&scalars, &self.column_type().arrow())
                    .map_err(|e| self.place.corrupt(0, format!("values that fit a dictionary: {e}"))),
                _ => Ok(scalars),
            };
        }
        let mut elements = Vec::new();
        let mut offsets = Vec::with_capacity(ids.len() + 1);
        offsets.push(0i32);
        for id in &ids {
            match self
                .dictionary
                .value(*id)?
                .ok_or_else(|| unknown_id(*id, &self.place))?
            {
                GlobalValue::Null => {}
                GlobalValue::Array(array) => elements.extend_from_slice(array),
                // A scalar among arrays is an array of one.
                _ => elements.push(*id),
            }
            let end = i32::try_from(elements.len()).map_err(|_| SegmentError::Limit {
                what: format!(
                    "elements of the rows asked for of column [{}]",
                    self.place.origin().internal
                ),
                actual: elements.len() as u64,
                limit: i32::MAX as u64,
                remedy: "read fewer rows at once",
            })?;
            offsets.push(end);
        }
        let nulls = NullBuffer::new(BooleanBuffer::collect_bool(ids.len(), |row| ids[row] != 0));
        let child = self.values(&elements)?;
        Ok(Arc::new(ListArray::new(
            Arc::new(Field::new_list_field(child.data_type().clone(), true)),
            OffsetBuffer::new(offsets.into()),
            child,
            Some(nulls).filter(|nulls| nulls.null_count() > 0),
        )))
    }

    /// Gives the values of ids in the column's value type, null where they have none in it; arrays are not values.
    fn values(&self, ids: &[u32]) -> Result<ArrayRef, SegmentError> {
        let look_up = |id: u32| -> Result<GlobalValue<'_>, SegmentError> {
            match self.dictionary.value(id)? {
                Some(GlobalValue::Array(_)) if self.is_array => Err(unknown_id(id, &self.place)),
                Some(value) => Ok(value),
                None => Err(unknown_id(id, &self.place)),
            }
        };
        match self.value_type {
            ValueType::String => self.strings(ids, look_up),
            ValueType::Long => {
                let mut builder = Int64Builder::with_capacity(ids.len());
                for id in ids {
                    builder.append_option(match look_up(*id)? {
                        GlobalValue::Long(value) => Some(value),
                        GlobalValue::Double(value) => Some(value as i64),
                        GlobalValue::String(id) => self.dictionary.strings.get(id)?.and_then(|text| text.parse().ok()),
                        GlobalValue::Null | GlobalValue::Array(_) => None,
                    });
                }
                Ok(Arc::new(builder.finish()))
            }
            ValueType::Double | ValueType::Float => {
                let mut builder = Float64Builder::with_capacity(ids.len());
                for id in ids {
                    builder.append_option(match look_up(*id)? {
                        GlobalValue::Long(value) => Some(value as f64),
                        GlobalValue::Double(value) => Some(value),
                        GlobalValue::String(id) => self.dictionary.strings.get(id)?.and_then(|text| text.parse().ok()),
                        GlobalValue::Null | GlobalValue::Array(_) => None,
                    });
                }
                Ok(Arc::new(builder.finish()))
            }
        }
    }

    fn strings<'a>(
        &self,
        ids: &[u32],
        look_up: impl Fn(u32) -> Result<GlobalValue<'a>, SegmentError>,
    ) -> Result<ArrayRef, SegmentError> {
        let values = self.dictionary.strings.values()?;
        let bytes: u64 = ids
            .iter()
            .filter(|id| (**id as usize) < values.len())
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
        if ids.iter().all(|id| (*id as usize) < values.len()) {
            return take(values.as_ref(), &UInt32Array::from(ids.to_vec()), None)
                .map_err(|e| self.place.corrupt(0, format!("ids of the dictionary: {e}")));
        }
        let mut builder = StringBuilder::with_capacity(ids.len(), bytes as usize);
        let mut text = Vec::new();
        for id in ids {
            text.clear();
            match look_up(*id)? {
                GlobalValue::String(id) => builder.append_value(values.value(id as usize)),
                GlobalValue::Long(value) => {
                    json::put_long(&mut text, value);
                    builder.append_value(String::from_utf8_lossy(&text));
                }
                GlobalValue::Double(value) => {
                    json::put_double(&mut text, value);
                    builder.append_value(String::from_utf8_lossy(&text).trim_matches('"'));
                }
                GlobalValue::Null | GlobalValue::Array(_) => builder.append_null(),
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Reads rows as JSON text, each value in its own type.
    pub fn json(&self, rows: &RowSelection<'_>) -> Result<StringArray, SegmentError> {
        let ids = read_values(&self.ids, rows)?;
        self.dictionary.json_texts(ids, &self.place)
    }
}
