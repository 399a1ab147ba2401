//! How an interactive query says what its rows raised, which in Druid depends on where the expression was computed:
//!
//! 1. While the statement is planned, where everything is constant: a `general` error of the message alone.
//! 2. On a data server, in scans, time series and top lists: `legacyQueryException` of the exception's class.
//! 3. On a data server that groups: a `RuntimeException` around an `ExecutionException` around the exception.

use std::collections::HashSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, TableType};
use henge_engine::Fault;

const DIVISION_BY_ZERO: &str = "/ by zero";

/// Where Druid computes the rows of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whether segments are read at all.
    pub segments: bool,
    /// Whether rows are grouped, other than by time alone or for a top list.
    grouped: bool,
    /// Whether a division is of constants only, which WHERE gives to columns.
    divides_constants: bool,
}

impl Place {
    /// Looks at an optimised plan.
    pub fn of(plan: &LogicalPlan) -> Self {
        let mut place = Place {
            segments: false,
            grouped: false,
            divides_constants: false,
        };
        let (mut pinned, mut divisions) = (HashSet::new(), Vec::new());
        let visited = plan.apply_with_subqueries(|node| {
            match node {
                // System tables call themselves views: they have no segments behind them.
                LogicalPlan::TableScan(scan) => {
                    place.segments |= scan.source.table_type() == TableType::Base;
                    scan.filters.iter().for_each(|filter| pin(filter, &mut pinned));
                }
                LogicalPlan::Filter(filter) => pin(&filter.predicate, &mut pinned),
                LogicalPlan::Aggregate(aggregate) => {
                    place.grouped |= match aggregate.group_expr.as_slice() {
                        [] => false,
                        [only] => !is_time(only),
                        _ => true,
                    };
                }
                LogicalPlan::Distinct(_) => place.grouped = true,
                _ => {}
            }
            for expr in node.expressions() {
                divided(&expr, &mut divisions);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        place.segments &= visited.is_ok();
        place.grouped &= !is_top_list(plan);
        place.divides_constants = divisions.iter().any(|columns| columns.is_subset(&pinned));
        place
    }

    /// Words a failure as it is raised there.
    pub fn worded(self, mut fault: Fault) -> Fault {
        if fault.message.as_deref() == Some(DIVISION_BY_ZERO) && self.segments && !self.divides_constants {
            fault.raised = Some("java.lang.ArithmeticException".into());
        }
        if let Some(class) = fault.raised.take_if(|_| self.segments && self.grouped) {
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

/// Collects the columns of every division in an expression.
fn divided(expr: &Expr, divisions: &mut Vec<HashSet<String>>) {
    use datafusion::common::tree_node::TreeNode;
    let found = expr.apply(|e| {
        let divides = match e {
            Expr::BinaryExpr(binary) => matches!(binary.op, Operator::Divide | Operator::Modulo),
            Expr::ScalarFunction(call) => matches!(call.func.name(), "div" | "mod"),
            _ => false,
        };
        if divides {
            divisions.push(e.column_refs().into_iter().map(|column| column.name.clone()).collect());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(found.is_ok(), "the visitor does not fail");
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
        let by = |keys: Vec<Expr>| rows().aggregate(keys, Vec::<Expr>::new()).unwrap();
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
                vec![datafusion::functions_aggregate::expr_fn::sum(col("n"))],
            )
            .unwrap()
            .sort_with_limit(vec![col("sum(t.n)").sort(false, true)], Some(3))
            .unwrap();
        assert_eq!(said(first, None, DIVISION_BY_ZERO).1, "/ by zero");
    }
}
