//! Conditions in Druid's native wording. [`super::simplify`] takes the time bounds out as intervals.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use serde_json::{Value, json};

use super::expression::{literal_json, worded};

/// Words a comparison of `__time`, or of `__time` cut to a granularity, with a point in time as a range of `__time`.
fn time_range(op: Operator, left: &Expr, at: i64) -> Option<Value> {
    let range = |lower: Option<(i64, bool)>, upper: Option<(i64, bool)>| {
        let mut map = serde_json::Map::new();
        map.insert("type".into(), json!("range"));
        map.insert("column".into(), json!("__time"));
        map.insert("matchValueType".into(), json!("LONG"));
        for (end, name, open) in [(lower, "lower", "lowerOpen"), (upper, "upper", "upperOpen")] {
            if let Some((value, is_open)) = end {
                map.insert(name.into(), json!(value));
                if is_open {
                    map.insert(open.into(), json!(true));
                }
            }
        }
        Value::Object(map)
    };
    let not = |field: Value| json!({"type": "not", "field": field});
    if matches!(left, Expr::Column(column) if column.name == "__time") {
        return Some(match op {
            Operator::Eq => range(Some((at, false)), Some((at, false))),
            Operator::NotEq => not(range(Some((at, false)), Some((at, false)))),
            Operator::Gt => range(Some((at, true)), None),
            Operator::GtEq => range(Some((at, false)), None),
            Operator::Lt => range(None, Some((at, true))),
            Operator::LtEq => range(None, Some((at, false))),
            _ => return None,
        });
    }
    let granularity = super::expression::cut_to(left)?;
    let bucket = granularity.bucket(at);
    let (start, end) = (bucket.start_ms, bucket.end_ms);
    let is_start = start == at;
    let whole = || range(Some((start, false)), Some((end, true)));
    Some(match op {
        Operator::Eq if is_start => whole(),
        Operator::Eq => json!({"type": "false"}),
        Operator::NotEq if is_start => not(whole()),
        Operator::NotEq => json!({"type": "true"}),
        Operator::Gt => range(Some((end, false)), None),
        Operator::GtEq => range(Some((if is_start { start } else { end }, false)), None),
        Operator::Lt => range(None, Some((if is_start { start } else { end }, true))),
        Operator::LtEq => range(None, Some((end, true))),
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
        Expr::Not(inner) => negated(inner, column),
        Expr::IsTrue(inner) => Some(json!({"type": "istrue", "field": json(inner, column)?})),
        Expr::IsFalse(inner) => Some(json!({"type": "isfalse", "field": json(inner, column)?})),
        Expr::IsNotTrue(inner) => Some(not(json!({"type": "istrue", "field": json(inner, column)?}))),
        Expr::IsNotFalse(inner) => Some(not(json!({"type": "isfalse", "field": json(inner, column)?}))),
        Expr::IsNull(inner) => Some(json!({"type": "null", "column": column(inner, "STRING")?})),
        Expr::IsNotNull(inner) => {
            Some(json!({"type": "not", "field": {"type": "null", "column": column(inner, "STRING")?}}))
        }
        Expr::BinaryExpr(binary) => {
            if let (Expr::Literal(..), Some(op)) = (binary.left.as_ref(), binary.op.swap())
                && !matches!(binary.right.as_ref(), Expr::Literal(..))
            {
                let swapped = Expr::BinaryExpr(BinaryExpr::new(binary.right.clone(), op, binary.left.clone()));
                return json(&swapped, column);
            }
            let Expr::Literal(value, _) = binary.right.as_ref() else {
                return Some(json!({"type": "expression", "expression": worded(expr)?}));
            };
            if let ScalarValue::TimestampMillisecond(Some(at), _) = value
                && let Some(range) = time_range(binary.op, &binary.left, *at)
            {
                return Some(range);
            }
            let ty = match value {
                ScalarValue::Utf8(_) => "STRING",
                ScalarValue::Float64(_) => "DOUBLE",
                _ => "LONG",
            };
            let is_equality = matches!(binary.op, Operator::Eq | Operator::NotEq);
            let (left, ty, literal) = match (binary.left.as_ref(), value) {
                // Numbers of a column are compared with a literal as it is written, without a cast: whole ones as such, but an
                // equality is one of the column's type.
                (left, ScalarValue::Float64(Some(number))) => {
                    let (left, is_float) = match left {
                        Expr::Cast(cast)
                            if matches!(cast.expr.as_ref(), Expr::Column(_))
                                && *cast.field.data_type() == arrow::datatypes::DataType::Float64 =>
                        {
                            (cast.expr.as_ref(), true)
                        }
                        other => (other, false),
                    };
                    let is_whole = number.fract() == 0.0 && number.abs() < 1e15;
                    match is_equality {
                        true if is_float => (left, "FLOAT", json!(number)),
                        false if is_whole && matches!(left, Expr::Column(_)) => (left, "LONG", json!(*number as i64)),
                        _ => (left, "DOUBLE", json!(number)),
                    }
                }
                (left, value) => (left, ty, literal_json(value)),
            };
            let name = column(left, ty)?;
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

fn not(field: Value) -> Value {
    json!({"type": "not", "field": field})
}

/// Words NOT as Calcite leaves it: inside of AND, OR and comparisons.
fn negated(inner: &Expr, column: &mut dyn FnMut(&Expr, &str) -> Option<String>) -> Option<Value> {
    match inner {
        Expr::Not(inner) => json(inner, column),
        Expr::IsNull(inner) => json(&Expr::IsNotNull(inner.clone()), column),
        Expr::IsNotNull(inner) => json(&Expr::IsNull(inner.clone()), column),
        Expr::BinaryExpr(binary) => {
            let op = match binary.op {
                Operator::And => Operator::Or,
                Operator::Or => Operator::And,
                other => match other.negate() {
                    Some(op) => {
                        let turned = BinaryExpr::new(binary.left.clone(), op, binary.right.clone());
                        return json(&Expr::BinaryExpr(turned), column);
                    }
                    None => return Some(not(json(inner, column)?)),
                },
            };
            let negate = |side: &Expr| Box::new(Expr::Not(Box::new(side.clone())));
            let turned = BinaryExpr::new(negate(&binary.left), op, negate(&binary.right));
            json(&Expr::BinaryExpr(turned), column)
        }
        other => Some(not(json(other, column)?)),
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
