//! One dictionary for all segments of a column, so that ids of different segments can be compared and counted.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::error::Result;
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

impl State {
    /// Gives the common id of each of some values; none if there would be too many.
    fn number(&mut self, values: &StringArray) -> Option<Vec<u32>> {
        if values.len() + self.ends.len() > MAX_VALUES {
            return None;
        }
        self.values = None;
        let ids = values.iter().map(|value| value.map_or(NULL_ID, |value| self.id(value)));
        Some(ids.collect())
    }
}

impl MergedDictionary {
    /// Gives the common id of every id of a segment's dictionary; none if there are too many values to merge.
    pub fn merge(&self, segment: &str, values: &StringArray) -> Option<Arc<[u32]>> {
        let mut state = self.state.lock();
        if let Some(ids) = state.segments.get(segment) {
            return Some(ids.clone());
        }
        let ids: Arc<[u32]> = state.number(values)?.into();
        state.segments.insert(segment.to_string(), ids.clone());
        Some(ids)
    }

    /// Gives the common id of each of some values; none if there are too many values to merge.
    pub fn number(&self, values: &StringArray) -> Option<Vec<u32>> {
        self.state.lock().number(values)
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

/// Tells whether values of a type can be kept as text and be made of it again.
pub(crate) fn has_text_form(data_type: &DataType) -> bool {
    use DataType::{Boolean, Float64, Int64, Timestamp, Utf8};
    matches!(
        data_type,
        Utf8 | Int64 | Float64 | Boolean | Timestamp(TimeUnit::Millisecond, None)
    )
}

/// Gives values that [`has_text_form`] as text.
pub(crate) fn to_text(values: &ArrayRef) -> Result<StringArray> {
    let plain = match values.data_type() {
        DataType::Timestamp(_, _) => cast(values, &DataType::Int64)?,
        _ => values.clone(),
    };
    Ok(cast(&plain, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// Gives the values that [`to_text`] made text of.
pub(crate) fn from_text(texts: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Utf8 => texts,
        DataType::Timestamp(_, _) => cast(&cast(&texts, &DataType::Int64)?, data_type)?,
        _ => cast(&texts, data_type)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BooleanArray, Float64Array, Int64Array, TimestampMillisecondArray};

    #[test]
    fn values_of_all_types_come_back_from_their_text() {
        let values: [ArrayRef; 4] = [
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
            Arc::new(Float64Array::from(vec![
                Some(-0.0),
                Some(0.1 + 0.2),
                Some(f64::MIN_POSITIVE),
                Some(f64::NEG_INFINITY),
                None,
            ])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            Arc::new(TimestampMillisecondArray::from(vec![
                Some(i64::MIN / 2),
                Some(-1),
                None,
            ])),
        ];
        for values in values {
            let texts: ArrayRef = Arc::new(to_text(&values).expect("text"));
            assert_eq!(&from_text(texts, values.data_type()).expect("values"), &values);
        }
    }

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
