//! Accumulators of all groups, as arrays indexed by group.
//!
//! A group is a *slot*. In a dense table the slot is the combined code of the keys; in a sparse one slots are given out in the order in
//! which codes are first seen. Rows are counted for each slot; an accumulator that skipped a row (null, or filtered out) notes that,
//! so how many values it has seen is rows minus skipped.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::internal_err;
use datafusion::error::Result;
use hashbrown::HashTable;

use super::plan::{Function, Number};
use crate::handle::long_values;

/// Which slot the rows of a batch belong to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Slots<'a> {
    /// All to one.
    One(usize, usize),
    /// Each to its own.
    Each(&'a [u32]),
}

impl Slots<'_> {
    fn len(&self) -> usize {
        match self {
            Slots::One(_, rows) => *rows,
            Slots::Each(slots) => slots.len(),
        }
    }
}

/// Values of a batch for one accumulator.
pub(crate) enum Values {
    /// Only whether there is a value matters.
    None,
    Longs(ArrayRef),
    Doubles(ArrayRef),
    /// Codes of a key; 0 is null.
    Codes(Vec<u64>),
}

#[derive(Debug)]
enum State {
    Count,
    SumLong(Vec<i64>),
    SumDouble(Vec<f64>),
    MinLong(Vec<i64>),
    MaxLong(Vec<i64>),
    MinDouble(Vec<f64>),
    MaxDouble(Vec<f64>),
    /// A bit for each value of each slot, and how many values there can be.
    Bits {
        words: Vec<u64>,
        domain: usize,
    },
    /// `slot * domain + value`.
    Set {
        seen: HashTable<u64>,
        domain: u64,
    },
}

/// Finds the hash of a code: one multiplication, folded.
pub(crate) fn hash(code: u64) -> u64 {
    let product = u128::from(code ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93_u128;
    (product >> 64) as u64 ^ product as u64
}

#[derive(Debug)]
pub(crate) struct Accumulator {
    state: State,
    /// Rows skipped in each slot; empty as long as there is none.
    skipped: Vec<u64>,
}

/// Distinct values beyond so many bits a thread go to a hash set.
const MAX_BITS: usize = 1 << 28;

impl Accumulator {
    /// Makes an accumulator for so many slots; `domain` is the number of codes of a distinct count.
    pub fn new(function: &Function, slots: usize, domain: u64) -> Self {
        use Number::{Double, Long};
        let state = match function {
            Function::Count => State::Count,
            Function::Sum(Long) => State::SumLong(vec![0; slots]),
            Function::Sum(Double) => State::SumDouble(vec![0.0; slots]),
            Function::Min(Long) => State::MinLong(vec![i64::MAX; slots]),
            Function::Max(Long) => State::MaxLong(vec![i64::MIN; slots]),
            Function::Min(Double) => State::MinDouble(vec![f64::INFINITY; slots]),
            Function::Max(Double) => State::MaxDouble(vec![f64::NEG_INFINITY; slots]),
            Function::Distinct(_) => match (slots as u128 * u128::from(domain)) as usize {
                bits if u128::from(domain) * slots as u128 <= MAX_BITS as u128 => State::Bits {
                    words: vec![0; bits.div_ceil(64)],
                    domain: domain as usize,
                },
                _ => State::Set {
                    seen: HashTable::new(),
                    domain,
                },
            },
        };
        Self {
            state,
            skipped: Vec::new(),
        }
    }

    /// Gives the bytes held.
    pub fn bytes(&self) -> usize {
        let state = match &self.state {
            State::Count => 0,
            State::SumLong(v) | State::MinLong(v) | State::MaxLong(v) => v.len() * 8,
            State::SumDouble(v) | State::MinDouble(v) | State::MaxDouble(v) => v.len() * 8,
            State::Bits { words, .. } => words.len() * 8,
            State::Set { seen, .. } => seen.capacity() * 9,
        };
        state + self.skipped.len() * 8
    }

    /// Adds slots.
    pub fn grow(&mut self, slots: usize) {
        match &mut self.state {
            State::Count | State::Set { .. } => {}
            State::SumLong(v) => v.resize(slots, 0),
            State::SumDouble(v) => v.resize(slots, 0.0),
            State::MinLong(v) => v.resize(slots, i64::MAX),
            State::MaxLong(v) => v.resize(slots, i64::MIN),
            State::MinDouble(v) => v.resize(slots, f64::INFINITY),
            State::MaxDouble(v) => v.resize(slots, f64::NEG_INFINITY),
            State::Bits { words, domain } => words.resize((slots * *domain).div_ceil(64), 0),
        }
        if !self.skipped.is_empty() {
            self.skipped.resize(slots, 0);
        }
    }

    /// Accumulates a batch. Rows that `valid` excludes are skipped.
    pub fn update(
        &mut self,
        slots: Slots<'_>,
        values: &Values,
        valid: Option<&NullBuffer>,
        total: usize,
    ) -> Result<()> {
        let valid = valid.filter(|valid| valid.null_count() > 0);
        if let Some(valid) = valid {
            self.skip(slots, valid, total);
        }
        match (&mut self.state, values) {
            (State::Count, _) => {}
            (State::SumLong(to), Values::Longs(values)) => {
                let values = longs(values)?;
                match (slots, valid) {
                    (Slots::One(slot, _), None) => {
                        to[slot] = values.iter().fold(to[slot], |sum, value| sum.wrapping_add(*value));
                    }
                    _ => apply(to, slots, values, valid, |sum, value| *sum = sum.wrapping_add(value)),
                }
            }
            (State::SumDouble(to), Values::Doubles(values)) => {
                let values = doubles(values)?;
                match (slots, valid) {
                    (Slots::One(slot, _), None) => to[slot] += sum(values),
                    _ => apply(to, slots, values, valid, |sum, value| *sum += value),
                }
            }
            (State::MinLong(to), Values::Longs(values)) => {
                apply(to, slots, longs(values)?, valid, |min, value| *min = value.min(*min));
            }
            (State::MaxLong(to), Values::Longs(values)) => {
                apply(to, slots, longs(values)?, valid, |max, value| *max = value.max(*max));
            }
            // As DataFusion does: a value that cannot be compared (NaN) wins.
            (State::MinDouble(to), Values::Doubles(values)) => {
                apply(to, slots, doubles(values)?, valid, min_double);
            }
            (State::MaxDouble(to), Values::Doubles(values)) => {
                apply(to, slots, doubles(values)?, valid, max_double);
            }
            (State::Bits { words, domain }, Values::Codes(codes)) => {
                let domain = *domain;
                let mut set = |slot: usize, code: u64| {
                    let bit = slot * domain + code as usize;
                    words[bit / 64] |= u64::from(code != 0) << (bit % 64);
                };
                match slots {
                    Slots::One(slot, _) => codes.iter().for_each(|code| set(slot, *code)),
                    Slots::Each(slots) => slots
                        .iter()
                        .zip(codes)
                        .for_each(|(slot, code)| set(*slot as usize, *code)),
                }
            }
            (State::Set { seen, domain }, Values::Codes(codes)) => {
                for (row, code) in codes.iter().enumerate().filter(|(_, code)| **code != 0) {
                    let slot = match slots {
                        Slots::One(slot, _) => slot as u64,
                        Slots::Each(slots) => u64::from(slots[row]),
                    };
                    insert(seen, slot * *domain + code);
                }
            }
            _ => return internal_err!("an accumulator was given values of another kind"),
        }
        Ok(())
    }

    fn skip(&mut self, slots: Slots<'_>, valid: &NullBuffer, total: usize) {
        if self.skipped.is_empty() {
            self.skipped = vec![0; total];
        }
        match slots {
            Slots::One(slot, _) => self.skipped[slot] += valid.null_count() as u64,
            Slots::Each(slots) => {
                for (row, slot) in slots.iter().enumerate() {
                    self.skipped[*slot as usize] += u64::from(valid.is_null(row));
                }
            }
        }
    }

    /// Adds what another accumulator of the same kind has in slot `from[i]` to slot `to[i]`.
    fn merge(&mut self, other: &Accumulator, pairs: &[(u32, u32)], total: usize) {
        if !other.skipped.is_empty() {
            if self.skipped.is_empty() {
                self.skipped = vec![0; total];
            }
            for (from, to) in pairs {
                self.skipped[*to as usize] += other.skipped[*from as usize];
            }
        }
        match (&mut self.state, &other.state) {
            (State::SumLong(to), State::SumLong(from)) => fold(to, from, pairs, |a, b| *a = a.wrapping_add(b)),
            (State::SumDouble(to), State::SumDouble(from)) => fold(to, from, pairs, |a, b| *a += b),
            (State::MinLong(to), State::MinLong(from)) => fold(to, from, pairs, |a, b| *a = b.min(*a)),
            (State::MaxLong(to), State::MaxLong(from)) => fold(to, from, pairs, |a, b| *a = b.max(*a)),
            (State::MinDouble(to), State::MinDouble(from)) => fold(to, from, pairs, min_double),
            (State::MaxDouble(to), State::MaxDouble(from)) => fold(to, from, pairs, max_double),
            (State::Bits { words: to, .. }, State::Bits { words: from, .. }) => {
                // Distinct counts keep to dense tables: slots are the same everywhere.
                to.iter_mut().zip(from).for_each(|(a, b)| *a |= b);
            }
            (State::Set { seen: to, .. }, State::Set { seen: from, .. }) => {
                from.iter().for_each(|code| insert(to, *code));
            }
            _ => {}
        }
    }

    /// Gives how many values a slot of so many rows has seen.
    pub fn count(&self, slot: usize, rows: u64) -> u64 {
        rows - self.skipped.get(slot).copied().unwrap_or(0)
    }

    /// Gives longs by slot: sums, extremes.
    pub fn longs(&self) -> Option<&[i64]> {
        match &self.state {
            State::SumLong(v) | State::MinLong(v) | State::MaxLong(v) => Some(v),
            _ => None,
        }
    }

    /// Gives doubles by slot.
    pub fn doubles(&self) -> Option<&[f64]> {
        match &self.state {
            State::SumDouble(v) | State::MinDouble(v) | State::MaxDouble(v) => Some(v),
            _ => None,
        }
    }

    /// Counts the distinct values of every slot.
    pub fn distinct(&self, slots: usize) -> Vec<i64> {
        match &self.state {
            State::Bits { words, domain } => (0..slots)
                .map(|slot| count_bits(words, slot * domain..(slot + 1) * domain))
                .collect(),
            State::Set { seen, domain } => {
                let mut counts = vec![0; slots];
                seen.iter().for_each(|code| counts[(code / domain) as usize] += 1);
                counts
            }
            _ => Vec::new(),
        }
    }
}

fn insert(seen: &mut HashTable<u64>, code: u64) {
    seen.entry(hash(code), |other| *other == code, |other| hash(*other))
        .or_insert(code);
}

fn count_bits(words: &[u64], range: std::ops::Range<usize>) -> i64 {
    let (first, last) = (range.start / 64, range.end / 64);
    let mut count = 0;
    for (word, mut bits) in words.iter().copied().enumerate().take(last + 1).skip(first) {
        if word == first {
            bits &= u64::MAX << (range.start % 64);
        }
        if word == last {
            bits &= !(u64::MAX << (range.end % 64));
        }
        count += i64::from(bits.count_ones());
    }
    count
}

fn min_double(min: &mut f64, value: f64) {
    if !matches!(value.partial_cmp(min), Some(Ordering::Greater | Ordering::Equal)) {
        *min = value;
    }
}

fn max_double(max: &mut f64, value: f64) {
    if !matches!(value.partial_cmp(max), Some(Ordering::Less | Ordering::Equal)) {
        *max = value;
    }
}

/// Adds with several sums at once, so that the additions do not wait for each other.
fn sum(values: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let chunks = values.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.iter().sum::<f64>() + rest
}

fn fold<T: Copy>(to: &mut [T], from: &[T], pairs: &[(u32, u32)], combine: impl Fn(&mut T, T)) {
    for (source, target) in pairs {
        combine(&mut to[*target as usize], from[*source as usize]);
    }
}

fn apply<T: Copy>(
    to: &mut [T],
    slots: Slots<'_>,
    values: &[T],
    valid: Option<&NullBuffer>,
    combine: impl Fn(&mut T, T),
) {
    match (slots, valid) {
        (Slots::One(slot, _), None) => {
            let mut all = to[slot];
            values.iter().for_each(|value| combine(&mut all, *value));
            to[slot] = all;
        }
        (Slots::One(slot, _), Some(valid)) => {
            let mut all = to[slot];
            valid.valid_indices().for_each(|row| combine(&mut all, values[row]));
            to[slot] = all;
        }
        (Slots::Each(slots), None) => {
            for (slot, value) in slots.iter().zip(values) {
                combine(&mut to[*slot as usize], *value);
            }
        }
        (Slots::Each(slots), Some(valid)) => {
            for row in valid.valid_indices() {
                combine(&mut to[slots[row] as usize], values[row]);
            }
        }
    }
}

fn longs(values: &ArrayRef) -> Result<&[i64]> {
    match long_values(values) {
        Some(values) => Ok(values),
        None => internal_err!("expected longs, found {}", values.data_type()),
    }
}

fn doubles(values: &ArrayRef) -> Result<&[f64]> {
    match values.as_primitive_opt::<Float64Type>() {
        Some(values) => Ok(values.values()),
        None => internal_err!("expected doubles, found {}", values.data_type()),
    }
}

/// Brings an argument to the form that its accumulator takes.
pub(crate) fn values_of(function: &Function, argument: Option<ArrayRef>) -> Result<Values> {
    Ok(match (function, argument) {
        (Function::Count, _) | (_, None) => Values::None,
        (Function::Sum(Number::Long) | Function::Min(Number::Long) | Function::Max(Number::Long), Some(array)) => {
            Values::Longs(array)
        }
        (_, Some(array)) if array.data_type() == &DataType::Float64 => Values::Doubles(array),
        (_, Some(array)) => Values::Doubles(cast(&array, &DataType::Float64)?),
    })
}

/// Gives the rows that an accumulator takes: the argument is not null and the filter is true.
pub(crate) fn valid_rows(argument: Option<&ArrayRef>, filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    let not_null = argument.and_then(|argument| argument.logical_nulls());
    let passed = filter.map(|filter| match filter.nulls() {
        None => NullBuffer::new(filter.values().clone()),
        Some(nulls) => NullBuffer::new(filter.values() & nulls.inner()),
    });
    NullBuffer::union(not_null.as_ref(), passed.as_ref())
}

/// The groups of one thread.
#[derive(Debug)]
pub(crate) struct Groups {
    /// Rows of each slot.
    pub rows: Vec<u64>,
    pub accumulators: Vec<Accumulator>,
    /// Codes by slot, for sparse tables.
    sparse: Option<Sparse>,
}

#[derive(Debug, Default)]
struct Sparse {
    codes: Vec<u64>,
    slots: HashTable<u32>,
}

impl Groups {
    /// Makes a table of so many slots, or one that grows.
    pub fn new(slots: Option<usize>, accumulators: impl Fn(usize) -> Vec<Accumulator>) -> Self {
        Self {
            rows: vec![0; slots.unwrap_or(0)],
            accumulators: accumulators(slots.unwrap_or(0)),
            sparse: slots.is_none().then(Sparse::default),
        }
    }

    /// Gives the bytes held.
    pub fn bytes(&self) -> usize {
        let sparse = self
            .sparse
            .as_ref()
            .map_or(0, |s| s.codes.len() * 8 + s.slots.capacity() * 5);
        self.rows.len() * 8 + sparse + self.accumulators.iter().map(Accumulator::bytes).sum::<usize>()
    }

    /// Gives the code of every slot; none if the slot is the code.
    pub fn codes(&self) -> Option<&[u64]> {
        self.sparse.as_ref().map(|sparse| sparse.codes.as_slice())
    }

    /// Finds or makes the slots of codes, in a table that grows.
    pub fn find(&mut self, codes: &[u64], slots: &mut Vec<u32>) {
        slots.clear();
        let Some(sparse) = &mut self.sparse else {
            slots.extend(codes.iter().map(|code| *code as u32));
            return;
        };
        for code in codes {
            let known = &mut sparse.codes;
            let found = sparse
                .slots
                .find(hash(*code), |slot| known[*slot as usize] == *code)
                .copied();
            let slot = found.unwrap_or_else(|| {
                let slot = known.len() as u32;
                known.push(*code);
                sparse
                    .slots
                    .insert_unique(hash(*code), slot, |slot| hash(known[*slot as usize]));
                slot
            });
            slots.push(slot);
        }
        let total = sparse.codes.len();
        if total > self.rows.len() {
            self.rows.resize(total, 0);
            self.accumulators
                .iter_mut()
                .for_each(|accumulator| accumulator.grow(total));
        }
    }

    /// Counts rows.
    pub fn count_rows(&mut self, slots: Slots<'_>) {
        match slots {
            Slots::One(slot, rows) => self.rows[slot] += rows as u64,
            Slots::Each(slots) => {
                for slot in slots {
                    self.rows[*slot as usize] += 1;
                }
            }
        }
        debug_assert!(slots.len() <= u32::MAX as usize);
    }

    /// Adds the groups of another thread.
    pub fn merge(&mut self, other: &Groups) {
        let used: Vec<u32> = (0..other.rows.len() as u32)
            .filter(|slot| other.rows[*slot as usize] > 0)
            .collect();
        let mut slots = Vec::with_capacity(used.len());
        match &other.sparse {
            Some(sparse) => {
                let codes: Vec<u64> = used.iter().map(|slot| sparse.codes[*slot as usize]).collect();
                self.find(&codes, &mut slots);
            }
            None => slots.clone_from(&used),
        }
        let pairs: Vec<(u32, u32)> = used.into_iter().zip(slots).collect();
        for (from, to) in &pairs {
            self.rows[*to as usize] += other.rows[*from as usize];
        }
        let total = self.rows.len();
        for (accumulator, other) in self.accumulators.iter_mut().zip(&other.accumulators) {
            accumulator.merge(other, &pairs, total);
        }
    }

    /// Folds tables that keep several lanes a group into one: lane `i` of group `g` is slot `g * lanes + i`.
    pub fn fold_lanes(&mut self, lanes: usize) {
        if lanes == 1 {
            return;
        }
        let groups = self.rows.len() / lanes;
        let pairs: Vec<(u32, u32)> = (0..groups as u32 * lanes as u32)
            .filter(|slot| slot % lanes as u32 != 0)
            .map(|slot| (slot, slot / lanes as u32 * lanes as u32))
            .collect();
        let total = self.rows.len();
        for (from, to) in &pairs {
            self.rows[*to as usize] += self.rows[*from as usize];
        }
        for accumulator in &mut self.accumulators {
            accumulator.fold_lanes(&pairs, lanes, total);
        }
        self.rows = self.rows.iter().copied().step_by(lanes).collect();
    }
}

impl Accumulator {
    fn fold_lanes(&mut self, pairs: &[(u32, u32)], lanes: usize, total: usize) {
        let copy = Accumulator {
            state: match &self.state {
                State::SumLong(v) => State::SumLong(v.clone()),
                State::SumDouble(v) => State::SumDouble(v.clone()),
                State::MinLong(v) => State::MinLong(v.clone()),
                State::MaxLong(v) => State::MaxLong(v.clone()),
                State::MinDouble(v) => State::MinDouble(v.clone()),
                State::MaxDouble(v) => State::MaxDouble(v.clone()),
                State::Count | State::Bits { .. } | State::Set { .. } => State::Count,
            },
            skipped: self.skipped.clone(),
        };
        self.merge(&copy, pairs, total);
        match &mut self.state {
            State::SumLong(v) | State::MinLong(v) | State::MaxLong(v) => keep(v, lanes),
            State::SumDouble(v) | State::MinDouble(v) | State::MaxDouble(v) => keep(v, lanes),
            State::Count | State::Bits { .. } | State::Set { .. } => {}
        }
        keep(&mut self.skipped, lanes);
    }
}

fn keep<T: Copy>(slots: &mut Vec<T>, lanes: usize) {
    *slots = slots.iter().copied().step_by(lanes).collect();
}
