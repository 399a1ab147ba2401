//! Sorting rows by their key bytes, without moving rows.
//!
//! A row is an [`Entry`]: batch, row, and eight bytes of its key. Most significant digits first, eight bytes at a time:
//!
//! 1. Skip the bytes that all keys of the group share (time chunks, null markers and padding mostly do).
//! 2. Load the next eight bytes of each key into its entry and sort the entries by that number, stably.
//! 3. Entries that still agree form groups; each goes through the same steps behind those eight bytes.
//! 4. Rows whose whole keys agree are ordered by the tie columns, compared in place, and then stay as they came.
//!
//! Comparisons touch 16-byte entries instead of keys scattered in memory, and the few distinct values of a typical
//! clustering column cost few comparisons. Key bytes are self-delimiting, so no key is the prefix of another one.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType};
use arrow::row::{RowConverter, Rows, SortField};

use crate::{ExchangeError, KeyField};

/// Groups up to this size are sorted by comparing whole keys.
const SMALL_GROUP: usize = 24;

/// One row to be sorted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    prefix: u64,
    pub(crate) batch: u32,
    pub(crate) row: u32,
}

/// Bytes that sorting takes for each row: its entry, and half of it as scratch.
pub(crate) const SORT_BYTES_PER_ROW: usize = size_of::<Entry>() * 3 / 2;

/// Gives an entry for each row, in the order in which the rows came.
pub(crate) fn entries(batches: &[RecordBatch]) -> Vec<Entry> {
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut entries = Vec::with_capacity(rows);
    for (batch, rows) in batches.iter().map(RecordBatch::num_rows).enumerate() {
        entries.extend((0..rows as u32).map(|row| Entry {
            prefix: 0,
            batch: batch as u32,
            row,
        }));
    }
    entries
}

/// Sorts the entries by the keys of their batches, then by the tie columns, then as they came.
pub(crate) fn sort(entries: &mut [Entry], keys: &[Rows], ties: &TieOrder) {
    let key = |entry: &Entry| keys[entry.batch as usize].row(entry.row as usize).data();
    let mut groups = vec![(0, entries.len(), 0)];
    while let Some((from, to, depth)) = groups.pop() {
        let group = &mut entries[from..to];
        if group.len() <= SMALL_GROUP {
            group.sort_by(|a, b| key(a)[depth..].cmp(&key(b)[depth..]).then_with(|| ties.compare(a, b)));
            continue;
        }
        let shared = shared_prefix(group, depth, &key);
        let depth = depth + shared;
        if key(&group[0]).len() == depth {
            if !ties.is_empty() {
                group.sort_by(|a, b| ties.compare(a, b));
            }
            continue;
        }
        for entry in group.iter_mut() {
            entry.prefix = load_prefix(&key(entry)[depth..]);
        }
        if !group.is_sorted_by_key(|entry| entry.prefix) {
            group.sort_by_key(|entry| entry.prefix);
        }
        let mut start = 0;
        for end in 1..=group.len() {
            if end == group.len() || group[end].prefix != group[start].prefix {
                if end - start > 1 {
                    // Behind eight bytes, or at the end of keys that are shorter.
                    let longest = key(&group[start]).len();
                    groups.push((from + start, from + end, longest.min(depth + size_of::<u64>())));
                }
                start = end;
            }
        }
    }
}

/// Gives how many bytes behind `depth` all keys of the group share.
fn shared_prefix<'a>(group: &[Entry], depth: usize, key: &impl Fn(&Entry) -> &'a [u8]) -> usize {
    let mut shared = &key(&group[0])[depth..];
    for entry in &group[1..] {
        let other = &key(entry)[depth..];
        if !other.starts_with(shared) {
            let same = shared.iter().zip(other).take_while(|(a, b)| a == b).count();
            shared = &shared[..same];
            if same == 0 {
                break;
            }
        }
    }
    shared.len()
}

fn load_prefix(bytes: &[u8]) -> u64 {
    let mut prefix = [0; size_of::<u64>()];
    let length = bytes.len().min(prefix.len());
    prefix[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(prefix)
}

/// Compares rows by the tie columns, in the arrays themselves.
pub(crate) struct TieOrder {
    columns: Vec<TieColumn>,
}

struct TieColumn {
    descending: bool,
    nulls_first: bool,
    values: Vec<TieValues>,
}

/// A column of one batch, ready to be compared.
enum TieValues {
    Int64(arrow::array::Int64Array),
    Int32(arrow::array::Int32Array),
    Time(arrow::array::TimestampMillisecondArray),
    Float64(arrow::array::Float64Array),
    Float32(arrow::array::Float32Array),
    Bool(arrow::array::BooleanArray),
    Utf8(arrow::array::StringArray),
    /// Everything else: row bytes, which include nulls and direction.
    Bytes(Rows),
}

impl TieOrder {
    /// Prepares the comparison of rows of these batches.
    pub(crate) fn new(fields: &[KeyField], batches: &[RecordBatch]) -> Result<Self, ExchangeError> {
        let columns = fields.iter().map(|field| {
            let values = batches
                .iter()
                .map(|batch| TieValues::new(field, batch.column(field.index)));
            Ok(TieColumn {
                descending: field.descending,
                nulls_first: field.nulls_first,
                values: values.collect::<Result<_, ExchangeError>>()?,
            })
        });
        Ok(Self {
            columns: columns.collect::<Result<_, ExchangeError>>()?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Adds a batch behind the last.
    pub(crate) fn push(&mut self, fields: &[KeyField], batch: &RecordBatch) -> Result<(), ExchangeError> {
        for (column, field) in self.columns.iter_mut().zip(fields) {
            column.values.push(TieValues::new(field, batch.column(field.index))?);
        }
        Ok(())
    }

    /// Keeps the batches at these distinct places, in this order.
    pub(crate) fn keep(&mut self, places: &[usize]) {
        for column in &mut self.columns {
            let mut values: Vec<Option<TieValues>> = column.values.drain(..).map(Some).collect();
            column
                .values
                .extend(places.iter().filter_map(|place| values[*place].take()));
        }
    }

    fn compare(&self, a: &Entry, b: &Entry) -> Ordering {
        self.compare_rows((a.batch as usize, a.row as usize), (b.batch as usize, b.row as usize))
    }

    /// Compares two rows, each given by the place of its batch and its row there.
    pub(crate) fn compare_rows(&self, a: (usize, usize), b: (usize, usize)) -> Ordering {
        for column in &self.columns {
            let order = column.compare(a, b);
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

impl TieColumn {
    fn compare(&self, (batch_a, a): (usize, usize), (batch_b, b): (usize, usize)) -> Ordering {
        macro_rules! typed {
            ($x:expr, $y:expr, $compare:expr) => {
                match ($x.is_null(a), $y.is_null(b)) {
                    (false, false) => {
                        let order = $compare($x.value(a), $y.value(b));
                        if self.descending { order.reverse() } else { order }
                    }
                    (true, true) => Ordering::Equal,
                    (true, false) if self.nulls_first => Ordering::Less,
                    (true, false) => Ordering::Greater,
                    (false, true) if self.nulls_first => Ordering::Greater,
                    (false, true) => Ordering::Less,
                }
            };
        }
        match (&self.values[batch_a], &self.values[batch_b]) {
            (TieValues::Int64(x), TieValues::Int64(y)) => typed!(x, y, |x: i64, y: i64| x.cmp(&y)),
            (TieValues::Int32(x), TieValues::Int32(y)) => typed!(x, y, |x: i32, y: i32| x.cmp(&y)),
            (TieValues::Time(x), TieValues::Time(y)) => typed!(x, y, |x: i64, y: i64| x.cmp(&y)),
            (TieValues::Float64(x), TieValues::Float64(y)) => typed!(x, y, |x: f64, y: f64| x.total_cmp(&y)),
            (TieValues::Float32(x), TieValues::Float32(y)) => typed!(x, y, |x: f32, y: f32| x.total_cmp(&y)),
            (TieValues::Bool(x), TieValues::Bool(y)) => typed!(x, y, |x: bool, y: bool| x.cmp(&y)),
            (TieValues::Utf8(x), TieValues::Utf8(y)) => typed!(x, y, |x: &str, y: &str| x.cmp(y)),
            (TieValues::Bytes(x), TieValues::Bytes(y)) => x.row(a).data().cmp(y.row(b).data()),
            // All batches of a stage have one schema.
            _ => Ordering::Equal,
        }
    }
}

impl TieValues {
    fn new(field: &KeyField, column: &ArrayRef) -> Result<Self, ExchangeError> {
        Ok(match column.data_type() {
            DataType::Int64 => TieValues::Int64(column.as_primitive::<Int64Type>().clone()),
            DataType::Int32 => TieValues::Int32(column.as_primitive::<Int32Type>().clone()),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                TieValues::Time(column.as_primitive::<TimestampMillisecondType>().clone())
            }
            DataType::Float64 => TieValues::Float64(column.as_primitive::<Float64Type>().clone()),
            DataType::Float32 => TieValues::Float32(column.as_primitive::<Float32Type>().clone()),
            DataType::Boolean => TieValues::Bool(column.as_boolean().clone()),
            DataType::Utf8 => TieValues::Utf8(column.as_string::<i32>().clone()),
            other => {
                let options = SortOptions {
                    descending: field.descending,
                    nulls_first: field.nulls_first,
                };
                let converter = RowConverter::new(vec![SortField::new_with_options(other.clone(), options)])?;
                TieValues::Bytes(converter.convert_columns(std::slice::from_ref(column))?)
            }
        })
    }
}
