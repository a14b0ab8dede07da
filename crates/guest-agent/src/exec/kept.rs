//! Output of one channel that is kept for the client: what it was not sent yet, and enough of what it was
//! sent that a client that lost its connection finds what it lacks.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes kept per channel.
pub const CAPACITY: usize = 1024 * 1024;
/// Of these, for what was sent: more than a client may have in flight.
const SENT: usize = 2 * guest_protocol::INITIAL_CREDIT as usize;

/// One channel's output, numbered from the program's start.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: VecDeque<u8>,
    /// Number of the first byte kept.
    start: u64,
    /// Number of the first byte that was not sent.
    sent: u64,
    /// No more will come.
    pub ended: bool,
    /// The client was told that no more will come.
    pub end_sent: bool,
}

impl Kept {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// How many bytes more may be pushed now.
    pub fn room(&self) -> usize {
        (CAPACITY - SENT).saturating_sub((self.end() - self.sent) as usize)
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let sent = (self.sent - self.start) as usize;
        let surplus = sent.saturating_sub(SENT);
        self.bytes.drain(..surplus);
        self.start += surplus as u64;
    }

    /// Goes on from `offset`, or from the first byte kept; returns where.
    pub fn rewind(&mut self, offset: u64) -> u64 {
        self.sent = offset.clamp(self.start, self.end());
        self.end_sent = false;
        self.sent
    }

    /// The next bytes to send and the number of the first. Taking nothing is possible.
    pub fn take(&mut self, most: usize) -> (u64, Bytes) {
        let from = (self.sent - self.start) as usize;
        let to = self.bytes.len().min(from.saturating_add(most));
        let bytes: Vec<u8> = self.bytes.range(from..to).copied().collect();
        let offset = self.sent;
        self.sent += bytes.len() as u64;
        (offset, bytes.into())
    }

    pub fn has_unsent(&self) -> bool {
        self.sent < self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_is_never_dropped_and_what_was_in_flight_is_still_there() {
        let mut kept = Kept::default();
        let mut pushed = 0_u64;
        let mut taken = 0_u64;
        for round in 0..200 {
            let piece = vec![round as u8; kept.room().min(60_000)];
            pushed += piece.len() as u64;
            kept.push(&piece);
            assert!(kept.bytes.len() <= CAPACITY);
            let (offset, bytes) = kept.take(40_000);
            assert_eq!(offset, taken);
            taken += bytes.len() as u64;
        }
        assert!(pushed > 4 * CAPACITY as u64);
        let in_flight = taken - guest_protocol::INITIAL_CREDIT;
        assert_eq!(kept.rewind(in_flight), in_flight);
        assert_eq!(kept.take(usize::MAX).1.len() as u64, pushed - in_flight);
    }

    #[test]
    fn a_channel_that_nobody_takes_from_fills_up() {
        let mut kept = Kept::default();
        while kept.room() > 0 {
            kept.push(&vec![0; kept.room().min(1000)]);
        }
        assert_eq!(kept.bytes.len(), CAPACITY - SENT);
        assert_eq!(kept.rewind(5_000_000), (CAPACITY - SENT) as u64);
    }
}
