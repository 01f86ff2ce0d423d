// SPDX-License-Identifier: GPL-2.0

//! Logged volumes: writes of the worker that go to a disk and to the store.

use super::{
    slow::{
        Slow,
        Writes, //
    },
    write::{
        Range,
        Source, //
    }, //
};
use crate::svol_core::log_mode::Mode;
use kernel::prelude::*;

impl Slow<'_> {
    /// Writes a range to the disk and to the store.
    pub(super) fn write_logged(&self, disk: usize, source: Source<'_>, range: Range) -> Result {
        match self.mark(range) {
            Ok(()) => (),
            // Says nothing about the log.
            Err(ENOMEM) => return Err(ENOMEM),
            Err(_) => {
                self.give_up_log()?;
                return self.write_unlogged(disk, source, range);
            }
        }
        let mut done = 0;
        while done < range.sectors {
            let left = range.behind(done);
            let sectors = self.lock(left)?;
            let part = Range { sectors, ..left };
            // Under the locks, which the fill of another disk takes, too.
            if self.owner.mode() == Mode::Store {
                self.owner.locks.release(part.sector, sectors);
                let kept = self.with(Writes::Kept);
                return kept.write_kept(source.behind(done), left);
            }
            let result = self.write_moving(source.behind(done), part);
            // Without memory, what was written is on both.
            let may_differ = result.is_err_and(|error| error != ENOMEM);
            if let Some(intents) = self.owner.intents.as_ref().filter(|_| may_differ) {
                // One of the two may have it. Noted before others get the locks, who might take
                // what the disk has for the base image, or overwrite it.
                intents.pin(part.sector, sectors);
                if result.is_err_and(|error| error == ENOSPC) {
                    self.owner.note_log_lacks(disk);
                }
            }
            self.owner.locks.release(part.sector, sectors);
            match result {
                Ok(sectors) => done = done.saturating_add(sectors),
                Err(ENOSPC) if self.owner.mode() == Mode::Store => return Err(ENOSPC),
                Err(ENOSPC) => {
                    self.give_up_log()?;
                    return self.write_unlogged(disk, source.behind(done), left);
                }
                // If memory ran out, the write is retried.
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The volume goes on without the store; that is durable when it returns.
    pub(super) fn give_up_log(&self) -> Result {
        if self.owner.is_unlogged() {
            return Ok(());
        }
        let group = &self.bound.group;
        if self.store.is_failing() {
            // For all of its volumes at once. Errors are logged.
            let _ = group.fail_store(self.bound, self.store);
            if self.owner.is_unlogged() {
                return Ok(());
            }
        }
        group.unprotect(self.bound, &self.owner.lid)
    }
}
