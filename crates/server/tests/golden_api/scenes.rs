//! Exchanges that were recorded while a task ran: each scene starts the task on the slow source, waits until it reads, replays what
//! was asked then, ends the task as it ended in the recording, and replays what was asked afterwards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::exchange::Exchange;
use crate::replay::Replay;

/// How a scene's task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The source sends its rows.
    Rows,
    /// One of the exchanges has ended it.
    Asked,
    /// Its worker is shut down.
    Worker,
}

struct Scene {
    /// The recorded task.
    task: &'static str,
    /// Asked while the task reads.
    during: &'static [&'static str],
    end: End,
    /// Asked after its end.
    after: &'static [&'static str],
}

const SCENES: [Scene; 4] = [
    Scene {
        task: "query-b38dfdbd-14e8-4389-840e-2920ddaf998f",
        during: &[
            "task-api/status-before-start",
            "task-api/log-before-start",
            "task-api/status-running",
            "task-api/log-running",
            "task-api/worker-status-running",
            "task-api/worker-payload",
            "task-api/tasks-running",
            "task-api/runningTasks",
            "task-api/lockedIntervals",
            "task-api/statement-status-running",
            "reports/running-mid",
        ],
        end: End::Rows,
        after: &["reports/slow-source"],
    },
    Scene {
        task: "query-708e107d-b814-406c-bc26-e7786afe1917",
        during: &["task-api/shutdown-controller"],
        end: End::Asked,
        after: &["faults/Canceled", "task-api/Canceled-status"],
    },
    Scene {
        task: "query-180a7f57-9fce-4598-91b5-4946adaad279",
        during: &[],
        end: End::Worker,
        after: &["faults/WorkerFailed", "task-api/WorkerFailed-status"],
    },
    Scene {
        task: "query-8a436d04-2d4a-43cc-9e99-fa777972c4fd",
        during: &[
            "statements/running-status",
            "statements/running-status-detail",
            "statements/running-results",
            "statements/cancel-running",
        ],
        end: End::Asked,
        after: &[
            "statements/canceled-status",
            "statements/canceled-report",
            "statements/canceled-task-status",
        ],
    },
];

/// Longest wait for a task to come to a point.
const PATIENCE: Duration = Duration::from_secs(20);

type Differences = BTreeMap<String, Option<Vec<String>>>;

impl Replay {
    /// Replays all scenes of which an exchange is asked for.
    pub async fn play(&mut self, exchanges: &[Exchange], is_asked: impl Fn(&str) -> bool) -> Differences {
        let mut found = Differences::new();
        let by_name: BTreeMap<&str, &Exchange> = exchanges.iter().map(|e| (e.name.as_str(), e)).collect();
        for scene in &SCENES {
            let names = || scene.during.iter().chain(scene.after);
            if names().any(|name| is_asked(name)) {
                self.act(scene, &by_name, &mut found).await;
            }
        }
        found
    }

    async fn act(&mut self, scene: &Scene, by_name: &BTreeMap<&str, &Exchange>, found: &mut Differences) {
        self.slow.hold();
        let submitted = by_name.values().find(|exchange| {
            exchange.request.method == "POST" && exchange.response.body.get("queryId") == Some(&Value::from(scene.task))
        });
        let started = match submitted {
            Some(exchange) => {
                let differences = self.ask(exchange, &exchange.request.path).await;
                found.insert(exchange.name.clone(), Some(differences));
                self.known(scene.task)
            }
            None => self.submit(scene.task).await,
        };
        let Some(id) = started else {
            for name in scene.during.iter().chain(scene.after) {
                found.insert((*name).to_string(), Some(vec!["the task was not accepted".to_string()]));
            }
            return;
        };
        tokio::time::timeout(PATIENCE, self.slow.read.notified())
            .await
            .expect("the task reads its source");
        self.until_read(&id).await;
        for name in scene.during {
            let differences = self.differences(by_name[name]).await;
            found.insert((*name).to_string(), differences);
        }
        match scene.end {
            End::Rows => self.slow.release(),
            End::Asked => {}
            End::Worker => {
                let path = format!("/druid/indexer/v1/task/{id}-worker0_0/shutdown");
                let asked = self.client.post(format!("{}{path}", self.url)).send().await;
                assert_eq!(asked.expect("an answer").status().as_u16(), 200);
            }
        }
        self.ended(&id).await;
        self.slow.release();
        for name in scene.after {
            let differences = self.differences(by_name[name]).await;
            found.insert((*name).to_string(), differences);
        }
    }

    /// Waits until the report of a task says that it reads.
    async fn until_read(&self, id: &str) {
        let url = format!("{}/druid/indexer/v1/task/{id}/reports", self.url);
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let report = self.client.get(&url).send().await.expect("an answer");
            let report: Value = serde_json::from_slice(&report.bytes().await.expect("a body")).unwrap_or_default();
            let phase = report.pointer("/multiStageQuery/payload/stages/0/phase");
            let counted = report.pointer("/multiStageQuery/payload/counters/0/0/input0");
            if phase == Some(&Value::from("READING_INPUT")) && counted.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("[{id}] does not read");
    }
}
