//! Rows of a SELECT task as its report shows them (spec `msq-engine` section 11): times and days are numbers, arrays and objects
//! are JSON text, a multi-value string with one value is that value.

use chrono_tz::Tz;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use henge_sql::{OutputColumn, QueryContext, SqlType};
use serde_json::{Number, Value};

use crate::fault::Fault;

const DAY_MS: i64 = 86_400_000;

/// How values are shown.
#[derive(Debug, Clone, Copy)]
pub struct ResultFormat {
    zone: Tz,
    stringify_arrays: bool,
}

impl ResultFormat {
    /// Reads `sqlTimeZone` (an unknown zone is UTC, as in Druid) and `sqlStringifyArrays`.
    pub fn read(context: &QueryContext) -> Self {
        let zone = context.string("sqlTimeZone").ok().flatten();
        Self {
            zone: zone.and_then(|name| name.parse().ok()).unwrap_or(Tz::UTC),
            stringify_arrays: context.boolean("sqlStringifyArrays").ok().flatten().unwrap_or(true),
        }
    }

    /// Renders the rows of a batch. The columns are those of the statement, by position; what lies behind them is hidden.
    pub fn rows(&self, batch: &RecordBatch, columns: &[OutputColumn]) -> Result<Vec<Vec<Value>>, Fault> {
        let mut plain: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for column in batch.columns().iter().take(columns.len()) {
            plain.push(match column.data_type() {
                DataType::Dictionary(_, values) => cast(column, values)?,
                _ => column.clone(),
            });
        }
        (0..batch.num_rows())
            .map(|row| {
                plain
                    .iter()
                    .zip(columns)
                    .map(|(array, column)| self.cell(array, row, &column.sql_type))
                    .collect()
            })
            .collect()
    }

    fn cell(&self, array: &ArrayRef, row: usize, sql_type: &SqlType) -> Result<Value, Fault> {
        if array.is_null(row) {
            return Ok(Value::Null);
        }
        let value = match array.data_type() {
            DataType::Binary => {
                let bytes = array.as_binary::<i32>().value(row);
                Value::from(henge_sql::complex_text(&sql_type.native(), bytes))
            }
            _ => plain_value(array, row)?,
        };
        Ok(match (sql_type, value) {
            (SqlType::Timestamp, Value::Number(ms)) => Value::from(self.local_clock(ms.as_i64().unwrap_or_default())),
            (SqlType::Date, Value::Number(ms)) => Value::from(ms.as_i64().unwrap_or_default().div_euclid(DAY_MS)),
            (SqlType::MultiVarchar, Value::Array(mut values)) => match values.len() {
                0 => Value::Null,
                1 => values.swap_remove(0),
                _ => Value::String(Value::Array(values).to_string()),
            },
            (SqlType::Array(element), Value::Array(items)) if **element == SqlType::Complex("json".into()) => {
                let items: Vec<Value> = items.into_iter().map(json_of).collect();
                match self.stringify_arrays {
                    true => Value::String(Value::Array(items).to_string()),
                    false => Value::Array(items),
                }
            }
            (SqlType::Array(_), value @ Value::Array(_)) if self.stringify_arrays => Value::String(value.to_string()),
            (SqlType::Boolean, Value::Number(number)) => Value::Bool(number.as_i64() != Some(0)),
            (_, value) => value,
        })
    }

    /// Gives the milliseconds that a clock in the query's zone would show as if it were UTC's.
    fn local_clock(&self, ms: i64) -> i64 {
        use chrono::{Offset, TimeZone};
        match chrono::DateTime::from_timestamp_millis(ms) {
            Some(time) => {
                ms + i64::from(
                    self.zone
                        .offset_from_utc_datetime(&time.naive_utc())
                        .fix()
                        .local_minus_utc(),
                ) * 1000
            }
            None => ms,
        }
    }
}

/// Gives the JSON that a text of an array of JSON is.
fn json_of(item: Value) -> Value {
    match &item {
        Value::String(text) => serde_json::from_str(text).unwrap_or(item),
        _ => item,
    }
}

/// Gives a value without regard to its SQL type: times in milliseconds.
fn plain_value(array: &ArrayRef, row: usize) -> Result<Value, Fault> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int8 => Value::from(array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => Value::from(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => Value::from(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => Value::from(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => Value::from(array.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => Value::from(array.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => Value::from(array.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => Value::from(array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => single(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Value::from(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Value::from(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Value::from(array.as_string_view().value(row)),
        DataType::Binary => Value::from(henge_sql::complex_text("", array.as_binary::<i32>().value(row))),
        DataType::Date32 => Value::from(i64::from(array.as_primitive::<Date32Type>().value(row)) * DAY_MS),
        DataType::Timestamp(unit, _) => Value::from(match unit {
            TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row) * 1000,
            TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
            TimeUnit::Microsecond => array
                .as_primitive::<TimestampMicrosecondType>()
                .value(row)
                .div_euclid(1000),
            TimeUnit::Nanosecond => array
                .as_primitive::<TimestampNanosecondType>()
                .value(row)
                .div_euclid(1_000_000),
        }),
        DataType::List(_) => list(&array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row))?,
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => plain_value(&cast(array, &DataType::Float64)?, row)?,
        DataType::Dictionary(_, values) => plain_value(&cast(array, values)?, row)?,
        other => {
            return Err(Fault::not_supported(format!(
                "values of type {other} cannot be shown in a report"
            )));
        }
    })
}

fn list(values: &ArrayRef) -> Result<Value, Fault> {
    (0..values.len())
        .map(|row| plain_value(values, row))
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
}

fn double(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        // Java's names, as Jackson writes them.
        None if value.is_nan() => Value::from("NaN"),
        None => Value::from(if value > 0.0 { "Infinity" } else { "-Infinity" }),
    }
}

/// Shows a 32-bit float with its own shortest digits, not those of its 64-bit neighbour.
fn single(value: f32) -> Value {
    match value.to_string().parse::<f64>() {
        Ok(wide) if value.is_finite() => double(wide),
        _ => double(f64::from(value)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        BooleanArray, DictionaryArray, Float32Array, Float64Array, Int64Array, ListBuilder, StringBuilder,
        TimestampMillisecondArray,
    };
    use serde_json::json;

    use super::*;

    fn format(context: Value) -> ResultFormat {
        ResultFormat::read(&QueryContext::from(context.as_object().cloned().unwrap_or_default()))
    }

    fn one(format: ResultFormat, array: ArrayRef, sql_type: SqlType) -> Value {
        let column = OutputColumn {
            name: "x".into(),
            sql_type,
            nullable: true,
        };
        let batch = RecordBatch::try_from_iter([("x", array)]).expect("a batch");
        format.rows(&batch, &[column]).expect("rendered").remove(0).remove(0)
    }

    fn strings(values: &[&str]) -> ArrayRef {
        let mut list = ListBuilder::new(StringBuilder::new());
        values.iter().for_each(|value| list.values().append_value(value));
        list.append(true);
        Arc::new(list.finish())
    }

    #[test]
    fn shapes_are_those_of_reports() {
        let plain = format(json!({}));
        let array = SqlType::Array(Box::new(SqlType::Varchar));
        let table: Vec<(ArrayRef, SqlType, Value)> = vec![
            (
                Arc::new(TimestampMillisecondArray::from(vec![1_420_070_400_000])),
                SqlType::Timestamp,
                json!(1_420_070_400_000_i64),
            ),
            (
                Arc::new(TimestampMillisecondArray::from(vec![1_420_070_400_000])),
                SqlType::Date,
                json!(16436),
            ),
            (Arc::new(BooleanArray::from(vec![true])), SqlType::Boolean, json!(true)),
            (Arc::new(Int64Array::from(vec![0])), SqlType::Boolean, json!(false)),
            (Arc::new(Int64Array::from(vec![None])), SqlType::BigInt, Value::Null),
            (Arc::new(Float32Array::from(vec![0.1])), SqlType::Float, json!(0.1)),
            (
                Arc::new(Float64Array::from(vec![f64::NAN])),
                SqlType::Double,
                json!("NaN"),
            ),
            (
                Arc::new(Float64Array::from(vec![f64::NEG_INFINITY])),
                SqlType::Double,
                json!("-Infinity"),
            ),
            (strings(&["a", "b"]), array.clone(), json!("[\"a\",\"b\"]")),
            (strings(&[]), array.clone(), json!("[]")),
            (strings(&["a", "b"]), SqlType::MultiVarchar, json!("[\"a\",\"b\"]")),
            (strings(&["a"]), SqlType::MultiVarchar, json!("a")),
            (strings(&[]), SqlType::MultiVarchar, Value::Null),
            (
                Arc::new(
                    ["x"]
                        .into_iter()
                        .collect::<DictionaryArray<datafusion::arrow::datatypes::UInt32Type>>(),
                ),
                SqlType::Varchar,
                json!("x"),
            ),
        ];
        for (values, sql_type, shown) in table {
            assert_eq!(one(plain, values, sql_type.clone()), shown, "{sql_type}");
        }
        let lists = format(json!({"sqlStringifyArrays": false}));
        assert_eq!(one(lists, strings(&["a"]), array), json!(["a"]));
    }

    #[test]
    fn times_are_of_the_local_clock() {
        let tokyo = format(json!({"sqlTimeZone": "Asia/Tokyo"}));
        let time = || Arc::new(TimestampMillisecondArray::from(vec![0])) as ArrayRef;
        assert_eq!(one(tokyo, time(), SqlType::Timestamp), json!(9 * 3_600_000));
        let unknown = format(json!({"sqlTimeZone": "Nowhere/Land"}));
        assert_eq!(one(unknown, time(), SqlType::Timestamp), json!(0));
    }
}
