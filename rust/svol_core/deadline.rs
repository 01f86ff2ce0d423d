// SPDX-License-Identifier: GPL-2.0

//! By when a worker has to run, for a timer that several set at once: who wants it later never puts off
//! who wants it sooner.

use crate::env::Word;

/// When a worker is to run.
pub struct Deadline {
    /// The time; 0 if it need not.
    at: Word,
}

impl Default for Deadline {
    fn default() -> Self {
        Self::new()
    }
}

impl Deadline {
    /// It need not.
    pub fn new() -> Self {
        Self { at: Word::new(0) }
    }

    /// It has to run by `at`. Calls `arm` with the time that the timer is to be set to, if that is not asked
    /// for already; also more than once, if others do the same meanwhile. Does not sleep if `arm` does not.
    ///
    /// What it is to do is there before: a run that begins from now on finds it.
    pub fn by(&self, at: u64, arm: impl Fn(u64)) {
        let at = at.max(1);
        let mut old = self.at.get();
        loop {
            let next = if old == 0 { at } else { at.min(old) };
            // Also if it stays as it is: else a run that begins just now might not find what it is to do.
            match self.at.replace(old, next) {
                Ok(()) if next == old => return,
                Ok(()) => break,
                Err(now) => old = now,
            }
        }
        // Of two who set the timer, the last one must not be the one with the later time.
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

    /// A run begins, before it looks what there is to do; or nobody wants one any more. Does not sleep.
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
        // The timer is not stopped: it may come once too often.
        deadline.clear();
        by(1000, 1000);
        by(2000, 1000);
        deadline.clear();
        by(0, 1);
    }
}
