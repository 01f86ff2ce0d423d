// SPDX-License-Identifier: GPL-2.0

//! What has to be on record before a volume is written, and when it goes on without a log.

use super::{
    claim::may_write,
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
    /// Makes it known, and durable, that a volume will be written without a log. Called by the
    /// volume's `preresume`; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `EBUSY` if others read the base image from the volume's disk, and have nobody else to ask,
    /// or it does not answer them; `EROFS` if it has no disk and no increments volume to write to;
    /// those of the commit.
    pub(crate) fn prepare_writes(&self, bound: &Bound, lid: &Id) -> Result {
        while let Some(disk) = self.prepare_writes_now(bound, lid)? {
            // With nothing held: it may hang, and then others have to go on.
            bound.wait_for_reads(disk).inspect_err(|_| {
                log::notice!(
                    self.name(),
                    "{lid}: can't be written, its disk does not answer reads of the base"
                );
            })?;
        }
        Ok(())
    }

    /// As [`Group::prepare_writes`], if nobody reads the base image from the volume's disk any
    /// more; returns the disk's entry if somebody may.
    #[inline(never)]
    pub(super) fn prepare_writes_now(&self, bound: &Bound, lid: &Id) -> Result<Option<usize>> {
        let _commits = self.commits.lock();
        let state = self.state.lock();
        let Some(table) = &state.table else {
            return Err(ENXIO);
        };
        let Some(entry) = table.position(lid) else {
            // It was removed from the group; its I/O fails.
            return Ok(None);
        };
        if table
            .view(entry)
            .is_some_and(|view| matches!(view.writes, Home::Overlay | Home::Kept))
        {
            // Nothing but the store will be written.
            return Ok(None);
        }
        if !table.view(entry).is_some_and(|view| may_write(&view)) {
            if !table.is_served(entry) {
                // It writes nowhere, and its users are to see that.
                return Ok(None);
            }
            // It may get a disk while it is in use, and would write there although nobody knows.
            drop(state);
            log::notice!(
                self.name(),
                "{lid}: can't be written, it has no disk and no increments volume"
            );
            return Err(EROFS);
        }
        let disk = table.disk_of(entry);
        let logged =
            matches!(table.view(entry), Some(view) if matches!(view.writes, Home::Logged(_)));
        let next = if logged {
            table.with_writes(entry)?
        } else {
            table.with_unprotected(entry)?
        };
        let next = match next {
            Some(next) => Some(KBox::new(next, GFP_KERNEL)?),
            None => None,
        };
        // Whoever needs the base image would have nobody to ask.
        let is_needed = disk.is_some_and(|disk| {
            let needs_others = table.has_regions(entry);
            bound.is_last_source(disk, lid) || (needs_others && !bound.has_other_source(disk))
        });
        let homes = state.homes;
        drop(state);

        if is_needed {
            log::notice!(
                self.name(),
                "{lid}: can't be written, its disk is the only one that serves reads of the base"
            );
            return Err(EBUSY);
        }
        if let Some(disk) = disk {
            let is_news = bound.keep_away(disk);
            let was_source = bound.sources.iter().any(|source| source == disk);
            // Also if that is no news: a move may have begun while they were under way. But for one
            // that is on record as written that was seen to before.
            if was_source && (is_news || next.is_some()) && bound.has_io([disk]) {
                return Ok(Some(disk));
            }
        }
        let Some(next) = next else {
            return Ok(None);
        };
        self.commit(bound, &homes, next)?;
        if !logged {
            log::notice!(
                self.name(),
                "{lid}: unprotected from now on, it is written without a log"
            );
        }
        Ok(None)
    }

    /// Makes it known, and durable, that a logged volume goes on without a log. Called by the
    /// worker of its store; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the commit.
    #[inline(never)]
    pub(crate) fn unprotect(&self, bound: &Bound, lid: &Id) -> Result {
        let _commits = self.commits.lock();
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let entry = table.position(lid).ok_or(ENXIO)?;
        if table.disk_of(entry).is_none() {
            // It has failed meanwhile: what the increments volume lacks is nowhere.
            return Err(EIO);
        }
        let next = match table.with_unprotected(entry)? {
            Some(next) => Some(KBox::new(next, GFP_KERNEL)?),
            None => None,
        };
        let homes = state.homes;
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
