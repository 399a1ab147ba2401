//! Syntax tree to logical plan: names, types, coercions, and every message with its place.
//!
//! The binder does what Calcite's validator and Druid's conversion do, on DataFusion's plan builder:
//!
//! * [`scope`] finds columns; every table of a FROM gets a qualifier that is unique in the statement.
//! * [`query`] and [`select`] build the relational part: CTEs, set operations, FROM, GROUP BY, windows, ORDER BY.
//! * [`expr`], [`call`] and [`special`] bind expressions to a [`Typed`]: DataFusion's expression with Druid's type.
//! * [`coerce`] holds the rules of casts and comparisons.

pub(crate) mod aggregate;
mod any_value;
pub(crate) use any_value::without_numbers_of_values;
mod arithmetic;
mod by_value;
mod call;
pub(crate) mod coerce;
mod condition;
mod expr;
mod external;
mod foreign;
mod framing;
mod from;
mod gathered;
mod grouping;
mod ingest;
mod jdbc;
mod join;
mod literal;
mod overwrite;
mod pivot;
mod predicate;
mod query;
mod refused;
mod scope;
mod select;
mod sketch_calls;
pub(crate) mod sketches;
mod special;
mod stored;
mod unit;
mod window;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::ast::Spanned;
use datafusion::sql::sqlparser::tokenizer::Location;
use henge_input::ExternSpec;

use crate::error::Position;
use crate::functions::Zone;
use crate::parse::{Parsed, Tokens, position};
use crate::statement::Resource;
use crate::{EngineKind, QueryContext, SchemaCatalog, SqlError, SqlType};

pub(crate) use ingest::needs_tasks;
pub(crate) use scope::{Cte, Scope};

/// An expression with Druid's type.
#[derive(Debug, Clone)]
pub(crate) struct Typed {
    pub expr: Expr,
    pub ty: SqlType,
}

impl Typed {
    pub fn new(expr: Expr, ty: SqlType) -> Self {
        Typed { expr, ty }
    }

    /// Words the type as Calcite's messages do: literals say how many digits they have.
    pub fn in_message(&self) -> String {
        match (&self.ty, &self.expr) {
            (SqlType::Decimal, Expr::Literal(ScalarValue::Float64(Some(value)), _)) => {
                let text = value.abs().to_string();
                let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
                let whole = whole.trim_start_matches('0').len();
                format!("DECIMAL({}, {})", whole + fraction.len(), fraction.len())
            }
            (SqlType::Timestamp, Expr::Literal(ScalarValue::TimestampMillisecond(Some(millis), _), _)) => {
                let digits = match millis.rem_euclid(1000) {
                    0 => 0,
                    ms if ms % 100 == 0 => 1,
                    ms if ms % 10 == 0 => 2,
                    _ => 3,
                };
                format!("TIMESTAMP({digits})")
            }
            _ => self.ty.in_message(),
        }
    }
}

/// A query, bound: the plan's first fields are the visible columns, in order and with unique names.
#[derive(Debug, Clone)]
pub(crate) struct BoundQuery {
    pub plan: LogicalPlan,
    /// Names as the user sees them, and types.
    pub columns: Vec<(String, SqlType)>,
    /// Where each column was written, for messages.
    pub places: Vec<Option<Position>>,
    /// Names of the plan's fields that sort (CLUSTERED BY), hidden ones included.
    pub keys: Vec<String>,
    /// Where the query is one grouping: for each visible column the aggregate that it is, none for what is no aggregate alone.
    pub metrics: Option<Vec<Option<Metric>>>,
}

/// An aggregate that is a column of its own.
#[derive(Debug, Clone)]
pub(crate) struct Metric {
    /// Upper case name as written.
    pub function: String,
    /// The aggregate's call.
    pub call: Expr,
}

/// A table that a statement reads, by the qualifier that the plan knows it under.
#[derive(Debug, Clone)]
pub(crate) enum TableSource {
    /// A stored or system table.
    Table { schema: String, name: String },
    /// External data.
    Extern(Box<ExternSpec>),
}

impl TableSource {
    /// Tells whether it is a table of `sys` or `INFORMATION_SCHEMA`.
    pub fn is_system(&self) -> bool {
        matches!(self, TableSource::Table { schema, .. } if schema == "sys" || schema == "INFORMATION_SCHEMA")
    }
}

/// Binds one statement.
pub(crate) struct Binder<'a> {
    pub catalog: &'a dyn SchemaCatalog,
    pub engine: EngineKind,
    pub tokens: &'a Tokens,
    pub parsed: &'a Parsed,
    pub context: &'a QueryContext,
    pub zone: Zone,
    pub now_ms: i64,
    /// Whether servers may be asked for the first rows of external data.
    pub asks_servers: bool,
    state: RefCell<State>,
}

/// What binding gathers along the way.
#[derive(Default)]
struct State {
    qualifiers: HashSet<String>,
    tables: HashMap<String, TableSource>,
    resources: BTreeSet<Resource>,
    /// Queries inside of expressions by their place: a select item that is grouped by too is one and the same.
    asked: HashMap<(u64, u64), Typed>,
    lookups: BTreeSet<String>,
    depth: usize,
    relations: usize,
    /// Whether there is a server that was not asked, though its rows would tell something.
    unasked: bool,
}

/// What a bound statement reads.
pub(crate) struct Found {
    /// Tables by qualifier.
    pub tables: HashMap<String, TableSource>,
    /// Resources, sorted.
    pub resources: Vec<Resource>,
    /// Names of lookups, sorted.
    pub lookups: Vec<String>,
    /// Whether binding again with [`Binder::asks_servers`] may tell more.
    pub unasked: bool,
}

type Ctes = Vec<Rc<Cte>>;

impl<'a> Binder<'a> {
    pub fn new(
        catalog: &'a dyn SchemaCatalog,
        engine: EngineKind,
        tokens: &'a Tokens,
        parsed: &'a Parsed,
        context: &'a QueryContext,
    ) -> Self {
        Binder {
            catalog,
            engine,
            tokens,
            parsed,
            context,
            zone: context.time_zone(),
            now_ms: context
                .current_timestamp()
                .unwrap_or_else(|| chrono::Utc::now().timestamp_millis()),
            asks_servers: false,
            state: RefCell::default(),
        }
    }

    /// Gives what the statement was found to read.
    pub fn finish(self) -> Found {
        let state = self.state.into_inner();
        Found {
            tables: state.tables,
            resources: state.resources.into_iter().collect(),
            lookups: state.lookups.into_iter().collect(),
            unasked: state.unasked,
        }
    }

    fn add_resource(&self, name: &str, kind: &str) {
        self.state.borrow_mut().resources.insert(Resource {
            name: name.into(),
            kind: kind.into(),
        });
    }

    /// Gives a qualifier that no other table of the statement has.
    fn qualifier(&self, wanted: &str) -> String {
        let mut state = self.state.borrow_mut();
        let mut name = wanted.to_string();
        let mut n = 0;
        while !state.qualifiers.insert(name.clone()) {
            n += 1;
            name = format!("{wanted}#{n}");
        }
        name
    }

    /// Runs a step of recursive descent; on the way down the stack was made large enough for the limit.
    fn deeper<T>(&self, step: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
        {
            let mut state = self.state.borrow_mut();
            state.depth += 1;
            if state.depth > crate::limits::MAX_DEPTH {
                return Err(SqlError::invalid(format!(
                    "Statement is nested deeper than the limit of {} levels",
                    crate::limits::MAX_DEPTH
                )));
            }
        }
        let result = step();
        self.state.borrow_mut().depth -= 1;
        result
    }

    /// Counts tables that the statement reads.
    fn reads(&self, relations: usize, place: Option<Position>) -> Result<(), SqlError> {
        let mut state = self.state.borrow_mut();
        state.relations += relations;
        if state.relations > crate::limits::MAX_RELATIONS {
            return Err(SqlError::invalid_at(
                format!(
                    "Statement reads more than the limit of {} tables; a WITH item counts wherever it is named",
                    crate::limits::MAX_RELATIONS
                ),
                place,
            ));
        }
        Ok(())
    }

    /// Gives the place of an expression, as Calcite would.
    pub fn place(&self, expr: &ast::Expr) -> Option<Position> {
        let (mut first, last) = self.extent(expr, 0)?;
        // Parentheses in front belong to what is in them.
        let mut start = expr;
        loop {
            start = match start {
                ast::Expr::Nested(inner) => {
                    first += 1;
                    inner
                }
                ast::Expr::BinaryOp { left, .. } => left,
                ast::Expr::IsDistinctFrom(left, _) | ast::Expr::IsNotDistinctFrom(left, _) => left,
                ast::Expr::Between { expr, .. } | ast::Expr::Like { expr, .. } => expr,
                _ => break,
            };
        }
        self.tokens.range(first, last)
    }

    fn place_of_name(&self, name: &ast::ObjectName) -> Option<Position> {
        let span = name.span();
        (span.start.line > 0).then(|| position(span))
    }

    /// Gives the first and last token of an expression.
    fn extent(&self, expr: &ast::Expr, depth: usize) -> Option<(usize, usize)> {
        use ast::Expr as E;
        if depth > 64 {
            return None;
        }
        let of = |e: &ast::Expr| self.extent(e, depth + 1);
        let join = |a: &ast::Expr, b: &ast::Expr| Some((of(a)?.0, of(b)?.1));
        match expr {
            E::Function(function) => {
                let first = self.tokens.at(function.name.span().start)?;
                let mut open = first;
                while matches!(
                    self.tokens.list().get(open)?.token,
                    datafusion::sql::sqlparser::tokenizer::Token::Word(_)
                        | datafusion::sql::sqlparser::tokenizer::Token::Period
                ) {
                    open += 1;
                    if open >= self.tokens.list().len() {
                        return Some((first, open - 1));
                    }
                }
                match self.tokens.matching(open) {
                    Some(close) if self.is_open(open) => Some((first, close)),
                    _ => Some((first, first)),
                }
            }
            E::BinaryOp { left, right, .. } => join(left, right),
            E::IsDistinctFrom(left, right) | E::IsNotDistinctFrom(left, right) => join(left, right),
            E::Between { expr, high, .. } => join(expr, high),
            E::Like { expr, pattern, .. } => join(expr, pattern),
            E::Nested(inner) => {
                let (first, last) = of(inner)?;
                Some((first.checked_sub(1)?, last + 1))
            }
            E::Cast { expr, .. } | E::Floor { expr, .. } | E::Ceil { expr, .. } => {
                let (first, _) = of(expr)?;
                let open = first.checked_sub(1)?;
                Some((open.checked_sub(1)?, self.tokens.matching(open)?))
            }
            E::Extract { expr, .. } => {
                let (_, last) = of(expr)?;
                let mut open = last;
                while !self.is_open(open) || self.tokens.matching(open) != Some(last + 1) {
                    open = open.checked_sub(1)?;
                }
                Some((open.checked_sub(1)?, last + 1))
            }
            E::Substring { expr, .. } | E::Trim { expr, .. } | E::Position { expr, .. } => {
                let (first, _) = of(expr)?;
                let mut open = first;
                while !self.is_open(open) {
                    open = open.checked_sub(1)?;
                }
                Some((open.checked_sub(1)?, self.tokens.matching(open)?))
            }
            E::TypedString(typed) => {
                let at = self.tokens.at(typed.value.span.start)?;
                Some((at.checked_sub(1)?, at))
            }
            E::Interval(interval) => {
                let (first, last) = of(&interval.value)?;
                let more =
                    usize::from(interval.leading_field.is_some()) + 2 * usize::from(interval.last_field.is_some());
                Some((first.checked_sub(1)?, last + more))
            }
            E::UnaryOp { expr, .. } => {
                let (first, last) = of(expr)?;
                Some((first.checked_sub(1)?, last))
            }
            E::Case {
                case_token, end_token, ..
            } => Some((
                self.tokens.at(case_token.0.span.start)?,
                self.tokens.at(end_token.0.span.start)?,
            )),
            E::InList { expr, list, .. } => {
                let (first, _) = of(expr)?;
                let (_, last) = of(list.last()?)?;
                Some((first, last + 1))
            }
            E::Array(array) => {
                let (first, last) = match (array.elem.first(), array.elem.last()) {
                    (Some(first), Some(last)) => (of(first)?.0, of(last)?.1),
                    // An empty one has no place of its own: the first in the statement is taken.
                    _ => {
                        let open = self.tokens.list().windows(2).position(|pair| {
                            use datafusion::sql::sqlparser::tokenizer::Token;
                            pair[0].token == Token::LBracket && pair[1].token == Token::RBracket
                        })?;
                        (open + 1, open)
                    }
                };
                Some((first.checked_sub(1 + usize::from(array.named))?, last + 1))
            }
            E::IsNull(inner) => of(inner).map(|(first, last)| (first, last + 2)),
            E::IsNotNull(inner) => of(inner).map(|(first, last)| (first, last + 3)),
            other => {
                let span = other.span();
                if span.start.line == 0 {
                    return None;
                }
                let first = self.tokens.at(span.start)?;
                let mut last = first;
                while let Some(next) = self.tokens.list().get(last + 1) {
                    if (next.span.start.line, next.span.start.column) >= (span.end.line, span.end.column) {
                        break;
                    }
                    last += 1;
                }
                Some((first, last))
            }
        }
    }

    fn is_open(&self, index: usize) -> bool {
        self.tokens
            .list()
            .get(index)
            .is_some_and(|t| t.token == datafusion::sql::sqlparser::tokenizer::Token::LParen)
    }

    fn place_of_start(&self, start: Location) -> Option<Position> {
        self.tokens.call(start)
    }
}

/// Maps a planning error of DataFusion that no rule of the binder foresaw.
pub(crate) fn from_datafusion(error: &DataFusionError) -> SqlError {
    if let Some(known) = SqlError::in_datafusion(error) {
        return known;
    }
    let text = error.strip_backtrace();
    SqlError::unplannable(text.lines().next().unwrap_or_default().trim())
}

/// Gives the nearest of some names, if one is near.
pub(crate) fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let limit = (wanted.chars().count() / 3).max(1);
    let lower = wanted.to_lowercase();
    names
        .take(crate::limits::MAX_NAMES_COMPARED)
        .filter(|name| !name.is_empty())
        .map(|name| (distance(&lower, &name.to_lowercase(), limit), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_string())
}

/// Counts the edits between two words, giving up beyond the limit.
fn distance(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #[test]
    fn near_names() {
        let names = ["country", "city", "__time"];
        assert_eq!(super::nearest("contry", names.into_iter()), Some("country".to_string()));
        assert_eq!(super::nearest("zebra", names.into_iter()), None);
    }
}
