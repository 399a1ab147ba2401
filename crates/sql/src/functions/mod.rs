//! The table of functions: one file a family, one entry a function.
//!
//! A [`ScalarDef`] holds everything about a scalar function: names, parameters, result type, Druid's native name, kernel.
//! The binder casts arguments to the parameters' types; the UDF around the kernel unpacks dictionaries (evaluated once a
//! distinct value) and applies text functions to every value of multi-value strings. Aggregates and window functions are
//! DataFusion's and listed beside the binder that words them.

mod any_value;
pub(crate) mod args;
mod array;
pub(crate) mod by_time;
mod by_value;
pub(crate) mod cast;
pub(crate) mod collect;
mod failure;
mod format;
mod ip;
mod java_syntax;
mod joda;
mod json;
mod lookup;
mod misc;
mod multi_value;
mod numeric;
mod or_literal;
pub(crate) mod period;
mod read_time;
mod regexp;
mod routines;
mod scalar;
pub(crate) mod sketches;
pub(crate) mod sliding;
mod string;
pub(crate) mod time;
mod zone;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub(crate) use by_value::{argument, by_value_call};
pub(crate) use json::{check_path, value_function};
pub(crate) use lookup::lookup_call;
pub(crate) use or_literal::or_literal;
pub(crate) use scalar::{DruidScalar, Lists, Param, ScalarDef};
pub use sketches::pairs::{pair_images, pair_structs, pair_type_of};
pub use sketches::{complex_text, is_complex_type};
pub use zone::Zone;

/// Every family's entries.
const FAMILIES: [&[ScalarDef]; 13] = [
    numeric::FUNCTIONS,
    string::FUNCTIONS,
    regexp::FUNCTIONS,
    time::FUNCTIONS,
    cast::FUNCTIONS,
    array::FUNCTIONS,
    multi_value::FUNCTIONS,
    any_value::FUNCTIONS,
    json::FUNCTIONS,
    misc::FUNCTIONS,
    ip::FUNCTIONS,
    sketches::scalar::FUNCTIONS,
    sketches::pairs::FUNCTIONS,
];

struct Table {
    by_name: HashMap<&'static str, &'static ScalarDef>,
    plain: HashMap<&'static str, Arc<ScalarUDF>>,
    paired: HashMap<&'static str, Arc<ScalarUDF>>,
    crossed: HashMap<&'static str, Arc<ScalarUDF>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table {
        by_name: HashMap::new(),
        plain: HashMap::new(),
        paired: HashMap::new(),
        crossed: HashMap::new(),
    };
    for def in FAMILIES.iter().flat_map(|family| family.iter()) {
        if !def.name.is_empty() {
            table.by_name.insert(def.name, def);
        }
        for alias in def.aliases {
            table.by_name.insert(alias, def);
        }
        table.plain.insert(def.native, DruidScalar::udf(def, Lists::None));
        table.paired.insert(def.native, DruidScalar::udf(def, Lists::Paired));
        table.crossed.insert(def.native, DruidScalar::udf(def, Lists::Crossed));
    }
    table
});

/// Finds a scalar function by its upper case SQL name.
pub(crate) fn find(name: &str) -> Option<&'static ScalarDef> {
    TABLE.by_name.get(name).copied()
}

/// Gives the UDF of a native name.
pub(crate) fn udf(native: &str) -> Option<Arc<ScalarUDF>> {
    TABLE.plain.get(native).cloned()
}

/// Gives the UDF that applies a function to every value of multi-value strings.
pub(crate) fn mapped_udf(native: &str) -> Option<Arc<ScalarUDF>> {
    TABLE.paired.get(native).cloned()
}

/// Gives the UDF that applies a function to every combination of values of several multi-value strings.
pub(crate) fn crossed_udf(native: &str) -> Option<Arc<ScalarUDF>> {
    TABLE.crossed.get(native).cloned()
}

/// Lists all SQL names, for the nearest name of an error.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE
        .by_name
        .keys()
        .copied()
        .chain(crate::bind::aggregate::AGGREGATES.iter().map(|def| def.name))
        .chain(crate::bind::sketches::AGGREGATES.iter().map(|def| def.name))
        .chain(SPECIAL)
}

/// Lists all UDFs, for session states and codecs.
pub fn scalar_udfs() -> Vec<Arc<ScalarUDF>> {
    TABLE
        .plain
        .values()
        .chain(TABLE.paired.values())
        .chain(TABLE.crossed.values())
        .cloned()
        .collect()
}

/// Lists all UDAFs that are not DataFusion's, for session states and codecs.
pub fn aggregate_udfs() -> Vec<Arc<AggregateUDF>> {
    collect::udafs()
        .into_iter()
        .chain(sketches::aggregate::udafs())
        .chain(sketches::pairs::udafs())
        .chain(by_time::udafs())
        .collect()
}

/// Functions that the binder words itself.
const SPECIAL: [&str; 16] = [
    "ARRAY",
    "CAST",
    "COALESCE",
    "DECODE_BASE64_COMPLEX",
    "GREATEST",
    "IFNULL",
    "JSON_OBJECT",
    "JSON_VALUE",
    "LEAST",
    "LOOKUP",
    "NULLIF",
    "NVL",
    "PI",
    "TIMESTAMPADD",
    "TIMESTAMPDIFF",
    "UNNEST",
];

/// A row of `INFORMATION_SCHEMA.ROUTINES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routine {
    /// Upper case name.
    pub name: String,
    /// `FUNCTION`.
    pub kind: &'static str,
    /// True for aggregates.
    pub is_aggregator: bool,
    /// The SIGNATURES text, one form a line; NULL for CASE, CAST and Reinterpret.
    pub signatures: Option<&'static str>,
}

/// Gives the SIGNATURES text of a function that Druid lists.
pub(crate) fn signatures(name: &str) -> Option<&'static str> {
    let rows = routines::ROUTINES;
    let exact = rows.binary_search_by_key(&name, |(known, ..)| known).ok();
    let found = exact.or_else(|| rows.iter().position(|(known, ..)| known.eq_ignore_ascii_case(name)))?;
    rows[found].2
}

/// Lists the functions as `INFORMATION_SCHEMA.ROUTINES` does, sorted by name.
pub fn routines() -> Vec<Routine> {
    routines::ROUTINES
        .iter()
        .map(|(name, is_aggregator, signatures)| Routine {
            name: (*name).to_string(),
            kind: "FUNCTION",
            is_aggregator: *is_aggregator,
            signatures: *signatures,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_unique_and_upper_case() {
        let mut seen = std::collections::HashSet::new();
        for def in super::FAMILIES.iter().flat_map(|family| family.iter()) {
            for name in std::iter::once(&def.name).chain(def.aliases) {
                assert!(name.is_empty() || seen.insert(*name), "{name} twice");
                assert_eq!(name.to_ascii_uppercase(), *name);
            }
        }
    }

    #[test]
    fn routines_are_sorted_and_as_many_as_druids() {
        let rows = super::routines();
        assert!(rows.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(
            (rows.len(), rows.iter().filter(|row| row.is_aggregator).count()),
            (236, 50)
        );
        assert_eq!(super::signatures("PARSE_JSON"), Some("'PARSE_JSON(<STRING>)'"));
        assert_eq!(super::signatures("NOPE"), None);
    }
}
