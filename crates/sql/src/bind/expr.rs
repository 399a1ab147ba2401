//! Expressions: operators, CASE, CAST; predicates and arithmetic are beside.

use std::cell::RefCell;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Exists;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, Subquery, lit};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator as B, CeilFloorKind, DateTimeField, Spanned, UnaryOperator as U,
};

use super::aggregate::Aggregates;
use super::by_value::Values;
use super::coerce::sql_type;
use super::condition::{Truth, decides};
use super::foreign::uncategorized;
use super::unit::{check_unit, unit_name, unit_period, unit_shown};
use super::window::Windows;
use super::{Binder, Ctes, Scope, Typed, literal};
use crate::{SqlError, SqlType, limits};

/// What an expression may see and hold.
#[derive(Clone, Copy)]
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
    /// True where an aggregate gives what a rollup stores of it (`finalizeAggregations: false`).
    pub unfinished: bool,
    /// Where multi-value strings go that are looked at value by value.
    pub values: Option<&'s RefCell<Values>>,
    /// Multi-value strings that are grouped by: they have one value in every group.
    pub grouped: &'s [Expr],
    pub truth: Truth,
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
            unfinished: false,
            values: None,
            grouped: &[],
            truth: Truth::Matters,
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
            unfinished: false,
            values: None,
            grouped: &[],
            truth: Truth::Matters,
        }
    }
}

impl Binder<'_> {
    /// Binds an expression.
    pub(crate) fn expr(&self, expr: &ast::Expr, cx: &Cx) -> Result<Typed, SqlError> {
        let cx = &Cx {
            truth: cx.truth.within(expr),
            ..*cx
        };
        // What is shown of a condition, and grouped by, is looked at once a value.
        if cx.values.is_none() && matches!(cx.clause, "SELECT" | "GROUP BY") && decides(expr) {
            return self.by_value(cx, |cx| self.deeper(|| self.expr_inner(expr, cx)));
        }
        let query = match expr {
            ast::Expr::Subquery(query) => Some(query),
            ast::Expr::InSubquery { subquery, .. } | ast::Expr::Exists { subquery, .. } => Some(subquery),
            _ => None,
        };
        // Conditions are joined, each on its own.
        let shared = query.filter(|_| !["WHERE", "HAVING", "ON", "QUALIFY"].contains(&cx.clause));
        let Some(place) = shared.map(|query| query.span().start).filter(|start| start.line > 0) else {
            let mut typed = self.deeper(|| self.expr_inner(expr, cx))?;
            if typed.ty == SqlType::MultiVarchar && cx.grouped.contains(&typed.expr) {
                typed.ty = SqlType::Varchar;
            }
            let placeholder = cx.values.and_then(|values| values.borrow_mut().placeholder(&typed));
            return Ok(placeholder.unwrap_or(typed));
        };
        let place = (place.line, place.column);
        if let Some(known) = self.state.borrow().asked.get(&place) {
            return Ok(known.clone());
        }
        let typed = self.deeper(|| self.expr_inner(expr, cx))?;
        self.state.borrow_mut().asked.insert(place, typed.clone());
        Ok(typed)
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
            E::Interval(interval) => self.interval(interval, expr, cx),
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
            E::IsTrue(inner) => boolean(Expr::IsTrue(self.judged(expr, inner, "IS TRUE", cx)?)),
            E::IsNotTrue(inner) => boolean(Expr::IsNotTrue(self.judged(expr, inner, "IS NOT TRUE", cx)?)),
            E::IsFalse(inner) => boolean(Expr::IsFalse(self.judged(expr, inner, "IS FALSE", cx)?)),
            E::IsNotFalse(inner) => boolean(Expr::IsNotFalse(self.judged(expr, inner, "IS NOT FALSE", cx)?)),
            E::IsUnknown(inner) => boolean(Expr::IsUnknown(self.judged(expr, inner, "IS UNKNOWN", cx)?)),
            E::IsNotUnknown(inner) => boolean(Expr::IsNotUnknown(self.judged(expr, inner, "IS NOT UNKNOWN", cx)?)),
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
                let (mut subquery, _) = self.subquery(subquery, cx)?;
                without_constants(&mut subquery);
                boolean(Expr::Exists(Exists::new(subquery, *negated)))
            }
            E::Subquery(query) => {
                let (subquery, columns) = self.subquery(query, cx)?;
                match columns.as_slice() {
                    [(_, ty)] => Ok(Typed::new(Expr::ScalarSubquery(subquery), ty.clone())),
                    many => {
                        let fields: Vec<String> = many
                            .iter()
                            .map(|(name, ty)| format!("{} {name}", ty.in_message()).to_uppercase())
                            .collect();
                        Err(SqlError::invalid_at(
                            format!(
                                "Cannot apply '$SCALAR_QUERY' to arguments of type '$SCALAR_QUERY(<RECORDTYPE({})>)'. Supported form(s): '$SCALAR_QUERY(<RECORDTYPE(SINGLE FIELD)>)'",
                                fields.join(", ")
                            ),
                            self.place(expr),
                        ))
                    }
                }
            }
            E::Between {
                expr: inner,
                negated,
                low,
                high,
            } => self.between(expr, inner, *negated, low, high, cx),
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
                kind,
                expr: inner,
                data_type,
                array,
                ..
            } => self.cast_call(expr, kind, inner, data_type, *array, cx),
            E::Prefixed { value, .. } => self.expr(value, cx),
            E::AnyOp {
                left,
                compare_op,
                right,
                ..
            } => self.quantified(expr, left, compare_op, right, false, cx),
            E::AllOp {
                left,
                compare_op,
                right,
            } => self.quantified(expr, left, compare_op, right, true, cx),
            E::Case {
                operand,
                conditions,
                else_result,
                ..
            } => {
                let bind = |cx: &Cx| self.case(expr, operand.as_deref(), conditions, else_result.as_deref(), cx);
                // What is aggregated where a condition holds becomes a filtered aggregate in Druid, whose filter looks at rows.
                match cx.clause == "aggregate" && is_filter(conditions, else_result.as_deref()) {
                    true => bind(cx),
                    false => self.by_value(cx, bind),
                }
            }
            E::Function(function) => self.function(function, expr, cx),
            E::Floor { expr: inner, field } => self.floor_ceil("FLOOR", "TIME_FLOOR", inner, field, expr, cx),
            E::Ceil { expr: inner, field } => self.floor_ceil("CEIL", "TIME_CEIL", inner, field, expr, cx),
            E::Extract { field, expr: inner, .. } => {
                let time = self.expr(inner, cx)?;
                if !time.ty.is_time() && time.ty != SqlType::Null && !time.ty.is_interval() {
                    let [shown, unit] = [time.in_message(), unit_shown(field)];
                    return Err(SqlError::invalid_at(
                        format!(
                            "Cannot apply 'EXTRACT' to arguments of type 'EXTRACT(<INTERVAL {unit}> FROM <{shown}>)'. Supported form(s): 'EXTRACT(<DATETIME_INTERVAL> FROM <DATETIME_INTERVAL>)'\n'EXTRACT(<DATETIME_INTERVAL> FROM <DATETIME>)'\n'EXTRACT(<INTERVAL_DAY_TIME> FROM <INTERVAL_YEAR_MONTH>)'"
                        ),
                        self.place(expr),
                    ));
                }
                check_unit(field)?;
                let unit = literal::text(unit_name(field));
                let time = match time.ty {
                    SqlType::Date => self.cast(time, &SqlType::Timestamp)?,
                    _ => time,
                };
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
            E::CompoundFieldAccess { root, access_chain } => self.element_access(expr, root, access_chain, cx),
            E::SimilarTo {
                expr: inner,
                negated,
                pattern,
                ..
            } => {
                let name = if *negated { "NOT SIMILAR TO" } else { "SIMILAR TO" };
                Err(self.no_operator(name, &[inner, pattern], self.place_from(inner, pattern), cx))
            }
            E::RLike {
                expr: inner, pattern, ..
            } => Err(self.no_operator("RLIKE", &[inner, pattern], self.place_from(inner, pattern), cx)),
            E::Overlay {
                expr: inner,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                let args = [
                    Some(inner),
                    Some(overlay_what),
                    Some(overlay_from),
                    overlay_for.as_ref(),
                ];
                let mut types = Vec::new();
                for arg in args.into_iter().flatten() {
                    types.push(format!("<{}>", self.expr(arg, cx)?.ty.family()));
                }
                let start = self.tokens.call_around(self.extent_start(inner));
                Err(SqlError::invalid_at(
                    format!("No match found for function signature OVERLAY({})", types.join(", ")),
                    start,
                ))
            }
            E::Tuple(items) => {
                for item in items {
                    self.expr(item, cx)?;
                }
                if cx.clause == "WHERE" {
                    return Err(uncategorized(
                        "java.lang.IllegalStateException: sub-query as condition must return only one column",
                    ));
                }
                Err(SqlError::unplannable(
                    "SQL query requires 'ROW' operator that is not supported.",
                ))
            }
            E::AtTimeZone { .. }
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

    /// `CAST(x AS type)`.
    fn cast_call(
        &self,
        whole: &ast::Expr,
        kind: &ast::CastKind,
        inner: &ast::Expr,
        data_type: &ast::DataType,
        array: bool,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let typed = self.expr(inner, cx)?;
        let Some(target) = sql_type(data_type) else {
            if let Some(error) = self.foreign_type(&typed, data_type, whole) {
                return Err(error);
            }
            let at = self.extent_end(inner) + 2;
            let (name, last) = self.type_name(at);
            return Err(SqlError::invalid_at(
                format!("Unknown identifier '{name}'"),
                self.tokens.range(at, last).or_else(|| self.place(whole)),
            ));
        };
        let target = if array {
            SqlType::Array(Box::new(target))
        } else {
            target
        };
        let foreign = match kind {
            ast::CastKind::Cast => None,
            ast::CastKind::DoubleColon => {
                let behind = self.extent_end(inner) + 1;
                return Err(self.tokens.unexpected(behind, "<EOF>, \"AS\", \",\", \"FROM\""));
            }
            ast::CastKind::TryCast => Some("TRY_CAST"),
            ast::CastKind::SafeCast => Some("SAFE_CAST"),
        };
        if let Some(name) = foreign {
            return Err(SqlError::invalid_at(
                format!(
                    "No match found for function signature {name}(<{}>, <{}>)",
                    typed.ty.family(),
                    target.family()
                ),
                self.place(whole),
            )
            .hint(Some("CAST gives NULL for what it cannot convert".into())));
        }
        let from = typed.ty.clone();
        let shown = |ty: &SqlType| match ty {
            SqlType::Complex(_) => ty.to_string(),
            _ => ty.in_message(),
        };
        let given = match &typed.expr {
            Expr::Literal(..) => typed.in_message(),
            _ => shown(&from),
        };
        let refused = || {
            let json = matches!(from, SqlType::Complex(_)) && target.is_text();
            SqlError::invalid_at(
                format!(
                    "Cast function cannot convert value of type {} to type {}",
                    given,
                    shown(&target)
                ),
                self.place(whole),
            )
            .hint(json.then(|| "TO_JSON_STRING gives the text of a value".to_string()))
        };
        let to_list = from == SqlType::MultiVarchar && matches!(target, SqlType::Array(_));
        if to_list || (matches!(from, SqlType::Complex(_)) && target.is_text()) {
            return Err(refused());
        }
        let day = (from == SqlType::Date && target.is_numeric()) || (from.is_numeric() && target == SqlType::Date);
        if day || (from == SqlType::Boolean && target.is_numeric()) {
            return Err(refused());
        }
        if target == SqlType::Boolean && super::predicate::filters(cx) {
            return self.truth_in_filter(typed).map_err(|_| refused());
        }
        self.cast(typed, &target).map_err(|_| refused())
    }

    /// Makes the error of a type that there is not.
    pub(super) fn unknown_type(&self, data_type: &ast::DataType, whole: &ast::Expr) -> SqlError {
        let place = match data_type {
            ast::DataType::Custom(name, _) => self.place_of_start(name.span().start),
            _ => None,
        };
        SqlError::invalid_at(
            format!("Unknown identifier '{data_type}'"),
            place.or_else(|| self.place(whole)),
        )
    }

    /// `array[i]`: elements count from 1.
    fn element_access(
        &self,
        whole: &ast::Expr,
        root: &ast::Expr,
        chain: &[ast::AccessExpr],
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let mut typed = self.expr(root, cx)?;
        for access in chain {
            let ast::AccessExpr::Subscript(ast::Subscript::Index { index }) = access else {
                return Err(SqlError::invalid_at(
                    format!("Expression [{whole}] is not supported here"),
                    self.place(whole),
                ));
            };
            let index = self.expr(index, cx)?;
            typed = self.named_call("ARRAY_ORDINAL", vec![typed, index], whole)?;
        }
        Ok(typed)
    }

    fn extent_end(&self, expr: &ast::Expr) -> usize {
        let end = self.extent(expr, 0).map(|(_, last)| last);
        end.unwrap_or(self.tokens.list().len())
    }

    fn extent_start(&self, expr: &ast::Expr) -> usize {
        let start = self.extent(expr, 0).map(|(first, _)| first);
        start.unwrap_or(self.tokens.list().len())
    }

    pub(super) fn identifier(&self, parts: &[ast::Ident], cx: &Cx) -> Result<Typed, SqlError> {
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

    fn is_null(&self, typed: Typed) -> Result<Expr, SqlError> {
        self.any_null(&typed)
    }

    fn unary(&self, whole: &ast::Expr, op: &U, inner: &ast::Expr, cx: &Cx) -> Result<Typed, SqlError> {
        match op {
            U::Not => {
                let condition = self.judged(whole, inner, "NOT", cx)?;
                Ok(Typed::new(self.negated(*condition)?, SqlType::Boolean))
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
                    // A decimal zero has no sign.
                    Expr::Literal(ScalarValue::Float64(Some(value)), _) if typed.ty == SqlType::Decimal => {
                        Ok(Typed::new(lit(0.0 - value), typed.ty))
                    }
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
                        let number = self.cast(Typed::new(expr, typed.ty), &SqlType::Decimal)?;
                        Ok(Typed::new(Expr::Negative(Box::new(number.expr)), SqlType::Decimal))
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
                B::StringConcat => self.concatenated(node, left, right)?,
                _ => self.over_values(vec![left, right], |mut args| match (args.pop(), args.pop()) {
                    (Some(right), Some(left)) => self.arithmetic(node, left, op, right),
                    _ => Err(SqlError::invalid("arithmetic needs two sides")),
                })?,
            };
        }
        Ok(left)
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
                check_unit(field)?;
                let unit = unit_name(field);
                if !typed.ty.is_time() && typed.ty != SqlType::Null {
                    return Err(SqlError::invalid_at(
                        format!(
                            "Cannot apply '{name}' to arguments of type '{name}(<{}>, <INTERVAL {unit}>)'. Supported form(s): '{name}(<NUMERIC>)'\n'{name}(<DATETIME> TO <TIME_UNIT>)'\n'{name}(<DATE> TO <TIME_UNIT>)'\n'{name}(<TIME> TO <TIME_UNIT>)'\n'{name}(<TIMESTAMP> TO <TIME_UNIT>)'",
                            typed.in_message()
                        ),
                        self.place(whole),
                    ));
                }
                let Some(period) = unit_period(&unit) else {
                    // Druid's words for a unit that no period floors to.
                    return Err(
                        SqlError::general(crate::Persona::Admin, crate::Category::Uncategorized, "args").hint(Some(
                            format!(
                                "{name} ... TO {unit} is not supported: DATE_TRUNC and TIME_FLOOR take longer units"
                            ),
                        )),
                    );
                };
                let ty = typed.ty.clone();
                let typed = self.cast(typed, &SqlType::Timestamp)?;
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
        let different = || SqlError::invalid_at("Parameters must be of the same type".to_string(), self.place(whole));
        if items.iter().any(|item| item.ty.is_text()) && items.iter().any(|item| item.ty.is_numeric()) {
            return Err(different());
        }
        let (items, ty) = self.unify(items).map_err(|_| different())?;
        let element = if ty == SqlType::Null { SqlType::Varchar } else { ty };
        if element == SqlType::MultiVarchar {
            let exprs: Vec<Expr> = items.into_iter().map(|item| item.expr).collect();
            // One array for every value, which Druid reports as one array of text.
            let expr = self.call_on_values("array", exprs)?;
            return Ok(Typed::new(expr, SqlType::Array(Box::new(SqlType::MultiVarchar))));
        }
        let exprs: Vec<Expr> = items
            .into_iter()
            .map(|item| self.cast(item, &element).map(|t| t.expr))
            .collect::<Result<_, _>>()?;
        let expr = self.call_native("array", exprs)?;
        Ok(Typed::new(expr, SqlType::Array(Box::new(element))))
    }
}

/// Tells whether a CASE aggregates under one condition: its other branch is NULL, or the zero of a sum.
fn is_filter(conditions: &[ast::CaseWhen], else_result: Option<&ast::Expr>) -> bool {
    let nothing = |expr: &ast::Expr| match expr {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Null => true,
            ast::Value::Number(number, _) => number == "0",
            _ => false,
        },
        _ => false,
    };
    match conditions {
        [only] => else_result.is_none_or(nothing) || nothing(&only.result),
        _ => false,
    }
}

/// Takes a select list of constants off a query that is only asked whether it has rows: they would hide the columns that
/// decorrelating needs.
fn without_constants(subquery: &mut Subquery) {
    if let LogicalPlan::Projection(projection) = subquery.subquery.as_ref()
        && projection
            .expr
            .iter()
            .all(|expr| matches!(expr.clone().unalias(), Expr::Literal(..)))
    {
        subquery.subquery = std::sync::Arc::clone(&projection.input);
    }
}

/// Tells whether an expression is a call of a function of the table.
pub(super) fn is_call(expr: &Expr, native: &str) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == native)
}
