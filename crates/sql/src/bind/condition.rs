//! Conditions: what decides in WHERE, ON, HAVING, FILTER and CASE, and AND, OR, NOT and IS TRUE over it.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, Operator, lit};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator as B};

use super::expr::Cx;
use super::{Binder, Scope, Typed};
use crate::{SqlError, SqlType};

/// How the truth of an expression decides over a row of WHERE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    /// It must be true: what is unknown is as good as false.
    Conjunct,
    /// It makes the condition true where it is true: what is unknown is as good as false.
    Positive,
    /// What is unknown matters.
    Matters,
}

impl Truth {
    /// What is left of it inside of an expression.
    pub(super) fn within(self, expr: &ast::Expr) -> Truth {
        match (self, expr) {
            (Truth::Matters, _) => Truth::Matters,
            (_, ast::Expr::Nested(_) | ast::Expr::InSubquery { .. } | ast::Expr::BinaryOp { op: B::And, .. }) => self,
            (_, ast::Expr::BinaryOp { op: B::Or, .. }) => Truth::Positive,
            _ => Truth::Matters,
        }
    }
}

impl Binder<'_> {
    /// Binds a condition.
    pub(super) fn condition(&self, expr: &ast::Expr, scope: &Scope, clause: &'static str) -> Result<Expr, SqlError> {
        let cx = Cx {
            clause,
            truth: match clause {
                "WHERE" => Truth::Conjunct,
                _ => Truth::Matters,
            },
            ..Cx::plain(scope)
        };
        self.condition_in(expr, &cx)
    }

    /// Binds a condition in a context.
    pub(super) fn condition_in(&self, expr: &ast::Expr, cx: &Cx) -> Result<Expr, SqlError> {
        let typed = self.expr(expr, cx)?;
        if !is_condition(&typed) {
            let mut inner = expr;
            while let ast::Expr::Nested(nested) = inner {
                inner = nested;
            }
            return Err(SqlError::invalid_at(
                format!("{} clause must be a condition", cx.clause),
                self.place(inner),
            ));
        }
        self.truth(typed)
    }

    /// Binds the operand of an operator on truth values.
    pub(super) fn judged(
        &self,
        whole: &ast::Expr,
        operand: &ast::Expr,
        sign: &str,
        cx: &Cx,
    ) -> Result<Box<Expr>, SqlError> {
        let typed = self.expr(operand, cx)?;
        if is_condition(&typed) {
            return self.truth(typed).map(Box::new);
        }
        let form = |ty: &str| match sign {
            "NOT" => format!("NOT<{ty}>"),
            _ => format!("<{ty}> {sign}"),
        };
        Err(SqlError::invalid_at(
            format!(
                "Cannot apply '{sign}' to arguments of type '{}'. Supported form(s): '{}'",
                form(&typed.ty.in_message()),
                form("BOOLEAN")
            ),
            self.place(whole),
        ))
    }

    /// AND and OR chains become balanced trees: a statement of a hundred thousand conditions stays shallow.
    pub(super) fn junction(&self, whole: &ast::Expr, op: &B, cx: &Cx) -> Result<Typed, SqlError> {
        let mut leaves: Vec<&ast::Expr> = Vec::new();
        let mut stack = vec![whole];
        while let Some(expr) = stack.pop() {
            match expr {
                ast::Expr::BinaryOp { left, op: inner, right } if inner == op => {
                    stack.push(right);
                    stack.push(left);
                }
                other => leaves.push(other),
            }
        }
        let mut level: Vec<Expr> = Vec::with_capacity(leaves.len());
        let mut first: Option<Typed> = None;
        for (i, leaf) in leaves.iter().enumerate() {
            let typed = self.expr(leaf, cx)?;
            let left = first.get_or_insert_with(|| typed.clone());
            // The first is judged with the second.
            if i > 0 && !(is_condition(&typed) && (i > 1 || is_condition(left))) {
                let shown = |typed: &Typed| match is_condition(typed) {
                    true => "BOOLEAN".to_string(),
                    false => typed.ty.in_message(),
                };
                let left = if i > 1 { "BOOLEAN".to_string() } else { shown(left) };
                return Err(SqlError::invalid_at(
                    format!(
                        "Cannot apply '{op}' to arguments of type '<{left}> {op} <{}>'. Supported form(s): '<BOOLEAN> {op} <BOOLEAN>'",
                        shown(&typed)
                    ),
                    self.place(leaves[0])
                        .zip(self.place(leaf))
                        .map(|(start, end)| crate::Position {
                            end_line: end.end_line,
                            end_column: end.end_column,
                            ..start
                        }),
                ));
            }
            if is_condition(&typed) {
                level.push(self.truth(typed)?);
            }
        }
        level = self.bounds_joined(level, *op == B::And)?;
        while level.len() > 1 {
            let mut next = Vec::with_capacity(level.len().div_ceil(2));
            let mut items = level.into_iter();
            while let Some(first) = items.next() {
                next.push(match items.next() {
                    Some(second) if *op == B::And => first.and(second),
                    Some(second) => first.or(second),
                    None => first,
                });
            }
            level = next;
        }
        let expr = level.pop().unwrap_or(lit(true));
        Ok(Typed::new(expr, SqlType::Boolean))
    }

    pub(super) fn case(
        &self,
        whole: &ast::Expr,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        else_result: Option<&ast::Expr>,
        cx: &Cx,
    ) -> Result<Typed, SqlError> {
        let mut whens = Vec::new();
        let mut results = Vec::new();
        for case in conditions {
            whens.push(match operand {
                Some(operand) => self.comparison(whole, operand, Operator::Eq, &case.condition, cx)?.expr,
                None => {
                    let typed = self.expr(&case.condition, cx)?;
                    if !is_condition(&typed) {
                        return Err(SqlError::invalid_at("Expected a boolean type", self.place(whole)));
                    }
                    self.truth(typed)?
                }
            });
            results.push(self.expr(&case.result, cx)?);
        }
        results.push(match else_result {
            Some(result) => self.expr(result, cx)?,
            None => Typed::new(lit(ScalarValue::Null), SqlType::Null),
        });
        let (mut results, ty) = self.unify_branches(results).map_err(|_| {
            SqlError::invalid_at(
                "Illegal mixing of types in CASE or COALESCE statement".to_string(),
                self.place(whole),
            )
        })?;
        let otherwise = results.pop().map(|typed| Box::new(typed.expr));
        let when_then = whens
            .into_iter()
            .zip(results)
            .map(|(when, then)| (Box::new(when), Box::new(then.expr)))
            .collect();
        Ok(Typed::new(Expr::Case(Case::new(None, when_then, otherwise)), ty))
    }
}

/// Tells whether a value may decide: a truth value, or NULL.
fn is_condition(typed: &Typed) -> bool {
    matches!(typed.ty, SqlType::Boolean | SqlType::Null)
}

/// Tells whether an expression is a condition by its form.
pub(super) fn decides(expr: &ast::Expr) -> bool {
    use ast::Expr as E;
    match expr {
        E::BinaryOp { op, .. } => matches!(
            op,
            B::And | B::Or | B::Eq | B::NotEq | B::Lt | B::LtEq | B::Gt | B::GtEq
        ),
        E::UnaryOp { op, .. } => *op == ast::UnaryOperator::Not,
        E::Like { .. }
        | E::ILike { .. }
        | E::InList { .. }
        | E::Between { .. }
        | E::IsNull(_)
        | E::IsNotNull(_)
        | E::IsTrue(_)
        | E::IsNotTrue(_)
        | E::IsFalse(_)
        | E::IsNotFalse(_)
        | E::IsDistinctFrom(..)
        | E::IsNotDistinctFrom(..) => true,
        _ => false,
    }
}
