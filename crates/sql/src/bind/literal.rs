//! Literals: numbers, text, TIMESTAMP, DATE, INTERVAL, `?`.

use arrow::array::{RecordBatch, RecordBatchOptions};
use chrono::NaiveDate;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, lit};
use datafusion::physical_expr::create_physical_expr;
use datafusion::sql::sqlparser::ast::{self, DateTimeField, Value, ValueWithSpan};

use super::{Binder, Typed};
use crate::parse::{parameters, position};
use crate::{SqlError, SqlType};

/// Makes a text literal.
pub(crate) fn text(value: impl Into<String>) -> Typed {
    let value = value.into();
    let length = u32::try_from(value.encode_utf16().count()).unwrap_or(u32::MAX);
    Typed::new(lit(value), SqlType::Char(length))
}

/// Makes a whole number literal: INTEGER up to 32 bits, BIGINT beyond.
pub(crate) fn long(value: i64) -> Typed {
    let ty = if i32::try_from(value).is_ok() {
        SqlType::Integer
    } else {
        SqlType::BigInt
    };
    Typed::new(lit(value), ty)
}

/// Makes a point in time.
pub(crate) fn timestamp(millis: i64) -> Expr {
    Expr::Literal(ScalarValue::TimestampMillisecond(Some(millis), None), None)
}

/// Gives the text of a literal expression.
pub(crate) fn as_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

/// Gives the number of a literal expression.
pub(crate) fn as_long(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => Some(*value),
        _ => None,
    }
}

/// Computes an expression that sees no columns; `None` where it does, or fails.
pub(crate) fn constant(expr: &Expr) -> Option<ScalarValue> {
    if let Expr::Literal(value, _) = expr {
        return Some(value.clone());
    }
    let computed = expr.column_refs().is_empty() && !expr.contains_outer() && !expr.is_volatile();
    if !computed {
        return None;
    }
    let schema = DFSchema::empty();
    let physical = create_physical_expr(
        expr,
        &schema,
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )
    .ok()?;
    let one_row = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(schema.inner().clone(), vec![], &one_row).ok()?;
    let array = physical.evaluate(&batch).ok()?.into_array(1).ok()?;
    ScalarValue::try_from_array(&array, 0).ok()
}

/// Gives the text of an expression that sees no columns.
pub(crate) fn constant_text(expr: &Expr) -> Option<String> {
    let value = constant(expr)?;
    value.try_as_str().flatten().map(str::to_string)
}

impl Binder<'_> {
    pub(super) fn value(&self, value: &ValueWithSpan) -> Result<Typed, SqlError> {
        Ok(match &value.value {
            Value::Number(number, _) => self.number(number, value)?,
            Value::SingleQuotedString(s)
            | Value::NationalStringLiteral(s)
            | Value::EscapedStringLiteral(s)
            | Value::UnicodeStringLiteral(s) => text(s.as_str()),
            Value::Boolean(b) => Typed::new(lit(*b), SqlType::Boolean),
            Value::Null => Typed::new(lit(ScalarValue::Null), SqlType::Null),
            Value::Placeholder(_) => return Err(parameters::unbound(self.tokens)),
            Value::HexStringLiteral(hex) => {
                if !hex.chars().all(|c| c.is_ascii_hexdigit()) {
                    return Err(SqlError::invalid(
                        "Binary literal string must contain only characters '0' - '9', 'A' - 'F'",
                    )
                    .in_grammar());
                }
                if hex.len() % 2 == 1 {
                    return Err(SqlError::invalid_at(
                        "Binary literal string must contain an even number of hexits",
                        Some(position(value.span)),
                    ));
                }
                return Err(SqlError::invalid(format!(
                    "Cannot handle literal [X'{hex}':BINARY({})] of unsupported type [BINARY].",
                    hex.len() / 2
                )));
            }
            other => {
                return Err(SqlError::invalid_at(
                    format!("Literal [{other}] is not supported"),
                    Some(position(value.span)),
                ));
            }
        })
    }

    fn number(&self, number: &str, value: &ValueWithSpan) -> Result<Typed, SqlError> {
        let out_of_range = || {
            SqlError::invalid_at(
                format!("Numeric literal '{}' out of range", number.to_ascii_uppercase()),
                Some(position(value.span)),
            )
        };
        if number.contains(['e', 'E']) {
            let double: f64 = number.parse().map_err(|_| out_of_range())?;
            if !double.is_finite() {
                return Err(out_of_range());
            }
            return Ok(Typed::new(lit(double), SqlType::Double));
        }
        let number = number.strip_suffix('.').unwrap_or(number);
        if number.contains('.') {
            let double: f64 = number.parse().map_err(|_| out_of_range())?;
            return Ok(Typed::new(lit(double), SqlType::Decimal));
        }
        number.parse::<i64>().map(long).map_err(|_| out_of_range())
    }

    /// Gives the text of a literal argument; `None` for NULL.
    pub(super) fn text_literal(&self, expr: &ast::Expr) -> Result<Option<String>, SqlError> {
        let ast::Expr::Value(value) = expr else {
            return Err(SqlError::invalid_at(
                "Expected a text literal".to_string(),
                self.place(expr),
            ));
        };
        let typed = self.value(value)?;
        match &typed.expr {
            Expr::Literal(ScalarValue::Utf8(text), _) => Ok(text.clone()),
            Expr::Literal(ScalarValue::Null, _) => Ok(None),
            _ => Err(SqlError::invalid_at(
                "Expected a text literal".to_string(),
                self.place(expr),
            )),
        }
    }

    /// `TIMESTAMP '…'`, `DATE '…'`.
    pub(super) fn typed_string(&self, typed: &ast::TypedString, expr: &ast::Expr) -> Result<Typed, SqlError> {
        let Value::SingleQuotedString(content) = &typed.value.value else {
            return Err(SqlError::invalid_at(
                "Expected a text literal".to_string(),
                self.place(expr),
            ));
        };
        match typed.data_type {
            ast::DataType::Timestamp(..) => match self.sql_timestamp(content) {
                Some(millis) => Ok(Typed::new(timestamp(millis), SqlType::Timestamp)),
                None => Err(SqlError::invalid_at(
                    format!("Illegal TIMESTAMP literal '{content}': not in format 'yyyy-MM-dd HH:mm:ss'"),
                    self.place(expr),
                )),
            },
            ast::DataType::Date => match sql_date(content.trim()) {
                Some(day) => Ok(Typed::new(
                    timestamp(self.zone.from_local(day * 86_400_000)),
                    SqlType::Date,
                )),
                None => Err(SqlError::invalid_at(
                    format!("Illegal DATE literal '{content}': not in format 'yyyy-MM-dd'"),
                    self.place(expr),
                )),
            },
            ast::DataType::Decimal(_) => self.value(&ast::ValueWithSpan {
                value: Value::Number(content.clone(), false),
                span: typed.value.span,
            }),
            _ => Err(SqlError::invalid(format!(
                "Cannot handle literal [{content}] of unsupported type [{}].",
                typed.data_type
            ))),
        }
    }

    /// Reads `yyyy-MM-dd[ HH:mm:ss[.S…]]` on the query's clock.
    pub(super) fn sql_timestamp(&self, text: &str) -> Option<i64> {
        crate::functions::time::read_sql_timestamp(text).map(|local| self.zone.from_local(local))
    }

    /// Reads SQL text or ISO-8601.
    pub(super) fn lenient_timestamp(&self, text: &str) -> Option<i64> {
        crate::functions::time::read_timestamp(text, self.zone)
    }

    /// `INTERVAL '1 2' DAY TO HOUR`; a number that is no literal counts units.
    pub(super) fn interval(
        &self,
        interval: &ast::Interval,
        whole: &ast::Expr,
        cx: &super::expr::Cx,
    ) -> Result<Typed, SqlError> {
        let fields = match (&interval.leading_field, &interval.last_field) {
            (Some(first), Some(last)) => format!("{first} TO {last}").to_ascii_uppercase(),
            (Some(first), None) => first.to_string().to_ascii_uppercase(),
            _ => String::new(),
        };
        let fields = fields.trim_end_matches('S');
        let bad = |text: &str| match text.trim() {
            "" => SqlError::invalid_at(format!("Illegal INTERVAL literal  {fields}; at"), self.place(whole)),
            _ => SqlError::invalid_at(
                format!("Illegal interval literal format '{text}' for INTERVAL {fields}"),
                self.place(whole),
            ),
        };
        let (value, sign) = match interval.value.as_ref() {
            ast::Expr::UnaryOp { op, expr } if matches!(expr.as_ref(), ast::Expr::Value(_)) => match op {
                ast::UnaryOperator::Minus => (expr.as_ref(), -1),
                _ => (expr.as_ref(), 1),
            },
            other => (other, 1),
        };
        let typed = self.expr(value, cx)?;
        let text = match &typed.expr {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => text.clone(),
            Expr::Literal(ScalarValue::Int64(Some(n)), _) => n.to_string(),
            _ if typed.ty.is_integer() && interval.last_field.is_none() => {
                let unit = interval.leading_field.as_ref();
                let unit = unit
                    .and_then(|first| read_interval("1", first, None))
                    .ok_or_else(|| bad("?"))?;
                return Ok(Typed::new(typed.expr * unit.expr, unit.ty));
            }
            _ => return Err(bad("?")),
        };
        let Some(first) = &interval.leading_field else {
            return Err(bad(&text));
        };
        let read = read_interval(&text, first, interval.last_field.as_ref()).ok_or_else(|| bad(&text))?;
        match (sign, as_long(&read.expr)) {
            (-1, Some(amount)) => Ok(Typed::new(lit(amount.wrapping_neg()), read.ty)),
            _ => Ok(read),
        }
    }
}

/// Reads `yyyy-M-d` as days since the epoch.
pub(crate) fn sql_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() > 4 || year.is_empty() {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)?;
    Some(i64::from(date.to_epoch_days()))
}

fn read_interval(text: &str, first: &DateTimeField, last: Option<&DateTimeField>) -> Option<Typed> {
    let negative = text.trim().starts_with('-');
    let body = text.trim().trim_start_matches(['-', '+']);
    let sign = if negative { -1 } else { 1 };
    let months = |n: i64| Typed::new(lit(sign * n), SqlType::IntervalMonth);
    let millis = |n: i64| Typed::new(lit(sign * n), SqlType::IntervalDay);
    let whole = || body.trim().parse::<i64>().ok();
    let unit = |field: &DateTimeField| -> Option<i64> {
        Some(match field {
            DateTimeField::Week(_) | DateTimeField::Weeks => 7 * 86_400_000,
            DateTimeField::Day | DateTimeField::Days => 86_400_000,
            DateTimeField::Hour | DateTimeField::Hours => 3_600_000,
            DateTimeField::Minute | DateTimeField::Minutes => 60_000,
            DateTimeField::Second | DateTimeField::Seconds => 1000,
            _ => return None,
        })
    };
    let Some(last) = last else {
        return Some(match first {
            DateTimeField::Year | DateTimeField::Years => months(whole()?.checked_mul(12)?),
            DateTimeField::Quarter => months(whole()?.checked_mul(3)?),
            DateTimeField::Month | DateTimeField::Months => months(whole()?),
            DateTimeField::Second | DateTimeField::Seconds => {
                millis((body.trim().parse::<f64>().ok()? * 1000.0).round() as i64)
            }
            other => millis(whole()?.checked_mul(unit(other)?)?),
        });
    };
    if matches!(first, DateTimeField::Year) && matches!(last, DateTimeField::Month) {
        let (years, rest) = body.split_once('-')?;
        let rest = rest.parse::<i64>().ok().filter(|months| (0..12).contains(months))?;
        return Some(months(years.parse::<i64>().ok()?.checked_mul(12)? + rest));
    }
    // `d h:m:s.f` from the first field to the last.
    let units = [86_400_000i64, 3_600_000, 60_000, 1000];
    let at = units.iter().position(|u| Some(*u) == unit(first))?;
    let to = units.iter().position(|u| Some(*u) == unit(last))?;
    let (days, clock) = match at {
        0 => body.split_once(' ').map(|(days, clock)| (Some(days), clock))?,
        _ => (None, body),
    };
    let parts: Vec<&str> = days.into_iter().chain(clock.trim_start().split(':')).collect();
    if to < at || parts.len() != to - at + 1 {
        return None;
    }
    let mut total = 0i64;
    for (i, (part, unit)) in parts.iter().zip(&units[at..=to]).enumerate() {
        let limit = if *unit == 3_600_000 { 24.0 } else { 60.0 };
        if i > 0 && part.parse::<f64>().ok()? >= limit {
            return None;
        }
        total = total.checked_add((part.parse::<f64>().ok()? * *unit as f64).round() as i64)?;
    }
    Some(millis(total))
}
