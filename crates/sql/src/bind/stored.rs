//! What INSERT and REPLACE ask of their SELECT beside its rows: clustering, and aggregates that can be aggregated further.

use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{self, OrderByExpr};

use super::Metric;
use super::aggregate::AGGREGATE;
use super::expr::Cx;

/// How the rows of a query are stored.
#[derive(Default, Clone, Copy)]
pub(crate) struct Stored<'q> {
    pub clustered_by: &'q [OrderByExpr],
    /// Whether aggregates are stored so that they can be aggregated further (`finalizeAggregations: false`).
    pub unfinished: bool,
}

/// Gives the name of a function that is called alone.
fn called(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Nested(inner) => called(inner),
        ast::Expr::Function(function) if function.over.is_none() => {
            Some(function.name.0.last()?.as_ident()?.value.to_uppercase())
        }
        _ => None,
    }
}

/// Inside of an expression aggregates are finished: only what is a column itself is stored unfinished.
pub(super) fn of_item<'s, 'p>(cx: &Cx<'s, 'p>, expr: &ast::Expr) -> Cx<'s, 'p> {
    let is_aggregate = called(expr).is_some_and(|name| super::aggregate::find(&name).is_some());
    Cx {
        unfinished: cx.unfinished && is_aggregate,
        ..*cx
    }
}

/// Gives the aggregate that an item is, if it is one and nothing else.
pub(super) fn metric_of(item: &Expr, written: Option<&ast::Expr>, aggregates: &[Expr]) -> Option<Metric> {
    let Expr::Column(column) = item else {
        return None;
    };
    if column
        .relation
        .as_ref()
        .is_none_or(|relation| relation.table() != AGGREGATE)
    {
        return None;
    }
    Some(Metric {
        function: called(written?)?,
        call: aggregates.get(column.name.parse::<usize>().ok()?)?.clone(),
    })
}
