//! What Druid refuses about windows: frames, orders and arguments that a function cannot have, and names in WINDOW.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{self, Select, Spanned, WindowFrameBound};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::window::{WINDOW_FUNCTIONS, arity, holds_window, literal_of, wrong_count};
use super::{Binder, Typed, aggregate};
use crate::parse::position;
use crate::{Position, SqlError, SqlType};

/// Where the parts of a window stand.
#[derive(Default)]
struct Places {
    window: Option<Position>,
    units: Option<Position>,
    lower: Option<Position>,
    upper: Option<Position>,
}

impl Binder<'_> {
    /// Checks a window function's window, in the order in which Druid does.
    pub(super) fn check_window(
        &self,
        name: &str,
        function: &ast::Function,
        specs: &[ast::WindowSpec],
        whole: &ast::Expr,
    ) -> Result<(), SqlError> {
        let ranks = WINDOW_FUNCTIONS.iter().any(|(known, _)| *known == name);
        if name == "GROUPING" {
            return Err(SqlError::invalid_at(
                "GROUPING operator may only occur in an aggregate query",
                self.place(whole),
            ));
        }
        if !ranks && aggregate::find(name).is_none() && crate::functions::find(name).is_some() {
            return Err(SqlError::invalid_at(
                "OVER must be applied to aggregate function",
                self.place(whole),
            ));
        }
        let places = self.places_of_window(function);
        let is_distinct = matches!(&function.args, ast::FunctionArguments::List(list)
            if matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct)));
        if is_distinct {
            return Err(SqlError::invalid_at(
                "DISTINCT is not supported for window functions",
                places.window,
            ));
        }
        let frame = specs.iter().rev().find_map(|spec| spec.window_frame.as_ref());
        if let Some(frame) = frame {
            self.check_frame(name, frame, &places, whole)?;
        }
        let keys = specs.iter().flat_map(|spec| &spec.partition_by);
        if keys.clone().any(holds_window) {
            return Err(SqlError::invalid_at(
                "PARTITION BY expression should not contain OVER clause",
                places.window,
            ));
        }
        let orders = specs.iter().flat_map(|spec| &spec.order_by);
        if orders.clone().any(|key| holds_window(&key.expr)) {
            return Err(SqlError::invalid_at(
                "ORDER BY expression should not contain OVER clause",
                places.window,
            ));
        }
        let needs_order = matches!(name, "RANK" | "DENSE_RANK" | "PERCENT_RANK" | "CUME_DIST");
        if needs_order && orders.clone().next().is_none() {
            return Err(SqlError::invalid_at(
                "RANK or DENSE_RANK functions require ORDER BY clause in window specification",
                places.window,
            ));
        }
        let Some(frame) = frame else { return Ok(()) };
        if ranks && !matches!(name, "FIRST_VALUE" | "LAST_VALUE") {
            return Err(SqlError::invalid_at(
                "ROW/RANGE not allowed with RANK, DENSE_RANK, ROW_NUMBER or PERCENTILE_CONT/DISC functions",
                places.units,
            ));
        }
        let counts = std::iter::once(&frame.start_bound)
            .chain(&frame.end_bound)
            .any(|bound| {
                matches!(
                    bound,
                    WindowFrameBound::Preceding(Some(_)) | WindowFrameBound::Following(Some(_))
                )
            });
        if counts && orders.count() > 1 && frame.units == ast::WindowFrameUnits::Range {
            return Err(SqlError::invalid_at(
                "RANGE clause cannot be used with compound ORDER BY clause",
                places.units,
            ));
        }
        check_bounds(frame, &places)
    }

    /// Checks a frame before its window is looked at.
    fn check_frame(
        &self,
        name: &str,
        frame: &ast::WindowFrame,
        places: &Places,
        whole: &ast::Expr,
    ) -> Result<(), SqlError> {
        let bounds = || std::iter::once(&frame.start_bound).chain(&frame.end_bound);
        let amount = |bound: &WindowFrameBound| match bound {
            WindowFrameBound::Preceding(Some(expr)) | WindowFrameBound::Following(Some(expr)) => Some(expr.clone()),
            _ => None,
        };
        let is_interval = |expr: &ast::Expr| matches!(expr, ast::Expr::Interval(_));
        if bounds()
            .filter_map(amount)
            .any(|expr| literal_of(&expr).is_none() && !is_interval(&expr))
        {
            return Err(SqlError::invalid_at(
                "Window frames with expression based lower/upper bounds are not supported.",
                places.window,
            ));
        }
        if name == "NTILE" {
            return Err(SqlError::invalid_at(
                "Framing of NTILE is not supported.",
                self.place(whole),
            ));
        }
        let is_counted = bounds().any(|bound| amount(bound).is_some());
        if is_counted && matches!(name, "FIRST_VALUE" | "LAST_VALUE") {
            return Err(SqlError::invalid_at(
                "Framing of FIRST_VALUE/LAST_VALUE is only allowed with UNBOUNDED or CURRENT ROW.",
                self.place(whole),
            ));
        }
        if is_counted && frame.units == ast::WindowFrameUnits::Range {
            return Err(SqlError::invalid_at(
                "Order By with RANGE clause currently supports only UNBOUNDED or CURRENT ROW. Use ROWS clause instead.",
                places.window,
            ));
        }
        Ok(())
    }

    /// Checks the number of arguments, and the literals among them, of a window function that is no aggregate.
    pub(super) fn check_window_arguments(&self, name: &str, args: &[Typed], whole: &ast::Expr) -> Result<(), SqlError> {
        let (least, most) = arity(name);
        if args.len() < least || args.len() > most {
            return Err(SqlError::invalid_at(wrong_count(name), self.place(whole)));
        }
        // Buckets and distances are whole numbers that the statement writes.
        let counted = match name {
            "NTILE" => args.first(),
            "LAG" | "LEAD" => args.get(1),
            _ => None,
        };
        let Some(counted) = counted else { return Ok(()) };
        if counted.ty == SqlType::Null {
            return Err(match name {
                "NTILE" => SqlError::invalid_at("Argument to function 'NTILE' must not be NULL", self.place(whole)),
                _ => SqlError::general(
                    crate::Persona::Admin,
                    crate::Category::Uncategorized,
                    "Cannot invoke \"java.lang.Number.intValue()\" because the return value of \
                     \"org.apache.calcite.rex.RexLiteral.getValue()\" is null",
                ),
            });
        }
        let count = match name {
            "NTILE" => super::literal::as_long(&counted.expr),
            _ => distance(&counted.expr),
        };
        match count {
            None if name == "NTILE" && counted.ty.is_fraction() => Err(SqlError::invalid_at(
                format!(
                    "Cannot apply 'NTILE' to arguments of type 'NTILE(<{}>)'. Supported form(s): 'NTILE(<INTEGER>)'",
                    counted.in_message()
                ),
                self.place(whole),
            )),
            None => Err(SqlError::invalid_at(
                format!("Argument to function '{name}' must be a literal"),
                self.place(whole),
            )),
            Some(0) if name == "NTILE" => Err(SqlError::general(
                crate::Persona::Admin,
                crate::Category::Uncategorized,
                "numBuckets[0] must be greater than zero",
            )),
            Some(count) if name == "NTILE" && count < 0 => Err(SqlError::invalid_at(
                "Argument to function 'NTILE' must be a positive integer literal",
                self.place(whole),
            )),
            Some(_) => Ok(()),
        }
    }

    /// Makes the error for a window function without OVER.
    pub(super) fn no_window(&self, name: &str, args: &[Typed], whole: &ast::Expr) -> SqlError {
        self.check_window_arguments(name, args, whole)
            .err()
            .unwrap_or_else(|| SqlError::invalid_at("OVER clause is necessary for window functions", self.place(whole)))
    }

    /// Checks the names and definitions of a WINDOW clause.
    pub(super) fn check_named_windows(&self, select: &Select) -> Result<(), SqlError> {
        for (at, window) in select.named_window.iter().enumerate() {
            if select.named_window[..at]
                .iter()
                .any(|other| other.0.value == window.0.value)
            {
                return Err(SqlError::invalid_at(
                    "Duplicate window names not allowed",
                    Some(position(window.0.span)),
                ));
            }
            let ast::NamedWindowExpr::WindowSpec(spec) = &window.1 else {
                continue;
            };
            let keys = spec
                .partition_by
                .iter()
                .chain(spec.order_by.iter().map(|key| &key.expr));
            if keys.into_iter().any(holds_aggregate) {
                let open = self.tokens.at(window.0.span.start).map(|name| name + 2);
                return Err(SqlError::invalid_at(
                    "Aggregation inside window is currently not supported with syntax WINDOW W AS <DEF>. \
                     Try providing window definition directly without alias",
                    open.and_then(|open| self.tokens.range(open, open)),
                ));
            }
        }
        Ok(())
    }

    /// Finds the window behind OVER, and the parts of its frame.
    fn places_of_window(&self, function: &ast::Function) -> Places {
        let mut places = Places::default();
        let Some(first) = self.tokens.at(function.name.span().start) else {
            return places;
        };
        let at = |index: usize| self.tokens.range(index, index);
        let (mut depth, mut window) = (0usize, None);
        for (index, token) in self.tokens.list().iter().enumerate().skip(first) {
            match &token.token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 0 => break,
                Token::RParen => {
                    depth -= 1;
                    if depth == 0 && window.is_some() {
                        break;
                    }
                }
                Token::Word(word) if depth == 0 && window.is_none() && word.keyword == Keyword::OVER => {
                    window = Some(index);
                    places.window = at(index + 1);
                }
                Token::Word(_) if depth == 0 && window.is_none() => {}
                Token::Word(word) if depth == 1 && window.is_some() => match word.keyword {
                    Keyword::ROWS | Keyword::RANGE if places.units.is_none() => {
                        places.units = at(index);
                        places.lower = at(index + 1);
                    }
                    Keyword::BETWEEN if places.units.is_some() => places.lower = at(index + 1),
                    Keyword::AND if places.units.is_some() => places.upper = at(index + 1),
                    _ => {}
                },
                Token::Word(_) if depth == 0 => break,
                _ => {}
            }
        }
        places
    }
}

/// Checks the bounds of a frame against each other.
fn check_bounds(frame: &ast::WindowFrame, places: &Places) -> Result<(), SqlError> {
    use WindowFrameBound::{CurrentRow, Following, Preceding};
    let refused = |message: &str, place: Option<Position>| Err(SqlError::invalid_at(message, place));
    let (start, end) = (&frame.start_bound, frame.end_bound.as_ref());
    match (start, end) {
        (Following(None), Some(_)) => refused(
            "UNBOUNDED FOLLOWING cannot be specified for the lower frame boundary",
            places.lower,
        ),
        (_, Some(Preceding(None))) => refused(
            "UNBOUNDED PRECEDING cannot be specified for the upper frame boundary",
            places.upper,
        ),
        (CurrentRow, Some(Preceding(Some(_)))) => refused(
            "Upper frame boundary cannot be PRECEDING when lower boundary is CURRENT ROW",
            places.upper,
        ),
        (Following(Some(_)), Some(Preceding(Some(_)))) => refused(
            "Upper frame boundary cannot be PRECEDING when lower boundary is FOLLOWING",
            places.upper,
        ),
        (Following(Some(_)), Some(CurrentRow)) => refused(
            "Upper frame boundary cannot be CURRENT ROW when lower boundary is FOLLOWING",
            places.upper,
        ),
        _ => Ok(()),
    }
}

/// Tells whether an expression holds an aggregate.
fn holds_aggregate(expr: &ast::Expr) -> bool {
    let mut found = false;
    let _ = ast::visit_expressions(expr, |e| {
        found |=
            matches!(e, ast::Expr::Function(function) if aggregate::find(&super::call::upper_name(function)).is_some());
        match found {
            true => std::ops::ControlFlow::Break(()),
            false => std::ops::ControlFlow::Continue(()),
        }
    });
    found
}

/// Reads the distance of LAG and LEAD: a constant, whose fraction is cut.
pub(super) fn distance(expr: &Expr) -> Option<i64> {
    match super::literal::constant(expr)? {
        ScalarValue::Int64(value) => value,
        ScalarValue::Float64(value) => value.map(|value| value as i64),
        _ => None,
    }
}
