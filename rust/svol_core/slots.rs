// SPDX-License-Identifier: GPL-2.0

//! Which slots of an increments store are free.
//!
//! A bit per slot, in words that are changed atomically: taking and releasing slots needs no lock.

use super::vec::try_words;
use crate::env::{
    AllocError,
    AtomicU64,
    Vec,
    Word, //
};

/// Slots per word.
const WORD_SLOTS: u32 = u64::BITS;

/// The maximum number of words that [`Slots::take`] searches.
const QUICK_WORDS: usize = 64;

/// Why no slot was allocated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoSlot {
    /// There may be one, but finding it takes longer.
    NotAtOnce,
    /// There is none in the part of the store that is formatted.
    Unformatted,
    /// There is none.
    Full,
}

/// The slots of a store.
pub struct Slots {
    /// A bit per slot, 1 for one that is taken.
    words: Vec<Word>,
    /// Where the last free one was found.
    hint: AtomicU64,
    /// The number of slots that are taken.
    used: Word,
    /// The number of slots that may be allocated: those of the formatted segments.
    limit: Word,
    /// The number of slots.
    total: u32,
}

impl Slots {
    /// `total` free slots, none of which is allocated before [`Slots::set_limit`]. May sleep.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn new(total: u32) -> Result<Self, AllocError> {
        let count = usize::try_from(total.div_ceil(WORD_SLOTS)).map_err(|_| AllocError)?;
        Ok(Self {
            words: try_words(count)?,
            hint: AtomicU64::new(0),
            used: Word::new(0),
            limit: Word::new(0),
            total,
        })
    }

    /// The number of slots.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// The number of slots that are taken.
    pub fn used(&self) -> u32 {
        u32::try_from(self.used.get()).unwrap_or(u32::MAX)
    }

    /// The number of slots that are free and may be allocated.
    pub fn ready(&self) -> u32 {
        self.limit().saturating_sub(self.used())
    }

    /// The number of slots that may be allocated, taken ones included.
    pub fn limit(&self) -> u32 {
        u32::try_from(self.limit.get()).unwrap_or(0)
    }

    /// Lets slots below `limit` be allocated.
    pub fn set_limit(&self, limit: u32) {
        self.limit.set(u64::from(limit.min(self.total)));
    }

    /// Takes a free slot, if one is found quickly. Does not sleep.
    ///
    /// # Errors
    ///
    /// See [`NoSlot`].
    pub fn take(&self) -> Result<u32, NoSlot> {
        self.take_within(QUICK_WORDS)
    }

    /// Takes a free slot if there is one, however long that takes. Does not sleep.
    ///
    /// # Errors
    ///
    /// [`NoSlot::Unformatted`] or [`NoSlot::Full`].
    pub fn take_any(&self) -> Result<u32, NoSlot> {
        self.take_within(usize::MAX)
    }

    fn take_within(&self, words: usize) -> Result<u32, NoSlot> {
        let limit = self.limit();
        let none = if limit < self.total {
            NoSlot::Unformatted
        } else {
            NoSlot::Full
        };
        if self.used() >= limit {
            return Err(none);
        }
        let count = usize::try_from(limit.div_ceil(WORD_SLOTS))
            .unwrap_or(0)
            .min(self.words.len());
        let start = usize::try_from(self.hint.load()).unwrap_or(0);
        for step in 0..count.min(words) {
            let Some(index) = start.wrapping_add(step).checked_rem(count) else {
                break;
            };
            if let Some(slot) = self.take_in(index, limit) {
                self.hint.store(u64::try_from(index).unwrap_or(0));
                return Ok(slot);
            }
        }
        let all = words >= count;
        if !all {
            // The next search continues from here.
            let next = start.wrapping_add(words).checked_rem(count).unwrap_or(0);
            self.hint.store(u64::try_from(next).unwrap_or(0));
        }
        Err(if all { none } else { NoSlot::NotAtOnce })
    }

    /// Takes a free slot of one word, below `limit`.
    fn take_in(&self, index: usize, limit: u32) -> Option<u32> {
        let word = self.words.get(index)?;
        let mut old = word.get();
        loop {
            let bit = (!old).trailing_zeros();
            if bit == u64::BITS {
                return None;
            }
            let slot = u32::try_from(index)
                .ok()?
                .checked_mul(WORD_SLOTS)?
                .checked_add(bit)
                .filter(|slot| *slot < limit)?;
            match word.replace(old, old | (1 << bit)) {
                Ok(()) => {
                    self.used.add(1);
                    return Some(slot);
                }
                Err(now) => old = now,
            }
        }
    }

    /// Takes this particular slot, if it is free and may be allocated. Does not sleep.
    pub fn take_this(&self, slot: u32) -> bool {
        slot < self.limit() && self.mark_taken(slot)
    }

    /// Marks a slot as taken, formatted or not; returns whether it was free.
    pub fn mark_taken(&self, slot: u32) -> bool {
        let Some((word, bit)) = self.word(slot) else {
            return false;
        };
        let mut old = word.get();
        while old & bit == 0 {
            match word.replace(old, old | bit) {
                Ok(()) => {
                    self.used.add(1);
                    return true;
                }
                Err(now) => old = now,
            }
        }
        false
    }

    /// Frees a slot. Does not sleep.
    pub fn free(&self, slot: u32) {
        let Some((word, bit)) = self.word(slot) else {
            return;
        };
        let mut old = word.get();
        while old & bit != 0 {
            match word.replace(old, old & !bit) {
                Ok(()) => {
                    // Wraps around: subtracts one.
                    self.used.add(u64::MAX);
                    return;
                }
                Err(now) => old = now,
            }
        }
    }

    fn word(&self, slot: u32) -> Option<(&Word, u64)> {
        if slot >= self.total {
            return None;
        }
        let index = usize::try_from(slot / WORD_SLOTS).ok()?;
        Some((self.words.get(index)?, 1 << (slot % WORD_SLOTS)))
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_slots))]
mod tests {
    use super::*;

    #[test]
    fn every_slot_once() -> Result<(), AllocError> {
        let slots = Slots::new(200)?;
        assert_eq!(slots.take(), Err(NoSlot::Unformatted));
        slots.set_limit(150);
        let mut taken = [false; 200];
        for _ in 0..150 {
            let slot = slots.take().map_err(|_| AllocError)?;
            let slot = taken
                .get_mut(usize::try_from(slot).unwrap_or(0))
                .ok_or(AllocError)?;
            assert!(!*slot);
            *slot = true;
        }
        assert_eq!(slots.take(), Err(NoSlot::Unformatted));
        slots.set_limit(1000);
        assert_eq!(slots.ready(), 50);
        assert!(slots.take_this(199) && !slots.take_this(199) && !slots.take_this(200));
        slots.free(77);
        slots.free(77);
        assert_eq!(slots.used(), 150);
        for _ in 0..50 {
            assert!(slots.take_any().is_ok());
        }
        assert_eq!(slots.take(), Err(NoSlot::Full));
        Ok(())
    }
}
