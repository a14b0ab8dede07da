//! Standard output and standard error, either of which may be a pipe whose reader has seen enough.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Whoever read our output reads no more: `roost ls | head -1`. The program ends quietly, as one that the
/// signal for this ends.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub struct Closed;

/// What a shell shows for a program that `SIGPIPE` ended.
pub const CLOSED_CODE: u8 = 128 + 13;

/// A line of the answer.
pub fn line(text: impl Display) -> anyhow::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// The answer, as it is.
pub fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    closed(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// Tells a closed pipe from other failures to write.
pub fn closed(written: std::io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => Ok(written?),
    }
}

/// A remark beside the answer. Nobody may be there to read it, which is no reason to end.
pub fn remark(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
