//! `COMPLEX<json>`: parsing, paths, building, merging (`NestedDataExpressions`).
//!
//! A JSON value travels as its text (`Utf8`) with the SQL type beside it; the binder hands every other type through
//! [`json_of`] first, so that a kernel's JSON arguments are always JSON text. JSON `null` is NULL.

mod java;
mod path;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Builder, Int64Builder, ListBuilder, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use serde_json::Value;

use super::args::{Args, Texts, double_result, long_result, text_result, try_text_result};
use super::failure::Failure;
use super::scalar::{Param, ScalarDef, returns};
use crate::{SqlError, SqlType};
use path::Step;

const JSON_AND_PATH: &[Param] = &[Param::Json, Param::Str];

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new("PARSE_JSON", "parse_json", &[Param::Text], returns::json, |args| {
        let text = args.text(0)?;
        try_text_result(args.rows(), |row| match text.get(row) {
            None => Ok(None),
            Some(text) => match read(text) {
                Ok(value) => Ok(printed(&value)),
                Err(_) => Err(Failure::BadValue.of(args, format!("Function[parse_json] bad string input [{text}]"))),
            },
        })
    }),
    ScalarDef::new(
        "TRY_PARSE_JSON",
        "try_parse_json",
        &[Param::Text],
        returns::json,
        |args| {
            let text = args.text(0)?;
            text_result(args.rows(), |row| {
                read(text.get(row)?).ok().and_then(|value| printed(&value))
            })
        },
    ),
    ScalarDef::new(
        "TO_JSON_STRING",
        "to_json_string",
        &[Param::Json],
        returns::varchar,
        |args| args.array(0),
    ),
    ScalarDef::new("JSON_OBJECT", "json_object", &[Param::Any], returns::json, object)
        .min(0)
        .variadic(),
    ScalarDef::new("JSON_MERGE", "json_merge", &[Param::JsonText], returns::json, merge)
        .min(2)
        .variadic(),
    ScalarDef::new("JSON_QUERY", "json_query", JSON_AND_PATH, returns::json, |args| {
        let values = Values::new(args)?;
        text_result(args.rows(), |row| values.at(row, printed))
    }),
    ScalarDef::new(
        "JSON_QUERY_ARRAY",
        "json_query_array",
        JSON_AND_PATH,
        |_| SqlType::Array(Box::new(SqlType::Complex("json".into()))),
        |args| {
            let values = Values::new(args)?;
            let mut builder = ListBuilder::new(StringBuilder::new());
            for row in 0..args.rows() {
                let items = values.at(row, |found| match typed(found) {
                    Value::Array(items) => Some(items.iter().map(printed).collect::<Vec<_>>()),
                    Value::Null | Value::Object(_) => None,
                    other => Some(vec![printed(&other)]),
                });
                append(&mut builder, items, |builder, item| builder.append_option(item));
            }
            Ok(Arc::new(builder.finish()))
        },
    ),
    ScalarDef::new("JSON_KEYS", "json_keys", JSON_AND_PATH, returns::text_array, |args| {
        let values = Values::new(args)?;
        let mut builder = ListBuilder::new(StringBuilder::new());
        for row in 0..args.rows() {
            append(&mut builder, values.at(row, path::keys), |builder, key| {
                builder.append_value(key)
            });
        }
        Ok(Arc::new(builder.finish()))
    }),
    ScalarDef::new(
        "JSON_PATHS",
        "json_paths",
        &[Param::Json],
        returns::text_array,
        |args| {
            let text = args.text(0)?;
            let mut builder = ListBuilder::new(StringBuilder::new());
            for row in 0..args.rows() {
                let paths = path::literal_paths(&text.get(row).and_then(|text| read(text).ok()).unwrap_or(Value::Null));
                append(&mut builder, Some(paths), |builder, path| builder.append_value(path));
            }
            Ok(Arc::new(builder.finish()))
        },
    ),
    ScalarDef::new(
        "JSON_VALUE_VARCHAR",
        "json_value",
        JSON_AND_PATH,
        returns::varchar,
        |args| {
            let values = Values::new(args)?;
            text_result(args.rows(), |row| values.at(row, |found| text_of(single(found)?)))
        },
    )
    .aliases(&["JSON_VALUE_ANY"]),
    ScalarDef::new(
        "JSON_VALUE_BIGINT",
        "json_value_long",
        JSON_AND_PATH,
        returns::bigint,
        |args| {
            let values = Values::new(args)?;
            long_result(args.rows(), |row| values.at(row, |found| long_of(single(found)?)))
        },
    ),
    ScalarDef::new(
        "JSON_VALUE_DOUBLE",
        "json_value_double",
        JSON_AND_PATH,
        returns::double,
        |args| {
            let values = Values::new(args)?;
            double_result(args.rows(), |row| values.at(row, |found| double_of(single(found)?)))
        },
    ),
    ScalarDef::new(
        "JSON_VALUE_ARRAY_VARCHAR",
        "json_value_string_array",
        JSON_AND_PATH,
        returns::text_array,
        |args| {
            let values = Values::new(args)?;
            let mut builder = ListBuilder::new(StringBuilder::new());
            for row in 0..args.rows() {
                let items = values.at(row, |found| elements(found, text_of));
                append(&mut builder, items, |builder, item| builder.append_option(item));
            }
            Ok(Arc::new(builder.finish()))
        },
    ),
    ScalarDef::new(
        "JSON_VALUE_ARRAY_BIGINT",
        "json_value_long_array",
        JSON_AND_PATH,
        |_| SqlType::Array(Box::new(SqlType::BigInt)),
        |args| {
            let values = Values::new(args)?;
            let mut builder = ListBuilder::new(Int64Builder::new());
            for row in 0..args.rows() {
                let items = values.at(row, |found| elements(found, long_of));
                append(&mut builder, items, |builder, item| builder.append_option(item));
            }
            Ok(Arc::new(builder.finish()))
        },
    ),
    ScalarDef::new(
        "JSON_VALUE_ARRAY_DOUBLE",
        "json_value_double_array",
        JSON_AND_PATH,
        |_| SqlType::Array(Box::new(SqlType::Double)),
        |args| {
            let values = Values::new(args)?;
            let mut builder = ListBuilder::new(Float64Builder::new());
            for row in 0..args.rows() {
                let items = values.at(row, |found| elements(found, double_of));
                append(&mut builder, items, |builder, item| builder.append_option(item));
            }
            Ok(Arc::new(builder.finish()))
        },
    ),
    ScalarDef::new("", "json_of", &[Param::Any], returns::json, |args| {
        let values = json_of(&args.array(0)?)?;
        text_result(args.rows(), |row| values[row].as_ref().and_then(printed))
    }),
    // An array whose elements are JSON text already.
    ScalarDef::new("", "json_of_array", &[Param::Any], returns::json, |args| {
        let list = args.list(0)?;
        let words = super::args::strings(list.values())?;
        text_result(args.rows(), |row| {
            list.is_valid(row).then(|| {
                let (start, end) = super::array::range(&list, row);
                let items: Vec<&str> = (start..end)
                    .map(|i| if words.is_null(i) { "null" } else { words.value(i) })
                    .collect();
                format!("[{}]", items.join(","))
            })
        })
    }),
];

/// Gives the function that `JSON_VALUE(… RETURNING type)` is.
pub(crate) fn value_function(ty: &SqlType) -> &'static str {
    match ty {
        SqlType::Boolean => "JSON_VALUE_BIGINT",
        ty if ty.is_integer() => "JSON_VALUE_BIGINT",
        ty if ty.is_fraction() => "JSON_VALUE_DOUBLE",
        SqlType::Array(element) if element.is_integer() || **element == SqlType::Boolean => "JSON_VALUE_ARRAY_BIGINT",
        SqlType::Array(element) if element.is_fraction() => "JSON_VALUE_ARRAY_DOUBLE",
        SqlType::Array(_) => "JSON_VALUE_ARRAY_VARCHAR",
        _ => "JSON_VALUE_VARCHAR",
    }
}

/// Checks a literal path; the error is Druid's text.
pub(crate) fn check_path(text: &str) -> std::result::Result<(), String> {
    path::parse(text).map(|_| ())
}

/// Reads the first value of a text; what stands behind it is ignored, as Jackson does.
fn read(text: &str) -> std::result::Result<Value, ()> {
    match serde_json::Deserializer::from_str(text).into_iter::<Value>().next() {
        Some(Ok(value)) => Ok(value),
        _ => Err(()),
    }
}

fn printed(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| java::print(value))
}

fn append<B: arrow::array::ArrayBuilder, T>(
    builder: &mut ListBuilder<B>,
    items: Option<Vec<T>>,
    push: impl Fn(&mut B, T),
) {
    let valid = items.is_some();
    for item in items.into_iter().flatten() {
        push(builder.values(), item);
    }
    builder.append(valid);
}

/// The first argument's values with the second argument's path; a path is compiled once a batch where it is a literal.
struct Values {
    text: Texts,
    paths: Texts,
    fixed: Option<Vec<Step>>,
    compiled: RefCell<HashMap<String, Vec<Step>>>,
}

impl Values {
    fn new(args: &Args) -> Result<Self> {
        let (text, paths) = (args.text(0)?, args.text(1)?);
        let literal = matches!(paths, Texts::Scalar(_));
        let compile = |path: &str| {
            path::parse(path).map_err(|message| {
                let error = SqlError::input(message);
                DataFusionError::External(Box::new(if literal { error } else { error.raised("") }))
            })
        };
        let mut compiled = HashMap::new();
        let fixed = match &paths {
            Texts::Scalar(Some(path)) => Some(compile(path)?),
            // No path is the path of the whole.
            Texts::Scalar(None) => Some(Vec::new()),
            Texts::Array(array) => {
                for path in array.iter().flatten() {
                    if !compiled.contains_key(path) {
                        compiled.insert(path.to_string(), compile(path)?);
                    }
                }
                None
            }
        };
        Ok(Values {
            text,
            paths,
            fixed,
            compiled: RefCell::new(compiled),
        })
    }

    /// Hands the value at the row's path to a closure; NULL where there is none.
    fn at<T>(&self, row: usize, of: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = read(self.text.get(row)?).ok()?;
        match &self.fixed {
            Some(steps) => of(path::find(&value, steps)?),
            None => {
                let compiled = self.compiled.borrow();
                of(path::find(&value, compiled.get(self.paths.get(row)?)?)?)
            }
        }
    }
}

/// Gives the scalar that a value is; an array of one scalar counts as it.
fn single(value: &Value) -> Option<&Value> {
    match value {
        Value::Object(_) => None,
        Value::Array(items) => match items.as_slice() {
            [one] if !one.is_array() && !one.is_object() => Some(one),
            _ => None,
        },
        other => Some(other),
    }
}

/// Gives the elements of an array of scalars; a scalar is an array of one.
fn elements<T>(value: &Value, of: impl Fn(&Value) -> Option<T>) -> Option<Vec<Option<T>>> {
    match value {
        Value::Object(_) => None,
        Value::Array(items) if items.iter().any(|item| item.is_array() || item.is_object()) => None,
        Value::Array(_) => match typed(value) {
            Value::Array(items) => Some(items.iter().map(of).collect()),
            _ => None,
        },
        other => Some(vec![of(other)]),
    }
}

/// What the scalars of an array have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Common {
    Nothing,
    Long,
    Double,
    Text,
}

/// Gives the common type of all scalars in an array, and how deep arrays are nested; `None` where there is an object.
fn common(value: &Value) -> Option<(Common, usize)> {
    Some(match value {
        Value::Null => (Common::Nothing, 0),
        Value::Bool(_) => (Common::Long, 0),
        Value::Number(number) if number.is_i64() || number.is_u64() => (Common::Long, 0),
        Value::Number(_) => (Common::Double, 0),
        Value::String(_) => (Common::Text, 0),
        Value::Object(_) => return None,
        // An array of nothing is an array of text.
        Value::Array(items) if items.is_empty() => (Common::Text, 1),
        Value::Array(items) => {
            let mut all = (Common::Nothing, 0);
            for item in items {
                let (of, depth) = common(item)?;
                all = (all.0.max(of), all.1.max(depth));
            }
            (all.0, all.1 + 1)
        }
    })
}

/// Gives a value as expressions know it (`ExprEval.bestEffortOf`): booleans are 1 and 0, an array's elements have one type and
/// are nested equally deep. What holds an object stays as it is.
fn typed(value: &Value) -> Value {
    fn cast(value: &Value, to: Common, depth: usize) -> Value {
        match value {
            Value::Null => Value::Null,
            Value::Array(items) => items
                .iter()
                .map(|item| cast(item, to, depth.saturating_sub(1)))
                .collect(),
            other if depth > 0 => Value::Array(vec![cast(other, to, depth - 1)]),
            other => match to {
                Common::Text => match other {
                    Value::Bool(flag) => Value::from(flag.to_string()),
                    other => java::scalar(other).map_or(Value::Null, Value::from),
                },
                Common::Double => double_of(other).map_or(Value::Null, Value::from),
                _ => long_of(other).map_or(Value::Null, Value::from),
            },
        }
    }
    match common(value) {
        Some((to, depth)) => cast(value, to, depth),
        None => value.clone(),
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        // A boolean is a LONG to expressions.
        Value::Bool(flag) => Some(i64::from(*flag).to_string()),
        // A whole number beyond 64 bits is cut to them.
        Value::Number(number) if number.is_u64() && !number.is_i64() => long_of(value).map(|long| long.to_string()),
        other => java::scalar(other),
    }
}

fn long_of(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(flag) => Some(i64::from(*flag)),
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_u64().map(|long| long as i64))
            .or_else(|| number.as_f64().map(|double| double as i64)),
        Value::String(text) => super::cast::read_long(text),
        _ => None,
    }
}

fn double_of(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => super::cast::read_double(text),
        _ => None,
    }
}

/// Gives a column's values as JSON: booleans are 1 and 0, points in time their milliseconds.
fn json_of(array: &ArrayRef) -> Result<Vec<Option<Value>>> {
    let rows = array.len();
    let values = [datafusion::logical_expr::ColumnarValue::Array(Arc::clone(array))];
    let args = Args::new(&values, rows);
    Ok(match array.data_type() {
        DataType::Int64 | DataType::Boolean | DataType::Timestamp(..) => {
            let x = args.long(0)?;
            (0..rows).map(|row| x.get(row).map(Value::from)).collect()
        }
        DataType::Float64 | DataType::Float32 => {
            let x = args.double(0)?;
            let of = |x: f64| match serde_json::Number::from_f64(x) {
                Some(number) => Value::Number(number),
                None => Value::from(henge_number::f64_text(x)),
            };
            (0..rows).map(|row| x.get(row).map(of)).collect()
        }
        DataType::List(_) => {
            let list = args.list(0)?;
            let items = json_of(list.values())?;
            (0..rows)
                .map(|row| {
                    list.is_valid(row).then(|| {
                        let (start, end) = super::array::range(&list, row);
                        items[start..end]
                            .iter()
                            .map(|item| item.clone().unwrap_or(Value::Null))
                            .collect()
                    })
                })
                .collect()
        }
        _ => {
            let text = args.text(0)?;
            (0..rows).map(|row| text.get(row).map(Value::from)).collect()
        }
    })
}

/// Keys and values take turns; values are JSON text.
fn object(args: &Args) -> Result<ArrayRef> {
    let texts = (0..args.len()).map(|i| args.text(i)).collect::<Result<Vec<_>>>()?;
    text_result(args.rows(), |row| {
        let mut members: Vec<(String, Value)> = Vec::with_capacity(texts.len() / 2);
        for pair in texts.chunks(2) {
            let key = pair[0].get(row).unwrap_or_default().to_string();
            let value = pair
                .get(1)
                .and_then(|value| read(value.get(row)?).ok())
                .unwrap_or(Value::Null);
            match members.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => members.push((key, value)),
            }
        }
        let members = members
            .into_iter()
            .map(|(key, value)| (java::string_hash(&key), (key, value)));
        let map: serde_json::Map<String, Value> = java::in_hash_order(members.collect()).into_iter().collect();
        Some(java::print(&Value::Object(map)))
    })
}

/// Later members win; arrays are put behind each other. A NULL argument makes the whole NULL.
fn merge(args: &Args) -> Result<ArrayRef> {
    let texts = (0..args.len()).map(|i| args.text(i)).collect::<Result<Vec<_>>>()?;
    try_text_result(args.rows(), |row| {
        let mut merged: Option<Value> = None;
        for (i, text) in texts.iter().enumerate() {
            let Some(text) = text.get(row) else {
                return Ok(None);
            };
            let value = read(text)
                .ok()
                .filter(|value| value.is_object() || value.is_array() || value.is_null())
                .ok_or_else(|| Failure::BadValue.of(args, format!("Function[json_merge] bad string input [{text}]")))?;
            if value.is_null() {
                return Ok(None);
            }
            merged = Some(match (merged, value) {
                (None, value) => value,
                (Some(Value::Object(mut map)), Value::Object(more)) => {
                    map.extend(more);
                    Value::Object(map)
                }
                (Some(Value::Array(mut items)), Value::Array(more)) => {
                    items.extend(more);
                    Value::Array(items)
                }
                (Some(left), value) => {
                    let (wanted, got) = if left.is_object() {
                        ("object", "array")
                    } else {
                        ("array", "object")
                    };
                    return Err(Failure::BadValue.of(
                        args,
                        format!(
                            "Function[json_merge] bad input[{}] in position[{i}], expected {wanted} but got {got}",
                            java::print(&value)
                        ),
                    ));
                }
            });
        }
        Ok(merged.as_ref().and_then(printed))
    })
}
