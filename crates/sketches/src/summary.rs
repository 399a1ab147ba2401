//! Numbers as Java prints them, for the texts of `…_TO_STRING` functions.

use henge_number::f64_text;

/// Formats a double as Java's `%e` does, within 12 columns.
pub(crate) fn java_scientific(value: f64) -> String {
    if !value.is_finite() {
        return format!("{:>12}", f64_text(value));
    }
    let text = format!("{value:.6e}");
    let (digits, exponent) = text.split_once('e').expect("`e` format writes an exponent");
    let exponent: i32 = exponent.parse().expect("exponents are integers");
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{:>12}", format!("{digits}e{sign}{:02}", exponent.abs()))
}
