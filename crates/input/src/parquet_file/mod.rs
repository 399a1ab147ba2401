//! Apache Parquet: row groups through the readers of the `parquet` crate, cells into Druid's column types.
//!
//! The Arrow schema that a writer may have left in the file is not looked at: without it, strings are `Utf8` whatever they
//! were in the writer's memory (large, views, dictionaries), which is the only form that henge wants.

mod cells;
mod chunks;
mod convert;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as PhysicalType;

use crate::error::InputError;
use crate::file::FileId;
use crate::reader::{PartReader, ReadContext};
use crate::spec::{ExternColumn, ExternSpec, ExternType, InputFormat, PathStep};
use crate::split::{PartRange, SplitPart};
use chunks::Chunks;
use convert::Conversion;

/// Runs foreign code over foreign bytes. The `parquet` crate panics on some damaged files; for us they are damaged files.
fn guarded<T>(file: &str, f: impl FnOnce() -> Result<T, InputError>) -> Result<T, InputError> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or(panic.downcast_ref::<&str>().copied());
            Err(damaged(file, text.unwrap_or("the reader gave up")))
        }
    }
}

fn damaged(file: &str, reason: impl ToString) -> InputError {
    InputError::corrupt(file, format!("damaged or no parquet: {}", reason.to_string()))
}

/// A file whose footer is read.
struct Opened {
    name: String,
    chunks: Chunks,
    metadata: ArrowReaderMetadata,
}

fn open_file(spec: &ExternSpec, leaf: usize, id: &FileId) -> Result<Opened, InputError> {
    let name = spec.uri_of(leaf, id).unwrap_or_else(|| "inline data".to_string());
    let chunks = Chunks::open(spec, leaf, id, &name)?;
    let metadata = guarded(&name, || {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        ArrowReaderMetadata::load(&chunks, options).map_err(|e| damaged(&name, e))
    })?;
    Ok(Opened { name, chunks, metadata })
}

/// Gives the stored bytes of each row group.
pub(crate) fn row_group_bytes(spec: &ExternSpec, leaf: usize, id: &FileId) -> Result<Vec<u64>, InputError> {
    let opened = open_file(spec, leaf, id)?;
    let groups = opened.metadata.metadata().row_groups();
    Ok(groups
        .iter()
        .map(|group| u64::try_from(group.compressed_size()).unwrap_or(0))
        .collect())
}

/// Finds columns and types from the footer of a file.
pub(crate) fn sample(spec: &ExternSpec, leaf: usize, id: &FileId) -> Result<Vec<ExternColumn>, InputError> {
    let opened = open_file(spec, leaf, id)?;
    let fields = opened.metadata.schema().fields();
    Ok(fields
        .iter()
        .map(|field| ExternColumn::new(field.name(), sampled_type(field.data_type())))
        .collect())
}

fn sampled_type(data_type: &DataType) -> ExternType {
    match data_type {
        t if t.is_integer() || t.is_temporal() => ExternType::Long,
        DataType::Float32 => ExternType::Float,
        t if t.is_floating() || t.is_decimal() => ExternType::Double,
        DataType::List(item) | DataType::LargeList(item) if !item.data_type().is_nested() => {
            ExternType::Array(Box::new(sampled_type(item.data_type())))
        }
        t if t.is_nested() => ExternType::Complex("json".to_string()),
        _ => ExternType::String,
    }
}

/// Where a column of the batch comes from.
enum Origin {
    /// Nowhere: it is always null.
    Nothing,
    /// The same text in all rows.
    Constant(Option<String>),
    /// A root column of the file, by its position in the batches that are read.
    Read { position: usize, conversion: Conversion },
}

struct ParquetReader {
    context: Arc<ReadContext>,
    schema: SchemaRef,
    opened: Opened,
    /// Row groups that are still to be read, the next one last.
    groups: Vec<usize>,
    mask: ProjectionMask,
    origins: Vec<Origin>,
    current: Option<ParquetRecordBatchReader>,
    rows_done: u64,
}

/// Opens a part of a Parquet file.
pub(crate) fn open(
    context: Arc<ReadContext>,
    part: &SplitPart,
    schema: SchemaRef,
) -> Result<Box<dyn PartReader>, InputError> {
    let spec = &context.spec;
    let InputFormat::Parquet(format) = &spec.format else {
        return Err(InputError::corrupt("split", "the format is not parquet"));
    };
    let mut opened = open_file(spec, part.leaf, &part.file)?;
    let group_count = opened.metadata.metadata().num_row_groups();
    let groups = match part.range {
        PartRange::Whole => 0..group_count,
        PartRange::RowGroups { start, end } if start <= end && end <= group_count => start..end,
        _ => {
            return Err(InputError::corrupt(
                &opened.name,
                "the file has changed since it was cut into splits",
            ));
        }
    };
    // What is read, as positions of root columns in the file, in the order of the file.
    let fields = opened.metadata.schema().fields().clone();
    let find = |name: &str| fields.iter().position(|field| field.name() == name);
    let mut wanted: Vec<Option<(usize, Vec<PathStep>)>> = Vec::new();
    let mut origins: Vec<Option<Origin>> = Vec::new();
    for column in context.options.projection.iter().filter_map(|&i| spec.columns.get(i)) {
        let constant = crate::text::constant(spec, part, &column.name);
        let path = format
            .flatten
            .as_ref()
            .and_then(|flatten| flatten.path_of(&column.name));
        let discovers = format.flatten.as_ref().is_none_or(|flatten| flatten.discover);
        let root = match path {
            Some([PathStep::Field(name), rest @ ..]) => find(name).map(|root| (root, rest.to_vec())),
            Some(_) => {
                return Err(InputError::Unsupported {
                    what: "flattenSpec path of a parquet file, column",
                    name: column.name.clone(),
                    supported: "paths that begin with the name of a column of the file",
                });
            }
            None if discovers => find(&column.name).map(|root| (root, Vec::new())),
            None => None,
        };
        origins.push(match (&constant, &root) {
            (Some(text), _) => Some(Origin::Constant(text.clone())),
            (None, None) => Some(Origin::Nothing),
            (None, Some(_)) => None,
        });
        wanted.push(root.filter(|_| constant.is_none()));
    }
    let mut roots: Vec<usize> = wanted.iter().flatten().map(|(root, _)| *root).collect();
    roots.sort_unstable();
    roots.dedup();
    let origins = origins
        .into_iter()
        .zip(wanted)
        .zip(schema.fields())
        .zip(context.options.projection.iter().filter_map(|&i| spec.columns.get(i)))
        .map(|(((origin, wanted), target), column)| match (origin, wanted) {
            (Some(origin), _) => origin,
            (None, Some((root, path))) => Origin::Read {
                position: roots.partition_point(|other| *other < root),
                conversion: Conversion::new(&fields[root], path, column, target, format.binary_as_string),
            },
            (None, None) => Origin::Nothing,
        })
        .collect::<Vec<_>>();
    opened.metadata = with_hints(&opened, &fields, &origins, &roots)?;
    let mask = ProjectionMask::roots(
        opened.metadata.metadata().file_metadata().schema_descr(),
        roots.iter().copied(),
    );
    Ok(Box::new(ParquetReader {
        schema,
        opened,
        groups: groups.rev().collect(),
        mask,
        origins,
        current: None,
        rows_done: 0,
        context,
    }))
}

/// Tells the crate which Arrow types are wanted where the file leaves a choice: dictionaries for strings that are asked for
/// as such, and milliseconds for 96-bit timestamps, which overflow in its default of nanoseconds.
fn with_hints(
    opened: &Opened,
    fields: &arrow::datatypes::Fields,
    origins: &[Origin],
    roots: &[usize],
) -> Result<ArrowReaderMetadata, InputError> {
    let parquet_schema = opened.metadata.metadata().file_metadata().schema_descr();
    let mut hinted: Vec<FieldRef> = fields.iter().cloned().collect();
    for column in parquet_schema.columns() {
        if column.physical_type() == PhysicalType::INT96
            && column.path().parts().len() == 1
            && let Some(field) = hinted.iter_mut().find(|field| field.name() == column.name())
        {
            let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
            *field = Arc::new(field.as_ref().clone().with_data_type(millis));
        }
    }
    for origin in origins {
        if let Origin::Read { position, conversion } = origin {
            let field = &mut hinted[roots[*position]];
            if conversion.wants_dictionary() && field.data_type() == &DataType::Utf8 {
                let strings = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
                *field = Arc::new(Field::new(field.name(), strings, field.is_nullable()));
            }
        }
    }
    let unchanged = hinted
        .iter()
        .zip(fields.iter())
        .all(|(a, b)| a.data_type() == b.data_type());
    if unchanged {
        return Ok(opened.metadata.clone());
    }
    guarded(&opened.name, || {
        let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(hinted)));
        ArrowReaderMetadata::try_new(Arc::clone(opened.metadata.metadata()), options)
            .map_err(|e| damaged(&opened.name, e))
    })
}

impl ParquetReader {
    /// Begins the next row group. Gives false when there is none.
    fn next_group(&mut self) -> Result<bool, InputError> {
        let Some(group) = self.groups.pop() else {
            return Ok(false);
        };
        let Opened { name, chunks, metadata } = &mut self.opened;
        let meta = metadata.metadata().row_group(group);
        let leaves = (0..meta.num_columns()).filter(|&leaf| self.mask.leaf_included(leaf));
        // The sizes are the file's own words, so the ranges are checked against its length before they are fetched.
        let mut ranges = Vec::new();
        let mut bytes = 0u64;
        for leaf in leaves {
            let column = meta.column(leaf);
            let (start, length) = guarded(name, || Ok(column.byte_range()))?;
            bytes = bytes.saturating_add(length);
            ranges.push(start..start.saturating_add(length));
        }
        chunks.prefetch(name, &ranges)?;
        self.context.observer.bytes(bytes.min(chunks.file_bytes()));
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks.clone(), metadata.clone())
            .with_row_groups(vec![group])
            .with_projection(self.mask.clone())
            .with_batch_size(self.context.options.batch_rows);
        self.current = Some(guarded(name, || builder.build().map_err(|e| damaged(name, e)))?);
        Ok(true)
    }

    fn arrange(&self, batch: &RecordBatch) -> Result<RecordBatch, InputError> {
        let rows = batch.num_rows();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.origins.len());
        for (origin, field) in self.origins.iter().zip(self.schema.fields()) {
            arrays.push(match origin {
                Origin::Nothing => new_null_array(field.data_type(), rows),
                Origin::Constant(text) => {
                    let array = crate::text::constant_array(field.name(), text.as_deref(), &self.context, rows)?;
                    convert::as_type(array, field.data_type()).map_err(|e| damaged(&self.opened.name, e))?
                }
                Origin::Read { position, conversion } => {
                    conversion
                        .apply(batch.column(*position), rows)
                        .map_err(|problem| InputError::InvalidField {
                            column: field.name().clone(),
                            message: problem.message,
                            place: format!(
                                "{}, rows {} to {}",
                                self.opened.name,
                                self.rows_done + 1,
                                self.rows_done + rows as u64
                            ),
                        })?
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map_err(|e| damaged(&self.opened.name, e))
    }
}

impl PartReader for ParquetReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, InputError> {
        loop {
            if let Some(reader) = &mut self.current {
                let name = &self.opened.name;
                let read = guarded(name, || reader.next().transpose().map_err(|e| damaged(name, e)))?;
                match read {
                    Some(batch) if batch.num_rows() == 0 => continue,
                    Some(batch) => {
                        let arranged = guarded(&self.opened.name, || self.arrange(&batch))?;
                        self.rows_done += batch.num_rows() as u64;
                        return Ok(Some(arranged));
                    }
                    None => self.current = None,
                }
            }
            if !self.next_group()? {
                return Ok(None);
            }
        }
    }
}
