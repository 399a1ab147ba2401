//! Numbers out of text and text out of numbers, with Java's rules where Druid has them.

use std::fmt::Write;

/// Reads a whole number of 64 bits and nothing else: an optional minus and digits.
#[inline]
pub(crate) fn exact_long(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    if digits.len() <= 18 {
        // Eighteen digits cannot overflow.
        let mut value = 0i64;
        for byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + i64::from(digit);
        }
        return Some(if negative { -value } else { value });
    }
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Built below zero, where there is one number more.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// Reads a decimal number without anything around it. Up to 15 digits and a small exponent are exact in one division
/// (Clinger's fast path); the rest goes to the standard library.
#[inline]
pub(crate) fn plain_double(text: &str) -> Option<f64> {
    const POWERS: [f64; 23] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22,
    ];
    let bytes = text.as_bytes();
    let (negative, rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if rest.len() <= 16 {
        let mut mantissa = 0u64;
        let mut digits = 0;
        let mut fraction = None;
        let mut plain = true;
        for (i, byte) in rest.iter().enumerate() {
            let digit = byte.wrapping_sub(b'0');
            if digit <= 9 {
                mantissa = mantissa * 10 + u64::from(digit);
                digits += 1;
            } else if *byte == b'.' && fraction.is_none() {
                fraction = Some(i);
            } else {
                plain = false;
                break;
            }
        }
        if plain && digits > 0 && digits <= 15 {
            let decimals = fraction.map_or(0, |point| rest.len() - 1 - point);
            let value = mantissa as f64 / POWERS[decimals];
            return Some(if negative { -value } else { value });
        }
    }
    general_double(text)
}

/// Reads a floating-point number as Java's `Double.valueOf` does, but for hexadecimal ones.
fn general_double(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    // Java allows a type letter behind, Rust allows words such as `inf` that Java does not.
    let unsigned = unsigned.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(unsigned);
    let first = unsigned.bytes().next()?;
    if !(first.is_ascii_digit() || first == b'.') {
        return None;
    }
    unsigned.parse::<f64>().ok().map(|value| sign * value)
}

/// Removes what Java's `trim` removes.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// Removes commas and one plus before a digit.
fn without_grouping(text: &str) -> String {
    let mut text: String = text.chars().filter(|c| *c != ',').collect();
    if text.starts_with('+') && text.as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
        text.remove(0);
    }
    text
}

/// Reads text in a LONG column: a whole number, else a double that is truncated, else nothing (Druid:
/// `Rows.objectToNumber`).
#[inline]
pub(crate) fn text_long(text: &str) -> Option<i64> {
    exact_long(text.as_bytes()).or_else(|| slow_text_long(text))
}

#[cold]
fn slow_text_long(text: &str) -> Option<i64> {
    let text = without_grouping(trim(text));
    // A cast of Rust saturates and makes NaN zero, like `Number.longValue`.
    exact_long(text.as_bytes()).or_else(|| general_double(trim(&text)).map(|value| value as i64))
}

/// Reads text in a DOUBLE column.
#[inline]
pub(crate) fn text_double(text: &str) -> Option<f64> {
    plain_double(text).or_else(|| {
        let text = without_grouping(trim(text));
        general_double(trim(&text))
    })
}

/// Writes a double as Java does: `1571.0`, `1.0E10`, `NaN`.
pub(crate) fn write_double(value: f64, to: &mut String) {
    if value.is_nan() {
        to.push_str("NaN");
    } else if value.is_infinite() {
        to.push_str(if value < 0.0 { "-Infinity" } else { "Infinity" });
    } else if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        let start = to.len();
        // Writing to a string cannot fail.
        let _ = write!(to, "{value}");
        if !to[start..].contains('.') {
            to.push_str(".0");
        }
    } else {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        to.push_str(mantissa);
        if !mantissa.contains('.') {
            to.push_str(".0");
        }
        to.push('E');
        to.push_str(exponent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn longs() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", Some(i64::MAX)), // through a double, saturated
            ("00000000000000000000012", Some(12)),
            (" 1,234 ", Some(1234)),
            ("+5", Some(5)),
            ("12.7", Some(12)),
            ("-12.7", Some(-12)),
            ("1e3", Some(1000)),
            ("abc", None),
            ("", None),
            ("-", None),
            ("+-5", None),
            ("1 2", None),
            ("0x10", None),
            ("1_000", None),
            ("NaN", Some(0)),
            ("inf", None),
            ("7d", Some(7)),
        ] {
            assert_eq!(text_long(text), value, "{text}");
        }
    }

    #[test]
    fn doubles_as_java_writes_them() {
        for (value, text) in [
            (1571.0, "1571.0"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (1e7, "1.0E7"),
            (9999999.5, "9999999.5"),
            (1.5e10, "1.5E10"),
            (-0.0, "-0.0"),
            (1e300, "1.0E300"),
            (5.5, "5.5"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            let mut written = String::new();
            write_double(value, &mut written);
            assert_eq!(written, text);
        }
    }

    proptest! {
        #[test]
        fn longs_agree_with_the_standard_library(value: i64, text in "-?[0-9]{1,24}") {
            prop_assert_eq!(exact_long(value.to_string().as_bytes()), Some(value));
            prop_assert_eq!(exact_long(text.as_bytes()), text.parse::<i64>().ok());
        }

        #[test]
        fn doubles_agree_with_the_standard_library(text in "-?[0-9]{0,18}(\\.[0-9]{0,18})?([eE][+-]?[0-9]{1,3})?", value: f64) {
            let parsed = plain_double(&text);
            let expected = text.parse::<f64>().ok();
            prop_assert_eq!(parsed.map(f64::to_bits), expected.map(f64::to_bits), "{}", text);
            if value.is_finite() {
                prop_assert_eq!(plain_double(&value.to_string()), Some(value));
            }
        }
    }
}
