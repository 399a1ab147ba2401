//! Batches in, sorted runs out.
//!
//! 1. Batches are buffered with their key bytes while the budget says yes; crumbs are joined first.
//! 2. When it says no, the buffered rows are sorted ([`crate::order`]), gathered into batches of about 1 MiB and staged as a run;
//!    the buffer is empty again. Runs are never merged here: the next stage merges the slices that it needs.
//! 3. While a run is staged, its index and its samples are taken from the sorted order.
//!
//! Without a key nothing is buffered or moved: batches go straight into one run. [`RunWriter::finish_sorted`] makes the same
//! machinery an external sort of one task: rows that fit are handed out from the buffer, without being staged.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, interleave};
use arrow::datatypes::SchemaRef;
use arrow::row::Rows;

use crate::batch::{rows_per_batch, to_plain};
use crate::key::{KeyEncoder, boost_bytes};
use crate::order::{Entry, SORT_BYTES_PER_ROW, TieOrder, entries, sort};
use crate::{
    BatchMeta, BucketMeta, ExchangeError, Key, KeyRange, KeySpec, MemoryBudget, RangeReader, ReadOptions, Reservation,
    RunGuard, RunMeta, RunSet, RunSink, RunStore, Sample, batch_bytes, limits, staged_schema,
};

/// How a task stages its runs.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Start of the names of the runs, unique to the attempt: `<query>/stage-<s>/<task>-<attempt>`.
    pub name: String,
    /// Number of the task in its stage.
    pub task: u32,
    /// Keeps only the first rows of each run, where the next stage needs no more (Druid's `limitHint`).
    pub limit: Option<u64>,
    /// Rows of a staged batch at most.
    pub batch_rows: usize,
    /// Bytes that a staged batch should have.
    pub batch_bytes: usize,
    /// Samples of a run, apart from one for each bucket.
    pub samples: usize,
}

impl RunOptions {
    /// Takes the defaults of [`limits`].
    pub fn new(name: impl Into<String>, task: u32) -> Self {
        Self {
            name: name.into(),
            task,
            limit: None,
            batch_rows: limits::BATCH_ROWS_MAX,
            batch_bytes: limits::BATCH_BYTES_TARGET,
            samples: limits::RUN_SAMPLES_MAX,
        }
    }
}

/// Collects the batches of a task and stages them as sorted runs.
pub struct RunWriter {
    schema: SchemaRef,
    spec: KeySpec,
    encoder: KeyEncoder,
    options: RunOptions,
    store: Arc<dyn RunStore>,
    budget: Arc<dyn MemoryBudget>,
    buffer: Buffer,
    crumbs: Vec<RecordBatch>,
    crumb_rows: usize,
    /// The one run of a spec without key.
    open: Option<RunBuilder>,
    set: RunSet,
    guard: RunGuard,
}

/// Rows waiting to be sorted, with their keys, and the memory that both take.
struct Buffer {
    batches: Vec<RecordBatch>,
    keys: Vec<Rows>,
    rows: usize,
    bytes: usize,
    reservation: Reservation,
}

impl RunWriter {
    /// Starts with an empty buffer. `schema` is the schema of the batches; runs have [`staged_schema`] of it.
    pub fn new(
        schema: &SchemaRef,
        spec: KeySpec,
        budget: Arc<dyn MemoryBudget>,
        store: Arc<dyn RunStore>,
        options: RunOptions,
    ) -> Result<Self, ExchangeError> {
        let schema = staged_schema(schema);
        let encoder = KeyEncoder::new(&spec, &schema)?;
        let multi_value = vec![false; spec.columns.len()];
        Ok(Self {
            buffer: Buffer {
                batches: Vec::new(),
                keys: Vec::new(),
                rows: 0,
                bytes: 0,
                reservation: Reservation::new(Arc::clone(&budget)),
            },
            guard: RunGuard::new(Arc::clone(&store)),
            set: RunSet {
                runs: Vec::new(),
                multi_value,
            },
            schema,
            spec,
            encoder,
            options,
            store,
            budget,
            crumbs: Vec::new(),
            crumb_rows: 0,
            open: None,
        })
    }

    /// Gives the schema of the staged batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Gives the rows and staged bytes so far, without what is still buffered.
    pub fn staged(&self) -> &RunSet {
        &self.set
    }

    /// Takes a batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ExchangeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = to_plain(batch, &self.schema)?;
        if batch.num_rows() >= limits::CRUMB_ROWS {
            self.flush_crumbs()?;
            return self.buffer_batch(batch);
        }
        self.crumb_rows += batch.num_rows();
        self.crumbs.push(batch);
        if self.crumb_rows >= limits::CRUMB_ROWS {
            self.flush_crumbs()
        } else {
            Ok(())
        }
    }

    /// Stages what is buffered and gives the runs. From here on the caller is responsible for removing them ([`RunGuard`]).
    pub fn finish(mut self) -> Result<RunSet, ExchangeError> {
        self.flush_crumbs()?;
        self.stage()?;
        self.close_unsorted()?;
        self.guard.release();
        Ok(std::mem::take(&mut self.set))
    }

    /// Gives all rows in key order: from the buffer where everything fitted, else merged from runs, which are removed with the
    /// iterator.
    pub fn finish_sorted(mut self) -> Result<SortedRows, ExchangeError> {
        self.flush_crumbs()?;
        if self.set.runs.is_empty() && self.open.is_none() {
            let order = self.buffer.order(&self.spec)?;
            let keys = std::mem::take(&mut self.buffer.keys);
            let kept: usize = keys.iter().map(Rows::size).sum();
            drop(keys);
            self.buffer.reservation.shrink(kept);
            let rows = self
                .options
                .limit
                .map_or(order.len(), |limit| order.len().min(limit as usize));
            let batch_rows = self.batch_rows();
            let reservation =
                std::mem::replace(&mut self.buffer.reservation, Reservation::new(Arc::clone(&self.budget)));
            return Ok(SortedRows::Buffered(BufferedRows {
                schema: Arc::clone(&self.schema),
                batches: std::mem::take(&mut self.buffer.batches),
                order,
                at: 0,
                rows,
                batch_rows,
                _reservation: reservation,
            }));
        }
        self.stage()?;
        self.close_unsorted()?;
        let set = std::mem::take(&mut self.set);
        let options = ReadOptions {
            name: format!("{}/sort", self.options.name),
            batch_rows: self.options.batch_rows,
            batch_bytes: self.options.batch_bytes,
            fan_in: limits::FAN_IN_MAX,
        };
        let everything = KeyRange::everything(set.rows());
        let (store, budget) = (Arc::clone(&self.store), Arc::clone(&self.budget));
        let reader = RangeReader::merged(&self.schema, &self.spec, &[&set], &everything, store, budget, options)?;
        let guard = std::mem::replace(&mut self.guard, RunGuard::new(Arc::clone(&self.store)));
        Ok(SortedRows::Merged {
            reader: Box::new(reader),
            spilled_bytes: set.spilled_bytes(),
            _guard: guard,
        })
    }

    fn flush_crumbs(&mut self) -> Result<(), ExchangeError> {
        self.crumb_rows = 0;
        let crumbs = std::mem::take(&mut self.crumbs);
        match crumbs.len() {
            0 => Ok(()),
            1 => crumbs.into_iter().try_for_each(|batch| self.buffer_batch(batch)),
            _ => self.buffer_batch(concat_batches(&self.schema, &crumbs)?),
        }
    }

    fn buffer_batch(&mut self, batch: RecordBatch) -> Result<(), ExchangeError> {
        self.note_multi_values(&batch);
        let Some(keys) = self.encoder.encode(&batch)? else {
            return self.append_unsorted(&batch);
        };
        let rows = batch.num_rows();
        let bytes = batch_bytes(&batch);
        let needed = bytes + keys.size() + rows * SORT_BYTES_PER_ROW;
        let full = self.buffer.rows + rows > limits::RUN_ROWS_MAX;
        if full || !self.buffer.reservation.try_grow(needed) {
            self.stage()?;
            // A single batch is always taken: it exists already, and sorting it needs little more.
            self.buffer.reservation.grow(needed);
        }
        self.buffer.rows += rows;
        self.buffer.bytes += bytes;
        self.buffer.batches.push(batch);
        self.buffer.keys.push(keys);
        Ok(())
    }

    /// Remembers which key columns have rows with more than one value.
    fn note_multi_values(&mut self, batch: &RecordBatch) {
        for (seen, field) in self.set.multi_value.iter_mut().zip(&self.spec.columns) {
            if let Some(list) = batch.column(field.index).as_list_opt::<i32>() {
                *seen = *seen || list.value_offsets().windows(2).any(|pair| pair[1] - pair[0] > 1);
            }
        }
    }

    fn batch_rows(&self) -> usize {
        rows_per_batch(
            self.buffer.rows,
            self.buffer.bytes,
            self.options.batch_rows,
            self.options.batch_bytes,
        )
    }

    fn next_run(&self) -> Result<RunBuilder, ExchangeError> {
        let run = self.set.runs.len() as u32;
        let name = format!("{}/run-{run}", self.options.name);
        RunBuilder::new(self.store.as_ref(), &name, &self.schema, self.options.task, run)
    }

    fn add_run(&mut self, run: RunMeta) {
        self.guard.add(run.location.clone());
        self.set.runs.push(run);
    }

    fn close_unsorted(&mut self) -> Result<(), ExchangeError> {
        if let Some(mut open) = self.open.take() {
            if self.spec.boost {
                open.sample_places(self.options.samples);
            }
            self.add_run(open.finish()?);
        }
        Ok(())
    }

    fn append_unsorted(&mut self, batch: &RecordBatch) -> Result<(), ExchangeError> {
        let mut open = match self.open.take() {
            Some(open) if open.rows as usize + batch.num_rows() <= limits::RUN_ROWS_MAX => open,
            Some(full) => {
                self.open = Some(full);
                self.close_unsorted()?;
                self.next_run()?
            }
            None => self.next_run()?,
        };
        let bytes = batch_bytes(batch);
        let step = rows_per_batch(
            batch.num_rows(),
            bytes,
            self.options.batch_rows,
            self.options.batch_bytes,
        );
        let left = self
            .options
            .limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(open.rows));
        let rows = batch.num_rows().min(usize::try_from(left).unwrap_or(usize::MAX));
        for start in (0..rows).step_by(step) {
            open.append(
                &batch.slice(start, step.min(rows - start)),
                Key::default(),
                Key::default(),
            )?;
        }
        self.open = Some(open);
        Ok(())
    }

    /// Sorts what is buffered and stages it as a run.
    fn stage(&mut self) -> Result<(), ExchangeError> {
        if self.buffer.rows == 0 {
            return Ok(());
        }
        let order = self.buffer.order(&self.spec)?;
        let kept = self
            .options
            .limit
            .map_or(order.len(), |limit| order.len().min(limit as usize));
        let order = &order[..kept];
        let batch_rows = self.batch_rows();
        let mut run = self.next_run()?;
        if kept > 0 {
            let (batches, keys) = (&self.buffer.batches, &self.buffer.keys);
            let key = |entry: &Entry| keys[entry.batch as usize].row(entry.row as usize).data();
            let gather = Gather::new(&self.schema, batches);
            for chunk in order.chunks(batch_rows) {
                let (first, last) = (&chunk[0], &chunk[chunk.len() - 1]);
                run.append(
                    &gather.batch(chunk)?,
                    Key::copy_from(key(first)),
                    Key::copy_from(key(last)),
                )?;
            }
            let prefix = |entry: &Entry| &key(entry)[..self.encoder.bucket_len()];
            for bucket in order.chunk_by(|a, b| prefix(a) == prefix(b)) {
                let first_row = run.bucketed_rows();
                let samples = if self.spec.hash.is_some() {
                    Vec::new()
                } else {
                    sample(
                        bucket,
                        first_row,
                        kept.div_ceil(self.options.samples.max(1)),
                        |entry, row| {
                            let mut bytes = key(entry).to_vec();
                            if self.spec.boost {
                                bytes.extend_from_slice(&boost_bytes(run.task, run.run, row));
                            }
                            Key(bytes.into())
                        },
                    )
                };
                let prefix = Key::copy_from(prefix(&bucket[0]));
                run.buckets.push(BucketMeta {
                    prefix,
                    rows: bucket.len() as u64,
                    samples,
                });
            }
        }
        let run = run.finish()?;
        self.add_run(run);
        self.buffer.clear();
        Ok(())
    }
}

/// Takes the middle of every `step` neighbours, which gives ranks without bias; the last group may be smaller.
fn sample(bucket: &[Entry], first_row: u64, step: usize, key: impl Fn(&Entry, u32) -> Key) -> Vec<Sample> {
    let groups = bucket.chunks(step.max(1)).enumerate();
    groups
        .map(|(group, rows)| {
            let middle = rows.len() / 2;
            let row = first_row + (group * step + middle) as u64;
            Sample {
                key: key(&rows[middle], row as u32),
                weight: rows.len() as u64,
            }
        })
        .collect()
}

impl Buffer {
    fn order(&self, spec: &KeySpec) -> Result<Vec<Entry>, ExchangeError> {
        let mut order = entries(&self.batches);
        let ties = TieOrder::new(&spec.ties, &self.batches)?;
        sort(&mut order, &self.keys, &ties);
        Ok(order)
    }

    fn clear(&mut self) {
        self.batches.clear();
        self.keys.clear();
        self.rows = 0;
        self.bytes = 0;
        self.reservation.free();
    }
}

/// Gathers rows of many batches.
pub(crate) struct Gather<'a> {
    schema: &'a SchemaRef,
    batches: &'a [RecordBatch],
    columns: Vec<Vec<&'a dyn Array>>,
}

impl<'a> Gather<'a> {
    pub(crate) fn new(schema: &'a SchemaRef, batches: &'a [RecordBatch]) -> Self {
        let column = |index: usize| batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        Self {
            schema,
            batches,
            columns: (0..schema.fields().len()).map(column).collect(),
        }
    }

    fn batch(&self, entries: &[Entry]) -> Result<RecordBatch, ExchangeError> {
        // Rows that lie side by side already are a slice: nothing is copied for input that comes in order.
        let first = entries[0];
        let in_place = |(place, entry): (usize, &Entry)| {
            entry.batch == first.batch && entry.row as usize == first.row as usize + place
        };
        let source = &self.batches[first.batch as usize];
        if entries.len() * 2 > source.num_rows() && entries.iter().enumerate().all(in_place) {
            return Ok(source.slice(first.row as usize, entries.len()));
        }
        let indices: Vec<(usize, usize)> = entries
            .iter()
            .map(|entry| (entry.batch as usize, entry.row as usize))
            .collect();
        self.rows(&indices)
    }

    /// Gathers rows, each given by the place of its batch and its row there.
    pub(crate) fn rows(&self, indices: &[(usize, usize)]) -> Result<RecordBatch, ExchangeError> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for arrays in &self.columns {
            columns.push(interleave(arrays, indices)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(indices.len()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(self.schema),
            columns,
            &options,
        )?)
    }
}

/// Stages one run and keeps its index.
pub(crate) struct RunBuilder {
    sink: Box<dyn RunSink>,
    task: u32,
    run: u32,
    rows: u64,
    batches: Vec<BatchMeta>,
    buckets: Vec<BucketMeta>,
    last_key: Key,
}

impl RunBuilder {
    pub(crate) fn new(
        store: &dyn RunStore,
        name: &str,
        schema: &SchemaRef,
        task: u32,
        run: u32,
    ) -> Result<Self, ExchangeError> {
        let sink = store.create(name, schema)?;
        Ok(Self {
            sink,
            task,
            run,
            rows: 0,
            batches: Vec::new(),
            buckets: Vec::new(),
            last_key: Key::default(),
        })
    }

    pub(crate) fn append(&mut self, batch: &RecordBatch, first: Key, last: Key) -> Result<(), ExchangeError> {
        self.sink.append(batch)?;
        let extent = crate::BatchExtent {
            offset: 0,
            header_bytes: 0,
            body_bytes: 0,
            checksum: 0,
        };
        self.batches.push(BatchMeta {
            extent,
            first_row: self.rows as u32,
            rows: batch.num_rows() as u32,
            memory_bytes: batch_bytes(batch) as u64,
            first_key: first,
        });
        self.rows += batch.num_rows() as u64;
        self.last_key = last;
        Ok(())
    }

    fn bucketed_rows(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.rows).sum()
    }

    /// Samples the places of a run that has no order but the one in which its rows came, so that it can be cut by the boost.
    fn sample_places(&mut self, samples: usize) {
        let step = self.rows.div_ceil(samples.max(1) as u64).max(1);
        let sample = |first: u64| {
            let weight = step.min(self.rows - first);
            let row = (first + weight / 2) as u32;
            Sample {
                key: Key::copy_from(&boost_bytes(self.task, self.run, row)),
                weight,
            }
        };
        let samples = (0..self.rows).step_by(step as usize).map(sample).collect();
        self.buckets.push(BucketMeta {
            prefix: Key::default(),
            rows: self.rows,
            samples,
        });
    }

    pub(crate) fn finish(mut self) -> Result<RunMeta, ExchangeError> {
        let staged = self.sink.finish()?;
        if staged.extents.len() != self.batches.len() {
            return Err(ExchangeError::Corrupt {
                run: staged.location.name,
                message: format!(
                    "it has [{}] batches instead of [{}]",
                    staged.extents.len(),
                    self.batches.len()
                ),
            });
        }
        for (batch, extent) in self.batches.iter_mut().zip(staged.extents) {
            batch.extent = extent;
        }
        if self.buckets.is_empty() && self.rows > 0 {
            self.buckets.push(BucketMeta {
                prefix: Key::default(),
                rows: self.rows,
                samples: Vec::new(),
            });
        }
        Ok(RunMeta {
            location: staged.location,
            task: self.task,
            run: self.run,
            rows: self.rows,
            bytes: staged.bytes,
            batches: self.batches,
            buckets: self.buckets,
            last_key: self.last_key,
        })
    }
}

/// The rows of one task in key order.
pub enum SortedRows {
    /// Everything fitted: rows are gathered from the buffer.
    Buffered(BufferedRows),
    /// Merged from runs, which go with this value.
    Merged {
        /// The merge.
        reader: Box<RangeReader>,
        /// Bytes of runs that went to disk.
        spilled_bytes: u64,
        /// Removes the runs.
        _guard: RunGuard,
    },
}

/// Sorted rows in memory.
pub struct BufferedRows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    order: Vec<Entry>,
    at: usize,
    rows: usize,
    batch_rows: usize,
    _reservation: Reservation,
}

impl SortedRows {
    /// Gives the bytes that went to disk on the way.
    pub fn spilled_bytes(&self) -> u64 {
        match self {
            SortedRows::Buffered(_) => 0,
            SortedRows::Merged { spilled_bytes, .. } => *spilled_bytes,
        }
    }
}

impl Iterator for SortedRows {
    type Item = Result<RecordBatch, ExchangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            SortedRows::Buffered(rows) => rows.next(),
            SortedRows::Merged { reader, .. } => reader.next(),
        }
    }
}

impl Iterator for BufferedRows {
    type Item = Result<RecordBatch, ExchangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.rows.min(self.at + self.batch_rows);
        if self.at >= end {
            return None;
        }
        let batch = Gather::new(&self.schema, &self.batches).batch(&self.order[self.at..end]);
        self.at = end;
        Some(batch)
    }
}
