//! FROM: tables, subqueries, joins, UNNEST; external data is beside.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, JoinType, Spans, TableReference, UnnestOptions};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery, lit};
use datafusion::sql::sqlparser::ast::{
    self, JoinConstraint, JoinOperator, Spanned, TableAlias, TableFactor, TableWithJoins,
};

use super::external;
use super::pivot::{Pivot, Unpivot};
use super::scope::{Relation, ScopeColumn, did_you_mean};
use super::{Binder, Ctes, Scope, TableSource, from_datafusion, nearest};
use crate::parse::position;
use crate::{EngineKind, SqlError, SqlType};

/// A FROM item: its plan and what it offers.
pub(super) struct FromItem {
    pub plan: LogicalPlan,
    pub relations: Vec<Relation>,
}

impl Binder<'_> {
    /// Binds a whole FROM clause; commas are cross joins.
    pub(super) fn bind_from<'p>(
        &self,
        from: &[TableWithJoins],
        ctes: &Ctes,
        parent: Option<&'p Scope<'p>>,
    ) -> Result<(LogicalPlan, Scope<'p>), SqlError> {
        let mut scope = Scope::child_of(parent);
        let mut plan: Option<LogicalPlan> = None;
        for item in from {
            plan = Some(self.joined(item, plan, &mut scope, ctes)?);
        }
        let plan = match plan {
            Some(plan) => plan,
            None => LogicalPlanBuilder::empty(true)
                .build()
                .map_err(|e| from_datafusion(&e))?,
        };
        let reads = plan
            .exists(|node| Ok(matches!(node, LogicalPlan::TableScan(_))))
            .map_err(|e| from_datafusion(&e))?;
        scope.inline = !reads;
        Ok((plan, scope))
    }

    fn joined(
        &self,
        item: &TableWithJoins,
        left: Option<LogicalPlan>,
        scope: &mut Scope,
        ctes: &Ctes,
    ) -> Result<LogicalPlan, SqlError> {
        let mut plan = self.join_item(left, &item.relation, &JoinKind::cross(), scope, 0, ctes)?;
        for join in &item.joins {
            let from = scope.relations.len();
            let kind = join_kind(&join.join_operator)?;
            self.check_join(kind.join_type)?;
            plan = self.join_item(Some(plan), &join.relation, &kind, scope, from, ctes)?;
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
        _from: usize,
        ctes: &Ctes,
    ) -> Result<LogicalPlan, SqlError> {
        if let TableFactor::UNNEST { .. } = factor {
            let plan = match left {
                Some(plan) => plan,
                None => LogicalPlanBuilder::empty(true)
                    .build()
                    .map_err(|e| from_datafusion(&e))?,
            };
            return self.unnest(plan, factor, scope);
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
        let Some(left) = left else {
            scope.relations.extend(right.relations);
            return Ok(right.plan);
        };
        let first_new = scope.relations.len();
        scope.relations.extend(right.relations);
        let mut conditions: Vec<Expr> = Vec::new();
        match &kind.constraint {
            JoinConstraint::None => {}
            JoinConstraint::On(condition) => {
                let bound = self.condition(condition, scope, "ON")?;
                conditions.push(bound);
            }
            JoinConstraint::Using(names) => {
                let names: Vec<String> = names
                    .iter()
                    .filter_map(|name| name.0.last().and_then(|part| part.as_ident()).map(|i| i.value.clone()))
                    .collect();
                conditions = self.merge_columns(scope, first_new, &names)?;
            }
            JoinConstraint::Natural => {
                let names: Vec<String> = scope.relations[first_new..]
                    .iter()
                    .flat_map(|r| r.columns.iter().map(|c| c.name.clone()))
                    .filter(|name| {
                        scope.relations[..first_new]
                            .iter()
                            .any(|r| r.columns.iter().any(|c| c.name == *name && !c.merged))
                    })
                    .collect();
                conditions = self.merge_columns(scope, first_new, &names)?;
            }
        }
        let builder = LogicalPlanBuilder::from(left);
        let joined = if conditions.is_empty() && kind.join_type == JoinType::Inner {
            builder.cross_join(right.plan)
        } else if conditions.is_empty() {
            builder.join_on(right.plan, kind.join_type, [lit(true)])
        } else {
            builder.join_on(right.plan, kind.join_type, conditions)
        };
        joined
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| from_datafusion(&e))
    }

    fn merge_columns(&self, scope: &mut Scope, first_new: usize, names: &[String]) -> Result<Vec<Expr>, SqlError> {
        let mut conditions = Vec::new();
        for name in names {
            let find = |relations: &[Relation]| {
                relations
                    .iter()
                    .flat_map(|r| r.columns.iter())
                    .find(|c| c.name == *name && !c.merged)
                    .cloned()
            };
            let (Some(left), Some(right)) = (find(&scope.relations[..first_new]), find(&scope.relations[first_new..]))
            else {
                return Err(SqlError::invalid(format!("Column '{name}' not found in any table")));
            };
            conditions.push(Expr::Column(left.column).eq(Expr::Column(right.column)));
            for relation in &mut scope.relations[first_new..] {
                for column in &mut relation.columns {
                    column.merged |= column.name == *name;
                }
            }
        }
        Ok(conditions)
    }

    fn factor(&self, factor: &TableFactor, ctes: &Ctes, parent: Option<&Scope>) -> Result<FromItem, SqlError> {
        super::refused::check_factor(factor)?;
        self.deeper(|| match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => self.table(name, alias.as_ref(), ctes),
            TableFactor::Derived {
                lateral,
                subquery,
                alias,
                ..
            } => {
                let bound = self.query(subquery, ctes, parent)?;
                let outer_ref_columns = bound.plan.all_out_ref_exprs();
                // The optimiser finds what to decorrelate by this node.
                let plan = if *lateral && !outer_ref_columns.is_empty() {
                    LogicalPlan::Subquery(Subquery {
                        subquery: Arc::new(bound.plan),
                        outer_ref_columns,
                        spans: Spans::new(),
                    })
                } else {
                    bound.plan
                };
                self.named(plan, told_apart(bound.columns), alias.as_ref(), "subquery")
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => {
                let mut scope = Scope::child_of(parent);
                let plan = self.joined(table_with_joins, None, &mut scope, ctes)?;
                Ok(FromItem {
                    plan,
                    relations: scope.relations,
                })
            }
            TableFactor::TableFunction {
                expr: ast::Expr::Function(function),
                alias,
            } => self.table_function(function, alias.as_ref(), ctes),
            TableFactor::UNNEST { .. } => {
                let mut scope = Scope::child_of(parent);
                let one = LogicalPlanBuilder::empty(true)
                    .build()
                    .map_err(|e| from_datafusion(&e))?;
                let plan = self.unnest(one, factor, &mut scope)?;
                Ok(FromItem {
                    plan,
                    relations: scope.relations,
                })
            }
            TableFactor::Pivot {
                table,
                aggregate_functions,
                value_column,
                value_source,
                alias,
                ..
            } => {
                let input = self.factor(table, ctes, parent)?;
                let pivot = Pivot {
                    aggregates: aggregate_functions,
                    axes: value_column,
                    values: value_source,
                    alias: alias.as_ref(),
                };
                self.pivot(input, &pivot, ctes, parent)
            }
            TableFactor::Unpivot {
                table,
                value,
                name,
                columns,
                null_inclusion,
                alias,
            } => {
                let input = self.factor(table, ctes, parent)?;
                let unpivot = Unpivot {
                    value,
                    name,
                    columns,
                    nulls: null_inclusion.as_ref(),
                    alias: alias.as_ref(),
                };
                self.unpivot(input, &unpivot, ctes, parent)
            }
            other => Err(SqlError::unsupported(format!(
                "[{}] is not supported in FROM yet",
                first_words(&other.to_string())
            ))),
        })
    }

    /// Gives the column names that an alias gives.
    fn renamed(&self, alias: Option<&TableAlias>, columns: &[(String, SqlType)]) -> Result<Vec<String>, SqlError> {
        let Some(alias) = alias.filter(|alias| !alias.columns.is_empty()) else {
            return Ok(columns.iter().map(|(name, _)| name.clone()).collect());
        };
        if alias.columns.len() != columns.len() {
            let names: Vec<String> = columns.iter().map(|(name, _)| format!("'{name}'")).collect();
            return Err(SqlError::invalid_at(
                format!(
                    "List of column aliases must have same degree as table; table has {} columns ({}), whereas alias list has {} columns",
                    columns.len(),
                    names.join(", "),
                    alias.columns.len()
                ),
                Some(position(alias.name.span)),
            ));
        }
        Ok(alias.columns.iter().map(|column| column.name.value.clone()).collect())
    }

    /// Gives a plan a qualifier and the names of the alias.
    pub(super) fn named(
        &self,
        plan: LogicalPlan,
        columns: Vec<(String, SqlType)>,
        alias: Option<&TableAlias>,
        fallback: &str,
    ) -> Result<FromItem, SqlError> {
        let name = alias.map(|a| a.name.value.clone());
        let qualifier = self.qualifier(name.as_deref().unwrap_or(fallback));
        let reference = TableReference::bare(qualifier);
        let fields: Vec<String> = plan.schema().fields().iter().map(|f| f.name().clone()).collect();
        let plan = LogicalPlanBuilder::from(plan)
            .alias(reference.clone())
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| from_datafusion(&e))?;
        let names = self.renamed(alias, &columns)?;
        let columns = columns
            .into_iter()
            .zip(fields)
            .zip(names)
            .map(|(((_, ty), field), name)| ScopeColumn {
                name,
                column: Column::new(Some(reference.clone()), field),
                ty,
                merged: false,
            })
            .collect();
        Ok(FromItem {
            plan,
            relations: vec![Relation {
                alias: name,
                schema: None,
                columns,
            }],
        })
    }

    fn table(&self, name: &ast::ObjectName, alias: Option<&TableAlias>, ctes: &Ctes) -> Result<FromItem, SqlError> {
        let parts: Vec<String> = name
            .0
            .iter()
            .filter_map(|part| part.as_ident().map(|ident| ident.value.clone()))
            .collect();
        let place = self.place_of_name(name);
        if let [only] = parts.as_slice()
            && let Some(cte) = ctes.iter().rev().find(|cte| cte.name == *only)
        {
            let cte = Rc::clone(cte);
            self.reads(cte.relations.max(1), place)?;
            let mut item = self.named(cte.plan.clone(), cte.columns.clone(), alias, only)?;
            item.relations[0].alias.get_or_insert(only.clone());
            return Ok(item);
        }
        self.reads(1, place)?;
        let (schema, table) = match parts.as_slice() {
            [table] => ("druid", table.as_str()),
            [schema, table] => (schema.as_str(), table.as_str()),
            // The catalog's own name may stand in front.
            [catalog, schema, table] if catalog == "druid" => (schema.as_str(), table.as_str()),
            _ => {
                return Err(SqlError::invalid_at(format!("Object '{}' not found", parts[0]), place));
            }
        };
        let lookup = || self.catalog.lookup(table).and_then(|lookup| lookup.table().ok());
        let provider = match self.catalog.table(schema, table) {
            None if schema == "lookup" => lookup(),
            found => found,
        };
        let Some(provider) = provider else {
            let names = self.catalog.table_names(schema);
            let known_schema =
                !names.is_empty() || ["druid", "sys", "INFORMATION_SCHEMA", "lookup", "view"].contains(&schema);
            let missing = if known_schema { table } else { schema };
            let message = if known_schema && parts.len() > 1 {
                format!("Object '{table}' not found within '{schema}'")
            } else {
                format!("Object '{missing}' not found")
            };
            let hint = match parts.as_slice() {
                [only] if ["SCHEMATA", "TABLES", "COLUMNS", "ROUTINES"].contains(&only.to_uppercase().as_str()) => {
                    Some(format!("did you mean [INFORMATION_SCHEMA.{}]?", only.to_uppercase()))
                }
                _ => did_you_mean(nearest(table, names.iter().map(String::as_str))),
            };
            return Err(SqlError::invalid_at(message, place).hint(hint));
        };
        match schema {
            "druid" => self.add_resource(table, "DATASOURCE"),
            "view" => self.add_resource(table, "VIEW"),
            // A lookup is no resource of its own to Druid.
            "lookup" => {
                self.state.borrow_mut().lookups.insert(table.to_string());
            }
            _ if self.engine == EngineKind::Task => {
                return Err(SqlError::invalid(format!(
                    "Cannot query table(s) [{schema}.{table}] with SQL engine [msq-task]"
                )));
            }
            _ => {}
        }
        let qualifier = self.qualifier(alias.map_or(table, |a| a.name.value.as_str()));
        self.state.borrow_mut().tables.insert(
            qualifier.clone(),
            TableSource::Table {
                schema: schema.to_string(),
                name: table.to_string(),
            },
        );
        let mut item = self.scan(provider, &qualifier, alias)?;
        item.relations[0].alias = Some(alias.map_or(table, |a| a.name.value.as_str()).to_string());
        if alias.is_none() {
            item.relations[0].schema = Some(schema.to_string());
        }
        Ok(item)
    }

    pub(super) fn scan(
        &self,
        provider: Arc<dyn datafusion::catalog::TableProvider>,
        qualifier: &str,
        alias: Option<&TableAlias>,
    ) -> Result<FromItem, SqlError> {
        let reference = TableReference::bare(qualifier);
        let columns: Vec<(String, SqlType)> = provider
            .schema()
            .fields()
            .iter()
            .map(|field| (field.name().clone(), SqlType::from_field(field)))
            .collect();
        let plan = LogicalPlanBuilder::scan(reference.clone(), provider_as_source(provider), None)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| from_datafusion(&e))?;
        let names = self.renamed(alias, &columns)?;
        let columns = columns
            .into_iter()
            .zip(names)
            .map(|((field, ty), name)| ScopeColumn {
                name,
                column: Column::new(Some(reference.clone()), field),
                ty,
                merged: false,
            })
            .collect();
        Ok(FromItem {
            plan,
            relations: vec![Relation {
                alias: alias.map(|a| a.name.value.clone()),
                schema: None,
                columns,
            }],
        })
    }

    fn table_function(
        &self,
        function: &ast::Function,
        alias: Option<&TableAlias>,
        ctes: &Ctes,
    ) -> Result<FromItem, SqlError> {
        let name = function.name.to_string();
        let start = function.name.span().start;
        let columns = self.parsed.extends.get(&(start.line, start.column));
        match name.to_ascii_uppercase().as_str() {
            "EXTERN" => self.extern_table(function, columns, alias),
            "APPEND" => self.append(function, alias, ctes),
            known if external::is_source(known) => self.source_table(known, function, columns, alias),
            _ if columns.is_some() => Err(SqlError::general(
                crate::Persona::User,
                crate::Category::Uncategorized,
                external::no_schema(&name),
            )),
            _ => Err(SqlError::invalid_at(
                format!("No match found for function signature {}()", name.to_ascii_uppercase()),
                self.place_of_start(start),
            )),
        }
    }

    /// `TABLE(APPEND('t1', 't2'))`: a union by column name.
    fn append(&self, function: &ast::Function, alias: Option<&TableAlias>, ctes: &Ctes) -> Result<FromItem, SqlError> {
        let list = match &function.args {
            ast::FunctionArguments::List(list) if !list.args.is_empty() => list,
            _ => {
                return Err(SqlError::invalid_at(
                    "No match found for function signature APPEND()".to_string(),
                    self.place_of_start(function.name.span().start),
                ));
            }
        };
        let mut inputs = Vec::new();
        for (i, argument) in list.args.iter().enumerate() {
            let not_text = |expr: Option<&ast::Expr>| {
                let place = expr.and_then(|expr| self.place(expr));
                SqlError::invalid_at(
                    format!(
                        "All arguments to APPEND should be literal strings. Argument #{} is not string",
                        i + 1
                    ),
                    place,
                )
            };
            let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) = argument else {
                return Err(not_text(None));
            };
            let Ok(Some(name)) = self.text_literal(expr) else {
                return Err(not_text(Some(expr)));
            };
            let missing = |error: SqlError| match error.message.contains("not found") {
                true => {
                    SqlError::invalid_at(format!("Table [{name}] not found"), self.place(expr)).hint(error.hint.clone())
                }
                false => error,
            };
            let parts: Vec<ast::Ident> = match name.split_once('.') {
                Some((schema, table)) => vec![ast::Ident::new(schema), ast::Ident::new(table)],
                None => vec![ast::Ident::new(name.as_str())],
            };
            let table = self.table(&ast::ObjectName::from(parts), None, ctes);
            inputs.push(table.map_err(missing)?);
        }
        let mut columns: Vec<(String, SqlType)> = Vec::new();
        for input in &inputs {
            for column in &input.relations[0].columns {
                match columns.iter_mut().find(|(name, _)| *name == column.name) {
                    None => columns.push((column.name.clone(), column.ty.clone())),
                    Some((_, ty)) => *ty = super::coerce::common_type(ty, &column.ty).unwrap_or(SqlType::Varchar),
                }
            }
        }
        let mut plan: Option<LogicalPlan> = None;
        for input in inputs {
            let exprs: Vec<Expr> = columns
                .iter()
                .map(|(name, ty)| {
                    let found = input.relations[0].columns.iter().find(|c| c.name == *name);
                    let typed = match found {
                        Some(column) => super::Typed::new(Expr::Column(column.column.clone()), column.ty.clone()),
                        None => self.null_of(ty),
                    };
                    Ok(self.cast(typed, ty)?.expr.alias(name.as_str()))
                })
                .collect::<Result<_, SqlError>>()?;
            let projected = LogicalPlanBuilder::from(input.plan)
                .project(exprs)
                .and_then(LogicalPlanBuilder::build)
                .map_err(|e| from_datafusion(&e))?;
            plan = Some(match plan {
                None => projected,
                Some(left) => LogicalPlanBuilder::from(left)
                    .union(projected)
                    .and_then(LogicalPlanBuilder::build)
                    .map_err(|e| from_datafusion(&e))?,
            });
        }
        match plan {
            Some(plan) => self.named(plan, columns, alias, "append"),
            None => Err(SqlError::invalid("APPEND requires at least one table")),
        }
    }

    /// `UNNEST(array) AS u(c)` beside what there is: one row an element.
    fn unnest(&self, left: LogicalPlan, factor: &TableFactor, scope: &mut Scope) -> Result<LogicalPlan, SqlError> {
        let TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset: false,
            with_ordinality: false,
            ..
        } = factor
        else {
            return Err(SqlError::unplannable("UNNEST with ordinality is not supported"));
        };
        let [array] = array_exprs.as_slice() else {
            return Err(SqlError::unplannable("UNNEST takes one array"));
        };
        let typed = self.expr(array, &super::expr::Cx::plain(scope))?;
        let element = match &typed.ty {
            SqlType::Array(element) => element.as_ref().clone(),
            other => {
                return Err(SqlError::invalid_at(
                    format!(
                        "Cannot apply 'UNNEST' to arguments of type 'UNNEST(<{}>)'. Supported form(s): 'UNNEST(<MULTISET>)'\n'UNNEST(<ARRAY>)'\n'UNNEST(<MAP>)'",
                        other.in_message()
                    ),
                    self.place(array),
                ));
            }
        };
        let list = match &typed.expr {
            // A stored row without values is one NULL.
            Expr::ScalarFunction(call)
                if call.func.name() == "mv_to_array"
                    && matches!(call.args.as_slice(), [stored] if is_stored(stored)) =>
            {
                self.call_native("mv_harmonize", call.args.clone())?
            }
            _ => typed.expr,
        };
        let name = alias.as_ref().map(|a| a.name.value.clone());
        let column_name = match alias.as_ref().and_then(|a| a.columns.first()) {
            Some(column) => column.name.value.clone(),
            None => "EXPR$0".to_string(),
        };
        // The unnested column loses any qualifier, so its own name is made unique.
        let field = self.qualifier("__unnest");
        let mut exprs: Vec<Expr> = left.schema().columns().into_iter().map(Expr::Column).collect();
        exprs.push(list.alias(field.as_str()));
        let column = Column::new_unqualified(field);
        let plan = LogicalPlanBuilder::from(left)
            .project(exprs)
            .and_then(|b| b.unnest_column_with_options(column.clone(), UnnestOptions::new().with_preserve_nulls(false)))
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| from_datafusion(&e))?;
        scope.relations.push(Relation {
            alias: name,
            schema: None,
            columns: vec![ScopeColumn {
                name: column_name,
                column,
                ty: element,
                merged: false,
            }],
        });
        Ok(plan)
    }
}

/// A join's type and condition.
struct JoinKind {
    join_type: JoinType,
    constraint: JoinConstraint,
}

impl JoinKind {
    fn cross() -> Self {
        JoinKind {
            join_type: JoinType::Inner,
            constraint: JoinConstraint::None,
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
    Ok(JoinKind { join_type, constraint })
}

/// Tells whether an expression is a column as it is stored, or its text as a list of one.
fn is_stored(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::ScalarFunction(call) => {
            call.func.name() == "to_list" && matches!(call.args.as_slice(), [Expr::Column(_)])
        }
        _ => false,
    }
}

/// Renames all but the first of several columns of one name, as a subquery does: `a`, `a0`, `a1`.
pub(super) fn told_apart(columns: Vec<(String, SqlType)>) -> Vec<(String, SqlType)> {
    let mut taken = HashSet::new();
    columns
        .into_iter()
        .map(|(name, ty)| (super::select::unique(&name, &mut taken), ty))
        .collect()
}

fn first_words(text: &str) -> String {
    text.split_whitespace().take(4).collect::<Vec<_>>().join(" ")
}
