//! What Calcite reads and Druid has nothing for: operators without a function, types without values, shapes without a rule.

use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::expr::Cx;
use super::{Binder, Typed};
use crate::{SqlError, SqlType};

impl Binder<'_> {
    /// Makes the error of an operator that Druid does not know.
    pub(super) fn no_operator(
        &self,
        name: &str,
        operands: &[&ast::Expr],
        place: Option<crate::Position>,
        cx: &Cx,
    ) -> SqlError {
        for operand in operands {
            // Rows and queries are operands of these only.
            if matches!(operand, ast::Expr::Tuple(_) | ast::Expr::Subquery(_)) {
                continue;
            }
            if let Err(error) = self.expr(operand, cx) {
                return error;
            }
        }
        SqlError::invalid_at(format!("No match found for function signature {name}"), place)
    }

    /// Gives the place from one expression to the end of another.
    pub(super) fn place_from(&self, first: &ast::Expr, last: &ast::Expr) -> Option<crate::Position> {
        let (first, _) = self.extent(first, 0)?;
        let (_, last) = self.extent(last, 0)?;
        self.tokens.range(first, last)
    }

    /// Gives the name of a type that starts at a token, without its quotes, and its last token.
    pub(super) fn type_name(&self, at: usize) -> (String, usize) {
        let list = self.tokens.list();
        let mut name = String::new();
        let mut last = at;
        while let Some(Token::Word(word)) = list.get(last).map(|t| &t.token) {
            name.push_str(&word.value);
            if list.get(last + 1).is_none_or(|t| t.token != Token::Period) {
                break;
            }
            name.push('.');
            last += 2;
        }
        (name, last)
    }

    /// Makes the error for a type that Calcite knows and Druid has no values of.
    pub(super) fn foreign_type(&self, typed: &Typed, data_type: &ast::DataType, whole: &ast::Expr) -> Option<SqlError> {
        use ast::DataType as D;
        let unconvertible = |target: &str| {
            SqlError::invalid_at(
                format!(
                    "Cast function cannot convert value of type {} to type {target}",
                    typed.in_message()
                ),
                self.place(whole),
            )
        };
        let (target, time) = match data_type {
            D::Time(digits, ast::TimezoneInfo::None) => (format!("TIME({})", digits.unwrap_or(0)), true),
            D::Varbinary(_) | D::Binary(_) => (data_type.to_string().to_uppercase(), false),
            _ => return None,
        };
        Some(match &typed.expr {
            _ if typed.ty.is_time() && !time => unconvertible(&target),
            _ if typed.ty.is_time() || (typed.ty.is_text() && !time) || typed.ty == SqlType::Null => unhandled(),
            Expr::Literal(..) if typed.ty.is_text() => {
                super::special::failed_planning("Unsupported DateTime type[TIME]")
            }
            _ if typed.ty.is_text() => SqlError::general(
                crate::Persona::Admin,
                crate::Category::Uncategorized,
                "Unsupported DateTime type[TIME]",
            ),
            _ => unconvertible(&target),
        })
    }
}

/// Makes the error of a statement that Druid's planner fails on without saying why.
pub(super) fn unhandled() -> SqlError {
    SqlError::general(
        crate::Persona::Operator,
        crate::Category::Unsupported,
        "Unhandled Query Planning Failure, see broker logs for details",
    )
}

/// Makes the error of a statement that Calcite fails on by an exception.
pub(super) fn uncategorized(exception: &str) -> SqlError {
    SqlError::general(
        crate::Persona::User,
        crate::Category::Uncategorized,
        format!("Uncategorized calcite error message: [{exception}]"),
    )
}
