//! EARLIEST and LATEST as pairs of a time and the value of that time: what a rollup stores of them, and how stored pairs are
//! merged and read.
//!
//! A pair travels as `Binary` in the bytes of [`henge_sketches::pair`]; segments have structs of `lhs`, the time, and `rhs`, the
//! value, into which and from which [`pair_images`] and [`pair_structs`] bring columns.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float32Array, Int64Array, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float32Type, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;
use henge_sketches::ComplexType;
use henge_sketches::pair::{Keep, Pair, PairType, PairValue};

use super::super::args::{Args, double_result, long_result, text_result};
use super::super::scalar::{Param, ScalarDef, returns};
use super::failed;
use crate::SqlType;

const ONE: &[Param] = &[Param::Any];

/// Functions that give the value of a pair, by its type.
pub(in super::super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new("", "pair_text", ONE, returns::varchar, |args| {
        let pairs = values(args, PairType::Text)?;
        text_result(args.rows(), |row| match &pairs[row] {
            Some(PairValue::Text(text)) => Some(text.as_str()),
            _ => None,
        })
    }),
    ScalarDef::new("", "pair_long", ONE, returns::bigint, |args| {
        let pairs = values(args, PairType::Long)?;
        long_result(args.rows(), |row| match &pairs[row] {
            Some(PairValue::Long(value)) => Some(*value),
            _ => None,
        })
    }),
    ScalarDef::new("", "pair_double", ONE, returns::double, |args| {
        let pairs = values(args, PairType::Double)?;
        double_result(args.rows(), |row| match &pairs[row] {
            Some(PairValue::Double(value)) => Some(*value),
            _ => None,
        })
    }),
    ScalarDef::new(
        "",
        "pair_float",
        ONE,
        |_| SqlType::Float,
        |args| {
            let pairs = values(args, PairType::Float)?;
            let floats = pairs.iter().map(|value| match value {
                Some(PairValue::Float(value)) => Some(*value),
                _ => None,
            });
            Ok(Arc::new(floats.collect::<Float32Array>()))
        },
    ),
];

/// Gives the native name of the function that reads pairs of a type, and the type of what it gives.
pub(crate) fn value_of(kind: PairType) -> (&'static str, SqlType) {
    match kind {
        PairType::Text => ("pair_text", SqlType::Varchar),
        PairType::Long => ("pair_long", SqlType::BigInt),
        PairType::Double => ("pair_double", SqlType::Double),
        PairType::Float => ("pair_float", SqlType::Float),
    }
}

fn values(args: &Args, kind: PairType) -> Result<Vec<Option<PairValue>>> {
    let column = args.array(0)?;
    if *column.data_type() == DataType::Null {
        return Ok(vec![None; args.rows()]);
    }
    let parsed = column.as_binary::<i32>().iter().map(|bytes| match bytes {
        Some(bytes) => Pair::parse(kind, bytes).map(|pair| pair.value),
        None => Ok(None),
    });
    parsed.collect::<henge_sketches::Result<_>>().map_err(failed)
}

/// Words a pair as Druid's results do: `{"lhs":1420070400000,"rhs":"Sydney"}`. None for bytes that are no pair.
pub(super) fn shown(kind: PairType, bytes: &[u8]) -> Option<String> {
    let pair = Pair::parse(kind, bytes).ok()?;
    let value = match pair.value {
        None => serde_json::Value::Null,
        Some(PairValue::Text(text)) => serde_json::Value::from(text),
        Some(PairValue::Long(value)) => serde_json::Value::from(value),
        Some(PairValue::Double(value)) => serde_json::Value::from(value),
        // The shortest text of the float, not of the double that it widens to.
        Some(PairValue::Float(value)) => value.to_string().parse::<f64>().ok()?.into(),
    };
    Some(format!("{{\"lhs\":{},\"rhs\":{value}}}", pair.time))
}

/// Gives the pairs of a segment's column as they travel.
pub fn pair_images(pairs: &StructArray) -> Result<BinaryArray> {
    let [times, values] = pairs.columns() else {
        return Err(not_pairs(pairs.data_type()));
    };
    let times = cast(times, &DataType::Int64)?;
    let times = times.as_primitive::<Int64Type>();
    let kind = pair_type(values.data_type()).ok_or_else(|| not_pairs(pairs.data_type()))?;
    let images = (0..pairs.len()).map(|row| {
        let valid = pairs.is_valid(row) && times.is_valid(row);
        valid.then(|| Pair::of(kind, times.value(row), pair_value(kind, values, row)).to_bytes())
    });
    Ok(BinaryArray::from_iter(images))
}

/// Brings pairs that travel into the structs that a segment is written from.
pub fn pair_structs(images: &BinaryArray, kind: PairType) -> Result<StructArray> {
    let pairs = images.iter().map(|bytes| bytes.map(|bytes| Pair::parse(kind, bytes)));
    let pairs: Vec<Option<Pair>> = pairs
        .map(Option::transpose)
        .collect::<henge_sketches::Result<_>>()
        .map_err(failed)?;
    let times: Int64Array = pairs.iter().map(|pair| pair.as_ref().map(|pair| pair.time)).collect();
    let value = |row: usize| pairs[row].as_ref().and_then(|pair| pair.value.as_ref());
    let rows = pairs.len();
    let values: ArrayRef = match kind {
        PairType::Text => {
            let texts = (0..rows).map(|row| match value(row) {
                Some(PairValue::Text(text)) => Some(text.as_str()),
                _ => None,
            });
            Arc::new(texts.collect::<StringArray>())
        }
        PairType::Long => long_result(rows, |row| match value(row) {
            Some(PairValue::Long(value)) => Some(*value),
            _ => None,
        })?,
        PairType::Double => double_result(rows, |row| match value(row) {
            Some(PairValue::Double(value)) => Some(*value),
            _ => None,
        })?,
        PairType::Float => {
            let floats = (0..rows).map(|row| match value(row) {
                Some(PairValue::Float(value)) => Some(*value),
                _ => None,
            });
            Arc::new(floats.collect::<Float32Array>())
        }
    };
    let fields = Fields::from(vec![
        Field::new("lhs", DataType::Int64, true),
        Field::new("rhs", values.data_type().clone(), true),
    ]);
    let nulls = images.nulls().cloned();
    Ok(StructArray::try_new(fields, vec![Arc::new(times), values], nulls)?)
}

/// Gives the type of pairs of a complex type's name.
pub fn pair_type_of(name: &str) -> Option<PairType> {
    match ComplexType::from_name(name) {
        Some(ComplexType::Pair(kind)) => Some(kind),
        _ => None,
    }
}

/// Gives the type of pairs whose values are of a type.
pub(crate) fn pair_type(values: &DataType) -> Option<PairType> {
    Some(match values {
        DataType::Utf8 => PairType::Text,
        DataType::Dictionary(_, values) => return pair_type(values),
        DataType::Int64 | DataType::Boolean | DataType::Timestamp(..) => PairType::Long,
        DataType::Float64 => PairType::Double,
        DataType::Float32 => PairType::Float,
        _ => return None,
    })
}

fn pair_value(kind: PairType, values: &ArrayRef, row: usize) -> Option<PairValue> {
    values.is_valid(row).then(|| match kind {
        PairType::Text => PairValue::Text(values.as_string::<i32>().value(row).to_string()),
        PairType::Long => PairValue::Long(values.as_primitive::<Int64Type>().value(row)),
        PairType::Double => PairValue::Double(values.as_primitive::<Float64Type>().value(row)),
        PairType::Float => PairValue::Float(values.as_primitive::<Float32Type>().value(row)),
    })
}

fn not_pairs(found: &DataType) -> DataFusionError {
    DataFusionError::Internal(format!("{found} is no column of pairs"))
}

static UDAFS: LazyLock<[Arc<AggregateUDF>; 2]> = LazyLock::new(|| {
    [(Keep::First, "earliest_pair"), (Keep::Last, "latest_pair")].map(|(keep, name)| {
        Arc::new(AggregateUDF::new_from_impl(PairAggregate {
            is_first: keep == Keep::First,
            name,
            signature: Signature::variadic_any(Volatility::Immutable),
        }))
    })
});

/// Gives the aggregate. Its arguments are the value, its time and the most bytes of text; or a column of pairs and the name of
/// their type.
pub(crate) fn udaf(keep: Keep) -> Arc<AggregateUDF> {
    let [first, last] = &*UDAFS;
    Arc::clone(if keep == Keep::First { first } else { last })
}

/// Lists the aggregates, for session states and codecs.
pub(crate) fn udafs() -> impl Iterator<Item = Arc<AggregateUDF>> {
    UDAFS.iter().cloned()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PairAggregate {
    is_first: bool,
    name: &'static str,
    signature: Signature,
}

impl AggregateUDFImpl for PairAggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format!("{}[pair]", args.name);
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let literal = |at: usize| {
            let expr = args.exprs.get(at);
            expr.and_then(|expr| expr.downcast_ref::<Literal>()).map(Literal::value)
        };
        let (kind, most_bytes) = match (literal(1), literal(2)) {
            (Some(ScalarValue::Utf8(Some(name))), _) => (pair_type_of(name), usize::MAX),
            (_, Some(ScalarValue::Int64(Some(most)))) => {
                let value = args.exprs[0].data_type(args.schema)?;
                (pair_type(&value), usize::try_from(*most).unwrap_or(0))
            }
            _ => (None, 0),
        };
        let Some(kind) = kind else {
            return Err(DataFusionError::Internal(format!(
                "{} has arguments that the binder does not write",
                self.name
            )));
        };
        let keep = if self.is_first { Keep::First } else { Keep::Last };
        Ok(Box::new(Keeping {
            keep,
            most_bytes,
            pair: Pair::new(kind, keep),
        }))
    }
}

/// The pair of one group.
#[derive(Debug)]
struct Keeping {
    keep: Keep,
    most_bytes: usize,
    pair: Pair,
}

impl Keeping {
    fn merge(&mut self, column: &ArrayRef) -> Result<()> {
        let kind = self.pair.kind();
        for bytes in column.as_binary::<i32>().iter().flatten() {
            let other = Pair::parse(kind, bytes).map_err(failed)?;
            self.pair.merge(&other, self.keep).map_err(failed)?;
        }
        Ok(())
    }
}

impl Accumulator for Keeping {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [column, rest @ ..] = values else {
            return Ok(());
        };
        if *column.data_type() == DataType::Binary {
            return self.merge(column);
        }
        let Some(times) = rest.first() else {
            return Ok(());
        };
        let times = cast(times, &DataType::Int64)?;
        let times = times.as_primitive::<Int64Type>();
        // Only the row that stays is looked at.
        let mut best: Option<(usize, i64)> = None;
        for row in (0..times.len()).filter(|row| times.is_valid(*row)) {
            let time = times.value(row);
            let stays = best.is_some_and(|(_, known)| match self.keep {
                Keep::First => known <= time,
                Keep::Last => known > time,
            });
            if !stays {
                best = Some((row, time));
            }
        }
        let Some((row, time)) = best else {
            return Ok(());
        };
        let kind = self.pair.kind();
        let held = match kind {
            PairType::Text => DataType::Utf8,
            PairType::Long => DataType::Int64,
            PairType::Double => DataType::Float64,
            PairType::Float => DataType::Float32,
        };
        let one = cast(&column.slice(row, 1), &held)?;
        let mut value = pair_value(kind, &one, 0);
        if let Some(PairValue::Text(text)) = &mut value {
            text.truncate(text.floor_char_boundary(self.most_bytes));
        }
        self.pair.merge(&Pair::of(kind, time, value), self.keep).map_err(failed)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        states.first().map_or(Ok(()), |state| self.merge(state))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Binary(Some(self.pair.to_bytes())))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.pair.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeping(keep: Keep) -> Keeping {
        Keeping {
            keep,
            most_bytes: 3,
            pair: Pair::new(PairType::Text, keep),
        }
    }

    fn shown_of(state: &mut Keeping) -> String {
        let ScalarValue::Binary(Some(bytes)) = state.evaluate().expect("a pair") else {
            panic!("bytes")
        };
        shown(PairType::Text, &bytes).expect("a pair")
    }

    #[test]
    fn ties_keep_the_first_of_the_earliest_and_the_last_of_the_latest() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("one"), Some("twoé"), None, Some("none")]));
        let times: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), Some(7), Some(7), None]));
        let mut first = keeping(Keep::First);
        first
            .update_batch(&[Arc::clone(&texts), Arc::clone(&times)])
            .expect("updated");
        assert_eq!(shown_of(&mut first), r#"{"lhs":7,"rhs":"one"}"#);
        let mut last = keeping(Keep::Last);
        last.update_batch(&[texts.slice(0, 2), times.slice(0, 2)])
            .expect("updated");
        assert_eq!(shown_of(&mut last), r#"{"lhs":7,"rhs":"two"}"#, "cut at three bytes");
        last.update_batch(&[texts, times]).expect("updated");
        assert_eq!(shown_of(&mut last), r#"{"lhs":7,"rhs":null}"#);

        // Partial results in either order.
        let [ScalarValue::Binary(Some(state))] = &first.state().expect("a state")[..] else {
            panic!("one state")
        };
        let state: ArrayRef = Arc::new(BinaryArray::from_iter_values([state]));
        let mut merged = keeping(Keep::First);
        merged.merge_batch(&[Arc::clone(&state), state]).expect("merged");
        assert_eq!(shown_of(&mut merged), r#"{"lhs":7,"rhs":"one"}"#);
        assert!(shown_of(&mut keeping(Keep::First)).ends_with(r#""rhs":null}"#));
    }

    #[test]
    fn pairs_pass_into_segments_and_back() {
        let pairs = [
            Some(Pair::of(PairType::Float, 1, Some(PairValue::Float(0.1)))),
            None,
            Some(Pair::of(PairType::Float, -2, None)),
        ];
        let images: BinaryArray = pairs.iter().map(|pair| pair.as_ref().map(Pair::to_bytes)).collect();
        let structs = pair_structs(&images, PairType::Float).expect("structs");
        assert_eq!(pair_images(&structs).expect("images"), images);
        assert_eq!(
            shown(PairType::Float, images.value(0)).as_deref(),
            Some(r#"{"lhs":1,"rhs":0.1}"#)
        );
        assert!(shown(PairType::Float, b"{").is_none());
    }
}
