//! FLOAT in expressions: Druid computes them in 64 bits and narrows the result alone, so a value that was narrowed on its way
//! into the next operator is taken as it was before.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::SqlError;

/// Takes `CAST(CAST(x AS 32 bits) AS 64 bits)` for x all over a plan.
///
/// # Errors
/// DataFusion's, where a node cannot be built anew.
pub(crate) fn computed_wide(plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
    if !narrows(&plan).map_err(|e| crate::bind::from_datafusion(&e))? {
        return Ok(plan);
    }
    plan.transform_up_with_subqueries(|plan| {
        let names = NamePreserver::new(&plan);
        let mut changed = false;
        let rewritten = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|expr| Ok(unnarrowed(expr)))?;
            changed |= expr.transformed;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })?;
        match changed {
            true => rewritten.map_data(LogicalPlan::recompute_schema),
            false => Ok(rewritten),
        }
    })
    .map(|transformed| transformed.data)
    .map_err(|e| crate::bind::from_datafusion(&e))
}

/// Tells whether anything is narrowed and widened again: most plans are left as they are.
fn narrows(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|e| Ok(is_narrowed(e)))?;
            Ok(match found {
                true => TreeNodeRecursion::Stop,
                false => TreeNodeRecursion::Continue,
            })
        })
    })?;
    Ok(found)
}

fn is_narrowed(expr: &Expr) -> bool {
    matches!(expr, Expr::Cast(outer) if *outer.field.data_type() == DataType::Float64
        && matches!(outer.expr.as_ref(), Expr::Cast(inner) if *inner.field.data_type() == DataType::Float32))
}

fn unnarrowed(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::Cast(outer) if *outer.field.data_type() == DataType::Float64 => match *outer.expr {
            Expr::Cast(inner) if *inner.field.data_type() == DataType::Float32 => Transformed::yes(*inner.expr),
            other => Transformed::no(Expr::Cast(datafusion::logical_expr::Cast {
                expr: Box::new(other),
                field: outer.field,
            })),
        },
        other => Transformed::no(other),
    }
}
