//! Columns of longs, doubles and floats.
//!
//! ```text
//! longV2, doubleV2, floatV2   i32 bytes of the value part │ value part │ [i32 length │ bitmap of the null rows]
//! long, double, float         value part
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array, Float64Array, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{Float32Type, Float64Type, Int64Type};
use roaring::RoaringBitmap;

use super::IndexValue;
use super::column::Opening;
use super::nested::double_order;
use crate::blob::Cursor;
use crate::codec::bitmap::{BitmapIndex, check_index, read_bitmap, take_null_rows};
use crate::codec::blocks::{PlainValues, ValueBlocks, read_values};
use crate::codec::doubles;
use crate::codec::fixed_indexed::FixedIndexed;
use crate::codec::ints::Ids;
use crate::codec::longs::Longs;
use crate::{RowSelection, SegmentError, ValueType};

/// Which numbers a column holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum NumberKind {
    Long,
    Double,
    Float,
}

/// An open column of numbers.
#[derive(Debug)]
pub(super) struct Numbers {
    values: Values,
    null_rows: RoaringBitmap,
    /// Only of "auto" columns.
    index: Option<Box<NumberIndex>>,
}

/// The dictionary of an "auto" column, the ids of its rows and their bitmaps.
#[derive(Debug)]
pub(super) struct NumberIndex {
    pub dictionary: FixedIndexed<8>,
    pub ids: Ids,
    pub index: Option<BitmapIndex>,
}

#[derive(Debug)]
enum Values {
    Long(Longs),
    Double(PlainValues),
    Float(PlainValues),
}

impl Values {
    fn read(kind: NumberKind, cursor: &mut Cursor<'_>, opening: &Opening<'_>) -> Result<Self, SegmentError> {
        Ok(match kind {
            NumberKind::Long => Self::Long(Longs::read(cursor, opening.container)?),
            NumberKind::Double => Self::Double(doubles::read(cursor, opening.container, 8)?),
            NumberKind::Float => Self::Float(doubles::read(cursor, opening.container, 4)?),
        })
    }
}

impl Numbers {
    /// Reads a column with nulls.
    pub fn read_v2(kind: NumberKind, cursor: &mut Cursor<'_>, opening: &Opening<'_>) -> Result<Self, SegmentError> {
        let bytes = cursor.size("bytes of the value part")?;
        let part = cursor.take_blob(bytes, "value part")?;
        let values = Values::read(kind, &mut part.cursor(), opening)?;
        let mut column = Self {
            values,
            null_rows: RoaringBitmap::new(),
            index: None,
        };
        if let Some(nulls) = take_null_rows(cursor)? {
            column.null_rows = read_bitmap(&nulls, opening.bitmap, column.rows())?;
        }
        Ok(column)
    }

    /// Reads a column of older clusters, without nulls.
    pub fn read_v1(kind: NumberKind, cursor: &mut Cursor<'_>, opening: &Opening<'_>) -> Result<Self, SegmentError> {
        Ok(Self {
            values: Values::read(kind, cursor, opening)?,
            null_rows: RoaringBitmap::new(),
            index: None,
        })
    }

    pub fn set_null_rows(&mut self, null_rows: RoaringBitmap) {
        self.null_rows = null_rows;
    }

    pub fn set_index(&mut self, index: NumberIndex) {
        self.index = Some(Box::new(index));
    }

    /// Gives the dictionary of an "auto" column.
    pub fn number_dictionary(&self) -> Option<&FixedIndexed<8>> {
        Some(&self.index.as_ref()?.dictionary)
    }

    pub fn has_index(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.index.is_some())
    }

    /// Counts the distinct values, null included; none without a dictionary.
    pub fn cardinality(&self) -> Option<u64> {
        self.index.as_ref().map(|index| index.dictionary.len() as u64)
    }

    /// Gives the smallest and the largest value of the dictionary; none without one.
    pub fn range(&self) -> Option<(String, String)> {
        let dictionary = &self.index.as_ref()?.dictionary;
        let text = |bytes: [u8; 8]| match &self.values {
            Values::Long(_) => i64::from_le_bytes(bytes).to_string(),
            _ => f64::from_le_bytes(bytes).to_string(),
        };
        let first = (0..dictionary.len().min(2)).find_map(|index| dictionary.get(index))?;
        let last = dictionary.get(dictionary.len().checked_sub(1)?)?;
        Some((text(first), text(last)))
    }

    /// Gives the rows that have a value; none without bitmaps.
    pub fn rows_of(&self, value: &IndexValue<'_>) -> Result<Option<RoaringBitmap>, SegmentError> {
        let Some(index) = &self.index else {
            return Ok((*value == IndexValue::Null).then(|| self.null_rows.clone()));
        };
        let Some(bitmaps) = &index.index else {
            return Ok(None);
        };
        let position = match (value, &self.values) {
            (IndexValue::Null, _) => Some(0),
            (IndexValue::Long(long), Values::Long(_)) => {
                index.dictionary.position(long.to_le_bytes(), i64::from_le_bytes)
            }
            (IndexValue::Double(double), Values::Double(_)) => {
                index.dictionary.position(double.to_le_bytes(), double_order)
            }
            _ => None,
        };
        match position {
            Some(id) => bitmaps.get(id as u32),
            None => Ok(Some(RoaringBitmap::new())),
        }
    }

    /// Names what the dictionary and the bitmaps say otherwise than the rows.
    pub fn check(&self) -> Result<Vec<String>, SegmentError> {
        let mut found = Vec::new();
        let values = self.read(&RowSelection::All)?;
        let is_zero = |row: u32| match &self.values {
            Values::Long(_) => values.as_primitive::<Int64Type>().value(row as usize) == 0,
            Values::Double(_) => values.as_primitive::<Float64Type>().value(row as usize).to_bits() == 0,
            Values::Float(_) => values.as_primitive::<Float32Type>().value(row as usize).to_bits() == 0,
        };
        if let Some(row) = self.null_rows.iter().find(|row| !is_zero(*row)) {
            found.push(format!("row {row} is null and must hold 0"));
        }
        let Some(index) = &self.index else {
            return Ok(found);
        };
        let ids = read_values(&index.ids, &RowSelection::All)?;
        for (row, id) in ids.iter().enumerate() {
            let stored = match &self.values {
                Values::Long(_) => values.as_primitive::<Int64Type>().value(row).to_le_bytes(),
                _ => values.as_primitive::<Float64Type>().value(row).to_le_bytes(),
            };
            if index.dictionary.get(*id as usize).unwrap_or_default() != stored {
                found.push(format!("row {row} has another number than its id {id} stands for"));
                break;
            }
        }
        if let Some(bitmaps) = &index.index {
            found.extend(check_index(bitmaps, &ids, None, index.dictionary.len())?);
        }
        Ok(found)
    }

    pub fn rows(&self) -> usize {
        match &self.values {
            Values::Long(longs) => longs.len(),
            Values::Double(values) | Values::Float(values) => values.count,
        }
    }

    pub fn value_type(&self) -> ValueType {
        match &self.values {
            Values::Long(_) => ValueType::Long,
            Values::Double(_) => ValueType::Double,
            Values::Float(_) => ValueType::Float,
        }
    }

    pub fn encoding(&self) -> &'static str {
        match &self.values {
            Values::Long(longs) => longs.encoding(),
            Values::Double(_) => "doubles",
            Values::Float(_) => "floats",
        }
    }

    pub fn has_nulls(&self) -> bool {
        !self.null_rows.is_empty()
    }

    pub fn null_rows(&self) -> &RoaringBitmap {
        &self.null_rows
    }

    /// Reads rows; whole blocks are decompressed straight into the array's buffer.
    pub fn read(&self, rows: &RowSelection<'_>) -> Result<ArrayRef, SegmentError> {
        let nulls = null_buffer(&self.null_rows, rows, self.rows())?;
        Ok(match &self.values {
            Values::Long(longs) => Arc::new(Int64Array::new(read_values(longs, rows)?.into(), nulls)),
            Values::Double(values) => Arc::new(Float64Array::new(read_values::<f64>(values, rows)?.into(), nulls)),
            Values::Float(values) => Arc::new(Float32Array::new(read_values::<f32>(values, rows)?.into(), nulls)),
        })
    }
}

/// Makes the validity of the selected rows of `len` from the rows that are null; none if no selected row is.
pub(super) fn null_buffer(
    null_rows: &RoaringBitmap,
    rows: &RowSelection<'_>,
    len: usize,
) -> Result<Option<NullBuffer>, SegmentError> {
    let count = rows.count(len)?;
    if null_rows.is_empty() || count == 0 {
        return Ok(None);
    }
    let valid = match rows {
        RowSelection::Rows(bitmap) => BooleanBuffer::from_iter(bitmap.iter().map(|row| !null_rows.contains(row))),
        RowSelection::All | RowSelection::Range(_) => {
            let start = match rows {
                RowSelection::Range(range) => range.start,
                _ => 0,
            };
            let mut bits = vec![0xFFu8; count.div_ceil(8)];
            for row in null_rows.range(start as u32..(start + count) as u32) {
                let at = row as usize - start;
                bits[at / 8] &= !(1 << (at % 8));
            }
            BooleanBuffer::new(bits.into(), 0, count)
        }
    };
    let nulls = NullBuffer::new(valid);
    Ok((nulls.null_count() > 0).then_some(nulls))
}
