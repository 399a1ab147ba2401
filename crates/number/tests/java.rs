//! Numbers are printed as Java prints them: `java_numbers.txt` has what JDK 25 prints of values of every kind, among them those halfway
//! between two shortest forms, and the smallest ones.
//!
//! ```text
//! d <bits, hexadecimal> <Double.toString>       f <bits, hexadecimal> <Float.toString>
//! ```

use henge_number::{f32_text, f64_text, put_i64, put_u64};

#[test]
fn doubles_and_floats_are_those_of_java() {
    let (mut doubles, mut floats) = (0, 0);
    for line in include_str!("java_numbers.txt").lines() {
        let mut fields = line.split(' ');
        let (kind, bits, expected) = (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap());
        let printed = match kind {
            "d" => {
                doubles += 1;
                f64_text(f64::from_bits(u64::from_str_radix(bits, 16).unwrap()))
            }
            _ => {
                floats += 1;
                f32_text(f32::from_bits(u32::from_str_radix(bits, 16).unwrap()))
            }
        };
        assert_eq!(printed, expected, "{line}");
    }
    assert!(doubles > 2000 && floats > 1500, "{doubles} doubles, {floats} floats");
}

#[test]
fn whole_numbers() {
    let mut out = Vec::new();
    put_i64(&mut out, i64::MIN);
    put_u64(&mut out, u64::MAX);
    assert_eq!(out, b"-922337203685477580818446744073709551615");
}
