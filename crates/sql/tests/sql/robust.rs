//! Nothing that a user can send may panic or overflow the stack.

use henge_sql::EngineKind;
use proptest::prelude::*;
use serde_json::Map;

use crate::run::plan;

const WORDS: [&str; 78] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "ORDER",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "AS",
    "ON",
    "JOIN",
    "LEFT",
    "CROSS",
    "UNION",
    "ALL",
    "DISTINCT",
    "WITH",
    "INSERT",
    "INTO",
    "REPLACE",
    "OVERWRITE",
    "PARTITIONED",
    "CLUSTERED",
    "DAY",
    "TABLE",
    "EXTERN",
    "EXTEND",
    "VALUES",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "NULL",
    "TRUE",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "IS",
    "CAST",
    "(",
    ")",
    "(",
    ")",
    ",",
    ".",
    "*",
    "+",
    "-",
    "/",
    "=",
    "<",
    ">",
    "||",
    "?",
    ";",
    "1",
    "2.5",
    "'x'",
    "'P1D'",
    "api_base",
    "\"n\"",
    "\"country\"",
    "__time",
    "mv",
    "tags",
    "COUNT",
    "SUM",
    "FLOOR",
    "TIME_FLOOR",
    "OVER",
    "PARTITION",
    "INTERVAL",
    "TIMESTAMP",
];

const STATEMENTS: [&str; 6] = [
    "SELECT country, COUNT(*) AS c, SUM(n) FROM api_base WHERE __time >= TIMESTAMP '2015-01-01' AND n > 1 GROUP BY 1 HAVING SUM(n) > 1 ORDER BY 2 DESC LIMIT 3",
    "REPLACE INTO t OVERWRITE WHERE __time >= TIMESTAMP '2015-01-01' AND __time < TIMESTAMP '2015-01-02' SELECT * FROM api_base PARTITIONED BY DAY CLUSTERED BY country, 3",
    "INSERT INTO t SELECT TIME_PARSE(t) AS __time, x FROM TABLE(EXTERN('{\"type\":\"inline\",\"data\":\"a\"}','{\"type\":\"json\"}')) EXTEND (t VARCHAR, x BIGINT ARRAY) PARTITIONED BY TIME_FLOOR(__time, 'PT1H')",
    "WITH a AS (SELECT n, city FROM api_base) SELECT x.n, ROW_NUMBER() OVER (PARTITION BY x.city ORDER BY x.n) FROM a x JOIN a y ON x.n = y.n WHERE x.n IN (SELECT n FROM a)",
    "SELECT CASE WHEN n > 1 THEN 'a' ELSE city END, FLOOR(__time TO MONTH), TIMESTAMPADD(DAY, 1, __time), SUBSTRING(city FROM 2 FOR 3) FROM api_base ORDER BY n + 1",
    "SELECT u.t, COUNT(*) FROM api_base CROSS JOIN UNNEST(tags) AS u(t) GROUP BY ROLLUP(u.t) UNION ALL SELECT 'x', 1",
];

fn survives(sql: &str) {
    for engine in [EngineKind::Native, EngineKind::Task] {
        // The answer does not matter; coming back does.
        let outcome = plan(engine, sql, Map::new(), Vec::new());
        drop(outcome);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn soups_of_tokens(words in proptest::collection::vec(0..WORDS.len(), 1..40)) {
        let sql: Vec<&str> = words.into_iter().map(|i| WORDS[i]).collect();
        survives(&sql.join(" "));
        survives(&format!("SELECT {} FROM api_base", sql.join(" ")));
    }

    #[test]
    fn mutated_statements(which in 0..STATEMENTS.len(), cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0..WORDS.len(), 0..3u8), 1..4)) {
        let mut words: Vec<String> = STATEMENTS[which].split(' ').map(String::from).collect();
        for (at, word, kind) in cuts {
            let at = at.index(words.len());
            match kind {
                0 => { words.remove(at); if words.is_empty() { return Ok(()); } }
                1 => words[at] = WORDS[word].to_string(),
                _ => words.insert(at, WORDS[word].to_string()),
            }
        }
        survives(&words.join(" "));
    }

    #[test]
    fn any_text(text in "\\PC{0,60}") {
        survives(&text);
        survives(&format!("SELECT {text}"));
    }
}

#[test]
fn items_of_items_do_not_double_without_bound() {
    let mut items = vec!["t0 AS (SELECT * FROM api_base)".to_string()];
    items.extend((1..40).map(|i| format!("t{i} AS (SELECT a.* FROM t{0} AS a, t{0} AS b)", i - 1)));
    let sql = format!("WITH {} SELECT COUNT(*) FROM t39", items.join(", "));
    let error = plan(EngineKind::Native, &sql, Map::new(), Vec::new()).expect_err("doubles 39 times");
    assert!(
        error.to_string().contains("more than the limit of 2000 tables"),
        "{error}"
    );
}

#[test]
fn deep_and_long_statements_come_back() {
    let nested = |n: usize| format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n));
    survives(&nested(200));
    survives(&nested(1000));
    survives(&nested(100_000));
    survives(&format!("SELECT {}1{}", "ABS(".repeat(300), ")".repeat(300)));
    survives(&format!(
        "SELECT * FROM {}api_base{}",
        "(SELECT * FROM ".repeat(60),
        ")".repeat(60)
    ));
    survives(&format!("SELECT {}1", "NOT ".repeat(1000)));
    survives(&format!("SELECT {}1", "- ".repeat(3000)));
    survives(&format!("SELECT {}1", "1 + ".repeat(900)));
    survives(&format!("SELECT {}1", "1 + ".repeat(60_000)));
    survives(&format!(
        "SELECT 1 FROM api_base WHERE {}n = 0",
        "n = 1 OR ".repeat(3000)
    ));
    survives(&format!(
        "SELECT 1 FROM api_base WHERE n IN ({}0)",
        "1,".repeat(100_000)
    ));
    survives(&format!("SELECT '{}'", "x".repeat(1_000_000)));
    survives(&format!("SELECT {}1", "CASE WHEN TRUE THEN ".repeat(500)));
}

/// Numbers that look random and are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// Every statement of the text fixtures.
fn fixtures() -> Vec<String> {
    let folder = crate::run::folder("crates/sql/tests/slt").expect("the fixtures");
    let mut statements: Vec<String> = STATEMENTS.map(String::from).to_vec();
    for file in crate::run::files(&folder) {
        let text = std::fs::read_to_string(file).expect("readable");
        for block in text.split("\n\n") {
            let lines: Vec<&str> = block.lines().skip_while(|line| line.starts_with('#')).skip(1).collect();
            let sql: Vec<&str> = lines.into_iter().take_while(|line| *line != "----").collect();
            statements.push(sql.join("\n"));
        }
    }
    statements
}

/// Cuts, doubles, swaps and splices the characters of real statements: the parser's and the planner's fuzz target. As many
/// rounds as `HENGE_FUZZ_ROUNDS` says.
#[test]
fn mutated_fixtures_come_back() {
    let rounds = std::env::var("HENGE_FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(400);
    let statements = fixtures();
    assert!(statements.len() > 100, "the fixtures are there");
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for _ in 0..rounds {
        let mut text: Vec<char> = statements[dice.below(statements.len())].chars().collect();
        for _ in 0..=dice.below(3) {
            let (from, length) = (dice.below(text.len() + 1), dice.below(12));
            let to = (from + length).min(text.len());
            match dice.below(5) {
                0 => drop(text.drain(from..to)),
                1 => {
                    let part = text[from..to].to_vec();
                    text.splice(from..from, part);
                }
                2 => {
                    let other: Vec<char> = statements[dice.below(statements.len())].chars().collect();
                    let start = dice.below(other.len());
                    text.splice(from..to, other[start..(start + 30).min(other.len())].iter().copied());
                }
                3 => {
                    let word = WORDS[dice.below(WORDS.len())];
                    text.splice(from..from, format!(" {word} ").chars());
                }
                _ => {
                    const CHARACTERS: [char; 12] = ['(', ')', '\'', '"', '[', ']', '.', ',', '\0', 'é', '😀', '9'];
                    text.splice(from..to, [CHARACTERS[dice.below(CHARACTERS.len())]]);
                }
            }
        }
        survives(&text.into_iter().collect::<String>());
    }
}
