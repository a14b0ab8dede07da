//! Which resolver the host really uses: guests' DNS is sent to it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Lists of resolvers, the first usable one counts. The second is systemd-resolved's own list, for hosts
/// whose first names only its listener on loopback.
const LISTS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// The first IPv4 resolver that a guest's packets can be sent to, if any: not one on this host's loopback.
pub fn find(configured: &[IpAddr]) -> Option<Ipv4Addr> {
    if !configured.is_empty() {
        return configured.iter().copied().find_map(usable);
    }
    LISTS.iter().find_map(|list| {
        let text = std::fs::read_to_string(Path::new(list)).ok()?;
        nameservers(&text).find_map(usable)
    })
}

fn nameservers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver"))
            .then(|| words.next()?.parse().ok())
            .flatten()
    })
}

fn usable(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) if !v4.is_loopback() && !v4.is_unspecified() => Some(v4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_resolver_beyond_loopback_counts() {
        let text = "# comment\nsearch lan\nnameserver 127.0.0.53\nnameserver ::1\nnameserver  192.0.2.53 \nnameserver 192.0.2.54\n";
        assert_eq!(
            nameservers(text).find_map(usable),
            Some(Ipv4Addr::new(192, 0, 2, 53))
        );
        assert_eq!(
            nameservers("nameserver\nnameservers 1.1.1.1\noptions").find_map(usable),
            None
        );
        assert_eq!(find(&["127.0.0.1".parse().unwrap()]), None);
        assert_eq!(
            find(&["fd00::53".parse().unwrap(), "9.9.9.9".parse().unwrap()]),
            Some(Ipv4Addr::new(9, 9, 9, 9))
        );
    }
}
