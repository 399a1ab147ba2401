//! The optimiser rule that puts [`SegmentAggregateExec`] into plans.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::not_impl_err;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use henge_sql::SqlType;

use super::exec::SegmentAggregateExec;
use super::recognise::recognise;

/// Replaces aggregations over segments that [`recognise`] knows. It must run before exchanges are put into the plan: what it makes has
/// one partition, and the exchanges of the aggregation that it replaces would be in the way.
#[derive(Debug, Default)]
pub struct AggregateOverSegments;

impl PhysicalOptimizerRule for AggregateOverSegments {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        // Downwards: of two aggregations over each other the upper one is tried first.
        plan.transform_down(|node| {
            let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
                return Ok(Transformed::no(node));
            };
            refuse_multi_value_keys(aggregate)?;
            let replaced = recognise(aggregate)?.map(|found| {
                SegmentAggregateExec::new(found.aggregation, found.scan.clone(), found.filter, node.clone())
            });
            Ok(match replaced {
                Some(replaced) => Transformed::yes(Arc::new(replaced) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "aggregate_over_segments"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Grouping by a multi-value column makes one group a value; the planner has to unnest it. Grouping by whole lists would be a wrong
/// answer, so it is an error.
fn refuse_multi_value_keys(aggregate: &AggregateExec) -> Result<()> {
    let schema = aggregate.input().schema();
    for (expr, name) in aggregate.group_expr().expr() {
        let field = expr.return_field(&schema)?;
        if SqlType::from_field(&field) == SqlType::MultiVarchar {
            return not_impl_err!("GROUP BY on the multi-value column [{name}], use MV_TO_ARRAY or UNNEST");
        }
    }
    Ok(())
}
