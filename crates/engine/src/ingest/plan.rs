//! Ranges become segments: time chunks, partition numbers, shard specs, versions (spec `metadata-and-publishing` 9, 11.4, 12.3).

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Int64Type, SchemaRef};
use henge_exchange::{Key, KeyRange, KeySpec, RunSet, decode_bucket, decode_key_strings, staged_schema};
use henge_metadata::{AllocateRequest, Allocation, LockKind, LockRequest, MetadataStore, ShardSpec, TaskLock};
use henge_sql::{Ingest, SqlType};
use henge_time::{Granularity, Interval, format_millis};
use serde_json::Value;

use crate::fault::{Fault, FaultCode};
use crate::ingest::{SegmentTask, SegmentWork};
use crate::report::SegmentReport;

/// Whether segments join what is there, or take its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum IngestKind<'a> {
    /// INSERT.
    Insert,
    /// REPLACE; with OVERWRITE WHERE, inside these intervals only.
    Replace { bounds: Option<&'a [Interval]> },
}

/// What is known when segments are planned.
pub struct PlanRequest<'a> {
    /// The statement.
    pub ingest: &'a Ingest,
    /// What it does to existing data.
    pub kind: IngestKind<'a>,
    /// Layout of the segments.
    pub work: &'a SegmentWork,
    /// Columns of the staged rows.
    pub schema: &'a SchemaRef,
    /// Order of the staged rows.
    pub key: &'a KeySpec,
    /// What the tasks staged.
    pub sets: &'a [RunSet],
    /// How the key was cut.
    pub ranges: &'a [KeyRange],
    /// Segments of one time chunk at most (`maxNumSegments`).
    pub max_num_segments: Option<u64>,
}

/// A segment without a version yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedSegment {
    /// Its rows.
    pub range: KeyRange,
    /// Its time chunk.
    pub interval: Interval,
    /// Its place, for REPLACE; an INSERT gets it by allocation.
    pub shard_spec: ShardSpec,
}

/// The segments of a statement, in the order of their ranges: by time chunk, then by partition number.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentPlan {
    /// The segments; none where there are no rows.
    pub segments: Vec<PlannedSegment>,
    /// Which shard specs were chosen, and why.
    pub report: SegmentReport,
}

/// Tells which shard specs there will be, and why.
pub fn segment_report(request: &PlanRequest<'_>) -> SegmentReport {
    let (dimensions, details) = shard_dimensions(request);
    let shard_spec = if dimensions.is_empty() {
        "NumberedShardSpec"
    } else {
        "DimensionRangeShardSpec"
    };
    SegmentReport {
        shard_spec: shard_spec.to_string(),
        details,
    }
}

/// Plans one segment for each range that has rows.
pub fn plan_segments(request: &PlanRequest<'_>) -> Result<SegmentPlan, Fault> {
    let (dimensions, _) = shard_dimensions(request);
    let computed = request.ingest.computed_keys.iter().flatten();
    let computed: Vec<Value> = computed.map(|key| key.virtual_column.clone()).collect();
    let computed = (!computed.is_empty()).then_some(Value::Array(computed));
    let schema = staged_schema(request.schema);
    let mut segments = Vec::with_capacity(request.ranges.len());
    let filled: Vec<&KeyRange> = request.ranges.iter().filter(|range| range.estimated_rows > 0).collect();
    for chunk_ranges in filled.chunk_by(|a, b| a.bucket == b.bucket) {
        let interval = time_chunk(request, &schema, chunk_ranges[0].bucket.as_ref())?;
        if let IngestKind::Replace { bounds: Some(bounds) } = request.kind
            && !bounds.iter().any(|bound| bound.contains(&interval))
        {
            return Err(Fault::time_out_of_bounds(interval, bounds));
        }
        let count = chunk_ranges.len();
        if let Some(max) = request.max_num_segments.filter(|max| count as u64 > *max) {
            return Err(Fault::too_many_segments(
                interval,
                count,
                max,
                request.ingest.granularity,
            ));
        }
        for (number, range) in chunk_ranges.iter().enumerate() {
            let partition_num = number as u32;
            let shard_spec = if dimensions.is_empty() {
                ShardSpec::Numbered {
                    partition_num,
                    partitions: count as u32,
                }
            } else {
                let bound = |open: bool, key: &Option<Key>| match key {
                    Some(key) if !open => tuple(request.key, &schema, key, dimensions.len()).map(Some),
                    _ => Ok(None),
                };
                ShardSpec::Range {
                    dimensions: dimensions.clone(),
                    virtual_columns: computed.clone(),
                    start: bound(number == 0, &range.start)?,
                    end: bound(number + 1 == count, &range.end)?,
                    partition_num,
                    num_core_partitions: i32::try_from(count).unwrap_or(i32::MAX),
                }
            };
            segments.push(PlannedSegment {
                range: (*range).clone(),
                interval,
                shard_spec,
            });
        }
    }
    Ok(SegmentPlan {
        segments,
        report: segment_report(request),
    })
}

/// Gives the boundary of a range as range shard specs have it: the values of the first clustering columns.
fn tuple(key: &KeySpec, schema: &SchemaRef, boundary: &Key, dimensions: usize) -> Result<Vec<Option<String>>, Fault> {
    let values = decode_key_strings(key, schema, boundary)?;
    Ok(values.into_iter().skip(key.bucket_by_count).take(dimensions).collect())
}

/// Gives the time chunk of a bucket, and fails for rows without a time.
fn time_chunk(request: &PlanRequest<'_>, schema: &SchemaRef, bucket: Option<&Key>) -> Result<Interval, Fault> {
    let Some(bucket) = bucket else {
        return Ok(Interval::ETERNITY);
    };
    let start = decode_bucket(request.key, schema, bucket)?;
    let start = start.first().and_then(|column| column.as_primitive_opt::<Int64Type>());
    let Some(start) = start.filter(|column| column.len() == 1) else {
        return Err(Fault::unknown("the time chunk of the staged rows is no number"));
    };
    if start.is_null(0) {
        return Err(Fault::time_null());
    }
    Ok(request.ingest.granularity.bucket(start.value(0)))
}

/// Chooses the dimensions of range shard specs; none means numbered. Also gives the reason.
fn shard_dimensions(request: &PlanRequest<'_>) -> (Vec<String>, String) {
    let numbered = |reason: &str| (Vec::new(), reason.to_string());
    if request.kind == IngestKind::Insert {
        return numbered("Using NumberedShardSpec to generate segments since the query is inserting rows.");
    }
    let clustered = &request.key.columns[request.key.bucket_by_count.min(request.key.columns.len())..];
    if request.sets.iter().any(|set| set.multi_value.contains(&true)) {
        return numbered("Cannot use 'range' shard specs since CLUSTERED BY contains multi-valued fields.");
    }
    if clustered.is_empty() {
        return numbered("CLUSTERED BY clause is empty.");
    }
    let schema = staged_schema(request.schema);
    let mut dimensions = Vec::new();
    for (at, field) in clustered.iter().enumerate() {
        let used = dimensions.len();
        let using = format!("Using[{used}] CLUSTERED BY columns for 'range' shard specs, since the next column");
        let mut stored = request.work.dimensions.iter();
        let stored = stored.find(|column| column.index == field.index);
        let native_type = match (stored, schema.fields().get(field.index)) {
            (Some(column), _) => column.native_type.clone(),
            (None, Some(field)) => SqlType::from_field(field).native(),
            (None, None) => String::new(),
        };
        if field.descending {
            return (dimensions, format!("{using} has order[DESCENDING]."));
        }
        if native_type != "STRING" {
            let only = "Only string columns are included in 'range' shard specs.";
            return (dimensions, format!("{using} is of type[{native_type}]. {only}"));
        }
        let computed = request.ingest.computed_keys.get(at).and_then(Option::as_ref);
        match (stored, computed) {
            (Some(column), _) => dimensions.push(column.name.clone()),
            (None, Some(computed)) => dimensions.push(computed.name.clone()),
            (None, None) => {
                let details = format!(
                    "Using only[{used}] CLUSTERED BY columns for 'range' shard specs, since the next column was not mapped to an \
                     output column or virtual column."
                );
                return (dimensions, details);
            }
        }
    }
    (
        dimensions,
        "Using 'range' shard specs with all CLUSTERED BY fields.".to_string(),
    )
}

/// Gives the tasks of a REPLACE: each segment has the version of the lock that holds its time chunk.
pub fn replace_tasks(plan: SegmentPlan, locks: &[TaskLock]) -> Result<Vec<SegmentTask>, Fault> {
    let task = |segment: PlannedSegment| {
        let covers = |lock: &&TaskLock| !lock.revoked && lock.interval.contains(&segment.interval);
        let lock = locks.iter().rev().find(covers).ok_or_else(Fault::lock_preempted)?;
        Ok(SegmentTask {
            version: lock.version.clone(),
            range: segment.range,
            interval: segment.interval,
            shard_spec: segment.shard_spec,
        })
    };
    plan.segments.into_iter().map(task).collect()
}

/// Gives the tasks of an INSERT: each segment gets the next place in its time chunk, and the lock that comes with it.
pub async fn allocate_segments(
    metadata: &MetadataStore,
    plan: SegmentPlan,
    ingest: &Ingest,
    task_id: &str,
    group_id: &str,
    kind: LockKind,
) -> Result<Vec<SegmentTask>, Fault> {
    let mut tasks = Vec::with_capacity(plan.segments.len());
    let mut previous: Option<String> = None;
    for segment in plan.segments {
        let request = AllocateRequest {
            task_id: task_id.to_string(),
            group_id: group_id.to_string(),
            datasource: ingest.target.clone(),
            bucket: segment.interval,
            sequence_name: task_id.to_string(),
            previous_segment_id: previous.take(),
            kind,
            priority: LockRequest::SQL_PRIORITY,
        };
        match metadata.allocate_append(request).await? {
            Allocation::Allocated(place) if place.interval == segment.interval => {
                previous = Some(place.id().to_string());
                tasks.push(SegmentTask {
                    range: segment.range,
                    interval: place.interval,
                    version: place.version,
                    shard_spec: place.shard_spec,
                });
            }
            Allocation::Allocated(place) => {
                return Err(Fault::cannot_allocate(
                    &ingest.target,
                    segment.interval,
                    Some(place.interval),
                ));
            }
            Allocation::Refused { allocated_interval } => {
                return Err(Fault::cannot_allocate(
                    &ingest.target,
                    segment.interval,
                    allocated_interval,
                ));
            }
        }
    }
    Ok(tasks)
}

/// Gives the granularity that has exactly this interval as a bucket, as a name for people.
fn granularity_of(interval: &Interval) -> String {
    if *interval == Interval::ETERNITY {
        return "ALL".to_string();
    }
    let named = [
        "SECOND",
        "MINUTE",
        "FIVE_MINUTE",
        "TEN_MINUTE",
        "FIFTEEN_MINUTE",
        "THIRTY_MINUTE",
        "HOUR",
        "SIX_HOUR",
        "EIGHT_HOUR",
        "DAY",
        "WEEK",
        "MONTH",
        "QUARTER",
        "YEAR",
    ];
    let fits = |name: &&str| {
        name.parse::<Granularity>()
            .is_ok_and(|granularity| granularity.bucket(interval.start_ms) == *interval)
    };
    named
        .into_iter()
        .find(fits)
        .map_or_else(|| interval.to_string(), str::to_string)
}

impl Fault {
    /// Makes the fault of a row without a time.
    pub fn time_null() -> Self {
        Fault::new(
            FaultCode::InsertTimeNull,
            "Null timestamp (__time) encountered during INSERT or REPLACE.",
        )
    }

    /// Makes the fault of a time chunk outside of OVERWRITE WHERE.
    pub fn time_out_of_bounds(interval: Interval, bounds: &[Interval]) -> Self {
        let bounds: Vec<String> = bounds.iter().map(Interval::to_string).collect();
        Fault::new(
            FaultCode::InsertTimeOutOfBounds,
            format!(
                "Inserted data contains time chunk[{interval}] outside of bounds specified by OVERWRITE WHERE[[{}]]. If you want \
                 to include this data, expand your OVERWRITE WHERE. If you do not want to include this data, use SELECT ... \
                 WHERE to filter it from your inserted data.",
                bounds.join(", ")
            ),
        )
        .with("interval", interval.to_string())
        .with("intervalBounds", bounds)
    }

    /// Makes the fault of a time chunk that would get too many segments.
    pub fn too_many_segments(interval: Interval, segments: usize, max: u64, granularity: Granularity) -> Self {
        let chunk = format_millis(interval.start_ms);
        Fault::new(
            FaultCode::TooManySegmentsInTimeChunk,
            format!(
                "Too many segments requested to be generated in time chunk[{chunk}] with granularity[{granularity}] (requested = \
                 [{segments}], maximum = [{max}]). Please try breaking up your query or change the maximum using the query \
                 context parameter[maxNumSegments]."
            ),
        )
        .with("timeChunk", chunk)
        .with("numSegments", segments as u64)
        .with("maxNumSegments", max)
        .with("segmentGranularity", granularity.to_string())
    }

    /// Makes the fault of an INSERT that existing data leaves no room for.
    pub fn cannot_allocate(datasource: &str, interval: Interval, allocated: Option<Interval>) -> Self {
        let message = match allocated {
            None => format!(
                "Cannot allocate segment for dataSource [{datasource}], interval [{interval}]. This can happen if the prior \
                 ingestion uses non-extendable shard specs or if the partitioned by granularity is different from the \
                 granularity of the pre-existing segments. Check the granularities of the pre-existing segments or re-run the \
                 ingestion with REPLACE to overwrite over the existing data"
            ),
            Some(got) => format!(
                "Requested segment for dataSource [{datasource}], interval [{interval}], but got [{got}] interval instead. This \
                 happens when an overlapping segment is already present with a coarser granularity for the requested interval. \
                 Either set the partition granularity for the INSERT to [{}] to append to existing data or use REPLACE to \
                 overwrite over the pre-existing segment",
                granularity_of(&got)
            ),
        };
        Fault::new(FaultCode::InsertCannotAllocateSegment, message)
            .with("dataSource", datasource)
            .with("interval", interval.to_string())
            .with("allocatedInterval", allocated.map(|interval| interval.to_string()))
    }
}
