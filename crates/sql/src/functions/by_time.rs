//! EARLIEST and LATEST over the frame of a window, whose order need not be that of time: arguments are the value and its time.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// Gives the aggregate of the earliest value, or of the latest.
pub(crate) fn udaf(latest: bool) -> Arc<AggregateUDF> {
    Arc::clone(&UDAFS[usize::from(latest)])
}

/// Lists the aggregates, for session states and codecs.
pub(crate) fn udafs() -> impl Iterator<Item = Arc<AggregateUDF>> {
    UDAFS.iter().cloned()
}

static UDAFS: LazyLock<[Arc<AggregateUDF>; 2]> = LazyLock::new(|| {
    [false, true].map(|latest| {
        Arc::new(AggregateUDF::new_from_impl(ByTime {
            latest,
            signature: Signature::any(2, Volatility::Immutable),
        }))
    })
});

#[derive(Debug, PartialEq, Eq, Hash)]
struct ByTime {
    latest: bool,
    signature: Signature,
}

impl AggregateUDFImpl for ByTime {
    fn name(&self) -> &str {
        match self.latest {
            true => "latest_by_time",
            false => "earliest_by_time",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types.first().cloned().unwrap_or(DataType::Null))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Kept {
            latest: self.latest,
            time: None,
            value: ScalarValue::try_from(args.return_field.data_type())?,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let value = args.return_field.data_type().clone();
        Ok(vec![
            Arc::new(Field::new(format!("{}[value]", args.name), value, true)),
            Arc::new(Field::new(format!("{}[time]", args.name), DataType::Int64, true)),
        ])
    }
}

/// The value of the first or last time so far; of several at one time the first row's, or the last row's.
#[derive(Debug)]
struct Kept {
    latest: bool,
    time: Option<i64>,
    value: ScalarValue,
}

impl Accumulator for Kept {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [value, times] = values else { return Ok(()) };
        let times = cast(times, &DataType::Int64)?;
        let times = times.as_primitive::<Int64Type>();
        let mut best = None;
        for row in (0..times.len()).filter(|row| times.is_valid(*row)) {
            let time = times.value(row);
            let better = self.time.is_none_or(|known| match self.latest {
                true => time >= known,
                false => time < known,
            });
            if better {
                (self.time, best) = (Some(time), Some(row));
            }
        }
        if let Some(row) = best {
            self.value = ScalarValue::try_from_array(value, row)?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(self.time)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.value.size()
    }
}
