//! Keys as numbers: every key of a row becomes a code below the size of its domain, and the codes of all keys one number.
//!
//! ```text
//!  domain of text   0 null, then the common ids of the merged dictionary; so of virtual columns, whose values are kept as text
//!  domain of longs  0 null, then value - min + 1
//!  domain of times  places in the ascending list of all values
//!  combined code    sum of code * stride; the stride of a key is the product of the sizes of the domains before it
//! ```

use std::ops::AddAssign;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, TimestampMillisecondArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, UInt32Type};
use datafusion::error::Result;

use super::dictionary::from_text;
use super::time::Run;
use crate::handle::{LongStats, long_values};
use crate::virtual_column::Combinations;

/// A key's values in one segment.
#[derive(Debug)]
pub(crate) enum KeyColumn {
    Text {
        ids: ArrayRef,
        common: Arc<[u32]>,
    },
    /// Values of a virtual column: a common id for each combination of ids of its columns.
    Virtual {
        ids: Combinations,
        common: Arc<[u32]>,
    },
    Long {
        array: ArrayRef,
        stats: LongStats,
    },
    Time {
        runs: Vec<Run>,
    },
}

/// All values that a key can have in a query.
#[derive(Debug)]
pub(crate) enum Domain {
    Text { size: u64 },
    Long { min: i64, size: u64 },
    Time { values: Vec<i64> },
}

impl Domain {
    /// Unites the values of all segments; none if they are too many to number.
    pub fn unite<'a>(columns: impl Iterator<Item = &'a KeyColumn>, dictionary: usize) -> Option<Self> {
        let mut domain = None;
        for column in columns {
            match column {
                KeyColumn::Text { .. } | KeyColumn::Virtual { .. } => {
                    domain = Some(Domain::Text {
                        size: dictionary as u64,
                    });
                }
                KeyColumn::Long { stats, .. } if stats.min > stats.max => {}
                KeyColumn::Long { stats, .. } => {
                    let (min, max) = match &domain {
                        Some(Domain::Long { min, size }) => (*min, min.checked_add_unsigned(size - 2)?),
                        _ => (stats.min, stats.max),
                    };
                    let (min, max) = (min.min(stats.min), max.max(stats.max));
                    domain = Some(Domain::Long {
                        min,
                        size: max.abs_diff(min).checked_add(2)?,
                    });
                }
                KeyColumn::Time { runs } => {
                    let values = runs.iter().map(|run| run.value);
                    match &mut domain {
                        Some(Domain::Time { values: all }) => all.extend(values),
                        _ => {
                            domain = Some(Domain::Time {
                                values: values.collect(),
                            });
                        }
                    }
                }
            }
        }
        if let Some(Domain::Time { values }) = &mut domain {
            values.sort_unstable();
            values.dedup();
        }
        // Without any value there is only null.
        Some(domain.unwrap_or(Domain::Long { min: 0, size: 1 }))
    }

    /// Counts the codes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Text { size } | Self::Long { size, .. } => *size,
            Self::Time { values } => values.len() as u64,
        }
    }

    /// Gives the values of codes as a column.
    pub fn decode(
        &self,
        codes: impl Iterator<Item = u64>,
        dictionary: Option<&StringArray>,
        data_type: &DataType,
    ) -> Result<ArrayRef> {
        let longs: Int64Array = match self {
            Self::Text { .. } => {
                let ids = UInt32Array::from_iter_values(codes.map(|code| code as u32));
                return match dictionary {
                    Some(values) => from_text(take(values, &ids, None)?, data_type),
                    None => Ok(arrow::array::new_null_array(data_type, ids.len())),
                };
            }
            Self::Long { min, .. } => codes
                .map(|code| (code > 0).then(|| min.wrapping_add_unsigned(code.wrapping_sub(1))))
                .collect(),
            Self::Time { values } => codes.map(|code| values.get(code as usize).copied()).collect(),
        };
        Ok(match data_type {
            DataType::Timestamp(_, _) => {
                let (_, values, nulls) = longs.into_parts();
                cast(&TimestampMillisecondArray::new(values, nulls), data_type)?
            }
            _ => cast(&longs, data_type)?,
        })
    }
}

/// A number that codes are added up in.
pub(crate) trait Code: Copy + Default + AddAssign + Send + Sync + std::fmt::Debug {
    fn from_code(code: u64) -> Self;
}

impl Code for u32 {
    fn from_code(code: u64) -> Self {
        code as u32
    }
}

impl Code for u64 {
    fn from_code(code: u64) -> Self {
        code
    }
}

/// Rows of a batch: a range, or single ones.
#[derive(Debug, Clone, Copy)]
pub(crate) enum View<'a> {
    Range(usize, usize),
    Rows(&'a [u32]),
}

impl View<'_> {
    pub fn len(&self) -> usize {
        match self {
            View::Range(_, rows) => *rows,
            View::Rows(rows) => rows.len(),
        }
    }

    /// Takes the rows out of a column.
    pub fn cut(&self, column: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self {
            View::Range(start, rows) => column.slice(*start, *rows),
            View::Rows(rows) => take(column, &UInt32Array::from(rows.to_vec()), None)?,
        })
    }

    fn first(&self) -> usize {
        match self {
            View::Range(start, _) => *start,
            View::Rows(rows) => rows.first().copied().unwrap_or(0) as usize,
        }
    }

    fn last(&self) -> usize {
        match self {
            View::Range(start, rows) => start + rows.saturating_sub(1),
            View::Rows(rows) => rows.last().copied().unwrap_or(0) as usize,
        }
    }
}

/// Adds the codes of one key, times its stride, to the codes of a batch.
#[derive(Debug)]
pub(crate) enum Coder<C> {
    Text { ids: ArrayRef, table: Vec<C> },
    Virtual { ids: Combinations, table: Vec<C> },
    Long { array: ArrayRef, min: i64, stride: u64 },
    Time { starts: Vec<u32>, codes: Vec<C> },
}

impl<C: Code> Coder<C> {
    pub fn new(column: &KeyColumn, domain: &Domain, stride: u64) -> Self {
        match (column, domain) {
            (KeyColumn::Text { ids, common }, _) => Coder::Text {
                ids: ids.clone(),
                table: table(common, stride),
            },
            (KeyColumn::Virtual { ids, common }, _) => match ids.plain_ids() {
                Some(plain) => Coder::Text {
                    ids: plain.clone(),
                    table: table(common, stride),
                },
                None => Coder::Virtual {
                    ids: ids.clone(),
                    table: table(common, stride),
                },
            },
            (KeyColumn::Long { array, .. }, domain) => Coder::Long {
                array: array.clone(),
                min: match domain {
                    Domain::Long { min, .. } => *min,
                    _ => 0,
                },
                stride,
            },
            (KeyColumn::Time { runs }, domain) => Coder::Time {
                starts: runs.iter().map(|run| run.start).collect(),
                codes: runs
                    .iter()
                    .map(|run| {
                        let place = match domain {
                            Domain::Time { values } => values.binary_search(&run.value).unwrap_or(0),
                            _ => 0,
                        };
                        C::from_code(place as u64 * stride)
                    })
                    .collect(),
            },
        }
    }

    /// Gives the code that all rows of a batch share, where that is seen without looking at each.
    pub fn shared(&self, view: View<'_>) -> Option<C> {
        match self {
            Coder::Time { starts, codes } => {
                let run = run_of(starts, view.first());
                (starts.get(run + 1).is_none_or(|next| view.last() < *next as usize)).then(|| codes[run])
            }
            _ => None,
        }
    }

    /// Gives the row behind the run of a row, and how long runs are on average; for times only.
    pub fn run_end(&self, row: usize, rows: usize) -> Option<usize> {
        match self {
            Coder::Time { starts, .. } if rows / starts.len().max(1) >= MIN_RUN_ROWS => Some(
                starts
                    .get(run_of(starts, row) + 1)
                    .map_or(usize::MAX, |next| *next as usize),
            ),
            _ => None,
        }
    }

    pub fn add(&self, view: View<'_>, codes: &mut [C]) -> Result<()> {
        match self {
            Coder::Virtual { ids, table } => {
                let combinations = ids.codes(|ids| view.cut(ids))?;
                for (code, combination) in codes.iter_mut().zip(combinations) {
                    *code += table[combination as usize];
                }
            }
            Coder::Text { ids, table } => {
                let ids = ids.as_dictionary::<UInt32Type>();
                let keys = ids.keys().values();
                match (view, ids.keys().nulls().filter(|nulls| nulls.null_count() > 0)) {
                    (View::Range(start, rows), None) => {
                        for (code, id) in codes.iter_mut().zip(&keys[start..start + rows]) {
                            *code += table[*id as usize];
                        }
                    }
                    (View::Rows(rows), None) => {
                        for (code, row) in codes.iter_mut().zip(rows) {
                            *code += table[keys[*row as usize] as usize];
                        }
                    }
                    // The code of null is 0.
                    (View::Range(start, _), Some(nulls)) => {
                        for (at, code) in codes.iter_mut().enumerate() {
                            if nulls.is_valid(start + at) {
                                *code += table[keys[start + at] as usize];
                            }
                        }
                    }
                    (View::Rows(rows), Some(nulls)) => {
                        for (code, row) in codes.iter_mut().zip(rows) {
                            if nulls.is_valid(*row as usize) {
                                *code += table[keys[*row as usize] as usize];
                            }
                        }
                    }
                }
            }
            Coder::Long { array, min, stride } => {
                let values = long_values(array).unwrap_or_default();
                let code_of =
                    |value: i64| C::from_code((value.wrapping_sub(*min) as u64).wrapping_add(1).wrapping_mul(*stride));
                match (view, array.nulls().filter(|nulls| nulls.null_count() > 0)) {
                    (View::Range(start, rows), None) => {
                        for (code, value) in codes.iter_mut().zip(&values[start..start + rows]) {
                            *code += code_of(*value);
                        }
                    }
                    (View::Rows(rows), None) => {
                        for (code, row) in codes.iter_mut().zip(rows) {
                            *code += code_of(values[*row as usize]);
                        }
                    }
                    (View::Range(start, _), Some(nulls)) => {
                        for (at, code) in codes.iter_mut().enumerate() {
                            if nulls.is_valid(start + at) {
                                *code += code_of(values[start + at]);
                            }
                        }
                    }
                    (View::Rows(rows), Some(nulls)) => {
                        for (code, row) in codes.iter_mut().zip(rows) {
                            if nulls.is_valid(*row as usize) {
                                *code += code_of(values[*row as usize]);
                            }
                        }
                    }
                }
            }
            Coder::Time { starts, codes: values } => {
                let mut run = run_of(starts, view.first());
                for (at, code) in codes.iter_mut().enumerate() {
                    let row = match view {
                        View::Range(start, _) => start + at,
                        View::Rows(rows) => rows[at] as usize,
                    };
                    while starts.get(run + 1).is_some_and(|next| *next as usize <= row) {
                        run += 1;
                    }
                    *code += values[run];
                }
            }
        }
        Ok(())
    }
}

fn table<C: Code>(common: &[u32], stride: u64) -> Vec<C> {
    common.iter().map(|id| C::from_code(u64::from(*id) * stride)).collect()
}

/// Shorter runs than this are not worth a batch of their own.
const MIN_RUN_ROWS: usize = 256;

fn run_of(starts: &[u32], row: usize) -> usize {
    starts.partition_point(|start| *start as usize <= row).saturating_sub(1)
}
