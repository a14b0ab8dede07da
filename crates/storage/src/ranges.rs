//! Which blocks: a set of numbers, kept as ranges that do not touch.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::block::BlockNumber;

/// A set of blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockRanges {
    /// First block → the one after the last.
    ranges: BTreeMap<BlockNumber, BlockNumber>,
}

impl BlockRanges {
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many blocks they are.
    pub fn count(&self) -> u64 {
        self.iter().map(|range| range.len() as u64).sum()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Range<BlockNumber>> {
        self.ranges.iter().map(|(first, end)| *first..*end)
    }

    pub fn contains(&self, block: BlockNumber) -> bool {
        let before = self.ranges.range(..=block).next_back();
        before.is_some_and(|(_, end)| block < *end)
    }

    pub fn insert(&mut self, range: Range<BlockNumber>) {
        if range.is_empty() {
            return;
        }
        let (mut first, mut end) = (range.start, range.end);
        while let Some((before, before_end)) = self.ranges.range(..=end).next_back()
            && *before_end >= first
        {
            (first, end) = (first.min(*before), end.max(*before_end));
            let before = *before;
            self.ranges.remove(&before);
        }
        self.ranges.insert(first, end);
    }

    pub fn remove(&mut self, range: Range<BlockNumber>) {
        if range.is_empty() {
            return;
        }
        while let Some((first, end)) = self.ranges.range(..range.end).next_back()
            && *end > range.start
        {
            let (first, end) = (*first, *end);
            self.ranges.remove(&first);
            if end > range.end {
                self.ranges.insert(range.end, end);
            }
            if first < range.start {
                self.ranges.insert(first, range.start);
            }
        }
    }
}

impl std::fmt::Display for BlockRanges {
    /// `3, 7-9`: the last one of a range is in it.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, range) in self.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            match range.len() {
                1 => write!(out, "{comma}{}", range.start)?,
                _ => write!(out, "{comma}{}-{}", range.start, range.end - 1)?,
            }
        }
        Ok(())
    }
}

impl Extend<BlockNumber> for BlockRanges {
    fn extend<T: IntoIterator<Item = BlockNumber>>(&mut self, blocks: T) {
        blocks
            .into_iter()
            .for_each(|block| self.insert(block..block + 1));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_set_that_was_put_in(
            steps in prop::collection::vec((any::<bool>(), 0u32..60, 0u32..20), 0..40),
        ) {
            let mut ranges = BlockRanges::default();
            let mut expected = BTreeSet::new();
            for (is_in, first, count) in steps {
                let range = first..first + count;
                if is_in {
                    ranges.insert(range.clone());
                    expected.extend(range);
                } else {
                    ranges.remove(range.clone());
                    expected.retain(|block| !range.contains(block));
                }
                let found: Vec<_> = ranges.iter().collect();
                prop_assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start), "{found:?}");
                let blocks: BTreeSet<u32> = found.into_iter().flatten().collect();
                prop_assert_eq!(&blocks, &expected);
                prop_assert!((0..90).all(|block| ranges.contains(block) == expected.contains(&block)));
            }
        }
    }

    #[test]
    fn they_are_told_as_people_write_them() {
        let mut ranges = BlockRanges::default();
        ranges.extend([3, 9, 8, 7]);
        assert_eq!(ranges.to_string(), "3, 7-9");
        assert_eq!(ranges.count(), 4);
    }
}
