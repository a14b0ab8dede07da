//! A network of its own for each test that needs root, and servers beyond it.
#![allow(dead_code, reason = "each test target uses its part")]

use std::process::{Command, Output};

/// Each test runs in a network of its own, so that it meddles with nothing of this machine: it calls itself
/// again in there. False in the outer one, and where the rights or the tools for that are missing.
pub fn inside(test: &str) -> bool {
    const INSIDE: &str = "ROOST_NETWORK_TEST";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let possible = rustix::process::geteuid().is_root()
        && std::path::Path::new("/dev/net/tun").exists()
        && Command::new("nft").arg("--version").output().is_ok();
    if !possible {
        eprintln!("skipped: needs root, /dev/net/tun and nft");
        return false;
    }
    let script = "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip link set lo up \
        && exec \"$0\" --exact \"$1\" --nocapture";
    let status = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-ec", script])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

pub fn sh(script: &str) -> Output {
    Command::new("sh").args(["-ec", script]).output().unwrap()
}

pub fn sh_ok(script: &str) -> String {
    let output = sh(script);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A namespace beyond this host, linked to it like a server on the internet: `outside` is its address.
pub struct Outside {
    name: &'static str,
}

impl Outside {
    /// With a public address, a private one, and a listener on every port asked for.
    pub fn new(name: &'static str, public: &str, private: &str) -> Self {
        sh(&format!("ip netns del {name}"));
        sh(&format!("ip link del {name}"));
        sh_ok(&format!(
            "ip netns add {name}
             ip link add {name} type veth peer name eth0 netns {name}
             ip addr add {public}1/24 dev {name}
             ip addr add {private}1/24 dev {name}
             ip link set {name} up
             echo 1 >/proc/sys/net/ipv4/conf/{name}/forwarding
             ip -n {name} link set lo up
             ip -n {name} addr add {public}2/24 dev eth0
             ip -n {name} addr add {private}2/24 dev eth0
             ip -n {name} link set eth0 up"
        ));
        Self { name }
    }

    pub fn serve(&self, port: u16) -> std::process::Child {
        use std::io::Read;
        let mut child = Command::new("ip")
            .args(["netns", "exec", self.name, "python3", "-uc"])
            .arg(format!(
                "import socket\ns=socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
                 s.bind(('0.0.0.0',{port}))\ns.listen(50)\nprint('x', flush=True)\n\
                 while True:\n  c, a = s.accept()\n  c.close()"
            ))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 1];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut ready)
            .unwrap();
        child
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        sh(&format!("ip link del {0}; ip netns del {0}", self.name));
    }
}

pub fn traces(name: &str) -> String {
    sh_ok("ip netns list; ip -o link show; nft list ruleset; cat /proc/net/route")
        .lines()
        .filter(|line| line.contains(name))
        .collect()
}
