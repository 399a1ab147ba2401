//! Finds what can be a virtual column in an expression.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::VirtualColumn;

/// Replaces parts of expressions over the columns of a table by virtual columns.
#[derive(Debug)]
pub(crate) struct Lifter<'a> {
    table: &'a SchemaRef,
    found: Vec<Arc<VirtualColumn>>,
}

impl<'a> Lifter<'a> {
    pub fn new(table: &'a SchemaRef) -> Self {
        Self {
            table,
            found: Vec::new(),
        }
    }

    /// Gives the virtual columns found so far: the first one's index is the number of columns of the table.
    pub fn found(&self) -> &[Arc<VirtualColumn>] {
        &self.found
    }

    /// Gives the columns of the table and the virtual ones behind them.
    pub fn schema(&self) -> SchemaRef {
        let own = self.table.fields().iter();
        let all = own.chain(self.found.iter().map(|column| column.field())).cloned();
        Arc::new(Schema::new(all.collect::<Vec<_>>()))
    }

    /// Replaces the largest parts that read nothing but text, or nothing but the time.
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
        match changed {
            true => expr.clone().with_new_children(lifted),
            false => Ok(expr.clone()),
        }
    }

    fn place(&mut self, column: VirtualColumn) -> Arc<dyn PhysicalExpr> {
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

/// Tells whether an expression gives a value whatever its columns hold.
fn cannot_fail(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let compares = |binary: &BinaryExpr| {
        use Operator::{And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq, Or};
        matches!(
            binary.op(),
            Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom | And | Or
        )
    };
    let known = expr.is::<Column>()
        || expr.is::<Literal>()
        || expr.is::<NotExpr>()
        || expr.is::<IsNullExpr>()
        || expr.is::<IsNotNullExpr>()
        || expr.is::<InListExpr>()
        || expr.is::<LikeExpr>()
        || expr.downcast_ref::<BinaryExpr>().is_some_and(compares);
    known && expr.children().into_iter().all(cannot_fail)
}
