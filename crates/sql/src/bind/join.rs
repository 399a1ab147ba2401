//! Joins: their conditions, and the columns that USING and NATURAL take from both sides.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, lit};
use datafusion::sql::sqlparser::ast::{self, JoinConstraint, JoinOperator, Spanned, TableFactor, TableWithJoins};

use super::scope::{Relation, ScopeColumn, not_found};
use super::{Binder, Ctes, Scope, Typed, from_datafusion};
use crate::parse::position;
use crate::{EngineKind, SqlError};

impl Binder<'_> {
    pub(super) fn joined(
        &self,
        item: &TableWithJoins,
        left: Option<LogicalPlan>,
        scope: &mut Scope,
        ctes: &Ctes,
    ) -> Result<LogicalPlan, SqlError> {
        let start = scope.relations.len();
        let mut plan = self.join_item(left, &item.relation, &JoinKind::cross(), scope, start, ctes)?;
        for join in &item.joins {
            let kind = join_kind(&join.join_operator)?;
            self.check_join(kind.join_type)?;
            if kind.needs_condition && !matches!(join.relation, TableFactor::UNNEST { .. }) {
                return Err(SqlError::invalid_at(
                    "INNER, LEFT, RIGHT or FULL join requires a condition (NATURAL keyword or ON or USING clause)",
                    self.place_before(&join.relation, "JOIN"),
                ));
            }
            plan = self.join_item(Some(plan), &join.relation, &kind, scope, start, ctes)?;
        }
        Ok(plan)
    }

    fn check_join(&self, join_type: JoinType) -> Result<(), SqlError> {
        let name = match join_type {
            JoinType::Right => "RIGHT",
            JoinType::Full => "FULL",
            _ => return Ok(()),
        };
        let sort_merge = self
            .context
            .string("sqlJoinAlgorithm")?
            .is_some_and(|algorithm| algorithm.eq_ignore_ascii_case("sortMerge"));
        if self.engine == EngineKind::Task && !sort_merge {
            return Err(SqlError::general(
                crate::Persona::User,
                crate::Category::Uncategorized,
                format!(
                    "Uncategorized calcite error message: [{name} JOIN is not supported by engine[msq-task] with sqlJoinAlgorithm[broadcast]. Try sqlJoinAlgorithm[sortMerge].]"
                ),
            ));
        }
        Ok(())
    }

    /// Joins one more item to what there is.
    fn join_item(
        &self,
        left: Option<LogicalPlan>,
        factor: &TableFactor,
        kind: &JoinKind,
        scope: &mut Scope,
        start: usize,
        ctes: &Ctes,
    ) -> Result<LogicalPlan, SqlError> {
        // An array of nothing but literals joins as any table does.
        let beside = matches!(factor, TableFactor::UNNEST { .. })
            && (kind.join_type == JoinType::Inner || self.factor(factor, ctes, scope.parent).is_err());
        if beside {
            let plan = match left {
                Some(plan) => plan,
                None => LogicalPlanBuilder::empty(true)
                    .build()
                    .map_err(|e| from_datafusion(&e))?,
            };
            let plan = self.unnest(plan, factor, scope)?;
            return self.elements_where(plan, kind, scope);
        }
        let lateral = matches!(factor, TableFactor::Derived { lateral: true, .. });
        let right = if lateral {
            let visible = Scope {
                relations: scope.relations.clone(),
                parent: scope.parent,
                inline: false,
            };
            self.factor(factor, ctes, Some(&visible))?
        } else {
            self.factor(factor, ctes, scope.parent)?
        };
        for alias in right.relations.iter().filter_map(|relation| relation.alias.as_deref()) {
            if scope
                .relations
                .iter()
                .any(|known| known.alias.as_deref() == Some(alias))
            {
                return Err(SqlError::invalid_at(
                    format!("Duplicate relation name '{alias}' in FROM clause"),
                    self.place_of_factor(factor),
                ));
            }
        }
        let Some(left) = left else {
            scope.relations.extend(right.relations);
            return Ok(right.plan);
        };
        let first_new = scope.relations.len();
        scope.relations.extend(right.relations);
        let mut conditions: Vec<Expr> = Vec::new();
        let mut merged: Vec<Merged> = Vec::new();
        match &kind.constraint {
            JoinConstraint::None => {}
            JoinConstraint::On(condition) => {
                let bound = self.condition(condition, scope, "ON")?;
                conditions.push(self.joined_by_values(bound, &scope.relations[..first_new])?);
            }
            JoinConstraint::Using(names) => {
                let names: Vec<(String, Option<crate::Position>)> = names
                    .iter()
                    .filter_map(|name| name.0.last().and_then(|part| part.as_ident()))
                    .map(|ident| (ident.value.clone(), Some(position(ident.span))))
                    .collect();
                merged = self.merge_columns(scope, start, first_new, &names)?;
            }
            JoinConstraint::Natural => {
                let (old, new) = scope.relations.split_at(first_new);
                let names: Vec<(String, Option<crate::Position>)> = visible(&old[start..])
                    .filter(|column| visible(new).any(|other| other.name == column.name))
                    .map(|column| (column.name.clone(), None))
                    .collect();
                merged = self.merge_columns(scope, start, first_new, &names)?;
            }
        }
        conditions.extend(merged.iter().map(|column| column.condition.clone()));
        let builder = LogicalPlanBuilder::from(left);
        let joined = if conditions.is_empty() && kind.join_type == JoinType::Inner {
            builder.cross_join(right.plan)
        } else if conditions.is_empty() {
            builder.join_on(right.plan, kind.join_type, [lit(true)])
        } else {
            builder.join_on(right.plan, kind.join_type, conditions)
        };
        let plan = joined
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| from_datafusion(&e))?;
        self.with_merged(plan, kind.join_type, merged, scope, start)
    }

    /// Keeps the elements of an UNNEST that the condition of its join holds for; an outer join of a row's own elements is none.
    fn elements_where(&self, plan: LogicalPlan, kind: &JoinKind, scope: &Scope) -> Result<LogicalPlan, SqlError> {
        let JoinConstraint::On(condition) = &kind.constraint else {
            return Ok(plan);
        };
        let bound = self.condition(condition, scope, "ON")?;
        if matches!(bound, Expr::Literal(ScalarValue::Boolean(Some(true)), _)) {
            return Ok(plan);
        }
        LogicalPlanBuilder::from(plan)
            .filter(bound)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| from_datafusion(&e))
    }

    /// A join does not look at several values: refused on its left side, and matched by none on its right.
    fn joined_by_values(&self, condition: Expr, left: &[Relation]) -> Result<Expr, SqlError> {
        if self.engine != EngineKind::Native {
            return Ok(condition);
        }
        let of_left = |expr: &Expr| {
            let columns = expr.column_refs();
            left.iter()
                .flat_map(|relation| relation.columns.iter())
                .any(|known| columns.contains(&known.column))
        };
        let mut refused = false;
        let condition = condition
            .transform_down(|expr| {
                let Expr::ScalarFunction(call) = &expr else {
                    return Ok(Transformed::no(expr));
                };
                let ("mv_any", [list, _, other]) = (call.func.name(), call.args.as_slice()) else {
                    return Ok(Transformed::no(expr));
                };
                refused |= of_left(list);
                let one = self.call_native("mv_one", vec![list.clone()]);
                Ok(match one {
                    Ok(one) => Transformed::yes(one.eq(other.clone())),
                    Err(_) => Transformed::no(expr),
                })
            })
            .map_err(|e| from_datafusion(&e))?
            .data;
        match refused {
            true => Err(several_values_joined()),
            false => Ok(condition),
        }
    }

    /// Finds the columns of USING and NATURAL on both sides, and hides them from unqualified names.
    fn merge_columns(
        &self,
        scope: &mut Scope,
        start: usize,
        first_new: usize,
        names: &[(String, Option<crate::Position>)],
    ) -> Result<Vec<Merged>, SqlError> {
        let mut merged = Vec::new();
        for (name, place) in names {
            if merged.iter().any(|known: &Merged| known.name == *name) {
                continue;
            }
            let (old, new) = scope.relations.split_at(first_new);
            let mut sides = Vec::with_capacity(2);
            for relations in [&old[start..], new] {
                let found: Vec<&ScopeColumn> = visible(relations).filter(|c| c.name == *name).collect();
                sides.push(match found.as_slice() {
                    [one] => Typed::new(Expr::Column(one.column.clone()), one.ty.clone()),
                    [] => {
                        let names: Vec<String> = visible(relations).map(|c| c.name.clone()).collect();
                        let message = format!("Column '{name}' not found in any table");
                        return Err(not_found(message, name, &names, *place));
                    }
                    _ => {
                        return Err(SqlError::invalid_at(
                            format!(
                                "Column name '{name}' in NATURAL join or USING clause is not unique on one side of join"
                            ),
                            *place,
                        ));
                    }
                });
            }
            let (Some(right), Some(left)) = (sides.pop(), sides.pop()) else {
                continue;
            };
            let condition = self.compare(Operator::Eq, left.clone(), right.clone()).map_err(|_| {
                SqlError::invalid_at(
                    format!("Column '{name}' matched using NATURAL keyword or USING clause has incompatible types"),
                    *place,
                )
            })?;
            for column in scope.relations[start..].iter_mut().flat_map(|r| &mut r.columns) {
                column.merged |= column.name == *name;
            }
            merged.push(Merged {
                name: name.clone(),
                condition,
                left,
                right,
            });
        }
        Ok(merged)
    }

    /// Puts the common columns of a USING or NATURAL join in front of the others: the value of the side that has one.
    fn with_merged(
        &self,
        plan: LogicalPlan,
        join_type: JoinType,
        merged: Vec<Merged>,
        scope: &mut Scope,
        start: usize,
    ) -> Result<LogicalPlan, SqlError> {
        if merged.is_empty() {
            return Ok(plan);
        }
        let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let mut columns = Vec::with_capacity(merged.len());
        for Merged { name, left, right, .. } in merged {
            let typed = match join_type {
                JoinType::Right => right,
                JoinType::Full => {
                    let (sides, ty) = self
                        .unify(vec![left, right])
                        .map_err(|_| SqlError::unplannable(format!("[{name}] has different types on both sides")))?;
                    let sides = sides
                        .into_iter()
                        .map(|side| self.cast(side, &ty).map(|typed| typed.expr))
                        .collect::<Result<Vec<_>, _>>()?;
                    Typed::new(datafusion::functions::core::expr_fn::coalesce(sides), ty)
                }
                _ => left,
            };
            let column = match typed.expr {
                Expr::Column(column) => column,
                computed => {
                    let field = self.qualifier("__using");
                    exprs.push(computed.alias(field.as_str()));
                    Column::new_unqualified(field)
                }
            };
            columns.push(ScopeColumn {
                name,
                column,
                ty: typed.ty,
                merged: false,
            });
        }
        scope.relations.insert(
            start,
            Relation {
                alias: None,
                schema: None,
                columns,
            },
        );
        if exprs.len() == plan.schema().fields().len() {
            return Ok(plan);
        }
        LogicalPlanBuilder::from(plan)
            .project(exprs)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| from_datafusion(&e))
    }

    /// Gives the place of a FROM item; parentheses around a query do not count.
    fn place_of_factor(&self, factor: &TableFactor) -> Option<crate::Position> {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                let place = self.place_of_name(name)?;
                let end = alias.as_ref().map_or(place, |alias| position(alias.name.span));
                Some(crate::Position {
                    end_line: end.end_line,
                    end_column: end.end_column,
                    ..place
                })
            }
            TableFactor::Derived { subquery, .. } if matches!(*subquery.body, ast::SetExpr::Values(_)) => {
                self.place_before(factor, "VALUES")
            }
            TableFactor::Derived { subquery, .. } => {
                let at = self.tokens.at(subquery.span().start)?;
                self.tokens.range(at, at)
            }
            _ => None,
        }
    }

    /// Gives the place of the last word of a kind in front of a FROM item.
    fn place_before(&self, factor: &TableFactor, word: &str) -> Option<crate::Position> {
        let mut at = self.tokens.at(match factor {
            TableFactor::Table { name, .. } => name.span().start,
            TableFactor::Derived { subquery, .. } => subquery.span().start,
            other => other.span().start,
        })?;
        while !crate::parse::is_word(&self.tokens.list().get(at)?.token, word) {
            at = at.checked_sub(1)?;
        }
        self.tokens.range(at, at)
    }
}

/// Says that rows of several values do not join.
pub(super) fn several_values_joined() -> SqlError {
    SqlError::legacy(
        crate::Persona::Operator,
        crate::Category::Unsupported,
        "Unsupported query",
        "org.apache.druid.query.QueryUnsupportedException",
        "Joining against a multi-value dimension is not supported.",
    )
}

/// A join's type and condition.
struct JoinKind {
    join_type: JoinType,
    constraint: JoinConstraint,
    /// True where Druid refuses the join without ON, USING or NATURAL.
    needs_condition: bool,
}

/// A column that a USING or NATURAL join takes from both sides.
struct Merged {
    name: String,
    condition: Expr,
    left: Typed,
    right: Typed,
}

/// Lists the columns that unqualified names find.
fn visible(relations: &[Relation]) -> impl Iterator<Item = &ScopeColumn> {
    relations
        .iter()
        .flat_map(|relation| relation.columns.iter())
        .filter(|column| !column.merged)
}

impl JoinKind {
    fn cross() -> Self {
        JoinKind {
            join_type: JoinType::Inner,
            constraint: JoinConstraint::None,
            needs_condition: false,
        }
    }
}

fn join_kind(operator: &JoinOperator) -> Result<JoinKind, SqlError> {
    let (join_type, constraint) = match operator {
        JoinOperator::Join(c) | JoinOperator::Inner(c) => (JoinType::Inner, c.clone()),
        JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (JoinType::Left, c.clone()),
        JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (JoinType::Right, c.clone()),
        JoinOperator::FullOuter(c) => (JoinType::Full, c.clone()),
        JoinOperator::CrossJoin(c) => (JoinType::Inner, c.clone()),
        other => {
            return Err(SqlError::unsupported(
                format!("Join type [{other:?}] is not supported")
                    .chars()
                    .take(120)
                    .collect::<String>(),
            ));
        }
    };
    let needs_condition = !matches!(operator, JoinOperator::CrossJoin(_)) && constraint == JoinConstraint::None;
    Ok(JoinKind {
        join_type,
        constraint,
        needs_condition,
    })
}
