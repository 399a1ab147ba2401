//! A plan as Druid's native query: what EXPLAIN shows and stage definitions carry.
//!
//! The bound plan is read from the top: limit, sort, projection, grouping, filter, source. What has a native wording is
//! `scan`, `groupBy`, and for the interactive engine `timeseries` and `topN`; other shapes are shown as the relational plan.

mod expression;
mod filter;

use std::collections::HashMap;

use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, ExprSchemable, FetchType, LogicalPlan, SkipType};
use henge_time::Interval;
use serde_json::{Map, Value, json};

use crate::bind::TableSource;
use crate::explain::{granularity_json, replace_time_chunks};
use crate::{EngineKind, OutputColumn, QueryContext, Statement};
use expression::{native_type, worded};

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
#[derive(Default)]
struct Virtual {
    columns: Vec<Value>,
    names: HashMap<String, String>,
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
        let name = format!("v{}", self.columns.len());
        self.columns
            .push(json!({"type": "expression", "name": name, "expression": text, "outputType": output_type}));
        self.names.insert(text, name.clone());
        Some(name)
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
        let layers = layers(plan)?;
        let source = self.source(layers.source?)?;
        let (spans, rest) = filter::split_time(layers.filter);
        let mut query = Map::new();
        query.insert("dataSource".into(), source);
        query.insert("intervals".into(), intervals(&spans));
        let mut virtuals = Virtual::default();
        let condition = match rest {
            Some(rest) => Some(filter::json(&rest, &mut |expr, ty| virtuals.column(expr, ty))?),
            None => None,
        };
        match layers.aggregate {
            Some(aggregate) if !layers.distinct => self.group_by(query, &layers, aggregate, condition, virtuals),
            None if layers.distinct => None,
            None => self.scan(query, &layers, condition, virtuals),
            Some(_) => None,
        }
    }

    fn source(&self, plan: &LogicalPlan) -> Option<Value> {
        let LogicalPlan::TableScan(scan) = plan else {
            return None;
        };
        Some(match self.tables.get(scan.table_name.table())? {
            TableSource::Table { schema, name } if schema == "lookup" => json!({"type": "lookup", "lookup": name}),
            TableSource::Table { name, .. } => json!({"type": "table", "name": name}),
            TableSource::Extern(spec) => {
                let signature: Vec<Value> = spec
                    .arrow_schema()
                    .fields()
                    .iter()
                    .map(|field| json!({"name": field.name(), "type": crate::SqlType::from_field(field).native()}))
                    .collect();
                json!({"type": "external", "inputSource": spec.raw.0, "inputFormat": spec.raw.1, "signature": signature})
            }
        })
    }

    fn scan(
        &self,
        mut query: Map<String, Value>,
        layers: &Layers,
        condition: Option<Value>,
        mut virtuals: Virtual,
    ) -> Option<Value> {
        let visible = &layers.items[..self.columns.len().min(layers.items.len())];
        let mut names = Vec::new();
        let mut types = Vec::new();
        for ((expr, _), column) in visible.iter().zip(self.columns) {
            let ty = column.sql_type.native();
            names.push(virtuals.column(expr, &ty)?);
            types.push(ty);
        }
        let of_key = |field: &str, virtuals: &mut Virtual| -> Option<String> {
            let (expr, _) = layers.items.iter().find(|(_, name)| name == field)?;
            virtuals.column(expr, native_type(expr))
        };
        let mut order = Vec::new();
        for sort in layers.sort {
            let Expr::Column(column) = &sort.expr else { return None };
            let name = of_key(&column.name, &mut virtuals)?;
            order.push(json!({"columnName": name, "order": if sort.asc { "ascending" } else { "descending" }}));
        }
        if let Some(ingest) = self.statement.ingest() {
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
        scan.insert("columns".into(), json!(names));
        scan.insert("context".into(), self.query_context());
        scan.insert("columnTypes".into(), json!(types));
        scan.insert("granularity".into(), json!({"type": "all"}));
        scan.insert("legacy".into(), json!(false));
        Some(self.with_signature(scan, &names, &types))
    }

    fn group_by(
        &self,
        mut query: Map<String, Value>,
        layers: &Layers,
        aggregate: &Aggregate,
        condition: Option<Value>,
        mut virtuals: Virtual,
    ) -> Option<Value> {
        if layers.having.is_some() || layers.skip > 0 {
            return None;
        }
        let outputs: Vec<datafusion::common::Column> = aggregate.schema.columns();
        let groups = aggregate.group_expr.len();
        let mut dimensions = Vec::new();
        for (i, expr) in aggregate.group_expr.iter().enumerate() {
            if matches!(expr, Expr::GroupingSet(_)) {
                return None;
            }
            let ty = native_type_of(&aggregate.schema, i);
            let dimension = virtuals.column(expr, &ty)?;
            dimensions.push(
                json!({"type": "default", "dimension": dimension, "outputName": format!("d{i}"), "outputType": ty}),
            );
        }
        let mut aggregations = Vec::new();
        for (i, expr) in aggregate.aggr_expr.iter().enumerate() {
            let types = expression::AggregateTypes {
                argument: argument_type(expr, aggregate.input.schema()),
                output: native_type_of(&aggregate.schema, groups + i),
            };
            aggregations.push(expression::aggregation(
                expr,
                &format!("a{i}"),
                &types,
                &mut |e, ty| virtuals.column(e, ty),
            )?);
        }
        let native_name = |expr: &Expr| -> Option<String> {
            let Expr::Column(column) = plain(expr) else { return None };
            let i = outputs.iter().position(|output| output == column)?;
            Some(if i < groups {
                format!("d{i}")
            } else {
                format!("a{}", i - groups)
            })
        };
        let mut names = Vec::new();
        let mut types = Vec::new();
        let mut post = Vec::new();
        for ((expr, _), column) in layers.items.iter().zip(self.columns) {
            let ty = column.sql_type.native();
            match native_name(expr) {
                Some(name) => names.push(name),
                None => {
                    let name = format!("p{}", post.len());
                    let text = expression::worded_with(plain(expr), &native_name)?;
                    post.push(json!({"type": "expression", "name": name, "expression": text, "outputType": ty}));
                    names.push(name);
                }
            }
            types.push(ty);
        }
        let mut keys = Vec::new();
        for sort in layers.sort {
            let Expr::Column(column) = &sort.expr else { return None };
            let i = layers.items.iter().position(|(_, name)| *name == column.name)?;
            let name = names.get(i)?.clone();
            let numeric = types[i] != "STRING";
            keys.push((name, sort.asc, numeric));
        }
        let mut out = Map::new();
        let native = self.engine == EngineKind::Native;
        let single_metric = keys.len() == 1 && keys[0].0.starts_with('a') && !keys[0].1;
        let kind = match (native, groups) {
            (true, 0) => "timeseries",
            (true, 1) if single_metric && layers.fetch.is_some() => "topN",
            _ => "groupBy",
        };
        out.insert("queryType".into(), json!(kind));
        let source = query.remove("dataSource")?;
        out.insert("dataSource".into(), source);
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
        if kind == "groupBy" {
            out.insert("limitSpec".into(), limit_spec(&keys, layers.fetch));
        }
        out.insert("context".into(), self.query_context());
        Some(self.with_signature(out, &names, &types))
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

fn limit_spec(keys: &[(String, bool, bool)], fetch: Option<usize>) -> Value {
    if keys.is_empty() && fetch.is_none() {
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
    if let Some(fetch) = fetch {
        spec.insert("limit".into(), json!(fetch));
    }
    Value::Object(spec)
}
