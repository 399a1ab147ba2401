//! Words a refusal as Calcite and Druid do.

use super::lexer::Text;
use super::nodes::Grammar;
use super::{Kind, Refusal};
use crate::SqlError;
use crate::error::Position;
use crate::parse::reserved::needs_quotes;

/// Makes the error.
pub(super) fn error(grammar: &Grammar, text: &Text, refusal: Refusal) -> SqlError {
    match refusal {
        Refusal::Unexpected { at, expected } => unexpected(grammar, text, at, without_words(grammar, expected)),
        Refusal::NoToken { at } => no_token(text, at),
        Refusal::NoAlias { at } => SqlError::invalid("Expecting alias, found character literal")
            .in_grammar()
            .hint(Some(format!(
                "write the alias as \"{}\"",
                text.image(at).trim_matches('\'')
            ))),
        Refusal::Illegal { message, .. } => SqlError::invalid(message).in_grammar(),
        Refusal::NotQuery { at } => {
            let (line, column) = place(text, at);
            SqlError::invalid("Non-query expression encountered in illegal context")
                .in_grammar()
                .hint(Some(format!(
                    "a statement begins with SELECT, WITH, INSERT, REPLACE, EXPLAIN PLAN FOR or SET; found [{}] at line {line}, column {column}",
                    text.image(at)
                )))
        }
    }
}

/// Leaves out the words that are names as well, wherever a name is expected.
fn without_words(grammar: &Grammar, expected: Vec<Vec<Kind>>) -> Vec<Vec<Kind>> {
    let name = grammar.kinds["<IDENTIFIER>"];
    let prefixes: Vec<Vec<Kind>> = expected
        .iter()
        .filter_map(|sequence| sequence.strip_suffix(&[name]))
        .map(<[Kind]>::to_vec)
        .collect();
    expected
        .into_iter()
        .filter(|sequence| {
            let Some((last, before)) = sequence.split_last() else {
                return true;
            };
            !(grammar.words.has(*last) && prefixes.iter().any(|prefix| prefix == before))
        })
        .collect()
}

fn unexpected(grammar: &Grammar, text: &Text, at: usize, expected: Vec<Vec<Kind>>) -> SqlError {
    let (line, column) = place(text, at);
    let image = |kind: &Kind| grammar.images[usize::from(*kind)].as_str();
    let shown: Vec<String> = expected
        .iter()
        .map(|sequence| sequence.iter().map(image).collect::<Vec<_>>().join(" "))
        .collect();
    let name = grammar.kinds["<IDENTIFIER>"];
    // Only as it is written among the keywords, in capitals.
    let keyword = text
        .lexemes
        .get(at)
        .and_then(|lexeme| lexeme.kind)
        .and_then(|kind| grammar.word(kind));
    if keyword == Some(text.image(at)) && expected.iter().any(|sequence| sequence.contains(&name)) {
        let mut message = format!(
            "Incorrect syntax near the keyword '{}' at line {line}, column {column}.\nWas expecting{}:\n    ",
            text.image(at),
            if expected.len() == 1 { "" } else { " one of" },
        );
        for (sequence, words) in expected.iter().zip(&shown) {
            let more = if sequence.last() == Some(&super::END) {
                ""
            } else {
                "..."
            };
            message.push_str(&format!("{words} {more}\n    "));
        }
        return SqlError::invalid(message)
            .in_grammar()
            .hint(quotes(grammar, text, at, &expected));
    }
    let longest = expected.iter().map(Vec::len).max().unwrap_or(0);
    let mut tokens: Vec<String> = (at..text.lexemes.len())
        .take(longest)
        .map(|i| escaped(text.image(i)))
        .collect();
    if tokens.len() < longest {
        tokens.push("<EOF>".into());
    }
    let token = tokens.join(" ");
    let options = shown.join(", ");
    let (end_line, end_column) = match text.lexemes.get(at) {
        Some(lexeme) => {
            let last = text.image(at).char_indices().last().map_or(0, |(i, _)| i);
            text.place(lexeme.start + last)
        }
        None => (line, column),
    };
    let place = Position {
        line,
        column,
        end_line,
        end_column,
    };
    SqlError::invalid(format!(
        "Received an unexpected token [{token}] {place}, acceptable options: [{options}]"
    ))
    .in_grammar()
    .hint(quotes(grammar, text, at, &expected))
    .at(place)
    .with("token", token)
    .with("expected", format!("[{options}]"))
}

/// Says how a reserved word becomes a name, where it stands in the place of one.
fn quotes(grammar: &Grammar, text: &Text, at: usize, expected: &[Vec<Kind>]) -> Option<String> {
    let name = grammar.kinds["<IDENTIFIER>"];
    let kind = |index: usize| text.lexemes.get(index).and_then(|lexeme| lexeme.kind);
    expected.iter().find_map(|sequence| {
        let before = sequence.strip_suffix(&[name])?;
        let fits = before
            .iter()
            .enumerate()
            .all(|(i, expected)| kind(at + i) == Some(*expected));
        let word = text.image(at + before.len());
        (fits && needs_quotes(word))
            .then(|| format!("to use the reserved word as a name, put it in double quotes: \"{word}\""))
    })
}

fn no_token(text: &Text, at: usize) -> SqlError {
    let start = text.lexemes.get(at).map_or(text.sql.len(), |lexeme| lexeme.start);
    let open_comment = text.sql[start..].starts_with("/*");
    if open_comment {
        let (line, column) = match text.sql.as_bytes().last() {
            Some(b'\n' | b'\r') => (text.end_place().0 + 1, 0),
            _ => (text.end_place().0, text.end_place().1 + 1),
        };
        return SqlError::invalid(format!(
            "Lexical error at line {line}, column {column}.  Encountered: <EOF> after : \"\""
        ))
        .hint(Some("the comment that starts with /* is never closed by */".into()))
        .in_grammar();
    }
    let mut rest = text.sql[start..].chars();
    let mut c = rest.next().unwrap_or(' ');
    let mut start = start;
    // `!` is the beginning of `!=`: what is unexpected is what follows it.
    let mut after = String::new();
    if c == '!'
        && let Some(next) = rest.next()
    {
        after.push(c);
        (c, start) = (next, start + 1);
    }
    let (line, column) = text.place(start);
    if rest.next().is_none() && c.len_utf16() == 1 {
        let (line, column) = if c == '\n' { (line + 1, 0) } else { (line, column + 1) };
        let shown = match after.is_empty() {
            true => String::new(),
            false => escaped(&format!("{after}{c}")),
        };
        return SqlError::invalid(format!(
            "Lexical error at line {line}, column {column}.  Encountered: <EOF> after : \"{shown}\""
        ))
        .in_grammar();
    }
    let mut units = [0u16; 2];
    let unit = c.encode_utf16(&mut units)[0];
    let shown = match u8::try_from(unit) {
        Ok(0 | 0x08..=0x0a | 0x0c | 0x0d | 0x20..=0x7e) => escaped(&c.to_string()),
        _ => format!("\\u{unit:04x}"),
    };
    SqlError::invalid(format!(
        "Lexical error at line {line}, column {column}.  Encountered: \"{shown}\" ({unit}), after : \"{after}\""
    ))
    .in_grammar()
}

/// Shows a token with the escapes of Java.
fn escaped(image: &str) -> String {
    let mut out = String::with_capacity(image.len());
    for unit in image.encode_utf16() {
        match unit {
            0 => {}
            0x08 => out.push_str("\\b"),
            0x09 => out.push_str("\\t"),
            0x0a => out.push_str("\\n"),
            0x0c => out.push_str("\\f"),
            0x0d => out.push_str("\\r"),
            0x22 => out.push_str("\\\""),
            0x27 => out.push_str("\\'"),
            0x5c => out.push_str("\\\\"),
            0x20..=0x7e => out.push(char::from(unit as u8)),
            other => out.push_str(&format!("\\u{other:04x}")),
        }
    }
    out
}

fn place(text: &Text, at: usize) -> (u64, u64) {
    match text.lexemes.get(at) {
        Some(lexeme) => text.place(lexeme.start),
        None => text.end_place(),
    }
}
