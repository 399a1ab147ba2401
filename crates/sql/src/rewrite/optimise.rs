//! The logical optimiser: DataFusion's rules, of which a plan meets those that have something to do in it.
//!
//! A rule walks the whole plan, and several build every node anew to find that nothing changed. Most statements have no join, no
//! subquery and no union, and one pass settles them. So the plan is looked at once: what it is made of says which rules it needs,
//! and whether a second pass could find what the first one made.

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Sort};
use datafusion::optimizer::Optimizer;

/// Coerces the types of a bound plan, then rewrites it with the rules of the session that it needs.
pub(crate) fn optimise(plan: LogicalPlan, session: &SessionState) -> Result<LogicalPlan> {
    let plan = session
        .analyzer()
        .execute_and_check(plan, session.config_options(), |_, _| {})?;
    let contents = Contents::of(&plan)?;
    let rules = session.optimizers().iter().filter(|rule| contents.need(rule.name()));
    let optimizer = Optimizer::with_rules(rules.cloned().collect());
    if contents.subquery || !is_one_block(&plan) {
        return optimizer.optimize(plan, session, |_, _| {});
    }
    let mut one_pass = session.clone();
    one_pass.config_mut().options_mut().optimizer.max_passes = 1;
    let plan = optimizer.optimize(plan, &one_pass, |_, _| {})?;
    match reads_nothing(&plan) {
        true => optimizer.optimize(plan, session, |_, _| {}),
        false => Ok(plan),
    }
}

/// Tells a block whose condition turned out to be never true.
fn reads_nothing(plan: &LogicalPlan) -> bool {
    match plan.inputs().as_slice() {
        [] => matches!(plan, LogicalPlan::EmptyRelation(_)),
        inputs => inputs.iter().any(|input| reads_nothing(input)),
    }
}

/// What a plan is made of.
#[derive(Default)]
struct Contents {
    filter: bool,
    limit: bool,
    join: bool,
    union: bool,
    distinct: bool,
    empty: bool,
    subquery: bool,
    /// An aggregate over distinct values.
    distinct_values: bool,
    grouping: bool,
    /// A key of a sort or a grouping that may say nothing new.
    idle_keys: bool,
    /// A node this list does not know.
    other: bool,
}

impl Contents {
    fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut found = Contents::default();
        plan.apply_with_subqueries(|node| {
            match node {
                LogicalPlan::Filter(_) => found.filter = true,
                LogicalPlan::Limit(_) => found.limit = true,
                LogicalPlan::Join(_) => found.join = true,
                LogicalPlan::Union(_) => found.union = true,
                LogicalPlan::Distinct(_) => found.distinct = true,
                LogicalPlan::EmptyRelation(_) => found.empty = true,
                LogicalPlan::Subquery(_) => found.subquery = true,
                LogicalPlan::Sort(sort) => found.idle_keys |= may_have_idle_keys(sort),
                LogicalPlan::Aggregate(node) => {
                    found.grouping |= !node.group_expr.is_empty();
                    found.idle_keys |= has_twins(node.group_expr.iter());
                }
                LogicalPlan::Projection(_)
                | LogicalPlan::TableScan(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Values(_) => {}
                _ => found.other = true,
            }
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    match expr {
                        Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_) => {
                            found.subquery = true;
                        }
                        Expr::AggregateFunction(call) => found.distinct_values |= call.params.distinct,
                        _ => {}
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(found)
    }

    /// Tells whether a rule of DataFusion finds anything to do. A rule that is not listed always might.
    fn need(&self, rule: &str) -> bool {
        // Subqueries become joins, groupings and limits; joins and limits may be found to be empty.
        let joins = self.join || self.subquery || self.other;
        match rule {
            "rewrite_set_comparison" | "decorrelate_predicate_subquery" | "scalar_subquery_to_join" => {
                self.subquery || self.other
            }
            "optimize_unions" | "unions_to_filter" => self.union || self.other,
            "replace_distinct_aggregate" => self.distinct || self.union || joins,
            "eliminate_join"
            | "decorrelate_lateral_join"
            | "extract_equijoin_predicate"
            | "eliminate_cross_join"
            | "filter_null_join_keys"
            | "eliminate_outer_join" => joins,
            "eliminate_duplicated_expr" => self.idle_keys || self.distinct || joins,
            "eliminate_filter" | "push_down_filter" => self.filter || joins,
            "eliminate_limit" | "push_down_limit" => self.limit || joins,
            "propagate_empty_relation" => self.empty || self.filter || self.limit || self.union || joins,
            "single_distinct_aggregation_to_group_by" => self.distinct_values || self.distinct || joins,
            "eliminate_group_by_constant" => self.grouping || self.distinct || joins,
            // These move functions that say they belong beside the scan, such as the fields of structs; Druid's dialect has none.
            "extract_leaf_expressions" | "push_down_leaf_projections" => self.other,
            _ => true,
        }
    }
}

fn has_twins<'e>(exprs: impl Iterator<Item = &'e Expr> + Clone) -> bool {
    let twin = |(at, expr)| exprs.clone().take(at).any(|earlier| earlier == expr);
    exprs.clone().enumerate().any(twin)
}

/// A sort's key is idle where it stands twice, or where the keys before it decide it, as those of a grouping decide the rest.
fn may_have_idle_keys(sort: &Sort) -> bool {
    let rules = sort.input.schema().functional_dependencies();
    let deciding = rules.iter().map(|rule| rule.source_indices.len()).min();
    deciding.is_some_and(|keys| sort.expr.len() > keys) || has_twins(sort.expr.iter().map(|key| &key.expr))
}

/// Tells a plan in which no rule makes work for an earlier one: one SELECT over one table, with a condition on its rows at most.
/// (A LIMIT goes into the sort below it, and is gone in the next pass only.)
fn is_one_block(plan: &LogicalPlan) -> bool {
    let mut node = plan;
    let mut groups = false;
    let mut computes = false;
    loop {
        node = match node {
            LogicalPlan::Sort(sort) => &sort.input,
            LogicalPlan::Projection(projection) if !computes => {
                computes = true;
                &projection.input
            }
            LogicalPlan::Aggregate(aggregate) if !groups => {
                groups = true;
                computes = false;
                &aggregate.input
            }
            LogicalPlan::Filter(filter) => match filter.input.as_ref() {
                LogicalPlan::SubqueryAlias(alias) => return matches!(alias.input.as_ref(), LogicalPlan::TableScan(_)),
                input => return matches!(input, LogicalPlan::TableScan(_)),
            },
            LogicalPlan::SubqueryAlias(alias) => return matches!(alias.input.as_ref(), LogicalPlan::TableScan(_)),
            LogicalPlan::TableScan(_) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::MemTable;
    use datafusion::prelude::SessionContext;

    use super::*;

    /// A statement for each rule that is left out somewhere, and plain ones, which one pass settles.
    const STATEMENTS: [&str; 30] = [
        "SELECT a, b + 1 AS c FROM t",
        "SELECT a, COUNT(*), SUM(b * 2), MAX(b * 2 + 1) FROM t WHERE b > 1 + 1 GROUP BY a",
        "SELECT x.a, SUM(x.b) FROM t AS x WHERE x.a = 'u' AND true GROUP BY x.a ORDER BY 1, 2",
        "SELECT SUM(b) FROM t WHERE false",
        "SELECT a FROM t WHERE 1 = 1",
        "SELECT a FROM t LIMIT 0",
        "SELECT a, b FROM t ORDER BY b DESC LIMIT 3",
        "SELECT a, COUNT(*) AS n FROM t GROUP BY a ORDER BY n DESC, a LIMIT 5 OFFSET 2",
        "SELECT DISTINCT a, b FROM t ORDER BY a",
        "SELECT a, COUNT(DISTINCT b) FROM t GROUP BY a",
        "SELECT 'k', COUNT(*) FROM t GROUP BY 'k', a",
        "SELECT a, COUNT(*) FROM t GROUP BY a, a ORDER BY a, a DESC",
        "SELECT a, COUNT(*) AS n FROM t GROUP BY a ORDER BY a, n",
        "SELECT a, b, COUNT(*) AS n FROM t GROUP BY a, b ORDER BY n, a",
        "SELECT a FROM t ORDER BY b, b DESC",
        "SELECT a, COUNT(*) FROM t GROUP BY a HAVING a > 'b' AND COUNT(*) > 1",
        "SELECT c + 1 FROM (SELECT b + 1 AS c, a FROM t WHERE b > 0) WHERE a = 'x' AND c > 3",
        "SELECT a, n FROM (SELECT a, COUNT(*) AS n FROM t GROUP BY a) WHERE n > 2 AND a <> 'q'",
        "SELECT t.a, u.b FROM t JOIN t AS u ON t.a = u.a AND t.b > 1",
        "SELECT t.a FROM t, t AS u WHERE t.a = u.a AND u.b = 4",
        "SELECT t.a FROM t LEFT JOIN t AS u ON t.a = u.a WHERE u.b = 4",
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM t AS u WHERE u.b = 5)",
        "SELECT a FROM t WHERE a IN (SELECT a FROM t AS u WHERE u.b = t.b)",
        "SELECT a, (SELECT MAX(b) FROM t AS u WHERE u.a = t.a) FROM t",
        "SELECT a FROM t WHERE b > ALL (SELECT b FROM t AS u WHERE u.a = 'x')",
        "SELECT a FROM t UNION ALL SELECT a FROM t WHERE b = 1 UNION ALL SELECT 'z'",
        "SELECT a FROM t UNION SELECT a FROM t WHERE false",
        "SELECT a, ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) AS n FROM t WHERE b > 2",
        "SELECT a, b, COUNT(*) FROM t GROUP BY GROUPING SETS ((a, b), (a), ())",
        "SELECT SUM(column1) FROM (VALUES (1), (2), (1 + 2))",
    ];

    /// Leaving rules out makes no other plan than all of them, as often as they like, make.
    #[tokio::test]
    async fn rules_that_are_left_out_have_nothing_to_do() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Utf8, true),
            Field::new("b", DataType::Int64, true),
        ]));
        let context = SessionContext::new_with_config(crate::planner::session_config());
        let table = MemTable::try_new(schema, vec![vec![]]).expect("no rows");
        context.register_table("t", Arc::new(table)).expect("a new name");
        let session = context.state();
        for sql in STATEMENTS {
            let bound = session.create_logical_plan(sql).await.expect(sql);
            let whole = session.optimize(&bound).expect(sql);
            let chosen = optimise(bound, &session).expect(sql);
            assert_eq!(without_numbers(&chosen), without_numbers(&whole), "{sql}");
        }
    }

    /// Names that the optimiser makes up have a running number.
    fn without_numbers(plan: &LogicalPlan) -> String {
        let numbers = regex::Regex::new(r"(__\w+?_)\d+").expect("valid");
        numbers
            .replace_all(&plan.display_indent_schema().to_string(), "$1")
            .into_owned()
    }
}
