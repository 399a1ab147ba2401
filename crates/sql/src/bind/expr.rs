//! Expressions: operators, CASE, CAST, predicates, subqueries.

use std::cell::RefCell;

use datafusion::common::{ScalarValue, Spans};
use datafusion::logical_expr::expr::{Case, Exists, InList, InSubquery, Like};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, Subquery, lit};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator as B, CeilFloorKind, DateTimeField, UnaryOperator as U};

use super::aggregate::Aggregates;
use super::coerce::sql_type;
use super::window::Windows;
use super::{Binder, Ctes, Scope, Typed, literal};
use crate::{SqlError, SqlType, limits};

/// What an expression may see and hold.
pub(crate) struct Cx<'s, 'p> {
    pub scope: Option<&'s Scope<'p>>,
    /// Where aggregates go; `None` where they are illegal.
    pub aggregates: Option<&'s RefCell<Aggregates>>,
    /// Where window functions go.
    pub windows: Option<&'s RefCell<Windows>>,
    /// Name of the clause for messages.
    pub clause: &'static str,
    pub ctes: Option<&'s Ctes>,
    /// Names of the select list, in HAVING and ORDER BY.
    pub aliases: &'s [(String, Typed)],
    /// WINDOW clause.
    pub named_windows: &'s [ast::NamedWindowDefinition],
}

impl<'s, 'p> Cx<'s, 'p> {
    /// Sees columns, holds neither aggregates nor windows.
    pub fn plain(scope: &'s Scope<'p>) -> Self {
        Cx {
            scope: Some(scope),
            ..Cx::constant()
        }
    }

    /// Sees nothing.
    pub fn constant() -> Self {
        Cx {
            scope: None,
            aggregates: None,
            windows: None,
            clause: "FROM",
            ctes: None,
            aliases: &[],
            named_windows: &[],
        }
    }

    /// The same without aggregates and windows, for the inside of an aggregate.
    pub fn inside(&self, clause: &'static str) -> Cx<'s, 'p> {
        Cx {
            scope: self.scope,
            aggregates: None,
            windows: None,
            clause,
            ctes: self.ctes,
            aliases: &[],
            named_windows: &[],
        }
    }
}

impl Binder<'_> {
    /// Binds a condition.
    pub(super) fn condition(&self, expr: &ast::Expr, scope: &Scope, clause: &'static str) -> Result<Expr, SqlError> {
        let cx = Cx {
            clause,
            ..Cx::plain(scope)
        };
        self.condition_in(expr, &cx)
    }

    /// Binds a condition in a context.
    pub(super) fn condition_in(&self, expr: &ast::Expr, cx: &Cx) -> Result<Expr, SqlError> {
        let typed = self.expr(expr, cx)?;
        if !matches!(typed.ty, SqlType::Boolean | SqlType::Null) && !typed.ty.is_numeric() && !typed.ty.is_text() {
            return Err(SqlError::invalid_at(
                format!("{} clause must be a condition", cx.clause),
                self.place(expr),
            ));
        }
        self.truth(typed)
    }

    /// Binds an expression.
    pub(crate) fn expr(&self, expr: &ast::Expr, cx: &Cx) -> Result<Typed, SqlError> {
        self.deeper(|| self.expr_inner(expr, cx))
    }

    fn expr_inner(&self, expr: &ast::Expr, cx: &Cx) -> Result<Typed, SqlError> {
        use ast::Expr as E;
        let boolean = |e: Expr| Ok(Typed::new(e, SqlType::Boolean));
        match expr {
            E::Identifier(ident) => self.identifier(std::slice::from_ref(ident), cx),
            E::CompoundIdentifier(parts) => self.identifier(parts, cx),
            E::Nested(inner) => self.expr(inner, cx),
            E::Value(value) => self.value(value),
            E::TypedString(typed) => self.typed_string(typed, expr),
            E::Interval(interval) => self.interval(interval, expr),
            E::BinaryOp { left, op, right } => self.binary(expr, left, op, right, cx),
            E::UnaryOp { op, expr: inner } => self.unary(expr, op, inner, cx),
            E::IsNull(inner) => {
                let typed = self.expr(inner, cx)?;
                boolean(self.is_null(typed)?)
            }
            E::IsNotNull(inner) => {
                let typed = self.expr(inner, cx)?;
                boolean(match self.is_null(typed)? {
                    Expr::IsNull(inner) => Expr::IsNotNull(inner),
                    other => Expr::Not(Box::new(other)),
                })
            }
            E::IsTrue(inner) => boolean(Expr::IsTrue(Box::new(self.condition_of(inner, cx)?))),
            E::IsNotTrue(inner) => boolean(Expr::IsNotTrue(Box::new(self.condition_of(inner, cx)?))),
            E::IsFalse(inner) => boolean(Expr::IsFalse(Box::new(self.condition_of(inner, cx)?))),
            E::IsNotFalse(inner) => boolean(Expr::IsNotFalse(Box::new(self.condition_of(inner, cx)?))),
            E::IsUnknown(inner) => boolean(Expr::IsUnknown(Box::new(self.condition_of(inner, cx)?))),
            E::IsNotUnknown(inner) => boolean(Expr::IsNotUnknown(Box::new(self.condition_of(inner, cx)?))),
            E::IsDistinctFrom(left, right) => self.comparison(expr, left, Operator::IsDistinctFrom, right, cx),
            E::IsNotDistinctFrom(left, right) => self.comparison(expr, left, Operator::IsNotDistinctFrom, right, cx),
            E::InList {
                expr: inner,
                list,
                negated,
            } => self.in_list(expr, inner, list, *negated, cx),
            E::InSubquery {
                expr: inner,
                subquery,
                negated,
            } => self.in_subquery(inner, subquery, *negated, cx),
            E::Exists { subquery, negated } => {
                let (subquery, _) = self.subquery(subquery, cx)?;
                boolean(Expr::Exists(Exists::new(subquery, *negated)))
            }
            E::Subquery(query) => {
                let (subquery, columns) = self.subquery(query, cx)?;
                match columns.as_slice() {
                    [(_, ty)] => Ok(Typed::new(Expr::ScalarSubquery(subquery), ty.clone())),
                    _ => Err(SqlError::invalid_at(
                        "Subquery must return one column".to_string(),
                        self.place(expr),
                    )),
                }
            }
            E::Between {
                expr: inner,
                negated,
                low,
                high,
            } => {
                let low = self.comparison(expr, inner, Operator::GtEq, low, cx)?;
                let high = self.comparison(expr, inner, Operator::LtEq, high, cx)?;
                let both = low.expr.and(high.expr);
                boolean(if *negated { Expr::Not(Box::new(both)) } else { both })
            }
            E::Like {
                negated,
                expr: inner,
                pattern,
                escape_char,
                ..
            } => self.like(inner, pattern, escape_char.as_ref(), *negated, false, cx),
            E::ILike {
                negated,
                expr: inner,
                pattern,
                escape_char,
                ..
            } => self.like(inner, pattern, escape_char.as_ref(), *negated, true, cx),
            E::Cast {
                expr: inner, data_type, ..
            } => {
                let typed = self.expr(inner, cx)?;
                let Some(target) = sql_type(data_type) else {
                    return Err(SqlError::invalid_at(
                        format!("Unknown identifier '{data_type}'"),
                        self.place(expr),
                    ));
                };
                if let Some(text) = literal::as_text(&typed.expr)
                    && target.is_time()
                    && self.lenient_timestamp(text).is_none()
                {
                    return Err(SqlError::unplannable(format!("Illegal {target} constant [{text}]")));
                }
                let from = typed.ty.clone();
                let cast = self.cast(typed, &target).map_err(|_| {
                    SqlError::invalid_at(
                        format!(
                            "Cast function cannot convert value of type {} to type {}",
                            from.in_message(),
                            target.in_message()
                        ),
                        self.place(expr),
                    )
                })?;
                Ok(cast)
            }
            E::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(expr, operand.as_deref(), conditions, else_result.as_deref(), cx),
            E::Function(function) => self.function(function, expr, cx),
            E::Floor { expr: inner, field } => self.floor_ceil("FLOOR", "TIME_FLOOR", inner, field, expr, cx),
            E::Ceil { expr: inner, field } => self.floor_ceil("CEIL", "TIME_CEIL", inner, field, expr, cx),
            E::Extract { field, expr: inner, .. } => {
                let unit = literal::text(unit_name(field));
                let time = self.expr(inner, cx)?;
                self.named_call("TIME_EXTRACT", vec![time, unit], expr)
            }
            E::Substring {
                expr: inner,
                substring_from,
                substring_for,
                ..
            } => {
                let mut args = vec![self.expr(inner, cx)?];
                for part in [substring_from, substring_for].into_iter().flatten() {
                    args.push(self.expr(part, cx)?);
                }
                if args.len() == 1 {
                    let last = self.extent_end(expr);
                    return Err(self.tokens.unexpected(last, "\"FROM\", \",\""));
                }
                self.named_call("SUBSTRING", args, expr)
            }
            E::Trim {
                trim_where,
                trim_what,
                expr: inner,
                trim_characters,
            } => {
                let mut args = vec![self.expr(inner, cx)?];
                if let Some(what) = trim_what {
                    args.push(self.expr(what, cx)?);
                } else if let Some(what) = trim_characters.as_ref().and_then(|list| list.first()) {
                    args.push(self.expr(what, cx)?);
                }
                let name = match trim_where {
                    Some(ast::TrimWhereField::Leading) => "LTRIM",
                    Some(ast::TrimWhereField::Trailing) => "RTRIM",
                    _ => "BTRIM",
                };
                self.named_call(name, args, expr)
            }
            E::Position { expr: needle, r#in } => {
                let args = vec![self.expr(needle, cx)?, self.expr(r#in, cx)?];
                self.named_call("POSITION", args, expr)
            }
            E::Array(array) => self.array(&array.elem, expr, cx),
            E::AtTimeZone { .. }
            | E::Tuple(_)
            | E::GroupingSets(_)
            | E::Cube(_)
            | E::Rollup(_)
            | E::Wildcard(_)
            | E::QualifiedWildcard(..) => Err(SqlError::invalid_at(
                format!("Expression [{expr}] is not supported here"),
                self.place(expr),
            )),
            other => Err(SqlError::unsupported(format!(
                "Expression [{}] is not supported",
                other.to_string().chars().take(200).collect::<String>()
            ))),
        }
    }

    fn extent_end(&self, expr: &ast::Expr) -> usize {
        self.place(expr)
            .and_then(|p| {
                self.tokens.at(datafusion::sql::sqlparser::tokenizer::Location {
                    line: p.end_line,
                    column: p.end_column,
                })
            })
            .unwrap_or(self.tokens.list().len())
    }

    fn identifier(&self, parts: &[ast::Ident], cx: &Cx) -> Result<Typed, SqlError> {
        if let [only] = parts {
            if let Some((_, typed)) = cx.aliases.iter().find(|(name, _)| *name == only.value) {
                return Ok(typed.clone());
            }
            if only.quote_style.is_none()
                && let Some(constant) = self.niladic(&only.value)
            {
                let shadowed = cx
                    .scope
                    .is_some_and(|scope| scope.columns().any(|column| column.name == only.value));
                if !shadowed {
                    return Ok(constant);
                }
            }
        }
        let empty = Scope::default();
        match cx.scope {
            Some(scope) => self.column(scope, parts),
            None => self.column(&empty, parts),
        }
    }

    /// Gives the value of a function that is written without parentheses.
    pub(super) fn niladic(&self, name: &str) -> Option<Typed> {
        match name.to_ascii_uppercase().as_str() {
            "PI" => Some(Typed::new(lit(std::f64::consts::PI), SqlType::Double)),
            "CURRENT_TIMESTAMP" | "LOCALTIMESTAMP" => {
                Some(Typed::new(literal::timestamp(self.now_ms), SqlType::Timestamp))
            }
            "CURRENT_DATE" => {
                let local = self.zone.to_local(self.now_ms);
                let midnight = self.zone.from_local(local - local.rem_euclid(86_400_000));
                Some(Typed::new(literal::timestamp(midnight), SqlType::Date))
            }
            _ => None,
        }
    }

    fn condition_of(&self, expr: &ast::Expr, cx: &Cx) -> Result<Expr, SqlError> {
        let typed = self.expr(expr, cx)?;
        self.truth(typed)
    }

    fn is_null(&self, typed: Typed) -> Result<Expr, SqlError> {
        if typed.ty == SqlType::MultiVarchar {
            return self.call_native("mv_is_null", vec![typed.expr]);
        }
        Ok(Expr::IsNull(Box::new(typed.expr)))
    }

    fn unary(&self, whole: &ast::Expr, op: &U, inner: &ast::Expr, cx: &Cx) -> Result<Typed, SqlError> {
        match op {
            U::Not => {
                let condition = self.condition_of(inner, cx)?;
                Ok(Typed::new(Expr::Not(Box::new(condition)), SqlType::Boolean))
            }
            U::Plus => self.expr(inner, cx),
            U::Minus => {
                if let ast::Expr::Value(value) = inner
                    && let ast::Value::Number(number, _) = &value.value
                    && let Ok(negated) = format!("-{number}").parse::<i64>()
                {
                    return Ok(literal::long(negated));
                }
                let typed = self.expr(inner, cx)?;
                match typed.expr {
                    Expr::Literal(ScalarValue::Float64(Some(value)), _) => Ok(Typed::new(lit(-value), typed.ty)),
                    Expr::Literal(ScalarValue::Int64(Some(value)), _) => {
                        Ok(Typed::new(lit(value.wrapping_neg()), typed.ty))
                    }
                    expr if typed.ty.is_integer() || typed.ty.is_interval() => Ok(Typed::new(
                        Expr::BinaryExpr(BinaryExpr::new(Box::new(lit(0i64)), Operator::Minus, Box::new(expr))),
                        typed.ty,
                    )),
                    expr if typed.ty.is_fraction() => Ok(Typed::new(Expr::Negative(Box::new(expr)), typed.ty)),
                    expr if typed.ty.is_text() => {
                        let number = self.cast(Typed::new(expr, typed.ty), &SqlType::Double)?;
                        Ok(Typed::new(Expr::Negative(Box::new(number.expr)), SqlType::Double))
                    }
                    _ if typed.ty == SqlType::Null => Ok(self.null_of(&SqlType::Integer)),
                    _ => Err(SqlError::invalid_at(
                        format!(
                            "Cannot apply '-' to arguments of type '-<{}>'. Supported form(s): '-<NUMERIC>'\n'-<DATETIME_INTERVAL>'",
                            typed.ty.in_message()
                        ),
                        self.place(whole),
                    )),
                }
            }
            other => Err(SqlError::unsupported(format!("Operator [{other}] is not supported"))),
        }
    }

    fn binary(
        &self,
        whole: &ast::Expr,
        left: &ast::Expr,
        op: &B,
        right: &ast::Expr,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let compare = |op| self.comparison(whole, left, op, right, cx);
        match op {
            B::And | B::Or => self.junction(whole, op, cx),
            B::Eq => compare(Operator::Eq),
            B::NotEq => compare(Operator::NotEq),
            B::Lt => compare(Operator::Lt),
            B::LtEq => compare(Operator::LtEq),
            B::Gt => compare(Operator::Gt),
            B::GtEq => compare(Operator::GtEq),
            B::Plus | B::Minus | B::Multiply | B::Divide | B::Modulo | B::StringConcat => self.chain(whole, cx),
            other => Err(SqlError::invalid_at(
                format!("Operator [{other}] is not supported"),
                self.place(whole),
            )),
        }
    }

    /// AND and OR chains become balanced trees: a statement of a hundred thousand conditions stays shallow.
    fn junction(&self, whole: &ast::Expr, op: &B, cx: &Cx) -> Result<Typed, SqlError> {
        let mut leaves: Vec<&ast::Expr> = Vec::new();
        let mut stack = vec![whole];
        while let Some(expr) = stack.pop() {
            match expr {
                ast::Expr::BinaryOp { left, op: inner, right } if inner == op => {
                    stack.push(right);
                    stack.push(left);
                }
                other => leaves.push(other),
            }
        }
        let mut level: Vec<Expr> = leaves
            .into_iter()
            .map(|leaf| self.condition_of(leaf, cx))
            .collect::<Result<_, _>>()?;
        while level.len() > 1 {
            let mut next = Vec::with_capacity(level.len().div_ceil(2));
            let mut items = level.into_iter();
            while let Some(first) = items.next() {
                next.push(match items.next() {
                    Some(second) if *op == B::And => first.and(second),
                    Some(second) => first.or(second),
                    None => first,
                });
            }
            level = next;
        }
        let expr = level.pop().unwrap_or(lit(true));
        Ok(Typed::new(expr, SqlType::Boolean))
    }

    /// Arithmetic and concatenation: a left-deep chain is walked without recursion, up to a limit.
    fn chain(&self, whole: &ast::Expr, cx: &Cx) -> Result<Typed, SqlError> {
        let mut steps: Vec<(&ast::Expr, &B, &ast::Expr)> = Vec::new();
        let mut at = whole;
        while let ast::Expr::BinaryOp { left, op, right } = at {
            if !matches!(
                op,
                B::Plus | B::Minus | B::Multiply | B::Divide | B::Modulo | B::StringConcat
            ) {
                break;
            }
            steps.push((at, op, right));
            at = left;
        }
        if steps.len() > limits::MAX_CHAIN {
            return Err(SqlError::invalid_at(
                format!(
                    "Chain of {} operators is longer than the limit of {}",
                    steps.len(),
                    limits::MAX_CHAIN
                ),
                self.place(whole),
            ));
        }
        let mut left = self.expr(at, cx)?;
        for (node, op, right) in steps.into_iter().rev() {
            let right = self.expr(right, cx)?;
            left = match op {
                B::StringConcat => self.named_call("CONCAT", vec![left, right], node)?,
                _ => self.arithmetic(node, left, op, right)?,
            };
        }
        Ok(left)
    }

    fn arithmetic(&self, whole: &ast::Expr, left: Typed, op: &B, right: Typed) -> Result<Typed, SqlError> {
        let (a, b) = (left.ty.clone(), right.ty.clone());
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
                    a.in_message(),
                    b.in_message()
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
                if !(readable(&a) && readable(&b)) || (!number(&a) && !number(&b)) {
                    return Err(wrong());
                }
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
                crate::functions::time::add_months(*millis, amount, self.zone)
            };
            if let Some(moved) = moved {
                return Ok(Typed::new(literal::timestamp(moved), ty));
            }
        }
        let expr = self.call_native(name, vec![time.expr.clone(), amount, lit(self.zone.name())])?;
        Ok(Typed::new(expr, ty))
    }

    fn numbers(&self, left: Typed, op: &B, right: Typed) -> Result<Typed, SqlError> {
        let text = |ty: &SqlType| ty.is_text();
        let left = if text(&left.ty) {
            self.cast(left, &SqlType::Double)?
        } else {
            left
        };
        let right = if text(&right.ty) {
            self.cast(right, &SqlType::Double)?
        } else {
            right
        };
        let mut ty = super::coerce::common_type(&left.ty, &right.ty).unwrap_or(SqlType::Double);
        if matches!(ty, SqlType::Float) {
            ty = SqlType::Double;
        }
        if matches!(ty, SqlType::TinyInt | SqlType::SmallInt | SqlType::Null) {
            ty = SqlType::Integer;
        }
        let left = self.cast(left, &ty)?;
        let right = self.cast(right, &ty)?;
        let operator = match op {
            B::Plus => Operator::Plus,
            B::Minus => Operator::Minus,
            B::Multiply => Operator::Multiply,
            B::Divide => Operator::Divide,
            _ => Operator::Modulo,
        };
        Ok(Typed::new(
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left.expr), operator, Box::new(right.expr))),
            ty,
        ))
    }

    fn comparison(
        &self,
        whole: &ast::Expr,
        left: &ast::Expr,
        op: Operator,
        right: &ast::Expr,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let left = self.expr(left, cx)?;
        let right = self.expr(right, cx)?;
        self.compared(whole, left, op, right)
    }

    fn compared(&self, whole: &ast::Expr, left: Typed, op: Operator, right: Typed) -> Result<Typed, SqlError> {
        let expr = self.compare(op, left, right).map_err(|types| {
            let sign = op.to_string();
            SqlError::invalid_at(
                format!(
                    "Cannot apply '{sign}' to arguments of type '<{}> {sign} <{}>'. Supported form(s): '<COMPARABLE_TYPE> {sign} <COMPARABLE_TYPE>'",
                    types.0.in_message(),
                    types.1.in_message()
                ),
                self.place(whole),
            )
        })?;
        Ok(Typed::new(expr, SqlType::Boolean))
    }

    fn in_list(
        &self,
        whole: &ast::Expr,
        inner: &ast::Expr,
        list: &[ast::Expr],
        negated: bool,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let value = self.expr(inner, cx)?;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            items.push(self.expr(item, cx)?);
        }
        let simple = items.iter().all(|item| {
            item.ty == value.ty
                || item.ty == SqlType::Null
                || (item.ty.is_text() && matches!(value.ty, SqlType::Varchar | SqlType::Char(_)))
                || (item.ty.is_integer() && value.ty.is_integer())
        });
        if simple {
            let target = value.ty.clone();
            let list = items
                .into_iter()
                .map(|item| self.cast(item, &target).map(|typed| typed.expr))
                .collect::<Result<Vec<_>, _>>()?;
            return Ok(Typed::new(
                Expr::InList(InList::new(Box::new(value.expr), list, negated)),
                SqlType::Boolean,
            ));
        }
        let mut any: Option<Expr> = None;
        for item in items {
            let equal = self.compared(whole, value.clone(), Operator::Eq, item)?.expr;
            any = Some(match any {
                Some(any) => any.or(equal),
                None => equal,
            });
        }
        let any = any.unwrap_or(lit(false));
        Ok(Typed::new(
            if negated { Expr::Not(Box::new(any)) } else { any },
            SqlType::Boolean,
        ))
    }

    fn subquery(&self, query: &ast::Query, cx: &Cx) -> Result<(Subquery, Vec<(String, SqlType)>), SqlError> {
        let none = Ctes::new();
        let bound = self.query(query, cx.ctes.unwrap_or(&none), cx.scope)?;
        let outer = outer_references(&bound.plan);
        Ok((
            Subquery {
                subquery: std::sync::Arc::new(bound.plan),
                outer_ref_columns: outer,
                spans: Spans::new(),
            },
            bound.columns,
        ))
    }

    fn in_subquery(&self, inner: &ast::Expr, query: &ast::Query, negated: bool, cx: &Cx) -> Result<Typed, SqlError> {
        let value = self.expr(inner, cx)?;
        let (mut subquery, columns) = self.subquery(query, cx)?;
        let [(_, ty)] = columns.as_slice() else {
            return Err(SqlError::invalid_at(
                "Values passed to IN operator must have compatible types".to_string(),
                self.place(inner),
            ));
        };
        let common = super::coerce::common_type(&value.ty, ty).ok_or_else(|| {
            SqlError::invalid_at(
                "Values passed to IN operator must have compatible types".to_string(),
                self.place(inner),
            )
        })?;
        let value = self.cast(value, &common)?;
        if ty.arrow() != common.arrow() {
            let plan = subquery.subquery.as_ref().clone();
            let column = Expr::Column(plan.schema().columns()[0].clone());
            let name = plan.schema().field(0).name().clone();
            let cast = self.cast(Typed::new(column, ty.clone()), &common)?.expr.alias(name);
            let plan = datafusion::logical_expr::LogicalPlanBuilder::from(plan)
                .project([cast])
                .and_then(|b| b.build())
                .map_err(|e| super::from_datafusion(&e))?;
            subquery.subquery = std::sync::Arc::new(plan);
        }
        Ok(Typed::new(
            Expr::InSubquery(InSubquery::new(Box::new(value.expr), subquery, negated)),
            SqlType::Boolean,
        ))
    }

    fn like(
        &self,
        inner: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::ValueWithSpan>,
        negated: bool,
        case_insensitive: bool,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let value = self.expr(inner, cx)?;
        let pattern = self.expr(pattern, cx)?;
        let escape = match escape {
            None => None,
            Some(value) => {
                let typed = self.value(value)?;
                literal::as_text(&typed.expr).and_then(|text| text.chars().next())
            }
        };
        let multi = value.ty == SqlType::MultiVarchar;
        let value = self.cast(value, &SqlType::Varchar)?.expr;
        let pattern = self.cast(pattern, &SqlType::Varchar)?.expr;
        // Without ESCAPE no character escapes; Arrow's LIKE always knows the backslash, so such patterns go to our kernel.
        let plain = literal::as_text(&pattern).is_some_and(|text| !text.contains('\\')) && escape.is_none() && !multi;
        let expr = if plain {
            Expr::Like(Like::new(
                negated,
                Box::new(value),
                Box::new(pattern),
                None,
                case_insensitive,
            ))
        } else {
            let escape = lit(escape.map(String::from).unwrap_or_default());
            let name = match (multi, case_insensitive) {
                (true, _) => "mv_like",
                (false, true) => "ilike",
                (false, false) => "like",
            };
            let like = self.call_native(name, vec![value, pattern, escape])?;
            if negated { Expr::Not(Box::new(like)) } else { like }
        };
        Ok(Typed::new(expr, SqlType::Boolean))
    }

    fn case(
        &self,
        whole: &ast::Expr,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        else_result: Option<&ast::Expr>,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let mut whens = Vec::new();
        let mut results = Vec::new();
        for case in conditions {
            whens.push(match operand {
                Some(operand) => self.comparison(whole, operand, Operator::Eq, &case.condition, cx)?.expr,
                None => self.condition_of(&case.condition, cx)?,
            });
            results.push(self.expr(&case.result, cx)?);
        }
        results.push(match else_result {
            Some(result) => self.expr(result, cx)?,
            None => Typed::new(lit(ScalarValue::Null), SqlType::Null),
        });
        let (mut results, ty) = self.unify(results).map_err(|_| {
            SqlError::invalid_at(
                "Illegal mixing of types in CASE or COALESCE statement".to_string(),
                self.place(whole),
            )
        })?;
        let otherwise = results.pop().map(|typed| Box::new(typed.expr));
        let when_then = whens
            .into_iter()
            .zip(results)
            .map(|(when, then)| (Box::new(when), Box::new(then.expr)))
            .collect();
        Ok(Typed::new(Expr::Case(Case::new(None, when_then, otherwise)), ty))
    }

    fn floor_ceil(
        &self,
        name: &str,
        time_name: &str,
        inner: &ast::Expr,
        field: &CeilFloorKind,
        whole: &ast::Expr,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let typed = self.expr(inner, cx)?;
        match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => self.named_call(name, vec![typed], whole),
            CeilFloorKind::Scale(scale) => {
                let scale = self.value(scale)?;
                self.named_call(name, vec![typed, scale], whole)
            }
            CeilFloorKind::DateTimeField(field) => {
                let unit = unit_name(field);
                let Some(period) = unit_period(&unit) else {
                    return Err(SqlError::unplannable(format!("{name} ... TO {unit} is not supported")));
                };
                if !typed.ty.is_time() && typed.ty != SqlType::Null {
                    return Err(SqlError::invalid_at(
                        format!(
                            "Cannot apply '{name}' to arguments of type '{name}(<{}>, <INTERVAL {unit}>)'. Supported form(s): '{name}(<DATETIME> TO <TIME_UNIT>)'",
                            typed.ty.in_message()
                        ),
                        self.place(whole),
                    ));
                }
                let ty = typed.ty.clone();
                let mut result = self.named_call(time_name, vec![typed, literal::text(period)], whole)?;
                if ty == SqlType::Date {
                    result.ty = SqlType::Date;
                }
                Ok(result)
            }
        }
    }

    fn array(&self, elements: &[ast::Expr], whole: &ast::Expr, cx: &Cx) -> Result<Typed, SqlError> {
        let items = elements
            .iter()
            .map(|element| self.expr(element, cx))
            .collect::<Result<Vec<_>, _>>()?;
        self.array_of(items, whole)
    }

    /// Makes an array of values.
    pub(super) fn array_of(&self, items: Vec<Typed>, whole: &ast::Expr) -> Result<Typed, SqlError> {
        if items.is_empty() {
            return Err(SqlError::invalid_at(
                "Require at least 1 argument".to_string(),
                self.place(whole),
            ));
        }
        let (items, ty) = self
            .unify(items)
            .map_err(|_| SqlError::invalid_at("Parameters must be of the same type".to_string(), self.place(whole)))?;
        let element = if ty == SqlType::Null { SqlType::Varchar } else { ty };
        let exprs: Vec<Expr> = items
            .into_iter()
            .map(|item| self.cast(item, &element).map(|t| t.expr))
            .collect::<Result<_, _>>()?;
        let expr = self.call_native("array", exprs)?;
        Ok(Typed::new(expr, SqlType::Array(Box::new(element))))
    }
}

/// Gives the columns of outer queries that a plan refers to.
fn outer_references(plan: &LogicalPlan) -> Vec<Expr> {
    plan.all_out_ref_exprs()
}

/// Gives the upper case name of a unit.
pub(super) fn unit_name(field: &DateTimeField) -> String {
    field.to_string().to_ascii_uppercase()
}

/// Gives the period of a unit.
pub(super) fn unit_period(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "SECOND" => "PT1S",
        "MINUTE" => "PT1M",
        "HOUR" => "PT1H",
        "DAY" => "P1D",
        "WEEK" => "P1W",
        "MONTH" => "P1M",
        "QUARTER" => "P3M",
        "YEAR" => "P1Y",
        _ => return None,
    })
}
