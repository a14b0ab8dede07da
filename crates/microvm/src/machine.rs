//! What this host can do for a VM: which accelerator really boots a guest, which processor the guest sees,
//! and how fast its clock counts.

mod clock_rate;
mod probe;

use std::path::{Path, PathBuf};

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::spec::Accelerator;
use crate::vmm_store::{self, PinnedVmm};

pub use self::clock_rate::tsc_khz;

/// What a host agent puts into each [`crate::spec::QemuSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub accelerator: Accelerator,
    /// Why it is not KVM, and what to do about it, for a person; empty when it is.
    pub why_not_kvm: String,
    pub cpu_model: String,
    /// See [`tsc_khz`].
    pub tsc_khz: u64,
}

/// The answer of a probe, as it is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answer {
    accelerator: Accelerator,
    why_not_kvm: String,
}

/// A named, versioned model, so that a snapshot can wake on another host: AVX2 and the rest of Haswell, less
/// what TCG does not emulate.
const TCG_MODEL: &str = "Haswell-v4,-pcid,-x2apic,-tsc-deadline,-invpcid,-spec-ctrl,enforce=on";
/// Of 2013, which every Intel processor that matters has.
const INTEL_MODEL: &str = "Haswell-v4";
/// Of 2017, which every AMD processor that matters has.
const AMD_MODEL: &str = "EPYC-v3";

/// Software emulation, whatever this host could do; `why` it is not KVM is for a person.
pub fn emulated(why: &str) -> Machine {
    Machine {
        accelerator: Accelerator::Tcg,
        why_not_kvm: why.to_owned(),
        cpu_model: TCG_MODEL.to_owned(),
        tsc_khz: tsc_khz(),
    }
}

/// Finds out what this host can do. `/dev/kvm` alone proves nothing, so a guest is booted under it once for
/// each host, kernel and VMM, and the answer remembered in `data`.
pub async fn probe(
    data: &Path,
    vmm: &PinnedVmm,
    kernel: &Path,
    initramfs: &Path,
) -> std::io::Result<Machine> {
    let answer = match probe::usable_kvm() {
        // May be mended at any moment, and costs nothing to see: not remembered.
        Err(why_not_kvm) => Answer {
            accelerator: Accelerator::Tcg,
            why_not_kvm,
        },
        Ok(()) => {
            let remembered = remembered_at(data, vmm, kernel)?;
            match std::fs::read(&remembered)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok())
            {
                Some(answer) => answer,
                None => {
                    let answer = match probe::boot(vmm, kvm_model(), kernel, initramfs).await {
                        Ok(()) => Answer {
                            accelerator: Accelerator::Kvm,
                            why_not_kvm: String::new(),
                        },
                        Err(why_not_kvm) => Answer {
                            accelerator: Accelerator::Tcg,
                            why_not_kvm,
                        },
                    };
                    vmm_store::replace(&remembered, &serde_json::to_vec_pretty(&answer)?)?;
                    answer
                }
            }
        }
    };
    let model = match answer.accelerator {
        Accelerator::Kvm => kvm_model(),
        Accelerator::Tcg => TCG_MODEL,
    };
    Ok(Machine {
        accelerator: answer.accelerator,
        why_not_kvm: answer.why_not_kvm,
        cpu_model: model.to_owned(),
        tsc_khz: tsc_khz(),
    })
}

/// A file named by all that the answer depends on.
fn remembered_at(data: &Path, vmm: &PinnedVmm, kernel: &Path) -> std::io::Result<PathBuf> {
    let mut key = digest::Context::new(&digest::SHA256);
    for file in ["/etc/machine-id", "/proc/sys/kernel/osrelease"] {
        key.update(&std::fs::read(file).unwrap_or_default());
    }
    key.update(processor_field("model name").as_bytes());
    key.update(vmm.hash.as_bytes());
    key.update(digest::digest(&digest::SHA256, &std::fs::read(kernel)?).as_ref());
    let name = format!(
        "accelerator-{}.json",
        hex::encode(&key.finish().as_ref()[..8])
    );
    Ok(data.join("vmm").join(name))
}

fn kvm_model() -> &'static str {
    match processor_field("vendor_id").as_str() {
        "AuthenticAMD" | "HygonGenuine" => AMD_MODEL,
        _ => INTEL_MODEL,
    }
}

/// A field of the first processor, see proc(5).
fn processor_field(name: &str) -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}
