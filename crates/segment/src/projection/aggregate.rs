//! Combining the rows of a table into the rows of a projection.
//!
//! 1. The grouping columns of a batch are computed: columns as they are stored, times floored.
//! 2. Each row's key, as bytes, finds its group or makes a new one.
//! 3. Every aggregator adds the rows to their groups.
//! 4. At the end the keys become columns again and are sorted as Druid sorts rows: null first, strings by UTF-16, lists by element.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, ListBuilder, StringBuilder, new_null_array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

use super::aggregators::State;
use super::plan::{Key, Plan, Source, TimeFloor};
use crate::codec::dictionary::java_order;
use crate::schema::list_of;
use crate::{ColumnType, MultiValueHandling, SegmentError, TIME_COLUMN, ValueType};

/// Combines rows as they arrive.
#[derive(Debug)]
pub(crate) struct Aggregation {
    plan: Plan,
    converter: Option<RowConverter>,
    groups: HashMap<Box<[u8]>, u32>,
    key_bytes: usize,
    states: Vec<State>,
}

/// The rows of a projection in their order.
#[derive(Debug)]
pub(crate) struct Aggregated {
    pub plan: Plan,
    pub rows: usize,
    /// In the order of the plan's keys.
    pub keys: Vec<ArrayRef>,
    /// In the order of [`Plan::aggregated`], with the sum of what was added, without signs.
    pub values: Vec<(ArrayRef, Vec<f64>)>,
}

fn failed(e: impl std::fmt::Display) -> SegmentError {
    SegmentError::invalid(format!("the rows of a projection cannot be combined: {e}"))
}

impl Aggregation {
    pub fn new(plan: Plan) -> Result<Self, SegmentError> {
        let fields: Vec<SortField> = plan.keys.iter().map(|key| SortField::new(key_type(key))).collect();
        Ok(Self {
            converter: match fields.is_empty() {
                true => None,
                false => Some(RowConverter::new(fields).map_err(failed)?),
            },
            groups: HashMap::new(),
            key_bytes: 0,
            states: plan
                .aggregators
                .iter()
                .map(super::aggregators::Aggregator::state)
                .collect(),
            plan,
        })
    }

    /// Tells how much memory is held.
    pub fn memory_bytes(&self) -> usize {
        let objects = self.plan.objects.iter().map(|(_, object)| object.memory_bytes());
        let states = self.states.iter().map(State::memory_bytes).sum::<usize>() + objects.sum::<usize>();
        self.groups.capacity() * (size_of::<(Box<[u8]>, u32)>() + 1) + self.key_bytes + states
    }

    /// Takes rows of the table, whose `__time` is in milliseconds; a column that the batch lacks is null.
    pub fn append(&mut self, batch: &RecordBatch, times: &Int64Array) -> Result<(), SegmentError> {
        let time: ArrayRef = Arc::new(times.clone());
        let plain = |name: &str| -> Result<ArrayRef, SegmentError> {
            match batch.column_by_name(name) {
                _ if name == TIME_COLUMN => Ok(Arc::clone(&time)),
                Some(array) => plain_values(array),
                None => Ok(new_null_array(&DataType::Utf8, batch.num_rows())),
            }
        };
        let mut inputs: HashMap<String, ArrayRef> = HashMap::new();
        let mut needed: Vec<&str> = Vec::new();
        let filters = self.plan.aggregators.iter().filter_map(|a| a.filter.as_ref());
        filters
            .chain(&self.plan.filter)
            .for_each(|filter| filter.columns(&mut needed));
        needed.extend(self.plan.aggregators.iter().filter_map(|a| a.field.as_deref()));
        needed.extend(self.plan.objects.iter().map(|(_, object)| object.field()));
        for name in needed {
            if !inputs.contains_key(name) {
                inputs.insert(name.to_owned(), plain(name)?);
            }
        }
        let array_of = |name: &str| inputs.get(name);
        let rows: Vec<usize> = match &self.plan.filter {
            None => (0..batch.num_rows()).collect(),
            Some(filter) => (0..batch.num_rows())
                .filter(|row| filter.matches(&array_of, *row) == Some(true))
                .collect(),
        };
        let keys = self
            .plan
            .keys
            .iter()
            .map(|key| key_values(key, batch, times))
            .collect::<Result<Vec<_>, _>>()?;
        let encoded = match &self.converter {
            Some(converter) => Some(converter.convert_columns(&keys).map_err(failed)?),
            None => None,
        };
        let mut groups = Vec::with_capacity(rows.len());
        for row in rows {
            let key = encoded.as_ref().map_or(&[][..], |rows| rows.row(row).data());
            // An entry of its own only for a new group.
            let group = match self.groups.get(key) {
                Some(group) => *group,
                None => {
                    let next = u32::try_from(self.groups.len()).map_err(failed)?;
                    self.key_bytes += key.len();
                    match self.groups.entry(key.into()) {
                        Entry::Occupied(found) => *found.get(),
                        Entry::Vacant(vacant) => *vacant.insert(next),
                    }
                }
            };
            groups.push((row, group));
        }
        for (aggregator, state) in self.plan.aggregators.iter().zip(&mut self.states) {
            state.grow(self.groups.len());
            let taken: Option<Vec<bool>> = aggregator.filter.as_ref().map(|filter| {
                let rows = 0..batch.num_rows();
                rows.map(|row| filter.matches(&array_of, row) == Some(true)).collect()
            });
            let input = aggregator.field.as_deref().and_then(array_of);
            state.add(&groups, input, taken.as_deref());
        }
        for (_, object) in &mut self.plan.objects {
            let Some(input) = inputs.get(object.field()) else {
                continue;
            };
            for (row, group) in groups.iter().filter(|(row, _)| input.is_valid(*row)) {
                object.add(*group, input, *row)?;
            }
        }
        Ok(())
    }

    /// Gives the rows of the projection, sorted.
    pub fn finish(self) -> Result<Aggregated, SegmentError> {
        let mut bytes: Vec<(Box<[u8]>, u32)> = self.groups.into_iter().collect();
        bytes.sort_unstable_by_key(|(_, group)| *group);
        let keys = match &self.converter {
            None => Vec::new(),
            Some(converter) => {
                let parser = converter.parser();
                let rows = bytes.iter().map(|(key, _)| parser.parse(key));
                converter.convert_rows(rows).map_err(failed)?
            }
        };
        let mut order: Vec<u32> = (0..bytes.len() as u32).collect();
        order.sort_by(|a, b| {
            let mut columns = keys.iter();
            columns
                .find_map(|column| Some(compare(column, *a as usize, *b as usize)).filter(|order| order.is_ne()))
                .unwrap_or(Ordering::Equal)
        });
        let indices = arrow::array::UInt32Array::from(order.clone());
        let keys = keys
            .iter()
            .map(|column| take(column, &indices, None).map_err(failed))
            .collect::<Result<_, _>>()?;
        let mut states = self.states;
        let mut values: Vec<(ArrayRef, Vec<f64>)> = states
            .iter_mut()
            .map(|state| {
                state.grow(order.len());
                state.finish(&order)
            })
            .collect();
        for (_, object) in &self.plan.objects {
            let images: Vec<Vec<u8>> = order.iter().map(|group| object.image(*group)).collect();
            let array: ArrayRef = Arc::new(BinaryArray::from_iter_values(images));
            values.push((array, vec![0.0; order.len()]));
        }
        Ok(Aggregated {
            plan: self.plan,
            rows: order.len(),
            keys,
            values,
        })
    }
}

/// The Arrow type of a grouping column while rows are combined: strings without a dictionary.
fn key_type(key: &Key) -> DataType {
    match &key.column_type {
        ColumnType::Scalar(value) => value.arrow(),
        ColumnType::MultiString => list_of(DataType::Utf8),
        other => other.arrow(),
    }
}

/// Gives strings without a dictionary, times as milliseconds.
fn plain_values(array: &ArrayRef) -> Result<ArrayRef, SegmentError> {
    let wanted = match array.data_type() {
        DataType::Dictionary(_, _) | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => {
            let millis = cast(array, &crate::schema::time_type()).map_err(failed)?;
            return cast(&millis, &DataType::Int64).map_err(failed);
        }
        DataType::Boolean | DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int64,
        _ => return Ok(Arc::clone(array)),
    };
    cast(array, &wanted).map_err(failed)
}

/// Computes the values of a grouping column for the rows of a batch.
fn key_values(key: &Key, batch: &RecordBatch, times: &Int64Array) -> Result<ArrayRef, SegmentError> {
    let handling = match &key.source {
        Source::Time(TimeFloor::Exact) => return Ok(Arc::new(times.clone())),
        Source::Time(TimeFloor::To(granularity)) => {
            return Ok(Arc::new(
                times.unary::<_, Int64Type>(|time| granularity.bucket_start(time)),
            ));
        }
        Source::Column(handling) => *handling,
    };
    let wanted = key_type(key);
    let Some(array) = batch.column_by_name(&key.name) else {
        return Ok(new_null_array(&wanted, batch.num_rows()));
    };
    let array = plain_values(array)?;
    match &key.column_type {
        ColumnType::MultiString => arrange(&cast(&array, &wanted).map_err(failed)?, handling),
        ColumnType::Scalar(ValueType::Double | ValueType::Float) => {
            // Java's comparison has one NaN.
            let array = cast(&array, &wanted).map_err(failed)?;
            Ok(match array.data_type() {
                DataType::Float64 => {
                    let doubles = array.as_primitive::<arrow::datatypes::Float64Type>();
                    Arc::new(
                        doubles.unary::<_, arrow::datatypes::Float64Type>(|v| if v.is_nan() { f64::NAN } else { v }),
                    )
                }
                _ => {
                    let floats = array.as_primitive::<arrow::datatypes::Float32Type>();
                    Arc::new(
                        floats.unary::<_, arrow::datatypes::Float32Type>(|v| if v.is_nan() { f32::NAN } else { v }),
                    )
                }
            })
        }
        _ => cast(&array, &wanted).map_err(failed),
    }
}

/// Brings the values of multi-value rows into the order in which they are stored; a row of nothing or of one null is null.
fn arrange(array: &ArrayRef, handling: MultiValueHandling) -> Result<ArrayRef, SegmentError> {
    let lists = array.as_list::<i32>();
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in 0..lists.len() {
        let strings = lists.is_valid(row).then(|| lists.value(row));
        let mut values: Vec<Option<&str>> = match &strings {
            Some(strings) => strings.as_string::<i32>().iter().collect(),
            None => Vec::new(),
        };
        if handling != MultiValueHandling::Array {
            values.sort_by(|a, b| compare_texts(*a, *b));
        }
        if handling == MultiValueHandling::SortedSet {
            values.dedup();
        }
        let is_null = matches!(values.as_slice(), [] | [None]);
        if !is_null {
            values.iter().for_each(|value| builder.values().append_option(*value));
        }
        builder.append(!is_null);
    }
    Ok(Arc::new(builder.finish()))
}

fn compare_texts(a: Option<&str>, b: Option<&str>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => java_order(a.as_bytes(), b.as_bytes()),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Compares two rows of a column as Druid sorts them.
fn compare(array: &ArrayRef, a: usize, b: usize) -> Ordering {
    match (array.is_null(a), array.is_null(b)) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        (false, false) => {}
    }
    match array.data_type() {
        DataType::Int64 => {
            let longs = array.as_primitive::<Int64Type>();
            longs.value(a).cmp(&longs.value(b))
        }
        DataType::Float64 => {
            let doubles = array.as_primitive::<arrow::datatypes::Float64Type>();
            doubles.value(a).total_cmp(&doubles.value(b))
        }
        DataType::Float32 => {
            let floats = array.as_primitive::<arrow::datatypes::Float32Type>();
            floats.value(a).total_cmp(&floats.value(b))
        }
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            java_order(texts.value(a).as_bytes(), texts.value(b).as_bytes())
        }
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let values = lists.values();
            let ends = |row: usize| lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
            let (left, right) = (ends(a), ends(b));
            let lengths = left.len().cmp(&right.len());
            let mut elements = left.zip(right);
            elements
                .find_map(|(a, b)| Some(compare(values, a, b)).filter(|order| order.is_ne()))
                .unwrap_or(lengths)
        }
        _ => Ordering::Equal,
    }
}
