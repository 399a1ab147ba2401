//! Recognises aggregations that can be computed on dictionary ids and plain columns.
//!
//! ```text
//!  Aggregate(Final) <- Aggregate(Partial) <- (Projection | Filter)* <- SegmentScan       keys: columns, virtual columns, floored times
//!  Aggregate(Final) <- Aggregate(Partial) <- Projection* <- [the above, without functions]      COUNT(DISTINCT x)
//! ```
//! Whatever does not fit is left alone.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::SortProperties;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::utils::conjunction_opt;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;

use super::dictionary::has_text_form;
use super::plan::{Accumulation, Aggregation, Argument, Arguments, Function, Key, Number, Output, substitute};
use crate::filter::{Filter, columns_of, is_time};
use crate::handle::is_text;
use crate::scan::SegmentScanExec;
use crate::virtual_column::VirtualColumn;

/// Functions that floor time; they need not declare that they keep its order.
const TIME_FLOORS: [&str; 3] = ["timestamp_floor", "time_floor", "date_trunc"];

/// An aggregation, the scan below it, and the scan's filter with the filters between the two.
pub(crate) struct Recognised<'a> {
    pub aggregation: Aggregation,
    pub scan: &'a SegmentScanExec,
    pub filter: Filter,
}

/// What lies between an aggregation and what it reads.
#[derive(Default)]
struct Chain {
    /// Top down: expressions, and the schema that they read.
    projections: Vec<(Vec<Arc<dyn PhysicalExpr>>, SchemaRef)>,
    /// Predicates, and how many projections lie above them.
    predicates: Vec<(usize, Arc<dyn PhysicalExpr>)>,
}

impl Chain {
    /// Walks down to the first node that is neither projection nor filter.
    fn walk<'a>(&mut self, mut plan: &'a Arc<dyn ExecutionPlan>) -> &'a Arc<dyn ExecutionPlan> {
        loop {
            if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
                let exprs = projection.expr().iter().map(|e| e.expr.clone()).collect();
                plan = projection.input();
                self.projections.push((exprs, plan.schema()));
            } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
                if filter.fetch().is_some() {
                    return plan;
                }
                plan = filter.input();
                if let Some(columns) = filter.projection() {
                    let schema = plan.schema();
                    let exprs = columns
                        .iter()
                        .map(|at| Arc::new(Column::new(schema.field(*at).name(), *at)) as Arc<dyn PhysicalExpr>)
                        .collect();
                    self.projections.push((exprs, schema));
                }
                self.predicates
                    .push((self.projections.len(), filter.predicate().clone()));
            } else {
                return plan;
            }
        }
    }

    /// Expresses something that is written over the schema below `depth` projections by what lies below all of them.
    fn resolve(&self, expr: &Arc<dyn PhysicalExpr>, depth: usize) -> Result<Arc<dyn PhysicalExpr>> {
        let mut expr = expr.clone();
        for (exprs, _) in &self.projections[depth..] {
            expr = substitute(&expr, &|column| exprs[column.index()].clone())?;
        }
        Ok(expr)
    }
}

/// Gives the first phase of an aggregation that is complete.
fn first_phase(top: &AggregateExec) -> Option<&AggregateExec> {
    match top.mode() {
        AggregateMode::Single | AggregateMode::SinglePartitioned => Some(top),
        AggregateMode::Final | AggregateMode::FinalPartitioned => {
            let below = top.input().downcast_ref::<AggregateExec>()?;
            (below.mode() == &AggregateMode::Partial).then_some(below)
        }
        _ => None,
    }
}

/// Recognises an aggregation.
pub(crate) fn recognise(top: &AggregateExec) -> Result<Option<Recognised<'_>>> {
    let Some(first) = first_phase(top) else {
        return Ok(None);
    };
    if !first.group_expr().is_single() {
        return Ok(None);
    }
    let mut chain = Chain::default();
    let below = chain.walk(first.input());
    if let Some(scan) = below.downcast_ref::<SegmentScanExec>() {
        return over_scan(first, chain, scan);
    }
    match below.downcast_ref::<AggregateExec>() {
        Some(inner) if chain.predicates.is_empty() => match recognise(inner)? {
            Some(inner_recognised) => over_groups(first, &chain, inner_recognised),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

fn over_scan<'a>(first: &AggregateExec, chain: Chain, scan: &'a SegmentScanExec) -> Result<Option<Recognised<'a>>> {
    if scan.fetch().is_some() || !scan.is_cached() || !scan.virtual_columns().is_empty() {
        return Ok(None);
    }
    let table = scan.table_schema();
    let to_table = |expr: &Arc<dyn PhysicalExpr>| {
        substitute(expr, &|column| {
            let at = scan.projection()[column.index()];
            Arc::new(Column::new(table.field(at).name(), at))
        })
    };
    let mut keys = Vec::new();
    for (expr, _) in first.group_expr().expr() {
        let resolved = to_table(&chain.resolve(expr, 0)?)?;
        match key(&resolved, table)? {
            Some(key) => keys.push(key),
            None => return Ok(None),
        }
    }
    let mut builder = Builder {
        chain: &chain,
        scan,
        schema: first.input().schema(),
        computed: Vec::new(),
        aggregation: Aggregation {
            keys,
            arguments: Arguments::compile(Vec::new(), &Schema::empty(), &[], &[], table)?,
            accumulations: Vec::new(),
            outputs: Vec::new(),
        },
    };
    for (function, filter) in first.aggr_expr().iter().zip(first.filter_expr()) {
        if !builder.add(function, filter.as_ref(), &to_table)? {
            return Ok(None);
        }
    }
    let Builder {
        computed,
        schema,
        mut aggregation,
        ..
    } = builder;
    aggregation.arguments = Arguments::compile(computed, &schema, &chain.projections, scan.projection(), table)?;
    let mut predicates = Vec::from_iter(scan.filter().cloned());
    for (depth, predicate) in &chain.predicates {
        predicates.push(to_table(&chain.resolve(predicate, *depth)?)?);
    }
    let filter = match predicates.len() > usize::from(scan.filter().is_some()) {
        true => Filter::compile(conjunction_opt(predicates).as_ref(), table)?,
        false => scan.compiled_filter().as_ref().clone(),
    };
    Ok(Some(Recognised {
        aggregation,
        scan,
        filter,
    }))
}

/// Collects the functions of an aggregation.
struct Builder<'a> {
    chain: &'a Chain,
    scan: &'a SegmentScanExec,
    /// What the functions read.
    schema: SchemaRef,
    computed: Vec<Arc<dyn PhysicalExpr>>,
    aggregation: Aggregation,
}

type ToTable<'a> = dyn Fn(&Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> + 'a;

impl Builder<'_> {
    /// Adds a function; false if it is not one of ours.
    fn add(
        &mut self,
        function: &AggregateFunctionExpr,
        filter: Option<&Arc<dyn PhysicalExpr>>,
        to_table: &ToTable<'_>,
    ) -> Result<bool> {
        let args = function.expressions();
        let [arg] = &args[..] else {
            return Ok(false);
        };
        if !function.order_bys().is_empty() || function.ignore_nulls() {
            return Ok(false);
        }
        let name = function.fun().name().to_ascii_lowercase();
        let filter = match filter {
            Some(filter) => Some(self.argument(filter, to_table)?),
            None => None,
        };
        let result = function.field().data_type().clone();
        let (function, argument, average) = if function.is_distinct() {
            // Filtered distinct counts would need the filter in the key.
            let key = key(&to_table(&self.chain.resolve(arg, 0)?)?, self.scan.table_schema())?;
            match key {
                Some(key) if name == "count" && filter.is_none() => (Function::Distinct(key), None, false),
                _ => return Ok(false),
            }
        } else {
            let arg_type = arg.data_type(&self.schema)?;
            let literal = arg.downcast_ref::<Literal>().is_some_and(|l| !l.value().is_null());
            let function = match (name.as_str(), Number::of(&arg_type)) {
                ("count", _) => Function::Count,
                ("sum", Some(number)) if result == arg_type && number.is_summed(&arg_type) => Function::Sum(number),
                ("avg", Some(Number::Double)) if result == DataType::Float64 && arg_type == result => {
                    Function::Sum(Number::Double)
                }
                ("min", Some(number)) if result == arg_type => Function::Min(number),
                ("max", Some(number)) if result == arg_type => Function::Max(number),
                _ => return Ok(false),
            };
            let argument = match (&function, literal) {
                (Function::Count, true) => None,
                _ => Some(self.argument(arg, to_table)?),
            };
            (function, argument, name == "avg")
        };
        let place = self.aggregation.accumulate(Accumulation {
            function,
            argument,
            filter,
        });
        self.aggregation.outputs.push(match average {
            true => Output::Average(place),
            false => Output::Value(place),
        });
        Ok(true)
    }

    fn argument(&mut self, expr: &Arc<dyn PhysicalExpr>, to_table: &ToTable<'_>) -> Result<Argument> {
        if let Some(column) = to_table(&self.chain.resolve(expr, 0)?)?.downcast_ref::<Column>() {
            return Ok(Argument::Column(column.index()));
        }
        let place = match self.computed.iter().position(|other| other == expr) {
            Some(place) => place,
            None => {
                self.computed.push(expr.clone());
                self.computed.len() - 1
            }
        };
        Ok(Argument::Computed(place))
    }
}

impl Number {
    fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Int64 => Some(Self::Long),
            DataType::Timestamp(TimeUnit::Millisecond, None) => Some(Self::Long),
            DataType::Float64 | DataType::Float32 => Some(Self::Double),
            _ => None,
        }
    }

    fn is_summed(self, data_type: &DataType) -> bool {
        matches!(data_type, DataType::Int64 | DataType::Float64)
    }
}

/// Recognises what can be a key.
fn key(expr: &Arc<dyn PhysicalExpr>, table: &SchemaRef) -> Result<Option<Key>> {
    let columns = columns_of(expr);
    let [column] = columns[..] else {
        return virtual_key(expr, table);
    };
    let field = table.field(column);
    if field.name() == henge_segment::TIME_COLUMN {
        return match time_key(expr, field)? {
            Some(key) => Ok(Some(key)),
            None => virtual_key(expr, table),
        };
    }
    if !expr.is::<Column>() {
        return virtual_key(expr, table);
    }
    Ok(if is_text(field) {
        Some(Key::Text { column })
    } else if matches!(field.data_type(), DataType::Int64) || is_time(field.data_type()) {
        let data_type = field.data_type().clone();
        Some(Key::Long { column, data_type })
    } else {
        None
    })
}

/// Recognises expressions over columns of strings.
fn virtual_key(expr: &Arc<dyn PhysicalExpr>, table: &SchemaRef) -> Result<Option<Key>> {
    let column = VirtualColumn::of(expr, table)?;
    let column = column.filter(|column| has_text_form(column.field().data_type()));
    Ok(column.map(|column| Key::Virtual {
        column: Arc::new(column),
    }))
}

fn time_key(expr: &Arc<dyn PhysicalExpr>, field: &Field) -> Result<Option<Key>> {
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let expr = substitute(expr, &|_| Arc::new(Column::new(field.name(), 0)))?;
    let data_type = expr.data_type(&schema)?;
    if !(data_type == DataType::Int64 || is_time(&data_type)) || !keeps_order(&expr, &schema)? {
        return Ok(None);
    }
    Ok(Some(Key::Time {
        expr,
        schema,
        data_type,
    }))
}

/// Tells whether an expression over `__time` never falls as time goes on.
fn keeps_order(expr: &Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Result<bool> {
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>()
        && TIME_FLOORS.contains(&call.fun().name().to_ascii_lowercase().as_str())
    {
        let mut varying = call.args().iter().filter(|arg| !arg.is::<Literal>());
        return match (varying.next(), varying.next()) {
            (Some(arg), None) => keeps_order(arg, schema),
            _ => Ok(false),
        };
    }
    let ascending = PhysicalSortExpr::new_default(Arc::new(Column::new(schema.field(0).name(), 0)));
    let order = EquivalenceProperties::new_with_orderings(schema.clone(), [[ascending]]);
    let properties = order.get_expr_properties(expr.clone());
    Ok(matches!(properties.sort_properties, SortProperties::Ordered(options) if !options.descending))
}

/// Recognises an aggregation over the groups of another one: what DataFusion makes of `COUNT(DISTINCT x)`.
fn over_groups<'a>(first: &AggregateExec, chain: &Chain, inner: Recognised<'a>) -> Result<Option<Recognised<'a>>> {
    let inner_keys = inner.aggregation.keys.len();
    let column = |expr: &Arc<dyn PhysicalExpr>| -> Result<Option<usize>> {
        Ok(chain.resolve(expr, 0)?.downcast_ref::<Column>().map(Column::index))
    };
    let mut grouped = Vec::new();
    for (expr, _) in first.group_expr().expr() {
        match column(expr)? {
            Some(at) if at < inner_keys => grouped.push(at),
            _ => return Ok(None),
        }
    }
    let mut aggregation = Aggregation {
        keys: grouped.iter().map(|at| inner.aggregation.keys[*at].clone()).collect(),
        arguments: inner.aggregation.arguments.clone(),
        accumulations: Vec::new(),
        outputs: Vec::new(),
    };
    for (function, filter) in first.aggr_expr().iter().zip(first.filter_expr()) {
        let args = function.expressions();
        let ([arg], None, false) = (&args[..], filter, function.is_distinct()) else {
            return Ok(None);
        };
        let Some(at) = column(arg)? else {
            return Ok(None);
        };
        let name = function.fun().name().to_ascii_lowercase();
        let accumulation = if at < inner_keys {
            // Each pair of group and value comes once only if there is no third key.
            let others = (0..inner_keys).all(|key| key == at || grouped.contains(&key));
            if name != "count" || grouped.contains(&at) || !others {
                return Ok(None);
            }
            Accumulation {
                function: Function::Distinct(inner.aggregation.keys[at].clone()),
                argument: None,
                filter: None,
            }
        } else {
            let Output::Value(place) = inner.aggregation.outputs[at - inner_keys] else {
                return Ok(None);
            };
            let accumulation = inner.aggregation.accumulations[place].clone();
            match (&accumulation.function, name.as_str()) {
                (Function::Sum(_), "sum") | (Function::Min(_), "min") | (Function::Max(_), "max") => accumulation,
                _ => return Ok(None),
            }
        };
        let place = aggregation.accumulate(accumulation);
        aggregation.outputs.push(Output::Value(place));
    }
    Ok(Some(Recognised { aggregation, ..inner }))
}
