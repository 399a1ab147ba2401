//! GROUP BY: its keys, its sets, and the values of multi-value strings that are grouped by.

use std::cell::RefCell;
use std::collections::HashSet;

use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{self, GroupByExpr, Select, SelectItem, Spanned};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::aggregate::Aggregates;
use super::expr::Cx;
use super::select::{build, ordinal};
use super::window::Windows;
use super::{Binder, Ctes, Scope, Typed};
use crate::{EngineKind, SqlError, SqlType};

impl Binder<'_> {
    /// Makes one row a value of every multi-value string that is grouped by; gives the column for each.
    pub(super) fn unnest_groups(
        &self,
        mut plan: LogicalPlan,
        multi: &[Expr],
    ) -> Result<(LogicalPlan, Vec<(Expr, Expr)>), SqlError> {
        let mut values = Vec::new();
        let apart = self
            .context
            .boolean("groupByEnableMultiValueUnnesting")?
            .unwrap_or(true);
        for group in multi.iter().cloned() {
            let field = self.qualifier("__value");
            let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
            if !apart {
                let name = match &group {
                    Expr::Column(column) => column.name.clone(),
                    other => other.to_string(),
                };
                let single = self.call_native("mv_single", vec![group.clone(), lit(name), lit(self.engine.name())])?;
                exprs.push(single.alias(field.as_str()));
                plan = build(LogicalPlanBuilder::from(plan).project(exprs))?;
                values.push((group, Expr::Column(Column::new_unqualified(field))));
                continue;
            }
            let list = self.call_native("mv_harmonize", vec![group.clone()])?;
            exprs.push(list.alias(field.as_str()));
            let column = Column::new_unqualified(field);
            plan = build(
                LogicalPlanBuilder::from(plan)
                    .project(exprs)
                    .and_then(|b| b.unnest_column(column.clone())),
            )?;
            values.push((group, Expr::Column(column)));
        }
        Ok((plan, values))
    }

    /// Judges the keys of the context that only what groups reads: one floored time, or no key, otherwise than other keys.
    pub(super) fn check_grouped_context(&self, is_grouping: bool, sets: &[Vec<Expr>]) -> Result<(), SqlError> {
        if !is_grouping || self.engine != EngineKind::Native {
            return Ok(());
        }
        let is_of_time = match sets {
            [] => true,
            [set] => match set.as_slice() {
                [] => true,
                [Expr::ScalarFunction(call)] => call.func.name() == "timestamp_floor",
                _ => false,
            },
            _ => false,
        };
        self.context.check_grouping(!is_of_time)
    }

    /// Gives the grouping sets (none for no grouping, one for plain GROUP BY) and the multi-value strings among them.
    pub(super) fn group_by(
        &self,
        select: &Select,
        scope: &Scope,
        ctes: &Ctes,
    ) -> Result<(Vec<Vec<Expr>>, Vec<Expr>), SqlError> {
        let multi = RefCell::new(Vec::new());
        let sets = self.grouping_sets(select, scope, ctes, &multi)?;
        Ok((sets, multi.into_inner()))
    }

    fn grouping_sets(
        &self,
        select: &Select,
        scope: &Scope,
        ctes: &Ctes,
        multi: &RefCell<Vec<Expr>>,
    ) -> Result<Vec<Vec<Expr>>, SqlError> {
        let key = |typed: Typed| -> Expr {
            if typed.ty == SqlType::MultiVarchar && !multi.borrow().contains(&typed.expr) {
                multi.borrow_mut().push(typed.expr.clone());
            }
            typed.expr
        };
        let GroupByExpr::Expressions(exprs, modifiers) = &select.group_by else {
            return Err(SqlError::unsupported("GROUP BY ALL is not supported"));
        };
        if !modifiers.is_empty() {
            return Err(SqlError::unsupported("GROUP BY ... WITH is not supported"));
        }
        if exprs.is_empty() {
            return Ok(Vec::new());
        }
        let cx = Cx {
            clause: "GROUP BY",
            ctes: Some(ctes),
            ..Cx::plain(scope)
        };
        let parts_of = |list: &[Vec<ast::Expr>]| -> Result<Vec<Vec<Expr>>, SqlError> {
            list.iter()
                .map(|set| self.group_set(set, select, scope, &cx, &key))
                .collect()
        };
        // Every element is a list of sets; the whole is their product.
        let mut sets: Vec<Vec<Expr>> = vec![Vec::new()];
        for expr in exprs {
            let element: Vec<Vec<Expr>> = match expr {
                ast::Expr::GroupingSets(list) => parts_of(list)?,
                ast::Expr::Rollup(list) => {
                    self.check_sets(list.len() + 1, list.len() * list.len() / 2, expr)?;
                    let parts = parts_of(list)?;
                    each_once((0..=parts.len()).rev().map(|n| parts[..n].concat()))
                }
                ast::Expr::Cube(list) => {
                    let sets = u32::try_from(list.len()).ok().and_then(|n| 1usize.checked_shl(n));
                    self.check_sets(sets.filter(|sets| *sets > 0).unwrap_or(usize::MAX), 0, expr)?;
                    let parts = parts_of(list)?;
                    each_once((0..1usize << parts.len()).rev().map(|mask| {
                        let mut set = Vec::new();
                        for (i, part) in parts.iter().enumerate() {
                            if mask & (1 << (parts.len() - 1 - i)) != 0 {
                                set.extend(part.iter().cloned());
                            }
                        }
                        set
                    }))
                }
                ast::Expr::Tuple(list) => vec![self.group_set(list, select, scope, &cx, &key)?],
                single => vec![vec![key(self.group_key(single, select, scope, &cx)?)]],
            };
            let keys = |sets: &[Vec<Expr>]| sets.iter().map(Vec::len).sum::<usize>();
            self.check_sets(
                sets.len().saturating_mul(element.len()),
                keys(&sets).saturating_mul(element.len()) + keys(&element).saturating_mul(sets.len()),
                expr,
            )?;
            let mut product = Vec::with_capacity(sets.len() * element.len());
            for left in &sets {
                for right in &element {
                    let mut set = left.clone();
                    for expr in right {
                        if !set.contains(expr) {
                            set.push(expr.clone());
                        }
                    }
                    product.push(set);
                }
            }
            sets = product;
        }
        Ok(sets)
    }

    /// Refuses more grouping sets, or more keys in all of them, than memory is good for.
    fn check_sets(&self, sets: usize, keys: usize, element: &ast::Expr) -> Result<(), SqlError> {
        use crate::limits::{MAX_GROUPING_KEYS, MAX_GROUPING_SETS};
        if sets <= MAX_GROUPING_SETS && keys <= MAX_GROUPING_KEYS {
            return Ok(());
        }
        Err(SqlError::unplannable(format!(
            "GROUP BY makes more than the limit of {MAX_GROUPING_SETS} grouping sets or of {MAX_GROUPING_KEYS} keys in all of them; name the sets that are needed in GROUPING SETS (...)"
        ))
        .hint(self.place(element).map(|place| format!("the limit is exceeded at {place}"))))
    }

    fn group_set(
        &self,
        set: &[ast::Expr],
        select: &Select,
        scope: &Scope,
        cx: &Cx,
        key: &dyn Fn(Typed) -> Expr,
    ) -> Result<Vec<Expr>, SqlError> {
        set.iter()
            .map(|expr| self.group_key(expr, select, scope, cx).map(key))
            .collect()
    }

    fn group_key(&self, expr: &ast::Expr, select: &Select, scope: &Scope, cx: &Cx) -> Result<Typed, SqlError> {
        let item_expr = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
            _ => None,
        };
        if let Some(ordinal) = ordinal(expr) {
            let simple = select.projection.iter().all(|item| item_expr(item).is_some());
            if !simple {
                let none = RefCell::new(Aggregates::default());
                let windows = RefCell::new(Windows::default());
                let cx = Cx {
                    aggregates: Some(&none),
                    windows: Some(&windows),
                    ..cx.inside("SELECT")
                };
                let items = self.items(select, scope, &cx)?;
                return match ordinal.checked_sub(1).and_then(|i| items.get(i)) {
                    Some(item) => Ok(item.typed.clone()),
                    None => Err(self.out_of_range(expr)),
                };
            }
            return match ordinal
                .checked_sub(1)
                .and_then(|i| select.projection.get(i))
                .and_then(item_expr)
            {
                Some(target) => self.expr(&target, cx),
                None => Err(self.out_of_range(expr)),
            };
        }
        if let ast::Expr::Identifier(ident) = expr
            && !scope.columns().any(|column| column.name == ident.value)
        {
            let aliased = select.projection.iter().find_map(|item| match item {
                SelectItem::ExprWithAlias { expr, alias } if alias.value == ident.value => Some(expr),
                _ => None,
            });
            if let Some(target) = aliased {
                return self.expr(target, cx);
            }
        }
        self.expr(expr, cx)
    }
}

/// Gives the sets of a ROLLUP or CUBE: a key that is written twice counts once, and so does the set that this leaves twice.
fn each_once(sets: impl Iterator<Item = Vec<Expr>>) -> Vec<Vec<Expr>> {
    let mut seen = HashSet::new();
    let sets = sets.map(|set| {
        let mut keys: Vec<Expr> = Vec::with_capacity(set.len());
        for key in set {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    });
    sets.filter(|keys| seen.insert(keys.clone())).collect()
}

/// Gives a column of an expression that is neither selected itself nor within something that is.
pub(super) fn unlisted_column(expr: &Expr, listed: &dyn Fn(&Expr) -> bool) -> Option<Column> {
    let mut stray = None;
    let visited = expr.apply(|e| {
        if listed(e) {
            return Ok(TreeNodeRecursion::Jump);
        }
        if let Expr::Column(column) = e {
            stray = Some(column.clone());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "the visitor does not fail");
    stray
}

/// Finds a column's name inside an expression, outside of aggregates: as it is written, and where.
pub(super) fn find_name(expr: &ast::Expr, name: &str) -> Option<(String, Span)> {
    let (mut found, mut gathered) = (None, Vec::new());
    let _ = ast::visit_expressions(expr, |e| {
        match e {
            ast::Expr::Function(call)
                if call.over.is_none() && super::aggregate::find(&super::call::upper_name(call)).is_some() =>
            {
                gathered.push(e.span());
            }
            ast::Expr::Identifier(ident) if ident.value == name => found = Some((name.to_string(), ident.span)),
            ast::Expr::CompoundIdentifier(parts) => {
                if let (Some(first), Some(last)) = (parts.first(), parts.last())
                    && last.value == name
                {
                    let words: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
                    found = Some((words.join("."), first.span.union(&last.span)));
                }
            }
            _ => {}
        }
        let inside = |(_, span): &(String, Span)| {
            gathered
                .iter()
                .any(|aggregate: &Span| aggregate.start <= span.start && span.end <= aggregate.end)
        };
        found = found.take().filter(|found| !inside(found));
        match found {
            Some(_) => std::ops::ControlFlow::Break(()),
            None => std::ops::ControlFlow::Continue(()),
        }
    });
    found
}
