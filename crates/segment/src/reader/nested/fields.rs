//! The fields of a JSON column, one for each path, and how values are put together from them when nothing else is stored.
//!
//! ```text
//! __field_<i>   u8 version 2 or 0 │ i32 flags │ FixedIndexed: global ids that occur │ i32 long bytes │ i32 double bytes │ longs │
//!               doubles │ ids into the local dictionary, one a row │ bitmaps │ [array elements and their bitmaps]
//! path          $ is the root, .key or ['key'] a member, [n] an element of an array
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, make_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use roaring::RoaringBitmap;

use super::SubFiles;
use super::dictionary::GlobalDictionary;
use crate::blob::Blob;
use crate::codec::bitmap::{BitmapIndex, check_index, read_bitmap, take_null_rows};
use crate::codec::blocks::{ValueBlocks, read_values};
use crate::codec::dictionary::StringDictionary;
use crate::codec::fixed_indexed::FixedIndexed;
use crate::codec::ints::Ids;
use crate::dump::json;
use crate::reader::IndexValue;
use crate::reader::column::Opening;
use crate::reader::numbers::{NumberKind, Numbers};
use crate::{RowSelection, SegmentError};

/// Steps of a path at most: values are put together recursively.
const DEPTH: usize = 200;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Element(usize),
}

/// The bit of a field's types that says it is all longs, or all doubles.
const LONGS_ONLY: u8 = 0x04;
const DOUBLES_ONLY: u8 = 0x08;

/// Which fields of numbers have a bitmap of nulls instead of one for each value (`columnFormatSpec`).
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::reader) struct NullIndexes {
    pub longs: bool,
    pub doubles: bool,
}

/// One field.
#[derive(Debug)]
pub(in crate::reader) struct Field {
    /// The path as it is spelled.
    pub path: String,
    /// None where it is not spelled as a path.
    steps: Option<Vec<Step>>,
    /// Types that were seen, one bit each.
    pub types: u8,
    local: FixedIndexed<4>,
    numbers: Option<Numbers>,
    ids: Ids,
    index: FieldIndex,
    elements: Option<(FixedIndexed<4>, BitmapIndex)>,
    place: Blob,
}

#[derive(Debug)]
enum FieldIndex {
    Values(BitmapIndex),
    Nulls(RoaringBitmap),
    Unknown,
}

/// All fields of a column.
#[derive(Debug)]
pub(in crate::reader) struct Fields {
    dictionary: Arc<GlobalDictionary>,
    fields: Vec<Field>,
}

impl Field {
    fn open(
        files: &SubFiles<'_>,
        opening: &Opening<'_>,
        number: usize,
        path: String,
        types: u8,
        null_indexes: NullIndexes,
    ) -> Result<Self, SegmentError> {
        let blob = files.require(&format!("__field_{number}"))?;
        let mut cursor = blob.cursor();
        cursor.u8("field version")?;
        let flags = cursor.i32("field flags")?;
        let local = FixedIndexed::read(&mut cursor, "local dictionary")?;
        let long_bytes = cursor.size_native("bytes of longs")?;
        let double_bytes = cursor.size_native("bytes of doubles")?;
        let longs = cursor.take_blob(long_bytes, "longs")?;
        let doubles = cursor.take_blob(double_bytes, "doubles")?;
        let numbers = match (long_bytes, double_bytes) {
            (0, 0) => None,
            (0, _) => Some(Numbers::read_v1(NumberKind::Double, &mut doubles.cursor(), opening)?),
            _ => Some(Numbers::read_v1(NumberKind::Long, &mut longs.cursor(), opening)?),
        };
        let ids = Ids::read(&mut cursor, files.container)?;
        if let Some(numbers) = &numbers
            && numbers.rows() != ids.len()
        {
            return Err(cursor.corrupt(format!(
                "{} numbers, as there are ids, found {}",
                ids.len(),
                numbers.rows()
            )));
        }
        let place = cursor.take_blob(0, "end of ids")?;
        let has_null_index =
            (types == LONGS_ONLY && null_indexes.longs) || (types == DOUBLES_ONLY && null_indexes.doubles);
        let index = if flags != 0 || cursor.remaining() == 0 {
            FieldIndex::Unknown
        } else if has_null_index {
            match take_null_rows(&mut cursor)? {
                Some(nulls) => FieldIndex::Nulls(read_bitmap(&nulls, opening.bitmap, ids.len())?),
                None => FieldIndex::Unknown,
            }
        } else {
            let entries = local.len();
            match BitmapIndex::read(&mut cursor, files.container, opening.bitmap, ids.len(), entries)? {
                Some(index) => FieldIndex::Values(index),
                None => FieldIndex::Unknown,
            }
        };
        let elements = match cursor.remaining() {
            0 => None,
            _ if flags != 0 => None,
            _ => {
                let elements = FixedIndexed::read(&mut cursor, "array elements")?;
                let entries = elements.len();
                let index = BitmapIndex::read(&mut cursor, files.container, opening.bitmap, ids.len(), entries)?;
                index.map(|index| (elements, index))
            }
        };
        Ok(Self {
            steps: parse_path(&path),
            path,
            types,
            local,
            numbers,
            ids,
            index,
            elements,
            place,
        })
    }

    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    fn global(&self, local: u32) -> Result<u32, SegmentError> {
        self.local.get(local as usize).map(u32::from_le_bytes).ok_or_else(|| {
            self.place
                .corrupt(0, format!("ids of the field's dictionary, found {local}"))
        })
    }

    /// Reads the global ids of rows.
    fn read(&self, rows: &RowSelection<'_>) -> Result<Vec<u32>, SegmentError> {
        let mut ids = read_values(&self.ids, rows)?;
        for id in &mut ids {
            *id = self.global(*id)?;
        }
        Ok(ids)
    }

    /// Gives the rows whose value has a global id; none without bitmaps.
    fn rows_of(&self, global: u32) -> Result<Option<RoaringBitmap>, SegmentError> {
        match (&self.index, global) {
            (FieldIndex::Nulls(nulls), 0) => Ok(Some(nulls.clone())),
            (FieldIndex::Values(index), global) => {
                match self.local.position(global.to_le_bytes(), u32::from_le_bytes) {
                    Some(local) => index.get(local as u32),
                    None => Ok(Some(RoaringBitmap::new())),
                }
            }
            _ => Ok(None),
        }
    }

    /// Gives the rows whose array has an element of a global id; none without bitmaps.
    fn rows_with(&self, global: u32) -> Result<Option<RoaringBitmap>, SegmentError> {
        let Some((elements, index)) = &self.elements else {
            return Ok(None);
        };
        match elements.position(global.to_le_bytes(), u32::from_le_bytes) {
            Some(position) => index.get(position as u32),
            None => Ok(Some(RoaringBitmap::new())),
        }
    }

    /// Names what the bitmaps of the field say otherwise than its rows.
    fn check(&self, dictionary: &GlobalDictionary) -> Result<Option<String>, SegmentError> {
        let ids = read_values(&self.ids, &RowSelection::All)?;
        let sorted = (1..self.local.len())
            .all(|i| self.local.get(i - 1).map(u32::from_le_bytes) < self.local.get(i).map(u32::from_le_bytes));
        if !sorted {
            return Ok(Some("the ids that occur must ascend".into()));
        }
        for id in &ids {
            self.global(*id)?;
        }
        if let Some(numbers) = &self.numbers {
            let read = numbers.read(&RowSelection::All)?;
            for (row, id) in ids.iter().enumerate() {
                if !dictionary.is_number(self.global(*id)?, &read, row)? {
                    return Ok(Some(format!("row {row} has another number than its id stands for")));
                }
            }
        }
        match &self.index {
            FieldIndex::Values(index) => check_index(index, &ids, None, self.local.len()),
            FieldIndex::Nulls(nulls) => {
                let mut expected = RoaringBitmap::new();
                for (row, id) in ids.iter().enumerate() {
                    if self.global(*id)? == 0 {
                        expected.insert(row as u32);
                    }
                }
                Ok((*nulls != expected).then(|| "the bitmap of null has other rows".to_owned()))
            }
            FieldIndex::Unknown => Ok(None),
        }
    }
}

impl Fields {
    pub fn open(
        files: &SubFiles<'_>,
        opening: &Opening<'_>,
        paths: &StringDictionary,
        types: &[u8],
        null_indexes: NullIndexes,
    ) -> Result<Self, SegmentError> {
        let dictionary = GlobalDictionary::open(files, files.file("__arrayDictionary").is_some())?;
        let fields = types
            .iter()
            .enumerate()
            .map(|(number, types)| {
                let path = paths.get(number as u32)?.unwrap_or_default();
                Field::open(files, opening, number, path, *types, null_indexes)
            })
            .collect::<Result<_, SegmentError>>()?;
        Ok(Self { dictionary, fields })
    }

    /// Opens the fields of a column of a projection, which are those of the table's column.
    pub fn open_shared(
        files: &SubFiles<'_>,
        opening: &Opening<'_>,
        parent: &Self,
        null_indexes: NullIndexes,
    ) -> Result<Self, SegmentError> {
        let fields = parent.fields.iter().enumerate();
        let fields = fields
            .map(|(number, field)| Field::open(files, opening, number, field.path.clone(), field.types, null_indexes))
            .collect::<Result<_, SegmentError>>()?;
        Ok(Self {
            dictionary: Arc::clone(&parent.dictionary),
            fields,
        })
    }

    /// Lists the fields in the order of their paths.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Finds the field of a path, spelled as in the segment.
    pub fn find(&self, path: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.path == path)
    }

    /// Gives the rows in which the field of a path has a value; none without bitmaps. Without such a field all rows are null.
    pub fn rows_of(
        &self,
        path: &str,
        value: &IndexValue<'_>,
        rows: usize,
    ) -> Result<Option<RoaringBitmap>, SegmentError> {
        let Some(field) = self.find(path) else {
            let mut all = RoaringBitmap::new();
            if *value == IndexValue::Null {
                all.insert_range(0..rows as u32);
            }
            return Ok(Some(all));
        };
        match self.dictionary.id_of(value)? {
            Some(id) => field.rows_of(id),
            None => Ok(Some(RoaringBitmap::new())),
        }
    }

    /// Gives the rows in which the field of a path is an array with an element; none without bitmaps.
    pub fn rows_with(&self, path: &str, element: &IndexValue<'_>) -> Result<Option<RoaringBitmap>, SegmentError> {
        let Some(field) = self.find(path) else {
            return Ok(Some(RoaringBitmap::new()));
        };
        match self.dictionary.id_of(element)? {
            Some(id) => field.rows_with(id),
            None => Ok(Some(RoaringBitmap::new())),
        }
    }

    /// Reads a field: longs or doubles where it has nothing else, JSON text otherwise.
    pub fn read_field(&self, field: &Field, rows: &RowSelection<'_>) -> Result<ArrayRef, SegmentError> {
        let ids = field.read(rows)?;
        let Some(numbers) = &field.numbers else {
            return Ok(Arc::new(self.dictionary.json_texts(ids, &field.place)?));
        };
        let nulls = NullBuffer::new(BooleanBuffer::collect_bool(ids.len(), |row| ids[row] != 0));
        let data = numbers.read(rows)?.to_data().into_builder().nulls(Some(nulls)).build();
        data.map(make_array)
            .map_err(|e| field.place.corrupt(0, format!("as many ids as numbers: {e}")))
    }

    /// Names what the bitmaps of fields say otherwise than their rows.
    pub fn check(&self) -> Result<Vec<String>, SegmentError> {
        let mut found = Vec::new();
        for field in &self.fields {
            if let Some(what) = field.check(&self.dictionary)? {
                found.push(format!("field {}: {what}", field.path));
            }
        }
        Ok(found)
    }

    /// Counts the rows; none without fields.
    pub fn rows(&self) -> Option<usize> {
        self.fields.iter().map(|field| field.ids.len()).min()
    }

    /// Reads the global ids of all fields.
    pub fn read(&self, rows: &RowSelection<'_>) -> Result<Vec<Vec<u32>>, SegmentError> {
        self.fields.iter().map(|field| field.read(rows)).collect()
    }

    /// Appends the value of a row: its fields that are not null.
    pub fn put_json(&self, columns: &[Vec<u32>], position: usize, out: &mut Vec<u8>) -> Result<(), SegmentError> {
        let mut present: Vec<Present<'_>> = Vec::new();
        for (field, ids) in self.fields.iter().zip(columns) {
            let id = ids[position];
            if id == 0 {
                continue;
            }
            let steps = field.steps.as_deref();
            present.push(Present {
                field,
                id,
                path: steps.ok_or_else(|| {
                    field
                        .place
                        .corrupt(0, format!("a path like $.a['b'][0], found {}", field.path))
                })?,
            });
        }
        self.put(&present, 0, out)
    }

    /// Appends what fields that agree in their first `depth` steps make: a value, an object or an array.
    fn put(&self, present: &[Present<'_>], depth: usize, out: &mut Vec<u8>) -> Result<(), SegmentError> {
        let Some(first) = present.first() else {
            out.extend_from_slice(b"{}");
            return Ok(());
        };
        match first.path.get(depth) {
            None => self.dictionary.put_json(first.id, &first.field.place, out),
            Some(Step::Key(_)) => {
                let mut separator = b'{';
                for group in groups(present, depth) {
                    if let Some(Step::Key(key)) = group[0].path.get(depth) {
                        out.push(separator);
                        separator = b',';
                        json::put_string(out, key);
                        out.push(b':');
                        self.put(group, depth + 1, out)?;
                    }
                }
                out.extend_from_slice(if separator == b'{' { b"{}" } else { b"}" });
                Ok(())
            }
            Some(Step::Element(_)) => {
                let mut elements: Vec<(usize, &[Present<'_>])> = groups(present, depth)
                    .filter_map(|group| match group[0].path.get(depth) {
                        Some(Step::Element(index)) => Some((*index, group)),
                        _ => None,
                    })
                    .collect();
                elements.sort_by_key(|(index, _)| *index);
                out.push(b'[');
                for (position, (_, group)) in elements.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    self.put(group, depth + 1, out)?;
                }
                out.push(b']');
                Ok(())
            }
        }
    }
}

/// A field that has a value in a row.
struct Present<'a> {
    field: &'a Field,
    id: u32,
    path: &'a [Step],
}

/// Cuts fields, which are sorted by path, into stretches that agree in a step.
fn groups<'a, 'b>(present: &'a [Present<'b>], depth: usize) -> impl Iterator<Item = &'a [Present<'b>]> {
    present.chunk_by(move |a, b| a.path.get(depth) == b.path.get(depth))
}

/// Reads a path; none if it is not spelled as one.
fn parse_path(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() > DEPTH {
            return None;
        }
        if let Some(quoted) = rest.strip_prefix("['") {
            // Quotes inside a key are not escaped: the key ends where a path goes on.
            let end = quoted
                .match_indices("']")
                .map(|(at, _)| at)
                .find(|at| matches!(quoted.as_bytes().get(at + 2), None | Some(b'.' | b'[')))?;
            steps.push(Step::Key(quoted[..end].to_owned()));
            rest = &quoted[end + 2..];
        } else if let Some(index) = rest.strip_prefix('[') {
            let (digits, after) = index.split_once(']')?;
            steps.push(Step::Element(digits.parse().ok()?));
            rest = after;
        } else {
            let key = rest.strip_prefix('.')?;
            let end = key.find(['.', '[']).unwrap_or(key.len());
            steps.push(Step::Key(key[..end].to_owned()));
            rest = &key[end..];
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let key = |k: &str| Step::Key(k.to_owned());
        assert_eq!(parse_path("$").unwrap(), []);
        assert_eq!(parse_path("$.a.b").unwrap(), [key("a"), key("b")]);
        assert_eq!(parse_path("$.a[2].c").unwrap(), [key("a"), Step::Element(2), key("c")]);
        assert_eq!(parse_path("$['x.y'][0]").unwrap(), [key("x.y"), Step::Element(0)]);
        assert_eq!(parse_path("$[''].a").unwrap(), [key(""), key("a")]);
        assert_eq!(parse_path("$['it's']").unwrap(), [key("it's")]);
        assert_eq!(parse_path("a"), None);
        assert_eq!(parse_path("$x"), None);
        assert_eq!(parse_path("$[x]"), None);
    }
}
