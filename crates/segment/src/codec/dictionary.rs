//! Sorted string dictionaries, plain (a [`GenericIndexed`]) or front-coded.
//!
//! ```text
//! first byte 01 or 02   GenericIndexed of UTF-8 strings
//!            7F         u8 encoding: 0 a GenericIndexed follows, 1 front-coded strings follow
//! ```
//!
//! The order is that of Java strings, by UTF-16 code unit, with null first. It is the order of UTF-8 bytes but for the characters
//! U+E000 to U+FFFF (lead bytes EE and EF), which sort behind those beyond U+FFFF (lead bytes F0 to F4).

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use arrow::array::StringArray;
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use crate::SegmentError;
use crate::blob::{Blob, Cursor};
use crate::codec::front_coded::FrontCoded;
use crate::codec::generic_indexed::GenericIndexed;
use crate::container::Container;

/// Maps a byte so that comparing mapped UTF-8 bytes compares Java strings.
#[inline]
pub(crate) fn java_order_byte(byte: u8) -> u8 {
    if byte & 0xFE == 0xEE { byte + 0x10 } else { byte }
}

/// Compares UTF-8 strings as Java does (`String.compareTo`).
pub(crate) fn java_order(a: &[u8], b: &[u8]) -> Ordering {
    match a.iter().zip(b).find(|(x, y)| x != y) {
        Some((x, y)) => java_order_byte(*x).cmp(&java_order_byte(*y)),
        None => a.len().cmp(&b.len()),
    }
}

/// The sorted dictionary of a string column; id order is Druid's string order, null is id 0 when present.
#[derive(Debug)]
pub struct StringDictionary {
    form: Form,
    has_null: bool,
    place: Blob,
    decoded: OnceLock<Result<Arc<StringArray>, SegmentError>>,
}

#[derive(Debug)]
enum Form {
    Plain(GenericIndexed),
    FrontCoded(FrontCoded),
}

impl StringDictionary {
    /// Reads the head of a dictionary.
    pub(crate) fn read(cursor: &mut Cursor<'_>, container: &Container) -> Result<Self, SegmentError> {
        let place = cursor.take_blob(0, "dictionary")?;
        let form = if cursor.peek() == Some(0x7F) {
            cursor.u8("dictionary marker")?;
            match cursor.u8("dictionary encoding")? {
                0 => Form::Plain(GenericIndexed::read(cursor, container, "dictionary")?),
                1 => Form::FrontCoded(FrontCoded::read(cursor)?),
                other => return Err(cursor.corrupt(format!("no dictionary encoding has id {other}"))),
            }
        } else {
            Form::Plain(GenericIndexed::read(cursor, container, "dictionary")?)
        };
        let has_null = match &form {
            Form::Plain(list) => list.len() > 0 && list.get(0)?.is_none(),
            Form::FrontCoded(values) => values.has_null(),
        };
        Ok(Self {
            form,
            has_null,
            place,
            decoded: OnceLock::new(),
        })
    }

    /// Counts the entries, null included.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Plain(list) => list.len(),
            Form::FrontCoded(values) => values.len(),
        }
    }

    /// Tells whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells whether id 0 is null.
    pub fn has_null(&self) -> bool {
        self.has_null
    }

    /// Names the encoding for people.
    pub fn encoding(&self) -> &'static str {
        match &self.form {
            Form::Plain(_) => "utf8",
            Form::FrontCoded(_) => "front-coded",
        }
    }

    fn bytes(&self, id: usize) -> Result<Option<std::borrow::Cow<'_, [u8]>>, SegmentError> {
        Ok(match &self.form {
            Form::Plain(list) => list.get(id)?.map(Into::into),
            Form::FrontCoded(values) => values.get(id)?.map(Into::into),
        })
    }

    /// Finds the id of a value.
    pub fn lookup(&self, value: &str) -> Result<Option<u32>, SegmentError> {
        let id = self.lower_bound(value)?;
        let found = (id as usize) < self.len() && self.bytes(id as usize)?.is_some_and(|v| *v == *value.as_bytes());
        Ok(found.then_some(id))
    }

    /// Finds the first id whose value is not below the given one in Druid's string order; null is below all.
    pub fn lower_bound(&self, value: &str) -> Result<u32, SegmentError> {
        let (mut low, mut high) = (usize::from(self.has_null), self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let below = match self.bytes(middle)? {
                None => true,
                Some(found) => java_order(&found, value.as_bytes()) == Ordering::Less,
            };
            if below {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low as u32)
    }

    /// Gives the value of an id; none for null and for ids that the dictionary does not have.
    pub fn get(&self, id: u32) -> Result<Option<String>, SegmentError> {
        if id as usize >= self.len() {
            return Ok(None);
        }
        self.bytes(id as usize)?
            .map(|bytes| {
                String::from_utf8(bytes.into_owned()).map_err(|e| {
                    self.place
                        .corrupt(0, format!("value {id} of the dictionary must be UTF-8: {e}"))
                })
            })
            .transpose()
    }

    /// Decodes all values once; later calls share the array. Null is a null entry.
    pub fn values(&self) -> Result<Arc<StringArray>, SegmentError> {
        self.decoded.get_or_init(|| self.decode().map(Arc::new)).clone()
    }

    fn decode(&self) -> Result<StringArray, SegmentError> {
        let len = self.len();
        let mut offsets: Vec<i32> = Vec::with_capacity(len + 1);
        offsets.push(0);
        let mut values: Vec<u8> = Vec::new();
        match &self.form {
            Form::Plain(list) => {
                values.reserve_exact(list.values_bytes().saturating_sub(4 * len));
                for id in 0..len {
                    values.extend_from_slice(list.get(id)?.unwrap_or_default());
                    offsets.push(self.offset(values.len())?);
                }
            }
            Form::FrontCoded(front_coded) => {
                if self.has_null {
                    offsets.push(0);
                }
                let mut ends = Vec::with_capacity(len);
                front_coded.for_each(|value| {
                    values.extend_from_slice(value);
                    ends.push(values.len());
                })?;
                for end in ends {
                    offsets.push(self.offset(end)?);
                }
            }
        }
        let nulls = self.has_null.then(|| NullBuffer::from_iter((0..len).map(|id| id > 0)));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        StringArray::try_new(offsets, Buffer::from_vec(values), nulls).map_err(|e| {
            self.place
                .corrupt(0, format!("the values of the dictionary must be UTF-8: {e}"))
        })
    }

    /// Names the first value that is not in its place.
    pub(crate) fn check(&self) -> Result<Option<String>, SegmentError> {
        let mut previous: Option<Vec<u8>> = None;
        for id in 0..self.len() {
            let Some(value) = self.bytes(id)? else {
                if id > 0 {
                    return Ok(Some(format!(
                        "null must be the first value of the dictionary, found at {id}"
                    )));
                }
                continue;
            };
            if let Some(before) = &previous
                && java_order(before, &value) != Ordering::Less
            {
                return Ok(Some(format!(
                    "values of the dictionary must ascend in Java's order, value {id} does not"
                )));
            }
            previous = Some(value.into_owned());
        }
        Ok(None)
    }

    fn offset(&self, bytes: usize) -> Result<i32, SegmentError> {
        i32::try_from(bytes).map_err(|_| SegmentError::Limit {
            what: format!(
                "the size of the dictionary of column [{}]",
                self.place.origin().internal
            ),
            actual: bytes as u64,
            limit: i32::MAX as u64,
            remedy: "use smaller segments",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_java_strings() {
        let sorted = [
            "",
            "a",
            "ab",
            "b",
            "é",
            "\u{d7ff}",
            "\u{10000}",
            "\u{10ffff}",
            "\u{e000}",
            "\u{ff61}",
            "\u{ffff}",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(java_order(a.as_bytes(), b.as_bytes()), i.cmp(&j), "{a:?} {b:?}");
                let units = a.encode_utf16().cmp(b.encode_utf16());
                assert_eq!(units, i.cmp(&j));
            }
        }
    }
}
