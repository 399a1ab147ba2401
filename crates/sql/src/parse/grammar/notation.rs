//! Reads `druid.grammar`: the notation is explained at the head of that file.

use std::collections::{BTreeSet, HashMap};

use super::Kind;
use super::nodes::{Branch, Condition, Grammar, Look, Node, Roles, Rule};
use crate::parse::reserved::RESERVED;

/// Lookahead where a branch gives none.
const DEFAULT_AMOUNT: i64 = 2;

/// Classes of tokens and signs behind the keywords, in the order of Calcite's lexer.
const CLASSES: [&str; 62] = [
    "<UNSIGNED_INTEGER_LITERAL>",
    "<APPROX_NUMERIC_LITERAL>",
    "<DECIMAL_NUMERIC_LITERAL>",
    "<BINARY_STRING_LITERAL>",
    "<QUOTED_STRING>",
    "<PREFIXED_STRING_LITERAL>",
    "<UNICODE_STRING_LITERAL>",
    "<C_STYLE_ESCAPED_STRING_LITERAL>",
    "<BIG_QUERY_DOUBLE_QUOTED_STRING>",
    "<BIG_QUERY_QUOTED_STRING>",
    "'('",
    "')'",
    "<LBRACE_D>",
    "<LBRACE_T>",
    "<LBRACE_TS>",
    "<LBRACE_FN>",
    "'{'",
    "'}'",
    "'['",
    "']'",
    "';'",
    "'.'",
    "','",
    "'='",
    "'>'",
    "'<'",
    "'?'",
    "':'",
    "'<='",
    "'>='",
    "'<>'",
    "'!='",
    "'+'",
    "'-'",
    "'->'",
    "'*'",
    "'/'",
    "'%'",
    "'||'",
    "'=>'",
    "'..'",
    "'\\''",
    "'\\\"'",
    "'|'",
    "'^'",
    "'$'",
    "'/*+'",
    "'*/'",
    "<BRACKET_QUOTED_IDENTIFIER>",
    "<QUOTED_IDENTIFIER>",
    "<BACK_QUOTED_IDENTIFIER>",
    "<BIG_QUERY_BACK_QUOTED_IDENTIFIER>",
    "<HYPHENATED_IDENTIFIER>",
    "<IDENTIFIER>",
    "<COLLATION_ID>",
    "<UNICODE_QUOTED_IDENTIFIER>",
    "<BEL>",
    "<LETTER>",
    "<DIGIT>",
    "<EXPONENT>",
    "<HEXDIGIT>",
    "<WHITESPACE>",
];

/// Reserved words that stand in no production and in no list of reserved words either.
const MORE_WORDS: [&str; 1] = ["REGR_R2"];

/// Reads the grammar; what is wrong with it is told.
pub(super) fn read(text: &str) -> Result<Grammar, String> {
    let symbols = symbols(text);
    let mut words: BTreeSet<String> = RESERVED.iter().map(|word| word.to_ascii_uppercase()).collect();
    words.extend(MORE_WORDS.map(String::from));
    for symbol in &symbols {
        if let Some(word) = quoted(symbol).filter(|w| w.starts_with(|c: char| c.is_ascii_alphabetic())) {
            words.insert(word.to_string());
        }
    }
    let mut images = vec!["<EOF>".to_string()];
    let mut kinds = HashMap::new();
    for word in words {
        kinds.insert(word.clone(), images.len() as Kind);
        images.push(format!("\"{word}\""));
    }
    for class in CLASSES {
        let (key, image) = match quoted(class) {
            Some(sign) => (sign.replace('\\', ""), format!("\"{sign}\"")),
            None => (class.to_string(), class.to_string()),
        };
        kinds.insert(key, images.len() as Kind);
        images.push(image);
    }
    kinds.insert("<EOF>".into(), super::END);
    let mut names = HashMap::new();
    for (i, symbol) in symbols.iter().enumerate() {
        if symbols.get(i + 1).is_some_and(|next| next == "=") {
            let number = names.len();
            if names.insert(symbol.as_str(), number).is_some() {
                return Err(format!("production [{symbol}] is there twice"));
            }
        }
    }
    let production = |name: &str| names.get(name).copied().ok_or(format!("no production [{name}]"));
    let roles = Roles {
        start: production("statements")?,
        words: production("unreserved-word")?,
        listing: production("listing")?,
        expression: production("expression")?,
        source: production("derived-table")?,
        operand: production("operand")?,
        prefix: production("sign-or-negation")?,
    };
    let mut reader = Reader {
        symbols: &symbols,
        at: 0,
        names: &names,
        kinds: &kinds,
        rules: Vec::new(),
    };
    let mut productions = Vec::new();
    while reader.at < symbols.len() {
        reader.at += 1;
        reader.expect("=")?;
        productions.push(reader.choice()?);
        reader.expect(";")?;
    }
    let rules = reader.rules;
    Ok(Grammar::complete(images, kinds, rules, productions, roles))
}

fn quoted(symbol: &str) -> Option<&str> {
    symbol.strip_prefix('\'')?.strip_suffix('\'')
}

/// Cuts the text at blanks; signs of the notation stand alone. Comments go.
fn symbols(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        for piece in line.split_whitespace() {
            let mut rest = piece;
            while !rest.is_empty() {
                let length = match rest.as_bytes()[0] {
                    b'\'' => rest[1..].find('\'').map_or(rest.len(), |i| i + 2),
                    b'<' => rest.find('>').map_or(rest.len(), |i| i + 1),
                    b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'|' | b';' | b'=' => 1,
                    _ => rest
                        .find(['(', ')', '[', ']', '{', '}', '|', ';', '='])
                        .unwrap_or(rest.len()),
                };
                let (symbol, behind) = rest.split_at(length);
                let suffix = usize::from(symbol == ")" && behind.starts_with(['*', '+']));
                out.push(rest[..length + suffix].to_string());
                rest = &rest[length + suffix..];
            }
        }
    }
    out
}

struct Reader<'a> {
    symbols: &'a [String],
    at: usize,
    names: &'a HashMap<&'a str, usize>,
    kinds: &'a HashMap<String, Kind>,
    rules: Vec<Rule>,
}

/// A lookahead as written.
struct Written {
    amount: i64,
    rule: Option<Node>,
    condition: Option<Condition>,
}

impl Reader<'_> {
    fn peek(&self) -> &str {
        self.symbols.get(self.at).map_or("", String::as_str)
    }

    fn expect(&mut self, symbol: &str) -> Result<(), String> {
        if self.peek() != symbol {
            return Err(format!("symbol {}: [{}] instead of [{symbol}]", self.at, self.peek()));
        }
        self.at += 1;
        Ok(())
    }

    fn add(&mut self, rule: Rule) -> Node {
        self.rules.push(rule);
        self.rules.len() - 1
    }

    /// Reads branches up to what ends them; one branch without a condition is a plain sequence.
    fn choice(&mut self) -> Result<Node, String> {
        let mut found = vec![self.branch()?];
        while self.peek() == "|" {
            self.at += 1;
            found.push(self.branch()?);
        }
        if found.len() == 1 && found[0].look.condition.is_none() {
            return Ok(found.remove(0).body);
        }
        Ok(self.add(Rule::Choice(found)))
    }

    /// Reads what an option or a loop holds; its lookahead is that of a single branch, or the default one over all of them.
    fn held(&mut self) -> Result<Branch, String> {
        let mut found = vec![self.branch()?];
        while self.peek() == "|" {
            self.at += 1;
            found.push(self.branch()?);
        }
        if found.len() == 1 {
            return Ok(found.remove(0));
        }
        let body = self.add(Rule::Choice(found));
        Ok(Branch {
            body,
            look: plain(body),
        })
    }

    fn branch(&mut self) -> Result<Branch, String> {
        let written = self.lookahead()?;
        let mut units = Vec::new();
        loop {
            match self.peek() {
                "" | "|" | "]" | "}" | ";" => break,
                symbol if symbol.starts_with(')') => break,
                _ => units.extend(self.unit()?),
            }
        }
        let body = self.add(Rule::Sequence(units));
        let look = match written {
            None => plain(body),
            Some(written) => Look {
                amount: written.amount,
                rule: written.rule.unwrap_or(body),
                condition: written.condition,
                number: None,
            },
        };
        Ok(Branch { body, look })
    }

    fn lookahead(&mut self) -> Result<Option<Written>, String> {
        let Some(text) = self.peek().strip_prefix('@') else {
            return Ok(None);
        };
        let text = text.to_string();
        self.at += 1;
        let only = |condition| Written {
            amount: 0,
            rule: None,
            condition: Some(condition),
        };
        match text.as_str() {
            "never" => return Ok(Some(only(Condition::Never))),
            "always" => return Ok(Some(only(Condition::Always))),
            "not" => {
                self.expect("{")?;
                let mut not = Vec::new();
                while self.peek() != "}" {
                    not.push(self.kind()?);
                }
                self.at += 1;
                return Ok(Some(only(Condition::Not(not))));
            }
            _ => {}
        }
        let amount = match text.as_str() {
            "" => super::nodes::UNBOUND,
            digits => digits.parse().map_err(|_| format!("no lookahead [@{digits}]"))?,
        };
        let mut rule = None;
        if self.peek() == "{" {
            self.at += 1;
            rule = Some(self.choice()?);
            self.expect("}")?;
        }
        Ok(Some(Written {
            amount,
            rule,
            condition: None,
        }))
    }

    fn kind(&mut self) -> Result<Kind, String> {
        let symbol = self.peek().to_string();
        let key = quoted(&symbol).map_or_else(|| symbol.clone(), |sign| sign.replace('\\', ""));
        self.at += 1;
        self.kinds.get(&key).copied().ok_or(format!("no token [{symbol}]"))
    }

    fn unit(&mut self) -> Result<Option<Node>, String> {
        let symbol = self.peek().to_string();
        Ok(Some(match symbol.as_str() {
            "[" => {
                self.at += 1;
                let held = self.held()?;
                self.expect("]")?;
                self.add(Rule::Optional(held))
            }
            "(" => {
                self.at += 1;
                if self.peek() == ")" {
                    self.at += 1;
                    return Ok(None);
                }
                let held = self.held()?;
                let close = self.peek().to_string();
                self.at += 1;
                match close.as_str() {
                    ")*" => self.add(Rule::Repeated(held)),
                    ")+" => self.add(Rule::RepeatedOnce(held)),
                    ")" if held.look.condition.is_some() => self.add(Rule::Choice(vec![held])),
                    // A group: there is nothing to choose between it and nothing.
                    ")" => held.body,
                    other => return Err(format!("symbol {}: [{other}] instead of [)]", self.at - 1)),
                }
            }
            "unbound" => {
                self.at += 1;
                self.add(Rule::Unbound)
            }
            "!query" | "!alias" | "!done" => {
                self.at += 1;
                self.add(match symbol.as_str() {
                    "!query" => Rule::QueryOnly,
                    "!alias" => Rule::NoAlias,
                    _ => Rule::Done,
                })
            }
            _ if symbol.starts_with(['\'', '<']) => {
                let kind = self.kind()?;
                self.add(Rule::Token(kind))
            }
            name => {
                self.at += 1;
                let number = self.names.get(name).copied().ok_or(format!("no production [{name}]"))?;
                self.add(Rule::Call(number))
            }
        }))
    }
}

/// Gives the lookahead of a branch that gives none.
fn plain(body: Node) -> Look {
    Look {
        amount: DEFAULT_AMOUNT,
        rule: body,
        condition: None,
        number: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_reads_as_the_generator_counts_it() {
        let grammar = read(include_str!("druid.grammar")).expect("a grammar");
        // What JavaCC makes of Calcite's grammar has 1402 lookahead routines; a few belong to productions that statements
        // never reach.
        assert!(
            (1_300..=1_402).contains(&grammar.lookaheads),
            "{} lookaheads",
            grammar.lookaheads
        );
        assert!(grammar.words.has(grammar.kinds["FORMAT"]) && !grammar.words.has(grammar.kinds["SELECT"]));
    }

    #[test]
    fn mistakes_in_a_grammar_are_told() {
        for text in [
            "statements = a ;",
            "statements = 'A' ; statements = 'B' ;",
            "statements = 'A' ; unreserved-word = ( 'B' ;",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
