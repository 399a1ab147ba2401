//! Expressions and aggregators in Druid's native wording.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, Operator};
use serde_json::{Value, json};

use crate::SqlType;

/// Words an expression: `("n" + 1)`, `timestamp_floor("__time",'P1D',null,'UTC')`.
pub(crate) fn worded(expr: &Expr) -> Option<String> {
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
        // How whole numbers are negated.
        Expr::BinaryExpr(binary)
            if binary.op == Operator::Minus
                && matches!(binary.left.as_ref(), Expr::Literal(ScalarValue::Int64(Some(0)), _)) =>
        {
            format!("(- {})", word(&binary.right)?)
        }
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
            // A whole number is what the statement wrote, where only henge needs a fraction.
            let side = |side: &Expr, other: &Expr| match (side, other) {
                (Expr::Literal(ScalarValue::Float64(Some(number)), _), Expr::Cast(cast))
                    if number.fract() == 0.0
                        && number.abs() < 1e15
                        && *cast.field.data_type() == arrow::datatypes::DataType::Float64 =>
                {
                    Some((*number as i64).to_string())
                }
                _ => word(side),
            };
            format!(
                "({} {op} {})",
                side(&binary.left, &binary.right)?,
                side(&binary.right, &binary.left)?
            )
        }
        Expr::Not(inner) => format!("(! {})", word(inner)?),
        Expr::Negative(inner) => format!("(- {})", word(inner)?),
        Expr::IsNull(inner) => format!("isnull({})", word(inner)?),
        Expr::IsNotNull(inner) => format!("notnull({})", word(inner)?),
        // Constants are folded.
        Expr::Cast(cast)
            if matches!(
                (cast.expr.as_ref(), cast.field.data_type()),
                (
                    Expr::Literal(ScalarValue::Float64(Some(_)), _),
                    arrow::datatypes::DataType::Float32 | arrow::datatypes::DataType::Float64
                )
            ) =>
        {
            word(&cast.expr)?
        }
        // Numbers of columns are read as what they are, and the column says what it wants.
        Expr::Cast(cast) if is_fraction(cast.field.data_type()) && matches!(cast.expr.as_ref(), Expr::Column(_)) => {
            word(&cast.expr)?
        }
        Expr::Cast(cast) if *cast.field.data_type() == arrow::datatypes::DataType::Float32 => word(&cast.expr)?,
        Expr::Cast(cast)
            if *cast.field.data_type() == arrow::datatypes::DataType::Float64
                && matches!(cast.expr.as_ref(), Expr::Cast(inner) if *inner.field.data_type() == arrow::datatypes::DataType::Float32) =>
        {
            word(&cast.expr)?
        }
        Expr::Cast(cast) => format!(
            "CAST({}, '{}')",
            word(&cast.expr)?,
            SqlType::from_field(&cast.field).native()
        ),
        // Milliseconds are added to a time as to any number.
        Expr::ScalarFunction(call) if call.func.name() == "timestamp_plus" => {
            let [time, span, ..] = call.args.as_slice() else {
                return None;
            };
            let span = match span {
                Expr::BinaryExpr(product) if product.op == Operator::Multiply => {
                    format!("({} * {})", word(&product.right)?, word(&product.left)?)
                }
                other => word(other)?,
            };
            format!("({} + {span})", word(time)?)
        }
        Expr::ScalarFunction(call) => super::calls::call(call.func.name(), &call.args, &word)?,
        Expr::Case(case) if case.expr.is_none() => {
            let mut parts = Vec::new();
            for (when, then) in &case.when_then_expr {
                parts.push(word(when)?);
                parts.push(word(then)?);
            }
            parts.push(case.else_expr.as_ref().map_or(Some("null".into()), |e| word(e))?);
            format!("case_searched({})", parts.join(","))
        }
        Expr::InList(list) => {
            let values = list.list.iter().map(word).collect::<Option<Vec<_>>>()?;
            let worded = match values.as_slice() {
                [one] => format!("({} == {one})", word(&list.expr)?),
                _ => format!("scalar_in_array({},array({}))", word(&list.expr)?, values.join(",")),
            };
            if list.negated { format!("(! {worded})") } else { worded }
        }
        Expr::Like(like) => format!("like({},{})", word(&like.expr)?, word(&like.pattern)?),
        _ => return None,
    })
}

fn is_fraction(ty: &arrow::datatypes::DataType) -> bool {
    matches!(
        ty,
        arrow::datatypes::DataType::Float32 | arrow::datatypes::DataType::Float64
    )
}

/// Takes casts to fractions off a column.
pub(super) fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) if is_fraction(cast.field.data_type()) => match uncast(&cast.expr) {
            column @ Expr::Column(_) => column,
            _ => expr,
        },
        other => other,
    }
}

fn literal(value: &ScalarValue) -> Option<String> {
    Some(match value {
        value if value.is_null() => "null".into(),
        ScalarValue::Utf8(Some(text)) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        ScalarValue::Int64(Some(n)) => n.to_string(),
        ScalarValue::Float64(Some(x)) => henge_number::f64_text(*x),
        ScalarValue::Boolean(Some(b)) => i32::from(*b).to_string(),
        ScalarValue::TimestampMillisecond(Some(t), _) => t.to_string(),
        _ => return None,
    })
}

/// Words JSON_OBJECT as the members of Druid's `nested-object` column: each value's expression and type.
pub(super) fn nested_object(expr: &Expr) -> Option<Value> {
    let Expr::ScalarFunction(call) = expr else { return None };
    if call.func.name() != "json_object" {
        return None;
    }
    let mut members = serde_json::Map::new();
    for pair in call.args.chunks(2) {
        let [Expr::Literal(key, _), value] = pair else {
            return None;
        };
        let value = match value {
            Expr::ScalarFunction(call) if call.func.name() == "json_of" => call.args.first()?,
            other => other,
        };
        // The type of a column is not known here.
        if !matches!(value, Expr::Literal(..)) {
            return None;
        }
        let ty = native_type(value);
        let worded = json!({"expression": worded(value)?, "type": ty});
        members.insert(key.try_as_str().flatten()?.to_string(), worded);
    }
    Some(Value::Object(members))
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

/// Gives Druid's JSON of the granularity that an expression cuts `__time` to; none for other expressions.
pub(super) fn time_granularity(expr: &Expr) -> Option<Value> {
    let (period, zone, granularity) = cut(expr)?;
    match crate::explain::granularity_json(&granularity) {
        Value::String(name) if zone == "UTC" => Some(json!(name)),
        _ => Some(json!({"type": "period", "period": period, "timeZone": zone, "origin": null})),
    }
}

/// Gives the granularity, in UTC, that an expression cuts `__time` to.
pub(super) fn cut_to(expr: &Expr) -> Option<henge_time::Granularity> {
    let (_, zone, granularity) = cut(expr)?;
    (zone == "UTC").then_some(granularity)
}

fn cut(expr: &Expr) -> Option<(&str, &str, henge_time::Granularity)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    if let ("date_trunc", [Expr::Literal(unit, _), Expr::Column(time), rest @ ..]) =
        (call.func.name(), call.args.as_slice())
        && time.name == "__time"
    {
        let unit = unit.try_as_str().flatten()?.to_ascii_lowercase();
        let period = crate::functions::time::period_of(&unit)?;
        let zone = match rest.first() {
            Some(Expr::Literal(zone, _)) => zone.try_as_str().flatten().unwrap_or("UTC"),
            _ => "UTC",
        };
        return Some((period, zone, period.parse().ok()?));
    }
    let [
        Expr::Column(time),
        Expr::Literal(period, _),
        origin,
        Expr::Literal(zone, _),
    ] = call.args.as_slice()
    else {
        return None;
    };
    let no_origin = matches!(origin, Expr::Literal(value, _) if value.is_null());
    if call.func.name() != "timestamp_floor" || time.name != "__time" || !no_origin {
        return None;
    }
    let period = period.try_as_str().flatten()?;
    let zone = zone.try_as_str().flatten().unwrap_or("UTC");
    Some((period, zone, period.parse().ok()?))
}

/// Native types around an aggregate.
pub(super) struct AggregateTypes {
    /// Of its first argument.
    pub argument: String,
    /// Of the column below the cast of its first argument.
    pub uncast: String,
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
    cardinality(arg, name, types, column)
}

fn cardinality(
    arg: &Expr,
    name: &str,
    types: &AggregateTypes,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Value> {
    let dimension = column(arg, &types.argument)?;
    let field =
        json!({"type": "default", "dimension": dimension, "outputName": dimension, "outputType": types.argument});
    Some(json!({"type": "cardinality", "name": name, "fields": [field], "byRow": false, "round": true}))
}

/// An aggregate in native words: its aggregators, and what makes one value of several.
pub(super) struct Aggregation {
    pub aggregators: Vec<Value>,
    pub post: Option<Value>,
}

/// Words an aggregate.
pub(super) fn aggregation(
    expr: &Expr,
    name: &str,
    types: &AggregateTypes,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Aggregation> {
    if let Expr::AggregateFunction(call) = expr
        && call.func.name() == "avg"
    {
        return average(call, name, column);
    }
    if let Expr::AggregateFunction(call) = expr
        && call.func.name() == "approx_quantile_ds"
    {
        return quantile(call, name, column);
    }
    Some(Aggregation {
        aggregators: vec![aggregator(expr, name, types, column)?],
        post: None,
    })
}

/// Words AVG: a sum, a count, and their quotient.
fn average(
    call: &AggregateFunction,
    name: &str,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Aggregation> {
    let ([arg], false, []) = (
        call.params.args.as_slice(),
        call.params.distinct,
        call.params.order_by.as_slice(),
    ) else {
        return None;
    };
    // Whole numbers are summed as doubles without a cast.
    let field = match arg {
        Expr::Cast(cast) if native_type(&cast.expr) != "STRING" => column(&cast.expr, "LONG")?,
        other => column(other, "DOUBLE")?,
    };
    let (sum, count) = (format!("{name}:sum"), format!("{name}:count"));
    let access = |field: &str| json!({"type": "fieldAccess", "fieldName": field});
    let post = json!({"type": "arithmetic", "name": name, "fn": "quotient", "fields": [access(&sum), access(&count)]});
    let summed = json!({"type": "doubleSum", "name": sum, "fieldName": field});
    let counted = json!({"type": "filtered", "aggregator": {"type": "count", "name": count},
        "filter": {"type": "not", "field": {"type": "null", "column": field}}, "name": count});
    Some(Aggregation {
        aggregators: vec![
            filtered(summed, call, &sum, column)?,
            filtered(counted, call, &count, column)?,
        ],
        post: Some(post),
    })
}

/// Words APPROX_QUANTILE_DS: a sketch, and what is read off it.
fn quantile(
    call: &AggregateFunction,
    name: &str,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Aggregation> {
    let [
        arg,
        Expr::Literal(ScalarValue::Float64(Some(fraction)), _),
        Expr::Literal(ScalarValue::Int64(Some(k)), _),
        ..,
    ] = call.params.args.as_slice()
    else {
        return None;
    };
    let field = column(uncast(arg), "DOUBLE")?;
    let sketch_name = format!("{name}:agg");
    let sketch = json!({
        "type": "quantilesDoublesSketch", "name": sketch_name, "fieldName": field, "k": k,
        "maxStreamLength": 1_000_000_000,
    });
    let access = json!({"type": "fieldAccess", "name": sketch_name, "fieldName": sketch_name});
    Some(Aggregation {
        aggregators: vec![filtered(sketch, call, &sketch_name, column)?],
        post: Some(json!({
            "type": "quantilesDoublesSketchToQuantile", "name": name, "field": access,
            // Druid keeps it in 32 bits.
            "fraction": f64::from(*fraction as f32),
        })),
    })
}

/// Words ARRAY_AGG as the expressions that fold values into an array.
fn array_of(
    call: &AggregateFunction,
    name: &str,
    types: &AggregateTypes,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Value> {
    let [arg, Expr::Literal(ScalarValue::Int64(Some(bytes)), _)] = call.params.args.as_slice() else {
        return None;
    };
    let (ty, is_text) = match types.argument.as_str() {
        "STRING" => ("STRING", true),
        "LONG" => ("LONG", false),
        "DOUBLE" | "FLOAT" => ("DOUBLE", false),
        _ => return None,
    };
    let arg = match arg {
        Expr::Cast(cast) if is_text => &cast.expr,
        other => uncast(other),
    };
    let field = column(arg, &types.argument)?;
    let initial = format!("ARRAY<{ty}>[]");
    let (fold, combine) = match call.params.distinct {
        true => ("array_set_add", "array_set_add_all"),
        false => ("array_append", "array_concat"),
    };
    let worded = json!({
        "type": "expression", "name": name, "fields": [field], "accumulatorIdentifier": "__acc",
        "initialValue": initial, "initialCombineValue": initial, "isNullUnlessAggregated": true,
        "shouldAggregateNullInputs": true, "shouldCombineAggregateNullInputs": false,
        "fold": format!("{fold}(\"__acc\", \"{field}\")"), "combine": format!("{combine}(\"__acc\", \"{name}\")"),
        "maxSizeBytes": bytes,
    });
    filtered(worded, call, name, column)
}

/// Words an aggregate that is a single native aggregator.
fn aggregator(
    expr: &Expr,
    name: &str,
    types: &AggregateTypes,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Value> {
    let Expr::AggregateFunction(call) = expr else {
        return None;
    };
    if matches!(call.func.name(), "first_value" | "last_value") {
        return first_or_last(call, name, types, column);
    }
    if !call.params.order_by.is_empty() {
        return None;
    }
    if call.func.name() == "collect" {
        return array_of(call, name, types, column);
    }
    if call.params.distinct {
        return match (call.func.name(), call.params.args.as_slice()) {
            // Counted exactly, for which there is no aggregator; Druid's own wording estimates.
            ("count", [arg]) => filtered(cardinality(arg, name, types, column)?, call, name, column),
            _ => None,
        };
    }
    if call.func.name() == "grouping" {
        let args = call.params.args.iter();
        let columns: Vec<String> = args.map(|arg| column(arg, "STRING")).collect::<Option<_>>()?;
        return Some(json!({"type": "grouping", "name": name, "groupings": columns}));
    }
    if matches!(call.func.name(), "approx_count_distinct_builtin" | "collect_unique") {
        return distinct_count(call, name, types, column);
    }
    if let Some(worded) = sketch(call, name, types, column) {
        return filtered(worded, call, name, column);
    }
    if let Some(worded) = of_case(call, name, types, column) {
        return Some(worded);
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
            let arg = match arg? {
                // Aggregators read numbers of any type.
                Expr::Cast(cast) if matches!(types.uncast.as_str(), "LONG" | "FLOAT" | "DOUBLE") => &cast.expr,
                arg => arg,
            };
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
    filtered(inner, call, name, column)
}

/// Words SUM and COUNT of CASE with one condition as filtered aggregators (Calcite's `AggregateCaseToFilterRule`).
fn of_case(
    call: &AggregateFunction,
    name: &str,
    types: &AggregateTypes,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Value> {
    let ([Expr::Case(case)], None) = (call.params.args.as_slice(), &call.params.filter) else {
        return None;
    };
    let ([(when, then)], None) = (case.when_then_expr.as_slice(), &case.expr) else {
        return None;
    };
    let otherwise = case.else_expr.as_deref();
    let is_null = otherwise.is_none_or(|other| matches!(other, Expr::Literal(value, _) if value.is_null()));
    let is_zero = matches!(otherwise, Some(Expr::Literal(ScalarValue::Int64(Some(0)), _)));
    let (inner, condition) = match (call.func.name(), then.as_ref()) {
        ("sum", Expr::Column(_)) if types.output == "LONG" && (is_null || is_zero) => (
            json!({"type": "longSum", "name": name, "fieldName": column(then, "LONG")?}),
            super::filter::json(when, column)?,
        ),
        ("count", Expr::Literal(value, _)) if is_null && !value.is_null() => (
            json!({"type": "count", "name": name}),
            super::filter::json(when, column)?,
        ),
        ("count", Expr::Column(_)) if is_null => {
            let there = json!({"type": "not", "field": {"type": "null", "column": column(then, "STRING")?}});
            let when = super::filter::json(when, column)?;
            (
                json!({"type": "count", "name": name}),
                json!({"type": "and", "fields": [there, when]}),
            )
        }
        _ => return None,
    };
    let filter = super::simplify::filter_only(condition);
    Some(json!({"type": "filtered", "aggregator": inner, "filter": filter, "name": name}))
}

/// Puts the FILTER of a call around its aggregator.
fn filtered(
    inner: Value,
    call: &AggregateFunction,
    name: &str,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Value> {
    match &call.params.filter {
        None => Some(inner),
        Some(condition) => {
            let filter = super::simplify::filter_only(super::filter::json(condition, column)?);
            Some(json!({"type": "filtered", "aggregator": inner, "filter": filter, "name": name}))
        }
    }
}

/// Words an aggregate of sketches or pairs.
fn sketch(
    call: &AggregateFunction,
    name: &str,
    types: &AggregateTypes,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Value> {
    use super::combining::{Form, sketch, time_column};
    let arg = call.params.args.first()?;
    let form = if types.argument.starts_with("COMPLEX<") {
        Form::Merge
    } else {
        Form::Build
    };
    match call.func.name() {
        "earliest_pair" | "latest_pair" => {
            let value = match types.argument.as_str() {
                "STRING" => "string",
                "LONG" => "long",
                "DOUBLE" => "double",
                "FLOAT" => "float",
                stored => match stored.strip_prefix("COMPLEX<serializablePairLong")?.strip_suffix('>')? {
                    "String" => "string",
                    "Long" => "long",
                    "Double" => "double",
                    _ => "float",
                },
            };
            let keeps = if call.func.name() == "earliest_pair" {
                "First"
            } else {
                "Last"
            };
            let (time, most) = match call.params.args.as_slice() {
                [_, time, Expr::Literal(ScalarValue::Int64(Some(most)), _)] => (time_column(time), *most),
                _ => ("__time".to_string(), crate::limits::AGGREGATE_BYTES),
            };
            let field = column(arg, &types.argument)?;
            let mut worded = json!({
                "type": format!("{value}{keeps}"), "name": name, "fieldName": field, "timeColumn": time,
            });
            if value == "string" {
                worded["maxStringBytes"] = json!(most);
            }
            Some(worded)
        }
        "ds_hll" | "ds_theta" | "ds_quantiles_sketch" | "ds_tuple_doubles" => sketch(
            call,
            name,
            &column(arg, &types.argument)?,
            form,
            call.func.name() != "ds_tuple_doubles",
        ),
        "approx_count_distinct_ds_hll" | "approx_count_distinct_ds_theta" => {
            sketch(call, name, &column(arg, &types.argument)?, form, false)
        }
        _ => None,
    }
}

/// Words EARLIEST, LATEST and ANY_VALUE over plain values.
fn first_or_last(
    call: &AggregateFunction,
    name: &str,
    types: &AggregateTypes,
    column: &mut dyn FnMut(&Expr, &str) -> Option<String>,
) -> Option<Value> {
    let [arg] = call.params.args.as_slice() else {
        return None;
    };
    let (value, is_text) = match types.argument.as_str() {
        "STRING" => ("string", true),
        "LONG" => ("long", false),
        "DOUBLE" => ("double", false),
        "FLOAT" => ("float", false),
        _ => return None,
    };
    let arg = match arg {
        Expr::Cast(cast) if is_text => &cast.expr,
        other => other,
    };
    let field = column(arg, &types.argument)?;
    let mut worded = match call.params.order_by.as_slice() {
        [] => {
            let mut any = json!({"type": format!("{value}Any"), "name": name, "fieldName": field});
            if is_text {
                any["maxStringBytes"] = json!(crate::limits::AGGREGATE_BYTES);
                any["aggregateMultipleValues"] = json!(true);
            }
            return filtered(any, call, name, column);
        }
        [time] => {
            let keeps = if call.func.name() == "first_value" {
                "First"
            } else {
                "Last"
            };
            json!({
                "type": format!("{value}{keeps}"), "name": name, "fieldName": field,
                "timeColumn": super::combining::time_column(&time.expr),
            })
        }
        _ => return None,
    };
    if is_text {
        worded["maxStringBytes"] = json!(crate::limits::AGGREGATE_BYTES);
    }
    // A row without a time is left out by a filter that Druid does not have.
    let guard = call.params.filter.as_deref();
    match (guard, call.params.order_by.first()) {
        (Some(Expr::IsNotNull(guarded)), Some(time)) if **guarded == time.expr => Some(worded),
        (None, _) => Some(worded),
        _ => None,
    }
}
