//! Cuts a text into statements at semicolons, and tells which of them run as tasks. Only quotes and comments are understood
//! here; everything else about SQL is the server's.

/// How a statement is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// As a task: INSERT, REPLACE, and SELECT that reads external data by `TABLE(EXTERN(…))` and the like.
    Task,
    /// At once.
    Interactive,
    /// At once, but by the engine that would run it.
    Explain,
}

/// One statement with the SETs before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text, on the lines where it stood, so that places in errors fit the file.
    pub sql: String,
    /// How to run it.
    pub kind: StatementKind,
}

/// Cuts at semicolons outside quotes and comments. SET statements stay with the statement behind them. Text before a
/// statement is replaced by line ends, so that line numbers are those of the whole text.
pub fn split(text: &str) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut words: Vec<String> = Vec::new();
    let mut sets_only = true;
    let mut seen: Vec<String> = Vec::new();
    for piece in Scanner::new(text) {
        match piece {
            Piece::Word(word) => words.push(word.to_ascii_uppercase()),
            Piece::End(at) => {
                let is_set = words.first().is_some_and(|word| word == "SET");
                seen.append(&mut words);
                if is_set && at < text.len() {
                    continue;
                }
                sets_only &= is_set;
                if !seen.is_empty() {
                    let lines = text[..start].matches('\n').count();
                    let sql = format!("{}{}", "\n".repeat(lines), text[start..at].trim_end());
                    statements.push(Statement {
                        sql,
                        kind: kind(&seen, sets_only),
                    });
                }
                seen.clear();
                sets_only = true;
                start = (at + 1).min(text.len());
            }
        }
    }
    statements
}

fn kind(words: &[String], sets_only: bool) -> StatementKind {
    let has = |word: &str| words.iter().any(|w| w == word);
    let first = words.iter().position(|w| {
        matches!(
            w.as_str(),
            "EXPLAIN" | "INSERT" | "REPLACE" | "SELECT" | "WITH" | "VALUES"
        )
    });
    let first = first.map_or("", |at| words[at].as_str());
    let external = words
        .windows(2)
        .any(|w| w[0] == "TABLE" && matches!(w[1].as_str(), "EXTERN" | "INLINE" | "LOCALFILES" | "HTTP"));
    match first {
        _ if sets_only => StatementKind::Interactive,
        "EXPLAIN" if has("INSERT") || external || words.windows(2).any(|w| w[0] == "FOR" && w[1] == "REPLACE") => {
            StatementKind::Explain
        }
        "INSERT" | "REPLACE" => StatementKind::Task,
        "SELECT" | "WITH" if external => StatementKind::Task,
        _ => StatementKind::Interactive,
    }
}

enum Piece<'a> {
    Word(&'a str),
    End(usize),
}

/// Walks over words and semicolons, skipping quotes and comments.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    done: bool,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            done: false,
        }
    }

    fn skip_past(&mut self, from: usize, end: &str) {
        self.at = self.text[from..]
            .find(end)
            .map_or(self.text.len(), |i| from + i + end.len());
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        loop {
            let rest = &self.text[self.at..];
            let Some(c) = rest.chars().next() else {
                if self.done {
                    return None;
                }
                self.done = true;
                return Some(Piece::End(self.text.len()));
            };
            if rest.starts_with("--") || rest.starts_with("//") {
                self.skip_past(self.at, "\n");
            } else if rest.starts_with("/*") {
                self.skip_past(self.at + 2, "*/");
            } else if c == '\'' || c == '"' {
                // A doubled quote inside reads as two strings that touch, which skips the same text.
                self.skip_past(self.at + 1, if c == '\'' { "'" } else { "\"" });
            } else if c == ';' {
                self.at += 1;
                return Some(Piece::End(self.at - 1));
            } else if c.is_alphanumeric() || c == '_' {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                self.at += end;
                return Some(Piece::Word(&rest[..end]));
            } else {
                self.at += c.len_utf8();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<StatementKind> {
        split(text).into_iter().map(|s| s.kind).collect()
    }

    #[test]
    fn cuts_outside_quotes_and_comments() {
        let text = "SELECT ';' AS \"a;b\" -- no; end\n; /* ; */ SET a = 1; SELECT 2;\n;\n";
        let statements = split(text);
        assert_eq!(statements.len(), 2);
        assert_eq!(statements[0].sql, "SELECT ';' AS \"a;b\" -- no; end");
        assert_eq!(statements[1].sql.trim(), "/* ; */ SET a = 1; SELECT 2");
        assert!(statements[1].sql.starts_with('\n'), "line numbers are kept");
    }

    #[test]
    fn tells_tasks() {
        use StatementKind::*;
        assert_eq!(kinds("INSERT INTO t SELECT 1"), [Task]);
        assert_eq!(
            kinds("SET a = 'replace'; REPLACE INTO t OVERWRITE ALL SELECT 1"),
            [Task]
        );
        assert_eq!(kinds("SELECT * FROM TABLE(EXTERN('','',''))"), [Task]);
        assert_eq!(
            kinds("SELECT * FROM TABLE ( inline(data => ARRAY['a'], format => 'csv')) (a VARCHAR)"),
            [Task]
        );
        assert_eq!(kinds("SELECT inline FROM t"), [Interactive]);
        assert_eq!(kinds("SELECT REPLACE(a, 'b', 'c') FROM t"), [Interactive]);
        assert_eq!(
            kinds("EXPLAIN PLAN FOR SELECT REPLACE(a, 'b', 'c') FROM t"),
            [Interactive]
        );
        assert_eq!(
            kinds("EXPLAIN PLAN FOR REPLACE INTO t OVERWRITE ALL SELECT 1"),
            [Explain]
        );
        assert_eq!(kinds("SET a = 1"), [Interactive]);
        assert_eq!(kinds("  -- nothing\n ;; "), []);
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_keeps_order(text in "\\PC{0,60}|[;'\"/*\\-a-z \n]{0,60}") {
            let mut from = 0;
            for statement in split(&text) {
                let sql = statement.sql.trim();
                let at = text[from..].find(sql).map(|i| i + from);
                proptest::prop_assert!(at.is_some());
                from = at.unwrap_or(0);
            }
        }
    }
}
