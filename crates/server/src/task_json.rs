//! Tasks as the Overlord shows them: the task itself (its payload) and how it stands.

use henge_engine::report::{QueryReport, ReportStatus};
use henge_metadata::{TaskRecord, TaskState, TaskStatus};
use henge_sql::{Overwrite, Planned, Statement};
use henge_time::{Granularity, Interval, format_millis};
use serde_json::{Map, Value, json};

use crate::state::ServerInfo;

/// Type of the tasks that run statements.
pub const CONTROLLER: &str = "query_controller";

/// Type of the tasks that are workers of others.
const WORKER: &str = "query_worker";

/// Datasource under which SELECTs are listed.
pub const SELECT_DATASOURCE: &str = "__query_select";

/// Datasource under which exports are listed.
pub const EXPORT_DATASOURCE: &str = "__query_export";

/// Gives the datasource that a statement's task belongs to.
pub fn datasource_of(statement: &Statement) -> &str {
    match statement {
        Statement::Select => SELECT_DATASOURCE,
        Statement::Insert(ingest) | Statement::Replace(ingest, _) => &ingest.target,
        Statement::Export(_) => EXPORT_DATASOURCE,
    }
}

/// Words the controller task of a statement.
pub fn payload(task_id: &str, query_id: &str, planned: &Planned, created_ms: i64) -> Value {
    let context = sql_context(planned, query_id);
    let mut native = planned.native.get(0).cloned().unwrap_or_else(|| json!({}));
    let mut query = native.get_mut("query").map(Value::take).unwrap_or_else(|| json!({}));
    if let Some(query) = query.as_object_mut() {
        let own = query
            .get("context")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        query.insert(
            "context".to_string(),
            query_context(planned, &context, &own, created_ms),
        );
        name_subqueries(query, &context);
    }
    let mappings = native.get_mut("columnMappings").map(Value::take).unwrap_or_else(|| {
        let same = planned
            .columns
            .iter()
            .map(|column| json!({"queryColumn": column.name, "outputColumn": column.name}));
        same.collect()
    });
    let zone = planned
        .context
        .string("sqlTimeZone")
        .ok()
        .flatten()
        .unwrap_or_else(|| "UTC".to_string());
    let stringify = planned
        .context
        .boolean("sqlStringifyArrays")
        .ok()
        .flatten()
        .unwrap_or(true);
    json!({
        "type": CONTROLLER,
        "id": task_id,
        "spec": {
            "query": query,
            "columnMappings": mappings,
            "destination": destination(planned),
            "assignmentStrategy": planned
                .context
                .string("taskAssignment")
                .ok()
                .flatten()
                .unwrap_or_else(|| "max".to_string())
                .to_lowercase(),
            "tuningConfig": tuning_config(planned),
        },
        "sqlQuery": planned.masked_sql,
        "sqlQueryContext": context,
        "sqlResultsContext": {"timeZone": zone, "stringifyArrays": stringify},
        "sqlTypeNames": planned.columns.iter().map(|column| column.sql_type.name()).collect::<Vec<_>>(),
        "nativeTypeNames": planned.columns.iter().map(|column| column.sql_type.native()).collect::<Vec<_>>(),
        "context": task_context(&planned.lookups),
        "groupId": task_id,
        "dataSource": datasource_of(&planned.statement),
        "resource": {"availabilityGroup": task_id, "requiredCapacity": 1},
    })
}

/// Gives the task's own context, which is not the query's.
fn task_context(lookups: &[String]) -> Value {
    let mode = if lookups.is_empty() { "NONE" } else { "ONLY_REQUIRED" };
    let mut context =
        json!({"lookupLoadingMode": mode, "useLineageBasedSegmentAllocation": true, "forceTimeChunkLock": true});
    if !lookups.is_empty() {
        context["lookupsToLoad"] = json!(lookups);
    }
    context
}

/// Gives the client's context with ids and what the statement itself says.
fn sql_context(planned: &Planned, query_id: &str) -> Map<String, Value> {
    let mut context = planned.context.values().clone();
    context.insert("sqlQueryId".to_string(), Value::from(query_id));
    context.insert("queryId".to_string(), Value::from(query_id));
    if let Some(ingest) = planned.statement.ingest() {
        context.insert(
            "sqlInsertSegmentGranularity".to_string(),
            Value::from(granularity(&ingest.granularity).to_string()),
        );
    }
    if let Statement::Replace(_, overwrite) = &planned.statement {
        let chunks = match overwrite {
            Overwrite::All => "all".to_string(),
            Overwrite::Intervals(intervals) => intervals.iter().map(Interval::to_string).collect::<Vec<_>>().join(","),
        };
        context.insert("sqlReplaceTimeChunks".to_string(), Value::from(chunks));
    }
    if let Statement::Export(export) = &planned.statement {
        context.insert("__exportFileFormat".to_string(), Value::from(export.format.as_str()));
    }
    context
}

/// Gives the queries that a query reads the context of the statement; those that group say that they do not store anything.
fn name_subqueries(query: &mut Map<String, Value>, context: &Map<String, Value>) {
    let inner = query.get_mut("dataSource").and_then(|source| source.get_mut("query"));
    let Some(inner) = inner.and_then(Value::as_object_mut) else {
        return;
    };
    let mut own: std::collections::BTreeMap<String, Value> = context.clone().into_iter().collect();
    own.remove("sqlReplaceTimeChunks");
    match inner.get("queryType").and_then(Value::as_str) {
        Some("groupBy") => own.insert("sqlInsertSegmentGranularity".to_string(), Value::Null),
        _ => own.remove("sqlInsertSegmentGranularity"),
    };
    inner.insert("context".to_string(), Value::Object(own.into_iter().collect()));
    name_subqueries(inner, context);
}

fn reads_what_it_replaces(planned: &Planned) -> bool {
    let Statement::Replace(ingest, _) = &planned.statement else {
        return false;
    };
    let table = json!({"type": "table", "name": ingest.target});
    contains(&planned.native, &table)
}

fn contains(value: &Value, wanted: &Value) -> bool {
    let inner = |inner: &Value| contains(inner, wanted);
    value == wanted
        || match value {
            Value::Array(items) => items.iter().any(inner),
            Value::Object(members) => members.values().any(inner),
            _ => false,
        }
}

/// Gives the native query of a task as its controller runs it and its report shows it.
pub fn controller_query(payload: &Value) -> Option<Value> {
    let mut query = payload.pointer("/spec/query")?.clone();
    let ingests = payload.pointer("/spec/destination/type").and_then(Value::as_str) == Some("dataSource");
    if let (true, Some(column)) = (ingests, time_column(payload))
        && let Some(context) = query.get_mut("context").and_then(Value::as_object_mut)
    {
        context.insert("__timeColumn".to_string(), column);
    }
    Some(query)
}

/// Gives the column of the native query that becomes `__time`.
fn time_column(payload: &Value) -> Option<Value> {
    let mut mappings = payload.pointer("/spec/columnMappings")?.as_array()?.iter();
    let time = mappings.find(|mapping| mapping.get("outputColumn").and_then(Value::as_str) == Some("__time"))?;
    time.get("queryColumn").cloned()
}

/// Gives the context of the native query: the client's and the engine's keys, sorted.
fn query_context(
    planned: &Planned,
    context: &Map<String, Value>,
    native: &Map<String, Value>,
    created_ms: i64,
) -> Value {
    let mut all: std::collections::BTreeMap<String, Value> = context.clone().into_iter().collect();
    // What the planner says of a grouping by time.
    let timed = native.iter().filter(|(key, _)| key.starts_with("timestampResult"));
    all.extend(timed.map(|(key, value)| (key.clone(), value.clone())));
    if reads_what_it_replaces(planned) {
        all.insert("isReindex".to_string(), Value::Bool(true));
    }
    let lenient = planned
        .context
        .string("mode")
        .ok()
        .flatten()
        .is_some_and(|mode| mode.eq_ignore_ascii_case("nonStrict"));
    let finalize = planned
        .context
        .boolean("finalizeAggregations")
        .ok()
        .flatten()
        .unwrap_or(true);
    for (name, value) in [
        ("__user", json!("allowAll")),
        ("finalize", json!(finalize)),
        ("maxParseExceptions", json!(if lenient { -1 } else { 0 })),
        ("rowBasedFrameType", json!(19)),
        ("windowFunctionOperatorTransformation", json!(true)),
    ] {
        all.entry(name.to_string()).or_insert(value);
    }
    all.insert("startTime".to_string(), Value::from(format_millis(created_ms)));
    Value::Object(all.into_iter().collect())
}

fn granularity(granularity: &Granularity) -> Value {
    match granularity.name() {
        Some("ALL") => json!({"type": "all"}),
        Some(name) => json!(name),
        None => json!({"type": "period", "period": granularity.to_string(), "timeZone": "UTC", "origin": null}),
    }
}

fn destination(planned: &Planned) -> Value {
    let ingest = match &planned.statement {
        Statement::Select => return json!({"type": "taskReport"}),
        Statement::Export(export) => {
            let mut provider = Map::new();
            provider.insert("type".to_string(), Value::from(export.destination.as_str()));
            provider.extend(
                export
                    .arguments
                    .iter()
                    .map(|(name, value)| (name.clone(), Value::from(value.as_str()))),
            );
            return json!({
                "type": "export",
                "exportStorageProvider": provider,
                "resultFormat": export.format.to_lowercase(),
            });
        }
        Statement::Insert(ingest) | Statement::Replace(ingest, _) => ingest,
    };
    let mut destination = Map::new();
    let mut put = |name: &str, value: Value| destination.insert(name.to_string(), value);
    put("type", json!("dataSource"));
    put("dataSource", json!(ingest.target));
    put("segmentGranularity", granularity(&ingest.granularity));
    if let Ok(order) = planned.context.list("segmentSortOrder")
        && !order.is_empty()
    {
        put("segmentSortOrder", json!(order));
    }
    match &planned.statement {
        Statement::Replace(_, Overwrite::All) => {
            put("replaceTimeChunks", json!([Interval::ETERNITY.to_string()]));
        }
        Statement::Replace(_, Overwrite::Intervals(intervals)) => {
            put(
                "replaceTimeChunks",
                intervals
                    .iter()
                    .map(|interval| Value::from(interval.to_string()))
                    .collect(),
            );
        }
        _ => {}
    }
    put("terminalStageSpec", json!({"type": "segmentGeneration"}));
    Value::Object(destination)
}

fn tuning_config(planned: &Planned) -> Value {
    let long = |name: &str| planned.context.long(name).ok().flatten();
    let mut tuning = Map::new();
    tuning.insert(
        "maxNumWorkers".to_string(),
        Value::from(long("maxNumTasks").unwrap_or(2).saturating_sub(1).max(1)),
    );
    tuning.insert(
        "maxRowsInMemory".to_string(),
        Value::from(
            long("maxRowsInMemory")
                .or_else(|| long("rowsInMemory"))
                .unwrap_or(100_000),
        ),
    );
    tuning.insert(
        "rowsPerSegment".to_string(),
        Value::from(long("rowsPerSegment").unwrap_or(3_000_000)),
    );
    if let Some(segments) = long("maxNumSegments") {
        tuning.insert("maxNumSegments".to_string(), Value::from(segments));
    }
    if let Some(spec) = planned.context.get("indexSpec") {
        let spec = match spec {
            Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| spec.clone()),
            other => other.clone(),
        };
        tuning.insert("indexSpec".to_string(), spec);
    }
    Value::Object(tuning)
}

/// Gives the id of the controller that a worker's id is made of: `<controller>-worker<number>_<attempt>`.
pub fn controller_of(worker_id: &str) -> Option<&str> {
    let (controller, rest) = worker_id.rsplit_once("-worker")?;
    let (number, attempt) = rest.split_once('_')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(attempt)).then_some(controller)
}

/// Makes the task of a worker that a report knows.
pub fn worker(controller: &TaskRecord, report: &QueryReport, worker_id: &str) -> Option<TaskRecord> {
    let worker = report.workers.iter().find(|worker| worker.worker_id == worker_id)?;
    let query_context = controller
        .payload
        .pointer("/spec/query/context")
        .and_then(Value::as_object);
    let own = controller.payload.get("context").cloned();
    let mut context = own.unwrap_or_else(|| task_context(&[]));
    if let (Some(context), Some(query)) = (context.as_object_mut(), query_context) {
        context.extend(query.clone());
        for (name, value) in [
            ("maxConcurrentStages", json!(1)),
            ("maxFrameSize", json!(1_000_000)),
            ("durableShuffleStorage", json!(false)),
            ("removeNullBytes", json!(false)),
            ("includeAllCounters", json!(true)),
            ("isReindex", json!(false)),
        ] {
            if !context.contains_key(name) {
                context.insert(name.to_string(), value);
            }
        }
    }
    let state = match worker.state {
        ReportStatus::Running => TaskState::Running,
        ReportStatus::Success => TaskState::Success,
        ReportStatus::Failed => TaskState::Failed,
    };
    Some(TaskRecord {
        id: worker_id.to_string(),
        created_date: controller.created_date.clone(),
        datasource: controller.datasource.clone(),
        payload: json!({
            "type": WORKER,
            "controllerTaskId": controller.id,
            "dataSource": controller.datasource,
            "workerNumber": worker.number,
            "context": context,
            "retry": 0,
            "id": worker_id,
            "groupId": controller.id,
            "resource": {"availabilityGroup": worker_id, "requiredCapacity": 1},
        }),
        status: TaskStatus {
            id: worker_id.to_string(),
            state,
            duration: worker.duration_ms,
            error_msg: None,
            location: controller.status.location.clone(),
        },
        task_type: Some(WORKER.to_string()),
        group_id: Some(controller.id.clone()),
    })
}

/// Where a task stands, in the runner's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// A task asked for by its id.
    One,
    /// A task among others.
    Listed,
}

/// Words how a task stands. Druid's answer for one finished task still shows the runner's last word and no location; lists do not.
pub fn status(record: &TaskRecord, waiting: bool, view: View, info: &ServerInfo) -> Value {
    let status = &record.status;
    let running = status.state == TaskState::Running;
    let stopped = status.error_msg.as_deref() == Some(SHUTDOWN_MESSAGE);
    let runner = match (running, view) {
        (true, _) if waiting => "WAITING",
        (true, _) => "RUNNING",
        (false, View::One) if !stopped => "WAITING",
        (false, _) => "NONE",
    };
    let location = if (running && waiting) || (!running && view == View::One && !stopped) {
        json!({"host": null, "port": -1, "tlsPort": -1})
    } else {
        json!({"host": info.host(), "port": info.port(), "tlsPort": -1})
    };
    json!({
        "id": record.id,
        "groupId": record.group_id.as_deref().unwrap_or(&record.id),
        "type": record.task_type.as_deref().unwrap_or(CONTROLLER),
        "createdTime": record.created_date,
        "queueInsertionTime": "1970-01-01T00:00:00.000Z",
        "statusCode": state_name(status.state),
        "status": state_name(status.state),
        "runnerStatusCode": runner,
        "duration": if stopped { -1 } else { status.duration },
        "location": location,
        "dataSource": record.datasource,
        "errorMsg": status.error_msg,
    })
}

/// What a task says that was stopped on request; clients recognise this text.
pub const SHUTDOWN_MESSAGE: &str = "Shutdown request from user";

/// Gives the name of a state.
pub fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Running => "RUNNING",
        TaskState::Success => "SUCCESS",
        TaskState::Failed => "FAILED",
    }
}

/// Tells whether a running task waits for its locks: it has no report of stages yet.
pub fn is_waiting(report: Option<&henge_engine::report::QueryReport>) -> bool {
    report.is_none_or(|report| report.status == ReportStatus::Running && report.start_time_ms.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_known_by_their_ids() {
        assert_eq!(controller_of("query-1-worker0_0"), Some("query-1"));
        assert_eq!(controller_of("query-a-worker1_2-worker13_1"), Some("query-a-worker1_2"));
        for id in [
            "query-1",
            "query-1-worker",
            "query-1-worker0",
            "query-1-worker_0",
            "query-1-workerx_0",
        ] {
            assert_eq!(controller_of(id), None, "{id}");
        }
    }
}
