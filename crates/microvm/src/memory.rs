//! The guest's memory, seen from outside of the VMM: which pages it does not share with the image below it, which
//! of them were written since the last look, and what is in them.
//!
//! Guest memory is always a private mapping: of nothing at the first boot, of an image that never changes
//! after that. So what the guest has written is what is private, and the kernel knows it exactly. A scan of it takes
//! a millisecond or so for each GiB, and needs no right over the VMM: the descriptors come from itself.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use serde::{Deserialize, Serialize};

use crate::sys::{self, Region};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Longest run that a scan gives, pages.
const MOST: u64 = 1 << 16;

/// Memory of one guest, for as long as its VMM lives.
#[derive(Debug)]
pub struct GuestMemory {
    pagemap: File,
    content: File,
    /// Address in the VMM.
    start: u64,
    bytes: u64,
    tracked: bool,
}

/// Pages that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Number of the first, from 0 at the begin of the guest's memory.
    pub first: u32,
    pub count: u32,
    /// They are known to be zero, and need not be read.
    pub zero: bool,
}

/// Which pages a scan gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scan {
    /// All that are not as in the image that the VM was started from, which stay marked as they are.
    Changed,
    /// The same, and what is written from now on counts for the next [`Scan::Since`].
    ChangedAndMark,
    /// What was written since the last scan that marked, and marks again.
    Since,
}

/// Where it is, how large, and whether writes are tracked: 8 bytes each, in the order of this host's bytes.
const TOLD: usize = 24;

impl GuestMemory {
    /// Takes what a VMM tells (see `shim/shim.rs`), or [`GuestMemory::pass_on`].
    pub fn receive(socket: impl AsFd) -> io::Result<Self> {
        let mut told = [0; TOLD];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut told)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let length = recvmsg(socket, &mut parts, &mut ancillary, flags)?.bytes;
        let descriptors = ancillary.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        });
        let descriptors: Vec<OwnedFd> = descriptors.collect();
        let Ok([pagemap, content]) = <[OwnedFd; 2]>::try_from(descriptors) else {
            return Err(io::Error::other(
                "the VMM did not tell of its guest's memory",
            ));
        };
        if length != TOLD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (words, _) = told.as_chunks::<8>();
        let [start, bytes, tracked] = [0, 1, 2].map(|at| u64::from_ne_bytes(words[at]));
        Ok(Self {
            pagemap: pagemap.into(),
            content: content.into(),
            start,
            bytes,
            tracked: tracked != 0,
        })
    }

    /// Gives another process what it takes to look at it too.
    pub fn pass_on(&self, socket: impl AsFd) -> io::Result<()> {
        let words = [self.start, self.bytes, u64::from(self.tracked)];
        let told: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let descriptors = [self.pagemap.as_fd(), self.content.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let parts = [IoSlice::new(&told)];
        sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the kernel tracks writes, which [`Scan::Since`] needs.
    pub fn is_tracked(&self) -> bool {
        self.tracked
    }

    /// Puts the pages into `runs`, in order.
    pub fn scan(&self, scan: Scan, runs: &mut Vec<Run>) -> io::Result<()> {
        runs.clear();
        let end = self.start + self.bytes;
        let mut at = self.start;
        while at < end {
            at = sys::scan_pages(&self.pagemap, at..end, scan, |region: &Region| {
                self.push(runs, region);
            })?;
        }
        Ok(())
    }

    fn push(&self, runs: &mut Vec<Run>, region: &Region) {
        let mut first = (region.start - self.start) / PAGE;
        let end = (region.end - self.start) / PAGE;
        while first < end {
            let count = (end - first).min(MOST);
            runs.push(Run {
                first: first as u32,
                count: count as u32,
                zero: region.is_zero(),
            });
            first += count;
        }
    }

    /// Reads pages from `first` on.
    pub fn read(&self, first: u32, buffer: &mut [u8]) -> io::Result<()> {
        self.content
            .read_exact_at(buffer, self.start + u64::from(first) * PAGE)
    }
}

/// Pages of all runs together.
pub fn pages(runs: &[Run]) -> u64 {
    runs.iter().map(|run| u64::from(run.count)).sum()
}
