//! FROM: tables, subqueries, UNNEST; joins and external data are beside.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, Spans, TableReference, UnnestOptions};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery};
use datafusion::sql::sqlparser::ast::{self, Spanned, TableAlias, TableFactor, TableWithJoins};

use super::external;
use super::pivot::{Pivot, Unpivot};
use super::scope::{Relation, ScopeColumn, not_found};
use super::{Binder, Ctes, Scope, TableSource, Typed, from_datafusion};
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

    pub(super) fn factor(
        &self,
        factor: &TableFactor,
        ctes: &Ctes,
        parent: Option<&Scope>,
    ) -> Result<FromItem, SqlError> {
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
                let bound = self.read_query(subquery, ctes, parent)?;
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
                self.named(plan, bound.columns, alias.as_ref(), "subquery")
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
            // TABLE( ) around a call may be left out.
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                ..
            } => {
                let function = ast::Function {
                    name: name.clone(),
                    uses_odbc_syntax: false,
                    parameters: ast::FunctionArguments::None,
                    args: ast::FunctionArguments::List(ast::FunctionArgumentList {
                        duplicate_treatment: None,
                        args: args.args.clone(),
                        clauses: Vec::new(),
                    }),
                    filter: None,
                    null_treatment: None,
                    over: None,
                    within_group: Vec::new(),
                };
                self.table_function(&function, alias.as_ref(), ctes)
            }
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
                alias.columns.first().zip(alias.columns.last()).map(|(first, last)| {
                    let end = position(last.name.span);
                    crate::Position {
                        end_line: end.end_line,
                        end_column: end.end_column,
                        ..position(first.name.span)
                    }
                }),
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
            _ => {
                return Err(self.no_object(&parts, place));
            }
        };
        let lookup = || self.catalog.lookup(table).and_then(|lookup| lookup.table().ok());
        let provider = match self.catalog.table(schema, table) {
            None if schema == "lookup" => lookup(),
            found => found,
        };
        let Some(provider) = provider else {
            let names = self.catalog.table_names(schema);
            let known_schema = !names.is_empty() || SCHEMAS.contains(&schema);
            if !known_schema {
                return Err(self.no_object(&parts, place));
            }
            let other_case = names.iter().any(|name| name.to_lowercase() == table.to_lowercase());
            let message = if parts.len() > 1 || other_case {
                format!("Object '{table}' not found within '{schema}'")
            } else {
                format!("Object '{table}' not found")
            };
            let view = table.to_uppercase();
            if parts.len() == 1 && !other_case && ["SCHEMATA", "TABLES", "COLUMNS", "ROUTINES"].contains(&view.as_str())
            {
                let hint = format!("did you mean [INFORMATION_SCHEMA.{view}]?");
                return Err(SqlError::invalid_at(message, place).hint(Some(hint)));
            }
            return Err(not_found(message, table, &names, place));
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

    /// Makes the error for a name whose schema there is not: the part that is not found, within what was.
    fn no_object(&self, parts: &[String], place: Option<crate::Position>) -> SqlError {
        let is_table = |schema: &str, name: &str| {
            self.catalog.table(schema, name).is_some() || (schema == "lookup" && self.catalog.lookup(name).is_some())
        };
        let within = |name: &str, found: &str| {
            SqlError::invalid_at(format!("Object '{name}' not found within '{found}'"), place)
        };
        match parts {
            [table, name, ..] if is_table("druid", table) => within(name, &format!("druid.{table}")),
            [schema, table, name, ..] if is_table(schema, table) => within(name, &format!("{schema}.{table}")),
            [schema, name, ..] if SCHEMAS.contains(&schema.as_str()) => within(name, schema),
            _ => {
                let name = parts.first().map_or("", String::as_str);
                let message = format!("Object '{name}' not found");
                not_found(message, name, &SCHEMAS.map(String::from), place)
            }
        }
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
        let last = function.name.0.last().and_then(|part| part.as_ident());
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
            _ => {
                let (args, _, _) = self.arguments(function, &super::expr::Cx::constant())?;
                let families: Vec<String> = args.iter().map(|arg| format!("<{}>", arg.ty.family())).collect();
                Err(SqlError::invalid_at(
                    format!(
                        "No match found for function signature {}({})",
                        last.map_or(name.as_str(), |ident| ident.value.as_str()),
                        families.join(", ")
                    ),
                    self.place_of_start(last.map_or(start, |ident| ident.span.start)),
                ))
            }
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
            if let ast::Expr::Identifier(_) = expr {
                self.expr(expr, &super::expr::Cx::constant())?;
            }
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
                        Some(column) => Typed::new(Expr::Column(column.column.clone()), column.ty.clone()),
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
    pub(super) fn unnest(
        &self,
        left: LogicalPlan,
        factor: &TableFactor,
        scope: &mut Scope,
    ) -> Result<LogicalPlan, SqlError> {
        let TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset: false,
            with_ordinality: false,
            ..
        } = factor
        else {
            return Err(SqlError::runtime(
                "java.lang.ArrayIndexOutOfBoundsException",
                "Index 1 out of bounds for length 1",
            )
            .hint(Some("UNNEST WITH ORDINALITY is not supported".into())));
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
                        "Cannot apply 'UNNEST' to arguments of type 'UNNEST(<{}>)'. Supported form(s): 'UNNEST(<MULTISET>)'\n'UNNEST(<ARRAY>)'\n'UNNEST(<MAP>)'\nUNNEST(<MULTISET>)\nUNNEST(<ARRAY>)\nUNNEST(<MAP>)",
                        other.in_message()
                    ),
                    self.extent(array, 0).and_then(|(first, _)| {
                        let word = (0..first)
                            .rev()
                            .find(|at| crate::parse::is_word(&self.tokens.list()[*at].token, "UNNEST"))?;
                        self.tokens.range(word, self.tokens.matching(word + 1)?)
                    }),
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
        let names = self.renamed(alias.as_ref(), &[("EXPR$0".to_string(), element.clone())])?;
        let column_name = match alias.as_ref() {
            // The name of what has one column is the column's too.
            Some(alias) if alias.columns.is_empty() => alias.name.value.clone(),
            _ => names.into_iter().next().unwrap_or_default(),
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

/// The schemas that there are.
const SCHEMAS: [&str; 5] = ["druid", "sys", "INFORMATION_SCHEMA", "lookup", "view"];

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

fn first_words(text: &str) -> String {
    text.split_whitespace().take(4).collect::<Vec<_>>().join(" ")
}
