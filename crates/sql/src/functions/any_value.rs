//! Predicates over multi-value strings, and over what is computed from each of their values.
//!
//! A row holds where any of its values does. It is unknown where none does and one of them is NULL, so that its negation
//! does not hold either; a row without values holds one NULL. That is what Druid's value matchers do.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Datum, ListArray, Scalar, UInt32Array};
use arrow::compute::kernels::cmp;
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::args::{Args, boolean_result, strings};
use super::array::range;
use super::scalar::{Param, ScalarDef, returns, too_many_combinations};
use crate::SqlType;
use crate::limits::MAX_COMBINATIONS;

const ONE: &[Param] = &[Param::Arr];

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    // Whether any value compares so (`=`, `<>`, `<`, …, `is`) to the other side's value, or to any of its values.
    ScalarDef::new(
        "",
        "mv_any",
        &[Param::Arr, Param::Str, Param::Any],
        returns::boolean,
        |args| {
            let list = args.list(0)?;
            let op = args.text(1)?;
            compared(args, &list, op.get(0).unwrap_or("="), 2)
        },
    ),
    // Whether any one value is within two bounds: list, operator, bound, operator, bound.
    ScalarDef::new(
        "",
        "mv_within",
        &[Param::Arr, Param::Str, Param::Any, Param::Str, Param::Any],
        returns::boolean,
        |args| {
            let list = args.list(0)?;
            let sides = [1, 3].map(|at| -> Result<BooleanArray> {
                let op = args.text(at)?;
                let values = plain(list.values())?;
                hits(
                    op.get(0).unwrap_or("="),
                    &values,
                    of_rows(args, &list, at + 1)?.as_ref(),
                )
            });
            let [low, high] = sides;
            let both = arrow::compute::and_kleene(&low?, &high?)?;
            reduced(&list, &both)
        },
    ),
    ScalarDef::new(
        "",
        "mv_like",
        &[Param::Arr, Param::Str, Param::Str],
        returns::boolean,
        |args| {
            let list = args.list(0)?;
            let words = strings(list.values())?;
            let (pattern, escape) = (args.text(1)?, args.text(2)?);
            let escape = escape.get(0).and_then(|e| e.chars().next());
            let mut hits = vec![None; words.len()];
            for row in 0..args.rows() {
                let Some(pattern) = pattern.get(row) else {
                    continue;
                };
                let regex = super::regexp::like_regex(pattern, escape, false)?;
                let (start, end) = range(&list, row);
                for (at, hit) in hits.iter_mut().enumerate().take(end).skip(start) {
                    *hit = words.is_valid(at).then(|| regex.is_match(words.value(at)));
                }
            }
            reduced(&list, &BooleanArray::from(hits))
        },
    ),
    ScalarDef::new("", "any_true", ONE, returns::boolean, |args| {
        let list = args.list(0)?;
        let values = cast(list.values(), &DataType::Boolean)?;
        reduced(&list, values.as_boolean())
    }),
    ScalarDef::new("", "mv_is_null", ONE, returns::boolean, |args| {
        let list = args.list(0)?;
        let values = list.values();
        boolean_result(args.rows(), |row| {
            let (start, end) = range(&list, row);
            Some(list.is_null(row) || start == end || (start..end).any(|i| values.is_null(i)))
        })
    }),
    // What grouping and aggregates see of numbers that were computed from each value: the only one, else NULL.
    ScalarDef::new("", "mv_one", ONE, element, |args| {
        let list = args.list(0)?;
        let places: UInt32Array = (0..args.rows())
            .map(|row| {
                let (start, end) = range(&list, row);
                (list.is_valid(row) && end == start + 1).then_some(start as u32)
            })
            .collect();
        Ok(take(list.values(), &places, None)?)
    }),
    // Numbers of each value do not go into a column of numbers of the result: list, the column's name and type.
    ScalarDef::new(
        "",
        "mv_no_number",
        &[Param::Arr, Param::Str, Param::Str],
        element,
        |args| {
            let list = args.list(0)?;
            if list.is_empty() {
                return Ok(arrow::array::new_empty_array(list.values().data_type()));
            }
            let (name, ty) = (args.text(1)?, args.text(2)?);
            Err(DataFusionError::External(Box::new(crate::SqlError::general(
                crate::Persona::User,
                crate::Category::InvalidInput,
                format!(
                    "Cannot coerce field [{}] from type [java.util.ArrayList] to type [{}]",
                    name.get(0).unwrap_or_default(),
                    ty.get(0).unwrap_or_default()
                ),
            ))))
        },
    ),
];

fn element(types: &[SqlType]) -> SqlType {
    match types.first() {
        Some(SqlType::Array(element)) => element.as_ref().clone(),
        _ => SqlType::Varchar,
    }
}

/// Unpacks dictionaries and views.
fn plain(values: &ArrayRef) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        DataType::Dictionary(..) | DataType::Utf8View | DataType::LargeUtf8 => Arc::new(strings(values)?),
        _ => Arc::clone(values),
    })
}

/// Compares values, element by element or with one.
fn hits(op: &str, values: &ArrayRef, other: &dyn Datum) -> Result<BooleanArray> {
    let (array, one) = other.get();
    let changed: Option<Box<dyn Datum>> = match array.data_type() == values.data_type() {
        true => None,
        false if one => Some(Box::new(Scalar::new(cast(array, values.data_type())?))),
        false => Some(Box::new(cast(array, values.data_type())?)),
    };
    let other = changed.as_deref().unwrap_or(other);
    Ok(match op {
        "<" => cmp::lt(values, other)?,
        "<=" => cmp::lt_eq(values, other)?,
        ">" => cmp::gt(values, other)?,
        ">=" => cmp::gt_eq(values, other)?,
        "<>" => cmp::neq(values, other)?,
        "is" => cmp::not_distinct(values, other)?,
        _ => cmp::eq(values, other)?,
    })
}

/// Gives an argument for every value of the lists: a literal as it is, a column repeated to the values of its row.
fn of_rows(args: &Args, list: &ListArray, at: usize) -> Result<Box<dyn Datum>> {
    if let Some(literal) = args.literal(at)? {
        return Ok(Box::new(Scalar::new(plain(&literal)?)));
    }
    let mut places = vec![None; list.values().len()];
    for row in 0..args.rows() {
        let (start, end) = range(list, row);
        places[start..end].fill(Some(row as u32));
    }
    let column = plain(&args.array(at)?)?;
    Ok(Box::new(take(&column, &UInt32Array::from(places), None)?))
}

/// Tells for every row whether any value compares so to the other argument, which may be a list too.
fn compared(args: &Args, list: &ListArray, op: &str, at: usize) -> Result<ArrayRef> {
    let values = plain(list.values())?;
    let several = matches!(args.data_type(at), DataType::List(_));
    if !several && op != "is" {
        let hits = hits(op, &values, of_rows(args, list, at)?.as_ref())?;
        return reduced(list, &hits);
    }
    // Every pair of a row; a row without values holds one NULL.
    let other = if several { Some(args.list(at)?) } else { None };
    let places = |list: &ListArray, row: usize| -> Vec<Option<u32>> {
        let (start, end) = range(list, row);
        match list.is_null(row) || start == end {
            true => vec![None],
            false => (start..end).map(|i| Some(i as u32)).collect(),
        }
    };
    let (mut left, mut right, mut ends) = (Vec::new(), Vec::new(), vec![0_usize]);
    for row in 0..args.rows() {
        let here = places(list, row);
        let there = match &other {
            Some(other) => places(other, row),
            None => vec![Some(row as u32)],
        };
        if here.len().saturating_mul(there.len()) > MAX_COMBINATIONS {
            return Err(too_many_combinations(&[here.len(), there.len()]));
        }
        for i in &here {
            left.extend(std::iter::repeat_n(*i, there.len()));
            right.extend_from_slice(&there);
        }
        ends.push(left.len());
    }
    let theirs = match &other {
        Some(other) => plain(other.values())?,
        None => plain(&args.array(at)?)?,
    };
    let left = take(&values, &UInt32Array::from(left), None)?;
    let right = take(&theirs, &UInt32Array::from(right), None)?;
    let hits = hits(op, &left, &right)?;
    boolean_result(args.rows(), |row| any(&hits, ends[row], ends[row + 1]))
}

/// Tells whether any of some values holds.
fn any(hits: &BooleanArray, start: usize, end: usize) -> Option<bool> {
    let mut unknown = false;
    for at in start..end {
        if hits.is_null(at) {
            unknown = true;
        } else if hits.value(at) {
            return Some(true);
        }
    }
    (!unknown).then_some(false)
}

fn reduced(list: &ListArray, hits: &BooleanArray) -> Result<ArrayRef> {
    boolean_result(list.len(), |row| {
        let (start, end) = range(list, row);
        match list.is_null(row) || start == end {
            true => None,
            false => any(hits, start, end),
        }
    })
}
