//! Reads a split: opens its parts one after the other and gives record batches.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::InputError;
use crate::limits;
use crate::observer::ReadObserver;
use crate::spec::{ExternSpec, InputFormat};
use crate::split::{InputSplit, SplitPart};
use crate::{parquet_file, text};

/// How to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// Positions of the wanted columns in the signature, in the order of the batches. Empty gives batches with rows and no
    /// columns.
    pub projection: Vec<usize>,
    /// Rows of a batch; a batch of much text ends earlier.
    pub batch_rows: usize,
    /// Whether strings of Parquet files come as `Dictionary(UInt32, Utf8)`. Text formats give `Utf8` always.
    pub dictionary_strings: bool,
    /// Bytes of one line or record.
    pub max_row_bytes: usize,
}

impl ReadOptions {
    /// Reads all columns with the defaults.
    pub fn all(spec: &ExternSpec) -> Self {
        Self::projected((0..spec.columns.len()).collect())
    }

    /// Reads these columns with the defaults.
    pub fn projected(projection: Vec<usize>) -> Self {
        Self {
            projection,
            batch_rows: limits::DEFAULT_BATCH_ROWS,
            dictionary_strings: false,
            max_row_bytes: limits::MAX_ROW_BYTES,
        }
    }
}

/// Begins to read a split. Nothing is opened before the first batch is asked for. Everything blocks; it belongs on a thread
/// that may block.
pub fn read_split(
    spec: &ExternSpec,
    split: &InputSplit,
    options: &ReadOptions,
    observer: Arc<dyn ReadObserver>,
) -> Result<BatchReader, InputError> {
    if let Some(position) = options.projection.iter().find(|&&i| i >= spec.columns.len()) {
        let text = format!(
            "the projection names column {position}, the signature has {}",
            spec.columns.len()
        );
        return Err(InputError::InvalidSignature(text));
    }
    let mut options = options.clone();
    options.batch_rows = options.batch_rows.max(1);
    Ok(BatchReader {
        schema: spec.read_schema(&options),
        context: Arc::new(ReadContext {
            spec: spec.clone(),
            options,
            observer,
        }),
        parts: split.parts.clone().into_iter(),
        current: None,
        failed: false,
    })
}

/// What all parts of a split share.
pub(crate) struct ReadContext {
    pub spec: ExternSpec,
    pub options: ReadOptions,
    pub observer: Arc<dyn ReadObserver>,
}

/// Reads one part to its end.
pub(crate) trait PartReader: Send {
    /// Gives the next batch, never an empty one, and `None` at the end.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, InputError>;
}

/// Gives the batches of a split. After an error it is at its end.
pub struct BatchReader {
    schema: SchemaRef,
    context: Arc<ReadContext>,
    parts: std::vec::IntoIter<SplitPart>,
    current: Option<(SplitPart, Box<dyn PartReader>)>,
    failed: bool,
}

impl BatchReader {
    /// Gives the schema of the batches, which is [`ExternSpec::read_schema`].
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>, InputError> {
        loop {
            if let Some((part, reader)) = &mut self.current {
                if let Some(batch) = reader.next_batch()? {
                    self.context.observer.rows(batch.num_rows() as u64);
                    return Ok(Some(batch));
                }
                if part.range.is_first() {
                    self.context.observer.file_done();
                }
                self.current = None;
            }
            let Some(part) = self.parts.next() else {
                return Ok(None);
            };
            let context = Arc::clone(&self.context);
            let reader: Box<dyn PartReader> = match &context.spec.format {
                InputFormat::Parquet(_) => parquet_file::open(context, &part, Arc::clone(&self.schema))?,
                _ => text::open(context, &part, Arc::clone(&self.schema))?,
            };
            self.current = Some((part, reader));
        }
    }
}

impl Iterator for BatchReader {
    type Item = Result<RecordBatch, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}
