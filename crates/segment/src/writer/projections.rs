//! Projections as they are written: computed while rows arrive, stored behind the columns of the table.
//!
//! ```text
//! <name>/<grouping column>   a column; without dictionary where the table has the column, whose ids it uses
//! <name>/<aggregator>        a column of numbers
//! metadata.drd               "projections", those of few rows first
//! ```
//! Mirrors `IndexMergerBase.makeProjections`.

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use serde_json::Value;

use super::string::StringChild;
use super::{ColumnKind, ColumnWriter, Compressors};
use crate::container::{Projection, SmooshWriter};
use crate::projection::{Aggregated, Aggregation};
use crate::{ColumnSchema, IndexSpec, SegmentError, SegmentSchema};

/// The projections of a segment that is being written.
#[derive(Debug)]
pub(super) struct ProjectionWriters {
    aggregations: Vec<Aggregation>,
}

impl ProjectionWriters {
    pub fn new(schema: &SegmentSchema) -> Result<Self, SegmentError> {
        let specs = schema.projections.iter();
        let aggregations = specs.map(|spec| Aggregation::new(spec.plan(schema)?));
        Ok(Self {
            aggregations: aggregations.collect::<Result<_, _>>()?,
        })
    }

    pub fn memory_bytes(&self) -> usize {
        self.aggregations.iter().map(Aggregation::memory_bytes).sum()
    }

    /// Takes rows of the table.
    pub fn append(&mut self, batch: &RecordBatch, times: &Int64Array) -> Result<(), SegmentError> {
        let mut aggregations = self.aggregations.iter_mut();
        aggregations.try_for_each(|aggregation| aggregation.append(batch, times))
    }

    /// Computes the rows of the projections, while the table's columns, whose dictionaries they share, are not yet written.
    pub fn finish(
        self,
        table: &mut [ColumnWriter],
        schema: &SegmentSchema,
        spec: &IndexSpec,
        compressors: &mut Compressors,
    ) -> Result<Vec<FinishedProjection>, SegmentError> {
        let finished = self.aggregations.into_iter().map(|aggregation| {
            let rows = aggregation.finish()?;
            FinishedProjection::new(rows, table, schema, spec, compressors)
        });
        let mut finished = finished.collect::<Result<Vec<_>, SegmentError>>()?;
        // What is best to scan comes first: few rows, few grouping columns, many aggregators.
        finished.sort_by(|a, b| a.rank().cmp(&b.rank()));
        Ok(finished)
    }
}

/// A projection whose rows are known.
#[derive(Debug)]
pub(super) struct FinishedProjection {
    projection: Projection,
    columns: Vec<ProjectionColumn>,
}

#[derive(Debug)]
enum ProjectionColumn {
    Shared(StringChild),
    Own(Box<ColumnWriter>),
}

impl FinishedProjection {
    fn new(
        rows: Aggregated,
        table: &mut [ColumnWriter],
        schema: &SegmentSchema,
        spec: &IndexSpec,
        compressors: &mut Compressors,
    ) -> Result<Self, SegmentError> {
        let mut projection = rows.plan.projection.clone();
        projection.rows = rows.rows as u64;
        let prefix = projection.prefix();
        let mut own = |name: &str, column_type, array: &ArrayRef| {
            let column = ColumnSchema::new(format!("{prefix}{name}"), column_type);
            let mut writer = ColumnWriter::new(&column, schema, spec)?;
            writer.append_array(array, compressors)?;
            Ok::<_, SegmentError>(ProjectionColumn::Own(Box::new(writer)))
        };
        let is_time = |name: &str| projection.time_column_name.as_deref() == Some(name);
        let mut times = Vec::new();
        let mut dimensions = Vec::new();
        for (key, array) in rows.plan.keys.iter().zip(&rows.keys) {
            let shared = table.iter_mut().find(|column| column.name == key.name);
            let column = match shared.map(|column| &mut column.kind) {
                Some(ColumnKind::String(parent)) => {
                    ProjectionColumn::Shared(parent.child(format!("{prefix}{}", key.name), array)?)
                }
                _ => own(&key.name, key.column_type.clone(), array)?,
            };
            match is_time(&key.name) {
                true => times.push(column),
                false => dimensions.push(column),
            }
        }
        let mut columns = times;
        for ((name, column_type), (array, _)) in rows.plan.aggregated().zip(&rows.values) {
            columns.push(own(name, column_type, array)?);
        }
        columns.extend(dimensions);
        Ok(Self { projection, columns })
    }

    fn rank(&self) -> (u64, usize, std::cmp::Reverse<usize>, &str) {
        let projection = &self.projection;
        let aggregators = std::cmp::Reverse(projection.aggregators.len());
        (
            projection.rows,
            projection.grouping_columns.len(),
            aggregators,
            &projection.name,
        )
    }

    /// Writes the columns, and gives the JSON for the metadata of the segment.
    pub fn write(
        self,
        smoosh: &mut SmooshWriter,
        compressors: &mut Compressors,
        spec: &IndexSpec,
    ) -> Result<Value, SegmentError> {
        for column in self.columns {
            match column {
                ProjectionColumn::Shared(child) => child.finish(smoosh, &mut compressors.ids)?,
                ProjectionColumn::Own(writer) => {
                    writer.finish(smoosh, compressors, spec)?;
                }
            }
        }
        let json = self.projection.to_json();
        json.map_err(|e| SegmentError::invalid(format!("metadata of projection [{}]: {e}", self.projection.name)))
    }
}
