//! Arrays, and columns of several types at the root.
//!
//! ```text
//! <column>                           … │ variants only: u8 types
//! <column>.__stringDictionary        strings, null first, always
//! <column>.__longDictionary          longs     .__doubleDictionary  doubles, -0.0 before 0.0, NaN last
//! <column>.__arrayDictionary         arrays of ids, sorted by them
//! <column>.__arrayElementDictionary  ids that are elements
//! <column>.__encodedColumn           ids, one a row
//! <column>.__valueIndexes            a bitmap for each id
//! <column>.__arrayElementIndexes     a bitmap for each element: the rows whose array has it
//! ```
//! Mirrors `VariantColumnSerializer`. A null array is id 0; an empty array is an array like any other.

use super::super::bitmaps;
use super::values::{NULL, RankedValues};
use super::{Description, Target, types};
use crate::SegmentError;
use crate::codec::fixed_indexed;
use crate::container::SmooshWriter;

/// Which kind of column is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Arrays of one type, by its name.
    Arrays(&'static str),
    /// Values of several types, whose bits these are.
    Variant(u8),
}

/// Writes a column from the provisional ids of its rows.
pub(super) fn write(
    target: &Target<'_>,
    smoosh: &mut SmooshWriter,
    values: &RankedValues,
    rows: &[u32],
    kind: Kind,
    is_enforced: bool,
) -> Result<(), SegmentError> {
    let (logical_type, variant_types) = match kind {
        Kind::Arrays(name) => (name, None),
        Kind::Variant(set) => (types::logical(set), Some(set)),
    };
    let description = Description {
        logical_type,
        has_nulls: rows.contains(&NULL),
        is_variant: variant_types.is_some(),
        is_enforced,
    };
    let rest: Vec<u8> = variant_types.into_iter().collect();
    target.write_base(smoosh, &description, &rest)?;
    values.write_all(smoosh, target)?;
    let (elements, index) = elements(values, rows, target);
    let elements = fixed_indexed::write(elements.iter().map(|id| id.to_le_bytes()), false);
    smoosh.add(&target.file("__arrayElementDictionary"), &[&elements])?;
    let ids: Vec<u32> = rows.iter().map(|row| values.id(*row)).collect();
    target.write_ids(smoosh, &ids, values.cardinality())?;
    let bitmaps = bitmaps::index(&ids, None, values.cardinality(), target.spec.bitmap);
    drop(ids);
    target.write_list(smoosh, "__valueIndexes", &bitmaps)?;
    target.write_list(smoosh, "__arrayElementIndexes", &index)
}

/// Gives the ids that are elements of the arrays of some row, and for each a bitmap of those rows.
pub(super) fn elements(
    values: &RankedValues,
    rows: &[u32],
    target: &Target<'_>,
) -> (Vec<u32>, crate::codec::generic_indexed::GenericIndexedWriter) {
    let scalars = values.first_array() as usize;
    let mut positions = vec![u32::MAX; if values.arrays() == 0 { 0 } else { scalars }];
    for row in rows {
        for element in values.elements(*row).unwrap_or_default() {
            positions[*element as usize] = 0;
        }
    }
    let mut elements = Vec::new();
    for (id, position) in positions.iter_mut().enumerate().filter(|(_, p)| **p == 0) {
        *position = elements.len() as u32;
        elements.push(id as u32);
    }
    let mut ends = Vec::with_capacity(rows.len() + 1);
    ends.push(0);
    let mut flat: Vec<u32> = Vec::new();
    for row in rows {
        let array = values.elements(*row).unwrap_or_default();
        flat.extend(array.iter().map(|element| positions[*element as usize]));
        ends.push(flat.len() as u32);
    }
    let index = bitmaps::index(&flat, Some(&ends), elements.len(), target.spec.bitmap);
    (elements, index)
}
