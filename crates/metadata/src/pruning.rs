//! Pruning by shard spec: which segments can hold a row that passes a filter (Druid's `ShardSpec.possibleInDomain`).
//!
//! A filter is given as a *domain*: for some dimensions the set of values that can pass. Nulls sort first and are values.
//! A row with several values in a dimension is never in a range-partitioned segment set, so one value a row is enough.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::Value as Json;

use crate::ShardSpec;

/// Values that can pass, by dimension; an absent dimension is unrestricted.
pub type Domain = BTreeMap<String, ValueSet>;

/// A set of values: a union of ranges, sorted, disjoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ValueSet {
    ranges: Vec<ValueRange>,
}

type Value = Option<String>;
type ValueRange = (Bound<Value>, Bound<Value>);

impl ValueSet {
    /// Gives the set of all values, null included.
    pub fn all() -> Self {
        Self::range(Bound::Unbounded, Bound::Unbounded)
    }

    /// Gives the set of single values.
    pub fn points(values: impl IntoIterator<Item = Option<String>>) -> Self {
        let mut values: Vec<Value> = values.into_iter().collect();
        values.sort();
        values.dedup();
        let ranges = values
            .into_iter()
            .map(|v| (Bound::Included(v.clone()), Bound::Included(v)));
        ValueSet {
            ranges: ranges.collect(),
        }
    }

    /// Gives the values between two bounds; an unbounded low end includes null.
    pub fn range(low: Bound<Option<String>>, high: Bound<Option<String>>) -> Self {
        let range = (low, high);
        ValueSet {
            ranges: Vec::from_iter((!is_empty(&range)).then_some(range)),
        }
    }

    /// Tells whether no value is in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Tells whether the value is in the set.
    pub fn contains(&self, value: Option<&str>) -> bool {
        let value = value.map(str::to_string);
        let point = ValueSet::points([value]);
        !self.intersect(&point).is_empty()
    }

    /// Gives the values that are in both.
    pub fn intersect(&self, other: &ValueSet) -> ValueSet {
        let mut ranges = Vec::new();
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let low = if low_key(&a.0) >= low_key(&b.0) { &a.0 } else { &b.0 };
            let a_ends_first = high_key(&a.1) <= high_key(&b.1);
            let high = if a_ends_first { &a.1 } else { &b.1 };
            let both = (low.clone(), high.clone());
            if !is_empty(&both) {
                ranges.push(both);
            }
            if a_ends_first {
                left.next();
            } else {
                right.next();
            }
        }
        ValueSet { ranges }
    }

    /// Gives the values that are in either.
    pub fn union(&self, other: &ValueSet) -> ValueSet {
        let mut all: Vec<ValueRange> = self.ranges.iter().chain(&other.ranges).cloned().collect();
        all.sort_by(|a, b| low_key(&a.0).cmp(&low_key(&b.0)));
        let mut ranges: Vec<ValueRange> = Vec::new();
        for next in all {
            match ranges.last_mut() {
                // Touching ranges are left apart unless they share a value: nothing depends on their being joined.
                Some(last) if !is_empty(&(next.0.clone(), last.1.clone())) => {
                    if high_key(&next.1) > high_key(&last.1) {
                        last.1 = next.1;
                    }
                }
                _ => ranges.push(next),
            }
        }
        ValueSet { ranges }
    }

    /// Tells whether the value is in the set and nothing else is.
    fn is_exactly(&self, value: &Value) -> bool {
        matches!(self.ranges.as_slice(),
            [(Bound::Included(low), Bound::Included(high))] if low == value && high == value)
    }
}

/// Orders lower bounds: unbounded first, and an excluded value behind the included one.
fn low_key(bound: &Bound<Value>) -> (u8, Option<&Value>, u8) {
    match bound {
        Bound::Unbounded => (0, None, 0),
        Bound::Included(value) => (1, Some(value), 0),
        Bound::Excluded(value) => (1, Some(value), 1),
    }
}

/// Orders upper bounds: unbounded last, and an excluded value before the included one.
fn high_key(bound: &Bound<Value>) -> (u8, Option<&Value>, u8) {
    match bound {
        Bound::Unbounded => (2, None, 0),
        Bound::Included(value) => (1, Some(value), 1),
        Bound::Excluded(value) => (1, Some(value), 0),
    }
}

fn is_empty((low, high): &ValueRange) -> bool {
    match (low, high) {
        (_, Bound::Excluded(None)) => true,
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Excluded(b) | Bound::Included(b)) => a >= b,
        _ => false,
    }
}

impl ShardSpec {
    /// Tells whether a row of the domain can be in the segment; true where the spec cannot tell.
    pub fn possible_in_domain(&self, domain: &Domain) -> bool {
        match self {
            ShardSpec::Range {
                dimensions,
                virtual_columns,
                start,
                end,
                ..
            } => {
                // A computed dimension is no column, though a column may have its name: nothing is known of its values.
                let computed = virtual_columns.as_ref().and_then(Json::as_array).into_iter().flatten();
                let computed: Vec<&str> = computed.filter_map(|column| column.get("name")?.as_str()).collect();
                let stored = dimensions.iter().map(String::as_str);
                let names: Vec<&str> = stored.take_while(|name| !computed.contains(name)).collect();
                range_possible(&names, start.as_deref(), end.as_deref(), domain)
            }
            ShardSpec::Single {
                dimension, start, end, ..
            } => {
                let tuple = |bound: &Option<String>| bound.clone().map(|value| vec![Some(value)]);
                let (start, end) = (tuple(start), tuple(end));
                range_possible(&[dimension], start.as_deref(), end.as_deref(), domain)
            }
            ShardSpec::Tombstone { .. } => false,
            _ => true,
        }
    }
}

/// Walks the dimensions from left to right. A bound applies to a dimension only while all earlier ones are pinned to exactly
/// the bound's values; the upper bound counts as inclusive, so that a segment whose start equals its end is kept.
fn range_possible(dimensions: &[&str], start: Option<&[Value]>, end: Option<&[Value]>, domain: &Domain) -> bool {
    let everything = ValueSet::all();
    let (mut at_start, mut at_end) = (true, true);
    for (at, dimension) in dimensions.iter().enumerate() {
        let wanted = domain.get(*dimension).unwrap_or(&everything);
        let low = start.and_then(|s| s.get(at)).filter(|_| at_start);
        let high = end.and_then(|e| e.get(at)).filter(|_| at_end);
        let segment = ValueSet::range(
            low.map_or(Bound::Unbounded, |v| Bound::Included(v.clone())),
            high.map_or(Bound::Unbounded, |v| Bound::Included(v.clone())),
        );
        let both = wanted.intersect(&segment);
        if both.is_empty() {
            return false;
        }
        at_start = low.is_some_and(|value| both.is_exactly(value));
        at_end = high.is_some_and(|value| both.is_exactly(value));
        if !at_start && !at_end {
            return true;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> Value {
        Some(value.to_string())
    }

    fn range(start: Option<Vec<Value>>, end: Option<Vec<Value>>) -> ShardSpec {
        ShardSpec::Range {
            dimensions: vec!["a".into(), "b".into()],
            virtual_columns: None,
            start,
            end,
            partition_num: 0,
            num_core_partitions: 1,
        }
    }

    #[test]
    fn prunes_by_the_prefix_that_is_pinned() {
        let spec = range(
            Some(vec![text("AU"), text("Sydney")]),
            Some(vec![text("CA"), text("Ottawa")]),
        );
        let domain = |a: &[&str], b: &[&str]| {
            let points = |list: &[&str]| ValueSet::points(list.iter().map(|v| text(v)));
            let mut domain = Domain::from([("a".to_string(), points(a))]);
            if !b.is_empty() {
                domain.insert("b".to_string(), points(b));
            }
            domain
        };
        assert!(!spec.possible_in_domain(&domain(&["AT"], &[])));
        assert!(spec.possible_in_domain(&domain(&["AU"], &[])));
        assert!(!spec.possible_in_domain(&domain(&["AU"], &["Perth"])));
        assert!(spec.possible_in_domain(&domain(&["AU"], &["Sydney"])));
        assert!(spec.possible_in_domain(&domain(&["BE"], &["Aalst"])));
        assert!(
            spec.possible_in_domain(&domain(&["CA"], &["Ottawa"])),
            "the upper bound counts as inclusive"
        );
        assert!(!spec.possible_in_domain(&domain(&["CA"], &["Toronto"])));
        assert!(
            spec.possible_in_domain(&domain(&["AU", "CA"], &["Perth"])),
            "not pinned: cannot tell"
        );
        assert!(spec.possible_in_domain(&Domain::new()));
    }

    #[test]
    fn a_computed_dimension_prunes_nothing() {
        let domain = Domain::from([("a".to_string(), ValueSet::points([text("x")]))]);
        let spec = |computed: &str| ShardSpec::Range {
            dimensions: vec!["a".into()],
            virtual_columns: Some(serde_json::json!([{"type": "expression", "name": computed}])),
            start: Some(vec![text("y")]),
            end: None,
            partition_num: 1,
            num_core_partitions: 2,
        };
        assert!(spec("a").possible_in_domain(&domain));
        assert!(!spec("v0").possible_in_domain(&domain));
    }

    #[test]
    fn a_segment_of_one_key_is_kept() {
        let key = Some(vec![text("x"), None]);
        assert!(
            range(key.clone(), key).possible_in_domain(&Domain::from([("a".into(), ValueSet::points([text("x")]))]))
        );
    }

    /// Values for brute force: null and three letters.
    fn value() -> impl Strategy<Value = Value> {
        prop::sample::select(vec![None, text("a"), text("b"), text("c")])
    }

    fn bound() -> impl Strategy<Value = Option<Vec<Value>>> {
        prop::option::of((value(), value()).prop_map(|(a, b)| vec![a, b]))
    }

    fn values() -> impl Strategy<Value = Option<Vec<Value>>> {
        prop::option::of(prop::collection::vec(value(), 0..4))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn never_prunes_a_segment_that_holds_a_wanted_row(start in bound(), end in bound(), a in values(), b in values()) {
            let mut domain = Domain::new();
            for (name, wanted) in [("a", &a), ("b", &b)] {
                if let Some(wanted) = wanted {
                    domain.insert(name.to_string(), ValueSet::points(wanted.iter().cloned()));
                }
            }
            let all = [None, text("a"), text("b"), text("c")];
            let wanted = |list: &Option<Vec<Value>>, v: &Value| list.as_ref().is_none_or(|list| list.contains(v));
            let mut holds_one = false;
            for row in all.iter().flat_map(|x| all.iter().map(move |y| vec![x.clone(), y.clone()])) {
                let inside = start.as_ref().is_none_or(|s| *s <= row) && end.as_ref().is_none_or(|e| row <= *e);
                holds_one |= inside && wanted(&a, &row[0]) && wanted(&b, &row[1]);
            }
            let possible = range(start.clone(), end.clone()).possible_in_domain(&domain);
            prop_assert!(possible || !holds_one);
            // Where the first dimension is one value, the rule is exact.
            let sane = start.is_none() || end.is_none() || start <= end;
            if sane && a.as_ref().is_some_and(|a| a.len() == 1) && b.as_ref().is_none_or(|b| b.len() == 1) {
                prop_assert_eq!(possible, holds_one);
            }
        }

        #[test]
        fn sets_agree_with_membership(
            ranges in prop::collection::vec((0u8..4, 0u8..4, any::<bool>(), any::<bool>()), 0..4),
            others in prop::collection::vec(value(), 0..4),
        ) {
            let all = [None, text("a"), text("b"), text("c")];
            let mut set = ValueSet::default();
            let mut members: Vec<bool> = vec![false; 4];
            for (low, high, low_in, high_in) in ranges {
                let (low, high) = (usize::from(low), usize::from(high));
                let bound = |inside, at: usize| if inside { Bound::Included(all[at].clone()) } else { Bound::Excluded(all[at].clone()) };
                set = set.union(&ValueSet::range(bound(low_in, low), bound(high_in, high)));
                for (at, member) in members.iter_mut().enumerate() {
                    *member |= (at > low || (low_in && at == low)) && (at < high || (high_in && at == high));
                }
            }
            let points = ValueSet::points(others.iter().cloned());
            for (at, v) in all.iter().enumerate() {
                prop_assert_eq!(set.contains(v.as_deref()), members[at]);
                prop_assert_eq!(set.intersect(&points).contains(v.as_deref()), members[at] && others.contains(v));
                prop_assert_eq!(set.union(&points).contains(v.as_deref()), members[at] || others.contains(v));
            }
        }
    }
}
