//! What stands around the one statement of a request: `SET k = v;` before it, EXPLAIN in front of it.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use serde_json::Value;

use super::reserved;
use super::tokens::{Tokens, is_word};
use crate::SqlError;

/// Splits `SET k = v; SET … ; main` into the settings and the index of the main statement's first token.
pub(super) fn split_sets(tokens: &Tokens) -> Result<(Vec<(String, Value)>, usize), SqlError> {
    let list = tokens.list();
    let mut sets = Vec::new();
    let mut at = 0;
    while list.get(at).is_some_and(|t| begins_set(&t.token)) {
        let end = list[at..]
            .iter()
            .position(|t| t.token == Token::SemiColon)
            .map_or(list.len(), |n| at + n);
        sets.push(set_statement(tokens, at, end)?);
        at = end;
        while list.get(at).is_some_and(|t| t.token == Token::SemiColon) {
            at += 1;
        }
    }
    if at >= list.len() && !sets.is_empty() {
        return Err(SqlError::invalid("Statement list is missing a non-SET statement to execute").in_grammar());
    }
    if let Some(n) = list[at..].iter().position(|t| t.token == Token::SemiColon) {
        let semicolon = at + n;
        if list[semicolon..].iter().any(|t| t.token != Token::SemiColon) {
            return Err(SqlError::invalid(format!(
                "Only SET statements can appear before the final statement in a statement list, but found non-SET statement[{}]",
                unparsed(&list[at..semicolon])
            ))
            .in_grammar());
        }
    }
    Ok((sets, at))
}

fn begins_set(token: &Token) -> bool {
    ["SET", "RESET", "ALTER"].iter().any(|word| is_word(token, word))
}

/// Reads `[ALTER scope] SET a.b = literal`.
fn set_statement(tokens: &Tokens, at: usize, end: usize) -> Result<(String, Value), SqlError> {
    let all = &tokens.list()[at..end];
    let scope = if is_word(&all[0].token, "ALTER") { 2 } else { 0 };
    let list = all.get(scope..).unwrap_or_default();
    let mut name = String::new();
    let mut at_value = 1;
    while let Some(Token::Word(word)) = list.get(at_value).map(|t| &t.token) {
        name.push_str(&word.value);
        at_value += 1;
        if list.get(at_value).is_some_and(|t| t.token == Token::Period) {
            name.push('.');
            at_value += 1;
        } else {
            break;
        }
    }
    if name.is_empty() {
        return Err(tokens.unexpected(at + scope + 1, "<IDENTIFIER>"));
    }
    let no_literal = || {
        SqlError::invalid(format!(
            "Assigned value must be a literal for SET statement[{}]",
            unparsed_set(all, scope)
        ))
    };
    if is_word(&list[0].token, "RESET") {
        return Err(no_literal());
    }
    if list.get(at_value).map(|t| &t.token) != Some(&Token::Eq) {
        return Err(tokens.unexpected(at + scope + at_value, "\"=\""));
    }
    let mut value = &list[at_value + 1..];
    let mut negative = false;
    if let Some(Token::Minus | Token::Plus) = value.first().map(|t| &t.token) {
        negative = value[0].token == Token::Minus;
        value = &value[1..];
    }
    if let [keyword, text] = value
        && is_word(&keyword.token, "DECIMAL")
        && let Token::SingleQuotedString(digits) = &text.token
    {
        return Ok((name, number(digits, negative)));
    }
    let typed = |kind: &str| SqlError::invalid(format!("Unsupported type for SET[{kind}]"));
    let word = |text: &str| value.first().is_some_and(|t| is_word(&t.token, text));
    if word("DATE") || word("TIME") || word("TIMESTAMP") {
        return Err(typed("UNKNOWN"));
    }
    if word("INTERVAL")
        && let Some(Token::Word(unit)) = value.get(2).map(|t| &t.token)
    {
        let mut kind = format!("INTERVAL_{}", unit.value.to_ascii_uppercase());
        if let [_, _, _, to, last] = value
            && is_word(&to.token, "TO")
            && let Token::Word(last) = &last.token
        {
            kind.push('_');
            kind.push_str(&last.value.to_ascii_uppercase());
        }
        return Err(typed(&kind));
    }
    let [only] = value else { return Err(no_literal()) };
    let literal = match &only.token {
        Token::Number(text, _) => number(text, negative),
        Token::SingleQuotedString(text) | Token::UnicodeStringLiteral(text) | Token::NationalStringLiteral(text) => {
            Value::String(text.clone())
        }
        Token::HexStringLiteral(_) => return Err(typed("BINARY")),
        token if is_word(token, "TRUE") => Value::Bool(true),
        token if is_word(token, "FALSE") => Value::Bool(false),
        token if is_word(token, "NULL") || is_word(token, "UNKNOWN") => Value::Null,
        _ => return Err(no_literal()),
    };
    Ok((name, literal))
}

fn number(text: &str, negative: bool) -> Value {
    let text = if negative { format!("-{text}") } else { text.to_string() };
    text.parse::<i64>()
        .map(Value::from)
        .or_else(|_| text.parse::<f64>().map(Value::from))
        .unwrap_or(Value::String(text))
}

/// Gives how many tokens in front of a statement say that it is to be explained: `EXPLAIN PLAN … FOR`, `DESCRIBE [STATEMENT]`.
/// What they ask for beyond that changes nothing.
pub(super) fn explained(list: &[TokenWithSpan]) -> usize {
    let word = |at: usize, text: &str| list.get(at).is_some_and(|t| is_word(&t.token, text));
    if word(0, "EXPLAIN") && word(1, "PLAN") {
        let options = [
            "EXCLUDING",
            "INCLUDING",
            "ALL",
            "ATTRIBUTES",
            "WITH",
            "WITHOUT",
            "TYPE",
            "IMPLEMENTATION",
            "AS",
            "XML",
            "JSON",
            "DOT",
        ];
        let at = (2..list.len()).find(|at| !options.iter().any(|option| word(*at, option)));
        return at.filter(|at| word(*at, "FOR")).map_or(0, |at| at + 1);
    }
    if !word(0, "DESCRIBE") && !word(0, "DESC") {
        return 0;
    }
    let at = 1 + usize::from(word(1, "STATEMENT"));
    let starts = ["SELECT", "WITH", "VALUES", "VALUE", "INSERT", "REPLACE", "UPSERT"];
    let begins = starts.iter().any(|start| word(at, start)) || list.get(at).is_some_and(|t| t.token == Token::LParen);
    if begins { at } else { 0 }
}

/// Tells whether DESCRIBE is for a schema.
pub(super) fn describes_schema(list: &[TokenWithSpan]) -> bool {
    list.get(1).is_some_and(|t| {
        ["DATABASE", "CATALOG", "SCHEMA"]
            .iter()
            .any(|word| is_word(&t.token, word))
    })
}

/// Writes `[ALTER scope] SET name = value` or RESET: the scope is no name, but ON and ALL, which stand for a value or a name, are.
fn unparsed_set(all: &[TokenWithSpan], scope: usize) -> String {
    let (head, rest) = all.split_at(scope.min(all.len()));
    let mut text = String::new();
    for t in head {
        text.push_str(&t.token.to_string().to_ascii_uppercase());
        text.push(' ');
    }
    match rest {
        [before @ .., last] if is_word(&last.token, "ON") || is_word(&last.token, "ALL") => {
            text.push_str(&unparsed(before));
            text.push_str(&format!(" \"{}\"", last.token.to_string().to_ascii_uppercase()));
        }
        _ => text.push_str(&unparsed(rest)),
    }
    text
}

/// Writes tokens as Calcite writes a statement: names in quotes, keywords in capitals, clauses on lines of their own.
fn unparsed(list: &[TokenWithSpan]) -> String {
    let mut out = String::new();
    let mut depth = 0usize;
    // What stood before does not want a blank behind it.
    let mut tight = true;
    for (i, t) in list.iter().enumerate() {
        let next = list.get(i + 1).map(|t| &t.token);
        let before = i.checked_sub(1).map(|at| &list[at].token);
        let clause = depth == 0 && i > 0 && begins_clause(list, i);
        let shown = match &t.token {
            Token::Word(word) if word.quote_style.is_none() && is_keyword(&word.value) => {
                word.value.to_ascii_uppercase()
            }
            Token::Word(word) => format!("\"{}\"", word.value.replace('"', "\"\"")),
            Token::DoubleColon => ":".to_string(),
            Token::Neq => "<>".to_string(),
            other => other.to_string(),
        };
        let glued = match (&t.token, before) {
            (Token::Comma | Token::RParen | Token::RBracket | Token::Period | Token::SemiColon, _) => true,
            (Token::LBracket, _) => true,
            // A call has its parenthesis at its name.
            (Token::LParen, Some(Token::Word(word))) => {
                word.quote_style.is_some()
                    || !is_keyword(&word.value)
                    || next == Some(&Token::Mul)
                    || ![
                        "AS", "FROM", "IN", "OVER", "VALUES", "ON", "AND", "OR", "NOT", "WHERE", "EXISTS", "BY", "ALL",
                    ]
                    .contains(&word.value.to_ascii_uppercase().as_str())
            }
            (Token::SingleQuotedString(_), Some(Token::SingleQuotedString(_))) => {
                out.push('\n');
                true
            }
            _ => tight,
        };
        if clause {
            out.push('\n');
        } else if !glued {
            out.push(' ');
        }
        out.push_str(&shown);
        tight = matches!(t.token, Token::LParen | Token::LBracket | Token::Period);
        match t.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    out
}

fn is_keyword(word: &str) -> bool {
    // Functions that Calcite's parser knows by name are written as they are too.
    const FUNCTIONS: [&str; 12] = [
        "ARRAY_AGG",
        "ARRAY_CONCAT_AGG",
        "GROUP_CONCAT",
        "JSON_ARRAY",
        "JSON_EXISTS",
        "JSON_OBJECT",
        "JSON_QUERY",
        "JSON_VALUE",
        "STRING_AGG",
        "TIMESTAMPADD",
        "TIMESTAMPDIFF",
        "USER",
    ];
    reserved::is_reserved(word) || FUNCTIONS.iter().any(|name| word.eq_ignore_ascii_case(name))
}

fn begins_clause(list: &[TokenWithSpan], at: usize) -> bool {
    let word = |text: &str| is_word(&list[at].token, text);
    [
        "FROM",
        "WHERE",
        "HAVING",
        "WINDOW",
        "QUALIFY",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "OFFSET",
        "FETCH",
    ]
    .iter()
    .any(|clause| word(clause))
        || ((word("GROUP") || word("ORDER")) && list.get(at + 1).is_some_and(|t| is_word(&t.token, "BY")))
}
