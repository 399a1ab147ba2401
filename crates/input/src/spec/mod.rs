//! What an `EXTERN` says: source, format and columns, read from Druid's JSON and written back unchanged.

mod column;
mod flatten;
mod format;
mod json_text;
mod source;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use column::{ExternColumn, ExternType, MULTI_VALUE, TYPE_METADATA};
pub use flatten::{FlattenField, FlattenSpec, PathStep};
pub use format::{DelimitedFormat, InputFormat, JsonFormat, ParquetFormat};
pub use source::{HttpSource, InputSource, LocalSource, Password, SystemField};

use crate::error::InputError;
use crate::reader::ReadOptions;

/// External data: where it is, how it is written, and which columns are wanted. Serialises as Druid's native external data
/// source does: `{"inputSource":…,"inputFormat":…,"signature":[…]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Serialized", into = "Serialized")]
pub struct ExternSpec {
    /// Where the data is.
    pub source: InputSource,
    /// How it is written.
    pub format: InputFormat,
    /// The columns, in the order of the signature.
    pub columns: Vec<ExternColumn>,
    /// The JSON of source and format as it was given.
    pub raw: (Value, Value),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Serialized {
    input_source: Value,
    input_format: Value,
    signature: Vec<ExternColumn>,
}

impl From<ExternSpec> for Serialized {
    fn from(spec: ExternSpec) -> Self {
        Self {
            input_source: spec.raw.0,
            input_format: spec.raw.1,
            signature: spec.columns,
        }
    }
}

impl TryFrom<Serialized> for ExternSpec {
    type Error = InputError;

    fn try_from(serialized: Serialized) -> Result<Self, InputError> {
        let source = serialized.input_source.to_string();
        let format = serialized.input_format.to_string();
        Ok(Self::parse(&source, &format, None)?.with_columns(serialized.signature))
    }
}

impl ExternSpec {
    /// Reads the arguments of an `EXTERN`. Without a signature there are no columns yet: give them with
    /// [`with_columns`](Self::with_columns).
    ///
    /// Errors are worded as Druid words them and carry the kind of their argument.
    pub fn parse(source: &str, format: &str, signature: Option<&str>) -> Result<Self, InputError> {
        let parsed_source = InputSource::parse(source)?;
        let parsed_format = InputFormat::parse(format)?;
        let columns = signature
            .map(ExternColumn::parse_signature)
            .transpose()?
            .unwrap_or_default();
        // Both texts were parsed above, so neither can fail here.
        let raw = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        Ok(Self {
            source: parsed_source,
            format: parsed_format,
            columns,
            raw: (raw(source), raw(format)),
        })
    }

    /// Replaces the columns, for a list of columns in SQL.
    pub fn with_columns(mut self, columns: Vec<ExternColumn>) -> Self {
        self.columns = columns;
        self
    }

    /// Gives the Arrow schema of all columns: STRING and COMPLEX `Utf8`, multi-value STRING `List<Utf8>`, LONG `Int64`,
    /// DOUBLE `Float64`, FLOAT `Float32`, ARRAY `List`.
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns.iter().map(ExternColumn::field).collect::<Vec<_>>(),
        ))
    }

    /// Gives the schema of the batches that a reader makes with these options.
    pub fn read_schema(&self, options: &ReadOptions) -> SchemaRef {
        let dictionaries = options.dictionary_strings && matches!(self.format, InputFormat::Parquet(_));
        let fields = options
            .projection
            .iter()
            .filter_map(|&i| self.columns.get(i))
            .map(|column| {
                let field = column.field();
                if dictionaries && column.column_type == ExternType::String && !column.multi_value {
                    let keys = Box::new(DataType::UInt32);
                    return Field::new(&column.name, DataType::Dictionary(keys, Box::new(DataType::Utf8)), true);
                }
                field
            });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests;
