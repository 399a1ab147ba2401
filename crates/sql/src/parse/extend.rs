//! Token rewrites in front of the query parser: column lists of table functions, `JSON_OBJECT(k : v)`.

use std::collections::HashMap;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use henge_input::{ExternColumn, ExternType};

use super::tokens::{Tokens, is_word, matching};
use crate::SqlError;

type Extends = HashMap<(u64, u64), Vec<ExternColumn>>;

/// Takes `[EXTEND] ( column type, … )` behind `TABLE( f(…) )` out of the tokens.
pub(super) fn take_columns(tokens: &Tokens, list: &[TokenWithSpan]) -> Result<(Vec<TokenWithSpan>, Extends), SqlError> {
    let mut out = Vec::with_capacity(list.len());
    let mut extends = Extends::new();
    let mut i = 0;
    while i < list.len() {
        let table = is_word(&list[i].token, "TABLE") && list.get(i + 1).is_some_and(|t| t.token == Token::LParen);
        let close = if table { matching(list, i + 1) } else { None };
        let Some(close) = close else {
            out.push(list[i].clone());
            i += 1;
            continue;
        };
        let keyword = list.get(close + 1).is_some_and(|t| is_word(&t.token, "EXTEND"));
        let open = close + 1 + usize::from(keyword);
        let end = match list.get(open) {
            Some(t) if t.token == Token::LParen => matching(list, open),
            _ => None,
        };
        // The function call inside may hold a TABLE of its own only in theory; its tokens are copied as they are.
        out.extend_from_slice(&list[i..=close]);
        match end {
            Some(end) => {
                let columns = columns(tokens, &list[open + 1..end])?;
                let name = list[i + 2].span.start;
                extends.insert((name.line, name.column), columns);
                i = end + 1;
            }
            None if keyword => {
                let at = list
                    .get(open)
                    .and_then(|t| tokens.at(t.span.start))
                    .unwrap_or(tokens.list().len());
                return Err(tokens.unexpected(at, "\"(\""));
            }
            None => i = close + 1,
        }
    }
    Ok((out, extends))
}

fn columns(tokens: &Tokens, list: &[TokenWithSpan]) -> Result<Vec<ExternColumn>, SqlError> {
    let mut columns: Vec<ExternColumn> = Vec::new();
    let mut depth = 0usize;
    let mut start = 0;
    for i in 0..=list.len() {
        match list.get(i).map(|t| &t.token) {
            Some(Token::LParen | Token::Lt) => depth += 1,
            Some(Token::RParen | Token::Gt) => depth = depth.saturating_sub(1),
            Some(Token::Comma) | None if depth == 0 || i == list.len() => {
                let part = &list[start..i];
                let at = part
                    .first()
                    .or(list.last())
                    .and_then(|t| tokens.at(t.span.start))
                    .unwrap_or(tokens.list().len());
                let column = column(part).ok_or_else(|| match part.first() {
                    Some(name) => unsupported(name, &part[1..]),
                    None => tokens.unexpected(at, "<IDENTIFIER>"),
                })?;
                if columns.iter().any(|c| c.name == column.name) {
                    return Err(SqlError::invalid_at(
                        format!("Duplicate column [{}] in EXTEND", column.name),
                        tokens.range(at, at),
                    ));
                }
                columns.push(column);
                start = i + 1;
            }
            _ => {}
        }
    }
    Ok(columns)
}

/// Says that external data has no such type, as Druid does, and where.
fn unsupported(name: &TokenWithSpan, ty: &[TokenWithSpan]) -> SqlError {
    let name_text = match &name.token {
        Token::Word(word) => word.value.clone(),
        other => other.to_string(),
    };
    let place = name.span.start;
    SqlError::general(
        crate::Persona::User,
        crate::Category::Uncategorized,
        format!(
            "Uncategorized calcite error message: [org.apache.druid.java.util.common.IAE: Column [{name_text}] has an unsupported type: [{}]]",
            type_name(ty)
        ),
    )
    .hint(Some(format!(
        "the column of line {}, column {} can be a VARCHAR, BIGINT, DOUBLE, FLOAT, an ARRAY of one of these, or TYPE('COMPLEX<json>')",
        place.line, place.column
    )))
}

/// Words a type as Calcite does: types of SQL in capitals, others as quoted names; what it is an array of.
fn type_name(list: &[TokenWithSpan]) -> String {
    const OF_SQL: [&str; 8] = [
        "ANY",
        "BINARY",
        "BOOLEAN",
        "DATE",
        "TIME",
        "TIMESTAMP",
        "VARBINARY",
        "INTERVAL",
    ];
    let text = |token: &Token| match token {
        Token::Word(word)
            if word.quote_style.is_none() && OF_SQL.contains(&word.value.to_ascii_uppercase().as_str()) =>
        {
            word.value.to_ascii_uppercase()
        }
        Token::Word(word) => format!("`{}`", word.value),
        Token::SingleQuotedString(text) => format!("`{text}`"),
        other => other.to_string(),
    };
    let is = |token: &Token, name: &str| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(name));
    let tokens: Vec<&Token> = list.iter().map(|t| &t.token).collect();
    match tokens.as_slice() {
        [of, Token::LParen, name, Token::RParen] if is(of, "TYPE") => text(name),
        tokens => {
            let element = tokens.iter().take_while(|token| !is(token, "ARRAY"));
            element.map(|token| text(token)).collect()
        }
    }
}

fn column(part: &[TokenWithSpan]) -> Option<ExternColumn> {
    let (name, rest) = part.split_first()?;
    let Token::Word(name) = &name.token else {
        return None;
    };
    Some(ExternColumn::new(name.value.clone(), extern_type(rest)?))
}

/// Reads `VARCHAR(20)`, `BIGINT ARRAY`, `TYPE('COMPLEX<json>')`.
fn extern_type(list: &[TokenWithSpan]) -> Option<ExternType> {
    let (first, mut rest) = list.split_first()?;
    let Token::Word(word) = &first.token else {
        return None;
    };
    if word.value.eq_ignore_ascii_case("TYPE") {
        return match rest {
            [open, text, close] if open.token == Token::LParen && close.token == Token::RParen => match &text.token {
                Token::SingleQuotedString(native) => ExternType::parse(native),
                _ => None,
            },
            _ => None,
        };
    }
    let scalar = match word.value.to_ascii_uppercase().as_str() {
        "VARCHAR" | "CHAR" | "CHARACTER" | "STRING" => ExternType::String,
        "BIGINT" | "INTEGER" | "INT" | "SMALLINT" | "TINYINT" | "LONG" => ExternType::Long,
        "DOUBLE" | "REAL" | "DECIMAL" | "NUMERIC" | "DEC" => ExternType::Double,
        "FLOAT" => ExternType::Float,
        _ => return None,
    };
    while let Some((next, behind)) = rest.split_first() {
        match &next.token {
            Token::LParen => {
                let close = matching(rest, 0)?;
                rest = &rest[close + 1..];
            }
            Token::Word(w) if w.value.eq_ignore_ascii_case("PRECISION") || w.value.eq_ignore_ascii_case("VARYING") => {
                rest = behind;
            }
            Token::Word(w) if w.value.eq_ignore_ascii_case("ARRAY") && behind.is_empty() => {
                return Some(ExternType::Array(Box::new(scalar)));
            }
            _ => return None,
        }
    }
    Some(scalar)
}

/// Words `0x1F` as Calcite reads it: the number 0 with the alias `x1F`. (`X'1F'` is one character longer than its digits
/// and two.)
pub(super) fn plain_hexadecimal(list: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let split = |token: &TokenWithSpan| match &token.token {
        Token::HexStringLiteral(digits) => {
            let width = token.span.end.column.saturating_sub(token.span.start.column);
            (width == digits.chars().count() as u64 + 2).then(|| digits.clone())
        }
        _ => None,
    };
    if !list.iter().any(|token| split(token).is_some()) {
        return list;
    }
    let mut out = Vec::with_capacity(list.len() + 1);
    for token in list {
        let Some(digits) = split(&token) else {
            out.push(token);
            continue;
        };
        let mut zero = token.span;
        zero.end.column = zero.start.column + 1;
        let mut name = token.span;
        name.start.column += 1;
        out.push(TokenWithSpan::new(Token::Number("0".into(), false), zero));
        out.push(TokenWithSpan::new(Token::make_word(&format!("x{digits}"), None), name));
    }
    out
}

/// Words `TRIM(BOTH FROM x)` as `TRIM(BOTH x)`, and `TRIM(c FROM x)` as `TRIM(BOTH c FROM x)`.
pub(super) fn plain_trim(list: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !list.iter().any(|t| is_word(&t.token, "TRIM")) {
        return list;
    }
    let side = |token: &Token| ["BOTH", "LEADING", "TRAILING"].iter().any(|word| is_word(token, word));
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(list.len() + 1);
    for (i, token) in list.iter().enumerate() {
        let before = |n: usize| i.checked_sub(n).and_then(|at| list.get(at)).map(|t| &t.token);
        let opened =
            |n: usize| before(n) == Some(&Token::LParen) && before(n + 1).is_some_and(|token| is_word(token, "TRIM"));
        if is_word(&token.token, "FROM") && before(1).is_some_and(side) && opened(2) {
            continue;
        }
        let of_characters = list.get(i + 1).is_some_and(|next| is_word(&next.token, "FROM"));
        if opened(1) && of_characters && !side(&token.token) {
            out.push(TokenWithSpan::new(Token::make_keyword("BOTH"), token.span));
        }
        out.push(token.clone());
    }
    out
}

/// Words `JSON_OBJECT(k : v)` and `JSON_OBJECT(KEY k VALUE v)` as `JSON_OBJECT(k, v)`.
pub(super) fn plain_json_object(mut list: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !list.iter().any(|t| is_word(&t.token, "JSON_OBJECT")) {
        return list;
    }
    let mut open: Vec<bool> = Vec::new();
    let mut drop = Vec::new();
    for i in 0..list.len() {
        let inside = open.last() == Some(&true);
        match &list[i].token {
            Token::LParen => open.push(i > 0 && is_word(&list[i - 1].token, "JSON_OBJECT")),
            Token::RParen => {
                open.pop();
            }
            Token::Colon if inside => list[i].token = Token::Comma,
            token if inside && is_word(token, "VALUE") => list[i].token = Token::Comma,
            token if inside && is_word(token, "KEY") => drop.push(i),
            _ => {}
        }
    }
    for i in drop.into_iter().rev() {
        list.remove(i);
    }
    list
}
