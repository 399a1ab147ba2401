//! Raw values as Druid's aggregators see them.

/// A value that is not null, of one of Druid's primitive types.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// STRING.
    Text(&'a str),
    /// LONG.
    Long(i64),
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
}

/// How strings are turned into bytes before an HLL sketch hashes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StringEncoding {
    /// UTF-16 code units, little-endian: Druid's default.
    #[default]
    Utf16Le,
    /// UTF-8.
    Utf8,
}

/// Gives the bits that DataSketches hashes for a double: one zero, one NaN.
pub(crate) fn canonical_double(value: f64) -> u64 {
    if value == 0.0 { 0 } else { java_double_bits(value) }
}

/// Gives the bits of Java's `doubleToLongBits`: one NaN.
pub(crate) fn java_double_bits(value: f64) -> u64 {
    if value.is_nan() {
        0x7ff8_0000_0000_0000
    } else {
        value.to_bits()
    }
}

/// Gives the bits of Java's `floatToIntBits`: one NaN.
pub(crate) fn java_float_bits(value: f32) -> u32 {
    if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }
}

/// Appends UTF-16 code units, little-endian.
pub(crate) fn utf16_le(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() * 2);
    for unit in text.encode_utf16() {
        bytes.extend_from_slice(&unit.to_le_bytes());
    }
    bytes
}
