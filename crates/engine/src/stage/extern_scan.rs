//! External data as a table: [`ExternTable`] for the planner, [`ExternScanExec`] as the leaf that reads splits.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{
    ColumnStatistics, DataFusionError, Result, Statistics, internal_datafusion_err, internal_err,
};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use henge_input::{
    ExternSpec, InputSource, InputSplit, ParseIssue, ReadObserver, ReadOptions, SplitLimits, read_split,
};
use parking_lot::Mutex;

use crate::fault::Fault;
use crate::limits;
use crate::stage::scope::{InputCounters, TaskScope};

/// How external data is shared out to tasks; a config extension of the session that plans.
#[derive(Debug, Clone)]
pub struct ExternLimits {
    /// Tasks that run at once.
    pub slots: usize,
    /// Files that one worker may read (`maxInputFilesPerWorker`).
    pub files_per_worker: Option<u64>,
    /// Workers that the query may use.
    pub workers: u64,
}

/// The table of `TABLE(EXTERN(…))`.
#[derive(Debug)]
pub struct ExternTable {
    spec: Arc<ExternSpec>,
    schema: SchemaRef,
}

impl ExternTable {
    /// Makes the table. Nothing is read.
    pub fn new(spec: ExternSpec) -> Self {
        Self {
            schema: spec.arrow_schema(),
            spec: Arc::new(spec),
        }
    }

    /// Gives source, format and columns.
    pub fn spec(&self) -> &Arc<ExternSpec> {
        &self.spec
    }
}

#[async_trait]
impl TableProvider for ExternTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        fetch: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let mut split_limits = SplitLimits {
            split_bytes: limits::TASK_INPUT_BYTES_TARGET,
            ..SplitLimits::default()
        };
        if let Some(limits) = state.config().get_extension::<ExternLimits>() {
            split_limits.parallelism = limits.slots * 2;
            split_limits.workers = limits.workers;
            if let Some(files) = limits.files_per_worker {
                split_limits.max_files_per_worker = files;
            }
        }
        let spec = self.spec.clone();
        // Lists folders and asks servers.
        let splits = tokio::task::spawn_blocking(move || spec.splits(&split_limits))
            .await
            .map_err(|error| DataFusionError::External(Box::new(error)))?
            .map_err(Fault::from)?;
        Ok(Arc::new(ExternScanExec::new(
            self.spec.clone(),
            projection,
            splits,
            fetch,
        )))
    }
}

/// Reads splits of external data; one split a partition.
#[derive(Debug, Clone)]
pub struct ExternScanExec {
    spec: Arc<ExternSpec>,
    projection: Vec<usize>,
    splits: Vec<Vec<InputSplit>>,
    fetch: Option<usize>,
    input_number: usize,
    properties: Arc<PlanProperties>,
}

impl ExternScanExec {
    fn new(spec: Arc<ExternSpec>, projection: Vec<usize>, splits: Vec<InputSplit>, fetch: Option<usize>) -> Self {
        let mut splits: Vec<Vec<InputSplit>> = splits.into_iter().map(|split| vec![split]).collect();
        if splits.is_empty() {
            splits.push(Vec::new());
        }
        let schema = spec.read_schema(&ReadOptions::projected(projection.clone()));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(splits.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            spec,
            projection,
            splits,
            fetch,
            input_number: 0,
            properties: Arc::new(properties),
        }
    }

    /// Gives source, format and columns.
    pub fn spec(&self) -> &Arc<ExternSpec> {
        &self.spec
    }

    /// Gives what each partition reads.
    pub fn splits(&self) -> &[Vec<InputSplit>] {
        &self.splits
    }

    /// Gives the same leaf for one task, with as many partitions.
    pub fn bound(&self, input_number: usize, splits: Vec<Vec<InputSplit>>) -> Self {
        Self {
            input_number,
            splits,
            ..self.clone()
        }
    }
}

impl DisplayAs for ExternScanExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<&str> = self
            .projection
            .iter()
            .map(|index| self.spec.columns[*index].name.as_str())
            .collect();
        write!(
            f,
            "ExternScanExec: splits={}, columns=[{}]",
            self.splits.len(),
            names.join(", ")
        )
    }
}

impl ExecutionPlan for ExternScanExec {
    fn name(&self) -> &str {
        "ExternScanExec"
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
            internal_err!("an external scan has no children")
        }
    }

    /// Knows the bytes of the files, where the files have sizes, but no rows: enough to see that a side of a join is small.
    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let splits: Vec<&InputSplit> = match args.partition() {
            Some(partition) => self.splits.get(partition).into_iter().flatten().collect(),
            None => self.splits.iter().flatten().collect(),
        };
        let bytes: u64 = splits.iter().map(|split| split.weight_bytes).sum();
        let total_byte_size = if bytes > 0 || splits.is_empty() {
            Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX))
        } else {
            Precision::Absent
        };
        let columns = self.projection.len();
        Ok(Arc::new(Statistics {
            num_rows: Precision::Absent,
            total_byte_size,
            column_statistics: vec![ColumnStatistics::new_unknown(); columns],
        }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let splits = self
            .splits
            .get(partition)
            .ok_or_else(|| internal_datafusion_err!("an external scan has no partition {partition}"))?
            .clone();
        let scope = TaskScope::of(&context);
        let inline = matches!(self.spec.source, InputSource::Inline { .. });
        let observer = Arc::new(Observer {
            input: scope.as_ref().map(|scope| scope.counters.input(self.input_number)),
            scope,
            inline,
            fault: Mutex::new(None),
        });
        if let Some(input) = &observer.input {
            input.set_total_files(splits.iter().map(InputSplit::files).sum());
        }
        let mut options = ReadOptions::projected(self.projection.clone());
        options.batch_rows = context.session_config().batch_size();
        let (spec, fetch) = (self.spec.clone(), self.fetch);
        let mut builder = RecordBatchReceiverStream::builder(self.schema(), limits::READ_AHEAD_BATCHES);
        let out = builder.tx();
        builder.spawn_blocking(move || {
            let mut left = fetch.unwrap_or(usize::MAX);
            for split in &splits {
                let reader = read_split(&spec, split, &options, observer.clone()).map_err(Fault::from)?;
                for batch in reader {
                    let batch: RecordBatch = match batch {
                        Ok(batch) => batch,
                        // The observer knows better what a bad row means to this query.
                        Err(error) => {
                            let judged = observer.fault.lock().take();
                            return Err(judged.unwrap_or_else(|| Fault::from(error)).into());
                        }
                    };
                    if let Some(scope) = &observer.scope {
                        scope.check_bad_rows()?;
                    }
                    let batch = if batch.num_rows() > left {
                        batch.slice(0, left)
                    } else {
                        batch
                    };
                    left -= batch.num_rows();
                    if let (Some(input), false) = (&observer.input, inline) {
                        input.batch(batch.num_rows());
                    }
                    if out.blocking_send(Ok(batch)).is_err() || left == 0 {
                        return Ok(());
                    }
                }
            }
            if let Some(scope) = &observer.scope {
                scope.check_bad_rows()?;
            }
            Ok(())
        });
        Ok(builder.build())
    }
}

/// Counts for the task, and judges bad rows.
struct Observer {
    scope: Option<Arc<TaskScope>>,
    input: Option<Arc<InputCounters>>,
    inline: bool,
    fault: Mutex<Option<Fault>>,
}

impl ReadObserver for Observer {
    fn bytes(&self, n: u64) {
        if let (Some(input), false) = (&self.input, self.inline) {
            input.bytes(n);
        }
    }

    fn rows(&self, _n: u64) {}

    fn file_done(&self) {
        // Druid cannot count an inline source.
        if let (Some(input), false) = (&self.input, self.inline) {
            input.file_done();
        }
    }

    fn bad_row(&self, issue: ParseIssue) -> ControlFlow<()> {
        let Some(scope) = &self.scope else {
            return ControlFlow::Break(());
        };
        match scope.bad_row(issue.to_string()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                *self.fault.lock() = Some(fault);
                ControlFlow::Break(())
            }
        }
    }
}
