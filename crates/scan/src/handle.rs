//! Segments that the process has seen: opened once, with what was learned of their columns.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, TimeUnit, TimestampMillisecondType};
use datafusion::error::Result;
use henge_sql::SqlType;
use parking_lot::Mutex;

use crate::source::{SegmentData, SegmentDescriptor, SegmentSource};

/// Smallest and largest value of a column of longs or times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LongStats {
    /// Smallest value; above `max` if all are null.
    pub min: i64,
    /// Largest value.
    pub max: i64,
    /// Whether values never fall from row to row and none is null.
    pub sorted: bool,
}

/// A segment that is opened when first needed and stays open.
#[derive(Debug)]
pub(crate) struct SegmentHandle {
    pub descriptor: Arc<SegmentDescriptor>,
    source: Arc<dyn SegmentSource>,
    data: Mutex<Option<Arc<dyn SegmentData>>>,
    stats: Mutex<HashMap<String, LongStats>>,
}

impl SegmentHandle {
    pub fn new(descriptor: Arc<SegmentDescriptor>, source: Arc<dyn SegmentSource>) -> Self {
        Self {
            descriptor,
            source,
            data: Mutex::new(None),
            stats: Mutex::new(HashMap::new()),
        }
    }

    /// Gives the open segment. The lock is held while it opens: two queries never fetch the same files.
    pub fn data(&self) -> Result<Arc<dyn SegmentData>> {
        let mut data = self.data.lock();
        if let Some(data) = data.as_ref() {
            return Ok(data.clone());
        }
        let opened = self.source.open(&self.descriptor)?;
        *data = Some(opened.clone());
        Ok(opened)
    }

    /// Gives bounds of a column that [`long_values`] can look at, none for others; computed once.
    pub fn long_stats(&self, name: &str, column: &ArrayRef) -> Option<LongStats> {
        if let Some(stats) = self.stats.lock().get(name) {
            return Some(*stats);
        }
        let values = long_values(column)?;
        let stats = if column.null_count() == 0 {
            let mut stats = LongStats {
                min: i64::MAX,
                max: i64::MIN,
                sorted: values.is_sorted(),
            };
            for value in values {
                stats.min = stats.min.min(*value);
                stats.max = stats.max.max(*value);
            }
            stats
        } else {
            let mut stats = LongStats {
                min: i64::MAX,
                max: i64::MIN,
                sorted: false,
            };
            for row in (0..values.len()).filter(|row| column.is_valid(*row)) {
                stats.min = stats.min.min(values[row]);
                stats.max = stats.max.max(values[row]);
            }
            stats
        };
        self.stats.lock().insert(name.to_string(), stats);
        Some(stats)
    }
}

/// Gives the values of a column of longs or times; those of null rows are arbitrary.
pub(crate) fn long_values(column: &ArrayRef) -> Option<&[i64]> {
    match column.data_type() {
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().values()),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Some(column.as_primitive::<TimestampMillisecondType>().values())
        }
        _ => None,
    }
}

/// Gives the type in which the scan holds a column of a table: text stays dictionary-encoded until it leaves.
pub(crate) fn held_type(field: &Field) -> DataType {
    if is_text(field) {
        return DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    }
    field.data_type().clone()
}

/// Tells whether a column of a table is single strings; JSON travels as text too, but has no dictionary.
pub(crate) fn is_text(field: &Field) -> bool {
    field.data_type() == &DataType::Utf8 && SqlType::from_field(field) == SqlType::Varchar
}

/// Brings a column as the segment has it to the type that the table's column is held in.
pub(crate) fn conform(column: ArrayRef, held: &DataType) -> Result<ArrayRef> {
    if column.data_type() == held {
        return Ok(column);
    }
    match (column.data_type(), held) {
        // Only JSON is held as plain text: what other segments store in a narrower type becomes JSON again.
        (_, DataType::Utf8) => Ok(Arc::new(henge_segment::dump::json_texts(&column))),
        (DataType::Struct(_), DataType::Binary) => Ok(Arc::new(henge_sql::pair_images(column.as_struct())?)),
        (from, DataType::List(element)) if !matches!(from, DataType::List(_)) => {
            let element = element.clone();
            let values = cast(&column, element.data_type())?;
            let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, values.len()));
            let nulls = values.logical_nulls();
            Ok(Arc::new(ListArray::try_new(element, offsets, values, nulls)?))
        }
        (DataType::List(_), DataType::Dictionary(_, _)) => Err(datafusion::error::DataFusionError::Internal(
            "a multi-value column cannot be read as single values".to_string(),
        )),
        (_, DataType::Dictionary(_, value)) => Ok(cast(&cast(&column, value)?, held)?),
        _ => Ok(cast(&column, held)?),
    }
}

/// Gives null rows of a held type.
pub(crate) fn nulls(held: &DataType, rows: usize) -> ArrayRef {
    new_null_array(held, rows)
}

/// Brings held rows to the type that DataFusion sees.
pub(crate) fn release(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Ok(column.clone());
    }
    Ok(cast(column, field.data_type())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray, StructArray};

    #[test]
    fn narrower_types_become_json_and_pairs_are_read_as_they_travel() {
        let longs: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let json = conform(Arc::clone(&longs), &DataType::Utf8).expect("JSON");
        assert_eq!(json.as_string::<i32>(), &StringArray::from(vec![Some("7"), None]));
        let fields = vec![
            Field::new("lhs", DataType::Int64, true),
            Field::new("rhs", DataType::Int64, true),
        ];
        let pairs: ArrayRef = Arc::new(StructArray::new(fields.into(), vec![Arc::clone(&longs), longs], None));
        let bytes = conform(pairs, &DataType::Binary).expect("bytes");
        let text = henge_sql::complex_text("COMPLEX<serializablePairLongLong>", bytes.as_binary::<i32>().value(0));
        assert_eq!(text, r#"{"lhs":7,"rhs":7}"#);
    }
}
