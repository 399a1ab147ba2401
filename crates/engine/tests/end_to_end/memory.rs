//! Random rows through little memory: what spills must come back.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::{World, local, no_fail_points};

/// Rows of one case: a few keys that are frequent, many that are rare, text of some length.
fn rows() -> impl Strategy<Value = (u64, usize, u32)> {
    (any::<u64>(), 30_000usize..60_000, 1u32..2000)
}

fn scramble(seed: u64, i: u64) -> u64 {
    let mut x = seed ^ i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[test]
fn rows_survive_little_memory() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let _alone = runtime.block_on(no_fail_points());
    let mut runner = TestRunner::new(Config {
        cases: 3,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&rows(), |(seed, count, keys)| {
            runtime.block_on(one(seed, count, keys));
            Ok(())
        })
        .expect("every case holds");
}

async fn one(seed: u64, count: usize, keys: u32) {
    // 24 MiB: one slot of about 11, and runs stay in memory up to 3.6.
    let world = World::with(24 << 20, 2).await;
    let path = world.dir.path().join("in.json");
    let mut text = String::new();
    let mut model: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for i in 0..count as u64 {
        let r = scramble(seed, i);
        let key = if r.is_multiple_of(3) {
            "hot".to_string()
        } else {
            format!("key-{}", r % u64::from(keys))
        };
        let n = (r >> 40) as i64 % 1000;
        text.push_str(&json!({"t": 1_577_836_800_000_i64 + (i as i64 % 5) * 86_400_000, "k": key, "n": n, "pad": format!("{r:0100x}")}).to_string());
        text.push('\n');
        let entry = model.entry(key).or_default();
        entry.0 += 1;
        entry.1 += n;
    }
    std::fs::write(&path, text).expect("written");
    let table = local(
        &[&path],
        r#"{"type":"json"}"#,
        r#""t" BIGINT, "k" VARCHAR, "n" BIGINT, "pad" VARCHAR"#,
    );
    let sql = format!(
        r#"REPLACE INTO "m" OVERWRITE ALL SELECT MILLIS_TO_TIMESTAMP("t") AS "__time", "k", "n", "pad" FROM {table}
           PARTITIONED BY DAY CLUSTERED BY "k""#
    );
    let report = world.task_with(&sql, json!({"rowsPerSegment": 4000})).await.succeeded();
    assert_eq!(report.rows_published, Some(count as u64));
    let spilled: u64 = report
        .counters
        .values()
        .flat_map(|stage| stage.values())
        .map(|worker| worker.spilled_bytes)
        .sum();
    assert!(spilled > 0, "{count} rows do not fit");
    let expected: Vec<Vec<Value>> = model
        .iter()
        .map(|(k, (c, s))| vec![json!(k), json!(c), json!(s)])
        .collect();
    let group = r#"SELECT "k", COUNT(*), SUM("n") FROM "m" GROUP BY 1 ORDER BY 1"#;
    assert_eq!(world.rows(group).await, expected, "seed {seed}");
    let task = format!(r#"SELECT "k", COUNT(*), SUM("n") FROM {table} GROUP BY 1 ORDER BY 1"#);
    assert_eq!(world.task_rows(&task).await, expected, "seed {seed}");
    // A sort of all rows, joined with itself by a key of its own.
    let join = format!(
        r#"SELECT COUNT(*), SUM(a."n" - b."n") FROM {table} a JOIN (SELECT "pad", "n" FROM {table}) b ON a."pad" = b."pad""#
    );
    let rows = world.task_rows(&join).await;
    assert_eq!(rows, [[json!(count), json!(0)]], "seed {seed}");
    assert!(world.files("tmp").is_empty(), "{:?}", world.files("tmp"));
}
