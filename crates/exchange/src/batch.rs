//! Batches as they are staged: plain arrays, measured by the rows that they show rather than by the buffers behind them.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::ExchangeError;

/// Gives the schema of staged batches: dictionaries and views become plain strings and bytes, because a run has many
/// dictionaries and must be readable from its middle. Field and schema metadata stay.
pub fn staged_schema(schema: &SchemaRef) -> SchemaRef {
    if schema
        .fields()
        .iter()
        .all(|field| &plain_type(field.data_type()) == field.data_type())
    {
        return Arc::clone(schema);
    }
    let fields: Vec<Field> = schema.fields().iter().map(|field| plain_field(field)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn plain_field(field: &Field) -> Field {
    field.clone().with_data_type(plain_type(field.data_type()))
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(item) => DataType::List(Arc::new(plain_field(item))),
        DataType::LargeList(item) => DataType::LargeList(Arc::new(plain_field(item))),
        other => other.clone(),
    }
}

/// Brings a batch to the staged schema.
pub(crate) fn to_plain(batch: &RecordBatch, staged: &SchemaRef) -> Result<RecordBatch, ExchangeError> {
    if batch.num_columns() != staged.fields().len() {
        return Err(ExchangeError::Batch(format!(
            "a batch has [{}] columns, its stage has [{}]",
            batch.num_columns(),
            staged.fields().len()
        )));
    }
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (column, field) in batch.columns().iter().zip(staged.fields()) {
        if column.data_type() == field.data_type() {
            columns.push(Arc::clone(column));
        } else {
            columns.push(cast(column, field.data_type())?);
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(staged),
        columns,
        &options,
    )?)
}

/// Gives the bytes of the rows of a batch: of a slice only what it shows.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|column| {
            let data = column.to_data();
            data.get_slice_memory_size()
                .unwrap_or_else(|_| column.get_array_memory_size())
        })
        .sum()
}

/// Gives how many rows a staged batch gets, so that it has about the target of bytes.
pub(crate) fn rows_per_batch(rows: usize, bytes: usize, rows_max: usize, bytes_target: usize) -> usize {
    let row_bytes = (bytes / rows.max(1)).max(1);
    (bytes_target / row_bytes).clamp(1, rows_max)
}
