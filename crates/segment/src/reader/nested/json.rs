//! JSON columns (Druid's `CompressedNestedDataComplexColumn`): the whole value of a row as SMILE, and every path as a column.
//!
//! ```text
//! base file behind the name   dictionary of field paths │ u8 types of each field
//! __raw, __raw_offsets, __raw_compressed   the values, nothing for null; absent with storage encoding "none"
//! __nullIndex                 i32 length │ bitmap of the null rows, where there are any
//! __field_<i>                 a field, see `fields`
//!
//! older (complex, typeName json)   u8 version 3 to 5 │ str JSON {"fileNameBase", "hasNulls", …} │ paths │ types; sub-files likewise
//! ```

use arrow::array::{StringArray, StringBuilder};
use roaring::RoaringBitmap;
use serde::Deserialize;

use super::SubFiles;
use super::fields::{Fields, NullIndexes};
use crate::blob::{Blob, Cursor};
use crate::codec::bitmap::{read_bitmap, take_null_rows};
use crate::codec::block_store::{BlobBuffers, BlobColumn};
use crate::codec::dictionary::StringDictionary;
use crate::codec::smile;
use crate::reader::column::{Opening, byte_order};
use crate::{BitmapKind, RowSelection, SegmentError};

/// An open JSON column.
#[derive(Debug)]
pub(in crate::reader) struct Json {
    rows: usize,
    /// None where whole values are not stored: they are put together from the fields.
    raw: Option<Box<BlobColumn>>,
    /// None for the oldest form, whose paths are spelled otherwise.
    fields: Option<Fields>,
    null_rows: RoaringBitmap,
    place: Blob,
}

/// The head of the older form.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldHead {
    file_name_base: String,
    #[serde(default)]
    has_nulls: bool,
    bitmap_serde_factory: Option<BitmapKind>,
    byte_order: Option<String>,
}

impl Json {
    /// Opens the current form, behind the base name.
    pub fn open(
        cursor: &mut Cursor<'_>,
        files: &SubFiles<'_>,
        opening: &Opening<'_>,
        has_nulls: bool,
        null_indexes: NullIndexes,
    ) -> Result<Self, SegmentError> {
        let fields = match files.parent {
            None => {
                let paths = StringDictionary::read(cursor, opening.container)?;
                let types = cursor.take(paths.len(), "field types")?.to_vec();
                Fields::open(files, opening, &paths, &types, null_indexes)?
            }
            Some(parent) => match parent.fields() {
                Some(shared) => Fields::open_shared(files, opening, shared, null_indexes)?,
                None => return Err(parent.cannot_share("fields", cursor)),
            },
        };
        let place = cursor.take_blob(0, "end of fields")?;
        let has_raw = files.file("__raw").is_some();
        Self::finish(
            has_raw,
            Some(fields),
            files,
            opening.rows,
            opening.bitmap,
            has_nulls,
            place,
        )
    }

    /// Opens the older form, behind its version byte.
    pub fn open_old(cursor: &mut Cursor<'_>, opening: &Opening<'_>, version: u8) -> Result<Self, SegmentError> {
        let head = cursor.string("head of a JSON column")?;
        let head: OldHead = serde_json::from_str(head)
            .map_err(|e| cursor.corrupt(format!("the head of a JSON column: {e}, found {head}")))?;
        let files = SubFiles {
            container: opening.container,
            base: head.file_name_base,
            order: byte_order(head.byte_order.as_deref()),
            parent: None,
        };
        let place = cursor.take_blob(0, "head of a JSON column")?;
        let bitmap = head.bitmap_serde_factory.unwrap_or_default();
        let fields = if version == 3 {
            None
        } else {
            let paths = StringDictionary::read(cursor, opening.container)?;
            let types = cursor.take(paths.len(), "field types")?.to_vec();
            let opening = Opening { bitmap, ..*opening };
            Some(Fields::open(&files, &opening, &paths, &types, NullIndexes::default())?)
        };
        Self::finish(true, fields, &files, opening.rows, bitmap, head.has_nulls, place)
    }

    fn finish(
        has_raw: bool,
        fields: Option<Fields>,
        files: &SubFiles<'_>,
        rows: Option<usize>,
        bitmap: BitmapKind,
        has_nulls: bool,
        place: Blob,
    ) -> Result<Self, SegmentError> {
        let raw = match has_raw {
            true => Some(Box::new(BlobColumn::open(
                files.container,
                &files.name("__raw"),
                files.order,
            )?)),
            false => None,
        };
        let rows_of_fields = fields.as_ref().and_then(Fields::rows);
        let rows = match &raw {
            Some(raw) => raw.len(),
            None => rows_of_fields.or(rows).unwrap_or_default(),
        };
        if let Some(wrong) = fields
            .iter()
            .flat_map(Fields::fields)
            .find(|field| field.rows() != rows)
        {
            return Err(place.corrupt(
                0,
                format!("fields of {rows} rows, found {} in {}", wrong.rows(), wrong.path),
            ));
        }
        let mut null_rows = RoaringBitmap::new();
        if has_nulls {
            let blob = files.require("__nullIndex")?;
            if let Some(nulls) = take_null_rows(&mut blob.cursor())? {
                null_rows = read_bitmap(&nulls, bitmap, rows)?;
            }
        }
        Ok(Self {
            rows,
            raw,
            fields,
            null_rows,
            place,
        })
    }

    /// Gives the fields; none for the oldest form.
    pub fn fields(&self) -> Option<&Fields> {
        self.fields.as_ref()
    }

    /// Names what the bitmaps say otherwise than the rows.
    pub fn check(&self) -> Result<Vec<String>, SegmentError> {
        let mut found = match &self.fields {
            Some(fields) => fields.check()?,
            None => Vec::new(),
        };
        if let Some(raw) = &self.raw {
            let mut buffers = BlobBuffers::default();
            let mut value = Vec::new();
            for row in 0..self.rows {
                raw.value(row, &mut buffers, &mut value)?;
                if value.is_empty() != self.null_rows.contains(row as u32) {
                    found.push(format!(
                        "row {row} has {} bytes, the bitmap of null says otherwise",
                        value.len()
                    ));
                    break;
                }
            }
        }
        Ok(found)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn null_rows(&self) -> &RoaringBitmap {
        &self.null_rows
    }

    pub fn encoding(&self) -> &'static str {
        match self.raw {
            Some(_) => "nested JSON, SMILE",
            None => "nested JSON, fields only",
        }
    }

    /// Reads rows as JSON text.
    pub fn read(&self, rows: &RowSelection<'_>) -> Result<StringArray, SegmentError> {
        let count = rows.count(self.rows)?;
        let mut builder = StringBuilder::with_capacity(count, 0);
        let mut total = 0u64;
        let mut append = |text: Option<&[u8]>| -> Result<(), SegmentError> {
            let text = text.map(std::str::from_utf8).transpose();
            let text = text.map_err(|e| self.place.corrupt(0, format!("JSON text in UTF-8: {e}")))?;
            total += text.map_or(0, str::len) as u64;
            if total > i32::MAX as u64 {
                return Err(SegmentError::Limit {
                    what: format!(
                        "bytes of the rows asked for of column [{}]",
                        self.place.origin().internal
                    ),
                    actual: total,
                    limit: i32::MAX as u64,
                    remedy: "read fewer rows at once",
                });
            }
            builder.append_option(text);
            Ok(())
        };
        let selected = rows.iter(self.rows);
        let mut text = Vec::new();
        match (&self.raw, &self.fields) {
            (Some(raw), _) => {
                let mut buffers = BlobBuffers::default();
                let mut value = Vec::new();
                for row in selected {
                    raw.value(row, &mut buffers, &mut value)?;
                    if value.is_empty() {
                        append(None)?;
                        continue;
                    }
                    text.clear();
                    let origin = self.place.origin();
                    let blob = Blob::new(
                        bytes::Bytes::from(std::mem::take(&mut value)),
                        origin.file.clone(),
                        format!("{}, value of row {row}", origin.internal),
                    );
                    smile::to_json(&blob, &mut text)?;
                    append(Some(&text))?;
                }
            }
            (None, Some(fields)) => {
                let selected: Vec<usize> = selected.collect();
                let columns = fields.read(rows)?;
                for (position, row) in selected.into_iter().enumerate() {
                    if self.null_rows.contains(row as u32) {
                        append(None)?;
                        continue;
                    }
                    text.clear();
                    fields.put_json(&columns, position, &mut text)?;
                    append(Some(&text))?;
                }
            }
            (None, None) => return Err(self.place.corrupt(0, "a JSON column must have values or fields")),
        }
        Ok(builder.finish())
    }
}
