//! A query's report as Druid's `multiStageQuery` JSON (spec `msq-engine` sections 2, 9 to 13): the order of members, and which of
//! them are left out when they say nothing.

use henge_engine::Fault;
use henge_engine::counters::{Channel, ChannelSnapshot, SortProgress, WorkerCounters};
use henge_engine::report::{
    ClusterBy, ErrorReport, OutputChannel, Processor, QueryReport, ReportResults, ReportStatus, SegmentLoadStatus,
    ShuffleSpec, StageDefinition, StageInput, StagePhase, StageReport, WorkerReport,
};
use henge_time::{Interval, format_millis};
use serde_json::{Map, Value, json};

/// Words a whole report, as `GET …/task/{id}/reports` answers it.
pub fn task_reports(report: &QueryReport) -> Value {
    let mut reports = Map::new();
    reports.insert(
        "multiStageQuery".to_string(),
        json!({"type": "multiStageQuery", "taskId": report.task_id, "payload": payload(report)}),
    );
    // A live report has no second part; the stored one always does.
    if report.status != ReportStatus::Running {
        reports.insert(
            "taskContext".to_string(),
            json!({"type": "taskContext", "taskId": report.task_id, "payload": report.task_context}),
        );
    }
    Value::Object(reports)
}

fn payload(report: &QueryReport) -> Value {
    let mut payload = Map::new();
    if let Some(results) = &report.results {
        payload.insert("results".to_string(), results_json(results));
    }
    payload.insert("status".to_string(), status(report));
    if !report.stages.is_empty() {
        payload.insert("stages".to_string(), stages(report));
    }
    payload.insert("counters".to_string(), counters(report));
    Value::Object(payload)
}

fn results_json(results: &ReportResults) -> Value {
    let signature: Vec<Value> = results
        .columns
        .iter()
        .map(|column| json!({"name": column.name, "type": column.sql_type.native()}))
        .collect();
    let types: Vec<&str> = results.columns.iter().map(|column| column.sql_type.name()).collect();
    json!({
        "signature": signature,
        "sqlTypeNames": types,
        "results": results.rows,
        "resultsTruncated": results.truncated,
    })
}

fn status_name(status: ReportStatus) -> &'static str {
    match status {
        ReportStatus::Running => "RUNNING",
        ReportStatus::Success => "SUCCESS",
        ReportStatus::Failed => "FAILED",
    }
}

fn status(report: &QueryReport) -> Value {
    let mut status = Map::new();
    let mut put = |name: &str, value: Value| status.insert(name.to_string(), value);
    put("status", Value::from(status_name(report.status)));
    if let Some(error) = &report.error {
        put("errorReport", error_report(error));
    }
    if !report.warnings.is_empty() {
        put("warnings", warnings(&report.warnings));
    }
    if let Some(start) = report.start_time_ms {
        put("startTime", Value::from(format_millis(start)));
    }
    put("durationMs", Value::from(report.duration_ms));
    put("workers", workers(&report.workers));
    put("pendingTasks", Value::from(report.pending_tasks));
    put("runningTasks", Value::from(report.running_tasks));
    if let Some(load) = &report.segment_load {
        put("segmentLoadWaiterStatus", segment_load(load));
    }
    if let Some(segments) = &report.segment_report {
        put(
            "segmentReport",
            json!({"shardSpec": segments.shard_spec, "details": segments.details}),
        );
    }
    Value::Object(status)
}

/// Words a list of warnings.
pub fn warnings(warnings: &[ErrorReport]) -> Value {
    warnings.iter().map(error_report).collect()
}

fn error_report(error: &ErrorReport) -> Value {
    let mut report = Map::new();
    report.insert("taskId".to_string(), Value::from(error.task_id.as_str()));
    if let Some(host) = &error.host {
        report.insert("host".to_string(), Value::from(host.as_str()));
    }
    if let Some(stage) = error.stage_number {
        report.insert("stageNumber".to_string(), Value::from(stage));
    }
    report.insert("error".to_string(), fault(&error.fault));
    Value::Object(report)
}

/// Words a fault: its code, its fields, its text last.
pub fn fault(fault: &Fault) -> Value {
    let mut members = Map::new();
    members.insert("errorCode".to_string(), Value::from(fault.code.as_str()));
    for (name, value) in &fault.fields {
        members.insert(name.clone(), value.clone());
    }
    if let Some(message) = &fault.message {
        members.shift_remove("errorMessage");
        members.insert("errorMessage".to_string(), Value::from(message.as_str()));
    }
    Value::Object(members)
}

fn workers(workers: &[WorkerReport]) -> Value {
    let mut by_number: Map<String, Value> = Map::new();
    for worker in workers {
        let attempts = by_number
            .entry(worker.number.to_string())
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(attempts) = attempts {
            attempts.push(json!({
                "workerId": worker.worker_id,
                "workerDesc": worker.worker_id,
                "state": status_name(worker.state),
                "durationMs": worker.duration_ms,
                "pendingMs": worker.pending_ms,
            }));
        }
    }
    Value::Object(by_number)
}

fn segment_load(load: &SegmentLoadStatus) -> Value {
    json!({
        "state": load.state,
        "startTime": format_millis(load.start_time_ms),
        "duration": load.duration_ms,
        "totalSegments": load.total_segments,
        "usedSegments": load.total_segments,
        "precachedSegments": load.total_segments,
        "onDemandSegments": 0,
        "pendingSegments": 0,
        "unknownSegments": 0,
    })
}

/// Words the stages with their progress.
pub fn stages(report: &QueryReport) -> Value {
    report.stages.iter().map(stage).collect()
}

fn stage(stage: &StageReport) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_string(), value);
    put("stageNumber", Value::from(stage.definition.number));
    put("definition", definition(&stage.definition));
    if let Some(phase) = stage.phase {
        put("phase", Value::from(phase_name(phase)));
    }
    if stage.worker_count > 0 {
        put("workerCount", Value::from(stage.worker_count));
    }
    if stage.partition_count > 0 {
        put("partitionCount", Value::from(stage.partition_count));
    }
    if let Some(shuffle) = &stage.definition.shuffle {
        put("shuffle", Value::from(shuffle_kind(shuffle)));
    }
    if let Some(output) = stage.output {
        put("output", Value::from(output_name(output)));
    }
    if let Some(start) = stage.start_time_ms {
        put("startTime", Value::from(format_millis(start)));
    }
    if stage.duration_ms > 0 {
        put("duration", Value::from(stage.duration_ms));
    }
    if stage.definition.shuffle.as_ref().is_some_and(sorts) {
        put("sort", Value::Bool(true));
    }
    Value::Object(members)
}

fn phase_name(phase: StagePhase) -> &'static str {
    match phase {
        StagePhase::New => "NEW",
        StagePhase::ReadingInput => "READING_INPUT",
        StagePhase::MergingStatistics => "MERGING_STATISTICS",
        StagePhase::PostReading => "POST_READING",
        StagePhase::ResultsReady => "RESULTS_READY",
        StagePhase::Finished => "FINISHED",
        StagePhase::Failed => "FAILED",
        StagePhase::Retrying => "RETRYING",
    }
}

fn output_name(output: OutputChannel) -> &'static str {
    match output {
        OutputChannel::Memory => "memory",
        OutputChannel::LocalStorage => "localStorage",
        OutputChannel::DurableStorage => "durableStorageIntermediate",
        OutputChannel::DurableStorageQueryResults => "durableStorageQueryResults",
    }
}

fn shuffle_kind(shuffle: &ShuffleSpec) -> &'static str {
    match shuffle {
        ShuffleSpec::Mix => "mix",
        ShuffleSpec::Hash { .. } if sorts(shuffle) => "hashLocalSort",
        ShuffleSpec::Hash { .. } => "hash",
        ShuffleSpec::MaxCount { .. } | ShuffleSpec::TargetSize { .. } => "globalSort",
    }
}

fn sorts(shuffle: &ShuffleSpec) -> bool {
    match shuffle {
        ShuffleSpec::Mix => false,
        // Hash partitions are sorted inside; a key of nothing sorts nothing.
        ShuffleSpec::Hash { key, .. } => !key.columns.is_empty(),
        ShuffleSpec::MaxCount { .. } | ShuffleSpec::TargetSize { .. } => true,
    }
}

fn definition(stage: &StageDefinition) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_string(), value);
    put("id", Value::from(stage.id.as_str()));
    put("input", stage.inputs.iter().map(input).collect());
    if !stage.broadcast.is_empty() {
        put(
            "broadcast",
            stage.broadcast.iter().map(|number| Value::from(*number)).collect(),
        );
    }
    put("processor", processor(stage.processor, &stage.processor_detail));
    put(
        "signature",
        stage
            .signature
            .iter()
            .map(|(name, kind)| json!({"name": name, "type": kind}))
            .collect(),
    );
    if let Some(shuffle) = &stage.shuffle {
        put("shuffleSpec", shuffle_spec(shuffle));
    }
    put("maxWorkerCount", Value::from(stage.max_worker_count));
    if stage.shuffle_check_multiple_values {
        put("shuffleCheckHasMultipleValues", Value::Bool(true));
    }
    Value::Object(members)
}

fn input(input: &StageInput) -> Value {
    match input {
        // Druid leaves all time out and its own console then fails; eternity is written.
        StageInput::Table { datasource, intervals } => {
            let intervals: Vec<String> = if intervals.is_empty() {
                vec![Interval::ETERNITY.to_string()]
            } else {
                intervals.iter().map(Interval::to_string).collect()
            };
            json!({"type": "table", "dataSource": datasource, "intervals": intervals})
        }
        StageInput::External {
            source,
            format,
            signature,
        } => {
            json!({"type": "external", "inputSource": source, "inputFormat": format, "signature": signature})
        }
        // Druid's input of this kind has no name of its own: the class is shown.
        StageInput::Inline { datasource } => json!({"type": "InlineInputSpec", "dataSource": datasource}),
        StageInput::Stage(number) => json!({"type": "stage", "stage": number}),
    }
}

fn processor(processor: Processor, detail: &Value) -> Value {
    let (name, is_query) = match processor {
        Processor::Scan => ("scan", true),
        Processor::GroupByPreShuffle => ("groupByPreShuffle", true),
        Processor::GroupByPostShuffle => ("groupByPostShuffle", true),
        Processor::Limit => ("limit", false),
        Processor::SortMergeJoin => ("sortMergeJoin", false),
        Processor::Window => ("window", false),
        Processor::SegmentGenerator => ("segmentGenerator", false),
        Processor::SelectResults => ("selectResults", false),
        Processor::ExportResults => ("exportResults", false),
    };
    let mut members = Map::new();
    members.insert("type".to_string(), Value::from(name));
    match detail {
        // The native query itself, or members of the processor among which it is one.
        Value::Object(query) if is_query && query.contains_key("queryType") => {
            members.insert("query".to_string(), detail.clone());
        }
        Value::Object(others) => members.extend(others.clone()),
        _ => {}
    }
    Value::Object(members)
}

fn shuffle_spec(shuffle: &ShuffleSpec) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_string(), value);
    match shuffle {
        ShuffleSpec::Mix => {
            put("type", Value::from("mix"));
        }
        ShuffleSpec::Hash { key, partitions } => {
            put("type", Value::from("hash"));
            put("clusterBy", cluster_by(key));
            put("partitions", Value::from(*partitions));
        }
        ShuffleSpec::MaxCount {
            key,
            partitions,
            aggregate,
            limit_hint,
        } => {
            put("type", Value::from("maxCount"));
            put("clusterBy", cluster_by(key));
            put("partitions", Value::from(*partitions));
            if *aggregate {
                put("aggregate", Value::Bool(true));
            }
            if let Some(limit) = limit_hint {
                put("limitHint", Value::from(*limit));
            }
        }
        ShuffleSpec::TargetSize {
            key,
            target_rows,
            aggregate,
        } => {
            put("type", Value::from("targetSize"));
            put("clusterBy", cluster_by(key));
            put("targetSize", Value::from(*target_rows));
            if *aggregate {
                put("aggregate", Value::Bool(true));
            }
        }
    }
    Value::Object(members)
}

fn cluster_by(key: &ClusterBy) -> Value {
    let columns: Vec<Value> = key
        .columns
        .iter()
        .map(|column| {
            let order = if column.descending { "DESCENDING" } else { "ASCENDING" };
            json!({"columnName": column.name, "order": order})
        })
        .collect();
    let mut members = Map::new();
    members.insert("columns".to_string(), Value::Array(columns));
    if key.bucket_by_count > 0 {
        members.insert("bucketByCount".to_string(), Value::from(key.bucket_by_count));
    }
    Value::Object(members)
}

/// Words the counters: stage, worker, counter.
pub fn counters(report: &QueryReport) -> Value {
    report
        .counters
        .iter()
        .map(|(stage, workers)| {
            let workers: Map<String, Value> = workers
                .iter()
                .map(|(worker, counters)| (worker.to_string(), worker_counters(counters)))
                .collect();
            (stage.to_string(), Value::Object(workers))
        })
        .collect::<Map<_, _>>()
        .into()
}

fn worker_counters(counters: &WorkerCounters) -> Value {
    let mut members = Map::new();
    for (channel, snapshot) in &counters.channels {
        let name = match channel {
            Channel::Input(number) => format!("input{number}"),
            Channel::Output => "output".to_string(),
            Channel::Shuffle => "shuffle".to_string(),
        };
        if let Some(snapshot) = channel_json(snapshot) {
            members.insert(name, snapshot);
        }
    }
    if let Some(progress) = &counters.sort_progress {
        members.insert("sortProgress".to_string(), sort_progress(progress));
    }
    if !counters.warnings.is_empty() {
        let mut warnings = Map::new();
        warnings.insert("type".to_string(), Value::from("warnings"));
        warnings.extend(
            counters
                .warnings
                .iter()
                .map(|(code, count)| (code.clone(), Value::from(*count))),
        );
        members.insert("warnings".to_string(), Value::Object(warnings));
    }
    if !counters.cpu.is_empty() {
        let mut labels = Map::new();
        labels.insert("type".to_string(), Value::from("cpus"));
        for (label, (cpu, wall)) in &counters.cpu {
            labels.insert(label.clone(), json!({"type": "cpu", "cpu": cpu, "wall": wall}));
        }
        members.insert("cpu".to_string(), Value::Object(labels));
    }
    if let Some(progress) = &counters.segment_generation {
        members.insert(
            "segmentGenerationProgress".to_string(),
            json!({
                "type": "segmentGenerationProgress",
                "rowsProcessed": progress.rows_processed,
                "rowsPersisted": progress.rows_persisted,
                "rowsMerged": progress.rows_merged,
                "rowsPushed": progress.rows_pushed,
            }),
        );
    }
    if counters.spilled_bytes > 0 {
        // henge's own; clients must tolerate counters that they do not know.
        members.insert(
            "spill".to_string(),
            json!({"type": "spill", "bytes": counters.spilled_bytes}),
        );
    }
    Value::Object(members)
}

/// Words a channel; lists of nothing but zeros are left out, and so is a channel without any other.
fn channel_json(snapshot: &ChannelSnapshot) -> Option<Value> {
    let mut members = Map::new();
    members.insert("type".to_string(), Value::from("channel"));
    for (name, counts) in [
        ("rows", &snapshot.rows),
        ("bytes", &snapshot.bytes),
        ("frames", &snapshot.frames),
        ("files", &snapshot.files),
        ("totalFiles", &snapshot.total_files),
    ] {
        if counts.iter().any(|count| *count > 0) {
            members.insert(name.to_string(), Value::from(counts.clone()));
        }
    }
    (members.len() > 1).then_some(Value::Object(members))
}

fn sort_progress(progress: &SortProgress) -> Value {
    let levels = |levels: &std::collections::BTreeMap<u32, u64>| -> Value {
        levels
            .iter()
            .map(|(level, count)| (level.to_string(), Value::from(*count)))
            .collect::<Map<_, _>>()
            .into()
    };
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_string(), value);
    put("type", Value::from("sortProgress"));
    put("totalMergingLevels", Value::from(progress.total_merging_levels));
    put("levelToTotalBatches", levels(&progress.level_to_total_batches));
    put("levelToMergedBatches", levels(&progress.level_to_merged_batches));
    put(
        "totalMergersForUltimateLevel",
        Value::from(progress.total_mergers_for_ultimate_level),
    );
    if progress.trivially_complete {
        put("triviallyComplete", Value::Bool(true));
    }
    if let Some(digest) = progress.progress_digest {
        put("progressDigest", Value::from(digest));
    }
    Value::Object(members)
}
