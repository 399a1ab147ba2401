//! Tasks of this process: which run, how they ended, and where their reports are.
//!
//! A task's end is told in this order: locks released, report stored, status stored, waiters woken. Whoever sees SUCCESS can read
//! the report, and the segments.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use henge_metadata::{MetadataStore, TaskLocation, TaskState as StoredState, TaskStatus};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::controller::cancel::CancelHandle;
use crate::controller::live::LiveReport;
use crate::engine::TaskState;
use crate::fault::{Fault, FaultCode};
use crate::limits;
use crate::report::{QueryReport, ReportStatus};

/// A task that runs.
#[derive(Clone)]
pub struct RunningTask {
    /// Its report.
    pub live: Arc<LiveReport>,
    /// Stops it.
    pub cancel: Arc<CancelHandle>,
    /// Holds its end once it has one.
    pub ended: watch::Receiver<Option<TaskState>>,
}

/// The tasks of this process.
pub struct Tasks {
    running: Mutex<HashMap<String, RunningTask>>,
    ended: Mutex<VecDeque<(String, TaskState, Arc<QueryReport>)>>,
    reports_dir: PathBuf,
}

impl Tasks {
    /// Keeps reports in a folder.
    pub fn new(reports_dir: PathBuf) -> Self {
        Self {
            running: Mutex::default(),
            ended: Mutex::default(),
            reports_dir,
        }
    }

    /// Gives a running task.
    pub fn running(&self, id: &str) -> Option<RunningTask> {
        self.running.lock().get(id).cloned()
    }

    /// Lists the running tasks.
    pub fn all_running(&self) -> Vec<RunningTask> {
        self.running.lock().values().cloned().collect()
    }

    /// Adds a task; false where one of that id runs.
    pub fn add(&self, id: &str, task: RunningTask) -> bool {
        let mut running = self.running.lock();
        if running.contains_key(id) {
            return false;
        }
        running.insert(id.to_string(), task);
        true
    }

    /// Takes a task off that never ran.
    pub fn forget(&self, id: &str) {
        self.running.lock().remove(id);
    }

    /// Moves a task to those that have ended.
    pub fn ended(&self, id: &str, state: TaskState, report: Arc<QueryReport>) {
        let mut ended = self.ended.lock();
        ended.push_back((id.to_string(), state, report));
        while ended.len() > limits::ENDED_TASKS_KEPT {
            ended.pop_front();
        }
        drop(ended);
        self.running.lock().remove(id);
    }

    /// Gives how a task of this process ended.
    pub fn end_of(&self, id: &str) -> Option<TaskState> {
        self.ended
            .lock()
            .iter()
            .find(|(ended, ..)| ended == id)
            .map(|(_, state, _)| state.clone())
    }

    /// Gives a report: live, of memory, or as stored.
    pub async fn report(&self, id: &str) -> Option<Arc<QueryReport>> {
        if let Some(task) = self.running(id) {
            return Some(task.live.current());
        }
        if let Some((.., report)) = self.ended.lock().iter().find(|(ended, ..)| ended == id) {
            return Some(report.clone());
        }
        let path = self.report_path(id);
        let read = tokio::task::spawn_blocking(move || read_report(&path)).await.ok()?;
        read.inspect_err(|error| tracing::warn!(task = id, %error, "cannot read a report"))
            .ok()
            .flatten()
            .map(Arc::new)
    }

    /// Stores a report.
    pub async fn store(&self, id: &str, report: Arc<QueryReport>) -> io::Result<()> {
        let path = self.report_path(id);
        match tokio::task::spawn_blocking(move || write_report(&path, &report)).await {
            Ok(written) => written,
            Err(panic) => Err(io::Error::other(panic)),
        }
    }

    /// Tells whether a report of the task is stored.
    pub fn is_stored(&self, id: &str) -> bool {
        self.report_path(id).exists()
    }

    /// Gives the file of a report: the task's id, with letters that a file name should not have as `%XX`.
    fn report_path(&self, id: &str) -> PathBuf {
        let mut name = String::with_capacity(id.len() + 5);
        for byte in id.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
                _ => name.push_str(&format!("%{byte:02X}")),
            }
        }
        self.reports_dir.join(name + ".json")
    }
}

fn read_report(path: &Path) -> io::Result<Option<QueryReport>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes beside and renames: a reader sees all of a report or none.
fn write_report(path: &Path, report: &QueryReport) -> io::Result<()> {
    let bytes = serde_json::to_vec(report).map_err(io::Error::other)?;
    let beside = path.with_extension("json.tmp");
    std::fs::write(&beside, bytes)?;
    std::fs::rename(&beside, path)
}

/// Words the end of a task for the tasks table.
pub fn stored_status(id: &str, state: &TaskState) -> TaskStatus {
    let stored = match state.status {
        ReportStatus::Running => StoredState::Running,
        ReportStatus::Success => StoredState::Success,
        ReportStatus::Failed => StoredState::Failed,
    };
    // A task that was shut down says so in other words than its report, and has no duration.
    let shut_down = state.fault.as_ref().is_some_and(is_shutdown);
    TaskStatus {
        id: id.to_string(),
        state: stored,
        duration: if shut_down { -1 } else { state.duration_ms },
        error_msg: if shut_down {
            Some("Shutdown request from user".to_string())
        } else {
            state.fault.as_ref().map(ToString::to_string)
        },
        location: TaskLocation::UNKNOWN,
    }
}

fn is_shutdown(fault: &Fault) -> bool {
    fault.code == FaultCode::Canceled
        && fault
            .fields
            .get("reason")
            .is_some_and(|reason| reason == "TASK_SHUTDOWN")
}

/// Reads the end of a task that this process does not remember.
pub async fn stored_state(metadata: &MetadataStore, id: &str) -> Option<TaskState> {
    let record = metadata.task(id).await.ok().flatten()?;
    let status = match record.status.state {
        StoredState::Running => ReportStatus::Running,
        StoredState::Success => ReportStatus::Success,
        StoredState::Failed => ReportStatus::Failed,
    };
    Some(TaskState {
        status,
        fault: record.status.error_msg.map(Fault::unknown),
        duration_ms: record.status.duration,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_names_are_file_names() {
        let tasks = Tasks::new(PathBuf::from("/r"));
        assert_eq!(tasks.report_path("query-a1"), Path::new("/r/query-a1.json"));
        assert_eq!(tasks.report_path("../x y"), Path::new("/r/%2E%2E%2Fx%20y.json"));
    }

    #[test]
    fn a_shut_down_task_has_no_duration() {
        use crate::convert::CancelReason;
        let state = |reason| TaskState {
            status: ReportStatus::Failed,
            fault: Some(Fault::canceled(reason)),
            duration_ms: 7,
        };
        let shut_down = stored_status("t", &state(CancelReason::TaskShutdown));
        assert_eq!(
            (shut_down.duration, shut_down.error_msg.as_deref()),
            (-1, Some("Shutdown request from user"))
        );
        let late = stored_status("t", &state(CancelReason::QueryTimeout));
        assert_eq!(
            (late.duration, late.error_msg.as_deref()),
            (7, Some("Canceled: Query timed out"))
        );
    }
}
