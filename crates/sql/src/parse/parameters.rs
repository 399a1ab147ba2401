//! Values of `?`: each placeholder becomes the literal that the value is in Druid's SQL, so that a parameter stands wherever a
//! literal stands (`SqlParameter`, `SqlParameterizerShuttle`).
//!
//! A value that its type cannot hold is refused before the statement is looked at, whether a `?` uses it or not.

use chrono::NaiveDate;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use henge_number::{f32_text, f64_text};
use serde_json::{Number, Value};

use super::{Tokens, is_word, position};
use crate::functions::Zone;
use crate::functions::time::read_timestamp;
use crate::{Category, Persona, SqlError, SqlParameter};

/// What a `?` stands for.
#[derive(Debug)]
pub(crate) enum Bound {
    /// A literal.
    Literal(Vec<Token>),
    /// A literal where its place tells that a value is wanted, which a select list does not.
    Typed(Vec<Token>),
    /// A value that fails where it is used.
    Fails(SqlError),
    /// A value that fails at the place of its `?`.
    FailsAt(String),
}

/// Types that Avatica knows and Calcite has no literals of.
const WITHOUT_LITERALS: [&str; 17] = [
    "NULL",
    "NCLOB",
    "ANY",
    "SYMBOL",
    "BLOB",
    "COLUMN_LIST",
    "OTHER",
    "REF",
    "ROW",
    "SQLXML",
    "ROWID",
    "CURSOR",
    "DATALINK",
    "JAVA_OBJECT",
    "CLOB",
    "DISTINCT",
    "MAP",
];

/// Reads the values of a request.
///
/// # Errors
///
/// `Cannot handle query` for a value that its type cannot hold, as Druid's server says it.
pub(crate) fn read(parameters: &[SqlParameter]) -> Result<Vec<Bound>, SqlError> {
    parameters
        .iter()
        .enumerate()
        .map(|(index, parameter)| {
            bound(parameter, index).ok_or_else(|| {
                SqlError::general(Persona::Operator, Category::RuntimeFailure, "Cannot handle query").hint(Some(
                    format!(
                        "parameter {} is no {}: {}",
                        index + 1,
                        parameter.sql_type,
                        parameter.value
                    ),
                ))
            })
        })
        .collect()
}

fn bound(parameter: &SqlParameter, index: usize) -> Option<Bound> {
    let literal = |tokens: Vec<Token>| Some(Bound::Literal(tokens));
    let (name, value) = (parameter.sql_type.as_str(), &parameter.value);
    if value.is_null() {
        // Whatever its type, it is the NULL that a statement writes.
        return literal(vec![word("NULL")]);
    }
    match name {
        "VARCHAR"
        | "CHAR"
        | "LONGVARCHAR"
        | "NCHAR"
        | "NVARCHAR"
        | "LONGNVARCHAR"
        | "TIME_WITH_TIMEZONE"
        | "TIMESTAMP_WITH_TIMEZONE" => literal(vec![text(value.as_str()?)]),
        "BOOLEAN" | "BIT" | "INTERVAL_DAY_TIME" | "INTERVAL_YEAR_MONTH" => literal(vec![boolean(value.as_bool()?)]),
        "BIGINT" => literal(whole(java_long(value.as_number()?)?)),
        "INTEGER" => literal(whole(i64::from(java_int(value.as_number()?)?))),
        "SMALLINT" => literal(whole(i64::from(java_int(value.as_number()?)? as i16))),
        "TINYINT" => literal(whole(i64::from(java_int(value.as_number()?)? as i8))),
        "FLOAT" | "DOUBLE" => literal(approximate(&f64_text(value.as_f64()?))),
        "REAL" => {
            let float = value.as_f64()? as f32;
            Some(match float.is_finite() {
                true => Bound::Literal(approximate(&f32_text(float))),
                false => Bound::Fails(SqlError::runtime(
                    "java.lang.NumberFormatException",
                    "Character I is neither a decimal digit number, decimal point, nor \"e\" notation exponential mark.",
                )),
            })
        }
        "DECIMAL" | "NUMERIC" => Some(decimal(value.as_number()?)),
        "TIMESTAMP" => {
            let millis = match value {
                Value::Number(number) => java_long(number)?,
                other => instant(other.as_str()?)?,
            };
            let shown = henge_time::format_millis(millis);
            // Years of four digits only, as literals have them.
            let shown = (shown.len() == "2000-01-01T00:00:00.000Z".len()).then_some(shown)?;
            literal(vec![
                word("TIMESTAMP"),
                text(&shown.trim_end_matches('Z').replace('T', " ")),
            ])
        }
        "DATE" => {
            let day = match value {
                Value::Number(number) => i64::from(java_int(number)?),
                other => java_date(other.as_str()?)?,
            };
            let shown = henge_time::format_millis(day * 86_400_000);
            let (date, _) = shown.split_once('T')?;
            Some(Bound::Typed(vec![word("DATE"), text(date)]))
        }
        "ARRAY" => Some(array(value, index)),
        "MULTISET" if !value.is_array() => None,
        "TIME" if value.is_number() => Some(Bound::FailsAt("Illegal use of dynamic parameter".to_string())),
        _ if WITHOUT_LITERALS.contains(&name) || name == "MULTISET" => Some(Bound::Fails(SqlError::runtime(
            "java.lang.NullPointerException",
            "Cannot invoke \"org.apache.calcite.sql.type.SqlTypeName.createLiteral(Object, \
             org.apache.calcite.sql.parser.SqlParserPos)\" because \"typeName\" is null",
        ))),
        _ => None,
    }
}

fn array(value: &Value, index: usize) -> Bound {
    let Value::Array(items) = value else {
        let class = match value {
            Value::String(_) => "java.lang.String",
            Value::Bool(_) => "java.lang.Boolean",
            Value::Number(n) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => "java.lang.Integer",
            Value::Number(n) if n.is_i64() => "java.lang.Long",
            Value::Number(_) => "java.lang.Double",
            _ => "java.util.LinkedHashMap",
        };
        return Bound::Fails(SqlError::runtime(
            "java.lang.ClassCastException",
            format!(
                "class {class} cannot be cast to class [Ljava.lang.Object; ({class} and [Ljava.lang.Object; are in module \
                 java.base of loader 'bootstrap')"
            ),
        ));
    };
    if items.is_empty() {
        return Bound::Fails(SqlError::invalid("Require at least 1 argument (line [0], column [0])"));
    }
    let mut tokens = vec![word("ARRAY"), Token::LBracket];
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            tokens.push(Token::Comma);
        }
        match item {
            Value::Null => tokens.push(word("NULL")),
            Value::String(item) => tokens.push(text(item)),
            Value::Bool(item) => tokens.push(boolean(*item)),
            Value::Number(number) if number.is_i64() => tokens.extend(whole(number.as_i64().unwrap_or_default())),
            Value::Number(number) if number.is_f64() => {
                tokens.extend(approximate(&f64_text(number.as_f64().unwrap_or_default())));
            }
            _ => {
                return Bound::Fails(SqlError::invalid(format!(
                    "parameter [{}] is an array, with an illegal value of type [class java.util.ArrayList] at index [{i}]",
                    index + 1
                )));
            }
        }
    }
    tokens.push(Token::RBracket);
    Bound::Literal(tokens)
}

/// A decimal keeps every digit of the double that JSON's number is, and a literal has room for 64 bits of digits.
fn decimal(number: &Number) -> Bound {
    if let Some(whole_number) = number.as_i64() {
        return Bound::Literal(whole(whole_number));
    }
    let exact = match number.as_u64() {
        Some(number) => number.to_string(),
        None => {
            let digits = format!("{:.1074}", number.as_f64().unwrap_or_default());
            let digits = digits.trim_end_matches('0');
            digits.strip_suffix('.').unwrap_or(digits).to_string()
        }
    };
    match exact.replace('.', "").parse::<i64>() {
        Ok(_) => Bound::Literal(signed(&exact)),
        Err(_) => Bound::FailsAt(format!("Numeric literal '{exact}' out of range")),
    }
}

fn word(name: &str) -> Token {
    Token::make_keyword(name)
}

fn text(value: &str) -> Token {
    Token::SingleQuotedString(value.to_string())
}

fn boolean(value: bool) -> Token {
    word(if value { "TRUE" } else { "FALSE" })
}

fn whole(value: i64) -> Vec<Token> {
    signed(&value.to_string())
}

/// Makes the literal of a double; what has no exponent would be a decimal.
fn approximate(digits: &str) -> Vec<Token> {
    match digits.contains('E') {
        true => signed(digits),
        false => signed(&format!("{digits}E0")),
    }
}

fn signed(digits: &str) -> Vec<Token> {
    match digits.strip_prefix('-') {
        Some(digits) => vec![Token::Minus, Token::Number(digits.to_string(), false)],
        None => vec![Token::Number(digits.to_string(), false)],
    }
}

/// `Number.longValue`: fractions are cut, doubles end at the limits, larger whole numbers wrap.
fn java_long(number: &Number) -> Option<i64> {
    number
        .as_i64()
        .or_else(|| number.as_u64().map(|n| n as i64))
        .or_else(|| number.as_f64().map(|n| n as i64))
}

/// `Number.intValue`.
fn java_int(number: &Number) -> Option<i32> {
    match number.is_f64() {
        true => number.as_f64().map(|n| n as i32),
        false => java_long(number).map(|n| n as i32),
    }
}

/// `java.sql.Date.valueOf`: a day from 1 to 31 of any month.
fn java_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || year.len() != 4 || !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
        return None;
    }
    let (year, month, day): (i64, i64, i64) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then(|| day_number(year, month, day))?
}

/// Counts days since 1970; months beyond the year and days beyond the month run on.
fn day_number(year: i64, month: i64, day: i64) -> Option<i64> {
    let months = year * 12 + month - 1;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    let first = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, u32::try_from(month).ok()?, 1)?;
    Some(i64::from(first.to_epoch_days()) + day - 1)
}

/// Reads `yyyy-MM-dd HH:mm:ss[.S…]` digit by digit (`TimestampString`), ISO-8601 in UTC, or milliseconds.
fn instant(text: &str) -> Option<i64> {
    exact_timestamp(text)
        .or_else(|| match (text.contains(' '), text.starts_with('T')) {
            (true, _) => None,
            (false, true) => read_timestamp(&format!("1970-01-01{text}"), Zone::default()),
            (false, false) => read_timestamp(text, Zone::default()),
        })
        .or_else(|| text.parse().ok())
}

fn exact_timestamp(text: &str) -> Option<i64> {
    let (seconds, fraction) = match text.split_once('.') {
        Some((seconds, fraction)) if !fraction.ends_with('0') => (seconds, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    let shape = "0000-00-00 00:00:00";
    let fits = |(a, b): (u8, u8)| if b == b'0' { a.is_ascii_digit() } else { a == b };
    if seconds.len() != shape.len() || !seconds.bytes().zip(shape.bytes()).all(fits) {
        return None;
    }
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| seconds[from..to].parse::<i64>().ok();
    let day = day_number(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let clock = (number(11, 13)? * 60 + number(14, 16)?) * 60 + number(17, 19)?;
    let padded: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(day * 86_400_000 + clock * 1000 + padded.parse::<i64>().ok()?)
}

/// Puts literals in the place of every `?`.
///
/// # Errors
///
/// `No value bound for parameter` where there are more `?` than values, and what a value fails with where it is used. Without
/// any values the placeholders stay: [`unbound`] tells of them.
pub(crate) fn bind(tokens: Tokens, bound: &[Bound]) -> Result<Tokens, SqlError> {
    if bound.is_empty() || !tokens.list().iter().any(is_placeholder) {
        return Ok(tokens);
    }
    let mut index = 0;
    let mut list = Vec::with_capacity(tokens.list().len());
    for (at, token) in tokens.list().iter().enumerate() {
        if !is_placeholder(token) {
            list.push(token.clone());
            continue;
        }
        let value = bound
            .get(index)
            .ok_or_else(|| SqlError::invalid(format!("No value bound for parameter (position [{}])", index + 1)))?;
        index += 1;
        let place = Some(position(token.span));
        match value {
            Bound::Literal(literal) => list.extend(literal.iter().map(|t| spanned(t, token))),
            Bound::Typed(literal) if tells_type(tokens.list(), at) => {
                list.extend(literal.iter().map(|t| spanned(t, token)));
            }
            Bound::Typed(_) => {
                return Err(SqlError::invalid_at(
                    "Illegal use of dynamic parameter".to_string(),
                    place,
                ));
            }
            Bound::Fails(error) => return Err(error.clone()),
            Bound::FailsAt(message) => return Err(SqlError::invalid_at(message.clone(), place)),
        }
    }
    Ok(tokens.with_list(list))
}

fn spanned(token: &Token, place: &TokenWithSpan) -> TokenWithSpan {
    TokenWithSpan::new(token.clone(), place.span)
}

fn is_placeholder(token: &TokenWithSpan) -> bool {
    matches!(&token.token, Token::Placeholder(name) if name == "?")
}

/// Makes the error of a statement with `?` and a request without values.
pub(crate) fn unbound(tokens: &Tokens) -> SqlError {
    let list = tokens.list();
    let untyped = (0..list.len()).find(|at| is_placeholder(&list[*at]) && !tells_type(list, *at));
    match untyped {
        Some(at) => SqlError::invalid_at(
            "Illegal use of dynamic parameter".to_string(),
            Some(position(list[at].span)),
        ),
        None => SqlError::invalid("No value bound for parameter (position [1])"),
    }
}

/// Tells whether what stands beside a `?` gives it a type: the other side of an operator, a cast, a condition, a count of rows.
fn tells_type(list: &[TokenWithSpan], at: usize) -> bool {
    let operator = |token: &Token| {
        matches!(
            token,
            Token::Eq
                | Token::Neq
                | Token::Lt
                | Token::Gt
                | Token::LtEq
                | Token::GtEq
                | Token::Plus
                | Token::Minus
                | Token::Mul
                | Token::Div
        )
    };
    let word_of = |i: usize, words: &[&str]| {
        list.get(i)
            .is_some_and(|t| words.iter().any(|word| is_word(&t.token, word)))
    };
    let other_side = |i: Option<usize>, over: Option<usize>| {
        i.and_then(|i| list.get(i)).is_some_and(|t| operator(&t.token))
            && over.and_then(|i| list.get(i)).is_some_and(|t| !is_placeholder(t))
    };
    let before = at.checked_sub(1);
    let conditions = [
        "WHERE", "AND", "OR", "NOT", "WHEN", "HAVING", "ON", "LIMIT", "OFFSET", "LIKE", "BETWEEN", "ESCAPE", "NEXT",
        "FIRST",
    ];
    let between = word_of(at + 1, &["BETWEEN", "IN", "LIKE", "AND", "OR"]);
    other_side(before, at.checked_sub(2))
        || other_side(Some(at + 1), Some(at + 2))
        || before.is_some_and(|i| word_of(i, &conditions))
        || between
        || in_cast_or_list(list, at)
}

/// `CAST(? …` and `IN (…, ?, …)`.
fn in_cast_or_list(list: &[TokenWithSpan], at: usize) -> bool {
    let mut open = at;
    let mut depth = 0usize;
    while let Some(before) = open.checked_sub(1) {
        open = before;
        match list[open].token {
            Token::RParen => depth += 1,
            Token::LParen if depth == 0 => {
                let name = open.checked_sub(1).map(|i| &list[i].token);
                let is_cast = name.is_some_and(|t| is_word(t, "CAST") || is_word(t, "TRY_CAST"));
                return (is_cast && open + 1 == at) || name.is_some_and(|t| is_word(t, "IN"));
            }
            Token::LParen => depth -= 1,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Binds the values to a statement and shows its tokens.
    fn shown(sql: &str, values: &[(&str, Value)]) -> String {
        let parameters: Vec<SqlParameter> = values
            .iter()
            .map(|(sql_type, value)| SqlParameter {
                sql_type: (*sql_type).to_string(),
                value: value.clone(),
            })
            .collect();
        let bound = match read(&parameters) {
            Ok(bound) => bound,
            Err(error) => return error.message.clone(),
        };
        match bind(Tokens::read(sql).unwrap(), &bound) {
            Ok(tokens) => {
                let texts: Vec<String> = tokens.list().iter().map(|t| t.token.to_string()).collect();
                texts.join(" ")
            }
            Err(error) => error.message.clone(),
        }
    }

    fn literal(sql_type: &str, value: Value) -> String {
        shown("x = ?", &[(sql_type, value)]).replace("x = ", "")
    }

    #[test]
    fn values_become_the_literals_that_they_are() {
        for (sql_type, value, expected) in [
            ("VARCHAR", json!("it's"), "'it's'"),
            ("BIGINT", json!(2.9), "2"),
            ("BIGINT", json!(12_345_678_901_234_567_890_u64), "- 6101065172474983726"),
            ("BIGINT", json!(1e300), "9223372036854775807"),
            ("INTEGER", json!(9_223_372_036_854_775_807_i64), "- 1"),
            ("INTEGER", json!(1e300), "2147483647"),
            ("SMALLINT", json!(946_782_245_678_i64), "- 27858"),
            ("TINYINT", json!(946_782_245_678_i64), "46"),
            ("DOUBLE", json!(12), "12.0E0"),
            ("REAL", json!(9.223_372_036_854_776e18), "9.223372E18"),
            ("DECIMAL", json!(2.5), "2.5"),
            ("DECIMAL", json!(1e10), "10000000000"),
            ("BOOLEAN", json!(true), "TRUE"),
            (
                "TIMESTAMP",
                json!(946_782_245_678_i64),
                "TIMESTAMP '2000-01-02 03:04:05.678'",
            ),
            (
                "TIMESTAMP",
                json!("946782245678"),
                "TIMESTAMP '2000-01-02 03:04:05.678'",
            ),
            (
                "TIMESTAMP",
                json!("2000-13-02 24:00:00"),
                "TIMESTAMP '2001-01-03 00:00:00.000'",
            ),
            (
                "TIMESTAMP",
                json!("2000-01-02T03:04:05+05:00"),
                "TIMESTAMP '2000-01-01 22:04:05.000'",
            ),
            ("DATE", json!("2000-02-31"), "DATE '2000-03-02'"),
            ("DATE", json!(10958), "DATE '2000-01-02'"),
            ("ARRAY", json!([1, null, -2]), "ARRAY [ 1 , NULL , - 2 ]"),
            ("OTHER", json!(null), "NULL"),
        ] {
            assert_eq!(literal(sql_type, value.clone()), expected, "{sql_type} {value}");
        }
    }

    #[test]
    fn values_that_a_type_cannot_hold_are_refused_though_nothing_uses_them() {
        for (sql_type, value) in [
            ("VARCHAR", json!(12)),
            ("BIGINT", json!("12")),
            ("DOUBLE", json!("NaN")),
            ("BOOLEAN", json!("true")),
            ("TIMESTAMP", json!("2000-01-02 03:04")),
            ("DATE", json!("2000-01-02 00:00:00")),
            ("STRUCT", json!(5)),
        ] {
            assert_eq!(
                shown("SELECT 1", &[(sql_type, value)]),
                "Cannot handle query",
                "{sql_type}"
            );
        }
    }

    #[test]
    fn places_tell_the_types_of_dates_and_of_values_that_are_missing() {
        let date = ("DATE", json!("2000-01-02"));
        assert!(shown("SELECT ?", std::slice::from_ref(&date)).starts_with("Illegal use of dynamic parameter"));
        assert!(shown("SELECT ? || 'a'", std::slice::from_ref(&date)).starts_with("Illegal use of dynamic parameter"));
        assert_eq!(
            shown("SELECT CAST(? AS DATE)", &[date]),
            "SELECT CAST ( DATE '2000-01-02' AS DATE )"
        );
        let without = |sql: &str| unbound(&Tokens::read(sql).unwrap()).message.clone();
        assert_eq!(
            without("SELECT a FROM t WHERE a IN (1, ?) LIMIT ?"),
            "No value bound for parameter (position [1])"
        );
        assert!(without("SELECT ? FROM t WHERE a = ?").starts_with("Illegal use of dynamic parameter"));
        let one = [("BIGINT", json!(1))];
        assert_eq!(
            shown("SELECT ?, ?", &one),
            "No value bound for parameter (position [2])"
        );
    }
}
