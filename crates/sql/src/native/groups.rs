//! What makes groups: GROUP BY and DISTINCT as `groupBy`, `timeseries` or `topN`.

use std::collections::HashSet;

use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable, GroupingSet};
use serde_json::{Map, Value, json};

use super::expression::{self, native_type};
use super::source::Source;
use super::{Asked, Input, Layers, Virtual, Words, filter, native_type_of, plain, simplify};
use crate::EngineKind;

/// Most rows of a topN (`maxTopNLimit`).
const TOP_N_ROWS_MAX: usize = 100_000;

/// The native query that makes groups.
#[derive(Debug)]
enum Kind {
    Timeseries { granularity: Value, descending: bool },
    TopN { metric: Value },
    GroupBy,
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Timeseries { .. } => "timeseries",
            Kind::TopN { .. } => "topN",
            Kind::GroupBy => "groupBy",
        }
    }
}

/// What is grouped: GROUP BY with its aggregates, or DISTINCT.
struct Grouping {
    keys: Vec<(Expr, String)>,
    aggregates: Vec<(Expr, expression::AggregateTypes)>,
    /// Columns of the keys, then of the aggregates, as items name them.
    outputs: Vec<datafusion::common::Column>,
    /// What is made of them.
    items: Vec<Expr>,
    /// Of GROUPING SETS: the places of the keys of each set.
    sets: Option<Vec<Vec<usize>>>,
}

impl Grouping {
    /// Aggregates that make nothing that is read are left out.
    fn of(layers: &Layers, read: &[bool]) -> Option<Self> {
        let Some(aggregate) = layers.aggregate else {
            // All columns are keys.
            let schema = layers.schema?;
            let outputs = schema.columns();
            let exprs: Vec<Expr> = match layers.whole {
                Some(_) => outputs.iter().cloned().map(Expr::Column).collect(),
                None => layers.items.iter().map(|(expr, _)| (*expr).clone()).collect(),
            };
            let types = (0..outputs.len()).map(|i| native_type_of(schema, i));
            return Some(Self {
                keys: exprs.into_iter().zip(types).collect(),
                aggregates: Vec::new(),
                items: outputs.iter().cloned().map(Expr::Column).collect(),
                outputs,
                sets: None,
            });
        };
        let keys: Vec<&Expr> = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(sets)] => sets.distinct_expr(),
            keys => keys.iter().collect(),
        };
        let sets = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => {
                let place = |expr: &Expr| keys.iter().position(|key| *key == expr);
                let places = sets
                    .iter()
                    .map(|set| set.iter().map(place).collect::<Option<Vec<usize>>>());
                Some(places.collect::<Option<Vec<_>>>()?)
            }
            [Expr::GroupingSet(_)] => return None,
            _ => None,
        };
        let groups = keys.len();
        let mut columns = aggregate.schema.columns();
        if sets.is_some() {
            // The id of the set.
            columns.remove(groups);
        }
        let place = |i: usize| i + usize::from(sets.is_some() && i >= groups);
        // Items behind those that are asked for are sorted by.
        let items = layers.items.iter().enumerate();
        let items = items.filter(|(i, _)| read.get(*i).is_none_or(|read| *read));
        let items = items.map(|(_, (expr, _))| *expr).chain(layers.having);
        let used: HashSet<_> = items.flat_map(Expr::column_refs).collect();
        let is_used = |i: &usize| used.contains(&columns[*i]);
        let aggregates = aggregate.aggr_expr.iter().map(plain).enumerate();
        let aggregates = aggregates.filter(|(i, _)| is_used(&(groups + i)));
        Some(Self {
            keys: keys
                .iter()
                .enumerate()
                .map(|(i, expr)| ((*expr).clone(), native_type_of(&aggregate.schema, i)))
                .collect(),
            aggregates: aggregates
                .map(|(i, expr)| {
                    let types = expression::AggregateTypes {
                        argument: argument_type(expr, aggregate.input.schema()),
                        uncast: uncast_type(expr, aggregate.input.schema()),
                        output: native_type_of(&aggregate.schema, place(groups + i)),
                    };
                    (expr.clone(), types)
                })
                .collect(),
            outputs: (0..columns.len())
                .filter(|i| *i < groups || is_used(i))
                .map(|i| columns[i].clone())
                .collect(),
            items: layers.items.iter().map(|(expr, _)| (*expr).clone()).collect(),
            sets,
        })
    }
}

impl Input<'_> {
    /// Words a query that makes groups.
    pub(super) fn group_by(
        &self,
        mut query: Map<String, Value>,
        layers: &Layers,
        asked: Asked,
        condition: Option<Value>,
        mut virtuals: Virtual,
    ) -> Option<Words> {
        let grouping = Grouping::of(layers, asked.read)?;
        let groups = grouping.keys.len();
        let source = asked.source;
        let (d, a, p) = (source.prefix("d"), source.prefix("a"), source.prefix("p"));
        let mut dimensions = Vec::new();
        for (i, (expr, ty)) in grouping.keys.iter().enumerate() {
            let dimension = virtuals.column(&source.rewrite(expr), ty)?;
            dimensions.push(
                json!({"type": "default", "dimension": dimension, "outputName": format!("{d}{i}"), "outputType": ty}),
            );
        }
        let mut aggregations = Vec::new();
        let mut post = Vec::new();
        // Where the aggregators of each aggregate begin.
        let mut places = Vec::new();
        for (i, (expr, types)) in grouping.aggregates.iter().enumerate() {
            let name = format!("{a}{i}");
            let worded =
                expression::aggregation(&source.rewrite(expr), &name, types, &mut |e, ty| virtuals.column(e, ty))?;
            places.push(aggregations.len());
            aggregations.extend(worded.aggregators);
            post.extend(worded.post);
        }
        let outputs = &grouping.outputs;
        for (expr, _) in &layers.items {
            // Text is cut by the aggregator itself.
            if let Some((column, bytes)) = cut_text(plain(expr))
                && let Some(i) = outputs.iter().position(|output| output == column)
                && let Some(place) = i.checked_sub(groups).and_then(|i| places.get(i))
                && let Some(aggregation) = aggregations.get_mut(*place)
                && aggregation.get("maxStringBytes").is_some()
            {
                aggregation["maxStringBytes"] = json!(bytes);
            }
        }
        let native_name = |expr: &Expr| -> Option<String> {
            let column = match plain(expr) {
                Expr::Column(column) => column,
                Expr::Cast(cast) => match cast.expr.as_ref() {
                    Expr::Column(column) if column.name.starts_with("grouping(") => column,
                    _ => return None,
                },
                other => cut_text(other)?.0,
            };
            let i = outputs.iter().position(|output| output == column)?;
            Some(if i < groups {
                format!("{d}{i}")
            } else {
                format!("{a}{}", i - groups)
            })
        };
        let mut names = Vec::new();
        let mut types = Vec::new();
        let mut made = 0;
        for ((expr, (_, ty)), is_read) in grouping.items.iter().zip(asked.fields).zip(asked.read) {
            if !is_read {
                names.push(String::new());
                types.push(String::new());
                continue;
            }
            match native_name(expr) {
                Some(name) => names.push(name),
                None => {
                    let name = format!("{p}{made}");
                    made += 1;
                    let text = expression::worded_with(plain(expr), &native_name)?;
                    post.push(json!({"type": "expression", "name": name, "expression": text, "outputType": ty}));
                    names.push(name);
                }
            }
            types.push(ty.clone());
        }
        let having = match layers.having {
            Some(having) => Some(simplify::filter_only(filter::json(having, &mut |expr, _| {
                native_name(expr)
            })?)),
            None => None,
        };
        let mut keys = Vec::new();
        let sorted = asked.top || layers.fetch.is_some();
        for sort in layers.sort.iter().filter(|_| sorted) {
            let Expr::Column(column) = &sort.expr else { return None };
            let i = asked.fields.iter().position(|(name, _)| *name == column.name)?;
            let name = names.get(i)?.clone();
            let numeric = types[i] != "STRING";
            keys.push((name, sort.asc, numeric));
        }
        if let Some(ingest) = self.statement.ingest().filter(|_| asked.top && keys.is_empty()) {
            for key in &ingest.clustered_by {
                let at = layers.items.iter().position(|(_, name)| name == key)?;
                let stored = asked.fields.iter().position(|(name, _)| name == key);
                let (name, numeric) = match stored {
                    Some(stored) => (names.get(stored)?.clone(), types[stored] != "STRING"),
                    None => {
                        let expr = grouping.items.get(at)?;
                        (native_name(expr)?, native_type(expr) != "STRING")
                    }
                };
                keys.push((name, true, numeric));
            }
        }
        let mut out = Map::new();
        let reads_query = source.json.get("type") == Some(&json!("query"));
        let kind = match reads_query && layers.fetch != Some(0) {
            // Groups of what a query gives are made by the query that makes groups best.
            true => Kind::GroupBy,
            _ => self.kind(layers, &grouping, source, &keys, having.is_some(), &d),
        };
        if let Kind::Timeseries { granularity, .. } = &kind
            && groups == 1
            && *granularity != json!({"type": "all"})
            && let Some(dimension) = dimensions.first().and_then(|dimension| dimension.get("dimension"))
        {
            // The granularity does the work of the virtual column, which nobody else may need.
            let shown = json!([condition, aggregations, post]).to_string();
            let is_read = dimension
                .as_str()
                .is_some_and(|name| shown.contains(&format!("\"{name}\"")));
            virtuals
                .columns
                .retain(|column| is_read || column.get("name") != Some(dimension));
        }
        out.insert("queryType".into(), json!(kind.name()));
        out.insert("dataSource".into(), query.remove("dataSource")?);
        if !virtuals.columns.is_empty() {
            out.insert("virtualColumns".into(), Value::Array(virtuals.columns));
        }
        if let Kind::TopN { metric } = &kind {
            out.insert("dimension".into(), dimensions.first().cloned()?);
            out.insert("metric".into(), metric.clone());
            out.insert("threshold".into(), json!(layers.fetch));
        }
        out.append(&mut query);
        if let Some(condition) = condition {
            out.insert("filter".into(), condition);
        }
        let granularity = match &kind {
            Kind::Timeseries {
                granularity,
                descending,
            } => {
                if *descending {
                    out.insert("descending".into(), json!(true));
                }
                if let Some(fetch) = layers.fetch.filter(|_| groups > 0) {
                    out.insert("limit".into(), json!(fetch));
                }
                granularity.clone()
            }
            _ => json!({"type": "all"}),
        };
        out.insert("granularity".into(), granularity);
        let is_group_by = matches!(kind, Kind::GroupBy);
        if is_group_by {
            out.insert("dimensions".into(), Value::Array(dimensions));
        }
        if !aggregations.is_empty() {
            out.insert("aggregations".into(), Value::Array(aggregations));
        }
        if !post.is_empty() {
            out.insert("postAggregations".into(), Value::Array(post));
        }
        if let Some(having) = having {
            out.insert(
                "having".into(),
                json!({"type": "filter", "filter": having, "finalize": true}),
            );
        }
        if is_group_by {
            out.insert("limitSpec".into(), limit_spec(&keys, layers.skip, layers.fetch));
            if let Some(sets) = &grouping.sets {
                let named = sets
                    .iter()
                    .map(|set| set.iter().map(|i| format!("{d}{i}")).collect::<Vec<_>>());
                out.insert("subtotalsSpec".into(), json!(named.collect::<Vec<_>>()));
            }
        }
        let mut context = self.query_context();
        let added = match kind {
            Kind::GroupBy => time_result(layers, &grouping, &d, source, &keys).unwrap_or_default(),
            Kind::Timeseries { .. } if groups > 0 => {
                let mut members = Map::new();
                members.insert("timestampResultField".into(), json!(format!("{d}0")));
                if self.context.get("skipEmptyBuckets").is_none() {
                    members.insert("skipEmptyBuckets".into(), json!(true));
                }
                members
            }
            _ => Map::new(),
        };
        if let Value::Object(context) = &mut context {
            context.extend(added);
            context.sort_keys();
        }
        out.insert("context".into(), context);
        Some(Words {
            query: out,
            names,
            types,
        })
    }

    /// Chooses the native query that makes groups (`DruidQuery.computeQuery`): over time, the first of one dimension, or all.
    fn kind(
        &self,
        layers: &Layers,
        grouping: &Grouping,
        source: &Source,
        keys: &[(String, bool, bool)],
        has_having: bool,
        prefix: &str,
    ) -> Kind {
        let flag = |key: &str, default: bool| self.context.boolean(key).ok().flatten().unwrap_or(default);
        if self.engine != EngineKind::Native || has_having || layers.skip > 0 || grouping.sets.is_some() {
            return Kind::GroupBy;
        }
        let dimension = match grouping.keys.as_slice() {
            [] => {
                return Kind::Timeseries {
                    granularity: json!({"type": "all"}),
                    descending: false,
                };
            }
            [dimension] => dimension,
            _ => return Kind::GroupBy,
        };
        let name = format!("{prefix}0");
        let time_order = match keys {
            [] => Some(false),
            [(key, ascending, _)] if *key == name => Some(!ascending),
            _ => None,
        };
        let is_table = source.json.get("type") == Some(&json!("table"));
        if let (Some(granularity), Some(descending), true) = (
            expression::time_granularity(&source.rewrite(&dimension.0)),
            time_order,
            is_table && layers.fetch != Some(0) && flag("sqlUseGranularity", true),
        ) {
            return Kind::Timeseries {
                granularity,
                descending,
            };
        }
        let is_primitive = matches!(dimension.1.as_str(), "STRING" | "LONG" | "DOUBLE" | "FLOAT");
        if keys.len() > 1 || !is_primitive || !layers.fetch.is_some_and(|n| (1..=TOP_N_ROWS_MAX).contains(&n)) {
            return Kind::GroupBy;
        }
        let ordering = if dimension.1 == "STRING" {
            "lexicographic"
        } else {
            "numeric"
        };
        let by_dimension = json!({"type": "dimension", "ordering": {"type": ordering}});
        let inverted = |metric: Value| json!({"type": "inverted", "metric": metric});
        let metric = match keys {
            [(key, ascending, _)] if *key != name => {
                if !flag("useApproximateTopN", true) {
                    return Kind::GroupBy;
                }
                let metric = json!({"type": "numeric", "metric": key});
                if *ascending { inverted(metric) } else { metric }
            }
            _ if !flag("useLexicographicTopN", false) => return Kind::GroupBy,
            [(_, false, _)] => inverted(by_dimension),
            _ => by_dimension,
        };
        Kind::TopN { metric }
    }
}

/// Says which dimension is `__time` cut to a granularity, where exactly one is and no LIMIT is pushed down.
fn time_result(
    layers: &Layers,
    grouping: &Grouping,
    prefix: &str,
    source: &Source,
    keys: &[(String, bool, bool)],
) -> Option<Map<String, Value>> {
    let pushed_down = layers.fetch.is_some() && keys.iter().all(|(name, ..)| name.starts_with(prefix));
    if pushed_down || source.json.get("type") != Some(&json!("table")) {
        return None;
    }
    let found = grouping
        .keys
        .iter()
        .map(|(expr, _)| expression::time_granularity(&source.rewrite(expr)));
    let mut found = found.enumerate().filter_map(|(i, found)| Some((i, found?)));
    let (index, granularity) = found.next()?;
    if found.next().is_some() {
        return None;
    }
    let mut members = Map::new();
    members.insert("timestampResultField".into(), json!(format!("{prefix}{index}")));
    members.insert("timestampResultFieldGranularity".into(), json!(granularity.to_string()));
    members.insert("timestampResultFieldInOriginalDimensions".into(), json!(index));
    Some(members)
}

/// Takes the cut of text at a number of bytes apart: the column, the bytes.
fn cut_text(expr: &Expr) -> Option<(&datafusion::common::Column, i64)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    match (call.func.name(), call.args.as_slice()) {
        (
            "cut_bytes",
            [
                Expr::Column(column),
                Expr::Literal(datafusion::common::ScalarValue::Int64(Some(bytes)), _),
            ],
        ) => Some((column, *bytes)),
        _ => None,
    }
}

/// Gives the native type of an aggregate's first argument.
pub(super) fn argument_type(aggregate: &Expr, schema: &DFSchema) -> String {
    let argument = match aggregate {
        Expr::AggregateFunction(call) => call.params.args.first(),
        _ => None,
    };
    let field = argument.and_then(|argument| argument.to_field(schema).ok());
    field.map_or_else(
        || "STRING".to_string(),
        |(_, field)| crate::SqlType::from_field(&field).native(),
    )
}

fn limit_spec(keys: &[(String, bool, bool)], skip: usize, fetch: Option<usize>) -> Value {
    if keys.is_empty() && fetch.is_none() && skip == 0 {
        return json!({"type": "NoopLimitSpec"});
    }
    let columns: Vec<Value> = keys
        .iter()
        .map(|(name, asc, numeric)| {
            json!({
                "dimension": name,
                "direction": if *asc { "ascending" } else { "descending" },
                "dimensionOrder": {"type": if *numeric { "numeric" } else { "lexicographic" }},
            })
        })
        .collect();
    let mut spec = Map::new();
    spec.insert("type".into(), json!("default"));
    spec.insert("columns".into(), Value::Array(columns));
    if skip > 0 {
        spec.insert("offset".into(), json!(skip));
    }
    if let Some(fetch) = fetch {
        spec.insert("limit".into(), json!(fetch));
    }
    Value::Object(spec)
}

/// Gives the native type of the column below the cast of an aggregate's first argument; empty where that is no cast of a column.
pub(super) fn uncast_type(aggregate: &Expr, schema: &DFSchema) -> String {
    let argument = match aggregate {
        Expr::AggregateFunction(call) => call.params.args.first(),
        _ => None,
    };
    let Some(Expr::Cast(cast)) = argument else {
        return String::new();
    };
    match cast.expr.as_ref() {
        column @ Expr::Column(_) => column.to_field(schema).map_or_else(
            |_| String::new(),
            |(_, field)| crate::SqlType::from_field(&field).native(),
        ),
        _ => String::new(),
    }
}
