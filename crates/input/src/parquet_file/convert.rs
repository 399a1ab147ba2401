//! Columns of a Parquet file into Druid's column types: short cuts a whole array at a time for the common pairs of types, and
//! cell by cell through the rules for JSON values for all others, so that there is one set of rules.

use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::array::types::*;
use arrow::array::{Array, ArrayRef, Float32Array, Float64Array, Int64Array, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, TimeUnit};
use arrow::error::ArrowError;

use super::cells::write_cell;
use crate::column::{Column, Misfit};
use crate::json::scan::sound_value;
use crate::spec::{ExternColumn, ExternType, PathStep};

/// How one column of the file becomes one column of the batch.
pub(super) struct Conversion {
    path: Vec<PathStep>,
    column: ExternColumn,
    target: DataType,
    binary_as_string: bool,
    nested: bool,
}

/// Gives the milliseconds of an instant; parts of a millisecond are cut off as Java's `TimeUnit.convert` cuts them.
#[inline]
pub(super) fn millis(value: i64, unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => value.saturating_mul(1_000),
        TimeUnit::Millisecond => value,
        TimeUnit::Microsecond => value / 1_000,
        TimeUnit::Nanosecond => value / 1_000_000,
    }
}

#[inline]
pub(super) fn day_millis(days: i32) -> i64 {
    i64::from(days) * 86_400_000
}

pub(super) fn as_type(array: ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(array);
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(&array, to, &strict)
}

impl Conversion {
    pub(super) fn new(
        source: &Field,
        path: Vec<PathStep>,
        column: &ExternColumn,
        target: &Field,
        binary_as_string: bool,
    ) -> Self {
        Self {
            nested: source.data_type().is_nested() || !path.is_empty(),
            path,
            column: column.clone(),
            target: target.data_type().clone(),
            binary_as_string,
        }
    }

    /// Tells whether the reader should leave strings in their dictionary.
    pub(super) fn wants_dictionary(&self) -> bool {
        !self.nested && matches!(self.target, DataType::Dictionary(..))
    }

    pub(super) fn apply(&self, array: &ArrayRef, rows: usize) -> Result<ArrayRef, Misfit> {
        if array.data_type() == &self.target
            && !self.nested
            && !matches!(self.column.column_type, ExternType::Complex(_))
        {
            return Ok(Arc::clone(array));
        }
        if array.data_type() == &DataType::Null {
            return Ok(new_null_array(&self.target, rows));
        }
        let converted = match self.short_cut(array) {
            Some(converted) => converted,
            None => self.by_cells(array, rows)?,
        };
        as_type(converted, &self.target).map_err(|e| Misfit { message: e.to_string() })
    }

    fn short_cut(&self, array: &ArrayRef) -> Option<ArrayRef> {
        if self.nested {
            return None;
        }
        match self.column.column_type {
            ExternType::Long => to_long(array),
            ExternType::Double => to_double(array).map(|doubles| Arc::new(doubles) as ArrayRef),
            ExternType::Float => match array.data_type() {
                DataType::Float32 => Some(Arc::clone(array)),
                _ => to_double(array).map(|doubles| {
                    let floats: Float32Array = doubles.unary(|value| value as f32);
                    Arc::new(floats) as ArrayRef
                }),
            },
            ExternType::String if !self.column.multi_value => match array.data_type() {
                DataType::Utf8 | DataType::Dictionary(..) => Some(Arc::clone(array)),
                _ => None,
            },
            _ => None,
        }
    }

    fn by_cells(&self, array: &ArrayRef, rows: usize) -> Result<ArrayRef, Misfit> {
        let mut column = Column::new(&self.column, rows);
        let (mut cell, mut scratch, mut list) = (String::new(), String::new(), String::new());
        for row in 0..rows {
            cell.clear();
            write_cell(array.as_ref(), row, self.binary_as_string, &mut cell);
            let value = sound_value(&cell, 0).and_then(|(value, _)| value.follow(&self.path, &mut list));
            match value {
                Some(value) => column.push_json(value, &mut scratch)?,
                None => column.push_null(),
            }
            // Offsets are 32 bits; a batch of cells this large would not fit them.
            if column.text_bytes() > crate::limits::MAX_MAX_ROW_BYTES * 4 {
                return Err(Misfit {
                    message: "a batch of this column holds more than 1 GiB of text, read fewer rows a batch"
                        .to_string(),
                });
            }
        }
        column.finish().map_err(|e| Misfit { message: e.to_string() })
    }
}

fn to_long(array: &ArrayRef) -> Option<ArrayRef> {
    macro_rules! map {
        ($type:ty, $f:expr) => {{
            let longs: Int64Array = array.as_primitive::<$type>().unary($f);
            Arc::new(longs) as ArrayRef
        }};
    }
    Some(match array.data_type() {
        DataType::Int64 => Arc::clone(array),
        DataType::Int8 => map!(Int8Type, i64::from),
        DataType::Int16 => map!(Int16Type, i64::from),
        DataType::Int32 => map!(Int32Type, i64::from),
        DataType::UInt8 => map!(UInt8Type, i64::from),
        DataType::UInt16 => map!(UInt16Type, i64::from),
        DataType::UInt32 => map!(UInt32Type, i64::from),
        DataType::UInt64 => map!(UInt64Type, |value| i64::try_from(value).unwrap_or(i64::MAX)),
        // A cast of Rust saturates and makes NaN zero, like `Number.longValue`.
        DataType::Float32 => map!(Float32Type, |value| value as i64),
        DataType::Float64 => map!(Float64Type, |value| value as i64),
        DataType::Timestamp(TimeUnit::Second, _) => map!(TimestampSecondType, |v| millis(v, &TimeUnit::Second)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => map!(TimestampMillisecondType, |v| v),
        DataType::Timestamp(TimeUnit::Microsecond, _) => map!(TimestampMicrosecondType, |v| v / 1_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => map!(TimestampNanosecondType, |v| v / 1_000_000),
        DataType::Date32 => map!(Date32Type, day_millis),
        DataType::Date64 => map!(Date64Type, |v| v),
        DataType::Decimal128(_, scale) if (0..=38).contains(scale) => {
            let divisor = 10i128.pow(u32::from(scale.unsigned_abs()));
            map!(Decimal128Type, |v| {
                i64::try_from(v / divisor).unwrap_or(if v < 0 { i64::MIN } else { i64::MAX })
            })
        }
        DataType::Utf8 => {
            let texts: &StringArray = array.as_string();
            let longs: Int64Array = texts
                .iter()
                .map(|text| text.and_then(crate::number::text_long))
                .collect();
            Arc::new(longs)
        }
        _ => return None,
    })
}

fn to_double(array: &ArrayRef) -> Option<Float64Array> {
    macro_rules! map {
        ($type:ty, $f:expr) => {
            array.as_primitive::<$type>().unary($f)
        };
    }
    Some(match array.data_type() {
        DataType::Float64 => array.as_primitive::<Float64Type>().clone(),
        DataType::Float32 => map!(Float32Type, f64::from),
        DataType::Decimal128(_, scale) if (0..=22).contains(scale) => {
            let scale = u32::from(scale.unsigned_abs());
            let divisor = 10f64.powi(scale as i32);
            // Up to 53 bits both numbers are exact, so the one division rounds once; beyond, text rounds once.
            map!(Decimal128Type, |v| {
                if v.unsigned_abs() < 1 << 53 {
                    v as f64 / divisor
                } else {
                    format!("{v}e-{scale}").parse().unwrap_or(f64::NAN)
                }
            })
        }
        DataType::Utf8 => {
            let texts: &StringArray = array.as_string();
            texts
                .iter()
                .map(|text| text.and_then(crate::number::text_double))
                .collect()
        }
        DataType::UInt64 => map!(UInt64Type, |v| v as f64),
        _ => {
            let longs = to_long(array)?;
            let doubles: Float64Array = longs.as_primitive::<Int64Type>().unary(|value| value as f64);
            doubles
        }
    })
}
