//! The slices of one range out of many runs.
//!
//! 1. Each run's index of first keys says which batches can hold keys of the range; only those are read.
//! 2. The first and the last of them are trimmed to the rows inside, by binary search over their keys.
//! 3. `unordered` hands the slices out run by run. `merged` keeps one batch of each run in memory and takes rows in key order
//!    from a loser tree; rows of equal keys come by the tie columns, then in the order of tasks and runs.
//! 4. Where there are more runs than the fan-in limit or the budget allows, neighbouring slices are merged into runs of their
//!    own first, level by level.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::row::Rows;

use crate::batch::rows_per_batch;
use crate::key::{KeyEncoder, boost_bytes};
use crate::merge::LoserTree;
use crate::order::TieOrder;
use crate::writer::{Gather, RunBuilder};
use crate::{
    BatchMeta, ExchangeError, Key, KeyRange, KeySpec, MemoryBudget, Reservation, RunGuard, RunMeta, RunSet, RunSource,
    RunStore, limits, staged_schema,
};

/// How a range is read.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// Start of the names of intermediate runs, unique to the attempt.
    pub name: String,
    /// Rows of a merged batch at most.
    pub batch_rows: usize,
    /// Bytes that a merged batch should have.
    pub batch_bytes: usize,
    /// Runs merged at once at most.
    pub fan_in: usize,
}

impl ReadOptions {
    /// Takes the defaults of [`limits`].
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            batch_rows: limits::BATCH_ROWS_MAX,
            batch_bytes: limits::BATCH_BYTES_TARGET,
            fan_in: limits::FAN_IN_MAX,
        }
    }
}

/// Yields the rows of one range as batches. Blocks; belongs on the compute pool.
pub struct RangeReader {
    schema: SchemaRef,
    mode: Mode,
    /// Removes intermediate runs.
    _guard: Option<RunGuard>,
}

enum Mode {
    Unordered(Box<Concatenation>),
    Merged(Box<Merge>),
}

/// Slices in turn.
struct Concatenation {
    encoder: KeyEncoder,
    slices: std::vec::IntoIter<Slice>,
    current: Option<Slice>,
}

/// The part of a run that a range covers.
struct Slice {
    source: Arc<dyn RunSource>,
    batches: std::vec::IntoIter<BatchMeta>,
    start: Option<Key>,
    end: Option<Key>,
    task: u32,
    run: u32,
    /// Largest batch of the slice.
    batch_bytes: usize,
    rows: u64,
    bytes: u64,
}

/// Rows of a batch that lie inside the range.
struct Piece {
    batch: RecordBatch,
    keys: Option<Rows>,
    from: usize,
    to: usize,
}

impl RangeReader {
    /// Reads the range without order: each run's slice in turn.
    pub fn unordered(
        schema: &SchemaRef,
        spec: &KeySpec,
        sets: &[&RunSet],
        range: &KeyRange,
        store: &dyn RunStore,
    ) -> Result<Self, ExchangeError> {
        let schema = staged_schema(schema);
        let encoder = KeyEncoder::new(spec, &schema)?;
        let slices = open_slices(&schema, sets, range, store)?.into_iter();
        Ok(Self {
            schema,
            mode: Mode::Unordered(Box::new(Concatenation {
                encoder,
                slices,
                current: None,
            })),
            _guard: None,
        })
    }

    /// Reads the range in key order.
    pub fn merged(
        schema: &SchemaRef,
        spec: &KeySpec,
        sets: &[&RunSet],
        range: &KeyRange,
        store: Arc<dyn RunStore>,
        budget: Arc<dyn MemoryBudget>,
        options: ReadOptions,
    ) -> Result<Self, ExchangeError> {
        if !spec.has_key() {
            return Self::unordered(schema, spec, sets, range, store.as_ref());
        }
        let schema = staged_schema(schema);
        let mut slices = open_slices(&schema, sets, range, store.as_ref())?;
        let mut guard = RunGuard::new(Arc::clone(&store));
        let mut level = 0;
        loop {
            let mut reservation = Reservation::new(Arc::clone(&budget));
            let fan_in = affordable(&slices, &mut reservation, options.fan_in.max(limits::FAN_IN_MIN));
            if slices.len() <= fan_in {
                let merge = Merge::new(&schema, spec, slices, reservation, &options)?;
                return Ok(Self {
                    schema,
                    mode: Mode::Merged(Box::new(merge)),
                    _guard: Some(guard),
                });
            }
            drop(reservation);
            let mut merged = Vec::new();
            let mut rest = slices.into_iter().peekable();
            while rest.peek().is_some() {
                let group: Vec<Slice> = rest.by_ref().take(fan_in).collect();
                if group.len() == 1 {
                    merged.extend(group);
                    continue;
                }
                let name = format!("{}/merge-{level}-{}", options.name, merged.len());
                let run = merge_to_run(&schema, spec, group, store.as_ref(), &budget, &options, &name)?;
                guard.add(run.location.clone());
                let slice = Slice::open(&schema, &run, &KeyRange::everything(run.rows), store.as_ref())?;
                merged.extend(slice);
            }
            slices = merged;
            level += 1;
        }
    }

    /// Gives the schema of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for RangeReader {
    type Item = Result<RecordBatch, ExchangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.mode {
            Mode::Unordered(slices) => slices.next_batch().transpose(),
            Mode::Merged(merge) => merge
                .next_batch()
                .transpose()
                .map(|batch| batch.map(|(batch, _, _)| batch)),
        }
    }
}

impl Concatenation {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ExchangeError> {
        loop {
            if self.current.is_none() {
                self.current = self.slices.next();
            }
            let Some(slice) = &mut self.current else {
                return Ok(None);
            };
            match slice.next_piece(&self.encoder, false)? {
                Some(piece) => return Ok(Some(piece.batch.slice(piece.from, piece.to - piece.from))),
                None => self.current = None,
            }
        }
    }
}

/// Opens the slices of a range, in the order of tasks and runs.
fn open_slices(
    schema: &SchemaRef,
    sets: &[&RunSet],
    range: &KeyRange,
    store: &dyn RunStore,
) -> Result<Vec<Slice>, ExchangeError> {
    let mut runs: Vec<&RunMeta> = sets.iter().flat_map(|set| &set.runs).collect();
    runs.sort_by_key(|run| (run.task, run.run));
    let slices = runs.into_iter().map(|run| Slice::open(schema, run, range, store));
    slices.filter_map(Result::transpose).collect()
}

/// Takes memory for as many neighbouring slices as the budget allows, at least two, and gives how many.
fn affordable(slices: &[Slice], reservation: &mut Reservation, fan_in: usize) -> usize {
    for (place, slice) in slices.iter().enumerate().take(fan_in) {
        // The batch at hand with its keys, and the one before while its rows wait to be gathered.
        let needed = slice.batch_bytes * 2;
        if place < limits::FAN_IN_MIN {
            reservation.grow(needed);
        } else if !reservation.try_grow(needed) {
            return place;
        }
    }
    fan_in
}

fn merge_to_run(
    schema: &SchemaRef,
    spec: &KeySpec,
    slices: Vec<Slice>,
    store: &dyn RunStore,
    budget: &Arc<dyn MemoryBudget>,
    options: &ReadOptions,
    name: &str,
) -> Result<RunMeta, ExchangeError> {
    // The order of the first slice stands for all: equal keys of neighbours stay in the order of tasks and runs.
    let (task, run) = slices.first().map_or((0, 0), |slice| (slice.task, slice.run));
    let mut reservation = Reservation::new(Arc::clone(budget));
    affordable(&slices, &mut reservation, slices.len());
    let mut merge = Merge::new(schema, spec, slices, reservation, options)?;
    let mut builder = RunBuilder::new(store, name, schema, task, run)?;
    while let Some((batch, first, last)) = merge.next_batch()? {
        builder.append(&batch, first, last)?;
    }
    builder.finish()
}

impl Slice {
    /// Finds the batches of a run that can hold keys of the range; none where there are none.
    fn open(
        schema: &SchemaRef,
        run: &RunMeta,
        range: &KeyRange,
        store: &dyn RunStore,
    ) -> Result<Option<Slice>, ExchangeError> {
        let first_row = |batch: &BatchMeta, boundary: &Key| {
            compare(&batch.first_key, (run.task, run.run, batch.first_row), boundary)
        };
        let last_row = |boundary: &Key| {
            let row = run.rows.saturating_sub(1) as u32;
            compare(&run.last_key, (run.task, run.run, row), boundary)
        };
        // The batch before the first one that starts at or behind the start may end with keys of the range.
        let from = range.start.as_ref().map_or(0, |start| {
            run.batches
                .partition_point(|batch| first_row(batch, start).is_lt())
                .saturating_sub(1)
        });
        let to = range.end.as_ref().map_or(run.batches.len(), |end| {
            run.batches.partition_point(|batch| first_row(batch, end).is_lt())
        });
        if from >= to || range.start.as_ref().is_some_and(|start| last_row(start).is_lt()) {
            return Ok(None);
        }
        let batches = run.batches[from..to].to_vec();
        Ok(Some(Slice {
            source: store.open(&run.location, schema)?,
            // Only the border batches need trimming, and only where the range does not take all of them.
            start: range
                .start
                .clone()
                .filter(|start| first_row(&batches[0], start).is_lt()),
            end: range
                .end
                .clone()
                .filter(|end| to < run.batches.len() || last_row(end).is_ge()),
            task: run.task,
            run: run.run,
            batch_bytes: batches
                .iter()
                .map(|batch| batch.memory_bytes as usize)
                .max()
                .unwrap_or(0),
            rows: batches.iter().map(|batch| u64::from(batch.rows)).sum(),
            bytes: batches.iter().map(|batch| batch.memory_bytes).sum(),
            batches: batches.into_iter(),
        }))
    }

    /// Reads the next batch that has rows inside the range.
    fn next_piece(&mut self, encoder: &KeyEncoder, with_keys: bool) -> Result<Option<Piece>, ExchangeError> {
        while let Some(meta) = self.batches.next() {
            let batch = self.source.read(&meta.extent)?;
            if batch.num_rows() != meta.rows as usize {
                return Err(ExchangeError::Corrupt {
                    run: format!("{}.{}", self.task, self.run),
                    message: format!("a batch has [{}] rows instead of [{}]", batch.num_rows(), meta.rows),
                });
            }
            let start = self.start.take();
            let end = if self.batches.as_slice().is_empty() {
                self.end.take()
            } else {
                None
            };
            let keys = if with_keys || start.is_some() || end.is_some() {
                encoder.encode(&batch)?
            } else {
                None
            };
            let mut piece = Piece {
                from: 0,
                to: batch.num_rows(),
                keys,
                batch,
            };
            let is_before = |row: usize, boundary: &Key| {
                // Without key columns the place is all there is.
                let columns = piece.keys.as_ref().map_or(&[][..], |keys| keys.row(row).data());
                let place = (self.task, self.run, meta.first_row + row as u32);
                compare(columns, place, boundary).is_lt()
            };
            if let Some(start) = &start {
                piece.from = partition_point(0, piece.to, |row| is_before(row, start));
            }
            if let Some(end) = &end {
                piece.to = partition_point(piece.from, piece.to, |row| is_before(row, end));
            }
            if piece.from < piece.to {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

/// Compares a row, given by the columns of its key and its place (task, run, row), with a boundary. The boost counts only where
/// the boundary has one: a boundary that ends with the columns, or is a bucket, comes before all rows that start with it.
fn compare(columns: &[u8], (task, run, row): (u32, u32, u32), boundary: &[u8]) -> Ordering {
    let shared = columns.len().min(boundary.len());
    let boost = boost_bytes(task, run, row);
    columns
        .cmp(&boundary[..shared])
        .then_with(|| boost[..].cmp(&boundary[shared..]))
}

/// Gives the first row of `from..to` for which `before` is false.
fn partition_point(from: usize, to: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Merges slices; holds one piece of each.
struct Merge {
    schema: SchemaRef,
    spec: KeySpec,
    encoder: KeyEncoder,
    slices: Vec<Slice>,
    heads: Vec<Head>,
    tree: Option<LoserTree>,
    /// Batches that the rows of the batch in making come from; each head has the place of its batch here.
    sources: Vec<RecordBatch>,
    ties: TieOrder,
    batch_rows: usize,
    _reservation: Reservation,
}

/// Where a slice is.
struct Head {
    keys: Option<Rows>,
    source: usize,
    at: usize,
    to: usize,
}

impl Head {
    fn key(&self) -> Option<&[u8]> {
        self.keys
            .as_ref()
            .filter(|_| self.at < self.to)
            .map(|keys| keys.row(self.at).data())
    }
}

impl Merge {
    fn new(
        schema: &SchemaRef,
        spec: &KeySpec,
        slices: Vec<Slice>,
        reservation: Reservation,
        options: &ReadOptions,
    ) -> Result<Self, ExchangeError> {
        let encoder = KeyEncoder::new(spec, schema)?;
        let rows: u64 = slices.iter().map(|slice| slice.rows).sum();
        let bytes: u64 = slices.iter().map(|slice| slice.bytes).sum();
        let heads = slices
            .iter()
            .map(|_| Head {
                keys: None,
                source: 0,
                at: 0,
                to: 0,
            })
            .collect();
        let mut merge = Self {
            batch_rows: rows_per_batch(rows as usize, bytes as usize, options.batch_rows, options.batch_bytes),
            ties: TieOrder::new(&spec.ties, &[])?,
            schema: Arc::clone(schema),
            spec: spec.clone(),
            encoder,
            slices,
            heads,
            tree: None,
            sources: Vec::new(),
            _reservation: reservation,
        };
        for input in 0..merge.slices.len() {
            merge.advance(input)?;
        }
        let inputs = merge.slices.len();
        if inputs > 0 {
            merge.tree = Some(LoserTree::new(inputs, |a, b| less(&merge.heads, &merge.ties, a, b)));
        }
        Ok(merge)
    }

    /// Loads the next piece of an input.
    fn advance(&mut self, input: usize) -> Result<(), ExchangeError> {
        let head = &mut self.heads[input];
        match self.slices[input].next_piece(&self.encoder, true)? {
            Some(piece) => {
                let source = self.sources.len();
                if !self.ties.is_empty() {
                    self.ties.push(&self.spec.ties, &piece.batch)?;
                }
                self.sources.push(piece.batch);
                *head = Head {
                    keys: piece.keys,
                    source,
                    at: piece.from,
                    to: piece.to,
                };
            }
            None => {
                *head = Head {
                    keys: None,
                    source: 0,
                    at: 0,
                    to: 0,
                }
            }
        }
        Ok(())
    }

    /// Gives the next batch with its first and last key.
    fn next_batch(&mut self) -> Result<Option<(RecordBatch, Key, Key)>, ExchangeError> {
        let Some(mut tree) = self.tree.take() else {
            return Ok(None);
        };
        self.drop_finished_sources();
        let mut indices: Vec<(usize, usize)> = Vec::with_capacity(self.batch_rows);
        let (mut first, mut last) = (Key::default(), Key::default());
        let mut open = true;
        while indices.len() < self.batch_rows {
            let winner = tree.winner();
            let head = &mut self.heads[winner];
            let Some(key) = head.key() else {
                open = false;
                break;
            };
            if indices.is_empty() {
                first = Key::copy_from(key);
            }
            if indices.len() + 1 == self.batch_rows {
                last = Key::copy_from(key);
            }
            indices.push((head.source, head.at));
            head.at += 1;
            if head.at == head.to {
                if indices.len() < self.batch_rows {
                    last = head
                        .keys
                        .as_ref()
                        .map_or_else(Key::default, |keys| Key::copy_from(keys.row(head.to - 1).data()));
                }
                self.advance(winner)?;
            }
            tree.replay(|a, b| less(&self.heads, &self.ties, a, b));
        }
        if indices.is_empty() {
            return Ok(None);
        }
        let batch = Gather::new(&self.schema, &self.sources).rows(&indices)?;
        if open {
            self.tree = Some(tree);
        }
        Ok(Some((batch, first, last)))
    }

    /// Keeps only the batches that heads still stand in.
    fn drop_finished_sources(&mut self) {
        let sources = std::mem::take(&mut self.sources);
        let mut kept = Vec::with_capacity(self.heads.len());
        for head in self.heads.iter_mut().filter(|head| head.at < head.to) {
            kept.push(head.source);
            self.sources.push(sources[head.source].clone());
            head.source = kept.len() - 1;
        }
        self.ties.keep(&kept);
    }
}

/// Tells whether the head of input `a` comes first. Exhausted inputs come last; equal rows come in the order of inputs.
fn less(heads: &[Head], ties: &TieOrder, a: usize, b: usize) -> bool {
    let (head_a, head_b) = (&heads[a], &heads[b]);
    match (head_a.key(), head_b.key()) {
        (Some(key_a), Some(key_b)) => {
            let order = key_a
                .cmp(key_b)
                .then_with(|| ties.compare_rows((head_a.source, head_a.at), (head_b.source, head_b.at)));
            order.then(a.cmp(&b)).is_lt()
        }
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (None, None) => a < b,
    }
}
