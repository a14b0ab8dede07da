//! What every VMM can be asked, whichever it is.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::memory::GuestMemory;

/// The future of a trait method that is called through `dyn`.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which of the links to the guest agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkClass {
    /// What people feel: keys, echoes, small files.
    Interactive,
    /// What may take its time.
    Bulk,
}

/// A way to run VMs.
pub trait Driver {
    /// Starts the VMM, which boots the guest at once, or has it go on from where it slept once it is told to
    /// [`Vm::resume`]. What comes of it are events.
    fn boot(&self) -> Result<Booted, BootError>;
}

/// A VM that has just been started.
pub struct Booted {
    pub vm: Box<dyn Vm>,
    /// The last event is [`VmEvent::Exited`]. Must be read: the VMM waits when it is full.
    pub events: mpsc::Receiver<VmEvent>,
    /// What the guest writes to its console and the VMM to its standard error. Must be read: the guest
    /// waits when it is full. Ends with the VMM.
    pub console: UnixStream,
}

/// A running VM. Dropping it kills the VMM.
pub trait Vm: Send + Sync {
    /// Process id of the VMM.
    fn process(&self) -> u32;

    /// A byte stream to the agent's end of a link. A link has one user at a time: drop an earlier stream
    /// before asking for the next.
    fn connect(&self, class: LinkClass) -> Later<'_, io::Result<UnixStream>>;

    /// Stops the virtual CPUs; returns when all disk requests are done.
    fn pause(&self) -> Later<'_, Result<(), VmError>>;

    /// Lets them go on. Disk requests that failed for lack of room are tried again.
    fn resume(&self) -> Later<'_, Result<(), VmError>>;

    /// The guest's memory, as soon as the VMM has it.
    fn memory(&self) -> Later<'_, Result<Arc<GuestMemory>, VmError>>;

    /// What the devices are in, while the virtual CPUs stand still. The build of this VMM, and no other, can go on
    /// from it.
    fn device_state(&self) -> Later<'_, Result<Vec<u8>, VmError>>;

    /// Presses the machine's power button. What comes of it is up to the guest.
    fn power_button(&self) -> Later<'_, Result<(), VmError>>;

    /// Shows the guest that its disk has `bytes` now, which whoever serves it has seen to.
    fn disk_grew(&self, bytes: u64) -> Later<'_, Result<(), VmError>>;

    /// Ends the VMM as soon as its disk requests are done, whatever the guest thinks of it.
    fn quit(&self) -> Later<'_, Result<(), VmError>>;

    /// Ends the VMM with SIGKILL. An event tells when it has gone.
    fn kill(&self) -> io::Result<()>;
}

/// What happens to a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmEvent {
    /// The VMM is up; the guest has begun to boot.
    Started,
    /// The VMM is up, and the guest stands still where it slept.
    Loaded,
    Paused(PauseReason),
    Resumed,
    /// The VMM has ended and been reaped.
    Exited(Exit),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PauseReason {
    Asked,
    /// No room on the host's disk for what the guest writes.
    DiskFull,
    /// Another error of the host's disk, in the VMM's words.
    DiskFailed(String),
}

/// How a VM ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The guest powered off, or the VMM was asked to quit.
    pub orderly: bool,
    /// For a person.
    pub cause: String,
}

/// Why a VM could not even be started.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("{what} cannot be opened: {path}")]
    Open {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the VM's disk is to be served, and nobody does")]
    NoDisk,
    #[error("the tap device {device} cannot be opened")]
    Tap { device: String, source: io::Error },
    #[error("{program} cannot be started")]
    Spawn { program: PathBuf, source: io::Error },
    #[error("the machine version {0} is not known: it is of a newer Roost")]
    UnknownMachine(u32),
    #[error("the host refused what a VMM needs")]
    Host(#[from] io::Error),
}

/// Why a VM did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    #[error("the VMM has ended")]
    Ended,
    #[error("the VMM refused {command}: {message}")]
    Refused {
        command: &'static str,
        message: String,
    },
    #[error("the guest's memory cannot be looked at")]
    Memory(#[source] io::Error),
    #[error("the state of the devices cannot be kept")]
    DeviceState(#[source] io::Error),
    #[error("{0} is nothing that this driver can do")]
    Unsupported(&'static str),
}
