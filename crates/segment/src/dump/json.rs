//! JSON as Druid's Jackson prints it, byte for byte: escapes, numbers, characters beyond U+FFFF.

use std::io::Write;

/// Appends a JSON string: control characters and characters beyond U+FFFF are escaped with upper-case hexadecimal digits.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            c if !(' '..='\u{ffff}').contains(&c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    put(out, format_args!("\\u{unit:04X}"));
                }
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Appends a whole number.
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    put(out, format_args!("{value}"));
}

/// Appends a double as Java's `Double.toString` does, quoted where JSON has no such number.
pub fn put_double(out: &mut Vec<u8>, value: f64) {
    put_float_text(
        out,
        value.is_finite(),
        &java_digits(
            even_digits(format!("{value:e}"), |decimals| format!("{value:.decimals$e}")),
            |digits| digits.parse() == Ok(value),
            format!("{value:.1e}"),
        ),
    );
}

/// Appends a float as Java's `Float.toString` does, quoted where JSON has no such number.
pub fn put_float(out: &mut Vec<u8>, value: f32) {
    put_float_text(
        out,
        value.is_finite(),
        &java_digits(
            even_digits(format!("{value:e}"), |decimals| format!("{value:.decimals$e}")),
            |digits| digits.parse() == Ok(value),
            format!("{value:.1e}"),
        ),
    );
}

/// Decimals that tell every double to the end.
const ALL_DECIMALS: usize = 1100;

/// Chooses between two shortest forms that lie equally near: Java takes the one whose last digit is even, Rust the larger.
fn even_digits(shortest: String, with_decimals: impl Fn(usize) -> String) -> String {
    let Some((mantissa, exponent)) = shortest.split_once('e') else {
        return shortest;
    };
    let decimals = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let last = mantissa.as_bytes().last().copied().unwrap_or(b'0');
    // Ties have as many digits as a double can need, and end in a half of the last one.
    if decimals < 6 || last % 2 == 0 {
        return shortest;
    }
    let lower = format!("{}{}e{exponent}", &mantissa[..mantissa.len() - 1], char::from(last - 1));
    let half = format!("{}5", &lower[..mantissa.len()]);
    if with_decimals(decimals + 1) != format!("{half}e{exponent}") {
        return shortest;
    }
    let exact = with_decimals(ALL_DECIMALS);
    let is_tie = exact
        .strip_prefix(half.as_str())
        .and_then(|rest| rest.strip_suffix(exponent)?.strip_suffix('e'))
        .is_some_and(|rest| rest.bytes().all(|digit| digit == b'0'));
    if is_tie { lower } else { shortest }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = out.write_fmt(text);
}

fn put_float_text(out: &mut Vec<u8>, finite: bool, text: &str) {
    if finite {
        out.extend_from_slice(text.as_bytes());
    } else {
        put(out, format_args!("\"{text}\""));
    }
}

/// Turns the shortest digits that name a number (`1.5e-7`) into Java's form (`1.5E-7`, `0.0015`, `150.0`).
///
/// Java prints two digits at least, and where one would do takes the nearest number of two: 4.9E-324, not 5.0E-324.
fn java_digits(shortest: String, names_the_number: impl Fn(&str) -> bool, two_digits: String) -> String {
    match shortest.as_str() {
        "NaN" => return "NaN".into(),
        "inf" => return "Infinity".into(),
        "-inf" => return "-Infinity".into(),
        _ => {}
    }
    let one_digit = !shortest.contains('.');
    let text = if one_digit && names_the_number(&two_digits) {
        two_digits
    } else {
        shortest
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole == "0" {
        return format!("{sign}0.0");
    }
    let digits = format!("{whole}{fraction}");
    if (0..7).contains(&exponent) {
        let split = exponent as usize + 1;
        let padded = format!("{digits:0<split$}");
        let (whole, fraction) = padded.split_at(split);
        let fraction = fraction.trim_end_matches('0');
        let fraction = if fraction.is_empty() { "0" } else { fraction };
        format!("{sign}{whole}.{fraction}")
    } else if (-3..0).contains(&exponent) {
        let zeros = "0".repeat((-exponent - 1) as usize);
        let digits = digits.trim_end_matches('0');
        format!("{sign}0.{zeros}{digits}")
    } else {
        let fraction = if fraction.is_empty() { "0" } else { fraction };
        format!("{sign}{whole}.{fraction}E{exponent}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        put_double(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_are_printed_as_java_does() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (100.0, "100.0"),
            (1234567.0, "1234567.0"),
            (9999999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (12345678.0, "1.2345678E7"),
            (0.001, "0.001"),
            (0.00123, "0.00123"),
            (0.05, "0.05"),
            (0.0001, "1.0E-4"),
            (1e308, "1.0E308"),
            (-1.5e-10, "-1.5E-10"),
            (f64::from_bits(1), "4.9E-324"),
            (1e23, "1.0E23"),
            (f64::MAX, "1.7976931348623157E308"),
            // Halfway between two shortest forms.
            (0.025_011_062_622_070_313, "0.025011062622070312"),
            (-0.527_870_178_222_656_3, "-0.5278701782226562"),
            (0.869_361_877_441_406_3, "0.8693618774414062"),
            (0.025_011_062_622_070_32, "0.02501106262207032"),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(double(value), text);
        }
        let mut out = Vec::new();
        put_float(&mut out, 1e10);
        put_float(&mut out, 0.1);
        assert_eq!(out, b"1.0E100.1");
    }

    #[test]
    fn strings_are_escaped_as_jackson_does() {
        let mut out = Vec::new();
        put_string(&mut out, "a\"\\\n\t\u{1}\u{1f}\u{7f}é\u{ffff}\u{10000}/");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"a\\\"\\\\\\n\\t\\u0001\\u001F\u{7f}é\u{ffff}\\uD800\\uDC00/\""
        );
    }
}
