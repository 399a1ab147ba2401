//! Joins in interactive queries: the rows of the left side come in their order, each with its matches, as Druid gives them.
//!
//! DataFusion collects the left side of a join in memory and streams the right, and picks the smaller side for the left. Druid
//! always collects the right side and streams the left. So here:
//!
//! 1. A hash join collects its right side, unless that is known to be large and the left side is smaller.
//! 2. A cross join repeats the right side for every row of the left, unless the left side is known to be large and the right smaller.
//! 3. A FULL join is sorted by its rows' places in both sides ([`crate::full_join`]).
//! 4. What is left open is DataFusion's choice: whether a large side is collected by one thread or cut by the hash of the key.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, internal_err};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::join_selection::JoinSelection;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use crate::limits;

/// Makes the session choose the sides of joins as Druid does.
pub fn in_left_order(state: SessionState) -> SessionState {
    let rules = state
        .physical_optimizers()
        .iter()
        .map(|rule| match rule.name() == JoinSelection::new().name() {
            true => Arc::new(LeftOrder) as _,
            false => Arc::clone(rule),
        })
        .collect();
    SessionStateBuilder::new_from_existing(state)
        .with_physical_optimizer_rules(rules)
        .build()
}

/// Lets hash joins that keep the rows of the side which they stream give them in their order, with or without a match. They do so only
/// where that side says that it has an order.
pub fn with_arrival(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        let Some(join) = (plan.as_ref() as &dyn Any).downcast_ref::<HashJoinExec>() else {
            return Ok(Transformed::no(plan));
        };
        let streams_all = *join.join_type() == JoinType::Right;
        if !streams_all || join.right().properties().output_ordering().is_some() {
            return Ok(Transformed::no(plan));
        }
        let right = Arc::new(ArrivalExec::over(Arc::clone(join.right())));
        let children = vec![Arc::clone(join.left()), right as _];
        replace_children_if_necessary(Arc::clone(&plan), children).map(Transformed::yes)
    })
    .data()
}

/// The order in which rows arrive: nothing to compute, only to say that there is one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Arrival;

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("arrival")
    }
}

impl PhysicalExpr for Arrival {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(DataType::UInt64)
    }

    fn nullable(&self, _schema: &Schema) -> Result<bool> {
        Ok(false)
    }

    fn evaluate(&self, _batch: &RecordBatch) -> Result<ColumnarValue> {
        internal_err!("the order of arrival has no value")
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Hands rows on and says that they have an order.
#[derive(Debug)]
struct ArrivalExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl ArrivalExec {
    fn over(input: Arc<dyn ExecutionPlan>) -> Self {
        let order = PhysicalSortExpr::new_default(Arc::new(Arrival));
        let equivalence = EquivalenceProperties::new_with_orderings(input.schema(), [[order]]);
        let properties = PlanProperties::clone(input.properties()).with_eq_properties(equivalence);
        ArrivalExec {
            input,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for ArrivalExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArrivalExec")
    }
}

impl ExecutionPlan for ArrivalExec {
    fn name(&self) -> &str {
        "ArrivalExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::over(input))),
            None => internal_err!("{} takes one input", self.name()),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}

/// The rule of this file, in the place of DataFusion's.
#[derive(Debug)]
struct LeftOrder;

impl PhysicalOptimizerRule for LeftOrder {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan
            .transform_up(|plan| {
                Ok(match crate::full_join::in_left_order(&plan)? {
                    Some(ordered) => Transformed::yes(ordered),
                    None => Transformed::no(plan),
                })
            })
            .data()?;
        let plan = plan.transform_up(collected_right).data()?;
        let mut config = config.clone();
        config.optimizer.join_reordering = false;
        JoinSelection::new().optimize(plan, &config)
    }

    fn name(&self) -> &str {
        "join_left_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn collected_right(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let any = plan.as_ref() as &dyn Any;
    let swapped = if let Some(join) = any.downcast_ref::<HashJoinExec>() {
        let right = rows(join.right().as_ref());
        let is_small = right.is_none_or(|rows| rows <= limits::JOINED_ROWS_IN_ORDER);
        if join.null_aware
            || !join.join_type().supports_swap()
            || (!is_small && rows(join.left().as_ref()).is_some_and(|left| Some(left) < right))
        {
            return Ok(Transformed::no(plan));
        }
        join.swap_inputs(match is_small {
            true => PartitionMode::CollectLeft,
            false => PartitionMode::Auto,
        })?
    } else if let Some(join) = any.downcast_ref::<CrossJoinExec>() {
        if !is_better_swapped(join.left().as_ref(), join.right().as_ref()) {
            return Ok(Transformed::no(plan));
        }
        join.swap_inputs()?
    } else if let Some(join) = any.downcast_ref::<NestedLoopJoinExec>() {
        if !join.join_type().supports_swap() || !is_better_swapped(join.left().as_ref(), join.right().as_ref()) {
            return Ok(Transformed::no(plan));
        }
        join.swap_inputs()?
    } else {
        return Ok(Transformed::no(plan));
    };
    Ok(Transformed::yes(swapped))
}

/// Tells whether a side that would be collected is too large for it, and the other is not.
fn is_better_swapped(collected: &dyn ExecutionPlan, streamed: &dyn ExecutionPlan) -> bool {
    match (rows(collected), rows(streamed)) {
        (Some(collected), Some(streamed)) => collected > limits::JOINED_ROWS_IN_ORDER && streamed < collected,
        _ => false,
    }
}

/// Gives the rows that a plan is expected to give.
fn rows(plan: &dyn ExecutionPlan) -> Option<usize> {
    let statistics = StatisticsContext::new().compute(plan, &StatisticsArgs::new()).ok()?;
    statistics.num_rows.get_value().copied()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::{Field, Int64Type};
    use datafusion::datasource::MemTable;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    fn table(values: &[i64]) -> Arc<MemTable> {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, false)]));
        let column = Arc::new(Int64Array::from(values.to_vec()));
        let batch = RecordBatch::try_new(schema.clone(), vec![column]).expect("a column");
        Arc::new(MemTable::try_new(schema, vec![vec![batch]]).expect("a table"))
    }

    async fn rows(sql: &str) -> Vec<[Option<i64>; 2]> {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(4));
        let context = SessionContext::new_with_state(in_left_order(context.state()));
        context.register_table("a", table(&[5, 1, 4, 2, 3])).expect("new");
        context.register_table("b", table(&[1, 2, 3, 3])).expect("new");
        let plan = context.sql(sql).await.expect("valid").create_physical_plan().await;
        let plan = with_arrival(plan.expect("a plan")).expect("a plan");
        let batches = collect(plan, context.task_ctx()).await.expect("rows");
        let of = |batch: &RecordBatch, row: usize, column: usize| {
            let values = batch.column(column).as_primitive::<Int64Type>();
            values.iter().nth(row).flatten()
        };
        let rows = batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(move |row| [of(batch, row, 0), of(batch, row, 1)]));
        rows.collect()
    }

    #[tokio::test]
    async fn the_left_side_keeps_its_order() {
        let some = |pairs: &[(i64, i64)]| pairs.iter().map(|(a, b)| [Some(*a), Some(*b)]).collect::<Vec<_>>();
        assert_eq!(
            rows("SELECT a.x, b.x FROM a JOIN b ON a.x = b.x").await,
            some(&[(1, 1), (2, 2), (3, 3), (3, 3)])
        );
        assert_eq!(
            rows("SELECT b.x, a.x FROM b JOIN a ON a.x = b.x").await,
            some(&[(1, 1), (2, 2), (3, 3), (3, 3)])
        );
        let left = rows("SELECT a.x, b.x FROM a LEFT JOIN b ON a.x = b.x").await;
        assert_eq!(
            left,
            [
                [Some(5), None],
                [Some(1), Some(1)],
                [Some(4), None],
                [Some(2), Some(2)],
                [Some(3), Some(3)],
                [Some(3), Some(3)]
            ]
        );
        let right = rows("SELECT b.x, a.x FROM b RIGHT JOIN a ON a.x = b.x").await;
        assert_eq!(right[..4], some(&[(1, 1), (2, 2), (3, 3), (3, 3)]));
        assert_eq!(right[4..], [[None, Some(5)], [None, Some(4)]]);
        let full = rows("SELECT b.x, a.x FROM b FULL JOIN a ON a.x = b.x + 2").await;
        assert_eq!(full[..4], some(&[(1, 3), (2, 4), (3, 5), (3, 5)]));
        assert_eq!(full[4..], [[None, Some(1)], [None, Some(2)]]);
        let full = rows("SELECT a.x, b.x FROM a FULL JOIN b ON a.x = b.x AND a.x <> 1").await;
        assert_eq!(full[..2], [[Some(5), None], [Some(1), None]]);
        assert_eq!(full[2..5], [[Some(4), None], [Some(2), Some(2)], [Some(3), Some(3)]]);
        assert_eq!(full[5..], [[Some(3), Some(3)], [None, Some(1)]]);
        let full = rows("SELECT a.x, b.x FROM a FULL JOIN b ON a.x < b.x").await;
        assert_eq!(full[..2], [[Some(5), None], [Some(1), Some(2)]]);
        assert_eq!(full.last(), Some(&[None, Some(1)]));
        let crossed = rows("SELECT a.x, b.x FROM a, b").await;
        assert_eq!(crossed[..5], some(&[(5, 1), (5, 2), (5, 3), (5, 3), (1, 1)]));
    }
}
