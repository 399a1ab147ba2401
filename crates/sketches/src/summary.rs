//! Numbers as Java prints them, for the texts of `…_TO_STRING` functions.

/// Formats a double as Java's `Double.toString` does.
pub(crate) fn java_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-3..1e7).contains(&magnitude) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').expect("`e` format writes an exponent");
        let point = if digits.contains('.') { "" } else { ".0" };
        return format!("{digits}{point}E{exponent}");
    }
    let text = format!("{value}");
    if text.contains('.') { text } else { format!("{text}.0") }
}

/// Formats a double as Java's `%e` does, within 12 columns.
pub(crate) fn java_scientific(value: f64) -> String {
    if !value.is_finite() {
        return format!("{:>12}", java_double(value));
    }
    let text = format!("{value:.6e}");
    let (digits, exponent) = text.split_once('e').expect("`e` format writes an exponent");
    let exponent: i32 = exponent.parse().expect("exponents are integers");
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{:>12}", format!("{digits}e{sign}{:02}", exponent.abs()))
}
