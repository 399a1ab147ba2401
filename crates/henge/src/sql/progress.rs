//! Follows a task: one live line on a terminal, plain lines elsewhere, and a summary at the end.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::client::Client;
use super::terminal;
use crate::failure::Failure;

/// How often a live line is renewed.
const LIVE_PERIOD: Duration = Duration::from_millis(150);

/// How often a plain line is printed where nobody watches.
const PLAIN_PERIOD: Duration = Duration::from_secs(10);

/// Waits for the end of a task and gives its report; Ctrl-C shuts the task down.
pub async fn follow(client: &Client, task: &str, show: bool) -> Result<Value, Failure> {
    let live = show && terminal();
    let bar = ProgressBar::with_draw_target(
        None,
        if live {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        },
    );
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    let started = Instant::now();
    let mut printed = Instant::now();
    let mut wait = Duration::from_millis(5);
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = tokio::signal::ctrl_c() => {
                client.shutdown(task).await?;
                bar.finish_and_clear();
                return Err(Failure::new(format!("task [{task}] was canceled, the table is as it was")));
            }
        }
        wait = (wait * 2).min(LIVE_PERIOD);
        let status = client.status(task).await?;
        let state = status
            .pointer("/status/statusCode")
            .and_then(Value::as_str)
            .unwrap_or("RUNNING");
        if state != "RUNNING" {
            bar.finish_and_clear();
            let report = client.report(task).await?.unwrap_or(Value::Null);
            if state == "SUCCESS" {
                warnings(&report, show);
                return Ok(report);
            }
            return Err(failure_of_task(&status, &report));
        }
        let due = live || (show && printed.elapsed() >= PLAIN_PERIOD);
        if !due {
            continue;
        }
        if let Some(report) = client.report(task).await? {
            let line = line(&report, started.elapsed());
            bar.set_message(line.clone());
            bar.tick();
            if !live {
                eprintln!("{line}");
                printed = Instant::now();
            }
        }
    }
}

fn warnings(report: &Value, show: bool) {
    let list = report
        .pointer("/multiStageQuery/payload/status/warnings")
        .and_then(Value::as_array);
    for warning in list
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .take(if show { 5 } else { 0 })
    {
        if let Some(text) = warning.pointer("/error/errorMessage").and_then(Value::as_str) {
            eprintln!("warning: {text}");
        }
    }
}

fn failure_of_task(status: &Value, report: &Value) -> Failure {
    let error = report.pointer("/multiStageQuery/payload/status/errorReport/error");
    let text = |name: &str| {
        error
            .and_then(|e| e.get(name))
            .and_then(Value::as_str)
            .map(ToString::to_string)
    };
    let fallback = status
        .pointer("/status/errorMsg")
        .and_then(Value::as_str)
        .unwrap_or("the task failed without a reason");
    Failure {
        message: text("errorMessage").unwrap_or_else(|| fallback.to_string()),
        code: text("errorCode"),
        ..Failure::default()
    }
}

/// What a report says about where the task stands.
#[derive(Debug, Default, PartialEq)]
struct Standing {
    stage: usize,
    stages: usize,
    kind: String,
    rows: u64,
    bytes: u64,
    spilled: u64,
    fraction: Option<f64>,
}

fn line(report: &Value, elapsed: Duration) -> String {
    let at = standing(report);
    if at.stages == 0 {
        return format!("planning  {}", duration(elapsed));
    }
    let rate = (at.rows as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let mut line = format!(
        "stage {}/{} {}  {} rows  {} rows/s",
        at.stage + 1,
        at.stages,
        at.kind,
        count(at.rows),
        count(rate)
    );
    if at.bytes > 0 {
        line += &format!("  {}", bytes(at.bytes));
    }
    if at.spilled > 0 {
        line += &format!("  spilled {}", bytes(at.spilled));
    }
    if let Some(fraction) = at.fraction.filter(|f| *f > 0.0) {
        let left = elapsed.mul_f64((1.0 / fraction - 1.0).clamp(0.0, 1e5));
        line += &format!("  {:.0} %  ETA {}", fraction * 100.0, duration(left));
    }
    line
}

/// Gives the stages of a report's payload.
pub fn stages_of(payload: Option<&Value>) -> &[Value] {
    let stages = payload.and_then(|p| p.get("stages")).and_then(Value::as_array);
    stages.map(Vec::as_slice).unwrap_or_default()
}

fn standing(report: &Value) -> Standing {
    let payload = report.pointer("/multiStageQuery/payload");
    let list = stages_of(payload);
    let counters = payload.and_then(|p| p.get("counters"));
    let started = |stage: &&Value| stage.get("phase").and_then(Value::as_str).is_some_and(|p| p != "NEW");
    let current = list.iter().rfind(started);
    let stage = current
        .and_then(|s| s.get("stageNumber"))
        .and_then(Value::as_u64)
        .unwrap_or(0) as usize;
    let kind = current
        .and_then(|s| s.pointer("/definition/processor/type"))
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_string();
    let sum = |stage: usize, channel: &str, member: &str| -> u64 {
        let workers = counters
            .and_then(|c| c.get(stage.to_string()))
            .and_then(Value::as_object);
        let of = |w: &Value| {
            let list = w.get(channel).and_then(|c| c.get(member)).and_then(Value::as_array);
            list.map_or(0, |l| l.iter().filter_map(Value::as_u64).sum::<u64>())
        };
        workers.map_or(0, |w| w.values().map(of).sum())
    };
    let single = |stage: usize, counter: &str, member: &str| -> u64 {
        let workers = counters
            .and_then(|c| c.get(stage.to_string()))
            .and_then(Value::as_object);
        workers.map_or(0, |w| {
            w.values().filter_map(|w| w.get(counter)?.get(member)?.as_u64()).sum()
        })
    };
    let read: u64 = (0..4).map(|i| sum(stage, &format!("input{i}"), "rows")).sum();
    let (files, total) = (sum(stage, "input0", "files"), sum(stage, "input0", "totalFiles"));
    let before = stage
        .checked_sub(1)
        .map_or(0, |s| sum(s, "shuffle", "rows").max(sum(s, "output", "rows")));
    let generated = single(stage, "segmentGenerationProgress", "rowsProcessed");
    let rows = if kind == "segmentGenerator" { generated } else { read };
    let part = if stage > 0 && before > 0 {
        Some(rows as f64 / before as f64)
    } else {
        (total > 1).then(|| files as f64 / total as f64)
    };
    let fraction = part.map(|part| (stage as f64 + part.min(1.0)) / list.len() as f64);
    let spilled = (0..list.len()).map(|s| single(s, "spill", "bytes")).sum();
    Standing {
        stage,
        stages: list.len(),
        kind,
        rows,
        bytes: sum(stage, "input0", "bytes"),
        spilled,
        fraction,
    }
}

/// Says in one line what a task did.
pub fn summary(report: &Value, rows: u64, elapsed: Duration) -> String {
    let payload = report.pointer("/multiStageQuery/payload");
    let stages = payload
        .and_then(|p| p.get("stages"))
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let mut pushed = 0;
    if let Some(all) = payload.and_then(|p| p.get("counters")).and_then(Value::as_object) {
        for worker in all
            .values()
            .filter_map(Value::as_object)
            .flat_map(|workers| workers.values())
        {
            pushed += worker
                .pointer("/segmentGenerationProgress/rowsPushed")
                .and_then(Value::as_u64)
                .unwrap_or(0);
        }
    }
    let spilled = match standing(report).spilled {
        0 => String::new(),
        n => format!(", spilled {}", bytes(n)),
    };
    let what = if pushed > 0 {
        format!("{} rows published", count(pushed))
    } else {
        format!("{} rows", count(rows))
    };
    format!("{what} in {} ({stages} stages{spilled})", duration(elapsed))
}

/// Formats a duration for people.
pub fn duration(d: Duration) -> String {
    let seconds = d.as_secs_f64();
    match seconds {
        s if s < 0.0995 => format!("{:.1} ms", s * 1000.0),
        s if s < 99.5 => format!("{s:.2} s"),
        s => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0),
    }
}

/// Formats a number with separators.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats bytes for people.
pub fn bytes(n: u64) -> String {
    match n as f64 {
        b if b < 1e3 => format!("{n} B"),
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_says_where_the_task_stands() {
        let report = json!({"multiStageQuery": {"payload": {
            "stages": [
                {"stageNumber": 0, "phase": "FINISHED", "definition": {"processor": {"type": "scan"}}},
                {"stageNumber": 1, "phase": "READING_INPUT", "definition": {"processor": {"type": "segmentGenerator"}}}],
            "counters": {
                "0": {"0": {"input0": {"rows": [5000], "bytes": [10000]}, "shuffle": {"rows": [2000, 2000]}}},
                "1": {"0": {"segmentGenerationProgress": {"rowsProcessed": 1000, "rowsPushed": 0}},
                      "1": {"segmentGenerationProgress": {"rowsProcessed": 1000, "rowsPushed": 0}}}}}}});
        assert_eq!(
            line(&report, Duration::from_secs(3)),
            "stage 2/2 segmentGenerator  2,000 rows  666 rows/s  75 %  ETA 1.00 s"
        );
        assert_eq!(line(&json!({}), Duration::from_millis(5)), "planning  5.0 ms");
    }

    #[test]
    fn people_read_numbers() {
        assert_eq!(
            (count(1_234_567).as_str(), count(0).as_str(), count(999).as_str()),
            ("1,234,567", "0", "999")
        );
        assert_eq!((bytes(999).as_str(), bytes(1_500_000).as_str()), ("999 B", "1.5 MB"));
        assert_eq!(duration(Duration::from_secs(125)), "2 min 05 s");
    }
}
