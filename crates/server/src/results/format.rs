//! The formats of results and what a request may say about them (Druid's `ResultFormat`; spec `msq-engine` section 15.1).

use crate::json::Zone;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResultFormat {
    /// `[{"a":1},…]`
    #[default]
    Object,
    /// `[[1],…]`
    Array,
    /// One object a line, an empty line at the end.
    ObjectLines,
    /// One array a line, an empty line at the end.
    ArrayLines,
    /// Comma-separated values, an empty line at the end.
    Csv,
}

impl ResultFormat {
    /// Reads a name; case does not matter.
    pub fn read(name: &str) -> Option<Self> {
        [
            ("object", Self::Object),
            ("array", Self::Array),
            ("objectlines", Self::ObjectLines),
            ("arraylines", Self::ArrayLines),
            ("csv", Self::Csv),
        ]
        .into_iter()
        .find_map(|(known, format)| name.eq_ignore_ascii_case(known).then_some(format))
    }

    /// Gives the name as Druid writes it into a statement's context.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::ObjectLines => "objectLines",
            Self::ArrayLines => "arrayLines",
            Self::Csv => "csv",
        }
    }

    /// True where every row names its columns.
    pub fn is_object(self) -> bool {
        matches!(self, Self::Object | Self::ObjectLines)
    }

    /// True where rows are lines.
    pub fn is_lines(self) -> bool {
        matches!(self, Self::ObjectLines | Self::ArrayLines | Self::Csv)
    }
}

/// Everything that decides how a result looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResultOptions {
    /// Format.
    pub format: ResultFormat,
    /// A first row with the names.
    pub header: bool,
    /// A row with native types; needs `header`.
    pub types_header: bool,
    /// A row with SQL types; needs `header`.
    pub sql_types_header: bool,
    /// Zone of instants (`sqlTimeZone`).
    pub zone: Zone,
    /// Arrays as JSON text in a string (`sqlStringifyArrays`, true unless the context says otherwise).
    pub stringify_arrays: bool,
}

impl Default for ResultOptions {
    fn default() -> Self {
        Self {
            format: ResultFormat::Object,
            header: false,
            types_header: false,
            sql_types_header: false,
            zone: Zone::UTC,
            stringify_arrays: true,
        }
    }
}
