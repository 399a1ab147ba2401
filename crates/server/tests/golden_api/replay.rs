//! A server of our own and the client that asks it what Druid was asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use henge_engine::{Engine, EngineConfig};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::compare;
use crate::exchange::{Exchange, Setup, client_json};
use crate::slow::{self, SlowSource};

/// Headers that the recording kept.
fn is_kept(name: &str) -> bool {
    name.starts_with("x-druid-")
        || [
            "content-type",
            "content-disposition",
            "location",
            "allow",
            "trailer",
            "www-authenticate",
        ]
        .contains(&name)
}

/// Tells whether an exchange reads the lookup that others make and remove.
fn reads_lookup(exchange: &Exchange) -> bool {
    exchange.name == "system-tables/lookup-table" || exchange.name.contains("/select-lookup")
}

/// Where the recording had its input files.
const RECORDED_INPUT: &str = "/data/in";

/// Tells whether a statement reads the slow source, so that only a scene can run it.
fn is_slow(request: &str) -> bool {
    request.contains(slow::RECORDED)
}

/// Longest wait for a task.
const TASK_PATIENCE: Duration = Duration::from_secs(20);

/// Loads that the interactive exchanges read, in the order in which they were recorded.
const BASE: [&str; 3] = [
    "reports/replace-all-range",
    "reports/insert-append",
    "reports/replace-where",
];

pub struct Replay {
    pub url: String,
    pub client: reqwest::Client,
    engine: Arc<Engine>,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    /// Recorded task id → ours.
    ids: Mutex<HashMap<String, String>>,
    /// Recorded task id → what made it.
    setups: BTreeMap<String, (String, Setup)>,
    dir: tempfile::TempDir,
    /// What sends rows only when it is told to.
    pub slow: SlowSource,
    /// Input files like those of the recording.
    input: tempfile::TempDir,
}

impl Replay {
    /// Starts a server on an empty folder.
    pub async fn start() -> Self {
        Self::start_on(tempfile::tempdir().expect("a temporary folder")).await
    }

    /// Ends the server and starts one on the same folder.
    pub async fn again(self) -> Self {
        Self::start_on(self.stop().await).await
    }

    async fn start_on(dir: tempfile::TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the port is known");
        let config = EngineConfig {
            dir: dir.path().to_path_buf(),
            memory_bytes: 512 << 20,
            // As the recorded workers had: one partition, one task at a time.
            threads: 1,
            advertised: address.to_string(),
        };
        let engine = Engine::open(config).await.expect("the engine opens an empty folder");
        henge_server::install_system_tables(&engine);
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(henge_server::serve(listener, Arc::clone(&engine), async {
            stopped.await.ok();
        }));
        Self {
            url: format!("http://{address}"),
            client: reqwest::Client::builder()
                .timeout(Duration::from_secs(30))
                .build()
                .expect("a client"),
            engine,
            stop,
            served,
            ids: Mutex::default(),
            setups: BTreeMap::new(),
            dir,
            slow: SlowSource::start().await,
            input: input_files(),
        }
    }

    /// Ends the server and gives its folder.
    pub async fn stop(self) -> tempfile::TempDir {
        self.engine.shutdown().await;
        self.stop.send(()).ok();
        self.served
            .await
            .expect("the server ends in order")
            .expect("the server ends well");
        self.dir
    }

    /// Makes the tables, and gives the exchanges in the order in which they can be replayed.
    pub async fn prepare<'a>(&mut self, exchanges: &'a [Exchange]) -> Vec<&'a Exchange> {
        for exchange in exchanges {
            if let (Some(setup), Some(id)) = (&exchange.setup, exchange.task_id()) {
                self.setups
                    .entry(id.to_string())
                    .or_insert_with(|| (exchange.recorded_at(), setup.clone()));
            }
        }
        for name in BASE {
            let exchange = exchanges
                .iter()
                .find(|exchange| exchange.name == name)
                .expect("the base loads are recorded");
            self.make(exchange.task_id().expect("a report is a task's")).await;
        }
        let mut ordered: Vec<&Exchange> = exchanges.iter().collect();
        ordered.sort_by_key(|exchange| (self.turn(exchange), self.time(exchange), exchange.name.clone()));
        ordered
    }

    /// Interactive exchanges see the base tables only; those that change settings come after those that read them.
    fn turn(&self, exchange: &Exchange) -> usize {
        let reads = exchange.request.method == "GET" && !exchange.name.contains("-after");
        if exchange.name.starts_with("coordinator/lookups-") || reads_lookup(exchange) {
            return 12;
        }
        match exchange.group() {
            "sql" | "sql-errors" | "sql-content" | "sql-misc" | "explain" | "system-tables" => 0,
            "status" => 1,
            "coordinator" if reads && !exchange.name.contains("history") => 2,
            "coordinator" if exchange.request.method != "GET" => 3,
            "coordinator" => 4,
            // The first of two with one id.
            "sql-task" if exchange.name.ends_with("duplicate-taskid-1") => 5,
            "sql-task-errors" => 6,
            "reports" | "task-api" => 7,
            "statements" => 8,
            "sql-task" | "sql-task-accepted" => 9,
            "faults" => 10,
            _ => 11,
        }
    }

    fn time(&self, exchange: &Exchange) -> String {
        if reads_lookup(exchange) {
            return "11".to_string();
        }
        if let Some(name) = exchange.name.strip_prefix("coordinator/lookups-") {
            // One lookup is there, another one comes and goes.
            let order = ["uninitialized", "init", "unknown", "create", "config", "one", "status"];
            let later = [
                "create-one",
                "sameversion",
                "bad",
                "tier",
                "-after",
                "status-detailed",
                "delete",
                "delete-again",
            ];
            let rank = |list: &[&str]| list.iter().rposition(|part| name.ends_with(part) || name == *part);
            return match (rank(&later), rank(&order)) {
                _ if name.ends_with("unknown") => "02".to_string(),
                (Some(rank), _) => format!("2{rank}"),
                (None, Some(rank)) => format!("0{rank}"),
                (None, None) => "10".to_string(),
            };
        }
        let made = exchange
            .task_id()
            .and_then(|id| self.setups.get(id))
            .map(|(time, _)| time.clone());
        match exchange.group() {
            "reports" | "task-api" | "faults" | "sql-task-accepted" => made.unwrap_or_else(|| exchange.recorded_at()),
            // Submitting comes before asking.
            "statements" => if exchange.request.method == "POST" { "0" } else { "1" }.to_string(),
            "coordinator" if exchange.request.method != "GET" => {
                // Rules and configuration end as the recorded history ends.
                let rank = ["bad", "post", "illegal", "empty"]
                    .iter()
                    .position(|word| exchange.name.ends_with(word));
                rank.unwrap_or(9).to_string()
            }
            _ => String::new(),
        }
    }

    /// Runs the statement of a recorded task, once, and waits for its end.
    async fn make(&mut self, recorded: &str) -> Option<String> {
        if let Some(id) = self.known(recorded) {
            return Some(id);
        }
        let (_, setup) = self.setups.get(recorded)?.clone();
        let text = setup.body.to_string();
        if is_slow(&text) || setup.path != "/druid/v2/sql/task" {
            return None;
        }
        let id = self.submit(recorded).await?;
        if tokio::time::timeout(TASK_PATIENCE, self.engine.wait(&id))
            .await
            .is_err()
        {
            println!("[{recorded}] did not end within {TASK_PATIENCE:?}: {text:.300}");
            self.engine.shutdown_task(&id).await;
            return None;
        }
        Some(id)
    }

    /// Submits the statement of a recorded task, and gives our task's id.
    pub async fn submit(&mut self, recorded: &str) -> Option<String> {
        let (_, setup) = self.setups.get(recorded)?.clone();
        let answer = self
            .client
            .request(
                setup.method.parse().expect("a method"),
                format!("{}{}", self.url, setup.path),
            )
            .header("Content-Type", "application/json")
            .body(self.here(&client_json(&setup.body)))
            .send()
            .await
            .ok()?;
        let body: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
        let id = body.get("taskId")?.as_str()?.to_string();
        if body.get("state").and_then(Value::as_str) != Some("RUNNING") {
            return None;
        }
        self.ids().insert(recorded.to_string(), id.clone());
        Some(id)
    }

    fn ids(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.ids.lock().expect("nothing panics while it holds the ids")
    }

    /// Gives our id of a recorded task.
    pub fn known(&self, recorded: &str) -> Option<String> {
        self.ids().get(recorded).cloned()
    }

    /// Waits for the end of a task.
    pub async fn ended(&self, id: &str) {
        if tokio::time::timeout(TASK_PATIENCE, self.engine.wait(id)).await.is_err() {
            println!("[{id}] did not end within {TASK_PATIENCE:?}");
        }
    }

    /// Puts our web server and our files in place of the recording's.
    fn here(&self, text: &str) -> String {
        let input = self.input.path().display().to_string();
        text.replace(slow::RECORDED, &self.slow.address.to_string())
            .replace(&format!("{RECORDED_INPUT}/"), &format!("{input}/"))
            .replace(&format!("{RECORDED_INPUT}\\"), &format!("{input}\\"))
    }

    /// The other way round.
    fn there(&self, text: &str) -> String {
        text.replace(&self.slow.address.to_string(), slow::RECORDED)
            .replace(&self.input.path().display().to_string(), RECORDED_INPUT)
    }

    /// Replays an exchange and lists what is different; `None` where it cannot be replayed.
    pub async fn differences(&mut self, exchange: &Exchange) -> Option<Vec<String>> {
        let mut path = exchange.request.path.clone();
        if let Some(recorded) = exchange.task_id() {
            let (controller, worker) = match recorded.find("-worker") {
                Some(at) => recorded.split_at(at),
                None => (recorded, ""),
            };
            if self.setups.contains_key(controller) || self.known(controller).is_some() {
                let ours = self.make(controller).await?;
                path = path.replace(recorded, &format!("{ours}{worker}"));
            } else if !exchange.name.starts_with("statements/err-") && !exchange.name.contains("unknown") {
                return None;
            }
        }
        let request = &exchange.request;
        if exchange.name == "coordinator/lookups-create" {
            // The recording had this lookup already.
            let made = self
                .client
                .post(format!("{}{path}", self.url))
                .header("Content-Type", "application/json")
                .body(client_json(&request.body));
            made.send().await.ok();
        }
        if is_slow(&request.body.to_string()) {
            return None;
        }
        Some(self.ask(exchange, &path).await)
    }

    /// Sends a request of the test's own. Gives the status and the body, as text where it is no JSON.
    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut asked = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            asked = asked.header("Content-Type", "application/json").body(body.to_string());
        }
        let answer = asked.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::from(text)))
    }

    /// Sends the request of an exchange to `path`, and lists what is different in the answer.
    pub async fn ask(&self, exchange: &Exchange, path: &str) -> Vec<String> {
        let request = &exchange.request;
        let query: Vec<String> = request
            .query
            .iter()
            .map(|(name, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
                let encode = |text: &str| {
                    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
                };
                format!("{}={}", encode(name), encode(&value))
            })
            .collect();
        let mut url = format!("{}{path}", self.url);
        if !query.is_empty() {
            url = format!("{url}?{}", query.join("&"));
        }
        let mut asked = self.client.request(request.method.parse().expect("a method"), url);
        for (name, value) in request.headers.iter().filter(|(name, _)| *name != "TE") {
            asked = asked.header(name, value);
        }
        asked = match &request.body {
            Value::Null => asked,
            Value::String(text) => asked.body(self.here(text)),
            body => {
                if !request.headers.contains_key("Content-Type") {
                    asked = asked.header("Content-Type", "application/json");
                }
                asked.body(self.here(&client_json(body)))
            }
        };
        let answer = match asked.send().await {
            Ok(answer) => answer,
            Err(error) => return vec![format!("no answer: {error}")],
        };
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let bytes = match answer.bytes().await {
            Ok(bytes) => bytes,
            Err(error) => return vec![format!("no body: {error}")],
        };
        self.remember(exchange, &bytes);
        self.compare(exchange, status, &headers, &bytes)
    }

    /// Keeps the id of a task that the exchange itself has made, and waits for it.
    fn remember(&self, exchange: &Exchange, bytes: &[u8]) {
        let recorded = ["queryId", "taskId"]
            .iter()
            .find_map(|name| exchange.response.body.get(*name)?.as_str());
        let ours = serde_json::from_slice::<Value>(bytes).ok().and_then(|body| {
            ["queryId", "taskId"]
                .iter()
                .find_map(|name| body.get(*name)?.as_str().map(str::to_string))
        });
        if let (Some(recorded), Some(ours), "POST") = (recorded, ours, exchange.request.method.as_str()) {
            self.ids().insert(recorded.to_string(), ours.clone());
            if is_slow(&exchange.request.body.to_string()) {
                return;
            }
            let engine = Arc::clone(&self.engine);
            // The next exchange asks for the end of it.
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    tokio::time::timeout(TASK_PATIENCE, engine.wait(&ours)).await.ok();
                });
            });
        }
    }

    /// Rows of a task without ORDER BY come in any order.
    fn is_unordered(&self, exchange: &Exchange) -> bool {
        let setup = exchange.task_id().and_then(|id| self.setups.get(id));
        let sql = setup
            .and_then(|(_, setup)| setup.body.get("query")?.as_str())
            .unwrap_or_default();
        ["reports", "statements", "sql-task-accepted"].contains(&exchange.group()) && !sql.contains("ORDER BY")
    }

    fn compare(
        &self,
        exchange: &Exchange,
        status: u16,
        headers: &reqwest::header::HeaderMap,
        bytes: &[u8],
    ) -> Vec<String> {
        let expected = &exchange.response;
        let mut found = Vec::new();
        if status != expected.status {
            found.push(format!(
                "status: expected {}, is {status}: {}",
                expected.status,
                String::from_utf8_lossy(bytes)
            ));
            return found;
        }
        let volatile: Vec<String> = exchange
            .volatile
            .iter()
            .chain(exchange.elided.iter().map(|elided| &elided.pointer))
            .filter_map(|pointer| pointer.strip_prefix("/response/body").map(str::to_string))
            .collect();
        let volatile_headers: Vec<String> = exchange
            .volatile
            .iter()
            .filter_map(|pointer| pointer.strip_prefix("/response/headers/").map(str::to_lowercase))
            .collect();
        // Exchanges kept as bytes on the wire have no headers of their own.
        let raw = expected.headers.is_empty() && volatile.iter().any(String::is_empty);
        if !raw {
            for (name, value) in &expected.headers {
                let name = name.to_lowercase();
                let ours = headers
                    .get(&name)
                    .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
                if name == "trailer" {
                    // Announced by the Broker alone; the Router, whose part henge plays, drops it.
                    continue;
                }
                match ours {
                    None => found.push(format!("header {name}: missing, expected {value}")),
                    Some(ours) if ours != *value && !volatile_headers.contains(&name) => {
                        found.push(format!("header {name}: expected {value}, is {ours}"));
                    }
                    Some(_) => {}
                }
            }
            for name in headers.keys().map(|name| name.as_str()).filter(|name| is_kept(name)) {
                if !expected.headers.keys().any(|known| known.eq_ignore_ascii_case(name)) {
                    found.push(format!("header {name}: not expected, is {:?}", headers.get(name)));
                }
            }
        }
        if exchange.truncated || volatile.iter().any(String::is_empty) {
            return found;
        }
        let mut text = self.there(&String::from_utf8_lossy(bytes));
        for (recorded, ours) in self.ids().iter() {
            text = text.replace(ours.as_str(), recorded);
        }
        let mut actual = match (&expected.body, serde_json::from_str::<Value>(&text)) {
            // Texts were kept as they came, also those that JSON has quotes for.
            (Value::String(expected), _) if *expected == text => return found,
            (_, Ok(value)) => value,
            (_, Err(_)) => Value::from(text),
        };
        let volatile: Vec<String> = volatile
            .into_iter()
            .chain(compare::moments(&expected.body, &actual, &mut found))
            .collect();
        let mut wanted = expected.body.clone();
        if self.is_unordered(exchange) {
            compare::order_rows(&mut wanted);
            compare::order_rows(&mut actual);
        }
        compare::values("", &wanted, &actual, &volatile, &mut found);
        found
    }
}

/// Writes files as long as those of the recording: one row each.
fn input_files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for n in 1..=9 {
        std::fs::write(folder.path().join(format!("f{n}.json")), format!("{{\"n\":{n}}}\n"))
            .expect("a file is written");
    }
    folder
}
