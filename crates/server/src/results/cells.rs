//! One value of a column as JSON or CSV. Columns are made ready once a batch; a cell then costs a match and its bytes.
//!
//! Strings of dictionaries are escaped once and kept while batches share the dictionary, which those of one segment do.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, Int64Array, ListArray, StringArray,
    TimestampMillisecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType, UInt32Type};
use arrow::error::ArrowError;

use crate::json::{TimeWriter, Zone, push_csv_field, push_f32, push_f64, push_i64, push_string, push_string_body};
use crate::limits::CACHED_DICTIONARY_VALUES;

/// How values of a list column are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListStyle {
    /// A multi-value string: nothing, the bare value, or JSON text of several.
    Multi,
    /// JSON text in a string.
    Text,
    /// A JSON array.
    Json,
}

/// Text or JSON around values that are not strings already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// JSON.
    Json,
    /// A field of a CSV line.
    Csv,
}

/// What cells need besides their array: the zone, and room to work.
#[derive(Debug)]
pub struct Pen {
    /// Prints instants.
    pub time: TimeWriter,
    scratch: Vec<u8>,
}

impl Pen {
    /// Makes a pen.
    pub fn new(time: TimeWriter) -> Self {
        Self {
            time,
            scratch: Vec::new(),
        }
    }
}

/// The escaped strings of a dictionary.
#[derive(Debug)]
pub struct EscapedDictionary {
    values: ArrayRef,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl EscapedDictionary {
    fn new(values: &ArrayRef, target: Target) -> Option<Self> {
        let strings = values.as_string_opt::<i32>()?;
        let mut bytes = Vec::with_capacity(strings.values().len() + 2 * strings.len());
        let mut ends = Vec::with_capacity(strings.len());
        for row in 0..strings.len() {
            if strings.is_null(row) {
                push_null(&mut bytes, target);
            } else {
                push_text(&mut bytes, strings.value(row), target);
            }
            ends.push(u32::try_from(bytes.len()).ok()?);
        }
        Some(Self {
            values: Arc::clone(values),
            bytes,
            ends,
        })
    }

    fn get(&self, key: usize) -> &[u8] {
        let start = if key == 0 { 0 } else { self.ends[key - 1] as usize };
        &self.bytes[start..self.ends[key] as usize]
    }
}

/// What is kept of a dictionary column between batches.
#[derive(Debug, Default)]
pub struct DictionaryCache {
    last_seen: Option<ArrayRef>,
    escaped: Option<EscapedDictionary>,
}

impl DictionaryCache {
    /// Escapes the dictionary of a column where that pays: it is small against the batch, or was seen before.
    pub fn prepare(&mut self, array: &ArrayRef, target: Target) {
        let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() else {
            return;
        };
        let values = dictionary.values();
        if self
            .escaped
            .as_ref()
            .is_some_and(|escaped| Arc::ptr_eq(&escaped.values, values))
        {
            return;
        }
        let seen = self.last_seen.as_ref().is_some_and(|last| Arc::ptr_eq(last, values));
        self.last_seen = Some(Arc::clone(values));
        self.escaped = if values.len() <= CACHED_DICTIONARY_VALUES && (seen || values.len() <= array.len()) {
            EscapedDictionary::new(values, target)
        } else {
            None
        };
    }

    /// Gives the escaped dictionary, if there is one.
    pub fn escaped(&self) -> Option<&EscapedDictionary> {
        self.escaped.as_ref()
    }
}

/// Brings an array of a native type to one of the few Arrow types that [`Cells`] prints.
pub fn normalize(array: &ArrayRef, native_type: &str) -> Result<ArrayRef, ArrowError> {
    let target = match array.data_type() {
        DataType::Null
        | DataType::Boolean
        | DataType::Int64
        | DataType::Float64
        | DataType::Float32
        | DataType::Utf8
        | DataType::Timestamp(TimeUnit::Millisecond, _) => return Ok(Arc::clone(array)),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            DataType::Int64
        }
        // Beyond 2⁶³ Druid has no number either; what fits stays exact.
        DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            DataType::Float64
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            DataType::Timestamp(TimeUnit::Millisecond, None)
        }
        DataType::Dictionary(key, value) if **key == DataType::UInt32 && **value == DataType::Utf8 => {
            return Ok(Arc::clone(array));
        }
        DataType::Dictionary(_, value) => (**value).clone(),
        DataType::List(_) => return Ok(Arc::clone(array)),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) | DataType::ListView(item) => {
            DataType::List(Arc::clone(item))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>().iter();
            let texts = values.map(|value| value.map(|bytes| henge_sql::complex_text(native_type, bytes)));
            return Ok(Arc::new(texts.collect::<StringArray>()));
        }
        _ => DataType::Utf8,
    };
    let converted = arrow::compute::cast(array, &target)?;
    if matches!(target, DataType::Utf8) {
        Ok(converted)
    } else {
        normalize(&converted, native_type)
    }
}

/// Brings values to what their SQL type can show, as Druid does with results: INTEGER has 32 bits, DATE is the midnight of its
/// day in the zone.
pub fn shown(array: ArrayRef, sql_type: &str, zone: Zone) -> ArrayRef {
    match (sql_type, array.data_type()) {
        ("INTEGER", DataType::Int64) => {
            let longs = array.as_primitive::<Int64Type>();
            if longs.iter().flatten().all(|n| i32::try_from(n).is_ok()) {
                return array;
            }
            Arc::new(longs.unary::<_, Int64Type>(|n| i64::from(n as i32)))
        }
        ("DATE", DataType::Timestamp(TimeUnit::Millisecond, None)) => {
            let times = array.as_primitive::<TimestampMillisecondType>();
            Arc::new(times.unary::<_, TimestampMillisecondType>(|t| zone.midnight(t)))
        }
        _ => array,
    }
}

/// A column ready to print.
pub enum Cells<'a> {
    /// Nothing but nulls.
    Null,
    /// `true`, `false`.
    Bool(&'a BooleanArray),
    /// Whole numbers.
    Long(&'a Int64Array),
    /// Doubles.
    Double(&'a Float64Array),
    /// Floats.
    Float(&'a Float32Array),
    /// Instants as ISO text in the query's zone.
    Time(&'a TimestampMillisecondArray),
    /// Strings.
    Text(&'a StringArray),
    /// Strings that are JSON, printed as it.
    Json(&'a StringArray),
    /// Strings by dictionary, escaped beforehand where that pays.
    Dictionary {
        keys: &'a UInt32Array,
        values: &'a StringArray,
        escaped: Option<&'a EscapedDictionary>,
    },
    /// Lists.
    List {
        list: &'a ListArray,
        items: Box<Cells<'a>>,
        style: ListStyle,
    },
}

impl<'a> Cells<'a> {
    /// Makes a normalized column ready; arrays of other types print as nulls, which [`normalize`] rules out.
    pub fn new(array: &'a ArrayRef, style: ListStyle, escaped: Option<&'a EscapedDictionary>) -> Self {
        match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean()),
            DataType::Int64 => Self::Long(array.as_primitive::<Int64Type>()),
            DataType::Float64 => Self::Double(array.as_primitive::<Float64Type>()),
            DataType::Float32 => Self::Float(array.as_primitive::<Float32Type>()),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Self::Time(array.as_primitive::<TimestampMillisecondType>())
            }
            DataType::Utf8 => Self::Text(array.as_string::<i32>()),
            DataType::Dictionary(..) => {
                let dictionary = array.as_dictionary::<UInt32Type>();
                match dictionary.values().as_string_opt::<i32>() {
                    Some(values) => Self::Dictionary {
                        keys: dictionary.keys(),
                        values,
                        escaped,
                    },
                    None => Self::Null,
                }
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let items = Self::new(list.values(), ListStyle::Json, None);
                Self::List {
                    list,
                    items: Box::new(items),
                    style,
                }
            }
            _ => Self::Null,
        }
    }

    /// Takes the strings of a list for the JSON that they are.
    pub fn of_json(self) -> Self {
        match self {
            Self::List { list, items, style } => Self::List {
                list,
                items: Box::new(match *items {
                    Self::Text(texts) => Self::Json(texts),
                    other => other,
                }),
                style,
            },
            other => other,
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(array) => array.is_null(row),
            Self::Long(array) => array.is_null(row),
            Self::Double(array) => array.is_null(row),
            Self::Float(array) => array.is_null(row),
            Self::Time(array) => array.is_null(row),
            Self::Text(array) | Self::Json(array) => array.is_null(row),
            Self::Dictionary { keys, values, .. } => keys.is_null(row) || values.is_null(keys.value(row) as usize),
            Self::List { list, style, .. } => {
                list.is_null(row) || (*style == ListStyle::Multi && list.value_length(row) == 0)
            }
        }
    }

    /// Appends one value.
    pub fn push(&self, out: &mut Vec<u8>, row: usize, pen: &mut Pen, target: Target) {
        if self.is_null(row) {
            return push_null(out, target);
        }
        match self {
            Self::Null => push_null(out, target),
            Self::Bool(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Self::Long(array) => push_i64(out, array.value(row)),
            Self::Double(array) => push_real(out, target, |out| push_f64(out, array.value(row))),
            Self::Float(array) => push_real(out, target, |out| push_f32(out, array.value(row))),
            Self::Time(array) => {
                if target == Target::Json {
                    out.push(b'"');
                }
                pen.time.push(out, array.value(row));
                if target == Target::Json {
                    out.push(b'"');
                }
            }
            Self::Text(array) => push_text(out, array.value(row), target),
            Self::Json(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Self::Dictionary { keys, values, escaped } => {
                let key = keys.value(row) as usize;
                match escaped {
                    Some(escaped) => out.extend_from_slice(escaped.get(key)),
                    None => push_text(out, values.value(key), target),
                }
            }
            Self::List { list, items, style } => {
                let offsets = list.value_offsets();
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                if *style == ListStyle::Multi && range.len() == 1 {
                    return items.push(out, range.start, pen, target);
                }
                if *style == ListStyle::Json && target == Target::Json {
                    return items.push_array(out, range, pen);
                }
                let mut text = std::mem::take(&mut pen.scratch);
                text.clear();
                items.push_array(&mut text, range, pen);
                match target {
                    Target::Csv => push_csv_field(out, &text),
                    Target::Json => {
                        out.push(b'"');
                        // What was printed from strings and numbers is UTF-8.
                        push_string_body(out, &String::from_utf8_lossy(&text));
                        out.push(b'"');
                    }
                }
                pen.scratch = text;
            }
        }
    }

    fn push_array(&self, out: &mut Vec<u8>, range: std::ops::Range<usize>, pen: &mut Pen) {
        out.push(b'[');
        for (i, item) in range.enumerate() {
            if i > 0 {
                out.push(b',');
            }
            // Elements are what the engine computes with: booleans and instants are whole numbers, fractions have 64 bits.
            match self {
                _ if self.is_null(item) => push_null(out, Target::Json),
                Self::Bool(array) => push_i64(out, array.value(item).into()),
                Self::Time(array) => push_i64(out, array.value(item)),
                Self::Float(array) => push_real(out, Target::Json, |out| push_f64(out, array.value(item).into())),
                _ => self.push(out, item, pen, Target::Json),
            }
        }
        out.push(b']');
    }
}

fn push_null(out: &mut Vec<u8>, target: Target) {
    if target == Target::Json {
        out.extend_from_slice(b"null");
    }
}

fn push_text(out: &mut Vec<u8>, text: &str, target: Target) {
    match target {
        Target::Json => push_string(out, text),
        Target::Csv => push_csv_field(out, text.as_bytes()),
    }
}

/// Numbers that JSON cannot hold are quoted there, and bare in CSV.
fn push_real(out: &mut Vec<u8>, target: Target, push: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    push(out);
    if target == Target::Csv && out[start..].first() == Some(&b'"') {
        out.pop();
        out.remove(start);
    }
}
