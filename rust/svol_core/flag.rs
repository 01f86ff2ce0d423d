// SPDX-License-Identifier: GPL-2.0

//! A flag that many CPUs share.

use crate::env::Word;

/// A flag that many CPUs may read and write at once, with the orderings of a [`Word`]: after seeing
/// what it is, a CPU sees everything that happened before it was made that. No operation sleeps.
pub struct Flag(Word);

impl Flag {
    /// With a first value.
    pub fn new(is_set: bool) -> Self {
        Self(Word::new(u64::from(is_set)))
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.get() != 0
    }

    /// Sets or clears it.
    pub fn set(&self, is_set: bool) {
        self.0.set(u64::from(is_set));
    }

    /// Sets it. Returns whether it was clear before: of several callers, one finds that. A full
    /// barrier.
    pub fn raise(&self) -> bool {
        self.0.swap(1) == 0
    }

    /// Clears it. Returns whether it was set before: of several callers, one finds that. A full
    /// barrier.
    pub fn take(&self) -> bool {
        self.0.swap(0) != 0
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_flag))]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_it_was_made() {
        assert!(!Flag::new(false).is_set());
        let flag = Flag::new(true);
        assert!(flag.is_set());
        flag.set(false);
        assert!(!flag.is_set());
        flag.set(true);
        assert!(flag.is_set());
    }

    #[test]
    fn it_is_raised_and_taken_once() {
        let flag = Flag::new(false);
        assert!(!flag.take());
        assert!(flag.raise() && flag.is_set());
        assert!(!flag.raise() && flag.is_set());
        assert!(flag.take() && !flag.is_set());
        assert!(!flag.take() && !flag.is_set());
    }
}
