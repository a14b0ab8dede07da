//! The texts given to `ip` and `nft`. Pure.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use crate::address::{PRIVATE_V4, Range};

/// Address of every guest, in a /30 with [`GATEWAY`].
pub const GUEST: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 2);
/// Where every guest sends what is not its own; answers DNS.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 1);
/// The tap device, in the namespace.
pub const TAP: &str = "tap0";
/// The namespace's end of its link to the host's.
const UPLINK: &str = "uplink";
/// All links of guests in the host's own namespace start with it.
pub const PREFIX: &str = "roost-";

/// What one virtual machine's network is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of the namespace and of the host's end of the link: at most 15 bytes.
    pub name: String,
    /// The host's end and the namespace's end of the link, in a /30.
    pub host_end: Ipv4Addr,
    pub inner_end: Ipv4Addr,
    pub pool: Range,
    pub allow: Vec<Range>,
    /// Answers the guest's DNS.
    pub resolver: Option<Ipv4Addr>,
}

impl Plan {
    /// For `ip -batch` in the host's namespace. There is no guest yet, so the link may be up before its
    /// settings are made.
    pub fn host_batch(&self) -> String {
        let Self { name, host_end, .. } = self;
        format!(
            "netns add {name}\n\
             link add {name} type veth peer name {UPLINK} netns {name}\n\
             addr add {host_end}/30 dev {name}\n\
             link set {name} up\n"
        )
    }

    /// For `sh -e` in the new namespace.
    pub fn inner_shell(&self) -> String {
        let Self {
            inner_end,
            host_end,
            ..
        } = self;
        let fence = self.fence();
        format!(
            "for scope in all default; do\n\
             [ ! -e /proc/sys/net/ipv6/conf/$scope/disable_ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/$scope/disable_ipv6\n\
             done\n\
             nft -f - <<'END'\n{fence}END\n\
             ip -batch - <<'END'\n\
             link set {UPLINK} up\n\
             addr add {inner_end}/30 dev {UPLINK}\n\
             route add default via {host_end}\n\
             tuntap add dev {TAP} mode tap\n\
             addr add {GATEWAY}/30 dev {TAP}\n\
             link set {TAP} up\n\
             END\n\
             echo 1 >/proc/sys/net/ipv4/conf/{TAP}/forwarding\n\
             echo 1 >/proc/sys/net/ipv4/conf/{UPLINK}/forwarding\n"
        )
    }

    /// The table inside the namespace.
    fn fence(&self) -> String {
        let mut nat = String::new();
        if let Some(resolver) = self.resolver {
            for protocol in ["udp", "tcp"] {
                let _ = writeln!(
                    nat,
                    "    iifname {TAP} ip daddr {GATEWAY} {protocol} dport 53 dnat to {resolver}"
                );
            }
        }
        let mut allowed = String::new();
        for range in self.allow.iter().filter(|range| range.first().is_ipv4()) {
            let _ = writeln!(allowed, "    ip daddr {range} oifname {UPLINK} accept");
        }
        let private = PRIVATE_V4.join(", ");
        let pool = self.pool;
        format!(
            "table ip roost_guest {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
{nat}  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname {UPLINK} masquerade
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname {TAP} ip daddr {GATEWAY} icmp type echo-request accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname {UPLINK} oifname {TAP} ct state established,related accept
    iifname != {TAP} drop
    ip saddr != {GUEST} drop
    ct state invalid drop
    ct status dnat accept
    ip daddr {pool} reject with icmp type admin-prohibited
{allowed}    ip daddr {{ {private} }} reject with icmp type admin-prohibited
    oifname {UPLINK} accept
  }}
}}
table ip6 roost_guest {{
  chain input {{ type filter hook input priority filter; policy drop; }}
  chain forward {{ type filter hook forward priority filter; policy drop; }}
  chain output {{ type filter hook output priority filter; policy drop; }}
}}
"
        )
    }
}

/// For `ip -force -batch`: removes what [`Plan::host_batch`] makes, whatever of it is there.
pub fn removal(name: &str) -> String {
    format!("link del {name}\nnetns del {name}\n")
}

/// The host's own table. It names links by their prefix alone, so nothing in it belongs to one guest.
pub fn host_table() -> String {
    format!(
        "table inet roost_host {{}}
delete table inet roost_host
table inet roost_host {{
  chain input {{
    type filter hook input priority filter - 5; policy accept;
    iifname \"{PREFIX}*\" reject with icmpx type admin-prohibited
  }}
  chain forward {{
    type filter hook forward priority filter - 5; policy accept;
    iifname \"{PREFIX}*\" meta nfproto ipv6 drop
    iifname \"{PREFIX}*\" oifname \"{PREFIX}*\" reject with icmpx type admin-prohibited
    oifname \"{PREFIX}*\" ct state established,related accept
    oifname \"{PREFIX}*\" drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    iifname \"{PREFIX}*\" oifname != \"{PREFIX}*\" masquerade
  }}
}}
"
    )
}

/// The /30s of the pool, each as (host's end, inner end), starting with the one at `start` and going round.
pub fn links(pool: Range, start: u32) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> {
    let base = match pool.first() {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(_) => 0,
    };
    let count = 1_u32
        .checked_shl(30_u32.saturating_sub(pool.prefix().into()))
        .unwrap_or(0);
    (0..count).map(move |step| {
        let link = base + (start % count).wrapping_add(step) % count * 4;
        (Ipv4Addr::from_bits(link + 1), Ipv4Addr::from_bits(link + 2))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            name: "roost-abcdefghi".into(),
            host_end: Ipv4Addr::new(10, 213, 0, 5),
            inner_end: Ipv4Addr::new(10, 213, 0, 6),
            pool: "10.213.0.0/16".parse().unwrap(),
            allow: vec!["10.9.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()],
            resolver: Some(Ipv4Addr::new(10, 0, 0, 53)),
        }
    }

    #[test]
    fn what_a_namespace_is_made_of() {
        insta::assert_snapshot!([plan().host_batch(), plan().inner_shell(), host_table()].concat());
    }

    #[test]
    fn links_go_round_the_whole_pool() {
        let pool: Range = "10.213.255.240/28".parse().unwrap();
        let all: Vec<_> = links(pool, 2)
            .map(|(host, inner)| format!("{host} {inner}"))
            .collect();
        assert_eq!(
            all,
            [
                "10.213.255.249 10.213.255.250",
                "10.213.255.253 10.213.255.254",
                "10.213.255.241 10.213.255.242",
                "10.213.255.245 10.213.255.246"
            ]
        );
        assert_eq!(links("10.0.0.0/31".parse().unwrap(), 7).count(), 1);
        assert_eq!(
            links("0.0.0.0/0".parse().unwrap(), u32::MAX)
                .take(2)
                .count(),
            2
        );
    }
}
