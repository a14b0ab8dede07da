//! The few calls that the compiler cannot check.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::io::FdFlags;
use rustix::process::{Gid, Pid, Signal, Uid};

use crate::memory::Scan;

/// What a child is confined to before its program runs. All of it is opened beforehand.
#[derive(Debug, Default)]
pub struct Confinement {
    /// `cgroup.procs` files to join.
    pub cgroups: Vec<File>,
    pub network_namespace: Option<File>,
    /// User and group.
    pub identity: Option<(u32, u32)>,
    /// Descriptors that the program finds under the same numbers. They must stay open until it is spawned.
    pub inherited: Vec<RawFd>,
}

/// Confines the command's child and makes it die with this process.
///
/// It dies with the *thread* that spawns it, to be exact: spawn it from one that lasts.
pub fn confine(command: &mut tokio::process::Command, confinement: Confinement) {
    let parent = std::process::id();
    let in_child = move || {
        for cgroup in &confinement.cgroups {
            rustix::io::write(cgroup, b"0")?;
        }
        // Of all that runs on a host, VMs are what the kernel takes first when memory runs out. Raising it
        // needs no right; where it cannot be done the VM runs as well.
        let _ = raise_out_of_memory_score();
        if let Some(namespace) = &confinement.network_namespace {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?;
        }
        if let Some((user, group)) = confinement.identity {
            rustix::thread::set_thread_groups(&[])?;
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            rustix::thread::set_thread_res_gid(group, group, group)?;
            rustix::thread::set_thread_res_uid(user, user, user)?;
        }
        rustix::thread::set_no_new_privs(true)?;
        let no_core = rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        rustix::process::setrlimit(rustix::process::Resource::Core, no_core)?;
        // After the change of user, which resets it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid()
            .map(Pid::as_raw_nonzero)
            .map(|id| id.get() as u32)
            != Some(parent)
        {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        for descriptor in &confinement.inherited {
            // SAFETY: the caller keeps these descriptors open until the child is spawned, and a child
            // between fork and exec has all that its parent has.
            let descriptor = unsafe { BorrowedFd::borrow_raw(*descriptor) };
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: the closure makes plain system calls only (rustix's thread calls are the bare ones, which
    // suits a child with one thread); it neither allocates nor locks.
    unsafe { command.pre_exec(in_child) };
}

/// Makes only system calls.
fn raise_out_of_memory_score() -> rustix::io::Result<()> {
    let file = rustix::fs::open(
        c"/proc/self/oom_score_adj",
        rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    rustix::io::write(&file, b"500").map(drop)
}

/// Opens a tap device that exists in the network namespace of the calling thread.
pub fn attach_tap(device: &str) -> io::Result<File> {
    /// From `linux/if_tun.h`.
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    const IFF_TAP: i16 = 0x0002;
    const IFF_NO_PI: i16 = 0x1000;
    const IFF_VNET_HDR: i16 = 0x4000;

    #[repr(C)]
    struct InterfaceRequest {
        name: [u8; 16],
        flags: i16,
        rest: [u8; 22],
    }

    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
        rest: [0; 22],
    };
    if device.is_empty() || device.len() >= request.name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a device's name has 1 to 15 bytes",
        ));
    }
    request.name[..device.len()].copy_from_slice(device.as_bytes());
    let tun = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, 40 bytes, which `request` is laid out as and
    // which outlives the call.
    match unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, &raw mut request) } {
        0 => Ok(tun),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The time stamp counter, together with the moment it was read at.
pub fn time_stamp() -> (u64, Instant) {
    // The tightest of several readings: the others were interrupted.
    (0..32)
        .map(|_| {
            let before = Instant::now();
            // SAFETY: RDTSC is there on every x86-64 processor and only reads the counter.
            let counter = unsafe { core::arch::x86_64::_rdtsc() };
            let took = before.elapsed();
            (took, (counter, before + took / 2))
        })
        .min_by_key(|(took, _): &(Duration, _)| *took)
        .map(|(_, reading)| reading)
        .expect("32 readings are more than none")
}

/// What the kernel says of pages that follow each other: `struct page_region` of `linux/fs.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Region {
    /// Addresses.
    pub start: u64,
    pub end: u64,
    categories: u64,
}

impl Region {
    pub fn is_zero(&self) -> bool {
        self.categories & PAGE_IS_PFNZERO != 0
    }
}

const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

/// Asks `/proc/PID/pagemap` for private pages in a range of addresses, see `PAGEMAP_SCAN` in the kernel's
/// `Documentation/admin-guide/mm/pagemap.rst`. Says up to where it has looked.
pub fn scan_pages(
    pagemap: &File,
    addresses: std::ops::Range<u64>,
    scan: Scan,
    mut each: impl FnMut(&Region),
) -> io::Result<u64> {
    const PAGEMAP_SCAN: libc::Ioctl = 0xc060_6610_u32 as libc::Ioctl;
    const WP_MATCHING: u64 = 1 << 0;
    const CHECK_WPASYNC: u64 = 1 << 1;
    const REGIONS: usize = 512;

    /// `struct pm_scan_arg`.
    #[repr(C)]
    struct Arguments {
        size: u64,
        flags: u64,
        start: u64,
        end: u64,
        walk_end: u64,
        regions: u64,
        regions_length: u64,
        max_pages: u64,
        category_inverted: u64,
        category_mask: u64,
        category_anyof_mask: u64,
        return_mask: u64,
    }

    let mut regions = [Region::default(); REGIONS];
    let marks = match scan {
        Scan::Changed => 0,
        Scan::ChangedAndMark | Scan::Since => WP_MATCHING | CHECK_WPASYNC,
    };
    let written = match scan {
        Scan::Changed | Scan::ChangedAndMark => 0,
        Scan::Since => PAGE_IS_WRITTEN,
    };
    let mut arguments = Arguments {
        size: size_of::<Arguments>() as u64,
        flags: marks,
        start: addresses.start,
        end: addresses.end,
        walk_end: 0,
        regions: regions.as_mut_ptr() as u64,
        regions_length: REGIONS as u64,
        max_pages: 0,
        // Not of the image below.
        category_inverted: PAGE_IS_FILE,
        category_mask: PAGE_IS_FILE | written,
        category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        return_mask: PAGE_IS_PFNZERO,
    };
    // SAFETY: the kernel reads and writes one `struct pm_scan_arg`, which `arguments` is laid out as, and writes at
    // most `regions_length` entries to `regions`; both outlive the call.
    let found = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut arguments) };
    if found < 0 {
        return Err(io::Error::last_os_error());
    }
    regions[..found as usize].iter().for_each(&mut each);
    Ok(arguments.walk_end)
}
