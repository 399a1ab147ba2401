//! Keeps DataFusion from taking a key of one side of a join for a key of the groups above it.
//!
//! Where one side of a join is grouped, DataFusion knows that its keys determine its columns. Of a GROUP BY above the join that
//! names these keys and others, it then takes the keys alone to determine whole groups (`aggregate_functional_dependencies` gives
//! what they determine every column of the result), and leaves the others out of a second grouping or of a sort:
//!
//! ```text
//!  SELECT k, MAX(n) FROM (SELECT t.k, f.day, COUNT(DISTINCT f.user) n FROM f JOIN t ON … GROUP BY t.k, f.day) GROUP BY k
//! ```
//!
//! loses `day`. So such a key goes through a function that gives its argument: of a computed column nothing is known.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Distinct, Expr, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Hides the keys of joined sides from the groupings of a plan that name others too.
pub(crate) fn hidden(plan: LogicalPlan) -> Result<LogicalPlan> {
    let joins_distinct = plan.exists(|node| match node {
        LogicalPlan::Join(join) => {
            let distinct = |side: &LogicalPlan| side.exists(|node| Ok(matches!(node, LogicalPlan::Distinct(_))));
            Ok(distinct(&join.left)? || distinct(&join.right)?)
        }
        _ => Ok(false),
    })?;
    let plan = match joins_distinct {
        true => grouped_distinct(plan)?,
        false => plan,
    };
    plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = &node else {
            return Ok(Transformed::no(node));
        };
        let keys = false_keys(aggregate);
        if keys.is_empty() {
            return Ok(Transformed::no(node));
        }
        let columns = aggregate.input.schema().columns().into_iter().enumerate();
        let exprs = columns.map(|(at, column)| match keys.contains(&at) {
            true => SAME
                .call(vec![Expr::Column(column.clone())])
                .alias_qualified(column.relation, column.name),
            false => Expr::Column(column),
        });
        let input = LogicalPlanBuilder::from(aggregate.input.as_ref().clone())
            .project(exprs)?
            .build()?;
        let hidden = Aggregate::try_new(
            Arc::new(input),
            aggregate.group_expr.clone(),
            aggregate.aggr_expr.clone(),
        )?;
        Ok(Transformed::yes(LogicalPlan::Aggregate(hidden)))
    })
    .map(|transformed| transformed.data)
}

/// Words DISTINCT as the grouping that it becomes, whose keys are known then.
fn grouped_distinct(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(|node| {
        Ok(match node {
            LogicalPlan::Distinct(Distinct::All(input)) if !input.schema().fields().is_empty() => {
                let keys = input.schema().columns().into_iter().map(Expr::Column).collect();
                Transformed::yes(LogicalPlan::Aggregate(Aggregate::try_new(input, keys, Vec::new())?))
            }
            other => Transformed::yes(other.recompute_schema()?),
        })
    })
    .map(|transformed| transformed.data)
}

/// Gives the columns of the input that determine a part of what is grouped by, and are grouped by themselves.
fn false_keys(aggregate: &Aggregate) -> Vec<usize> {
    let schema = aggregate.input.schema();
    let dependencies = schema.functional_dependencies();
    if dependencies.is_empty() || aggregate.group_expr.len() < 2 {
        return Vec::new();
    }
    // What is computed is determined by none.
    let groups: Vec<Option<usize>> = aggregate
        .group_expr
        .iter()
        .map(|expr| match expr {
            Expr::Column(column) => schema.maybe_index_of_column(column),
            _ => None,
        })
        .collect();
    let mut keys: Vec<usize> = Vec::new();
    for dependency in dependencies.iter() {
        let grouped = |at: &usize| groups.contains(&Some(*at));
        let covers = groups
            .iter()
            .all(|group| group.is_some_and(|at| dependency.target_indices.contains(&at)));
        if !covers && dependency.source_indices.iter().all(grouped) {
            keys.extend(&dependency.source_indices);
        }
    }
    keys
}

static SAME: LazyLock<ScalarUDF> = LazyLock::new(|| {
    ScalarUDF::new_from_impl(Same {
        signature: Signature::any(1, Volatility::Immutable),
    })
});

/// Gives its argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Same {
    signature: Signature,
}

impl ScalarUDFImpl for Same {
    fn name(&self) -> &str {
        "same"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [only] => Ok(only.clone()),
            _ => internal_err!("same takes one argument"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [only] => Ok(Arc::clone(only)),
            _ => internal_err!("same takes one argument"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(value) => Ok(value),
            None => internal_err!("same takes one argument"),
        }
    }
}
