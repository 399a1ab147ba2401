//! IPV4_* and IPV6_*: addresses as text and as numbers, and whether they lie in a network (`IPv4AddressExprUtils`).
//!
//! Blanks around an address are skipped, numbers of an IPv4 address may have leading zeros (and stay decimal), an IPv6 address
//! may name its zone. What is no address is NULL, or lies in no network; what is no network is an error.

use arrow::array::{Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::args::{Args, Longs, boolean_result, long_result, text_result};
use super::scalar::{Param, ScalarDef, returns};
use crate::{Category, Persona, SqlError, SqlType};

/// The family.
pub(super) const FUNCTIONS: &[ScalarDef] = &[
    ScalarDef::new("IPV4_PARSE", "ipv4_parse", &[Param::Scalar], returns::bigint, |args| {
        let addresses = Addresses::new(args)?;
        long_result(args.rows(), |row| addresses.get(row).map(i64::from))
    }),
    ScalarDef::new(
        "IPV4_STRINGIFY",
        "ipv4_stringify",
        &[Param::Scalar],
        |_| SqlType::Char(15),
        |args| {
            let addresses = Addresses::new(args)?;
            text_result(args.rows(), |row| {
                let address = addresses.get(row)?;
                Some(match &addresses {
                    Addresses::Texts(texts) => texts.value(row).to_string(),
                    Addresses::Numbers(_) => std::net::Ipv4Addr::from(address).to_string(),
                })
            })
        },
    ),
    ScalarDef::new(
        "IPV4_MATCH",
        "ipv4_match",
        &[Param::Scalar, Param::Text],
        returns::boolean,
        |args| {
            let (addresses, networks) = (
                Addresses::new(args)?,
                Networks::new(args, 32, |base| ipv4(base).map(u128::from))?,
            );
            boolean_result(args.rows(), |row| {
                Some(networks.has(row, addresses.get(row).map(u128::from)))
            })
        },
    ),
    ScalarDef::new(
        "IPV6_MATCH",
        "ipv6_match",
        &[Param::Str, Param::Text],
        returns::boolean,
        |args| {
            let (text, networks) = (args.text(0)?, Networks::new(args, 128, ipv6)?);
            boolean_result(args.rows(), |row| Some(networks.has(row, text.get(row).and_then(ipv6))))
        },
    ),
];

/// IPv4 addresses by row.
enum Addresses {
    Numbers(Longs),
    Texts(StringArray),
}

impl Addresses {
    fn new(args: &Args) -> Result<Self> {
        Ok(match args.data_type(0) {
            DataType::Int64 => Addresses::Numbers(args.long(0)?),
            _ => Addresses::Texts(super::cast::word(&args.array(0)?)?),
        })
    }

    fn get(&self, row: usize) -> Option<u32> {
        match self {
            Addresses::Numbers(numbers) => u32::try_from(numbers.get(row)?).ok(),
            Addresses::Texts(texts) if texts.is_valid(row) => ipv4(texts.value(row)),
            Addresses::Texts(_) => None,
        }
    }
}

/// Reads four numbers of up to three digits.
fn ipv4(text: &str) -> Option<u32> {
    let mut parts = text.trim_matches(|c: char| c <= ' ').split('.');
    let mut address = 0u32;
    for _ in 0..4 {
        let part = parts.next()?;
        let sound = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let number: u8 = sound.then(|| part.parse().ok()).flatten()?;
        address = (address << 8) | u32::from(number);
    }
    parts.next().is_none().then_some(address)
}

fn ipv6(text: &str) -> Option<u128> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<std::net::Ipv6Addr>().ok().map(u128::from)
}

/// A network: the bits that its addresses begin with, and how many bits do not matter.
#[derive(Clone, Copy)]
struct Network {
    prefix: u128,
    shift: u32,
}

impl Network {
    /// Reads `address/bits`.
    fn read(text: &str, width: u32, base_of: fn(&str) -> Option<u128>) -> Option<Self> {
        let (base, bits) = text.split_once('/')?;
        if !bits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= width)?;
        let shift = width - bits;
        Some(Network {
            prefix: base_of(base)?.checked_shr(shift).unwrap_or(0),
            shift,
        })
    }
}

/// Networks by row; a literal is read once, and must be one.
struct Networks(Vec<Option<Network>>);

impl Networks {
    fn new(args: &Args, width: u32, base_of: fn(&str) -> Option<u128>) -> Result<Self> {
        Ok(Networks(match args.text(1)? {
            super::args::Texts::Scalar(text) => {
                let network = text.as_deref().and_then(|text| Network::read(text, width, base_of));
                if network.is_none() {
                    return Err(no_network(width, text.as_deref().unwrap_or("null")));
                }
                vec![network]
            }
            super::args::Texts::Array(texts) => texts.iter().map(|text| Network::read(text?, width, base_of)).collect(),
        }))
    }

    fn has(&self, row: usize, address: Option<u128>) -> bool {
        let network = match self.0.as_slice() {
            [only] => *only,
            all => all.get(row).copied().flatten(),
        };
        match (network, address) {
            (Some(network), Some(address)) => address.checked_shr(network.shift).unwrap_or(0) == network.prefix,
            _ => false,
        }
    }
}

fn no_network(width: u32, text: &str) -> DataFusionError {
    let message = if width == 32 {
        format!("Function[ipv4_match] subnet arg has an invalid format: {text}")
    } else {
        "Function[ipv6_match] failed to parse address".to_string()
    };
    DataFusionError::External(Box::new(
        SqlError::general(Persona::Admin, Category::Uncategorized, message).hint(Some(format!(
            "a network is an address, a slash, and a number of bits up to {width}"
        ))),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_leniently() {
        for (text, address) in [
            ("1.2.3.4", Some(0x0102_0304)),
            (" 1.2.3.4 ", Some(0x0102_0304)),
            ("001.002.03.4", Some(0x0102_0304)),
            ("010.1.1.1", Some(0x0a01_0101)),
            ("1.2.3", None),
            ("1.2.3.4.5", None),
            ("1.2.3.256", None),
            ("0000.1.2.3", None),
            ("16909060", None),
            ("+1.2.3.4", None),
            ("", None),
        ] {
            assert_eq!(ipv4(text), address, "{text}");
        }
        assert_eq!(ipv6(" fe80::1%eth0"), ipv6("fe80::1"));
        assert!(ipv6("1.2.3.4").is_none() && ipv6("[::1]").is_none() && ipv6("::ffff:1.2.3.4").is_some());
    }

    #[test]
    fn networks_have_a_length() {
        let v4 = |text: &str| Network::read(text, 32, |base| ipv4(base).map(u128::from)).is_some();
        assert!(v4("1.2.3.0/24") && v4(" 1.2.3.9/024") && v4("0.0.0.0/0"));
        for text in ["1.2.3.4", "1.2.3/8", "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/", "::/0", ""] {
            assert!(!v4(text), "{text}");
        }
        assert!(Network::read("::/0", 128, ipv6).is_some() && Network::read("::1", 128, ipv6).is_none());
    }
}
