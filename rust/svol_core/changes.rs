// SPDX-License-Identifier: GPL-2.0

//! What a flush has to know of an increments volume: whether something was changed that is not on disk
//! yet.
//!
//! A write that is done is noted in the block map, and then here. Of several writes of the same sub-block
//! one changes the map, and the others find that done: they may be answered before the one has noted it
//! here. So whoever notes something is counted meanwhile, and a flush looks for these first.
//!
//! A device that could not flush may have lost what it had in its cache, of all volumes, and a flush that
//! works later says nothing about that. So each volume is told of it once: see [`Told`].

use super::grace::Grace;
use crate::env::Word;

/// Entries of the map wait for a commit.
const DIRTY: u64 = 1;
/// A commit is under way.
const COMMITTING: u64 = 2;
/// No commit will ever end well.
const FAILED: u64 = 4;

/// Changes that a commit has to write.
pub struct Changes {
    /// [`DIRTY`], [`COMMITTING`] and [`FAILED`].
    flags: Word,
    /// So often the device may have lost what was written.
    losses: Word,
    /// Who is noting a change.
    noting: Grace,
}

/// So many losses of its increments volume were told to a volume.
pub struct Told(Word);

impl Told {
    /// None; nor were there any.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(Word::new(0))
    }

    /// So many from now on.
    pub fn set(&self, losses: u64) {
        self.0.set(losses);
    }

    /// There is something else that the volume has to be told: what it lost before the store was opened.
    pub fn forget(&self) {
        self.0.set(u64::MAX);
    }
}

impl Changes {
    /// None, and nobody is noting any. `noting` is to be new.
    pub fn new(noting: Grace) -> Self {
        Self {
            flags: Word::new(0),
            losses: Word::new(0),
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
        self.flags.get() & (DIRTY | FAILED) != 0
    }

    /// A commit begins: changes from now on belong to the next one, or to this one. All that are being noted
    /// have to be waited for before it looks for them: for two turns of [`Changes::noting`].
    pub fn begin_commit(&self) {
        self.change(|flags| (flags & FAILED) | COMMITTING);
    }

    /// Who is noting a change.
    pub fn noting(&self) -> &Grace {
        &self.noting
    }

    /// The commit has ended. If it failed, all that it was to write waits for the next one; if the device
    /// did, [`Changes::lose`] comes before.
    pub fn end_commit(&self, is_ok: bool) {
        let next = if is_ok { 0 } else { DIRTY };
        self.change(|flags| (flags & !COMMITTING) | next);
    }

    /// No commit will ever end well: no flush passes by the one that fails.
    pub fn fail(&self) {
        self.change(|flags| flags | FAILED);
    }

    /// The device may have lost what was written and not flushed. Does not sleep.
    pub fn lose(&self) {
        self.losses.add(1);
    }

    /// How often it may have lost something.
    pub fn losses(&self) -> u64 {
        self.losses.get()
    }

    /// Whether there were losses that a volume was not told of.
    pub fn is_untold(&self, told: &Told) -> bool {
        told.0.get() != self.losses()
    }

    fn change(&self, to: impl Fn(u64) -> u64) {
        let mut old = self.flags.get();
        while let Err(now) = self.flags.replace(old, to(old)) {
            old = now;
        }
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
    fn each_volume_is_told_of_a_loss_once() {
        let changes = Changes::new(Grace::new(4));
        let (one, other) = (Told::new(), Told::new());
        assert!(!changes.is_untold(&one));
        changes.note(0, || true);
        changes.begin_commit();
        changes.lose();
        changes.end_commit(false);
        assert!(changes.is_dirty());
        one.set(changes.losses());
        // The other one stays untold over commits that go well.
        changes.begin_commit();
        changes.end_commit(true);
        assert!(!changes.is_busy());
        assert!(!changes.is_untold(&one) && changes.is_untold(&other));
        // What comes while it is told is for the next one who asks.
        let losses = changes.losses();
        changes.lose();
        other.set(losses);
        assert!(changes.is_untold(&one) && changes.is_untold(&other));
        other.set(changes.losses());
        assert!(!changes.is_untold(&other));
    }

    #[test]
    fn what_an_old_store_lost_is_told_by_the_new_one() {
        let changes = Changes::new(Grace::new(4));
        let told = Told::new();
        told.forget();
        assert!(changes.is_untold(&told));
        told.set(changes.losses());
        assert!(!changes.is_untold(&told));
    }

    #[test]
    fn nothing_passes_by_a_failed_store() {
        let changes = Changes::new(Grace::new(4));
        changes.fail();
        assert!(changes.is_busy() && changes.is_dirty());
        // One that began before.
        changes.begin_commit();
        changes.end_commit(true);
        assert!(changes.is_busy() && changes.is_dirty());
    }
}
