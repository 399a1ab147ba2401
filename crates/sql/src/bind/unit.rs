//! Units of time, as FLOOR, EXTRACT and INTERVAL name them.

use datafusion::sql::sqlparser::ast::DateTimeField;

use crate::SqlError;
use crate::parse::position;

/// Gives the upper case name of a unit.
pub(super) fn unit_name(field: &DateTimeField) -> String {
    field.to_string().to_ascii_uppercase()
}

/// Gives a unit as messages show it: one that there is not in quotes.
pub(super) fn unit_shown(field: &DateTimeField) -> String {
    let name = unit_name(field);
    match check_unit(field) {
        Ok(()) => name,
        Err(_) => format!("`{name}`"),
    }
}

/// Gives the period of a unit.
pub(super) fn unit_period(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "SECOND" => "PT1S",
        "MINUTE" => "PT1M",
        "HOUR" => "PT1H",
        "DAY" => "P1D",
        "WEEK" => "P1W",
        "MONTH" => "P1M",
        "QUARTER" => "P3M",
        "YEAR" => "P1Y",
        _ => return None,
    })
}

/// Refuses a unit that there is not.
pub(super) fn check_unit(field: &DateTimeField) -> Result<(), SqlError> {
    match field {
        DateTimeField::Custom(name) => Err(SqlError::invalid_at(
            format!("'{}' is not a valid time frame", name.value),
            Some(position(name.span)),
        )),
        _ => Ok(()),
    }
}
