//! The path subset of JSON functions: `$`, `.name`, `['name']`, `[index]` (`NestedPathFinder`).

use serde_json::Value;

use super::java::{in_hash_order, list_hash, string_hash};

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A member of an object.
    Field(String),
    /// An element of an array; a negative one counts from the end.
    Element(i32),
}

impl Step {
    fn hash(&self) -> i32 {
        // `Objects.hash(x)` of one member.
        31i32.wrapping_add(match self {
            Step::Field(name) => string_hash(name),
            Step::Element(index) => *index,
        })
    }
}

/// Reads a path; the error is Druid's text.
pub(super) fn parse(path: &str) -> Result<Vec<Step>, String> {
    let bad = |message: String| Err(format!("JSONPath [{path}] is invalid, {message}"));
    let chars: Vec<char> = path.chars().collect();
    if chars.is_empty() {
        return Ok(Vec::new());
    }
    if chars[0] != '$' {
        return bad("it must start with '$'".into());
    }
    let text = |from: usize, to: usize| chars[from..to].iter().collect::<String>();
    let mut steps = Vec::new();
    // Where the current part starts, and where its `.`, `[` or `'` stands.
    let (mut part, mut dot, mut bracket, mut quote) = (None::<usize>, None::<usize>, None::<usize>, None::<usize>);
    let mut i = 1;
    while i < chars.len() {
        let c = chars[i];
        if (c == '.' || c == '[') && bracket.is_none() && quote.is_none() {
            if dot == Some(i - 1) {
                return bad(format!(
                    "found '{c}' at invalid position [{i}], must not follow '.' or must be contained with '"
                ));
            }
            if let (Some(_), Some(from)) = (dot, part) {
                steps.push(Step::Field(text(from, i)));
            }
            if c == '.' {
                dot = Some(i);
            } else {
                dot = None;
                bracket = Some(i);
            }
            part = Some(i + 1);
        } else if c == ']' && bracket.is_some() && quote.is_none() {
            let number = text(part.unwrap_or(i).min(i), i);
            match number.parse::<i32>() {
                Ok(index) => steps.push(Step::Element(index)),
                Err(_) => {
                    return bad(format!(
                        "array specifier [{number}] should be a number, it was not.  Use ' if this value was meant to be a field name"
                    ));
                }
            }
            (dot, bracket, part) = (None, None, Some(i + 1));
        } else if dot.is_none() && bracket.is_none() {
            return bad("path parts must be separated with '.'".into());
        } else if c == '\'' && quote.is_none() {
            if bracket.map(|b| b + 1) != Some(i) {
                return bad("single-quote (') must be immediately after '['".into());
            }
            quote = Some(i);
            part = Some(i + 1);
        } else if c == '\'' && chars[i - 1] != '\\' && chars.get(i + 1) == Some(&']') {
            steps.push(Step::Field(text(part.unwrap_or(i).min(i), i)));
            (dot, quote, bracket) = (None, None, None);
            i += 1;
            part = Some(i + 1);
        }
        i += 1;
    }
    if let Some(from) = part
        && from < chars.len()
    {
        if quote.is_some() {
            return bad("unterminated single-quote (')".into());
        }
        if bracket.is_some() {
            return bad("unterminated '['".into());
        }
        steps.push(Step::Field(text(from, chars.len())));
    }
    Ok(steps)
}

/// Finds the value at a path.
pub(super) fn find<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    let mut at = value;
    for step in steps {
        at = match (step, at) {
            (Step::Field(name), Value::Object(map)) => map.get(name)?,
            (Step::Element(index), Value::Array(items)) => {
                let index = if *index < 0 {
                    items.len().checked_sub(index.unsigned_abs() as usize)?
                } else {
                    *index as usize
                };
                items.get(index)?
            }
            _ => return None,
        };
        if at.is_null() {
            return None;
        }
    }
    Some(at)
}

/// Gives an object's names or an array's indexes.
pub(super) fn keys(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Object(map) => Some(map.keys().cloned().collect()),
        Value::Array(items) => Some((0..items.len()).map(|i| i.to_string()).collect()),
        _ => None,
    }
}

/// Lists the paths of all values that are neither objects nor arrays of objects, in the order in which Druid's hash set
/// gives them.
pub(super) fn literal_paths(value: &Value) -> Vec<String> {
    let hash = |steps: &[Step]| list_hash(steps.iter().map(Step::hash));
    let mut found: Vec<(i32, Vec<Step>)> = Vec::new();
    let mut queue: std::collections::VecDeque<(Vec<Step>, &Value)> = [(Vec::new(), value)].into();
    while let Some((steps, value)) = queue.pop_front() {
        let children: Vec<(Step, &Value)> = match value {
            Value::Object(map) => map
                .iter()
                .map(|(name, child)| (Step::Field(name.clone()), child))
                .collect(),
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                (0i32..).map(Step::Element).zip(items).collect()
            }
            _ => {
                found.push((hash(&steps), steps));
                continue;
            }
        };
        let mut here = Vec::new();
        for (step, child) in children {
            let mut path = steps.clone();
            path.push(step);
            match child {
                Value::Object(_) | Value::Array(_) => queue.push_back((path, child)),
                _ => here.push((hash(&path), path)),
            }
        }
        // Every container collects its own set first; the sets are merged one by one.
        found.extend(in_hash_order(
            here.into_iter().map(|(hash, path)| (hash, (hash, path))).collect(),
        ));
    }
    in_hash_order(found).iter().map(|steps| normalized(steps)).collect()
}

/// Words a path as Druid normalises it.
pub(super) fn normalized(steps: &[Step]) -> String {
    let mut out = String::from("$");
    for step in steps {
        match step {
            Step::Field(name) if name.is_empty() || name.contains(['.', '\'', '"', '[', ']']) => {
                out.push_str(&format!("['{name}']"));
            }
            Step::Field(name) => {
                out.push('.');
                out.push_str(name);
            }
            Step::Element(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let field = |name: &str| Step::Field(name.to_string());
        for (path, steps) in [
            ("$", vec![]),
            ("$.", vec![]),
            ("$.a", vec![field("a")]),
            (
                "$.a.b[2]['c.d'].e",
                vec![field("a"), field("b"), Step::Element(2), field("c.d"), field("e")],
            ),
            ("$['x']", vec![field("x")]),
            ("$[0][-1]", vec![Step::Element(0), Step::Element(-1)]),
        ] {
            assert_eq!(parse(path).as_ref(), Ok(&steps), "{path}");
        }
        for path in ["a", "$a", "$..a", "$.a.[0]", "$[x]", "$['a", "$[0", "$.'a'"] {
            assert!(parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn values_are_found() {
        let value: Value = serde_json::from_str(r#"{"a":{"b":[1,null,{"c":2}]}}"#).expect("JSON");
        let at = |path: &str| find(&value, &parse(path).expect("a path")).map(ToString::to_string);
        assert_eq!(at("$.a.b[2].c").as_deref(), Some("2"));
        assert_eq!(at("$.a.b[-1].c").as_deref(), Some("2"));
        assert_eq!(at("$.a.b[1]"), None);
        assert_eq!(at("$.a.b[9]"), None);
    }
}
