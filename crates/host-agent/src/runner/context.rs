//! What all runners of a host share.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fleet_api::host::{Accelerator, FailureKind, HostEvent, StartFailure};
use microvm::machine::{self, Machine};
use microvm::spec::Accelerator as VmAccelerator;
use microvm::vmm_store::{self, PinError, PinnedVmm};
use model::{Size, WorkspaceId};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, broadcast};

use crate::admission::{self, Capacity, NoRoom, Promised};
use crate::cgroups::Cgroups;
use crate::config::{AcceleratorChoice, Driver, HostConfig, Room};
use crate::disks::Disks;
use crate::failure::{chain, disk_kind, failure};
use crate::folders::Folders;
use crate::git::relay::Relay;
use crate::images::{ImageFiles, Images};
use crate::network::Networks;
use crate::work::Work;

/// See the module.
pub struct Context {
    pub config: HostConfig,
    pub folders: Folders,
    pub images: Arc<Images>,
    pub disks: Arc<Disks>,
    /// Whoever works on the disk of a machine that rests.
    pub at_rest: AtRest,
    /// Absent: this host cannot make namespaces, or is told not to.
    pub networks: Option<Networks>,
    /// Absent: this host does not let us limit anybody.
    pub cgroups: Option<Cgroups>,
    pub relay: Arc<Relay>,
    pub machines: Machines,
    pub ledger: Ledger,
    pub work: Work,
    pub events: broadcast::Sender<HostEvent>,
}

/// Keeps starts and deletions away from a disk that is worked on while its machine rests.
#[derive(Debug, Default)]
pub struct AtRest(Mutex<HashMap<WorkspaceId, Arc<AsyncMutex<()>>>>);

impl AtRest {
    /// Waits until nobody else is at the workspace's disk.
    pub async fn enter(&self, workspace: &WorkspaceId) -> OwnedMutexGuard<()> {
        let door = {
            let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            doors.retain(|_, door| Arc::strong_count(door) > 1);
            doors.entry(workspace.clone()).or_default().clone()
        };
        door.lock_owned().await
    }
}

/// The virtual machine monitor of this host and what it can do, found out once for each build and kernel.
#[derive(Debug, Default)]
pub struct Machines {
    known: AsyncMutex<Option<(Key, Machine)>>,
}

impl Context {
    /// What runs the guests here, as far as it is known.
    pub async fn accelerator(&self) -> Accelerator {
        match self.config.driver {
            Driver::Process { .. } => Accelerator::Process,
            Driver::Qemu { .. } => match self
                .machines
                .known()
                .await
                .map(|machine| machine.accelerator)
            {
                Some(VmAccelerator::Kvm) => Accelerator::Kvm,
                Some(VmAccelerator::Tcg) | None => Accelerator::Tcg,
            },
        }
    }
}

type Key = (String, PathBuf);

impl Machines {
    /// The pinned VMM and what this host can do for a guest of these images.
    pub async fn get(
        &self,
        config: &HostConfig,
        data: &Path,
        images: &ImageFiles,
    ) -> Result<(PinnedVmm, Machine), StartFailure> {
        let (program, accelerator) = match &config.driver {
            Driver::Qemu {
                program,
                accelerator,
            } => (program.clone(), *accelerator),
            Driver::Process { .. } => (None, AcceleratorChoice::Auto),
        };
        let pinned = pin(data.to_owned(), program).await?;
        let key = (pinned.hash.clone(), images.kernel.clone());
        let mut known = self.known.lock().await;
        if let Some((of, machine)) = known.as_ref()
            && *of == key
        {
            return Ok((pinned, machine.clone()));
        }
        let machine = match accelerator {
            AcceleratorChoice::Tcg => machine::emulated("software emulation is configured"),
            AcceleratorChoice::Auto | AcceleratorChoice::Kvm => {
                let probe = machine::probe(data, &pinned, &images.kernel, &images.initramfs).await;
                probe.map_err(|error| failure(FailureKind::Internal, error.to_string()))?
            }
        };
        if accelerator == AcceleratorChoice::Kvm && machine.accelerator != VmAccelerator::Kvm {
            let text = format!(
                "only KVM is allowed here (vm.accelerator), and: {}",
                machine.why_not_kvm
            );
            return Err(failure(FailureKind::VmmMissing, text));
        }
        *known = Some((key, machine.clone()));
        Ok((pinned, machine))
    }

    /// What was found out last, if anything was.
    pub async fn known(&self) -> Option<Machine> {
        self.known
            .lock()
            .await
            .as_ref()
            .map(|(_, machine)| machine.clone())
    }
}

async fn pin(data: PathBuf, program: Option<PathBuf>) -> Result<PinnedVmm, StartFailure> {
    let pin = move || match program {
        Some(program) => vmm_store::pin_program(&data, &program),
        None => vmm_store::pin(&data),
    };
    tokio::task::spawn_blocking(pin)
        .await
        .map_err(|error| failure(FailureKind::Internal, error.to_string()))?
        .map_err(|error| {
            let kind = match &error {
                PinError::Missing | PinError::NotThere(_) | PinError::Incomplete(_) => {
                    FailureKind::VmmMissing
                }
                PinError::Io { .. } => disk_kind(&error),
            };
            failure(kind, chain(&error))
        })
}

/// Who has been promised what.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<WorkspaceId, Size>>);

impl Ledger {
    /// Notes the promise if there is room for it. An earlier one to the same workspace is replaced.
    pub fn reserve(
        &self,
        workspace: &WorkspaceId,
        size: Size,
        capacity: Capacity,
        room: &Room,
    ) -> Result<(), NoRoom> {
        let mut promises = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others = promises
            .iter()
            .filter(|(id, _)| *id != workspace)
            .map(|(_, size)| *size);
        admission::admit(size, capacity, Promised::of(others, room), room)?;
        promises.insert(workspace.clone(), size);
        Ok(())
    }

    /// Notes a machine that runs already, whether there is room or not.
    pub fn note(&self, workspace: &WorkspaceId, size: Size) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(workspace.clone(), size);
    }

    pub fn release(&self, workspace: &WorkspaceId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(workspace);
    }

    pub fn promised(&self, room: &Room) -> Promised {
        let promises = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Promised::of(promises.values().copied(), room)
    }
}
