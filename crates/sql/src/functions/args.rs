//! Arguments of a kernel, typed: a scalar is read once, an array by row.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, PrimitiveArray,
    StringArray, StringBuilder,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;

use crate::limits::MAX_BATCH_BYTES;

/// Arguments of one call over one batch.
pub(crate) struct Args<'a> {
    values: &'a [ColumnarValue],
    rows: usize,
}

/// Text by row.
pub(crate) enum Texts {
    /// The same in every row.
    Scalar(Option<String>),
    /// One a row.
    Array(StringArray),
}

/// Whole numbers (or instants) by row.
pub(crate) enum Longs {
    /// The same in every row.
    Scalar(Option<i64>),
    /// One a row.
    Array(Int64Array),
}

/// Fractions by row.
pub(crate) enum Doubles {
    /// The same in every row.
    Scalar(Option<f64>),
    /// One a row.
    Array(Float64Array),
}

impl Texts {
    /// Gives the text of a row.
    pub fn get(&self, row: usize) -> Option<&str> {
        match self {
            Texts::Scalar(value) => value.as_deref(),
            Texts::Array(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }

    /// Gives the same texts in capitals.
    pub fn to_ascii_uppercase(&self) -> Texts {
        match self {
            Texts::Scalar(value) => Texts::Scalar(value.as_deref().map(str::to_ascii_uppercase)),
            Texts::Array(array) => Texts::Array(array.iter().map(|text| text.map(str::to_ascii_uppercase)).collect()),
        }
    }
}

impl Longs {
    /// Gives the number of a row.
    pub fn get(&self, row: usize) -> Option<i64> {
        match self {
            Longs::Scalar(value) => *value,
            Longs::Array(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }
}

impl Doubles {
    /// Gives the number of a row.
    pub fn get(&self, row: usize) -> Option<f64> {
        match self {
            Doubles::Scalar(value) => *value,
            Doubles::Array(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }
}

impl<'a> Args<'a> {
    /// Wraps the arguments of a call; dictionaries must have been unpacked.
    pub fn new(values: &'a [ColumnarValue], rows: usize) -> Self {
        Args { values, rows }
    }

    /// Tells whether no argument is a column.
    pub fn is_constant(&self) -> bool {
        self.values
            .iter()
            .all(|value| matches!(value, ColumnarValue::Scalar(_)))
    }

    /// Gives an argument that is the same in every row, as an array of one.
    pub fn literal(&self, index: usize) -> Result<Option<ArrayRef>> {
        match self.values.get(index) {
            Some(ColumnarValue::Scalar(value)) => Ok(Some(value.to_array_of_size(1)?)),
            _ => Ok(None),
        }
    }

    /// Gives the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Gives the number of arguments.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Gives the Arrow type of an argument.
    pub fn data_type(&self, index: usize) -> DataType {
        self.values.get(index).map_or(DataType::Null, ColumnarValue::data_type)
    }

    /// Gives an argument as an array of as many elements as there are rows.
    pub fn array(&self, index: usize) -> Result<ArrayRef> {
        match self.values.get(index) {
            Some(value) => value.to_array(self.rows),
            None => Ok(arrow::array::new_null_array(&DataType::Null, self.rows)),
        }
    }

    /// Gives an argument as text.
    pub fn text(&self, index: usize) -> Result<Texts> {
        match self.values.get(index) {
            None => Ok(Texts::Scalar(None)),
            Some(ColumnarValue::Scalar(value)) => match value {
                ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
                    Ok(Texts::Scalar(text.clone()))
                }
                ScalarValue::Dictionary(_, inner) => match inner.as_ref() {
                    ScalarValue::Utf8(text) => Ok(Texts::Scalar(text.clone())),
                    _ => Err(wrong("text", &value.data_type())),
                },
                ScalarValue::Null => Ok(Texts::Scalar(None)),
                other => Err(wrong("text", &other.data_type())),
            },
            Some(ColumnarValue::Array(array)) => Ok(Texts::Array(strings(array)?)),
        }
    }

    /// Gives an argument as whole numbers; instants are their milliseconds, booleans 1 and 0.
    pub fn long(&self, index: usize) -> Result<Longs> {
        match self.values.get(index) {
            None => Ok(Longs::Scalar(None)),
            Some(ColumnarValue::Scalar(ScalarValue::Int64(value))) => Ok(Longs::Scalar(*value)),
            Some(ColumnarValue::Scalar(ScalarValue::TimestampMillisecond(value, _))) => Ok(Longs::Scalar(*value)),
            Some(ColumnarValue::Scalar(value)) => {
                let array = longs(&value.to_array_of_size(1)?)?;
                Ok(Longs::Scalar(array.is_valid(0).then(|| array.value(0))))
            }
            Some(ColumnarValue::Array(array)) => Ok(Longs::Array(longs(array)?)),
        }
    }

    /// Gives an argument as fractions.
    pub fn double(&self, index: usize) -> Result<Doubles> {
        match self.values.get(index) {
            None => Ok(Doubles::Scalar(None)),
            Some(ColumnarValue::Scalar(value)) => {
                let array = doubles(&value.to_array_of_size(1)?)?;
                Ok(Doubles::Scalar(array.is_valid(0).then(|| array.value(0))))
            }
            Some(ColumnarValue::Array(array)) => Ok(Doubles::Array(doubles(array)?)),
        }
    }

    /// Gives an argument as booleans.
    pub fn boolean(&self, index: usize) -> Result<BooleanArray> {
        let array = self.array(index)?;
        Ok(cast(&array, &DataType::Boolean)?.as_boolean().clone())
    }

    /// Gives an argument as lists.
    pub fn list(&self, index: usize) -> Result<ListArray> {
        let array = self.array(index)?;
        match array.data_type() {
            DataType::List(_) => Ok(array.as_list::<i32>().clone()),
            DataType::Null => Ok(
                arrow::array::new_null_array(&DataType::new_list(DataType::Utf8, true), self.rows)
                    .as_list::<i32>()
                    .clone(),
            ),
            other => Err(wrong("an array", other)),
        }
    }
}

/// Gives an array as plain strings.
pub(crate) fn strings(array: &ArrayRef) -> Result<StringArray> {
    match array.data_type() {
        DataType::Utf8 => Ok(array.as_string::<i32>().clone()),
        DataType::Null => Ok(StringArray::new_null(array.len())),
        _ => Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
    }
}

fn longs(array: &ArrayRef) -> Result<Int64Array> {
    Ok(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().clone(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => array
            .as_primitive::<TimestampMillisecondType>()
            .reinterpret_cast::<Int64Type>(),
        DataType::Timestamp(..) => {
            let millis = cast(array, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
            millis
                .as_primitive::<TimestampMillisecondType>()
                .reinterpret_cast::<Int64Type>()
        }
        DataType::Float64 => array.as_primitive::<Float64Type>().unary(|double| double as i64),
        DataType::Float32 => array.as_primitive::<Float32Type>().unary(|float| float as i64),
        _ => cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
    })
}

fn doubles(array: &ArrayRef) -> Result<Float64Array> {
    Ok(match array.data_type() {
        DataType::Float64 => array.as_primitive::<Float64Type>().clone(),
        _ => cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone(),
    })
}

/// An argument whose type shows only when the function runs.
fn wrong(wanted: &str, got: &DataType) -> DataFusionError {
    let got = match got {
        DataType::List(_) => "an array",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(_, _) => "text",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::Struct(_) => "a complex value",
        DataType::Timestamp(_, _) => "a time",
        DataType::Boolean => "a boolean",
        _ => "a number",
    };
    DataFusionError::External(Box::new(crate::SqlError::input(format!(
        "A function was given {got} where it takes {wanted}"
    ))))
}

/// Makes a text column from what a closure gives for each row.
pub(crate) fn text_result<T: AsRef<str>>(rows: usize, mut of: impl FnMut(usize) -> Option<T>) -> Result<ArrayRef> {
    try_text_result(rows, |row| Ok(of(row)))
}

/// Makes a text column from what a fallible closure gives for each row.
pub(crate) fn try_text_result<T: AsRef<str>>(
    rows: usize,
    mut of: impl FnMut(usize) -> Result<Option<T>>,
) -> Result<ArrayRef> {
    let mut texts = StringBuilder::with_capacity(rows, 0);
    for row in 0..rows {
        match of(row)? {
            Some(text) => {
                let text = text.as_ref();
                check_bytes(texts.values_slice().len().saturating_add(text.len()))?;
                texts.append_value(text);
            }
            None => texts.append_null(),
        }
    }
    Ok(Arc::new(texts.finish()))
}

/// Fails where a function makes more of one batch of rows than memory is good for.
pub(crate) fn check_bytes(bytes: usize) -> Result<()> {
    if bytes > MAX_BATCH_BYTES {
        return Err(DataFusionError::External(Box::new(crate::SqlError::general(
            crate::Persona::User,
            crate::Category::CapacityExceeded,
            format!(
                "Function would make {bytes} bytes of one batch of rows, more than the limit of {MAX_BATCH_BYTES} bytes. \
                 Filter rows or shorten values before it"
            ),
        ))));
    }
    Ok(())
}

/// Makes a whole number column.
pub(crate) fn long_result(rows: usize, of: impl Fn(usize) -> Option<i64>) -> Result<ArrayRef> {
    try_long_result(rows, |row| Ok(of(row)))
}

/// Makes a whole number column from a fallible closure.
pub(crate) fn try_long_result(rows: usize, of: impl Fn(usize) -> Result<Option<i64>>) -> Result<ArrayRef> {
    Ok(Arc::new(primitives::<Int64Type>(rows, of)?))
}

/// Makes a fraction column.
pub(crate) fn double_result(rows: usize, of: impl Fn(usize) -> Option<f64>) -> Result<ArrayRef> {
    // There is one NaN, the greatest number: processors also make one with a sign, which would be the smallest.
    let one_nan = |x: f64| if x.is_nan() { f64::NAN } else { x };
    Ok(Arc::new(primitives::<Float64Type>(rows, |row| {
        Ok(of(row).map(one_nan))
    })?))
}

/// Makes a column of numbers; which rows have one is gathered by the word, not by the row.
fn primitives<T: ArrowPrimitiveType>(
    rows: usize,
    mut of: impl FnMut(usize) -> Result<Option<T::Native>>,
) -> Result<PrimitiveArray<T>> {
    let mut values: Vec<T::Native> = Vec::with_capacity(rows);
    let mut known: Vec<u64> = Vec::with_capacity(rows.div_ceil(64));
    let mut nulls = 0;
    for start in (0..rows).step_by(64) {
        let end = rows.min(start + 64);
        let mut word = 0u64;
        for row in start..end {
            let value = of(row)?;
            word |= u64::from(value.is_some()) << (row - start);
            values.push(value.unwrap_or_default());
        }
        nulls += end - start - word.count_ones() as usize;
        known.push(word);
    }
    let known = (nulls > 0).then(|| NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(known), 0, rows)));
    Ok(PrimitiveArray::new(values.into(), known))
}

/// Makes a boolean column.
pub(crate) fn boolean_result(rows: usize, of: impl Fn(usize) -> Option<bool>) -> Result<ArrayRef> {
    Ok(Arc::new((0..rows).map(of).collect::<BooleanArray>()))
}

/// Makes a column of instants.
pub(crate) fn time_result(rows: usize, mut of: impl FnMut(usize) -> Option<i64>) -> Result<ArrayRef> {
    Ok(Arc::new(primitives::<TimestampMillisecondType>(rows, |row| {
        Ok(of(row))
    })?))
}

/// Makes a column of instants from a fallible closure.
pub(crate) fn try_time_result(rows: usize, of: impl Fn(usize) -> Result<Option<i64>>) -> Result<ArrayRef> {
    Ok(Arc::new(primitives::<TimestampMillisecondType>(rows, of)?))
}
