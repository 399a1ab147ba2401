//! Casts and coercions: Druid's rules, where DataFusion's differ.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};

use super::any_value::{is_one, values_of};
use super::literal::{as_text, timestamp};
use super::{Binder, Typed};
use crate::functions;
use crate::{SqlError, SqlType};

/// Gives the least type that holds both, if there is one.
pub(crate) fn common_type(a: &SqlType, b: &SqlType) -> Option<SqlType> {
    use SqlType as T;
    if a == b {
        return Some(a.clone());
    }
    Some(match (a, b) {
        (T::Null, other) | (other, T::Null) => other.clone(),
        (T::Char(x), T::Char(y)) => {
            // Calcite keeps CHAR only for literals of one length; Druid reports VARCHAR otherwise.
            if x == y { T::Char(*x) } else { T::Varchar }
        }
        (T::MultiVarchar, other) | (other, T::MultiVarchar)
            if other.is_text() || other.is_numeric() || other.is_time() || *other == T::Boolean =>
        {
            T::MultiVarchar
        }
        (x, y) if x.is_text() && y.is_text() => T::Varchar,
        (x, y) if x.is_integer() && y.is_integer() => {
            if *x == T::BigInt || *y == T::BigInt {
                T::BigInt
            } else {
                T::Integer
            }
        }
        (T::Decimal, y) if y.is_integer() => T::Decimal,
        (x, T::Decimal) if x.is_integer() => T::Decimal,
        // Approximate numbers keep the more precise type, of two equally precise ones the first; 15 digits are FLOAT's too.
        (x, y) if x.is_numeric() && y.is_numeric() => match (x, y) {
            (T::Decimal, _) | (_, T::Decimal) => T::Double,
            (T::Float | T::Double, _) => x.clone(),
            (_, T::Float | T::Double) => y.clone(),
            _ => T::Real,
        },
        (T::Timestamp, T::Date) | (T::Date, T::Timestamp) => T::Timestamp,
        (x, y) if x.is_interval() && x == y => x.clone(),
        (T::Array(x), T::Array(y)) => T::Array(Box::new(common_type(x, y)?)),
        (T::MultiVarchar, T::Array(y)) | (T::Array(y), T::MultiVarchar) => T::Array(y.clone()),
        (x, y) if (x.is_text() && y.is_time()) || (x.is_time() && y.is_text()) => T::Varchar,
        (x, y) if (x.is_text() && y.is_numeric()) || (x.is_numeric() && y.is_text()) => T::Varchar,
        _ => return None,
    })
}

/// Gives the type of the branches of CASE and COALESCE, which mix some types that nothing else does.
pub(crate) fn branch_type(a: &SqlType, b: &SqlType) -> Option<SqlType> {
    let whole = |ty: &SqlType| ty.is_integer() || ty.is_interval();
    match (a, b) {
        (time, number) | (number, time) if time.is_time() && whole(number) => Some(time.clone()),
        (SqlType::Boolean, text) | (text, SqlType::Boolean) if text.is_text() => Some(SqlType::Varchar),
        _ => common_type(a, b),
    }
}

/// Gives a FLOAT at the 64 bits that it is computed with; what was narrowed before is not (see `wide_floats`).
pub(crate) fn widened(expr: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), DataType::Float64))
}

/// Makes a FLOAT of a number of 64 bits.
pub(crate) fn narrowed(expr: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), DataType::Float32))
}

impl Binder<'_> {
    /// Makes a NULL of a type.
    pub(crate) fn null_of(&self, ty: &SqlType) -> Typed {
        let value = ScalarValue::try_from(&ty.arrow()).unwrap_or(ScalarValue::Null);
        Typed::new(Expr::Literal(value, None), ty.clone())
    }

    /// Calls a function of the table on arguments that have its types already.
    pub(crate) fn call_native(&self, native: &str, args: Vec<Expr>) -> Result<Expr, SqlError> {
        match functions::udf(native) {
            Some(udf) => Ok(Expr::ScalarFunction(ScalarFunction::new_udf(udf, args))),
            None => Err(SqlError::general(
                crate::Persona::Developer,
                crate::Category::Defensive,
                format!("function [{native}] is not in the table"),
            )),
        }
    }

    /// Calls a function on every value of multi-value strings, or on every combination of their values.
    pub(crate) fn call_on_values(&self, native: &str, lists: Vec<Expr>) -> Result<Expr, SqlError> {
        let several: Vec<&Expr> = lists
            .iter()
            .filter(|expr| !super::expr::is_call(expr, "to_list"))
            .collect();
        let paired = several.windows(2).all(|pair| pair[0] == pair[1]);
        let udf = if paired {
            functions::mapped_udf(native)
        } else {
            functions::crossed_udf(native)
        };
        match udf {
            Some(udf) => Ok(Expr::ScalarFunction(ScalarFunction::new_udf(udf, lists))),
            None => self.call_native(native, lists),
        }
    }

    /// Calls a function on every value where an argument is a multi-value string.
    pub(crate) fn call_mapped(&self, native: &str, args: Vec<Expr>) -> Result<Expr, SqlError> {
        match functions::mapped_udf(native) {
            Some(udf) => Ok(Expr::ScalarFunction(ScalarFunction::new_udf(udf, args))),
            None => self.call_native(native, args),
        }
    }

    /// Casts as Druid does: what cannot be converted is NULL.
    pub(crate) fn cast(&self, from: Typed, to: &SqlType) -> Result<Typed, SqlError> {
        use SqlType as T;
        let Typed { expr, ty } = from;
        let done = |expr: Expr| Ok(Typed::new(expr, to.clone()));
        let plain = |expr: Expr| Expr::Cast(Cast::new(Box::new(expr), to.arrow()));
        if ty == *to {
            return done(expr);
        }
        let from = Typed::new(expr, ty);
        if is_one(&from) && !(from.ty.is_integer() && to.is_integer()) {
            return self.over_values(vec![from], |mut args| match args.pop() {
                Some(value) => self.cast(value, to),
                None => Ok(self.null_of(to)),
            });
        }
        let Typed { expr, ty } = from;
        match (&ty, to) {
            (T::Null, to) => Ok(self.null_of(to)),
            (T::MultiVarchar, T::Varchar | T::Char(_)) => Ok(Typed::new(expr, T::MultiVarchar)),
            (T::MultiVarchar, T::Array(element)) if element.is_text() => done(expr),
            (T::Array(element), T::MultiVarchar) if element.is_text() => done(expr),
            (x, T::MultiVarchar) if x.is_text() => done(self.call_native("to_list", vec![expr])?),
            (x, T::MultiVarchar) if x.is_numeric() || x.is_time() || *x == T::Boolean => {
                let text = self.cast(Typed::new(expr, ty), &T::Varchar)?;
                self.cast(text, to)
            }
            (x, y) if x.is_text() && y.is_text() => done(expr),
            (x, y) if x.is_integer() && (y.is_integer() || y.is_interval()) => done(expr),
            (T::Timestamp, T::Date) => {
                let zone = lit(self.zone.name());
                let floor = self.call_native(
                    "timestamp_floor",
                    vec![
                        expr,
                        lit("P1D"),
                        lit(ScalarValue::TimestampMillisecond(None, None)),
                        zone,
                    ],
                )?;
                done(floor)
            }
            (T::Date, T::Timestamp) => done(expr),
            (x, y) if x.is_integer() && (y.is_fraction() || y.is_time()) => match (&expr, y) {
                (Expr::Literal(ScalarValue::Int64(Some(n)), _), T::Double | T::Decimal | T::Real) => {
                    done(lit(*n as f64))
                }
                (_, T::Float) => {
                    let wide = match expr {
                        Expr::Literal(ScalarValue::Int64(Some(n)), _) => lit(n as f64),
                        other => Expr::Cast(Cast::new(Box::new(other), DataType::Float64)),
                    };
                    done(narrowed(wide))
                }
                _ => done(plain(expr)),
            },
            (T::Float, y) if y.is_fraction() => done(widened(expr)),
            (x, T::Float) if x.is_fraction() => done(narrowed(expr)),
            (x, y) if x.is_fraction() && y.is_fraction() => done(expr),
            (x, y) if x.is_time() && y.is_integer() => done(plain(expr)),
            // Times and numbers are converted as milliseconds.
            (x, y) if (x.is_time() && y.is_fraction()) || (x.is_fraction() && *y == T::Timestamp) => {
                let millis = self.cast(Typed::new(expr, ty.clone()), &T::BigInt)?;
                self.cast(millis, to)
            }
            (x, y) if x.is_interval() && y.is_time() => done(plain(expr)),
            (T::Boolean, T::Float) => done(narrowed(Expr::Cast(Cast::new(
                Box::new(Expr::Cast(Cast::new(Box::new(expr), DataType::Int64))),
                DataType::Float64,
            )))),
            (T::Boolean, y) if y.is_numeric() => done(plain(expr)),
            // A boolean is a LONG at run time, and prints as one.
            (T::Boolean, y) if y.is_text() => {
                let number = Expr::Cast(Cast::new(Box::new(expr), DataType::Int64));
                done(self.call_native("cast_string", vec![number])?)
            }
            // Of whole numbers all but zero are true, of the whole part of others what is above zero.
            (x, T::Boolean) if x.is_fraction() => {
                let whole = self.cast(Typed::new(expr, ty), &T::BigInt)?;
                done(whole.expr.gt(lit(0i64)))
            }
            (x, T::Boolean) if x.is_numeric() => {
                let zero = lit(ScalarValue::new_zero(&x.arrow()).unwrap_or(ScalarValue::Null));
                // The planner, which computes constants, takes numbers below zero for false.
                done(match expr.column_refs().is_empty() && !expr.contains_outer() {
                    true => expr.gt(zero),
                    false => expr.not_eq(zero),
                })
            }
            (x, T::Boolean) if x.is_text() => done(self.call_native("cast_boolean", vec![expr])?),
            (T::Float, y) if y.is_integer() => done(self.call_native("cast_long", vec![widened(expr)])?),
            (x, y) if x.is_fraction() && y.is_integer() => done(self.call_native("cast_long", vec![expr])?),
            (T::MultiVarchar, y) if y.is_numeric() => {
                let native = if y.is_integer() { "cast_long" } else { "cast_double" };
                let list = self.call_mapped(native, vec![expr])?;
                self.one_of(list, y.clone())
            }
            (x, y) if x.is_text() && y.is_integer() => done(self.call_native("cast_long", vec![expr])?),
            (x, T::Float) if x.is_text() => done(narrowed(self.call_native("cast_double", vec![expr])?)),
            (x, y) if x.is_text() && y.is_fraction() => done(self.call_native("cast_double", vec![expr])?),
            (x, y) if x.is_text() && y.is_time() => {
                if let Some(text) = as_text(&expr)
                    && let Some(millis) = self.lenient_timestamp(text)
                {
                    let typed = Typed::new(timestamp(millis), T::Timestamp);
                    return self.cast(typed, to);
                }
                let parsed = self.call_native("cast_timestamp", vec![expr, lit(self.zone.name())])?;
                self.cast(Typed::new(parsed, T::Timestamp), to)
            }
            (T::Date, y) if y.is_text() => {
                done(self.call_native("timestamp_format", vec![expr, lit("yyyy-MM-dd"), lit(self.zone.name())])?)
            }
            (T::Timestamp, y) if y.is_text() => done(self.call_native(
                "timestamp_format",
                vec![expr, lit("yyyy-MM-dd HH:mm:ss"), lit(self.zone.name())],
            )?),
            // Expressions read 32 bits as 64, and show them so.
            (T::Float, y) if y.is_text() => done(self.call_native("cast_string", vec![widened(expr)])?),
            (x, y) if x.is_numeric() && y.is_text() => done(self.call_native("cast_string", vec![expr])?),
            (T::Array(x), T::Array(y)) => {
                if x.arrow() == y.arrow() {
                    return done(expr);
                }
                if x.is_text() && y.is_numeric() || x.is_fraction() && y.is_integer() || y.is_text() {
                    let native = if y.is_text() {
                        "cast_array_string"
                    } else if y.is_integer() {
                        "cast_array_long"
                    } else {
                        "cast_array_double"
                    };
                    return done(self.call_native(native, vec![expr])?);
                }
                done(Expr::TryCast(TryCast::new(Box::new(expr), to.arrow())))
            }
            (T::Complex(_) | T::Other, y) if y.is_text() && expr_is_text(&ty) => done(expr),
            (x, T::Complex(_) | T::Other) if x.arrow() == to.arrow() => done(expr),
            _ => Err(SqlError::invalid(format!(
                "Cast function cannot convert value of type {} to type {}",
                ty.in_message(),
                to.in_message()
            ))),
        }
    }

    /// Brings expressions to their common type.
    pub(crate) fn unify(&self, items: Vec<Typed>) -> Result<(Vec<Typed>, SqlType), Vec<SqlType>> {
        self.unify_by(items, common_type)
    }

    /// Brings the branches of CASE and COALESCE to their common type.
    pub(crate) fn unify_branches(&self, items: Vec<Typed>) -> Result<(Vec<Typed>, SqlType), Vec<SqlType>> {
        self.unify_by(items, branch_type)
    }

    fn unify_by(
        &self,
        items: Vec<Typed>,
        common_of: fn(&SqlType, &SqlType) -> Option<SqlType>,
    ) -> Result<(Vec<Typed>, SqlType), Vec<SqlType>> {
        let types: Vec<SqlType> = items.iter().map(|t| t.ty.clone()).collect();
        let mut common = SqlType::Null;
        for ty in &types {
            common = common_of(&common, ty).ok_or_else(|| types.clone())?;
        }
        let target = common.clone();
        let cast: Result<Vec<Typed>, SqlError> = items.into_iter().map(|item| self.cast(item, &target)).collect();
        cast.map(|cast| (cast, common)).map_err(|_| types)
    }

    /// Casts to BOOLEAN where rows are decided about: texts are true that say so, and fractions above zero.
    pub(super) fn truth_in_filter(&self, value: Typed) -> Result<Typed, SqlError> {
        let Typed { expr, ty } = value;
        let truth = match &ty {
            _ if is_literal(&expr) => return self.cast(Typed::new(expr, ty), &SqlType::Boolean),
            text if text.is_text() && *text != SqlType::MultiVarchar => {
                self.call_native("lower", vec![expr])?.eq(lit("true"))
            }
            number if number.is_fraction() => self.cast(Typed::new(expr, ty), &SqlType::Double)?.expr.gt(lit(0f64)),
            _ => return self.cast(Typed::new(expr, ty), &SqlType::Boolean),
        };
        Ok(Typed::new(truth, SqlType::Boolean))
    }

    /// Compares, with Druid's conversions between text, numbers and times.
    pub(crate) fn compare(&self, op: Operator, left: Typed, right: Typed) -> Result<Expr, Box<(SqlType, SqlType)>> {
        use SqlType as T;
        let types = Box::new((left.ty.clone(), right.ty.clone()));
        let fail = |_: SqlError| types.clone();
        let make = |l: Expr, r: Expr| Expr::BinaryExpr(BinaryExpr::new(Box::new(l), op, Box::new(r)));
        let (a, b) = (left.ty.clone(), right.ty.clone());
        match (&a, &b) {
            (T::MultiVarchar, T::Array(_)) | (T::Array(_), T::MultiVarchar) => return Err(types),
            _ if values_of(&left).is_some() || values_of(&right).is_some() => {
                return self.any_compared(op, left, right).map_err(fail);
            }
            (T::Null, _) => return Ok(make(self.null_of(&b).expr, right.expr)),
            (_, T::Null) => return Ok(make(left.expr, self.null_of(&a).expr)),
            (x, y) if x.is_text() && y.is_text() => return Ok(make(left.expr, right.expr)),
            _ => {}
        }
        match (&a, &b) {
            // Of number literals 1 is true, and all others are false.
            (T::Boolean, y) if y.is_numeric() && is_literal(&right.expr) => {
                return Ok(make(left.expr, lit(is_number_one(&right.expr))));
            }
            (x, T::Boolean) if x.is_numeric() && is_literal(&left.expr) => {
                return Ok(make(lit(is_number_one(&left.expr)), right.expr));
            }
            (T::Boolean, y) if y.is_text() && is_literal(&right.expr) => {
                return Ok(make(left.expr, said_true(&right.expr)));
            }
            (x, T::Boolean) if x.is_text() && is_literal(&left.expr) => {
                return Ok(make(said_true(&left.expr), right.expr));
            }
            _ => {}
        }
        let target = self
            .compared_as(op, (&a, &b), &left.expr, &right.expr)
            .ok_or_else(|| types.clone())?;
        let left = self.cast(left, &target).map_err(fail)?;
        let right = self.cast(right, &target).map_err(fail)?;
        Ok(make(left.expr, right.expr))
    }

    /// Gives the type in which two values are compared.
    pub(super) fn compared_as(
        &self,
        op: Operator,
        (a, b): (&SqlType, &SqlType),
        left: &Expr,
        right: &Expr,
    ) -> Option<SqlType> {
        use SqlType as T;
        Some(match (a, b) {
            // Equality with a literal is looked for in 32 bits; all else is compared in 64.
            (T::Float, y) if is_equality(op) && is_number_literal(right, y) => T::Float,
            (x, T::Float) if is_equality(op) && is_number_literal(left, x) => T::Float,
            (T::Float, y) | (y, T::Float) if y.is_numeric() => T::Double,
            (x, y) if x.is_time() && y.is_text() || x.is_text() && y.is_time() => T::Timestamp,
            (x, y) if x.is_text() && y.is_numeric() => text_number(left, y, right),
            (x, y) if x.is_numeric() && y.is_text() => text_number(right, x, left),
            (x, y) if x.is_time() && y.is_numeric() || x.is_numeric() && y.is_time() => return None,
            (T::Boolean, y) if y.is_numeric() => y.clone(),
            (x, T::Boolean) if x.is_numeric() => x.clone(),
            (T::Boolean, y) | (y, T::Boolean) if y.is_text() => T::Boolean,
            _ => common_type(a, b)?,
        })
    }

    /// Makes a condition of a value: numbers are true above zero, text if it says so.
    pub(crate) fn truth(&self, value: Typed) -> Result<Expr, SqlError> {
        match &value.ty {
            // A condition on every value of a row holds where it does for any.
            SqlType::Boolean => match values_of(&value) {
                Some((list, _)) => self.call_native("any_true", vec![list]),
                None => Ok(value.expr),
            },
            SqlType::Null => Ok(self.null_of(&SqlType::Boolean).expr),
            _ if is_one(&value) => self.truth(self.cast(value, &SqlType::Boolean)?),
            _ => Ok(self.cast(value, &SqlType::Boolean)?.expr),
        }
    }
}

/// Gives the type in which text and a number are compared.
fn text_number(text: &Expr, number: &SqlType, value: &Expr) -> SqlType {
    match as_text(text) {
        // A JSON value takes the type of what it is compared with.
        None if number.is_numeric() && is_json_value(text) => number.clone(),
        // Text is cut to the whole numbers that it is compared with; a filter on a number that is written looks at all of it.
        None if number.is_integer() && !is_literal(value) => SqlType::BigInt,
        // A literal is read as the number that it stands beside, which cuts fractions off.
        Some(_) if number.is_integer() => number.clone(),
        _ => SqlType::Double,
    }
}

fn is_json_value(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name().starts_with("json_value"))
}

fn is_equality(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom
    )
}

/// Tells whether it is a literal that says a number.
fn is_number_literal(expr: &Expr, ty: &SqlType) -> bool {
    match as_text(expr) {
        Some(text) => text.trim().parse::<f64>().is_ok(),
        None => match expr {
            Expr::Cast(cast) => ty.is_numeric() && is_literal(&cast.expr),
            other => ty.is_numeric() && is_literal(other),
        },
    }
}

/// Gives what a text literal says of truth: unknown where it says nothing.
fn said_true(expr: &Expr) -> Expr {
    let said = as_text(expr).and_then(functions::cast::is_true);
    Expr::Literal(ScalarValue::Boolean(said), None)
}

fn is_number_one(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Int64(value), _) => *value == Some(1),
        Expr::Literal(ScalarValue::Float64(value), _) => *value == Some(1.0),
        _ => false,
    }
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

fn expr_is_text(ty: &SqlType) -> bool {
    ty.arrow() == DataType::Utf8
}

/// Reads a SQL type of CAST.
pub(crate) fn sql_type(data_type: &datafusion::sql::sqlparser::ast::DataType) -> Option<SqlType> {
    use datafusion::sql::sqlparser::ast::DataType as D;
    Some(match data_type {
        D::Char(length) | D::Character(length) => SqlType::Char(match length {
            Some(datafusion::sql::sqlparser::ast::CharacterLength::IntegerLength { length, .. }) => {
                u32::try_from(*length).unwrap_or(u32::MAX)
            }
            _ => 1,
        }),
        D::Varchar(_) | D::CharVarying(_) | D::CharacterVarying(_) | D::Nvarchar(_) | D::Text | D::String(_) => {
            SqlType::Varchar
        }
        D::TinyInt(_) => SqlType::TinyInt,
        D::SmallInt(_) => SqlType::SmallInt,
        D::Int(_) | D::Integer(_) => SqlType::Integer,
        D::BigInt(_) => SqlType::BigInt,
        D::Float(_) => SqlType::Float,
        D::Real => SqlType::Real,
        D::Double(_) | D::DoublePrecision => SqlType::Double,
        D::Decimal(_) | D::Dec(_) | D::Numeric(_) => SqlType::Decimal,
        D::Boolean | D::Bool => SqlType::Boolean,
        D::Timestamp(..) => SqlType::Timestamp,
        D::Date => SqlType::Date,
        D::Array(datafusion::sql::sqlparser::ast::ArrayElemTypeDef::SquareBracket(inner, _))
        | D::Array(datafusion::sql::sqlparser::ast::ArrayElemTypeDef::AngleBracket(inner)) => {
            SqlType::Array(Box::new(sql_type(inner)?))
        }
        _ => return None,
    })
}
