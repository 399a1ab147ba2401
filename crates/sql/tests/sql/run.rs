//! Runs statements and words their rows as the interactive API's `array` format does.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimestampMillisecondType};
use datafusion::execution::SessionStateBuilder;
use henge_sql::{EngineKind, Planned, Planner, SqlError, SqlParameter, SqlRequest, SqlType};
use serde_json::{Map, Value, json};

use crate::catalog::Tables;

static NATIVE: LazyLock<Planner> = LazyLock::new(|| Planner::new(Arc::new(Tables), EngineKind::Native));
static TASK: LazyLock<Planner> = LazyLock::new(|| Planner::new(Arc::new(Tables), EngineKind::Task));

pub fn plan(
    engine: EngineKind,
    sql: &str,
    context: Map<String, Value>,
    parameters: Vec<SqlParameter>,
) -> Result<Planned, SqlError> {
    let planner = match engine {
        EngineKind::Native => &*NATIVE,
        EngineKind::Task => &*TASK,
    };
    planner.plan_now(&SqlRequest {
        sql: sql.to_string(),
        context,
        parameters,
    })
}

/// An answer: names, SQL types, rows.
pub struct Answer {
    pub names: Vec<String>,
    pub types: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

pub fn answer(sql: &str) -> Result<Answer, String> {
    let planned = plan(EngineKind::Native, sql, Map::new(), Vec::new()).map_err(|e| e.to_string())?;
    run(&planned)
}

pub fn run(planned: &Planned) -> Result<Answer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|e| e.to_string())?;
    // Rows come as they are stored: HLL sketches look at their order.
    let config = planned.session.config().clone().with_target_partitions(1);
    let session = SessionStateBuilder::new_from_existing(planned.session.clone())
        .with_config(config)
        .build();
    let batches = runtime.block_on(async {
        let physical = session
            .query_planner()
            .create_physical_plan(&planned.plan, &session)
            .await
            .map_err(|e| format!("physical: {}", e.strip_backtrace()))?;
        datafusion::physical_plan::collect(physical, session.task_ctx())
            .await
            .map_err(|e| match SqlError::in_datafusion(&e) {
                Some(error) => error.to_string(),
                None => e.strip_backtrace(),
            })
    })?;
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            rows.push(
                planned
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(i, column)| cell(batch.column(i), row, &column.sql_type))
                    .collect(),
            );
        }
    }
    Ok(Answer {
        names: planned.columns.iter().map(|c| c.name.clone()).collect(),
        types: planned.columns.iter().map(|c| c.sql_type.name().to_string()).collect(),
        rows,
    })
}

fn double(x: f64) -> Value {
    if x.is_nan() {
        json!("NaN")
    } else if x.is_infinite() {
        json!(if x > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(x)
    }
}

fn cell(array: &ArrayRef, row: usize, ty: &SqlType) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => double(
            array
                .as_primitive::<Float32Type>()
                .value(row)
                .to_string()
                .parse()
                .unwrap_or(f64::NAN),
        ),
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Binary => json!(henge_sql::complex_text(
            &ty.native(),
            array.as_binary::<i32>().value(row)
        )),
        DataType::Timestamp(..) => json!(henge_time::format_millis(
            array.as_primitive::<TimestampMillisecondType>().value(row)
        )),
        DataType::List(_) => {
            let items = list(array, row, ty);
            if *ty == SqlType::MultiVarchar {
                match items.as_slice() {
                    [] => return Value::Null,
                    [one] => return one.clone(),
                    _ => {}
                }
            }
            json!(Value::Array(items).to_string())
        }
        DataType::Dictionary(..) => {
            let plain = arrow::compute::cast(array, &DataType::Utf8).expect("text");
            cell(&plain, row, ty)
        }
        other => {
            let plain = arrow::compute::cast(array, &DataType::Int64);
            match plain {
                Ok(plain) => cell(&plain, row, ty),
                Err(_) => json!(format!("<{other}>")),
            }
        }
    }
}

/// Gives a row's elements; JSON is JSON inside of an array.
fn list(array: &ArrayRef, row: usize, ty: &SqlType) -> Vec<Value> {
    let mut items = array.as_list::<i32>().value(row);
    if matches!(items.data_type(), DataType::Boolean | DataType::Timestamp(..)) {
        // Elements print as the whole numbers that the engine computes with.
        items = arrow::compute::cast(&items, &DataType::Int64).expect("whole numbers");
    }
    let element = match ty {
        SqlType::Array(element) => element.as_ref().clone(),
        _ => SqlType::Varchar,
    };
    (0..items.len())
        .map(|i| match (&element, cell(&items, i, &element)) {
            (SqlType::Complex(_) | SqlType::Array(_) | SqlType::MultiVarchar, Value::String(text)) => {
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            }
            (_, value) => value,
        })
        .collect()
}

/// Compares values; fractions with a tolerance.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::String(a), Value::String(b)) => {
            a == b
                || match (serde_json::from_str::<Value>(a), serde_json::from_str::<Value>(b)) {
                    (Ok(a), Ok(b)) if a.is_array() || a.is_object() => same(&a, &b),
                    _ => false,
                }
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}

/// Gives a folder beside or inside of the project, however the tests are started.
pub fn folder(relative: &str) -> Option<std::path::PathBuf> {
    let here = std::fs::canonicalize(env!("CARGO_MANIFEST_DIR")).ok()?;
    let found = here.join("../..").join(relative);
    found.exists().then_some(found)
}

/// Gives the files of a folder in the order of their names.
pub fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    files.sort();
    files
}
