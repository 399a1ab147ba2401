//! A recorded exchange.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Deserialize)]
pub struct Exchange {
    pub name: String,
    pub setup: Option<Setup>,
    pub request: Request,
    pub response: Response,
    #[serde(default)]
    pub volatile: Vec<String>,
    #[serde(default)]
    pub elided: Vec<Elided>,
    #[serde(default)]
    pub truncated: bool,
}

#[derive(Debug, Deserialize, Clone)]
pub struct Setup {
    pub method: String,
    pub path: String,
    pub body: Value,
}

#[derive(Debug, Deserialize)]
pub struct Request {
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub query: Map<String, Value>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: Value,
}

#[derive(Debug, Deserialize)]
pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

#[derive(Debug, Deserialize)]
pub struct Elided {
    pub pointer: String,
}

impl Exchange {
    /// Reads all exchanges of a folder of groups, ordered by name.
    pub fn read_all(root: &Path) -> Vec<Exchange> {
        let mut exchanges = Vec::new();
        let groups = std::fs::read_dir(root).expect("the golden folder is there");
        for group in groups
            .map(|entry| entry.expect("the golden folder can be read").path())
            .filter(|path| path.is_dir())
        {
            for file in std::fs::read_dir(&group).expect("a group can be read") {
                let path = file.expect("a group can be read").path();
                let text = std::fs::read_to_string(&path).expect("an exchange can be read");
                let exchange: Exchange =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                exchanges.push(exchange);
            }
        }
        exchanges.sort_by(|a, b| a.name.cmp(&b.name));
        exchanges
    }

    pub fn group(&self) -> &str {
        self.name.split('/').next().expect("a name has a group")
    }

    /// Gives the task id in the path, if there is one.
    pub fn task_id(&self) -> Option<&str> {
        self.request.path.split('/').find(|part| part.starts_with("query-"))
    }

    /// Gives when the recorded task was made, as far as the answer says it; earlier tasks write what later ones read.
    pub fn recorded_at(&self) -> String {
        let body = &self.response.body;
        [
            "/multiStageQuery/payload/status/startTime",
            "/status/createdTime",
            "/createdAt",
        ]
        .iter()
        .find_map(|pointer| body.pointer(pointer).and_then(Value::as_str))
        .unwrap_or("9")
        .to_string()
    }
}

/// Prints JSON as the recording client did: a blank after every comma and colon, everything but ASCII escaped. Columns in error
/// messages depend on it.
pub fn client_json(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(client_json).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}: {}", text(name), client_json(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::String(string) => text(string),
        other => other.to_string(),
    }
}

fn text(string: &str) -> String {
    let quoted = Value::from(string).to_string();
    let mut out = String::with_capacity(quoted.len());
    for c in quoted.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}
