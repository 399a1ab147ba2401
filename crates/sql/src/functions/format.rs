//! STRING_FORMAT: Java's `String.format`, the way Druid calls it (`StringUtils.nonStrictFormat`).
//!
//! A pattern that does not fit its arguments is no error: the pattern stands as it is, the arguments behind it, each after
//! `; `. Without arguments a pattern is text.
//!
//! ```text
//! %[index$][flags][width][.precision]conversion
//! ```
//!
//! Whole numbers go with `d`, `o` and `x`, fractions with `f`, `e`, `g` and `a`, everything with `s`, `b` and `h`. Widths and
//! precisions of text count UTF-16 units. Fractions are rounded half up, from their shortest decimal form. The conversions
//! of times (`t`) and characters (`c`) take no value that expressions have.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::Result;
use henge_number::f64_text;

use super::args::{Args, check_bytes, try_text_result};
use super::string::{utf16_len, utf16_slice};

/// A column of arguments.
enum Column {
    Long(Int64Array),
    Double(Float64Array),
    Text(StringArray),
}

/// An argument of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value<'a> {
    Null,
    Long(i64),
    Double(f64),
    Text(&'a str),
}

impl Column {
    fn new(array: &ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Float64 | DataType::Float32 => {
                let wide = cast(array, &DataType::Float64)?;
                Column::Double(wide.as_primitive::<Float64Type>().clone())
            }
            DataType::Int64 | DataType::Boolean | DataType::Timestamp(..) => {
                let values = [datafusion::logical_expr::ColumnarValue::Array(array.clone())];
                let longs = Args::new(&values, array.len()).long(0)?;
                Column::Long((0..array.len()).map(|row| longs.get(row)).collect())
            }
            _ => Column::Text(super::cast::word(array)?),
        })
    }

    fn get(&self, row: usize) -> Value<'_> {
        match self {
            Column::Long(x) if x.is_valid(row) => Value::Long(x.value(row)),
            Column::Double(x) if x.is_valid(row) => Value::Double(x.value(row)),
            Column::Text(x) if x.is_valid(row) => Value::Text(x.value(row)),
            _ => Value::Null,
        }
    }
}

impl Value<'_> {
    /// Words the value as `toString` does.
    fn word(self) -> String {
        match self {
            Value::Null => "null".to_string(),
            Value::Long(x) => x.to_string(),
            Value::Double(x) => f64_text(x),
            Value::Text(x) => x.to_string(),
        }
    }

    /// Gives the value's `hashCode`.
    fn hash(self) -> i32 {
        let of_long = |x: u64| (x ^ (x >> 32)) as i32;
        match self {
            Value::Null => 0,
            Value::Long(x) => of_long(x as u64),
            Value::Double(x) => of_long(if x.is_nan() { 0x7ff8_0000_0000_0000 } else { x.to_bits() }),
            Value::Text(x) => x
                .encode_utf16()
                .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit))),
        }
    }
}

/// The kernel of STRING_FORMAT.
pub(super) fn format_text(args: &Args) -> Result<ArrayRef> {
    let pattern = args.text(0)?;
    let columns = (1..args.len())
        .map(|i| Column::new(&args.array(i)?))
        .collect::<Result<Vec<_>>>()?;
    try_text_result(args.rows(), |row| {
        let Some(pattern) = pattern.get(row) else {
            return Ok(None);
        };
        if columns.is_empty() {
            return Ok(Some(pattern.to_string()));
        }
        let values: Vec<Value> = columns.iter().map(|column| column.get(row)).collect();
        formatted(pattern, &values).map(Some)
    })
}

/// Formats, or puts the arguments behind the pattern.
fn formatted(pattern: &str, values: &[Value]) -> Result<String> {
    let Some(pieces) = parse(pattern) else {
        return Ok(behind(pattern, values));
    };
    let mut out = String::new();
    let (mut next, mut last) = (0, None);
    for piece in pieces {
        let spec = match piece {
            Piece::Text(text) => {
                out.push_str(text);
                continue;
            }
            Piece::Spec(spec) => spec,
        };
        if matches!(spec.kind, '%' | 'n') {
            match spec.fixed() {
                Some(text) => out.push_str(&text),
                None => return Ok(behind(pattern, values)),
            }
            continue;
        }
        let at = match spec.argument {
            Argument::Next => {
                next += 1;
                Some(next - 1)
            }
            Argument::Same => last,
            Argument::At(index) => Some(index),
        };
        let value = at.and_then(|at| values.get(at));
        last = at;
        check_bytes(out.len().saturating_add(spec.digits()))?;
        let Some(text) = value.and_then(|value| spec.of(*value)) else {
            return Ok(behind(pattern, values));
        };
        check_bytes(
            out.len()
                .saturating_add(text.len())
                .saturating_add(spec.width.unwrap_or(0)),
        )?;
        out.push_str(&spec.padded(text));
    }
    Ok(out)
}

fn behind(pattern: &str, values: &[Value]) -> String {
    let mut out = pattern.to_string();
    for value in values {
        out.push_str("; ");
        out.push_str(&value.word());
    }
    out
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Argument {
    Next,
    Same,
    At(usize),
}

#[derive(Debug)]
struct Spec<'p> {
    argument: Argument,
    flags: &'p str,
    width: Option<usize>,
    precision: Option<usize>,
    kind: char,
    upper: bool,
}

enum Piece<'p> {
    Text(&'p str),
    Spec(Spec<'p>),
}

/// Takes a pattern apart; `None` where it is none of Java's.
fn parse(pattern: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((text, spec)) = rest.split_once('%') {
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        let (spec, behind) = parse_spec(spec)?;
        pieces.push(Piece::Spec(spec));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Some(pieces)
}

fn parse_spec(text: &str) -> Option<(Spec<'_>, &str)> {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let mut rest = text;
    let mut argument = Argument::Next;
    let count = digits(rest);
    if count > 0 && rest[count..].starts_with('$') {
        let index: usize = rest[..count].parse().ok()?;
        argument = Argument::At(index.checked_sub(1)?);
        rest = &rest[count + 1..];
    }
    let flags_end = rest.len() - rest.trim_start_matches(['-', '#', '+', ' ', '0', ',', '(', '<']).len();
    let flags = &rest[..flags_end];
    rest = &rest[flags_end..];
    if flags
        .bytes()
        .enumerate()
        .any(|(i, flag)| flags.as_bytes()[..i].contains(&flag))
    {
        return None;
    }
    if flags.contains('<') {
        argument = Argument::Same;
    }
    let count = digits(rest);
    let width = if count > 0 {
        Some(rest[..count].parse().ok()?)
    } else {
        None
    };
    rest = &rest[count..];
    let mut precision = None;
    if let Some(behind) = rest.strip_prefix('.') {
        let count = digits(behind);
        precision = Some(behind[..count].parse().ok()?);
        rest = &behind[count..];
    }
    let kind = rest.chars().next()?;
    let rest = &rest[kind.len_utf8()..];
    let known = matches!(
        kind,
        'b' | 'B'
            | 'h'
            | 'H'
            | 's'
            | 'S'
            | 'd'
            | 'o'
            | 'x'
            | 'X'
            | 'e'
            | 'E'
            | 'f'
            | 'g'
            | 'G'
            | 'a'
            | 'A'
            | '%'
            | 'n'
            | 'c'
            | 'C'
    );
    let spec = Spec {
        argument,
        flags,
        width,
        precision,
        kind: kind.to_ascii_lowercase(),
        upper: kind.is_ascii_uppercase(),
    };
    (known && spec.is_sound()).then_some((spec, rest))
}

impl Spec<'_> {
    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    /// Gives how many digits behind the point the conversion writes.
    fn digits(&self) -> usize {
        match self.kind {
            'e' | 'f' | 'g' => self.precision.unwrap_or(0),
            _ => 0,
        }
    }

    /// Tells whether flags, width and precision go with the conversion.
    fn is_sound(&self) -> bool {
        let refused = match self.kind {
            'd' => "#",
            'o' | 'x' => "+ (,",
            'e' => ",",
            'f' => "",
            'g' => "#",
            'a' => "(,",
            'n' => "-#+ 0,(",
            _ => "#+ 0,(",
        };
        if refused.chars().any(|flag| self.has(flag)) {
            return false;
        }
        if (self.has('-') && self.has('0')) || (self.has('+') && self.has(' ')) {
            return false;
        }
        if self.width.is_none() && (self.has('-') || self.has('0')) {
            return false;
        }
        match self.kind {
            'd' | 'o' | 'x' | 'c' | '%' => self.precision.is_none(),
            'n' => self.precision.is_none() && self.width.is_none(),
            _ => true,
        }
    }

    /// Gives what `%%` and `%n` stand for.
    fn fixed(&self) -> Option<String> {
        if self.kind == 'n' {
            return Some("\n".to_string());
        }
        Some(self.padded("%".to_string()))
    }

    /// Words a value without padding by blanks; `None` where it does not go with the conversion.
    fn of(&self, value: Value) -> Option<String> {
        let cut = |text: &str| match self.precision {
            Some(most) => utf16_slice(text, 0, most),
            None => text.to_string(),
        };
        let text = match (self.kind, value) {
            ('b', Value::Null) => cut("false"),
            ('b', _) => cut("true"),
            ('d' | 'o' | 'x' | 'c', Value::Null) => "null".to_string(),
            (_, Value::Null) => cut("null"),
            ('s', value) => cut(&value.word()),
            ('h', value) => cut(&format!("{:x}", value.hash())),
            ('d', Value::Long(x)) => self.signed(&x.unsigned_abs().to_string(), x < 0),
            ('o', Value::Long(x)) => self.with_zeros(if self.has('#') { "0" } else { "" }, &format!("{x:o}")),
            ('x', Value::Long(x)) => self.with_zeros(if self.has('#') { "0x" } else { "" }, &format!("{x:x}")),
            ('f' | 'e' | 'g' | 'a', Value::Double(x)) => self.fraction(x),
            _ => return None,
        };
        Some(if self.upper { text.to_uppercase() } else { text })
    }

    fn fraction(&self, x: f64) -> String {
        if x.is_nan() {
            return "NaN".to_string();
        }
        let negative = x.is_sign_negative();
        if x.is_infinite() {
            return match (negative, self.has('('), self.has('+'), self.has(' ')) {
                (true, true, ..) => "(Infinity)".to_string(),
                (true, ..) => "-Infinity".to_string(),
                (false, _, true, _) => "+Infinity".to_string(),
                (false, _, _, true) => " Infinity".to_string(),
                _ => "Infinity".to_string(),
            };
        }
        let decimal = Decimal::of(x.abs());
        let precision = self.precision.unwrap_or(6);
        let digits = match self.kind {
            'e' => decimal.scientific(precision),
            'g' => decimal.general(precision),
            'a' => hexadecimal(x.abs()),
            _ => decimal.fixed(precision),
        };
        self.signed(&digits, negative)
    }

    /// Adds commas, the sign, and leading zeros.
    fn signed(&self, digits: &str, negative: bool) -> String {
        let digits = if self.has(',') {
            grouped(digits)
        } else {
            digits.to_string()
        };
        let (before, after) = match negative {
            true if self.has('(') => ("(", ")"),
            true => ("-", ""),
            false if self.has('+') => ("+", ""),
            false if self.has(' ') => (" ", ""),
            false => ("", ""),
        };
        let mut text = self.with_zeros_around(before, &digits, after.len());
        text.push_str(after);
        text
    }

    fn with_zeros(&self, before: &str, digits: &str) -> String {
        self.with_zeros_around(before, digits, 0)
    }

    fn with_zeros_around(&self, before: &str, digits: &str, after: usize) -> String {
        let width = self
            .width
            .filter(|_| self.has('0'))
            .unwrap_or(0)
            .min(crate::limits::MAX_BATCH_BYTES);
        let zeros = width.saturating_sub(before.len() + digits.len() + after);
        format!("{before}{}{digits}", "0".repeat(zeros))
    }

    /// Fills up to the width with blanks.
    fn padded(&self, text: String) -> String {
        let width = self.width.unwrap_or(0).min(crate::limits::MAX_BATCH_BYTES);
        let blanks = " ".repeat(width.saturating_sub(utf16_len(&text)));
        if self.has('-') { text + &blanks } else { blanks + &text }
    }
}

/// The shortest decimal digits of a fraction: `0.d1d2d3… × 10^exponent`.
struct Decimal {
    digits: Vec<u8>,
    exponent: i32,
}

impl Decimal {
    /// Reads a finite fraction that is not negative, as Java words it.
    fn of(x: f64) -> Self {
        let text = f64_text(x);
        let (mantissa, power) = text.split_once('E').unwrap_or((&text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all: Vec<u8> = whole
            .bytes()
            .chain(fraction.bytes())
            .map(|digit| digit - b'0')
            .collect();
        let Some(zeros) = all.iter().position(|digit| *digit != 0) else {
            return Decimal {
                digits: vec![0],
                exponent: 1,
            };
        };
        Decimal {
            digits: all[zeros..].to_vec(),
            exponent: power.parse::<i32>().unwrap_or(0) + whole.len() as i32 - zeros as i32,
        }
    }

    fn is_zero(&self) -> bool {
        self.digits.iter().all(|digit| *digit == 0)
    }

    /// Keeps so many digits, half up.
    fn rounded(&self, keep: i64) -> Self {
        let keep = match usize::try_from(keep) {
            Ok(keep) if keep < self.digits.len() => keep,
            Ok(_) => {
                return Decimal {
                    digits: self.digits.clone(),
                    exponent: self.exponent,
                };
            }
            Err(_) => {
                return Decimal {
                    digits: vec![0],
                    exponent: 1,
                };
            }
        };
        let up = self.digits[keep] >= 5;
        let mut digits = self.digits[..keep].to_vec();
        let mut exponent = self.exponent;
        if up {
            let mut at = keep;
            loop {
                if at == 0 {
                    digits.insert(0, 1);
                    exponent += 1;
                    break;
                }
                at -= 1;
                if digits[at] == 9 {
                    digits[at] = 0;
                } else {
                    digits[at] += 1;
                    break;
                }
            }
        }
        if digits.is_empty() {
            return Decimal {
                digits: vec![0],
                exponent: 1,
            };
        }
        Decimal { digits, exponent }
    }

    fn digit(&self, at: i64) -> char {
        let digit = usize::try_from(at).ok().and_then(|at| self.digits.get(at)).copied();
        char::from(b'0' + digit.unwrap_or(0))
    }

    fn fixed(&self, precision: usize) -> String {
        let rounded = self.rounded(i64::from(self.exponent) + precision as i64);
        let exponent = i64::from(rounded.exponent);
        let mut out: String = if exponent <= 0 {
            "0".to_string()
        } else {
            (0..exponent).map(|at| rounded.digit(at)).collect()
        };
        if precision > 0 {
            out.push('.');
            out.extend((0..precision as i64).map(|at| rounded.digit(exponent + at)));
        }
        out
    }

    fn scientific(&self, precision: usize) -> String {
        let rounded = self.rounded(precision as i64 + 1);
        let exponent = if rounded.is_zero() { 0 } else { rounded.exponent - 1 };
        let mut out = String::from(rounded.digit(0));
        if precision > 0 {
            out.push('.');
            out.extend((1..=precision as i64).map(|at| rounded.digit(at)));
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{out}e{sign}{:02}", exponent.abs())
    }

    fn general(&self, precision: usize) -> String {
        let precision = precision.max(1);
        if self.is_zero() {
            return self.fixed(precision - 1);
        }
        let rounded = self.rounded(precision as i64);
        if rounded.exponent > -4 && i64::from(rounded.exponent) <= precision as i64 {
            let places = precision as i64 - i64::from(rounded.exponent);
            return rounded.fixed(usize::try_from(places).unwrap_or(0));
        }
        rounded.scientific(precision - 1)
    }
}

/// `Double.toHexString` of a finite fraction that is not negative.
fn hexadecimal(x: f64) -> String {
    let bits = x.to_bits();
    let (exponent, mantissa) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    if bits == 0 {
        return "0x0.0p0".to_string();
    }
    let digits = format!("{mantissa:013x}");
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    if exponent == 0 {
        format!("0x0.{digits}p-1022")
    } else {
        format!("0x1.{digits}p{}", exponent as i64 - 1023)
    }
}

fn grouped(digits: &str) -> String {
    let whole = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let mut out = String::new();
    for (i, c) in digits[..whole].chars().enumerate() {
        if i > 0 && (whole - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out + &digits[whole..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_javas() {
        use Value::{Double, Long, Null, Text};
        // Recorded from Druid.
        for (pattern, values, text) in [
            ("%5d|%-5d|%05d|%+d|%,d", vec![Long(1); 5], "    1|1    |00001|+1|1"),
            ("%(d|% d", vec![Long(-1), Long(1)], "(1)| 1"),
            ("%05d|%x", vec![Null, Null], " null|null"),
            ("%.2f", vec![Null], "nu"),
            ("%10s|", vec![Text("a😀b")], "      a😀b|"),
            (
                "%e %g %a",
                vec![Double(1e10); 3],
                "1.000000e+10 1.00000e+10 0x1.2a05f2p33",
            ),
            ("%e %g %a", vec![Double(0.5); 3], "5.000000e-01 0.500000 0x1.0p-1"),
            ("%g|%.3g", vec![Double(12345.678), Double(2.0)], "12345.7|2.00"),
            (
                "%.0f|%.0f|%.1f",
                vec![Double(1.5), Double(2.5), Double(0.25)],
                "2|3|0.3",
            ),
            ("%,.3f", vec![Double(-1234567.891)], "-1,234,567.891"),
            ("%08.2f", vec![Double(1.0)], "00001.00"),
            (
                "%e|%.3f",
                vec![Double(f64::from_bits(1)), Double(0.0625)],
                "4.900000e-324|0.063",
            ),
            (
                "%x %#x %08x",
                vec![Long(255), Long(10), Long(-1)],
                "ff 0xa ffffffffffffffff",
            ),
            ("%s %<s %1$s", vec![Text("a"), Long(1)], "a a a"),
            ("%5%|%-5%|", vec![Text("")], "    %|%    |"),
            ("no arguments", vec![Long(1)], "no arguments"),
            ("%tq", vec![Long(1)], "%tq; 1"),
            ("%b", vec![Long(0)], "true"),
        ] {
            assert_eq!(formatted(pattern, &values).expect(pattern), text, "{pattern}");
        }
        // What does not fit stands as it is.
        for (pattern, values, text) in [
            ("%d", vec![Double(0.5)], "%d; 0.5"),
            ("%f", vec![Long(1)], "%f; 1"),
            ("%s %s", vec![Null], "%s %s; null"),
            ("%q", vec![Text("x")], "%q; x"),
            ("%", vec![Text("x")], "%; x"),
            ("%-s", vec![Text("x")], "%-s; x"),
            ("%05s", vec![Text("x")], "%05s; x"),
            ("%.2d", vec![Long(1)], "%.2d; 1"),
            ("%+x", vec![Long(1)], "%+x; 1"),
            ("%-05d", vec![Long(1)], "%-05d; 1"),
            ("%+ d", vec![Long(1)], "%+ d; 1"),
            ("%0$s", vec![Text("a")], "%0$s; a"),
            ("%3$s", vec![Text("a"), Long(1)], "%3$s; a; 1"),
            ("%c", vec![Long(65)], "%c; 65"),
        ] {
            assert_eq!(formatted(pattern, &values).expect(pattern), text, "{pattern}");
        }
    }
}
