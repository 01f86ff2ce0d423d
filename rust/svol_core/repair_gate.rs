// SPDX-License-Identifier: GPL-2.0

//! Keeps repairs of disks apart from changes to what the repairs rely on.
//!
//! One worker does repairs, one disk at a time. Whoever makes such a change keeps new repairs from
//! beginning meanwhile, and waits for a running one only if the change concerns its disk: any other
//! one may never end, if its disk hangs.

use crate::env::Word;

/// Which disk is being repaired, and how many changes hold repairs off.
pub struct RepairGate {
    /// The entry whose disk is being repaired, plus 1; 0 for none.
    now: Word,
    /// How many changes are in progress.
    pauses: Word,
}

impl Default for RepairGate {
    fn default() -> Self {
        Self::new()
    }
}

impl RepairGate {
    /// No repair, and no change.
    pub fn new() -> Self {
        Self {
            now: Word::new(0),
            pauses: Word::new(0),
        }
    }

    /// Begins a repair of the disk of an entry, if allowed; returns whether it is. One caller at a
    /// time. Does not sleep.
    pub fn begin(&self, entry: usize) -> bool {
        let number = u64::try_from(entry).unwrap_or(u64::MAX).saturating_add(1);
        // A full barrier: of `begin` and `pause`, at least one sees the other.
        self.now.swap(number);
        if self.pauses.get() == 0 {
            return true;
        }
        self.end();
        false
    }

    /// The repair has ended. Does not sleep.
    pub fn end(&self) {
        self.now.set(0);
    }

    /// Lets no repair begin until [`RepairGate::go_on`]; [`RepairGate::now`] says which one is
    /// still running. Does not sleep.
    pub fn pause(&self) {
        // A full barrier, as in `begin`.
        self.pauses.add(1);
    }

    /// The entry whose disk is being repaired, or may be.
    pub fn now(&self) -> Option<usize> {
        usize::try_from(self.now.get()).ok()?.checked_sub(1)
    }

    /// Undoes a [`RepairGate::pause`]. Does not sleep.
    pub fn go_on(&self) {
        self.pauses.add(u64::MAX);
    }
}

#[cfg(all(any(test, CONFIG_KUNIT), not(loom)))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_repair_gate))]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other() {
        let turns = RepairGate::new();
        assert!(turns.begin(3));
        assert_eq!(turns.now(), Some(3));
        turns.pause();
        turns.pause();
        assert_eq!(turns.now(), Some(3));
        turns.end();
        assert!(!turns.begin(0));
        assert_eq!(turns.now(), None);
        turns.go_on();
        assert!(!turns.begin(0));
        turns.go_on();
        assert!(turns.begin(0));
        assert_eq!(turns.now(), Some(0));
        turns.end();
        assert_eq!(turns.now(), None);
    }
}
