//! What the command line prints when something fails: the message, the line of SQL with a caret under the place, and a remedy.

use std::fmt::Write as _;

/// A failure, ready to be shown.
#[derive(Debug, Default)]
pub struct Failure {
    /// What happened.
    pub message: String,
    /// Druid's error code, where the failure has one.
    pub code: Option<String>,
    /// The statement and the place in it (line and column from 1, and the column of the end).
    pub place: Option<Box<Place>>,
    /// What to do.
    pub remedy: Option<String>,
}

/// A place in a statement.
#[derive(Debug, Clone)]
pub struct Place {
    /// The whole statement.
    pub sql: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Last column of the faulty text on the same line, where known.
    pub end_column: Option<usize>,
}

impl Failure {
    /// Makes a failure of a message alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Prints to standard error.
    pub fn print(&self) {
        eprint!("{}", self.render());
    }

    /// Renders as text that ends with a line end.
    pub fn render(&self) -> String {
        let mut text = String::new();
        match &self.code {
            Some(code) => writeln!(text, "error [{code}]: {}", self.message),
            None => writeln!(text, "error: {}", self.message),
        }
        .ok();
        if let Some(place) = &self.place
            && let Some(line) = place.sql.lines().nth(place.line.saturating_sub(1))
        {
            let number = place.line.to_string();
            let width = number.len();
            let column = place.column.max(1);
            let indent: String = line
                .chars()
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let length = place
                .end_column
                .map_or(1, |end| (end + 1).saturating_sub(column))
                .max(1);
            let length = length.min(line.chars().count().saturating_sub(column - 1).max(1));
            writeln!(text, "{:width$} |", "").ok();
            writeln!(text, "{number} | {line}").ok();
            writeln!(text, "{:width$} | {indent}{}", "", "^".repeat(length)).ok();
        }
        if let Some(remedy) = &self.remedy {
            writeln!(text, "help: {remedy}").ok();
        }
        text
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_place_with_a_caret() {
        let failure = Failure {
            message: "Column 'chanel' not found in any table".to_string(),
            code: Some("invalidInput".to_string()),
            place: Some(Box::new(Place {
                sql: "SELECT 1,\n  chanel FROM t".to_string(),
                line: 2,
                column: 3,
                end_column: Some(8),
            })),
            remedy: Some("did you mean channel?".to_string()),
        };
        assert_eq!(
            failure.render(),
            "error [invalidInput]: Column 'chanel' not found in any table\n  |\n2 |   chanel FROM t\n  |   ^^^^^^\nhelp: did you mean channel?\n"
        );
    }

    #[test]
    fn a_place_outside_the_text_is_harmless() {
        let place = |line, column, end_column| Place {
            sql: "ü".to_string(),
            line,
            column,
            end_column,
        };
        for place in [place(0, 0, None), place(1, 99, Some(3)), place(7, 1, Some(1))] {
            let failure = Failure {
                place: Some(Box::new(place)),
                ..Failure::new("no")
            };
            assert!(failure.render().starts_with("error: no\n"));
        }
    }
}
