//! Subqueries that look at the rows around them in ways that the query engine does not take apart: by other conditions than
//! equality, or below an aggregate of an aggregate.
//!
//! A subquery is computed once for all values of the columns that it looks at, and joined by them:
//!
//! ```text
//!  rows ── SELECT (SELECT MAX(y) FROM t WHERE t.x > rows.a)
//!
//!  keys      = SELECT DISTINCT a FROM rows
//!  answers   = SELECT MAX(y), a FROM t, keys WHERE t.x > keys.a GROUP BY a
//!  rows LEFT JOIN answers ON rows.a IS NOT DISTINCT FROM answers.a
//! ```

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, JoinType, Result, ScalarValue, TableReference};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Subquery, lit,
};

/// Tells whether a plan still holds columns of rows around it.
pub(crate) fn is_correlated(plan: &LogicalPlan) -> bool {
    let looks_out = |expr: &Expr| {
        expr.exists(|expr| {
            Ok(match expr {
                Expr::OuterReferenceColumn(..) => true,
                Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
                _ => false,
            })
        })
        .unwrap_or(false)
    };
    let mut found = false;
    let walked = plan.apply(|node| {
        node.apply_expressions(|expr| {
            found |= looks_out(expr);
            Ok(match found {
                true => TreeNodeRecursion::Stop,
                false => TreeNodeRecursion::Continue,
            })
        })
    });
    found && walked.is_ok()
}

/// Joins the correlated subqueries of a plan to the rows that they look at. Gives nothing where there is none that this file knows.
pub(crate) fn joined(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let mut asked = 0;
    let joined = plan.clone().transform_up(|node| {
        Ok(match rewritten(&node, &mut asked)? {
            Some(rewritten) => Transformed::yes(rewritten),
            None => Transformed::no(node),
        })
    })?;
    Ok(joined.transformed.then_some(joined.data))
}

fn rewritten(node: &LogicalPlan, asked: &mut usize) -> Result<Option<LogicalPlan>> {
    if let LogicalPlan::Join(join) = node {
        let lateral = matches!(join.join_type, JoinType::Inner | JoinType::Left) && holds_lateral(&join.right);
        return match lateral {
            true => beside(node, asked),
            false => Ok(None),
        };
    }
    let inputs = node.inputs();
    let ([input], true) = (
        inputs.as_slice(),
        matches!(
            node,
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Aggregate(_)
        ),
    ) else {
        return Ok(None);
    };
    let mut subqueries: Vec<Subquery> = Vec::new();
    for expr in node.expressions() {
        expr.apply(|expr| {
            if let Expr::ScalarSubquery(subquery) = expr
                && !subquery.outer_ref_columns.is_empty()
                && !subqueries.contains(subquery)
            {
                subqueries.push(subquery.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    if subqueries.is_empty() {
        return Ok(None);
    }
    let mut plan = (*input).clone();
    let mut answers: Vec<(Subquery, Expr)> = Vec::new();
    for subquery in subqueries {
        *asked += 1;
        let Some((with, value)) = answered(plan, input, &subquery, *asked)? else {
            return Ok(None);
        };
        plan = with;
        answers.push((subquery, value));
    }
    let replaced = |expr: &Expr| -> Result<Expr> {
        let name = expr.schema_name().to_string();
        let changed = expr.clone().transform_down(|expr| {
            let answer = match &expr {
                Expr::ScalarSubquery(subquery) => answers.iter().find(|(known, _)| known == subquery),
                _ => None,
            };
            Ok(match answer {
                Some((_, value)) => Transformed::yes(value.clone()),
                None => Transformed::no(expr),
            })
        })?;
        Ok(match (changed.transformed, &changed.data) {
            (false, _) | (_, Expr::Alias(_)) => changed.data,
            _ => changed.data.alias(name),
        })
    };
    let all = |list: &[Expr]| list.iter().map(&replaced).collect::<Result<Vec<_>>>();
    Ok(Some(match node {
        LogicalPlan::Projection(projection) => {
            LogicalPlan::Projection(Projection::try_new(all(&projection.expr)?, Arc::new(plan))?)
        }
        LogicalPlan::Aggregate(aggregate) => LogicalPlan::Aggregate(Aggregate::try_new(
            Arc::new(plan),
            all(&aggregate.group_expr)?,
            all(&aggregate.aggr_expr)?,
        )?),
        LogicalPlan::Filter(filter) => {
            let predicate = replaced(&filter.predicate)?.unalias();
            let columns = input.schema().columns().into_iter().map(Expr::Column);
            LogicalPlanBuilder::from(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?))
                .project(columns)?
                .build()?
        }
        _ => return Ok(None),
    }))
}

/// The values that a subquery looks at, as columns of their own.
struct Keys {
    /// The columns around the subquery.
    columns: Vec<Column>,
    names: Vec<String>,
    /// Each combination of their values once.
    plan: LogicalPlan,
}

impl Keys {
    fn of(rows: &LogicalPlan, outer: &[Expr], number: usize) -> Result<Option<Keys>> {
        let mut columns: Vec<Column> = Vec::new();
        for expr in outer {
            let Expr::OuterReferenceColumn(_, column) = expr else {
                return Ok(None);
            };
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        // A subquery may look further out than one level.
        if columns.is_empty() || columns.iter().any(|column| !rows.schema().has_column(column)) {
            return Ok(None);
        }
        let names: Vec<String> = (0..columns.len()).map(|i| format!("__outer{number}_{i}")).collect();
        let exprs = columns
            .iter()
            .zip(&names)
            .map(|(column, name)| Expr::Column(column.clone()).alias(name.as_str()));
        let plan = LogicalPlanBuilder::from(rows.clone())
            .project(exprs)?
            .distinct()?
            .build()?;
        Ok(Some(Keys { columns, names, plan }))
    }

    /// Replaces the columns around by those of the keys.
    fn inside(&self, expr: Expr, known: &[Column]) -> Result<Expr> {
        let name = expr.schema_name().to_string();
        let changed = expr.transform_down(|expr| {
            let at = match &expr {
                Expr::OuterReferenceColumn(_, column) => self.columns.iter().position(|known| known == column),
                _ => None,
            };
            Ok(match at {
                Some(at) => Transformed::yes(Expr::Column(known[at].clone())),
                None => Transformed::no(expr),
            })
        })?;
        Ok(match (changed.transformed, &changed.data) {
            (false, _) | (_, Expr::Alias(_)) => changed.data,
            _ => changed.data.alias(name),
        })
    }

    /// The conditions of the join by the keys.
    fn conditions(&self, found: &[Column]) -> Vec<Expr> {
        let pairs = self.columns.iter().zip(found);
        pairs
            .map(|(outer, key)| {
                Expr::BinaryExpr(BinaryExpr::new(
                    Box::new(Expr::Column(outer.clone())),
                    Operator::IsNotDistinctFrom,
                    Box::new(Expr::Column(key.clone())),
                ))
            })
            .collect()
    }
}

/// Joins the answers of a scalar subquery to rows; gives the expression of the answer.
fn answered(
    rows: LogicalPlan,
    around: &LogicalPlan,
    subquery: &Subquery,
    number: usize,
) -> Result<Option<(LogicalPlan, Expr)>> {
    let Some(default) = of_no_rows(&subquery.subquery)? else {
        // It may give several rows.
        return Ok(None);
    };
    let Some(keys) = Keys::of(around, &subquery.outer_ref_columns, number)? else {
        return Ok(None);
    };
    let Some((plan, found)) = with_keys(&subquery.subquery, &keys)? else {
        return Ok(None);
    };
    let Some(value) = subquery.subquery.schema().columns().into_iter().next() else {
        return Ok(None);
    };
    let (value_name, here_name) = (format!("__answer{number}"), format!("__answered{number}"));
    let mut exprs = vec![
        Expr::Column(value).alias(value_name.as_str()),
        lit(true).alias(here_name.as_str()),
    ];
    exprs.extend(
        found
            .into_iter()
            .zip(&keys.names)
            .map(|(column, name)| Expr::Column(column).alias(name.as_str())),
    );
    let table = TableReference::bare(format!("__asked{number}"));
    let answers = LogicalPlanBuilder::from(plan)
        .project(exprs)?
        .alias(table.clone())?
        .build()?;
    let of_answers = |name: &str| Column::new(Some(table.clone()), name);
    let found: Vec<Column> = keys.names.iter().map(|name| of_answers(name)).collect();
    let joined = LogicalPlanBuilder::from(rows)
        .join_on(answers, JoinType::Left, keys.conditions(&found))?
        .build()?;
    let value = Expr::Column(of_answers(&value_name));
    let value = match default {
        Expr::Literal(ScalarValue::Null, _) => value,
        default => Expr::Case(Case::new(
            None,
            vec![(
                Box::new(Expr::Column(of_answers(&here_name)).is_null()),
                Box::new(default),
            )],
            Some(Box::new(value)),
        )),
    };
    Ok(Some((joined, value)))
}

/// Joins a lateral subquery to the rows beside it.
fn beside(node: &LogicalPlan, asked: &mut usize) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Join(join) = node else {
        return Ok(None);
    };
    *asked += 1;
    let outer = join.right.all_out_ref_exprs();
    let Some(keys) = Keys::of(&join.left, &outer, *asked)? else {
        return Ok(None);
    };
    let Some((right, found)) = with_keys(&join.right, &keys)? else {
        return Ok(None);
    };
    let mut conditions = keys.conditions(&found);
    conditions.extend(join.on.iter().map(|(a, b)| a.clone().eq(b.clone())));
    conditions.extend(join.filter.clone());
    let columns = node.schema().columns().into_iter().map(Expr::Column);
    let plan = LogicalPlanBuilder::from(join.left.as_ref().clone())
        .join_on(right, join.join_type, conditions)?
        .project(columns)?
        .build()?;
    Ok(Some(plan))
}

fn holds_lateral(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Subquery(subquery) => !subquery.outer_ref_columns.is_empty(),
        LogicalPlan::SubqueryAlias(alias) => holds_lateral(&alias.input),
        LogicalPlan::Projection(projection) => holds_lateral(&projection.input),
        _ => false,
    }
}

/// Gives what a subquery of one row answers where no row fits: NULL but for counts. Gives nothing where it may have several rows.
fn of_no_rows(plan: &LogicalPlan) -> Result<Option<Expr>> {
    let null = || Expr::Literal(ScalarValue::Null, None);
    match plan {
        LogicalPlan::Projection(projection) => {
            let LogicalPlan::Aggregate(aggregate) = projection.input.as_ref() else {
                let below = of_no_rows(&projection.input)?;
                return Ok(below.map(|_| null()));
            };
            let (true, Some(first)) = (aggregate.group_expr.is_empty(), projection.expr.first()) else {
                return Ok(None);
            };
            let counts: Vec<Column> = aggregate
                .schema
                .columns()
                .into_iter()
                .zip(&aggregate.aggr_expr)
                .filter(|(_, expr)| is_count(expr))
                .map(|(column, _)| column)
                .collect();
            let mut counted = false;
            let value = first
                .clone()
                .unalias()
                .transform_down(|expr| {
                    Ok(match &expr {
                        Expr::Column(column) if counts.contains(column) => {
                            counted = true;
                            Transformed::yes(lit(0_i64))
                        }
                        Expr::Column(column) => {
                            let ty = aggregate.schema.field_from_column(column)?.data_type().clone();
                            Transformed::yes(Expr::Literal(ScalarValue::try_from(&ty)?, None))
                        }
                        _ => Transformed::no(expr),
                    })
                })?
                .data;
            Ok(Some(if counted { value } else { null() }))
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
            Ok(Some(match aggregate.aggr_expr.first() {
                Some(first) if is_count(first) => lit(0_i64),
                _ => null(),
            }))
        }
        LogicalPlan::Filter(filter) => Ok(of_no_rows(&filter.input)?.map(|_| null())),
        LogicalPlan::SubqueryAlias(alias) => of_no_rows(&alias.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => of_no_rows(&sort.input),
        _ => Ok(None),
    }
}

fn is_count(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_count(&alias.expr),
        Expr::AggregateFunction(call) => call.func.name() == "count",
        _ => false,
    }
}

/// Gives a plan that computes the subquery for every key, and the keys' columns in it.
fn with_keys(plan: &LogicalPlan, keys: &Keys) -> Result<Option<(LogicalPlan, Vec<Column>)>> {
    if plan.all_out_ref_exprs().is_empty() && !holds_lateral(plan) {
        let crossed = LogicalPlanBuilder::from(plan.clone())
            .cross_join(keys.plan.clone())?
            .build()?;
        let columns = keys.names.iter().map(Column::new_unqualified).collect();
        return Ok(Some((crossed, columns)));
    }
    let holds_queries = plan.expressions().iter().any(|expr| {
        expr.exists(|expr| {
            Ok(matches!(
                expr,
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)
            ))
        })
        .unwrap_or(true)
    });
    if holds_queries {
        return Ok(None);
    }
    let below = |input: &LogicalPlan| with_keys(input, keys);
    let all = |list: &[Expr], columns: &[Column]| {
        list.iter()
            .map(|expr| keys.inside(expr.clone(), columns))
            .collect::<Result<Vec<_>>>()
    };
    let with = |columns: &[Column]| columns.iter().cloned().map(Expr::Column).collect::<Vec<_>>();
    Ok(match plan {
        LogicalPlan::Filter(filter) => below(&filter.input)?
            .map(|(input, columns)| {
                let predicate = keys.inside(filter.predicate.clone(), &columns)?.unalias();
                let filter = Filter::try_new(predicate, Arc::new(input))?;
                Ok::<_, datafusion::common::DataFusionError>((LogicalPlan::Filter(filter), columns))
            })
            .transpose()?,
        LogicalPlan::Projection(projection) => match below(&projection.input)? {
            Some((input, columns)) => {
                let mut exprs = all(&projection.expr, &columns)?;
                exprs.extend(with(&columns));
                let plan = Projection::try_new(exprs, Arc::new(input))?;
                Some((LogicalPlan::Projection(plan), columns))
            }
            None => None,
        },
        LogicalPlan::SubqueryAlias(alias) => match below(&alias.input)? {
            Some((input, columns)) => {
                let plan = LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build()?;
                let columns = columns
                    .into_iter()
                    .map(|column| Column::new(Some(alias.alias.clone()), column.name));
                Some((plan, columns.collect()))
            }
            None => None,
        },
        LogicalPlan::Subquery(subquery) => below(&subquery.subquery)?,
        LogicalPlan::Aggregate(aggregate)
            if !aggregate
                .group_expr
                .iter()
                .any(|expr| matches!(expr, Expr::GroupingSet(_))) =>
        {
            match below(&aggregate.input)? {
                Some((input, columns)) => {
                    let mut groups = all(&aggregate.group_expr, &columns)?;
                    groups.extend(with(&columns));
                    let exprs = all(&aggregate.aggr_expr, &columns)?;
                    let plan = Aggregate::try_new(Arc::new(input), groups, exprs)?;
                    Some((LogicalPlan::Aggregate(plan), columns))
                }
                None => None,
            }
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            below(input)?.map(|(input, columns)| (LogicalPlan::Distinct(Distinct::All(Arc::new(input))), columns))
        }
        // The order of a subquery's rows is nobody's.
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => below(&sort.input)?,
        LogicalPlan::Join(join) if matches!(join.join_type, JoinType::Inner | JoinType::Left) => {
            let right_is_free = join.right.all_out_ref_exprs().is_empty();
            let left_is_free = join.left.all_out_ref_exprs().is_empty();
            let rebuilt = |inputs: Vec<LogicalPlan>, columns: &[Column]| {
                let exprs = all(&plan.expressions(), columns)?;
                plan.with_new_exprs(exprs.into_iter().map(Expr::unalias).collect(), inputs)
            };
            if right_is_free {
                match below(&join.left)? {
                    Some((left, columns)) => {
                        let inputs = vec![left, join.right.as_ref().clone()];
                        Some((rebuilt(inputs, &columns)?, columns))
                    }
                    None => None,
                }
            } else if left_is_free && join.join_type == JoinType::Inner {
                match below(&join.right)? {
                    Some((right, columns)) => {
                        let inputs = vec![join.left.as_ref().clone(), right];
                        Some((rebuilt(inputs, &columns)?, columns))
                    }
                    None => None,
                }
            } else {
                None
            }
        }
        _ => None,
    })
}
