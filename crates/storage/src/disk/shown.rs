//! What a disk shows, to whoever asks for an image.

use super::{Below, Disk, NONE, ZERO};
use crate::block::{BLOCK, BlockNumber};
use crate::error::Result;
use crate::index::Place;

/// Blocks that are looked at while nothing else is.
const AT_ONCE: u32 = 1 << 14;

impl Below for Disk {
    fn blocks(&self) -> u32 {
        self.state().local.blocks()
    }

    fn read(&self, first: BlockNumber, buffer: &mut [u8]) -> Result<()> {
        let within = self.size().saturating_sub(u64::from(first) * BLOCK as u64);
        let (here, beyond) = buffer.split_at_mut(within.min(buffer.len() as u64) as usize);
        beyond.fill(0);
        Self::read(self, u64::from(first) * BLOCK as u64, here)
    }

    fn zeros(&self, first: BlockNumber, most: u32) -> Result<u32> {
        let most = most.min(AT_ONCE);
        let within = self.blocks().saturating_sub(first).min(most);
        self.sound_pages(first, within)?;
        let state = self.state();
        for number in 0..within {
            let block = first + number;
            let is_zero = match state.local(block)? {
                ZERO => true,
                NONE => match (state.index.place(block)?, &self.base) {
                    (Place::Zero, _) | (Place::Below, None) => true,
                    (Place::Below, Some(base)) => base.is_zero(block)?,
                    (Place::Stored { .. }, _) => false,
                },
                _ => false,
            };
            if !is_zero {
                return Ok(number);
            }
        }
        Ok(most)
    }
}
