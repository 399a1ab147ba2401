//! SMILE, Jackson's binary JSON, turned into JSON text as Jackson would print it.
//!
//! ```text
//! 3A 29 0A, version and flags (1 shared names, 2 shared values, 4 raw binary), one value
//! value 01–1F shared string   20 ""   21 null   22 false   23 true   24 int   25 long   26 big integer   28 float   29 double   2A decimal
//!       40–7F short ASCII     80–BF short UTF-8     C0–DF small int     E0 long ASCII     E4 long UTF-8     E8/FD binary
//!       EC–EF shared string, long reference     F8 … F9 array     FA … FB object
//! name  20 ""   30–33 shared, long reference   34 long   40–7F shared   80–BF short ASCII   C0–F7 short UTF-8
//! ```

use crate::SegmentError;
use crate::blob::{Blob, Cursor};
use crate::dump::json;

/// Objects and arrays inside each other at most, as Jackson limits them.
const DEPTH: usize = 1000;

/// Names or values that can be referred to; then the table begins anew.
const SHARED: usize = 1024;

/// An object or array that has begun.
struct Nesting {
    end_token: u8,
    end: u8,
    filled: bool,
}

impl Nesting {
    fn new(end_token: u8, end: u8) -> Self {
        Self {
            end_token,
            end,
            filled: false,
        }
    }
}

struct Decoder<'a, 'b> {
    cursor: Cursor<'a>,
    out: &'b mut Vec<u8>,
    names: Vec<String>,
    values: Vec<String>,
    share_names: bool,
    share_values: bool,
}

/// Appends the JSON text of a document.
pub(crate) fn to_json(blob: &Blob, out: &mut Vec<u8>) -> Result<(), SegmentError> {
    let mut cursor = blob.cursor();
    let head = cursor.take(4, "SMILE header")?;
    if head[..3] != *b":)\n" {
        return Err(blob.corrupt(0, format!("a SMILE document, found {head:02X?}")));
    }
    let flags = head[3];
    let mut decoder = Decoder {
        cursor,
        out,
        names: Vec::new(),
        values: Vec::new(),
        share_names: flags & 1 != 0,
        share_values: flags & 2 != 0,
    };
    decoder.document()
}

impl Decoder<'_, '_> {
    /// Decodes one value and everything in it. What is open is kept in a list, not on the stack: depth is the file's choice.
    fn document(&mut self) -> Result<(), SegmentError> {
        let mut open: Vec<Nesting> = Vec::new();
        loop {
            if let Some(nesting) = open.last_mut() {
                if self.cursor.peek() == Some(nesting.end_token) {
                    self.cursor.u8("end of an object or array")?;
                    self.out.push(nesting.end);
                    open.pop();
                    if open.is_empty() {
                        return Ok(());
                    }
                    continue;
                }
                if nesting.filled {
                    self.out.push(b',');
                }
                nesting.filled = true;
                if nesting.end == b'}' {
                    self.name()?;
                    self.out.push(b':');
                }
            }
            let (begin, nesting) = match self.cursor.u8("SMILE value")? {
                0xF8 => (b'[', Nesting::new(0xF9, b']')),
                0xFA => (b'{', Nesting::new(0xFB, b'}')),
                token => {
                    self.scalar(token)?;
                    if open.is_empty() {
                        return Ok(());
                    }
                    continue;
                }
            };
            if open.len() == DEPTH {
                return Err(self
                    .cursor
                    .corrupt(format!("at most {DEPTH} objects inside each other")));
            }
            self.out.push(begin);
            open.push(nesting);
        }
    }

    fn scalar(&mut self, token: u8) -> Result<(), SegmentError> {
        match token {
            0x01..=0x1F => self.shared_value(usize::from(token) - 1)?,
            0x20 => json::put_string(self.out, ""),
            0x21 => self.out.extend_from_slice(b"null"),
            0x22 => self.out.extend_from_slice(b"false"),
            0x23 => self.out.extend_from_slice(b"true"),
            0x24 | 0x25 => {
                let value = unzigzag(self.vint()?);
                json::put_long(self.out, value);
            }
            0x26 => {
                let bytes = self.seven_bit_bytes()?;
                self.out.extend_from_slice(big_integer(&bytes).as_bytes());
            }
            0x28 => {
                let bits = self.seven_bits(5)? as u32;
                json::put_float(self.out, f32::from_bits(bits));
            }
            0x29 => {
                let bits = self.seven_bits(10)?;
                json::put_double(self.out, f64::from_bits(bits));
            }
            0x2A => {
                let scale = unzigzag(self.vint()?);
                let bytes = self.seven_bit_bytes()?;
                let text = decimal(&big_integer(&bytes), scale);
                self.out.extend_from_slice(text.as_bytes());
            }
            0x40..=0x5F => self.short_string(usize::from(token & 0x1F) + 1)?,
            0x60..=0x7F => self.short_string(usize::from(token & 0x1F) + 33)?,
            0x80..=0x9F => self.short_string(usize::from(token & 0x1F) + 2)?,
            0xA0..=0xBF => self.short_string(usize::from(token & 0x1F) + 34)?,
            0xC0..=0xDF => json::put_long(self.out, unzigzag(u64::from(token & 0x1F))),
            0xE0 | 0xE4 => {
                let text = self.long_string()?;
                json::put_string(self.out, &text);
            }
            0xE8 | 0xFD => return Err(self.cursor.unsupported("binary data in JSON")),
            0xEC..=0xEF => {
                let low = self.cursor.u8("shared value")?;
                self.shared_value(usize::from(token & 3) << 8 | usize::from(low))?;
            }
            other => return Err(self.cursor.corrupt(format!("a SMILE value, found {other:#04x}"))),
        }
        Ok(())
    }

    fn name(&mut self) -> Result<(), SegmentError> {
        let token = self.cursor.u8("SMILE name")?;
        let name = match token {
            0x20 => String::new(),
            0x30..=0x33 => {
                let low = self.cursor.u8("shared name")?;
                return self.shared_name(usize::from(token & 3) << 8 | usize::from(low));
            }
            0x34 => self.long_string()?,
            0x40..=0x7F => return self.shared_name(usize::from(token & 0x3F)),
            0x80..=0xBF => self.short_name(usize::from(token & 0x3F) + 1)?,
            0xC0..=0xF7 => self.short_name(usize::from(token & 0x3F) + 2)?,
            other => return Err(self.cursor.corrupt(format!("a SMILE name, found {other:#04x}"))),
        };
        json::put_string(self.out, &name);
        Ok(())
    }

    fn short_name(&mut self, len: usize) -> Result<String, SegmentError> {
        let name = self.text(len)?;
        if self.share_names {
            if self.names.len() == SHARED {
                self.names.clear();
            }
            self.names.push(name.clone());
        }
        Ok(name)
    }

    fn shared_name(&mut self, index: usize) -> Result<(), SegmentError> {
        match self.names.get(index) {
            Some(name) => json::put_string(self.out, name),
            None => {
                return Err(self.cursor.corrupt(format!(
                    "a shared name, found reference {index} of {}",
                    self.names.len()
                )));
            }
        }
        Ok(())
    }

    fn shared_value(&mut self, index: usize) -> Result<(), SegmentError> {
        match self.values.get(index) {
            Some(value) => json::put_string(self.out, value),
            None => {
                return Err(self.cursor.corrupt(format!(
                    "a shared value, found reference {index} of {}",
                    self.values.len()
                )));
            }
        }
        Ok(())
    }

    fn short_string(&mut self, len: usize) -> Result<(), SegmentError> {
        let text = self.text(len)?;
        json::put_string(self.out, &text);
        if self.share_values && len <= 64 {
            if self.values.len() == SHARED {
                self.values.clear();
            }
            self.values.push(text);
        }
        Ok(())
    }

    fn text(&mut self, len: usize) -> Result<String, SegmentError> {
        let bytes = self.cursor.take(len, "SMILE text")?;
        String::from_utf8(bytes.to_vec()).map_err(|e| self.cursor.corrupt(format!("text in UTF-8: {e}")))
    }

    /// Reads text up to the mark `FC`.
    fn long_string(&mut self) -> Result<String, SegmentError> {
        let mut bytes = Vec::new();
        loop {
            match self.cursor.u8("SMILE text")? {
                0xFC => break,
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).map_err(|e| self.cursor.corrupt(format!("text in UTF-8: {e}")))
    }

    /// Reads a number of seven bits a byte, most significant first; the last byte has its high bit set and six bits.
    fn vint(&mut self) -> Result<u64, SegmentError> {
        let mut value = 0u64;
        for _ in 0..11 {
            let byte = self.cursor.u8("SMILE number")?;
            if byte & 0x80 != 0 {
                return Ok(value << 6 | u64::from(byte & 0x3F));
            }
            value = value << 7 | u64::from(byte);
        }
        Err(self.cursor.corrupt("a SMILE number of at most 64 bits"))
    }

    /// Reads `count` bytes of seven bits, most significant first.
    fn seven_bits(&mut self, count: usize) -> Result<u64, SegmentError> {
        let bytes = self.cursor.take(count, "SMILE number")?;
        Ok(bytes.iter().fold(0, |acc, byte| acc << 7 | u64::from(byte & 0x7F)))
    }

    /// Reads bytes that are stored as seven bits each, behind their number.
    fn seven_bit_bytes(&mut self) -> Result<Vec<u8>, SegmentError> {
        let len = self.vint()? as usize;
        let stored = len.saturating_mul(8).div_ceil(7);
        let packed = self.cursor.take(stored, "SMILE bytes")?;
        let mut out = Vec::with_capacity(len);
        let (mut bits, mut held) = (0u32, 0u32);
        for (i, byte) in packed.iter().enumerate() {
            // The last byte holds only the bits that are left.
            let width = if i + 1 == stored { (len * 8 - i * 7) as u32 } else { 7 };
            bits = bits << width | u32::from(byte & 0x7F);
            held += width;
            if held >= 8 {
                held -= 8;
                out.push((bits >> held) as u8);
            }
        }
        Ok(out)
    }
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Prints a big-endian two's complement number.
fn big_integer(bytes: &[u8]) -> String {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut magnitude: Vec<u8> = bytes.to_vec();
    if negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            let (value, overflow) = (!*byte).overflowing_add(u8::from(carry));
            *byte = value;
            carry = overflow;
        }
    }
    // Divides by ten again and again; numbers that were in JSON have few digits.
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) {
        let mut rest = 0u32;
        for byte in &mut magnitude {
            let value = rest << 8 | u32::from(*byte);
            *byte = (value / 10) as u8;
            rest = value % 10;
        }
        digits.push(b'0' + rest as u8);
    }
    if digits.is_empty() {
        digits.push(b'0');
    }
    let digits: String = digits.iter().rev().map(|digit| char::from(*digit)).collect();
    if negative { format!("-{digits}") } else { digits }
}

/// Prints `unscaled · 10^-scale` plainly.
fn decimal(unscaled: &str, scale: i64) -> String {
    if scale <= 0 || scale > 400 {
        return if scale == 0 {
            unscaled.to_owned()
        } else {
            format!("{unscaled}E{}", -scale)
        };
    }
    let (sign, digits) = match unscaled.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", unscaled),
    };
    let scale = scale as usize;
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn decode(hex: &str) -> Result<String, SegmentError> {
        let bytes: Vec<u8> = hex
            .split(' ')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        let mut out = Vec::new();
        to_json(&Blob::new(Bytes::from(bytes), "f", "c"), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn decodes_the_examples_of_the_format() {
        assert_eq!(decode("3A 29 0A 05 44 68 65 6C 6C 6F").unwrap(), r#""hello""#);
        assert_eq!(
            decode("3A 29 0A 05 FA 80 61 C2 80 62 41 78 79 80 63 F8 C2 C4 F9 FB").unwrap(),
            r#"{"a":1,"b":"xy","c":[1,2]}"#
        );
        assert_eq!(decode("3A 29 0A 05 29 00 3F 7C 00 00 00 00 00 00 00").unwrap(), "1.5");
        assert_eq!(decode("3A 29 0A 05 25 01 46 30 4A 1F 20 80").unwrap(), "1704067200000");
        // the second object refers to the name of the first
        assert_eq!(
            decode("3A 29 0A 05 F8 FA 80 61 C2 FB FA 40 C4 FB F9").unwrap(),
            r#"[{"a":1},{"a":2}]"#
        );
    }

    #[test]
    fn damage_is_refused() {
        assert!(decode("3A 29 0A 05").is_err());
        assert!(decode("3A 29 0A 05 F8 C2").is_err());
        assert!(decode("3A 29 0A 05 FA 40 C2 FB").is_err());
        assert!(decode(&format!("3A 29 0A 05{}", " F8".repeat(5000))).is_err());
        assert_eq!(big_integer(&[0xFF]), "-1");
        assert_eq!(
            big_integer(&[0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00]),
            "18446744073709551616"
        );
        assert_eq!(decimal("-5", 2), "-0.05");
    }
}
