//! `{fn NAME(…)}`: the functions of JDBC, by the names that Calcite gives them (`SqlJdbcFunctionCall`).

use crate::error::Position;

/// What a name of JDBC's means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The function of another name.
    Is(&'static str),
    /// The function of the same name.
    Same,
    /// An operator that no query can use.
    Unsupported(&'static str),
    /// No function.
    Unknown,
}

/// Looks a name up.
pub(super) fn function(name: &str) -> Meaning {
    match name {
        "UCASE" => Meaning::Is("UPPER"),
        "LCASE" => Meaning::Is("LOWER"),
        "LOCATE" => Meaning::Is("POSITION"),
        "LOG" => Meaning::Is("LN"),
        "CURDATE" => Meaning::Is("CURRENT_DATE"),
        "ASCII" => Meaning::Unsupported("ASCII"),
        "CHAR" => Meaning::Unsupported("CHAR"),
        "DAYNAME" => Meaning::Unsupported("DAYNAME"),
        "DIFFERENCE" => Meaning::Unsupported("DIFFERENCE"),
        "MONTHNAME" => Meaning::Unsupported("MONTHNAME"),
        "RAND" => Meaning::Unsupported("RAND"),
        "SOUNDEX" => Meaning::Unsupported("SOUNDEX"),
        "SPACE" => Meaning::Unsupported("SPACE"),
        "INSERT" => Meaning::Unsupported("OVERLAY"),
        "NOW" => Meaning::Unsupported("CURRENT_TIMESTAMP"),
        "DATABASE" => Meaning::Unsupported("CURRENT_CATALOG"),
        "USER" => Meaning::Unsupported("CURRENT_USER"),
        "ABS" | "ACOS" | "ASIN" | "ATAN" | "ATAN2" | "CBRT" | "CEILING" | "CONCAT" | "CONVERT" | "COS" | "COT"
        | "CURTIME" | "DAYOFMONTH" | "DAYOFWEEK" | "DAYOFYEAR" | "DEGREES" | "EXP" | "FLOOR" | "HOUR" | "IFNULL"
        | "LEFT" | "LENGTH" | "LOG10" | "LTRIM" | "MINUTE" | "MOD" | "MONTH" | "PI" | "POSITION" | "POWER"
        | "QUARTER" | "RADIANS" | "REPEAT" | "REPLACE" | "REVERSE" | "RIGHT" | "ROUND" | "RTRIM" | "SECOND"
        | "SIGN" | "SIN" | "SQRT" | "SUBSTRING" | "TAN" | "TIMESTAMPADD" | "TIMESTAMPDIFF" | "TRUNCATE" | "WEEK"
        | "YEAR" => Meaning::Same,
        _ => Meaning::Unknown,
    }
}

/// Gives the unit that a function extracts from a time.
pub(super) fn unit(name: &str) -> Option<&'static str> {
    Some(match name {
        "YEAR" => "YEAR",
        "QUARTER" => "QUARTER",
        "MONTH" => "MONTH",
        "WEEK" => "WEEK",
        "DAYOFYEAR" => "DOY",
        "DAYOFMONTH" => "DAY",
        "DAYOFWEEK" => "DOW",
        "HOUR" => "HOUR",
        "MINUTE" => "MINUTE",
        "SECOND" => "SECOND",
        _ => return None,
    })
}

/// Moves a place from a name to the `{fn ` before it.
pub(super) fn with_brace(mut place: Position) -> Position {
    place.column = place.column.saturating_sub("{fn ".len() as u64).max(1);
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_calcites() {
        assert_eq!(function("UCASE"), Meaning::Is("UPPER"));
        assert_eq!(function("LENGTH"), Meaning::Same);
        assert_eq!(function("INSERT"), Meaning::Unsupported("OVERLAY"));
        assert_eq!(function("UPPER"), Meaning::Unknown);
    }
}
