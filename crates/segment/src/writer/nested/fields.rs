//! The fields of JSON values: one for every path at which a scalar, or an array of nothing but scalars, was seen.
//!
//! ```text
//! __field_<i>   u8 version 2 (0: ids uncompressed) │ i32 flags 0 │ FixedIndexed: ids that occur │ i32le long bytes │ i32le double bytes │
//!               longs │ doubles │ positions in the first, one a row │ bitmaps │ arrays: FixedIndexed of elements, bitmaps
//!               with `nullValueIndex`, fields of longs or doubles: … │ i32 length │ bitmap of null, instead of the bitmaps
//! ```
//! Mirrors `StructuredDataProcessor`, which finds the fields, and `GlobalDictionaryEncodedFieldColumnWriter`.
//!
//! 1. Objects are walked by key and arrays by position; an array of scalars and nulls is a value of its own. Null is no value.
//! 2. Numbers are longs or doubles, truth values are longs, the elements of an array are cast to their least restrictive type.
//! 3. Fields are numbered in the order of their paths: `$` is the root, `.key` or `['key']` a member, `[n]` an element.

use hashbrown::HashMap;

use super::super::bitmaps;
use super::super::dictionary::SortedDictionary;
use super::super::interner::Interner;
use super::values::{NULL, RankedValues, Values};
use super::{Target, scalar, types, variant};
use crate::codec::compression::{Compression, Compressor};
use crate::codec::fixed_indexed;
use crate::codec::ints::{CompressedIds, write_plain};
use crate::codec::json_text::Json;
use crate::container::SmooshWriter;
use crate::dump::json;
use crate::{SegmentError, StringEncoding, ValueType};

/// What is collected of a field.
#[derive(Debug, Default)]
struct Field {
    /// Rows with a value, ascending, and its provisional id.
    rows: Vec<u32>,
    ids: Vec<u32>,
    types: u8,
    /// Whether an array without any value was seen, which has no type.
    untyped_arrays: bool,
}

/// Types of a field as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldTypes {
    One(u8),
    Several(u8),
}

impl Field {
    fn types(&self) -> FieldTypes {
        let is_array = self.types & types::ARRAYS != 0;
        match (self.types.count_ones(), self.untyped_arrays) {
            // Nothing but arrays without values are arrays of longs, as Druid has it.
            (0, _) => FieldTypes::One(types::LONGS),
            (1, true) if !is_array => FieldTypes::Several(self.types | self.types_as_array()),
            (1, _) => FieldTypes::One(self.types),
            _ => FieldTypes::Several(self.types),
        }
    }

    fn types_as_array(&self) -> u8 {
        match self.types {
            types::STRING => types::STRINGS,
            types::DOUBLE => types::DOUBLES,
            _ => types::LONGS,
        }
    }
}

/// A place in JSON values, with the places below it.
#[derive(Debug, Default)]
struct Node {
    path: String,
    keys: HashMap<String, usize>,
    elements: Vec<usize>,
    field: Option<usize>,
}

/// Collects the fields of a column.
#[derive(Debug)]
pub(super) struct Fields {
    nodes: Vec<Node>,
    paths: Interner,
    fields: Vec<Field>,
    values: Values,
    /// Whether any value was an object: then the column is more than its root.
    pub has_objects: bool,
    elements: Vec<u32>,
}

impl Fields {
    pub fn new() -> Self {
        Self {
            nodes: vec![Node {
                path: "$".into(),
                ..Node::default()
            }],
            paths: Interner::default(),
            fields: Vec::new(),
            values: Values::default(),
            has_objects: false,
            elements: Vec::new(),
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let fields: usize = self
            .fields
            .iter()
            .map(|field| (field.rows.capacity() + field.ids.capacity()) * 4 + size_of::<Field>())
            .sum();
        let nodes: usize = self
            .nodes
            .iter()
            .map(|node| 2 * node.path.capacity() + size_of::<Node>() + 64)
            .sum();
        self.values.memory_bytes() + self.paths.memory_bytes() + fields + nodes
    }

    pub fn check(&self, name: &str) -> Result<(), SegmentError> {
        self.values.check(name)
    }

    /// Takes the value of a row.
    pub fn append(&mut self, row: u32, value: &Json) {
        self.walk(0, row, value);
    }

    /// Walks a value; the parser bounds how deep it is.
    fn walk(&mut self, node: usize, row: u32, value: &Json) {
        match value {
            Json::Null => {}
            Json::Bool(truth) => {
                let id = self.values.long((*truth).into());
                self.push(node, row, id, types::LONG);
            }
            Json::Long(long) => {
                let id = self.values.long(*long);
                self.push(node, row, id, types::LONG);
            }
            Json::Double(double) => {
                let id = self.values.double(*double);
                self.push(node, row, id, types::DOUBLE);
            }
            Json::Text(text) => {
                let id = self.values.string(text);
                self.push(node, row, id, types::STRING);
            }
            Json::Object(members) => {
                self.has_objects = true;
                for (key, value) in members {
                    let child = self.member(node, key);
                    self.walk(child, row, value);
                }
            }
            Json::Array(elements) => match self.array_of_scalars(elements) {
                Some((id, types)) => self.push(node, row, id, types),
                None => {
                    for (index, value) in elements.iter().enumerate() {
                        let child = self.element(node, index);
                        self.walk(child, row, value);
                    }
                }
            },
        }
    }

    /// Gives the provisional id and the type of an array of scalars, 0 for one without values; none for other arrays.
    fn array_of_scalars(&mut self, elements: &[Json]) -> Option<(u32, u8)> {
        let mut found = 0u8;
        for element in elements {
            found |= match element {
                Json::Null => 0,
                Json::Bool(_) => types::LONGS,
                Json::Long(_) => types::LONGS,
                Json::Double(_) => types::DOUBLES,
                Json::Text(_) => types::STRINGS,
                Json::Array(_) | Json::Object(_) => return None,
            };
        }
        let least_restrictive = match found {
            0 => 0,
            found if found & types::STRINGS != 0 => types::STRINGS,
            found if found & types::DOUBLES != 0 => types::DOUBLES,
            _ => types::LONGS,
        };
        let mut ids = std::mem::take(&mut self.elements);
        ids.clear();
        for element in elements {
            ids.push(match least_restrictive {
                types::STRINGS => match text_of(element) {
                    Some(text) => self.values.string(&text),
                    None => NULL,
                },
                types::DOUBLES => match element {
                    Json::Long(long) => self.values.double(*long as f64),
                    Json::Double(double) => self.values.double(*double),
                    Json::Bool(truth) => self.values.double(f64::from(u8::from(*truth))),
                    _ => NULL,
                },
                _ => match element {
                    Json::Long(long) => self.values.long(*long),
                    Json::Bool(truth) => self.values.long((*truth).into()),
                    _ => NULL,
                },
            });
        }
        let id = self.values.array(&ids);
        self.elements = ids;
        Some((id, least_restrictive))
    }

    fn push(&mut self, node: usize, row: u32, id: u32, types: u8) {
        let index = match self.nodes[node].field {
            Some(index) => index,
            None => {
                // Odd keys may spell the same path; then they are the same field.
                let index = self.paths.intern(self.nodes[node].path.as_bytes()) as usize - 1;
                if index == self.fields.len() {
                    self.fields.push(Field::default());
                }
                self.nodes[node].field = Some(index);
                index
            }
        };
        let field = &mut self.fields[index];
        if field.rows.last() == Some(&row) {
            return;
        }
        field.rows.push(row);
        field.ids.push(id);
        field.types |= types;
        field.untyped_arrays |= types == 0;
    }

    fn member(&mut self, node: usize, key: &str) -> usize {
        if let Some(child) = self.nodes[node].keys.get(key) {
            return *child;
        }
        let needs_quotes = key.is_empty() || key.contains(['.', '\'', '"', '[', ']']);
        let path = match needs_quotes {
            true => format!("{}['{key}']", self.nodes[node].path),
            false => format!("{}.{key}", self.nodes[node].path),
        };
        let child = self.add(path);
        self.nodes[node].keys.insert(key.to_owned(), child);
        child
    }

    fn element(&mut self, node: usize, index: usize) -> usize {
        if let Some(child) = self.nodes[node].elements.get(index) {
            return *child;
        }
        // Elements come in their order: the one before is there.
        let path = format!("{}[{index}]", self.nodes[node].path);
        let child = self.add(path);
        self.nodes[node].elements.push(child);
        child
    }

    fn add(&mut self, path: String) -> usize {
        self.nodes.push(Node {
            path,
            ..Node::default()
        });
        self.nodes.len() - 1
    }

    /// Ends collecting: the values are sorted.
    pub fn finish(self) -> FinishedFields {
        FinishedFields {
            values: self.values.rank(),
            paths: self.paths,
            fields: self.fields,
        }
    }
}

/// Gives a scalar as Java prints it; none for null.
fn text_of(value: &Json) -> Option<String> {
    Some(match value {
        Json::Text(text) => text.clone(),
        Json::Bool(truth) => truth.to_string(),
        Json::Long(long) => long.to_string(),
        Json::Double(double) => {
            let mut text = Vec::new();
            json::put_double(&mut text, *double);
            String::from_utf8_lossy(&text).trim_matches('"').to_owned()
        }
        _ => return None,
    })
}

/// The fields of all rows.
pub(super) struct FinishedFields {
    pub values: RankedValues,
    paths: Interner,
    fields: Vec<Field>,
}

impl FinishedFields {
    /// Gives the types of the root if there is no field but that.
    pub fn only_root(&self) -> Option<FieldTypes> {
        let [root] = self.fields.as_slice() else {
            return None;
        };
        (self.paths.strings().get(0) == b"$").then(|| root.types())
    }

    /// Counts the fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Gives the provisional ids of the only field, one a row.
    pub fn root_rows(&self, rows: usize) -> Vec<u32> {
        self.fields
            .first()
            .map_or_else(|| vec![NULL; rows], |root| root.dense(rows))
    }

    /// Gives the paths and types, as they stand in the base file, and writes each field.
    pub fn head(&self, encoding: StringEncoding) -> std::io::Result<Vec<u8>> {
        let order = self.paths.strings().sorted();
        let mut out = Vec::new();
        if order.is_empty() {
            // Not even null is in it.
            out.extend_from_slice(&[1, 1, 0, 0, 0, 4, 0, 0, 0, 0]);
        } else {
            SortedDictionary::new(self.paths.strings(), &order, false, encoding).write(&mut out)?;
        }
        for index in order {
            let (FieldTypes::One(types) | FieldTypes::Several(types)) = self.fields[index as usize].types();
            out.push(types);
        }
        Ok(out)
    }

    /// Writes each field as an internal file.
    pub fn write(&self, target: &Target<'_>, smoosh: &mut SmooshWriter, rows: usize) -> Result<(), SegmentError> {
        let mut positions = vec![u32::MAX; self.values.cardinality()];
        for (number, index) in self.paths.strings().sorted().into_iter().enumerate() {
            let field = &self.fields[index as usize];
            let bytes = field
                .encode(target, &self.values, rows, &mut positions)
                .map_err(|e| smoosh.write_error(e))?;
            smoosh.add(&target.file(&format!("__field_{number}")), &[&bytes])?;
        }
        Ok(())
    }
}

impl Field {
    /// Gives the provisional id of every row, null where there is no value.
    fn dense(&self, rows: usize) -> Vec<u32> {
        let mut dense = vec![NULL; rows];
        for (row, id) in self.rows.iter().zip(&self.ids) {
            dense[*row as usize] = *id;
        }
        dense
    }

    /// Encodes the field. `positions` has an entry for each id, all `u32::MAX`, and is left so.
    fn encode(
        &self,
        target: &Target<'_>,
        values: &RankedValues,
        rows: usize,
        positions: &mut [u32],
    ) -> std::io::Result<Vec<u8>> {
        let provisional = self.dense(rows);
        let mut ids: Vec<u32> = provisional.iter().map(|row| values.id(*row)).collect();
        let mut local = Vec::new();
        for id in &ids {
            let position = &mut positions[*id as usize];
            if *position == u32::MAX {
                *position = 0;
                local.push(*id);
            }
        }
        local.sort_unstable();
        for (position, id) in local.iter().enumerate() {
            positions[*id as usize] = position as u32;
        }
        ids.iter_mut().for_each(|id| *id = positions[*id as usize]);
        local.iter().for_each(|id| positions[*id as usize] = u32::MAX);

        let compression = target.spec.auto_id_compression();
        let uncompressed = compression == Compression::Uncompressed;
        let mut out = vec![if uncompressed { 0 } else { 2 }, 0, 0, 0, 0];
        out.extend(fixed_indexed::write(local.iter().map(|id| id.to_le_bytes()), false));
        let numbers = match self.types() {
            FieldTypes::One(types::LONG) => Some(ValueType::Long),
            FieldTypes::One(types::DOUBLE) => Some(ValueType::Double),
            _ => None,
        };
        let part = match numbers {
            Some(value_type) => scalar::number_part(values, &provisional, value_type, target.spec)?,
            None => Vec::new(),
        };
        let len = (part.len() as u32).to_le_bytes();
        let is_long = numbers == Some(ValueType::Long);
        out.extend_from_slice(&if is_long { len } else { [0; 4] });
        out.extend_from_slice(&if is_long { [0; 4] } else { len });
        out.extend_from_slice(&part);
        if uncompressed {
            write_plain(ids.iter().copied(), local.len(), &mut out)?;
        } else {
            let mut compressor = Compressor::new(compression)?;
            CompressedIds::new(ids.iter().copied(), local.len(), &mut compressor)?.write(&mut out)?;
        }
        let auto = &target.spec.auto;
        let null_index = match numbers {
            Some(ValueType::Long) => auto.long_null_index,
            Some(_) => auto.double_null_index,
            None => false,
        };
        if null_index {
            let rows = provisional.iter().enumerate().filter(|(_, id)| **id == NULL);
            let rows: Vec<u32> = rows.map(|(row, _)| row as u32).collect();
            match rows.as_slice() {
                [] => out.extend_from_slice(&[0; 4]),
                rows => out.extend(bitmaps::null_index(rows, target.spec.bitmap)),
            }
        } else {
            bitmaps::index(&ids, None, local.len(), target.spec.bitmap).write(false, &mut out)?;
        }
        if matches!(self.types(), FieldTypes::One(set) if set & types::ARRAYS != 0) {
            let (elements, index) = variant::elements(values, &provisional, target);
            if !elements.is_empty() {
                out.extend(fixed_indexed::write(elements.iter().map(|id| id.to_le_bytes()), false));
                index.write(false, &mut out)?;
            }
        }
        Ok(out)
    }
}
