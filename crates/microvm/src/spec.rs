//! What a VM is made of. Written to disk by a host agent and read by monitors of other versions: fields are
//! only added, each with a default; unknown ones are ignored.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything a driver needs to boot a VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmSpec {
    /// Version of the set of devices, see [`MACHINE`]; a machine that sleeps keeps the one it was born with.
    pub machine: u32,
    pub driver: DriverSpec,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub network: NetworkSpec,
    #[serde(default)]
    pub jail: Jail,
}

/// Newest set of devices that this code gives to a VM.
pub const MACHINE: u32 = 1;

/// How the VM is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DriverSpec {
    Qemu(QemuSpec),
    Process(ProcessSpec),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QemuSpec {
    /// Folder of the pinned VMM, from [`crate::vmm_store`].
    pub vmm: PathBuf,
    pub accelerator: Accelerator,
    /// QEMU's name of a versioned CPU model, with its feature changes.
    pub cpu_model: String,
    /// Rate of the host's time stamp counter, kHz; the guest is told under TCG, where it cannot measure it.
    pub tsc_khz: Option<u64>,
    /// Uncompressed kernel (`vmlinux`), booted by PVH.
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    /// Added to the end of the kernel's command line.
    #[serde(default)]
    pub kernel_arguments: Vec<String>,
    pub disk: DiskSource,
}

/// Where the root disk comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DiskSource {
    /// A raw image that this VM alone has.
    Raw { path: PathBuf },
    /// Somebody serves it, and hands over what the VMM opens: [`crate::qemu::ServedDisk`].
    Served,
}

/// The guest agent as a plain child: it sees the host's files and network. Tests only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// The agent's binary.
    pub agent: PathBuf,
    /// What the agent takes for the root of the guest's file system.
    pub root_folder: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    Kvm,
    /// Software emulation.
    Tcg,
}

/// What the VM's network device is connected to. The device is there in every case, since it cannot be
/// added to a machine that sleeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NetworkSpec {
    /// A tap device that exists in the jail's network namespace (or the monitor's own, without one).
    Tap { device: String },
    /// To nowhere: neither the host nor anything beyond it can be reached.
    Isolated,
}

/// The same in every VM, so that a fork needs no new addresses: VMs never share a link.
pub const MAC_ADDRESS: &str = "52:54:00:12:34:56";

/// What the VMM is confined to. Everything is optional; absent means as the monitor itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Jail {
    /// User id that the VMM runs as; needs a monitor with root's rights.
    pub user: Option<u32>,
    /// Group id; the user's id when absent.
    pub group: Option<u32>,
    /// File of the network namespace, such as `/run/netns/NAME`.
    pub network_namespace: Option<PathBuf>,
    /// Folders of control groups that the VMM joins: one with version 2, one for each controller with
    /// version 1.
    pub cgroups: Vec<PathBuf>,
}
