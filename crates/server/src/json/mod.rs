//! Druid's JSON text, written byte by byte: the bottom of every rendering in this crate. Result rows go through here without a
//! value tree in between; everything else is a `serde_json::Value` that [`to_text`] prints.

mod number;
mod text;
mod time;

pub use number::{push_f32, push_f64, push_i64, push_u64};
pub use text::{push_csv_field, push_string, push_string_body};
pub use time::{TimeWriter, Zone};

use serde_json::Value;

/// Prints a value as Jackson does: compact, doubles as Java prints them, `\u00XX` in capitals.
pub fn to_text(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    push_value(&mut out, value);
    out
}

/// Appends a value.
pub fn push_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => push_i64(out, whole),
            (None, Some(whole), _) => push_u64(out, whole),
            (None, None, Some(real)) => push_f64(out, real),
            (None, None, None) => out.extend_from_slice(number.to_string().as_bytes()),
        },
        Value::String(text) => push_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                push_value(out, item);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (i, (name, member)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                push_string(out, name);
                out.push(b':');
                push_value(out, member);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_jackson_prints_them() {
        let value = serde_json::json!({"b": [1, 1.0, 1e7, null], "a": {"x": "\u{1f}\u{7f}é\"\\/"}});
        assert_eq!(
            String::from_utf8(to_text(&value)).unwrap(),
            "{\"b\":[1,1.0,1.0E7,null],\"a\":{\"x\":\"\\u001F\u{7f}é\\\"\\\\/\"}}"
        );
    }
}
