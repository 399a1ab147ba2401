//! The time chunk of a row: PARTITIONED BY as a column of the plan, so that the exchange can keep time chunks apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use henge_exchange::{KeyField, KeySpec};
use henge_segment::TIME_COLUMN;
use henge_sql::{Ingest, OutputColumn};
use henge_time::{Granularity, Interval};

use crate::fault::Fault;

/// The column that holds the start of a row's time chunk (Druid's name).
pub const BUCKET_COLUMN: &str = "__bucket";

/// Time chunks that are remembered; more than a statement may have.
const KNOWN_MAX: usize = 10_000;

/// Adds the time chunk to the plan of the last SELECT stage, and gives the key of its exchange: the time chunk, where rows have
/// one, CLUSTERED BY, and the boost. `columns` are the visible columns of the statement; the plan may have more.
pub fn plan_key(
    plan: Arc<dyn ExecutionPlan>,
    ingest: &Ingest,
    columns: &[OutputColumn],
) -> std::result::Result<(Arc<dyn ExecutionPlan>, KeySpec), Fault> {
    let schema = plan.schema();
    let mut key = Vec::with_capacity(ingest.keys().len() + 1);
    let time = columns.iter().position(|column| column.name == TIME_COLUMN);
    let bucketed = time.filter(|_| ingest.granularity != Granularity::All);
    if bucketed.is_some() {
        key.push(KeyField::ascending(schema.fields().len()));
    }
    for name in ingest.keys() {
        let visible = columns.iter().position(|column| column.name == *name);
        let index = visible.or_else(|| schema.fields().iter().position(|field| field.name() == name));
        let Some(index) = index else {
            return Err(Fault::unknown(format!(
                "CLUSTERED BY column [{name}] is no column of the plan"
            )));
        };
        key.push(KeyField::ascending(index));
    }
    let spec = KeySpec::sorted(key)
        .with_buckets(usize::from(bucketed.is_some()))
        .with_boost();
    let Some(time) = bucketed else {
        return Ok((plan, spec));
    };
    let column = |index: usize| Column::new(schema.field(index).name(), index);
    let mut exprs: Vec<ProjectionExpr> = (0..schema.fields().len())
        .map(|index| ProjectionExpr {
            expr: Arc::new(column(index)),
            alias: schema.field(index).name().clone(),
        })
        .collect();
    let granularity = ScalarValue::Utf8(Some(ingest.granularity.to_string()));
    let bucket = ScalarFunctionExpr::try_new(
        Arc::new(ScalarUDF::from(BucketFunction::default())),
        vec![
            Arc::new(column(time)),
            Arc::new(Literal::new(granularity)) as Arc<dyn PhysicalExpr>,
        ],
        &schema,
        Arc::new(ConfigOptions::default()),
    )?;
    exprs.push(ProjectionExpr {
        expr: Arc::new(bucket),
        alias: BUCKET_COLUMN.to_string(),
    });
    Ok((Arc::new(ProjectionExec::try_new(exprs, plan)?), spec))
}

/// `henge_bucket(time, granularity)`: the start of the time chunk in milliseconds, null for null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct BucketFunction {
    signature: Signature,
}

impl Default for BucketFunction {
    fn default() -> Self {
        let times = [DataType::Timestamp(TimeUnit::Millisecond, None), DataType::Int64];
        let signatures = times.map(|time| TypeSignature::Exact(vec![time, DataType::Utf8]));
        Self {
            signature: Signature::one_of(signatures.to_vec(), Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for BucketFunction {
    fn name(&self) -> &str {
        "henge_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, ColumnarValue::Scalar(ScalarValue::Utf8(Some(granularity)))] = args.args.as_slice() else {
            return exec_err!("henge_bucket needs a time and the text of a granularity");
        };
        let Ok(granularity) = granularity.parse() else {
            return exec_err!("[{granularity}] is no granularity");
        };
        let times = time.to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(bucket_starts(&times, granularity)?))
    }
}

/// Gives the start of the time chunk of each time.
fn bucket_starts(times: &ArrayRef, granularity: Granularity) -> Result<ArrayRef> {
    let times = cast(times, &DataType::Int64)?;
    let times = times.as_primitive::<Int64Type>();
    let mut buckets = Buckets::new(granularity);
    // Values under nulls may be anything, and every value has a chunk.
    let starts: Vec<i64> = times.values().iter().map(|time| buckets.start(*time)).collect();
    Ok(Arc::new(Int64Array::new(starts.into(), times.nulls().cloned())))
}

/// Finds time chunks; remembers those that it has seen, since calendars are slow and neighbours mostly share a chunk.
struct Buckets {
    granularity: Granularity,
    last: Interval,
    known: BTreeMap<i64, i64>,
}

impl Buckets {
    fn new(granularity: Granularity) -> Self {
        Self {
            granularity,
            last: Interval { start_ms: 0, end_ms: 0 },
            known: BTreeMap::new(),
        }
    }

    fn start(&mut self, time: i64) -> i64 {
        if !self.last.contains_instant(time) {
            let known = self.known.range(..=time).next_back().map(|(start, end)| Interval {
                start_ms: *start,
                end_ms: *end,
            });
            self.last = match known.filter(|chunk| chunk.contains_instant(time)) {
                Some(chunk) => chunk,
                None => self.look_up(time),
            };
        }
        self.last.start_ms
    }

    fn look_up(&mut self, time: i64) -> Interval {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let chunk = self.granularity.bucket(time);
        self.known.insert(chunk.start_ms, chunk.end_ms);
        chunk
    }
}
