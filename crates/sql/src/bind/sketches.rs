//! Sketch aggregates: their names, what they take, and the literals that carry their settings into the plan.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{AggregateUDF, Expr, lit};
use datafusion::sql::sqlparser::ast;
use henge_sketches::fixed_buckets::Outliers;
use henge_sketches::hll::RegisterType;
use henge_sketches::{
    ComplexType, approximate_histogram, hll, hyper_unique, limits, quantiles, theta, tuple, variance,
};

use super::aggregate::AggregateDef;
use super::{Binder, Typed, literal};
use crate::functions::sketches::aggregate::{Kind, udaf};
use crate::{Category, Persona, SqlError, SqlType};

const fn def(name: &'static str, signatures: &'static str) -> AggregateDef {
    AggregateDef { name, signatures }
}

/// Every sketch aggregate, with its form in messages.
pub(crate) const AGGREGATES: [AggregateDef; 13] = [
    def(
        "APPROX_COUNT_DISTINCT",
        "'APPROX_COUNT_DISTINCT(<STRING>)'\n'APPROX_COUNT_DISTINCT(<NUMERIC>)'\n'APPROX_COUNT_DISTINCT'(COMPLEX<hyperUnique>)",
    ),
    def(
        "APPROX_COUNT_DISTINCT_BUILTIN",
        "'APPROX_COUNT_DISTINCT_BUILTIN(<STRING>)'\n'APPROX_COUNT_DISTINCT_BUILTIN(<NUMERIC>)'\n'APPROX_COUNT_DISTINCT_BUILTIN'(COMPLEX<hyperUnique>)",
    ),
    def(
        "APPROX_COUNT_DISTINCT_DS_HLL",
        "'APPROX_COUNT_DISTINCT_DS_HLL(column, lgk, tgtHllType)'",
    ),
    def(
        "APPROX_COUNT_DISTINCT_DS_HLL_UTF8",
        "'APPROX_COUNT_DISTINCT_DS_HLL_UTF8(<column>, [<lgK>, [<tgtHllType>]])'",
    ),
    def(
        "APPROX_COUNT_DISTINCT_DS_THETA",
        "'APPROX_COUNT_DISTINCT_DS_THETA(expr, size)'",
    ),
    def(
        "APPROX_QUANTILE",
        "'APPROX_QUANTILE(<column>, <probability>, [<resolution>])'",
    ),
    def(
        "APPROX_QUANTILE_DS",
        "'APPROX_QUANTILE_DS(<column>, <probability>, [<k>])'",
    ),
    def(
        "APPROX_QUANTILE_FIXED_BUCKETS",
        "'APPROX_QUANTILE_FIXED_BUCKETS(<column>, <probability>, <numBuckets>, <lowerLimit>, <upperLimit>, [<outlierHandlingMode>])'",
    ),
    def("BLOOM_FILTER", "'BLOOM_FILTER(<column>, <maxNumEntries>)'"),
    def("DS_HLL", "'DS_HLL(<column>, [<lgK>, [<tgtHllType>]])'"),
    def("DS_QUANTILES_SKETCH", "'DS_QUANTILES_SKETCH(<column>, [<k>])'"),
    def("DS_THETA", "'DS_THETA(<column>, [<size>])'"),
    def("DS_TUPLE_DOUBLES", "DS_TUPLE_DOUBLES(...)"),
];

/// Finds a sketch aggregate by its upper case name.
pub(crate) fn find(name: &str) -> Option<&'static AggregateDef> {
    AGGREGATES.iter().find(|def| def.name == name)
}

/// A UDAF, its arguments, its type.
type Bound = (Arc<AggregateUDF>, Vec<Expr>, SqlType);

impl Binder<'_> {
    /// Binds the arguments of a sketch aggregate. Where it is `unfinished`, counts are left as the sketches that they are read from.
    pub(super) fn sketch_aggregate(
        &self,
        def: &AggregateDef,
        args: Vec<Typed>,
        whole: &ast::Expr,
        inline: bool,
        unfinished: bool,
    ) -> Result<Bound, SqlError> {
        let call = Call {
            binder: self,
            def,
            whole,
            args: &args,
        };
        let complex = |name: &str| SqlType::Complex(name.to_string());
        match def.name {
            "APPROX_COUNT_DISTINCT" | "APPROX_COUNT_DISTINCT_BUILTIN" => {
                call.arity(1, 1)?;
                if unfinished {
                    return self.unique_collector(call.args, whole, inline);
                }
                let value = call.value(Kind::UniqueCount)?;
                // Empty strings are counted only among rows that the statement itself holds.
                Ok((udaf(Kind::UniqueCount), vec![value, lit(inline)], SqlType::BigInt))
            }
            "APPROX_COUNT_DISTINCT_DS_HLL" | "APPROX_COUNT_DISTINCT_DS_HLL_UTF8" | "DS_HLL" => {
                call.arity(1, 3)?;
                let utf8 = def.name.ends_with("UTF8");
                let of_texts = call.args[0].ty.is_text() || call.args[0].ty == SqlType::Null;
                if utf8 && !of_texts && !matches!(call.args[0].ty, SqlType::Complex(_) | SqlType::Other) {
                    return Err(call.signature());
                }
                call.shape(1, &[Shape::Number, Shape::Text])?;
                let lg_k = call.long_named(1, i64::from(hll::DEFAULT_LG_K), "logK")?;
                let registers = call.text(2, RegisterType::Hll4.name())?;
                if RegisterType::from_name(&registers).is_none() {
                    return Err(unknown_constant("org.apache.datasketches.hll.TgtHllType", &registers)
                        .hint(Some("register types are HLL_4, HLL_6 and HLL_8".into())));
                }
                call.check_lg_k(lg_k)?;
                let (kind, ty) = match def.name {
                    "DS_HLL" => (Kind::HllSketch, complex(hll::NAME)),
                    _ if unfinished => (Kind::HllSketch, complex(hll::NAME)),
                    _ => (Kind::HllCount, SqlType::BigInt),
                };
                let value = call.value(kind)?;
                Ok((udaf(kind), vec![value, lit(lg_k), lit(registers), lit(utf8)], ty))
            }
            "APPROX_COUNT_DISTINCT_DS_THETA" | "DS_THETA" => {
                call.arity(1, 2)?;
                call.shape(1, &[Shape::Number])?;
                let size = call.power_of_two(1, theta::DEFAULT_SIZE, "size")?;
                let (kind, ty) = match def.name {
                    "DS_THETA" => (Kind::ThetaSketch, complex(theta::NAME)),
                    _ if unfinished => (Kind::ThetaSketch, complex(theta::NAME)),
                    _ => (Kind::ThetaCount, SqlType::BigInt),
                };
                let value = call.value(kind)?;
                Ok((udaf(kind), vec![value, lit(size)], ty))
            }
            "DS_TUPLE_DOUBLES" => self.tuple_aggregate(&call),
            "DS_QUANTILES_SKETCH" => {
                call.arity(1, 2)?;
                call.shape(1, &[Shape::Number])?;
                let k = call.quantiles_k(1)?;
                let value = call.number(Kind::QuantilesSketch)?;
                Ok((
                    udaf(Kind::QuantilesSketch),
                    vec![value, lit(k)],
                    complex(quantiles::NAME),
                ))
            }
            "APPROX_QUANTILE_DS" => {
                call.arity(2, 3)?;
                call.shape(2, &[Shape::Number, Shape::Number])?;
                let k = call.quantiles_k(2)?;
                let value = call.number(Kind::QuantileDs)?;
                let probability = call.probability()?;
                Ok((
                    udaf(Kind::QuantileDs),
                    vec![value, lit(probability), lit(k)],
                    SqlType::Double,
                ))
            }
            "APPROX_QUANTILE" => {
                call.arity(2, 3)?;
                call.shape(2, &[Shape::Number, Shape::Number])?;
                let size = call.long_named(2, approximate_histogram::DEFAULT_SIZE as i64, "resolution")?;
                if size < 1 {
                    return Err(SqlError::general(
                        Persona::Admin,
                        Category::Uncategorized,
                        "resolution must be greater than 1",
                    ));
                }
                let value = call.number(Kind::Quantile)?;
                let probability = call.probability()?;
                call.within("resolution", size, limits::HISTOGRAM_MAX_BUCKETS)?;
                Ok((
                    udaf(Kind::Quantile),
                    vec![value, lit(probability), lit(size)],
                    SqlType::Double,
                ))
            }
            "APPROX_QUANTILE_FIXED_BUCKETS" => {
                call.arity(5, 6)?;
                call.shape(
                    5,
                    &[Shape::Number, Shape::Number, Shape::Number, Shape::Number, Shape::Text],
                )?;
                let buckets = call.long(2, 0)?;
                if buckets >= 1 {
                    call.within("numBuckets", buckets, limits::HISTOGRAM_MAX_BUCKETS)?;
                }
                let (lower, upper) = (call.double(3)?, call.double(4)?);
                if buckets < 1 {
                    return Err(thrown(format!("numBuckets must be > 0, got [{buckets}] instead.")));
                }
                if lower >= upper {
                    return Err(thrown(format!(
                        "Upper limit [{upper:?}] must be greater than lower limit [{lower:?}]."
                    )));
                }
                let outliers = call.text(5, "ignore")?;
                if Outliers::from_name(&outliers).is_none() {
                    return Err(unknown_constant(
                        "org.apache.druid.query.aggregation.histogram.FixedBucketsHistogram.OutlierHandlingMode",
                        &outliers.to_uppercase(),
                    )
                    .hint(Some("outlier handling modes are ignore, overflow and clip".into())));
                }
                let value = call.number(Kind::QuantileFixedBuckets)?;
                let settings = [
                    lit(call.probability()?),
                    lit(buckets),
                    lit(lower),
                    lit(upper),
                    lit(outliers),
                ];
                let args = std::iter::once(value).chain(settings).collect();
                Ok((udaf(Kind::QuantileFixedBuckets), args, SqlType::Double))
            }
            _ => {
                call.arity(2, 2)?;
                call.shape(2, &[Shape::Number])?;
                let entries = call.long(1, 0)?;
                if entries < 1 {
                    return Err(thrown("expectedEntries should be > 0".into()));
                }
                call.within("maxNumEntries", entries, limits::BLOOM_MAX_WORDS)?;
                let value = call.value(Kind::BloomFilter)?;
                Ok((udaf(Kind::BloomFilter), vec![value, lit(entries)], complex("bloom")))
            }
        }
    }

    /// Binds keys and numbers, or one column of sketches; a number at the end is the nominal entries.
    fn tuple_aggregate(&self, call: &Call<'_>) -> Result<Bound, SqlError> {
        call.arity(1, usize::from(u8::MAX))?;
        let last = call.args.len() - 1;
        let sized = last > 0 && call.args[last].ty.is_numeric() && call.literal(last).is_some();
        let entries = match sized {
            true => call.long(last, 0)?,
            false => tuple::DEFAULT_ENTRIES as i64,
        };
        is_power_of_two(entries, "nominalEntries")?;
        let columns = &call.args[..if sized { last } else { last + 1 }];
        let mut exprs = Vec::with_capacity(columns.len() + 1);
        if let [sketch] = columns {
            if sketch.ty == SqlType::Null {
                let none = ScalarValue::Binary(None);
                return Ok((
                    udaf(Kind::TupleSketch),
                    vec![Expr::Literal(none, None), lit(entries)],
                    SqlType::Complex(tuple::NAME.into()),
                ));
            }
            if sketch.ty != SqlType::Complex(tuple::NAME.into()) {
                return Err(super::sketch_calls::no_cast(
                    &sketch.ty,
                    super::sketch_calls::TUPLE_SKETCH,
                ));
            }
            exprs.push(sketch.expr.clone());
        } else {
            let key = match &columns[0].ty {
                SqlType::MultiVarchar => columns[0].clone(),
                _ => self.cast(columns[0].clone(), &SqlType::Varchar)?,
            };
            exprs.push(key.expr);
            for metric in &columns[1..] {
                exprs.push(
                    self.cast(metric.clone(), &SqlType::Double)
                        .map_err(|_| call.signature())?
                        .expr,
                );
            }
        }
        nominal_entries(entries)?;
        exprs.push(lit(entries));
        Ok((udaf(Kind::TupleSketch), exprs, SqlType::Complex(tuple::NAME.into())))
    }

    /// Binds a count of distinct values as the collector that a rollup stores.
    pub(super) fn unique_collector(&self, args: &[Typed], whole: &ast::Expr, inline: bool) -> Result<Bound, SqlError> {
        let def = &AGGREGATES[0];
        let call = Call {
            binder: self,
            def,
            whole,
            args,
        };
        let value = call.value(Kind::UniqueCollector)?;
        let ty = SqlType::Complex(hyper_unique::NAME.into());
        Ok((udaf(Kind::UniqueCollector), vec![value, lit(inline)], ty))
    }

    /// Tells whether a rollup stores a collector for `COUNT(DISTINCT …)` (`useApproximateCountDistinct`, true unless set).
    pub(super) fn collects_distinct(&self) -> Result<bool, SqlError> {
        Ok(self.context.boolean("useApproximateCountDistinct")?.unwrap_or(true))
    }

    /// Binds `VAR_POP` and its kin over a column of stored variances; `None` over anything else.
    pub(super) fn variance_aggregate(&self, name: &str, args: &[Typed], unfinished: bool) -> Option<Bound> {
        let population = matches!(name, "VAR_POP" | "STDDEV_POP");
        let root = name.starts_with("STDDEV");
        match args {
            [
                Typed {
                    expr,
                    ty: SqlType::Complex(kind),
                },
            ] if ComplexType::from_name(kind) == Some(ComplexType::Variance) && unfinished && !root => {
                Some(variance_collector(name, expr.clone()))
            }
            [
                Typed {
                    expr,
                    ty: SqlType::Complex(kind),
                },
            ] if ComplexType::from_name(kind) == Some(ComplexType::Variance) => Some((
                udaf(Kind::Variance),
                vec![expr.clone(), lit(population), lit(root)],
                SqlType::Double,
            )),
            _ => None,
        }
    }
}

/// Binds `VAR_POP` or `VAR_SAMP` as the collector that a rollup stores.
pub(super) fn variance_collector(name: &str, value: Expr) -> Bound {
    let population = name == "VAR_POP";
    (
        udaf(Kind::VarianceCollector),
        vec![value, lit(population), lit(false)],
        SqlType::Complex(variance::NAME.into()),
    )
}

/// A call whose arguments are being judged.
struct Call<'a> {
    binder: &'a Binder<'a>,
    def: &'a AggregateDef,
    whole: &'a ast::Expr,
    args: &'a [Typed],
}

impl Call<'_> {
    fn refused(&self, message: String) -> SqlError {
        SqlError::invalid_at(message, self.binder.place(self.whole))
    }

    fn signature(&self) -> SqlError {
        let name = self.def.name;
        let forms = match self.is_by_type() {
            true => format!("'{name}(<STRING>)'"),
            false => self.def.signatures.to_string(),
        };
        let types: Vec<String> = self
            .args
            .iter()
            .map(|arg| match (&arg.ty, self.is_by_type() || name.ends_with("UTF8")) {
                (SqlType::Null, true) => "<VARCHAR(1024)>".to_string(),
                _ => format!("<{}>", arg.in_message()),
            })
            .collect();
        self.refused(format!(
            "Cannot apply '{name}' to arguments of type '{name}({})'. Supported form(s): {forms}",
            types.join(", "),
        ))
    }

    fn arity(&self, least: usize, most: usize) -> Result<(), SqlError> {
        if (least..=most).contains(&self.args.len()) {
            return Ok(());
        }
        Err(self.refused(format!(
            "Invalid number of arguments to function '{}'. Was expecting {least} arguments",
            self.def.name
        )))
    }

    /// Gives the first argument where a sketch of the right type or any plain value goes.
    fn value(&self, kind: Kind) -> Result<Expr, SqlError> {
        let arg = &self.args[0];
        match &arg.ty {
            SqlType::Complex(name) if ComplexType::from_name(name) == Some(kind.gathers()) => Ok(arg.expr.clone()),
            // COUNT(DISTINCT …) has words of its own.
            SqlType::Complex(_) if self.def.name.starts_with("APPROX_COUNT_DISTINCT") && !self.is_count() => {
                Err(self.signature())
            }
            SqlType::Complex(name) => Err(SqlError::unplannable(format!(
                "Using APPROX_COUNT_DISTINCT() or enabling approximation with COUNT(DISTINCT) is not supported for column \
                 type [COMPLEX<{name}>]. You can disable approximation by setting [useApproximateCountDistinct: false] in the query context."
            ))),
            SqlType::Array(_) => Err(self.no_arrays(kind)),
            // What HLL_SKETCH_UNION gives has no name of its own.
            SqlType::Other if matches!(kind, Kind::HllSketch | Kind::HllCount) => Ok(arg.expr.clone()),
            SqlType::Other => Err(self.signature()),
            SqlType::Null => Ok(Expr::Literal(ScalarValue::Utf8(None), None)),
            ty if ty.is_numeric() => Ok(cast_column(&arg.expr).unwrap_or(&arg.expr).clone()),
            _ => Ok(arg.expr.clone()),
        }
    }

    /// Makes the error of an array, which these do not gather.
    fn no_arrays(&self, kind: Kind) -> SqlError {
        let native = || self.args[0].ty.native();
        let unchecked = |message: String| {
            let class = "org.apache.druid.error.DruidException";
            SqlError::legacy(
                Persona::Operator,
                Category::Uncategorized,
                "druidException",
                class,
                message,
            )
        };
        match kind {
            Kind::HllSketch => unchecked("ARRAY types are not supported for hll sketch".into()),
            Kind::ThetaSketch => unchecked(format!(
                "Unsupported input [v0] of type [{}] for aggregator [COMPLEX<thetaSketchBuild>].",
                native()
            )),
            Kind::BloomFilter => SqlError::runtime(
                "org.apache.druid.java.util.common.IAE",
                format!(
                    "Cannot create bloom filter aggregator for invalid column type [{}]",
                    native()
                ),
            ),
            _ => self.signature(),
        }
    }

    /// Checks the arguments behind the first one by one: literals of their types, where the first `required` arguments are not
    /// NULL. Two older aggregates are checked all at once.
    fn shape(&self, required: usize, shapes: &[Shape]) -> Result<(), SqlError> {
        if self.is_by_type() {
            return self.shape_by_type();
        }
        for (at, shape) in shapes.iter().enumerate().map(|(i, shape)| (i + 1, shape)) {
            let Some(arg) = self.args.get(at) else { break };
            let place = || match self.whole {
                ast::Expr::Function(function) => {
                    super::gathered::written(function, at).and_then(|expr| self.binder.place(expr))
                }
                _ => None,
            };
            let Some(value) = self.literal(at) else {
                return Err(SqlError::invalid_at(
                    format!("Argument to function '{}' must be a literal", self.def.name),
                    place(),
                ));
            };
            if value.is_null() {
                if at < required {
                    return Err(SqlError::invalid_at("Illegal use of 'NULL'", place()));
                }
                continue;
            }
            let fits = match shape {
                Shape::Number => arg.ty.is_numeric(),
                Shape::Text => arg.ty.is_text(),
            };
            if !fits {
                return Err(self.signature());
            }
        }
        Ok(())
    }

    /// Tells whether the statement says COUNT.
    fn is_count(&self) -> bool {
        matches!(self.whole, ast::Expr::Function(function) if super::call::upper_name(function) == "COUNT")
    }

    fn is_by_type(&self) -> bool {
        matches!(
            self.def.name,
            "APPROX_COUNT_DISTINCT_DS_HLL" | "APPROX_COUNT_DISTINCT_DS_THETA"
        )
    }

    /// Checks the arguments of the two that take a whole number of 32 bits, and a name or NULL.
    fn shape_by_type(&self) -> Result<(), SqlError> {
        let counted = match self.args.get(1).map(|_| self.literal(1)) {
            None => true,
            Some(Some(ScalarValue::Int64(Some(value)))) => (0..=i64::from(i32::MAX)).contains(value),
            Some(_) => false,
        };
        let named = match self.args.get(2) {
            None => true,
            Some(arg) => arg.ty.is_text() || arg.ty == SqlType::Null,
        };
        if !counted || !named {
            return Err(self.signature());
        }
        if self.args.len() > 2 && self.literal(2).is_none() {
            return Err(SqlError::unplannable(format!(
                "Aggregation [{}($0, $1, $2)] is not supported",
                self.def.name
            )));
        }
        Ok(())
    }

    /// Refuses what is no lgK of a sketch, as the library does that Druid uses where it fails at once.
    fn check_lg_k(&self, lg_k: i64) -> Result<(), SqlError> {
        let (least, most) = (i64::from(limits::HLL_MIN_LG_K), i64::from(limits::HLL_MAX_LG_K));
        let hint = Some(format!("lgK of {} must be between {least} and {most}", self.def.name));
        match lg_k {
            _ if (least..=most).contains(&lg_k) => Ok(()),
            0 => Err(SqlError::runtime("java.lang.NegativeArraySizeException", "-2147483604").hint(hint)),
            1..=26 => Err(self.refused(format!(
                "lgK of {} is {lg_k}, it must be between {least} and {most}",
                self.def.name
            ))),
            _ => Err(SqlError::runtime(
                "java.lang.ArrayIndexOutOfBoundsException",
                format!("Index {lg_k} out of bounds for length 27"),
            )
            .hint(hint)),
        }
    }

    /// Gives the first argument where a sketch of the right type or a number goes.
    fn number(&self, kind: Kind) -> Result<Expr, SqlError> {
        let arg = &self.args[0];
        match &arg.ty {
            SqlType::Complex(name) if ComplexType::from_name(name) == Some(kind.gathers()) => Ok(arg.expr.clone()),
            ty if ty.is_numeric() => Ok(Expr::Cast(Cast::new(Box::new(arg.expr.clone()), DataType::Float64))),
            SqlType::Null | SqlType::Char(_) | SqlType::Varchar | SqlType::Boolean => {
                Ok(self.binder.cast(arg.clone(), &SqlType::Double)?.expr)
            }
            SqlType::MultiVarchar => Ok(self.binder.only_number(arg.clone())?.expr),
            ty if ty.is_time() => {
                let long = self.binder.cast(arg.clone(), &SqlType::BigInt)?;
                Ok(self.binder.cast(long, &SqlType::Double)?.expr)
            }
            _ => Err(self.signature()),
        }
    }

    fn literal(&self, at: usize) -> Option<&ScalarValue> {
        match &self.args.get(at)?.expr {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        }
    }

    /// Reads a whole number of 32 bits, the default where there is no argument; fractions are cut.
    fn long(&self, at: usize, default: i64) -> Result<i64, SqlError> {
        if at >= self.args.len() {
            return Ok(default);
        }
        match self.literal(at) {
            Some(ScalarValue::Int64(Some(value))) => Ok(i64::from(*value as i32)),
            Some(ScalarValue::Float64(Some(value))) => Ok(i64::from(*value as i64 as i32)),
            _ => Err(self.signature()),
        }
    }

    /// Reads a whole number whose name Druid gives where it is NULL.
    fn long_named(&self, at: usize, default: i64, name: &str) -> Result<i64, SqlError> {
        if self.literal(at).is_some_and(ScalarValue::is_null) {
            return Err(SqlError::invalid(format!(
                "{} parameter `{name}` must be a numeric literal, got NULL",
                self.def.name
            )));
        }
        self.long(at, default)
    }

    fn double(&self, at: usize) -> Result<f64, SqlError> {
        match self.literal(at) {
            Some(ScalarValue::Int64(Some(value))) => Ok(*value as f64),
            Some(ScalarValue::Float64(Some(value))) => Ok(*value),
            _ => Err(self.signature()),
        }
    }

    fn text(&self, at: usize, default: &str) -> Result<String, SqlError> {
        match self.literal(at) {
            None => Ok(default.to_string()),
            Some(value) if value.is_null() && self.def.name != "APPROX_QUANTILE_FIXED_BUCKETS" => {
                Ok(default.to_string())
            }
            Some(value) if value.is_null() => Err(SqlError::general(
                Persona::Admin,
                Category::Uncategorized,
                "Cannot invoke \"String.toUpperCase(java.util.Locale)\" because \"s\" is null",
            )
            .hint(Some("outlier handling modes are ignore, overflow and clip".into()))),
            Some(_) => literal::as_text(&self.args[at].expr)
                .map(str::to_string)
                .ok_or_else(|| self.signature()),
        }
    }

    fn power_of_two(&self, at: usize, default: usize, what: &str) -> Result<i64, SqlError> {
        let size = self.long_named(at, default as i64, what)?;
        is_power_of_two(size, what)?;
        nominal_entries(size)
    }

    fn quantiles_k(&self, at: usize) -> Result<i64, SqlError> {
        let is_null = self.literal(at).is_some_and(ScalarValue::is_null);
        if is_null && self.def.name == "DS_QUANTILES_SKETCH" {
            return Err(SqlError::general(
                Persona::Admin,
                Category::Uncategorized,
                "Cannot invoke \"java.lang.Number.intValue()\" because the return value of \
                 \"org.apache.calcite.rex.RexLiteral.value(org.apache.calcite.rex.RexNode)\" is null",
            )
            .hint(Some("k of DS_QUANTILES_SKETCH is a power of two".into())));
        }
        let k = self.long_named(at, i64::from(quantiles::DEFAULT_K), "k")?;
        let (least, most) = (i64::from(limits::QUANTILES_MIN_K), i64::from(limits::QUANTILES_MAX_K));
        is_power_of_two(k, "k")?;
        if (least..=most).contains(&k) {
            return Ok(k);
        }
        Err(thrown(format!(
            "K must be >= {least} and <= {most} and a power of 2: {k}"
        )))
    }

    fn probability(&self) -> Result<f64, SqlError> {
        let probability = self.double(1)?;
        if (0.0..=1.0).contains(&probability) {
            return Ok(probability);
        }
        if self.def.name == "APPROX_QUANTILE_DS" {
            // Druid reads the probability as a float.
            return Err(thrown(format!(
                "A normalized rank must be >= 0 and <= 1.0: {}",
                henge_number::f64_text(f64::from(probability as f32))
            )));
        }
        Err(SqlError::general(
            Persona::Admin,
            Category::Uncategorized,
            format!(
                "Illegal probability[{}], must be strictly between 0 and 1",
                henge_number::f32_text(probability as f32)
            ),
        ))
    }

    fn within(&self, what: &str, value: i64, most: usize) -> Result<(), SqlError> {
        if (1..=most as i64).contains(&value) {
            return Ok(());
        }
        Err(self.refused(format!(
            "{what} of {} is {value}, it must be between 1 and {most}",
            self.def.name
        )))
    }
}

/// What an argument of settings is.
enum Shape {
    Number,
    Text,
}

/// Gives the column that a cast is of: Druid gathers the column itself.
fn cast_column(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::Column(_) => Some(expr),
        Expr::Cast(cast) => cast_column(&cast.expr),
        Expr::TryCast(cast) => cast_column(&cast.expr),
        Expr::ScalarFunction(call) if call.func.name().starts_with("cast_") => call.args.first().and_then(cast_column),
        _ => None,
    }
}

/// Refuses what is no size of a theta or tuple sketch.
pub(super) fn nominal_entries(size: i64) -> Result<i64, SqlError> {
    let (least, most) = (1_i64 << limits::THETA_MIN_LG_K, 1_i64 << limits::THETA_MAX_LG_K);
    if (least..=most).contains(&size) {
        return Ok(size);
    }
    Err(thrown(format!(
        "Nominal Entries must be >= {least} and <= {most}: {size}"
    )))
}

/// Makes the error of an argument that Druid's processes refuse while they run.
fn thrown(message: String) -> SqlError {
    SqlError::runtime("java.lang.IllegalArgumentException", message)
}

/// Makes the error of a name that is no constant of a Java enumeration.
fn unknown_constant(class: &str, name: &str) -> SqlError {
    SqlError::general(
        Persona::Admin,
        Category::Uncategorized,
        format!("No enum constant {class}.{name}"),
    )
}

fn is_power_of_two(value: i64, what: &str) -> Result<(), SqlError> {
    if value > 0 && value.count_ones() == 1 {
        return Ok(());
    }
    Err(SqlError::general(
        Persona::Admin,
        Category::Uncategorized,
        format!(
            "The value of the int argument \"{what}\" must be a positive integer-power of 2 and greater than 0: {value}"
        ),
    ))
}
