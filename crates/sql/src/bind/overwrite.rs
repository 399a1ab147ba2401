//! OVERWRITE WHERE: a condition on `__time` becomes time chunks, in Druid's steps and with its words.
//!
//! 1. The condition is read as a filter: AND, OR, NOT, BETWEEN, and comparisons of a column with a TIMESTAMP literal.
//! 2. What the filter says of `__time` becomes intervals; what is left over is refused.
//! 3. Every interval has to begin and end with a time chunk.

use datafusion::sql::sqlparser::ast::{self, BinaryOperator as B, CeilFloorKind};
use henge_time::{Granularity, Interval};

use super::Binder;
use super::ingest::shown;
use super::unit::unit_name;
use crate::SqlError;

/// A condition, as a filter.
enum Filter {
    And(Box<[Filter; 2]>),
    Or(Box<[Filter; 2]>),
    Not(Box<Filter>),
    /// A column within an interval, and Druid's words for that.
    Bound {
        on_time: bool,
        intervals: Vec<Interval>,
        words: String,
    },
}

impl Filter {
    fn words(&self) -> String {
        match self {
            Filter::And(sides) => format!("({} && {})", sides[0].words(), sides[1].words()),
            Filter::Or(sides) => format!("({} || {})", sides[0].words(), sides[1].words()),
            Filter::Not(inner) => format!("!{}", inner.words()),
            Filter::Bound { words, .. } => words.clone(),
        }
    }

    /// Gives the times that can pass, and the words of what is no condition on time.
    fn split(&self) -> (Vec<Interval>, Option<String>) {
        let left_over = || (vec![Interval::ETERNITY], Some(self.words()));
        match self {
            Filter::Bound {
                on_time: true,
                intervals,
                ..
            } => (intervals.clone(), None),
            Filter::Bound { on_time: false, .. } => left_over(),
            Filter::And(sides) => {
                let [(a, a_rest), (b, b_rest)] = [sides[0].split(), sides[1].split()];
                let both = a.iter().flat_map(|x| b.iter().filter_map(|y| x.intersection(y)));
                let rest = match (a_rest, b_rest) {
                    (Some(a), Some(b)) => Some(format!("({a} && {b})")),
                    (a, b) => a.or(b),
                };
                (both.collect(), rest)
            }
            Filter::Or(sides) => match [sides[0].split(), sides[1].split()] {
                [(mut a, None), (b, None)] => {
                    a.extend(b);
                    (a, None)
                }
                _ => left_over(),
            },
            Filter::Not(inner) => match inner.split() {
                (inside, None) => (Interval::subtract([Interval::ETERNITY], inside), None),
                _ => left_over(),
            },
        }
    }
}

impl Binder<'_> {
    /// Reads the time chunks of OVERWRITE WHERE.
    pub(super) fn chunks(&self, condition: &ast::Expr, granularity: &Granularity) -> Result<Vec<Interval>, SqlError> {
        let filter = self.overwrite(condition)?;
        let (intervals, rest) = filter.split();
        if let Some(rest) = rest {
            return Err(SqlError::invalid(format!(
                "OVERWRITE WHERE clause only supports filtering on the __time column, got [{rest}]"
            )));
        }
        let intervals = Interval::condense(intervals);
        if intervals.is_empty() {
            return Err(SqlError::invalid(format!(
                "The OVERWRITE WHERE clause [{}] produced no time intervals, are the bounds overly restrictive?",
                filter.words()
            )));
        }
        for interval in &intervals {
            if !granularity.aligned(interval) {
                return Err(SqlError::invalid(format!(
                    "OVERWRITE WHERE clause identified interval [{interval}] which is not aligned with PARTITIONED BY granularity [{}]",
                    shown(granularity)
                ))
                .hint(Some(
                    "move the bounds to the beginning of a time chunk, or use a finer PARTITIONED BY".to_string(),
                )));
            }
        }
        Ok(intervals)
    }

    fn overwrite(&self, expr: &ast::Expr) -> Result<Filter, SqlError> {
        if let ast::Expr::Nested(inner) = expr {
            return self.overwrite(inner);
        }
        let Some(operator) = operator(expr) else {
            return Err(SqlError::invalid(format!(
                "Invalid OVERWRITE WHERE clause [{}]: expected clause including AND, OR, NOT, >, <, >=, <= OR BETWEEN operators",
                node(expr)
            )));
        };
        // Every condition around the wrong one is named, too.
        let found_in = || format!("Invalid OVERWRITE WHERE clause [{}]", calcite(expr));
        self.call(expr, &operator).map_err(|error| error.within(&found_in()))
    }

    fn call(&self, expr: &ast::Expr, operator: &str) -> Result<Filter, SqlError> {
        let sides = |left, right| Ok::<_, SqlError>(Box::new([self.overwrite(left)?, self.overwrite(right)?]));
        match expr {
            ast::Expr::BinaryOp {
                left,
                op: B::And,
                right,
            } => Ok(Filter::And(sides(left, right)?)),
            ast::Expr::BinaryOp { left, op: B::Or, right } => Ok(Filter::Or(sides(left, right)?)),
            ast::Expr::UnaryOp {
                op: ast::UnaryOperator::Not,
                expr,
            } => Ok(Filter::Not(Box::new(self.overwrite(expr)?))),
            ast::Expr::Between {
                expr,
                negated,
                low,
                high,
            } => {
                let column = column_name(expr)?;
                let (low, high) = (self.bound_of(low)?, self.bound_of(high)?);
                let inside = Interval::new(low, high.saturating_add(1)).ok();
                let inside = Filter::Bound {
                    on_time: column == "__time",
                    intervals: inside.into_iter().collect(),
                    words: format!("{low} <= {column} as numeric <= {high}"),
                };
                Ok(match negated {
                    true => Filter::Not(Box::new(inside)),
                    false => inside,
                })
            }
            ast::Expr::BinaryOp {
                left,
                op: op @ (B::Lt | B::LtEq | B::Gt | B::GtEq),
                right,
            } => {
                let column = column_name(left)?;
                let at = self.bound_of(right)?;
                let (eternity, after) = (Interval::ETERNITY, at.saturating_add(1));
                let (start_ms, end_ms, words) = match op {
                    B::Lt => (eternity.start_ms, at, format!("{column} as numeric < {at}")),
                    B::LtEq => (eternity.start_ms, after, format!("{column} as numeric <= {at}")),
                    B::Gt => (after, eternity.end_ms, format!("{at} < {column} as numeric")),
                    _ => (at, eternity.end_ms, format!("{at} <= {column} as numeric")),
                };
                Ok(Filter::Bound {
                    on_time: column == "__time",
                    intervals: vec![Interval { start_ms, end_ms }],
                    words,
                })
            }
            _ => Err(SqlError::invalid(format!(
                "Unsupported operation [{operator}] in OVERWRITE WHERE clause."
            ))),
        }
    }

    fn bound_of(&self, expr: &ast::Expr) -> Result<i64, SqlError> {
        let typed = match expr {
            ast::Expr::TypedString(typed) => self.typed_string(typed, expr).ok(),
            _ => None,
        };
        match typed.map(|typed| typed.expr) {
            Some(datafusion::logical_expr::Expr::Literal(
                datafusion::common::ScalarValue::TimestampMillisecond(Some(millis), _),
                _,
            )) => Ok(millis),
            _ => Err(SqlError::invalid(format!(
                "Cannot get a timestamp from sql expression [{}]",
                node(expr)
            ))),
        }
    }
}

fn column_name(expr: &ast::Expr) -> Result<&str, SqlError> {
    match expr {
        ast::Expr::Nested(inner) => column_name(inner),
        ast::Expr::Identifier(ident) => Ok(&ident.value),
        ast::Expr::CompoundIdentifier(parts) if !parts.is_empty() => Ok(&parts[0].value),
        other => Err(SqlError::invalid(format!(
            "Cannot parse column name from SQL expression [{}]",
            node(other)
        ))),
    }
}

/// Gives Calcite's name of the operator of an expression; none for what is no call: literals, columns, queries.
pub(super) fn operator(expr: &ast::Expr) -> Option<String> {
    let name = match expr {
        ast::Expr::BinaryOp { op, .. } => op.to_string(),
        ast::Expr::UnaryOp { op, .. } => op.to_string(),
        ast::Expr::Between { negated: false, .. } => "BETWEEN ASYMMETRIC".into(),
        ast::Expr::Between { negated: true, .. } => "NOT BETWEEN ASYMMETRIC".into(),
        ast::Expr::InList { negated, .. } | ast::Expr::InSubquery { negated, .. } => not(*negated, "IN"),
        ast::Expr::Like { negated, .. } => not(*negated, "LIKE"),
        ast::Expr::SimilarTo { negated, .. } => not(*negated, "SIMILAR TO"),
        ast::Expr::IsNull(_) => "IS NULL".into(),
        ast::Expr::IsNotNull(_) => "IS NOT NULL".into(),
        ast::Expr::IsTrue(_) => "IS TRUE".into(),
        ast::Expr::IsNotTrue(_) => "IS NOT TRUE".into(),
        ast::Expr::IsFalse(_) => "IS FALSE".into(),
        ast::Expr::IsNotFalse(_) => "IS NOT FALSE".into(),
        ast::Expr::Exists { .. } => "EXISTS".into(),
        ast::Expr::Cast { .. } => "CAST".into(),
        ast::Expr::Floor { .. } => "FLOOR".into(),
        ast::Expr::Ceil { .. } => "CEIL".into(),
        ast::Expr::Extract { .. } => "EXTRACT".into(),
        ast::Expr::Function(function) => function.name.to_string().to_ascii_uppercase(),
        _ => return None,
    };
    Some(name)
}

fn not(negated: bool, name: &str) -> String {
    match negated {
        true => format!("NOT {name}"),
        false => name.to_string(),
    }
}

/// Words a node as it stands by itself: a column without quotes.
fn node(expr: &ast::Expr) -> String {
    match expr {
        ast::Expr::Nested(inner) => node(inner),
        ast::Expr::Identifier(ident) => ident.value.clone(),
        ast::Expr::CompoundIdentifier(parts) => {
            let parts: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
            parts.join(".")
        }
        other => calcite(other),
    }
}

/// Words an expression as Calcite unparses it: identifiers in back quotes.
pub(super) fn calcite(expr: &ast::Expr) -> String {
    let all = |list: &[ast::Expr]| list.iter().map(calcite).collect::<Vec<_>>().join(", ");
    match expr {
        ast::Expr::Identifier(ident) => format!("`{}`", ident.value),
        ast::Expr::CompoundIdentifier(parts) => {
            let parts: Vec<String> = parts.iter().map(|part| format!("`{}`", part.value)).collect();
            parts.join(".")
        }
        ast::Expr::BinaryOp { left, op, right } => format!("{} {op} {}", calcite(left), calcite(right)),
        ast::Expr::UnaryOp {
            op: ast::UnaryOperator::Not,
            expr,
        } => format!("NOT {}", calcite(expr)),
        ast::Expr::UnaryOp { op, expr } => format!("{op}{}", calcite(expr)),
        ast::Expr::Nested(inner) => calcite(inner),
        ast::Expr::IsNull(inner) => format!("{} IS NULL", calcite(inner)),
        ast::Expr::IsNotNull(inner) => format!("{} IS NOT NULL", calcite(inner)),
        ast::Expr::InList { expr, list, negated } => {
            format!("{} {} ({})", calcite(expr), not(*negated, "IN"), all(list))
        }
        ast::Expr::Like {
            expr, pattern, negated, ..
        } => format!("{} {} {}", calcite(expr), not(*negated, "LIKE"), calcite(pattern)),
        ast::Expr::Between {
            expr: inner, low, high, ..
        } => {
            let operator = operator(expr).unwrap_or_default();
            format!("{} {operator} {} AND {}", calcite(inner), calcite(low), calcite(high))
        }
        ast::Expr::Cast { expr, data_type, .. } => format!("CAST({} AS {data_type})", calcite(expr)),
        ast::Expr::Floor { expr, field } => rounded("FLOOR", expr, field),
        ast::Expr::Ceil { expr, field } => rounded("CEIL", expr, field),
        ast::Expr::Value(value) if matches!(value.value, ast::Value::Boolean(_) | ast::Value::Null) => {
            value.to_string().to_ascii_uppercase()
        }
        ast::Expr::Function(function) => match &function.args {
            ast::FunctionArguments::List(list) => {
                let arguments = list.args.iter().map(|argument| match argument {
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => calcite(expr),
                    other => other.to_string(),
                });
                let arguments: Vec<String> = arguments.collect();
                format!(
                    "{}({})",
                    function.name.to_string().to_ascii_uppercase(),
                    arguments.join(", ")
                )
            }
            _ => function.to_string(),
        },
        other => other.to_string(),
    }
}

fn rounded(name: &str, expr: &ast::Expr, field: &CeilFloorKind) -> String {
    match field {
        CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) => format!("{name}({})", calcite(expr)),
        CeilFloorKind::DateTimeField(field) => format!("{name}({} TO {})", calcite(expr), unit_name(field)),
        CeilFloorKind::Scale(scale) => format!("{name}({}, {scale})", calcite(expr)),
    }
}
