//! What Java's collections and Jackson do to JSON: the order of hash maps, and how values are printed.

use henge_number::f64_text;
use serde_json::Value;

/// `String.hashCode`.
pub(super) fn string_hash(text: &str) -> i32 {
    text.encode_utf16()
        .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// `List.hashCode` over the hashes of the elements.
pub(super) fn list_hash(hashes: impl Iterator<Item = i32>) -> i32 {
    hashes.fold(1i32, |hash, element| hash.wrapping_mul(31).wrapping_add(element))
}

/// Orders items as a `HashMap` that was filled in the given order iterates: by bucket, then by insertion.
pub(super) fn in_hash_order<T>(items: Vec<(i32, T)>) -> Vec<T> {
    let mut buckets = 16usize;
    while items.len() * 4 > buckets * 3 {
        buckets *= 2;
    }
    let mut items = items;
    items.sort_by_key(|(hash, _)| {
        let spread = (*hash as u32) ^ ((*hash as u32) >> 16);
        spread as usize & (buckets - 1)
    });
    items.into_iter().map(|(_, item)| item).collect()
}

/// Prints a value as Jackson does.
pub(super) fn print(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
        Value::String(text) => write_text(text, out),
        other => out.push_str(&scalar(other).unwrap_or_else(|| "null".into())),
    }
}

/// Words a scalar as text: numbers as Java prints them; NULL for null, objects and arrays.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) if number.is_f64() => number.as_f64().map(f64_text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Escapes as Jackson does: quotes, backslashes and control characters only.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_iterate_as_in_java() {
        let order = |keys: &[&'static str]| in_hash_order(keys.iter().map(|k| (string_hash(k), *k)).collect());
        assert_eq!(order(&["z", "a", "m"]), ["a", "z", "m"]);
        assert_eq!(order(&["o", "arr"]), ["arr", "o"]);
        assert_eq!(string_hash("hello"), 99_162_322);
    }

    #[test]
    fn values_are_printed_as_jackson_prints() {
        let value: Value = serde_json::from_str(r#"{"a":1e10,"b":[true,null,"x\"\u0001"]}"#).expect("JSON");
        assert_eq!(print(&value), "{\"a\":1.0E10,\"b\":[true,null,\"x\\\"\\u0001\"]}");
    }
}
