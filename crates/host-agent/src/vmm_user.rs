//! The unprivileged user that each VMM runs as: one for each workspace, in a range that nobody uses.

use model::WorkspaceId;
use ring::digest::{SHA256, digest};

/// Far above what distributions, directories and containers hand out.
const FIRST: u32 = 0x6000_0000;
const BITS: u32 = 24;

/// The user of a workspace's VMM; absent where this process may not become others.
pub fn of(workspace: &WorkspaceId) -> Option<u32> {
    if !possible() {
        return None;
    }
    let digest = digest(&SHA256, workspace.as_str().as_bytes());
    let bits = u32::from_be_bytes(
        digest.as_ref()[28..]
            .try_into()
            .expect("a digest has 32 bytes"),
    );
    Some(FIRST + (bits & ((1 << BITS) - 1)))
}

/// Whether this process is root over the whole range of users.
pub fn possible() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && covers(&map)
}

/// Whether the map of a user namespace has our range, see user_namespaces(7).
fn covers(map: &str) -> bool {
    map.lines().any(|line| {
        let fields: Vec<u64> = line
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        let [first, _, count] = fields[..] else {
            return false;
        };
        let (ours, last) = (u64::from(FIRST), u64::from(FIRST) + (1 << BITS));
        first <= ours && last <= first + count
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_few_users_is_noticed() {
        assert!(covers("         0          0 4294967295\n"));
        assert!(!covers("         0     100000      65536\n"));
        assert!(!covers(""));
    }
}
