//! SELECT as a task against the same SELECT interactively.

use serde_json::json;

use crate::support::{World, inline, load_visits, no_fail_points, sorted};

async fn world() -> World {
    let world = World::new().await;
    load_visits(&world, "visits").await;
    let countries = inline(
        &[
            json!({"code": "AU", "name": "Australia", "area": 7_688_287}),
            json!({"code": "BR", "name": "Brazil", "area": 8_515_767}),
            json!({"code": "FR", "name": "France", "area": 643_801}),
            json!({"code": "JP", "name": "Japan", "area": 377_975}),
        ],
        r#""code" VARCHAR, "name" VARCHAR, "area" BIGINT"#,
    );
    let sql = format!(
        r#"REPLACE INTO "countries" OVERWRITE ALL SELECT "code", "name", "area" FROM {countries} PARTITIONED BY ALL"#
    );
    world.task(&sql).await.succeeded();
    world
}

/// Statements whose rows have no order of their own.
const UNORDERED: &[&str] = &[
    r#"SELECT "country", "city", "n" FROM "visits" WHERE "n" > 3"#,
    r#"SELECT "country", COUNT(*), SUM("n"), MIN("x"), MAX("x") FROM "visits" GROUP BY "country""#,
    r#"SELECT COUNT(*), SUM("n"), AVG("x") FROM "visits""#,
    r#"SELECT COUNT(*) FROM "visits" WHERE "n" > 1000"#,
    r#"SELECT DISTINCT "country" FROM "visits""#,
    r#"SELECT COUNT(DISTINCT "country") FROM "visits""#,
    r#"SELECT "country", COUNT(DISTINCT "city") FROM "visits" GROUP BY 1 HAVING COUNT(*) > 1"#,
    r#"SELECT v."city", c."name" FROM "visits" v JOIN "countries" c ON v."country" = c."code""#,
    r#"SELECT v."city", c."name" FROM "visits" v LEFT JOIN "countries" c ON v."country" = c."code""#,
    r#"SELECT c."name", SUM(v."n") FROM "visits" v JOIN "countries" c ON v."country" = c."code" GROUP BY 1"#,
    r#"SELECT "k", SUM("s") FROM (SELECT "country" AS "k", "city", SUM("n") AS "s" FROM "visits" GROUP BY 1, 2) GROUP BY 1"#,
    r#"SELECT "country" FROM "visits" WHERE "country" IN (SELECT "code" FROM "countries" WHERE "area" > 1000000)"#,
    r#"SELECT "city" FROM "visits" WHERE "x" > (SELECT AVG("x") FROM "visits")"#,
    r#"SELECT "city", "n" FROM "visits" WHERE "n" < 3 UNION ALL SELECT "name", "area" FROM "countries""#,
    r#"SELECT "country", "city", ROW_NUMBER() OVER (PARTITION BY "country" ORDER BY "n") FROM "visits" WHERE "n" IS NOT NULL"#,
    r#"SELECT "city", SUM("n") OVER (ORDER BY "n" ROWS UNBOUNDED PRECEDING) FROM "visits" WHERE "n" IS NOT NULL"#,
    r#"SELECT "city", MAX("n") OVER (PARTITION BY CAST("n" AS TIMESTAMP) ORDER BY FLOOR("__time" TO DAY)) FROM "visits""#,
    r#"SELECT "country", "city", LAG("n") OVER (ORDER BY "country", "city"), COUNT(*) OVER (PARTITION BY "country" ORDER BY "city" ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) FROM "visits" WHERE "n" IS NOT NULL GROUP BY "country", "city", "n""#,
];

/// Statements that say in which order they want their rows.
const ORDERED: &[&str] = &[
    r#"SELECT "city", "n" FROM "visits" WHERE "n" IS NOT NULL ORDER BY "n" DESC"#,
    r#"SELECT "city", "x" FROM "visits" WHERE "x" IS NOT NULL ORDER BY "x" LIMIT 3"#,
    r#"SELECT "city", "n" FROM "visits" WHERE "n" IS NOT NULL ORDER BY "n" LIMIT 3 OFFSET 2"#,
    r#"SELECT "country", COUNT(*) AS "c" FROM "visits" WHERE "country" IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 2"#,
    r#"SELECT "city", "n" * 2 AS "m" FROM "visits" WHERE "n" IS NOT NULL ORDER BY "n" % 3, "n""#,
    r#"SELECT FLOOR("__time" TO DAY) AS "d", SUM("n") FROM "visits" GROUP BY 1 ORDER BY 1"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn tasks_answer_as_interactive_queries_do() {
    let _alone = no_fail_points().await;
    let world = world().await;
    for sql in UNORDERED {
        let (task, query) = (world.task_rows(sql).await, world.rows(sql).await);
        assert_eq!(sorted(task), sorted(query), "{sql}");
    }
    for sql in ORDERED {
        assert_eq!(world.task_rows(sql).await, world.rows(sql).await, "{sql}");
    }
    assert!(world.files("tmp").is_empty(), "{:?}", world.files("tmp"));
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_that_sort_and_merge_give_the_same() {
    let _alone = no_fail_points().await;
    let world = world().await;
    for kind in ["JOIN", "LEFT JOIN"] {
        let sql = format!(
            r#"SELECT v."city", c."name" FROM "visits" v {kind} "countries" c ON v."country" = c."code" AND c."area" > 1000000"#
        );
        let plain = world
            .task_with(&sql, json!({"sqlJoinAlgorithm": "broadcast"}))
            .await
            .succeeded();
        let merged = world
            .task_with(&sql, json!({"sqlJoinAlgorithm": "sortMerge"}))
            .await
            .succeeded();
        let rows = |report: &henge_engine::report::QueryReport| {
            sorted(
                report
                    .results
                    .as_ref()
                    .map(|results| results.rows.clone())
                    .unwrap_or_default(),
            )
        };
        assert_eq!(rows(&plain), rows(&merged), "{kind}");
        assert!(!rows(&plain).is_empty(), "{kind}");
    }
}
