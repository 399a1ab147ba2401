//! Functions that ask sketches and combine them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Float64Array, Float64Builder, ListBuilder};
use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::Result;
use henge_number::f64_text;
use henge_sketches::bloom::Bloom;
use henge_sketches::hll::{DEFAULT_LG_K, Hll, RegisterType};
use henge_sketches::quantiles::QuantilesDoubles;
use henge_sketches::theta::{self, Theta};
use henge_sketches::tuple::{self, TupleDoubles};
use henge_sketches::{Result as SketchResult, Value};

use super::super::args::{Args, try_text_result};
use super::super::scalar::{Param, ScalarDef, returns};
use super::{failed, refused, thrown};
use crate::{Category, Persona, SqlType};

const ONE: &[Param] = &[Param::Any];
const TWO: &[Param] = &[Param::Any, Param::Any];
const AND_NUMBER: &[Param] = &[Param::Any, Param::Double];

/// The family.
pub(in super::super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new(
        "HLL_SKETCH_ESTIMATE",
        "hll_sketch_estimate",
        &[Param::Any, Param::Any],
        returns::double,
        hll_estimate,
    )
    .min(1),
    ScalarDef::new(
        "HLL_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS",
        "hll_sketch_estimate_with_error_bounds",
        &[Param::Any, Param::Int],
        doubles,
        hll_bounds,
    )
    .min(1),
    ScalarDef::new("HLL_SKETCH_UNION", "hll_sketch_union", TWO, hll, hll_union).variadic(),
    ScalarDef::new(
        "HLL_SKETCH_TO_STRING",
        "hll_sketch_to_string",
        ONE,
        returns::varchar,
        hll_to_string,
    ),
    // What Druid shows of a finished sketch, by the aggregate that made it.
    ScalarDef::new(
        "",
        "finished_sketch",
        &[Param::Any, Param::Str],
        returns::varchar,
        finished,
    ),
    ScalarDef::new(
        "THETA_SKETCH_ESTIMATE",
        "theta_sketch_estimate",
        ONE,
        returns::double,
        theta_estimate,
    ),
    ScalarDef::new(
        "THETA_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS",
        "theta_sketch_estimate_with_error_bounds",
        &[Param::Any, Param::Int],
        theta_type,
        theta_bounds,
    ),
    ScalarDef::new("THETA_SKETCH_UNION", "theta_sketch_union", TWO, theta_type, |args| {
        theta_set(args, Theta::union)
    })
    .variadic(),
    ScalarDef::new(
        "THETA_SKETCH_INTERSECT",
        "theta_sketch_intersect",
        TWO,
        theta_type,
        |args| theta_set(args, Theta::intersect),
    )
    .variadic(),
    ScalarDef::new("THETA_SKETCH_NOT", "theta_sketch_not", TWO, theta_type, |args| {
        theta_set(args, Theta::a_not_b)
    })
    .variadic(),
    ScalarDef::new(
        "DS_GET_QUANTILE",
        "ds_get_quantile",
        AND_NUMBER,
        returns::double,
        |args| by_number(args, |sketch, rank| Ok(sketch.quantiles(&[rank])?[0])),
    ),
    ScalarDef::new("DS_RANK", "ds_rank", AND_NUMBER, returns::double, |args| {
        by_number(args, |sketch, value| Ok(sketch.rank(value)))
    }),
    ScalarDef::new("DS_GET_QUANTILES", "ds_get_quantiles", AND_NUMBER, worded, |args| {
        by_numbers(args, QuantilesDoubles::quantiles)
    })
    .variadic(),
    ScalarDef::new("DS_CDF", "ds_cdf", AND_NUMBER, worded, |args| {
        by_numbers(args, QuantilesDoubles::cdf)
    })
    .variadic(),
    ScalarDef::new("DS_HISTOGRAM", "ds_histogram", AND_NUMBER, worded, |args| {
        by_numbers(args, QuantilesDoubles::histogram)
    })
    .variadic(),
    ScalarDef::new(
        "DS_QUANTILE_SUMMARY",
        "ds_quantile_summary",
        ONE,
        returns::varchar,
        |args| {
            let sketches = bytes(args, 0)?;
            try_text_result(args.rows(), |row| {
                let sketch = sketches.get(row)?.map(|bytes| QuantilesDoubles::parse(&bytes));
                Ok(sketch.transpose().map_err(failed)?.map(|sketch| sketch.summary()))
            })
        },
    ),
    ScalarDef::new(
        "DS_TUPLE_DOUBLES_METRICS_SUM_ESTIMATE",
        "ds_tuple_doubles_metrics_sum_estimate",
        ONE,
        doubles,
        tuple_sums,
    ),
    ScalarDef::new(
        "DS_TUPLE_DOUBLES_UNION",
        "ds_tuple_doubles_union",
        TWO,
        tuple_type,
        |args| {
            tuple_set(
                args,
                TupleDoubles::union,
                Some(|values| format!("Incompatible sketches: number of values mismatch 1 and {values}")),
            )
        },
    )
    .variadic(),
    ScalarDef::new(
        "DS_TUPLE_DOUBLES_INTERSECT",
        "ds_tuple_doubles_intersect",
        TWO,
        tuple_type,
        |args| {
            tuple_set(
                args,
                TupleDoubles::intersect,
                Some(|_| "Input tupleSketch cannot have different numValues from the internal numValues.".into()),
            )
        },
    )
    .variadic(),
    ScalarDef::new(
        "DS_TUPLE_DOUBLES_NOT",
        "ds_tuple_doubles_not",
        TWO,
        tuple_type,
        |args| tuple_set(args, TupleDoubles::a_not_b, None),
    )
    .variadic(),
    ScalarDef::new(
        "BLOOM_FILTER_TEST",
        "bloom_filter_test",
        &[Param::Any, Param::Str],
        returns::boolean,
        bloom_test,
    ),
];

fn doubles(_: &[SqlType]) -> SqlType {
    SqlType::Array(Box::new(SqlType::Double))
}

fn hll(_: &[SqlType]) -> SqlType {
    SqlType::Complex(henge_sketches::hll::NAME.into())
}

fn theta_type(_: &[SqlType]) -> SqlType {
    SqlType::Complex(theta::NAME.into())
}

fn tuple_type(_: &[SqlType]) -> SqlType {
    SqlType::Complex(tuple::NAME.into())
}

/// JSON text in the place of a complex value.
fn worded(_: &[SqlType]) -> SqlType {
    SqlType::Other
}

/// The sketches of a column: bytes, or their base64.
struct Sketches(ArrayRef);

impl Sketches {
    fn get(&self, row: usize) -> Result<Option<Cow<'_, [u8]>>> {
        if self.0.is_null(row) {
            return Ok(None);
        }
        match self.0.data_type() {
            DataType::Binary => Ok(Some(Cow::Borrowed(self.0.as_binary::<i32>().value(row)))),
            DataType::Utf8 => {
                let text = self.0.as_string::<i32>().value(row);
                match STANDARD.decode(text) {
                    Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
                    Err(error) => Err(no_base64(text, error)),
                }
            }
            DataType::Null => Ok(None),
            other => Err(thrown(
                "org.apache.druid.java.util.common.ISE",
                format!(
                    "Object is not of a type[class java.lang.{}] that can be deserialized to sketch.",
                    match other {
                        DataType::Int64 => "Long",
                        DataType::Float64 | DataType::Float32 => "Double",
                        _ => "Object",
                    }
                ),
            )),
        }
    }
}

fn no_base64(text: &str, error: base64::DecodeError) -> datafusion::common::DataFusionError {
    thrown("java.lang.IllegalArgumentException", java_base64(text, error))
}

/// Words what Java says to text that is no base64.
fn java_base64(text: &str, error: base64::DecodeError) -> String {
    use base64::DecodeError;
    match error {
        _ if text.len() == 1 => "Input byte[] should at least have 2 bytes for base64 bytes".to_string(),
        DecodeError::InvalidByte(_, byte) => format!("Illegal base64 character {byte:x}"),
        _ => "Last unit does not have enough valid bits".to_string(),
    }
}

fn bytes(args: &Args, index: usize) -> Result<Sketches> {
    Ok(Sketches(args.array(index)?))
}

/// Computes a double of every sketch; of NULL too, since Druid's estimates of nothing are 0.
fn estimates(args: &Args, estimate: impl Fn(&[u8]) -> SketchResult<f64>) -> Result<ArrayRef> {
    let sketches = bytes(args, 0)?;
    let values = (0..args.rows())
        .map(|row| match sketches.get(row)? {
            Some(bytes) => estimate(&bytes).map_err(failed),
            None => Ok(0.0),
        })
        .collect::<Result<Vec<f64>>>()?;
    Ok(Arc::new(Float64Array::from(values)))
}

/// Puts bytes into a column.
fn binary(rows: usize, mut value: impl FnMut(usize) -> Result<Option<Vec<u8>>>) -> Result<ArrayRef> {
    let mut builder = BinaryBuilder::new();
    for row in 0..rows {
        builder.append_option(value(row)?);
    }
    Ok(Arc::new(builder.finish()))
}

/// Puts arrays of doubles into a column.
fn lists(rows: usize, mut value: impl FnMut(usize) -> Result<Option<Vec<f64>>>) -> Result<ArrayRef> {
    let mut builder = ListBuilder::new(Float64Builder::new());
    for row in 0..rows {
        match value(row)? {
            Some(values) => {
                builder.values().append_slice(&values);
                builder.append(true);
            }
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn hll_estimate(args: &Args) -> Result<ArrayRef> {
    let round = match args.len() {
        2 => args.boolean(1)?,
        _ => BooleanArray::new_null(0),
    };
    let rounded = round.iter().next().flatten() == Some(true);
    estimates(args, |bytes| {
        let estimate = Hll::parse(bytes)?.estimate();
        Ok(if rounded { (estimate + 0.5).floor() } else { estimate })
    })
}

fn deviations(args: &Args) -> Result<u8> {
    if args.len() < 2 {
        return Ok(1);
    }
    let count = args.long(1)?.get(0).unwrap_or(1);
    Ok(u8::try_from(count).unwrap_or(0))
}

fn hll_bounds(args: &Args) -> Result<ArrayRef> {
    let (sketches, deviations) = (bytes(args, 0)?, deviations(args)?);
    lists(args.rows(), |row| {
        let Some(bytes) = sketches.get(row)? else {
            // No sketch is an empty one, as it is for estimates.
            return Ok(Some(vec![0.0; 3]));
        };
        let sketch = Hll::parse(&bytes).map_err(failed)?;
        let (low, high) = sketch.bounds(deviations).map_err(failed)?;
        Ok(Some(vec![sketch.estimate(), low, high]))
    })
}

fn hll_union(args: &Args) -> Result<ArrayRef> {
    let columns = (0..args.len()).map(|at| bytes(args, at)).collect::<Result<Vec<_>>>()?;
    binary(args.rows(), |row| {
        let mut union = Hll::new(DEFAULT_LG_K, RegisterType::Hll4).map_err(failed)?;
        for column in &columns {
            if let Some(bytes) = column.get(row)? {
                Hll::parse(&bytes)
                    .and_then(|sketch| union.merge(&sketch))
                    .map_err(failed)?;
            }
        }
        Ok(Some(union.image()))
    })
}

fn hll_to_string(args: &Args) -> Result<ArrayRef> {
    let sketches = bytes(args, 0)?;
    try_text_result(args.rows(), |row| {
        let sketch = sketches.get(row)?.map(|bytes| Hll::parse(&bytes));
        Ok(sketch.transpose().map_err(failed)?.map(|sketch| sketch.summary()))
    })
}

/// Words the number that a sketch stands for: distinct values, or the count of what a quantile sketch saw.
fn finished(args: &Args) -> Result<ArrayRef> {
    let (sketches, aggregate) = (bytes(args, 0)?, args.text(1)?);
    try_text_result(args.rows(), |row| {
        let Some(bytes) = sketches.get(row)? else {
            return Ok(None);
        };
        let text = match aggregate.get(row) {
            Some("DS_THETA") => Theta::parse(&bytes, theta::DEFAULT_SIZE).map(|sketch| f64_text(sketch.estimate())),
            Some("DS_TUPLE_DOUBLES") => {
                TupleDoubles::parse(&bytes, tuple::DEFAULT_ENTRIES).map(|sketch| f64_text(sketch.estimate()))
            }
            Some("DS_QUANTILES_SKETCH") => QuantilesDoubles::parse(&bytes).map(|sketch| sketch.n().to_string()),
            _ => Hll::parse(&bytes).map(|sketch| format!("{}", (sketch.estimate() + 0.5).floor() as i64)),
        };
        text.map(Some).map_err(failed)
    })
}

fn theta_estimate(args: &Args) -> Result<ArrayRef> {
    estimates(args, |bytes| Ok(Theta::parse(bytes, theta::DEFAULT_SIZE)?.estimate()))
}

fn theta_bounds(args: &Args) -> Result<ArrayRef> {
    let (sketches, deviations) = (bytes(args, 0)?, deviations(args)?);
    binary(args.rows(), |row| {
        let Some(bytes) = sketches.get(row)? else {
            return Ok(None);
        };
        let sketch = Theta::parse(&bytes, theta::DEFAULT_SIZE).map_err(failed)?;
        let (low, high) = sketch.bounds(deviations).map_err(failed)?;
        let text = format!(
            "{{\"estimate\":{},\"highBound\":{},\"lowBound\":{},\"numStdDev\":{deviations}}}",
            f64_text(sketch.estimate()),
            f64_text(high),
            f64_text(low)
        );
        Ok(Some(text.into_bytes()))
    })
}

/// Splits the arguments of a set operation into a size, where one is a number, and the columns of sketches.
fn operands(args: &Args, default: usize) -> Result<(usize, Vec<Sketches>)> {
    let mut size = default;
    let mut columns = Vec::with_capacity(args.len());
    for at in 0..args.len() {
        // THETA_SKETCH_… takes the size first, DS_TUPLE_DOUBLES_… last.
        if args.data_type(at) == DataType::Int64 && (at == 0 || at + 1 == args.len()) {
            size = args
                .long(at)?
                .get(0)
                .and_then(|size| usize::try_from(size).ok())
                .unwrap_or(0);
        } else {
            columns.push(bytes(args, at)?);
        }
    }
    Ok((size, columns))
}

fn theta_set(args: &Args, operation: fn(&[Theta], usize) -> SketchResult<Theta>) -> Result<ArrayRef> {
    let (size, columns) = operands(args, theta::DEFAULT_SIZE)?;
    binary(args.rows(), |row| {
        let mut sketches = Vec::with_capacity(columns.len());
        for column in &columns {
            let bytes = column.get(row)?.unwrap_or_default();
            sketches.push(Theta::parse(&bytes, size).map_err(failed)?);
        }
        Ok(Some(operation(&sketches, size).map_err(failed)?.image()))
    })
}

/// Words the refusal of sketches of several values.
type Refusal = fn(usize) -> String;

fn tuple_set(
    args: &Args,
    operation: fn(&[TupleDoubles], usize) -> SketchResult<TupleDoubles>,
    several: Option<Refusal>,
) -> Result<ArrayRef> {
    let (entries, columns) = operands(args, tuple::DEFAULT_ENTRIES)?;
    binary(args.rows(), |row| {
        let mut sketches = Vec::with_capacity(columns.len());
        for column in &columns {
            if let Some(bytes) = column.get(row)? {
                let sketch = TupleDoubles::parse(&bytes, entries).map_err(failed)?;
                // Druid's set operations are made for one value a key.
                if sketch.values_per_key() != 1
                    && let Some(refused) = several
                {
                    return Err(thrown(
                        "java.lang.IllegalArgumentException",
                        refused(sketch.values_per_key()),
                    ));
                }
                sketches.push(sketch);
            }
        }
        Ok(Some(operation(&sketches, entries).map_err(failed)?.to_bytes()))
    })
}

fn tuple_sums(args: &Args) -> Result<ArrayRef> {
    let sketches = bytes(args, 0)?;
    lists(args.rows(), |row| {
        let sketch = sketches
            .get(row)?
            .map(|bytes| TupleDoubles::parse(&bytes, tuple::DEFAULT_ENTRIES));
        Ok(sketch.transpose().map_err(failed)?.map(|sketch| sketch.sums()))
    })
}

fn by_number(args: &Args, ask: impl Fn(&QuantilesDoubles, f64) -> SketchResult<f64>) -> Result<ArrayRef> {
    let (sketches, numbers) = (bytes(args, 0)?, args.double(1)?);
    let values = (0..args.rows())
        .map(|row| match (sketches.get(row)?, numbers.get(row)) {
            (Some(bytes), Some(number)) => {
                let sketch = QuantilesDoubles::parse(&bytes).map_err(failed)?;
                ask(&sketch, number).map(Some).map_err(failed)
            }
            _ => Ok(None),
        })
        .collect::<Result<Vec<Option<f64>>>>()?;
    Ok(Arc::new(Float64Array::from(values)))
}

fn by_numbers(args: &Args, ask: fn(&QuantilesDoubles, &[f64]) -> SketchResult<Vec<f64>>) -> Result<ArrayRef> {
    let sketches = bytes(args, 0)?;
    let columns = (1..args.len()).map(|at| args.double(at)).collect::<Result<Vec<_>>>()?;
    binary(args.rows(), |row| {
        let Some(bytes) = sketches.get(row)? else {
            return Ok(None);
        };
        let numbers: Vec<f64> = columns.iter().filter_map(|column| column.get(row)).collect();
        let sketch = QuantilesDoubles::parse(&bytes).map_err(failed)?;
        let values = ask(&sketch, &numbers).map_err(failed)?;
        let words: Vec<String> = values
            .iter()
            .map(|value| match value.is_finite() {
                true => f64_text(*value),
                false => format!("\"{}\"", f64_text(*value)),
            })
            .collect();
        Ok(Some(format!("[{}]", words.join(",")).into_bytes()))
    })
}

fn bloom_test(args: &Args) -> Result<ArrayRef> {
    let unreadable = || {
        refused(
            Persona::Admin,
            Category::Uncategorized,
            "Function[bloom_filter_test] failed to deserialize bloom filter",
        )
    };
    let filters = args.text(1)?;
    let values = args.array(0)?;
    let mut known: Option<(String, Bloom)> = None;
    let mut answers = Vec::with_capacity(args.rows());
    for row in 0..args.rows() {
        let Some(text) = filters.get(row) else {
            answers.push(None);
            continue;
        };
        if known.as_ref().is_none_or(|(of, _)| of != text) {
            let unread = |error| refused(Persona::Admin, Category::Uncategorized, java_base64(text, error));
            let bytes = STANDARD.decode(text).map_err(unread)?;
            known = Some((text.to_string(), Bloom::parse(&bytes).map_err(|_| unreadable())?));
        }
        let Some((_, filter)) = &known else { continue };
        let mut answer = false;
        super::aggregate::each(&values.slice(row, 1), &mut |_, value: Option<Value<'_>>| {
            answer |= filter.test(value)
        })?;
        answers.push(Some(answer));
    }
    Ok(Arc::new(BooleanArray::from(answers)))
}
