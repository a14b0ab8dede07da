//! Networks of virtual machines as root, with a namespace that plays the guest: it is bridged to the tap's
//! place, has the guest's address, and tries to reach what it must not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::TcpListener;

use host_agent::config::NetworkPolicy;
use host_agent::network::Networks;
use support::network::{Outside, inside, sh, sh_ok, traces};

/// A guest without a machine: the tap is replaced by a link of the same name into a namespace.
struct Guest {
    name: String,
}

impl Guest {
    fn beside(network: &str) -> Self {
        let name = format!("guest-{}", &network[6..]);
        sh_ok(&format!(
            "ip netns add {name}
             ip -n {network} link del tap0
             ip -n {network} link add tap0 type veth peer name eth0 netns {name}
             ip -n {network} addr add 172.31.255.1/30 dev tap0
             ip -n {network} link set tap0 up
             ip netns exec {network} sh -c 'echo 1 >/proc/sys/net/ipv4/conf/tap0/forwarding'
             ip -n {name} link set lo up
             ip -n {name} addr add 172.31.255.2/30 dev eth0
             ip -n {name} link set eth0 up
             ip -n {name} route add default via 172.31.255.1"
        ));
        Self { name }
    }

    /// Whether a TCP connection opens within two seconds.
    fn reaches(&self, address: &str, port: u16) -> bool {
        let script = format!(
            "exec ip netns exec {} python3 -c \"import socket; socket.create_connection(('{address}', {port}), 2)\"",
            self.name
        );
        sh(&script).status.success()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        sh(&format!("ip netns del {}", self.name));
    }
}

#[tokio::test]
async fn guests_reach_the_outside_and_nothing_else() {
    if !inside("guests_reach_the_outside_and_nothing_else") {
        return;
    }
    let policy = NetworkPolicy {
        pool: "10.214.0.0/24".parse().unwrap(),
        allow: vec!["10.77.2.0/24".parse().unwrap()],
        ..NetworkPolicy::default()
    };
    let networks = Networks::new(policy);
    let (one, two) = ("roost-testaaaaa", "roost-testbbbbb");
    networks.create(one).await.unwrap();
    networks.create(two).await.unwrap();
    let outside = Outside::new("rtest-out", "198.51.100.", "10.77.1.");
    let allowed = Outside::new("rtest-allow", "203.0.113.", "10.77.2.");
    let mut children = [outside.serve(8001), allowed.serve(8001)];
    let guest = Guest::beside(one);
    let other = Guest::beside(two);

    assert!(guest.reaches("198.51.100.2", 8001), "the outside");
    assert!(
        other.reaches("198.51.100.2", 8001),
        "the outside, from the other"
    );
    assert!(!guest.reaches("10.77.1.2", 8001), "a private network");
    assert!(
        guest.reaches("10.77.2.2", 8001),
        "an allowed private network"
    );

    // The host, by every address that it has.
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let addresses = sh_ok("ip -4 -o addr show | awk '{split($4, a, \"/\"); print a[1]}'");
    assert!(addresses.contains("127.0.0.1") && addresses.contains("198.51.100.1"));
    for address in addresses.lines() {
        assert!(!guest.reaches(address, port), "the host's {address}");
    }
    assert!(!guest.reaches("172.31.255.1", port), "the gateway");
    assert!(
        !guest.reaches("169.254.169.254", 80),
        "the metadata service"
    );
    // The other guest, which would take the connection from its own side.
    let inner = sh_ok(&format!("ip -n {two} -4 -o addr show dev uplink"));
    let inner = inner
        .split_whitespace()
        .nth(3)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    assert!(!guest.reaches(&inner, 8001), "the other network");
    // A stranger's source address does not pass.
    sh_ok(&format!(
        "ip -n {} addr add 172.31.254.9/32 dev eth0",
        guest.name
    ));
    let spoofed = sh(&format!(
        "ip netns exec {} python3 -c \"import socket; socket.create_connection(('198.51.100.2', 8001), 1, ('172.31.254.9', 0))\"",
        guest.name
    ));
    assert!(!spoofed.status.success(), "a wrong source address");
    // From outside nobody comes in.
    let into = sh(&format!(
        "ip netns exec rtest-out sh -c 'ip route add 10.214.0.0/24 via 198.51.100.1; ping -c1 -W1 {inner}'"
    ));
    assert!(!into.status.success(), "the outside reached a guest");

    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    drop((guest, other));
    for name in [one, two] {
        networks.remove(name).await.unwrap();
        assert_eq!(traces(name), "");
        networks.remove(name).await.unwrap();
    }
}

#[tokio::test]
async fn a_network_is_made_anew_over_what_is_left_of_one() {
    if !inside("a_network_is_made_anew_over_what_is_left_of_one") {
        return;
    }
    let policy = NetworkPolicy {
        pool: "10.215.0.0/30".parse().unwrap(),
        ..NetworkPolicy::default()
    };
    let networks = Networks::new(policy);
    let name = "roost-testccccc";
    let made = networks.create(name).await.unwrap();
    assert!(made.namespace.exists());
    assert_eq!(networks.create(name).await.unwrap(), made);
    let full = networks.create("roost-testddddd").await.unwrap_err();
    assert!(full.to_string().contains("10.215.0.0/30"), "{full}");
    assert_eq!(traces("roost-testddddd"), "");
    networks.remove(name).await.unwrap();
    assert_eq!(traces(name), "");
}

#[tokio::test]
async fn the_hosts_table_is_repaired_when_it_is_gone() {
    if !inside("the_hosts_table_is_repaired_when_it_is_gone") {
        return;
    }
    let policy = NetworkPolicy {
        pool: "10.216.0.0/24".parse().unwrap(),
        ..NetworkPolicy::default()
    };
    let networks = Networks::new(policy);
    let name = "roost-testeeeee";
    networks.create(name).await.unwrap();
    sh_ok("nft delete table inet roost_host");
    networks.create(name).await.unwrap();
    sh_ok("nft list table inet roost_host");
    networks.remove(name).await.unwrap();
}
