// SPDX-License-Identifier: GPL-2.0

//! What the map knows about one block, in one word.

/// More slots than a store may have.
pub const MAX_SLOTS: u32 = (1 << SLOT_BITS) - 1;

const SLOT_BITS: u32 = 30;
const ZERO_SHIFT: u32 = 16;
const SLOT_SHIFT: u32 = 32;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const FROZEN: u64 = 1 << 62;
const DIRTY: u64 = 1 << 63;

/// An entry of the map: a slot, or none, and which sub-blocks are in the slot or read as zeroes.
///
/// The word, from its lowest bit: 16 bits for sub-blocks that the slot has, 16 for those that read
/// as zeroes, 30 for the number of the slot plus 1, and two flags.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry(u64);

impl Entry {
    /// The entry of a block that has no slot.
    pub const EMPTY: Self = Self(0);

    /// The entry of a block with a slot in which nothing is valid yet; `slot` is below
    /// [`MAX_SLOTS`].
    pub fn with_slot(slot: u32) -> Self {
        Self((u64::from(slot).saturating_add(1) & SLOT_MASK) << SLOT_SHIFT)
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    /// The block's slot.
    pub fn slot(self) -> Option<u32> {
        let number = (self.0 >> SLOT_SHIFT) & SLOT_MASK;
        u32::try_from(number).ok()?.checked_sub(1)
    }

    /// The sub-blocks that are in the slot, a bit each.
    pub fn data(self) -> u16 {
        low_half(self.0)
    }

    /// The sub-blocks that read as zeroes, a bit each.
    pub fn zero(self) -> u16 {
        low_half(self.0 >> ZERO_SHIFT)
    }

    /// Whether writes have to wait.
    pub fn is_frozen(self) -> bool {
        self.0 & FROZEN != 0
    }

    /// Whether it has changed since the last commit.
    pub fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }

    /// With the sub-blocks of a mask in the slot.
    pub fn with_data(self, mask: u16) -> Self {
        let zero = u64::from(mask) << ZERO_SHIFT;
        Self((self.0 | u64::from(mask)) & !zero)
    }

    /// With the sub-blocks of a mask reading as zeroes.
    pub fn with_zero(self, mask: u16) -> Self {
        let zero = u64::from(mask) << ZERO_SHIFT;
        Self((self.0 & !u64::from(mask)) | zero)
    }

    /// With the sub-blocks of a mask reading as the base again.
    pub fn with_base(self, mask: u16) -> Self {
        let mask = u64::from(mask);
        Self(self.0 & !(mask | (mask << ZERO_SHIFT)))
    }

    /// Without what its slot may have lost, where the sub-blocks of `data` are safe: others read as
    /// the zeroes of `zero`, or as the base again.
    pub fn without_lost(self, data: u16, zero: u16) -> Self {
        let lost = self.data() & !data;
        self.with_base(lost & !zero).with_zero(lost & zero)
    }

    /// With or without the mark that holds writes back.
    pub fn with_frozen(self, frozen: bool) -> Self {
        Self(if frozen {
            self.0 | FROZEN
        } else {
            self.0 & !FROZEN
        })
    }

    /// With or without the mark of a change.
    pub fn with_dirty(self, dirty: bool) -> Self {
        Self(if dirty {
            self.0 | DIRTY
        } else {
            self.0 & !DIRTY
        })
    }

    /// With another slot, in which nothing is valid, or none; and the same marks.
    pub fn moved_to(self, slot: Option<u32>) -> Self {
        let marks = self.0 & (FROZEN | DIRTY);
        Self(slot.map_or(0, |slot| Self::with_slot(slot).0) | marks)
    }
}

fn low_half(word: u64) -> u16 {
    let [a, b, ..] = word.to_le_bytes();
    u16::from_le_bytes([a, b])
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_map_entry))]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_meet() {
        let entry = Entry::with_slot(MAX_SLOTS - 1)
            .with_data(0xffff)
            .with_zero(0x00f0);
        assert_eq!(entry.slot(), Some(MAX_SLOTS - 1));
        assert_eq!(entry.data(), 0xff0f);
        assert_eq!(entry.zero(), 0x00f0);
        assert!(!entry.is_dirty() && !entry.is_frozen());
        let entry = entry.with_dirty(true).with_frozen(true).with_base(0x0ff0);
        assert_eq!((entry.data(), entry.zero()), (0xf00f, 0));
        assert_eq!(entry.slot(), Some(MAX_SLOTS - 1));
        assert!(entry.is_dirty() && entry.is_frozen());
        let entry = entry.moved_to(None);
        assert_eq!(entry.slot(), None);
        assert!(entry.is_dirty() && entry.is_frozen());
        assert_eq!((entry.data(), entry.zero()), (0, 0));
        assert_eq!(Entry::EMPTY.slot(), None);
        assert_eq!(Entry::with_slot(0).slot(), Some(0));
    }

    #[test]
    fn what_is_lost_reads_as_before() {
        let now = Entry::with_slot(7).with_data(0b0111).with_zero(0b1000);
        let now = now.with_dirty(true);
        let then = now.without_lost(0b1001, 0b0010);
        assert_eq!((then.data(), then.zero()), (0b0001, 0b1010));
        assert_eq!((then.slot(), then.is_dirty()), (Some(7), true));
        let then = now.without_lost(0, 0);
        assert_eq!((then.data(), then.zero()), (0, 0b1000));
        assert_eq!(now.without_lost(0xffff, 0), now);
    }
}
