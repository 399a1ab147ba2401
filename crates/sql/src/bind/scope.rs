//! Names: what columns a FROM offers, and where a name is found.

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::Ident;

use super::{Binder, Typed, nearest};
use crate::parse::{position, reserved};
use crate::{SqlError, SqlType};

/// A named subquery of WITH.
#[derive(Debug)]
pub(crate) struct Cte {
    pub name: String,
    pub plan: LogicalPlan,
    pub columns: Vec<(String, SqlType)>,
    /// Tables that it reads.
    pub relations: usize,
}

/// A column that a FROM offers.
#[derive(Debug, Clone)]
pub(crate) struct ScopeColumn {
    /// Name as the user writes it.
    pub name: String,
    /// The plan's column.
    pub column: Column,
    pub ty: SqlType,
    /// True for the columns behind one of a USING or NATURAL join: only their qualified names find them.
    pub merged: bool,
}

/// A table of a FROM.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    /// Alias, or the table's own name.
    pub alias: Option<String>,
    /// Schema, for `schema.table.column`.
    pub schema: Option<String>,
    pub columns: Vec<ScopeColumn>,
}

/// The columns in reach of an expression.
#[derive(Debug, Default)]
pub(crate) struct Scope<'p> {
    pub relations: Vec<Relation>,
    pub parent: Option<&'p Scope<'p>>,
    /// True where no table is read: the rows are written in the statement.
    pub inline: bool,
}

impl<'p> Scope<'p> {
    pub fn child_of(parent: Option<&'p Scope<'p>>) -> Self {
        Scope {
            relations: Vec::new(),
            parent,
            inline: false,
        }
    }

    /// Lists all visible columns.
    pub fn columns(&self) -> impl Iterator<Item = &ScopeColumn> {
        self.relations
            .iter()
            .flat_map(|relation| relation.columns.iter())
            .filter(|column| !column.merged)
    }

    fn matching(&self, table: Option<&[&str]>, name: &str) -> Vec<&ScopeColumn> {
        self.relations
            .iter()
            .filter(|relation| match table {
                None => true,
                Some([alias]) => relation.alias.as_deref() == Some(*alias),
                Some([schema, alias]) => {
                    relation.alias.as_deref() == Some(*alias) && relation.schema.as_deref() == Some(*schema)
                }
                Some(_) => false,
            })
            .flat_map(|relation| relation.columns.iter())
            .filter(|column| column.name == name && (table.is_some() || !column.merged))
            .collect()
    }

    /// Tells whether a table of this name is in reach of this level.
    pub fn relation(&self, parts: &[&str]) -> Option<&Relation> {
        self.relations.iter().find(|relation| match parts {
            [alias] => relation.alias.as_deref() == Some(*alias),
            [schema, alias] => relation.alias.as_deref() == Some(*alias) && relation.schema.as_deref() == Some(*schema),
            _ => false,
        })
    }
}

impl Binder<'_> {
    /// Finds a column by the parts of its name, going outwards.
    pub(super) fn column(&self, scope: &Scope, parts: &[Ident]) -> Result<Typed, SqlError> {
        let words: Vec<&str> = parts.iter().map(|ident| ident.value.as_str()).collect();
        let place = parts.first().zip(parts.last()).map(|(first, last)| {
            let (start, end) = (position(first.span), position(last.span));
            crate::Position {
                end_line: end.end_line,
                end_column: end.end_column,
                ..start
            }
        });
        let Some((name, table)) = words.split_last() else {
            return Err(SqlError::invalid("Empty column name"));
        };
        if let [ident] = parts
            && ident.quote_style.is_none()
            && reserved::is_reserved(&ident.value)
            && !reserved::NILADIC.contains(&ident.value.to_ascii_lowercase().as_str())
        {
            let index = self.tokens.at(ident.span.start).unwrap_or(0);
            return Err(self.tokens.unexpected(index, crate::parse::EXPRESSION_STARTS));
        }
        let table = (!table.is_empty()).then_some(table);
        let mut level = Some(scope);
        let mut outer = false;
        while let Some(here) = level {
            let found = here.matching(table, name);
            match found.as_slice() {
                [] => {}
                [one] => {
                    let expr = if outer {
                        Expr::OuterReferenceColumn(one.ty.field(&one.column.name, true), one.column.clone())
                    } else {
                        Expr::Column(one.column.clone())
                    };
                    return Ok(Typed::new(expr, one.ty.clone()));
                }
                _ => {
                    return Err(SqlError::invalid_at(
                        format!("Column '{}' is ambiguous", words.join(".")),
                        place,
                    ));
                }
            }
            level = here.parent;
            outer = true;
        }
        if let Some(table) = table {
            let known = std::iter::successors(Some(scope), |s| s.parent).any(|s| s.relation(table).is_some());
            if !known {
                let aliases: Vec<String> = scope.relations.iter().filter_map(|r| r.alias.clone()).collect();
                let place = parts.first().zip(parts.get(parts.len() - 2)).map(|(first, last)| {
                    let (start, end) = (position(first.span), position(last.span));
                    crate::Position {
                        end_line: end.end_line,
                        end_column: end.end_column,
                        ..start
                    }
                });
                let message = format!("Table '{}' not found", table.join("."));
                return Err(not_found(message, table[table.len() - 1], &aliases, place));
            }
            let place = parts.last().map(|last| position(last.span));
            let message = format!("Column '{name}' not found in table '{}'", table.join("."));
            return Err(not_found(message, name, &Self::names_in_reach(scope), place));
        }
        let message = format!("Column '{name}' not found in any table");
        Err(not_found(message, name, &Self::names_in_reach(scope), place))
    }

    fn names_in_reach(scope: &Scope) -> Vec<String> {
        std::iter::successors(Some(scope), |s| s.parent)
            .flat_map(|s| s.columns().map(|c| c.name.clone()).collect::<Vec<_>>())
            .collect()
    }
}

/// Makes the error for a name that nothing has. One that differs in case only is named in the text, as Calcite does; one that is near, as a hint.
pub(super) fn not_found(message: String, name: &str, names: &[String], place: Option<crate::Position>) -> SqlError {
    let same = names
        .iter()
        .find(|known| known.as_str() != name && known.to_lowercase() == name.to_lowercase());
    match same {
        Some(known) => SqlError::invalid_at(format!("{message}; did you mean '{known}'?"), place),
        None => {
            SqlError::invalid_at(message, place).hint(did_you_mean(nearest(name, names.iter().map(String::as_str))))
        }
    }
}

/// Words the nearest name as a hint.
pub(super) fn did_you_mean(name: Option<String>) -> Option<String> {
    name.map(|name| format!("did you mean [{name}]?"))
}
