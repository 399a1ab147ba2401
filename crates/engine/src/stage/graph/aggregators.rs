//! Types of native aggregators: before the exchange, and at the end (spec `sql-dialect`; Druid's `AggregatorFactory`).

use serde_json::Value;

/// Types of one aggregator.
pub struct Types {
    /// What travels between the stages.
    pub intermediate: String,
    /// What the query yields.
    pub finished: String,
}

/// Gives an aggregator's name and types; none for one that is not known.
pub fn types(aggregator: &Value) -> Option<(String, Types)> {
    let kind = aggregator.get("type")?.as_str()?;
    let inner = aggregator.get("aggregator");
    if let ("filtered", Some(inner)) = (kind, inner) {
        let (inner_name, types) = types(inner)?;
        let name = aggregator
            .get("name")
            .and_then(Value::as_str)
            .map_or(inner_name, str::to_string);
        return Some((name, types));
    }
    let name = aggregator.get("name")?.as_str()?.to_string();
    let same = |kind: &str| Types {
        intermediate: kind.to_string(),
        finished: kind.to_string(),
    };
    let pair = |kind: &str, finished: &str| Types {
        intermediate: format!("COMPLEX<serializablePair{kind}>"),
        finished: finished.to_string(),
    };
    let types = match kind {
        "count" | "longSum" | "longMin" | "longMax" | "longAny" | "grouping" => same("LONG"),
        "doubleSum" | "doubleMin" | "doubleMax" | "doubleAny" => same("DOUBLE"),
        "floatSum" | "floatMin" | "floatMax" | "floatAny" => same("FLOAT"),
        "stringAny" => same("STRING"),
        "longFirst" | "longLast" => pair("LongLong", "LONG"),
        "doubleFirst" | "doubleLast" => pair("LongDouble", "DOUBLE"),
        "floatFirst" | "floatLast" => pair("LongFloat", "FLOAT"),
        "stringFirst" | "stringLast" => pair("LongString", "STRING"),
        "cardinality" | "hyperUnique" => {
            let rounded = aggregator.get("round") == Some(&Value::Bool(true));
            Types {
                intermediate: "COMPLEX<hyperUnique>".to_string(),
                finished: if rounded { "LONG" } else { "DOUBLE" }.to_string(),
            }
        }
        "HLLSketchBuild" | "HLLSketchMerge" => sketch(kind, aggregator, "LONG"),
        "thetaSketch" => {
            let is_merged = aggregator.get("isInputThetaSketch") == Some(&Value::Bool(true));
            let kind = if is_merged { "thetaSketch" } else { "thetaSketchBuild" };
            sketch(kind, aggregator, "DOUBLE")
        }
        "quantilesDoublesSketch" | "quantilesDoublesSketchMerge" => {
            sketch("quantilesDoublesSketch", aggregator, "LONG")
        }
        "arrayOfDoublesSketch" => same("COMPLEX<arrayOfDoublesSketch>"),
        _ => return None,
    };
    Some((name, types))
}

/// Gives the types of a sketch that is left as it is where its aggregator says so, and counted otherwise.
fn sketch(kind: &str, aggregator: &Value, counted: &str) -> Types {
    let is_left = aggregator.get("shouldFinalize") == Some(&Value::Bool(false));
    let intermediate = format!("COMPLEX<{kind}>");
    Types {
        finished: if is_left {
            intermediate.clone()
        } else {
            counted.to_string()
        },
        intermediate,
    }
}

/// Gives a post-aggregation's column. A field access has the type of the field.
pub fn post_aggregation(post: &Value, columns: &[(String, String)]) -> Option<(String, String)> {
    let text = |member: &str| post.get(member).and_then(Value::as_str);
    let name = text("name")?.to_string();
    let kind = match text("type")? {
        "expression" => text("outputType")?.to_string(),
        "fieldAccess" | "finalizingFieldAccess" => {
            let field = text("fieldName")?;
            columns.iter().find(|(name, _)| name == field)?.1.clone()
        }
        "arithmetic" => "DOUBLE".to_string(),
        _ => return None,
    };
    Some((name, kind))
}
