//! Arrays.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, StringArray, UInt32Array, make_array, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{DataFusionError, Result};

use super::args::{Args, boolean_result, long_result, text_result};
use super::regexp::Pattern;
use super::scalar::{Param, ScalarDef, returns};
use crate::SqlType;

const TWO: &[Param] = &[Param::Arr, Param::Arr];
const ITEM: &[Param] = &[Param::Arr, Param::Any];
const ITEMS: &[Param] = &[Param::Arr, Param::Items];

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new("", "array", &[Param::Any], array_type, make).variadic(),
    ScalarDef::new("ARRAY_LENGTH", "array_length", &[Param::List], returns::integer, length),
    ScalarDef::new(
        "ARRAY_OFFSET",
        "array_offset",
        &[Param::Arr, Param::Int],
        element_type,
        |args| element(args, 0),
    ),
    ScalarDef::new(
        "ARRAY_ORDINAL",
        "array_ordinal",
        &[Param::Arr, Param::Int],
        element_type,
        |args| element(args, 1),
    ),
    ScalarDef::new("ARRAY_CONTAINS", "array_contains", ITEMS, returns::boolean, |args| {
        contains(args, true)
    }),
    ScalarDef::new("ARRAY_OVERLAP", "array_overlap", TWO, returns::boolean, |args| {
        overlap(args)
    }),
    ScalarDef::new(
        "SCALAR_IN_ARRAY",
        "scalar_in_array",
        &[Param::Any, Param::Array],
        returns::boolean,
        |args| {
            let (pairs, lists) = encoded(args, 1, 0)?;
            boolean_result(args.rows(), |row| {
                let (list, items) = (lists.range(row)?, pairs.range(row));
                let item = items.and_then(|items| items.into_iter().next())?;
                let found = list.into_iter().any(|i| lists.rows.row(i) == lists.rows.row(item));
                // NULL is found where the array has one, and unknown elsewhere.
                let null = lists.rows.row(item).as_ref() == lists.null.as_slice();
                (found || !null).then_some(found)
            })
        },
    ),
    ScalarDef::new("ARRAY_OFFSET_OF", "array_offset_of", ITEM, returns::integer, |args| {
        index_of(args, 0)
    }),
    ScalarDef::new("ARRAY_ORDINAL_OF", "array_ordinal_of", ITEM, returns::integer, |args| {
        index_of(args, 1)
    }),
    ScalarDef::new("ARRAY_APPEND", "array_append", ITEM, returns_first, |args| {
        joined(args, &[0, 1])
    }),
    ScalarDef::new(
        "ARRAY_PREPEND",
        "array_prepend",
        &[Param::Any, Param::Arr],
        returns_second,
        |args| joined(args, &[0, 1]),
    ),
    ScalarDef::new("ARRAY_CONCAT", "array_concat", TWO, returns_first, |args| {
        joined(args, &[0, 1])
    }),
    ScalarDef::new(
        "ARRAY_SLICE",
        "array_slice",
        &[Param::Arr, Param::Int, Param::Int],
        returns_first,
        slice,
    )
    .min(2),
    ScalarDef::new(
        "ARRAY_TO_STRING",
        "array_to_string",
        &[Param::Arr, Param::Str],
        returns::varchar,
        |args| {
            let list = args.list(0)?;
            let separator = args.text(1)?;
            // Times are what they are inside, numbers.
            let numbers;
            let values = match list.values().data_type() {
                DataType::Timestamp(..) => {
                    numbers = arrow::compute::cast(list.values(), &DataType::Int64)?;
                    &numbers
                }
                _ => list.values(),
            };
            let words = super::cast::word(values)?;
            text_result(args.rows(), |row| {
                let separator = separator.get(row).unwrap_or_default();
                if list.is_null(row) {
                    return None;
                }
                let (start, end) = range(&list, row);
                joined_words(&words, start, end, separator)
            })
        },
    ),
    // The text of STRING_AGG: nothing gives NULL.
    ScalarDef::new("", "joined_text", &[Param::Arr, Param::Str], returns::varchar, |args| {
        let list = args.list(0)?;
        let separator = args.text(1)?;
        let words = super::args::strings(list.values())?;
        text_result(args.rows(), |row| {
            if list.is_null(row) || list.value_length(row) == 0 {
                return None;
            }
            let (start, end) = range(&list, row);
            let parts: Vec<&str> = (start..end)
                .filter(|i| words.is_valid(*i))
                .map(|i| words.value(i))
                .collect();
            Some(parts.join(separator.get(row).unwrap_or_default()))
        })
    }),
    ScalarDef::new(
        "STRING_TO_ARRAY",
        "string_to_array",
        &[Param::Str, Param::Str],
        returns::text_array,
        split,
    ),
    ScalarDef::new(
        "ARRAY_QUANTILE",
        "array_quantile",
        &[Param::Array, Param::Double],
        returns::double,
        quantiles,
    ),
];

/// NULL where the first is NULL; a second that is NULL overlaps nothing.
fn overlap(args: &Args) -> Result<ArrayRef> {
    let (items, lists) = encoded(args, 0, 1)?;
    boolean_result(args.rows(), |row| {
        let list = lists.range(row)?;
        let mut items = items.range(row).unwrap_or(0..0);
        Some(items.any(|item| list.clone().any(|i| lists.rows.row(i) == lists.rows.row(item))))
    })
}

/// Interpolated quantiles: NaN of nothing and beyond [0, 1], NULL of what is no array of numbers.
fn quantiles(args: &Args) -> Result<ArrayRef> {
    let list = args.list(0)?;
    let rank = args.double(1)?;
    if !list.values().data_type().is_numeric() {
        return Ok(new_null_array(&DataType::Float64, args.rows()));
    }
    let values = arrow::compute::cast(list.values(), &DataType::Float64)?;
    let values = arrow::array::AsArray::as_primitive::<arrow::datatypes::Float64Type>(&values).clone();
    super::args::double_result(args.rows(), |row| {
        if list.is_null(row) {
            return None;
        }
        let rank = rank.get(row)?;
        let (start, end) = range(&list, row);
        let mut items: Vec<f64> = (start..end)
            .filter(|i| values.is_valid(*i))
            .map(|i| values.value(i))
            .collect();
        if items.is_empty() || !(0.0..=1.0).contains(&rank) {
            return Some(f64::NAN);
        }
        items.sort_by(f64::total_cmp);
        let at = rank * (items.len() - 1) as f64;
        let (low, high) = (at.floor() as usize, at.ceil() as usize);
        let (a, b) = (*items.get(low)?, *items.get(high)?);
        Some(a + (b - a) * (at - at.floor()))
    })
}

fn array_type(types: &[SqlType]) -> SqlType {
    SqlType::Array(Box::new(types.first().cloned().unwrap_or(SqlType::Varchar)))
}

fn element_type(types: &[SqlType]) -> SqlType {
    match types.first() {
        Some(SqlType::Array(element)) => element.as_ref().clone(),
        _ => SqlType::Varchar,
    }
}

fn as_array(ty: Option<&SqlType>) -> SqlType {
    match ty {
        Some(SqlType::Array(element)) => SqlType::Array(element.clone()),
        Some(SqlType::MultiVarchar) | None => SqlType::Array(Box::new(SqlType::Varchar)),
        Some(other) => SqlType::Array(Box::new(other.clone())),
    }
}

fn returns_first(types: &[SqlType]) -> SqlType {
    as_array(types.first())
}

fn returns_second(types: &[SqlType]) -> SqlType {
    as_array(types.get(1))
}

/// Gives the span of a row's elements.
/// Joins the words of a list; the list of nothing but one NULL is NULL.
pub(super) fn joined_words(words: &StringArray, start: usize, end: usize, separator: &str) -> Option<String> {
    if end == start + 1 && words.is_null(start) {
        return None;
    }
    let parts: Vec<&str> = (start..end)
        .map(|i| if words.is_null(i) { "null" } else { words.value(i) })
        .collect();
    Some(parts.join(separator))
}

/// Gives where the elements of a row begin, and their end.
pub(super) fn range(list: &ListArray, row: usize) -> (usize, usize) {
    let offsets = list.value_offsets();
    (offsets[row] as usize, offsets[row + 1] as usize)
}

/// Builds lists out of the elements at the given indices of one column.
pub(super) fn lists(values: &ArrayRef, rows: Vec<Option<Vec<Option<u32>>>>) -> Result<ArrayRef> {
    let mut offsets = vec![0i32];
    let mut valid = Vec::with_capacity(rows.len());
    let mut index: Vec<Option<u32>> = Vec::new();
    for row in rows {
        valid.push(row.is_some());
        index.extend(row.unwrap_or_default());
        offsets.push(i32::try_from(index.len()).map_err(|_| DataFusionError::Execution("lists are too long".into()))?);
    }
    let index = UInt32Array::from(index);
    let taken = take(values, &index, None)?;
    Ok(Arc::new(ListArray::try_new(
        Arc::new(Field::new_list_field(taken.data_type().clone(), true)),
        OffsetBuffer::new(offsets.into()),
        taken,
        Some(NullBuffer::from(valid)),
    )?))
}

fn make(args: &Args) -> Result<ArrayRef> {
    let columns = (0..args.len()).map(|i| args.array(i)).collect::<Result<Vec<_>>>()?;
    let parts: Vec<&dyn Array> = columns.iter().map(|c| c.as_ref()).collect();
    let values = concat(&parts)?;
    let rows = args.rows();
    lists(
        &values,
        (0..rows)
            .map(|row| Some((0..columns.len()).map(|i| Some((i * rows + row) as u32)).collect()))
            .collect(),
    )
}

fn element(args: &Args, base: i64) -> Result<ArrayRef> {
    let list = args.list(0)?;
    let index = args.long(1)?;
    // NULL is 0 to Java's `asInt`.
    let at: UInt32Array = (0..args.rows())
        .map(|row| place(&list, row, index.get(row).unwrap_or(0), base).map(|at| at as u32))
        .collect();
    Ok(take(list.values(), &at, None)?)
}

/// Finds where the element of a row lies among all values, counted from `base`; none outside the list.
pub(super) fn place(list: &ListArray, row: usize, index: i64, base: i64) -> Option<usize> {
    let index = usize::try_from(index.checked_sub(base)?).ok()?;
    let (start, end) = range(list, row);
    (list.is_valid(row) && index < end - start).then_some(start + index)
}

/// Counts the elements of a list.
pub(super) fn length(args: &Args) -> Result<ArrayRef> {
    let list = args.list(0)?;
    long_result(args.rows(), |row| {
        list.is_valid(row).then(|| i64::from(list.value_length(row)))
    })
}

/// Elements of two arguments in one comparable encoding.
struct Encoded {
    rows: Arc<Rows>,
    null: Vec<u8>,
    ranges: Vec<Option<(usize, usize)>>,
}

impl Encoded {
    fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        self.ranges[row].map(|(start, end)| start..end)
    }
}

/// Encodes the list at `list` and the list or scalar at `other`; gives `other` first.
fn encoded(args: &Args, list: usize, other: usize) -> Result<(Encoded, Encoded)> {
    let rows = args.rows();
    let list = args.list(list)?;
    let other_array = args.array(other)?;
    let (other_values, other_ranges): (ArrayRef, Vec<Option<(usize, usize)>>) = match other_array.data_type() {
        DataType::List(_) => {
            let other = args.list(other)?;
            let ranges = (0..rows)
                .map(|row| other.is_valid(row).then(|| range(&other, row)))
                .collect();
            (Arc::clone(other.values()), ranges)
        }
        _ => (other_array, (0..rows).map(|row| Some((row, row + 1))).collect()),
    };
    let target = if other_values.data_type() == list.values().data_type() {
        other_values.data_type().clone()
    } else if list.values().data_type().is_numeric() && other_values.data_type().is_numeric() {
        DataType::Float64
    } else {
        DataType::Utf8
    };
    let cast = |array: &ArrayRef| -> Result<ArrayRef> {
        if target == DataType::Utf8 {
            return Ok(Arc::new(super::cast::word(array)?));
        }
        Ok(arrow::compute::cast(array, &target)?)
    };
    let (a, b) = (cast(list.values())?, cast(&other_values)?);
    let both = concat(&[a.as_ref(), b.as_ref(), new_null_array(&target, 1).as_ref()])?;
    let converter = RowConverter::new(vec![SortField::new(target)])?;
    let encoded = Arc::new(converter.convert_columns(&[make_array(both.to_data())])?);
    let null = encoded.row(encoded.num_rows() - 1).as_ref().to_vec();
    let shift = a.len();
    let list_ranges = (0..rows)
        .map(|row| list.is_valid(row).then(|| range(&list, row)))
        .collect();
    let other_ranges = other_ranges
        .into_iter()
        .map(|range| range.map(|(start, end)| (start + shift, end + shift)))
        .collect();
    Ok((
        Encoded {
            rows: Arc::clone(&encoded),
            null: null.clone(),
            ranges: other_ranges,
        },
        Encoded {
            rows: encoded,
            null,
            ranges: list_ranges,
        },
    ))
}

/// `all`: every item of the second is in the first; otherwise any.
pub(super) fn contains(args: &Args, all: bool) -> Result<ArrayRef> {
    let (items, lists) = encoded(args, 0, 1)?;
    boolean_result(args.rows(), |row| {
        let list = lists.range(row)?;
        let mut items = items.range(row)?;
        let has = |item: usize| list.clone().any(|i| lists.rows.row(i) == lists.rows.row(item));
        Some(if all { items.all(has) } else { items.any(has) })
    })
}

pub(super) fn index_of(args: &Args, base: i64) -> Result<ArrayRef> {
    let (items, lists) = encoded(args, 0, 1)?;
    long_result(args.rows(), |row| {
        let list = lists.range(row)?;
        let item = items.range(row)?.next()?;
        let start = list.start;
        // A missing element gives NULL in the offset form and in the ordinal form alike.
        list.into_iter()
            .find(|i| lists.rows.row(*i) == lists.rows.row(item))
            .map(|i| (i - start) as i64 + base)
    })
}

/// Puts the elements of the arguments behind each other.
pub(super) fn joined(args: &Args, order: &[usize]) -> Result<ArrayRef> {
    let rows = args.rows();
    let mut parts: Vec<ArrayRef> = Vec::new();
    let mut ranges: Vec<Vec<Option<(usize, usize)>>> = Vec::new();
    let mut shift = 0;
    let mut target: Option<DataType> = None;
    for i in order {
        let array = args.array(*i)?;
        let (values, spans): (ArrayRef, Vec<Option<(usize, usize)>>) = match array.data_type() {
            DataType::List(_) => {
                let list = args.list(*i)?;
                let spans = (0..rows)
                    .map(|row| list.is_valid(row).then(|| range(&list, row)))
                    .collect();
                target.get_or_insert(list.values().data_type().clone());
                (Arc::clone(list.values()), spans)
            }
            _ => (array, (0..rows).map(|row| Some((row, row + 1))).collect()),
        };
        ranges.push(
            spans
                .into_iter()
                .map(|span: Option<(usize, usize)>| span.map(|(a, b)| (a + shift, b + shift)))
                .collect(),
        );
        shift += values.len();
        parts.push(values);
    }
    let target = target.unwrap_or(DataType::Utf8);
    let parts = parts
        .iter()
        .map(|part| {
            if target == DataType::Utf8 {
                Ok(Arc::new(super::cast::word(part)?) as ArrayRef)
            } else {
                Ok(arrow::compute::cast(part, &target)?)
            }
        })
        .collect::<Result<Vec<_>>>()?;
    let refs: Vec<&dyn Array> = parts.iter().map(|p| p.as_ref()).collect();
    let values = concat(&refs)?;
    lists(
        &values,
        (0..rows)
            .map(|row| {
                let mut all = Vec::new();
                for spans in &ranges {
                    let (start, end) = spans[row]?;
                    all.extend((start..end).map(|i| Some(i as u32)));
                }
                Some(all)
            })
            .collect(),
    )
}

pub(super) fn slice(args: &Args) -> Result<ArrayRef> {
    let list = args.list(0)?;
    let (from, to) = (args.long(1)?, args.long(2)?);
    let open = args.len() < 3;
    lists(
        list.values(),
        (0..args.rows())
            .map(|row| {
                if list.is_null(row) {
                    return None;
                }
                let (start, end) = range(&list, row);
                let length = end - start;
                let from = usize::try_from(from.get(row)?).ok()?;
                let to = if open {
                    length
                } else {
                    usize::try_from(to.get(row)?).ok()?
                };
                if from > to || from > length {
                    return None;
                }
                Some(
                    (from..to.min(from + 1_000_000))
                        .map(|i| (i < length).then_some((start + i) as u32))
                        .collect(),
                )
            })
            .collect(),
    )
}

/// Splits by a regular expression, as Java does; an empty separator, or none, splits into characters.
pub(super) fn split(args: &Args) -> Result<ArrayRef> {
    let (text, separator) = (args.text(0)?, args.text(1)?);
    let mut builder = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    for row in 0..args.rows() {
        let Some(text) = text.get(row) else {
            builder.append_null();
            continue;
        };
        match separator.get(row) {
            None | Some("") if text.is_empty() => builder.values().append_value(""),
            None | Some("") => {
                for c in text.chars() {
                    builder.values().append_value(c.to_string());
                }
            }
            Some(separator) => {
                let pattern =
                    Pattern::of(separator).map_err(|_| super::string::unknown_exception(args, "string_to_array"))?;
                for part in pattern.split(text)? {
                    builder.values().append_value(part);
                }
            }
        }
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}
