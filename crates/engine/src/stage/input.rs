//! [`StageInputExec`]: the leaf that reads a range of an earlier stage's runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use henge_exchange::{KeyRange, MemoryBudget, RangeReader, ReadOptions, RunSet};

use crate::fault::Fault;
use crate::limits;
use crate::memory::PoolBudget;
use crate::stage::StageOutput;
use crate::stage::scope::TaskScope;

/// What one partition reads.
#[derive(Debug, Clone)]
pub struct StageRange {
    /// The earlier stage.
    pub output: Arc<StageOutput>,
    /// The range; everything where there is none.
    pub range: Option<KeyRange>,
}

/// Reads ranges of an earlier stage's runs: merged in key order, or one run after the other.
#[derive(Debug, Clone)]
pub struct StageInputExec {
    /// The earlier stage.
    pub stage: u32,
    /// Number of the leaf in its plan, for the counters.
    pub input_number: usize,
    /// True where the rows of a partition have to come in the order of the key.
    pub ordered: bool,
    /// True where every task reads all of it.
    pub broadcast: bool,
    ranges: BTreeMap<usize, StageRange>,
    properties: Arc<PlanProperties>,
}

impl StageInputExec {
    /// Makes a leaf that is not bound to ranges yet.
    pub fn new(stage: u32, schema: SchemaRef, partitioning: Partitioning, order: Option<LexOrdering>) -> Self {
        let ordered = order.is_some();
        let equivalence = EquivalenceProperties::new_with_orderings(schema, order);
        let properties = PlanProperties::new(
            equivalence,
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            stage,
            input_number: 0,
            ordered,
            broadcast: false,
            ranges: BTreeMap::new(),
            properties: Arc::new(properties),
        }
    }

    /// Makes it an input that every task reads whole.
    #[must_use]
    pub fn broadcast(mut self) -> Self {
        self.broadcast = true;
        self
    }

    /// Gives the same leaf for one task: only the partitions that the task executes are bound.
    pub fn bound(&self, input_number: usize, ranges: BTreeMap<usize, StageRange>) -> Self {
        Self {
            input_number,
            ranges,
            ..self.clone()
        }
    }
}

impl DisplayAs for StageInputExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let kind = if self.broadcast { ", broadcast" } else { "" };
        write!(
            f,
            "StageInputExec: stage={}, ordered={}{kind}",
            self.stage, self.ordered
        )
    }
}

impl ExecutionPlan for StageInputExec {
    fn name(&self) -> &str {
        "StageInputExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() {
            Ok(self)
        } else {
            internal_err!("a stage input has no children")
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let range = self
            .ranges
            .get(&partition)
            .ok_or_else(|| internal_datafusion_err!("partition {partition} of stage {} is not bound", self.stage))?
            .clone();
        let scope = TaskScope::of(&context).ok_or_else(|| internal_datafusion_err!("a stage input outside a task"))?;
        let budget: Arc<dyn MemoryBudget> = PoolBudget::new(context.memory_pool(), "StageInput", false);
        let (ordered, input_number) = (self.ordered, self.input_number);
        let input = scope.counters.input(self.input_number);
        let mut builder = RecordBatchReceiverStream::builder(self.schema(), limits::READ_AHEAD_BATCHES);
        let out = builder.tx();
        builder.spawn_blocking(move || {
            let output = &range.output;
            let sets: Vec<&RunSet> = output.sets.iter().collect();
            let keys = range.range.unwrap_or_else(|| KeyRange::everything(output.rows()));
            let reader = if ordered {
                let options = ReadOptions::new(format!("{}-in{input_number}-{partition}", scope.name));
                let store = scope.store.clone();
                RangeReader::merged(&output.schema, &output.key, &sets, &keys, store, budget, options)
            } else {
                RangeReader::unordered(&output.schema, &output.key, &sets, &keys, scope.store.as_ref())
            };
            let reader = reader.map_err(Fault::from)?;
            for batch in reader {
                let batch: RecordBatch = batch.map_err(Fault::from)?;
                input.batch(batch.num_rows());
                input.bytes(henge_exchange::batch_bytes(&batch) as u64);
                if out.blocking_send(Ok(batch)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }
}
