//! Sketches that are loaded as columns and asked later.

use serde_json::{Value, json};

use crate::support::{World, load_visits, no_fail_points};

#[tokio::test(flavor = "multi_thread")]
async fn stored_sketches_are_merged_and_asked() {
    let _alone = no_fail_points().await;
    let world = World::new().await;
    load_visits(&world, "visits").await;
    let load = r#"REPLACE INTO "daily" OVERWRITE ALL
        SELECT TIME_FLOOR("__time", 'P1D') AS "__time", "country", DS_THETA("city") AS "theta", DS_HLL("city") AS "hll",
            DS_QUANTILES_SKETCH("n") AS "quantiles", DS_TUPLE_DOUBLES("city", "n") AS "tuple"
        FROM "visits" GROUP BY 1, 2 PARTITIONED BY DAY"#;
    world
        .task_with(load, json!({"finalizeAggregations": false}))
        .await
        .succeeded();

    // Whatever is merged of the stored sketches is what the values give.
    for (stored, plain) in [
        (
            r#"APPROX_COUNT_DISTINCT_DS_THETA("theta")"#,
            r#"APPROX_COUNT_DISTINCT_DS_THETA("city")"#,
        ),
        (
            r#"APPROX_COUNT_DISTINCT_DS_HLL("hll")"#,
            r#"APPROX_COUNT_DISTINCT_DS_HLL("city")"#,
        ),
        (
            r#"APPROX_QUANTILE_DS("quantiles", 0.5)"#,
            r#"APPROX_QUANTILE_DS("n", 0.5)"#,
        ),
        (
            r#"DS_TUPLE_DOUBLES_METRICS_SUM_ESTIMATE(DS_TUPLE_DOUBLES("tuple"))"#,
            r#"DS_TUPLE_DOUBLES_METRICS_SUM_ESTIMATE(DS_TUPLE_DOUBLES("city", "n"))"#,
        ),
        (r#"DS_THETA("theta")"#, r#"DS_THETA("city")"#),
    ] {
        let merged = format!(r#"SELECT {stored} FROM "daily""#);
        let direct = format!(r#"SELECT {plain} FROM "visits""#);
        let expected = world.rows(&direct).await;
        assert!(!expected[0][0].is_null(), "{direct}");
        assert_eq!(world.rows(&merged).await, expected, "{merged}");
        assert_eq!(world.task_rows(&merged).await, expected, "{merged} as a task");
    }
    let countries =
        r#"SELECT "country", THETA_SKETCH_ESTIMATE(DS_THETA("theta")) FROM "daily" GROUP BY 1 ORDER BY 1 LIMIT 2"#;
    let rows: Vec<Vec<Value>> = world.rows(countries).await;
    assert_eq!(rows[0], [Value::Null, json!(1.0)]);
    let single = r#"SELECT "theta" FROM "daily" WHERE "country" = 'FR'"#;
    let shown = world.rows(single).await;
    let text = shown[0][0].as_str().expect("base64 in quotes");
    assert!(text.starts_with("\"AQMDAAA6zJ"), "{text}");
}
