//! CASE by masks: where no part of a CASE can fail and all are cheap, every part is computed for every row and the rows of a branch are
//! chosen by its mask. DataFusion's CASE takes the rows of each branch out of the batch and puts the results together again, which
//! costs more than computing what is not needed.
//!
//! ```text
//!  result = else;  for branches, last to first: result = mask ? then : result
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use datafusion::common::{DataFusionError, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr, lit,
};

/// Expressions that a branch may have, itself included: more are not cheap.
const MAX_PARTS: usize = 8;

/// `CASE WHEN … THEN … [WHEN … THEN …] ELSE … END` over longs or doubles.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct EagerCase {
    /// Condition and value of each branch in turn, then the value of ELSE.
    parts: Vec<Arc<dyn PhysicalExpr>>,
    data_type: DataType,
    nullable: bool,
}

impl EagerCase {
    /// Makes one of a CASE whose parts cannot fail; none of any other expression.
    pub fn of(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Option<Self>> {
        let Some(case) = expr.downcast_ref::<CaseExpr>().filter(|case| case.expr().is_none()) else {
            return Ok(None);
        };
        let data_type = expr.data_type(schema)?;
        let mut parts = Vec::new();
        for (when, then) in case.when_then_expr() {
            parts.extend([when.clone(), then.clone()]);
        }
        parts.push(match case.else_expr() {
            Some(otherwise) => otherwise.clone(),
            None => lit(datafusion::common::ScalarValue::try_from(&data_type)?),
        });
        let numbers = matches!(data_type, DataType::Int64 | DataType::Float64);
        for part in parts.iter().skip(1).step_by(2).chain(parts.last()) {
            if part.data_type(schema)? != data_type {
                return Ok(None);
            }
        }
        let cheap = numbers && parts.iter().all(|part| cannot_fail(part) && size(part) <= MAX_PARTS);
        let nullable = expr.nullable(schema)?;
        Ok(cheap.then_some(Self {
            parts,
            data_type,
            nullable,
        }))
    }

    fn choose<T: ArrowPrimitiveType>(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        let value = |part: &Arc<dyn PhysicalExpr>| -> Result<PrimitiveArray<T>> {
            let array = part.evaluate(batch)?.into_array(rows)?;
            array.as_primitive_opt::<T>().cloned().ok_or_else(|| {
                DataFusionError::Internal(format!(
                    "[{part}] gave {} in a CASE of {}",
                    array.data_type(),
                    self.data_type
                ))
            })
        };
        let [branches @ .., otherwise] = &self.parts[..] else {
            return internal_err!("a CASE without ELSE");
        };
        let (_, values, mut valid) = value(otherwise)?.into_parts();
        let mut values: Vec<T::Native> = values.to_vec();
        for branch in branches.chunks_exact(2).rev() {
            let mask = branch[0].evaluate(batch)?.into_array(rows)?;
            let Some(mask) = mask.as_boolean_opt() else {
                return internal_err!("[{}] gave {} instead of a truth value", branch[0], mask.data_type());
            };
            let mask = match mask.nulls() {
                None => mask.values().clone(),
                Some(nulls) => mask.values() & nulls.inner(),
            };
            let then = value(&branch[1])?;
            valid = choose_valid(&mask, then.nulls(), valid.as_ref());
            choose_values(&mask, then.values(), &mut values);
        }
        Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), valid)))
    }
}

/// Takes the values of the rows of a mask.
fn choose_values<N: Copy>(mask: &BooleanBuffer, then: &[N], values: &mut [N]) {
    let chunks = mask.bit_chunks();
    for (chunk, (bits, (values, then))) in chunks
        .iter_padded()
        .zip(values.chunks_mut(64).zip(then.chunks(64)))
        .enumerate()
    {
        debug_assert!(chunk * 64 < mask.len());
        if bits == 0 {
            continue;
        }
        for (at, (value, then)) in values.iter_mut().zip(then).enumerate() {
            *value = if bits >> at & 1 == 1 { *then } else { *value };
        }
    }
}

fn choose_valid(mask: &BooleanBuffer, then: Option<&NullBuffer>, otherwise: Option<&NullBuffer>) -> Option<NullBuffer> {
    let valid = match (then, otherwise) {
        (None, None) => return None,
        (Some(then), None) => &(mask & then.inner()) | &!mask,
        (None, Some(otherwise)) => mask | &(&!mask & otherwise.inner()),
        (Some(then), Some(otherwise)) => &(mask & then.inner()) | &(&!mask & otherwise.inner()),
    };
    Some(NullBuffer::new(valid)).filter(|valid| valid.null_count() > 0)
}

impl fmt::Display for EagerCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CASE ")?;
        for branch in self.parts.chunks_exact(2) {
            write!(f, "WHEN {} THEN {} ", branch[0], branch[1])?;
        }
        match self.parts.last() {
            Some(otherwise) => write!(f, "ELSE {otherwise} END"),
            None => write!(f, "END"),
        }
    }
}

impl PhysicalExpr for EagerCase {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(self.nullable)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Array(match self.data_type {
            DataType::Int64 => self.choose::<Int64Type>(batch)?,
            _ => self.choose::<Float64Type>(batch)?,
        }))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.parts.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        if children.len() != self.parts.len() {
            return internal_err!("a CASE of {} parts got {}", self.parts.len(), children.len());
        }
        Ok(Arc::new(Self {
            parts: children,
            data_type: self.data_type.clone(),
            nullable: self.nullable,
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Tells whether an expression gives a value whatever its columns hold.
pub(crate) fn cannot_fail(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let cannot = |binary: &BinaryExpr| {
        use Operator::{
            And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, Minus, Multiply, NotEq, Or, Plus,
        };
        // Sums of longs wrap around.
        matches!(
            binary.op(),
            Eq | NotEq
                | Lt
                | LtEq
                | Gt
                | GtEq
                | IsDistinctFrom
                | IsNotDistinctFrom
                | And
                | Or
                | Plus
                | Minus
                | Multiply
        )
    };
    let known = expr.is::<Column>()
        || expr.is::<Literal>()
        || expr.is::<NotExpr>()
        || expr.is::<IsNullExpr>()
        || expr.is::<IsNotNullExpr>()
        || expr.is::<InListExpr>()
        || expr.is::<LikeExpr>()
        || expr.is::<EagerCase>()
        || expr.downcast_ref::<BinaryExpr>().is_some_and(cannot);
    known && expr.children().into_iter().all(cannot_fail)
}

fn size(expr: &Arc<dyn PhysicalExpr>) -> usize {
    1 + expr.children().into_iter().map(size).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array};
    use arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::{binary, case, col};
    use proptest::prelude::*;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Int64, true),
            Field::new("d", DataType::Float64, true),
        ])
    }

    fn cases(schema: &Schema) -> Vec<Arc<dyn PhysicalExpr>> {
        let column = |name: &str| col(name, schema).expect("a column");
        let compare = |left, op, right| binary(left, op, right, schema).expect("a comparison");
        let a_is_3 = || compare(column("a"), Operator::Eq, lit(3i64));
        let b_below_a = || compare(column("b"), Operator::Lt, column("a"));
        let searched = |branches, otherwise| case(None, branches, otherwise).expect("a CASE");
        vec![
            searched(vec![(a_is_3(), lit(1i64))], Some(column("b"))),
            searched(vec![(a_is_3(), column("b"))], None),
            searched(vec![(b_below_a(), column("d")), (a_is_3(), lit(0.5))], Some(lit(2.0))),
            searched(
                vec![
                    (a_is_3(), compare(column("a"), Operator::Plus, column("b"))),
                    (b_below_a(), column("a")),
                ],
                Some(column("b")),
            ),
        ]
    }

    proptest! {
        #[test]
        fn chooses_as_datafusion_does(rows in proptest::collection::vec((
            proptest::option::of(0i64..6), proptest::option::of(0i64..6), proptest::option::of(-2.0f64..2.0)
        ), 0..200)) {
            let schema = schema();
            let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![
                Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
            ]).expect("a batch");
            for expr in cases(&schema) {
                let eager = EagerCase::of(&expr, &schema).expect("types").expect("cheap parts");
                let wanted = expr.evaluate(&batch).and_then(|v| v.into_array(rows.len())).expect("values");
                let got = eager.evaluate(&batch).and_then(|v| v.into_array(rows.len())).expect("values");
                prop_assert_eq!(&got, &wanted, "{}", expr);
            }
        }
    }

    #[test]
    fn what_may_fail_is_left_alone() {
        let schema = schema();
        let divided = binary(
            lit(1i64),
            Operator::Divide,
            col("a", &schema).expect("a column"),
            &schema,
        );
        let condition = binary(
            col("a", &schema).expect("a column"),
            Operator::NotEq,
            lit(0i64),
            &schema,
        );
        let branches = vec![(condition.expect("a comparison"), divided.expect("a division"))];
        let expr = case(None, branches, None).expect("a CASE");
        assert_eq!(EagerCase::of(&expr, &schema).expect("types"), None);
    }
}
