//! A plan as Druid's native query: what EXPLAIN shows and stage definitions carry.
//!
//! The bound plan is read from the top: limit, sort, projection, grouping, filter, source. What has a native wording is
//! `scan`, `groupBy`, and for the interactive engine `timeseries` and `topN`; other shapes are shown as the relational plan.

mod calls;
mod combining;
mod expression;
mod filter;
mod groups;
mod keys;
mod simplify;
mod source;
mod windows;

use std::collections::{HashMap, HashSet};

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, FetchType, LogicalPlan, Operator, SkipType};
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
            .map(|queries| Value::Array(tables_together(&queries).map_or(queries, |query| vec![query]))),
        plan => input
            .constants()
            .or_else(|| input.query(plan))
            .map(|query| json!([query])),
    };
    found.unwrap_or_else(|| Value::String(format!("{}", input.plan.display_indent())))
}

/// Makes one query of several that read the same columns of tables.
fn tables_together(queries: &[Value]) -> Option<Value> {
    let without_table = |query: &Value| {
        let mut query = query.clone();
        query["query"]["dataSource"] = Value::Null;
        query
    };
    let is_scan = |query: &Value| {
        let scan = &query["query"];
        scan["queryType"] == json!("scan")
            && scan["dataSource"]["type"] == json!("table")
            && ["filter", "virtualColumns", "limit", "orderBy", "order"]
                .iter()
                .all(|key| scan.get(*key).is_none())
    };
    let first = queries.first()?;
    let same = queries
        .iter()
        .all(|query| is_scan(query) && without_table(query) == without_table(first));
    let tables: Vec<&Value> = queries.iter().map(|query| &query["query"]["dataSource"]).collect();
    let mut together = first.clone();
    together["query"]["dataSource"] = json!({"type": "union", "dataSources": tables});
    (same && queries.len() > 1).then_some(together)
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
        if conditions
            .last()
            .is_some_and(|condition| has_some_rows(condition, aggregate))
        {
            conditions.pop();
        }
        found.having = conditions.pop();
        if !conditions.is_empty() {
            return None;
        }
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

/// Tells whether a condition is what leaves the totals of no rows out, which Druid's grouping sets do by themselves.
fn has_some_rows(condition: &Expr, aggregate: &Aggregate) -> bool {
    let Expr::BinaryExpr(binary) = condition else {
        return false;
    };
    matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)])
        && binary.op == Operator::Gt
        && matches!(binary.left.as_ref(), Expr::Column(column) if column.name == "count(Int64(1))")
        && matches!(binary.right.as_ref(), Expr::Literal(ScalarValue::Int64(Some(0)), _))
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
        let name = format!("{}{}", self.prefix, self.columns.len());
        if let Some(column) = calls::virtual_column(plain(expr), &name) {
            let text = plain(expr).to_string();
            if let Some(name) = self.names.get(&text) {
                return Some(name.clone());
            }
            self.columns.push(column);
            self.names.insert(text, name.clone());
            return Some(name);
        }
        let text = worded(plain(expr))?;
        if let Some(name) = self.names.get(&text) {
            return Some(name.clone());
        }
        if let Some(column) = self.nested(plain(expr), &name, output_type) {
            self.names.insert(text, name.clone());
            return Some(column);
        }
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

impl Virtual {
    /// Makes the virtual column of an expression over what has virtual columns of its own: those come behind it.
    fn nested(&mut self, expr: &Expr, name: &str, output_type: &str) -> Option<String> {
        let mut found = false;
        // Looking at an expression cannot fail.
        let _ = expr.apply(|at| {
            found |= calls::virtual_column(at, "").is_some();
            Ok(TreeNodeRecursion::Continue)
        });
        if !found {
            return None;
        }
        let place = self.columns.len();
        self.columns.push(Value::Null);
        let replaced = expr.clone().transform_down(|at| {
            let own = calls::virtual_column(&at, "").and_then(|_| self.column(&at, output_type));
            Ok(match own {
                Some(name) => Transformed::new(
                    Expr::Column(Column::new_unqualified(name)),
                    true,
                    TreeNodeRecursion::Jump,
                ),
                None => Transformed::no(at),
            })
        });
        match replaced.ok().and_then(|replaced| worded(&replaced.data)) {
            Some(text) => {
                self.columns[place] =
                    json!({"type": "expression", "name": name, "expression": text, "outputType": output_type});
                Some(name.to_string())
            }
            None => {
                self.columns.truncate(place);
                self.names.retain(|_, known| {
                    self.columns
                        .iter()
                        .any(|column| column.get("name").or(column.get("outputName")) == Some(&json!(known)))
                });
                None
            }
        }
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
        if let Some(words) = self.windows(plan, fields, read) {
            return Some(words);
        }
        let layers = layers(plan)?;
        let mut source = self.source(layers.source?, &layers.used())?;
        let mut filter: Option<Expr> = None;
        for part in layers.filter.into_iter().flat_map(split_conjunction) {
            match part {
                Expr::InSubquery(wanted) => source = self.semi_join(source, wanted)?,
                part => {
                    filter = Some(match filter {
                        Some(others) => others.and(part.clone()),
                        None => part.clone(),
                    });
                }
            }
        }
        let condition = match (filter.map(|filter| source.rewrite(&filter)), source.filter.clone()) {
            (Some(outer), Some(inner)) => Some(inner.and(outer)),
            (outer, inner) => outer.or(inner),
        };
        let is_unnest = source.json.get("type") == Some(&json!("unnest"));
        let condition = match is_unnest {
            true => self.unnest_filter(&mut source, condition)?,
            false => condition,
        };
        let mut virtuals = Virtual {
            columns: Vec::new(),
            names: HashMap::new(),
            prefix: source.prefix("v"),
        };
        let known = condition.as_ref().map(filter::known_values).unwrap_or_default();
        let condition = match condition {
            Some(condition) => Some(filter::json(&condition, &mut |expr, ty| virtuals.column(expr, ty))?),
            None => None,
        };
        // Only tables and external data have times of their own.
        let (spans, condition) = match source.json.get("type").and_then(Value::as_str) {
            Some("query" | "join" | "unnest") => (vec![Interval::ETERNITY], condition.map(simplify::filter_only)),
            _ => simplify::optimised(condition)?,
        };
        let mut query = Map::new();
        query.insert("dataSource".into(), source.json.clone());
        query.insert("intervals".into(), intervals(&spans));
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
        let mut sorted_types: HashMap<String, String> = HashMap::new();
        for sort in layers.sort {
            let Expr::Column(column) = &sort.expr else { return None };
            let name = of_key(&column.name, &mut virtuals)?;
            if let Some(field) = layers
                .schema
                .and_then(|schema| schema.field_with_unqualified_name(&column.name).ok())
            {
                sorted_types.insert(name.clone(), crate::SqlType::from_field(field).native());
            }
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
        // What is ordered by is read, though it may not be shown.
        let mut shown = (names.clone(), types.clone());
        for key in &order {
            let name = key["columnName"].as_str().unwrap_or_default();
            if !names.iter().any(|known| known == name) && layers.source.is_some() {
                shown.0.push(name.to_string());
                shown
                    .1
                    .push(sorted_types.get(name).cloned().unwrap_or_else(|| "STRING".to_string()));
            }
        }
        match order.as_slice() {
            [key] if key["columnName"] == json!("__time") => {
                scan.insert("order".into(), key["order"].clone());
            }
            [] => {}
            _ => {
                scan.insert("orderBy".into(), Value::Array(order));
            }
        }
        if let Some(condition) = condition {
            scan.insert("filter".into(), condition);
        }
        let mut seen = HashSet::new();
        let columns = shown.0.iter().zip(&shown.1);
        let columns = columns.filter(|(name, _)| !name.is_empty() && seen.insert(name.as_str()));
        let (shown_names, shown_types): (Vec<_>, Vec<_>) = columns.unzip();
        self.show(&mut scan, json!(shown_names), json!(shown_types));
        Some(Words {
            query: scan,
            names,
            types,
        })
    }

    /// Ends a scan: its columns, and what every scan says behind them.
    fn show(&self, scan: &mut Map<String, Value>, names: Value, types: Value) {
        scan.insert("columns".into(), names);
        scan.insert("context".into(), self.query_context());
        scan.insert("columnTypes".into(), types);
        scan.insert("granularity".into(), json!({"type": "all"}));
        scan.insert("legacy".into(), json!(false));
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

fn intervals(spans: &[Interval]) -> Value {
    let texts: Vec<String> = spans.iter().map(ToString::to_string).collect();
    json!({"type": "intervals", "intervals": texts})
}
