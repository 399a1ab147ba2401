//! Casts between text, numbers and booleans: what cannot be converted is NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;
use henge_number::{f32_text, f64_text};

use super::args::{Args, boolean_result, double_result, long_result};
use super::scalar::{Param, ScalarDef, returns};
use crate::SqlType;

/// The family; none has a SQL name.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new("", "cast_long", &[Param::Any], returns::bigint, |args| {
        match args.data_type(0) {
            DataType::Float64 | DataType::Float32 => {
                let x = args.double(0)?;
                // `as` saturates and maps NaN to 0, which is Java's rule.
                long_result(args.rows(), |row| x.get(row).map(|x| x as i64))
            }
            DataType::Int64 | DataType::Boolean => {
                let x = args.long(0)?;
                long_result(args.rows(), |row| x.get(row))
            }
            _ => {
                let text = args.text(0)?;
                long_result(args.rows(), |row| read_long(text.get(row)?))
            }
        }
    }),
    ScalarDef::new("", "cast_double", &[Param::Any], returns::double, |args| {
        match args.data_type(0) {
            DataType::Float64 | DataType::Float32 | DataType::Int64 => {
                let x = args.double(0)?;
                double_result(args.rows(), |row| x.get(row))
            }
            _ => {
                let text = args.text(0)?;
                double_result(args.rows(), |row| read_double(text.get(row)?))
            }
        }
    }),
    ScalarDef::new("", "cast_string", &[Param::Any], returns::varchar, |args| {
        Ok(Arc::new(worded(args)?))
    }),
    ScalarDef::new("", "cast_boolean", &[Param::Any], returns::boolean, |args| {
        let text = args.text(0)?;
        boolean_result(args.rows(), |row| is_true(text.get(row)?))
    }),
    ScalarDef::new(
        "",
        "cast_array_long",
        &[Param::Arr],
        |_| of(SqlType::BigInt),
        |args| elements(args, "cast_long"),
    ),
    ScalarDef::new(
        "",
        "cast_array_double",
        &[Param::Arr],
        |_| of(SqlType::Double),
        |args| elements(args, "cast_double"),
    ),
    ScalarDef::new(
        "",
        "cast_array_string",
        &[Param::Arr],
        |_| of(SqlType::Varchar),
        |args| elements(args, "cast_string"),
    ),
];

/// Tells whether text says that something is true: by word, or by a whole number above zero.
pub(crate) fn is_true(text: &str) -> Option<bool> {
    Some(read_long(text)? > 0)
}

fn of(element: SqlType) -> SqlType {
    SqlType::Array(Box::new(element))
}

/// Casts every element of a list.
fn elements(args: &Args, native: &str) -> Result<ArrayRef> {
    let list = args.list(0)?;
    let values = [ColumnarValue::Array(Arc::clone(list.values()))];
    let inner = Args::new(&values, list.values().len());
    let kernel = FUNCTIONS.iter().find(|def| def.native == native).map(|def| def.kernel);
    let cast = match kernel {
        Some(kernel) => kernel(&inner)?,
        None => Arc::clone(list.values()),
    };
    Ok(Arc::new(ListArray::try_new(
        Arc::new(Field::new_list_field(cast.data_type().clone(), true)),
        list.offsets().clone(),
        cast,
        list.nulls().cloned(),
    )?))
}

/// Words any scalar column as text.
pub(super) fn worded(args: &Args) -> Result<arrow::array::StringArray> {
    let array = args.array(0)?;
    word(&array)
}

/// Words any scalar array as text, as Java would.
pub(super) fn word(array: &ArrayRef) -> Result<arrow::array::StringArray> {
    Ok(match array.data_type() {
        DataType::Float64 => {
            let x = array.as_primitive::<Float64Type>();
            x.iter().map(|x| x.map(f64_text)).collect()
        }
        DataType::Float32 => {
            let x: &Float32Array = array.as_primitive::<Float32Type>();
            x.iter().map(|x| x.map(f32_text)).collect()
        }
        DataType::Boolean => array
            .as_boolean()
            .iter()
            .map(|b| b.map(|b| if b { "true" } else { "false" }))
            .collect(),
        _ => super::args::strings(array)?,
    })
}

/// Reads a whole number; fractions and exponents go through a double and are cut, `true` and `false` are 1 and 0.
pub(super) fn read_long(text: &str) -> Option<i64> {
    let body = text.strip_prefix('+').unwrap_or(text);
    if let Ok(long) = body.parse::<i64>() {
        return Some(long);
    }
    // Infinities are the ends of LONG, and NaN is 0.
    read_double(text).map(|x| x as i64)
}

/// Reads a fraction in Java's notation, `true` as 1 and `false` as 0: no blanks, no underscores, no hexadecimal.
pub(super) fn read_double(text: &str) -> Option<f64> {
    match text {
        "NaN" | "+NaN" | "-NaN" => return Some(f64::NAN),
        "Infinity" | "+Infinity" => return Some(f64::INFINITY),
        "-Infinity" => return Some(f64::NEG_INFINITY),
        _ if text.eq_ignore_ascii_case("true") => return Some(1.0),
        _ if text.eq_ignore_ascii_case("false") => return Some(0.0),
        _ => {}
    }
    let starts = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if !starts || text.to_ascii_lowercase().contains(['i', 'n']) {
        return None;
    }
    // Java lets a number say that it is a double or a float.
    let body = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    body.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_like_java() {
        for (x, text) in [
            (1571.0, "1571.0"),
            (1e10, "1.0E10"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-5, "1.0E-5"),
            (0.0, "0.0"),
            (123456789.5, "1.234567895E8"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(f64_text(x), text);
        }
        for (text, long) in [
            ("12.7", Some(12)),
            ("1e3", Some(1000)),
            ("+5", Some(5)),
            (" 5", None),
            ("1_000", None),
            ("0x10", None),
            ("foo", None),
            ("True", Some(1)),
            ("FALSE", Some(0)),
            ("t", None),
        ] {
            assert_eq!(read_long(text), long, "{text}");
        }
    }
}
