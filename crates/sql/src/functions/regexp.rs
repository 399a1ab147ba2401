//! Regular expressions and LIKE. A literal pattern is compiled once a batch.

use arrow::array::ArrayRef;
use datafusion::common::{DataFusionError, Result};
use regex::Regex;

use super::args::{Args, Texts, boolean_result, text_result, try_text_result};
use super::scalar::{Param, ScalarDef, returns};

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new(
        "REGEXP_LIKE",
        "regexp_like",
        &[Param::Str, Param::Str],
        returns::boolean,
        |args| {
            let (text, patterns) = (args.text(0)?, Patterns::new(args.text(1)?)?);
            boolean_result(args.rows(), |row| Some(patterns.get(row)?.is_match(text.get(row)?)))
        },
    ),
    ScalarDef::new(
        "REGEXP_EXTRACT",
        "regexp_extract",
        &[Param::Str, Param::Str, Param::Int],
        returns::varchar,
        |args| {
            let (text, patterns, group) = (args.text(0)?, Patterns::new(args.text(1)?)?, args.long(2)?);
            text_result(args.rows(), |row| {
                let group = usize::try_from(group.get(row).unwrap_or(0)).ok()?;
                let captures = patterns.get(row)?.captures(text.get(row)?)?;
                captures.get(group).map(|m| m.as_str().to_string())
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
            text_result(args.rows(), |row| {
                let replacement = java_replacement(to.get(row)?);
                Some(
                    patterns
                        .get(row)?
                        .replace_all(text.get(row)?, replacement.as_str())
                        .into_owned(),
                )
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

/// The pattern of a row, compiled once where it is a literal.
struct Patterns {
    fixed: Option<Regex>,
    rows: Vec<Option<Regex>>,
}

impl Patterns {
    fn new(texts: Texts) -> Result<Self> {
        match texts {
            Texts::Scalar(text) => Ok(Patterns {
                fixed: text.as_deref().map(compile).transpose()?,
                rows: Vec::new(),
            }),
            Texts::Array(array) => Ok(Patterns {
                fixed: None,
                rows: array
                    .iter()
                    .map(|text| text.map(compile).transpose())
                    .collect::<Result<_>>()?,
            }),
        }
    }

    fn get(&self, row: usize) -> Option<&Regex> {
        self.fixed.as_ref().or_else(|| self.rows.get(row)?.as_ref())
    }
}

fn compile(pattern: &str) -> Result<Regex> {
    regex::RegexBuilder::new(pattern)
        .size_limit(1 << 24)
        .build()
        .map_err(|error| {
            DataFusionError::External(Box::new(crate::SqlError::input(format!(
                "An invalid pattern [{pattern}] was provided for a regular expression: {error}"
            ))))
        })
}

/// Turns Java's `$1` and `\$` into the notation of `regex`.
fn java_replacement(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('$') => out.push_str("$$"),
                Some(other) => out.push(other),
                None => {}
            },
            '$' => {
                let mut digits = String::new();
                while let Some(d) = chars.peek().filter(|d| d.is_ascii_digit()) {
                    digits.push(*d);
                    chars.next();
                }
                if digits.is_empty() {
                    out.push_str("$$");
                } else {
                    out.push_str(&format!("${{{digits}}}"));
                }
            }
            other => out.push(other),
        }
    }
    out
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
    compile(&out)
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
