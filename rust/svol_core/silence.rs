// SPDX-License-Identifier: GPL-2.0

//! Whether a disk still answers.
//!
//! A caller regularly checks how many I/Os a disk has in flight, and how many it has answered so
//! far. A disk that has some and answers none for long enough is silent.

/// What is known about one disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence {
    /// When it last had nothing to do, or had answered something, in milliseconds.
    since: u64,
    /// When it was last checked.
    looked: u64,
    /// How many I/Os it had answered then.
    answers: u32,
    /// It has been silent for too long.
    is_silent: bool,
}

impl Silence {
    /// A disk that is first checked at `now`, in milliseconds.
    pub fn new(now: u64) -> Self {
        Self {
            since: now,
            looked: now,
            ..Self::default()
        }
    }

    /// Checks the disk at `now`: it has `in_flight` I/Os and has given `answers` answers so far, a
    /// number that may wrap. `after` is how long it may be silent, `every` is the interval between
    /// checks, both in milliseconds. Returns whether it is silent, if that has changed.
    ///
    /// An I/O that the disk got just after the last check makes no difference: the time between two
    /// checks does not count. Nor does time without checks: the machine itself may have stood
    /// still.
    pub fn look(
        &mut self,
        now: u64,
        in_flight: u32,
        answers: u32,
        after: u64,
        every: u64,
    ) -> Option<bool> {
        let late = now.saturating_sub(self.looked) > every.saturating_mul(2);
        self.looked = now;
        if in_flight == 0 || answers != self.answers {
            self.answers = answers;
            self.since = now;
            return self.is_silent.then(|| {
                self.is_silent = false;
                false
            });
        }
        if late {
            self.since = now;
        }
        let is_silent = now.saturating_sub(self.since) >= after;
        (is_silent && !self.is_silent).then(|| {
            self.is_silent = true;
            true
        })
    }

    /// Whether the disk, as checked last, has been silent for `after` milliseconds.
    pub fn is_silent_for(&self, after: u64) -> bool {
        self.is_silent && self.looked.saturating_sub(self.since) >= after
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_silence))]
mod tests {
    use super::*;

    /// Checks every 500 ms; the disk may be silent for up to a second.
    fn look(disk: &mut Silence, now: u64, in_flight: u32, answers: u32) -> Option<bool> {
        disk.look(now, in_flight, answers, 1000, 500)
    }

    #[test]
    fn a_disk_that_answers() {
        let mut disk = Silence::new(0);
        for now in 1..20u32 {
            assert_eq!(look(&mut disk, u64::from(now) * 500, 3, now), None);
        }
    }

    #[test]
    fn a_disk_that_has_nothing_to_do() {
        let mut disk = Silence::new(0);
        for now in 1..20u64 {
            assert_eq!(look(&mut disk, now * 500, 0, 7), None);
        }
        // It got something just now.
        assert_eq!(look(&mut disk, 10_000, 1, 7), None);
        assert_eq!(look(&mut disk, 10_500, 1, 7), Some(true));
    }

    #[test]
    fn silent_and_back() {
        let mut disk = Silence::new(0);
        assert_eq!(look(&mut disk, 500, 2, 5), None);
        assert_eq!(look(&mut disk, 1000, 2, 5), None);
        assert_eq!(look(&mut disk, 1500, 2, 5), Some(true));
        assert_eq!(look(&mut disk, 2000, 9, 5), None);
        // One answer of several.
        assert_eq!(look(&mut disk, 2500, 8, 6), Some(false));
        assert_eq!(look(&mut disk, 3000, 8, 6), None);
        assert_eq!(look(&mut disk, 3500, 8, 6), Some(true));
        assert_eq!(look(&mut disk, 4000, 0, 14), Some(false));
    }

    #[test]
    fn silent_for_long() {
        let mut disk = Silence::new(0);
        for now in 1..20u64 {
            look(&mut disk, now * 500, 1, 5);
            // Its first answer was seen at 500.
            assert_eq!(disk.is_silent_for(3000), now >= 7);
        }
        look(&mut disk, 10_000, 1, 6);
        assert!(!disk.is_silent_for(3000));
    }

    #[test]
    fn the_machine_stood_still() {
        let mut disk = Silence::new(0);
        assert_eq!(look(&mut disk, 500, 1, 0), None);
        assert_eq!(look(&mut disk, 60_000, 1, 0), None);
        assert_eq!(look(&mut disk, 60_500, 1, 0), None);
        assert_eq!(look(&mut disk, 61_000, 1, 0), Some(true));
    }
}
