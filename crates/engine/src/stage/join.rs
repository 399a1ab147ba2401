//! Making the physical plan of a task: which joins hash, which sort and merge.
//!
//! A hash join keeps its whole build side in memory and never spills (spec `engine-evaluation` section 6), so in a task it is
//! only for build sides that are known to be small. The plan is first made with hash joins; where one of them is not known to
//! be small, it is made again with sort-merge joins. `sqlJoinAlgorithm` `sortMerge` asks for those at once.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode, SortMergeJoinExec,
};

use crate::limits;

/// Bytes that a row of unknown width is taken to have.
const BROADCAST_ROW_BYTES: usize = 64;

/// Makes the physical plan of a task. `slot_bytes` is the memory of each: what is small depends on it.
pub async fn physical_plan(
    state: &SessionState,
    plan: &LogicalPlan,
    prefer_sort_merge: bool,
    slot_bytes: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    if !prefer_sort_merge {
        // Files grow when they are decoded, and a hash table is larger than its rows.
        let share = (slot_bytes as f64 * limits::BROADCAST_SHARE) as usize / 4;
        let bytes_max = share.min(limits::BROADCAST_BYTES_MAX);
        let rows_max = (share / BROADCAST_ROW_BYTES).min(limits::BROADCAST_ROWS_MAX);
        let config = state
            .config()
            .clone()
            .set_bool("datafusion.optimizer.prefer_hash_join", true)
            .set_usize("datafusion.optimizer.hash_join_single_partition_threshold", bytes_max)
            .set_usize(
                "datafusion.optimizer.hash_join_single_partition_threshold_rows",
                rows_max,
            );
        let hashing = SessionStateBuilder::new_from_existing(state.clone())
            .with_config(config)
            .build();
        let physical = hashing.create_physical_plan(plan).await?;
        if hash_joins_are_small(physical.as_ref()) {
            return cooperative_joins(physical);
        }
    }
    cooperative_joins(state.create_physical_plan(plan).await?)
}

/// Lets joins give way after some batches. A join makes batches out of what it holds without asking its inputs, so that one
/// poll could last for minutes, in which nobody could stop the query.
pub fn cooperative_joins(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|node| {
        let any = node.as_ref() as &dyn std::any::Any;
        let joins = any.is::<HashJoinExec>()
            || any.is::<NestedLoopJoinExec>()
            || any.is::<CrossJoinExec>()
            || any.is::<SortMergeJoinExec>();
        Ok(if joins {
            Transformed::yes(Arc::new(CooperativeExec::new(node)) as _)
        } else {
            Transformed::no(node)
        })
    })?;
    Ok(wrapped.data)
}

/// Tells whether every hash join of a plan collects a side that is known to be small.
fn hash_joins_are_small(plan: &dyn ExecutionPlan) -> bool {
    let here = match (plan as &dyn std::any::Any).downcast_ref::<HashJoinExec>() {
        Some(join) => *join.partition_mode() == PartitionMode::CollectLeft,
        None => true,
    };
    here && plan.children().iter().all(|child| hash_joins_are_small(child.as_ref()))
}
