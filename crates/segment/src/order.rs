//! The order that Druid gives rows by values that are no scalars, as bytes that compare like them.
//!
//! ```text
//! several strings   each: 01 null │ 02 text, 00 as 00 FF, ends with 00 00      shorter lists first; no value is one null
//! JSON and arrays   (null) │ 01 text │ 02 number as 8 ordered bytes │ 03 xxHash64 of the value as SMILE, as a signed number
//! ```
//! Mirrors `StringDimensionIndexer` (values are sorted first, as they are stored) and `StructuredData`: arrays and objects are in the
//! order of their hashes, which says nothing but is always the same.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use xxhash_rust::xxh64::xxh64;

use crate::SegmentError;
use crate::codec::json_text::{self, Json};
use crate::codec::smile_writer::SmileWriter;

/// Druid's seed of the hash, an `int` that Java widens with its sign.
const SEED: u64 = 0x9747_b28c_u32 as i32 as i64 as u64;

/// Gives the order of rows with several strings each: lists of text, or single texts.
pub fn multi_value_order(column: &ArrayRef) -> Result<BinaryArray, SegmentError> {
    let DataType::List(_) = column.data_type() else {
        let texts = converted(column, &DataType::Utf8)?;
        let rows = texts.as_string::<i32>().iter().map(|text| strings(vec![text]));
        return Ok(rows.map(Some).collect());
    };
    let lists = converted(column, &list_of(DataType::Utf8))?;
    let rows = lists.as_list::<i32>().iter().map(|list| match list {
        Some(values) if !values.is_empty() => strings(values.as_string::<i32>().iter().collect()),
        _ => strings(vec![None]),
    });
    Ok(rows.map(Some).collect())
}

/// Gives the order of rows of JSON texts, or of arrays of numbers or text.
pub fn structured_order(column: &ArrayRef) -> Result<BinaryArray, SegmentError> {
    let mut smile = SmileWriter::default();
    let mut bytes = Vec::new();
    let mut order = BinaryBuilder::with_capacity(column.len(), column.len() * 9);
    let mut put = |value: Json| match value {
        Json::Null => order.append_null(),
        value => {
            bytes.clear();
            structured(sorted_names(value), &mut smile, &mut bytes);
            order.append_value(&bytes);
        }
    };
    match column.data_type() {
        DataType::List(element) => {
            let kind = match element.data_type() {
                DataType::Float32 | DataType::Float64 => DataType::Float64,
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => DataType::Utf8,
                _ => DataType::Int64,
            };
            let lists = converted(column, &list_of(kind))?;
            for list in lists.as_list::<i32>().iter() {
                put(list.map_or(Json::Null, |values| elements(&values)));
            }
        }
        _ => {
            let texts = converted(column, &DataType::Utf8)?;
            for text in texts.as_string::<i32>().iter() {
                put(match text {
                    None => Json::Null,
                    // What is no JSON is refused where it is written, with the name of the column.
                    Some(text) => json_text::parse(text).unwrap_or(Json::Null),
                });
            }
        }
    }
    Ok(order.finish())
}

fn converted(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, SegmentError> {
    cast(column, to).map_err(|e| {
        SegmentError::invalid(format!(
            "values of type {} cannot be put in the order of {to}: {e}",
            column.data_type()
        ))
    })
}

fn list_of(kind: DataType) -> DataType {
    DataType::List(std::sync::Arc::new(Field::new_list_field(kind, true)))
}

fn strings(mut values: Vec<Option<&str>>) -> Vec<u8> {
    values.sort_unstable();
    let mut out = Vec::new();
    for value in values {
        let Some(text) = value else {
            out.push(1);
            continue;
        };
        out.push(2);
        for byte in text.bytes() {
            out.push(byte);
            if byte == 0 {
                out.push(0xFF);
            }
        }
        out.extend_from_slice(&[0, 0]);
    }
    out
}

fn elements(values: &ArrayRef) -> Json {
    let values: Vec<Json> = match values.data_type() {
        DataType::Float64 => {
            let doubles = values.as_primitive::<Float64Type>().iter();
            doubles.map(|value| value.map_or(Json::Null, Json::Double)).collect()
        }
        DataType::Utf8 => {
            let texts = values.as_string::<i32>().iter();
            texts
                .map(|value| value.map_or(Json::Null, |text| Json::Text(text.to_owned())))
                .collect()
        }
        _ => {
            let longs = values.as_primitive::<Int64Type>().iter();
            longs.map(|value| value.map_or(Json::Null, Json::Long)).collect()
        }
    };
    Json::Array(values)
}

/// Puts the members of objects in the order of their names, as they are hashed.
fn sorted_names(value: Json) -> Json {
    match value {
        Json::Array(values) => Json::Array(values.into_iter().map(sorted_names).collect()),
        Json::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, sorted_names(value)));
            let mut members: Vec<_> = members.collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            Json::Object(members)
        }
        scalar => scalar,
    }
}

fn structured(value: Json, smile: &mut SmileWriter, out: &mut Vec<u8>) {
    let number = match value {
        Json::Text(text) => {
            out.push(1);
            return out.extend_from_slice(text.as_bytes());
        }
        Json::Long(long) => long as f64,
        Json::Double(double) => double,
        value => {
            smile.write(&value, out);
            let hash = xxh64(out, SEED) ^ (1 << 63);
            out.clear();
            out.push(3);
            return out.extend_from_slice(&hash.to_be_bytes());
        }
    };
    let bits = number.to_bits();
    // Negative numbers count backwards.
    let ordered = bits ^ (((bits as i64 >> 63) as u64) | (1 << 63));
    out.push(2);
    out.extend_from_slice(&ordered.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Builder, ListBuilder, StringArray, StringBuilder};

    use super::*;

    fn places(order: &BinaryArray) -> Vec<usize> {
        let mut rows: Vec<usize> = (0..order.len()).collect();
        rows.sort_by_key(|row| order.is_valid(*row).then(|| order.value(*row).to_vec()));
        rows
    }

    #[test]
    fn lists_of_text_are_ordered_as_they_are_stored() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        let rows: [&[Option<&str>]; 6] = [
            &[Some("q"), Some("p")],
            &[Some("p")],
            &[],
            &[Some("p\0a")],
            &[None, Some("z")],
            &[Some("")],
        ];
        for row in rows {
            row.iter().for_each(|value| lists.values().append_option(*value));
            lists.append(true);
        }
        let order = multi_value_order(&(Arc::new(lists.finish()) as ArrayRef)).expect("lists");
        assert_eq!(places(&order), [2, 4, 5, 1, 0, 3]);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("a")]));
        assert_eq!(places(&multi_value_order(&texts).expect("texts")), [1, 2, 0]);
    }

    #[test]
    fn arrays_are_in_the_order_of_their_hashes() {
        let mut lists = ListBuilder::new(Int64Builder::new());
        for first in [Some(1), Some(2), None, Some(3)] {
            lists.values().append_option(first);
            lists.values().append_value(1);
            lists.append(true);
        }
        // As a real Druid stored them.
        let order = structured_order(&(Arc::new(lists.finish()) as ArrayRef)).expect("arrays");
        assert_eq!(places(&order), [2, 1, 0, 3]);
    }

    #[test]
    fn json_is_in_the_order_of_its_kinds() {
        let texts = [r#"{"a":1}"#, "5", "null", r#""x""#, "-7.5", r#""b""#, "[1,2]", "10"];
        let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let order = structured_order(&column).expect("texts");
        let sorted: Vec<&str> = places(&order).into_iter().map(|row| texts[row]).collect();
        assert_eq!(sorted[..6], ["null", r#""b""#, r#""x""#, "-7.5", "5", "10"]);
        let names: ArrayRef = Arc::new(StringArray::from(vec![
            r#"{"a":1,"b":{"d":2,"c":3}}"#,
            r#"{"b":{"c":3,"d":2},"a":1}"#,
        ]));
        let order = structured_order(&names).expect("texts");
        assert_eq!(order.value(0), order.value(1), "the order of names does not matter");
    }
}
