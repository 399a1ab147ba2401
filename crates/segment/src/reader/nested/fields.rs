//! The fields of a JSON column, one for each path, and how values are put together from them when nothing else is stored.
//!
//! ```text
//! __field_<i>   u8 version 2 or 0 │ i32 flags │ FixedIndexed: global ids that occur │ i32le long bytes │ i32le double bytes │ longs │
//!               doubles │ ids into the local dictionary, one a row │ bitmaps │ [array elements and their bitmaps]
//! path          $ is the root, .key or ['key'] a member, [n] an element of an array
//! ```

use super::SubFiles;
use super::dictionary::GlobalDictionary;
use crate::blob::Blob;
use crate::codec::blocks::{ValueBlocks, read_values};
use crate::codec::dictionary::StringDictionary;
use crate::codec::fixed_indexed::FixedIndexed;
use crate::codec::ints::Ids;
use crate::dump::json;
use crate::{RowSelection, SegmentError};

/// Steps of a path at most: values are put together recursively.
const DEPTH: usize = 200;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Element(usize),
}

#[derive(Debug)]
struct Field {
    path: Vec<Step>,
    local: FixedIndexed<4>,
    ids: Ids,
    place: Blob,
}

/// All fields of a column.
#[derive(Debug)]
pub(super) struct Fields {
    dictionary: GlobalDictionary,
    fields: Vec<Field>,
}

impl Fields {
    pub fn open(files: &SubFiles<'_>, paths: StringDictionary, _types: &[u8]) -> Result<Self, SegmentError> {
        let dictionary = GlobalDictionary::open(files, true)?;
        let fields = (0..paths.len())
            .map(|index| {
                let blob = files.require(&format!("__field_{index}"))?;
                let path = paths.get(index as u32)?.unwrap_or_default();
                let path = parse_path(&path)
                    .ok_or_else(|| blob.corrupt(0, format!("a path like $.a['b'][0], found {path}")))?;
                let mut cursor = blob.cursor();
                cursor.u8("field version")?;
                cursor.i32("field flags")?;
                let local = FixedIndexed::read(&mut cursor, "local dictionary")?;
                let longs = cursor.size_le("bytes of longs")?;
                let doubles = cursor.size_le("bytes of doubles")?;
                cursor.take(longs, "longs")?;
                cursor.take(doubles, "doubles")?;
                let ids = Ids::read(&mut cursor, files.container)?;
                Ok(Field {
                    path,
                    local,
                    ids,
                    place: cursor.take_blob(0, "end of ids")?,
                })
            })
            .collect::<Result<_, SegmentError>>()?;
        Ok(Self { dictionary, fields })
    }

    /// Counts the rows; none without fields.
    pub fn rows(&self) -> Option<usize> {
        self.fields.iter().map(|field| field.ids.len()).min()
    }

    /// Reads the global ids of all fields.
    pub fn read(&self, rows: &RowSelection<'_>) -> Result<Vec<Vec<u32>>, SegmentError> {
        self.fields
            .iter()
            .map(|field| {
                let mut ids = read_values(&field.ids, rows)?;
                for id in &mut ids {
                    let global = field.local.get(*id as usize).map(u32::from_le_bytes);
                    *id = global.ok_or_else(|| {
                        field
                            .place
                            .corrupt(0, format!("ids of the field's dictionary, found {id}"))
                    })?;
                }
                Ok(ids)
            })
            .collect()
    }

    /// Appends the value of a row: its fields that are not null.
    pub fn put_json(&self, columns: &[Vec<u32>], position: usize, out: &mut Vec<u8>) -> Result<(), SegmentError> {
        let present: Vec<(&Field, u32)> = self
            .fields
            .iter()
            .zip(columns)
            .map(|(field, ids)| (field, ids[position]))
            .filter(|(_, id)| *id != 0)
            .collect();
        self.put(&present, 0, out)
    }

    /// Appends what fields that agree in their first `depth` steps make: a value, an object or an array.
    fn put(&self, present: &[(&Field, u32)], depth: usize, out: &mut Vec<u8>) -> Result<(), SegmentError> {
        let Some((first, id)) = present.first() else {
            out.extend_from_slice(b"{}");
            return Ok(());
        };
        match first.path.get(depth) {
            None => self.dictionary.put_json(*id, &first.place, out),
            Some(Step::Key(_)) => {
                let mut separator = b'{';
                for group in groups(present, depth) {
                    if let Some(Step::Key(key)) = group[0].0.path.get(depth) {
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
                let mut elements: Vec<(usize, &[(&Field, u32)])> = groups(present, depth)
                    .filter_map(|group| match group[0].0.path.get(depth) {
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

/// Cuts fields, which are sorted by path, into stretches that agree in a step.
fn groups<'a, 'b>(present: &'a [(&'b Field, u32)], depth: usize) -> impl Iterator<Item = &'a [(&'b Field, u32)]> {
    present.chunk_by(move |a, b| a.0.path.get(depth) == b.0.path.get(depth))
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
