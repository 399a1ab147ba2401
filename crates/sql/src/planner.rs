//! The planner: from a request to a [`Planned`].

use std::sync::{Arc, LazyLock};

use datafusion::common::DataFusionError;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::bind::{self, Binder};
use crate::parse::{self, Tokens};
use crate::{
    EngineKind, OutputColumn, Planned, QueryContext, SchemaCatalog, SqlError, SqlRequest, Statement, functions, native,
    rewrite,
};

/// Plans statements against a catalog. Cheap to keep, made once for each engine.
pub struct Planner {
    catalog: Arc<dyn SchemaCatalog>,
    engine: EngineKind,
    session: SessionState,
}

impl Planner {
    /// Makes a planner with a session of its own.
    pub fn new(catalog: Arc<dyn SchemaCatalog>, engine: EngineKind) -> Self {
        static SESSION: LazyLock<SessionState> =
            LazyLock::new(|| SessionStateBuilder::new().with_config(session_config()).build());
        Planner::with_session(catalog, engine, SESSION.clone())
    }

    /// Makes a planner that plans with the engine's session: its rules, its runtime. The session's settings must be those
    /// of [`session_config`] where they matter to SQL.
    pub fn with_session(catalog: Arc<dyn SchemaCatalog>, engine: EngineKind, session: SessionState) -> Self {
        Planner {
            catalog,
            engine,
            session,
        }
    }

    /// Plans a request.
    pub async fn plan(&self, request: SqlRequest) -> Result<Planned, SqlError> {
        self.plan_now(&request)
    }

    /// Plans a request; planning is computing only and never waits.
    pub fn plan_now(&self, request: &SqlRequest) -> Result<Planned, SqlError> {
        let parameters = parse::parameters::read(&request.parameters)?;
        parse::grammar::check(&request.sql)?;
        let tokens = parse::parameters::bind(Tokens::read(&request.sql)?, &parameters)?;
        // Trees of long chains are deep: parsing, binding and dropping them gets a stack of its own.
        let stack = parse::stack_bytes(&tokens);
        let planned = stacker::grow(stack, || self.plan_tokens(request, &tokens));
        planned.map_err(|error| match tokens.list().iter().any(|t| t.token == Token::Mod) {
            // What is refused is refused as Druid does, whose parser stops at it.
            true => SqlError::invalid(parse::grammar::PERCENT)
                .in_grammar()
                .hint(Some(error.message.clone())),
            false => error,
        })
    }

    fn plan_tokens(&self, request: &SqlRequest, tokens: &Tokens) -> Result<Planned, SqlError> {
        let parsed =
            parse::parse(tokens).map_err(|error| match error.of_ingestion && self.engine == EngineKind::Native {
                true => bind::needs_tasks(tokens.list().iter().any(|t| parse::is_word(&t.token, "REPLACE"))),
                false => error,
            })?;
        let mut context = QueryContext::from(request.context.clone());
        for (key, value) in &parsed.sets {
            context.set(key.clone(), value.clone());
        }
        context.check(self.engine)?;
        let bind = |asks_servers: bool| {
            let catalog = self.catalog.as_ref();
            let mut binder = Binder::new(catalog, self.engine, tokens, &parsed, &context);
            binder.asks_servers = asks_servers;
            let bound = binder.statement()?;
            Ok::<_, SqlError>((bound, binder.finish()))
        };
        let (mut bound, mut found) = bind(false)?;
        let reads_files = found
            .tables
            .values()
            .any(|table| matches!(table, bind::TableSource::Extern(_)));
        if self.engine == EngineKind::Native && reads_files {
            return Err(SqlError::unplannable("Cannot use [EXTERN] with SQL engine [native]."));
        }
        if found.unasked {
            // Only for a statement that is sound and runs.
            (bound, found) = bind(true)?;
        }
        let plan = rewrite::finished(&rewrite::Bound {
            plan: &bound.query.plan,
            types: bound.query.columns.iter().map(|(_, ty)| ty).collect(),
            engine: self.engine,
            of_system: found.tables.values().any(bind::TableSource::is_system),
            is_stored: !matches!(bound.statement, Statement::Select),
            session: &self.session,
        })?;
        let columns: Vec<OutputColumn> = bound
            .query
            .columns
            .iter()
            .zip(plan.schema().fields().iter())
            .map(|((name, sql_type), field)| OutputColumn {
                name: name.clone(),
                sql_type: sql_type.clone(),
                nullable: field.is_nullable(),
            })
            .collect();
        // An interactive query that runs shows nobody its wording.
        let is_shown = parsed.explain || self.engine == EngineKind::Task;
        let native = match is_shown {
            true => native::translate(&native::Input {
                plan: &bound.query.plan,
                optimised: &plan,
                columns: &columns,
                tables: &found.tables,
                statement: &bound.statement,
                context: &context,
                engine: self.engine,
            }),
            false => serde_json::Value::Null,
        };
        let mut statement = bound.statement;
        if let Statement::Insert(ingest) | Statement::Replace(ingest, _) = &mut statement {
            if let Some(rollup) = &mut ingest.rollup {
                rollup.query_granularity = native::query_granularity(&native);
            }
            let keys = native::stored_keys(&native);
            ingest.grouped_by = keys.grouped_by;
            ingest.computed_keys = keys.computed;
        }
        Ok(Planned {
            statement,
            explain: parsed.explain,
            plan,
            columns,
            resources: found.resources,
            lookups: found.lookups,
            context,
            session: self.session.clone(),
            native,
            masked_sql: mask(&request.sql),
        })
    }
}

/// Gives the settings that Druid's semantics need: names as written, plain strings.
pub fn session_config() -> SessionConfig {
    // Scans have as many partitions as pay already. What depends on the order of rows (HLL sketches, LATEST of equal times) sees them
    // as they are stored, as in Druid.
    let mut config = SessionConfig::new().with_round_robin_repartition(false);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    config
}

/// Registers the table of functions where plans are decoded by name.
pub fn register_functions(session: &mut SessionState) -> Result<(), DataFusionError> {
    use datafusion::logical_expr::registry::FunctionRegistry;
    for udf in functions::scalar_udfs() {
        session.register_udf(udf)?;
    }
    for udaf in functions::aggregate_udfs() {
        session.register_udaf(udaf)?;
    }
    Ok(())
}

impl SqlError {
    /// Finds Druid's error in a failure of DataFusion: at planning, or while the query runs.
    pub fn in_datafusion(error: &DataFusionError) -> Option<SqlError> {
        match error {
            DataFusionError::External(inner) => inner.downcast_ref::<SqlError>().cloned(),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Self::in_datafusion(inner),
            DataFusionError::Shared(inner) => Self::in_datafusion(inner),
            DataFusionError::Collection(list) => list.iter().find_map(Self::in_datafusion),
            DataFusionError::Execution(text) if text == "Scalar subquery returned more than one row" => {
                let message = "Subquery expression returned more than one row";
                let error = SqlError::general(crate::Persona::Operator, crate::Category::Uncategorized, message);
                Some(error.raised(""))
            }
            DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
                arrow::error::ArrowError::DivideByZero => Some(SqlError::general(
                    crate::Persona::Admin,
                    crate::Category::Uncategorized,
                    "/ by zero",
                )),
                arrow::error::ArrowError::ExternalError(inner) => inner
                    .downcast_ref::<SqlError>()
                    .cloned()
                    .or_else(|| inner.downcast_ref::<DataFusionError>().and_then(Self::in_datafusion)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Masks the secrets of EXTERN's input sources, as Druid does in logs and task payloads.
fn mask(sql: &str) -> String {
    const KEYS: [&str; 5] = [
        "secretAccessKey",
        "accessKeyId",
        "httpAuthenticationPassword",
        "password",
        "sharedAccessStorageToken",
    ];
    let lower = sql.to_ascii_lowercase();
    if !KEYS.iter().any(|key| lower.contains(&key.to_ascii_lowercase())) {
        return sql.to_string();
    }
    let mut out = sql.to_string();
    for key in KEYS {
        let pattern = format!(r#"(\\?"{key}\\?"\s*:\s*)(\\?"[^"\\]*\\?"|\{{[^{{}}]*\}})"#);
        if let Ok(regex) = regex::Regex::new(&pattern) {
            out = regex.replace_all(&out, r#"$1"<masked>""#).into_owned();
        }
    }
    // `HTTP(password => '…')`
    if let Ok(regex) = regex::Regex::new(r"(?i)(\bpassword\s*=>\s*)'(?:[^']|'')*'") {
        out = regex.replace_all(&out, "${1}'<masked>'").into_owned();
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn secrets_are_masked() {
        let sql = r#"SELECT 1 FROM TABLE(EXTERN('{"type":"s3","properties":{"secretAccessKey":{"type":"default","password":"pw"}}}'"#;
        assert!(!super::mask(sql).contains("pw"));
        assert!(!super::mask("SELECT 1 FROM TABLE(HTTP(PASSWORD => 'pw'))").contains("pw"));
        let sql =
            "SELECT 1 FROM TABLE(HTTP(uris => ARRAY['http://a'], password => 'p''w', format => 'csv')) (a VARCHAR)";
        assert_eq!(super::mask(sql), sql.replace("'p''w'", "'<masked>'"));
    }
}
