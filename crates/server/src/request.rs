//! Reading the body of a SQL request: JSON, bare SQL, or a form (Druid's `SqlQuery.from`).

use axum::http::{HeaderMap, StatusCode, header};
use henge_sql::SqlParameter;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::jackson;
use crate::results::ResultFormat;

/// Names that Druid accepts as the type of a parameter, in the order in which its message lists them.
const PARAMETER_TYPES: [&str; 47] = [
    "BINARY",
    "NULL",
    "BOOLEAN",
    "MULTISET",
    "NCLOB",
    "LONGNVARCHAR",
    "ANY",
    "TIME",
    "NVARCHAR",
    "DOUBLE",
    "STRUCT",
    "CHAR",
    "SYMBOL",
    "BLOB",
    "INTEGER",
    "TIME_WITH_TIMEZONE",
    "LONGVARCHAR",
    "NCHAR",
    "COLUMN_LIST",
    "INTERVAL_DAY_TIME",
    "NUMERIC",
    "DATE",
    "BIGINT",
    "OTHER",
    "DECIMAL",
    "REF",
    "TIMESTAMP",
    "ARRAY",
    "ROW",
    "FLOAT",
    "SQLXML",
    "LONGVARBINARY",
    "TINYINT",
    "ROWID",
    "CURSOR",
    "INTERVAL_YEAR_MONTH",
    "VARCHAR",
    "REAL",
    "DATALINK",
    "BIT",
    "JAVA_OBJECT",
    "CLOB",
    "DISTINCT",
    "SMALLINT",
    "TIMESTAMP_WITH_TIMEZONE",
    "VARBINARY",
    "MAP",
];

/// A SQL request as it came over HTTP.
#[derive(Debug, Clone, Default)]
pub struct SqlBody {
    /// The statement.
    pub query: String,
    /// How rows are wanted.
    pub format: ResultFormat,
    /// A row of names.
    pub header: bool,
    /// A row of native types.
    pub types_header: bool,
    /// A row of SQL types.
    pub sql_types_header: bool,
    /// Query context.
    pub context: Map<String, Value>,
    /// Values of `?`.
    pub parameters: Vec<SqlParameter>,
}

/// Tells whether a client takes JSON, which is all that is offered. An absent header takes anything.
pub fn accepts_json(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(header::ACCEPT).iter().peekable();
    if given.peek().is_none() {
        return true;
    }
    given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let media = range.split(';').next().unwrap_or_default().trim();
            let refused = range
                .split(';')
                .skip(1)
                .any(|part| matches!(part.trim(), "q=0" | "q=0.0"));
            !refused
                && matches!(
                    media.to_ascii_lowercase().as_str(),
                    "" | "*/*" | "*" | "application/*" | "application/json"
                )
        })
}

/// Reads a body by its content type.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<SqlBody, ApiError> {
    let bad = |message: String| ApiError::request(StatusCode::BAD_REQUEST, message);
    let media = match headers.get(header::CONTENT_TYPE).map(|value| value.to_str()) {
        None => return Err(bad("Missing Content-Type header".to_string())),
        Some(Ok(text)) if text.trim().is_empty() => return Err(bad("Missing Content-Type header".to_string())),
        Some(Ok(text)) => text,
        Some(Err(_)) => "",
    };
    let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known = essence
        .split_once('/')
        .is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty());
    if !known {
        return Err(bad(format!(
            "Invalid Content-Type header: Error parsing media type '{media}'"
        )));
    }
    match essence.as_str() {
        "application/json" => read_json(body),
        "text/plain" => bare(String::from_utf8_lossy(body).into_owned()),
        "application/x-www-form-urlencoded" => {
            let text =
                decode_form(body).map_err(|why| bad(format!("Unable to decode URL-Encoded SQL query: {why}")))?;
            bare(text)
        }
        _ => Err(ApiError::request(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "Unsupported Content-Type: {media}. Only application/json, text/plain or application/x-www-form-urlencoded is supported."
            ),
        )),
    }
}

fn bare(query: String) -> Result<SqlBody, ApiError> {
    if query.trim().is_empty() {
        return Err(ApiError::request(StatusCode::BAD_REQUEST, "Empty query"));
    }
    Ok(SqlBody {
        query,
        ..SqlBody::default()
    })
}

/// Decodes `%XX` and `+` as Java's `URLDecoder` does, with its complaints.
fn decode_form(body: &[u8]) -> Result<String, String> {
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    while at < body.len() {
        match body[at] {
            b'+' => {
                out.push(b' ');
                at += 1;
            }
            b'%' => {
                let digits = body
                    .get(at + 1..at + 3)
                    .ok_or_else(|| "URLDecoder: Incomplete trailing escape (%) pattern".to_string())?;
                let digits = String::from_utf8_lossy(digits).into_owned();
                let byte = u8::from_str_radix(&digits, 16).map_err(|_| {
                    format!("URLDecoder: Illegal hex characters in escape (%) pattern - For input string: \"{digits}\"")
                })?;
                out.push(byte);
                at += 3;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn read_json(body: &[u8]) -> Result<SqlBody, ApiError> {
    let malformed = |why: String| {
        ApiError::request(
            StatusCode::BAD_REQUEST,
            format!("Malformed SQL query wrapped in JSON: {why}"),
        )
    };
    let unreadable = |why: String| {
        ApiError::request(
            StatusCode::BAD_REQUEST,
            format!("Unable to read query from request: {why}"),
        )
    };
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::request(StatusCode::BAD_REQUEST, "Empty query"));
    }
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => {
            return Err(malformed(
                jackson::syntax_error(body).unwrap_or_else(|| error.to_string()),
            ));
        }
    };
    let class = "org.apache.druid.sql.http.SqlQuery";
    let creator = |kind: &str, shown: String| {
        let place = jackson::at(body, &[]);
        malformed(format!(
            "Cannot construct instance of `{class}` (although at least one Creator exists): no {kind}-argument constructor/factory method to deserialize from {shown}{place}"
        ))
    };
    let mut members = match value {
        Value::Object(members) => members,
        Value::Null => return Err(ApiError::request(StatusCode::BAD_REQUEST, "Empty query")),
        Value::String(text) => return Err(creator("String", format!("String value ('{text}')"))),
        Value::Bool(flag) => return Err(creator("boolean/Boolean", format!("boolean value ({flag})"))),
        Value::Number(number) if number.is_f64() => {
            return Err(creator("double/Double", format!("Number value ({number})")));
        }
        Value::Number(number) => return Err(creator("int/Int", format!("Number value ({number})"))),
        Value::Array(_) => {
            return Err(malformed(format!(
                "Cannot deserialize value of type `{class}` from {}{}",
                jackson::kind_with_token(&value),
                jackson::at(body, &[])
            )));
        }
    };
    let context = match members.remove("context") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(context)) => context,
        Some(other) => {
            return Err(malformed(format!(
                "Cannot deserialize value of type `java.util.LinkedHashMap<java.lang.String,java.lang.Object>` from {}{} (through reference chain: {class}[\"context\"])",
                jackson::kind_with_token(&other),
                jackson::at(body, &["context"])
            )));
        }
    };
    let format = match members.remove("resultFormat") {
        None | Some(Value::Null) => ResultFormat::default(),
        Some(value) => {
            let name = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            ResultFormat::read(&name).ok_or_else(|| {
                unreadable(format!(
                    "Cannot construct instance of `org.apache.druid.sql.http.ResultFormat`, problem: No enum constant org.apache.druid.sql.http.ResultFormat.{}{} (through reference chain: {class}[\"resultFormat\"])",
                    name.to_uppercase(),
                    jackson::at(body, &["resultFormat"])
                ))
            })?
        }
    };
    let parameters = match members.remove("parameters") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => {
            let mut parameters = Vec::with_capacity(items.len());
            for (i, item) in items.into_iter().enumerate() {
                parameters.push(read_parameter(item, i, body).map_err(
                    |why| match why.starts_with("Cannot construct") {
                        true => unreadable(why),
                        false => malformed(why),
                    },
                )?);
            }
            parameters
        }
        Some(other) => {
            return Err(malformed(format!(
                "Cannot deserialize value of type `java.util.ArrayList<org.apache.druid.sql.http.SqlParameter>` from {}{} (through reference chain: {class}[\"parameters\"])",
                jackson::kind_with_token(&other),
                jackson::at(body, &["parameters"])
            )));
        }
    };
    let mut flag = |name: &str| {
        let refused = |from: String, why: &str| {
            malformed(format!(
                "Cannot deserialize value of type `boolean` from {from}{why}{} (through reference chain: {class}[\"{name}\"])",
                jackson::at(body, &[name])
            ))
        };
        match members.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(Value::Number(number)) if !number.is_f64() => Ok(number.as_i64() != Some(0)),
            Some(Value::String(text)) => match text.trim() {
                "true" | "True" | "TRUE" => Ok(true),
                "false" | "False" | "FALSE" | "" => Ok(false),
                _ => Err(refused(
                    format!("String \"{text}\""),
                    ": only \"true\"/\"True\"/\"TRUE\" or \"false\"/\"False\"/\"FALSE\" recognized",
                )),
            },
            Some(other) => Err(refused(jackson::kind_with_token(&other), "")),
        }
    };
    let (header, types_header, sql_types_header) = (flag("header")?, flag("typesHeader")?, flag("sqlTypesHeader")?);
    let cannot = |problem: &str| {
        unreadable(format!(
            "Cannot construct instance of `{class}`, problem: {problem}{}",
            jackson::at_end(body)
        ))
    };
    for (wanted, name) in [(types_header, "typesHeader"), (sql_types_header, "sqlTypesHeader")] {
        if wanted && !header {
            return Err(cannot(&format!("Cannot include '{name}' without 'header'")));
        }
    }
    let query = match members.remove("query") {
        None | Some(Value::Null) => return Err(cannot("query")),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    Ok(SqlBody {
        query,
        format,
        header,
        types_header,
        sql_types_header,
        context,
        parameters,
    })
}

fn read_parameter(item: Value, index: usize, body: &[u8]) -> Result<SqlParameter, String> {
    let chain = format!(
        "(through reference chain: org.apache.druid.sql.http.SqlQuery[\"parameters\"]->java.util.ArrayList[{index}]"
    );
    let position = index.to_string();
    let Value::Object(mut members) = item else {
        return Err(format!(
            "Cannot deserialize value of type `org.apache.druid.sql.http.SqlParameter` from {}{} {chain})",
            jackson::kind_with_token(&item),
            jackson::at(body, &["parameters", &position])
        ));
    };
    let name = match members.remove("type") {
        Some(Value::String(name)) => name,
        _ => {
            return Err(format!(
                "Cannot construct instance of `org.apache.druid.sql.http.SqlParameter`, problem: `java.lang.NullPointerException`{} {chain})",
                jackson::at(body, &["parameters", &position])
            ));
        }
    };
    if !PARAMETER_TYPES.contains(&name.as_str()) {
        return Err(format!(
            "Cannot deserialize value of type `org.apache.calcite.avatica.SqlType` from String \"{name}\": not one of the values accepted for Enum class: [{}]{} {chain}->org.apache.druid.sql.http.SqlParameter[\"type\"])",
            PARAMETER_TYPES.join(", "),
            jackson::at(body, &["parameters", &position, "type"])
        ));
    }
    Ok(SqlParameter {
        sql_type: name,
        value: members.remove("value").unwrap_or(Value::Null),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        headers
    }

    fn refusal(content_type: &str, body: &str) -> String {
        let error = read(&headers(content_type), body.as_bytes()).unwrap_err();
        error.body["errorMessage"].as_str().unwrap().to_string()
    }

    #[test]
    fn bodies_of_all_kinds() {
        let json = read(
            &headers("application/json; charset=utf-8"),
            br#"{"query":"SELECT ?","resultFormat":"ARRAYLINES","header":true,"parameters":[{"type":"BIGINT","value":3}],"foo":1}"#,
        )
        .unwrap();
        assert_eq!(
            (json.query.as_str(), json.format, json.header),
            ("SELECT ?", ResultFormat::ArrayLines, true)
        );
        assert_eq!(json.parameters[0].value, 3);
        assert_eq!(read(&headers("text/plain"), b"SELECT 1").unwrap().query, "SELECT 1");
        let form = read(
            &headers("application/x-www-form-urlencoded"),
            b"SELECT+1%20AS%20%22a%22",
        )
        .unwrap();
        assert_eq!(form.query, "SELECT 1 AS \"a\"");
    }

    #[test]
    fn refusals_use_druids_words() {
        assert_eq!(
            refusal("nonsense", "x"),
            "Invalid Content-Type header: Error parsing media type 'nonsense'"
        );
        assert_eq!(refusal("application/json", ""), "Empty query");
        assert!(refusal("application/json", "[1]").ends_with("from Array value (token `JsonToken.START_ARRAY`)\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 1]"));
        assert!(
            refusal("application/json", r#"{"query": "SELECT 1", "context": [1]}"#)
                .contains("line: 1, column: 34] (through")
        );
        assert!(refusal("application/json", r#"{"query": nope}"#).contains("Unrecognized token 'nope'"));
        assert!(refusal("application/json", r#"{"sql": "SELECT 1"}"#).ends_with("problem: query\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 19]"));
        assert_eq!(
            refusal("application/x-www-form-urlencoded", "SELECT%2"),
            "Unable to decode URL-Encoded SQL query: URLDecoder: Incomplete trailing escape (%) pattern"
        );
    }

    #[test]
    fn only_json_is_offered() {
        let accept = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, text.parse().unwrap());
            accepts_json(&headers)
        };
        assert!(accepts_json(&HeaderMap::new()));
        assert!(accept("text/html, */*; q=0.1"));
        assert!(accept("application/json"));
        assert!(!accept("text/csv"));
    }
}
