//! Moves bytes between two streams, each direction ending by itself.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};

/// Bytes of buffer for each direction of an interactive stream: many are open at a time, mostly idle.
pub const INTERACTIVE: usize = 4 * 1024;
/// Of a bulk stream: few, and busy.
pub const BULK: usize = 32 * 1024;

/// Returns when both directions have ended or one has failed.
pub async fn both_ways(
    mut one: impl AsyncRead + AsyncWrite + Unpin,
    mut other: impl AsyncRead + AsyncWrite + Unpin,
    buffer: usize,
) -> io::Result<()> {
    copy_bidirectional_with_sizes(&mut one, &mut other, buffer, buffer)
        .await
        .map(drop)
}
