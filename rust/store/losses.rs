// SPDX-License-Identifier: GPL-2.0

//! What disks and stores have lost or lack, and whose users were told.
//!
//! A device that could not be flushed may have **lost** what was in its cache, and a later flush
//! that succeeds says nothing about that. A device **lacks** a write that it did not take while
//! another one did. A volume that has its data elsewhere goes on without that device; otherwise its
//! user is **told**, by an error of the next flush. In particular:
//!
//! - *Lost writes*: a flush of the volume's disk failed that its user had not asked for, and the
//!   user is still to be told, unless the volume goes on without that disk.
//! - *Disk losses*: a count that changes with every failed flush of that disk, whoever asked for
//!   it. Whoever relies on what the disk holds compares it before and after.
//! - *Untold*: the store has lost something, for all volumes at once (see [`Changes`]), and this
//!   volume's user was not told. The store *may have lost* something of a volume if that is so and
//!   the volume is not written without the store.
//! - The *log lacks* something: the volume's disk may hold a write that the store could not take,
//!   or has lost. The regions of such writes are pinned, and what is there can't be read from the
//!   store. The volume *is lacking* if, besides, it still counts as protected: until the opposite is
//!   on record, it can't do without its disk.
//!
//! What a disk lacks that is being filled is another matter: see [`super::fill`] and
//! [`super::moving`].
//!
//! [`Changes`]: crate::svol_core::changes::Changes

use super::{
    fail,
    patience::LATER,
    Owner,
    Store, //
};
use crate::{
    bound::Bound,
    dm::Worker,
    env::Word,
    svol_core::{
        changes::Told,
        flag::Flag,
        log_mode::Mode, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The disk of a volume may have lost writes: the next flush reports that.
const LOST: u64 = 1;
/// It may have, but the disk is failing and the store has all data: reported only if the disk is
/// kept.
const LOST_IF_KEPT: u64 = 2;

/// What was lost of a volume, or is lacking.
pub(super) struct Losses {
    /// Whether an internal flush of its disk failed: [`LOST`], [`LOST_IF_KEPT`], or 0.
    lost_writes: Word,
    /// Changes when a flush of its disk fails.
    disk_losses: Word,
    /// Whether its disk may hold a write that failed because of the store.
    log_lacks: Flag,
    /// Which losses of the store have been reported to its users.
    told: Told,
}

impl Losses {
    /// Nothing was lost.
    pub(super) fn new() -> Self {
        Self {
            lost_writes: Word::new(0),
            disk_losses: Word::new(0),
            log_lacks: Flag::new(false),
            told: Told::new(),
        }
    }

    /// From now on, the volume has another disk, or none.
    pub(super) fn forget_disk(&self) {
        self.lost_writes.set(0);
        self.log_lacks.set(false);
    }
}

impl Owner {
    /// Whether its disk may have lost writes that have not been reported yet. Marks them as
    /// reported. Does not sleep.
    pub(crate) fn tell_lost_writes(&self) -> bool {
        let lost = &self.losses.lost_writes;
        lost.get() == LOST && lost.replace(LOST, 0).is_ok()
    }

    /// Whether its disk may have lost writes that have not been reported yet.
    pub(crate) fn has_lost_writes(&self) -> bool {
        self.losses.lost_writes.get() != 0
    }

    /// Its own disk, if it has one, has lost writes. Does not sleep.
    pub(crate) fn lose_writes(&self) {
        if self.is_on_disk() {
            self.losses.lost_writes.set(LOST);
        }
    }

    /// Its disk stays in use although it failed: what the disk lost is lost. Does not sleep.
    pub(crate) fn disk_is_kept(&self) {
        let _ = self.losses.lost_writes.replace(LOST_IF_KEPT, LOST);
    }

    /// Its own disk may have lost what the store has: its marks stay until the next start compares
    /// the two, even if the disk stays in use, and a comparison begins anew. Does not sleep.
    pub(crate) fn note_disk_lost(&self) {
        // First: whoever takes marks back either is counted here, or looks at the count afterwards.
        self.losses.disk_losses.add(1);
        if let Some(intents) = &self.intents {
            intents.pin_marked();
        }
        // And afterwards: one that began to take marks back meanwhile has missed the first.
        self.losses.disk_losses.add(1);
    }

    /// Changes when that happens.
    pub(crate) fn disk_losses(&self) -> u64 {
        self.losses.disk_losses.get()
    }

    /// Its user is now told of this many losses of the store. Does not sleep.
    pub(super) fn note_told(&self, losses: u64) {
        self.losses.told.set(losses);
    }

    /// What the store lost before this table was loaded must still be reported. Does not sleep.
    pub(crate) fn forget_told(&self) {
        self.losses.told.forget();
    }

    /// The disk of this entry, if it is its own, may hold something that the store could not take, in
    /// regions that are pinned: until that is on record, the disk is needed. To be called before
    /// write locks are released. Does not sleep.
    pub(crate) fn note_log_lacks(&self, disk: usize) {
        if self.own_disk() == Some(disk) {
            self.losses.log_lacks.set(true);
        }
    }

    /// The store may have lost something that is on its own disk, in regions that have marks. As
    /// [`Owner::note_log_lacks`].
    pub(crate) fn note_log_lost(&self) {
        if let (Some(intents), Some(disk)) = (&self.intents, self.own_disk()) {
            if intents.pin_marked() {
                self.note_log_lacks(disk);
            }
        }
    }

    /// See [`Owner::note_log_lacks`].
    pub(super) fn log_lacks(&self) -> bool {
        self.losses.log_lacks.is_set()
    }

    /// As [`Owner::log_lacks`], while it counts as protected: what its log lacks is not on record.
    pub(crate) fn is_lacking(&self) -> bool {
        self.log_lacks() && self.mode() == Mode::Both
    }
}

impl Store {
    /// Handles the result of a flush of the device: if it failed, the device may have lost data
    /// that a later flush says nothing about, and all volumes have to be told. Does not sleep.
    pub(super) fn or_lose(&self, flushed: Result) -> Result {
        flushed.inspect_err(|error| {
            if fail::is_of_device(*error) {
                self.changes.lose();
                self.changes.mark();
                self.note_log_lost();
            }
        })
    }

    /// The device may have lost what is in the caches of disks, or on them. Does not sleep.
    pub(super) fn note_log_lost(&self) {
        for owner in self.owners.iter() {
            owner.note_log_lost();
        }
    }

    /// Whether the device may have lost what an owner wrote, and its user was not told yet. Does
    /// not sleep.
    pub(crate) fn has_untold(&self, owner: &Owner) -> bool {
        self.changes.is_untold(&owner.losses.told)
    }

    /// As [`Store::has_untold`], but false if the owner works without the store.
    pub(crate) fn may_have_lost(&self, owner: &Owner) -> bool {
        !owner.is_unlogged() && self.has_untold(owner)
    }

    /// Volumes whose changes may be in the store and nowhere else, where the device may have lost
    /// some and that has not been reported.
    pub(crate) fn untold(&self) -> impl Iterator<Item = &Owner> {
        self.owners
            .iter()
            .filter(|owner| !owner.has_all_on_disk() && self.has_untold(owner))
    }
}

impl Worker<Store> {
    /// A flush that was sent to the device for this owner failed, and the owner's user is told.
    /// Does not sleep.
    pub(crate) fn note_flush_failed(&self, owner: Option<&Owner>) {
        match owner {
            Some(owner) => self.changes.lose_and_tell(&owner.losses.told),
            None => self.changes.lose(),
        }
        self.note_log_lost();
        // What may be lost must not be read for long, and what is written next is not lost.
        self.changes.mark();
        self.kick();
    }

    /// Flushes the disk of an owner, or the one that is being filled for it, if there is one. If
    /// that fails, a later successful flush does not bring lost data back: the disk fails, or
    /// whoever asks for a flush next is told. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the disk; [`LATER`] if the owner by then has another disk, or none.
    pub(super) fn flush_disk_of(&self, owner: &Owner) -> Result {
        let Some(entry) = owner.disk() else {
            return Ok(());
        };
        let disk = self.members.disk(entry).ok_or(ENXIO)?;
        // Look this up now, so that nothing sleeps between a failed flush and what follows. Until a
        // new table is live, the old one is still there.
        let bound = self.home.bound();
        let bound = bound.filter(|bound| Arc::ptr_eq(&bound.members, &self.members));
        let result = self.members.flush(disk);
        if result.is_err() {
            self.disk_is_not_flushed(bound.as_deref(), owner, entry)?;
        }
        result
    }

    /// Handles the failed flush of a disk. Does not sleep.
    ///
    /// # Errors
    ///
    /// [`LATER`] if the owner by now has another disk, or none.
    pub(super) fn disk_is_not_flushed(
        &self,
        bound: Option<&Bound>,
        owner: &Owner,
        entry: usize,
    ) -> Result {
        // An owner's disk changes only under this lock.
        let views = self.home.failures().views();
        if owner.disk() != Some(entry) {
            return Err(LATER);
        }
        if !owner.is_on_disk() {
            owner.note_fill_failed(entry);
            return Ok(());
        }
        owner.note_disk_lost();
        let lost = match owner.mode().is_logged() {
            true => LOST_IF_KEPT,
            false => LOST,
        };
        owner.losses.lost_writes.set(lost);
        drop(views);
        let fails = bound.is_some_and(|bound| {
            bound.count_error(entry, false);
            bound.begin_failure(entry, false)
        });
        if !fails {
            owner.disk_is_kept();
        }
        Ok(())
    }
}
