//! JSON as Druid's Jackson prints it, byte for byte: escapes, numbers, characters beyond U+FFFF.

use std::io::Write;

pub use henge_number::{put_i64 as put_long, put_json_f32 as put_float, put_json_f64 as put_double};

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

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = out.write_fmt(text);
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
