//! The grammar of Druid's SQL, and what it expects where a statement does not follow it.
//!
//! ```text
//!  statement ── lexer ──► lexemes ── recogniser ──► accepted, and the query parser makes the tree
//!                                        │
//!  druid.grammar ── notation ──► nodes ──┘       └► refused: the token, and the lists of tokens that were expected ── wording
//! ```
//!
//! The query parser (`sqlparser`) has a grammar of its own, which is wider in places and tells mistakes in its own words and at
//! its own places. Druid's clients see Calcite's: an LL(k) parser whose messages list every sequence of tokens that it looked
//! for. Those lists follow from the productions and their lookaheads alone, so the recogniser keeps both ([`nodes`]) and tries
//! them in Calcite's order.

mod forbidden;
mod lexer;
mod nodes;
mod notation;
mod recogniser;
mod wording;

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::{SqlError, limits};

pub(crate) use forbidden::PERCENT;
use lexer::Lexeme;
use nodes::Grammar;

/// Index of a kind of token in [`Grammar::images`].
type Kind = u16;

/// The end of the text.
const END: Kind = 0;

/// Why a statement is refused. Places are indexes into the lexemes; the one behind the last is the end of the text.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// Another token should have stood here: one of these sequences, in Calcite's order.
    Unexpected { at: usize, expected: Vec<Vec<Kind>> },
    /// These characters are no token.
    NoToken { at: usize },
    /// An expression stands where only a query may.
    NotQuery { at: usize },
    /// What stands before this place has no meaning.
    Illegal { at: usize, message: &'static str },
    /// A string stands where an alias may.
    NoAlias { at: usize },
}

/// Checks that the text follows the grammar of Druid's SQL.
pub(crate) fn check(sql: &str) -> Result<(), SqlError> {
    if sql.len() > limits::MAX_STATEMENT_BYTES {
        // Whoever cuts it into tokens refuses it.
        return Ok(());
    }
    let grammar = grammar();
    let text = lexer::lex(grammar, sql);
    if text.lexemes.len() > limits::MAX_CHECKED_TOKENS {
        return Ok(());
    }
    let shape = Shape::of(&text.lexemes);
    let found = match shape.is_accepted() {
        true => None,
        false => stacker::grow(limits::GRAMMAR_STACK_BYTES, || {
            recogniser::recognise(grammar, &text.lexemes)
        }),
    };
    let reached = match &found {
        None => text.lexemes.len(),
        Some(
            Refusal::Unexpected { at, .. }
            | Refusal::NoToken { at }
            | Refusal::NotQuery { at }
            | Refusal::Illegal { at, .. }
            | Refusal::NoAlias { at },
        ) => *at,
    };
    forbidden::check(grammar, &text, reached, found.is_some())?;
    match found {
        None => {
            shape.accept();
            Ok(())
        }
        Some(refusal) => Err(wording::error(grammar, &text, refusal)),
    }
}

/// The kinds of a statement's tokens, as a fingerprint. They alone decide whether it follows the grammar, and clients send the
/// same statements with other literals over and over.
struct Shape(u64, u64);

impl Shape {
    fn of(lexemes: &[Lexeme]) -> Self {
        // Two keys that nobody knows: no text can be made to look like another.
        static KEYS: LazyLock<(RandomState, RandomState)> = LazyLock::new(Default::default);
        let (mut first, mut second) = (KEYS.0.build_hasher(), KEYS.1.build_hasher());
        for lexeme in lexemes {
            let kind = lexeme.kind.map_or(u32::MAX, u32::from);
            first.write_u32(kind);
            second.write_u32(kind);
        }
        Shape(first.finish(), second.finish())
    }

    fn accepted() -> MutexGuard<'static, HashSet<(u64, u64)>> {
        static ACCEPTED: LazyLock<Mutex<HashSet<(u64, u64)>>> = LazyLock::new(Default::default);
        ACCEPTED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_accepted(&self) -> bool {
        Self::accepted().contains(&(self.0, self.1))
    }

    fn accept(&self) {
        let mut accepted = Self::accepted();
        if accepted.len() >= limits::MAX_KNOWN_SHAPES {
            accepted.clear();
        }
        accepted.insert((self.0, self.1));
    }
}

fn grammar() -> &'static Grammar {
    static GRAMMAR: OnceLock<Grammar> = OnceLock::new();
    GRAMMAR.get_or_init(|| notation::read(include_str!("druid.grammar")).expect("druid.grammar follows its notation"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_the_dialect_are_accepted() {
        for sql in [
            "SELECT 1",
            "select a, \"b c\" as d, count(*) filter (where x > 1e3) from t as u where a in (1, 2) group by 1, 2 order by 3 desc limit 5",
            "SET a = 'x'; SET b = -1; SELECT 1;;",
            "WITH w AS (SELECT 1) SELECT * FROM w UNION ALL (SELECT 2)",
            "EXPLAIN PLAN FOR INSERT INTO t SELECT * FROM u PARTITIONED BY DAY CLUSTERED BY a, b DESC",
            "REPLACE INTO \"t\" OVERWRITE WHERE __time >= TIMESTAMP '2000-01-01' SELECT * FROM TABLE(EXTERN('{}', '{}')) \
             EXTEND (a VARCHAR, b BIGINT ARRAY, c TYPE('COMPLEX<json>')) PARTITIONED BY FLOOR(__time TO DAY)",
            "INSERT INTO EXTERN(s3(bucket => 'x')) AS CSV SELECT 1",
            "SELECT SUM(x) OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
            "SELECT CASE WHEN a THEN 1 ELSE 2 END, CAST(x AS VARCHAR(5)), INTERVAL '1' DAY, JSON_VALUE(a, '$.x' RETURNING BIGINT) FROM t",
            "SELECT /*+ hint */ a -- end\n FROM t // and more\n",
            "VALUES (1, 2), (3, 4)",
        ] {
            assert_eq!(check(sql).map_err(|e| e.message.clone()), Ok(()), "{sql}");
        }
    }

    #[test]
    fn what_was_accepted_is_told_by_its_tokens() {
        for _ in 0..2 {
            assert!(check("SELECT a_shape, 1 FROM t WHERE b = 'x'").is_ok());
            assert!(check("SELECT b_shape, 2 FROM u WHERE c = 'y'").is_ok());
            assert!(check("SELECT a_shape, 1 FROM t WHERE b = =").is_err());
            assert!(check("SELECT a_shape 1 FROM t WHERE b = 'x'").is_err());
        }
    }

    /// What the parser of Druid 38 says to statements with a token missing, added, changed or moved.
    #[test]
    fn mistakes_are_told_as_druid_tells_them() {
        for line in include_str!("mistakes.jsonl").lines() {
            let case: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
            let (sql, message) = (
                case["sql"].as_str().expect("sql"),
                case["message"].as_str().expect("message"),
            );
            let told = check(sql).expect_err(sql);
            assert_eq!(told.message, message, "{sql}");
        }
    }

    #[test]
    fn deep_nesting_and_long_lists_end() {
        let deep = format!("SELECT {}1{}", "(".repeat(900), ")".repeat(900));
        assert!(check(&deep).is_ok());
        let queries = format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(200), ")".repeat(200));
        assert!(check(&queries).is_ok());
        let open = "SELECT * FROM (".repeat(5_000);
        let _ = check(&open);
        let list = format!("SELECT 1 FROM t WHERE a IN ({}2", "1, ".repeat(50_000));
        assert!(check(&list).is_err());
    }
}
