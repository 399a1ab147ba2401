//! Function calls in the words of Druid's expressions, where these differ from the functions that henge's plans call.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use serde_json::{Value, json};

/// Words a call. `word` words an argument. None where there are no words for it.
pub(super) fn call(name: &str, args: &[Expr], word: &dyn Fn(&Expr) -> Option<String>) -> Option<String> {
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
        "mod" => Some(format!("({} % {})", arg(0)?, arg(1)?)),
        "trim" => blank("btrim"),
        "ltrim" | "rtrim" => blank(name),
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
            let period = match text(0)?.to_ascii_lowercase().as_str() {
                "second" => "PT1S",
                "minute" => "PT1M",
                "hour" => "PT1H",
                "day" => "P1D",
                "week" => "P1W",
                "month" => "P1M",
                "quarter" => "P3M",
                "year" => "P1Y",
                _ => return None,
            };
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
        _ => Some(format!("{}({})", name.strip_prefix("map_").unwrap_or(name), all()?)),
    }
}

/// Words what Druid has a virtual column of its own for: fields of JSON columns, and multi-value strings with some of their values.
pub(super) fn virtual_column(expr: &Expr, name: &str) -> Option<Value> {
    let Expr::ScalarFunction(call) = expr else { return None };
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
        "filtered_prefix" => {
            return Some(json!({
                "type": "mv-prefix-filtered", "name": name, "delegate": delegate(column), "prefix": text(1)?,
            }));
        }
        _ => return None,
    };
    Some(json!({
        "type": "nested-field", "columnName": column, "outputName": name, "expectedType": expected,
        "pathParts": path_parts(text(1)?)?, "processFromRaw": false,
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
