//! Statement text to syntax tree: Druid's statement level around `sqlparser`'s queries.
//!
//! 0. [`grammar`]: what does not follow Druid's grammar is refused, in Calcite's words.
//! 1. [`Tokens`]: the text as tokens with places.
//! 2. [`lists`]: `SET k = v;` statements are taken off the front.
//! 3. `EXPLAIN PLAN FOR`, `INSERT INTO`, `REPLACE INTO … OVERWRITE` are read from the front, `PARTITIONED BY … CLUSTERED BY …`
//!    is cut off the end: both are words that no query holds outside of parentheses.
//! 4. Column lists behind `TABLE(f(…))` are taken out into [`Parsed::extends`], since the query parser does not know them.
//! 5. [`rewrite`]: what Calcite writes in a way of its own is worded as the query parser knows it.
//! 6. What is left is a standard query.

mod calcite;
mod dialect;
mod extend;
pub(crate) mod grammar;
mod ingest;
mod lists;
pub(crate) mod parameters;
pub mod reserved;
mod spelling;
mod tokens;

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use henge_input::ExternColumn;
use serde_json::Value;

pub(crate) use calcite::is_operator;
pub(crate) use ingest::{IngestAst, OverwriteAst, PartitionAst, Target, clustered_first};
pub(crate) use tokens::{Tokens, is_word, position};

use crate::{SqlError, limits};
use dialect::DruidDialect;

/// What Calcite says may start an expression, abridged.
pub(crate) const EXPRESSION_STARTS: &str = "\"+\", \"-\", \"NOT\", \"EXISTS\", \"UNIQUE\", \"INTERVAL\", \
<UNSIGNED_INTEGER_LITERAL>, <DECIMAL_NUMERIC_LITERAL>, \"DECIMAL\", <APPROX_NUMERIC_LITERAL>, <BINARY_STRING_LITERAL>, \
<PREFIXED_STRING_LITERAL>, <QUOTED_STRING>, <UNICODE_STRING_LITERAL>, \"TRUE\", \"FALSE\", \"UNKNOWN\", \"NULL\", \"?\", \"CAST\", \
\"CASE\", \"(\", <IDENTIFIER>";
/// What Calcite says may start a statement, abridged.
const STATEMENT_STARTS: &str = "\"INSERT\", \"UPSERT\", \"EXPLAIN\", \"SET\", \"RESET\", \"ALTER\", \"WITH\", \"SELECT\", \"VALUES\", \
\"VALUE\", \"TABLE\", \"(\"";

/// A statement as syntax.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub sets: Vec<(String, Value)>,
    pub explain: bool,
    pub body: Body,
    /// Column lists of table functions, by the place of the function's name.
    pub extends: HashMap<(u64, u64), Vec<ExternColumn>>,
}

/// What the statement is.
#[derive(Debug)]
pub(crate) enum Body {
    Query(Box<Query>),
    Ingest(Box<IngestAst>),
}

/// Reads a statement. Call it on a stack of [`stack_bytes`].
pub(crate) fn parse(tokens: &Tokens) -> Result<Parsed, SqlError> {
    let (sets, first) = lists::split_sets(tokens)?;
    // Any number of semicolons may end the last statement.
    let list = &tokens.list()[first..];
    let end = list
        .iter()
        .rposition(|t| t.token != Token::SemiColon)
        .map_or(0, |last| last + 1);
    let mut rest = &list[..end];
    let explained = lists::explained(rest);
    let explain = explained > 0;
    rest = &rest[explained..];
    let Some(start) = rest.first() else {
        return Err(tokens.unexpected(tokens.list().len(), STATEMENT_STARTS));
    };
    let (owned, extends) = extend::take_columns(tokens, rest)?;
    let owned = extend::plain_trim(extend::plain_json_object(extend::plain_hexadecimal(owned)));
    let owned = spelling::plain(tokens, owned)?;
    let word = match &start.token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    let body = match word.as_str() {
        "INSERT" | "REPLACE" | "UPSERT" => Body::Ingest(Box::new(ingest::parse(tokens, owned)?)),
        "DELETE" | "UPDATE" | "MERGE" => {
            let kind = if explain { "EXPLAIN" } else { word.as_str() };
            return Err(SqlError::invalid(format!("Unsupported SQL statement [{kind}]")));
        }
        "SELECT" | "WITH" | "VALUES" | "VALUE" | "TABLE" => Body::Query(query(tokens, owned)?),
        "" if start.token == Token::LParen => Body::Query(query(tokens, owned)?),
        "DESCRIBE" | "CALL" => {
            let kind = match word.as_str() {
                "DESCRIBE" if lists::describes_schema(rest) => "DESCRIBE_SCHEMA",
                "DESCRIBE" => "DESCRIBE_TABLE",
                "CALL" => "PROCEDURE_CALL",
                other => other,
            };
            return Err(SqlError::invalid(format!("Unsupported SQL statement [{kind}]")));
        }
        _ => return Err(tokens.unexpected(first + explained, STATEMENT_STARTS)),
    };
    Ok(Parsed {
        sets,
        explain,
        body,
        extends,
    })
}

/// Gives the stack that parsing, planning and dropping the trees of this statement may need.
pub(crate) fn stack_bytes(tokens: &Tokens) -> usize {
    let operators = tokens
        .list()
        .iter()
        .filter(|t| {
            matches!(
                t.token,
                Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::StringConcat
            ) || is_word(&t.token, "AND")
                || is_word(&t.token, "OR")
                || is_word(&t.token, "UNION")
                || is_word(&t.token, "NOT")
        })
        .count();
    limits::STACK_BYTES + operators * limits::STACK_BYTES_PER_OPERATOR
}

/// Parses tokens as one whole query.
pub(crate) fn query(tokens: &Tokens, mut list: Vec<TokenWithSpan>) -> Result<Box<Query>, SqlError> {
    if list.last().is_some_and(|t| t.token == Token::SemiColon) {
        list.pop();
    }
    with_parser(tokens, list, |parser| parser.parse_query())
}

/// Runs a parser over tokens and asks that it uses them all.
pub(crate) fn with_parser<T>(
    tokens: &Tokens,
    list: Vec<TokenWithSpan>,
    read: impl FnOnce(&mut Parser) -> Result<T, ParserError>,
) -> Result<T, SqlError> {
    let starts: Vec<_> = list.iter().map(|t| t.span.start).collect();
    let behind = list
        .last()
        .and_then(|t| tokens.at(t.span.start))
        .map_or(tokens.list().len(), |i| i + 1);
    let mut parser = Parser::new(&DruidDialect)
        .with_recursion_limit(limits::MAX_NESTING * 4)
        .with_tokens_with_locations(list);
    let result = read(&mut parser);
    let reached = parser.index();
    let index_of = |n: usize| starts.get(n).and_then(|start| tokens.at(*start)).unwrap_or(behind);
    match result {
        Ok(value) if reached >= starts.len() => Ok(value),
        Ok(_) => Err(stray_condition(tokens, index_of(reached))
            .unwrap_or_else(|| tokens.unexpected(index_of(reached), STATEMENT_ENDS))),
        Err(error) => Err(syntax(tokens, &error, index_of(reached), behind)),
    }
}

/// Makes the error for a condition of a join that can have none.
fn stray_condition(tokens: &Tokens, at: usize) -> Option<SqlError> {
    let list = tokens.list();
    if !is_word(&list.get(at)?.token, "ON") && !is_word(&list.get(at)?.token, "USING") {
        return None;
    }
    let (mut depth, mut join) = (0usize, at);
    loop {
        join = join.checked_sub(1)?;
        match &list[join].token {
            Token::RParen => depth += 1,
            Token::LParen => depth = depth.checked_sub(1)?,
            token if depth == 0 && is_word(token, "JOIN") => break,
            _ => {}
        }
    }
    let before = |n: usize, word: &str| join.checked_sub(n).is_some_and(|at| is_word(&list[at].token, word));
    if before(1, "CROSS") {
        return Some(SqlError::invalid_at(
            "Cannot specify condition (NATURAL keyword, or ON or USING clause) following CROSS JOIN",
            tokens.range(at, at),
        ));
    }
    if !(1..=3).any(|n| before(n, "NATURAL")) {
        return None;
    }
    let mut last = at;
    let mut depth = 0usize;
    while let Some(next) = list.get(last + 1) {
        match &next.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => break,
            Token::RParen => depth -= 1,
            Token::Comma | Token::SemiColon if depth == 0 => break,
            Token::Word(word)
                if depth == 0
                    && word.quote_style.is_none()
                    && [
                        "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "OFFSET", "FETCH", "JOIN", "LEFT", "RIGHT",
                        "INNER", "FULL", "CROSS", "NATURAL", "UNION", "WINDOW", "QUALIFY",
                    ]
                    .iter()
                    .any(|end| word.value.eq_ignore_ascii_case(end)) =>
            {
                break;
            }
            _ => {}
        }
        last += 1;
    }
    Some(SqlError::invalid_at(
        "Cannot specify NATURAL keyword with ON or USING clause",
        tokens.range(at + 1, last),
    ))
}

/// What Calcite says may follow a select, abridged.
const STATEMENT_ENDS: &str = "<EOF>, \"ORDER\", \"LIMIT\", \"OFFSET\", \"FETCH\", \";\", \",\", \"FROM\", \"UNION\", \"INTERSECT\", \"EXCEPT\", \"MINUS\"";

/// Maps the parser's error: its text ends with the place of the unexpected token.
fn syntax(tokens: &Tokens, error: &ParserError, reached: usize, behind: usize) -> SqlError {
    let text = match error {
        ParserError::RecursionLimitExceeded => {
            return SqlError::invalid(format!(
                "Statement is nested deeper than the limit of {} levels",
                limits::MAX_NESTING
            ));
        }
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
    };
    let expected = text
        .strip_prefix("Expected: ")
        .and_then(|rest| rest.split_once(", found: "))
        .map_or(EXPRESSION_STARTS.to_string(), |(expected, _)| match expected {
            "an expression" | "an expression:" => EXPRESSION_STARTS.to_string(),
            other => other.to_string(),
        });
    let index = match place_in(text) {
        Some(place) => tokens.at(place).unwrap_or(reached),
        None if text.contains("found: EOF") => behind,
        None => reached,
    };
    tokens.unexpected(index, &expected)
}

fn place_in(text: &str) -> Option<datafusion::sql::sqlparser::tokenizer::Location> {
    let (_, rest) = text.rsplit_once(" at Line: ")?;
    let (line, column) = rest.split_once(", Column: ")?;
    let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
    Some(datafusion::sql::sqlparser::tokenizer::Location {
        line: line.trim().parse().ok()?,
        column: digits.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> Result<Parsed, SqlError> {
        grammar::check(sql)?;
        let tokens = Tokens::read(sql)?;
        parse(&tokens)
    }

    #[test]
    fn settings_come_first() {
        let parsed = read("SET a = 1; SET b = 'x'; SET c = -2.5; SELECT 1;").expect("a statement");
        assert_eq!(parsed.sets.len(), 3);
        assert_eq!(parsed.sets[2], ("c".to_string(), Value::from(-2.5)));
        for (sql, message) in [
            ("SET a = 1;", "Statement list is missing a non-SET statement to execute"),
            (
                "SELECT 1; SELECT 2",
                "Only SET statements can appear before the final statement in a statement list, but found non-SET statement[SELECT 1]",
            ),
        ] {
            assert_eq!(read(sql).expect_err(sql).message, message);
        }
    }

    #[test]
    fn syntax_errors_have_places() {
        for (sql, token, line, column) in [
            ("SELECT * FORM \"api_base\"", "\\\"api_base\\\"", "1", "15"),
            ("SELECT \"n\", FROM \"api_base\"", ", FROM", "1", "11"),
            ("SELECT (1 + 2", "<EOF>", "1", "13"),
            ("-- nothing", "<EOF>", "1", "10"),
            ("", "<EOF>", "0", "0"),
            ("SELECT\n  \"n\",\n  FROM FROM \"api_base\"\n", ", FROM", "2", "6"),
        ] {
            let error = read(sql).expect_err(sql);
            let of = |key: &str| error.context.get(key).map(String::as_str);
            assert_eq!(
                (of("token"), of("line"), of("column")),
                (Some(token), Some(line), Some(column)),
                "{sql}"
            );
        }
    }
}
