//! Functions of no family: GREATEST and LEAST, base 64, cutting text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::concat;
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;

use super::args::{Args, text_result};
use super::failure::Failure;
use super::scalar::{Param, ScalarDef, returns};

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new("", "greatest", &[Param::Any], first, |args| extreme(args, true)).variadic(),
    ScalarDef::new("", "least", &[Param::Any], first, |args| extreme(args, false)).variadic(),
    ScalarDef::new(
        "",
        "decode_base64_bytes",
        &[Param::Str],
        |_| crate::SqlType::Other,
        |args| {
            let text = args.text(0)?;
            let mut builder = arrow::array::BinaryBuilder::new();
            for row in 0..args.rows() {
                match text.get(row) {
                    None => builder.append_null(),
                    Some(text) => builder.append_value(base64(args, text)?),
                }
            }
            Ok(Arc::new(builder.finish()))
        },
    ),
    // Cuts text at a number of bytes, at the border of a character (`StringUtils.fastLooseChop` counts characters).
    ScalarDef::new("", "cut_bytes", &[Param::Str, Param::Int], returns::varchar, |args| {
        let (text, most) = (args.text(0)?, args.long(1)?);
        text_result(args.rows(), |row| {
            let text = text.get(row)?;
            let mut end = usize::try_from(most.get(row)?).unwrap_or(0).min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            Some(text[..end].to_string())
        })
    }),
];

fn first(types: &[crate::SqlType]) -> crate::SqlType {
    types.first().cloned().unwrap_or(crate::SqlType::Varchar)
}

/// The greatest or least of the arguments, without NULLs.
fn extreme(args: &Args, greatest: bool) -> Result<ArrayRef> {
    let rows = args.rows();
    let columns = (0..args.len()).map(|i| args.array(i)).collect::<Result<Vec<_>>>()?;
    let parts: Vec<&dyn Array> = columns.iter().map(|c| c.as_ref()).collect();
    let all = concat(&parts)?;
    let converter = RowConverter::new(vec![SortField::new(all.data_type().clone())])?;
    let encoded = converter.convert_columns(&[Arc::clone(&all)])?;
    let index: UInt32Array = (0..rows)
        .map(|row| {
            (0..columns.len())
                .map(|i| i * rows + row)
                .filter(|i| all.is_valid(*i))
                .reduce(|a, b| {
                    let b_wins = if greatest {
                        encoded.row(b) > encoded.row(a)
                    } else {
                        encoded.row(b) < encoded.row(a)
                    };
                    if b_wins { b } else { a }
                })
                .map(|i| i as u32)
        })
        .collect();
    Ok(arrow::compute::take(&all, &index, None)?)
}

/// Reads base 64 in the basic alphabet, with Java's messages for what is none.
pub(super) fn base64(args: &Args, text: &str) -> Result<Vec<u8>> {
    let bad = |message: &str| Failure::Java("java.lang.IllegalArgumentException").of(args, message);
    if text.len() == 1 {
        return Err(bad("Input byte[] should at least have 2 bytes for base64 bytes"));
    }
    let (mut bits, mut count) = (0u32, 0);
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut rest = text.bytes().enumerate();
    for (at, byte) in rest.by_ref() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                // Two bits pairs of a unit ask for `==`, three for `=`, and nothing behind it.
                let padding = &text.as_bytes()[at..];
                if !matches!((at % 4, padding), (2, b"==") | (3, b"=")) {
                    return Err(bad("Input byte array has wrong 4-byte ending unit"));
                }
                break;
            }
            _ => return Err(bad(&format!("Illegal base64 character {byte:x}"))),
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    if count >= 6 {
        return Err(bad("Last unit does not have enough valid bits"));
    }
    Ok(out)
}
