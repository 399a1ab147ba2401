//! Function calls: looking names up, judging arguments, casting them to what the function takes.

use std::collections::BTreeSet;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, lit};
use datafusion::sql::sqlparser::ast::{self, Spanned};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::expr::Cx;
use super::scope::did_you_mean;
use super::{Binder, Typed, aggregate, nearest};
use crate::functions::{self, Param, ScalarDef};
use crate::{SqlError, SqlType};

impl Binder<'_> {
    /// Binds a call of any kind.
    pub(super) fn function(&self, function: &ast::Function, whole: &ast::Expr, cx: &Cx) -> Result<Typed, SqlError> {
        let name = function.name.to_string();
        let mut upper = name.trim_matches('"').to_ascii_uppercase();
        if function.uses_odbc_syntax {
            upper = match super::jdbc::function(&upper) {
                super::jdbc::Meaning::Is(name) => name.to_string(),
                super::jdbc::Meaning::Same => upper,
                super::jdbc::Meaning::Unsupported(operator) => {
                    self.arguments(function, cx)?;
                    return Err(SqlError::unplannable(format!(
                        "SQL query requires '{operator}' operator that is not supported."
                    )));
                }
                super::jdbc::Meaning::Unknown => {
                    return Err(SqlError::invalid_at(
                        format!("Function '{{fn {upper}}}' is not defined"),
                        self.place(whole).map(super::jdbc::with_brace),
                    ));
                }
            };
        }
        let takes_lists = functions::find(&upper).is_some_and(|def| def.params.iter().any(|param| param.takes_lists()));
        let cx = &Cx {
            // What takes lists is given lists, and what has rows of its own too.
            values: cx
                .values
                .filter(|_| !takes_lists && function.over.is_none() && !is_list_function(&upper)),
            ..*cx
        };
        let is_aggregate = aggregate::find(&upper).is_some();
        if function.filter.is_some() && !is_aggregate && function.over.is_none() {
            self.arguments(function, cx)?;
            if let Some(filter) = &function.filter {
                self.expr(filter, &cx.inside("FILTER"))?;
            }
            return Err(SqlError::invalid_at(
                "FILTER must be applied to aggregate function",
                self.place(whole),
            ));
        }
        if let Some(treatment) = function.null_treatment {
            let place = self.token_within(whole, |token| {
                crate::parse::is_word(token, "IGNORE") || crate::parse::is_word(token, "RESPECT")
            });
            return Err(SqlError::invalid_at(
                format!("No match found for function signature {treatment}"),
                place,
            ));
        }
        super::refused::check_call(function, &upper, is_aggregate)?;
        if let Some(bound) = self.calcite_form(&upper, function, whole, cx)? {
            return Ok(bound);
        }
        if let Some(over) = &function.over {
            return self.window(&upper, function, over, whole, cx);
        }
        if matches!(function.args, ast::FunctionArguments::None)
            && let Some(constant) = self.niladic(&upper)
        {
            return Ok(constant);
        }
        if matches!(upper.as_str(), "CURRENT_TIMESTAMP" | "LOCALTIMESTAMP")
            && let Some(now) = self.niladic(&upper)
        {
            let (args, _, _) = self.arguments(function, cx)?;
            let digits = args.first().map(|arg| super::literal::as_long(&arg.expr));
            return match (args.len(), digits) {
                (0, _) => Ok(now),
                (1, Some(Some(digits))) => Ok(self.cut_to(digits)),
                _ => Err(self.unknown_function(&upper, function, whole, cx)),
            };
        }
        if let (ast::FunctionArguments::None, Some(ident)) = (&function.args, bare_name(function)) {
            // A niladic name that no function has is a column's.
            return self.identifier(std::slice::from_ref(ident), cx);
        }
        if let Some(def) = aggregate::find(&upper) {
            return self.aggregate(def, function, whole, cx);
        }
        if let Some(bound) = self.special(&upper, function, whole, cx)? {
            return Ok(bound);
        }
        if super::window::WINDOW_FUNCTIONS.iter().any(|(known, _)| *known == upper) {
            let (args, _, star) = self.arguments(function, cx)?;
            return Err(match star {
                true => self.stray_star(whole),
                false => self.no_window(&upper, &args, whole),
            });
        }
        if functions::find(&upper).is_none() {
            return Err(self.unknown_function(&upper, function, whole, cx));
        }
        let (args, distinct, star) = self.arguments(function, cx)?;
        if star {
            return Err(self.stray_star(whole));
        }
        if distinct {
            return Err(SqlError::invalid_at(
                format!("DISTINCT/ALL not allowed with {upper} function"),
                self.token_within(whole, |token| crate::parse::is_word(token, "DISTINCT")),
            ));
        }
        let args = match upper.as_str() {
            // Times are joined as what they are, numbers of milliseconds; `||` words them.
            "CONCAT" => {
                if of_no_common_type(&args) {
                    let message = "Parameters must be of the same type".to_string();
                    return Err(SqlError::invalid_at(message, self.place(whole)));
                }
                args.into_iter()
                    .map(|arg| match arg.ty.is_time() {
                        true => self.cast(arg, &SqlType::BigInt),
                        false => Ok(arg),
                    })
                    .collect::<Result<_, _>>()?
            }
            _ => args,
        };
        self.named_call(&upper, args, whole)
    }

    /// Binds what the parser hands on under a name that no function has, and functions of JDBC's that are no calls here.
    fn calcite_form(
        &self,
        upper: &str,
        function: &ast::Function,
        whole: &ast::Expr,
        cx: &Cx,
    ) -> Result<Option<Typed>, SqlError> {
        if let Some(event) = upper.strip_prefix("JSON_VALUE ") {
            self.arguments(function, cx)?;
            return Err(super::special::failed_planning(format!(
                "Unsupported JSON_VALUE parameter '{event}' defined - please re-issue this query without this argument"
            )));
        }
        if crate::parse::is_operator(upper)
            && let ast::FunctionArguments::List(list) = &function.args
        {
            let operands: Vec<&ast::Expr> = list
                .args
                .iter()
                .filter_map(|arg| match arg {
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
                    _ => None,
                })
                .collect();
            let of = |expr: &ast::Expr| self.extent(expr, 0);
            let word = self.tokens.at(function.name.span().start);
            let place = match (operands.as_slice(), word) {
                ([left, right], _) => self.place_from(left, right),
                ([only], Some(word)) => of(only).and_then(|(first, last)| {
                    self.tokens
                        .range(first.min(word), last.max(word + upper.split(' ').count() - 1))
                }),
                _ => None,
            };
            return Err(self.no_operator(upper, &operands, place, cx));
        }
        if upper.starts_with("IS ") && upper.contains(" JSON ") {
            let ast::FunctionArguments::List(list) = &function.args else {
                return Ok(None);
            };
            let [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(operand))] = list.args.as_slice() else {
                return Ok(None);
            };
            let place = self.extent(operand, 0).and_then(|(first, last)| {
                // `IS JSON` alone says VALUE, and may be written so.
                let words = upper.split(' ').count();
                let bare = upper.ends_with(" VALUE")
                    && !self
                        .tokens
                        .list()
                        .get(last + words)
                        .is_some_and(|t| crate::parse::is_word(&t.token, "VALUE"));
                self.tokens.range(first, last + words - usize::from(bare))
            });
            return Err(self.no_operator(upper, &[operand], place.or_else(|| self.place(whole)), cx));
        }
        if !function.uses_odbc_syntax {
            return Ok(None);
        }
        if matches!(upper, "PI" | "CURRENT_DATE") {
            let (args, _, _) = self.arguments(function, cx)?;
            return Ok(if args.is_empty() { self.niladic(upper) } else { None });
        }
        if let Some(unit) = super::jdbc::unit(upper) {
            let (mut args, _, _) = self.arguments(function, cx)?;
            if args.len() == 1 {
                args.push(super::literal::text(unit.to_string()));
                return self.named_call("TIME_EXTRACT", args, whole).map(Some);
            }
        }
        Ok(None)
    }

    /// Gives the query's time with so many digits of a second.
    fn cut_to(&self, digits: i64) -> Typed {
        let step = 10_i64.pow(u32::try_from((3 - digits).clamp(0, 3)).unwrap_or(0));
        let cut = self.now_ms - self.now_ms.rem_euclid(step);
        Typed::new(super::literal::timestamp(cut), SqlType::Timestamp)
    }

    /// Binds the arguments; tells whether there was DISTINCT, and whether the only argument is `*`.
    pub(super) fn arguments(&self, function: &ast::Function, cx: &Cx) -> Result<(Vec<Typed>, bool, bool), SqlError> {
        let list = match &function.args {
            ast::FunctionArguments::None => return Ok((Vec::new(), false, false)),
            // `F(SELECT …)`: the query is the argument.
            ast::FunctionArguments::Subquery(query) => {
                let argument = self.expr(&ast::Expr::Subquery(query.clone()), cx)?;
                return Ok((vec![argument], false, false));
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

    /// Makes the error for `f(*)` of a function that does not count rows.
    pub(super) fn stray_star(&self, whole: &ast::Expr) -> SqlError {
        SqlError::invalid_at(
            "Unknown identifier '*'",
            self.token_within(whole, |token| *token == Token::Mul),
        )
    }

    /// Gives the place of the first token of a kind in an expression.
    fn token_within(&self, whole: &ast::Expr, is_it: impl Fn(&Token) -> bool) -> Option<crate::Position> {
        let (first, last) = self.extent(whole, 0)?;
        let at = (first..=last).find(|at| self.tokens.list().get(*at).is_some_and(|t| is_it(&t.token)))?;
        self.tokens.range(at, at)
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
            Ok((_, _, true)) => return self.stray_star(whole),
            Ok((args, _, _)) if matches!(upper, "JSON_OBJECTAGG" | "JSON_ARRAYAGG") => {
                return super::gathered::no_json_aggregate(upper, &args, cx);
            }
            Ok((args, _, _)) => args
                .iter()
                .map(|arg| format!("<{}>", arg.ty.family()))
                .collect::<Vec<_>>()
                .join(", "),
            Err(error) => return error,
        };
        if upper == "ROW" {
            return SqlError::unplannable("SQL query requires 'ROW' operator that is not supported.");
        }
        let last = function.name.0.last().and_then(|part| part.as_ident());
        // What Calcite makes of some calls while it parses them.
        let (shown, types) = match upper {
            "TRANSLATE" => ("TRANSLATE3", types),
            "JSON_ARRAY" => (upper, format!("<SYMBOL>, {types}")),
            _ => (last.map_or(upper, |ident| ident.value.as_str()), types),
        };
        let place = match (function.name.0.len(), last) {
            (2.., Some(ident)) => self.place_of_start(ident.span.start),
            _ => self.place(whole),
        };
        SqlError::invalid_at(format!("No match found for function signature {shown}({types})"), place)
            .hint(did_you_mean(nearest(upper, functions::names())))
    }

    /// Calls a function of the table by name.
    pub(super) fn named_call(&self, name: &str, args: Vec<Typed>, whole: &ast::Expr) -> Result<Typed, SqlError> {
        self.over_values(args, |args| self.named_call_of(name, args, whole))
    }

    fn named_call_of(&self, name: &str, args: Vec<Typed>, whole: &ast::Expr) -> Result<Typed, SqlError> {
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
                    "Invalid number of arguments to function '{}'. Was expecting {} arguments",
                    if name == "TEXTCAT" { "textcat" } else { name },
                    def.min
                ),
                self.place(whole),
            ));
        }
        let types: Vec<SqlType> = args.iter().map(|arg| arg.ty.clone()).collect();
        let shown: Vec<String> = args.iter().map(|arg| format!("<{}>", arg.in_message())).collect();
        let wrong = || {
            let name = if name == "CEILING" { "CEIL" } else { name };
            SqlError::invalid_at(
                format!(
                    "Cannot apply '{name}' to arguments of type '{name}({})'. Supported form(s): {}",
                    shown.join(", "),
                    functions::signatures(name).map_or_else(|| def.form(), str::to_string)
                ),
                self.place(whole),
            )
        };
        self.check_sketch_call(def, &args, whole, &wrong)?;
        let inexact = |ty: &SqlType| ty.is_fraction() && *ty != SqlType::Decimal;
        if def.native == "millis_to_timestamp" && types.iter().any(inexact) {
            return Err(wrong());
        }
        // The columns behind the first multi-value argument: others of the same columns are walked in step with it.
        let (mut mapped, mut crossed) = (None, false);
        let mut exprs = Vec::with_capacity(args.len() + 2);
        let mut cast_types = Vec::with_capacity(args.len());
        for (i, arg) in args.into_iter().enumerate() {
            let param = def.param(i);
            if arg.ty == SqlType::MultiVarchar && !param.takes_lists() {
                let leaves = list_leaves(&arg.expr);
                crossed |= mapped.as_ref().is_some_and(|known| *known != leaves);
                mapped.get_or_insert(leaves);
                if matches!(param, Param::Num | Param::Int | Param::Double | Param::Time) {
                    return Err(wrong());
                }
                exprs.push(arg.expr);
                cast_types.push(SqlType::Varchar);
                continue;
            }
            let mut arg = self.to_param(arg, param).ok_or_else(wrong)?;
            let numbers = matches!(&arg.ty, SqlType::Array(element) if !element.is_text());
            if numbers && matches!(param, Param::Arr | Param::Array) && (def.returns)(&types) == SqlType::MultiVarchar {
                let words = self.call_native("array_to_mv", vec![arg.expr])?;
                arg = Typed::new(words, SqlType::MultiVarchar);
            }
            exprs.push(arg.expr);
            // What is computed in 64 bits is given back in 32, and text that is taken for a number is a decimal one.
            cast_types.push(match &types[i] {
                SqlType::Float if param == Param::Num => SqlType::Float,
                text if text.is_text() && param == Param::Num => SqlType::Decimal,
                _ => arg.ty,
            });
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
        let udf = if mapped.is_some() {
            if matches!(returned, SqlType::MultiVarchar) {
                return Err(wrong());
            }
            if crossed {
                functions::crossed_udf(def.native)
            } else {
                functions::mapped_udf(def.native)
            }
        } else {
            functions::udf(def.native)
        };
        let Some(udf) = udf else {
            return Err(wrong());
        };
        let call = Expr::ScalarFunction(datafusion::logical_expr::expr::ScalarFunction::new_udf(udf, exprs));
        match mapped {
            Some(_) if returned.is_text() => Ok(Typed::new(call, SqlType::MultiVarchar)),
            Some(_) => self.one_of(call, returned),
            // The multi-stage engine knows what it stores.
            None if def.native == "hll_sketch_union" && self.engine == crate::EngineKind::Native => {
                Ok(Typed::new(call, SqlType::Other))
            }
            None if returned == SqlType::Float => Ok(Typed::new(super::coerce::narrowed(call), returned)),
            None => Ok(Typed::new(call, returned)),
        }
    }

    /// Casts an argument to what a parameter takes; `None` where the type does not go.
    fn to_param(&self, arg: Typed, param: Param) -> Option<Typed> {
        let null = arg.ty == SqlType::Null;
        let target = match param {
            Param::Any if null => SqlType::Varchar,
            Param::Any => return Some(arg),
            Param::Scalar if null => SqlType::Varchar,
            Param::Scalar if arg.ty.is_text() || arg.ty.is_numeric() || arg.ty == SqlType::Boolean => return Some(arg),
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
            Param::Text if arg.ty.is_text() => return Some(arg),
            Param::Text if null => SqlType::Varchar,
            Param::JsonText if arg.ty.is_text() || is_json(&arg.ty) => return Some(arg),
            Param::JsonText if null => SqlType::Varchar,
            Param::Json => return self.to_json(arg).ok(),
            Param::Time if arg.ty == SqlType::Timestamp => return Some(arg),
            Param::Time if null => SqlType::Timestamp,
            Param::Items if null => SqlType::Varchar,
            Param::Items => return Some(arg),
            Param::Array if matches!(arg.ty, SqlType::Array(_)) => return Some(arg),
            Param::Values if matches!(arg.ty, SqlType::Array(_)) => return None,
            Param::Arr | Param::List | Param::Values if matches!(arg.ty, SqlType::Array(_) | SqlType::MultiVarchar) => {
                return Some(arg);
            }
            Param::Arr | Param::List | Param::Values if arg.ty.is_text() => {
                let expr = self.call_native("to_list", vec![arg.expr]).ok()?;
                return Some(Typed::new(expr, SqlType::MultiVarchar));
            }
            Param::List if arg.ty.is_numeric() => {
                let list = self.call_native("array", vec![arg.expr.clone()]).ok()?;
                let ty = SqlType::Array(Box::new(arg.ty));
                let none = self.null_of(&ty).expr;
                let case = Case::new(
                    None,
                    vec![(Box::new(Expr::IsNull(Box::new(arg.expr))), Box::new(none))],
                    Some(Box::new(list)),
                );
                return Some(Typed::new(Expr::Case(case), ty));
            }
            Param::Arr | Param::List | Param::Array | Param::Values if null => {
                SqlType::Array(Box::new(SqlType::Varchar))
            }
            _ => return None,
        };
        self.cast(arg, &target).ok()
    }

    /// Makes JSON text of any value.
    pub(super) fn to_json(&self, arg: Typed) -> Result<Typed, SqlError> {
        let json = SqlType::Complex("json".into());
        let native = match &arg.ty {
            ty if is_json(ty) => return Ok(arg),
            SqlType::Null => return Ok(self.null_of(&json)),
            SqlType::Array(element) if is_json(element) => "json_of_array",
            _ => "json_of",
        };
        Ok(Typed::new(self.call_native(native, vec![arg.expr])?, json))
    }

    /// Refuses periods, zones and patterns that can never work, with the message that running would give.
    fn check_literals(&self, def: &ScalarDef, exprs: &[Expr]) -> Result<(), SqlError> {
        let Some(period) = exprs.get(1).and_then(super::literal::as_text) else {
            return Ok(());
        };
        if def.params.first() == Some(&Param::Json) {
            functions::check_path(period).map_err(SqlError::input)?;
        }
        let floors = matches!(def.native, "timestamp_floor" | "timestamp_ceil");
        if !floors && def.native != "timestamp_shift" {
            return Ok(());
        }
        let uncategorized =
            |message: String| SqlError::general(crate::Persona::Admin, crate::Category::Uncategorized, message);
        match functions::period::Span::parse(period) {
            Some(span) if floors && span.is_zero() => Err(uncategorized(
                "zero period is not acceptable in PeriodGranularity!".to_string(),
            )),
            Some(_) => Ok(()),
            None if !floors => Err(uncategorized(functions::period::Span::complaint(period))),
            None => {
                let word = |at: usize| exprs.get(at).and_then(crate::native::expression_text);
                let zone = match exprs.get(3) {
                    Some(zone) => super::literal::as_text(zone).map(str::to_string),
                    None => Some(self.zone.name()),
                };
                Err(SqlError::input(format!(
                    "Invalid period['{period}'] specified for expression[{}({}, '{period}', {}, '{}')]: [{}]",
                    def.native,
                    word(0).unwrap_or_else(|| exprs[0].to_string()),
                    word(2).unwrap_or_else(|| "null".to_string()),
                    zone.unwrap_or_default().replace('/', "\\/"),
                    functions::period::Span::complaint(period),
                )))
            }
        }
    }
}

/// Tells whether a function of its own kind takes multi-value strings as lists.
fn is_list_function(upper: &str) -> bool {
    matches!(upper, "ARRAY" | "MV_OVERLAP" | "MV_CONTAINS" | "JSON_OBJECT") || aggregate::find(upper).is_some()
}

/// Gives the name of a call in upper case.
pub(super) fn upper_name(function: &ast::Function) -> String {
    function.name.to_string().trim_matches('"').to_ascii_uppercase()
}

/// Gives the name of a call without parentheses, which the parser takes niladic names such as `user` for.
pub(super) fn bare_name(function: &ast::Function) -> Option<&ast::Ident> {
    match (&function.args, function.name.0.as_slice()) {
        (ast::FunctionArguments::None, [only]) => only.as_ident(),
        _ => None,
    }
}

fn is_json(ty: &SqlType) -> bool {
    matches!(ty, SqlType::Complex(name) if name == "json")
}

/// Gives the lists that a multi-value expression is computed from value by value.
fn list_leaves(expr: &Expr) -> BTreeSet<String> {
    if let Expr::ScalarFunction(call) = expr
        && (call.func.name().starts_with("map_") || call.func.name().starts_with("cross_"))
    {
        let leaves: BTreeSet<String> = call
            .args
            .iter()
            .filter(|arg| !matches!(arg, Expr::Literal(..)))
            .flat_map(list_leaves)
            .collect();
        if !leaves.is_empty() {
            return leaves;
        }
    }
    [expr.to_string()].into()
}

/// Tells whether there is no type that all are of: times, days, booleans and numbers mix beside text only.
fn of_no_common_type(args: &[Typed]) -> bool {
    let kind = |arg: &Typed| match &arg.ty {
        number if number.is_numeric() => Some(0),
        SqlType::Timestamp => Some(1),
        SqlType::Date => Some(2),
        SqlType::Boolean => Some(3),
        _ => None,
    };
    let kinds: Vec<_> = args.iter().map(kind).collect();
    kinds.iter().all(Option::is_some) && kinds.windows(2).any(|pair| pair[0] != pair[1])
}
