// SPDX-License-Identifier: GPL-2.0

//! Writes to two devices that have to be done once more, since one of the devices refused them as
//! they were.
//!
//! Until such a write has ended again, the devices may differ where it goes.

use crate::env::Word;

/// The number of counters.
const COUNTERS: usize = 16;

/// The part of a volume that one counter stands for: 1 MiB, as a shift of sectors. Each counter
/// stands for every 16th of them.
const PART_SHIFT: u32 = 11;

/// Counts such writes, by where they go.
pub struct Redos([Word; COUNTERS]);

impl Redos {
    /// There are none.
    pub fn new() -> Self {
        Self([(); COUNTERS].map(|()| Word::new(0)))
    }

    /// There is one more, of these sectors.
    pub fn begin(&self, sector: u64, sectors: u32) {
        for counter in self.of(sector, sectors) {
            counter.add(1);
        }
    }

    /// One of these sectors has ended.
    pub fn end(&self, sector: u64, sectors: u32) {
        for counter in self.of(sector, sectors) {
            counter.add(u64::MAX);
        }
    }

    /// Whether there may be any in these sectors.
    pub fn is_any(&self, sector: u64, sectors: u32) -> bool {
        self.of(sector, sectors).any(|counter| counter.get() != 0)
    }

    fn of(&self, sector: u64, sectors: u32) -> impl Iterator<Item = &Word> {
        let last = sector.saturating_add(u64::from(sectors).saturating_sub(1));
        let (first, last) = (sector >> PART_SHIFT, last >> PART_SHIFT);
        let counters = u64::try_from(COUNTERS).unwrap_or(1);
        let count = last.saturating_sub(first).saturating_add(1).min(counters);
        (0..count).filter_map(move |n| {
            let counter = first.saturating_add(n).checked_rem(counters)?;
            self.0.get(usize::try_from(counter).ok()?)
        })
    }
}

impl Default for Redos {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_redos))]
mod tests {
    use super::*;

    #[test]
    fn they_count_where_they_go() {
        let redos = Redos::new();
        assert!(!redos.is_any(0, u32::MAX));
        redos.begin(2047, 2);
        assert!(redos.is_any(0, 1));
        assert!(redos.is_any(4095, 1));
        assert!(!redos.is_any(4096, 2048));
        redos.begin(100, 1);
        redos.end(2047, 2);
        assert!(redos.is_any(0, 8));
        assert!(!redos.is_any(2048, 8));
        redos.end(100, 1);
        assert!(!redos.is_any(0, u32::MAX));
    }

    #[test]
    fn a_large_one_counts_everywhere_once() {
        let redos = Redos::new();
        redos.begin(5000, u32::MAX);
        redos.end(5000, u32::MAX);
        redos.begin(u64::MAX, 1);
        assert!(redos.is_any(u64::MAX - 3, 4));
        redos.end(u64::MAX, 1);
        assert!(!redos.is_any(0, u32::MAX));
    }
}
