//! Numbers: rounding, powers, logarithms, trigonometry, bits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::Result;

use super::args::{Args, double_result, long_result, try_text_result};
use super::failure::Failure;
use super::scalar::{Param, ScalarDef, returns};
use crate::SqlType;

const NUM: &[Param] = &[Param::Num];
const DOUBLE: &[Param] = &[Param::Double];
const TWO: &[Param] = &[Param::Double, Param::Double];
const INTS: &[Param] = &[Param::Int, Param::Int];

macro_rules! unary {
    ($name:literal, $native:literal, $f:expr) => {
        ScalarDef::new($name, $native, DOUBLE, returns::double, |args| {
            let x = args.double(0)?;
            // Not by a pointer: the function is to go into the loop.
            let f = $f;
            double_result(args.rows(), |row| x.get(row).map(|x: f64| -> f64 { f(x) }))
        })
    };
}

macro_rules! bits {
    ($name:literal, $native:literal, $f:expr) => {
        ScalarDef::new($name, $native, INTS, returns::bigint, |args| {
            let (a, b) = (args.long(0)?, args.long(1)?);
            let f = $f;
            long_result(args.rows(), |row| Some(f(a.get(row)?, b.get(row)?)))
        })
    };
}

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new("ABS", "abs", NUM, returns::first, |args| {
        same(args, i64::wrapping_abs, f64::abs)
    }),
    ScalarDef::new("CEIL", "ceil", &[Param::Num, Param::Int], returns::first, |args| {
        scaled(args, f64::ceil)
    })
    .min(1)
    .aliases(&["CEILING"]),
    ScalarDef::new("FLOOR", "floor", &[Param::Num, Param::Int], returns::first, |args| {
        scaled(args, f64::floor)
    })
    .min(1),
    ScalarDef::new("ROUND", "round", &[Param::Num, Param::Int], returns::first, |args| {
        let digits = args.long(1)?;
        by_digits(
            args,
            |x, row| round_half_up(x, digits.get(row).unwrap_or(0)),
            |n, row| round_long(n, digits.get(row).unwrap_or(0)),
        )
    })
    .min(1),
    ScalarDef::new(
        "TRUNCATE",
        "truncate",
        &[Param::Num, Param::Int],
        returns::first,
        |args| {
            let digits = args.long(1)?;
            by_digits(
                args,
                |x, row| truncate(x, digits.get(row).unwrap_or(0)),
                |n, row| {
                    let unit = 10i64.checked_pow(
                        u32::try_from(digits.get(row).unwrap_or(0).min(0).saturating_neg()).unwrap_or(u32::MAX),
                    );
                    unit.map_or(0, |unit| n / unit * unit)
                },
            )
        },
    )
    .min(1)
    .aliases(&["TRUNC"]),
    ScalarDef::new("MOD", "mod", &[Param::Num, Param::Num], modulo_type, |args| {
        if modulo_longs(args) {
            let (a, b) = (args.long(0)?, args.long(1)?);
            return super::args::try_long_result(args.rows(), |row| match (a.get(row), b.get(row)) {
                (Some(_), Some(0)) => Err(division_by_zero()),
                (Some(a), Some(b)) => Ok(Some(remainder(a, b))),
                _ => Ok(None),
            });
        }
        let (a, b) = (args.double(0)?, args.double(1)?);
        double_result(args.rows(), |row| Some(a.get(row)? % b.get(row)?))
    }),
    ScalarDef::new("DIV", "div", &[Param::Num, Param::Num], returns::bigint, |args| {
        if !modulo_longs(args) {
            let (a, b) = (args.double(0)?, args.double(1)?);
            return long_result(args.rows(), |row| Some((a.get(row)? / b.get(row)?) as i64));
        }
        let (a, b) = (args.long(0)?, args.long(1)?);
        super::args::try_long_result(args.rows(), |row| match (a.get(row), b.get(row)) {
            (Some(_), Some(0)) => Err(Failure::Unknown.of(args, "Function[div] encountered unknown exception.")),
            (Some(a), Some(b)) => Ok(Some(quotient(a, b))),
            _ => Ok(None),
        })
    }),
    ScalarDef::new(
        "SAFE_DIVIDE",
        "safe_divide",
        &[Param::Num, Param::Num],
        quotient_type,
        |args| {
            if modulo_longs(args) {
                let (a, b) = (args.long(0)?, args.long(1)?);
                return long_result(args.rows(), |row| {
                    let (a, b) = (a.get(row)?, b.get(row)?);
                    (b != 0).then(|| quotient(a, b))
                });
            }
            let (a, b) = (args.double(0)?, args.double(1)?);
            double_result(args.rows(), |row| {
                let (a, b) = (a.get(row)?, b.get(row)?);
                match b == 0.0 || b.is_nan() {
                    // Nothing of nothing is nothing.
                    true => (a == 0.0).then_some(0.0),
                    false => Some(a / b),
                }
            })
        },
    ),
    ScalarDef::new("POWER", "pow", TWO, returns::double, |args| {
        let (x, y) = (args.double(0)?, args.double(1)?);
        double_result(args.rows(), |row| Some(x.get(row)?.powf(y.get(row)?)))
    }),
    ScalarDef::new("ATAN2", "atan2", TWO, returns::double, |args| {
        let (x, y) = (args.double(0)?, args.double(1)?);
        double_result(args.rows(), |row| Some(x.get(row)?.atan2(y.get(row)?)))
    }),
    unary!("SQRT", "sqrt", f64::sqrt),
    unary!("EXP", "exp", f64::exp),
    unary!("LN", "log", f64::ln),
    unary!("LOG10", "log10", f64::log10),
    unary!("SIN", "sin", f64::sin),
    unary!("COS", "cos", f64::cos),
    unary!("TAN", "tan", f64::tan),
    unary!("COT", "cot", |x: f64| x.cos() / x.sin()),
    unary!("ASIN", "asin", f64::asin),
    unary!("ACOS", "acos", f64::acos),
    unary!("ATAN", "atan", f64::atan),
    unary!("DEGREES", "toDegrees", f64::to_degrees),
    unary!("RADIANS", "toRadians", f64::to_radians),
    bits!("BITWISE_AND", "bitwiseAnd", |a: i64, b: i64| a & b),
    bits!("BITWISE_OR", "bitwiseOr", |a: i64, b: i64| a | b),
    bits!("BITWISE_XOR", "bitwiseXor", |a: i64, b: i64| a ^ b),
    bits!("BITWISE_SHIFT_LEFT", "bitwiseShiftLeft", |a: i64, b: i64| a
        .wrapping_shl(b as u32)),
    bits!("BITWISE_SHIFT_RIGHT", "bitwiseShiftRight", |a: i64, b: i64| a
        .wrapping_shr(b as u32)),
    ScalarDef::new(
        "BITWISE_COMPLEMENT",
        "bitwiseComplement",
        &[Param::Int],
        returns::bigint,
        |args| {
            let a = args.long(0)?;
            long_result(args.rows(), |row| a.get(row).map(|a| !a))
        },
    ),
    ScalarDef::new(
        "BITWISE_CONVERT_DOUBLE_TO_LONG_BITS",
        "bitwiseConvertDoubleToLongBits",
        DOUBLE,
        returns::bigint,
        |args| {
            let a = args.double(0)?;
            long_result(args.rows(), |row| a.get(row).map(|a| a.to_bits() as i64))
        },
    ),
    ScalarDef::new(
        "BITWISE_CONVERT_LONG_BITS_TO_DOUBLE",
        "bitwiseConvertLongBitsToDouble",
        &[Param::Int],
        returns::double,
        |args| {
            let a = args.long(0)?;
            double_result(args.rows(), |row| a.get(row).map(|a| f64::from_bits(a as u64)))
        },
    ),
    ScalarDef::new(
        "HUMAN_READABLE_BINARY_BYTE_FORMAT",
        "human_readable_binary_byte_format",
        INTS,
        returns::varchar,
        |args| human(args, "human_readable_binary_byte_format", Units::BinaryBytes),
    )
    .min(1),
    ScalarDef::new(
        "HUMAN_READABLE_DECIMAL_BYTE_FORMAT",
        "human_readable_decimal_byte_format",
        INTS,
        returns::varchar,
        |args| human(args, "human_readable_decimal_byte_format", Units::DecimalBytes),
    )
    .min(1),
    ScalarDef::new(
        "HUMAN_READABLE_DECIMAL_FORMAT",
        "human_readable_decimal_format",
        INTS,
        returns::varchar,
        |args| human(args, "human_readable_decimal_format", Units::Decimal),
    )
    .min(1),
];

/// The error of an integer division by zero, in Java's words.
pub(super) fn division_by_zero() -> datafusion::common::DataFusionError {
    datafusion::common::DataFusionError::External(Box::new(crate::SqlError::general(
        crate::Persona::Admin,
        crate::Category::Uncategorized,
        "/ by zero",
    )))
}

fn quotient_type(types: &[SqlType]) -> SqlType {
    match types {
        [a, b] => crate::bind::coerce::common_type(a, b).unwrap_or(SqlType::Double),
        _ => SqlType::Double,
    }
}

fn modulo_type(types: &[SqlType]) -> SqlType {
    match types {
        [a, b] if a.is_integer() && b.is_integer() => b.clone(),
        // MOD takes exact numbers only: a fraction becomes a DECIMAL.
        _ => SqlType::Decimal,
    }
}

/// Divides what fits 32 bits there, which takes a fraction of the time.
fn quotient(a: i64, b: i64) -> i64 {
    match (u32::try_from(a), u32::try_from(b)) {
        (Ok(a), Ok(b)) => i64::from(a / b),
        _ => a.wrapping_div(b),
    }
}

fn remainder(a: i64, b: i64) -> i64 {
    match (u32::try_from(a), u32::try_from(b)) {
        (Ok(a), Ok(b)) => i64::from(a % b),
        _ => a.wrapping_rem(b),
    }
}

fn modulo_longs(args: &Args) -> bool {
    (0..2).all(|i| args.data_type(i) == DataType::Int64)
}

/// Applies a function of integers or of fractions, by the argument's type.
fn same(args: &Args, long: impl Fn(i64) -> i64, double: impl Fn(f64) -> f64) -> Result<ArrayRef> {
    let array = args.array(0)?;
    Ok(match array.data_type() {
        DataType::Int64 => Arc::new(array.as_primitive::<Int64Type>().unary::<_, Int64Type>(long)),
        DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(double)),
        _ => {
            let x = args.double(0)?;
            return double_result(args.rows(), |row| x.get(row).map(&double));
        }
    })
}

fn by_digits(args: &Args, double: impl Fn(f64, usize) -> f64, long: impl Fn(i64, usize) -> i64) -> Result<ArrayRef> {
    if args.data_type(0) == DataType::Int64 {
        let n = args.long(0)?;
        return long_result(args.rows(), |row| n.get(row).map(|n| long(n, row)));
    }
    let x = args.double(0)?;
    double_result(args.rows(), |row| x.get(row).map(|x| double(x, row)))
}

fn scaled(args: &Args, step: impl Fn(f64) -> f64) -> Result<ArrayRef> {
    if args.data_type(0) == DataType::Int64 {
        return args.array(0);
    }
    let (x, digits) = (args.double(0)?, args.long(1)?);
    double_result(args.rows(), |row| {
        let x = x.get(row)?;
        let unit = 10f64.powi(i32::try_from(digits.get(row).unwrap_or(0)).unwrap_or(0));
        Some(step(x * unit) / unit)
    })
}

/// Powers of ten that a double holds exactly, and that leave room for the digits before the point.
const UNITS: [f64; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

/// Rounds the shortest decimal text, ties away from zero (`BigDecimal` HALF_UP).
fn round_half_up(x: f64, digits: i64) -> f64 {
    if x.is_nan() {
        return 0.0;
    }
    if x.is_infinite() {
        return if x > 0.0 { f64::MAX } else { f64::MIN };
    }
    // Where no half is near, multiplying cannot round to the wrong side, and dividing whole numbers gives the nearest double.
    if let Some(unit) = usize::try_from(digits).ok().and_then(|digits| UNITS.get(digits)) {
        let scaled = x * unit;
        if scaled.abs() < 1e12 && (scaled.fract().abs() - 0.5).abs() > 1e-3 {
            // No negative zero.
            return scaled.round() / unit + 0.0;
        }
        // A decimal of up to 15 digits is the only such one that reads as its double, so these are the digits of the shortest text.
        let wide = (scaled * 10.0).round();
        if wide.abs() < 1e15 && wide / (unit * 10.0) == x {
            let wide = wide as i64;
            let up = if (wide % 10).abs() >= 5 { wide.signum() } else { 0 };
            return (wide / 10 + up) as f64 / unit + 0.0;
        }
    }
    round_text(x, digits)
}

fn round_text(x: f64, digits: i64) -> f64 {
    let text = format!("{x:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return x;
    };
    let negative = mantissa.starts_with('-');
    let digits_only: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let Ok(exponent) = exponent.parse::<i64>() else {
        return x;
    };
    // The value is 0.d1d2d3… × 10^(exponent + 1); keep this many digits.
    let keep = digits.saturating_add(exponent + 1);
    if keep >= digits_only.len() as i64 {
        return x;
    }
    if keep < 0 {
        return 0.0;
    }
    let keep = keep as usize;
    let up = digits_only.as_bytes()[keep] >= b'5';
    let head: i128 = digits_only[..keep].parse().unwrap_or(0);
    let head = head + i128::from(up);
    let rounded: f64 = format!("{head}e{}", digits.saturating_neg()).parse().unwrap_or(x);
    if negative && rounded != 0.0 { -rounded } else { rounded }
}

fn round_long(n: i64, digits: i64) -> i64 {
    if digits >= 0 {
        return n;
    }
    let Some(unit) = u32::try_from(digits.saturating_neg())
        .ok()
        .and_then(|d| 10i64.checked_pow(d))
    else {
        return 0;
    };
    let half = unit / 2;
    let over = n % unit;
    let base = n - over;
    if over.abs() >= half {
        base.saturating_add(unit * over.signum())
    } else {
        base
    }
}

fn truncate(x: f64, digits: i64) -> f64 {
    // What is left of the point is a LONG, and ends where LONGs do.
    let unit = 10f64.powi(digits.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
    (x * unit) as i64 as f64 / unit
}

/// How sizes are shortened (`HumanReadableBytes.UnitSystem`).
#[derive(Clone, Copy, PartialEq)]
enum Units {
    BinaryBytes,
    DecimalBytes,
    Decimal,
}

fn human(args: &Args, name: &str, units: Units) -> Result<ArrayRef> {
    let (value, precision) = (args.long(0)?, args.long(1)?);
    try_text_result(args.rows(), |row| {
        let Some(value) = value.get(row) else {
            return Ok(None);
        };
        let precision = precision.get(row).unwrap_or(2);
        match usize::try_from(precision).ok().filter(|digits| *digits <= 3) {
            Some(digits) => Ok(Some(shortened(value, digits, units))),
            None => Err(Failure::Refused.of(
                args,
                format!("Function[{name}] given precision[{precision}] must be in the range of [0,3]"),
            )),
        }
    })
}

fn shortened(value: i64, digits: usize, units: Units) -> String {
    let suffix = if units == Units::Decimal { "" } else { "B" };
    let small = if units == Units::BinaryBytes { 1024 } else { 1000 };
    let text = if value > -small && value < small {
        format!("{value} {suffix}")
    } else if units == Units::BinaryBytes {
        const NAMES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let unit = (63 - value.unsigned_abs().leading_zeros() as usize) / 10;
        let size = value as f64 / (1u64 << (unit * 10)) as f64;
        format!("{size:.digits$} {}{suffix}", NAMES[unit.min(6)])
    } else {
        const NAMES: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
        let (mut rest, mut unit) = (value, 0);
        while rest <= -1_000_000 || rest >= 1_000_000 {
            rest /= 1000;
            unit += 1;
        }
        format!("{:.digits$} {}{suffix}", rest as f64 / 1000.0, NAMES[unit])
    };
    text.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn rounds_on_the_shortest_text() {
        for (x, digits, expected) in [
            (1.005, 2, 1.01),
            (2.675, 2, 2.68),
            (-2.5, 0, -3.0),
            (0.5, 0, 1.0),
            (-73.9377670288086, 0, -74.0),
            (1250.0, -2, 1300.0),
            (4.0, 3, 4.0),
            (0.04, 0, 0.0),
            (1.4999, 0, 1.0),
            (-1.23456789, 4, -1.2346),
            (123456789.987654, 3, 123456789.988),
            (1e300, 2, 1e300),
            (0.1, 10, 0.1),
        ] {
            assert_eq!(super::round_half_up(x, digits), expected, "{x} {digits}");
        }
        assert!(super::round_half_up(-0.04, 0).is_sign_positive());
        // The short way gives what the text gives.
        let mut seed = 1u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let x = (seed >> 20) as f64 / f64::from(1u32 << (seed % 32) as u32) - 1000.0;
            let digits = (seed >> 8) as i64 % 11;
            let (short, text) = (super::round_half_up(x, digits), super::round_text(x, digits));
            assert_eq!(short.to_bits(), text.to_bits(), "{x} {digits}");
            // Decimals of one digit more: a tenth of them are ties.
            let decimal = ((seed >> 30) % 100_000_000) as f64 / 10f64.powi(digits as i32 + 1) - 3.0;
            let (short, text) = (
                super::round_half_up(decimal, digits),
                super::round_text(decimal, digits),
            );
            assert_eq!(short.to_bits(), text.to_bits(), "{decimal} {digits}");
        }
        assert_eq!(
            (
                super::round_long(1250, -2),
                super::round_long(-1250, -2),
                super::round_long(49, -2)
            ),
            (1300, -1300, 0)
        );
    }
}
