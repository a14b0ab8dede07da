//! What a monitor is told in `spec.json`. It is read by a monitor of the build that wrote it, and by host agents of
//! other versions: fields are only added, each with a default; unknown ones are ignored.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Version of the file that this code writes.
pub const FORMAT: u32 = 2;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitorSpec {
    /// See [`FORMAT`].
    pub format: u32,
    /// Names the VM in logs and as the VMM's process name.
    pub name: String,
    pub vm: microvm::spec::VmSpec,
    /// Unix socket of whoever relays git for this VM: it gets the raw HTTP/1.1 of each stream that the
    /// guest opens. Nobody there: git in the guest gets an error.
    #[serde(default)]
    pub relay_socket: Option<PathBuf>,
    /// How long an orderly stop may take when the monitor gets SIGTERM, milliseconds.
    #[serde(default = "default_stop_deadline_ms")]
    pub stop_deadline_ms: u64,
}

fn default_stop_deadline_ms() -> u64 {
    20_000
}

impl MonitorSpec {
    pub fn new(name: impl Into<String>, vm: microvm::spec::VmSpec) -> Self {
        Self {
            format: FORMAT,
            name: name.into(),
            vm,
            relay_socket: None,
            stop_deadline_ms: default_stop_deadline_ms(),
        }
    }
}
