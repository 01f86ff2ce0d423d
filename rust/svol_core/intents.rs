// SPDX-License-Identifier: GPL-2.0

//! The write-intent map of one volume in memory: where its disk and its increments may differ after
//! a crash.
//!
//! A region's mark is on disk before its first write, and is cleared only when all its writes have
//! ended and are durable on both devices; and on a third one, if the volume moves to that. A write that finds its regions marked proceeds at once;
//! whoever sets or clears marks does the I/O.

use super::vec::try_words;
use crate::env::{
    AllocError,
    Vec,
    Word, //
};

/// Regions per word.
const WORD_REGIONS: u64 = 64;

/// The maximum number of regions that are marked together, a power of two.
const AHEAD: u32 = 32;

/// The marks of one volume.
pub struct Intents {
    /// A bit per region: its mark is on disk.
    marked: Vec<Word>,
    /// A bit per region: written since the last [`Intents::take_idle`].
    touched: Vec<Word>,
    /// A bit per region: the mark stays until a comparison, and until then disk and increments are
    /// not assumed to be the same.
    pinned: Vec<Word>,
    /// A bit per region: a crash left disk and increments different, and that was not resolved.
    open: Vec<Word>,
    /// The size of a region in sectors, as a shift.
    shift: u32,
    regions: u32,
}

impl Intents {
    /// No marks; `regions` of `1 << shift` sectors. May sleep.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn new(regions: u32, shift: u32) -> Result<Self, AllocError> {
        let count = u64::from(regions).div_ceil(WORD_REGIONS);
        let count = usize::try_from(count).map_err(|_| AllocError)?;
        let words = || try_words(count);
        Ok(Self {
            marked: words()?,
            touched: words()?,
            pinned: words()?,
            open: words()?,
            shift,
            regions,
        })
    }

    /// The number of regions.
    pub fn regions(&self) -> u32 {
        self.regions
    }

    /// The sectors of a region: its first one, and the one after its last one, which may be beyond
    /// the end of the volume.
    pub fn extent(&self, region: u32) -> (u64, u64) {
        let first = u64::from(region) << self.shift;
        (first, first.saturating_add(1 << self.shift))
    }

    /// The regions that an I/O touches, the last one included.
    pub fn span(&self, sector: u64, sectors: u32) -> (u32, u32) {
        let last = sector.saturating_add(u64::from(sectors)).saturating_sub(1);
        let region = |sector: u64| u32::try_from(sector >> self.shift).unwrap_or(u32::MAX);
        (region(sector), region(last.max(sector)))
    }

    /// Whether a write may proceed: the marks of all its regions are on disk. If so, notes that
    /// these are written. Does not sleep.
    pub fn touch(&self, sector: u64, sectors: u32) -> bool {
        let (first, last) = self.span(sector, sectors);
        let all = (first..=last).all(|region| self.is_marked(region));
        if all {
            for region in first..=last {
                set(&self.touched, region);
            }
        }
        all
    }

    /// Whether a region was written since the last [`Intents::take_idle`].
    pub fn is_touched(&self, region: u32) -> bool {
        place(region)
            .and_then(|(word, bit)| Some(self.touched.get(word)?.get() & bit != 0))
            .unwrap_or(false)
    }

    /// Whether the mark of a region is on disk.
    pub fn is_marked(&self, region: u32) -> bool {
        place(region)
            .and_then(|(word, bit)| Some(self.marked.get(word)?.get() & bit != 0))
            .unwrap_or(false)
    }

    /// The regions whose marks are on disk, in ascending order. Each is looked at when its turn
    /// comes.
    pub fn marked(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.regions).filter(|region| self.is_marked(*region))
    }

    /// The mark of a region is on disk from now on.
    pub fn mark(&self, region: u32) {
        set(&self.touched, region);
        set(&self.marked, region);
    }

    /// The regions to mark for a write that needs marks, the last one included: those that it
    /// touches, and neighbours that may be written next.
    ///
    /// It marks about as many at once as are marked already: marking makes the write wait for two
    /// writes to the device, while each region marked in vain has to be compared after a crash.
    pub fn to_mark(&self, sector: u64, sectors: u32) -> (u32, u32) {
        let (first, last) = self.span(sector, sectors);
        let mut size = 1;
        let marked = self.count_marked();
        while size < AHEAD && size < marked {
            size = size.saturating_mul(2);
        }
        let within = size.saturating_sub(1);
        let behind = self.regions.saturating_sub(1).max(last);
        (first & !within, (last | within).min(behind))
    }

    fn count_marked(&self) -> u32 {
        self.marked.iter().fold(0, |count, word| {
            count.saturating_add(word.get().count_ones())
        })
    }

    /// The mark of a region is on disk from now on, though nobody writes there yet: if that stays
    /// so, it is cleared with the next idle ones.
    pub fn mark_ahead(&self, region: u32) {
        set(&self.marked, region);
    }

    /// The marks of these regions stay until the next start: a write failed on one device.
    pub fn pin(&self, sector: u64, sectors: u32) {
        let (first, last) = self.span(sector, sectors);
        for region in first..=last.min(self.regions) {
            set(&self.pinned, region);
        }
    }

    /// The marks that are there now stay until [`Intents::unpin`]. Returns whether there are any.
    pub fn pin_marked(&self) -> bool {
        let mut any = false;
        for region in self.marked() {
            set(&self.pinned, region);
            any = true;
        }
        any
    }

    /// The mark of a region stays until [`Intents::unpin`].
    pub fn pin_region(&self, region: u32) {
        set(&self.pinned, region);
    }

    /// Marks need not stay any more, and nothing is open: there is no disk that could differ from
    /// the store.
    pub fn unpin_all(&self) {
        for word in Iterator::chain(self.pinned.iter(), self.open.iter()) {
            word.set(0);
        }
    }

    /// The comparison after a crash could not read these regions; their marks stay until the next
    /// start.
    pub fn leave_open(&self, sector: u64, sectors: u32) {
        self.pin(sector, sectors);
        let (first, last) = self.span(sector, sectors);
        for region in first..=last.min(self.regions) {
            set(&self.open, region);
        }
    }

    /// Whether, since a crash, the disk may hold something other than the increments say.
    pub fn is_open(&self, sector: u64, sectors: u32) -> bool {
        let (first, last) = self.span(sector, sectors);
        let is_set = |region: u32| {
            place(region).is_some_and(|(word, bit)| {
                let word = self.open.get(word);
                word.is_some_and(|word| word.get() & bit != 0)
            })
        };
        (first..=last.min(self.regions)).any(is_set)
    }

    /// Whether [`Intents::pin`] was called for a region.
    pub fn is_pinned(&self, region: u32) -> bool {
        place(region)
            .and_then(|(word, bit)| Some(self.pinned.get(word)?.get() & bit != 0))
            .unwrap_or(false)
    }

    /// The regions that are pinned, in ascending order. Each is looked at when its turn comes.
    pub fn pinned(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.regions).filter(|region| self.is_pinned(*region))
    }

    /// Whether [`Intents::pin`] was called for a region of this range.
    pub fn is_pinned_in(&self, sector: u64, sectors: u32) -> bool {
        let (first, last) = self.span(sector, sectors);
        (first..=last.min(self.regions)).any(|region| self.is_pinned(region))
    }

    /// Marks a region again that [`Intents::take_idle`] returned, if it was pinned since then; to
    /// be called when no write that found its mark is in flight any more. Returns whether it was
    /// pinned.
    pub fn mark_if_pinned(&self, region: u32) -> bool {
        let is_pinned = self.is_pinned(region);
        if is_pinned {
            set(&self.marked, region);
        }
        is_pinned
    }

    /// The comparison that a pin waits for was made, or is about to be made.
    pub fn unpin(&self, region: u32) {
        let Some((word, bit)) = place(region) else {
            return;
        };
        if let Some(word) = self.pinned.get(word) {
            let mut old = word.get();
            while let Err(now) = word.replace(old, old & !bit) {
                old = now;
            }
        }
    }

    /// Clears the marks of regions that were not written since the last call, and passes these to
    /// `each`. Writes that come now find no mark; those that found one may still be in flight.
    ///
    /// Returns whether marks are left.
    pub fn take_idle(&self, mut each: impl FnMut(u32)) -> bool {
        let mut left = false;
        let words = self.touched.iter().zip(self.pinned.iter());
        for (index, (marked, (touched, pinned))) in self.marked.iter().zip(words).enumerate() {
            if marked.get() == 0 {
                continue;
            }
            let busy = touched.swap(0) | pinned.get();
            let mut old = marked.get();
            while let Err(now) = marked.replace(old, old & busy) {
                old = now;
            }
            left |= old & busy != 0;
            let mut idle = old & !busy;
            while idle != 0 {
                let bit = u64::from(idle.trailing_zeros());
                idle &= idle.wrapping_sub(1);
                let region = u64::try_from(index)
                    .unwrap_or(u64::MAX)
                    .saturating_mul(WORD_REGIONS)
                    .saturating_add(bit);
                if let Ok(region) = u32::try_from(region) {
                    each(region);
                }
            }
        }
        left
    }
}

fn place(region: u32) -> Option<(usize, u64)> {
    let region = u64::from(region);
    let word = usize::try_from(region / WORD_REGIONS).ok()?;
    Some((word, 1 << (region % WORD_REGIONS)))
}

fn set(words: &[Word], region: u32) {
    let Some((word, bit)) = place(region) else {
        return;
    };
    let Some(word) = words.get(word) else {
        return;
    };
    let mut old = word.get();
    // Usually it is set, and a write would take the cache line away from other CPUs.
    while old & bit == 0 {
        match word.replace(old, old | bit) {
            Ok(()) => return,
            Err(now) => old = now,
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_intents))]
mod tests {
    use super::*;

    #[test]
    fn open_regions() -> Result<(), AllocError> {
        let intents = Intents::new(100, 11)?;
        intents.mark(3);
        assert!(!intents.is_open(0, 100 << 11));
        intents.leave_open((3 << 11) + 8, 8);
        assert!(intents.is_open(3 << 11, 1) && intents.is_open(0, 100 << 11));
        assert!(!intents.is_open(0, 3 << 11) && !intents.is_open(4 << 11, 8));
        for _ in 0..3 {
            assert!(intents.take_idle(|_| ()));
        }
        assert!(intents.is_marked(3));
        // That disk is gone.
        intents.unpin_all();
        assert!(!intents.is_open(0, 100 << 11) && !intents.is_pinned(3));
        Ok(())
    }

    #[test]
    fn regions_are_listed() -> Result<(), AllocError> {
        let intents = Intents::new(100, 11)?;
        assert!(intents.marked().next().is_none() && intents.pinned().next().is_none());
        for region in [99, 0, 64] {
            intents.mark(region);
        }
        intents.mark_ahead(63);
        intents.pin_region(64);
        intents.pin_region(7);
        assert!(intents.marked().eq([0, 63, 64, 99]));
        assert!(intents.pinned().eq([7, 64]));
        // One that was passed by does not count, one that is still to come does.
        let mut marked = intents.marked();
        assert_eq!(marked.next(), Some(0));
        intents.unpin_all();
        intents.mark(70);
        assert!(marked.eq([63, 64, 70, 99]) && intents.pinned().next().is_none());
        Ok(())
    }

    #[test]
    fn regions_have_extents() -> Result<(), AllocError> {
        let intents = Intents::new(100, 11)?;
        assert_eq!(intents.extent(0), (0, 2048));
        assert_eq!(intents.extent(99), (99 << 11, 100 << 11));
        for region in [0, 1, 99] {
            let (first, end) = intents.extent(region);
            assert_eq!(intents.span(first, 2048), (region, region));
            assert_eq!(intents.span(end, 1).0, region + 1);
        }
        Ok(())
    }

    #[test]
    fn pins_come_and_go() -> Result<(), AllocError> {
        let intents = Intents::new(100, 11)?;
        intents.mark(70);
        intents.pin(70 << 11, 1);
        assert!(intents.is_pinned(70) && !intents.is_pinned(69));
        assert!(intents.take_idle(|_| ()) && intents.take_idle(|_| ()));
        intents.unpin(70);
        assert!(!intents.is_pinned(70) && intents.is_marked(70));
        assert!(!intents.take_idle(|_| ()));
        Ok(())
    }

    /// However long the comparison after a crash takes, regions that it has not reached keep their
    /// marks.
    #[test]
    fn marks_of_a_crash_stay_until_compared() -> Result<(), AllocError> {
        let intents = Intents::new(200, 11)?;
        for region in [3, 70, 71, 199] {
            intents.mark(region);
        }
        intents.pin_marked();
        intents.mark(5);
        let look = || {
            let (mut count, mut last) = (0, 0);
            let left = intents.take_idle(|region| (count, last) = (count + 1, region));
            (left, count, last)
        };
        assert_eq!(look(), (true, 0, 0));
        // A new mark is cleared as usual.
        assert_eq!(look(), (true, 1, 5));
        assert!([3, 70, 71, 199]
            .iter()
            .all(|region| intents.is_pinned(*region)));
        intents.unpin(70);
        assert_eq!(look(), (true, 1, 70));
        intents.leave_open(71 << 11, 8);
        for region in [3, 199] {
            intents.unpin(region);
        }
        assert_eq!(look(), (true, 2, 199));
        assert!(!intents.is_open(70 << 11, 1) && intents.is_open(71 << 11, 1));
        assert_eq!(look(), (true, 0, 0));
        Ok(())
    }

    #[test]
    fn a_pin_that_comes_late_keeps_the_mark() -> Result<(), AllocError> {
        let intents = Intents::new(100, 11)?;
        intents.mark_ahead(5);
        intents.mark_ahead(70);
        let mut idle = 0;
        assert!(!intents.take_idle(|_| idle += 1));
        assert_eq!(idle, 2);
        // A write that found the mark fails.
        intents.pin(70 << 11, 8);
        assert!(!intents.mark_if_pinned(5) && intents.mark_if_pinned(70));
        assert!(!intents.is_marked(5) && intents.is_marked(70));
        assert!(intents.take_idle(|_| ()) && intents.is_marked(70));
        Ok(())
    }

    #[test]
    fn marks_go_when_idle() -> Result<(), AllocError> {
        let intents = Intents::new(100, 11)?;
        assert!(!intents.touch(0, 8));
        intents.mark(0);
        intents.mark(70);
        assert!(intents.touch(2040, 8));
        assert!(!intents.touch(2040, 9));
        let mut idle = (0, 0);
        let count = |region: u32| idle = (idle.0 + 1, region);
        assert!(intents.take_idle(count));
        assert_eq!(idle, (0, 0));
        assert!(intents.touch(70 << 11, 1));
        let count = |region: u32| idle = (idle.0 + 1, region);
        assert!(intents.take_idle(count));
        assert_eq!(idle, (1, 0));
        assert!(!intents.touch(0, 1) && intents.is_marked(70));
        let count = |region: u32| idle = (idle.0 + 1, region);
        // Touched before the previous call.
        assert!(!intents.take_idle(count));
        assert_eq!(idle, (2, 70));
        Ok(())
    }

    #[test]
    fn marks_grow_with_marks() -> Result<(), AllocError> {
        let intents = Intents::new(1000, 11)?;
        let mark = |region: u64, expected: (u32, u32)| {
            let (first, last) = intents.to_mark(region << 11, 8);
            assert_eq!((first, last), expected);
            for region in first..=last {
                intents.mark_ahead(region);
            }
        };
        mark(5, (5, 5));
        mark(7, (7, 7));
        mark(20, (20, 21));
        mark(30, (28, 31));
        mark(77, (72, 79));
        mark(96, (96, 111));
        mark(970, (960, 991));
        mark(998, (992, 999));
        // A write that spans two.
        assert_eq!(intents.to_mark((200 << 11) - 4, 8), (192, 223));
        // Nothing was written there.
        assert!(!intents.take_idle(|_| ()));
        mark(5, (5, 5));
        Ok(())
    }
}
