//! Evaluating a compiled filter over the rows of one segment.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Float64Type, UInt32Type};
use datafusion::common::{DataFusionError, internal_err};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use roaring::RoaringBitmap;

use super::compile::float_key;
use super::{Filter, RowsTest, Test, TextKind, TextTest};
use crate::columns::Columns;
use crate::handle::{long_values, release};

/// Rows at a time that a general expression sees.
const CHUNK_ROWS: usize = 8192;
/// Up to so many values are answered by OR-ing bitmaps; beyond, looking ids up in a table is faster.
const MAX_BITMAPS: usize = 24;

/// Rows of a window that passed, ascending, counted from the window's first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All rows of a range.
    Range(Range<usize>),
    /// Single rows.
    Rows(Vec<u32>),
}

impl Selection {
    /// Counts the rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Rows(rows) => rows.len(),
        }
    }

    /// Keeps the rows that pass a test of their number.
    fn retain(self, mut passes: impl FnMut(usize) -> bool) -> Self {
        // Written without branches: the slot is always filled, the length grows only where the row passes.
        match self {
            Self::Range(range) => {
                let mut rows = vec![0u32; range.len()];
                let mut kept = 0;
                for row in range {
                    rows[kept] = row as u32;
                    kept += usize::from(passes(row));
                }
                rows.truncate(kept);
                Self::Rows(rows)
            }
            Self::Rows(mut rows) => {
                let mut kept = 0;
                for at in 0..rows.len() {
                    let row = rows[at];
                    rows[kept] = row;
                    kept += usize::from(passes(row as usize));
                }
                rows.truncate(kept);
                Self::Rows(rows)
            }
        }
    }

    fn intersect(self, bitmap: &RoaringBitmap) -> Self {
        match self {
            Self::Range(range) => {
                let mut inside = bitmap.clone();
                inside.remove_range(..range.start as u32);
                inside.remove_range(range.end as u32..);
                Self::Rows(inside.iter().collect())
            }
            rows => rows.retain(|row| bitmap.contains(row as u32)),
        }
    }

    fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::Range(range) => {
                let mut bitmap = RoaringBitmap::new();
                bitmap.insert_range(range.start as u32..range.end as u32);
                bitmap
            }
            Self::Rows(rows) => rows.iter().copied().collect(),
        }
    }
}

/// Dictionary ids for which a predicate is true, and whether it is true of null.
struct Matches {
    ids: Ids,
    null: bool,
}

enum Ids {
    Few(Vec<u32>),
    Table(BooleanBuffer),
}

impl Filter {
    /// Gives the rows of a range (counted from the window's first) that pass and whose time lies in the inclusive clip.
    pub fn select(&self, columns: &Columns, range: Range<usize>, clip: Option<(i64, i64)>) -> Result<Selection> {
        let mut selection = Selection::Range(range);
        if let Some(clip) = clip {
            selection = select_times(&[clip], columns, selection)?;
        }
        // Times first: they cut whole ranges off.
        for test in &self.tests {
            match test {
                Test::Never => return Ok(Selection::Range(0..0)),
                Test::Time(ranges) => selection = select_times(ranges, columns, selection)?,
                _ => {}
            }
        }
        let mut later = Vec::new();
        let mut by_row = Vec::new();
        let mut bitmaps = Vec::new();
        for test in &self.tests {
            if selection.len() == 0 {
                return Ok(selection);
            }
            match test {
                Test::Text(text) => match text.matches(columns, selection.len())? {
                    Some(matches) => match matches.bitmap(text.column, columns)? {
                        Some(bitmap) => bitmaps.push(bitmap),
                        None => later.push((text.column, matches)),
                    },
                    None => by_row.push(text.by_row()),
                },
                Test::Any(branches) => bitmaps.push(any_bitmap(branches, columns, &selection)?),
                Test::Rows(rows) => bitmaps.extend(rows.candidates(columns)?),
                _ => {}
            }
        }
        if let Some(both) = bitmaps.into_iter().reduce(|a, b| a & b) {
            selection = selection.intersect(&both);
        }
        for (column, matches) in &later {
            selection = matches.select(*column, columns, selection)?;
        }
        for test in &self.tests {
            if selection.len() == 0 {
                break;
            }
            if let Test::Range {
                column,
                lo,
                hi,
                excluded,
            } = test
            {
                selection = select_range(&columns.get(*column)?, *lo, *hi, *excluded, selection)?;
            }
        }
        let others = self.tests.iter().filter_map(|test| match test {
            Test::Rows(rows) => Some(rows),
            _ => None,
        });
        for rows in by_row.iter().chain(others) {
            if selection.len() == 0 {
                break;
            }
            selection = rows.select(columns, selection)?;
        }
        Ok(selection)
    }
}

/// ORs the branches of a disjunction; each begins with all rows of the selection.
fn any_bitmap(branches: &[Vec<Test>], columns: &Columns, rows: &Selection) -> Result<RoaringBitmap> {
    let mut any = RoaringBitmap::new();
    for branch in branches {
        let mut passed = rows.to_bitmap();
        for test in branch {
            match test {
                Test::Never => passed.clear(),
                Test::Time(ranges) => passed &= select_times(ranges, columns, rows.clone())?.to_bitmap(),
                Test::Text(text) => {
                    let Some(matches) = text.matches(columns, rows.len())? else {
                        let left = Selection::Rows(passed.iter().collect());
                        passed = text.by_row().select(columns, left)?.to_bitmap();
                        continue;
                    };
                    passed &= match matches.bitmap(text.column, columns)? {
                        Some(bitmap) => bitmap,
                        None => matches.select(text.column, columns, rows.clone())?.to_bitmap(),
                    };
                }
                Test::Any(inner) => passed &= any_bitmap(inner, columns, rows)?,
                Test::Range { .. } | Test::Rows(_) => {
                    return internal_err!("a disjunction of a scan holds a test that it must not");
                }
            }
        }
        any |= passed;
    }
    Ok(any)
}

/// Cuts a selection by time: by binary search where the segment is sorted by time.
fn select_times(ranges: &[(i64, i64)], columns: &Columns, selection: Selection) -> Result<Selection> {
    let clip = columns.handle.descriptor.interval;
    if ranges
        .iter()
        .any(|(lo, hi)| *lo <= clip.start_ms && clip.end_ms.saturating_sub(1) <= *hi)
    {
        return Ok(selection);
    }
    let time = columns.time()?;
    let Some(values) = long_values(&time) else {
        return internal_err!("the time column is not a time");
    };
    let sorted = match columns.is_cached() {
        true => columns
            .handle
            .long_stats(henge_segment::TIME_COLUMN, &time)
            .is_some_and(|stats| stats.sorted),
        false => values.is_sorted(),
    };
    match (&selection, sorted) {
        (Selection::Range(range), true) if ranges.len() <= 1 => {
            let Some((lo, hi)) = ranges.first() else {
                return Ok(Selection::Range(0..0));
            };
            let inside = &values[range.clone()];
            let start = range.start + inside.partition_point(|time| time < lo);
            let end = range.start + inside.partition_point(|time| time <= hi);
            Ok(Selection::Range(start..end.max(start)))
        }
        _ => Ok(selection.retain(|row| {
            let time = values[row];
            ranges.iter().any(|(lo, hi)| *lo <= time && time <= *hi)
        })),
    }
}

fn select_range(column: &ArrayRef, lo: i64, hi: i64, excluded: bool, selection: Selection) -> Result<Selection> {
    let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
    if let Some(values) = long_values(column) {
        return Ok(keep(selection, nulls, excluded, |row| (lo..=hi).contains(&values[row])));
    }
    if column.data_type() == &DataType::Float64 {
        let values = column.as_primitive::<Float64Type>().values();
        return Ok(keep(selection, nulls, excluded, |row| {
            (lo..=hi).contains(&float_key(values[row]))
        }));
    }
    internal_err!("a range test over a column of {}", column.data_type())
}

fn keep(selection: Selection, nulls: Option<&NullBuffer>, excluded: bool, inside: impl Fn(usize) -> bool) -> Selection {
    match nulls {
        None => selection.retain(|row| inside(row) != excluded),
        Some(nulls) => selection.retain(|row| nulls.is_valid(row) && inside(row) != excluded),
    }
}

impl TextTest {
    /// Decides the predicate for every value of the segment's dictionary; none where the rows had better be looked at one by one: they
    /// are fewer than the values, or there is a value for which the predicate fails, which perhaps no row has.
    fn matches(&self, columns: &Columns, rows: usize) -> Result<Option<Matches>> {
        let name = columns.name(self.column);
        if let (TextKind::In(values), true) = (&self.kind, columns.is_string(self.column)) {
            let mut ids = Vec::with_capacity(values.len());
            for value in values {
                ids.extend(columns.data.lookup(name, value)?);
            }
            ids.sort_unstable();
            ids.dedup();
            return Ok(Some(Matches {
                ids: Ids::Few(ids),
                null: false,
            }));
        }
        if columns.is_missing(self.column) {
            let ids = Ids::Few(Vec::new());
            return Ok(self.is_true_of_null().ok().map(|null| Matches { ids, null }));
        }
        let values = match columns.is_string(self.column) {
            true => columns.data.dictionary(name)?,
            false => None,
        };
        let values: ArrayRef = match values {
            Some(values) => values,
            None => columns.get(self.column)?.as_any_dictionary().values().clone(),
        };
        let most = match self.kind {
            // Patterns are looked for faster in the whole dictionary.
            TextKind::Like(..) => rows.saturating_mul(4),
            _ => rows,
        };
        if values.len() > most {
            return Ok(None);
        }
        let table = match &self.kind {
            TextKind::Like(pattern, negated) => {
                let values = values.as_string::<i32>();
                let found = pattern.matches_all(values);
                match (negated, values.nulls()) {
                    (false, _) => found,
                    (true, None) => !&found,
                    (true, Some(nulls)) => &!&found & nulls.inner(),
                }
            }
            _ => match self.evaluate(values) {
                Ok(table) => table,
                Err(_) => return Ok(None),
            },
        };
        let count = table.count_set_bits();
        let ids = if count <= MAX_BITMAPS {
            Ids::Few(table.set_indices_u32().collect())
        } else {
            Ids::Table(table)
        };
        let Ok(null) = self.is_true_of_null() else {
            return Ok(None);
        };
        Ok(Some(Matches { ids, null }))
    }

    /// The same predicate over rows.
    fn by_row(&self) -> RowsTest {
        RowsTest {
            columns: vec![self.column],
            schema: self.schema.clone(),
            expr: self.expr.clone(),
            hint: None,
        }
    }

    fn is_true_of_null(&self) -> Result<bool> {
        match self.kind {
            TextKind::Expression => Ok(self.evaluate(new_null_array(&DataType::Utf8, 1))?.value(0)),
            TextKind::In(_) | TextKind::Like(..) => Ok(false),
        }
    }

    fn evaluate(&self, values: ArrayRef) -> Result<BooleanBuffer> {
        let rows = values.len();
        let batch = RecordBatch::try_new(self.schema.clone(), vec![values])?;
        truth(&self.expr, &batch, rows)
    }
}

/// Evaluates a predicate; null counts as false.
fn truth(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch, rows: usize) -> Result<BooleanBuffer> {
    let result = expr.evaluate(batch)?.into_array(rows)?;
    let result = result.as_boolean_opt().ok_or_else(|| {
        DataFusionError::Internal(format!(
            "predicate [{expr}] gave {} instead of a truth value",
            result.data_type()
        ))
    })?;
    Ok(match result.nulls() {
        None => result.values().clone(),
        Some(nulls) => result.values() & nulls.inner(),
    })
}

impl Matches {
    /// Gives the rows by the segment's index, if there is one and it pays.
    fn bitmap(&self, column: usize, columns: &Columns) -> Result<Option<RoaringBitmap>> {
        let Ids::Few(ids) = &self.ids else {
            return Ok(None);
        };
        // Bitmaps number the rows of the segment, not of a window.
        if !columns.is_string(column) || !columns.is_cached() {
            return Ok(None);
        }
        let name = columns.name(column);
        let mut rows = RoaringBitmap::new();
        for id in ids {
            match columns.data.bitmap(name, *id)? {
                Some(bitmap) => rows |= bitmap,
                None => return Ok(None),
            }
        }
        if self.null {
            match columns.data.null_rows(name)? {
                Some(bitmap) => rows |= bitmap,
                None => return Ok(None),
            }
        }
        Ok(Some(rows))
    }

    /// Looks the id of every selected row up.
    fn select(&self, column: usize, columns: &Columns, selection: Selection) -> Result<Selection> {
        if columns.is_missing(column) {
            return Ok(if self.null { selection } else { Selection::Range(0..0) });
        }
        let array = columns.get(column)?;
        let array = array.as_dictionary::<UInt32Type>();
        let keys = array.keys().values();
        let mut table = vec![false; array.values().len()];
        match &self.ids {
            Ids::Few(ids) => ids.iter().for_each(|id| table[*id as usize] = true),
            Ids::Table(ids) => ids.set_indices().for_each(|id| table[id] = true),
        }
        // A null may be a value of the dictionary, an invalid key, or both.
        if let Some(nulls) = array.values().nulls() {
            for id in (0..table.len()).filter(|id| nulls.is_null(*id)) {
                table[id] = self.null;
            }
        }
        Ok(match array.keys().nulls().filter(|nulls| nulls.null_count() > 0) {
            None => selection.retain(|row| table[keys[row] as usize]),
            Some(nulls) => selection.retain(|row| {
                if nulls.is_valid(row) {
                    table[keys[row] as usize]
                } else {
                    self.null
                }
            }),
        })
    }
}

impl RowsTest {
    /// Gives the rows that may pass by the segment's bitmaps, which number the rows of the segment, not of a window.
    fn candidates(&self, columns: &Columns) -> Result<Option<RoaringBitmap>> {
        match &self.hint {
            Some(hint) if columns.is_cached() => hint.rows(columns),
            _ => Ok(None),
        }
    }

    fn select(&self, columns: &Columns, selection: Selection) -> Result<Selection> {
        let arrays = self
            .columns
            .iter()
            .map(|column| columns.get(*column))
            .collect::<Result<Vec<_>>>()?;
        let mut passed = Vec::new();
        match selection {
            Selection::Range(range) => {
                let mut start = range.start;
                while start < range.end {
                    let rows = CHUNK_ROWS.min(range.end - start);
                    let batch = self.batch(&arrays, rows, |array| Ok(array.slice(start, rows)))?;
                    let truth = truth(&self.expr, &batch, rows)?;
                    passed.extend(truth.set_indices_u32().map(|row| row + start as u32));
                    start += rows;
                }
            }
            Selection::Rows(rows) => {
                for chunk in rows.chunks(CHUNK_ROWS) {
                    let indices = UInt32Array::from(chunk.to_vec());
                    let batch = self.batch(&arrays, chunk.len(), |array| Ok(take(array, &indices, None)?))?;
                    let truth = truth(&self.expr, &batch, chunk.len())?;
                    passed.extend(truth.set_indices().map(|at| chunk[at]));
                }
            }
        }
        Ok(Selection::Rows(passed))
    }

    fn batch(
        &self,
        arrays: &[ArrayRef],
        rows: usize,
        rows_of: impl Fn(&ArrayRef) -> Result<ArrayRef>,
    ) -> Result<RecordBatch> {
        let columns = arrays
            .iter()
            .zip(self.schema.fields())
            .map(|(array, field)| release(&rows_of(array)?, field))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &options,
        )?)
    }
}
