//! Stage definitions for the report: what DataFusion's fragments are in Druid's terms (spec `msq-engine` section 2).
//!
//! The fragments follow DataFusion's plan, so a query may have other stages than in Druid. What they are called follows from
//! what the fragment does last: window functions, aggregation, a merge join, a limit, or else a scan.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use henge_exchange::KeySpec;
use henge_scan::SegmentScanExec;
use henge_sql::{Planned, SqlType};
use henge_time::Interval;
use serde_json::{Value, json};

use crate::report::{ClusterBy, KeyColumn, Processor, ShuffleSpec, StageDefinition, StageInput};
use crate::stage::cut::{Exchange, PlannedStage};
use crate::stage::extern_scan::ExternScanExec;
use crate::stage::input::StageInputExec;

fn downcast<T: 'static>(plan: &dyn ExecutionPlan) -> Option<&T> {
    (plan as &dyn std::any::Any).downcast_ref::<T>()
}

/// Describes the stages of a plan.
pub fn definitions(stages: &[PlannedStage], planned: &Planned, query_id: &str, workers: u32) -> Vec<StageDefinition> {
    stages
        .iter()
        .map(|stage| definition(stage, planned, query_id, workers))
        .collect()
}

fn definition(stage: &PlannedStage, planned: &Planned, query_id: &str, workers: u32) -> StageDefinition {
    let mut leaves = Vec::new();
    collect_leaves(&stage.plan, &mut leaves);
    let (mut inputs, mut broadcast) = (Vec::new(), Vec::new());
    for leaf in &leaves {
        let Some(input) = stage_input(leaf.as_ref(), planned) else {
            continue;
        };
        if downcast::<StageInputExec>(leaf.as_ref()).is_some_and(|input| input.broadcast) {
            broadcast.push(inputs.len() as u32);
        }
        inputs.push(input);
    }
    let processor = processor(stage.plan.as_ref());
    let schema = stage.plan.schema();
    let shuffle = match &stage.exchange {
        Some(exchange) => Some(shuffle_spec(exchange, &schema, processor)),
        // The answer is one list of rows, in no order but that of the stage before.
        None if processor == Processor::GroupByPostShuffle => None,
        None => Some(ShuffleSpec::Mix),
    };
    let key = stage.exchange.as_ref().map(|exchange| &exchange.key);
    StageDefinition {
        number: stage.number,
        id: format!("{query_id}_{}", stage.number),
        processor_detail: detail(processor, stage.plan.as_ref(), planned, &inputs),
        inputs,
        broadcast,
        processor,
        signature: signature(&schema, key),
        shuffle,
        max_worker_count: workers,
        shuffle_check_multiple_values: false,
    }
}

fn collect_leaves(plan: &Arc<dyn ExecutionPlan>, leaves: &mut Vec<Arc<dyn ExecutionPlan>>) {
    let children = plan.children();
    if children.is_empty() {
        leaves.push(plan.clone());
    }
    children.into_iter().for_each(|child| collect_leaves(child, leaves));
}

fn stage_input(leaf: &dyn ExecutionPlan, planned: &Planned) -> Option<StageInput> {
    if let Some(input) = downcast::<StageInputExec>(leaf) {
        return Some(StageInput::Stage(input.stage));
    }
    if let Some(scan) = downcast::<ExternScanExec>(leaf) {
        let spec = scan.spec();
        let columns = spec.columns.iter().map(|column| {
            let native = SqlType::from_field(&column.field()).native();
            json!({"name": column.name, "type": native})
        });
        return Some(StageInput::External {
            source: spec.raw.0.clone(),
            format: spec.raw.1.clone(),
            signature: Value::Array(columns.collect()),
        });
    }
    if let Some(scan) = downcast::<SegmentScanExec>(leaf) {
        let slice = scan.slices().iter().flatten().next();
        let datasource = match slice {
            Some(slice) => slice.segment.datasource.clone(),
            None => planned
                .resources
                .iter()
                .find(|r| r.kind == "DATASOURCE")
                .map(|r| r.name.clone())
                .unwrap_or_default(),
        };
        return Some(StageInput::Table {
            datasource,
            intervals: vec![Interval::ETERNITY],
        });
    }
    Some(StageInput::Inline {
        datasource: json!({"type": "inline"}),
    })
}

/// Names what a fragment does last.
fn processor(plan: &dyn ExecutionPlan) -> Processor {
    let mut found = Processor::Scan;
    let mut node = plan;
    loop {
        if downcast::<WindowAggExec>(node).is_some() || downcast::<BoundedWindowAggExec>(node).is_some() {
            return Processor::Window;
        }
        if let Some(aggregate) = downcast::<AggregateExec>(node) {
            return match aggregate.mode() {
                AggregateMode::Partial => Processor::GroupByPreShuffle,
                _ => Processor::GroupByPostShuffle,
            };
        }
        if downcast::<SortMergeJoinExec>(node).is_some() {
            return Processor::SortMergeJoin;
        }
        if downcast::<GlobalLimitExec>(node).is_some() {
            found = Processor::Limit;
        }
        let children = node.children();
        match children.as_slice() {
            [only] => node = (*only).as_ref(),
            [] if downcast::<StageInputExec>(node).is_some() => return found,
            _ => return Processor::Scan,
        }
    }
}

fn shuffle_spec(exchange: &Exchange, schema: &Schema, processor: Processor) -> ShuffleSpec {
    let key = cluster_by(&exchange.key, schema);
    if exchange.key.hash.is_some() {
        return ShuffleSpec::Hash {
            key,
            partitions: exchange.partitions,
        };
    }
    if exchange.key.columns.is_empty() {
        return ShuffleSpec::Mix;
    }
    ShuffleSpec::MaxCount {
        key,
        partitions: exchange.partitions,
        aggregate: processor == Processor::GroupByPreShuffle,
        limit_hint: exchange.limit.map(|limit| limit as u64),
    }
}

/// Names the columns of a key.
pub fn cluster_by(key: &KeySpec, schema: &Schema) -> ClusterBy {
    let name = |index: usize| {
        schema
            .fields()
            .get(index)
            .map(|field| field.name().clone())
            .unwrap_or_default()
    };
    let hashed = key.hash.iter().flat_map(|hash| &hash.columns);
    let columns = if key.hash.is_some() {
        hashed
            .map(|index| KeyColumn {
                name: name(*index),
                descending: false,
            })
            .collect()
    } else {
        key.columns
            .iter()
            .map(|field| KeyColumn {
                name: name(field.index),
                descending: field.descending,
            })
            .collect()
    };
    ClusterBy {
        columns,
        bucket_by_count: key.bucket_by_count,
    }
}

/// Lists a stage's columns with their native types: those of the key first.
pub fn signature(schema: &Schema, key: Option<&KeySpec>) -> Vec<(String, String)> {
    let mut order: Vec<usize> = Vec::with_capacity(schema.fields().len());
    if let Some(key) = key {
        let hashed = key.hash.iter().flat_map(|hash| hash.columns.iter().copied());
        for index in hashed.chain(key.columns.iter().map(|field| field.index)) {
            if !order.contains(&index) {
                order.push(index);
            }
        }
    }
    for index in 0..schema.fields().len() {
        if !order.contains(&index) {
            order.push(index);
        }
    }
    let fields = order.into_iter().filter_map(|index| schema.fields().get(index));
    fields
        .map(|field| (field.name().clone(), SqlType::from_field(field).native()))
        .collect()
}

/// Gives the native query of the statement for stages that scan or group, and the members of the processor for others.
fn detail(processor: Processor, plan: &dyn ExecutionPlan, planned: &Planned, inputs: &[StageInput]) -> Value {
    if processor == Processor::Limit {
        let mut node = plan;
        loop {
            if let Some(limit) = downcast::<GlobalLimitExec>(node) {
                let mut members = serde_json::Map::new();
                if limit.skip() > 0 {
                    members.insert("offset".to_string(), json!(limit.skip()));
                }
                if let Some(fetch) = limit.fetch() {
                    members.insert("limit".to_string(), json!(fetch));
                }
                return Value::Object(members);
            }
            let children = node.children();
            match children.as_slice() {
                [only] => node = (*only).as_ref(),
                _ => return json!({}),
            }
        }
    }
    if processor == Processor::SortMergeJoin
        && let Some(join) = find_join(plan)
    {
        let equal = |(left, right): &(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)| {
            format!("(\"{}\" == \"j0.{}\")", column_name(left), column_name(right))
        };
        let condition: Vec<String> = join.on().iter().map(equal).collect();
        let join_type = join.join_type().to_string().to_ascii_uppercase();
        return json!({"rightPrefix": "j0.", "condition": condition.join(" && "), "joinType": join_type});
    }
    let mut query = planned
        .native
        .get(0)
        .and_then(|first| first.get("query"))
        .cloned()
        .unwrap_or(Value::Null);
    let reads_external = matches!(inputs, [StageInput::External { .. }]);
    if let (Some(members), false) = (query.as_object_mut(), reads_external) {
        members.insert(
            "dataSource".to_string(),
            json!({"type": "inputNumber", "inputNumber": 0}),
        );
    }
    if processor == Processor::Window {
        json!({"query": query})
    } else {
        query
    }
}

fn find_join(plan: &dyn ExecutionPlan) -> Option<&SortMergeJoinExec> {
    let mut node = plan;
    loop {
        if let Some(join) = downcast::<SortMergeJoinExec>(node) {
            return Some(join);
        }
        let children = node.children();
        match children.as_slice() {
            [only] => node = (*only).as_ref(),
            _ => return None,
        }
    }
}

fn column_name(expr: &Arc<dyn PhysicalExpr>) -> String {
    match (expr.as_ref() as &dyn std::any::Any).downcast_ref::<Column>() {
        Some(column) => column.name().to_string(),
        None => expr.to_string(),
    }
}
