//! The crate's only unsafe code: what happens between fork and exec, rights and priorities of single threads,
//! and ioctls for which rustix has no call.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use tokio::io::unix::AsyncFd;

use crate::user::User;

/// How a thread is scheduled.
#[derive(Clone, Copy, Debug)]
pub enum Priority {
    /// Before everything of the user's: round-robin real time.
    First,
    Ordinary {
        niceness: i32,
    },
}

/// Sets how the calling thread is scheduled. Where that is not allowed (process mode) it stays as it is.
pub fn set_thread_priority(priority: Priority) {
    let (policy, rank, niceness) = match priority {
        Priority::First => (libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, 10, 0),
        Priority::Ordinary { niceness } => (libc::SCHED_OTHER, 0, niceness),
    };
    // SAFETY: zero is a valid value of every field; the call reads the struct and keeps no pointer.
    unsafe {
        let mut parameters: libc::sched_param = std::mem::zeroed();
        parameters.sched_priority = rank;
        libc::sched_setscheduler(0, policy, &parameters);
        if policy == libc::SCHED_OTHER {
            libc::setpriority(libc::PRIO_PROCESS, 0, niceness);
        }
    }
}

/// Makes a mounted ext4 file system so many blocks large. `mounted`: its topmost folder.
pub fn resize_ext4(mounted: &File, blocks: u64) -> io::Result<()> {
    /// `EXT4_IOC_RESIZE_FS` in the kernel's `fs/ext4/ext4.h`.
    const RESIZE: Opcode = opcode::write::<u64>(b'f', 16);
    // SAFETY: the request takes a number of 64 bits, as its code says, which the kernel reads and nothing else.
    unsafe {
        let resize = Setter::<RESIZE, u64>::new(blocks);
        ioctl(mounted, resize)?;
    }
    Ok(())
}

/// Gives the calling thread, and no other, the user's rights on files, for good. Signals and tracing stay
/// out of the user's reach, since only the file system ids change.
pub fn take_file_rights(user: &User) {
    // SAFETY: plain system calls with numbers, and an array that outlives the call. The raw call is meant:
    // the C library's setgroups would change every thread.
    unsafe {
        libc::syscall(libc::SYS_setgroups, user.groups.len(), user.groups.as_ptr());
        libc::setfsgid(user.gid);
        libc::setfsuid(user.uid);
        libc::umask(0o022);
    }
}

/// What a program becomes between fork and exec.
#[derive(Clone, Debug)]
pub struct Becoming {
    /// None: stays who the agent is.
    pub user: Option<User>,
    pub working_directory: CString,
    /// Standard input becomes the controlling terminal.
    pub controlling_terminal: bool,
    /// `cgroup.procs` of the group to join.
    pub cgroup: Option<Arc<OwnedFd>>,
    /// Limits and scores are set back to what programs expect.
    pub restore_limits: bool,
    /// It gets the CPU and the disk that nobody else wants.
    pub idle: bool,
}

/// Makes `command` become what is described, in a session of its own.
pub fn become_before_exec(command: &mut Command, becoming: Becoming) {
    // SAFETY: the closure runs in the forked child, where only async-signal-safe calls are allowed. It makes
    // system calls on memory allocated before the fork and neither allocates, locks nor frees.
    unsafe {
        command.pre_exec(move || {
            check(libc::setsid())?;
            if becoming.controlling_terminal {
                check(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            }
            if let Some(cgroup) = &becoming.cgroup {
                check_size(libc::write(cgroup.as_raw_fd(), c"0".as_ptr().cast(), 1))?;
            }
            if becoming.restore_limits {
                restore_limits();
            }
            if becoming.idle {
                become_idle();
            }
            // A program finds no signal ignored, whoever started the agent: a shell could not trap it.
            for signal in 1..=libc::SIGSYS {
                libc::signal(signal, libc::SIG_DFL);
            }
            libc::umask(0o022);
            if let Some(user) = &becoming.user {
                check(libc::setgroups(user.groups.len(), user.groups.as_ptr()))?;
                check(libc::setgid(user.gid))?;
                check(libc::setuid(user.uid))?;
            }
            check(libc::chdir(becoming.working_directory.as_ptr()))
        });
    }
}

/// Async-signal-safe.
///
/// # Safety
/// None beyond that of the system calls: every pointer is to a local or a constant.
unsafe fn restore_limits() {
    // SAFETY: see above; failures leave a limit as it is, which no program depends on.
    unsafe {
        let file = libc::open(
            c"/proc/self/oom_score_adj".as_ptr(),
            libc::O_WRONLY | libc::O_CLOEXEC,
        );
        if file >= 0 {
            libc::write(file, c"0".as_ptr().cast(), 1);
            libc::close(file);
        }
        let parameters: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &parameters);
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        let files = libc::rlimit {
            rlim_cur: 1024,
            rlim_max: OPEN_FILES,
        };
        libc::setrlimit(libc::RLIMIT_NOFILE, &files);
    }
}

/// Async-signal-safe.
///
/// # Safety
/// None beyond that of the system calls: they take numbers.
unsafe fn become_idle() {
    // SAFETY: see above; where a priority cannot be set it stays as it is.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_OF_PROCESS, 0, IOPRIO_IDLE);
    }
}

const IOPRIO_OF_PROCESS: libc::c_int = 1;
const IOPRIO_IDLE: libc::c_int = 3 << 13;

/// Most open files that a program may ask for; what systemd allows too.
const OPEN_FILES: libc::rlim_t = 524_288;

/// Lets this process open as many files as it ever needs.
pub fn raise_open_files() {
    let files = libc::rlimit {
        rlim_cur: OPEN_FILES,
        rlim_max: OPEN_FILES,
    };
    // SAFETY: reads a local struct.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &files) };
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn check_size(result: isize) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The process group in the foreground of a terminal, seen from its master side.
pub fn foreground_group(master: BorrowedFd<'_>) -> Option<i32> {
    let mut group: libc::pid_t = 0;
    // SAFETY: TIOCGPGRP writes one pid_t to the pointer, which is to a local.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPGRP, &mut group) };
    (result == 0 && group > 0).then_some(group)
}

/// Makes orphans of the user's programs children of this process, as they are of PID 1.
pub fn adopt_orphans() {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

/// Feeds the kernel's random generator and has it start from that at once.
pub fn add_entropy(random: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    #[repr(C)]
    struct Pool {
        bits: libc::c_int,
        size: libc::c_int,
        bytes: [u8; 64],
    }
    for piece in bytes.chunks(64) {
        let mut pool = Pool {
            bits: 8 * piece.len() as i32,
            size: piece.len() as i32,
            bytes: [0; 64],
        };
        pool.bytes[..piece.len()].copy_from_slice(piece);
        // SAFETY: the kernel reads `size` bytes after the two integers, which is at most the array.
        check(unsafe { libc::ioctl(random.as_raw_fd(), RNDADDENTROPY, &pool) })?;
    }
    // SAFETY: takes no argument.
    check(unsafe { libc::ioctl(random.as_raw_fd(), RNDRESEEDCRNG) })
}

/// An address, a mask or flags for a network interface.
#[derive(Clone, Copy, Debug)]
pub enum Interface {
    Address([u8; 4]),
    Mask([u8; 4]),
    Up,
}

/// Changes a network interface through any internet socket.
pub fn set_interface(socket: RawFd, name: &str, change: Interface) -> io::Result<()> {
    // SAFETY: zero is valid for every field of the C structs; names are cut to the array's size; the kernel
    // reads (and for flags writes) the struct and keeps no pointer.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request
            .ifr_name
            .iter_mut()
            .zip(name.bytes().take(libc::IFNAMSIZ - 1))
        {
            *to = from as libc::c_char;
        }
        match change {
            Interface::Address(address) => {
                request.ifr_ifru.ifru_addr = internet_address(address);
                check(libc::ioctl(socket, libc::SIOCSIFADDR, &request))
            }
            Interface::Mask(mask) => {
                request.ifr_ifru.ifru_netmask = internet_address(mask);
                check(libc::ioctl(socket, libc::SIOCSIFNETMASK, &request))
            }
            Interface::Up => {
                check(libc::ioctl(socket, libc::SIOCGIFFLAGS, &mut request))?;
                request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
                check(libc::ioctl(socket, libc::SIOCSIFFLAGS, &request))
            }
        }
    }
}

/// Sends everything that has no route of its own to `gateway`.
pub fn add_default_route(socket: RawFd, gateway: [u8; 4]) -> io::Result<()> {
    // SAFETY: as in `set_interface`.
    unsafe {
        let mut route: libc::rtentry = std::mem::zeroed();
        route.rt_dst = internet_address([0; 4]);
        route.rt_genmask = internet_address([0; 4]);
        route.rt_gateway = internet_address(gateway);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        check(libc::ioctl(socket, libc::SIOCADDRT, &route))
    }
}

fn internet_address(address: [u8; 4]) -> libc::sockaddr {
    let internet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain bytes of the same size, sixteen, and every sockaddr_in is a sockaddr.
    unsafe { std::mem::transmute(internet) }
}

/// Registers an open file with the runtime of the calling thread.
pub fn watch_file(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` owns its descriptor and keeps it until it is dropped, which is after the registration
    // ends; nothing here closes it by number.
    unsafe { AsyncFd::register(file) }.map_err(io::Error::from)
}
