//! [`WindowRowsExec`]: a bound on the rows that a window function holds at once (`maxRowsMaterializedInWindow`; Druid's
//! `glueingPartition` operator). It stands below operators that collect all rows of a PARTITION BY key, and counts rows of equal keys,
//! which come one after the other.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::partition;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::TryStreamExt;

use crate::fault::Fault;

/// Puts the bound below every operator of a plan that collects a window.
pub fn bound_windows(plan: Arc<dyn ExecutionPlan>, rows_max: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let bound = plan.transform_up(|node| {
        let Some(window) = (node.as_ref() as &dyn std::any::Any).downcast_ref::<WindowAggExec>() else {
            return Ok(Transformed::no(node));
        };
        let keys = window.window_expr().first().map(|expr| expr.partition_by().to_vec());
        let input = Arc::new(WindowRowsExec {
            keys: keys.unwrap_or_default(),
            rows_max,
            properties: window.input().properties().clone(),
            input: window.input().clone(),
        });
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(node.replace_children(vec![input], options)?))
    })?;
    Ok(bound.data)
}

/// Passes rows on, and fails where too many in a row have the same key.
#[derive(Debug, Clone)]
pub struct WindowRowsExec {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    rows_max: usize,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for WindowRowsExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "WindowRowsExec: max={}", self.rows_max)
    }
}

impl ExecutionPlan for WindowRowsExec {
    fn name(&self) -> &str {
        "WindowRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in &self.keys {
            if f(key)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self {
                properties: input.properties().clone(),
                input,
                ..self.as_ref().clone()
            })),
            _ => internal_err!("a bound on windows has one child"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let mut count = WindowRows {
            rows_max: self.rows_max,
            last: Vec::new(),
            rows: 0,
        };
        let keys = self.keys.clone();
        let schema = rows.schema();
        let checked = rows.and_then(move |batch| {
            let checked = count.check(&keys, &batch).map(|()| batch);
            std::future::ready(checked)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, checked)))
    }
}

/// Rows of the key that came last.
struct WindowRows {
    rows_max: usize,
    last: Vec<ScalarValue>,
    rows: usize,
}

impl WindowRows {
    fn check(&mut self, keys: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        if keys.is_empty() {
            return self.add(rows);
        }
        let columns: Vec<ArrayRef> = keys
            .iter()
            .map(|key| key.evaluate(batch)?.into_array(rows))
            .collect::<Result<_>>()?;
        let values = |row: usize| -> Result<Vec<ScalarValue>> {
            columns
                .iter()
                .map(|column| ScalarValue::try_from_array(column, row))
                .collect()
        };
        for (number, range) in partition(&columns)?.ranges().into_iter().enumerate() {
            if number > 0 || values(0)? != self.last {
                self.rows = 0;
            }
            self.add(range.len())?;
        }
        self.last = values(rows - 1)?;
        Ok(())
    }

    fn add(&mut self, rows: usize) -> Result<()> {
        self.rows += rows;
        if self.rows > self.rows_max {
            return Err(Fault::too_many_rows_in_a_window(self.rows, self.rows_max).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_expr::expressions::Column;

    use super::*;
    use crate::fault::FaultCode;

    fn batch(keys: &[Option<&str>]) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true)]));
        let column: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
        RecordBatch::try_new(schema, vec![column]).expect("one column")
    }

    fn count(batches: &[&[Option<&str>]], keys: &[Arc<dyn PhysicalExpr>], rows_max: usize) -> Option<(u64, FaultCode)> {
        let mut rows = WindowRows {
            rows_max,
            last: Vec::new(),
            rows: 0,
        };
        for keys_of_batch in batches {
            if let Err(error) = rows.check(keys, &batch(keys_of_batch)) {
                let fault = Fault::from(error);
                return Some((fault.fields["numRows"].as_u64().expect("a number"), fault.code));
            }
        }
        None
    }

    #[test]
    fn rows_of_a_key_are_counted_across_batches() {
        let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new("k", 0));
        let key = std::slice::from_ref(&key);
        let (a, b) = (Some("a"), Some("b"));
        assert_eq!(count(&[&[a, a, b], &[b, None], &[None, a]], key, 2), None);
        let too_many = Some((3, FaultCode::TooManyRowsInAWindow));
        assert_eq!(count(&[&[a, b, b], &[], &[b]], key, 2), too_many);
        assert_eq!(count(&[&[None, None], &[None]], key, 2), too_many);
        assert_eq!(count(&[&[a, b], &[a]], &[], 2), too_many, "no key is one window");
    }
}
