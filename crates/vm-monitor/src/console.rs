//! What the guest writes to its console: the end of it is kept in a file, and explains how a VM ended.

use std::io::Write;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::bounded_file::BoundedFile;

/// Bytes of the console that are kept.
const KEPT: u64 = 512 * 1024;
/// What a cause shows of it.
const EXCERPT_LINES: usize = 20;
const EXCERPT_BYTES: u64 = 4 * 1024;

/// Copies the console to its file until it ends.
pub async fn keep(mut console: impl AsyncRead + Unpin, mut file: BoundedFile) {
    let mut buffer = [0; 2048];
    loop {
        match console.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if let Err(error) = file.write_all(&buffer[..length]) {
                    // The guest must not wait because the host's disk is full.
                    tracing::warn!(%error, "console output is lost");
                }
            }
        }
    }
}

/// An empty file for a new run's console.
pub fn start(path: &Path) -> std::io::Result<BoundedFile> {
    std::fs::File::create(path)?;
    BoundedFile::open(path, KEPT)
}

/// A cause with what the console says about it.
pub fn explain(cause: &str, console: &Path) -> String {
    let end = BoundedFile::tail(console, EXCERPT_BYTES).unwrap_or_default();
    let plain: String = end
        .chars()
        .filter(|c| !c.is_control() || "\n\t".contains(*c))
        .collect();
    let lines: Vec<&str> = plain
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let headline = lines
        .iter()
        .find(|line| line.contains("Kernel panic"))
        .copied()
        .unwrap_or_default();
    let cause = match headline
        .split_once("] ")
        .map_or(headline, |(_stamp, text)| text)
    {
        "" => cause.to_owned(),
        panic => format!("{cause}: {panic}"),
    };
    if lines.is_empty() {
        return cause;
    }
    let last = &lines[lines.len().saturating_sub(EXCERPT_LINES)..];
    format!("{cause}\nThe console's last lines:\n{}", last.join("\n"))
}
