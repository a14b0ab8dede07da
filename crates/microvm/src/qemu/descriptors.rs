//! Everything that QEMU is given open: it runs as somebody who may open none of it by name.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{MemfdFlags, OFlags, memfd_create};

use crate::driver::BootError;
use crate::qemu::{ServedDisk, Wake};
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
    /// What is preloaded, see `shim/shim.rs`, and where it tells of the guest's memory.
    pub shim: File,
    pub memory: UnixStream,
    /// Where the state of the devices is written, when somebody asks for it.
    pub device_state: File,
    pub wake: Option<OpenWake>,
}

/// What a machine that slept goes on from.
#[derive(Debug)]
pub struct OpenWake {
    /// Shows the guest's memory.
    pub image: File,
    pub device_state: File,
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
    pub memory: UnixStream,
    pub device_state: DeviceState,
}

/// Ours of the file that QEMU writes the state of the devices to.
#[derive(Debug)]
pub struct DeviceState {
    /// The same open file as QEMU's: both have one position.
    writer: File,
    reader: File,
}

impl DeviceState {
    /// Before it is written.
    pub fn clear(&mut self) -> io::Result<()> {
        self.writer.set_len(0)?;
        self.writer.rewind()
    }

    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut state = Vec::new();
        self.reader.rewind()?;
        self.reader.read_to_end(&mut state)?;
        Ok(state)
    }
}

/// What is preloaded.
const SHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shim.so"));

impl Descriptors {
    pub fn open(
        spec: &VmSpec,
        qemu: &QemuSpec,
        served: Option<&ServedDisk>,
        wake: Option<&Wake>,
    ) -> Result<(Self, OurEnds), BootError> {
        let vmm = vmm_store::Layout::of(&qemu.vmm);
        let (qmp, our_qmp) = pair()?;
        let (console, our_console) = pair()?;
        let (interactive, our_interactive) = pair()?;
        let (bulk, our_bulk) = pair()?;
        let (memory, our_memory) = pair()?;
        let reader = in_memory("device-state", &[])?;
        // QEMU looks for one that can be written, and only that.
        let writer = File::options().write(true).open(path_of(&reader))?;
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
            shim: in_memory("shim", SHIM)?,
            memory,
            device_state: writer.try_clone()?,
            wake: wake.map(OpenWake::open).transpose()?,
        };
        let ours = OurEnds {
            qmp: our_qmp,
            console: our_console,
            interactive: our_interactive,
            bulk: our_bulk,
            memory: our_memory,
            device_state: DeviceState { writer, reader },
        };
        Ok((theirs, ours))
    }

    /// A name under which the child can open again what it has open already.
    pub fn path(&self, descriptor: &impl AsRawFd) -> String {
        path_of(descriptor)
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
            &self.shim,
            &self.device_state,
        ];
        let sockets = [
            &self.qmp,
            &self.console,
            &self.interactive,
            &self.bulk,
            &self.memory,
        ];
        let wake = self.wake.iter();
        let wake = wake.flat_map(|wake| [&wake.image, &wake.device_state]);
        let files = files.into_iter().chain(&self.tap).chain(wake);
        let files = files.map(AsRawFd::as_raw_fd);
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

impl OpenWake {
    fn open(wake: &Wake) -> io::Result<Self> {
        Ok(Self {
            image: wake.image.try_clone()?,
            device_state: in_memory("device-state", &wake.device_state)?,
        })
    }
}

/// A file that lies nowhere, to be read from its begin.
fn in_memory(name: &str, content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn path_of(descriptor: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
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
