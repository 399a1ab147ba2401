//! The distinct values of a nested column, and the space of ids that they share.
//!
//! 1. While rows arrive a value gets a *provisional id*: its kind in the two highest bits and its order of appearance, from 1 on; 0 is null.
//! 2. At the end each kind is sorted, and provisional ids are mapped to ids: `0 null │ strings │ longs │ doubles │ arrays`.
//!
//! Arrays are lists of provisional ids first and of ids then, by which they are sorted.

use super::super::dictionary::SortedDictionary;
use super::super::interner::Interner;
use super::Target;
use crate::codec::{fixed_indexed, int_arrays};
use crate::container::SmooshWriter;
use crate::limits::GENERIC_INDEXED_BYTES;
use crate::{SegmentError, StringEncoding};

/// The id of null, provisional or not.
pub(in crate::writer) const NULL: u32 = 0;

/// Bits of a provisional id that number the values of a kind.
const INDEX_BITS: u32 = 30;

/// Provisional ids of a kind at most.
const KIND_VALUES: usize = (1 << INDEX_BITS) - 1;

const STRINGS: usize = 0;
const LONGS: usize = 1;
const DOUBLES: usize = 2;
const ARRAYS: usize = 3;

/// The distinct values of a column.
#[derive(Debug, Default)]
pub(in crate::writer) struct Values {
    kinds: [Interner; 4],
    key: Vec<u8>,
}

impl Values {
    fn intern(&mut self, kind: usize, value: &[u8]) -> u32 {
        (kind as u32) << INDEX_BITS | self.kinds[kind].intern(value)
    }

    pub fn string(&mut self, text: &str) -> u32 {
        self.intern(STRINGS, text.as_bytes())
    }

    pub fn long(&mut self, long: i64) -> u32 {
        self.intern(LONGS, &long.to_le_bytes())
    }

    /// Java knows one NaN only.
    pub fn double(&mut self, double: f64) -> u32 {
        let one = if double.is_nan() { f64::NAN } else { double };
        self.intern(DOUBLES, &one.to_bits().to_le_bytes())
    }

    /// Takes an array of provisional ids, none of them an array's.
    pub fn array(&mut self, elements: &[u32]) -> u32 {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        for element in elements {
            key.extend_from_slice(&element.to_le_bytes());
        }
        let id = self.intern(ARRAYS, &key);
        self.key = key;
        id
    }

    pub fn memory_bytes(&self) -> usize {
        self.kinds.iter().map(Interner::memory_bytes).sum()
    }

    /// Fails when the dictionaries of column `name` outgrow the format.
    pub fn check(&self, name: &str) -> Result<(), SegmentError> {
        for kind in &self.kinds {
            let bytes = kind.bytes_len() as u64 + 8 * kind.len() as u64;
            if bytes > GENERIC_INDEXED_BYTES || kind.len() > KIND_VALUES {
                return Err(SegmentError::Limit {
                    what: format!("the size of a dictionary of column [{name}]"),
                    actual: bytes,
                    limit: GENERIC_INDEXED_BYTES,
                    remedy: "write smaller segments (fewer rows per segment)",
                });
            }
        }
        Ok(())
    }

    /// Sorts the values.
    pub fn rank(mut self) -> RankedValues {
        self.kinds.iter_mut().for_each(Interner::forget_lookups);
        let number = |kind: usize, index: u32| {
            let bytes = self.kinds[kind].strings().get(index).first_chunk::<8>().copied();
            i64::from_le_bytes(bytes.unwrap_or_default())
        };
        let all = |kind: usize| (0..self.kinds[kind].len() as u32).collect::<Vec<_>>();
        let strings = self.kinds[STRINGS].strings().sorted();
        let mut longs = all(LONGS);
        longs.sort_unstable_by_key(|index| number(LONGS, *index));
        let mut doubles = all(DOUBLES);
        let double = |index: u32| f64::from_bits(number(DOUBLES, index) as u64);
        doubles.sort_unstable_by(|a, b| double(*a).total_cmp(&double(*b)));
        let mut ranked = RankedValues {
            ids: Default::default(),
            orders: [strings, longs, doubles, Vec::new()],
            array_ends: Vec::new(),
            array_ints: Vec::new(),
            first_array: 0,
            cardinality: 0,
            kinds: self.kinds,
        };
        let mut next = 1;
        for kind in [STRINGS, LONGS, DOUBLES] {
            next = ranked.number(kind, next);
        }
        ranked.first_array = next;
        ranked.rank_arrays();
        ranked.cardinality = ranked.number(ARRAYS, next) as usize;
        ranked
    }
}

/// The distinct values of a column in their order.
#[derive(Debug)]
pub(in crate::writer) struct RankedValues {
    kinds: [Interner; 4],
    /// The indexes of the values of each kind in order.
    orders: [Vec<u32>; 4],
    /// The id of each value of each kind.
    ids: [Vec<u32>; 4],
    /// The arrays in order of appearance, laid end to end, of ids.
    array_ends: Vec<usize>,
    array_ints: Vec<u32>,
    first_array: u32,
    cardinality: usize,
}

impl RankedValues {
    /// Gives ids from `first` on to the values of a kind, and the one behind the last.
    fn number(&mut self, kind: usize, first: u32) -> u32 {
        let order = &self.orders[kind];
        let mut ids = vec![0; order.len()];
        for (position, index) in order.iter().enumerate() {
            ids[*index as usize] = first + position as u32;
        }
        let next = first + order.len() as u32;
        self.ids[kind] = ids;
        next
    }

    fn rank_arrays(&mut self) {
        let arrays = self.kinds[ARRAYS].strings();
        let (mut ends, mut ints) = (Vec::with_capacity(arrays.len()), Vec::new());
        for index in 0..arrays.len() as u32 {
            let provisional = arrays.get(index).as_chunks::<4>().0.iter();
            ints.extend(provisional.map(|id| self.id(u32::from_le_bytes(*id))));
            ends.push(ints.len());
        }
        self.array_ends = ends;
        self.array_ints = ints;
        let mut order: Vec<u32> = (0..self.array_ends.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.decoded(*a).cmp(self.decoded(*b)));
        self.orders[ARRAYS] = order;
    }

    fn decoded(&self, index: u32) -> &[u32] {
        let index = index as usize;
        let start = if index == 0 { 0 } else { self.array_ends[index - 1] };
        &self.array_ints[start..self.array_ends[index]]
    }

    /// Gives the id for a provisional one.
    pub fn id(&self, provisional: u32) -> u32 {
        match provisional {
            NULL => NULL,
            id => self.ids[(id >> INDEX_BITS) as usize][(id as usize & KIND_VALUES) - 1],
        }
    }

    /// Gives the ids of the elements if a provisional id is an array's.
    pub fn elements(&self, provisional: u32) -> Option<&[u32]> {
        let index = (provisional as usize & KIND_VALUES).checked_sub(1)?;
        (provisional >> INDEX_BITS == ARRAYS as u32).then(|| self.decoded(index as u32))
    }

    /// Gives the long of a provisional id, 0 for others.
    pub fn long(&self, provisional: u32) -> i64 {
        let index = (provisional as usize & KIND_VALUES).wrapping_sub(1);
        let kind = (provisional >> INDEX_BITS) as usize;
        if provisional == NULL || !(LONGS..=DOUBLES).contains(&kind) {
            return 0;
        }
        let bytes = self.kinds[kind].strings().get(index as u32).first_chunk::<8>().copied();
        i64::from_le_bytes(bytes.unwrap_or_default())
    }

    /// Gives the double of a provisional id, 0 for others.
    pub fn double(&self, provisional: u32) -> f64 {
        f64::from_bits(self.long(provisional) as u64)
    }

    /// Counts all ids, null included.
    pub fn cardinality(&self) -> usize {
        self.cardinality
    }

    /// Counts the ids of null, strings and numbers: elements have these.
    pub fn first_array(&self) -> u32 {
        self.first_array
    }

    /// Counts the arrays.
    pub fn arrays(&self) -> usize {
        self.orders[ARRAYS].len()
    }

    /// Writes the dictionary of strings; null comes first.
    pub fn write_strings(&self, smoosh: &mut SmooshWriter, target: &Target<'_>) -> Result<(), SegmentError> {
        self.write_strings_as(smoosh, target, target.spec.auto_string_encoding())
    }

    fn write_strings_as(
        &self,
        smoosh: &mut SmooshWriter,
        target: &Target<'_>,
        encoding: StringEncoding,
    ) -> Result<(), SegmentError> {
        let strings = self.kinds[STRINGS].strings();
        let dictionary = SortedDictionary::new(strings, &self.orders[STRINGS], true, encoding);
        smoosh.begin(&target.file("__stringDictionary"), dictionary.serialized_len())?;
        dictionary.write(smoosh).map_err(|e| smoosh.write_error(e))?;
        smoosh.end()
    }

    /// Writes a dictionary of numbers.
    fn write_numbers(
        &self,
        smoosh: &mut SmooshWriter,
        target: &Target<'_>,
        kind: usize,
        has_null: bool,
    ) -> Result<(), SegmentError> {
        let strings = self.kinds[kind].strings();
        let values = self.orders[kind]
            .iter()
            .map(|index| strings.get(*index).first_chunk::<8>().copied().unwrap_or_default());
        let name = if kind == LONGS {
            "__longDictionary"
        } else {
            "__doubleDictionary"
        };
        smoosh.add(&target.file(name), &[&fixed_indexed::write(values, has_null)])
    }

    /// Writes the dictionary of longs of a column of nothing else; null is part of it.
    pub fn write_longs(&self, smoosh: &mut SmooshWriter, target: &Target<'_>) -> Result<(), SegmentError> {
        self.write_numbers(smoosh, target, LONGS, true)
    }

    /// Writes the dictionary of doubles of a column of nothing else; null is part of it.
    pub fn write_doubles(&self, smoosh: &mut SmooshWriter, target: &Target<'_>) -> Result<(), SegmentError> {
        self.write_numbers(smoosh, target, DOUBLES, true)
    }

    /// Writes the four dictionaries.
    pub fn write_all(&self, smoosh: &mut SmooshWriter, target: &Target<'_>) -> Result<(), SegmentError> {
        self.write_strings(smoosh, target)?;
        self.write_numbers(smoosh, target, LONGS, false)?;
        self.write_numbers(smoosh, target, DOUBLES, false)?;
        let arrays = self.orders[ARRAYS].iter().map(|index| self.decoded(*index));
        smoosh.add(&target.file("__arrayDictionary"), &[&int_arrays::write(arrays)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_kinds_and_values() {
        let mut values = Values::default();
        let b = values.string("b");
        let d = values.double(-0.0);
        let l = values.long(7);
        let a = values.string("a");
        let one = values.array(&[b, NULL]);
        let none = values.array(&[]);
        let e = values.double(0.0);
        assert_eq!(values.double(f64::NAN), values.double(-f64::NAN));
        assert_eq!(values.array(&[b, NULL]), one);
        let ranked = values.rank();
        let ids: Vec<u32> = [a, b, l, d, e, none, one].iter().map(|id| ranked.id(*id)).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 7, 8]);
        assert_eq!(ranked.first_array(), 7);
        assert_eq!(ranked.cardinality(), 9);
        assert_eq!(ranked.elements(one), Some(&[2, 0][..]));
        assert_eq!(ranked.elements(l), None);
        assert_eq!(ranked.elements(NULL), None);
        assert_eq!((ranked.long(l), ranked.long(NULL), ranked.long(a)), (7, 0, 0));
    }
}
