//! Interactive queries: DataFusion's plan in this process, on the compute pool, streamed to whoever asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use henge_scan::{interactive_session_config, prepare_session};
use henge_sql::{OutputColumn, Planned, Statement};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::controller::cancel::CancelHandle;
use crate::convert::CancelReason;
use crate::engine::QueryRows;
use crate::fault::Fault;
use crate::limits;
use crate::memory::{MemoryShares, limited_runtime};
use crate::stage::join::cooperative_joins;

/// The interactive queries that run now.
#[derive(Default)]
pub struct Queries {
    running: Mutex<HashMap<String, Arc<CancelHandle>>>,
}

/// Takes a query off the list when it ends, however it ends.
struct Listed {
    queries: Arc<Queries>,
    id: String,
    handle: Arc<CancelHandle>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut running = self.queries.running.lock();
        // A later query of the same id is not ours to take off.
        if running
            .get(&self.id)
            .is_some_and(|handle| Arc::ptr_eq(handle, &self.handle))
        {
            running.remove(&self.id);
        }
    }
}

impl Queries {
    /// Stops a query; false where there is none of that id.
    pub fn cancel(&self, id: &str) -> bool {
        let handle = self.running.lock().remove(id);
        handle
            .inspect(|handle| handle.cancel(CancelReason::UserRequest))
            .is_some()
    }

    /// Stops all queries.
    pub fn cancel_all(&self) {
        for (_, handle) in self.running.lock().drain() {
            handle.cancel(CancelReason::Unknown);
        }
    }
}

/// What a query runs on.
pub struct QueryPlace {
    /// The compute pool.
    pub compute: Handle,
    /// Base of its runtime environment.
    pub base: Arc<RuntimeEnv>,
    /// Shares of memory.
    pub shares: MemoryShares,
    /// Threads of the compute pool.
    pub threads: usize,
    /// Held while the query may open segments.
    pub readers: Arc<tokio::sync::RwLock<()>>,
}

/// Starts a query. The first batch, or the first error, is waited for, so that whoever asked can still choose how to answer.
pub async fn start(queries: &Arc<Queries>, id: &str, planned: Planned, place: QueryPlace) -> Result<QueryRows, Fault> {
    if !matches!(planned.statement, Statement::Select) {
        return Err(Fault::not_supported(format!(
            "{} runs as a task only",
            planned.statement.kind()
        )));
    }
    let handle = Arc::new(CancelHandle::default());
    let listed = Listed {
        queries: queries.clone(),
        id: id.to_string(),
        handle: handle.clone(),
    };
    queries.running.lock().insert(id.to_string(), handle.clone());
    let timeout = planned
        .context
        .long("timeout")?
        .and_then(|ms| u64::try_from(ms).ok())
        .filter(|ms| *ms > 0);
    // One query may take half of what all operators have; the cache stays.
    let runtime = limited_runtime(&place.base, (place.shares.query_bytes / 2).max(limits::SLOT_BYTES_MIN))?;
    let mut config = planned.session.config().clone();
    let defaults = interactive_session_config(place.threads);
    config = config
        .with_target_partitions(defaults.target_partitions())
        .with_batch_size(defaults.batch_size());
    let state = SessionStateBuilder::new_from_existing(planned.session.clone())
        .with_config(config)
        .with_runtime_env(runtime)
        .build();
    let state = prepare_session(state);
    let (sender, mut receiver) = mpsc::channel(limits::READ_AHEAD_BATCHES);
    let plan = planned.plan.clone();
    let reading = place.readers.read_owned().await;
    place.compute.spawn(async move {
        let _held = (listed, reading);
        let deadline = async {
            match timeout {
                Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline);
        let rows = async {
            // The planner optimised the logical plan already.
            let physical = cooperative_joins(state.query_planner().create_physical_plan(&plan, &state).await?)?;
            let mut stream = execute_stream(physical, state.task_ctx())?;
            if sender.send(Ok(Err(stream.schema()))).await.is_err() {
                return Ok(());
            }
            while let Some(batch) = stream.next().await {
                let batch = batch?;
                if sender.send(Ok(Ok(batch))).await.is_err() {
                    // Nobody listens any more: dropping the stream ends the query.
                    return Ok(());
                }
            }
            Ok::<_, Fault>(())
        };
        let ended = tokio::select! {
            ended = rows => ended,
            () = handle.token().cancelled() => Err(Fault::canceled(CancelReason::UserRequest)),
            () = &mut deadline => Err(Fault::canceled(CancelReason::QueryTimeout)),
        };
        if let Err(fault) = ended {
            let fault = handle.fault().unwrap_or(fault);
            let _ = sender.send(Err(fault)).await;
        }
    });
    let schema = match receiver.recv().await {
        Some(Ok(Err(schema))) => schema,
        Some(Err(fault)) => return Err(fault),
        Some(Ok(Ok(_))) | None => return Err(Fault::unknown("the query ended without an answer")),
    };
    let first = receiver.recv().await;
    let first = match first {
        Some(Err(fault)) => return Err(fault),
        other => other,
    };
    let batches = futures::stream::iter(first)
        .chain(ReceiverStream::new(receiver))
        .filter_map(async |item| match item {
            Ok(Ok(batch)) => Some(Ok(batch)),
            Ok(Err(_)) => None,
            Err(fault) => Some(Err(fault.into())),
        });
    let columns: Vec<OutputColumn> = planned.columns;
    Ok(QueryRows {
        columns,
        stream: Box::pin(RecordBatchStreamAdapter::new(schema, batches.boxed())),
    })
}
