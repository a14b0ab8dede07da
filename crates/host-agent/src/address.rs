//! Ranges of IP addresses, and which addresses are nobody's business outside the host. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range of addresses, `10.0.0.0/8`; a single address is the range that has only it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    address: IpAddr,
    prefix: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an address or a range of addresses such as 10.0.0.0/8")]
pub struct RangeError(String);

impl Range {
    /// The lowest address.
    pub fn first(&self) -> IpAddr {
        self.address
    }

    /// Bits that all addresses have in common.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(32 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(128 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let error = || RangeError(text.into());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| error())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits {
            return Err(error());
        }
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        };
        Ok(Self { address, prefix })
    }
}

impl TryFrom<String> for Range {
    type Error = RangeError;

    fn try_from(text: String) -> Result<Self, RangeError> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// IPv4 ranges that a guest and the git relay never reach unless an operator allows it: this host, its
/// neighbours, carriers' and clouds' inner networks, multicast.
pub const PRIVATE_V4: [&str; 11] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// The same for IPv6: everything but global unicast, less what carries an IPv4 address inside
/// (translated, 6to4, Teredo) and documentation.
const PRIVATE_V6_IN_GLOBAL: [&str; 3] = ["2001::/32", "2001:db8::/32", "2002::/16"];

/// Whether the address is private in the sense of [`PRIVATE_V4`].
pub fn is_private(address: IpAddr) -> bool {
    let within = |ranges: &[&str], address| {
        ranges.iter().any(|range| {
            range
                .parse::<Range>()
                .is_ok_and(|range| range.contains(address))
        })
    };
    match address {
        IpAddr::V4(_) => within(&PRIVATE_V4, address),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_private(v4.into()),
            None => !within(&["2000::/3"], address) || within(&PRIVATE_V6_IN_GLOBAL, address),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_shares_their_prefix() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("10.213.7.9/16", "10.213.0.0", "10.214.0.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("::1", "::1", "::2"),
        ] {
            let range: Range = range.parse().unwrap();
            assert!(range.contains(inside.parse().unwrap()), "{range} {inside}");
            assert!(
                !range.contains(outside.parse().unwrap()),
                "{range} {outside}"
            );
        }
        let all: Range = "0.0.0.0/0".parse().unwrap();
        assert!(
            all.contains("203.0.113.1".parse().unwrap()) && !all.contains("::1".parse().unwrap())
        );
        assert_eq!(
            "10.213.7.9/16".parse::<Range>().unwrap().to_string(),
            "10.213.0.0/16"
        );
        for bad in ["", "10.0.0.0/33", "ten", "10.0.0/8", "::/129", "1.2.3.4/"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }

    #[test]
    fn private_addresses_are_known_in_all_their_disguises() {
        for private in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.255.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001:0:1::",
            "::127.0.0.1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "8.8.8.8",
            "140.82.121.3",
            "172.32.0.1",
            "100.128.0.1",
            "2606:50c0:8000::153",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn every_private_range_parses() {
        for range in PRIVATE_V4.iter().chain(&PRIVATE_V6_IN_GLOBAL) {
            assert_eq!(range.parse::<Range>().unwrap().to_string(), *range);
        }
    }
}
