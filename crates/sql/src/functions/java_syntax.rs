//! What Java says to a regular expression that it cannot read (`java.util.regex.PatternSyntaxException`), and its names of
//! ASCII classes.

use std::fmt;

/// An error of Java's compiler of patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JavaError {
    description: String,
    index: Option<usize>,
    pattern: String,
}

impl JavaError {
    /// Makes an error at a character of a pattern.
    pub fn new(description: impl Into<String>, index: Option<usize>, pattern: &str) -> Self {
        JavaError {
            description: description.into(),
            index,
            pattern: pattern.to_string(),
        }
    }
}

impl fmt::Display for JavaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)?;
        if let Some(index) = self.index {
            write!(f, " near index {index}")?;
        }
        write!(f, "\n{}", self.pattern)?;
        match self.index {
            Some(index) if index < self.pattern.chars().count() => write!(f, "\n{}^", " ".repeat(index)),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for JavaError {}

/// Finds what Java refuses in a pattern: the common mistakes, with Java's words. Patterns that pass may still be refused by
/// the compiler.
pub(super) fn check(pattern: &str) -> Result<(), JavaError> {
    let chars: Vec<char> = pattern.chars().collect();
    let bad = |description: &str, index: usize| Err(JavaError::new(description, Some(index), pattern));
    let (mut at, mut depth) = (0, 0usize);
    // Whether a quantifier may stand here.
    let mut operand = false;
    while at < chars.len() {
        match chars[at] {
            '\\' => match chars.get(at + 1) {
                None => return bad("Unexpected internal error", at + 1),
                Some('Q') => {
                    let rest: String = chars[at + 2..].iter().collect();
                    at += 2 + rest
                        .find("\\E")
                        .map_or(chars.len(), |end| rest[..end].chars().count() + 1);
                    operand = true;
                }
                Some('p' | 'P') => {
                    at = check_property(&chars, at, pattern)?;
                    operand = true;
                }
                Some('k') => {
                    let name: String = chars[(at + 3).min(chars.len())..]
                        .iter()
                        .take_while(|c| **c != '>')
                        .collect();
                    let defined = pattern.contains(&format!("(?<{name}>"));
                    if chars.get(at + 2) != Some(&'<') {
                        return bad("\\k is not followed by '<' for named capturing group", at + 2);
                    }
                    if !defined {
                        let description = format!("named capturing group <{name}> does not exist");
                        return bad(&description, at + 3 + name.chars().count());
                    }
                    at += 1;
                    operand = true;
                }
                Some(_) => {
                    at += 1;
                    operand = true;
                }
            },
            '[' => {
                at = check_class(&chars, at, pattern)?;
                operand = true;
            }
            '(' => {
                depth += 1;
                operand = false;
                if chars.get(at + 1) == Some(&'?') {
                    at = check_group(&chars, at, pattern)?;
                    operand = true;
                }
            }
            ')' if depth == 0 => {
                // The first parenthesis too many ends what Java reads; it points before it.
                let description = "Unmatched closing ')'";
                return match at {
                    0 => Err(JavaError::new(description, None, pattern)),
                    at => bad(description, at - 1),
                };
            }
            ')' => {
                depth -= 1;
                operand = true;
            }
            '|' => operand = false,
            sign @ ('*' | '+' | '?') if !operand => {
                return bad(&format!("Dangling meta character '{sign}'"), at);
            }
            '*' | '+' | '?' => {
                // Reluctant or possessive.
                if matches!(chars.get(at + 1), Some('+' | '?')) {
                    at += 1;
                }
                operand = false;
                // What follows must be an operand of its own.
                if let Some(sign @ ('*' | '+' | '?')) = chars.get(at + 1) {
                    return bad(&format!("Dangling meta character '{sign}'"), at + 1);
                }
            }
            '{' if operand => {
                at = check_count(&chars, at, pattern)?;
                operand = false;
            }
            '{' => return bad("Illegal repetition", at.saturating_sub(usize::from(at > 0))),
            _ => operand = true,
        }
        at += 1;
    }
    if depth > 0 {
        return bad("Unclosed group", chars.len());
    }
    Ok(())
}

/// Checks `{n}`, `{n,}` or `{n,m}`; gives where it ends.
fn check_count(chars: &[char], open: usize, pattern: &str) -> Result<usize, JavaError> {
    let bad = |description: &str, index: usize| Err(JavaError::new(description, Some(index), pattern));
    let number = |from: usize| {
        let digits: String = chars[from.min(chars.len())..]
            .iter()
            .take_while(|c| c.is_ascii_digit())
            .collect();
        (from + digits.len(), digits.parse::<u32>().ok())
    };
    let (mut at, Some(least)) = number(open + 1) else {
        return bad("Illegal repetition", open + 1);
    };
    let mut most = Some(least);
    if chars.get(at) == Some(&',') {
        (at, most) = number(at + 1);
    }
    if chars.get(at) != Some(&'}') {
        return bad("Unclosed counted closure", at);
    }
    if most.is_some_and(|most| most < least) {
        return bad("Illegal repetition range", at);
    }
    if matches!(chars.get(at + 1), Some('+' | '?')) {
        at += 1;
    }
    Ok(at)
}

/// Checks what stands between brackets; gives where they close.
fn check_class(chars: &[char], open: usize, pattern: &str) -> Result<usize, JavaError> {
    let bad = |description: &str, index: usize| Err(JavaError::new(description, Some(index), pattern));
    let mut at = open + 1;
    if chars.get(at) == Some(&'^') {
        at += 1;
    }
    let first = at;
    while let Some(c) = chars.get(at) {
        match c {
            ']' if at > first => return Ok(at),
            '[' => at = check_class(chars, at, pattern)?,
            '\\' => {
                at = match chars.get(at + 1) {
                    Some('p' | 'P') => check_property(chars, at, pattern)?,
                    Some('Q') => {
                        let end = (at..chars.len()).find(|i| chars[*i] == '\\' && chars.get(i + 1) == Some(&'E'));
                        end.map_or(chars.len(), |end| end + 1)
                    }
                    _ => at + 1,
                }
            }
            from if chars.get(at + 1) == Some(&'-') => {
                if let Some(to) = chars.get(at + 2)
                    && !matches!(to, ']' | '[' | '\\')
                {
                    if to < from {
                        return bad("Illegal character range", at + 2);
                    }
                    at += 2;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bad("Unclosed character class", chars.len().saturating_sub(1))
}

/// Checks what follows `(?`; gives its last character before the group's body.
fn check_group(chars: &[char], open: usize, pattern: &str) -> Result<usize, JavaError> {
    let bad = |description: &str, index: usize| Err(JavaError::new(description, Some(index), pattern));
    let mut at = open + 2;
    match chars.get(at) {
        Some(':' | '=' | '!' | '>') => Ok(at),
        Some('<') => match chars.get(at + 1) {
            Some('=' | '!') => Ok(at + 1),
            Some(c) if c.is_ascii_alphabetic() => {
                at += 1;
                while chars.get(at).is_some_and(char::is_ascii_alphanumeric) {
                    at += 1;
                }
                if chars.get(at) == Some(&'>') {
                    Ok(at)
                } else {
                    bad("named capturing group is missing trailing '>'", at)
                }
            }
            _ => bad("Unknown look-behind group", at + 1),
        },
        _ => {
            while let Some(c) = chars.get(at) {
                match c {
                    'i' | 'm' | 's' | 'd' | 'u' | 'c' | 'x' | 'U' | '-' => at += 1,
                    ':' | ')' => return Ok(if *c == ')' { at - 1 } else { at }),
                    _ => return bad("Unknown inline modifier", at),
                }
            }
            bad("Unknown inline modifier", at)
        }
    }
}

/// Checks a property's name, from the backslash; gives where it ends.
fn check_property(chars: &[char], slash: usize, pattern: &str) -> Result<usize, JavaError> {
    let bad = |description: &str, index: usize| Err(JavaError::new(description, Some(index), pattern));
    if chars.get(slash + 2) != Some(&'{') {
        return Ok((slash + 2).min(chars.len()));
    }
    let Some(length) = chars[slash + 3..].iter().position(|c| *c == '}') else {
        return bad("Unclosed character family", chars.len().saturating_sub(1));
    };
    let name: String = chars[slash + 3..slash + 3 + length].iter().collect();
    let end = slash + 3 + length;
    let known = ascii_class(&name).is_some() || regex::Regex::new(&format!("\\p{{{}}}", plain_name(&name))).is_ok();
    if known {
        Ok(end)
    } else {
        bad(&format!("Unknown character property name {{{name}}}"), end)
    }
}

/// Gives a property's name as other engines know it.
fn plain_name(name: &str) -> &str {
    name.strip_prefix("Is").unwrap_or(name)
}

/// Gives the members of a class that Java limits to ASCII.
fn ascii_class(name: &str) -> Option<&'static str> {
    Some(match name {
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => "\\x00-\\x7F",
        "Alpha" => "a-zA-Z",
        "Digit" => "0-9",
        "Alnum" => "a-zA-Z0-9",
        "Punct" => "!-/:-@\\[-`{-~",
        "Graph" => "!-~",
        "Print" => " -~",
        "Blank" => " \\t",
        "Cntrl" => "\\x00-\\x1F\\x7F",
        "XDigit" => "0-9a-fA-F",
        "Space" => " \\t\\n\\x0B\\f\\r",
        _ => return None,
    })
}

/// Reads `{Name}` of a property that stands for an ASCII class, or for a script; leaves other names unread.
pub(super) fn property(chars: &mut std::str::Chars<'_>) -> Option<String> {
    let rest = chars.as_str();
    let (name, behind) = rest.strip_prefix('{')?.split_once('}')?;
    let class = match ascii_class(name) {
        Some(class) => class.to_string(),
        None => format!("\\p{{{}}}", name.strip_prefix("Is")?),
    };
    *chars = behind.chars();
    Some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_javas() {
        // Recorded from Druid, first lines.
        for (pattern, error) in [
            ("[", "Unclosed character class near index 0"),
            ("(", "Unclosed group near index 1"),
            (")", "Unmatched closing ')'"),
            ("*", "Dangling meta character '*' near index 0"),
            ("+", "Dangling meta character '+' near index 0"),
            ("?", "Dangling meta character '?' near index 0"),
            ("a**", "Dangling meta character '*' near index 2"),
            ("a{", "Illegal repetition near index 2"),
            ("a{1", "Unclosed counted closure near index 3"),
            ("a{2,1}", "Illegal repetition range near index 5"),
            ("\\", "Unexpected internal error near index 1"),
            ("[b-a]", "Illegal character range near index 3"),
            ("(?<a", "named capturing group is missing trailing '>' near index 4"),
            ("(?z)", "Unknown inline modifier near index 2"),
            ("\\p{Foo}", "Unknown character property name {Foo} near index 6"),
            ("\\k<x>", "named capturing group <x> does not exist near index 4"),
        ] {
            let found = check(pattern).expect_err(pattern).to_string();
            assert_eq!(found.lines().next(), Some(error), "{pattern}");
        }
        for pattern in [
            "",
            "a*+b",
            "a+?",
            "(?i)abc",
            "(?<n>x)\\k<n>",
            "[a-c&&[^b]]+",
            "\\Q(\\E",
            "[]a]",
            "a{2}",
            "a{2,}?",
            "(?:a|b)*",
            "^$",
            "(?=a)b",
            "(?<!a)b",
            "\\p{L}",
            "\\p{IsLatin}",
            "[\\p{Upper}-]",
            "(a)(b)",
            "[^\\]]",
            "a|b",
            "\\d{3}-\\d+",
            "(?i:x)",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }
}
