//! Predicates: comparisons, IN, LIKE, ANY and ALL, subqueries.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ScalarValue, Spans};
use datafusion::functions_aggregate as df;
use datafusion::logical_expr::expr::{AggregateFunction, BinaryExpr, Case, Exists, InList, InSubquery, Like};
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator as B};

use super::any_value::values_of;
use super::condition::Truth;
use super::expr::Cx;
use super::{Binder, Ctes, Typed, literal};
use crate::functions::collect;
use crate::{SqlError, SqlType};

impl Binder<'_> {
    pub(super) fn comparison(
        &self,
        whole: &ast::Expr,
        left: &ast::Expr,
        op: Operator,
        right: &ast::Expr,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        if let (ast::Expr::Tuple(left), ast::Expr::Tuple(right)) = (left, right) {
            return self.rows_compared(whole, left, op, right, cx);
        }
        let left = self.as_compared(self.expr(left, cx)?, cx)?;
        let right = self.as_compared(self.expr(right, cx)?, cx)?;
        let number = |side: &Typed| side.ty.is_numeric() && matches!(side.expr, Expr::Literal(..));
        let text = |side: &Typed| side.ty == SqlType::Varchar && !matches!(side.expr, Expr::Literal(..));
        if filters(cx) && text(&left) && number(&right) {
            return self.text_filtered(whole, left, op, right);
        }
        if filters(cx) && number(&left) && text(&right) {
            return self.text_filtered(whole, right, op.swap().unwrap_or(op), left);
        }
        self.compared(whole, left, op, right)
    }

    /// Compares text with a number in a filter: text that is no number is not equal to it, and not above it.
    fn text_filtered(&self, whole: &ast::Expr, text: Typed, op: Operator, number: Typed) -> Result<Typed, SqlError> {
        let opposite = match op {
            Operator::NotEq => Operator::Eq,
            Operator::Lt => Operator::GtEq,
            Operator::LtEq => Operator::Gt,
            _ => return self.compared(whole, text, op, number),
        };
        let is_null = Expr::IsNull(Box::new(text.expr.clone()));
        let holds = self.compared(whole, text, opposite, number)?.expr;
        let case = Case::new(
            None,
            vec![(
                Box::new(is_null),
                Box::new(Expr::Literal(ScalarValue::Boolean(None), None)),
            )],
            Some(Box::new(Expr::IsNotTrue(Box::new(holds)))),
        );
        Ok(Typed::new(Expr::Case(case), SqlType::Boolean))
    }

    /// Filters look for equal FLOATs in 32 bits, comparisons that are values have 64.
    fn as_compared(&self, side: Typed, cx: &Cx) -> Result<Typed, SqlError> {
        match side.ty {
            SqlType::Float if !filters(cx) => self.cast(side, &SqlType::Double),
            _ => Ok(side),
        }
    }

    /// `x BETWEEN low AND high`.
    pub(super) fn between(
        &self,
        whole: &ast::Expr,
        inner: &ast::Expr,
        negated: bool,
        low: &ast::Expr,
        high: &ast::Expr,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let both = match (inner, low, high) {
            (ast::Expr::Tuple(_), ..) => {
                let low = self.comparison(whole, inner, Operator::GtEq, low, cx)?;
                let high = self.comparison(whole, inner, Operator::LtEq, high, cx)?;
                low.expr.and(high.expr)
            }
            _ => {
                let value = self.expr(inner, cx)?;
                let (low, high) = (self.expr(low, cx)?, self.expr(high, cx)?);
                let wrong = || {
                    let name = if negated {
                        "NOT BETWEEN ASYMMETRIC"
                    } else {
                        "BETWEEN ASYMMETRIC"
                    };
                    let shown = [value.in_message(), low.in_message(), high.in_message()];
                    SqlError::invalid_at(
                        format!(
                            "Cannot apply '{name}' to arguments of type '<{}> {name} <{}> AND <{}>'. Supported form(s): '<COMPARABLE_TYPE> {form} <COMPARABLE_TYPE> AND <COMPARABLE_TYPE>'",
                            shown[0],
                            shown[1],
                            shown[2],
                            form = name.trim_end_matches(" ASYMMETRIC"),
                        ),
                        self.place(whole),
                    )
                };
                if [&low, &high].iter().any(|bound| of_other_kinds(&value.ty, &bound.ty)) {
                    return Err(wrong());
                }
                if let Some(within) = self.any_within(&value, low.clone(), high.clone())? {
                    let expr = if negated { Expr::Not(Box::new(within)) } else { within };
                    return Ok(Typed::new(expr, SqlType::Boolean));
                }
                let low = self
                    .compare(Operator::GtEq, value.clone(), low.clone())
                    .map_err(|_| wrong())?;
                let high = self
                    .compare(Operator::LtEq, value.clone(), high.clone())
                    .map_err(|_| wrong())?;
                low.and(high)
            }
        };
        let expr = if negated { Expr::Not(Box::new(both)) } else { both };
        Ok(Typed::new(expr, SqlType::Boolean))
    }

    pub(super) fn compared(
        &self,
        whole: &ast::Expr,
        left: Typed,
        op: Operator,
        right: Typed,
    ) -> Result<Typed, SqlError> {
        let shown = [left.in_message(), right.in_message()];
        let expr = self.compare(op, left, right).map_err(|_| {
            let sign = match op {
                Operator::NotEq => "<>".to_string(),
                other => other.to_string(),
            };
            SqlError::invalid_at(
                format!(
                    "Cannot apply '{sign}' to arguments of type '<{}> {sign} <{}>'. Supported form(s): '<COMPARABLE_TYPE> {sign} <COMPARABLE_TYPE>'",
                    shown[0], shown[1]
                ),
                self.place(whole),
            )
        })?;
        Ok(Typed::new(expr, SqlType::Boolean))
    }

    pub(super) fn in_list(
        &self,
        whole: &ast::Expr,
        inner: &ast::Expr,
        list: &[ast::Expr],
        negated: bool,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        if let ast::Expr::Tuple(row) = inner {
            return self.row_in_list(whole, row, list, negated, cx);
        }
        let value = self.expr(inner, cx)?;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            items.push(self.expr(item, cx)?);
        }
        let several = values_of(&value).is_some() || items.iter().any(|item| values_of(item).is_some());
        let array = |typed: &Typed| matches!(typed.ty, SqlType::Array(_));
        if items
            .iter()
            .any(|item| array(item) != array(&value) && item.ty != SqlType::Null && value.ty != SqlType::Null)
        {
            return Err(self.incompatible_in(inner));
        }
        let mixed = is_mixed(&items);
        if items
            .iter()
            .any(|item| of_other_kinds(&value.ty, &item.ty) && !(mixed && goes_in_mixed(&value.ty, &item.ty)))
        {
            return Err(self.incompatible_in(inner));
        }
        let value = self.as_compared(value, cx)?;
        // A list of texts and others is one of texts.
        let single_text = matches!(value.ty, SqlType::Varchar | SqlType::Char(_));
        let items = match single_text && items.iter().any(|item| item.ty.is_text()) {
            false => items,
            true => items
                .into_iter()
                .map(|item| match item.ty.is_text() || item.ty == SqlType::Null {
                    true => Ok(item),
                    false => self.cast(item, &SqlType::Varchar),
                })
                .collect::<Result<_, _>>()?,
        };
        if negated && filters(cx) && value.ty == SqlType::Varchar && !items.is_empty() {
            let number = |item: &Typed| item.ty.is_numeric() && matches!(item.expr, Expr::Literal(..));
            if items.iter().all(number) {
                let differ = items
                    .into_iter()
                    .map(|item| self.text_filtered(whole, value.clone(), Operator::NotEq, item))
                    .map(|differs| differs.map(|typed| typed.expr))
                    .collect::<Result<Vec<_>, _>>()?;
                return Ok(Typed::new(joined(differ, Expr::and, true), SqlType::Boolean));
            }
        }
        // Beside whole numbers, decimals are cut; in filters all fractions are.
        let items = match value.ty.is_integer() {
            false => items,
            true => items
                .into_iter()
                .map(|item| match (&item.ty, &item.expr) {
                    (ty, Expr::Literal(..)) if *ty == SqlType::Decimal || (ty.is_fraction() && filters(cx)) => {
                        self.cast(item, &SqlType::BigInt)
                    }
                    _ => Ok(item),
                })
                .collect::<Result<_, _>>()?,
        };
        let simple = !several
            && items.iter().all(|item| {
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
        let mut equals = Vec::new();
        for item in items {
            let (value, item) = match (&value.ty, &item.ty) {
                // In a mixed list, a number beside a time is one of milliseconds.
                (time, number) if time.is_time() && number.is_numeric() => {
                    (self.cast(value.clone(), &SqlType::BigInt)?, item)
                }
                (number, time) if time.is_time() && number.is_numeric() => {
                    (value.clone(), self.cast(item, &SqlType::BigInt)?)
                }
                _ => (value.clone(), item),
            };
            let equal = self.compared(whole, value, Operator::Eq, item)?.expr;
            equals.push(equal);
        }
        Ok(any_of(equals, negated))
    }

    pub(super) fn subquery(&self, query: &ast::Query, cx: &Cx) -> Result<(Subquery, Vec<(String, SqlType)>), SqlError> {
        let none = Ctes::new();
        let bound = self.query(query, cx.ctes.unwrap_or(&none), cx.scope)?;
        let outer = bound.plan.all_out_ref_exprs();
        Ok((
            Subquery {
                subquery: std::sync::Arc::new(bound.plan),
                outer_ref_columns: outer,
                spans: Spans::new(),
            },
            bound.columns,
        ))
    }

    pub(super) fn in_subquery(
        &self,
        inner: &ast::Expr,
        query: &ast::Query,
        negated: bool,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        if let ast::Expr::Tuple(row) = inner {
            return self.row_in_subquery(inner, row, query, negated, cx);
        }
        let value = self.expr(inner, cx)?;
        let (mut subquery, columns) = self.subquery(query, cx)?;
        let [(_, ty)] = columns.as_slice() else {
            return Err(self.incompatible_in(inner));
        };
        if values_of(&value).is_some() {
            return self.any_in_subquery(value, subquery, ty, negated);
        }
        let common = match value.ty.is_text() && value.ty != SqlType::MultiVarchar && ty.is_numeric() {
            true => ty.clone(),
            false => super::coerce::common_type(&value.ty, ty).ok_or_else(|| self.incompatible_in(inner))?,
        };
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
        // Filters become joins; anywhere else the answer is counted. A join knows of no unknown, but for NOT IN of a query that looks at
        // no row around it.
        let is_counted = match (cx.clause, cx.truth) {
            ("WHERE", Truth::Conjunct) => negated && !subquery.outer_ref_columns.is_empty(),
            ("WHERE", Truth::Positive) => negated,
            ("WHERE", Truth::Matters) => true,
            (clause, _) => !["HAVING", "ON", "QUALIFY"].contains(&clause),
        };
        if is_counted {
            let found = self.counted_in(value, subquery, cx)?;
            return Ok(Typed::new(
                if negated { Expr::Not(Box::new(found)) } else { found },
                SqlType::Boolean,
            ));
        }
        Ok(Typed::new(
            Expr::InSubquery(InSubquery::new(Box::new(value.expr), subquery, negated)),
            SqlType::Boolean,
        ))
    }

    /// `values IN (query)`: any of a row's values is among the query's.
    fn any_in_subquery(
        &self,
        values: Typed,
        subquery: Subquery,
        ty: &SqlType,
        negated: bool,
    ) -> Result<Typed, SqlError> {
        if negated && self.engine == crate::EngineKind::Native {
            return Err(super::join::several_values_joined());
        }
        let plan = subquery.subquery.as_ref().clone();
        let column = Typed::new(Expr::Column(plan.schema().columns()[0].clone()), ty.clone());
        let words = self.cast(column, &SqlType::Varchar)?;
        let most = lit(i64::MAX);
        let call = Expr::AggregateFunction(AggregateFunction::new_udf(
            collect::udaf(collect::Kind::DistinctTexts),
            vec![words.expr, most],
            false,
            None,
            vec![],
            None,
        ));
        let found = Typed::new(self.scalar_of(plan, call)?, SqlType::MultiVarchar);
        let values = self.cast(values, &SqlType::Varchar)?;
        let found = self.any_compared(Operator::Eq, values, found)?;
        Ok(Typed::new(
            if negated { Expr::Not(Box::new(found)) } else { found },
            SqlType::Boolean,
        ))
    }

    /// `(a, b) IN (query)`: there is a row that equals it.
    fn row_in_subquery(
        &self,
        whole: &ast::Expr,
        row: &[ast::Expr],
        query: &ast::Query,
        negated: bool,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let (mut subquery, columns) = self.subquery(query, cx)?;
        if columns.len() != row.len() {
            return Err(self.incompatible_in(whole));
        }
        let plan = subquery.subquery.as_ref().clone();
        let mut equal = Vec::with_capacity(row.len());
        for ((item, (_, ty)), column) in row.iter().zip(columns).zip(plan.schema().columns()) {
            let item = self.expr(item, cx)?;
            let outer = Typed::new(seen_from_inside(item.expr, cx)?, item.ty);
            let inner = Typed::new(Expr::Column(column), ty);
            equal.push(self.compared(whole, inner, Operator::Eq, outer)?.expr);
        }
        let condition = equal.into_iter().reduce(Expr::and).unwrap_or(lit(true));
        let plan = LogicalPlanBuilder::from(plan)
            .filter(condition)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| super::from_datafusion(&e))?;
        subquery.outer_ref_columns = plan.all_out_ref_exprs();
        subquery.subquery = std::sync::Arc::new(plan);
        Ok(Typed::new(
            Expr::Exists(Exists::new(subquery, negated)),
            SqlType::Boolean,
        ))
    }

    /// `x IN (query)` as a value: of nothing it is false; it is true where counting finds x, and unknown where x is NULL or
    /// a NULL is among the values.
    fn counted_in(&self, value: Typed, subquery: Subquery, cx: &Cx) -> Result<Expr, SqlError> {
        let plan = subquery.subquery.as_ref();
        let column = Expr::Column(plan.schema().columns()[0].clone());
        let outer = seen_from_inside(value.expr.clone(), cx)?;
        let count = |condition: Option<Expr>| -> Result<Expr, SqlError> {
            let mut builder = LogicalPlanBuilder::from(plan.clone());
            if let Some(condition) = condition {
                builder = builder.filter(condition).map_err(|e| super::from_datafusion(&e))?;
            }
            let plan = builder.build().map_err(|e| super::from_datafusion(&e))?;
            let call = Expr::AggregateFunction(AggregateFunction::new_udf(
                df::count::count_udaf(),
                vec![lit(1i64)],
                false,
                None,
                vec![],
                None,
            ));
            self.scalar_of(plan, call)
        };
        let rows = count(None)?;
        let found = count(Some(column.clone().eq(outer)))?;
        let nulls = count(Some(Expr::IsNull(Box::new(column))))?;
        let unknown = || Box::new(Expr::Literal(ScalarValue::Boolean(None), None));
        let case = Case::new(
            None,
            vec![
                (Box::new(rows.eq(lit(0i64))), Box::new(lit(false))),
                (Box::new(Expr::IsNull(Box::new(value.expr))), unknown()),
                (Box::new(found.gt(lit(0i64))), Box::new(lit(true))),
                (Box::new(nulls.gt(lit(0i64))), unknown()),
            ],
            Some(Box::new(lit(false))),
        );
        Ok(Expr::Case(case))
    }

    pub(super) fn like(
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
                let text = literal::as_text(&typed.expr).unwrap_or_default();
                if text.encode_utf16().count() != 1 {
                    return Err(SqlError::general(
                        crate::Persona::Admin,
                        crate::Category::Uncategorized,
                        "Function[like] escape must be null or a single character",
                    ));
                }
                text.chars().next()
            }
        };
        if [&value, &pattern]
            .iter()
            .any(|side| matches!(side.ty, SqlType::Array(_)))
        {
            return Err(SqlError::invalid_at(
                format!(
                    "Cannot apply 'LIKE' to arguments of type 'LIKE(<{}>, <{}>)'. Supported form(s): 'LIKE(<STRING>, <STRING>, <STRING>)'",
                    value.ty.in_message(),
                    pattern.ty.in_message()
                ),
                self.place(inner),
            ));
        }
        let value = self.cast(value, &SqlType::Varchar)?;
        let multi = value.ty == SqlType::MultiVarchar;
        if multi && literal::as_text(&pattern.expr) == Some("%") {
            // Whatever there is, is like that.
            let null = self.any_null(&value)?;
            let expr = if negated { lit(false) } else { Expr::Not(Box::new(null)) };
            return Ok(Typed::new(expr, SqlType::Boolean));
        }
        let value = value.expr;
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

    /// Compares rows of values: equal where all are, different where any is, else in order.
    fn rows_compared(
        &self,
        whole: &ast::Expr,
        left: &[ast::Expr],
        op: Operator,
        right: &[ast::Expr],
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        if left.len() != right.len() || left.is_empty() {
            return Err(SqlError::invalid_at(
                "Unequal number of entries in ROW".to_string(),
                self.place(whole),
            ));
        }
        let pairs = |op: Operator| -> Result<Vec<Expr>, SqlError> {
            left.iter()
                .zip(right)
                .map(|(a, b)| self.comparison(whole, a, op, b, cx).map(|typed| typed.expr))
                .collect()
        };
        let all = |exprs: Vec<Expr>| exprs.into_iter().reduce(Expr::and).unwrap_or(lit(true));
        let any = |exprs: Vec<Expr>| exprs.into_iter().reduce(Expr::or).unwrap_or(lit(false));
        let expr = match op {
            Operator::Eq | Operator::IsNotDistinctFrom => all(pairs(op)?),
            Operator::NotEq | Operator::IsDistinctFrom => any(pairs(op)?),
            _ => {
                // The first difference decides; the last pair decides with equality where the operator has it.
                let strict = match op {
                    Operator::LtEq => Operator::Lt,
                    Operator::GtEq => Operator::Gt,
                    other => other,
                };
                let (equal, before) = (pairs(Operator::Eq)?, pairs(strict)?);
                let mut expr = pairs(op)?.pop().unwrap_or(lit(false));
                for i in (0..left.len() - 1).rev() {
                    expr = before[i].clone().or(equal[i].clone().and(expr));
                }
                expr
            }
        };
        Ok(Typed::new(expr, SqlType::Boolean))
    }

    fn row_in_list(
        &self,
        whole: &ast::Expr,
        row: &[ast::Expr],
        list: &[ast::Expr],
        negated: bool,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let mut equals = Vec::new();
        for item in list {
            let ast::Expr::Tuple(item) = item else {
                return Err(self.incompatible_in(whole));
            };
            let equal = self.rows_compared(whole, row, Operator::Eq, item, cx)?.expr;
            equals.push(equal);
        }
        Ok(any_of(equals, negated))
    }

    /// `x op ANY (query)` and `x op ALL (query)`: equality is IN; an order is decided by the least or the greatest value.
    pub(super) fn quantified(
        &self,
        whole: &ast::Expr,
        left: &ast::Expr,
        op: &B,
        right: &ast::Expr,
        all: bool,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let ast::Expr::Subquery(query) = right else {
            return Err(SqlError::invalid_at(
                "ANY and ALL need a subquery".to_string(),
                self.place(whole),
            ));
        };
        let op = match op {
            B::Eq if !all => return self.in_subquery(left, query, false, cx),
            B::NotEq if all => return self.in_subquery(left, query, true, cx),
            B::Eq => Operator::Eq,
            B::NotEq => Operator::NotEq,
            B::Lt => Operator::Lt,
            B::LtEq => Operator::LtEq,
            B::Gt => Operator::Gt,
            B::GtEq => Operator::GtEq,
            other => {
                return Err(SqlError::invalid_at(
                    format!("Operator [{other}] does not go with ANY and ALL"),
                    self.place(whole),
                ));
            }
        };
        let value = self.expr(left, cx)?;
        let (subquery, columns) = self.subquery(query, cx)?;
        let [(_, ty)] = columns.as_slice() else {
            return Err(SqlError::invalid_at(
                "Subquery must return one column".to_string(),
                self.place(whole),
            ));
        };
        let of = |udaf: std::sync::Arc<AggregateUDF>, ty: &SqlType| -> Result<Typed, SqlError> {
            let plan = subquery.subquery.as_ref().clone();
            let column = Expr::Column(plan.schema().columns()[0].clone());
            let call = Expr::AggregateFunction(AggregateFunction::new_udf(
                udaf,
                vec![column],
                false,
                None,
                vec![],
                None,
            ));
            self.scalar_of(plan, call).map(|expr| Typed::new(expr, ty.clone()))
        };
        let least = of(df::min_max::min_udaf(), ty)?;
        let greatest = of(df::min_max::max_udaf(), ty)?;
        let known = of(df::count::count_udaf(), &SqlType::BigInt)?.expr;
        let rows = {
            let plan = subquery.subquery.as_ref().clone();
            let call = Expr::AggregateFunction(AggregateFunction::new_udf(
                df::count::count_udaf(),
                vec![lit(1i64)],
                false,
                None,
                vec![],
                None,
            ));
            self.scalar_of(plan, call)?
        };
        let holds = |bound: Typed| self.compared(whole, value.clone(), op, bound).map(|typed| typed.expr);
        let (lower, upper) = (holds(least)?, holds(greatest)?);
        // What decides for every value that is not NULL.
        let decided = match (op, all) {
            (Operator::Eq, _) => lower.and(upper),
            (Operator::NotEq, _) => lower.or(upper),
            (Operator::Lt | Operator::LtEq, true) | (Operator::Gt | Operator::GtEq, false) => lower,
            _ => upper,
        };
        let unknown = Box::new(Expr::Literal(ScalarValue::Boolean(None), None));
        // Nothing: ALL holds, ANY does not. A NULL among the values leaves open what the others do not settle.
        let settled = if all {
            Expr::IsFalse(Box::new(decided.clone()))
        } else {
            Expr::IsTrue(Box::new(decided.clone()))
        };
        let case = Case::new(
            None,
            vec![
                (Box::new(rows.clone().eq(lit(0i64))), Box::new(lit(all))),
                (Box::new(settled), Box::new(lit(!all))),
                (Box::new(known.lt(rows)), unknown),
            ],
            Some(Box::new(decided)),
        );
        Ok(Typed::new(Expr::Case(case), SqlType::Boolean))
    }

    fn incompatible_in(&self, place: &ast::Expr) -> SqlError {
        SqlError::invalid_at(
            "Values passed to IN operator must have compatible types".to_string(),
            self.place(place),
        )
    }

    /// Makes a scalar subquery of one aggregate over a plan.
    fn scalar_of(&self, plan: LogicalPlan, call: Expr) -> Result<Expr, SqlError> {
        let aggregated = LogicalPlanBuilder::from(plan)
            .aggregate(Vec::<Expr>::new(), vec![call])
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| super::from_datafusion(&e))?;
        // A name of its own: the query around may compute the same aggregate.
        let result = Expr::Column(aggregated.schema().columns()[0].clone()).alias(self.qualifier("__scalar"));
        let plan = LogicalPlanBuilder::from(aggregated)
            .project([result])
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| super::from_datafusion(&e))?;
        let outer_ref_columns = plan.all_out_ref_exprs();
        Ok(Expr::ScalarSubquery(Subquery {
            subquery: std::sync::Arc::new(plan),
            outer_ref_columns,
            spans: Spans::new(),
        }))
    }
}

/// Makes the columns of an expression those of the query around.
fn seen_from_inside(expr: Expr, cx: &Cx) -> Result<Expr, SqlError> {
    expr.transform_down(|e| {
        let Expr::Column(name) = &e else {
            return Ok(Transformed::no(e));
        };
        let known = cx
            .scope
            .and_then(|scope| scope.columns().find(|known| known.column == *name));
        Ok(match known {
            Some(known) => Transformed::yes(Expr::OuterReferenceColumn(
                known.ty.field(&name.name, true),
                name.clone(),
            )),
            None => Transformed::no(e),
        })
    })
    .map(|seen| seen.data)
    .map_err(|e| super::from_datafusion(&e))
}

/// Tells whether what is bound decides about rows.
pub(super) fn filters(cx: &Cx) -> bool {
    ["WHERE", "HAVING", "ON", "QUALIFY", "FILTER", "aggregate"].contains(&cx.clause)
}

/// Tells whether a list's values have no type of their own in common but text, which goes with every value.
fn is_mixed(items: &[Typed]) -> bool {
    let any = |is: fn(&SqlType) -> bool| items.iter().any(|item| is(&item.ty));
    let (texts, numbers, times) = (any(SqlType::is_text), any(SqlType::is_numeric), any(SqlType::is_time));
    let others = texts && any(|ty| *ty == SqlType::Boolean);
    others || [texts, numbers, times].into_iter().filter(|some| *some).count() > 1
}

/// Tells whether a value is compared with one of another kind that is in a mixed list.
fn goes_in_mixed(value: &SqlType, item: &SqlType) -> bool {
    let pair = |a: &SqlType, b: &SqlType| a.is_numeric() && (b.is_time() || *b == SqlType::Boolean);
    pair(value, item) || pair(item, value)
}

/// Tells whether IN and BETWEEN refuse to compare the types, which operators may do.
fn of_other_kinds(a: &SqlType, b: &SqlType) -> bool {
    let kind = |ty: &SqlType| match ty {
        number if number.is_numeric() => Some(0),
        time if time.is_time() => Some(1),
        SqlType::Boolean => Some(2),
        span if span.is_interval() => Some(3),
        _ => None,
    };
    matches!((kind(a), kind(b)), (Some(a), Some(b)) if a != b)
}

/// Makes an IN out of its comparisons; without any it does not hold.
/// Joins conditions to a tree that is as flat as can be, so that long lists do not make deep expressions.
fn joined(mut conditions: Vec<Expr>, with: fn(Expr, Expr) -> Expr, of_none: bool) -> Expr {
    match conditions.len() {
        0 => lit(of_none),
        // Short ones stay as they are written.
        1..=SHORT_LIST => conditions.into_iter().reduce(with).unwrap_or(lit(of_none)),
        count => {
            let behind = conditions.split_off(count / 2);
            with(joined(conditions, with, of_none), joined(behind, with, of_none))
        }
    }
}

/// Puts equalities of one value with many constants into one list: the optimizer compares long chains with themselves.
fn as_lists(equals: Vec<Expr>) -> Vec<Expr> {
    if equals.len() <= SHORT_LIST {
        return equals;
    }
    let mut lists: Vec<(Expr, Vec<Expr>)> = Vec::new();
    let mut others = Vec::new();
    for equal in equals {
        match equal {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Eq,
                right,
            }) if lists.len() <= SHORT_LIST
                && !left.is_volatile()
                && !right.is_volatile()
                && right.column_refs().is_empty() =>
            {
                match lists.iter_mut().find(|(value, _)| *value == *left) {
                    Some((_, list)) => list.push(*right),
                    None => lists.push((*left, vec![*right])),
                }
            }
            other => others.push(other),
        }
    }
    let lists = lists
        .into_iter()
        .map(|(value, list)| Expr::InList(InList::new(Box::new(value), list, false)));
    lists.chain(others).collect()
}

/// How many conditions are joined one after the other.
const SHORT_LIST: usize = 20;

fn any_of(equals: Vec<Expr>, negated: bool) -> Typed {
    let any = joined(as_lists(equals), Expr::or, false);
    let any = if negated { Expr::Not(Box::new(any)) } else { any };
    Typed::new(any, SqlType::Boolean)
}
