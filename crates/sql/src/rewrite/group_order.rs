//! The order of groups: Druid's engines give them by their keys, whatever computes them here.
//!
//! 1. A grouping that is cut by a LIMIT without ORDER BY is sorted below it, so that the statement has one answer.
//! 2. A grouping that is the statement's result is sorted by its keys.
//! 3. A grouping that an interactive join keeps the order of is sorted too.
//! 4. ORDER BY over a grouping goes on with the keys, which settles ties.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, Result};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection, Sort as SortPlan, SortExpr,
};

use crate::SqlError;
use crate::bind::from_datafusion;

/// Puts the groups of a plan in order.
pub(crate) fn in_group_order(plan: LogicalPlan) -> std::result::Result<LogicalPlan, SqlError> {
    order(plan).map_err(|e| from_datafusion(&e))
}

/// Puts groups that are the left side of a join in order: an interactive join keeps it.
pub(crate) fn joined_in_group_order(plan: LogicalPlan) -> std::result::Result<LogicalPlan, SqlError> {
    let joined = plan.transform_up(|node| {
        let LogicalPlan::Join(join) = &node else {
            return Ok(Transformed::no(node));
        };
        let keeps_left = matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Full);
        Ok(
            match keeps_left.then(|| sorted_groups(&join.left)).transpose()?.flatten() {
                Some(left) => {
                    let inputs = vec![left, join.right.as_ref().clone()];
                    Transformed::yes(node.with_new_exprs(node.expressions(), inputs)?)
                }
                None => Transformed::no(node),
            },
        )
    });
    joined.map(|joined| joined.data).map_err(|e| from_datafusion(&e))
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
        // A condition on GROUPING makes its value a constant, which a sort by it does not bear.
        LogicalPlan::Filter(node) if asks_grouping(node) => Ok(None),
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
            let Some((plan, keys)) = keys_of_numbered_sets(plan, node)? else {
                return Ok(None);
            };
            LogicalPlanBuilder::from(plan)
                .sort(keys.into_iter().map(ascending))?
                .build()
                .map(Some)
        }
        LogicalPlan::Distinct(Distinct::All(_)) => by_first(plan, plan.schema().fields().len()),
        _ => Ok(None),
    }
}

/// Puts the keys of grouping sets in the order of the table's columns, where all of them are plain columns: Druid does so
/// where the select list is not the keys as GROUP BY writes them.
pub(crate) fn sets_in_table_order(input: &LogicalPlan, mut sets: Vec<Vec<Expr>>) -> Vec<Vec<Expr>> {
    let place = |key: &Expr| match key {
        Expr::Column(column) => input.schema().maybe_index_of_column(column),
        _ => None,
    };
    if sets.iter().flatten().all(|key| place(key).is_some()) {
        for set in &mut sets {
            set.sort_by_key(place);
        }
    }
    sets
}

/// Gives a grouping of several sets and the column that numbers them, those with more keys first.
fn numbered_sets(plan: &LogicalPlan, node: &Aggregate) -> Result<Option<(LogicalPlan, Column)>> {
    let columns = plan.schema().columns();
    let number = columns
        .iter()
        .position(|column| column.name == Aggregate::INTERNAL_GROUPING_ID);
    let Some(number) = number else { return Ok(None) };
    if !node
        .aggr_expr
        .iter()
        .any(|e| e.exists(|e| Ok(is_grouping(e))).unwrap_or(false))
    {
        return Ok(Some((plan.clone(), columns[number].clone())));
    }
    // Where GROUPING is asked for, its place is taken by what is computed from the set's own number.
    let keys: Vec<Expr> = node.group_expr.iter().flat_map(keys_of_sets).collect();
    let number = datafusion::functions_aggregate::grouping::grouping_udaf().call(keys);
    let known = node.aggr_expr.iter().position(|e| *e == number);
    if let Some(at) = known {
        let first = columns.len() - node.aggr_expr.len();
        return Ok(Some((plan.clone(), columns[first + at].clone())));
    }
    let mut aggregates = node.aggr_expr.clone();
    aggregates.push(number);
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(
        Arc::clone(&node.input),
        node.group_expr.clone(),
        aggregates,
    )?);
    let column = plan.schema().columns().pop();
    Ok(column.map(|column| (plan, column)))
}

/// Gives a grouping of several sets with what its groups are sorted by.
fn keys_of_numbered_sets(plan: &LogicalPlan, node: &Aggregate) -> Result<Option<(LogicalPlan, Vec<Column>)>> {
    let keys: usize = node.group_expr.iter().map(|expr| keys_of_sets(expr).len()).sum();
    let columns = plan.schema().columns().into_iter().take(keys);
    Ok(numbered_sets(plan, node)?.map(|(plan, number)| (plan, std::iter::once(number).chain(columns).collect())))
}

/// Gives the columns of a grouping's keys.
fn keys_of(plan: &LogicalPlan, node: &Aggregate) -> Vec<Column> {
    plan.schema()
        .columns()
        .into_iter()
        .take(node.group_expr.len())
        .collect()
}

/// Tells whether a condition reads what GROUPING gives.
fn asks_grouping(filter: &Filter) -> bool {
    let given = given_by_grouping(&filter.input);
    filter
        .predicate
        .column_refs()
        .into_iter()
        .any(|column| given.contains(column))
}

/// Gives the columns of a plan that hold what GROUPING gives.
fn given_by_grouping(plan: &LogicalPlan) -> Vec<Column> {
    let columns = plan.schema().columns();
    match plan {
        LogicalPlan::Aggregate(node) => {
            let first = columns.len() - node.aggr_expr.len();
            let of_aggregates = node.aggr_expr.iter().zip(columns.into_iter().skip(first));
            of_aggregates
                .filter(|(expr, _)| expr.exists(|e| Ok(is_grouping(e))).unwrap_or(false))
                .map(|(_, column)| column)
                .collect()
        }
        LogicalPlan::Projection(node) => {
            let given = given_by_grouping(&node.input);
            let reads = |expr: &Expr| expr.column_refs().into_iter().any(|column| given.contains(column));
            let exprs = node.expr.iter().zip(columns);
            exprs
                .filter(|(expr, _)| reads(expr))
                .map(|(_, column)| column)
                .collect()
        }
        LogicalPlan::Filter(node) => given_by_grouping(&node.input),
        LogicalPlan::SubqueryAlias(node) => {
            let (inner, given) = (node.input.schema().columns(), given_by_grouping(&node.input));
            let both = inner.into_iter().zip(columns);
            both.filter(|(inner, _)| given.contains(inner))
                .map(|(_, column)| column)
                .collect()
        }
        _ => Vec::new(),
    }
}

fn is_grouping(expr: &Expr) -> bool {
    matches!(expr, Expr::AggregateFunction(call) if call.func.name() == "grouping")
}

/// Gives the keys of a grouping expression, each once.
fn keys_of_sets(expr: &Expr) -> Vec<Expr> {
    match expr {
        Expr::GroupingSet(set) => set.distinct_expr().into_iter().cloned().collect(),
        other => vec![other.clone()],
    }
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
        LogicalPlan::Aggregate(node) if matches!(node.group_expr.as_slice(), [Expr::GroupingSet(_)]) => {
            keys_of_numbered_sets(plan, node)
        }
        LogicalPlan::Filter(node) if asks_grouping(node) => Ok(None),
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
