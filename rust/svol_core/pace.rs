// SPDX-License-Identifier: GPL-2.0

//! How fast a disk answers, so that reads can go to the disk that is expected to answer first.
//!
//! Some I/Os are timed, alone or many in parallel; what is kept is the time that the disk takes for
//! one of them. It follows shorter times quickly and longer ones slowly: an I/O that waited in a
//! queue somewhere, or that the machine itself delayed, says little.

use crate::env::AtomicU64;

/// How many answers have to be timed before a pace is reported.
const ENOUGH: u64 = 8;

/// A time counts as at most this many times the usual one.
const MOST: u64 = 4;

/// The divisor for a difference that is added for a longer time: a disk looks slower only after
/// many long times in a row, which a machine that stalls now and then does not produce.
const SHARE: u64 = 32;

/// The largest I/Os that are timed, in sectors: the time of larger ones says more about their size.
pub const TIMED_SECTORS: u32 = 64;

/// How fast a disk answers. Writers and readers need not wait for each other; of times noted
/// concurrently, some may get lost.
pub struct Pace {
    /// In the upper half, how many answers were timed, up to [`ENOUGH`]; in the lower half, the
    /// time that one takes.
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

    /// Notes that an I/O took this long, in any unit; when it began, the disk had `in_flight` I/Os,
    /// this one included.
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
            // One of the first may have been delayed to a thousand times what the others took.
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

    /// The time that the disk takes for an I/O, in the unit of [`Pace::note`]; 0 while that is
    /// unknown.
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
        // Several reads in a row, and again before the usual time is back: the disk does not look
        // so slow that others would be preferred.
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
        // An unmeasurably short time must not lead to a division by zero.
        for _ in 0..20 {
            pace.note(0, 0);
        }
        assert!((1..=2).contains(&pace.get()));
    }
}
