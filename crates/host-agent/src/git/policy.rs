//! Which Git servers the relay may reach. Pure.

use std::net::{IpAddr, SocketAddr};

use crate::address::{self, Range};

/// Servers at private addresses that an operator allows.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    ranges: Vec<(Range, Option<u16>)>,
    names: Vec<(String, Option<u16>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("git.allow: \"{0}\" is not a host, host:port, address or range of addresses")]
pub struct AllowError(pub String);

impl Allowed {
    /// From entries `host`, `host:port`, `10.0.0.1:3000`, `10.0.0.0/8`, `[fd00::1]:443`.
    pub fn parse(entries: &[String]) -> Result<Self, AllowError> {
        let mut allowed = Self::default();
        for entry in entries {
            if let Ok(range) = entry.parse::<Range>() {
                allowed.ranges.push((range, None));
            } else if let Ok(address) = entry.parse::<SocketAddr>() {
                let range = address
                    .ip()
                    .to_string()
                    .parse()
                    .expect("an address is a range");
                allowed.ranges.push((range, Some(address.port())));
            } else {
                allowed
                    .names
                    .push(name(entry).ok_or_else(|| AllowError(entry.clone()))?);
            }
        }
        Ok(allowed)
    }

    /// Whether `host`, which has been looked up as `address`, may be reached. `own` says that the address
    /// is one of this machine's.
    pub fn permits(&self, host: &str, port: u16, address: IpAddr, own: bool) -> bool {
        let fits = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        let private = own || address::is_private(address);
        !private
            || self
                .ranges
                .iter()
                .any(|(range, wanted)| fits(wanted) && range.contains(address.to_canonical()))
            || self
                .names
                .iter()
                .any(|(name, wanted)| fits(wanted) && name.eq_ignore_ascii_case(host))
    }
}

fn name(entry: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match entry.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (entry, None),
    };
    let valid = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    valid.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_servers_need_the_operators_word() {
        let allowed = Allowed::parse(
            &[
                "10.1.0.0/16",
                "127.0.0.1:3000",
                "git.internal",
                "forge.internal:8443",
                "[fd00::1]:443",
            ]
            .map(String::from),
        )
        .unwrap();
        for (host, port, address, own, expected) in [
            ("git.example", 443, "8.8.8.8", false, true),
            ("git.example", 443, "8.8.8.8", true, false),
            ("git.example", 443, "10.0.0.1", false, false),
            ("git.example", 443, "::ffff:10.0.0.1", false, false),
            ("git.example", 443, "10.1.2.3", false, true),
            ("git.example", 443, "::ffff:10.1.2.3", false, true),
            ("127.0.0.1", 3000, "127.0.0.1", true, true),
            ("127.0.0.1", 3001, "127.0.0.1", true, false),
            ("GIT.internal", 80, "192.168.0.9", false, true),
            ("forge.internal", 8443, "192.168.0.9", false, true),
            ("forge.internal", 443, "192.168.0.9", false, false),
            ("x", 443, "fd00::1", false, true),
            ("x", 443, "169.254.169.254", false, false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(
                allowed.permits(host, port, address, own),
                expected,
                "{host}:{port} {address}"
            );
        }
    }

    #[test]
    fn an_entry_that_means_nothing_is_an_error() {
        for bad in [
            "",
            "a b",
            "host:port",
            "https://host",
            "10.0.0.0/40",
            "host:70000",
        ] {
            assert_eq!(
                Allowed::parse(&[bad.into()]).unwrap_err(),
                AllowError(bad.into())
            );
        }
    }
}
