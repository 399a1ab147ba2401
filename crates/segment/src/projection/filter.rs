//! The filters of projections: which rows of the table they take.
//!
//! Druid's JSON of `and`, `or`, `not`, `true`, `false`, `null`, `equals`, `selector`, `in`, `inType` and `range`, with SQL's three truth
//! values: what is compared with null is neither true nor false, and a row is taken where the whole is true.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use serde_json::Value;

use crate::codec::dictionary::java_order;
use crate::{ColumnType, TIME_COLUMN};

/// Filters inside each other at most.
const DEPTH: usize = 50;

/// A condition on the rows of a table.
#[derive(Debug)]
pub(super) enum Filter {
    Constant(bool),
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    IsNull(String),
    /// The column has one of these values.
    In(String, Vec<Match>),
    Range {
        column: String,
        lower: Option<(Match, bool)>,
        upper: Option<(Match, bool)>,
    },
}

/// A value that columns are compared with.
#[derive(Debug)]
pub(super) enum Match {
    Null,
    Text(String),
    Long(i64),
    Double(f64),
}

impl Match {
    fn read(json: &Value) -> Option<Self> {
        Some(match json {
            Value::Null => Self::Null,
            Value::String(text) => Self::Text(text.clone()),
            Value::Bool(truth) => Self::Long(i64::from(*truth)),
            Value::Number(number) => match number.as_i64() {
                Some(long) => Self::Long(long),
                None => Self::Double(number.as_f64()?),
            },
            Value::Array(_) | Value::Object(_) => return None,
        })
    }

    /// Compares a text of the table with this; none where this is null.
    fn order_of_text(&self, text: &str) -> Option<Ordering> {
        let shown;
        let other = match self {
            Self::Null => return None,
            Self::Text(other) => other.as_str(),
            Self::Long(value) => {
                shown = value.to_string();
                &shown
            }
            Self::Double(value) => {
                let mut bytes = Vec::new();
                crate::dump::json::put_double(&mut bytes, *value);
                shown = String::from_utf8_lossy(&bytes).into_owned();
                &shown
            }
        };
        Some(java_order(text.as_bytes(), other.as_bytes()))
    }

    /// Compares a long of the table with this; none where this is no number.
    fn order_of_long(&self, value: i64) -> Option<Ordering> {
        match self {
            Self::Null => None,
            Self::Long(other) => Some(value.cmp(other)),
            Self::Text(text) => match text.parse::<i64>() {
                Ok(other) => Some(value.cmp(&other)),
                Err(_) => Some((value as f64).total_cmp(&text.parse().ok()?)),
            },
            Self::Double(other) => Some((value as f64).total_cmp(other)),
        }
    }

    fn order_of_double(&self, value: f64) -> Option<Ordering> {
        match self {
            Self::Null => None,
            Self::Long(other) => Some(value.total_cmp(&(*other as f64))),
            Self::Text(text) => Some(value.total_cmp(&text.parse().ok()?)),
            Self::Double(other) => Some(value.total_cmp(other)),
        }
    }
}

impl Filter {
    /// Reads Druid's JSON; none for a filter that cannot be computed here.
    pub fn read(json: &Value) -> Option<Self> {
        Self::read_inner(json, 0)
    }

    fn read_inner(json: &Value, depth: usize) -> Option<Self> {
        if depth > DEPTH || json.get("extractionFn").is_some_and(|function| !function.is_null()) {
            return None;
        }
        let list = |fields: &Value| -> Option<Vec<Self>> {
            let fields = fields.as_array()?.iter();
            fields.map(|field| Self::read_inner(field, depth + 1)).collect()
        };
        let text = |name: &str| Some(json.get(name)?.as_str()?.to_owned());
        let values =
            |name: &str| -> Option<Vec<Match>> { json.get(name)?.as_array()?.iter().map(Match::read).collect() };
        Some(match json.get("type")?.as_str()? {
            "true" => Self::Constant(true),
            "false" => Self::Constant(false),
            "and" => Self::And(list(json.get("fields")?)?),
            "or" => Self::Or(list(json.get("fields")?)?),
            "not" => Self::Not(Box::new(Self::read_inner(json.get("field")?, depth + 1)?)),
            "null" => Self::IsNull(text("column")?),
            "equals" => Self::In(text("column")?, vec![Match::read(json.get("matchValue")?)?]),
            "selector" => match Match::read(json.get("value").unwrap_or(&Value::Null))? {
                Match::Null => Self::IsNull(text("dimension")?),
                value => Self::In(text("dimension")?, vec![value]),
            },
            "in" => {
                let column = text("dimension")?;
                let values = values("values")?;
                let has_null = values.iter().any(|value| matches!(value, Match::Null));
                let some = Self::In(column.clone(), values);
                match has_null {
                    true => Self::Or(vec![Self::IsNull(column), some]),
                    false => some,
                }
            }
            "inType" => Self::In(text("column")?, values("sortedValues")?),
            "range" => {
                let end = |value: &str, open: &str| -> Option<Option<(Match, bool)>> {
                    match json.get(value).filter(|value| !value.is_null()) {
                        None => Some(None),
                        Some(end) => {
                            let open = json.get(open).and_then(Value::as_bool).unwrap_or(false);
                            Some(Some((Match::read(end)?, open)))
                        }
                    }
                };
                Self::Range {
                    column: text("column")?,
                    lower: end("lower", "lowerOpen")?,
                    upper: end("upper", "upperOpen")?,
                }
            }
            _ => return None,
        })
    }

    /// Lists the columns that are looked at.
    pub fn columns<'a>(&'a self, out: &mut Vec<&'a str>) {
        match self {
            Self::Constant(_) => {}
            Self::And(fields) | Self::Or(fields) => fields.iter().for_each(|field| field.columns(out)),
            Self::Not(field) => field.columns(out),
            Self::IsNull(column) | Self::In(column, _) | Self::Range { column, .. } => out.push(column),
        }
    }

    /// Gives the filter if it looks at nothing but columns of the table.
    pub fn checked(self, column_type: impl Fn(&str) -> Option<ColumnType>) -> Option<Self> {
        let mut columns = Vec::new();
        self.columns(&mut columns);
        let known = |name: &&str| *name == TIME_COLUMN || column_type(name).is_some();
        columns.iter().all(known).then_some(self)
    }

    /// Tells of a row whether it is taken; none where that is unknown. A column that `array_of` does not have is null.
    pub fn matches<'a>(&self, array_of: &impl Fn(&str) -> Option<&'a ArrayRef>, row: usize) -> Option<bool> {
        match self {
            Self::Constant(truth) => Some(*truth),
            Self::And(fields) => {
                let mut all = Some(true);
                for field in fields {
                    match field.matches(array_of, row) {
                        Some(false) => return Some(false),
                        None => all = None,
                        Some(true) => {}
                    }
                }
                all
            }
            Self::Or(fields) => {
                let mut any = Some(false);
                for field in fields {
                    match field.matches(array_of, row) {
                        Some(true) => return Some(true),
                        None => any = None,
                        Some(false) => {}
                    }
                }
                any
            }
            Self::Not(field) => field.matches(array_of, row).map(|truth| !truth),
            Self::IsNull(column) => Some(array_of(column).is_none_or(|array| array.is_null(row))),
            Self::In(column, values) => any_value(array_of(column)?, row, &|order_of| {
                values.iter().any(|value| order_of(value) == Some(Ordering::Equal))
            }),
            Self::Range { column, lower, upper } => any_value(array_of(column)?, row, &|order_of| {
                let above = lower.as_ref().is_none_or(|(value, open)| match order_of(value) {
                    Some(order) => order == Ordering::Greater || (order == Ordering::Equal && !open),
                    None => false,
                });
                let below = upper.as_ref().is_none_or(|(value, open)| match order_of(value) {
                    Some(order) => order == Ordering::Less || (order == Ordering::Equal && !open),
                    None => false,
                });
                above && below
            }),
        }
    }
}

/// How the value of a row compares with another.
type Compare<'a> = &'a dyn Fn(&Match) -> Option<Ordering>;

/// Tests the value of a row, or each of several, by how it compares; none for null.
fn any_value(array: &ArrayRef, row: usize, test: &dyn Fn(Compare<'_>) -> bool) -> Option<bool> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Utf8 => {
            let text = array.as_string::<i32>().value(row);
            test(&|value| value.order_of_text(text))
        }
        DataType::Int64 => {
            let long = array.as_primitive::<Int64Type>().value(row);
            test(&|value| value.order_of_long(long))
        }
        DataType::Float64 => {
            let double = array.as_primitive::<Float64Type>().value(row);
            test(&|value| value.order_of_double(double))
        }
        DataType::Float32 => {
            let float = f64::from(array.as_primitive::<Float32Type>().value(row));
            test(&|value| value.order_of_double(float))
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            (0..list.len()).any(|i| any_value(&list, i, test) == Some(true))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, StringArray};
    use serde_json::json;
    use std::sync::Arc;

    fn taken(filter: Value) -> Vec<Option<bool>> {
        let s: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some(""), None, Some("10")]));
        let n: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(10), Some(-3), None]));
        let d: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 10.0, -0.0, 1e9]));
        let filter = Filter::read(&filter).unwrap();
        let mut columns = Vec::new();
        filter.columns(&mut columns);
        let array_of = |name: &str| match name {
            "s" => Some(&s),
            "n" => Some(&n),
            "d" => Some(&d),
            _ => None,
        };
        (0..4).map(|row| filter.matches(&array_of, row)).collect()
    }

    #[test]
    fn has_three_truth_values() {
        let (t, f, u) = (Some(true), Some(false), None);
        let equals = |column: &str, value: Value| json!({"type": "equals", "column": column, "matchValueType": "STRING", "matchValue": value});
        assert_eq!(taken(equals("s", json!("a"))), [t, f, u, f]);
        assert_eq!(taken(equals("s", json!(10))), [f, f, u, t]);
        assert_eq!(taken(equals("n", json!("10"))), [f, t, f, u]);
        assert_eq!(taken(equals("d", json!(10))), [f, t, f, f]);
        assert_eq!(
            taken(json!({"type": "not", "field": equals("s", json!("a"))})),
            [f, t, u, t]
        );
        assert_eq!(
            taken(json!({"type": "selector", "dimension": "s", "value": null})),
            [f, f, t, f]
        );
        assert_eq!(taken(json!({"type": "selector", "dimension": "nothing"})), [t, t, t, t]);
        assert_eq!(
            taken(json!({"type": "in", "dimension": "s", "values": ["a", null]})),
            [t, f, t, f]
        );
        assert_eq!(
            taken(json!({"type": "inType", "column": "n", "matchValueType": "LONG", "sortedValues": [-3, 1]})),
            [t, f, t, u]
        );
        assert_eq!(
            taken(json!({"type": "range", "column": "n", "lower": 1, "lowerOpen": true})),
            [f, t, f, u]
        );
        assert_eq!(
            taken(json!({"type": "range", "column": "s", "lower": "", "upper": "10"})),
            [f, t, u, t]
        );
        assert_eq!(taken(json!({"type": "null", "column": "n"})), [f, f, f, t]);
        let both = |kind: &str| json!({"type": kind, "fields": [equals("s", json!("a")), equals("n", json!(1)), {"type": "true"}]});
        assert_eq!(taken(both("and")), [t, f, f, f]);
        assert_eq!(taken(both("or")), [t, t, t, t]);
        assert!(Filter::read(&json!({"type": "spatial"})).is_none());
        assert!(
            Filter::read(&json!({"type": "selector", "dimension": "s", "value": "a", "extractionFn": {}})).is_none()
        );
    }
}
