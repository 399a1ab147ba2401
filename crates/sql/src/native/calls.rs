//! Function calls in the words of Druid's expressions, where these differ from the functions that henge's plans call.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use serde_json::{Value, json};

/// Words a call. `word` words an argument. None where there are no words for it.
pub(super) fn call(name: &str, args: &[Expr], word: &dyn Fn(&Expr) -> Option<String>) -> Option<String> {
    let name = name.strip_prefix("map_").unwrap_or(name);
    let text = |at: usize| match args.get(at) {
        Some(Expr::Literal(ScalarValue::Utf8(Some(text)), _)) => Some(text.as_str()),
        _ => None,
    };
    let arg = |at: usize| word(args.get(at)?);
    let all = || -> Option<String> { Some(args.iter().map(word).collect::<Option<Vec<_>>>()?.join(",")) };
    let cast = |ty: &str| -> Option<String> {
        // A number that is shown is not widened before.
        let inner = match args.first()? {
            Expr::Cast(cast) if ty == "STRING" && matches!(cast.expr.as_ref(), Expr::Column(_)) => &cast.expr,
            other => other,
        };
        Some(format!("CAST({}, '{ty}')", word(inner)?))
    };
    let blank = |name: &str| -> Option<String> {
        match args.len() {
            1 => Some(format!("{name}({},' ')", arg(0)?)),
            _ => Some(format!("{name}({})", all()?)),
        }
    };
    match name {
        "cast_double" => cast("DOUBLE"),
        "cast_long" => cast("LONG"),
        "cast_string" => cast("STRING"),
        // What only henge's types need.
        "json_of" | "timestamp_to_millis" | "millis_to_timestamp" => arg(0),
        "mv_harmonize" => Some(format!("mv_harmonize_nulls({})", all()?)),
        "textcat" => Some(format!("concat({})", all()?)),
        "substring" | "substr" => {
            let start = match args.get(1)? {
                Expr::Literal(ScalarValue::Int64(Some(start)), _) => (start - 1).to_string(),
                start => format!("({} - 1)", word(start)?),
            };
            let length = args.get(2).map_or(Some("-1".to_string()), word)?;
            Some(format!("substring({}, {start}, {length})", arg(0)?))
        }
        "coalesce" if args.len() == 2 => Some(format!("nvl({})", all()?)),
        "concat" => {
            // Chains of || are one call.
            let mut parts = Vec::new();
            for arg in args {
                match arg {
                    Expr::ScalarFunction(inner) if inner.func.name() == "concat" && args.len() == 2 => {
                        let inner = word(arg)?;
                        parts.push(inner.strip_prefix("concat(")?.strip_suffix(')')?.to_string());
                    }
                    other => parts.push(word(other)?),
                }
            }
            Some(format!("concat({})", parts.join(",")))
        }
        "timestamp_diff" => {
            let (from, to) = (arg(1)?, arg(2)?);
            let millis: i64 = match text(0)? {
                "MONTH" => return Some(format!("subtract_months({to},{from},{})", arg(3)?)),
                "SECOND" => 1000,
                "MINUTE" => 60_000,
                "HOUR" => 3_600_000,
                "DAY" => 86_400_000,
                "WEEK" => 604_800_000,
                _ => return None,
            };
            Some(format!("div(({to} - {from}),{millis})"))
        }
        "mod" => Some(format!("({} % {})", arg(0)?, arg(1)?)),
        "trim" | "ltrim" | "rtrim" => blank(name),
        "sqrt" => Some(format!("pow({},0.5)", arg(0)?)),
        "strpos" => Some(format!("(strpos({}) + 1)", all()?)),
        "timestamp_plus_months" => match args.get(1)? {
            Expr::Literal(ScalarValue::Int64(Some(months)), _) => {
                Some(format!("timestamp_shift({},'P{months}M',1,{})", arg(0)?, arg(2)?))
            }
            months => Some(format!(
                "timestamp_shift({},concat('P', {}, 'M'),1,{})",
                arg(0)?,
                word(months)?,
                arg(2)?
            )),
        },
        "date_trunc" => {
            let period = crate::functions::time::period_of(&text(0)?.to_ascii_lowercase())?;
            let zone = args.get(2).map_or(Some("'UTC'".to_string()), word)?;
            Some(format!("timestamp_floor({},'{period}',null,{zone})", arg(1)?))
        }
        "mv_length" | "mv_to_string" | "mv_append" | "mv_prepend" | "mv_concat" | "mv_slice" | "mv_offset"
        | "mv_ordinal" | "mv_offset_of" | "mv_ordinal_of" => {
            Some(format!("array_{}({})", name.strip_prefix("mv_")?, all()?))
        }
        "string_to_mv" => Some(format!("string_to_array({})", all()?)),
        // Values one by one, and names that are expressions themselves.
        "mv_any" | "mv_one" | "mv_like" | "mv_shown" | "mv_single" | "any_true" | "to_list" => None,
        _ if name.contains(' ') => None,
        _ => Some(format!("{name}({})", all()?)),
    }
}

/// Words what Druid has a virtual column of its own for: fields of JSON columns, and multi-value strings with some of their values.
pub(super) fn virtual_column(expr: &Expr, name: &str) -> Option<Value> {
    let Expr::ScalarFunction(call) = expr else { return None };
    if let ("cast_long" | "cast_double", [Expr::ScalarFunction(inner)]) = (call.func.name(), call.args.as_slice())
        && inner.func.name() == "json_value"
    {
        // Fields are read as what is wanted of them.
        let mut read = virtual_column(call.args.first()?, name)?;
        let wanted = if call.func.name() == "cast_long" {
            "LONG"
        } else {
            "DOUBLE"
        };
        read["expectedType"] = json!(wanted);
        return Some(read);
    }
    let column = match call.args.first()? {
        Expr::Column(column) => &column.name,
        Expr::ScalarFunction(of) if of.func.name() == "json_of" => match of.args.as_slice() {
            [Expr::Column(column)] => &column.name,
            _ => return None,
        },
        _ => return None,
    };
    let text = |at: usize| match call.args.get(at) {
        Some(Expr::Literal(ScalarValue::Utf8(Some(text)), _)) => Some(text.as_str()),
        _ => None,
    };
    let expected = match call.func.name() {
        "json_value" => "STRING",
        "json_query" => "COMPLEX<json>",
        "json_value_long" => "LONG",
        "json_value_double" => "DOUBLE",
        "json_value_string_array" => "ARRAY<STRING>",
        "json_value_long_array" => "ARRAY<LONG>",
        "json_value_double_array" => "ARRAY<DOUBLE>",
        filter @ ("filtered" | "filtered_none") => {
            let Some(Expr::ScalarFunction(values)) = call.args.get(1) else {
                return None;
            };
            let values: Vec<&str> = values
                .args
                .iter()
                .map(|value| match value {
                    Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text.as_str()),
                    _ => None,
                })
                .collect::<Option<_>>()?;
            return Some(json!({
                "type": "mv-filtered", "name": name, "delegate": delegate(column), "values": values,
                "isAllowList": filter == "filtered",
            }));
        }
        "filtered_regex_whole" => {
            return Some(json!({
                "type": "mv-regex-filtered", "name": name, "delegate": delegate(column), "pattern": text(1)?,
            }));
        }
        "filtered_prefix" => {
            return Some(json!({
                "type": "mv-prefix-filtered", "name": name, "delegate": delegate(column), "prefix": text(1)?,
            }));
        }
        _ => return None,
    };
    Some(json!({
        "type": "nested-field", "columnName": column, "outputName": name, "expectedType": expected,
        "pathParts": path_parts(text(1)?)?, "processFromRaw": expected == "COMPLEX<json>",
    }))
}

fn delegate(column: &str) -> Value {
    json!({"type": "default", "dimension": column, "outputName": column, "outputType": "STRING"})
}

/// Reads `$.a.b[1]['c']` as the parts of a path.
fn path_parts(path: &str) -> Option<Vec<Value>> {
    let mut rest = path.strip_prefix('$')?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix("['") {
            let (field, behind) = behind.split_once("']")?;
            parts.push(json!({"type": "field", "field": field}));
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix('[') {
            let (index, behind) = behind.split_once(']')?;
            parts.push(json!({"type": "arrayElement", "index": index.parse::<i64>().ok()?}));
            rest = behind;
        } else {
            let behind = rest.strip_prefix('.')?;
            let end = behind.find(['.', '[']).unwrap_or(behind.len());
            let (field, behind) = behind.split_at(end);
            if !field.is_empty() {
                parts.push(json!({"type": "field", "field": field}));
            } else if behind.is_empty() {
                break;
            }
            rest = behind;
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_in_parts() {
        let field = |name: &str| json!({"type": "field", "field": name});
        assert_eq!(path_parts("$"), Some(vec![]));
        assert_eq!(path_parts("$."), Some(vec![]));
        assert_eq!(
            path_parts("$.a.b[1]['c d']"),
            Some(vec![
                field("a"),
                field("b"),
                json!({"type": "arrayElement", "index": 1}),
                field("c d")
            ])
        );
        assert_eq!(path_parts("a"), None);
        assert_eq!(path_parts("$[x]"), None);
    }
}
