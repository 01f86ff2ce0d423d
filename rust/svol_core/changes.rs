// SPDX-License-Identifier: GPL-2.0

//! What a flush has to know of an increments volume: whether something was changed that is not on disk
//! yet.
//!
//! A write that is done is noted in the block map, and then here. Of several writes of the same sub-block
//! one changes the map, and the others find that done: they may be answered before the one has noted it
//! here. So whoever notes something is counted meanwhile, and a flush looks for these first.

use super::grace::Grace;
use crate::env::Word;

/// Entries of the map wait for a commit.
const DIRTY: u64 = 1;
/// A commit is under way.
const COMMITTING: u64 = 2;
/// A commit failed that nobody waited for: the next one who asks is told.
const UNTOLD: u64 = 4;

/// Changes that a commit has to write.
pub struct Changes {
    /// [`DIRTY`], [`COMMITTING`] and [`UNTOLD`].
    flags: Word,
    /// Who is noting a change.
    noting: Grace,
}

impl Changes {
    /// None, and nobody is noting any. `noting` is to be new.
    pub fn new(noting: Grace) -> Self {
        Self {
            flags: Word::new(0),
            noting,
        }
    }

    /// Makes a change, which says whether it was one, and notes it; on `cpu`. Returns whether a commit has to
    /// be asked for: the first one has to.
    pub fn note(&self, cpu: u32, change: impl FnOnce() -> bool) -> bool {
        let ticket = self.noting.enter(cpu);
        let is_first = change() && self.mark();
        self.noting.leave(ticket);
        is_first
    }

    /// Notes a change that was made, by somebody who is not to be waited for. Returns whether a commit has
    /// to be asked for.
    pub fn mark(&self) -> bool {
        let mut old = self.flags.get();
        while old & DIRTY == 0 {
            match self.flags.replace(old, old | DIRTY) {
                Ok(()) => return true,
                Err(now) => old = now,
            }
        }
        false
    }

    /// Whether a flush has to wait for a commit.
    pub fn is_busy(&self) -> bool {
        // In this order: a change that is being noted no more by then shows as one that waits, or in a commit.
        // The other way round it could be seen as neither of the two.
        !self.noting.is_idle() || self.flags.get() != 0
    }

    /// Whether there is something for a commit to write.
    pub fn is_dirty(&self) -> bool {
        self.flags.get() & DIRTY != 0
    }

    /// A commit begins: changes from now on belong to the next one, or to this one. All that are being noted
    /// have to be waited for before it looks for them: for two turns of [`Changes::noting`].
    pub fn begin_commit(&self) {
        self.change(|flags| (flags & UNTOLD) | COMMITTING);
    }

    /// Who is noting a change.
    pub fn noting(&self) -> &Grace {
        &self.noting
    }

    /// The commit has ended. If it failed, all that it was to write waits for the next one.
    pub fn end_commit(&self, is_ok: bool) {
        let next = if is_ok { 0 } else { DIRTY | UNTOLD };
        self.change(|flags| (flags & !COMMITTING) | next);
    }

    /// No commit will ever end well: no flush passes by the one that fails.
    pub fn fail(&self) {
        self.change(|flags| flags | DIRTY | UNTOLD);
    }

    /// Whether a commit failed and nobody was told; from now on somebody was.
    pub fn take_untold(&self) -> bool {
        self.change(|flags| flags & !UNTOLD) & UNTOLD != 0
    }

    /// Changes the flags; returns what they were.
    fn change(&self, to: impl Fn(u64) -> u64) -> u64 {
        let mut old = self.flags.get();
        while let Err(now) = self.flags.replace(old, to(old)) {
            old = now;
        }
        old
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_changes))]
mod tests {
    use super::*;

    #[test]
    fn a_commit_takes_what_was_noted() {
        let changes = Changes::new(Grace::new(4));
        assert!(!changes.is_busy() && !changes.is_dirty());
        assert!(!changes.note(0, || false));
        assert!(!changes.is_busy());
        assert!(changes.note(0, || true));
        assert!(!changes.note(1, || true));
        assert!(changes.is_busy() && changes.is_dirty());
        changes.begin_commit();
        assert!(changes.is_busy() && !changes.is_dirty());
        // For the next one.
        assert!(changes.note(2, || true));
        changes.end_commit(true);
        assert!(changes.is_busy() && changes.is_dirty());
        changes.begin_commit();
        changes.end_commit(true);
        assert!(!changes.is_busy());
    }

    #[test]
    fn a_flush_waits_for_who_is_at_it() {
        let changes = Changes::new(Grace::new(4));
        assert!(!changes.note(3, || {
            assert!(changes.is_busy() && !changes.is_dirty());
            false
        }));
        assert!(!changes.is_busy());
    }

    #[test]
    fn failures_are_told_once() {
        let changes = Changes::new(Grace::new(4));
        changes.note(0, || true);
        changes.begin_commit();
        changes.end_commit(false);
        assert!(changes.is_dirty());
        // It stays untold over commits that go well.
        changes.begin_commit();
        changes.end_commit(true);
        assert!(changes.is_busy() && !changes.is_dirty());
        assert!(changes.take_untold() && !changes.take_untold());
        assert!(!changes.is_busy());
        changes.fail();
        assert!(changes.is_dirty() && changes.take_untold());
    }
}
