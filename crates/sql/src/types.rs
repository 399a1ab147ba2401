//! SQL types: how Druid names them, how they travel as Arrow, what they are in a segment.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};

/// Key of the Arrow field metadata that holds the SQL type where Arrow's own type does not say it.
pub const META_SQL_TYPE: &str = "henge.sql";
/// Key of the Arrow field metadata that marks a multi-value string (`multi`).
pub const META_TYPE: &str = "henge.type";

/// A SQL type as Druid reports it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// The type of an untyped NULL.
    Null,
    /// True or false; 1 or 0 in a segment.
    Boolean,
    /// A text literal of this many characters.
    Char(u32),
    /// Text.
    Varchar,
    /// Text with several values a row; SQL calls it VARCHAR too.
    MultiVarchar,
    /// Integers; all of them are 64 bits wide at run time.
    TinyInt,
    /// See [`SqlType::TinyInt`].
    SmallInt,
    /// See [`SqlType::TinyInt`].
    Integer,
    /// See [`SqlType::TinyInt`].
    BigInt,
    /// 32 bits in storage.
    Float,
    /// 64 bits, Druid's name for CAST AS REAL.
    Real,
    /// 64 bits.
    Double,
    /// A decimal literal or cast; floating point at run time.
    Decimal,
    /// Milliseconds since the epoch, UTC.
    Timestamp,
    /// A day, as the milliseconds of its midnight.
    Date,
    /// A span of days, hours, minutes, seconds.
    IntervalDay,
    /// A span of months.
    IntervalMonth,
    /// An array.
    Array(Box<SqlType>),
    /// A complex type by its native name (`json`, `HLLSketch`).
    Complex(String),
    /// Anything else.
    Other,
}

impl SqlType {
    /// Gives the type that Arrow carries.
    pub fn arrow(&self) -> DataType {
        match self {
            SqlType::Null => DataType::Null,
            SqlType::Boolean => DataType::Boolean,
            SqlType::Char(_) | SqlType::Varchar => DataType::Utf8,
            SqlType::MultiVarchar => DataType::new_list(DataType::Utf8, true),
            SqlType::TinyInt | SqlType::SmallInt | SqlType::Integer | SqlType::BigInt => DataType::Int64,
            SqlType::Float => DataType::Float32,
            SqlType::Real | SqlType::Double | SqlType::Decimal => DataType::Float64,
            SqlType::Timestamp | SqlType::Date => DataType::Timestamp(TimeUnit::Millisecond, None),
            // A span travels as its number of milliseconds or months, as in Druid.
            SqlType::IntervalDay | SqlType::IntervalMonth => DataType::Int64,
            SqlType::Array(element) => DataType::new_list(element.arrow(), true),
            SqlType::Complex(name) if name == "json" => DataType::Utf8,
            SqlType::Complex(_) | SqlType::Other => DataType::Binary,
        }
    }

    /// Gives an Arrow field that carries the SQL type in its metadata where Arrow's type does not tell.
    pub fn field(&self, name: &str, nullable: bool) -> FieldRef {
        let field = Field::new(name, self.arrow(), nullable);
        if SqlType::from_field(&field) == *self {
            return Arc::new(field);
        }
        let entry = match self {
            SqlType::MultiVarchar => (META_TYPE.to_string(), "multi".to_string()),
            other => (META_SQL_TYPE.to_string(), other.to_string()),
        };
        Arc::new(field.with_metadata([entry].into()))
    }

    /// Reads the type of a column.
    pub fn from_field(field: &Field) -> SqlType {
        if field.metadata().get(META_TYPE).is_some_and(|kind| kind == "multi") {
            return SqlType::MultiVarchar;
        }
        // Columns of files and segments say their native type where Arrow's does not tell.
        let names = [META_SQL_TYPE, META_TYPE].into_iter();
        let named = names
            .filter_map(|key| field.metadata().get(key))
            .find_map(|name| SqlType::parse(name));
        if let Some(named) = named {
            return named;
        }
        SqlType::from_arrow(field.data_type())
    }

    /// Gives the plain SQL type of an Arrow type.
    pub fn from_arrow(data_type: &DataType) -> SqlType {
        match data_type {
            DataType::Null => SqlType::Null,
            DataType::Boolean => SqlType::Boolean,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => SqlType::BigInt,
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => SqlType::BigInt,
            DataType::Float16 | DataType::Float32 => SqlType::Float,
            DataType::Float64 => SqlType::Double,
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => SqlType::Decimal,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType::Varchar,
            DataType::Dictionary(_, value) => SqlType::from_arrow(value),
            DataType::Timestamp(..) => SqlType::Timestamp,
            DataType::Date32 | DataType::Date64 => SqlType::Date,
            DataType::Interval(_) | DataType::Duration(_) => SqlType::IntervalDay,
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                SqlType::Array(Box::new(SqlType::from_field(item)))
            }
            _ => SqlType::Other,
        }
    }

    /// Reads a name written by [`fmt::Display`] or a native name (`STRING`, `LONG`, `ARRAY<STRING>`, `COMPLEX<json>`).
    pub fn parse(name: &str) -> Option<SqlType> {
        let upper = name.trim().to_ascii_uppercase();
        Some(match upper.as_str() {
            "NULL" => SqlType::Null,
            "BOOLEAN" => SqlType::Boolean,
            "VARCHAR" | "STRING" => SqlType::Varchar,
            "CHAR" => SqlType::Char(1),
            "TINYINT" => SqlType::TinyInt,
            "SMALLINT" => SqlType::SmallInt,
            "INTEGER" => SqlType::Integer,
            "BIGINT" | "LONG" => SqlType::BigInt,
            "FLOAT" => SqlType::Float,
            "REAL" => SqlType::Real,
            "DOUBLE" => SqlType::Double,
            "DECIMAL" => SqlType::Decimal,
            "TIMESTAMP" => SqlType::Timestamp,
            "DATE" => SqlType::Date,
            "OTHER" | "COMPLEX" => SqlType::Other,
            _ => {
                if let Some(element) = upper.strip_suffix(" ARRAY") {
                    return Some(SqlType::Array(Box::new(SqlType::parse(element)?)));
                }
                let inner = name.trim().strip_suffix('>')?;
                let (outer, inner) = inner.split_once('<')?;
                match outer.to_ascii_uppercase().as_str() {
                    "ARRAY" => SqlType::Array(Box::new(SqlType::parse(inner)?)),
                    "COMPLEX" => SqlType::Complex(inner.to_string()),
                    _ => return None,
                }
            }
        })
    }

    /// Gives the name in result headers and `INFORMATION_SCHEMA` (`VARCHAR`, `ARRAY`, `COMPLEX<json>` is `OTHER` in headers).
    pub fn name(&self) -> &'static str {
        match self {
            SqlType::Null => "NULL",
            SqlType::Boolean => "BOOLEAN",
            SqlType::Char(_) => "CHAR",
            SqlType::Varchar | SqlType::MultiVarchar => "VARCHAR",
            SqlType::TinyInt => "TINYINT",
            SqlType::SmallInt => "SMALLINT",
            SqlType::Integer => "INTEGER",
            SqlType::BigInt => "BIGINT",
            SqlType::Float => "FLOAT",
            SqlType::Real => "REAL",
            SqlType::Double => "DOUBLE",
            SqlType::Decimal => "DECIMAL",
            SqlType::Timestamp => "TIMESTAMP",
            SqlType::Date => "DATE",
            SqlType::IntervalDay => "INTERVAL_DAY",
            SqlType::IntervalMonth => "INTERVAL_MONTH",
            SqlType::Array(_) => "ARRAY",
            SqlType::Complex(_) | SqlType::Other => "OTHER",
        }
    }

    /// Gives the native name in `typesHeader`, signatures and segments (`STRING`, `LONG`, `ARRAY<STRING>`, `COMPLEX<json>`).
    pub fn native(&self) -> String {
        match self {
            SqlType::Null | SqlType::Char(_) | SqlType::Varchar | SqlType::MultiVarchar => "STRING".into(),
            SqlType::Boolean
            | SqlType::TinyInt
            | SqlType::SmallInt
            | SqlType::Integer
            | SqlType::BigInt
            | SqlType::Timestamp
            | SqlType::Date
            | SqlType::IntervalDay
            | SqlType::IntervalMonth => "LONG".into(),
            SqlType::Float => "FLOAT".into(),
            SqlType::Real | SqlType::Double | SqlType::Decimal => "DOUBLE".into(),
            SqlType::Array(element) => format!("ARRAY<{}>", element.native()),
            SqlType::Complex(name) => format!("COMPLEX<{name}>"),
            SqlType::Other => "COMPLEX".into(),
        }
    }

    /// Gives the JDBC code (`java.sql.Types`) that `INFORMATION_SCHEMA.COLUMNS` shows.
    pub fn jdbc_code(&self) -> i32 {
        match self {
            SqlType::Null => 0,
            SqlType::Boolean => 16,
            SqlType::Char(_) => 1,
            SqlType::Varchar | SqlType::MultiVarchar => 12,
            SqlType::TinyInt => -6,
            SqlType::SmallInt => 5,
            SqlType::Integer => 4,
            SqlType::BigInt => -5,
            SqlType::Float => 6,
            SqlType::Real => 7,
            SqlType::Double => 8,
            SqlType::Decimal => 3,
            SqlType::Timestamp => 93,
            SqlType::Date => 91,
            SqlType::Array(_) => 2003,
            SqlType::IntervalDay | SqlType::IntervalMonth | SqlType::Complex(_) | SqlType::Other => 1111,
        }
    }

    /// Words the type as Calcite's messages do (`<TIMESTAMP(3)>` without the brackets).
    pub(crate) fn in_message(&self) -> String {
        match self {
            SqlType::Timestamp => "TIMESTAMP(3)".into(),
            SqlType::MultiVarchar => "VARCHAR".into(),
            SqlType::Complex(name) => format!("COMPLEX<{}>", name.to_uppercase()),
            other => other.to_string(),
        }
    }

    /// Gives the family that Calcite's messages name (`NUMERIC`, `CHARACTER`).
    pub(crate) fn family(&self) -> String {
        match self {
            SqlType::Char(_) | SqlType::Varchar | SqlType::MultiVarchar => "CHARACTER".into(),
            number if number.is_numeric() => "NUMERIC".into(),
            SqlType::Array(_) => self.in_message(),
            SqlType::Complex(_) => self.to_string(),
            SqlType::IntervalDay => "INTERVAL_DAY_TIME".into(),
            SqlType::IntervalMonth => "INTERVAL_YEAR_MONTH".into(),
            other => other.name().into(),
        }
    }

    /// Tells whether it is a number.
    pub fn is_numeric(&self) -> bool {
        self.is_integer() || self.is_fraction()
    }

    /// Tells whether it is an integer.
    pub fn is_integer(&self) -> bool {
        matches!(
            self,
            SqlType::TinyInt | SqlType::SmallInt | SqlType::Integer | SqlType::BigInt
        )
    }

    /// Tells whether it is a number that may have a fraction.
    pub fn is_fraction(&self) -> bool {
        matches!(
            self,
            SqlType::Float | SqlType::Real | SqlType::Double | SqlType::Decimal
        )
    }

    /// Tells whether it is text, with one or several values.
    pub fn is_text(&self) -> bool {
        matches!(self, SqlType::Char(_) | SqlType::Varchar | SqlType::MultiVarchar)
    }

    /// Tells whether it is a point in time.
    pub fn is_time(&self) -> bool {
        matches!(self, SqlType::Timestamp | SqlType::Date)
    }

    /// Tells whether it is a span of time.
    pub fn is_interval(&self) -> bool {
        matches!(self, SqlType::IntervalDay | SqlType::IntervalMonth)
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlType::Char(length) => write!(f, "CHAR({length})"),
            SqlType::Array(element) => write!(f, "{element} ARRAY"),
            SqlType::Complex(name) => write!(f, "COMPLEX<{name}>"),
            SqlType::IntervalDay => f.write_str("INTERVAL DAY"),
            SqlType::IntervalMonth => f.write_str("INTERVAL MONTH"),
            other => f.write_str(other.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_carry_the_type() {
        for sql_type in [
            SqlType::Varchar,
            SqlType::MultiVarchar,
            SqlType::Integer,
            SqlType::BigInt,
            SqlType::Date,
            SqlType::Decimal,
            SqlType::Array(Box::new(SqlType::Varchar)),
            SqlType::Complex("json".into()),
        ] {
            assert_eq!(SqlType::from_field(&sql_type.field("x", true)), sql_type);
        }
        assert_eq!(
            SqlType::parse("ARRAY<STRING>").map(|t| t.native()),
            Some("ARRAY<STRING>".to_string())
        );
    }
}
