//! What Druid's planner makes of a condition before the query sees it (`Filtration.optimize`):
//!
//! 1. ranges of one column are merged (`CombineAndSimplifyBounds`),
//! 2. ranges of `__time` become intervals of the query (`MoveTimeFiltersToIntervals`),
//! 3. ranges of one value become equalities (`ConvertBoundsToSelectors`),
//! 4. equalities with one column become lists (`ConvertSelectorsToIns`),
//! 5. `IS TRUE` that changes nothing is left out (`RemoveRedundantIsTrue`).
//!
//! Filters are handled in their JSON wording.

use std::cmp::Ordering;

use henge_time::Interval;
use serde_json::{Map, Value, json};

/// Simplifies a condition on groups, which has no time.
pub(super) fn filter_only(filter: Value) -> Value {
    without_is_true(with_lists(with_equalities(with_merged_ranges(filter))))
}

/// Simplifies the condition of a query and takes its intervals out. None where nothing fulfils it.
pub(super) fn optimised(filter: Option<Value>) -> Option<(Vec<Interval>, Option<Value>)> {
    let Some(filter) = filter else {
        return Some((vec![Interval::ETERNITY], None));
    };
    let merged = with_merged_ranges(filter);
    let (filter, spans) = match kind(&merged) {
        "false" => return None,
        "true" => (None, None),
        _ => time_apart(merged),
    };
    let spans = match spans {
        None => vec![Interval::ETERNITY],
        Some(spans) => spans
            .into_iter()
            .filter(|(start, end)| start < end)
            .map(|(start_ms, end_ms)| Interval { start_ms, end_ms })
            .collect(),
    };
    if spans.is_empty() {
        return None;
    }
    let filter = filter.map(|filter| without_is_true(with_lists(with_equalities(filter))));
    Some((spans, filter))
}

fn kind(filter: &Value) -> &str {
    filter.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Gives the parts of an AND or OR; nested ones of the same kind are part of it.
fn parts(filter: Value, of: &str, into: &mut Vec<Value>) {
    match filter {
        Value::Object(mut members) if members.get("type").and_then(Value::as_str) == Some(of) => {
            if let Some(Value::Array(fields)) = members.remove("fields") {
                for field in fields {
                    parts(field, of, into);
                }
            }
        }
        other => into.push(other),
    }
}

fn combined(of: &str, mut fields: Vec<Value>) -> Value {
    match fields.len() {
        1 => fields.remove(0),
        _ => json!({"type": of, "fields": fields}),
    }
}

/// Applies a change to the filters inside AND, OR and NOT first, then to the filter itself.
fn bottom_up(filter: Value, change: &dyn Fn(Value) -> Value) -> Value {
    let filter = match kind(&filter) {
        of @ ("and" | "or") => {
            let of = of.to_string();
            let mut fields = Vec::new();
            parts(filter, &of, &mut fields);
            let fields = fields.into_iter().map(|field| bottom_up(field, change)).collect();
            json!({"type": of, "fields": Value::Array(fields)})
        }
        "not" => {
            let field = filter.get("field").cloned().unwrap_or_default();
            json!({"type": "not", "field": bottom_up(field, change)})
        }
        _ => filter,
    };
    change(filter)
}

/// An end of a range: its value and whether the value itself is left out. None is no end.
type End = Option<(Value, bool)>;

/// A range of values of a column.
#[derive(Debug, Clone, PartialEq)]
struct Range {
    lower: End,
    upper: End,
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        },
    }
}

impl Range {
    fn of(filter: &Value) -> Option<Self> {
        if kind(filter) != "range" {
            return None;
        }
        let end = |value: &str, open: &str| {
            let value = filter.get(value).filter(|value| !value.is_null())?;
            Some((value.clone(), filter.get(open) == Some(&json!(true))))
        };
        Some(Self {
            lower: end("lower", "lowerOpen"),
            upper: end("upper", "upperOpen"),
        })
    }

    fn is_all(&self) -> bool {
        self.lower.is_none() && self.upper.is_none()
    }

    fn is_empty(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Some((lower, lower_open)), Some((upper, upper_open))) => match compare(lower, upper) {
                Ordering::Less => false,
                Ordering::Equal => *lower_open || *upper_open,
                Ordering::Greater => true,
            },
            _ => false,
        }
    }

    fn json(&self, column: &Value, ty: &Value) -> Value {
        let mut members = Map::new();
        members.insert("type".into(), json!("range"));
        members.insert("column".into(), column.clone());
        members.insert("matchValueType".into(), ty.clone());
        for (end, name, open) in [(&self.lower, "lower", "lowerOpen"), (&self.upper, "upper", "upperOpen")] {
            if let Some((value, is_open)) = end {
                members.insert(name.into(), value.clone());
                if *is_open {
                    members.insert(open.into(), json!(true));
                }
            }
        }
        Value::Object(members)
    }
}

/// Says which of two lower ends is the higher one: no end is the lowest, an open end is above a closed one.
fn lower_order(a: &End, b: &End) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some((a, a_open)), Some((b, b_open))) => compare(a, b).then(a_open.cmp(b_open)),
    }
}

fn upper_order(a: &End, b: &End) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Greater,
        (_, None) => Ordering::Less,
        (Some((a, a_open)), Some((b, b_open))) => compare(a, b).then(b_open.cmp(a_open)),
    }
}

fn intersection(ranges: &[Range]) -> Vec<Range> {
    let mut both = Range {
        lower: None,
        upper: None,
    };
    for range in ranges {
        if lower_order(&range.lower, &both.lower).is_gt() {
            both.lower = range.lower.clone();
        }
        if upper_order(&range.upper, &both.upper).is_lt() {
            both.upper = range.upper.clone();
        }
    }
    if both.is_empty() { Vec::new() } else { vec![both] }
}

/// Joins ranges that touch each other.
fn union(ranges: &[Range]) -> Vec<Range> {
    let mut sorted: Vec<Range> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_by(|a, b| lower_order(&a.lower, &b.lower));
    let mut joined: Vec<Range> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if touches(&last.upper, &range.lower) => {
                if upper_order(&range.upper, &last.upper).is_gt() {
                    last.upper = range.upper;
                }
            }
            _ => joined.push(range),
        }
    }
    joined
}

fn touches(upper: &End, lower: &End) -> bool {
    match (upper, lower) {
        (Some((upper, upper_open)), Some((lower, lower_open))) => match compare(lower, upper) {
            Ordering::Less => true,
            Ordering::Equal => !(*upper_open && *lower_open),
            Ordering::Greater => false,
        },
        _ => true,
    }
}

/// Gives what ranges in their order leave out.
fn complement(ranges: &[Range]) -> Vec<Range> {
    let flip = |end: &End| end.as_ref().map(|(value, open)| (value.clone(), !open));
    let mut left_out = Vec::new();
    let mut lower: Option<End> = Some(None);
    for range in ranges {
        if let (Some(from), Some(_)) = (&lower, &range.lower) {
            left_out.push(Range {
                lower: from.clone(),
                upper: flip(&range.lower),
            });
        }
        lower = range.upper.as_ref().map(|_| flip(&range.upper));
    }
    if let Some(from) = lower {
        left_out.push(Range {
            lower: from,
            upper: None,
        });
    }
    left_out
}

fn with_merged_ranges(filter: Value) -> Value {
    bottom_up(filter, &|filter| match kind(&filter) {
        of @ ("and" | "or") => {
            let of = of.to_string();
            let mut fields = Vec::new();
            parts(filter, &of, &mut fields);
            merged(&of, fields)
        }
        "not" => negated(filter.get("field").cloned().unwrap_or_default()),
        _ => filter,
    })
}

fn negated(field: Value) -> Value {
    match (kind(&field), Range::of(&field)) {
        ("not", _) => field.get("field").cloned().unwrap_or_default(),
        (_, Some(range)) => match complement(std::slice::from_ref(&range)).as_slice() {
            [one] => one.json(&field["column"], &field["matchValueType"]),
            _ => json!({"type": "not", "field": field}),
        },
        _ => json!({"type": "not", "field": field}),
    }
}

/// Merges the ranges of each column among the parts of an AND or OR.
fn merged(of: &str, fields: Vec<Value>) -> Value {
    let is_or = of == "or";
    let number = |ty: &str| matches!(ty, "LONG" | "FLOAT" | "DOUBLE");
    // Numbers of several types are compared as the widest of them.
    let type_of = |field: &Value| -> String {
        let ty = field.get("matchValueType").and_then(Value::as_str).unwrap_or_default();
        let others = fields
            .iter()
            .filter(|other| kind(other) == "range" && other["column"] == field["column"]);
        let mut types = others.filter_map(|other| other["matchValueType"].as_str());
        match number(ty) && types.any(|other| number(other) && other != ty) {
            true => "DOUBLE".to_string(),
            false => ty.to_string(),
        }
    };
    let mut groups: Vec<((String, String), Vec<usize>)> = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        if kind(field) != "range" {
            continue;
        }
        let key = (field["column"].as_str().unwrap_or_default().to_string(), type_of(field));
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, places)) => places.push(i),
            None => groups.push((key, vec![i])),
        }
    }
    let mut removed = vec![false; fields.len()];
    let mut added = Vec::new();
    for ((column, ty), places) in groups {
        let ranges: Vec<Range> = places.iter().filter_map(|i| Range::of(&fields[*i])).collect();
        let found = if is_or { union(&ranges) } else { intersection(&ranges) };
        let worded = |range: &Range| range.json(&json!(column), &json!(ty));
        let spans_all = found.first().is_some_and(|first| first.lower.is_none())
            && found.last().is_some_and(|last| last.upper.is_none());
        if found.len() < ranges.len() {
            places.iter().for_each(|i| removed[*i] = true);
            if found.is_empty() {
                added.push(json!({"type": "false"}));
            }
            for range in &found {
                added.push(if range.is_all() {
                    json!({"type": "true"})
                } else {
                    worded(range)
                });
            }
        } else if is_or && spans_all && !found[0].is_all() {
            places.iter().for_each(|i| removed[*i] = true);
            let left_out: Vec<Value> = complement(&found).iter().map(worded).collect();
            added.push(json!({"type": "not", "field": combined("or", left_out)}));
        }
    }
    let kept = fields.into_iter().zip(removed).filter(|(_, removed)| !removed);
    let mut fields: Vec<Value> = kept.map(|(field, _)| field).collect();
    fields.append(&mut added);
    let (decides, ignored) = if is_or { ("true", "false") } else { ("false", "true") };
    if fields.iter().any(|field| kind(field) == decides) {
        return json!({"type": decides});
    }
    fields.retain(|field| kind(field) != ignored);
    match fields.is_empty() {
        true => json!({"type": ignored}),
        false => combined(of, fields),
    }
}

/// Times from and up to, in milliseconds.
type Spans = Vec<(i64, i64)>;

/// Takes what can be said by intervals out of a condition.
fn time_apart(filter: Value) -> (Option<Value>, Option<Spans>) {
    let all = (Interval::ETERNITY.start_ms, Interval::ETERNITY.end_ms);
    match kind(&filter) {
        "and" => {
            let mut fields = Vec::new();
            parts(filter, "and", &mut fields);
            let mut left = Vec::new();
            let mut spans: Option<Spans> = None;
            for field in fields {
                let (rest, found) = time_apart(field);
                left.extend(rest);
                if let Some(found) = found {
                    spans = Some(match spans {
                        Some(known) => both(&known, &found),
                        None => found,
                    });
                }
            }
            let rest = (!left.is_empty()).then(|| combined("and", left));
            (rest, spans)
        }
        "or" => {
            let mut fields = Vec::new();
            parts(filter.clone(), "or", &mut fields);
            let found: Vec<_> = fields.into_iter().map(time_apart).collect();
            let is_whole = found.iter().all(|(rest, _)| rest.is_none());
            let spans: Option<Vec<Spans>> = found.into_iter().map(|(_, spans)| spans).collect();
            let spans = spans.map(|spans| either(spans.into_iter().flatten().collect()));
            (if is_whole { None } else { Some(filter) }, spans)
        }
        "not" => match time_apart(filter.get("field").cloned().unwrap_or_default()) {
            (None, Some(spans)) => {
                let mut left_out = Vec::new();
                let mut from = all.0;
                for (start, end) in spans {
                    left_out.push((from, start));
                    from = end;
                }
                left_out.push((from, all.1));
                (None, Some(left_out.into_iter().filter(|(a, b)| a < b).collect()))
            }
            _ => (Some(filter), None),
        },
        "range" if filter["column"] == json!("__time") && filter["matchValueType"] == json!("LONG") => {
            let Some(range) = Range::of(&filter) else {
                return (Some(filter), None);
            };
            let start = match &range.lower {
                Some((value, open)) => value.as_i64().map(|at| at.saturating_add(i64::from(*open))),
                None => Some(all.0),
            };
            let end = match &range.upper {
                Some((value, open)) => value.as_i64().map(|at| at.saturating_add(i64::from(!*open))),
                None => Some(all.1),
            };
            match (start, end) {
                (Some(start), Some(end)) => (None, Some(vec![(start.max(all.0), end.min(all.1))])),
                _ => (Some(filter), None),
            }
        }
        _ => (Some(filter), None),
    }
}

fn both(a: &Spans, b: &Spans) -> Spans {
    let mut found = Vec::new();
    for (a_start, a_end) in a {
        for (b_start, b_end) in b {
            let (start, end) = ((*a_start).max(*b_start), (*a_end).min(*b_end));
            if start < end {
                found.push((start, end));
            }
        }
    }
    found.sort_unstable();
    found
}

fn either(mut spans: Spans) -> Spans {
    spans.sort_unstable();
    let mut joined: Spans = Vec::new();
    for (start, end) in spans {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

fn with_equalities(filter: Value) -> Value {
    bottom_up(filter, &|filter| match Range::of(&filter) {
        Some(Range {
            lower: Some((lower, false)),
            upper: Some((upper, false)),
        }) if compare(&lower, &upper).is_eq() => json!({
            "type": "equals", "column": filter["column"], "matchValueType": filter["matchValueType"], "matchValue": upper,
        }),
        _ => filter,
    })
}

/// Makes lists of equalities with one column among the parts of an OR, and of those that the same conditions go with.
fn with_lists(filter: Value) -> Value {
    bottom_up(filter, &|filter| {
        if kind(&filter) != "or" {
            return filter;
        }
        let mut fields = Vec::new();
        parts(filter, "or", &mut fields);
        let mut groups: Vec<(Value, Value, Vec<Value>, Vec<usize>)> = Vec::new();
        for (i, field) in fields.iter().enumerate() {
            let Some((equality, others)) = equality_of(field) else {
                continue;
            };
            let key = json!([equality["column"], equality["matchValueType"]]);
            let others = Value::Array(others);
            let value = equality["matchValue"].clone();
            let known = groups.iter_mut().find(|group| group.0 == key && group.1 == others);
            match known {
                Some(group) => {
                    group.2.push(value);
                    group.3.push(i);
                }
                None => groups.push((key, others, vec![value], vec![i])),
            }
        }
        let mut made = Vec::new();
        let mut removed = vec![false; fields.len()];
        for (key, others, mut values, places) in groups {
            if values.len() < 2 {
                continue;
            }
            places.iter().for_each(|i| removed[*i] = true);
            values.sort_by(compare);
            values.dedup();
            let list = json!({"type": "inType", "column": key[0], "matchValueType": key[1], "sortedValues": values});
            let mut all = match others {
                Value::Array(others) => others,
                _ => Vec::new(),
            };
            all.push(list);
            made.push(combined("and", all));
        }
        let kept = fields.into_iter().zip(removed).filter(|(_, removed)| !removed);
        made.extend(kept.map(|(field, _)| field));
        combined("or", made)
    })
}

/// Finds an equality in a filter that is one, or an AND with one; and what else the AND holds.
fn equality_of(filter: &Value) -> Option<(&Value, Vec<Value>)> {
    match kind(filter) {
        "equals" => Some((filter, Vec::new())),
        "and" => {
            let fields = filter.get("fields")?.as_array()?;
            let at = fields.iter().position(|field| kind(field) == "equals")?;
            let others = fields.iter().enumerate().filter(|(i, _)| *i != at);
            Some((&fields[at], others.map(|(_, field)| field.clone()).collect()))
        }
        _ => None,
    }
}

fn without_is_true(filter: Value) -> Value {
    match kind(&filter) {
        of @ ("and" | "or") => {
            let of = of.to_string();
            let mut fields = Vec::new();
            parts(filter, &of, &mut fields);
            json!({"type": of, "fields": fields.into_iter().map(without_is_true).collect::<Vec<_>>()})
        }
        "istrue" => without_is_true(filter.get("field").cloned().unwrap_or_default()),
        _ => filter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(column: &str, lower: Option<i64>, upper: Option<i64>) -> Value {
        let end = |value: Option<i64>, open| value.map(|value| (json!(value), open));
        Range {
            lower: end(lower, false),
            upper: end(upper, true),
        }
        .json(&json!(column), &json!("LONG"))
    }

    fn equals(column: &str, value: Value) -> Value {
        json!({"type": "equals", "column": column, "matchValueType": "STRING", "matchValue": value})
    }

    fn all(of: &str, fields: &[Value]) -> Value {
        json!({"type": of, "fields": fields})
    }

    #[test]
    fn ranges_of_a_column_are_merged_behind_the_rest() {
        let other = equals("a", json!("x"));
        let found = filter_only(all(
            "and",
            &[range("n", Some(1), None), other.clone(), range("n", None, Some(5))],
        ));
        assert_eq!(found, all("and", &[other.clone(), range("n", Some(1), Some(5))]));
        assert_eq!(
            filter_only(all("and", &[range("n", Some(5), None), range("n", None, Some(1))])),
            json!({"type": "false"})
        );
        assert_eq!(
            filter_only(all("or", &[range("n", Some(1), Some(3)), range("n", Some(3), Some(7))])),
            range("n", Some(1), Some(7))
        );
        let apart = filter_only(all("or", &[range("n", None, Some(1)), range("n", Some(3), None)]));
        assert_eq!(apart, json!({"type": "not", "field": range("n", Some(1), Some(3))}));
        assert_eq!(
            filter_only(json!({"type": "not", "field": range("n", Some(3), None)})),
            range("n", None, Some(3))
        );
        let one = json!({"type": "range", "column": "n", "matchValueType": "LONG", "lower": 2, "upper": 2});
        assert_eq!(kind(&filter_only(one)), "equals");
    }

    #[test]
    fn times_become_intervals() {
        let texts = |filter: Value| {
            let (spans, rest) = optimised(Some(filter)).expect("something is left");
            let spans: Vec<(i64, i64)> = spans.iter().map(|span| (span.start_ms, span.end_ms)).collect();
            (spans, rest)
        };
        let first = range("__time", Some(0), Some(10));
        let second = range("__time", Some(20), Some(30));
        assert_eq!(
            texts(all("or", &[first.clone(), second.clone()])),
            (vec![(0, 10), (20, 30)], None)
        );
        let other = equals("a", json!("x"));
        let (spans, rest) = texts(all("and", &[first.clone(), other.clone()]));
        assert_eq!((spans, rest), (vec![(0, 10)], Some(other.clone())));
        // What one branch says of time stays where another branch says something else.
        let mixed = all("or", &[first.clone(), all("and", &[second, other])]);
        assert_eq!(texts(mixed.clone()), (vec![(0, 10), (20, 30)], Some(mixed)));
        assert!(optimised(Some(all("and", &[first, range("__time", Some(10), None)]))).is_none());
    }

    #[test]
    fn equalities_become_lists() {
        let b = equals("b", json!("y"));
        let found = filter_only(all(
            "or",
            &[
                b.clone(),
                equals("a", json!("z")),
                equals("a", json!("x")),
                equals("a", json!("z")),
            ],
        ));
        let list = json!({"type": "inType", "column": "a", "matchValueType": "STRING", "sortedValues": ["x", "z"]});
        assert_eq!(found, all("or", &[list.clone(), b.clone()]));
        let with = |value: &str| {
            all(
                "and",
                &[equals("a", json!(value)), json!({"type": "null", "column": "c"})],
            )
        };
        assert_eq!(
            filter_only(all("or", &[with("x"), with("z")])),
            all("and", &[json!({"type": "null", "column": "c"}), list])
        );
        assert_eq!(filter_only(json!({"type": "istrue", "field": b.clone()})), b);
    }
}
