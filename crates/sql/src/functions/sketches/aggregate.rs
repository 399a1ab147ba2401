//! Aggregates that gather sketches, one UDAF for each in the table.
//!
//! 1. The binder puts the settings (`lgK`, size, probability …) behind the columns as literals; the accumulator reads them there,
//!    so a plan carries all of it.
//! 2. Raw values update the sketch, `Binary` columns hold sketches and are merged.
//! 3. The state of a partial aggregation is the sketch's image; partial results are merged as stored sketches are.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType,
};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;
use henge_sketches::approximate_histogram::ApproximateHistogram;
use henge_sketches::bloom::Bloom;
use henge_sketches::fixed_buckets::{FixedBuckets, Outliers};
use henge_sketches::hll::{Hll, RegisterType};
use henge_sketches::hyper_unique::HyperUnique;
use henge_sketches::quantiles::QuantilesDoubles;
use henge_sketches::theta::Theta;
use henge_sketches::tuple::TupleDoubles;
use henge_sketches::variance::Variance;
use henge_sketches::{Complex, ComplexType, Settings, StringEncoding, Value};

use super::failed;

/// What is gathered, and what is made of it in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// `DS_HLL`: the sketch.
    HllSketch,
    /// `APPROX_COUNT_DISTINCT_DS_HLL`: its estimate.
    HllCount,
    /// `DS_THETA`: the sketch.
    ThetaSketch,
    /// `APPROX_COUNT_DISTINCT_DS_THETA`: its estimate.
    ThetaCount,
    /// `APPROX_COUNT_DISTINCT`: the estimate of Druid's own collector.
    UniqueCount,
    /// `DS_TUPLE_DOUBLES`: the sketch.
    TupleSketch,
    /// `DS_QUANTILES_SKETCH`: the sketch.
    QuantilesSketch,
    /// `APPROX_QUANTILE_DS`: one quantile.
    QuantileDs,
    /// `APPROX_QUANTILE`: one quantile of the approximate histogram.
    Quantile,
    /// `APPROX_QUANTILE_FIXED_BUCKETS`: one quantile of the histogram of fixed buckets.
    QuantileFixedBuckets,
    /// `BLOOM_FILTER`: the filter.
    BloomFilter,
    /// `VAR_POP`, `VAR_SAMP` and their roots over a stored variance.
    Variance,
    /// `APPROX_COUNT_DISTINCT` as a rollup stores it: the collector.
    UniqueCollector,
    /// `VAR_POP` and `VAR_SAMP` as a rollup stores them: count, sum and squares.
    VarianceCollector,
}

const KINDS: [(Kind, &str); 14] = [
    (Kind::HllSketch, "ds_hll"),
    (Kind::HllCount, "approx_count_distinct_ds_hll"),
    (Kind::ThetaSketch, "ds_theta"),
    (Kind::ThetaCount, "approx_count_distinct_ds_theta"),
    (Kind::UniqueCount, "approx_count_distinct_builtin"),
    (Kind::TupleSketch, "ds_tuple_doubles"),
    (Kind::QuantilesSketch, "ds_quantiles_sketch"),
    (Kind::QuantileDs, "approx_quantile_ds"),
    (Kind::Quantile, "approx_quantile"),
    (Kind::QuantileFixedBuckets, "approx_quantile_fixed_buckets"),
    (Kind::BloomFilter, "bloom_filter"),
    (Kind::Variance, "fold_variance"),
    (Kind::UniqueCollector, "collect_unique"),
    (Kind::VarianceCollector, "collect_variance"),
];

static UDAFS: LazyLock<Vec<Arc<AggregateUDF>>> = LazyLock::new(|| {
    KINDS
        .iter()
        .map(|(kind, name)| {
            Arc::new(AggregateUDF::new_from_impl(SketchAggregate {
                kind: *kind,
                name,
                signature: Signature::variadic_any(Volatility::Immutable),
            }))
        })
        .collect()
});

/// Gives the UDAF of a kind.
pub(crate) fn udaf(kind: Kind) -> Arc<AggregateUDF> {
    Arc::clone(&UDAFS[kind as usize])
}

/// Lists the UDAFs, for session states and codecs.
pub(crate) fn udafs() -> impl Iterator<Item = Arc<AggregateUDF>> {
    UDAFS.iter().cloned()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SketchAggregate {
    kind: Kind,
    name: &'static str,
    signature: Signature,
}

impl AggregateUDFImpl for SketchAggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.returns())
    }

    fn is_nullable(&self) -> bool {
        self.kind == Kind::Variance
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format!("{}[sketch]", args.name);
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let literals: Vec<Option<ScalarValue>> = args
            .exprs
            .iter()
            .map(|expr| expr.downcast_ref::<Literal>().map(|literal| literal.value().clone()))
            .collect();
        let recipe = Recipe::read(self.kind, &literals)?;
        Ok(Box::new(Gathering { recipe, sketch: None }))
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        match self.kind.returns() {
            // Nothing has no distinct values.
            DataType::Int64 => Ok(ScalarValue::Int64(Some(0))),
            other => ScalarValue::try_from(&other),
        }
    }
}

impl Kind {
    fn returns(self) -> DataType {
        match self {
            Self::HllSketch
            | Self::ThetaSketch
            | Self::TupleSketch
            | Self::QuantilesSketch
            | Self::BloomFilter
            | Self::UniqueCollector
            | Self::VarianceCollector => DataType::Binary,
            Self::HllCount | Self::ThetaCount | Self::UniqueCount => DataType::Int64,
            Self::QuantileDs | Self::Quantile | Self::QuantileFixedBuckets | Self::Variance => DataType::Float64,
        }
    }

    /// Gives the type of the sketches that it gathers.
    pub(crate) fn gathers(self) -> ComplexType {
        match self {
            Self::HllSketch | Self::HllCount => ComplexType::Hll,
            Self::ThetaSketch | Self::ThetaCount => ComplexType::Theta,
            Self::UniqueCount | Self::UniqueCollector => ComplexType::HyperUnique,
            Self::TupleSketch => ComplexType::TupleDoubles,
            Self::QuantilesSketch | Self::QuantileDs => ComplexType::QuantilesDoubles,
            Self::Quantile => ComplexType::ApproximateHistogram,
            Self::QuantileFixedBuckets => ComplexType::FixedBuckets,
            Self::BloomFilter => ComplexType::Bloom,
            Self::Variance | Self::VarianceCollector => ComplexType::Variance,
        }
    }
}

/// Everything that the literals say.
#[derive(Debug, Clone)]
struct Recipe {
    kind: Kind,
    settings: Settings,
    encoding: StringEncoding,
    /// k of quantiles, bins of histograms, entries of filters.
    size: i64,
    probability: f64,
    limits: (f64, f64),
    outliers: Outliers,
    /// Columns of doubles of a tuple sketch.
    metrics: usize,
    /// Whether a variance is that of the whole population, and whether its root is wanted.
    population: bool,
    root: bool,
    /// Whether a distinct count counts empty strings.
    empty_text: bool,
}

impl Recipe {
    fn read(kind: Kind, literals: &[Option<ScalarValue>]) -> Result<Self> {
        let long = |at: usize| match literals.get(at) {
            Some(Some(ScalarValue::Int64(Some(value)))) => Ok(*value),
            other => Err(unwritten(kind, at, other)),
        };
        let double = |at: usize| match literals.get(at) {
            Some(Some(ScalarValue::Float64(Some(value)))) => Ok(*value),
            other => Err(unwritten(kind, at, other)),
        };
        let text = |at: usize| match literals.get(at) {
            Some(Some(ScalarValue::Utf8(Some(value)))) => Ok(value.as_str()),
            other => Err(unwritten(kind, at, other)),
        };
        let flag = |at: usize| match literals.get(at) {
            Some(Some(ScalarValue::Boolean(Some(value)))) => Ok(*value),
            other => Err(unwritten(kind, at, other)),
        };
        let mut recipe = Self {
            kind,
            settings: Settings::default(),
            encoding: StringEncoding::Utf16Le,
            size: 0,
            probability: 0.5,
            limits: (0.0, 1.0),
            outliers: Outliers::Ignore,
            metrics: 0,
            population: false,
            root: false,
            empty_text: false,
        };
        match kind {
            Kind::HllSketch | Kind::HllCount => {
                recipe.settings.hll_lg_k = u8::try_from(long(1)?).unwrap_or(u8::MAX);
                recipe.settings.hll_type = RegisterType::from_name(text(2)?).unwrap_or_default();
                if flag(3)? {
                    recipe.encoding = StringEncoding::Utf8;
                }
            }
            Kind::ThetaSketch | Kind::ThetaCount => {
                recipe.settings.theta_size = usize::try_from(long(1)?).unwrap_or(0);
            }
            Kind::UniqueCount | Kind::UniqueCollector => recipe.empty_text = flag(1)?,
            Kind::TupleSketch => {
                let last = literals.len().saturating_sub(1);
                recipe.settings.tuple_entries = usize::try_from(long(last)?).unwrap_or(0);
                recipe.metrics = last.saturating_sub(1);
            }
            Kind::QuantilesSketch => recipe.size = long(1)?,
            Kind::QuantileDs | Kind::Quantile => {
                recipe.probability = double(1)?;
                recipe.size = long(2)?;
            }
            Kind::QuantileFixedBuckets => {
                recipe.probability = double(1)?;
                recipe.size = long(2)?;
                recipe.limits = (double(3)?, double(4)?);
                recipe.outliers = Outliers::from_name(text(5)?).unwrap_or_default();
            }
            Kind::BloomFilter => recipe.size = long(1)?,
            Kind::Variance | Kind::VarianceCollector => {
                recipe.population = flag(1)?;
                recipe.root = flag(2)?;
            }
        }
        Ok(recipe)
    }

    fn empty(&self) -> henge_sketches::Result<Complex> {
        let size = usize::try_from(self.size).unwrap_or(0);
        Ok(match self.kind.gathers() {
            ComplexType::Hll => Complex::Hll(Hll::new(self.settings.hll_lg_k, self.settings.hll_type)?),
            ComplexType::Theta => Complex::Theta(Theta::new(self.settings.theta_size)?),
            ComplexType::TupleDoubles => {
                Complex::TupleDoubles(TupleDoubles::new(self.settings.tuple_entries, self.metrics.max(1))?)
            }
            ComplexType::QuantilesDoubles => {
                Complex::QuantilesDoubles(QuantilesDoubles::new(u16::try_from(size).unwrap_or(0))?)
            }
            ComplexType::ApproximateHistogram => Complex::ApproximateHistogram(ApproximateHistogram::new(size)?),
            ComplexType::FixedBuckets => {
                Complex::FixedBuckets(FixedBuckets::new(self.limits.0, self.limits.1, size, self.outliers)?)
            }
            ComplexType::Bloom => Complex::Bloom(Bloom::new(self.size)?),
            ComplexType::Variance => Complex::Variance(Variance::default()),
            _ => Complex::HyperUnique(HyperUnique::default()),
        })
    }

    fn finish(&self, sketch: &Complex) -> henge_sketches::Result<ScalarValue> {
        let long = |value: f64| ScalarValue::Int64(Some(value as i64));
        Ok(match sketch {
            Complex::Hll(sketch) if self.kind == Kind::HllCount => long((sketch.estimate() + 0.5).floor()),
            Complex::Theta(sketch) if self.kind == Kind::ThetaCount => long(sketch.estimate()),
            Complex::HyperUnique(collector) if self.kind == Kind::UniqueCount => {
                ScalarValue::Int64(Some(collector.count()))
            }
            Complex::QuantilesDoubles(sketch) if self.kind == Kind::QuantileDs => {
                // Druid reads the probability as a float.
                let quantile = sketch.quantiles(&[f64::from(self.probability as f32)])?;
                ScalarValue::Float64(quantile.first().copied())
            }
            Complex::ApproximateHistogram(histogram) => {
                ScalarValue::Float64(Some(f64::from(histogram.quantile(self.probability as f32)?)))
            }
            Complex::FixedBuckets(histogram) => {
                let percentile = f64::from(self.probability as f32 * 100.0);
                ScalarValue::Float64(Some(f64::from(histogram.percentile(percentile))))
            }
            Complex::Variance(variance) if self.kind == Kind::Variance => {
                let value = variance.variance(self.population);
                ScalarValue::Float64(value.map(|value| if self.root { value.sqrt() } else { value }))
            }
            Complex::QuantilesDoubles(sketch) if sketch.is_empty() => {
                // The sketch of a query's buffer, which has room for values, says so where none came.
                let mut image = sketch.image();
                image[0] = 2;
                ScalarValue::Binary(Some(image))
            }
            other => ScalarValue::Binary(Some(other.image())),
        })
    }
}

fn unwritten(kind: Kind, at: usize, found: Option<&Option<ScalarValue>>) -> DataFusionError {
    DataFusionError::Internal(format!(
        "argument {at} of {kind:?} is no literal that the binder writes: {found:?}"
    ))
}

/// A sketch of one group; none before the first value.
#[derive(Debug)]
struct Gathering {
    recipe: Recipe,
    sketch: Option<Complex>,
}

impl Gathering {
    fn sketch(&mut self) -> Result<&mut Complex> {
        if self.sketch.is_none() {
            self.sketch = Some(self.recipe.empty().map_err(failed)?);
        }
        Ok(self.sketch.as_mut().expect("it was made above"))
    }

    fn merge(&mut self, column: &ArrayRef) -> Result<()> {
        let settings = self.recipe.settings;
        let kind = self.recipe.kind.gathers();
        let binary = column.as_binary::<i32>();
        for bytes in binary.iter().flatten() {
            let other = Complex::parse(kind, bytes, &settings).map_err(failed)?;
            // A single sketch is kept as it is: a union forgets the order of its values, which sharpens the estimate.
            if let (None, Complex::Hll(first)) = (&self.sketch, &other)
                && first.lg_k() == settings.hll_lg_k
                && first.register_type() == settings.hll_type
            {
                self.sketch = Some(other);
                continue;
            }
            match (self.sketch()?, &other) {
                // The aggregate's own lgK and type hold, also of the first sketch.
                (Complex::Hll(sketch), Complex::Hll(other)) => sketch.merge(other).map_err(failed)?,
                (sketch, other) => sketch.merge(other, &settings).map_err(failed)?,
            }
        }
        Ok(())
    }

    fn tuple(&mut self, values: &[ArrayRef]) -> Result<()> {
        let metrics = values[1..=self.recipe.metrics]
            .iter()
            .map(|array| cast(array, &DataType::Float64))
            .collect::<Result<Vec<_>, _>>()?;
        let metrics: Vec<_> = metrics
            .iter()
            .map(|array| array.as_primitive::<Float64Type>())
            .collect();
        let mut row_values = vec![0.0; metrics.len()];
        let Complex::TupleDoubles(sketch) = self.sketch()? else {
            return Ok(());
        };
        each(&values[0], &mut |row, key| {
            // A row that lacks a number is not counted at all.
            if metrics.iter().any(|metric| metric.is_null(row)) {
                return;
            }
            for (value, metric) in row_values.iter_mut().zip(&metrics) {
                *value = metric.value(row);
            }
            match key {
                Some(Value::Text(key)) => sketch.update(key, &row_values),
                Some(Value::Long(key)) => sketch.update(&key.to_string(), &row_values),
                _ => {}
            }
        })
    }
}

impl Accumulator for Gathering {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(column) = values.first() else {
            return Ok(());
        };
        if matches!(column.data_type(), DataType::Binary) {
            return self.merge(column);
        }
        if self.recipe.kind == Kind::TupleSketch {
            return self.tuple(values);
        }
        if self.recipe.kind.gathers() == ComplexType::Theta
            && column.data_type() == &DataType::Float32
            && column.null_count() < column.len()
        {
            return Err(super::thrown(
                "org.apache.druid.java.util.common.ISE",
                "Illegal type received while theta sketch merging [class java.lang.Float]",
            ));
        }
        let encoding = self.recipe.encoding;
        let empty_text = self.recipe.empty_text;
        let sketch = self.sketch()?;
        each(column, &mut |_, value| match (&mut *sketch, value) {
            (Complex::Bloom(filter), value) => filter.update(value),
            (Complex::FixedBuckets(histogram), value) => histogram.update(value.map(number)),
            (_, None) => {}
            (Complex::Hll(sketch), Some(value)) => sketch.update(value, encoding),
            (Complex::Theta(sketch), Some(value)) => sketch.update(value),
            (Complex::HyperUnique(_), Some(Value::Text(""))) if !empty_text => {}
            (Complex::HyperUnique(collector), Some(value)) => collector.update(value),
            (Complex::QuantilesDoubles(sketch), Some(value)) => sketch.update(number(value)),
            (Complex::ApproximateHistogram(histogram), Some(value)) => histogram.update(number(value) as f32),
            (Complex::Variance(variance), Some(value)) => variance.update(number(value)),
            _ => {}
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        states.first().map_or(Ok(()), |state| self.merge(state))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(self.sketch.as_ref().map(Complex::image))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.sketch.is_none() {
            self.sketch()?;
        }
        let sketch = self.sketch.as_ref().expect("it was made above");
        self.recipe.finish(sketch).map_err(failed)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.sketch.as_ref().map_or(0, Complex::size)
    }
}

fn number(value: Value<'_>) -> f64 {
    match value {
        Value::Long(value) => value as f64,
        Value::Float(value) => f64::from(value),
        Value::Double(value) => value,
        Value::Text(text) => text.trim().parse().unwrap_or(f64::NAN),
    }
}

/// Hands every value of a column on, the values of lists one by one; null rows are handed on as such.
pub(super) fn each(column: &ArrayRef, with: &mut dyn FnMut(usize, Option<Value<'_>>)) -> Result<()> {
    macro_rules! primitive {
        ($type:ty, $value:expr) => {{
            let array = column.as_primitive::<$type>();
            for row in 0..array.len() {
                with(row, array.is_valid(row).then(|| $value(array.value(row))));
            }
        }};
    }
    match column.data_type() {
        DataType::Int64 => primitive!(Int64Type, Value::Long),
        DataType::Float64 => primitive!(Float64Type, Value::Double),
        DataType::Float32 => primitive!(Float32Type, Value::Float),
        DataType::Timestamp(TimeUnit::Millisecond, _) => primitive!(TimestampMillisecondType, Value::Long),
        DataType::Boolean => {
            let array = column.as_boolean();
            for row in 0..array.len() {
                with(
                    row,
                    array.is_valid(row).then(|| Value::Long(i64::from(array.value(row)))),
                );
            }
        }
        DataType::Utf8 => {
            let array = column.as_string::<i32>();
            for row in 0..array.len() {
                with(row, array.is_valid(row).then(|| Value::Text(array.value(row))));
            }
        }
        DataType::Null => (0..column.len()).for_each(|row| with(row, None)),
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            let offsets = lists.value_offsets();
            // Values are walked in order, so the row of each is the list that holds it.
            let mut row = 0;
            let first = offsets[0] as usize;
            let length = offsets[lists.len()] as usize - first;
            each(&lists.values().slice(first, length), &mut |at, value| {
                while row < lists.len() && at + first >= offsets[row + 1] as usize {
                    row += 1;
                }
                if lists.is_valid(row) {
                    with(row, value);
                }
            })?;
            // A row without values holds one NULL.
            for row in 0..lists.len() {
                if lists.is_null(row) || offsets[row] == offsets[row + 1] {
                    with(row, None);
                }
            }
        }
        DataType::Dictionary(_, value) => each(&cast(column, value)?, with)?,
        DataType::LargeUtf8 | DataType::Utf8View => each(&cast(column, &DataType::Utf8)?, with)?,
        other if other.is_numeric() => each(&cast(column, &DataType::Float64)?, with)?,
        other => {
            return Err(DataFusionError::Internal(format!("a sketch is not made of {other}")));
        }
    }
    Ok(())
}
