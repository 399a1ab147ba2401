//! The HTTP client: what `henge sql` needs of Druid's API, and its errors as failures with a place and a remedy.

use std::time::Duration;

use henge_engine::FaultCode;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Place};

/// How long a connection may take; answers may take as long as the query.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest error body that is read.
const MAX_ERROR_BYTES: usize = 1 << 20;

/// A server's address with a connection pool.
pub struct Client {
    url: String,
    http: reqwest::Client,
}

/// The answer of an interactive query: lines of JSON arrays behind three header lines (names, native types, SQL types).
pub struct QueryResponse {
    /// Id for cancelling.
    pub query_id: Option<String>,
    /// The body.
    pub body: Response,
}

impl Client {
    /// Makes a client of a base URL such as `http://127.0.0.1:8888`.
    pub fn new(url: &str) -> Result<Self, Failure> {
        let url = url.trim_end_matches('/').to_string();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Failure::new(format!("[{url}] is no URL of a server")).remedy("expected http://host:port"));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|error| Failure::new(error.to_string()))?;
        Ok(Self { url, http })
    }

    /// Runs a SELECT at once.
    pub async fn query(&self, sql: &str, context: &Map<String, Value>) -> Result<QueryResponse, Failure> {
        let body = json!({"query": sql, "resultFormat": "arrayLines", "header": true, "typesHeader": true,
            "sqlTypesHeader": true, "context": context});
        let body = self.post("/druid/v2/sql", &body, sql).await?;
        let query_id = body
            .headers()
            .get("X-Druid-SQL-Query-Id")
            .and_then(|id| id.to_str().ok())
            .map(ToString::to_string);
        Ok(QueryResponse { query_id, body })
    }

    /// Submits a task and gives its id.
    pub async fn submit(&self, sql: &str, context: &Map<String, Value>) -> Result<String, Failure> {
        let response = self
            .post("/druid/v2/sql/task", &json!({"query": sql, "context": context}), sql)
            .await?;
        let answer = read_json(response).await?;
        match answer.get("taskId").and_then(Value::as_str) {
            Some(id) => Ok(id.to_string()),
            None => Err(Failure::new(format!(
                "the server started no task but answered [{answer}]"
            ))),
        }
    }

    /// Gets the status of a task.
    pub async fn status(&self, task: &str) -> Result<Value, Failure> {
        self.get(&format!("/druid/indexer/v1/task/{task}/status"))
            .await?
            .ok_or_else(|| Failure::new(format!("task [{task}] is unknown")))
    }

    /// Gets the report of a task, if there is one yet.
    pub async fn report(&self, task: &str) -> Result<Option<Value>, Failure> {
        self.get(&format!("/druid/indexer/v1/task/{task}/reports")).await
    }

    /// Gets JSON of any path; `None` where the server answers 404.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, Failure> {
        let response = self.send(Method::GET, path, None).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => read_json(response).await.map(Some),
            _ => Err(failure_of(response, None).await),
        }
    }

    /// Cancels an interactive query.
    pub async fn cancel(&self, query_id: &str) -> Result<(), Failure> {
        self.send(Method::DELETE, &format!("/druid/v2/sql/{query_id}"), None)
            .await
            .map(|_| ())
    }

    /// Shuts a task down.
    pub async fn shutdown(&self, task: &str) -> Result<(), Failure> {
        self.send(Method::POST, &format!("/druid/indexer/v1/task/{task}/shutdown"), None)
            .await
            .map(|_| ())
    }

    async fn post(&self, path: &str, body: &Value, sql: &str) -> Result<Response, Failure> {
        let response = self.send(Method::POST, path, Some(body.to_string())).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(failure_of(response, Some(sql)).await)
    }

    async fn send(&self, method: Method, path: &str, body: Option<String>) -> Result<Response, Failure> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body);
        }
        request.send().await.map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), innermost);
            Failure::new(format!("no answer from [{}]: {cause}", self.url))
                .remedy("is the server running? start one with: henge server")
        })
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

async fn read_json(response: Response) -> Result<Value, Failure> {
    let bytes = response
        .bytes()
        .await
        .map_err(|error| Failure::new(format!("the answer broke off: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::new(format!("the answer is no JSON: {error}")))
}

async fn failure_of(response: Response, sql: Option<&str>) -> Failure {
    let status = response.status();
    let hint = response
        .headers()
        .get("x-henge-hint")
        .map(|hint| String::from_utf8_lossy(hint.as_bytes()).into_owned());
    let bytes = response.bytes().await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_ERROR_BYTES)]).into_owned();
    match serde_json::from_str::<Value>(&text) {
        Ok(body) => {
            let failure = failure_of_json(&body, sql);
            Failure {
                remedy: hint.or(failure.remedy),
                ..failure
            }
        }
        Err(_) if text.trim().is_empty() => Failure::new(format!("the server answered {status}")),
        Err(_) => Failure::new(format!("the server answered {status}: {}", text.trim())),
    }
}

/// Reads both of Druid's error shapes, also wrapped in the answer of the task endpoint.
pub fn failure_of_json(body: &Value, sql: Option<&str>) -> Failure {
    let error = match body.get("error") {
        Some(inner @ Value::Object(_)) => inner,
        _ => body,
    };
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let message = text("errorMessage")
        .or_else(|| text("error"))
        .unwrap_or("the server gave no reason")
        .to_string();
    let code = text("errorCode").or_else(|| text("error")).map(ToString::to_string);
    let context = |name: &str| {
        let value = error.get("context")?.get(name)?;
        value
            .as_str()
            .and_then(|n| n.parse::<usize>().ok())
            .or_else(|| value.as_u64().and_then(|n| usize::try_from(n).ok()))
    };
    let place = sql
        .zip(context("line"))
        .zip(context("column"))
        .map(|((sql, line), column)| {
            Box::new(Place {
                sql: sql.to_string(),
                line,
                column,
                end_column: context("endColumn").filter(|_| context("endLine") == Some(line)),
            })
        });
    let remedy = code.as_deref().and_then(FaultCode::of).map(FaultCode::remedy);
    Failure {
        message,
        code,
        place,
        remedy: remedy.map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_shape_of_error() {
        let new = json!({"error": "druidException", "errorCode": "invalidInput", "persona": "USER", "category": "INVALID_INPUT",
            "errorMessage": "Column 'x' not found", "context": {"line": "1", "column": "8", "endLine": "1", "endColumn": "8"}});
        let wrapped = json!({"taskId": "a", "state": "FAILED", "error": new});
        for body in [&new, &wrapped] {
            let failure = failure_of_json(body, Some("SELECT x"));
            assert_eq!(failure.code.as_deref(), Some("invalidInput"));
            assert!(
                failure.render().contains("1 | SELECT x\n  |        ^\n"),
                "{}",
                failure.render()
            );
        }
        let legacy = json!({"error": "Unknown exception", "errorMessage": "broken"});
        assert_eq!(failure_of_json(&legacy, None).message, "broken");
        assert_eq!(failure_of_json(&json!([1]), None).message, "the server gave no reason");
    }
}
