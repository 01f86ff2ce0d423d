// SPDX-License-Identifier: GPL-2.0

//! A set of entries of a group. It may change while others read it; nobody waits.

use crate::{
    env::Word,
    svol_core::{
        table_line::MAX_VOLUMES,
        update::update, //
    }, //
};

/// Entries per word.
const WORD_ENTRIES: usize = 64;

/// A set of entries.
pub struct EntrySet([Word; MAX_VOLUMES.div_ceil(WORD_ENTRIES)]);

impl Default for EntrySet {
    fn default() -> Self {
        Self::new()
    }
}

impl EntrySet {
    /// An empty set.
    pub fn new() -> Self {
        Self(core::array::from_fn(|_| Word::new(0)))
    }

    /// Adds an entry to the set.
    pub fn insert(&self, entry: usize) {
        self.change(entry, |old, bit| old | bit);
    }

    /// Removes an entry from the set.
    pub fn remove(&self, entry: usize) {
        self.change(entry, |old, bit| old & !bit);
    }

    /// Whether an entry is in the set.
    pub fn has(&self, entry: usize) -> bool {
        self.place(entry)
            .is_some_and(|(word, bit)| word.get() & bit != 0)
    }

    /// All entries in the set.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let words = self.0.iter().enumerate();
        words
            .filter(|(_, word)| word.get() != 0)
            .flat_map(|(index, _)| {
                let first = index.saturating_mul(WORD_ENTRIES);
                first..first.saturating_add(WORD_ENTRIES)
            })
            .filter(|entry| self.has(*entry))
    }

    fn change(&self, entry: usize, to: impl Fn(u64, u64) -> u64) {
        if let Some((word, bit)) = self.place(entry) {
            update(word, |old| to(old, bit));
        }
    }

    fn place(&self, entry: usize) -> Option<(&Word, u64)> {
        let word = self.0.get(entry.checked_div(WORD_ENTRIES)?)?;
        let bit = u32::try_from(entry.checked_rem(WORD_ENTRIES)?).ok()?;
        Some((word, 1u64.checked_shl(bit)?))
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_entry_set))]
mod tests {
    use super::*;

    #[test]
    fn come_and_go() {
        let set = EntrySet::new();
        for entry in [0, 63, 64, 255, 256, usize::MAX] {
            assert!(!set.has(entry));
            set.insert(entry);
            assert_eq!(set.has(entry), entry < MAX_VOLUMES);
        }
        assert!(set.iter().eq([0, 63, 64, 255]));
        set.insert(64);
        set.remove(63);
        set.remove(1);
        assert!(set.iter().eq([0, 64, 255]));
    }
}
