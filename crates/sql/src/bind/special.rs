//! Functions that the table of functions cannot word: they choose types by their arguments, or are rewritten.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};
use datafusion::sql::sqlparser::ast;

use super::coerce::sql_type;
use super::expr::Cx;
use super::{Binder, Typed};
use crate::functions;
use crate::{SqlError, SqlType};

impl Binder<'_> {
    /// Functions that the table cannot word: they choose types, or rewrite.
    pub(super) fn special(
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
            "COALESCE" | "NVL" | "IFNULL" => self.by_value(cx, |cx| self.coalesce(name, function, whole, cx))?,
            "NULLIF" => self.by_value(cx, |cx| self.nullif(function, whole, cx))?,
            "GREATEST" | "LEAST" => {
                let (args, _, _) = self.arguments(function, cx)?;
                self.greatest_or_least(name, args, whole)?
            }
            "JSON_OBJECT" => {
                let (args, _, _) = self.arguments(function, cx)?;
                self.json_object(args, whole)?
            }
            "JSON_VALUE" => {
                let ty = returning(function);
                let (args, _, _) = self.arguments(function, cx)?;
                let ty = match ty {
                    None => SqlType::Varchar,
                    Some(data_type) => sql_type(data_type).ok_or_else(|| self.unknown_type(data_type, whole))?,
                };
                self.json_value(args, &ty, whole)?
            }
            "JSON_MERGE" => {
                let (args, _, _) = self.arguments(function, cx)?;
                self.json_merge(args, whole)?
            }
            "LOOKUP" => {
                let (args, _, _) = self.arguments(function, cx)?;
                self.lookup(args, function, whole)?
            }
            "MV_OVERLAP" => {
                // A NULL among the values leaves open what the others do not settle.
                let (mut args, _, _) = self.arguments(function, cx)?;
                self.one_null_where_empty(&mut args)?;
                self.named_call(name, args, whole)?
            }
            "MV_CONTAINS" => {
                let (mut args, _, _) = self.arguments(function, cx)?;
                if let Some(all) = self.values_contained(&args, cx)? {
                    return Ok(Some(all));
                }
                self.one_null_where_empty(args.get_mut(..1).unwrap_or_default())?;
                self.lists_as_items(&mut args)?;
                self.named_call(name, args, whole)?
            }
            "ARRAY_CONTAINS" => {
                let (mut args, _, _) = self.arguments(function, cx)?;
                self.lists_as_items(&mut args)?;
                self.named_call(name, args, whole)?
            }
            "MV_FILTER_REGEX" => {
                // Over a column Druid filters dictionary entries, and asks that the whole value matches.
                let (args, _, _) = self.arguments(function, cx)?;
                let mut call = self.named_call(name, args, whole)?;
                if let Expr::ScalarFunction(filter) = &call.expr
                    && matches!(filter.args.first(), Some(Expr::Column(_)))
                {
                    call.expr = self.call_native("filtered_regex_whole", filter.args.clone())?;
                }
                call
            }
            "DECODE_BASE64_COMPLEX" | "COMPLEX_DECODE_BASE64" => {
                let (mut args, _, _) = self.arguments(function, cx)?;
                let kind = args.first().and_then(|arg| super::literal::constant_text(&arg.expr));
                let (Some(kind), 2) = (kind, args.len()) else {
                    return Err(SqlError::invalid_at(
                        format!("Invalid number of arguments to function '{name}'. Was expecting 2 arguments"),
                        self.place(whole),
                    ));
                };
                if !COMPLEX_TYPES.contains(&kind.as_str()) {
                    return Err(SqlError::general(
                        crate::Persona::Admin,
                        crate::Category::Uncategorized,
                        format!(
                            "Function[complex_decode_base64] first argument must be a valid COMPLEX type name, got unknown COMPLEX type [COMPLEX<{kind}>]"
                        ),
                    ));
                }
                let text = self.cast(args.remove(1), &SqlType::Varchar)?;
                Typed::new(
                    self.call_native("decode_base64_bytes", vec![text.expr])?,
                    SqlType::Complex(kind),
                )
            }
            "ARRAY" => {
                let (args, _, _) = self.arguments(function, cx)?;
                self.array_of(args, whole)?
            }
            "TIMESTAMPADD" => {
                let (Some(unit), ast::FunctionArguments::List(list)) = (unit_argument(0), &function.args) else {
                    return Ok(None);
                };
                self.check_time_frame(&unit, list)?;
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
                if count.ty.is_fraction() || !(time.ty.is_time() || time.ty.is_text() || time.ty == SqlType::Null) {
                    return Err(SqlError::invalid_at(
                        format!(
                            "Cannot apply 'TIMESTAMPADD' to arguments of type 'TIMESTAMPADD(<INTERVAL {unit}>, <{}>, <{}>)'. Supported form(s): 'TIMESTAMPADD(<ANY>, <INTEGER>, <DATETIME>)'",
                            count.in_message(),
                            time.in_message()
                        ),
                        self.place(whole),
                    ));
                }
                let count = self.cast(count, &SqlType::BigInt)?;
                let (count, unit) = match (unit.as_str(), part_of_millisecond(&unit)) {
                    (_, Some(parts)) => (Typed::new(count.expr / lit(parts), SqlType::BigInt), "MILLISECOND"),
                    (unit, None) => (count, unit),
                };
                let (native, factor) = match unit_amount(unit) {
                    Some(found) => found,
                    None => return Ok(None),
                };
                let time = if time.ty.is_time() {
                    time
                } else {
                    self.cast(time, &SqlType::Timestamp)?
                };
                let amount = match super::literal::as_long(&count.expr) {
                    Some(n) => lit(n.wrapping_mul(factor)),
                    None => count.expr * lit(factor),
                };
                // A day and parts of a day are an instant.
                let ty = match native {
                    "timestamp_plus" if factor % 86_400_000 != 0 => SqlType::Timestamp,
                    _ => time.ty.clone(),
                };
                let expr = self.call_native(native, vec![time.expr, amount, lit(self.zone.name())])?;
                Typed::new(expr, ty)
            }
            "TIMESTAMPDIFF" => {
                let (Some(unit), ast::FunctionArguments::List(list)) = (unit_argument(0), &function.args) else {
                    return Ok(None);
                };
                self.check_time_frame(&unit, list)?;
                let [
                    _,
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(from)),
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(to)),
                ] = list.args.as_slice()
                else {
                    return Ok(None);
                };
                let (from, to) = (self.expr(from, cx)?, self.expr(to, cx)?);
                let takes = |ty: &SqlType| ty.is_time() || ty.is_text() || *ty == SqlType::Null;
                if !takes(&from.ty) || !takes(&to.ty) {
                    return Err(SqlError::invalid_at(
                        format!(
                            "Cannot apply 'TIMESTAMPDIFF' to arguments of type 'TIMESTAMPDIFF(<INTERVAL {unit}>, <{}>, <{}>)'. Supported form(s): 'TIMESTAMPDIFF(<ANY>, <DATETIME>, <DATETIME>)'",
                            from.in_message(),
                            to.in_message()
                        ),
                        self.place(whole),
                    ));
                }
                let from = self.cast(from, &SqlType::Timestamp)?;
                let to = self.cast(to, &SqlType::Timestamp)?;
                let ty = match unit.as_str() {
                    "NANOSECOND" => SqlType::BigInt,
                    _ => SqlType::Integer,
                };
                let expr = self.call_native(
                    "timestamp_diff",
                    vec![lit(unit), from.expr, to.expr, lit(self.zone.name())],
                )?;
                Typed::new(expr, ty)
            }
            _ => return Ok(None),
        }))
    }
}

impl Binder<'_> {
    /// Refuses a name that is no unit of time.
    fn check_time_frame(&self, unit: &str, list: &ast::FunctionArgumentList) -> Result<(), SqlError> {
        const FRAMES: [&str; 20] = [
            "MICROSECOND",
            "NANOSECOND",
            "MILLISECOND",
            "FRAC_SECOND",
            "SECOND",
            "MINUTE",
            "HOUR",
            "DAY",
            "WEEK",
            "MONTH",
            "QUARTER",
            "YEAR",
            "DECADE",
            "CENTURY",
            "MILLENNIUM",
            "EPOCH",
            "DOW",
            "ISODOW",
            "DOY",
            "ISOYEAR",
        ];
        if FRAMES.contains(&unit.trim_start_matches("SQL_TSI_")) {
            return Ok(());
        }
        let (place, unit) = match list.args.first() {
            Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr))) => {
                let unit = match expr {
                    ast::Expr::Identifier(ident) => ident.value.as_str(),
                    _ => unit,
                };
                (self.place(expr), unit)
            }
            _ => (None, unit),
        };
        Err(SqlError::invalid_at(
            format!("'{unit}' is not a valid time frame"),
            place,
        ))
    }

    /// `GREATEST(a, b, …)`, `LEAST(a, b, …)`: of texts, else of fractions, else of whole numbers, which times are too.
    fn greatest_or_least(&self, name: &str, args: Vec<Typed>, whole: &ast::Expr) -> Result<Typed, SqlError> {
        let takes = |ty: &SqlType| ty.is_text() || ty.is_numeric() || matches!(ty, SqlType::Timestamp | SqlType::Null);
        if !args.iter().all(|arg| takes(&arg.ty)) {
            let shown: Vec<String> = args.iter().map(|arg| format!("<{}>", arg.in_message())).collect();
            return Err(SqlError::invalid_at(
                format!(
                    "Cannot apply '{name}' to arguments of type '{name}({})'. Supported form(s): {name}(<STRING | NUMERIC | DATETIME | BOOLEAN | NULL>, ...)",
                    shown.join(", ")
                ),
                self.place(whole),
            ));
        }
        let several = args.iter().any(|arg| arg.ty == SqlType::MultiVarchar);
        let text = args.iter().find(|arg| arg.ty.is_text()).map(|arg| match arg.ty {
            SqlType::Char(_) => SqlType::Char(1),
            _ => SqlType::Varchar,
        });
        let ty = match text {
            Some(text) => text,
            None if args.iter().any(|arg| arg.ty.is_fraction()) => SqlType::Double,
            None if args.iter().all(|arg| arg.ty == SqlType::Null) => {
                return Ok(Typed::new(lit(ScalarValue::Null), SqlType::Null));
            }
            None => SqlType::BigInt,
        };
        let exprs = args
            .into_iter()
            .map(|arg| {
                // A time is worded as its milliseconds.
                let arg = match arg.ty {
                    SqlType::Timestamp => self.cast(arg, &SqlType::BigInt)?,
                    _ => arg,
                };
                let target = if several { &SqlType::MultiVarchar } else { &ty };
                self.cast(arg, target).map(|t| t.expr)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let native = if name == "GREATEST" { "greatest" } else { "least" };
        Ok(match several {
            true => Typed::new(self.call_on_values(native, exprs)?, SqlType::MultiVarchar),
            false => Typed::new(self.call_native(native, exprs)?, ty),
        })
    }

    /// `COALESCE(a, b, …)` and its kin.
    fn coalesce(&self, name: &str, function: &ast::Function, whole: &ast::Expr, cx: &Cx) -> Result<Typed, SqlError> {
        let (args, _, _) = self.arguments(function, cx)?;
        if args.is_empty() || (name != "COALESCE" && args.len() != 2) {
            return Err(SqlError::invalid_at(
                format!("Invalid number of arguments to function '{name}'. Was expecting 2 arguments"),
                self.place(whole),
            ));
        }
        let unified = if name == "COALESCE" {
            self.unify_branches(args)
        } else {
            if mixed(&args) {
                let types: Vec<String> = args.iter().map(Typed::in_message).collect();
                return Err(SqlError::general(
                    crate::Persona::User,
                    crate::Category::Uncategorized,
                    format!(
                        "Uncategorized calcite error message: [java.lang.IllegalArgumentException: Cannot infer return type for {name}; operand types: [{}]]",
                        types.join(", ")
                    ),
                ));
            }
            self.unify(args)
        };
        let (args, ty) = unified.map_err(|_| {
            let message = match name {
                "COALESCE" => "Illegal mixing of types in CASE or COALESCE statement",
                _ => "Parameters must be of the same type",
            };
            SqlError::invalid_at(message.to_string(), self.place(whole))
        })?;
        let exprs: Vec<Expr> = args.into_iter().map(|arg| arg.expr).collect();
        let filled = match exprs.as_slice() {
            [value, Expr::Literal(literal, _)] if !matches!(value, Expr::Literal(..)) => {
                functions::or_literal(value.clone(), literal.clone())
            }
            _ => None,
        };
        let expr = match filled {
            Some(filled) => filled,
            None if exprs.len() == 1 => exprs.into_iter().next().unwrap_or(lit(ScalarValue::Null)),
            None => datafusion::functions::core::expr_fn::coalesce(exprs),
        };
        Ok(Typed::new(expr, ty))
    }

    /// `NULLIF(a, b)`.
    fn nullif(&self, function: &ast::Function, whole: &ast::Expr, cx: &Cx) -> Result<Typed, SqlError> {
        let (mut args, _, _) = self.arguments(function, cx)?;
        if args.len() != 2 {
            return Err(SqlError::invalid_at(
                "Invalid number of arguments to function 'NULLIF'. Was expecting 2 arguments".to_string(),
                self.place(whole),
            ));
        }
        let second = args.remove(1);
        let first = args.remove(0);
        let compared = match first.ty {
            SqlType::Float => self.cast(first.clone(), &SqlType::Double)?,
            _ => first.clone(),
        };
        let equal = self.compared(whole, compared, datafusion::logical_expr::Operator::Eq, second)?;
        let null = self.null_of(&first.ty);
        let case = datafusion::logical_expr::expr::Case::new(
            None,
            vec![(Box::new(equal.expr), Box::new(null.expr))],
            Some(Box::new(first.expr)),
        );
        Ok(Typed::new(Expr::Case(case), first.ty))
    }

    /// `MV_CONTAINS(values, literals)` as a filter: for each literal, some value equals it.
    fn values_contained(&self, args: &[Typed], cx: &Cx) -> Result<Option<Typed>, SqlError> {
        let [list, wanted] = args else {
            return Ok(None);
        };
        let stored = list.ty == SqlType::MultiVarchar && matches!(list.expr, Expr::Column(_));
        if !stored || !["WHERE", "HAVING", "FILTER"].contains(&cx.clause) {
            return Ok(None);
        }
        let texts: Vec<&Expr> = match &wanted.expr {
            Expr::ScalarFunction(call) if call.func.name() == "array" => call.args.iter().collect(),
            one => vec![one],
        };
        if !texts.iter().all(|text| super::literal::as_text(text).is_some()) {
            return Ok(None);
        }
        let mut all: Option<Expr> = None;
        for text in texts {
            let text = Typed::new(text.clone(), SqlType::Varchar);
            let any = self.any_compared(datafusion::logical_expr::Operator::Eq, list.clone(), text)?;
            all = Some(match all {
                Some(all) => all.and(any),
                None => any,
            });
        }
        Ok(all.map(|all| Typed::new(all, SqlType::Boolean)))
    }

    /// What is looked for may be all the values of a row.
    fn lists_as_items(&self, args: &mut [Typed]) -> Result<(), SqlError> {
        if let [_, items] = args
            && items.ty == SqlType::MultiVarchar
        {
            self.one_null_where_empty(std::slice::from_mut(items))?;
            items.ty = SqlType::Array(Box::new(SqlType::Varchar));
        }
        Ok(())
    }

    /// A row without values holds one NULL, which may be asked for.
    fn one_null_where_empty(&self, args: &mut [Typed]) -> Result<(), SqlError> {
        for list in args {
            if list.ty.is_text() || list.ty == SqlType::Null {
                let values = self.cast(list.clone(), &SqlType::MultiVarchar)?;
                let expr = self.call_native("mv_harmonize", vec![values.expr])?;
                *list = Typed::new(expr, SqlType::MultiVarchar);
            }
        }
        Ok(())
    }

    fn one_null_where_multi(&self, list: &mut Typed) -> Result<(), SqlError> {
        match list.ty {
            SqlType::MultiVarchar => self.one_null_where_empty(std::slice::from_mut(list)),
            _ => Ok(()),
        }
    }

    /// `JSON_VALUE(… RETURNING type)`.
    fn json_value(&self, args: Vec<Typed>, ty: &SqlType, whole: &ast::Expr) -> Result<Typed, SqlError> {
        if let SqlType::Array(element) = ty {
            let refused = match element.as_ref() {
                SqlType::Float | SqlType::Real => Some("FLOAT".to_string()),
                SqlType::Array(_) => Some(element.in_message()),
                _ => None,
            };
            if let Some(element) = refused {
                return Err(failed_planning(format!(
                    "Unhandled JSON_VALUE RETURNING ARRAY type [{element}]"
                )));
            }
        }
        let value = self.named_call(functions::value_function(ty), args, whole)?;
        if *ty == SqlType::Boolean {
            // The number is the boolean, where CAST of a number asks for more than 0.
            return Ok(Typed::new(value.expr.not_eq(lit(0i64)), SqlType::Boolean));
        }
        self.cast(value, ty)
    }

    /// `JSON_MERGE(a, b, …)`: its own function judges its arguments, not the table.
    fn json_merge(&self, args: Vec<Typed>, whole: &ast::Expr) -> Result<Typed, SqlError> {
        let refused =
            |message: String| SqlError::general(crate::Persona::Admin, crate::Category::Uncategorized, message);
        match args.len() {
            0 => {
                return Err(SqlError::invalid_at(
                    "Invalid number of arguments to function 'json_merge'. Was expecting 1 arguments".to_string(),
                    self.place(whole),
                ));
            }
            1 => return Err(refused("Function[json_merge] must have at least two arguments".into())),
            _ => {}
        }
        if let Some(wrong) = args
            .iter()
            .find(|arg| arg.ty.is_numeric() || arg.ty == SqlType::Boolean)
        {
            let message = format!(
                "Function[json_merge] invalid input expected STRING but got {} instead",
                wrong.ty.native()
            );
            return Err(match wrong.expr {
                Expr::Literal(..) => refused(message),
                _ => failed_planning(message),
            });
        }
        self.named_call("JSON_MERGE", args, whole)
    }

    /// Keys and values take turns; values are handed on as JSON.
    fn json_object(&self, args: Vec<Typed>, whole: &ast::Expr) -> Result<Typed, SqlError> {
        if !args.len().is_multiple_of(2) {
            return Err(SqlError::invalid_at(
                "Function[json_object] must have an even number of arguments".to_string(),
                self.place(whole),
            ));
        }
        // Beside an untyped NULL Calcite takes every scalar value for text.
        let untyped = args.iter().any(|arg| arg.ty == SqlType::Null);
        let keys = args.iter().step_by(2);
        if let Some(key) = keys.into_iter().find(|key| !key.ty.is_text()) {
            let message = "Function[json_object] field name must be a STRING";
            return Err(match key.expr {
                Expr::Literal(..) => SqlError::general(crate::Persona::Admin, crate::Category::Uncategorized, message),
                _ => failed_planning(message),
            });
        }
        let mut exprs = Vec::with_capacity(args.len());
        for (i, arg) in args.into_iter().enumerate() {
            let wanted = i % 2 == 0 || (untyped && (arg.ty.is_numeric() || arg.ty == SqlType::Boolean));
            let arg = if wanted {
                self.cast(arg, &SqlType::Varchar)?
            } else {
                arg
            };
            exprs.push(if i % 2 == 0 { arg.expr } else { self.to_json(arg)?.expr });
        }
        let json = SqlType::Complex("json".into());
        if exprs.is_empty() {
            return Ok(Typed::new(lit("{}"), json));
        }
        Ok(Typed::new(self.call_native("json_object", exprs)?, json))
    }

    /// `LOOKUP(value, 'name' [, replacement])`.
    fn lookup(&self, args: Vec<Typed>, function: &ast::Function, whole: &ast::Expr) -> Result<Typed, SqlError> {
        if args.len() < 2 || args.len() > 3 {
            return Err(SqlError::invalid_at(
                "Invalid number of arguments to function 'LOOKUP'. Was expecting 2 arguments".to_string(),
                self.place(whole),
            ));
        }
        let mut args = args.into_iter();
        let (Some(value), Some(name)) = (args.next(), args.next()) else {
            return Err(SqlError::invalid("LOOKUP needs a value and a name"));
        };
        let place = |index: usize| match &function.args {
            ast::FunctionArguments::List(list) => match list.args.get(index) {
                Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(arg))) => self.place(arg),
                _ => self.place(whole),
            },
            _ => self.place(whole),
        };
        let literal = |index: usize| {
            SqlError::invalid_at(
                "Argument to function 'LOOKUP' must be a literal".to_string(),
                place(index),
            )
        };
        if name.ty == SqlType::Null || !name.ty.is_text() {
            let shown = [&value, &name]
                .map(|arg| format!("<{}>", arg.ty.in_message()))
                .join(", ");
            return Err(match name.ty {
                SqlType::Null => SqlError::invalid_at("Illegal use of 'NULL'", place(1)),
                _ => SqlError::invalid_at(
                    format!(
                        "Cannot apply 'LOOKUP' to arguments of type 'LOOKUP({shown})'. Supported form(s): \
                         'LOOKUP(<expr>, <lookupName>, [<replaceMissingValueWith>])'"
                    ),
                    self.place(whole),
                ),
            });
        }
        let Some(lookup_name) = super::literal::constant_text(&name.expr) else {
            return Err(literal(1));
        };
        let Some(lookup) = self.catalog.lookup(&lookup_name) else {
            let message = format!("Lookup [{lookup_name}] not found");
            return Err(match value.expr {
                Expr::Literal(..) => SqlError::input(message),
                _ => failed_planning(message),
            });
        };
        self.state.borrow_mut().lookups.insert(lookup_name.clone());
        let mut value = value;
        if args.len() == 1 {
            // The replacement is for the NULL of a row without values too.
            self.one_null_where_multi(&mut value)?;
        }
        let multi = value.ty == SqlType::MultiVarchar;
        let value = self.cast(value, &SqlType::Varchar)?;
        let mut exprs = vec![value.expr, lit(lookup_name.clone())];
        if let Some(replacement) = args.next() {
            let replacement = self.cast(replacement, &SqlType::Varchar)?;
            if !matches!(replacement.expr, Expr::Literal(..)) {
                return Err(literal(2));
            }
            exprs.push(replacement.expr);
        }
        let call = functions::lookup_call(&lookup_name, lookup, exprs);
        let ty = if multi { SqlType::MultiVarchar } else { SqlType::Varchar };
        Ok(Typed::new(call, ty))
    }
}

/// The complex types that Druid's core and its sketch extensions register.
const COMPLEX_TYPES: [&str; 14] = [
    "HLLSketch",
    "HLLSketchBuild",
    "HLLSketchMerge",
    "KllDoublesSketch",
    "KllFloatsSketch",
    "approximateHistogram",
    "arrayOfDoublesSketch",
    "bloom",
    "fixedBucketsHistogram",
    "hyperUnique",
    "json",
    "quantilesDoublesSketch",
    "thetaSketch",
    "variance",
];

/// Makes the error of what Druid finds out only when its processes plan their part.
pub(super) fn failed_planning(message: impl Into<String>) -> SqlError {
    SqlError::legacy(
        crate::Persona::Operator,
        crate::Category::RuntimeFailure,
        "Unknown exception",
        "org.apache.druid.java.util.common.ISE",
        message,
    )
}

fn mixed(args: &[Typed]) -> bool {
    args.iter().any(|arg| arg.ty.is_text()) && args.iter().any(|arg| arg.ty.is_numeric())
}

/// Gives the type of `RETURNING`.
fn returning(function: &ast::Function) -> Option<&ast::DataType> {
    let ast::FunctionArguments::List(list) = &function.args else {
        return None;
    };
    list.clauses.iter().find_map(|clause| match clause {
        ast::FunctionArgumentClause::JsonReturningClause(clause) => Some(&clause.data_type),
        _ => None,
    })
}

/// Gives how many of a unit make a millisecond.
fn part_of_millisecond(unit: &str) -> Option<i64> {
    match unit {
        "MICROSECOND" | "SQL_TSI_MICROSECOND" => Some(1000),
        "NANOSECOND" => Some(1_000_000),
        _ => None,
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
        "YEAR" | "SQL_TSI_YEAR" | "ISOYEAR" => ("timestamp_plus_months", 12),
        "DECADE" => ("timestamp_plus_months", 120),
        "CENTURY" => ("timestamp_plus_months", 1200),
        "MILLENNIUM" => ("timestamp_plus_months", 12_000),
        _ => return None,
    })
}
