//! Grouping by floored time without computing the floor of every row: rows are sorted by time and the expression never falls, so equal
//! values at two rows are equal values at all rows between.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion::common::{exec_datafusion_err, internal_datafusion_err};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;

use crate::handle::long_values;

/// Rows between two samples of each pass; the last pass looks at every row of what is left.
const STEPS: [usize; 3] = [4096, 64, 1];

/// Rows from `start` on have this value, up to the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub start: u32,
    pub value: i64,
}

/// Finds the runs of equal values in a range of rows that is not empty.
pub(crate) fn runs(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
    time: &ArrayRef,
    range: Range<usize>,
) -> Result<Vec<Run>> {
    let last = range.end - 1;
    // Rows known so far, ascending; each pass looks closer where neighbours differ.
    let mut known = vec![(range.start, 0), (last, 0)];
    known.dedup();
    let mut fresh: Vec<usize> = known.iter().map(|(row, _)| *row).collect();
    let mut values = evaluate(expr, schema, time, &fresh)?;
    for (entry, value) in known.iter_mut().zip(&values) {
        entry.1 = *value;
    }
    for step in STEPS {
        fresh.clear();
        for pair in known.windows(2) {
            if pair[0].1 != pair[1].1 {
                fresh.extend((pair[0].0 + step..pair[1].0).step_by(step));
            }
        }
        values = evaluate(expr, schema, time, &fresh)?;
        known.extend(fresh.iter().copied().zip(values));
        known.sort_unstable();
        // Inside a stretch of equal values only its ends matter.
        let mut kept: Vec<(usize, i64)> = Vec::with_capacity(known.len());
        for entry in known {
            if kept.len() >= 2 && kept[kept.len() - 1].1 == entry.1 && kept[kept.len() - 2].1 == entry.1 {
                kept.pop();
            }
            kept.push(entry);
        }
        known = kept;
    }
    let mut runs: Vec<Run> = Vec::new();
    for (row, value) in known {
        if runs.last().is_none_or(|run| run.value != value) {
            runs.push(Run {
                start: row as u32,
                value,
            });
        }
    }
    Ok(runs)
}

fn evaluate(expr: &Arc<dyn PhysicalExpr>, schema: &SchemaRef, time: &ArrayRef, rows: &[usize]) -> Result<Vec<i64>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let indices = UInt32Array::from_iter_values(rows.iter().map(|row| *row as u32));
    let batch = RecordBatch::try_new(schema.clone(), vec![take(time, &indices, None)?])?;
    let result = expr.evaluate(&batch)?.into_array(rows.len())?;
    if result.null_count() > 0 {
        return Err(exec_datafusion_err!("[{expr}] is null for a time"));
    }
    let values =
        long_values(&result).ok_or_else(|| internal_datafusion_err!("[{expr}] gave {}", result.data_type()))?;
    Ok(values.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, TimestampMillisecondArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, lit};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_looking_at_every_row(
            mut times in proptest::collection::vec(0i64..1000, 1..3000), unit in 1i64..400, from in 0usize..100) {
            times.sort_unstable();
            let from = from.min(times.len() - 1);
            let field = Field::new("__time", DataType::Timestamp(TimeUnit::Millisecond, None), false);
            let schema = Arc::new(Schema::new(vec![field]));
            let long = Arc::new(CastExpr::new(Arc::new(Column::new("__time", 0)), DataType::Int64, None));
            let expr: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(long, Operator::Divide, lit(unit)));
            let time: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.clone()));
            let runs = runs(&expr, &schema, &time, from..times.len()).expect("runs");
            let mut expanded = Vec::new();
            for (at, run) in runs.iter().enumerate() {
                let end = runs.get(at + 1).map_or(times.len(), |next| next.start as usize);
                expanded.extend(std::iter::repeat_n(run.value, end - run.start as usize));
            }
            let expected: Int64Array = times[from..].iter().map(|time| time / unit).collect();
            prop_assert_eq!(Int64Array::from(expanded), expected);
        }
    }
}
