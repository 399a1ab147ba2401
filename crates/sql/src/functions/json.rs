//! JSON as text: what loads and the engine's own statements use. Paths, building and merging complete the family later.

use arrow::array::ArrayRef;
use datafusion::common::{DataFusionError, Result};
use serde_json::Value;

use super::args::{Args, text_result, try_text_result};
use super::scalar::{Param, ScalarDef, returns};

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new("PARSE_JSON", "parse_json", &[Param::Str], returns::json, |args| {
        let text = args.text(0)?;
        try_text_result(args.rows(), |row| match text.get(row) {
            None => Ok(None),
            Some(text) => match serde_json::from_str::<Value>(text) {
                Ok(value) => Ok(Some(value.to_string())),
                Err(_) => Err(DataFusionError::External(Box::new(crate::SqlError::general(
                    crate::Persona::User,
                    crate::Category::RuntimeFailure,
                    format!("Function[parse_json] bad string input [{text}]"),
                )))),
            },
        })
    }),
    ScalarDef::new(
        "TRY_PARSE_JSON",
        "try_parse_json",
        &[Param::Str],
        returns::json,
        |args| {
            let text = args.text(0)?;
            text_result(args.rows(), |row| {
                serde_json::from_str::<Value>(text.get(row)?)
                    .ok()
                    .map(|v| v.to_string())
            })
        },
    ),
    ScalarDef::new(
        "TO_JSON_STRING",
        "to_json_string",
        &[Param::Any],
        returns::varchar,
        |args| {
            let values = json_values(args, 0)?;
            text_result(args.rows(), |row| values[row].as_ref().map(ToString::to_string))
        },
    ),
    ScalarDef::new("JSON_OBJECT", "json_object", &[Param::Any], returns::json, object)
        .min(0)
        .variadic(),
];

/// Gives an argument as JSON values; JSON text of a complex column is a value of its own.
fn json_values(args: &Args, index: usize) -> Result<Vec<Option<Value>>> {
    use arrow::datatypes::DataType as D;
    let rows = args.rows();
    Ok(match args.data_type(index) {
        D::Int64 => {
            let x = args.long(index)?;
            (0..rows).map(|row| x.get(row).map(Value::from)).collect()
        }
        D::Float64 | D::Float32 => {
            let x = args.double(index)?;
            (0..rows).map(|row| x.get(row).map(Value::from)).collect()
        }
        D::Boolean => {
            let x = args.boolean(index)?;
            x.iter().map(|b| b.map(Value::from)).collect()
        }
        D::List(_) => {
            let list = args.list(index)?;
            let words = super::cast::word(list.values())?;
            use arrow::array::Array;
            let numeric = list.values().data_type().is_numeric();
            (0..rows)
                .map(|row| {
                    list.is_valid(row).then(|| {
                        let (start, end) = super::array::range(&list, row);
                        (start..end)
                            .map(|i| match words.is_null(i) {
                                true => Value::Null,
                                false if numeric => {
                                    serde_json::from_str(words.value(i)).unwrap_or(Value::from(words.value(i)))
                                }
                                false => Value::from(words.value(i)),
                            })
                            .collect()
                    })
                })
                .collect()
        }
        _ => {
            let text = args.text(index)?;
            (0..rows).map(|row| text.get(row).map(Value::from)).collect()
        }
    })
}

fn object(args: &Args) -> Result<ArrayRef> {
    let keys = (0..args.len())
        .step_by(2)
        .map(|i| args.text(i))
        .collect::<Result<Vec<_>>>()?;
    let values = (1..args.len())
        .step_by(2)
        .map(|i| json_values(args, i))
        .collect::<Result<Vec<_>>>()?;
    text_result(args.rows(), |row| {
        let mut map = serde_json::Map::new();
        for (key, value) in keys.iter().zip(&values) {
            map.insert(key.get(row)?.to_string(), value[row].clone().unwrap_or(Value::Null));
        }
        Some(Value::Object(map).to_string())
    })
}
