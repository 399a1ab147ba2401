//! INSERT and REPLACE: stages, segments, one publish.
//!
//! 1. REPLACE takes its locks and waits for them; only then the clock starts.
//! 2. The SELECT's stages run; the last one stages its rows by time chunk and CLUSTERED BY.
//! 3. The controller cuts them at about `rowsPerSegment` rows, and gives every range a place: under the locks of a REPLACE, or by
//!    allocation, which takes the locks of an INSERT.
//! 4. One task a range writes and pushes a segment.
//! 5. All manifests are there: new segments, tombstones and the end of what they replace, in one transaction.
//!
//! Whatever fails after step 3 removes the segments that were pushed. A publish whose outcome is unknown is looked up.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::Schema;
use datafusion::execution::TaskContext;
use fail::fail_point;
use henge_exchange::{CutLimits, CutTarget, KeyRange, KeySpec, RunSet, cut};
use henge_input::ExternType;
use henge_metadata::{DataSegment, LockKind, LockRequest, Publish, PublishKind, TombstoneRequest};
use henge_sql::{Ingest, Overwrite};
use henge_storage::SegmentPath;
use henge_time::Interval;
use serde_json::json;

use crate::controller::live::now_ms;
use crate::controller::settings::TaskSettings;
use crate::controller::{Controller, Ended, Failure, Services};
use crate::convert::CancelReason;
use crate::fault::{Fault, FaultCode};
use crate::ingest::{
    BUCKET_COLUMN, IngestKind, PlanRequest, SegmentManifest, SegmentTask, SegmentWork, allocate_segments, plan_key,
    plan_segments, replace_tasks, segment_report,
};
use crate::report::{KeyColumn, Processor, SegmentLoadStatus, ShuffleSpec, StageDefinition, StageInput, StagePhase};
use crate::runner::AttemptBudget;
use crate::stage::describe::{cluster_by, definitions, signature};
use crate::stage::extern_scan::ExternScanExec;
use crate::stage::graph::{BOOST_COLUMN, Destination, generator};
use crate::stage::{BadRows, LeafBinding, LeafData, StageOutput, StageSpec, StageWork, TaskDescriptor, TaskOutput};

/// Column names that the engine keeps for itself.
const RESERVED_COLUMNS: [&str; 2] = [BOOST_COLUMN, BUCKET_COLUMN];
/// How long files of replaced segments stay for statements that were planned before the publish.
const RETIRED_GRACE: Duration = Duration::from_secs(2);

impl Controller {
    pub(super) async fn ingest(
        &self,
        settings: &TaskSettings,
        ingest: Ingest,
        overwrite: Option<Overwrite>,
    ) -> Result<(), Failure> {
        let bounds: Option<Vec<Interval>> = overwrite.as_ref().map(|overwrite| match overwrite {
            Overwrite::All => vec![Interval::ETERNITY],
            Overwrite::Intervals(intervals) => intervals.clone(),
        });
        if let Some(bounds) = &bounds {
            self.lock(&ingest.target, bounds.clone(), settings.concurrent_locks)
                .await?;
        }
        self.live.start();
        let work = SegmentWork::new(&ingest, &self.planned.columns)
            .with_context(&self.planned.context)?
            .with_array_mode(&self.planned.context)?
            .with_catalog(&self.services.metadata, &ingest.granularity)?;
        let work = Arc::new(work);
        let (mut stages, context) = self.plan(settings).await?;
        let last = stages
            .last_mut()
            .ok_or_else(|| Fault::unknown("the query has no stage"))?;
        let (last_plan, key) = plan_key(last.plan.clone(), &ingest, &self.planned.columns)?;
        last.plan = last_plan;
        let (last_number, last_schema) = (last.number, last.plan.schema());
        check_key_columns(settings, key.columns.len() + 1, last_number)?;
        let destination = Destination::Segments {
            work: &work,
            bucketed: key.bucket_by_count > 0,
        };
        self.describe(settings, &stages, destination, || {
            let mut described = definitions(&stages, &self.planned, &self.task_id, settings.workers);
            if let Some(last) = described.last_mut() {
                cut_into_segments(last, &key, &last_schema, settings.rows_per_segment);
            }
            described.push(self.generator_definition(settings, last_number, &work));
            described
        })?;
        let attempts = AttemptBudget::of(&self.task_id);
        let end = self.run_stages(settings, &stages, &context, &key, &attempts).await?;
        if end.output.rows() == 0 && settings.fail_on_empty_insert {
            self.live.partitions(last_number, 0);
            self.live.shuffled(last_number, Vec::new());
            return Err(Fault::new(
                FaultCode::InsertCannotBeEmpty,
                format!(
                    "No rows to insert for dataSource[{}]. Set failOnEmptyInsert : false in the query context to allow empty \
                     inserts.",
                    ingest.target
                ),
            )
            .with("dataSource", ingest.target.clone())
            .into());
        }
        let tasks = self.place_segments(settings, &ingest, &overwrite, &work, &end).await?;
        let pushed = self
            .write_and_publish(settings, &ingest, bounds, &work, &tasks, end, &context, &attempts)
            .await;
        if pushed.is_err() {
            self.remove_pushed(&work.datasource, &tasks).await;
        }
        pushed
    }

    /// Takes the locks of a REPLACE; until then the task waits.
    async fn lock(&self, datasource: &str, intervals: Vec<Interval>, concurrent: bool) -> Result<(), Failure> {
        let request = LockRequest {
            task_id: self.task_id.clone(),
            group_id: self.group_id.clone(),
            datasource: datasource.to_string(),
            intervals,
            kind: if concurrent {
                LockKind::Replace
            } else {
                LockKind::Exclusive
            },
            priority: LockRequest::SQL_PRIORITY,
        };
        tokio::select! {
            biased;
            () = self.cancel.token().cancelled() => Err(Fault::canceled(CancelReason::Unknown).into()),
            locks = self.services.metadata.lock_all_or_wait(request) => {
                locks?;
                Ok(())
            }
        }
    }

    /// Cuts the rows of the last stage and gives every range its place among the segments.
    async fn place_segments(
        &self,
        settings: &TaskSettings,
        ingest: &Ingest,
        overwrite: &Option<Overwrite>,
        work: &Arc<SegmentWork>,
        end: &Ended,
    ) -> Result<Vec<SegmentTask>, Failure> {
        let stage = end.output.stage;
        self.live.phase(stage, StagePhase::MergingStatistics);
        let (output, target) = (end.output.clone(), CutTarget::TargetRows(settings.rows_per_segment));
        let cut_limits = CutLimits {
            partitions: settings.max_partitions,
            ..CutLimits::default()
        };
        let ranges = tokio::task::spawn_blocking(move || {
            let sets: Vec<&RunSet> = output.sets.iter().collect();
            cut(&output.key, &sets, target, cut_limits)
        });
        let ranges: Vec<KeyRange> = ranges
            .await
            .map_err(|panic| Fault::unknown(format!("cutting the key panicked: {panic}")))??;
        self.live.partitions(stage, ranges.len());
        fail_point!("ingest-before-plan", |_| Err(Fault::unknown(
            "failure injected at [ingest-before-plan]"
        )
        .into()));
        let kind = match overwrite {
            None => IngestKind::Insert,
            Some(Overwrite::All) => IngestKind::Replace { bounds: None },
            Some(Overwrite::Intervals(bounds)) => IngestKind::Replace { bounds: Some(bounds) },
        };
        let request = PlanRequest {
            ingest,
            kind,
            work,
            schema: &end.output.schema,
            key: &end.output.key,
            sets: &end.output.sets,
            ranges: &ranges,
            max_num_segments: settings.max_num_segments,
        };
        let has_rows = end.output.rows() > 0;
        let say_which = || {
            self.live
                .update(|report| report.segment_report = Some(segment_report(&request)));
        };
        // A REPLACE chooses shard specs before it looks at time chunks, an INSERT leaves them to allocation.
        if has_rows && kind != IngestKind::Insert {
            say_which();
        }
        let plan = plan_segments(&request)?;
        if has_rows && kind == IngestKind::Insert {
            say_which();
        }
        self.live.phase(stage, StagePhase::PostReading);
        self.live
            .shuffled(stage, ranges.iter().map(|range| range.estimated_rows).collect());
        let metadata = &self.services.metadata;
        let tasks = match overwrite {
            Some(_) => replace_tasks(plan, &metadata.locks_of(&self.task_id))?,
            None => {
                let kind = if settings.concurrent_locks {
                    LockKind::Append
                } else {
                    LockKind::Shared
                };
                let allocate = allocate_segments(metadata, plan, ingest, &self.task_id, &self.group_id, kind);
                tokio::select! {
                    biased;
                    () = self.cancel.token().cancelled() => return Err(Fault::canceled(CancelReason::Unknown).into()),
                    tasks = allocate => tasks?,
                }
            }
        };
        self.live.phase(stage, StagePhase::ResultsReady);
        Ok(tasks)
    }

    /// Runs the segment stage and publishes what it made.
    #[expect(clippy::too_many_arguments, reason = "the parts of one statement, each used once")]
    async fn write_and_publish(
        &self,
        settings: &TaskSettings,
        ingest: &Ingest,
        bounds: Option<Vec<Interval>>,
        work: &Arc<SegmentWork>,
        tasks: &[SegmentTask],
        end: Ended,
        context: &Arc<TaskContext>,
        attempts: &AttemptBudget,
    ) -> Result<(), Failure> {
        let spec = self.segment_stage(settings, work, tasks, end.output.clone(), context);
        let number = spec.number;
        let manifests = self
            .run_stage(settings, spec, attempts, self.cancel.token().child_token())
            .await?;
        self.live.partitions(number, manifests.len());
        self.live.phase(number, StagePhase::ResultsReady);
        self.live.phase(end.output.stage, StagePhase::Finished);
        let mut segments: Vec<SegmentManifest> = Vec::with_capacity(manifests.len());
        for manifest in manifests {
            match manifest.output {
                TaskOutput::Segment(Some(segment)) => segments.push(*segment),
                // A hole among core partitions would hide the whole time chunk.
                TaskOutput::Segment(None) if bounds.is_some() => {
                    return Err(Fault::unknown(format!(
                        "segment [{}] was planned for rows that are not there",
                        manifest.partition
                    ))
                    .into());
                }
                TaskOutput::Segment(None) | TaskOutput::Runs(_) => {}
            }
        }
        // The rows are in segments: their runs are not needed any more.
        drop(end);
        let staged_rows: u64 = segments.iter().map(|segment| segment.rows).sum();
        fail_point!("ingest-before-publish", |_| Err(Fault::unknown(
            "failure injected at [ingest-before-publish]"
        )
        .into()));
        if let Some(fault) = self.cancel.fault() {
            return Err(fault.into());
        }
        let published = self
            .publish(
                ingest,
                bounds,
                segments.into_iter().map(|segment| segment.segment).collect(),
            )
            .await?;
        self.live.phase(number, StagePhase::Finished);
        self.live.update(|report| {
            report.rows_published = Some(staged_rows);
            report.segments_published = Some(published);
            if settings.wait_until_segments_load && published > 0 {
                report.segment_load = Some(SegmentLoadStatus {
                    state: "SUCCESS".to_string(),
                    start_time_ms: now_ms(),
                    duration_ms: 0,
                    total_segments: published,
                });
            }
        });
        Ok(())
    }

    fn segment_stage(
        &self,
        settings: &TaskSettings,
        work: &Arc<SegmentWork>,
        tasks: &[SegmentTask],
        input: Arc<StageOutput>,
        context: &Arc<TaskContext>,
    ) -> StageSpec {
        let descriptor = |(partition, task): (usize, &SegmentTask)| TaskDescriptor {
            partition,
            leaves: vec![LeafBinding {
                leaf: 0,
                partition,
                data: LeafData::Stage {
                    stage: input.stage,
                    range: Some(task.range.clone()),
                },
            }],
            segment: Some(task.clone()),
        };
        StageSpec {
            query_id: self.run_prefix.clone(),
            number: input.stage + 1,
            work: StageWork::Segments(work.clone()),
            tasks: tasks.iter().enumerate().map(descriptor).collect(),
            inputs: BTreeMap::from([(input.stage, input)]),
            context: context.clone(),
            bad_rows: BadRows::Fail,
            limits: settings.row_limits,
            row_limit: None,
        }
    }

    /// Publishes in one transaction and gives how many segments there are, tombstones included.
    async fn publish(
        &self,
        ingest: &Ingest,
        bounds: Option<Vec<Interval>>,
        mut segments: Vec<DataSegment>,
    ) -> Result<u64, Failure> {
        let metadata = &self.services.metadata;
        let mut mark_unused = Vec::new();
        let kind = if bounds.is_some() {
            PublishKind::Replace
        } else {
            PublishKind::Append
        };
        if let Some(replaced) = bounds {
            let tombstones = metadata.tombstones(&TombstoneRequest {
                task_id: self.task_id.clone(),
                datasource: ingest.target.clone(),
                replaced,
                published: segments.iter().map(|segment| segment.interval).collect(),
                granularity: ingest.granularity,
            })?;
            if segments.is_empty() && tombstones.segments.is_empty() {
                mark_unused = tombstones.dropped;
            }
            segments.extend(tombstones.segments);
        }
        if segments.is_empty() && mark_unused.is_empty() {
            return Ok(0);
        }
        let before = published_ids(&self.services, &ingest.target);
        let ids: Vec<String> = segments.iter().map(|segment| segment.id().to_string()).collect();
        let result = metadata
            .publish(Publish {
                task_id: self.task_id.clone(),
                datasource: ingest.target.clone(),
                segments,
                mark_unused,
                kind,
                retire_overshadowed: true,
            })
            .await;
        let after = published_ids(&self.services, &ingest.target);
        if let Err(error) = result {
            // An error may come after the commit; what is visible is published, and then the statement has succeeded.
            if ids.is_empty() || !ids.iter().all(|id| after.contains(id)) {
                return Err(error.into());
            }
            tracing::warn!(task = self.task_id, %error, "the publish reported an error after it was committed");
        }
        let retired: HashSet<String> = before.difference(&after).cloned().collect();
        remove_retired(&self.services, ingest.target.clone(), retired);
        Ok(ids.len() as u64)
    }

    /// Removes the segments that tasks may have pushed, at the places that they were given.
    async fn remove_pushed(&self, datasource: &str, tasks: &[SegmentTask]) {
        let published = published_ids(&self.services, datasource);
        for task in tasks {
            let path = SegmentPath {
                datasource: datasource.to_string(),
                interval: task.interval,
                version: task.version.clone(),
                partition: task.shard_spec.partition_num(),
                unique: None,
            };
            let id = henge_metadata::SegmentId {
                datasource: datasource.to_string(),
                interval: task.interval,
                version: task.version.clone(),
                partition: task.shard_spec.partition_num(),
            };
            if published.contains(&id.to_string()) {
                continue;
            }
            if let Err(error) = self.services.deep_storage.withdraw(&path).await {
                tracing::warn!(segment = %id, %error, "cannot remove a segment that was not published");
            }
        }
    }

    fn generator_definition(&self, settings: &TaskSettings, input: u32, work: &SegmentWork) -> StageDefinition {
        let mappings = self
            .planned
            .columns
            .iter()
            .map(|column| json!({"queryColumn": column.name, "outputColumn": column.name}));
        StageDefinition {
            number: input + 1,
            id: format!("{}_{}", self.task_id, input + 1),
            inputs: vec![StageInput::Stage(input)],
            broadcast: Vec::new(),
            processor: Processor::SegmentGenerator,
            processor_detail: generator(work, &serde_json::Map::new(), &mappings.collect(), None, settings),
            signature: Vec::new(),
            shuffle: None,
            max_worker_count: settings.workers,
            shuffle_check_multiple_values: false,
        }
    }
}

/// Says of the last stage of a plan that its rows are cut into segments.
fn cut_into_segments(definition: &mut StageDefinition, key: &KeySpec, schema: &Schema, rows_per_segment: u64) {
    let mut cluster_by = cluster_by(key, schema);
    cluster_by.columns.push(KeyColumn {
        name: BOOST_COLUMN.to_string(),
        descending: false,
    });
    definition.signature = signature(schema, Some(key));
    let boost = (BOOST_COLUMN.to_string(), "LONG".to_string());
    definition.signature.insert(key.columns.len(), boost);
    definition.shuffle = Some(ShuffleSpec::TargetSize {
        key: cluster_by,
        target_rows: rows_per_segment,
        aggregate: false,
    });
    definition.shuffle_check_multiple_values = true;
}

/// Refuses a key of too many columns; the engine's own count too.
fn check_key_columns(settings: &TaskSettings, columns: usize, stage: u32) -> Result<(), Fault> {
    let max = settings.max_clustered_by_columns;
    if columns <= max {
        return Ok(());
    }
    Err(Fault::new(
        FaultCode::TooManyClusteredByColumns,
        format!("Too many cluster by columns present in stage [{stage}] (requested = {columns}, max = {max})"),
    )
    .with("numColumns", columns as u64)
    .with("maxColumns", max as u64)
    .with("stage", stage))
}

/// Refuses external columns with names that the engine keeps for itself.
pub(super) fn check_column_names(scan: &ExternScanExec) -> Result<(), Fault> {
    let reserved = scan
        .spec()
        .columns
        .iter()
        .find(|column| RESERVED_COLUMNS.contains(&column.name.as_str()));
    match reserved {
        None => Ok(()),
        Some(column) => {
            let name = &column.name;
            Err(Fault::new(
                FaultCode::ColumnNameRestricted,
                format!(
                    "[{name}] column name is reserved for MSQ's internal purpose. Please retry the query after renaming the \
                     column."
                ),
            )
            .with("columnName", name.clone()))
        }
    }
}

/// Refuses external columns of types that nothing here can hold, as Druid does when it starts to read.
pub(super) fn check_column_types(scan: &ExternScanExec) -> Result<(), Fault> {
    for column in &scan.spec().columns {
        let what = match &column.column_type {
            ExternType::Complex(name) if !henge_sql::is_complex_type(name) => {
                format!("Can't find DimensionHandlerProvider for typeName [{name}]")
            }
            ExternType::Array(element) if matches!(**element, ExternType::Complex(_)) => {
                let ExternType::Complex(name) = &**element else {
                    continue;
                };
                format!("Cannot create dimension for type[ARRAY<COMPLEX<{name}>>]")
            }
            _ => continue,
        };
        return Err(Fault::unknown(format!("org.apache.druid.java.util.common.ISE: {what}")));
    }
    Ok(())
}

fn published_ids(services: &Services, datasource: &str) -> HashSet<String> {
    let snapshot = services.metadata.snapshot();
    let published = snapshot
        .datasource(datasource)
        .into_iter()
        .flat_map(|datasource| &datasource.segments);
    published.map(|segment| segment.id.to_string()).collect()
}

/// Removes the files and rows of replaced segments in the background, once no statement can read them any more.
fn remove_retired(services: &Arc<Services>, datasource: String, ids: HashSet<String>) {
    if !ids.is_empty() {
        remove_unused(services, datasource, move |segment| {
            ids.contains(&segment.id().to_string())
        });
    }
}

/// Removes the files and rows of unused segments in the background, once no statement can read them any more.
pub(crate) fn remove_unused(
    services: &Arc<Services>,
    datasource: String,
    select: impl Fn(&DataSegment) -> bool + Send + 'static,
) {
    // Must not keep an engine alive that is closed meanwhile.
    let services = Arc::downgrade(services);
    tokio::spawn(async move {
        let (services, _alone) = loop {
            tokio::time::sleep(RETIRED_GRACE).await;
            let Some(services) = services.upgrade() else { return };
            if let Ok(alone) = services.readers.clone().try_write_owned() {
                break (services, alone);
            }
        };
        let unused = match services.metadata.unused_segments(Some(&datasource), None).await {
            Ok(unused) => unused,
            Err(error) => return tracing::warn!(datasource, %error, "cannot list unused segments"),
        };
        let mut gone = Vec::new();
        for segment in unused {
            let id = segment.segment.id().to_string();
            if segment.files_shared || !select(&segment.segment) {
                continue;
            }
            services.segments.remove(&id);
            if !segment.segment.is_tombstone()
                && let Err(error) = services.deep_storage.kill(&segment.segment.load_spec).await
            {
                tracing::warn!(segment = id, %error, "cannot remove the files of an unused segment");
                continue;
            }
            gone.push(id);
        }
        if let Err(error) = services.metadata.delete_unused(&gone).await {
            tracing::warn!(datasource, %error, "cannot forget unused segments");
        }
    });
}
