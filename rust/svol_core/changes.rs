// SPDX-License-Identifier: GPL-2.0

//! What a flush needs to know about an increments volume: whether it has changes that are not on
//! disk yet.
//!
//! A write that completes is noted in the block map, and then here. If several writes hit the same
//! sub-block, one of them changes the map and the others find it changed already, so they may be
//! answered before that one has noted the change here. So everyone is counted while noting a
//! change, and a flush checks for these first.
//!
//! A device that failed to flush may have lost what was in its cache, for all volumes, and a later
//! successful flush says nothing about that. So each volume is told of the loss once: see [`Told`].

use super::{
    flag::Flag,
    grace::Grace,
    update::update, //
};
use crate::env::Word;

/// Entries of the map are waiting for a commit.
const DIRTY: u64 = 1;
/// A commit is in progress.
const COMMITTING: u64 = 2;
/// No commit will ever succeed again.
const FAILED: u64 = 4;

/// Changes that a commit has to write.
pub struct Changes {
    /// [`DIRTY`], [`COMMITTING`] and [`FAILED`].
    flags: Word,
    /// How many times the device may have lost what was written.
    losses: Word,
    /// Whether it may have, and block maps still name that.
    lost: Flag,
    /// Those who are noting a change.
    noting: Grace,
}

/// How many losses of its increments volume a volume has been told of.
pub struct Told(Word);

impl Told {
    /// None so far, and there have been none.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(Word::new(0))
    }

    /// The volume has now been told of this many.
    pub fn set(&self, losses: u64) {
        self.0.set(losses);
    }

    /// The volume also has to be told of something else: what it lost before the store was opened.
    pub fn forget(&self) {
        self.0.set(u64::MAX);
    }
}

impl Changes {
    /// No changes, and nobody is noting any. `noting` must be new.
    pub fn new(noting: Grace) -> Self {
        Self {
            flags: Word::new(0),
            losses: Word::new(0),
            lost: Flag::new(false),
            noting,
        }
    }

    /// Makes a change on `cpu`, and notes it; `change` returns whether it changed anything. Returns
    /// whether a commit has to be requested: true for the first change only.
    pub fn note(&self, cpu: u32, change: impl FnOnce() -> bool) -> bool {
        let ticket = self.noting.enter(cpu);
        let is_first = change() && self.mark();
        self.noting.leave(ticket);
        is_first
    }

    /// Notes a change that was made by someone whom nobody has to wait for. Returns whether a
    /// commit has to be requested.
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
        // In this order: a change that is no longer being noted at the first check shows up in the
        // second, as waiting or in a commit. In the other order, both checks could miss it.
        !self.noting.is_idle() || self.flags.get() != 0
    }

    /// Whether a commit has anything to write.
    pub fn is_dirty(&self) -> bool {
        self.flags.get() & (DIRTY | FAILED) != 0
    }

    /// A commit begins: changes from now on belong to the next one, or to this one. Before it
    /// collects changes, it must wait for all that are being noted: for two turns of
    /// [`Changes::noting`].
    pub fn begin_commit(&self) {
        update(&self.flags, |flags| (flags & FAILED) | COMMITTING);
    }

    /// Those who are noting a change.
    pub fn noting(&self) -> &Grace {
        &self.noting
    }

    /// The commit has ended. If it failed, all that it should have written waits for the next one;
    /// if the device failed, [`Changes::lose`] comes first.
    pub fn end_commit(&self, is_ok: bool) {
        let next = if is_ok { 0 } else { DIRTY };
        update(&self.flags, |flags| (flags & !COMMITTING) | next);
    }

    /// No commit will ever succeed again: every flush waits for a commit, which fails.
    pub fn fail(&self) {
        update(&self.flags, |flags| flags | FAILED);
    }

    /// The device may have lost what was written but not flushed. Does not sleep.
    pub fn lose(&self) {
        self.lost.set(true);
        self.losses.add(1);
    }

    /// Block maps may name what the device has lost: no commit may write that.
    pub fn is_lost(&self) -> bool {
        self.lost.is_set()
    }

    /// As [`Changes::is_lost`]; the caller takes it out of the maps, or calls [`Changes::lose`]
    /// again.
    pub fn take_lost(&self) -> bool {
        self.lost.take()
    }

    /// What was lost has been taken out of the maps, perhaps with something that a volume wrote
    /// since it was told of the loss: all are told once more. Does not sleep.
    pub fn note_taken(&self) {
        self.losses.add(1);
    }

    /// As [`Changes::lose`], if a volume is told of it right now. If it has not been told of an
    /// earlier loss, or there is another one at this moment, it has to be told again. Does not
    /// sleep.
    pub fn lose_and_tell(&self, told: &Told) {
        let before = self.losses();
        let knows = told.0.get() == before;
        self.lose();
        if knows {
            told.set(before.wrapping_add(1));
        }
    }

    /// How often it may have lost something.
    pub fn losses(&self) -> u64 {
        self.losses.get()
    }

    /// Whether there were losses that a volume has not been told of.
    pub fn is_untold(&self, told: &Told) -> bool {
        told.0.get() != self.losses()
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
        // The other one stays untold across successful commits.
        changes.begin_commit();
        changes.end_commit(true);
        assert!(!changes.is_busy());
        assert!(!changes.is_untold(&one) && changes.is_untold(&other));
        // A loss during the telling is left for the next one to ask.
        let losses = changes.losses();
        changes.lose();
        other.set(losses);
        assert!(changes.is_untold(&one) && changes.is_untold(&other));
        other.set(changes.losses());
        assert!(!changes.is_untold(&other));
    }

    #[test]
    fn what_is_lost_is_taken_out_once() {
        let changes = Changes::new(Grace::new(4));
        let told = Told::new();
        assert!(!changes.take_lost());
        changes.lose_and_tell(&told);
        assert!(changes.is_lost() && changes.take_lost());
        assert!(!changes.is_lost() && !changes.is_untold(&told));
        changes.note_taken();
        assert!(!changes.take_lost() && changes.is_untold(&told));
    }

    #[test]
    fn a_volume_is_told_as_it_happens() {
        let changes = Changes::new(Grace::new(4));
        let (one, other) = (Told::new(), Told::new());
        changes.lose_and_tell(&one);
        assert!(!changes.is_untold(&one) && changes.is_untold(&other));
        // It still has to hear of the first one.
        changes.lose_and_tell(&other);
        assert!(changes.is_untold(&one) && changes.is_untold(&other));
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
        // A commit that began before.
        changes.begin_commit();
        changes.end_commit(true);
        assert!(changes.is_busy() && changes.is_dirty());
    }
}
