//! From a physical predicate to tests that indexes, dictionaries and plain loops can decide.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, InListExpr, LikeExpr, Literal, NotExpr};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns, split_conjunction, split_disjunction};

use super::hint::Hint;
use super::like::LikePattern;
use super::{Filter, RowsTest, Test, TextKind, TextTest};
use crate::handle::is_text;

/// Inclusive ranges of milliseconds.
pub(crate) type Ranges = Vec<(i64, i64)>;

impl Filter {
    /// Compiles a predicate over the columns of the table.
    pub fn compile(predicate: Option<&Arc<dyn PhysicalExpr>>, table: &SchemaRef) -> Result<Self> {
        let mut tests = Vec::new();
        if let Some(predicate) = predicate {
            for conjunct in split_conjunction(predicate) {
                tests.extend(compile(conjunct, table)?);
            }
        }
        Ok(Self {
            tests: merge(tests),
            predicate: predicate.cloned(),
        })
    }
}

/// Ranges over one column become one; the order is the order of evaluation.
fn merge(tests: Vec<Test>) -> Vec<Test> {
    let mut merged: Vec<Test> = Vec::new();
    for test in tests {
        if let Test::Range {
            column,
            lo,
            hi,
            excluded: false,
        } = &test
        {
            let same = merged.iter_mut().find_map(|other| match other {
                Test::Range {
                    column: c,
                    lo,
                    hi,
                    excluded: false,
                } if c == column => Some((lo, hi)),
                _ => None,
            });
            if let Some((other_lo, other_hi)) = same {
                *other_lo = (*other_lo).max(*lo);
                *other_hi = (*other_hi).min(*hi);
                continue;
            }
        }
        merged.push(test);
    }
    merged
}

/// Compiles one conjunct; nothing if it is always true.
fn compile(expr: &Arc<dyn PhysicalExpr>, table: &SchemaRef) -> Result<Option<Test>> {
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return Ok(match literal.value() {
            ScalarValue::Boolean(Some(true)) => None,
            _ => Some(Test::Never),
        });
    }
    let columns = columns_of(expr);
    if let [column] = columns[..] {
        let field = table.field(column);
        if field.name() == henge_segment::TIME_COLUMN
            && let Some(ranges) = time_ranges(expr)
        {
            return Ok(Some(Test::Time(ranges)));
        }
        if is_text(field) {
            return Ok(Some(Test::Text(text_test(expr, column, field)?)));
        }
        if let Some(test) = range_test(expr, column) {
            return Ok(Some(test));
        }
    }
    if let Some(any) = any_test(expr, table)? {
        return Ok(Some(any));
    }
    Ok(Some(Test::Rows(rows_test(expr, columns, table)?)))
}

/// Compiles an OR whose branches can all be decided by times and dictionaries.
fn any_test(expr: &Arc<dyn PhysicalExpr>, table: &SchemaRef) -> Result<Option<Test>> {
    let branches = split_disjunction(expr);
    if branches.len() < 2 {
        return Ok(None);
    }
    let mut any = Vec::with_capacity(branches.len());
    for branch in branches {
        let mut all = Vec::new();
        for conjunct in split_conjunction(branch) {
            match compile(conjunct, table)? {
                None => {}
                Some(Test::Rows(_) | Test::Range { .. }) => return Ok(None),
                Some(test) => all.push(test),
            }
        }
        any.push(all);
    }
    Ok(Some(Test::Any(any)))
}

fn rows_test(expr: &Arc<dyn PhysicalExpr>, columns: Vec<usize>, table: &SchemaRef) -> Result<RowsTest> {
    let schema = Arc::new(table.project(&columns)?);
    let hint = Hint::recognise(expr);
    let expr = reassign_expr_columns(expr.clone(), &schema)?;
    Ok(RowsTest {
        columns,
        schema,
        expr,
        hint,
    })
}

/// Lists the columns of an expression, ascending.
pub(crate) fn columns_of(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    let mut columns: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

fn text_test(expr: &Arc<dyn PhysicalExpr>, column: usize, field: &Field) -> Result<TextTest> {
    let schema = Arc::new(Schema::new(vec![field.clone().with_nullable(true)]));
    let kind = if let Some(values) = equal_values(expr) {
        TextKind::In(values)
    } else if let Some((pattern, negated)) = like_pattern(expr) {
        TextKind::Like(pattern, negated)
    } else {
        TextKind::Expression
    };
    Ok(TextTest {
        column,
        kind,
        expr: reassign_expr_columns(expr.clone(), &schema)?,
        schema,
    })
}

/// Recognises `column = 'x'`, `column IN ('x', …)` and ORs of them.
fn equal_values(expr: &Arc<dyn PhysicalExpr>) -> Option<Vec<String>> {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        match binary.op() {
            Operator::Eq => {
                let (column, literal) = if binary.left().is::<Column>() {
                    (binary.left(), binary.right())
                } else {
                    (binary.right(), binary.left())
                };
                return column.is::<Column>().then(|| text_literal(literal).map(|v| vec![v]))?;
            }
            Operator::Or => {
                let mut values = equal_values(binary.left())?;
                values.extend(equal_values(binary.right())?);
                return Some(values);
            }
            _ => return None,
        }
    }
    let list = expr.downcast_ref::<InListExpr>()?;
    if list.negated() || !list.expr().is::<Column>() {
        return None;
    }
    // A null in the list makes the answer null instead of false: the row does not pass either way.
    list.list()
        .iter()
        .filter(|item| !is_null_literal(item))
        .map(text_literal)
        .collect()
}

fn is_null_literal(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Literal>().is_some_and(|l| l.value().is_null())
}

fn text_literal(expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
    expr.downcast_ref::<Literal>()?
        .value()
        .try_as_str()?
        .map(str::to_string)
}

fn like_pattern(expr: &Arc<dyn PhysicalExpr>) -> Option<(LikePattern, bool)> {
    let like = expr.downcast_ref::<LikeExpr>()?;
    if like.case_insensitive() || !like.expr().is::<Column>() {
        return None;
    }
    Some((LikePattern::parse(&text_literal(like.pattern())?)?, like.negated()))
}

/// Maps floats to integers that order as Arrow compares them (IEEE 754 totalOrder).
pub(crate) fn float_key(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// Recognises `column <op> literal` over a column of longs or doubles.
fn range_test(expr: &Arc<dyn PhysicalExpr>, column: usize) -> Option<Test> {
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let (op, literal) = if binary.left().is::<Column>() {
        (*binary.op(), binary.right())
    } else if binary.right().is::<Column>() {
        (binary.op().swap()?, binary.left())
    } else {
        return None;
    };
    let key = match literal.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int64(Some(v)) => *v,
        ScalarValue::Float64(Some(v)) => float_key(*v),
        _ => return None,
    };
    let (lo, hi, excluded) = match (op, literal.downcast_ref::<Literal>()?.value()) {
        // Both zeros equal each other, though they are two in the order.
        (Operator::Eq | Operator::NotEq, ScalarValue::Float64(Some(zero))) if *zero == 0.0 => {
            (float_key(-0.0), float_key(0.0), op == Operator::NotEq)
        }
        _ => bounds(op, key)?,
    };
    Some(Test::Range {
        column,
        lo,
        hi,
        excluded,
    })
}

/// Gives the inclusive range in which a comparison is true; with the flag, outside of which.
fn bounds(op: Operator, key: i64) -> Option<(i64, i64, bool)> {
    Some(match op {
        Operator::Eq => (key, key, false),
        Operator::NotEq => (key, key, true),
        Operator::Lt if key == i64::MIN => (1, 0, false),
        Operator::Lt => (i64::MIN, key - 1, false),
        Operator::LtEq => (i64::MIN, key, false),
        Operator::Gt if key == i64::MAX => (1, 0, false),
        Operator::Gt => (key + 1, i64::MAX, false),
        Operator::GtEq => (key, i64::MAX, false),
        _ => return None,
    })
}

/// Turns a predicate over `__time` alone into ranges of milliseconds, ascending and disjoint; none if it is more than comparisons.
pub(crate) fn time_ranges(expr: &Arc<dyn PhysicalExpr>) -> Option<Ranges> {
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return Some(complement(&time_ranges(not.arg())?));
    }
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    match binary.op() {
        Operator::And => Some(intersect(&time_ranges(binary.left())?, &time_ranges(binary.right())?)),
        Operator::Or => {
            let mut all = time_ranges(binary.left())?;
            all.extend(time_ranges(binary.right())?);
            Some(condense(all))
        }
        op => {
            let (op, column, literal) = if binary.right().is::<Literal>() {
                (*op, binary.left(), binary.right())
            } else {
                (op.swap()?, binary.right(), binary.left())
            };
            // The planner may compare in a finer unit than the column's.
            let column = match column.downcast_ref::<CastExpr>() {
                Some(cast) if is_finer_time(cast.cast_type()) => cast.expr(),
                _ => column,
            };
            if !column.is::<Column>() {
                return None;
            }
            let (floor, exact) = instant(literal.downcast_ref::<Literal>()?.value())?;
            let (op, key) = match (op, exact) {
                (_, true) => (op, floor),
                // Between two milliseconds.
                (Operator::Lt | Operator::LtEq, false) => (Operator::LtEq, floor),
                (Operator::Gt | Operator::GtEq, false) => (Operator::Gt, floor),
                (Operator::Eq, false) => return Some(Vec::new()),
                (Operator::NotEq, false) => return Some(vec![(i64::MIN, i64::MAX)]),
                _ => return None,
            };
            let (lo, hi, excluded) = bounds(op, key)?;
            let range = if lo <= hi { vec![(lo, hi)] } else { Vec::new() };
            Some(if excluded { complement(&range) } else { range })
        }
    }
}

fn is_finer_time(data_type: &DataType) -> bool {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond};
    matches!(
        data_type,
        DataType::Timestamp(Millisecond | Microsecond | Nanosecond, None)
    )
}

/// Gives a time as milliseconds, rounded down, and whether that was exact.
fn instant(value: &ScalarValue) -> Option<(i64, bool)> {
    let (value, unit) = match value {
        ScalarValue::TimestampMillisecond(Some(v), _) => return Some((*v, true)),
        ScalarValue::TimestampSecond(Some(v), _) => return Some((v.checked_mul(1000)?, true)),
        ScalarValue::TimestampMicrosecond(Some(v), _) => (*v, 1_000),
        ScalarValue::TimestampNanosecond(Some(v), _) => (*v, 1_000_000),
        _ => return None,
    };
    Some((value.div_euclid(unit), value.rem_euclid(unit) == 0))
}

/// Gives what is in both of two sorted lists.
pub(crate) fn intersect(a: &[(i64, i64)], b: &[(i64, i64)]) -> Ranges {
    let mut both = Vec::new();
    for (lo, hi) in a {
        for (other_lo, other_hi) in b {
            let (lo, hi) = (*lo.max(other_lo), *hi.min(other_hi));
            if lo <= hi {
                both.push((lo, hi));
            }
        }
    }
    both
}

fn complement(ranges: &[(i64, i64)]) -> Ranges {
    let mut outside = Vec::new();
    let mut from = Some(i64::MIN);
    for (lo, hi) in ranges {
        if let Some(from) = from.filter(|from| from < lo) {
            outside.push((from, lo - 1));
        }
        from = hi.checked_add(1);
    }
    outside.extend(from.map(|from| (from, i64::MAX)));
    outside
}

fn condense(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut condensed: Ranges = Vec::with_capacity(ranges.len());
    for (lo, hi) in ranges {
        match condensed.last_mut() {
            Some(last) if lo <= last.1.saturating_add(1) => last.1 = last.1.max(hi),
            _ => condensed.push((lo, hi)),
        }
    }
    condensed
}

/// Tells whether a type is the time column's.
pub(crate) fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Millisecond, _))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float_keys_order_as_total_order() {
        let values = [f64::NEG_INFINITY, -2.5, -0.0, 0.0, 1.0, f64::INFINITY, f64::NAN];
        for pair in values.windows(2) {
            assert!(float_key(pair[0]) < float_key(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn zeros_equal_each_other() {
        use datafusion::physical_expr::expressions::{Column, lit};
        for zero in [0.0, -0.0] {
            for (op, excluded) in [(Operator::Eq, false), (Operator::NotEq, true)] {
                let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new("d", 0));
                let expr: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(column, op, lit(zero)));
                let Some(Test::Range {
                    lo, hi, excluded: e, ..
                }) = range_test(&expr, 0)
                else {
                    panic!("a range of {expr}");
                };
                assert_eq!((lo, hi, e), (float_key(-0.0), float_key(0.0), excluded));
            }
        }
    }

    #[test]
    fn ranges_condense_intersect_and_invert() {
        assert_eq!(condense(vec![(5, 7), (1, 2), (3, 4), (20, 30)]), vec![(1, 7), (20, 30)]);
        assert_eq!(intersect(&[(1, 7), (20, 30)], &[(5, 25)]), vec![(5, 7), (20, 25)]);
        assert_eq!(complement(&[(5, 7)]), vec![(i64::MIN, 4), (8, i64::MAX)]);
        assert_eq!(complement(&complement(&[(5, 7), (9, 9)])), vec![(5, 7), (9, 9)]);
    }
}
