//! Compares a projection with what the rows of its table add up to.
//!
//! 1. Groups, counts, sums, smallest and largest values are computed from the rows, as the writer does.
//! 2. Both tables are sorted alike, so that row by row they must be equal; sums of floats may be off by rounding.
//!
//! Not compared is what cannot be known from the rows: aggregators of other kinds; projections by expressions, JSON and arrays; and of a
//! table with rollup, whose rows Druid aggregates projections *before* combining, all but what combines the table's own metrics.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;

use crate::container::Projection;
use crate::dump;
use crate::projection::{Aggregated, Aggregation, Plan};
use crate::{MultiValueHandling, RowSelection, Segment, SegmentError, TIME_COLUMN};

/// Rows that are read at once.
const CHUNK_ROWS: usize = 8192;

/// How far sums may be off, as a part of all that was added: additions happen in another order.
const DOUBLE_ROUNDING: f64 = 1e-9;
const FLOAT_ROUNDING: f64 = 1e-3;

/// Names what a projection says otherwise than the rows, each with its column.
pub(super) fn check(
    segment: &Segment,
    projection: &Projection,
    table: &Segment,
) -> Result<Vec<(Option<String>, String)>, SegmentError> {
    let column_type = |name: &str| segment.column(name).map(|info| info.column_type.clone());
    let plan = match Plan::new(projection, column_type, |_| MultiValueHandling::Array) {
        Ok(plan) => plan,
        Err(SegmentError::Unsupported { .. }) => return Ok(Vec::new()),
        Err(e) => return Ok(vec![(None, e.to_string())]),
    };
    let Some(expected) = aggregate(segment, plan)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    if expected.rows != table.rows() {
        let what = format!("{} rows, the rows of the table make {}", table.rows(), expected.rows);
        return Ok(vec![(None, what)]);
    }
    let time = projection.time_column_name.as_deref();
    for (key, array) in expected.plan.keys.iter().zip(&expected.keys) {
        let name = if Some(key.name.as_str()) == time {
            TIME_COLUMN
        } else {
            &key.name
        };
        let stored = texts(&table.read(name, RowSelection::All)?);
        let wanted = texts(array);
        if let Some(row) = (0..table.rows()).find(|row| stored[*row] != wanted[*row]) {
            let what = format!(
                "row {row} is of {}, the rows of the table make {}",
                shown(&stored[row]),
                shown(&wanted[row])
            );
            found.push((Some(name.to_owned()), what));
        }
    }
    for ((name, _), (array, magnitudes)) in expected.plan.aggregated().zip(&expected.values) {
        let stored = table.read(name, RowSelection::All)?;
        if stored.data_type() != array.data_type() {
            let what = format!("it is stored as {}, not as {}", stored.data_type(), array.data_type());
            found.push((Some(name.to_owned()), what));
            continue;
        }
        if let Some(row) = (0..table.rows()).find(|row| !same(&stored, array, *row, magnitudes[*row])) {
            let value = |array: &ArrayRef| shown(&texts(&array.slice(row, 1))[0]).to_owned();
            let what = format!(
                "row {row} is {}, the rows of the table make {}",
                value(&stored),
                value(array)
            );
            found.push((Some(name.to_owned()), what));
        }
    }
    Ok(found)
}

/// Aggregates the rows of the table; none where that does not tell what the projection must hold.
fn aggregate(segment: &Segment, mut plan: Plan) -> Result<Option<Aggregated>, SegmentError> {
    let metadata = segment.metadata();
    if metadata.and_then(|metadata| metadata.rollup) == Some(true) {
        let combining = metadata
            .and_then(|metadata| metadata.aggregators.clone())
            .unwrap_or_default();
        plan.retain(|aggregator| combining.contains(aggregator));
    }
    let reads_many = plan.keys.iter().any(|key| {
        let info = segment.column(&key.name);
        info.is_some_and(|info| info.is_auto)
    });
    if reads_many {
        // Columns of several types are not grouped by the texts that they are read as.
        return Ok(None);
    }
    let mut names: Vec<String> = plan.inputs();
    names.retain(|name| name != TIME_COLUMN && segment.column(name).is_some());
    let mut aggregation = Aggregation::new(plan)?;
    for start in (0..segment.rows()).step_by(CHUNK_ROWS) {
        let rows = start..segment.rows().min(start + CHUNK_ROWS);
        let times = segment.read(TIME_COLUMN, RowSelection::Range(rows.clone()))?;
        let times = Int64Array::new(times.as_primitive::<TimestampMillisecondType>().values().clone(), None);
        let mut columns: Vec<(&str, ArrayRef, bool)> = vec![(TIME_COLUMN, Arc::new(times.clone()), false)];
        for name in &names {
            columns.push((name, segment.read(name, RowSelection::Range(rows.clone()))?, true));
        }
        let batch = RecordBatch::try_from_iter_with_nullable(columns)
            .map_err(|e| SegmentError::invalid(format!("rows of the table: {e}")))?;
        aggregation.append(&batch, &times)?;
    }
    aggregation.finish().map(Some)
}

fn texts(array: &ArrayRef) -> Vec<Option<String>> {
    dump::json_texts(array)
        .iter()
        .map(|text| text.map(str::to_owned))
        .collect()
}

fn shown(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("null")
}

/// Compares a value, a sum of floats within the error of rounding.
fn same(stored: &ArrayRef, wanted: &ArrayRef, row: usize, magnitude: f64) -> bool {
    if stored.is_null(row) || wanted.is_null(row) {
        return stored.is_null(row) == wanted.is_null(row);
    }
    let close = |a: f64, b: f64, rounding: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= magnitude * rounding || !magnitude.is_finite()
    };
    match stored.data_type() {
        DataType::Int64 => {
            stored.as_primitive::<Int64Type>().value(row) == wanted.as_primitive::<Int64Type>().value(row)
        }
        DataType::Float64 => close(
            stored.as_primitive::<Float64Type>().value(row),
            wanted.as_primitive::<Float64Type>().value(row),
            DOUBLE_ROUNDING,
        ),
        DataType::Float32 => close(
            f64::from(stored.as_primitive::<Float32Type>().value(row)),
            f64::from(wanted.as_primitive::<Float32Type>().value(row)),
            FLOAT_ROUNDING,
        ),
        _ => true,
    }
}
