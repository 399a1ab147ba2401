//! One dictionary for all segments of a column, so that ids of different segments can be compared and counted.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow::array::{Array, StringArray, StringBuilder};
use hashbrown::HashTable;
use parking_lot::Mutex;

/// The id of null in every merged dictionary.
pub(crate) const NULL_ID: u32 = 0;
/// More values than this are not merged: such a column is grouped by DataFusion's operators, which can spill.
pub(crate) const MAX_VALUES: usize = 1 << 20;

/// Maps ids of segments to common ids. It grows as segments are seen; ids that were given stay. Common id 0 is null.
#[derive(Debug, Default)]
pub(crate) struct MergedDictionary {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hasher: RandomState,
    ids: HashTable<u32>,
    /// Text of the common ids 1, 2, …, laid end to end.
    text: String,
    ends: Vec<usize>,
    segments: HashMap<String, Arc<[u32]>>,
    values: Option<Arc<StringArray>>,
}

impl State {
    fn value(&self, id: u32) -> &str {
        let at = id as usize - 1;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start..self.ends[at]]
    }

    fn id(&mut self, value: &str) -> u32 {
        let hash = self.hasher.hash_one(value);
        if let Some(id) = self.ids.find(hash, |id| self.value(*id) == value) {
            return *id;
        }
        self.text.push_str(value);
        self.ends.push(self.text.len());
        let id = self.ends.len() as u32;
        let (hasher, text, ends) = (&self.hasher, &self.text, &self.ends);
        self.ids.insert_unique(hash, id, |id| {
            let at = *id as usize - 1;
            let start = if at == 0 { 0 } else { ends[at - 1] };
            hasher.hash_one(&text[start..ends[at]])
        });
        id
    }
}

impl MergedDictionary {
    /// Gives the common id of every id of a segment's dictionary; none if there are too many values to merge.
    pub fn merge(&self, segment: &str, values: &StringArray) -> Option<Arc<[u32]>> {
        let mut state = self.state.lock();
        if let Some(ids) = state.segments.get(segment) {
            return Some(ids.clone());
        }
        if values.len() + state.ends.len() > MAX_VALUES {
            return None;
        }
        let ids: Arc<[u32]> = values
            .iter()
            .map(|value| value.map_or(NULL_ID, |value| state.id(value)))
            .collect();
        state.segments.insert(segment.to_string(), ids.clone());
        state.values = None;
        Some(ids)
    }

    /// Counts the common ids, null included: all ids given so far are below.
    pub fn len(&self) -> usize {
        self.state.lock().ends.len() + 1
    }

    /// Gives the text of every common id; null for 0.
    pub fn values(&self) -> Arc<StringArray> {
        let mut state = self.state.lock();
        if let Some(values) = &state.values {
            return values.clone();
        }
        let mut builder = StringBuilder::with_capacity(state.ends.len() + 1, state.text.len());
        builder.append_null();
        for id in 1..=state.ends.len() as u32 {
            builder.append_value(state.value(id));
        }
        let values = Arc::new(builder.finish());
        state.values = Some(values.clone());
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_share_ids() {
        let merged = MergedDictionary::default();
        let first = merged.merge("a", &StringArray::from(vec![None, Some("x"), Some("y")]));
        assert_eq!(first.as_deref(), Some(&[0, 1, 2][..]));
        let second = merged.merge("b", &StringArray::from(vec!["", "w", "y"]));
        assert_eq!(second.as_deref(), Some(&[3, 4, 2][..]));
        assert_eq!(
            merged.merge("a", &StringArray::from(vec!["other"])),
            first,
            "remembered"
        );
        let expected = StringArray::from(vec![None, Some("x"), Some("y"), Some(""), Some("w")]);
        assert_eq!((merged.values().as_ref(), merged.len()), (&expected, 5));
    }
}
