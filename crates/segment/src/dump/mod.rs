//! Prints segments as Druid's `dump-segment` tool does: rows as JSON lines, and what is known of the columns.

pub mod json;

use std::io::Write;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimestampMillisecondType, UInt32Type};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::{ColumnType, RowSelection, Segment, SegmentError};

/// Rows that are decoded at once.
const CHUNK_ROWS: usize = 8192;

/// Rows of a column as they are to be printed.
enum Cells {
    Values(ArrayRef),
    Json(StringArray),
}

/// Prints every row as a JSON object with all columns: `__time` in milliseconds, a multi-value row of one value as that value, complex
/// values in base64. The lines are those of Druid's `dump-segment --dump rows`.
pub fn rows(segment: &Segment, out: &mut impl Write) -> Result<(), SegmentError> {
    let names: Vec<Vec<u8>> = segment
        .columns()
        .iter()
        .map(|info| {
            let mut name = Vec::new();
            json::put_string(&mut name, &info.name);
            name
        })
        .collect();
    let mut line = Vec::new();
    for start in (0..segment.rows()).step_by(CHUNK_ROWS) {
        let rows = start..segment.rows().min(start + CHUNK_ROWS);
        let arrays = segment
            .columns()
            .iter()
            .map(|info| {
                let selection = RowSelection::Range(rows.clone());
                Ok(match segment.read_json(&info.name, selection.clone())? {
                    Some(text) => Cells::Json(text),
                    None => Cells::Values(segment.read(&info.name, selection)?),
                })
            })
            .collect::<Result<Vec<_>, SegmentError>>()?;
        for row in 0..rows.len() {
            line.clear();
            for ((info, name), array) in segment.columns().iter().zip(&names).zip(&arrays) {
                line.push(if line.is_empty() { b'{' } else { b',' });
                line.extend_from_slice(name);
                line.push(b':');
                match array {
                    Cells::Values(array) => put_cell(&mut line, array, row, &info.column_type),
                    Cells::Json(text) if text.is_null(row) => line.extend_from_slice(b"null"),
                    Cells::Json(text) => line.extend_from_slice(text.value(row).as_bytes()),
                }
            }
            line.extend_from_slice(b"}\n");
            out.write_all(&line)
                .map_err(|e| SegmentError::io("write rows of", Path::new(segment.path()), e))?;
        }
    }
    Ok(())
}

/// Prints every value of an array as JSON text; null stays null. Objects are base64, pairs objects of `lhs` and `rhs`.
pub fn json_texts(array: &ArrayRef) -> StringArray {
    let mut builder = StringBuilder::new();
    let mut text = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        put_value(&mut text, array, row);
        builder.append_value(String::from_utf8_lossy(&text));
    }
    builder.finish()
}

/// Appends one value of a column.
fn put_cell(out: &mut Vec<u8>, array: &ArrayRef, row: usize, column_type: &ColumnType) {
    if let (ColumnType::MultiString, Some(list)) = (column_type, array.as_list_opt::<i32>())
        && list.is_valid(row)
        && list.value_length(row) == 1
    {
        return put_value(out, &list.value(row), 0);
    }
    match array.as_binary_opt::<i32>() {
        Some(objects) if objects.is_valid(row) && objects.value(row).is_empty() => put_empty(out, column_type),
        _ => put_value(out, array, row),
    }
}

/// Appends an object of no bytes as Druid prints it: the empty sketch where the type has one, else null.
fn put_empty(out: &mut Vec<u8>, column_type: &ColumnType) {
    let ColumnType::Complex(name) = column_type else {
        return out.extend_from_slice(b"null");
    };
    out.extend_from_slice(match name.as_str() {
        "KllDoublesSketch" | "KllFloatsSketch" => b"\"AgEPAcgACAA=\"",
        "quantilesDoublesSketch" => b"\"AQMIHoAAAAA=\"",
        "thetaSketch" => b"\"AQMDAAAeAAA=\"",
        _ => b"null",
    });
}

/// Appends one value of an array; types that segments do not have are null.
fn put_value(out: &mut Vec<u8>, array: &ArrayRef, row: usize) {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match array.data_type() {
        DataType::Int64 => json::put_long(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(_, _) => json::put_long(out, array.as_primitive::<TimestampMillisecondType>().value(row)),
        DataType::Float64 => json::put_double(out, array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => json::put_float(out, array.as_primitive::<Float32Type>().value(row)),
        DataType::Utf8 => json::put_string(out, array.as_string::<i32>().value(row)),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_dictionary::<UInt32Type>();
            let key = dictionary.keys().value(row) as usize;
            put_value(out, dictionary.values(), key);
        }
        DataType::Binary => {
            out.push(b'"');
            out.extend_from_slice(BASE64.encode(array.as_binary::<i32>().value(row)).as_bytes());
            out.push(b'"');
        }
        DataType::Struct(fields) => {
            let pair = array.as_struct();
            for (i, field) in fields.iter().enumerate() {
                out.push(if i == 0 { b'{' } else { b',' });
                json::put_string(out, field.name());
                out.push(b':');
                put_value(out, pair.column(i), row);
            }
            out.push(b'}');
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            out.push(b'[');
            for i in 0..list.len() {
                if i > 0 {
                    out.push(b',');
                }
                put_value(out, &list, i);
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(b"null"),
    }
}

/// Prints what is known of a segment as indented JSON: [`describe`].
pub fn metadata(segment: &Segment, out: &mut impl Write) -> Result<(), SegmentError> {
    let failed = |e| SegmentError::io("print metadata of", Path::new(segment.path()), e);
    serde_json::to_writer_pretty(&mut *out, &describe(segment)).map_err(|e| failed(e.into()))?;
    out.write_all(b"\n").map_err(failed)
}

/// Describes a segment: interval, rows, columns with type, bytes, encoding and cardinality, sort order, rollup, aggregators.
pub fn describe(segment: &Segment) -> Value {
    let columns: Vec<Value> = segment
        .columns()
        .iter()
        .map(|info| {
            json!({
                "name": info.name,
                "type": info.column_type.to_string(),
                "hasMultipleValues": info.column_type == ColumnType::MultiString,
                "hasNulls": info.has_nulls,
                "cardinality": info.cardinality,
                "bytes": info.bytes,
                "encoding": info.encoding,
                "hasBitmapIndex": info.has_bitmap_index,
                "role": match () {
                    () if info.name == crate::TIME_COLUMN => "time",
                    () if info.is_metric => "metric",
                    () => "dimension",
                },
            })
        })
        .collect();
    let metadata = segment.metadata();
    json!({
        "interval": segment.interval().to_string(),
        "rows": segment.rows(),
        "columns": columns,
        "ordering": metadata.and_then(|m| m.ordering.clone()),
        "rollup": metadata.and_then(|m| m.rollup),
        "queryGranularity": metadata.and_then(|m| m.query_granularity.clone()),
        "aggregators": metadata.and_then(|m| m.aggregators.clone()),
        "projections": metadata.and_then(|m| m.projections.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int64Array, ListArray};
    use std::sync::Arc;

    #[test]
    fn values_become_json_texts() {
        let texts = |array: ArrayRef| -> Vec<Option<String>> {
            json_texts(&array).iter().map(|text| text.map(str::to_owned)).collect()
        };
        let some = |text: &str| Some(text.to_owned());
        let strings: DictionaryArray<UInt32Type> = vec![Some("a\"b"), None].into_iter().collect();
        assert_eq!(texts(Arc::new(strings)), [some("\"a\\\"b\""), None]);
        assert_eq!(
            texts(Arc::new(Int64Array::from(vec![Some(7), None]))),
            [some("7"), None]
        );
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        assert_eq!(texts(Arc::new(lists)), [some("[1,null]"), None]);
    }
}
