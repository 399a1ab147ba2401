//! Arithmetic, on numbers and on points in time.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator as B};

use super::{Binder, Typed, literal};
use crate::{SqlError, SqlType};

impl Binder<'_> {
    /// `left || right`.
    pub(super) fn concatenated(&self, whole: &ast::Expr, left: Typed, right: Typed) -> Result<Typed, SqlError> {
        let scalar = |ty: &SqlType| !matches!(ty, SqlType::Array(_) | SqlType::Complex(_));
        if scalar(&left.ty) != scalar(&right.ty) {
            let (a, b) = (left.in_message(), right.in_message());
            return Err(SqlError::invalid(format!(
                "Cannot apply '||' to arguments of type '<{a}> || <{b}>'. Supported form(s): '<STRING> || <STRING>'"
            )));
        }
        let characters = match (&left.ty, &right.ty) {
            (SqlType::Char(a), SqlType::Char(b)) => Some(a.saturating_add(*b)),
            _ => None,
        };
        let mut joined = self.named_call("CONCAT", vec![left, right], whole)?;
        if let Some(length) = characters {
            joined.ty = SqlType::Char(length);
        }
        Ok(joined)
    }

    pub(super) fn arithmetic(&self, whole: &ast::Expr, left: Typed, op: &B, right: Typed) -> Result<Typed, SqlError> {
        let (a, b) = (left.ty.clone(), right.ty.clone());
        let shown = [left.in_message(), right.in_message()];
        let wrong = || {
            let forms = match op {
                B::Plus => {
                    "'<NUMERIC> + <NUMERIC>'\n'<DATETIME_INTERVAL> + <DATETIME_INTERVAL>'\n'<DATETIME> + <DATETIME_INTERVAL>'\n'<DATETIME_INTERVAL> + <DATETIME>'".to_string()
                }
                B::Minus => {
                    "'<NUMERIC> - <NUMERIC>'\n'<DATETIME_INTERVAL> - <DATETIME_INTERVAL>'\n'<DATETIME> - <DATETIME_INTERVAL>'".to_string()
                }
                B::Multiply => {
                    "'<NUMERIC> * <NUMERIC>'\n'<NUMERIC> * <DATETIME_INTERVAL>'\n'<DATETIME_INTERVAL> * <NUMERIC>'".to_string()
                }
                other => format!("'<NUMERIC> {other} <NUMERIC>'"),
            };
            SqlError::invalid_at(
                format!(
                    "Cannot apply '{op}' to arguments of type '<{}> {op} <{}>'. Supported form(s): {forms}",
                    shown[0], shown[1]
                ),
                self.place(whole),
            )
        };
        let (time, span, sign) = match (&a, op, &b) {
            (t, B::Plus, s) if t.is_time() && s.is_interval() => (&left, &right, 1),
            (t, B::Minus, s) if t.is_time() && s.is_interval() => (&left, &right, -1),
            (s, B::Plus, t) if t.is_time() && s.is_interval() => (&right, &left, 1),
            (x, B::Multiply, y) if x.is_interval() && y.is_integer() || x.is_integer() && y.is_interval() => {
                let ty = if x.is_interval() { a.clone() } else { b.clone() };
                return Ok(Typed::new(left.expr * right.expr, ty));
            }
            (x, B::Divide, y) if x.is_interval() && y.is_integer() => {
                return Ok(Typed::new(left.expr / right.expr, a.clone()));
            }
            (x, B::Multiply | B::Divide, y) if x.is_interval() && y.is_fraction() => {
                let span = self.cast(Typed::new(left.expr, SqlType::BigInt), &SqlType::Double)?;
                let factor = self.cast(right, &SqlType::Double)?;
                let product = match op {
                    B::Multiply => span.expr * factor.expr,
                    _ => span.expr / factor.expr,
                };
                let whole = self.cast(Typed::new(product, SqlType::Double), &SqlType::BigInt)?;
                return Ok(Typed::new(whole.expr, a.clone()));
            }
            (x, B::Multiply, y) if x.is_fraction() && y.is_interval() => {
                return self.arithmetic(whole, right, op, left);
            }
            (x, B::Plus | B::Minus, y) if x.is_interval() && x == y => {
                let expr = if *op == B::Plus {
                    left.expr + right.expr
                } else {
                    left.expr - right.expr
                };
                return Ok(Typed::new(expr, a.clone()));
            }
            _ => {
                let number = |ty: &SqlType| ty.is_numeric() || *ty == SqlType::Null;
                let readable = |ty: &SqlType| number(ty) || matches!(ty, SqlType::Char(_) | SqlType::Varchar);
                if !(readable(&a) && readable(&b)) {
                    return Err(wrong());
                }
                // Two texts are read as decimals.
                let (left, right) = match number(&a) || number(&b) {
                    true => (left, right),
                    false => (
                        self.cast(left, &SqlType::Decimal)?,
                        self.cast(right, &SqlType::Decimal)?,
                    ),
                };
                return self.numbers(left, op, right).map_err(|_| wrong());
            }
        };
        let name = if span.ty == SqlType::IntervalMonth {
            "timestamp_plus_months"
        } else {
            "timestamp_plus"
        };
        let ty = time.ty.clone();
        let amount = match literal::as_long(&span.expr) {
            Some(amount) => lit(amount.wrapping_mul(sign)),
            None if sign < 0 => lit(0i64) - span.expr.clone(),
            None => span.expr.clone(),
        };
        // A constant is computed here, so that filters on time stay comparisons with literals.
        if let (Expr::Literal(ScalarValue::TimestampMillisecond(Some(millis), _), _), Some(amount)) =
            (&time.expr, literal::as_long(&amount))
        {
            let moved = if name == "timestamp_plus" {
                millis.checked_add(amount)
            } else {
                crate::functions::period::add_months(*millis, amount, self.zone)
            };
            if let Some(moved) = moved {
                return Ok(Typed::new(literal::timestamp(moved), ty));
            }
        }
        let expr = self.call_native(name, vec![time.expr.clone(), amount, lit(self.zone.name())])?;
        Ok(Typed::new(expr, ty))
    }

    fn numbers(&self, left: Typed, op: &B, right: Typed) -> Result<Typed, SqlError> {
        // Text is read as the other side's type.
        let (a, b) = (left.ty.clone(), right.ty.clone());
        let left = if a.is_text() { self.cast(left, &b)? } else { left };
        let right = if b.is_text() { self.cast(right, &a)? } else { right };
        let mut ty = super::coerce::common_type(&left.ty, &right.ty).unwrap_or(SqlType::Double);
        if matches!(ty, SqlType::TinyInt | SqlType::SmallInt | SqlType::Null) {
            ty = SqlType::Integer;
        }
        // A FLOAT is computed in 64 bits and narrowed at the end.
        let computed = if ty == SqlType::Float {
            SqlType::Double
        } else {
            ty.clone()
        };
        let left = self.cast(left, &computed)?;
        let right = self.cast(right, &computed)?;
        let operator = match op {
            B::Plus => Operator::Plus,
            B::Minus => Operator::Minus,
            B::Multiply => Operator::Multiply,
            B::Divide => Operator::Divide,
            _ => Operator::Modulo,
        };
        let expr = Expr::BinaryExpr(BinaryExpr::new(Box::new(left.expr), operator, Box::new(right.expr)));
        let expr = if ty == SqlType::Float {
            super::coerce::narrowed(expr)
        } else {
            expr
        };
        Ok(Typed::new(expr, ty))
    }
}
