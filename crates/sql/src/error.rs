//! What can be wrong with a statement, in Druid's terms (`DruidException`) and without HTTP.

use std::collections::BTreeMap;
use std::fmt;

/// Whom an error is for (`DruidException.Persona`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Persona {
    /// Whoever wrote the statement.
    User,
    /// Whoever manages the cluster's users and settings.
    Admin,
    /// Whoever runs the processes.
    Operator,
    /// Whoever develops the engine.
    Developer,
}

impl Persona {
    /// Gives the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Persona::User => "USER",
            Persona::Admin => "ADMIN",
            Persona::Operator => "OPERATOR",
            Persona::Developer => "DEVELOPER",
        }
    }
}

/// What kind of failure it is (`DruidException.Category`); the HTTP status follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// An assertion of the engine.
    Defensive,
    /// The statement, a parameter or a context value.
    InvalidInput,
    /// Not allowed.
    Forbidden,
    /// Something named does not exist.
    NotFound,
    /// A limit.
    CapacityExceeded,
    /// Valid, but not offered.
    Unsupported,
    /// Failed while it ran.
    RuntimeFailure,
    /// Took too long.
    Timeout,
    /// Anything else.
    Uncategorized,
}

impl Category {
    /// Gives the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::Defensive => "DEFENSIVE",
            Category::InvalidInput => "INVALID_INPUT",
            Category::Forbidden => "FORBIDDEN",
            Category::NotFound => "NOT_FOUND",
            Category::CapacityExceeded => "CAPACITY_EXCEEDED",
            Category::Unsupported => "UNSUPPORTED",
            Category::RuntimeFailure => "RUNTIME_FAILURE",
            Category::Timeout => "TIMEOUT",
            Category::Uncategorized => "UNCATEGORIZED",
        }
    }

    /// Gives the HTTP status that Druid answers with.
    pub fn status(self) -> u16 {
        match self {
            Category::InvalidInput => 400,
            Category::Forbidden => 403,
            Category::NotFound => 404,
            Category::CapacityExceeded => 429,
            Category::Unsupported => 501,
            Category::Timeout => 504,
            Category::Defensive | Category::RuntimeFailure | Category::Uncategorized => 500,
        }
    }
}

/// A place in the statement: lines and columns count from 1, the end is inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// First line.
    pub line: u64,
    /// First column.
    pub column: u64,
    /// Last line.
    pub end_line: u64,
    /// Last column.
    pub end_column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(line [{}], column [{}])", self.line, self.column)
    }
}

/// An error in Druid's shape: who it is for, what kind it is, what it says, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError(Box<SqlErrorBody>);

/// The members of a [`SqlError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlErrorBody {
    /// Whom it is for.
    pub persona: Persona,
    /// What kind it is.
    pub category: Category,
    /// `invalidInput`, `general`, `legacyQueryException` …
    pub error_code: String,
    /// Text; already ends with the position where there is one.
    pub message: String,
    /// Where in the statement.
    pub position: Option<Position>,
    /// Druid's `context` object, ready to print.
    pub context: BTreeMap<String, String>,
    /// A way out that Druid's own message does not give (the nearest name, for instance).
    pub hint: Option<String>,
    /// Where a function failed on a value while rows were computed: the class of the Java exception, or nothing where it is a
    /// `DruidException`. Druid's interactive queries wrap what their processes raise.
    pub raised: Option<&'static str>,
    /// True where the statement was refused before there was one: by the lexer, the grammar, or the list of SETs. Druid answers
    /// those without an envelope.
    pub in_grammar: bool,
    /// True where the interactive engine refuses the statement for being an INSERT or REPLACE before it looks at this.
    pub of_ingestion: bool,
}

impl std::ops::Deref for SqlError {
    type Target = SqlErrorBody;

    fn deref(&self) -> &SqlErrorBody {
        &self.0
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SqlError {}

impl SqlError {
    fn make(persona: Persona, category: Category, code: &str, message: String) -> Self {
        SqlError(Box::new(SqlErrorBody {
            persona,
            category,
            error_code: code.to_string(),
            message,
            position: None,
            context: BTreeMap::new(),
            hint: None,
            raised: None,
            in_grammar: false,
            of_ingestion: false,
        }))
    }

    /// Makes the error for a wrong statement (`InvalidSqlInput`): `invalidInput`, USER, INVALID_INPUT, `sourceType` sql.
    pub fn invalid(message: impl Into<String>) -> Self {
        let mut error = Self::make(Persona::User, Category::InvalidInput, "invalidInput", message.into());
        error.0.context.insert("sourceType".into(), "sql".into());
        error
    }

    /// Makes the error for a wrong statement at a place; the place is appended to the text.
    pub fn invalid_at(message: impl Into<String>, position: Option<Position>) -> Self {
        let Some(position) = position else {
            return Self::invalid(message);
        };
        Self::invalid(format!("{} {position}", message.into())).at(position)
    }

    /// Makes the error for wrong input that is not the statement's text (`InvalidInput`): an empty context.
    pub fn input(message: impl Into<String>) -> Self {
        Self::make(Persona::User, Category::InvalidInput, "invalidInput", message.into())
    }

    /// Makes a `general` error.
    pub fn general(persona: Persona, category: Category, message: impl Into<String>) -> Self {
        Self::make(persona, category, "general", message.into())
    }

    /// Makes the error for a statement that is valid but cannot be planned.
    pub fn unplannable(reason: impl fmt::Display) -> Self {
        Self::general(
            Persona::User,
            Category::InvalidInput,
            format!("Query could not be planned. A possible reason is [{reason}]"),
        )
    }

    /// Makes the error for something that Druid's SQL has and this build does not offer.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::general(Persona::User, Category::Unsupported, message)
    }

    /// Makes the error for a context value of the wrong type: Druid's legacy shape, for the operator.
    pub fn bad_context(message: impl Into<String>) -> Self {
        Self::legacy(
            Persona::Operator,
            Category::InvalidInput,
            "Query context parse failed",
            "org.apache.druid.query.BadQueryContextException",
            message,
        )
    }

    /// Makes an error of Druid's legacy shape.
    pub fn legacy(
        persona: Persona,
        category: Category,
        legacy_code: &str,
        class: &str,
        message: impl Into<String>,
    ) -> Self {
        let mut error = Self::make(persona, category, "legacyQueryException", message.into());
        error.0.context.insert("errorClass".into(), class.into());
        error.0.context.insert("legacyErrorCode".into(), legacy_code.into());
        error
    }

    /// Makes the error of an exception that a Druid process throws while a query runs: Druid's legacy shape, for the operator.
    pub fn runtime(class: &str, message: impl Into<String>) -> Self {
        Self::legacy(
            Persona::Operator,
            Category::RuntimeFailure,
            "Unknown exception",
            class,
            message,
        )
    }

    /// Tells whether the error has Druid's legacy shape (members `error`, `errorClass`, `host` beside the new ones).
    pub fn is_legacy(&self) -> bool {
        self.error_code == "legacyQueryException"
    }

    /// Adds the place to the context.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        let body = &mut self.0;
        for (key, value) in [
            ("line", position.line),
            ("column", position.column),
            ("endLine", position.end_line),
            ("endColumn", position.end_column),
        ] {
            body.context.insert(key.into(), value.to_string());
        }
        body.position = Some(position);
        self
    }

    /// Adds a member of the context.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.context.insert(key.into(), value.into());
        self
    }

    /// Says that a value failed while rows were computed, with an exception of a class (empty: a `DruidException`).
    #[must_use]
    pub fn raised(mut self, class: &'static str) -> Self {
        self.0.raised = Some(class);
        self
    }

    /// Says that the grammar refuses the statement.
    #[must_use]
    pub fn in_grammar(mut self) -> Self {
        self.0.in_grammar = true;
        self
    }

    /// Says that only an engine that ingests looks at this.
    #[must_use]
    pub fn of_ingestion(mut self) -> Self {
        self.0.of_ingestion = true;
        self
    }

    /// Says in front what the error was found in.
    #[must_use]
    pub(crate) fn within(mut self, what: &str) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// Adds a way out.
    #[must_use]
    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.0.hint = hint;
        self
    }
}
