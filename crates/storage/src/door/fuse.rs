//! One regular file that the kernel asks us about, by the FUSE protocol (`include/uapi/linux/fuse.h`, 7.31
//! and later): a disk, read and written without the page cache, or an image that never changes, read through it.
//!
//! Written here and not with a library: it is a dozen requests on one file, and none of the libraries can
//! take over a connection whose server has died. [`connect`] makes the connection, which lives as long as its
//! channel is open anywhere; [`serve`] answers on it. A successor that gets the descriptor calls
//! [`serve`] with `resend`, and the kernel gives it every request that was not answered.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::{Device, errno, patient_flush, patient_read};

/// Bytes of the largest read and write.
const MAX_TRANSFER: usize = 1 << 20;
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
/// Before what is written.
const WRITE_HEADS: usize = IN_HEADER + 40;
/// Requests that the kernel has on their way at once, beyond those that somebody waits for.
const MAX_BACKGROUND: u16 = 64;
const CONGESTION: u16 = 48;
const PAGE: usize = 4096;

mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
}

const ASYNC_READ: u64 = 1 << 0;
const BIG_WRITES: u64 = 1 << 5;
const ASYNC_DIO: u64 = 1 << 15;
const MAX_PAGES: u64 = 1 << 22;
const INIT_EXT: u64 = 1 << 30;
/// Requests that are sent again say so in their id.
const HAS_RESEND: u64 = 1 << 39;
const OPEN_DIRECT: u32 = 1 << 0;
const OPEN_KEEP_CACHE: u32 = 1 << 1;
const OPEN_PARALLEL_WRITES: u32 = 1 << 6;
const NOTIFY_RESEND: i32 = 7;
const PUNCH_HOLE: u32 = 2;
const ZERO_RANGE: u32 = 16;

/// Bytes that the kernel reads on when an image is read from front to back.
const READ_AHEAD: u32 = 64 << 10;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Disk,
    Image,
}

/// A file of the kernel's and the connection over which the kernel asks what is in it.
#[derive(Debug)]
pub struct Connection {
    /// Lives as long as this is open anywhere: [`serve`] answers on it.
    pub channel: File,
    mount: OwnedFd,
    is_for: Use,
}

/// Makes a file that lies in no folder, so that nothing is left of it whoever dies. Needs root's rights.
pub fn connect(is_for: Use) -> io::Result<Connection> {
    let channel = File::options().read(true).write(true).open("/dev/fuse")?;
    let system = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let options = [
        (
            "source",
            match is_for {
                Use::Disk => "roost-disk".to_owned(),
                Use::Image => "roost-image".to_owned(),
            },
        ),
        ("fd", channel.as_raw_fd().to_string()),
        ("rootmode", "100600".to_owned()),
        ("user_id", "0".to_owned()),
        ("group_id", "0".to_owned()),
        ("max_read", MAX_TRANSFER.to_string()),
    ];
    for (name, value) in options {
        fsconfig_set_string(system.as_fd(), name, value)?;
    }
    fsconfig_set_flag(system.as_fd(), "allow_other")?;
    fsconfig_create(system.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    let mount = fsmount(system.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(Connection {
        channel,
        mount,
        is_for,
    })
}

impl Connection {
    /// Opens the file. Waits until somebody [`serve`]s. Whoever is given it needs no right of his own; once it is closed everywhere, and this dropped, serving ends.
    pub fn open(&self) -> io::Result<File> {
        let path = format!("/proc/self/fd/{}", self.mount.as_raw_fd());
        let mut options = File::options();
        options.read(true);
        if self.is_for == Use::Disk {
            options.write(true);
            options.custom_flags(OFlags::DIRECT.bits() as i32);
        }
        let file = options.open(path)?;
        // Closing asks the server, until it once answers that it does not care. A process that has the file open and
        // starts a successor closes it between fork and exec, and would wait for what it is about to start.
        drop(file.try_clone()?);
        Ok(file)
    }
}

/// Asks the kernel to send every request again that has not been answered. Whoever answered before must be
/// gone for good: two that answer would both write.
pub fn resend(connection: &File) -> io::Result<()> {
    reply(connection, 0, NOTIFY_RESEND, &[])
}

/// Answers requests until the file is closed everywhere. Several threads call it on one
/// connection.
pub fn serve(connection: &File, device: &dyn Device) -> io::Result<()> {
    let read = |_, offset, data: &mut [u8]| Some(patient_read(device, offset, data));
    converse(connection, device, &read)
}

/// Reads into a request's room: its number, and from which byte on. `None`: it is answered later.
pub(super) type Read<'a> = dyn Fn(u64, u64, &mut [u8]) -> Option<crate::Result<()>> + 'a;

/// The same, with a way to read of the caller's own.
pub(super) fn converse(connection: &File, device: &dyn Device, read: &Read<'_>) -> io::Result<()> {
    crate::sys::answer_quickly();
    let mut buffer = Buffer::new();
    loop {
        let length = match rustix::io::read(connection, buffer.request()) {
            Ok(length) => length,
            // The request was taken back, or a signal came.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {
                continue;
            }
            // The file is closed everywhere, or somebody took it away.
            Err(rustix::io::Errno::NODEV | rustix::io::Errno::CONNABORTED) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(request) = Request::parse(&buffer.request()[..length]) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the kernel sent what is no request",
            ));
        };
        let unique = request.unique;
        let sent = match answer(&request, device) {
            Answer::None => Ok(()),
            Answer::Body(body) => reply(connection, unique, 0, &body),
            Answer::Data { offset, length } => {
                let data = &mut buffer.data()[..length];
                match read(unique, offset, data) {
                    Some(Ok(())) => reply(connection, unique, 0, data),
                    Some(Err(error)) => reply(connection, unique, -errno(&error), &[]),
                    None => Ok(()),
                }
            }
            Answer::Error(error) => reply(connection, unique, -error, &[]),
            Answer::Interrupted(waiting) => {
                let interrupted = rustix::io::Errno::INTR.raw_os_error();
                reply(connection, waiting, -interrupted, &[])
            }
        };
        match sent {
            Ok(()) => {}
            // Nobody waits for it any more.
            Err(error) if error.raw_os_error() == Some(NO_SUCH) => {}
            Err(error) => return Err(error),
        }
    }
}

const NO_SUCH: i32 = 2;

/// Room for one request or for what is answered to it. What is written begins at a page, as direct writing wants it.
struct Buffer {
    bytes: Vec<u8>,
    /// A page's begin, behind which there is room for the largest transfer and before which for a request's heads.
    page: usize,
}

impl Buffer {
    fn new() -> Self {
        // Every page is there before the kernel copies to it: when a thread is killed while one of them is missing,
        // the kernel answers the request with an error instead of keeping it for a successor.
        let bytes = vec![u8::MAX; MAX_TRANSFER + 2 * PAGE];
        let first = bytes.as_ptr().align_offset(PAGE);
        let page = if first < WRITE_HEADS {
            first + PAGE
        } else {
            first
        };
        Self { bytes, page }
    }

    fn request(&mut self) -> &mut [u8] {
        &mut self.bytes[self.page - WRITE_HEADS..self.page + MAX_TRANSFER]
    }

    fn data(&mut self) -> &mut [u8] {
        &mut self.bytes[self.page..self.page + MAX_TRANSFER]
    }
}

pub(super) fn reply(connection: &File, unique: u64, error: i32, body: &[u8]) -> io::Result<()> {
    let mut header = [0; OUT_HEADER];
    header[..4].copy_from_slice(&((OUT_HEADER + body.len()) as u32).to_le_bytes());
    header[4..8].copy_from_slice(&error.to_le_bytes());
    header[8..].copy_from_slice(&unique.to_le_bytes());
    let parts = [IoSlice::new(&header), IoSlice::new(body)];
    let connection: BorrowedFd<'_> = std::os::fd::AsFd::as_fd(connection);
    rustix::io::writev(connection, &parts)?;
    Ok(())
}

/// What the kernel wants.
struct Request<'a> {
    opcode: u32,
    unique: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<IN_HEADER>()?;
        let length = word(header, 0)? as usize;
        (length == bytes.len()).then_some(())?;
        Some(Self {
            opcode: word(header, 4)?,
            unique: long(header, 8)?,
            body,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

enum Answer {
    None,
    Body(Vec<u8>),
    /// So many bytes of the device.
    Data {
        offset: u64,
        length: usize,
    },
    Error(i32),
    /// Of the request of this number, which was waiting.
    Interrupted(u64),
}

fn answer(request: &Request<'_>, device: &dyn Device) -> Answer {
    let malformed = Answer::Error(rustix::io::Errno::INVAL.raw_os_error());
    let done = |outcome: crate::Result<()>, body: Vec<u8>| match outcome {
        Ok(()) => Answer::Body(body),
        Err(error) => Answer::Error(errno(&error)),
    };
    let body = request.body;
    match request.opcode {
        opcode::INIT => initialise(body, device.is_for()).map_or(malformed, Answer::Body),
        opcode::FORGET | opcode::BATCH_FORGET => Answer::None,
        opcode::INTERRUPT => match long(body, 0) {
            Some(waiting) if device.gives_up(waiting) => Answer::Interrupted(waiting),
            _ => Answer::None,
        },
        opcode::DESTROY | opcode::RELEASE => Answer::Body(Vec::new()),
        // See Connection::open.
        opcode::FLUSH => Answer::Error(rustix::io::Errno::NOSYS.raw_os_error()),
        opcode::GETATTR | opcode::SETATTR => Answer::Body(attributes(device.size())),
        opcode::OPEN => {
            let mut opened = vec![0; 16];
            let flags = match device.is_for() {
                Use::Disk => OPEN_DIRECT | OPEN_PARALLEL_WRITES,
                Use::Image => OPEN_KEEP_CACHE,
            };
            opened[8..12].copy_from_slice(&flags.to_le_bytes());
            Answer::Body(opened)
        }
        opcode::READ => {
            let (Some(offset), Some(size)) = (long(body, 8), word(body, 16)) else {
                return malformed;
            };
            // Beyond the end there is nothing to read.
            let left = device.size().saturating_sub(offset);
            let length = u64::from(size).min(left).min(MAX_TRANSFER as u64) as usize;
            Answer::Data { offset, length }
        }
        opcode::WRITE => {
            let (Some(offset), Some(size)) = (long(body, 8), word(body, 16)) else {
                return malformed;
            };
            let Some(bytes) = body.get(40..).and_then(|bytes| bytes.get(..size as usize)) else {
                return malformed;
            };
            let mut written = vec![0; 8];
            written[..4].copy_from_slice(&size.to_le_bytes());
            done(device.write(offset, bytes), written)
        }
        opcode::FSYNC => done(patient_flush(device), Vec::new()),
        opcode::FALLOCATE => {
            let (Some(offset), Some(length), Some(mode)) =
                (long(body, 8), long(body, 16), word(body, 24))
            else {
                return malformed;
            };
            if mode & (PUNCH_HOLE | ZERO_RANGE) == 0 {
                return Answer::Error(rustix::io::Errno::OPNOTSUPP.raw_os_error());
            }
            done(device.zero(offset, length), Vec::new())
        }
        opcode::STATFS => Answer::Body(vec![0; 80]),
        opcode::LOOKUP => Answer::Error(rustix::io::Errno::NOTDIR.raw_os_error()),
        _ => Answer::Error(rustix::io::Errno::NOSYS.raw_os_error()),
    }
}

/// Agrees on what both sides can do.
fn initialise(body: &[u8], is_for: Use) -> Option<Vec<u8>> {
    let (major, minor) = (word(body, 0)?, word(body, 4)?);
    let offered = u64::from(word(body, 12)?) | (u64::from(word(body, 16).unwrap_or(0)) << 32);
    if major != 7 || minor < 31 {
        return None;
    }
    let wanted = ASYNC_READ | BIG_WRITES | ASYNC_DIO | MAX_PAGES | INIT_EXT | HAS_RESEND;
    let flags = wanted & offered;
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&7u32.to_le_bytes());
    out.extend_from_slice(&minor.min(MINOR).to_le_bytes());
    let read_ahead = match is_for {
        // The page cache is not used.
        Use::Disk => 0,
        Use::Image => READ_AHEAD,
    };
    out.extend_from_slice(&read_ahead.to_le_bytes());
    out.extend_from_slice(&(flags as u32).to_le_bytes());
    out.extend_from_slice(&MAX_BACKGROUND.to_le_bytes());
    out.extend_from_slice(&CONGESTION.to_le_bytes());
    out.extend_from_slice(&(MAX_TRANSFER as u32).to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes()); // granularity of times, nanoseconds
    out.extend_from_slice(&((MAX_TRANSFER / PAGE) as u16).to_le_bytes());
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&((flags >> 32) as u32).to_le_bytes());
    out.resize(64, 0);
    Some(out)
}

/// The newest revision of the protocol that this code was written for.
const MINOR: u32 = 40;

/// What `stat` shows: a regular file of this size.
fn attributes(size: u64) -> Vec<u8> {
    let mut out = vec![0; 104];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &1u64.to_le_bytes());
    put(24, &size.to_le_bytes());
    put(32, &size.div_ceil(512).to_le_bytes());
    put(76, &0o100_600u32.to_le_bytes());
    put(80, &1u32.to_le_bytes());
    put(96, &(PAGE as u32).to_le_bytes());
    out
}
