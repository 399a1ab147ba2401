//! Function calls: looking names up, judging arguments, casting them to what the function takes.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};
use datafusion::sql::sqlparser::ast::{self, Spanned};

use super::expr::Cx;
use super::scope::did_you_mean;
use super::{Binder, Typed, aggregate, nearest};
use crate::functions::{self, Param, ScalarDef};
use crate::{SqlError, SqlType};

impl Binder<'_> {
    /// Binds a call of any kind.
    pub(super) fn function(&self, function: &ast::Function, whole: &ast::Expr, cx: &Cx) -> Result<Typed, SqlError> {
        let name = function.name.to_string();
        let upper = name.trim_matches('"').to_ascii_uppercase();
        if let Some(over) = &function.over {
            return self.window(&upper, function, over, whole, cx);
        }
        if matches!(function.args, ast::FunctionArguments::None)
            && let Some(constant) = self.niladic(&upper)
        {
            return Ok(constant);
        }
        if let Some(def) = aggregate::find(&upper) {
            return self.aggregate(def, function, whole, cx);
        }
        if let Some(bound) = self.special(&upper, function, whole, cx)? {
            return Ok(bound);
        }
        if functions::find(&upper).is_none() {
            return Err(self.unknown_function(&upper, function, whole, cx));
        }
        let (args, _, _) = self.arguments(function, cx)?;
        self.named_call(&upper, args, whole)
    }

    /// Binds the arguments; tells whether there was DISTINCT, and whether the only argument is `*`.
    pub(super) fn arguments(&self, function: &ast::Function, cx: &Cx) -> Result<(Vec<Typed>, bool, bool), SqlError> {
        let list = match &function.args {
            ast::FunctionArguments::None => return Ok((Vec::new(), false, false)),
            ast::FunctionArguments::Subquery(_) => {
                return Err(SqlError::invalid_at(
                    "A subquery as argument needs parentheses of its own".to_string(),
                    self.place_of_start(function.name.span().start),
                ));
            }
            ast::FunctionArguments::List(list) => list,
        };
        let distinct = matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct));
        let mut args = Vec::with_capacity(list.args.len());
        let mut star = false;
        for argument in &list.args {
            match argument {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => args.push(self.expr(expr, cx)?),
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard) => star = true,
                other => {
                    return Err(SqlError::invalid_at(
                        format!("Argument [{other}] is not supported here"),
                        self.place_of_start(function.name.span().start),
                    ));
                }
            }
        }
        Ok((args, distinct, star))
    }

    /// Makes the error for a name that no table of functions has.
    pub(super) fn unknown_function(
        &self,
        upper: &str,
        function: &ast::Function,
        whole: &ast::Expr,
        cx: &Cx,
    ) -> SqlError {
        let types = match self.arguments(function, cx) {
            Ok((args, _, _)) => args
                .iter()
                .map(|arg| format!("<{}>", arg.ty.family()))
                .collect::<Vec<_>>()
                .join(", "),
            Err(error) => return error,
        };
        SqlError::invalid_at(
            format!("No match found for function signature {upper}({types})"),
            self.place(whole),
        )
        .hint(did_you_mean(nearest(upper, functions::names())))
    }

    /// Calls a function of the table by name.
    pub(super) fn named_call(&self, name: &str, args: Vec<Typed>, whole: &ast::Expr) -> Result<Typed, SqlError> {
        let Some(def) = functions::find(name) else {
            return Err(SqlError::invalid_at(
                format!("No match found for function signature {name}"),
                self.place(whole),
            ));
        };
        let most = if def.variadic { usize::MAX } else { def.params.len() };
        if args.len() < def.min || args.len() > most {
            return Err(SqlError::invalid_at(
                format!(
                    "Invalid number of arguments to function '{name}'. Was expecting {} arguments",
                    def.min
                ),
                self.place(whole),
            ));
        }
        let types: Vec<SqlType> = args.iter().map(|arg| arg.ty.clone()).collect();
        let wrong = || {
            let shown: Vec<String> = types.iter().map(|ty| format!("<{}>", ty.in_message())).collect();
            SqlError::invalid_at(
                format!(
                    "Cannot apply '{name}' to arguments of type '{name}({})'. Supported form(s): {}",
                    shown.join(", "),
                    def.form()
                ),
                self.place(whole),
            )
        };
        let mut mapped = false;
        let mut exprs = Vec::with_capacity(args.len() + 2);
        let mut cast_types = Vec::with_capacity(args.len());
        for (i, arg) in args.into_iter().enumerate() {
            let param = def.param(i);
            if arg.ty == SqlType::MultiVarchar && !matches!(param, Param::Arr) {
                mapped = true;
                if matches!(param, Param::Num | Param::Int | Param::Double | Param::Time) {
                    return Err(wrong());
                }
                exprs.push(arg.expr);
                cast_types.push(SqlType::Varchar);
                continue;
            }
            let arg = self.to_param(arg, param).ok_or_else(wrong)?;
            exprs.push(arg.expr);
            cast_types.push(arg.ty);
        }
        self.check_literals(def, &exprs)?;
        if let Some(at) = def.zone_at {
            while exprs.len() < at {
                let null = match def.param(exprs.len()) {
                    Param::Time => ScalarValue::TimestampMillisecond(None, None),
                    Param::Int => ScalarValue::Int64(None),
                    _ => ScalarValue::Utf8(None),
                };
                exprs.push(lit(null));
            }
            if exprs.len() == at {
                exprs.push(lit(self.zone.name()));
            }
        }
        let returned = (def.returns)(&cast_types);
        let (udf, ty) = if mapped {
            let ty = if returned.is_text() {
                SqlType::MultiVarchar
            } else {
                SqlType::Array(Box::new(returned))
            };
            (functions::mapped_udf(def.native), ty)
        } else {
            (functions::udf(def.native), returned)
        };
        let Some(udf) = udf else {
            return Err(wrong());
        };
        Ok(Typed::new(
            Expr::ScalarFunction(datafusion::logical_expr::expr::ScalarFunction::new_udf(udf, exprs)),
            ty,
        ))
    }

    /// Casts an argument to what a parameter takes; `None` where the type does not go.
    fn to_param(&self, arg: Typed, param: Param) -> Option<Typed> {
        let null = arg.ty == SqlType::Null;
        let target = match param {
            Param::Any if null => SqlType::Varchar,
            Param::Any => return Some(arg),
            Param::Num if arg.ty.is_numeric() => {
                if arg.ty == SqlType::Float {
                    SqlType::Double
                } else {
                    return Some(arg);
                }
            }
            Param::Num if arg.ty.is_text() || null || arg.ty == SqlType::Boolean => SqlType::Double,
            Param::Int if arg.ty.is_integer() => return Some(arg),
            Param::Int if arg.ty.is_numeric() || arg.ty.is_text() || null || arg.ty == SqlType::Boolean => {
                SqlType::BigInt
            }
            Param::Double if arg.ty.is_numeric() || arg.ty.is_text() || null => SqlType::Double,
            Param::Str if arg.ty.is_text() => return Some(arg),
            Param::Str if null || arg.ty.is_numeric() || arg.ty.is_time() || arg.ty == SqlType::Boolean => {
                SqlType::Varchar
            }
            Param::Str if matches!(arg.ty, SqlType::Complex(_)) => SqlType::Varchar,
            Param::Time if arg.ty.is_time() => return Some(arg),
            Param::Time if null => SqlType::Timestamp,
            Param::Arr if matches!(arg.ty, SqlType::Array(_) | SqlType::MultiVarchar) => return Some(arg),
            Param::Arr if arg.ty.is_text() => {
                let expr = self.call_native("to_list", vec![arg.expr]).ok()?;
                return Some(Typed::new(expr, SqlType::MultiVarchar));
            }
            Param::Arr if arg.ty.is_numeric() => {
                let expr = self.call_native("array", vec![arg.expr]).ok()?;
                return Some(Typed::new(expr, SqlType::Array(Box::new(arg.ty))));
            }
            Param::Arr if null => SqlType::Array(Box::new(SqlType::Varchar)),
            _ => return None,
        };
        self.cast(arg, &target).ok()
    }

    /// Refuses periods, zones and patterns that can never work, with the message that running would give.
    fn check_literals(&self, def: &ScalarDef, exprs: &[Expr]) -> Result<(), SqlError> {
        let Some(period) = exprs.get(1).and_then(super::literal::as_text) else {
            return Ok(());
        };
        if matches!(def.native, "timestamp_floor" | "timestamp_ceil" | "timestamp_shift")
            && functions::time::Span::parse(period).is_none()
        {
            let rest = period
                .strip_prefix('P')
                .map_or(period, |rest| rest.strip_prefix('T').unwrap_or(rest));
            let time = match &exprs[0] {
                Expr::Column(column) => format!("\"{}\"", column.name),
                other => other.to_string(),
            };
            return Err(SqlError::input(format!(
                "Invalid period['{period}'] specified for expression[{}({time}, '{period}', null, '{}')]: [Invalid format: \"{period}\" is malformed at \"{rest}\"]",
                def.native,
                self.zone.name()
            )));
        }
        Ok(())
    }

    /// Functions that the table cannot word: they choose types, or rewrite.
    fn special(
        &self,
        name: &str,
        function: &ast::Function,
        whole: &ast::Expr,
        cx: &Cx,
    ) -> Result<Option<Typed>, SqlError> {
        let unit_argument = |index: usize| -> Option<String> {
            let ast::FunctionArguments::List(list) = &function.args else {
                return None;
            };
            match list.args.get(index)? {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Identifier(ident))) => {
                    Some(ident.value.to_ascii_uppercase())
                }
                _ => None,
            }
        };
        Ok(Some(match name {
            "COALESCE" | "NVL" => {
                let (args, _, _) = self.arguments(function, cx)?;
                if args.is_empty() || (name == "NVL" && args.len() != 2) {
                    return Err(SqlError::invalid_at(
                        format!("Invalid number of arguments to function '{name}'. Was expecting 2 arguments"),
                        self.place(whole),
                    ));
                }
                let (args, ty) = self.unify(args).map_err(|_| {
                    SqlError::invalid_at(
                        "Illegal mixing of types in CASE or COALESCE statement".to_string(),
                        self.place(whole),
                    )
                })?;
                let exprs: Vec<Expr> = args.into_iter().map(|arg| arg.expr).collect();
                let expr = if exprs.len() == 1 {
                    exprs.into_iter().next().unwrap_or(lit(ScalarValue::Null))
                } else {
                    datafusion::functions::core::expr_fn::coalesce(exprs)
                };
                Typed::new(expr, ty)
            }
            "NULLIF" => {
                let (mut args, _, _) = self.arguments(function, cx)?;
                if args.len() != 2 {
                    return Err(SqlError::invalid_at(
                        "Invalid number of arguments to function 'NULLIF'. Was expecting 2 arguments".to_string(),
                        self.place(whole),
                    ));
                }
                let second = args.remove(1);
                let first = args.remove(0);
                let equal = self
                    .compare(datafusion::logical_expr::Operator::Eq, first.clone(), second)
                    .map_err(|_| {
                        SqlError::invalid_at(
                            "Illegal mixing of types in CASE or COALESCE statement".to_string(),
                            self.place(whole),
                        )
                    })?;
                let null = self.null_of(&first.ty);
                let case = datafusion::logical_expr::expr::Case::new(
                    None,
                    vec![(Box::new(equal), Box::new(null.expr))],
                    Some(Box::new(first.expr)),
                );
                Typed::new(Expr::Case(case), first.ty)
            }
            "GREATEST" | "LEAST" => {
                let (args, _, _) = self.arguments(function, cx)?;
                if args.is_empty() {
                    return Ok(Some(Typed::new(lit(ScalarValue::Utf8(None)), SqlType::Varchar)));
                }
                let literals = args.iter().any(|arg| matches!(arg.ty, SqlType::Char(_)))
                    && args
                        .iter()
                        .all(|arg| !matches!(arg.ty, SqlType::Varchar | SqlType::MultiVarchar));
                let (args, ty) = self.unify(args).map_err(|types| {
                    let shown: Vec<String> = types.iter().map(|ty| format!("<{}>", ty.in_message())).collect();
                    SqlError::invalid_at(
                        format!(
                            "Cannot apply '{name}' to arguments of type '{name}({})'",
                            shown.join(", ")
                        ),
                        self.place(whole),
                    )
                })?;
                let ty = match ty {
                    SqlType::Integer => SqlType::BigInt,
                    SqlType::Decimal | SqlType::Float => SqlType::Double,
                    text if literals && text.is_text() => SqlType::Char(1),
                    SqlType::Char(_) | SqlType::Null => SqlType::Varchar,
                    other => other,
                };
                let exprs = args
                    .into_iter()
                    .map(|arg| self.cast(arg, &ty).map(|t| t.expr))
                    .collect::<Result<Vec<_>, _>>()?;
                let native = if name == "GREATEST" { "greatest" } else { "least" };
                Typed::new(self.call_native(native, exprs)?, ty)
            }
            "ARRAY" => {
                let (args, _, _) = self.arguments(function, cx)?;
                self.array_of(args, whole)?
            }
            "TIMESTAMPADD" => {
                let (Some(unit), ast::FunctionArguments::List(list)) = (unit_argument(0), &function.args) else {
                    return Ok(None);
                };
                let [
                    _,
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(count)),
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(time)),
                ] = list.args.as_slice()
                else {
                    return Ok(None);
                };
                let count = self.expr(count, cx)?;
                let time = self.expr(time, cx)?;
                let (native, factor) = match unit_amount(&unit) {
                    Some(found) => found,
                    None => return Ok(None),
                };
                let count = self.cast(count, &SqlType::BigInt)?;
                let time = if time.ty.is_time() {
                    time
                } else {
                    self.cast(time, &SqlType::Timestamp)?
                };
                let amount = match super::literal::as_long(&count.expr) {
                    Some(n) => lit(n.wrapping_mul(factor)),
                    None => count.expr * lit(factor),
                };
                let ty = time.ty.clone();
                let expr = self.call_native(native, vec![time.expr, amount, lit(self.zone.name())])?;
                Typed::new(expr, ty)
            }
            "TIMESTAMPDIFF" => {
                let (Some(unit), ast::FunctionArguments::List(list)) = (unit_argument(0), &function.args) else {
                    return Ok(None);
                };
                let [
                    _,
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(from)),
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(to)),
                ] = list.args.as_slice()
                else {
                    return Ok(None);
                };
                let from = self.cast(self.expr(from, cx)?, &SqlType::Timestamp)?;
                let to = self.cast(self.expr(to, cx)?, &SqlType::Timestamp)?;
                let expr = self.call_native(
                    "timestamp_diff",
                    vec![lit(unit), from.expr, to.expr, lit(self.zone.name())],
                )?;
                Typed::new(expr, SqlType::Integer)
            }
            _ => return Ok(None),
        }))
    }
}

/// Gives the function that adds a unit, and how many of its steps the unit has.
fn unit_amount(unit: &str) -> Option<(&'static str, i64)> {
    Some(match unit {
        "MILLISECOND" | "FRAC_SECOND" => ("timestamp_plus", 1),
        "SECOND" | "SQL_TSI_SECOND" => ("timestamp_plus", 1000),
        "MINUTE" | "SQL_TSI_MINUTE" => ("timestamp_plus", 60_000),
        "HOUR" | "SQL_TSI_HOUR" => ("timestamp_plus", 3_600_000),
        "DAY" | "SQL_TSI_DAY" => ("timestamp_plus", 86_400_000),
        "WEEK" | "SQL_TSI_WEEK" => ("timestamp_plus", 604_800_000),
        "MONTH" | "SQL_TSI_MONTH" => ("timestamp_plus_months", 1),
        "QUARTER" | "SQL_TSI_QUARTER" => ("timestamp_plus_months", 3),
        "YEAR" | "SQL_TSI_YEAR" => ("timestamp_plus_months", 12),
        _ => return None,
    })
}
