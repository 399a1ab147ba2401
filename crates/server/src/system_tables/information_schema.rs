//! `INFORMATION_SCHEMA`: schemas, tables, columns, functions.

use datafusion::catalog::TableProvider;
use datafusion::error::{DataFusionError, Result};
use henge_sql::SqlType;

use super::lazy::{Cell, Kind, TableColumn, TableRows, long, not_null, text};
use super::{LOOKUP_COLUMNS, Source, TableDefinition, definitions};
use crate::lookups;

const SCHEMA: &str = "INFORMATION_SCHEMA";
const CATALOG: &str = "druid";

/// The schemas, in Druid's order; empty ones are listed too.
const SCHEMATA: [&str; 5] = ["druid", SCHEMA, "lookup", "sys", "view"];

pub(crate) const TABLES: &[TableDefinition] = &[
    TableDefinition {
        schema: SCHEMA,
        name: "COLUMNS",
        columns: &[
            not_null(text("TABLE_CATALOG")),
            not_null(text("TABLE_SCHEMA")),
            not_null(text("TABLE_NAME")),
            not_null(text("COLUMN_NAME")),
            not_null(long("ORDINAL_POSITION")),
            not_null(text("COLUMN_DEFAULT")),
            not_null(text("IS_NULLABLE")),
            not_null(text("DATA_TYPE")),
            text("CHARACTER_MAXIMUM_LENGTH"),
            text("CHARACTER_OCTET_LENGTH"),
            long("NUMERIC_PRECISION"),
            long("NUMERIC_PRECISION_RADIX"),
            long("NUMERIC_SCALE"),
            long("DATETIME_PRECISION"),
            text("CHARACTER_SET_NAME"),
            text("COLLATION_NAME"),
            not_null(long("JDBC_TYPE")),
        ],
    },
    TableDefinition {
        schema: SCHEMA,
        name: "ROUTINES",
        columns: &[
            not_null(text("ROUTINE_CATALOG")),
            not_null(text("ROUTINE_SCHEMA")),
            not_null(text("ROUTINE_NAME")),
            not_null(text("ROUTINE_TYPE")),
            not_null(text("IS_AGGREGATOR")),
            text("SIGNATURES"),
        ],
    },
    TableDefinition {
        schema: SCHEMA,
        name: "SCHEMATA",
        columns: &[
            not_null(text("CATALOG_NAME")),
            not_null(text("SCHEMA_NAME")),
            not_null(text("SCHEMA_OWNER")),
            not_null(text("DEFAULT_CHARACTER_SET_CATALOG")),
            not_null(text("DEFAULT_CHARACTER_SET_SCHEMA")),
            not_null(text("DEFAULT_CHARACTER_SET_NAME")),
            not_null(text("SQL_PATH")),
        ],
    },
    TableDefinition {
        schema: SCHEMA,
        name: "TABLES",
        columns: &[
            not_null(text("TABLE_CATALOG")),
            not_null(text("TABLE_SCHEMA")),
            not_null(text("TABLE_NAME")),
            not_null(text("TABLE_TYPE")),
            not_null(text("IS_JOINABLE")),
            not_null(text("IS_BROADCAST")),
        ],
    },
];

/// Makes the rows of a table.
pub(crate) async fn fill(name: &str, source: &Source, rows: &mut TableRows) -> Result<()> {
    match name {
        "COLUMNS" => columns(source, rows).await,
        "ROUTINES" => {
            routines(rows);
            Ok(())
        }
        "SCHEMATA" => {
            for schema in SCHEMATA {
                rows.push([
                    CATALOG.into(),
                    schema.into(),
                    Cell::Null,
                    Cell::Null,
                    Cell::Null,
                    Cell::Null,
                    Cell::Null,
                ]);
            }
            Ok(())
        }
        _ => tables(source, rows),
    }
}

fn tables(source: &Source, rows: &mut TableRows) -> Result<()> {
    let mut push = |schema: &str, name: &str, kind: &str| {
        // Every process has all lookups.
        let everywhere = if schema == lookups::SCHEMA { "YES" } else { "NO" };
        rows.push([
            CATALOG.into(),
            schema.into(),
            name.into(),
            kind.into(),
            everywhere.into(),
            everywhere.into(),
        ]);
    };
    for (name, _) in source.engine()?.snapshot().datasources() {
        push("druid", name, "TABLE");
    }
    for schema in SCHEMATA {
        for table in definitions().filter(|table| table.schema == schema) {
            push(schema, table.name, "SYSTEM_TABLE");
        }
        if schema == lookups::SCHEMA {
            for (name, _) in source.lookups() {
                push(schema, &name, "TABLE");
            }
        }
    }
    Ok(())
}

fn routines(rows: &mut TableRows) {
    for routine in henge_sql::functions::routines() {
        rows.push([
            CATALOG.into(),
            SCHEMA.into(),
            routine.name.into(),
            routine.kind.into(),
            if routine.is_aggregator { "YES" } else { "NO" }.into(),
            routine.signatures.map(str::to_string).into(),
        ]);
    }
}

async fn columns(source: &Source, rows: &mut TableRows) -> Result<()> {
    let engine = source.engine()?;
    // Segments are opened to see their columns: files, so not on this thread.
    let datasources = tokio::task::spawn_blocking(move || -> Result<Vec<(String, arrow::datatypes::SchemaRef)>> {
        let snapshot = engine.snapshot();
        let mut schemas = Vec::new();
        for (name, _) in snapshot.datasources() {
            if let Some(table) = engine.scan_catalog().snapshot_table(&snapshot, name)? {
                schemas.push((name.to_string(), table.schema()));
            }
        }
        Ok(schemas)
    })
    .await
    .map_err(|error| DataFusionError::External(Box::new(error)))??;
    for (name, schema) in datasources {
        for (at, field) in schema.fields().iter().enumerate() {
            let nullable = field.name() != "__time";
            rows.push(column(
                "druid",
                &name,
                field.name(),
                at,
                nullable,
                &SqlType::from_field(field),
            ));
        }
    }
    let mut describe = |schema: &str, table: &str, columns: &[TableColumn]| {
        for (at, described) in columns.iter().enumerate() {
            let sql_type = match described.kind {
                Kind::Text => SqlType::Varchar,
                Kind::Long => SqlType::BigInt,
            };
            // Druid says of lookups what it says of every column.
            let nullable = described.nullable || schema == lookups::SCHEMA;
            rows.push(column(schema, table, described.name, at, nullable, &sql_type));
        }
    };
    for schema in SCHEMATA {
        for table in definitions().filter(|table| table.schema == schema) {
            describe(schema, table.name, table.columns);
        }
        if schema == lookups::SCHEMA {
            for (name, _) in source.lookups() {
                describe(schema, &name, LOOKUP_COLUMNS);
            }
        }
    }
    Ok(())
}

fn column(schema: &str, table: &str, name: &str, at: usize, nullable: bool, sql_type: &SqlType) -> [Cell; 17] {
    let (precision, scale) = if sql_type.is_integer() {
        (Some(19_i64), Some(0_i64))
    } else if sql_type.is_fraction() {
        // The scale of a type that has none, as Calcite says it.
        (Some(15), Some(i64::from(i32::MIN)))
    } else {
        (None, None)
    };
    let is_text = sql_type.is_text();
    let data_type = match sql_type {
        SqlType::Complex(_) => sql_type.native(),
        other => other.name().to_string(),
    };
    [
        CATALOG.into(),
        schema.into(),
        table.into(),
        name.into(),
        Cell::Long(at as i64 + 1),
        "".into(),
        if nullable { "YES" } else { "NO" }.into(),
        data_type.into(),
        Cell::Null,
        Cell::Null,
        precision.into(),
        precision.map(|_| 10_i64).into(),
        scale.into(),
        (*sql_type == SqlType::Timestamp).then_some(3_i64).into(),
        is_text.then_some("UTF-16LE").into(),
        is_text.then_some("UTF-16LE$en_US$primary").into(),
        Cell::Long(i64::from(sql_type.jdbc_code())),
    ]
}
