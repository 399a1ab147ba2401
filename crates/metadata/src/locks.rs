//! Time-chunk locks: who may change which part of a datasource (Druid's `TaskLockbox`).
//!
//! Everything here is in memory and synchronous; `lock_rows.rs` mirrors it into `druid_tasklocks`. This process is the only
//! lock authority of its store, so the rows are for readers and are forgotten at the next start.
//!
//! ```text
//!   held \ requested   EXCLUSIVE  SHARED  APPEND                     REPLACE
//!   EXCLUSIVE          -          -       -                          -
//!   SHARED             -          ok      -                          -
//!   APPEND             -          -       ok                         if REPLACE contains APPEND
//!   REPLACE            -          -       if REPLACE contains APPEND -
//! ```
//!
//! A request takes all its intervals or none. Requests that must wait are served by priority, then in the order of arrival,
//! and nobody overtakes an earlier request that it conflicts with: a stream of INSERTs cannot starve a REPLACE. Only a task
//! that already holds a lock on the datasource overtakes, since the one it would wait behind may be waiting for it.

use henge_time::{Interval, format_millis, parse_millis};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::MetadataError;

/// Version of every APPEND lock: appends never hide anything.
pub(crate) const APPEND_VERSION: &str = "1970-01-01T00:00:00.000Z";

/// What a lock allows its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LockKind {
    /// REPLACE by default: nobody else works on the interval.
    Exclusive,
    /// INSERT by default: other INSERTs may work beside.
    Shared,
    /// INSERT beside a REPLACE (`useConcurrentLocks`).
    Append,
    /// REPLACE beside INSERTs (`useConcurrentLocks`).
    Replace,
}

impl LockKind {
    /// Tells whether a held lock lets another group take the requested one; the intervals overlap.
    fn allows(self, held: &Interval, requested_kind: LockKind, requested: &Interval) -> bool {
        match (self, requested_kind) {
            (LockKind::Shared, LockKind::Shared) | (LockKind::Append, LockKind::Append) => true,
            (LockKind::Append, LockKind::Replace) => requested.contains(held),
            (LockKind::Replace, LockKind::Append) => held.contains(requested),
            _ => false,
        }
    }
}

/// A lock on a time chunk. The serialised form is Druid's `lock_payload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "granularity", rename = "timeChunk")]
pub struct TaskLock {
    /// Task that holds the lock; a column of its own in the table.
    #[serde(skip)]
    pub task_id: String,
    /// What it allows.
    #[serde(rename = "type")]
    pub kind: LockKind,
    /// Group of the task; tasks of one group do not conflict.
    pub group_id: String,
    /// Datasource.
    #[serde(rename = "dataSource")]
    pub datasource: String,
    /// Locked interval.
    pub interval: Interval,
    /// Version for what is published under the lock: the time of the grant, or the epoch for APPEND.
    pub version: String,
    /// Priority of the task; a strictly higher one revokes.
    pub priority: i32,
    /// True once a task of higher priority took the lock away.
    pub revoked: bool,
}

/// Locks that a task wants, all or none.
#[derive(Debug, Clone)]
pub struct LockRequest {
    /// Task that wants them.
    pub task_id: String,
    /// Group of the task; its own id where it has none.
    pub group_id: String,
    /// Datasource.
    pub datasource: String,
    /// Intervals; each becomes a lock of its own, all with one version.
    pub intervals: Vec<Interval>,
    /// What the locks shall allow.
    pub kind: LockKind,
    /// Priority; SQL tasks have [`LockRequest::SQL_PRIORITY`].
    pub priority: i32,
}

impl LockRequest {
    /// Priority of SQL tasks in Druid.
    pub const SQL_PRIORITY: i32 = 50;
}

/// A held lock and the state of its row.
#[derive(Debug)]
struct Held {
    key: u64,
    lock: TaskLock,
    /// True while its task publishes; such a lock is not revoked.
    critical: bool,
    row: Row,
}

impl Held {
    /// Tells whether the lock keeps the request from being granted.
    fn conflicts(&self, request: &LockRequest) -> bool {
        let lock = &self.lock;
        let meets = |i: &Interval| lock.interval.overlaps(i) && !lock.kind.allows(&lock.interval, request.kind, i);
        !lock.revoked
            && lock.datasource == request.datasource
            && lock.group_id != request.group_id
            && request.intervals.iter().any(meets)
    }
}

/// What `druid_tasklocks` knows of a lock.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Row {
    Missing,
    Stored { id: i64, revoked: bool },
}

struct Waiter {
    ticket: u64,
    request: LockRequest,
    answer: oneshot::Sender<Grant>,
}

impl Waiter {
    /// Tells whether a later request must wait for this one.
    fn precedes(&self, later: &LockRequest) -> bool {
        let own = &self.request;
        own.priority >= later.priority
            && own.datasource == later.datasource
            && own.group_id != later.group_id
            && own.intervals.iter().any(|ours| {
                let meets = |i: &Interval| ours.overlaps(i) && !own.kind.allows(ours, later.kind, i);
                later.intervals.iter().any(meets)
            })
    }
}

/// What a request got.
#[derive(Debug, Default)]
pub(crate) struct Grant {
    /// One lock an interval of the request.
    pub locks: Vec<TaskLock>,
    /// Keys of those that the task did not hold before.
    added: Vec<u64>,
}

/// A change of `druid_tasklocks` that is still due.
#[derive(Debug)]
pub(crate) enum RowChange {
    Insert { key: u64, lock: TaskLock },
    Update { key: u64, id: i64, lock: TaskLock },
    Delete { id: i64 },
}

/// All locks and all who wait for some.
#[derive(Default)]
pub(crate) struct LockBox {
    held: Vec<Held>,
    /// Ordered by priority (highest first), then ticket.
    waiting: Vec<Waiter>,
    /// Rows of locks that are gone.
    stale_rows: Vec<i64>,
    counter: u64,
    last_version_ms: i64,
}

/// Gives the newest used version that overlaps the interval of the datasource.
pub(crate) type NewestVersion<'a> = &'a dyn Fn(&str, &Interval) -> Option<String>;

impl LockBox {
    /// Takes the locks now, or gives `None` where that conflicts.
    pub fn try_take(&mut self, request: &LockRequest, newest: NewestVersion) -> Option<Grant> {
        if self.queues_behind(request, self.waiting.len()) || !self.make_room(request) {
            return None;
        }
        Some(self.grant(request, newest))
    }

    /// Queues the request; the answer comes when the locks are granted, perhaps at once. Gives the ticket to give up with, or
    /// an error where waiting would never end.
    pub fn enqueue(
        &mut self,
        request: LockRequest,
        answer: oneshot::Sender<Grant>,
        newest: NewestVersion,
    ) -> Result<u64, MetadataError> {
        self.counter += 1;
        let ticket = self.counter;
        let (task_id, datasource) = (request.task_id.clone(), request.datasource.clone());
        let place = self.waiting.partition_point(|w| w.request.priority >= request.priority);
        self.waiting.insert(
            place,
            Waiter {
                ticket,
                request,
                answer,
            },
        );
        self.serve(newest);
        // Only a new wait can close a circle: whoever is granted something waits no more.
        if self.waits_for_itself(&task_id) {
            self.give_up(ticket, newest);
            return Err(MetadataError::Deadlock { task_id, datasource });
        }
        Ok(ticket)
    }

    /// Tells whether the task waits for one that waits, through any number of others, for it.
    fn waits_for_itself(&self, task_id: &str) -> bool {
        let mut seen: Vec<&str> = Vec::new();
        let mut due: Vec<&str> = self.waits_for(task_id).collect();
        while let Some(other) = due.pop() {
            if other == task_id {
                return true;
            }
            if !seen.contains(&other) {
                seen.push(other);
                due.extend(self.waits_for(other));
            }
        }
        false
    }

    /// Gives the tasks that must end before the waiting requests of this one can be served.
    fn waits_for<'a>(&'a self, task_id: &'a str) -> impl Iterator<Item = &'a str> {
        let requests = self
            .waiting
            .iter()
            .enumerate()
            .filter(move |(_, w)| w.request.task_id == task_id);
        requests.flat_map(|(place, waiter)| {
            let request = &waiter.request;
            let holders = self
                .held
                .iter()
                .filter(|held| held.conflicts(request))
                .map(|held| held.lock.task_id.as_str());
            let overtakes = self.holds_some(request);
            let earlier = self.waiting[..place]
                .iter()
                .filter(move |earlier| !overtakes && earlier.precedes(request));
            holders.chain(earlier.map(|earlier| earlier.request.task_id.as_str()))
        })
    }

    /// Forgets a waiting request, which may let others through.
    pub fn give_up(&mut self, ticket: u64, newest: NewestVersion) {
        self.waiting.retain(|w| w.ticket != ticket);
        self.serve(newest);
    }

    /// Gives every lock of the task back and serves those who wait.
    pub fn release(&mut self, task_id: &str, newest: NewestVersion) {
        self.remove(|held| held.lock.task_id == task_id);
        self.serve(newest);
    }

    /// Gives back single locks that were granted to somebody who no longer wants them.
    pub fn give_back(&mut self, grant: &Grant, newest: NewestVersion) {
        self.remove(|held| grant.added.contains(&held.key));
        self.serve(newest);
    }

    fn remove(&mut self, unwanted: impl Fn(&Held) -> bool) {
        let stale_rows = &mut self.stale_rows;
        self.held.retain(|held| {
            if !unwanted(held) {
                return true;
            }
            if let Row::Stored { id, .. } = held.row {
                stale_rows.push(id);
            }
            false
        });
    }

    /// Grants what can be granted, in order.
    fn serve(&mut self, newest: NewestVersion) {
        let mut at = 0;
        while at < self.waiting.len() {
            if self.waiting[at].answer.is_closed() {
                self.waiting.remove(at);
                continue;
            }
            let request = self.waiting[at].request.clone();
            if self.queues_behind(&request, at) || !self.make_room(&request) {
                at += 1;
                continue;
            }
            let waiter = self.waiting.remove(at);
            let grant = self.grant(&request, newest);
            if let Err(unwanted) = waiter.answer.send(grant) {
                self.remove(|held| unwanted.added.contains(&held.key));
            }
        }
    }

    /// Tells whether an earlier waiter must be served first.
    fn queues_behind(&self, request: &LockRequest, place: usize) -> bool {
        !self.holds_some(request) && self.waiting[..place].iter().any(|earlier| earlier.precedes(request))
    }

    /// Tells whether the task has a lock on the datasource already, and so may overtake.
    fn holds_some(&self, request: &LockRequest) -> bool {
        let own = |h: &Held| h.lock.task_id == request.task_id && h.lock.datasource == request.datasource;
        self.held.iter().any(own)
    }

    /// Tells whether the request can be granted, revoking weaker locks that stand in its way.
    fn make_room(&mut self, request: &LockRequest) -> bool {
        let mut in_the_way = Vec::new();
        for (at, held) in self.held.iter().enumerate().filter(|(_, held)| held.conflicts(request)) {
            if held.critical || held.lock.priority >= request.priority {
                return false;
            }
            in_the_way.push(at);
        }
        for at in in_the_way {
            self.held[at].lock.revoked = true;
        }
        true
    }

    /// Adds the locks; those that the task holds already are given again.
    fn grant(&mut self, request: &LockRequest, newest: NewestVersion) -> Grant {
        let mut version: Option<String> = None;
        let mut grant = Grant::default();
        for interval in &request.intervals {
            if let Some(own) = self.held.iter().find(|h| {
                h.lock.task_id == request.task_id
                    && h.lock.datasource == request.datasource
                    && h.lock.kind == request.kind
                    && !h.lock.revoked
                    && h.lock.interval.contains(interval)
            }) {
                grant.locks.push(own.lock.clone());
                continue;
            }
            let version = version.get_or_insert_with(|| match request.kind {
                LockKind::Append => APPEND_VERSION.to_string(),
                _ => {
                    let newest = request
                        .intervals
                        .iter()
                        .filter_map(|i| newest(&request.datasource, i))
                        .max();
                    self.last_version_ms = chrono::Utc::now().timestamp_millis().max(self.last_version_ms + 1);
                    version_after(self.last_version_ms, newest.as_deref())
                }
            });
            let lock = TaskLock {
                task_id: request.task_id.clone(),
                kind: request.kind,
                group_id: request.group_id.clone(),
                datasource: request.datasource.clone(),
                interval: *interval,
                version: version.clone(),
                priority: request.priority,
                revoked: false,
            };
            self.counter += 1;
            self.held.push(Held {
                key: self.counter,
                lock: lock.clone(),
                critical: false,
                row: Row::Missing,
            });
            grant.locks.push(lock);
            grant.added.push(self.counter);
        }
        grant
    }

    /// Gives the locks of a task, revoked ones included, in the order of their grants.
    pub fn of_task(&self, task_id: &str) -> Vec<TaskLock> {
        let own = self.held.iter().filter(|h| h.lock.task_id == task_id);
        own.map(|h| h.lock.clone()).collect()
    }

    /// Gives all locks.
    pub fn all(&self) -> Vec<TaskLock> {
        self.held.iter().map(|h| h.lock.clone()).collect()
    }

    /// Checks that unrevoked locks of the task cover the intervals with the versions that shall change, and keeps the locks from being revoked until
    /// [`LockBox::leave_critical`].
    pub fn enter_critical(
        &mut self,
        task_id: &str,
        datasource: &str,
        changes: impl IntoIterator<Item = (Interval, String)>,
    ) -> Result<(), MetadataError> {
        let preempted = |interval: Interval| MetadataError::LockPreempted {
            task_id: task_id.to_string(),
            datasource: datasource.to_string(),
            interval,
        };
        let own = |h: &&mut Held| h.lock.task_id == task_id && h.lock.datasource == datasource;
        if let Some(lost) = self.held.iter_mut().find(|h| own(h) && h.lock.revoked) {
            return Err(preempted(lost.lock.interval));
        }
        for (interval, version) in changes {
            let covered = self.held.iter_mut().filter(own).any(|h| {
                h.lock.interval.contains(&interval) && (h.lock.kind == LockKind::Append || h.lock.version >= version)
            });
            if !covered {
                return Err(preempted(interval));
            }
        }
        self.held.iter_mut().filter(own).for_each(|h| h.critical = true);
        Ok(())
    }

    /// Ends what [`LockBox::enter_critical`] began.
    pub fn leave_critical(&mut self, task_id: &str, newest: NewestVersion) {
        let own = self.held.iter_mut().filter(|h| h.lock.task_id == task_id);
        own.for_each(|h| h.critical = false);
        self.serve(newest);
    }

    /// Tells whether stored rows are out of date: locks that are gone, or revoked.
    pub fn rows_are_behind(&self) -> bool {
        let differs = |h: &Held| matches!(h.row, Row::Stored { revoked, .. } if revoked != h.lock.revoked);
        !self.stale_rows.is_empty() || self.held.iter().any(differs)
    }

    /// Gives the changes of rows that are due. Each must be answered by `row_stored` or, for deletes, be done.
    pub fn due_row_changes(&mut self) -> Vec<RowChange> {
        let mut changes: Vec<RowChange> = self.stale_rows.drain(..).map(|id| RowChange::Delete { id }).collect();
        for held in &self.held {
            match held.row {
                Row::Missing => changes.push(RowChange::Insert {
                    key: held.key,
                    lock: held.lock.clone(),
                }),
                Row::Stored { id, revoked } if revoked != held.lock.revoked => changes.push(RowChange::Update {
                    key: held.key,
                    id,
                    lock: held.lock.clone(),
                }),
                Row::Stored { .. } => {}
            }
        }
        changes
    }

    /// Notes that the row of a lock has been written; where the lock is gone meanwhile, the row is stale.
    pub fn row_stored(&mut self, key: u64, id: i64, revoked: bool) {
        match self.held.iter_mut().find(|h| h.key == key) {
            Some(held) => held.row = Row::Stored { id, revoked },
            None => self.stale_rows.push(id),
        }
    }

    /// Puts back deletes that failed.
    pub fn rows_still_stale(&mut self, ids: impl IntoIterator<Item = i64>) {
        self.stale_rows.extend(ids);
    }
}

/// Gives the version for a grant at `now_ms` such that what is published under it hides what is there: clocks may have been
/// set back, and foreign versions need not be times.
fn version_after(now_ms: i64, newest: Option<&str>) -> String {
    let version = format_millis(now_ms);
    match newest {
        Some(newest) if *newest >= *version => {
            let next = parse_millis(newest).map(|millis| format_millis(millis + 1));
            match next {
                Ok(next) if *newest < *next => next,
                _ => format!("{newest}_{version}"),
            }
        }
        _ => version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{days, lock_request};

    fn nothing(_: &str, _: &Interval) -> Option<String> {
        None
    }

    fn take(locks: &mut LockBox, task: &str, kind: LockKind, interval: Interval) -> bool {
        locks
            .try_take(&lock_request(task, kind, &[interval]), &nothing)
            .is_some()
    }

    fn wait(locks: &mut LockBox, request: LockRequest) -> oneshot::Receiver<Grant> {
        let (sender, receiver) = oneshot::channel();
        locks.enqueue(request, sender, &nothing).expect("no deadlock");
        receiver
    }

    #[test]
    fn the_table_of_compatible_locks() {
        use LockKind::{Append, Exclusive, Replace, Shared};
        // Held over two days, requested over one of them, and the other way round.
        let table = [
            (Exclusive, Exclusive, false, false),
            (Exclusive, Shared, false, false),
            (Exclusive, Append, false, false),
            (Exclusive, Replace, false, false),
            (Shared, Exclusive, false, false),
            (Shared, Shared, true, true),
            (Shared, Append, false, false),
            (Shared, Replace, false, false),
            (Append, Exclusive, false, false),
            (Append, Shared, false, false),
            (Append, Append, true, true),
            (Append, Replace, false, true),
            (Replace, Exclusive, false, false),
            (Replace, Shared, false, false),
            (Replace, Append, true, false),
            (Replace, Replace, false, false),
        ];
        for (held, requested, narrower, wider) in table {
            for (held_interval, interval, expected) in
                [(days(0, 2), days(0, 1), narrower), (days(0, 1), days(0, 2), wider)]
            {
                let mut locks = LockBox::default();
                assert!(take(&mut locks, "a", held, held_interval));
                assert_eq!(
                    take(&mut locks, "b", requested, interval),
                    expected,
                    "{held:?} {held_interval}, then {requested:?} {interval}"
                );
                assert!(take(&mut locks, "c", requested, days(5, 6)), "elsewhere is free");
            }
        }
    }

    #[test]
    fn all_intervals_or_none() {
        let mut locks = LockBox::default();
        assert!(take(&mut locks, "a", LockKind::Exclusive, days(1, 2)));
        let both = lock_request("b", LockKind::Exclusive, &[days(0, 1), days(1, 2)]);
        assert!(locks.try_take(&both, &nothing).is_none());
        assert_eq!(locks.all().len(), 1);
        let mut waiting = wait(&mut locks, both);
        assert!(waiting.try_recv().is_err());
        locks.release("a", &nothing);
        let granted = waiting.try_recv().expect("granted").locks;
        assert_eq!(granted.len(), 2);
        assert_eq!(granted[0].version, granted[1].version);
    }

    #[test]
    fn nobody_overtakes_a_waiting_request_but_who_holds_something() {
        let mut locks = LockBox::default();
        assert!(take(&mut locks, "insert-1", LockKind::Shared, days(0, 1)));
        let mut replace = wait(
            &mut locks,
            lock_request("replace", LockKind::Exclusive, &[days(0, 1), days(1, 2)]),
        );
        assert!(
            !take(&mut locks, "insert-2", LockKind::Shared, days(0, 1)),
            "would starve the replace"
        );
        let mut insert = wait(&mut locks, lock_request("insert-2", LockKind::Shared, &[days(0, 1)]));
        assert!(
            take(&mut locks, "insert-3", LockKind::Shared, days(7, 8)),
            "no conflict, no queue"
        );
        assert!(
            take(&mut locks, "insert-1", LockKind::Shared, days(1, 2)),
            "else both would wait for ever"
        );
        locks.release("insert-1", &nothing);
        assert!(replace.try_recv().is_ok() && insert.try_recv().is_err());
        locks.release("replace", &nothing);
        assert!(insert.try_recv().is_ok());
    }

    #[test]
    fn a_higher_priority_revokes_unless_the_holder_is_publishing() {
        let mut locks = LockBox::default();
        assert!(take(&mut locks, "low", LockKind::Exclusive, days(0, 1)));
        assert!(!take(&mut locks, "equal", LockKind::Exclusive, days(0, 1)));
        let publishing = [(days(0, 1), "1".to_string())];
        locks.enter_critical("low", "d", publishing.clone()).expect("covered");
        let mut request = lock_request("high", LockKind::Exclusive, &[days(0, 1)]);
        request.priority += 1;
        let mut high = wait(&mut locks, request);
        assert!(high.try_recv().is_err());
        locks.leave_critical("low", &nothing);
        assert!(high.try_recv().is_ok());
        assert!(locks.of_task("low")[0].revoked);
        let error = locks.enter_critical("low", "d", publishing).expect_err("revoked");
        assert!(matches!(error, MetadataError::LockPreempted { .. }));
        let own = locks.of_task("high");
        assert!(take(&mut locks, "high", LockKind::Exclusive, days(0, 1)));
        assert_eq!(locks.of_task("high"), own, "what is held is given again");
    }

    #[test]
    fn tasks_that_would_wait_for_each_other_are_told() {
        let mut locks = LockBox::default();
        assert!(take(&mut locks, "a", LockKind::Shared, days(0, 1)));
        assert!(take(&mut locks, "b", LockKind::Append, days(1, 2)));
        let mut waiting = wait(&mut locks, lock_request("a", LockKind::Shared, &[days(1, 2)]));
        let (sender, _receiver) = oneshot::channel();
        let error = locks
            .enqueue(lock_request("b", LockKind::Append, &[days(0, 1)]), sender, &nothing)
            .expect_err("a circle");
        assert_eq!(error.kind(), crate::MetadataErrorKind::LockPreempted);
        locks.release("b", &nothing);
        assert!(waiting.try_recv().is_ok());
    }

    #[test]
    fn versions_grow_and_exceed_what_is_there() {
        let mut locks = LockBox::default();
        let mut last = String::new();
        for task in ["a", "b", "c"] {
            let grant = locks
                .try_take(&lock_request(task, LockKind::Shared, &[days(0, 1)]), &nothing)
                .expect("granted");
            assert!(grant.locks[0].version > last);
            last = grant.locks[0].version.clone();
        }
        let append = locks
            .try_take(&lock_request("e", LockKind::Append, &[days(3, 4)]), &nothing)
            .expect("granted");
        assert_eq!(append.locks[0].version, APPEND_VERSION);
        for newest in ["2999-12-31T23:59:59.999Z", "v17", "9999-12-31T23:59:59.999Z"] {
            let grant = LockBox::default()
                .try_take(&lock_request("f", LockKind::Exclusive, &[days(0, 1)]), &|_, _| {
                    Some(newest.to_string())
                })
                .expect("granted");
            assert!(*grant.locks[0].version > *newest, "{}", grant.locks[0].version);
        }
        assert_eq!(
            version_after(0, Some("1970-01-01T00:00:05.000Z")),
            "1970-01-01T00:00:05.001Z"
        );
    }

    #[test]
    fn who_stops_waiting_leaves_no_lock_behind() {
        let mut locks = LockBox::default();
        assert!(take(&mut locks, "a", LockKind::Exclusive, days(0, 1)));
        drop(wait(&mut locks, lock_request("b", LockKind::Exclusive, &[days(0, 1)])));
        let mut next = wait(&mut locks, lock_request("c", LockKind::Exclusive, &[days(0, 1)]));
        locks.release("a", &nothing);
        assert!(next.try_recv().is_ok());
        assert!(locks.of_task("b").is_empty());
    }

    #[test]
    fn payloads_equal_druids() {
        for line in include_str!("../../../tests/golden/metadata/druid_tasklocks.jsonl").lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("a golden row");
            let payload = row["LOCK_PAYLOAD"].to_string();
            let lock: TaskLock = serde_json::from_str(&payload).expect("a lock");
            assert_eq!(serde_json::to_string(&lock).expect("serialises"), payload);
        }
    }

    fn conflict(a: &TaskLock, b: &TaskLock) -> bool {
        // The lock granted first is the held one; grants of one test never share a group.
        a.group_id != b.group_id
            && !a.revoked
            && !b.revoked
            && a.interval.overlaps(&b.interval)
            && !a.kind.allows(&a.interval, b.kind, &b.interval)
    }

    proptest::proptest! {
        #[test]
        fn random_requests_never_conflict_and_never_starve(
            steps in proptest::collection::vec((0usize..6, 0usize..4, 0i64..6, 1i64..4, 0i32..3, proptest::bool::ANY), 1..40),
        ) {
            let kinds = [LockKind::Exclusive, LockKind::Shared, LockKind::Append, LockKind::Replace];
            let mut locks = LockBox::default();
            let mut waiting: Vec<(usize, oneshot::Receiver<Grant>)> = Vec::new();
            for (task, kind, start, length, priority, release) in steps {
                let name = format!("task-{task}");
                waiting.retain_mut(|(_, receiver)| receiver.try_recv().is_err());
                let is_waiting = waiting.iter().any(|(waiter, _)| *waiter == task);
                if release {
                    waiting.retain(|(waiter, _)| *waiter != task);
                    locks.release(&name, &nothing);
                } else if !is_waiting {
                    let mut request = lock_request(&name, kinds[kind], &[days(start, start + length), days(9, 10)]);
                    request.priority = priority;
                    let (sender, receiver) = oneshot::channel();
                    match locks.enqueue(request, sender, &nothing) {
                        Ok(_) => waiting.push((task, receiver)),
                        Err(_) => locks.release(&name, &nothing),
                    }
                }
                let all = locks.all();
                for (at, later) in all.iter().enumerate() {
                    let earlier = all[..at].iter().find(|earlier| conflict(earlier, later));
                    proptest::prop_assert!(earlier.is_none(), "{:?} and {:?}", earlier, later);
                }
            }
            // Whoever is served ends; nobody is left waiting when all others have ended.
            for _ in 0..waiting.len() + 6 {
                waiting.retain_mut(|(_, receiver)| receiver.try_recv().is_err());
                (0..6).filter(|task| !waiting.iter().any(|(waiter, _)| waiter == task)).collect::<Vec<_>>()
                    .into_iter().for_each(|task| locks.release(&format!("task-{task}"), &nothing));
            }
            waiting.retain_mut(|(_, receiver)| receiver.try_recv().is_err());
            proptest::prop_assert!(waiting.is_empty(), "{} still wait", waiting.len());
            proptest::prop_assert!(locks.all().is_empty());
        }
    }
}
