//! Expressions over text, computed once a dictionary value, against DataFusion computing them once a row.

use datafusion::physical_plan::collect;
use proptest::prelude::*;

use super::{FILTERS, Pair, as_a_task_would, lines, plan, row, rows, runtime, some_rows};

/// With what their plans must hold.
const SELECTS: [(&str, &str); 24] = [
    (
        "SELECT upper(s), COUNT(*), SUM(n) FROM t WHERE {} GROUP BY 1",
        "SegmentAggregateExec",
    ),
    (
        "SELECT CAST(length(s) AS BIGINT), COUNT(*) FROM t WHERE {} GROUP BY 1",
        "SegmentAggregateExec",
    ),
    ("SELECT length(s), COUNT(*) FROM t WHERE {} GROUP BY 1", "virtual=["),
    (
        "SELECT CAST(length(s) AS DOUBLE) / 3, MIN(d) FROM t WHERE {} GROUP BY 1",
        "SegmentAggregateExec",
    ),
    (
        "SELECT s = 'a', t IS NULL, COUNT(*) FROM t WHERE {} GROUP BY 1, 2",
        "SegmentAggregateExec",
    ),
    (
        "SELECT to_timestamp_millis('2020-01-0' || length(s)), COUNT(*) FROM t WHERE {} GROUP BY 1",
        "SegmentAggregateExec",
    ),
    (
        "SELECT coalesce(s, 'none'), n, COUNT(*) FROM t WHERE {} GROUP BY 1, 2",
        "SegmentAggregateExec",
    ),
    (
        "SELECT s || '-' || t, COUNT(*), SUM(d) FROM t WHERE {} GROUP BY 1",
        "SegmentAggregateExec",
    ),
    (
        "SELECT coalesce(s, '?') || coalesce(t, '!'), s, COUNT(*) FROM t WHERE {} GROUP BY 1, 2",
        "SegmentAggregateExec",
    ),
    (
        "SELECT s, COUNT(DISTINCT upper(t)) FROM t WHERE {} GROUP BY 1",
        "SegmentAggregateExec",
    ),
    (
        "SELECT SUM(CASE WHEN s = 'a' THEN n WHEN t = 'x' THEN 1 ELSE 0 END), SUM(CAST(length(t) AS BIGINT)) FROM t WHERE {}",
        "SegmentAggregateExec",
    ),
    (
        "SELECT upper(t), COUNT(*) FILTER (WHERE s LIKE '%a%'), SUM(d) FILTER (WHERE lower(s) <> 'b' OR n > 4) FROM t WHERE {} GROUP BY 1",
        "SegmentAggregateExec",
    ),
    (
        "SELECT n, MAX(upper(s)), MIN(s || t) FROM t WHERE {} GROUP BY 1",
        "virtual=[",
    ),
    (
        "SELECT upper(s) AS u, t, COUNT(*) FROM t WHERE {} GROUP BY GROUPING SETS ((upper(s)), (t), (upper(s), t), ())",
        "virtual=[",
    ),
    ("SELECT upper(s), n, length(t), t FROM t WHERE {}", "virtual=["),
    (
        "SELECT reverse(coalesce(s, 'none')), s || t || s, d + length(s) FROM t WHERE {}",
        "virtual=[",
    ),
    (
        "SELECT CASE WHEN s <> 'cc' AND n > 3 THEN 10 / (length(s) - 2) END FROM t WHERE length(s) > 0 AND {}",
        "virtual=[",
    ),
    (
        "SELECT CASE WHEN n > 3 THEN s = 'a' ELSE t IN ('x', 'y') END, COUNT(*) FROM t WHERE {} GROUP BY 1",
        "SegmentScanExec",
    ),
    (
        "SELECT date_part('minute', __time) * 10 + date_part('hour', __time), COUNT(*), SUM(n) FROM t WHERE {} GROUP BY 1",
        "SegmentAggregateExec",
    ),
    (
        "SELECT CAST(date_part('hour', __time) AS BIGINT), s, COUNT(*), MIN(d) FROM t WHERE {} GROUP BY 1, 2",
        "SegmentAggregateExec",
    ),
    (
        "SELECT to_char(__time, '%H-%M'), n, CASE WHEN n > 2 THEN date_part('minute', __time) END FROM t WHERE {}",
        "virtual=[",
    ),
    (
        "SELECT SUM(CASE WHEN n > 3 THEN d WHEN s = 'a' THEN d * 2 ELSE 0 END), MAX(coalesce(nullif(n, 4), big)) FROM t WHERE {}",
        "SegmentAggregateExec",
    ),
    (
        "SELECT CASE WHEN n = 4 THEN NULL ELSE n END, CASE WHEN n > 3 THEN d WHEN t = 'x' THEN 1.5 END FROM t WHERE {}",
        "SegmentScanExec",
    ),
    (
        "SELECT DISTINCT upper(s), lower(t) FROM t WHERE {}",
        "SegmentAggregateExec",
    ),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn values_of_dictionaries_are_those_of_rows(
        parts in proptest::collection::vec(proptest::collection::vec(row(), 0..120), 1..4),
        picks in proptest::collection::vec((0..FILTERS.len(), 0..SELECTS.len()), 30)
    ) {
        prop_assume!(parts.iter().enumerate().any(|(number, rows)| number != 1 && !rows.is_empty()));
        runtime().block_on(async {
            let pair = tokio::task::block_in_place(|| Pair::new(&parts));
            for (filter, select) in picks {
                pair.check(&SELECTS[select].0.replace("{}", FILTERS[filter])).await;
            }
        });
    }
}

#[test]
fn every_expression_with_every_filter() {
    runtime().block_on(async {
        let pair = tokio::task::block_in_place(|| Pair::new(&some_rows()));
        for (select, expected) in SELECTS {
            for filter in FILTERS {
                pair.check(&select.replace("{}", filter)).await;
            }
            let plan = plan(&pair.segments, &select.replace("{}", "n > 3")).await;
            assert!(plan.contains(expected), "{select}\n{plan}");
        }
    });
}

#[test]
fn tasks_compute_the_same_past_the_cache() {
    runtime().block_on(async {
        let pair = tokio::task::block_in_place(|| Pair::new(&some_rows()));
        for (select, _) in SELECTS.iter().filter(|(select, _)| !select.contains("GROUP BY")) {
            for filter in FILTERS {
                let sql = select.replace("{}", filter);
                let plan = pair.segments.sql(&sql).await.expect(&sql).create_physical_plan().await;
                let plan = as_a_task_would(plan.expect(&sql));
                let batches = collect(plan, pair.segments.task_ctx()).await.expect(&sql);
                assert_eq!(Ok(lines(&sql, &batches)), rows(&pair.memory, &sql).await, "{sql}");
            }
        }
    });
}

/// Division by zero for `s = 'cc'` only.
const FAILS: &str = "10 / (CAST(length(s) AS BIGINT) - 2)";

#[test]
fn what_fails_for_a_value_fails_only_where_a_row_has_it() {
    runtime().block_on(async {
        let pair = tokio::task::block_in_place(|| Pair::new(&some_rows()));
        for select in [
            "SELECT {f}, COUNT(*) FROM t WHERE {w} GROUP BY 1",
            "SELECT COUNT(DISTINCT {f}) FROM t WHERE {w}",
            "SELECT SUM({f}) FROM t WHERE {w}",
            "SELECT {f}, n FROM t WHERE {w}",
            "SELECT COUNT(*) FROM t WHERE {w} AND {f} < 0",
            "SELECT COUNT(*) FROM t WHERE {w} AND ({f} < 0 OR s = 'b')",
        ] {
            let select = select.replace("{f}", FAILS);
            let fine = select.replace("{w}", "s IN ('a', 'b')");
            if select.starts_with("SELECT COUNT(*)") {
                // DataFusion evaluates the whole conjunction for all rows, and fails.
                let all = rows(&pair.memory, "SELECT COUNT(*) FROM t WHERE s IN ('a', 'b')").await;
                assert_eq!(rows(&pair.segments, &fine).await, all, "{fine}");
            } else {
                pair.check(&fine).await;
            }
            let failing = select.replace("{w}", "n > 0");
            for context in [&pair.segments, &pair.memory] {
                let error = rows(context, &failing).await.expect_err(&failing);
                assert!(error.contains("Divide by zero"), "{error}");
            }
        }
    });
}
