//! One execution of an aggregation over segments; see [`super::exec`] for the steps.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;

use super::codes::{Code, Coder, Domain, KeyColumn, View};
use super::dictionary::{MergedDictionary, NULL_ID, to_text};
use super::groups::{Accumulator, Groups, Slots, Values, valid_rows, values_of};
use super::plan::{Aggregation, Argument, Function, Key, Output};
use super::time::runs;
use crate::columns::Columns;
use crate::filter::{Filter, Selection};
use crate::handle::release;
use crate::scan::{SegmentScanExec, select};
use crate::source::SegmentSlice;
use crate::virtual_column::{MAX_COMBINATIONS, VirtualColumn, VirtualValues};

/// Rows at a time: columns of a batch stay in the first two levels of cache.
const CHUNK_ROWS: usize = 4096;
/// Rows that a thread takes at a time.
const PART_ROWS: usize = 131_072;
/// Below so many rows one thread is enough.
const MIN_PARALLEL_ROWS: usize = 32_768;
/// Largest table of a thread that is indexed by code.
const MAX_DENSE_BYTES: u64 = 64 << 20;
/// Tables up to this size are always indexed by code, however few rows there are.
const SMALL_DENSE_SLOTS: u64 = 1 << 16;
/// Tables up to this size get several lanes a group.
const MAX_LANE_GROUPS: u64 = 64;
const LANES: usize = 4;

/// One execution.
pub(super) struct Job {
    pub aggregation: Arc<Aggregation>,
    pub scan: SegmentScanExec,
    pub filter: Arc<Filter>,
    pub schema: SchemaRef,
    pub context: Arc<TaskContext>,
    pub dictionaries: Dictionaries,
    pub cancelled: AtomicBool,
}

/// What gives the values of text keys common ids.
pub(super) struct Dictionaries {
    /// By column of the table.
    pub columns: HashMap<usize, Arc<MergedDictionary>>,
    pub virtual_columns: Vec<(Arc<VirtualColumn>, Arc<MergedDictionary>)>,
}

impl Dictionaries {
    fn of(&self, key: &Key) -> Option<&Arc<MergedDictionary>> {
        match key {
            Key::Text { column } => self.columns.get(column),
            Key::Virtual { column } => {
                let mut found = self.virtual_columns.iter().filter(|(other, _)| other == column);
                found.next().map(|(_, dictionary)| dictionary)
            }
            Key::Long { .. } | Key::Time { .. } => None,
        }
    }
}

/// A slice after filtering.
struct Prepared {
    selection: Selection,
    /// Grouping keys, then counted ones.
    keys: Vec<KeyColumn>,
    /// Columns that arguments are made of, by place in the table.
    columns: Vec<(usize, ArrayRef)>,
    /// Of the virtual columns of the arguments.
    virtual_values: Vec<VirtualValues>,
}

/// How codes are made and where they point.
struct Layout {
    domains: Vec<Domain>,
    dictionaries: Vec<Option<Arc<MergedDictionary>>>,
    /// Of the grouping keys, lanes not counted.
    strides: Vec<u64>,
    /// Slots of a dense table, lanes counted.
    dense: Option<usize>,
    lanes: usize,
}

impl Job {
    /// Gives the result; none if the keys have too many values or the groups need more memory than there is.
    pub async fn run(self: &Arc<Self>) -> Result<Option<RecordBatch>> {
        let threads = self.context.session_config().target_partitions().max(1);
        let slices = Arc::new(self.slices(threads));
        let job = self.clone();
        let items = slices.clone();
        let prepared = parallel(threads.min(slices.len()), slices.len(), move |at| {
            job.prepare(&items[at])
        })
        .await?;
        let mut all = Vec::with_capacity(prepared.len());
        for slice in prepared {
            match slice {
                Preparation::Ready(prepared) => all.push(prepared),
                Preparation::Empty => {}
                Preparation::TooLarge => return Ok(None),
            }
        }
        let rows: usize = all.iter().map(|prepared| prepared.selection.len()).sum();
        let Some(layout) = self.layout(&all, rows) else {
            return Ok(None);
        };
        let threads = threads.min(rows.div_ceil(MIN_PARALLEL_ROWS)).max(1);
        let (prepared, layout) = (Arc::new(all), Arc::new(layout));
        let parts = Arc::new(parts(&prepared));
        let next = Arc::new(AtomicUsize::new(0));
        let job = self.clone();
        let (shared, shape) = (prepared.clone(), layout.clone());
        let tables = parallel(threads, threads, move |_| match shape.dense {
            Some(_) => job.accumulate::<u32>(&shared, &parts, &next, &shape),
            None => job.accumulate::<u64>(&shared, &parts, &next, &shape),
        })
        .await;
        let mut tables = match tables {
            // DataFusion's operators can spill.
            Err(error) if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)) => return Ok(None),
            tables => tables?.into_iter(),
        };
        let Some(mut groups) = tables.next() else {
            return Ok(None);
        };
        tables.for_each(|other| groups.merge(&other));
        groups.fold_lanes(layout.lanes);
        self.output(&groups, &layout).map(Some)
    }

    /// Gives what is worked on at once: with many segments whole ones, so that no dictionary is looked at twice.
    fn slices(&self, threads: usize) -> Vec<SegmentSlice> {
        let mut slices: Vec<SegmentSlice> = self.scan.slices().iter().flatten().cloned().collect();
        if slices.len() > 2 * threads {
            slices.dedup_by(|next, before| {
                let joined =
                    next.segment == before.segment && next.clip == before.clip && before.rows.end == next.rows.start;
                if joined {
                    before.rows.end = next.rows.end;
                }
                joined
            });
        }
        slices
    }

    fn prepare(&self, slice: &SegmentSlice) -> Result<Preparation> {
        let catalog = self.scan.catalog();
        let handle = catalog.handle(&slice.segment);
        let columns = Columns::whole(handle.clone(), self.scan.table_schema().clone())?;
        let rows = columns.data.rows();
        let range = (slice.rows.start as usize).min(rows)..(slice.rows.end as usize).min(rows);
        let selection = select(&self.filter, &columns, slice, range)?;
        if selection.len() == 0 {
            return Ok(Preparation::Empty);
        }
        let mut keys = Vec::new();
        for key in self.aggregation.all_keys() {
            match self.key_column(key, &columns, &selection, slice)? {
                Some(column) => keys.push(column),
                None => return Ok(Preparation::TooLarge),
            }
        }
        let virtual_columns = &self.aggregation.arguments.virtual_columns;
        let virtual_values = virtual_columns
            .iter()
            .map(|column| column.over(&columns, selection.len()))
            .collect::<Result<_>>()?;
        let columns = self
            .aggregation
            .argument_columns()
            .into_iter()
            .map(|column| Ok((column, columns.get(column)?)))
            .collect::<Result<_>>()?;
        Ok(Preparation::Ready(Prepared {
            selection,
            keys,
            columns,
            virtual_values,
        }))
    }

    fn key_column(
        &self,
        key: &Key,
        columns: &Columns,
        selection: &Selection,
        slice: &SegmentSlice,
    ) -> Result<Option<KeyColumn>> {
        Ok(match key {
            Key::Text { column } => {
                let ids = columns.get(*column)?;
                let values = ids.as_any_dictionary().values().as_string::<i32>();
                let Some(dictionary) = self.dictionaries.of(key) else {
                    return datafusion::common::internal_err!("column {column} has no dictionary");
                };
                let common = dictionary.merge(&slice.segment.id, values);
                common.map(|common| KeyColumn::Text { ids, common })
            }
            Key::Virtual { column } => {
                let Some(dictionary) = self.dictionaries.of(key) else {
                    return datafusion::common::internal_err!("[{}] has no dictionary", column.field().name());
                };
                number_virtual(column, columns, selection, dictionary)?
            }
            Key::Long { column, .. } => {
                let array = columns.get(*column)?;
                columns
                    .handle
                    .long_stats(columns.name(*column), &array)
                    .map(|stats| KeyColumn::Long { array, stats })
            }
            Key::Time { expr, schema, .. } => {
                let time = columns.time()?;
                let sorted = columns.handle.long_stats(henge_segment::TIME_COLUMN, &time);
                if !sorted.is_some_and(|stats| stats.sorted) {
                    return Ok(None);
                }
                let range = match selection {
                    Selection::Range(range) => range.clone(),
                    Selection::Rows(rows) => {
                        let (first, last) = (rows.first().copied(), rows.last().copied());
                        first.unwrap_or(0) as usize..last.unwrap_or(0) as usize + 1
                    }
                };
                Some(KeyColumn::Time {
                    runs: runs(expr, schema, &time, range)?,
                })
            }
        })
    }

    fn layout(&self, prepared: &[Prepared], rows: usize) -> Option<Layout> {
        let mut dictionaries = Vec::new();
        let mut domains = Vec::new();
        for (at, key) in self.aggregation.all_keys().enumerate() {
            let dictionary = self.dictionaries.of(key).cloned();
            let size = dictionary.as_ref().map_or(0, |dictionary| dictionary.len());
            domains.push(Domain::unite(prepared.iter().map(|slice| &slice.keys[at]), size)?);
            dictionaries.push(dictionary);
        }
        let mut strides = Vec::new();
        let mut product = 1u64;
        for domain in &domains[..self.aggregation.keys.len()] {
            strides.push(product);
            product = product.checked_mul(domain.size())?;
        }
        let distinct = |a: &super::plan::Accumulation| matches!(a.function, Function::Distinct(_));
        let counts_distinct = self.aggregation.accumulations.iter().any(distinct);
        let enough_rows = product <= SMALL_DENSE_SLOTS || product <= rows.saturating_mul(4) as u64;
        let slot_bytes = 8 * (1 + self.aggregation.accumulations.len() as u64);
        let fits = product.saturating_mul(slot_bytes) <= MAX_DENSE_BYTES;
        let is_dense = fits && (enough_rows || counts_distinct);
        if !is_dense && counts_distinct {
            return None;
        }
        let lanes = match product <= MAX_LANE_GROUPS && !counts_distinct {
            true => LANES,
            false => 1,
        };
        Some(Layout {
            domains,
            dictionaries,
            strides,
            dense: is_dense.then_some(product as usize * lanes),
            lanes: if is_dense { lanes } else { 1 },
        })
    }

    fn groups(&self, layout: &Layout) -> Groups {
        Groups::new(layout.dense, |slots| {
            let mut counted = self.aggregation.keys.len();
            self.aggregation
                .accumulations
                .iter()
                .map(|accumulation| {
                    let domain = match accumulation.function {
                        Function::Distinct(_) => {
                            counted += 1;
                            // Times have no null of their own: their codes are moved up by one.
                            layout.domains[counted - 1].size() + 1
                        }
                        _ => 0,
                    };
                    Accumulator::new(&accumulation.function, slots, domain)
                })
                .collect()
        })
    }

    /// Works on parts until there are none left.
    fn accumulate<C: Code>(
        &self,
        prepared: &[Prepared],
        parts: &[(usize, Range<usize>)],
        next: &AtomicUsize,
        layout: &Layout,
    ) -> Result<Groups>
    where
        Batch<C>: FindSlots,
    {
        let pool = self.context.memory_pool();
        let reservation = MemoryConsumer::new("SegmentAggregateExec").register(pool);
        let mut groups = self.groups(layout);
        reservation.try_resize(groups.bytes())?;
        let mut batch = Batch::<C>::default();
        let mut coders: Option<(usize, Coders<C>)> = None;
        while let Some((slice, part)) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let prepared = &prepared[*slice];
            if coders.as_ref().is_none_or(|(of, _)| of != slice) {
                coders = Some((*slice, self.coders(prepared, layout)));
            }
            if let Some((_, coders)) = &coders {
                self.accumulate_part(prepared, part.clone(), coders, layout, &mut batch, &mut groups)?;
            }
            reservation.try_resize(groups.bytes())?;
        }
        Ok(groups)
    }

    fn coders<C: Code>(&self, prepared: &Prepared, layout: &Layout) -> Coders<C> {
        let grouping = self.aggregation.keys.len();
        let keys = prepared.keys.iter().zip(&layout.domains);
        Coders {
            grouping: keys
                .clone()
                .zip(&layout.strides)
                .map(|((column, domain), stride)| Coder::new(column, domain, stride * layout.lanes as u64))
                .collect(),
            counted: keys
                .skip(grouping)
                .map(|(column, domain)| (Coder::new(column, domain, 1), matches!(column, KeyColumn::Time { .. })))
                .collect(),
        }
    }

    fn accumulate_part<C: Code>(
        &self,
        prepared: &Prepared,
        part: Range<usize>,
        coders: &Coders<C>,
        layout: &Layout,
        batch: &mut Batch<C>,
        groups: &mut Groups,
    ) -> Result<()>
    where
        Batch<C>: FindSlots,
    {
        let mut at = part.start;
        while at < part.end {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(DataFusionError::Execution("the query was cancelled".to_string()));
            }
            let mut rows = CHUNK_ROWS.min(part.end - at);
            let view = match &prepared.selection {
                Selection::Range(range) => {
                    let start = range.start + at;
                    // Where only time groups, a batch never crosses a bucket.
                    if let [coder] = &coders.grouping[..]
                        && let Some(end) = coder.run_end(start, range.len())
                    {
                        rows = rows.min(end - start);
                    }
                    View::Range(start, rows)
                }
                Selection::Rows(selected) => View::Rows(&selected[at..at + rows]),
            };
            at += rows;
            self.accumulate_chunk(prepared, view, coders, layout, batch, groups)?;
        }
        Ok(())
    }

    fn accumulate_chunk<C: Code>(
        &self,
        prepared: &Prepared,
        view: View<'_>,
        coders: &Coders<C>,
        layout: &Layout,
        batch: &mut Batch<C>,
        groups: &mut Groups,
    ) -> Result<()>
    where
        Batch<C>: FindSlots,
    {
        let rows = view.len();
        batch.code(view, &coders.grouping, layout.lanes)?;
        batch.find(groups);
        let slots = batch.slots();
        groups.count_rows(slots);
        let indices = match view {
            View::Range(..) => None,
            View::Rows(rows) => Some(UInt32Array::from(rows.to_vec())),
        };
        let cut = |held: &ArrayRef| -> Result<ArrayRef> {
            match &indices {
                Some(indices) => Ok(take(held, indices, None)?),
                None => view.cut(held),
            }
        };
        let column = |wanted: usize| -> Result<ArrayRef> {
            let held = prepared.columns.iter().find(|(column, _)| *column == wanted);
            let Some((_, held)) = held else {
                return datafusion::common::internal_err!("column {wanted} was not prepared");
            };
            cut(held)
        };
        let arguments = &self.aggregation.arguments;
        let base = arguments
            .base
            .iter()
            .zip(arguments.base_schema().fields())
            .map(|(at, field)| match arguments.virtual_column(*at) {
                Some(place) => prepared.virtual_values[place].of_rows(rows, cut),
                None => release(&column(*at)?, field),
            })
            .collect::<Result<Vec<_>>>()?;
        let computed = arguments.evaluate(base, rows)?;
        let argument = |argument: Option<Argument>| -> Result<Option<ArrayRef>> {
            Ok(match argument {
                None => None,
                Some(Argument::Column(at)) => Some(column(at)?),
                Some(Argument::Computed(at)) => Some(computed[at].clone()),
            })
        };
        let total = groups.rows.len();
        let mut counted = 0;
        for (accumulator, accumulation) in groups.accumulators.iter_mut().zip(&self.aggregation.accumulations) {
            if let Function::Distinct(_) = accumulation.function {
                let (coder, is_time) = &coders.counted[counted];
                counted += 1;
                let mut codes = vec![u64::from(*is_time); rows];
                coder.add(view, &mut codes)?;
                accumulator.update(slots, &Values::Codes(codes), None, total)?;
                continue;
            }
            let values = argument(accumulation.argument)?;
            let filter = argument(accumulation.filter)?;
            let filter = filter.as_ref().map(|filter| filter.as_boolean());
            let valid = valid_rows(values.as_ref(), filter);
            let values = values_of(&accumulation.function, values)?;
            accumulator.update(slots, &values, valid.as_ref(), total)?;
        }
        Ok(())
    }

    fn output(&self, groups: &Groups, layout: &Layout) -> Result<RecordBatch> {
        let keys = self.aggregation.keys.len();
        let slots: Vec<usize> = match keys {
            // Without keys there is a result even of no rows.
            0 => vec![0],
            _ => (0..groups.rows.len()).filter(|slot| groups.rows[*slot] > 0).collect(),
        };
        let codes: Vec<u64> = match groups.codes() {
            Some(codes) => slots.iter().map(|slot| codes[*slot]).collect(),
            None => slots.iter().map(|slot| *slot as u64).collect(),
        };
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (at, domain) in layout.domains[..keys].iter().enumerate() {
            let (stride, size) = (layout.strides[at], domain.size().max(1));
            let dictionary = layout.dictionaries[at].as_ref().map(|dictionary| dictionary.values());
            let codes = codes.iter().map(|code| code / stride % size);
            columns.push(domain.decode(codes, dictionary.as_deref(), self.schema.field(at).data_type())?);
        }
        for (output, field) in self.aggregation.outputs.iter().zip(&self.schema.fields()[keys..]) {
            columns.push(self.value(*output, groups, &slots, field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(slots.len()));
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &options,
        )?)
    }

    fn value(&self, output: Output, groups: &Groups, slots: &[usize], data_type: &DataType) -> Result<ArrayRef> {
        let (Output::Value(place) | Output::Average(place)) = output;
        let accumulator = &groups.accumulators[place];
        let count = |slot: usize| accumulator.count(slot, groups.rows[slot]);
        let column: ArrayRef = match &self.aggregation.accumulations[place].function {
            Function::Count => Arc::new(Int64Array::from_iter_values(
                slots.iter().map(|slot| count(*slot) as i64),
            )),
            Function::Distinct(_) => {
                let counts = accumulator.distinct(groups.rows.len());
                Arc::new(Int64Array::from_iter_values(slots.iter().map(|slot| counts[*slot])))
            }
            _ => match (accumulator.longs(), accumulator.doubles()) {
                (Some(values), _) => Arc::new(
                    slots
                        .iter()
                        .map(|slot| (count(*slot) > 0).then(|| values[*slot]))
                        .collect::<Int64Array>(),
                ),
                (None, values) => {
                    let values = values.unwrap_or_default();
                    let value = |slot: usize| match (output, count(slot)) {
                        (_, 0) => None,
                        (Output::Average(_), count) => Some(values[slot] / count as f64),
                        (Output::Value(_), _) => Some(values[slot]),
                    };
                    Arc::new(slots.iter().map(|slot| value(*slot)).collect::<Float64Array>())
                }
            },
        };
        if column.data_type() == data_type {
            return Ok(column);
        }
        Ok(cast(&column, data_type)?)
    }
}

/// What became of a slice.
enum Preparation {
    Ready(Prepared),
    Empty,
    TooLarge,
}

struct Coders<C> {
    grouping: Vec<Coder<C>>,
    /// With whether codes have to be moved up to make room for null.
    counted: Vec<(Coder<u64>, bool)>,
}

/// Buffers of a thread.
#[derive(Debug)]
struct Batch<C> {
    codes: Vec<C>,
    slots: Vec<u32>,
    /// All rows belong to this slot.
    one: Option<usize>,
    rows: usize,
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        Self {
            codes: Vec::new(),
            slots: Vec::new(),
            one: None,
            rows: 0,
        }
    }
}

impl<C: Code> Batch<C> {
    /// Codes the grouping keys of a batch.
    fn code(&mut self, view: View<'_>, coders: &[Coder<C>], lanes: usize) -> Result<()> {
        self.rows = view.len();
        self.codes.clear();
        let shared: Option<C> = coders.iter().try_fold(C::default(), |mut sum, coder| {
            sum += coder.shared(view)?;
            Some(sum)
        });
        self.one = None;
        if let Some(code) = shared {
            // One code for all: looked up once, if at all.
            self.codes.push(code);
            self.one = Some(0);
            return Ok(());
        }
        match lanes {
            1 => self.codes.resize(self.rows, C::default()),
            lanes => self
                .codes
                .extend((0..self.rows).map(|row| C::from_code((row % lanes) as u64))),
        }
        coders.iter().try_for_each(|coder| coder.add(view, &mut self.codes))
    }
}

/// Turns codes into slots: of a dense table they are the same, in a sparse one they are looked up.
trait FindSlots {
    fn find(&mut self, groups: &mut Groups);
    fn slots(&self) -> Slots<'_>;
}

impl FindSlots for Batch<u32> {
    fn find(&mut self, _: &mut Groups) {
        if self.one.is_some() {
            self.one = self.codes.first().map(|code| *code as usize);
        }
    }

    fn slots(&self) -> Slots<'_> {
        match self.one {
            Some(slot) => Slots::One(slot, self.rows),
            None => Slots::Each(&self.codes),
        }
    }
}

impl FindSlots for Batch<u64> {
    fn find(&mut self, groups: &mut Groups) {
        groups.find(&self.codes, &mut self.slots);
        if self.one.is_some() {
            self.one = self.slots.first().map(|slot| *slot as usize);
        }
    }

    fn slots(&self) -> Slots<'_> {
        match self.one {
            Some(slot) => Slots::One(slot, self.rows),
            None => Slots::Each(&self.slots),
        }
    }
}

/// Gives the values that a virtual column has in the selected rows common ids; none if they are too many.
fn number_virtual(
    column: &Arc<VirtualColumn>,
    columns: &Columns,
    selection: &Selection,
    dictionary: &MergedDictionary,
) -> Result<Option<KeyColumn>> {
    let Some(ids) = column.combinations(columns)? else {
        return Ok(None);
    };
    let most = MAX_COMBINATIONS.max(columns.data.rows() + 1);
    let Some(count) = ids.count().filter(|count| *count <= most) else {
        return Ok(None);
    };
    let number = |wanted: &[u32]| -> Result<Option<Vec<u32>>> {
        let mut common = vec![NULL_ID; count];
        let complete = column.for_each_batch(&ids, wanted, |batch, values| {
            let Some(numbers) = dictionary.number(&to_text(&values)?) else {
                return Ok(false);
            };
            for (combination, number) in batch.iter().zip(numbers) {
                common[*combination as usize] = number;
            }
            Ok(true)
        })?;
        Ok(complete.then_some(common))
    };
    if count <= selection.len() {
        // What fails for a value fails below too, if a selected row has it.
        match number(&Vec::from_iter(0..count as u32)) {
            Ok(Some(common)) => {
                let common = common.into();
                return Ok(Some(KeyColumn::Virtual { ids, common }));
            }
            Ok(None) => return Ok(None),
            Err(error) => tracing::debug!(%error, "a value that perhaps no row has"),
        }
    }
    let rows = match selection {
        Selection::Range(range) => ids.codes(|ids| Ok(ids.slice(range.start, range.len())))?,
        Selection::Rows(rows) => {
            let rows = UInt32Array::from(rows.to_vec());
            ids.codes(|ids| Ok(take(ids, &rows, None)?))?
        }
    };
    let mut used = vec![false; count];
    rows.iter().for_each(|combination| used[*combination as usize] = true);
    let used: Vec<u32> = (0..count as u32)
        .filter(|combination| used[*combination as usize])
        .collect();
    let common = number(&used)?;
    Ok(common.map(|common| KeyColumn::Virtual {
        ids,
        common: common.into(),
    }))
}

/// Cuts the selected rows of all slices into parts.
fn parts(prepared: &[Prepared]) -> Vec<(usize, Range<usize>)> {
    prepared
        .iter()
        .enumerate()
        .flat_map(|(at, slice)| {
            let rows = slice.selection.len();
            let count = rows.div_ceil(PART_ROWS).max(1);
            (0..count).map(move |part| (at, rows * part / count..rows * (part + 1) / count))
        })
        .collect()
}

/// Does work items on blocking threads and gives the results in their order; the first error ends it.
async fn parallel<T: Send + 'static>(
    threads: usize,
    items: usize,
    work: impl Fn(usize) -> Result<T> + Send + Sync + 'static,
) -> Result<Vec<T>> {
    let work = Arc::new(work);
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..threads)
        .map(|_| {
            let (work, next) = (work.clone(), next.clone());
            SpawnedTask::spawn_blocking(move || {
                let mut done = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= items {
                        return Ok(done);
                    }
                    match work(at) {
                        Ok(result) => done.push((at, result)),
                        Err(error) => {
                            next.store(items, Ordering::Relaxed);
                            return Err(error);
                        }
                    }
                }
            })
        })
        .collect();
    let mut all = Vec::with_capacity(items);
    for task in tasks {
        let done: Result<Vec<(usize, T)>> = task
            .join()
            .await
            .map_err(|error| DataFusionError::Execution(format!("an aggregation thread failed: {error}")))?;
        all.extend(done?);
    }
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}
