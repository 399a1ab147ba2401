//! Writes cells of Arrow arrays as JSON text: the way into the rules for JSON values, for everything that has no short cut.

use arrow::array::cast::AsArray;
use arrow::array::{Array, types::*};
use arrow::datatypes::{DataType, TimeUnit};
use base64::Engine;
use std::fmt::Write;

use crate::column::push_quoted;

/// Writes one cell. Instants are milliseconds, times of day and durations the number that is stored, bytes base64 or text.
pub(super) fn write_cell(array: &dyn Array, row: usize, binary_as_string: bool, to: &mut String) {
    if array.is_null(row) {
        return to.push_str("null");
    }
    macro_rules! number {
        ($type:ty) => {{
            // Writing to a string cannot fail.
            let _ = write!(to, "{}", array.as_primitive::<$type>().value(row));
        }};
    }
    match array.data_type() {
        DataType::Boolean => to.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float16 => write_double(f64::from(array.as_primitive::<Float16Type>().value(row).to_f32()), to),
        DataType::Float32 => {
            // Through its own shortest text, so that 0.1 does not become 0.10000000149.
            let value = array.as_primitive::<Float32Type>().value(row);
            if value.is_finite() {
                let _ = write!(to, "{value:e}");
            } else {
                write_double(f64::from(value), to);
            }
        }
        DataType::Float64 => write_double(array.as_primitive::<Float64Type>().value(row), to),
        DataType::Decimal32(..) => to.push_str(&array.as_primitive::<Decimal32Type>().value_as_string(row)),
        DataType::Decimal64(..) => to.push_str(&array.as_primitive::<Decimal64Type>().value_as_string(row)),
        DataType::Decimal128(..) => to.push_str(&array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(..) => to.push_str(&array.as_primitive::<Decimal256Type>().value_as_string(row)),
        DataType::Timestamp(unit, _) => {
            let value = match unit {
                TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
                TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
                TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
                TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
            };
            let _ = write!(to, "{}", super::convert::millis(value, unit));
        }
        DataType::Date32 => {
            let _ = write!(
                to,
                "{}",
                super::convert::day_millis(array.as_primitive::<Date32Type>().value(row))
            );
        }
        DataType::Date64 => number!(Date64Type),
        DataType::Time32(TimeUnit::Second) => number!(Time32SecondType),
        DataType::Time32(_) => number!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Microsecond) => number!(Time64MicrosecondType),
        DataType::Time64(_) => number!(Time64NanosecondType),
        DataType::Utf8 => write_text(array.as_string::<i32>().value(row), to),
        DataType::LargeUtf8 => write_text(array.as_string::<i64>().value(row), to),
        DataType::Utf8View => write_text(array.as_string_view().value(row), to),
        DataType::Binary => write_bytes(array.as_binary::<i32>().value(row), binary_as_string, to),
        DataType::LargeBinary => write_bytes(array.as_binary::<i64>().value(row), binary_as_string, to),
        DataType::BinaryView => write_bytes(array.as_binary_view().value(row), binary_as_string, to),
        DataType::FixedSizeBinary(_) => write_bytes(array.as_fixed_size_binary().value(row), binary_as_string, to),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys().get(row).copied().unwrap_or(0);
            write_cell(dictionary.values().as_ref(), key, binary_as_string, to);
        }
        DataType::List(_) => write_list(array.as_list::<i32>().value(row).as_ref(), binary_as_string, to),
        DataType::LargeList(_) => write_list(array.as_list::<i64>().value(row).as_ref(), binary_as_string, to),
        DataType::FixedSizeList(..) => write_list(array.as_fixed_size_list().value(row).as_ref(), binary_as_string, to),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            to.push('{');
            for (i, (field, column)) in fields.iter().zip(columns).enumerate() {
                if i > 0 {
                    to.push(',');
                }
                write_text(field.name(), to);
                to.push(':');
                write_cell(column.as_ref(), row, binary_as_string, to);
            }
            to.push('}');
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            to.push('{');
            for i in 0..entries.len() {
                if i > 0 {
                    to.push(',');
                }
                let mut key = String::new();
                write_cell(entries.column(0).as_ref(), i, true, &mut key);
                // Keys of JSON are text, those of Parquet anything.
                if key.starts_with('"') {
                    to.push_str(&key)
                } else {
                    write_text(&key, to)
                }
                to.push(':');
                write_cell(entries.column(1).as_ref(), i, binary_as_string, to);
            }
            to.push('}');
        }
        // Parquet has no others (unions, intervals of Arrow, run-end encoding).
        _ => to.push_str("null"),
    }
}

fn write_list(items: &dyn Array, binary_as_string: bool, to: &mut String) {
    to.push('[');
    for i in 0..items.len() {
        if i > 0 {
            to.push(',');
        }
        write_cell(items, i, binary_as_string, to);
    }
    to.push(']');
}

fn write_double(value: f64, to: &mut String) {
    if value.is_finite() {
        // Always with a point or an exponent, so that it stays a double: a whole one would read as a long.
        let _ = write!(to, "{value:e}");
    } else {
        crate::number::write_double(value, to);
    }
}

fn write_text(text: &str, to: &mut String) {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    push_quoted(text, &mut quoted);
    to.push_str(&String::from_utf8_lossy(&quoted));
}

fn write_bytes(bytes: &[u8], as_string: bool, to: &mut String) {
    if as_string {
        write_text(&String::from_utf8_lossy(bytes), to);
    } else {
        write_text(&base64::engine::general_purpose::STANDARD.encode(bytes), to);
    }
}
