//! Columns of longs, doubles and floats.
//!
//! ```text
//! longV2, doubleV2, floatV2   i32 bytes of the value part │ value part │ [i32 length │ bitmap of the null rows]
//! long, double, float         value part
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use roaring::RoaringBitmap;

use super::column::Opening;
use crate::blob::Cursor;
use crate::codec::bitmap::{read_bitmap, take_null_rows};
use crate::codec::blocks::{PlainValues, ValueBlocks, read_values};
use crate::codec::doubles;
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
        })
    }

    pub fn set_null_rows(&mut self, null_rows: RoaringBitmap) {
        self.null_rows = null_rows;
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
