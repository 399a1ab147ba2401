//! The optimiser rule that moves expressions over text into the scans below them.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::{Lifter, VirtualColumn};
use crate::aggregate::substitute;
use crate::filter::columns_of;
use crate::scan::SegmentScanExec;

/// Makes virtual columns of what projections and aggregations right above a scan compute of text or time.
#[derive(Debug, Default)]
pub struct VirtualColumnsOfScans;

impl PhysicalOptimizerRule for VirtualColumnsOfScans {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(match over_scan(&node)? {
                Some(replaced) => Transformed::yes(replaced),
                None => Transformed::no(node),
            })
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "virtual_columns_of_scans"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn over_scan(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let Some(mut moving) = Moving::of(projection.input()) else {
            return Ok(None);
        };
        let exprs = projection.expr().iter().map(|expr| moving.lift(&expr.expr));
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        let Some(moved) = moving.finish(&exprs)? else {
            return Ok(None);
        };
        let exprs = exprs.iter().zip(projection.expr()).map(|(expr, old)| {
            Ok(ProjectionExpr {
                expr: moved.renumber(expr)?,
                alias: old.alias.clone(),
            })
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        return Ok(Some(Arc::new(ProjectionExec::try_new(exprs, moved.scan)?)));
    }
    match node.downcast_ref::<AggregateExec>() {
        Some(aggregate) => aggregation(aggregate),
        None => Ok(None),
    }
}

fn aggregation(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let first = matches!(
        aggregate.mode(),
        AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned
    );
    let ordered = aggregate
        .aggr_expr()
        .iter()
        .any(|function| !function.order_bys().is_empty());
    if !first || ordered || aggregate.limit_options().is_some() {
        return Ok(None);
    }
    let Some(mut moving) = Moving::of(aggregate.input()) else {
        return Ok(None);
    };
    // All expressions in one list: those that group, then arguments and filter of each function.
    let group_by = aggregate.group_expr();
    let grouping = group_by
        .expr()
        .iter()
        .chain(group_by.null_expr())
        .map(|(expr, _)| expr.clone());
    let mut exprs: Vec<Arc<dyn PhysicalExpr>> = grouping.collect();
    for (function, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
        exprs.extend(function.expressions());
        exprs.extend(filter.clone());
    }
    let exprs = exprs.iter().map(|expr| moving.lift(expr)).collect::<Result<Vec<_>>>()?;
    let Some(moved) = moving.finish(&exprs)? else {
        return Ok(None);
    };
    let exprs = exprs
        .iter()
        .map(|expr| moved.renumber(expr))
        .collect::<Result<Vec<_>>>()?;
    let mut exprs = exprs.into_iter();
    let mut named = |old: &[(Arc<dyn PhysicalExpr>, String)]| -> Vec<_> {
        let names = old.iter().map(|(_, name)| name.clone());
        exprs.by_ref().take(old.len()).zip(names).collect()
    };
    let (keys, nulls) = (named(group_by.expr()), named(group_by.null_expr()));
    let group_by = PhysicalGroupBy::new(keys, nulls, group_by.groups().to_vec(), group_by.has_grouping_set());
    let mut functions = Vec::new();
    let mut filters = Vec::new();
    for (function, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
        let arguments = exprs.by_ref().take(function.expressions().len()).collect();
        let Some(function) = function.with_new_expressions(arguments, Vec::new()) else {
            return Ok(None);
        };
        functions.push(Arc::new(function));
        filters.push(filter.as_ref().and_then(|_| exprs.next()));
    }
    let schema = moved.scan.schema();
    let mode = *aggregate.mode();
    let replaced = AggregateExec::try_new(mode, group_by, functions, filters, moved.scan, schema)?;
    // What reads the groups must not see a difference.
    Ok((replaced.schema() == aggregate.schema()).then(|| Arc::new(replaced) as Arc<dyn ExecutionPlan>))
}

/// A scan whose virtual columns are being found.
struct Moving<'a> {
    scan: &'a SegmentScanExec,
    lifter: Lifter<'a>,
}

impl<'a> Moving<'a> {
    fn of(plan: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        let scan = plan.downcast_ref::<SegmentScanExec>()?;
        scan.virtual_columns().is_empty().then(|| Self {
            scan,
            lifter: Lifter::new(scan.table_schema()),
        })
    }

    /// Rewrites an expression over the scan to one over the table and its virtual columns.
    fn lift(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let table = self.scan.table_schema();
        let expr = substitute(expr, &|column| {
            let at = self.scan.projection()[column.index()];
            Arc::new(Column::new(table.field(at).name(), at))
        })?;
        self.lifter.lift(&expr)
    }

    /// Makes the scan that gives what the expressions read; none if nothing was found.
    fn finish(self, exprs: &[Arc<dyn PhysicalExpr>]) -> Result<Option<Moved>> {
        if !self.lifter.has_changed() {
            return Ok(None);
        }
        let own = self.scan.table_schema().fields().len();
        let mut columns: Vec<usize> = exprs
            .iter()
            .flat_map(columns_of)
            .filter(|column| *column < own)
            .collect();
        columns.sort_unstable();
        columns.dedup();
        let found: Vec<Arc<VirtualColumn>> = self.lifter.found().to_vec();
        let scan = self.scan.with_virtual_columns(columns.clone(), found)?;
        Ok(Some(Moved {
            scan: Arc::new(scan),
            columns,
            own,
        }))
    }
}

/// A scan with virtual columns.
struct Moved {
    scan: Arc<dyn ExecutionPlan>,
    /// Columns of the table that it gives, ascending.
    columns: Vec<usize>,
    /// Columns of the table.
    own: usize,
}

impl Moved {
    /// Rewrites an expression over the table and its virtual columns to one over the scan.
    fn renumber(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        substitute(expr, &|column| {
            let at = match column.index().checked_sub(self.own) {
                Some(place) => self.columns.len() + place,
                None => self.columns.partition_point(|own| *own < column.index()),
            };
            Arc::new(Column::new(column.name(), at))
        })
    }
}
