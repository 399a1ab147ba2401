//! `flattenSpec`: columns that are found by a path instead of by their name at the root.

use serde_json::Value;

use super::json_text::{JsonText, Properties};
use crate::error::InputError;

/// Fields by path, and whether the fields at the root count as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlattenSpec {
    /// Whether fields at the root are found by the name of the column (Druid: `useFieldDiscovery`).
    pub discover: bool,
    /// Fields by path; such a field wins over one of the same name at the root.
    pub fields: Vec<FlattenField>,
}

/// One field by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlattenField {
    /// The name of the column.
    pub name: String,
    /// Where it is found; empty is the whole record.
    pub path: Vec<PathStep>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathStep {
    /// The field of this name.
    Field(String),
    /// The item at this position; below zero counts from the end.
    Item(i64),
    /// All items, or all fields: the result is a list.
    All,
}

const SUPPORTED: &str = "steps of the forms .name, ['name'], [0], [-1], [*]";

impl FlattenSpec {
    pub(crate) fn parse(text: &JsonText<'_>, value: &Value, jq: bool) -> Result<Self, InputError> {
        let expected = "an object with useFieldDiscovery and fields";
        let object = value
            .as_object()
            .ok_or_else(|| text.property("flattenSpec", expected))?;
        let properties = Properties { text, object };
        let discover = properties.bool("useFieldDiscovery")?.unwrap_or(true);
        let mut fields: Vec<FlattenField> = Vec::new();
        let entries = match properties.value("fields") {
            None => &[],
            Some(Value::Array(entries)) => entries.as_slice(),
            Some(_) => return Err(text.property("fields", "a list")),
        };
        for entry in entries {
            let field = match entry {
                Value::String(name) => FlattenField {
                    name: name.clone(),
                    path: vec![PathStep::Field(name.clone())],
                },
                Value::Object(object) => Self::field(&Properties { text, object }, jq)?,
                _ => return Err(text.property("fields", "names and objects")),
            };
            if fields.iter().any(|other| other.name == field.name) {
                let problem = format!("Cannot have duplicate field definition: {}", field.name);
                return Err(text.problem("NestedInputFormat", &problem));
            }
            fields.push(field);
        }
        Ok(Self { discover, fields })
    }

    fn field(properties: &Properties<'_>, jq: bool) -> Result<FlattenField, InputError> {
        let text = properties.text;
        let name = properties
            .string("name")?
            .ok_or_else(|| text.property("name", "the name of a column"))?;
        let expr = properties.string("expr")?;
        let kind = properties.string("type")?.unwrap_or_else(|| "root".to_string());
        let path = match kind.to_ascii_lowercase().as_str() {
            "root" => vec![PathStep::Field(expr.unwrap_or_else(|| name.clone()))],
            "path" => json_path(&expr.ok_or_else(|| text.property("expr", "a path"))?)?,
            "jq" if jq => jq_path(&expr.ok_or_else(|| text.property("expr", "a query"))?)?,
            "tree" if jq => {
                let nodes = properties
                    .strings("nodes")?
                    .ok_or_else(|| text.property("nodes", "a list of names"))?;
                nodes.into_iter().map(PathStep::Field).collect()
            }
            _ => {
                return Err(InputError::Unsupported {
                    what: "flattenSpec field type",
                    name: kind,
                    supported: if jq { "root, path, jq, tree" } else { "root, path" },
                });
            }
        };
        Ok(FlattenField { name, path })
    }

    pub(crate) fn path_of(&self, name: &str) -> Option<&[PathStep]> {
        self.fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| field.path.as_slice())
    }
}

/// Reads a JSONPath of the steps that henge knows: `$.a.b[0]`, `$['a b'][-1]`, `$.a[*]`.
fn json_path(expr: &str) -> Result<Vec<PathStep>, InputError> {
    let trimmed = expr.trim();
    let rest = match trimmed.strip_prefix('$') {
        Some(rest) => steps(rest),
        // Jayway puts `$.` before a path that lacks it.
        None => steps(&format!(".{trimmed}")),
    };
    rest.ok_or_else(|| InputError::Unsupported {
        what: "JSON path",
        name: expr.to_string(),
        supported: SUPPORTED,
    })
}

/// Reads a jq query that is nothing but a path.
fn jq_path(expr: &str) -> Result<Vec<PathStep>, InputError> {
    let trimmed = expr.trim();
    let parsed = match trimmed {
        "." => Some(Vec::new()),
        // In jq `[*]` does not exist, and `.[]` gives several results of which Druid takes the first.
        _ if trimmed.starts_with('.') && !trimmed.contains('*') => steps(
            trimmed
                .strip_prefix('.')
                .filter(|rest| rest.starts_with('['))
                .unwrap_or(trimmed),
        ),
        _ => None,
    };
    parsed.ok_or_else(|| InputError::Unsupported {
        what: "jq query",
        name: expr.to_string(),
        supported: "paths like .a.b[0]",
    })
}

fn steps(mut rest: &str) -> Option<Vec<PathStep>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name = &after[..end];
            // `..` searches, `name()` is a function: neither is a step.
            if name.is_empty() || name.contains(['(', ')', ' ', '|', '?', '@']) {
                return None;
            }
            let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
            steps.push(match name {
                "*" => PathStep::All,
                _ => PathStep::Field(quoted.unwrap_or(name).to_string()),
            });
            rest = &after[end..];
        } else {
            let after = rest.strip_prefix('[')?.trim_start();
            let (step, after) = match after.as_bytes().first()? {
                b'*' => (PathStep::All, &after[1..]),
                quote @ (b'\'' | b'"') => {
                    let end = 1 + after[1..].find(char::from(*quote))?;
                    let name = &after[1..end];
                    if name.contains('\\') {
                        return None;
                    }
                    (PathStep::Field(name.to_string()), &after[end + 1..])
                }
                _ => {
                    let end = after.find(']')?;
                    (PathStep::Item(after[..end].trim().parse().ok()?), &after[end..])
                }
            };
            steps.push(step);
            rest = after.trim_start().strip_prefix(']')?;
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> PathStep {
        PathStep::Field(name.to_string())
    }

    #[test]
    fn paths() {
        assert_eq!(json_path("$").unwrap(), vec![]);
        assert_eq!(
            json_path("$.a.b[0]").unwrap(),
            vec![field("a"), field("b"), PathStep::Item(0)]
        );
        assert_eq!(
            json_path("$['a b'][-1]").unwrap(),
            vec![field("a b"), PathStep::Item(-1)]
        );
        assert_eq!(
            json_path("$.a[*].b").unwrap(),
            vec![field("a"), PathStep::All, field("b")]
        );
        assert_eq!(json_path("a.b").unwrap(), vec![field("a"), field("b")]);
        assert_eq!(
            jq_path(".a.b[1]").unwrap(),
            vec![field("a"), field("b"), PathStep::Item(1)]
        );
        assert_eq!(jq_path(".\"a\"").unwrap(), vec![field("a")]);
        for bad in [
            "$..a",
            "$.a[?(@.b)]",
            "$.a.length()",
            "$.a[",
            "$.a['b",
            "$.a[0:2]",
            "$.a[x]",
        ] {
            assert!(json_path(bad).is_err(), "{bad}");
        }
        for bad in [".a | .b", "map(.a)", ".a[]", ""] {
            assert!(jq_path(bad).is_err(), "{bad}");
        }
    }
}
