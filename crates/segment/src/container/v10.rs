//! Segments of format V10: one file, `druid.segment`, read only (Druid's `SegmentFileBuilderV10`).
//!
//! ```text
//! u8 10 │ u8 compression (FE none, 02 zstd) │ i32le metadata bytes │ [i32le compressed bytes] │ metadata, JSON │ containers
//! metadata  containers         [{"startOffset", "size", ["bundle"]}]: behind the metadata; a bundle is the files of one projection
//!           files              {name: {"container", "startOffset", "size"}}: internal files, offsets in their container
//!           columnDescriptors  {"<table>/<column>": descriptor}: internal files have no descriptor of their own
//!           columnFiles        {"<table>/<column>": [internal files]}: not needed, the names follow from the column
//!           projections        [{"numRows", "schema"}]: the first is the table of the rows, the others were aggregated from them
//!           interval, bitmapEncoding
//! ```
//! A column without a descriptor is not stored. Other files of this format beside the segment may hold some of its internal files
//! ("external" files); those are not read, and a column that needs them is an error that names them. So is a table that is stored in
//! groups of rows (`clustered-value-groups-base-table`).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bytes::Bytes;
use henge_time::Interval;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ColumnList, Container, Metadata, OrderBy, Slot, map};
use crate::blob::Blob;
use crate::codec::compression::Compression;
use crate::limits::V10_METADATA_BYTES;
use crate::{SegmentError, TIME_COLUMN};

/// The first byte of the format.
const VERSION: u8 = 10;

/// External files that an error names at most.
const EXTERNALS_NAMED: usize = 5;

/// What a V10 file says in its head instead of in internal files.
#[derive(Debug)]
pub(super) struct Head {
    pub columns: ColumnList,
    pub metadata: Metadata,
    /// The table's name and a slash: what internal files and descriptors of columns begin with.
    pub prefix: String,
    pub descriptors: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileMetadata {
    containers: Vec<Piece>,
    files: BTreeMap<String, InternalFile>,
    interval: String,
    #[serde(default)]
    column_descriptors: HashMap<String, Value>,
    projections: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    start_offset: u64,
    size: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InternalFile {
    container: usize,
    start_offset: u64,
    size: u64,
}

#[derive(Debug, Deserialize)]
struct Projection {
    schema: Schema,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schema {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    grouping_columns: Vec<String>,
    #[serde(default)]
    aggregators: Option<Vec<Value>>,
    #[serde(default)]
    virtual_columns: Vec<Value>,
    ordering: Option<Vec<OrderBy>>,
}

/// Opens a `druid.segment`.
pub(super) fn open(path: &Path) -> Result<Container, SegmentError> {
    let container = read(map(path)?, path.display().to_string())?;
    Ok(Container {
        externals: externals(path),
        ..container
    })
}

/// Reads the bytes of a `druid.segment`.
pub(super) fn read(bytes: Bytes, path: String) -> Result<Container, SegmentError> {
    let blob = Blob::new(bytes.clone(), path.clone(), "metadata");
    let mut cursor = blob.cursor();
    cursor.version(VERSION, "segment")?;
    let id = cursor.u8("metadata compression")?;
    let len = cursor.size_native("metadata bytes")?;
    let text = match Compression::from_id(id) {
        Some(Compression::None) => Bytes::copy_from_slice(cursor.take(len, "metadata")?),
        Some(compression) => {
            if len > V10_METADATA_BYTES {
                return Err(cursor.corrupt(format!("metadata of at most {V10_METADATA_BYTES} bytes, found {len}")));
            }
            let packed = cursor.size_native("compressed metadata bytes")?;
            let packed = cursor.take(packed, "metadata")?;
            let mut text = vec![0; len];
            let filled = compression
                .decompress(packed, &mut text)
                .map_err(|expected| blob.corrupt(6, format!("metadata that is {expected}")))?;
            text.truncate(filled);
            Bytes::from(text)
        }
        None => return Err(cursor.corrupt(format!("no compression has id {id:#04x}"))),
    };
    let first_container = blob.len() - cursor.remaining();
    let metadata: FileMetadata =
        serde_json::from_slice(&text).map_err(|e| blob.corrupt(6, format!("the metadata of a segment: {e}")))?;
    let files = internal_files(&metadata, &blob, first_container)?;
    let head = read_head(metadata, &blob)?;
    Ok(Container {
        path,
        files,
        chunks: vec![bytes],
        v10: Some(head),
        externals: Vec::new(),
    })
}

/// Lists the files beside the segment that are of this format too.
fn externals(path: &Path) -> Vec<String> {
    let folder = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let files = folder.into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .filter(|file| file.path() != path && file.file_type().is_ok_and(|kind| kind.is_file()))
        .filter(|file| {
            let mut first = [0];
            let read = std::fs::File::open(file.path()).and_then(|mut file| std::io::Read::read(&mut file, &mut first));
            read.is_ok_and(|read| read == 1) && first == [VERSION]
        })
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .take(EXTERNALS_NAMED)
        .collect();
    names.sort_unstable();
    names
}

fn internal_files(
    metadata: &FileMetadata,
    blob: &Blob,
    first_container: usize,
) -> Result<BTreeMap<String, Slot>, SegmentError> {
    let mut files = BTreeMap::new();
    for (name, file) in &metadata.files {
        let place = || {
            let container = metadata.containers.get(file.container)?;
            let end = file
                .start_offset
                .checked_add(file.size)
                .filter(|end| *end <= container.size)?;
            let base = container.start_offset.checked_add(first_container as u64)?;
            let start = usize::try_from(base.checked_add(file.start_offset)?).ok()?;
            let end = usize::try_from(base.checked_add(end)?).ok()?;
            (end <= blob.len()).then_some(Slot { chunk: 0, start, end })
        };
        let slot =
            place().ok_or_else(|| blob.corrupt(6, format!("internal file [{name}] must lie within its container")))?;
        files.insert(name.clone(), slot);
    }
    Ok(files)
}

fn read_head(metadata: FileMetadata, blob: &Blob) -> Result<Head, SegmentError> {
    let interval: Interval = metadata
        .interval
        .parse()
        .map_err(|e| blob.corrupt(6, format!("the interval of the segment: {e}")))?;
    let mut projections = metadata.projections;
    if projections.is_empty() {
        return Err(blob.corrupt(6, "a segment has a table at least"));
    }
    let table = projections.remove(0);
    let Projection { schema } =
        serde_json::from_value(table).map_err(|e| blob.corrupt(6, format!("the table of a segment: {e}")))?;
    let (dimensions, rollup) = match schema.kind.as_str() {
        "base-table" => (schema.columns, false),
        "base-table-rollup" => (schema.grouping_columns, true),
        other => return Err(blob.unsupported(format!("a table of type {other}"))),
    };
    let aggregators = schema.aggregators.unwrap_or_default();
    let metrics: Vec<String> = aggregators
        .iter()
        .filter_map(|aggregator| aggregator.get("name")?.as_str().map(str::to_owned))
        .collect();
    let mut columns: Vec<String> = dimensions
        .into_iter()
        .filter(|name| name != TIME_COLUMN && !metrics.contains(name))
        .collect();
    let prefix = format!("{}/", schema.name);
    let is_stored = |name: &String| metadata.column_descriptors.contains_key(&format!("{prefix}{name}"));
    columns.retain(is_stored);
    let dimension_count = columns.len();
    columns.extend(metrics.into_iter().filter(is_stored));
    let granularity = schema.virtual_columns.iter().find_map(query_granularity);
    Ok(Head {
        columns: ColumnList {
            columns,
            dimensions: dimension_count,
            interval,
        },
        metadata: Metadata {
            projections: Some(projections).filter(|projections| !projections.is_empty()),
            ..Metadata::new(aggregators, granularity, rollup, schema.ordering.unwrap_or_default())
        },
        prefix,
        descriptors: metadata
            .column_descriptors
            .into_iter()
            .map(|(name, descriptor)| (name, descriptor.to_string()))
            .collect(),
    })
}

/// Reads the query granularity from the expression that stands for it: `timestamp_floor(__time,'PT1H',null,'UTC')`.
fn query_granularity(column: &Value) -> Option<Value> {
    let expression = column.get("expression")?.as_str()?;
    let rest = expression.strip_prefix("timestamp_floor(__time,'")?;
    let (period, _) = rest.split_once('\'')?;
    Some(json!({"type": "period", "period": period, "timeZone": "UTC", "origin": null}))
}
