//! Functions of no family: GREATEST and LEAST, text formats, IP matching.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::concat;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};

use super::args::{Args, boolean_result, text_result, try_text_result};
use super::scalar::{Param, ScalarDef, returns};

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new("", "greatest", &[Param::Any], first, |args| extreme(args, true)).variadic(),
    ScalarDef::new("", "least", &[Param::Any], first, |args| extreme(args, false)).variadic(),
    ScalarDef::new("IPV4_PARSE", "ipv4_parse", &[Param::Str], returns::bigint, |args| {
        let text = args.text(0)?;
        super::args::long_result(args.rows(), |row| ipv4(text.get(row)?).map(i64::from))
    }),
    ScalarDef::new(
        "IPV4_STRINGIFY",
        "ipv4_stringify",
        &[Param::Any],
        |_| crate::SqlType::Char(15),
        |args| {
            if args.data_type(0) != arrow::datatypes::DataType::Int64 {
                let text = args.text(0)?;
                return text_result(args.rows(), |row| {
                    text.get(row)?
                        .parse::<std::net::Ipv4Addr>()
                        .ok()
                        .map(|address| address.to_string())
                });
            }
            let number = args.long(0)?;
            text_result(args.rows(), |row| {
                let number = u32::try_from(number.get(row)?).ok()?;
                Some(std::net::Ipv4Addr::from(number).to_string())
            })
        },
    ),
    ScalarDef::new(
        "IPV4_MATCH",
        "ipv4_match",
        &[Param::Str, Param::Str],
        returns::boolean,
        |args| {
            let (text, net) = (args.text(0)?, args.text(1)?);
            boolean_result(args.rows(), |row| {
                let address = text.get(row).and_then(ipv4).map(u128::from);
                let matched = in_network(address, net.get(row), 32, |base| {
                    base.parse::<std::net::Ipv4Addr>()
                        .ok()
                        .map(|base| u32::from(base).into())
                });
                Some(matched.unwrap_or(false))
            })
        },
    ),
    ScalarDef::new(
        "IPV6_MATCH",
        "ipv6_match",
        &[Param::Str, Param::Str],
        returns::boolean,
        |args| {
            let (text, net) = (args.text(0)?, args.text(1)?);
            boolean_result(args.rows(), |row| {
                let matched = in_network(text.get(row).and_then(ipv6), net.get(row), 128, ipv6);
                Some(matched.unwrap_or(false))
            })
        },
    ),
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
                    Some(text) => builder.append_value(base64(text)?),
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

/// Reads an address, as four numbers or as one.
fn ipv4(text: &str) -> Option<u32> {
    let address: Option<std::net::Ipv4Addr> = text.parse().ok();
    address.map(u32::from).or_else(|| text.parse().ok())
}

fn ipv6(text: &str) -> Option<u128> {
    text.parse::<std::net::Ipv6Addr>().ok().map(u128::from)
}

/// Tells whether an address of `width` bits lies in a network such as `10.0.0.0/8`; one without a length is a single address.
fn in_network(
    address: Option<u128>,
    network: Option<&str>,
    width: u32,
    base_of: impl Fn(&str) -> Option<u128>,
) -> Option<bool> {
    let (address, network) = (address?, network?);
    let (base, bits) = match network.split_once('/') {
        Some((base, bits)) => (base, bits.parse().ok().filter(|bits| *bits <= width)?),
        None => (network, width),
    };
    let prefix = |address: u128| address.checked_shr(width - bits).unwrap_or(0);
    Some(prefix(address) == prefix(base_of(base)?))
}

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

/// Reads base 64 in the basic alphabet, with Java's message for what is none.
pub(super) fn base64(text: &str) -> Result<Vec<u8>> {
    let bad = |message: String| {
        DataFusionError::External(Box::new(crate::SqlError::general(
            crate::Persona::Admin,
            crate::Category::Uncategorized,
            message,
        )))
    };
    let mut bits = 0u32;
    let mut count = 0;
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(bad(format!("Illegal base64 character {byte:x}"))),
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
        return Err(bad("Last unit does not have enough valid bits".into()));
    }
    Ok(out)
}

/// `String.format` of Java: `%s`, `%d`, `%f`, `%x`, `%o`, `%e`, `%b`, `%%`, with flags, width and precision.
pub(super) fn format_text(args: &Args) -> Result<ArrayRef> {
    let pattern = args.text(0)?;
    let mut columns = Vec::new();
    for i in 1..args.len() {
        columns.push(args.array(i)?);
    }
    let words = columns.iter().map(super::cast::word).collect::<Result<Vec<_>>>()?;
    try_text_result(args.rows(), |row| {
        let Some(pattern) = pattern.get(row) else {
            return Ok(None);
        };
        let mut out = String::new();
        let mut chars = pattern.chars().peekable();
        let mut next = 0;
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut spec = String::new();
            let kind = loop {
                match chars.next() {
                    Some(c) if c.is_ascii_digit() || "-+ 0,.#($<".contains(c) => spec.push(c),
                    Some(c) => break c,
                    None => {
                        return Err(DataFusionError::External(Box::new(crate::SqlError::input(
                            "Function[format] failed: Conversion = '%'",
                        ))));
                    }
                }
            };
            match kind {
                '%' => out.push('%'),
                'n' => out.push('\n'),
                kind => {
                    let at = match spec.split_once('$') {
                        Some((index, rest)) => {
                            let at = index.parse::<usize>().unwrap_or(1).saturating_sub(1);
                            spec = rest.to_string();
                            at
                        }
                        None => {
                            next += 1;
                            next - 1
                        }
                    };
                    let Some(word) = words.get(at) else {
                        return Err(DataFusionError::External(Box::new(crate::SqlError::input(format!(
                            "Function[format] failed: Format specifier '%{spec}{kind}'"
                        )))));
                    };
                    let text = word.is_valid(row).then(|| word.value(row));
                    out.push_str(&formatted(kind, &spec, text));
                }
            }
        }
        Ok(Some(out))
    })
}

fn formatted(kind: char, spec: &str, text: Option<&str>) -> String {
    let left = spec.contains('-');
    let digits = spec.trim_start_matches(['-', '+', ' ', ',', '#', '(']);
    let zero = digits.starts_with('0');
    let (width, precision): (usize, Option<usize>) = match digits.split_once('.') {
        Some((width, precision)) => (width.parse().unwrap_or(0), precision.parse::<usize>().ok()),
        None => (digits.parse().unwrap_or(0), None),
    };
    let body = match (kind.to_ascii_lowercase(), text) {
        (_, None) => "null".to_string(),
        ('d', Some(text)) => {
            let plus = if spec.contains('+') && !text.starts_with('-') {
                "+"
            } else {
                ""
            };
            let grouped = if spec.contains(',') {
                grouped(text)
            } else {
                text.to_string()
            };
            format!("{plus}{grouped}")
        }
        ('f', Some(text)) => {
            let number: f64 = text.parse().unwrap_or(f64::NAN);
            let body = format!("{number:.*}", precision.unwrap_or(6));
            if spec.contains(',') { grouped(&body) } else { body }
        }
        ('x', Some(text)) => text.parse::<i64>().map_or(text.to_string(), |n| format!("{n:x}")),
        ('o', Some(text)) => text.parse::<i64>().map_or(text.to_string(), |n| format!("{n:o}")),
        ('e', Some(text)) => {
            let number: f64 = text.parse().unwrap_or(f64::NAN);
            let body = format!("{number:.*e}", precision.unwrap_or(6));
            match body.split_once('e') {
                Some((mantissa, exponent)) => {
                    let sign = if exponent.starts_with('-') { '-' } else { '+' };
                    format!("{mantissa}e{sign}{:0>2}", exponent.trim_start_matches('-'))
                }
                None => body,
            }
        }
        (_, Some(text)) => match precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.to_string(),
        },
    };
    let body = if kind.is_ascii_uppercase() {
        body.to_uppercase()
    } else {
        body
    };
    let missing = width.saturating_sub(body.chars().count());
    if left {
        body + &" ".repeat(missing)
    } else if zero && kind != 's' {
        match body.strip_prefix('-') {
            Some(rest) => format!("-{}{rest}", "0".repeat(missing)),
            None => "0".repeat(missing) + &body,
        }
    } else {
        " ".repeat(missing) + &body
    }
}

fn grouped(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(w, f)| (w, Some(f)));
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    match fraction {
        Some(fraction) => format!("{sign}{out}.{fraction}"),
        None => format!("{sign}{out}"),
    }
}
