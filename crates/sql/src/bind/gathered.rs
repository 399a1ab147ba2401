//! What aggregates may be given: literals, times, columns that are grouped by; and what becomes of arguments before they are
//! gathered.

use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, lit};
use datafusion::sql::sqlparser::ast;

use super::expr::Cx;
use super::{Binder, Typed};
use crate::{SqlError, SqlType};

impl Binder<'_> {
    /// Refuses GROUPING where nothing is grouped, or of something else than what is grouped by.
    pub(super) fn check_grouping(
        &self,
        function: &ast::Function,
        args: &[Expr],
        keys: &[Expr],
        whole: &ast::Expr,
    ) -> Result<(), SqlError> {
        if args.is_empty() {
            return Err(SqlError::invalid_at(
                "Invalid number of arguments to function 'GROUPING'. Was expecting 1 arguments",
                self.place(whole),
            ));
        }
        if keys.is_empty() {
            return Err(SqlError::invalid_at(
                "GROUPING operator may only occur in an aggregate query",
                self.place(whole),
            ));
        }
        let Some(stray) = args.iter().position(|arg| !keys.contains(arg)) else {
            return Ok(());
        };
        Err(SqlError::invalid_at(
            "Argument to GROUPING operator must be a grouped expression",
            written(function, stray).and_then(|expr| self.place(expr)),
        ))
    }

    /// Checks the time and the number of bytes that EARLIEST, LATEST and their `_BY` are given; Druid checks all of them as the
    /// form with a time.
    pub(super) fn check_moments(
        &self,
        name: &str,
        function: &ast::Function,
        args: &[Typed],
        whole: &ast::Expr,
    ) -> Result<(), SqlError> {
        let by = name.ends_with("_BY");
        let full = format!("{}{}", name, if by { "" } else { "_BY" });
        if by {
            self.no_null_literal(function, 1)?;
        }
        // The last argument is taken for the number of bytes.
        let bytes_at = if by || args.len() > 2 { 2 } else { 1 };
        self.literal_argument(&full, function, args, bytes_at)?;
        let is_pair = matches!(&args[0].ty, SqlType::Complex(_));
        let timed = !by || is_pair || args[1].ty == SqlType::Timestamp;
        let counted = args
            .get(bytes_at)
            .is_none_or(|bytes| bytes.ty.is_numeric() || bytes.ty == SqlType::Null);
        if timed && counted {
            return Ok(());
        }
        let mut types: Vec<String> = args.iter().map(|arg| format!("<{}>", arg.in_message())).collect();
        if !by {
            types.drain(1..bytes_at);
            types.insert(1, "<TIMESTAMP(3)>".to_string());
        }
        Err(SqlError::invalid_at(
            format!(
                "Cannot apply '{full}' to arguments of type '{full}({})'. Supported form(s): \
                 '{full}(<expr>, <timeColumn>, [<maxBytesPerString>])'",
                types.join(", ")
            ),
            self.place(whole),
        ))
    }

    /// Refuses an argument that is no literal, at its place.
    pub(super) fn literal_argument(
        &self,
        name: &str,
        function: &ast::Function,
        args: &[Typed],
        at: usize,
    ) -> Result<(), SqlError> {
        let Some(arg) = args.get(at) else { return Ok(()) };
        if super::literal::constant(&arg.expr).is_some() {
            return Ok(());
        }
        Err(SqlError::invalid_at(
            format!("Argument to function '{name}' must be a literal"),
            written(function, at).and_then(|expr| self.place(expr)),
        ))
    }

    /// Makes text of what Druid keeps as text, its own number of it: times, truth values and arrays.
    pub(super) fn kept_as_text(&self, arg: Typed) -> Result<Typed, SqlError> {
        match &arg.ty {
            ty if ty.is_time() || *ty == SqlType::Boolean => {
                let number = self.cast(arg, &SqlType::BigInt)?;
                self.cast(number, &SqlType::Varchar)
            }
            SqlType::Array(_) => {
                let list = self.cast(arg, &SqlType::Array(Box::new(SqlType::Varchar)))?;
                let shown = self.call_native("array_shown", vec![list.expr])?;
                Ok(Typed::new(shown, SqlType::Varchar))
            }
            _ => Ok(arg),
        }
    }

    /// Makes what STRING_AGG joins: the texts of arrays are joined one by one, other values are worded as Druid keeps them.
    pub(super) fn texts_to_join(&self, arg: Typed) -> Result<Typed, SqlError> {
        if matches!(arg.ty, SqlType::Array(_)) {
            let list = self.cast(arg, &SqlType::Array(Box::new(SqlType::Varchar)))?;
            return Ok(Typed::new(list.expr, SqlType::MultiVarchar));
        }
        if let (SqlType::Complex(_), Expr::Column(column)) = (&arg.ty, &arg.expr) {
            return Err(SqlError::invalid(format!(
                "Aggregation [STRING_AGG] does not support type [{}], column [{}]",
                arg.ty.native(),
                column.flat_name()
            )));
        }
        let kept = self.kept_as_text(arg)?;
        self.cast(kept, &SqlType::Varchar)
    }

    /// Gives the only argument of COUNT that is no literal; Druid looks at the others, and cannot count several columns.
    pub(super) fn only_counted(&self, args: Vec<Typed>, cx: &Cx) -> Result<Typed, SqlError> {
        let is_known = |arg: &Typed| matches!(&arg.expr, Expr::Literal(value, _) if !value.is_null());
        let (literals, mut others): (Vec<Typed>, Vec<Typed>) = args.into_iter().partition(is_known);
        match (others.len(), literals.into_iter().next()) {
            (0, Some(literal)) => Ok(literal),
            (1, _) => Ok(others.remove(0)),
            _ => {
                let places: Vec<String> = others
                    .iter()
                    .enumerate()
                    .map(|(at, arg)| place_in_table(arg, cx).unwrap_or(at).to_string())
                    .collect();
                Err(SqlError::general(
                    crate::Persona::Admin,
                    crate::Category::Uncategorized,
                    format!("expected one element but was: <{}>", places.join(", ")),
                )
                .hint(Some(
                    "COUNT takes one column; count rows where several are not NULL with COUNT(*) FILTER (WHERE …)"
                        .into(),
                )))
            }
        }
    }

    /// Reads what BIT_AND and its kin combine. Of a column of text, what is no number counts as 0 where it is one value.
    pub(super) fn bits(&self, arg: Typed) -> Result<Expr, SqlError> {
        if arg.ty.is_integer() {
            return Ok(arg.expr);
        }
        let known = match &arg.ty {
            SqlType::MultiVarchar => {
                let length = self.call_native("array_length", vec![arg.expr.clone()])?;
                Some(length.eq(lit(1i64)))
            }
            ty if ty.is_text() && matches!(arg.expr, Expr::Column(_)) => {
                Some(Expr::IsNotNull(Box::new(arg.expr.clone())))
            }
            _ => None,
        };
        let number = self.cast(self.only_number(arg)?, &SqlType::BigInt)?;
        let Some(known) = known else { return Ok(number.expr) };
        let or_zero = datafusion::functions::core::expr_fn::coalesce(vec![number.expr, lit(0i64)]);
        let only_known = vec![(Box::new(known), Box::new(or_zero))];
        Ok(Expr::Case(Case::new(None, only_known, None)))
    }

    /// Reads the only value of a row's several as a number; no value and several are NULL.
    pub(super) fn only_number(&self, arg: Typed) -> Result<Typed, SqlError> {
        if arg.ty != SqlType::MultiVarchar {
            return Ok(arg);
        }
        let length = self.call_native("array_length", vec![arg.expr.clone()])?;
        let first = self.call_native("mv_offset", vec![arg.expr, lit(0i64)])?;
        let number = self.cast(Typed::new(first, SqlType::Varchar), &SqlType::Double)?;
        let only = Expr::Case(Case::new(
            None,
            vec![(Box::new(length.eq(lit(1i64))), Box::new(number.expr))],
            None,
        ));
        Ok(Typed::new(only, SqlType::Double))
    }

    /// Refuses NULL as an argument from an index on.
    pub(super) fn no_null_literal(&self, function: &ast::Function, from: usize) -> Result<(), SqlError> {
        let ast::FunctionArguments::List(list) = &function.args else {
            return Ok(());
        };
        for argument in list.args.iter().skip(from) {
            if let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) = argument
                && is_null(expr)
            {
                return Err(SqlError::invalid_at(
                    "Illegal use of 'NULL'".to_string(),
                    self.place(expr),
                ));
            }
        }
        Ok(())
    }
}

/// Gives the place of a column in its table, by which Druid names it in messages.
pub(super) fn place_in_table(arg: &Typed, cx: &Cx) -> Option<usize> {
    let mut columns = cx.scope.into_iter().flat_map(super::Scope::columns);
    columns.position(|column| Expr::Column(column.column.clone()) == arg.expr)
}

/// Makes the error for the aggregates of JSON, which Druid reads and does not have.
pub(super) fn no_json_aggregate(upper: &str, args: &[Typed], cx: &Cx) -> SqlError {
    let nulls = if upper == "JSON_ARRAYAGG" { "ABSENT" } else { "NULL" };
    // What is computed is a column of its own below the aggregate.
    let plain = args.iter().all(|arg| matches!(arg.expr, Expr::Column(_)));
    let places: Vec<String> = args
        .iter()
        .enumerate()
        .map(|(at, arg)| place_in_table(arg, cx).filter(|_| plain).unwrap_or(at))
        .map(|place| format!("${place}"))
        .collect();
    SqlError::unplannable(format!(
        "Aggregation [{upper}_{nulls}_ON_NULL({})] is not supported",
        places.join(", ")
    ))
}

/// Tells whether an expression is the word NULL.
pub(super) fn is_null(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Value(value) if value.value == ast::Value::Null)
}

/// What is said of an aggregate in an aggregate.
pub(super) const NESTED: &str = "Aggregate expressions cannot be nested";

/// Makes the error for an aggregate in an aggregate.
pub(super) fn nested(place: Option<crate::Position>) -> SqlError {
    SqlError::invalid_at(NESTED, place)
}

/// Tells whether an error says that an aggregate holds another, or a window function.
pub(super) fn is_nested(error: &SqlError) -> bool {
    error.message.starts_with(NESTED)
        || error
            .message
            .starts_with("Windowed aggregate expression is illegal in aggregate clause")
}

/// Gives an argument as it is written.
pub(super) fn written(function: &ast::Function, at: usize) -> Option<&ast::Expr> {
    let ast::FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.get(at) {
        Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr))) => Some(expr),
        _ => None,
    }
}

/// Takes `CASE WHEN condition THEN value END` apart: Druid drops the rows that the condition leaves out.
pub(super) fn filtered_case(expr: &Expr) -> Option<(Expr, Expr)> {
    let Expr::Case(case) = expr else { return None };
    let [(when, then)] = case.when_then_expr.as_slice() else {
        return None;
    };
    let is_null = |expr: &Expr| match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Literal(value, _) if value.is_null()),
        _ => false,
    };
    let condition = match &case.expr {
        Some(operand) => operand.as_ref().clone().eq(when.as_ref().clone()),
        None => when.as_ref().clone(),
    };
    match &case.else_expr {
        None => Some((condition, then.as_ref().clone())),
        Some(other) if is_null(other) => Some((condition, then.as_ref().clone())),
        Some(other) if is_null(then) => Some((Expr::IsNotTrue(Box::new(condition)), other.as_ref().clone())),
        Some(_) => None,
    }
}
