// SPDX-License-Identifier: GPL-2.0

//! Increments volumes that fail while the group is in use: their own errors, or a user, say so.
//!
//! It is made durable in one step that the increments volume has failed and that the volumes it
//! kept the log of are unprotected. While a diverted volume, or one whose disk is gone, has data there,
//! it is not given up: its errors reach those volumes, and what they had flushed is there when the
//! device comes back.

use super::Group;
use crate::{
    bound::Bound,
    dm::Worker,
    log,
    store::Store,
    svol_core::{
        group::{
            FailError,
            Fates, //
        },
        id::Id,
        route::Home, //
    },
};
use kernel::prelude::*;

impl Group {
    /// Makes it durable that a store has failed, unless some volume can't be served without it: then
    /// it is kept, but nobody relies on it who can do without. Sleeps for I/O of the metadata.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is kept; those of the commit, and then what waits must not go on.
    #[inline(never)]
    pub(crate) fn fail_store(&self, bound: &Bound, store: &Worker<Store>) -> Result {
        let (asked, lid) = (store.is_asked(), *store.lid());
        let commits = self.commits.lock();
        if !store.is_failing() {
            // Somebody was faster.
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
                store.keep();
                drop(commits);
                if asked || store.say_once() {
                    log::warning!(group, "increments {lid}: failed, but stays in use: {error}");
                }
                if !asked {
                    self.unprotect_all(bound, store);
                }
                return Err(EBUSY);
            }
        };
        let homes = state.homes;
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

    /// Whether a volume's disk holds exactly the base image.
    fn is_on_pristine(&self, lid: &Id) -> bool {
        let state = self.state.lock();
        let disk = state.table.as_ref().and_then(|table| {
            let disk = table.disk_of(table.position(lid)?)?;
            Some(table.volume(disk)?.state)
        });
        disk.is_some_and(|disk| disk.pristine)
    }

    /// All volumes of a store that have a disk go on without it. One that was never written lacks
    /// nothing there, and others may need its disk: it is seen to when it is written.
    fn unprotect_all(&self, bound: &Bound, store: &Store) {
        for volume in bound.volumes.iter() {
            let owner = store.owner(&volume.lid);
            let is_logged = matches!(volume.view.get().writes, Home::Logged(_));
            if owner.is_some_and(|owner| is_logged && !owner.is_unlogged())
                && !self.is_on_pristine(&volume.lid)
            {
                // What goes wrong is in the log.
                let _ = self.unprotect(bound, &volume.lid);
            }
        }
    }
}
