//! Conditions in Druid's native wording. [`super::simplify`] takes the time bounds out as intervals.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::ScalarFunction;
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
            let (mut parts, mut there) = (Vec::new(), Vec::new());
            let mut stack = vec![expr];
            while let Some(at) = stack.pop() {
                match at {
                    Expr::BinaryExpr(inner) if inner.op == binary.op => {
                        stack.push(&inner.right);
                        stack.push(&inner.left);
                    }
                    // Calcite puts what has to be there last.
                    Expr::IsNotNull(_) if binary.op == Operator::And => there.push(at),
                    other => parts.push(other),
                }
            }
            parts.append(&mut there);
            let mut fields = Vec::new();
            for part in parts {
                fields.push(json(part, column)?);
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
            // A number that a 32-bit column is compared with is brought to its type.
            let right = match binary.right.as_ref() {
                Expr::Cast(cast) if matches!(cast.expr.as_ref(), Expr::Literal(ScalarValue::Float64(_), _)) => {
                    cast.expr.as_ref()
                }
                other => other,
            };
            let Expr::Literal(value, _) = right else {
                return Some(json!({"type": "expression", "expression": worded(expr)?}));
            };
            let is_brought = right != binary.right.as_ref();
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
                // Numbers of a column are compared with a literal as it is written, without a cast: whole ones as such, but
                // where they are to be equal as one of the column's type.
                (left, ScalarValue::Float64(Some(number))) => {
                    let below = super::expression::uncast(left);
                    let is_cast = below != left || is_brought;
                    let is_whole = number.fract() == 0.0 && number.abs() < 1e15;
                    match is_whole {
                        true if is_equality && is_cast => (below, "FLOAT", json!(number)),
                        true if !is_equality && matches!(below, Expr::Column(_)) => {
                            (below, "LONG", json!(*number as i64))
                        }
                        _ => (below, "DOUBLE", json!(number)),
                    }
                }
                // Text is compared with a column as its text.
                (Expr::ScalarFunction(call), ScalarValue::Utf8(_))
                    if call.func.name() == "cast_string"
                        && matches!(call.args.first().map(super::expression::uncast), Some(Expr::Column(_))) =>
                {
                    (super::expression::uncast(&call.args[0]), ty, literal_json(value))
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
            let below = super::expression::uncast(&list.expr);
            for item in &list.list {
                let Expr::Literal(value, _) = item else { return None };
                match value {
                    ScalarValue::Int64(_) => ty = "LONG",
                    ScalarValue::Float64(_) if *below != *list.expr => ty = "FLOAT",
                    ScalarValue::Float64(_) => ty = "DOUBLE",
                    _ => {}
                }
                values.push(value.clone());
            }
            if let ([_], false) = (values.as_slice(), values.iter().any(ScalarValue::is_null)) {
                let op = if list.negated { Operator::NotEq } else { Operator::Eq };
                let one = BinaryExpr::new(list.expr.clone(), op, Box::new(list.list[0].clone()));
                return json(&Expr::BinaryExpr(one), column);
            }
            values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
            let sorted: Vec<Value> = values.iter().map(literal_json).collect();
            let name = column(below, ty)?;
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
        Expr::ScalarFunction(call) if listed(call, column).is_some() => listed(call, column),
        other => Some(json!({"type": "expression", "expression": worded(other)?})),
    }
}

/// Words conditions on the values of a column, each by itself: MV_CONTAINS, MV_OVERLAP, SCALAR_IN_ARRAY, comparisons.
fn listed(call: &ScalarFunction, column: &mut dyn FnMut(&Expr, &str) -> Option<String>) -> Option<Value> {
    let below = match call.args.first()? {
        Expr::ScalarFunction(inner) if inner.func.name() == "mv_harmonize" => inner.args.first()?,
        other => other,
    };
    let is_column = matches!(super::expression::uncast(below), Expr::Column(_));
    match (call.func.name(), &call.args[1..]) {
        ("mv_any", [Expr::Literal(ScalarValue::Utf8(Some(op)), _), value @ Expr::Literal(..)]) if is_column => {
            let op = match op.as_str() {
                "=" => Operator::Eq,
                "<>" => Operator::NotEq,
                "<" => Operator::Lt,
                "<=" => Operator::LtEq,
                ">" => Operator::Gt,
                ">=" => Operator::GtEq,
                _ => return None,
            };
            let plain = BinaryExpr::new(Box::new(below.clone()), op, Box::new(value.clone()));
            json(&Expr::BinaryExpr(plain), column)
        }
        ("regexp_like", [Expr::Literal(ScalarValue::Utf8(Some(pattern)), _)]) => {
            let name = column(below, "STRING")?;
            Some(json!({"type": "regex", "dimension": name, "pattern": pattern, "extractionFn": null}))
        }
        (name @ ("contains_string" | "icontains_string"), [Expr::Literal(ScalarValue::Utf8(Some(text)), _)]) => {
            let query = json!({"type": "contains", "value": text, "caseSensitive": name == "contains_string"});
            let name = column(below, "STRING")?;
            Some(json!({"type": "search", "dimension": name, "query": query, "extractionFn": null}))
        }
        (name @ ("array_contains" | "array_overlap"), [values]) if is_column => {
            let values = match values {
                Expr::ScalarFunction(values) if values.func.name() == "array" => values.args.as_slice(),
                one => std::slice::from_ref(one),
            };
            let mut fields = Vec::new();
            for value in values {
                let Expr::Literal(value, _) = value else { return None };
                let ty = match value {
                    ScalarValue::Utf8(Some(_)) => "STRING",
                    ScalarValue::Int64(Some(_)) => "LONG",
                    ScalarValue::Float64(Some(_)) => "DOUBLE",
                    _ => return None,
                };
                fields.push(json!({
                    "type": "arrayContainsElement", "column": column(below, ty)?, "elementMatchValueType": ty,
                    "elementMatchValue": literal_json(value),
                }));
            }
            let of = if name == "array_contains" { "and" } else { "or" };
            match fields.len() {
                0 => None,
                1 => fields.pop(),
                _ => Some(json!({"type": of, "fields": fields})),
            }
        }
        ("timestamp_in_interval", [Expr::Literal(ScalarValue::Utf8(Some(text)), _)]) if matches!(below, Expr::Column(column) if column.name == "__time") =>
        {
            let span: henge_time::Interval = text.parse().ok()?;
            let (lower, upper) = (span.start_ms, span.end_ms);
            Some(json!({
                "type": "range", "column": "__time", "matchValueType": "LONG", "lower": lower, "upper": upper,
                "upperOpen": true,
            }))
        }
        ("mv_overlap" | "scalar_in_array", [Expr::ScalarFunction(values)])
            if is_column && values.func.name() == "array" =>
        {
            let mut literals: Vec<&ScalarValue> = Vec::new();
            for value in &values.args {
                match value {
                    Expr::Literal(value, _) if !value.is_null() => literals.push(value),
                    _ => return None,
                }
            }
            let ty = match literals.first()? {
                ScalarValue::Utf8(_) => "STRING",
                ScalarValue::Int64(_) => "LONG",
                ScalarValue::Float64(_) => "DOUBLE",
                _ => return None,
            };
            literals.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
            literals.dedup();
            let name = column(super::expression::uncast(below), ty)?;
            let values: Vec<Value> = literals.into_iter().map(literal_json).collect();
            Some(match values.as_slice() {
                [one] => json!({"type": "equals", "column": name, "matchValueType": ty, "matchValue": one}),
                _ => json!({"type": "inType", "column": name, "matchValueType": ty, "sortedValues": values}),
            })
        }
        _ => None,
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

/// Finds the columns that a condition gives one value: those that have to be equal to a number. Text that is all of
/// the condition stays a column, since a literal has another type (CHAR) to Druid's planner.
pub(super) fn known_values(condition: &Expr) -> Vec<(datafusion::common::Column, Expr)> {
    let mut found = Vec::new();
    let is_and = matches!(condition, Expr::BinaryExpr(binary) if binary.op == Operator::And);
    let mut stack = vec![condition];
    while let Some(expr) = stack.pop() {
        let Expr::BinaryExpr(binary) = expr else { continue };
        match (binary.op, binary.left.as_ref(), binary.right.as_ref()) {
            (Operator::And, left, right) => stack.extend([right, left]),
            (Operator::Eq, Expr::Column(column), value @ Expr::Literal(ScalarValue::Int64(Some(_)), _)) => {
                found.push((column.clone(), value.clone()));
            }
            (Operator::Eq, Expr::Column(column), value @ Expr::Literal(ScalarValue::Utf8(Some(_)), _)) if is_and => {
                found.push((column.clone(), value.clone()));
            }
            _ => {}
        }
    }
    found
}
