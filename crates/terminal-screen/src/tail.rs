//! The last bytes of output, so that a short drop of the connection costs only what was missed.

use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Tail {
    bytes: VecDeque<u8>,
    limit: usize,
    /// Bytes ever pushed.
    end: u64,
}

impl Tail {
    pub fn new(limit: usize) -> Tail {
        Tail {
            bytes: VecDeque::new(),
            limit,
            end: 0,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(self.limit)..];
        let surplus = (self.bytes.len() + kept.len()).saturating_sub(self.limit);
        self.bytes.drain(..surplus);
        self.bytes.extend(kept);
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    /// What follows the first `offset` bytes, up to `most` of it, when all of it is still held.
    pub fn since(&self, offset: u64, most: usize) -> Option<Vec<u8>> {
        let missed = usize::try_from(self.end.checked_sub(offset)?).ok()?;
        let start = self.bytes.len().checked_sub(missed)?;
        let end = start + missed.min(most);
        Some(self.bytes.range(start..end).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn answers_while_it_holds_what_was_missed() {
        let mut tail = Tail::new(4);
        tail.push(b"abc");
        tail.push(b"defghi");
        assert_eq!(tail.end(), 9);
        assert_eq!(tail.since(5, 9).as_deref(), Some(&b"fghi"[..]));
        assert_eq!(tail.since(6, 2).as_deref(), Some(&b"gh"[..]));
        assert_eq!(tail.since(9, 9).as_deref(), Some(&b""[..]));
        assert_eq!(tail.since(4, 9), None);
        assert_eq!(tail.since(10, 9), None);
    }
}
