//! Interactive queries: DataFusion's plan in this process, on the compute pool, streamed to whoever asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{FutureExt, StreamExt};
use henge_scan::{prepare_session, run_interactively};
use henge_sql::{OutputColumn, Planned, Statement};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::branches;
use crate::controller::cancel::CancelHandle;
use crate::convert::CancelReason;
use crate::engine::QueryRows;
use crate::fault::{Fault, FaultCode};
use crate::join_order::{in_left_order, with_arrival};
use crate::limits;
use crate::memory::QueryMemory;
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
    /// Memory of all queries.
    pub memory: Arc<QueryMemory>,
    /// Threads of the compute pool.
    pub threads: usize,
    /// Held while the query may open segments.
    pub readers: Arc<tokio::sync::RwLock<()>>,
}

/// The rows of a query on their way to whoever asked.
struct Answer<'a> {
    sender: &'a mpsc::Sender<Sent>,
    has_schema: bool,
    has_rows: bool,
}

/// What an answer is made of: the schema first, then rows.
enum Part {
    Schema(SchemaRef),
    Rows(RecordBatch),
}

type Sent = Result<Part, Fault>;

impl Answer<'_> {
    async fn run(
        &mut self,
        plan: &LogicalPlan,
        state: &SessionState,
        slot: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<(), Fault> {
        // The planner optimised the logical plan already.
        let physical = state.query_planner().create_physical_plan(plan, state).await?;
        let physical = branches::in_order(cooperative_joins(with_arrival(physical)?)?)?;
        let mut stream = execute_stream(physical, state.task_ctx())?;
        if !self.has_schema {
            self.has_schema = true;
            if self.sender.send(Ok(Part::Schema(stream.schema()))).await.is_err() {
                return Ok(());
            }
        }
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            self.has_rows = true;
            // What is slow is behind it, or is reading. A client that does not read keeps nobody waiting.
            slot.take();
            if self.sender.send(Ok(Part::Rows(batch))).await.is_err() {
                // Nobody listens any more: dropping the stream ends the query.
                return Ok(());
            }
        }
        Ok(())
    }
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
    let runtime = place.memory.runtime(&place.base)?;
    // System tables answer also where all others wait.
    let waits = planned.resources.iter().any(|resource| resource.kind == "DATASOURCE");
    let memory = place.memory.clone();
    let config = run_interactively(planned.session.config().clone(), place.threads);
    let state = SessionStateBuilder::new_from_existing(planned.session.clone())
        .with_config(config)
        .with_runtime_env(runtime)
        .build();
    let state = in_left_order(prepare_session(state));
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
            let mut slot = match waits {
                true => memory.slots.clone().acquire_owned().await.ok(),
                false => None,
            };
            let mut answer = Answer {
                sender: &sender,
                has_schema: false,
                has_rows: false,
            };
            let fault = match answer.run(&plan, &state, &mut slot).await {
                Err(fault) if fault.code == FaultCode::NotEnoughMemory && !answer.has_rows => fault,
                ended => return ended,
            };
            // Others had the memory, it may be: the query tries once more without them.
            tracing::debug!(%fault, "a query waits until it has the memory of all queries for itself");
            drop(slot.take());
            slot = memory.alone().await;
            answer.run(&plan, &state, &mut slot).await
        };
        let rows = std::panic::AssertUnwindSafe(rows).catch_unwind();
        let ended = tokio::select! {
            // Rows that end early must never look like all rows.
            ended = rows => ended.unwrap_or_else(|_| Err(Fault::unknown("the query panicked; the server's log says where"))),
            () = handle.token().cancelled() => Err(Fault::canceled(CancelReason::UserRequest)),
            () = &mut deadline => Err(Fault::canceled(CancelReason::QueryTimeout)),
        };
        if let Err(fault) = ended {
            let fault = handle.fault().unwrap_or(fault);
            let _ = sender.send(Err(fault)).await;
        }
    });
    let schema = match receiver.recv().await {
        Some(Ok(Part::Schema(schema))) => schema,
        Some(Err(fault)) => return Err(fault),
        Some(Ok(Part::Rows(_))) | None => return Err(Fault::unknown("the query ended without an answer")),
    };
    let first = receiver.recv().await;
    let first = match first {
        Some(Err(fault)) => return Err(fault),
        other => other,
    };
    let batches = futures::stream::iter(first)
        .chain(ReceiverStream::new(receiver))
        .filter_map(async |item| match item {
            Ok(Part::Rows(batch)) => Some(Ok(batch)),
            Ok(Part::Schema(_)) => None,
            Err(fault) => Some(Err(fault.into())),
        });
    let columns: Vec<OutputColumn> = planned.columns;
    Ok(QueryRows {
        columns,
        stream: Box::pin(RecordBatchStreamAdapter::new(schema, batches.boxed())),
    })
}
