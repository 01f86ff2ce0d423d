// SPDX-License-Identifier: GPL-2.0

//! Serializes writes that overlap in a sub-block.
//!
//! A logged write goes to two devices, which may do two writes in different orders. So a write
//! locks the sub-blocks that it touches, and any other write that touches one of them waits. Nobody
//! holds a lock while waiting for another one: a write takes as many sub-blocks from its beginning
//! as are free, and proceeds with these.

use super::vec::try_words;
use crate::env::{
    AllocError,
    Vec,
    Word, //
};

/// The number of words. Blocks this far apart share a word, and wait for each other needlessly.
const WORDS: usize = if cfg!(loom) { 2 } else { 1024 };

/// Sectors of a sub-block, as a shift.
const SUB_SHIFT: u32 = 3;

/// The sub-blocks of one volume that are being written.
pub struct WriteLocks {
    words: Vec<Word>,
    /// The size of a block in sectors, as a shift.
    block_shift: u32,
}

impl WriteLocks {
    /// Nothing is being written. May sleep.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn new(block_shift: u32) -> Result<Self, AllocError> {
        Ok(Self {
            words: try_words(WORDS)?,
            block_shift,
        })
    }

    /// Takes the sub-blocks that `sectors` from `sector` on touch, as far as they are free; returns
    /// how many sectors, from the beginning, are now taken. Does not sleep.
    pub fn take(&self, sector: u64, sectors: u32) -> u32 {
        let end = sector.saturating_add(u64::from(sectors));
        let mut at = sector;
        // Going on would run into our own first block.
        for _ in 0..WORDS {
            if at >= end {
                break;
            }
            let (word, mask, next) = match self.part(at, end) {
                Some(part) => part,
                None => break,
            };
            let (taken, all) = take_first(word, mask);
            if !all {
                at = self.end_of(at, end, taken);
                break;
            }
            at = next;
        }
        // At most `sectors`.
        u32::try_from(at.saturating_sub(sector)).unwrap_or(0)
    }

    /// Releases what [`WriteLocks::take`] took of these sectors: all of it, or all but a beginning
    /// that ends at a sub-block boundary. Does not sleep.
    pub fn release(&self, sector: u64, sectors: u32) {
        let end = sector.saturating_add(u64::from(sectors));
        let mut at = sector;
        while at < end {
            let Some((word, mask, next)) = self.part(at, end) else {
                return;
            };
            let mut old = word.get();
            while let Err(now) = word.replace(old, old & !mask) {
                old = now;
            }
            at = next;
        }
    }

    /// The word of the block at `at`, the bits of it that the I/O up to `end` touches, and where
    /// the next block begins.
    fn part(&self, at: u64, end: u64) -> Option<(&Word, u64, u64)> {
        let bid = at >> self.block_shift;
        let begin = bid << self.block_shift;
        let next = begin.saturating_add(1 << self.block_shift).min(end);
        let word = self
            .words
            .get(usize::try_from(bid).ok()?.checked_rem(WORDS)?)?;
        let first = at.saturating_sub(begin) >> SUB_SHIFT;
        let last = next.saturating_sub(1).saturating_sub(begin) >> SUB_SHIFT;
        // At most 16 sub-blocks.
        let above = u64::MAX.checked_shl(u32::try_from(last).ok()?.checked_add(1)?)?;
        let below = u64::MAX.checked_shl(u32::try_from(first).ok()?)?;
        Some((word, below & !above, next))
    }

    /// Where the part at `at` ends if only the sub-blocks in `taken` are ours.
    fn end_of(&self, at: u64, end: u64, taken: u64) -> u64 {
        if taken == 0 {
            return at;
        }
        let begin = (at >> self.block_shift) << self.block_shift;
        let last = u64::from(u64::BITS.saturating_sub(taken.leading_zeros()));
        begin.saturating_add(last << SUB_SHIFT).min(end)
    }
}

/// Sets the bits of a mask, from the lowest up to the first that is set already; returns them, and
/// whether that is the whole mask.
fn take_first(word: &Word, mask: u64) -> (u64, bool) {
    let mut old = word.get();
    loop {
        let busy = old & mask;
        // Those below the first busy one.
        let free = match busy.trailing_zeros() {
            u64::BITS => mask,
            first => mask & !u64::MAX.wrapping_shl(first),
        };
        if free == 0 {
            return (0, false);
        }
        match word.replace(old, old | free) {
            Ok(()) => return (free, busy == 0),
            Err(now) => old = now,
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_write_locks))]
mod tests {
    use super::*;

    #[test]
    fn overlapping_writes_wait() -> Result<(), AllocError> {
        let locks = WriteLocks::new(7)?;
        assert_eq!(locks.take(4, 2), 2);
        // The same sub-block.
        assert_eq!(locks.take(0, 1), 0);
        assert_eq!(locks.take(7, 100), 0);
        // Up to it.
        assert_eq!(locks.take(8, 8), 8);
        locks.release(4, 2);
        assert_eq!(locks.take(0, 300), 8);
        locks.release(8, 8);
        locks.release(0, 8);
        assert_eq!(locks.take(0, 300), 300);
        assert_eq!(locks.take(296, 8), 0);
        assert_eq!(locks.take(304, 8), 8);
        locks.release(128, 172);
        assert_eq!(locks.take(120, 200), 0);
        assert_eq!(locks.take(128, 200), 176);
        Ok(())
    }

    #[test]
    fn far_too_long() -> Result<(), AllocError> {
        let locks = WriteLocks::new(3)?;
        assert_eq!(locks.take(3, 100_000), 8 * 1024 - 3);
        locks.release(3, 8 * 1024 - 3);
        assert_eq!(locks.take(0, 8), 8);
        Ok(())
    }
}
