//! Writing a segment: columns are encoded as rows arrive, the container is written at the end.

mod bitmaps;
mod dictionary;
mod interner;
mod lists;
mod longs;
mod nested;
mod numeric;
mod object;
mod pairs;
mod parallel;
mod projections;
mod sort;
mod string;

use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::record_batch::RecordBatch;
use henge_time::Interval;

use crate::codec::compression::{Compression, Compressor};
use crate::codec::front_coded::LARGEST_BUCKET;
use crate::codec::generic_indexed::GenericIndexedWriter;
use crate::container::{
    ColumnList, FACTORY_FILE, Metadata, OrderBy, SmooshWriter, VERSION_9, VERSION_FILE, write_file,
};
use crate::limits::{SEGMENT_ROWS, WRITER_THREADS};
use crate::schema::{canonical_type, pair_fields};
use crate::{
    BitmapKind, ColumnSchema, ColumnType, IndexSpec, JSON_TYPE, SegmentError, SegmentSchema, StringEncoding,
    TIME_COLUMN, ValueType,
};

use nested::{ArrayWriter, AutoScalarWriter, JsonWriter};
use numeric::NumericWriter;
use object::ObjectWriter;
use pairs::PairWriter;
use projections::ProjectionWriters;
use string::StringWriter;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Rows.
    pub rows: u64,
    /// Bytes of all files: the `size` of the published descriptor.
    pub size_bytes: u64,
    /// The dimensions in their order.
    pub dimensions: Vec<String>,
    /// The metrics by name.
    pub metrics: Vec<String>,
    /// The smallest time.
    pub min_time_ms: i64,
    /// The largest time.
    pub max_time_ms: i64,
}

/// Writes a segment from rows that arrive in segment order.
#[derive(Debug)]
pub struct SegmentWriter {
    dir: PathBuf,
    schema: SegmentSchema,
    spec: IndexSpec,
    interval: Interval,
    rows: u64,
    /// Set while rows are taken: what stays set after a failure tells that columns have different numbers of rows.
    unfinished_rows: bool,
    min_time_ms: i64,
    max_time_ms: i64,
    time: NumericWriter,
    /// Metrics by name, then dimensions: the order of the internal files.
    columns: Vec<ColumnWriter>,
    projections: ProjectionWriters,
    /// Those of each thread; one at least.
    threads: Vec<Compressors>,
}

/// What a thread compresses with.
#[derive(Debug)]
struct Compressors {
    numbers: Compressor,
    ids: Compressor,
}

impl Compressors {
    fn new(spec: &IndexSpec, dir: &Path) -> Result<Self, SegmentError> {
        let compressor =
            |compression| Compressor::new(compression).map_err(|e| SegmentError::io("compress for", dir, e));
        Ok(Self {
            numbers: compressor(spec.metric_compression)?,
            ids: compressor(spec.dimension_compression)?,
        })
    }
}

#[derive(Debug)]
struct ColumnWriter {
    name: String,
    kind: ColumnKind,
}

#[derive(Debug)]
enum ColumnKind {
    Numeric(NumericWriter),
    String(StringWriter),
    Auto(AutoScalarWriter),
    Array(ArrayWriter),
    Json(Box<JsonWriter>),
    Object(ObjectWriter),
    Pair(PairWriter),
}

impl ColumnWriter {
    fn new(column: &ColumnSchema, schema: &SegmentSchema, spec: &IndexSpec) -> Result<Self, SegmentError> {
        let name = column.name.as_str();
        let with_bitmaps = !spec.strings_without_bitmaps && !schema.without_bitmaps.contains(name);
        let is_auto = schema.auto.contains(name);
        let kind = match &column.column_type {
            ColumnType::Scalar(value) if is_auto => ColumnKind::Auto(AutoScalarWriter::new(name, *value)),
            ColumnType::Scalar(ValueType::String) => ColumnKind::String(StringWriter::single(name, spec, with_bitmaps)),
            ColumnType::Scalar(value) => ColumnKind::Numeric(NumericWriter::new(name, *value, spec)),
            ColumnType::MultiString => {
                let handling = schema.multi_value_handling.get(name).copied().unwrap_or_default();
                ColumnKind::String(StringWriter::multi(name, spec, with_bitmaps, handling))
            }
            ColumnType::Array(element) => ColumnKind::Array(ArrayWriter::new(name, *element)),
            ColumnType::Complex(type_name) if type_name == JSON_TYPE => {
                let writer = JsonWriter::new(name, spec, is_auto);
                let writer = writer.map_err(|e| SegmentError::invalid(format!("column [{name}]: {e}")))?;
                ColumnKind::Json(Box::new(writer))
            }
            ColumnType::Complex(type_name) => {
                let type_name = canonical_type(type_name);
                match pair_fields(type_name) {
                    Some(fields) => ColumnKind::Pair(PairWriter::new(name, type_name, fields[1].data_type().clone())),
                    None => {
                        let writer = ObjectWriter::new(name, type_name, spec);
                        ColumnKind::Object(writer.map_err(|e| SegmentError::invalid(format!("column [{name}]: {e}")))?)
                    }
                }
            }
        };
        Ok(Self {
            name: name.to_owned(),
            kind,
        })
    }

    /// Takes the column's rows of a batch; without such a column they are null.
    fn append(&mut self, batch: &RecordBatch, compressors: &mut Compressors) -> Result<(), SegmentError> {
        let array = match batch.column_by_name(&self.name) {
            Some(array) => array.clone(),
            None => new_null_array(&DataType::Null, batch.num_rows()),
        };
        self.append_array(&array, compressors)
    }

    fn append_array(&mut self, array: &ArrayRef, compressors: &mut Compressors) -> Result<(), SegmentError> {
        match &mut self.kind {
            ColumnKind::Numeric(writer) => writer.append(array, &mut compressors.numbers),
            ColumnKind::String(writer) => writer.append(array),
            ColumnKind::Auto(writer) => writer.append(array),
            ColumnKind::Array(writer) => writer.append(array),
            ColumnKind::Json(writer) => writer.append(array),
            ColumnKind::Object(writer) => writer.append(array),
            ColumnKind::Pair(writer) => writer.append(array),
        }
    }

    /// Writes the column's internal files, and tells whether it has any value.
    fn finish(
        self,
        smoosh: &mut SmooshWriter,
        compressors: &mut Compressors,
        spec: &IndexSpec,
    ) -> Result<bool, SegmentError> {
        match self.kind {
            ColumnKind::Numeric(writer) => writer.finish(smoosh, &mut compressors.numbers)?,
            ColumnKind::String(writer) => return writer.finish(smoosh, &mut compressors.ids),
            ColumnKind::Auto(writer) => writer.finish(smoosh, spec)?,
            ColumnKind::Array(writer) => writer.finish(smoosh, spec)?,
            ColumnKind::Json(writer) => writer.finish(smoosh, spec)?,
            ColumnKind::Object(writer) => writer.finish(smoosh)?,
            ColumnKind::Pair(writer) => writer.finish(smoosh)?,
        }
        Ok(true)
    }

    fn memory_bytes(&self) -> usize {
        match &self.kind {
            ColumnKind::Numeric(writer) => writer.memory_bytes(),
            ColumnKind::String(writer) => writer.memory_bytes(),
            ColumnKind::Auto(writer) => writer.memory_bytes(),
            ColumnKind::Array(writer) => writer.memory_bytes(),
            ColumnKind::Json(writer) => writer.memory_bytes(),
            ColumnKind::Object(writer) => writer.memory_bytes(),
            ColumnKind::Pair(writer) => writer.memory_bytes(),
        }
    }
}

impl SegmentWriter {
    /// Starts a segment in a folder, which is made if it is not there.
    pub fn create(
        dir: &Path,
        schema: SegmentSchema,
        spec: IndexSpec,
        interval: Interval,
    ) -> Result<Self, SegmentError> {
        schema.validate()?;
        check_spec(&spec)?;
        std::fs::create_dir_all(dir).map_err(|e| SegmentError::io("create", dir, e))?;
        let mut metrics: Vec<&ColumnSchema> = schema.metrics.iter().map(|m| &m.column).collect();
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        let columns = metrics
            .into_iter()
            .chain(&schema.columns)
            .map(|column| ColumnWriter::new(column, &schema, &spec))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            dir: dir.to_owned(),
            interval,
            rows: 0,
            unfinished_rows: false,
            min_time_ms: i64::MAX,
            max_time_ms: i64::MIN,
            time: NumericWriter::new(TIME_COLUMN, ValueType::Long, &spec),
            columns,
            projections: ProjectionWriters::new(&schema)?,
            threads: vec![Compressors::new(&spec, dir)?],
            schema,
            spec,
        })
    }

    /// Encodes columns on so many threads, the caller's included. The files are the same, byte for byte; while the segment is finished,
    /// encoded columns wait in memory for those before them.
    pub fn with_threads(mut self, threads: usize) -> Result<Self, SegmentError> {
        self.threads = (0..threads.clamp(1, WRITER_THREADS))
            .map(|_| Compressors::new(&self.spec, &self.dir))
            .collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Takes rows; a writer that fails to is of no further use.
    ///
    /// Columns go by name, `__time` as a timestamp or `Int64` of milliseconds, without nulls. A column that the batch lacks is null, and
    /// columns that the segment does not have are ignored.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<(), SegmentError> {
        let rows = self.rows + batch.num_rows() as u64;
        if rows > SEGMENT_ROWS {
            return Err(SegmentError::Limit {
                what: "the number of rows of a segment".into(),
                actual: rows,
                limit: SEGMENT_ROWS,
                remedy: "write smaller segments (fewer rows per segment)",
            });
        }
        self.unfinished_rows = true;
        let times = self.append_time(batch)?;
        parallel::append(&mut self.columns, batch, &mut self.threads)?;
        self.projections.append(batch, times.as_primitive::<Int64Type>())?;
        self.rows = rows;
        self.unfinished_rows = false;
        Ok(())
    }

    /// Takes the times of rows and gives them in milliseconds.
    fn append_time(&mut self, batch: &RecordBatch) -> Result<ArrayRef, SegmentError> {
        let array = batch
            .column_by_name(TIME_COLUMN)
            .ok_or_else(|| SegmentError::invalid(format!("rows of a segment need a column [{TIME_COLUMN}]")))?;
        if array.null_count() > 0 {
            return Err(SegmentError::invalid(format!(
                "column [{TIME_COLUMN}] must not be null, found {} nulls",
                array.null_count()
            )));
        }
        let millis: ArrayRef = match array.data_type() {
            DataType::Int64 => array.clone(),
            DataType::Timestamp(_, _) => arrow::compute::cast(array, &crate::schema::time_type())
                .and_then(|millis| arrow::compute::cast(&millis, &DataType::Int64))
                .map_err(|e| SegmentError::invalid(format!("column [{TIME_COLUMN}]: {e}")))?,
            other => {
                return Err(SegmentError::invalid(format!(
                    "column [{TIME_COLUMN}] must be a timestamp or Int64, found {other}"
                )));
            }
        };
        for time in millis.as_primitive::<Int64Type>().values() {
            self.min_time_ms = self.min_time_ms.min(*time);
            self.max_time_ms = self.max_time_ms.max(*time);
        }
        self.time.append(&millis, &mut self.threads[0].numbers)?;
        Ok(millis)
    }

    /// Tells how much memory the writer holds.
    pub fn memory_bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(ColumnWriter::memory_bytes).sum();
        self.time.memory_bytes() + columns + self.projections.memory_bytes()
    }

    /// Writes the files and makes them durable. Fails for a segment without rows, which Druid cannot read.
    pub fn finish(mut self) -> Result<SegmentSummary, SegmentError> {
        if self.unfinished_rows {
            return Err(SegmentError::invalid(
                "a segment that failed to take rows cannot be finished",
            ));
        }
        if self.rows == 0 {
            return Err(SegmentError::invalid("a segment needs at least one row"));
        }
        let mut smoosh = SmooshWriter::new(&self.dir);
        self.time.finish(&mut smoosh, &mut self.threads[0].numbers)?;
        let compressors = &mut self.threads[0];
        let projections = self
            .projections
            .finish(&mut self.columns, &self.schema, &self.spec, compressors)?;
        let without_values = parallel::finish(self.columns, &mut smoosh, &mut self.threads, &self.spec, &self.dir)?;
        let projections = projections
            .into_iter()
            .map(|projection| projection.write(&mut smoosh, &mut self.threads[0], &self.spec))
            .collect::<Result<Vec<_>, _>>()?;
        let dimensions: Vec<String> = self.schema.columns.into_iter().map(|column| column.name).collect();
        let mut metrics = self.schema.metrics;
        metrics.sort_by(|a, b| a.column.name.cmp(&b.column.name));
        let (metrics, aggregators): (Vec<_>, Vec<_>) = metrics
            .into_iter()
            .map(|metric| (metric.column.name, metric.aggregator))
            .unzip();
        let index = ColumnList {
            columns: dimensions.iter().chain(&metrics).cloned().collect(),
            dimensions: dimensions.len(),
            interval: self.interval,
        };
        let index = index
            .write(self.spec.bitmap, |name| {
                !without_values.iter().any(|other| other == name)
            })
            .map_err(|e| smoosh.write_error(e))?;
        smoosh.add("index.drd", &[&index])?;
        let ordering = match self.schema.ordering {
            Some(columns) => columns,
            None => std::iter::once(TIME_COLUMN.to_owned())
                .chain(dimensions.iter().cloned())
                .collect(),
        };
        let metadata = Metadata {
            projections: Some(projections).filter(|projections| !projections.is_empty()),
            ..Metadata::new(
                aggregators,
                self.schema.query_granularity,
                self.schema.rollup,
                ordering.into_iter().map(OrderBy::ascending).collect(),
            )
        };
        smoosh.add("metadata.drd", &[&metadata.write()?])?;
        let mut size_bytes = smoosh.finish()?;
        let factory = match &self.spec.segment_loader {
            Some(factory) => factory.to_string(),
            None => r#"{"type":"mMapSegmentFactory"}"#.to_owned(),
        };
        for (name, bytes) in [
            (FACTORY_FILE, factory.as_bytes()),
            (VERSION_FILE, &VERSION_9.to_be_bytes()),
        ] {
            write_file(&self.dir.join(name), bytes)?;
            size_bytes += bytes.len() as u64;
        }
        sync_folder(&self.dir)?;
        Ok(SegmentSummary {
            rows: self.rows,
            size_bytes,
            dimensions,
            metrics,
            min_time_ms: self.min_time_ms,
            max_time_ms: self.max_time_ms,
        })
    }
}

/// Refuses what is not written.
fn check_spec(spec: &IndexSpec) -> Result<(), SegmentError> {
    let refused = |what: String| {
        Err(SegmentError::Unsupported {
            file: "index spec".into(),
            what,
        })
    };
    let objects = [spec.complex_compression, spec.json_compression];
    if objects.contains(&Some(Compression::None)) {
        return refused("compression none of objects (Druid cannot write it either)".into());
    }
    for encoding in [
        spec.string_encoding,
        spec.auto_string_encoding(),
        spec.auto.field_encoding,
    ] {
        if let StringEncoding::FrontCoded { bucket_size, version } = encoding
            && (!bucket_size.is_power_of_two() || bucket_size > LARGEST_BUCKET || version > 1)
        {
            return refused(format!(
                "front-coding of format version {version} in buckets of {bucket_size} (versions are 0 and 1, buckets 1, 2, 4 … {LARGEST_BUCKET})"
            ));
        }
    }
    if [spec.dimension_compression, spec.auto_id_compression()].contains(&Compression::None) {
        return refused("dimension compression none (Druid cannot write it either)".into());
    }
    Ok(())
}

/// Makes the names of new files durable.
fn sync_folder(dir: &Path) -> Result<(), SegmentError> {
    std::fs::File::open(dir)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| SegmentError::io("sync", dir, e))
}

/// Gives the property of a descriptor that names the form of bitmaps.
fn bitmap_serde(kind: BitmapKind) -> &'static str {
    match kind {
        BitmapKind::Roaring => r#""bitmapSerdeFactory":{"type":"roaring"}"#,
        BitmapKind::Concise => r#""bitmapSerdeFactory":{"type":"concise"}"#,
    }
}

/// Gives a column's descriptor with its length: `str {"valueType":…,"hasMultipleValues":…,"parts":[{…}]}`.
fn descriptor(value_type: &str, multiple: bool, part: &str) -> Vec<u8> {
    let json = format!(r#"{{"valueType":"{value_type}","hasMultipleValues":{multiple},"parts":[{{{part}}}]}}"#);
    let mut bytes = (json.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

/// Gives the descriptor of a column of objects of a type.
fn complex_descriptor(type_name: &str) -> Vec<u8> {
    let type_name = serde_json::Value::from(type_name);
    descriptor("COMPLEX", false, &format!(r#""type":"complex","typeName":{type_name}"#))
}

/// Writes an internal file of a descriptor and a list of values.
fn add_list(
    smoosh: &mut SmooshWriter,
    name: &str,
    descriptor: &[u8],
    list: &GenericIndexedWriter,
) -> Result<(), SegmentError> {
    smoosh.begin(name, descriptor.len() as u64 + list.serialized_len())?;
    smoosh
        .write_all(descriptor)
        .and_then(|()| list.write(false, smoosh))
        .map_err(|e| smoosh.write_error(e))?;
    smoosh.end()
}

/// Casts the values of column `name` to its type; times become milliseconds first.
fn cast_values(name: &str, value_type: ValueType, array: &ArrayRef) -> Result<ArrayRef, SegmentError> {
    let failed = |e| {
        SegmentError::invalid(format!(
            "column [{name}] of type {} cannot take values of type {}: {e}",
            value_type.name(),
            array.data_type()
        ))
    };
    let wanted = value_type.arrow();
    match (array.data_type(), value_type) {
        (DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64, ValueType::Long) => {
            let millis = cast(array, &crate::schema::time_type()).map_err(failed)?;
            cast(&millis, &wanted).map_err(failed)
        }
        _ => cast(array, &wanted).map_err(failed),
    }
}
