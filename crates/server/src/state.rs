//! What every handler shares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use henge_engine::Engine;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::limits::MAX_RUNNING_QUERIES;

/// Who this process is, as status answers and `sys.servers` show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// `host:port` that clients reach it under.
    pub advertised: String,
    /// Version.
    pub version: String,
    /// Start, milliseconds since the epoch.
    pub start_time_ms: i64,
}

impl ServerInfo {
    /// Describes the process of an engine that starts now.
    pub fn of(engine: &Engine) -> Self {
        Self {
            advertised: engine.config().advertised.clone(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            start_time_ms: now_ms(),
        }
    }

    /// Gives the host without its port.
    pub fn host(&self) -> &str {
        self.advertised
            .rsplit_once(':')
            .map_or(self.advertised.as_str(), |(host, _)| host)
    }

    /// Gives the port, −1 where the address has none.
    pub fn port(&self) -> i64 {
        self.advertised
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .unwrap_or(-1)
    }
}

/// Gives the time, milliseconds since the epoch.
pub fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// State of the router.
#[derive(Clone)]
pub struct AppState {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The process.
    pub info: Arc<ServerInfo>,
    /// Interactive queries that run.
    pub queries: Arc<RunningQueries>,
    /// Held while lookups are read, changed and stored: two changes at once would lose one.
    pub lookups_changing: Arc<tokio::sync::Mutex<()>>,
    /// Likewise for the catalog.
    pub catalog_changing: Arc<tokio::sync::Mutex<()>>,
}

impl AppState {
    /// Makes the state of a router.
    pub fn new(engine: Arc<Engine>, info: ServerInfo) -> Self {
        Self {
            engine,
            info: Arc::new(info),
            queries: Arc::new(RunningQueries::default()),
            lookups_changing: Arc::default(),
            catalog_changing: Arc::default(),
        }
    }
}

/// Interactive queries that run, by the id that clients know them under. Two queries may share an id; cancelling stops both.
#[derive(Default)]
pub struct RunningQueries {
    by_id: Mutex<BTreeMap<String, Vec<(u64, CancellationToken)>>>,
    next: AtomicU64,
}

impl RunningQueries {
    /// Enters a query; it is taken out when the ticket is dropped. `None` where too many run.
    pub fn enter(self: &Arc<Self>, id: &str) -> Option<QueryTicket> {
        let mut by_id = self.by_id.lock();
        if by_id.len() >= MAX_RUNNING_QUERIES {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let token = CancellationToken::new();
        by_id.entry(id.to_string()).or_default().push((number, token.clone()));
        Some(QueryTicket {
            queries: Arc::clone(self),
            id: id.to_string(),
            number,
            token,
        })
    }

    /// Asks the queries of an id to stop; false where there is none.
    pub fn cancel(&self, id: &str) -> bool {
        match self.by_id.lock().get(id) {
            Some(queries) => {
                queries.iter().for_each(|(_, token)| token.cancel());
                true
            }
            None => false,
        }
    }
}

/// Membership in [`RunningQueries`].
pub struct QueryTicket {
    queries: Arc<RunningQueries>,
    id: String,
    number: u64,
    /// Cancelled when somebody asks for it.
    pub token: CancellationToken,
}

impl Drop for QueryTicket {
    fn drop(&mut self) {
        let mut by_id = self.queries.by_id.lock();
        if let Some(queries) = by_id.get_mut(&self.id) {
            queries.retain(|(number, _)| *number != self.number);
            if queries.is_empty() {
                by_id.remove(&self.id);
            }
        }
    }
}

/// Reads the `timeout` of a query; 0 is none.
pub fn timeout_of(context: &henge_sql::QueryContext) -> Option<Duration> {
    match context.long("timeout") {
        Ok(Some(millis)) if millis > 0 => Some(Duration::from_millis(millis.unsigned_abs())),
        _ => None,
    }
}

/// Gives who changed a setting and why, as the console says in headers.
pub fn audit_of(headers: &HeaderMap) -> (String, String) {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .chars()
            .take(1_000)
            .collect::<String>()
    };
    (text("x-druid-author"), text("x-druid-comment"))
}
