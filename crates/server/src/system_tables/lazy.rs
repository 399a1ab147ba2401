//! Tables whose rows are made when they are read.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;

/// Type of a system table's column; there are only two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// VARCHAR.
    Text,
    /// BIGINT.
    Long,
}

/// A column of a system table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableColumn {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What `INFORMATION_SCHEMA` says, which for some columns is not what they hold.
    pub(crate) nullable: bool,
}

/// Makes a VARCHAR column.
pub(crate) const fn text(name: &'static str) -> TableColumn {
    TableColumn {
        name,
        kind: Kind::Text,
        nullable: true,
    }
}

/// Makes a BIGINT column.
pub(crate) const fn long(name: &'static str) -> TableColumn {
    TableColumn {
        name,
        kind: Kind::Long,
        nullable: true,
    }
}

/// Declares a column NOT NULL.
pub(crate) const fn not_null(column: TableColumn) -> TableColumn {
    TableColumn {
        nullable: false,
        ..column
    }
}

fn schema_of(columns: &[TableColumn]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|column| {
            let data_type = match column.kind {
                Kind::Text => DataType::Utf8,
                Kind::Long => DataType::Int64,
            };
            Field::new(column.name, data_type, true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// A value of a system table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    /// NULL.
    Null,
    /// Text.
    Text(String),
    /// A number.
    Long(i64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_string())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Cell::Long(number)
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Cell::Long(i64::from(value))
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Cell::Long(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}

/// Rows of a table while they are made.
pub(crate) struct TableRows {
    columns: &'static [TableColumn],
    cells: Vec<Vec<Cell>>,
}

impl TableRows {
    pub(crate) fn new(columns: &'static [TableColumn]) -> Self {
        Self {
            columns,
            cells: columns.iter().map(|_| Vec::new()).collect(),
        }
    }

    /// Adds a row. Cells beyond the columns are dropped, missing ones are NULL.
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let mut row = row.into_iter();
        for column in &mut self.cells {
            column.push(row.next().unwrap_or(Cell::Null));
        }
        debug_assert!(row.next().is_none(), "a row has as many cells as its table has columns");
    }

    pub(crate) fn into_batch(self) -> Result<RecordBatch> {
        let arrays: Vec<ArrayRef> = self
            .columns
            .iter()
            .zip(&self.cells)
            .map(|(column, cells)| -> ArrayRef {
                match column.kind {
                    Kind::Text => Arc::new(
                        cells
                            .iter()
                            .map(|cell| match cell {
                                Cell::Text(text) => Some(text.as_str()),
                                _ => None,
                            })
                            .collect::<StringArray>(),
                    ),
                    Kind::Long => Arc::new(
                        cells
                            .iter()
                            .map(|cell| match cell {
                                Cell::Long(number) => Some(*number),
                                _ => None,
                            })
                            .collect::<Int64Array>(),
                    ),
                }
            })
            .collect();
        Ok(RecordBatch::try_new(schema_of(self.columns), arrays)?)
    }
}

type Fill = dyn Fn() -> BoxFuture<'static, Result<RecordBatch>> + Send + Sync;

/// A table that makes its rows when it is scanned.
pub(crate) struct LazyTable {
    schema: SchemaRef,
    fill: Box<Fill>,
}

impl LazyTable {
    pub(crate) fn new(
        columns: &[TableColumn],
        fill: impl Fn() -> BoxFuture<'static, Result<RecordBatch>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            schema: schema_of(columns),
            fill: Box::new(fill),
        }
    }
}

impl fmt::Debug for LazyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyTable")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for LazyTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let batch = (self.fill)().await?;
        let plan = MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema(), projection.cloned())?;
        Ok(plan)
    }
}
