//! One memory number for the process, cut into shares once:
//!
//! ```text
//! memory ─┬─ 20 %  columns of segments, decoded       (SegmentCache)
//!         ├─ 15 %  runs that stay in memory           (run store; beyond it they go to disk)
//!         ├─ 45 %  operators, run writers, segments   (one fair pool a slot, so every operator spills inside its share)
//!         └─ 20 %  what no pool sees: batches in flight, readers' pages, SQLite, code
//! ```
//!
//! DataFusion's operators spill when their pool says no, but a pool for the whole process would let one task starve the others
//! (spec `engine-evaluation` section 6), so a slot has a pool of its own. Never fewer bytes than
//! [`limits::SLOT_BYTES_MIN`] a slot: with little memory there are fewer slots than threads.
//!
//! Interactive queries have pools of their own, too, and all of them together no more than the operators' share ([`QueryMemory`]). So
//! that they do not fail for want of each other's memory, only some work on their first rows at once; the others wait.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionConfig;
use henge_exchange::MemoryBudget;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;

/// Consumers that an out-of-memory message names.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::new(5).expect("5 is not 0");

/// The shares of the process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryShares {
    /// Decoded columns of segments.
    pub cache_bytes: usize,
    /// Runs that stay in memory.
    pub run_bytes: usize,
    /// Tasks that run at once.
    pub slots: usize,
    /// Memory of each.
    pub slot_bytes: usize,
    /// Memory of interactive queries, all together.
    pub query_bytes: usize,
    /// Interactive queries that work on their first rows at once.
    pub query_slots: usize,
}

impl MemoryShares {
    /// Cuts the memory number.
    pub fn of(memory_bytes: u64, threads: usize) -> Self {
        let memory = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        let operators = memory / 100 * 45;
        let slots = (operators / limits::SLOT_BYTES_MIN).clamp(1, threads.max(1));
        Self {
            cache_bytes: memory / 5,
            run_bytes: memory / 100 * 15,
            slots,
            slot_bytes: operators / slots,
            query_bytes: operators,
            query_slots: (operators / limits::QUERY_BYTES_MIN).clamp(2, threads.max(1) * limits::QUERIES_PER_THREAD),
        }
    }
}

/// The memory of all interactive queries: counts what their pools hold together.
#[derive(Debug)]
pub struct QueryMemory {
    limit_bytes: usize,
    held_bytes: AtomicUsize,
    /// Permits of queries that work on their first rows.
    pub slots: Arc<Semaphore>,
    all_slots: u32,
}

impl QueryMemory {
    /// Makes the memory of a process's queries.
    pub fn of(shares: &MemoryShares) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes: shares.query_bytes.max(limits::SLOT_BYTES_MIN),
            held_bytes: AtomicUsize::new(0),
            slots: Arc::new(Semaphore::new(shares.query_slots)),
            all_slots: u32::try_from(shares.query_slots).unwrap_or(u32::MAX),
        })
    }

    /// Makes the environment of one query. It may take half of the whole: the other half is for others.
    pub fn runtime(self: &Arc<Self>, base: &RuntimeEnv) -> datafusion::error::Result<Arc<RuntimeEnv>> {
        let own = FairSpillPool::new((self.limit_bytes / 2).max(limits::SLOT_BYTES_MIN));
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool {
            own: TrackConsumersPool::new(own, NAMED_CONSUMERS),
            all: Arc::clone(self),
        });
        RuntimeEnvBuilder::from_runtime_env(base)
            .with_memory_pool(pool)
            .build_arc()
    }

    /// Waits until no other query works on its first rows, and keeps others from beginning.
    pub async fn alone(&self) -> Option<OwnedSemaphorePermit> {
        self.slots.clone().acquire_many_owned(self.all_slots).await.ok()
    }

    fn take(&self, bytes: usize) -> datafusion::error::Result<()> {
        let taken = self
            .held_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(bytes).filter(|held| *held <= self.limit_bytes)
            });
        let held = match taken {
            Ok(_) => return Ok(()),
            Err(held) => held,
        };
        Err(DataFusionError::ResourcesExhausted(format!(
            "[{bytes}] more bytes are wanted, but all queries together hold [{held}] of [{}] bytes; run fewer at once or give the \
             process more memory",
            self.limit_bytes
        )))
    }
}

/// The pool of one query: fair among its operators, and counted with those of the other queries.
#[derive(Debug)]
struct QueryPool {
    own: TrackConsumersPool<FairSpillPool>,
    all: Arc<QueryMemory>,
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.own.fmt(f)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        self.own.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.all.held_bytes.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.all.held_bytes.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> datafusion::error::Result<()> {
        self.all.take(additional)?;
        let grown = self.own.try_grow(reservation, additional);
        if grown.is_err() {
            self.all.held_bytes.fetch_sub(additional, Ordering::Relaxed);
        }
        grown
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

/// Makes the base of all runtime environments: spills go to a folder that the next start empties.
pub fn base_runtime(spill_dir: &Path) -> datafusion::error::Result<Arc<RuntimeEnv>> {
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![spill_dir.to_path_buf()]))
        .with_max_temp_directory_size(u64::MAX / 2);
    RuntimeEnvBuilder::new().with_disk_manager_builder(disk).build_arc()
}

/// Makes the environment of one task: a fair pool of its own, the rest shared.
pub fn limited_runtime(base: &RuntimeEnv, bytes: usize) -> datafusion::error::Result<Arc<RuntimeEnv>> {
    let pool: Arc<dyn MemoryPool> = Arc::new(TrackConsumersPool::new(FairSpillPool::new(bytes), NAMED_CONSUMERS));
    RuntimeEnvBuilder::from_runtime_env(base)
        .with_memory_pool(pool)
        .build_arc()
}

/// Sets what a task's operators need to stay inside their share.
///
/// Plain strings, not views, which break sorts under a limit; a sort-merge join unless the build side is known to be small, since
/// a hash join never spills; no exchange and no filter that reaches across stages, since stages are cut apart.
pub fn task_config(base: &SessionConfig, slots: usize, slot_bytes: usize) -> SessionConfig {
    let batch_rows = match slot_bytes >> 20 {
        0..128 => 1024,
        128..384 => 4096,
        _ => 8192,
    };
    base.clone()
        .with_target_partitions(slots.max(2))
        .with_batch_size(batch_rows)
        .with_round_robin_repartition(false)
        .with_repartition_file_scans(false)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false)
        .set_bool("datafusion.optimizer.prefer_hash_join", false)
        .set_bool("datafusion.optimizer.prefer_existing_union", true)
        .set_bool("datafusion.optimizer.prefer_existing_sort", false)
        .set_bool("datafusion.optimizer.enable_dynamic_filter_pushdown", false)
        .set_bool(
            "datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery",
            false,
        )
        .set_str("datafusion.execution.spill_compression", "lz4_frame")
        .set_usize(
            "datafusion.execution.sort_spill_reservation_bytes",
            (slot_bytes / 32).clamp(1 << 20, 4 << 20),
        )
}

/// Lets the exchange take its memory from a task's pool.
#[derive(Debug)]
pub struct PoolBudget {
    reservation: MemoryReservation,
}

impl PoolBudget {
    /// Registers a consumer; one that spills shares the pool fairly with the other operators of its task.
    pub fn new(pool: &Arc<dyn MemoryPool>, name: &str, spills: bool) -> Arc<Self> {
        let reservation = MemoryConsumer::new(name).with_can_spill(spills).register(pool);
        Arc::new(Self { reservation })
    }

    /// Gives the bytes held now.
    pub fn held(&self) -> usize {
        self.reservation.size()
    }
}

impl MemoryBudget for PoolBudget {
    fn try_grow(&self, bytes: usize) -> bool {
        self.reservation.try_grow(bytes).is_ok()
    }

    fn shrink(&self, bytes: usize) {
        self.reservation.shrink(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_slots_keep_their_minimum() {
        for (memory, threads) in [(1u64 << 30, 2), (1 << 30, 16), (64 << 20, 4), (64 << 30, 8), (0, 1)] {
            let shares = MemoryShares::of(memory, threads);
            let sum = shares.cache_bytes + shares.run_bytes + shares.slots * shares.slot_bytes;
            assert!(sum as u64 <= memory / 10 * 8 + 100, "{shares:?} of {memory}");
            assert!(shares.slots >= 1 && shares.slots <= threads);
            assert!(shares.slots == 1 || shares.slot_bytes >= limits::SLOT_BYTES_MIN);
        }
        assert_eq!(
            MemoryShares::of(1 << 30, 16).slots,
            7,
            "fewer slots than threads where memory is short"
        );
    }

    #[test]
    fn queries_hold_no_more_than_their_share_together() {
        let shares = MemoryShares::of(1 << 30, 2);
        assert_eq!(shares.query_slots, 8);
        let memory = QueryMemory::of(&shares);
        let base = RuntimeEnv::default();
        let pools: Vec<_> = (0..3)
            .map(|_| memory.runtime(&base).expect("made").memory_pool.clone())
            .collect();
        let half = memory.limit_bytes / 2;
        let hold = |pool: &Arc<dyn MemoryPool>| MemoryConsumer::new("join").register(pool);
        let (first, second, third) = (hold(&pools[0]), hold(&pools[1]), hold(&pools[2]));
        first.try_grow(half).expect("half of the whole");
        assert!(first.try_grow(2).is_err(), "one query has no more than half");
        second.try_grow(half).expect("the other half");
        let refused = third.try_grow(2).expect_err("nothing is left").to_string();
        assert!(refused.contains("all queries together"), "{refused}");
        first.free();
        third.try_grow(2).expect("there is room again");
        drop((second, third));
        assert_eq!(memory.held_bytes.load(Ordering::Relaxed), 0, "all of it was given back");
    }

    #[test]
    fn a_budget_is_a_share_of_the_pool() {
        let pool: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(100));
        let budget = PoolBudget::new(&pool, "run", true);
        assert!(budget.try_grow(80) && !budget.try_grow(30));
        let other = PoolBudget::new(&pool, "sort", true);
        assert!(
            other.try_grow(20) && !other.try_grow(40),
            "each of two spilling consumers has one half"
        );
        budget.shrink(80);
        assert_eq!((budget.held(), other.held(), pool.reserved()), (0, 20, 20));
    }
}
