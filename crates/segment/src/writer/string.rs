//! Columns of strings, one or any number a row.
//!
//! ```text
//! str descriptor │ u8 version 2 │ i32 flags (2 multi-value, 4 no bitmaps) │ dictionary │ ids │ bitmaps
//!                  the column of a projection that the table has too: without dictionary, one bitmap for each entry of the table's
//! uncompressed: u8 0 (single) or 1 (multi) │ dictionary │ ids │ bitmaps
//!               u8 3 │ i32 flags (1 multi-value, 4 no bitmaps) │ dictionary │ ids
//! ```
//! Mirrors `DictionaryEncodedColumnPartSerde`. A column without any value is only a descriptor, of part `null`.
//!
//! Values get ids in order of appearance while rows arrive; at the end the distinct values are sorted and the ids mapped. Bitmaps
//! come from a counting sort of the rows by id.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt32Type};

use super::bitmaps;
use super::dictionary::SortedDictionary;
use super::interner::Interner;
use super::lists::Lists;
use super::{bitmap_serde, descriptor};
use crate::codec::compression::{Compression, Compressor};
use crate::codec::ints::{CompressedIds, write_plain};
use crate::codec::multi_ints::{CompressedIdLists, write_plain_lists};
use crate::container::SmooshWriter;
use crate::limits::GENERIC_INDEXED_BYTES;
use crate::{BitmapKind, IndexSpec, MultiValueHandling, SegmentError, StringEncoding};

/// The id of null while rows arrive; values begin with 1.
const NULL: u32 = 0;

/// Flags of a column, as [`crate::reader`] reads them.
const MULTI_VALUE_V3: u8 = 2;
const NO_BITMAP_INDEX: u8 = 4;

/// A value of a batch's dictionary that has no id yet.
const UNKNOWN: u32 = u32::MAX;

/// A batch's dictionary is mapped as a whole unless it has this many times more values than the batch has rows.
const SPARSE_DICTIONARY: usize = 4;

/// The ids of the values of the dictionary that the last batch came with.
#[derive(Debug)]
struct Mapping {
    values: ArrayRef,
    ids: Vec<u32>,
}

/// Collects a column of strings.
#[derive(Debug)]
pub(crate) struct StringWriter {
    name: String,
    compression: Compression,
    encoding: StringEncoding,
    /// None for a column without bitmaps.
    bitmap: Option<BitmapKind>,
    bitmap_serde: BitmapKind,
    interner: Interner,
    ids: Vec<u32>,
    /// Ends of the rows in `ids`, beginning with 0; only of multi-value columns.
    offsets: Option<Vec<u32>>,
    handling: MultiValueHandling,
    mapping: Option<Mapping>,
    /// The values in their order, once a projection asked for it.
    order: Option<Vec<u32>>,
}

impl StringWriter {
    pub fn single(name: &str, spec: &IndexSpec, with_bitmaps: bool) -> Self {
        Self {
            name: name.to_owned(),
            compression: spec.dimension_compression,
            encoding: spec.string_encoding,
            bitmap: with_bitmaps.then_some(spec.bitmap),
            bitmap_serde: spec.bitmap,
            interner: Interner::default(),
            ids: Vec::new(),
            offsets: None,
            handling: MultiValueHandling::Array,
            mapping: None,
            order: None,
        }
    }

    pub fn multi(name: &str, spec: &IndexSpec, with_bitmaps: bool, handling: MultiValueHandling) -> Self {
        Self {
            offsets: Some(vec![0]),
            handling,
            ..Self::single(name, spec, with_bitmaps)
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let offsets = self.offsets.as_ref().map_or(0, |o| o.capacity() * 4);
        let mapping = self.mapping.as_ref().map_or(0, |m| m.ids.capacity() * 4);
        self.interner.memory_bytes() + self.ids.capacity() * 4 + offsets + mapping
    }

    /// Appends strings, plain or with a dictionary; multi-value columns also take lists of strings.
    pub fn append(&mut self, array: &ArrayRef) -> Result<(), SegmentError> {
        match array.data_type() {
            DataType::List(_) if self.offsets.is_some() => {
                self.append_lists(&Lists::new(array.as_list::<i32>())?)?;
            }
            DataType::LargeList(_) | DataType::FixedSizeList(_, _) if self.offsets.is_some() => {
                let lists =
                    cast(array, &crate::schema::list_of(DataType::Utf8)).map_err(|e| self.wrong_type(array, e))?;
                return self.append(&lists);
            }
            _ => {
                let first = self.ids.len();
                self.append_values(array)?;
                if let Some(offsets) = &mut self.offsets {
                    offsets.extend((first + 1..=self.ids.len()).map(|end| end as u32));
                }
            }
        }
        let bytes = self.interner.bytes_len() as u64 + 8 * self.interner.len() as u64;
        if bytes > GENERIC_INDEXED_BYTES || self.ids.len() > i32::MAX as usize {
            return Err(SegmentError::Limit {
                what: format!("the size of the dictionary of column [{}]", self.name),
                actual: bytes,
                limit: GENERIC_INDEXED_BYTES,
                remedy: "write smaller segments (fewer rows per segment)",
            });
        }
        Ok(())
    }

    fn wrong_type(&self, array: &ArrayRef, e: impl std::fmt::Display) -> SegmentError {
        SegmentError::invalid(format!(
            "column [{}] of type STRING cannot take values of type {}: {e}",
            self.name,
            array.data_type()
        ))
    }

    /// Appends one id a value.
    fn append_values(&mut self, array: &ArrayRef) -> Result<(), SegmentError> {
        match array.data_type() {
            DataType::Utf8 => {
                self.append_plain(array.as_string::<i32>());
                Ok(())
            }
            DataType::LargeUtf8 | DataType::Utf8View => {
                let plain = cast(array, &DataType::Utf8).map_err(|e| self.wrong_type(array, e))?;
                self.append_plain(plain.as_string::<i32>());
                Ok(())
            }
            DataType::Null => {
                self.ids.resize(self.ids.len() + array.len(), NULL);
                Ok(())
            }
            DataType::Dictionary(_, value) if **value == DataType::Utf8 => self.append_dictionary(array),
            DataType::Dictionary(key, value) if matches!(**value, DataType::LargeUtf8 | DataType::Utf8View) => {
                let wanted = DataType::Dictionary(key.clone(), Box::new(DataType::Utf8));
                let plain = cast(array, &wanted).map_err(|e| self.wrong_type(array, e))?;
                self.append_dictionary(&plain)
            }
            _ => Err(self.wrong_type(array, "cast it to VARCHAR")),
        }
    }

    fn append_plain(&mut self, array: &StringArray) {
        self.ids.reserve(array.len());
        let offsets = array.value_offsets();
        let bytes = array.value_data();
        let nulls = array.nulls();
        let mut previous: (&[u8], u32) = (&[], UNKNOWN);
        for (row, ends) in offsets.windows(2).enumerate() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                self.ids.push(NULL);
                continue;
            }
            let value = &bytes[ends[0] as usize..ends[1] as usize];
            // Rows come sorted: clustering columns repeat themselves.
            if previous.1 == UNKNOWN || previous.0 != value {
                previous = (value, self.interner.intern(value));
            }
            self.ids.push(previous.1);
        }
    }

    fn append_dictionary(&mut self, array: &ArrayRef) -> Result<(), SegmentError> {
        let dictionary = array.as_any_dictionary();
        let casted;
        let keys: &UInt32Array = match dictionary.keys().as_primitive_opt::<UInt32Type>() {
            Some(keys) => keys,
            None => {
                casted = cast(dictionary.keys(), &DataType::UInt32).map_err(|e| self.wrong_type(array, e))?;
                casted.as_primitive::<UInt32Type>()
            }
        };
        let values = dictionary.values();
        let strings = values.as_string::<i32>();
        let same = self
            .mapping
            .as_ref()
            .is_some_and(|m| m.values.to_data().ptr_eq(&values.to_data()));
        if !same {
            if values.len() > keys.len().saturating_mul(SPARSE_DICTIONARY) {
                self.mapping = None;
                for key in keys {
                    let id = match key {
                        Some(key) if strings.is_valid(key as usize) => {
                            self.interner.intern(strings.value(key as usize).as_bytes())
                        }
                        _ => NULL,
                    };
                    self.ids.push(id);
                }
                return Ok(());
            }
            self.mapping = Some(Mapping {
                values: values.clone(),
                ids: vec![UNKNOWN; values.len()],
            });
        }
        let Some(mapping) = &mut self.mapping else {
            return Ok(());
        };
        self.ids.reserve(keys.len());
        let nulls = keys.nulls();
        for (row, key) in keys.values().iter().enumerate() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                self.ids.push(NULL);
                continue;
            }
            let slot = &mut mapping.ids[*key as usize];
            if *slot == UNKNOWN {
                *slot = if strings.is_null(*key as usize) {
                    NULL
                } else {
                    self.interner.intern(strings.value(*key as usize).as_bytes())
                };
            }
            self.ids.push(*slot);
        }
        Ok(())
    }

    /// Appends lists: null and empty lists are a row of one null, as Druid's multi-stage engine stores them.
    fn append_lists(&mut self, lists: &Lists) -> Result<(), SegmentError> {
        let collected = std::mem::take(&mut self.ids);
        let appended = self.append_values(&lists.values);
        let flat = std::mem::replace(&mut self.ids, collected);
        appended?;
        let Some(offsets) = &mut self.offsets else {
            return Ok(());
        };
        for row in lists.rows() {
            match row {
                Some(values) if !values.is_empty() => self.ids.extend_from_slice(&flat[values]),
                _ => self.ids.push(NULL),
            }
            offsets.push(self.ids.len() as u32);
        }
        Ok(())
    }

    /// Sorts the dictionary, if that is not done, and gives its order, the ids of it by the ids of appearance, and whether it has null.
    fn sort(&mut self) -> (Vec<u32>, Vec<u32>, bool) {
        let order = self.order.take().unwrap_or_else(|| self.interner.strings().sorted());
        let has_null = self.ids.contains(&NULL);
        let shift = u32::from(has_null);
        let mut rank = vec![0u32; order.len() + 1];
        for (position, index) in order.iter().enumerate() {
            rank[*index as usize + 1] = position as u32 + shift;
        }
        (order, rank, has_null)
    }

    /// Makes a column of a projection that shares this one's dictionary: `array` has values of this column only, strings or lists of them
    /// in the order in which they are to be stored. Rows of this column may follow no more.
    pub fn child(&mut self, file: String, array: &ArrayRef) -> Result<StringChild, SegmentError> {
        let (order, rank, has_null) = self.sort();
        let lists = array.as_list_opt::<i32>();
        let values = match lists {
            Some(lists) => lists.values(),
            None => array,
        };
        let strings = values
            .as_string_opt::<i32>()
            .ok_or_else(|| self.wrong_type(values, "a projection groups it by strings"))?;
        let mut ids = Vec::with_capacity(strings.len());
        for value in strings {
            let id = match value {
                None => Some(NULL),
                Some(value) => self.interner.find(value.as_bytes()),
            };
            let id = id.filter(|id| *id != NULL || has_null || lists.is_some());
            ids.push(id.ok_or_else(|| {
                SegmentError::invalid(format!(
                    "a projection has a value that column [{}] does not have",
                    self.name
                ))
            })?);
        }
        let mut offsets = None;
        if let Some(lists) = lists {
            let (mut flat, mut ends) = (Vec::with_capacity(ids.len()), vec![0]);
            for (row, range) in lists.value_offsets().windows(2).enumerate() {
                match range[0] as usize..range[1] as usize {
                    values if lists.is_valid(row) && !values.is_empty() => flat.extend_from_slice(&ids[values]),
                    _ => flat.push(NULL),
                }
                ends.push(flat.len() as u32);
            }
            ids = flat;
            offsets = Some(ends);
        }
        ids.iter_mut().for_each(|id| *id = rank[*id as usize]);
        let cardinality = match order.len() {
            0 => 0,
            values => values + usize::from(has_null),
        };
        self.order = Some(order);
        Ok(StringChild {
            file,
            form: self.form(),
            ids,
            offsets,
            cardinality,
        })
    }

    fn form(&self) -> Form {
        Form {
            compression: self.compression,
            bitmap: self.bitmap,
            bitmap_serde: self.bitmap_serde,
        }
    }

    /// Writes the column as an internal file and tells whether it has any value.
    pub fn finish(mut self, smoosh: &mut SmooshWriter, compressor: &mut Compressor) -> Result<bool, SegmentError> {
        self.mapping = None;
        self.interner.forget_lookups();
        let mut offsets = self.offsets.take();
        let form = self.form();
        if self.interner.len() == 0 {
            let rows = offsets.as_ref().map_or(self.ids.len(), |o| o.len() - 1);
            form.write_null(smoosh, &self.name, rows)?;
            return Ok(false);
        }
        // Ids of appearance become ids of the sorted dictionary.
        let (order, rank, has_null) = self.sort();
        self.ids.iter_mut().for_each(|id| *id = rank[*id as usize]);
        drop(rank);
        if let Some(lists) = &mut offsets {
            arrange(lists, &mut self.ids, self.handling);
        }
        let cardinality = order.len() + usize::from(has_null);
        let dictionary = SortedDictionary::new(self.interner.strings(), &order, has_null, self.encoding);
        form.write(
            smoosh,
            &self.name,
            Some(&dictionary),
            &self.ids,
            offsets.as_deref(),
            cardinality,
            compressor,
        )?;
        Ok(true)
    }
}

/// A column of a projection that shares the dictionary of the table's column.
#[derive(Debug)]
pub(super) struct StringChild {
    file: String,
    form: Form,
    ids: Vec<u32>,
    offsets: Option<Vec<u32>>,
    /// Entries of the shared dictionary; 0 where the table's column has no values.
    cardinality: usize,
}

impl StringChild {
    /// Writes the column as an internal file.
    pub fn finish(self, smoosh: &mut SmooshWriter, compressor: &mut Compressor) -> Result<(), SegmentError> {
        if self.cardinality == 0 {
            let rows = self.offsets.as_ref().map_or(self.ids.len(), |o| o.len() - 1);
            return self.form.write_null(smoosh, &self.file, rows);
        }
        self.form.write(
            smoosh,
            &self.file,
            None,
            &self.ids,
            self.offsets.as_deref(),
            self.cardinality,
            compressor,
        )
    }
}

/// How a column of strings is encoded, its dictionary aside.
#[derive(Debug, Clone, Copy)]
struct Form {
    compression: Compression,
    bitmap: Option<BitmapKind>,
    bitmap_serde: BitmapKind,
}

impl Form {
    /// Writes a column without any value.
    fn write_null(&self, smoosh: &mut SmooshWriter, file: &str, rows: usize) -> Result<(), SegmentError> {
        let part = format!(r#""type":"null","numRows":{rows},{}"#, bitmap_serde(self.bitmap_serde));
        smoosh.add(file, &[&descriptor("STRING", false, &part)])
    }

    /// Writes ids of a sorted dictionary, and the dictionary unless it is another column's. Rows of one value each are stored single.
    #[allow(clippy::too_many_arguments)]
    fn write(
        &self,
        smoosh: &mut SmooshWriter,
        file: &str,
        dictionary: Option<&SortedDictionary<'_>>,
        ids: &[u32],
        offsets: Option<&[u32]>,
        cardinality: usize,
        compressor: &mut Compressor,
    ) -> Result<(), SegmentError> {
        let offsets = offsets.filter(|lists| lists.windows(2).any(|ends| ends[1] - ends[0] != 1));
        let bitmaps = self.bitmap.map(|kind| bitmaps::index(ids, offsets, cardinality, kind));
        let values = ids.iter().copied();
        let encoded = match offsets {
            Some(offsets) if self.compression == Compression::Uncompressed => {
                let mut plain = Vec::new();
                write_plain_lists(offsets, ids, cardinality, &mut plain).map_err(|e| smoosh.write_error(e))?;
                Encoded::Plain(plain)
            }
            Some(offsets) => {
                let lists = CompressedIdLists::new(offsets, values, cardinality, compressor);
                Encoded::Multi(lists.map_err(|e| smoosh.write_error(e))?)
            }
            None if self.compression == Compression::Uncompressed => {
                let mut plain = Vec::new();
                write_plain(values, cardinality, &mut plain).map_err(|e| smoosh.write_error(e))?;
                Encoded::Plain(plain)
            }
            None => {
                Encoded::Single(CompressedIds::new(values, cardinality, compressor).map_err(|e| smoosh.write_error(e))?)
            }
        };
        let is_multi = offsets.is_some();
        let descriptor = descriptor(
            "STRING",
            is_multi,
            &format!(
                r#""type":"stringDictionary",{},"byteOrder":"LITTLE_ENDIAN""#,
                bitmap_serde(self.bitmap_serde)
            ),
        );
        let no_bitmaps = if bitmaps.is_none() { NO_BITMAP_INDEX } else { 0 };
        let head: &[u8] = match (&encoded, is_multi) {
            (Encoded::Plain(_), _) if bitmaps.is_some() => &[u8::from(is_multi)],
            (Encoded::Plain(_), _) => &[3, 0, 0, 0, u8::from(is_multi) | no_bitmaps],
            (Encoded::Single(_), _) => &[2, 0, 0, 0, no_bitmaps],
            (Encoded::Multi(_), _) => &[2, 0, 0, 0, MULTI_VALUE_V3 | no_bitmaps],
        };
        let len = (descriptor.len() + head.len()) as u64
            + dictionary.map_or(0, SortedDictionary::serialized_len)
            + encoded.serialized_len()
            + bitmaps.as_ref().map_or(0, |list| list.serialized_len());
        smoosh.begin(file, len)?;
        let mut write = || -> std::io::Result<()> {
            smoosh.write_all(&descriptor)?;
            smoosh.write_all(head)?;
            if let Some(dictionary) = dictionary {
                dictionary.write(smoosh)?;
            }
            encoded.write(smoosh)?;
            match &bitmaps {
                Some(list) => list.write(false, smoosh),
                None => Ok(()),
            }
        };
        write().map_err(|e| smoosh.write_error(e))?;
        smoosh.end()
    }
}

enum Encoded {
    Plain(Vec<u8>),
    Single(CompressedIds),
    Multi(CompressedIdLists),
}

impl Encoded {
    fn serialized_len(&self) -> u64 {
        match self {
            Self::Plain(bytes) => bytes.len() as u64,
            Self::Single(ids) => ids.serialized_len(),
            Self::Multi(lists) => lists.serialized_len(),
        }
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        match self {
            Self::Plain(bytes) => out.write_all(bytes),
            Self::Single(ids) => ids.write(out),
            Self::Multi(lists) => lists.write(out),
        }
    }
}

/// Sorts the values of every row, and drops repetitions from sets; `offsets` follows.
fn arrange(offsets: &mut [u32], ids: &mut Vec<u32>, handling: MultiValueHandling) {
    if handling == MultiValueHandling::Array {
        return;
    }
    for ends in offsets.windows(2) {
        ids[ends[0] as usize..ends[1] as usize].sort_unstable();
    }
    if handling == MultiValueHandling::SortedSet {
        let mut kept = Vec::with_capacity(ids.len());
        let mut start = 0;
        for end in &mut offsets[1..] {
            let first = kept.len();
            for id in &ids[start..*end as usize] {
                if kept.len() == first || kept[kept.len() - 1] != *id {
                    kept.push(*id);
                }
            }
            start = *end as usize;
            *end = kept.len() as u32;
        }
        *ids = kept;
    }
}
