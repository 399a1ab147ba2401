//! Clauses that the query parser reads and Druid's grammar has not: refused, since ignoring them would give wrong answers.

use datafusion::sql::sqlparser::ast::{
    Distinct, Function, LimitClause, Query, Select, SelectItem, TableFactor, WildcardAdditionalOptions,
};

use super::foreign::unhandled;
use crate::SqlError;

/// Refuses the first clause of a list that is there.
fn refuse(clauses: &[(bool, &str)]) -> Result<(), SqlError> {
    match clauses.iter().find(|(present, _)| *present) {
        Some((_, name)) => Err(SqlError::invalid(format!("{name} is not supported")).in_grammar()),
        None => Ok(()),
    }
}

/// Checks what surrounds a query.
pub(super) fn check_query(query: &Query) -> Result<(), SqlError> {
    let limit_by =
        matches!(&query.limit_clause, Some(LimitClause::LimitOffset { limit_by, .. }) if !limit_by.is_empty());
    refuse(&[
        (!query.locks.is_empty(), "FOR UPDATE"),
        (query.for_clause.is_some(), "FOR"),
        (query.settings.is_some(), "SETTINGS"),
        (query.format_clause.is_some(), "FORMAT"),
        (!query.pipe_operators.is_empty(), "[|>]"),
        (limit_by, "LIMIT BY"),
        (
            query.fetch.as_ref().is_some_and(|fetch| fetch.with_ties),
            "FETCH WITH TIES",
        ),
        (query.fetch.as_ref().is_some_and(|fetch| fetch.percent), "FETCH PERCENT"),
        (
            query.order_by.as_ref().is_some_and(|order| order.interpolate.is_some()),
            "INTERPOLATE",
        ),
    ])
}

/// Checks the clauses of a SELECT.
pub(super) fn check_select(select: &Select) -> Result<(), SqlError> {
    refuse(&[
        (matches!(select.distinct, Some(Distinct::On(_))), "DISTINCT ON"),
        (select.top.is_some(), "TOP; use LIMIT, it"),
        (select.into.is_some(), "SELECT INTO"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.cluster_by.is_empty(), "CLUSTER BY"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!select.sort_by.is_empty(), "SORT BY"),
        (select.value_table_mode.is_some(), "SELECT AS VALUE"),
        (select.exclude.is_some(), "EXCLUDE"),
    ])?;
    for item in &select.projection {
        if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item {
            check_wildcard(options)?;
        }
    }
    Ok(())
}

fn check_wildcard(options: &WildcardAdditionalOptions) -> Result<(), SqlError> {
    refuse(&[
        (options.opt_ilike.is_some(), "* ILIKE"),
        (options.opt_exclude.is_some(), "* EXCLUDE"),
        (options.opt_except.is_some(), "* EXCEPT"),
        (options.opt_replace.is_some(), "* REPLACE"),
        (options.opt_rename.is_some(), "* RENAME"),
    ])
}

/// Checks what is written behind a table or a subquery.
pub(super) fn check_factor(factor: &TableFactor) -> Result<(), SqlError> {
    match factor {
        // What Druid has no rule for.
        TableFactor::Table { sample: Some(_), .. } => Err(unhandled()),
        TableFactor::Table {
            with_hints,
            version,
            with_ordinality,
            partitions,
            index_hints,
            ..
        } => refuse(&[
            (version.is_some(), "FOR SYSTEM_TIME"),
            (*with_ordinality, "WITH ORDINALITY"),
            (!partitions.is_empty(), "PARTITION of a table"),
            (!index_hints.is_empty(), "USE INDEX"),
            (!with_hints.is_empty(), "WITH of a table"),
        ]),
        TableFactor::Derived { sample: Some(_), .. } => Err(unhandled()),
        _ => Ok(()),
    }
}

/// Checks what is written around the arguments of a call.
pub(super) fn check_call(function: &Function, upper: &str, is_aggregate: bool) -> Result<(), SqlError> {
    let joins = matches!(upper, "LISTAGG" | "STRING_AGG" | "ARRAY_AGG");
    refuse(&[(
        !function.within_group.is_empty() && is_aggregate && !joins,
        "WITHIN GROUP of this aggregate",
    )])
}
