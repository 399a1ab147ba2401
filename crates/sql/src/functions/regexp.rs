//! Regular expressions and LIKE. A thread keeps the patterns that it compiled last: batches and rows mostly share them.
//!
//! Patterns are Java's: look-around and back-references work, `\d`, `\w` and `\s` are ASCII, `\Q…\E` quotes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::common::{DataFusionError, Result};
use regex::Regex;

use super::args::{Args, Texts, boolean_result, check_bytes, try_text_result};
use super::scalar::{Param, ScalarDef, returns};

/// Steps that a pattern with look-around or back-references may go back before it is given up.
const BACKTRACK_LIMIT: usize = 1_000_000;

/// Patterns that a thread keeps, and the longest of them: one may take 16 MiB when compiled.
const PATTERNS_KEPT: usize = 8;
const PATTERN_BYTES_KEPT: usize = 1024;

thread_local! {
    static COMPILED: RefCell<VecDeque<(String, Pattern)>> = const { RefCell::new(VecDeque::new()) };
}

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new(
        "REGEXP_LIKE",
        "regexp_like",
        &[Param::Str, Param::Str],
        returns::boolean,
        |args| {
            let (text, patterns) = (args.text(0)?, Patterns::new(args.text(1)?)?);
            let found = (0..args.rows())
                .map(|row| match (text.get(row), patterns.get(row)) {
                    (Some(text), Some(pattern)) => pattern.is_match(text).map(Some),
                    _ => Ok(None),
                })
                .collect::<Result<Vec<_>>>()?;
            boolean_result(args.rows(), |row| found[row])
        },
    ),
    ScalarDef::new(
        "REGEXP_EXTRACT",
        "regexp_extract",
        &[Param::Str, Param::Str, Param::Int],
        returns::varchar,
        |args| {
            let (text, patterns, group) = (args.text(0)?, Patterns::new(args.text(1)?)?, args.long(2)?);
            try_text_result(args.rows(), |row| {
                let (Some(text), Some(pattern)) = (text.get(row), patterns.get(row)) else {
                    return Ok(None);
                };
                let group = usize::try_from(group.get(row).unwrap_or(0)).unwrap_or(usize::MAX);
                pattern.group(text, group)
            })
        },
    )
    .min(2),
    ScalarDef::new(
        "REGEXP_REPLACE",
        "regexp_replace",
        &[Param::Str, Param::Str, Param::Str],
        returns::varchar,
        |args| {
            let (text, patterns, to) = (args.text(0)?, Patterns::new(args.text(1)?)?, args.text(2)?);
            try_text_result(args.rows(), |row| {
                let (Some(text), Some(pattern), Some(to)) = (text.get(row), patterns.get(row), to.get(row)) else {
                    return Ok(None);
                };
                pattern.replace(text, to).map(Some)
            })
        },
    ),
    ScalarDef::new(
        "",
        "like",
        &[Param::Str, Param::Str, Param::Str],
        returns::boolean,
        |args| like(args, false),
    ),
    ScalarDef::new(
        "",
        "ilike",
        &[Param::Str, Param::Str, Param::Str],
        returns::boolean,
        |args| like(args, true),
    ),
    ScalarDef::new("", "regexp_quote", &[Param::Str], returns::varchar, |args| {
        let text = args.text(0)?;
        try_text_result(args.rows(), |row| Ok(text.get(row).map(regex::escape)))
    }),
];

/// A pattern of Java's.
#[derive(Clone)]
pub(super) struct Pattern(Arc<fancy_regex::Regex>);

impl Pattern {
    /// Gives a pattern that this thread has, or compiles it.
    fn of(pattern: &str) -> Result<Self> {
        if pattern.len() > PATTERN_BYTES_KEPT {
            return Self::compile(pattern);
        }
        COMPILED.with_borrow_mut(|kept| {
            if let Some((_, found)) = kept.iter().find(|(text, _)| text == pattern) {
                return Ok(found.clone());
            }
            let compiled = Self::compile(pattern)?;
            kept.truncate(PATTERNS_KEPT - 1);
            kept.push_front((pattern.to_string(), compiled.clone()));
            Ok(compiled)
        })
    }

    fn compile(pattern: &str) -> Result<Self> {
        fancy_regex::RegexBuilder::new(&plain_java(pattern))
            .backtrack_limit(BACKTRACK_LIMIT)
            .delegate_size_limit(1 << 24)
            .build()
            .map(|regex| Pattern(Arc::new(regex)))
            .map_err(|error| invalid(pattern, &error))
    }

    /// Tells whether the pattern matches anywhere.
    pub fn is_match(&self, text: &str) -> Result<bool> {
        self.0.is_match(text).map_err(|error| given_up(&error))
    }

    /// Tells whether the pattern matches the whole text.
    pub fn is_whole_match(&self, text: &str) -> Result<bool> {
        let found = self.0.find(text).map_err(|error| given_up(&error))?;
        Ok(found.is_some_and(|found| found.start() == 0 && found.end() == text.len()))
    }

    fn group(&self, text: &str, group: usize) -> Result<Option<String>> {
        let captures = self.0.captures(text).map_err(|error| given_up(&error))?;
        Ok(captures.and_then(|captures| captures.get(group).map(|found| found.as_str().to_string())))
    }

    fn replace(&self, text: &str, to: &str) -> Result<String> {
        let groups = self.0.captures_len();
        let mut out = String::with_capacity(text.len());
        let mut behind = 0;
        for captures in self.0.captures_iter(text) {
            let captures = captures.map_err(|error| given_up(&error))?;
            let Some(whole) = captures.get(0) else { continue };
            out.push_str(&text[behind..whole.start()]);
            behind = whole.end();
            expand(to, groups, &mut out, |group| {
                captures.get(group).map(|found| found.as_str())
            });
            check_bytes(out.len())?;
        }
        out.push_str(&text[behind..]);
        Ok(out)
    }
}

/// Writes a replacement: `$1` is a group (with as many digits as there are groups for), a backslash takes what follows as it is.
fn expand<'t>(to: &str, groups: usize, out: &mut String, group: impl Fn(usize) -> Option<&'t str>) {
    let mut chars = to.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            '$' => {
                let mut number: Option<usize> = None;
                while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                    let next = number.unwrap_or(0) * 10 + digit as usize;
                    if number.is_some() && next >= groups {
                        break;
                    }
                    number = Some(next);
                    chars.next();
                }
                match number {
                    Some(number) => out.push_str(group(number).unwrap_or_default()),
                    None => out.push('$'),
                }
            }
            other => out.push(other),
        }
    }
}

/// Words what Java writes otherwise: ASCII classes, quoted parts.
fn plain_java(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[a-zA-Z0-9_]"),
            Some('W') => out.push_str("[^a-zA-Z0-9_]"),
            Some('s') => out.push_str("[ \\t\\n\\x0B\\f\\r]"),
            Some('S') => out.push_str("[^ \\t\\n\\x0B\\f\\r]"),
            Some('Q') => {
                let rest = chars.as_str();
                let (quoted, behind) = rest.split_once("\\E").unwrap_or((rest, ""));
                out.push_str(&regex::escape(quoted));
                chars = behind.chars();
            }
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

fn invalid(pattern: &str, error: &dyn std::fmt::Display) -> DataFusionError {
    DataFusionError::External(Box::new(crate::SqlError::input(format!(
        "An invalid pattern [{pattern}] was provided for a regular expression: {error}"
    ))))
}

fn given_up(error: &dyn std::fmt::Display) -> DataFusionError {
    DataFusionError::External(Box::new(crate::SqlError::general(
        crate::Persona::User,
        crate::Category::RuntimeFailure,
        format!("A regular expression was given up after {BACKTRACK_LIMIT} steps back: {error}"),
    )))
}

/// The pattern of a row, compiled once where it is a literal.
pub(super) struct Patterns {
    fixed: Option<Pattern>,
    rows: Vec<Option<Pattern>>,
}

impl Patterns {
    pub(super) fn new(texts: Texts) -> Result<Self> {
        match texts {
            Texts::Scalar(text) => Ok(Patterns {
                fixed: text.as_deref().map(Pattern::of).transpose()?,
                rows: Vec::new(),
            }),
            Texts::Array(array) => Ok(Patterns {
                fixed: None,
                rows: array
                    .iter()
                    .map(|text| text.map(Pattern::of).transpose())
                    .collect::<Result<_>>()?,
            }),
        }
    }

    pub(super) fn get(&self, row: usize) -> Option<&Pattern> {
        self.fixed.as_ref().or_else(|| self.rows.get(row)?.as_ref())
    }
}

/// Makes a regular expression of a LIKE pattern.
pub(super) fn like_regex(pattern: &str, escape: Option<char>, case_insensitive: bool) -> Result<Regex> {
    let mut out = String::from(if case_insensitive { "(?is)^" } else { "(?s)^" });
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                if let Some(next) = chars.next() {
                    out.push_str(&regex::escape(&next.to_string()));
                }
            }
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            other => out.push_str(&regex::escape(&other.to_string())),
        }
    }
    out.push('$');
    regex::RegexBuilder::new(&out)
        .size_limit(1 << 24)
        .build()
        .map_err(|error| invalid(pattern, &error))
}

fn like(args: &Args, case_insensitive: bool) -> Result<ArrayRef> {
    let (text, pattern, escape) = (args.text(0)?, args.text(1)?, args.text(2)?);
    let escape = escape.get(0).and_then(|e| e.chars().next());
    let compiled: Vec<Option<Regex>> = match &pattern {
        Texts::Scalar(None) => vec![None],
        Texts::Scalar(Some(pattern)) => vec![Some(like_regex(pattern, escape, case_insensitive)?)],
        Texts::Array(array) => array
            .iter()
            .map(|p| p.map(|p| like_regex(p, escape, case_insensitive)).transpose())
            .collect::<Result<_>>()?,
    };
    let fixed = matches!(pattern, Texts::Scalar(_));
    boolean_result(args.rows(), |row| {
        let regex = compiled.get(if fixed { 0 } else { row })?.as_ref()?;
        Some(regex.is_match(text.get(row)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_javas() {
        let matches =
            |pattern: &str, text: &str| Pattern::compile(pattern).and_then(|p| p.is_match(text)).expect(pattern);
        assert!(matches(r"foo(?!bar)", "foobaz") && !matches(r"foo(?!bar)", "foobar"));
        assert!(matches(r"(a)\1", "aa") && matches(r"\Qa.b\E", "a.b") && !matches(r"\Qa.b\E", "axb"));
        assert!(!matches(r"^\w$", "é") && matches(r"[\w.]+@", "a.b@"));
        let replaced = |pattern: &str, text: &str, to: &str| {
            Pattern::compile(pattern)
                .and_then(|p| p.replace(text, to))
                .expect(pattern)
        };
        assert_eq!(replaced("([a-z])", "a1", "<$1>"), "<a>1");
        assert_eq!(replaced("(a)", "a", "$10"), "a0");
        assert_eq!(replaced("a", "a", r"\$1"), "$1");
        assert!(Pattern::compile("(").is_err());
    }
}
