//! Everything that QEMU is given open: it runs as somebody who may open none of it by name.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::OFlags;

use crate::driver::BootError;
use crate::qemu::ServedDisk;
use crate::spec::{DiskSource, Jail, NetworkSpec, QemuSpec, VmSpec};
use crate::sys;
use crate::vmm_store;

/// QEMU's ends.
#[derive(Debug)]
pub struct Descriptors {
    pub loader: File,
    pub libraries: File,
    pub firmware: File,
    pub program: File,
    pub modules: File,
    pub kernel: File,
    pub initramfs: File,
    pub disk: OpenDisk,
    pub tap: Option<File>,
    pub qmp: UnixStream,
    pub console: UnixStream,
    pub interactive: UnixStream,
    pub bulk: UnixStream,
}

/// The root disk.
#[derive(Debug)]
pub enum OpenDisk {
    File {
        file: File,
        /// It bypasses the page cache.
        direct: bool,
        /// Nobody else could open it.
        alone: bool,
    },
    Nbd(OwnedFd),
}

impl AsRawFd for OpenDisk {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::File { file, .. } => file.as_raw_fd(),
            Self::Nbd(socket) => socket.as_raw_fd(),
        }
    }
}

/// Our ends.
#[derive(Debug)]
pub struct OurEnds {
    pub qmp: UnixStream,
    pub console: UnixStream,
    pub interactive: UnixStream,
    pub bulk: UnixStream,
}

impl Descriptors {
    pub fn open(
        spec: &VmSpec,
        qemu: &QemuSpec,
        served: Option<&ServedDisk>,
    ) -> Result<(Self, OurEnds), BootError> {
        let vmm = vmm_store::Layout::of(&qemu.vmm);
        let (qmp, our_qmp) = pair()?;
        let (console, our_console) = pair()?;
        let (interactive, our_interactive) = pair()?;
        let (bulk, our_bulk) = pair()?;
        let theirs = Self {
            loader: read("the VMM's loader", &vmm.loader)?,
            libraries: read("the VMM's libraries", &vmm.libraries)?,
            firmware: read("the VMM's firmware", &vmm.firmware)?,
            program: read("the VMM", &vmm.program)?,
            modules: read("the VMM's modules", &vmm.modules)?,
            kernel: read("the guest's kernel", &qemu.kernel)?,
            initramfs: read("the guest's initramfs", &qemu.initramfs)?,
            disk: disk(&qemu.disk, served)?,
            tap: open_tap(spec)?,
            qmp,
            console,
            interactive,
            bulk,
        };
        let ours = OurEnds {
            qmp: our_qmp,
            console: our_console,
            interactive: our_interactive,
            bulk: our_bulk,
        };
        Ok((theirs, ours))
    }

    /// A name under which the child can open again what it has open already.
    pub fn path(&self, descriptor: &impl AsRawFd) -> String {
        format!("/proc/self/fd/{}", descriptor.as_raw_fd())
    }

    pub fn numbers(&self) -> Vec<RawFd> {
        let files = [
            &self.loader,
            &self.libraries,
            &self.firmware,
            &self.program,
            &self.modules,
            &self.kernel,
            &self.initramfs,
        ];
        let sockets = [&self.qmp, &self.console, &self.interactive, &self.bulk];
        let files = files.into_iter().chain(&self.tap).map(AsRawFd::as_raw_fd);
        files
            .chain([self.disk.as_raw_fd()])
            .chain(sockets.into_iter().map(AsRawFd::as_raw_fd))
            .collect()
    }
}

/// Opens what a child is confined to.
pub fn confinement(jail: &Jail, inherited: Vec<RawFd>) -> Result<sys::Confinement, BootError> {
    let cgroups = jail.cgroups.iter().map(|folder| {
        let path = folder.join("cgroup.procs");
        File::options()
            .write(true)
            .open(&path)
            .map_err(|source| BootError::Open {
                what: "the VM's control group",
                path,
                source,
            })
    });
    let namespace = jail.network_namespace.as_deref();
    Ok(sys::Confinement {
        cgroups: cgroups.collect::<Result<_, _>>()?,
        network_namespace: namespace
            .map(|path| read("the VM's network namespace", path))
            .transpose()?,
        identity: jail.user.map(|user| (user, jail.group.unwrap_or(user))),
        inherited,
    })
}

fn pair() -> io::Result<(UnixStream, UnixStream)> {
    UnixStream::pair()
}

fn read(what: &'static str, path: &Path) -> Result<File, BootError> {
    File::open(path).map_err(|source| BootError::Open {
        what,
        path: path.to_owned(),
        source,
    })
}

fn disk(source: &DiskSource, served: Option<&ServedDisk>) -> Result<OpenDisk, BootError> {
    match (source, served) {
        (DiskSource::Raw { path }, _) => open_disk(path),
        (DiskSource::Served, Some(ServedDisk::File(file))) => Ok(OpenDisk::File {
            file: file.try_clone()?,
            direct: true,
            alone: true,
        }),
        (DiskSource::Served, Some(ServedDisk::Nbd(socket))) => {
            Ok(OpenDisk::Nbd(socket.try_clone()?))
        }
        (DiskSource::Served, None) => Err(BootError::NoDisk),
    }
}

fn open_disk(path: &Path) -> Result<OpenDisk, BootError> {
    let open = |flags: OFlags| {
        File::options()
            .read(true)
            .write(true)
            .custom_flags(flags.bits() as i32)
            .open(path)
    };
    // Some file systems cannot. From version 9.1 on QEMU takes only a descriptor that has the flag as it wants it.
    let (disk, direct) = match open(OFlags::DIRECT) {
        Ok(disk) => (Ok(disk), true),
        Err(_) => (open(OFlags::empty()), false),
    };
    let file = disk.map_err(|source| BootError::Open {
        what: "the VM's disk",
        path: path.to_owned(),
        source,
    })?;
    Ok(OpenDisk::File {
        file,
        direct,
        alone: false,
    })
}

fn open_tap(spec: &VmSpec) -> Result<Option<File>, BootError> {
    let NetworkSpec::Tap { device } = &spec.network else {
        return Ok(None);
    };
    let failed = |source| BootError::Tap {
        device: device.clone(),
        source,
    };
    let Some(path) = &spec.jail.network_namespace else {
        return sys::attach_tap(device).map(Some).map_err(failed);
    };
    let namespace = read("the VM's network namespace", path)?;
    // A namespace is entered by a thread, which can then do nothing else any more.
    let attached = std::thread::scope(|scope| {
        let attach = || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?;
            sys::attach_tap(device)
        };
        scope
            .spawn(attach)
            .join()
            .expect("it has nothing that panics")
    });
    attached.map(Some).map_err(failed)
}
