//! LIKE over a whole dictionary: one pass of substring search over the concatenated text instead of a match a value.

use arrow::array::{Array, BooleanBufferBuilder, StringArray};
use arrow::buffer::BooleanBuffer;
use memchr::memmem::Finder;

/// A pattern of literal parts between `%`. Patterns with `_` or escapes are left to Arrow.
#[derive(Debug, Clone)]
pub(crate) struct LikePattern {
    /// The text must begin with this.
    prefix: String,
    /// Then these follow in order, anything between them.
    middle: Vec<Finder<'static>>,
    /// The text must end with this.
    suffix: String,
    /// No `%` at all: the text must be equal to the prefix.
    exact: bool,
}

impl LikePattern {
    /// Takes a pattern apart; none if it needs more than substring search.
    pub fn parse(pattern: &str) -> Option<Self> {
        if pattern.contains(['_', '\\']) {
            return None;
        }
        let mut parts = pattern.split('%');
        let prefix = parts.next().unwrap_or_default().to_string();
        let mut rest: Vec<&str> = parts.collect();
        let exact = rest.is_empty();
        let suffix = rest.pop().unwrap_or_default().to_string();
        let middle = rest
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| Finder::new(part.as_bytes()).into_owned())
            .collect();
        Some(Self {
            prefix,
            middle,
            suffix,
            exact,
        })
    }

    /// Tells whether a text matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        if self.exact {
            return text == self.prefix.as_bytes();
        }
        let (head, tail) = (self.prefix.as_bytes(), self.suffix.as_bytes());
        if text.len() < head.len() + tail.len() || !text.starts_with(head) || !text.ends_with(tail) {
            return false;
        }
        let mut rest = &text[head.len()..text.len() - tail.len()];
        for part in &self.middle {
            match part.find(rest) {
                Some(at) => rest = &rest[at + part.needle().len()..],
                None => return false,
            }
        }
        true
    }

    /// Tells which values match; null ones do not.
    pub fn matches_all(&self, values: &StringArray) -> BooleanBuffer {
        let mut found = BooleanBufferBuilder::new(values.len());
        found.append_n(values.len(), false);
        let needle = self.middle.iter().max_by_key(|part| part.needle().len());
        match needle {
            Some(needle) => self.search(needle, values, &mut found),
            None => {
                for id in 0..values.len() {
                    if self.matches(values.value(id).as_bytes()) {
                        found.set_bit(id, true);
                    }
                }
            }
        }
        let found = found.finish();
        match values.nulls() {
            Some(nulls) => &found & nulls.inner(),
            None => found,
        }
    }

    /// Finds the needle in all text at once; only values that hold it are looked at closely.
    fn search(&self, needle: &Finder<'_>, values: &StringArray, found: &mut BooleanBufferBuilder) {
        let offsets = values.value_offsets();
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
            return;
        };
        let text = &values.value_data()[..*last as usize];
        let mut at = *first as usize;
        let mut id = 0;
        while let Some(hit) = needle.find(&text[at..]) {
            let hit = at + hit;
            while offsets[id + 1] as usize <= hit {
                id += 1;
            }
            let end = offsets[id + 1] as usize;
            if hit + needle.needle().len() > end {
                // Across two values: no hit in either, but one may begin right behind.
                at = hit + 1;
                continue;
            }
            if self.matches(&text[offsets[id] as usize..end]) {
                found.set_bit(id, true);
            }
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::BooleanArray;
    use arrow::compute::kernels::comparison::like;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_arrow(pattern in "[ab%]{0,6}", values in proptest::collection::vec(proptest::option::of("[ab]{0,6}"), 0..20)) {
            let values = StringArray::from(values);
            let expected = like(&values, &StringArray::new_scalar(&pattern)).expect("arrow's like");
            let ours = LikePattern::parse(&pattern).expect("no underscore").matches_all(&values);
            let ours = BooleanArray::new(ours, values.nulls().cloned());
            prop_assert_eq!(ours, expected);
        }
    }

    #[test]
    fn leaves_single_character_wildcards_to_arrow() {
        assert!(LikePattern::parse("a_b").is_none());
        assert!(LikePattern::parse("a\\%b").is_none());
    }
}
