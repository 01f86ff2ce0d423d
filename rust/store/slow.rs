// SPDX-License-Identifier: GPL-2.0

//! I/O that can't be done in one step: partial writes of sub-blocks, blocks without a slot at hand,
//! zeroes, discards, first writes of a region. Runs in the store's worker, one bio after the other.
//!
//! To keep other writes away from a block of a diverted volume, the worker freezes it: see
//! [`super::freeze`]. Writes of a logged volume lock their sub-blocks, here as elsewhere.

use super::{
    write::{
        Content,
        Range,
        Source, //
    },
    Owner,
    Store, //
};
use crate::{
    bound::{
        Bound,
        EntryNo,
        InFlight,
        OnEnd, //
    },
    dm::{
        current_cpu,
        Op,
        Parked,
        Worker, //
    },
    overlay::Place,
    svol_core::{
        block_map::{
            BlockMap,
            WriteStep, //
        },
        log_mode::Mode,
        route::Home, //
    },
};
use kernel::prelude::*;

/// The most sectors that are zeroed in one turn, a power of two: 4 MiB.
const ZERO_SECTORS: u64 = 1 << 13;

/// What happens next to a bio.
pub(super) enum Then {
    /// It is done, in the store at least; a durable write is answered by the commit that follows.
    End,
    /// It is done, and none of it is in the store.
    Answer,
    /// All of it goes to this place on the disk of an entry.
    Submit(usize, u64, InFlight),
}

/// Where the writes of a volume go.
#[derive(Clone, Copy)]
pub(super) enum Writes {
    /// To the store alone, where blocks may be freed.
    Diverted,
    /// To its disk, that of this entry, and to the store.
    Logged(usize),
    /// It has no disk yet; see [`super::fill`].
    Kept,
}

impl Writes {
    fn to(home: Home) -> Self {
        match home {
            Home::Logged(disk) => Self::Logged(disk),
            Home::Kept => Self::Kept,
            Home::Overlay => Self::Diverted,
            // The volume may have stopped being served since the bio was queued.
            Home::Base | Home::Disk(_) | Home::Nowhere => Self::Diverted,
        }
    }
}

/// A volume, for I/O by the worker.
#[derive(Clone, Copy)]
pub(super) struct Slow<'a> {
    pub(super) store: &'a Worker<Store>,
    pub(super) bound: &'a Bound,
    /// Its index in the live table.
    pub(super) volume: usize,
    pub(super) owner: &'a Owner,
    pub(super) writes: Writes,
}

impl<'a> Slow<'a> {
    /// A volume of a live table.
    pub(super) fn new(
        store: &'a Worker<Store>,
        bound: &'a Bound,
        volume: usize,
        owner: &'a Owner,
        writes: Writes,
    ) -> Self {
        Self {
            store,
            bound,
            volume,
            owner,
            writes,
        }
    }

    /// Looks a volume up for an I/O of this type that begins at this sector.
    pub(super) fn of(
        store: &'a Worker<Store>,
        bound: &'a Bound,
        volume: EntryNo,
        op: Op,
        sector: u64,
    ) -> Option<Self> {
        let volume = volume.get()?;
        let view = bound.volumes.get(volume)?.view_of(op, sector);
        let owner = Place::of(bound, volume)?.owner();
        let writes = Writes::to(view.writes);
        Some(Self::new(store, bound, volume, owner, writes))
    }

    /// The same volume, with writes that go elsewhere.
    pub(super) fn with(self, writes: Writes) -> Self {
        Self { writes, ..self }
    }

    /// Its blocks.
    pub(super) fn map(&self) -> &BlockMap {
        &self.owner.map
    }

    /// What is done of a range before others get their turn: of many zeroes, a part.
    pub(super) fn turn(&self, op: Op, left: Range) -> Range {
        let is_logged = matches!(self.writes, Writes::Logged(_));
        if op != Op::WriteZeroes || (is_logged && self.owner.is_unlogged()) {
            return left;
        }
        // Up to a place where no sub-block is cut.
        let turn = ZERO_SECTORS.saturating_sub(left.sector & (ZERO_SECTORS - 1));
        let sectors = u32::try_from(turn).unwrap_or(u32::MAX).min(left.sectors);
        Range { sectors, ..left }
    }

    /// Does what a bio wants in this range, or finds out where all of it goes. Sleeps for I/O.
    pub(super) fn work_on(&self, parked: &Parked<Bound, InFlight>, range: Range) -> Result<Then> {
        if parked.data().has_no_disk {
            return self
                .give_up_fill(parked.data().disk.get())
                .map(|()| Then::End);
        }
        match self.writes {
            Writes::Logged(disk) => self.work_on_logged(disk, parked, range),
            _ if self.store.has_failed() => Err(EIO),
            Writes::Kept => self.work_on_kept(parked, range).map(|()| Then::End),
            Writes::Diverted => self.work_on_diverted(parked, range),
        }
    }

    /// As [`Slow::work_on`], for a volume with a disk: depending on its mode, and on what became of
    /// the bio so far, writes to both, to one of them, or has the disk alone get it. If the disk is
    /// failing, first waits until its fate is decided.
    fn work_on_logged(
        &self,
        disk: usize,
        parked: &Parked<Bound, InFlight>,
        range: Range,
    ) -> Result<Then> {
        let has_no_log = parked.data().has_no_log;
        if !has_no_log && self.owner.mode() == Mode::Held {
            // Other errors are logged. If the disk is kept, the write goes there as before.
            if self.settle(disk) == Err(ENOMEM) {
                return Err(ENOMEM);
            }
            if self.owner.mode() == Mode::Held {
                return Err(EIO);
            }
        }
        if !has_no_log && self.owner.mode() == Mode::Store {
            let kept = self.with(Writes::Kept);
            return kept.work_on_kept(parked, range).map(|()| Then::End);
        }
        match parked.info().op {
            _ if has_no_log => self.give_up_log()?,
            // The disk would refuse it as it is.
            Op::Write if self.owner.is_unlogged() && parked.data().is_redone => {
                let written = self.write_unlogged(disk, Source::new(Content::Bio(parked)), range);
                written.inspect_err(|error| {
                    // That says nothing about the disk.
                    if *error != ENOMEM {
                        self.bound.count_error(disk, false);
                    }
                })?;
            }
            // The worker has begun: it does the rest, too.
            Op::WriteZeroes if self.owner.is_unlogged() && parked.data().done > 0 => {
                self.zero_disk(range.sector, range.sectors)?;
            }
            Op::Write | Op::WriteZeroes if self.owner.is_unlogged() => {
                let data = InFlight {
                    is_own: true,
                    ..InFlight::default()
                };
                return Ok(Then::Submit(disk, range.sector, data));
            }
            Op::Write => self.write_logged(disk, Source::new(Content::Bio(parked)), range)?,
            Op::WriteZeroes => self.write_logged(disk, Source::new(Content::Zeroes), range)?,
            // It was loaded while it was diverted.
            Op::Discard => (),
            _ => return Err(EIO),
        }
        if parked.info().is_fua() {
            // The commit that answers a durable write flushes only the store.
            self.flush_own()?;
        }
        match self.owner.is_unlogged() {
            true => Ok(Then::Answer),
            false => Ok(Then::End),
        }
    }

    /// As [`Slow::work_on`], for a volume whose writes go to the store alone.
    fn work_on_diverted(&self, parked: &Parked<Bound, InFlight>, range: Range) -> Result<Then> {
        match parked.info().op {
            // The device would refuse it as it is.
            Op::Write if parked.data().is_redone => {
                self.write(Source::new(Content::Bio(parked)), range)?;
            }
            Op::Write => match self.try_at_once(range, parked.info().is_fua()) {
                Some(then) => return Ok(then),
                None => self.write(Source::new(Content::Bio(parked)), range)?,
            },
            Op::WriteZeroes => self.write(Source::new(Content::Zeroes), range)?,
            // Where an entry is removed, its disk may hold something else. Nobody relies on a
            // discard.
            Op::Discard if self.owner.keeps_entries() => (),
            Op::Discard => self.discard(range)?,
            _ => return Err(EIO),
        }
        Ok(Then::End)
    }

    /// As [`Bound::flush_disk`], as long as the volume has that disk.
    fn flush_own(&self) -> Result {
        let Some(disk) = self.own_disk() else {
            // Another disk may be being filled for it by now.
            return self.flush_fill();
        };
        if self.bound.flush_disk(disk).is_ok() {
            return Ok(());
        }
        // If the disk is kept, it has lost more than this write.
        self.store
            .disk_is_not_flushed(Some(self.bound), self.owner, disk)?;
        self.settle(disk)
    }

    /// The entry of the volume's own disk, if that also gets the writes.
    pub(super) fn own_disk(&self) -> Option<usize> {
        match self.writes {
            Writes::Logged(disk) if self.owner.mode() != Mode::Store => Some(disk),
            _ => None,
        }
    }

    /// The disk failed an operation: the volume goes on without it, and that is durable when this
    /// returns.
    pub(super) fn lose(&self, disk: usize, error: Error) -> Result {
        if error == ENOMEM {
            // This says nothing about the disk; what waits for memory is retried.
            return Err(ENOMEM);
        }
        self.bound.count_error(disk, false);
        if !self.owner.mode().is_logged() {
            return Err(EIO);
        }
        self.bound.begin_failure(disk, false);
        self.settle(disk)
    }

    /// Waits until the fate of the disk is decided; fails unless the volume goes on without it.
    fn settle(&self, disk: usize) -> Result {
        // Others are logged.
        if self.bound.group.fail_disk(self.bound, disk) == Err(ENOMEM) {
            return Err(ENOMEM);
        }
        match self.owner.mode() {
            Mode::Store => Ok(()),
            Mode::Both | Mode::Disk | Mode::Held | Mode::Behind => Err(EIO),
        }
    }

    /// The reason why a write was held up may be gone; then all of it goes to one place.
    fn try_at_once(&self, range: Range, fua: bool) -> Option<Then> {
        let ticket = self.owner.grace.enter(current_cpu());
        match self
            .map()
            .write_run(&self.store.slots, range.sector, range.sectors)
        {
            WriteStep::Run(run) if run.sectors == range.sectors => {
                let data = InFlight {
                    volume: EntryNo::of(self.volume),
                    on_end: OnEnd::Leave(ticket),
                    is_first: run.is_first,
                    needs_commit: fua,
                    ..InFlight::default()
                };
                Some(Then::Submit(
                    self.store.entry(),
                    self.store.run_sector(&run),
                    data,
                ))
            }
            _ => {
                self.owner.grace.leave(ticket);
                None
            }
        }
    }
}
