//! CASE, COALESCE and NULLIF over multi-value strings: bound as if every row had one value, and mapped over the values.
//!
//! Inside of such an expression a multi-value column, or an `MV_FILTER_*` of one, stands as a placeholder of type VARCHAR;
//! [`Binder::by_value`] gathers the placeholders and what else the expression reads, and makes the call that maps it. What takes
//! lists as they are (`MV_*` and the array functions) sees the lists themselves.

use std::cell::RefCell;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Case;

use super::expr::{Cx, is_call};
use super::{Binder, Typed, from_datafusion};
use crate::functions;
use crate::{SqlError, SqlType};

/// Qualifier of the placeholders.
const VALUE: &str = "$value";

/// The lists of one expression, each once.
#[derive(Debug, Default)]
pub(crate) struct Values {
    lists: Vec<Expr>,
}

impl Values {
    /// Gives the placeholder for a list; `None` for lists that Druid hands on as they are.
    pub(super) fn placeholder(&mut self, typed: &Typed) -> Option<Typed> {
        let filtered = [
            "filtered",
            "filtered_none",
            "filtered_prefix",
            "filtered_regex",
            "filtered_regex_whole",
        ];
        let is_leaf = matches!(typed.expr, Expr::Column(_)) || filtered.iter().any(|name| is_call(&typed.expr, name));
        if typed.ty != SqlType::MultiVarchar || !is_leaf {
            return None;
        }
        Some(self.stand_in(typed.expr.clone(), SqlType::Varchar))
    }

    /// Gives the placeholder for the values of a list.
    pub(super) fn stand_in(&mut self, list: Expr, element: SqlType) -> Typed {
        let known = self.lists.iter().position(|known| *known == list);
        let index = known.unwrap_or_else(|| {
            self.lists.push(list);
            self.lists.len() - 1
        });
        let column = Column::new(Some(TableReference::bare(VALUE)), index.to_string());
        Typed::new(Expr::Column(column), element)
    }
}

impl Binder<'_> {
    /// Binds an expression once a value where it reads multi-value strings, and as it is where it does not.
    pub(super) fn by_value(&self, cx: &Cx, bind: impl Fn(&Cx) -> Result<Typed, SqlError>) -> Result<Typed, SqlError> {
        if cx.values.is_some() {
            return bind(cx);
        }
        let values = RefCell::new(Values::default());
        let typed = bind(&Cx {
            values: Some(&values),
            ..*cx
        })?;
        let lists = values.into_inner();
        if lists.lists.is_empty() {
            return Ok(typed);
        }
        let whole_rows = matches!(typed.ty, SqlType::MultiVarchar | SqlType::Array(_)) || asks(&typed.expr);
        if whole_rows {
            return bind(cx);
        }
        self.mapped(typed, lists)
    }

    /// Makes the call that maps an expression over the values of its lists.
    pub(super) fn mapped(&self, typed: Typed, lists: Values) -> Result<Typed, SqlError> {
        let lists = lists.lists;
        let stored: Vec<bool> = lists.iter().map(|list| matches!(list, Expr::Column(_))).collect();
        let mut args = lists;
        let expression = without_coalesce(typed.expr)?
            .transform_down(|expr| {
                let Expr::Column(column) = &expr else {
                    return Ok(Transformed::no(expr));
                };
                let placeholder = column
                    .relation
                    .as_ref()
                    .is_some_and(|relation| relation.table() == VALUE);
                let index = match column.name.parse::<usize>() {
                    Ok(index) if placeholder => index,
                    _ => args.iter().position(|arg| *arg == expr).unwrap_or_else(|| {
                        args.push(expr.clone());
                        args.len() - 1
                    }),
                };
                let argument = Expr::Column(functions::argument(index));
                Ok(Transformed::new(argument, true, TreeNodeRecursion::Jump))
            })
            .map_err(|e| from_datafusion(&e))?
            .data;
        let ty = match typed.ty {
            SqlType::Null => SqlType::Varchar,
            other => other,
        };
        let mut stored = stored;
        stored.resize(args.len(), true);
        if args.len() > 1 {
            // Druid maps dictionary entries where the list is all there is, and rows, whose empty lists are NULL, else.
            stored.fill(true);
        }
        let call = functions::by_value_call(expression, ty.arrow(), stored, args);
        if ty.is_text() {
            return Ok(Typed::new(call, SqlType::MultiVarchar));
        }
        self.one_of(call, ty)
    }
}

/// Words COALESCE as the CASE that the optimiser would make of it, which does not see what is mapped.
fn without_coalesce(expr: Expr) -> Result<Expr, SqlError> {
    expr.transform_up(|expr| match expr {
        Expr::ScalarFunction(mut call) if call.func.name() == "coalesce" => {
            let otherwise = call.args.pop().map(Box::new);
            let known = |arg: Expr| (Box::new(Expr::IsNotNull(Box::new(arg.clone()))), Box::new(arg));
            let whens: Vec<_> = call.args.into_iter().map(known).collect();
            match otherwise {
                Some(only) if whens.is_empty() => Ok(Transformed::yes(*only)),
                otherwise => Ok(Transformed::yes(Expr::Case(Case::new(None, whens, otherwise)))),
            }
        }
        other => Ok(Transformed::no(other)),
    })
    .map(|changed| changed.data)
    .map_err(|e| from_datafusion(&e))
}

/// Tells whether an expression asks a query or a row of the query around, which no mapping can.
fn asks(expr: &Expr) -> bool {
    expr.exists(|e| {
        Ok(matches!(
            e,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::OuterReferenceColumn(..)
        ))
    })
    .unwrap_or(true)
}
