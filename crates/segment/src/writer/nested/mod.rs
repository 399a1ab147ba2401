//! Columns of the nested common format: "auto" scalars, arrays, variants, JSON (Druid's `NestedCommonFormatColumnSerializer`).
//!
//! ```text
//! <column>         str descriptor │ u8 0 │ vbyte length, column name │ variants: u8 types │ JSON: field paths and types
//! <column>.__stringDictionary, .__longDictionary, .__doubleDictionary, .__arrayDictionary, …: see `variant`, `scalar`, `json`
//! ```

mod array;
mod fields;
mod json;
mod scalar;
mod values;
mod variant;

use crate::codec::compression::{Compression, Compressor};
use crate::codec::generic_indexed::GenericIndexedWriter;
use crate::codec::ints::CompressedIds;
use crate::container::SmooshWriter;
use crate::{IndexSpec, SegmentError};

use super::{bitmap_serde, descriptor};
use crate::blob::put_vbyte;

pub(super) use array::ArrayWriter;
pub(super) use json::JsonWriter;
pub(super) use scalar::AutoScalarWriter;

/// Types that a column or field holds, one bit each (Druid's `FieldTypeInfo.TypeSet`).
mod types {
    pub const STRING: u8 = 0x01;
    pub const LONG: u8 = 0x04;
    pub const DOUBLE: u8 = 0x08;
    pub const STRINGS: u8 = 0x10;
    pub const LONGS: u8 = 0x20;
    pub const DOUBLES: u8 = 0x40;
    pub const ARRAYS: u8 = STRINGS | LONGS | DOUBLES;

    /// Names the least restrictive of the types.
    pub fn logical(set: u8) -> &'static str {
        let is_array = set & ARRAYS != 0;
        match (set & (STRING | STRINGS) != 0, set & (DOUBLE | DOUBLES) != 0) {
            (true, _) if is_array => "ARRAY<STRING>",
            (true, _) => "STRING",
            (false, true) if is_array => "ARRAY<DOUBLE>",
            (false, true) => "DOUBLE",
            (false, false) if is_array => "ARRAY<LONG>",
            (false, false) => "LONG",
        }
    }
}

/// A column that is being written.
pub(super) struct Target<'a> {
    name: &'a str,
    spec: &'a IndexSpec,
}

/// What a descriptor says of a column.
struct Description<'a> {
    logical_type: &'a str,
    has_nulls: bool,
    is_variant: bool,
    /// Whether the type was asked for, not found.
    is_enforced: bool,
}

impl Target<'_> {
    fn file(&self, file: &str) -> String {
        format!("{}.{file}", self.name)
    }

    /// Writes the internal file that is called as the column; `rest` is what stands behind the name.
    fn write_base(
        &self,
        smoosh: &mut SmooshWriter,
        description: &Description<'_>,
        rest: &[u8],
    ) -> Result<(), SegmentError> {
        let mut part = format!(
            r#""type":"nestedCommonFormat","logicalType":"{}","hasNulls":{},"isVariantType":{},"enforceLogicalType":{},"byteOrder":"LITTLE_ENDIAN",{},"pathParserVersion":1"#,
            description.logical_type,
            description.has_nulls,
            description.is_variant,
            description.is_enforced,
            bitmap_serde(self.spec.bitmap)
        );
        if let Some(described) = self.spec.auto.described(self.spec.bitmap) {
            part.push(',');
            part.push_str(&described);
        }
        let mut base = descriptor("COMPLEX", false, &part);
        base.push(0);
        put_vbyte(&mut base, self.name.len());
        base.extend_from_slice(self.name.as_bytes());
        smoosh.add(self.name, &[&base, rest])
    }

    /// Writes ids of one a row. They are compressed in any case.
    fn write_ids(&self, smoosh: &mut SmooshWriter, ids: &[u32], cardinality: usize) -> Result<(), SegmentError> {
        let compression = match self.spec.auto_id_compression() {
            Compression::Uncompressed | Compression::None => Compression::Lz4,
            other => other,
        };
        let mut compressor = Compressor::new(compression).map_err(|e| smoosh.write_error(e))?;
        let ids =
            CompressedIds::new(ids.iter().copied(), cardinality, &mut compressor).map_err(|e| smoosh.write_error(e))?;
        smoosh.begin(&self.file("__encodedColumn"), ids.serialized_len())?;
        ids.write(smoosh).map_err(|e| smoosh.write_error(e))?;
        smoosh.end()
    }

    fn write_list(
        &self,
        smoosh: &mut SmooshWriter,
        file: &str,
        list: &GenericIndexedWriter,
    ) -> Result<(), SegmentError> {
        smoosh.begin(&self.file(file), list.serialized_len())?;
        list.write(false, smoosh).map_err(|e| smoosh.write_error(e))?;
        smoosh.end()
    }
}
