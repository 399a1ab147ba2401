//! The statement level: rules of INSERT and REPLACE, granularities, time chunks.

use std::collections::HashSet;

use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{self, CeilFloorKind};
use henge_time::{Granularity, Period};

use super::overwrite::{calcite, operator};
use super::stored::Stored;
use super::unit::{unit_name, unit_period};
use super::{Binder, BoundQuery};
use crate::parse::{Body, IngestAst, OverwriteAst, PartitionAst, Target, clustered_first};
use crate::statement::{Export, Ingest, Overwrite, Rollup, Statement};
use crate::{EngineKind, SqlError, SqlType, native};

/// A statement, bound.
pub(crate) struct BoundStatement {
    pub statement: Statement,
    pub query: BoundQuery,
}

const GRANULARITIES: &str = "Expected 'SECOND', 'MINUTE', 'FIVE_MINUTE', 'TEN_MINUTE', 'FIFTEEN_MINUTE', 'THIRTY_MINUTE', 'HOUR', 'SIX_HOUR', 'EIGHT_HOUR', 'DAY', 'MONTH', 'QUARTER', 'YEAR', 'ALL', ALL TIME, FLOOR() or TIME_FLOOR()";

impl Binder<'_> {
    /// Binds the whole statement.
    pub(crate) fn statement(&self) -> Result<BoundStatement, SqlError> {
        match &self.parsed.body {
            Body::Query(query) => {
                let mut bound = self.query(query, &Vec::new(), None)?;
                let all = self.context.boolean("sqlFinalizeOuterSketches")?.unwrap_or(false);
                bound.plan = self.finish_outer_sketches(&bound, all)?;
                if let Some(limit) = self.context.long("sqlOuterLimit")?
                    && let Ok(limit) = usize::try_from(limit)
                {
                    bound.plan = LogicalPlanBuilder::from(bound.plan)
                        .limit(0, Some(limit))
                        .and_then(LogicalPlanBuilder::build)
                        .map_err(|e| super::from_datafusion(&e))?;
                }
                Ok(BoundStatement {
                    statement: Statement::Select,
                    query: bound,
                })
            }
            Body::Ingest(ingest) => self.ingest(ingest),
        }
    }

    /// Words the sketches that are columns of the outermost query: those of tuples, and all with `sqlFinalizeOuterSketches`.
    fn finish_outer_sketches(&self, bound: &BoundQuery, all: bool) -> Result<LogicalPlan, SqlError> {
        const SKETCHES: [&str; 4] = ["DS_TUPLE_DOUBLES", "DS_HLL", "DS_QUANTILES_SKETCH", "DS_THETA"];
        let finished = if all { SKETCHES.as_slice() } else { &SKETCHES[..1] };
        let sketch_of = |i: usize| {
            let metric = bound.metrics.as_ref()?.get(i)?.as_ref()?;
            finished.iter().copied().find(|name| *name == metric.function)
        };
        if !(0..bound.columns.len()).any(|i| sketch_of(i).is_some()) {
            return Ok(bound.plan.clone());
        }
        let columns = bound.plan.schema().columns().into_iter().enumerate();
        let exprs = columns.map(|(i, column)| {
            let name = column.name.clone();
            match sketch_of(i) {
                Some(aggregate) => {
                    let finished = self.call_native("finished_sketch", vec![Expr::Column(column), lit(aggregate)])?;
                    Ok(finished.alias(name))
                }
                None => Ok(Expr::Column(column)),
            }
        });
        let exprs = exprs.collect::<Result<Vec<Expr>, SqlError>>()?;
        LogicalPlanBuilder::from(bound.plan.clone())
            .project(exprs)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| super::from_datafusion(&e))
    }

    fn ingest(&self, ast: &IngestAst) -> Result<BoundStatement, SqlError> {
        let operation = if ast.replace { "REPLACE" } else { "INSERT" };
        if self.engine == EngineKind::Native {
            return Err(self.refused_natively(ast, operation));
        }
        if let Target::Extern {
            destination,
            arguments,
            format,
        } = &ast.target
        {
            return self.export(ast, destination, arguments, format.as_deref());
        }
        // Parsing judges the granularity before anything else is looked at.
        let granularity = match &ast.partitioned_by {
            Some(partition) => Some(self.granularity(partition)?),
            None => {
                let target = self.target(&ast.target, operation).ok();
                target.and_then(|target| self.catalog.segment_granularity(&target))
            }
        };
        let Some(granularity) = granularity else {
            if !ast.clustered_by.is_empty() {
                return Err(clustered_first());
            }
            return Err(SqlError::invalid(format!(
                "Operation [{operation}] requires a PARTITIONED BY to be explicitly defined, but none was found."
            ))
            .hint(Some(
                "end the statement with PARTITIONED BY DAY (or HOUR, MONTH, YEAR, ALL), and CLUSTERED BY the columns that queries filter on"
                    .to_string(),
            )));
        };
        check_order(ast, operation)?;
        if self.context.get("sqlOuterLimit").is_some() {
            return Err(SqlError::invalid(format!(
                "Context parameter [sqlOuterLimit] cannot be provided on operator [{operation}]"
            )));
        }
        self.lock_type(ast.replace)?;
        let overwrite = match &ast.overwrite {
            None => None,
            Some(OverwriteAst::All) => Some(Overwrite::All),
            Some(OverwriteAst::Where(condition)) => Some(Overwrite::Intervals(self.chunks(condition, &granularity)?)),
        };
        let target = self.target(&ast.target, operation)?;
        self.check_limits(&ast.query, &granularity)?;
        let stored = Stored {
            clustered_by: &ast.clustered_by,
            unfinished: !self.context.boolean("finalizeAggregations")?.unwrap_or(true),
        };
        let bound = self.query_stored(&ast.query, &Vec::new(), None, &stored)?;
        self.add_resource(&target, "DATASOURCE");
        self.check_columns(&bound, &granularity)?;
        self.check_existing(&bound, &target)?;
        self.check_sort_order(&bound)?;
        let mut clustered_by: Vec<String> = Vec::with_capacity(bound.keys.len());
        for key in &bound.keys {
            // What a column decides the second time has been decided.
            if !clustered_by.contains(key) {
                clustered_by.push(key.clone());
            }
        }
        let ingest = Ingest {
            target,
            granularity,
            clustered_by,
            // The native query, which is not worded yet, tells them.
            grouped_by: Vec::new(),
            computed_keys: Vec::new(),
            rollup: self.rollup(&bound)?,
        };
        let statement = match overwrite {
            Some(overwrite) => Statement::Replace(ingest, overwrite),
            None => Statement::Insert(ingest),
        };
        Ok(BoundStatement {
            statement,
            query: bound,
        })
    }

    /// Tells whether a grouping is stored as a rollup: unfinished, and with multi-value strings left whole.
    pub(super) fn is_rollup(&self) -> Result<bool, SqlError> {
        let finalize = self.context.boolean("finalizeAggregations")?.unwrap_or(true);
        let unnest = self
            .context
            .boolean("groupByEnableMultiValueUnnesting")?
            .unwrap_or(true);
        Ok(!finalize && !unnest)
    }

    /// Makes the error of the interactive engine: what parsing judges comes before that it does not ingest.
    fn refused_natively(&self, ast: &IngestAst, operation: &str) -> SqlError {
        let granularity = ast.partitioned_by.as_ref().map(|partition| self.granularity(partition));
        match (granularity, check_order(ast, operation)) {
            (Some(Err(error)), _) | (_, Err(error)) => error,
            _ => needs_tasks(ast.replace),
        }
    }

    fn rollup(&self, bound: &BoundQuery) -> Result<Option<Rollup>, SqlError> {
        let Some(metrics) = bound.metrics.as_ref().filter(|_| matches!(self.is_rollup(), Ok(true))) else {
            return Ok(None);
        };
        let columns = bound.columns.iter().zip(metrics);
        let aggregators = columns.map(|((name, ty), metric)| native::combining(name, ty, metric.as_ref()?));
        Ok(Some(Rollup {
            aggregators: aggregators.collect(),
            query_granularity: None,
        }))
    }

    fn export(
        &self,
        ast: &IngestAst,
        destination: &str,
        arguments: &[(String, String)],
        format: Option<&str>,
    ) -> Result<BoundStatement, SqlError> {
        let Some(format) = format else {
            return Err(SqlError::invalid(
                "Exporting rows into an EXTERN destination requires an AS clause to specify the format, but none was found.",
            ));
        };
        if ast.partitioned_by.is_some() || !ast.clustered_by.is_empty() {
            return Err(SqlError::unsupported(
                "Export statements do not support a PARTITIONED BY or CLUSTERED BY clause.",
            ));
        }
        let developer =
            |text: String| SqlError::general(crate::Persona::Developer, crate::Category::Uncategorized, text);
        if !["CSV", "JSON"].contains(&format) {
            return Err(developer(format!(
                "No enum constant org.apache.druid.sql.http.ResultFormat.{format}"
            )));
        }
        let lower = destination.to_ascii_lowercase();
        if !["local", "s3", "google"].contains(&lower.as_str()) {
            return Err(developer(format!(
                "Please make sure to load all the necessary extensions and jars with type '{destination}' on 'druid/broker' service. Could not resolve type id '{destination}' as a subtype of `org.apache.druid.storage.ExportStorageProvider` known type ids = [local]\n at [Source: UNKNOWN; byte offset: #UNKNOWN]"
            )));
        }
        let query = self.query(&ast.query, &Vec::new(), None)?;
        self.add_resource(&lower, "EXTERNAL");
        Ok(BoundStatement {
            statement: Statement::Export(Export {
                destination: lower,
                arguments: arguments.to_vec(),
                format: format.to_string(),
            }),
            query,
        })
    }

    fn lock_type(&self, replace: bool) -> Result<(), SqlError> {
        let Some(lock) = self.context.string("taskLockType")? else {
            return Ok(());
        };
        let lock = lock.to_ascii_uppercase();
        let (allowed, operation) = if replace {
            (["EXCLUSIVE", "REPLACE"], "a REPLACE")
        } else {
            (["SHARED", "APPEND"], "an INSERT")
        };
        if allowed.contains(&lock.as_str()) {
            return Ok(());
        }
        Err(SqlError::input(format!(
            "TaskLock must be of type [{}] or [{}] for {operation} query. Found invalid type [{lock}] set. Please use [taskLockType] key in the context parameter and use one of the TaskLock types as mentioned earlier or remove this key for automatic lock type selection",
            allowed[0], allowed[1]
        )))
    }

    fn target(&self, target: &Target, operation: &str) -> Result<String, SqlError> {
        let Target::Table(parts) = target else {
            return Err(SqlError::invalid("INSERT requires a target table"));
        };
        let name = match parts.as_slice() {
            [name] => name,
            [schema, name] if schema == "druid" => name,
            [schema, name] => {
                return Err(SqlError::invalid(format!(
                    "Table [{schema}.{name}] does not support operation [{operation}] because it is not a Druid datasource"
                )));
            }
            more => {
                return Err(SqlError::invalid(format!(
                    "Druid does not support 3+ part names: [{}]",
                    more.join(".")
                )));
            }
        };
        let refuse = |why: &str| {
            Err(SqlError::input(format!(
                "Invalid value for field [table]: Value [{name}] {why}."
            )))
        };
        if name.is_empty() {
            return Err(SqlError::input(
                "Invalid value for field [table]: must not be null".to_string(),
            ));
        }
        if name.contains('/') {
            return refuse("cannot contain '/'");
        }
        if name.starts_with('.') {
            return refuse("cannot start with '.'");
        }
        if name.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')) {
            return refuse("contains illegal whitespace characters. Only space is allowed");
        }
        Ok(name.clone())
    }

    fn check_limits(&self, query: &ast::Query, granularity: &Granularity) -> Result<(), SqlError> {
        let (limit, offset) = match &query.limit_clause {
            None => (query.fetch.is_some(), false),
            Some(ast::LimitClause::LimitOffset { limit, offset, .. }) => {
                (limit.is_some() || query.fetch.is_some(), offset.is_some())
            }
            Some(ast::LimitClause::OffsetCommaLimit { .. }) => (true, true),
        };
        if limit && *granularity != Granularity::All {
            return Err(SqlError::invalid(
                "INSERT and REPLACE queries cannot have a LIMIT unless PARTITIONED BY is \"ALL\".",
            ));
        }
        if offset {
            return Err(SqlError::invalid("INSERT and REPLACE queries cannot have an OFFSET."));
        }
        Ok(())
    }

    fn check_columns(&self, bound: &BoundQuery, granularity: &Granularity) -> Result<(), SqlError> {
        let mut seen = HashSet::new();
        for ((name, ty), place) in bound.columns.iter().zip(&bound.places) {
            if name.starts_with("EXPR$") {
                return Err(SqlError::invalid_at(
                    "Insertion requires columns to be named, but at least one of the columns was unnamed.  This is usually the result of applying a function without having an AS clause, please ensure that all function callsare named with an AS clause as in \"func(X) as myColumn\".",
                    *place,
                ));
            }
            if !seen.insert(name) {
                return Err(SqlError::invalid(format!("Duplicate field in SELECT: [{name}]")));
            }
            if name == "__time" && *ty != SqlType::Timestamp {
                return Err(SqlError::invalid(format!(
                    "Field[__time] was the wrong type[{}], expected TIMESTAMP",
                    ty.name()
                )));
            }
        }
        let time = bound.columns.iter().any(|(name, _)| name == "__time");
        if !time && *granularity != Granularity::All {
            // Druid says INSERT of a REPLACE, too.
            return Err(SqlError::input(format!(
                "The granularity [{}] specified in the PARTITIONED BY clause of the INSERT query is different from ALL. Therefore, the query must specify a time column (named __time).",
                shown(granularity)
            )));
        }
        Ok(())
    }

    /// Text arrays and multi-value strings of one column do not mix, unless the user says so.
    fn check_existing(&self, bound: &BoundQuery, target: &str) -> Result<(), SqlError> {
        let Some(existing) = self.catalog.table("druid", target) else {
            return Ok(());
        };
        let schema = existing.schema();
        let skip = self.context.list("skipTypeVerification")?;
        let mode = self
            .context
            .string("arrayIngestMode")?
            .unwrap_or_else(|| "array".into())
            .to_ascii_lowercase();
        for (name, ty) in &bound.columns {
            let Ok(field) = schema.field_with_name(name) else {
                continue;
            };
            if skip.contains(name) {
                continue;
            }
            let old = SqlType::from_field(field);
            let array = |ty: &SqlType| matches!(ty, SqlType::Array(element) if element.is_text());
            let becomes_array = array(ty) && mode == "array";
            if becomes_array && old.is_text() {
                return Err(SqlError::invalid(format!(
                    "Cannot write into field[{name}] using type[{}] and arrayIngestMode[{mode}], since the existing type is[VARCHAR]. Try wrapping this field using ARRAY_TO_MV(...) AS \"{name}\". See https://druid.apache.org/docs/latest/querying/arrays#arrayingestmode for more details about this check and how to override it if needed.",
                    ty.in_message()
                )));
            }
            if array(&old) && (ty.is_text() || (array(ty) && mode == "mvd")) {
                return Err(SqlError::invalid(format!(
                    "Cannot write into field[{name}] using type[{}] and arrayIngestMode[{mode}], since the existing type is[VARCHAR ARRAY]. Try setting arrayIngestMode to[array] and adjusting your query to write arrays. See https://druid.apache.org/docs/latest/querying/arrays#arrayingestmode for more details about this check and how to override it if needed.",
                    ty.in_message()
                )));
            }
        }
        Ok(())
    }

    fn check_sort_order(&self, bound: &BoundQuery) -> Result<(), SqlError> {
        let order = self.context.list("segmentSortOrder")?;
        self.check_time_first(bound, &order)?;
        match order
            .iter()
            .find(|name| !bound.columns.iter().any(|(column, _)| column == *name))
        {
            Some(name) => Err(SqlError::invalid(format!(
                "Column[{name}] from context parameter[segmentSortOrder] does not appear in the query output"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses rows that are sorted by others before `__time`, unless the user says so.
    fn check_time_first(&self, bound: &BoundQuery, order: &[String]) -> Result<(), SqlError> {
        if !self.context.boolean("forceSegmentSortByTime")?.unwrap_or(true) {
            return Ok(());
        }
        let refused = |what: String| {
            Err(SqlError::invalid(format!(
                "{what} unless context parameter[forceSegmentSortByTime] is set to[false]. Warning: support for segments not sorted by[__time] is experimental. Such segments are not readable by older version of Druid, and certain queries cannot run on them. See https://druid.apache.org/docs/latest/ingestion/partitioning#sorting for details before setting forceSegmentSortByTime to[false]."
            )))
        };
        match order.first() {
            Some(first) if first != "__time" => {
                refused("Context parameter[segmentSortOrder] must start with[__time]".to_string())
            }
            Some(_) => Ok(()),
            None => match bound.keys.iter().position(|key| key == "__time") {
                Some(at) if at > 0 => refused(format!(
                    "Sort order (CLUSTERED BY) cannot include[__time] in position[{at}]"
                )),
                _ => Ok(()),
            },
        }
    }

    /// Judges PARTITIONED BY.
    fn granularity(&self, partition: &PartitionAst) -> Result<Granularity, SqlError> {
        let invalid = |text: &str| {
            SqlError::invalid(format!(
                "Invalid granularity[{text}] specified after PARTITIONED BY clause. {GRANULARITIES}"
            ))
            .in_grammar()
        };
        match partition {
            PartitionAst::All => Ok(Granularity::All),
            PartitionAst::Word(word) => named(word).ok_or_else(|| invalid(word)),
            PartitionAst::Text(text) => match text.trim().to_ascii_uppercase().as_str() {
                "ALL TIME" => Ok(Granularity::All),
                upper => named(upper).ok_or_else(|| invalid(&format!("'{text}'"))),
            },
            PartitionAst::Expr(expr) => self.granularity_expr(expr, &invalid),
        }
    }

    fn granularity_expr(&self, expr: &ast::Expr, invalid: &dyn Fn(&str) -> SqlError) -> Result<Granularity, SqlError> {
        let Some(operator) = operator(expr) else {
            return Err(invalid(&calcite(expr)));
        };
        let arguments: Vec<&ast::Expr> = match expr {
            ast::Expr::Floor {
                expr: argument,
                field: CeilFloorKind::DateTimeField(field),
            } => {
                if *field == ast::DateTimeField::NoDateTime {
                    return Err(two_arguments(&operator, 1));
                }
                check_time(argument, &operator)?;
                let unit = unit_name(field);
                let period = unit_period(&unit).and_then(|period| period.parse().ok());
                return period.ok_or_else(|| {
                    SqlError::invalid(format!("{unit} is not a valid period granularity for ingestion.")).in_grammar()
                });
            }
            ast::Expr::Function(function) if operator == "TIME_FLOOR" => match &function.args {
                ast::FunctionArguments::List(list) => {
                    let arguments = list.args.iter().filter_map(|argument| match argument {
                        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
                        _ => None,
                    });
                    arguments.collect()
                }
                _ => Vec::new(),
            },
            _ => {
                return Err(SqlError::invalid(format!(
                    "Invalid operator[{operator}] specified. PARTITIONED BY clause only supports FLOOR(__time TO <unit>) and TIME_FLOOR(__time, period) functions."
                ))
                .in_grammar());
            }
        };
        let [time, period] = arguments.as_slice() else {
            return Err(two_arguments(&operator, arguments.len()));
        };
        check_time(time, &operator)?;
        let ast::Expr::Value(_) = period else {
            return Err(SqlError::invalid(format!(
                "Invalid argument[{}] provided. The second argument to TIME_FLOOR in PARTITIONED BY clause must be a period like 'PT1H'.",
                kind(period)
            ))
            .in_grammar());
        };
        let text = self.text_literal(period)?.unwrap_or_default();
        let parsed: Period = text.parse().map_err(|_| {
            SqlError::invalid(format!("granularity['{text}'] is an invalid period literal.")).in_grammar()
        })?;
        known(Granularity::Period(parsed)).ok_or_else(|| invalid(&format!("`TIME_FLOOR`(`__time`, '{text}')")))
    }
}

/// Gives the granularity of a name or a period.
fn named(text: &str) -> Option<Granularity> {
    text.to_ascii_uppercase().parse().ok().and_then(known)
}

fn two_arguments(operator: &str, given: usize) -> SqlError {
    SqlError::invalid(format!(
        "{operator} in PARTITIONED BY clause must have 2 arguments, but only [{given}] provided."
    ))
    .in_grammar()
}

/// Refuses to cut anything but `__time`.
fn check_time(argument: &ast::Expr, operator: &str) -> Result<(), SqlError> {
    let given = match argument {
        ast::Expr::Identifier(ident) if ident.value == "__time" => return Ok(()),
        ast::Expr::Identifier(ident) => format!("[{}]", ident.value),
        other => format!(" type[{}]", kind(other)),
    };
    Err(SqlError::invalid(format!(
        "Invalid argument{given} provided. The first argument to {operator} in PARTITIONED BY clause must be __time."
    ))
    .in_grammar())
}

/// Gives Calcite's name of the kind of an expression.
fn kind(expr: &ast::Expr) -> &'static str {
    use ast::BinaryOperator as B;
    match expr {
        ast::Expr::Value(_) | ast::Expr::TypedString(_) => "LITERAL",
        ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) => "IDENTIFIER",
        ast::Expr::Cast { .. } => "CAST",
        ast::Expr::Floor { .. } => "FLOOR",
        ast::Expr::Ceil { .. } => "CEIL",
        ast::Expr::Case { .. } => "CASE",
        ast::Expr::Nested(inner) => kind(inner),
        ast::Expr::BinaryOp { op, .. } => match op {
            B::Plus => "PLUS",
            B::Minus => "MINUS",
            B::Multiply => "TIMES",
            B::Divide => "DIVIDE",
            _ => "OTHER",
        },
        _ => "OTHER_FUNCTION",
    }
}

/// Passes only the granularities that Druid has a name for.
fn known(granularity: Granularity) -> Option<Granularity> {
    granularity.name().map(|_| granularity)
}

/// Words a granularity as Druid's messages do.
pub(super) fn shown(granularity: &Granularity) -> String {
    match granularity {
        Granularity::All => "AllGranularity".into(),
        Granularity::Period(period) => format!("{{type=period, period={period}, timeZone=UTC, origin=null}}"),
    }
}

/// Makes the error for INSERT and REPLACE on the interactive engine.
pub(crate) fn needs_tasks(replace: bool) -> SqlError {
    SqlError::invalid(if replace {
        "REPLACE operations are not supported by the requested SQL engine [native].  Consider using MSQ."
    } else {
        "INSERT operations are not supported by requested SQL engine [native], consider using MSQ."
    })
}

/// Refuses an order of the rows that CLUSTERED BY does not give.
fn check_order(ast: &IngestAst, operation: &str) -> Result<(), SqlError> {
    if ast.query.order_by.is_some() {
        return Err(SqlError::invalid(format!(
            "Cannot use an ORDER BY clause on a Query of type [{operation}], use CLUSTERED BY instead"
        )));
    }
    for key in &ast.clustered_by {
        if key.options.asc == Some(false) {
            return Err(SqlError::invalid(format!(
                "Invalid CLUSTERED BY clause [{} DESC]: cannot sort in descending order.",
                calcite(&key.expr)
            )));
        }
        if let Some(ordinal) = key.expr.to_string().parse::<i32>().ok().filter(|ordinal| *ordinal < 1) {
            return Err(SqlError::invalid(format!(
                "Ordinal [{ordinal}] specified in the CLUSTERED BY clause is invalid. It must be a positive integer."
            )));
        }
    }
    Ok(())
}
