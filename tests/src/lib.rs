//! The real binary in a world of its own, for tests with real VMs and for benchmarks.
//!
//! Knows nothing of how the server works inside: it starts `ROOST_BIN`, reads what it prints, and speaks the
//! public API and the guest protocol.
//!
//! - [`server`]: a server on a data folder and a port of its own.
//! - [`api`]: the control plane's API, as a program uses it.
//! - [`cli`]: the command line.
//! - [`guest`]: sessions with guests.
//! - [`pty`]: a terminal for a program.
//! - [`traces`]: what must not be left behind.
//! - [`until`]: waiting for a condition, never for a time.

pub mod api;
pub mod cli;
pub mod guest;
pub mod pty;
pub mod server;
pub mod traces;

use std::time::{Duration, Instant};

pub use server::{Options, Server};

/// Asks `look` every 50 ms until it gives something; the error names what was waited for.
pub async fn until<T>(
    what: &str,
    seconds: u64,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        let last = match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= end {
            let message = format!("{what}: not within {seconds} s");
            return Err(last.map_or_else(
                || anyhow::anyhow!(message.clone()),
                |error| error.context(message.clone()),
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
