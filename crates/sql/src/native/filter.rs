//! Conditions in Druid's native wording, with the time bounds taken out as intervals.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator};
use henge_time::Interval;
use serde_json::{Value, json};

use super::expression::{literal_json, worded};

/// Splits a condition into the intervals of `__time` and what is left.
pub(super) fn split_time(condition: Option<&Expr>) -> (Vec<Interval>, Option<Expr>) {
    let Some(condition) = condition else {
        return (vec![Interval::ETERNITY], None);
    };
    let mut span = Interval::ETERNITY;
    let mut rest: Option<Expr> = None;
    let mut stack = vec![condition];
    while let Some(expr) = stack.pop() {
        match expr {
            Expr::BinaryExpr(binary) if binary.op == Operator::And => {
                stack.push(&binary.right);
                stack.push(&binary.left);
            }
            other => match time_bound(other) {
                Some((start, end)) => {
                    span.start_ms = span.start_ms.max(start);
                    span.end_ms = span.end_ms.min(end).max(span.start_ms);
                }
                None => {
                    rest = Some(match rest {
                        Some(left) => left.and(other.clone()),
                        None => other.clone(),
                    });
                }
            },
        }
    }
    (vec![span], rest)
}

fn time_bound(expr: &Expr) -> Option<(i64, i64)> {
    let Expr::BinaryExpr(binary) = expr else { return None };
    let (column, value, op) = match (binary.left.as_ref(), binary.right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) => (column, value, binary.op),
        (Expr::Literal(value, _), Expr::Column(column)) => (column, value, binary.op.swap()?),
        _ => return None,
    };
    let ScalarValue::TimestampMillisecond(Some(at), _) = value else {
        return None;
    };
    if column.name != "__time" {
        return None;
    }
    let all = Interval::ETERNITY;
    Some(match op {
        Operator::GtEq => (*at, all.end_ms),
        Operator::Gt => (at.saturating_add(1), all.end_ms),
        Operator::Lt => (all.start_ms, *at),
        Operator::LtEq => (all.start_ms, at.saturating_add(1)),
        Operator::Eq => (*at, at.saturating_add(1)),
        _ => return None,
    })
}

/// Words a condition; what has no filter of its own becomes an expression filter.
pub(super) fn json(expr: &Expr, column: &mut dyn FnMut(&Expr, &str) -> Option<String>) -> Option<Value> {
    match expr {
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => {
            let kind = if binary.op == Operator::And { "and" } else { "or" };
            let mut fields = Vec::new();
            let mut stack = vec![expr];
            while let Some(at) = stack.pop() {
                match at {
                    Expr::BinaryExpr(inner) if inner.op == binary.op => {
                        stack.push(&inner.right);
                        stack.push(&inner.left);
                    }
                    other => fields.push(json(other, column)?),
                }
            }
            Some(json!({"type": kind, "fields": fields}))
        }
        Expr::Not(inner) => Some(json!({"type": "not", "field": json(inner, column)?})),
        Expr::IsNull(inner) => Some(json!({"type": "null", "column": column(inner, "STRING")?})),
        Expr::IsNotNull(inner) => {
            Some(json!({"type": "not", "field": {"type": "null", "column": column(inner, "STRING")?}}))
        }
        Expr::BinaryExpr(binary) => {
            let Expr::Literal(value, _) = binary.right.as_ref() else {
                return Some(json!({"type": "expression", "expression": worded(expr)?}));
            };
            let ty = match value {
                ScalarValue::Utf8(_) => "STRING",
                ScalarValue::Float64(_) => "DOUBLE",
                _ => "LONG",
            };
            let name = column(&binary.left, ty)?;
            let literal = literal_json(value);
            let range = |key: &str, open: &str, is_open: bool| {
                let mut map = serde_json::Map::new();
                map.insert("type".into(), json!("range"));
                map.insert("column".into(), json!(name));
                map.insert("matchValueType".into(), json!(ty));
                map.insert(key.into(), literal.clone());
                if is_open {
                    map.insert(open.into(), json!(true));
                }
                Value::Object(map)
            };
            let equals = || json!({"type": "equals", "column": name, "matchValueType": ty, "matchValue": literal});
            Some(match binary.op {
                Operator::Eq => equals(),
                Operator::NotEq => json!({"type": "not", "field": equals()}),
                Operator::Gt => range("lower", "lowerOpen", true),
                Operator::GtEq => range("lower", "lowerOpen", false),
                Operator::Lt => range("upper", "upperOpen", true),
                Operator::LtEq => range("upper", "upperOpen", false),
                _ => return Some(json!({"type": "expression", "expression": worded(expr)?})),
            })
        }
        Expr::InList(list) => {
            let mut values = Vec::new();
            let mut ty = "STRING";
            for item in &list.list {
                let Expr::Literal(value, _) = item else { return None };
                if matches!(value, ScalarValue::Int64(_)) {
                    ty = "LONG";
                }
                values.push(value.clone());
            }
            values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
            let sorted: Vec<Value> = values.iter().map(literal_json).collect();
            let name = column(&list.expr, ty)?;
            let filter = json!({"type": "inType", "column": name, "matchValueType": ty, "sortedValues": sorted});
            Some(if list.negated {
                json!({"type": "not", "field": filter})
            } else {
                filter
            })
        }
        Expr::Like(like) if !like.case_insensitive => {
            let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = like.pattern.as_ref() else {
                return None;
            };
            let name = column(&like.expr, "STRING")?;
            let filter =
                json!({"type": "like", "dimension": name, "pattern": pattern, "escape": null, "extractionFn": null});
            Some(if like.negated {
                json!({"type": "not", "field": filter})
            } else {
                filter
            })
        }
        other => Some(json!({"type": "expression", "expression": worded(other)?})),
    }
}

/// Finds the columns that a condition gives one value: those that have to be equal to a number. Text stays a column, since a literal
/// has another type (CHAR) to Druid's planner.
pub(super) fn known_values(condition: &Expr) -> Vec<(datafusion::common::Column, Expr)> {
    let mut found = Vec::new();
    let mut stack = vec![condition];
    while let Some(expr) = stack.pop() {
        let Expr::BinaryExpr(binary) = expr else { continue };
        match (binary.op, binary.left.as_ref(), binary.right.as_ref()) {
            (Operator::And, left, right) => stack.extend([right, left]),
            (Operator::Eq, Expr::Column(column), value @ Expr::Literal(ScalarValue::Int64(Some(_)), _)) => {
                found.push((column.clone(), value.clone()));
            }
            _ => {}
        }
    }
    found
}
