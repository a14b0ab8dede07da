//! The kernel's tables of listening sockets, and whose they are.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use guest_protocol::frames::ports::Port;

use crate::figures::proc;

/// `st` of a listening socket.
const LISTEN: &str = "0A";

/// A listening socket, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Socket {
    port: u16,
    loopback: bool,
    inode: u64,
}

/// Sockets whose owners were found before, so that processes are looked through only when one is new.
#[derive(Debug, Default)]
pub struct Known {
    owners: HashMap<u64, Option<Owner>>,
}

#[derive(Clone, Debug)]
struct Owner {
    pid: i32,
    name: String,
    command: String,
}

impl Known {
    /// What descendants of this process listen on, without the agent's `own` port; in the order of the ports.
    pub fn ports(&mut self, own: Option<u16>) -> Vec<Port> {
        let mut sockets = Vec::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            sockets.extend(parse(&fs::read_to_string(table).unwrap_or_default()));
        }
        self.owners
            .retain(|inode, _| sockets.iter().any(|socket| socket.inode == *inode));
        if sockets
            .iter()
            .any(|socket| !self.owners.contains_key(&socket.inode))
        {
            let found = owners();
            for socket in &sockets {
                self.owners
                    .entry(socket.inode)
                    .or_insert_with(|| found.get(&socket.inode).cloned());
            }
        }
        let mut ports: BTreeMap<u16, Port> = BTreeMap::new();
        for socket in sockets
            .into_iter()
            .filter(|socket| Some(socket.port) != own)
        {
            let Some(Some(owner)) = self.owners.get(&socket.inode) else {
                continue;
            };
            let port = ports.entry(socket.port).or_insert_with(|| Port {
                port: socket.port.into(),
                process: owner.name.clone(),
                pid: owner.pid as u32,
                loopback_only: true,
                command: owner.command.clone(),
            });
            port.loopback_only &= socket.loopback;
        }
        ports.into_values().collect()
    }
}

fn parse(table: &str) -> Vec<Socket> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        if fields.get(3) != Some(&LISTEN) {
            return None;
        }
        Some(Socket {
            port: u16::from_str_radix(port, 16).ok()?,
            loopback: is_loopback(address),
            inode: fields.get(9)?.parse().ok()?,
        })
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// Addresses are words of the machine's own byte order, in hexadecimal.
fn is_loopback(address: &str) -> bool {
    match address.len() {
        8 => address.ends_with("7F"),
        _ => {
            address == "00000000000000000000000001000000"
                || (address.starts_with("0000000000000000FFFF0000") && address.ends_with("7F"))
        }
    }
}

/// Which process holds which socket. Of several that share one the first is named: the parent, usually.
fn owners() -> HashMap<u64, Owner> {
    let mut owners = HashMap::new();
    for process in proc::descendants() {
        let Ok(files) = fs::read_dir(format!("/proc/{}/fd", process.pid)) else {
            continue;
        };
        for file in files.flatten() {
            let Ok(target) = fs::read_link(file.path()) else {
                continue;
            };
            let inode = target
                .to_str()
                .and_then(|target| target.strip_prefix("socket:["))
                .and_then(|target| target.strip_suffix(']'))
                .and_then(|inode| inode.parse().ok());
            if let Some(inode) = inode {
                owners.entry(inode).or_insert_with(|| Owner {
                    pid: process.pid,
                    name: process.name.clone(),
                    command: process.command(),
                });
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_of_both_families_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 4711 1 0 100 0 0 10 0\n\
            1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4712 1 0 100 0 0 10 0\n\
            2: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000 1000 0 4713 1 0 100 0 0 10 0\n";
        assert_eq!(
            parse(table),
            [
                Socket {
                    port: 8080,
                    loopback: true,
                    inode: 4711
                },
                Socket {
                    port: 22,
                    loopback: false,
                    inode: 4712
                },
            ]
        );
        assert!(is_loopback("00000000000000000000000001000000"));
        assert!(is_loopback("0000000000000000FFFF00000100007F"));
        assert!(!is_loopback("00000000000000000000000000000000"));
    }
}
