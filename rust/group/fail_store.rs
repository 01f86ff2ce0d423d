// SPDX-License-Identifier: GPL-2.0

//! Increments volumes that fail while the group is in use, because of their own errors or at a
//! user's request.
//!
//! One step makes durable that the increments volume has failed and that the volumes whose log it
//! kept are unprotected. While a diverted volume, or one whose disk is gone, has data there, the
//! increments volume is kept: its errors reach those volumes, and what they had flushed is still
//! there when the device comes back. That it may miss events from now on is made durable, so that
//! it is not taken for an old copy when it comes back.

use super::Group;
use crate::{
    bound::Bound,
    dm::Worker,
    log,
    metadata::Homes,
    store::Store,
    svol_core::{
        group::{
            FailError,
            Fates,
            GroupTable, //
        },
        id::Id,
        route::Home, //
    },
};
use kernel::prelude::*;

impl Group {
    /// Makes durable that a store has failed. If some volume can't be served without it, keeps it
    /// instead, but volumes that can do without it no longer rely on it. Sleeps for metadata I/O.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is kept; those of the commit, in which case what waits must not go on.
    #[inline(never)]
    pub(crate) fn fail_store(&self, bound: &Bound, store: &Worker<Store>) -> Result {
        let (asked, lid) = (store.is_asked(), *store.lid());
        let homes = self.commits.lock();
        if !store.is_failing() {
            // Already handled.
            return match store.has_failed() {
                true => Ok(()),
                false => Err(EBUSY),
            };
        }
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let group = *table.id();
        let next = match table.with_disk_given_up(store.entry()) {
            Ok(next) => KBox::new(next, GFP_KERNEL)?,
            Err(FailError::NoMemory) => return Err(ENOMEM),
            Err(FailError::Known) => {
                drop(state);
                bound.store_has_failed(store);
                return Ok(());
            }
            Err(error) => {
                drop(state);
                self.keep_store(bound, &homes, store, asked)?;
                drop(homes);
                if asked || store.say_once() {
                    log::warning!(group, "increments {lid}: failed, but stays in use: {error}");
                }
                if !asked {
                    self.unprotect_all(bound, store);
                }
                return Err(EBUSY);
            }
        };
        drop(state);
        if let Err(error) = self.commit(bound, &homes, next) {
            if store.say_once() {
                let errno = error.to_errno();
                log::warning!(
                    group,
                    "increments {lid}: failed, but that can't be recorded: error {errno}; writes that need it fail"
                );
            }
            return Err(error);
        }
        bound.store_has_failed(store);
        let state = self.state.lock();
        let Some(table) = &state.table else {
            return Ok(());
        };
        let fates = Fates::new(table, store.entry());
        match asked {
            true => log::info!(group, "increments {lid}: failed by command{fates}"),
            false => log::warning!(group, "increments {lid}: failed{fates}"),
        }
        Ok(())
    }

    /// A store stays in use although its device has failed. Unless a user has `asked` for that,
    /// records since which event. Under `commits`; sleeps for metadata I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; nothing has changed then.
    #[inline(never)]
    fn keep_store(
        &self,
        bound: &Bound,
        homes: &Homes,
        store: &Worker<Store>,
        asked: bool,
    ) -> Result {
        let (entry, known) = (store.entry(), store.known_events());
        let kept = match asked {
            true => None,
            false => self.next_table(|table| table.with_kept_store(entry, known))?,
        };
        store.keep();
        if let Some(kept) = kept {
            // If it is not on record, there was no event that the store could miss, either.
            let _ = self.commit(bound, homes, kept);
        }
        Ok(())
    }

    /// A store that was kept works again: tells it the events it has missed, and makes durable that
    /// it has seen them. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device, and of the commit.
    #[inline(never)]
    pub(crate) fn tell_store(&self, bound: &Bound, store: &Worker<Store>) -> Result {
        let homes = self.commits.lock();
        // First: while this fails, it may turn out once more that it works.
        store.note_told(false);
        self.tell_store_locked(bound, &homes, store)
    }

    /// As [`Group::tell_store`], under `commits`.
    pub(super) fn tell_store_locked(
        &self,
        bound: &Bound,
        homes: &Homes,
        store: &Worker<Store>,
    ) -> Result {
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let events = table.head().events;
        let told = table.with_stores_told(|entry| entry == store.entry())?;
        drop(state);
        let Some(told) = told else {
            store.note_told(true);
            return Ok(());
        };
        let told = KBox::new(told, GFP_KERNEL)?;
        match bound.tell_event(store.entry(), events) {
            true => self.commit(bound, homes, told),
            false => Err(EIO),
        }
    }

    /// Finds stores that were kept in the table `before`, and are now known to work; under
    /// `commits`.
    pub(super) fn greet_stores(&self, bound: &Bound, before: &GroupTable) {
        for store in bound.stores.iter() {
            let entry = store.entry();
            if !before.is_kept_store(entry) {
                continue;
            }
            let state = self.state.lock();
            let table = state.table.as_ref();
            let works = table.is_some_and(|table| {
                let record = table.volume(entry);
                record.is_some_and(|r| !r.state.failed) && !table.is_kept_store(entry)
            });
            drop(state);
            if works {
                store.note_told(true);
                log::info!(before.id(), "increments {}: works again", store.lid());
            }
        }
    }

    /// Whether a volume's disk holds exactly the base image.
    fn is_on_pristine(&self, lid: &Id) -> bool {
        let state = self.state.lock();
        let disk = state.table.as_ref().and_then(|table| {
            let disk = table.disk_of(table.position(lid)?)?;
            Some(table.volume(disk)?.state)
        });
        disk.is_some_and(|disk| disk.pristine)
    }

    /// All volumes of a store that have a disk go on without the store. Skips a volume that was
    /// never written: the store lacks nothing of it, and others may need its disk. It is handled
    /// when it is first written.
    fn unprotect_all(&self, bound: &Bound, store: &Store) {
        for volume in bound.volumes.iter() {
            let owner = store.owner(&volume.lid);
            let is_logged = matches!(volume.view.get().writes, Home::Logged(_));
            if owner.is_some_and(|owner| is_logged && !owner.is_unlogged())
                && !self.is_on_pristine(&volume.lid)
            {
                // Errors are logged.
                let _ = self.unprotect(bound, &volume.lid);
            }
        }
    }
}
