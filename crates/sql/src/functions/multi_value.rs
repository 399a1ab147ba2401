//! Multi-value strings: `MV_*`, conversions, and the comparisons that match any value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use datafusion::common::Result;

use super::args::{Args, boolean_result, strings, text_result};
use super::array::{
    contains, index_of, joined as concatenated, joined_words, length, lists, place, range, slice, split,
};
use super::scalar::{Param, ScalarDef, returns};

const ONE: &[Param] = &[Param::Arr];
const TWO: &[Param] = &[Param::Arr, Param::Arr];
const FILTER: &[Param] = &[Param::Values, Param::Array];
const PATTERN: &[Param] = &[Param::Values, Param::Str];

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new(
        "MV_TO_ARRAY",
        "mv_to_array",
        ONE,
        returns::text_array,
        |args| match args.array(0)?.data_type() {
            arrow::datatypes::DataType::List(item) if item.data_type().is_numeric() => words(args),
            _ => args.array(0),
        },
    ),
    ScalarDef::new("ARRAY_TO_MV", "array_to_mv", &[Param::List], returns::multi, words),
    ScalarDef::new("", "to_list", &[Param::Any], returns::multi, |args| {
        let text: ArrayRef = Arc::new(strings(&args.array(0)?)?);
        let valid = text.nulls().cloned();
        lists(
            &text,
            (0..args.rows())
                .map(|row| {
                    valid
                        .as_ref()
                        .is_none_or(|nulls| nulls.is_valid(row))
                        .then(|| vec![Some(row as u32)])
                })
                .collect(),
        )
    }),
    ScalarDef::new(
        "STRING_TO_MV",
        "string_to_mv",
        &[Param::Str, Param::Str],
        returns::multi,
        split,
    ),
    ScalarDef::new("MV_LENGTH", "mv_length", &[Param::List], returns::integer, length),
    ScalarDef::new(
        "MV_CONTAINS",
        "mv_contains",
        &[Param::Arr, Param::Items],
        returns::boolean,
        |args| never_null(contains(args, true)?),
    ),
    ScalarDef::new("MV_OVERLAP", "mv_overlap", TWO, returns::boolean, |args| {
        let found = contains(args, false)?;
        let (found, list) = (arrow::array::AsArray::as_boolean(&found), args.list(0)?);
        boolean_result(args.rows(), |row| {
            if found.is_valid(row) && found.value(row) {
                return Some(true);
            }
            let (start, end) = range(&list, row);
            let open = list.is_null(row) || (start..end).any(|i| list.values().is_null(i));
            (!open).then_some(false)
        })
    }),
    ScalarDef::new(
        "MV_TO_STRING",
        "mv_to_string",
        &[Param::Arr, Param::Str],
        returns::varchar,
        |args| {
            let list = args.list(0)?;
            let separator = args.text(1)?;
            let words = strings(list.values())?;
            text_result(args.rows(), |row| {
                if list.is_null(row) {
                    return None;
                }
                let (start, end) = range(&list, row);
                joined_words(&words, start, end, separator.get(row)?)
            })
        },
    ),
    ScalarDef::new("MV_FILTER_ONLY", "filtered", FILTER, returns::multi, |args| {
        filter(args, true)
    }),
    ScalarDef::new("MV_FILTER_NONE", "filtered_none", FILTER, returns::multi, |args| {
        filter(args, false)
    }),
    ScalarDef::new(
        "MV_OFFSET",
        "mv_offset",
        &[Param::Arr, Param::Int],
        returns::varchar,
        |args| element(args, 0),
    ),
    ScalarDef::new(
        "MV_ORDINAL",
        "mv_ordinal",
        &[Param::Arr, Param::Int],
        returns::varchar,
        |args| element(args, 1),
    ),
    ScalarDef::new(
        "MV_APPEND",
        "mv_append",
        &[Param::Arr, Param::Str],
        returns::multi,
        |args| joined(args, false),
    ),
    ScalarDef::new(
        "MV_PREPEND",
        "mv_prepend",
        &[Param::Str, Param::Arr],
        returns::multi,
        |args| joined(args, true),
    ),
    ScalarDef::new("MV_FILTER_REGEX", "filtered_regex", PATTERN, returns::multi, |args| {
        let patterns = super::regexp::Patterns::new(args, "filtered")?;
        kept(args, |row, text| {
            patterns.get(row).map_or(Ok(false), |pattern| pattern.is_match(text))
        })
    }),
    ScalarDef::new(
        "",
        "filtered_regex_whole",
        &[Param::Arr, Param::Str],
        returns::multi,
        |args| {
            let patterns = super::regexp::Patterns::new(args, "filtered")?;
            kept(args, |row, text| {
                patterns
                    .get(row)
                    .map_or(Ok(false), |pattern| pattern.is_whole_match(text))
            })
        },
    ),
    ScalarDef::new("MV_FILTER_PREFIX", "filtered_prefix", PATTERN, returns::multi, |args| {
        let prefix = args.text(1)?;
        kept(args, |row, text| {
            Ok(prefix.get(row).is_some_and(|prefix| text.starts_with(prefix)))
        })
    }),
    ScalarDef::new(
        "MV_OFFSET_OF",
        "mv_offset_of",
        &[Param::Arr, Param::Any],
        returns::integer,
        |args| index_of(args, 0),
    ),
    ScalarDef::new(
        "MV_ORDINAL_OF",
        "mv_ordinal_of",
        &[Param::Arr, Param::Any],
        returns::integer,
        |args| index_of(args, 1),
    ),
    ScalarDef::new("MV_CONCAT", "mv_concat", TWO, returns::multi, |args| {
        concatenated(args, &[0, 1])
    }),
    ScalarDef::new(
        "MV_SLICE",
        "mv_slice",
        &[Param::Arr, Param::Int, Param::Int],
        returns::multi,
        slice,
    )
    .min(2),
    // What Java prints of a list: the value of an aggregate over rows of several values.
    ScalarDef::new("", "mv_shown", ONE, returns::varchar, |args| shown(args, true)),
    // The same of an array, which one element does not stand for.
    ScalarDef::new("", "array_shown", ONE, returns::varchar, |args| shown(args, false)),
    // The one value of a row that is grouped as a whole.
    ScalarDef::new(
        "",
        "mv_single",
        &[Param::Arr, Param::Str, Param::Str],
        returns::varchar,
        |args| {
            let list = args.list(0)?;
            let (name, engine) = (args.text(1)?, args.text(2)?);
            let words = strings(list.values())?;
            super::args::try_text_result(args.rows(), |row| {
                let (start, end) = range(&list, row);
                match (list.is_valid(row), end - start) {
                    (true, 1) => Ok(words.is_valid(start).then(|| words.value(start).to_string())),
                    (true, 2..) => Err(datafusion::common::DataFusionError::External(Box::new(several_values(
                        name.get(row).unwrap_or_default(),
                        engine.get(row).unwrap_or_default(),
                    )))),
                    _ => Ok(None),
                }
            })
        },
    ),
    // A NULL or empty row becomes one NULL, so that unnesting keeps it.
    ScalarDef::new("", "mv_harmonize", ONE, returns::multi, |args| {
        let list = args.list(0)?;
        lists(
            list.values(),
            (0..args.rows())
                .map(|row| {
                    let (start, end) = range(&list, row);
                    let empty = list.is_null(row) || start == end;
                    Some(if empty {
                        vec![None]
                    } else {
                        (start..end).map(|i| Some(i as u32)).collect()
                    })
                })
                .collect(),
        )
    }),
];

fn several_values(column: &str, engine: &str) -> crate::SqlError {
    if engine == crate::EngineKind::Task.name() {
        return crate::SqlError::general(
            crate::Persona::User,
            crate::Category::RuntimeFailure,
            format!(
                "Column [{column}] is a multi-value string. Please wrap the column using MV_TO_ARRAY() to proceed further."
            ),
        );
    }
    crate::SqlError::general(
        crate::Persona::Admin,
        crate::Category::Uncategorized,
        format!(
            "Encountered multi-value dimension [{column}] that cannot be processed with 'groupByEnableMultiValueUnnesting' set to false. Consider setting 'groupByEnableMultiValueUnnesting' to true in your query context."
        ),
    )
    .raised("org.apache.druid.query.groupby.epinephelinae.UnexpectedMultiValueDimensionException")
}

/// Words lists as Java does; `bare` where a list of one is worded as its value, and an empty one is NULL.
fn shown(args: &Args, bare: bool) -> Result<ArrayRef> {
    let list = args.list(0)?;
    let words = strings(list.values())?;
    text_result(args.rows(), |row| {
        if list.is_null(row) {
            return None;
        }
        let (start, end) = range(&list, row);
        match end - start {
            0 if bare => None,
            1 if bare => words.is_valid(start).then(|| words.value(start).to_string()),
            _ => {
                let parts: Vec<&str> = (start..end)
                    .map(|i| if words.is_null(i) { "null" } else { words.value(i) })
                    .collect();
                Some(format!("[{}]", parts.join(", ")))
            }
        }
    })
}

/// Words every element.
fn words(args: &Args) -> Result<ArrayRef> {
    let list = args.list(0)?;
    let words: ArrayRef = Arc::new(super::cast::word(list.values())?);
    lists(
        &words,
        (0..args.rows())
            .map(|row| {
                list.is_valid(row).then(|| {
                    let (start, end) = range(&list, row);
                    (start..end).map(|i| Some(i as u32)).collect()
                })
            })
            .collect(),
    )
}

/// A NULL row has nothing: false.
fn never_null(array: ArrayRef) -> Result<ArrayRef> {
    use arrow::array::AsArray;
    let booleans = array.as_boolean();
    boolean_result(booleans.len(), |row| {
        Some(booleans.is_valid(row) && booleans.value(row))
    })
}

fn filter(args: &Args, keep: bool) -> Result<ArrayRef> {
    let (list, wanted) = (args.list(0)?, args.list(1)?);
    let words = strings(list.values())?;
    let set = strings(wanted.values())?;
    let source: ArrayRef = Arc::new(words.clone());
    lists(
        &source,
        (0..args.rows())
            .map(|row| {
                if list.is_null(row) {
                    return None;
                }
                let (start, end) = range(&list, row);
                let (from, to) = range(&wanted, row);
                let same = |i: usize, j: usize| match (words.is_null(i), set.is_null(j)) {
                    (true, true) => true,
                    (false, false) => words.value(i) == set.value(j),
                    _ => false,
                };
                let kept: Vec<Option<u32>> = (start..end)
                    .filter(|i| (from..to).any(|j| same(*i, j)) == keep)
                    .map(|i| Some(i as u32))
                    .collect();
                (!kept.is_empty()).then_some(kept)
            })
            .collect(),
    )
}

/// Keeps the values that a test holds for; a row without any is NULL.
fn kept(args: &Args, test: impl Fn(usize, &str) -> Result<bool>) -> Result<ArrayRef> {
    let list = args.list(0)?;
    let words = strings(list.values())?;
    let source: ArrayRef = Arc::new(words.clone());
    let mut rows = Vec::with_capacity(args.rows());
    for row in 0..args.rows() {
        let mut kept = Vec::new();
        let (start, end) = range(&list, row);
        for i in start..end {
            if list.is_valid(row) && words.is_valid(i) && test(row, words.value(i))? {
                kept.push(Some(i as u32));
            }
        }
        rows.push((!kept.is_empty()).then_some(kept));
    }
    lists(&source, rows)
}

fn element(args: &Args, base: i64) -> Result<ArrayRef> {
    let list = args.list(0)?;
    let words = strings(list.values())?;
    let index = args.long(1)?;
    text_result(args.rows(), |row| {
        let at = place(&list, row, index.get(row)?, base)?;
        words.is_valid(at).then(|| words.value(at).to_string())
    })
}

fn joined(args: &Args, front: bool) -> Result<ArrayRef> {
    let (list_at, item_at) = if front { (1, 0) } else { (0, 1) };
    let list = args.list(list_at)?;
    let words = strings(list.values())?;
    let item = args.text(item_at)?;
    let mut builder = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    for row in 0..args.rows() {
        if list.is_null(row) {
            builder.append_null();
            continue;
        }
        let (start, end) = range(&list, row);
        if front {
            builder.values().append_option(item.get(row));
        }
        for i in start..end {
            builder
                .values()
                .append_option(words.is_valid(i).then(|| words.value(i)));
        }
        if !front {
            builder.values().append_option(item.get(row));
        }
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}
