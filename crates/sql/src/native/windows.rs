//! Window functions: a `windowOperator` over a query of the columns that they read (Druid's `Windowing`).
//!
//! Functions over the same partitions, order and frame are computed together. Rows are sorted and cut into partitions only where
//! they are not yet. What is computed of the functions is a scan of the windows' rows.

use datafusion::common::{Column, ExprSchema, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Projection, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use henge_time::Interval;
use serde_json::{Map, Value, json};

use super::source::Source;
use super::{Input, Words, expression, plain, worded};
use crate::SqlType;

/// What functions that are computed together have in common.
#[derive(Debug, Clone, PartialEq)]
struct Over {
    partitions: Vec<String>,
    /// Columns with `ASC` or `DESC`.
    order: Vec<(String, &'static str)>,
    is_rows: bool,
    lower: Option<i64>,
    upper: Option<i64>,
}

impl Over {
    /// The columns by which rows have to be sorted.
    fn sorted(&self) -> Vec<(String, &'static str)> {
        let mut columns: Vec<(String, &'static str)> = Vec::new();
        let partitions = self.partitions.iter().map(|name| (name.clone(), "ASC"));
        for column in partitions.chain(self.order.iter().cloned()) {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        columns
    }

    fn order_names(&self) -> Vec<&str> {
        self.order.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn frame(&self) -> Value {
        match (self.lower, self.upper) {
            (None, None) => json!({"type": "rows", "lowerOffset": null, "upperOffset": null}),
            (lower, upper) if self.is_rows => json!({"type": "rows", "lowerOffset": lower, "upperOffset": upper}),
            (lower, upper) => json!({
                "type": "groups", "lowerOffset": lower, "upperOffset": upper, "orderByColumns": self.order_names(),
            }),
        }
    }
}

/// A SELECT with window functions, taken apart.
struct Windowed<'p> {
    projection: &'p Projection,
    /// Functions with the columns that hold their values.
    functions: Vec<(Column, &'p WindowFunction)>,
    /// What the functions read.
    input: &'p LogicalPlan,
}

fn taken_apart(plan: &LogicalPlan) -> Option<Windowed<'_>> {
    let LogicalPlan::Projection(projection) = plan else {
        return None;
    };
    let mut at = projection.input.as_ref();
    if let LogicalPlan::Sort(sort) = at {
        // The order in which rows leave the last window.
        at = &sort.input;
    }
    if !matches!(at, LogicalPlan::Window(_)) {
        return None;
    }
    let mut made = Vec::new();
    while let LogicalPlan::Window(window) = at {
        let columns = window.schema.columns();
        let first = columns.len().checked_sub(window.window_expr.len())?;
        for (expr, column) in window.window_expr.iter().zip(&columns[first..]) {
            let Expr::WindowFunction(function) = plain(expr) else {
                return None;
            };
            made.push((column.clone(), function.as_ref()));
        }
        at = &window.input;
    }
    // As the statement names them.
    let mut functions: Vec<(Column, &WindowFunction)> = Vec::new();
    for expr in &projection.expr {
        let mut found = Vec::new();
        columns_in_order(expr, &mut found);
        for column in found {
            let is_new = !functions.iter().any(|(known, _)| *known == column);
            if let Some(function) = made.iter().find(|(made, _)| *made == column).filter(|_| is_new) {
                functions.push(function.clone());
            }
        }
    }
    Some(Windowed {
        projection,
        functions,
        input: at,
    })
}

fn columns_in_order(expr: &Expr, found: &mut Vec<Column>) {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    // Looking at an expression cannot fail.
    let _ = expr.apply(|at| {
        if let Expr::Column(column) = at {
            found.push(column.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
}

/// Takes a cast between numbers off a column; aggregators read numbers of any type.
fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) if matches!(cast.expr.as_ref(), Expr::Column(_)) && cast.field.data_type().is_numeric() => {
            &cast.expr
        }
        other => other,
    }
}

impl Input<'_> {
    /// Words a query with window functions. None where there are none, or more than this knows.
    pub(super) fn windows(&self, plan: &LogicalPlan, fields: &[(String, String)], read: &[bool]) -> Option<Words> {
        let windowed = taken_apart(plan)?;
        let (source, arguments) = self.window_input(&windowed)?;
        let prefix = source.prefix("w");
        let native = |expr: &Expr| -> Option<String> {
            let expr = uncast(expr);
            let column = match arguments.iter().find(|(argument, _)| argument == expr) {
                Some((_, column)) => Expr::Column(column.clone()),
                None => expr.clone(),
            };
            match source.rewrite(&column) {
                Expr::Column(column) => Some(column.name),
                _ => None,
            }
        };
        // Functions that go together, in the order of the first of each.
        let mut groups: Vec<(Over, Vec<&(Column, &WindowFunction)>)> = Vec::new();
        for function in &windowed.functions {
            let over = over(function.1, &native)?;
            match groups.iter_mut().find(|(known, _)| *known == over) {
                Some((_, functions)) => functions.push(function),
                None => groups.push((over, vec![function])),
            }
        }
        let mut names: Vec<(Column, String)> = Vec::new();
        let mut computed = Vec::new();
        for (over, functions) in groups {
            let mut processors = Vec::new();
            let mut aggregations = Vec::new();
            for (column, function) in functions {
                let name = format!("{prefix}{}", names.len());
                match processor(function, &name, &over, &native)? {
                    Some(processor) => processors.push(processor),
                    None => aggregations.push(self.framed(&windowed, column, function, &name, &native)?),
                }
                names.push((column.clone(), name));
            }
            if !aggregations.is_empty() {
                processors.push(json!({"type": "framedAgg", "frame": over.frame(), "aggregations": aggregations}));
            }
            let processor = match processors.len() {
                1 => processors.remove(0),
                _ => json!({"type": "composing", "processors": processors}),
            };
            computed.push((over, json!({"type": "window", "processor": processor})));
        }
        // Those over all rows come first.
        computed.sort_by_key(|(over, _)| !(over.partitions.is_empty() && over.order.is_empty()));
        let operators = operators(computed, sorted_by(&source));
        let output = |column: &Column| -> Option<String> {
            match names.iter().find(|(known, _)| known == column) {
                Some((_, name)) => Some(name.clone()),
                None => native(&Expr::Column(column.clone())),
            }
        };
        let items: Vec<&Expr> = windowed.projection.expr.iter().map(plain).collect();
        let is_mapping = items.iter().all(|item| matches!(item, Expr::Column(_)));
        let mut shown: Vec<(String, String)> = Vec::new();
        let mut add = |name: String, ty: String| {
            if !shown.iter().any(|(known, _)| *known == name) {
                shown.push((name, ty));
            }
        };
        if is_mapping {
            for ((item, (_, ty)), _) in items.iter().zip(fields).zip(read).filter(|(_, read)| **read) {
                let Expr::Column(column) = item else { return None };
                add(output(column)?, ty.clone());
            }
        } else {
            let schema = windowed.projection.input.schema();
            let used: Vec<Column> = schema.columns();
            let used = used.iter().zip(schema.fields());
            let is_read = |column: &Column| items.iter().any(|item| item.column_refs().contains(column));
            for (column, field) in used.filter(|(column, _)| is_read(column)) {
                add(output(column)?, SqlType::from_field(field).native());
            }
        }
        let signature: Vec<Value> = shown
            .iter()
            .map(|(name, ty)| json!({"name": name, "type": ty}))
            .collect();
        let mut query = Map::new();
        query.insert("queryType".into(), json!("windowOperator"));
        query.insert("dataSource".into(), source.json.clone());
        query.insert(
            "intervals".into(),
            json!({"type": "LegacySegmentSpec", "intervals": [Interval::ETERNITY.to_string()]}),
        );
        query.insert("context".into(), self.query_context());
        query.insert("outputSignature".into(), json!(signature));
        query.insert("operatorDefinition".into(), json!(operators));
        query.insert("leafOperators".into(), json!([]));
        query.insert("granularity".into(), json!({"type": "all"}));
        if !is_mapping {
            return self.scan_of_windows(query, &items, fields, read, &output);
        }
        let of_item = |item: &&Expr| match item {
            Expr::Column(column) => output(column),
            _ => None,
        };
        Some(Words {
            query,
            names: items.iter().map(of_item).collect::<Option<_>>()?,
            types: fields.iter().map(|(_, ty)| ty.clone()).collect(),
        })
    }

    /// Words what window functions read: columns as they are, and arguments that are computed, with the columns that hold these.
    fn window_input(&self, windowed: &Windowed) -> Option<(Source, Vec<(Expr, Column)>)> {
        let schema = windowed.input.schema();
        let mut columns = Vec::new();
        let mut arguments: Vec<(Expr, Column)> = Vec::new();
        let mut read: Vec<&Expr> = windowed.projection.expr.iter().collect();
        for (_, function) in &windowed.functions {
            let WindowFunctionParams {
                args,
                partition_by,
                order_by,
                ..
            } = &function.params;
            let keys = partition_by.iter().chain(order_by.iter().map(|key| &key.expr));
            // What is computed for a function needs no column of its own.
            read.extend(
                args.iter()
                    .chain(keys)
                    .filter(|expr| matches!(uncast(expr), Expr::Column(_))),
            );
        }
        for expr in &read {
            columns_in_order(expr, &mut columns);
        }
        let mut exprs: Vec<Expr> = schema
            .columns()
            .into_iter()
            .filter(|column| columns.contains(column))
            .map(Expr::Column)
            .collect();
        for (_, function) in &windowed.functions {
            let params = &function.params;
            let keys = params
                .partition_by
                .iter()
                .chain(params.order_by.iter().map(|key| &key.expr));
            for expr in params.args.iter().chain(keys).map(uncast) {
                let is_plain = matches!(expr, Expr::Column(_) | Expr::Literal(..));
                if is_plain || arguments.iter().any(|(known, _)| known == expr) {
                    continue;
                }
                let name = format!("__argument{}", arguments.len());
                exprs.push(expr.clone().alias(name.as_str()));
                arguments.push((expr.clone(), Column::new_unqualified(name)));
            }
        }
        if exprs.is_empty() {
            return None;
        }
        let input = LogicalPlanBuilder::from(windowed.input.clone())
            .project(exprs.clone())
            .ok()?
            .build()
            .ok()?;
        let inner = self.source(&input, &input.schema().columns().into_iter().collect())?;
        let source = match inner.json.get("type").and_then(Value::as_str) {
            Some("query") => inner,
            _ => self.subquery(&input, &input.schema().columns().into_iter().collect())?,
        };
        Some((source, arguments))
    }

    /// Words an aggregate over a frame.
    fn framed(
        &self,
        windowed: &Windowed,
        column: &Column,
        function: &WindowFunction,
        name: &str,
        native: &dyn Fn(&Expr) -> Option<String>,
    ) -> Option<Value> {
        let WindowFunctionDefinition::AggregateUDF(aggregate) = &function.fun else {
            return None;
        };
        let params = &function.params;
        let call = Expr::AggregateFunction(AggregateFunction::new_udf(
            aggregate.clone(),
            params.args.clone(),
            params.distinct,
            params.filter.clone(),
            Vec::new(),
            None,
        ));
        let field = windowed.projection.input.schema().field_from_column(column).ok()?;
        let types = expression::AggregateTypes {
            argument: super::groups::argument_type(&call, windowed.input.schema()),
            uncast: super::groups::uncast_type(&call, windowed.input.schema()),
            output: SqlType::from_field(field).native(),
        };
        let mut worded = expression::aggregation(&call, name, &types, &mut |expr, _| native(expr))?;
        match (worded.aggregators.len(), worded.post) {
            (1, None) => Some(worded.aggregators.remove(0)),
            _ => None,
        }
    }

    /// Words the query that computes on what windows give.
    fn scan_of_windows(
        &self,
        query: Map<String, Value>,
        items: &[&Expr],
        fields: &[(String, String)],
        read: &[bool],
        output: &dyn Fn(&Column) -> Option<String>,
    ) -> Option<Words> {
        use datafusion::common::tree_node::{Transformed, TreeNode};
        let mut virtuals: Vec<Value> = Vec::new();
        let (mut names, mut types) = (Vec::new(), Vec::new());
        for ((item, (_, ty)), is_read) in items.iter().zip(fields).zip(read) {
            if !is_read {
                names.push(String::new());
                types.push(String::new());
                continue;
            }
            let renamed = (*item).clone().transform_up(|at| {
                Ok(match &at {
                    Expr::Column(column) => match output(column) {
                        Some(name) => Transformed::yes(Expr::Column(Column::new_unqualified(name))),
                        None => Transformed::no(at),
                    },
                    _ => Transformed::no(at),
                })
            });
            let renamed = renamed.ok()?.data;
            types.push(ty.clone());
            if let Expr::Column(column) = &renamed {
                names.push(column.name.clone());
                continue;
            }
            let name = format!("v{}", virtuals.len());
            virtuals.push(json!({
                "type": "expression", "name": name, "expression": worded(&renamed)?, "outputType": ty,
            }));
            names.push(name);
        }
        let mut shown: Vec<(&String, &String)> = Vec::new();
        for column in names.iter().zip(&types).filter(|(name, _)| !name.is_empty()) {
            if !shown.contains(&column) {
                shown.push(column);
            }
        }
        let mut scan = Map::new();
        scan.insert("queryType".into(), json!("scan"));
        scan.insert("dataSource".into(), json!({"type": "query", "query": query}));
        scan.insert("intervals".into(), super::intervals(&[Interval::ETERNITY]));
        scan.insert("virtualColumns".into(), Value::Array(virtuals));
        scan.insert("resultFormat".into(), json!("compactedList"));
        let (shown_names, shown_types): (Vec<_>, Vec<_>) = shown.into_iter().unzip();
        self.show(&mut scan, json!(shown_names), json!(shown_types));
        Some(Words {
            query: scan,
            names,
            types,
        })
    }
}

fn over(function: &WindowFunction, native: &dyn Fn(&Expr) -> Option<String>) -> Option<Over> {
    let params = &function.params;
    let direction = |sort: &Sort| if sort.asc { "ASC" } else { "DESC" };
    let bound = |bound: &WindowFrameBound| -> Option<Option<i64>> {
        let number = |value: &ScalarValue| match value {
            ScalarValue::Int64(Some(n)) => Some(*n),
            ScalarValue::UInt64(Some(n)) => i64::try_from(*n).ok(),
            _ => None,
        };
        Some(match bound {
            WindowFrameBound::CurrentRow => Some(0),
            WindowFrameBound::Preceding(value) | WindowFrameBound::Following(value) if value.is_null() => None,
            WindowFrameBound::Preceding(value) => Some(-number(value)?),
            WindowFrameBound::Following(value) => Some(number(value)?),
        })
    };
    let frame = &params.window_frame;
    // Numbers of rows count rows, whatever the frame.
    let is_rows = function.fun.name() == "row_number" || frame.units == WindowFrameUnits::Rows;
    Some(Over {
        partitions: params.partition_by.iter().map(native).collect::<Option<_>>()?,
        order: params
            .order_by
            .iter()
            .map(|sort| Some((native(&sort.expr)?, direction(sort))))
            .collect::<Option<_>>()?,
        is_rows,
        lower: bound(&frame.start_bound)?,
        upper: bound(&frame.end_bound)?,
    })
}

/// Words a function that is no aggregate; `Some(None)` for aggregates.
fn processor(
    function: &WindowFunction,
    name: &str,
    over: &Over,
    native: &dyn Fn(&Expr) -> Option<String>,
) -> Option<Option<Value>> {
    let args = &function.params.args;
    let number = |at: usize, default: i64| match args.get(at) {
        None => Some(default),
        Some(Expr::Literal(ScalarValue::Int64(Some(n)), _)) => Some(*n),
        Some(_) => None,
    };
    let input = || native(args.first()?);
    let rank = |kind: &str| json!({"type": kind, "group": over.order_names(), "outputColumn": name});
    Some(Some(match function.fun.name() {
        "row_number" => json!({"type": "rowNumber", "outputColumn": name}),
        "rank" | "percent_rank" => {
            let mut worded = rank("rank");
            worded["asPercent"] = json!(function.fun.name() == "percent_rank");
            worded
        }
        "dense_rank" => rank("denseRank"),
        "cume_dist" => rank("cumeDist"),
        "ntile" => json!({"type": "percentile", "outputColumn": name, "numBuckets": number(0, 1)?}),
        "lag" => json!({"type": "offset", "inputColumn": input()?, "outputColumn": name, "offset": -number(1, 1)?}),
        "lead" => json!({"type": "offset", "inputColumn": input()?, "outputColumn": name, "offset": number(1, 1)?}),
        "first_value" => json!({"type": "first", "inputColumn": input()?, "outputColumn": name}),
        "last_value" => json!({"type": "last", "inputColumn": input()?, "outputColumn": name}),
        _ => return Some(None),
    }))
}

/// Gives the columns by which the rows of a query are sorted already: the keys of its groups.
fn sorted_by(source: &Source) -> Vec<(String, &'static str)> {
    let query = source.json.get("query");
    let is_grouped = query.and_then(|query| query.get("queryType")) == Some(&json!("groupBy"));
    let keys = query
        .and_then(|query| query.get("dimensions"))
        .and_then(Value::as_array);
    keys.into_iter()
        .flatten()
        .filter(|_| is_grouped)
        .filter_map(|key| Some((key.get("outputName")?.as_str()?.to_string(), "ASC")))
        .collect()
}

/// Puts sorting and cutting into partitions before the windows that need it.
fn operators(windows: Vec<(Over, Value)>, sorted: Vec<(String, &'static str)>) -> Vec<Value> {
    let mut operators = Vec::new();
    let (mut sorted, mut cut): (Vec<(String, &'static str)>, Option<Vec<String>>) = (sorted, None);
    for (over, window) in windows {
        let wanted = over.sorted();
        let partition = json!({"type": "naivePartition", "partitionColumns": over.partitions});
        if !sorted.starts_with(&wanted) {
            let columns: Vec<Value> = wanted
                .iter()
                .map(|(column, direction)| json!({"column": column, "direction": direction}))
                .collect();
            operators.push(json!({"type": "naiveSort", "columns": columns}));
            operators.push(partition);
            sorted = wanted;
            cut = Some(over.partitions);
        } else if cut.as_ref() != Some(&over.partitions) {
            operators.push(partition);
            cut = Some(over.partitions);
        }
        operators.push(window);
    }
    operators
}
