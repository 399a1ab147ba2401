//! Aggregators as a rollup keeps them: in the form that combines stored values (Druid's `AggregatorFactory.getCombiningFactory`,
//! spec `segment-format` section 8), and how those that build sketches are worded.
//!
//! Properties that a type has by default are written too, for that is how Druid stores them.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::AggregateFunction;
use serde_json::{Map, Value, json};

use crate::SqlType;
use crate::bind::Metric;

/// Words the aggregator that combines the stored values of a column. None for what cannot be combined: such a column is a
/// dimension.
pub(crate) fn combining(name: &str, ty: &SqlType, metric: &Metric) -> Option<Value> {
    let Expr::AggregateFunction(call) = &metric.call else {
        return None;
    };
    let numeric = |operation: &str| {
        let number = match ty.native().as_str() {
            "LONG" => "long",
            "DOUBLE" => "double",
            "FLOAT" => "float",
            _ => return None,
        };
        Some(json!({"type": format!("{number}{operation}"), "name": name, "fieldName": name}))
    };
    match call.func.name() {
        "count" if !call.params.distinct => numeric("Sum"),
        "sum" if !call.params.distinct => numeric("Sum"),
        "min" => numeric("Min"),
        "max" => numeric("Max"),
        "earliest_pair" | "latest_pair" => pair(call, name, name, ty),
        "collect_variance" => {
            let estimator = if metric.function == "VAR_POP" {
                "population"
            } else {
                "sample"
            };
            Some(json!({
                "type": "varianceFold", "name": name, "fieldName": name, "estimator": estimator, "inputType": "variance",
            }))
        }
        _ => sketch(call, name, name, Form::Merge, !metric.function.starts_with("APPROX_")),
    }
}

/// Whether an aggregator takes values or sketches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Build,
    Merge,
}

/// Words a sketch aggregator. `left` says that the sketch is left as it is at the end (`shouldFinalize: false`).
pub(super) fn sketch(call: &AggregateFunction, name: &str, field: &str, form: Form, left: bool) -> Option<Value> {
    let mut members = Map::new();
    let mut put = |key: &str, value: Value| members.insert(key.to_string(), value);
    let kind = match (call.func.name(), form) {
        ("ds_hll" | "approx_count_distinct_ds_hll", Form::Build) => "HLLSketchBuild",
        ("ds_hll" | "approx_count_distinct_ds_hll", Form::Merge) => "HLLSketchMerge",
        ("ds_theta" | "approx_count_distinct_ds_theta", _) => "thetaSketch",
        ("ds_quantiles_sketch" | "approx_quantile_ds", Form::Build) => "quantilesDoublesSketch",
        ("ds_quantiles_sketch" | "approx_quantile_ds", Form::Merge) => "quantilesDoublesSketchMerge",
        ("ds_tuple_doubles", _) => "arrayOfDoublesSketch",
        ("collect_unique" | "approx_count_distinct_builtin", Form::Merge) => "hyperUnique",
        _ => return None,
    };
    put("type", json!(kind));
    put("name", json!(name));
    // Only the merging quantiles sketch has its field at the end.
    if kind != "quantilesDoublesSketchMerge" {
        put("fieldName", json!(field));
    }
    match kind {
        "HLLSketchBuild" | "HLLSketchMerge" => {
            put("lgK", json!(long(call, 1)?));
            put("tgtHllType", json!(text(call, 2)?));
            if form == Form::Build && flag(call, 3) == Some(true) {
                put("stringEncoding", json!("UTF8"));
            }
            if left {
                put("shouldFinalize", json!(false));
            }
            put("round", json!(true));
        }
        "thetaSketch" => {
            put("size", json!(long(call, 1)?));
            if left {
                put("shouldFinalize", json!(false));
            }
        }
        "arrayOfDoublesSketch" => {
            let last = call.params.args.len().checked_sub(1)?;
            put("nominalEntries", json!(long(call, last)?));
            let metrics: Vec<&str> = match (form, call.params.args.get(1..last)?) {
                (Form::Build, metrics) if !metrics.is_empty() => metrics.iter().map(column).collect::<Option<_>>()?,
                _ => Vec::new(),
            };
            put(
                "metricColumns",
                if metrics.is_empty() {
                    Value::Null
                } else {
                    json!(metrics)
                },
            );
            put("numberOfValues", json!(last.saturating_sub(1).max(1)));
        }
        "hyperUnique" => {
            put("isInputHyperUnique", json!(false));
            put("round", json!(true));
        }
        _ => {
            let k = if call.func.name() == "approx_quantile_ds" { 2 } else { 1 };
            put("k", json!(long(call, k)?));
            put("maxStreamLength", json!(1_000_000_000));
            if left {
                put("shouldFinalize", json!(false));
            }
            if form == Form::Merge {
                put("fieldName", json!(field));
            }
        }
    }
    Some(Value::Object(members))
}

/// Words the aggregator of pairs of time and value.
fn pair(call: &AggregateFunction, name: &str, field: &str, ty: &SqlType) -> Option<Value> {
    let SqlType::Complex(pair) = ty else { return None };
    let value = pair.strip_prefix("serializablePairLong")?.to_lowercase();
    let keeps = if call.func.name() == "earliest_pair" {
        "First"
    } else {
        "Last"
    };
    // Stored pairs have their times with them.
    let is_stored = call.params.args.len() == 2;
    let time = match call.params.args.get(1) {
        Some(time) if !is_stored => time_column(time),
        _ => "__time".to_string(),
    };
    let mut members = Map::new();
    members.insert("type".into(), json!(format!("{value}{keeps}")));
    members.insert("name".into(), json!(name));
    members.insert("fieldName".into(), json!(field));
    members.insert("timeColumn".into(), json!(time));
    if value == "string" {
        let most = long(call, 2).unwrap_or(crate::limits::AGGREGATE_BYTES);
        members.insert("maxStringBytes".into(), json!(most));
    }
    Some(Value::Object(members))
}

/// Names the column that a time is read from; a computed one is a virtual column.
pub(super) fn time_column(time: &Expr) -> String {
    let mut columns = time.column_refs().into_iter();
    match (columns.next(), columns.next()) {
        (Some(column), None) => column.name.clone(),
        _ => "v0".to_string(),
    }
}

fn literal(call: &AggregateFunction, at: usize) -> Option<&ScalarValue> {
    match call.params.args.get(at)? {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn long(call: &AggregateFunction, at: usize) -> Option<i64> {
    match literal(call, at)? {
        ScalarValue::Int64(value) => *value,
        _ => None,
    }
}

fn text(call: &AggregateFunction, at: usize) -> Option<&str> {
    literal(call, at)?.try_as_str().flatten()
}

fn flag(call: &AggregateFunction, at: usize) -> Option<bool> {
    match literal(call, at)? {
        ScalarValue::Boolean(value) => *value,
        _ => None,
    }
}

/// Names the column of an argument, below casts.
fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        Expr::Cast(cast) => column(&cast.expr),
        _ => None,
    }
}
