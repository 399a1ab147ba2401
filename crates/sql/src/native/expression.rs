//! Expressions and aggregators in Druid's native wording.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, Operator};
use serde_json::{Value, json};

use crate::SqlType;

/// Words an expression: `("n" + 1)`, `timestamp_floor("__time",'P1D',null,'UTC')`.
pub(super) fn worded(expr: &Expr) -> Option<String> {
    worded_with(expr, &|_| None)
}

/// The same, with names of its own for some parts.
pub(super) fn worded_with(expr: &Expr, named: &dyn Fn(&Expr) -> Option<String>) -> Option<String> {
    if let Some(name) = named(expr) {
        return Some(format!("\"{name}\""));
    }
    let word = |e: &Expr| worded_with(e, named);
    Some(match expr {
        Expr::Alias(alias) => word(&alias.expr)?,
        Expr::Column(column) => format!("\"{}\"", column.name),
        Expr::Literal(value, _) => literal(value)?,
        Expr::BinaryExpr(binary) => {
            let op = match binary.op {
                Operator::Eq => "==",
                Operator::NotEq => "!=",
                Operator::And => "&&",
                Operator::Or => "||",
                Operator::Plus => "+",
                Operator::Minus => "-",
                Operator::Multiply => "*",
                Operator::Divide => "/",
                Operator::Modulo => "%",
                Operator::Lt => "<",
                Operator::LtEq => "<=",
                Operator::Gt => ">",
                Operator::GtEq => ">=",
                _ => return None,
            };
            format!("({} {op} {})", word(&binary.left)?, word(&binary.right)?)
        }
        Expr::Not(inner) => format!("(! {})", word(inner)?),
        Expr::Negative(inner) => format!("-{}", word(inner)?),
        Expr::IsNull(inner) => format!("isnull({})", word(inner)?),
        Expr::IsNotNull(inner) => format!("notnull({})", word(inner)?),
        Expr::Cast(cast) => format!(
            "CAST({}, '{}')",
            word(&cast.expr)?,
            SqlType::from_field(&cast.field).native()
        ),
        Expr::ScalarFunction(call) => {
            let args = call.args.iter().map(word).collect::<Option<Vec<_>>>()?;
            let name = call.func.name();
            format!("{}({})", name.strip_prefix("map_").unwrap_or(name), args.join(","))
        }
        Expr::Case(case) if case.expr.is_none() => {
            let mut parts = Vec::new();
            for (when, then) in &case.when_then_expr {
                parts.push(word(when)?);
                parts.push(word(then)?);
            }
            parts.push(case.else_expr.as_ref().map_or(Some("null".into()), |e| word(e))?);
            format!("case_searched({})", parts.join(","))
        }
        Expr::Like(like) => format!("like({},{})", word(&like.expr)?, word(&like.pattern)?),
        _ => return None,
    })
}

fn literal(value: &ScalarValue) -> Option<String> {
    Some(match value {
        value if value.is_null() => "null".into(),
        ScalarValue::Utf8(Some(text)) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        ScalarValue::Int64(Some(n)) => n.to_string(),
        ScalarValue::Float64(Some(x)) => crate::functions::java_double(*x),
        ScalarValue::Boolean(Some(b)) => i32::from(*b).to_string(),
        ScalarValue::TimestampMillisecond(Some(t), _) => t.to_string(),
        _ => return None,
    })
}

/// Gives a literal as JSON.
pub(super) fn literal_json(value: &ScalarValue) -> Value {
    match value {
        ScalarValue::Utf8(Some(text)) => json!(text),
        ScalarValue::Int64(Some(n)) => json!(n),
        ScalarValue::Float64(Some(x)) => json!(x),
        ScalarValue::Boolean(Some(b)) => json!(i32::from(*b)),
        ScalarValue::TimestampMillisecond(Some(t), _) => json!(t),
        _ => Value::Null,
    }
}

/// Guesses the native type of an expression from its outermost part.
pub(super) fn native_type(expr: &Expr) -> &'static str {
    match expr {
        Expr::Literal(ScalarValue::Utf8(_), _) => "STRING",
        Expr::Literal(ScalarValue::Float64(_), _) => "DOUBLE",
        Expr::ScalarFunction(call) if call.func.name().starts_with("timestamp_format") => "STRING",
        Expr::ScalarFunction(call) => match call.func.return_type(&[]) {
            Ok(arrow::datatypes::DataType::Utf8) => "STRING",
            Ok(arrow::datatypes::DataType::Float64) => "DOUBLE",
            _ => "LONG",
        },
        _ => "LONG",
    }
}

/// Native types around an aggregate.
pub(super) struct AggregateTypes {
    /// Of its first argument.
    pub argument: String,
    /// Of its value.
    pub output: String,
}

/// Words a count of distinct values by a sketch.
fn distinct_count(
    call: &AggregateFunction,
    name: &str,
    types: &AggregateTypes,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Value> {
    let ([arg, _], None) = (call.params.args.as_slice(), &call.params.filter) else {
        return None;
    };
    let dimension = column(arg, &types.argument)?;
    let field =
        json!({"type": "default", "dimension": dimension, "outputName": dimension, "outputType": types.argument});
    Some(json!({"type": "cardinality", "name": name, "fields": [field], "byRow": false, "round": true}))
}

/// Words an aggregate as a native aggregator.
pub(super) fn aggregation(
    expr: &Expr,
    name: &str,
    types: &AggregateTypes,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Value> {
    let Expr::AggregateFunction(call) = expr else {
        return None;
    };
    if !call.params.order_by.is_empty() {
        return None;
    }
    // COUNT(DISTINCT …) counts exactly, for which there is no aggregator.
    if call.params.distinct {
        return None;
    }
    if call.func.name() == "approx_count_distinct_builtin" {
        return distinct_count(call, name, types, column);
    }
    let arg = call.params.args.first();
    let constant = matches!(arg, Some(Expr::Literal(value, _)) if !value.is_null());
    let inner = match call.func.name() {
        "count" if constant => json!({"type": "count", "name": name}),
        "count" => {
            let field = column(arg?, "STRING")?;
            json!({"type": "filtered", "aggregator": {"type": "count", "name": name},
                   "filter": {"type": "not", "field": {"type": "null", "column": field}}, "name": name})
        }
        function @ ("sum" | "min" | "max") => {
            let arg = arg?;
            let (ty, number) = match types.output.as_str() {
                "DOUBLE" => ("DOUBLE", "double"),
                "FLOAT" => ("FLOAT", "float"),
                "LONG" => ("LONG", "long"),
                _ => return None,
            };
            let operation = match function {
                "sum" => "Sum",
                "min" => "Min",
                _ => "Max",
            };
            json!({"type": format!("{number}{operation}"), "name": name, "fieldName": column(arg, ty)?})
        }
        _ => return None,
    };
    match &call.params.filter {
        None => Some(inner),
        Some(condition) => {
            let filter = super::filter::json(condition, column)?;
            Some(json!({"type": "filtered", "aggregator": inner, "filter": filter, "name": name}))
        }
    }
}
