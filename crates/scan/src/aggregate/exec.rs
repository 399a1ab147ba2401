//! [`SegmentAggregateExec`]: a whole aggregation over segments as one operator.
//!
//! 1. Every slice is filtered and its key columns are looked at, one slice a thread at a time.
//! 2. The domains of the keys are united; if they are too large, or the groups later do not fit, the plan that was replaced runs instead.
//! 3. Threads take parts of the selected rows and accumulate into tables of their own.
//! 4. The tables are merged; codes become keys again, accumulators become values.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    SendableRecordBatchStream,
};
use futures::stream::{self, TryStreamExt};

use super::dictionary::MergedDictionary;
use super::job::{Dictionaries, Job};
use super::plan::{Aggregation, Key};
use crate::filter::Filter;
use crate::scan::SegmentScanExec;
use crate::virtual_column::{VirtualColumn, VirtualColumnsOfScans};

/// Aggregates slices of segments on dictionary ids and plain columns.
#[derive(Debug)]
pub struct SegmentAggregateExec {
    aggregation: Arc<Aggregation>,
    scan: SegmentScanExec,
    filter: Arc<Filter>,
    /// What was replaced; runs where the domains turn out to be too large.
    original: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SegmentAggregateExec {
    pub(crate) fn new(
        aggregation: Aggregation,
        scan: SegmentScanExec,
        filter: Filter,
        original: Arc<dyn ExecutionPlan>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(original.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self {
            aggregation: Arc::new(aggregation),
            scan,
            filter: Arc::new(filter),
            original,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// Takes hold of the dictionaries of the keys: ids of one execution are all of the same dictionary, even if the catalog starts a
    /// new one meanwhile.
    fn dictionaries(&self) -> Dictionaries {
        let columns = self.aggregation.all_keys().filter_map(|key| match key {
            Key::Text { column } => Some(*column),
            _ => None,
        });
        let columns: HashMap<_, _> = columns
            .map(|column| {
                let name = self.scan.table_schema().field(column).name();
                (column, self.scan.catalog().dictionary(self.scan.datasource(), name))
            })
            .collect();
        // Those of virtual columns live as long as the execution.
        let mut virtual_columns: Vec<(Arc<VirtualColumn>, Arc<MergedDictionary>)> = Vec::new();
        for key in self.aggregation.all_keys() {
            if let Key::Virtual { column } = key
                && !virtual_columns.iter().any(|(other, _)| other == column)
            {
                virtual_columns.push((column.clone(), Arc::default()));
            }
        }
        Dictionaries {
            columns,
            virtual_columns,
        }
    }
}

impl DisplayAs for SegmentAggregateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.aggregation.keys.len();
        let schema = self.original.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(
            f,
            "SegmentAggregateExec: datasource={}, gby=[{}], aggr=[{}]",
            self.scan.datasource(),
            names[..keys].join(", "),
            names[keys..].join(", ")
        )?;
        match self.filter.predicate() {
            Some(filter) => write!(f, ", filter={filter}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for SegmentAggregateExec {
    fn name(&self) -> &str {
        "SegmentAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match self.filter.predicate() {
            Some(predicate) => f(predicate),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(&self.original.schema())))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.original.schema();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let job = Arc::new(Job {
            aggregation: self.aggregation.clone(),
            scan: self.scan.clone(),
            filter: self.filter.clone(),
            schema: schema.clone(),
            context: context.clone(),
            dictionaries: self.dictionaries(),
            cancelled: AtomicBool::new(false),
        });
        let original = self.original.clone();
        let result = async move {
            let guard = CancelOnDrop(job.clone());
            let batch = {
                let _timer = metrics.elapsed_compute().timer();
                job.run().await?
            };
            drop(guard);
            let Some(batch) = batch else {
                tracing::debug!("too many keys or too little memory, running the plan as it was");
                return run_original(original, context);
            };
            metrics.record_output(batch.num_rows());
            let rows = context.session_config().batch_size();
            let batches = (0..batch.num_rows())
                .step_by(rows)
                .map(|at| Ok(batch.slice(at, rows.min(batch.num_rows() - at))))
                .collect::<Vec<_>>();
            let schema = batch.schema();
            Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches))) as SendableRecordBatchStream)
        };
        let stream = stream::once(result).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// Runs the replaced plan, which was not yet given its exchanges.
fn run_original(plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
    let plan = VirtualColumnsOfScans.optimize(plan, context.session_config().options())?;
    let plan = EnsureRequirements::new().optimize(plan, context.session_config().options())?;
    if plan.output_partitioning().partition_count() == 1 {
        return plan.execute(0, context);
    }
    CoalescePartitionsExec::new(plan).execute(0, context)
}

/// Tells threads to stop when nobody waits for them any more.
struct CancelOnDrop(Arc<Job>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }
}
