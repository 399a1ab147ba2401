//! Aggregate functions: which there are, what they return, and how they are gathered from a select.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue, TableReference};
use datafusion::functions_aggregate as df;
use datafusion::logical_expr::expr::{AggregateFunction, Case, Cast, Sort};
use datafusion::logical_expr::{AggregateUDF, BinaryExpr, Expr, Operator, lit};
use datafusion::sql::sqlparser::ast;
use henge_sketches::pair::{Keep, PairType};

use super::expr::Cx;
use super::gathered::{NESTED, filtered_case, is_nested};
use super::{Binder, Typed};
use crate::functions::sketches::pairs;
use crate::functions::{self, collect};
use crate::{SqlError, SqlType};

/// Qualifier of the placeholders that stand for aggregates until the plan has them.
pub(super) const AGGREGATE: &str = "$aggregate";

/// The aggregates of one select, each once.
#[derive(Debug, Default)]
pub(crate) struct Aggregates {
    pub exprs: Vec<Expr>,
    /// What is grouped by.
    pub keys: Vec<Expr>,
}

impl Aggregates {
    fn add(&mut self, expr: Expr) -> Expr {
        let at = self.exprs.iter().position(|known| *known == expr).unwrap_or_else(|| {
            self.exprs.push(expr);
            self.exprs.len() - 1
        });
        Expr::Column(Column::new(Some(TableReference::bare(AGGREGATE)), at.to_string()))
    }
}

/// An aggregate of the table.
pub(crate) struct AggregateDef {
    pub name: &'static str,
    pub signatures: &'static str,
}

const fn def(name: &'static str, signatures: &'static str) -> AggregateDef {
    AggregateDef { name, signatures }
}

/// Every aggregate function; [`Binder::aggregate_parts`] holds what they compute.
pub(crate) const AGGREGATES: [AggregateDef; 26] = [
    def(
        "ANY_VALUE",
        "'ANY_VALUE(<expr>, [<maxBytesPerStringInt>, [<aggregateMultipleValuesBoolean>]])'",
    ),
    def("ARRAY_AGG", "'ARRAY_AGG(<ANY>)'\n'ARRAY_AGG(expr, maxSizeBytes)'"),
    def("AVG", "'AVG(<NUMERIC>)'"),
    def("BIT_AND", "'BIT_AND(<INTEGER>)'"),
    def("BIT_OR", "'BIT_OR(<INTEGER>)'"),
    def("BIT_XOR", "'BIT_XOR(<INTEGER>)'"),
    def("COUNT", "'COUNT(<ANY>)'"),
    def("EARLIEST", "'EARLIEST(expr, [maxBytesPerStringInt])'"),
    def("EARLIEST_BY", "'EARLIEST_BY(expr, timeColumn, [maxBytesPerStringInt])'"),
    def("GROUPING", "'GROUPING(<ANY>, ...)'"),
    def("LATEST", "'LATEST(expr, [maxBytesPerStringInt])'"),
    def("LATEST_BY", "'LATEST_BY(expr, timeColumn, [maxBytesPerStringInt])'"),
    def(
        "LISTAGG",
        "'LISTAGG(expr, separator)'\n'LISTAGG(expr, separator, maxSizeBytes)'",
    ),
    def("MAX", "'MAX(<COMPARABLE_TYPE>)'"),
    def("MIN", "'MIN(<COMPARABLE_TYPE>)'"),
    def("STDDEV", "'STDDEV(<NUMERIC>)'"),
    def("STDDEV_POP", "'STDDEV_POP(<NUMERIC>)'"),
    def("STDDEV_SAMP", "'STDDEV_SAMP(<NUMERIC>)'"),
    def(
        "STRING_AGG",
        "'STRING_AGG(expr, separator)'\n'STRING_AGG(expr, separator, maxSizeBytes)'",
    ),
    def("SUM", "'SUM(<NUMERIC>)'"),
    def("VARIANCE", "'VARIANCE(<NUMERIC>)'"),
    def("VAR_POP", "'VAR_POP(<NUMERIC>)'"),
    def("VAR_SAMP", "'VAR_SAMP(<NUMERIC>)'"),
    def("ARRAY_CONCAT_AGG", "'ARRAY_CONCAT_AGG(<ARRAY>)'"),
    def("SINGLE_VALUE", "'SINGLE_VALUE(<ANY>)'"),
    def("$SUM0", "'$SUM0(<NUMERIC>)'"),
];

/// Finds an aggregate by its upper case name.
pub(crate) fn find(name: &str) -> Option<&'static AggregateDef> {
    AGGREGATES
        .iter()
        .find(|def| def.name == name)
        .or_else(|| super::sketches::find(name))
}

/// What an aggregate call becomes.
pub(super) struct AggregateParts {
    pub udaf: Arc<AggregateUDF>,
    pub args: Vec<Expr>,
    pub distinct: bool,
    pub filter: Option<Box<Expr>>,
    pub order_by: Vec<Sort>,
    /// The same over the same arguments, for where the first gives NULL.
    pub fallback: Option<Arc<AggregateUDF>>,
    pub finish: Finish,
    pub ty: SqlType,
}

impl Binder<'_> {
    /// Binds an aggregate call to a placeholder.
    pub(super) fn aggregate(
        &self,
        def: &AggregateDef,
        function: &ast::Function,
        whole: &ast::Expr,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let Some(aggregates) = cx.aggregates else {
            let message = match cx.clause {
                "aggregate" => NESTED.to_string(),
                "FILTER" => "FILTER must not contain aggregate expression".to_string(),
                clause => format!("Aggregate expression is illegal in {clause} clause"),
            };
            // What is wrong inside is told first.
            self.arguments(function, cx)?;
            return Err(SqlError::invalid_at(message, self.place(whole)));
        };
        let parts = self
            .aggregate_parts(def, function, whole, &cx.inside("aggregate"), cx.unfinished)
            .map_err(|error| match is_nested(&error) {
                true => SqlError::invalid_at(
                    NESTED,
                    self.holder_of_aggregate(whole, function).or_else(|| self.place(whole)),
                ),
                false => error,
            })?;
        if def.name == "GROUPING" {
            self.check_grouping(function, &parts.args, &aggregates.borrow().keys, whole)?;
        }
        let ty = parts.ty.clone();
        let is_grouping = def.name == "GROUPING";
        let call = |udaf: Arc<AggregateUDF>| {
            Expr::AggregateFunction(AggregateFunction::new_udf(
                udaf,
                parts.args.clone(),
                parts.distinct,
                parts.filter.clone(),
                parts.order_by.clone(),
                None,
            ))
        };
        let mut column = aggregates.borrow_mut().add(call(Arc::clone(&parts.udaf)));
        if let Some(fallback) = &parts.fallback {
            let other = aggregates.borrow_mut().add(call(Arc::clone(fallback)));
            column = datafusion::functions::core::expr_fn::coalesce(vec![column, other]);
        }
        let column = self.finished(column, &parts.finish)?;
        let column = if is_grouping {
            Expr::Cast(Cast::new(Box::new(column), DataType::Int64))
        } else {
            column
        };
        Ok(Typed::new(column, ty))
    }

    /// Gives the place of the innermost aggregate that holds another.
    fn holder_of_aggregate(&self, whole: &ast::Expr, function: &ast::Function) -> Option<crate::Position> {
        let mut inner = None;
        let _ = ast::visit_expressions(&function.args, |expr| {
            if let ast::Expr::Function(call) = expr
                && call.over.is_none()
                && find(&call.name.to_string().to_ascii_uppercase()).is_some()
            {
                inner = Some((expr.clone(), call.clone()));
                return std::ops::ControlFlow::Break(());
            }
            std::ops::ControlFlow::Continue(())
        });
        let (inner, call) = inner?;
        self.holder_of_aggregate(&inner, &call).or_else(|| self.place(whole))
    }

    /// Binds name, arguments, DISTINCT and FILTER. What is `unfinished` is to be stored so that it can be aggregated further:
    /// Druid's intermediate type.
    pub(super) fn aggregate_parts(
        &self,
        def: &AggregateDef,
        function: &ast::Function,
        whole: &ast::Expr,
        cx: &Cx,
        unfinished: bool,
    ) -> Result<AggregateParts, SqlError> {
        let (mut args, distinct, star) = self.arguments(function, cx)?;
        if star && def.name != "COUNT" {
            return Err(self.stray_star(whole));
        }
        let filter = match &function.filter {
            Some(filter) if super::gathered::is_null(filter) => {
                return Err(SqlError::invalid_at(
                    "FILTER clause must be a condition",
                    self.place(filter),
                ));
            }
            Some(filter) => Some(Box::new(self.condition_in(
                filter,
                &Cx {
                    clause: "FILTER",
                    ..cx.inside("FILTER")
                },
            )?)),
            None => None,
        };
        let types: Vec<String> = args.iter().map(|arg| format!("<{}>", arg.in_message())).collect();
        let signature = || {
            SqlError::invalid_at(
                format!(
                    "Cannot apply '{name}' to arguments of type '{name}({})'. Supported form(s): {}",
                    types.join(", "),
                    def.signatures,
                    name = def.name
                ),
                self.place(whole),
            )
        };
        let arity = |least: usize, most: usize| {
            if (least..=most).contains(&types.len()) {
                Ok(())
            } else {
                Err(SqlError::invalid_at(
                    format!(
                        "Invalid number of arguments to function '{}'. Was expecting {least} arguments",
                        def.name
                    ),
                    self.place(whole),
                ))
            }
        };
        let plain = |typed: &Typed| {
            // Dictionaries would end up inside of lists; aggregates that keep values take plain text.
            if typed.ty.is_text() && typed.ty != SqlType::MultiVarchar {
                Expr::Cast(Cast::new(Box::new(typed.expr.clone()), DataType::Utf8))
            } else {
                typed.expr.clone()
            }
        };
        let mut inner_order: Vec<Sort> = Vec::new();
        for key in order_inside(function) {
            let typed = self.expr(&key.expr, cx)?;
            let asc = key.options.asc.unwrap_or(true);
            inner_order.push(Sort::new(plain(&typed), asc, key.options.nulls_first.unwrap_or(asc)));
        }
        // Windows see rows as those that the statement holds.
        let inline = self.engine == crate::EngineKind::Native
            && (function.over.is_some() || cx.scope.is_some_and(|scope| scope.inline));
        let mut order_by: Vec<Sort> = Vec::new();
        let mut is_distinct = distinct;
        let mut fallback = None;
        let mut finish = Finish::None;
        let mut filter = filter;
        if matches!(def.name, "ARRAY_AGG" | "ANY_VALUE")
            && !distinct
            && let [only] = args.as_mut_slice()
            && let Some((condition, value)) = filtered_case(&only.expr)
        {
            only.expr = value;
            filter = Some(Box::new(match filter.take() {
                Some(own) => own.and(condition),
                None => condition,
            }));
        }
        let (udaf, exprs, ty): (Arc<AggregateUDF>, Vec<Expr>, SqlType) = match def.name {
            "COUNT" => {
                if star {
                    (df::count::count_udaf(), vec![lit(1i64)], SqlType::BigInt)
                } else if distinct && args.len() == 1 && unfinished && self.collects_distinct()? {
                    is_distinct = false;
                    self.unique_collector(&args, whole, inline)?
                } else if distinct && args.len() == 1 && self.counts_approximately(&args[0].ty)? {
                    is_distinct = false;
                    let builtin = super::sketches::find("APPROX_COUNT_DISTINCT").unwrap_or(def);
                    self.sketch_aggregate(builtin, args, whole, inline, false)?
                } else if distinct && args.len() == 1 && args[0].ty == SqlType::MultiVarchar {
                    // Values are counted, not rows.
                    is_distinct = false;
                    finish = Finish::Length;
                    let most = lit(i64::MAX);
                    (
                        collect::udaf(collect::Kind::DistinctTexts),
                        vec![args.remove(0).expr, most],
                        SqlType::BigInt,
                    )
                } else {
                    arity(1, usize::MAX)?;
                    let counted = self.known(self.only_counted(args, cx)?)?;
                    (df::count::count_udaf(), vec![counted], SqlType::BigInt)
                }
            }
            name if super::sketches::find(name).is_some() => {
                // Counting a value once or several times is the same.
                is_distinct = false;
                self.sketch_aggregate(def, args, whole, inline, unfinished)?
            }
            "SUM" | "$SUM0" => {
                arity(1, 1)?;
                let arg = self.only_number(args[0].clone())?;
                let target = match &arg.ty {
                    ty if ty.is_integer() => SqlType::BigInt,
                    ty if ty.is_numeric() || ty.is_text() || *ty == SqlType::Null => SqlType::Double,
                    _ => return Err(signature()),
                };
                let arg = self.cast(arg, &target)?;
                (df::sum::sum_udaf(), vec![arg.expr], target)
            }
            "AVG" => {
                arity(1, 1)?;
                if !(args[0].ty.is_numeric() || args[0].ty.is_text() || args[0].ty == SqlType::Null) {
                    return Err(signature());
                }
                let arg = self.only_number(args.remove(0))?;
                let arg = self.cast(arg, &SqlType::Double)?;
                (df::average::avg_udaf(), vec![arg.expr], SqlType::Double)
            }
            "MIN" | "MAX" => {
                arity(1, 1)?;
                if matches!(args[0].ty, SqlType::Complex(_)) {
                    return Err(signature());
                }
                let arg = args.remove(0);
                let ty = match arg.ty.clone() {
                    SqlType::Null => SqlType::BigInt,
                    SqlType::Char(_) => SqlType::Varchar,
                    other => other,
                };
                let arg = self.cast(arg, &ty)?;
                let udaf = if def.name == "MIN" {
                    df::min_max::min_udaf()
                } else {
                    df::min_max::max_udaf()
                };
                (udaf, vec![arg.expr], ty)
            }
            "ANY_VALUE" => {
                arity(1, 3)?;
                self.no_null_literal(function, 1)?;
                self.literal_argument(def.name, function, &args, 1)?;
                if args.get(1).is_some_and(|bytes| !bytes.ty.is_integer())
                    || args.get(2).is_some_and(|all| all.ty != SqlType::Boolean)
                {
                    return Err(signature());
                }
                let arg = self.kept_as_text(self.one_value(args[0].clone(), args.get(2))?)?;
                let ty = varchar(&arg.ty);
                if unfinished && self.is_rollup()? {
                    return Err(not_combinable(&ty));
                }
                if ty.is_text() {
                    finish = Finish::Cut(most_bytes(args.get(1)));
                }
                (df::first_last::first_value_udaf(), vec![plain(&arg)], ty)
            }
            "SINGLE_VALUE" => {
                arity(1, 1)?;
                let arg = args.remove(0);
                let ty = varchar(&arg.ty);
                (df::first_last::first_value_udaf(), vec![plain(&arg)], ty)
            }
            "EARLIEST" | "LATEST" | "EARLIEST_BY" | "LATEST_BY" => {
                let by = def.name.ends_with("_BY");
                if !by && (args.is_empty() || args.len() > 3) {
                    return Err(SqlError::invalid(format!(
                        "Function [{}] expects 1 or 2 or 3 arguments but found [{}]",
                        def.name,
                        args.len()
                    )));
                }
                arity(1 + usize::from(by), 3)?;
                self.check_moments(def.name, function, &args, whole)?;
                let time = if by {
                    args[1].clone()
                } else {
                    let ident = ast::Ident::with_quote('"', "__time");
                    let scope = cx.scope;
                    let found = scope.and_then(|scope| self.column(scope, std::slice::from_ref(&ident)).ok());
                    found.ok_or_else(|| {
                        let reason = "LATEST and EARLIEST aggregators implicitly depend on the __time column, but the table queried \
                            doesn't contain a __time column.  Please use LATEST_BY or EARLIEST_BY and specify the column explicitly.";
                        let error = SqlError::unplannable(reason.to_string());
                        SqlError::general(crate::Persona::Admin, error.category, error.message.clone())
                    })?
                };
                let arg = self.one_value(args[0].clone(), if by { None } else { args.get(2) })?;
                let arg = self.kept_as_text(arg)?;
                if by {
                    // A row without a time is neither the first nor the last.
                    let known = Expr::IsNotNull(Box::new(time.expr.clone()));
                    filter = Some(Box::new(match filter.take() {
                        Some(own) => own.and(known),
                        None => known,
                    }));
                }
                let is_first = def.name.starts_with("EARLIEST");
                let most = most_bytes(args.get(1 + usize::from(by)));
                let ty = varchar(&arg.ty);
                let keep = if is_first { Keep::First } else { Keep::Last };
                let stored = match &arg.ty {
                    SqlType::Complex(name) => functions::pair_type_of(name),
                    _ => None,
                };
                let fresh = pairs::pair_type(&ty.arrow()).filter(|_| unfinished && ty != SqlType::MultiVarchar);
                match (stored, fresh) {
                    // Stored pairs have their times with them.
                    (Some(kind), _) => {
                        let ty = if unfinished {
                            SqlType::Complex(kind.name().into())
                        } else {
                            finish = Finish::PairValue(kind);
                            pairs::value_of(kind).1
                        };
                        (pairs::udaf(keep), vec![arg.expr, lit(kind.name())], ty)
                    }
                    (None, Some(kind)) => {
                        let pair = SqlType::Complex(kind.name().into());
                        (pairs::udaf(keep), vec![plain(&arg), time.expr, lit(most)], pair)
                    }
                    (None, None) => {
                        if arg.ty.is_text() {
                            finish = Finish::Cut(most);
                        }
                        order_by.push(Sort::new(time.expr, true, true));
                        let udaf = if is_first {
                            df::first_last::first_value_udaf()
                        } else {
                            df::first_last::last_value_udaf()
                        };
                        (udaf, vec![plain(&arg)], ty)
                    }
                }
            }
            "ARRAY_AGG" | "ARRAY_CONCAT_AGG" => {
                arity(1, 2)?;
                let concat = def.name == "ARRAY_CONCAT_AGG";
                if let Some(most) = args.get(1)
                    && most.ty != SqlType::Null
                    && !(most.ty.is_text() && matches!(most.expr, Expr::Literal(..)))
                    && super::literal::as_long(&most.expr).is_none()
                {
                    return Err(signature());
                }
                let arg = args[0].clone();
                let ty = match &arg.ty {
                    SqlType::Array(element) if concat => SqlType::Array(element.clone()),
                    SqlType::MultiVarchar if concat => SqlType::Array(Box::new(SqlType::Varchar)),
                    _ if concat => return Err(signature()),
                    // A row of several values adds all of them.
                    SqlType::MultiVarchar => SqlType::Array(Box::new(SqlType::Varchar)),
                    other => SqlType::Array(Box::new(varchar(other))),
                };
                is_distinct = false;
                let kind = match (concat || arg.ty == SqlType::MultiVarchar, distinct) {
                    (false, false) => collect::Kind::Values,
                    (false, true) => collect::Kind::DistinctValues,
                    (true, false) => collect::Kind::Elements,
                    (true, true) => collect::Kind::DistinctElements,
                };
                let arg = match &arg.ty {
                    SqlType::Null => self.cast(arg, &SqlType::Varchar)?,
                    // A row without values adds one NULL.
                    SqlType::MultiVarchar if !concat => {
                        Typed::new(self.call_native("mv_harmonize", vec![arg.expr])?, arg.ty)
                    }
                    _ => arg,
                };
                let most = lit(self.most_bytes(def.name, args.get(1))?);
                if !inner_order.is_empty() {
                    if concat || arg.ty == SqlType::MultiVarchar {
                        return Err(SqlError::unsupported(format!(
                            "{} of lists with ORDER BY is not supported; unnest them first",
                            def.name
                        )));
                    }
                    order_by = inner_order;
                    is_distinct = distinct;
                    let udaf = df::array_agg::array_agg_udaf();
                    (udaf, vec![plain(&arg)], ty)
                } else {
                    (collect::udaf(kind), vec![plain(&arg), most], ty)
                }
            }
            "STRING_AGG" | "LISTAGG" => {
                arity(2, 3)?;
                let is_counted = |most: &Typed| {
                    let is_text = most.ty.is_text() && matches!(most.expr, Expr::Literal(..));
                    most.ty.is_numeric() || most.ty == SqlType::Null || is_text
                };
                if args.get(2).is_some_and(|most| !is_counted(most)) {
                    return Err(signature());
                }
                let separator = match super::literal::constant(&args[1].expr) {
                    Some(value) if value.is_null() => String::new(),
                    Some(value) => match value.try_as_str() {
                        Some(text) => text.unwrap_or_default().to_string(),
                        None => value.to_string(),
                    },
                    None => {
                        // What is no text is cast below the aggregate, whose columns are numbered then.
                        let plain = args
                            .iter()
                            .all(|arg| arg.ty.is_text() && matches!(arg.expr, Expr::Column(_)));
                        let in_table = |at: usize| super::gathered::place_in_table(&args[at], cx);
                        let place = |at: usize| in_table(at).filter(|_| plain).unwrap_or(at);
                        return Err(SqlError::unplannable(format!(
                            "Aggregation [{}(${}, ${})] is not supported",
                            def.name,
                            place(0),
                            place(1)
                        )));
                    }
                };
                let most = lit(self.most_bytes(def.name, args.get(2))?);
                let arg = self.texts_to_join(args[0].clone())?;
                let own = || inner_order.first().map(|key| key.asc);
                let ordered = function
                    .within_group
                    .first()
                    .map(|key| key.options.asc.unwrap_or(true))
                    .or_else(own);
                let multi = arg.ty == SqlType::MultiVarchar;
                if !distinct && ordered.is_some() {
                    for key in &function.within_group {
                        let typed = self.expr(&key.expr, cx)?;
                        let asc = key.options.asc.unwrap_or(true);
                        order_by.push(Sort::new(plain(&typed), asc, asc));
                    }
                    order_by.extend(inner_order);
                    finish = Finish::Text;
                    (
                        df::string_agg::string_agg_udaf(),
                        vec![plain(&arg), lit(separator)],
                        SqlType::Varchar,
                    )
                } else {
                    is_distinct = false;
                    finish = Finish::Join(separator);
                    if multi {
                        // Rows that hold a NULL are left out.
                        let known = Expr::Not(Box::new(self.any_null(&arg)?));
                        filter = Some(Box::new(match filter {
                            Some(filter) => filter.and(known),
                            None => known,
                        }));
                    }
                    let kind = match (multi, distinct, ordered) {
                        (_, true, Some(false)) => collect::Kind::DistinctTextsDown,
                        (_, true, _) => collect::Kind::DistinctTexts,
                        _ => collect::Kind::Texts,
                    };
                    (collect::udaf(kind), vec![plain(&arg), most], SqlType::Varchar)
                }
            }
            "STDDEV" | "STDDEV_SAMP" | "STDDEV_POP" | "VARIANCE" | "VAR_SAMP" | "VAR_POP" => {
                arity(1, 1)?;
                let stored = matches!(&args[0].ty, SqlType::Complex(_));
                let counted = args[0].ty.is_numeric() || args[0].ty.is_text() || args[0].ty == SqlType::Null;
                if !counted && !stored {
                    return Err(signature());
                }
                args[0] = self.only_number(args[0].clone())?;
                let collector = match self.variance_aggregate(def.name, &args, unfinished) {
                    None if stored => return Err(signature()),
                    None if unfinished && !def.name.starts_with("STDDEV") => {
                        let arg = self.cast(args[0].clone(), &SqlType::Double)?;
                        Some(super::sketches::variance_collector(def.name, arg.expr))
                    }
                    found => found,
                };
                if let Some((udaf, args, ty)) = collector {
                    return Ok(AggregateParts {
                        udaf,
                        args,
                        distinct: false,
                        filter,
                        fallback: None,
                        finish: Finish::None,
                        order_by,
                        ty,
                    });
                }
                let arg = self.cast(args.remove(0), &SqlType::Double)?;
                // One value has no spread, where DataFusion knows none.
                fallback = match def.name {
                    "STDDEV" | "STDDEV_SAMP" => Some(df::stddev::stddev_pop_udaf()),
                    "VARIANCE" | "VAR_SAMP" => Some(df::variance::var_pop_udaf()),
                    _ => None,
                };
                let udaf = match def.name {
                    "STDDEV_POP" => df::stddev::stddev_pop_udaf(),
                    "STDDEV" | "STDDEV_SAMP" => df::stddev::stddev_udaf(),
                    "VAR_POP" => df::variance::var_pop_udaf(),
                    _ => df::variance::var_samp_udaf(),
                };
                (udaf, vec![arg.expr], SqlType::Double)
            }
            "BIT_AND" | "BIT_OR" | "BIT_XOR" => {
                arity(1, 1)?;
                let ty = args[0].ty.clone();
                if !(ty.is_integer() || ty.is_text() || ty == SqlType::Null) {
                    return Err(signature());
                }
                let bits = self.bits(args.remove(0))?;
                let ty = if ty.is_integer() { ty } else { SqlType::BigInt };
                let udaf = match def.name {
                    "BIT_AND" => df::bit_and_or_xor::bit_and_udaf(),
                    "BIT_OR" => df::bit_and_or_xor::bit_or_udaf(),
                    _ => df::bit_and_or_xor::bit_xor_udaf(),
                };
                // Druid starts AND at zero as well, so that its answer is always zero.
                let bits = if def.name == "BIT_AND" {
                    Expr::BinaryExpr(BinaryExpr::new(
                        Box::new(bits),
                        Operator::BitwiseAnd,
                        Box::new(lit(0i64)),
                    ))
                } else {
                    bits
                };
                (udaf, vec![bits], ty)
            }
            "GROUPING" => (
                df::grouping::grouping_udaf(),
                args.drain(..).map(|a| a.expr).collect(),
                SqlType::BigInt,
            ),
            other => {
                return Err(SqlError::unsupported(format!(
                    "Aggregate [{other}] is not supported yet"
                )));
            }
        };
        Ok(AggregateParts {
            udaf,
            args: exprs,
            distinct: is_distinct,
            filter,
            order_by,
            fallback,
            finish,
            ty,
        })
    }

    /// Reads how many bytes an aggregate may gather.
    fn most_bytes(&self, name: &str, arg: Option<&Typed>) -> Result<i64, SqlError> {
        match arg {
            None => Ok(crate::limits::AGGREGATE_BYTES),
            Some(arg) => super::literal::as_long(&arg.expr).ok_or_else(|| {
                SqlError::invalid(format!(
                    "{name} parameter `maxBytes` must be a numeric literal, got NULL"
                ))
            }),
        }
    }

    /// Tells whether distinct values are counted with a sketch, which the context may ask for.
    fn counts_approximately(&self, ty: &SqlType) -> Result<bool, SqlError> {
        let counted = ty.is_text() || ty.is_numeric() || ty.is_time() || matches!(ty, SqlType::Complex(_));
        Ok(counted && self.context.boolean("useApproximateCountDistinct")?.unwrap_or(false))
    }

    /// Gives what COUNT counts: rows none of whose values is NULL.
    fn known(&self, arg: Typed) -> Result<Expr, SqlError> {
        if arg.ty != SqlType::MultiVarchar {
            return Ok(arg.expr);
        }
        let null = self.any_null(&arg)?;
        Ok(Expr::Case(Case::new(
            None,
            vec![(Box::new(Expr::Not(Box::new(null))), Box::new(lit(1i64)))],
            None,
        )))
    }

    /// Makes one value of a row's several: as Java prints the list, or the first.
    fn one_value(&self, arg: Typed, all: Option<&Typed>) -> Result<Typed, SqlError> {
        if arg.ty != SqlType::MultiVarchar {
            return Ok(arg);
        }
        let first = all.is_some_and(|flag| matches!(flag.expr, Expr::Literal(ScalarValue::Boolean(Some(false)), _)));
        let expr = if first {
            self.call_native("mv_offset", vec![arg.expr, lit(0i64)])?
        } else {
            self.call_native("mv_shown", vec![arg.expr])?
        };
        Ok(Typed::new(expr, SqlType::Varchar))
    }

    /// Applies what is left to do to an aggregate's column.
    pub(super) fn finished(&self, column: Expr, finish: &Finish) -> Result<Expr, SqlError> {
        match finish {
            Finish::None => Ok(column),
            Finish::Cut(bytes) => self.call_native("cut_bytes", vec![column, lit(*bytes)]),
            Finish::PairValue(kind) => self.call_native(pairs::value_of(*kind).0, vec![column]),
            Finish::Length => {
                let length = self.call_native("array_length", vec![column])?;
                Ok(datafusion::functions::core::expr_fn::coalesce(vec![length, lit(0i64)]))
            }
            Finish::Text => Ok(Expr::Cast(Cast::new(Box::new(column), DataType::Utf8))),
            Finish::Join(separator) => self.call_native("joined_text", vec![column, lit(separator.as_str())]),
        }
    }
}

/// Gives the ORDER BY among the arguments of a call.
fn order_inside(function: &ast::Function) -> &[ast::OrderByExpr] {
    let ast::FunctionArguments::List(list) = &function.args else {
        return &[];
    };
    list.clauses
        .iter()
        .find_map(|clause| match clause {
            ast::FunctionArgumentClause::OrderBy(keys) => Some(keys.as_slice()),
            _ => None,
        })
        .unwrap_or(&[])
}

/// What is done to an aggregate's result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Finish {
    /// Nothing.
    None,
    /// Text is cut at a number of bytes.
    Cut(i64),
    /// A pair of time and value becomes the value.
    PairValue(PairType),
    /// An array becomes the number of its elements.
    Length,
    /// Long text becomes plain text.
    Text,
    /// An array becomes text with a separator; nothing becomes NULL.
    Join(String),
}

/// Makes Druid's error of an aggregate whose values cannot be aggregated further.
fn not_combinable(ty: &SqlType) -> SqlError {
    let kind = match ty {
        SqlType::Float => "Float",
        ty if ty.is_fraction() => "Double",
        ty if ty.is_text() => "String",
        _ => "Long",
    };
    SqlError::input(format!(
        "{kind}AnyAggregatorFactory is not supported during ingestion for rollup"
    ))
    .hint(Some(
        "use EARLIEST, LATEST, MIN or MAX in place of ANY_VALUE".to_string(),
    ))
}

/// Gives the most bytes of text that an aggregate keeps.
fn most_bytes(arg: Option<&Typed>) -> i64 {
    arg.and_then(|arg| super::literal::as_long(&arg.expr))
        .unwrap_or(crate::limits::AGGREGATE_BYTES)
}

fn varchar(ty: &SqlType) -> SqlType {
    match ty {
        SqlType::Null => SqlType::Varchar,
        other => other.clone(),
    }
}
