//! Cutting DataFusion's physical plan into stages: wherever the plan exchanges rows between partitions, a stage ends, its rows go
//! into sorted runs, and the next stage reads them through a [`StageInputExec`].
//!
//! ```text
//! SortPreservingMerge[o]            stage 0: scan, Aggregate(Partial)        → runs by hash(k), 4 buckets
//!   Sort[o]                   ──>   stage 1: StageInput(0), Aggregate(Final) → runs by o
//!     Aggregate(Final, k)           stage 2: StageInput(1, merged by o)
//!       Repartition(Hash(k), 4)
//!         Aggregate(Partial, k)
//!           scan
//! ```
//!
//! 1. `RepartitionExec(Hash)` becomes a hash exchange; a sort of its partitions above it is done by the exchange on the way.
//! 2. `CoalescePartitionsExec` becomes a mix into one partition.
//! 3. `SortPreservingMergeExec` over `SortExec`, or a `SortExec` of a single partition, becomes an exchange sorted by that key,
//!    read as one partition. A sort with a limit stays an operator (it keeps few rows), and its survivors are exchanged.
//! 4. The collected side of a join becomes a broadcast stage that every task of the joining stage reads.
//! 5. Round-robin repartitioning is dropped: tasks, not threads inside a task, share out the work.
//!
//! Since each task runs on its own instance of the plan, a join that has to know which collected rows found no partner at all
//! gets its other side as one partition.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{JoinType, Result, internal_err, not_impl_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_expr::{LexOrdering, OrderingRequirements, Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use henge_exchange::{KeyField, KeySpec, staged_schema};
use henge_scan::SegmentScanExec;

use crate::stage::extern_scan::ExternScanExec;
use crate::stage::input::StageInputExec;

/// A stage as the plan gives it.
#[derive(Debug, Clone)]
pub struct PlannedStage {
    /// Stage number, dense from 0, producers first.
    pub number: u32,
    /// What each task does with its partition.
    pub plan: Arc<dyn ExecutionPlan>,
    /// How its rows reach the next stage; none for the last one.
    pub exchange: Option<Exchange>,
}

/// How rows go from one stage to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Order of the rows in a run.
    pub key: KeySpec,
    /// The key's columns are the last ones of the plan, and only there for the exchange.
    pub hidden_columns: usize,
    /// Partitions that the next stage reads.
    pub partitions: usize,
    /// Rows that the next stage wants at most.
    pub limit: Option<usize>,
    /// True where every task of the next stage reads everything.
    pub broadcast: bool,
}

impl PlannedStage {
    /// Counts the stage's tasks.
    pub fn partitions(&self) -> usize {
        self.plan.output_partitioning().partition_count()
    }
}

/// Cuts a plan. The last stage has no exchange: its rows are the answer.
pub fn cut_plan(plan: Arc<dyn ExecutionPlan>) -> Result<Vec<PlannedStage>> {
    let mut cutter = Cutter { stages: Vec::new() };
    let last = cutter.fragment(plan)?;
    cutter.push(last, None);
    Ok(cutter.stages)
}

struct Cutter {
    stages: Vec<PlannedStage>,
}

fn downcast<T: 'static>(plan: &Arc<dyn ExecutionPlan>) -> Option<&T> {
    (plan.as_ref() as &dyn std::any::Any).downcast_ref::<T>()
}

fn replace_children(
    plan: Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

impl Cutter {
    /// Gives the part of the plan that belongs to the stage of its root; the rest has become stages.
    fn fragment(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(repartition) = downcast::<RepartitionExec>(&plan) {
            let input = self.fragment(repartition.input().clone())?;
            return match repartition.partitioning() {
                Partitioning::Hash(exprs, partitions) => self.hash(input, exprs.clone(), *partitions),
                Partitioning::RoundRobinBatch(_) | Partitioning::UnknownPartitioning(_) => Ok(input),
                other => not_impl_err!("an exchange by {other} inside a task"),
            };
        }
        if let Some(coalesce) = downcast::<CoalescePartitionsExec>(&plan) {
            let input = self.fragment(coalesce.input().clone())?;
            return self.mix(input, coalesce.fetch());
        }
        if let Some(merge) = downcast::<SortPreservingMergeExec>(&plan) {
            let order = merge.expr().clone();
            let fetch = merge.fetch();
            let input = match downcast::<SortExec>(merge.input()) {
                Some(sort) if sort.fetch().is_none() => self.fragment(sort.input().clone())?,
                _ => self.fragment(merge.input().clone())?,
            };
            return self.sorted(input, order, fetch);
        }
        if let Some(sort) = downcast::<SortExec>(&plan) {
            let input = self.fragment(sort.input().clone())?;
            if sort.fetch().is_some() {
                return replace_children(plan, vec![input]);
            }
            if input.output_partitioning().partition_count() == 1 {
                return self.sorted(input, sort.expr().clone(), None);
            }
            return match self.sort_inside_hash(&input, sort.expr()) {
                Some(sorted) => Ok(sorted),
                None => replace_children(plan, vec![input]),
            };
        }
        if let Some(join) = downcast::<HashJoinExec>(&plan)
            && *join.partition_mode() == PartitionMode::CollectLeft
        {
            let (left, right) = (join.left().clone(), join.right().clone());
            return self.join(plan.clone(), left, right, *join.join_type());
        }
        if let Some(join) = downcast::<NestedLoopJoinExec>(&plan) {
            let (left, right) = (join.left().clone(), join.right().clone());
            return self.join(plan.clone(), left, right, *join.join_type());
        }
        if let Some(join) = downcast::<CrossJoinExec>(&plan) {
            let (left, right) = (join.left().clone(), join.right().clone());
            return self.join(plan.clone(), left, right, JoinType::Inner);
        }
        if downcast::<ScalarSubqueryExec>(&plan).is_some() {
            return not_impl_err!("a scalar subquery that is not a join inside a task");
        }
        let children: Vec<_> = plan.children().into_iter().cloned().collect();
        if children.is_empty() {
            return check_leaf(plan);
        }
        let fragments = children
            .into_iter()
            .zip(plan.required_input_ordering())
            .map(|(child, order)| ordered(self.fragment(child)?, order))
            .collect::<Result<Vec<_>>>()?;
        replace_children(plan, fragments)
    }

    fn push(&mut self, plan: Arc<dyn ExecutionPlan>, exchange: Option<Exchange>) -> u32 {
        let number = self.stages.len() as u32;
        self.stages.push(PlannedStage { number, plan, exchange });
        number
    }

    /// Ends a stage with an exchange and gives what reads it.
    fn exchange(
        &mut self,
        input: Arc<dyn ExecutionPlan>,
        exchange: Exchange,
        partitioning: Partitioning,
        order: Option<LexOrdering>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planned = input.schema();
        let staged = staged_schema(&planned);
        let (hidden, broadcast) = (exchange.hidden_columns, exchange.broadcast);
        let stage = self.push(input, Some(exchange));
        let mut reader = StageInputExec::new(stage, staged.clone(), partitioning, order);
        if broadcast {
            reader = reader.broadcast();
        }
        restore(Arc::new(reader), &planned, &staged, hidden)
    }

    fn hash(
        &mut self,
        input: Arc<dyn ExecutionPlan>,
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (input, columns, hidden_columns) = with_columns(input, &exprs)?;
        let schema = input.schema();
        let hashed = columns
            .iter()
            .map(|index| Arc::new(Column::new(schema.field(*index).name(), *index)) as _);
        let partitioning = Partitioning::Hash(hashed.collect(), partitions);
        let buckets = u32::try_from(partitions).unwrap_or(u32::MAX);
        let key = KeySpec::hash(columns, buckets);
        let exchange = Exchange {
            key,
            hidden_columns,
            partitions,
            limit: None,
            broadcast: false,
        };
        self.exchange(input, exchange, partitioning, None)
    }

    fn mix(&mut self, input: Arc<dyn ExecutionPlan>, fetch: Option<usize>) -> Result<Arc<dyn ExecutionPlan>> {
        if input.output_partitioning().partition_count() == 1 {
            return Ok(limited(input, fetch));
        }
        let input = match fetch {
            Some(fetch) => Arc::new(LocalLimitExec::new(input, fetch)),
            None => input,
        };
        let exchange = Exchange {
            key: KeySpec::mix(),
            hidden_columns: 0,
            partitions: 1,
            limit: fetch,
            broadcast: false,
        };
        let reader = self.exchange(input, exchange, Partitioning::UnknownPartitioning(1), None)?;
        Ok(limited(reader, fetch))
    }

    fn sorted(
        &mut self,
        input: Arc<dyn ExecutionPlan>,
        order: LexOrdering,
        fetch: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let exprs: Vec<Arc<dyn PhysicalExpr>> = order.iter().map(|sort| sort.expr.clone()).collect();
        let (input, columns, hidden_columns) = with_columns(input, &exprs)?;
        let schema = input.schema();
        let fields = key_fields(&order, &columns);
        let sorted = columns.iter().zip(order.iter()).map(|(index, sort)| {
            PhysicalSortExpr::new(Arc::new(Column::new(schema.field(*index).name(), *index)), sort.options)
        });
        let order = LexOrdering::new(sorted.collect::<Vec<_>>());
        let exchange = Exchange {
            key: KeySpec::sorted(fields),
            hidden_columns,
            partitions: 1,
            limit: fetch,
            broadcast: false,
        };
        let reader = self.exchange(input, exchange, Partitioning::UnknownPartitioning(1), order)?;
        Ok(limited(reader, fetch))
    }

    /// Lets the exchange below sort its partitions, where the sort is by plain columns and nothing but the exchange is below.
    fn sort_inside_hash(
        &mut self,
        input: &Arc<dyn ExecutionPlan>,
        order: &LexOrdering,
    ) -> Option<Arc<dyn ExecutionPlan>> {
        let reader = downcast::<StageInputExec>(input)?;
        let stage = self.stages.get_mut(reader.stage as usize)?;
        let exchange = stage.exchange.as_mut()?;
        if exchange.key.hash.is_none() || !exchange.key.columns.is_empty() {
            return None;
        }
        let columns: Option<Vec<usize>> = order
            .iter()
            .map(|sort| {
                (sort.expr.as_ref() as &dyn std::any::Any)
                    .downcast_ref::<Column>()
                    .map(Column::index)
            })
            .collect();
        exchange.key.columns = key_fields(order, &columns?);
        let partitioning = input.output_partitioning().clone();
        Some(Arc::new(StageInputExec::new(
            reader.stage,
            input.schema(),
            partitioning,
            Some(order.clone()),
        )))
    }

    fn join(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        join_type: JoinType,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let right = self.fragment(right)?;
        let left = match downcast::<CoalescePartitionsExec>(&left) {
            Some(coalesce) if coalesce.fetch().is_none() => self.fragment(coalesce.input().clone())?,
            _ => self.fragment(left)?,
        };
        let right = if emits_unmatched_left(join_type) {
            self.mix(right, None)?
        } else {
            right
        };
        let exchange = Exchange {
            key: KeySpec::mix(),
            hidden_columns: 0,
            partitions: 1,
            limit: None,
            broadcast: true,
        };
        let left = self.exchange(left, exchange, Partitioning::UnknownPartitioning(1), None)?;
        replace_children(plan, vec![left, right])
    }
}

/// Tells whether a join yields rows of its collected side on their own account, which only one task can know.
fn emits_unmatched_left(join_type: JoinType) -> bool {
    !matches!(
        join_type,
        JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
    )
}

/// Sorts rows again whose order no longer shows: exchanged keys that are computed, or dictionaries, come back as new columns.
fn ordered(input: Arc<dyn ExecutionPlan>, order: Option<OrderingRequirements>) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(required @ OrderingRequirements::Hard(_)) = order else {
        return Ok(input);
    };
    let required = required.into_single();
    if input
        .equivalence_properties()
        .ordering_satisfy_requirement(required.clone())?
    {
        return Ok(input);
    }
    let sort = SortExec::new(LexOrdering::from(required), input).with_preserve_partitioning(true);
    Ok(Arc::new(sort))
}

fn limited(input: Arc<dyn ExecutionPlan>, fetch: Option<usize>) -> Arc<dyn ExecutionPlan> {
    match fetch {
        Some(fetch) => Arc::new(GlobalLimitExec::new(input, 0, Some(fetch))),
        None => input,
    }
}

fn key_fields(order: &LexOrdering, columns: &[usize]) -> Vec<KeyField> {
    let field = |(index, sort): (&usize, &PhysicalSortExpr)| KeyField {
        index: *index,
        descending: sort.options.descending,
        nulls_first: sort.options.nulls_first,
    };
    columns.iter().zip(order.iter()).map(field).collect()
}

/// Makes every expression a column of the plan: computed ones are added behind the others. Gives how many were added.
fn with_columns(
    input: Arc<dyn ExecutionPlan>,
    exprs: &[Arc<dyn PhysicalExpr>],
) -> Result<(Arc<dyn ExecutionPlan>, Vec<usize>, usize)> {
    let schema = input.schema();
    let width = schema.fields().len();
    let mut indexes = Vec::with_capacity(exprs.len());
    let mut added: Vec<ProjectionExpr> = Vec::new();
    for expr in exprs {
        match (expr.as_ref() as &dyn std::any::Any).downcast_ref::<Column>() {
            Some(column) => indexes.push(column.index()),
            None => {
                indexes.push(width + added.len());
                added.push(ProjectionExpr {
                    expr: expr.clone(),
                    alias: format!("__key{}", added.len()),
                });
            }
        }
    }
    if added.is_empty() {
        return Ok((input, indexes, 0));
    }
    let hidden = added.len();
    let columns = schema.fields().iter().enumerate().map(|(index, field)| ProjectionExpr {
        expr: Arc::new(Column::new(field.name(), index)),
        alias: field.name().clone(),
    });
    let exprs: Vec<ProjectionExpr> = columns.chain(added).collect();
    Ok((Arc::new(ProjectionExec::try_new(exprs, input)?), indexes, hidden))
}

/// Gives the staged rows the planned columns back: without those that were added for the key, with their planned types.
fn restore(
    reader: Arc<dyn ExecutionPlan>,
    planned: &SchemaRef,
    staged: &SchemaRef,
    hidden: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    if hidden == 0 && planned == staged {
        return Ok(reader);
    }
    let visible = planned.fields().len() - hidden;
    let exprs = planned.fields().iter().zip(staged.fields()).enumerate().take(visible);
    let exprs = exprs.map(|(index, (planned, staged))| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(staged.name(), index));
        let expr = if planned.data_type() == staged.data_type() {
            column
        } else {
            Arc::new(CastExpr::new(column, planned.data_type().clone(), None))
        };
        ProjectionExpr {
            expr,
            alias: planned.name().clone(),
        }
    });
    Ok(Arc::new(ProjectionExec::try_new(exprs.collect::<Vec<_>>(), reader)?))
}

/// Lets only leaves pass that can be cut into tasks: any other would yield all of its rows in every task.
fn check_leaf(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let memory = downcast::<DataSourceExec>(&plan)
        .is_some_and(|source| source.data_source().as_ref().is::<MemorySourceConfig>());
    let known = memory
        || downcast::<ExternScanExec>(&plan).is_some()
        || downcast::<SegmentScanExec>(&plan).is_some()
        || downcast::<EmptyExec>(&plan).is_some()
        || downcast::<PlaceholderRowExec>(&plan).is_some();
    if !known {
        return not_impl_err!("reading from {} inside a task", plan.name());
    }
    if plan.output_partitioning().partition_count() == 0 {
        return internal_err!("{} has no partition", plan.name());
    }
    Ok(plan)
}
