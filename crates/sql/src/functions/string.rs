//! Text: lengths and positions count UTF-16 units, as in Java.

use arrow::array::ArrayRef;
use datafusion::common::{DataFusionError, Result};

use super::args::{Args, boolean_result, check_bytes, long_result, text_result, try_text_result};
use super::failure::Failure;
use super::scalar::{Param, ScalarDef, returns};

const ONE: &[Param] = &[Param::Str];
const TWO: &[Param] = &[Param::Str, Param::Str];

macro_rules! map_text {
    ($name:literal, $native:literal, $returns:expr, $f:expr) => {
        ScalarDef::new($name, $native, ONE, $returns, |args| {
            let text = args.text(0)?;
            let f: fn(&str) -> String = $f;
            text_result(args.rows(), |row| text.get(row).map(f))
        })
    };
}

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    map_text!("UPPER", "upper", returns::text, |s| s.to_uppercase()),
    map_text!("LOWER", "lower", returns::text, |s| s.to_lowercase()),
    map_text!("REVERSE", "reverse", returns::varchar, |s| s.chars().rev().collect()),
    ScalarDef::new("LENGTH", "strlen", ONE, returns::integer, |args| {
        let text = args.text(0)?;
        long_result(args.rows(), |row| text.get(row).map(|s| utf16_len(s) as i64))
    })
    .aliases(&["CHAR_LENGTH", "CHARACTER_LENGTH", "STRLEN"]),
    ScalarDef::new("CONCAT", "concat", &[Param::Str], returns::varchar, |args| {
        let parts = (0..args.len()).map(|i| args.text(i)).collect::<Result<Vec<_>>>()?;
        text_result(args.rows(), |row| {
            let mut out = String::new();
            for part in &parts {
                out.push_str(part.get(row)?);
            }
            Some(out)
        })
    })
    .variadic(),
    ScalarDef::new("TEXTCAT", "textcat", TWO, returns::varchar, |args| {
        let (a, b) = (args.text(0)?, args.text(1)?);
        text_result(args.rows(), |row| Some(format!("{}{}", a.get(row)?, b.get(row)?)))
    }),
    ScalarDef::new(
        "SUBSTRING",
        "substring",
        &[Param::Str, Param::Int, Param::Int],
        returns::text,
        substring,
    )
    .min(2)
    .aliases(&["SUBSTR"]),
    ScalarDef::new("LEFT", "left", &[Param::Str, Param::Int], returns::varchar, |args| {
        let (text, count) = (args.text(0)?, args.long(1)?);
        try_text_result(args.rows(), |row| match (text.get(row), count.get(row)) {
            (Some(text), Some(count)) => {
                let count = usize::try_from(count).map_err(|_| needs_positive(args, "left"))?;
                Ok(Some(utf16_slice(text, 0, count)))
            }
            _ => Ok(None),
        })
    }),
    ScalarDef::new("RIGHT", "right", &[Param::Str, Param::Int], returns::varchar, |args| {
        let (text, count) = (args.text(0)?, args.long(1)?);
        try_text_result(args.rows(), |row| match (text.get(row), count.get(row)) {
            (Some(text), Some(count)) => {
                let count = usize::try_from(count).map_err(|_| needs_positive(args, "right"))?;
                let length = utf16_len(text);
                Ok(Some(utf16_slice(text, length.saturating_sub(count), usize::MAX)))
            }
            _ => Ok(None),
        })
    }),
    ScalarDef::new("BTRIM", "trim", TWO, returns::varchar, |args| trim(args, true, true))
        .min(1)
        .aliases(&["TRIM"]),
    ScalarDef::new("LTRIM", "ltrim", TWO, returns::varchar, |args| trim(args, true, false)).min(1),
    ScalarDef::new("RTRIM", "rtrim", TWO, returns::varchar, |args| trim(args, false, true)).min(1),
    ScalarDef::new(
        "LPAD",
        "lpad",
        &[Param::Str, Param::Int, Param::Str],
        returns::varchar,
        |args| pad(args, true),
    )
    .min(2),
    ScalarDef::new(
        "RPAD",
        "rpad",
        &[Param::Str, Param::Int, Param::Str],
        returns::varchar,
        |args| pad(args, false),
    )
    .min(2),
    ScalarDef::new(
        "REPLACE",
        "replace",
        &[Param::Str, Param::Str, Param::Str],
        returns::varchar,
        |args| {
            let (text, from, to) = (args.text(0)?, args.text(1)?, args.text(2)?);
            try_text_result(args.rows(), |row| {
                let Some(text) = text.get(row) else {
                    return Ok(None);
                };
                let (Some(from), Some(to)) = (from.get(row), to.get(row)) else {
                    return Err(unknown_exception(args, "replace"));
                };
                if to.len() > from.len() {
                    let longer = text.matches(from).count().saturating_mul(to.len() - from.len());
                    check_bytes(text.len().saturating_add(longer))?;
                }
                Ok(Some(text.replace(from, to)))
            })
        },
    ),
    ScalarDef::new(
        "REPEAT",
        "repeat",
        &[Param::Str, Param::Int],
        returns::varchar,
        |args| {
            let (text, count) = (args.text(0)?, args.long(1)?);
            try_text_result(args.rows(), |row| match (text.get(row), count.get(row)) {
                (Some(_), Some(count)) if i32::try_from(count).is_err() => {
                    Err(Failure::Refused.of(args, "Function[repeat] needs an integer as the second argument"))
                }
                (Some(text), Some(count)) if count > 0 => {
                    let count = usize::try_from(count).unwrap_or(usize::MAX);
                    check_bytes(text.len().saturating_mul(count))?;
                    Ok(Some(text.repeat(count)))
                }
                _ => Ok(None),
            })
        },
    ),
    ScalarDef::new("STRPOS", "strpos", TWO, returns::integer, |args| {
        let (text, needle) = (args.text(0)?, args.text(1)?);
        long_result(args.rows(), |row| Some(position(text.get(row)?, needle.get(row)?)))
    }),
    ScalarDef::new(
        "POSITION",
        "position",
        &[Param::Str, Param::Str, Param::Int],
        returns::integer,
        |args| {
            let (needle, text, from) = (args.text(0)?, args.text(1)?, args.long(2)?);
            long_result(args.rows(), |row| {
                let (text, needle) = (text.get(row)?, needle.get(row)?);
                let skip = usize::try_from(from.get(row).unwrap_or(1).saturating_sub(1)).unwrap_or(0);
                // No characters are found behind the last one at the latest.
                let skip = skip.min(utf16_len(text));
                let rest = utf16_slice(text, skip, usize::MAX);
                Some(match position(&rest, needle) {
                    0 => 0,
                    found => found + skip as i64,
                })
            })
        },
    )
    .min(2),
    ScalarDef::new("CONTAINS_STRING", "contains_string", TWO, returns::boolean, |args| {
        let (text, needle) = (args.text(0)?, args.text(1)?);
        boolean_result(args.rows(), |row| Some(text.get(row)?.contains(needle.get(row)?)))
    }),
    ScalarDef::new("ICONTAINS_STRING", "icontains_string", TWO, returns::boolean, |args| {
        let (text, needle) = (args.text(0)?, args.text(1)?);
        boolean_result(args.rows(), |row| {
            Some(text.get(row)?.to_lowercase().contains(&needle.get(row)?.to_lowercase()))
        })
    }),
    ScalarDef::new(
        "PARSE_LONG",
        "parse_long",
        &[Param::Str, Param::Int],
        returns::bigint,
        |args| {
            let (text, radix) = (args.text(0)?, args.long(1)?);
            let decimal = args.len() < 2;
            long_result(args.rows(), |row| {
                let radix = u32::try_from(if decimal { 10 } else { radix.get(row)? })
                    .ok()
                    .filter(|r| (2..=36).contains(r))?;
                let text = text.get(row)?;
                let body = if radix == 16 {
                    text.strip_prefix("0x").or(text.strip_prefix("0X")).unwrap_or(text)
                } else {
                    text
                };
                i64::from_str_radix(body, radix).ok()
            })
        },
    )
    .min(1),
    ScalarDef::new(
        "STRING_FORMAT",
        "format",
        &[Param::Str, Param::Any],
        returns::varchar,
        super::format::format_text,
    )
    .min(1)
    .variadic(),
    ScalarDef::new(
        "DECODE_BASE64_UTF8",
        "decode_base64_utf8",
        ONE,
        returns::varchar,
        |args| {
            let text = args.text(0)?;
            try_text_result(args.rows(), |row| match text.get(row) {
                None => Ok(None),
                Some(text) => {
                    let bytes = super::misc::base64(args, text)?;
                    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
                }
            })
        },
    ),
];

fn needs_positive(args: &Args, name: &str) -> DataFusionError {
    Failure::Refused.of(
        args,
        format!("Function[{name}] needs a positive integer as the second argument"),
    )
}

/// Fails as a function does whose code meets a NULL, or a number out of bounds, that it did not expect.
pub(super) fn unknown_exception(args: &Args, name: &str) -> DataFusionError {
    Failure::Unknown.of(args, format!("Function[{name}] encountered unknown exception."))
}

/// Counts UTF-16 units.
pub(super) fn utf16_len(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.encode_utf16().count()
    }
}

/// Cuts by UTF-16 units; a unit that is half a pair becomes `?`.
pub(super) fn utf16_slice(text: &str, start: usize, length: usize) -> String {
    if text.is_ascii() {
        let start = start.min(text.len());
        let end = start.saturating_add(length).min(text.len());
        return text[start..end].to_string();
    }
    let units: Vec<u16> = text.encode_utf16().skip(start).take(length).collect();
    char::decode_utf16(units).map(|c| c.unwrap_or('?')).collect()
}

fn substring(args: &Args) -> Result<ArrayRef> {
    let (text, start, length) = (args.text(0)?, args.long(1)?, args.long(2)?);
    let with_length = args.len() > 2;
    try_text_result(args.rows(), |row| {
        let (Some(text), Some(start)) = (text.get(row), start.get(row)) else {
            return Ok(None);
        };
        let length = match (with_length, length.get(row)) {
            (false, _) => usize::MAX,
            (true, None) => 0,
            (true, Some(length)) => usize::try_from(length).unwrap_or(usize::MAX),
        };
        let Some(start) = start.checked_sub(1).and_then(|s| usize::try_from(s).ok()) else {
            return Err(unknown_exception(args, "substring"));
        };
        if start >= utf16_len(text) {
            return Ok(None);
        }
        Ok(Some(utf16_slice(text, start, length)))
    })
}

fn position(text: &str, needle: &str) -> i64 {
    match text.find(needle) {
        Some(at) => utf16_len(&text[..at]) as i64 + 1,
        None => 0,
    }
}

fn trim(args: &Args, left: bool, right: bool) -> Result<ArrayRef> {
    let (text, chars) = (args.text(0)?, args.text(1)?);
    let default = args.len() < 2;
    text_result(args.rows(), |row| {
        let text = text.get(row)?;
        let set: Vec<char> = if default {
            vec![' ']
        } else {
            chars.get(row).unwrap_or_default().chars().collect()
        };
        let mut out = text;
        if left {
            out = out.trim_start_matches(set.as_slice());
        }
        if right {
            out = out.trim_end_matches(set.as_slice());
        }
        Some(out.to_string())
    })
}

fn pad(args: &Args, left: bool) -> Result<ArrayRef> {
    let (text, length, fill) = (args.text(0)?, args.long(1)?, args.text(2)?);
    let default = args.len() < 3;
    try_text_result(args.rows(), |row| {
        let (Some(text), Some(length)) = (text.get(row), length.get(row).filter(|length| *length != 0)) else {
            return Ok(None);
        };
        let Some(fill) = (if default { Some(" ") } else { fill.get(row) }) else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(0);
        let have = utf16_len(text);
        if have >= length {
            return Ok(Some(utf16_slice(text, 0, length)));
        }
        if fill.is_empty() {
            return Ok(Some(text.to_string()));
        }
        let missing = length - have;
        let times = missing.div_ceil(utf16_len(fill));
        check_bytes(times.saturating_mul(fill.len()))?;
        let padding = utf16_slice(&fill.repeat(times), 0, missing);
        Ok(Some(if left {
            padding + text
        } else {
            text.to_string() + &padding
        }))
    })
}
