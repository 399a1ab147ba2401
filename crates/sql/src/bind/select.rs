//! SELECT: grouping, windows, projection, order.
//!
//! 1. FROM, WHERE.
//! 2. GROUP BY expressions, then select list, HAVING, ORDER BY are bound; aggregates and windows turn into placeholders.
//! 3. If anything aggregates: the Aggregate node, and every bound expression is rewritten onto its output.
//! 4. Window node, QUALIFY, projection with hidden sort columns, DISTINCT, sort, limit, projection without them.

use std::cell::RefCell;
use std::collections::HashSet;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{self, OrderByExpr, Select, SelectItem};

use super::aggregate::{AGGREGATE, Aggregates};
use super::expr::Cx;
use super::stored::{Stored, metric_of, of_item};
use super::window::{WINDOW, Windows};
use super::{Binder, BoundQuery, Ctes, Scope, Typed, from_datafusion, literal};
use crate::parse::position;
use crate::{Position, SqlError, SqlType};

/// What surrounds a SELECT: order, clustering and limits of its query.
#[derive(Default)]
pub(super) struct Tail<'q> {
    pub order_by: &'q [OrderByExpr],
    pub stored: Stored<'q>,
    pub skip: usize,
    pub fetch: Option<usize>,
}

/// A column of the select list.
pub(super) struct Item {
    name: String,
    pub(super) typed: Typed,
    place: Option<Position>,
    ast: Option<ast::Expr>,
}

/// Where a sort key's value is.
enum Key {
    Visible(usize),
    Hidden(usize),
}

/// The plan's columns for grouped expressions and aggregates.
struct Grouped {
    groups: Vec<(Expr, Expr)>,
    aggregates: Vec<Expr>,
}

impl Binder<'_> {
    pub(super) fn select(
        &self,
        select: &Select,
        tail: &Tail,
        ctes: &Ctes,
        parent: Option<&Scope>,
    ) -> Result<BoundQuery, SqlError> {
        super::refused::check_select(select)?;
        let (mut plan, scope) = self.bind_from(&select.from, ctes, parent)?;
        if let Some(selection) = &select.selection {
            let cx = Cx {
                clause: "WHERE",
                ctes: Some(ctes),
                truth: super::condition::Truth::Conjunct,
                ..Cx::plain(&scope)
            };
            let condition = self.condition_in(selection, &cx)?;
            plan = build(LogicalPlanBuilder::from(plan).filter(condition))?;
        }
        let (aggregates, windows) = (RefCell::new(Aggregates::default()), RefCell::new(Windows::default()));
        let (mut sets, multi) = self.group_by(select, &scope, ctes)?;
        self.check_named_windows(select)?;
        aggregates.borrow_mut().keys = sets.concat();
        let cx = |clause, aliases| Cx {
            scope: Some(&scope),
            aggregates: Some(&aggregates),
            windows: Some(&windows),
            clause,
            ctes: Some(ctes),
            aliases,
            named_windows: &select.named_window,
            unfinished: clause == "SELECT" && tail.stored.unfinished,
            values: None,
            grouped: &multi,
            truth: super::condition::Truth::Matters,
        };
        let mut items = match self.items(select, &scope, &cx("SELECT", &[])) {
            Ok(items) => items,
            // HAVING is judged first; what it finds nowhere may be a name that the select list gives.
            Err(error) => {
                let having = select
                    .having
                    .as_ref()
                    .map(|having| self.condition_in(having, &cx("HAVING", &[])));
                return Err(match having {
                    Some(Err(first)) if !is_later(&first) => first,
                    _ => error,
                });
            }
        };
        let aliases: Vec<(String, Typed)> = items
            .iter()
            .filter(|item| item.ast.is_some())
            .map(|item| (item.name.clone(), item.typed.clone()))
            .collect();
        let (of_rows, of_groups) = match &select.having {
            Some(having) => self.below_groups(having, &scope, &sets)?,
            None => (None, None),
        };
        if let Some(condition) = of_rows {
            plan = build(LogicalPlanBuilder::from(plan).filter(condition))?;
        }
        let mut having = match &of_groups {
            Some(having) => {
                let condition = self.condition_in(having, &cx("HAVING", &aliases))?;
                let window = items.iter().find(|item| holds_window(&item.typed.expr));
                if let Some(ast) = window.and_then(|item| item.ast.as_ref())
                    && holds_window(&condition)
                {
                    return Err(self.in_having(ast));
                }
                Some(condition)
            }
            None => None,
        };
        let mut qualify = match &select.qualify {
            Some(qualify) => Some(self.condition_in(qualify, &cx("QUALIFY", &aliases))?),
            None => None,
        };
        let mut hidden: Vec<(Expr, Option<ast::Expr>)> = Vec::new();
        let order_cx = cx("ORDER BY", &aliases);
        let mut keys: Vec<(Key, &OrderByExpr)> = Vec::new();
        for key in tail.order_by.iter().chain(tail.stored.clustered_by) {
            keys.push((self.sort_key(&key.expr, &items, &order_cx, &mut hidden)?, key));
        }
        // HAVING without grouping makes one group of everything.
        let grouped = !sets.is_empty() || !aggregates.borrow().exprs.is_empty() || select.having.is_some();
        let mut window_exprs = windows.into_inner().exprs;
        let is_grouping = grouped || matches!(select.distinct, Some(ast::Distinct::Distinct));
        self.check_grouped_context(is_grouping, &sets)?;
        let metrics = (is_grouping && window_exprs.is_empty()).then(|| {
            let aggregates = aggregates.borrow();
            items
                .iter()
                .map(|item| metric_of(&item.typed.expr, item.ast.as_ref(), &aggregates.exprs))
                .collect()
        });
        if grouped {
            let windowed = !window_exprs.is_empty();
            let keeps_order = match windowed {
                true => !aggregates.borrow().exprs.is_empty() || lists_keys(&sets, &items),
                false => is_listed(&sets, &items, &hidden),
            };
            if !keeps_order {
                sets = crate::rewrite::sets_in_table_order(&plan, sets);
            }
            let (unnested, values) = self.unnest_groups(plan, &multi)?;
            let mut aggregates = aggregates.into_inner().exprs;
            if aggregates.is_empty() && sets.is_empty() {
                aggregates.push(datafusion::functions_aggregate::expr_fn::count(lit(1i64)));
            }
            let (aggregated, map) = self.aggregate_plan(unnested, &sets, &values, aggregates)?;
            plan = aggregated;
            if let Some(condition) = having.take() {
                let condition = self
                    .regroup(condition, &map, select.having.as_ref(), None, &scope)
                    .map_err(|error| in_select_list(error, &items))?;
                plan = build(LogicalPlanBuilder::from(plan).having(condition))?;
            }
            for item in &mut items {
                item.typed.expr = self.regroup(item.typed.expr.clone(), &map, item.ast.as_ref(), item.place, &scope)?;
            }
            for (expr, ast) in &mut hidden {
                *expr = self.regroup(expr.clone(), &map, ast.as_ref(), None, &scope)?;
            }
            for expr in &mut window_exprs {
                *expr = self
                    .regroup(expr.clone(), &map, None, None, &scope)
                    .map_err(|error| self.in_window(error, expr, &map, &items, &scope))?;
                if sets.len() == 1 {
                    // Groups come in the order of their keys, which settles what a window leaves open.
                    super::window::settle_order(expr, map.groups.iter().map(|(_, column)| column));
                }
            }
            if let Some(condition) = qualify.take() {
                qualify = Some(self.regroup(condition, &map, select.qualify.as_ref(), None, &scope)?);
            }
        }
        if !window_exprs.is_empty() {
            let before = plan.schema().fields().len();
            let listed: Vec<&Expr> = items.iter().map(|item| &item.typed.expr).collect();
            let order = super::window::order_of_rows(&window_exprs, &plan, &listed);
            let sources: Vec<String> = window_exprs.iter().map(|e| e.schema_name().to_string()).collect();
            // What needs no order sees the rows as they come, before other windows sort them.
            let (unsorted, sorted): (Vec<Expr>, Vec<Expr>) =
                window_exprs.into_iter().partition(super::window::is_over_everything);
            for exprs in [unsorted, sorted] {
                if !exprs.is_empty() {
                    plan = LogicalPlanBuilder::window_plan(plan, exprs).map_err(|e| from_datafusion(&e))?;
                }
            }
            let columns: Vec<Column> = plan.schema().columns().split_off(before);
            if !order.is_empty() && self.engine == crate::EngineKind::Native {
                plan = build(LogicalPlanBuilder::from(plan).sort(order))?;
            }
            let resolve = |expr: Expr| -> Result<Expr, SqlError> {
                expr.transform_down(|e| {
                    Ok(match &e {
                        Expr::Column(column) if column.relation.as_ref().is_some_and(|r| r.table() == WINDOW) => {
                            let index: usize = column.name.parse().unwrap_or(usize::MAX);
                            let found = sources
                                .get(index)
                                .and_then(|source| columns.iter().find(|c| c.name == *source));
                            match found {
                                Some(column) => Transformed::yes(Expr::Column(column.clone())),
                                None => Transformed::no(e),
                            }
                        }
                        _ => Transformed::no(e),
                    })
                })
                .map(|t| t.data)
                .map_err(|e| from_datafusion(&e))
            };
            for item in &mut items {
                item.typed.expr = resolve(item.typed.expr.clone())?;
            }
            for (expr, _) in &mut hidden {
                *expr = resolve(expr.clone())?;
            }
            if let Some(condition) = qualify.take() {
                qualify = Some(resolve(condition)?);
            }
        }
        if let Some(condition) = qualify {
            plan = build(LogicalPlanBuilder::from(plan).filter(condition))?;
        }
        let distinct = matches!(select.distinct, Some(ast::Distinct::Distinct));
        if distinct && items.iter().any(|item| item.typed.ty == SqlType::MultiVarchar) {
            // DISTINCT groups, and so takes multi-value strings apart.
            let multi: Vec<Expr> = items
                .iter()
                .filter(|item| item.typed.ty == SqlType::MultiVarchar)
                .map(|item| item.typed.expr.clone())
                .collect();
            let (unnested, values) = self.unnest_groups(plan, &multi)?;
            plan = unnested;
            for item in &mut items {
                if let Some((_, value)) = values.iter().find(|(group, _)| *group == item.typed.expr) {
                    item.typed = Typed::new(value.clone(), SqlType::Varchar);
                }
            }
        }
        self.project(plan, items, hidden, keys, select, tail)
            .map(|bound| BoundQuery { metrics, ..bound })
    }

    /// The last steps: projection, DISTINCT, sort, limit.
    fn project(
        &self,
        plan: LogicalPlan,
        items: Vec<Item>,
        hidden: Vec<(Expr, Option<ast::Expr>)>,
        keys: Vec<(Key, &OrderByExpr)>,
        select: &Select,
        tail: &Tail,
    ) -> Result<BoundQuery, SqlError> {
        let distinct = matches!(select.distinct, Some(ast::Distinct::Distinct));
        let mut taken = HashSet::new();
        let mut names: Vec<String> = items.iter().map(|item| unique(&item.name, &mut taken)).collect();
        let visible = names.len();
        for i in 0..hidden.len() {
            names.push(unique(&format!("__henge_key_{i}"), &mut taken));
        }
        if distinct {
            self.check_distinct_order(&items, &hidden, &keys)?;
        }
        let exprs: Vec<Expr> = items
            .iter()
            .map(|item| item.typed.expr.clone())
            .chain(hidden.into_iter().map(|(expr, _)| expr))
            .zip(&names)
            .map(|(expr, name)| expr.alias(name.as_str()))
            .collect();
        // Columns are resolved, and what a grouping computed is named already.
        let mut builder = LogicalPlanBuilder::from(plan)
            .project_with_validation(exprs.into_iter().map(|expr| (expr, false)).collect())
            .map_err(|e| from_datafusion(&e))?;
        if distinct {
            builder = builder.distinct().map_err(|e| from_datafusion(&e))?;
        }
        let column = |name: &str| Expr::Column(Column::new_unqualified(name));
        let key_name = |key: &Key| match key {
            Key::Visible(i) => names[*i].clone(),
            Key::Hidden(i) => names[visible + i].clone(),
        };
        let order = tail.order_by.len();
        let sorts: Vec<Sort> = keys[..order]
            .iter()
            .map(|(key, ast)| {
                let asc = ast.options.asc.unwrap_or(true);
                Sort::new(column(&key_name(key)), asc, ast.options.nulls_first.unwrap_or(asc))
            })
            .collect();
        let cluster_keys: Vec<String> = keys[order..].iter().map(|(key, _)| key_name(key)).collect();
        if !sorts.is_empty() {
            builder = builder.sort(sorts).map_err(|e| from_datafusion(&e))?;
        }
        if tail.skip > 0 || tail.fetch.is_some() {
            builder = builder.limit(tail.skip, tail.fetch).map_err(|e| from_datafusion(&e))?;
        }
        if names.len() > visible && tail.stored.clustered_by.is_empty() {
            builder = builder
                .project(names[..visible].iter().map(|name| column(name)))
                .map_err(|e| from_datafusion(&e))?;
        }
        Ok(BoundQuery {
            plan: builder.build().map_err(|e| from_datafusion(&e))?,
            columns: items
                .iter()
                .map(|item| (item.name.clone(), item.typed.ty.clone()))
                .collect(),
            places: items.iter().map(|item| item.place).collect(),
            keys: cluster_keys,
            metrics: None,
        })
    }

    /// Refuses what DISTINCT rows cannot be sorted by: all but what their columns determine.
    fn check_distinct_order(
        &self,
        items: &[Item],
        hidden: &[(Expr, Option<ast::Expr>)],
        keys: &[(Key, &OrderByExpr)],
    ) -> Result<(), SqlError> {
        let listed = |expr: &Expr| items.iter().any(|item| item.typed.expr == *expr);
        for (key, by) in keys {
            let Key::Hidden(at) = key else { continue };
            let (shown, place) = match super::grouping::unlisted_column(&hidden[*at].0, &listed) {
                Some(stray) => match super::grouping::find_name(&by.expr, &stray.name) {
                    Some((name, span)) => (name, Some(position(span))),
                    None => (by.expr.to_string(), self.place(&by.expr)),
                },
                None if hidden[*at].0.column_refs().is_empty() => (by.expr.to_string(), self.place(&by.expr)),
                None => continue,
            };
            return Err(SqlError::invalid_at(
                format!("Expression '{shown}' is not in the select clause"),
                place,
            ));
        }
        Ok(())
    }

    pub(super) fn items(&self, select: &Select, scope: &Scope, cx: &Cx) -> Result<Vec<Item>, SqlError> {
        let mut items: Vec<Item> = Vec::with_capacity(select.projection.len());
        let all =
            |relations: &[super::scope::Relation], hidden: bool, place: Option<Position>, items: &mut Vec<Item>| {
                // What a star gives is told apart from what stands before: `a`, `a0`, `a1`.
                let mut taken: HashSet<String> = items.iter().map(|item| item.name.clone()).collect();
                for relation in relations {
                    let mut names = HashSet::new();
                    for column in relation.columns.iter().filter(|column| hidden || !column.merged) {
                        if !names.insert(&column.name) {
                            return Err(SqlError::invalid_at(
                                format!("Column '{}' is ambiguous", column.name),
                                place,
                            ));
                        }
                        items.push(Item {
                            name: unique(&column.name, &mut taken),
                            typed: Typed::new(Expr::Column(column.column.clone()), column.ty.clone()),
                            place,
                            ast: None,
                        });
                    }
                }
                Ok(())
            };
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(options) => {
                    if scope.relations.is_empty() {
                        return Err(SqlError::invalid_at(
                            "SELECT * requires a FROM clause".to_string(),
                            Some(position(options.wildcard_token.0.span)),
                        ));
                    }
                    let place = Some(position(options.wildcard_token.0.span));
                    all(&scope.relations, false, place, &mut items)?;
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    let ast::SelectItemQualifiedWildcardKind::ObjectName(name) = kind else {
                        return Err(SqlError::invalid("Only a table's columns can be selected by [.*]"));
                    };
                    let parts: Vec<&str> = name
                        .0
                        .iter()
                        .filter_map(|part| part.as_ident().map(|ident| ident.value.as_str()))
                        .collect();
                    match scope.relation(&parts) {
                        Some(relation) => {
                            let star = position(options.wildcard_token.0.span);
                            let at = self.tokens.at(options.wildcard_token.0.span.start).unwrap_or(0);
                            let place = self.tokens.range(at.saturating_sub(2 * parts.len()), at).or(Some(star));
                            all(std::slice::from_ref(relation), true, place, &mut items)?;
                        }
                        None => {
                            return Err(SqlError::invalid_at(
                                format!("Unknown identifier '{}'", parts.join(".")),
                                self.place_of_name(name),
                            ));
                        }
                    }
                }
                SelectItem::UnnamedExpr(expr) => {
                    let typed = self.expr(expr, &of_item(cx, expr))?;
                    if typed.ty.is_interval() {
                        return Err(interval_selected(&typed));
                    }
                    let name = match bare(expr) {
                        ast::Expr::Identifier(ident) => ident.value.clone(),
                        ast::Expr::CompoundIdentifier(parts) => {
                            parts.last().map(|ident| ident.value.clone()).unwrap_or_default()
                        }
                        ast::Expr::Function(function) if super::call::bare_name(function).is_some() => {
                            super::call::bare_name(function).map_or(String::new(), |ident| ident.value.clone())
                        }
                        _ => {
                            // Calcite counts the names so far, each once.
                            let names: HashSet<&String> = items.iter().map(|item| &item.name).collect();
                            format!("EXPR${}", names.len())
                        }
                    };
                    items.push(Item {
                        name,
                        typed,
                        place: self.place(expr),
                        ast: Some(expr.clone()),
                    });
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    if alias.quote_style == Some('\'') {
                        return Err(SqlError::invalid("Expecting alias, found character literal").in_grammar());
                    }
                    let typed = self.expr(expr, &of_item(cx, expr))?;
                    items.push(Item {
                        name: alias.value.clone(),
                        typed,
                        place: self.place(expr),
                        ast: Some(expr.clone()),
                    });
                }
                SelectItem::ExprWithAliases { .. } => {
                    return Err(SqlError::invalid("Only one alias is allowed for an expression"));
                }
            }
        }
        Ok(items)
    }

    pub(super) fn out_of_range(&self, expr: &ast::Expr) -> SqlError {
        SqlError::invalid_at("Ordinal out of range".to_string(), self.place(expr))
    }

    fn sort_key(
        &self,
        expr: &ast::Expr,
        items: &[Item],
        cx: &Cx,
        hidden: &mut Vec<(Expr, Option<ast::Expr>)>,
    ) -> Result<Key, SqlError> {
        if let Some(ordinal) = ordinal(expr) {
            return match ordinal.checked_sub(1) {
                Some(i) if i < items.len() => Ok(Key::Visible(i)),
                _ => Err(self.out_of_range(expr)),
            };
        }
        if let ast::Expr::Identifier(ident) = expr
            && let Some(i) = items.iter().position(|item| item.name == ident.value)
        {
            if items[i + 1..].iter().any(|item| item.name == ident.value) {
                return Err(SqlError::invalid_at(
                    format!("Column '{}' is ambiguous", ident.value),
                    self.place(expr),
                ));
            }
            return Ok(Key::Visible(i));
        }
        let typed = self.expr(expr, cx)?;
        if let Some(i) = items.iter().position(|item| item.typed.expr == typed.expr) {
            return Ok(Key::Visible(i));
        }
        if let Some(i) = hidden.iter().position(|(known, _)| *known == typed.expr) {
            return Ok(Key::Hidden(i));
        }
        hidden.push((typed.expr, Some(expr.clone())));
        Ok(Key::Hidden(hidden.len() - 1))
    }

    fn aggregate_plan(
        &self,
        plan: LogicalPlan,
        sets: &[Vec<Expr>],
        values: &[(Expr, Expr)],
        aggregates: Vec<Expr>,
    ) -> Result<(LogicalPlan, Grouped), SqlError> {
        let value = |group: &Expr| {
            let found = values.iter().find(|(known, _)| known == group);
            found.map_or_else(|| group.clone(), |(_, column)| column.clone())
        };
        let (group_exprs, groups, skip): (Vec<Expr>, Vec<Expr>, usize) = match sets {
            [] => (Vec::new(), Vec::new(), 0),
            [one] => (one.iter().map(value).collect(), one.clone(), 0),
            many => {
                let distinct = GroupingSet::GroupingSets(many.to_vec());
                let distinct: Vec<Expr> = distinct.distinct_expr().into_iter().cloned().collect();
                let set = many.iter().map(|set| set.iter().map(value).collect()).collect();
                (vec![Expr::GroupingSet(GroupingSet::GroupingSets(set))], distinct, 1)
            }
        };
        let count = aggregates.len();
        // Of no rows there are no totals either, where there are sets of keys beside.
        let with_totals = sets.len() > 1 && sets.iter().any(Vec::is_empty) && !groups.is_empty();
        let mut aggregates = aggregates;
        let mut rows_at = aggregates.len();
        if with_totals {
            let rows = datafusion::functions_aggregate::expr_fn::count(datafusion::logical_expr::lit(1i64));
            rows_at = aggregates
                .iter()
                .position(|known| *known == rows)
                .unwrap_or(aggregates.len());
            if rows_at == aggregates.len() {
                aggregates.push(rows);
            }
        }
        let (plan, group_exprs, aggregates) = self.without_subqueries(plan, group_exprs, aggregates)?;
        // Names of the plan leave casts out, so that different aggregates may have one name.
        let mut taken = HashSet::new();
        let aggregates = aggregates.into_iter().map(|aggregate| {
            let name = aggregate.schema_name().to_string();
            let only = unique(&name, &mut taken);
            if only == name { aggregate } else { aggregate.alias(only) }
        });
        let aggregates: Vec<Expr> = aggregates.collect();
        let plan = build(LogicalPlanBuilder::from(plan).aggregate(group_exprs, aggregates))?;
        let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        // The analyzer may have removed nothing yet: groups first, then the id of the grouping set, then aggregates.
        if columns.len() < groups.len() + skip + count {
            return Err(SqlError::unplannable("aggregation lost a column"));
        }
        let aggregate_columns = columns[groups.len() + skip..].to_vec();
        let plan = match aggregate_columns.get(rows_at) {
            Some(rows) if with_totals => {
                let some = rows.clone().gt(datafusion::logical_expr::lit(0i64));
                build(LogicalPlanBuilder::from(plan).filter(some))?
            }
            _ => plan,
        };
        Ok((
            plan,
            Grouped {
                groups: groups.into_iter().zip(columns).collect(),
                aggregates: aggregate_columns,
            },
        ))
    }

    /// Computes keys, conditions and arguments that ask queries before the aggregation, which cannot.
    fn without_subqueries(
        &self,
        plan: LogicalPlan,
        mut groups: Vec<Expr>,
        mut aggregates: Vec<Expr>,
    ) -> Result<(LogicalPlan, Vec<Expr>, Vec<Expr>), SqlError> {
        let mut computed: Vec<Expr> = Vec::new();
        let mut take = |expr: &mut Expr| {
            if asks(expr) {
                let name = self.qualifier("__subquery");
                let column = Expr::Column(Column::new_unqualified(name.as_str()));
                computed.push(std::mem::replace(expr, column).alias(name));
            }
        };
        groups.iter_mut().for_each(&mut take);
        for aggregate in &mut aggregates {
            if let Expr::AggregateFunction(call) = aggregate {
                call.params.args.iter_mut().for_each(&mut take);
                if let Some(filter) = &mut call.params.filter {
                    take(filter);
                }
            }
        }
        if computed.is_empty() {
            return Ok((plan, groups, aggregates));
        }
        let columns = plan.schema().columns().into_iter().map(Expr::Column);
        let exprs: Vec<Expr> = columns.chain(computed).collect();
        let plan = build(LogicalPlanBuilder::from(plan).project(exprs))?;
        Ok((plan, groups, aggregates))
    }

    /// Rewrites an expression onto the output of the aggregation.
    fn regroup(
        &self,
        expr: Expr,
        grouped: &Grouped,
        ast: Option<&ast::Expr>,
        place: Option<Position>,
        scope: &Scope,
    ) -> Result<Expr, SqlError> {
        let mut stray: Option<Column> = None;
        let rewritten = expr
            .transform_down(|e| {
                if let Some((_, column)) = grouped.groups.iter().find(|(group, _)| *group == e) {
                    return Ok(Transformed::new(column.clone(), true, TreeNodeRecursion::Jump));
                }
                if let Expr::Column(column) = &e {
                    let qualifier = column.relation.as_ref().map(|r| r.table());
                    if qualifier == Some(AGGREGATE) {
                        let index: usize = column.name.parse().unwrap_or(usize::MAX);
                        if let Some(found) = grouped.aggregates.get(index) {
                            return Ok(Transformed::new(found.clone(), true, TreeNodeRecursion::Jump));
                        }
                    }
                    if qualifier != Some(WINDOW) {
                        stray.get_or_insert_with(|| column.clone());
                    }
                }
                Ok(Transformed::no(e))
            })
            .map_err(|e| from_datafusion(&e))?;
        let Some(column) = stray else {
            return Ok(rewritten.data);
        };
        let name = scope
            .columns()
            .find(|known| known.column == column)
            .map_or(column.name.clone(), |known| known.name.clone());
        let written = ast.and_then(|ast| super::grouping::find_name(ast, &name));
        let (shown, place) = match written {
            Some((shown, span)) => (shown, Some(position(span))),
            // A star's column has its table's name.
            None if ast.is_none() && place.is_some() => {
                let table = scope
                    .relations
                    .iter()
                    .find(|relation| relation.columns.iter().any(|known| known.column == column))
                    .and_then(|relation| relation.alias.as_ref());
                (table.map_or(name.clone(), |table| format!("{table}.{name}")), place)
            }
            None => (name, None),
        };
        Err(SqlError::invalid_at(
            format!("Expression '{shown}' is not being grouped"),
            place,
        ))
    }
}

impl Binder<'_> {
    /// Gives an error of a window its place: the item that has the window.
    fn in_window(&self, error: SqlError, window: &Expr, grouped: &Grouped, items: &[Item], scope: &Scope) -> SqlError {
        let placed = items.iter().filter_map(|item| {
            let ast = item.ast.as_ref().filter(|ast| super::window::holds_window(ast))?;
            self.regroup(window.clone(), grouped, Some(ast), None, scope).err()
        });
        let placed = placed.into_iter().find(|error| error.position.is_some());
        placed.unwrap_or(error)
    }
}

/// Moves an error of HAVING to where the select list has the column of that name, which HAVING refers to.
fn in_select_list(error: SqlError, items: &[Item]) -> SqlError {
    let words = error
        .message
        .strip_prefix("Expression '")
        .and_then(|rest| rest.split_once('\''));
    let item = words.and_then(|(name, _)| items.iter().find(|item| item.name == name && item.ast.is_some()));
    match (item, words) {
        (Some(item), Some((name, _))) => {
            SqlError::invalid_at(format!("Expression '{name}' is not being grouped"), item.place)
        }
        _ => error,
    }
}

/// Tells whether HAVING's error comes behind one of the select list: all but those of the aggregates of standard SQL.
fn is_later(error: &SqlError) -> bool {
    let of = |name: &&str| error.message.contains(&format!("'{name}'"));
    !["AVG", "SUM", "MIN", "MAX", "COUNT", "LISTAGG"].iter().any(of)
}

fn holds_window(expr: &Expr) -> bool {
    expr.exists(|e| {
        Ok(matches!(e, Expr::Column(column) if column.relation.as_ref().is_some_and(|r| r.table() == WINDOW)))
    })
    .unwrap_or(false)
}

/// Gives the keys of grouping sets, each once.
fn keys_of(sets: &[Vec<Expr>]) -> Vec<&Expr> {
    let mut keys: Vec<&Expr> = Vec::new();
    for key in sets.iter().flatten() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Tells whether a select list starts with the keys of its GROUP BY as they are written there.
fn lists_keys(sets: &[Vec<Expr>], items: &[Item]) -> bool {
    let keys = keys_of(sets);
    items.len() >= keys.len() && items.iter().zip(keys).all(|(item, key)| item.typed.expr == *key)
}

/// Tells whether a select list is the keys of its GROUP BY as they are written there, and then aggregates, each once.
fn is_listed(sets: &[Vec<Expr>], items: &[Item], hidden: &[(Expr, Option<ast::Expr>)]) -> bool {
    if !lists_keys(sets, items) {
        return false;
    }
    let rest = &items[keys_of(sets).len()..];
    let is_aggregate = |expr: &Option<ast::Expr>| {
        matches!(expr, Some(ast::Expr::Function(function)) if function.over.is_none()
            && super::aggregate::find(&super::call::upper_name(function)).is_some())
    };
    let is_repeated = |at: usize, item: &Item| rest[..at].iter().any(|other| other.typed.expr == item.typed.expr);
    rest.iter().all(|item| is_aggregate(&item.ast))
        && !rest.iter().enumerate().any(|(at, item)| is_repeated(at, item))
        && hidden.iter().all(|(_, ast)| is_aggregate(ast))
}

/// Tells whether an expression holds a query.
fn asks(expr: &Expr) -> bool {
    expr.exists(|e| {
        Ok(matches!(
            e,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)
        ))
    })
    .unwrap_or(false)
}

/// Makes the error for a span of time as a result.
fn interval_selected(typed: &Typed) -> SqlError {
    let (unit, name) = match typed.ty {
        SqlType::IntervalMonth => ("MONTH", "INTERVAL_MONTH"),
        _ => ("DAY", "INTERVAL_DAY"),
    };
    let value = literal::as_long(&typed.expr).map_or(typed.expr.to_string(), |n| n.to_string());
    SqlError::input(format!(
        "Cannot handle literal [{value}:INTERVAL {unit}] of unsupported type [{name}]."
    ))
}

/// Reads an ordinal of GROUP BY and ORDER BY.
pub(super) fn ordinal(expr: &ast::Expr) -> Option<usize> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(number, _) => number.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Gives a name that no other field has.
pub(super) fn unique(name: &str, taken: &mut HashSet<String>) -> String {
    let mut candidate = name.to_string();
    let mut n = 0;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}{n}");
        n += 1;
    }
    candidate
}

pub(super) fn build(builder: datafusion::common::Result<LogicalPlanBuilder>) -> Result<LogicalPlan, SqlError> {
    builder
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| from_datafusion(&e))
}

/// Takes the parentheses off an expression.
fn bare(mut expr: &ast::Expr) -> &ast::Expr {
    while let ast::Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}
