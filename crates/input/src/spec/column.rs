//! Names and types of the columns of an `EXTERN`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::InputError;
use crate::spec::json_text::JsonText;

/// Key of the Arrow field metadata that names what Arrow's type does not say.
pub const TYPE_METADATA: &str = "henge.type";
/// Value of [`TYPE_METADATA`] for a multi-value string.
pub const MULTI_VALUE: &str = "multi";

/// The native type of a column; its text is Druid's (`STRING`, `ARRAY<LONG>`, `COMPLEX<json>`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExternType {
    /// Text.
    String,
    /// 64-bit integers.
    Long,
    /// 64-bit floating point.
    Double,
    /// 32-bit floating point.
    Float,
    /// Lists.
    Array(Box<ExternType>),
    /// Anything with a name, such as `json`.
    Complex(String),
}

impl ExternType {
    /// Reads a native type name in any case; `None` when there is no such type.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        Some(match lower.as_str() {
            "string" => Self::String,
            "long" => Self::Long,
            "double" => Self::Double,
            "float" => Self::Float,
            _ => {
                let open = text.find('<')?;
                let inner = text.get(open + 1..)?.strip_suffix('>')?;
                match lower.get(..open)? {
                    "array" => Self::Array(Box::new(Self::parse(inner)?)),
                    "complex" if !inner.trim().is_empty() => Self::Complex(inner.trim().to_string()),
                    _ => return None,
                }
            }
        })
    }

    /// Gives the Arrow type that readers produce.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::String | Self::Complex(_) => DataType::Utf8,
            Self::Long => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Float => DataType::Float32,
            Self::Array(item) => DataType::List(Arc::new(Field::new("item", item.data_type(), true))),
        }
    }
}

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => f.write_str("STRING"),
            Self::Long => f.write_str("LONG"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Float => f.write_str("FLOAT"),
            Self::Array(item) => write!(f, "ARRAY<{item}>"),
            Self::Complex(name) => write!(f, "COMPLEX<{name}>"),
        }
    }
}

impl Serialize for ExternType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExternType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown column type [{text}]")))
    }
}

/// A column of an `EXTERN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternColumn {
    /// The name, which is also the name of the field.
    pub name: String,
    /// The native type.
    #[serde(rename = "type")]
    pub column_type: ExternType,
    /// Whether a STRING column is read as `List<Utf8>` marked multi-value. Otherwise a list with several values reads as
    /// its JSON text `["a","b"]`, which is how Druid prints it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multi_value: bool,
}

impl ExternColumn {
    /// Makes a column that is not multi-value.
    pub fn new(name: impl Into<String>, column_type: ExternType) -> Self {
        Self {
            name: name.into(),
            column_type,
            multi_value: false,
        }
    }

    /// Reads a signature, `[{"name":"a","type":"long"}, …]`.
    pub fn parse_signature(text: &str) -> Result<Vec<Self>, InputError> {
        let json = JsonText::signature(text);
        let entries = json.list()?;
        let mut columns: Vec<Self> = Vec::with_capacity(entries.len());
        for entry in entries {
            let member = |name: &str| entry.get(name).and_then(Value::as_str);
            let name = member("name").filter(|name| !name.is_empty());
            let name =
                name.ok_or_else(|| json.no_signature("ColumnSignature", "Column name must be provided and non-empty"))?;
            let column_type = member("type")
                .and_then(ExternType::parse)
                .ok_or_else(|| InputError::InvalidSignature(format!("Encountered null type for column[{name}]")))?;
            if let Some(other) = columns.iter().find(|column| column.name == name) {
                if other.column_type != column_type {
                    let problem = format!(
                        "Column[{name}] has conflicting types [{}] and [{column_type}]",
                        other.column_type
                    );
                    return Err(json.no_signature("RowSignature", &problem));
                }
                return Err(InputError::InvalidSignature(format!(
                    "Column [{name}] is in the signature more than once"
                )));
            }
            columns.push(Self::new(name, column_type));
        }
        Ok(columns)
    }

    /// Gives the Arrow field that readers produce.
    pub fn field(&self) -> Field {
        match &self.column_type {
            ExternType::String if self.multi_value => {
                let item = Arc::new(Field::new("item", DataType::Utf8, true));
                Field::new(&self.name, DataType::List(item), true)
                    .with_metadata(HashMap::from([(TYPE_METADATA.to_string(), MULTI_VALUE.to_string())]))
            }
            ExternType::Complex(_) => Field::new(&self.name, DataType::Utf8, true).with_metadata(HashMap::from([(
                TYPE_METADATA.to_string(),
                self.column_type.to_string(),
            )])),
            other => Field::new(&self.name, other.data_type(), true),
        }
    }
}
