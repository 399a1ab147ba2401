//! What a recognised aggregation computes, in terms of the columns of the table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

use crate::filter::columns_of;
use crate::virtual_column::{Lifter, VirtualColumn};

/// Something to group by, or to count distinct values of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Key {
    /// A column of strings.
    Text { column: usize },
    /// An expression over columns of strings.
    Virtual { column: Arc<VirtualColumn> },
    /// A column of longs or times.
    Long { column: usize, data_type: DataType },
    /// An expression over `__time` (column 0 of a schema of that alone) that never falls as time goes on.
    Time {
        expr: Arc<dyn PhysicalExpr>,
        schema: SchemaRef,
        data_type: DataType,
    },
}

/// The form in which a value is accumulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Long,
    Double,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Function {
    /// Rows in which the argument is not null; all rows if there is none.
    Count,
    Sum(Number),
    Min(Number),
    Max(Number),
    /// Distinct values that are not null.
    Distinct(Key),
}

/// One accumulator; columns of the output may share it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Accumulation {
    pub function: Function,
    pub argument: Option<Argument>,
    /// Only rows of which this is true count.
    pub filter: Option<Argument>,
}

/// Where the values of an argument come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Argument {
    /// A column of the table, as it is held.
    Column(usize),
    /// A result of [`Arguments`].
    Computed(usize),
}

/// A column of the output behind the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Value(usize),
    /// The sum divided by how many were added.
    Average(usize),
}

/// A recognised aggregation.
#[derive(Debug, Clone)]
pub(crate) struct Aggregation {
    pub keys: Vec<Key>,
    pub arguments: Arguments,
    pub accumulations: Vec<Accumulation>,
    pub outputs: Vec<Output>,
}

impl Aggregation {
    /// Gives the place of an accumulator, adding it if it is new.
    pub fn accumulate(&mut self, accumulation: Accumulation) -> usize {
        match self.accumulations.iter().position(|other| *other == accumulation) {
            Some(place) => place,
            None => {
                self.accumulations.push(accumulation);
                self.accumulations.len() - 1
            }
        }
    }

    /// Lists all keys: those that group, then those that are counted.
    pub fn all_keys(&self) -> impl Iterator<Item = &Key> {
        self.keys
            .iter()
            .chain(self.accumulations.iter().filter_map(|a| match &a.function {
                Function::Distinct(key) => Some(key),
                _ => None,
            }))
    }

    /// Lists the columns of the table that arguments are made of.
    pub fn argument_columns(&self) -> Vec<usize> {
        let mut columns: Vec<usize> = self.arguments.columns().collect();
        let used = self.accumulations.iter().flat_map(|a| [a.argument, a.filter]);
        columns.extend(used.flatten().filter_map(|argument| match argument {
            Argument::Column(column) => Some(column),
            Argument::Computed(_) => None,
        }));
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}

/// Computes arguments from columns of the table, through the projections between scan and aggregation: what they compute once is
/// computed once here too.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    /// What the first step reads: places of columns of the table, behind them those of the virtual columns.
    pub base: Vec<usize>,
    base_schema: SchemaRef,
    /// Columns of the table.
    own: usize,
    pub virtual_columns: Vec<Arc<VirtualColumn>>,
    /// Each step reads the columns of the one before; the last one gives the arguments.
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Arguments {
    /// Compiles expressions over the topmost projection. `projections` come top down, each with the schema that its expressions read;
    /// `columns` maps the columns of the scan to those of the table.
    pub fn compile(
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        top: &Schema,
        projections: &[(Vec<Arc<dyn PhysicalExpr>>, SchemaRef)],
        columns: &[usize],
        table: &SchemaRef,
    ) -> Result<Self> {
        let mut steps = Vec::new();
        let (mut exprs, mut schema) = (exprs, Arc::new(top.clone()));
        for (below, below_schema) in projections {
            let (step, needed) = Step::compile(&exprs, &schema)?;
            steps.push(step);
            exprs = needed.iter().map(|column| below[*column].clone()).collect();
            schema = below_schema.clone();
        }
        let mut lifter = Lifter::new(table);
        let mut lowest = Vec::with_capacity(exprs.len());
        for expr in &exprs {
            let over_table = substitute(expr, &|column| {
                let at = columns[column.index()];
                Arc::new(Column::new(table.field(at).name(), at))
            })?;
            lowest.push(lifter.lift(&over_table)?);
        }
        let schema = lifter.schema();
        let (step, base) = Step::compile(&lowest, &schema)?;
        steps.push(step);
        steps.reverse();
        Ok(Self {
            base_schema: Arc::new(schema.project(&base)?),
            base,
            own: table.fields().len(),
            virtual_columns: lifter.found().to_vec(),
            steps,
        })
    }

    /// Lists the columns of the table that are read as they are.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        self.base.iter().copied().filter(|column| *column < self.own)
    }

    /// Tells which virtual column a place of [`Self::base`] is, if it is none of the table.
    pub fn virtual_column(&self, place: usize) -> Option<usize> {
        place.checked_sub(self.own)
    }

    /// Gives the schema that [`Self::evaluate`] reads.
    pub fn base_schema(&self) -> &SchemaRef {
        &self.base_schema
    }

    /// Computes the arguments of some rows.
    pub fn evaluate(&self, base: Vec<ArrayRef>, rows: usize) -> Result<Vec<ArrayRef>> {
        if self.steps.last().is_none_or(|step| step.exprs.is_empty()) {
            return Ok(Vec::new());
        }
        let mut schema = self.base_schema.clone();
        let mut columns = base;
        for step in &self.steps {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
            columns = step
                .exprs
                .iter()
                .map(|expr| expr.evaluate(&batch)?.into_array(rows))
                .collect::<Result<_>>()?;
            schema = step.schema_of(&columns);
        }
        Ok(columns)
    }
}

impl Step {
    /// Renumbers the columns of expressions so that only those that are needed have to be there; gives them too.
    fn compile(exprs: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Result<(Self, Vec<usize>)> {
        let mut needed: Vec<usize> = exprs.iter().flat_map(columns_of).collect();
        needed.sort_unstable();
        needed.dedup();
        let places: HashMap<usize, usize> = needed.iter().enumerate().map(|(at, column)| (*column, at)).collect();
        let renumbered = exprs
            .iter()
            .map(|expr| substitute(expr, &|column| Arc::new(Column::new("", places[&column.index()]))))
            .collect::<Result<Vec<_>>>()?;
        let fields = exprs
            .iter()
            .map(|expr| Ok(Field::new("", expr.data_type(schema)?, true)))
            .collect::<Result<Vec<_>>>()?;
        let step = Self {
            exprs: renumbered,
            schema: Arc::new(Schema::new(fields)),
        };
        Ok((step, needed))
    }

    /// Gives the schema of results; an expression may give another type than it said only by mistake, which must not go unseen.
    fn schema_of(&self, columns: &[ArrayRef]) -> SchemaRef {
        debug_assert!(
            columns
                .iter()
                .zip(self.schema.fields())
                .all(|(column, field)| column.data_type() == field.data_type())
        );
        self.schema.clone()
    }
}

/// Replaces the columns of an expression.
pub(crate) fn substitute(
    expr: &Arc<dyn PhysicalExpr>,
    by: &dyn Fn(&Column) -> Arc<dyn PhysicalExpr>,
) -> Result<Arc<dyn PhysicalExpr>> {
    // Upwards: what was put in is not looked at again.
    expr.clone()
        .transform_up(|node| {
            Ok(match node.downcast_ref::<Column>() {
                Some(column) => Transformed::yes(by(column)),
                None => Transformed::no(node),
            })
        })
        .map(|transformed| transformed.data)
}
