//! Preloaded into the VMM, whose calls it answers where they concern the guest's memory. Compiled by
//! `build.rs` without the standard library and linked with nothing, so that it fits every build of a VMM.
//!
//! - The first private mapping of as many bytes as the guest has memory is that memory. Its writes are tracked from
//!   then on (`userfaultfd` with asynchronous write protection), and its address is told on a socket, with
//!   the descriptors by which it is read from outside: no right to look into the VMM is needed.
//! - Advice to use huge pages is swallowed where an image lies below: it makes every first read of that one of a
//!   megabyte, and every change one of two.
//! - Memory that the guest gives back is given back here, and not punched out of the image below it.
#![no_std]

use core::arch::asm;
use core::ffi::{c_char, c_int, c_void};
use core::panic::PanicInfo;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Environment: the socket's number, and the memory's size in bytes.
const SOCKET: &[u8] = b"ROOST_MEMORY_SOCKET\0";
const BYTES: &[u8] = b"ROOST_MEMORY_BYTES\0";

unsafe extern "C" {
    fn getenv(name: *const c_char) -> *const c_char;
    fn __errno_location() -> *mut c_int;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        unsafe { call(EXIT_GROUP, [97, 0, 0, 0, 0, 0]) };
    }
}

const CLOSE: usize = 3;
const FSTAT: usize = 5;
const MMAP: usize = 9;
const IOCTL: usize = 16;
const MADVISE: usize = 28;
const SENDMSG: usize = 46;
const EXIT_GROUP: usize = 231;
const OPENAT: usize = 257;
const FALLOCATE: usize = 285;
const USERFAULTFD: usize = 323;

/// A system call; what it answers is negative when it failed.
unsafe fn call(number: usize, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let answer: isize;
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer
}

/// The same as the C library has it.
unsafe fn answer(number: usize, arguments: [usize; 6]) -> isize {
    let answer = unsafe { call(number, arguments) };
    if answer < 0 {
        unsafe { *__errno_location() = -answer as c_int };
        return -1;
    }
    answer
}

/// Where the guest's memory is, and which file lies below it (0: none); 0 before it is there.
static START: AtomicUsize = AtomicUsize::new(0);
static LENGTH: AtomicUsize = AtomicUsize::new(0);
static DEVICE: AtomicU64 = AtomicU64::new(0);
static INODE: AtomicU64 = AtomicU64::new(0);

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    const WRITABLE: c_int = 2;
    const PRIVATE: c_int = 2;
    let arguments = [
        address as usize,
        length,
        protection as usize,
        flags as usize,
        file as usize,
        offset as usize,
    ];
    let mapped = unsafe { answer(MMAP, arguments) };
    let fits = mapped != -1 && protection & WRITABLE != 0 && flags & PRIVATE != 0;
    if fits
        && unsafe { number(BYTES) } == Some(length)
        && START
            .compare_exchange(0, mapped as usize, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    {
        unsafe { found(mapped as usize, length, file) };
    }
    mapped as *mut c_void
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    unsafe { mmap64(address, length, protection, flags, file, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int {
    const HUGE_PAGE: c_int = 14;
    let start = START.load(Ordering::Acquire);
    let within =
        start != 0 && (start..start + LENGTH.load(Ordering::Acquire)).contains(&(address as usize));
    if advice == HUGE_PAGE && within && INODE.load(Ordering::Acquire) != 0 {
        return 0;
    }
    unsafe {
        answer(
            MADVISE,
            [address as usize, length, advice as usize, 0, 0, 0],
        ) as c_int
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate64(file: c_int, mode: c_int, offset: i64, length: i64) -> c_int {
    const PUNCH_HOLE: c_int = 2;
    if mode & PUNCH_HOLE != 0 && unsafe { is_below_memory(file) } {
        // The advice that follows gives the memory back.
        return 0;
    }
    let arguments = [
        file as usize,
        mode as usize,
        offset as usize,
        length as usize,
        0,
        0,
    ];
    unsafe { answer(FALLOCATE, arguments) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate(file: c_int, mode: c_int, offset: i64, length: i64) -> c_int {
    unsafe { fallocate64(file, mode, offset, length) }
}

unsafe fn is_below_memory(file: c_int) -> bool {
    let (device, inode) = unsafe { identity(file) };
    inode != 0 && device == DEVICE.load(Ordering::Acquire) && inode == INODE.load(Ordering::Acquire)
}

/// Device and inode of a file; 0 for none.
unsafe fn identity(file: c_int) -> (u64, u64) {
    // `struct stat` of x86-64 has 144 bytes and begins with these two.
    let mut stat = [0_u64; 18];
    if file < 0
        || unsafe {
            call(
                FSTAT,
                [file as usize, stat.as_mut_ptr() as usize, 0, 0, 0, 0],
            )
        } < 0
    {
        return (0, 0);
    }
    (stat[0], stat[1])
}

/// The guest's memory has been mapped.
unsafe fn found(start: usize, length: usize, file: c_int) {
    LENGTH.store(length, Ordering::Release);
    let (device, inode) = unsafe { identity(file) };
    DEVICE.store(device, Ordering::Release);
    INODE.store(inode, Ordering::Release);
    let Some(socket) = (unsafe { number(SOCKET) }) else {
        return;
    };
    let tracked = unsafe { track(start, length) };
    unsafe { tell(socket, start, length, tracked) };
    unsafe { call(CLOSE, [socket, 0, 0, 0, 0, 0]) };
}

/// Has writes tracked for as long as this process lives. Says whether the kernel can.
unsafe fn track(start: usize, length: usize) -> bool {
    const CLOSE_ON_EXEC: usize = 0o2_000_000;
    const NON_BLOCKING: usize = 0o4_000;
    // The kernel resolves these faults itself, so nobody is asked, and no right is needed.
    const USER_MODE_ONLY: usize = 1;
    const API: usize = 0xc018_aa3f;
    const REGISTER: usize = 0xc020_aa00;
    const FEATURES: u64 = 1 | 1 << 12 | 1 << 15; // write protection, of files too, asynchronous
    const MODE_WRITE_PROTECT: u64 = 2;
    let flags = CLOSE_ON_EXEC | NON_BLOCKING | USER_MODE_ONLY;
    let descriptor = unsafe { call(USERFAULTFD, [flags, 0, 0, 0, 0, 0]) };
    if descriptor < 0 {
        return false;
    }
    let mut api = [0xaa_u64, FEATURES, 0];
    let mut register = [start as u64, length as u64, MODE_WRITE_PROTECT, 0];
    let done = unsafe {
        call(
            IOCTL,
            [descriptor as usize, API, api.as_mut_ptr() as usize, 0, 0, 0],
        ) == 0
            && call(
                IOCTL,
                [
                    descriptor as usize,
                    REGISTER,
                    register.as_mut_ptr() as usize,
                    0,
                    0,
                    0,
                ],
            ) == 0
    };
    if !done {
        unsafe { call(CLOSE, [descriptor as usize, 0, 0, 0, 0, 0]) };
    }
    done
}

/// `struct msghdr`.
#[repr(C)]
struct Message {
    name: *const c_void,
    name_length: u64,
    parts: *const Part,
    part_count: usize,
    control: *const c_void,
    control_length: usize,
    flags: u64,
}

/// `struct iovec`.
#[repr(C)]
struct Part {
    start: *const c_void,
    length: usize,
}

/// Sends address, length and whether writes are tracked, 8 bytes each, with the descriptors of `pagemap` and `mem`.
unsafe fn tell(socket: usize, start: usize, length: usize, tracked: bool) {
    const HERE: usize = -100_isize as usize;
    const READ_ONLY_CLOSE_ON_EXEC: usize = 0o2_000_000;
    const NO_SIGNAL: usize = 0x4000;
    let open = |path: &[u8]| unsafe {
        call(
            OPENAT,
            [
                HERE,
                path.as_ptr() as usize,
                READ_ONLY_CLOSE_ON_EXEC,
                0,
                0,
                0,
            ],
        )
    };
    let pagemap = open(b"/proc/self/pagemap\0");
    let memory = open(b"/proc/self/mem\0");
    let body = [start as u64, length as u64, u64::from(tracked)];
    let part = Part {
        start: body.as_ptr().cast(),
        length: size_of_val(&body),
    };
    // `struct cmsghdr`: its length, SOL_SOCKET, SCM_RIGHTS, and the two descriptors.
    let descriptors = u64::from(pagemap as u32) | u64::from(memory as u32) << 32;
    let control = [24_u64, 1 | 1 << 32, descriptors];
    let passed = pagemap >= 0 && memory >= 0;
    let message = Message {
        name: null(),
        name_length: 0,
        parts: &raw const part,
        part_count: 1,
        control: if passed {
            control.as_ptr().cast()
        } else {
            null()
        },
        control_length: if passed { size_of_val(&control) } else { 0 },
        flags: 0,
    };
    unsafe {
        call(
            SENDMSG,
            [socket, &raw const message as usize, NO_SIGNAL, 0, 0, 0],
        )
    };
    for descriptor in [pagemap, memory] {
        if descriptor >= 0 {
            unsafe { call(CLOSE, [descriptor as usize, 0, 0, 0, 0, 0]) };
        }
    }
}

/// What an environment variable has, if that is a number.
unsafe fn number(name: &[u8]) -> Option<usize> {
    let mut text = unsafe { getenv(name.as_ptr().cast()) };
    if text == null_mut() {
        return None;
    }
    let mut number = 0_usize;
    loop {
        match unsafe { *text } as u8 {
            0 => return Some(number),
            digit @ b'0'..=b'9' => {
                number = number
                    .checked_mul(10)?
                    .checked_add(usize::from(digit - b'0'))?;
            }
            _ => return None,
        }
        text = unsafe { text.add(1) };
    }
}
