//! The statement as tokens with their places: what positions of errors are computed from.

use std::collections::HashMap;

use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word};

use super::dialect::DruidDialect;
use crate::SqlError;
use crate::error::Position;
use crate::limits;

/// All tokens but white space and comments.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    list: Vec<TokenWithSpan>,
    starts: HashMap<(u64, u64), usize>,
    end: (u64, u64),
}

impl Tokens {
    /// Cuts a text into tokens.
    pub fn read(sql: &str) -> Result<Tokens, SqlError> {
        if sql.len() > limits::MAX_STATEMENT_BYTES {
            return Err(SqlError::invalid(format!(
                "Statement of {} bytes is longer than the limit of {} bytes",
                sql.len(),
                limits::MAX_STATEMENT_BYTES
            )));
        }
        let blanked = blank_slash_comments(sql);
        let end = end_of(sql);
        let tokens = match Tokenizer::new(&DruidDialect, &blanked).tokenize_with_location() {
            Ok(tokens) => tokens,
            Err(error) => return Err(lexical(&error.message, error.location)),
        };
        let mut list: Vec<TokenWithSpan> = tokens
            .into_iter()
            .filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF))
            .collect();
        if list.iter().any(|t| t.token == Token::Ampersand) {
            list = unicode_names(list)?;
        }
        // Names may begin with a dollar.
        for token in &mut list {
            if let Token::Placeholder(text) = &token.token
                && text.starts_with('$')
            {
                token.token = Token::make_word(text, None);
            }
        }
        list = own_escapes(list)?;
        in_units_of_utf16(sql, &mut list);
        if list.len() > limits::MAX_TOKENS {
            return Err(SqlError::invalid(format!(
                "Statement of {} tokens is longer than the limit of {} tokens",
                list.len(),
                limits::MAX_TOKENS
            )));
        }
        let mut tokens = Tokens {
            list,
            starts: HashMap::new(),
            end,
        };
        tokens.check()?;
        tokens.index();
        Ok(tokens)
    }

    fn index(&mut self) {
        self.starts = self
            .list
            .iter()
            .enumerate()
            .rev()
            // Several tokens may stand for one parameter; the first of them is found.
            .map(|(i, t)| ((t.span.start.line, t.span.start.column), i))
            .collect();
    }

    /// Gives these tokens in the place of the ones that were read.
    pub fn with_list(self, list: Vec<TokenWithSpan>) -> Tokens {
        let mut tokens = Tokens { list, ..self };
        tokens.index();
        tokens
    }

    /// Refuses characters that no token of Druid's SQL has, and nesting that nothing sensible has.
    fn check(&self) -> Result<(), SqlError> {
        let (mut depth, mut operators, mut cases) = (0usize, 0usize, 0usize);
        for token in &self.list {
            match &token.token {
                Token::Char(c) => {
                    return Err(lexical_error(token.span.start, *c));
                }
                Token::Tilde => return Err(lexical_error(token.span.start, '~')),
                Token::AtSign => return Err(lexical_error(token.span.start, '@')),
                Token::Sharp => return Err(lexical_error(token.span.start, '#')),
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
                Token::Word(word) if word.quote_style.is_none() && is_operator_word(&word.value) => {
                    operators += 1;
                    if word.value.eq_ignore_ascii_case("CASE") {
                        cases += 1;
                    } else if word.value.eq_ignore_ascii_case("END") {
                        cases = cases.saturating_sub(1);
                    }
                }
                Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::StringConcat => operators += 1,
                _ => {}
            }
            if depth > limits::MAX_NESTING || cases > limits::MAX_CASE_NESTING {
                return Err(SqlError::invalid_at(
                    format!(
                        "Statement is nested deeper than the limit of {} levels",
                        limits::MAX_NESTING
                    ),
                    Some(position(token.span)),
                ));
            }
        }
        if operators > limits::MAX_OPERATORS {
            return Err(SqlError::invalid(format!(
                "Statement of {operators} operators is longer than the limit of {} operators",
                limits::MAX_OPERATORS
            )));
        }
        Ok(())
    }

    /// Gives the tokens.
    pub fn list(&self) -> &[TokenWithSpan] {
        &self.list
    }

    /// Gives the index of the token that starts at a place.
    pub fn at(&self, start: Location) -> Option<usize> {
        self.starts.get(&(start.line, start.column)).copied()
    }

    /// Gives the place of the end of the text.
    pub fn end_position(&self) -> Position {
        let (line, column) = self.end;
        Position {
            line,
            column,
            end_line: line,
            end_column: column,
        }
    }

    /// Gives the index of the bracket that closes the one at `open`.
    pub fn matching(&self, open: usize) -> Option<usize> {
        matching(&self.list, open)
    }

    /// Gives the place from one token to another, both included.
    pub fn range(&self, first: usize, last: usize) -> Option<Position> {
        let (first, last) = (self.list.get(first)?, self.list.get(last)?);
        let (a, b) = (position(first.span), position(last.span));
        Some(Position {
            line: a.line,
            column: a.column,
            end_line: b.end_line,
            end_column: b.end_column,
        })
    }

    /// Gives the place of the call whose name starts at `start`, up to its closing parenthesis.
    pub fn call(&self, start: Location) -> Option<Position> {
        let first = self.at(start)?;
        let mut open = first;
        while matches!(self.list.get(open)?.token, Token::Word(_) | Token::Period) {
            open += 1;
        }
        if self.list[open].token != Token::LParen {
            return self.range(first, first);
        }
        self.range(first, self.matching(open)?)
    }

    /// Gives the place of the innermost call around a token.
    pub fn call_around(&self, inside: usize) -> Option<Position> {
        let mut open = inside.checked_sub(1)?;
        while self.list.get(open)?.token != Token::LParen || self.matching(open)? < inside {
            open = open.checked_sub(1)?;
        }
        self.range(open.checked_sub(1)?, self.matching(open)?)
    }

    /// Makes the syntax error at a token; the index behind the last token is the end of the text. It is for what follows Druid's
    /// grammar and is not offered, or is too long to be checked: mistakes are told by [`super::grammar`].
    pub fn unexpected(&self, index: usize, expected: &str) -> SqlError {
        let Some(token) = self.list.get(index) else {
            return unexpected("<EOF>", self.end_position(), expected);
        };
        unexpected(&shown(&token.token), position(token.span), expected)
    }
}

fn unexpected(token: &str, place: Position, expected: &str) -> SqlError {
    SqlError::invalid(format!(
        "Received an unexpected token [{token}] {place}, acceptable options: [{expected}]"
    ))
    .in_grammar()
    .at(place)
    .with("token", token)
    .with("expected", format!("[{expected}]"))
}

/// Gives the index of the bracket that closes the one at `open`.
pub(crate) fn matching(list: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, token) in list.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

/// Turns a span (end exclusive) into a place (end inclusive).
pub(crate) fn position(span: Span) -> Position {
    Position {
        line: span.start.line,
        column: span.start.column,
        end_line: span.end.line,
        end_column: if span.end.line == span.start.line {
            span.end.column.saturating_sub(1).max(span.start.column)
        } else {
            span.end.column.saturating_sub(1)
        },
    }
}

/// Tells whether the token is this bare word.
pub(crate) fn is_word(token: &Token, text: &str) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(text))
}

fn is_operator_word(word: &str) -> bool {
    [
        "AND",
        "OR",
        "NOT",
        "CASE",
        "END",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "JOIN",
    ]
    .iter()
    .any(|op| word.eq_ignore_ascii_case(op))
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(word) if word.quote_style.is_some() => format!("\\\"{}\\\"", word.value),
        Token::DoubleColon => ":".to_string(),
        other => other.to_string(),
    }
}

/// Replaces `// …` comments, which the tokenizer does not know, by blanks, so that places stay.
fn blank_slash_comments(sql: &str) -> std::borrow::Cow<'_, str> {
    if !sql.contains("//") {
        return sql.into();
    }
    let mut out = String::with_capacity(sql.len());
    let mut chars = sql.chars().peekable();
    let mut quote: Option<char> = None;
    let mut comment = None;
    while let Some(c) = chars.next() {
        if let Some(kind) = comment {
            match kind {
                'l' if c == '\n' => comment = None,
                'b' if c == '*' && chars.peek() == Some(&'/') => {
                    comment = Some('e');
                }
                'e' => comment = None,
                _ => {}
            }
            out.push(c);
            continue;
        }
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '-') if chars.peek() == Some(&'-') => comment = Some('l'),
            (None, '/') if chars.peek() == Some(&'*') => comment = Some('b'),
            (None, '/') if chars.peek() == Some(&'/') => {
                out.push(' ');
                while let Some(next) = chars.peek() {
                    if *next == '\n' {
                        break;
                    }
                    out.push(' ');
                    chars.next();
                }
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out.into()
}

/// Gives line and column of the last character, 0 and 0 for an empty text.
fn end_of(sql: &str) -> (u64, u64) {
    let text = sql.trim_end();
    if text.is_empty() {
        return (0, 0);
    }
    let line = text.matches('\n').count() as u64 + 1;
    let last = text.rsplit('\n').next().unwrap_or_default();
    (line, last.chars().count() as u64)
}

/// Makes columns count as Calcite's do: a character beyond U+FFFF is two.
fn in_units_of_utf16(sql: &str, list: &mut [TokenWithSpan]) {
    if sql.chars().all(|c| c.len_utf16() == 1) {
        return;
    }
    // Per line, the columns of the wide characters.
    let wide: Vec<Vec<u64>> = sql
        .split('\n')
        .map(|line| {
            let columns = line.chars().zip(1..).filter(|(c, _)| c.len_utf16() == 2);
            columns.map(|(_, column)| column).collect()
        })
        .collect();
    let shift = |place: &mut Location| {
        let line = usize::try_from(place.line).unwrap_or(0).checked_sub(1);
        let columns = line.and_then(|line| wide.get(line));
        place.column += columns.map_or(0, |list| list.iter().filter(|column| **column < place.column).count()) as u64;
    };
    for token in list {
        shift(&mut token.span.start);
        shift(&mut token.span.end);
    }
}

/// Joins `U&"…"`, which the tokenizer cuts into three, to the name that it is.
fn unicode_names(list: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(list.len());
    let mut at = 0;
    while at < list.len() {
        let touch = |n: usize| {
            list.get(at + n)
                .zip(list.get(at + n + 1))
                .is_some_and(|(a, b)| a.span.end == b.span.start)
        };
        let name = match list.get(at + 2).map(|t| &t.token) {
            Some(Token::Word(word)) if word.quote_style == Some('"') => Some(&word.value),
            _ => None,
        };
        let prefixed = is_word(&list[at].token, "U") && list.get(at + 1).is_some_and(|t| t.token == Token::Ampersand);
        let Some(name) = name.filter(|_| prefixed && touch(0) && touch(1)) else {
            out.push(list[at].clone());
            at += 1;
            continue;
        };
        let (escape, taken) = escape_behind(&list, at + 3)?;
        let span = Span::new(list[at].span.start, list[at + 2].span.end);
        let word = Token::make_word(&unescaped(name, escape)?, Some('"'));
        out.push(TokenWithSpan::new(word, span));
        at += 3 + taken;
    }
    Ok(out)
}

/// Takes UESCAPE off texts as `U&'…'`, which the tokenizer has read with the usual escape.
fn own_escapes(list: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlError> {
    if !list.iter().any(|t| is_word(&t.token, "UESCAPE")) {
        return Ok(list);
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(list.len());
    let mut at = 0;
    while at < list.len() {
        let mut token = list[at].clone();
        at += 1;
        if let Token::UnicodeStringLiteral(text) = &token.token {
            let (escape, taken) = escape_behind(&list, at)?;
            if taken > 0 {
                token.token = Token::SingleQuotedString(unescaped(text, escape)?);
                at += taken;
            }
        }
        out.push(token);
    }
    Ok(out)
}

/// Reads `UESCAPE 'c'`: gives the character, and how many tokens it takes.
fn escape_behind(list: &[TokenWithSpan], at: usize) -> Result<(char, usize), SqlError> {
    if !list.get(at).is_some_and(|t| is_word(&t.token, "UESCAPE")) {
        return Ok(('\\', 0));
    }
    let text = match list.get(at + 1).map(|t| &t.token) {
        Some(Token::SingleQuotedString(text)) => text,
        _ => return Ok(('\\', 0)),
    };
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(escape), None) => Ok((escape, 2)),
        _ => Err(SqlError::invalid(format!("UESCAPE '{text}' must be exactly one character")).in_grammar()),
    }
}

/// Replaces `\\0041` by what it stands for, and a doubled escape by one.
fn unescaped(text: &str, escape: char) -> Result<String, SqlError> {
    let chars: Vec<char> = text.chars().collect();
    let mut units: Vec<u16> = Vec::with_capacity(chars.len());
    let mut at = 0;
    while at < chars.len() {
        let (c, next) = (chars[at], chars.get(at + 1));
        if c == escape && next == Some(&escape) {
            units.extend(escape.encode_utf16(&mut [0; 2]).iter());
            at += 2;
        } else if c == escape {
            let digits: String = chars.iter().skip(at + 1).take(4).collect();
            let unit = Some(&digits)
                .filter(|d| d.len() == 4 && d.chars().all(|c| c.is_ascii_hexdigit()))
                .and_then(|d| u16::from_str_radix(d, 16).ok());
            let Some(unit) = unit else {
                return Err(SqlError::invalid(format!(
                    "Unicode escape sequence starting at character {at} is not exactly four hex digits"
                ))
                .in_grammar());
            };
            units.push(unit);
            at += 5;
        } else {
            units.extend(c.encode_utf16(&mut [0; 2]).iter());
            at += 1;
        }
    }
    Ok(String::from_utf16_lossy(&units))
}

fn lexical_error(at: Location, c: char) -> SqlError {
    let shown = if c.is_ascii() {
        c.to_string()
    } else {
        format!("\\u{:04x}", c as u32)
    };
    SqlError::invalid(format!(
        "Lexical error at line {}, column {}.  Encountered: \"{shown}\" ({}), after : \"\"",
        at.line, at.column, c as u32
    ))
    .in_grammar()
}

fn lexical(message: &str, at: Location) -> SqlError {
    SqlError::invalid(format!(
        "Lexical error at line {}, column {}.  {message}",
        at.line, at.column
    ))
    .in_grammar()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_inclusive_and_comments_are_blank() {
        let tokens = Tokens::read("SELECT \"nope\" // it's\n, f(1, (2)) FROM t").expect("tokens");
        assert_eq!(
            tokens.range(1, 1),
            Some(Position {
                line: 1,
                column: 8,
                end_line: 1,
                end_column: 13
            })
        );
        let name = tokens.list()[3].span.start;
        let call = tokens.call(name).expect("a call");
        assert_eq!((call.line, call.column, call.end_column), (2, 3, 11));
    }
}
