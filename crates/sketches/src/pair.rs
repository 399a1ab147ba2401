//! `serializablePairLongString`, `…LongLong`, `…LongDouble`, `…LongFloat`: a time and the value seen then, for first and last.
//!
//! ```text
//! LongString, big-endian:        i64 time, i32 length, UTF-8 (length 0: null, or an empty string)
//! the others, little-endian:     i64 time, u8 1 null or 0 not null, then i64, f64 or f32
//! ```
//!
//! The first is what a column stores. A column of the others stores differences of times (`segment-complex` layout of cells);
//! the form here is that cell with the whole time, as `…SimpleStagedSerde` writes it. Mirrors
//! `org.apache.druid.query.aggregation.SerializablePairLongString` and its siblings. No bytes are no pair.

use crate::bytes::Reader;
use crate::{Result, SketchError};

/// Time of a pair that has seen nothing when the latest value is looked for.
pub const LAST_NOTHING: i64 = -4_611_686_018_427_387_904;
/// Time of a pair that has seen nothing when the earliest value is looked for.
pub const FIRST_NOTHING: i64 = 4_611_686_018_427_387_903;

/// The type of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PairType {
    /// STRING.
    Text,
    /// LONG.
    Long,
    /// DOUBLE.
    Double,
    /// FLOAT.
    Float,
}

impl PairType {
    /// Gives Druid's type name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "serializablePairLongString",
            Self::Long => "serializablePairLongLong",
            Self::Double => "serializablePairLongDouble",
            Self::Float => "serializablePairLongFloat",
        }
    }
}

/// A value of a pair.
#[derive(Debug, Clone, PartialEq)]
pub enum PairValue {
    /// STRING.
    Text(String),
    /// LONG.
    Long(i64),
    /// DOUBLE.
    Double(f64),
    /// FLOAT.
    Float(f32),
}

/// Which of two pairs stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// The earlier; of the same time the one that was there.
    First,
    /// The later; of the same time the one that comes.
    #[default]
    Last,
}

/// A time and a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    kind: PairType,
    /// Milliseconds since the epoch.
    pub time: i64,
    /// The value, or null.
    pub value: Option<PairValue>,
}

impl Pair {
    /// Makes a pair that has seen nothing.
    pub fn new(kind: PairType, keep: Keep) -> Self {
        Self {
            kind,
            time: match keep {
                Keep::First => FIRST_NOTHING,
                Keep::Last => LAST_NOTHING,
            },
            value: None,
        }
    }

    /// Makes a pair of a value.
    pub fn of(kind: PairType, time: i64, value: Option<PairValue>) -> Self {
        Self { kind, time, value }
    }

    /// Reads a pair; no bytes are a pair that has seen nothing.
    pub fn parse(kind: PairType, bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::new(kind, Keep::Last));
        }
        let mut reader = Reader::new(kind.name(), bytes);
        if kind == PairType::Text {
            let time = reader.i64_be("the time")?;
            let length = reader.i32_be("the length")?;
            let value = match usize::try_from(length) {
                Ok(0) => None,
                Ok(length) => {
                    let text = std::str::from_utf8(reader.take(length, "the string")?)
                        .map_err(|error| reader.error(format!("the string is no UTF-8: {error}")))?;
                    Some(PairValue::Text(text.to_owned()))
                }
                Err(_) if length == -1 => Some(PairValue::Text(String::new())),
                Err(_) => return Err(reader.error(format!("the length is {length}"))),
            };
            return Ok(Self { kind, time, value });
        }
        let time = reader.i64_le("the time")?;
        let value = match reader.u8("the null marker")? {
            0 => Some(match kind {
                PairType::Long => PairValue::Long(reader.i64_le("the value")?),
                PairType::Double => PairValue::Double(reader.f64_le("the value")?),
                _ => PairValue::Float(reader.f32_le("the value")?),
            }),
            1 => None,
            other => return Err(reader.error(format!("the null marker is {other}, it must be 0 or 1"))),
        };
        Ok(Self { kind, time, value })
    }

    /// Keeps the earlier or the later of both.
    pub fn merge(&mut self, other: &Self, keep: Keep) -> Result<()> {
        if self.kind != other.kind {
            return Err(SketchError::Mismatch {
                left: self.kind.name().into(),
                right: other.kind.name().into(),
                why: "they hold values of different types".into(),
            });
        }
        let takes_other = match keep {
            Keep::First => other.time < self.time,
            Keep::Last => other.time >= self.time,
        };
        if takes_other {
            *self = other.clone();
        }
        Ok(())
    }

    /// Gives the type of the value.
    pub fn kind(&self) -> PairType {
        self.kind
    }

    /// Gives the bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.kind == PairType::Text {
            let text = match &self.value {
                Some(PairValue::Text(text)) => text.as_str(),
                _ => "",
            };
            let mut bytes = self.time.to_be_bytes().to_vec();
            bytes.extend_from_slice(&(text.len() as i32).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
            return bytes;
        }
        let mut bytes = self.time.to_le_bytes().to_vec();
        bytes.push(u8::from(self.value.is_none()));
        match &self.value {
            Some(PairValue::Long(value)) => bytes.extend_from_slice(&value.to_le_bytes()),
            Some(PairValue::Double(value)) => bytes.extend_from_slice(&value.to_le_bytes()),
            Some(PairValue::Float(value)) => bytes.extend_from_slice(&value.to_le_bytes()),
            Some(PairValue::Text(_)) | None => {}
        }
        bytes
    }

    /// Gives the memory it holds, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + match &self.value {
                Some(PairValue::Text(text)) => text.capacity(),
                _ => 0,
            }
    }
}
