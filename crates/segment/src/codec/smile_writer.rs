//! JSON values turned into SMILE, Jackson's binary JSON, as Druid stores them: see [`super::smile`] for the bytes.
//!
//! Names are shared within a document, values are not. A name that was seen before becomes its number in the table that the reader builds
//! from every short name; the table begins anew when it is full.

use hashbrown::HashMap;

use crate::codec::json_text::Json;

/// `:)\n`, version 0, shared names, raw binary allowed.
const HEADER: [u8; 4] = [b':', b')', b'\n', 0x05];

/// Names in the table of the reader; then it begins anew.
const SHARED_NAMES: usize = 1024;

/// Names of so many bytes are short.
const SHORT_NAME_BYTES: usize = 56;

/// References below this take one byte.
const SHORT_REFERENCES: usize = 64;

/// Serialises documents one after the other, keeping its table.
#[derive(Debug, Default)]
pub(crate) struct SmileWriter {
    names: HashMap<String, usize>,
    /// Short names that the reader has seen since its table began.
    seen: usize,
}

impl SmileWriter {
    /// Appends a document.
    pub fn write(&mut self, value: &Json, out: &mut Vec<u8>) {
        self.names.clear();
        self.seen = 0;
        out.extend_from_slice(&HEADER);
        self.value(value, out);
    }

    /// Appends a value; the parser bounds how deep values lie inside each other.
    fn value(&mut self, value: &Json, out: &mut Vec<u8>) {
        match value {
            Json::Null => out.push(0x21),
            Json::Bool(false) => out.push(0x22),
            Json::Bool(true) => out.push(0x23),
            Json::Long(long) => put_long(*long, out),
            Json::Double(double) => put_double(*double, out),
            Json::Text(text) => put_text(text, out),
            Json::Array(values) => {
                out.push(0xF8);
                values.iter().for_each(|value| self.value(value, out));
                out.push(0xF9);
            }
            Json::Object(members) => {
                out.push(0xFA);
                for (name, value) in members {
                    self.name(name, out);
                    self.value(value, out);
                }
                out.push(0xFB);
            }
        }
    }

    fn name(&mut self, name: &str, out: &mut Vec<u8>) {
        if name.is_empty() {
            return out.push(0x20);
        }
        if name.len() > SHORT_NAME_BYTES {
            out.push(0x34);
            out.extend_from_slice(name.as_bytes());
            return out.push(0xFC);
        }
        match self.names.get(name) {
            Some(index) if *index < SHORT_REFERENCES => return out.push(0x40 | *index as u8),
            // Bytes FE and FF stay free for those who frame documents with them.
            Some(index) if index & 0xFF < 0xFE => {
                return out.extend_from_slice(&[0x30 | (index >> 8) as u8, *index as u8]);
            }
            _ => {}
        }
        match name.is_ascii() {
            true => out.push(0x80 + (name.len() - 1) as u8),
            false => out.push(0xC0 + (name.len() - 2) as u8),
        }
        out.extend_from_slice(name.as_bytes());
        if self.seen == SHARED_NAMES {
            self.names.clear();
            self.seen = 0;
        }
        self.names.entry_ref(name).or_insert(self.seen);
        self.seen += 1;
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let len = text.len();
    let (token, long) = match (text.is_ascii(), len) {
        (_, 0) => return out.push(0x20),
        (true, 1..=32) => (0x40 + len - 1, false),
        (true, 33..=64) => (0x60 + len - 33, false),
        (false, 2..=33) => (0x80 + len - 2, false),
        (false, 34..=65) => (0xA0 + len - 34, false),
        (true, _) => (0xE0, true),
        (false, _) => (0xE4, true),
    };
    out.push(token as u8);
    out.extend_from_slice(text.as_bytes());
    if long {
        out.push(0xFC);
    }
}

fn put_long(value: i64, out: &mut Vec<u8>) {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    if zigzag < 32 {
        return out.push(0xC0 | zigzag as u8);
    }
    out.push(if i32::try_from(value).is_ok() { 0x24 } else { 0x25 });
    // Groups of seven bits, most significant first; the last has six and the high bit.
    let mut groups = [0u8; 10];
    let mut at = groups.len() - 1;
    groups[at] = 0x80 | (zigzag & 0x3F) as u8;
    let mut rest = zigzag >> 6;
    while rest > 0 {
        at -= 1;
        groups[at] = (rest & 0x7F) as u8;
        rest >>= 7;
    }
    out.extend_from_slice(&groups[at..]);
}

fn put_double(value: f64, out: &mut Vec<u8>) {
    let bits = value.to_bits();
    out.push(0x29);
    out.extend((0..10).rev().map(|group| (bits >> (7 * group) & 0x7F) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;
    use crate::codec::{json_text, smile};
    use bytes::Bytes;

    fn write(json: &str) -> Vec<u8> {
        let mut out = Vec::new();
        SmileWriter::default().write(&json_text::parse(json).unwrap(), &mut out);
        out
    }

    fn check(json: &str) {
        let blob = Blob::new(Bytes::from(write(json)), "f", "c");
        let mut text = Vec::new();
        smile::to_json(&blob, &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), json);
    }

    #[test]
    fn writes_the_examples_of_the_format() {
        let hex = |text: &str| -> Vec<u8> {
            let bytes = text.split(' ');
            bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
        };
        assert_eq!(write("\"hello\""), hex("3A 29 0A 05 44 68 65 6C 6C 6F"));
        assert_eq!(
            write(r#"{"a":1,"b":"xy","c":[1,2]}"#),
            hex("3A 29 0A 05 FA 80 61 C2 80 62 41 78 79 80 63 F8 C2 C4 F9 FB")
        );
        assert_eq!(write("1.5"), hex("3A 29 0A 05 29 00 3F 7C 00 00 00 00 00 00 00"));
        assert_eq!(write("1704067200000"), hex("3A 29 0A 05 25 01 46 30 4A 1F 20 80"));
    }

    #[test]
    fn values_of_every_size_come_back() {
        for number in [0, 15, 16, -16, -17, 31, 32, 8191, 8192, i64::MIN, i64::MAX, -1] {
            check(&number.to_string());
        }
        for len in [0, 1, 2, 31, 32, 33, 34, 63, 64, 65, 66, 67, 200, 70_000] {
            check(&format!("\"{}\"", "x".repeat(len)));
            check(&format!("\"é{}\"", "x".repeat(len)));
            check(&format!("{{\"{}\":0,\"é{}\":0}}", "n".repeat(len), "n".repeat(len)));
        }
        check("[true,false,null,{},[],\"\",{\"\":{\"\":1}}]");
    }

    #[test]
    fn names_repeat_over_the_end_of_the_table() {
        let object = |from: usize, to: usize| {
            let members: Vec<String> = (from..to).map(|i| format!("\"n{i}\":{i}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let objects: Vec<String> = [(0, 70), (0, 300), (200, 900), (0, 1100), (1000, 1400), (0, 1400)]
            .map(|(from, to)| object(from, to))
            .to_vec();
        check(&format!("[{}]", objects.join(",")));
    }
}
