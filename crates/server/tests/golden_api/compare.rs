//! Comparing an answer with the recorded one.

use serde_json::Value;

/// Members in which henge differs from Druid by design, wherever they appear in an answer. `*` stands for one step of a pointer, `**`
/// for any number of them.
const BY_DESIGN: &[(&str, &str)] = &[
    // henge has no Java stack to show.
    ("**/exceptionStackTrace", "stack traces of Java"),
    // Bytes and frames count henge's own batches, whose layout is Arrow's.
    ("**/counters/*/*/*/bytes", "bytes of frames"),
    ("**/counters/*/*/*/frames", "number of frames"),
    // Segments are mapped, not loaded through a queue.
    ("**/counters/*/*/*/loadBytes", "load queue"),
    ("**/counters/*/*/*/loadTime", "load queue"),
    ("**/counters/*/*/*/loadWait", "load queue"),
    ("**/counters/*/*/*/loadFiles", "load queue"),
    ("**/counters/*/*/cpu", "which CPU counters there are"),
    // Druid leaves the intervals of a whole table out, on which its own console fails.
    ("**/definition/input/*/intervals", "always written"),
    ("**/totalSizeInBytes", "bytes of frames"),
    ("**/pages/*/sizeInBytes", "bytes of frames"),
];

/// Gives the counters of a recorded report that depend on the moment, or on how rows were dealt to threads, and lists what is wrong with
/// ours there:
///
/// * How many groups there are before the exchange: Druid groups a segment at a time, henge whatever a task reads. Ours are no more
///   than Druid's, and no fewer than what is left of them after the exchange.
/// * How much a stage had read, written and warned of when it failed, and whether it had begun to sort.
pub fn moments(expected: &Value, actual: &Value, found: &mut Vec<String>) -> Vec<String> {
    let mut ignored = Vec::new();
    for root in ["/multiStageQuery/payload", ""] {
        let Some(stages) = expected.pointer(&format!("{root}/stages")).and_then(Value::as_array) else {
            continue;
        };
        let workers = |stage: u64| -> Vec<String> {
            let workers = expected
                .pointer(&format!("{root}/counters/{stage}"))
                .and_then(Value::as_object);
            let names = workers.into_iter().flatten().map(|(worker, _)| worker);
            names
                .map(|worker| format!("{root}/counters/{stage}/{worker}"))
                .collect()
        };
        let failed = expected.pointer(&format!("{root}/status/errorReport/stageNumber"));
        // Statements do not say which stage has failed: it is the last one that was started.
        let is_failed_statement = root.is_empty() && expected.pointer("/state") == Some(&Value::from("FAILED"));
        let started = || stages.iter().rposition(|stage| stage.get("workerCount").is_some());
        let failed = match failed {
            Some(stage) => stage.as_u64(),
            None if is_failed_statement => started().map(|stage| stage as u64),
            None => None,
        };
        for (stage, before) in (0u64..).zip(stages) {
            if before.pointer("/definition/processor/type") != Some(&Value::from("groupByPreShuffle")) {
                continue;
            }
            let mut grouped: Vec<String> = Vec::new();
            for worker in workers(stage) {
                grouped.extend(["output", "shuffle"].map(|channel| format!("{worker}/{channel}/rows")));
            }
            let after = workers(stage + 1);
            grouped.extend(after.iter().map(|worker| format!("{worker}/input0/rows")));
            let left = after
                .iter()
                .filter_map(|worker| rows(actual, &format!("{worker}/output/rows")));
            let least: u64 = left.sum();
            for pointer in grouped {
                if let (Some(theirs), Some(ours)) = (rows(expected, &pointer), rows(actual, &pointer))
                    && failed.is_none()
                    && !(least..=theirs).contains(&ours)
                {
                    found.push(format!("{pointer}: [{ours}] groups, expected [{least}] to [{theirs}]"));
                }
                ignored.push(pointer);
            }
        }
        for worker in failed.into_iter().flat_map(workers) {
            for moment in [
                "input0/rows",
                "input0/files",
                "input1/rows",
                "output",
                "warnings",
                "sortProgress/totalMergersForUltimateLevel",
            ] {
                ignored.push(format!("{worker}/{moment}"));
            }
        }
    }
    ignored
}

/// Adds up the rows of all partitions of a channel.
fn rows(report: &Value, pointer: &str) -> Option<u64> {
    let partitions = report.pointer(pointer)?.as_array()?;
    Some(partitions.iter().filter_map(Value::as_u64).sum())
}

/// Lists the differences of two values, by pointer, leaving out what changes from run to run.
pub fn values(at: &str, expected: &Value, actual: &Value, ignored: &[String], found: &mut Vec<String>) {
    if is_ignored(at, ignored) || found.len() > 20 {
        return;
    }
    match (expected, actual) {
        (Value::Object(expected_members), Value::Object(actual_members)) => {
            for (name, value) in expected_members {
                let below = step(at, name);
                match actual_members.get(name) {
                    Some(other) => values(&below, value, other, ignored, found),
                    None if is_ignored(&below, ignored) => {}
                    None => found.push(format!("{below}: missing, expected {}", short(value))),
                }
            }
            for (name, value) in actual_members {
                let below = step(at, name);
                if !expected_members.contains_key(name) && !is_ignored(&below, ignored) {
                    found.push(format!("{below}: not expected, is {}", short(value)));
                }
            }
        }
        (Value::Array(expected_items), Value::Array(actual_items)) => {
            if expected_items.len() != actual_items.len() {
                found.push(format!(
                    "{at}: {} items expected, {} found",
                    expected_items.len(),
                    actual_items.len()
                ));
            }
            for (i, (value, other)) in expected_items.iter().zip(actual_items).enumerate() {
                values(&step(at, &i.to_string()), value, other, ignored, found);
            }
        }
        (expected, actual) if same(expected, actual) => {}
        (expected, actual) => found.push(format!("{at}: expected {}, is {}", short(expected), short(actual))),
    }
}

fn same(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        // 1 and 1.0 are different text, and clients see the text.
        (Value::Number(a), Value::Number(b)) => a.is_f64() == b.is_f64() && a == b,
        // Texts that are JSON themselves (plans) may name the ids of the run.
        (a, b) => a == b,
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 300 {
        format!("{}…", text.chars().take(300).collect::<String>())
    } else {
        text
    }
}

fn step(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn is_ignored(at: &str, ignored: &[String]) -> bool {
    ignored.iter().any(|pointer| pointer == at) || BY_DESIGN.iter().any(|(pattern, _)| fits(pattern, at))
}

fn fits(pattern: &str, pointer: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let pointer: Vec<&str> = pointer.split('/').collect();
    fits_steps(&pattern, &pointer)
}

fn fits_steps(pattern: &[&str], pointer: &[&str]) -> bool {
    match (pattern, pointer) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=pointer.len()).any(|skip| fits_steps(rest, &pointer[skip..])),
        ([first, rest @ ..], [step, steps @ ..]) if *first == "*" || first == step => fits_steps(rest, steps),
        _ => false,
    }
}

/// Brings rows of results into one order: those of reports, of statement results in all formats, and samples.
pub fn order_rows(body: &mut Value) {
    match body {
        Value::Array(rows) => rows.sort_by_key(Value::to_string),
        Value::String(text) => {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            *text = lines.join("\n");
        }
        _ => {
            for pointer in ["/multiStageQuery/payload/results/results", "/result/sampleRecords"] {
                if let Some(Value::Array(rows)) = body.pointer_mut(pointer) {
                    rows.sort_by_key(Value::to_string);
                }
            }
        }
    }
}
