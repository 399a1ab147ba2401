//! Replays exchanges that were recorded from a real Druid against a server of our own, over HTTP, and compares status, headers and
//! bodies in everything that does not change from run to run.
//!
//! `tests/golden/api/unmatched.txt` lists the exchanges that do not match yet, each with its reason. The test fails where one of them
//! starts to match, and where one that is not listed stops to. With `HENGE_GOLDEN_DIFFS=<file>` all differences are written there;
//! `HENGE_GOLDEN_GROUPS=reports,faults/Too` replays only exchanges whose names begin so.

mod behaviour;
mod catalog;
mod compare;
mod exchange;
mod replay;
mod scenes;
mod slow;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use exchange::Exchange;
use replay::Replay;

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/api")
}

/// Reads the list of exchanges that do not match: name, a tab, the reason.
fn unmatched() -> BTreeMap<String, String> {
    let text =
        std::fs::read_to_string(golden().join("unmatched.txt")).expect("the list of unmatched exchanges is there");
    let mut list = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, reason) = line
            .split_once('\t')
            .unwrap_or_else(|| panic!("a name, a tab and a reason: {line}"));
        assert!(!reason.trim().is_empty(), "[{name}] has no reason");
        assert!(
            list.insert(name.to_string(), reason.to_string()).is_none(),
            "[{name}] is listed twice"
        );
    }
    list
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_exchanges_are_answered_as_druid_answers_them() {
    let exchanges = Exchange::read_all(&golden());
    let listed = unmatched();
    let mut replay = Replay::start().await;
    let groups = std::env::var("HENGE_GOLDEN_GROUPS").unwrap_or_default();
    let groups: Vec<&str> = groups.split(',').filter(|group| !group.is_empty()).collect();
    let is_asked = |name: &str| groups.is_empty() || groups.iter().any(|group| name.starts_with(group));
    let mut differences: BTreeMap<String, Option<Vec<String>>> = BTreeMap::new();
    let ordered = replay.prepare(&exchanges).await;
    let mut played = replay.play(&exchanges, is_asked).await;
    played.retain(|name, _| is_asked(name));
    differences.append(&mut played);
    for exchange in ordered {
        if !is_asked(&exchange.name) || differences.contains_key(&exchange.name) {
            continue;
        }
        let found = replay.differences(exchange).await;
        differences.insert(exchange.name.clone(), found);
    }
    replay.stop().await;

    if let Ok(path) = std::env::var("HENGE_GOLDEN_DIFFS") {
        let mut text = String::new();
        for (name, found) in &differences {
            match found {
                None => writeln!(text, "NOT REPLAYED {name}"),
                Some(found) if found.is_empty() => writeln!(text, "MATCH {name}"),
                Some(found) => writeln!(text, "DIFF {name}\n    {}", found.join("\n    ")),
            }
            .expect("a string takes everything");
        }
        std::fs::write(path, text).expect("the differences can be written");
    }

    let mut wrong = Vec::new();
    let mut by_group: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (name, found) in &differences {
        let group = name.split('/').next().expect("a name has a group");
        let counts = by_group.entry(group).or_default();
        counts.1 += 1;
        match (found, listed.contains_key(name)) {
            (Some(found), false) if found.is_empty() => counts.0 += 1,
            (Some(found), true) if found.is_empty() => {
                counts.0 += 1;
                wrong.push(format!("[{name}] matches now: take it off the list"));
            }
            (Some(found), false) => wrong.push(format!("[{name}] does not match: {}", found.join("; "))),
            (None, false) => wrong.push(format!("[{name}] is neither replayed nor listed")),
            (_, true) => {}
        }
    }
    for name in listed.keys() {
        if !differences.contains_key(name) && is_asked(name) {
            wrong.push(format!("[{name}] is listed and does not exist"));
        }
    }
    for (group, (matched, all)) in &by_group {
        println!("{group:>20} {matched:>4} of {all}");
    }
    assert!(wrong.is_empty(), "{} exchanges:\n{}", wrong.len(), wrong.join("\n"));
}
