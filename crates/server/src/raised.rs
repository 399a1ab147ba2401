//! How an interactive query says what its rows raised, which in Druid depends on where the expression was computed:
//!
//! 1. While the statement is planned, where everything is constant: a `general` error of the message alone.
//! 2. On a data server, in scans, time series and top lists: `legacyQueryException` of the exception's class. In scans, a function
//!    around a division says that it met an unknown exception.
//! 3. On a data server that groups: a `RuntimeException` around an `ExecutionException` around the exception.
//! 4. Behind groups: `legacyQueryException` again, but a function around a division is to blame itself.

use std::collections::{HashMap, HashSet};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, TableType};
use henge_engine::Fault;

const DIVISION_BY_ZERO: &str = "/ by zero";

/// Where Druid computes the rows of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whether segments are read at all.
    pub segments: bool,
    stage: Stage,
    /// Whether what fails is computed from groups that are there already.
    behind: bool,
    division: Option<Division>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Scan,
    /// A time series, a top list, or groups of rows that the broker has.
    Series,
    Groups,
}

/// The first division of a plan that is not of constants only, which WHERE gives to columns, or one that is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Division {
    of_constants: bool,
    /// The function around it.
    function: Option<String>,
    behind: bool,
}

impl Place {
    /// Looks at an optimised plan.
    pub fn of(plan: &LogicalPlan) -> Self {
        let mut walk = Walk::default();
        walk.node(plan);
        let mut segments = false;
        let visited = plan.apply_with_subqueries(|node| {
            // System tables call themselves views: they have no segments behind them.
            segments |= matches!(node, LogicalPlan::TableScan(scan) if scan.source.table_type() == TableType::Base);
            Ok(TreeNodeRecursion::Continue)
        });
        let stage = match walk.grouped {
            None => Stage::Scan,
            Some(true) if !is_top_list(plan) => Stage::Groups,
            Some(_) => Stage::Series,
        };
        let found = walk.divisions.iter().map(|(columns, function, behind)| Division {
            of_constants: (!*behind || columns.is_empty()) && columns.is_subset(&walk.pinned),
            function: function.clone(),
            behind: *behind,
        });
        let (folded, computed): (Vec<Division>, Vec<Division>) = found.partition(|division| division.of_constants);
        Place {
            segments: segments && visited.is_ok(),
            stage,
            behind: walk.behind && !walk.inside,
            division: computed.into_iter().chain(folded).next(),
        }
    }

    /// Words a failure as it is raised there.
    pub fn worded(&self, mut fault: Fault) -> Fault {
        let mut behind = self.behind;
        if fault.message.as_deref() == Some(DIVISION_BY_ZERO) {
            let Some(division) = self.division.as_ref() else {
                // It is in a query of its own.
                if self.segments {
                    fault.raised = Some("java.lang.ArithmeticException".into());
                }
                return fault;
            };
            if division.of_constants || !(self.segments || division.behind) {
                return fault;
            }
            behind = division.behind;
            fault.raised = Some("java.lang.ArithmeticException".into());
            if let Some(function) = &division.function
                && (behind || self.stage == Stage::Scan)
            {
                fault.message = Some(format!("Function[{function}] encountered unknown exception."));
                fault.raised = (!behind).then(|| "".into());
                fault.fields.insert("persona".into(), "DEVELOPER".into());
                fault.fields.insert("category".into(), "DEFENSIVE".into());
            }
        }
        if !self.segments || behind || self.stage != Stage::Groups {
            return fault;
        }
        if let Some(class) = fault.raised.take() {
            let class = match &*class {
                "" => "org.apache.druid.error.DruidException",
                class => class,
            };
            let message = fault.message.unwrap_or_default();
            fault.message = Some(format!("java.util.concurrent.ExecutionException: {class}: {message}"));
            fault.raised = Some("java.lang.RuntimeException".into());
        }
        fault
    }
}

/// Columns of a division, the function around it, whether it is behind groups.
type Found = (HashSet<String>, Option<String>, bool);

/// What is met on the way up from the tables.
#[derive(Default)]
struct Walk {
    /// Columns that WHERE gives one value to.
    pinned: HashSet<String>,
    divisions: Vec<Found>,
    /// Expressions that the optimiser computes once, by name, with the columns of their division.
    shared: HashMap<String, HashSet<String>>,
    /// Whether the innermost aggregation groups rows on data servers.
    grouped: Option<bool>,
    /// Whether functions are called inside of it, and behind.
    inside: bool,
    behind: bool,
}

impl Walk {
    /// Visits a node behind its inputs. Tells whether there is an aggregation in it or below, and whether a limit is.
    fn node(&mut self, node: &LogicalPlan) -> (bool, bool) {
        let (mut aggregated, mut limited) = (false, false);
        for input in node.inputs() {
            let below = self.node(input);
            (aggregated, limited) = (aggregated | below.0, limited | below.1);
        }
        match node {
            LogicalPlan::TableScan(scan) => scan.filters.iter().for_each(|filter| pin(filter, &mut self.pinned)),
            LogicalPlan::Filter(filter) => pin(&filter.predicate, &mut self.pinned),
            _ => {}
        }
        for expr in node.expressions() {
            self.expression(&expr, None, aggregated);
        }
        match node {
            LogicalPlan::Aggregate(aggregate) => {
                let by_more_than_time = match aggregate.group_expr.as_slice() {
                    [] => false,
                    [only] => !is_time(only),
                    _ => true,
                };
                self.grouped.get_or_insert(by_more_than_time && !limited);
                (true, limited)
            }
            LogicalPlan::Distinct(_) => {
                self.grouped.get_or_insert(!limited);
                (true, limited)
            }
            LogicalPlan::Limit(_) => (aggregated, true),
            LogicalPlan::Sort(sort) => (aggregated, limited | sort.fetch.is_some()),
            LogicalPlan::TableScan(scan) => (aggregated, limited | scan.fetch.is_some()),
            _ => (aggregated, limited),
        }
    }

    /// Collects the divisions of an expression.
    fn expression(&mut self, expr: &Expr, function: Option<&str>, behind: bool) {
        let columns = |expr: &Expr| {
            expr.column_refs()
                .into_iter()
                .map(|column| column.name.clone())
                .collect()
        };
        let owned = || function.map(str::to_string);
        let mut around = owned();
        match expr {
            Expr::BinaryExpr(binary) if matches!(binary.op, Operator::Divide | Operator::Modulo) => {
                self.divisions.push((columns(expr), owned(), behind));
            }
            Expr::ScalarFunction(call) => {
                let name = call.func.name();
                match name {
                    "mod" => self.divisions.push((columns(expr), owned(), behind)),
                    // Sums of times and spans are no calls.
                    _ if name.starts_with("timestamp_plus") => {}
                    _ => around = Some(native_name(name)),
                }
                self.inside |= !behind;
                self.behind |= behind;
            }
            Expr::Case(_) => around = Some("case_searched".into()),
            Expr::Column(column) => {
                if let Some(shared) = self.shared.get(&column.name) {
                    self.divisions.push((shared.clone(), owned(), behind));
                }
            }
            Expr::Alias(alias) if alias.name.starts_with("__common_expr") => {
                let known = self.divisions.len();
                self.expression(&alias.expr, function, behind);
                let found = self.divisions.split_off(known);
                if let Some((columns, ..)) = found.into_iter().next() {
                    self.shared.insert(alias.name.clone(), columns);
                }
                return;
            }
            _ => {}
        }
        let visited = expr.apply_children(|child| {
            self.expression(child, around.as_deref(), behind);
            Ok(TreeNodeRecursion::Continue)
        });
        debug_assert!(visited.is_ok(), "the visitor does not fail");
    }
}

/// Gives the name that Druid's messages have for a function.
fn native_name(name: &str) -> String {
    match name {
        "make_array" => "array".into(),
        "coalesce" | "nullif" | "nvl" => "case_searched".into(),
        name if name.starts_with("cast_") => "CAST".into(),
        name => name.into(),
    }
}

/// Collects the columns that a condition gives one value to.
fn pin(condition: &Expr, pinned: &mut HashSet<String>) {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
        return;
    };
    match (op, left.as_ref(), right.as_ref()) {
        (Operator::And, left, right) => {
            pin(left, pinned);
            pin(right, pinned);
        }
        (Operator::Eq, Expr::Column(column), Expr::Literal(..))
        | (Operator::Eq, Expr::Literal(..), Expr::Column(column)) => {
            pinned.insert(column.name.clone());
        }
        _ => {}
    }
}

/// Tells whether a key is the time, or floors it.
fn is_time(key: &Expr) -> bool {
    match key {
        Expr::Column(column) => column.name == "__time",
        Expr::Alias(alias) => is_time(&alias.expr),
        Expr::ScalarFunction(call) if call.func.name() == "timestamp_floor" => call.args.first().is_some_and(is_time),
        _ => false,
    }
}

/// Tells whether a plan keeps the first groups by something else than their only key.
fn is_top_list(plan: &LogicalPlan) -> bool {
    let (mut sort, mut node) = (None, plan);
    loop {
        match node {
            LogicalPlan::Sort(found) if found.fetch.is_some() => sort = found.expr.first(),
            LogicalPlan::Aggregate(aggregate) => {
                let [key] = aggregate.group_expr.as_slice() else {
                    return false;
                };
                let key = key.schema_name().to_string();
                return sort.is_some_and(|by| by.expr.schema_name().to_string() != key);
            }
            LogicalPlan::Projection(_) | LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => {}
            _ => return false,
        }
        match node.inputs().first() {
            Some(input) => node = input,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit, table_scan};
    use henge_engine::FaultCode;

    use super::*;

    fn rows() -> LogicalPlanBuilder {
        let schema = Schema::new(vec![
            Field::new("__time", DataType::Int64, false),
            Field::new("n", DataType::Int64, true),
            Field::new("city", DataType::Utf8, true),
        ]);
        table_scan(Some("t"), &schema, None).unwrap()
    }

    fn said(plan: LogicalPlanBuilder, raised: Option<&str>, message: &str) -> (Option<String>, String) {
        let mut fault = Fault::new(FaultCode::DruidException, message);
        fault.raised = raised.map(Box::from);
        let fault = Place::of(&plan.build().unwrap()).worded(fault);
        (fault.raised.map(String::from), fault.message.unwrap())
    }

    #[test]
    fn a_division_by_zero_is_what_the_data_server_raises_or_the_planner() {
        let raised = |plan| said(plan, None, DIVISION_BY_ZERO);
        let (class, message) = raised(rows().project([col("n") / lit(0_i64)]).unwrap());
        assert_eq!(class.as_deref(), Some("java.lang.ArithmeticException"));
        assert_eq!(message, "/ by zero");
        // WHERE makes it a division of constants.
        let pinned = rows().filter(col("n").eq(lit(1_i64))).unwrap();
        assert_eq!(raised(pinned.project([col("n") / lit(0_i64)]).unwrap()).0, None);
        let inline = LogicalPlanBuilder::values(vec![vec![lit(1_i64)], vec![lit(0_i64)]]).unwrap();
        assert_eq!(raised(inline.project([lit(1_i64) / col("column1")]).unwrap()).0, None);
    }

    #[test]
    fn groups_wrap_what_their_rows_raise() {
        let divided = || vec![datafusion::functions_aggregate::expr_fn::sum(col("n") / col("n"))];
        let by = |keys: Vec<Expr>| rows().aggregate(keys, divided()).unwrap();
        let (class, message) = said(by(vec![col("city")]), None, DIVISION_BY_ZERO);
        assert_eq!(class.as_deref(), Some("java.lang.RuntimeException"));
        assert_eq!(
            message,
            "java.util.concurrent.ExecutionException: java.lang.ArithmeticException: / by zero"
        );
        let (_, message) = said(
            by(vec![col("city")]),
            Some(""),
            "Function[strlen] encountered unknown exception.",
        );
        assert_eq!(
            message,
            "java.util.concurrent.ExecutionException: org.apache.druid.error.DruidException: Function[strlen] encountered unknown exception."
        );
        // Time alone makes a time series, the first of groups by a number a top list.
        assert_eq!(said(by(vec![col("__time")]), None, DIVISION_BY_ZERO).1, "/ by zero");
        let first = rows()
            .aggregate(
                vec![col("city")],
                vec![datafusion::functions_aggregate::expr_fn::sum(col("n") / col("n"))],
            )
            .unwrap()
            .sort_with_limit(vec![col("sum(t.n / t.n)").sort(false, true)], Some(3))
            .unwrap();
        assert_eq!(said(first, None, DIVISION_BY_ZERO).1, "/ by zero");
    }

    #[test]
    fn a_function_around_a_division_is_named_in_scans_and_behind_groups() {
        let case = |by: Expr| {
            let case = datafusion::logical_expr::when(col("n").gt(lit(1_i64)), col("n") / by);
            case.end().unwrap()
        };
        let (class, message) = said(rows().project([case(col("n"))]).unwrap(), None, DIVISION_BY_ZERO);
        assert_eq!(class.as_deref(), Some(""));
        assert_eq!(message, "Function[case_searched] encountered unknown exception.");
        let groups = || rows().aggregate(vec![col("n")], Vec::<Expr>::new()).unwrap();
        let behind = groups().project([col("n") / col("n")]).unwrap();
        assert_eq!(said(behind, None, DIVISION_BY_ZERO).1, "/ by zero");
        let (class, message) = said(groups().project([case(col("n"))]).unwrap(), None, DIVISION_BY_ZERO);
        assert_eq!(
            (class, message.as_str()),
            (None, "Function[case_searched] encountered unknown exception.")
        );
    }
}
