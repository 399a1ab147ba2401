//! PIVOT and UNPIVOT, worded as the grouping and the join that they stand for.
//!
//! ```text
//! t PIVOT (SUM(v) AS s FOR k IN ('a' AS x))   =  SELECT rest, SUM(v) FILTER (WHERE k = 'a') AS x_s FROM t GROUP BY rest
//! t UNPIVOT (v FOR n IN (p, q AS 'second'))   =  SELECT rest, n, CASE i WHEN 1 THEN p WHEN 2 THEN q END AS v
//!                                                FROM t CROSS JOIN (VALUES (1, 'p'), (2, 'second')) AS u(i, n)
//! ```

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::rc::Rc;

use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, ExprWithAlias, Ident, NullInclusion, PivotValueSource, Query, SelectItem, SetExpr, TableAlias,
};

use super::from::FromItem;
use super::select::{build, unique};
use super::{Binder, Cte, Ctes, Scope};
use crate::{SqlError, parse};

/// A PIVOT as the parser gives it.
pub(super) struct Pivot<'q> {
    pub aggregates: &'q [ExprWithAlias],
    pub axes: &'q [ast::Expr],
    pub values: &'q PivotValueSource,
    pub alias: Option<&'q TableAlias>,
}

/// An UNPIVOT as the parser gives it.
pub(super) struct Unpivot<'q> {
    pub value: &'q ast::Expr,
    pub name: &'q Ident,
    pub columns: &'q [ExprWithAlias],
    pub nulls: Option<&'q NullInclusion>,
    pub alias: Option<&'q TableAlias>,
}

impl Binder<'_> {
    pub(super) fn pivot(
        &self,
        input: FromItem,
        pivot: &Pivot,
        ctes: &Ctes,
        parent: Option<&Scope>,
    ) -> Result<FromItem, SqlError> {
        let PivotValueSource::List(values) = pivot.values else {
            return Err(SqlError::unsupported("PIVOT needs a list of values behind IN"));
        };
        let (name, ctes, columns) = self.as_cte(input, ctes)?;
        let mut used = HashSet::new();
        for expr in pivot.aggregates.iter().map(|a| &a.expr).chain(pivot.axes) {
            used.extend(names_in(expr));
        }
        let rest: Vec<ast::Expr> = columns
            .iter()
            .filter(|column| !used.contains(column.as_str()))
            .map(|column| ast::Expr::Identifier(quoted(column)))
            .collect();
        let mut projection: Vec<SelectItem> = rest.iter().cloned().map(SelectItem::UnnamedExpr).collect();
        for value in values {
            let parts: Vec<&ast::Expr> = match &value.expr {
                ast::Expr::Tuple(parts) => parts.iter().collect(),
                single => vec![single],
            };
            if parts.len() != pivot.axes.len() {
                return Err(SqlError::invalid(format!(
                    "Value count in PIVOT ({}) must match number of FOR columns ({})",
                    parts.len(),
                    pivot.axes.len()
                )));
            }
            let shown = match &value.alias {
                Some(alias) => alias.value.clone(),
                None => parts.iter().map(ToString::to_string).collect::<Vec<_>>().join("_"),
            };
            let condition = pivot
                .axes
                .iter()
                .zip(&parts)
                .map(|(axis, part)| ast::Expr::BinaryOp {
                    left: Box::new(axis.clone()),
                    op: BinaryOperator::Eq,
                    right: Box::new((*part).clone()),
                })
                .reduce(and);
            for aggregate in pivot.aggregates {
                let ast::Expr::Function(function) = &aggregate.expr else {
                    return Err(SqlError::invalid_at(
                        "PIVOT needs aggregate functions".to_string(),
                        self.place(&aggregate.expr),
                    ));
                };
                let mut function = function.clone();
                function.filter = match (function.filter, condition.clone()) {
                    (Some(own), Some(condition)) => Some(Box::new(and(*own, condition))),
                    (own, condition) => condition.map(Box::new).or(own),
                };
                let output = match &aggregate.alias {
                    Some(alias) => format!("{shown}_{}", alias.value),
                    None => shown.clone(),
                };
                projection.push(SelectItem::ExprWithAlias {
                    expr: ast::Expr::Function(function),
                    alias: quoted(&output),
                });
            }
        }
        let mut query = template(&format!("SELECT 1 FROM {} GROUP BY 1", quoted(&name)))?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.projection = projection;
            select.group_by = ast::GroupByExpr::Expressions(rest, Vec::new());
        }
        let bound = self.query(&query, &ctes, parent)?;
        self.named(bound.plan, bound.columns, pivot.alias, "pivot")
    }

    pub(super) fn unpivot(
        &self,
        input: FromItem,
        unpivot: &Unpivot,
        ctes: &Ctes,
        parent: Option<&Scope>,
    ) -> Result<FromItem, SqlError> {
        let ast::Expr::Identifier(value) = unpivot.value else {
            return Err(SqlError::invalid_at(
                "UNPIVOT needs one name for the values".to_string(),
                self.place(unpivot.value),
            ));
        };
        let (name, ctes, columns) = self.as_cte(input, ctes)?;
        let mut cases = String::new();
        let mut rows = Vec::new();
        let mut used = HashSet::new();
        for (i, column) in unpivot.columns.iter().enumerate() {
            let ast::Expr::Identifier(source) = &column.expr else {
                return Err(SqlError::invalid_at(
                    "UNPIVOT needs names of columns behind IN".to_string(),
                    self.place(&column.expr),
                ));
            };
            if !columns.contains(&source.value) {
                return Err(SqlError::invalid_at(
                    format!("Column '{}' not found in any table", source.value),
                    self.place(&column.expr),
                ));
            }
            let shown = column.alias.as_ref().unwrap_or(source);
            cases.push_str(&format!(" WHEN {} THEN {}", i + 1, quoted(&source.value)));
            rows.push(format!("({}, '{}')", i + 1, shown.value.replace('\'', "''")));
            used.insert(source.value.clone());
        }
        let mut list: Vec<String> = columns
            .iter()
            .filter(|column| !used.contains(*column))
            .map(|column| quoted(column).to_string())
            .collect();
        let (index, label) = (quoted("$unpivot_index"), quoted("$unpivot_name"));
        list.push(format!("CAST({label} AS VARCHAR) AS {}", quoted(&unpivot.name.value)));
        list.push(format!("CASE {index}{cases} END AS {}", quoted(&value.value)));
        let mut text = format!(
            "SELECT {} FROM {} CROSS JOIN (VALUES {}) AS \"$unpivot\" ({index}, {label})",
            list.join(", "),
            quoted(&name),
            rows.join(", ")
        );
        if !matches!(unpivot.nulls, Some(NullInclusion::IncludeNulls)) {
            text = format!("SELECT * FROM ({text}) WHERE {} IS NOT NULL", quoted(&value.value));
        }
        let query = template(&text)?;
        let bound = self.query(&query, &ctes, parent)?;
        self.named(bound.plan, bound.columns, unpivot.alias, "unpivot")
    }

    /// Makes a FROM item a named subquery that no other name hides; gives the name and its columns.
    fn as_cte(&self, input: FromItem, ctes: &Ctes) -> Result<(String, Ctes, Vec<String>), SqlError> {
        let mut taken = HashSet::new();
        let mut columns = Vec::new();
        let mut exprs = Vec::new();
        for column in input
            .relations
            .iter()
            .flat_map(|r| r.columns.iter())
            .filter(|c| !c.merged)
        {
            exprs.push(Expr::Column(column.column.clone()).alias(unique(&column.name, &mut taken)));
            columns.push((column.name.clone(), column.ty.clone()));
        }
        let name = self.qualifier("$pivot");
        let mut ctes = ctes.clone();
        let names = columns.iter().map(|(name, _)| name.clone()).collect();
        ctes.push(Rc::new(Cte {
            name: name.clone(),
            plan: build(LogicalPlanBuilder::from(input.plan).project(exprs))?,
            columns,
            relations: 1,
        }));
        Ok((name, ctes, names))
    }
}

fn and(left: ast::Expr, right: ast::Expr) -> ast::Expr {
    ast::Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    }
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

fn template(text: &str) -> Result<Box<Query>, SqlError> {
    let tokens = parse::Tokens::read(text)?;
    parse::query(&tokens, tokens.list().to_vec())
}

fn names_in(expr: &ast::Expr) -> Vec<String> {
    let mut names = Vec::new();
    let _ = ast::visit_expressions(expr, |e| {
        match e {
            ast::Expr::Identifier(ident) => names.push(ident.value.clone()),
            ast::Expr::CompoundIdentifier(parts) => names.extend(parts.last().map(|ident| ident.value.clone())),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    names
}
