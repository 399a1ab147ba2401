//! Queries: WITH, set operations, VALUES, and the order and limits around a SELECT.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use datafusion::sql::sqlparser::ast::{
    self, LimitClause, OrderByKind, Query, SetExpr, SetOperator, SetQuantifier, Spanned,
};

use super::coerce::common_type;
use super::expr::Cx;
use super::select::{Tail, build, ordinal, unique};
use super::stored::Stored;
use super::{Binder, BoundQuery, Cte, Ctes, Scope, Typed, from_datafusion, literal};
use crate::{SqlError, SqlType};

/// What Druid says of a negative LIMIT.
const FETCH: &str = "limit == null || limit >= 0";
/// What Druid says of a negative OFFSET.
const SKIP: &str = "offset >= 0";

impl Binder<'_> {
    /// Binds a query.
    pub(crate) fn query(&self, query: &Query, ctes: &Ctes, parent: Option<&Scope>) -> Result<BoundQuery, SqlError> {
        self.query_stored(query, ctes, parent, &Stored::default())
    }

    /// Binds a query that another reads from. Its order means nothing where no LIMIT cuts it, and Druid leaves it out.
    pub(super) fn read_query(
        &self,
        query: &Query,
        ctes: &Ctes,
        parent: Option<&Scope>,
    ) -> Result<BoundQuery, SqlError> {
        let bound = self.query(query, ctes, parent)?;
        Ok(BoundQuery {
            plan: unordered(bound.plan)?,
            ..bound
        })
    }

    /// Binds a query whose rows are stored.
    pub(crate) fn query_stored(
        &self,
        query: &Query,
        ctes: &Ctes,
        parent: Option<&Scope>,
        stored: &Stored<'_>,
    ) -> Result<BoundQuery, SqlError> {
        super::refused::check_query(query)?;
        let mut ctes = ctes.clone();
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let before = self.state.borrow().relations;
                let bound = self.deeper(|| self.read_query(&cte.query, &ctes, parent))?;
                let columns = self.cte_columns(cte, bound.columns)?;
                ctes.push(Rc::new(Cte {
                    name: cte.alias.name.value.clone(),
                    plan: bound.plan,
                    columns,
                    relations: self.state.borrow().relations - before,
                }));
            }
        }
        let order_by = match query.order_by.as_ref().map(|order| &order.kind) {
            None => &[][..],
            Some(OrderByKind::Expressions(list)) => list.as_slice(),
            Some(OrderByKind::All(_)) => return Err(SqlError::unsupported("ORDER BY ALL is not supported")),
        };
        let (skip, fetch) = self.limits(query)?;
        let tail = Tail {
            order_by,
            stored: *stored,
            skip,
            fetch,
        };
        if let SetExpr::Select(select) = query.body.as_ref() {
            return self.deeper(|| self.select(select, &tail, &ctes, parent));
        }
        let bound = self.set_expr(&query.body, &ctes, parent)?;
        self.ordered(bound, &tail)
    }

    /// Gives the columns of a WITH item, named by its list or its query.
    fn cte_columns(&self, cte: &ast::Cte, columns: Vec<(String, SqlType)>) -> Result<Vec<(String, SqlType)>, SqlError> {
        let list = &cte.alias.columns;
        if list.is_empty() {
            let mut names = HashSet::new();
            if let Some((name, _)) = columns.iter().find(|(name, _)| !names.insert(name)) {
                return Err(SqlError::invalid_at(
                    format!("Column has duplicate column name '{name}' and no column list specified"),
                    self.place_of_query(&cte.query),
                ));
            }
            return Ok(columns);
        }
        if list.len() != columns.len() {
            let first = list.first().and_then(|column| self.tokens.at(column.name.span.start));
            return Err(SqlError::invalid_at(
                "Number of columns must match number of query columns",
                first.and_then(|at| {
                    let open = at.checked_sub(1)?;
                    self.tokens.range(open, self.tokens.matching(open)?)
                }),
            ));
        }
        let names = list.iter().map(|column| column.name.value.clone());
        Ok(names.zip(columns).map(|(name, (_, ty))| (name, ty)).collect())
    }

    /// Gives the place of a query's first word.
    fn place_of_query(&self, query: &Query) -> Option<crate::Position> {
        let at = self.tokens.at(query.span().start)?;
        self.tokens.range(at, at)
    }

    fn limits(&self, query: &Query) -> Result<(usize, Option<usize>), SqlError> {
        let (mut skip, mut fetch) = (0, None);
        match &query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                if let Some(limit) = limit {
                    fetch = Some(self.count(limit, FETCH)?);
                }
                if let Some(offset) = offset {
                    skip = self.count(&offset.value, SKIP)?;
                }
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                skip = self.count(offset, SKIP)?;
                fetch = Some(self.count(limit, FETCH)?);
            }
        }
        if let Some(found) = &query.fetch {
            fetch = Some(match &found.quantity {
                Some(quantity) => self.count(quantity, FETCH)?,
                None => 1,
            });
        }
        Ok((skip, fetch.filter(|count| *count != usize::MAX)))
    }

    /// Reads LIMIT, OFFSET and FETCH counts; `wanted` is what a negative one, which only a parameter can be, breaks.
    fn count(&self, expr: &ast::Expr, wanted: &str) -> Result<usize, SqlError> {
        let typed = self.expr(expr, &Cx::constant())?;
        // What is behind the point does not count.
        let typed = match typed.ty {
            SqlType::Decimal | SqlType::Double | SqlType::Float => self.cast(typed, &SqlType::BigInt)?,
            _ => typed,
        };
        let count = match literal::constant(&typed.expr) {
            Some(ScalarValue::Int64(count)) => count,
            _ => None,
        };
        match count.map(usize::try_from) {
            Some(Ok(count)) => Ok(count),
            Some(Err(_)) => Err(
                SqlError::general(crate::Persona::Admin, crate::Category::Uncategorized, wanted)
                    .hint(Some("LIMIT and OFFSET count rows: bind 0 or more".into())),
            ),
            None if typed.ty == SqlType::Null => Ok(usize::MAX),
            None => Err(SqlError::invalid_at(
                "LIMIT and OFFSET must be non-negative literals".to_string(),
                self.place(expr),
            )),
        }
    }

    fn set_expr(&self, body: &SetExpr, ctes: &Ctes, parent: Option<&Scope>) -> Result<BoundQuery, SqlError> {
        match body {
            SetExpr::Select(select) => self.deeper(|| self.select(select, &Tail::default(), ctes, parent)),
            SetExpr::Query(query) => self.deeper(|| self.query(query, ctes, parent)),
            SetExpr::Values(values) => {
                let rows: Vec<&[ast::Expr]> = values.rows.iter().map(|row| row.content.as_slice()).collect();
                self.values(&rows, parent)
            }
            SetExpr::SetOperation { .. } => self.set_operation(body, ctes, parent),
            SetExpr::Table(table) => {
                let parts: Vec<ast::Ident> = table
                    .schema_name
                    .iter()
                    .chain(table.table_name.iter())
                    .map(|name| ast::Ident::new(name.as_str()))
                    .collect();
                Err(SqlError::unsupported(format!(
                    "TABLE {} is not supported, use SELECT * FROM",
                    ast::ObjectName::from(parts)
                )))
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(SqlError::invalid("Non-query expression encountered in illegal context").in_grammar())
            }
        }
    }

    /// A left-deep chain of set operations, walked without recursion.
    fn set_operation(&self, body: &SetExpr, ctes: &Ctes, parent: Option<&Scope>) -> Result<BoundQuery, SqlError> {
        let mut steps = Vec::new();
        let mut at = body;
        while let SetExpr::SetOperation {
            left,
            op,
            set_quantifier,
            right,
        } = at
        {
            steps.push((op, set_quantifier, right.as_ref()));
            at = left;
        }
        let mut left = self.set_expr(at, ctes, parent)?;
        for (op, quantifier, right) in steps.into_iter().rev() {
            let place = self.place_of_rows(right);
            let right = self.set_expr(right, ctes, parent)?;
            left = self.combine(left, *op, *quantifier, right, place)?;
        }
        Ok(left)
    }

    fn combine(
        &self,
        left: BoundQuery,
        op: SetOperator,
        quantifier: SetQuantifier,
        right: BoundQuery,
        place: Option<crate::Position>,
    ) -> Result<BoundQuery, SqlError> {
        let all = matches!(quantifier, SetQuantifier::All | SetQuantifier::AllByName);
        let name = match all {
            true => format!("{} ALL", op.to_string().to_uppercase()),
            false => op.to_string().to_uppercase(),
        };
        if left.columns.len() != right.columns.len() {
            return Err(SqlError::invalid_at(format!("Column count mismatch in {name}"), place));
        }
        let mut types = Vec::with_capacity(left.columns.len());
        for (i, ((_, a), (_, b))) in left.columns.iter().zip(&right.columns).enumerate() {
            types.push(common_type(a, b).ok_or_else(|| {
                let place = left.places.get(i).copied().flatten();
                SqlError::invalid_at(format!("Type mismatch in column {} of {name}", i + 1), place)
            })?);
        }
        let mut taken = HashSet::new();
        let names: Vec<String> = left.columns.iter().map(|(name, _)| unique(name, &mut taken)).collect();
        let (a, b) = (
            self.cast_columns(&left, &types, &names)?,
            self.cast_columns(&right, &types, &names)?,
        );
        let plan = match (op, all) {
            (SetOperator::Union, true) => build(LogicalPlanBuilder::from(a).union(b))?,
            (SetOperator::Union, false) => build(LogicalPlanBuilder::from(a).union_distinct(b))?,
            (SetOperator::Intersect, _) => LogicalPlanBuilder::intersect(a, b, all).map_err(|e| from_datafusion(&e))?,
            (SetOperator::Except | SetOperator::Minus, _) => {
                LogicalPlanBuilder::except(a, b, all).map_err(|e| from_datafusion(&e))?
            }
        };
        let columns = left
            .columns
            .into_iter()
            .zip(types)
            .map(|((name, _), ty)| (name, ty))
            .collect();
        Ok(BoundQuery {
            plan,
            columns,
            places: left.places,
            keys: Vec::new(),
            metrics: None,
        })
    }

    fn cast_columns(&self, query: &BoundQuery, types: &[SqlType], names: &[String]) -> Result<LogicalPlan, SqlError> {
        let exprs: Vec<Expr> = query
            .plan
            .schema()
            .columns()
            .into_iter()
            .zip(&query.columns)
            .zip(types)
            .zip(names)
            .map(|(((column, (_, from)), to), name)| {
                let typed = Typed::new(Expr::Column(column), from.clone());
                self.cast(typed, to).map(|typed| typed.expr.alias(name.as_str()))
            })
            .collect::<Result<_, SqlError>>()?;
        build(LogicalPlanBuilder::from(query.plan.clone()).project(exprs))
    }

    fn values(&self, rows: &[&[ast::Expr]], parent: Option<&Scope>) -> Result<BoundQuery, SqlError> {
        let width = rows.first().map_or(0, |row| row.len());
        let empty = Scope::child_of(parent);
        let cx = Cx {
            clause: "VALUES",
            ..Cx::plain(&empty)
        };
        let mut types = vec![SqlType::Null; width];
        let mut bound: Vec<Vec<Typed>> = Vec::with_capacity(rows.len());
        for row in rows {
            if row.len() != width {
                return Err(self
                    .unlike_rows(rows)
                    .hint(Some("every row needs as many entries as the first".into())));
            }
            let row: Vec<Typed> = row.iter().map(|expr| self.expr(expr, &cx)).collect::<Result<_, _>>()?;
            for (ty, typed) in types.iter_mut().zip(&row) {
                *ty = match common_type(ty, &typed.ty) {
                    Some(common) if !(common.is_text() && (ty.is_numeric() || typed.ty.is_numeric())) => common,
                    _ => {
                        let hint = format!("they are {} and {}", ty.in_message(), typed.ty.in_message());
                        return Err(self.unlike_rows(rows).hint(Some(hint)));
                    }
                };
            }
            bound.push(row);
        }
        let rows: Vec<Vec<Expr>> = bound
            .into_iter()
            .map(|row| {
                row.into_iter()
                    .zip(&types)
                    .map(|(typed, ty)| self.cast(typed, ty).map(|t| t.expr))
                    .collect::<Result<Vec<_>, _>>()
            })
            .collect::<Result<_, _>>()?;
        let plan = build(LogicalPlanBuilder::values(rows))?;
        let columns: Vec<(String, SqlType)> = types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| (format!("EXPR${i}"), ty))
            .collect();
        let exprs: Vec<Expr> = plan
            .schema()
            .columns()
            .into_iter()
            .zip(&columns)
            .map(|(column, (name, _))| Expr::Column(column).alias(name.as_str()))
            .collect();
        let plan = build(LogicalPlanBuilder::from(plan).project(exprs))?;
        let places = vec![None; columns.len()];
        Ok(BoundQuery {
            plan,
            columns,
            places,
            keys: Vec::new(),
            metrics: None,
        })
    }

    /// Makes the error for rows of VALUES that do not go together.
    fn unlike_rows(&self, rows: &[&[ast::Expr]]) -> SqlError {
        let first = rows.iter().flat_map(|row| row.iter()).next();
        let word = first.and_then(|expr| self.extent(expr, 0)).and_then(|(first, _)| {
            (0..first)
                .rev()
                .find(|at| crate::parse::is_word(&self.tokens.list()[*at].token, "VALUES"))
        });
        SqlError::invalid_at(
            "Values passed to VALUES operator must have compatible types",
            word.and_then(|at| {
                let last = rows.last().and_then(|row| row.last());
                let end = last.and_then(|expr| self.extent(expr, 0)).map(|(_, last)| last + 1);
                self.tokens
                    .range(at, end.unwrap_or(at))
                    .or_else(|| self.tokens.range(at, at))
            }),
        )
    }

    /// Gives the place of the rows of a query: its select list, or VALUES.
    fn place_of_rows(&self, body: &SetExpr) -> Option<crate::Position> {
        match body {
            SetExpr::Select(select) => {
                let start = select.projection.first()?.span().start;
                let at = self.tokens.at(start)?;
                let last = self.end_of_item(select.projection.last()?);
                self.tokens
                    .range(at, last.unwrap_or(at).max(at))
                    .or_else(|| self.tokens.range(at, at))
            }
            SetExpr::Query(query) => self.place_of_rows(&query.body),
            SetExpr::Values(values) => {
                let first = values.rows.first()?.content.first()?;
                let (first, _) = self.extent(first, 0)?;
                let at = (0..first)
                    .rev()
                    .find(|at| crate::parse::is_word(&self.tokens.list()[*at].token, "VALUES"))?;
                self.tokens.range(at, at)
            }
            _ => None,
        }
    }

    /// Gives the last token of an entry of a select list.
    fn end_of_item(&self, item: &ast::SelectItem) -> Option<usize> {
        match item {
            ast::SelectItem::UnnamedExpr(expr) => self.extent(expr, 0).map(|(_, last)| last),
            ast::SelectItem::ExprWithAlias { alias, .. } => self.tokens.at(alias.span.start),
            _ => None,
        }
    }

    /// Sorts and cuts the result of a set operation or VALUES: keys are output columns only.
    fn ordered(&self, bound: BoundQuery, tail: &Tail) -> Result<BoundQuery, SqlError> {
        let fields: Vec<String> = bound.plan.schema().fields().iter().map(|f| f.name().clone()).collect();
        let find = |expr: &ast::Expr| -> Result<String, SqlError> {
            let index = match (ordinal(expr), expr) {
                (Some(n), _) => n.checked_sub(1).filter(|i| *i < fields.len()),
                (None, ast::Expr::Identifier(ident)) => bound.columns.iter().position(|(name, _)| *name == ident.value),
                _ => None,
            };
            match (index, expr) {
                (Some(i), _) => Ok(fields[i].clone()),
                (None, ast::Expr::Identifier(ident)) => Err(SqlError::invalid_at(
                    format!("Column '{}' not found in any table", ident.value),
                    self.place(expr),
                )),
                _ => Err(SqlError::invalid_at(
                    "Ordinal out of range".to_string(),
                    self.place(expr),
                )),
            }
        };
        let mut builder = LogicalPlanBuilder::from(bound.plan.clone());
        let mut sorts = Vec::new();
        for key in tail.order_by {
            let asc = key.options.asc.unwrap_or(true);
            let column = Expr::Column(Column::new_unqualified(find(&key.expr)?));
            sorts.push(Sort::new(column, asc, key.options.nulls_first.unwrap_or(asc)));
        }
        if !sorts.is_empty() {
            builder = builder.sort(sorts).map_err(|e| from_datafusion(&e))?;
        }
        if tail.skip > 0 || tail.fetch.is_some() {
            builder = builder.limit(tail.skip, tail.fetch).map_err(|e| from_datafusion(&e))?;
        }
        let keys = tail
            .stored
            .clustered_by
            .iter()
            .map(|key| find(&key.expr))
            .collect::<Result<_, _>>()?;
        Ok(BoundQuery {
            plan: builder.build().map_err(|e| from_datafusion(&e))?,
            columns: bound.columns,
            places: bound.places,
            keys,
            metrics: None,
        })
    }
}

/// Leaves out a sort at the top of a plan that nothing cuts.
fn unordered(plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
    match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => Ok(Arc::unwrap_or_clone(sort.input)),
        LogicalPlan::Projection(projection) if matches!(projection.input.as_ref(), LogicalPlan::Sort(_)) => {
            let input = unordered(projection.input.as_ref().clone())?;
            Projection::try_new(projection.expr, Arc::new(input))
                .map(LogicalPlan::Projection)
                .map_err(|e| from_datafusion(&e))
        }
        other => Ok(other),
    }
}
