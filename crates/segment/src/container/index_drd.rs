//! The list of columns (Druid's `IndexMergerV9.makeIndexBinary`).
//!
//! ```text
//! GenericIndexed  columns with values, without __time: metrics by name, then dimensions
//! GenericIndexed  the dimensions among them
//! i64 interval start │ i64 interval end
//! str             bitmap kind, JSON                                       ┐ absent in very old segments: concise
//! GenericIndexed  all columns: null = the next of the first list, else   ┐ absent before 0.23: none
//!                 the name of a column without values                    │
//! GenericIndexed  all dimensions, likewise                               ┘
//! ```

use henge_time::Interval;

use crate::blob::{Blob, Cursor};
use crate::codec::generic_indexed::{GenericIndexed, GenericIndexedWriter};
use crate::container::{ColumnList, Container};
use crate::{BitmapKind, SegmentError};

impl ColumnList {
    /// Reads the list from its internal file.
    pub fn read(container: &Container) -> Result<Self, SegmentError> {
        let blob = container.require("index.drd")?;
        let mut cursor = blob.cursor();
        let filled_columns = names(&mut cursor, container, "list of columns")?;
        let filled_dimensions = names(&mut cursor, container, "list of dimensions")?;
        let start_ms = cursor.i64("interval start")?;
        let end_ms = cursor.i64("interval end")?;
        let interval =
            Interval::new(start_ms, end_ms).map_err(|e| cursor.corrupt(format!("the interval of the segment: {e}")))?;
        let mut all_columns = Vec::new();
        let mut all_dimensions = Vec::new();
        let mut complete = false;
        if cursor.remaining() > 0 {
            cursor.string("bitmap kind")?;
            if cursor.remaining() > 0 {
                all_columns = names(&mut cursor, container, "list of all columns")?;
                all_dimensions = names(&mut cursor, container, "list of all dimensions")?;
                complete = true;
            }
        }
        let (columns, dimensions) = if complete {
            (
                restore(&all_columns, &filled_columns, &blob)?,
                restore(&all_dimensions, &filled_dimensions, &blob)?,
            )
        } else {
            (given(filled_columns), given(filled_dimensions))
        };
        let count = dimensions.len();
        let metrics: Vec<String> = columns.into_iter().filter(|name| !dimensions.contains(name)).collect();
        let mut columns = dimensions;
        columns.extend(metrics);
        Ok(Self {
            columns,
            dimensions: count,
            interval,
        })
    }

    /// Writes the list; `filled` tells which columns have values.
    pub fn write(&self, bitmap: BitmapKind, filled: impl Fn(&str) -> bool) -> std::io::Result<Vec<u8>> {
        let (dimensions, metrics) = self.columns.split_at(self.dimensions);
        let columns: Vec<&str> = metrics.iter().chain(dimensions).map(String::as_str).collect();
        let dimensions: Vec<&str> = dimensions.iter().map(String::as_str).collect();
        let mut out = Vec::new();
        for names in [&columns, &dimensions] {
            let some: Vec<_> = names
                .iter()
                .filter(|name| filled(name))
                .map(|name| Some(*name))
                .collect();
            write_names(&some, &mut out)?;
        }
        out.extend_from_slice(&self.interval.start_ms.to_be_bytes());
        out.extend_from_slice(&self.interval.end_ms.to_be_bytes());
        let kind = serde_json::to_vec(&bitmap)?;
        out.extend_from_slice(&(kind.len() as u32).to_be_bytes());
        out.extend_from_slice(&kind);
        for names in [&columns, &dimensions] {
            let gaps: Vec<_> = names.iter().map(|name| (!filled(name)).then_some(*name)).collect();
            write_names(&gaps, &mut out)?;
        }
        Ok(out)
    }
}

fn names(cursor: &mut Cursor<'_>, container: &Container, what: &str) -> Result<Vec<Option<String>>, SegmentError> {
    let list = GenericIndexed::read(cursor, container, what)?;
    (0..list.len())
        .map(|i| {
            list.get(i)?
                .map(|bytes| {
                    String::from_utf8(bytes.to_vec())
                        .map_err(|e| list.corrupt(i, format!("a column name in UTF-8: {e}")))
                })
                .transpose()
        })
        .collect()
}

fn given(names: Vec<Option<String>>) -> Vec<String> {
    names.into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// Puts the columns without values among those with values.
fn restore(all: &[Option<String>], filled: &[Option<String>], blob: &Blob) -> Result<Vec<String>, SegmentError> {
    let mut filled = filled.iter();
    let restored = all
        .iter()
        .map(|name| match name {
            Some(name) => Ok(Some(name.clone())),
            None => filled.next().cloned().ok_or_else(|| {
                blob.corrupt(
                    0,
                    "the list of all columns has more gaps than there are columns with values",
                )
            }),
        })
        .collect::<Result<_, _>>()?;
    Ok(given(restored))
}

fn write_names(names: &[Option<&str>], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut list = GenericIndexedWriter::default();
    for name in names {
        match name {
            Some(name) => list.push(name.as_bytes()),
            None => list.push_null(),
        }
    }
    let sorted = names.is_sorted_by(|a, b| match (a, b) {
        (Some(a), Some(b)) => crate::codec::dictionary::java_order(a.as_bytes(), b.as_bytes()).is_lt(),
        (None, Some(_)) => true,
        _ => false,
    });
    list.write(sorted, out)
}
