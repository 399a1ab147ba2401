//! Input formats: the second argument of `EXTERN`.

use serde_json::Value;

use super::flatten::FlattenSpec;
use super::json_text::{JsonText, Properties};
use crate::error::InputError;

/// How the bytes of a file become rows.
#[derive(Debug, Clone, PartialEq)]
pub enum InputFormat {
    /// JSON objects.
    Json(JsonFormat),
    /// Comma-separated values with quotes.
    Csv(DelimitedFormat),
    /// Values separated by one character, without quotes.
    Tsv(DelimitedFormat),
    /// One column `line`.
    Lines,
    /// Apache Parquet.
    Parquet(ParquetFormat),
}

/// JSON objects, one a line or spread over lines.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JsonFormat {
    /// Fields by path; none means that the fields at the root are the columns.
    pub flatten: Option<FlattenSpec>,
    /// Whether strings may hold unescaped control characters (Jackson: `ALLOW_UNQUOTED_CONTROL_CHARS`).
    pub allow_control_characters: bool,
    /// Whether `NaN` and `Infinity` are numbers (Jackson: `ALLOW_NON_NUMERIC_NUMBERS`).
    pub allow_non_numeric_numbers: bool,
    /// Read for the sake of Druid's clients; a field that is null is a null, kept or not.
    pub keep_null_columns: bool,
    /// Whether a line is a record whatever the file looks like.
    pub assume_newline_delimited: bool,
}

/// Values separated by a character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelimitedFormat {
    /// What separates fields: one ASCII character.
    pub delimiter: u8,
    /// What separates the values of one field.
    pub list_delimiter: String,
    /// Names of the fields; empty means that the header says them.
    pub columns: Vec<String>,
    /// Whether the first line after the skipped ones is a header. With `columns` it is read and left out.
    pub find_columns_from_header: bool,
    /// Lines left out before the header.
    pub skip_header_rows: u32,
    /// Whether fields that look like numbers are numbers, which matters to STRING columns only.
    pub try_parse_numbers: bool,
}

/// Apache Parquet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParquetFormat {
    /// Fields by path.
    pub flatten: Option<FlattenSpec>,
    /// Whether binary columns without a logical type are text; otherwise they read as base64.
    pub binary_as_string: bool,
}

const SUPPORTED: &str = "json, csv, tsv, lines, parquet";

/// What separates the values of one field when nobody says otherwise (Druid: `Parsers.DEFAULT_LIST_DELIMITER`).
const DEFAULT_LIST_DELIMITER: &str = "\u{1}";

/// Formats that Druid has, in its core or in an extension.
const KNOWN_TO_DRUID: &[&str] = &[
    "regex",
    "javascript",
    "orc",
    "avro_ocf",
    "avro_stream",
    "protobuf",
    "kafka",
    "kinesis",
    "thrift",
];

/// Jackson parser features that may be switched on; the others may only be switched off.
const FEATURES: &[&str] = &["ALLOW_UNQUOTED_CONTROL_CHARS", "ALLOW_NON_NUMERIC_NUMBERS"];

impl InputFormat {
    pub(crate) fn parse(text: &str) -> Result<Self, InputError> {
        let text = JsonText::format(text);
        let (name, object) = text.parse()?;
        let properties = Properties {
            text: &text,
            object: &object,
        };
        match name.as_str() {
            "json" => json(&properties).map(Self::Json),
            "csv" => delimited(&properties, b',', "CsvInputFormat").map(Self::Csv),
            "tsv" => {
                let delimiter = match properties.string("delimiter")? {
                    None => b'\t',
                    Some(delimiter) => match delimiter.as_bytes() {
                        [byte] if byte.is_ascii() && *byte != b'\n' && *byte != b'\r' => *byte,
                        _ => {
                            return Err(InputError::Unsupported {
                                what: "tsv delimiter",
                                name: delimiter,
                                supported: "one ASCII character that ends no line",
                            });
                        }
                    },
                };
                delimited(&properties, delimiter, "DelimitedInputFormat").map(Self::Tsv)
            }
            "lines" => Ok(Self::Lines),
            "parquet" => Ok(Self::Parquet(ParquetFormat {
                flatten: flatten(&properties, false)?,
                binary_as_string: properties.bool("binaryAsString")?.unwrap_or(false),
            })),
            name if KNOWN_TO_DRUID.contains(&name) => Err(InputError::Unsupported {
                what: "input format",
                name: name.to_string(),
                supported: SUPPORTED,
            }),
            name => Err(text.unknown_type(name)),
        }
    }

    /// Names the format as Druid does.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Csv(_) => "csv",
            Self::Tsv(_) => "tsv",
            Self::Lines => "lines",
            Self::Parquet(_) => "parquet",
        }
    }
}

fn flatten(properties: &Properties<'_>, jq: bool) -> Result<Option<FlattenSpec>, InputError> {
    match properties.value("flattenSpec") {
        None => Ok(None),
        Some(value) => FlattenSpec::parse(properties.text, value, jq).map(Some),
    }
}

fn json(properties: &Properties<'_>) -> Result<JsonFormat, InputError> {
    let mut format = JsonFormat {
        flatten: flatten(properties, true)?,
        assume_newline_delimited: properties.bool("assumeNewlineDelimited")?.unwrap_or(false),
        ..JsonFormat::default()
    };
    // Druid's default: nulls are kept where fields are discovered.
    let discovers = format.flatten.as_ref().is_some_and(|flatten| flatten.discover);
    format.keep_null_columns = properties.bool("keepNullColumns")?.unwrap_or(discovers);
    let use_node_reader = properties.bool("useJsonNodeReader")?.unwrap_or(false);
    if use_node_reader && format.assume_newline_delimited {
        let problem = "useJsonNodeReader cannot be set to true when assumeNewlineDelimited is true.";
        return Err(properties.text.problem("JsonInputFormat", problem));
    }
    match properties.value("featureSpec") {
        None => {}
        Some(Value::Object(features)) => {
            for (name, value) in features {
                let on = value
                    .as_bool()
                    .ok_or_else(|| properties.text.property("featureSpec", "an object of true and false"))?;
                match name.as_str() {
                    "ALLOW_UNQUOTED_CONTROL_CHARS" => format.allow_control_characters = on,
                    "ALLOW_NON_NUMERIC_NUMBERS" => format.allow_non_numeric_numbers = on,
                    _ if on => {
                        return Err(InputError::Unsupported {
                            what: "JSON parser feature",
                            name: name.clone(),
                            supported: "ALLOW_UNQUOTED_CONTROL_CHARS, ALLOW_NON_NUMERIC_NUMBERS",
                        });
                    }
                    _ => debug_assert!(!FEATURES.contains(&name.as_str())),
                }
            }
        }
        Some(_) => return Err(properties.text.property("featureSpec", "an object of true and false")),
    }
    Ok(format)
}

fn delimited(properties: &Properties<'_>, delimiter: u8, class: &str) -> Result<DelimitedFormat, InputError> {
    let text = properties.text;
    let columns = properties.strings("columns")?.unwrap_or_default();
    let from_header = properties.bool("findColumnsFromHeader")?;
    let has_header = properties.bool("hasHeaderRow")?;
    let find_columns_from_header = if columns.is_empty() {
        match (has_header, from_header) {
            (Some(_), Some(_)) => {
                return Err(text.problem(class, "Cannot accept both [findColumnsFromHeader] and [hasHeaderRow]"));
            }
            (None, None) => {
                return Err(text.problem(class, "Either [columns] or [findColumnsFromHeader] must be set"));
            }
            (one, other) => one.or(other).unwrap_or(false),
        }
    } else {
        from_header.unwrap_or(false)
    };
    if columns.is_empty() && !find_columns_from_header {
        let problem = "If [columns] is not set, the first row of your data must have your header and \
                       [findColumnsFromHeader] must be set to true.";
        return Err(text.problem(class, problem));
    }
    let delimiter_text = char::from(delimiter).to_string();
    if let Some(column) = columns.iter().find(|column| column.contains(&delimiter_text)) {
        let problem = format!("Column[{column}] cannot have the delimiter[{delimiter_text}] in its name");
        return Err(text.problem(class, &problem));
    }
    let list_delimiter = match properties.string("listDelimiter")? {
        None => DEFAULT_LIST_DELIMITER.to_string(),
        Some(list) if list == delimiter_text => {
            let problem = format!("Cannot have same delimiter and list delimiter of [{list}]");
            return Err(text.problem(class, &problem));
        }
        Some(list) if list.is_empty() => return Err(text.property("listDelimiter", "at least one character")),
        Some(list) => list,
    };
    Ok(DelimitedFormat {
        delimiter,
        list_delimiter,
        columns,
        find_columns_from_header,
        skip_header_rows: properties.count("skipHeaderRows")?.unwrap_or(0),
        try_parse_numbers: properties.bool("tryParseNumbers")?.unwrap_or(false),
    })
}
