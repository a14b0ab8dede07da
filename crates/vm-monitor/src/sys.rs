//! The few calls that the compiler cannot check.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the command run in a session of its own and as nobody's child: the process that `spawn` returns is
/// one in between that ends at once.
pub fn detach(command: &mut Command) {
    let in_child = || {
        rustix::process::setsid()?;
        // SAFETY: this is the child between fork and exec, with one thread; fork and _exit are
        // async-signal-safe, and nothing is allocated or locked here.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(()),
            // SAFETY: as above; no destructor of the parent's may run in this process.
            _ => unsafe { libc::_exit(0) },
        }
    };
    // SAFETY: the closure only makes the system calls above, which are all allowed after a fork of a
    // process with several threads.
    unsafe { command.pre_exec(in_child) };
}
