//! What a statement asks for, and what planning makes of it.

use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use henge_time::{Granularity, Interval};
use serde_json::Value;

use crate::{QueryContext, SqlType};

/// A request as it came in.
#[derive(Debug, Clone, Default)]
pub struct SqlRequest {
    /// The text; may begin with `SET k = v;`.
    pub sql: String,
    /// The request's context object.
    pub context: serde_json::Map<String, Value>,
    /// Values of `?`, in order.
    pub parameters: Vec<SqlParameter>,
}

/// A value of a `?` (`SqlParameter`).
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
pub struct SqlParameter {
    /// `VARCHAR`, `BIGINT`, `TIMESTAMP`, `ARRAY` …
    #[serde(rename = "type")]
    pub sql_type: String,
    /// The value as JSON.
    pub value: Value,
}

/// Which engine a statement is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Interactive: SELECT only, answers stream (Druid's `native`).
    Native,
    /// A task: stages, INSERT, REPLACE, EXTERN (Druid's `msq-task`).
    Task,
}

impl EngineKind {
    /// Gives Druid's name of the engine.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Native => "native",
            EngineKind::Task => "msq-task",
        }
    }
}

/// What the statement does with its rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// Gives them back.
    Select,
    /// Appends them to a table.
    Insert(Ingest),
    /// Replaces a table's time chunks by them.
    Replace(Ingest, Overwrite),
    /// Writes them to files outside (`INSERT INTO EXTERN(…) AS CSV`).
    Export(Export),
}

impl Statement {
    /// Gives `SELECT`, `INSERT` or `REPLACE`.
    pub fn kind(&self) -> &'static str {
        match self {
            Statement::Select => "SELECT",
            Statement::Insert(_) | Statement::Export(_) => "INSERT",
            Statement::Replace(..) => "REPLACE",
        }
    }

    /// Gives what is written, for INSERT and REPLACE.
    pub fn ingest(&self) -> Option<&Ingest> {
        match self {
            Statement::Insert(ingest) | Statement::Replace(ingest, _) => Some(ingest),
            Statement::Select | Statement::Export(_) => None,
        }
    }
}

/// Target and layout of INSERT and REPLACE.
#[derive(Debug, Clone, PartialEq)]
pub struct Ingest {
    /// Datasource.
    pub target: String,
    /// PARTITIONED BY.
    pub granularity: Granularity,
    /// CLUSTERED BY, as names of the plan's output. A name may stand for a hidden column: the plan then has more columns
    /// than [`Planned::columns`], and those behind the visible ones sort but are not stored.
    pub clustered_by: Vec<String>,
    /// The columns of the keys of the statement's grouping, in their order; none where CLUSTERED BY orders the rows.
    pub grouped_by: Vec<String>,
    /// For each column of [`Ingest::keys`] how Druid computes it, if it is no column that the query reads.
    pub computed_keys: Vec<Option<ComputedKey>>,
    /// What is aggregated further when stored rows are merged; none where rows are stored as they are.
    pub rollup: Option<Rollup>,
}

impl Ingest {
    /// Gives the columns by which the rows of a time chunk are ordered and cut into segments: CLUSTERED BY, or the keys of the
    /// grouping. They are names of the plan's output, as in [`Ingest::clustered_by`].
    pub fn keys(&self) -> &[String] {
        match self.clustered_by.is_empty() {
            true => &self.grouped_by,
            false => &self.clustered_by,
        }
    }
}

/// A virtual column by which rows are ordered.
#[derive(Debug, Clone, PartialEq)]
pub struct ComputedKey {
    /// Its name in the native query, and in shard specs where the column is not stored.
    pub name: String,
    /// Druid's JSON of it.
    pub virtual_column: Value,
}

/// How the groups of an INSERT or REPLACE are stored as a rollup.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollup {
    /// For each visible column Druid's JSON of the aggregator that combines its values; none for dimensions.
    pub aggregators: Vec<Option<Value>>,
    /// Druid's JSON of the granularity to which `__time` is cut, where the grouping tells it.
    pub query_granularity: Option<Value>,
}

/// What REPLACE replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overwrite {
    /// Everything.
    All,
    /// These time chunks, aligned with the granularity.
    Intervals(Vec<Interval>),
}

/// Target of an export.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// `local`, `s3`, `google` …, lower case.
    pub destination: String,
    /// Named arguments of the destination.
    pub arguments: Vec<(String, String)>,
    /// `CSV` or `JSON`, upper case.
    pub format: String,
}

/// A column of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputColumn {
    /// Name in the header; may repeat in a SELECT. The plan's own field names are unique, so read columns by position.
    pub name: String,
    /// SQL type.
    pub sql_type: SqlType,
    /// False where the plan knows that no NULL comes.
    pub nullable: bool,
}

/// Something that a statement reads or writes, as EXPLAIN and authorisation name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// Datasource, or `EXTERNAL`.
    pub name: String,
    /// `DATASOURCE`, `EXTERNAL`, `VIEW` …
    pub kind: String,
}

/// A statement, planned.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What to do with the rows.
    pub statement: Statement,
    /// True for EXPLAIN PLAN FOR: nothing is run, [`Planned::explain_row`] is the answer.
    pub explain: bool,
    /// The query, optimised.
    pub plan: LogicalPlan,
    /// Its visible columns, in order.
    pub columns: Vec<OutputColumn>,
    /// What it touches, sorted by name.
    pub resources: Vec<Resource>,
    /// The lookups that it reads, sorted by name.
    pub lookups: Vec<String>,
    /// The request's context with the statement's SETs.
    pub context: QueryContext,
    /// Session to make the physical plan with.
    pub session: SessionState,
    /// Native queries (`[{"query":…,"signature":…,"columnMappings":…}]`), for EXPLAIN and stage definitions; null of an interactive query
    /// that is no EXPLAIN.
    pub native: Value,
    /// Statement text with secrets of EXTERN masked, as logs, tasks and reports show it.
    pub masked_sql: String,
}

impl Planned {
    /// Gives the three JSON texts that EXPLAIN PLAN FOR answers: `PLAN`, `RESOURCES`, `ATTRIBUTES`.
    pub fn explain_row(&self) -> [String; 3] {
        crate::explain::row(self)
    }
}
