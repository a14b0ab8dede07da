//! The unit of everything: a block of 4 KiB, which is what file systems in the guest read and write.

/// Bytes of a block.
pub const BLOCK: usize = 4096;

/// Which block of a disk. 4 TiB, the largest disk, has 2^30 of them.
pub type BlockNumber = u32;

/// Blocks of the largest disk.
pub const MAX_BLOCKS: u32 = 1 << 30;

/// Blocks that `bytes` need.
pub fn blocks_of(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(BLOCK as u64)).unwrap_or(u32::MAX)
}

/// Whether every byte is zero: such blocks take no room.
pub fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<16>();
    // Folded over a cache line at a time, which compilers turn into vector instructions.
    words.chunks(4).all(|line| {
        line.iter()
            .fold(0, |all, word| all | u128::from_ne_bytes(*word))
            == 0
    }) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_bit_is_not_zero() {
        for at in [0, 15, 16, 63, 64, 4000, 4095] {
            let mut block = vec![0; BLOCK];
            assert!(is_zero(&block));
            block[at] = 1;
            assert!(!is_zero(&block), "bit in byte {at}");
        }
        assert!(is_zero(&[0; 5]));
        assert!(!is_zero(&[0, 0, 0, 0, 9]));
    }

    #[test]
    fn a_part_of_a_block_needs_one() {
        assert_eq!(blocks_of(0), 0);
        assert_eq!(blocks_of(1), 1);
        assert_eq!(blocks_of(4096), 1);
        assert_eq!(blocks_of(4 << 40), MAX_BLOCKS);
    }
}
