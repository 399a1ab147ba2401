//! UNION ALL in interactive queries: the rows of the first branch come first, as Druid gives them, then those of the second.
//!
//! DataFusion reads all branches at once and takes rows as they come. Here each branch is read by all threads, one branch behind the
//! other, wherever nothing but projections, filters and limits stands between the union and the answer.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt};

/// Gives a plan whose answer has the branches of a UNION ALL in their order.
pub fn in_order(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = below(plan)?;
    if partitions(&plan) > 1 && leads_to_union(plan.as_ref()) {
        return Ok(SequenceExec::over(by_branch(plan)?));
    }
    Ok(plan)
}

fn below(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let any = plan.as_ref() as &dyn Any;
    if let Some(coalesce) = any.downcast_ref::<CoalescePartitionsExec>() {
        if !leads_to_union(coalesce.input().as_ref()) {
            return Ok(plan);
        }
        let sequence = SequenceExec::over(by_branch(Arc::clone(coalesce.input()))?);
        return Ok(match coalesce.fetch() {
            Some(rows) => Arc::new(GlobalLimitExec::new(sequence, 0, Some(rows))),
            None => sequence,
        });
    }
    match hands_on(plan.as_ref()) {
        Some(child) => {
            let child = below(Arc::clone(child))?;
            replace_children_if_necessary(plan, vec![child])
        }
        None => Ok(plan),
    }
}

/// The input of an operator that gives rows in the order in which it takes them.
fn hands_on(plan: &dyn ExecutionPlan) -> Option<&Arc<dyn ExecutionPlan>> {
    let any = plan as &dyn Any;
    let simple = any.is::<ProjectionExec>()
        || any.is::<FilterExec>()
        || any.is::<GlobalLimitExec>()
        || any.is::<LocalLimitExec>()
        || any.is::<CooperativeExec>();
    plan.children().into_iter().next().filter(|_| simple)
}

fn leads_to_union(plan: &dyn ExecutionPlan) -> bool {
    (plan as &dyn Any).is::<UnionExec>() || hands_on(plan).is_some_and(|child| leads_to_union(child.as_ref()))
}

fn partitions(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.properties().output_partitioning().partition_count()
}

/// Makes every branch of the union one partition.
fn by_branch(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let children = if (plan.as_ref() as &dyn Any).is::<UnionExec>() {
        let branches = plan.children().into_iter().cloned();
        branches.map(one_partition).collect::<Result<_>>()?
    } else {
        let inputs = plan.children().into_iter().cloned();
        inputs.map(by_branch).collect::<Result<_>>()?
    };
    replace_children_if_necessary(plan, children)
}

fn one_partition(branch: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let branch = in_order(branch)?;
    Ok(match partitions(&branch) {
        0 | 1 => branch,
        _ => Arc::new(CoalescePartitionsExec::new(branch)),
    })
}

/// Reads its input's partitions one behind the other.
#[derive(Debug)]
struct SequenceExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl SequenceExec {
    fn over(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let mut equivalences = input.properties().equivalence_properties().clone();
        equivalences.clear_orderings();
        equivalences.clear_per_partition_constants();
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(1),
            input.properties().emission_type,
            input.properties().boundedness,
        );
        Arc::new(Self {
            input,
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for SequenceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SequenceExec")
    }
}

impl ExecutionPlan for SequenceExec {
    fn name(&self) -> &str {
        "SequenceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(match children.into_iter().next() {
            Some(input) => Self::over(input),
            None => self,
        })
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema: SchemaRef = self.input.schema();
        let input = Arc::clone(&self.input);
        let batches = futures::stream::iter(0..partitions(&self.input))
            .then(move |partition| {
                let stream = input.execute(partition, Arc::clone(&context));
                async move { stream }
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch};
    use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::datasource::MemTable;
    use datafusion::physical_plan::execute_stream;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    /// A table of four partitions of eight batches, all of one value.
    fn table(value: i64) -> Arc<MemTable> {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, false)]));
        let batch = || RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![value; 10]))]);
        let partition = || (0..8).map(|_| batch().expect("a column")).collect();
        let partitions = (0..4).map(|_| partition()).collect();
        Arc::new(MemTable::try_new(schema.clone(), partitions).expect("one schema"))
    }

    async fn answer(sql: &str) -> Vec<i64> {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(4));
        for (name, value) in [("a", 1), ("b", 2), ("c", 3)] {
            context.register_table(name, table(value)).expect("a new name");
        }
        let plan = context.sql(sql).await.expect("valid").create_physical_plan().await;
        let plan = in_order(plan.expect("planned")).expect("rewritten");
        let mut stream = execute_stream(plan, context.task_ctx()).expect("starts");
        let mut values = Vec::new();
        while let Some(batch) = stream.next().await {
            values.extend_from_slice(batch.expect("rows").column(0).as_primitive::<Int64Type>().values());
        }
        values
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn branches_come_in_their_order() {
        let expected: Vec<i64> = [3, 1, 2].iter().flat_map(|x| [*x; 320]).collect();
        let union = "SELECT x FROM c UNION ALL SELECT x FROM a UNION ALL SELECT x FROM b";
        for _ in 0..20 {
            assert_eq!(answer(union).await, expected);
            let limited = format!("SELECT x FROM ({union}) LIMIT 330 OFFSET 5");
            assert_eq!(answer(&limited).await, expected[5..335]);
            let filtered = format!("SELECT -x FROM ({union}) WHERE x < 3");
            let negative: Vec<i64> = expected[320..].iter().map(|x| -x).collect();
            assert_eq!(answer(&filtered).await, negative);
        }
        let sum = format!("SELECT SUM(x) FROM ({union})");
        assert_eq!(answer(&sum).await, [320 * 6]);
    }
}
