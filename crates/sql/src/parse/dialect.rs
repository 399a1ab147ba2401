//! Druid's lexical rules as a dialect of `sqlparser`.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Word};

use super::reserved;

/// The dialect: identifiers are never folded, double quotes delimit them, backslashes are ordinary.
#[derive(Debug, Default)]
pub(crate) struct DruidDialect;

impl Dialect for DruidDialect {
    // The parser asks "is this the generic dialect?" in many places before it reads standard clauses such as UNNEST.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || c == '_' || c == '$'
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        c == '"'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    // The binder refuses units that there are not.
    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    // Calcite binds LIKE, IN and BETWEEN tighter than comparisons.
    fn prec_value(&self, precedence: Precedence) -> u8 {
        let of = |precedence| GenericDialect {}.prec_value(precedence);
        match precedence {
            Precedence::Like | Precedence::Between => of(Precedence::Eq) + 1,
            other => of(other),
        }
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        super::calcite::precedence(self, parser).map(Ok)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        super::calcite::prefix(parser)
    }

    fn parse_infix(&self, parser: &mut Parser, left: &Expr, _precedence: u8) -> Option<Result<Expr, ParserError>> {
        super::calcite::infix(self, parser, left)
    }

    fn is_table_factor_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        !is_reserved_word(parser) && (explicit || GenericDialect {}.is_table_factor_alias(explicit, keyword, parser))
    }

    fn is_select_item_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        !is_reserved_word(parser) && (explicit || GenericDialect {}.is_select_item_alias(explicit, keyword, parser))
    }
}

/// Tells whether the token that was just read, which may become an alias, needs quotes as a name.
fn is_reserved_word(parser: &Parser) -> bool {
    match &parser.get_current_token().token {
        Token::Word(Word {
            value,
            quote_style: None,
            ..
        }) => reserved::needs_quotes(value),
        _ => false,
    }
}
