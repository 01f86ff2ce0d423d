// SPDX-License-Identifier: GPL-2.0

//! The life of a disk while it is in use: whether others read the base image there, whether it
//! fails, and what its volume does then.
//!
//! Views and modes change one at a time: see [`Views`].

use super::{
    Bound,
    Volume, //
};
use crate::{
    dm::Worker,
    errors::Views,
    overlay::Place,
    store::{
        Owner,
        Store, //
    },
    svol_core::{
        fate::Fate,
        log_mode::{
            Event,
            Mode, //
        },
        route::{
            Home,
            VolumeView, //
        }, //
    },
};
use kernel::prelude::*;

impl Bound {
    /// What is known of the disk of an entry. Does not sleep.
    pub(crate) fn fate(&self, entry: usize) -> Fate {
        let disk = self.volumes.get(entry);
        disk.map_or(Fate::default(), |disk| disk.fate.get())
    }

    /// Keeps new reads of the base image away from the disk of an entry; returns whether they were
    /// allowed before. If so, this is a full barrier: if the disk is then seen without I/O, no such
    /// read can follow. Does not sleep.
    pub(crate) fn keep_away(&self, entry: usize) -> bool {
        let disk = self.volumes.get(entry);
        disk.is_some_and(|disk| disk.fate.keep_away())
    }

    /// Undoes [`Bound::keep_away`]. Does not sleep.
    pub(crate) fn let_serve(&self, entry: usize) {
        if let Some(disk) = self.volumes.get(entry) {
            disk.fate.let_serve();
        }
    }

    /// Stops using the device of an entry, except for what is under way. Does not sleep.
    pub(crate) fn retire(&self, entry: usize) {
        if let Some(volume) = self.volumes.get(entry) {
            let views = self.group.failures().views();
            volume.fate.keep_away();
            volume.view.set(&views, VolumeView::NOWHERE);
        }
        for store in self.stores.iter().filter(|store| store.entry() == entry) {
            store.retire();
        }
    }

    /// From now on nobody reads from the disk of an entry, and writes of its volume wait; a worker
    /// does the rest. `asked` says that a user asked for it. Returns whether the failure has begun:
    /// it does not if reads of the base image would find no disk until the worker has decided, nor
    /// if its volume [needs it](Bound::needs_its_disk). Does not sleep.
    pub(crate) fn begin_failure(&self, entry: usize, asked: bool) -> bool {
        let Some(disk) = self.volumes.get(entry) else {
            return false;
        };
        let failures = self.group.failures();
        let views = failures.views();
        if disk.fate.get().is_gone() {
            return true;
        }
        if (!asked || self.is_read(entry)) && !self.can_spare(entry) {
            // A bad source is better than none.
            return false;
        }
        if self.needs_its_disk(entry) {
            return false;
        }
        disk.fate.begin_failure(asked);
        for (volume, owner) in self.owners_on(entry) {
            if owner.advance(&views, Event::DiskFails) == Some(Mode::Held) {
                volume.view.set_reads(&views, Home::Overlay);
            }
        }
        failures.kick();
        true
    }

    /// Whether a volume on the disk of an entry was shown, or may have been, what its store could
    /// not take, while that is not on record: without the disk, it would be what it was before.
    /// Does not sleep.
    pub(crate) fn needs_its_disk(&self, entry: usize) -> bool {
        let mut places = self.places_on(entry);
        places.any(|(_, place)| {
            let owner = place.owner();
            owner.is_lacking() || (place.store().is_failing() && owner.mode() == Mode::Both)
        })
    }

    /// Volumes whose log lacks something, while that is not on record. Does not sleep.
    pub(crate) fn lacking(&self) -> impl Iterator<Item = &Volume> {
        let all = self.volumes.iter().enumerate();
        let is_lacking = |index| Place::of(self, index).is_some_and(|p| p.owner().is_lacking());
        all.filter(move |(index, _)| is_lacking(*index))
            .map(|(_, volume)| volume)
    }

    /// If a volume's log lacks a write, and that is not on record, has it recorded. Does not sleep.
    pub(crate) fn record_lacks(&self, owner: &Owner) {
        if owner.is_lacking() {
            self.group.failures().kick();
        }
    }

    /// Whether somebody reads the disk of an entry.
    fn is_read(&self, entry: usize) -> bool {
        let is_own = |volume: &Volume| volume.view.get().reads == Home::Disk(entry);
        self.serves_base(entry) || self.volumes.iter().any(is_own)
    }

    /// The disk of an entry is in use again; if it fails, its own errors say so. Nobody reads the
    /// base image from it unless it `serves` others. Does not sleep.
    pub(crate) fn use_again(&self, entry: usize, serves: bool) {
        if let Some(disk) = self.volumes.get(entry) {
            disk.fate.use_again(serves);
        }
    }

    /// From now on, reads of the base image go to the disk of the entry `to`, which holds it, and
    /// not to that of `from`. Returns whether that was done: not if `to` is failing. Under
    /// `commits`. Does not sleep.
    pub(crate) fn hand_over(&self, from: usize, to: usize) -> bool {
        let _views = self.group.failures().views();
        if self.fate(to).is_gone() {
            return false;
        }
        self.sources.add(to, true);
        self.use_again(to, true);
        self.keep_away(from);
        true
    }

    /// Whether it still has to be logged that a failure can't be made durable. True once.
    pub(crate) fn say_once(&self, entry: usize) -> bool {
        self.volumes
            .get(entry)
            .is_some_and(|disk| disk.fate.say_once())
    }

    /// The volumes whose writes go to the disk of an entry and to a store.
    fn owners_on(&self, entry: usize) -> impl Iterator<Item = (&Volume, &Owner)> {
        let places = self.places_on(entry);
        places.map(|(volume, place)| (volume, place.owner()))
    }

    /// As [`Bound::owners_on`], with the stores.
    fn places_on(&self, entry: usize) -> impl Iterator<Item = (&Volume, Place<'_>)> {
        let all = self.volumes.iter().enumerate();
        all.filter(move |(_, volume)| volume.view.get().writes == Home::Logged(entry))
            .filter_map(|(index, volume)| Some((volume, Place::of(self, index)?)))
    }

    /// Called when it is durable that the disk of an entry has failed. Does not sleep.
    pub(crate) fn failure_is_durable(&self, entry: usize) {
        let Some(disk) = self.volumes.get(entry) else {
            return;
        };
        let failures = self.group.failures();
        let views = failures.views();
        disk.fate.fail();
        for (volume, owner) in self.owners_on(entry) {
            // The view first: whoever sees the new mode must not read the disk.
            volume.view.set_reads(&views, Home::Overlay);
            if owner.advance(&views, Event::FailureIsDurable).is_some() {
                // From now on, uncommitted data is nowhere else, and another disk may be filled.
                owner.leave_move();
                owner.set_disk(&views, None);
                volume.view.set(
                    &views,
                    VolumeView {
                        reads: Home::Overlay,
                        writes: Home::Kept,
                    },
                );
            } else {
                volume.view.set(&views, VolumeView::NOWHERE);
            }
        }
        for place in (0..self.volumes.len()).filter_map(|index| Place::of(self, index)) {
            // If it is being filled, nothing more goes to it.
            place.owner().leave_fill(entry);
            if place.owner().moves_to(entry) {
                place.owner().leave_move();
            }
        }
        for volume in self.volumes.iter() {
            // A volume without a log was never written; otherwise its disk would have been kept.
            if volume.view.get().reads == Home::Disk(entry) {
                volume.view.set(
                    &views,
                    VolumeView {
                        reads: Home::Base,
                        writes: Home::Nowhere,
                    },
                );
            }
        }
        // Waiting bios go on.
        failures.kick();
    }

    /// Called when it is durable that a volume goes on without its log. Sleeps for I/O of a repair.
    ///
    /// # Errors
    ///
    /// `EIO` if it can't go on without the log, because its disk fails, too.
    pub(crate) fn log_is_given_up(&self, volume: usize) -> Result {
        // From now on, writes take no locks.
        let own = self.volumes.get(volume).map(|v| v.view.get().writes);
        let is_own = |entry| own == Some(Home::Logged(entry));
        let _no_repairs = self.group.repairs().pause(is_own);
        let failures = self.group.failures();
        let views = failures.views();
        self.give_up_log(&views, volume)
    }

    /// As [`Bound::log_is_given_up`], under the lock.
    fn give_up_log(&self, views: &Views<'_>, volume: usize) -> Result {
        let place = Place::of(self, volume).ok_or(EIO)?;
        let owner = place.owner();
        if owner.mode() == Mode::Held {
            // The disk must stay in use: nothing else has its data.
            if let Some(Home::Logged(entry)) = self.volumes.get(volume).map(|v| v.view.get().writes)
            {
                self.keep_disk(views, entry, true);
            }
        }
        match owner.advance(views, Event::LogIsGivenUp) {
            Some(_) => {
                // From now on, writes go only to its own disk.
                owner.leave_move();
                Ok(())
            }
            None => Err(EIO),
        }
    }

    /// Whether a volume on the disk of an entry is logged in a store. Does not sleep.
    pub(crate) fn is_logged_in(&self, disk: usize, store: &Worker<Store>) -> bool {
        let mut places = self.places_on(disk);
        places.any(|(_, place)| place.store().entry() == store.entry())
    }

    /// Called when it is durable that a store has failed: volumes that have a disk go on without
    /// the store, the others fail. Sleeps for I/O of a repair.
    pub(crate) fn store_has_failed(&self, store: &Worker<Store>) {
        // As in `log_is_given_up`.
        let is_its = |place: Place<'_>| place.store().entry() == store.entry();
        let repairs = self.group.repairs();
        let _no_repairs = repairs.pause(|disk| self.is_logged_in(disk, store));
        let failures = self.group.failures();
        let views = failures.views();
        // Before anything else: once views change, bios that are left must not be taken for those
        // of a diverted volume.
        store.note_failed();
        for (index, volume) in self.volumes.iter().enumerate() {
            if !Place::of(self, index).is_some_and(is_its) {
                continue;
            }
            let goes_on = match volume.view.get().writes {
                Home::Logged(_) if volume.regions.is_plain() => {
                    self.give_up_log(&views, index).is_ok()
                }
                _ => false,
            };
            if !goes_on {
                volume.view.set(&views, VolumeView::NOWHERE);
            }
        }
        drop(views);
        // Whatever waits for the store ends.
        store.kick();
    }

    /// The disk of an entry stays in use despite errors, since nothing can replace it.
    /// `unprotected` says that it may have been written without a log. Sleeps for I/O of a repair.
    pub(crate) fn disk_is_kept(&self, entry: usize, unprotected: bool) {
        // As in `log_is_given_up`.
        let _no_repairs = self.group.repairs().pause(|disk| disk == entry);
        let failures = self.group.failures();
        let views = failures.views();
        self.keep_disk(&views, entry, unprotected);
        failures.kick();
    }

    /// As [`Bound::disk_is_kept`], under the lock.
    fn keep_disk(&self, views: &Views<'_>, entry: usize, unprotected: bool) {
        let Some(disk) = self.volumes.get(entry) else {
            return;
        };
        disk.fate.keep();
        for (volume, owner) in self.owners_on(entry) {
            // The view first: without its log, the volume must not be read from the log.
            volume.view.set_reads(views, Home::Disk(entry));
            // From now on, its errors reach its users.
            owner.disk_is_kept();
            let _ = owner.advance(views, Event::DiskIsKept { unprotected });
        }
    }
}
