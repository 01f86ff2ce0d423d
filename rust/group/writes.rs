// SPDX-License-Identifier: GPL-2.0

//! Records what must be durable before a volume is written, or before it goes on without a log.

use super::{
    claim::may_write,
    commit::box_next,
    Group, //
};
use crate::{
    bound::Bound,
    log,
    svol_core::{
        id::Id,
        route::Home, //
    }, //
};
use kernel::prelude::*;

impl Group {
    /// Makes durable that a volume will be written, and that it is unprotected if it has no log.
    /// Called by the volume's `preresume`; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the base image is needed and the volume's disk is its only source, or if the disk
    /// does not answer reads of others; `EROFS` if the volume has no disk and no increments volume
    /// to write to; those of the commit.
    pub(crate) fn prepare_writes(&self, bound: &Bound, lid: &Id) -> Result {
        while let Some(disk) = self.prepare_writes_now(bound, lid)? {
            // Without a lock: this may hang, and others must be able to go on.
            bound.wait_for_reads(disk).inspect_err(|_| {
                let _commits = self.commits.lock();
                self.let_serve_again(bound, disk);
                log::notice!(
                    self.name(),
                    "{lid}: can't be written, its disk does not answer reads of the base"
                );
            })?;
        }
        Ok(())
    }

    /// Reads of the base image were kept away from a disk that was to be written, but is not after
    /// all: if it still holds the base image, it serves them as before. Under `commits`.
    pub(super) fn let_serve_again(&self, bound: &Bound, disk: usize) {
        let state = self.state.lock();
        let record = state.table.as_ref().and_then(|table| table.volume(disk));
        if record.is_some_and(|record| record.state.pristine) {
            bound.let_serve(disk);
        }
    }

    /// As [`Group::prepare_writes`], but does not wait: if reads of the base image may still be in
    /// flight on the volume's disk, returns the disk's entry.
    #[inline(never)]
    fn prepare_writes_now(&self, bound: &Bound, lid: &Id) -> Result<Option<usize>> {
        let homes = self.commits.lock();
        let state = self.state.lock();
        let Some(table) = &state.table else {
            return Err(ENXIO);
        };
        let Some(entry) = table.position(lid) else {
            // It was removed from the group, so its I/O fails.
            return Ok(None);
        };
        let view = table.view(entry);
        if view.is_some_and(|view| matches!(view.writes, Home::Overlay | Home::Kept)) {
            // Only the store will be written.
            return Ok(None);
        }
        if !view.is_some_and(|view| may_write(&view)) {
            if !table.is_served(entry) {
                // It can't write anywhere, and its users should see that.
                return Ok(None);
            }
            // It may get a disk while it is in use, and would write there without any record of it.
            drop(state);
            log::notice!(
                self.name(),
                "{lid}: can't be written, it has no disk and no increments volume"
            );
            return Err(EROFS);
        }
        let disk = table.disk_of(entry);
        let logged = view.is_some_and(|view| matches!(view.writes, Home::Logged(_)));
        let next = box_next(if logged {
            table.with_writes(entry)?
        } else {
            table.with_unprotected(entry)?
        })?;
        // If so, reads of the base image would find no disk.
        let is_needed = disk.is_some_and(|disk| {
            let needs_others = table.has_regions(entry);
            bound.is_last_source(disk, lid) || (needs_others && !bound.has_other_source(disk))
        });
        // A volume that has joined the group since the table was loaded needs them, too.
        let is_needed = is_needed
            || next
                .as_deref()
                .is_some_and(|next| table.first_to_lose(next).is_some());
        drop(state);

        if is_needed {
            log::notice!(
                self.name(),
                "{lid}: can't be written, its disk is the only one that serves reads of the base"
            );
            return Err(EBUSY);
        }
        if let Some(disk) = disk {
            bound.keep_away(disk);
            // Also if that was so before, and the volume is on record as written: a move may have
            // begun while others had I/O there.
            if !bound.is_left(disk) {
                return Ok(Some(disk));
            }
        }
        let Some(next) = next else {
            return Ok(None);
        };
        self.commit(bound, &homes, next).inspect_err(|_| {
            if let Some(disk) = disk {
                self.let_serve_again(bound, disk);
            }
        })?;
        if !logged {
            log::notice!(
                self.name(),
                "{lid}: unprotected from now on, it is written without a log"
            );
        }
        Ok(None)
    }

    /// Makes durable that a logged volume goes on without a log, and lets that take effect. Called
    /// by the worker of its store; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the commit.
    #[inline(never)]
    pub(crate) fn unprotect(&self, bound: &Bound, lid: &Id) -> Result {
        let homes = self.commits.lock();
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let entry = table.position(lid).ok_or(ENXIO)?;
        if table.disk_of(entry).is_none() {
            // The disk has failed meanwhile: what the increments volume lacks is lost.
            return Err(EIO);
        }
        let next = box_next(table.with_unprotected(entry)?)?;
        drop(state);
        if let Some(next) = next {
            self.commit(bound, &homes, next)?;
            log::warning!(
                self.name(),
                "{lid}: unprotected from now on, its increments volume failed or is full"
            );
        }
        bound.log_is_given_up(entry)
    }
}
