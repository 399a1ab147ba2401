//! Aggregates over frames whose start moves: those that cannot take a value back are computed anew from the rows of the frame.
//!
//! 1. Batches that enter the frame are kept; rows that leave it are skipped at the front.
//! 2. A result is asked of a fresh accumulator that is given the rows in the frame.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

/// Makes an aggregate usable over every frame.
pub(crate) fn sliding(inner: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Sliding { inner }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sliding {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Sliding {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        // A frame without rows has no value.
        let field = self.inner.return_field(arg_fields)?;
        Ok(Arc::new(field.as_ref().clone().with_nullable(true)))
    }

    fn is_nullable(&self) -> bool {
        true
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let recipe = Recipe {
            inner: Arc::clone(&self.inner),
            return_field: Arc::clone(&args.return_field),
            schema: args.schema.clone(),
            ignore_nulls: args.ignore_nulls,
            order_bys: args.order_bys.to_vec(),
            is_reversed: args.is_reversed,
            name: args.name.to_string(),
            is_distinct: args.is_distinct,
            exprs: args.exprs.to_vec(),
            expr_fields: args.expr_fields.to_vec(),
        };
        let own = self.inner.create_sliding_accumulator(args)?;
        if own.supports_retract_batch() {
            return Ok(own);
        }
        Ok(Box::new(Recomputing {
            recipe,
            batches: VecDeque::new(),
            skipped: 0,
        }))
    }
}

/// What an accumulator is made from.
#[derive(Debug)]
struct Recipe {
    inner: Arc<AggregateUDF>,
    return_field: FieldRef,
    schema: Schema,
    ignore_nulls: bool,
    order_bys: Vec<PhysicalSortExpr>,
    is_reversed: bool,
    name: String,
    is_distinct: bool,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
}

impl Recipe {
    fn accumulator(&self) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(AccumulatorArgs {
            return_field: Arc::clone(&self.return_field),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &self.order_bys,
            is_reversed: self.is_reversed,
            name: &self.name,
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        })
    }
}

/// The rows of a frame.
#[derive(Debug)]
struct Recomputing {
    recipe: Recipe,
    batches: VecDeque<Vec<ArrayRef>>,
    /// Rows of the first batch that have left the frame.
    skipped: usize,
}

fn rows(batch: &[ArrayRef]) -> usize {
    batch.first().map_or(0, |column| column.len())
}

impl Accumulator for Recomputing {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if rows(values) > 0 {
            self.batches.push_back(values.to_vec());
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.skipped += rows(values);
        while let Some(first) = self.batches.front()
            && rows(first) <= self.skipped
        {
            self.skipped -= rows(first);
            self.batches.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut fresh = self.recipe.accumulator()?;
        for (at, batch) in self.batches.iter().enumerate() {
            let from = if at == 0 { self.skipped } else { 0 };
            let left = rows(batch) - from;
            let columns: Vec<ArrayRef> = batch.iter().map(|column| column.slice(from, left)).collect();
            fresh.update_batch(&columns)?;
        }
        fresh.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        let columns = self.batches.iter().flatten();
        size_of::<Self>() + columns.map(|column| column.get_array_memory_size()).sum::<usize>()
    }
}
