//! Columns of objects: sketches, histograms, pairs of time and value. Their bytes are handed on as they are; unknown types are no error.
//!
//! ```text
//! plain        GenericIndexed, one value a row (null marker = null)
//! compressed   u8 7F │ u8 0 │ str JSON {"fileNameBase", "hasNulls", …};  <base>.__complexColumn: blob column;  <base>.__nullIndex
//! pairs        see `pairs`; a string pair is plain: i64 time │ i32 length │ text (length 0 = null), big-endian
//! ```
//! Mirrors `ComplexColumnPartSerde` and `CompressedComplexColumnSupplier`.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, Int64Builder, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use roaring::RoaringBitmap;
use serde::Deserialize;

use super::column::{Opening, byte_order};
use super::pairs::Pairs;
use crate::blob::{Blob, Cursor};
use crate::codec::bitmap::{read_bitmap, take_null_rows};
use crate::codec::block_store::{BlobBuffers, BlobColumn};
use crate::codec::generic_indexed::GenericIndexed;
use crate::schema::{canonical_type, pair_fields};
use crate::{BitmapKind, ColumnType, RowSelection, SegmentError};

/// An open column of objects.
#[derive(Debug)]
pub(super) struct Complex {
    type_name: String,
    storage: Storage,
    place: Blob,
}

#[derive(Debug)]
enum Storage {
    Plain(GenericIndexed),
    Compressed {
        values: BlobColumn,
        null_rows: RoaringBitmap,
    },
    Pairs(Pairs),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CompressedHead {
    file_name_base: String,
    #[serde(default)]
    has_nulls: bool,
    bitmap_serde_factory: Option<BitmapKind>,
    byte_order: Option<String>,
}

impl Complex {
    /// Opens a column; aggregators' names for a type become the type's.
    pub fn open(type_name: &str, cursor: &mut Cursor<'_>, opening: &Opening<'_>) -> Result<Self, SegmentError> {
        let type_name = canonical_type(type_name);
        let storage = match cursor.peek() {
            Some(1 | 2) => Storage::Plain(GenericIndexed::read(cursor, opening.container, "objects")?),
            Some(0x7F) => Self::open_compressed(cursor, opening)?,
            Some(3) => match pair_fields(type_name) {
                Some(fields) => Storage::Pairs(Pairs::read(cursor, fields[1].data_type().clone())?),
                None => return Err(cursor.unsupported(format!("layout 3 of complex type {type_name}"))),
            },
            other => return Err(cursor.unsupported(format!("layout {other:?} of complex type {type_name}"))),
        };
        Ok(Self {
            type_name: type_name.to_owned(),
            storage,
            place: cursor.take_blob(0, "objects")?,
        })
    }

    fn open_compressed(cursor: &mut Cursor<'_>, opening: &Opening<'_>) -> Result<Storage, SegmentError> {
        cursor.u8("layout")?;
        cursor.version(0, "compressed objects")?;
        let head = cursor.string("head of compressed objects")?;
        let head: CompressedHead = serde_json::from_str(head)
            .map_err(|e| cursor.corrupt(format!("the head of compressed objects: {e}, found {head}")))?;
        let base = &head.file_name_base;
        let values = BlobColumn::open(
            opening.container,
            &format!("{base}.__complexColumn"),
            byte_order(head.byte_order.as_deref()),
        )?;
        let mut null_rows = RoaringBitmap::new();
        if head.has_nulls {
            let blob = opening.container.require(&format!("{base}.__nullIndex"))?;
            if let Some(nulls) = take_null_rows(&mut blob.cursor())? {
                null_rows = read_bitmap(&nulls, head.bitmap_serde_factory.unwrap_or_default(), values.len())?;
            }
        }
        Ok(Storage::Compressed { values, null_rows })
    }

    pub fn rows(&self) -> usize {
        match &self.storage {
            Storage::Plain(list) => list.len(),
            Storage::Compressed { values, .. } => values.len(),
            Storage::Pairs(pairs) => pairs.rows(),
        }
    }

    pub fn column_type(&self) -> ColumnType {
        ColumnType::Complex(self.type_name.clone())
    }

    pub fn encoding(&self) -> &'static str {
        match &self.storage {
            Storage::Plain(_) => "objects",
            Storage::Compressed { .. } => "compressed objects",
            Storage::Pairs(_) => "compressed pairs",
        }
    }

    /// Gives the null rows where they are known.
    pub fn null_rows(&self) -> Option<&RoaringBitmap> {
        match &self.storage {
            Storage::Compressed { null_rows, .. } => Some(null_rows),
            _ => None,
        }
    }

    /// Reads rows: bytes, or for pairs a struct of `lhs` (the time) and `rhs` (the value).
    pub fn read(&self, rows: &RowSelection<'_>) -> Result<ArrayRef, SegmentError> {
        let count = rows.count(self.rows())?;
        let selected = rows.iter(self.rows());
        match &self.storage {
            Storage::Pairs(pairs) => pairs.read_rows(selected, count),
            Storage::Plain(list) => {
                let mut values = Values::new(&self.type_name, &self.place);
                for row in selected {
                    values.push(row, list.get(row)?)?;
                }
                values.finish()
            }
            Storage::Compressed {
                values: blobs,
                null_rows,
            } => {
                let mut values = Values::new(&self.type_name, &self.place);
                let mut buffers = BlobBuffers::default();
                let mut value = Vec::new();
                for row in selected {
                    if null_rows.contains(row as u32) {
                        values.push(row, None)?;
                        continue;
                    }
                    blobs.value(row, &mut buffers, &mut value)?;
                    values.push(row, Some(&value))?;
                }
                values.finish()
            }
        }
    }
}

/// Collects values of plain or compressed columns.
enum Values<'a> {
    /// With the bytes so far, and whether no bytes are null, as they are to Druid's HLL sketches (of other types they are an empty
    /// object).
    Bytes(BinaryBuilder, u64, bool, &'a Blob),
    StringPairs(Int64Builder, StringBuilder, Vec<bool>, &'a Blob),
}

impl<'a> Values<'a> {
    fn new(type_name: &str, place: &'a Blob) -> Self {
        match pair_fields(type_name) {
            Some(fields) if *fields[1].data_type() == DataType::Utf8 => {
                Self::StringPairs(Int64Builder::new(), StringBuilder::new(), Vec::new(), place)
            }
            _ => Self::Bytes(BinaryBuilder::new(), 0, type_name == "HLLSketch", place),
        }
    }

    fn push(&mut self, row: usize, value: Option<&[u8]>) -> Result<(), SegmentError> {
        match self {
            Self::Bytes(builder, total, empty_is_null, place) => {
                let value = value.filter(|value| !(*empty_is_null && value.is_empty()));
                *total += value.map_or(0, <[u8]>::len) as u64;
                if *total > i32::MAX as u64 {
                    return Err(SegmentError::Limit {
                        what: format!("bytes of the rows asked for of column [{}]", place.origin().internal),
                        actual: *total,
                        limit: i32::MAX as u64,
                        remedy: "read fewer rows at once",
                    });
                }
                builder.append_option(value);
            }
            Self::StringPairs(times, texts, valid, place) => {
                let Some(value) = value else {
                    times.append_null();
                    texts.append_null();
                    valid.push(false);
                    return Ok(());
                };
                let wrong = || {
                    place.corrupt(
                        0,
                        format!("a pair of time and text in row {row}, found {} bytes", value.len()),
                    )
                };
                let (time, rest) = value.split_first_chunk::<8>().ok_or_else(wrong)?;
                let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
                let len = i32::from_be_bytes(*len);
                let text = usize::try_from(len)
                    .ok()
                    .and_then(|len| rest.get(..len))
                    .ok_or_else(wrong)?;
                times.append_value(i64::from_be_bytes(*time));
                match std::str::from_utf8(text) {
                    Ok("") => texts.append_null(),
                    Ok(text) => texts.append_value(text),
                    Err(_) => return Err(wrong()),
                }
                valid.push(true);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<ArrayRef, SegmentError> {
        Ok(match self {
            Self::Bytes(mut builder, ..) => Arc::new(builder.finish()),
            Self::StringPairs(mut times, mut texts, valid, _) => {
                let times: ArrayRef = Arc::new(times.finish());
                pair_array(times, Arc::new(texts.finish()), valid)
            }
        })
    }
}

/// Makes the struct array of pairs.
pub(super) fn pair_array(times: ArrayRef, values: ArrayRef, valid: Vec<bool>) -> ArrayRef {
    let nulls = NullBuffer::from(valid);
    let fields = crate::schema::pair_fields_of(values.data_type().clone());
    Arc::new(StructArray::new(
        fields,
        vec![times, values],
        Some(nulls).filter(|nulls| nulls.null_count() > 0),
    ))
}
