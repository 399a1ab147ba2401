//! INSERT and REPLACE: target, OVERWRITE, the query, PARTITIONED BY, CLUSTERED BY.

use datafusion::sql::sqlparser::ast::{Expr, OrderByExpr, Query};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{Tokens, is_word, matching};
use super::{query, with_parser};
use crate::SqlError;

/// An INSERT or REPLACE as syntax.
#[derive(Debug)]
pub(crate) struct IngestAst {
    pub replace: bool,
    pub target: Target,
    pub overwrite: Option<OverwriteAst>,
    pub query: Box<Query>,
    pub partitioned_by: Option<PartitionAst>,
    pub clustered_by: Vec<OrderByExpr>,
}

/// Where the rows go.
#[derive(Debug)]
pub(crate) enum Target {
    /// A table, as the parts of its name.
    Table(Vec<String>),
    /// `EXTERN( destination( name => 'value', … ) ) AS format`.
    Extern {
        destination: String,
        arguments: Vec<(String, String)>,
        format: Option<String>,
    },
}

/// The OVERWRITE clause.
#[derive(Debug)]
pub(crate) enum OverwriteAst {
    All,
    Where(Box<Expr>),
}

/// The PARTITIONED BY clause, not yet judged.
#[derive(Debug)]
pub(crate) enum PartitionAst {
    /// `ALL`, `ALL TIME`.
    All,
    /// A bare word.
    Word(String),
    /// A text literal.
    Text(String),
    /// `FLOOR(…)`, `TIME_FLOOR(…)`.
    Expr(Box<Expr>),
}

/// Reads the statement; the caller has seen INSERT, REPLACE or UPSERT.
pub(super) fn parse(tokens: &Tokens, mut list: Vec<TokenWithSpan>) -> Result<IngestAst, SqlError> {
    let index_of = |list: &[TokenWithSpan], i: usize| {
        list.get(i)
            .and_then(|t| tokens.at(t.span.start))
            .unwrap_or(tokens.list().len())
    };
    if list.last().is_some_and(|t| t.token == Token::SemiColon) {
        list.pop();
    }
    if is_word(&list[0].token, "UPSERT") {
        return Err(SqlError::invalid("UPSERT is not supported.").of_ingestion());
    }
    let replace = is_word(&list[0].token, "REPLACE");
    let operation = if replace { "REPLACE" } else { "INSERT" };
    if !list.get(1).is_some_and(|t| is_word(&t.token, "INTO")) {
        return Err(tokens.unexpected(index_of(&list, 1), "\"INTO\""));
    }
    let tail = tail_start(&list);
    let tail_tokens = list.split_off(tail);
    let (target, mut at) = target(tokens, &list, index_of)?;
    if let (Target::Table(parts), Some(t)) = (&target, list.get(at))
        && t.token == Token::LParen
        && !list.get(at + 1).is_some_and(|t| {
            ["SELECT", "WITH", "VALUES"].iter().any(|w| is_word(&t.token, w)) || t.token == Token::LParen
        })
        && let Some(close) = matching(&list, at)
    {
        let columns: Vec<String> = list[at + 1..close]
            .iter()
            .filter_map(|t| match &t.token {
                Token::Word(word) => Some(format!("`{}`", word.value)),
                _ => None,
            })
            .collect();
        return Err(SqlError::invalid(format!(
            "Operation [{operation}] cannot be run with a target column list, given [{} ({})]",
            parts.join("."),
            columns.join(", ")
        ))
        .of_ingestion());
    }
    if matches!(target, Target::Table(_)) && list.get(at).is_some_and(|t| is_word(&t.token, "AS")) {
        return Err(SqlError::invalid(
            "The AS <format> clause should only be specified while exporting rows into an EXTERN destination.",
        )
        .of_ingestion());
    }
    let mut overwrite = None;
    if replace {
        if matches!(target, Target::Extern { .. }) {
            return Err(SqlError::invalid(
                "REPLACE operations do no support EXTERN destinations. Use INSERT statements to write to an external destination.",
            ));
        }
        let missing = "Missing time chunk information in OVERWRITE clause for REPLACE. Use OVERWRITE WHERE <__time based condition> or OVERWRITE ALL to overwrite the entire table.";
        if !list.get(at).is_some_and(|t| is_word(&t.token, "OVERWRITE")) {
            return Err(SqlError::invalid(missing).of_ingestion());
        }
        at += 1;
        if list.get(at).is_some_and(|t| is_word(&t.token, "ALL")) {
            overwrite = Some(OverwriteAst::All);
            at += 1;
        } else if list.get(at).is_some_and(|t| is_word(&t.token, "WHERE")) {
            at += 1;
            let start = query_start(&list, at);
            let condition = with_parser(tokens, list[at..start].to_vec(), |p| p.parse_expr())?;
            overwrite = Some(OverwriteAst::Where(Box::new(condition)));
            at = start;
        } else {
            return Err(SqlError::invalid(missing).of_ingestion());
        }
    }
    match list.get(at) {
        Some(t)
            if t.token == Token::LParen
                || ["SELECT", "WITH", "VALUES", "TABLE"]
                    .iter()
                    .any(|w| is_word(&t.token, w)) => {}
        Some(_) => return Err(SqlError::invalid("Non-query expression encountered in illegal context").in_grammar()),
        None => return Err(tokens.unexpected(index_of(&list, at), "\"WITH\", \"SELECT\", \"VALUES\", \"(\"")),
    }
    let query = query(tokens, list.split_off(at))?;
    let (partitioned_by, clustered_by) = tail_clauses(tokens, &tail_tokens, index_of)?;
    Ok(IngestAst {
        replace,
        target,
        overwrite,
        query,
        partitioned_by,
        clustered_by,
    })
}

/// Finds `PARTITIONED BY` or `CLUSTERED BY` outside of parentheses.
fn tail_start(list: &[TokenWithSpan]) -> usize {
    let mut depth = 0usize;
    for (i, t) in list.iter().enumerate() {
        match &t.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            token
                if depth == 0
                    && (is_word(token, "PARTITIONED") || is_word(token, "CLUSTERED"))
                    && list.get(i + 1).is_some_and(|t| is_word(&t.token, "BY")) =>
            {
                return i;
            }
            _ => {}
        }
    }
    list.len()
}

/// Finds where the query starts behind OVERWRITE WHERE.
fn query_start(list: &[TokenWithSpan], from: usize) -> usize {
    let mut depth = 0usize;
    for (i, t) in list.iter().enumerate().skip(from) {
        match &t.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            token if depth == 0 && ["SELECT", "WITH", "VALUES"].iter().any(|w| is_word(token, w)) => return i,
            _ => {}
        }
    }
    list.len()
}

fn target(
    tokens: &Tokens,
    list: &[TokenWithSpan],
    index_of: impl Fn(&[TokenWithSpan], usize) -> usize,
) -> Result<(Target, usize), SqlError> {
    let mut at = 2;
    if list.get(at).is_some_and(|t| is_word(&t.token, "EXTERN"))
        && list.get(at + 1).is_some_and(|t| t.token == Token::LParen)
        && let Some(close) = matching(list, at + 1)
    {
        return export_target(tokens, list, at, close, index_of);
    }
    let mut parts = Vec::new();
    loop {
        match list.get(at).map(|t| &t.token) {
            Some(Token::Word(word)) if word.quote_style.is_some() || !super::reserved::is_reserved(&word.value) => {
                parts.push(word.value.clone());
            }
            _ => return Err(tokens.unexpected(index_of(list, at), "<IDENTIFIER>, <QUOTED_IDENTIFIER>, \"EXTERN\"")),
        }
        at += 1;
        if list.get(at).is_some_and(|t| t.token == Token::Period) {
            at += 1;
        } else {
            return Ok((Target::Table(parts), at));
        }
    }
}

fn export_target(
    tokens: &Tokens,
    list: &[TokenWithSpan],
    at: usize,
    close: usize,
    index_of: impl Fn(&[TokenWithSpan], usize) -> usize,
) -> Result<(Target, usize), SqlError> {
    let inner = &list[at + 2..close];
    let destination = match inner.first().map(|t| &t.token) {
        Some(Token::Word(word)) => word.value.clone(),
        _ => return Err(tokens.unexpected(index_of(list, at + 2), "<IDENTIFIER>")),
    };
    let mut arguments = Vec::new();
    let mut i = 2;
    while i < inner.len().saturating_sub(1) {
        match (
            inner.get(i).map(|t| &t.token),
            inner.get(i + 1).map(|t| &t.token),
            inner.get(i + 2).map(|t| &t.token),
        ) {
            (Some(Token::Word(name)), Some(Token::RArrow), Some(Token::SingleQuotedString(value))) => {
                arguments.push((name.value.clone(), value.clone()));
            }
            _ => return Err(tokens.unexpected(index_of(inner, i), "<IDENTIFIER> \"=>\" <QUOTED_STRING>")),
        }
        i += 3;
        if inner.get(i).is_some_and(|t| t.token == Token::Comma) {
            i += 1;
        }
    }
    let mut next = close + 1;
    let mut format = None;
    if list.get(next).is_some_and(|t| is_word(&t.token, "AS")) {
        match list.get(next + 1).map(|t| &t.token) {
            Some(Token::Word(word)) => format = Some(word.value.to_ascii_uppercase()),
            _ => return Err(tokens.unexpected(index_of(list, next + 1), "<IDENTIFIER>")),
        }
        next += 2;
    }
    Ok((
        Target::Extern {
            destination,
            arguments,
            format,
        },
        next,
    ))
}

fn tail_clauses(
    tokens: &Tokens,
    tail: &[TokenWithSpan],
    index_of: impl Fn(&[TokenWithSpan], usize) -> usize,
) -> Result<(Option<PartitionAst>, Vec<OrderByExpr>), SqlError> {
    if tail.is_empty() {
        return Ok((None, Vec::new()));
    }
    let mut depth = 0usize;
    let mut split = tail.len();
    for (i, t) in tail.iter().enumerate() {
        match &t.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            token
                if depth == 0
                    && is_word(token, "CLUSTERED")
                    && tail.get(i + 1).is_some_and(|t| is_word(&t.token, "BY")) =>
            {
                split = i;
                break;
            }
            _ => {}
        }
    }
    if split == 0 && tail.iter().any(|t| is_word(&t.token, "PARTITIONED")) {
        return Err(clustered_first());
    }
    let partitioned = match split {
        // The catalog may say how the table is cut.
        0 => None,
        split => Some(partition(tokens, &tail[2..split], index_of)?),
    };
    let clustered = match tail.get(split + 2..) {
        Some(keys) if !keys.is_empty() => with_parser(tokens, keys.to_vec(), |p| {
            p.parse_comma_separated(Parser::parse_order_by_expr)
        })?,
        Some(_) => return Err(tokens.unexpected(tokens.list().len(), super::EXPRESSION_STARTS)),
        None => Vec::new(),
    };
    Ok((partitioned, clustered))
}

/// Refuses CLUSTERED BY without PARTITIONED BY in front.
pub fn clustered_first() -> SqlError {
    SqlError::invalid(
        "CLUSTERED BY found before PARTITIONED BY, CLUSTERED BY must come after the PARTITIONED BY clause",
    )
}

fn partition(
    tokens: &Tokens,
    list: &[TokenWithSpan],
    index_of: impl Fn(&[TokenWithSpan], usize) -> usize,
) -> Result<PartitionAst, SqlError> {
    Ok(match list {
        [] => {
            return Err(tokens.unexpected(
                tokens.list().len(),
                "\"ALL\", \"HOUR\", \"DAY\", \"MONTH\", \"YEAR\", <QUOTED_STRING>, \"FLOOR\", \"TIME_FLOOR\"",
            ));
        }
        [all] if is_word(&all.token, "ALL") => PartitionAst::All,
        [all, time] if is_word(&all.token, "ALL") && is_word(&time.token, "TIME") => PartitionAst::All,
        [one] => match &one.token {
            Token::Word(word) if ["MINUTE", "SECOND"].iter().any(|w| word.value.eq_ignore_ascii_case(w)) => {
                return Err(tokens.unexpected(index_of(list, 0), "\"ALL\", \"HOUR\", \"DAY\", \"MONTH\", \"YEAR\""));
            }
            Token::Word(word) => PartitionAst::Word(word.value.clone()),
            Token::SingleQuotedString(text) => PartitionAst::Text(text.clone()),
            _ => PartitionAst::Expr(Box::new(with_parser(tokens, list.to_vec(), |p| p.parse_expr())?)),
        },
        _ => PartitionAst::Expr(Box::new(with_parser(tokens, list.to_vec(), |p| p.parse_expr())?)),
    })
}
