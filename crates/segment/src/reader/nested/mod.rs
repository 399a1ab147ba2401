//! Columns of the nested common format (Druid's `NestedCommonFormatColumnPartSerde`): "auto" scalars, arrays, variants, JSON.
//!
//! ```text
//! base file   u8 0 │ vbyte length, base name │ variants: u8 types │ JSON: field paths and types
//! sub-files   <base name>.__stringDictionary, .__longDictionary, .__doubleDictionary, .__arrayDictionary, .__encodedColumn, …
//! ```
//! Values share one space of ids: 0 null, then strings, longs, doubles, arrays, each in its own sorted dictionary.

mod dictionary;
mod fields;
mod json;
mod variant;

use std::sync::Arc;

use serde::Deserialize;

pub(super) use dictionary::double_order;
pub(super) use fields::Fields;
pub(super) use json::Json;
pub(super) use variant::Variant;

use super::column::{Column, Opening};
use super::numbers::{NumberIndex, NumberKind, Numbers};
use super::strings::Strings;
use crate::blob::{Blob, ByteOrder, Cursor};
use crate::codec::bitmap::BitmapIndex;
use crate::codec::blocks::ValueBlocks;
use crate::codec::dictionary::StringDictionary;
use crate::codec::fixed_indexed::FixedIndexed;
use crate::codec::ints::Ids;
use crate::container::Container;
use crate::{BitmapKind, SegmentError, ValueType};
use fields::NullIndexes;

/// What a descriptor says of a column in this format.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NestedPart {
    logical_type: Option<String>,
    #[serde(default)]
    has_nulls: bool,
    #[serde(default)]
    is_variant_type: bool,
    column_format_spec: Option<FormatSpec>,
}

/// What of the format of a column is not seen in its bytes (Druid's `NestedCommonFormatColumnFormatSpec`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FormatSpec {
    bitmap_encoding: Option<Kind>,
    long_field_bitmap_index_type: Option<Kind>,
    double_field_bitmap_index_type: Option<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

/// The sub-files of a column.
pub(super) struct SubFiles<'a> {
    container: &'a Container,
    base: String,
    order: ByteOrder,
    /// The column of the table that has the dictionaries, where this one is of a projection.
    parent: Option<&'a Column>,
}

impl SubFiles<'_> {
    fn name(&self, file: &str) -> String {
        format!("{}.{file}", self.base)
    }

    fn require(&self, file: &str) -> Result<Blob, SegmentError> {
        Ok(self.container.require(&self.name(file))?.with_order(self.order))
    }

    fn file(&self, file: &str) -> Option<Blob> {
        Some(self.container.file(&self.name(file))?.with_order(self.order))
    }

    /// Reads the dictionary of strings of this column itself.
    fn string_dictionary(&self) -> Result<StringDictionary, SegmentError> {
        StringDictionary::read(&mut self.require("__stringDictionary")?.cursor(), self.container)
    }

    fn encoded_column(&self) -> Result<Ids, SegmentError> {
        Ids::read(&mut self.require("__encodedColumn")?.cursor(), self.container)
    }

    fn value_indexes(
        &self,
        opening: &Opening<'_>,
        rows: usize,
        entries: usize,
    ) -> Result<Option<BitmapIndex>, SegmentError> {
        let blob = self.require("__valueIndexes")?;
        BitmapIndex::read(&mut blob.cursor(), self.container, opening.bitmap, rows, entries)
    }
}

/// Opens a column of this format behind its descriptor.
pub(super) fn open(
    part: &serde_json::Value,
    cursor: &mut Cursor<'_>,
    opening: &Opening<'_>,
) -> Result<Column, SegmentError> {
    let part: NestedPart = serde_json::from_value(part.clone())
        .map_err(|e| cursor.corrupt(format!("the descriptor of a nested column: {e}")))?;
    let spec = part.column_format_spec.unwrap_or_default();
    // Where it is given, it counts, not the serde beside it.
    let bitmap = match &spec.bitmap_encoding {
        Some(Kind { kind }) if kind == "concise" => BitmapKind::Concise,
        Some(_) => BitmapKind::Roaring,
        None => opening.bitmap,
    };
    let opening = &Opening { bitmap, ..*opening };
    let is_null_index = |kind: &Option<Kind>| kind.as_ref().is_some_and(|kind| kind.kind == "nullValueIndex");
    let null_indexes = NullIndexes {
        longs: is_null_index(&spec.long_field_bitmap_index_type),
        doubles: is_null_index(&spec.double_field_bitmap_index_type),
    };
    cursor.version(0, "nested column")?;
    let len = cursor.vbyte("length of the base name")?;
    let base = cursor.take(len, "base name")?;
    let base = std::str::from_utf8(base).map_err(|e| cursor.corrupt(format!("a base name in UTF-8: {e}")))?;
    let files = SubFiles {
        container: opening.container,
        base: base.to_owned(),
        order: cursor.order(),
        parent: opening.parent,
    };
    let array_of = |value| Variant::open(&files, opening, value, true, part.is_variant_type, cursor);
    let logical_type = part.logical_type.as_deref().unwrap_or("COMPLEX<json>");
    Ok(match logical_type {
        "ARRAY<STRING>" => Column::Variant(Box::new(array_of(ValueType::String)?)),
        "ARRAY<LONG>" => Column::Variant(Box::new(array_of(ValueType::Long)?)),
        "ARRAY<DOUBLE>" => Column::Variant(Box::new(array_of(ValueType::Double)?)),
        "STRING" | "LONG" | "DOUBLE" if part.is_variant_type => {
            let value = match logical_type {
                "STRING" => ValueType::String,
                "LONG" => ValueType::Long,
                _ => ValueType::Double,
            };
            Column::Variant(Box::new(Variant::open(&files, opening, value, false, true, cursor)?))
        }
        "STRING" => Column::Strings(Box::new(open_strings(&files, opening, part.has_nulls, cursor)?)),
        "LONG" => Column::Numbers(open_numbers(&files, opening, NumberKind::Long, cursor)?),
        "DOUBLE" => Column::Numbers(open_numbers(&files, opening, NumberKind::Double, cursor)?),
        _ => Column::Json(Box::new(Json::open(
            cursor,
            &files,
            opening,
            part.has_nulls,
            null_indexes,
        )?)),
    })
}

/// Opens an "auto" column of strings: a dictionary with null, ids, bitmaps.
fn open_strings(
    files: &SubFiles<'_>,
    opening: &Opening<'_>,
    has_nulls: bool,
    cursor: &Cursor<'_>,
) -> Result<Strings, SegmentError> {
    let dictionary = match files.parent {
        None => Arc::new(files.string_dictionary()?),
        Some(parent) => parent.shared_dictionary(cursor)?,
    };
    let ids = files.encoded_column()?;
    let place = files.require("__encodedColumn")?;
    let mut strings = Strings::assemble(dictionary, ids, place, has_nulls);
    let index = files.value_indexes(opening, strings.rows(), strings.dictionary().len())?;
    strings.set_index(index);
    Ok(strings)
}

/// Opens an "auto" column of numbers: values, and the rows of id 0, which is null.
fn open_numbers(
    files: &SubFiles<'_>,
    opening: &Opening<'_>,
    kind: NumberKind,
    cursor: &Cursor<'_>,
) -> Result<Numbers, SegmentError> {
    let (dictionary, column) = match kind {
        NumberKind::Long => ("__longDictionary", "__longColumn"),
        _ => ("__doubleDictionary", "__doubleColumn"),
    };
    let values = files.require(column)?;
    let mut numbers = Numbers::read_v1(kind, &mut values.cursor(), opening)?;
    let dictionary = match files.parent {
        None => FixedIndexed::<8>::read(&mut files.require(dictionary)?.cursor(), dictionary)?,
        Some(parent) => {
            let shared = match parent {
                Column::Numbers(parent) => parent.number_dictionary().cloned(),
                _ => None,
            };
            shared.ok_or_else(|| parent.cannot_share("a dictionary of numbers", cursor))?
        }
    };
    let ids = files.encoded_column()?;
    if ids.len() != numbers.rows() {
        return Err(values.corrupt(
            0,
            format!("{} numbers, as there are ids, found {}", ids.len(), numbers.rows()),
        ));
    }
    let index = files.value_indexes(opening, numbers.rows(), dictionary.len())?;
    let nulls = match &index {
        Some(index) => index.get(0)?,
        None => None,
    };
    numbers.set_null_rows(nulls.unwrap_or_default());
    numbers.set_index(NumberIndex { dictionary, ids, index });
    Ok(numbers)
}
