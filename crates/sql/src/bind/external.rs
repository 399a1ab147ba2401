//! External data in FROM: `EXTERN`, and a table function for each input source.
//!
//! `TABLE(INLINE(data => ARRAY['1,a'], format => 'csv')) (n BIGINT, s VARCHAR)` says in SQL what EXTERN says in JSON: the
//! arguments become the JSON of the source and of the format (Druid: `InlineInputSourceDefn`, `LocalInputSourceDefn`,
//! `HttpInputSourceDefn`, `InputFormats`), and the column list becomes the columns of the format.

use std::collections::BTreeMap;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{self, Spanned, TableAlias};
use henge_input::{ExternColumn, ExternSpec, ExternType, InputFormat, InputSource};
use serde_json::{Map, Value, json};

use super::expr::Cx;
use super::from::FromItem;
use super::scope::did_you_mean;
use super::{Binder, TableSource, literal, nearest};
use crate::{EngineKind, SqlError};

/// A table function that reads an input source.
struct SourceFunction {
    name: &'static str,
    /// Arguments of the source, in the order in which they may stand without names.
    arguments: &'static [&'static str],
    to_json: fn(&Arguments) -> Result<Value, SqlError>,
}

const SOURCES: [SourceFunction; 3] = [
    SourceFunction {
        name: "INLINE",
        arguments: &["data"],
        to_json: inline,
    },
    SourceFunction {
        name: "LOCALFILES",
        arguments: &["baseDir", "filter", "files"],
        to_json: local,
    },
    SourceFunction {
        name: "HTTP",
        arguments: &["uris", "userName", "password", "passwordEnvVar", "headers"],
        to_json: http,
    },
];

/// Arguments of the formats, behind those of every source.
const FORMAT_ARGUMENTS: [&str; 5] = ["format", "listDelimiter", "skipHeaderRows", "delimiter", "keepNulls"];

/// Sources that Druid or its extensions read and henge does not, by the name that a function would have.
const ELSEWHERE: [&str; 9] = [
    "S3",
    "AZURE",
    "AZURESTORAGE",
    "GOOGLE",
    "HDFS",
    "ICEBERG",
    "DELTA",
    "OSS",
    "SQL",
];

/// The named arguments of a table function.
type Arguments = BTreeMap<&'static str, Value>;

/// Tells whether an upper case name is a table function that reads an input source, offered or not.
pub(super) fn is_source(name: &str) -> bool {
    SOURCES.iter().any(|source| source.name == name) || ELSEWHERE.contains(&name)
}

/// Words what Druid says of table functions that it does not know.
pub(super) fn no_schema(name: &str) -> String {
    format!(
        "Uncategorized calcite error message: [org.apache.druid.java.util.common.IAE: Function {} does not accept an EXTEND clause (or a schema list)]",
        name.to_ascii_uppercase()
    )
}

impl Binder<'_> {
    pub(super) fn extern_table(
        &self,
        function: &ast::Function,
        columns: Option<&Vec<ExternColumn>>,
        alias: Option<&TableAlias>,
    ) -> Result<FromItem, SqlError> {
        let ast::FunctionArguments::List(list) = &function.args else {
            return Err(SqlError::input("EXTERN requires an [inputSource] and an [inputFormat]"));
        };
        if list.args.len() < 2 {
            let given = list.args.iter().map(|_| "<CHARACTER>");
            let given: Vec<&str> = given.collect();
            return Err(SqlError::invalid_at(
                format!("No match found for function signature EXTERN({})", given.join(", ")),
                self.place_of_start(function.name.span().start),
            ));
        }
        let mut values: [Option<String>; 3] = [None, None, None];
        for (i, argument) in list.args.iter().enumerate() {
            let (slot, expr) = match argument {
                ast::FunctionArg::Named { name, arg, .. } => {
                    let slot = ["inputSource", "inputFormat", "signature"]
                        .iter()
                        .position(|known| name.value.eq_ignore_ascii_case(known));
                    (slot, arg)
                }
                ast::FunctionArg::Unnamed(arg) => (Some(i), arg),
                ast::FunctionArg::ExprNamed { .. } => (None, &ast::FunctionArgExpr::Wildcard),
            };
            let (Some(slot), ast::FunctionArgExpr::Expr(expr)) = (slot.filter(|slot| *slot < 3), expr) else {
                return Err(SqlError::invalid_at(
                    "EXTERN takes [inputSource], [inputFormat] and [signature] only".to_string(),
                    self.place_of_start(function.name.span().start),
                ));
            };
            values[slot] = self.text_literal(expr)?;
        }
        let [source, format, signature] = values;
        match (&signature, columns) {
            (Some(_), Some(_)) => {
                return Err(SqlError::input(
                    "EXTERN requires either a [signature] value or an EXTEND clause, but not both",
                ));
            }
            (None, None) => {
                return Err(SqlError::input(
                    "EXTERN requires either a [signature] value or an EXTEND clause",
                ));
            }
            _ => {}
        }
        let spec = ExternSpec::parse(
            source.as_deref().unwrap_or_default(),
            format.as_deref().unwrap_or_default(),
            signature.as_deref(),
        )
        .map_err(|error| extern_error(&error))?;
        let spec = match columns {
            Some(columns) => spec.with_columns(columns.clone()),
            None => spec,
        };
        self.external(spec, alias)
    }

    /// `TABLE(INLINE(…)) (…)` and its like.
    pub(super) fn source_table(
        &self,
        name: &str,
        function: &ast::Function,
        columns: Option<&Vec<ExternColumn>>,
        alias: Option<&TableAlias>,
    ) -> Result<FromItem, SqlError> {
        let Some(source) = SOURCES.iter().find(|source| source.name == name) else {
            let offered: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
            return Err(SqlError::unsupported(format!(
                "Table function [{name}] is not supported, supported are {}, EXTERN",
                offered.join(", ")
            )));
        };
        if self.engine == EngineKind::Native {
            let error = SqlError::general(
                crate::Persona::User,
                crate::Category::Uncategorized,
                no_schema(source.name),
            );
            return Err(error.hint(Some(
                "external data is read by tasks: give the statement to the task engine".into(),
            )));
        }
        let Some(columns) = columns else {
            return Err(SqlError::input(format!(
                "Function requires a schema: TABLE({name}(...)) (<col> <type>...)"
            )));
        };
        let arguments = self.source_arguments(source, function)?;
        let json = (source.to_json)(&arguments)?;
        let format = format_json(&arguments, columns)?;
        let spec = ExternSpec::parse(&json.to_string(), &format.to_string(), None)
            .map_err(|error| extern_error(&error))?
            .with_columns(columns.clone());
        self.external(spec, alias)
    }

    /// Reads the arguments, named or in their order.
    fn source_arguments(&self, source: &SourceFunction, function: &ast::Function) -> Result<Arguments, SqlError> {
        let place = || self.place_of_start(function.name.span().start);
        let known: Vec<&'static str> = source.arguments.iter().chain(&FORMAT_ARGUMENTS).copied().collect();
        let list = match &function.args {
            ast::FunctionArguments::List(list) => list.args.as_slice(),
            _ => &[],
        };
        let mut arguments = Arguments::new();
        for (i, argument) in list.iter().enumerate() {
            let (name, expr) = match argument {
                ast::FunctionArg::Named { name, arg, .. } => {
                    let found = known.iter().find(|known| name.value.eq_ignore_ascii_case(known));
                    let found = found.copied().ok_or_else(|| {
                        SqlError::invalid_at(
                            format!("Param '{}' not found in function '{}'", name.value, source.name),
                            place(),
                        )
                        .hint(did_you_mean(nearest(&name.value, known.iter().copied())))
                    })?;
                    (found, arg)
                }
                ast::FunctionArg::Unnamed(arg) => match known.get(i) {
                    Some(name) => (*name, arg),
                    None => {
                        return Err(SqlError::invalid_at(
                            format!(
                                "Invalid number of arguments to function '{}'. Was expecting {} arguments",
                                source.name,
                                known.len()
                            ),
                            place(),
                        ));
                    }
                },
                ast::FunctionArg::ExprNamed { .. } => {
                    return Err(SqlError::invalid_at(
                        format!("Argument [{argument}] of {} is not supported", source.name),
                        place(),
                    ));
                }
            };
            let ast::FunctionArgExpr::Expr(expr) = expr else {
                return Err(SqlError::invalid_at(
                    format!("Argument [{name}] of {} is not supported", source.name),
                    place(),
                ));
            };
            let bound = self.expr(expr, &Cx::constant())?;
            let value = literal::constant(&bound.expr)
                .and_then(|value| to_json(&value))
                .ok_or_else(|| {
                    SqlError::invalid_at(
                        format!(
                            "Argument [{name}] of {} must be a literal or an ARRAY of literals",
                            source.name
                        ),
                        self.place(expr),
                    )
                })?;
            if arguments.insert(name, value).is_some() {
                return Err(SqlError::invalid_at(
                    format!("Duplicate argument name '{name}'"),
                    self.place(expr),
                ));
            }
        }
        arguments.retain(|_, value| !value.is_null());
        Ok(arguments)
    }

    /// Makes a table of external data.
    fn external(&self, mut spec: ExternSpec, alias: Option<&TableAlias>) -> Result<FromItem, SqlError> {
        // The interactive engine refuses the statement once it is bound.
        if may_hold_lists(&spec) && !self.parsed.explain && self.engine == EngineKind::Task {
            if self.asks_servers || !is_remote(&spec.source) {
                // A source that cannot be read fails when the statement runs, with the file and the line.
                let _ = spec.mark_multi_values();
            } else {
                self.state.borrow_mut().unasked = true;
            }
        }
        self.add_resource("EXTERNAL", "EXTERNAL");
        let qualifier = self.qualifier(alias.map_or("external", |a| a.name.value.as_str()));
        self.state
            .borrow_mut()
            .tables
            .insert(qualifier.clone(), TableSource::Extern(Box::new(spec.clone())));
        self.scan(self.catalog.extern_table(spec), &qualifier, alias)
    }
}

/// Gives a literal as JSON; `None` where arguments of table functions have no such type.
fn to_json(value: &ScalarValue) -> Option<Value> {
    Some(match value {
        value if value.is_null() => Value::Null,
        ScalarValue::Utf8(Some(text)) => json!(text),
        ScalarValue::Boolean(Some(flag)) => json!(flag),
        ScalarValue::Int64(Some(number)) => json!(number),
        ScalarValue::Float64(Some(number)) => json!(number),
        ScalarValue::List(list) => {
            let texts = cast(&list.value(0), &DataType::Utf8).ok()?;
            Value::Array(texts.as_string::<i32>().iter().map(|text| json!(text)).collect())
        }
        _ => return None,
    })
}

/// Gives a text argument.
fn text<'a>(arguments: &'a Arguments, name: &str) -> Result<Option<&'a str>, SqlError> {
    match arguments.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(SqlError::input(format!(
            "Argument [{name}] must be a text, got [{other}]"
        ))),
    }
}

/// Gives an argument that is a list of texts, or one text.
fn texts(arguments: &Arguments, name: &str) -> Result<Vec<String>, SqlError> {
    let wrong = |found: &Value| SqlError::input(format!("Argument [{name}] must be an ARRAY of texts, got [{found}]"));
    match arguments.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_string).ok_or_else(|| wrong(item)))
            .collect(),
        Some(other) => Err(wrong(other)),
    }
}

fn inline(arguments: &Arguments) -> Result<Value, SqlError> {
    let lines = texts(arguments, "data")?;
    if lines.is_empty() {
        return Err(SqlError::input(
            "An inline table requires one or more rows of data in the 'data' property",
        ));
    }
    let mut data = lines.join("\n");
    // Druid ends the last row, so that it is read like the others.
    if !data.ends_with('\n') {
        data.push('\n');
    }
    Ok(json!({"type": "inline", "data": data}))
}

fn local(arguments: &Arguments) -> Result<Value, SqlError> {
    let base = text(arguments, "baseDir")?.filter(|base| !base.is_empty());
    let filter = text(arguments, "filter")?.filter(|filter| !filter.is_empty());
    let files = texts(arguments, "files")?;
    match (base, filter, files.is_empty()) {
        (None, _, true) => Err(SqlError::input(
            "A local input source requires one parameter of baseDir or files",
        )),
        (Some(_), Some(_), false) => Err(SqlError::input(
            "A local input source can set parameter files or filter, but not both.",
        )),
        (None, Some(_), false) => Err(SqlError::input(
            "If a local input source sets parameter filter, it must also set parameter baseDir",
        )),
        (Some(base), None, false) => {
            let base = std::path::Path::new(base);
            let files: Vec<String> = files.iter().map(|file| base.join(file).display().to_string()).collect();
            Ok(json!({"type": "local", "files": files}))
        }
        (Some(base), filter, true) => Ok(json!({"type": "local", "baseDir": base, "filter": filter.unwrap_or("*")})),
        (None, None, false) => Ok(json!({"type": "local", "files": files})),
    }
}

fn http(arguments: &Arguments) -> Result<Value, SqlError> {
    let uris = texts(arguments, "uris")?;
    if uris.is_empty() {
        return Err(SqlError::input("One or more URIs is required in parameter uris"));
    }
    let mut source = Map::new();
    source.insert("type".into(), json!("http"));
    source.insert("uris".into(), json!(uris));
    if let Some(user) = text(arguments, "userName")? {
        source.insert("httpAuthenticationUsername".into(), json!(user));
    }
    let password = match (text(arguments, "password")?, text(arguments, "passwordEnvVar")?) {
        (Some(_), Some(_)) => {
            return Err(SqlError::input("Specify only one of password or passwordEnvVar"));
        }
        (Some(password), None) => Some(json!({"type": "default", "password": password})),
        (None, Some(variable)) => Some(json!({"type": "environment", "variable": variable})),
        (None, None) => None,
    };
    if let Some(password) = password {
        source.insert("httpAuthenticationPassword".into(), password);
    }
    if let Some(headers) = text(arguments, "headers")? {
        let headers: BTreeMap<String, String> =
            serde_json::from_str(headers).map_err(|_| SqlError::input("Failed read map from headers json"))?;
        source.insert("requestHeaders".into(), json!(headers));
    }
    Ok(Value::Object(source))
}

/// Makes the JSON of the format: text files have the columns of the list in its order.
fn format_json(arguments: &Arguments, columns: &[ExternColumn]) -> Result<Value, SqlError> {
    let Some(name) = text(arguments, "format")? else {
        return Err(SqlError::input("Must provide a value for the [format] parameter"));
    };
    let mut format = Map::new();
    format.insert("type".into(), json!(name));
    match name {
        "csv" | "tsv" => {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            format.insert("columns".into(), json!(names));
            format.insert("findColumnsFromHeader".into(), json!(false));
            let skipped = match arguments.get("skipHeaderRows") {
                None => json!(0),
                // Druid's documentation calls it a boolean.
                Some(Value::Bool(skip)) => json!(u8::from(*skip)),
                Some(rows) if rows.is_u64() => rows.clone(),
                Some(other) => {
                    return Err(SqlError::input(format!(
                        "Argument [skipHeaderRows] must be a number of rows, got [{other}]"
                    )));
                }
            };
            format.insert("skipHeaderRows".into(), skipped);
            if let Some(delimiter) = text(arguments, "listDelimiter")? {
                format.insert("listDelimiter".into(), json!(delimiter));
            }
            if let Some(delimiter) = text(arguments, "delimiter")?
                && name == "tsv"
            {
                format.insert("delimiter".into(), json!(delimiter));
            }
        }
        "json" | "parquet" | "lines" => {}
        other => {
            return Err(
                SqlError::input(format!("Format type [{other}] for property [format] is not valid"))
                    .hint(Some("formats are csv, tsv, json, lines and parquet".into())),
            );
        }
    }
    Ok(Value::Object(format))
}

/// Tells whether reading the source asks a server.
fn is_remote(source: &InputSource) -> bool {
    match source {
        InputSource::Http(_) => true,
        InputSource::Combining(sources) => sources.iter().any(is_remote),
        InputSource::Inline(_) | InputSource::Local(_) | InputSource::Nil => false,
    }
}

/// Tells whether a text column of the source may have several values in a row, which the first rows tell.
fn may_hold_lists(spec: &ExternSpec) -> bool {
    let lists = match &spec.format {
        InputFormat::Json(_) | InputFormat::Parquet(_) => true,
        InputFormat::Csv(format) | InputFormat::Tsv(format) => format.list_delimiter != DEFAULT_LIST_DELIMITER,
        InputFormat::Lines => false,
    };
    lists
        && spec
            .columns
            .iter()
            .any(|column| column.column_type == ExternType::String)
}

/// The character that Druid separates the values of a field by where the format names none.
const DEFAULT_LIST_DELIMITER: &str = "\u{1}";

fn extern_error(error: &henge_input::InputError) -> SqlError {
    match error {
        henge_input::InputError::InvalidJson { .. } => SqlError::input(error.to_string()),
        henge_input::InputError::InvalidSignature(text) => SqlError::general(
            crate::Persona::User,
            crate::Category::Uncategorized,
            format!("Uncategorized calcite error message: [org.apache.druid.java.util.common.ISE: {text}]"),
        ),
        other => SqlError::unsupported(other.to_string()),
    }
}
