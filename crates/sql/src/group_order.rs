//! The order of groups: Druid's engines give them by their keys, whatever computes them here.
//!
//! 1. A grouping that is cut by a LIMIT without ORDER BY is sorted below it, so that the statement has one answer.
//! 2. A grouping that is the statement's result is sorted by its keys.
//! 3. ORDER BY over a grouping goes on with the keys, which settles ties.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Sort as SortPlan, SortExpr,
};

use crate::SqlError;
use crate::bind::from_datafusion;

/// Puts the groups of a plan in order.
pub(crate) fn in_group_order(plan: LogicalPlan) -> std::result::Result<LogicalPlan, SqlError> {
    order(plan).map_err(|e| from_datafusion(&e))
}

/// Settles which groups a LIMIT keeps, for plans whose own order does not matter: what is ingested is sorted anyway.
pub(crate) fn limits_in_group_order(plan: LogicalPlan) -> std::result::Result<LogicalPlan, SqlError> {
    order_below(plan).map_err(|e| from_datafusion(&e))
}

fn order(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = order_below(plan)?;
    Ok(sorted_groups(&plan)?.unwrap_or(plan))
}

fn order_below(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(|node| match &node {
        LogicalPlan::Limit(limit) => Ok(match sorted_groups(&limit.input)? {
            Some(input) => Transformed::yes(node.with_new_exprs(node.expressions(), vec![input])?),
            None => Transformed::no(node),
        }),
        LogicalPlan::Sort(sort) => Ok(match settled(sort)? {
            Some(sorted) => Transformed::yes(sorted),
            None => Transformed::no(node),
        }),
        _ => Ok(Transformed::no(node)),
    })
    .map(|transformed| transformed.data)
}

fn is_plain(aggregate: &Aggregate) -> bool {
    let keys = &aggregate.group_expr;
    !keys.is_empty() && !keys.iter().any(|e| matches!(e, Expr::GroupingSet(_)))
}

/// Puts a sort by the keys above a grouping that nothing but projections and filters stand upon.
fn sorted_groups(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let by_first = |plan: &LogicalPlan, count: usize| {
        let keys = plan.schema().columns().into_iter().take(count).map(ascending);
        LogicalPlanBuilder::from(plan.clone()).sort(keys)?.build().map(Some)
    };
    match plan {
        LogicalPlan::Projection(node) => match sorted_groups(&node.input)? {
            Some(input) => plan.with_new_exprs(plan.expressions(), vec![input]).map(Some),
            None => Ok(None),
        },
        LogicalPlan::Filter(node) => match sorted_groups(&node.input)? {
            Some(input) => plan.with_new_exprs(plan.expressions(), vec![input]).map(Some),
            None => Ok(None),
        },
        LogicalPlan::SubqueryAlias(node) => match sorted_groups(&node.input)? {
            Some(input) => plan.with_new_exprs(Vec::new(), vec![input]).map(Some),
            None => Ok(None),
        },
        LogicalPlan::Aggregate(node) if is_plain(node) => LogicalPlanBuilder::from(plan.clone())
            .sort(keys_of(plan, node).into_iter().map(ascending))?
            .build()
            .map(Some),
        // Set by set, those with more keys first.
        LogicalPlan::Aggregate(node) if matches!(node.group_expr.as_slice(), [Expr::GroupingSet(_)]) => {
            // GROUPING takes the place of the set's own number.
            let counted = |e: &Expr| matches!(e, Expr::AggregateFunction(call) if call.func.name() == "grouping");
            if node.aggr_expr.iter().any(counted) {
                return Ok(None);
            }
            let columns = plan.schema().columns();
            let Some(set) = columns
                .iter()
                .position(|column| column.name == Aggregate::INTERNAL_GROUPING_ID)
            else {
                return Ok(None);
            };
            let keys = std::iter::once(columns[set].clone()).chain(columns[..set].iter().cloned());
            LogicalPlanBuilder::from(plan.clone())
                .sort(keys.map(ascending))?
                .build()
                .map(Some)
        }
        LogicalPlan::Distinct(Distinct::All(_)) => by_first(plan, plan.schema().fields().len()),
        _ => Ok(None),
    }
}

/// Gives the keys of a grouping, which the binder has put into Druid's order.
fn keys_of(plan: &LogicalPlan, aggregate: &Aggregate) -> Vec<Column> {
    let mut columns = plan.schema().columns();
    columns.truncate(aggregate.group_expr.len());
    columns
}

/// Gives the places of grouping expressions in the order of the input's columns; of what is computed, as it is written.
pub(crate) fn order_of_keys(input: &LogicalPlan, keys: &[Expr]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    let place = |key: &Expr| match key {
        Expr::Column(column) => input.schema().maybe_index_of_column(column),
        _ => None,
    };
    let places: Option<Vec<usize>> = keys.iter().map(place).collect();
    if let Some(places) = places {
        order.sort_by_key(|at| places[*at]);
    }
    order
}

fn ascending(column: Column) -> SortExpr {
    Expr::Column(column).sort(true, true)
}

/// Adds the keys of the groups to a sort over them.
fn settled(sort: &SortPlan) -> Result<Option<LogicalPlan>> {
    let Some((input, keys)) = with_keys(&sort.input)? else {
        return Ok(None);
    };
    let mut order = sort.expr.clone();
    for key in keys {
        let known = order.iter().any(|by| match &by.expr {
            Expr::Column(column) => column.name == key.name,
            _ => false,
        });
        if !known {
            order.push(ascending(key));
        }
    }
    if order.len() == sort.expr.len() {
        return Ok(None);
    }
    let visible = sort.input.schema().columns();
    let hidden = input.schema().fields().len() > visible.len();
    let sorted = LogicalPlan::Sort(SortPlan {
        expr: order,
        input: Arc::new(input),
        fetch: sort.fetch,
    });
    if !hidden {
        return Ok(Some(sorted));
    }
    LogicalPlanBuilder::from(sorted)
        .project(visible.into_iter().map(Expr::Column))?
        .build()
        .map(Some)
}

/// Gives the plan with the keys of its groups among its columns, and these columns.
fn with_keys(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, Vec<Column>)>> {
    match plan {
        LogicalPlan::Aggregate(node) if is_plain(node) => Ok(Some((plan.clone(), keys_of(plan, node)))),
        LogicalPlan::Filter(node) => match with_keys(&node.input)? {
            Some((input, keys)) => Ok(Some((plan.with_new_exprs(plan.expressions(), vec![input])?, keys))),
            None => Ok(None),
        },
        LogicalPlan::Projection(node) => {
            let Some((input, keys)) = with_keys(&node.input)? else {
                return Ok(None);
            };
            let mut exprs = node.expr.clone();
            let outputs = plan.schema().columns();
            let mut found = Vec::with_capacity(keys.len());
            for (i, key) in keys.into_iter().enumerate() {
                let at = exprs.iter().position(|expr| match expr.clone().unalias() {
                    Expr::Column(column) => column == key,
                    _ => false,
                });
                found.push(match at {
                    Some(at) if at < outputs.len() => outputs[at].clone(),
                    _ => {
                        let name = format!("__henge_group_{i}");
                        exprs.push(Expr::Column(key).alias(name.as_str()));
                        Column::new_unqualified(name)
                    }
                });
            }
            let projected = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?);
            Ok(Some((projected, found)))
        }
        LogicalPlan::Distinct(Distinct::All(_)) => Ok(Some((plan.clone(), plan.schema().columns()))),
        _ => Ok(None),
    }
}
