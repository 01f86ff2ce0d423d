// SPDX-License-Identifier: GPL-2.0

//! Gives in-place volumes their log back, after their increments volume was full or had failed and
//! is in use again since the table was loaded.
//!
//! The worker that fills disks does this, too, when there is nothing to fill; see [`crate::store`]
//! for the comparison. It takes `commits` only while it holds nothing else.

use super::{
    background::{
        Next,
        Rebuilds,
        PATIENCE_MS, //
    },
    comparison::Halt,
    Group, //
};
use crate::{
    bound::{
        Bound,
        Volume, //
    },
    dm::{
        Worker,
        PIECE_SECTORS, //
    },
    log,
    overlay::Place,
    store::{
        CompareError,
        CopyError, //
    },
    svol_core::{
        log_mode::Event,
        samples::SUB_BLOCK_SECTORS,
        turns::{
            self,
            Choice, //
        }, //
    },
};
use kernel::prelude::*;

/// Whether a volume's disk is being compared with its increments.
pub(super) fn is_compared(bound: &Bound, entry: usize) -> bool {
    let is_over = |volume: &Volume| volume.compared.is_over.is_set();
    Place::of(bound, entry).is_some_and(|place| place.owner().is_behind())
        && !bound.volumes.get(entry).is_none_or(is_over)
}

impl Group {
    /// Does part of the work, for a volume that needs it.
    #[inline(never)]
    pub(super) fn go_on_protecting(&self, worker: &Worker<Rebuilds>, bound: &Bound) -> Next {
        let volumes = bound.volumes.iter().enumerate();
        let due = volumes
            .filter(|(entry, _)| is_compared(bound, *entry))
            .map(|due| (due, &due.1.turn));
        let (entry, volume) = match turns::next(due, bound.age_ms()) {
            Choice::This(due) => due,
            Choice::Later => return Next::Later,
            Choice::None => return Next::Nothing,
        };
        volume.turn.take();
        let Some(place) = Place::of(bound, entry) else {
            return Next::Nothing;
        };
        if volume.copied.get() == 0 {
            volume.compared.losses.set(place.owner().disk_losses());
        }
        let end = bound.members.sectors;
        let is_busy = || is_busy(bound, entry);
        let result = worker
            .go_on(bound, volume, is_busy, |at, _| {
                let left = u32::try_from(end.saturating_sub(at)).unwrap_or(u32::MAX);
                self.compare_some(bound, entry, volume, at, PIECE_SECTORS.min(left))
            })
            .and_then(|()| self.end_comparison(bound, entry, volume));
        self.after_comparing(worker, bound, volume, "its increments", result)
    }

    /// Compares a chunk, or its beginning; returns how many sectors were compared.
    fn compare_some(
        &self,
        bound: &Bound,
        entry: usize,
        volume: &Volume,
        at: u64,
        sectors: u32,
    ) -> Result<u32, Halt> {
        let place = Place::of(bound, entry).ok_or(Halt::Turn)?;
        if !place.owner().is_behind() {
            return Err(Halt::Turn);
        }
        let found = place
            .store()
            .compare(bound, entry, place.owner(), at, sectors);
        match found {
            Ok(compared) => {
                volume.compared.copied.add(compared.copied);
                Ok(compared.sectors)
            }
            Err(CompareError::Disk) if u64::from(sectors) > SUB_BLOCK_SECTORS => {
                let sub_block = u32::try_from(SUB_BLOCK_SECTORS).unwrap_or(sectors);
                self.compare_some(bound, entry, volume, at, sub_block)
            }
            Err(CompareError::Disk) => {
                volume.compared.unread.add(1);
                Ok(sectors)
            }
            Err(CompareError::Store) => Err(self.give_up_comparison(bound, volume, place)),
            Err(CompareError::Later(error)) => Err(Halt::Later(error)),
            Err(CompareError::Gone) => {
                volume.compared.is_over.set(true);
                Err(Halt::Turn)
            }
        }
    }

    /// The store can't take what it lacks, or has lost it.
    fn give_up_comparison(&self, bound: &Bound, volume: &Volume, place: Place<'_>) -> Halt {
        log::warning!(
            self.name(),
            "{}: stays unprotected, increments {} failed or is full",
            volume.lid,
            place.store().lid()
        );
        match self.unprotect(bound, &volume.lid) {
            Ok(()) => Halt::Turn,
            Err(error) => Halt::Later(error),
        }
    }

    /// The comparison is complete: makes durable what was copied, then that the log is whole again.
    #[inline(never)]
    fn end_comparison(&self, bound: &Bound, entry: usize, volume: &Volume) -> Result<(), Halt> {
        let place = Place::of(bound, entry).ok_or(Halt::Turn)?;
        let unread = volume.compared.unread.get();
        if unread > 0 {
            volume.compared.is_over.set(true);
            log::warning!(
                self.name(),
                "{}: stays unprotected, {unread} blocks of 4 KiB of its disk can't be read; write \
                 them and load the group's table again",
                volume.lid
            );
            return Ok(());
        }
        match place.store().sync_both(place.owner(), PATIENCE_MS) {
            Ok(()) => (),
            Err(CopyError::Late) => return Err(Halt::Turn),
            Err(CopyError::Source(error) | CopyError::Target(error)) => {
                // What the disk has lost, a later successful flush does not bring back.
                volume.copied.set(0);
                return Err(Halt::Later(error));
            }
        }
        if place.owner().disk_losses() != volume.compared.losses.get() {
            // What was compared may be different by now.
            volume.copied.set(0);
            return Err(Halt::Turn);
        }
        // A flush of somebody else may have failed while this one did not.
        if place.store().may_have_lost(place.owner()) {
            return Err(self.give_up_comparison(bound, volume, place));
        }
        let done = self.commit_protected(bound, entry, place);
        if done.map_err(Halt::Later)? {
            log::info!(
                self.name(),
                "{}: protected again, {} blocks of 4 KiB copied to increments {}",
                volume.lid,
                volume.compared.copied.get(),
                place.store().lid()
            );
        }
        Ok(())
    }

    /// Makes durable that the log is whole. Returns `false` if the log was given up meanwhile.
    #[inline(never)]
    fn commit_protected(&self, bound: &Bound, entry: usize, place: Place<'_>) -> Result<bool> {
        let homes = self.commits.lock();
        let next = self.next_table(|table| {
            let store = place.store();
            // While it is kept, its volumes are about to go on without it.
            if store.is_failing() || store.has_failed() || store.is_kept() {
                return Err(EIO);
            }
            match place.owner().is_behind() && !table.is_removed(entry) {
                true => Ok(table.with_whole_log(entry)?),
                false => Ok(None),
            }
        })?;
        let Some(next) = next else {
            return Ok(false);
        };
        self.commit(bound, &homes, next)?;
        let views = self.failures.views();
        let _ = place.owner().advance(&views, Event::LogIsWhole);
        Ok(true)
    }
}

/// Whether users wait for a disk that a comparison reads, or for the increments volume.
fn is_busy(bound: &Bound, entry: usize) -> bool {
    let volume = bound.volumes.get(entry);
    let own = volume.and_then(|volume| volume.view.get().logged_disk());
    let store = Place::of(bound, entry).map(|place| place.store().entry());
    bound.has_io(Iterator::chain(
        bound.sources.iter(),
        [own, store].into_iter().flatten(),
    ))
}
