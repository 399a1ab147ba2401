//! Checks a whole segment: that everything can be read, and that what is stored twice says the same.
//!
//! 1. Every column opens and every row of it decodes.
//! 2. Dictionaries ascend in Java's order; null comes first; ids lie within them.
//! 3. Every bitmap holds exactly the rows of its value; the bitmap of null rows agrees with the rows.
//! 4. Rows are sorted as the metadata claims.
//! 5. Every internal file belongs to a column, a projection or the segment itself.
//! 6. All of this holds for projections too, and they say what the rows of the table add up to: see `projections`.

mod projections;

use std::cmp::Ordering;
use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, UInt32Type};

use crate::{RowSelection, Segment, SegmentError};

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The projection; none if it concerns the table itself.
    pub projection: Option<String>,
    /// The column; none if it concerns all of the table or projection.
    pub column: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(projection) = &self.projection {
            write!(f, "projection [{projection}]: ")?;
        }
        match &self.column {
            Some(column) => write!(f, "column [{column}]: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// What [`verify`] looked at and found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Rows of the segment.
    pub rows: usize,
    /// Columns that were read.
    pub columns: usize,
    /// What is wrong; empty for a sound segment.
    pub findings: Vec<Finding>,
}

/// Checks an open segment. Columns of types that henge cannot read are findings; what cannot be opened at all is an error of
/// [`Segment::open`].
pub fn verify(segment: &Segment) -> Verification {
    let mut findings = Vec::new();
    check_table(segment, None, &mut findings);
    let mut columns = segment.columns().len();
    for projection in segment.projections() {
        let mut add = |column: Option<&str>, what: String| {
            findings.push(Finding {
                projection: Some(projection.name.clone()),
                column: column.map(str::to_owned),
                what,
            });
        };
        match segment.projection(&projection.name) {
            Ok(table) => {
                match projections::check(segment, projection, &table) {
                    Ok(found) => found
                        .into_iter()
                        .for_each(|(column, what)| add(column.as_deref(), what)),
                    Err(e) => add(None, format!("it cannot be compared with the rows: {e}")),
                }
                check_table(&table, Some(&projection.name), &mut findings);
                columns += table.columns().len();
            }
            Err(e) => add(None, e.to_string()),
        }
    }
    let unknown = segment.unknown_projections().map(SegmentError::to_string);
    let strangers = strangers(segment).into_iter();
    let strangers = strangers.map(|file| format!("internal file [{file}] belongs to nothing"));
    findings.extend(unknown.chain(strangers).map(|what| Finding {
        projection: None,
        column: None,
        what,
    }));
    Verification {
        rows: segment.rows(),
        columns,
        findings,
    }
}

/// Checks the columns and the order of a segment's own table, or of a projection.
fn check_table(table: &Segment, projection: Option<&str>, findings: &mut Vec<Finding>) {
    let mut add = |column: Option<&str>, what: String| {
        findings.push(Finding {
            projection: projection.map(str::to_owned),
            column: column.map(str::to_owned),
            what,
        });
    };
    for info in table.columns() {
        match check_column(table, &info.name) {
            Ok(found) => found.into_iter().for_each(|what| add(Some(&info.name), what)),
            Err(e) => add(Some(&info.name), e.to_string()),
        }
    }
    match check_order(table) {
        Ok(found) => found.into_iter().for_each(|what| add(None, what)),
        Err(e) => add(None, format!("the order of rows cannot be checked: {e}")),
    }
}

fn check_column(segment: &Segment, name: &str) -> Result<Vec<String>, SegmentError> {
    let rows = segment.read(name, RowSelection::All)?;
    segment.read_json(name, RowSelection::All)?;
    let mut found = segment.check(name)?;
    if rows.len() != segment.rows() {
        found.push(format!("{} rows, the segment has {}", rows.len(), segment.rows()));
    }
    if let Some(nulls) = segment.null_bitmap(name)? {
        let read = rows.logical_nulls();
        let differs = (0..rows.len() as u32).find(|row| {
            let is_null = read.as_ref().is_some_and(|read| read.is_null(*row as usize));
            is_null != nulls.contains(*row)
        });
        if let Some(row) = differs {
            found.push(format!(
                "row {row} is null in its value or in the bitmap of null, not in both"
            ));
        }
    }
    Ok(found)
}

/// Names the first row that is not where the metadata says.
fn check_order(segment: &Segment) -> Result<Option<String>, SegmentError> {
    let ordering = segment.metadata().and_then(|metadata| metadata.ordering.clone());
    let ordering = ordering.unwrap_or_else(|| vec![crate::OrderBy::ascending(crate::TIME_COLUMN)]);
    let mut comparators = Vec::new();
    for by in &ordering {
        if segment.column(&by.column_name).is_none() {
            // A column without values may be missing; it decides nothing.
            continue;
        }
        if segment.read_json(&by.column_name, RowSelection::Range(0..0))?.is_some() {
            // Values of several types, and objects, are not ordered as their texts are.
            break;
        }
        let column = comparable(segment.read(&by.column_name, RowSelection::All)?);
        let options = SortOptions {
            descending: by.order == "descending",
            nulls_first: by.order != "descending",
        };
        match make_comparator(&column, &column, options) {
            Ok(comparator) => comparators.push(comparator),
            // Objects have no order that could be checked.
            Err(_) => break,
        }
        if matches!(
            column.data_type(),
            DataType::List(_) | DataType::Utf8 | DataType::Struct(_) | DataType::Binary
        ) {
            // Druid compares arrays, JSON and objects otherwise than Arrow does.
            comparators.pop();
            break;
        }
    }
    let sorted = |row: usize| {
        let order = comparators.iter().map(|compare| compare(row - 1, row));
        order.into_iter().find(|order| *order != Ordering::Equal) != Some(Ordering::Greater)
    };
    let names: Vec<&str> = ordering.iter().map(|by| by.column_name.as_str()).collect();
    Ok((1..segment.rows()).find(|row| !sorted(*row)).map(|row| {
        format!(
            "row {row} must not come before the one in front of it in the order of {}",
            names.join(", ")
        )
    }))
}

/// Gives the ids of strings, which compare as Druid compares the strings.
fn comparable(array: ArrayRef) -> ArrayRef {
    match array.as_dictionary_opt::<UInt32Type>() {
        Some(dictionary) => {
            let keys: &UInt32Array = dictionary.keys();
            std::sync::Arc::new(keys.clone())
        }
        None => array,
    }
}

/// Lists the internal files that nothing refers to.
fn strangers(segment: &Segment) -> Vec<String> {
    let mut tables = vec![(segment.prefix().to_owned(), names(segment))];
    for projection in segment.projections() {
        let mut columns = projection.grouping_columns.clone();
        columns.extend(projection.aggregator_names());
        tables.push((projection.prefix(), columns));
    }
    let belongs = |file: &str| {
        matches!(file, "index.drd" | "metadata.drd")
            || tables.iter().any(|(prefix, columns)| {
                let of_table = file.strip_prefix(prefix.as_str());
                of_table.is_some_and(|file| {
                    columns.iter().any(|column| {
                        let rest = file.strip_prefix(column.as_str());
                        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '_']))
                    })
                })
            })
    };
    let files = segment.internal_files().into_iter();
    files.filter(|file| !belongs(file)).collect()
}

fn names(segment: &Segment) -> Vec<String> {
    segment.columns().iter().map(|info| info.name.clone()).collect()
}
