//! Reading a segment: the container is mapped, the heads of all columns are read at once, rows only when they are asked for.

mod column;
mod complex;
mod nested;
mod numbers;
mod pairs;
mod strings;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type, Schema, SchemaRef};
use henge_time::Interval;
use roaring::RoaringBitmap;

use crate::codec::dictionary::StringDictionary;
use crate::container::{ColumnList, Container, Metadata, Projection};
use crate::{ColumnType, RowSelection, SegmentError, TIME_COLUMN};

use column::{Column, guess_type, is_auto};

/// What is known of a column without reading its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether any row is null; true where that is not known.
    pub has_nulls: bool,
    /// How many distinct values the dictionary has, null included; none for columns without dictionary.
    pub cardinality: Option<u64>,
    /// The smallest and the largest value as text, where a dictionary tells them; [`Segment::range`] reads the rows of others.
    pub range: Option<(String, String)>,
    /// Bytes of its internal files.
    pub bytes: u64,
    /// Whether values have bitmaps.
    pub has_bitmap_index: bool,
    /// Whether it is a metric: neither `__time` nor a dimension.
    pub is_metric: bool,
    /// Whether it is stored in the nested common format: "auto" scalars, arrays, variants, JSON.
    pub is_auto: bool,
    /// How it is stored, for people.
    pub encoding: String,
}

/// A value that a bitmap is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum IndexValue<'a> {
    /// No value.
    Null,
    /// Text.
    String(&'a str),
    /// A whole number.
    Long(i64),
    /// A floating-point number; -0.0 and 0.0 are two values.
    Double(f64),
}

/// A field of a JSON column: what is known of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonField {
    /// The path, such as `$.a['b'][0]`.
    pub path: String,
    /// The types that were seen, by Druid's names: `LONG`, `ARRAY<STRING>`.
    pub types: Vec<&'static str>,
}

/// An open segment, or a projection of one.
#[derive(Debug)]
pub struct Segment {
    container: Arc<Container>,
    /// What the internal files of the columns begin with.
    prefix: String,
    /// Those that cannot be understood are an error when they are asked for.
    projections: Vec<Result<Projection, SegmentError>>,
    index: ColumnList,
    metadata: Option<Metadata>,
    rows: usize,
    infos: Vec<ColumnInfo>,
    /// In the order of `infos`. A column that cannot be read is an error when it is used, not when the segment is opened.
    columns: Vec<Result<Column, SegmentError>>,
    schema: SchemaRef,
}

/// The columns of a segment or of a projection, before they are open.
struct Table<'a> {
    prefix: String,
    /// The internal file of the column of times; none where it is not stored.
    time_file: Option<String>,
    projections: Vec<Result<Projection, SegmentError>>,
    index: ColumnList,
    metadata: Option<Metadata>,
    rows: usize,
    /// Of a projection, the segment whose dictionaries it shares.
    parent: Option<&'a Segment>,
}

impl Table<'_> {
    fn open_column(&self, name: &str, container: &Container) -> Result<Column, SegmentError> {
        let position = self.parent.and_then(|parent| Some((parent, parent.position(name)?)));
        let parent = match position {
            Some((parent, position)) => Some(parent.columns[position].as_ref().map_err(SegmentError::clone)?),
            None => None,
        };
        Column::open(&format!("{}{name}", self.prefix), container, Some(self.rows), parent)
    }

    fn open(self, time: Column, container: Arc<Container>) -> Result<Segment, SegmentError> {
        if time.column_type() != ColumnType::LONG {
            return Err(SegmentError::invalid(format!(
                "{}: column [{TIME_COLUMN}] must be LONG, found {}",
                container.path(),
                time.column_type()
            )));
        }
        let time_bytes = self.time_file.as_ref().map_or(0, |file| container.column_bytes(file));
        let mut infos = vec![time.info(TIME_COLUMN, time_bytes, false)];
        let mut columns = vec![Ok(time)];
        for (position, name) in self.index.columns.iter().enumerate() {
            let is_metric = position >= self.index.dimensions;
            let file = format!("{}{name}", self.prefix);
            let bytes = container.column_bytes(&file);
            // Aggregators have columns of their own.
            let opened = match is_metric {
                true => Column::open(&file, &container, Some(self.rows), None),
                false => self.open_column(name, &container),
            };
            infos.push(match &opened {
                Ok(column) => ColumnInfo {
                    is_auto: is_auto(&file, &container),
                    ..column.info(name, bytes, is_metric)
                },
                Err(e) => ColumnInfo {
                    name: name.clone(),
                    column_type: guess_type(&file, &container),
                    has_nulls: true,
                    cardinality: None,
                    range: None,
                    bytes,
                    has_bitmap_index: false,
                    is_metric,
                    is_auto: false,
                    encoding: format!("unreadable: {e}"),
                },
            });
            columns.push(opened);
        }
        let fields: Vec<Field> = infos
            .iter()
            .map(|info| match info.name.as_str() {
                TIME_COLUMN => Field::new(TIME_COLUMN, crate::schema::time_type(), false),
                name => Field::new(name, info.column_type.arrow(), true),
            })
            .collect();
        Ok(Segment {
            container,
            prefix: self.prefix,
            projections: self.projections,
            index: self.index,
            metadata: self.metadata,
            rows: self.rows,
            infos,
            columns,
            schema: Arc::new(Schema::new(fields)),
        })
    }
}

impl Segment {
    /// Opens a folder of smoosh files (or one that holds `index/`, `index.zip` or `druid.segment`), an `index.zip`, or a `druid.segment`.
    pub fn open(path: &Path) -> Result<Segment, SegmentError> {
        Self::from_container(Container::open(path)?)
    }

    pub(crate) fn from_container(container: Container) -> Result<Segment, SegmentError> {
        let index = container.columns()?;
        let metadata = container.metadata();
        let prefix = container.prefix().to_owned();
        let time_file = format!("{prefix}{TIME_COLUMN}");
        let time = Column::open(&time_file, &container, None, None)?;
        let described = metadata.iter().filter_map(|metadata| metadata.projections.as_ref());
        let projections = described.flatten().map(|json| {
            Projection::read(json).map_err(|what| SegmentError::Unsupported {
                file: container.path().to_owned(),
                what,
            })
        });
        let table = Table {
            prefix,
            time_file: Some(time_file),
            projections: projections.collect(),
            index,
            metadata,
            rows: time.rows(),
            parent: None,
        };
        table.open(time, Arc::new(container))
    }

    /// Lists the projections: small tables that were aggregated from the rows.
    pub fn projections(&self) -> impl Iterator<Item = &Projection> {
        self.projections.iter().flatten()
    }

    /// Opens a projection as a segment of its own: its column of times is `__time`, the start of the interval where it has none, the other
    /// grouping columns are the dimensions, and the aggregators the metrics.
    pub fn projection(&self, name: &str) -> Result<Segment, SegmentError> {
        let Some(projection) = self.projections().find(|projection| projection.name == name) else {
            let unknown = self.projections.iter().find_map(|projection| projection.as_ref().err());
            return Err(unknown.cloned().unwrap_or_else(|| {
                let names: Vec<&str> = self.projections().map(|projection| projection.name.as_str()).collect();
                SegmentError::invalid(format!(
                    "{} has no projection [{name}], its projections are [{}]",
                    self.path(),
                    names.join(", ")
                ))
            }));
        };
        let rows = usize::try_from(projection.rows)
            .ok()
            .filter(|rows| *rows <= self.rows)
            .ok_or_else(|| SegmentError::Corrupt {
                file: self.path().to_owned(),
                column: projection.prefix(),
                offset: 0,
                expectation: format!(
                    "a projection of at most {} rows, as the table has, found {}",
                    self.rows, projection.rows
                ),
            })?;
        let time_column = projection.time_column_name.as_deref();
        let mut columns: Vec<String> = projection
            .grouping_columns
            .iter()
            .filter(|name| Some(name.as_str()) != time_column)
            .cloned()
            .collect();
        let dimensions = columns.len();
        columns.extend(projection.aggregator_names());
        let table = Table {
            prefix: projection.prefix(),
            time_file: time_column.map(|name| format!("{}{name}", projection.prefix())),
            projections: Vec::new(),
            index: ColumnList {
                columns,
                dimensions,
                interval: self.index.interval,
            },
            metadata: Some(Metadata {
                aggregators: Some(projection.aggregators.clone()),
                rollup: Some(true),
                ordering: Some(projection.ordering_by_time()),
                ..Metadata::default()
            }),
            rows,
            parent: Some(self),
        };
        let time = match time_column {
            Some(name) => table.open_column(name, &self.container)?,
            None => Column::ConstantTime(self.index.interval.start_ms, rows),
        };
        table.open(time, Arc::clone(&self.container))
    }

    /// Gives what the segment was opened from.
    pub fn path(&self) -> &str {
        self.container.path()
    }

    /// Counts the rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Gives the interval that the segment's files name; the published interval takes precedence.
    pub fn interval(&self) -> Interval {
        self.index.interval
    }

    /// Gives what the segment says about itself; none if it says nothing that can be understood.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// Lists the columns: `__time`, the dimensions in their order, the metrics.
    pub fn columns(&self) -> &[ColumnInfo] {
        &self.infos
    }

    /// Gives a column's description.
    pub fn column(&self, name: &str) -> Option<&ColumnInfo> {
        self.infos.iter().find(|info| info.name == name)
    }

    /// Gives the Arrow schema of what [`Self::read`] returns: `__time` first, as `Timestamp(Millisecond)`; see [`ColumnType::arrow`].
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.infos.iter().position(|info| info.name == name)
    }

    fn open_column(&self, name: &str) -> Result<&Column, SegmentError> {
        let position = self
            .position(name)
            .ok_or_else(|| SegmentError::invalid(format!("{} has no column [{name}]", self.container.path())))?;
        self.columns[position].as_ref().map_err(SegmentError::clone)
    }

    /// Reads rows of a column, decoding only the blocks that hold them. The array has the type of [`Self::arrow_schema`]; strings share
    /// the segment's dictionary.
    pub fn read(&self, column: &str, rows: RowSelection<'_>) -> Result<ArrayRef, SegmentError> {
        let array = self.open_column(column)?.read(&rows)?;
        if column == TIME_COLUMN && *array.data_type() == DataType::Int64 {
            let (_, values, nulls) = array.as_primitive::<Int64Type>().clone().into_parts();
            return Ok(Arc::new(TimestampMillisecondArray::new(values, nulls)));
        }
        Ok(array)
    }

    /// Reads rows of a JSON column, or of one whose rows have several types, as JSON text; none for other columns.
    pub fn read_json(&self, column: &str, rows: RowSelection<'_>) -> Result<Option<StringArray>, SegmentError> {
        self.open_column(column)?.read_json(&rows)
    }

    /// Gives the dictionary of a string column; none for other columns.
    pub fn dictionary(&self, column: &str) -> Option<&StringDictionary> {
        self.open_column(column).ok()?.dictionary()
    }

    /// Gives the rows that hold a dictionary id; none if the column has no index.
    pub fn bitmap(&self, column: &str, id: u32) -> Result<Option<RoaringBitmap>, SegmentError> {
        self.open_column(column)?.bitmap(id)
    }

    /// Gives the rows that are null (empty if there are none); none if that is not known without reading the rows.
    pub fn null_bitmap(&self, column: &str) -> Result<Option<RoaringBitmap>, SegmentError> {
        self.open_column(column)?.null_bitmap()
    }

    /// Gives the rows that have a value: of columns of strings, of "auto" columns, and the null rows of all; none if the column has no
    /// bitmaps, or none for such values.
    pub fn rows_of(&self, column: &str, value: &IndexValue<'_>) -> Result<Option<RoaringBitmap>, SegmentError> {
        self.open_column(column)?.rows_of(value)
    }

    /// Gives the rows of a column of arrays whose array has an element; none if the column has no such bitmaps.
    pub fn rows_with_element(
        &self,
        column: &str,
        element: &IndexValue<'_>,
    ) -> Result<Option<RoaringBitmap>, SegmentError> {
        self.open_column(column)?.rows_with(element)
    }

    /// Lists the fields of a JSON column in the order of their paths; none for other columns, and for JSON columns of the oldest form.
    pub fn json_fields(&self, column: &str) -> Result<Option<Vec<JsonField>>, SegmentError> {
        let fields = self.open_column(column)?.fields();
        Ok(fields.map(|fields| {
            let described = fields.fields().iter().map(|field| JsonField {
                path: field.path.clone(),
                types: type_names(field.types),
            });
            described.collect()
        }))
    }

    /// Reads a field of a JSON column: longs or doubles where it has nothing else, JSON text otherwise; none if there is no such field.
    pub fn read_json_field(
        &self,
        column: &str,
        path: &str,
        rows: RowSelection<'_>,
    ) -> Result<Option<ArrayRef>, SegmentError> {
        let Some(fields) = self.open_column(column)?.fields() else {
            return Ok(None);
        };
        let field = fields.find(path);
        field.map(|field| fields.read_field(field, &rows)).transpose()
    }

    /// Gives the rows in which a field of a JSON column has a value; none if there are no bitmaps.
    pub fn rows_of_json_field(
        &self,
        column: &str,
        path: &str,
        value: &IndexValue<'_>,
    ) -> Result<Option<RoaringBitmap>, SegmentError> {
        match self.open_column(column)?.fields() {
            Some(fields) => fields.rows_of(path, value, self.rows),
            None => Ok(None),
        }
    }

    /// Gives the rows in which a field of a JSON column is an array with an element; none if there are no bitmaps.
    pub fn rows_with_json_element(
        &self,
        column: &str,
        path: &str,
        element: &IndexValue<'_>,
    ) -> Result<Option<RoaringBitmap>, SegmentError> {
        match self.open_column(column)?.fields() {
            Some(fields) => fields.rows_with(path, element),
            None => Ok(None),
        }
    }

    /// Gives the smallest and the largest value of a column as text, reading its rows where no dictionary tells them; none for columns of
    /// arrays and objects, and where all rows are null.
    pub fn range(&self, column: &str) -> Result<Option<(String, String)>, SegmentError> {
        let info = self.column(column);
        if let Some(range) = info.and_then(|info| info.range.clone()) {
            return Ok(Some(range));
        }
        let array = self.open_column(column)?.read(&RowSelection::All)?;
        Ok(match array.data_type() {
            DataType::Int64 => {
                let longs = array.as_primitive::<Int64Type>();
                let range = arrow::compute::min(longs).zip(arrow::compute::max(longs));
                range.map(|(min, max)| (min.to_string(), max.to_string()))
            }
            DataType::Float64 => {
                let doubles = array.as_primitive::<Float64Type>();
                let range = arrow::compute::min(doubles).zip(arrow::compute::max(doubles));
                range.map(|(min, max)| (min.to_string(), max.to_string()))
            }
            DataType::Float32 => {
                let floats = array.as_primitive::<Float32Type>();
                let range = arrow::compute::min(floats).zip(arrow::compute::max(floats));
                range.map(|(min, max)| (min.to_string(), max.to_string()))
            }
            _ => None,
        })
    }

    /// Names what dictionaries and bitmaps of a column say otherwise than its rows.
    pub(crate) fn check(&self, column: &str) -> Result<Vec<String>, SegmentError> {
        self.open_column(column)?.check()
    }

    /// Lists the internal files.
    pub(crate) fn internal_files(&self) -> Vec<String> {
        self.container.names()
    }

    /// What the internal files of the columns begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Lists what is wrong with projections that cannot be understood.
    pub(crate) fn unknown_projections(&self) -> impl Iterator<Item = &SegmentError> {
        self.projections
            .iter()
            .filter_map(|projection| projection.as_ref().err())
    }
}

/// Names the types of a set (Druid's `FieldTypeInfo`).
fn type_names(types: u8) -> Vec<&'static str> {
    const NAMES: [(u8, &str); 6] = [
        (0x01, "STRING"),
        (0x04, "LONG"),
        (0x08, "DOUBLE"),
        (0x10, "ARRAY<STRING>"),
        (0x20, "ARRAY<LONG>"),
        (0x40, "ARRAY<DOUBLE>"),
    ];
    let names = NAMES.iter().filter(|(bit, _)| types & bit != 0);
    names.map(|(_, name)| *name).collect()
}
