//! What a workspace gets of a host, and the limits of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Virtual CPUs, memory and disk of one workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Size {
    pub vcpus: u32,
    /// MiB of RAM.
    pub memory_mib: u64,
    /// GiB of disk, as the guest sees it; on the host only what is written takes room.
    pub disk_gib: u64,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            vcpus: 1,
            memory_mib: 1024,
            disk_gib: 16,
        }
    }
}

/// Largest sizes that this installation gives out. The smallest are what the guest needs to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub max_vcpus: u32,
    pub max_memory_mib: u64,
    pub max_disk_gib: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_vcpus: 8,
            max_memory_mib: 16 * 1024,
            max_disk_gib: 128,
        }
    }
}

pub const MIN_MEMORY_MIB: u64 = 256;
pub const MIN_DISK_GIB: u64 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} between {min} and {max}{}, not {asked}", self.subject(), self.unit())]
pub struct SizeError {
    /// Name of the field.
    pub what: &'static str,
    pub asked: u64,
    pub min: u64,
    pub max: u64,
}

impl SizeError {
    fn subject(&self) -> &'static str {
        match self.what {
            "memory_mib" => "memory must be",
            "disk_gib" => "the disk must be",
            _ => "the number of vCPUs must be",
        }
    }

    fn unit(&self) -> &'static str {
        match self.what {
            "memory_mib" => " MiB",
            "disk_gib" => " GiB",
            _ => "",
        }
    }
}

impl Limits {
    /// The first thing that is out of bounds, if any.
    pub fn check(&self, size: Size) -> Result<(), SizeError> {
        for (what, asked, min, max) in [
            ("vcpus", size.vcpus.into(), 1, self.max_vcpus.into()),
            (
                "memory_mib",
                size.memory_mib,
                MIN_MEMORY_MIB,
                self.max_memory_mib,
            ),
            ("disk_gib", size.disk_gib, MIN_DISK_GIB, self.max_disk_gib),
        ] {
            if asked < min || asked > max {
                return Err(SizeError {
                    what,
                    asked,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_out_of_bounds_say_what_is_allowed() {
        let limits = Limits::default();
        assert_eq!(limits.check(Size::default()), Ok(()));
        let error = limits
            .check(Size {
                vcpus: 9,
                ..Size::default()
            })
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of vCPUs must be between 1 and 8, not 9"
        );
        let error = limits
            .check(Size {
                memory_mib: 255,
                ..Size::default()
            })
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "memory must be between 256 and 16384 MiB, not 255"
        );
        assert!(
            limits
                .check(Size {
                    disk_gib: 129,
                    ..Size::default()
                })
                .is_err()
        );
    }
}
