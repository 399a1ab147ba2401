//! Which rows of a segment pass a predicate, decided as cheaply as each part of it allows.
//!
//! ```text
//!  1. __time     binary search in the sorted time column           -> row range
//!  2. text = IN  dictionary lookup, bitmaps, AND and OR over them   -> row list
//!  3. text f(x)  decided once a dictionary value, ids looked up     -> row list
//!  4. numbers    one comparison loop over a decoded column          -> row list
//!  5. arrays and fields of JSON columns: rows that may pass, by their bitmaps (see `hint`) -> row list
//!  6. the rest   DataFusion's expression over the rows still there  -> row list
//! ```
//! A predicate is true, false or null; only true passes, so a conjunction may be taken apart, and a disjunction too.

mod compile;
mod hint;
mod like;
mod select;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;

use compile::{Ranges, intersect};
pub(crate) use compile::{columns_of, is_time};
pub(crate) use select::Selection;

/// A compiled conjunction.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    tests: Vec<Test>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
}

#[derive(Debug, Clone)]
enum Test {
    /// No row passes.
    Never,
    /// The time lies in one of the inclusive ranges.
    Time(Ranges),
    /// A predicate over one column of strings.
    Text(TextTest),
    /// One of the conjunctions holds; they consist of times and texts only.
    Any(Vec<Vec<Test>>),
    /// The value (floats by their order key) lies in an inclusive range, or outside of it.
    Range {
        column: usize,
        lo: i64,
        hi: i64,
        excluded: bool,
    },
    /// Anything else.
    Rows(RowsTest),
}

#[derive(Debug, Clone)]
struct TextTest {
    column: usize,
    kind: TextKind,
    /// The predicate over a schema of this one column.
    expr: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
}

#[derive(Debug, Clone)]
enum TextKind {
    /// Equal to one of the values.
    In(Vec<String>),
    /// LIKE; with the flag, NOT LIKE.
    Like(like::LikePattern, bool),
    /// Any other expression.
    Expression,
}

#[derive(Debug, Clone)]
struct RowsTest {
    columns: Vec<usize>,
    schema: SchemaRef,
    expr: Arc<dyn PhysicalExpr>,
    /// Where bitmaps tell which rows may pass.
    hint: Option<hint::Hint>,
}

impl Filter {
    /// Gives the predicate, over the columns of the table.
    pub fn predicate(&self) -> Option<&Arc<dyn PhysicalExpr>> {
        self.predicate.as_ref()
    }

    /// Tells whether all rows pass.
    pub fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Gives the times that can pass.
    pub fn times(&self) -> Ranges {
        let mut times = vec![(i64::MIN, i64::MAX)];
        for test in &self.tests {
            match test {
                Test::Time(ranges) => times = intersect(&times, ranges),
                Test::Never => return Vec::new(),
                _ => {}
            }
        }
        times
    }

    /// Gives the values that a column of strings must have one of, where the filter says so; for pruning.
    pub fn text_values(&self) -> impl Iterator<Item = (usize, &[String])> {
        self.tests.iter().filter_map(|test| match test {
            Test::Text(TextTest {
                column,
                kind: TextKind::In(values),
                ..
            }) => Some((*column, values.as_slice())),
            _ => None,
        })
    }
}
