//! One attempt of one task: a fresh plan, its rows into sorted runs, a manifest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use fail::fail_point;
use futures::StreamExt;
use henge_exchange::{KeySpec, RunOptions, RunSet, RunStore, RunWriter, batch_bytes};
use henge_storage::DeepStorage;
use tokio_util::sync::CancellationToken;

use crate::convert::CancelReason;
use crate::fault::Fault;
use crate::ingest::{self, Rows, RowsAt, SegmentWork, WriteEnv};
use crate::limits;
use crate::memory::PoolBudget;
use crate::stage::bind::bind;
use crate::stage::row_limits::RowChecks;
use crate::stage::scope::{TaskCounters, TaskScope};
use crate::stage::{Manifest, StageSpec, StageWork, TaskDescriptor, TaskOutput};

/// What an attempt is given by the runner's process.
pub struct AttemptEnv {
    /// Operators' memory and spill folder, of this attempt alone.
    pub runtime: Arc<RuntimeEnv>,
    /// Bytes of that memory.
    pub memory_bytes: usize,
    /// Threads that encode a segment: more than one where the stage has fewer tasks than there are slots.
    pub threads: usize,
    /// Where runs lie.
    pub store: Arc<dyn RunStore>,
    /// Where segments go.
    pub deep_storage: Arc<dyn DeepStorage>,
    /// Folder for segments that are being written.
    pub tmp_dir: std::path::PathBuf,
    /// What the attempt counts.
    pub counters: Arc<TaskCounters>,
    /// Ends the attempt.
    pub cancel: CancellationToken,
}

/// Runs one attempt. Whatever it staged is removed again unless its manifest is given.
pub async fn run_attempt(
    spec: &StageSpec,
    task: &TaskDescriptor,
    attempt: u32,
    env: &AttemptEnv,
) -> Result<Manifest, Fault> {
    fail_point!("task-start", |_| Err(Fault::injected("task-start")));
    let name = format!("{}/stage-{}/{}-{attempt}", spec.query_id, spec.number, task.partition);
    let output = match &spec.work {
        StageWork::Plan { template, key } => {
            let plan = bind(template, task, &spec.inputs)?;
            TaskOutput::Runs(run_plan(spec, plan, key.clone(), task, name, env).await?)
        }
        StageWork::Segments(work) => run_segments(spec, work, task, name, env).await?,
    };
    fail_point!("task-before-manifest", |_| {
        discard(env, &output);
        Err(Fault::injected("task-before-manifest"))
    });
    Ok(Manifest {
        stage: spec.number,
        partition: task.partition,
        attempt,
        output,
    })
}

/// Removes what an output left in the run store.
pub fn discard(env: &AttemptEnv, output: &TaskOutput) {
    if let TaskOutput::Runs(set) = output {
        for run in &set.runs {
            env.store.remove(&run.location);
        }
    }
}

fn attempt_context(spec: &StageSpec, name: &str, env: &AttemptEnv) -> Arc<TaskContext> {
    let scope = TaskScope {
        name: name.to_string(),
        store: env.store.clone(),
        counters: env.counters.clone(),
        bad_rows: spec.bad_rows,
    };
    let context = spec.context.as_ref();
    let config = context.session_config().clone().with_extension(Arc::new(scope));
    let config = config.with_batch_size(batch_rows(spec, context.session_config().batch_size()));
    Arc::new(TaskContext::new(
        Some(name.to_string()),
        context.session_id(),
        config,
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        env.runtime.clone(),
    ))
}

/// Gives how many rows operators put into a batch. A join makes rows as wide as those of both of its inputs; batches of a fixed number
/// of them could be larger than memory, and nobody can stop a task while it makes one.
fn batch_rows(spec: &StageSpec, default: usize) -> usize {
    let row_bytes: u64 = spec.inputs.values().map(|input| input.row_memory_bytes()).sum();
    let rows = usize::try_from(limits::BATCH_BYTES_TARGET / row_bytes.max(1)).unwrap_or(usize::MAX);
    rows.clamp(1, default)
}

async fn run_plan(
    spec: &StageSpec,
    plan: Arc<dyn ExecutionPlan>,
    key: KeySpec,
    task: &TaskDescriptor,
    name: String,
    env: &AttemptEnv,
) -> Result<RunSet, Fault> {
    env.counters.watch_plan(&plan);
    let context = attempt_context(spec, &name, env);
    let budget = PoolBudget::new(&env.runtime.memory_pool, "RunWriter", true);
    let number = u32::try_from(task.partition).unwrap_or(u32::MAX);
    let mut options = RunOptions::new(name, number);
    options.limit = spec.row_limit;
    options.batch_rows = context.session_config().batch_size();
    let mut checks = RowChecks::new(spec.limits, &key, &plan);
    let mut writer = RunWriter::new(&plan.schema(), key, budget, env.store.clone(), options)?;
    let mut stream = plan.execute(task.partition, context)?;
    loop {
        let next = tokio::select! {
            biased;
            () = env.cancel.cancelled() => return Err(Fault::canceled(CancelReason::Unknown)),
            next = stream.next() => next,
        };
        fail_point!("task-batch", |_| Err(Fault::injected("task-batch")));
        let Some(batch) = next else { break };
        let batch = checks.check(batch?)?;
        env.counters.output(batch.num_rows(), batch_bytes(&batch));
        writer.write(&batch)?;
        let staged = writer.staged();
        env.counters
            .staged(staged.rows(), staged.bytes(), staged.batches(), staged.spilled_bytes());
        // The compute pool has as many threads as slots: let the readers and operators of this task have their turn.
        tokio::task::yield_now().await;
    }
    drop(stream);
    fail_point!("task-before-stage", |_| Err(Fault::injected("task-before-stage")));
    let set = writer.finish()?;
    env.counters
        .staged(set.rows(), set.bytes(), set.batches(), set.spilled_bytes());
    Ok(set)
}

async fn run_segments(
    spec: &StageSpec,
    work: &Arc<SegmentWork>,
    task: &TaskDescriptor,
    name: String,
    env: &AttemptEnv,
) -> Result<TaskOutput, Fault> {
    let planned = task
        .segment
        .clone()
        .ok_or_else(|| Fault::unknown("a task that writes segments has none to write"))?;
    let input = spec.inputs.values().next().cloned();
    let input = input.ok_or_else(|| Fault::unknown("a task that writes segments has no input"))?;
    let counters = env.counters.clone();
    counters.segment.active.store(true, Ordering::Relaxed);
    let progress = move |rows: RowsAt| count_rows(&counters, rows);
    let written = {
        let (work, planned, progress) = (work.clone(), planned.clone(), progress.clone());
        let (store, tmp_dir, cancel) = (env.store.clone(), env.tmp_dir.clone(), env.cancel.clone());
        let pool = env.runtime.memory_pool.clone();
        let (budget_bytes, threads) = (env.memory_bytes, env.threads);
        // Merging, encoding and compressing all of a segment: not for a thread that others share.
        let write = tokio::task::spawn_blocking(move || {
            let rows = Rows {
                schema: &input.schema,
                key: &input.key,
                sets: &input.sets,
            };
            let write_env = WriteEnv {
                store,
                budget: PoolBudget::new(&pool, "SegmentWriter", false),
                budget_bytes,
                threads,
                tmp_dir: &tmp_dir,
                progress: &progress,
                cancelled: &|| cancel.is_cancelled(),
            };
            ingest::write_segment(&work, &planned, rows, &name, &write_env)
        });
        write
            .await
            .map_err(|panic| Fault::unknown(format!("writing a segment panicked: {panic}")))??
    };
    let Some(written) = written else {
        return Ok(TaskOutput::Segment(None));
    };
    if env.cancel.is_cancelled() {
        return Err(Fault::canceled(CancelReason::Unknown));
    }
    let manifest = ingest::push_segment(work, &planned, written, env.deep_storage.as_ref(), &progress).await?;
    Ok(TaskOutput::Segment(Some(Box::new(manifest))))
}

fn count_rows(counters: &TaskCounters, rows: RowsAt) {
    let segment = &counters.segment;
    match rows {
        RowsAt::Processed(rows) => {
            segment.processed.fetch_add(rows, Ordering::Relaxed);
            counters.input(0).batch(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        RowsAt::Persisted(rows) => {
            segment.persisted.fetch_add(rows, Ordering::Relaxed);
        }
        RowsAt::Merged(rows) => {
            segment.merged.fetch_add(rows, Ordering::Relaxed);
        }
        RowsAt::Pushed(rows) => {
            segment.pushed.fetch_add(rows, Ordering::Relaxed);
        }
        RowsAt::SpilledBytes(bytes) => counters.spilled(bytes),
    }
}
