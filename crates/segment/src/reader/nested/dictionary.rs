//! The four dictionaries of a nested column and the ids that they share.

use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::datatypes::{Float64Type, Int64Type};

use super::SubFiles;
use crate::SegmentError;
use crate::blob::Blob;
use crate::codec::dictionary::StringDictionary;
use crate::codec::fixed_indexed::FixedIndexed;
use crate::codec::int_arrays::IntArrays;
use crate::dump::json;
use crate::reader::IndexValue;

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
    pub fn open(files: &SubFiles<'_>, with_arrays: bool) -> Result<Arc<Self>, SegmentError> {
        Ok(Arc::new(Self {
            strings: files.string_dictionary()?,
            longs: FixedIndexed::read(&mut files.require("__longDictionary")?.cursor(), "long dictionary")?,
            doubles: FixedIndexed::read(&mut files.require("__doubleDictionary")?.cursor(), "double dictionary")?,
            array_blob: if with_arrays {
                Some(files.require("__arrayDictionary")?)
            } else {
                None
            },
            arrays: OnceLock::new(),
        }))
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

    /// Finds the id of a scalar; none if the dictionaries do not have it.
    pub fn id_of(&self, value: &IndexValue<'_>) -> Result<Option<u32>, SegmentError> {
        let longs = self.strings.len();
        Ok(match value {
            IndexValue::Null => Some(0),
            IndexValue::String(text) => self.strings.lookup(text)?,
            IndexValue::Long(long) => {
                let found = self.longs.position(long.to_le_bytes(), i64::from_le_bytes);
                found.map(|index| (longs + index) as u32)
            }
            IndexValue::Double(double) => {
                let found = self.doubles.position(double.to_bits().to_le_bytes(), double_order);
                found.map(|index| (longs + self.longs.len() + index) as u32)
            }
        })
    }

    /// Tells whether a row of numbers has the number of an id; null stands for 0.
    pub fn is_number(&self, id: u32, numbers: &ArrayRef, row: usize) -> Result<bool, SegmentError> {
        let value = self.value(id)?;
        if let Some(longs) = numbers.as_primitive_opt::<Int64Type>() {
            let stored = longs.value(row);
            return Ok(match value {
                Some(GlobalValue::Null) => stored == 0,
                Some(GlobalValue::Long(long)) => stored == long,
                _ => false,
            });
        }
        let stored = numbers
            .as_primitive_opt::<Float64Type>()
            .map(|doubles| doubles.value(row).to_bits());
        Ok(match value {
            Some(GlobalValue::Null) => stored == Some(0),
            Some(GlobalValue::Double(double)) => stored == Some(double.to_bits()),
            _ => false,
        })
    }

    /// Names the first dictionary whose values do not ascend.
    pub fn check(&self) -> Result<Option<String>, SegmentError> {
        if let Some(wrong) = self.strings.check()? {
            return Ok(Some(wrong));
        }
        let ascend = |list: &FixedIndexed<8>, key: fn([u8; 8]) -> i64| {
            let values = || (0..list.len()).filter_map(|index| list.get(index)).map(key);
            values().zip(values().skip(1)).all(|(a, b)| a < b)
        };
        if !ascend(&self.longs, i64::from_le_bytes) {
            return Ok(Some("the values of the dictionary of longs must ascend".into()));
        }
        if !ascend(&self.doubles, double_order) {
            return Ok(Some("the values of the dictionary of doubles must ascend".into()));
        }
        let arrays = self.arrays()?;
        let sorted = (1..arrays.len()).all(|index| arrays.get(index - 1) < arrays.get(index));
        Ok((!sorted).then(|| "the arrays of the dictionary must ascend".to_owned()))
    }

    /// Gives ids as JSON texts; id 0 is null.
    pub fn json_texts(&self, ids: Vec<u32>, place: &Blob) -> Result<StringArray, SegmentError> {
        let mut builder = StringBuilder::with_capacity(ids.len(), 0);
        let mut text = Vec::new();
        for id in ids {
            if id == 0 {
                builder.append_null();
                continue;
            }
            text.clear();
            self.put_json(id, place, &mut text)?;
            builder.append_value(String::from_utf8_lossy(&text));
        }
        Ok(builder.finish())
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

/// Maps the bytes of a double to a number that ascends as Java compares doubles: -0.0 before 0.0, NaN last.
pub(in crate::reader) fn double_order(bytes: [u8; 8]) -> i64 {
    let bits = i64::from_le_bytes(bytes);
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// Makes the error for an id without meaning.
pub(super) fn unknown_id(id: u32, place: &Blob) -> SegmentError {
    place.corrupt(0, format!("ids of the column's dictionaries, found id {id}"))
}
