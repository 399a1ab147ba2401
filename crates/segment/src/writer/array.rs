//! Columns of arrays of strings, longs or doubles.
//!
//! ```text
//! <column>                           str descriptor │ u8 0 │ vbyte length, column name
//! <column>.__stringDictionary        strings, null first, always
//! <column>.__longDictionary          longs     .__doubleDictionary  doubles, -0.0 before 0.0, NaN last
//! <column>.__arrayDictionary         arrays of ids, sorted by them
//! <column>.__arrayElementDictionary  ids that are elements
//! <column>.__encodedColumn           ids, one a row
//! <column>.__valueIndexes            a bitmap for each id
//! <column>.__arrayElementIndexes     a bitmap for each element: the rows whose array has it
//! ids: 0 null, then strings, longs, doubles, arrays
//! ```
//! Mirrors `VariantColumnSerializer`. A null array is id 0; an empty array is an array like any other.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::bitmaps;
use super::descriptor;
use super::dictionary::SortedDictionary;
use super::interner::Interner;
use super::lists::Lists;
use crate::blob::put_vbyte;
use crate::codec::compression::{Compression, Compressor};
use crate::codec::ints::CompressedIds;
use crate::codec::{fixed_indexed, int_arrays};
use crate::container::SmooshWriter;
use crate::{SegmentError, ValueType};

/// The id of null while rows arrive; elements and arrays begin with 1.
const NULL: u32 = 0;

/// Collects a column of arrays.
#[derive(Debug)]
pub(super) struct ArrayWriter {
    name: String,
    element: ValueType,
    compression: Compression,
    /// Distinct elements: text, or the eight bytes of a number.
    elements: Interner,
    /// Distinct arrays: the ids of their elements, four bytes each.
    arrays: Interner,
    rows: Vec<u32>,
}

impl ArrayWriter {
    /// Starts a column; arrays of floats are stored as doubles, as Druid does.
    pub fn new(name: &str, element: ValueType, compression: Compression) -> Self {
        Self {
            name: name.to_owned(),
            element: match element {
                ValueType::Float => ValueType::Double,
                other => other,
            },
            // Ids of this format are always compressed.
            compression: match compression {
                Compression::Uncompressed | Compression::None => Compression::Lz4,
                other => other,
            },
            elements: Interner::default(),
            arrays: Interner::default(),
            rows: Vec::new(),
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.elements.memory_bytes() + self.arrays.memory_bytes() + self.rows.capacity() * 4
    }

    /// Appends lists whose elements Arrow casts to the column's.
    pub fn append(&mut self, array: &ArrayRef) -> Result<(), SegmentError> {
        if *array.data_type() == DataType::Null {
            self.rows.resize(self.rows.len() + array.len(), NULL);
            return Ok(());
        }
        let wanted = crate::schema::list_of(self.element.arrow());
        let is_list = matches!(
            array.data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _)
        );
        let casted = match is_list {
            true => cast(array, &wanted).map_err(|e| e.to_string()),
            false => Err("use an array".to_owned()),
        };
        let lists = casted.map_err(|e| {
            SegmentError::invalid(format!(
                "column [{}] of type ARRAY<{}> cannot take values of type {}: {e}",
                self.name,
                self.element.name(),
                array.data_type()
            ))
        })?;
        let lists = Lists::new(lists.as_list::<i32>())?;
        let ids = self.intern_elements(&lists.values);
        let mut key = Vec::new();
        for row in lists.rows() {
            let id = match row {
                None => NULL,
                Some(values) => {
                    key.clear();
                    ids[values]
                        .iter()
                        .for_each(|id| key.extend_from_slice(&id.to_le_bytes()));
                    self.arrays.intern(&key)
                }
            };
            self.rows.push(id);
        }
        Ok(())
    }

    fn intern_elements(&mut self, values: &ArrayRef) -> Vec<u32> {
        let elements = &mut self.elements;
        match self.element {
            ValueType::String => {
                let strings = values.as_string::<i32>().iter();
                strings
                    .map(|v| v.map_or(NULL, |text| elements.intern(text.as_bytes())))
                    .collect()
            }
            ValueType::Long => {
                let longs = values.as_primitive::<Int64Type>().iter();
                longs
                    .map(|v| v.map_or(NULL, |long| elements.intern(&long.to_le_bytes())))
                    .collect()
            }
            ValueType::Double | ValueType::Float => {
                // Java knows one NaN only.
                let bits = |double: f64| {
                    if double.is_nan() {
                        f64::NAN.to_bits()
                    } else {
                        double.to_bits()
                    }
                };
                let doubles = values.as_primitive::<Float64Type>().iter();
                doubles
                    .map(|v| v.map_or(NULL, |double| elements.intern(&bits(double).to_le_bytes())))
                    .collect()
            }
        }
    }

    /// Gives the indexes of the distinct elements in their order.
    fn sorted_elements(&self) -> Vec<u32> {
        let strings = self.elements.strings();
        if self.element == ValueType::String {
            return strings.sorted();
        }
        let number = |index: &u32| {
            let bytes = strings.get(*index).first_chunk::<8>().copied().unwrap_or_default();
            i64::from_le_bytes(bytes)
        };
        let mut order: Vec<u32> = (0..strings.len() as u32).collect();
        match self.element {
            ValueType::Long => order.sort_unstable_by_key(number),
            _ => order.sort_unstable_by(|a, b| {
                let double = |index| f64::from_bits(number(index) as u64);
                double(a).total_cmp(&double(b))
            }),
        }
        order
    }

    /// Writes the column and its sub-files.
    pub fn finish(mut self, smoosh: &mut SmooshWriter) -> Result<(), SegmentError> {
        self.elements.forget_lookups();
        self.arrays.forget_lookups();
        let order = self.sorted_elements();
        // Null comes first, with or without null elements, and the string dictionary holds it.
        let mut element_ids = vec![0u32; order.len() + 1];
        for (position, index) in order.iter().enumerate() {
            element_ids[*index as usize + 1] = position as u32 + 1;
        }
        let arrays = self.arrays.strings();
        let decoded: Vec<Vec<u32>> = (0..arrays.len() as u32)
            .map(|index| {
                let ids = arrays.get(index).as_chunks::<4>().0.iter();
                ids.map(|id| element_ids[u32::from_le_bytes(*id) as usize]).collect()
            })
            .collect();
        let mut array_order: Vec<u32> = (0..decoded.len() as u32).collect();
        array_order.sort_unstable_by(|a, b| decoded[*a as usize].cmp(&decoded[*b as usize]));
        let first_array = order.len() as u32 + 1;
        let mut array_ids = vec![0u32; decoded.len() + 1];
        for (position, index) in array_order.iter().enumerate() {
            array_ids[*index as usize + 1] = first_array + position as u32;
        }
        let cardinality = first_array as usize + decoded.len();
        let rows: Vec<u32> = self.rows.iter().map(|row| array_ids[*row as usize]).collect();
        let has_nulls = rows.contains(&NULL);

        let part = format!(
            r#""type":"nestedCommonFormat","logicalType":"ARRAY<{}>","hasNulls":{has_nulls},"isVariantType":false,"enforceLogicalType":true,"byteOrder":"LITTLE_ENDIAN","bitmapSerdeFactory":{{"type":"roaring"}}"#,
            self.element.name()
        );
        let mut base = descriptor("COMPLEX", false, &part);
        base.push(0);
        put_vbyte(&mut base, self.name.len());
        base.extend_from_slice(self.name.as_bytes());
        smoosh.add(&self.name, &[&base])?;

        let name = self.name.clone();
        let add = |smoosh: &mut SmooshWriter, file: &str, bytes: &[u8]| smoosh.add(&format!("{name}.{file}"), &[bytes]);
        let elements = self.elements.strings();
        let no_strings = Interner::default();
        let (strings, string_order) = match self.element {
            ValueType::String => (elements, order.as_slice()),
            _ => (no_strings.strings(), [].as_slice()),
        };
        let dictionary = SortedDictionary::new(strings, string_order, true, crate::StringEncoding::Utf8);
        smoosh.begin(&format!("{name}.__stringDictionary"), dictionary.serialized_len())?;
        dictionary.write(smoosh).map_err(|e| smoosh.write_error(e))?;
        smoosh.end()?;
        for (file, value) in [
            ("__longDictionary", ValueType::Long),
            ("__doubleDictionary", ValueType::Double),
        ] {
            let numbers = if self.element == value { order.as_slice() } else { &[] };
            let bytes = numbers
                .iter()
                .map(|index| elements.get(*index).first_chunk::<8>().copied().unwrap_or_default());
            add(smoosh, file, &fixed_indexed::write(bytes))?;
        }
        let sorted_arrays = array_order.iter().map(|index| decoded[*index as usize].as_slice());
        add(smoosh, "__arrayDictionary", &int_arrays::write(sorted_arrays))?;

        // Elements are all distinct elements, and null where an array has it.
        let null_element = decoded.iter().any(|array| array.contains(&NULL));
        let first_element = u32::from(!null_element);
        let element_dictionary = (first_element..first_array).map(u32::to_le_bytes).collect::<Vec<_>>();
        add(
            smoosh,
            "__arrayElementDictionary",
            &fixed_indexed::write(element_dictionary.into_iter()),
        )?;

        let mut compressor = Compressor::new(self.compression).map_err(|e| smoosh.write_error(e))?;
        let ids = CompressedIds::new(rows.iter().copied(), cardinality, &mut compressor)
            .map_err(|e| smoosh.write_error(e))?;
        let mut bytes = Vec::new();
        ids.write(&mut bytes).map_err(|e| smoosh.write_error(e))?;
        add(smoosh, "__encodedColumn", &bytes)?;

        write_bitmaps(smoosh, &format!("{name}.__valueIndexes"), &rows, None, cardinality)?;
        let mut ends = Vec::with_capacity(rows.len() + 1);
        ends.push(0);
        let mut flat = Vec::new();
        for row in &self.rows {
            if let Some(array) = row.checked_sub(1) {
                flat.extend(decoded[array as usize].iter().map(|id| id - first_element));
            }
            ends.push(flat.len() as u32);
        }
        let elements = (first_array - first_element) as usize;
        write_bitmaps(
            smoosh,
            &format!("{name}.__arrayElementIndexes"),
            &flat,
            Some(&ends),
            elements,
        )
    }
}

fn write_bitmaps(
    smoosh: &mut SmooshWriter,
    name: &str,
    ids: &[u32],
    offsets: Option<&[u32]>,
    cardinality: usize,
) -> Result<(), SegmentError> {
    let list = bitmaps::index(ids, offsets, cardinality, crate::BitmapKind::Roaring);
    smoosh.begin(name, list.serialized_len())?;
    list.write(false, smoosh).map_err(|e| smoosh.write_error(e))?;
    smoosh.end()
}
