//! From the plan that the binder made to the plan that runs.
//!
//! ```text
//!  bound ── order of groups ── FLOATs in 64 bits ── keys of joined sides hidden ── subqueries joined ── DataFusion's rules ──► finished
//!           group_order        wide_floats          false_keys                     correlated           optimise
//! ```

mod correlated;
mod false_keys;
mod group_order;
mod optimise;
mod wide_floats;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;

use crate::bind::{self, from_datafusion};
use crate::{EngineKind, SqlError, SqlType};

pub(crate) use group_order::sets_in_table_order;

/// A bound plan, and what decides how it is rewritten.
pub(crate) struct Bound<'a> {
    pub plan: &'a LogicalPlan,
    /// Of the result's columns.
    pub types: Vec<&'a SqlType>,
    pub engine: EngineKind,
    /// It reads a table of `sys` or `INFORMATION_SCHEMA`.
    pub of_system: bool,
    /// Its rows are stored: their order is the segments'.
    pub is_stored: bool,
    pub session: &'a SessionState,
}

/// Makes the plan that runs.
pub(crate) fn finished(bound: &Bound<'_>) -> std::result::Result<LogicalPlan, SqlError> {
    let plan = bound.plan.clone();
    let plan = match bound.engine {
        // Druid's system tables are not queried by its engine, and their groups have no order.
        EngineKind::Native if bound.of_system => plan,
        EngineKind::Task if bound.is_stored => group_order::limits_in_group_order(plan)?,
        EngineKind::Task => group_order::in_group_order(plan)?,
        EngineKind::Native => {
            let plan = bind::without_numbers_of_values(plan, bound.types.iter().copied())?;
            group_order::in_group_order(group_order::joined_in_group_order(plan)?)?
        }
    };
    let plan = wide_floats::computed_wide(plan)?;
    optimised(plan, bound.session).map_err(|e| from_datafusion(&e))
}

fn optimised(plan: LogicalPlan, session: &SessionState) -> Result<LogicalPlan> {
    let is_correlated = correlated::is_correlated(&plan);
    let joins = plan.exists(|node| Ok(matches!(node, LogicalPlan::Join(_))))?;
    let plan = match is_correlated || joins {
        true => false_keys::hidden(plan)?,
        false => plan,
    };
    if !is_correlated {
        return optimise::optimise(plan, session);
    }
    // DataFusion's own rules first: they know the common shapes, and leave the others as they are, or fail.
    let optimised = optimise::optimise(plan.clone(), session);
    if optimised.as_ref().is_ok_and(|plan| !correlated::is_correlated(plan)) {
        return optimised;
    }
    match correlated::joined(&plan)? {
        Some(joined) => optimise::optimise(false_keys::hidden(joined)?, session),
        None => optimised,
    }
}
