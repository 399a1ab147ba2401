//! What follows the grammar and is not allowed: found among the tokens that were taken, as Calcite finds it while it takes them.

use super::lexer::Text;
use super::nodes::Grammar;
use crate::SqlError;

/// Longest name, in UTF-16 units.
const MAX_NAME: usize = 128;

/// Message for `%`, which henge computes and Druid refuses: told where a statement is refused anyway.
pub(crate) const PERCENT: &str = "Percent remainder '%' is not allowed under the current SQL conformance level";

/// Refuses the first forbidden thing among the first `reached` tokens; `refused` tells that the statement is refused anyway.
pub(super) fn check(grammar: &Grammar, text: &Text, reached: usize, refused: bool) -> Result<(), SqlError> {
    let is = |at: usize, key: &str| {
        text.lexemes
            .get(at)
            .is_some_and(|lexeme| lexeme.kind == grammar.kinds.get(key).copied())
    };
    let limit_kind = grammar.kinds.get("LIMIT").copied();
    let mut limit = None;
    for (at, lexeme) in text.lexemes.iter().enumerate().take(reached) {
        let image = text.image(at);
        if image.len() > MAX_NAME
            && let Some(name) = name(grammar, lexeme.kind, image)
            && name.encode_utf16().count() > MAX_NAME
        {
            return Err(SqlError::invalid(format!(
                "Length of identifier '{name}' must be less than or equal to {MAX_NAME} characters"
            ))
            .in_grammar());
        }
        if refused && is(at, "%") {
            return Err(SqlError::invalid(PERCENT).in_grammar());
        }
        if lexeme.kind == limit_kind {
            limit = Some(at);
        }
        // LIMIT, the start, a comma, the count.
        if let Some(start) = limit
            && at == start + 3
            && is(start + 2, ",")
        {
            let count = if is(at, "ALL") { "ALL" } else { "count" };
            return Err(SqlError::invalid(format!(
                "'LIMIT start, {count}' is not allowed under the current SQL conformance level"
            ))
            .in_grammar()
            .hint(Some("write LIMIT count OFFSET start".into())));
        }
    }
    Ok(())
}

/// Gives the name that a token is.
fn name(grammar: &Grammar, kind: Option<super::Kind>, image: &str) -> Option<String> {
    let kind = kind?;
    if kind == grammar.kinds["<IDENTIFIER>"] {
        return Some(image.to_string());
    }
    (kind == grammar.kinds["<QUOTED_IDENTIFIER>"]).then(|| image[1..image.len() - 1].replace("\"\"", "\""))
}
