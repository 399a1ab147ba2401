//! Calcite's expression syntax that the query parser does not know: hooks of the dialect.
//!
//! * `JSON_VALUE(doc, path [RETURNING type] [NULL ON EMPTY] [NULL ON ERROR])`
//! * `JSON_QUERY(doc, path [wrapper] [{NULL | EMPTY ARRAY | EMPTY OBJECT} ON {EMPTY | ERROR}] …)`, whose clauses change nothing
//! * `POSITION(needle IN text FROM start)`
//! * `x [NOT] BETWEEN [SYMMETRIC | ASYMMETRIC] a AND b`
//! * `x op {ANY | SOME | ALL} (VALUES …)`
//! * `x IS [NOT] JSON [kind]`
//! * `x IS [NOT] DISTINCT FROM y`, whose right side the query parser takes up to the end of the whole condition

use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, BinaryOperator, DataType, Expr, FunctionArgumentClause, JsonReturningClause,
};
use datafusion::sql::sqlparser::dialect::{Dialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Word};

use super::tokens::is_word;

type Parsed = Result<Expr, ParserError>;

/// Operators between two operands that Calcite reads and Druid has no function for, longest first.
const FOREIGN: [&str; 19] = [
    "MULTISET UNION ALL",
    "MULTISET UNION DISTINCT",
    "MULTISET INTERSECT ALL",
    "MULTISET INTERSECT DISTINCT",
    "MULTISET EXCEPT ALL",
    "MULTISET EXCEPT DISTINCT",
    "NOT SUBMULTISET OF",
    "IMMEDIATELY PRECEDES",
    "IMMEDIATELY SUCCEEDS",
    "MULTISET UNION",
    "MULTISET INTERSECT",
    "MULTISET EXCEPT",
    "SUBMULTISET OF",
    "MEMBER OF",
    "CONTAINS",
    "EQUALS",
    "OVERLAPS",
    "PRECEDES",
    "SUCCEEDS",
];
/// The same behind one operand, and in front of one.
const FOREIGN_TESTS: [&str; 5] = ["IS A SET", "IS NOT A SET", "IS EMPTY", "IS NOT EMPTY", "FORMAT JSON"];
const FOREIGN_PREFIXES: [&str; 2] = ["EXISTS", "UNIQUE"];

/// Tells whether a call of this name stands for an operator that Druid has no function for.
pub(crate) fn is_operator(name: &str) -> bool {
    FOREIGN.contains(&name) || FOREIGN_TESTS.contains(&name) || FOREIGN_PREFIXES.contains(&name)
}

/// Finds the operator of a list whose words come next.
fn foreign(parser: &Parser, list: &[&'static str]) -> Option<&'static str> {
    list.iter().copied().find(|name| {
        name.split(' ')
            .enumerate()
            .all(|(i, word)| is_word(&parser.peek_nth_token_ref(i).token, word))
    })
}

/// Gives the precedence of the next operator, if it is one of ours that the query parser does not know.
pub(super) fn precedence(dialect: &dyn Dialect, parser: &Parser) -> Option<u8> {
    foreign(parser, &FOREIGN)
        .or_else(|| foreign(parser, &["FORMAT JSON"]))
        .map(|_| dialect.prec_value(Precedence::Eq))
}

/// Reads the operator and its other operand, as a call of its name.
fn foreign_call(dialect: &dyn Dialect, parser: &mut Parser, left: &Expr, name: &str, tests: bool) -> Parsed {
    let mut token = parser.next_token();
    for _ in 1..name.split(' ').count() {
        parser.next_token();
    }
    let mut args = vec![left.clone()];
    if !tests {
        args.push(parser.parse_subexpr(dialect.prec_value(Precedence::Eq))?);
    }
    let full = match name {
        "MULTISET UNION" | "MULTISET INTERSECT" | "MULTISET EXCEPT" => format!("{name} ALL"),
        _ => name.to_string(),
    };
    token.token = Token::make_word(&full, None);
    Ok(call(&token, args, Vec::new()))
}

/// Reads EXISTS and UNIQUE of what is no query.
fn foreign_prefix(parser: &mut Parser) -> Option<Parsed> {
    let name = foreign(parser, &FOREIGN_PREFIXES)?;
    let word = |n: usize| {
        let token = &parser.peek_nth_token_ref(n).token;
        *token == Token::LParen
            || ["SELECT", "WITH", "VALUES", "TABLE"]
                .iter()
                .any(|start| is_word(token, start))
    };
    if name == "EXISTS" && parser.peek_nth_token_ref(1).token == Token::LParen && word(2) {
        return None;
    }
    let token = parser.next_token();
    let operand = parser.parse_subexpr(super::dialect::DruidDialect.prec_value(Precedence::UnaryNot));
    Some(operand.map(|operand| call(&token, vec![operand], Vec::new())))
}

/// Reads what starts an expression, if it is one of ours.
pub(super) fn prefix(parser: &mut Parser) -> Option<Parsed> {
    let first = &parser.peek_token_ref().token;
    if is_word(first, "SUBSTR") && parser.peek_nth_token_ref(1).token == Token::LParen {
        return Some(substr(parser));
    }
    if FOREIGN_PREFIXES.iter().any(|name| is_word(first, name)) {
        return foreign_prefix(parser);
    }
    let json = is_word(first, "JSON_VALUE") || is_word(first, "JSON_QUERY");
    if !(json || is_word(first, "POSITION")) || parser.peek_nth_token_ref(1).token != Token::LParen {
        return None;
    }
    Some(if json { json_call(parser) } else { position(parser) })
}

/// Reads what follows an operand, if it is one of ours.
pub(super) fn infix(dialect: &dyn Dialect, parser: &mut Parser, left: &Expr) -> Option<Parsed> {
    let word = |n: usize, text: &str| is_word(&parser.peek_nth_token_ref(n).token, text);
    for (list, tests) in [(FOREIGN.as_slice(), false), (FOREIGN_TESTS.as_slice(), true)] {
        if let Some(name) = foreign(parser, list) {
            return Some(foreign_call(dialect, parser, left, name, tests));
        }
    }
    let not = usize::from(word(0, "NOT"));
    if word(not, "BETWEEN") && (word(not + 1, "SYMMETRIC") || word(not + 1, "ASYMMETRIC")) {
        let symmetric = word(not + 1, "SYMMETRIC");
        return Some(between(dialect, parser, left, not == 1, symmetric));
    }
    let negated = usize::from(word(1, "NOT"));
    if word(0, "IS") && word(negated + 1, "DISTINCT") && word(negated + 2, "FROM") {
        return Some(distinct_from(dialect, parser, left, negated == 1));
    }
    if word(0, "IS") && word(negated + 1, "JSON") {
        return Some(is_json(parser, left, negated == 1));
    }
    let quantified = word(1, "ANY") || word(1, "SOME") || word(1, "ALL");
    if !quantified || parser.peek_nth_token_ref(2).token != Token::LParen {
        return None;
    }
    let op = match parser.peek_token_ref().token {
        Token::Eq => BinaryOperator::Eq,
        Token::Neq => BinaryOperator::NotEq,
        Token::Lt => BinaryOperator::Lt,
        Token::LtEq => BinaryOperator::LtEq,
        Token::Gt => BinaryOperator::Gt,
        Token::GtEq => BinaryOperator::GtEq,
        _ => return None,
    };
    if !["SELECT", "WITH", "VALUES"].iter().any(|start| word(3, start)) {
        return None;
    }
    Some(any_or_all(parser, left, op))
}

fn distinct_from(dialect: &dyn Dialect, parser: &mut Parser, left: &Expr, negated: bool) -> Parsed {
    for _ in 0..3 + usize::from(negated) {
        parser.next_token();
    }
    let left = Box::new(left.clone());
    let right = Box::new(parser.parse_subexpr(dialect.prec_value(Precedence::Is))?);
    Ok(if negated {
        Expr::IsNotDistinctFrom(left, right)
    } else {
        Expr::IsDistinctFrom(left, right)
    })
}

/// Reads `IS [NOT] JSON [VALUE | OBJECT | ARRAY | SCALAR]`, which no query can use, as a call of that name.
fn is_json(parser: &mut Parser, left: &Expr, negated: bool) -> Parsed {
    let mut name = parser.next_token();
    if negated {
        parser.next_token();
    }
    parser.next_token();
    let kinds = ["VALUE", "OBJECT", "ARRAY", "SCALAR"];
    let kind = kinds
        .into_iter()
        .find(|kind| is_word(&parser.peek_token_ref().token, kind));
    if kind.is_some() {
        parser.next_token();
    }
    let (not, kind) = (if negated { "NOT " } else { "" }, kind.unwrap_or("VALUE"));
    name.token = Token::make_word(&format!("IS {not}JSON {kind}"), None);
    Ok(call(&name, vec![left.clone()], Vec::new()))
}

fn any_or_all(parser: &mut Parser, left: &Expr, compare_op: BinaryOperator) -> Parsed {
    parser.next_token();
    let quantifier = parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let query = parser.parse_query()?;
    parser.expect_token(&Token::RParen)?;
    let (left, right) = (Box::new(left.clone()), Box::new(Expr::Subquery(query)));
    Ok(if is_word(&quantifier.token, "ALL") {
        Expr::AllOp {
            left,
            compare_op,
            right,
        }
    } else {
        Expr::AnyOp {
            left,
            compare_op,
            right,
            is_some: is_word(&quantifier.token, "SOME"),
        }
    })
}

/// `BETWEEN SYMMETRIC` holds for the bounds in either order.
fn between(dialect: &dyn Dialect, parser: &mut Parser, left: &Expr, negated: bool, symmetric: bool) -> Parsed {
    if negated {
        parser.next_token();
    }
    parser.next_token();
    parser.next_token();
    let precedence = dialect.prec_value(Precedence::Between);
    let low = parser.parse_subexpr(precedence)?;
    parser.expect_keyword(Keyword::AND)?;
    let high = parser.parse_subexpr(precedence)?;
    let of = |low: &Expr, high: &Expr, negated: bool| Expr::Between {
        expr: Box::new(left.clone()),
        negated,
        low: Box::new(low.clone()),
        high: Box::new(high.clone()),
    };
    if !symmetric {
        return Ok(of(&low, &high, negated));
    }
    Ok(Expr::BinaryOp {
        left: Box::new(of(&low, &high, negated)),
        op: if negated {
            BinaryOperator::And
        } else {
            BinaryOperator::Or
        },
        right: Box::new(of(&high, &low, negated)),
    })
}

/// Reads `SUBSTR(…)`, which is a call like any other and no form of SUBSTRING.
fn substr(parser: &mut Parser) -> Parsed {
    let name = parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let mut args = Vec::new();
    if parser.peek_token_ref().token != Token::RParen {
        args.push(parser.parse_expr()?);
        while parser.consume_token(&Token::Comma) {
            args.push(parser.parse_expr()?);
        }
    }
    parser.expect_token(&Token::RParen)?;
    Ok(call(&name, args, Vec::new()))
}

fn position(parser: &mut Parser) -> Parsed {
    // Without FROM the parser's own form does.
    let ours = parser.maybe_parse(|p| {
        let name = p.next_token();
        p.expect_token(&Token::LParen)?;
        let needle = p.parse_subexpr(between_precedence())?;
        p.expect_keyword(Keyword::IN)?;
        let text = p.parse_expr()?;
        p.expect_keyword(Keyword::FROM)?;
        let from = p.parse_expr()?;
        p.expect_token(&Token::RParen)?;
        Ok(call(&name, vec![needle, text, from], Vec::new()))
    })?;
    match ours {
        Some(expr) => Ok(expr),
        None => {
            let name = parser.parse_identifier()?;
            parser.parse_position_expr(name)
        }
    }
}

fn between_precedence() -> u8 {
    super::dialect::DruidDialect.prec_value(Precedence::Between)
}

fn json_call(parser: &mut Parser) -> Parsed {
    let mut name = parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let mut args = vec![parser.parse_expr()?];
    while parser.consume_token(&Token::Comma) {
        args.push(parser.parse_expr()?);
    }
    let mut clauses = Vec::new();
    if parser.parse_keyword(Keyword::RETURNING) {
        clauses.push(FunctionArgumentClause::JsonReturningClause(JsonReturningClause {
            data_type: data_type(parser)?,
        }));
    }
    let query = is_word(&name.token, "JSON_QUERY");
    if query {
        wrapper(parser)?;
    }
    // Only NULL may be asked for what is missing or wrong, which is what happens anyway; JSON_QUERY takes more, and gives NULL.
    let mut refused = None;
    loop {
        let next = |n: usize, text: &str| is_word(&parser.peek_nth_token_ref(n).token, text);
        let words = match () {
            () if next(0, "NULL") => 1,
            () if next(0, "ERROR") => 1,
            () if !query && next(0, "DEFAULT") => 0,
            () if query && next(0, "EMPTY") && (next(1, "ARRAY") || next(1, "OBJECT")) => 2,
            () => break,
        };
        let kept = query || next(0, "NULL");
        for _ in 0..words {
            parser.next_token();
        }
        if words == 0 {
            parser.next_token();
            parser.parse_expr()?;
        }
        parser.expect_keyword(Keyword::ON)?;
        let event = parser.next_token();
        if !is_word(&event.token, "EMPTY") && !is_word(&event.token, "ERROR") {
            return parser.expected("EMPTY or ERROR", event);
        }
        if !kept && refused.is_none() {
            refused = Some(format!(
                "JSON_VALUE ON {}",
                event.token.to_string().to_ascii_uppercase()
            ));
        }
    }
    parser.expect_token(&Token::RParen)?;
    if let Some(refused) = refused {
        name.token = Token::make_word(&refused, None);
    }
    Ok(call(&name, args, clauses))
}

/// Reads `{WITHOUT [ARRAY] | WITH [CONDITIONAL | UNCONDITIONAL] [ARRAY]} WRAPPER`.
fn wrapper(parser: &mut Parser) -> Result<(), ParserError> {
    let take = |parser: &mut Parser, text: &str| {
        let found = is_word(&parser.peek_token_ref().token, text);
        if found {
            parser.next_token();
        }
        found
    };
    if take(parser, "WITH") {
        let _ = take(parser, "CONDITIONAL") || take(parser, "UNCONDITIONAL");
    } else if !take(parser, "WITHOUT") {
        return Ok(());
    }
    take(parser, "ARRAY");
    let word = parser.next_token();
    if is_word(&word.token, "WRAPPER") {
        Ok(())
    } else {
        parser.expected("WRAPPER", word)
    }
}

/// Reads a type with any number of `ARRAY` behind it.
fn data_type(parser: &mut Parser) -> Result<DataType, ParserError> {
    let mut found = parser.parse_data_type()?;
    while is_word(&parser.peek_token_ref().token, "ARRAY") {
        parser.next_token();
        found = DataType::Array(ArrayElemTypeDef::AngleBracket(Box::new(found)));
    }
    Ok(found)
}

fn call(
    name: &datafusion::sql::sqlparser::tokenizer::TokenWithSpan,
    args: Vec<Expr>,
    clauses: Vec<FunctionArgumentClause>,
) -> Expr {
    let value = match &name.token {
        Token::Word(Word { value, .. }) => value.clone(),
        other => other.to_string(),
    };
    Expr::Function(ast::Function {
        name: ast::ObjectName::from(vec![ast::Ident::with_span(name.span, value)]),
        uses_odbc_syntax: false,
        parameters: ast::FunctionArguments::None,
        args: ast::FunctionArguments::List(ast::FunctionArgumentList {
            duplicate_treatment: None,
            args: args
                .into_iter()
                .map(|arg| ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(arg)))
                .collect(),
            clauses,
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
