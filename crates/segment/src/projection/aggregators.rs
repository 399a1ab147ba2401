//! The aggregators that projections are computed with: counts, sums, smallest and largest values of numbers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use serde_json::Value;

use super::filter::Filter;
use crate::{ColumnType, TIME_COLUMN, ValueType};

/// How values are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Combine {
    Count,
    Sum,
    Min,
    Max,
}

/// One aggregator of a projection.
#[derive(Debug)]
pub(super) struct Aggregator {
    pub name: String,
    combine: Combine,
    value_type: ValueType,
    /// The column of the table; none for counts.
    pub field: Option<String>,
    pub filter: Option<Filter>,
}

impl Aggregator {
    /// Reads Druid's JSON; none for what cannot be computed here.
    pub fn read(json: &Value, column_type: &dyn Fn(&str) -> Option<ColumnType>) -> Option<Self> {
        let kind = json.get("type")?.as_str()?;
        let name = json.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        if kind == "filtered" {
            let inner = Self::read(json.get("aggregator")?, column_type)?;
            if inner.filter.is_some() {
                return None;
            }
            return Some(Self {
                name: name.map_or(inner.name, str::to_owned),
                filter: Some(Filter::read(json.get("filter")?)?.checked(column_type)?),
                ..inner
            });
        }
        let name = name?.to_owned();
        if kind == "count" {
            return Some(Self {
                name,
                combine: Combine::Count,
                value_type: ValueType::Long,
                field: None,
                filter: None,
            });
        }
        if json.get("expression").is_some_and(|expression| !expression.is_null()) {
            return None;
        }
        let (value_type, combine) = match kind {
            "longSum" => (ValueType::Long, Combine::Sum),
            "longMin" => (ValueType::Long, Combine::Min),
            "longMax" => (ValueType::Long, Combine::Max),
            "doubleSum" => (ValueType::Double, Combine::Sum),
            "doubleMin" => (ValueType::Double, Combine::Min),
            "doubleMax" => (ValueType::Double, Combine::Max),
            "floatSum" => (ValueType::Float, Combine::Sum),
            "floatMin" => (ValueType::Float, Combine::Min),
            "floatMax" => (ValueType::Float, Combine::Max),
            _ => return None,
        };
        let field = json.get("fieldName")?.as_str()?.to_owned();
        let is_number = |column_type| {
            matches!(
                column_type,
                ColumnType::Scalar(ValueType::Long | ValueType::Double | ValueType::Float)
            )
        };
        (field == TIME_COLUMN || column_type(&field).is_some_and(is_number)).then_some(Self {
            name,
            combine,
            value_type,
            field: Some(field),
            filter: None,
        })
    }

    pub fn column_type(&self) -> ColumnType {
        ColumnType::Scalar(self.value_type)
    }

    pub fn state(&self) -> State {
        match self.value_type {
            ValueType::Double => State::Doubles(Values::new(self.combine)),
            ValueType::Float => State::Floats(Values::new(self.combine)),
            _ => State::Longs(Values::new(self.combine)),
        }
    }
}

/// The values of all groups so far.
#[derive(Debug)]
pub(super) enum State {
    Longs(Values<i64>),
    Doubles(Values<f64>),
    Floats(Values<f32>),
}

/// Null where a group had no value.
#[derive(Debug)]
pub(super) struct Values<T> {
    combine: Combine,
    groups: Vec<Option<T>>,
    /// The sums of what was added, without signs: what bounds the error of a sum.
    magnitudes: Vec<f64>,
}

impl<T> Values<T> {
    fn new(combine: Combine) -> Self {
        Self {
            combine,
            groups: Vec::new(),
            magnitudes: Vec::new(),
        }
    }
}

/// A number as Java's aggregators combine it.
pub(super) trait Number: Copy {
    const ZERO: Self;
    const ONE: Self;
    fn plus(self, other: Self) -> Self;
    fn smaller(self, other: Self) -> Self;
    fn larger(self, other: Self) -> Self;
    fn magnitude(self) -> f64;
}

impl Number for i64 {
    const ZERO: Self = 0;
    const ONE: Self = 1;
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    fn smaller(self, other: Self) -> Self {
        self.min(other)
    }
    fn larger(self, other: Self) -> Self {
        self.max(other)
    }
    fn magnitude(self) -> f64 {
        0.0
    }
}

macro_rules! floating {
    ($float:ty) => {
        impl Number for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn plus(self, other: Self) -> Self {
                self + other
            }
            // `Math.min` and `Math.max`: NaN wins, -0.0 is smaller than 0.0.
            fn smaller(self, other: Self) -> Self {
                match self.is_nan() || (!other.is_nan() && self.total_cmp(&other).is_le()) {
                    true => self,
                    false => other,
                }
            }
            fn larger(self, other: Self) -> Self {
                match self.is_nan() || (!other.is_nan() && self.total_cmp(&other).is_ge()) {
                    true => self,
                    false => other,
                }
            }
            fn magnitude(self) -> f64 {
                f64::from(self.abs())
            }
        }
    };
}
floating!(f64);
floating!(f32);

impl<T: Number> Values<T> {
    fn add(&mut self, group: u32, value: Option<T>) {
        let group = group as usize;
        let value = match (self.combine, value) {
            (Combine::Count, _) => T::ONE,
            (_, Some(value)) => value,
            (_, None) => return,
        };
        let slot = &mut self.groups[group];
        *slot = Some(match (*slot, self.combine) {
            (None, Combine::Count | Combine::Sum) => T::ZERO.plus(value),
            (None, _) => value,
            (Some(before), Combine::Count | Combine::Sum) => before.plus(value),
            (Some(before), Combine::Min) => before.smaller(value),
            (Some(before), Combine::Max) => before.larger(value),
        });
        self.magnitudes[group] += value.magnitude();
    }

    fn grow(&mut self, groups: usize) {
        let empty = (self.combine == Combine::Count).then_some(T::ZERO);
        self.groups.resize(groups, empty);
        self.magnitudes.resize(groups, 0.0);
    }

    fn memory_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Option<T>>() + self.magnitudes.capacity() * 8
    }
}

impl State {
    /// Makes room for so many groups.
    pub fn grow(&mut self, groups: usize) {
        match self {
            Self::Longs(values) => values.grow(groups),
            Self::Doubles(values) => values.grow(groups),
            Self::Floats(values) => values.grow(groups),
        }
    }

    /// Adds rows to their groups; `taken` names those rows that count, and `input` is of the column's own type.
    pub fn add(&mut self, groups: &[(usize, u32)], input: Option<&ArrayRef>, taken: Option<&[bool]>) {
        let rows = groups.iter().filter(|(row, _)| taken.is_none_or(|taken| taken[*row]));
        for (row, group) in rows {
            match self {
                Self::Longs(values) => values.add(*group, input.and_then(|array| number(array, *row)).map(Cell::long)),
                Self::Doubles(values) => {
                    values.add(*group, input.and_then(|array| number(array, *row)).map(Cell::double));
                }
                Self::Floats(values) => {
                    values.add(
                        *group,
                        input
                            .and_then(|array| number(array, *row))
                            .map(|cell| cell.double() as f32),
                    );
                }
            }
        }
    }

    /// Gives the values of the groups in the order given, and how much was added up in each.
    pub fn finish(&self, order: &[u32]) -> (ArrayRef, Vec<f64>) {
        fn pick<T: Copy>(values: &Values<T>, order: &[u32]) -> (Vec<Option<T>>, Vec<f64>) {
            let groups = order.iter().map(|group| values.groups[*group as usize]).collect();
            (
                groups,
                order.iter().map(|group| values.magnitudes[*group as usize]).collect(),
            )
        }
        match self {
            Self::Longs(values) => {
                let (groups, magnitudes) = pick(values, order);
                (Arc::new(Int64Array::from(groups)), magnitudes)
            }
            Self::Doubles(values) => {
                let (groups, magnitudes) = pick(values, order);
                (Arc::new(Float64Array::from(groups)), magnitudes)
            }
            Self::Floats(values) => {
                let (groups, magnitudes) = pick(values, order);
                (Arc::new(Float32Array::from(groups)), magnitudes)
            }
        }
    }

    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Longs(values) => values.memory_bytes(),
            Self::Doubles(values) => values.memory_bytes(),
            Self::Floats(values) => values.memory_bytes(),
        }
    }
}

/// A number of the table, converted as Java converts between its numbers.
#[derive(Clone, Copy)]
enum Cell {
    Long(i64),
    Double(f64),
}

impl Cell {
    fn long(self) -> i64 {
        match self {
            Self::Long(value) => value,
            Self::Double(value) => value as i64,
        }
    }

    fn double(self) -> f64 {
        match self {
            Self::Long(value) => value as f64,
            Self::Double(value) => value,
        }
    }
}

fn number(array: &ArrayRef, row: usize) -> Option<Cell> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Int64 => Some(Cell::Long(array.as_primitive::<Int64Type>().value(row))),
        DataType::Float64 => Some(Cell::Double(array.as_primitive::<Float64Type>().value(row))),
        DataType::Float32 => Some(Cell::Double(f64::from(array.as_primitive::<Float32Type>().value(row)))),
        _ => None,
    }
}
