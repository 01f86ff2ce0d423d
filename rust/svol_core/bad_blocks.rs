// SPDX-License-Identifier: GPL-2.0

//! Parts of a disk that are not to be read as long as other disks have the data: places that can't
//! be read and could not be repaired; and the whole disk while it does not answer.
//!
//! A check costs one load while there is nothing, which is nearly always. Only a limited number of
//! places is remembered: a disk with more of them shows errors again, and is eventually given up
//! for that.

use super::{
    samples::SUB_BLOCK_SECTORS,
    update::update, //
};
use crate::env::Word;

/// How many places are remembered per disk.
const ROOM: usize = 32;

/// In [`BadBlocks::any`]: there are, or were, bad sub-blocks.
const SOME: u64 = 1;
/// In [`BadBlocks::any`]: the disk does not answer.
const SILENT: u64 = 2;

/// The parts of one disk that are not to be read. May be read and changed concurrently.
pub struct BadBlocks {
    /// [`SOME`], [`SILENT`].
    any: Word,
    /// Each a sub-block's number plus 1, or 0.
    places: [Word; ROOM],
}

impl Default for BadBlocks {
    fn default() -> Self {
        Self::new()
    }
}

impl BadBlocks {
    /// Nothing is to be avoided.
    pub fn new() -> Self {
        Self {
            any: Word::new(0),
            places: core::array::from_fn(|_| Word::new(0)),
        }
    }

    /// Whether any of these sectors is to be avoided. Does not sleep.
    #[inline]
    pub fn touches(&self, sector: u64, sectors: u32) -> bool {
        self.any.get() != 0 && self.is_to_avoid(sector, sectors)
    }

    #[cold]
    fn is_to_avoid(&self, sector: u64, sectors: u32) -> bool {
        self.is_silent() || self.has(sector, sectors)
    }

    /// Whether the disk does not answer. Does not sleep.
    pub fn is_silent(&self) -> bool {
        self.any.get() & SILENT != 0
    }

    /// Records that the disk does not answer, or answers again. Does not sleep.
    pub fn set_silent(&self, silent: bool) {
        update(&self.any, |any| match silent {
            true => any | SILENT,
            false => any & !SILENT,
        });
    }

    /// Whether any of these sectors is in a bad sub-block. Does not sleep.
    pub fn has(&self, sector: u64, sectors: u32) -> bool {
        let behind = sector.saturating_add(u64::from(sectors));
        self.places.iter().any(|place| {
            first_sector(place.get()).is_some_and(|first| {
                first < behind && sector < first.saturating_add(SUB_BLOCK_SECTORS)
            })
        })
    }

    /// Remembers the sub-block of a sector; returns whether there was room. One caller at a time;
    /// others may check and forget sub-blocks meanwhile. Does not sleep.
    pub fn add(&self, sector: u64) -> bool {
        if self.has(sector, 1) {
            return true;
        }
        let number = place_of(sector);
        let is_added = self
            .places
            .iter()
            .any(|place| place.replace(0, number).is_ok());
        if is_added {
            update(&self.any, |any| any | SOME);
        }
        is_added
    }

    /// Forgets the sub-blocks that lie entirely within these sectors: they were written. `end` is
    /// the end of the disk, which may cut the last one short. Does not sleep.
    #[inline]
    pub fn forget(&self, sector: u64, sectors: u32, end: u64) {
        if self.any.get() != 0 {
            self.forget_within(sector, sector.saturating_add(u64::from(sectors)), end);
        }
    }

    #[cold]
    fn forget_within(&self, sector: u64, behind: u64, end: u64) {
        for place in &self.places {
            let number = place.get();
            let is_within = first_sector(number).is_some_and(|first| {
                sector <= first && first.saturating_add(SUB_BLOCK_SECTORS).min(end) <= behind
            });
            if is_within {
                // Has no effect if it is another one by now.
                let _ = place.replace(number, 0);
            }
        }
    }
}

/// The encoding of a sub-block in [`BadBlocks::places`].
fn place_of(sector: u64) -> u64 {
    (sector / SUB_BLOCK_SECTORS).saturating_add(1)
}

/// The first sector of an encoded sub-block.
fn first_sector(place: u64) -> Option<u64> {
    Some(place.checked_sub(1)?.saturating_mul(SUB_BLOCK_SECTORS))
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_bad_blocks))]
mod tests {
    use super::*;

    const END: u64 = 1001;

    #[test]
    fn found_by_any_of_their_sectors() {
        let bad = BadBlocks::new();
        assert!(!bad.touches(0, u32::MAX));
        assert!(bad.add(17));
        assert!(bad.touches(16, 1));
        assert!(bad.touches(23, 1));
        assert!(bad.touches(0, 17));
        assert!(!bad.touches(0, 16));
        assert!(!bad.touches(24, 100));
    }

    #[test]
    fn forgotten_when_written_as_a_whole() {
        let bad = BadBlocks::new();
        assert!(bad.add(16) && bad.add(32) && bad.add(1000));
        bad.forget(17, 15, END);
        assert!(bad.touches(16, 8));
        bad.forget(16, 8, END);
        assert!(!bad.touches(16, 8));
        assert!(bad.touches(32, 8));
        // The end of the disk cuts it short.
        bad.forget(1000, 1, END);
        assert!(!bad.touches(1000, 1));
        bad.forget(0, 1000, END);
        assert!(!bad.touches(0, 1001));
    }

    #[test]
    fn a_disk_that_does_not_answer() {
        let bad = BadBlocks::new();
        bad.set_silent(true);
        assert!(bad.is_silent() && bad.touches(0, 1) && !bad.has(0, u32::MAX));
        assert!(bad.add(16));
        bad.set_silent(false);
        assert!(!bad.is_silent() && !bad.touches(0, 1) && bad.touches(16, 1));
        bad.set_silent(true);
        bad.forget(0, 1000, END);
        assert!(bad.touches(16, 1) && !bad.has(16, 1));
    }

    #[test]
    fn only_so_many() {
        let bad = BadBlocks::new();
        for number in 0..ROOM as u64 {
            assert!(bad.add(number * 100));
        }
        // Known already, and one too many.
        assert!(bad.add(100));
        assert!(!bad.add(17));
        assert!(!bad.touches(17, 1));
        bad.forget(96, 8, u64::MAX);
        assert!(bad.add(17));
        assert!(bad.touches(17, 1));
    }
}
