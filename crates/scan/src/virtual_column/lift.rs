//! Finds what can be a virtual column in an expression.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, CaseExpr, Column};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::VirtualColumn;
use crate::eager_case::{EagerCase, cannot_fail};

/// Replaces parts of expressions over the columns of a table by virtual columns.
#[derive(Debug)]
pub(crate) struct Lifter<'a> {
    table: &'a SchemaRef,
    found: Vec<Arc<VirtualColumn>>,
    changed: bool,
}

impl<'a> Lifter<'a> {
    pub fn new(table: &'a SchemaRef) -> Self {
        Self {
            table,
            found: Vec::new(),
            changed: false,
        }
    }

    /// Gives the virtual columns found so far: the first one's index is the number of columns of the table.
    pub fn found(&self) -> &[Arc<VirtualColumn>] {
        &self.found
    }

    /// Tells whether any expression became another one.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// Gives the columns of the table and the virtual ones behind them.
    pub fn schema(&self) -> SchemaRef {
        let own = self.table.fields().iter();
        let all = own.chain(self.found.iter().map(|column| column.field())).cloned();
        Arc::new(Schema::new(all.collect::<Vec<_>>()))
    }

    /// Replaces the largest parts that read nothing but text, or nothing but the time; what is left of a CASE may be computed eagerly.
    pub fn lift(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        self.lift_inside(expr, false)
    }

    /// With the flag, the expression may not be evaluated for every row: what may fail stays where it is.
    fn lift_inside(&mut self, expr: &Arc<dyn PhysicalExpr>, lazily: bool) -> Result<Arc<dyn PhysicalExpr>> {
        let children = expr.children();
        if children.is_empty() {
            return Ok(expr.clone());
        }
        if (!lazily || cannot_fail(expr))
            && let Some(column) = VirtualColumn::of(expr, self.table)?
        {
            return Ok(self.place(column));
        }
        let lazily = lazily || is_lazy(expr);
        let mut changed = false;
        let mut lifted = Vec::with_capacity(children.len());
        for child in children {
            let new = self.lift_inside(child, lazily)?;
            changed |= !Arc::ptr_eq(&new, child);
            lifted.push(new);
        }
        let expr = match changed {
            true => expr.clone().with_new_children(lifted)?,
            false => expr.clone(),
        };
        if expr.is::<CaseExpr>()
            && let Some(case) = EagerCase::of(&expr, &self.schema())?
        {
            self.changed = true;
            return Ok(Arc::new(case));
        }
        Ok(expr)
    }

    fn place(&mut self, column: VirtualColumn) -> Arc<dyn PhysicalExpr> {
        self.changed = true;
        let place = match self.found.iter().position(|other| **other == column) {
            Some(place) => place,
            None => {
                self.found.push(Arc::new(column));
                self.found.len() - 1
            }
        };
        let name = self.found[place].field().name();
        Arc::new(Column::new(name, self.table.fields().len() + place))
    }
}

/// Tells whether parts of an expression are evaluated only for rows that other parts choose.
fn is_lazy(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let joins = |binary: &BinaryExpr| matches!(binary.op(), Operator::And | Operator::Or);
    expr.is::<CaseExpr>()
        || expr.downcast_ref::<BinaryExpr>().is_some_and(joins)
        || expr
            .downcast_ref::<ScalarFunctionExpr>()
            .is_some_and(|call| call.fun().short_circuits())
}
