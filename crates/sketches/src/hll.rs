//! `HLLSketch`: DataSketches' HyperLogLog, in its compact image.
//!
//! ```text
//! byte 0     preamble ints: 2 LIST, 3 SET, 10 HLL
//!      1     serial version 1
//!      2     family 7
//!      3     lgK, 4 to 21
//!      4     LIST, SET: log2 of the coupon array; HLL: of the auxiliary array
//!      5     flags: 0x04 empty, 0x08 compact, 0x10 out of order
//!      6     LIST: coupons; HLL: lowest register value
//!      7     bits 0-1 mode (LIST, SET, HLL), bits 2-3 type (HLL_4, HLL_6, HLL_8)
//! LIST 8…    coupons, u32: slot in the low 26 bits, value in the high 6
//! SET  8     i32 coupons; 12… coupons
//! HLL  8     f64 HIP accumulator; 16, 24 f64 sums of 2^-register below and from 32; 32 i32 registers at the lowest value;
//!      36    i32 auxiliary coupons; 40… registers, then (HLL_4) auxiliary coupons of the registers that are 15
//! ```
//!
//! All numbers are little-endian. Nothing (an empty sketch) is stored as no bytes. Mirrors
//! `org.apache.druid.query.aggregation.datasketches.hll.HllSketchHolderObjectStrategy` and `HllSketchBuildUtil`. The
//! algorithm is the `datasketches` crate's; images are checked here first, since the crate trusts their registers.

use datasketches::common::NumStdDev;
use datasketches::hash::value::raw_bytes;
use datasketches::hll::{HllSketch, HllType, HllUnion};
use henge_number::f64_text;

use crate::bytes::Reader;
use crate::limits::{HLL_MAX_LG_K, HLL_MIN_LG_K};
use crate::value::{canonical_double, utf16_le};
use crate::{Result, SketchError, StringEncoding, Value};

/// Druid's type name.
pub const NAME: &str = "HLLSketch";
/// Druid's default lgK.
pub const DEFAULT_LG_K: u8 = 12;

const LIST: u8 = 0;
const SET: u8 = 1;
const HLL: u8 = 2;
const FLAG_EMPTY: u8 = 0x04;
const FLAG_COMPACT: u8 = 0x08;
const FLAG_OUT_OF_ORDER: u8 = 0x10;

/// How registers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RegisterType {
    /// Four bits a register: `HLL_4`, Druid's default.
    #[default]
    Hll4,
    /// Six bits a register: `HLL_6`.
    Hll6,
    /// Eight bits a register: `HLL_8`.
    Hll8,
}

impl RegisterType {
    /// Finds the type of a Druid name such as `HLL_4`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "HLL_4" => Some(Self::Hll4),
            "HLL_6" => Some(Self::Hll6),
            "HLL_8" => Some(Self::Hll8),
            _ => None,
        }
    }

    /// Gives Druid's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hll4 => "HLL_4",
            Self::Hll6 => "HLL_6",
            Self::Hll8 => "HLL_8",
        }
    }

    fn crate_type(self) -> HllType {
        match self {
            Self::Hll4 => HllType::Hll4,
            Self::Hll6 => HllType::Hll6,
            Self::Hll8 => HllType::Hll8,
        }
    }
}

/// A distinct count sketch, either being built from values or the union of several.
#[derive(Debug, Clone)]
pub struct Hll {
    lg_k: u8,
    registers: RegisterType,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Sketch(HllSketch),
    Union(HllUnion),
}

impl Hll {
    /// Makes an empty sketch of 2^`lg_k` registers.
    pub fn new(lg_k: u8, registers: RegisterType) -> Result<Self> {
        let sketch = HllSketch::new(lg_k, registers.crate_type()).map_err(|_| {
            SketchError::Invalid(format!(
                "lgK of an HLL sketch is {lg_k}, it must be between {HLL_MIN_LG_K} and {HLL_MAX_LG_K}"
            ))
        })?;
        Ok(Self {
            lg_k,
            registers,
            state: State::Sketch(sketch),
        })
    }

    /// Reads a compact or updatable image; no bytes are an empty sketch of the default shape.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Self::new(DEFAULT_LG_K, RegisterType::Hll4);
        }
        let image = normalise(bytes)?;
        let lg_k = image[3];
        let registers = match image[7] >> 2 & 3 {
            0 => RegisterType::Hll4,
            1 => RegisterType::Hll6,
            _ => RegisterType::Hll8,
        };
        let sketch =
            HllSketch::deserialize(&image).map_err(|error| SketchError::corrupt(NAME, error.message().to_string()))?;
        Ok(Self {
            lg_k,
            registers,
            state: State::Sketch(sketch),
        })
    }

    /// Counts a value. Empty strings are not counted.
    pub fn update(&mut self, value: Value<'_>, encoding: StringEncoding) {
        match value {
            Value::Text(text) if encoding == StringEncoding::Utf8 => self.update_bytes(text.as_bytes()),
            Value::Text(text) => self.update_bytes(&utf16_le(text)),
            Value::Long(number) => self.update_bytes(&number.to_le_bytes()),
            Value::Float(number) => self.update_bytes(&canonical_double(f64::from(number)).to_le_bytes()),
            Value::Double(number) => self.update_bytes(&canonical_double(number).to_le_bytes()),
        }
    }

    fn update_bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let value = raw_bytes::from_slice(bytes);
        match &mut self.state {
            State::Sketch(sketch) => sketch.update(value),
            State::Union(union) => union.update_value(value),
        }
    }

    /// Adds what another sketch has seen; the result has at most this sketch's registers.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if let State::Sketch(sketch) = &self.state {
            let mut union =
                HllUnion::new(self.lg_k).map_err(|error| SketchError::Invalid(error.message().to_string()))?;
            union.update(sketch);
            self.state = State::Union(union);
        }
        let State::Union(union) = &mut self.state else {
            unreachable!("the state was made a union above");
        };
        match &other.state {
            State::Sketch(sketch) => union.update(sketch),
            State::Union(other) => union.update(&other.to_sketch(HllType::Hll8)),
        }
        Ok(())
    }

    /// Says whether no value was seen.
    pub fn is_empty(&self) -> bool {
        match &self.state {
            State::Sketch(sketch) => sketch.is_empty(),
            State::Union(union) => union.is_empty(),
        }
    }

    /// Estimates the number of distinct values.
    pub fn estimate(&self) -> f64 {
        match &self.state {
            State::Sketch(sketch) => sketch.estimate(),
            State::Union(union) => union.estimate(),
        }
    }

    /// Gives the lower and the upper bound at 1, 2 or 3 standard deviations.
    pub fn bounds(&self, deviations: u8) -> Result<(f64, f64)> {
        let deviations = standard_deviations(deviations)?;
        Ok(match &self.state {
            State::Sketch(sketch) => (sketch.lower_bound(deviations), sketch.upper_bound(deviations)),
            State::Union(union) => (union.lower_bound(deviations), union.upper_bound(deviations)),
        })
    }

    /// Gives log2 of the registers.
    pub fn lg_k(&self) -> u8 {
        match &self.state {
            State::Sketch(sketch) => sketch.lg_config_k(),
            State::Union(union) => union.lg_config_k(),
        }
    }

    /// Gives the register type.
    pub fn register_type(&self) -> RegisterType {
        self.registers
    }

    /// Gives the compact image, also of an empty sketch (what JSON shows).
    pub fn image(&self) -> Vec<u8> {
        let mut image = match &self.state {
            State::Sketch(sketch) => sketch.serialize(),
            State::Union(union) => union.to_sketch(self.registers.crate_type()).serialize(),
        };
        if image[7] & 0x0f == HLL {
            image[4] = auxiliary_lg(
                image[3],
                u32::from_le_bytes(image[36..40].try_into().expect("four bytes")),
            );
        }
        image
    }

    /// Gives the stored bytes: the compact image, nothing of an empty sketch.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.is_empty() { Vec::new() } else { self.image() }
    }

    /// Describes the sketch as `HLL_SKETCH_TO_STRING` does.
    pub fn summary(&self) -> String {
        let image = self.image();
        let mode = image[7] & 3;
        let out_of_order = image[5] & FLAG_OUT_OF_ORDER != 0;
        let (low, high) = self.bounds(1).expect("one standard deviation is allowed");
        let mut text = format!(
            "### HLL SKETCH SUMMARY: \n  Log Config K   : {}\n  Hll Target     : {}\n  Current Mode   : {}\n  \
             Memory         : false\n  LB             : {}\n  Estimate       : {}\n  UB             : {}\n  \
             OutOfOrder Flag: {out_of_order}\n",
            self.lg_k(),
            self.registers.name(),
            ["LIST", "SET", "HLL"][usize::from(mode.min(HLL))],
            f64_text(low),
            f64_text(self.estimate()),
            f64_text(high),
        );
        let number = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes"));
        let float = |at: usize| f64::from_le_bytes(image[at..at + 8].try_into().expect("eight bytes"));
        match mode {
            LIST => text.push_str(&format!("  Coupon Count   : {}\n", image[6])),
            SET => text.push_str(&format!("  Coupon Count   : {}\n", number(8))),
            _ => text.push_str(&format!(
                "  CurMin         : {}\n  NumAtCurMin    : {}\n  HipAccum       : {}\n  KxQ0           : {}\n  \
                 KxQ1           : {}\n  Rebuild KxQ Flg: false\n",
                image[6],
                number(32),
                f64_text(float(8)),
                f64_text(float(16)),
                f64_text(float(24)),
            )),
        }
        text
    }

    /// Gives the memory it holds, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + match &self.state {
                State::Sketch(sketch) => sketch.estimated_size(),
                State::Union(union) => union.estimated_size(),
            }
    }
}

/// Checks a number of standard deviations.
pub(crate) fn standard_deviations(count: u8) -> Result<NumStdDev> {
    match count {
        1 => Ok(NumStdDev::One),
        2 => Ok(NumStdDev::Two),
        3 => Ok(NumStdDev::Three),
        _ => Err(SketchError::Invalid(format!(
            "the number of standard deviations is {count}, it must be 1, 2 or 3"
        ))),
    }
}

/// Checks an image and gives the compact image of the same sketch.
fn normalise(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut reader = Reader::new(NAME, bytes);
    let head = reader.take(8, "the preamble")?;
    let (preamble, lg_k, flags, mode) = (head[0] & 0x3f, head[3], head[5], head[7] & 3);
    if head[1] != 1 || head[2] != 7 {
        return Err(reader.error(format!(
            "serial version 1 and family 7 are expected, {} and {} are there",
            head[1], head[2]
        )));
    }
    if !(HLL_MIN_LG_K..=HLL_MAX_LG_K).contains(&lg_k) {
        return Err(reader.error(format!(
            "lgK is {lg_k}, it must be between {HLL_MIN_LG_K} and {HLL_MAX_LG_K}"
        )));
    }
    let expected = [2, 3, 10].get(usize::from(mode)).copied();
    if expected != Some(preamble) || head[7] >> 2 & 3 == 3 {
        return Err(reader.error(format!(
            "mode byte {} does not go with {preamble} preamble ints",
            head[7]
        )));
    }
    let compact = flags & FLAG_COMPACT != 0;
    let mut image = vec![preamble, 1, 7, lg_k, head[4], FLAG_COMPACT, head[6], head[7] & 0x0f];
    match mode {
        LIST => {
            let count = usize::from(head[6]);
            if count == 0 || flags & FLAG_EMPTY != 0 {
                image[0] = 2;
                (image[4], image[5], image[6]) = (3, FLAG_COMPACT | FLAG_EMPTY, 0);
                return Ok(image);
            }
            if count > 8 {
                return Err(reader.error(format!("a list has {count} coupons, at most 8 are allowed")));
            }
            image[4] = 3;
            for coupon in coupons(&mut reader, count, if compact { count } else { 8 })? {
                image.extend_from_slice(&coupon.to_le_bytes());
            }
        }
        SET => {
            let count = reader.u32_le("the number of coupons")? as usize;
            let slots = if compact { count } else { 1_usize << (head[4] & 31) };
            let coupons = coupons(&mut reader, count, slots)?;
            // The array's size is not needed in compact images, so writers are not trusted to have set it.
            let needed = (count * 4 / 3 + 1).next_power_of_two().trailing_zeros().max(5) as u8;
            image[4] = head[4].max(needed);
            if lg_k < 8 || image[4] > lg_k - 3 {
                return Err(reader.error(format!(
                    "{count} coupons in an array of 2^{} are too many for lgK {lg_k}",
                    image[4]
                )));
            }
            image[6] = 0;
            image.extend_from_slice(&(count as u32).to_le_bytes());
            for coupon in coupons {
                image.extend_from_slice(&coupon.to_le_bytes());
            }
        }
        _ => {
            let floats = reader.take(24, "the accumulators")?;
            let at_minimum = reader.u32_le("the registers at the lowest value")?;
            let auxiliary = reader.u32_le("the number of auxiliary coupons")? as usize;
            let registers = 1_usize << lg_k;
            let (values, kept): (Vec<u8>, &[u8]) = match head[7] >> 2 & 3 {
                0 => {
                    let packed = reader.take(registers / 2, "registers")?;
                    let slots = if compact || auxiliary == 0 {
                        auxiliary
                    } else {
                        1 << (head[4] & 31)
                    };
                    let coupons = coupons(&mut reader, auxiliary, slots)?;
                    (values_of_4(&reader, packed, head[6], &coupons)?, packed)
                }
                1 => {
                    let packed = reader.take(registers * 3 / 4 + 1, "registers")?;
                    let value = |slot: usize| {
                        let at = slot * 6;
                        let pair = u16::from_le_bytes([packed[at / 8], packed[at / 8 + 1]]);
                        (pair >> (at % 8)) as u8 & 0x3f
                    };
                    ((0..registers).map(value).collect(), packed)
                }
                _ => {
                    let packed = reader.take(registers, "registers")?;
                    (packed.to_vec(), packed)
                }
            };
            check_registers(&reader, &values, head[6], at_minimum, floats, flags)?;
            let four = head[7] >> 2 & 3 == 0;
            if !four && auxiliary != 0 {
                return Err(reader.error("auxiliary coupons belong to HLL_4 only"));
            }
            image[4] = 0;
            let at_minimum = if four {
                at_minimum
            } else {
                // Java's unions count the registers at their lowest value; the crate takes that for the zeros.
                image[6] = 0;
                values.iter().filter(|value| **value == 0).count() as u32
            };
            image[5] |= flags & FLAG_OUT_OF_ORDER;
            image.extend_from_slice(floats);
            image.extend_from_slice(&at_minimum.to_le_bytes());
            image.extend_from_slice(&(auxiliary as u32).to_le_bytes());
            image.extend_from_slice(kept);
            if four {
                for (slot, value) in values.iter().enumerate() {
                    if nibble(kept, slot) == 15 {
                        image.extend_from_slice(&(u32::from(*value) << 26 | slot as u32).to_le_bytes());
                    }
                }
            }
        }
    }
    Ok(image)
}

/// Gives log2 of the auxiliary array that Java would have for so many coupons (`HllUtil.LG_AUX_ARR_INTS` and its growth);
/// the image tells it, though nobody needs it.
fn auxiliary_lg(lg_k: u8, coupons: u32) -> u8 {
    if coupons == 0 {
        return 0;
    }
    let mut lg = match lg_k {
        0..=6 => 2,
        7..=9 => 3,
        10 | 11 => 4,
        12 | 13 => 5,
        _ => lg_k - 8,
    };
    while u64::from(coupons) * 4 > 3 << lg {
        lg += 1;
    }
    lg
}

/// Reads `count` coupons out of `slots`, free ones (zero) left out.
fn coupons(reader: &mut Reader<'_>, count: usize, slots: usize) -> Result<Vec<u32>> {
    let coupons: Vec<u32> = reader
        .items(slots, 4, "coupons")?
        .map(|item| u32::from_le_bytes(item.try_into().expect("items are 4 bytes wide")))
        .filter(|coupon| *coupon != 0)
        .collect();
    let mut sorted = coupons.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if coupons.len() != count || sorted.len() != count || coupons.iter().any(|coupon| coupon >> 26 == 0) {
        return Err(reader.error(format!(
            "{count} different coupons are expected, {} are there",
            sorted.len()
        )));
    }
    Ok(coupons)
}

fn nibble(packed: &[u8], slot: usize) -> u8 {
    packed[slot / 2] >> (4 * (slot % 2)) & 15
}

/// Resolves four-bit registers with their auxiliary coupons.
fn values_of_4(reader: &Reader<'_>, packed: &[u8], lowest: u8, coupons: &[u32]) -> Result<Vec<u8>> {
    let registers = packed.len() * 2;
    let mut large = vec![0_u8; if coupons.is_empty() { 0 } else { registers }];
    for coupon in coupons {
        let slot = *coupon as usize & 0x03ff_ffff;
        if slot >= registers || nibble(packed, slot) != 15 || large[slot] != 0 {
            return Err(reader.error(format!("auxiliary coupon of slot {slot} belongs to no register")));
        }
        large[slot] = (coupon >> 26) as u8;
    }
    (0..registers)
        .map(|slot| match nibble(packed, slot) {
            15 => match large.get(slot) {
                Some(value) if *value >= lowest.saturating_add(15) => Ok(*value),
                _ => Err(reader.error(format!("register {slot} lacks its auxiliary coupon"))),
            },
            small => Ok(lowest.saturating_add(small)),
        })
        .collect()
}

/// Checks registers against what the preamble says of them.
fn check_registers(
    reader: &Reader<'_>,
    values: &[u8],
    lowest: u8,
    at_minimum: u32,
    floats: &[u8],
    flags: u8,
) -> Result<()> {
    if let Some(value) = values.iter().find(|value| **value > 63) {
        return Err(reader.error(format!("a register is {value}, at most 63 is possible")));
    }
    let counted = values.iter().filter(|value| **value == lowest).count();
    if counted != at_minimum as usize || (lowest > 0 && counted == 0) {
        return Err(reader.error(format!("{at_minimum} registers are said to be {lowest}, {counted} are")));
    }
    let float = |at: usize| f64::from_le_bytes(floats[at..at + 8].try_into().expect("eight bytes"));
    let sum = |large: bool| -> f64 {
        values
            .iter()
            .filter(|value| (**value >= 32) == large)
            .map(|value| 0.5_f64.powi(i32::from(*value)))
            .sum()
    };
    let near = |stored: f64, counted: f64| (stored - counted).abs() <= 1e-6 * counted.max(1e-12);
    if !near(float(8), sum(false)) || (!near(float(16), sum(true)) && (float(16) - sum(true)).abs() > 1e-9) {
        return Err(reader.error("the sums of the registers do not agree with the registers"));
    }
    let hip = float(0);
    if flags & FLAG_OUT_OF_ORDER == 0 && !(hip.is_finite() && hip >= 0.0) {
        return Err(reader.error(format!("the HIP accumulator is {hip}")));
    }
    Ok(())
}
