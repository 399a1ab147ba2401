//! The grammar as a graph, and what the recogniser needs to know of every node.

use std::collections::HashMap;

use super::{END, Kind};

/// Index of a node.
pub(super) type Node = usize;

/// Stands for "no bound" among counts of tokens.
pub(super) const UNBOUND: i64 = i32::MAX as i64;

/// One node.
#[derive(Debug)]
pub(super) enum Rule {
    Token(Kind),
    /// Another production, by its index.
    Call(usize),
    Sequence(Vec<Node>),
    /// The first branch whose lookahead agrees.
    Choice(Vec<Branch>),
    Optional(Branch),
    Repeated(Branch),
    RepeatedOnce(Branch),
    /// Matches nothing; while looking ahead, it lifts the limit on the tokens looked at, as a call of foreign code does in
    /// Calcite's generated parser.
    Unbound,
    /// Matches nothing; what follows must be a query.
    QueryOnly,
    /// Matches nothing; the string before it stood for an alias, which Druid does not allow.
    NoAlias,
    /// Matches nothing; the production ends here.
    Done,
}

/// What may be chosen, and by which lookahead.
#[derive(Debug)]
pub(super) struct Branch {
    pub body: Node,
    pub look: Look,
}

/// A lookahead.
#[derive(Debug)]
pub(super) struct Look {
    /// Most tokens to look at; 0 where only the condition decides.
    pub amount: i64,
    /// What is looked for.
    pub rule: Node,
    pub condition: Option<Condition>,
    /// Its place among those that read tokens ahead one by one: the order in which expected tokens are listed.
    pub number: Option<usize>,
}

/// A lookahead that is not a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    Never,
    /// None of these follows.
    Not(Vec<Kind>),
}

/// A set of kinds of tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kinds(Vec<u64>);

impl Kinds {
    pub fn has(&self, kind: Kind) -> bool {
        let (word, bit) = (usize::from(kind) / 64, kind % 64);
        self.0.get(word).is_some_and(|w| w & (1 << bit) != 0)
    }

    pub fn iter(&self) -> impl Iterator<Item = Kind> + '_ {
        (0..self.0.len() * 64).map(|n| n as Kind).filter(|kind| self.has(*kind))
    }

    fn add(&mut self, kind: Kind) {
        let (word, bit) = (usize::from(kind) / 64, kind % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    fn join(&mut self, other: &Kinds) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }
}

/// The whole grammar.
#[derive(Debug)]
pub(super) struct Grammar {
    /// How messages show each kind: `"SELECT"`, `<IDENTIFIER>`.
    pub images: Vec<String>,
    /// Kinds of words and signs by their text, upper case.
    pub kinds: HashMap<String, Kind>,
    pub rules: Vec<Rule>,
    /// The rule of each production.
    pub productions: Vec<Node>,
    /// The production of a whole text.
    pub start: usize,
    /// The rule of an expression.
    pub expression: Node,
    /// The productions of an expression, and of a query or a join in parentheses.
    pub condition: usize,
    pub source: usize,
    /// The productions of one operand in it, and of an operator before an operand.
    pub operand: usize,
    pub prefix: usize,
    /// How many lookaheads read tokens one by one.
    pub lookaheads: usize,
    /// Words that are names where a name may stand.
    pub words: Kinds,
    /// Per node: which tokens it can begin with, for the nodes that lookaheads look for.
    pub first: Vec<Kinds>,
    /// Per node: matches the empty text.
    pub empty: Vec<bool>,
    /// Per node: how many tokens it has at least.
    pub shortest: Vec<i64>,
    /// Per node: how many tokens any lookahead wants to see of it; what lies behind is not looked at.
    pub seen: Vec<i64>,
    /// Per node: looking for it can lift the limit before it meets a token.
    pub lifts: Vec<bool>,
}

/// The productions that the recogniser asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roles {
    /// A whole text.
    pub start: usize,
    /// Words that are names where a name may stand.
    pub words: usize,
    /// Those whose choices messages list first.
    pub listing: usize,
    pub expression: usize,
    /// A query or a join in parentheses.
    pub source: usize,
    /// One operand in an expression, and an operator before it.
    pub operand: usize,
    pub prefix: usize,
}

impl Grammar {
    /// Computes what the recogniser needs of the rules read.
    pub fn complete(
        images: Vec<String>,
        kinds: HashMap<String, Kind>,
        rules: Vec<Rule>,
        productions: Vec<Node>,
        roles: Roles,
    ) -> Grammar {
        let mut grammar = Grammar {
            first: vec![Kinds::default(); rules.len()],
            empty: vec![false; rules.len()],
            shortest: vec![UNBOUND; rules.len()],
            seen: vec![0; rules.len()],
            lifts: vec![false; rules.len()],
            images,
            kinds,
            expression: productions[roles.expression],
            condition: roles.expression,
            source: roles.source,
            operand: roles.operand,
            prefix: roles.prefix,
            rules,
            productions,
            start: roles.start,
            lookaheads: 0,
            words: Kinds::default(),
        };
        grammar.settle();
        grammar.number(roles.listing);
        grammar.look();
        grammar.words = grammar.first[grammar.productions[roles.words]].clone();
        grammar
    }

    /// Finds first tokens, empty matches and shortest lengths: repeats until nothing changes.
    fn settle(&mut self) {
        loop {
            let mut changed = false;
            for node in 0..self.rules.len() {
                let (first, empty, shortest, lifts) = self.of(node);
                changed |= first != self.first[node]
                    || empty != self.empty[node]
                    || shortest != self.shortest[node]
                    || lifts != self.lifts[node];
                self.first[node] = first;
                self.empty[node] = empty;
                self.shortest[node] = shortest;
                self.lifts[node] = lifts;
            }
            if !changed {
                return;
            }
        }
    }

    fn of(&self, node: Node) -> (Kinds, bool, i64, bool) {
        let mut first = Kinds::default();
        match &self.rules[node] {
            Rule::Token(kind) => {
                first.add(*kind);
                (first, false, 1, false)
            }
            Rule::Call(production) => {
                let body = self.productions[*production];
                (
                    self.first[body].clone(),
                    self.empty[body],
                    self.shortest[body],
                    self.lifts[body],
                )
            }
            Rule::Sequence(units) => {
                let (mut empty, mut lifts) = (true, false);
                for unit in units {
                    if empty {
                        first.join(&self.first[*unit]);
                        lifts |= self.lifts[*unit];
                    }
                    empty &= self.empty[*unit];
                }
                let shortest = units.iter().map(|unit| self.shortest[*unit]).sum::<i64>().min(UNBOUND);
                (first, empty, shortest, lifts)
            }
            Rule::Choice(branches) => {
                let (mut empty, mut lifts, mut shortest) = (false, false, UNBOUND);
                for branch in branches {
                    first.join(&self.first[branch.body]);
                    empty |= self.empty[branch.body];
                    lifts |= self.lifts[branch.body];
                    // Calcite's generator compares no further than a branch of one token, be there an empty one behind it.
                    if shortest > 1 {
                        shortest = shortest.min(self.shortest[branch.body]);
                    }
                }
                (first, empty, shortest, lifts)
            }
            Rule::Optional(branch) | Rule::Repeated(branch) => {
                (self.first[branch.body].clone(), true, 0, self.lifts[branch.body])
            }
            Rule::RepeatedOnce(branch) => (
                self.first[branch.body].clone(),
                self.empty[branch.body],
                self.shortest[branch.body],
                self.lifts[branch.body],
            ),
            // To Calcite's generator foreign code is not empty, and never ends: nothing behind it is looked for.
            Rule::Unbound => (first, false, UNBOUND, true),
            Rule::QueryOnly | Rule::NoAlias | Rule::Done => (first, true, 0, false),
        }
    }

    /// Tells whether a lookahead reads tokens one by one, and is neither certain, nor a bare condition, nor a set of tokens.
    pub fn reads(&self, look: &Look) -> bool {
        look.amount > 0 && !self.empty[look.rule] && !(look.amount == 1 && look.condition.is_none())
    }

    /// Numbers the lookaheads as Calcite's parser generator does: production by production, those that the listing names before
    /// the others; inner ones first, but a loop that may not run at all before what is in it.
    fn number(&mut self, listing: usize) {
        let mut order = Vec::new();
        if let Rule::Sequence(units) = &self.rules[self.productions[listing]] {
            order.extend(units.iter().filter_map(|unit| match self.rules[*unit] {
                Rule::Call(production) => Some(production),
                _ => None,
            }));
        }
        let others = (0..self.productions.len()).filter(|production| !order.contains(production));
        let order: Vec<usize> = order.iter().copied().chain(others).collect();
        let mut next = 0;
        for production in order {
            self.number_in(self.productions[production], &mut next);
        }
        self.lookaheads = next;
    }

    fn number_in(&mut self, node: Node, next: &mut usize) {
        let (bodies, own_first) = match &self.rules[node] {
            Rule::Sequence(units) => (units.clone(), false),
            Rule::Choice(branches) => (branches.iter().map(|b| b.body).collect(), false),
            Rule::Optional(branch) | Rule::RepeatedOnce(branch) => (vec![branch.body], false),
            Rule::Repeated(branch) => (vec![branch.body], true),
            Rule::Token(_) | Rule::Call(_) | Rule::Unbound | Rule::QueryOnly | Rule::NoAlias | Rule::Done => return,
        };
        if own_first {
            self.number_looks(node, next);
        }
        for body in bodies {
            self.number_in(body, next);
        }
        if !own_first {
            self.number_looks(node, next);
        }
    }

    fn number_looks(&mut self, node: Node, next: &mut usize) {
        let reading: Vec<bool> = branches(&self.rules[node])
            .iter()
            .map(|b| self.reads(&b.look))
            .collect();
        let certain = branches(&self.rules[node])
            .iter()
            .position(|b| (b.look.amount == 0 || self.empty[b.look.rule]) && b.look.condition.is_none())
            .unwrap_or(reading.len());
        for (branch, reads) in branches_mut(&mut self.rules[node])
            .iter_mut()
            .zip(reading)
            .take(certain)
        {
            if reads {
                branch.look.number = Some(*next);
                *next += 1;
            }
        }
    }

    /// Finds how many tokens the lookaheads want to see of every node that they reach.
    fn look(&mut self) {
        let mut todo: Vec<(Node, i64)> = Vec::new();
        for node in 0..self.rules.len() {
            for branch in branches(&self.rules[node]) {
                if branch.look.number.is_some() {
                    todo.push((branch.look.rule, branch.look.amount));
                }
            }
        }
        while let Some((node, count)) = todo.pop() {
            if self.seen[node] < count {
                self.seen[node] = count;
                self.reach(node, count, &mut todo);
            }
        }
    }

    fn reach(&self, node: Node, count: i64, todo: &mut Vec<(Node, i64)>) {
        match &self.rules[node] {
            Rule::Token(_) | Rule::Unbound | Rule::QueryOnly | Rule::NoAlias | Rule::Done => {}
            Rule::Call(production) => todo.push((self.productions[*production], count)),
            Rule::Sequence(units) => {
                let mut left = count;
                for unit in units {
                    self.reach(*unit, left, todo);
                    left -= self.shortest[*unit];
                    if left <= 0 {
                        break;
                    }
                }
            }
            rule => {
                for branch in branches(rule) {
                    todo.push((branch.body, count));
                }
            }
        }
    }

    /// Shows a kind without its quotes.
    pub fn word(&self, kind: Kind) -> Option<&str> {
        let word = self
            .images
            .get(usize::from(kind))?
            .strip_prefix('"')?
            .strip_suffix('"')?;
        word.starts_with(|c: char| c.is_ascii_alphabetic()).then_some(word)
    }

    /// Tells whether the token can begin a rule.
    pub fn begins(&self, node: Node, kind: Kind) -> bool {
        kind != END && self.first[node].has(kind)
    }
}

/// Gives the branches of a rule.
pub(super) fn branches(rule: &Rule) -> &[Branch] {
    match rule {
        Rule::Choice(branches) => branches,
        Rule::Optional(branch) | Rule::Repeated(branch) | Rule::RepeatedOnce(branch) => std::slice::from_ref(branch),
        _ => &[],
    }
}

fn branches_mut(rule: &mut Rule) -> &mut [Branch] {
    match rule {
        Rule::Choice(branches) => branches,
        Rule::Optional(branch) | Rule::Repeated(branch) | Rule::RepeatedOnce(branch) => std::slice::from_mut(branch),
        _ => &mut [],
    }
}
