//! Bounds of the SQL front end. Druid bounds most of them by the JVM's stack instead; the remark says what replaces what.

/// Longest statement (Druid: the HTTP server's request limit).
pub const MAX_STATEMENT_BYTES: usize = 8 * 1024 * 1024;
/// Most tokens of a statement; an IN list of a million numbers still fits.
pub const MAX_TOKENS: usize = 2_500_000;
/// Most tokens of a statement that is checked against Druid's grammar; longer ones get the query parser's own messages.
pub const MAX_CHECKED_TOKENS: usize = 500_000;
/// Deepest nesting of rules of the grammar while a statement is checked; one parenthesis nests some forty.
pub const MAX_GRAMMAR_DEPTH: usize = 60_000;
/// Most rules tried while a statement is checked.
pub const MAX_GRAMMAR_STEPS: usize = 200_000_000;
/// Stack for checking a statement against the grammar; reserved, not committed.
pub const GRAMMAR_STACK_BYTES: usize = 128 * 1024 * 1024;
/// Shapes of statements that are remembered to follow the grammar, of 16 bytes each; then they are forgotten.
pub const MAX_KNOWN_SHAPES: usize = 4_096;
/// Deepest nesting of parentheses, calls and subqueries (Calcite overflows the stack somewhere beyond a thousand).
pub const MAX_NESTING: usize = 1_000;
/// Longest chain of one operator that cannot be balanced (`a + b + …`); AND and OR chains are balanced and not bounded.
pub const MAX_CHAIN: usize = 200;
/// Deepest nesting of CASE: behind a syntax error the query parser tries every level twice.
pub const MAX_CASE_NESTING: usize = 20;
/// Deepest expression or subquery that is planned: the optimiser's passes cost the square of the depth and more.
pub const MAX_DEPTH: usize = 250;
/// Most operators in one statement: the parser's tree of a chain is as deep as the chain is long.
pub const MAX_OPERATORS: usize = 200_000;
/// Stack for parsing and planning; reserved, not committed.
pub const STACK_BYTES: usize = 256 * 1024 * 1024;
/// Stack added for every operator token.
pub const STACK_BYTES_PER_OPERATOR: usize = 4 * 1024;
/// Most tables that one statement reads; those of a WITH item count wherever it is named, as items of items double and double again.
pub const MAX_RELATIONS: usize = 2_000;
/// Most grouping sets of one GROUP BY, products of CUBE and ROLLUP included (Druid: a merge buffer for each).
pub const MAX_GROUPING_SETS: usize = 4_096;
/// Most keys of all grouping sets of one GROUP BY together.
pub const MAX_GROUPING_KEYS: usize = 100_000;
/// Most rows that `TABLE(EXTERN)` may declare columns for.
pub const MAX_COLUMNS: usize = 100_000;
/// Most words of a sentence that are compared for the nearest name.
pub const MAX_NAMES_COMPARED: usize = 10_000;
/// Most bytes of text or lists that one function makes of one batch of rows (Druid: the heap).
pub const MAX_BATCH_BYTES: usize = 512 * 1024 * 1024;
/// Most combinations of the values of several multi-value strings in one row (Druid: the heap).
pub const MAX_COMBINATIONS: usize = 1_000_000;
/// Most bytes that ARRAY_AGG, ARRAY_CONCAT_AGG, STRING_AGG, EARLIEST, LATEST and ANY_VALUE keep, where the call gives none.
pub const AGGREGATE_BYTES: i64 = 1024;
