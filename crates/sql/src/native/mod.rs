//! A plan as Druid's native query: what EXPLAIN shows and stage definitions carry.
//!
//! The bound plan is read from the top: limit, sort, projection, grouping, filter, source. What has a native wording is
//! `scan`, `groupBy`, and for the interactive engine `timeseries` and `topN`; other shapes are shown as the relational plan.

mod combining;
mod expression;
mod filter;
mod keys;
mod source;

use std::collections::{HashMap, HashSet};

use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, ExprSchemable, FetchType, LogicalPlan, SkipType};
use henge_time::Interval;
use serde_json::{Map, Value, json};

use crate::bind::TableSource;
use crate::explain::{granularity_json, replace_time_chunks};
use crate::{EngineKind, OutputColumn, QueryContext, Statement};
pub(crate) use combining::combining;
pub(crate) use expression::worded as expression_text;
use expression::{native_type, worded};
pub(crate) use keys::stored_keys;
use source::Source;

/// What is translated.
pub(crate) struct Input<'a> {
    /// The plan as bound.
    pub plan: &'a LogicalPlan,
    /// The plan as optimised: constants are folded there.
    pub optimised: &'a LogicalPlan,
    pub columns: &'a [OutputColumn],
    pub tables: &'a HashMap<String, TableSource>,
    pub statement: &'a Statement,
    pub context: &'a QueryContext,
    pub engine: EngineKind,
}

/// Translates a plan; shapes without a native wording are shown as the relational plan.
pub(crate) fn translate(input: &Input) -> Value {
    let found = match input.plan {
        LogicalPlan::Union(union) => union
            .inputs
            .iter()
            .map(|branch| input.query(unwrap_cast_projection(branch)))
            .collect::<Option<Vec<Value>>>()
            .map(Value::Array),
        plan => input
            .constants()
            .or_else(|| input.query(plan))
            .map(|query| json!([query])),
    };
    found.unwrap_or_else(|| Value::String(format!("{}", input.plan.display_indent())))
}

/// Steps over the projection that brings a branch of a UNION to the common types, where it changes nothing.
fn unwrap_cast_projection(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Projection(projection)
            if projection.expr.iter().all(|e| matches!(plain(e), Expr::Column(_)))
                && matches!(projection.input.as_ref(), LogicalPlan::Projection(_)) =>
        {
            &projection.input
        }
        other => other,
    }
}

fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => plain(&alias.expr),
        other => other,
    }
}

/// The layers of a SELECT's plan, from the top.
#[derive(Default)]
struct Layers<'p> {
    skip: usize,
    fetch: Option<usize>,
    sort: &'p [Sort],
    distinct: bool,
    items: Vec<(&'p Expr, String)>,
    /// Of the items.
    schema: Option<&'p DFSchema>,
    having: Option<&'p Expr>,
    aggregate: Option<&'p Aggregate>,
    filter: Option<&'p Expr>,
    source: Option<&'p LogicalPlan>,
    /// Where there is no projection: all columns of the source.
    whole: Option<&'p DFSchema>,
}

impl Layers<'_> {
    /// Gives the columns of the source that the query uses.
    fn used(&self) -> HashSet<datafusion::common::Column> {
        let mut exprs: Vec<&Expr> = self.filter.into_iter().collect();
        match self.aggregate {
            Some(aggregate) => exprs.extend(aggregate.group_expr.iter().chain(&aggregate.aggr_expr)),
            None => exprs.extend(self.items.iter().map(|(expr, _)| *expr)),
        }
        let mut used: HashSet<_> = exprs.into_iter().flat_map(Expr::column_refs).cloned().collect();
        used.extend(self.whole.into_iter().flat_map(|schema| schema.columns()));
        used
    }
}

fn layers(plan: &LogicalPlan) -> Option<Layers<'_>> {
    let mut found = Layers::default();
    let mut at = plan;
    // The projection that drops hidden sort columns.
    if let LogicalPlan::Projection(outer) = at
        && matches!(outer.input.as_ref(), LogicalPlan::Sort(_) | LogicalPlan::Limit(_))
    {
        at = &outer.input;
    }
    if let LogicalPlan::Limit(limit) = at {
        let (Ok(SkipType::Literal(skip)), Ok(FetchType::Literal(fetch))) =
            (limit.get_skip_type(), limit.get_fetch_type())
        else {
            return None;
        };
        (found.skip, found.fetch) = (skip, fetch);
        at = &limit.input;
    }
    if let LogicalPlan::Sort(sort) = at {
        found.sort = &sort.expr;
        at = &sort.input;
    }
    if let LogicalPlan::Distinct(Distinct::All(input)) = at {
        found.distinct = true;
        at = input;
    }
    if let (true, LogicalPlan::Union(union)) = (found.distinct, at) {
        found.whole = Some(&union.schema);
        found.schema = Some(&union.schema);
        found.source = Some(at);
        return Some(found);
    }
    let LogicalPlan::Projection(projection) = at else {
        return None;
    };
    found.items = projection
        .expr
        .iter()
        .zip(projection.schema.fields())
        .map(|(expr, field)| (plain(expr), field.name().clone()))
        .collect();
    found.schema = Some(&projection.schema);
    at = &projection.input;
    let mut conditions = Vec::new();
    while let LogicalPlan::Filter(filter) = at {
        conditions.push(&filter.predicate);
        at = &filter.input;
    }
    if let LogicalPlan::Aggregate(aggregate) = at {
        found.aggregate = Some(aggregate);
        found.having = conditions.pop();
        at = &aggregate.input;
        while let LogicalPlan::Filter(filter) = at {
            conditions.push(&filter.predicate);
            at = &filter.input;
        }
    }
    if conditions.len() > 1 {
        return None;
    }
    found.filter = conditions.pop();
    found.source = Some(at);
    Some(found)
}

/// Virtual columns of one query, each expression once.
struct Virtual {
    columns: Vec<Value>,
    names: HashMap<String, String>,
    prefix: String,
}

impl Virtual {
    /// Gives the native column of an expression, making a virtual one where it is no plain column.
    fn column(&mut self, expr: &Expr, output_type: &str) -> Option<String> {
        if let Expr::Column(column) = plain(expr) {
            return Some(column.name.clone());
        }
        let text = worded(plain(expr))?;
        if let Some(name) = self.names.get(&text) {
            return Some(name.clone());
        }
        let name = format!("{}{}", self.prefix, self.columns.len());
        if let Some(object) = expression::nested_object(plain(expr)) {
            self.columns
                .push(json!({"type": "nested-object", "name": name, "object": object}));
            self.names.insert(text, name.clone());
            return Some(name);
        }
        self.columns
            .push(json!({"type": "expression", "name": name, "expression": text, "outputType": output_type}));
        self.names.insert(text, name.clone());
        Some(name)
    }
}

/// A query in words, with the native columns that it yields.
struct Words {
    query: Map<String, Value>,
    names: Vec<String>,
    types: Vec<String>,
}

/// What a query is asked for, and what it reads.
#[derive(Clone, Copy)]
struct Asked<'a> {
    /// Names and native types of what it yields.
    fields: &'a [(String, String)],
    /// Whether it is the query of the statement itself.
    top: bool,
    /// Which of the fields the query around it reads: others are left out, and have no name.
    read: &'a [bool],
    source: &'a Source,
    /// Columns that have one value in all rows, by the query's condition.
    known: &'a [(datafusion::common::Column, Expr)],
}

/// What is grouped: GROUP BY with its aggregates, or DISTINCT.
struct Grouping {
    keys: Vec<(Expr, String)>,
    aggregates: Vec<(Expr, expression::AggregateTypes)>,
    /// Columns of the keys, then of the aggregates, as items name them.
    outputs: Vec<datafusion::common::Column>,
    /// What is made of them.
    items: Vec<Expr>,
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
            });
        };
        let groups = aggregate.group_expr.len();
        let keys = aggregate.group_expr.iter().enumerate();
        let columns = aggregate.schema.columns();
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
                .map(|(i, expr)| (expr.clone(), native_type_of(&aggregate.schema, i)))
                .collect(),
            aggregates: aggregates
                .map(|(i, expr)| {
                    let types = expression::AggregateTypes {
                        argument: argument_type(expr, aggregate.input.schema()),
                        output: native_type_of(&aggregate.schema, groups + i),
                    };
                    (expr.clone(), types)
                })
                .collect(),
            outputs: (0..columns.len())
                .filter(|i| *i < groups || is_used(i))
                .map(|i| columns[i].clone())
                .collect(),
            items: layers.items.iter().map(|(expr, _)| (*expr).clone()).collect(),
        })
    }
}

impl Input<'_> {
    /// `SELECT 1 + 1`: rows that are known while planning.
    fn constants(&self) -> Option<Value> {
        let LogicalPlan::Projection(projection) = self.optimised else {
            return None;
        };
        if !matches!(projection.input.as_ref(), LogicalPlan::EmptyRelation(_)) {
            return None;
        }
        let row: Vec<Value> = projection
            .expr
            .iter()
            .map(|expr| match plain(expr) {
                Expr::Literal(value, _) => Some(expression::literal_json(value)),
                _ => None,
            })
            .collect::<Option<_>>()?;
        let names: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
        let types: Vec<String> = self.columns.iter().map(|c| c.sql_type.native()).collect();
        let source = json!({"type": "inline", "columnNames": names, "columnTypes": types, "rows": [row]});
        let mut query = Map::new();
        query.insert("queryType".into(), json!("scan"));
        query.insert("dataSource".into(), source);
        query.insert("intervals".into(), intervals(&[Interval::ETERNITY]));
        query.insert("resultFormat".into(), json!("compactedList"));
        query.insert("columns".into(), json!(names));
        query.insert("context".into(), self.query_context());
        query.insert("columnTypes".into(), json!(types));
        query.insert("granularity".into(), json!({"type": "all"}));
        query.insert("legacy".into(), json!(false));
        let names: Vec<String> = names.into_iter().map(String::from).collect();
        Some(self.with_signature(query, &names, &types))
    }

    fn query(&self, plan: &LogicalPlan) -> Option<Value> {
        let columns = self.columns.iter();
        let fields: Vec<(String, String)> = columns
            .map(|column| (column.name.clone(), column.sql_type.native()))
            .collect();
        let words = self.words(plan, &fields, &vec![true; fields.len()], true)?;
        Some(self.with_signature(words.query, &words.names, &words.types))
    }

    /// Words a query that yields those of `fields`, names and native types, that are read. `top` is the query of the statement itself.
    fn words(&self, plan: &LogicalPlan, fields: &[(String, String)], read: &[bool], top: bool) -> Option<Words> {
        let layers = layers(plan)?;
        let source = self.source(layers.source?, &layers.used())?;
        let condition = match (
            layers.filter.map(|filter| source.rewrite(filter)),
            source.filter.clone(),
        ) {
            (Some(outer), Some(inner)) => Some(inner.and(outer)),
            (outer, inner) => outer.or(inner),
        };
        // Only tables and external data have times of their own.
        let (spans, rest) = match source.json.get("type").and_then(Value::as_str) {
            Some("query" | "join") => (vec![Interval::ETERNITY], condition),
            _ => filter::split_time(condition.as_ref()),
        };
        let mut query = Map::new();
        query.insert("dataSource".into(), source.json.clone());
        query.insert("intervals".into(), intervals(&spans));
        let mut virtuals = Virtual {
            columns: Vec::new(),
            names: HashMap::new(),
            prefix: source.prefix("v"),
        };
        let known = rest.as_ref().map(filter::known_values).unwrap_or_default();
        let condition = match rest {
            Some(rest) => Some(filter::json(&rest, &mut |expr, ty| virtuals.column(expr, ty))?),
            None => None,
        };
        let asked = Asked {
            fields,
            top,
            read,
            source: &source,
            known: &known,
        };
        match layers.aggregate {
            Some(_) if layers.distinct => None,
            None if !layers.distinct => self.scan(query, &layers, asked, condition, virtuals),
            _ => self.group_by(query, &layers, asked, condition, virtuals),
        }
    }

    fn scan(
        &self,
        mut query: Map<String, Value>,
        layers: &Layers,
        asked: Asked,
        condition: Option<Value>,
        mut virtuals: Virtual,
    ) -> Option<Words> {
        let visible = &layers.items[..asked.fields.len().min(layers.items.len())];
        let mut names = Vec::new();
        let mut types = Vec::new();
        for (((expr, _), (_, ty)), is_read) in visible.iter().zip(asked.fields).zip(asked.read) {
            if !is_read {
                names.push(String::new());
                types.push(String::new());
                continue;
            }
            let read = asked.source.rewrite(expr);
            let known = asked
                .known
                .iter()
                .find(|(column, _)| read == Expr::Column(column.clone()));
            names.push(virtuals.column(known.map_or(&read, |(_, value)| value), ty)?);
            types.push(ty.clone());
        }
        let of_key = |field: &str, virtuals: &mut Virtual| -> Option<String> {
            let (expr, _) = layers.items.iter().find(|(_, name)| name == field)?;
            virtuals.column(&asked.source.rewrite(expr), native_type(expr))
        };
        let mut order = Vec::new();
        for sort in layers.sort {
            let Expr::Column(column) = &sort.expr else { return None };
            let name = of_key(&column.name, &mut virtuals)?;
            order.push(json!({"columnName": name, "order": if sort.asc { "ascending" } else { "descending" }}));
        }
        if !asked.top && layers.fetch.is_none() {
            // The order of rows that a query around this one reads does not matter.
            order.clear();
        }
        if let Some(ingest) = self.statement.ingest().filter(|_| asked.top) {
            for key in &ingest.clustered_by {
                let name = of_key(key, &mut virtuals)?;
                order.push(json!({"columnName": name, "order": "ascending"}));
                // A column by which rows are clustered is read, though it is not stored.
                if !names.contains(&name) {
                    let field = layers.schema?.fields().iter().find(|field| field.name() == key)?;
                    types.push(crate::SqlType::from_field(field).native());
                    names.push(name);
                }
            }
        }
        let mut scan = Map::new();
        scan.insert("queryType".into(), json!("scan"));
        scan.append(&mut query);
        if !virtuals.columns.is_empty() {
            scan.insert("virtualColumns".into(), Value::Array(virtuals.columns));
        }
        scan.insert("resultFormat".into(), json!("compactedList"));
        if layers.skip > 0 {
            scan.insert("offset".into(), json!(layers.skip));
        }
        if let Some(fetch) = layers.fetch {
            scan.insert("limit".into(), json!(fetch));
        }
        if !order.is_empty() {
            scan.insert("orderBy".into(), Value::Array(order));
        }
        if let Some(condition) = condition {
            scan.insert("filter".into(), condition);
        }
        let named = |texts: &[String]| json!(texts.iter().filter(|text| !text.is_empty()).collect::<Vec<_>>());
        scan.insert("columns".into(), named(&names));
        scan.insert("context".into(), self.query_context());
        scan.insert("columnTypes".into(), named(&types));
        scan.insert("granularity".into(), json!({"type": "all"}));
        scan.insert("legacy".into(), json!(false));
        Some(Words {
            query: scan,
            names,
            types,
        })
    }

    fn group_by(
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
            if matches!(expr, Expr::GroupingSet(_)) {
                return None;
            }
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
            Some(having) => Some(filter::json(having, &mut |expr, _| native_name(expr))?),
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
        let native = self.engine == EngineKind::Native;
        let single_metric = keys.len() == 1 && keys[0].0.starts_with(&a) && !keys[0].1;
        let kind = match (native, groups) {
            // Neither leaves groups out.
            (true, 0) if having.is_none() && layers.skip == 0 => "timeseries",
            (true, 1) if single_metric && layers.fetch.is_some() && having.is_none() && layers.skip == 0 => "topN",
            _ => "groupBy",
        };
        out.insert("queryType".into(), json!(kind));
        out.insert("dataSource".into(), query.remove("dataSource")?);
        if !virtuals.columns.is_empty() {
            out.insert("virtualColumns".into(), Value::Array(virtuals.columns));
        }
        if kind == "topN" {
            out.insert("dimension".into(), dimensions.first().cloned()?);
            out.insert("metric".into(), json!({"type": "numeric", "metric": keys[0].0}));
            out.insert("threshold".into(), json!(layers.fetch));
        }
        out.append(&mut query);
        if let Some(condition) = condition {
            out.insert("filter".into(), condition);
        }
        out.insert("granularity".into(), json!({"type": "all"}));
        if kind == "groupBy" {
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
        if kind == "groupBy" {
            out.insert("limitSpec".into(), limit_spec(&keys, layers.skip, layers.fetch));
        }
        let mut context = self.query_context();
        if kind == "groupBy"
            && let Some(field) = time_result(layers, &grouping, &d, source, &keys)
            && let Value::Object(context) = &mut context
        {
            context.extend(field);
            context.sort_keys();
        }
        out.insert("context".into(), context);
        Some(Words {
            query: out,
            names,
            types,
        })
    }

    /// The context as the native query carries it, sorted by key.
    fn query_context(&self) -> Value {
        let mut sorted: std::collections::BTreeMap<String, Value> = self
            .context
            .values()
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if let Some(ingest) = self.statement.ingest() {
            sorted.insert(
                "sqlInsertSegmentGranularity".into(),
                json!(granularity_json(&ingest.granularity).to_string()),
            );
        }
        match self.statement {
            Statement::Replace(_, overwrite) => {
                sorted.insert("sqlReplaceTimeChunks".into(), json!(replace_time_chunks(overwrite)));
            }
            Statement::Export(export) => {
                sorted.insert("__exportFileFormat".into(), json!(export.format));
            }
            Statement::Select | Statement::Insert(_) => {}
        }
        Value::Object(sorted.into_iter().collect())
    }

    fn with_signature(&self, query: Map<String, Value>, names: &[String], types: &[String]) -> Value {
        let mut seen = std::collections::HashSet::new();
        let signature: Vec<Value> = names
            .iter()
            .zip(types)
            .filter(|(name, _)| seen.insert(*name))
            .map(|(name, ty)| json!({"name": name, "type": ty}))
            .collect();
        let mappings: Vec<Value> = names
            .iter()
            .zip(self.columns)
            .map(|(name, column)| json!({"queryColumn": name, "outputColumn": column.name}))
            .collect();
        json!({"query": query, "signature": signature, "columnMappings": mappings})
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

/// Finds Druid's JSON of the granularity to which a grouping cuts what becomes `__time`.
pub(crate) fn query_granularity(native: &Value) -> Option<Value> {
    let planned = native.get(0)?;
    let context = planned.pointer("/query/context")?;
    let time = planned.get("columnMappings")?.as_array()?.iter();
    let mut time = time.filter(|mapping| mapping.get("outputColumn") == Some(&json!("__time")));
    if time.next()?.get("queryColumn") != context.get("timestampResultField") {
        return None;
    }
    let text = context.get("timestampResultFieldGranularity")?.as_str()?;
    serde_json::from_str(text).ok()
}

fn native_type_of(schema: &DFSchema, index: usize) -> String {
    crate::SqlType::from_field(schema.field(index)).native()
}

/// Gives the native type of an aggregate's first argument.
fn argument_type(aggregate: &Expr, schema: &DFSchema) -> String {
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

fn intervals(spans: &[Interval]) -> Value {
    let texts: Vec<String> = spans.iter().map(ToString::to_string).collect();
    json!({"type": "intervals", "intervals": texts})
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
