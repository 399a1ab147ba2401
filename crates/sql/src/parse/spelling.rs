//! Token rewrites in front of the query parser: what Calcite writes in a way that the query parser does not know.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::reserved::is_reserved;
use super::tokens::{Tokens, is_word, matching};
use crate::SqlError;

/// Reserved words that name functions: a query may be their argument without parentheses of its own.
const KEYWORD_FUNCTIONS: [&str; 46] = [
    "ABS",
    "ARRAY_AGG",
    "AVG",
    "CARDINALITY",
    "CHAR_LENGTH",
    "CHARACTER_LENGTH",
    "COALESCE",
    "COLLECT",
    "COUNT",
    "CUME_DIST",
    "DENSE_RANK",
    "ELEMENT",
    "EXP",
    "FIRST_VALUE",
    "HOUR",
    "LAG",
    "LAST_VALUE",
    "LEAD",
    "LEFT",
    "LN",
    "LOWER",
    "MAX",
    "MIN",
    "MINUTE",
    "MOD",
    "MONTH",
    "NTH_VALUE",
    "NTILE",
    "NULLIF",
    "OCTET_LENGTH",
    "PERCENT_RANK",
    "POWER",
    "RANK",
    "RIGHT",
    "ROW_NUMBER",
    "SECOND",
    "SQRT",
    "STDDEV_POP",
    "STDDEV_SAMP",
    "STRING_AGG",
    "SUM",
    "TRUNCATE",
    "UPPER",
    "VAR_POP",
    "VAR_SAMP",
    "YEAR",
];

/// Types that `CONVERT(type, x)` and `{fn CONVERT(x, SQL_type)}` may name.
const TYPES: [&str; 19] = [
    "BIGINT",
    "BINARY",
    "BOOLEAN",
    "CHAR",
    "CHARACTER",
    "DATE",
    "DEC",
    "DECIMAL",
    "DOUBLE",
    "FLOAT",
    "INT",
    "INTEGER",
    "NUMERIC",
    "REAL",
    "SMALLINT",
    "TIME",
    "TIMESTAMP",
    "TINYINT",
    "VARCHAR",
];

/// Makes all rewrites.
pub(super) fn plain(tokens: &Tokens, list: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let ingests = list
        .first()
        .is_some_and(|t| is_word(&t.token, "INSERT") || is_word(&t.token, "REPLACE"));
    [
        refuse_chains,
        refuse_defaults,
        refuse_null_treatment,
        refuse_named_stars,
    ]
    .into_iter()
    .try_for_each(|refuse| refuse(tokens, &list))
    .map_err(|error| if ingests { error.of_ingestion() } else { error })?;
    let list = whole_tables(list);
    let list = grouped_by_all(list);
    let list = query_arguments(list, ingests);
    let list = conversions(list);
    Ok(rows_of_one(list))
}

fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
    )
}

/// Refuses `'a' 'b'`: texts that continue another, which Druid reads and has no function for.
fn refuse_chains(tokens: &Tokens, list: &[TokenWithSpan]) -> Result<(), SqlError> {
    let continued = |at: usize| {
        list.get(at)
            .is_some_and(|t| matches!(t.token, Token::SingleQuotedString(_)))
    };
    let Some(first) = (0..list.len()).find(|at| is_text(&list[*at].token) && continued(at + 1)) else {
        return Ok(());
    };
    let mut last = first;
    while continued(last + 1) {
        last += 1;
    }
    // The name of a character set belongs to the text behind it.
    let introduced = first.checked_sub(1).is_some_and(|at| {
        matches!(&list[at].token, Token::Word(word) if word.quote_style.is_none() && word.value.starts_with('_'))
            && list[at].span.end == list[first].span.start
    });
    let first = first - usize::from(introduced);
    let index = |at: usize| tokens.at(list[at].span.start);
    let place = index(first).zip(index(last)).and_then(|(a, b)| tokens.range(a, b));
    Err(
        SqlError::invalid_at("No match found for function signature $LiteralChain", place)
            .hint(Some("join texts by ||".into())),
    )
}

/// Refuses `f(DEFAULT)`.
fn refuse_defaults(tokens: &Tokens, list: &[TokenWithSpan]) -> Result<(), SqlError> {
    for (i, token) in list.iter().enumerate() {
        let next = list.get(i + 1).map(|t| &t.token);
        let before = i.checked_sub(1).map(|at| &list[at].token);
        if is_word(&token.token, "DEFAULT")
            && matches!(next, Some(Token::Comma | Token::RParen))
            && matches!(before, Some(Token::Comma | Token::LParen))
        {
            let at = tokens.at(token.span.start);
            let place = at.and_then(|at| tokens.range(at, at));
            return Err(SqlError::invalid_at(
                "No match found for function signature DEFAULT",
                place,
            ));
        }
    }
    Ok(())
}

/// Refuses `SELECT * AS x`, where the star is an expression of its own.
fn refuse_named_stars(tokens: &Tokens, list: &[TokenWithSpan]) -> Result<(), SqlError> {
    for (i, token) in list.iter().enumerate() {
        let first = i.checked_sub(1).is_some_and(|at| {
            let before = &list[at].token;
            *before == Token::Comma || ["SELECT", "ALL", "DISTINCT"].iter().any(|word| is_word(before, word))
        });
        let named = match list.get(i + 1).map(|t| &t.token) {
            Some(Token::Word(word)) if word.quote_style.is_none() => {
                word.value.eq_ignore_ascii_case("AS") || !is_reserved(&word.value)
            }
            Some(Token::Word(_)) => true,
            _ => false,
        };
        if token.token == Token::Mul && first && named {
            let at = tokens.at(token.span.start);
            let place = at.and_then(|at| tokens.range(at, at));
            return Err(SqlError::invalid_at("Unknown identifier '*'", place));
        }
    }
    Ok(())
}

/// Refuses `f(x) IGNORE NULLS` and `f(x) RESPECT NULLS`.
fn refuse_null_treatment(tokens: &Tokens, list: &[TokenWithSpan]) -> Result<(), SqlError> {
    for (i, pair) in list.windows(2).enumerate() {
        let kind = ["IGNORE", "RESPECT"]
            .into_iter()
            .find(|word| is_word(&pair[0].token, word));
        let behind_call = i.checked_sub(1).is_some_and(|at| list[at].token == Token::RParen);
        if let Some(kind) = kind
            && behind_call
            && is_word(&pair[1].token, "NULLS")
        {
            let at = tokens.at(pair[0].span.start);
            return Err(SqlError::invalid_at(
                format!("No match found for function signature {kind} NULLS"),
                at.and_then(|at| tokens.range(at, at + 1)),
            ));
        }
    }
    Ok(())
}

/// Words `TABLE a.b` as `SELECT * FROM a.b`.
fn whole_tables(list: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_whole = |i: usize| {
        is_word(&list[i].token, "TABLE") && matches!(list.get(i + 1).map(|t| &t.token), Some(Token::Word(_)))
    };
    if !(0..list.len()).any(is_whole) {
        return list;
    }
    let mut out = Vec::with_capacity(list.len() + 2);
    for (i, token) in list.iter().enumerate() {
        if is_whole(i) {
            for word in [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")] {
                out.push(TokenWithSpan::new(word, token.span));
            }
        } else {
            out.push(token.clone());
        }
    }
    out
}

/// Leaves out DISTINCT and ALL behind GROUP BY: they say what happens to sets of keys that are there twice.
fn grouped_by_all(mut list: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let quantifies = |list: &[TokenWithSpan], i: usize| {
        i >= 2
            && (is_word(&list[i].token, "ALL") || is_word(&list[i].token, "DISTINCT"))
            && is_word(&list[i - 1].token, "BY")
            && is_word(&list[i - 2].token, "GROUP")
    };
    let found: Vec<usize> = (0..list.len()).filter(|i| quantifies(&list, *i)).collect();
    for i in found.into_iter().rev() {
        list.remove(i);
    }
    list
}

/// Puts parentheses around a query that is the first argument of a call: `f(SELECT …)`.
fn query_arguments(list: Vec<TokenWithSpan>, ingests: bool) -> Vec<TokenWithSpan> {
    let starts = |i: usize| {
        list[i].token == Token::LParen
            && list
                .get(i + 1)
                .is_some_and(|t| ["SELECT", "WITH", "VALUES"].iter().any(|word| is_word(&t.token, word)))
    };
    let calls = |i: usize| match i.checked_sub(1).map(|at| &list[at].token) {
        Some(Token::Word(word)) if word.quote_style.is_some() => true,
        Some(Token::Word(word)) => {
            let upper = word.value.to_ascii_uppercase();
            !is_reserved(&upper) && upper != "VALUE" || KEYWORD_FUNCTIONS.contains(&upper.as_str())
        }
        _ => false,
    };
    let mut depth = 0usize;
    let mut closing: Vec<usize> = Vec::new();
    let mut out = Vec::with_capacity(list.len());
    for (i, token) in list.iter().enumerate() {
        out.push(token.clone());
        match token.token {
            Token::LParen => {
                // INSERT INTO t (SELECT …) calls nothing.
                if starts(i)
                    && calls(i)
                    && !(ingests && depth == 0)
                    && let Some(end) = matching(&list, i)
                {
                    out.push(token.clone());
                    closing.push(end);
                }
                depth += 1;
            }
            Token::RParen => {
                depth = depth.saturating_sub(1);
                if closing.last() == Some(&i) {
                    closing.pop();
                    out.push(token.clone());
                }
            }
            _ => {}
        }
    }
    out
}

/// Words `{fn CONVERT(x, SQL_BIGINT)}` and `CONVERT(BIGINT, x)` as CAST.
fn conversions(list: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !list.iter().any(|t| is_word(&t.token, "CONVERT")) {
        return list;
    }
    let mut list = list;
    let mut i = 0;
    while i < list.len() {
        if let Some(replaced) = conversion(&list, i) {
            let (range, tokens) = replaced;
            list.splice(range, tokens);
        }
        i += 1;
    }
    list
}

/// Gives what the tokens of a conversion that starts at `i` are replaced by.
fn conversion(list: &[TokenWithSpan], i: usize) -> Option<(std::ops::RangeInclusive<usize>, Vec<TokenWithSpan>)> {
    if !is_word(&list[i].token, "CONVERT") || list.get(i + 1)?.token != Token::LParen {
        return None;
    }
    let close = matching(list, i + 1)?;
    let commas = commas(&list[i + 2..close]).map(|at| at + i + 2).collect::<Vec<_>>();
    let word = |text: &str, at: usize| TokenWithSpan::new(Token::make_keyword(text), list[at].span);
    let escaped = i >= 2 && is_word(&list[i - 1].token, "fn") && list[i - 2].token == Token::LBrace;
    let is_type = |at: usize| match &list[at].token {
        Token::Word(word) if word.quote_style.is_none() => {
            let upper = word.value.to_ascii_uppercase();
            TYPES.contains(&upper.as_str())
        }
        _ => false,
    };
    let mut out = vec![word("CAST", i), list[i + 1].clone()];
    if escaped && let [comma] = commas.as_slice() {
        let Token::Word(name) = &list[comma + 1].token else {
            return None;
        };
        let upper = name.value.to_ascii_uppercase();
        let target = upper.strip_prefix("SQL_").unwrap_or(&upper);
        if comma + 2 != close || !TYPES.contains(&target) {
            return None;
        }
        out.extend_from_slice(&list[i + 2..*comma]);
        out.push(word("AS", *comma));
        out.push(word(target, comma + 1));
        out.push(list[close].clone());
        // The braces go with it.
        return Some((i - 2..=close + 1, out))
            .filter(|_| list.get(close + 1).is_some_and(|t| t.token == Token::RBrace));
    }
    if escaped || commas.is_empty() || !is_type(i + 2) {
        return None;
    }
    let end = commas.get(1).copied().unwrap_or(close);
    out.extend_from_slice(&list[commas[0] + 1..end]);
    out.push(word("AS", commas[0]));
    out.extend_from_slice(&list[i + 2..commas[0]]);
    out.push(list[close].clone());
    Some((i..=close, out))
}

/// Lists the commas outside of brackets.
fn commas(list: &[TokenWithSpan]) -> impl Iterator<Item = usize> + '_ {
    let mut depth = 0usize;
    list.iter().enumerate().filter_map(move |(i, t)| {
        match t.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => return Some(i),
            _ => {}
        }
        None
    })
}

/// Puts parentheses around the rows of `VALUES 1, 2`.
fn rows_of_one(list: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut wraps: Vec<(usize, usize)> = Vec::new();
    for (i, token) in list.iter().enumerate() {
        if !is_word(&token.token, "VALUES") || i.checked_sub(1).is_some_and(|at| list[at].token == Token::Period) {
            continue;
        }
        let end = end_of_rows(&list, i + 1);
        let mut start = i + 1;
        let mut ends: Vec<usize> = commas(&list[start..end]).map(|at| at + start).collect();
        ends.push(end);
        for at in ends {
            let open = if list.get(start).is_some_and(|t| is_word(&t.token, "ROW")) {
                start + 1
            } else {
                start
            };
            let whole =
                list.get(open).is_some_and(|t| t.token == Token::LParen) && matching(&list, open) == Some(at - 1);
            if start < at && !whole {
                wraps.push((start, at));
            }
            start = at + 1;
        }
    }
    if wraps.is_empty() {
        return list;
    }
    let mut out = Vec::with_capacity(list.len() + wraps.len() * 2);
    for (i, token) in list.iter().enumerate() {
        for (_, end) in &wraps {
            if *end == i {
                out.push(TokenWithSpan::new(Token::RParen, list[i - 1].span));
            }
        }
        for (start, _) in &wraps {
            if *start == i {
                out.push(TokenWithSpan::new(Token::LParen, token.span));
            }
        }
        out.push(token.clone());
    }
    for (_, end) in &wraps {
        if *end == list.len() {
            out.push(TokenWithSpan::new(Token::RParen, list[end - 1].span));
        }
    }
    out
}

/// Gives where the rows of VALUES end: at the parenthesis around them, or where a clause begins.
fn end_of_rows(list: &[TokenWithSpan], start: usize) -> usize {
    const ENDS: [&str; 11] = [
        "ORDER",
        "LIMIT",
        "OFFSET",
        "FETCH",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "MINUS",
        "PARTITIONED",
        "CLUSTERED",
        "WHERE",
    ];
    let mut depth = 0usize;
    for (i, t) in list.iter().enumerate().skip(start) {
        match &t.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth == 0 => return i,
            Token::RParen | Token::RBracket => depth -= 1,
            Token::SemiColon => return i,
            token if depth == 0 && ENDS.iter().any(|word| is_word(token, word)) => return i,
            _ => {}
        }
    }
    list.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(sql: &str) -> String {
        let tokens = Tokens::read(sql).expect("tokens");
        let list = plain(&tokens, tokens.list().to_vec()).expect("a statement");
        let words: Vec<String> = list.iter().map(|t| t.token.to_string()).collect();
        words.join(" ")
    }

    #[test]
    fn what_the_query_parser_does_not_know_is_worded_otherwise() {
        for (sql, expected) in [
            ("VALUES 1, (2), ROW(3)", "VALUES ( 1 ) , ( 2 ) , ROW ( 3 )"),
            (
                "SELECT * FROM (VALUES 1 + (2), (3) + 4) t",
                "SELECT * FROM ( VALUES ( 1 + ( 2 ) ) , ( ( 3 ) + 4 ) ) t",
            ),
            ("TABLE a.b", "SELECT * FROM a . b"),
            (
                "SELECT COUNT(SELECT 1), f((SELECT 2))",
                "SELECT COUNT ( ( SELECT 1 ) ) , f ( ( SELECT 2 ) )",
            ),
            (
                "SELECT a IN (SELECT 1) FROM t GROUP BY ALL a",
                "SELECT a IN ( SELECT 1 ) FROM t GROUP BY a",
            ),
            ("SELECT {fn CONVERT(a, SQL_BIGINT)}", "SELECT CAST ( a AS BIGINT )"),
            (
                "SELECT CONVERT(VARCHAR(3), f(a, b), 1)",
                "SELECT CAST ( f ( a , b ) AS VARCHAR ( 3 ) )",
            ),
            (
                "INSERT INTO t (SELECT 1) PARTITIONED BY ALL",
                "INSERT INTO t ( SELECT 1 ) PARTITIONED BY ALL",
            ),
        ] {
            assert_eq!(rewritten(sql), expected, "{sql}");
        }
    }

    #[test]
    fn texts_are_continued_by_an_operator_only() {
        let sql = "SELECT 'a'\n 'b' 'c'";
        let tokens = Tokens::read(sql).expect("tokens");
        let error = plain(&tokens, tokens.list().to_vec()).expect_err(sql);
        assert_eq!(
            error.message,
            "No match found for function signature $LiteralChain (line [1], column [8])"
        );
        let place = error.position.expect("a place");
        assert_eq!((place.end_line, place.end_column), (2, 8));
    }
}
