//! Rows that a general predicate may be true of, by the bitmaps of arrays and of fields of JSON columns.
//!
//! ```text
//! ARRAY_CONTAINS(column, …)                     rows whose array has every element      AND of bitmaps
//! ARRAY_OVERLAP(column, …)                      rows whose array has any of them        OR
//! JSON_VALUE(column, '$.path') = x, IN (x, …)   rows whose field has any of them        OR
//! JSON_VALUE(column, '$.path') IS [NOT] NULL    rows without the field, the others
//! ```
//! More rows than pass, never fewer: the predicate itself decides about those that are left. Where a segment might store what the
//! predicate looks for in another form (a number as text, an array of one for a scalar), there is no hint.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use henge_segment::IndexValue;
use roaring::RoaringBitmap;

use crate::columns::Columns;

/// Bitmaps that are combined at most; many of them are no faster than the rows.
const MAX_VALUES: usize = 256;

/// A text or a whole number: what bitmaps are looked up by. Doubles have too many forms.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Long(i64),
}

impl Value {
    fn index(&self) -> IndexValue<'_> {
        match self {
            Self::Text(text) => IndexValue::String(text),
            Self::Long(long) => IndexValue::Long(*long),
        }
    }

    fn of(value: &ScalarValue) -> Option<Self> {
        Some(match value {
            ScalarValue::Int64(Some(long)) => Self::Long(*long),
            ScalarValue::Int32(Some(int)) => Self::Long((*int).into()),
            other => Self::Text(other.try_as_str()??.to_owned()),
        })
    }
}

/// Where rows that may pass are looked up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hint {
    column: usize,
    kind: Kind,
    values: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// The array has every one of the values.
    AllElements,
    /// The array has one of them.
    AnyElement,
    /// The field of a path, spelled as segments spell it, is one of them.
    Field(String),
    /// The field of a path is null; with the flag, it is not.
    Null(String, bool),
}

impl Hint {
    /// Recognises a predicate; none if bitmaps say nothing about it.
    pub fn recognise(expr: &Arc<dyn PhysicalExpr>) -> Option<Self> {
        if let Some(hint) = Self::of_null(expr) {
            return Some(hint);
        }
        let hint = Self::of_array(expr).or_else(|| Self::of_field(expr))?;
        (1..=MAX_VALUES).contains(&hint.values.len()).then_some(hint)
    }

    fn of_array(expr: &Arc<dyn PhysicalExpr>) -> Option<Self> {
        let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
        let [array, wanted] = call.args() else {
            return None;
        };
        let (column, wanted) = match (array.downcast_ref::<Column>(), wanted.downcast_ref::<Column>()) {
            (Some(column), None) => (column, wanted),
            (None, Some(column)) if call.name() == "array_overlap" => (column, array),
            _ => return None,
        };
        let wanted = elements(wanted.downcast_ref::<Literal>()?.value())?;
        let values = wanted.iter().flatten().cloned().collect();
        let kind = match call.name() {
            // A null among them leaves the others to be found.
            "array_contains" => Kind::AllElements,
            "array_overlap" if wanted.iter().all(Option::is_some) => Kind::AnyElement,
            _ => return None,
        };
        Some(Self {
            column: column.index(),
            kind,
            values,
        })
    }

    fn of_field(expr: &Arc<dyn PhysicalExpr>) -> Option<Self> {
        let (value, values) = if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            let (value, literal) = match (binary.op(), binary.right().downcast_ref::<Literal>()) {
                (Operator::Eq, Some(literal)) => (binary.left(), literal),
                (Operator::Eq, None) => (binary.right(), binary.left().downcast_ref::<Literal>()?),
                _ => return None,
            };
            (value, vec![Value::of(literal.value())?])
        } else {
            let list = expr.downcast_ref::<InListExpr>()?;
            if list.negated() {
                return None;
            }
            let literals = list
                .list()
                .iter()
                .map(|item| Some(item.downcast_ref::<Literal>()?.value()));
            let literals = literals.collect::<Option<Vec<_>>>()?;
            // Nothing is equal to null.
            let values = literals.into_iter().filter(|value| !value.is_null()).map(Value::of);
            (list.expr(), values.collect::<Option<_>>()?)
        };
        let (column, path, texts) = json_value(value)?;
        if values.iter().any(|value| matches!(value, Value::Text(_)) != texts) {
            return None;
        }
        Some(Self {
            column,
            kind: Kind::Field(path),
            values,
        })
    }

    fn of_null(expr: &Arc<dyn PhysicalExpr>) -> Option<Self> {
        let (value, negated) = match (expr.downcast_ref::<IsNullExpr>(), expr.downcast_ref::<IsNotNullExpr>()) {
            (Some(null), _) => (null.arg(), false),
            (_, Some(not_null)) => (not_null.arg(), true),
            _ => return None,
        };
        let (column, path, texts) = json_value(value)?;
        // Every value has a text, but not every text a number.
        (texts || negated).then_some(Self {
            column,
            kind: Kind::Null(path, negated),
            values: Vec::new(),
        })
    }

    /// Gives the rows of a segment that may pass; none if its bitmaps do not tell.
    pub fn rows(&self, columns: &Columns) -> Result<Option<RoaringBitmap>> {
        if columns.is_missing(self.column) {
            return Ok(None);
        }
        let name = columns.name(self.column);
        if let Kind::Null(path, negated) = &self.kind {
            let nulls = columns.data.rows_of_json_field(name, path, &IndexValue::Null)?;
            return Ok(nulls.map(|nulls| match negated {
                false => nulls,
                true => {
                    let mut others = RoaringBitmap::new();
                    others.insert_range(0..columns.data.rows() as u32);
                    others - nulls
                }
            }));
        }
        let values: Vec<IndexValue<'_>> = self.values.iter().map(Value::index).collect();
        let of = |value: &IndexValue<'_>| match &self.kind {
            Kind::Field(path) => columns.data.rows_of_json_field(name, path, value),
            _ => columns.data.rows_with_element(name, value),
        };
        let mut found: Option<RoaringBitmap> = None;
        for value in &values {
            let Some(rows) = of(value)? else {
                return Ok(None);
            };
            found = Some(match found {
                None => rows,
                Some(before) if self.kind == Kind::AllElements => before & rows,
                Some(before) => before | rows,
            });
        }
        Ok(found)
    }
}

/// Takes JSON_VALUE of a column apart: the column, the path as segments spell it, and whether it gives texts, not whole numbers.
fn json_value(expr: &Arc<dyn PhysicalExpr>) -> Option<(usize, String, bool)> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let [column, path] = call.args() else {
        return None;
    };
    let texts = match call.name() {
        "json_value" => true,
        "json_value_long" => false,
        _ => return None,
    };
    let path = path.downcast_ref::<Literal>()?.value().try_as_str()??;
    Some((column.downcast_ref::<Column>()?.index(), field_path(path)?, texts))
}

/// Gives the elements of an array, or the one of a scalar; null is none. None for values that are not looked up.
fn elements(value: &ScalarValue) -> Option<Vec<Option<Value>>> {
    let ScalarValue::List(list) = value else {
        return Some(vec![Some(Value::of(value)?)]);
    };
    if list.len() != 1 || list.is_null(0) {
        return None;
    }
    let items = list.value(0);
    match items.data_type() {
        DataType::Utf8 => Some(
            items
                .as_string::<i32>()
                .iter()
                .map(|text| Some(Value::Text(text?.to_owned())))
                .collect(),
        ),
        DataType::Int64 => Some(
            items
                .as_primitive::<Int64Type>()
                .iter()
                .map(|long| Some(Value::Long(long?)))
                .collect(),
        ),
        _ => None,
    }
}

/// Spells a path of members as segments spell it: `$.a.b`, `$['a.b']`. None for paths into arrays, whose elements need not be fields, and
/// for keys whose spelling is not certain.
fn field_path(path: &str) -> Option<String> {
    let mut rest = path.strip_prefix('$')?;
    let mut spelled = String::from("$");
    while !rest.is_empty() {
        let key;
        if let Some(quoted) = rest.strip_prefix("['") {
            (key, rest) = quoted.split_once("']")?;
        } else {
            let plain = rest.strip_prefix('.')?;
            let end = plain.find(['.', '[']).unwrap_or(plain.len());
            (key, rest) = plain.split_at(end);
        }
        if key.is_empty() || key.contains(['\'', '"', '\\', ']']) {
            return None;
        }
        if key.contains(['.', '[']) {
            spelled.push_str(&format!("['{key}']"));
        } else {
            spelled.push_str(&format!(".{key}"));
        }
    }
    (spelled != "$").then_some(spelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_spelled_as_in_segments() {
        let spelled = |path: &str| field_path(path).unwrap_or_default();
        assert_eq!(spelled("$.a.b"), "$.a.b");
        assert_eq!(spelled("$['a']['b']"), "$.a.b");
        assert_eq!(spelled("$['a.b'].c"), "$['a.b'].c");
        for path in ["$", "", "a", "$.a[0]", "$['it's']", "$..a", "$['']", "$.a]"] {
            assert_eq!(spelled(path), "", "{path}");
        }
    }
}
