//! Limits that rows meet on their way out of a task: how large one may be, and how many time chunks there may be.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::physical_plan::ExecutionPlan;
use henge_exchange::KeySpec;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::stage::null_bytes;

/// Limits of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowLimits {
    /// Bytes of one row (`maxFrameSize`: Druid's rows have to fit in one frame).
    pub row_bytes: u64,
    /// Time chunks of one statement.
    pub buckets: usize,
    /// Whether U+0000 is taken out of texts; else a query fails on it (`removeNullBytes`).
    pub remove_null_bytes: bool,
}

/// Checks the rows of one task.
pub struct RowChecks {
    limits: RowLimits,
    bucket_column: Option<usize>,
    buckets: HashSet<i64>,
    plan: Arc<dyn ExecutionPlan>,
    rows: u64,
}

impl RowChecks {
    /// Checks rows that are exchanged by a key; `plan` makes them.
    pub fn new(limits: RowLimits, key: &KeySpec, plan: &Arc<dyn ExecutionPlan>) -> Self {
        let bucket = key.columns.first().filter(|_| key.bucket_by_count > 0);
        Self {
            limits,
            bucket_column: bucket.map(|field| field.index),
            buckets: HashSet::new(),
            plan: Arc::clone(plan),
            rows: 0,
        }
    }

    /// Looks at the next rows, and gives them as they go on.
    pub fn check(&mut self, batch: RecordBatch) -> Result<RecordBatch, Fault> {
        self.check_size(&batch)?;
        self.check_time_chunks(&batch)?;
        let before = self.rows;
        self.rows += batch.num_rows() as u64;
        let source = || null_bytes::source_of(&self.plan);
        null_bytes::check(batch, self.limits.remove_null_bytes, source, before)
    }

    fn check_size(&self, batch: &RecordBatch) -> Result<(), Fault> {
        let max = usize::try_from(self.limits.row_bytes).unwrap_or(usize::MAX);
        if has_row_above(batch, max) {
            return Err(Fault::row_too_large(self.limits.row_bytes));
        }
        Ok(())
    }

    fn check_time_chunks(&mut self, batch: &RecordBatch) -> Result<(), Fault> {
        let Some(column) = self.bucket_column.and_then(|index| batch.columns().get(index)) else {
            return Ok(());
        };
        let Some(starts) = column.as_primitive_opt::<Int64Type>() else {
            return Ok(());
        };
        if starts.null_count() > 0 {
            return Err(Fault::time_null());
        }
        let mut last = None;
        for start in starts.values() {
            // Neighbours mostly share a chunk.
            if last != Some(start) {
                self.buckets.insert(*start);
                last = Some(start);
            }
        }
        if self.buckets.len() > self.limits.buckets {
            return Err(Fault::too_many_buckets(self.limits.buckets));
        }
        Ok(())
    }
}

/// Tells whether the texts and lists of some row have more bytes than `max`. Looks at single rows only where all of them together
/// are above it, and at all columns of a row only where the largest cells together are.
fn has_row_above(batch: &RecordBatch, max: usize) -> bool {
    let total: usize = batch.columns().iter().map(bytes_of_all).sum();
    if total <= max {
        return false;
    }
    let rows = batch.num_rows();
    let largest: usize = batch
        .columns()
        .iter()
        .map(|column| (0..rows).map(|row| cell_bytes(column, row)).max().unwrap_or(0))
        .sum();
    largest > max
        && (0..rows).any(|row| {
            batch
                .columns()
                .iter()
                .map(|column| cell_bytes(column, row))
                .sum::<usize>()
                > max
        })
}

fn span<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, from: usize, to: usize) -> (usize, usize) {
    (offsets[from].as_usize(), offsets[to].as_usize())
}

fn bytes_of_all(column: &ArrayRef) -> usize {
    let rows = column.len();
    match column.data_type() {
        DataType::Utf8 => {
            let (start, end) = span(column.as_string::<i32>().offsets(), 0, rows);
            end - start
        }
        DataType::Binary => {
            let (start, end) = span(column.as_binary::<i32>().offsets(), 0, rows);
            end - start
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            let (start, end) = span(list.offsets(), 0, rows);
            bytes_of_all(&list.values().slice(start, end - start))
        }
        // Values of a dictionary come from a segment, where they were rows before.
        _ => 0,
    }
}

fn cell_bytes(column: &ArrayRef, row: usize) -> usize {
    match column.data_type() {
        DataType::Utf8 => {
            let (start, end) = span(column.as_string::<i32>().offsets(), row, row + 1);
            end - start
        }
        DataType::Binary => {
            let (start, end) = span(column.as_binary::<i32>().offsets(), row, row + 1);
            end - start
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            let (start, end) = span(list.offsets(), row, row + 1);
            bytes_of_all(&list.values().slice(start, end - start))
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, ListArray, StringArray};
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::physical_plan::empty::EmptyExec;
    use henge_exchange::KeyField;

    use super::*;
    use crate::fault::FaultCode;

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        let fields = columns
            .iter()
            .map(|column| Field::new("c", column.data_type().clone(), true))
            .collect::<Vec<_>>();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("as many fields as columns")
    }

    #[test]
    fn a_row_is_measured_over_all_columns() {
        let texts = |values: [&str; 3]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
        let rows = batch(vec![texts(["aaaa", "b", ""]), texts(["", "cccc", "dd"])]);
        assert!(!has_row_above(&rows, 5), "the largest row has five bytes");
        assert!(has_row_above(&rows, 4));
        let list: ArrayRef = Arc::new(ListArray::new(
            Arc::new(Field::new("item", DataType::Utf8, true)),
            OffsetBuffer::from_lengths([2, 0, 1]),
            texts(["xx", "yy", "z"]),
            None,
        ));
        assert!(has_row_above(&batch(vec![list.clone()]), 3));
        assert!(!has_row_above(&batch(vec![list.slice(1, 2)]), 3));
    }

    #[test]
    fn time_chunks_are_counted_over_all_batches() {
        let limits = RowLimits {
            row_bytes: 100,
            buckets: 2,
            remove_null_bytes: false,
        };
        let plan: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
        let key = KeySpec::sorted(vec![KeyField::ascending(0)]).with_buckets(1);
        let mut checks = RowChecks::new(limits, &key, &plan);
        let starts = |values: &[Option<i64>]| batch(vec![Arc::new(Int64Array::from(values.to_vec())) as ArrayRef]);
        checks.check(starts(&[Some(1), Some(1), Some(0)])).expect("two chunks");
        checks.check(starts(&[Some(0), Some(1)])).expect("the same two");
        let fault = checks.check(starts(&[None])).expect_err("no time");
        assert_eq!(fault.code, FaultCode::InsertTimeNull);
        let fault = checks.check(starts(&[Some(2)])).expect_err("a third one");
        assert_eq!(fault.code, FaultCode::TooManyBuckets);
        let mut free = RowChecks::new(limits, &KeySpec::mix(), &plan);
        free.check(starts(&[Some(1), Some(2), None])).expect("no chunks");
    }
}
