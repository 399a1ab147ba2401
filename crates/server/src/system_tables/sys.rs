//! `sys`: segments, servers, tasks.

use datafusion::error::{DataFusionError, Result};
use henge_metadata::{PublishedSegment, TaskFilter, TaskRecord, TaskState};
use henge_time::format_millis;
use serde_json::Value;

use super::lazy::{Cell, TableRows, long, text};
use super::{Source, TableDefinition, max_size};
use crate::json::to_text;
use crate::limits::MAX_LISTED_TASKS;
use crate::state::ServerInfo;
use crate::task_json::{SHUTDOWN_MESSAGE, is_waiting, state_name};

pub(crate) const SCHEMA: &str = "sys";

pub(crate) const TABLES: &[TableDefinition] = &[
    TableDefinition {
        schema: SCHEMA,
        name: "segments",
        columns: &[
            text("segment_id"),
            text("datasource"),
            text("start"),
            text("end"),
            long("size"),
            text("version"),
            long("partition_num"),
            long("num_replicas"),
            long("num_rows"),
            long("is_active"),
            long("is_published"),
            long("is_available"),
            long("is_realtime"),
            long("is_overshadowed"),
            text("shard_spec"),
            text("dimensions"),
            text("metrics"),
            text("projections"),
            text("last_compaction_state"),
            long("replication_factor"),
        ],
    },
    TableDefinition {
        schema: SCHEMA,
        name: "server_properties",
        columns: &[
            text("server"),
            text("service_name"),
            text("node_roles"),
            text("property"),
            text("value"),
        ],
    },
    TableDefinition {
        schema: SCHEMA,
        name: "server_segments",
        columns: &[text("server"), text("segment_id")],
    },
    TableDefinition {
        schema: SCHEMA,
        name: "servers",
        columns: &[
            text("server"),
            text("host"),
            long("plaintext_port"),
            long("tls_port"),
            text("server_type"),
            text("tier"),
            long("curr_size"),
            long("max_size"),
            long("storage_size"),
            long("is_leader"),
            text("start_time"),
            text("version"),
            text("build_revision"),
            text("labels"),
            long("available_processors"),
            long("total_memory"),
        ],
    },
    TableDefinition {
        schema: SCHEMA,
        name: "supervisors",
        columns: &[
            text("supervisor_id"),
            text("datasource"),
            text("state"),
            text("detailed_state"),
            long("healthy"),
            text("type"),
            text("source"),
            long("suspended"),
            text("spec"),
        ],
    },
    TableDefinition {
        schema: SCHEMA,
        name: "tasks",
        columns: &[
            text("task_id"),
            text("group_id"),
            text("type"),
            text("datasource"),
            text("created_time"),
            text("queue_insertion_time"),
            text("status"),
            text("runner_status"),
            long("duration"),
            text("location"),
            text("host"),
            long("plaintext_port"),
            long("tls_port"),
            text("error_msg"),
        ],
    },
];

/// Makes the rows of a table.
pub(crate) async fn fill(name: &str, source: &Source, rows: &mut TableRows) -> Result<()> {
    match name {
        "segments" => segments(source, rows),
        "server_properties" => properties(source, rows),
        "server_segments" => {
            for (_, datasource) in source.engine()?.snapshot().datasources() {
                for published in &datasource.segments {
                    rows.push([source.info.advertised.as_str().into(), (&*published.id).into()]);
                }
            }
            Ok(())
        }
        "servers" => servers(source, rows),
        "tasks" => tasks(source, rows).await,
        // Nothing is supervised: no streaming, no automatic compaction.
        _ => Ok(()),
    }
}

fn segments(source: &Source, rows: &mut TableRows) -> Result<()> {
    for (_, datasource) in source.engine()?.snapshot().datasources() {
        for published in &datasource.segments {
            rows.push(segment(published));
        }
    }
    Ok(())
}

fn segment(published: &PublishedSegment) -> [Cell; 20] {
    let segment = &published.segment;
    let json = |value: Value| Cell::Text(String::from_utf8(to_text(&value)).unwrap_or_default());
    let names = |names: &[String]| json(names.iter().map(|name| Value::from(name.as_str())).collect());
    let visible = !published.overshadowed;
    [
        (&*published.id).into(),
        segment.datasource.as_str().into(),
        format_millis(segment.interval.start_ms).into(),
        format_millis(segment.interval.end_ms).into(),
        segment.size.into(),
        segment.version.as_str().into(),
        Cell::Long(i64::from(segment.shard_spec.partition_num())),
        // One process: what is published is loaded, once.
        Cell::Long(1),
        segment.total_rows.unwrap_or(0).into(),
        visible.into(),
        true.into(),
        true.into(),
        false.into(),
        published.overshadowed.into(),
        json(serde_json::to_value(&segment.shard_spec).unwrap_or(Value::Null)),
        names(&segment.dimensions),
        names(&segment.metrics),
        segment.projections.as_deref().map(names).into(),
        segment.last_compaction_state.clone().map(json).into(),
        Cell::Long(i64::from(visible)),
    ]
}

/// The roles that one process plays, in Druid's order: type, tier, whether it leads.
const ROLES: [(&str, Option<&str>, Option<bool>); 6] = [
    ("coordinator", None, Some(true)),
    ("historical", Some("_default_tier"), None),
    ("broker", None, None),
    ("overlord", None, Some(true)),
    ("router", None, None),
    ("indexer", Some("_default_tier"), None),
];

fn servers(source: &Source, rows: &mut TableRows) -> Result<()> {
    let engine = source.engine()?;
    let info = &source.info;
    let used = crate::routes::total_size(&engine.snapshot());
    for (role, tier, leads) in ROLES {
        let (size, capacity) = if role == "historical" {
            (used, max_size(used))
        } else {
            (0, 0)
        };
        rows.push([
            info.advertised.as_str().into(),
            info.host().into(),
            Cell::Long(info.port()),
            Cell::Long(-1),
            role.into(),
            tier.into(),
            size.into(),
            capacity.into(),
            capacity.into(),
            leads.into(),
            format_millis(info.start_time_ms).into(),
            info.version.as_str().into(),
            "".into(),
            Cell::Null,
            Cell::Long(engine.config().threads as i64),
            engine.config().memory_bytes.into(),
        ]);
    }
    Ok(())
}

fn properties(source: &Source, rows: &mut TableRows) -> Result<()> {
    let engine = source.engine()?;
    for (name, value) in crate::routes::effective_properties(&engine, &source.info) {
        rows.push([
            source.info.advertised.as_str().into(),
            "druid/router".into(),
            "[broker, coordinator, historical, indexer, overlord, router]".into(),
            name.into(),
            value.into(),
        ]);
    }
    Ok(())
}

async fn tasks(source: &Source, rows: &mut TableRows) -> Result<()> {
    let engine = source.engine()?;
    let filter = TaskFilter {
        max_completed: Some(MAX_LISTED_TASKS),
        ..TaskFilter::default()
    };
    let records = engine
        .metadata()
        .tasks(&filter)
        .await
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    for record in records {
        let running = record.status.state == TaskState::Running;
        let waiting = running && is_waiting(engine.report(&record.id).await.as_deref());
        rows.push(task(&record, &source.info, running, waiting));
    }
    Ok(())
}

fn task(record: &TaskRecord, info: &ServerInfo, running: bool, waiting: bool) -> [Cell; 14] {
    let status = &record.status;
    let runner = match (running, waiting) {
        (true, true) => "WAITING",
        (true, false) => "RUNNING",
        (false, _) => "NONE",
    };
    // One process runs them all; a task that waits is nowhere yet.
    let place = (!waiting).then_some(info);
    let stopped = status.error_msg.as_deref() == Some(SHUTDOWN_MESSAGE);
    [
        record.id.as_str().into(),
        record.group_id.as_deref().unwrap_or(&record.id).into(),
        record
            .task_type
            .as_deref()
            .unwrap_or(crate::task_json::CONTROLLER)
            .into(),
        record.datasource.as_str().into(),
        record.created_date.as_str().into(),
        "1970-01-01T00:00:00.000Z".into(),
        state_name(status.state).into(),
        runner.into(),
        Cell::Long(if stopped { -1 } else { status.duration }),
        place.map(|info| info.advertised.clone()).into(),
        place.map(ServerInfo::host).into(),
        Cell::Long(place.map_or(-1, ServerInfo::port)),
        Cell::Long(-1),
        status.error_msg.clone().into(),
    ]
}
