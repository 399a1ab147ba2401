//! Window functions: `fn(…) OVER (…)`.

use datafusion::common::{Column, ScalarValue, TableReference};
use datafusion::functions_window as df;
use datafusion::logical_expr::expr::{Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, lit,
};
use datafusion::sql::sqlparser::ast::{self, WindowType};

use super::aggregate::{self, Finish};
use super::expr::Cx;
use super::{Binder, Typed};
use crate::functions;
use crate::parse::position;
use crate::{SqlError, SqlType};

/// Qualifier of the placeholders that stand for window functions until the plan has them.
pub(super) const WINDOW: &str = "$window";

/// Window functions that are no aggregates.
pub(crate) const WINDOW_FUNCTIONS: [(&str, &str); 10] = [
    ("CUME_DIST", "'CUME_DIST()'"),
    ("DENSE_RANK", "'DENSE_RANK()'"),
    ("FIRST_VALUE", "'FIRST_VALUE(<ANY>)'"),
    ("LAG", "'LAG(<ANY>, [<INTEGER>, [<ANY>]])'"),
    ("LAST_VALUE", "'LAST_VALUE(<ANY>)'"),
    ("LEAD", "'LEAD(<ANY>, [<INTEGER>, [<ANY>]])'"),
    ("NTILE", "'NTILE(<INTEGER>)'"),
    ("PERCENT_RANK", "'PERCENT_RANK()'"),
    ("RANK", "'RANK()'"),
    ("ROW_NUMBER", "'ROW_NUMBER()'"),
];

/// What is computed over a window.
struct WindowCall {
    fun: WindowFunctionDefinition,
    args: Vec<Expr>,
    filter: Option<Box<Expr>>,
    fallback: Option<WindowFunctionDefinition>,
    finish: Finish,
    ty: SqlType,
}

/// The window functions of one select, each once.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    pub exprs: Vec<Expr>,
}

impl Windows {
    fn add(&mut self, expr: Expr) -> Expr {
        let at = self.exprs.iter().position(|known| *known == expr).unwrap_or_else(|| {
            self.exprs.push(expr);
            self.exprs.len() - 1
        });
        Expr::Column(Column::new(Some(TableReference::bare(WINDOW)), at.to_string()))
    }
}

impl Binder<'_> {
    /// Binds a window call to a placeholder.
    pub(super) fn window(
        &self,
        name: &str,
        function: &ast::Function,
        over: &WindowType,
        whole: &ast::Expr,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        if cx.clause == "HAVING" {
            return Err(self.in_having(whole));
        }
        let Some(windows) = cx.windows else {
            return Err(SqlError::invalid_at(
                format!("Windowed aggregate expression is illegal in {} clause", cx.clause),
                self.place(whole),
            ));
        };
        // Window functions do not nest; aggregates inside belong to the grouped query below.
        let inner = Cx {
            scope: cx.scope,
            aggregates: cx.aggregates,
            windows: None,
            clause: "window",
            ctes: cx.ctes,
            aliases: &[],
            named_windows: cx.named_windows,
            unfinished: false,
            values: None,
            grouped: cx.grouped,
            truth: super::condition::Truth::Matters,
        };
        let spec = self.window_spec(over, cx)?;
        let nested = |error: SqlError| match error.message.starts_with("Windowed aggregate expression is illegal in") {
            true => super::gathered::nested(self.place(whole)),
            false => error,
        };
        let (_, _, star) = self.arguments(function, &inner).map_err(nested)?;
        let upper = name.to_ascii_uppercase();
        if star && upper != "COUNT" {
            return Err(self.stray_star(whole));
        }
        self.check_window(&upper, function, &spec, whole)?;
        let mut partition_by = Vec::new();
        let mut order_by = Vec::new();
        let mut frame = None;
        for spec in &spec {
            for expr in &spec.partition_by {
                partition_by.push(self.expr(expr, &inner)?.expr);
            }
            for key in &spec.order_by {
                let typed = self.expr(&key.expr, &inner)?;
                let asc = key.options.asc.unwrap_or(true);
                order_by.push(Sort::new(typed.expr, asc, key.options.nulls_first.unwrap_or(asc)));
            }
            if let Some(found) = &spec.window_frame {
                frame = Some(self.frame(found, whole)?);
            }
        }
        let call = self.window_function(&upper, function, whole, &inner).map_err(nested)?;
        let picks = matches!(upper.as_str(), "FIRST_VALUE" | "LAST_VALUE");
        let frame = match frame {
            // Druid reads frames only where there is an order.
            Some(frame) if !order_by.is_empty() => frame,
            _ => WindowFrame::new((!order_by.is_empty()).then_some(false)),
        };
        let frame = match frame.units {
            // Peers do not count where a frame's first or last row is picked.
            WindowFrameUnits::Range if picks && !order_by.is_empty() => {
                WindowFrame::new_bounds(WindowFrameUnits::Rows, frame.start_bound, frame.end_bound)
            }
            _ => frame,
        };
        if is_empty(&frame) {
            // The rows are put in the window's order all the same.
            let number = WindowFunctionDefinition::WindowUDF(df::row_number::row_number_udwf());
            let all = WindowFrame::new((!order_by.is_empty()).then_some(false));
            windows.borrow_mut().add(Expr::from(WindowFunction {
                fun: number,
                params: WindowFunctionParams {
                    args: Vec::new(),
                    partition_by,
                    order_by,
                    window_frame: all,
                    filter: None,
                    null_treatment: None,
                    distinct: false,
                },
            }));
            return match upper.as_str() {
                "COUNT" => Ok(Typed::new(lit(0i64), SqlType::BigInt)),
                _ => {
                    let null = Expr::Literal(ScalarValue::Null, None);
                    let typed = self.cast(Typed::new(null, SqlType::Null), &call.ty)?;
                    Ok(Typed::new(typed.expr, call.ty))
                }
            };
        }
        frame
            .regularize_order_bys(&mut order_by)
            .map_err(|e| super::from_datafusion(&e))?;
        let expr = |fun: WindowFunctionDefinition| {
            Expr::from(WindowFunction {
                fun,
                params: WindowFunctionParams {
                    args: call.args.clone(),
                    partition_by: partition_by.clone(),
                    order_by: order_by.clone(),
                    window_frame: frame.clone(),
                    filter: call.filter.clone(),
                    null_treatment: None,
                    distinct: false,
                },
            })
        };
        let mut column = windows.borrow_mut().add(expr(call.fun.clone()));
        if let Some(fallback) = &call.fallback {
            let other = windows.borrow_mut().add(expr(fallback.clone()));
            column = datafusion::functions::core::expr_fn::coalesce(vec![column, other]);
        }
        Ok(Typed::new(self.finished(column, &call.finish)?, call.ty))
    }

    /// Makes the error for a window function in HAVING.
    pub(super) fn in_having(&self, whole: &ast::Expr) -> SqlError {
        SqlError::invalid_at("Window functions are not allowed in HAVING", self.place(whole))
    }

    fn window_spec(&self, over: &WindowType, cx: &Cx) -> Result<Vec<ast::WindowSpec>, SqlError> {
        let mut specs = Vec::new();
        let mut named = match over {
            WindowType::WindowSpec(spec) => {
                specs.push(spec.clone());
                spec.window_name.clone()
            }
            WindowType::NamedWindow(name) => Some(name.clone()),
        };
        while let Some(name) = named.take() {
            let found = cx.named_windows.iter().find(|window| window.0.value == name.value);
            let Some(window) = found else {
                return Err(SqlError::invalid_at(
                    format!("Window '{}' not found", name.value),
                    Some(position(name.span)),
                ));
            };
            if specs.len() > cx.named_windows.len() + 1 {
                return Err(SqlError::invalid("Window definitions refer to each other"));
            }
            match &window.1 {
                ast::NamedWindowExpr::NamedWindow(next) => named = Some(next.clone()),
                ast::NamedWindowExpr::WindowSpec(spec) => {
                    named = spec.window_name.clone();
                    specs.push(spec.clone());
                }
            }
        }
        specs.reverse();
        Ok(specs)
    }

    fn frame(&self, frame: &ast::WindowFrame, whole: &ast::Expr) -> Result<WindowFrame, SqlError> {
        let units = match frame.units {
            ast::WindowFrameUnits::Rows => WindowFrameUnits::Rows,
            ast::WindowFrameUnits::Range => WindowFrameUnits::Range,
            ast::WindowFrameUnits::Groups => {
                return Err(SqlError::invalid_at(
                    "GROUPS frames are not supported".to_string(),
                    self.place(whole),
                ));
            }
        };
        let amount = |bound: &Option<Box<ast::Expr>>| -> Result<ScalarValue, SqlError> {
            let Some(expr) = bound else {
                return Ok(ScalarValue::UInt64(None));
            };
            let rows = match literal_of(expr) {
                Some(ast::Value::Number(digits, _)) => digits.parse().ok(),
                _ => None,
            };
            match rows {
                Some(rows) => Ok(ScalarValue::UInt64(Some(rows))),
                None => Err(SqlError::invalid_at(
                    "ROWS value must be a non-negative integral constant".to_string(),
                    self.place(expr),
                )),
            }
        };
        let bound = |bound: &ast::WindowFrameBound| -> Result<WindowFrameBound, SqlError> {
            Ok(match bound {
                ast::WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
                ast::WindowFrameBound::Preceding(n) => WindowFrameBound::Preceding(amount(n)?),
                ast::WindowFrameBound::Following(n) => WindowFrameBound::Following(amount(n)?),
            })
        };
        let start = bound(&frame.start_bound)?;
        let (start, end) = match (&frame.end_bound, start) {
            (Some(end), start) => (start, bound(end)?),
            // A single bound behind the current row is where the frame ends.
            (None, end @ WindowFrameBound::Following(_)) => (WindowFrameBound::CurrentRow, end),
            (None, start) => (start, WindowFrameBound::CurrentRow),
        };
        Ok(WindowFrame::new_bounds(units, start, end))
    }

    fn window_function(
        &self,
        name: &str,
        function: &ast::Function,
        whole: &ast::Expr,
        cx: &Cx,
    ) -> Result<WindowCall, SqlError> {
        if !WINDOW_FUNCTIONS.iter().any(|(known, _)| *known == name) {
            let Some(def) = aggregate::find(name) else {
                return Err(self.unknown_function(name, function, whole, cx));
            };
            let mut parts = self.aggregate_parts(def, function, whole, cx, false)?;
            if let ("EARLIEST" | "LATEST" | "EARLIEST_BY" | "LATEST_BY", [time]) = (name, parts.order_by.as_slice()) {
                // What is earliest in a frame is told by its time, not by the frame's order.
                parts.args.push(time.expr.clone());
                parts.udaf = functions::by_time::udaf(name.starts_with("LATEST"));
            }
            let over = |udaf| WindowFunctionDefinition::AggregateUDF(functions::sliding::sliding(udaf));
            return Ok(WindowCall {
                fun: over(parts.udaf),
                args: parts.args,
                filter: parts.filter,
                fallback: parts.fallback.map(over),
                finish: parts.finish,
                ty: parts.ty,
            });
        }
        let (args, _, _) = self.arguments(function, cx)?;
        self.check_window_arguments(name, &args, whole)?;
        let wrong = || SqlError::invalid_at(wrong_count(name), self.place(whole));
        let first = args.first().cloned();
        let ty = first.as_ref().map(|a| a.ty.clone()).unwrap_or(SqlType::Null);
        let numbers: Vec<Expr> = args.iter().map(|a| a.expr.clone()).collect();
        let (udwf, args, ty) = match name {
            "ROW_NUMBER" => (df::row_number::row_number_udwf(), vec![], SqlType::BigInt),
            "RANK" => (df::rank::rank_udwf(), vec![], SqlType::BigInt),
            "DENSE_RANK" => (df::rank::dense_rank_udwf(), vec![], SqlType::BigInt),
            "PERCENT_RANK" => (df::rank::percent_rank_udwf(), vec![], SqlType::Double),
            "CUME_DIST" => (df::cume_dist::cume_dist_udwf(), vec![], SqlType::Double),
            "NTILE" => (
                df::ntile::ntile_udwf(),
                vec![first.ok_or_else(wrong)?.expr],
                SqlType::BigInt,
            ),
            "FIRST_VALUE" => (
                df::nth_value::first_value_udwf(),
                vec![first.ok_or_else(wrong)?.expr],
                ty,
            ),
            "LAST_VALUE" => (
                df::nth_value::last_value_udwf(),
                vec![first.ok_or_else(wrong)?.expr],
                ty,
            ),
            _ => {
                let mut numbers = numbers;
                // Druid reads no value for rows outside of the partition: they give NULL. Distances are whole.
                numbers.truncate(2);
                if let Some(distance) = numbers.get_mut(1)
                    && let Some(whole) = super::framing::distance(distance)
                {
                    *distance = lit(whole);
                }
                if numbers.len() == 1 {
                    numbers.push(lit(1i64));
                }
                let udwf = if name == "LAG" {
                    df::lead_lag::lag_udwf()
                } else {
                    df::lead_lag::lead_udwf()
                };
                (udwf, numbers, ty)
            }
        };
        Ok(WindowCall {
            fun: WindowFunctionDefinition::WindowUDF(udwf),
            args,
            filter: None,
            fallback: None,
            finish: Finish::None,
            ty,
        })
    }
}

/// Gives the number of arguments that a window function takes.
pub(super) fn arity(name: &str) -> (usize, usize) {
    match name {
        "LAG" | "LEAD" => (1, 3),
        "FIRST_VALUE" | "LAST_VALUE" | "NTILE" => (1, 1),
        _ => (0, 0),
    }
}

pub(super) fn wrong_count(name: &str) -> String {
    format!(
        "Invalid number of arguments to function '{name}'. Was expecting {} arguments",
        arity(name).0
    )
}

/// Gives the literal that an expression is, a sign in front included.
pub(super) fn literal_of(expr: &ast::Expr) -> Option<ast::Value> {
    match expr {
        ast::Expr::Value(value) => Some(value.value.clone()),
        ast::Expr::UnaryOp {
            op: ast::UnaryOperator::Minus,
            expr,
        } => match literal_of(expr)? {
            ast::Value::Number(digits, long) => Some(ast::Value::Number(format!("-{digits}"), long)),
            _ => None,
        },
        _ => None,
    }
}

/// Tells whether an expression holds a window function, outside of queries in it.
pub(super) fn holds_window(expr: &ast::Expr) -> bool {
    let mut found = false;
    let _ = ast::visit_expressions(expr, |e| {
        found |= matches!(e, ast::Expr::Function(function) if function.over.is_some());
        match found {
            true => std::ops::ControlFlow::Break(()),
            false => std::ops::ControlFlow::Continue(()),
        }
    });
    found
}

/// Tells whether a frame ends before it starts, whatever the row.
fn is_empty(frame: &WindowFrame) -> bool {
    use WindowFrameBound::{Following, Preceding};
    match (&frame.start_bound, &frame.end_bound) {
        (Following(ScalarValue::UInt64(Some(start))), Following(ScalarValue::UInt64(Some(end)))) => start > end,
        (Preceding(ScalarValue::UInt64(Some(start))), Preceding(ScalarValue::UInt64(Some(end)))) => start < end,
        _ => false,
    }
}

/// Gives the order in which Druid's windows leave the rows: those without partitions sort first, and every later one that has to
/// sort keeps the order of what is equal to it. Partitions are sorted by the table's columns, then by what is computed.
pub(super) fn order_of_rows(windows: &[Expr], input: &LogicalPlan, listed: &[&Expr]) -> Vec<Sort> {
    let calls = windows.iter().filter_map(|window| match window {
        Expr::WindowFunction(call) => Some(call),
        _ => None,
    });
    let (open, parted): (Vec<_>, Vec<_>) = calls.partition(|call| call.params.partition_by.is_empty());
    let mut order: Vec<Sort> = Vec::new();
    for call in open.into_iter().chain(parted) {
        let mut partitions: Vec<&Expr> = call.params.partition_by.iter().collect();
        partitions.sort_by_key(|key| match key {
            Expr::Column(column) => (0, place_in_table(input, column).unwrap_or(usize::MAX)),
            computed => (
                1,
                listed.iter().position(|item| *item == *computed).unwrap_or(usize::MAX),
            ),
        });
        let partitions = partitions.into_iter().map(|key| Sort::new(key.clone(), true, true));
        let mut keys: Vec<Sort> = Vec::new();
        for key in partitions.chain(call.params.order_by.iter().cloned()) {
            let is_constant = matches!(key.expr, Expr::Literal(..));
            if !is_constant && !keys.iter().any(|known| known.expr == key.expr) {
                keys.push(key);
            }
        }
        if !order.starts_with(&keys) {
            for before in order {
                if !keys.iter().any(|known| known.expr == before.expr) {
                    keys.push(before);
                }
            }
            order = keys;
        }
    }
    order
}

/// Gives the place of a column among those of the table that it comes from, or of the groups.
fn place_in_table(plan: &LogicalPlan, column: &Column) -> Option<usize> {
    let at = plan.schema().maybe_index_of_column(column)?;
    let place = match plan {
        LogicalPlan::Projection(projection) => match projection.expr.get(at)?.clone().unalias() {
            Expr::Column(inner) => return place_in_table(&projection.input, &inner),
            _ => at,
        },
        LogicalPlan::SubqueryAlias(alias) => {
            let inner = alias.input.schema().columns().into_iter().nth(at)?;
            return place_in_table(&alias.input, &inner);
        }
        LogicalPlan::Filter(filter) => return place_in_table(&filter.input, column),
        LogicalPlan::Sort(sort) => return place_in_table(&sort.input, column),
        _ => at,
    };
    Some(place)
}

/// Tells whether a window is all rows as they come.
pub(super) fn is_over_everything(expr: &Expr) -> bool {
    match expr {
        Expr::WindowFunction(call) => call.params.partition_by.is_empty() && call.params.order_by.is_empty(),
        _ => false,
    }
}

/// Orders rows that a window leaves in any order by more keys, where that changes no peers: frames of rows, and functions
/// that number rows.
pub(super) fn settle_order<'e>(expr: &mut Expr, keys: impl Iterator<Item = &'e Expr>) {
    let Expr::WindowFunction(call) = expr else { return };
    let params = &mut call.params;
    let name = call.fun.name().to_string();
    let by_place = ["row_number", "ntile", "lag", "lead"].contains(&name.as_str());
    let picks = ["first_value", "last_value"].contains(&name.as_str());
    let rows = params.window_frame.units == WindowFrameUnits::Rows;
    let unordered = params.order_by.is_empty();
    let open = by_place || rows || unordered && picks;
    if !open {
        return;
    }
    if unordered && !by_place && !rows {
        // Without an order every row is a peer of every other: the frame is the partition.
        params.window_frame = WindowFrame::new_bounds(
            WindowFrameUnits::Rows,
            WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
            WindowFrameBound::Following(ScalarValue::UInt64(None)),
        );
    }
    for key in keys {
        let known = params.order_by.iter().any(|sort| sort.expr == *key) || params.partition_by.contains(key);
        if !known {
            params.order_by.push(Sort::new(key.clone(), true, true));
        }
    }
}
