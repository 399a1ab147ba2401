//! Answers that many routes give, and reading what they are asked.

use std::collections::HashMap;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::error::ApiError;
use crate::json::to_text;
use crate::limits::{BODY_READ_TIMEOUT, MAX_BODY_BYTES};

/// The query string as names and values; a name alone has an empty value.
pub type Params = axum::extract::Query<HashMap<String, String>>;

/// Answers 200 with JSON.
pub fn json(value: &Value) -> Response {
    json_with(StatusCode::OK, value)
}

/// Answers JSON.
pub fn json_with(status: StatusCode, value: &Value) -> Response {
    typed(status, "application/json", to_text(value))
}

/// Answers with nothing but a status and the type that nothing has.
pub fn empty(status: StatusCode) -> Response {
    typed(status, "application/json", Vec::new())
}

/// Answers text.
pub fn text(status: StatusCode, text: impl Into<String>) -> Response {
    typed(status, "text/plain", text.into().into_bytes())
}

/// Answers text that Druid labels as JSON.
pub fn bare(status: StatusCode, text: impl Into<String>) -> Response {
    typed(status, "application/json", text.into().into_bytes())
}

/// Answers bytes of a type.
pub fn typed(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Answers that the method is not offered, naming the one that is.
pub fn only(methods: &'static str) -> Response {
    (
        StatusCode::METHOD_NOT_ALLOWED,
        [(header::ALLOW, HeaderValue::from_static(methods))],
    )
        .into_response()
}

/// Reads a whole body within the limits of size and time.
pub async fn body_of(request: Request<Body>) -> Result<Bytes, ApiError> {
    let too_large = || {
        ApiError::request(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Request body is larger than the limit of [{MAX_BODY_BYTES}] bytes"),
        )
    };
    // What is announced as too large is not read at all.
    if HttpBody::size_hint(request.body()).lower() > MAX_BODY_BYTES as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(
        BODY_READ_TIMEOUT,
        axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES),
    )
    .await
    {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let beyond = std::error::Error::source(&error)
                .is_some_and(|source| source.to_string().contains("length limit exceeded"));
            Err(if beyond {
                too_large()
            } else {
                ApiError::request(
                    StatusCode::BAD_REQUEST,
                    format!("Request body could not be read: {error}"),
                )
            })
        }
        Err(_) => Err(ApiError::request(
            StatusCode::REQUEST_TIMEOUT,
            format!(
                "Request body did not arrive within [{}] seconds",
                BODY_READ_TIMEOUT.as_secs()
            ),
        )),
    }
}

/// Reads a body as JSON, for Coordinator and Overlord resources, which answer `{"error":…}`.
pub async fn json_body(request: Request<Body>) -> Result<Value, ApiError> {
    let body = body_of(request).await?;
    serde_json::from_slice(&body).map_err(|error| {
        ApiError::plain(
            StatusCode::BAD_REQUEST,
            crate::jackson::syntax_error(&body).unwrap_or_else(|| error.to_string()),
        )
    })
}

/// Tells whether a flag of the query string is set: by its name alone, or by anything but `false`.
pub fn flag(params: &Params, name: &str) -> bool {
    params
        .get(name)
        .is_some_and(|value| !value.eq_ignore_ascii_case("false"))
}
