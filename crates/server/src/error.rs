//! Errors as Druid's HTTP API words them. There are three shapes (spec `msq-engine` section 15.1):
//!
//! ```text
//! request   {"error":"Unknown exception","errorMessage":…,"errorClass":…,"host":null}      the body could not be read
//! new       {"error":"druidException","errorCode":…,"persona":…,"category":…,"errorMessage":…,"context":{…}}
//! legacy    the new shape with "error", "errorClass" and "host" of the old one, and the same again in "context"
//! ```

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use henge_engine::{EngineError, Fault, FaultCode};
use henge_sql::{Category, Persona, SqlError};
use serde_json::{Map, Value, json};

use crate::json::to_text;

/// Name of the exception that stands for an unreadable request.
const HTTP_EXCEPTION: &str = "org.apache.druid.server.initialization.jetty.HttpException";

/// The header with a way out that Druid's own message does not give, such as the nearest name; bodies stay as Druid's.
const HINT_HEADER: &str = "x-henge-hint";

/// An answer that is an error: status, body, and the headers that go with it.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON body.
    pub body: Value,
    headers: Vec<(&'static str, String)>,
}

impl ApiError {
    /// Makes an error of a body.
    pub fn new(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            body,
            headers: Vec::new(),
        }
    }

    /// Makes the error for a request that cannot be read, in the old shape.
    pub fn request(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(
            status,
            json!({
                "error": "Unknown exception",
                "errorMessage": message.into(),
                "errorClass": HTTP_EXCEPTION,
                "host": null,
            }),
        )
    }

    /// Makes the error for wrong input that is not SQL.
    pub fn input(message: impl Into<String>) -> Self {
        Self::from_sql(&SqlError::input(message))
    }

    /// Makes a `general` error for the user.
    pub fn general(message: impl Into<String>) -> Self {
        Self::from_sql(&SqlError::general(Persona::User, Category::InvalidInput, message))
    }

    /// Makes the error for something that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            json!({
                "error": "druidException",
                "errorCode": "notFound",
                "persona": "USER",
                "category": "NOT_FOUND",
                "errorMessage": message.into(),
                "context": {},
            }),
        )
    }

    /// Makes the plain `{"error":"…"}` of Coordinator and Overlord resources.
    pub fn plain(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, json!({"error": message.into()}))
    }

    /// Makes the error of a statement that is wrong.
    pub fn from_sql(error: &SqlError) -> Self {
        let mut answer = Self::new(status_of(error.category), sql_error(error));
        if let Some(hint) = &error.hint {
            answer.headers.push((HINT_HEADER, hint.clone()));
        }
        answer
    }

    /// Makes the error of an interactive query.
    pub fn from_engine(error: &EngineError, query_id: &str, host: &str) -> Self {
        match error {
            EngineError::Sql(error) => Self::from_sql(error),
            EngineError::Fault(fault) => Self::from_fault(fault, query_id, host),
            EngineError::DuplicateTask(id) => Self::new(StatusCode::BAD_REQUEST, entry_exists(id)),
            EngineError::Fatal(message) => Self::from_sql(&SqlError::general(
                Persona::Admin,
                Category::Uncategorized,
                message.as_str(),
            )),
        }
    }

    /// Makes the error for a query that took longer than its `timeout`.
    pub fn timeout(query_id: &str, host: &str) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            legacy(
                "Query timeout",
                "org.apache.druid.query.QueryTimeoutException",
                Some(host),
                "TIMEOUT",
                &format!("Query [{query_id}] timed out!"),
            ),
        )
    }

    /// Makes the error of a failed interactive query.
    pub fn from_fault(fault: &Fault, query_id: &str, host: &str) -> Self {
        let message = fault.message.clone().unwrap_or_else(|| fault.code.as_str().to_string());
        match fault.code {
            FaultCode::Canceled if fault.fields.get("reason").and_then(Value::as_str) == Some("QUERY_TIMEOUT") => {
                Self::timeout(query_id, host)
            }
            FaultCode::Canceled => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                legacy(
                    "Query cancelled",
                    "java.util.concurrent.CancellationException",
                    Some(host),
                    "CANCELED",
                    "Task was cancelled.",
                ),
            ),
            // Java's ArithmeticException has no category of its own; a task's report does say one.
            FaultCode::DruidException if message == "/ by zero" && fault.raised.is_none() => {
                Self::from_sql(&SqlError::general(Persona::Admin, Category::Uncategorized, message))
            }
            FaultCode::UnknownError => {
                Self::from_sql(&SqlError::general(Persona::Admin, Category::Uncategorized, message))
            }
            FaultCode::DruidException if fault.raised.is_some() => {
                let class = fault.raised.as_deref().unwrap_or_default();
                let (code, category) = if class.is_empty() {
                    ("druidException", "UNCATEGORIZED")
                } else {
                    ("Unknown exception", "RUNTIME_FAILURE")
                };
                let mut body = legacy(code, class, Some(host), category, &message);
                if class.is_empty() {
                    body["errorClass"] = Value::Null;
                    body["context"]["errorClass"] = Value::Null;
                }
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, body)
            }
            FaultCode::DruidException => {
                let text = |name: &str, default: &str| {
                    fault
                        .fields
                        .get(name)
                        .and_then(Value::as_str)
                        .unwrap_or(default)
                        .to_string()
                };
                let category = text("category", "RUNTIME_FAILURE");
                Self::new(
                    status_of_name(&category),
                    json!({
                        "error": "druidException",
                        "errorCode": text("druidErrorCode", "general"),
                        "persona": text("persona", "USER"),
                        "category": category,
                        "errorMessage": message,
                        "context": fault.fields.get("context").cloned().unwrap_or_else(|| json!({})),
                    }),
                )
            }
            code => Self::new(
                StatusCode::from_u16(code.category().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                json!({
                    "error": "druidException",
                    "errorCode": code.as_str(),
                    "persona": code.persona().as_str(),
                    "category": code.category().as_str(),
                    "errorMessage": fault.to_string(),
                    "context": fault_context(fault),
                }),
            ),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(to_text(&self.body)));
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            // A value that no header can hold came from the client; it is not sent back.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// Gives the HTTP status of a category.
pub fn status_of(category: Category) -> StatusCode {
    StatusCode::from_u16(category.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn status_of_name(category: &str) -> StatusCode {
    match category {
        "INVALID_INPUT" => StatusCode::BAD_REQUEST,
        "UNAUTHORIZED" => StatusCode::UNAUTHORIZED,
        "FORBIDDEN" => StatusCode::FORBIDDEN,
        "NOT_FOUND" => StatusCode::NOT_FOUND,
        "CONFLICT" => StatusCode::CONFLICT,
        "CAPACITY_EXCEEDED" => StatusCode::TOO_MANY_REQUESTS,
        "UNSUPPORTED" => StatusCode::NOT_IMPLEMENTED,
        "SERVICE_UNAVAILABLE" => StatusCode::SERVICE_UNAVAILABLE,
        "TIMEOUT" => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Words a statement's error in the new or the legacy shape.
pub fn sql_error(error: &SqlError) -> Value {
    if error.is_legacy() {
        let member = |name: &str| error.context.get(name).map_or("", String::as_str);
        return legacy(
            member("legacyErrorCode"),
            member("errorClass"),
            error.context.get("host").map(String::as_str),
            error.category.as_str(),
            &error.message,
        );
    }
    json!({
        "error": "druidException",
        "errorCode": error.error_code,
        "persona": error.persona.as_str(),
        "category": error.category.as_str(),
        "errorMessage": error.message,
        "context": sql_context(error),
    })
}

/// Gives the context in Druid's order: where it comes from, where it is, then the rest.
fn sql_context(error: &SqlError) -> Value {
    const FIRST: [&str; 5] = ["sourceType", "line", "column", "endLine", "endColumn"];
    const LAST: [&str; 2] = ["token", "expected"];
    let mut context = Map::new();
    let others = error
        .context
        .keys()
        .map(String::as_str)
        .filter(|key| !FIRST.contains(key) && !LAST.contains(key));
    for key in FIRST.into_iter().chain(LAST).chain(others) {
        if let Some(value) = error.context.get(key) {
            context.insert(key.to_string(), Value::from(value.as_str()));
        }
    }
    Value::Object(context)
}

/// Words an exception of Druid's older kind.
pub fn legacy(code: &str, class: &str, host: Option<&str>, category: &str, message: &str) -> Value {
    json!({
        "error": code,
        "errorClass": class,
        "host": host,
        "errorCode": "legacyQueryException",
        "persona": "OPERATOR",
        "category": category,
        "errorMessage": message,
        "context": {"host": host, "errorClass": class, "legacyErrorCode": code},
    })
}

/// Words the refusal of a task id that exists.
pub fn entry_exists(task_id: &str) -> Value {
    json!({
        "error": "druidException",
        "errorCode": "entryAlreadyExists",
        "persona": "USER",
        "category": "INVALID_INPUT",
        "errorMessage": format!("Task[{task_id}] already exists"),
        "context": {},
    })
}

/// Gives a fault's fields as the strings that error contexts hold.
pub fn fault_context(fault: &Fault) -> Value {
    Value::Object(
        fault
            .fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let text = match value {
                    Value::String(text) => text.clone(),
                    other => String::from_utf8(to_text(other)).unwrap_or_default(),
                };
                (name.clone(), Value::from(text))
            })
            .collect(),
    )
}
