// SPDX-License-Identifier: GPL-2.0

//! How fast a disk answers, so that reads go to the disk that will answer first.
//!
//! Some I/Os are timed, one after the other or many at once; what is kept is the time that the disk
//! takes for one of them. It follows shorter times fast and longer ones slowly: one that stood in a
//! queue somewhere, or that the machine itself held up, says little.

use crate::env::AtomicU64;

/// So many answers have to be timed before anything is said.
const ENOUGH: u64 = 8;

/// A time counts as this many times the usual one at most.
const MOST: u64 = 4;

/// So much of a difference is added when it is longer: a disk looks slower only after many long times
/// in a row, as a machine that stalls now and then does not have them.
const SHARE: u64 = 32;

/// What is timed, in sectors: the time of larger I/Os says more about their size.
pub const TIMED_SECTORS: u32 = 64;

/// How fast a disk answers. Who notes a time and who asks need not wait for each other; of times that
/// are noted at once, some may get lost.
pub struct Pace {
    /// How many answers were timed, up to [`ENOUGH`], in the upper half; in the lower one, what one
    /// takes.
    word: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

impl Pace {
    /// Nothing is known yet.
    pub const fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
        }
    }

    /// An I/O took so long, in any unit; when it began, the disk had so many of them, this one included.
    pub fn note(&self, took: u32, in_flight: u32) {
        let word = self.word.load();
        let (count, usual) = (word >> 32, word & u64::from(u32::MAX));
        let each = u64::from(took)
            .checked_div(u64::from(in_flight))
            .unwrap_or(0)
            .max(1);
        let now = if count == 0 {
            each
        } else if count < ENOUGH {
            // One of the first may have been held up for a thousand times what the others took.
            usual.min(each)
        } else if each < usual {
            (usual.saturating_add(each)) >> 1
        } else {
            let more = each.min(usual.saturating_mul(MOST)).saturating_sub(usual);
            usual.saturating_add(more.div_ceil(SHARE))
        };
        let now = now.min(u64::from(u32::MAX));
        let count = count.saturating_add(1).min(ENOUGH);
        self.word.store((count << 32) | now);
    }

    /// What the disk takes for an I/O, in the unit of [`Pace::note`]; 0 while that is not known.
    #[inline]
    pub fn get(&self) -> u32 {
        let [a, b, c, d, count, ..] = self.word.load().to_le_bytes();
        match u64::from(count) < ENOUGH {
            true => 0,
            false => u32::from_le_bytes([a, b, c, d]),
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_pace))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_too_early() {
        let pace = Pace::new();
        for _ in 1..ENOUGH {
            pace.note(100, 1);
            assert_eq!(pace.get(), 0);
        }
        pace.note(100, 1);
        assert_eq!(pace.get(), 100);
    }

    #[test]
    fn a_queue_is_shared() {
        let pace = Pace::new();
        for _ in 0..ENOUGH {
            pace.note(3200, 32);
        }
        assert_eq!(pace.get(), 100);
    }

    #[test]
    fn single_times_say_little() {
        let pace = Pace::new();
        // The very first one, too.
        pace.note(1_000_000, 1);
        for _ in 0..20 {
            pace.note(100, 1);
        }
        assert!(pace.get() <= 110);
        pace.note(u32::MAX, 1);
        assert!(pace.get() < 200);
    }

    #[test]
    fn a_stall_at_the_start_says_nothing() {
        let pace = Pace::new();
        for _ in 1..ENOUGH {
            pace.note(1_000_000, 1);
        }
        pace.note(100, 1);
        assert_eq!(pace.get(), 100);
    }

    #[test]
    fn a_stall_says_little() {
        let pace = Pace::new();
        for _ in 0..ENOUGH {
            pace.note(100, 1);
        }
        // Several reads in a row, and again before the usual time has come back: it does not look so
        // slow that others would be preferred.
        for _ in 0..10 {
            for _ in 0..6 {
                pace.note(10_000, 1);
            }
            pace.note(100, 1);
            assert!(pace.get() < 400);
        }
    }

    #[test]
    fn it_follows_a_change() {
        let pace = Pace::new();
        for _ in 0..ENOUGH {
            pace.note(100, 1);
        }
        for _ in 0..100 {
            pace.note(1000, 1);
        }
        assert!((900..=1000).contains(&pace.get()));
        for _ in 0..10 {
            pace.note(100, 1);
        }
        assert!((100..=110).contains(&pace.get()));
        // What takes no time that can be seen is no reason to divide by it.
        for _ in 0..20 {
            pace.note(0, 0);
        }
        assert!((1..=2).contains(&pace.get()));
    }
}
