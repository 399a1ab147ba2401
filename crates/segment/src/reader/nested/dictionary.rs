//! The four dictionaries of a nested column and the ids that they share.

use std::sync::OnceLock;

use super::SubFiles;
use crate::SegmentError;
use crate::blob::Blob;
use crate::codec::dictionary::StringDictionary;
use crate::codec::fixed_indexed::FixedIndexed;
use crate::codec::int_arrays::IntArrays;
use crate::dump::json;

/// ```text
/// id   0 │ 1 … S-1 strings │ S … longs │ S+L … doubles │ S+L+D … arrays
/// ```
#[derive(Debug)]
pub(super) struct GlobalDictionary {
    pub strings: StringDictionary,
    longs: FixedIndexed<8>,
    doubles: FixedIndexed<8>,
    array_blob: Option<Blob>,
    arrays: OnceLock<Result<IntArrays, SegmentError>>,
}

/// What an id stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum GlobalValue<'a> {
    Null,
    /// An index of the string dictionary.
    String(u32),
    Long(i64),
    Double(f64),
    /// Ids of the elements.
    Array(&'a [u32]),
}

impl GlobalDictionary {
    pub fn open(files: &SubFiles<'_>, with_arrays: bool) -> Result<Self, SegmentError> {
        Ok(Self {
            strings: files.string_dictionary()?,
            longs: FixedIndexed::read(&mut files.require("__longDictionary")?.cursor(), "long dictionary")?,
            doubles: FixedIndexed::read(&mut files.require("__doubleDictionary")?.cursor(), "double dictionary")?,
            array_blob: if with_arrays {
                Some(files.require("__arrayDictionary")?)
            } else {
                None
            },
            arrays: OnceLock::new(),
        })
    }

    fn arrays(&self) -> Result<&IntArrays, SegmentError> {
        let decode = || match &self.array_blob {
            Some(blob) => IntArrays::read(&mut blob.cursor()),
            None => Ok(IntArrays::default()),
        };
        self.arrays.get_or_init(decode).as_ref().map_err(SegmentError::clone)
    }

    /// Counts all ids.
    pub fn len(&self) -> Result<usize, SegmentError> {
        Ok(self.strings.len() + self.longs.len() + self.doubles.len() + self.arrays()?.len())
    }

    /// Gives what an id stands for; none if the dictionaries do not have it.
    pub fn value(&self, id: u32) -> Result<Option<GlobalValue<'_>>, SegmentError> {
        if id == 0 {
            return Ok(Some(GlobalValue::Null));
        }
        let mut index = id as usize;
        if index < self.strings.len() {
            return Ok(Some(GlobalValue::String(id)));
        }
        index -= self.strings.len();
        if index < self.longs.len() {
            return Ok(self
                .longs
                .get(index)
                .map(|bytes| GlobalValue::Long(i64::from_le_bytes(bytes))));
        }
        index -= self.longs.len();
        if index < self.doubles.len() {
            return Ok(self
                .doubles
                .get(index)
                .map(|bytes| GlobalValue::Double(f64::from_le_bytes(bytes))));
        }
        index -= self.doubles.len();
        let arrays = self.arrays()?;
        Ok((index < arrays.len()).then(|| GlobalValue::Array(arrays.get(index))))
    }

    /// Appends the JSON text of an id; `place` is where ids come from, for errors.
    pub fn put_json(&self, id: u32, place: &Blob, out: &mut Vec<u8>) -> Result<(), SegmentError> {
        match self.value(id)? {
            None => return Err(unknown_id(id, place)),
            Some(GlobalValue::Null) => out.extend_from_slice(b"null"),
            Some(GlobalValue::String(id)) => match self.strings.get(id)? {
                Some(text) => json::put_string(out, &text),
                None => out.extend_from_slice(b"null"),
            },
            Some(GlobalValue::Long(value)) => json::put_long(out, value),
            Some(GlobalValue::Double(value)) => json::put_double(out, value),
            Some(GlobalValue::Array(elements)) => {
                out.push(b'[');
                for (i, element) in elements.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    // An array inside an array cannot be stored: its id would be this one's equal.
                    match self.value(*element)? {
                        Some(GlobalValue::Array(_)) => return Err(unknown_id(*element, place)),
                        _ => self.put_json(*element, place, out)?,
                    }
                }
                out.push(b']');
            }
        }
        Ok(())
    }
}

/// Makes the error for an id without meaning.
pub(super) fn unknown_id(id: u32, place: &Blob) -> SegmentError {
    place.corrupt(0, format!("ids of the column's dictionaries, found id {id}"))
}
