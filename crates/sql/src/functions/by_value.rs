//! Expressions that Druid evaluates once a value of multi-value strings: CASE, COALESCE, NULLIF.
//!
//! ```text
//! CASE WHEN tags = 'a' THEN x ELSE tags END      tags = [a, b], x = 7
//!   arguments   tags (a list), x                 repeated to the values: tags = a, b   x = 7, 7
//!   expression  CASE WHEN $0 = 'a' THEN $1 ELSE $0 END                    7, b  ->  [7, b]
//! ```
//!
//! The functions of the table are mapped over lists one by one; a CASE is an expression of many functions and is mapped as a
//! whole, as Druid does with `map((x) -> …, tags)`.

use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::create_physical_expr;

use super::scalar::too_many_combinations;

/// Names the column that stands for an argument inside of the expression.
pub(crate) fn argument(index: usize) -> Column {
    Column::new_unqualified(format!("${index}"))
}

/// Makes the call: the expression sees its arguments as [`argument`] columns, and is evaluated once for every combination of
/// the values of those that are lists. `stored` tells for each argument whether it is a list that comes from a table, where a
/// row without values is one NULL; other lists without values give no value.
pub(crate) fn by_value_call(expression: Expr, result: DataType, stored: Vec<bool>, args: Vec<Expr>) -> Expr {
    let mut name = String::from("map_");
    // Cannot fail: it is written to text.
    let _ = write!(name, "{expression}");
    let udf = ScalarUDF::new_from_impl(ByValue {
        name,
        expression,
        result,
        stored,
        signature: Signature::variadic_any(Volatility::Immutable),
    });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), args))
}

#[derive(Debug)]
struct ByValue {
    name: String,
    expression: Expr,
    result: DataType,
    stored: Vec<bool>,
    signature: Signature,
}

impl PartialEq for ByValue {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression && self.stored == other.stored && self.result == other.result
    }
}

impl Eq for ByValue {}

impl Hash for ByValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expression.hash(state);
    }
}

/// Which row and which elements each evaluation sees.
struct Unfolded {
    /// Where each row's values begin, and the end.
    offsets: Vec<i32>,
    /// The row of each value.
    rows: Vec<u32>,
    /// For each argument, the element of each value; nothing for arguments that are no lists.
    elements: Vec<Option<Vec<Option<u32>>>>,
}

impl ByValue {
    fn unfold(&self, arrays: &[ArrayRef], rows: usize) -> Result<Unfolded> {
        let lists: Vec<Option<&ListArray>> = arrays.iter().map(|array| array.as_list_opt::<i32>()).collect();
        let mut unfolded = Unfolded {
            offsets: vec![0],
            rows: Vec::with_capacity(rows),
            elements: lists
                .iter()
                .map(|list| list.map(|_| Vec::with_capacity(rows)))
                .collect(),
        };
        for row in 0..rows {
            let spans: Vec<Option<(usize, usize)>> = lists
                .iter()
                .map(|list| {
                    list.map(|list| match list.is_null(row) {
                        true => (0, 0),
                        false => (list.value_offsets()[row] as usize, list.value_length(row) as usize),
                    })
                })
                .collect();
            // A stored row without values holds one NULL.
            let lengths: Vec<usize> = spans
                .iter()
                .zip(&self.stored)
                .filter_map(|(span, stored)| span.map(|(_, length)| length.max(usize::from(*stored))))
                .collect();
            let count = lengths
                .iter()
                .try_fold(1usize, |all, length| all.checked_mul(*length))
                .filter(|count| *count <= crate::limits::MAX_COMBINATIONS)
                .ok_or_else(|| too_many_combinations(&lengths))?;
            for n in 0..count {
                unfolded.rows.push(row as u32);
                let mut rest = n;
                // The last list varies fastest.
                for (span, elements) in spans.iter().zip(&mut unfolded.elements).rev() {
                    if let (Some((start, length)), Some(elements)) = (span, elements) {
                        let at = rest % (*length).max(1);
                        rest /= (*length).max(1);
                        elements.push((at < *length).then_some((start + at) as u32));
                    }
                }
            }
            unfolded.offsets.push(unfolded.rows.len() as i32);
        }
        Ok(unfolded)
    }

    fn evaluate(&self, columns: Vec<ArrayRef>) -> Result<ArrayRef> {
        let fields: Vec<Field> = columns
            .iter()
            .enumerate()
            .map(|(i, column)| Field::new(argument(i).name, column.data_type().clone(), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let rows = columns.first().map_or(0, |column| column.len());
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let schema = DFSchema::try_from(schema)?;
        let physical = create_physical_expr(
            &self.expression,
            &schema,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        )?;
        let values = physical.evaluate(&batch)?.into_array(rows)?;
        if *values.data_type() == self.result {
            return Ok(values);
        }
        Ok(cast(&values, &self.result)?)
    }
}

impl ScalarUDFImpl for ByValue {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(self.result.clone(), true))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays: Vec<ArrayRef> = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<_>>()?;
        let unfolded = self.unfold(&arrays, rows)?;
        let row_of = UInt32Array::from(unfolded.rows);
        let mut columns = Vec::with_capacity(arrays.len());
        for (array, elements) in arrays.iter().zip(unfolded.elements) {
            let column = match elements {
                Some(elements) => take(array.as_list::<i32>().values(), &UInt32Array::from(elements), None)?,
                None => take(array, &row_of, None)?,
            };
            let plain = match column.data_type() {
                DataType::Dictionary(_, value) => Some(value.as_ref().clone()),
                DataType::Utf8View | DataType::LargeUtf8 => Some(DataType::Utf8),
                _ => None,
            };
            columns.push(match plain {
                Some(plain) => cast(&column, &plain)?,
                None => column,
            });
        }
        let values = self.evaluate(columns)?;
        let valid = NullBuffer::from_iter(unfolded.offsets.windows(2).map(|pair| pair[0] < pair[1]));
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let offsets = OffsetBuffer::new(unfolded.offsets.into());
        Ok(ColumnarValue::Array(Arc::new(ListArray::try_new(
            field,
            offsets,
            values,
            Some(valid),
        )?)))
    }
}
