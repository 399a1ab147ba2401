//! Numbers as Java prints them (`Long.toString`, `Double.toString`, `Float.toString` since JDK 19), which is how Druid prints them.
//!
//! 1. The shortest decimal that reads back as the same value is taken, of several the nearest, of two as near the one whose last digit is
//!    even. Ryu gives just that.
//! 2. Java wants two digits at least: where one would do, it takes the nearest decimal of two, so 4.9E-324, not 5.0E-324.
//! 3. From 10⁻³ to 10⁷ digits stand plain, with one behind the point at least; outside of that as `d.dE±n`.

/// From here on a decimal of two digits that is not the one of one digit and a zero is another number.
const TWO_DIGITS_F64: f64 = 1e-300;
const TWO_DIGITS_F32: f32 = 1e-40;

/// Appends a whole number.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a whole number.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a double: `1.0`, `0.001`, `1.0E7`, `NaN`, `-Infinity`.
pub fn put_f64(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        return out.extend_from_slice(name(value));
    }
    let size = value.abs();
    if size < 1e7 && value == value.trunc() && (value != 0.0 || value.is_sign_positive()) {
        // Most doubles of real tables are small whole numbers.
        put_i64(out, value as i64);
        return out.extend_from_slice(b".0");
    }
    let mut buffer = ryu::Buffer::new();
    let digits = buffer.format_finite(value);
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return out.extend_from_slice(digits.as_bytes());
    }
    if size < TWO_DIGITS_F64 {
        let two = format!("{value:.1e}");
        if has_one_digit(digits) && two.parse() == Ok(value) {
            return put_scientific(out, &two);
        }
    }
    put_scientific(out, digits);
}

/// Appends a float; see [`put_f64`].
pub fn put_f32(out: &mut Vec<u8>, value: f32) {
    if !value.is_finite() {
        return out.extend_from_slice(name(f64::from(value)));
    }
    let size = value.abs();
    let mut buffer = ryu::Buffer::new();
    let digits = buffer.format_finite(value);
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return out.extend_from_slice(digits.as_bytes());
    }
    if size < TWO_DIGITS_F32 {
        let two = format!("{value:.1e}");
        if has_one_digit(digits) && two.parse() == Ok(value) {
            return put_scientific(out, &two);
        }
    }
    put_scientific(out, digits);
}

/// Appends a double as JSON: quoted where JSON has no such number.
pub fn put_json_f64(out: &mut Vec<u8>, value: f64) {
    quoted_unless(value.is_finite(), out, |out| put_f64(out, value));
}

/// Appends a float as JSON; see [`put_json_f64`].
pub fn put_json_f32(out: &mut Vec<u8>, value: f32) {
    quoted_unless(value.is_finite(), out, |out| put_f32(out, value));
}

#[inline]
fn quoted_unless(is_number: bool, out: &mut Vec<u8>, put: impl Fn(&mut Vec<u8>)) {
    if is_number {
        return put(out);
    }
    out.push(b'"');
    put(out);
    out.push(b'"');
}

/// Gives a double as text.
pub fn f64_text(value: f64) -> String {
    text(|out| put_f64(out, value))
}

/// Gives a float as text.
pub fn f32_text(value: f32) -> String {
    text(|out| put_f32(out, value))
}

fn text(put: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(24);
    put(&mut out);
    // Nothing but ASCII was put.
    String::from_utf8(out).unwrap_or_default()
}

fn name(value: f64) -> &'static [u8] {
    if value.is_nan() {
        b"NaN"
    } else if value > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    }
}

fn has_one_digit(digits: &str) -> bool {
    let mantissa = digits.split('e').next().unwrap_or(digits);
    mantissa.bytes().filter(|byte| (b'1'..=b'9').contains(byte)).count() == 1
}

/// Turns digits in any notation (`123456789.0`, `1e300`, `1.5e-7`, `0.00012`) into `d.dddE±n`.
fn put_scientific(out: &mut Vec<u8>, digits: &str) {
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits),
    };
    let (mantissa, exponent) = match digits.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(0)),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut all = [0u8; 64];
    let mut length = 0;
    for (slot, digit) in all.iter_mut().zip(whole.bytes().chain(fraction.bytes())) {
        *slot = digit;
        length += 1;
    }
    let all = &all[..length];
    let leading = all.iter().take_while(|d| **d == b'0').count();
    let significant = &all[leading..];
    let trailing = significant.iter().rev().take_while(|d| **d == b'0').count();
    let significant = &significant[..significant.len() - trailing];
    let power = exponent + whole.len() as i32 - 1 - leading as i32;
    if negative {
        out.push(b'-');
    }
    out.push(significant.first().copied().unwrap_or(b'0'));
    out.push(b'.');
    match significant {
        [] | [_] => out.push(b'0'),
        [_, rest @ ..] => out.extend_from_slice(rest),
    }
    out.push(b'E');
    put_i64(out, i64::from(power));
}
