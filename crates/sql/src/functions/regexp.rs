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
use super::failure::Failure;
use super::java_syntax::{self, JavaError};
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
            let (text, patterns) = (args.text(0)?, Patterns::new(args, "regexp_like")?);
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
            let (text, patterns, group) = (args.text(0)?, Patterns::new(args, "regexp_extract")?, args.long(2)?);
            try_text_result(args.rows(), |row| {
                let (Some(text), Some(pattern)) = (text.get(row), patterns.get(row)) else {
                    return Ok(None);
                };
                let number = group.get(row).unwrap_or(0);
                let Some(group) = usize::try_from(number)
                    .ok()
                    .filter(|group| *group < pattern.0.captures_len())
                else {
                    let message = "Function[regexp_extract] index must be a numeric literal";
                    return match number {
                        ..0 => Err(Failure::BadValue.error(true, message)),
                        // Java looks for the group of a match only.
                        _ if pattern.group(text, 0)?.is_none() => Ok(None),
                        _ => Err(no_group(args, number)),
                    };
                };
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
            let (text, patterns, to) = (args.text(0)?, Patterns::new(args, "regexp_replace")?, args.text(2)?);
            try_text_result(args.rows(), |row| {
                let (Some(text), Some(pattern), Some(to)) = (text.get(row), patterns.get(row), to.get(row)) else {
                    return Ok(None);
                };
                pattern.replace(args, text, to).map(Some)
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
#[derive(Debug, Clone)]
pub(super) struct Pattern(Arc<fancy_regex::Regex>);

impl Pattern {
    /// Gives a pattern that this thread has, or compiles it.
    pub fn of(pattern: &str) -> Result<Self, JavaError> {
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

    fn compile(pattern: &str) -> Result<Self, JavaError> {
        java_syntax::check(pattern)?;
        fancy_regex::RegexBuilder::new(&plain_java(pattern))
            .backtrack_limit(BACKTRACK_LIMIT)
            .delegate_size_limit(1 << 24)
            .build()
            .map(|regex| Pattern(Arc::new(regex)))
            .map_err(|error| JavaError::new(error.to_string(), None, pattern))
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

    fn replace(&self, args: &Args, text: &str, to: &str) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let (mut behind, mut from) = (0, 0);
        while from <= text.len() {
            let captures = self.0.captures_from_pos(text, from).map_err(|error| given_up(&error))?;
            let Some((captures, whole)) = captures.and_then(|found| found.get(0).map(|whole| (found, whole))) else {
                break;
            };
            out.push_str(&text[behind..whole.start()]);
            behind = whole.end();
            from = next_start(text, whole.start(), whole.end());
            self.expand(args, to, &captures, &mut out)?;
            check_bytes(out.len())?;
        }
        out.push_str(&text[behind..]);
        Ok(out)
    }

    /// Writes a replacement: `$1` is a group (with as many digits as there are groups for), `${name}` one with a name, a
    /// backslash takes what follows as it is.
    fn expand(&self, args: &Args, to: &str, captures: &fancy_regex::Captures<'_>, out: &mut String) -> Result<()> {
        let groups = self.0.captures_len();
        let bad = |message: String| Failure::Java("java.lang.IllegalArgumentException").of(args, message);
        let mut chars = to.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some(next) => out.push(next),
                    None => return Err(bad("character to be escaped is missing".into())),
                },
                '$' => match chars.next() {
                    None => return Err(bad("Illegal group reference: group index is missing".into())),
                    Some('{') => {
                        let mut name = String::new();
                        while let Some(c) = chars.next_if(char::is_ascii_alphanumeric) {
                            name.push(c);
                        }
                        if name.is_empty() {
                            return Err(bad("named capturing group has 0 length name".into()));
                        }
                        if chars.next() != Some('}') {
                            return Err(bad("named capturing group is missing trailing '}'".into()));
                        }
                        if name.starts_with(|c: char| c.is_ascii_digit()) {
                            return Err(bad(format!(
                                "capturing group name {{{name}}} starts with digit character"
                            )));
                        }
                        if !self.0.capture_names().flatten().any(|known| known == name) {
                            return Err(bad(format!("No group with name {{{name}}}")));
                        }
                        out.push_str(captures.name(&name).map_or("", |found| found.as_str()));
                    }
                    Some(first) => {
                        let Some(first) = first.to_digit(10) else {
                            return Err(bad("Illegal group reference".into()));
                        };
                        let mut number = first as usize;
                        if number >= groups {
                            return Err(no_group(args, number as i64));
                        }
                        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                            let next = number * 10 + digit as usize;
                            if next >= groups {
                                break;
                            }
                            number = next;
                            chars.next();
                        }
                        out.push_str(captures.get(number).map_or("", |found| found.as_str()));
                    }
                },
                other => out.push(other),
            }
        }
        Ok(())
    }

    /// Splits a text as Java does: empty parts at the end are dropped, and one before a match of nothing at the start; a text
    /// without a match is one part.
    pub fn split<'t>(&self, text: &'t str) -> Result<Vec<&'t str>> {
        let (mut parts, mut behind, mut from) = (Vec::new(), 0, 0);
        while from <= text.len() {
            let Some(found) = self.0.find_from_pos(text, from).map_err(|error| given_up(&error))? else {
                break;
            };
            from = next_start(text, found.start(), found.end());
            if found.end() > 0 {
                parts.push(&text[behind..found.start()]);
                behind = found.end();
            }
        }
        parts.push(&text[behind..]);
        if parts.len() > 1 {
            while parts.last().is_some_and(|part| part.is_empty()) {
                parts.pop();
            }
        }
        Ok(parts)
    }
}

/// Gives where to look for the next match. Behind a match there may be one of nothing, unlike with other engines.
fn next_start(text: &str, start: usize, end: usize) -> usize {
    if start < end {
        return end;
    }
    end + text[end..].chars().next().map_or(1, char::len_utf8)
}

fn no_group(args: &Args, number: i64) -> DataFusionError {
    Failure::Java("java.lang.IndexOutOfBoundsException").of(args, format!("No group {number}"))
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
            Some(sign @ ('p' | 'P')) => match java_syntax::property(&mut chars) {
                Some(class) if sign == 'p' => out.push_str(&format!("[{class}]")),
                Some(class) => out.push_str(&format!("[^{class}]")),
                None => {
                    out.push('\\');
                    out.push(sign);
                }
            },
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
    /// Compiles a call's second argument, for a function of a native name.
    pub(super) fn new(args: &Args, function: &str) -> Result<Self> {
        match args.text(1)? {
            Texts::Scalar(text) => Ok(Patterns {
                fixed: text
                    .as_deref()
                    .map(|text| {
                        Pattern::of(text).map_err(|error| {
                            DataFusionError::External(Box::new(crate::SqlError::input(format!(
                                "An invalid pattern [{text}] was provided for the [{function}] function, error: [{error}]"
                            ))))
                        })
                    })
                    .transpose()?,
                rows: Vec::new(),
            }),
            Texts::Array(array) => Ok(Patterns {
                fixed: None,
                rows: array
                    .iter()
                    .map(|text| {
                        text.map(Pattern::of).transpose().map_err(|error| {
                            Failure::Java("java.util.regex.PatternSyntaxException").of(args, error.to_string())
                        })
                    })
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
        .map_err(|error| {
            DataFusionError::External(Box::new(crate::SqlError::input(format!(
                "LIKE pattern [{pattern}] cannot be used: {error}"
            ))))
        })
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
        let matches = |pattern: &str, text: &str| {
            let pattern = Pattern::compile(pattern).expect(pattern);
            pattern.is_match(text).expect("a decision")
        };
        assert!(matches(r"foo(?!bar)", "foobaz") && !matches(r"foo(?!bar)", "foobar"));
        assert!(matches(r"(a)\1", "aa") && matches(r"\Qa.b\E", "a.b") && !matches(r"\Qa.b\E", "axb"));
        assert!(!matches(r"^\w$", "é") && matches(r"[\w.]+@", "a.b@"));
        let args = Args::new(&[], 1);
        let replaced = |pattern: &str, text: &str, to: &str| {
            let pattern = Pattern::compile(pattern).expect(pattern);
            pattern.replace(&args, text, to).map_err(|e| e.to_string())
        };
        for (pattern, text, to, result) in [
            ("([a-z])", "a1", "<$1>", "<a>1"),
            ("(a)", "a", "$10", "a0"),
            ("a", "a", r"\$1", "$1"),
            ("(?<x>a)", "a", "${x}${x}", "aa"),
            ("b*", "abc", "-", "-a--c-"),
            ("b*", "", "-", "-"),
            ("x*", "日a", "-", "-日-a-"),
        ] {
            assert_eq!(replaced(pattern, text, to).as_deref(), Ok(result), "{pattern}");
        }
        for (to, message) in [
            ("$9", "No group 9"),
            ("$", "Illegal group reference: group index is missing"),
            ("$x", "Illegal group reference"),
            ("\\", "character to be escaped is missing"),
            ("${x}", "No group with name {x}"),
            ("${x", "named capturing group is missing trailing '}'"),
            ("${}", "named capturing group has 0 length name"),
            ("${1}", "capturing group name {1} starts with digit character"),
        ] {
            let error = replaced("a", "a", to).expect_err(to);
            assert!(error.ends_with(message), "{to}: {error}");
        }
        assert!(matches(r"^\p{Upper}+$", "AB") && !matches(r"\p{Upper}", "Ä") && matches(r"\p{Lu}", "Ä"));
        let split = |pattern: &str, text: &str| {
            let pattern = Pattern::compile(pattern).expect(pattern);
            pattern.split(text).map(|parts| parts.join("|")).expect("parts")
        };
        assert_eq!(split(",", "a,,b,,"), "a||b");
        assert_eq!(split("x*", "abc"), "a|b|c");
        assert_eq!(split("b*", "abc"), "a||c");
        assert_eq!(split("[b]", ""), "");
    }
}
