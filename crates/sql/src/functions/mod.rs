//! The table of functions: one file a family, one entry a function.
//!
//! A [`ScalarDef`] holds everything about a scalar function: names, parameters, result type, Druid's native name, kernel.
//! The binder casts arguments to the parameters' types; the UDF around the kernel unpacks dictionaries (evaluated once a
//! distinct value) and applies text functions to every value of multi-value strings. Aggregates and window functions are
//! DataFusion's and listed beside the binder that words them.

pub(crate) mod args;
mod array;
mod cast;
mod joda;
mod json;
mod misc;
mod multi_value;
mod numeric;
mod regexp;
mod scalar;
pub(crate) mod sketches;
mod string;
pub(crate) mod time;
mod zone;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub use cast::{java_double, java_float};
pub(crate) use scalar::{DruidScalar, Param, ScalarDef};
pub use sketches::complex_text;
pub use zone::Zone;

/// Every family's entries.
const FAMILIES: [&[ScalarDef]; 10] = [
    numeric::FUNCTIONS,
    string::FUNCTIONS,
    regexp::FUNCTIONS,
    time::FUNCTIONS,
    cast::FUNCTIONS,
    array::FUNCTIONS,
    multi_value::FUNCTIONS,
    json::FUNCTIONS,
    misc::FUNCTIONS,
    sketches::scalar::FUNCTIONS,
];

struct Table {
    by_name: HashMap<&'static str, &'static ScalarDef>,
    plain: HashMap<&'static str, Arc<ScalarUDF>>,
    mapped: HashMap<&'static str, Arc<ScalarUDF>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table {
        by_name: HashMap::new(),
        plain: HashMap::new(),
        mapped: HashMap::new(),
    };
    for def in FAMILIES.iter().flat_map(|family| family.iter()) {
        if !def.name.is_empty() {
            table.by_name.insert(def.name, def);
        }
        for alias in def.aliases {
            table.by_name.insert(alias, def);
        }
        table.plain.insert(def.native, DruidScalar::udf(def, false));
        table.mapped.insert(def.native, DruidScalar::udf(def, true));
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
    TABLE.mapped.get(native).cloned()
}

/// Lists all SQL names, for the nearest name of an error.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE
        .by_name
        .keys()
        .copied()
        .chain(crate::bind::aggregate::AGGREGATES.iter().map(|def| def.name))
        .chain(crate::bind::sketches::AGGREGATES.iter().map(|def| def.name))
        .chain(SPECIAL.iter().map(|(name, _)| *name))
}

/// Lists all UDFs, for session states and codecs.
pub fn scalar_udfs() -> Vec<Arc<ScalarUDF>> {
    TABLE.plain.values().chain(TABLE.mapped.values()).cloned().collect()
}

/// Lists our own aggregates, for session states and codecs.
pub fn aggregate_udfs() -> Vec<Arc<AggregateUDF>> {
    sketches::aggregate::udafs().collect()
}

/// Functions that the binder words itself.
const SPECIAL: [(&str, &str); 9] = [
    ("COALESCE", "'COALESCE(<ANY>, ...)'"),
    ("NVL", "'NVL(<ANY>, <ANY>)'"),
    ("NULLIF", "'NULLIF(<ANY>, <ANY>)'"),
    ("GREATEST", "'GREATEST(<ANY>, ...)'"),
    ("LEAST", "'LEAST(<ANY>, ...)'"),
    ("TIMESTAMPADD", "'TIMESTAMPADD(<INTERVAL>, <INTEGER>, <TIMESTAMP>)'"),
    ("TIMESTAMPDIFF", "'TIMESTAMPDIFF(<INTERVAL>, <TIMESTAMP>, <TIMESTAMP>)'"),
    ("ARRAY", "'ARRAY(<ANY>, ...)'"),
    ("PI", "'PI'"),
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
    /// The SIGNATURES text, one form a line.
    pub signatures: String,
}

/// Lists the functions as `INFORMATION_SCHEMA.ROUTINES` does, sorted by name.
pub fn routines() -> Vec<Routine> {
    let row = |name: &str, is_aggregator, signatures: String| Routine {
        name: name.to_string(),
        kind: "FUNCTION",
        is_aggregator,
        signatures,
    };
    let mut rows: Vec<Routine> = TABLE
        .by_name
        .iter()
        .map(|(name, def)| row(name, false, def.form().replacen(def.name, name, 1)))
        .chain(SPECIAL.iter().map(|(name, form)| row(name, false, (*form).to_string())))
        .chain(
            crate::bind::aggregate::AGGREGATES
                .iter()
                .chain(&crate::bind::sketches::AGGREGATES)
                .map(|def| row(def.name, true, def.signatures.to_string())),
        )
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
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
        assert!(super::routines().len() > 100);
    }
}
