//! What a native query reads: a table, external data, tables together, a join, or another query.
//!
//! Projections and filters between a query and its table are part of the query: columns are replaced by what they stand for, and
//! conditions are added to its own. What groups, sorts or limits is a query of its own.

use std::collections::{HashMap, HashSet};

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Operator};
use serde_json::{Value, json};

use super::{Input, plain};
use crate::SqlType;
use crate::bind::TableSource;

/// A data source in words.
pub(super) struct Source {
    pub json: Value,
    /// What stands for each column of the plan.
    columns: HashMap<Column, Expr>,
    /// What rows have to fulfil.
    pub filter: Option<Expr>,
    /// Names of its native columns.
    names: Vec<String>,
}

impl Source {
    /// Puts native columns, and what is computed of them, in place of the plan's.
    pub fn rewrite(&self, expr: &Expr) -> Expr {
        let replaced = expr.clone().transform_up(|at| {
            let found = match &at {
                Expr::Column(column) => self.columns.get(column).cloned(),
                _ => None,
            };
            Ok(found.map_or_else(|| Transformed::no(at), Transformed::yes))
        });
        replaced.map_or_else(|_| expr.clone(), |replaced| replaced.data)
    }

    /// Gives a prefix that, with a number, names no column of the source: `d`, `_d`, `__d` (Druid's `findUnusedPrefixForDigits`).
    pub fn prefix(&self, wanted: &str) -> String {
        let mut prefix = wanted.to_string();
        let is_used = |prefix: &str| {
            let mut rests = self.names.iter().filter_map(|name| name.strip_prefix(prefix));
            rests.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        while is_used(&prefix) {
            prefix.insert(0, '_');
        }
        prefix
    }

    /// The same source below another node: each of its columns stands for an expression over the columns of this.
    fn projected(self, columns: impl IntoIterator<Item = (Column, Expr)>) -> Self {
        let columns = columns.into_iter().map(|(column, expr)| (column, self.rewrite(&expr)));
        Self {
            columns: columns.collect(),
            ..self
        }
    }
}

impl Input<'_> {
    /// Words what a plan reads, of which the query uses some columns.
    pub(super) fn source(&self, plan: &LogicalPlan, used: &HashSet<Column>) -> Option<Source> {
        match plan {
            LogicalPlan::TableScan(scan) => self.table(plan, scan.table_name.table()),
            LogicalPlan::SubqueryAlias(alias) => {
                let inner = alias.input.schema().columns().into_iter().map(Expr::Column);
                let columns: Vec<_> = alias.schema.columns().into_iter().zip(inner).collect();
                Some(self.source(&alias.input, &below(&columns, used))?.projected(columns))
            }
            LogicalPlan::Filter(filter) if is_flat(&filter.input) => {
                let mut used = used.clone();
                used.extend(filter.predicate.column_refs().into_iter().cloned());
                let mut source = self.source(&filter.input, &used)?;
                let condition = source.rewrite(&filter.predicate);
                source.filter = Some(match source.filter.take() {
                    Some(inner) => inner.and(condition),
                    None => condition,
                });
                Some(source)
            }
            LogicalPlan::Projection(projection) if is_flat(&projection.input) => {
                let exprs = projection.expr.iter().map(|expr| whole(plain(expr)).clone());
                let columns: Vec<_> = projection.schema.columns().into_iter().zip(exprs).collect();
                Some(
                    self.source(&projection.input, &below(&columns, used))?
                        .projected(columns),
                )
            }
            LogicalPlan::Unnest(unnest) if unnested(plan).is_some() => self.unnest(plan, &unnest.input, used),
            // Values of a multi-value string that is grouped by: Druid takes them apart by itself.
            LogicalPlan::Unnest(unnest) => {
                let inner = unnest.input.schema().columns().into_iter().map(Expr::Column);
                let columns: Vec<_> = unnest.schema.columns().into_iter().zip(inner).collect();
                let is_grouped = columns
                    .iter()
                    .all(|(outer, inner)| matches!(inner, Expr::Column(inner) if inner.name == outer.name));
                let source = self.source(&unnest.input, &below(&columns, used))?;
                Some(source.projected(columns)).filter(|_| is_grouped)
            }
            LogicalPlan::Join(join) => self.join(join, used),
            LogicalPlan::Union(union) => {
                let tables: Vec<Value> = union
                    .inputs
                    .iter()
                    .map(|input| self.plain_table(input))
                    .collect::<Option<_>>()?;
                let columns = union.schema.columns();
                Some(Source {
                    json: json!({"type": "union", "dataSources": tables}),
                    names: columns.iter().map(|column| column.name.clone()).collect(),
                    columns: native(columns),
                    filter: None,
                })
            }
            LogicalPlan::Projection(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Distinct(_) => {
                self.subquery(plan, used)
            }
            _ => None,
        }
    }

    fn table(&self, plan: &LogicalPlan, qualifier: &str) -> Option<Source> {
        let json = match self.tables.get(qualifier)? {
            TableSource::Table { schema, name } if schema == "lookup" => json!({"type": "lookup", "lookup": name}),
            TableSource::Table { name, .. } => json!({"type": "table", "name": name}),
            TableSource::Extern(spec) => {
                let signature: Vec<Value> = spec
                    .arrow_schema()
                    .fields()
                    .iter()
                    .map(|field| json!({"name": field.name(), "type": SqlType::from_field(field).native()}))
                    .collect();
                json!({"type": "external", "inputSource": input_source(&spec.raw.0), "inputFormat": spec.raw.1, "signature": signature})
            }
        };
        let columns = plan.schema().columns();
        Some(Source {
            json,
            names: columns.iter().map(|column| column.name.clone()).collect(),
            columns: native(columns),
            filter: None,
        })
    }

    /// Words a table of which rows and columns are read as they are.
    fn plain_table(&self, plan: &LogicalPlan) -> Option<Value> {
        let source = self.source(plan, &plan.schema().columns().into_iter().collect())?;
        let is_table = source.json.get("type") == Some(&json!("table"));
        let as_they_are = plan.schema().columns().into_iter().all(|column| {
            matches!(source.rewrite(&Expr::Column(column.clone())), Expr::Column(read) if read.name == column.name)
        });
        (is_table && as_they_are && source.filter.is_none()).then_some(source.json)
    }

    /// Words a join on equal columns whose right side is sent to everybody; an inner join may have other conditions too.
    fn join(&self, join: &Join, used: &HashSet<Column>) -> Option<Source> {
        if self
            .context
            .get("sqlJoinAlgorithm")
            .is_some_and(|algorithm| algorithm != "broadcast")
        {
            return None;
        }
        let kind = match join.join_type {
            JoinType::Inner => "INNER",
            JoinType::Left => "LEFT",
            JoinType::Right => "RIGHT",
            JoinType::Full => "FULL",
            _ => return None,
        };
        let mut conditions: Vec<Expr> = join
            .on
            .iter()
            .map(|(left, right)| left.clone().eq(right.clone()))
            .collect();
        conditions.extend(join.filter.iter().flat_map(|filter| split_conjunction(filter)).cloned());
        let mut used = used.clone();
        for condition in &conditions {
            used.extend(condition.column_refs().into_iter().cloned());
        }
        let left = self.source(&join.left, &used)?;
        let (right, names) = self.right(&join.right, &used)?;
        let prefix = format!("{}0.", left.prefix("j"));
        if left.filter.is_some() {
            return None;
        }
        let mut source = Source {
            json: Value::Null,
            names: left.names.clone(),
            columns: left.columns.clone(),
            filter: None,
        };
        for (column, name) in names {
            let name = format!("{prefix}{name}");
            source
                .columns
                .insert(column, Expr::Column(Column::new_unqualified(&name)));
            source.names.push(name);
        }
        let mut equal = Vec::new();
        for condition in &conditions {
            match equal_columns(condition, &join.left, &source) {
                Some(text) => equal.push(text),
                None if join.join_type == JoinType::Inner => {
                    let condition = source.rewrite(condition);
                    source.filter = Some(match source.filter.take() {
                        Some(others) => others.and(condition),
                        None => condition,
                    });
                }
                None => return None,
            }
        }
        let condition = match equal.len() {
            0 => "1".to_string(),
            1 => equal.remove(0),
            _ => format!("({})", equal.join(" && ")),
        };
        source.json = json!({
            "type": "join", "left": left.json, "right": right, "rightPrefix": prefix, "condition": condition, "joinType": kind,
        });
        Some(source)
    }

    /// Words the right side of a join, with the native names of its columns: lookups and queries as they are, all else as a query of
    /// the columns that are used.
    fn right(&self, plan: &LogicalPlan, used: &HashSet<Column>) -> Option<(Value, Vec<(Column, String)>)> {
        let source = self.source(plan, used)?;
        let columns = plan.schema().columns();
        let is_whole = matches!(
            source.json.get("type").and_then(Value::as_str),
            Some("lookup" | "query")
        );
        if is_whole && source.filter.is_none() {
            let named = columns
                .into_iter()
                .map(|column| match source.rewrite(&Expr::Column(column.clone())) {
                    Expr::Column(read) => Some((column, read.name)),
                    _ => None,
                });
            if let Some(named) = named.collect() {
                return Some((source.json, named));
            }
        }
        let read: Vec<Column> = plan
            .schema()
            .columns()
            .into_iter()
            .filter(|column| used.contains(column))
            .collect();
        let exprs = read.iter().cloned().map(Expr::Column);
        let query = LogicalPlanBuilder::from(plan.clone())
            .project(exprs)
            .ok()?
            .build()
            .ok()?;
        let columns = query.schema().columns();
        let source = self.subquery(&query, &columns.iter().cloned().collect())?;
        let named = read
            .into_iter()
            .zip(columns)
            .map(|(column, inner)| match source.columns.get(&inner) {
                Some(Expr::Column(read)) => Some((column, read.name.clone())),
                _ => None,
            });
        Some((source.json.clone(), named.collect::<Option<_>>()?))
    }

    /// Words UNNEST: rows of a source, once for each value of an array. What has no rows beside is made of one row.
    fn unnest(&self, plan: &LogicalPlan, input: &LogicalPlan, used: &HashSet<Column>) -> Option<Source> {
        let name = unnested(plan)?;
        let LogicalPlan::Projection(projection) = input else {
            return None;
        };
        let list = projection
            .expr
            .iter()
            .zip(projection.schema.columns())
            .find_map(|(expr, column)| (column.name == name).then_some(plain(expr)))?;
        let mut below: HashSet<Column> = used.iter().filter(|column| column.name != name).cloned().collect();
        below.extend(list.column_refs().into_iter().cloned());
        let base = self.source(&projection.input, &below)?;
        if base.filter.is_some() {
            return None;
        }
        let list = base.rewrite(list);
        // A multi-value string is taken apart as it is.
        let stored = match whole(&list) {
            Expr::Column(column) if *whole(&list) != list => Some(format!("\"{}\"", column.name)),
            _ => None,
        };
        let (text, ty) = match stored {
            Some(text) => (text, "STRING".to_string()),
            None => {
                let field = projection.schema.fields().iter().find(|field| *field.name() == name)?;
                (super::worded(&list)?, SqlType::from_field(field).native())
            }
        };
        let unnest = format!("{}0.unnest", base.prefix("j"));
        let mut source = Source {
            json: json!({
                "type": "unnest", "base": base.json,
                "virtualColumn": {"type": "expression", "name": unnest, "expression": text, "outputType": ty},
                "unnestFilter": null,
            }),
            names: base.names.clone(),
            columns: base.columns.clone(),
            filter: None,
        };
        let value = plan.schema().columns().into_iter().find(|column| column.name == name)?;
        source
            .columns
            .insert(value, Expr::Column(Column::new_unqualified(&unnest)));
        source.names.push(unnest);
        Some(source)
    }

    /// Splits the condition on an UNNEST: what concerns the value alone is left to it.
    pub(super) fn unnest_filter(&self, source: &mut Source, condition: Option<Expr>) -> Option<Option<Expr>> {
        let Some(condition) = condition else { return Some(None) };
        let value = source
            .json
            .pointer("/virtualColumn/name")
            .and_then(Value::as_str)
            .map(str::to_string)?;
        let (mut of_value, mut of_base, mut rest): (Option<Expr>, Option<Expr>, Option<Expr>) = (None, None, None);
        for part in split_conjunction(&condition) {
            let columns = part.column_refs();
            let on_value = columns.iter().filter(|column| column.name == value).count();
            let place = match on_value {
                0 if !columns.is_empty() => &mut of_base,
                n if n > 0 && n == columns.len() => &mut of_value,
                _ => &mut rest,
            };
            *place = Some(match place.take() {
                Some(others) => others.and(part.clone()),
                None => part.clone(),
            });
        }
        // What is computed would be a virtual column of the data source, which is none.
        let mut plain_columns = |expr: &Expr, _: &str| match expr {
            Expr::Column(column) => Some(column.name.clone()),
            _ => None,
        };
        let mut worded = |condition: Option<Expr>| match condition {
            None => Some(Value::Null),
            Some(condition) => super::filter::json(&condition, &mut plain_columns).map(super::simplify::filter_only),
        };
        let (Some(of_value), Some(of_base)) = (worded(of_value), worded(of_base)) else {
            return Some(Some(condition));
        };
        source.json["unnestFilter"] = of_value;
        if !of_base.is_null() {
            let base = source.json["base"].take();
            source.json["base"] = json!({"type": "filter", "base": base, "filter": of_base});
        }
        Some(rest)
    }

    /// Words `column IN (query)` as the join with the query's values that it is, each once.
    pub(super) fn semi_join(&self, left: Source, wanted: &InSubquery) -> Option<Source> {
        if wanted.negated || !wanted.subquery.outer_ref_columns.is_empty() || left.filter.is_some() {
            return None;
        }
        let Expr::Column(key) = left.rewrite(&wanted.expr) else {
            return None;
        };
        let plan = wanted.subquery.subquery.as_ref();
        let is_grouped = matches!(plan, LogicalPlan::Projection(projection) if {
            let mut at = projection.input.as_ref();
            while let LogicalPlan::Filter(filter) = at {
                at = &filter.input;
            }
            matches!((at, projection.expr.as_slice()), (LogicalPlan::Aggregate(aggregate), [item])
                if aggregate.group_expr.len() == 1 && aggregate.schema.columns().first().is_some_and(|key| {
                    matches!(plain(item), Expr::Column(column) if column == key)
                }))
        });
        let distinct;
        let plan = match is_grouped {
            true => plan,
            false => {
                distinct = LogicalPlanBuilder::from(plan.clone()).distinct().ok()?.build().ok()?;
                &distinct
            }
        };
        let right = self.subquery(plan, &plan.schema().columns().into_iter().collect())?;
        let value = right.names.first()?;
        let prefix = format!("{}0.", left.prefix("j"));
        let mut names = left.names.clone();
        names.extend(right.names.iter().map(|name| format!("{prefix}{name}")));
        Some(Source {
            json: json!({
                "type": "join", "left": left.json, "right": right.json, "rightPrefix": prefix,
                "condition": format!("(\"{}\" == \"{prefix}{value}\")", key.name), "joinType": "INNER",
            }),
            columns: left.columns,
            filter: None,
            names,
        })
    }

    /// Words a plan as a query to read from.
    pub(super) fn subquery(&self, plan: &LogicalPlan, used: &HashSet<Column>) -> Option<Source> {
        let schema = plan.schema();
        let fields: Vec<(String, String)> = schema
            .fields()
            .iter()
            .map(|field| (field.name().clone(), SqlType::from_field(field).native()))
            .collect();
        let is_read: Vec<bool> = schema.columns().iter().map(|column| used.contains(column)).collect();
        let words = self.words(plan, &fields, &is_read, false)?;
        let read = words
            .names
            .iter()
            .map(|name| Expr::Column(Column::new_unqualified(name)));
        Some(Source {
            columns: schema.columns().into_iter().zip(read).collect(),
            json: json!({"type": "query", "query": words.query}),
            filter: None,
            names: words.names,
        })
    }
}

/// Words an input source with what Druid adds to it: an HTTP source has headers, be there none.
fn input_source(given: &Value) -> Value {
    let mut source = given.clone();
    if let Value::Object(members) = &mut source
        && members.get("type") == Some(&json!("http"))
    {
        members.entry("requestHeaders").or_insert_with(|| json!({}));
    }
    source
}

/// Names the column that holds one value of an array a row, of UNNEST in FROM.
fn unnested(plan: &LogicalPlan) -> Option<String> {
    let columns = plan.schema().columns();
    let last = columns.last()?;
    (last.relation.is_none() && last.name.starts_with("__unnest")).then(|| last.name.clone())
}

fn native(columns: Vec<Column>) -> HashMap<Column, Expr> {
    let read = columns
        .iter()
        .map(|column| Expr::Column(Column::new_unqualified(&column.name)));
    columns.iter().cloned().zip(read).collect()
}

/// Tells whether a plan does nothing but choose and compute on what a table or a query gives.
fn is_flat(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) | LogicalPlan::Union(_) | LogicalPlan::Join(_) => true,
        // What is below is a query of its own, or flat.
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Unnest(_) => true,
        LogicalPlan::Projection(projection) => is_flat(&projection.input),
        LogicalPlan::Filter(filter) => is_flat(&filter.input),
        _ => false,
    }
}

/// Gives the columns below a node that make its used ones.
fn below(columns: &[(Column, Expr)], used: &HashSet<Column>) -> HashSet<Column> {
    let made = columns.iter().filter(|(column, _)| used.contains(column));
    made.flat_map(|(_, expr)| expr.column_refs().into_iter().cloned())
        .collect()
}

/// Words an equality between a column of the left side of a join and one of the right.
fn equal_columns(condition: &Expr, left: &LogicalPlan, source: &Source) -> Option<String> {
    let Expr::BinaryExpr(binary) = condition else {
        return None;
    };
    let (Expr::Column(a), Operator::Eq, Expr::Column(b)) = (binary.left.as_ref(), binary.op, binary.right.as_ref())
    else {
        return None;
    };
    let (a, b) = match (left.schema().has_column(a), left.schema().has_column(b)) {
        (true, false) => (a, b),
        (false, true) => (b, a),
        _ => return None,
    };
    let name = |column: &Column| match source.rewrite(&Expr::Column(column.clone())) {
        Expr::Column(read) => Some(read.name),
        _ => None,
    };
    Some(format!("(\"{}\" == \"{}\")", name(a)?, name(b)?))
}

/// Takes the multi-value string out of the call that prepares it for being taken apart.
fn whole(expr: &Expr) -> &Expr {
    match expr {
        Expr::ScalarFunction(call) if matches!(call.func.name(), "mv_harmonize" | "mv_single") => {
            call.args.first().unwrap_or(expr)
        }
        other => other,
    }
}
