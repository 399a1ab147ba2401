//! Running the tasks of a stage: the interface, and the runner inside this process.
//!
//! A runner gets a [`StageSpec`] by value and gives manifests. It knows nothing of queries: retries of one task are its own
//! affair, whether the set of manifests is complete is the controller's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::execution::runtime_env::RuntimeEnv;
use henge_exchange::RunStore;
use henge_storage::DeepStorage;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::convert::CancelReason;
use crate::counters::WorkerCounters;
use crate::fault::{Fault, FaultCode};
use crate::limits;
use crate::memory::{MemoryShares, limited_runtime};
use crate::stage::scope::TaskCounters;
use crate::stage::task::{AttemptEnv, run_attempt};
use crate::stage::{Manifest, StageSpec, TaskDescriptor};

/// How many tasks run at once, and with how much memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotInfo {
    /// Tasks at once.
    pub count: usize,
    /// Memory of each.
    pub bytes: usize,
}

/// What a runner tells while a stage runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StageEvent {
    /// An attempt has a slot.
    Started {
        /// Logical partition.
        partition: usize,
        /// Attempt, from 0.
        attempt: u32,
    },
    /// What the attempt has counted so far; replaces what came before.
    Counters {
        /// Logical partition.
        partition: usize,
        /// The counts.
        counters: Box<WorkerCounters>,
        /// New warnings.
        warnings: Vec<Fault>,
    },
    /// The attempt has left a manifest.
    Finished {
        /// Logical partition.
        partition: usize,
        /// Attempt.
        attempt: u32,
    },
    /// The attempt has failed.
    Failed {
        /// Logical partition.
        partition: usize,
        /// Attempt.
        attempt: u32,
        /// Why.
        fault: Fault,
        /// True where another attempt follows.
        again: bool,
    },
}

/// How often attempts may be repeated in a query; shared by its stages.
#[derive(Debug, Clone, Default)]
pub struct AttemptBudget {
    task_id: Arc<str>,
    relaunches: Arc<AtomicU32>,
}

impl AttemptBudget {
    /// Makes the budget of a controller task, whose id faults name.
    pub fn of(task_id: &str) -> Self {
        Self {
            task_id: Arc::from(task_id),
            relaunches: Arc::default(),
        }
    }

    /// Tells whether a failed attempt is followed by another; if not, why the query has to fail.
    fn relaunch(&self, task: &TaskDescriptor, attempt: u32, fault: Fault) -> Result<(), Fault> {
        if !fault.retryable {
            return Err(fault);
        }
        let task_id = format!("{}-worker{}_{attempt}", self.task_id, task.partition);
        let root = fault.message.clone().unwrap_or_else(|| fault.code.as_str().to_string());
        let max = limits::RELAUNCHES_PER_TASK_MAX;
        if attempt >= max {
            return Err(Fault::new(
                FaultCode::TooManyAttemptsForWorker,
                format!(
                    "Worker[{}] exceeded max relaunch count of {max} for task[{task_id}]. Latest failure reason: {root}.",
                    task.partition
                ),
            )
            .with("maxPerWorkerRelaunchCount", max)
            .with("taskId", task_id)
            .with("workerNumber", task.partition as u64)
            .with("rootErrorMessage", root));
        }
        let max = limits::RELAUNCHES_PER_QUERY_MAX;
        let current = self.relaunches.fetch_add(1, Ordering::Relaxed) + 1;
        if current > max {
            return Err(Fault::new(
                FaultCode::TooManyAttemptsForJob,
                format!(
                    "Total relaunch count across all workers {current} exceeded max relaunch limit of {max} for \
                     task[{task_id}]. Latest failure reason: {root}."
                ),
            )
            .with("maxRelaunchCount", max)
            .with("currentRelaunchCount", current)
            .with("taskId", task_id)
            .with("rootErrorMessage", root));
        }
        Ok(())
    }
}

/// Runs the tasks of stages.
#[async_trait]
pub trait StageRunner: Send + Sync {
    /// Tells how many tasks run at once.
    fn slots(&self) -> SlotInfo;
    /// Runs all tasks of a stage and gives their manifests. The first failure that is not repeated ends the others.
    async fn run(
        &self,
        stage: StageSpec,
        attempts: AttemptBudget,
        events: mpsc::UnboundedSender<StageEvent>,
        cancel: CancellationToken,
    ) -> Result<Vec<Manifest>, Fault>;
}

/// Runs tasks on the compute pool of this process, each in a slot with memory of its own.
pub struct LocalRunner {
    compute: Handle,
    slots: Arc<Semaphore>,
    shares: MemoryShares,
    base: Arc<RuntimeEnv>,
    store: Arc<dyn RunStore>,
    deep_storage: Arc<dyn DeepStorage>,
    tmp_dir: PathBuf,
}

impl LocalRunner {
    /// Makes the runner of a process.
    pub fn new(
        compute: Handle,
        shares: MemoryShares,
        base: Arc<RuntimeEnv>,
        store: Arc<dyn RunStore>,
        deep_storage: Arc<dyn DeepStorage>,
        tmp_dir: PathBuf,
    ) -> Self {
        Self {
            compute,
            slots: Arc::new(Semaphore::new(shares.slots)),
            shares,
            base,
            store,
            deep_storage,
            tmp_dir,
        }
    }

    /// Makes what an attempt of a stage of so many tasks works with.
    fn attempt_env(&self, tasks: usize, cancel: &CancellationToken) -> Result<AttemptEnv, Fault> {
        Ok(AttemptEnv {
            threads: (self.shares.slots / tasks.max(1)).max(1),
            runtime: limited_runtime(&self.base, self.shares.slot_bytes)?,
            memory_bytes: self.shares.slot_bytes,
            store: self.store.clone(),
            deep_storage: self.deep_storage.clone(),
            tmp_dir: self.tmp_dir.clone(),
            counters: Arc::default(),
            cancel: cancel.clone(),
        })
    }
}

/// Counters of the attempts that run now, by partition.
type Running = Arc<Mutex<BTreeMap<usize, Arc<TaskCounters>>>>;

fn send_counters(partition: usize, counters: &TaskCounters, events: &mpsc::UnboundedSender<StageEvent>) {
    // A controller that has gone away wants no events.
    let _ = events.send(StageEvent::Counters {
        partition,
        counters: Box::new(counters.snapshot()),
        warnings: counters.take_warnings(),
    });
}

#[async_trait]
impl StageRunner for LocalRunner {
    fn slots(&self) -> SlotInfo {
        SlotInfo {
            count: self.shares.slots,
            bytes: self.shares.slot_bytes,
        }
    }

    async fn run(
        &self,
        stage: StageSpec,
        attempts: AttemptBudget,
        events: mpsc::UnboundedSender<StageEvent>,
        cancel: CancellationToken,
    ) -> Result<Vec<Manifest>, Fault> {
        let stop = cancel.child_token();
        let running: Running = Arc::default();
        let stage = Arc::new(stage);
        let mut manifests = Vec::with_capacity(stage.tasks.len());
        let mut tasks: JoinSet<Result<Manifest, Fault>> = JoinSet::new();
        let mut waiting = stage.tasks.iter();
        let mut failure: Option<Fault> = None;
        let mut tick = tokio::time::interval(limits::COUNTER_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // No more tasks at once than slots: what waits for a slot costs nothing.
            while failure.is_none() && tasks.len() < self.shares.slots {
                let Some(task) = waiting.next() else { break };
                let runner = TaskRunner {
                    stage: stage.clone(),
                    task: task.clone(),
                    slots: self.slots.clone(),
                    env: self.attempt_env(stage.tasks.len(), &stop)?,
                    attempts: attempts.clone(),
                    running: running.clone(),
                    events: events.clone(),
                };
                tasks.spawn_on(runner.run(), &self.compute);
            }
            if tasks.is_empty() {
                break;
            }
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    Some(Ok(Ok(manifest))) => manifests.push(manifest),
                    Some(Ok(Err(fault))) => {
                        failure.get_or_insert(fault);
                        stop.cancel();
                    }
                    Some(Err(panic)) => {
                        failure.get_or_insert(Fault::unknown(format!("a task of stage [{}] panicked: {panic}", stage.number)));
                        stop.cancel();
                    }
                    None => break,
                },
                _ = tick.tick() => {
                    // Under the lock: an attempt leaves the list before it sends its last counters, which older ones must not follow.
                    for (partition, counters) in running.lock().iter() {
                        send_counters(*partition, counters, &events);
                    }
                }
            }
        }
        let Some(fault) = failure else { return Ok(manifests) };
        self.remove(&manifests);
        // The caller knows why it canceled.
        Err(if cancel.is_cancelled() {
            Fault::canceled(CancelReason::Unknown)
        } else {
            fault
        })
    }
}

impl LocalRunner {
    /// Removes the runs of tasks that ended well in a stage that did not. Segments are the controller's: it knows their places.
    fn remove(&self, manifests: &[Manifest]) {
        for manifest in manifests {
            if let crate::stage::TaskOutput::Runs(set) = &manifest.output {
                set.runs.iter().for_each(|run| self.store.remove(&run.location));
            }
        }
    }
}

struct TaskRunner {
    stage: Arc<StageSpec>,
    task: TaskDescriptor,
    slots: Arc<Semaphore>,
    env: AttemptEnv,
    attempts: AttemptBudget,
    running: Running,
    events: mpsc::UnboundedSender<StageEvent>,
}

impl TaskRunner {
    async fn run(mut self) -> Result<Manifest, Fault> {
        let partition = self.task.partition;
        let slots = self.slots.clone();
        let cancel = self.env.cancel.clone();
        let _slot = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Fault::canceled(CancelReason::Unknown)),
            slot = slots.acquire() => slot.map_err(|_| Fault::canceled(CancelReason::Unknown))?,
        };
        let mut attempt = 0;
        loop {
            self.env.counters = Arc::default();
            self.running.lock().insert(partition, self.env.counters.clone());
            let _ = self.events.send(StageEvent::Started { partition, attempt });
            let result = run_attempt(&self.stage, &self.task, attempt, &self.env).await;
            self.running.lock().remove(&partition);
            send_counters(partition, &self.env.counters, &self.events);
            let fault = match result {
                Ok(manifest) => {
                    let _ = self.events.send(StageEvent::Finished { partition, attempt });
                    return Ok(manifest);
                }
                Err(fault) => fault,
            };
            let again = if cancel.is_cancelled() {
                Err(fault.clone())
            } else {
                self.attempts.relaunch(&self.task, attempt, fault.clone())
            };
            let _ = self.events.send(StageEvent::Failed {
                partition,
                attempt,
                fault,
                again: again.is_ok(),
            });
            again?;
            // Whatever broke gets a moment to recover.
            tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
            attempt += 1;
        }
    }
}
