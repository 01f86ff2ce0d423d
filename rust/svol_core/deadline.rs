// SPDX-License-Identifier: GPL-2.0

//! The time by which a worker has to run, for a timer that several threads set concurrently: a
//! later request never delays an earlier one.

use crate::env::Word;

/// When a worker has to run.
pub struct Deadline {
    /// The time; 0 if it need not run.
    at: Word,
}

impl Default for Deadline {
    fn default() -> Self {
        Self::new()
    }
}

impl Deadline {
    /// The worker need not run.
    pub fn new() -> Self {
        Self { at: Word::new(0) }
    }

    /// The worker has to run by `at`. Calls `arm` with the time to set the timer to, unless that
    /// was requested already; maybe more than once, if others do the same concurrently. Does not
    /// sleep if `arm` does not.
    ///
    /// The work must have been queued before: a run that begins from now on finds it.
    pub fn by(&self, at: u64, arm: impl Fn(u64)) {
        let at = at.max(1);
        let mut old = self.at.get();
        loop {
            let next = if old == 0 { at } else { at.min(old) };
            // Even if the time stays the same: otherwise a run that begins right now might not find
            // the work.
            match self.at.replace(old, next) {
                Ok(()) if next == old => return,
                Ok(()) => break,
                Err(now) => old = now,
            }
        }
        // If two threads set the timer, the later time must not win.
        let mut armed = at;
        loop {
            arm(armed);
            match self.at.get() {
                0 => return,
                now if now == armed => return,
                now => armed = now,
            }
        }
    }

    /// To be called when a run begins, before it checks for work; or when no run is wanted any
    /// more. Does not sleep.
    pub fn clear(&self) {
        self.at.swap(0);
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_deadline))]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_counts() {
        let (deadline, timer) = (Deadline::new(), Word::new(0));
        let by = |at, expected| {
            deadline.by(at, |at| timer.set(at));
            assert_eq!(timer.get(), expected);
        };
        by(5000, 5000);
        by(1000, 1000);
        by(5000, 1000);
        by(50, 50);
        by(1000, 50);
        // The timer is not stopped: it may fire once too often.
        deadline.clear();
        by(1000, 1000);
        by(2000, 1000);
        deadline.clear();
        by(0, 1);
    }
}
