// SPDX-License-Identifier: GPL-2.0

//! Disks that fail while the group is in use, because of their own errors or at a user's request.
//!
//! I/O no longer goes to a disk when its failure gets here, see [`crate::errors`]. The code here
//! makes the failure durable, and lets what waits for that go on.

use super::{
    Group,
    Name,
    Request, //
};
use crate::{
    bound::Bound,
    log,
    members::Members,
    svol_core::{
        attr::Attr,
        group::FailError,
        health::Health,
        id::Id, //
    },
};
use kernel::prelude::*;

impl Group {
    /// The table is live: handles its failing disks from now on.
    pub(crate) fn watch_disks(&self) {
        if let Some(bound) = self.bound() {
            self.repairs.begin(bound.clone());
            self.give_ups.begin(bound.clone());
            self.silences.begin(bound.clone());
            self.failures.begin(bound);
        }
    }

    /// The table is suspended and settled: makes durable that disks which could not be flushed have
    /// failed. The next table can't know that, and would take their contents for what was written.
    /// Sleeps for I/O.
    pub(crate) fn fail_unflushed(&self, bound: &Bound) {
        let is_failing = |entry: &usize| bound.fate(*entry).is_failing();
        for entry in (0..bound.volumes.len()).filter(is_failing) {
            // Errors are logged.
            let _ = self.fail_disk(bound, entry);
        }
        bound.rest();
    }

    /// Fails the disk of an entry, for a message to the table of these members. Does not wait for
    /// I/O: a worker does the rest.
    ///
    /// # Errors
    ///
    /// The log says why.
    #[inline(never)]
    pub(crate) fn fail(&self, members: &Members, lid: &Id) -> Result {
        let state = self.state.lock();
        let (Some(table), Some(bound), true) = (&state.table, &state.bound, state.is_live) else {
            drop(state);
            log::notice!(self.name(), "message \"fail\": the group is suspended");
            return Err(EAGAIN);
        };
        if bound.members.table != members.table {
            return Err(EAGAIN);
        }
        let request = Request::new(Name::Known(*table.id()), "fail", lid);
        let disk = table
            .disk_meant(lid)
            .and_then(|disk| table.with_disk_given_up(disk).map(|_| disk));
        let disk = disk.map_err(|error| {
            let errno = match error {
                FailError::NoMemory => ENOMEM,
                FailError::Unknown => ENODEV,
                FailError::Needed(_) => EBUSY,
                FailError::NoDisk | FailError::Known => EINVAL,
            };
            request.refuse(error, errno)
        })?;
        match bound.store_at(disk) {
            _ if disk >= bound.volumes.len() => {
                let why = "it was added, and is not in use before the next load";
                return Err(request.refuse(why, EAGAIN));
            }
            // That would be waited for with all changes locked, and may hang.
            Some(store)
                if self
                    .repairs
                    .is_at_work(|disk| bound.is_logged_in(disk, store)) =>
            {
                return Err(request.refuse("a repair may be reading it; try again", EBUSY));
            }
            Some(store) => store.begin_failure(true),
            None if bound.needs_its_disk(disk) => {
                let why = "its increments volume lacks what the disk may have";
                return Err(request.refuse(why, EBUSY));
            }
            None if bound.begin_failure(disk, true) => (),
            None => {
                let why = "another disk fails just now, and without this one nobody serves reads \
                           of the base";
                return Err(request.refuse(why, EBUSY));
            }
        }
        Ok(())
    }

    /// Whether all volumes that are served now would still be without the disk of an entry.
    pub(crate) fn can_give_up(&self, entry: usize) -> bool {
        let state = self.state.lock();
        let table = state.table.as_ref().filter(|_| state.is_live);
        table.is_some_and(|table| table.with_disk_given_up(entry).is_ok())
    }

    /// Makes durable that the disk of an entry has failed. If nothing could replace it, keeps it
    /// instead. Sleeps for metadata I/O.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is kept; those of the commit, in which case what waits must not go on.
    #[inline(never)]
    pub(crate) fn fail_disk(&self, bound: &Bound, entry: usize) -> Result {
        let homes = self.commits.lock();
        let fate = bound.fate(entry);
        if !fate.is_failing() {
            // Already handled.
            return match fate.has_failed() {
                true => Ok(()),
                false => Err(EBUSY),
            };
        }
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let group = *table.id();
        let lid = table.volume(entry).ok_or(ENXIO)?.lid;
        let served = table.served_by(entry);
        let next = match table.with_disk_given_up(entry) {
            Ok(next) => KBox::new(next, GFP_KERNEL)?,
            Err(FailError::Known) => {
                drop(state);
                bound.failure_is_durable(entry);
                return Ok(());
            }
            Err(FailError::NoMemory) => return Err(ENOMEM),
            Err(error) => {
                let unprotected = table.volume(entry).is_some_and(|v| v.state.unprotected);
                drop(state);
                bound.disk_is_kept(entry, unprotected);
                log::warning!(group, "disk of {lid}: failed, but stays in use: {error}");
                return Err(EBUSY);
            }
        };
        drop(state);
        let health = served.and_then(|volume| Some((volume, next.volume(volume)?)));
        let what = match health.map(|(_, volume)| (volume.lid, volume.attr, volume.health)) {
            Some((lid, Attr::Rw, Health::Degraded)) => {
                Some((lid, "is degraded, served by siblings and increments"))
            }
            Some((lid, ..)) => Some((lid, "is served by its siblings")),
            None => None,
        };
        if let Err(error) = self.commit(bound, &homes, next) {
            if bound.say_once(entry) {
                let errno = error.to_errno();
                log::warning!(
                    group,
                    "disk of {lid}: failed, but that can't be recorded: error {errno}; writes that need it fail"
                );
            }
            return Err(error);
        }
        bound.failure_is_durable(entry);
        self.let_rebuild();
        match (what, fate.is_asked()) {
            (Some((volume, what)), false) => {
                log::warning!(group, "disk of {lid}: failed; {volume} {what}");
            }
            (None, false) => log::warning!(group, "disk of {lid}: failed"),
            (Some((volume, what)), true) => {
                log::info!(group, "disk of {lid}: failed by command; {volume} {what}");
            }
            (None, true) => log::info!(group, "disk of {lid}: failed by command"),
        }
        Ok(())
    }
}
