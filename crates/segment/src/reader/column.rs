//! A column: its descriptor and what the parts of it are.
//!
//! ```text
//! str descriptor, JSON {"valueType":…,"hasMultipleValues":…,"parts":[{"type":…, …}]} │ bytes of the part
//! ```
//! Mirrors `ColumnDescriptor`. The part's type decides who reads the bytes behind the descriptor.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, new_null_array};
use roaring::RoaringBitmap;
use serde::Deserialize;
use serde_json::Value;

use super::complex::Complex;
use super::nested::{self, Fields, Json, Variant};
use super::numbers::{NumberKind, Numbers};
use super::strings::Strings;
use super::{ColumnInfo, IndexValue, StringDictionary};
use crate::blob::{ByteOrder, Cursor};
use crate::container::Container;
use crate::{BitmapKind, ColumnType, RowSelection, SegmentError, ValueType};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    value_type: String,
    parts: Vec<Value>,
}

/// What a part says about itself; each kind uses what it needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    byte_order: Option<String>,
    bitmap_serde_factory: Option<BitmapSerde>,
    type_name: Option<String>,
    num_rows: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct BitmapSerde {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// What a column is opened with.
#[derive(Clone, Copy)]
pub(super) struct Opening<'a> {
    pub container: &'a Container,
    /// Rows of the segment; none for `__time`, which tells them.
    pub rows: Option<usize>,
    pub bitmap: BitmapKind,
    /// The column of the table whose dictionaries a column of a projection shares.
    pub parent: Option<&'a Column>,
}

/// An open column.
#[derive(Debug)]
pub(super) enum Column {
    /// No row has a value.
    Null(ColumnType, usize),
    /// The time of every row of a projection without a column of times.
    ConstantTime(i64, usize),
    Numbers(Numbers),
    Strings(Box<Strings>),
    /// Arrays, or values of several types.
    Variant(Box<Variant>),
    Json(Box<Json>),
    /// Objects of other types.
    Complex(Box<Complex>),
}

impl Column {
    /// Opens a column by its internal file.
    pub fn open(
        file: &str,
        container: &Container,
        rows: Option<usize>,
        parent: Option<&Self>,
    ) -> Result<Self, SegmentError> {
        let (json, blob) = container.column(file)?;
        let descriptor: Descriptor = serde_json::from_str(&json)
            .map_err(|e| blob.corrupt(0, format!("the descriptor of a column: {e}, found {json}")))?;
        let [part] = descriptor.parts.as_slice() else {
            return Err(blob.unsupported(format!("a column of {} parts", descriptor.parts.len())));
        };
        let json_part = part;
        let part: Part = serde_json::from_value(part.clone())
            .map_err(|e| blob.corrupt(0, format!("the part of a column: {e}, found {json}")))?;
        let blob = blob.with_order(byte_order(part.byte_order.as_deref()));
        let mut cursor = blob.cursor();
        // An absent serde is Concise, one of an unknown or missing type the default, as Druid has it.
        let bitmap = match &part.bitmap_serde_factory {
            None => BitmapKind::Concise,
            Some(serde) if serde.kind.as_deref() == Some("concise") => BitmapKind::Concise,
            Some(_) => BitmapKind::Roaring,
        };
        let opening = Opening {
            container,
            rows,
            bitmap,
            parent,
        };
        let column = Self::open_part(&part, json_part, &descriptor.value_type, &mut cursor, &opening)?;
        match rows {
            Some(rows) if column.rows() != rows => Err(blob.corrupt(
                0,
                format!("a column of {rows} rows, as the table has, found {}", column.rows()),
            )),
            _ => Ok(column),
        }
    }

    fn open_part(
        part: &Part,
        json_part: &Value,
        value_type: &str,
        cursor: &mut Cursor<'_>,
        opening: &Opening<'_>,
    ) -> Result<Self, SegmentError> {
        Ok(match part.kind.as_str() {
            "longV2" => Self::Numbers(Numbers::read_v2(NumberKind::Long, cursor, opening)?),
            "doubleV2" => Self::Numbers(Numbers::read_v2(NumberKind::Double, cursor, opening)?),
            "floatV2" => Self::Numbers(Numbers::read_v2(NumberKind::Float, cursor, opening)?),
            "long" => Self::Numbers(Numbers::read_v1(NumberKind::Long, cursor, opening)?),
            "double" => Self::Numbers(Numbers::read_v1(NumberKind::Double, cursor, opening)?),
            "float" => Self::Numbers(Numbers::read_v1(NumberKind::Float, cursor, opening)?),
            "stringDictionary" => Self::Strings(Box::new(Strings::read(cursor, opening)?)),
            "null" => {
                let rows = part.num_rows.unwrap_or_default();
                let column_type = match value_type {
                    "LONG" => ColumnType::LONG,
                    "DOUBLE" => ColumnType::DOUBLE,
                    "FLOAT" => ColumnType::FLOAT,
                    _ => ColumnType::STRING,
                };
                Self::Null(column_type, usize::try_from(rows).unwrap_or(usize::MAX))
            }
            "nestedCommonFormat" => nested::open(json_part, cursor, opening)?,
            "complex" if part.type_name.as_deref() == Some("json") => match cursor.u8("JSON column version")? {
                version @ 3..=5 => Self::Json(Box::new(Json::open_old(cursor, opening, version)?)),
                other => return Err(cursor.corrupt(format!("a JSON column must have version 3 to 5, found {other}"))),
            },
            "complex" => {
                let name = part.type_name.as_deref().unwrap_or("unknown");
                Self::Complex(Box::new(Complex::open(name, cursor, opening)?))
            }
            other => return Err(cursor.unsupported(format!("column part type {other}"))),
        })
    }

    pub fn rows(&self) -> usize {
        match self {
            Self::Null(_, rows) | Self::ConstantTime(_, rows) => *rows,
            Self::Numbers(numbers) => numbers.rows(),
            Self::Strings(strings) => strings.rows(),
            Self::Variant(variant) => variant.rows(),
            Self::Json(json) => json.rows(),
            Self::Complex(complex) => complex.rows(),
        }
    }

    pub fn column_type(&self) -> ColumnType {
        match self {
            Self::Null(column_type, _) => column_type.clone(),
            Self::ConstantTime(..) => ColumnType::LONG,
            Self::Numbers(numbers) => ColumnType::Scalar(numbers.value_type()),
            Self::Strings(strings) if strings.is_multi() => ColumnType::MultiString,
            Self::Strings(_) => ColumnType::STRING,
            Self::Variant(variant) => variant.column_type(),
            Self::Json(_) => ColumnType::Complex("json".into()),
            Self::Complex(complex) => complex.column_type(),
        }
    }

    /// Describes the column.
    pub fn info(&self, name: &str, bytes: u64, is_metric: bool) -> ColumnInfo {
        let dictionary = self.dictionary();
        ColumnInfo {
            name: name.to_owned(),
            column_type: self.column_type(),
            has_nulls: match self {
                Self::Null(_, rows) => *rows > 0,
                Self::ConstantTime(..) => false,
                Self::Numbers(numbers) => numbers.has_nulls(),
                Self::Strings(strings) => strings.has_nulls(),
                Self::Variant(variant) => variant.null_rows().is_none_or(|rows| !rows.is_empty()),
                Self::Json(json) => !json.null_rows().is_empty(),
                Self::Complex(complex) => complex.null_rows().is_none_or(|rows| !rows.is_empty()),
            },
            cardinality: match self {
                Self::Variant(variant) => variant.cardinality(),
                Self::Numbers(numbers) => numbers.cardinality(),
                _ => dictionary.map(|d| d.len() as u64),
            },
            bytes,
            range: self.range(),
            has_bitmap_index: match self {
                Self::Strings(strings) => strings.has_index(),
                Self::Numbers(numbers) => numbers.has_index(),
                Self::Variant(variant) => variant.has_index(),
                _ => false,
            },
            is_metric,
            is_auto: false,
            encoding: match self {
                Self::Null(..) => "null".into(),
                Self::ConstantTime(..) => "the start of the interval, not stored".into(),
                Self::Numbers(numbers) => numbers.encoding().into(),
                Self::Strings(strings) => strings.encoding(),
                Self::Variant(variant) => variant.encoding(),
                Self::Json(json) => json.encoding().into(),
                Self::Complex(complex) => complex.encoding().into(),
            },
        }
    }

    pub fn read(&self, rows: &RowSelection<'_>) -> Result<ArrayRef, SegmentError> {
        match self {
            Self::Null(column_type, len) => Ok(new_null_array(&column_type.arrow(), rows.count(*len)?)),
            Self::ConstantTime(time, len) => Ok(Arc::new(Int64Array::from_value(*time, rows.count(*len)?))),
            Self::Numbers(numbers) => numbers.read(rows),
            Self::Strings(strings) => strings.read_selection(rows),
            Self::Variant(variant) => variant.read(rows),
            Self::Json(json) => Ok(Arc::new(json.read(rows)?)),
            Self::Complex(complex) => complex.read(rows),
        }
    }

    /// Reads rows as JSON text where that tells more than the values in the column's one type.
    pub fn read_json(&self, rows: &RowSelection<'_>) -> Result<Option<StringArray>, SegmentError> {
        match self {
            Self::Variant(variant) if variant.is_variant() => variant.json(rows).map(Some),
            Self::Json(json) => json.read(rows).map(Some),
            _ => Ok(None),
        }
    }

    /// Gives the smallest and the largest value where a dictionary tells them.
    fn range(&self) -> Option<(String, String)> {
        match self {
            Self::Numbers(numbers) => numbers.range(),
            Self::Strings(strings) => {
                let dictionary = strings.dictionary();
                let first = u32::from(dictionary.has_null());
                let value = |id: u32| dictionary.get(id).ok().flatten();
                Some((value(first)?, value((dictionary.len() as u32).checked_sub(1)?)?))
            }
            _ => None,
        }
    }

    /// Gives the rows that have a value; none without bitmaps.
    pub fn rows_of(&self, value: &IndexValue<'_>) -> Result<Option<RoaringBitmap>, SegmentError> {
        match self {
            Self::Strings(strings) => strings.rows_of(value),
            Self::Numbers(numbers) => numbers.rows_of(value),
            Self::Variant(variant) => variant.rows_of(value),
            _ if *value == IndexValue::Null => self.null_bitmap(),
            _ => Ok(None),
        }
    }

    /// Gives the rows whose array has an element; none without bitmaps.
    pub fn rows_with(&self, element: &IndexValue<'_>) -> Result<Option<RoaringBitmap>, SegmentError> {
        match self {
            Self::Variant(variant) => variant.rows_with(element),
            _ => Ok(None),
        }
    }

    /// Gives the fields of a JSON column.
    pub fn fields(&self) -> Option<&Fields> {
        match self {
            Self::Json(json) => json.fields(),
            _ => None,
        }
    }

    /// Names what dictionaries and bitmaps say otherwise than the rows.
    pub fn check(&self) -> Result<Vec<String>, SegmentError> {
        match self {
            Self::Strings(strings) => strings.check(),
            Self::Numbers(numbers) => numbers.check(),
            Self::Variant(variant) => variant.check(),
            Self::Json(json) => json.check(),
            Self::Null(..) | Self::ConstantTime(..) | Self::Complex(_) => Ok(Vec::new()),
        }
    }

    pub fn dictionary(&self) -> Option<&StringDictionary> {
        match self {
            Self::Strings(strings) => Some(strings.dictionary()),
            _ => None,
        }
    }

    /// Gives the dictionary of strings to a column of a projection, which is read at `cursor`.
    pub fn shared_dictionary(&self, cursor: &Cursor<'_>) -> Result<Arc<StringDictionary>, SegmentError> {
        match self {
            Self::Strings(strings) => Ok(Arc::clone(strings.dictionary())),
            other => Err(other.cannot_share("a dictionary of strings", cursor)),
        }
    }

    /// Says that a column of a projection needs what this column of the table does not have.
    pub fn cannot_share(&self, what: &str, cursor: &Cursor<'_>) -> SegmentError {
        cursor.corrupt(format!(
            "a column that shares {what} with the table, whose column of the same name is {} and has none",
            self.column_type()
        ))
    }

    pub fn bitmap(&self, id: u32) -> Result<Option<RoaringBitmap>, SegmentError> {
        match self {
            Self::Strings(strings) => strings.bitmap(id),
            _ => Ok(None),
        }
    }

    pub fn null_bitmap(&self) -> Result<Option<RoaringBitmap>, SegmentError> {
        match self {
            Self::Null(_, rows) => {
                let mut all = RoaringBitmap::new();
                all.insert_range(0..*rows as u32);
                Ok(Some(all))
            }
            Self::ConstantTime(..) => Ok(Some(RoaringBitmap::new())),
            Self::Numbers(numbers) => Ok(Some(numbers.null_rows().clone())),
            // The bitmap of null has rows that hold null among other values, and a row without values need not be in any.
            Self::Strings(strings) if strings.is_multi() => Ok(None),
            Self::Strings(strings) if strings.dictionary().has_null() => strings.bitmap(0),
            Self::Strings(_) => Ok(Some(RoaringBitmap::new())),
            Self::Variant(variant) => Ok(variant.null_rows().cloned()),
            Self::Json(json) => Ok(Some(json.null_rows().clone())),
            Self::Complex(complex) => Ok(complex.null_rows().cloned()),
        }
    }
}

/// Reads a byte order; where none is named, it is that of nearly all machines.
pub(super) fn byte_order(name: Option<&str>) -> ByteOrder {
    match name {
        Some("BIG_ENDIAN") => ByteOrder::Big,
        _ => ByteOrder::Little,
    }
}

/// Tells whether a column is stored in the nested common format.
pub(super) fn is_auto(file: &str, container: &Container) -> bool {
    let Ok((json, _)) = container.column(file) else {
        return false;
    };
    let descriptor = serde_json::from_str::<Descriptor>(&json);
    descriptor.is_ok_and(|d| d.parts.first().is_some_and(|part| part["type"] == "nestedCommonFormat"))
}

/// Guesses the type of a column that cannot be opened, from its descriptor.
pub(super) fn guess_type(file: &str, container: &Container) -> ColumnType {
    let unknown = || ColumnType::Complex("unknown".into());
    let Ok((json, _)) = container.column(file) else {
        return unknown();
    };
    let Ok(descriptor) = serde_json::from_str::<Descriptor>(&json) else {
        return unknown();
    };
    let text = |key: &str| {
        let part = descriptor.parts.first()?;
        part.get(key)?.as_str().map(str::to_owned)
    };
    if let Some(name) = text("typeName") {
        return ColumnType::Complex(name);
    }
    let name = text("logicalType").unwrap_or(descriptor.value_type);
    match name.as_str() {
        "STRING" => ColumnType::STRING,
        "LONG" => ColumnType::LONG,
        "DOUBLE" => ColumnType::DOUBLE,
        "FLOAT" => ColumnType::FLOAT,
        "ARRAY<STRING>" => ColumnType::Array(ValueType::String),
        "ARRAY<LONG>" => ColumnType::Array(ValueType::Long),
        "ARRAY<DOUBLE>" => ColumnType::Array(ValueType::Double),
        "COMPLEX<json>" => ColumnType::Complex("json".into()),
        _ => unknown(),
    }
}
