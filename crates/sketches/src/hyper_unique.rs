//! `hyperUnique`: Druid's own HyperLogLog of 2048 four-bit registers, which the `cardinality` aggregator stores too.
//!
//! ```text
//! byte 0     version 1
//!      1     register offset: added to every register that is not zero
//!      2     u16 registers that are not zero
//!      4     largest overflow value
//!      5     u16 its register
//!      7     dense: 1024 bytes, register b in byte b / 2, even ones in the high nibble
//!      7     sparse (fewer than 128 registers): triples of u16 position in the image and that byte;
//!            triples of zeros fill up when two registers share a byte
//! ```
//!
//! All numbers are big-endian. Version 0 images have no version byte and no overflow: offset, u16 count, payload. Mirrors
//! `org.apache.druid.hll.HyperLogLogCollector` and `VersionOneHyperLogLogCollector`.

use crate::bytes::Reader;
use crate::hash::murmur3_128;
use crate::value::{java_double_bits, java_float_bits, utf16_le};
use crate::{Result, SketchError, Value};

/// Druid's type name.
pub const NAME: &str = "hyperUnique";

const REGISTERS: usize = 2048;
const PAYLOAD: usize = REGISTERS / 2;
const HEADER: usize = 7;
/// Fewer registers than this are written as triples.
const DENSE_THRESHOLD: u16 = 128;
/// Largest value of a register above the offset.
const RANGE: u8 = 15;
/// Pairs of registers that are listed before all of them are kept.
const FEW: usize = 48;

/// A distinct count.
#[derive(Debug, Clone)]
pub struct HyperUnique {
    offset: u8,
    nonzero: u16,
    overflow: u8,
    overflow_register: u16,
    registers: Registers,
}

/// Pairs of registers: listed while they are few, since a query may count in many small groups.
#[derive(Debug, Clone)]
enum Registers {
    Few(Vec<(u16, u8)>),
    All(Box<[u8; PAYLOAD]>),
}

impl Registers {
    /// Lists pairs that are not zero, in any order.
    fn nonzero(&self) -> impl Iterator<Item = (usize, u8)> {
        let (few, all): (&[(u16, u8)], &[u8]) = match self {
            Self::Few(few) => (few, &[]),
            Self::All(all) => (&[], &all[..]),
        };
        let all = all.iter().copied().enumerate().filter(|(_, pair)| *pair != 0);
        few.iter().map(|(at, pair)| (usize::from(*at), *pair)).chain(all)
    }

    /// Gives every pair.
    fn copied(&self) -> [u8; PAYLOAD] {
        let mut all = [0; PAYLOAD];
        for (at, pair) in self.nonzero() {
            all[at] = pair;
        }
        all
    }

    /// Gives a pair to change.
    fn pair(&mut self, at: usize) -> &mut u8 {
        if let Self::Few(few) = self
            && few.len() >= FEW
            && !few.iter().any(|(known, _)| usize::from(*known) == at)
        {
            *self = Self::All(Box::new(self.copied()));
        }
        match self {
            Self::All(all) => &mut all[at],
            Self::Few(few) => {
                let index = few
                    .iter()
                    .position(|(known, _)| usize::from(*known) == at)
                    .unwrap_or_else(|| {
                        few.push((at as u16, 0));
                        few.len() - 1
                    });
                &mut few[index].1
            }
        }
    }
}

impl Default for HyperUnique {
    fn default() -> Self {
        Self {
            offset: 0,
            nonzero: 0,
            overflow: 0,
            overflow_register: 0,
            registers: Registers::Few(Vec::new()),
        }
    }
}

impl HyperUnique {
    /// Reads an image of version 0 or 1; no bytes are an empty collector.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut collector = Self::default();
        if bytes.is_empty() {
            return Ok(collector);
        }
        let mut reader = Reader::new(NAME, bytes);
        let header = if bytes.len().is_multiple_of(3) || bytes.len() == PAYLOAD + 3 {
            3
        } else {
            let version = reader.u8("the version")?;
            if version > 1 {
                return Err(reader.error(format!("version 1 is expected, {version} is there")));
            }
            HEADER
        };
        collector.offset = reader.u8("the register offset")?;
        reader.u16_be("the number of registers")?;
        if header == HEADER {
            collector.overflow = reader.u8("the overflow value")?;
            collector.overflow_register = reader.u16_be("the overflow register")?;
        }
        if collector.offset > 63 || usize::from(collector.overflow_register) >= REGISTERS || collector.overflow > 65 {
            return Err(reader.error(format!(
                "register offset {}, overflow value {} of register {}",
                collector.offset, collector.overflow, collector.overflow_register
            )));
        }
        if reader.remaining() == PAYLOAD {
            let payload = reader.take(PAYLOAD, "registers")?;
            collector.registers = Registers::All(Box::new(payload.try_into().expect("as many bytes as asked")));
        } else {
            if !reader.remaining().is_multiple_of(3) {
                return Err(reader.error(format!("{} bytes are no triples", reader.remaining())));
            }
            for triple in reader.items(reader.remaining() / 3, 3, "registers")? {
                let position = usize::from(u16::from_be_bytes([triple[0], triple[1]]));
                if triple[2] == 0 {
                    continue;
                }
                match position.checked_sub(header).filter(|at| *at < PAYLOAD) {
                    Some(at) => *collector.registers.pair(at) = triple[2],
                    None => {
                        return Err(SketchError::corrupt(
                            NAME,
                            format!("a register is at position {position}"),
                        ));
                    }
                }
            }
        }
        collector.nonzero = collector.count_nonzero();
        collector.shift_when_full();
        Ok(collector)
    }

    fn count_nonzero(&self) -> u16 {
        self.registers
            .nonzero()
            .map(|(_, pair)| u16::from(pair >> 4 != 0) + u16::from(pair & 15 != 0))
            .sum()
    }

    /// Counts a value as the `hyperUnique` aggregator does: everything as UTF-8 text.
    pub fn update_text(&mut self, text: &str) {
        self.update_hash(text.as_bytes());
    }

    /// Counts a value as the `cardinality` aggregator does, which `APPROX_COUNT_DISTINCT` is: strings as UTF-16.
    pub fn update(&mut self, value: Value<'_>) {
        match value {
            Value::Text(text) => self.update_hash(&utf16_le(text)),
            Value::Long(number) => self.update_hash(&number.to_le_bytes()),
            Value::Float(number) => self.update_hash(&java_float_bits(number).to_le_bytes()),
            Value::Double(number) => self.update_hash(&java_double_bits(number).to_le_bytes()),
        }
    }

    fn update_hash(&mut self, bytes: &[u8]) {
        let (low, high) = murmur3_128(bytes, 0);
        // The last two bytes of the hash, as a big-endian number; the first one bit of the first eight.
        let register = (high >> 48) as u16;
        let register = register.swap_bytes() & (REGISTERS as u16 - 1);
        let position = if low == 0 { 64 } else { low.trailing_zeros() as u8 + 1 };
        self.add(register, position);
    }

    fn add(&mut self, register: u16, value: u8) {
        if value <= self.offset {
            return;
        }
        if value > self.offset + RANGE {
            if value > self.overflow {
                if self.overflow <= self.offset + RANGE {
                    self.add(self.overflow_register, self.overflow);
                }
                self.overflow = value;
                self.overflow_register = register;
            }
            return;
        }
        let relative = value - self.offset;
        let pair = self.registers.pair(usize::from(register) / 2);
        let (old, shift) = if register.is_multiple_of(2) {
            (*pair >> 4, 4)
        } else {
            (*pair & 15, 0)
        };
        if old == 0 {
            self.nonzero += 1;
        }
        if relative > old {
            *pair = *pair & !(15 << shift) | relative << shift;
        }
        self.shift_when_full();
    }

    /// Takes 1 off every register, as long as none is zero.
    fn shift_when_full(&mut self) {
        if usize::from(self.nonzero) == REGISTERS {
            let lowered = self.registers.copied().map(|pair| pair - 0x11);
            self.registers = Registers::All(Box::new(lowered));
            self.offset += 1;
            self.nonzero = self.count_nonzero();
        }
    }

    /// Adds what another collector has seen.
    pub fn merge(&mut self, other: &Self) {
        if self.offset < other.offset {
            let mine = std::mem::replace(self, other.clone());
            return self.merge(&mine);
        }
        let lower = self.offset - other.offset;
        for (at, theirs) in other.registers.nonzero() {
            let pair = self.registers.pair(at);
            let high = (*pair >> 4).max((theirs >> 4).saturating_sub(lower));
            let low = (*pair & 15).max((theirs & 15).saturating_sub(lower));
            *pair = high << 4 | low;
        }
        self.nonzero = self.count_nonzero();
        self.shift_when_full();
        self.add(other.overflow_register, other.overflow);
    }

    /// Says whether no value was seen.
    pub fn is_empty(&self) -> bool {
        self.nonzero == 0 && self.offset == 0 && self.overflow == 0
    }

    /// Estimates the number of distinct values.
    pub fn estimate(&self) -> f64 {
        let registers = REGISTERS as f64;
        let two_to_64 = 2.0_f64.powi(64);
        let weight = |value: u8| 0.5_f64.powi(i32::from(value));
        let (mut sum, mut zeros) = (0.0, 0_u32);
        for (at, pair) in self.registers.copied().into_iter().enumerate() {
            let (mut high, mut low) = ((pair >> 4) + self.offset, (pair & 15) + self.offset);
            if self.overflow != 0 && at == usize::from(self.overflow_register) / 2 {
                let value = if self.overflow_register.is_multiple_of(2) {
                    &mut high
                } else {
                    &mut low
                };
                *value = (*value).max(self.overflow);
                // Counted as Druid counts them: after the offset, and only their own nibble.
                zeros += u32::from(high & 0xf0 == 0) + u32::from(low & 0x0f == 0);
            } else {
                zeros += u32::from(pair >> 4 == 0) + u32::from(pair & 15 == 0);
            }
            sum += weight(high) + weight(low);
        }
        let alpha = 0.7213 / (1.0 + 1.079 / registers);
        let raw = alpha * registers * registers / sum;
        if raw <= 2.5 * registers {
            return if zeros == 0 {
                raw
            } else {
                registers * (registers / f64::from(zeros)).ln()
            };
        }
        if raw > two_to_64 / 30.0 {
            let ratio = raw / two_to_64;
            return if ratio >= 1.0 {
                f64::INFINITY
            } else {
                -two_to_64 * (1.0 - ratio).ln()
            };
        }
        raw
    }

    /// Gives the estimate rounded as Java rounds.
    pub fn count(&self) -> i64 {
        (self.estimate() + 0.5).floor() as i64
    }

    /// Gives the stored bytes, 7 of an empty collector.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut image = vec![1, self.offset];
        image.extend_from_slice(&self.nonzero.to_be_bytes());
        image.push(self.overflow);
        image.extend_from_slice(&self.overflow_register.to_be_bytes());
        if self.nonzero >= DENSE_THRESHOLD {
            image.extend_from_slice(&self.registers.copied());
            return image;
        }
        let mut pairs: Vec<(usize, u8)> = self.registers.nonzero().filter(|(_, pair)| *pair != 0).collect();
        pairs.sort_unstable();
        for (at, pair) in pairs {
            image.extend_from_slice(&((at + HEADER) as u16).to_be_bytes());
            image.push(pair);
        }
        image.resize(HEADER + 3 * usize::from(self.nonzero), 0);
        image
    }

    /// Gives the memory it holds, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + match &self.registers {
                Registers::Few(few) => 4 * few.capacity(),
                Registers::All(_) => PAYLOAD,
            }
    }
}
