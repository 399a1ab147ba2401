//! Follows the grammar over the tokens, and collects what was expected where it cannot.
//!
//! 1. **Choosing.** At a choice every branch is *looked for* in turn ([`Run::scan`]): up to its lookahead's number of tokens,
//!    taking the first alternative that fits, without a second try. Every such look is remembered with how far it reached.
//! 2. **Failing.** Where no branch fits, or a token does not, every remembered look that reached beyond the last accepted token
//!    is made again, in the order of the lookaheads in the grammar; now each token that it asks for is noted. A sequence of
//!    tokens is expected when the look left it: that is what makes `"," "FROM"` out of two looks at one place.
//!
//! This is what the parser that JavaCC generates from Calcite's grammar does, so that the lists come out the same.

use std::collections::HashMap;

use super::lexer::Lexeme;
use super::nodes::{Condition, Grammar, Look, Node, Rule};
use super::{END, Kind, Refusal};
use crate::limits;

/// Longest expected sequence that is noted.
const MAX_SEQUENCE: usize = 100;

/// Gives why the tokens do not follow the grammar, or nothing where they do, or where it would take too long to tell.
pub(super) fn recognise(grammar: &Grammar, lexemes: &[Lexeme]) -> Option<Refusal> {
    let mut run = Run {
        grammar,
        lexemes,
        taken: 0,
        scanned: 0,
        furthest: 0,
        left: 0,
        betweens: grammar
            .kinds
            .get("BETWEEN")
            .is_some_and(|kind| lexemes.iter().any(|l| l.kind == Some(*kind))),
        again: false,
        looks: vec![Vec::new(); grammar.lookaheads],
        pairs: HashMap::new(),
        sets: Vec::new(),
        asked: None,
        expected: Vec::new(),
        asked_for: [END; MAX_SEQUENCE],
        asked_length: 0,
        refused: None,
        depth: 0,
        steps: 0,
    };
    match run.parse(grammar.productions[grammar.start]) {
        Ok(()) | Err(Stop::Found | Stop::Done | Stop::Abandoned) => None,
        Err(Stop::NoToken(at)) => Some(Refusal::NoToken { at }),
        Err(Stop::NotQuery(at)) => Some(Refusal::NotQuery { at }),
        Err(Stop::Illegal(message)) => Some(Refusal::Illegal { at: run.taken, message }),
        Err(Stop::NoAlias) => Some(Refusal::NoAlias {
            at: run.taken.saturating_sub(1),
        }),
        Err(Stop::Unexpected) => match run.explain() {
            Err(Stop::NoToken(at)) => Some(Refusal::NoToken { at }),
            Err(Stop::Abandoned) => None,
            _ => Some(Refusal::Unexpected {
                at: run.taken,
                expected: run.expected,
            }),
        },
    }
}

/// What ends a walk early.
enum Stop {
    /// All tokens that a lookahead wants have been seen.
    Found,
    /// A token that nothing expects.
    Unexpected,
    /// These characters are no token.
    NoToken(usize),
    /// No query where only a query may be.
    NotQuery(usize),
    /// A string where an alias may be.
    NoAlias,
    /// What follows the grammar so far, and has no meaning.
    Illegal(&'static str),
    /// The production ends before its rule does.
    Done,
    /// The statement is nested too deep, or takes too many steps.
    Abandoned,
}

/// A look that was made.
#[derive(Debug, Clone, Copy)]
struct Made {
    /// How many tokens were taken before it.
    from: usize,
    /// How many tokens had been seen when it ended, all in all.
    reach: i64,
    rule: Node,
    amount: i64,
}

struct Run<'a> {
    grammar: &'a Grammar,
    lexemes: &'a [Lexeme],
    /// Tokens taken so far; the next one has this index.
    taken: usize,
    /// While looking ahead: tokens behind us; and the most of them so far.
    scanned: usize,
    furthest: usize,
    /// While looking ahead: how many tokens more to see. Below zero there is no limit.
    left: i64,
    /// The statement has BETWEENs.
    betweens: bool,
    /// Looks are made again to note what they ask for.
    again: bool,
    /// Looks made, by lookahead.
    looks: Vec<Vec<Made>>,
    /// What looks of up to two tokens found: by lookahead and these tokens, whether the rule, and how many tokens were seen.
    pairs: HashMap<(usize, Kind, Kind), (bool, i64)>,
    /// Sets of tokens that a branch of one token of lookahead was chosen by, with the tokens taken then.
    sets: Vec<(Node, usize)>,
    /// The token that should have been taken.
    asked: Option<Kind>,
    expected: Vec<Vec<Kind>>,
    /// The tokens asked for on the way of the present look; what lies behind the length is of looks before.
    asked_for: [Kind; MAX_SEQUENCE],
    asked_length: usize,
    /// Where an expression stands instead of a query, and where its first operand starts.
    refused: Option<(usize, usize)>,
    depth: usize,
    steps: usize,
}

impl Run<'_> {
    fn kind(&self, index: usize) -> Result<Kind, Stop> {
        match self.lexemes.get(index) {
            None => Ok(END),
            Some(lexeme) => lexeme.kind.ok_or(Stop::NoToken(index)),
        }
    }

    fn enter(&mut self) -> Result<(), Stop> {
        self.depth += 1;
        self.steps += 1;
        if self.depth > limits::MAX_GRAMMAR_DEPTH || self.steps > limits::MAX_GRAMMAR_STEPS {
            return Err(Stop::Abandoned);
        }
        Ok(())
    }

    /// Takes the tokens of a rule.
    fn parse(&mut self, node: Node) -> Result<(), Stop> {
        self.enter()?;
        let grammar = self.grammar;
        match &grammar.rules[node] {
            Rule::Token(kind) => {
                if self.kind(self.taken)? != *kind {
                    self.asked = Some(*kind);
                    return Err(Stop::Unexpected);
                }
                self.taken += 1;
            }
            Rule::Call(production) => {
                let (depth, start) = (self.depth, self.taken);
                match self.parse(grammar.productions[*production]) {
                    Err(Stop::Done) => self.depth = depth,
                    other => other?,
                }
                if let Some((at, operand)) = self.refused
                    && operand == start
                    && [grammar.operand, grammar.prefix].contains(production)
                {
                    return Err(Stop::NotQuery(at));
                }
                if *production == grammar.condition && self.betweens {
                    self.between_ends(start)?;
                } else if *production == grammar.source {
                    self.joins_or_asks(start + 1)?;
                }
            }
            Rule::Sequence(units) => {
                for unit in units {
                    self.parse(*unit)?;
                }
            }
            Rule::Choice(branches) => {
                let mut chosen = None;
                for branch in branches {
                    if self.chooses(&branch.look)? {
                        chosen = Some(branch.body);
                        break;
                    }
                }
                let Some(body) = chosen else {
                    return Err(Stop::Unexpected);
                };
                self.parse(body)?;
            }
            Rule::Optional(branch) => {
                if self.chooses(&branch.look)? {
                    self.parse(branch.body)?;
                }
            }
            Rule::Repeated(branch) => {
                while self.chooses(&branch.look)? {
                    self.parse(branch.body)?;
                }
            }
            Rule::RepeatedOnce(branch) => {
                self.parse(branch.body)?;
                while self.chooses(&branch.look)? {
                    self.parse(branch.body)?;
                }
            }
            Rule::Unbound => {}
            Rule::QueryOnly => self.query_only()?,
            Rule::NoAlias => return Err(Stop::NoAlias),
            Rule::Done => return Err(Stop::Done),
        }
        self.depth -= 1;
        Ok(())
    }

    /// Refuses what starts an expression but no query, behind any number of parentheses.
    fn query_only(&mut self) -> Result<(), Stop> {
        let grammar = self.grammar;
        let mut at = self.taken;
        let open = grammar.kinds["("];
        while self.kind(at)? == open {
            at += 1;
        }
        let kind = self.kind(at)?;
        let query = ["SELECT", "WITH", "VALUES", "VALUE", "TABLE"]
            .iter()
            .any(|word| grammar.kinds[*word] == kind);
        if query || !grammar.begins(grammar.expression, kind) {
            return Ok(());
        }
        // Calcite reads the first operand before it minds.
        self.refused = Some((self.taken, at));
        Ok(())
    }

    /// Refuses a BETWEEN of the expression that was just taken whose AND never comes.
    fn between_ends(&self, start: usize) -> Result<(), Stop> {
        let mut open = 0usize;
        for word in self.outermost(start, self.taken) {
            match word {
                "BETWEEN" => open += 1,
                "AND" => open = open.saturating_sub(1),
                _ => {}
            }
        }
        match open {
            0 => Ok(()),
            _ => Err(Stop::Illegal("BETWEEN operator has no terminating AND")),
        }
    }

    /// Refuses parentheses in a FROM, whose inside was just taken, that hold neither a query nor a join.
    fn joins_or_asks(&self, start: usize) -> Result<(), Stop> {
        let word = |at: usize| {
            self.lexemes
                .get(at)
                .and_then(|l| l.kind)
                .and_then(|kind| self.grammar.word(kind))
        };
        let open = self.grammar.kinds["("];
        let is_open = |at: usize| self.lexemes.get(at).is_some_and(|l| l.kind == Some(open));
        match word(start) {
            Some("SELECT" | "WITH" | "VALUES" | "VALUE") => return Ok(()),
            Some("TABLE") if !is_open(start + 1) => return Ok(()),
            _ => {}
        }
        let words = self.outermost(start, self.taken.saturating_sub(1));
        let among = |list: &[&str]| words.iter().any(|word| list.contains(word));
        // Parentheses that hold all there is were judged already; with an alias they are a table.
        let nested = is_open(start) && words.first() == Some(&"(") && words.last() == Some(&")") && words.len() == 2;
        let bare = is_open(start) && matches!(words.get(2), Some(&("UNION" | "INTERSECT" | "EXCEPT" | "MINUS")));
        if nested || bare || among(&["JOIN", "APPLY"]) {
            return Ok(());
        }
        Err(Stop::Illegal(match among(&["UNION", "INTERSECT", "EXCEPT", "MINUS"]) {
            true => "Non-query expression encountered in illegal context",
            false => "Expected query or join",
        }))
    }

    /// Lists the words from `start` to `end` that stand outside of brackets and CASE, the outermost parentheses too, and `""` for
    /// what is no word.
    fn outermost(&self, start: usize, end: usize) -> Vec<&'static str> {
        const WORDS: [&str; 9] = [
            "BETWEEN",
            "AND",
            "JOIN",
            "APPLY",
            "UNION",
            "INTERSECT",
            "EXCEPT",
            "MINUS",
            "SELECT",
        ];
        let grammar = self.grammar;
        let (open, close) = (grammar.kinds["("], grammar.kinds[")"]);
        let (bracket, unbracket) = (grammar.kinds["["], grammar.kinds["]"]);
        let (mut depth, mut out) = (0usize, Vec::new());
        for lexeme in self.lexemes.iter().take(end).skip(start) {
            let Some(kind) = lexeme.kind else { continue };
            let word = grammar.word(kind);
            if kind == open || kind == bracket || word == Some("CASE") {
                if depth == 0 && kind == open {
                    out.push("(");
                }
                depth += 1;
            } else if kind == close || kind == unbracket || word == Some("END") {
                depth = depth.saturating_sub(1);
                if depth == 0 && kind == close {
                    out.push(")");
                }
            } else if depth == 0 {
                let known = word.and_then(|word| WORDS.into_iter().find(|known| *known == word));
                out.push(known.unwrap_or(""));
            }
        }
        out
    }

    /// Decides for a branch or against it.
    fn chooses(&mut self, look: &Look) -> Result<bool, Stop> {
        let grammar = self.grammar;
        let holds = |run: &Run, at: usize| -> Result<bool, Stop> {
            Ok(match &look.condition {
                None | Some(Condition::Always) => true,
                Some(Condition::Never) => false,
                Some(Condition::Not(kinds)) => !kinds.contains(&run.kind(at)?),
            })
        };
        if look.amount == 0 || grammar.empty[look.rule] {
            return holds(self, self.taken);
        }
        let next = self.kind(self.taken)?;
        let Some(number) = look.number else {
            let fits = grammar.first[look.rule].has(next);
            if !fits {
                self.sets.retain(|(_, at)| *at == self.taken);
                self.sets.push((look.rule, self.taken));
            }
            return Ok(fits);
        };
        let mut made = Made {
            from: self.taken,
            reach: self.taken as i64 + 1,
            rule: look.rule,
            amount: look.amount,
        };
        // Most looks fail at the first token, which can be told without making them.
        let mut found = false;
        if grammar.lifts[look.rule] || grammar.first[look.rule].has(next) {
            // What a look of two tokens finds follows from these two.
            let pair = match self.lexemes.get(self.taken + 1) {
                _ if look.amount > 2 || grammar.lifts[look.rule] => None,
                None => Some((number, next, END)),
                Some(second) => second.kind.map(|kind| (number, next, kind)),
            };
            let known = pair.and_then(|pair| self.pairs.get(&pair).copied());
            let (matched, seen) = match known {
                Some(known) => known,
                None => self.look(look)?,
            };
            if let (None, Some(pair)) = (known, pair) {
                self.pairs.insert(pair, (matched, seen));
            }
            found = matched;
            made.reach = self.taken as i64 + seen;
        }
        let taken = self.taken as i64;
        // A look that reached no further than what is taken has nothing to tell any more.
        match self.looks[number].iter_mut().find(|old| old.reach <= taken) {
            Some(old) => *old = made,
            None => self.looks[number].push(made),
        }
        Ok(found && holds(self, self.taken)?)
    }

    /// Makes a look; gives whether the rule was found, and how many tokens were seen.
    fn look(&mut self, look: &Look) -> Result<(bool, i64), Stop> {
        self.left = look.amount;
        self.scanned = self.taken;
        self.furthest = self.taken;
        let depth = self.depth;
        let found = match self.scan_unit(look.rule) {
            Ok(matched) => matched,
            Err(Stop::Found) => true,
            Err(stop) => return Err(stop),
        };
        self.depth = depth;
        Ok((found, look.amount - self.left))
    }

    /// Looks for a rule that a lookahead, a production, a branch or a loop holds.
    fn scan_unit(&mut self, node: Node) -> Result<bool, Stop> {
        self.scan(node, self.grammar.seen[node])
    }

    /// Looks for a rule; `count` is how many tokens any lookahead wants of it.
    fn scan(&mut self, node: Node, count: i64) -> Result<bool, Stop> {
        let grammar = self.grammar;
        if self.passes_over(node)? {
            return Ok(false);
        }
        self.enter()?;
        let matched = match &grammar.rules[node] {
            Rule::Token(kind) => self.scan_token(*kind)?,
            Rule::Call(production) => self.scan_unit(grammar.productions[*production])?,
            Rule::Sequence(units) => {
                let mut left = count;
                let mut matched = true;
                for unit in units {
                    if !self.scan(*unit, left)? {
                        matched = false;
                        break;
                    }
                    left -= grammar.shortest[*unit];
                    if left <= 0 {
                        break;
                    }
                }
                matched
            }
            Rule::Choice(branches) => {
                let start = self.scanned;
                let mut matched = false;
                for branch in branches {
                    self.scanned = start;
                    let holds = match &branch.look.condition {
                        None | Some(Condition::Always) => true,
                        Some(Condition::Never) => false,
                        Some(Condition::Not(kinds)) => !kinds.contains(&self.kind(self.scanned)?),
                    };
                    if holds && !self.passes_over(branch.body)? && self.scan_unit(branch.body)? {
                        matched = true;
                        break;
                    }
                }
                matched
            }
            Rule::Optional(branch) => {
                let start = self.scanned;
                if !self.scan_unit(branch.body)? {
                    self.scanned = start;
                }
                true
            }
            Rule::Repeated(branch) => self.scan_loop(branch.body)?,
            Rule::RepeatedOnce(branch) => self.scan_unit(branch.body)? && self.scan_loop(branch.body)?,
            Rule::Unbound => {
                self.left = 0;
                self.scanned = self.furthest;
                true
            }
            Rule::QueryOnly | Rule::NoAlias | Rule::Done => true,
        };
        self.depth -= 1;
        Ok(matched)
    }

    /// Tells that a rule cannot begin with the next token: then it looks at that token, and at nothing else.
    #[inline]
    fn passes_over(&mut self, node: Node) -> Result<bool, Stop> {
        let grammar = self.grammar;
        if self.again || grammar.lifts[node] || grammar.empty[node] {
            return Ok(false);
        }
        let passed = !grammar.first[node].has(self.kind(self.scanned)?);
        if passed {
            self.see();
        }
        Ok(passed)
    }

    fn scan_loop(&mut self, body: Node) -> Result<bool, Stop> {
        loop {
            let start = self.scanned;
            if !self.scan_unit(body)? {
                self.scanned = start;
                return Ok(true);
            }
            if self.scanned == start {
                return Ok(true);
            }
        }
    }

    /// Counts the token that is looked at, where it was not before.
    fn see(&mut self) {
        if self.scanned == self.furthest {
            self.left -= 1;
            self.furthest += 1;
        }
    }

    fn scan_token(&mut self, kind: Kind) -> Result<bool, Stop> {
        self.see();
        let found = self.kind(self.scanned)?;
        self.scanned += 1;
        // Tokens taken already are not noted.
        if self.again && self.scanned >= self.taken {
            self.note(kind, self.scanned - self.taken);
        }
        if found != kind {
            return Ok(false);
        }
        if self.left == 0 && self.scanned == self.furthest {
            return Err(Stop::Found);
        }
        Ok(true)
    }

    /// Makes the looks again that reached beyond the tokens taken.
    fn explain(&mut self) -> Result<(), Stop> {
        let grammar = self.grammar;
        let mut single: Vec<Kind> = self.asked.into_iter().collect();
        for (rule, at) in &self.sets {
            if *at == self.taken {
                single.extend(grammar.first[*rule].iter());
            }
        }
        single.sort_unstable();
        single.dedup();
        self.expected = single.into_iter().map(|kind| vec![kind]).collect();
        self.again = true;
        let taken = self.taken as i64;
        for number in 0..self.looks.len() {
            for made in std::mem::take(&mut self.looks[number]) {
                if made.reach <= taken {
                    continue;
                }
                self.left = made.amount;
                self.scanned = made.from;
                self.furthest = made.from;
                self.depth = 0;
                match self.scan_unit(made.rule) {
                    Ok(_) => {}
                    // Later looks of the same lookahead are not made then.
                    Err(Stop::Found) => break,
                    Err(stop) => return Err(stop),
                }
            }
        }
        self.note(END, 0);
        Ok(())
    }

    /// Notes that the `position`th token behind those taken was asked for; a step back says what was expected on the way here.
    fn note(&mut self, kind: Kind, position: usize) {
        if position >= MAX_SEQUENCE {
            return;
        }
        if position == self.asked_length + 1 {
            self.asked_for[self.asked_length] = kind;
            self.asked_length = position;
        } else if self.asked_length != 0 {
            let sequence = &self.asked_for[..self.asked_length];
            if !self.expected.iter().any(|known| known == sequence) {
                self.expected.push(sequence.to_vec());
            }
            if position != 0 {
                self.asked_length = position;
                self.asked_for[position - 1] = kind;
            }
        }
    }
}
