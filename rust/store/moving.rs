// SPDX-License-Identifier: GPL-2.0

//! Logged volumes that move to another disk while their own disk works.
//!
//! The disk that is being filled has a cursor, as in [`super::fill`]: a write below the cursor goes
//! to that disk as well as to disk and store. But that disk does not count yet: a write that it
//! misses is no error of the volume, and no flush has to reach it. At the end the volume's I/O is
//! held, the new disk is flushed if it lacks nothing, and replaces the old one.
//!
//! From time to time that disk is flushed, and the metadata records the cursor. After a crash, the
//! move goes on there, once the regions in front of it that have marks have been copied again. So
//! a mark is cleared only after that disk was flushed, too, and not if the disk lacks something.
//! Meanwhile the worker that fills it does that: it may wait for the disk, the store's worker may
//! not.

use super::{
    fill::{
        whole_sub_blocks,
        CopyError, //
    },
    slow::Slow,
    write::{
        Range,
        Source, //
    },
    Owner,
    Store, //
};
use crate::{
    bound::Bound,
    dm::Worker,
    env::Word,
    errors::Views,
    members::EntryCell,
    svol_core::{
        flush_request::FlushRequest,
        intents::Intents, //
    }, //
};
use kernel::prelude::*;

/// The disk that is being filled lacks a write, but not because of an error of its own.
const LACKS: u64 = 1;
/// It failed.
const FAILED: u64 = 2;

/// Where an owner moves to.
pub(super) struct Move {
    /// The entry of the disk that is being filled.
    target: EntryCell,
    /// How many sectors from the beginning hold what the volume holds. Advances under the write
    /// locks.
    reach: Word,
    /// Why the move can't end well: [`LACKS`], [`FAILED`], or 0.
    flaw: Word,
    /// What the store's worker needs before it clears marks.
    pub(super) flush: FlushRequest,
}

impl Move {
    /// For an owner that stays.
    pub(super) fn none() -> Self {
        Self::new(None, 0)
    }

    /// For an owner that moves to the disk of this entry, if any, which is filled up to `cursor`.
    pub(super) fn new(target: Option<usize>, cursor: u64) -> Self {
        Self {
            target: EntryCell::new(target),
            reach: Word::new(whole_sub_blocks(cursor)),
            flaw: Word::new(0),
            flush: FlushRequest::new(),
        }
    }

    /// The disk that is being filled, and how far.
    pub(super) fn target(&self) -> Option<(usize, &Word)> {
        Some((self.target.get()?, &self.reach))
    }
}

impl Owner {
    /// Begins to move the owner to the disk of this entry.
    pub(crate) fn begin_move(&self, target: usize) {
        self.moving.reach.set(0);
        self.moving.flaw.set(0);
        self.moving.target.set(Some(target));
    }

    /// As [`Owner::begin_move`], after a crash: the disk does not hold what was copied to it.
    pub(crate) fn restart_move(&self) {
        self.moving.reach.set(0);
        self.moving.flaw.set(0);
    }

    /// The entry of the disk to which it moves, or which may still get writes that began while it
    /// moved there.
    pub(crate) fn moving_to(&self) -> Option<usize> {
        self.moving.target.get()
    }

    /// As [`Owner::moving_to`]: whether it is the disk of this entry.
    pub(crate) fn moves_to(&self, entry: usize) -> bool {
        self.moving_to() == Some(entry)
    }

    /// How many of these sectors, from the beginning, take the same path, and the entry of the disk
    /// that also gets them. To be called under their write locks. Does not sleep.
    #[inline]
    pub(crate) fn moved(&self, sector: u64, sectors: u32) -> (u32, Option<usize>) {
        let Some(target) = self.moving.target.get() else {
            return (sectors, None);
        };
        match self.moving.reach.get().saturating_sub(sector) {
            0 => (sectors, None),
            left => {
                let left = u32::try_from(left).unwrap_or(u32::MAX);
                (sectors.min(left), Some(target))
            }
        }
    }

    /// Records that the disk that it moves to failed a write. Does not sleep.
    pub(crate) fn note_move_failed(&self) {
        self.moving.flaw.set(FAILED);
    }

    /// Records that the disk that it moves to lacks a write, for which that disk is not to blame.
    /// Does not sleep.
    pub(crate) fn note_move_lacks(&self) {
        let _ = self.moving.flaw.replace(0, LACKS);
    }

    /// Whether something on the disk that it moves to may count after a crash. Does not sleep.
    pub(super) fn has_begun_to_move(&self) -> bool {
        let moves = self.moving_to().is_some();
        moves && (self.moving.reach.get() > 0 || self.does_move_lack())
    }

    /// The flush of the disk that it moves to that is wanted, if any; see
    /// [`Owner::note_move_flushed`]. Does not sleep.
    pub(crate) fn wanted_move_flush(&self) -> Option<u64> {
        self.moving
            .flush
            .pending()
            .filter(|_| !self.does_move_lack())
    }

    /// That flush was made. Does not sleep.
    pub(crate) fn note_move_flushed(&self, request: u64) {
        self.moving.flush.meet(request);
    }

    /// Whether the disk that it moves to failed.
    pub(crate) fn has_move_failed(&self) -> bool {
        self.moving.flaw.get() == FAILED
    }

    /// Whether the disk that it moves to lacks a write.
    pub(crate) fn does_move_lack(&self) -> bool {
        self.moving.flaw.get() != 0
    }

    /// The owner stays, or no longer counts as moving: no new writes go to the other disk. See
    /// [`Worker::end_move`]. Does not sleep.
    pub(crate) fn leave_move(&self) {
        self.note_move_lacks();
        self.moving.reach.set(0);
    }

    /// The disk that was being filled is now its own. The owner must have no I/O in flight.
    pub(crate) fn finish_move(&self, views: &Views<'_>) {
        let target = self.moving_to();
        self.moving.target.set(None);
        self.set_disk(views, target);
    }
}

impl Bound {
    /// Whether a write of an owner also goes to the disk of the entry to which it moves: not if
    /// that does not answer, since its user would have to wait. Then the move ends. To be called
    /// under the write locks. Does not sleep.
    #[inline]
    pub(crate) fn waits_for_move(&self, owner: &Owner, target: usize) -> bool {
        let is_silent = self.is_silent(target);
        if is_silent {
            owner.note_move_lacks();
        }
        !is_silent
    }
}

impl Slow<'_> {
    /// Writes a range, or the beginning of it, to disk and store, and to a disk that the volume
    /// moves to; returns how many sectors. The caller holds the write locks of all of it.
    ///
    /// # Errors
    ///
    /// Those of disk and store.
    pub(super) fn write_moving(&self, source: Source<'_>, range: Range) -> Result<u32> {
        let (sectors, target) = self.owner.moved(range.sector, range.sectors);
        let part = Range { sectors, ..range };
        self.write(source, part)?;
        let waits = |target: &usize| self.bound.waits_for_move(self.owner, *target);
        if let Some(target) = target.filter(waits) {
            match self.write_unlogged(target, source, part) {
                Ok(()) => (),
                Err(ENOMEM) => self.owner.note_move_lacks(),
                Err(_) => self.owner.note_move_failed(),
            }
        }
        Ok(sectors)
    }
}

impl Worker<Store> {
    /// After a crash, when disk and store of a volume are the same again: copies the regions that
    /// have marks to the disk that it moves to, too. Nobody uses the volume meanwhile. Durable when
    /// it returns; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the devices. [`Worker::move_is_resolved`] is to be called in any case.
    #[inline(never)]
    pub(crate) fn move_again(&self, bound: &Bound, owner: &Owner) -> Result<(), CopyError> {
        let (Some((target, _)), Some(intents)) = (owner.moving.target(), &owner.intents) else {
            return Ok(());
        };
        for region in intents.marked() {
            self.copy_region(bound, owner, region)?;
        }
        bound.flush_disk(target).map_err(CopyError::Target)
    }

    /// The regions that a crash left marked need not stay so any more: the disk that the volume
    /// moves to has them, or is filled from its beginning, and that is durable. Does not sleep.
    pub(crate) fn move_is_resolved(&self, owner: &Owner) {
        let Some(intents) = &owner.intents else {
            return;
        };
        for region in intents.marked() {
            if !intents.is_open(intents.extent(region).0, 1) {
                intents.unpin(region);
            }
        }
        self.has_marks.set(true);
    }

    /// Flushes the disk that an owner moves to, if marks wait for that, while its volume is not in
    /// use. Sleeps for I/O.
    pub(super) fn flush_move(&self, owner: &Owner) {
        let has_marks = |intents: &Intents| intents.marked().next().is_some();
        if owner.does_move_lack() || !owner.intents.as_ref().is_some_and(has_marks) {
            return;
        }
        let Some(disk) = owner.moving_to().and_then(|disk| self.members.disk(disk)) else {
            return;
        };
        let flush = &owner.moving.flush;
        flush.take();
        flush.ask();
        match (flush.pending(), self.members.flush(disk)) {
            (Some(request), Ok(())) => flush.meet(request),
            (None, Ok(())) => (),
            (_, Err(_)) => owner.note_move_failed(),
        }
    }

    /// A volume does not move after all, or not in the same way: nothing more is written to the
    /// other disk for it when this returns `true`. If a disk does not answer, it has to be called
    /// again. Sleeps for I/O.
    pub(crate) fn end_move(&self, owner: &Owner) -> bool {
        owner.leave_move();
        // The worker does this, so its own writes have ended, too. Whether the commit succeeds does
        // not matter here.
        if matches!(self.sync_owner(owner, 0), Err(CopyError::Late)) {
            return false;
        }
        owner.moving.target.set(None);
        true
    }
}
