//! Virtual columns: expressions over text columns that the scan computes once for each value of a dictionary, not once a row
//! (Druid's `VirtualColumn` over a single string input, extended to a few columns). Functions of `__time` are computed once for each
//! time where rows are sorted by time and many have the same.
//!
//! ```text
//!  ids of a row        a = 2 of 0..3, null         b = null of 0..2, null
//!  sizes (with null)   4                           3
//!  combination         2 + 2 * 4 = 10 of 12        null is the last id of its column
//!  values              expr over combinations 0..12, looked up by combination
//! ```
//! * An expression may fail for a value that no selected row has: then it is evaluated row by row, and fails only where it must.
//! * So it is where there are not many more rows than combinations.
//! * Times have no dictionary: they are numbered in the order of the rows.

mod lift;
mod rule;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{FieldRef, Schema, SchemaRef, UInt32Type};
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::reassign_expr_columns;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_common::physical_expr::is_volatile;

use crate::columns::Columns;
use crate::filter::columns_of;
use crate::handle::{is_text, release};
pub(crate) use lift::Lifter;
pub use rule::VirtualColumnsOfScans;

/// Text columns of one expression.
const MAX_COLUMNS: usize = 4;
/// Combinations of values of several columns that are numbered.
pub(crate) const MAX_COMBINATIONS: usize = 1 << 20;
/// Bytes of all values of a virtual column; beyond, rows are computed as they come.
const MAX_VALUE_BYTES: usize = 32 << 20;
/// Values that are computed at a time.
const BATCH_VALUES: usize = 8192;

/// An expression over text columns of a table, or over `__time`.
#[derive(Debug)]
pub(crate) struct VirtualColumn {
    /// Columns of the table, ascending.
    columns: Vec<usize>,
    /// Over `schema`.
    expr: Arc<dyn PhysicalExpr>,
    /// The columns alone.
    schema: SchemaRef,
    field: FieldRef,
}

impl PartialEq for VirtualColumn {
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns && self.expr.eq(&other.expr)
    }
}

impl VirtualColumn {
    /// Makes a virtual column of an expression over the columns of a table; none if it is a column already, reads others than text or
    /// time, or may give another value each time.
    pub fn of(expr: &Arc<dyn PhysicalExpr>, table: &SchemaRef) -> Result<Option<Self>> {
        if expr.is::<Column>() {
            return Ok(None);
        }
        let columns = columns_of(expr);
        let few = (1..=MAX_COLUMNS).contains(&columns.len());
        let texts = few && columns.iter().all(|column| is_text(table.field(*column)));
        let time = match columns[..] {
            // Comparisons and casts of times are cheaper than looking a result up.
            [column] => table.field(column).name() == henge_segment::TIME_COLUMN && calls_function(expr)?,
            _ => false,
        };
        if !(texts || time) || is_volatile(expr) {
            return Ok(None);
        }
        let field = expr.return_field(table)?;
        let fields = columns
            .iter()
            .map(|column| table.field(*column).clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Some(Self {
            expr: reassign_expr_columns(expr.clone(), &schema)?,
            field: Arc::new(field.as_ref().clone().with_name(expr.to_string())),
            columns,
            schema,
        }))
    }

    /// Names and types the values.
    pub fn field(&self) -> &FieldRef {
        &self.field
    }

    /// Numbers the values of the columns over a window; none if they are times that differ from row to row.
    pub fn combinations(&self, columns: &Columns) -> Result<Option<Combinations>> {
        if self.reads_time() {
            return Ok(columns.numbered_time()?.map(|time| Combinations::new(vec![time])));
        }
        Ok(Some(Combinations::new(self.base(columns)?)))
    }

    fn reads_time(&self) -> bool {
        self.schema.field(0).name() == henge_segment::TIME_COLUMN
    }

    fn base(&self, columns: &Columns) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|column| columns.get(*column)).collect()
    }

    /// Computes the values of some rows of a window; how many rows are wanted says whether that is done by dictionary.
    pub fn over(self: &Arc<Self>, columns: &Columns, rows: usize) -> Result<VirtualValues> {
        let combinations = self.combinations(columns)?;
        let combinations = combinations.and_then(|all| all.count().map(|count| (all, count)));
        let numbered = match combinations {
            Some((all, count)) if count <= MAX_COMBINATIONS && count <= rows / 2 => {
                // What fails for a value fails again for its row, if one is wanted.
                let values = self.values(&all, count).ok().flatten();
                values.map(|values| (all, values))
            }
            _ => None,
        };
        let base = match numbered {
            Some(_) => Vec::new(),
            None => self.base(columns)?,
        };
        Ok(VirtualValues {
            column: self.clone(),
            numbered,
            base,
        })
    }

    /// Computes the values of all combinations; none if they need too much memory.
    fn values(&self, combinations: &Combinations, count: usize) -> Result<Option<ArrayRef>> {
        let mut parts = Vec::new();
        let mut bytes = 0;
        let all = Vec::from_iter(0..count as u32);
        let complete = self.for_each_batch(combinations, &all, |_, part| {
            bytes += part.get_array_memory_size();
            parts.push(part);
            Ok(bytes <= MAX_VALUE_BYTES)
        })?;
        if !complete {
            return Ok(None);
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(Some(concat(&parts)?))
    }

    /// Computes the values of combinations, a batch at a time, until `each` says that it wants no more. Tells whether it had all.
    pub fn for_each_batch(
        &self,
        combinations: &Combinations,
        wanted: &[u32],
        mut each: impl FnMut(&[u32], ArrayRef) -> Result<bool>,
    ) -> Result<bool> {
        for batch in wanted.chunks(BATCH_VALUES) {
            let values = self.evaluate(combinations.texts(batch)?, batch.len())?;
            if !each(batch, values)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Evaluates the expression over columns as DataFusion sees them.
    fn evaluate(&self, texts: Vec<ArrayRef>, rows: usize) -> Result<ArrayRef> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), texts, &options)?;
        let values = self.expr.evaluate(&batch)?.into_array(rows)?;
        match values.data_type() == self.field.data_type() {
            true => Ok(values),
            false => Ok(cast(&values, self.field.data_type())?),
        }
    }
}

fn calls_function(expr: &Arc<dyn PhysicalExpr>) -> Result<bool> {
    expr.exists(|part| Ok(part.is::<ScalarFunctionExpr>()))
}

/// The ids of a few columns over a window of rows, and how they are numbered together.
#[derive(Debug, Clone)]
pub(crate) struct Combinations {
    /// Dictionary arrays.
    ids: Vec<ArrayRef>,
    /// Values of each dictionary, and null.
    sizes: Vec<usize>,
}

impl Combinations {
    fn new(ids: Vec<ArrayRef>) -> Self {
        let sizes = ids
            .iter()
            .map(|ids| ids.as_any_dictionary().values().len() + 1)
            .collect();
        Self { ids, sizes }
    }

    /// Counts all combinations; none if they cannot be numbered.
    pub fn count(&self) -> Option<usize> {
        let count = self
            .sizes
            .iter()
            .try_fold(1usize, |count, size| count.checked_mul(*size))?;
        u32::try_from(count).ok().map(|_| count)
    }

    /// Gives the only column, if its rows are numbered by its ids as they are: none is null.
    pub fn plain_ids(&self) -> Option<&ArrayRef> {
        match &self.ids[..] {
            [ids] if ids.as_dictionary::<UInt32Type>().keys().null_count() == 0 => Some(ids),
            _ => None,
        }
    }

    /// Gives the combinations of some rows: `cut` takes them out of a column.
    pub fn codes(&self, cut: impl Fn(&ArrayRef) -> Result<ArrayRef>) -> Result<Vec<u32>> {
        let mut codes: Vec<u32> = Vec::new();
        let mut stride = 1;
        for (ids, size) in self.ids.iter().zip(&self.sizes) {
            let ids = cut(ids)?;
            let keys = ids.as_dictionary::<UInt32Type>().keys();
            codes.resize(keys.len(), 0);
            let null = (size - 1) as u32;
            match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => {
                    for (code, key) in codes.iter_mut().zip(keys.values()) {
                        *code += key * stride;
                    }
                }
                Some(nulls) => {
                    for (at, code) in codes.iter_mut().enumerate() {
                        *code += stride * if nulls.is_valid(at) { keys.values()[at] } else { null };
                    }
                }
            }
            // The last stride is not used and may be too large.
            stride = stride.wrapping_mul(*size as u32);
        }
        Ok(codes)
    }

    /// Gives the text of each column in some combinations.
    fn texts(&self, wanted: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut stride = 1usize;
        let mut texts = Vec::with_capacity(self.ids.len());
        for (ids, size) in self.ids.iter().zip(&self.sizes) {
            let id = |code: u32| (code as usize / stride) % size;
            let ids_wanted: UInt32Array = wanted
                .iter()
                .map(|code| Some(id(*code) as u32).filter(|id| (*id as usize) < size - 1))
                .collect();
            texts.push(take(ids.as_any_dictionary().values(), &ids_wanted, None)?);
            stride *= size;
        }
        Ok(texts)
    }
}

/// The values of a virtual column over a window of rows.
#[derive(Debug)]
pub(crate) struct VirtualValues {
    column: Arc<VirtualColumn>,
    /// With the value of each combination; none if rows are computed as they come.
    numbered: Option<(Combinations, ArrayRef)>,
    /// What rows are computed of then.
    base: Vec<ArrayRef>,
}

impl VirtualValues {
    /// Gives the values of some rows: `cut` takes them out of a column.
    pub fn of_rows(&self, rows: usize, cut: impl Fn(&ArrayRef) -> Result<ArrayRef>) -> Result<ArrayRef> {
        if let Some((combinations, values)) = &self.numbered {
            let codes = UInt32Array::from(combinations.codes(cut)?);
            return Ok(take(values, &codes, None)?);
        }
        let base = self
            .base
            .iter()
            .zip(self.column.schema.fields())
            .map(|(column, field)| release(&cut(column)?, field))
            .collect::<Result<_>>()?;
        self.column.evaluate(base, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, StringArray};

    fn column(rows: &[Option<&str>]) -> ArrayRef {
        Arc::new(rows.iter().copied().collect::<DictionaryArray<UInt32Type>>())
    }

    #[test]
    fn combinations_number_values_and_null() {
        let a = column(&[Some("x"), None, Some("y"), Some("x")]);
        let b = column(&[None, None, Some("u"), Some("u")]);
        let both = Combinations::new(vec![a, b]);
        assert_eq!(both.count(), Some(6));
        let codes = both.codes(|ids| Ok(ids.clone())).expect("codes");
        let texts = both.texts(&codes).expect("texts");
        let expected = StringArray::from(vec![Some("x"), None, Some("y"), Some("x")]);
        assert_eq!(texts[0].as_string::<i32>(), &expected);
        let expected = StringArray::from(vec![None, None, Some("u"), Some("u")]);
        assert_eq!(texts[1].as_string::<i32>(), &expected);
        assert!(both.plain_ids().is_none());
    }

    #[test]
    fn too_many_combinations_are_not_numbered() {
        let ids: ArrayRef = column(&[Some("x")]);
        let many = Combinations {
            ids: vec![ids; 3],
            sizes: vec![3000, 3000, 3000],
        };
        assert_eq!(many.count(), None);
    }
}
