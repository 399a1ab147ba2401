//! Numbers as Java prints them (`Long.toString`, `Double.toString`, `Float.toString` since JDK 19, which are the shortest digits
//! that read back as the same value).

/// Appends a whole number.
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a whole number.
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a double: plain digits from 10⁻³ to 10⁷, `d.dE±n` outside, and quoted names for what JSON has no number for.
pub fn push_f64(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        return push_non_finite(out, value);
    }
    let size = value.abs();
    if size < 1e7 && value == value.trunc() && (value != 0.0 || value.is_sign_positive()) {
        // Most doubles of real tables are small whole numbers.
        push_i64(out, value as i64);
        out.extend_from_slice(b".0");
        return;
    }
    let mut buffer = ryu::Buffer::new();
    let digits = buffer.format_finite(value);
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        out.extend_from_slice(digits.as_bytes());
    } else {
        push_scientific(out, digits);
    }
}

/// Appends a float; see [`push_f64`].
pub fn push_f32(out: &mut Vec<u8>, value: f32) {
    if !value.is_finite() {
        return push_non_finite(out, f64::from(value));
    }
    let size = value.abs();
    let mut buffer = ryu::Buffer::new();
    let digits = buffer.format_finite(value);
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        out.extend_from_slice(digits.as_bytes());
    } else {
        push_scientific(out, digits);
    }
}

fn push_non_finite(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(if value.is_nan() {
        b"\"NaN\""
    } else if value > 0.0 {
        b"\"Infinity\""
    } else {
        b"\"-Infinity\""
    });
}

/// Turns digits in any notation (`123456789.0`, `1e300`, `1.5e-7`, `0.00012`) into `d.dddE±n`.
fn push_scientific(out: &mut Vec<u8>, digits: &str) {
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
    for digit in whole.bytes().chain(fraction.bytes()) {
        all[length] = digit;
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
    if significant.len() > 1 {
        out.extend_from_slice(&significant[1..]);
    } else {
        out.push(b'0');
    }
    out.push(b'E');
    push_i64(out, i64::from(power));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        push_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn float(value: f32) -> String {
        let mut out = Vec::new();
        push_f32(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_print_as_java_prints_them() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (4.0, "4.0"),
            (-2.25, "-2.25"),
            (0.001, "0.001"),
            (0.00099, "9.9E-4"),
            (9_999_999.0, "9999999.0"),
            (9_999_999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (123_456_789.0, "1.23456789E8"),
            (-12_345_678.5, "-1.23456785E7"),
            (1e300, "1.0E300"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157E308"),
            (2e-5, "2.0E-5"),
            (66.666_666_666_666_67, "66.66666666666667"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(double(value), expected, "{value:e}");
        }
    }

    #[test]
    fn floats_print_their_own_digits() {
        assert_eq!(float(1.1), "1.1");
        assert_eq!(float(1.5), "1.5");
        assert_eq!(float(16_777_216.0), "1.6777216E7");
        assert_eq!(float(1e-10), "1.0E-10");
    }

    proptest! {
        #[test]
        fn every_double_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(double(value).parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
