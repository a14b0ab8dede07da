//! The few calls that the compiler cannot check.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ptr::NonNull;

use std::sync::atomic::AtomicU32;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, mmap_anonymous, msync, munmap};

const PAGE: usize = 4096;

/// Words of a file, mapped privately: changes are this process's own, and pages that were not changed are
/// the page cache's.
pub struct Region {
    start: NonNull<u32>,
    /// Words that can be used.
    capacity: usize,
}

// SAFETY: the mapping belongs to the region alone; shared and exclusive use follow from `&` and `&mut`.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    const ACCESS: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
    const FLAGS: MapFlags = MapFlags::PRIVATE.union(MapFlags::NORESERVE);

    /// Zeros, which take memory only once they are something else.
    pub fn zeros(capacity: usize) -> Self {
        Self::reserve(capacity)
            .expect("a process has room for more addresses than there are blocks")
    }

    fn reserve(capacity: usize) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let room = capacity
            .checked_mul(4)
            .ok_or_else(invalid)?
            .next_multiple_of(PAGE)
            .max(PAGE);
        // SAFETY: a new mapping at an address that the kernel chooses overlaps nothing.
        let start =
            unsafe { mmap_anonymous(std::ptr::null_mut(), room, Self::ACCESS, Self::FLAGS) }?;
        Ok(Self {
            start: NonNull::new(start.cast()).ok_or_else(invalid)?,
            capacity,
        })
    }

    /// Maps `words` words of `file` from `offset` on; after them, up to `capacity`, there are zeros.
    /// The mapped part must stay within the file for as long as the region lives.
    pub fn map(file: &File, offset: u64, words: usize, capacity: usize) -> io::Result<Self> {
        if words > capacity {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let region = Self::reserve(capacity)?;
        let (start, bytes) = (region.start.as_ptr().cast(), words * 4);
        let (access, flags) = (Self::ACCESS, Self::FLAGS);
        if bytes > 0 {
            // SAFETY: replaces the first part of the mapping above, which nobody has seen yet; the length
            // is at most `room`.
            unsafe { mmap(start, bytes, access, flags | MapFlags::FIXED, file, offset) }?;
        }
        Ok(region)
    }

    pub fn as_slice(&self) -> &[u32] {
        // SAFETY: `capacity` words are mapped readable and aligned to a page; every bit pattern is a word.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.capacity) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u32] {
        // SAFETY: as above, writable, and `&mut self` makes it exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.capacity) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let room = (self.capacity * 4).next_multiple_of(PAGE).max(PAGE);
        // SAFETY: the mapping was made with this length, and no slice outlives the region.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), room) };
    }
}

/// Words of a file, shared with every process that maps it.
pub struct SharedWords {
    start: NonNull<AtomicU32>,
    words: usize,
}

// SAFETY: the words are atomic, and the mapping lives as long as the value.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps `words` words of `file` from `offset` on, a multiple of 4096. The file must not get shorter.
    pub fn map(file: &File, offset: u64, words: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let length = Self::length(words);
        // SAFETY: a new mapping at an address that the kernel chooses overlaps nothing.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                access,
                MapFlags::SHARED,
                file,
                offset,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { start, words })
    }

    fn length(words: usize) -> usize {
        (words * 4).next_multiple_of(PAGE).max(PAGE)
    }

    pub fn as_slice(&self) -> &[AtomicU32] {
        // SAFETY: `words` words are mapped, aligned to a page; every bit pattern is a word, and other
        // processes change them atomically too.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// Writes what was changed to the file, durably.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: the range is the whole mapping.
        let synced = unsafe {
            msync(
                self.start.as_ptr().cast(),
                Self::length(self.words),
                MsyncFlags::SYNC,
            )
        };
        Ok(synced?)
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and no slice outlives it.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), Self::length(self.words)) };
    }
}

/// What `sched_setattr(2)` is told, its first version.
#[repr(C)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Of an ordinary thread this is its time slice, nanoseconds, since Linux 6.12.
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// The calling thread, which mostly waits, runs at once when it no longer has to: one with a shorter time slice goes
/// before those with longer ones, and gets no more for it.
pub fn answer_quickly() {
    const SLICE_NS: u64 = 200_000;
    let attributes = SchedulingAttributes {
        size: size_of::<SchedulingAttributes>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice: rustix::process::getpriority_process(None).unwrap_or(0),
        priority: 0,
        runtime: SLICE_NS,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the kernel reads as many bytes as the structure says it has, and changes this thread's scheduling alone.
    // Where it does not know this, things are as they were.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}
