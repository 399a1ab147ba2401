//! FULL joins in interactive queries: the rows of the left side in their order, with or without a match, then those of the right
//! side that none matched, as Druid gives them.
//!
//! No join operator gives that order, so both sides are numbered and the join is sorted by the numbers:
//!
//! ```text
//!  FULL join            columns of both sides
//!    left                 Ordered: number of the left row (none is last), number of the right row
//!    right       ──►        FULL join
//!                             left + number
//!                             right + number
//! ```

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinType, Result, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, PlanProperties};
use futures::Stream;

/// Name of the column of numbers; no statement can name it.
const NUMBER: &str = "__row_of_join";
/// Rows of one partition are numbered from a multiple of this.
const ROWS_OF_PARTITION: u32 = 40;

/// Gives a FULL join its order; any other plan gives nothing.
pub(crate) fn in_left_order(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let any = plan.as_ref() as &dyn Any;
    let (left, right, join): (_, _, Arc<dyn ExecutionPlan>) = if let Some(join) = any.downcast_ref::<HashJoinExec>() {
        if *join.join_type() != JoinType::Full || join.contains_projection() || is_numbered(join.left()) {
            return Ok(None);
        }
        let (left, right) = (numbered(join.left()), numbered(join.right()));
        let numbered = HashJoinExec::try_new(
            left,
            right,
            join.on().to_vec(),
            join.filter().cloned(),
            join.join_type(),
            None,
            *join.partition_mode(),
            join.null_equality(),
            false,
        )?;
        (join.left(), join.right(), Arc::new(numbered))
    } else if let Some(join) = any.downcast_ref::<NestedLoopJoinExec>() {
        if *join.join_type() != JoinType::Full || join.contains_projection() || is_numbered(join.left()) {
            return Ok(None);
        }
        let (left, right) = (numbered(join.left()), numbered(join.right()));
        let numbered = NestedLoopJoinExec::try_new(left, right, join.filter().cloned(), join.join_type(), None)?;
        (join.left(), join.right(), Arc::new(numbered))
    } else {
        return Ok(None);
    };
    let (width, more) = (left.schema().fields().len(), right.schema().fields().len());
    let by = |at: usize| PhysicalSortExpr {
        expr: Arc::new(Column::new(NUMBER, at)) as Arc<dyn PhysicalExpr>,
        options: SortOptions {
            descending: false,
            nulls_first: false,
        },
    };
    let Some(order) = LexOrdering::new([by(width), by(width + 1 + more)]) else {
        return Ok(None);
    };
    let schema = join.schema();
    let kept = (0..width).chain(width + 1..width + 1 + more);
    let columns: Vec<(Arc<dyn PhysicalExpr>, String)> = kept
        .map(|at| {
            let name = schema.field(at).name().clone();
            (Arc::new(Column::new(&name, at)) as _, name)
        })
        .collect();
    let ordered = Arc::new(OrderedExec::over(join, order));
    Ok(Some(Arc::new(ProjectionExec::try_new(columns, ordered)?)))
}

fn numbered(input: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    Arc::new(NumberedExec::over(Arc::clone(input)))
}

fn is_numbered(plan: &Arc<dyn ExecutionPlan>) -> bool {
    (plan.as_ref() as &dyn Any).is::<NumberedExec>()
}

/// Hands rows on in an order that it asks for: a sort that nothing asks for would be taken away again.
#[derive(Debug)]
struct OrderedExec {
    input: Arc<dyn ExecutionPlan>,
    order: LexOrdering,
    properties: Arc<PlanProperties>,
}

impl OrderedExec {
    fn over(input: Arc<dyn ExecutionPlan>, order: LexOrdering) -> Self {
        let properties = PlanProperties::clone(input.properties())
            .with_partitioning(datafusion::physical_plan::Partitioning::UnknownPartitioning(1));
        OrderedExec {
            input,
            order,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for OrderedExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OrderedExec")
    }
}

impl ExecutionPlan for OrderedExec {
    fn name(&self) -> &str {
        "OrderedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(OrderingRequirements::from(self.order.clone()))]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
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
            Some(input) => Ok(Arc::new(Self::over(input, self.order.clone()))),
            None => internal_err!("{} takes one input", self.name()),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}

/// Adds a column that numbers the rows of each partition.
#[derive(Debug)]
struct NumberedExec {
    input: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl NumberedExec {
    fn over(input: Arc<dyn ExecutionPlan>) -> Self {
        let schema = input.schema();
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(NUMBER, DataType::UInt64, false)));
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(
                input.properties().output_partitioning().partition_count(),
            ),
            input.properties().emission_type,
            input.properties().boundedness,
        );
        NumberedExec {
            input,
            schema,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for NumberedExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NumberedExec")
    }
}

impl ExecutionPlan for NumberedExec {
    fn name(&self) -> &str {
        "NumberedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    /// Whatever order the rows have is asked for, so that no rule takes it away.
    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let order = self.input.properties().output_ordering().cloned();
        vec![order.map(OrderingRequirements::from)]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
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
        Ok(Box::pin(Numbered {
            input: self.input.execute(partition, context)?,
            schema: Arc::clone(&self.schema),
            next: (partition as u64) << ROWS_OF_PARTITION,
        }))
    }
}

/// The rows of one partition with their numbers.
struct Numbered {
    input: SendableRecordBatchStream,
    schema: SchemaRef,
    next: u64,
}

impl Stream for Numbered {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(batch) = ready!(self.input.as_mut().poll_next(cx)).transpose()? else {
            return Poll::Ready(None);
        };
        let end = self.next + batch.num_rows() as u64;
        let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(self.next..end));
        self.next = end;
        let mut columns = batch.columns().to_vec();
        columns.push(numbers);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Poll::Ready(Some(Ok(batch)))
    }
}

impl RecordBatchStream for Numbered {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
