//! Sketch functions: aggregates that build and merge them, functions that ask them, and how SQL shows them.
//!
//! A sketch travels as `Binary` in the bytes that Druid shows (an empty sketch has its own image, never no bytes). The algorithms
//! are in `henge_sketches`; here they meet Arrow columns.

pub(crate) mod aggregate;
pub(crate) mod pairs;
pub(super) mod scalar;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::DataFusionError;
use henge_sketches::SketchError;

use crate::{Category, Persona, SqlError};

/// Words a complex value as Druid's results do: base64 in quotes.
///
/// What a function has worded as JSON already, such as the quantiles of `DS_GET_QUANTILES`, stays: no sketch starts with a
/// bracket. Pairs of time and value, which may, are told by `native`, the column's type (`COMPLEX<…>`).
pub fn complex_text(native: &str, bytes: &[u8]) -> String {
    let name = native.strip_prefix("COMPLEX<").and_then(|rest| rest.strip_suffix('>'));
    if let Some(shown) = name
        .and_then(pairs::pair_type_of)
        .and_then(|kind| pairs::shown(kind, bytes))
    {
        return shown;
    }
    if bytes.starts_with(b"{") || bytes.starts_with(b"[") {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    if bytes.is_empty() && name == Some("thetaSketch") {
        // Stored without bytes, shown in its image.
        return format!("\"{EMPTY_THETA}\"");
    }
    format!("\"{}\"", STANDARD.encode(bytes))
}

/// The image of an empty theta sketch, in base64.
const EMPTY_THETA: &str = "AQMDAAAeAAA=";

/// Tells whether a complex type is one that columns may have.
pub fn is_complex_type(name: &str) -> bool {
    name == "json" || henge_sketches::ComplexType::from_name(name).is_some()
}

/// Makes Druid's error of a sketch that cannot be read or merged.
fn failed(error: SketchError) -> DataFusionError {
    match error {
        SketchError::Invalid(_) => thrown(
            "org.apache.datasketches.common.SketchesArgumentException",
            error.to_string(),
        ),
        SketchError::Corrupt { .. } | SketchError::Mismatch { .. } => {
            refused(Persona::Admin, Category::Uncategorized, error.to_string())
        }
    }
}

/// Makes the error of an exception that Druid throws while it runs.
fn thrown(class: &str, message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::runtime(class, message)))
}

fn refused(persona: Persona, category: Category, message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::general(persona, category, message)))
}
