//! Conditions on multi-value strings and on what is computed from each of their values.
//!
//! `LENGTH(tags)` has a number for every value of a row. It is bound as `mv_one` of the list of these numbers: a condition looks
//! at the list and holds where it does for any of them, a function is applied to each of them, and whatever wants one number
//! (grouping, aggregates) gets the only one, or NULL.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, lit};
use datafusion::sql::sqlparser::ast;

use super::by_value::Values;
use super::expr::{Cx, is_call};
use super::{Binder, Scope, Typed};
use crate::{SqlError, SqlType};

/// Gives the list behind an expression of several values, and their type.
pub(super) fn values_of(typed: &Typed) -> Option<(Expr, SqlType)> {
    match &typed.expr {
        expr if typed.ty == SqlType::MultiVarchar => Some((expr.clone(), SqlType::Varchar)),
        Expr::ScalarFunction(call) if call.func.name() == "mv_one" => {
            Some((call.args.first()?.clone(), typed.ty.clone()))
        }
        _ => None,
    }
}

/// Tells whether an expression stands for numbers that were computed from each value.
pub(super) fn is_one(typed: &Typed) -> bool {
    is_call(&typed.expr, "mv_one")
}

impl Binder<'_> {
    /// Wraps a list of numbers, instants or booleans that were computed from each value.
    pub(super) fn one_of(&self, list: Expr, element: SqlType) -> Result<Typed, SqlError> {
        Ok(Typed::new(self.call_native("mv_one", vec![list])?, element))
    }

    /// Makes a call once for every value of those arguments that have several.
    pub(super) fn over_values(
        &self,
        args: Vec<Typed>,
        call: impl FnOnce(Vec<Typed>) -> Result<Typed, SqlError>,
    ) -> Result<Typed, SqlError> {
        if !args.iter().any(is_one) {
            return call(args);
        }
        let texts: Vec<Expr> = args
            .iter()
            .filter(|arg| arg.ty == SqlType::MultiVarchar)
            .map(|arg| arg.expr.clone())
            .collect();
        let mut lists = Values::default();
        let args = args
            .into_iter()
            .map(|arg| match values_of(&arg) {
                Some((list, ty)) => self
                    .of_each(&list, &ty, &texts, &mut lists)
                    .unwrap_or_else(|| lists.stand_in(list, ty)),
                None => arg,
            })
            .collect();
        let typed = call(args)?;
        self.mapped(typed, lists)
    }

    /// Computes once more what was computed from each value of a list that is an argument too: both go in step.
    fn of_each(&self, list: &Expr, ty: &SqlType, texts: &[Expr], lists: &mut Values) -> Option<Typed> {
        let Expr::ScalarFunction(call) = list else {
            return None;
        };
        let native = call.func.name().strip_prefix("map_")?;
        if !call.args.iter().any(|arg| texts.contains(arg)) {
            return None;
        }
        let args = call
            .args
            .iter()
            .map(|arg| match texts.contains(arg) {
                true => lists.stand_in(arg.clone(), SqlType::Varchar).expr,
                false => arg.clone(),
            })
            .collect();
        Some(Typed::new(self.call_native(native, args).ok()?, ty.clone()))
    }

    /// Compares where a side has several values: a row matches if any does. `<>` with a literal is the negation of `=`, and
    /// holds for any value that differs from what is no literal.
    pub(super) fn any_compared(&self, op: Operator, left: Typed, right: Typed) -> Result<Expr, SqlError> {
        let (list, other, op) = match values_of(&left) {
            Some(_) => (left, right, op),
            None => (right, left, op.swap().unwrap_or(op)),
        };
        if other.ty == SqlType::Null && matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom) {
            let null = self.any_null(&list)?;
            return Ok(match op {
                Operator::IsDistinctFrom => Expr::Not(Box::new(null)),
                _ => null,
            });
        }
        if list.expr == other.expr {
            // What is compared with itself is not looked at.
            let known = Expr::Not(Box::new(self.any_null(&list)?));
            return Ok(match op {
                Operator::Eq | Operator::LtEq | Operator::GtEq => known,
                Operator::IsNotDistinctFrom => lit(true),
                _ => lit(false),
            });
        }
        let (list, other) = self.comparable(list, other)?;
        let literal = matches!(other, Expr::Literal(..));
        let (name, negated) = match op {
            Operator::Eq => ("=", false),
            Operator::NotEq if literal => ("=", true),
            Operator::NotEq => ("<>", false),
            Operator::IsNotDistinctFrom => ("is", false),
            Operator::IsDistinctFrom => ("is", true),
            Operator::Lt => ("<", false),
            Operator::LtEq => ("<=", false),
            Operator::Gt => (">", false),
            _ => (">=", false),
        };
        let any = self.call_native("mv_any", vec![list, lit(name), other])?;
        Ok(if negated { Expr::Not(Box::new(any)) } else { any })
    }

    /// Gives a list and what its values are compared with, of one type.
    fn comparable(&self, list: Typed, other: Typed) -> Result<(Expr, Expr), SqlError> {
        let element = |typed: &Typed| values_of(typed).map_or(typed.ty.clone(), |(_, ty)| ty);
        let (a, b) = (element(&list), element(&other));
        let target = match self.compared_as(Operator::Gt, (&a, &b), &list.expr, &other.expr) {
            _ if a.is_text() && (b.is_text() || b == SqlType::Null) => SqlType::Varchar,
            Some(target) => target,
            None => return Err(SqlError::invalid("values cannot be compared")),
        };
        let side = |typed: Typed| -> Result<Expr, SqlError> {
            let cast = self.cast(typed, &target)?;
            Ok(values_of(&cast).map_or(cast.expr, |(list, _)| list))
        };
        Ok((side(list)?, side(other)?))
    }

    /// `list BETWEEN low AND high`: one value is within both; `None` where what is asked has one value.
    pub(super) fn any_within(&self, list: &Typed, low: Typed, high: Typed) -> Result<Option<Expr>, SqlError> {
        if values_of(list).is_none() || values_of(&low).is_some() || values_of(&high).is_some() {
            return Ok(None);
        }
        let (Ok((from, low)), Ok((to, high))) =
            (self.comparable(list.clone(), low), self.comparable(list.clone(), high))
        else {
            return Ok(None);
        };
        if from != to {
            return Ok(None);
        }
        self.call_native("mv_within", vec![from, lit(">="), low, lit("<="), high])
            .map(Some)
    }

    /// Tells whether any value is NULL.
    pub(super) fn any_null(&self, typed: &Typed) -> Result<Expr, SqlError> {
        match values_of(typed) {
            Some((list, _)) => self.call_native("mv_is_null", vec![list]),
            None => Ok(Expr::IsNull(Box::new(typed.expr.clone()))),
        }
    }

    /// Joins bounds of the same values: one value is within both.
    pub(super) fn bounds_joined(&self, mut conditions: Vec<Expr>, all: bool) -> Result<Vec<Expr>, SqlError> {
        let mut at = 0;
        while at < conditions.len() {
            let partner = (at + 1..conditions.len()).find(|other| facing(&conditions[at], &conditions[*other], all));
            if let Some(partner) = partner {
                let second = conditions.remove(partner);
                let (Some(first), Some(second)) = (bound(&conditions[at]), bound(&second)) else {
                    break;
                };
                let op = |name: &str| lit(if all { name } else { inverse(name).unwrap_or(name) });
                let within = self.call_native(
                    "mv_within",
                    vec![
                        first.0.clone(),
                        op(first.1),
                        first.2.clone(),
                        op(second.1),
                        second.2.clone(),
                    ],
                )?;
                conditions[at] = if all { within } else { Expr::Not(Box::new(within)) };
            }
            at += 1;
        }
        Ok(conditions)
    }

    /// Takes the conditions on several values out of a HAVING: Druid filters rows by them, before groups are made of each value.
    /// Gives the condition on rows and what is left of HAVING.
    pub(super) fn below_groups(
        &self,
        having: &ast::Expr,
        scope: &Scope,
        sets: &[Vec<Expr>],
    ) -> Result<(Option<Expr>, Option<ast::Expr>), SqlError> {
        let [keys] = sets else {
            return Ok((None, Some(having.clone())));
        };
        let keys: Vec<_> = keys.iter().flat_map(Expr::column_refs).collect();
        let mut leaves = vec![having];
        let mut conjuncts = Vec::new();
        while let Some(leaf) = leaves.pop() {
            match leaf {
                ast::Expr::BinaryOp {
                    left,
                    op: ast::BinaryOperator::And,
                    right,
                } => leaves.extend([right.as_ref(), left.as_ref()]),
                other => conjuncts.push(other),
            }
        }
        let cx = Cx {
            clause: "WHERE",
            truth: super::condition::Truth::Conjunct,
            ..Cx::plain(scope)
        };
        let (mut rows, mut rest): (Option<Expr>, Option<ast::Expr>) = (None, None);
        for conjunct in conjuncts {
            let of_values = |expr: &Expr| {
                let asks = expr.exists(|e| {
                    Ok(matches!(e, Expr::ScalarFunction(call)
                        if call.func.name().starts_with("mv_") || call.func.name() == "any_true"))
                });
                asks.unwrap_or(false) && expr.column_refs().into_iter().all(|column| keys.contains(&column))
            };
            match self.condition_in(conjunct, &cx) {
                Ok(condition) if of_values(&condition) => {
                    rows = Some(match rows {
                        Some(rows) => rows.and(condition),
                        None => condition,
                    });
                }
                // Aggregates, aliases and mistakes are HAVING's.
                _ => {
                    rest = Some(match rest {
                        Some(rest) => ast::Expr::BinaryOp {
                            left: Box::new(rest),
                            op: ast::BinaryOperator::And,
                            right: Box::new(conjunct.clone()),
                        },
                        None => conjunct.clone(),
                    });
                }
            }
        }
        match rows {
            Some(rows) => Ok((Some(rows), rest)),
            None => Ok((None, Some(having.clone()))),
        }
    }

    /// Negates a condition: comparisons of several values are turned round, as any value may match them still.
    pub(super) fn negated(&self, condition: Expr) -> Result<Expr, SqlError> {
        let of_values = condition.exists(|e| Ok(is_call(e, "mv_any"))).unwrap_or(false);
        if !of_values {
            return Ok(Expr::Not(Box::new(condition)));
        }
        match condition {
            Expr::Not(inner) => Ok(*inner),
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: op @ (Operator::And | Operator::Or),
                right,
            }) => {
                let (left, right) = (self.negated(*left)?, self.negated(*right)?);
                Ok(if op == Operator::And {
                    left.or(right)
                } else {
                    left.and(right)
                })
            }
            Expr::ScalarFunction(call) if call.func.name() == "mv_any" => {
                let literal = matches!(call.args.get(2), Some(Expr::Literal(..)));
                let turned = match call.args.get(1).and_then(super::literal::as_text) {
                    Some("=") if !literal => Some("<>"),
                    Some("<>") => Some("="),
                    Some(op) => inverse(op),
                    None => None,
                };
                let Some(turned) = turned else {
                    return Ok(Expr::Not(Box::new(Expr::ScalarFunction(call))));
                };
                let mut args = call.args;
                args[1] = lit(turned);
                self.call_native("mv_any", args)
            }
            other => Ok(Expr::Not(Box::new(other))),
        }
    }
}

/// Lets the result of an ungrouped query fail where a column has numbers of each value: Druid's rows hold lists of them, which
/// go into no column of numbers.
pub(crate) fn without_numbers_of_values<'t>(
    plan: LogicalPlan,
    types: impl Iterator<Item = &'t SqlType>,
) -> Result<LogicalPlan, SqlError> {
    let types: Vec<&SqlType> = types.collect();
    let plan = plan.transform_down(|node| match &node {
        LogicalPlan::Projection(projection) if !projection.expr.iter().any(is_of_one_value) => {
            Ok(Transformed::no(node))
        }
        LogicalPlan::Projection(projection) => {
            let mut computed = 0;
            let mut exprs = Vec::with_capacity(projection.expr.len());
            for (at, expr) in projection.expr.iter().enumerate() {
                let ty = types.get(at).map_or_else(String::new, |ty| ty.name().to_string());
                let name = format!("v{computed}");
                computed += usize::from(!matches!(expr.clone().unalias(), Expr::Column(_) | Expr::Literal(..)));
                exprs.push(failing(expr.clone(), &name, &ty)?);
            }
            let changed = exprs != projection.expr;
            let recursion = match changed {
                true => TreeNodeRecursion::Stop,
                false => TreeNodeRecursion::Continue,
            };
            let input = projection.input.as_ref().clone();
            let node = node.with_new_exprs(exprs, vec![input])?;
            Ok(Transformed::new(node, changed, recursion))
        }
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) | LogicalPlan::SubqueryAlias(_) => Ok(Transformed::no(node)),
        _ => Ok(Transformed::new(node, false, TreeNodeRecursion::Stop)),
    });
    Ok(plan.map_err(|e| super::from_datafusion(&e))?.data)
}

fn is_of_one_value(expr: &Expr) -> bool {
    let found = expr.exists(|e| Ok(matches!(e, Expr::ScalarFunction(call) if call.func.name() == "mv_one")));
    found.unwrap_or(true)
}

fn failing(expr: Expr, name: &str, ty: &str) -> datafusion::common::Result<Expr> {
    let changed = expr.transform_down(|e| match &e {
        Expr::ScalarFunction(call) if call.func.name() == "mv_one" => {
            let Some(udf) = crate::functions::udf("mv_no_number") else {
                return Ok(Transformed::no(e));
            };
            let mut args = call.args.clone();
            args.extend([lit(name), lit(ty)]);
            let call = Expr::ScalarFunction(ScalarFunction::new_udf(udf, args));
            Ok(Transformed::new(call, true, TreeNodeRecursion::Jump))
        }
        _ => Ok(Transformed::no(e)),
    })?;
    // The column keeps its name.
    Ok(match (changed.transformed, &changed.data) {
        (true, Expr::Alias(_)) | (false, _) => changed.data,
        (true, _) => changed.data.alias(name),
    })
}

fn inverse(op: &str) -> Option<&'static str> {
    Some(match op {
        "<" => ">=",
        "<=" => ">",
        ">" => "<=",
        ">=" => "<",
        _ => return None,
    })
}

/// Gives list, operator and literal of a bound.
fn bound(condition: &Expr) -> Option<(&Expr, &str, &Expr)> {
    let Expr::ScalarFunction(call) = condition else {
        return None;
    };
    let [list, op, literal @ Expr::Literal(..)] = call.args.as_slice() else {
        return None;
    };
    let op = super::literal::as_text(op)?;
    (call.func.name() == "mv_any" && inverse(op).is_some()).then_some((list, op, literal))
}

/// Tells whether two conditions bound the same values from both sides; joined by OR, from outside.
fn facing(first: &Expr, second: &Expr, all: bool) -> bool {
    let (Some(a), Some(b)) = (bound(first), bound(second)) else {
        return false;
    };
    let upper = |op: &str| op.starts_with('<');
    let (Expr::Literal(x, _), Expr::Literal(y, _)) = (a.2, b.2) else {
        return false;
    };
    let apart = match upper(a.1) {
        true => x <= y,
        false => x >= y,
    };
    a.0 == b.0 && upper(a.1) != upper(b.1) && (all || apart)
}
